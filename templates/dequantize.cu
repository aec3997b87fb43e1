/* dequantize.cu -- any elements to unscaled ones: MXFP8 and FP8 to BF16, FP16 or FP32, and casts between those.
**
** A unit is MX_VEC elements of one row. A thread first issues the loads of several units, then converts and stores. */
#include "mx_side.cuh"
#include "mx_units.cuh"

static_assert(!MX_DST_SCALED, "dequantising writes elements without scales");

constexpr mx_u32 MX_BUSY = MX_COLS > 0 && mx_one_scale(MX_VEC) ? 2048 : 1280; /* threads of a multiprocessor */
constexpr mx_u32 MX_BATCH = mx_batch_of(MX_VEC * MX_SRC_SIZE);

template <bool FULL> MX_FN void mx_tile_units(const mx_entry &e, const mx_tile &tile, mx_u32 cols) {
  const mx_u32 lane = threadIdx.x % 32;
  for (mx_u32 round = 0; round < mx_rounds<32, MX_BATCH>(); round++) {
    mx_source<MX_VEC> from[MX_BATCH];
    mx_walk walk[MX_BATCH];
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++) {
      const mx_u32 unit = mx_unit<32, MX_BATCH>(round, b, lane);
      if (b == 0) {
        walk[b] = mx_walk_to<MX_VEC>(e, tile, unit, 0);
      } else {
        walk[b] = walk[b - 1];
        mx_walk_on<MX_VEC, 32>(walk[b]);
      }
      if (!FULL && unit >= tile.units) continue;
      const mx_u32 col = walk[b].at * MX_VEC, kept = mx_kept<MX_VEC>(cols, col);
      from[b].elems = mx_read_elems_at<MX_VEC>(walk[b].src, kept);
      from[b].scales = mx_read_scales<MX_VEC>(e, walk[b].row, col, kept);
    }
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++) {
      if (!FULL && mx_unit<32, MX_BATCH>(round, b, lane) >= tile.units) continue;
      const mx_u32 col = walk[b].at * MX_VEC, kept = mx_kept<MX_VEC>(cols, col);
      mx_write_at<MX_VEC>(walk[b].dst, mx_values_of(from[b]), kept);
    }
  }
}

extern "C" __global__ void __launch_bounds__(MX_THREADS, mx_blocks_of(MX_BUSY))
    MX_KERNEL(const mx_entry *entries, mx_u32 count) {
  const mx_entry e = mx_find_entry(entries, count, blockIdx.x);
  const mx_u32 cols = mx_cols(e);
  const mx_tile tile = mx_tile_of(e, blockIdx.x, e.rows, mx_ceil_div(cols, MX_VEC));
  if (tile.units == MX_TILE_UNITS && mx_rounds<32, MX_BATCH>() * MX_THREADS * MX_BATCH == MX_TILE_UNITS)
    mx_tile_units<true>(e, tile, cols);
  else
    mx_tile_units<false>(e, tile, cols);
}
