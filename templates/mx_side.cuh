/* mx_side.cuh -- the two sides of a kernel as its parameters describe them: addresses, source values with their scales,
** target elements and scales. Formulas are mx_convert.h's and mx_scale.h's; this file applies them to packs.
**
** `row` and `col` count from the entry's rectangle. */
#ifndef MX_SIDE_CUH
#define MX_SIDE_CUH

#include "mx_entry.cuh"
#include "mx_pairs.cuh"
#include "mx_scale.h"

constexpr mx_u32 MX_SRC_SIZE = mx_size(MX_SRC_ELEM), MX_DST_SIZE = mx_size(MX_DST_ELEM);
constexpr mx_u32 MX_SRC_SCALE_SIZE = MX_SRC_SCALE == MX_SCALE_FP32 ? 4 : 1;
constexpr mx_u32 MX_DST_SCALE_SIZE = MX_DST_SCALE == MX_SCALE_FP32 ? 4 : 1;
constexpr bool MX_SRC_SCALED = MX_SRC_SCALE == MX_SCALE_E8M0 || MX_SRC_SCALE == MX_SCALE_FP32;
constexpr bool MX_DST_SCALED = MX_DST_SCALE == MX_SCALE_E8M0 || MX_DST_SCALE == MX_SCALE_FP32;
constexpr bool MX_SRC_COLUMNWISE = MX_SRC_BLOCK_COLS == 1 && MX_SRC_BLOCK_ROWS > 1;
constexpr bool MX_DST_COLUMNWISE = MX_DST_BLOCK_COLS == 1 && MX_DST_BLOCK_ROWS > 1;

static_assert(MX_SRC_ELEM <= MX_FP32 && MX_DST_ELEM <= MX_FP32, "elements are e4m3, e5m2, bf16, fp16 or fp32");
static_assert(!MX_SRC_SCALED || (MX_SRC_BLOCK_ROWS > 0 && MX_SRC_BLOCK_COLS > 0), "a scaled source has blocks");
static_assert(!MX_DST_SCALED || (MX_DST_BLOCK_ROWS > 0 && MX_DST_BLOCK_COLS > 0), "a scaled target has blocks");
static_assert(MX_SRC_LAYOUT != MX_SWIZZLED || MX_SRC_SCALE == MX_SCALE_E8M0, "only scale bytes are swizzled");
static_assert(MX_DST_LAYOUT != MX_SWIZZLED || MX_DST_SCALE == MX_SCALE_E8M0, "only scale bytes are swizzled");

/* Rows and the distance of rows fit 32 bits, their product does not. */
MX_FN mx_u64 mx_src_address(const mx_entry &e, mx_u32 row, mx_u32 col) {
  return e.src + ((mx_u64)(e.src_row + row) * e.src_ld + (e.src_col + col)) * MX_SRC_SIZE;
}

MX_FN mx_u64 mx_dst_address(const mx_entry &e, mx_u32 row, mx_u32 col) {
  return e.dst + ((mx_u64)(e.dst_row + row) * e.dst_ld + (e.dst_col + col)) * MX_DST_SIZE;
}

/* ---- scales ------------------------------------------------------------------------------------------------------ */

MX_FN mx_u64 mx_src_scale_address(const mx_entry &e, mx_u32 row, mx_u32 col) {
  const mx_u32 i = mx_block_index(e.src_row + row, MX_SRC_BLOCK_ROWS);
  const mx_u32 j = mx_block_index(e.src_col + col, MX_SRC_BLOCK_COLS);
  return e.src_scale +
         mx_scale_offset(MX_SRC_LAYOUT, MX_SRC_COLUMNWISE, e.src_scale_ld, i, j) * (mx_u64)MX_SRC_SCALE_SIZE;
}

/* The scale over a source element: a byte, or FP32 bits. 0 where the source has none. */
MX_FN mx_u32 mx_src_scale(const mx_entry &e, mx_u32 row, mx_u32 col) {
  if constexpr (!MX_SRC_SCALED) return 0;
  return mx_load_cached<MX_SRC_SCALE_SIZE>(mx_src_scale_address(e, row, col)).word[0];
}

