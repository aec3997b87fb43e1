/* plan_schedule.c -- the steps of every rank: each piece gathered and converted once, in order, inside the staging.
** The order that steps promise is stated in plan.h; here a rank is walked as an executor would, with nothing moved. */
#include "error.h"
#include "memory.h"
#include "plan_check.h"

#include <stdlib.h>

uint64_t mxg_scratch_cell(const mxg_plan *plan, const mxg_array *array) {
  return (mxg_array_data_bytes(plan, array) + 15) / 16 * 16;
}

uint64_t mxg_scratch_bytes(const mxg_plan *plan, const mxg_array *array) {
  return mxg_scratch_cell(plan, array) + 4 * array->matrices;
}

/* What a bucket of the current rank has seen. */
typedef struct bucket_state {
  uint32_t epoch; /* 1 + the rank it is about; another: not seen */
  uint32_t slot;  /* MXG_NONE: it holds none */
  uint32_t phase;
  uint32_t group; /* MXG_NONE: not seen */
  bool gathers, waited, converts, released;
} bucket_state;

/* Bytes of a slot that something of a bucket fills. */
typedef struct extent {
  uint32_t bucket, pad;
  uint64_t begin, end;
} extent;

typedef struct walk {
  const mxg_plan *plan;
  mxg_error *err;
  uint32_t rank, step;
  bucket_state *buckets;      /* by number; fewer than there are steps */
  uint32_t *holders;          /* the bucket in each slot; MXG_NONE: free */
  uint32_t *scratch_buckets;  /* by array; MXG_NONE: not seen */
  unsigned char *piece_marks; /* 1: gathered, 2: converted */
  unsigned char *fill_marks;
  extent *extents; /* of the current rank */
  size_t extent_count;
  uint64_t received;
} walk;

static mxg_status refuse(const walk *w, unsigned code, const char *what) {
  return mxg_plan_refuse(w->err, code, "step %u of rank %u %s", w->step - w->plan->ranks[w->rank].first_step, w->rank,
                         what);
}

static bucket_state *bucket_of(walk *w, uint32_t bucket) {
  bucket_state *b = &w->buckets[bucket];
  if (b->epoch != w->rank + 1) *b = (bucket_state){.epoch = w->rank + 1, .slot = MXG_NONE, .group = MXG_NONE};
  return b;
}

static mxg_status take_slot(walk *w, const mxg_step *step) {
  bucket_state *b = bucket_of(w, step->bucket);
  if (b->slot == step->slot) return MXG_OK;
  if (b->slot != MXG_NONE) return refuse(w, 722, "uses another slot than its bucket has");
  if (step->slot >= w->plan->slots) return refuse(w, 722, "uses a slot that there is not");
  if (w->holders[step->slot] != MXG_NONE) return refuse(w, 722, "writes a slot that was not released");
  w->holders[step->slot] = step->bucket;
  b->slot = step->slot;
  return MXG_OK;
}

static void add_extent(walk *w, uint32_t bucket, uint64_t begin, uint64_t bytes) {
  w->extents[w->extent_count++] = (extent){.bucket = bucket, .begin = begin, .end = begin + bytes};
}

/* A scratch array belongs to one bucket, and lies in its slot. */
static mxg_status take_scratch(walk *w, const mxg_step *step, uint32_t array) {
  const mxg_array *a = &w->plan->arrays[array];
  if (a->side != MXG_SCRATCH) return MXG_OK;
  MXG_TRY(take_slot(w, step));
  if (w->scratch_buckets[array] == step->bucket) return MXG_OK;
  if (w->scratch_buckets[array] != MXG_NONE) return refuse(w, 722, "uses the scratch of another bucket");
  w->scratch_buckets[array] = step->bucket;
  add_extent(w, step->bucket, a->offset, mxg_scratch_bytes(w->plan, a));
  return MXG_OK;
}

static bool range_fits(const mxg_step *step, uint32_t count) {
  return step->count > 0 && step->first < count && step->count <= count - step->first;
}

static mxg_status check_fill_step(walk *w, const mxg_step *step) {
  bucket_state *b = bucket_of(w, step->bucket);
  if (!range_fits(step, w->plan->fill_count)) return refuse(w, 721, "fills what there is not");
  if (b->converts) return refuse(w, 722, "fills after its bucket was converted");
  for (uint32_t i = step->first; i < step->first + step->count; i++) {
    const mxg_fill *fill = &w->plan->fills[i];
    if (fill->bucket != step->bucket || w->plan->arrays[fill->array].rank != w->rank)
      return refuse(w, 721, "fills what is not its bucket's");
    if (w->fill_marks[i]++) return refuse(w, 721, "fills a second time");
    MXG_TRY(take_scratch(w, step, fill->array));
  }
  return MXG_OK;
}

