/* decode.c -- see decode.h. */
#include "decode.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

static float table_e4m3[256], table_e5m2[256], table_scale[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A small float with `mantissa` bits and the given bias, by its definition. */
static float small_float(unsigned bits, unsigned mantissa, int bias) {
  unsigned fraction = bits & ((1u << mantissa) - 1), exponent = bits >> mantissa;
  if (exponent == 0) return ldexpf((float)fraction, 1 - bias - (int)mantissa);
  return ldexpf((float)(fraction | 1u << mantissa), (int)exponent - bias - (int)mantissa);
}

static void fill_tables(void) {
  for (unsigned i = 0; i < 256; i++) {
    unsigned low = i & 0x7f;
    float sign = i & 0x80 ? -1.0f : 1.0f;
    table_e4m3[i] = low == 0x7f ? NAN : sign * small_float(low, 3, 7);
    table_e5m2[i] = low > 0x7c ? NAN : low == 0x7c ? sign * INFINITY : sign * small_float(low, 2, 15);
    table_scale[i] = i == 255 ? NAN : ldexpf(1.0f, (int)i - 127);
  }
}

static float fp16_value(uint16_t bits) {
  unsigned low = bits & 0x7fffu;
  float sign = bits & 0x8000u ? -1.0f : 1.0f;
  if (low > 0x7c00u) return NAN;
  return low == 0x7c00u ? sign * INFINITY : sign * small_float(low, 10, 15);
}

static void elements(float *out, unsigned elem, const unsigned char *from, uint64_t count) {
  const float *table = elem == MX_E5M2 ? table_e5m2 : table_e4m3;
  uint16_t half;
  uint32_t word;
  switch ((enum mx_elem)elem) {
  case MX_E4M3:
  case MX_E5M2:
    for (uint64_t i = 0; i < count; i++) out[i] = table[from[i]];
    break;
  case MX_BF16:
    for (uint64_t i = 0; i < count; i++) {
      memcpy(&half, from + 2 * i, 2);
      word = (uint32_t)half << 16;
      memcpy(&out[i], &word, 4);
    }
    break;
  case MX_FP16:
    for (uint64_t i = 0; i < count; i++) {
      memcpy(&half, from + 2 * i, 2);
      out[i] = fp16_value(half);
    }
    break;
  case MX_FP32: memcpy(out, from, count * 4); break;
  }
}

/* Index of scale (i, j) of one matrix whose stored grid of scales is rows x cols. */
static uint64_t scale_index(const mxg_encoding *encoding, const mxg_scale_shape *shape, uint64_t i, uint64_t j) {
  if (encoding->layout != MX_SWIZZLED) return i * shape->stored_cols + j;
  bool columnwise = encoding->block_cols == 1 && encoding->block_rows > 1;
  uint64_t outer = columnwise ? j : i, inner = columnwise ? i : j;
  uint64_t inner_tiles = (columnwise ? shape->stored_rows : shape->stored_cols) / 4;
  return (outer / 128 * inner_tiles + inner / 4) * 512 + outer % 32 * 16 + outer % 128 / 32 * 4 + inner % 4;
}

static uint64_t block_of(uint64_t at, uint32_t block) { return block == MX_WHOLE || block == 0 ? 0 : at / block; }

void mxg_decode_row(float *out, const mxg_stored *stored, uint64_t matrix, uint64_t row, uint64_t col, uint64_t count) {
  pthread_once(&once, fill_tables);
  const mxg_encoding *encoding = &stored->encoding;
  uint64_t element = (matrix * stored->rows + row) * stored->cols + col;
  elements(out, encoding->elem, (const unsigned char *)stored->data + element * mxg_elem_bytes(encoding->elem), count);
  if (encoding->scale == MX_SCALE_NONE) return;
  mxg_scale_shape shape = mxg_scale_shape_of(encoding, stored->rows, stored->cols);
  const unsigned char *scales =
      (const unsigned char *)stored->scale + matrix * shape.stored_rows * shape.stored_cols * shape.bytes_each;
  uint64_t i = block_of(row, encoding->block_rows);
  for (uint64_t c = 0; c < count;) {
    uint64_t j = block_of(col + c, encoding->block_cols), at = scale_index(encoding, &shape, i, j);
    uint64_t stop = count;
    if (encoding->block_cols != MX_WHOLE && (j + 1) * encoding->block_cols - col < stop)
      stop = (j + 1) * encoding->block_cols - col;
    float scale;
    if (shape.bytes_each == 1)
      scale = table_scale[scales[at]];
    else
      memcpy(&scale, scales + 4 * at, 4);
    for (; c < stop; c++) out[c] *= scale;
  }
}
