/* Generated kernels against the host's conversion, bit for bit: every family over formats, scale layouts, access widths
** and odd shapes, on data with NaN, Inf, subnormals and zeros, into memory that was filled with a pattern before. */
#include "compare.h"

#include "emit.h"

/* ---- formats ----------------------------------------------------------------------------------------------------- */

#define FP8(e, s, l, r, n, br, bc) \
  { .elem = e, .scale = s, .layout = l, .rule = r, .nan = n, .block_rows = br, .block_cols = bc }
#define E8M0 MX_SCALE_E8M0
#define FP32S MX_SCALE_FP32

static const mxg_encoding bf16 = {.elem = MX_BF16}, fp16 = {.elem = MX_FP16}, fp32 = {.elem = MX_FP32};
static const mxg_encoding row = FP8(MX_E4M3, E8M0, MX_COMPACT, MX_RCEIL, MX_NAN_BLOCK, 1, 32);
static const mxg_encoding row_padded = FP8(MX_E5M2, E8M0, MX_PADDED, MX_FLOOR, MX_NAN_ELEMENT, 1, 32);
static const mxg_encoding row_swizzled = FP8(MX_E4M3, E8M0, MX_SWIZZLED, MX_CEIL, MX_NAN_ELEMENT, 1, 32);
static const mxg_encoding row_even = FP8(MX_E5M2, E8M0, MX_COMPACT, MX_EVEN, MX_NAN_BLOCK, 1, 32);
static const mxg_encoding row_fp32 = FP8(MX_E4M3, FP32S, MX_COMPACT, MX_RULE_NONE, MX_NAN_BLOCK, 1, 128);
static const mxg_encoding column = FP8(MX_E4M3, E8M0, MX_COMPACT, MX_RCEIL, MX_NAN_BLOCK, 32, 1);
static const mxg_encoding column_padded = FP8(MX_E4M3, E8M0, MX_PADDED, MX_EVEN, MX_NAN_ELEMENT, 32, 1);
static const mxg_encoding column_swizzled = FP8(MX_E5M2, E8M0, MX_SWIZZLED, MX_FLOOR, MX_NAN_BLOCK, 32, 1);
static const mxg_encoding column_fp32 = FP8(MX_E4M3, FP32S, MX_COMPACT, MX_RULE_NONE, MX_NAN_ELEMENT, 16, 1);
static const mxg_encoding square = FP8(MX_E4M3, E8M0, MX_COMPACT, MX_RCEIL, MX_NAN_BLOCK, 32, 32);
static const mxg_encoding square_even = FP8(MX_E5M2, E8M0, MX_COMPACT, MX_EVEN, MX_NAN_ELEMENT, 32, 32);
static const mxg_encoding block = FP8(MX_E4M3, FP32S, MX_COMPACT, MX_RULE_NONE, MX_NAN_BLOCK, 128, 128);
static const mxg_encoding block_e8m0 = FP8(MX_E4M3, E8M0, MX_COMPACT, MX_RCEIL, MX_NAN_ELEMENT, 128, 128);
static const mxg_encoding block_element = FP8(MX_E4M3, FP32S, MX_COMPACT, MX_RULE_NONE, MX_NAN_ELEMENT, 128, 128);
static const mxg_encoding block_even = FP8(MX_E5M2, E8M0, MX_COMPACT, MX_EVEN, MX_NAN_BLOCK, 128, 128);
static const mxg_encoding whole = FP8(MX_E4M3, FP32S, MX_COMPACT, MX_RULE_NONE, MX_NAN_BLOCK, MX_WHOLE, MX_WHOLE);
static const mxg_encoding whole_element =
    FP8(MX_E5M2, FP32S, MX_COMPACT, MX_RULE_NONE, MX_NAN_ELEMENT, MX_WHOLE, MX_WHOLE);
static const mxg_encoding scratch = {
    .elem = MX_FP32, .scale = MX_SCALE_AMAX, .block_rows = MX_WHOLE, .block_cols = MX_WHOLE};

/* ---- cases: a kernel, and the matrix it works on ----------------------------------------------------------------- */

