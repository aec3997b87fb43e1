/* verify_slab.c -- compares one slab: all rows of a few columns of one expert of one tensor, in FP32.
**
** The original's values are decoded into the tensor's own order of rows. For each plane of the source format the
** blocks' largest magnitudes give the bounds of the first stage; for a scaled target the blocks of each target array
** give those of the second. Slabs begin at multiples of 128 columns, so no block is cut. */
#include "verify_slab.h"

#include "bound.h"
#include "decode.h"
#include "memory.h"

#include <math.h>
#include <string.h>

typedef struct slab {
  const mxg_verify_tensor *tensor;
  uint64_t expert, col, cols;
  float *values; /* [rows][cols] */
} slab;

/* Bounds of one stage over the slab: one for each block of rows and columns. */
typedef struct stage {
  mxg_encoding encoding;     /* as seen on rows x cols: swapped for vectors */
  const uint32_t *row_block; /* NULL: by the encoding's block rows */
  uint64_t row_blocks, col_blocks;
  uint32_t *largest; /* FP32 bits, so that NaN is the largest; then unused */
  mxg_bound *bounds;
} stage;

static mxg_encoding seen(const mxg_verify_tensor *tensor, const mxg_encoding *encoding) {
  mxg_encoding e = *encoding;
  if (tensor->vector) {
    e.block_rows = encoding->block_cols;
    e.block_cols = encoding->block_rows;
  }
  return e;
}

static uint32_t magnitude_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffffu;
}

static float of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* ---- reading ---- */

/* Elements of one stored row; of a vector, element `row`. */
static void read_row(float *out, const mxg_verify_tensor *tensor, const mxg_stored *stored, uint64_t matrix,
                     uint64_t row, uint64_t col, uint64_t count) {
  if (tensor->vector)
    mxg_decode_row(out, stored, matrix, 0, row, 1);
  else
    mxg_decode_row(out, stored, matrix, row, col, count);
}

static void random_row(float *out, const mxg_verify_tensor *tensor, const mxg_piece_of_original *original,
                       uint64_t matrix, uint64_t row, uint64_t col, uint64_t count) {
  uint16_t bits[256];
  for (uint64_t done = 0; done < count; done += 256) {
    uint64_t n = count - done < 256 ? count - done : 256;
    if (tensor->vector)
      mxg_random_row(bits, &original->random, 0, row, 1);
    else
      mxg_random_row(bits, &original->random, matrix * original->shard->stored_rows + row, col + done, n);
    for (uint64_t i = 0; i < n; i++) out[done + i] = of_bits((uint32_t)bits[i] << 16);
  }
}

/* Decodes the original into s->values. */
static bool slab_load(slab *s, const mxg_verify_tensor *tensor, uint64_t expert, uint64_t index) {
  *s = (slab){tensor, expert, index * tensor->slab_cols, tensor->slab_cols, NULL};
  if (s->col + s->cols > tensor->cols) s->cols = tensor->cols - s->col;
  uint64_t count;
  if (!mxg_mul(&count, tensor->rows, s->cols * sizeof(float)) || !(s->values = mxg_alloc((size_t)count))) return false;
  for (uint32_t i = 0; i < tensor->original_count; i++) {
    const mxg_piece_of_original *original = &tensor->originals[i];
    const mxg_shard *shard = original->shard;
    if (expert < shard->first_expert || expert - shard->first_expert >= shard->experts) continue;
    for (uint32_t r = 0; r < shard->run_count; r++) {
      for (uint64_t k = 0; k < shard->runs[r].rows; k++) {
        float *out = s->values + (shard->runs[r].row + k) * s->cols;
        if (original->stored.data)
          read_row(out, tensor, &original->stored, expert - shard->first_expert, shard->runs[r].stored + k, s->col,
                   s->cols);
        else
          random_row(out, tensor, original, expert - shard->first_expert, shard->runs[r].stored + k, s->col, s->cols);
      }
    }
  }
  return true;
}

