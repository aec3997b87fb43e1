/* quantize_rowwise.cu -- any elements to blocks of 1 x n along a row, each with its scale.
**
** A unit is one block. MX_LANES neighbouring lanes share it, each with MX_RUNS runs of MX_RUN elements, so that a
** warp's loads and stores are contiguous; the maximum goes round by shuffles. */
#include "mx_side.cuh"
#include "mx_units.cuh"

constexpr mx_u32 MX_BLOCK = MX_DST_BLOCK_COLS;
constexpr mx_u32 MX_RUN = mx_min(MX_VEC, MX_BLOCK);
constexpr mx_u32 MX_LANES = mx_min(32, MX_BLOCK / MX_RUN);
constexpr mx_u32 MX_RUNS = MX_BLOCK / (MX_RUN * MX_LANES);
constexpr mx_u32 MX_TEAMS = 32 / MX_LANES; /* of a warp */

/* Threads of a multiprocessor; fewer where converting to fp8 is arithmetic, which takes more registers. */
constexpr mx_u32 MX_BUSY = !MX_HAS_FP8_PAIRS ? 768 : MX_COLS == 0 ? 1024 : MX_HAS_BLACKWELL ? 1280 : 1536;

static_assert(MX_DST_SCALED && MX_DST_ELEM <= MX_E5M2, "quantising writes fp8 elements and their scales");
static_assert(MX_DST_BLOCK_ROWS == 1, "a rowwise block is one row");
static_assert(mx_is_power(MX_BLOCK) && MX_BLOCK <= 1024, "lanes share a block evenly and hold it in registers");
static_assert(MX_DST_SCALE == MX_SCALE_FP32 || MX_RULE != MX_RULE_NONE, "a rule chooses the scale byte");

/* Columns are open where a launch has matrices of several shapes. On an H100, 1000 tensors of experts take 848 us
** streamed, 858 kept; a matrix of 32768 x 32768 the other way round, 1063 and 1055. */
constexpr mx_policy MX_HINT = MX_COLS == 0 ? MX_STREAMED : MX_KEPT;

/* Blocks in flight: up to 64 bytes of a thread's loads, at most 4 of them, and a lane of its own for each one's scale.
 */
constexpr mx_u32 MX_BATCH = mx_min(mx_min(4, MX_LANES), mx_max(1, 64 / (MX_RUNS * MX_RUN * MX_SRC_SIZE)));

/* Whether all columns are known to be whole blocks. */
constexpr bool MX_WHOLE_BLOCKS = MX_COLS > 0 && MX_COLS % MX_BLOCK == 0;

/* How many elements of a run that begins at column `col` are there. EVEN: columns are whole blocks. */
template <bool EVEN> MX_FN mx_u32 mx_has(mx_u32 cols, mx_u32 col) {
  return EVEN ? MX_RUN : col < cols ? mx_kept<MX_RUN>(cols, col) : 0;
}

/* Sectors of swizzled scales: neighbouring rows are different teams', rows far apart are batches. */
constexpr mx_u32 MX_SHARE_ROWS = MX_TEAMS / 4;
constexpr bool MX_SHARES = MX_DST_LAYOUT == MX_SWIZZLED && MX_BLOCK == 32 && MX_RUNS == 1 && MX_BATCH == 4 &&
                           (MX_SHARE_ROWS == 1 || MX_SHARE_ROWS == 2) &&
                           MX_TILE_UNITS % (MX_THREADS / 32 * MX_TEAMS * MX_BATCH) == 0;

