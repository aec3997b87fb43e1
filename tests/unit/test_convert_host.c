/* convert_host.c: every family against a naive reference that decodes to double, chooses scales by definition and
** writes one element at a time. Whole buffers are compared, so that a byte outside the rectangle counts too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fenv.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "launch.h"
#include "reference.h"

enum { margin = 64, poison = 0xa5 };

/* ---- a stored matrix, with margins around both of its planes ----------------------------------------------------- */

typedef struct stored {
  mxg_encoding encoding;
  uint32_t rows, cols;
  size_t data_bytes, scale_bytes; /* without margins */
  unsigned misaligned;            /* bytes that the data is off its natural place */
  unsigned char *data, *scales;
} stored;

static uint32_t random_state = 2463534242u;

static uint32_t random_bits(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

static unsigned size_of(int elem) { return elem <= MX_E5M2 ? 1 : elem <= MX_FP16 ? 2 : 4; }

static uint64_t ceil_to(uint64_t a, uint64_t b) { return (a + b - 1) / b * b; }

static int is_columnwise(const mxg_encoding *e) { return e->block_cols == 1 && e->block_rows > 1; }

static uint64_t block_of(uint32_t x, uint32_t block) { return block == MX_WHOLE ? 0 : x / block; }

/* Where the scale of element (row, col) lies, from the layouts' definitions. */
static uint64_t scale_place(const stored *m, uint32_t row, uint32_t col) {
  const mxg_encoding *e = &m->encoding;
  uint64_t i = block_of(row, e->block_rows), j = block_of(col, e->block_cols);
  uint64_t all_i = block_of(m->rows - 1, e->block_rows) + 1, all_j = block_of(m->cols - 1, e->block_cols) + 1;
  if (e->layout == MX_COMPACT) return i * all_j + j;
  if (e->layout == MX_PADDED) return i * ceil_to(all_j, is_columnwise(e) ? 128 : 4) + j;
  if (is_columnwise(e)) {
    uint64_t swap = i;
    i = j, j = swap, all_j = all_i;
  }
  return ((i / 128) * ((all_j + 3) / 4) + j / 4) * 512 + (i % 32) * 16 + ((i % 128) / 32) * 4 + j % 4;
}

static stored make(mxg_encoding encoding, uint32_t rows, uint32_t cols, unsigned misaligned) {
  stored m = {.encoding = encoding, .rows = rows, .cols = cols, .misaligned = misaligned};
  m.data_bytes = (size_t)rows * cols * size_of(encoding.elem);
  if (encoding.scale != MX_SCALE_NONE) {
    uint64_t i = block_of(rows - 1, encoding.block_rows) + 1, j = block_of(cols - 1, encoding.block_cols) + 1;
    if (encoding.layout != MX_COMPACT) {
      i = ceil_to(i, is_columnwise(&encoding) ? 4 : 128);
      j = ceil_to(j, is_columnwise(&encoding) ? 128 : 4);
    }
    m.scale_bytes = i * j * (encoding.scale == MX_SCALE_E8M0 ? 1 : 4);
  }
  unsigned char *data = malloc(m.data_bytes + 2 * margin + misaligned), *scales = malloc(m.scale_bytes + 2 * margin);
  assert_non_null(data);
  assert_non_null(scales);
  memset(data, poison, m.data_bytes + 2 * margin + misaligned);
  memset(scales, poison, m.scale_bytes + 2 * margin);
  m.data = data + margin + misaligned;
  m.scales = scales + margin;
  return m;
}

static void drop(stored *m) {
  free(m->data - margin - m->misaligned);
  free(m->scales - margin);
}

static void fill_random(stored *m) {
  unsigned size = size_of(m->encoding.elem);
  for (size_t i = 0; i < m->data_bytes; i += size) {
    uint32_t bits = random_bits();
    /* Mostly ordinary numbers; now and then any pattern at all: NaN, Inf, subnormal, huge. */
    int ordinary = random_bits() % 64 != 0;
    if (ordinary && m->encoding.elem == MX_FP32) bits = (bits & 0x807fffff) | (120 + bits % 11) << 23;
    if (ordinary && m->encoding.elem == MX_BF16) bits = (bits & 0x807f) | (120 + bits % 11) << 7;
    if (ordinary && m->encoding.elem == MX_FP16) bits = bits & 0xbfff;
    memcpy(m->data + i, &bits, size);
  }
  for (size_t i = 0; i < m->scale_bytes; i++) m->scales[i] = (unsigned char)(random_bits() >> 8);
  if (m->encoding.scale == MX_SCALE_FP32) {
    for (size_t i = 0; i < m->scale_bytes; i += 4) {
      uint32_t bits = (random_bits() & 0x7fffff) | (100 + random_bits() % 40) << 23;
      if (random_bits() % 16 == 0) bits = random_bits() & 0x7fffffff;
      memcpy(m->scales + i, &bits, 4);
    }
  }
  if (m->encoding.scale == MX_SCALE_AMAX) memset(m->scales, 0, 4);
}

static void copy_of(stored *copy, const stored *m) {
  *copy = make(m->encoding, m->rows, m->cols, m->misaligned);
  memcpy(copy->data - margin, m->data - margin, m->data_bytes + 2 * margin);
  memcpy(copy->scales - margin, m->scales - margin, m->scale_bytes + 2 * margin);
}

static void assert_same(const stored *a, const stored *b) {
  assert_memory_equal(a->data - margin, b->data - margin, a->data_bytes + 2 * margin);
  assert_memory_equal(a->scales - margin, b->scales - margin, a->scale_bytes + 2 * margin);
}

static uint32_t get_bits(const stored *m, uint32_t row, uint32_t col) {
  uint32_t bits = 0;
  unsigned size = size_of(m->encoding.elem);
  memcpy(&bits, m->data + ((size_t)row * m->cols + col) * size, size);
  return bits;
}

static void put_bits(stored *m, uint32_t row, uint32_t col, uint32_t bits) {
  unsigned size = size_of(m->encoding.elem);
  memcpy(m->data + ((size_t)row * m->cols + col) * size, &bits, size);
}

static uint32_t get_scale(const stored *m, uint32_t row, uint32_t col) {
  uint64_t at = scale_place(m, row, col);
  uint32_t raw = 0;
  if (m->encoding.scale == MX_SCALE_E8M0) return m->scales[at];
  memcpy(&raw, m->scales + at * 4, 4);
  return raw;
}

static void put_scale(stored *m, uint32_t row, uint32_t col, uint32_t raw) {
  uint64_t at = scale_place(m, row, col);
  if (m->encoding.scale == MX_SCALE_E8M0) {
    m->scales[at] = (unsigned char)raw;
  } else {
    memcpy(m->scales + at * 4, &raw, 4);
  }
}

static double get_value(const stored *m, uint32_t row, uint32_t col) {
  double v = decode_reference(m->encoding.elem, get_bits(m, row, col));
  if (m->encoding.scale == MX_SCALE_E8M0) {
    uint32_t s = get_scale(m, row, col);
    return s == 255 ? (double)NAN : v * ldexp(1, (int)s - 127);
  }
  if (m->encoding.scale == MX_SCALE_FP32) return value_of(bits_of(v * value_of(get_scale(m, row, col))));
  return v;
}

/* What is quantised: the FP32 value, so that a product beyond FP32 counts as Inf. */
static double get_fp32(const stored *m, uint32_t row, uint32_t col) {
  return value_of(bits_of(get_value(m, row, col)));
}

/* ---- the naive reference ----------------------------------------------------------------------------------------- */

typedef struct rectangle {
  uint32_t src_row, src_col, dst_row, dst_col, rows, cols;
} rectangle;

static int begins_block(uint32_t x, uint32_t block) { return block == MX_WHOLE ? x == 0 : x % block == 0; }

static void reference_move(const stored *src, stored *dst, rectangle at) {
  for (uint32_t r = 0; r < at.rows; r++) {
    for (uint32_t c = 0; c < at.cols; c++) {
      put_bits(dst, at.dst_row + r, at.dst_col + c, get_bits(src, at.src_row + r, at.src_col + c));
      if (dst->encoding.scale != MX_SCALE_E8M0 && dst->encoding.scale != MX_SCALE_FP32) continue;
      if (!begins_block(at.dst_row + r, dst->encoding.block_rows)) continue;
      if (!begins_block(at.dst_col + c, dst->encoding.block_cols)) continue;
      put_scale(dst, at.dst_row + r, at.dst_col + c, get_scale(src, at.src_row + r, at.src_col + c));
    }
  }
}

static void reference_dequantize(const stored *src, stored *dst, rectangle at) {
  for (uint32_t r = 0; r < at.rows; r++) {
    for (uint32_t c = 0; c < at.cols; c++) {
      double v = get_value(src, at.src_row + r, at.src_col + c);
      put_bits(dst, at.dst_row + r, at.dst_col + c, encode_reference(dst->encoding.elem, v));
    }
  }
}

/* The largest magnitude of a rectangle; NaN when there is one that counts. */
static double largest_of(const stored *m, int nan, uint32_t row, uint32_t col, uint32_t rows, uint32_t cols) {
  double most = 0;
  for (uint32_t r = row; r < row + rows; r++) {
    for (uint32_t c = col; c < col + cols; c++) {
      double v = fabs(get_fp32(m, r, c));
      if (isnan(v) && nan == MX_NAN_BLOCK) return (double)NAN;
      if (v > most) most = v;
    }
  }
  return most;
}

static uint32_t fp32_scale_reference(int elem, int nan, double most) {
  if ((isnan(most) || isinf(most)) && nan == MX_NAN_BLOCK) return 0x7fffffff;
  if (isinf(most)) most = 0x1.fffffep127;
  if (most == 0) return bits_of(1.0);
  uint32_t scale = bits_of(most / (elem == MX_E4M3 ? 448.0 : 57344.0));
  return value_of(scale) < 0x1p-126 ? bits_of(0x1p-126) : scale;
}

static void reference_block(const stored *src, stored *dst, rectangle at, double most) {
  const mxg_encoding *e = &dst->encoding;
  double reciprocal;
  uint32_t raw;
  if (e->scale == MX_SCALE_E8M0) {
    raw = (uint32_t)block_scale_reference(e->rule, e->elem, e->nan, most);
    reciprocal = raw == 255 ? (double)NAN : ldexp(1, 127 - (int)raw);
  } else {
    raw = fp32_scale_reference(e->elem, e->nan, most);
    reciprocal = value_of(bits_of(1.0 / value_of(raw)));
  }
  if (begins_block(at.dst_row, e->block_rows) && begins_block(at.dst_col, e->block_cols))
    put_scale(dst, at.dst_row, at.dst_col, raw);
  for (uint32_t r = 0; r < at.rows; r++) {
    for (uint32_t c = 0; c < at.cols; c++) {
      double v = get_fp32(src, at.src_row + r, at.src_col + c);
      put_bits(dst, at.dst_row + r, at.dst_col + c, encode_reference(e->elem, value_of(bits_of(v * reciprocal))));
    }
  }
}

static void reference_quantize(const stored *src, stored *dst, rectangle at) {
  const mxg_encoding *e = &dst->encoding;
  for (uint32_t r = 0; r < at.rows; r += e->block_rows) {
    for (uint32_t c = 0; c < at.cols; c += e->block_cols) {
      rectangle block = {at.src_row + r, at.src_col + c, at.dst_row + r, at.dst_col + c, e->block_rows, e->block_cols};
      if (block.rows > at.rows - r) block.rows = at.rows - r;
      if (block.cols > at.cols - c) block.cols = at.cols - c;
      double most = largest_of(src, e->nan, block.src_row, block.src_col, block.rows, block.cols);
      reference_block(src, dst, block, most);
    }
  }
}

/* ---- running the real thing -------------------------------------------------------------------------------------- */

static mx_entry entry_of(const stored *src, const stored *dst, rectangle at) {
  mx_entry entry = {.src = (uintptr_t)src->data, .dst = (uintptr_t)dst->data};
  if (src->scale_bytes) entry.src_scale = (uintptr_t)src->scales;
  if (dst->scale_bytes) entry.dst_scale = (uintptr_t)dst->scales;
  entry.src_ld = (uint32_t)src->cols;
  entry.dst_ld = (uint32_t)dst->cols;
  entry.src_row = at.src_row;
  entry.src_col = at.src_col;
  entry.dst_row = at.dst_row;
  entry.dst_col = at.dst_col;
  entry.rows = at.rows;
  entry.cols = at.cols;
  entry.src_scale_ld = mxg_scale_shape_of(&src->encoding, src->rows, src->cols).ld;
  entry.dst_scale_ld = mxg_scale_shape_of(&dst->encoding, dst->rows, dst->cols).ld;
  return entry;
}

static mxg_kernel kernel_of(mxg_family family, const stored *src, const stored *dst) {
  mxg_kernel kernel = {.family = (uint8_t)family, .vec = 1, .threads = 256, .tile_units = 256};
  kernel.src = src->encoding;
  kernel.dst = dst->encoding;
  return kernel;
}

/* In one go, and in bands of `band` rows: both must give `want`. */
static void run_both_ways(mxg_family family, const stored *src, const stored *dst, rectangle at, uint32_t band,
                          const stored *want) {
  mxg_kernel kernel = kernel_of(family, src, dst);
  stored got;
  copy_of(&got, dst);
  mx_entry entry = entry_of(src, &got, at);
  mxg_convert_entries(&kernel, &entry, 1);
  assert_same(&got, want);
  drop(&got);
  copy_of(&got, dst);
  entry = entry_of(src, &got, at);
  for (uint32_t r = 0; r < at.rows; r += band)
    mxg_convert_rows(&kernel, &entry, r, at.rows - r < band ? at.rows - r : band);
  assert_same(&got, want);
  drop(&got);
}

/* ---- formats and shapes ------------------------------------------------------------------------------------------ */

#define BLOCKS(elem_, scale_, layout_, rule_, nan_, block_rows_, block_cols_)                                 \
  {                                                                                                           \
    .elem = elem_, .scale = scale_, .layout = layout_, .rule = rule_, .nan = nan_, .block_rows = block_rows_, \
    .block_cols = block_cols_                                                                                 \
  }

static const mxg_encoding formats[] = {
    {.elem = MX_BF16},
    {.elem = MX_FP16},
    {.elem = MX_FP32},
    BLOCKS(MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, MX_RCEIL, MX_NAN_BLOCK, 1, 32),
    BLOCKS(MX_E5M2, MX_SCALE_E8M0, MX_PADDED, MX_FLOOR, MX_NAN_ELEMENT, 1, 32),
    BLOCKS(MX_E4M3, MX_SCALE_E8M0, MX_SWIZZLED, MX_EVEN, MX_NAN_BLOCK, 1, 32),
    BLOCKS(MX_E5M2, MX_SCALE_E8M0, MX_COMPACT, MX_CEIL, MX_NAN_BLOCK, 32, 1),
    BLOCKS(MX_E4M3, MX_SCALE_E8M0, MX_PADDED, MX_RCEIL, MX_NAN_ELEMENT, 32, 1),
    BLOCKS(MX_E4M3, MX_SCALE_E8M0, MX_SWIZZLED, MX_FLOOR, MX_NAN_BLOCK, 32, 1),
    BLOCKS(MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, MX_RCEIL, MX_NAN_BLOCK, 32, 32),
    BLOCKS(MX_E4M3, MX_SCALE_FP32, MX_COMPACT, MX_RULE_NONE, MX_NAN_BLOCK, 128, 128),
    BLOCKS(MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, MX_EVEN, MX_NAN_ELEMENT, 128, 128),
    BLOCKS(MX_E5M2, MX_SCALE_FP32, MX_COMPACT, MX_RULE_NONE, MX_NAN_ELEMENT, 128, 128),
    BLOCKS(MX_E4M3, MX_SCALE_FP32, MX_COMPACT, MX_RULE_NONE, MX_NAN_BLOCK, MX_WHOLE, MX_WHOLE),
    BLOCKS(MX_E5M2, MX_SCALE_FP32, MX_COMPACT, MX_RULE_NONE, MX_NAN_ELEMENT, MX_WHOLE, MX_WHOLE),
};
enum { format_count = sizeof(formats) / sizeof(formats[0]) };

static void dequantize_from_every_format(void **state) {
  (void)state;
  static const rectangle places[] = {{0, 0, 0, 0, 200, 300}, {5, 37, 11, 3, 150, 261}, {131, 64, 0, 1, 1, 7}};
  for (int f = 0; f < format_count; f++) {
    for (int target = MX_BF16; target <= MX_FP32; target++) {
      for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++) {
        stored src = make(formats[f], 200, 300, 0), dst = make((mxg_encoding){.elem = (uint8_t)target}, 200, 310, 0);
        stored want;
        fill_random(&src);
        copy_of(&want, &dst);
        reference_dequantize(&src, &want, places[p]);
        run_both_ways(MXG_DEQUANTIZE, &src, &dst, places[p], 33, &want);
        drop(&src), drop(&dst), drop(&want);
      }
    }
  }
}

