/* plan_fixture.h -- small plans made by hand: arrays, pieces and fills are declared, kernels, wires and steps
** follow.
**
** Independent of gen/plan.c on purpose: what the runtime is tested with must not come from the planner. Arrays are
** added by side and rank, as plan.h orders them. Memory is the fixture's arena. */
#ifndef MXG_PLAN_FIXTURE_H
#define MXG_PLAN_FIXTURE_H

#include "memory.h"
#include "plan.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { fixture_arrays = 64, fixture_pieces = 512, fixture_fills = 128, fixture_steps = 2048, fixture_kernels = 64 };

typedef struct fixture {
  mxg_plan plan;
  mxg_rank ranks[16];
  mxg_encoding encodings[32];
  mxg_array arrays[fixture_arrays];
  mxg_piece pieces[fixture_pieces];
  mxg_segment segments[4096];
  mxg_fill fills[fixture_fills];
  mxg_step steps[fixture_steps];
  mxg_kernel kernels[fixture_kernels];
  mxg_group groups[32];
  char strings[8192];
} fixture;

static inline fixture *fixture_begin(uint32_t ranks, uint32_t slots) {
  fixture *f = calloc(1, sizeof *f);
  assert(f && ranks <= 16);
  f->plan = (mxg_plan){.name = "fixture",
                       .rank_count = ranks,
                       .slots = slots,
                       .strings = f->strings,
                       .string_bytes = 1,
                       .ranks = f->ranks,
                       .encodings = f->encodings,
                       .arrays = f->arrays,
                       .pieces = f->pieces,
                       .segments = f->segments,
                       .fills = f->fills,
                       .steps = f->steps,
                       .kernels = f->kernels,
                       .groups = f->groups};
  return f;
}

static inline uint32_t fixture_string(fixture *f, const char *text) {
  size_t bytes = strlen(text) + 1;
  if (bytes == 1) return 0;
  assert(f->plan.string_bytes + bytes <= sizeof f->strings);
  memcpy(f->strings + f->plan.string_bytes, text, bytes);
  f->plan.string_bytes += bytes;
  return (uint32_t)(f->plan.string_bytes - bytes);
}

static inline uint32_t fixture_encoding(fixture *f, mxg_encoding e) {
  for (uint32_t i = 0; i < f->plan.encoding_count; i++)
    if (memcmp(&f->encodings[i], &e, sizeof e) == 0) return i;
  assert(f->plan.encoding_count < 32);
  f->encodings[f->plan.encoding_count] = e;
  return f->plan.encoding_count++;
}

static inline uint32_t fixture_array(fixture *f, uint32_t rank, mxg_side side, const char *name, mxg_encoding encoding,
                                     uint64_t matrices, uint64_t rows, uint64_t cols) {
  char scale[128];
  assert(f->plan.array_count < fixture_arrays);
  snprintf(scale, sizeof scale, "%s_scale", name);
  mxg_array *a = &f->arrays[f->plan.array_count];
  *a = (mxg_array){.rank = rank, .side = (uint8_t)side, .matrices = matrices, .rows = rows, .cols = cols};
  a->name = a->tensor = fixture_string(f, name);
  a->scale_name = side != MXG_SCRATCH && encoding.scale != MX_SCALE_NONE ? fixture_string(f, scale) : 0;
  a->encoding = fixture_encoding(f, encoding);
  a->ndim = matrices > 1 ? 3 : 2;
  return f->plan.array_count++;
}

static inline mxg_family fixture_family(const mxg_encoding *src, const mxg_encoding *dst, bool amax) {
  bool fp8 = dst->elem == MX_E4M3 || dst->elem == MX_E5M2;
  if (amax) return MXG_AMAX;
  if (src->scale == MX_SCALE_AMAX) return MXG_QUANTIZE_WHOLE;
  if (src->elem == dst->elem && src->scale == dst->scale) {
    bool rows = src->block_rows == dst->block_rows || (dst->block_rows && src->block_rows % dst->block_rows == 0);
    bool cols = src->block_cols == dst->block_cols || (dst->block_cols && src->block_cols % dst->block_cols == 0);
    if (rows && cols) return MXG_MOVE;
  }
  if (!fp8) return MXG_DEQUANTIZE;
  if (dst->block_rows == 1) return MXG_QUANTIZE_ROWWISE;
  return dst->block_cols == 1 ? MXG_QUANTIZE_COLUMNWISE : MXG_QUANTIZE_SQUARE;
}

