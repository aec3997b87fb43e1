/* plan_samples.h -- hand-made plans, one for each thing that a plan can say. Tests of the check, the bundle and the
** executor walk the same list. */
#ifndef MXG_PLAN_SAMPLES_H
#define MXG_PLAN_SAMPLES_H

#include "plan_fixture.h"

/* Two row shards, padded scales, become whole BF16 on both ranks. */
static inline fixture *sample_row_split(void) {
  fixture *f = fixture_begin(2, 2);
  mxg_encoding fp8 = fixture_mxfp8(MX_E4M3, 1, 32, MX_PADDED), bf16 = fixture_plain(MX_BF16);
  uint32_t src[2], dst[2];
  for (uint32_t r = 0; r < 2; r++) src[r] = fixture_array(f, r, MXG_SOURCE, "w", fp8, 1, 5 + r, 80);
  for (uint32_t r = 0; r < 2; r++) dst[r] = fixture_array(f, r, MXG_TARGET, "w", bf16, 1, 11, 80);
  for (uint32_t r = 0; r < 2; r++) {
    fixture_rows(f, 0, src[0], 0, 0, dst[r], 0, 0, 5, 80);
    fixture_rows(f, 0, src[1], 0, 0, dst[r], 5, 0, 6, 80);
  }
  fixture_end(f);
  return f;
}

/* Two column shards, compact scales, move into one matrix with swizzled scales and 3 rows of padding. */
static inline fixture *sample_col_split(void) {
  fixture *f = fixture_begin(3, 1);
  mxg_encoding src = fixture_mxfp8(MX_E5M2, 1, 32, MX_COMPACT), dst = fixture_mxfp8(MX_E5M2, 1, 32, MX_SWIZZLED);
  uint32_t a = fixture_array(f, 0, MXG_SOURCE, "w", src, 1, 130, 64);
  uint32_t b = fixture_array(f, 1, MXG_SOURCE, "w", src, 1, 130, 32);
  uint32_t t = fixture_array(f, 2, MXG_TARGET, "w", dst, 1, 133, 96);
  fixture_rows(f, 0, a, 0, 0, t, 0, 0, 130, 64);
  fixture_rows(f, 0, b, 0, 0, t, 0, 64, 130, 32);
  fixture_padding(f, 0, t, 130);
  fixture_end(f);
  return f;
}

/* Query groups (2 q, 1 k, 1 v rows each) of two ranks, swizzled scales, taken apart into q, k and v. */
static inline fixture *sample_grouped(void) {
  fixture *f = fixture_begin(2, 2);
  mxg_encoding fp8 = fixture_mxfp8(MX_E4M3, 1, 32, MX_SWIZZLED), bf16 = fixture_plain(MX_FP16);
  uint32_t src[2], q, k, v;
  for (uint32_t r = 0; r < 2; r++) src[r] = fixture_array(f, r, MXG_SOURCE, "qkv", fp8, 1, 12, 64);
  q = fixture_array(f, 1, MXG_TARGET, "q", bf16, 1, 12, 64);
  k = fixture_array(f, 1, MXG_TARGET, "k", bf16, 1, 6, 64);
  v = fixture_array(f, 1, MXG_TARGET, "v", bf16, 1, 6, 64);
  for (uint32_t r = 0; r < 2; r++) {
    mxg_segment sq[3], sk[3], sv[3];
    for (uint32_t g = 0; g < 3; g++) {
      sq[g] = (mxg_segment){4 * g, 6 * r + 2 * g, 2};
      sk[g] = (mxg_segment){4 * g + 2, 3 * r + g, 1};
      sv[g] = (mxg_segment){4 * g + 3, 3 * r + g, 1};
    }
    fixture_piece(f, r, 0, src[r], 0, 0, q, 0, 0, 64, sq, 3);
    fixture_piece(f, r, 0, src[r], 0, 0, k, 0, 0, 64, sk, 3);
    fixture_piece(f, r, 0, src[r], 0, 0, v, 0, 0, 64, sv, 3);
  }
  fixture_end(f);
  return f;
}