static mxg_family family_to(const mxg_encoding *dst) {
  if (dst->block_rows == 1) return MXG_QUANTIZE_ROWWISE;
  return dst->block_cols == 1 ? MXG_QUANTIZE_COLUMNWISE : MXG_QUANTIZE_SQUARE;
}

/* Target blocks lie on the target's grid; the source's corner does not care. Tails on the right and below. */
static void quantize_from_every_format_to_every_block(void **state) {
  (void)state;
  for (int t = 3; t < format_count; t++) {
    const mxg_encoding *to = &formats[t];
    if (to->block_rows == MX_WHOLE) continue;
    for (int f = 0; f < format_count; f++) {
      uint32_t down = to->block_rows, right = to->block_cols == 1 ? 5 : to->block_cols;
      const rectangle places[] = {{0, 0, 0, 0, 141, 170}, {3, 21, down, right, 138, 149}};
      for (size_t p = 0; p < 2; p++) {
        rectangle at = places[p];
        stored src = make(formats[f], 141, 170, 0), dst = make(*to, at.dst_row + at.rows, at.dst_col + at.cols, 0);
        stored want;
        fill_random(&src);
        copy_of(&want, &dst);
        reference_quantize(&src, &want, at);
        run_both_ways(family_to(to), &src, &dst, at, to->block_rows == 1 ? 17 : to->block_rows, &want);
        drop(&src), drop(&dst), drop(&want);
      }
    }
  }
}