static const shape shapes[] = {
    /* move: bytes only, scales of every layout, expansion of square blocks, one scale a matrix */
    {MXG_MOVE, &bf16, &bf16, 0, 8, 128, 512, 37, 264, 96, 5},
    {MXG_MOVE, &fp32, &fp32, 20, 4, 64, 64, 9, 20, 0, 4},
    {MXG_MOVE, &row, &row, 0, 16, 256, 512, 70, 352, 128, 7},
    {MXG_MOVE, &row, &row_swizzled, 0, 8, 128, 256, 261, 288, 160, 13},
    {MXG_MOVE, &row_swizzled, &row_swizzled, 320, 32, 64, 100, 140, 320, 0, 139},
    {MXG_MOVE, &row_padded, &row_even, 0, 1, 64, 500, 33, 75, 0, 8},
    {MXG_MOVE, &column, &column_padded, 0, 4, 128, 200, 96, 132, 40, 32},
    {MXG_MOVE, &column_swizzled, &column_swizzled, 0, 2, 96, 300, 170, 134, 0, 32},
    {MXG_MOVE, &square, &row_swizzled, 0, 8, 128, 300, 130, 200, 96, 32},
    {MXG_MOVE, &square, &column, 96, 16, 64, 64, 77, 96, 0, 32},
    {MXG_MOVE, &square, &square, 0, 8, 64, 128, 96, 104, 0, 32},
    {MXG_MOVE, &block, &block, 0, 16, 256, 512, 300, 400, 128, 128},
    {MXG_MOVE, &whole, &whole, 0, 4, 64, 64, 20, 60, 0, 7},
    {MXG_MOVE, &fp16, &fp16, 0, 8, 64, 64, 11, 77, 24, 3},
    {MXG_MOVE, &column, &column, 0, 8, 64, 64, 75, 43, 0, 20},
    {MXG_MOVE, &square, &column_swizzled, 0, 2, 64, 64, 90, 55, 32, 12},
    {MXG_MOVE, &row_even, &row_padded, 0, 16, 64, 128, 40, 150, 48, 7},
    {MXG_MOVE, &row, &row_swizzled, 0, 16, 128, 256, 300, 384, 128, 128},
    {MXG_MOVE, &row_swizzled, &row_swizzled, 256, 16, 64, 256, 140, 256, 0, 140},
    {MXG_MOVE, &row, &row_swizzled, 1024, 16, 256, 512, 300, 1024, 0, 128},
    {MXG_MOVE, &row_padded, &row_swizzled, 0, 16, 128, 256, 150, 640, 128, 128},
    {MXG_MOVE, &row_swizzled, &row_swizzled, 2048, 16, 128, 512, 140, 2048, 0, 140},
    /* dequantize: every element, scale and block; casts */
    {MXG_DEQUANTIZE, &row, &bf16, 0, 8, 128, 600, 61, 416, 160, 9},
    {MXG_DEQUANTIZE, &row, &bf16, 256, 8, 256, 1024, 50, 256, 0, 11},
    {MXG_DEQUANTIZE, &row, &fp32, 0, 16, 64, 64, 21, 176, 0, 21},
    {MXG_DEQUANTIZE, &row_padded, &fp16, 0, 4, 64, 333, 40, 140, 64, 3},
    {MXG_DEQUANTIZE, &row_swizzled, &bf16, 0, 1, 32, 1000, 131, 47, 0, 17},
    {MXG_DEQUANTIZE, &row_even, &scratch, 0, 8, 128, 256, 30, 160, 0, 10},
    {MXG_DEQUANTIZE, &column, &bf16, 0, 8, 128, 256, 90, 136, 64, 32},
    {MXG_DEQUANTIZE, &column, &bf16, 0, 8, 64, 256, 96, 136, 64, 32},
    {MXG_DEQUANTIZE, &column, &fp32, 132, 4, 64, 256, 103, 132, 0, 103},
    {MXG_DEQUANTIZE, &column_swizzled, &fp32, 0, 4, 64, 256, 70, 260, 0, 32},
    {MXG_DEQUANTIZE, &column_padded, &fp16, 0, 1, 64, 256, 40, 37, 0, 32},
    {MXG_DEQUANTIZE, &square, &bf16, 0, 16, 64, 100, 70, 144, 0, 32},
    {MXG_DEQUANTIZE, &block, &bf16, 0, 8, 128, 512, 200, 328, 128, 100},
    {MXG_DEQUANTIZE, &block_e8m0, &fp16, 0, 2, 64, 512, 140, 130, 0, 64},
    {MXG_DEQUANTIZE, &whole, &bf16, 0, 8, 64, 256, 19, 88, 0, 5},
    {MXG_DEQUANTIZE, &fp32, &bf16, 0, 4, 64, 256, 40, 68, 0, 9},
    {MXG_DEQUANTIZE, &bf16, &fp16, 0, 8, 64, 256, 40, 72, 32, 9},
    {MXG_DEQUANTIZE, &fp16, &fp32, 33, 1, 64, 256, 40, 33, 0, 40},
    {MXG_DEQUANTIZE, &fp16, &bf16, 0, 2, 64, 256, 40, 66, 0, 40},
    {MXG_DEQUANTIZE, &row, &bf16, 0, 8, 64, 128, 19, 77, 32, 9},
    {MXG_DEQUANTIZE, &column_swizzled, &fp16, 69, 4, 64, 128, 50, 69, 0, 32},
    /* quantize to rows: from unscaled, from the other direction, odd tails */
    {MXG_QUANTIZE_ROWWISE, &bf16, &row, 256, 8, 256, 128, 60, 256, 0, 7},
    {MXG_QUANTIZE_ROWWISE, &bf16, &row_padded, 0, 8, 64, 40, 50, 296, 96, 6},
    {MXG_QUANTIZE_ROWWISE, &fp32, &row_swizzled, 0, 4, 128, 100, 150, 180, 64, 23},
    {MXG_QUANTIZE_ROWWISE, &fp16, &row_even, 0, 1, 64, 20, 30, 77, 0, 5},
    {MXG_QUANTIZE_ROWWISE, &bf16, &row_fp32, 0, 8, 128, 24, 40, 320, 128, 10},
    {MXG_QUANTIZE_ROWWISE, &fp32, &row_fp32, 0, 1, 64, 9, 20, 131, 0, 20},
    {MXG_QUANTIZE_ROWWISE, &column, &row, 0, 16, 64, 64, 64, 176, 0, 32},
    {MXG_QUANTIZE_ROWWISE, &block, &row_swizzled, 0, 32, 64, 64, 130, 288, 128, 43},
    {MXG_QUANTIZE_ROWWISE, &bf16, &row_swizzled, 0, 8, 64, 64, 33, 77, 32, 10},
    {MXG_QUANTIZE_ROWWISE, &fp32, &row_fp32, 150, 4, 64, 7, 9, 150, 0, 9},
    {MXG_QUANTIZE_ROWWISE, &bf16, &row_swizzled, 0, 8, 128, 128, 300, 384, 128, 128},
    {MXG_QUANTIZE_ROWWISE, &fp32, &row_swizzled, 256, 4, 256, 128, 260, 256, 0, 260},
    {MXG_QUANTIZE_ROWWISE, &fp16, &row_swizzled, 0, 8, 64, 128, 200, 256, 0, 72},
    /* quantize to columns */
    {MXG_QUANTIZE_COLUMNWISE, &bf16, &column, 0, 8, 128, 96, 130, 136, 64, 32},
    {MXG_QUANTIZE_COLUMNWISE, &fp32, &column_padded, 64, 4, 64, 64, 75, 64, 0, 64},
    {MXG_QUANTIZE_COLUMNWISE, &fp16, &column_swizzled, 0, 1, 64, 50, 150, 91, 0, 32},
    {MXG_QUANTIZE_COLUMNWISE, &bf16, &column_fp32, 0, 2, 64, 33, 50, 71, 0, 16},
    {MXG_QUANTIZE_COLUMNWISE, &row, &column, 0, 8, 64, 128, 96, 160, 96, 32},
    {MXG_QUANTIZE_COLUMNWISE, &square_even, &column_swizzled, 0, 16, 96, 160, 64, 144, 0, 32},
    {MXG_QUANTIZE_COLUMNWISE, &bf16, &column, 0, 8, 64, 64, 40, 77, 24, 32},
    {MXG_QUANTIZE_COLUMNWISE, &bf16, &column, 0, 8, 64, 33, 70, 80, 0, 32},
    /* quantize to squares */
    {MXG_QUANTIZE_SQUARE, &bf16, &square, 0, 8, 128, 6, 100, 232, 96, 32},
    {MXG_QUANTIZE_SQUARE, &fp32, &square_even, 0, 1, 64, 3, 65, 67, 0, 32},
    {MXG_QUANTIZE_SQUARE, &bf16, &block, 256, 8, 256, 2, 140, 256, 0, 128},
    {MXG_QUANTIZE_SQUARE, &row, &block, 0, 16, 256, 1, 260, 400, 128, 128},
    {MXG_QUANTIZE_SQUARE, &fp16, &block_e8m0, 0, 2, 128, 1, 130, 142, 0, 128},
    {MXG_QUANTIZE_SQUARE, &fp32, &block, 0, 4, 32, 1, 100, 132, 0, 128},
    {MXG_QUANTIZE_SQUARE, &bf16, &square, 0, 8, 64, 5, 70, 77, 32, 32},
    {MXG_QUANTIZE_SQUARE, &bf16, &block, 0, 4, 128, 2, 200, 150, 0, 128},
    {MXG_QUANTIZE_SQUARE, &bf16, &block, 0, 8, 256, 1, 260, 400, 128, 128},
    {MXG_QUANTIZE_SQUARE, &row_padded, &block_e8m0, 0, 16, 256, 1, 260, 400, 128, 128},
    /* one scale a matrix */
    {MXG_AMAX, &scratch, &scratch, 0, 4, 128, 128, 40, 132, 64, 9},
    {MXG_AMAX, &scratch, &scratch, 0, 1, 64, 128, 7, 33, 0, 7},
    {MXG_QUANTIZE_WHOLE, &scratch, &whole, 0, 4, 128, 128, 40, 132, 64, 9},
    {MXG_AMAX, &scratch, &scratch, 0, 4, 64, 128, 20, 70, 0, 6},
    {MXG_QUANTIZE_WHOLE, &scratch, &whole, 0, 4, 64, 128, 20, 70, 32, 6},
    {MXG_QUANTIZE_WHOLE, &scratch, &whole_element, 65, 1, 64, 300, 11, 65, 0, 11},
};

