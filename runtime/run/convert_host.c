/* convert_host.c -- the host's conversion of work tables: every family, any format on either side. It is what generated
** kernels are checked against, so it goes the plain way: read a run of values, choose scales, write a run of elements.
** Loops over elements are convert_span.c's, numbers mx_convert.h's, places of scales mx_scale.h's. */
#include "convert_span.h"
#include "launch.h"
#include "mx_convert.h"
#include "mx_scale.h"

#include <assert.h>
#include <fenv.h>
#include <stdatomic.h>
#include <string.h>

enum {
  span_most = 1024,      /* values of one run */
  kept_most = 16384,     /* values of one strip that are kept between choosing scales and writing: a 128x128 block */
  mx_block = 32,         /* elements of a block that the direct way to BF16 knows */
  stream_least = 4 << 20 /* bytes of an entry's result from which on it goes past the caches */
};

/* Rows [first, first + rows) of an entry. */
typedef struct work {
  const mxg_kernel *kernel;
  const mx_entry *entry;
  uint32_t first, rows;
} work;

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

static bool has_scales(const mxg_encoding *encoding) {
  return encoding->scale == MX_SCALE_E8M0 || encoding->scale == MX_SCALE_FP32;
}

/* ---- one side of an entry ---- */

/* Where things of one side lie: row and column of the entry's corner included. */
typedef struct side {
  const mxg_encoding *encoding;
  uint8_t *data, *scales;
  uint64_t ld;
  uint32_t row, col, scale_ld, elem_bytes;
  bool columnwise, stream;
} side;

static side side_of(const mxg_encoding *encoding, uint64_t data, uint64_t scales, uint64_t ld, uint32_t row,
                    uint32_t col, uint32_t scale_ld) {
  side s = {.encoding = encoding, .ld = ld, .row = row, .col = col, .scale_ld = scale_ld};
  s.data = (uint8_t *)(uintptr_t)data;
  s.scales = (uint8_t *)(uintptr_t)scales;
  s.elem_bytes = mxg_elem_bytes(encoding->elem);
  s.columnwise = mx_is_columnwise(encoding->block_rows, encoding->block_cols);
  return s;
}

static side source_of(const work *w) {
  const mx_entry *e = w->entry;
  return side_of(&w->kernel->src, e->src, e->src_scale, e->src_ld, e->src_row + w->first, e->src_col, e->src_scale_ld);
}

static side target_of(const work *w) {
  const mx_entry *e = w->entry;
  return side_of(&w->kernel->dst, e->dst, e->dst_scale, e->dst_ld, e->dst_row + w->first, e->dst_col, e->dst_scale_ld);
}

/* Element (row, col) counted from the work's corner. A wire form's address may lie before its bytes: add as integers.
 */
static uint8_t *elem_at(const side *s, uint32_t row, uint32_t col) {
  uint64_t offset = ((uint64_t)(s->row + row) * s->ld + s->col + col) * s->elem_bytes;
  return (uint8_t *)((uintptr_t)s->data + (uintptr_t)offset);
}

/* Scale (i, j) of the matrix. */
static uint8_t *scale_at(const side *s, uint32_t i, uint32_t j) {
  uint64_t at = mx_scale_offset(s->encoding->layout, s->columnwise, s->scale_ld, i, j);
  return s->scales + at * (s->encoding->scale == MX_SCALE_E8M0 ? 1 : 4);
}

static uint32_t load_scale(const side *s, uint32_t i, uint32_t j) {
  const uint8_t *at = scale_at(s, i, j);
  uint32_t raw = *at;
  if (s->encoding->scale != MX_SCALE_E8M0) memcpy(&raw, at, sizeof raw);
  return raw;
}

static void store_scale(const side *s, uint32_t i, uint32_t j, uint32_t raw) {
  uint8_t *at = scale_at(s, i, j);
  if (s->encoding->scale == MX_SCALE_E8M0) {
    *at = (uint8_t)raw;
  } else {
    memcpy(at, &raw, sizeof raw);
  }
}

