/* quantize_both.cu -- unscaled elements to blocks of 1 x 32 along rows and to blocks of 32 x 1 down columns, in one
** pass over the source.
**
** Entries come in pairs for one rectangle: the rowwise target, then the columnwise one. MX_DST_* describe the
** rowwise target; the other differs in the direction of its blocks. A unit is a square of 32 x 32; a tile is held
** in shared memory as read: rows are quantised on the way in, columns from there. */
#include "mx_meet.cuh"

constexpr mx_u32 MX_BLOCK = 32;
constexpr mx_u32 MX_RUN = MX_VEC;
constexpr mx_u32 MX_ACROSS = MX_BLOCK / MX_RUN;         /* lanes that share a rowwise block */
constexpr mx_u32 MX_WIDE = MX_TILE_UNITS * MX_BLOCK;    /* columns of a tile */
constexpr mx_u32 MX_PITCH = MX_WIDE * MX_SRC_SIZE + 16; /* bytes from one held row to the next */
constexpr mx_u32 MX_STEPS = mx_ceil_div(MX_BLOCK * MX_TILE_UNITS * MX_ACROSS, MX_THREADS);
constexpr mx_u32 MX_STRIP = mx_min(MX_VEC, 4); /* columns of a thread */
constexpr mx_u32 MX_STRIPS = MX_WIDE / MX_STRIP;
constexpr mx_u32 MX_PARTS = mx_min(MX_BLOCK, mx_max(1, MX_THREADS / MX_STRIPS)); /* threads that share a strip */
constexpr mx_u32 MX_ROWS = MX_BLOCK / MX_PARTS;
constexpr mx_u32 MX_TOGETHER = MX_THREADS / MX_PARTS; /* strips of one round */

static_assert(!MX_SRC_SCALED, "both directions are quantised from unscaled elements");
static_assert(MX_DST_SCALE == MX_SCALE_E8M0 && MX_DST_ELEM <= MX_E5M2, "MXFP8 is written");
static_assert(MX_DST_BLOCK_ROWS == 1 && MX_DST_BLOCK_COLS == MX_BLOCK, "the first target is rowwise, in blocks of 32");
static_assert(MX_RULE != MX_RULE_NONE, "a rule chooses the scale byte");
static_assert(MX_BLOCK % MX_RUN == 0, "lanes share a block evenly");
static_assert(MX_BLOCK % MX_PARTS == 0, "threads share a strip evenly");
static_assert(MX_BLOCK * MX_PITCH + MX_BLOCK * MX_TILE_UNITS + MX_STRIP * (MX_THREADS * 4 + MX_TOGETHER * 5) <=
                  48 * 1024,
              "a tile, and what threads tell each other of its columns, fit static shared memory");

/* Where a run of a tile lies: its place in the tile, and in the rectangle; kept 0: outside. */
struct mx_slot {
  mx_u32 unit, held_row, held_col; /* held_col: elements */
  mx_u32 row, col, kept;
};

MX_FN mx_slot mx_slot_of(const mx_entry &e, const mx_tile &tile, mx_u32 cols, mx_u32 step) {
  const mx_u32 slot = step * MX_THREADS + threadIdx.x, x = slot % (MX_TILE_UNITS * MX_ACROSS);
  mx_slot s;
  s.unit = x / MX_ACROSS;
  s.held_row = slot / (MX_TILE_UNITS * MX_ACROSS);
  s.held_col = x * MX_RUN;
  const bool mine = s.unit < tile.units && s.held_row < MX_BLOCK;
  const mx_spot square = mx_spot_of(tile, mine ? s.unit : 0);
  s.row = square.row * MX_BLOCK + s.held_row;
  s.col = square.at * MX_BLOCK + x % MX_ACROSS * MX_RUN;
  s.kept = mine && s.row < e.rows && s.col < cols ? mx_kept<MX_RUN>(cols, s.col) : 0;
  return s;
}

/* ---- whole tiles -------------------------------------------------------------------------------------------------
**
** Squares of one row of squares, all there. A thread keeps its columns from one step to the next, so that addresses and
** places are walked, not worked out each time. */

constexpr mx_u32 MX_RUNS_ACROSS = MX_TILE_UNITS * MX_ACROSS;
constexpr mx_u32 MX_ROWS_A_STEP = mx_max(1, MX_THREADS / MX_RUNS_ACROSS);
constexpr bool MX_EVEN_TILE = MX_THREADS % MX_RUNS_ACROSS == 0 && MX_BLOCK % MX_ROWS_A_STEP == 0 &&
                              MX_STRIPS == MX_TOGETHER && MX_PARTS * MX_TOGETHER == MX_THREADS &&
                              MX_BLOCK * MX_TILE_UNITS % MX_THREADS == 0;