/* Writes the scale of the block that holds a target element. */
MX_FN void mx_put_scale(const mx_entry &e, mx_u32 row, mx_u32 col, mx_u32 scale) {
  const mx_u32 i = mx_block_index(e.dst_row + row, MX_DST_BLOCK_ROWS);
  const mx_u32 j = mx_block_index(e.dst_col + col, MX_DST_BLOCK_COLS);
  const mx_u64 at = mx_scale_offset(MX_DST_LAYOUT, MX_DST_COLUMNWISE, e.dst_scale_ld, i, j);
  mx_pack<MX_DST_SCALE_SIZE> pack;
  pack.word[0] = scale;
  mx_store(e.dst_scale + at * MX_DST_SCALE_SIZE, pack);
}

/* ---- a run of elements of one row -------------------------------------------------------------------------------- */

/* One scale serves N elements from a column that is a multiple of N: MX_VEC promises that src_col is one. */
__host__ __device__ constexpr bool mx_one_scale(mx_u32 n) {
  return !MX_SRC_SCALED || MX_SRC_BLOCK_COLS == MX_WHOLE || MX_SRC_BLOCK_COLS % n == 0;
}

/* N source elements as read, and the scales over them: one for all, or one each. */
template <mx_u32 N> struct mx_elems { mx_pack<N * MX_SRC_SIZE> pack; };

template <mx_u32 N> struct mx_scales { mx_u32 raw[mx_one_scale(N) ? 1 : N]; };

template <mx_u32 N> struct mx_source {
  mx_elems<N> elems;
  mx_scales<N> scales;
};

/* `kept`: how many of the N are there, at least 1; the rest become zeros. */
template <mx_u32 N, mx_policy POLICY = MX_KEPT> MX_FN mx_elems<N> mx_read_elems_at(mx_u64 address, mx_u32 kept) {
  mx_elems<N> elems;
  if (kept >= N)
    elems.pack = mx_load<N * MX_SRC_SIZE, POLICY>(address);
  else
    elems.pack = mx_load_some<MX_SRC_SIZE, N * MX_SRC_SIZE>(address, kept);
  return elems;
}

template <mx_u32 N> MX_FN mx_elems<N> mx_read_elems(const mx_entry &e, mx_u32 row, mx_u32 col, mx_u32 kept) {
  return mx_read_elems_at<N>(mx_src_address(e, row, col), kept);
}

template <mx_u32 N> MX_FN mx_scales<N> mx_read_scales(const mx_entry &e, mx_u32 row, mx_u32 col, mx_u32 kept) {
  mx_scales<N> scales;
  if constexpr (!mx_one_scale(N) && MX_SRC_COLUMNWISE && MX_SRC_LAYOUT != MX_SWIZZLED &&
                MX_SRC_SCALE == MX_SCALE_E8M0) {
    const mx_u32 i = mx_block_index(e.src_row + row, MX_SRC_BLOCK_ROWS);
    const mx_u64 address = e.src_scale + mx_scale_offset(MX_SRC_LAYOUT, 1, e.src_scale_ld, i, e.src_col + col);
    if (kept >= N && address % mx_min(16, N) == 0) { /* side by side, and read again by other rows: not streamed */
      const mx_pack<N> pack = mx_load_cached<N>(address);
#pragma unroll
      for (mx_u32 k = 0; k < N; k++) scales.raw[k] = mx_get<1>(pack, k);
      return scales;
    }
  }
#pragma unroll
  for (mx_u32 k = 0; k < sizeof scales.raw / 4; k++) scales.raw[k] = k < kept ? mx_src_scale(e, row, col + k) : 0;
  return scales;
}

template <mx_u32 N> MX_FN mx_source<N> mx_read(const mx_entry &e, mx_u32 row, mx_u32 col, mx_u32 kept) {
  mx_source<N> from;
  from.elems = mx_read_elems<N>(e, row, col, kept);
  from.scales = mx_read_scales<N>(e, row, col, kept);
  return from;
}