/* ---- runs of a row: n <= span_most ---- */

/* The scale values of n elements from (row, col) on. */
static void read_scales(const side *s, uint32_t row, uint32_t col, uint32_t n, uint32_t *scale) {
  const mxg_encoding *encoding = s->encoding;
  uint32_t i = mx_block_index(s->row + row, encoding->block_rows), block = encoding->block_cols, first = s->col + col;
  if (block == 1 && encoding->layout != MX_SWIZZLED && encoding->scale == MX_SCALE_E8M0) {
    mxg_span_e8m0(scale_at(s, i, first), n, scale);
    return;
  }
  uint32_t each[span_most], count = 0, head = block == MX_WHOLE ? n : least(n, block - first % block);
  uint32_t j = mx_block_index(first, block);
  for (uint32_t c = 0; c < n; c += count == 1 ? head : least(block, n - c)) {
    each[count] = mx_scale_decode(encoding->scale, load_scale(s, i, j + count));
    count++;
  }
  mxg_span_spread(each, head, head, scale);
  if (count > 1) mxg_span_spread(each + 1, block, n - head, scale + head);
}

static void read_values(const side *s, uint32_t row, uint32_t col, uint32_t n, uint32_t *x) {
  uint32_t copy[span_most], scale[span_most];
  const uint8_t *q = elem_at(s, row, col);
  if ((uintptr_t)q % s->elem_bytes) q = memcpy(copy, q, (size_t)n * s->elem_bytes);
  if (has_scales(s->encoding)) {
    read_scales(s, row, col, n, scale);
    mxg_span_decode_scaled(s->encoding->elem, q, scale, n, x);
  } else {
    mxg_span_decode(s->encoding->elem, q, n, x);
  }
}

static void write_values(const side *s, uint32_t row, uint32_t col, uint32_t n, const uint32_t *x) {
  uint32_t copy[span_most];
  uint8_t *q = elem_at(s, row, col);
  if (s->stream || (uintptr_t)q % s->elem_bytes) {
    mxg_span_encode(s->encoding->elem, x, n, copy);
    mxg_span_stream(q, copy, (size_t)n * s->elem_bytes);
  } else {
    mxg_span_encode(s->encoding->elem, x, n, q);
  }
}

/* ---- move ---- */

/* Target scales whose block begins in the work take the scale of the source block that holds that first element. */
static void move_scales(const work *w) {
  side src = source_of(w), dst = target_of(w);
  uint32_t block_rows = dst.encoding->block_rows, block_cols = dst.encoding->block_cols, cols = w->entry->cols;
  bool runs = src.encoding->layout != MX_SWIZZLED && dst.encoding->layout != MX_SWIZZLED &&
              src.encoding->block_cols == block_cols && block_cols != MX_WHOLE;
  size_t bytes_each = dst.encoding->scale == MX_SCALE_E8M0 ? 1 : 4;
  for (uint32_t r = 0; r < w->rows; r++) {
    if (!mx_block_first(dst.row + r, block_rows)) continue;
    uint32_t i = mx_block_index(dst.row + r, block_rows);
    uint32_t from = mx_block_index(src.row + r, src.encoding->block_rows);
    uint32_t c = 0, step = block_cols == MX_WHOLE ? cols : block_cols;
    if (block_cols == MX_WHOLE) {
      if (dst.col != 0) continue;
    } else {
      c = (block_cols - dst.col % block_cols) % block_cols;
    }
    if (runs && c < cols) {
      size_t count = (cols - c - 1) / block_cols + 1;
      memcpy(scale_at(&dst, i, (dst.col + c) / block_cols), scale_at(&src, from, (src.col + c) / block_cols),
             count * bytes_each);
      continue;
    }
    for (; c < cols; c += least(step, cols - c)) {
      store_scale(&dst, i, mx_block_index(dst.col + c, block_cols),
                  load_scale(&src, from, mx_block_index(src.col + c, src.encoding->block_cols)));
    }
  }
}

