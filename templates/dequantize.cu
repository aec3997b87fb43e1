/* dequantize.cu -- any elements to unscaled ones: MXFP8 and FP8 to BF16, FP16 or FP32, and casts between those.
**
** A unit is MX_VEC elements of one row. A thread first issues the loads of several units, then converts and stores. */
#include "mx_side.cuh"
#include "mx_units.cuh"

static_assert(!MX_DST_SCALED, "dequantising writes elements without scales");

constexpr mx_u32 MX_BATCH = mx_batch_of(MX_VEC * MX_SRC_SIZE);

extern "C" __global__ void __launch_bounds__(MX_THREADS) MX_KERNEL(const mx_entry *entries, mx_u32 count) {
  const mx_entry e = mx_find_entry(entries, count, blockIdx.x);
  const mx_u32 cols = mx_cols(e), lane = threadIdx.x % 32;
  const mx_tile tile = mx_tile_of(e, blockIdx.x, e.rows, mx_ceil_div(cols, MX_VEC));
  for (mx_u32 round = 0; round < mx_rounds<32, MX_BATCH>(); round++) {
    mx_source<MX_VEC> from[MX_BATCH];
    mx_spot at[MX_BATCH];
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++) {
      const mx_u32 unit = mx_unit<32, MX_BATCH>(round, b, lane);
      if (unit >= tile.units) continue;
      at[b] = mx_spot_of(tile, unit);
      from[b] = mx_read<MX_VEC>(e, at[b].row, at[b].at * MX_VEC, mx_kept<MX_VEC>(cols, at[b].at * MX_VEC));
    }
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++) {
      if (mx_unit<32, MX_BATCH>(round, b, lane) >= tile.units) continue;
      const mx_u32 col = at[b].at * MX_VEC;
      mx_write(e, at[b].row, col, mx_values_of(from[b]), mx_kept<MX_VEC>(cols, col));
    }
  }
}