template <mx_u32 N> struct mx_values { mx_u32 x[N]; /* FP32 bits */ };

/* The values of elements before any scale. */
template <mx_u32 N> MX_FN mx_values<N> mx_decoded(const mx_elems<N> &elems) {
  mx_values<N> out;
  if constexpr (N % 2 == 0 && MX_SRC_SIZE < 4) {
#pragma unroll
    for (mx_u32 k = 0; k < N; k += 2) {
      const mx_pair two = mx_decode_pair<MX_SRC_ELEM>(mx_get<MX_SRC_SIZE * 2>(elems.pack, k / 2));
      out.x[k] = two.first, out.x[k + 1] = two.second;
    }
  } else {
#pragma unroll
    for (mx_u32 k = 0; k < N; k++) out.x[k] = mx_decode(MX_SRC_ELEM, mx_get<MX_SRC_SIZE>(elems.pack, k));
  }
  return out;
}

template <mx_u32 N> MX_FN mx_values<N> mx_values_of(const mx_elems<N> &elems, const mx_scales<N> &scales) {
  mx_values<N> out = mx_decoded(elems);
  if constexpr (MX_SRC_SCALED) {
    mx_u32 scale = mx_scale_decode(MX_SRC_SCALE, scales.raw[0]);
#pragma unroll
    for (mx_u32 k = 0; k < N; k++) {
      if constexpr (!mx_one_scale(N)) scale = mx_scale_decode(MX_SRC_SCALE, scales.raw[k]);
      out.x[k] = mx_mul(out.x[k], scale);
    }
  }
  return out;
}

template <mx_u32 N> MX_FN mx_values<N> mx_values_of(const mx_source<N> &from) {
  return mx_values_of<N>(from.elems, from.scales);
}

/* Largest magnitude of the first `kept` values, for comparing as integers. */
template <mx_u32 N> MX_FN mx_u32 mx_largest(const mx_values<N> &values, mx_u32 kept) {
  mx_u32 largest = 0;
#pragma unroll
  for (mx_u32 k = 0; k < N; k++) {
    if (k < kept) largest = mx_larger(MX_NAN, largest, values.x[k]);
  }
  return largest;
}

/* Elements without scales, two to a word, are compared as they are. */
template <mx_u32 N> __host__ __device__ constexpr bool mx_by_pairs() {
  return N % 2 == 0 && MX_SRC_SIZE == 2 && !MX_SRC_SCALED;
}

/* The largest magnitudes of N columns, as rows come by. */
template <mx_u32 N> struct mx_maxima { mx_u32 word[mx_by_pairs<N>() ? N / 2 : N]; };

template <mx_u32 N> MX_FN void mx_begin_maxima(mx_maxima<N> &maxima) {
#pragma unroll
  for (mx_u32 k = 0; k < sizeof maxima.word / 4; k++) maxima.word[k] = 0;
}

template <mx_u32 N> MX_FN void mx_add_pairs(mx_maxima<N> &maxima, const mx_elems<N> &elems) {
#pragma unroll
  for (mx_u32 k = 0; k < N / 2; k++)
    maxima.word[k] = mx_larger_pair<MX_SRC_ELEM>(MX_NAN, maxima.word[k], elems.pack.word[k]);
}

template <mx_u32 N> MX_FN void mx_add_values(mx_maxima<N> &maxima, const mx_values<N> &values) {
#pragma unroll
  for (mx_u32 k = 0; k < N; k++) maxima.word[k] = mx_larger(MX_NAN, maxima.word[k], values.x[k]);
}

/* FP32 bits of the maximum of column k. */
template <mx_u32 N> MX_FN mx_u32 mx_maximum(const mx_maxima<N> &maxima, mx_u32 k) {
  if constexpr (mx_by_pairs<N>()) return mx_decode(MX_SRC_ELEM, maxima.word[k / 2] >> k % 2 * 16 & 0xffffu);
  return maxima.word[k];
}