static inline uint32_t fixture_kernel(fixture *f, mxg_family family, mxg_encoding src, mxg_encoding dst) {
  mxg_kernel k = {.family = (uint8_t)family, .vec = 1, .threads = 128, .tile_units = 64, .src = src, .dst = dst};
  for (uint32_t i = 0; i < f->plan.kernel_count; i++) {
    mxg_kernel *old = &f->kernels[i];
    if (old->family == family && !memcmp(&old->src, &src, sizeof src) && !memcmp(&old->dst, &dst, sizeof dst)) return i;
  }
  assert(f->plan.kernel_count < fixture_kernels);
  snprintf(k.name, sizeof k.name, "mx_%s_%08x", mxg_family_name(family), f->plan.kernel_count);
  f->kernels[f->plan.kernel_count] = k;
  return f->plan.kernel_count++;
}

/* A piece with `count` segments {src_row, dst_row, rows}. Phase 1 with src == dst takes the maximum. */
static inline mxg_piece *fixture_piece(fixture *f, uint32_t bucket, uint32_t phase, uint32_t src, uint32_t src_matrix,
                                       uint32_t src_col, uint32_t dst, uint32_t dst_matrix, uint32_t dst_col,
                                       uint32_t cols, const mxg_segment *segments, uint32_t count) {
  assert(f->plan.piece_count < fixture_pieces && f->plan.segment_count + count <= 4096);
  mxg_piece *p = &f->pieces[f->plan.piece_count++];
  *p = (mxg_piece){.src = src,
                   .dst = dst,
                   .src_matrix = src_matrix,
                   .dst_matrix = dst_matrix,
                   .src_col = src_col,
                   .dst_col = dst_col,
                   .cols = cols,
                   .first_segment = f->plan.segment_count,
                   .segments = count,
                   .bucket = bucket,
                   .phase = phase};
  for (uint32_t i = 0; i < count; i++) {
    p->rows += segments[i].rows;
    f->segments[f->plan.segment_count++] = segments[i];
  }
  const mxg_array *s = &f->arrays[src], *d = &f->arrays[dst];
  mxg_encoding held = f->encodings[s->encoding], wire = mxg_wire_encoding(&held), want = f->encodings[d->encoding];
  mxg_family family = fixture_family(&held, &want, phase == 1);
  p->kernel_direct = fixture_kernel(f, family, held, want);
  p->kernel = s->rank == d->rank ? p->kernel_direct : fixture_kernel(f, family, wire, want);
  if (s->rank != d->rank) p->wire_bytes = mxg_wire_of(&f->plan, p).bytes;
  return p;
}

/* Whole rows [src_row, +rows) to [dst_row, +rows), over `cols` columns from src_col to dst_col. */
static inline mxg_piece *fixture_rows(fixture *f, uint32_t bucket, uint32_t src, uint32_t src_row, uint32_t src_col,
                                      uint32_t dst, uint32_t dst_row, uint32_t dst_col, uint32_t rows, uint32_t cols) {
  const mxg_segment segment = {src_row, dst_row, rows};
  return fixture_piece(f, bucket, 0, src, 0, src_col, dst, 0, dst_col, cols, &segment, 1);
}

static inline void fixture_fill(fixture *f, uint32_t bucket, uint32_t array, mxg_fill_kind kind, uint64_t offset,
                                uint64_t bytes) {
  assert(f->plan.fill_count < fixture_fills);
  f->fills[f->plan.fill_count++] =
      (mxg_fill){.array = array, .kind = kind, .bucket = bucket, .offset = offset, .bytes = bytes};
}