static void quantize_all_rules_and_policies(void **state) {
  (void)state;
  for (int rule = MX_FLOOR; rule <= MX_EVEN; rule++) {
    for (int nan = MX_NAN_BLOCK; nan <= MX_NAN_ELEMENT; nan++) {
      for (int elem = MX_E4M3; elem <= MX_E5M2; elem++) {
        for (int square = 0; square < 2; square++) {
          mxg_encoding to = BLOCKS((uint8_t)elem, MX_SCALE_E8M0, MX_COMPACT, (uint8_t)rule, (uint8_t)nan, 1, 32);
          if (square) to.block_rows = 32;
          stored src = make(formats[0], 64, 128, 0), dst = make(to, 64, 128, 0), want;
          for (size_t i = 0; i < src.data_bytes; i++) src.data[i] = (unsigned char)random_bits(); /* any pattern */
          memset(src.data, 0, 512);                                                               /* zero blocks */
          copy_of(&want, &dst);
          rectangle all = {0, 0, 0, 0, 64, 128};
          reference_quantize(&src, &want, all);
          run_both_ways(family_to(&to), &src, &dst, all, 32, &want);
          drop(&src), drop(&dst), drop(&want);
        }
      }
    }
  }
}

/* Blocks so long or large that a strip does not hold them. */
static void quantize_large_blocks(void **state) {
  (void)state;
  static const uint32_t blocks[][2] = {{1, 2500}, {300, 130}, {20000, 1}, {MX_WHOLE, MX_WHOLE}, {2, 1024}};
  for (size_t b = 0; b < sizeof(blocks) / sizeof(blocks[0]); b++) {
    mxg_encoding to = BLOCKS(MX_E4M3, MX_SCALE_FP32, MX_COMPACT, MX_RULE_NONE, MX_NAN_BLOCK, 1, 1);
    to.block_rows = blocks[b][0];
    to.block_cols = blocks[b][1];
    uint32_t rows = to.block_rows == 20000 ? 20011 : 301, cols = to.block_cols == 1 ? 3 : 2600;
    stored src = make(formats[0], rows, cols, 0), dst = make(to, rows, cols, 0), want;
    fill_random(&src);
    copy_of(&want, &dst);
    rectangle all = {0, 0, 0, 0, rows, cols};
    if (to.block_rows == MX_WHOLE) {
      reference_block(&src, &want, all, largest_of(&src, to.nan, 0, 0, rows, cols));
    } else {
      reference_quantize(&src, &want, all);
    }
    run_both_ways(family_to(&to), &src, &dst, all, to.block_rows == MX_WHOLE ? rows : to.block_rows, &want);
    drop(&src), drop(&dst), drop(&want);
  }
}

