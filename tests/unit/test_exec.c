/* exec.c, transport_host.c, parallel.c, write_mask.c: every sample plan moves real bytes and is compared with a
** reference that goes from each target element back to its source, without wires, slots, segments or entries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>

#include "bundle.h"
#include "error.h"
#include "failing_memory.h"
#include "mx_scale.h"
#include "parallel.h"
#include "plan_samples.h"
#include "write_mask.h"

/* ---- memory of every array of a plan ---- */

typedef struct memory {
  unsigned char *data, *scale; /* exactly as large as the array, so that a sanitizer sees its ends */
  uint64_t data_bytes, scale_bytes;
} memory;

static uint32_t random_state;
static unsigned random_byte(void) {
  random_state = random_state * 1664525u + 1013904223u;
  return random_state >> 24;
}

static unsigned char *new_bytes(uint64_t count) {
  unsigned char *p = malloc(count ? (size_t)count : 1);
  assert_non_null(p);
  return p;
}

/* Sources get random bytes; with an even seed tame ones: no NaN, no Inf, scales near each other. Targets a pattern. */
static memory *new_memory(const mxg_plan *plan, uint32_t seed) {
  memory *all = calloc(plan->array_count, sizeof *all);
  assert_non_null(all);
  random_state = seed;
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    const mxg_encoding *e = &plan->encodings[a->encoding];
    if (a->side == MXG_SCRATCH) continue;
    all[i].data_bytes = mxg_array_data_bytes(plan, a);
    all[i].scale_bytes = mxg_array_scale_bytes(plan, a);
    all[i].data = new_bytes(all[i].data_bytes);
    all[i].scale = new_bytes(all[i].scale_bytes);
    bool tame = seed % 2 == 0;
    for (uint64_t b = 0; b < all[i].data_bytes; b++)
      all[i].data[b] = a->side == MXG_TARGET ? 0xa5 : (unsigned char)(random_byte() & (tame ? 0xbf : 0xff));
    for (uint64_t b = 0; b < all[i].scale_bytes; b++) {
      unsigned char byte = (unsigned char)(tame || random_byte() % 16 ? 110 + random_byte() % 30 : random_byte());
      if (e->scale == MX_SCALE_FP32) byte = b % 4 == 3 ? 0x3e : (unsigned char)random_byte();
      all[i].scale[b] = a->side == MXG_TARGET ? 0xa5 : byte;
    }
  }
  return all;
}

static void free_memory(const mxg_plan *plan, memory *all) {
  for (uint32_t i = 0; i < plan->array_count; i++) {
    free(all[i].data);
    free(all[i].scale);
  }
  free(all);
}

/* ---- the reference ---- */

typedef struct cell {
  uint32_t array, matrix, row, col; /* array MXG_NONE: padding */
} cell;

static cell origin_in(const mxg_plan *plan, uint32_t array, uint32_t matrix, uint32_t row, uint32_t col) {
  for (uint32_t i = 0; i < plan->piece_count; i++) {
    const mxg_piece *p = &plan->pieces[i];
    if (p->dst != array || p->src == array || p->dst_matrix != matrix || col < p->dst_col ||
        col >= p->dst_col + p->cols)
      continue;
    for (uint32_t s = 0; s < p->segments; s++) {
      const mxg_segment *g = &plan->segments[p->first_segment + s];
      if (row < g->dst_row || row >= g->dst_row + g->rows) continue;
      cell from = {p->src, p->src_matrix, row - g->dst_row + g->src_row, col - p->dst_col + p->src_col};
      if (plan->arrays[p->src].side != MXG_SCRATCH) return from;
      return origin_in(plan, from.array, from.matrix, from.row, from.col);
    }
  }
  return (cell){MXG_NONE, 0, 0, 0};
}

static uint64_t scale_at(const mxg_plan *plan, uint32_t array, uint32_t matrix, uint64_t row, uint64_t col) {
  const mxg_array *a = &plan->arrays[array];
  const mxg_encoding *e = &plan->encodings[a->encoding];
  mxg_scale_shape s = mxg_scale_shape_of(e, a->rows, a->cols);
  uint64_t i = mx_block_index((mx_u32)row, e->block_rows), j = mx_block_index((mx_u32)col, e->block_cols);
  uint64_t at = mx_scale_offset(e->layout, mx_is_columnwise(e->block_rows, e->block_cols), s.ld, (mx_u32)i, (mx_u32)j);
  return (matrix * s.stored_rows * s.stored_cols + at) * s.bytes_each;
}

