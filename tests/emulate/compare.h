/* compare.h -- one generated kernel, on the CPU or on a GPU, against the host's conversion, bit for bit: random
** sources (NaN, Inf, subnormals, zeros, distinct scales), poisoned targets with guards, work tables with segments in
** reverse order and columns from two sources. */
#ifndef COMPARE_H
#define COMPARE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulate.h"
#include "launch.h"

typedef struct shape {
  mxg_family family;
  const mxg_encoding *src, *dst;
  uint32_t fixed_cols; /* kernel's cols; 0: open. The pieces then have cols columns in all, in two pieces if `cut` */
  uint32_t vec, threads, tile_units;
  uint32_t rows, cols, cut; /* target matrix; columns [0, cut) come from another source than the rest; 0: one source */
  uint32_t segment;         /* rows of one segment; segments are in reverse order on the source side */
} shape;

enum { GUARD = 64, SOURCES = 2 };

/* Whether the environment's MXGEN_TEST_QUICK asks for one run of each kernel only, for tools that slow all down. */
static inline bool is_quick(void) { return getenv("MXGEN_TEST_QUICK") != NULL; }

/* ---- random sources ---------------------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint32_t random_word(void) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  uint32_t x = (uint32_t)((random_state >> 18 ^ random_state) >> 27), turn = (uint32_t)(random_state >> 59);
  return x >> turn | x << (-turn & 31);
}

/* Bits of an element. Moods go by regions of 16 x 48 elements, so that blocks differ: any bits; near one; subnormal;
** zeros of both signs; large with a rare Inf or NaN. */
static uint32_t random_elem(unsigned elem, uint64_t r, uint64_t c, uint32_t seed) {
  static const unsigned mantissa[] = {3, 2, 7, 10, 23}, exponent[] = {4, 5, 8, 5, 8};
  unsigned m = mantissa[elem], e = exponent[elem];
  uint32_t bits = random_word(), sign = bits >> 31 << (m + e), low = bits & ((1u << m) - 1), ones = (1u << e) - 1;
  switch ((r / 16 * 7 + c / 48 * 3 + seed) % 6) {
  case 0: return random_word() >> (31 - m - e);
  case 1: return sign | ((ones >> 1) - (bits >> 24 & 3)) << m | low;
  case 2: return sign | low;
  case 3: return bits % 5 ? sign : sign | low;
  case 4: return sign | (bits >> 23 & 255 ? ones - 1 - (bits >> 24 & 1) : ones) << m | (bits >> 26 & 1 ? low : 0);
  default: return sign | ((ones >> 1) + (bits >> 24) % (ones / 2)) << m | low;
  }
}

static void put(unsigned char *at, uint32_t bits, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) at[i] = (unsigned char)(bits >> 8 * i);
}

/* Distinct bytes among 256 neighbours, all 256 values; FP32: mostly ordinary, some zero, subnormal, Inf and NaN. */
static uint32_t random_scale(unsigned kind, uint64_t index, uint32_t seed) {
  if (kind == MX_SCALE_E8M0) return (uint32_t)(index * 167 + seed) & 255;
  uint32_t bits = random_word();
  if (bits % 16 == 0) return bits >> 4 & 0x807fffffu;
  if (bits % 16 == 1) return 0x7f800000u | (bits & 0x400000u);
  return 0x3f800000u - (bits >> 8 & 7) * 0x800000u + (bits >> 12 & 0x7fffffu);
}

/* ---- one run ----------------------------------------------------------------------------------------------------- */

typedef struct matrix {
  uint64_t rows, ld;
  unsigned char *data, *scale;
  uint64_t data_bytes, scale_bytes;
  uint32_t scale_ld, guard; /* bytes before and after data and scale that nobody may touch */
} matrix;

static unsigned char *filled(uint64_t bytes, uint32_t guard, int fill) {
  unsigned char *memory = emulate_alloc(bytes + 2 * guard);
  assert_non_null(memory);
  memset(memory, fill, bytes + 2 * guard);
  return memory + guard;
}

/* Data end with the last element of the last row: a source without guards lets a sanitizer see what is read beyond. */
static matrix matrix_of(const mxg_encoding *encoding, uint64_t rows, uint64_t cols, uint64_t ld, uint32_t guard,
                        int fill) {
  matrix m = {.rows = rows, .ld = ld, .guard = guard};
  mxg_scale_shape scales = mxg_scale_shape_of(encoding, rows, ld);
  m.data_bytes = ((rows - 1) * ld + cols) * mxg_elem_bytes(encoding->elem);
  m.scale_bytes = encoding->scale == MX_SCALE_AMAX ? 4 : scales.stored_rows * scales.stored_cols * scales.bytes_each;
  m.scale_ld = scales.ld;
  m.data = filled(m.data_bytes, guard, fill);
  m.scale = filled(m.scale_bytes, guard, fill);
  if (encoding->scale == MX_SCALE_AMAX) memset(m.scale, 0, 4);
  return m;
}

static void free_matrix(const matrix *m) {
  if (m->data) emulate_release(m->data - m->guard);
  if (m->scale) emulate_release(m->scale - m->guard);
}