static void move(const work *w) {
  side src = source_of(w), dst = target_of(w);
  assert(src.encoding->elem == dst.encoding->elem);
  size_t bytes = (size_t)w->entry->cols * src.elem_bytes;
  if (src.ld == w->entry->cols && dst.ld == w->entry->cols) {
    memcpy(elem_at(&dst, 0, 0), elem_at(&src, 0, 0), bytes * w->rows);
  } else {
    for (uint32_t r = 0; r < w->rows; r++) memcpy(elem_at(&dst, r, 0), elem_at(&src, r, 0), bytes);
  }
  if (has_scales(dst.encoding)) move_scales(w);
}

/* ---- dequantize ---- */

static void dequantize_run(const side *src, const side *dst, uint32_t row, uint32_t col, uint32_t n) {
  uint32_t x[span_most];
  for (uint32_t end = col + n; col < end; col += least(span_most, end - col)) {
    read_values(src, row, col, least(span_most, end - col), x);
    write_values(dst, row, col, least(span_most, end - col), x);
  }
}

/* A row of MXFP8 to BF16 without a stop at FP32: whole blocks directly, what is left of a block at either end not. */
static void mxfp8_row_to_bf16(const side *src, const side *dst, uint32_t row, uint32_t cols) {
  enum { most = 64 }; /* blocks of one run */
  uint8_t gathered[most];
  uint16_t values[most * mx_block];
  uint32_t head = least(cols, (mx_block - src->col % mx_block) % mx_block), blocks = (cols - head) / mx_block;
  uint32_t i = mx_block_index(src->row + row, src->encoding->block_rows), j = (src->col + head) / mx_block;
  dequantize_run(src, dst, row, 0, head);
  for (uint32_t b = 0, n = 0; b < blocks; b += n) {
    uint32_t col = head + b * mx_block;
    uint16_t *out = (uint16_t *)(void *)elem_at(dst, row, col);
    const uint8_t *scales = scale_at(src, i, j + b);
    n = least(blocks - b, most);
    if (src->encoding->layout == MX_SWIZZLED) {
      for (uint32_t k = 0; k < n; k++) {
        gathered[k] = src->scales[mx_scale_offset(MX_SWIZZLED, 0, src->scale_ld, i, j + b + k)];
      }
      scales = gathered;
    }
    mxg_span_mxfp8_to_bf16(src->encoding->elem, elem_at(src, row, col), scales, n, dst->stream ? values : out);
    if (dst->stream) mxg_span_stream(out, values, (size_t)n * mx_block * sizeof values[0]);
  }
  dequantize_run(src, dst, row, head + blocks * mx_block, cols - head - blocks * mx_block);
}

static void dequantize(const work *w) {
  side src = source_of(w), dst = target_of(w);
  bool direct = src.elem_bytes == 1 && src.encoding->scale == MX_SCALE_E8M0 && src.encoding->block_cols == mx_block &&
                dst.encoding->elem == MX_BF16 && (uintptr_t)dst.data % 2 == 0;
  dst.stream = (uint64_t)w->entry->rows * w->entry->cols * dst.elem_bytes >= stream_least;
  for (uint32_t r = 0; r < w->rows; r++) {
    if (direct) {
      mxfp8_row_to_bf16(&src, &dst, r, w->entry->cols);
    } else {
      dequantize_run(&src, &dst, r, 0, w->entry->cols);
    }
  }
  if (dst.stream) mxg_span_stream_fence();
}

/* ---- quantize ---- */

