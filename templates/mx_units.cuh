/* mx_units.cuh -- in which order the threads of a block take the units of its tile: each warp several times 32 (or as
** many as it has teams) that lie side by side, so that what a warp reads before it writes is one stretch of memory. */
#ifndef MX_UNITS_CUH
#define MX_UNITS_CUH

#include "mx_side.cuh"

/* Where unit number `b` of a warp's batch lies in the tile: rounds of the whole block, in them warps, in them batches.
** TEAMS: units that a warp takes at once; `team`: which of them is this thread's. */
template <mx_u32 TEAMS, mx_u32 BATCH> MX_FN mx_u32 mx_unit(mx_u32 round, mx_u32 b, mx_u32 team) {
  constexpr mx_u32 warps = MX_THREADS / 32;
  return ((round * warps + threadIdx.x / 32) * BATCH + b) * TEAMS + team;
}

/* Rounds that take all units of a tile. */
template <mx_u32 TEAMS, mx_u32 BATCH> __host__ __device__ constexpr mx_u32 mx_rounds() {
  return mx_ceil_div(MX_TILE_UNITS, MX_THREADS / 32 * BATCH * TEAMS);
}

/* Units in flight of a thread that reads `bytes` for each. */
__host__ __device__ constexpr mx_u32 mx_batch_of(mx_u32 bytes) {
  return mx_min(mx_ceil_div(MX_TILE_UNITS, MX_THREADS), bytes >= 4 ? 2 : 8);
}

/* A thread on its way through the units of a tile: where its unit lies, on both sides. UNIT: elements of a unit. */
struct mx_walk {
  mx_u64 src, dst;           /* addresses of the unit's first element */
  mx_u64 src_wrap, dst_wrap; /* what is added besides at the end of a row */
  mx_u32 row, at, wide;
};

template <mx_u32 UNIT> MX_FN mx_walk mx_walk_to(const mx_entry &e, const mx_tile &tile, mx_u32 unit, mx_u32 skip) {
  const mx_spot spot = mx_spot_of(tile, unit);
  mx_walk w;
  w.row = spot.row, w.at = spot.at, w.wide = tile.wide;
  w.src = mx_src_address(e, spot.row, spot.at * UNIT + skip);
  w.dst = mx_dst_address(e, spot.row, spot.at * UNIT + skip);
  w.src_wrap = ((mx_u64)e.src_ld - (mx_u64)tile.wide * UNIT) * MX_SRC_SIZE;
  w.dst_wrap = ((mx_u64)e.dst_ld - (mx_u64)tile.wide * UNIT) * MX_DST_SIZE;
  return w;
}

MX_FN void mx_walk_down(mx_walk &w) {
  w.row++;
  w.src += w.src_wrap, w.dst += w.dst_wrap;
}

/* UNITS further on; it may be behind the last unit. No sum passes 32 bits, however long a row is. */
template <mx_u32 UNIT, mx_u32 UNITS> MX_FN void mx_walk_on(mx_walk &w) {
  const mx_u32 left = w.wide - w.at;
  w.src += UNITS * UNIT * MX_SRC_SIZE, w.dst += UNITS * UNIT * MX_DST_SIZE;
  if (UNITS < left) {
    w.at += UNITS;
    return;
  }
  w.at = UNITS - left;
  mx_walk_down(w);
  if constexpr (MX_COLS / UNIT < UNITS) { /* rows may be very short */
#pragma unroll 1
    while (w.at >= w.wide) {
      w.at -= w.wide;
      mx_walk_down(w);
    }
  }
}

/* ---- swizzled scales, sector by sector ----
**
** 32 neighbouring bytes of a swizzled tile are the scales of 4 blocks of 32 columns in each of 8 rows: two
** neighbours, and those 32, 64 and 96 rows below. What writes less of them at a time costs the L2 a read of the
** rest. So a warp takes the blocks of such a sector (or of half a one, where it takes 16) instead of blocks side by
** side. Units of whole groups of 128 rows are then counted share by share, a share being what a warp takes; what is
** left below is counted row by row as ever, and begins at the same unit. */

/* Where the share of this warp in a round begins, as row and block in it. ROWS: neighbouring rows of a share, 1 or 2.
** BLOCKS: of 32 columns in a tile. */
template <mx_u32 ROWS, mx_u32 BLOCKS>
MX_FN mx_spot mx_share_of(const mx_entry &e, mx_u64 tile, mx_u32 wide, mx_u32 round) {
  constexpr mx_u32 warps = MX_THREADS / 32, units = ROWS * 4 * 4, lines = 32 / ROWS;
  const mx_u64 share = (tile - e.first_tile) * (BLOCKS / units) + round * warps + threadIdx.x / 32;
  const mx_u32 across = wide / 4;
  const mx_u32 line = !MX_ONLY_WHOLE && share >> 32 ? (mx_u32)(share / across) : (mx_u32)share / across;
  return {line / lines * 128 + line % lines * ROWS, (mx_u32)(share - (mx_u64)line * across) * 4};
}

/* Whether all units of a tile are counted by shares. `wide`: blocks of a row. */
template <mx_u32 BLOCKS> MX_FN bool mx_by_shares(const mx_entry &e, mx_u64 tile, mx_u32 cols, mx_u32 wide) {
  const mx_u64 counted = (mx_u64)(e.rows / 128 * 128) * wide;
  return cols % 128 == 0 && e.dst_row % 128 == 0 && e.dst_col % 128 == 0 && counted % BLOCKS == 0 &&
         (tile - e.first_tile + 1) * BLOCKS <= counted;
}

#endif