bool mxg_slab_largest(double *out, const mxg_verify_tensor *tensor, uint64_t expert, uint64_t index) {
  slab s;
  if (!slab_load(&s, tensor, expert, index)) return false;
  uint32_t largest = 0;
  for (uint64_t i = 0; i < tensor->rows * s.cols; i++) {
    uint32_t bits = magnitude_bits(s.values[i]);
    if (bits > largest) largest = bits;
  }
  mxg_free(s.values);
  *out = largest >= 0x7f800000u ? INFINITY : (double)of_bits(largest);
  return true;
}

/* ---- bounds ---- */

static void stage_free(stage *st) {
  mxg_free(st->largest);
  mxg_free(st->bounds);
}

static bool stage_room(stage *st, const mxg_encoding *encoding, const uint32_t *row_block, uint64_t row_blocks,
                       uint64_t cols) {
  *st = (stage){.encoding = *encoding, .row_block = row_block, .row_blocks = row_blocks, .col_blocks = 1};
  bool whole = encoding->scale == MX_SCALE_NONE || encoding->block_rows == MX_WHOLE;
  if (whole)
    st->row_blocks = 1;
  else if (encoding->block_cols != MX_WHOLE && encoding->block_cols)
    st->col_blocks = (cols + encoding->block_cols - 1) / encoding->block_cols;
  uint64_t count;
  if (!mxg_mul(&count, st->row_blocks, st->col_blocks) || count > SIZE_MAX / sizeof *st->bounds) return false;
  st->largest = mxg_alloc((size_t)count * sizeof *st->largest);
  st->bounds = mxg_alloc((size_t)count * sizeof *st->bounds);
  if (st->largest && st->bounds) return true;
  stage_free(st);
  return false;
}

static bool is_whole(const stage *st) {
  return st->encoding.scale == MX_SCALE_NONE || st->encoding.block_rows == MX_WHOLE;
}

/* Where the bounds of a row begin. */
static uint64_t stage_row(const stage *st, uint64_t row) {
  if (is_whole(st)) return 0;
  return (st->row_block ? st->row_block[row] : row / st->encoding.block_rows) * st->col_blocks;
}

static uint64_t stage_width(const stage *st, uint64_t cols) {
  return st->col_blocks == 1 ? cols : st->encoding.block_cols;
}

/* Significant bits of what a format can hold, for the question whether the next one rounds at all. */
static int bits_of(const mxg_encoding *encoding) {
  static const int bits[] = {[MX_E4M3] = 4, [MX_E5M2] = 3, [MX_BF16] = 8, [MX_FP16] = 11, [MX_FP32] = 24};
  return encoding->scale == MX_SCALE_FP32 ? 24 : bits[encoding->elem];
}

/* `incoming`: significant bits of the values: those that fit are only moved where they leave the range. */
static mxg_bound bound_for(const mxg_encoding *encoding, int incoming, double largest, double former) {
  mxg_bound bound = mxg_bound_of(encoding, largest, former);
  if (encoding->scale != MX_SCALE_FP32 && incoming <= bits_of(encoding)) bound.half_ulp = 0;
  return bound;
}

/* A block that holds an Inf or NaN: the error is infinite, which no element is judged by, or, where the policy makes
** all of the block NaN, itself NaN. */
static void bound_lift(mxg_bound *bound, const mxg_encoding *encoding) {
  bound->smallest = INFINITY;
  if (encoding->nan == MX_NAN_BLOCK) bound->relative = NAN;
}

static void stage_bounds(stage *st, int incoming, const float *formers, double whole) {
  if (is_whole(st)) {
    st->bounds[0] = bound_for(&st->encoding, incoming, isinf(whole) ? 0 : whole, formers ? (double)formers[0] : 0);
    if (st->encoding.scale != MX_SCALE_NONE && isinf(whole)) bound_lift(&st->bounds[0], &st->encoding);
    return;
  }
  for (uint64_t i = 0; i < st->row_blocks * st->col_blocks; i++) {
    bool finite = st->largest[i] < 0x7f800000u;
    st->bounds[i] = bound_for(&st->encoding, incoming, finite ? (double)of_bits(st->largest[i]) : 0,
                              formers ? (double)formers[i] : 0);
    if (!finite) bound_lift(&st->bounds[i], &st->encoding);
  }
}

