/* names.h -- a hash index over records that begin with their name: constant-time lookup, duplicates found while
** building.
**
** Owns only the slots; records and names stay the caller's and must outlive the index. Order is never taken from it. */
#ifndef MXG_NAMES_H
#define MXG_NAMES_H

#include <stddef.h>
#include <stdint.h>

#define MXG_NAMES_ABSENT UINT32_MAX

/* `records`: `count` records of `stride` bytes, each of which begins with a `const char *` name. */
typedef struct mxg_names {
  const void *records;
  size_t stride;
  uint32_t *slots;
  uint64_t mask;
  uint64_t seed; /* from the caller's content: chosen names cannot be made to collide without choosing it too */
} mxg_names;

/* Returns the index of the first record whose name was there before (then the index holds the earlier one), or
** MXG_NAMES_ABSENT. *nomem is set when there was no memory; the index is then empty. count < 2^31. */
uint32_t mxg_names_build(mxg_names *names, const void *records, size_t stride, uint32_t count, uint64_t seed,
                         int *nomem);
uint32_t mxg_names_find(const mxg_names *names, const char *name); /* or MXG_NAMES_ABSENT */
void mxg_names_free(mxg_names *names);

#endif