/* ---- sources that hold every value ------------------------------------------------------------------------------- */

/* Element c under scale byte r: all pairs. */
static void all_pairs(matrix *m) {
  for (uint64_t i = 0; i < m->data_bytes; i++) m->data[i] = (unsigned char)(i % m->ld);
  for (uint64_t i = 0; i < m->scale_bytes; i++) m->scale[i] = (unsigned char)(i / m->scale_ld);
}

/* All 16-bit elements in order. */
static void all_halves(matrix *m) {
  for (uint64_t i = 0; i < m->data_bytes / 2; i++) put(m->data + i * 2, (uint32_t)i, 2);
}

/* FP32 halfway between two elements of a narrower type, and one step off: 13 bits go for fp16, 16, 20 and 21. */
static void near_ties(matrix *m) {
  static const unsigned dropped[] = {13, 16, 20, 21};
  for (uint64_t i = 0; i < m->data_bytes / 4; i++) {
    uint32_t bits = random_word(), drop = dropped[bits >> 6 & 3], tie = (1u << (drop - 1)) + bits % 3 - 1;
    uint32_t exponent = i / 32 % 2 ? 90 + (bits >> 8) % 64 : 124 + (bits >> 8 & 3);
    put(m->data + i * 4, ((bits & 0x807fffffu) >> drop << drop) | exponent << 23 | tie, 4);
  }
}