/* Largest magnitudes of the blocks of the slab's rows. */
static void stage_measure(stage *st, const slab *s) {
  if (is_whole(st)) return;
  uint64_t width = stage_width(st, s->cols);
  for (uint64_t row = 0; row < s->tensor->rows; row++) {
    uint32_t *largest = st->largest + stage_row(st, row);
    const float *values = s->values + row * s->cols;
    for (uint64_t col = 0; col < s->cols; col += width, largest++) {
      uint64_t end = col + width < s->cols ? col + width : s->cols;
      uint32_t most = *largest;
      for (uint64_t c = col; c < end; c++) {
        uint32_t bits = magnitude_bits(values[c]);
        if (bits > most) most = bits;
      }
      *largest = most;
    }
  }
}

/* The stages from the original to the source side: one a plane, of which the worse counts. */
typedef struct first_stages {
  stage planes[2];
  uint32_t count;
  int bits; /* significant bits of what they leave */
} first_stages;

static void first_free(first_stages *first) {
  for (uint32_t p = 0; p < first->count; p++) stage_free(&first->planes[p]);
}

static bool first_make(first_stages *first, const slab *s) {
  const mxg_verify_tensor *tensor = s->tensor;
  *first = (first_stages){.count = 0};
  for (uint32_t p = 0; p < tensor->source->planes; p++) {
    mxg_encoding encoding = seen(tensor, &tensor->source->plane[p]);
    uint64_t rows = tensor->block_rows[p] ? tensor->block_count[p] : tensor->rows;
    stage *st = &first->planes[p];
    if (!stage_room(st, &encoding, tensor->block_rows[p], rows, s->cols)) {
      first_free(first);
      return false;
    }
    first->count++;
    stage_measure(st, s);
    stage_bounds(st, bits_of(&tensor->original->plane[0]), NULL, tensor->largest ? tensor->largest[s->expert] : 0);
    if (bits_of(&encoding) > first->bits) first->bits = bits_of(&encoding);
  }
  return true;
}

/* How far the source side may be from magnitude x at (row, col of the slab); infinite where it is not bounded, NaN
** where it must be NaN (of two planes only one may be read, so that then there is no bound). */
static double first_error(const first_stages *first, uint64_t row, uint64_t col, double x) {
  double worst = 0;
  for (uint32_t p = 0; p < first->count; p++) {
    const stage *st = &first->planes[p];
    uint64_t block = st->col_blocks == 1 ? 0 : col / st->encoding.block_cols;
    double error = mxg_bound_error(&st->bounds[stage_row(st, row) + block], x, 0);
    if (isnan(error)) {
      if (first->count == 1) return error;
      error = INFINITY;
    }
    if (error > worst) worst = error;
  }
  return worst;
}

/* ---- comparing ---- */

typedef struct comparison {
  const slab *slab;
  const first_stages *first;
  const mxg_target_array *target;
  mxg_chain *chain;
  stage second;
  uint64_t matrix, col, cols; /* of the target array: the part that lies in the slab */
  float *have;
} comparison;

static void judge(comparison *c, uint64_t stored_row, uint64_t col, double want, double have, double bound) {
  mxg_chain *chain = c->chain;
  chain->elements++;
  double error = fabs(have - want), ratio;
  if (isnan(bound))
    ratio = isnan(have) ? 0 : INFINITY;
  else if (isnan(want) || isnan(have))
    ratio = isnan(want) && isnan(have) ? 0 : INFINITY;
  else if (isinf(bound)) {
    chain->unjudged++;
    return;
  } else if (isinf(want) || isinf(have)) /* an overflow of an unscaled target is what its format does */
    ratio =
        want == have || (c->second.encoding.elem == MX_FP16 && fabs(want) >= 65504.0 && want * have > 0) ? 0 : INFINITY;
  else
    ratio = error <= 0 ? 0 : bound > 0 ? error / bound : INFINITY;
  if (ratio > 1 + 1e-12) chain->outside++;
  if (ratio <= chain->worst && chain->elements > 1) return;
  chain->worst = ratio;
  chain->array = c->target->array;
  chain->matrix = c->matrix;
  chain->row = c->slab->tensor->vector ? 0 : stored_row;
  chain->col = c->slab->tensor->vector ? stored_row : col;
  chain->want = want;
  chain->have = have;
  chain->bound = bound;
}