static uint32_t load(const unsigned char *p, unsigned bytes) {
  uint32_t v = 0;
  memcpy(&v, p, bytes);
  return v;
}

static const unsigned char *elem_of(const mxg_plan *plan, const memory *all, cell c) {
  const mxg_array *a = &plan->arrays[c.array];
  return all[c.array].data +
         ((c.matrix * a->rows + c.row) * a->cols + c.col) * mxg_elem_bytes(plan->encodings[a->encoding].elem);
}

static uint32_t value_of(const mxg_plan *plan, const memory *all, cell c) {
  const mxg_encoding *e = &plan->encodings[plan->arrays[c.array].encoding];
  uint32_t q = load(elem_of(plan, all, c), mxg_elem_bytes(e->elem));
  if (e->scale == MX_SCALE_NONE) return mx_decode(e->elem, q);
  uint32_t raw =
      load(all[c.array].scale + scale_at(plan, c.array, c.matrix, c.row, c.col), e->scale == MX_SCALE_E8M0 ? 1 : 4);
  return mx_dequantize(e->elem, q, mx_scale_decode(e->scale, raw));
}

static bool moves(const mxg_plan *plan, uint32_t array) {
  for (uint32_t i = 0; i < plan->piece_count; i++)
    if (plan->pieces[i].dst == array) return plan->kernels[plan->pieces[i].kernel].family == MXG_MOVE;
  return false;
}

typedef struct wanted {
  const mxg_plan *plan;
  const memory *all;
  uint32_t array;
  const mxg_array *a;
  const mxg_encoding *e;
  memory *out;
} wanted;

static void want_elem(const wanted *w, uint32_t m, uint32_t row, uint32_t col, uint32_t bits) {
  unsigned bytes = mxg_elem_bytes(w->e->elem);
  memcpy(w->out->data + ((m * w->a->rows + row) * w->a->cols + col) * bytes, &bits, bytes);
}

/* One block: [row, end_row) x [col, end_col) of a matrix. */
static void want_block(const wanted *w, uint32_t m, uint32_t row, uint32_t end_row, uint32_t col, uint32_t end_col) {
  cell first = origin_in(w->plan, w->array, m, row, col);
  if (first.array == MXG_NONE) return; /* padding: zero, its scale too */
  bool e8m0 = w->e->scale == MX_SCALE_E8M0;
  uint32_t u = 0, raw, reciprocal;
  for (uint32_t r = row; r < end_row; r++)
    for (uint32_t c = col; c < end_col; c++) {
      cell from = origin_in(w->plan, w->array, m, r, c);
      uint32_t x = from.array == MXG_NONE ? 0 : mx_magnitude(w->e->nan, value_of(w->plan, w->all, from));
      u = x > u ? x : u;
    }
  raw = e8m0 ? mx_scale_e8m0(w->e->rule, w->e->elem, w->e->nan, u) : mx_scale_fp32(w->e->elem, w->e->nan, u);
  reciprocal = e8m0 ? mx_e8m0_reciprocal(raw) : mx_fp32_reciprocal(raw);
  if (moves(w->plan, w->array))
    raw = load(w->all[first.array].scale + scale_at(w->plan, first.array, first.matrix, first.row, first.col),
               e8m0 ? 1 : 4);
  memcpy(w->out->scale + scale_at(w->plan, w->array, m, row, col), &raw, e8m0 ? 1 : 4);
  for (uint32_t r = row; r < end_row; r++)
    for (uint32_t c = col; c < end_col; c++) {
      cell from = origin_in(w->plan, w->array, m, r, c);
      if (from.array == MXG_NONE) continue;
      uint32_t q = moves(w->plan, w->array) ? *elem_of(w->plan, w->all, from)
                                            : mx_quantize(w->e->elem, value_of(w->plan, w->all, from), reciprocal);
      want_elem(w, m, r, c, q);
    }
}

static uint32_t least(uint64_t a, uint64_t b) { return (uint32_t)(a < b ? a : b); }