MX_FN void mx_whole_rows(const mx_entry &e, mx_u32 row, mx_u32 col, mx_u8 *held, mx_u8 *row_scales) {
  constexpr mx_u32 steps = MX_BLOCK / MX_ROWS_A_STEP, batch = mx_min(steps, 8);
  const mx_u32 x = threadIdx.x % MX_RUNS_ACROSS, down = threadIdx.x / MX_RUNS_ACROSS;
  mx_u64 src = mx_src_address(e, row + down, col + x * MX_RUN), dst = mx_dst_address(e, row + down, col + x * MX_RUN);
  const mx_u64 src_step = (mx_u64)e.src_ld * MX_ROWS_A_STEP * MX_SRC_SIZE;
  const mx_u64 dst_step = (mx_u64)e.dst_ld * MX_ROWS_A_STEP * MX_DST_SIZE;
  mx_u8 *hold = held + down * MX_PITCH + x * MX_RUN * MX_SRC_SIZE;
  mx_u8 *scale = row_scales + down * MX_TILE_UNITS + x / MX_ACROSS;
#pragma unroll
  for (mx_u32 first = 0; first < steps; first += batch) {
    mx_source<MX_RUN> from[batch];
#pragma unroll
    for (mx_u32 b = 0; b < batch; b++, src += src_step) from[b].elems = mx_read_elems_at<MX_RUN>(src, MX_RUN);
#pragma unroll
    for (mx_u32 b = 0; b < batch; b++, dst += dst_step) {
      const mx_u32 largest = mx_largest_of_run(from[b], MX_RUN), at = first + b;
      const mx_chosen chosen = mx_choose(mx_largest_of_lanes<MX_ACROSS>(largest));
      mx_hold(hold + at * MX_ROWS_A_STEP * MX_PITCH, from[b].elems.pack);
      if (x % MX_ACROSS == 0) scale[at * MX_ROWS_A_STEP * MX_TILE_UNITS] = (mx_u8)chosen.scale;
      mx_write_at<MX_RUN>(dst, mx_scaled(mx_values_of(from[b]), chosen.reciprocal), MX_RUN);
    }
  }
}

/* The columns of one strip, from row `own` of the tile on. */
MX_FN void mx_whole_columns(const mx_entry &down, mx_u32 row, mx_u32 col, const mx_u8 *held) {
  const mx_u32 part = threadIdx.x / MX_TOGETHER, seat = threadIdx.x % MX_TOGETHER, own = part * MX_ROWS;
  const mx_u8 *from = held + own * MX_PITCH + seat * MX_STRIP * MX_SRC_SIZE;
  mx_elems<MX_STRIP> elems[MX_ROWS];
  mx_scales<MX_STRIP> none = {};
  mx_maxima<MX_STRIP> maxima;
  mx_begin_maxima(maxima);
#pragma unroll
  for (mx_u32 r = 0; r < MX_ROWS; r++) {
    elems[r].pack = mx_held<MX_STRIP * MX_SRC_SIZE>(from + r * MX_PITCH);
    if constexpr (mx_by_pairs<MX_STRIP>())
      mx_add_pairs<MX_STRIP>(maxima, elems[r]);
    else
      mx_add_values<MX_STRIP>(maxima, mx_values_of<MX_STRIP>(elems[r], none));
  }
  const mx_column_scales<MX_STRIP> scales = mx_choose_together<MX_STRIP, MX_PARTS, MX_TOGETHER>(maxima, seat, part);
  col += seat * MX_STRIP;
  if (part == 0) mx_put_column_scales<MX_STRIP, MX_BLOCK>(down, row, col, MX_STRIP, scales.stored);
  mx_u64 dst = mx_dst_address(down, row + own, col);
#pragma unroll
  for (mx_u32 r = 0; r < MX_ROWS; r++, dst += (mx_u64)down.dst_ld * MX_DST_SIZE) {
    const mx_values<MX_STRIP> values = mx_values_of<MX_STRIP>(elems[r], none);
    mx_write_at<MX_STRIP>(dst, mx_scaled(values, scales.reciprocal), MX_STRIP);
  }
}

MX_FN void mx_whole_tile(const mx_entry &e, const mx_entry &down, const mx_tile &tile, mx_u8 *held, mx_u8 *row_scales) {
  const mx_u32 row = tile.row * MX_BLOCK, col = tile.at * MX_BLOCK;
  mx_whole_rows(e, row, col, held, row_scales);
  __syncthreads();
#pragma unroll
  for (mx_u32 k = threadIdx.x; k < MX_BLOCK * MX_TILE_UNITS; k += MX_THREADS)
    mx_put_scale(e, row + k / MX_TILE_UNITS, col + k % MX_TILE_UNITS * MX_BLOCK, row_scales[k]);
  mx_whole_columns(down, row, col, held);
}