static void move_bytes_and_scales(void **state) {
  (void)state;
  static const uint32_t to_blocks[][2] = {{1, 32}, {32, 1}, {32, 32}, {128, 128}, {1, 16}};
  for (int scale = MX_SCALE_E8M0; scale <= MX_SCALE_FP32; scale++) {
    for (int from_layout = MX_COMPACT; from_layout <= MX_SWIZZLED; from_layout++) {
      for (int to_layout = MX_COMPACT; to_layout <= MX_SWIZZLED; to_layout++) {
        for (size_t b = 0; b < 5; b++) {
          for (int source = 0; source < 4; source++) {
            /* From the same blocks, from 32x32, from 128x128 and from one scale for all. */
            mxg_encoding to = BLOCKS(MX_E4M3, (uint8_t)scale, (uint8_t)to_layout, MX_FLOOR, MX_NAN_BLOCK, 1, 1);
            to.block_rows = to_blocks[b][0];
            to.block_cols = to_blocks[b][1];
            mxg_encoding from = to;
            from.layout = (uint8_t)from_layout;
            if (source == 1) from.block_rows = from.block_cols = 32;
            if (source == 2) from.block_rows = from.block_cols = 128;
            if (source == 3) from.block_rows = from.block_cols = MX_WHOLE;
            if (from.block_rows < to.block_rows || from.block_cols < to.block_cols) continue;
            if (source == 3 && from_layout != MX_COMPACT) continue;
            stored src = make(from, 300, 420, 0), dst = make(to, 427, 513, 0), want;
            fill_random(&src);
            rectangle at = {32, 64, 128, 128, 268, 356};
            if (source == 1 && to.block_rows <= 32) at = (rectangle){64, 32, 32, 96, 230, 129};
            copy_of(&want, &dst);
            reference_move(&src, &want, at);
            run_both_ways(MXG_MOVE, &src, &dst, at, 128, &want);
            drop(&src), drop(&dst), drop(&want);
          }
        }
      }
    }
  }
}