/* The bytes that a target must have. */
static memory want(const mxg_plan *plan, const memory *all, uint32_t array) {
  memory out = {calloc(1, (size_t)all[array].data_bytes + 1), calloc(1, (size_t)all[array].scale_bytes + 1),
                all[array].data_bytes, all[array].scale_bytes};
  const mxg_array *a = &plan->arrays[array];
  const wanted w = {plan, all, array, a, &plan->encodings[a->encoding], &out};
  assert_true(out.data && out.scale);
  bool blocks = w.e->scale != MX_SCALE_NONE;
  uint32_t rows = blocks ? w.e->block_rows : 1, cols = blocks ? w.e->block_cols : 1;
  if (rows == MX_WHOLE) rows = (uint32_t)a->rows, cols = (uint32_t)a->cols;
  for (uint32_t m = 0; m < a->matrices; m++)
    for (uint32_t r = 0; r < a->rows; r += rows)
      for (uint32_t c = 0; c < a->cols; c += cols) {
        if (blocks) {
          want_block(&w, m, r, least(a->rows, (uint64_t)r + rows), c, least(a->cols, (uint64_t)c + cols));
          continue;
        }
        cell from = origin_in(plan, array, m, r, c);
        if (from.array == MXG_NONE) continue;
        bool same = plan->encodings[plan->arrays[from.array].encoding].elem == w.e->elem;
        want_elem(&w, m, r, c,
                  same && moves(plan, array) ? load(elem_of(plan, all, from), mxg_elem_bytes(w.e->elem))
                                             : mx_encode(w.e->elem, value_of(plan, all, from)));
      }
  return out;
}

/* ---- running ---- */

static mxg_bundle *make_bundle(const fixture *f) {
  static const unsigned char sources[32] = {7};
  const mxg_bundle_parts parts = {&f->plan, NULL, 0, sources, "maker", NULL, NULL};
  mxg_bundle *bundle;
  mxg_error err = {0};
  if (mxg_bundle_make(&bundle, &parts, &err) != MXG_OK) fail_msg("MX%04u %s", err.code, err.text);
  return bundle;
}

static mxg_status bind(mxg_exec *exec, const mxg_plan *plan, uint32_t i, const memory *m, mxg_error *err) {
  const mxg_array *a = &plan->arrays[i];
  return mxg_exec_bind(exec, a->rank, a->side, plan->strings + a->name, m->data, m->data_bytes,
                       m->scale_bytes ? m->scale : NULL, m->scale_bytes, err);
}

static void bind_all(mxg_exec *exec, const mxg_plan *plan, const memory *all) {
  mxg_error err = {0};
  for (uint32_t i = 0; i < plan->array_count; i++)
    if (plan->arrays[i].side != MXG_SCRATCH && bind(exec, plan, i, &all[i], &err) != MXG_OK)
      fail_msg("MX%04u %s", err.code, err.text);
}

static mxg_exec *make_exec(const mxg_bundle *bundle, const mxg_exec_options *options) {
  mxg_exec *exec;
  mxg_error err = {0};
  if (mxg_exec_create(&exec, bundle, options, &err) != MXG_OK) fail_msg("MX%04u %s", err.code, err.text);
  return exec;
}

static void run(mxg_exec *exec) {
  mxg_error err = {0};
  if (mxg_exec_run(exec, &err) != MXG_OK) fail_msg("MX%04u %s", err.code, err.text);
}

/* Every target array has exactly the wanted bytes. `ranks`: a bit for each rank that ran. */
static void compare(const char *name, const mxg_plan *plan, const memory *sources, const memory *all, uint32_t ranks) {
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side != MXG_TARGET || !(ranks >> a->rank & 1)) continue;
    memory w = want(plan, sources, i);
    for (uint64_t b = 0; b < w.data_bytes; b++)
      if (w.data[b] != all[i].data[b])
        fail_msg("%s: \"%s\" of rank %u, data byte %llu is %02x, not %02x", name, plan->strings + a->name, a->rank,
                 (unsigned long long)b, all[i].data[b], w.data[b]);
    for (uint64_t b = 0; b < w.scale_bytes; b++)
      if (w.scale[b] != all[i].scale[b])
        fail_msg("%s: \"%s\" of rank %u, scale byte %llu is %02x, not %02x", name, plan->strings + a->name, a->rank,
                 (unsigned long long)b, all[i].scale[b], w.scale[b]);
    free(w.data);
    free(w.scale);
  }
}

