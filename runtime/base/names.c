/* names.c -- see names.h. Open addressing, at most half full. */
#include "names.h"

#include "memory.h"

#include <assert.h>
#include <string.h>
#include <xxhash.h>

static const char *name_at(const mxg_names *names, uint32_t i) {
  const char *name;
  memcpy(&name, (const char *)names->records + names->stride * i, sizeof name);
  return name;
}

/* The slot that holds `name`, or the empty one where it belongs. */
static uint64_t slot_of(const mxg_names *names, const char *name) {
  uint64_t at = XXH3_64bits_withSeed(name, strlen(name), names->seed) & names->mask;
  while (names->slots[at] && strcmp(name_at(names, names->slots[at] - 1), name) != 0) at = (at + 1) & names->mask;
  return at;
}

uint32_t mxg_names_build(mxg_names *names, const void *records, size_t stride, uint32_t count, uint64_t seed,
                         int *nomem) {
  assert(count <= INT32_MAX);
  uint64_t size = 16;
  while (size < 2 * (uint64_t)count) size *= 2;
  *names = (mxg_names){.records = records, .stride = stride, .mask = size - 1, .seed = seed};
  names->slots = mxg_alloc((size_t)size * sizeof *names->slots);
  *nomem = !names->slots;
  uint32_t duplicate = MXG_NAMES_ABSENT;
  for (uint32_t i = 0; names->slots && i < count; i++) {
    uint64_t at = slot_of(names, name_at(names, i));
    if (names->slots[at] == 0)
      names->slots[at] = i + 1; /* 0 means empty */
    else if (duplicate == MXG_NAMES_ABSENT)
      duplicate = i;
  }
  return duplicate;
}

uint32_t mxg_names_find(const mxg_names *names, const char *name) {
  if (!names->slots) return MXG_NAMES_ABSENT;
  uint32_t found = names->slots[slot_of(names, name)];
  return found ? found - 1 : MXG_NAMES_ABSENT;
}

void mxg_names_free(mxg_names *names) {
  mxg_free(names->slots);
  *names = (mxg_names){0};
}
