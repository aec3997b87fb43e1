/* quantize_columnwise.cu -- any elements to blocks of n x 1 down a column, each with its scale.
**
** A unit is one block. A thread keeps a strip of MX_STRIP neighbouring columns in registers between finding the maxima
** and writing. Where a whole block would be too many registers, MX_PARTS threads share it, and choose its scales
** together. Where columns do not come in whole strips, a strip is one column. */
#include "mx_meet.cuh"
#include "mx_strip.cuh"

constexpr mx_u32 MX_BLOCK = MX_DST_BLOCK_ROWS;
/* Decoding 8-bit elements twice is work that more threads should share; otherwise up to 32 rows are one thread's. */
constexpr mx_u32 MX_ROWS = MX_SRC_SIZE == 1 && MX_BLOCK % 8 == 0 ? 8 : mx_min(32, MX_BLOCK);
constexpr mx_u32 MX_PARTS = mx_ceil_div(MX_BLOCK, MX_ROWS);
constexpr mx_u32 MX_STRIPS = MX_THREADS / MX_PARTS; /* side by side, of a thread block */

/* Threads of a multiprocessor; fewer where converting to fp8 is arithmetic, which takes more registers. */
constexpr mx_u32 MX_BUSY = MX_SRC_SIZE == 1 ? (MX_HAS_FP8_PAIRS ? 640 : 512) : MX_HAS_FP8_PAIRS ? 512 : 256;

static_assert(MX_DST_SCALED && MX_DST_ELEM <= MX_E5M2, "quantising writes fp8 elements and their scales");
static_assert(MX_DST_BLOCK_COLS == 1, "a columnwise block is one column");
static_assert(MX_BLOCK >= 1 && MX_BLOCK <= 128 && MX_STRIPS > 0, "few threads share a column of a block");
static_assert(MX_DST_SCALE == MX_SCALE_FP32 || MX_RULE != MX_RULE_NONE, "a rule chooses the scale byte");

/* The columns from a spot on; the first row of its block is at.row * MX_BLOCK. */
template <bool FULL, mx_u32 N> MX_FN void mx_columns(const mx_entry &e, const mx_spot &at, bool mine) {
  const mx_u32 strip_at = threadIdx.x % MX_STRIPS, part = threadIdx.x / MX_STRIPS;
  const mx_u32 row = at.row * MX_BLOCK + part * MX_ROWS;
  mx_u32 rows = MX_ROWS;
  if constexpr (!FULL) {
    const mx_u32 there = mine ? mx_min(MX_BLOCK, e.rows - at.row * MX_BLOCK) : 0, before = part * MX_ROWS;
    rows = before < there ? mx_min(MX_ROWS, there - before) : 0;
  }
  mx_strip<N, MX_ROWS> strip;
  mx_read_strip(strip, e, row, at.at, rows);
  const mx_maxima<N> maxima = mx_strip_maxima(strip, e, row, at.at, rows);
  const mx_column_scales<N> scales = mx_choose_together<N, MX_PARTS, MX_STRIPS>(maxima, strip_at, part);
  if (rows == 0) return;
  if (part == 0) mx_put_column_scales<N, MX_BLOCK>(e, row, at.at, N, scales.stored);
  mx_write_strip(strip, e, row, at.at, rows, scales.reciprocal);
}

/* FULL: all of the tile is there, every block whole. */
template <bool FULL, mx_u32 N> MX_FN void mx_tile_columns(const mx_entry &e, const mx_tile &tile) {
  for (mx_u32 first = 0; first < MX_TILE_UNITS; first += MX_STRIPS * N) {
    const mx_u32 unit = first + threadIdx.x % MX_STRIPS * N;
    const bool mine = unit < tile.units && threadIdx.x / MX_STRIPS < MX_PARTS;
    mx_columns<FULL, N>(e, mx_spot_of(tile, mine ? unit : 0), mine);
  }
}

extern "C" __global__ void __launch_bounds__(MX_THREADS, mx_blocks_of(MX_BUSY)) MX_KERNEL(MX_WORK) {
  constexpr bool full = MX_HAS_BLACKWELL && MX_DST_LAYOUT == MX_SWIZZLED; /* no registers left for `only` */
  const mx_entry e = full ? mx_find_entry(entries, count, blockIdx.x) : mx_find_entry(entries, count, only, blockIdx.x);
  const mx_u32 cols = mx_cols(e);
  const mx_tile tile = mx_tile_of(e, blockIdx.x, mx_ceil_div(e.rows, MX_BLOCK), cols);
  constexpr bool even = MX_TILE_UNITS % (MX_STRIPS * MX_STRIP) == 0 && MX_STRIPS * MX_PARTS == MX_THREADS &&
                        MX_ROWS * MX_PARTS == MX_BLOCK;
  if (MX_TILE_UNITS % MX_STRIP != 0 || cols % MX_STRIP != 0)
    mx_tile_columns<false, 1>(e, tile);
  else if (even && (MX_ONLY_WHOLE || (tile.units == MX_TILE_UNITS && mx_tile_rows(tile) <= e.rows / MX_BLOCK)))
    mx_tile_columns<true, MX_STRIP>(e, tile);
  else
    mx_tile_columns<false, MX_STRIP>(e, tile);
}