/* True when no element of the row is further off than the chain's worst so far, so that counting them is all there
** is to do: most rows, at a fraction of the cost. Only for one plane and a target that adds no rounding of its own. */
static bool row_is_quiet(const comparison *c, const float *values, uint64_t row, uint64_t shift) {
  const stage *st = &c->first->planes[0];
  const mxg_bound *second = &c->second.bounds[0];
  bool adds = !c->target->moved && (c->second.encoding.scale != MX_SCALE_NONE || second->half_ulp > 0);
  if (c->first->count != 1 || adds || c->chain->elements == 0) return false;
  double allowed = c->chain->worst < 1 ? c->chain->worst : 1, extra = c->target->moved ? 0 : second->smallest;
  uint64_t width = stage_width(st, c->slab->cols);
  const mxg_bound *bounds = st->bounds + stage_row(st, row);
  for (uint64_t k = 0; k < c->cols;) {
    uint64_t block = st->col_blocks == 1 ? 0 : (shift + k) / width, end = (block + 1) * width - shift;
    mxg_bound bound = bounds[block];
    bool loud = false;
    if (st->col_blocks == 1 || end > c->cols) end = c->cols;
    for (; k < end; k++) {
      double want = (double)values[k], error = fabs((double)c->have[k] - want);
      loud |= !(error <= allowed * (mxg_bound_error(&bound, fabs(want), 0) + extra)); /* NaN is loud too */
    }
    if (loud || isinf(bound.smallest)) return false;
  }
  return true;
}

/* Stored rows of a shard to rows of the tensor, one call a row. */
static void compare_row(comparison *c, uint64_t stored_row, uint64_t row) {
  const slab *s = c->slab;
  const mxg_target_array *target = c->target;
  uint64_t shift = s->tensor->vector ? 0 : target->shard->first_col + c->col - s->col; /* slab column of have[0] */
  const float *values = s->values + row * s->cols + shift;
  read_row(c->have, s->tensor, &target->stored, c->matrix, stored_row, c->col, c->cols);
  if (row_is_quiet(c, values, row, shift)) {
    c->chain->elements += c->cols;
    return;
  }
  const mxg_bound *seconds = c->second.bounds + stage_row(&c->second, stored_row);
  for (uint64_t k = 0; k < c->cols; k++) {
    double want = (double)values[k], have = (double)c->have[k], x = fabs(want);
    double bound = isfinite(want) ? first_error(c->first, row, shift + k, x) : 0;
    if (!target->moved && isfinite(bound) && isfinite(want)) {
      uint64_t block = c->second.col_blocks == 1 ? 0 : k / c->second.encoding.block_cols;
      bound = mxg_bound_error(&seconds[block], x, bound);
    }
    judge(c, stored_row, c->col + k, want, have, bound);
  }
}

