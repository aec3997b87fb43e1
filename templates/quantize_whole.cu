/* quantize_whole.cu -- FP32 scratch, whose largest magnitude lies in its cell, to fp8 with one FP32 scale for the
** matrix.
**
** A unit is MX_VEC elements of one row. The scale is written with the matrix's first element. */
#include "mx_side.cuh"

static_assert(MX_SRC_SCALE == MX_SCALE_AMAX, "the largest magnitude comes from a cell");
static_assert(MX_DST_SCALE == MX_SCALE_FP32 && MX_DST_ELEM <= MX_E5M2, "fp8 with an FP32 scale is written");

constexpr mx_u32 MX_STEPS = mx_ceil_div(MX_TILE_UNITS, MX_THREADS);
/* Units in flight: up to 64 bytes of a thread's loads, at most 8 of them. */
constexpr mx_u32 MX_BATCH = mx_min(MX_STEPS, mx_max(1, mx_min(8, 64 / (MX_VEC * MX_SRC_SIZE))));

extern "C" __global__ void __launch_bounds__(MX_THREADS) MX_KERNEL(MX_WORK) {
  const mx_entry e = mx_find_entry(entries, count, only, blockIdx.x);
  const mx_u32 cols = mx_cols(e);
  const mx_tile tile = mx_tile_of(e, blockIdx.x, e.rows, mx_ceil_div(cols, MX_VEC));
  const mx_chosen chosen = mx_choose(*(const mx_u32 *)e.src_scale);
  for (mx_u32 step = 0; step < MX_STEPS; step += MX_BATCH) {
    mx_source<MX_VEC> from[MX_BATCH];
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++) {
      const mx_u32 unit = (step + b) * MX_THREADS + threadIdx.x;
      if (unit >= tile.units) continue;
      const mx_spot at = mx_spot_of(tile, unit);
      from[b] = mx_read<MX_VEC>(e, at.row, at.at * MX_VEC, mx_kept<MX_VEC>(cols, at.at * MX_VEC));
    }
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++) {
      const mx_u32 unit = (step + b) * MX_THREADS + threadIdx.x;
      if (unit >= tile.units) continue;
      const mx_spot at = mx_spot_of(tile, unit);
      const mx_u32 col = at.at * MX_VEC;
      mx_write(e, at.row, col, mx_scaled(mx_values_of(from[b]), chosen.reciprocal), mx_kept<MX_VEC>(cols, col));
      if (e.dst_row + at.row == 0 && e.dst_col + col == 0) mx_put_scale(e, at.row, col, chosen.scale);
    }
  }
}
