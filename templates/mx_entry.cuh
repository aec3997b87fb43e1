/* mx_entry.cuh -- from a thread block to its work: the entry of a tile, the units of the tile, their rows and columns.
**
** Block b works on tile b of the whole table; a tile is MX_TILE_UNITS units of one entry, the last one fewer. */
#ifndef MX_ENTRY_CUH
#define MX_ENTRY_CUH

#include "mx_load.cuh"
#include "mx_params.h"
#include "mx_ptx.cuh"

/* For counting instructions, never for running: one entry, whole tiles and places below 2^32 are taken for granted, so
** that what is left of a kernel is what a thread of a large matrix runs. */
#ifdef MX_ONLY_WHOLE_TILES
constexpr bool MX_ONLY_WHOLE = true;
#else
constexpr bool MX_ONLY_WHOLE = false;
#endif

static_assert(MX_THREADS % 32 == 0 && MX_THREADS >= 32 && MX_THREADS <= 1024, "a thread block is whole warps");
static_assert(MX_TILE_UNITS > 0 && MX_TILE_UNITS <= 1u << 24, "units of a tile are counted in 32 bits with room");
static_assert(mx_is_power(MX_VEC) && MX_VEC <= 32, "an access is a power of two of elements, at most 32");

#if defined(__CUDACC__)
template <mx_u32 OFFSET> MX_FN mx_u64 mx_entry_word(const mx_entry *entry) {
  mx_u64 word;
  asm volatile("ld.global.nc.u64 %0, [%1+%2];" : "=l"(word) : "l"(entry), "n"(OFFSET));
  return word;
}

/* All words of an entry at once: the compiler would otherwise read each where it is first used, and wait each time. */
MX_FN mx_entry mx_read_entry(const mx_entry *entry) {
  mx_entry e;
  e.src = mx_entry_word<0>(entry), e.dst = mx_entry_word<16>(entry);
  e.src_scale = MX_SRC_SCALE != MX_SCALE_NONE ? mx_entry_word<8>(entry) : 0;
  e.dst_scale = MX_DST_SCALE != MX_SCALE_NONE ? mx_entry_word<24>(entry) : 0;
  const mx_u64 src_ld = mx_entry_word<32>(entry);
  e.src_ld = (mx_u32)src_ld, e.flags = (mx_u32)(src_ld >> 32), e.dst_ld = (mx_u32)mx_entry_word<40>(entry);
  const mx_u64 src_at = mx_entry_word<48>(entry), dst_at = mx_entry_word<56>(entry);
  const mx_u64 extent = mx_entry_word<64>(entry);
  const mx_u64 scale_ld = MX_SRC_SCALE != MX_SCALE_NONE || MX_DST_SCALE != MX_SCALE_NONE ? mx_entry_word<72>(entry) : 0;
  e.src_row = (mx_u32)src_at, e.src_col = (mx_u32)(src_at >> 32);
  e.dst_row = (mx_u32)dst_at, e.dst_col = (mx_u32)(dst_at >> 32);
  e.rows = (mx_u32)extent, e.cols = (mx_u32)(extent >> 32);
  e.src_scale_ld = (mx_u32)scale_ld, e.dst_scale_ld = (mx_u32)(scale_ld >> 32);
  e.first_tile = mx_entry_word<80>(entry);
  return e;
}
#else
MX_FN mx_entry mx_read_entry(const mx_entry *entry) { return *entry; }
#endif

/* The entry that holds tile `tile`: the last whose first_tile is not above it. `count` is at least 1. A warp looks
** at 32 places at once, so that a table of a thousand entries takes two rounds to memory. All lanes must call.
**
** To look for its work is what a kernel does first, with a wait before it touches memory: launches may let it begin
** while what the stream has before it still runs (programmatic stream serialization). */
MX_FN mx_u32 mx_find_index(const mx_entry *entries, mx_u32 count, mx_u64 tile) {
  mx_griddepcontrol_wait();
  mx_u32 low = 0, left = count;
  while (left > 1) {
    const mx_u32 stride = mx_ceil_div(left, 32), at = threadIdx.x % 32 * stride;
    const bool below = at < left && entries[low + at].first_tile <= tile;
    const mx_u32 last = __popc(__ballot_sync(0xffffffffu, below)) - 1; /* lane 0 always votes */
    low += last * stride;
    left = mx_min(stride, left - last * stride);
  }
  return low;
}

/* What every kernel is given: the table of entries, and where it has one entry that once more, so that blocks need not
** wait for memory before they know their work. */
#define MX_WORK const mx_entry *entries, mx_u32 count, const __grid_constant__ mx_entry only

/* The entry of a tile. */
MX_FN mx_entry mx_find_entry(const mx_entry *entries, mx_u32 count, mx_u64 tile) {
  return mx_read_entry(entries + mx_find_index(entries, count, tile));
}

MX_FN mx_entry mx_find_entry(const mx_entry *entries, mx_u32 count, const mx_entry &only, mx_u64 tile) {
  if (!MX_ONLY_WHOLE && count > 1) return mx_find_entry(entries, count, tile);
  mx_griddepcontrol_wait();
  return only;
}

/* A constant where all entries agree. */
MX_FN mx_u32 mx_cols(const mx_entry &e) { return MX_COLS ? MX_COLS : e.cols; }

/* How many of the N elements from column `col` on are there; col is a multiple of N and below cols. */
template <mx_u32 N> MX_FN mx_u32 mx_kept(mx_u32 cols, mx_u32 col) {
  return MX_COLS > 0 && MX_COLS % N == 0 ? N : cols - col;
}

/* Blocks that a multiprocessor should hold at least, so that `threads` of it are busy: what __launch_bounds__ takes. */
__host__ __device__ constexpr mx_u32 mx_blocks_of(mx_u32 threads) { return mx_max(1, threads / MX_THREADS); }

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
  t.row = !MX_ONLY_WHOLE && first >> 32 ? (mx_u32)(first / wide)
                                        : (mx_u32)first / wide; /* a narrow division is far cheaper */
  t.at = (mx_u32)(first - (mx_u64)t.row * wide);
  return t;
}

struct mx_spot {
  mx_u32 row, at;
};

/* Row and place in it of unit `unit`, of rows of `wide` units. */
MX_FN mx_spot mx_spot_at(mx_u32 unit, mx_u32 wide) {
  mx_spot s;
  s.row = unit / wide;
  s.at = unit - s.row * wide;
  return s;
}

/* Row and place in it of a unit of the tile. */
MX_FN mx_spot mx_spot_of(const mx_tile &t, mx_u32 unit) {
  mx_spot s;
  if (!MX_ONLY_WHOLE && t.wide >> 31) { /* the sum may pass 32 bits; then it is at most one row on, or two */
    const mx_u64 sum = (mx_u64)t.at + unit;
    s.row = t.row + (mx_u32)(sum / t.wide);
    s.at = (mx_u32)(sum % t.wide);
  } else {
    s = mx_spot_at(t.at + unit, t.wide);
    s.row += t.row;
  }
  return s;
}

/* Rows of units that the tile's last unit needs. */
MX_FN mx_u32 mx_tile_rows(const mx_tile &t) { return mx_spot_of(t, t.units - 1).row + 1; }

#endif