/* Largest magnitudes, and largest errors so far, of the target array's own blocks. */
static bool second_make(comparison *c) {
  const slab *s = c->slab;
  const mxg_shard *shard = c->target->shard;
  mxg_encoding encoding = seen(s->tensor, &c->target->stored.encoding);
  uint64_t block = encoding.block_rows && encoding.block_rows != MX_WHOLE ? encoding.block_rows : 1;
  uint64_t row_blocks = (shard->stored_rows + block - 1) / block;
  if (!stage_room(&c->second, &encoding, NULL, row_blocks, c->cols)) return false;
  float *formers = mxg_alloc((size_t)(c->second.row_blocks * c->second.col_blocks) * sizeof *formers);
  if (!formers) {
    stage_free(&c->second);
    return false;
  }
  if (!c->target->moved && encoding.scale != MX_SCALE_NONE) {
    uint64_t shift = s->tensor->vector ? 0 : shard->first_col + c->col - s->col;
    uint64_t width = stage_width(&c->second, c->cols);
    for (uint32_t r = 0; r < shard->run_count; r++) {
      for (uint64_t k = 0; k < shard->runs[r].rows; k++) {
        uint64_t row = shard->runs[r].row + k, at = is_whole(&c->second) ? 0 : (shard->runs[r].stored + k) / block;
        for (uint64_t col = 0; col < c->cols; col++) {
          uint64_t i = is_whole(&c->second) ? 0 : at * c->second.col_blocks + col / width;
          float value = s->values[row * s->cols + shift + col];
          uint32_t bits = magnitude_bits(value);
          if (bits > c->second.largest[i]) c->second.largest[i] = bits;
          double error = isfinite(value) ? first_error(c->first, row, shift + col, fabs((double)value)) : INFINITY;
          if (!isfinite(error)) c->second.largest[i] = 0x7f800000u; /* a block of the source side holds an Inf or NaN */
          if (isfinite(error) && error > (double)formers[i]) formers[i] = (float)(error * (1 + 0x1p-20));
        }
      }
    }
  }
  double whole = 0;
  if (s->tensor->largest) {
    whole = s->tensor->largest[s->expert];
    double former = 0; /* at the largest element, which no other element's error passes */
    for (uint32_t p = 0; p < c->first->count; p++) {
      const stage *st = &c->first->planes[p];
      mxg_bound bound = bound_for(&st->encoding, 0, isinf(whole) ? 0 : whole, 0);
      bound.half_ulp = ldexp(1.0, -bits_of(&st->encoding));
      double error = isinf(whole) ? 0 : mxg_bound_error(&bound, whole, 0);
      if (error > former) former = error;
    }
    if (is_whole(&c->second)) formers[0] = (float)(former * (1 + 0x1p-20));
  }
  stage_bounds(&c->second, c->first->bits, formers, whole);
  mxg_free(formers);
  return true;
}

/* Rows that no run covers are padding: zero. */
static void compare_padding(comparison *c) {
  const mxg_shard *shard = c->target->shard;
  uint64_t covered = 0;
  for (uint32_t r = 0; r < shard->run_count; r++) covered = shard->runs[r].stored + shard->runs[r].rows;
  for (uint64_t row = covered; row < shard->stored_rows; row++) {
    read_row(c->have, c->slab->tensor, &c->target->stored, c->matrix, row, c->col, c->cols);
    for (uint64_t k = 0; k < c->cols; k++) judge(c, row, c->col + k, 0, (double)c->have[k], 0);
  }
}

static bool compare_array(comparison *c) {
  const mxg_shard *shard = c->target->shard;
  if (!second_make(c)) return false;
  c->have = mxg_alloc((size_t)c->cols * sizeof *c->have);
  if (c->have) {
    for (uint32_t r = 0; r < shard->run_count; r++)
      for (uint64_t k = 0; k < shard->runs[r].rows; k++)
        compare_row(c, shard->runs[r].stored + k, shard->runs[r].row + k);
    compare_padding(c);
  }
  bool good = c->have != NULL;
  mxg_free(c->have);
  stage_free(&c->second);
  return good;
}

bool mxg_slab_compare(mxg_chain *chains, const mxg_verify_tensor *tensor, uint64_t expert, uint64_t index) {
  slab s;
  first_stages first;
  if (!slab_load(&s, tensor, expert, index)) return false;
  bool good = first_make(&first, &s);
  for (uint32_t i = 0; good && i < tensor->target_count; i++) {
    const mxg_target_array *target = &tensor->targets[i];
    const mxg_shard *shard = target->shard;
    if (expert < shard->first_expert || expert - shard->first_expert >= shard->experts) continue;
    uint64_t begin = s.col > shard->first_col ? s.col : shard->first_col, end = s.col + s.cols;
    uint64_t shard_end = shard->first_col + shard->cols;
    if (tensor->vector) begin = 0, end = 1, shard_end = 1;
    if (shard_end < end) end = shard_end;
    if (begin >= end) continue;
    comparison c = {.slab = &s,
                    .first = &first,
                    .target = target,
                    .chain = &chains[target->chain],
                    .matrix = expert - shard->first_expert,
                    .col = begin - shard->first_col,
                    .cols = end - begin};
    if (tensor->vector) c.col = 0;
    good = compare_array(&c);
  }
  if (first.count) first_free(&first);
  mxg_free(s.values);
  return good;
}