/* A block that two entries share: its scale comes with its first element and is left alone by the other. */
static void move_writes_a_shared_scale_once(void **state) {
  (void)state;
  mxg_encoding blocks = BLOCKS(MX_E4M3, MX_SCALE_FP32, MX_COMPACT, MX_RULE_NONE, MX_NAN_BLOCK, 128, 128);
  stored src = make(blocks, 256, 256, 0), dst = make(blocks, 256, 256, 0), want;
  fill_random(&src);
  /* The entries that hold no first element come first: what they leave must still be poison. */
  static const rectangle places[] = {
      {70, 100, 70, 100, 186, 156}, {0, 100, 0, 100, 70, 156}, {70, 0, 70, 0, 186, 100}, {0, 0, 0, 0, 70, 100}};
  copy_of(&want, &dst);
  for (size_t p = 0; p < 4; p++) {
    reference_move(&src, &want, places[p]);
    mxg_kernel kernel = kernel_of(MXG_MOVE, &src, &dst);
    mx_entry entry = entry_of(&src, &dst, places[p]);
    mxg_convert_entries(&kernel, &entry, 1);
    assert_same(&dst, &want);
  }
  assert_memory_equal(dst.scales, src.scales, src.scale_bytes);
  drop(&src), drop(&dst), drop(&want);
}