/* FULL: all units of the tile are there. SHARES: they are counted by shares. EVEN: their columns are whole blocks. */
template <bool FULL, bool SHARES, bool EVEN>
MX_FN void mx_tile_blocks(const mx_entry &e, const mx_tile &tile, mx_u32 cols) {
  const mx_u32 team = threadIdx.x % 32 / MX_LANES, lane = threadIdx.x % MX_LANES;
  constexpr mx_u32 apart = MX_LANES * MX_RUN; /* elements between two runs of a lane */
  for (mx_u32 round = 0; round < mx_rounds<MX_TEAMS, MX_BATCH>(); round++) {
    mx_source<MX_RUN> from[MX_BATCH][MX_RUNS];
    mx_walk walk[MX_BATCH];
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++) {
      const mx_u32 unit = mx_unit<MX_TEAMS, MX_BATCH>(round, b, team);
      if constexpr (SHARES) {
        if (b == 0) {
          const mx_spot share = mx_share_of<MX_SHARE_ROWS, MX_TILE_UNITS>(e, blockIdx.x, tile.wide, round);
          walk[b].row = share.row + team / 4, walk[b].at = share.at + team % 4;
          walk[b].src = mx_src_address(e, walk[b].row, walk[b].at * MX_BLOCK + lane * MX_RUN);
          walk[b].dst = mx_dst_address(e, walk[b].row, walk[b].at * MX_BLOCK + lane * MX_RUN);
        } else {
          walk[b] = walk[b - 1];
          walk[b].row += 32;
          walk[b].src += (mx_u64)e.src_ld * 32 * MX_SRC_SIZE;
          walk[b].dst += (mx_u64)e.dst_ld * 32 * MX_DST_SIZE;
        }
      } else if (b == 0) {
        walk[b] = mx_walk_to<MX_BLOCK>(e, tile, unit, lane * MX_RUN);
      } else {
        walk[b] = walk[b - 1];
        mx_walk_on<MX_BLOCK, MX_TEAMS>(walk[b]);
      }
      if (!FULL && unit >= tile.units) continue;
#pragma unroll
      for (mx_u32 r = 0; r < MX_RUNS; r++) {
        const mx_u32 col = walk[b].at * MX_BLOCK + lane * MX_RUN + r * apart, kept = mx_has<EVEN>(cols, col);
        if (!kept) continue;
        from[b][r].elems = mx_read_elems_at<MX_RUN, MX_HINT>(walk[b].src + r * apart * MX_SRC_SIZE, kept);
        from[b][r].scales = mx_read_scales<MX_RUN>(e, walk[b].row, col, kept);
      }
    }
    mx_u32 own_scale = 0; /* of the block whose scale this lane writes: its team's number `lane` */
    mx_spot own = {0, 0};
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++) {
      /* All lanes take part in shuffles. */
      const bool mine = FULL || mx_unit<MX_TEAMS, MX_BATCH>(round, b, team) < tile.units;
      mx_u32 largest = 0;
#pragma unroll
      for (mx_u32 r = 0; r < MX_RUNS; r++) {
        const mx_u32 kept = mx_has<EVEN>(cols, walk[b].at * MX_BLOCK + lane * MX_RUN + r * apart);
        if (!mine || !kept) continue;
        const mx_u32 a = mx_largest_of_run(from[b][r], kept);
        largest = largest > a ? largest : a;
      }
      const mx_chosen chosen = mx_choose(mx_largest_of_lanes<MX_LANES>(largest));
      if (lane == b) own_scale = chosen.scale, own.row = walk[b].row, own.at = walk[b].at;
      if (!mine) continue;
#pragma unroll
      for (mx_u32 r = 0; r < MX_RUNS; r++) {
        const mx_u32 kept = mx_has<EVEN>(cols, walk[b].at * MX_BLOCK + lane * MX_RUN + r * apart);
        if (!kept) continue;
        const mx_values<MX_RUN> values = mx_scaled(mx_values_of(from[b][r]), chosen.reciprocal);
        mx_write_at<MX_RUN, MX_HINT>(walk[b].dst + r * apart, values, kept);
      }
    }
    /* One store for the scales of a warp's whole batch. */
    if (lane < MX_BATCH && (FULL || mx_unit<MX_TEAMS, MX_BATCH>(round, lane, team) < tile.units))
      mx_put_scale(e, own.row, own.at * MX_BLOCK, own_scale);
  }
}

extern "C" __global__ void __launch_bounds__(MX_THREADS, mx_blocks_of(MX_BUSY)) MX_KERNEL(MX_WORK) {
  const mx_entry e = mx_find_entry(entries, count, only, blockIdx.x);
  const mx_u32 cols = mx_cols(e);
  const mx_tile tile = mx_tile_of(e, blockIdx.x, e.rows, mx_ceil_div(cols, MX_BLOCK));
  constexpr bool whole = mx_rounds<MX_TEAMS, MX_BATCH>() * (MX_THREADS / MX_LANES) * MX_BATCH == MX_TILE_UNITS;
  if constexpr (MX_SHARES) {
    if (MX_ONLY_WHOLE || mx_by_shares<MX_TILE_UNITS>(e, blockIdx.x, cols, tile.wide)) {
      mx_tile_blocks<true, true, true>(e, tile, cols);
      return;
    }
  }
  const bool full = whole && !MX_SHARES && tile.units == MX_TILE_UNITS;
  if constexpr (MX_COLS == 0) { /* what is known of columns is known to all paths */
    if (MX_ONLY_WHOLE || (full && cols % MX_BLOCK == 0)) {
      mx_tile_blocks<true, false, true>(e, tile, cols);
      return;
    }
  }
  if (MX_ONLY_WHOLE || full)
    mx_tile_blocks<true, false, MX_WHOLE_BLOCKS>(e, tile, cols);
  else
    mx_tile_blocks<false, false, MX_WHOLE_BLOCKS>(e, tile, cols);
}