/* The stored scale of a block from its maximum, and what its values are multiplied by. */
static uint32_t choose_scale(const mxg_encoding *dst, uint32_t u, uint32_t *reciprocal) {
  uint32_t raw;
  if (dst->scale == MX_SCALE_E8M0) {
    raw = mx_scale_e8m0(dst->rule, dst->elem, dst->nan, u);
    *reciprocal = mx_e8m0_reciprocal(raw);
  } else {
    raw = mx_scale_fp32(dst->elem, dst->nan, u);
    *reciprocal = mx_fp32_reciprocal(raw);
  }
  return raw;
}

/* The scales of `count` neighbouring blocks from (i, j) on: stored, and `each` turned from maxima into reciprocals. */
static void choose_scales(const side *dst, uint32_t i, uint32_t j, uint32_t count, uint32_t *each) {
  const mxg_encoding *encoding = dst->encoding;
  if (encoding->scale != MX_SCALE_E8M0) {
    for (uint32_t g = 0; g < count; g++) store_scale(dst, i, j + g, choose_scale(encoding, each[g], &each[g]));
    return;
  }
  uint32_t u[span_most];
  uint8_t s[span_most];
  memcpy(u, each, count * sizeof u[0]);
  mxg_span_choose_e8m0(encoding->rule, encoding->elem, encoding->nan, u, count, s, each);
  if (encoding->layout == MX_SWIZZLED) {
    for (uint32_t g = 0; g < count; g++) store_scale(dst, i, j + g, s[g]);
  } else {
    memcpy(scale_at(dst, i, j), s, count);
  }
}

/* Rows [row, row + rows) and columns [col, col + cols): one row of blocks; either at most span_most columns, or one
** block. Values are kept from the first look to the second where they fit. */
static void quantize_strip(const side *src, const side *dst, uint32_t row, uint32_t rows, uint32_t col, uint32_t cols) {
  uint32_t kept[kept_most], each[span_most] = {0}, reciprocal[span_most];
  const mxg_encoding *encoding = dst->encoding; /* each: first the maximum of each block, then its reciprocal */
  bool keep = (uint64_t)rows * cols <= kept_most;
  uint32_t group = least(encoding->block_cols, cols), groups = (cols - 1) / group + 1;
  for (uint32_t r = 0; r < rows; r++) {
    for (uint32_t c = 0; c < cols; c += span_most) {
      uint32_t n = least(span_most, cols - c), *x = keep ? kept + r * cols + c : kept;
      read_values(src, row + r, col + c, n, x);
      mxg_span_max(encoding->nan, x, n, group, each);
    }
  }
  choose_scales(dst, mx_block_index(dst->row + row, encoding->block_rows),
                mx_block_index(dst->col + col, encoding->block_cols), groups, each);
  mxg_span_spread(each, group, least(span_most, cols), reciprocal);
  for (uint32_t r = 0; r < rows; r++) {
    for (uint32_t c = 0; c < cols; c += span_most) {
      uint32_t n = least(span_most, cols - c), *x = keep ? kept + r * cols + c : kept;
      if (!keep) read_values(src, row + r, col + c, n, x);
      mxg_span_quantize(encoding->elem, x, reciprocal, n, elem_at(dst, row + r, col + c));
    }
  }
}

static void quantize(const work *w) {
  side src = source_of(w), dst = target_of(w);
  uint32_t rows = least(dst.encoding->block_rows, w->rows), block = dst.encoding->block_cols, cols = w->entry->cols;
  assert(rows == 0 || dst.encoding->block_rows == MX_WHOLE || dst.row % dst.encoding->block_rows == 0);
  assert(block == MX_WHOLE || dst.col % block == 0);
  if (rows == 0 || cols == 0) return;
  uint32_t width = least(kept_most / least(rows, kept_most), span_most);
  width = width > block ? width - width % block : least(block, cols);
  for (uint32_t r = 0; r < w->rows; r += least(rows, w->rows - r)) {
    for (uint32_t c = 0; c < cols; c += least(width, cols - c)) {
      quantize_strip(&src, &dst, r, least(rows, w->rows - r), c, least(width, cols - c));
    }
  }
}