/* Fresh memory is never zero by luck: staging that is read before it is written shows. */
static void *poisoning(void *old, size_t bytes) {
  if (bytes == 0) {
    free(old);
    return NULL;
  }
  void *p = realloc(old, bytes);
  if (!old && p) memset(p, 0xff, bytes);
  return p;
}

static void every_sample_moves_its_bytes(void **state) {
  (void)state;
  mxg_memory_fn kept = mxg_memory_hook;
  mxg_memory_hook = poisoning;
  for (int i = 0; i < plan_sample_count; i++)
    for (unsigned threads = 0; threads <= 5; threads++) {
      fixture *f = plan_samples[i].make();
      mxg_bundle *bundle = make_bundle(f);
      const mxg_plan *plan = mxg_bundle_plan(bundle);
      memory *all = new_memory(plan, 5 + threads);
      mxg_exec_options options = MXG_EXEC_INIT;
      options.threads = threads;
      options.wires = threads % 3 == 1; /* tame and wild sources, either way */
      mxg_exec *exec = make_exec(bundle, &options);
      bind_all(exec, plan, all);
      run(exec);
      compare(plan_samples[i].name, plan, all, all, UINT32_MAX);
      for (uint32_t k = 0; k < plan->array_count; k++) /* new weights, the same executor */
        for (uint64_t b = 0; b < all[k].data_bytes; b++) all[k].data[b] ^= (unsigned char)(random_byte() & 0x3e);
      run(exec);
      compare(plan_samples[i].name, plan, all, all, UINT32_MAX);
      mxg_exec_free(exec);
      mxg_bundle_free(bundle);
      free_memory(&f->plan, all);
      free(f);
    }
  mxg_memory_hook = kept;
}

/* Rows enough that steps are cut into many parts, over columns that no word of a mask divides. */
static fixture *large_sample(void) {
  fixture *f = fixture_begin(3, 2);
  mxg_encoding src = fixture_mxfp8(MX_E4M3, 1, 32, MX_SWIZZLED), dst = fixture_mxfp8(MX_E5M2, 32, 1, MX_PADDED);
  uint32_t a = fixture_array(f, 0, MXG_SOURCE, "w", src, 1, 900, 416);
  uint32_t b = fixture_array(f, 1, MXG_SOURCE, "w", src, 1, 700, 416);
  uint32_t t = fixture_array(f, 2, MXG_TARGET, "t", fixture_plain(MX_FP32), 1, 1600, 416);
  uint32_t u = fixture_array(f, 2, MXG_TARGET, "u", dst, 1, 900, 300);
  fixture_rows(f, 0, a, 0, 0, t, 0, 0, 900, 416);
  fixture_rows(f, 1, b, 0, 0, t, 900, 0, 700, 416);
  fixture_rows(f, 2, a, 0, 51, u, 0, 0, 900, 300);
  fixture_padding(f, 2, u, 900);
  fixture_end(f);
  return f;
}

typedef struct seen {
  uint64_t calls, last, all;
  bool odd;
} seen;

static void see(void *user, uint64_t done, uint64_t all) {
  seen *s = user;
  s->odd |= done < s->last || done > all || (s->calls && all != s->all);
  s->calls++;
  s->last = done;
  s->all = all;
}

static void run_large(bool wires) {
  fixture *f = large_sample();
  mxg_bundle *bundle = make_bundle(f);
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  memory *all = new_memory(plan, 3);
  seen progress = {0};
  mxg_exec_options options = MXG_EXEC_INIT;
  options.threads = 3;
  options.wires = wires;
  options.progress = see;
  options.user = &progress;
  mxg_exec *exec = make_exec(bundle, &options);
  bind_all(exec, plan, all);
  run(exec);
  compare("large", plan, all, all, UINT32_MAX);
  assert_false(progress.odd);
  assert_true(progress.calls > 5);
  assert_true(progress.last == progress.all && progress.all > 1600 * 416);
  mxg_exec_free(exec);
  mxg_bundle_free(bundle);
  free_memory(&f->plan, all);
  free(f);
}

static void large_steps_are_cut_and_counted(void **state) {
  (void)state;
  run_large(false);
  run_large(true);
}

