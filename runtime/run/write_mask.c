/* write_mask.c -- see write_mask.h. Words inside a run belong to one writer, so no atomic exchange is needed there;
** those at its ends may be shared. Two writers of one bit are seen either as a bit that was set, or in the count. */
#include "write_mask.h"

#include "error.h"
#include "memory.h"
#include "plan_check.h"

#include <string.h>

void mxg_mask_begin(mxg_write_mask *mask, const mxg_plan *plan, uint32_t array) {
  const mxg_array *a = &plan->arrays[array];
  *mask = (mxg_write_mask){.plan = plan, .array = array};
  mask->shape = mxg_scale_shape_of(&plan->encodings[a->encoding], a->rows, a->cols);
  mask->elems.bits = a->matrices * a->rows * a->cols;
  mask->scales.bits = a->matrices * mask->shape.stored_rows * mask->shape.stored_cols;
  atomic_store(&mask->elems.left, mask->elems.bits);
  atomic_store(&mask->scales.left, mask->scales.bits);
}

static void give_back(mxg_bits *bits) {
  mxg_free(bits->memory);
  bits->memory = NULL;
  bits->words = NULL;
}

void mxg_mask_end(mxg_write_mask *mask) {
  give_back(&mask->elems);
  give_back(&mask->scales);
}

static bool open_bits(mxg_bits *bits, mxg_mask_spare *spare) {
  if (bits->words || bits->full || bits->bits == 0) return true;
  size_t bytes = (size_t)(bits->bits / 64 + 1) * sizeof *bits->words;
  if (spare->room >= bytes) {
    bits->memory = memset(spare->memory, 0, bytes);
    bits->room = spare->room;
    *spare = (mxg_mask_spare){0};
  } else {
    bits->memory = mxg_alloc(bytes);
    bits->room = bytes;
  }
  bits->words = bits->memory;
  return bits->words != NULL;
}

mxg_status mxg_mask_open(mxg_write_mask *mask, mxg_mask_spare *spare, mxg_error *err) {
  return open_bits(&mask->elems, spare) && open_bits(&mask->scales, spare) ? MXG_OK : mxg_fail_nomem(err);
}

static void settle(mxg_bits *bits, mxg_mask_spare *spare) {
  if (!bits->words || atomic_load(&bits->left) != 0) return;
  if (bits->room > spare->room) {
    mxg_mask_spare larger = {bits->memory, bits->room};
    bits->memory = spare->memory;
    *spare = larger;
  }
  give_back(bits);
  bits->full = true;
}

void mxg_mask_settle(mxg_write_mask *mask, mxg_mask_spare *spare) {
  settle(&mask->elems, spare);
  settle(&mask->scales, spare);
}

static unsigned lowest(uint64_t word) {
  unsigned n = 0;
  while (!(word >> n & 1)) n++;
  return n;
}

/* Marks [first, first + count); keeps the first bit that was marked before in *twice. */
static void mark(mxg_bits *bits, uint64_t first, uint64_t count, _Atomic uint64_t *twice) {
  uint64_t seen = UINT64_MAX, at = first, end = first + count;
  if (count == 0) return;
  if (bits->full) seen = first;
  while (at < end && !bits->full) {
    uint64_t word = at / 64, from = at % 64, to = end - word * 64 < 64 ? end - word * 64 : 64;
    uint64_t set = (to == 64 ? UINT64_MAX : ((uint64_t)1 << to) - 1) & UINT64_MAX << from, was;
    if (set == UINT64_MAX) {
      was = atomic_load_explicit(&bits->words[word], memory_order_relaxed);
      atomic_store_explicit(&bits->words[word], set, memory_order_relaxed);
    } else {
      was = atomic_fetch_or_explicit(&bits->words[word], set, memory_order_relaxed) & set;
    }
    if (was && seen == UINT64_MAX) seen = word * 64 + lowest(was);
    at = word * 64 + to;
  }
  atomic_fetch_sub(&bits->left, count);
  uint64_t none = 0;
  if (seen != UINT64_MAX) atomic_compare_exchange_strong(twice, &none, seen + 1);
}