/* The padding of a target whose pieces write rows [0, written) of every matrix. */
static inline void fixture_padding(fixture *f, uint32_t bucket, uint32_t array, uint64_t written) {
  const mxg_array *a = &f->arrays[array];
  const mxg_encoding *e = &f->encodings[a->encoding];
  uint64_t row = a->cols * mxg_elem_bytes(e->elem);
  for (uint64_t m = 0; m < a->matrices && written < a->rows; m++)
    fixture_fill(f, bucket, array, MXG_FILL_DATA, (m * a->rows + written) * row, (a->rows - written) * row);
  if (e->scale == MX_SCALE_NONE || e->block_rows == MX_WHOLE) return;
  mxg_scale_shape shape = mxg_scale_shape_of(e, a->rows, a->cols);
  uint64_t limit = (written + e->block_rows - 1) / e->block_rows;
  uint64_t rest = a->matrices * (shape.stored_rows * shape.stored_cols - limit * shape.cols) * shape.bytes_each;
  if (rest) fixture_fill(f, bucket, array, MXG_FILL_SCALES, limit, rest);
}

static inline int fixture_by_step(const fixture *f, const mxg_piece *a, const mxg_piece *b) {
  uint32_t x[5] = {f->arrays[a->dst].rank, a->bucket, a->phase, a->kernel, f->arrays[a->src].rank};
  uint32_t y[5] = {f->arrays[b->dst].rank, b->bucket, b->phase, b->kernel, f->arrays[b->src].rank};
  for (int i = 0; i < 5; i++)
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  return 0;
}

static inline mxg_step *fixture_step(fixture *f, mxg_step_kind kind, uint32_t bucket, uint32_t first) {
  assert(f->plan.step_count < fixture_steps);
  mxg_step *s = &f->steps[f->plan.step_count++];
  *s = (mxg_step){.kind = kind,
                  .bucket = bucket,
                  .slot = bucket % f->plan.slots,
                  .first = first,
                  .peer = MXG_NONE,
                  .group = bucket};
  return s;
}

static inline void fixture_gathers(fixture *f, uint32_t rank, uint32_t bucket) {
  mxg_step *s = NULL;
  for (uint32_t i = 0; i < f->plan.piece_count; i++) {
    const mxg_piece *p = &f->pieces[i];
    if (f->arrays[p->dst].rank != rank || p->bucket != bucket) continue;
    if (p->wire_bytes == 0) {
      s = NULL;
      continue;
    }
    if (!s || s->peer != f->arrays[p->src].rank) {
      s = fixture_step(f, MXG_STEP_GATHER, bucket, i);
      s->peer = f->arrays[p->src].rank;
    }
    s->count++;
    s->bytes += p->wire_bytes;
    f->ranks[rank].received_bytes += p->wire_bytes;
  }
}

static inline void fixture_converts(fixture *f, uint32_t rank, uint32_t bucket) {
  mxg_step *s = NULL;
  for (uint32_t i = 0; i < f->plan.fill_count; i++) {
    if (f->arrays[f->fills[i].array].rank != rank || f->fills[i].bucket != bucket) {
      s = NULL;
      continue;
    }
    if (!s) s = fixture_step(f, MXG_STEP_FILL, bucket, i);
    s->count++;
  }
  fixture_step(f, MXG_STEP_WAIT, bucket, 0);
  s = NULL;
  for (uint32_t i = 0; i < f->plan.piece_count; i++) {
    const mxg_piece *p = &f->pieces[i];
    if (f->arrays[p->dst].rank != rank || p->bucket != bucket) continue;
    if (!s || s->kernel != p->kernel || f->pieces[s->first].phase != p->phase) {
      s = fixture_step(f, MXG_STEP_CONVERT, bucket, i);
      s->kernel = p->kernel;
    }
    s->count++;
  }
  fixture_step(f, MXG_STEP_RELEASE, bucket, 0);
}

