/* amax.cu -- the largest magnitude of a matrix, as bits in one cell that all thread blocks raise: what fp8 with one
** scale a tensor needs before its first element can be written.
**
** A unit is MX_VEC elements of one row. The cell was zero. */
#include "mx_side.cuh"

static_assert(MX_DST_SCALE == MX_SCALE_AMAX, "the largest magnitude goes to a cell");

constexpr mx_u32 MX_STEPS = mx_ceil_div(MX_TILE_UNITS, MX_THREADS);

extern "C" __global__ void __launch_bounds__(MX_THREADS) MX_KERNEL(MX_WORK) {
  const mx_entry e = mx_find_entry(entries, count, only, blockIdx.x);
  const mx_u32 cols = mx_cols(e);
  const mx_tile tile = mx_tile_of(e, blockIdx.x, e.rows, mx_ceil_div(cols, MX_VEC));
  mx_u32 largest = 0;
#pragma unroll 4
  for (mx_u32 step = 0; step < MX_STEPS; step++) {
    const mx_u32 unit = step * MX_THREADS + threadIdx.x;
    if (unit >= tile.units) continue;
    const mx_spot at = mx_spot_of(tile, unit);
    const mx_u32 col = at.at * MX_VEC, kept = mx_kept<MX_VEC>(cols, col);
    const mx_u32 a = mx_largest(mx_values_of(mx_read<MX_VEC>(e, at.row, col, kept)), kept);
    largest = largest > a ? largest : a;
  }
  largest = mx_largest_of_block(largest);
  if (threadIdx.x == 0) atomicMax((mx_u32 *)e.dst_scale, largest);
}
