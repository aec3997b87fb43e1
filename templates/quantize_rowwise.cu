/* quantize_rowwise.cu -- any elements to blocks of 1 x n along a row, each with its scale.
**
** A unit is one block. MX_LANES neighbouring lanes share it, each with MX_RUNS runs of MX_RUN elements, so that a
** warp's loads and stores are contiguous; the maximum goes round by shuffles. */
#include "mx_side.cuh"

constexpr mx_u32 MX_BLOCK = MX_DST_BLOCK_COLS;
constexpr mx_u32 MX_RUN = mx_min(MX_VEC, MX_BLOCK);
constexpr mx_u32 MX_LANES = mx_min(32, MX_BLOCK / MX_RUN);
constexpr mx_u32 MX_RUNS = MX_BLOCK / (MX_RUN * MX_LANES);
constexpr mx_u32 MX_TEAMS = MX_THREADS / MX_LANES;

static_assert(MX_DST_SCALED && MX_DST_ELEM <= MX_E5M2, "quantising writes fp8 elements and their scales");
static_assert(MX_DST_BLOCK_ROWS == 1, "a rowwise block is one row");
static_assert(mx_is_power(MX_BLOCK) && MX_BLOCK <= 1024, "lanes share a block evenly and hold it in registers");
static_assert(MX_DST_SCALE == MX_SCALE_FP32 || MX_RULE != MX_RULE_NONE, "a rule chooses the scale byte");

constexpr mx_u32 MX_STEPS = mx_ceil_div(MX_TILE_UNITS, MX_TEAMS);
/* Blocks in flight: up to 64 bytes of a thread's loads, at most 4 of them. */
constexpr mx_u32 MX_BATCH = mx_min(MX_STEPS, mx_max(1, mx_min(4, 64 / (MX_RUNS * MX_RUN * MX_SRC_SIZE))));

extern "C" __global__ void __launch_bounds__(MX_THREADS) MX_KERNEL(const mx_entry *entries, mx_u32 count) {
  const mx_entry e = mx_find_entry(entries, count, blockIdx.x);
  const mx_u32 cols = mx_cols(e), team = threadIdx.x / MX_LANES, lane = threadIdx.x % MX_LANES;
  const mx_tile tile = mx_tile_of(e, blockIdx.x, e.rows, mx_ceil_div(cols, MX_BLOCK));
  for (mx_u32 step = 0; step < MX_STEPS; step += MX_BATCH) {
    mx_source<MX_RUN> from[MX_BATCH][MX_RUNS];
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++) {
      const mx_u32 unit = (step + b) * MX_TEAMS + team;
      if (unit >= tile.units) continue;
      const mx_spot at = mx_spot_of(tile, unit);
#pragma unroll
      for (mx_u32 r = 0; r < MX_RUNS; r++) {
        const mx_u32 col = at.at * MX_BLOCK + (r * MX_LANES + lane) * MX_RUN;
        if (col < cols) from[b][r] = mx_read<MX_RUN>(e, at.row, col, mx_kept<MX_RUN>(cols, col));
      }
    }
#pragma unroll
    for (mx_u32 b = 0; b < MX_BATCH; b++) {
      const mx_u32 unit = (step + b) * MX_TEAMS + team;
      const bool mine = unit < tile.units; /* all lanes go on: they take part in the shuffles */
      const mx_spot at = mx_spot_of(tile, mine ? unit : 0);
      const mx_u32 first = at.at * MX_BLOCK + lane * MX_RUN;
      mx_values<MX_RUN> values[MX_RUNS];
      mx_u32 largest = 0;
#pragma unroll
      for (mx_u32 r = 0; r < MX_RUNS; r++) {
        const mx_u32 col = first + r * MX_LANES * MX_RUN;
        if (!mine || col >= cols) continue;
        values[r] = mx_values_of(from[b][r]);
        const mx_u32 a = mx_largest(values[r], mx_kept<MX_RUN>(cols, col));
        largest = largest > a ? largest : a;
      }
      const mx_chosen chosen = mx_choose(mx_largest_of_lanes<MX_LANES>(largest));
      if (!mine) continue;
#pragma unroll
      for (mx_u32 r = 0; r < MX_RUNS; r++) {
        const mx_u32 col = first + r * MX_LANES * MX_RUN;
        if (col < cols) mx_write(e, at.row, col, mx_scaled(values[r], chosen.reciprocal), mx_kept<MX_RUN>(cols, col));
      }
      if (lane == 0) mx_put_scale(e, at.row, first, chosen.scale);
    }
  }
}