/* Block i of 32 has BF16 value i as its maximum, at any place; the rest is not larger, or finite beside a NaN. */
static void each_maximum(matrix *m) {
  for (uint64_t i = 0; i < m->data_bytes / 64; i++) {
    uint32_t most = (uint32_t)i & 0x7fffu, held = most > 0x7f80u ? 0x7f7fu : most;
    for (uint32_t k = 0; k < 32; k++) {
      uint32_t bits = random_word();
      /* Near the maximum, far below it, or anything. */
      uint32_t below = bits % 4 == 0 ? bits >> 16 : bits % 4 == 1 ? bits >> 16 & 255 : (bits >> 16 & 2047) + held / 2;
      put(m->data + i * 64 + k * 2, k == i % 31 ? (uint32_t)i & 0xffffu : (bits & 0x8000u) | below % (held + 1), 2);
    }
  }
}

/* The same down columns of 32 rows. */
static void each_maximum_down(matrix *m) {
  for (uint64_t i = 0; i < m->data_bytes / 64; i++) {
    uint32_t most = (uint32_t)i & 0x7fffu, held = most > 0x7f80u ? 0x7f7fu : most;
    unsigned char *top = m->data + (i / m->ld * 32 * m->ld + i % m->ld) * 2;
    for (uint32_t k = 0; k < 32; k++) {
      uint32_t bits = random_word();
      put(top + k * m->ld * 2, k == i % 31 ? (uint32_t)i & 0xffffu : (bits & 0x8000u) | (bits >> 16) % (held + 1), 2);
    }
  }
}

