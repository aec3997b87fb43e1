/* mx_strip.cuh -- a strip of a matrix in a thread's registers: N neighbouring columns of ROWS rows, read once, looked
** through for maxima, then written as elements. What columnwise and small square blocks are quantised from. */
#ifndef MX_STRIP_CUH
#define MX_STRIP_CUH

#include "mx_side.cuh"

/* Columns of a strip: 8 bytes of a row. */
constexpr mx_u32 MX_STRIP = mx_min(MX_VEC, mx_max(1, 8 / MX_SRC_SIZE));

/* Of 8-bit elements the values are kept: decoding them twice costs more than registers. */
constexpr bool MX_KEEP_VALUES = MX_SRC_SIZE == 1;

template <mx_u32 N, mx_u32 ROWS> struct mx_strip {
  mx_elems<N> elems[MX_KEEP_VALUES ? 1 : ROWS];
  mx_values<N> values[MX_KEEP_VALUES ? ROWS : 1];
};

/* The scales of N columns in rows below each other. Where each row has one of its own, the next is a fixed step on. */
template <mx_u32 N, mx_u32 ROWS>
MX_FN void mx_read_scales_down(mx_source<N> *from, const mx_entry &e, mx_u32 row, mx_u32 col, mx_u32 rows) {
  constexpr bool steps = MX_SRC_SCALED && mx_one_scale(N) && MX_SRC_BLOCK_ROWS == 1 && MX_SRC_LAYOUT != MX_SWIZZLED;
  mx_u64 address = steps ? mx_src_scale_address(e, row, col) : 0;
#pragma unroll
  for (mx_u32 r = 0; r < ROWS; r++, address += (mx_u64)e.src_scale_ld * MX_SRC_SCALE_SIZE) {
    if (r >= rows) continue;
    if constexpr (steps)
      from[r].scales.raw[0] = mx_load_cached<MX_SRC_SCALE_SIZE>(address).word[0];
    else
      from[r].scales = mx_read_scales<N>(e, row + r, col, N);
  }
}

/* The first `rows` rows from (row, col) on; all N columns are there. */
template <mx_u32 N, mx_u32 ROWS>
MX_FN void mx_read_strip(mx_strip<N, ROWS> &strip, const mx_entry &e, mx_u32 row, mx_u32 col, mx_u32 rows) {
  mx_u64 address = mx_src_address(e, row, col);
  const mx_u64 step = (mx_u64)e.src_ld * MX_SRC_SIZE;
  if constexpr (MX_KEEP_VALUES) {
    mx_source<N> from[ROWS];
#pragma unroll
    for (mx_u32 r = 0; r < ROWS; r++, address += step)
      if (r < rows) from[r].elems = mx_read_elems_at<N>(address, N);
    mx_read_scales_down<N, ROWS>(from, e, row, col, rows);
#pragma unroll
    for (mx_u32 r = 0; r < ROWS; r++)
      if (r < rows) strip.values[r] = mx_values_of(from[r]);
  } else {
#pragma unroll
    for (mx_u32 r = 0; r < ROWS; r++, address += step)
      if (r < rows) strip.elems[r] = mx_read_elems_at<N>(address, N);
  }
}

/* Values of row r. */
template <mx_u32 N, mx_u32 ROWS>
MX_FN mx_values<N> mx_strip_values(const mx_strip<N, ROWS> &strip, const mx_entry &e, mx_u32 row, mx_u32 col,
                                   mx_u32 r) {
  if constexpr (MX_KEEP_VALUES) return strip.values[r];
  return mx_values_of<N>(strip.elems[r], mx_read_scales<N>(e, row + r, col, N));
}

template <mx_u32 N, mx_u32 ROWS>
MX_FN mx_maxima<N> mx_strip_maxima(const mx_strip<N, ROWS> &strip, const mx_entry &e, mx_u32 row, mx_u32 col,
                                   mx_u32 rows) {
  mx_maxima<N> maxima;
  mx_begin_maxima(maxima);
#pragma unroll
  for (mx_u32 r = 0; r < ROWS; r++) {
    if (r >= rows) continue;
    if constexpr (mx_by_pairs<N>())
      mx_add_pairs<N>(maxima, strip.elems[r]);
    else
      mx_add_values<N>(maxima, mx_strip_values(strip, e, row, col, r));
  }
  return maxima;
}

/* Elements of the target, each column with its own reciprocal. */
template <mx_u32 N, mx_u32 ROWS>
MX_FN void mx_write_strip(const mx_strip<N, ROWS> &strip, const mx_entry &e, mx_u32 row, mx_u32 col, mx_u32 rows,
                          const mx_u32 *reciprocal) {
  mx_u64 address = mx_dst_address(e, row, col);
  const mx_u64 step = (mx_u64)e.dst_ld * MX_DST_SIZE;
#pragma unroll
  for (mx_u32 r = 0; r < ROWS; r++, address += step) {
    if (r >= rows) continue;
    mx_write_at<N>(address, mx_scaled(mx_strip_values(strip, e, row, col, r), reciprocal), N);
  }
}

#endif