extern "C" __global__ void __launch_bounds__(MX_THREADS) MX_KERNEL(MX_WORK) {
  alignas(16) __shared__ mx_u8 held[MX_BLOCK][MX_PITCH];
  __shared__ mx_u8 row_scales[MX_BLOCK][MX_TILE_UNITS];
  /* Both of a pair have the same first tile: the last of them is found. */
  const mx_u32 pair = mx_find_index(entries, count, blockIdx.x);
  const mx_entry e = mx_read_entry(entries + pair - 1), down = mx_read_entry(entries + pair);
  const mx_u32 cols = mx_cols(e);
  const mx_tile tile = mx_tile_of(e, blockIdx.x, mx_ceil_div(e.rows, MX_BLOCK), mx_ceil_div(cols, MX_BLOCK));
  if constexpr (MX_EVEN_TILE) {
    const bool whole = tile.units == MX_TILE_UNITS && tile.at + MX_TILE_UNITS <= tile.wide &&
                       tile.row < e.rows / MX_BLOCK && (tile.at + MX_TILE_UNITS) * MX_BLOCK <= cols;
    if (MX_ONLY_WHOLE || whole) {
      mx_whole_tile(e, down, tile, &held[0][0], &row_scales[0][0]);
      return;
    }
  }
  constexpr mx_u32 batch = mx_min(MX_STEPS, 8);
  for (mx_u32 first = 0; first < MX_STEPS; first += batch) {
    mx_source<MX_RUN> from[batch];
#pragma unroll
    for (mx_u32 b = 0; b < batch; b++) {
      const mx_slot s = mx_slot_of(e, tile, cols, first + b);
      from[b].elems.pack = mx_zero_pack<MX_RUN * MX_SRC_SIZE>();
      if (s.kept) from[b].elems = mx_read_elems<MX_RUN>(e, s.row, s.col, s.kept);
    }
#pragma unroll
    for (mx_u32 b = 0; b < batch; b++) {
      const mx_slot s = mx_slot_of(e, tile, cols, first + b);
      const mx_u32 largest = s.kept ? mx_largest_of_run(from[b], s.kept) : 0;
      const mx_chosen chosen = mx_choose(mx_largest_of_lanes<MX_ACROSS>(largest));
      if (s.held_row >= MX_BLOCK) continue;
      mx_hold(&held[s.held_row][s.held_col * MX_SRC_SIZE], from[b].elems.pack);
      if (s.held_col % MX_BLOCK == 0) row_scales[s.held_row][s.unit] = (mx_u8)chosen.scale;
      if (s.kept) mx_write(e, s.row, s.col, mx_scaled(mx_values_of(from[b]), chosen.reciprocal), s.kept);
    }
  }
  __syncthreads();
  for (mx_u32 k = threadIdx.x; k < MX_BLOCK * MX_TILE_UNITS; k += MX_THREADS) {
    const mx_u32 unit = k % MX_TILE_UNITS, r = k / MX_TILE_UNITS;
    if (unit >= tile.units) continue;
    const mx_spot square = mx_spot_of(tile, unit);
    if (square.row * MX_BLOCK + r < e.rows)
      mx_put_scale(e, square.row * MX_BLOCK + r, square.at * MX_BLOCK, row_scales[r][unit]);
  }
  const mx_u32 part = threadIdx.x / MX_TOGETHER, seat = threadIdx.x % MX_TOGETHER;
  for (mx_u32 first = 0; first < MX_STRIPS; first += MX_TOGETHER) {
    const mx_u32 strip = first + seat, unit = strip * MX_STRIP / MX_BLOCK;
    const bool mine = strip < MX_STRIPS && unit < tile.units && part < MX_PARTS;
    const mx_spot square = mx_spot_of(tile, mine ? unit : 0);
    const mx_u32 row = square.row * MX_BLOCK, col = square.at * MX_BLOCK + strip * MX_STRIP % MX_BLOCK;
    const mx_u32 kept = mine && col < cols ? mx_min(MX_STRIP, cols - col) : 0, own = part * MX_ROWS;
    mx_elems<MX_STRIP> elems[MX_ROWS];
    mx_scales<MX_STRIP> none = {};
    mx_maxima<MX_STRIP> maxima;
    mx_begin_maxima(maxima);
    if (kept) {
#pragma unroll
      for (mx_u32 r = 0; r < MX_ROWS; r++) {
        elems[r].pack = mx_held<MX_STRIP * MX_SRC_SIZE>(&held[own + r][strip * MX_STRIP * MX_SRC_SIZE]);
        if constexpr (mx_by_pairs<MX_STRIP>())
          mx_add_pairs<MX_STRIP>(maxima, elems[r]);
        else
          mx_add_values<MX_STRIP>(maxima, mx_values_of<MX_STRIP>(elems[r], none));
      }
    }
    const mx_column_scales<MX_STRIP> scales = mx_choose_together<MX_STRIP, MX_PARTS, MX_TOGETHER>(maxima, seat, part);
    if (!kept) continue;
    if (part == 0) mx_put_column_scales<MX_STRIP, MX_BLOCK>(down, row, col, kept, scales.stored);
#pragma unroll
    for (mx_u32 r = 0; r < MX_ROWS; r++) {
      if (row + own + r >= e.rows) continue;
      const mx_values<MX_STRIP> values = mx_values_of<MX_STRIP>(elems[r], none);
      mx_write(down, row + own + r, col, mx_scaled(values, scales.reciprocal), kept);
    }
  }
}