static void randomise(matrix *m, const mxg_encoding *encoding, uint32_t seed) {
  unsigned bytes = mxg_elem_bytes(encoding->elem), scale_bytes = encoding->scale == MX_SCALE_E8M0 ? 1 : 4;
  for (uint64_t i = 0; i < m->data_bytes / bytes; i++)
    put(m->data + i * bytes, random_elem(encoding->elem, i / m->ld, i % m->ld, seed), bytes);
  for (uint64_t i = 0; i < m->scale_bytes / scale_bytes; i++)
    put(m->scale + i * scale_bytes, random_scale(encoding->scale, i, seed * 101), scale_bytes);
  static const uint32_t cells[] = {0x43a00000u, 0x7f800000u, 0x00000012u};
  if (encoding->scale == MX_SCALE_AMAX) put(m->scale, cells[seed % 3], 4);
}

/* The work table: segments of rows, in reverse order at the source; columns from one source or two; every second entry
** as from another GPU. */
static inline uint32_t make_entries(mx_entry *entries, uint64_t *tiles, const shape *s, const mxg_kernel *kernel,
                                    const matrix *src, const matrix *dst) {
  uint32_t count = 0;
  *tiles = 0;
  for (unsigned half = 0; half < (s->cut ? 2u : 1u); half++) {
    uint32_t first = half ? s->cut : 0, cols = s->cut && !half ? s->cut : s->cols - first;
    for (uint32_t r = 0; r < s->rows; r += s->segment) {
      uint32_t rows = s->rows - r < s->segment ? s->rows - r : s->segment;
      entries[count++] = (mx_entry){.src = (uintptr_t)src[half].data,
                                    .src_scale = (uintptr_t)src[half].scale,
                                    .dst = (uintptr_t)dst->data,
                                    .dst_scale = (uintptr_t)dst->scale,
                                    .src_ld = (uint32_t)src[half].ld,
                                    .flags = r / s->segment % 2 ? MX_FAR : 0,
                                    .dst_ld = (uint32_t)dst->ld,
                                    .src_row = s->rows - r - rows,
                                    .dst_row = r,
                                    .dst_col = first,
                                    .rows = rows,
                                    .cols = cols,
                                    .src_scale_ld = src[half].scale_ld,
                                    .dst_scale_ld = dst->scale_ld,
                                    .first_tile = *tiles};
      *tiles += mxg_kernel_tiles(kernel, rows, cols);
    }
  }
  return count;
}

static uint32_t up(uint32_t x, uint32_t to) { return (x + to - 1) / to * to; }

static void same(const char *what, const unsigned char *got, const unsigned char *want, uint64_t bytes, const shape *s,
                 const mxg_kernel *kernel, unsigned unit) {
  for (uint64_t i = 0; i < bytes + 2 * GUARD; i++) {
    if (got[i] == want[i]) continue;
    uint64_t at = (i - GUARD) / unit;
    fail_msg("%s (%u x %u, vec %u): %s byte %lld (index %llu) is %02x, must be %02x", kernel->name, s->rows, s->cols,
             s->vec, what, (long long)i - GUARD, (unsigned long long)at, got[i], want[i]);
  }
}

/* The kernel's target of these sources against the host's. */
static void check(const shape *s, const mxg_kernel *kernel, const matrix *src, int fill) {
  matrix got = matrix_of(&kernel->dst, s->rows, s->cols, up(s->cols, s->vec), GUARD, fill);
  matrix want = matrix_of(&kernel->dst, s->rows, s->cols, up(s->cols, s->vec), GUARD, fill);
  mx_entry *entries = emulate_alloc(2 * (size_t)s->rows * sizeof *entries);
  assert_non_null(entries);
  uint64_t tiles = 0;
  uint32_t count = make_entries(entries, &tiles, s, kernel, src, &want);
  mxg_convert_entries(kernel, entries, count);
  count = make_entries(entries, &tiles, s, kernel, src, &got);
  assert_int_equal(emulate_kernel(kernel, entries, count, tiles), 0);
  same("data", got.data - GUARD, want.data - GUARD, got.data_bytes, s, kernel, mxg_elem_bytes(kernel->dst.elem));
  same("scale", got.scale - GUARD, want.scale - GUARD, got.scale_bytes, s, kernel,
       kernel->dst.scale == MX_SCALE_E8M0 ? 1 : 4);
  emulate_release(entries);
  free_matrix(&got);
  free_matrix(&want);
}

/* The same for random sources. */
static inline void run(const shape *s, const mxg_kernel *kernel, uint32_t seed) {
  matrix src[SOURCES] = {{0}};
  for (unsigned half = 0; half < (s->cut ? 2u : 1u); half++) {
    uint32_t cols = !s->cut ? s->cols : half ? s->cols - s->cut : s->cut;
    src[half] = matrix_of(&kernel->src, s->rows, cols, up(cols, s->vec), 0, 0);
    randomise(&src[half], &kernel->src, seed + half);
  }
  check(s, kernel, src, seed % 2 ? 0xff : 0xa5);
  free_matrix(&src[0]);
  free_matrix(&src[1]);
}

#endif
