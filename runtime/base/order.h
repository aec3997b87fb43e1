/* order.h -- what comes first by several keys, for qsort: the first key that differs decides. */
#ifndef MXG_ORDER_H
#define MXG_ORDER_H

#include <stddef.h>
#include <stdint.h>

static inline int mxg_order(const uint64_t *x, const uint64_t *y, size_t keys) {
  for (size_t i = 0; i < keys; i++)
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  return 0;
}

#endif