/* Squares of 128 x 128 with one mood each, of what blocks of 1 x 32 may bring together in a block of another shape:
** scales near one; tiny ones, and large ones over nothing but zeros; so large that values are beyond FP32; anything
** finite; large ones over zeros only, at random; near one, with a rare NaN or, in E5M2, Inf. */
static void met_scales(matrix *m) {
  for (uint64_t i = 0; i < m->data_bytes; i += 32) {
    const uint64_t r = i / m->ld, c = i % m->ld;
    const uint32_t mood = (uint32_t)(r / 128 * (m->ld / 128) + c / 128) % 6, bits = random_word();
    const uint32_t any = bits % 255, lone = bits >> 8 & 7;
    const uint32_t scales[] = {120 + bits % 15, lone ? bits % 4 : 254 - bits % 2, 240 + bits % 15, any, any,
                               120 + bits % 15};
    m->scale[r * m->scale_ld + c / 32] = (unsigned char)scales[mood];
    const bool zeros = (mood == 1 && !lone) || (mood == 4 && any > 20);
    for (uint32_t k = 0; k < 32; k++) {
      const uint32_t word = random_word();
      uint32_t elem = zeros ? 0 : (word >> 8) % 0x7c;
      if (mood == 5 && (word >> 16) % 4096 == 0) elem = word >> 8 & 1 ? 0x7f : 0x7c;
      m->data[i + k] = (unsigned char)(elem | (word & 0x80));
    }
  }
}

/* Every scale rule with every NaN policy. */
#define CHOICES(e, br, bc)                                          \
  {                                                                 \
    FP8(e, E8M0, MX_COMPACT, MX_FLOOR, MX_NAN_BLOCK, br, bc),       \
        FP8(e, E8M0, MX_COMPACT, MX_FLOOR, MX_NAN_ELEMENT, br, bc), \
        FP8(e, E8M0, MX_COMPACT, MX_RCEIL, MX_NAN_BLOCK, br, bc),   \
        FP8(e, E8M0, MX_COMPACT, MX_RCEIL, MX_NAN_ELEMENT, br, bc), \
        FP8(e, E8M0, MX_COMPACT, MX_CEIL, MX_NAN_BLOCK, br, bc),    \
        FP8(e, E8M0, MX_COMPACT, MX_CEIL, MX_NAN_ELEMENT, br, bc),  \
        FP8(e, E8M0, MX_COMPACT, MX_EVEN, MX_NAN_BLOCK, br, bc),    \
        FP8(e, E8M0, MX_COMPACT, MX_EVEN, MX_NAN_ELEMENT, br, bc)   \
  }
enum { CHOICES_EACH = 8 };
static const mxg_encoding choices[2][CHOICES_EACH] = {CHOICES(MX_E4M3, 1, 32), CHOICES(MX_E5M2, 1, 32)};
static const mxg_encoding choices_down[CHOICES_EACH] = CHOICES(MX_E4M3, 32, 1);

typedef struct sweep {
  shape shape;
  void (*fill)(matrix *m);
} sweep;