/* BF16 row shards, quantised both ways (one array a direction), odd tails, padded and swizzled scales; four buckets. */
static inline fixture *sample_quantize(uint32_t slots) {
  fixture *f = fixture_begin(3, slots);
  mxg_encoding bf16 = fixture_plain(MX_BF16), row = fixture_mxfp8(MX_E4M3, 1, 32, MX_PADDED);
  mxg_encoding col = fixture_mxfp8(MX_E4M3, 32, 1, MX_SWIZZLED);
  uint32_t src[2], by_row, by_col;
  for (uint32_t r = 0; r < 2; r++) src[r] = fixture_array(f, r, MXG_SOURCE, "w", bf16, 1, r ? 37 : 64, 70);
  by_row = fixture_array(f, 2, MXG_TARGET, "w", row, 1, 101, 70);
  by_col = fixture_array(f, 2, MXG_TARGET, "w_columnwise", col, 1, 101, 70);
  for (uint32_t r = 0; r < 2; r++) {
    fixture_rows(f, 2 * r, src[r], 0, 0, by_row, 64 * r, 0, r ? 37 : 64, 70);
    fixture_rows(f, 2 * r + 1, src[r], 0, 0, by_col, 64 * r, 0, r ? 37 : 64, 70);
  }
  fixture_padding(f, 0, by_row, 101);
  fixture_padding(f, 1, by_col, 101);
  fixture_end(f);
  return f;
}
static inline fixture *sample_quantize_one_slot(void) { return sample_quantize(1); }
static inline fixture *sample_quantize_two_slots(void) { return sample_quantize(2); }
static inline fixture *sample_quantize_three_slots(void) { return sample_quantize(3); }

/* MXFP8 columnwise shards and a local BF16 one become fp8 with one scale, by way of scratch and its maximum. */
static inline fixture *sample_whole(void) {
  fixture *f = fixture_begin(2, 2);
  mxg_encoding fp8 = fixture_mxfp8(MX_E4M3, 32, 1, MX_COMPACT), bf16 = fixture_plain(MX_BF16);
  mxg_encoding whole = fixture_fp8(MX_E4M3, MX_WHOLE, MX_WHOLE);
  uint32_t a = fixture_array(f, 0, MXG_SOURCE, "w", fp8, 1, 40, 24);
  uint32_t b = fixture_array(f, 1, MXG_SOURCE, "w", bf16, 1, 9, 24);
  uint32_t t = fixture_array(f, 1, MXG_TARGET, "w", whole, 1, 51, 24);
  uint32_t s = fixture_array(f, 1, MXG_SCRATCH, "w", fixture_amax(), 1, 49, 24);
  const mxg_segment all = {0, 0, 49};
  fixture_rows(f, 1, a, 0, 0, s, 9, 0, 40, 24);
  fixture_rows(f, 1, b, 0, 0, s, 0, 0, 9, 24);
  fixture_piece(f, 1, 1, s, 0, 0, s, 0, 0, 24, &all, 1);
  fixture_piece(f, 1, 2, s, 0, 0, t, 0, 0, 24, &all, 1);
  fixture_padding(f, 1, t, 49);
  fixture_fill(f, 1, s, MXG_FILL_CELL, 0, 4);
  fixture_end(f);
  return f;
}