/* A target that keeps its source's place is not touched, but for padding, and another rank may read it meanwhile. */
static void reconcile_in_place(void **state) {
  (void)state;
  fixture *f = sample_reconcile();
  mxg_bundle *bundle = make_bundle(f);
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  memory *all = new_memory(plan, 9), *before = new_memory(plan, 9);
  mxg_exec *exec = make_exec(bundle, NULL);
  mxg_error err;
  assert_int_equal(bind(exec, plan, 0, &all[0], &err), MXG_OK);
  assert_int_equal(bind(exec, plan, 1, &all[1], &err), MXG_OK);
  assert_int_equal(mxg_exec_bind(exec, 0, MXG_TARGET, "keep", all[0].data, all[0].data_bytes, all[0].scale,
                                 all[0].scale_bytes, &err),
                   MXG_OK);
  assert_int_equal(bind(exec, plan, 3, &all[3], &err), MXG_OK);
  run(exec);
  memory keep = want(plan, before, 2), turn = want(plan, before, 3);
  assert_memory_equal(all[0].data, keep.data, keep.data_bytes);
  assert_memory_equal(all[0].scale, keep.scale, keep.scale_bytes);
  assert_memory_equal(all[3].data, turn.data, turn.data_bytes);
  mxg_exec_free(exec);
  free(keep.data);
  free(keep.scale);
  free(turn.data);
  free(turn.scale);

  /* in part, or as something else: refused, and nothing is touched */
  const struct {
    unsigned char *data, *scale;
  } bad[] = {{all[0].data, all[2].scale}, {all[2].data, all[0].scale}, {all[3].data, all[2].scale}};
  for (int i = 0; i < 3; i++) {
    exec = make_exec(bundle, NULL);
    assert_int_equal(bind(exec, plan, 0, &all[0], &err), MXG_OK);
    assert_int_equal(bind(exec, plan, 1, &all[1], &err), MXG_OK);
    assert_int_equal(bind(exec, plan, 3, &all[3], &err), MXG_OK);
    assert_int_equal(mxg_exec_bind(exec, 0, MXG_TARGET, "keep", bad[i].data, all[0].data_bytes, bad[i].scale,
                                   all[0].scale_bytes, &err),
                     MXG_OK);
    assert_int_equal(mxg_exec_run(exec, &err), MXG_ERR_USAGE);
    assert_int_equal(err.code, 607);
    assert_non_null(strstr(err.text, "keep"));
    mxg_exec_free(exec);
  }
  mxg_bundle_free(bundle);
  free_memory(&f->plan, all);
  free_memory(&f->plan, before);
  free(f);
}

static void some_ranks_of_many(void **state) {
  (void)state;
  fixture *f = sample_row_split();
  mxg_bundle *bundle = make_bundle(f);
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  memory *all = new_memory(plan, 21);
  const uint32_t ranks[] = {1};
  mxg_exec_options options = MXG_EXEC_INIT;
  options.ranks = ranks;
  options.rank_count = 1;
  mxg_exec *exec = make_exec(bundle, &options);
  mxg_error err;
  assert_int_equal(bind(exec, plan, 0, &all[0], &err), MXG_OK); /* the sources of both ranks, read here */
  assert_int_equal(bind(exec, plan, 1, &all[1], &err), MXG_OK);
  assert_int_equal(bind(exec, plan, 2, &all[2], &err), MXG_ERR_USAGE); /* rank 0 is elsewhere */
  assert_int_equal(err.code, 603);
  assert_int_equal(bind(exec, plan, 3, &all[3], &err), MXG_OK);
  run(exec);
  compare("some ranks", plan, all, all, 2);
  for (uint64_t b = 0; b < all[2].data_bytes; b++) assert_int_equal(all[2].data[b], 0xa5);
  mxg_exec_free(exec);

  const struct { uint32_t ranks[2], count; } bad[] = {{{0, 0}, 2}, {{2, 0}, 1}, {{0, 1}, 0}};
  for (int i = 0; i < 3; i++) {
    options.ranks = bad[i].ranks;
    options.rank_count = bad[i].count;
    assert_int_equal(mxg_exec_create(&exec, bundle, &options, &err), MXG_ERR_USAGE);
    assert_null(exec);
  }
  mxg_bundle_free(bundle);
  free_memory(&f->plan, all);
  free(f);
}