static const sweep sweeps[] = {
    {{MXG_DEQUANTIZE, &row, &bf16, 0, 8, 128, 512, 256, 256, 0, 256}, all_pairs},
    {{MXG_DEQUANTIZE, &row, &fp16, 0, 8, 128, 512, 256, 256, 0, 256}, all_pairs},
    {{MXG_DEQUANTIZE, &row, &fp32, 0, 4, 128, 512, 256, 256, 0, 256}, all_pairs},
    {{MXG_DEQUANTIZE, &row_even, &bf16, 0, 8, 128, 512, 256, 256, 0, 256}, all_pairs},
    {{MXG_DEQUANTIZE, &row_even, &fp16, 0, 8, 128, 512, 256, 256, 0, 256}, all_pairs},
    {{MXG_DEQUANTIZE, &row_even, &fp32, 0, 4, 128, 512, 256, 256, 0, 256}, all_pairs},
    {{MXG_DEQUANTIZE, &fp16, &bf16, 0, 8, 128, 512, 64, 1024, 0, 64}, all_halves},
    {{MXG_DEQUANTIZE, &fp16, &fp32, 0, 4, 128, 512, 64, 1024, 0, 64}, all_halves},
    {{MXG_DEQUANTIZE, &bf16, &fp16, 0, 8, 128, 512, 64, 1024, 0, 64}, all_halves},
    {{MXG_QUANTIZE_ROWWISE, &bf16, &row, 0, 8, 128, 128, 64, 1024, 0, 64}, all_halves},
    {{MXG_QUANTIZE_ROWWISE, &bf16, &row_padded, 0, 8, 128, 128, 64, 1024, 0, 64}, all_halves},
    {{MXG_QUANTIZE_ROWWISE, &bf16, &row_swizzled, 0, 8, 128, 128, 64, 1024, 0, 64}, all_halves},
    {{MXG_QUANTIZE_ROWWISE, &fp16, &row_even, 0, 8, 128, 128, 64, 1024, 0, 64}, all_halves},
    {{MXG_DEQUANTIZE, &fp32, &bf16, 0, 4, 128, 512, 64, 1024, 0, 64}, near_ties},
    {{MXG_DEQUANTIZE, &fp32, &fp16, 0, 4, 128, 512, 64, 1024, 0, 64}, near_ties},
    {{MXG_QUANTIZE_ROWWISE, &fp32, &row, 0, 4, 128, 128, 64, 1024, 0, 64}, near_ties},
    {{MXG_QUANTIZE_ROWWISE, &fp32, &row_even, 0, 4, 128, 128, 64, 1024, 0, 64}, near_ties},
    {{MXG_QUANTIZE_SQUARE, &row, &block, 0, 16, 256, 1, 512, 1024, 0, 512}, met_scales},
    {{MXG_QUANTIZE_SQUARE, &row_padded, &block_element, 1024, 16, 256, 1, 512, 1024, 0, 512}, met_scales},
    {{MXG_QUANTIZE_SQUARE, &row_padded, &block_e8m0, 0, 16, 256, 1, 512, 1024, 0, 512}, met_scales},
    {{MXG_QUANTIZE_SQUARE, &row, &block_even, 0, 16, 256, 1, 512, 1024, 0, 512}, met_scales},
    {{MXG_QUANTIZE_SQUARE, &row_padded, &block_even, 1024, 8, 128, 1, 510, 1024, 0, 510}, met_scales},
    {{MXG_QUANTIZE_COLUMNWISE, &row, &column, 1024, 8, 128, 256, 512, 1024, 0, 512}, met_scales},
    {{MXG_QUANTIZE_COLUMNWISE, &row_padded, &column_padded, 0, 8, 128, 256, 512, 1024, 0, 512}, met_scales},
    {{MXG_QUANTIZE_COLUMNWISE, &row, &column_swizzled, 1024, 8, 128, 256, 510, 1024, 0, 510}, met_scales},
    {{MXG_QUANTIZE_COLUMNWISE, &row, &column_fp32, 1024, 8, 128, 256, 512, 1024, 0, 512}, met_scales},
    {{MXG_QUANTIZE_COLUMNWISE, &row_padded, &column_fp32, 0, 4, 96, 240, 500, 1024, 0, 500}, met_scales},
};
enum { SWEEPS = sizeof sweeps / sizeof *sweeps };

