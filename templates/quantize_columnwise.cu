/* quantize_columnwise.cu -- any elements to blocks of n x 1 down a column, each with its scale.
**
** A unit is one block. A thread takes the blocks of MX_RUN neighbouring columns, one 4-byte access a row, and keeps
** what it read in registers between finding the maximum and writing. Where columns do not come in whole runs, it takes
** one column. */
#include "mx_side.cuh"

constexpr mx_u32 MX_BLOCK = MX_DST_BLOCK_ROWS;
constexpr mx_u32 MX_RUN = mx_min(MX_VEC, 4 / MX_SRC_SIZE);

static_assert(MX_DST_SCALED && MX_DST_ELEM <= MX_E5M2, "quantising writes fp8 elements and their scales");
static_assert(MX_DST_BLOCK_COLS == 1, "a columnwise block is one column");
static_assert(MX_BLOCK >= 1 && MX_BLOCK <= 128, "a thread holds a column of a block in registers");
static_assert(MX_DST_SCALE == MX_SCALE_FP32 || MX_RULE != MX_RULE_NONE, "a rule chooses the scale byte");

/* The blocks of N columns from (row, col) on, `rows` rows of them. */
template <mx_u32 N> MX_FN void mx_columns(const mx_entry &e, mx_u32 row, mx_u32 col, mx_u32 rows) {
  mx_elems<N> from[MX_BLOCK];
#pragma unroll
  for (mx_u32 r = 0; r < MX_BLOCK; r++)
    if (r < rows) from[r] = mx_read_elems<N>(e, row + r, col, N);
  mx_u32 largest[N];
#pragma unroll
  for (mx_u32 k = 0; k < N; k++) largest[k] = 0;
#pragma unroll
  for (mx_u32 r = 0; r < MX_BLOCK; r++) {
    if (r >= rows) continue;
    const mx_values<N> values = mx_values_of<N>(from[r], mx_read_scales<N>(e, row + r, col, N));
#pragma unroll
    for (mx_u32 k = 0; k < N; k++) {
      const mx_u32 a = mx_magnitude(MX_NAN, values.x[k]);
      largest[k] = largest[k] > a ? largest[k] : a;
    }
  }
  mx_u32 reciprocal[N];
#pragma unroll
  for (mx_u32 k = 0; k < N; k++) {
    const mx_chosen chosen = mx_choose(largest[k]);
    reciprocal[k] = chosen.reciprocal;
    mx_put_scale(e, row, col + k, chosen.scale);
  }
#pragma unroll
  for (mx_u32 r = 0; r < MX_BLOCK; r++) {
    if (r >= rows) continue;
    mx_values<N> values = mx_values_of<N>(from[r], mx_read_scales<N>(e, row + r, col, N));
#pragma unroll
    for (mx_u32 k = 0; k < N; k++) values.x[k] = mx_mul(values.x[k], reciprocal[k]);
    mx_write(e, row + r, col, values, N);
  }
}

template <mx_u32 N> MX_FN void mx_tile_columns(const mx_entry &e, const mx_tile &tile) {
  for (mx_u32 unit = threadIdx.x * N; unit < tile.units; unit += MX_THREADS * N) {
    const mx_spot at = mx_spot_of(tile, unit);
    const mx_u32 row = at.row * MX_BLOCK;
    mx_columns<N>(e, row, at.at, mx_min(MX_BLOCK, e.rows - row));
  }
}

extern "C" __global__ void __launch_bounds__(MX_THREADS) MX_KERNEL(const mx_entry *entries, mx_u32 count) {
  const mx_entry e = mx_find_entry(entries, count, blockIdx.x);
  const mx_u32 cols = mx_cols(e);
  const mx_tile tile = mx_tile_of(e, blockIdx.x, mx_ceil_div(e.rows, MX_BLOCK), cols);
  if (MX_TILE_UNITS % MX_RUN == 0 && cols % MX_RUN == 0)
    mx_tile_columns<MX_RUN>(e, tile);
  else
    mx_tile_columns<1>(e, tile);
}
