/* tune_run.c -- see tune_run.h: every trial is a bundle made for it, run on the GPUs by bench_gather.c and checked
** against the host transport. Which trials there are is tune.c's. */
#include "tune_run.h"

#include "bench_gather.h"
#include "error.h"
#include "generate.h"

#include <stdio.h>
#include <string.h>

typedef struct trials {
  mxg_tune_run *run;
  mxg_generation *base; /* with the recipe's bucket */
  mxg_options options;
  double pull_rate; /* 0: not measured yet */
  mxg_load load;    /* of the rank that receives most, with the recipe's bucket */
} trials;

static mxg_status measure_bundle(trials *t, const mxg_bundle *bundle, mxg_trial *list, uint32_t count, mxg_arena *arena,
                                 mxg_error *err) {
  mxg_gather_try *tries = mxg_arena_alloc(arena, count, sizeof *tries);
  mxg_gather_line *lines = mxg_arena_alloc(arena, count, sizeof *lines);
  mxg_error *errors = mxg_arena_alloc(arena, count, sizeof *errors);
  if (!tries || !lines || !errors) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < count; i++)
    tries[i] = (mxg_gather_try){list[i].transport, list[i].chunk_bytes, list[i].copy_streams, list[i].check};
  mxg_gather_bench bench = {.bundle = bundle,
                            .no_check = t->run->no_check,
                            .repeats = t->run->repeats,
                            .timeout_ms = t->run->timeout_ms,
                            .tries = tries,
                            .tried = lines,
                            .errors = errors,
                            .try_count = count,
                            .no_link = t->pull_rate > 0,
                            .progress = t->run->progress,
                            .user = t->run->user};
  MXG_TRY(mxg_gather_bench_run(&bench, err));
  if (bench.pull_rate > 0) t->pull_rate = bench.pull_rate;
  if (bench.floor > 0) t->run->floor = bench.floor;
  mxg_rates rates = *mxg_rates_of(bench.device, NULL);
  if (t->pull_rate > 0) rates.copy_pull = t->pull_rate;
  for (uint32_t i = 0; i < count; i++) {
    mxg_trial *trial = &list[i];
    trial->measured = errors[i].status == MXG_OK;
    trial->median = lines[i].median;
    trial->least = lines[i].least;
    trial->most = lines[i].most;
    trial->checked = lines[i].checked;
    trial->wrong = lines[i].wrong;
    trial->expected = mxg_cost_of_plan(&rates, trial->transport, mxg_bundle_plan(bundle));
    if (!trial->measured) snprintf(trial->note, sizeof trial->note, "%.120s", errors[i].text);
  }
  return MXG_OK;
}

static mxg_status measure(void *user, mxg_trial *list, uint32_t count, mxg_error *err) {
  trials *t = user;
  mxg_arena arena = {0};
  mxg_generation other = {.tuned_given = true};
  const mxg_bundle *bundle = t->base->bundle;
  mxg_status status = MXG_OK;
  if (list[0].bucket_bytes || mxg_kernel_shapes_count(&list[0].shapes)) {
    other.tuned = t->base->tuned;
    other.tuned.bucket_bytes = list[0].bucket_bytes;
    other.tuned.shapes = list[0].shapes;
    status = mxg_generation_run(&other, t->run->recipe, &t->options, MXG_STAGE_BUNDLE, err);
    bundle = other.bundle;
  }
  if (status == MXG_OK) {
    status = measure_bundle(t, bundle, list, count, &arena, err);
  } else if (status == MXG_ERR_INPUT || status == MXG_ERR_COMPILE) {
    /* A bucket that this recipe's limits do not allow, or a shape that a kernel cannot have. */
    for (uint32_t i = 0; i < count; i++) snprintf(list[i].note, sizeof list[i].note, "%.120s", err->text);
    status = MXG_OK;
  }
  mxg_generation_free(&other);
  mxg_arena_free(&arena);
  return status;
}

/* ---- what is found ---- */

static const mxg_trial *fastest(const mxg_tune_found *found, mxg_transport transport, uint64_t bucket) {
  const mxg_trial *best = NULL;
  for (uint32_t i = 0; i < found->count; i++) {
    const mxg_trial *t = &found->trials[i];
    if (!t->measured || t->transport != transport || t->bucket_bytes != bucket) continue;
    if (!best || t->median < best->median) best = t;
  }
  return best;
}

static uint64_t in_ns(double seconds) { return seconds < 1e-9 ? 1 : (uint64_t)(seconds * 1e9 + 0.5); }