static void expect_bind(mxg_status got, unsigned code, const mxg_error *err, const char *words) {
  assert_int_equal(got, MXG_ERR_USAGE);
  assert_int_equal(err->code, code);
  if (!strstr(err->text, words)) fail_msg("\"%s\" is not in: %s", words, err->text);
  const char *title;
  assert_non_null(mxg_error_explain(code, &title));
}

static void what_the_caller_gives_is_checked(void **state) {
  (void)state;
  fixture *f = sample_row_split();
  mxg_bundle *bundle = make_bundle(f);
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  memory *all = new_memory(plan, 2);
  mxg_exec *exec = make_exec(bundle, NULL);
  mxg_error err;
  const memory *m = &all[0];
#define BIND(rank, side, name, data, bytes, scale, scale_bytes) \
  mxg_exec_bind(exec, rank, side, name, data, bytes, scale, scale_bytes, &err)
  expect_bind(BIND(0, MXG_SOURCE, "x", m->data, 1, NULL, 0), 603, &err, "no source tensor \"x\"");
  expect_bind(BIND(7, MXG_SOURCE, "w", m->data, 1, NULL, 0), 603, &err, "rank 7");
  expect_bind(BIND(0, MXG_SCRATCH, "w", m->data, 1, NULL, 0), 601, &err, "neither");
  expect_bind(BIND(0, MXG_SOURCE, NULL, m->data, 1, NULL, 0), 601, &err, "NULL");
  expect_bind(BIND(0, MXG_SOURCE, "w", m->data, 401, m->scale, m->scale_bytes), 604, &err,
              "401 bytes given, the plan has 400");
  expect_bind(BIND(0, MXG_SOURCE, "w", m->data, 400, m->scale, 15), 604, &err, "15 bytes given, the plan has 512");
  expect_bind(BIND(0, MXG_SOURCE, "w", m->data, 400, NULL, 0), 604, &err, "0 bytes given");
  expect_bind(BIND(0, MXG_SOURCE, "w", NULL, 400, m->scale, m->scale_bytes), 604, &err, "NULL for 400");
  expect_bind(BIND(0, MXG_SOURCE, "w", m->data, 400, NULL, m->scale_bytes), 604, &err, "NULL for 512");
  expect_bind(mxg_exec_run(exec, &err), 606, &err, "source \"w\" of rank 0 is not bound");
  assert_non_null(strstr(err.note, "4 tensors"));
  assert_int_equal(bind(exec, plan, 0, &all[0], &err), MXG_OK);
  expect_bind(bind(exec, plan, 0, &all[0], &err), 605, &err, "bound already");
  for (uint32_t i = 1; i < 3; i++) assert_int_equal(bind(exec, plan, i, &all[i], &err), MXG_OK);
  expect_bind(mxg_exec_run(exec, &err), 606, &err, "target \"w\" of rank 1 is not bound");
  assert_non_null(strstr(err.note, "1 tensor "));
  for (uint64_t b = 0; b < all[2].data_bytes; b++) assert_int_equal(all[2].data[b], 0xa5); /* nothing was moved */
  expect_bind(BIND(1, MXG_TARGET, "w", all[2].data, all[2].data_bytes, all[2].data, 4), 604, &err, "the plan has 0");
  assert_int_equal(BIND(1, MXG_TARGET, "w", all[2].data, all[2].data_bytes, NULL, 0), MXG_OK);
  expect_bind(mxg_exec_run(exec, &err), 607, &err, "same memory");
  mxg_exec_free(exec);

  mxg_exec_options options = MXG_EXEC_INIT;
  options.transport = (mxg_transport)99;
  assert_int_equal(mxg_exec_create(&exec, bundle, &options, &err), MXG_ERR_USAGE);
  options = (mxg_exec_options)MXG_EXEC_INIT;
  options.size = 0;
  assert_int_equal(mxg_exec_create(&exec, bundle, &options, &err), MXG_ERR_USAGE);
  options.size = sizeof options + 8;
  assert_int_equal(mxg_exec_create(&exec, bundle, &options, &err), MXG_ERR_USAGE);
  assert_non_null(strstr(err.text, "newer mxrt.h"));
  options.size = offsetof(mxg_exec_options, progress); /* a shorter struct of an older header */
  assert_int_equal(mxg_exec_create(&exec, bundle, &options, &err), MXG_OK);
  mxg_exec_free(exec);
  assert_int_equal(mxg_exec_create(&exec, NULL, NULL, &err), MXG_ERR_USAGE);
  mxg_exec_free(NULL);
  mxg_bundle_free(bundle);
  free_memory(&f->plan, all);
  free(f);
}