/* Entries in pairs: the rowwise target, then the columnwise one. */
static void quantize_both(const work *w) {
  mxg_kernel each = *w->kernel;
  quantize(&(work){.kernel = &each, .entry = &w->entry[0], .first = w->first, .rows = w->rows});
  each.dst.block_rows = each.dst.block_cols;
  each.dst.block_cols = 1;
  quantize(&(work){.kernel = &each, .entry = &w->entry[1], .first = w->first, .rows = w->rows});
}

/* ---- one scale for a whole matrix, in two steps through a cell ---- */

static void amax(const work *w) {
  side src = source_of(w);
  uint32_t x[span_most], u = 0, cols = w->entry->cols;
  for (uint32_t r = 0; r < w->rows; r++) {
    for (uint32_t c = 0; c < cols; c += least(span_most, cols - c)) {
      uint32_t n = least(span_most, cols - c);
      read_values(&src, r, c, n, x);
      mxg_span_max(w->kernel->dst.nan, x, n, span_most, &u);
    }
  }
  _Atomic uint32_t *cell = (_Atomic uint32_t *)(uintptr_t)w->entry->dst_scale;
  uint32_t seen = atomic_load(cell);
  while (seen < u && !atomic_compare_exchange_weak(cell, &seen, u)) continue;
}

static void quantize_whole(const work *w) {
  side src = source_of(w), dst = target_of(w);
  assert(src.encoding->scale == MX_SCALE_AMAX);
  uint32_t x[span_most], reciprocal[span_most], each, cols = w->entry->cols;
  uint32_t u = atomic_load((_Atomic uint32_t *)(uintptr_t)w->entry->src_scale);
  uint32_t raw = choose_scale(dst.encoding, u, &each);
  if (dst.row == 0 && dst.col == 0 && w->rows != 0 && cols != 0) store_scale(&dst, 0, 0, raw);
  mxg_span_spread(&each, span_most, span_most, reciprocal);
  for (uint32_t r = 0; r < w->rows; r++) {
    for (uint32_t c = 0; c < cols; c += least(span_most, cols - c)) {
      uint32_t n = least(span_most, cols - c);
      read_values(&src, r, c, n, x);
      mxg_span_quantize(dst.encoding->elem, x, reciprocal, n, elem_at(&dst, r, c));
    }
  }
}

/* ---- entry points ---- */

static void convert(const work *w) {
  switch ((mxg_family)w->kernel->family) {
  case MXG_MOVE: move(w); break;
  case MXG_DEQUANTIZE: dequantize(w); break;
  case MXG_QUANTIZE_ROWWISE:
  case MXG_QUANTIZE_COLUMNWISE:
  case MXG_QUANTIZE_SQUARE: quantize(w); break;
  case MXG_AMAX: amax(w); break;
  case MXG_QUANTIZE_WHOLE: quantize_whole(w); break;
  case MXG_QUANTIZE_BOTH: quantize_both(w); break;
  case MXG_FAMILIES: break;
  }
}

/* Numbers must not depend on what the caller's thread has set: rounding to nearest, subnormals kept. */
void mxg_convert_rows(const mxg_kernel *kernel, const mx_entry *entry, uint32_t first_row, uint32_t rows) {
  fenv_t callers;
  (void)fegetenv(&callers);
  (void)fesetenv(FE_DFL_ENV);
  convert(&(work){.kernel = kernel, .entry = entry, .first = first_row, .rows = rows});
  (void)fesetenv(&callers);
}

void mxg_convert_entries(const mxg_kernel *kernel, const mx_entry *entries, uint32_t count) {
  fenv_t callers;
  (void)fegetenv(&callers);
  (void)fesetenv(FE_DFL_ENV);
  for (uint32_t i = 0; i < count; i += kernel->family == MXG_QUANTIZE_BOTH ? 2 : 1) {
    convert(&(work){.kernel = kernel, .entry = &entries[i], .rows = entries[i].rows});
  }
  (void)fesetenv(&callers);
}