/* Elements of 8 bits under one scale byte are compared without it: a scale is positive, so the order stays. */
template <mx_u32 N> __host__ __device__ constexpr bool mx_before_scaling() {
  return N % 4 == 0 && MX_SRC_SIZE == 1 && MX_SRC_SCALE == MX_SCALE_E8M0 && mx_one_scale(N);
}

template <mx_u32 N> MX_FN mx_u32 mx_largest_before_scaling(const mx_elems<N> &elems) {
#if MX_HAS_HALF_PAIRS
  mx_u32 pair = 0;
#pragma unroll
  for (mx_u32 k = 0; k < N / 2; k++)
    pair = mx_larger_pair<MX_FP16>(MX_NAN, pair, mx_fp8_halves<MX_SRC_ELEM>(mx_get<2>(elems.pack, k)));
  const mx_u32 first = pair & 0xffffu, second = pair >> 16;
  return mx_decode(MX_FP16, first > second ? first : second);
#else
  constexpr mx_u32 last = MX_SRC_ELEM == MX_E4M3 ? 0x7eu : 0x7cu; /* before the NaNs */
  mx_u32 largest = 0;
#pragma unroll
  for (mx_u32 k = 0; k < N; k++) {
    const mx_u32 a = mx_get<1>(elems.pack, k) & 0x7fu;
    if (a > largest && (MX_NAN == MX_NAN_BLOCK || a <= last)) largest = a;
  }
  return mx_decode(MX_SRC_ELEM, largest);
#endif
}

/* The same of one run: the largest of all its columns. What is not there was read as zero. */
template <mx_u32 N> MX_FN mx_u32 mx_largest_of_run(const mx_source<N> &from, mx_u32 kept) {
  if constexpr (mx_by_pairs<N>()) {
    mx_u32 pair = 0;
#pragma unroll
    for (mx_u32 k = 0; k < N / 2; k++) pair = mx_larger_pair<MX_SRC_ELEM>(MX_NAN, pair, from.elems.pack.word[k]);
    const mx_u32 first = pair & 0xffffu, second = pair >> 16;
    return mx_decode(MX_SRC_ELEM, first > second ? first : second);
  }
  if constexpr (mx_before_scaling<N>()) {
    const mx_u32 scale = mx_scale_decode(MX_SRC_SCALE, from.scales.raw[0]);
    return mx_magnitude(MX_NAN, mx_mul(mx_largest_before_scaling<N>(from.elems), scale));
  }
  return mx_largest(mx_values_of(from), kept);
}

/* Elements of the target's type. */
template <mx_u32 N> MX_FN mx_pack<N * MX_DST_SIZE> mx_encode_all(const mx_values<N> &values) {
  mx_pack<N *MX_DST_SIZE> pack = mx_zero_pack<N * MX_DST_SIZE>();
  if constexpr (N % 2 == 0 && MX_DST_SIZE < 4) {
#pragma unroll
    for (mx_u32 k = 0; k < N; k += 2)
      mx_put<MX_DST_SIZE * 2>(pack, k / 2, mx_encode_pair<MX_DST_ELEM>({values.x[k], values.x[k + 1]}));
  } else {
#pragma unroll
    for (mx_u32 k = 0; k < N; k++) mx_put<MX_DST_SIZE>(pack, k, mx_encode(MX_DST_ELEM, values.x[k]));
  }
  return pack;
}

template <mx_u32 N, mx_policy POLICY = MX_KEPT>
MX_FN void mx_write_at(mx_u64 address, const mx_values<N> &values, mx_u32 kept) {
  const mx_pack<N *MX_DST_SIZE> pack = mx_encode_all(values);
  if (kept >= N)
    mx_store<N * MX_DST_SIZE, POLICY>(address, pack);
  else
    mx_store_some<MX_DST_SIZE>(address, pack, kept);
}