static mxg_status check_gather_step(walk *w, const mxg_step *step) {
  bucket_state *b = bucket_of(w, step->bucket);
  if (!range_fits(step, w->plan->piece_count)) return refuse(w, 721, "gathers what there is not");
  if (b->waited || b->converts) return refuse(w, 722, "gathers after its bucket was waited for");
  MXG_TRY(take_slot(w, step));
  uint64_t bytes = 0;
  for (uint32_t i = step->first; i < step->first + step->count; i++) {
    const mxg_piece *p = &w->plan->pieces[i];
    if (p->bucket != step->bucket || w->plan->arrays[p->dst].rank != w->rank || p->wire_bytes == 0 ||
        w->plan->arrays[p->src].rank != step->peer)
      return refuse(w, 721, "gathers what is not its bucket's or its peer's");
    if (w->piece_marks[i] & 1) return refuse(w, 721, "gathers a piece a second time");
    w->piece_marks[i] |= 1;
    bytes += p->wire_bytes;
    add_extent(w, step->bucket, p->wire_offset, p->wire_bytes);
  }
  if (bytes != step->bytes) return refuse(w, 721, "gathers other bytes than it says");
  w->received += bytes;
  b->gathers = true;
  return MXG_OK;
}

static mxg_status check_convert_step(walk *w, const mxg_step *step) {
  bucket_state *b = bucket_of(w, step->bucket);
  if (!range_fits(step, w->plan->piece_count)) return refuse(w, 721, "converts what there is not");
  for (uint32_t i = step->first; i < step->first + step->count; i++) {
    const mxg_piece *p = &w->plan->pieces[i];
    if (p->bucket != step->bucket || w->plan->arrays[p->dst].rank != w->rank || p->kernel != step->kernel)
      return refuse(w, 721, "converts what is not its bucket's or its kernel's");
    if (w->piece_marks[i] & 2) return refuse(w, 721, "converts a piece a second time");
    /* Pieces of local memory need not wait for the bucket's gathers; what reads scratch must. */
    if (b->gathers && !b->waited && (p->wire_bytes || p->phase))
      return refuse(w, 722, "converts before its bucket was waited for");
    if (p->wire_bytes && !(w->piece_marks[i] & 1)) return refuse(w, 722, "converts a piece that was not gathered");
    w->piece_marks[i] |= 2;
    if (p->phase < b->phase) return refuse(w, 722, "converts a phase after a later one");
    if (p->phase != w->plan->pieces[step->first].phase) return refuse(w, 722, "converts two phases at once");
    MXG_TRY(take_scratch(w, step, p->src));
    MXG_TRY(take_scratch(w, step, p->dst));
  }
  b->phase = w->plan->pieces[step->first].phase;
  b->converts = true;
  return MXG_OK;
}

static mxg_status check_step(walk *w, const mxg_step *step) {
  if (step->kind > MXG_STEP_RELEASE || step->group >= w->plan->group_count || step->bucket >= w->plan->step_count ||
      (step->slot >= w->plan->slots && step->slot != 0) || (step->kind == MXG_STEP_GATHER) != (step->peer != MXG_NONE))
    return refuse(w, 721, "is malformed");
  bool ranged = step->kind != MXG_STEP_WAIT && step->kind != MXG_STEP_RELEASE;
  if (!ranged && (step->first != 0 || step->count != 0)) return refuse(w, 721, "has a range and no use for it");
  bucket_state *b = bucket_of(w, step->bucket);
  if (b->group != MXG_NONE && b->group != step->group) return refuse(w, 721, "is of another group than its bucket");
  b->group = step->group;
  if (b->released) return refuse(w, 722, "goes on with a bucket that was released");
  switch ((mxg_step_kind)step->kind) {
  case MXG_STEP_FILL: return check_fill_step(w, step);
  case MXG_STEP_GATHER: return check_gather_step(w, step);
  case MXG_STEP_CONVERT: return check_convert_step(w, step);
  case MXG_STEP_WAIT:
    if (b->slot != MXG_NONE && b->slot != step->slot) return refuse(w, 722, "waits for another slot");
    b->waited = true;
    return MXG_OK;
  case MXG_STEP_RELEASE:
    if (b->slot != MXG_NONE && b->slot != step->slot)
      return refuse(w, 722, "releases another slot than its bucket has");
    if (b->slot != MXG_NONE) w->holders[b->slot] = MXG_NONE;
    b->released = true;
    return MXG_OK;
  }
  return MXG_OK;
}

