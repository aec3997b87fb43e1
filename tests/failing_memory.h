/* failing_memory.h -- hooks for mxg_memory_hook that refuse allocations: after `allocations_left` more of them every one,
** or one and then none. From any thread. */
#ifndef MXG_FAILING_MEMORY_H
#define MXG_FAILING_MEMORY_H

#include <stdatomic.h>
#include <stdlib.h>

static atomic_long allocations_left;

static inline void *resize_or_fail(void *old, size_t bytes, int refused) {
  if (bytes == 0) {
    free(old);
    return NULL;
  }
  return refused ? NULL : realloc(old, bytes);
}

static inline void *fail_from_then_on(void *old, size_t bytes) {
  return resize_or_fail(old, bytes, bytes != 0 && atomic_fetch_sub(&allocations_left, 1) <= 0);
}

static inline void *fail_once(void *old, size_t bytes) {
  return resize_or_fail(old, bytes, bytes != 0 && atomic_fetch_sub(&allocations_left, 1) == 0);
}

#endif