template <mx_u32 N>
MX_FN void mx_write(const mx_entry &e, mx_u32 row, mx_u32 col, const mx_values<N> &values, mx_u32 kept) {
  mx_write_at<N>(mx_dst_address(e, row, col), values, kept);
}

/* ---- a block's scale --------------------------------------------------------------------------------------------- */

struct mx_chosen {
  mx_u32 scale, reciprocal; /* as stored; FP32 bits */
};

/* The scale of a target block from its largest magnitude. */
MX_FN mx_chosen mx_choose(mx_u32 largest) {
  mx_chosen c;
  if constexpr (MX_DST_SCALE == MX_SCALE_FP32) {
    c.scale = mx_scale_fp32(MX_DST_ELEM, MX_NAN, largest);
    c.reciprocal = mx_fp32_reciprocal(c.scale);
  } else {
    c.scale = mx_scale_e8m0(MX_RULE, MX_DST_ELEM, MX_NAN, largest);
    c.reciprocal = mx_e8m0_reciprocal(c.scale);
  }
  return c;
}

/* Values times the reciprocals of their blocks' scales, ready to be elements: with mx_encode this is mx_quantize. */
template <mx_u32 N> MX_FN mx_values<N> mx_scaled(mx_values<N> values, mx_u32 reciprocal) {
#pragma unroll
  for (mx_u32 k = 0; k < N; k++) values.x[k] = mx_mul(values.x[k], reciprocal);
  return values;
}

/* Each with its own. */
template <mx_u32 N> MX_FN mx_values<N> mx_scaled(mx_values<N> values, const mx_u32 *reciprocals) {
#pragma unroll
  for (mx_u32 k = 0; k < N; k++) values.x[k] = mx_mul(values.x[k], reciprocals[k]);
  return values;
}

/* The same of elements as read, under the reciprocal of the block that they are all of.
**
** 8-bit elements under one scale byte are multiplied once, by scale x reciprocal: the former is a power of two, so
** where that product is a normal number both orders round the same value. Where it is smaller, either way gives what
** is far below half of the smallest element. Where it is larger than FP32, the elements are zeros: others would be
** above their block's maximum, of which the reciprocal is; hence the largest finite number. An element that FP32
** cannot hold is no matter where it makes its block NaN, or where the scale is FP32: it is above the largest element
** either way. */
template <mx_u32 N> MX_FN mx_values<N> mx_rescaled(const mx_source<N> &from, mx_u32 reciprocal) {
  if constexpr (mx_before_scaling<N>() && (MX_DST_SCALE == MX_SCALE_FP32 || MX_NAN == MX_NAN_BLOCK)) {
    const mx_u32 factor = mx_mul(mx_scale_decode(MX_SRC_SCALE, from.scales.raw[0]), reciprocal);
    return mx_scaled(mx_decoded(from.elems), factor == MX_FP32_INF ? MX_FP32_MAX : factor);
  }
  return mx_scaled(mx_values_of(from), reciprocal);
}

/* The largest over a warp's groups of LANES lanes; every lane gets it. All 32 lanes must call. */
template <mx_u32 LANES> MX_FN mx_u32 mx_largest_of_lanes(mx_u32 largest) {
#pragma unroll
  for (mx_u32 far = LANES / 2; far > 0; far /= 2) {
    const mx_u32 other = __shfl_xor_sync(0xffffffffu, largest, (int)far);
    largest = largest > other ? largest : other;
  }
  return largest;
}

/* The largest over the thread block; every thread gets it. All threads must call; may be called again at once. */
MX_FN mx_u32 mx_largest_of_block(mx_u32 largest) {
  __shared__ mx_u32 part[MX_THREADS / 32];
  largest = mx_largest_of_lanes<32>(largest);
  __syncthreads(); /* nobody still reads what an earlier call left */
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = largest;
  __syncthreads();
#pragma unroll
  for (mx_u32 i = 0; i < MX_THREADS / 32; i++) largest = largest > part[i] ? largest : part[i];
  return largest;
}

#endif