static void move_plain_rows(void **state) {
  (void)state;
  for (int f = 0; f < 3; f++) {
    stored src = make(formats[f], 40, 50, 0), dst = make(formats[f], 45, 50, 0), want;
    fill_random(&src);
    static const rectangle places[] = {{3, 0, 5, 0, 37, 50}, {3, 1, 6, 9, 30, 13}, {0, 0, 0, 0, 0, 50}};
    for (size_t p = 0; p < 3; p++) {
      copy_of(&want, &dst);
      reference_move(&src, &want, places[p]);
      run_both_ways(MXG_MOVE, &src, &dst, places[p], 7, &want);
      drop(&want);
    }
    drop(&src), drop(&dst);
  }
}

static void amax_then_whole(void **state) {
  (void)state;
  for (int elem = MX_E4M3; elem <= MX_E5M2; elem++) {
    for (int nan = MX_NAN_BLOCK; nan <= MX_NAN_ELEMENT; nan++) {
      for (int kind_of_data = 0; kind_of_data < 4; kind_of_data++) {
        mxg_encoding scratch =
            BLOCKS(MX_FP32, MX_SCALE_AMAX, MX_COMPACT, MX_RULE_NONE, (uint8_t)nan, MX_WHOLE, MX_WHOLE);
        mxg_encoding to =
            BLOCKS((uint8_t)elem, MX_SCALE_FP32, MX_COMPACT, MX_RULE_NONE, (uint8_t)nan, MX_WHOLE, MX_WHOLE);
        stored src = make(scratch, 90, 1100, 0), dst = make(to, 90, 1100, 0), want;
        fill_random(&src);
        for (size_t i = 0; kind_of_data != 0 && i < src.data_bytes; i += 4) { /* finite, then one that is not */
          uint32_t bits =
              bits_of(kind_of_data == 3 ? 0.0 : ldexp((double)(1 + i % 7), (int)(i % 9) - 160 + (int)(i % 3) * 60));
          if (kind_of_data == 2 && i == 4 * 7777) bits = 0xff800000u;
          memcpy(src.data + i, &bits, 4);
        }
        static const rectangle parts[] = {{0, 0, 0, 0, 40, 1100}, {40, 0, 40, 0, 50, 500}, {40, 500, 40, 500, 50, 600}};
        mxg_kernel amax = kernel_of(MXG_AMAX, &src, &src), whole = kernel_of(MXG_QUANTIZE_WHOLE, &src, &dst);
        mx_entry entries[3];
        for (size_t p = 0; p < 3; p++) entries[p] = entry_of(&src, &src, parts[p]);
        mxg_convert_entries(&amax, entries, 3);
        double most = largest_of(&src, nan, 0, 0, 90, 1100);
        assert_true(same(value_of(get_scale(&src, 0, 0)), most));

        copy_of(&want, &dst);
        reference_block(&src, &want, (rectangle){0, 0, 0, 0, 90, 1100}, most);
        for (size_t p = 0; p < 3; p++) entries[p] = entry_of(&src, &dst, parts[p]);
        mxg_convert_entries(&whole, entries + 1, 2);
        assert_int_equal(get_scale(&dst, 0, 0), 0xa5a5a5a5); /* not theirs to write */
        mxg_convert_entries(&whole, entries, 1);
        assert_same(&dst, &want);
        drop(&dst);
        dst = make(to, 90, 1100, 0);
        run_both_ways(MXG_QUANTIZE_WHOLE, &src, &dst, (rectangle){0, 0, 0, 0, 90, 1100}, 11, &want);
        drop(&src), drop(&dst), drop(&want);
      }
    }
  }
}

