/* memory.h -- every allocation of the project: one hook, one arena, checked sizes.
**
** Owns nothing else. Tests make the n-th allocation fail through mxg_memory_hook. */
#ifndef MXG_MEMORY_H
#define MXG_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The one allocator: realloc-like. `bytes` 0 frees and returns NULL. Replaceable by tests, before any other call. */
typedef void *(*mxg_memory_fn)(void *old, size_t bytes);
extern mxg_memory_fn mxg_memory_hook;

void *mxg_alloc(size_t bytes); /* zeroed; NULL when there is no memory. bytes 0 is treated as 1 */
void *mxg_resize(void *old, size_t bytes);
void mxg_free(void *p); /* NULL is fine */

/* Checked arithmetic for every size that comes from a recipe or a file: false on overflow, *out then untouched. */
bool mxg_mul(uint64_t *out, uint64_t a, uint64_t b);
bool mxg_add(uint64_t *out, uint64_t a, uint64_t b);

/* An arena: everything of one generate, freed at once. Blocks are zeroed; alignment 16. */
typedef struct mxg_arena {
  struct mxg_arena_block *last;
  struct mxg_arena_guest *guests;
  size_t total;
} mxg_arena;

void *mxg_arena_alloc(mxg_arena *arena, size_t count, size_t size);     /* count * size, checked; NULL: no memory */
char *mxg_arena_text(mxg_arena *arena, const char *text, size_t bytes); /* NUL-terminated copy; NULL: no memory */
char *mxg_arena_format(mxg_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* From now on `memory`, of mxg_alloc or mxg_resize, goes with the arena. False: no memory, and it stays the caller's.
 */
bool mxg_arena_take(mxg_arena *arena, void *memory);
void mxg_arena_free(mxg_arena *arena);

/* Growable array inside malloc memory: makes room for one more element, returns its address zeroed, or NULL. */
void *mxg_vector_push(void **items, size_t *count, size_t *capacity, size_t size);

#endif
