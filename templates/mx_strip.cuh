/* mx_strip.cuh -- a strip of a matrix in a thread's registers: N neighbouring columns of ROWS rows, read once, looked
** through for maxima, then written as elements. What columnwise and small square blocks are quantised from. */
#ifndef MX_STRIP_CUH
#define MX_STRIP_CUH

#include "mx_side.cuh"

/* Columns of a strip: 8 bytes of a row. */
constexpr mx_u32 MX_STRIP = mx_min(MX_VEC, mx_max(1, 8 / MX_SRC_SIZE));

template <mx_u32 N, mx_u32 ROWS> struct mx_strip {
  mx_elems<N> elems[ROWS];
  mx_scales<N> scales[mx_one_scale(N) ? ROWS : 1]; /* one each: read again where they are needed */
};

template <mx_u32 N, mx_u32 ROWS>
MX_FN mx_scales<N> mx_strip_scales(const mx_strip<N, ROWS> &strip, const mx_entry &e, mx_u32 row, mx_u32 col,
                                   mx_u32 r) {
  if constexpr (mx_one_scale(N)) return strip.scales[r];
  return mx_read_scales<N>(e, row + r, col, N);
}

/* The first `rows` rows from (row, col) on; all N columns are there. */
template <mx_u32 N, mx_u32 ROWS>
MX_FN void mx_read_strip(mx_strip<N, ROWS> &strip, const mx_entry &e, mx_u32 row, mx_u32 col, mx_u32 rows) {
#pragma unroll
  for (mx_u32 r = 0; r < ROWS; r++)
    if (r < rows) strip.elems[r] = mx_read_elems<N>(e, row + r, col, N);
  if constexpr (mx_one_scale(N) && MX_SRC_SCALED) {
#pragma unroll
    for (mx_u32 r = 0; r < ROWS; r++)
      if (r < rows) strip.scales[r] = mx_read_scales<N>(e, row + r, col, N);
  }
}

template <mx_u32 N, mx_u32 ROWS>
MX_FN mx_maxima<N> mx_strip_maxima(const mx_strip<N, ROWS> &strip, const mx_entry &e, mx_u32 row, mx_u32 col,
                                   mx_u32 rows) {
  mx_maxima<N> maxima;
  mx_begin_maxima(maxima);
#pragma unroll
  for (mx_u32 r = 0; r < ROWS; r++)
    if (r < rows) mx_add_maxima<N>(maxima, strip.elems[r], mx_strip_scales(strip, e, row, col, r));
  return maxima;
}

/* Elements of the target, each column with its own reciprocal. */
template <mx_u32 N, mx_u32 ROWS>
MX_FN void mx_write_strip(const mx_strip<N, ROWS> &strip, const mx_entry &e, mx_u32 row, mx_u32 col, mx_u32 rows,
                          const mx_u32 *reciprocal) {
#pragma unroll
  for (mx_u32 r = 0; r < ROWS; r++) {
    if (r >= rows) continue;
    mx_values<N> values = mx_values_of<N>(strip.elems[r], mx_strip_scales(strip, e, row, col, r));
#pragma unroll
    for (mx_u32 k = 0; k < N; k++) values.x[k] = mx_mul(values.x[k], reciprocal[k]);
    mx_write(e, row + r, col, values, N);
  }
}

#endif