/* ---- the direct way from MXFP8 to BF16 --------------------------------------------------------------------------- */

static void every_pair_of_element_and_scale(void **state) {
  (void)state;
  for (int elem = MX_E4M3; elem <= MX_E5M2; elem++) {
    mxg_encoding from = BLOCKS((uint8_t)elem, MX_SCALE_E8M0, MX_COMPACT, MX_FLOOR, MX_NAN_BLOCK, 1, 32);
    stored src = make(from, 256, 256, 0);
    for (uint32_t i = 0; i < 65536; i++) src.data[i] = (unsigned char)i;
    for (uint32_t i = 0; i < 2048; i++) src.scales[i] = (unsigned char)(i / 8);
    for (int target = MX_BF16; target <= MX_FP32; target++) {
      stored dst = make((mxg_encoding){.elem = (uint8_t)target}, 256, 256, 0), want;
      copy_of(&want, &dst);
      rectangle all = {0, 0, 0, 0, 256, 256};
      reference_dequantize(&src, &want, all);
      run_both_ways(MXG_DEQUANTIZE, &src, &dst, all, 1, &want);
      drop(&dst), drop(&want);
    }
    drop(&src);
  }
}

/* Rows longer than any run, corners in the middle of a block. */
static void long_rows(void **state) {
  (void)state;
  for (int layout = MX_COMPACT; layout <= MX_SWIZZLED; layout++) {
    for (uint32_t block_rows = 1; block_rows <= 32; block_rows += 31) {
      mxg_encoding from = BLOCKS(MX_E4M3, MX_SCALE_E8M0, (uint8_t)layout, MX_FLOOR, MX_NAN_BLOCK, block_rows, 32);
      uint32_t cols = layout == MX_SWIZZLED ? 40000 : 5000;
      stored src = make(from, 3, cols, 0), dst = make(formats[0], 3, cols, 0), want;
      fill_random(&src);
      rectangle at = {1, 19, 0, 2, 2, cols - 40};
      copy_of(&want, &dst);
      reference_dequantize(&src, &want, at);
      run_both_ways(MXG_DEQUANTIZE, &src, &dst, at, 1, &want);
      drop(&src), drop(&dst), drop(&want);
    }
  }
}

