/* gpu_machine.h -- programs for GPUs carried out here: copies are memory copies, launches the host's conversion, and
** streams run in turns that events alone limit, from "copies as early as they may" to "as late as they may". Also what
** plans and memory tests of programs need. */
#ifndef MXG_GPU_MACHINE_H
#define MXG_GPU_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bundle.h"
#include "model.h"
#include "plan_build.h"
#include "plan_check.h"
#include "plan_samples.h"
#include "race_check.h"

#include <stdlib.h>
#include <string.h>

static uint32_t random_state;
static inline uint32_t random_below(uint32_t n) {
  random_state = random_state * 1664525u + 1013904223u;
  return (uint32_t)(((uint64_t)random_state * n) >> 32);
}

/* ---- memory ---- */

typedef struct stored {
  unsigned char *data, *scale;
  uint64_t data_bytes, scale_bytes;
  unsigned char *home; /* of a rank's sources that lie side by side; the first array's to free */
} stored;

/* As GPUs give it, or exactly as large as it must be, so that a sanitizer sees its ends. */
static inline unsigned char *new_bytes(uint64_t bytes, bool aligned) {
  unsigned char *p = aligned ? aligned_alloc(256, (size_t)(bytes / 256 + 1) * 256) : malloc(bytes ? (size_t)bytes : 1);
  assert_non_null(p);
  return p;
}

static inline uint64_t room_of(uint64_t bytes) { return (bytes + 15) / 16 * 16; }

/* Sources of a rank side by side, as in one buffer of a trainer: then copies of neighbours are one. */
static inline void join_sources(const mxg_plan *plan, stored *all, uint32_t rank) {
  unsigned char *at = NULL;
  for (int pass = 0; pass < 2; pass++) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < plan->array_count; i++) {
      stored *s = &all[i];
      if (plan->arrays[i].side != MXG_SOURCE || plan->arrays[i].rank != rank) continue;
      if (pass) s->home = at, s->data = at + sum, s->scale = s->scale_bytes ? at + sum + room_of(s->data_bytes) : NULL;
      sum += room_of(s->data_bytes) + room_of(s->scale_bytes);
    }
    if (pass == 0 && sum) at = new_bytes(sum, true);
    if (sum == 0) return;
  }
}

/* Room for what a team knows of a plan's arrays: nothing is known, and nothing is kept. */
static inline void take_team_arrays(mxg_gpu_team *team, const mxg_plan *plan) {
  team->places = calloc(plan->array_count, sizeof *team->places);
  team->kept = calloc(plan->array_count, sizeof *team->kept);
  team->homes = calloc(plan->array_count, sizeof *team->homes);
  assert_true(team->places && team->kept && team->homes);
}

static inline void free_team_arrays(mxg_gpu_team *team) {
  free(team->places);
  free(team->kept);
  free(team->homes);
}

static inline stored *new_arrays(const mxg_plan *plan, bool aligned) {
  stored *all = calloc(plan->array_count, sizeof *all);
  assert_non_null(all);
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side == MXG_SCRATCH) continue;
    all[i].data_bytes = mxg_array_data_bytes(plan, a);
    all[i].scale_bytes = mxg_array_scale_bytes(plan, a);
    if (aligned && a->side == MXG_SOURCE) continue;
    all[i].data = new_bytes(all[i].data_bytes, aligned);
    if (all[i].scale_bytes) all[i].scale = new_bytes(all[i].scale_bytes, aligned);
  }
  for (uint32_t rank = 0; aligned && rank < plan->rank_count; rank++) join_sources(plan, all, rank);
  return all;
}

static inline void free_arrays(const mxg_plan *plan, stored *all) {
  for (uint32_t i = 0; i < plan->array_count; i++) {
    if (!all[i].home || all[i].home == all[i].data) free(all[i].data);
    if (!all[i].home) free(all[i].scale);
  }
  free(all);
}