/* Places wires, then scratch, of one rank and bucket in the slot; returns its end. */
static inline uint64_t fixture_stage(fixture *f, uint32_t rank, uint32_t bucket) {
  uint64_t next = 0;
  for (uint32_t i = 0; i < f->plan.piece_count; i++) {
    mxg_piece *p = &f->pieces[i];
    if (f->arrays[p->dst].rank != rank || p->bucket != bucket || !p->wire_bytes) continue;
    p->wire_offset = next;
    next = (next + p->wire_bytes + 15) / 16 * 16;
  }
  for (uint32_t i = 0; i < f->plan.array_count; i++) {
    mxg_array *a = &f->arrays[i];
    bool here = false;
    for (uint32_t p = 0; p < f->plan.piece_count; p++) here |= f->pieces[p].dst == i && f->pieces[p].bucket == bucket;
    if (a->side != MXG_SCRATCH || a->rank != rank || !here) continue;
    a->offset = next;
    next += (mxg_array_data_bytes(&f->plan, a) + 15) / 16 * 16 + 16 * a->matrices;
  }
  return next;
}

/* Sorts the pieces, places the staging, makes the steps: with two slots or more, the gathers of a bucket come before
** the converts of the one before it. */
static inline void fixture_end(fixture *f) {
  mxg_plan *plan = &f->plan;
  for (uint32_t i = 1; i < plan->piece_count; i++)
    for (uint32_t j = i; j > 0 && fixture_by_step(f, &f->pieces[j], &f->pieces[j - 1]) < 0; j--) {
      mxg_piece swap = f->pieces[j];
      f->pieces[j] = f->pieces[j - 1];
      f->pieces[j - 1] = swap;
    }
  uint32_t buckets = 0;
  for (uint32_t i = 0; i < plan->piece_count; i++)
    if (f->pieces[i].bucket >= buckets) buckets = f->pieces[i].bucket + 1;
  plan->slot_bytes = 0;
  for (uint32_t r = 0; r < plan->rank_count; r++)
    for (uint32_t b = 0; b < buckets; b++) {
      uint64_t end = fixture_stage(f, r, b);
      if (end > plan->slot_bytes) plan->slot_bytes = end;
    }
  plan->staging_cap = plan->slot_bytes * plan->slots;
  for (uint32_t b = 0; b < buckets; b++) {
    char name[32];
    snprintf(name, sizeof name, "bucket %u", b);
    assert(b < sizeof f->groups / sizeof *f->groups);
    f->groups[plan->group_count++].name = fixture_string(f, name);
  }
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    mxg_rank *rank = &f->ranks[r];
    uint32_t *firsts[3] = {&rank->first_source, &rank->first_target, &rank->first_scratch};
    uint32_t *counts[3] = {&rank->sources, &rank->targets, &rank->scratches};
    for (uint32_t i = 0; i < plan->array_count; i++) {
      if (f->arrays[i].rank != r) continue;
      if ((*counts[f->arrays[i].side])++ == 0) *firsts[f->arrays[i].side] = i;
    }
    rank->staging_bytes = plan->staging_cap;
    rank->first_step = plan->step_count;
    for (uint32_t b = 0; b < buckets; b++) {
      if (plan->slots == 1 || b == 0) fixture_gathers(f, r, b);
      if (plan->slots > 1 && b + 1 < buckets) fixture_gathers(f, r, b + 1);
      fixture_converts(f, r, b);
    }
    rank->steps = plan->step_count - rank->first_step;
  }
}

/* ---- the encodings that tests use ---- */

static inline mxg_encoding fixture_plain(enum mx_elem elem) { return (mxg_encoding){.elem = (uint8_t)elem}; }

static inline mxg_encoding fixture_mxfp8(enum mx_elem elem, uint32_t block_rows, uint32_t block_cols,
                                         enum mx_scale_layout layout) {
  return (mxg_encoding){.elem = (uint8_t)elem,
                        .scale = MX_SCALE_E8M0,
                        .layout = (uint8_t)layout,
                        .rule = MX_RCEIL,
                        .block_rows = block_rows,
                        .block_cols = block_cols};
}

static inline mxg_encoding fixture_fp8(enum mx_elem elem, uint32_t block_rows, uint32_t block_cols) {
  return (mxg_encoding){
      .elem = (uint8_t)elem, .scale = MX_SCALE_FP32, .block_rows = block_rows, .block_cols = block_cols};
}

static inline mxg_encoding fixture_amax(void) {
  return (mxg_encoding){.elem = MX_FP32, .scale = MX_SCALE_AMAX, .block_rows = MX_WHOLE, .block_cols = MX_WHOLE};
}

#endif