/* Results so large that they are written past the caches, at every alignment of rows. */
static void results_larger_than_caches(void **state) {
  (void)state;
  for (int target = MX_BF16; target <= MX_FP32; target++) {
    for (unsigned odd = 0; odd < 2; odd++) {
      uint32_t rows = 1031, cols = target == MX_FP32 ? 1101 : 2101;
      stored src = make(formats[3], rows, cols, 0),
             dst = make((mxg_encoding){.elem = (uint8_t)target}, rows, cols, odd);
      stored want;
      fill_random(&src);
      copy_of(&want, &dst);
      rectangle at = {0, 5, 0, 3, rows, cols - 7};
      reference_dequantize(&src, &want, at);
      run_both_ways(MXG_DEQUANTIZE, &src, &dst, at, 500, &want);
      drop(&src), drop(&dst), drop(&want);
    }
  }
}

/* ---- surroundings ------------------------------------------------------------------------------------------------ */

static void elements_at_odd_addresses(void **state) {
  (void)state;
  for (int f = 0; f < 3; f++) {
    for (int target = 0; target < 4; target++) {
      stored src = make(formats[f], 33, 70, 1), dst = make(formats[target], 33, 70, target == 3 ? 0 : 1), want;
      fill_random(&src);
      rectangle all = {0, 0, 0, 0, 33, 70};
      copy_of(&want, &dst);
      if (target == 3) {
        reference_quantize(&src, &want, all);
      } else {
        reference_dequantize(&src, &want, all);
      }
      run_both_ways(target == 3 ? MXG_QUANTIZE_ROWWISE : MXG_DEQUANTIZE, &src, &dst, all, 33, &want);
      drop(&src), drop(&dst), drop(&want);
    }
  }
}

/* Tiny values under flush-to-zero and upward rounding: neither may show, and both are the caller's again afterwards. */
static void the_callers_environment_does_not_matter(void **state) {
  (void)state;
  stored src = make(formats[0], 64, 64, 0), dst = make(formats[3], 64, 64, 0), want, back, got;
  for (size_t i = 0; i < src.data_bytes; i += 2) {
    uint32_t bits = random_bits() % 0x200 | (random_bits() & 0x8000); /* subnormals and their neighbours */
    memcpy(src.data + i, &bits, 2);
  }
  rectangle all = {0, 0, 0, 0, 64, 64};
  copy_of(&want, &dst);
  reference_quantize(&src, &want, all);
  stored wide = make(formats[2], 64, 64, 0);
  copy_of(&back, &wide);
  reference_dequantize(&want, &back, all);
  copy_of(&got, &wide);
  mxg_kernel quantize = kernel_of(MXG_QUANTIZE_ROWWISE, &src, &dst), dequantize = kernel_of(MXG_DEQUANTIZE, &dst, &got);
  mx_entry first = entry_of(&src, &dst, all), second = entry_of(&dst, &got, all);
#if defined(__SSE__)
  unsigned control = _mm_getcsr();
  _mm_setcsr(control | 0x8040);
#endif
  assert_int_equal(fesetround(FE_UPWARD), 0);
  mxg_convert_entries(&quantize, &first, 1);
  mxg_convert_rows(&dequantize, &second, 0, 64);
  int rounding = fegetround();
  (void)fesetround(FE_TONEAREST);
#if defined(__SSE__)
  unsigned after = _mm_getcsr();
  _mm_setcsr(control);
  assert_int_equal(after & 0x8040, 0x8040);
#endif
  assert_int_equal(rounding, FE_UPWARD);
  assert_same(&dst, &want);
  assert_same(&got, &back);
  drop(&src), drop(&dst), drop(&want), drop(&back), drop(&got), drop(&wide);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(dequantize_from_every_format),
      cmocka_unit_test(quantize_from_every_format_to_every_block),
      cmocka_unit_test(quantize_all_rules_and_policies),
      cmocka_unit_test(quantize_large_blocks),
      cmocka_unit_test(move_bytes_and_scales),
      cmocka_unit_test(move_writes_a_shared_scale_once),
      cmocka_unit_test(move_plain_rows),
      cmocka_unit_test(amax_then_whole),
      cmocka_unit_test(every_pair_of_element_and_scale),
      cmocka_unit_test(long_rows),
      cmocka_unit_test(results_larger_than_caches),
      cmocka_unit_test(elements_at_odd_addresses),
      cmocka_unit_test(the_callers_environment_does_not_matter),
  };
  return cmocka_run_group_tests_name("convert_host", tests, NULL, NULL) != 0;
}
