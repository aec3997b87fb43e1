/* mx_meet.cuh -- threads of a block that share columns: each knows the maxima of its own rows, and the scales of whole
** columns are chosen once, each thread choosing those of a few.
**
** Also packs of bytes in shared memory, where a tile waits for its second direction. */
#ifndef MX_MEET_CUH
#define MX_MEET_CUH

#include "mx_side.cuh"

/* One access to shared memory; aligned as in global memory. */
template <mx_u32 BYTES> MX_FN void mx_hold(mx_u8 *at, const mx_pack<BYTES> &pack) {
  if constexpr (BYTES >= 16) {
#pragma unroll
    for (mx_u32 i = 0; i < BYTES / 16; i++)
      ((uint4 *)at)[i] = make_uint4(pack.word[4 * i], pack.word[4 * i + 1], pack.word[4 * i + 2], pack.word[4 * i + 3]);
  } else if constexpr (BYTES == 8) {
    *(uint2 *)at = make_uint2(pack.word[0], pack.word[1]);
  } else if constexpr (BYTES == 4) {
    *(mx_u32 *)at = pack.word[0];
  } else if constexpr (BYTES == 2) {
    *(mx_u16 *)at = (mx_u16)pack.word[0];
  } else {
    *at = (mx_u8)pack.word[0];
  }
}

template <mx_u32 BYTES> MX_FN mx_pack<BYTES> mx_held(const mx_u8 *at) {
  mx_pack<BYTES> pack;
  if constexpr (BYTES >= 16) {
#pragma unroll
    for (mx_u32 i = 0; i < BYTES / 16; i++) {
      const uint4 v = ((const uint4 *)at)[i];
      pack.word[i * 4] = v.x, pack.word[i * 4 + 1] = v.y, pack.word[i * 4 + 2] = v.z, pack.word[i * 4 + 3] = v.w;
    }
  } else if constexpr (BYTES == 8) {
    const uint2 v = *(const uint2 *)at;
    pack.word[0] = v.x, pack.word[1] = v.y;
  } else if constexpr (BYTES == 4) {
    pack.word[0] = *(const mx_u32 *)at;
  } else if constexpr (BYTES == 2) {
    pack.word[0] = *(const mx_u16 *)at;
  } else {
    pack.word[0] = *at;
  }
  return pack;
}

/* What scales and reciprocals of N columns side by side come to. */
template <mx_u32 N> struct mx_column_scales {
  mx_u32 reciprocal[N];
  mx_pack<N * MX_DST_SCALE_SIZE> stored;
};

template <mx_u32 N> MX_FN mx_column_scales<N> mx_choose_columns(const mx_u32 *largest) {
  mx_column_scales<N> all;
  all.stored = mx_zero_pack<N * MX_DST_SCALE_SIZE>();
#pragma unroll
  for (mx_u32 k = 0; k < N; k++) {
    const mx_chosen chosen = mx_choose(largest[k]);
    all.reciprocal[k] = chosen.reciprocal;
    mx_put<MX_DST_SCALE_SIZE>(all.stored, k, chosen.scale);
  }
  return all;
}

/* The same of columns that PARTS threads share, `part` being which of them this is, and `strip` which N columns of a
** round: `maxima` are of this thread's rows. All threads must call; threads of no part, and those whose columns are
** not there, come along. */
template <mx_u32 N, mx_u32 PARTS, mx_u32 STRIPS>
MX_FN mx_column_scales<N> mx_choose_together(const mx_maxima<N> &maxima, mx_u32 strip, mx_u32 part) {
  mx_u32 largest[N];
#pragma unroll
  for (mx_u32 k = 0; k < N; k++) largest[k] = mx_maximum(maxima, k);
  if constexpr (PARTS == 1) return mx_choose_columns<N>(largest);
  /* Threads that choose, and for how many columns each; what one access holds lies together. */
  constexpr mx_u32 choosers = mx_is_power(PARTS) ? mx_min(PARTS, N) : 1, each = N / choosers;
  constexpr mx_u32 bytes = each * 4, stored = each * MX_DST_SCALE_SIZE;
  alignas(16) __shared__ mx_u8 found[choosers][PARTS][STRIPS][bytes];
  alignas(16) __shared__ mx_u8 reciprocals[choosers][STRIPS][bytes];
  alignas(16) __shared__ mx_u8 scales[STRIPS][choosers][stored];
  if (part < PARTS) {
#pragma unroll
    for (mx_u32 c = 0; c < choosers; c++) {
      mx_pack<bytes> pack;
#pragma unroll
      for (mx_u32 k = 0; k < each; k++) pack.word[k] = largest[c * each + k];
      mx_hold(found[c][part][strip], pack);
    }
  }
  __syncthreads();
  if (part < choosers) {
    mx_pack<bytes> most = mx_held<bytes>(found[part][0][strip]);
#pragma unroll
    for (mx_u32 p = 1; p < PARTS; p++) {
      const mx_pack<bytes> other = mx_held<bytes>(found[part][p][strip]);
#pragma unroll
      for (mx_u32 k = 0; k < each; k++) most.word[k] = mx_max(most.word[k], other.word[k]);
    }
    const mx_column_scales<each> mine = mx_choose_columns<each>(most.word);
    mx_pack<bytes> pack;
#pragma unroll
    for (mx_u32 k = 0; k < each; k++) pack.word[k] = mine.reciprocal[k];
    mx_hold(reciprocals[part][strip], pack);
    mx_hold(scales[strip][part], mine.stored);
  }
  __syncthreads(); /* who reads `found` is done, and who comes again writes nothing else before the barrier above */
  mx_column_scales<N> all;
#pragma unroll
  for (mx_u32 c = 0; c < choosers; c++) {
    const mx_pack<bytes> pack = mx_held<bytes>(reciprocals[c][strip]);
#pragma unroll
    for (mx_u32 k = 0; k < each; k++) all.reciprocal[c * each + k] = pack.word[k];
  }
  all.stored = mx_held<N * MX_DST_SCALE_SIZE>(scales[strip][0]);
  return all;
}

/* Writes the scales of N columns side by side, for blocks of ROWS x 1: one access where they lie so. `kept`: how many
** of them are there. */
template <mx_u32 N, mx_u32 ROWS>
MX_FN void mx_put_column_scales(const mx_entry &e, mx_u32 row, mx_u32 col, mx_u32 kept,
                                const mx_pack<N * MX_DST_SCALE_SIZE> &scales) {
  constexpr mx_u32 size = MX_DST_SCALE_SIZE;
  const mx_u32 i = mx_block_index(e.dst_row + row, ROWS);
  if constexpr (MX_DST_LAYOUT != MX_SWIZZLED) {
    const mx_u64 address =
        e.dst_scale + mx_scale_offset(MX_DST_LAYOUT, ROWS > 1, e.dst_scale_ld, i, e.dst_col + col) * size;
    if (kept >= N && address % mx_min(16, N * size) == 0)
      mx_store(address, scales);
    else
      mx_store_some<size>(address, scales, kept);
  } else {
#pragma unroll
    for (mx_u32 k = 0; k < N; k++) {
      mx_pack<size> one;
      one.word[0] = mx_get<size>(scales, k);
      const mx_u64 at = mx_scale_offset(MX_DST_LAYOUT, ROWS > 1, e.dst_scale_ld, i, e.dst_col + col + k);
      if (k < kept) mx_store(e.dst_scale + at * size, one);
    }
  }
}

#endif