/* A plan that goes wrong after its check: only the mask can see it. */
static void the_mask_sees_what_the_check_could_not(void **state) {
  (void)state;
  for (int spoil = 0; spoil < 3; spoil++) {
    fixture *f = sample_row_split();
    mxg_bundle *bundle = make_bundle(f);
    const mxg_plan *plan = mxg_bundle_plan(bundle);
    memory *all = new_memory(plan, 2);
    mxg_exec *exec = make_exec(bundle, NULL);
    mxg_error err = {0};
    bind_all(exec, plan, all);
    if (spoil == 0) plan->segments[1].dst_row = 4; /* rank 0: rows 4 .. 10, over 0 .. 5 */
    if (spoil == 1) plan->pieces[0].dst_col = 0, plan->pieces[0].cols = 79;
    if (spoil == 2) plan->steps[plan->ranks[1].first_step + 2].count = 0;
    assert_int_equal(mxg_exec_run(exec, &err), MXG_ERR_WRONG);
    assert_int_equal(err.code, 608);
    const char *words[] = {"target \"w\" of rank 0: matrix 0, row 4, column 0 was written twice",
                           "target \"w\" of rank 0: matrix 0, row 0, column 79 was not written",
                           "target \"w\" of rank 1"};
    if (!strstr(err.text, words[spoil])) fail_msg("\"%s\" is not in: %s", words[spoil], err.text);
    mxg_exec_free(exec);
    mxg_bundle_free(bundle);
    free_memory(&f->plan, all);
    free(f);
  }
}

static void marks_are_exact(void **state) {
  (void)state;
  fixture *f = sample_col_split();
  mxg_write_mask mask;
  mxg_mask_spare spare = {0};
  mxg_error err;
  const uint32_t target = 2; /* 133 x 96, swizzled scales 133 x 3 in 256 x 4 */
  mxg_mask_begin(&mask, &f->plan, target);
  assert_int_equal(mxg_mask_open(&mask, &spare, &err), MXG_OK);
  mxg_mask_rectangle(&mask, 0, 0, 130, 0, 64);
  mxg_mask_rectangle(&mask, 0, 0, 130, 64, 32);
  assert_int_equal(mxg_mask_check(&mask, false, &err), MXG_OK);
  assert_int_equal(mxg_mask_check(&mask, true, &err), MXG_ERR_WRONG);
  assert_non_null(strstr(err.text, "row 130, column 0 was not"));
  mxg_mask_elems(&mask, 130 * 96, 3 * 96);
  mxg_mask_settle(&mask, &spare);
  assert_null(mask.elems.memory); /* complete: its bits went back, and serve the next array */
  assert_non_null(spare.memory);
  assert_int_equal(mxg_mask_check(&mask, true, &err), MXG_ERR_WRONG);
  assert_non_null(strstr(err.text, "scale row 0, scale column 3 was not"));
  mxg_mask_scale_padding(&mask, 130);
  assert_int_equal(mxg_mask_check(&mask, true, &err), MXG_OK);
  mxg_mask_settle(&mask, &spare);
  assert_int_equal(mxg_mask_open(&mask, &spare, &err), MXG_OK);
  mxg_mask_elems(&mask, 97, 1);
  assert_int_equal(mxg_mask_check(&mask, false, &err), MXG_ERR_WRONG);
  assert_non_null(strstr(err.text, "row 1, column 1 was written twice"));
  mxg_mask_end(&mask);
  mxg_mask_begin(&mask, &f->plan, target);
  assert_int_equal(mxg_mask_open(&mask, &spare, &err), MXG_OK);
  mxg_mask_rectangle(&mask, 0, 0, 130, 0, 64);
  mxg_mask_rectangle(&mask, 0, 129, 1, 0, 96);
  assert_int_equal(mxg_mask_check(&mask, false, &err), MXG_ERR_WRONG);
  assert_non_null(strstr(err.text, "row 129, column 0 was written twice"));
  mxg_mask_end(&mask);
  mxg_free(spare.memory);
  free(f);
}

