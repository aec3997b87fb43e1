/* move.cu -- elements as they are, from one layout to another; their scales copied, expanded or laid out anew.
**
** A unit is MX_VEC elements of one row. A target block's scale is written with the block's first element. */
#include "mx_side.cuh"
#include "mx_units.cuh"

static_assert(MX_SRC_ELEM == MX_DST_ELEM, "moving keeps the element type");
static_assert(MX_SRC_SCALE == MX_DST_SCALE || (!MX_SRC_SCALED && !MX_DST_SCALED), "moving keeps the kind of scale");

/* Threads of a multiprocessor. */
constexpr mx_u32 MX_BUSY = MX_COLS == 0 || !mx_one_scale(MX_VEC) ? 1280 : MX_DST_SCALED ? 1536 : 2048;
constexpr mx_u32 MX_BATCH = mx_batch_of(MX_VEC * MX_SRC_SIZE);
/* Blocks begin only where a unit begins. */
constexpr bool MX_WIDE_BLOCKS = MX_DST_BLOCK_COLS == MX_WHOLE || MX_DST_BLOCK_COLS % MX_VEC == 0;

/* Scales that a unit may have to move: one, or one for each column. */
constexpr mx_u32 MX_SCALES = MX_DST_SCALED ? MX_WIDE_BLOCKS ? 1 : MX_VEC : 0;

struct mx_moved {
  mx_elems<MX_VEC> elems;
  mx_u32 scales[mx_max(1, MX_SCALES)];
};

/* Whether the unit's scale number k is written with it. */
MX_FN bool mx_moves_scale(const mx_entry &e, mx_u32 row, mx_u32 col, mx_u32 kept, mx_u32 k) {
  return k < kept && mx_block_first(e.dst_row + row, MX_DST_BLOCK_ROWS) &&
         mx_block_first(e.dst_col + col + k, MX_DST_BLOCK_COLS);
}

/* A sector of swizzled scales and its elements: neighbouring rows are batches, rows far apart are other lanes' or other
** warps'. Each lane moves one of the scales. */
constexpr bool MX_SHARES = MX_DST_LAYOUT == MX_SWIZZLED && MX_DST_BLOCK_ROWS == 1 && MX_DST_BLOCK_COLS == 32 &&
                           MX_VEC == 16 && MX_BATCH == 2 && MX_TILE_UNITS % (MX_THREADS * MX_BATCH) == 0;

/* Units are half of what mx_units.cuh counts: its tiles are blocks of 32. Where the sectors of a block's warps lie side
** by side, each warp takes the elements of one stretch of a row, of every warp's sector; otherwise those of its own, 8
** lanes to a row. On an H100 stretches move 32768 x 32768 in 755 us, sectors by themselves in 766. */
MX_FN void mx_tile_shares(const mx_entry &e, mx_u32 cols) {
  constexpr mx_u32 warps = MX_THREADS / 32, sector = 4 * 32 /* columns */, stretch = 32 * MX_VEC;
  constexpr mx_u32 across = mx_max(1, warps * sector / stretch); /* stretches of a row */
  const mx_u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (mx_u32 round = 0; round < mx_rounds<32, MX_BATCH>(); round++) {
    const mx_spot share = mx_share_of<2, MX_TILE_UNITS / 2>(e, blockIdx.x, cols / 32, round);
    mx_u32 row = share.row + lane / 8 * 32, col = share.at * 32 + lane % 8 * MX_VEC;
    if (warps == across * 4 && cols % (warps * sector) == 0) {
      row = share.row + warp / across * 32;
      col = share.at * 32 - warp * sector + warp % across * stretch + lane * MX_VEC;
    }
    const mx_u32 scale_row = share.row + lane / 16 + lane % 16 / 4 * 32, scale_col = (share.at + lane % 4) * 32;
    mx_u64 src = mx_src_address(e, row, col), dst = mx_dst_address(e, row, col);
    mx_elems<MX_VEC> from[MX_BATCH];
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++, src += (mx_u64)e.src_ld * MX_SRC_SIZE)
      from[b] = mx_read_elems_at<MX_VEC>(src, MX_VEC);
    const mx_u32 scale = mx_src_scale(e, scale_row, scale_col);
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++, dst += (mx_u64)e.dst_ld * MX_DST_SIZE) mx_store(dst, from[b].pack);
    mx_put_scale(e, scale_row, scale_col, scale);
  }
}

template <bool FULL> MX_FN void mx_tile_units(const mx_entry &e, const mx_tile &tile, mx_u32 cols) {
  const mx_u32 lane = threadIdx.x % 32;
  for (mx_u32 round = 0; round < mx_rounds<32, MX_BATCH>(); round++) {
    mx_moved from[MX_BATCH];
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
#pragma unroll
      for (mx_u32 k = 0; k < MX_SCALES; k++)
        if (mx_moves_scale(e, walk[b].row, col, kept, k)) from[b].scales[k] = mx_src_scale(e, walk[b].row, col + k);
    }
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++) {
      if (!FULL && mx_unit<32, MX_BATCH>(round, b, lane) >= tile.units) continue;
      const mx_u32 col = walk[b].at * MX_VEC, kept = mx_kept<MX_VEC>(cols, col);
      if (kept >= MX_VEC)
        mx_store(walk[b].dst, from[b].elems.pack);
      else
        mx_store_some<MX_DST_SIZE>(walk[b].dst, from[b].elems.pack, kept);
#pragma unroll
      for (mx_u32 k = 0; k < MX_SCALES; k++)
        if (mx_moves_scale(e, walk[b].row, col, kept, k)) mx_put_scale(e, walk[b].row, col + k, from[b].scales[k]);
    }
  }
}

extern "C" __global__ void __launch_bounds__(MX_THREADS, mx_blocks_of(MX_BUSY)) MX_KERNEL(MX_WORK) {
  const mx_entry e = mx_find_entry(entries, count, only, blockIdx.x);
  const mx_u32 cols = mx_cols(e);
  if constexpr (MX_SHARES) {
    if (MX_ONLY_WHOLE || mx_by_shares<MX_TILE_UNITS / 2>(e, blockIdx.x, cols, cols / 32)) {
      mx_tile_shares(e, cols);
      return;
    }
  }
  const mx_tile tile = mx_tile_of(e, blockIdx.x, e.rows, mx_ceil_div(cols, MX_VEC));
  if (MX_ONLY_WHOLE ||
      (!MX_SHARES && tile.units == MX_TILE_UNITS && mx_rounds<32, MX_BATCH>() * MX_THREADS * MX_BATCH == MX_TILE_UNITS))
    mx_tile_units<true>(e, tile, cols);
  else
    mx_tile_units<false>(e, tile, cols);
}