static inline void fill_sources(const mxg_plan *plan, stored *all) {
  for (uint32_t i = 0; i < plan->array_count; i++) {
    bool fp32 = plan->encodings[plan->arrays[i].encoding].scale == MX_SCALE_FP32;
    if (plan->arrays[i].side != MXG_SOURCE) continue;
    for (uint64_t b = 0; b < all[i].data_bytes; b++)
      all[i].data[b] = (unsigned char)(random_below(256) & 0xbf); /* no NaN, which would hide others */
    for (uint64_t b = 0; b < all[i].scale_bytes; b++)
      all[i].scale[b] = (unsigned char)(fp32 ? (b % 4 == 3 ? 0x3e : random_below(256)) : 100 + random_below(60));
  }
}

static inline void poison_targets(const mxg_plan *plan, stored *all) {
  for (uint32_t i = 0; i < plan->array_count; i++) {
    if (plan->arrays[i].side != MXG_TARGET) continue;
    memset(all[i].data, 0xa5, (size_t)all[i].data_bytes);
    if (all[i].scale) memset(all[i].scale, 0xa5, (size_t)all[i].scale_bytes);
  }
}

/* ---- what must come out ---- */

static inline void run_host(const mxg_bundle *bundle, const mxg_plan *plan, stored *all) {
  mxg_error err = {0};
  mxg_exec *exec = NULL;
  assert_int_equal(mxg_exec_create(&exec, bundle, NULL, &err), MXG_OK);
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side == MXG_SCRATCH) continue;
    if (mxg_exec_bind(exec, a->rank, (mxg_side)a->side, plan->strings + a->name, all[i].data, all[i].data_bytes,
                      all[i].scale, all[i].scale_bytes, &err))
      fail_msg("%s", err.text);
  }
  if (mxg_exec_run(exec, &err)) fail_msg("%s", err.text);
  mxg_exec_free(exec);
}

/* ---- carrying out a program ---- */

enum { copies_first, converts_first, by_chance, manners };

typedef struct machine {
  const mxg_plan *plan;
  const mxg_gpu_program *program;
  size_t at[MXG_STREAMS_MOST]; /* the next op of each stream, or count */
  bool *recorded;
  bool *passed; /* by turn, in what is started with this; NULL: of one rank alone, it waits for nobody */
  bool aligned;
} machine;

static inline size_t next_of(const mxg_gpu_program *p, unsigned stream, size_t from) {
  while (from < p->count && p->ops[from].stream != stream) from++;
  return from;
}

/* A kernel reads and writes `vec` elements at a time, up to 16 bytes of them at once. */
static inline void check_side(const mxg_kernel *k, uint64_t base, uint64_t ld, uint32_t row, uint32_t col,
                              uint32_t rows, unsigned elem) {
  uint64_t size = mxg_elem_bytes(elem), wide = k->vec * size < 16 ? k->vec * size : 16;
  assert_int_equal((base + (row * ld + col) * size) % wide, 0);
  if (rows > 1) assert_int_equal(ld * size % wide, 0);
}

static inline void check_launch(const mxg_plan *plan, const mxg_gpu_program *program, const mxg_gpu_op *op,
                                bool aligned) {
  const mxg_kernel *k = &plan->kernels[op->index];
  const mx_entry *entries = &program->entries[op->u.launch.first];
  uint64_t tiles = 0;
  assert_true(op->u.launch.first + op->u.launch.count <= program->entry_count);
  for (uint32_t i = 0; i < op->u.launch.count; i++) {
    const mx_entry *e = &entries[i];
    assert_int_equal(e->first_tile, tiles);
    tiles += mxg_kernel_tiles(k, e->rows, e->cols);
    if (k->cols) assert_int_equal(k->cols, e->cols);
    if (!aligned) continue;
    check_side(k, e->src, e->src_ld, e->src_row, e->src_col, e->rows, k->src.elem);
    check_side(k, e->dst, e->dst_ld, e->dst_row, e->dst_col, e->rows, k->dst.elem);
  }
  assert_int_equal(op->u.launch.tiles, tiles);
}

