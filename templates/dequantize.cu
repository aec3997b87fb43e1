/* dequantize.cu -- any elements to unscaled ones: MXFP8 and FP8 to BF16, FP16 or FP32, and casts between those.
**
** A unit is MX_VEC elements of one row. A thread first issues the loads of several units, then converts and stores. */
#include "mx_side.cuh"

static_assert(!MX_DST_SCALED, "dequantising writes elements without scales");

constexpr mx_u32 MX_STEPS = mx_ceil_div(MX_TILE_UNITS, MX_THREADS);
/* Units in flight: up to 64 bytes of a thread's loads, at most 8 of them. */
constexpr mx_u32 MX_BATCH = mx_min(MX_STEPS, mx_max(1, mx_min(8, 64 / (MX_VEC * MX_SRC_SIZE))));

extern "C" __global__ void __launch_bounds__(MX_THREADS) MX_KERNEL(const mx_entry *entries, mx_u32 count) {
  const mx_entry e = mx_find_entry(entries, count, blockIdx.x);
  const mx_u32 cols = mx_cols(e);
  const mx_tile tile = mx_tile_of(e, blockIdx.x, e.rows, mx_ceil_div(cols, MX_VEC));
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
      mx_write(e, at.row, at.at * MX_VEC, mx_values_of(from[b]), mx_kept<MX_VEC>(cols, at.at * MX_VEC));
    }
  }
}
