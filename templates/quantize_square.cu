/* quantize_square.cu -- any elements to blocks of rows x columns, one scale a block: 32 x 32 with scale bytes, 128
** x 128 with FP32 scales or scale bytes.
**
** A unit is one block. Small ones are strips of columns in the registers of neighbouring lanes. Otherwise a team
** works on a block: a warp where that is at most 16 runs a lane, else the whole thread block. It keeps what it read
** in registers until the maximum is known, or reads again where that would be too much. */
#include "mx_strip.cuh"

constexpr mx_u32 MX_RUN = mx_min(MX_VEC, MX_DST_BLOCK_COLS);
constexpr mx_u32 MX_ACROSS = MX_DST_BLOCK_COLS / MX_RUN;   /* runs of a row of a block */
constexpr mx_u32 MX_SLOTS = MX_DST_BLOCK_ROWS * MX_ACROSS; /* runs of a block */
constexpr mx_u32 MX_TEAM = MX_SLOTS <= 32 * 16 ? 32 : MX_THREADS;
constexpr mx_u32 MX_TEAMS = MX_THREADS / MX_TEAM;
constexpr mx_u32 MX_RUNS = mx_ceil_div(MX_SLOTS, MX_TEAM);      /* runs of a thread */
constexpr bool MX_KEEP = MX_RUNS * MX_RUN * MX_SRC_SIZE <= 256; /* in at most 64 registers */

/* Threads of a multiprocessor; fewer where converting to fp8 is arithmetic, which takes more registers. */
constexpr mx_u32 MX_BUSY = !MX_HAS_FP8_PAIRS  ? 512
                           : MX_TEAM == 32    ? 512
                           : MX_SRC_SIZE == 1 ? 1024
                           : MX_SRC_SIZE == 2 ? 768
                                              : 512;

static_assert(MX_DST_SCALED && MX_DST_ELEM <= MX_E5M2, "quantising writes fp8 elements and their scales");
static_assert(MX_DST_BLOCK_ROWS <= 1024 && MX_DST_BLOCK_COLS <= 1024, "a thread block works through a block");
static_assert(MX_DST_BLOCK_COLS % MX_RUN == 0, "runs divide a row of a block");
static_assert(MX_DST_SCALE == MX_SCALE_FP32 || MX_RULE != MX_RULE_NONE, "a rule chooses the scale byte");

/* By strips, where a strip's columns divide a block and its rows are few. */
constexpr mx_u32 MX_LANES = MX_DST_BLOCK_COLS / MX_STRIP;
constexpr bool MX_SMALL = MX_DST_BLOCK_ROWS <= 32 && MX_DST_BLOCK_COLS % MX_STRIP == 0 && MX_LANES <= 32 &&
                          mx_is_power(MX_LANES) && MX_STRIP * MX_SRC_SIZE >= 4;

/* What part of a block a slot is: `kept` elements from (row, col) on; 0 where the matrix has ended. */
struct mx_slot {
  mx_u32 row, col, kept;
};

MX_FN mx_slot mx_slot_of(mx_u32 rows, mx_u32 cols, const mx_spot &block, mx_u32 slot) {
  mx_slot s;
  s.row = block.row * MX_DST_BLOCK_ROWS + slot / MX_ACROSS;
  s.col = block.at * MX_DST_BLOCK_COLS + slot % MX_ACROSS * MX_RUN;
  s.kept = slot < MX_SLOTS && s.row < rows && s.col < cols ? mx_kept<MX_RUN>(cols, s.col) : 0;
  return s;
}