void mxg_mask_elems(mxg_write_mask *mask, uint64_t first, uint64_t count) {
  mark(&mask->elems, first, count, &mask->twice_elem);
}

/* The first block that begins at or after `x`. */
static uint64_t blocks_before(uint64_t x, uint32_t block) {
  return block == MX_WHOLE ? x != 0 : (x + block - 1) / block;
}

void mxg_mask_rectangle(mxg_write_mask *mask, uint32_t matrix, uint64_t row, uint64_t rows, uint64_t col,
                        uint64_t cols) {
  const mxg_array *a = &mask->plan->arrays[mask->array];
  const mxg_encoding *e = &mask->plan->encodings[a->encoding];
  uint64_t first = (matrix * a->rows + row) * a->cols + col;
  if (cols == a->cols)
    mxg_mask_elems(mask, first, rows * cols);
  else
    for (uint64_t r = 0; r < rows; r++) mxg_mask_elems(mask, first + r * a->cols, cols);
  if (e->scale == MX_SCALE_NONE) return;
  uint64_t i0 = blocks_before(row, e->block_rows), i1 = blocks_before(row + rows, e->block_rows);
  uint64_t j0 = blocks_before(col, e->block_cols), j1 = blocks_before(col + cols, e->block_cols);
  uint64_t ld = mask->shape.stored_cols, base = matrix * mask->shape.stored_rows * ld;
  if (j0 == 0 && j1 == ld)
    mark(&mask->scales, base + i0 * ld, (i1 - i0) * ld, &mask->twice_scale);
  else
    for (uint64_t i = i0; i < i1; i++) mark(&mask->scales, base + i * ld + j0, j1 - j0, &mask->twice_scale);
}

void mxg_mask_scale_padding(mxg_write_mask *mask, uint64_t limit) {
  const mxg_array *a = &mask->plan->arrays[mask->array];
  const mxg_scale_shape *s = &mask->shape;
  for (uint64_t m = 0; m < a->matrices; m++) {
    uint64_t base = m * s->stored_rows * s->stored_cols;
    for (uint64_t i = 0; i < limit; i++)
      mark(&mask->scales, base + i * s->stored_cols + s->cols, s->stored_cols - s->cols, &mask->twice_scale);
    mark(&mask->scales, base + limit * s->stored_cols, (s->stored_rows - limit) * s->stored_cols, &mask->twice_scale);
  }
}

static uint64_t first_unmarked(const mxg_bits *bits) {
  for (uint64_t at = 0; at < bits->bits; at++)
    if (!bits->words || !(atomic_load(&bits->words[at / 64]) >> at % 64 & 1)) return at;
  return 0; /* every bit is set, and some were counted twice */
}

static mxg_status fail_mask(const mxg_write_mask *mask, bool scale, uint64_t at, const char *what, mxg_error *err) {
  const mxg_array *a = &mask->plan->arrays[mask->array];
  uint64_t rows = scale ? mask->shape.stored_rows : a->rows, cols = scale ? mask->shape.stored_cols : a->cols;
  return mxg_fail(err, MXG_ERR_WRONG, 608, "target \"%s\" of rank %u: matrix %llu, %srow %llu, %scolumn %llu was %s",
                  mask->plan->strings + a->name, a->rank, (unsigned long long)(at / cols / rows), scale ? "scale " : "",
                  (unsigned long long)(at / cols % rows), scale ? "scale " : "", (unsigned long long)(at % cols), what);
}

mxg_status mxg_mask_check(const mxg_write_mask *mask, bool all, mxg_error *err) {
  for (int scale = 0; scale < 2; scale++) {
    const mxg_bits *bits = scale ? &mask->scales : &mask->elems;
    uint64_t twice = atomic_load(scale ? &mask->twice_scale : &mask->twice_elem);
    if (twice) return fail_mask(mask, scale, twice - 1, "written twice", err);
    if (all && atomic_load(&bits->left) != 0)
      return fail_mask(mask, scale, first_unmarked(bits), "not written exactly once", err);
  }
  return MXG_OK;
}