static inline void launch(const machine *m, const mxg_gpu_op *op) {
  check_launch(m->plan, m->program, op, m->aligned);
  mxg_convert_entries(&m->plan->kernels[op->index], &m->program->entries[op->u.launch.first], op->u.launch.count);
}

static inline void carry_out(machine *m, const mxg_gpu_op *op) {
  switch ((mxg_gpu_op_kind)op->kind) {
  case MXG_OP_COPY: {
    const mxg_copy *c = &op->u.copy;
    for (uint64_t i = 0; i < c->height; i++)
      memcpy((void *)(uintptr_t)(c->dst + i * c->dst_pitch), (void *)(uintptr_t)(c->src + i * c->src_pitch),
             (size_t)c->width);
    break;
  }
  case MXG_OP_FILL:
    for (uint64_t i = 0; i < op->u.fill.height; i++)
      memset((void *)(uintptr_t)(op->u.fill.dst + i * op->u.fill.pitch), op->u.fill.byte, (size_t)op->u.fill.bytes);
    break;
  case MXG_OP_LAUNCH: launch(m, op); break;
  case MXG_OP_RECORD: m->recorded[op->index] = true; break;
  case MXG_OP_EXCHANGE:
  case MXG_OP_FOLLOW:
  case MXG_OP_TAKE:
  case MXG_OP_MARK: break;
  case MXG_OP_PASS:
    if (m->passed) m->passed[op->index] = true;
    break;
  }
}

static inline bool may_run(const machine *m, unsigned stream) {
  size_t at = m->at[stream];
  if (at >= m->program->count) return false;
  const mxg_gpu_op *op = &m->program->ops[at];
  if (op->kind == MXG_OP_TAKE) return !m->passed || m->passed[op->index];
  return op->kind != MXG_OP_FOLLOW || m->recorded[op->index];
}

static inline int choose(const machine *m, int manner) {
  int can[MXG_STREAMS_MOST], count = 0;
  for (unsigned s = 0; s < m->program->stream_count; s++)
    if (may_run(m, s)) can[count++] = (int)s;
  if (count == 0) return -1;
  if (manner == converts_first) return can[0];
  if (manner == copies_first) return can[count - 1];
  return can[random_below((uint32_t)count)];
}

/* A driver waits for what was recorded before the wait was given to it. */
static inline void check_events(const mxg_gpu_program *p) {
  bool *known = calloc(p->event_count + 1, sizeof *known);
  assert_non_null(known);
  for (size_t i = 0; i < p->count; i++) {
    const mxg_gpu_op *op = &p->ops[i];
    if (op->kind == MXG_OP_FOLLOW) assert_true(known[op->index]);
    if (op->kind != MXG_OP_RECORD) continue;
    assert_false(known[op->index]);
    known[op->index] = true;
  }
  free(known);
}

/* Capture needs it, and so does a wait for stream 0: it ends after all other streams. Every last op of a stream is a
** record that stream 0 follows. */
static inline void check_end(const mxg_gpu_program *p) {
  for (unsigned s = 1; s < p->stream_count; s++) {
    const mxg_gpu_op *last = NULL;
    for (size_t i = 0; i < p->count; i++)
      if (p->ops[i].stream == s) last = &p->ops[i];
    if (!last) continue;
    assert_int_equal(last->kind, MXG_OP_RECORD);
    bool followed = false;
    for (size_t i = 0; i < p->count; i++)
      followed |= p->ops[i].stream == 0 && p->ops[i].kind == MXG_OP_FOLLOW && p->ops[i].index == last->index;
    assert_true(followed);
  }
}

static inline void run_program(const mxg_plan *plan, const mxg_gpu_program *program, int manner, bool aligned) {
  machine m = {.plan = plan, .program = program, .aligned = aligned};
  m.recorded = calloc(program->event_count + 1, sizeof *m.recorded);
  assert_non_null(m.recorded);
  assert_true(program->stream_count <= MXG_STREAMS_MOST);
  check_events(program);
  check_end(program);
  if (manner == copies_first) check_races(plan, program);
  for (unsigned s = 0; s < program->stream_count; s++) m.at[s] = next_of(program, s, 0);
  for (int s; (s = choose(&m, manner)) >= 0;) {
    carry_out(&m, &program->ops[m.at[s]]);
    m.at[s] = next_of(program, (unsigned)s, m.at[s] + 1);
  }
  for (unsigned s = 0; s < program->stream_count; s++) assert_int_equal(m.at[s], program->count);
  free(m.recorded);
}