#define MAXIMA(to) \
  { {MXG_QUANTIZE_ROWWISE, &bf16, &to, 8192, 8, 256, 256, 256, 8192, 0, 256}, each_maximum }
#define MAXIMA_DOWN(to) \
  { {MXG_QUANTIZE_COLUMNWISE, &bf16, &to, 8192, 8, 256, 1024, 256, 8192, 0, 256}, each_maximum_down }
#define EIGHT(M, of) M(of[0]), M(of[1]), M(of[2]), M(of[3]), M(of[4]), M(of[5]), M(of[6]), M(of[7])
static const sweep maxima[] = {EIGHT(MAXIMA, choices[0]), EIGHT(MAXIMA, choices[1]), EIGHT(MAXIMA_DOWN, choices_down)};
enum { MAXIMA_COUNT = sizeof maxima / sizeof *maxima };

enum { SHAPES = sizeof shapes / sizeof *shapes, SEEDS = 3 };

enum { KERNELS = SHAPES + SWEEPS + MAXIMA_COUNT };
static mxg_kernel kernels[KERNELS]; /* of the shapes, the sweeps, the maxima */

static const sweep *sweep_of(size_t i) { return i < SWEEPS ? &sweeps[i] : &maxima[i - SWEEPS]; }

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static int compile_all(void **state) {
  (void)state;
  for (size_t i = 0; i < KERNELS; i++) {
    const shape *s = i < SHAPES ? &shapes[i] : &sweep_of(i - SHAPES)->shape;
    kernels[i] = (mxg_kernel){.family = (uint8_t)s->family,
                              .cols = s->fixed_cols,
                              .vec = s->vec,
                              .threads = s->threads,
                              .tile_units = s->tile_units,
                              .src = *s->src,
                              .dst = *s->dst};
    if (s->family == MXG_MOVE) kernels[i].dst.elem = kernels[i].src.elem;
    mxg_kernel_name(&kernels[i]);
  }
  return emulate_prepare(kernels, KERNELS);
}

static int free_compiled(void **state) {
  (void)state;
  emulate_free();
  return 0;
}

static void every_kernel_equals_the_host(void **state) {
  (void)state;
  for (size_t i = 0; i < SHAPES; i++) {
    for (uint32_t seed = 0; seed < (is_quick() ? 1 : SEEDS); seed++) {
      random_state = i * 1000 + seed;
      run(&shapes[i], &kernels[i], seed);
    }
  }
}

static void run_sweeps(size_t first, size_t count) {
  if (is_quick()) skip();
  for (size_t i = first; i < first + count; i++) {
    const sweep *w = sweep_of(i);
    const shape *s = &w->shape;
    random_state = i;
    matrix src = matrix_of(s->src, s->rows, s->cols, s->cols, 0, 0);
    w->fill(&src);
    check(s, &kernels[SHAPES + i], &src, 0x77);
    free_matrix(&src);
  }
}

static void every_value_converts_as_on_the_host(void **state) {
  (void)state;
  run_sweeps(0, SWEEPS);
}

static void every_maximum_gives_the_scale_of_the_host(void **state) {
  (void)state;
  run_sweeps(SWEEPS, MAXIMA_COUNT);
}

/* Thousands of entries of one row: the search for a tile's entry, and tiles that are mostly empty. */
static void many_small_entries(void **state) {
  (void)state;
  shape s = {MXG_DEQUANTIZE, &row, &bf16, 0, 8, 128, 600, 3000, 64, 32, 1};
  mxg_kernel kernel = {.family = MXG_DEQUANTIZE, .vec = 8, .threads = 128, .tile_units = 600, .src = row, .dst = bf16};
  mxg_kernel_name(&kernel);
  run(&s, &kernel, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kernel_equals_the_host),
      cmocka_unit_test(every_value_converts_as_on_the_host),
      cmocka_unit_test(every_maximum_gives_the_scale_of_the_host),
      cmocka_unit_test(many_small_entries),
  };
  const char *missing = emulate_missing();
  if (missing) return printf("skipped: %s\n", missing), 77;
  return cmocka_run_group_tests_name("emulate", tests, compile_all, free_compiled) != 0;
}