MX_FN void mx_tile_by_slots(const mx_entry &e, const mx_tile &tile, mx_u32 cols) {
  const mx_u32 team = threadIdx.x / MX_TEAM, member = threadIdx.x % MX_TEAM;
  for (mx_u32 first = 0; first < MX_TILE_UNITS; first += MX_TEAMS) {
    const bool mine = first + team < tile.units; /* all go on: they take part in finding the maximum */
    const mx_spot block = mx_spot_of(tile, mine ? first + team : 0);
    const mx_u32 rows = mine ? e.rows : 0;
    mx_source<MX_RUN> from[MX_KEEP ? MX_RUNS : 1];
    mx_u32 largest = 0;
    if constexpr (MX_KEEP) {
#pragma unroll
      for (mx_u32 r = 0; r < MX_RUNS; r++) {
        const mx_slot s = mx_slot_of(rows, cols, block, r * MX_TEAM + member);
        if (s.kept) from[r] = mx_read<MX_RUN>(e, s.row, s.col, s.kept);
      }
    }
#pragma unroll(MX_KEEP ? MX_RUNS : 4)
    for (mx_u32 r = 0; r < MX_RUNS; r++) {
      const mx_slot s = mx_slot_of(rows, cols, block, r * MX_TEAM + member);
      if (!s.kept) continue;
      if constexpr (!MX_KEEP) from[0] = mx_read<MX_RUN>(e, s.row, s.col, s.kept);
      const mx_u32 a = mx_largest_of_run(from[MX_KEEP ? r : 0], s.kept);
      largest = largest > a ? largest : a;
    }
    if constexpr (MX_TEAM == 32)
      largest = mx_largest_of_lanes<32>(largest);
    else
      largest = mx_largest_of_block(largest);
    const mx_chosen chosen = mx_choose(largest);
#pragma unroll(MX_KEEP ? MX_RUNS : 4)
    for (mx_u32 r = 0; r < MX_RUNS; r++) {
      const mx_slot s = mx_slot_of(rows, cols, block, r * MX_TEAM + member);
      if (!s.kept) continue;
      if constexpr (!MX_KEEP) from[0] = mx_read<MX_RUN>(e, s.row, s.col, s.kept);
      mx_write(e, s.row, s.col, mx_rescaled(from[MX_KEEP ? r : 0], chosen.reciprocal), s.kept);
    }
    if (mine && member == 0) mx_put_scale(e, block.row * MX_DST_BLOCK_ROWS, block.at * MX_DST_BLOCK_COLS, chosen.scale);
  }
}

/* One block a round, all of it there, kept in registers: a thread's runs lie below each other. */
constexpr mx_u32 MX_ROWS_A_RUN = mx_max(1, MX_TEAM / MX_ACROSS);
constexpr bool MX_EVEN_BLOCK =
    MX_KEEP && MX_TEAM == MX_THREADS && MX_TEAM % MX_ACROSS == 0 && MX_RUNS * MX_ROWS_A_RUN == MX_DST_BLOCK_ROWS;

MX_FN void mx_whole_block(const mx_entry &e, const mx_spot &block) {
  const mx_u32 row = block.row * MX_DST_BLOCK_ROWS + threadIdx.x / MX_ACROSS;
  const mx_u32 col = block.at * MX_DST_BLOCK_COLS + threadIdx.x % MX_ACROSS * MX_RUN;
  mx_u64 src = mx_src_address(e, row, col), dst = mx_dst_address(e, row, col);
  mx_source<MX_RUN> from[MX_RUNS];
#pragma unroll
  for (mx_u32 r = 0; r < MX_RUNS; r++, src += (mx_u64)e.src_ld * MX_ROWS_A_RUN * MX_SRC_SIZE)
    from[r].elems = mx_read_elems_at<MX_RUN>(src, MX_RUN);
#pragma unroll
  for (mx_u32 r = 0; r < MX_RUNS; r++) from[r].scales = mx_read_scales<MX_RUN>(e, row + r * MX_ROWS_A_RUN, col, MX_RUN);
  mx_u32 largest = 0;
#pragma unroll
  for (mx_u32 r = 0; r < MX_RUNS; r++) largest = mx_max(largest, mx_largest_of_run(from[r], MX_RUN));
  const mx_chosen chosen = mx_choose(mx_largest_of_block(largest));
#pragma unroll
  for (mx_u32 r = 0; r < MX_RUNS; r++, dst += (mx_u64)e.dst_ld * MX_ROWS_A_RUN * MX_DST_SIZE)
    mx_write_at<MX_RUN>(dst, mx_rescaled(from[r], chosen.reciprocal), MX_RUN);
  if (threadIdx.x == 0) mx_put_scale(e, row, col, chosen.scale);
}