/* Experts: two ranks of three matrices each, 32 x 32 blocks, to a stack of six with rowwise scales, rows swapped. */
static inline fixture *sample_experts(void) {
  fixture *f = fixture_begin(2, 2);
  mxg_encoding square = fixture_mxfp8(MX_E4M3, 32, 32, MX_COMPACT), row = fixture_mxfp8(MX_E4M3, 1, 32, MX_SWIZZLED);
  uint32_t src[2], dst;
  for (uint32_t r = 0; r < 2; r++) src[r] = fixture_array(f, r, MXG_SOURCE, "experts", square, 3, 70, 96);
  dst = fixture_array(f, 0, MXG_TARGET, "experts", row, 6, 72, 96);
  const mxg_segment swapped[2] = {{0, 35, 35}, {35, 0, 35}};
  for (uint32_t r = 0; r < 2; r++)
    for (uint32_t e = 0; e < 3; e++) fixture_piece(f, e, 0, src[r], e, 0, dst, 3 * r + e, 0, 96, swapped, 2);
  fixture_padding(f, 0, dst, 70);
  fixture_end(f);
  return f;
}

/* FP8 in blocks of 128 x 128 with FP32 scales: from MXFP8 by columns, and from there to FP32 by rows cut inside blocks.
 */
static inline fixture *sample_block_fp8(void) {
  fixture *f = fixture_begin(2, 2);
  mxg_encoding mx = fixture_mxfp8(MX_E4M3, 1, 32, MX_COMPACT), block = fixture_fp8(MX_E4M3, 128, 128);
  uint32_t a = fixture_array(f, 0, MXG_SOURCE, "a", mx, 1, 150, 128);
  uint32_t b = fixture_array(f, 0, MXG_SOURCE, "b", block, 1, 200, 160);
  uint32_t c = fixture_array(f, 1, MXG_SOURCE, "a", mx, 1, 150, 64);
  uint32_t y = fixture_array(f, 0, MXG_TARGET, "b", fixture_plain(MX_FP32), 1, 77, 50);
  uint32_t x = fixture_array(f, 1, MXG_TARGET, "a", block, 1, 150, 192);
  uint32_t z = fixture_array(f, 1, MXG_TARGET, "b", fixture_plain(MX_BF16), 1, 123, 160);
  fixture_rows(f, 0, a, 0, 0, x, 0, 0, 150, 128);
  fixture_rows(f, 0, c, 0, 0, x, 0, 128, 150, 64);
  fixture_rows(f, 0, b, 0, 7, y, 0, 0, 77, 50);
  fixture_rows(f, 1, b, 77, 0, z, 0, 0, 123, 160);
  fixture_end(f);
  return f;
}

/* The same layout on both sides: one tensor stays, one becomes BF16; nothing goes over a wire. */
static inline fixture *sample_reconcile(void) {
  fixture *f = fixture_begin(1, 1);
  mxg_encoding fp8 = fixture_mxfp8(MX_E4M3, 1, 32, MX_SWIZZLED);
  uint32_t a = fixture_array(f, 0, MXG_SOURCE, "keep", fp8, 1, 20, 64);
  uint32_t b = fixture_array(f, 0, MXG_SOURCE, "turn", fp8, 1, 10, 64);
  uint32_t x = fixture_array(f, 0, MXG_TARGET, "keep", fp8, 1, 20, 64);
  uint32_t y = fixture_array(f, 0, MXG_TARGET, "turn", fixture_plain(MX_BF16), 1, 10, 64);
  fixture_rows(f, 0, a, 0, 0, x, 0, 0, 20, 64);
  fixture_rows(f, 0, b, 0, 0, y, 0, 0, 10, 64);
  fixture_padding(f, 0, x, 20);
  fixture_end(f);
  return f;
}

static const struct plan_sample {
  const char *name;
  fixture *(*make)(void);
} plan_samples[] = {
    {"row_split", sample_row_split},
    {"col_split", sample_col_split},
    {"grouped", sample_grouped},
    {"quantize_one_slot", sample_quantize_one_slot},
    {"quantize_two_slots", sample_quantize_two_slots},
    {"quantize_three_slots", sample_quantize_three_slots},
    {"whole", sample_whole},
    {"experts", sample_experts},
    {"block_fp8", sample_block_fp8},
    {"reconcile", sample_reconcile},
};
enum { plan_sample_count = sizeof plan_samples / sizeof *plan_samples };

#endif