static int by_bucket_then_begin(const void *a, const void *b) {
  const extent *x = a, *y = b;
  if (x->bucket != y->bucket) return x->bucket < y->bucket ? -1 : 1;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return 0;
}

/* They are where steps take their pieces in the order of their wire forms. */
static bool extents_are_sorted(const walk *w) {
  for (size_t i = 1; i < w->extent_count; i++)
    if (by_bucket_then_begin(&w->extents[i - 1], &w->extents[i]) > 0) return false;
  return true;
}

/* What one bucket puts into its slot lies side by side, and the rank's staging has room for it. */
static mxg_status check_extents(walk *w) {
  const mxg_rank *rank = &w->plan->ranks[w->rank];
  if (!extents_are_sorted(w)) qsort(w->extents, w->extent_count, sizeof *w->extents, by_bucket_then_begin);
  for (size_t i = 0; i < w->extent_count; i++) {
    const extent *e = &w->extents[i];
    if (i > 0 && e[-1].bucket == e->bucket && e[-1].end > e->begin)
      return mxg_plan_refuse(w->err, 723, "bucket %u of rank %u puts two things at byte %llu of its slot", e->bucket,
                             w->rank, (unsigned long long)e->begin);
    if (e->end > rank->staging_bytes)
      return mxg_plan_refuse(w->err, 723, "rank %u has staging of %llu bytes and needs more", w->rank,
                             (unsigned long long)rank->staging_bytes);
  }
  if (rank->staging_bytes > w->plan->slots * w->plan->slot_bytes)
    return mxg_plan_refuse(w->err, 723, "rank %u says staging of %llu bytes, more than all slots have", w->rank,
                           (unsigned long long)rank->staging_bytes);
  if (w->received != rank->received_bytes)
    return mxg_plan_refuse(w->err, 721, "rank %u receives %llu bytes and says %llu", w->rank,
                           (unsigned long long)w->received, (unsigned long long)rank->received_bytes);
  return MXG_OK;
}

static mxg_status check_all_done(const walk *w) {
  const mxg_plan *plan = w->plan;
  for (uint32_t i = 0; i < plan->piece_count; i++)
    if (w->piece_marks[i] != (plan->pieces[i].wire_bytes ? 3 : 2))
      return mxg_plan_refuse(w->err, 721, "piece %u, of \"%s\", is in no step", i,
                             plan->strings + plan->arrays[plan->pieces[i].dst].name);
  for (uint32_t i = 0; i < plan->fill_count; i++)
    if (!w->fill_marks[i]) return mxg_plan_refuse(w->err, 721, "fill %u is in no step", i);
  return MXG_OK;
}

static mxg_status check_ranks(walk *w) {
  const mxg_plan *plan = w->plan;
  for (uint32_t i = 0; i < plan->array_count; i++) w->scratch_buckets[i] = MXG_NONE;
  for (w->rank = 0; w->rank < plan->rank_count; w->rank++) {
    const mxg_rank *rank = &plan->ranks[w->rank];
    for (uint32_t s = 0; s < plan->slots; s++) w->holders[s] = MXG_NONE;
    w->extent_count = 0;
    w->received = 0;
    for (w->step = rank->first_step; w->step < rank->first_step + rank->steps; w->step++)
      MXG_TRY(check_step(w, &plan->steps[w->step]));
    MXG_TRY(check_extents(w));
  }
  return check_all_done(w);
}

mxg_status mxg_plan_check_schedule(const mxg_plan *plan, mxg_error *err) {
  walk w = {.plan = plan, .err = err};
  w.buckets = mxg_alloc((size_t)plan->step_count * sizeof *w.buckets);
  w.holders = mxg_alloc((size_t)plan->slots * sizeof *w.holders);
  w.scratch_buckets = mxg_alloc((size_t)plan->array_count * sizeof *w.scratch_buckets);
  w.piece_marks = mxg_alloc(plan->piece_count);
  w.fill_marks = mxg_alloc(plan->fill_count);
  w.extents = mxg_alloc(((size_t)plan->piece_count + plan->array_count) * sizeof *w.extents);
  mxg_status status = w.buckets && w.holders && w.scratch_buckets && w.piece_marks && w.fill_marks && w.extents
                          ? check_ranks(&w)
                          : mxg_fail_nomem(err);
  mxg_free(w.buckets);
  mxg_free(w.holders);
  mxg_free(w.scratch_buckets);
  mxg_free(w.piece_marks);
  mxg_free(w.fill_marks);
  mxg_free(w.extents);
  return status;
}
