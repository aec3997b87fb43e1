/* dequantize.cu -- any elements to unscaled ones: MXFP8 and FP8 to BF16, FP16 or FP32, and casts between those.
**
** A unit is MX_VEC elements of one row. A thread first issues the loads of several units, then converts and stores.
** Where columns have scales of their own, MX_DOWN units of neighbouring rows make a stack, which is one thread's: it
** reads and decodes their scales once. Units are then counted stack by stack, and last those of the rows that are left.
 */
#include "mx_side.cuh"
#include "mx_units.cuh"

static_assert(!MX_DST_SCALED, "dequantising writes elements without scales");

/* Threads of a multiprocessor. */
constexpr mx_u32 MX_BUSY = !mx_one_scale(MX_VEC) ? 1024 : MX_HAS_FP8_PAIRS ? 2048 : 1536;
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

/* ---- pairs of units ----
**
** A whole tile is read two units a thread, side by side, which change places with others' in shared memory: so all
** stores of a block come after its loads, and those of a warp are of one stretch. Where a matrix has a launch to
** itself, two tiles that follow each other are one span, of which each takes every second pair. On an H100, 4096 x
** 14336 took 62.2 us, takes 61.2 so, and 60.3 with spans (a copy 60.5); 1000 tensors of experts 909 us and 878, with
** spans 898 (a copy 858). Beside copies, with a few blocks at a time, units one by one are faster by 1 to 2 %. */

constexpr bool MX_PAIRS = MX_SRC_SIZE == 1 && MX_VEC == 8 && mx_one_scale(MX_VEC) && MX_TILE_UNITS == 2 * MX_THREADS;

/* Where pairs lie: pair p of the tile is units `first` + p * `step` of the entry, and the one after it. */
struct mx_pairing {
  mx_u32 first, step; /* step 0: not all of the tile is pairs that lie side by side in memory */
  mx_u32 wide;
};

MX_FN mx_pairing mx_pairing_of(const mx_entry &e, bool alone, mx_u64 tile, mx_u32 cols) {
  const mx_u32 wide = mx_ceil_div(cols, MX_VEC);
  const mx_u64 units = (mx_u64)e.rows * wide;
  const mx_u32 place = (mx_u32)(tile - e.first_tile), begin = place * MX_TILE_UNITS;
  const mx_u32 span = place / 2 * 2 * MX_TILE_UNITS;
  const bool near = MX_ONLY_WHOLE || (alone && (e.flags & MX_FAR) == 0);
  const bool spans = near && span + 2 * MX_TILE_UNITS <= (mx_u32)units;
  mx_pairing p;
  p.first = spans ? span + place % 2 * 2 : begin;
  p.step = spans ? 4 : 2;
  p.wide = wide;
  if (!MX_ONLY_WHOLE && (e.flags & MX_BESIDE || cols % (2 * MX_VEC) || units >> 31 ||
                         begin + MX_TILE_UNITS > (mx_u32)units || ((mx_u32)mx_src_address(e, 0, 0) | e.src_ld) % 16))
    p.step = 0;
  return p;
}

MX_FN mx_spot mx_paired_spot(const mx_pairing &p, mx_u32 number, mx_u32 second) {
  return mx_spot_at(p.first + number * p.step + second, p.wide);
}

template <mx_u32 BYTES> struct alignas(2 * BYTES) mx_unit_pair { mx_pack<BYTES> unit[2]; };

template <mx_u32 BYTES> MX_FN void mx_tile_pairs(const mx_entry &e, const mx_pairing &p) {
  __shared__ mx_unit_pair<BYTES> pairs[MX_THREADS];
  const mx_spot pair = mx_paired_spot(p, threadIdx.x, 0);
  const mx_pack<2 *BYTES> both = mx_load<2 * BYTES>(mx_src_address(e, pair.row, pair.at * MX_VEC));
  mx_source<MX_VEC> from[2];
  mx_u64 dst[2];
#pragma unroll
  for (mx_u32 b = 0; b < 2; b++) {
    const mx_spot spot = mx_paired_spot(p, (b * MX_THREADS + threadIdx.x) / 2, threadIdx.x % 2);
    dst[b] = mx_dst_address(e, spot.row, spot.at * MX_VEC);
    from[b].scales = mx_read_scales<MX_VEC>(e, spot.row, spot.at * MX_VEC, MX_VEC);
  }
  mx_unit_pair<BYTES> two;
#pragma unroll
  for (mx_u32 i = 0; i < BYTES / 4; i++) {
    two.unit[0].word[i] = both.word[i];
    two.unit[1].word[i] = both.word[BYTES / 4 + i];
  }
  pairs[threadIdx.x] = two;
  __syncthreads();
#pragma unroll
  for (mx_u32 b = 0; b < 2; b++) {
    from[b].elems.pack = pairs[(b * MX_THREADS + threadIdx.x) / 2].unit[threadIdx.x % 2];
    mx_write_at<MX_VEC>(dst[b], mx_values_of(from[b]), MX_VEC);
  }
}

/* ---- stacks ------------------------------------------------------------------------------------------------------ */