/* Whole strips: columns come in multiples of MX_STRIP. */
template <bool FULL> MX_FN void mx_tile_by_strips(const mx_entry &e, const mx_tile &tile, mx_u32 cols) {
  const mx_u32 team = threadIdx.x / MX_LANES, lane = threadIdx.x % MX_LANES;
  for (mx_u32 first = 0; first < MX_TILE_UNITS; first += MX_THREADS / MX_LANES) {
    const bool mine = first + team < tile.units; /* all go on: they take part in finding the maximum */
    const mx_spot block = mx_spot_of(tile, mine ? first + team : 0);
    const mx_u32 row = block.row * MX_DST_BLOCK_ROWS, col = block.at * MX_DST_BLOCK_COLS + lane * MX_STRIP;
    mx_u32 rows = MX_DST_BLOCK_ROWS;
    if (!FULL) rows = mine && col < cols ? mx_min(MX_DST_BLOCK_ROWS, e.rows - row) : 0;
    mx_strip<MX_STRIP, MX_DST_BLOCK_ROWS> strip;
    mx_read_strip(strip, e, row, col, rows);
    const mx_maxima<MX_STRIP> maxima = mx_strip_maxima(strip, e, row, col, rows);
    mx_u32 largest = 0, reciprocal[MX_STRIP];
#pragma unroll
    for (mx_u32 k = 0; k < MX_STRIP; k++) {
      const mx_u32 a = mx_maximum(maxima, k);
      largest = largest > a ? largest : a;
    }
    const mx_chosen chosen = mx_choose(mx_largest_of_lanes<MX_LANES>(largest));
#pragma unroll
    for (mx_u32 k = 0; k < MX_STRIP; k++) reciprocal[k] = chosen.reciprocal;
    mx_write_strip(strip, e, row, col, rows, reciprocal);
    if (mine && lane == 0) mx_put_scale(e, row, col, chosen.scale);
  }
}

extern "C" __global__ void __launch_bounds__(MX_THREADS, mx_blocks_of(MX_BUSY)) MX_KERNEL(MX_WORK) {
  const mx_entry e = mx_find_entry(entries, count, only, blockIdx.x);
  const mx_u32 cols = mx_cols(e);
  const mx_tile tile =
      mx_tile_of(e, blockIdx.x, mx_ceil_div(e.rows, MX_DST_BLOCK_ROWS), mx_ceil_div(cols, MX_DST_BLOCK_COLS));
  if constexpr (MX_SMALL) {
    constexpr bool even = MX_TILE_UNITS % mx_max(1, MX_THREADS / MX_LANES) == 0;
    if (cols % MX_STRIP == 0) {
      if (even && cols % MX_DST_BLOCK_COLS == 0 &&
          (MX_ONLY_WHOLE || (tile.units == MX_TILE_UNITS && mx_tile_rows(tile) <= e.rows / MX_DST_BLOCK_ROWS)))
        mx_tile_by_strips<true>(e, tile, cols);
      else
        mx_tile_by_strips<false>(e, tile, cols);
      return;
    }
  }
  if constexpr (MX_EVEN_BLOCK && MX_TILE_UNITS == 1) {
    const mx_spot block = mx_spot_of(tile, 0);
    if (MX_ONLY_WHOLE || (tile.units == 1 && (block.row + 1) * MX_DST_BLOCK_ROWS <= e.rows &&
                          (block.at + 1) * MX_DST_BLOCK_COLS <= cols)) {
      mx_whole_block(e, block);
      return;
    }
  }
  mx_tile_by_slots(e, tile, cols);
}
