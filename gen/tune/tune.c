/* tune.c -- see tune.h. */
#include "tune.h"

#include "error.h"

#include <string.h>

enum { MIB = 1 << 20, TRIALS = 64 };

static const double worth = 0.01; /* of the time, for each choice that is not the default */

typedef struct search {
  const mxg_tune_space *space;
  mxg_measure_fn measure;
  void *user;
  mxg_trial *trials;
  uint32_t count, measured; /* the trials before `measured` are done */
  mxg_error *err;
} search;

static void add(search *s, mxg_transport transport, uint64_t bucket, uint64_t chunk, uint32_t streams) {
  if (s->count == TRIALS) return;
  s->trials[s->count++] = (mxg_trial){.transport = transport,
                                      .bucket_bytes = bucket,
                                      .chunk_bytes = chunk,
                                      .copy_streams = streams,
                                      .check = !bucket && !chunk && !streams};
}

static mxg_status refuse_wrong(const search *s, const mxg_trial *trials, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    if (trials[i].wrong)
      return mxg_fail(s->err, MXG_ERR_WRONG, 831, "%llu bytes are not what the host transport makes of the same shards",
                      (unsigned long long)trials[i].wrong);
  return MXG_OK;
}

static mxg_status measure(search *s) {
  mxg_trial *fresh = s->trials + s->measured;
  uint32_t count = s->count - s->measured;
  if (!count) return MXG_OK;
  s->measured = s->count;
  MXG_TRY(s->measure(s->user, fresh, count, s->err));
  return refuse_wrong(s, fresh, count);
}

/* What a trial counts as. */
static double weight(const mxg_trial *t) {
  uint32_t choices = mxg_kernel_shapes_count(&t->shapes);
  choices += (t->bucket_bytes != 0) + (uint32_t)(t->chunk_bytes != 0) + (t->copy_streams != 0);
  return t->median * (1 + worth * choices);
}

/* The first of the best; MXG_NONE: none was measured. */
static uint32_t best_of(const search *s, bool copy_only) {
  uint32_t best = MXG_NONE;
  for (uint32_t i = 0; i < s->measured; i++) {
    const mxg_trial *t = &s->trials[i];
    if (!t->measured || (copy_only && t->transport != MXG_COPY)) continue;
    if (best == MXG_NONE || weight(t) < weight(&s->trials[best])) best = i;
  }
  return best;
}

/* The winner once more, with its targets checked, until that changes nothing. */
static mxg_status prove(search *s, uint32_t trial) {
  mxg_trial *t = &s->trials[trial], again = *t;
  again.check = true;
  MXG_TRY(s->measure(s->user, &again, 1, s->err));
  if (again.median < t->median) again.median = t->median;
  *t = again;
  return refuse_wrong(s, t, 1);
}

static mxg_status prove_best(search *s) {
  for (uint32_t best = best_of(s, false); best != MXG_NONE && !s->trials[best].check; best = best_of(s, false))
    MXG_TRY(prove(s, best));
  return MXG_OK;
}

/* Sizes that cannot matter are left out: chunks that hold all there is. */
static void add_sizes(search *s) {
  static const uint64_t chunks[] = {0, 16, 32, 64, 128};
  static const uint32_t streams[] = {0, 1, 2, 3}; /* 0: the library's choice */
  add(s, MXG_DIRECT, 0, 0, 0);
  if (!s->space->received) {
    add(s, MXG_COPY, 0, 0, 0);
    return;
  }
  for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
    if (chunks[c] * MIB >= s->space->received) continue;
    for (size_t k = 0; k < sizeof streams / sizeof *streams; k++) add(s, MXG_COPY, 0, chunks[c] * MIB, streams[k]);
  }
  add(s, MXG_NCCL, 0, 0, 0);
}

/* Buckets that cut what is received in another way, and that the recipe's staging has room for. */
static mxg_status try_buckets(search *s) {
  const mxg_tune_space *space = s->space;
  const uint64_t buckets[] = {space->bucket_bytes / 4, space->bucket_bytes / 2, space->bucket_bytes * 2};
  uint32_t copy = best_of(s, true);
  mxg_trial sizes = copy == MXG_NONE ? (mxg_trial){0} : s->trials[copy];
  for (size_t b = 0; b < sizeof buckets / sizeof *buckets; b++) {
    uint64_t smaller = buckets[b] < space->bucket_bytes ? buckets[b] : space->bucket_bytes;
    if (buckets[b] < MIB || buckets[b] > space->bucket_most || smaller >= space->received) continue;
    add(s, MXG_DIRECT, buckets[b], 0, 0);
    if (copy != MXG_NONE) add(s, MXG_COPY, buckets[b], sizes.chunk_bytes, sizes.copy_streams);
    MXG_TRY(measure(s));
  }
  return MXG_OK;
}

/* What is best so far, with the kernels of one family in other shapes; the next family begins from the best of
** those. */
static mxg_status try_shapes(search *s) {
  for (uint32_t f = 0; f < s->space->family_count; f++) {
    const mxg_tune_family *family = &s->space->families[f];
    uint32_t best = best_of(s, false);
    if (best == MXG_NONE) return MXG_OK;
    const mxg_trial from = s->trials[best];
    for (uint32_t i = 0; i < family->count && s->count < TRIALS; i++) {
      add(s, from.transport, from.bucket_bytes, from.chunk_bytes, from.copy_streams);
      mxg_trial *fresh = &s->trials[s->count - 1];
      fresh->check = false;
      fresh->shapes = from.shapes;
      fresh->shapes.of[family->family] = family->shapes[i];
      MXG_TRY(measure(s));
    }
  }
  return MXG_OK;
}

mxg_status mxg_tune_search(mxg_tune_found *out, const mxg_tune_space *space, mxg_measure_fn measure_fn, void *user,
                           mxg_arena *arena, mxg_error *err) {
  *out = (mxg_tune_found){.best = MXG_NONE, .best_copy = MXG_NONE};
  search s = {.space = space, .measure = measure_fn, .user = user, .err = err};
  s.trials = mxg_arena_alloc(arena, TRIALS, sizeof *s.trials);
  if (!s.trials) return mxg_fail_nomem(err);
  add_sizes(&s);
  out->trials = s.trials;
  mxg_status status = measure(&s);
  if (status == MXG_OK) status = try_buckets(&s);
  if (status == MXG_OK) status = try_shapes(&s);
  if (status == MXG_OK) status = prove_best(&s);
  out->count = s.measured;
  out->best = best_of(&s, false);
  MXG_TRY(status);
  if (out->best == MXG_NONE)
    return mxg_fail(err, MXG_ERR_UNSUPPORTED, 840, "none of %u trials could be run: %s", s.measured, s.trials[0].note);
  /* The plan that is made has the best one's bucket; copies are tuned for that. */
  uint64_t bucket = s.trials[out->best].bucket_bytes;
  for (uint32_t i = 0; i < s.measured; i++) {
    const mxg_trial *t = &s.trials[i];
    if (!t->measured || t->transport != MXG_COPY || t->bucket_bytes != bucket) continue;
    if (out->best_copy == MXG_NONE || weight(t) < weight(&s.trials[out->best_copy])) out->best_copy = i;
  }
  return MXG_OK;
}