constexpr mx_u32 MX_DOWN = MX_SRC_COLUMNWISE && MX_SRC_BLOCK_ROWS % 4 == 0 && !mx_one_scale(MX_VEC) ? 4 : 1;
constexpr mx_u32 MX_TILE_STACKS = MX_TILE_UNITS / MX_DOWN;

/* Where the tile's first stack lies, and how many rows are stacked at all. */
struct mx_stacks {
  mx_u32 wide, row, at; /* row: of stacks */
  bool whole;           /* every unit of the tile is in a stack, and every stack in one block of rows */
};

MX_FN mx_stacks mx_stacks_of(const mx_entry &e, mx_u64 tile, mx_u32 wide) {
  const mx_u64 first = (tile - e.first_tile) * MX_TILE_STACKS;
  mx_stacks s;
  s.wide = wide;
  s.row = !MX_ONLY_WHOLE && first >> 32 ? (mx_u32)(first / wide) : (mx_u32)first / wide;
  s.at = (mx_u32)(first - (mx_u64)s.row * wide);
  s.whole = MX_TILE_UNITS % (MX_DOWN * MX_THREADS) == 0 && wide >> 31 == 0 && e.src_row % MX_DOWN == 0 &&
            first + MX_TILE_STACKS <= (mx_u64)(e.rows / MX_DOWN) * wide;
  return s;
}

MX_FN void mx_whole_stacks(const mx_entry &e, const mx_stacks &stacks, mx_u32 cols) {
  for (mx_u32 first = 0; first < MX_TILE_STACKS; first += MX_THREADS) {
    const mx_u32 sum = stacks.at + first + threadIdx.x, below = sum / stacks.wide;
    const mx_u32 row = (stacks.row + below) * MX_DOWN, col = (sum - below * stacks.wide) * MX_VEC;
    const mx_u32 kept = mx_kept<MX_VEC>(cols, col);
    mx_source<MX_VEC> from[MX_DOWN];
    mx_u64 src = mx_src_address(e, row, col), dst = mx_dst_address(e, row, col);
#pragma unroll
    for (mx_u32 b = 0; b < MX_DOWN; b++, src += (mx_u64)e.src_ld * MX_SRC_SIZE)
      from[b].elems = mx_read_elems_at<MX_VEC>(src, kept);
    from[0].scales = mx_read_scales<MX_VEC>(e, row, col, kept);
#pragma unroll
    for (mx_u32 b = 0; b < MX_DOWN; b++, dst += (mx_u64)e.dst_ld * MX_DST_SIZE)
      mx_write_at<MX_VEC>(dst, mx_values_of<MX_VEC>(from[b].elems, from[0].scales), kept);
  }
}

/* One unit after another, wherever it lies. */
MX_FN void mx_loose_units(const mx_entry &e, mx_u64 tile, mx_u32 cols, mx_u32 wide) {
  const mx_u64 begin = (tile - e.first_tile) * MX_TILE_UNITS, end = (mx_u64)e.rows * wide;
  const mx_u64 stacked = (mx_u64)(e.rows / MX_DOWN) * MX_DOWN * wide;
#pragma unroll 1
  for (mx_u64 unit = begin + threadIdx.x; unit < begin + MX_TILE_UNITS && unit < end; unit += MX_THREADS) {
    const bool in_stack = unit < stacked;
    const mx_u64 place = in_stack ? unit / MX_DOWN : unit - stacked, above = place / wide;
    const mx_u32 row = (mx_u32)(in_stack ? above * MX_DOWN + unit % MX_DOWN : e.rows / MX_DOWN * MX_DOWN + above);
    const mx_u32 col = (mx_u32)(place - above * wide) * MX_VEC, kept = mx_kept<MX_VEC>(cols, col);
    mx_write<MX_VEC>(e, row, col, mx_values_of(mx_read<MX_VEC>(e, row, col, kept)), kept);
  }
}

extern "C" __global__ void __launch_bounds__(MX_THREADS, mx_blocks_of(MX_BUSY)) MX_KERNEL(MX_WORK) {
  const mx_entry e = mx_find_entry(entries, count, only, blockIdx.x);
  const mx_u32 cols = mx_cols(e);
  if constexpr (MX_DOWN > 1) {
    const mx_stacks stacks = mx_stacks_of(e, blockIdx.x, mx_ceil_div(cols, MX_VEC));
    if (MX_ONLY_WHOLE || stacks.whole)
      mx_whole_stacks(e, stacks, cols);
    else
      mx_loose_units(e, blockIdx.x, cols, stacks.wide);
    return;
  }
  if constexpr (MX_PAIRS) {
    const mx_pairing pairing = mx_pairing_of(e, count == 1, blockIdx.x, cols);
    if (MX_ONLY_WHOLE || pairing.step) {
      mx_tile_pairs<MX_VEC * MX_SRC_SIZE>(e, pairing);
      return;
    }
  }
  const mx_tile tile = mx_tile_of(e, blockIdx.x, e.rows, mx_ceil_div(cols, MX_VEC));
  if (MX_ONLY_WHOLE ||
      (tile.units == MX_TILE_UNITS && mx_rounds<32, MX_BATCH>() * MX_THREADS * MX_BATCH == MX_TILE_UNITS))
    mx_tile_units<true>(e, tile, cols);
  else
    mx_tile_units<false>(e, tile, cols);
}