/* ---- the pool ---- */

enum { pool_parts = 1000 };

typedef struct counted {
  _Atomic uint32_t calls[pool_parts];
  mxg_pool *pool;
} counted;

static _Atomic uint32_t busy[3], clashes; /* of the inner pool's workers */

static void count_part(void *user, uint64_t i, unsigned worker) {
  if (worker >= 3 || atomic_fetch_add(&busy[worker % 3], 1) != 0) atomic_fetch_add(&clashes, 1);
  atomic_fetch_add(&((counted *)user)->calls[i], 1);
  atomic_fetch_sub(&busy[worker % 3], 1);
}

static void outer_part(void *user, uint64_t i, unsigned worker) { /* many callers at a time */
  counted *all = user;
  (void)worker;
  mxg_pool_run(all[0].pool, count_part, &all[1 + i], pool_parts);
}

static void every_part_runs_once(void **state) {
  (void)state;
  counted *all = calloc(9, sizeof *all);
  mxg_pool *callers;
  mxg_error err;
  assert_non_null(all);
  assert_int_equal(mxg_pool_create(&all[0].pool, 3, &err), MXG_OK);
  assert_int_equal(mxg_pool_create(&callers, 8, &err), MXG_OK);
  assert_int_equal(mxg_pool_threads(callers), 8);
  mxg_pool_run(callers, outer_part, all, 8);
  for (int i = 1; i < 9; i++)
    for (int k = 0; k < pool_parts; k++) assert_int_equal(all[i].calls[k], 1);
  assert_int_equal(clashes, 0);
  mxg_pool_run(callers, outer_part, all, 0);
  mxg_pool_free(callers);
  mxg_pool_free(all[0].pool);
  mxg_pool_free(NULL);
  free(all);
}

/* ---- no memory ---- */

static void every_failed_allocation_is_reported(void **state) {
  (void)state;
  mxg_memory_fn kept = mxg_memory_hook;
  fixture *const samples[] = {sample_whole(), sample_quantize_two_slots(), sample_reconcile()};
  for (size_t k = 0; k < sizeof samples / sizeof *samples; k++) {
    fixture *f = samples[k];
    mxg_bundle *bundle = make_bundle(f);
    const mxg_plan *plan = mxg_bundle_plan(bundle);
    memory *all = new_memory(plan, 4);
    mxg_status status = MXG_ERR_NOMEM;
    for (long n = 0; status != MXG_OK; n++) {
      mxg_exec_options options = MXG_EXEC_INIT;
      options.threads = 2;
      options.wires = true;
      mxg_exec *exec = NULL;
      mxg_error err = {0};
      assert_true(n < 1000);
      atomic_store(&allocations_left, n);
      mxg_memory_hook = fail_from_then_on;
      status = mxg_exec_create(&exec, bundle, &options, &err);
      for (uint32_t i = 0; i < plan->array_count && status == MXG_OK; i++)
        if (plan->arrays[i].side != MXG_SCRATCH) status = bind(exec, plan, i, &all[i], &err);
      if (status == MXG_OK) status = mxg_exec_run(exec, &err);
      mxg_exec_free(exec);
      mxg_memory_hook = kept;
      if (status != MXG_OK) {
        assert_int_equal(status, MXG_ERR_NOMEM);
        assert_int_equal(err.status, MXG_ERR_NOMEM);
      }
    }
    compare("after failures", plan, all, all, UINT32_MAX);
    mxg_bundle_free(bundle);
    free_memory(&f->plan, all);
    free(f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_sample_moves_its_bytes),
      cmocka_unit_test(large_steps_are_cut_and_counted),
      cmocka_unit_test(reconcile_in_place),
      cmocka_unit_test(some_ranks_of_many),
      cmocka_unit_test(what_the_caller_gives_is_checked),
      cmocka_unit_test(the_mask_sees_what_the_check_could_not),
      cmocka_unit_test(marks_are_exact),
      cmocka_unit_test(every_part_runs_once),
      cmocka_unit_test(every_failed_allocation_is_reported),
  };
  return cmocka_run_group_tests_name("exec", tests, NULL, NULL) != 0;
}
