/* memory.c -- see memory.h. */
#include "memory.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *system_memory(void *old, size_t bytes) {
  if (bytes == 0) {
    free(old);
    return NULL;
  }
  return realloc(old, bytes);
}

mxg_memory_fn mxg_memory_hook = system_memory;

void *mxg_alloc(size_t bytes) {
  if (bytes == 0) bytes = 1;
  if (mxg_memory_hook == system_memory) return calloc(1, bytes); /* fresh pages are zero: nothing touches them twice */
  void *p = mxg_memory_hook(NULL, bytes);
  if (p) memset(p, 0, bytes);
  return p;
}

void *mxg_resize(void *old, size_t bytes) { return mxg_memory_hook(old, bytes ? bytes : 1); }

void mxg_free(void *p) {
  if (p) mxg_memory_hook(p, 0);
}

bool mxg_mul(uint64_t *out, uint64_t a, uint64_t b) {
  if (b && a > UINT64_MAX / b) return false;
  *out = a * b;
  return true;
}

bool mxg_add(uint64_t *out, uint64_t a, uint64_t b) {
  if (a > UINT64_MAX - b) return false;
  *out = a + b;
  return true;
}

struct mxg_arena_block {
  struct mxg_arena_block *before;
  size_t used, size;
  _Alignas(16) unsigned char bytes[];
};

enum { arena_block_bytes = 256 * 1024, arena_align = 16 };

void *mxg_arena_alloc(mxg_arena *arena, size_t count, size_t size) {
  uint64_t want;
  if (!mxg_mul(&want, count, size) || want > SIZE_MAX / 2) return NULL;
  want = (want + arena_align - 1) / arena_align * arena_align;
  if (want == 0) want = arena_align;
  struct mxg_arena_block *block = arena->last;
  if (!block || block->size - block->used < want) {
    size_t bytes = want > arena_block_bytes / 4 ? (size_t)want : (size_t)arena_block_bytes;
    struct mxg_arena_block *fresh = mxg_alloc(sizeof *fresh + bytes);
    if (!fresh) return NULL;
    fresh->size = bytes;
    arena->total += bytes;
    if (block && bytes == want) { /* a large block of its own: keep filling the current one */
      fresh->used = bytes;
      fresh->before = block->before;
      block->before = fresh;
      return fresh->bytes;
    }
    fresh->before = block;
    arena->last = block = fresh;
  }
  void *p = block->bytes + block->used;
  block->used += (size_t)want;
  return p;
}

char *mxg_arena_text(mxg_arena *arena, const char *text, size_t bytes) {
  if (bytes == SIZE_MAX) return NULL;
  char *copy = mxg_arena_alloc(arena, bytes + 1, 1);
  if (copy && bytes) memcpy(copy, text, bytes);
  return copy;
}

char *mxg_arena_format(mxg_arena *arena, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  assert(n >= 0);
  char *text = mxg_arena_alloc(arena, (size_t)n + 1, 1);
  if (!text) return NULL;
  va_start(args, format);
  vsnprintf(text, (size_t)n + 1, format, args);
  va_end(args);
  return text;
}

struct mxg_arena_guest {
  struct mxg_arena_guest *before;
  void *memory;
};

bool mxg_arena_take(mxg_arena *arena, void *memory) {
  struct mxg_arena_guest *guest = memory ? mxg_arena_alloc(arena, 1, sizeof *guest) : NULL;
  if (!guest) return !memory;
  *guest = (struct mxg_arena_guest){arena->guests, memory};
  arena->guests = guest;
  return true;
}

void mxg_arena_free(mxg_arena *arena) {
  for (struct mxg_arena_guest *guest = arena->guests; guest; guest = guest->before) mxg_free(guest->memory);
  arena->guests = NULL;
  struct mxg_arena_block *block = arena->last;
  while (block) {
    struct mxg_arena_block *before = block->before;
    mxg_free(block);
    block = before;
  }
  arena->last = NULL;
  arena->total = 0;
}

void *mxg_vector_push(void **items, size_t *count, size_t *capacity, size_t size) {
  if (*count == *capacity) {
    uint64_t bytes;
    size_t wider = *capacity ? *capacity * 2 : 16;
    if (wider < *capacity || !mxg_mul(&bytes, wider, size) || bytes > SIZE_MAX / 2) return NULL;
    void *grown = mxg_resize(*items, (size_t)bytes);
    if (!grown) return NULL;
    *items = grown;
    *capacity = wider;
  }
  unsigned char *p = (unsigned char *)*items + *count * size;
  memset(p, 0, size);
  *count += 1;
  return p;
}
