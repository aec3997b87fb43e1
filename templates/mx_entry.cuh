/* mx_entry.cuh -- from a thread block to its work: the entry of a tile, the units of the tile, their rows and columns.
**
** Block b works on tile b of the whole table; a tile is MX_TILE_UNITS units of one entry, the last one fewer. */
#ifndef MX_ENTRY_CUH
#define MX_ENTRY_CUH

#include "mx_load.cuh"
#include "mx_params.h"

static_assert(MX_THREADS % 32 == 0 && MX_THREADS >= 32 && MX_THREADS <= 1024, "a thread block is whole warps");
static_assert(MX_TILE_UNITS > 0 && MX_TILE_UNITS <= 1u << 24, "units of a tile are counted in 32 bits with room");
static_assert(mx_is_power(MX_VEC) && MX_VEC <= 32, "an access is a power of two of elements, at most 32");

/* The entry that holds tile `tile`: the last whose first_tile is not above it. `count` is at least 1. A warp looks at
*32
** places at once, so that a table of a thousand entries takes two rounds to memory. All lanes must call. */
MX_FN mx_entry mx_find_entry(const mx_entry *entries, mx_u32 count, mx_u64 tile) {
  mx_u32 low = 0, left = count;
  while (left > 1) {
    const mx_u32 stride = mx_ceil_div(left, 32), at = threadIdx.x % 32 * stride;
    const bool below = at < left && entries[low + at].first_tile <= tile;
    const mx_u32 last = __popc(__ballot_sync(0xffffffffu, below)) - 1; /* lane 0 always votes */
    low += last * stride;
    left = mx_min(stride, left - last * stride);
  }
  return entries[low];
}

/* A constant where all entries agree. */
MX_FN mx_u32 mx_cols(const mx_entry &e) { return MX_COLS ? MX_COLS : e.cols; }

/* How many of the N elements from column `col` on are there; col is a multiple of N and below cols. */
template <mx_u32 N> MX_FN mx_u32 mx_kept(mx_u32 cols, mx_u32 col) {
  return MX_COLS > 0 && MX_COLS % N == 0 ? N : cols - col;
}

/* Units of an entry lie row by row, `wide` units to a row. */
struct mx_tile {
  mx_u32 wide;  /* units of one row */
  mx_u32 units; /* of this tile */
  mx_u32 row;   /* of unit 0 of this tile */
  mx_u32 at;    /* unit 0's place in its row */
};

MX_FN mx_tile mx_tile_of(const mx_entry &e, mx_u64 tile, mx_u64 rows, mx_u32 wide) {
  const mx_u64 first = (tile - e.first_tile) * MX_TILE_UNITS, left = rows * wide - first;
  mx_tile t;
  t.wide = wide;
  t.units = left < MX_TILE_UNITS ? (mx_u32)left : MX_TILE_UNITS;
  t.row = first >> 32 ? (mx_u32)(first / wide) : (mx_u32)first / wide; /* a narrow division is far cheaper */
  t.at = (mx_u32)(first - (mx_u64)t.row * wide);
  return t;
}

struct mx_spot {
  mx_u32 row, at;
};

/* Row and place in it of a unit of the tile. */
MX_FN mx_spot mx_spot_of(const mx_tile &t, mx_u32 unit) {
  mx_spot s;
  if (t.wide >> 31) { /* the sum may pass 32 bits; then it is at most one row on, or two */
    const mx_u64 sum = (mx_u64)t.at + unit;
    s.row = t.row + (mx_u32)(sum / t.wide);
    s.at = (mx_u32)(sum % t.wide);
  } else {
    const mx_u32 sum = t.at + unit, down = sum / t.wide;
    s.row = t.row + down;
    s.at = sum - down * t.wide;
  }
  return s;
}

#endif