static inline mxg_bundle *bundle_of(const mxg_plan *plan) {
  static const unsigned char sources[32] = {7};
  const mxg_bundle_parts parts = {plan, NULL, 0, sources, "maker", NULL, NULL};
  mxg_bundle *bundle = NULL;
  mxg_error err = {0};
  if (mxg_bundle_make(&bundle, &parts, &err)) fail_msg("%s", err.text);
  return bundle;
}

/* Swizzled scales of a matrix that is cut by columns, and two kernels of one bucket, one of which writes where a
** fill has been. */
static inline fixture *cut_swizzled(void) {
  fixture *f = fixture_begin(2, 1);
  mxg_encoding fp8 = fixture_mxfp8(MX_E4M3, 1, 32, MX_SWIZZLED);
  uint32_t a = fixture_array(f, 0, MXG_SOURCE, "w", fp8, 1, 140, 192);
  uint32_t x = fixture_array(f, 1, MXG_TARGET, "x", fixture_plain(MX_BF16), 1, 140, 128);
  uint32_t y = fixture_array(f, 1, MXG_TARGET, "y", fp8, 1, 70, 64);
  fixture_rows(f, 0, a, 0, 64, x, 0, 0, 140, 128);
  fixture_rows(f, 0, a, 70, 96, y, 0, 0, 70, 64);
  fixture_padding(f, 0, y, 70);
  fixture_end(f);
  return f;
}

typedef struct planned {
  mxg_arena arena;
  mxg_bundle *bundle;
} planned;

static inline planned plan_recipe_with(const char *path, const mxg_recipe_options *options) {
  planned made = {0};
  mxg_error err = {0};
  mxg_files files = {0};
  const mxg_model *model = NULL;
  const mxg_plan *plan = NULL;
  if (mxg_model_build(&model, &files, path, options, &made.arena, &err) ||
      mxg_plan_build(&plan, model, &made.arena, &err))
    fail_msg("%s: %s", path, err.text);
  made.bundle = bundle_of(plan);
  return made;
}

static inline planned plan_recipe(const char *path) {
  const mxg_recipe_options options = {0};
  return plan_recipe_with(path, &options);
}

/* ---- what plans are tried on ---- */

/* A plan's programs carried out in every way that the test knows, against the host. */
typedef void (*plan_trial)(const char *name, const mxg_bundle *bundle, bool aligned);

static inline void try_every_sample(plan_trial try_plan) {
  fixture *cut = cut_swizzled();
  mxg_bundle *cut_bundle = bundle_of(&cut->plan);
  try_plan("cut_swizzled", cut_bundle, false);
  mxg_bundle_free(cut_bundle);
  free(cut);
  for (int i = 0; i < plan_sample_count; i++) {
    fixture *f = plan_samples[i].make();
    mxg_bundle *bundle = bundle_of(&f->plan);
    random_state = 77 + (uint32_t)i;
    try_plan(plan_samples[i].name, bundle, false);
    mxg_bundle_free(bundle);
    free(f);
  }
}

static inline void try_tiny_recipes(plan_trial try_plan) {
  static const char *const paths[] = {MXG_ROOT "/recipes/tiny_dense.lua", MXG_ROOT "/recipes/tiny_moe.lua",
                                      MXG_ROOT "/tests/unit/moves.lua" /* the same bytes on both sides */,
                                      MXG_ROOT "/examples/pytorch/dense_tp2.lua" /* groups are layers */};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    planned made = plan_recipe(paths[i]);
    random_state = 99 + (uint32_t)i;
    try_plan(paths[i], made.bundle, true);
    mxg_bundle_free(made.bundle);
    mxg_arena_free(&made.arena);
  }
}

#endif