void mxg_tune_fill(mxg_tune *tune, const mxg_tune_found *found, const mxg_tune_gpus *gpus, uint32_t ranks,
                   double pull_rate, double direct_rate) {
  const mxg_trial *best = &found->trials[found->best];
  const mxg_trial *copy = found->best_copy == MXG_NONE ? NULL : &found->trials[found->best_copy];
  const mxg_trial *direct = fastest(found, MXG_DIRECT, best->bucket_bytes);
  const mxg_trial *nccl = fastest(found, MXG_NCCL, best->bucket_bytes);
  mxg_hints *hints = &tune->hints;
  snprintf(tune->mxgen, sizeof tune->mxgen, "%s", mxg_version());
  snprintf(tune->cuda, sizeof tune->cuda, "%s", gpus->cuda);
  *hints = (mxg_hints)MXG_HINTS_INIT;
  hints->transport = best->transport;
  hints->gpus = gpus->count < ranks ? gpus->count : ranks;
  hints->major = gpus->major;
  hints->minor = gpus->minor;
  memcpy(hints->gpu, gpus->name, sizeof hints->gpu);
  if (copy) {
    hints->chunk_bytes = copy->chunk_bytes;
    hints->copy_streams = copy->copy_streams;
  }
  tune->bucket_bytes = best->bucket_bytes;
  tune->shapes = best->shapes;
  if (copy) tune->measured_ns[MXG_COPY] = in_ns(copy->median);
  if (direct) tune->measured_ns[MXG_DIRECT] = in_ns(direct->median);
  if (nccl) tune->measured_ns[MXG_NCCL] = in_ns(nccl->median);
  tune->copy_pull = (uint64_t)pull_rate;
  tune->kernel_pull = (uint64_t)direct_rate;
  char times[3][32] = {"copy cannot run", "direct cannot run", ""};
  if (copy) snprintf(times[0], sizeof times[0], "copy %.1f us", copy->median * 1e6);
  if (direct) snprintf(times[1], sizeof times[1], "direct %.1f us", direct->median * 1e6);
  if (nccl) snprintf(times[2], sizeof times[2], ", nccl %.1f us", nccl->median * 1e6);
  snprintf(tune->because, sizeof tune->because, "%s, %s%s on %u of %.80s", times[0], times[1], times[2], hints->gpus,
           hints->gpu);
}

/* What kernels read a second, where that is what a run mostly does; 0: it cannot be told from this plan. */
static double rate_of_direct(const mxg_tune_found *found, const mxg_load *load) {
  const mxg_rates *rates = &mxg_default_rates;
  const mxg_trial *direct = fastest(found, MXG_DIRECT, 0);
  double starts = rates->start + load->buckets * rates->bucket_start;
  if (!direct || direct->median < 10 * starts) return 0;
  if ((double)load->converted / rates->memory > (double)load->received / rates->kernel_pull) return 0;
  return (double)load->received / (direct->median - starts);
}

static mxg_status prepare(trials *t, mxg_tune_space *space, mxg_error *err) {
  t->base->tuned_given = true;
  t->base->tuned = (mxg_tuned){.hints = MXG_HINTS_INIT, .rates = mxg_default_rates};
  MXG_TRY(mxg_generation_run(t->base, t->run->recipe, &t->options, MXG_STAGE_BUNDLE, err));
  const mxg_model *model = t->base->model;
  const mxg_plan *plan = mxg_bundle_plan(t->base->bundle);
  *space = (mxg_tune_space){.bucket_bytes = model->bucket_bytes,
                            .bucket_most = model->slots ? model->staging_bytes / model->slots : 0};
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    if (r && plan->ranks[r].received_bytes <= space->received) continue;
    space->received = plan->ranks[r].received_bytes;
    t->load = mxg_load_of_rank(plan, r);
  }
  mxg_tune_list_shapes(space, plan);
  t->run->received = space->received;
  t->run->bucket_bytes = model->bucket_bytes;
  return MXG_OK;
}

static mxg_status list_sets(mxg_tune *tune, const char *const *sets, mxg_error *err) {
  for (uint32_t i = 0; sets && sets[i]; i++) {
    if (i == MXG_TUNE_SETS || strlen(sets[i]) >= sizeof tune->sets[0])
      return mxg_fail(err, MXG_ERR_USAGE, 904, "--set: more or longer parameters than a tuning file can name");
    memcpy(tune->sets[tune->set_count++], sets[i], strlen(sets[i]) + 1);
  }
  return MXG_OK;
}

static mxg_status run_trials(trials *t, mxg_arena *arena, mxg_error *err) {
  mxg_tune_space space;
  mxg_tune_gpus gpus;
  MXG_TRY(list_sets(&t->run->tune, t->run->sets, err));
  MXG_TRY(prepare(t, &space, err));
  MXG_TRY(mxg_tune_search(&t->run->found, &space, measure, t, arena, err));
  mxg_tune_find_gpus(&gpus);
  mxg_tune_recipe(t->run->tune.recipe, &t->base->files);
  mxg_tune_fill(&t->run->tune, &t->run->found, &gpus, t->base->plan->rank_count, t->pull_rate,
                rate_of_direct(&t->run->found, &t->load));
  return MXG_OK;
}

mxg_status mxg_tune_measure(mxg_tune_run *run, mxg_arena *arena, mxg_error *err) {
  mxg_generation base = {0};
  trials t = {.run = run, .base = &base, .options = MXG_OPTIONS_INIT};
  run->found = (mxg_tune_found){.best = MXG_NONE, .best_copy = MXG_NONE};
  memset(&run->tune, 0, sizeof run->tune);
  MXG_TRY(mxg_archs_native(&t.options.archs, arena, err));
  t.options.sets = run->sets;
  mxg_status status = run_trials(&t, arena, err);
  mxg_generation_free(&base);
  return status;
}
