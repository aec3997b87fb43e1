/* transport_gpu.c -- see transport_gpu.h. One process, a thread a rank. Programs only read other ranks' sources and
** write their own rank's memory, so ranks meet at the start and at the end of a run and nowhere between. */
#include "transport_gpu.h"

#include "bundle.h"
#include "error.h"
#include "memory.h"
#include "plan_check.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { default_timeout_ms = 60000, data_align = 16 };

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- kernels ---- */

/* How well code for `arch` runs on a GPU of this compute capability; 0: it does not. */
static int fit_of(const char *arch, int major, int minor) {
  if (strncmp(arch, "sm_", 3) != 0) return 0;
  char *end;
  int chip = (int)strtol(arch + 3, &end, 10), own = major * 10 + minor;
  if (chip == own) return *end == 'a' ? 1000 : 999;
  if (chip / 10 != major || chip > own) return 0;
  return *end == 'a' ? 0 : 1 + chip % 10;
}

static mxg_status load_kernel(mxg_gpu_rank *r, uint32_t kernel, mxg_error *err) {
  const mxg_bundle *bundle = r->team->view->bundle;
  const mxg_gpu_info *gpu = mxg_gpu_about(r->gpu);
  const mxg_bundle_cubin *cubins, *best = NULL;
  uint32_t count = mxg_bundle_cubins(bundle, &cubins);
  int best_fit = 0;
  for (uint32_t i = 0; i < count; i++) {
    int fit = cubins[i].kernel == kernel ? fit_of(cubins[i].arch, gpu->major, gpu->minor) : 0;
    if (fit > best_fit) best_fit = fit, best = &cubins[i];
  }
  if (!best) {
    mxg_fail(err, MXG_ERR_UNSUPPORTED, 647, "the bundle has no kernel for GPU %d, %.90s (sm_%d%d)", r->ordinal,
             gpu->name, gpu->major, gpu->minor);
    mxg_error_help(err, "mxgen RECIPE --arch sm_%d%d%s", gpu->major, gpu->minor, gpu->major >= 9 ? "a" : "");
    return MXG_ERR_UNSUPPORTED;
  }
  MXG_TRY(mxg_module_load(&r->modules[kernel], best->bytes, err));
  return mxg_module_function(&r->functions[kernel], r->modules[kernel], r->team->view->plan->kernels[kernel].name, err);
}

static mxg_status load_kernels(mxg_gpu_rank *r, mxg_error *err) {
  const mxg_plan *plan = r->team->view->plan;
  for (uint32_t i = 0; i < plan->piece_count; i++) {
    const mxg_piece *p = &plan->pieces[i];
    if (plan->arrays[p->dst].rank != r->rank) continue;
    if (!r->functions[p->kernel]) MXG_TRY(load_kernel(r, p->kernel, err));
    if (!r->functions[p->kernel_direct]) MXG_TRY(load_kernel(r, p->kernel_direct, err));
  }
  return MXG_OK;
}

/* ---- open and close ---- */

static void drop_program(mxg_gpu_rank *r) {
  if (!r->gpu || mxg_gpu_use(r->gpu, NULL) != MXG_OK) return;
  mxg_program_free(&r->program, r->lost);
  for (uint32_t i = 0; r->slots && i < r->team->view->plan->slots && !r->lost; i++) {
    mxg_gpu_free(r->slots[i].memory);
    r->slots[i] = (mxg_gpu_slot){0};
  }
  r->device_bytes = 0;
}

static bool has_ended(mxg_gpu_rank *r) {
  for (uint32_t i = 0; i < r->program.stream_count; i++) {
    bool done = true;
    if (r->program.streams[i] && (mxg_stream_done(&done, r->program.streams[i], NULL) != MXG_OK || !done)) return false;
  }
  return true;
}

void mxg_team_close(void *state) {
  mxg_gpu_team *team = state;
  if (!team) return;
  for (uint32_t i = 0; team->ranks && i < team->count; i++) {
    mxg_gpu_rank *r = &team->ranks[i];
    if (r->gpu && mxg_gpu_use(r->gpu, NULL) == MXG_OK) {
      r->lost = r->lost && !has_ended(r);
      drop_program(r);
      for (uint32_t k = 0; r->modules && k < team->view->plan->kernel_count && !r->lost; k++)
        mxg_module_free(r->modules[k]);
    }
    if (!r->lost) mxg_gpu_close(r->gpu); /* the driver would wait for what is under way */
    mxg_free(r->modules);
    mxg_free(r->functions);
    mxg_free(r->slots);
  }
  mxg_free(team->ranks);
  mxg_free(team->places);
  mxg_free(team->kept);
  mxg_free(team);
}

static mxg_status open_rank(mxg_gpu_rank *r, mxg_error *err) {
  const mxg_plan *plan = r->team->view->plan;
  r->modules = mxg_alloc(plan->kernel_count * sizeof *r->modules);
  r->functions = mxg_alloc(plan->kernel_count * sizeof *r->functions);
  r->slots = mxg_alloc((plan->slots + 1) * sizeof *r->slots);
  if (!r->modules || !r->functions || !r->slots) return mxg_fail_nomem(err);
  MXG_TRY(mxg_gpu_open(&r->gpu, r->ordinal, err));
  return load_kernels(r, err);
}

static mxg_gpu_rank *rank_of(const mxg_gpu_team *team, uint32_t rank) {
  for (uint32_t i = 0; i < team->count; i++)
    if (team->ranks[i].rank == rank) return &team->ranks[i];
  return NULL;
}

/* Every rank reaches the ranks that it has pieces of. */
static mxg_status reach_peers(mxg_gpu_team *team, mxg_error *err) {
  const mxg_plan *plan = team->view->plan;
  bool *pairs = mxg_alloc((size_t)plan->rank_count * plan->rank_count);
  if (!pairs) return mxg_fail_nomem(err);
  mxg_status status = MXG_OK;
  for (uint32_t i = 0; i < plan->piece_count && status == MXG_OK; i++) {
    uint32_t from = plan->arrays[plan->pieces[i].src].rank, to = plan->arrays[plan->pieces[i].dst].rank;
    bool *seen = &pairs[(size_t)to * plan->rank_count + from];
    mxg_gpu_rank *reader = rank_of(team, to), *peer = rank_of(team, from);
    if (!reader || *seen || from == to) continue;
    *seen = true;
    if (!peer) {
      status = mxg_fail(err, MXG_ERR_UNSUPPORTED, 602,
                        "transport %s moves between the ranks of one process: rank %u has "
                        "sources for rank %u and is not of this one",
                        team->name, from, to);
    } else if (peer->ordinal != reader->ordinal) {
      status = mxg_gpu_reach(reader->gpu, peer->gpu, err);
      if (status == MXG_ERR_UNSUPPORTED) mxg_error_help(err, "transport host works without peer access");
    }
  }
  mxg_free(pairs);
  return status;
}

static mxg_status open_team(mxg_gpu_team *team, mxg_error *err) {
  const mxg_exec_view *view = team->view;
  int gpus = 0;
  MXG_TRY(mxg_gpu_count(&gpus, err));
  if (gpus == 0) return mxg_fail(err, MXG_ERR_ENVIRONMENT, 523, "this process sees no GPU");
  team->ranks = mxg_alloc(view->rank_count * sizeof *team->ranks);
  team->places = mxg_alloc(view->plan->array_count * sizeof *team->places);
  team->kept = mxg_alloc(view->plan->array_count * sizeof *team->kept);
  if (!team->ranks || !team->places || !team->kept) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < view->rank_count; i++) {
    mxg_gpu_rank *r = &team->ranks[team->count++];
    r->team = team;
    r->rank = view->ranks[i];
    r->ordinal = view->options.gpus ? view->options.gpus[i] : (int)(i % (uint32_t)gpus);
    MXG_TRY(open_rank(r, err));
  }
  return reach_peers(team, err);
}

mxg_status mxg_team_open(void **state, const mxg_exec_view *view, const char *name, mxg_gpu_build build, bool stages,
                         mxg_error *err) {
  *state = NULL;
  mxg_gpu_team *team = mxg_alloc(sizeof *team);
  if (!team) return mxg_fail_nomem(err);
  team->view = view;
  team->name = name;
  team->build = build;
  team->stages = stages;
  mxg_status status = open_team(team, err);
  if (status == MXG_OK)
    *state = team;
  else
    mxg_team_close(team);
  return status;
}

/* ---- bind ---- */

static mxg_status check_memory(const mxg_gpu_team *team, const mxg_array *a, const char *what, uint64_t address,
                               uint64_t align, mxg_error *err) {
  const mxg_gpu_rank *r = rank_of(team, a->rank);
  const char *name = team->view->plan->strings + a->name;
  int owner = -1;
  if (address == 0) return MXG_OK;
  MXG_TRY(mxg_gpu_owner(&owner, address, err));
  if (owner < 0)
    return mxg_fail(err, MXG_ERR_USAGE, 645, "%s of %s \"%s\", rank %u: this is no GPU's memory", what,
                    mxg_side_name(a->side), name, a->rank);
  if (r && owner != r->ordinal)
    return mxg_fail(err, MXG_ERR_USAGE, 645, "%s of %s \"%s\", rank %u: the memory is GPU %d's, the rank has GPU %d",
                    what, mxg_side_name(a->side), name, a->rank, owner, r->ordinal);
  if (address % align)
    return mxg_fail(err, MXG_ERR_USAGE, 646, "%s of %s \"%s\", rank %u: the address is not a multiple of %llu", what,
                    mxg_side_name(a->side), name, a->rank, (unsigned long long)align);
  return MXG_OK;
}

mxg_status mxg_team_bind(void *state, uint32_t array, mxg_error *err) {
  mxg_gpu_team *team = state;
  const mxg_plan *plan = team->view->plan;
  const mxg_array *a = &plan->arrays[array];
  const mxg_place *place = &team->view->places[array];
  team->ready = false;
  MXG_TRY(check_memory(team, a, "data", mxg_array_data_bytes(plan, a) ? place->data : 0, data_align, err));
  unsigned scale = plan->encodings[a->encoding].scale;
  return check_memory(team, a, "scales", place->scale, scale == MX_SCALE_E8M0 ? 1 : 4, err);
}

/* ---- slots ---- */

static mxg_status take_slots(mxg_gpu_rank *r, mxg_error *err) {
  const mxg_plan *plan = r->team->view->plan;
  uint64_t need = 0, have = 0;
  mxg_rank_measure_slots(r);
  for (uint32_t i = 0; i < plan->slots; i++) need += r->slots[i].end - r->slots[i].begin;
  MXG_TRY(mxg_gpu_free_bytes(&have, err));
  if (need > have)
    return mxg_fail(err, MXG_ERR_UNSUPPORTED, 644, "rank %u needs %llu bytes of staging, GPU %d has %llu free", r->rank,
                    (unsigned long long)need, r->ordinal, (unsigned long long)have);
  for (uint32_t i = 0; i < plan->slots; i++) {
    uint64_t bytes = r->slots[i].end - r->slots[i].begin;
    if (bytes) MXG_TRY(mxg_gpu_alloc(&r->slots[i].memory, bytes, err));
  }
  r->device_bytes = need;
  return MXG_OK;
}

/* ---- one thread a rank ---- */

typedef struct crew {
  mxg_gpu_team *team;
  unsigned repeats;
  bool measures, traces;
  double deadline;
  pthread_barrier_t all_here;
} crew;

typedef struct member {
  crew *crew;
  mxg_gpu_rank *rank;
  mxg_status (*work)(crew *crew, mxg_gpu_rank *rank, mxg_error *err);
} member;

static void *run_member(void *argument) {
  member *m = argument;
  memset(&m->rank->error, 0, sizeof m->rank->error);
  mxg_error err = {0};
  mxg_status status = mxg_gpu_use(m->rank->gpu, &err);
  (void)pthread_barrier_wait(&m->crew->all_here);
  if (status == MXG_OK) status = m->work(m->crew, m->rank, &err);
  err.status = status;
  m->rank->error = err;
  return NULL;
}

static mxg_status first_error(const mxg_gpu_team *team, mxg_error *err) {
  const mxg_error *first = NULL;
  for (uint32_t i = 0; i < team->count; i++) {
    const mxg_error *e = &team->ranks[i].error;
    if (e->status != MXG_OK && (!first || (first->status == MXG_ERR_TIMEOUT && e->status != MXG_ERR_TIMEOUT)))
      first = e;
  }
  if (!first) return MXG_OK;
  if (err) *err = *first;
  return first->status;
}

/* Runs `work` for every rank, each on a thread of its own; they begin together. */
static mxg_status all_ranks(crew *c, mxg_status (*work)(crew *, mxg_gpu_rank *, mxg_error *), mxg_error *err) {
  mxg_gpu_team *team = c->team;
  pthread_t *threads = mxg_alloc(team->count * sizeof *threads);
  member *members = mxg_alloc(team->count * sizeof *members);
  if (!threads || !members || pthread_barrier_init(&c->all_here, NULL, team->count)) {
    mxg_free(threads);
    mxg_free(members);
    return mxg_fail_nomem(err);
  }
  uint32_t started = 0;
  for (uint32_t i = 0; i < team->count; i++) members[i] = (member){c, &team->ranks[i], work};
  while (started < team->count && pthread_create(&threads[started], NULL, run_member, &members[started]) == 0)
    started++;
  mxg_status status = MXG_OK;
  if (started < team->count) { /* let those that wait for the others go, and end */
    status =
        mxg_fail(err, MXG_ERR_ENVIRONMENT, 601, "no thread could be started for rank %u", team->ranks[started].rank);
    for (uint32_t i = started; i < team->count; i++) (void)pthread_barrier_wait(&c->all_here);
  }
  for (uint32_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
  (void)pthread_barrier_destroy(&c->all_here);
  mxg_free(threads);
  mxg_free(members);
  return status == MXG_OK ? first_error(team, err) : status;
}

static mxg_status prepare(crew *c, mxg_gpu_rank *r, mxg_error *err) {
  mxg_gpu_team *team = c->team;
  drop_program(r);
  MXG_TRY(take_slots(r, err));
  mxg_rank_place_scratch(r);
  team->build(r);
  const mxg_exec_options *options = &team->view->options;
  MXG_TRY(mxg_program_ready(&r->program, team->view->plan, r->functions, !options->no_graph, err));
  r->device_bytes += r->program.table_bytes;
  return MXG_OK;
}

static mxg_status time_out(const crew *c, mxg_gpu_rank *r, mxg_error *err) {
  static const char *const kinds[] = {"fill", "gather", "wait", "convert", "release"};
  const mxg_plan *plan = c->team->view->plan;
  const mxg_rank *rank = &plan->ranks[r->rank];
  bool answers = mxg_program_look(&r->program);
  uint32_t at = mxg_program_stands_at(&r->program);
  if (at == MXG_NONE) at = rank->first_step + (rank->steps ? rank->steps - 1 : 0);
  const mxg_step *step = &plan->steps[at];
  unsigned ms = c->team->view->options.timeout_ms;
  r->lost = true;
  mxg_fail(err, MXG_ERR_TIMEOUT, 648, "rank %u did not finish in %u ms: step %u (%s, bucket %u) was not done", r->rank,
           ms ? ms : default_timeout_ms, at - rank->first_step, rank->steps ? kinds[step->kind] : "none",
           rank->steps ? step->bucket : 0);
  mxg_error_note(err, "GPU %d %s", r->ordinal,
                 answers ? "still answers" : "does not answer: the step is a lower bound");
  return MXG_ERR_TIMEOUT;
}

/* Until the program has ended or the deadline has passed: first at every chance, later with pauses. */
static mxg_status wait_for(const crew *c, mxg_gpu_rank *r, mxg_error *err) {
  const double begin = seconds_now();
  for (;;) {
    bool done = false;
    MXG_TRY(mxg_stream_done(&done, r->program.streams[0], err));
    if (done) return MXG_OK;
    double now = seconds_now();
    if (now > c->deadline) return time_out(c, r, err);
    if (now - begin < 1e-3) {
      sched_yield();
    } else {
      struct timespec pause = {0, now - begin < 0.1 ? 20000 : 1000000};
      nanosleep(&pause, NULL);
    }
  }
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* Before a measured run: what the L2 holds is pushed out, and all GPUs begin together. All threads come here. */
static mxg_status begin_together(crew *c, mxg_gpu_rank *r, unsigned i, mxg_error *err) {
  mxg_cu_stream *stream = r->program.streams[0];
  mxg_status status = mxg_gpu_fill(r->flush, (uint8_t)i, r->flush_bytes, stream, err);
  if (status == MXG_OK) status = mxg_event_record(r->times[3 * i], stream, err);
  (void)pthread_barrier_wait(&c->all_here);
  for (uint32_t k = 0; k < c->team->count && status == MXG_OK; k++)
    if (&c->team->ranks[k] != r) status = mxg_event_follow(stream, c->team->ranks[k].times[3 * i], err);
  return status == MXG_OK ? mxg_event_record(r->times[3 * i + 1], stream, err) : status;
}

static mxg_status run_rank(crew *c, mxg_gpu_rank *r, mxg_error *err) {
  const mxg_plan *plan = c->team->view->plan;
  double *starts = mxg_alloc(c->repeats * sizeof *starts);
  mxg_status status = starts ? MXG_OK : mxg_fail_nomem(err);
  r->started = seconds_now();
  for (unsigned i = 0; i < c->repeats; i++) {
    if (c->measures) { /* also after a failure: the others wait for this one */
      mxg_status began = begin_together(c, r, i, status == MXG_OK ? err : NULL);
      if (status == MXG_OK) status = began;
    }
    if (status != MXG_OK) continue;
    double begin = seconds_now();
    status = c->traces ? mxg_program_start_timed(&r->program, plan, r->functions, r->times, err)
                       : mxg_program_start(&r->program, plan, r->functions, err);
    starts[i] = seconds_now() - begin;
    if (status == MXG_OK && c->measures) status = mxg_event_record(r->times[3 * i + 2], r->program.streams[0], err);
  }
  if (starts) {
    qsort(starts, c->repeats, sizeof *starts, by_value);
    r->start_seconds = starts[c->repeats / 2];
  }
  mxg_free(starts);
  if (status == MXG_OK) status = wait_for(c, r, err);
  r->ended = seconds_now();
  return status;
}

/* ---- the flight recorder ---- */

static void tell(const mxg_gpu_team *team) {
  const mxg_exec_options *options = &team->view->options;
  const mxg_plan *plan = team->view->plan;
  if (!options->record) return;
  for (uint32_t i = 0; i < team->count; i++) {
    const mxg_gpu_rank *r = &team->ranks[i];
    char line[640];
    size_t done = 0;
    while (r->program.seen && done < r->program.step_count && r->program.seen[done]) done++;
    snprintf(line, sizeof line,
             "rank %u, GPU %d: given to the GPU in %.0f us, left %s %.0f us, %zu of %zu marks; %.400s", r->rank,
             r->ordinal, r->start_seconds * 1e6, r->lost ? "unfinished after" : "after", (r->ended - r->started) * 1e6,
             done, r->program.step_count, r->error.status == MXG_OK ? "ended" : r->error.text);
    options->record(options->user, line);
    for (size_t k = done > 4 ? done - 4 : 0; k < r->program.step_count && k < done + 4; k++) {
      const mxg_step *step = &plan->steps[r->program.steps[k]];
      snprintf(line, sizeof line, "  step %u, bucket %u, slot %u: %s",
               r->program.steps[k] - plan->ranks[r->rank].first_step, step->bucket, step->slot,
               k < done ? "done" : "not done");
      options->record(options->user, line);
    }
  }
}

/* ---- run ---- */

static mxg_status make_ready(crew *c, mxg_error *err) {
  mxg_gpu_team *team = c->team;
  const mxg_exec_view *view = team->view;
  size_t count = view->plan->array_count;
  for (uint32_t i = 0; i < team->count; i++) {
    mxg_gpu_rank *r = &team->ranks[i];
    if (!r->lost) continue;
    MXG_TRY(mxg_gpu_use(r->gpu, err));
    if (!has_ended(r))
      return mxg_fail(err, MXG_ERR_TIMEOUT, 648, "rank %u is still in a run whose deadline passed", r->rank);
    r->lost = false;
  }
  if (team->ready && memcmp(team->kept, view->kept, count * sizeof *team->kept) == 0) return MXG_OK;
  memcpy(team->places, view->places, count * sizeof *team->places);
  memcpy(team->kept, view->kept, count * sizeof *team->kept);
  MXG_TRY(all_ranks(c, prepare, err));
  team->ready = true;
  return MXG_OK;
}

static mxg_status go(crew *c, mxg_error *err) {
  unsigned ms = c->team->view->options.timeout_ms;
  c->deadline = seconds_now() + (ms ? ms : default_timeout_ms) * 1e-3;
  mxg_status status = all_ranks(c, run_rank, err);
  if (status != MXG_OK) tell(c->team);
  return status;
}

mxg_status mxg_team_run(void *state, mxg_error *err) {
  crew c = {.team = state, .repeats = 1};
  const mxg_exec_options *options = &c.team->view->options;
  MXG_TRY(make_ready(&c, err));
  MXG_TRY(go(&c, err));
  if (options->progress) options->progress(options->user, 1, 1);
  return MXG_OK;
}

static void free_times(mxg_gpu_rank *r, size_t count) {
  if (mxg_gpu_use(r->gpu, NULL) != MXG_OK) return;
  for (size_t i = 0; r->times && i < count; i++) mxg_event_free(r->times[i]);
  mxg_gpu_free(r->flush);
  mxg_free(r->times);
  r->times = NULL;
  r->flush = 0;
}

static mxg_status make_times(mxg_gpu_rank *r, size_t count, mxg_error *err) {
  r->times = mxg_alloc(count * sizeof *r->times);
  if (!r->times) return mxg_fail_nomem(err);
  MXG_TRY(mxg_gpu_use(r->gpu, err));
  for (size_t i = 0; i < count; i++) MXG_TRY(mxg_event_create(&r->times[i], true, err));
  return MXG_OK;
}

static mxg_status make_flush(mxg_gpu_rank *r, mxg_error *err) {
  r->flush_bytes = 2 * mxg_gpu_about(r->gpu)->l2_bytes;
  return mxg_gpu_alloc(&r->flush, r->flush_bytes, err);
}

/* Of each run there are three times: ready, begin and end. */
static mxg_status read_times(const mxg_gpu_rank *r, unsigned repeats, double *seconds, mxg_error *err) {
  MXG_TRY(mxg_gpu_use(r->gpu, err));
  for (size_t i = 0; i < repeats; i++) {
    float ms = 0;
    MXG_TRY(mxg_event_between(&ms, r->times[3 * i + 1], r->times[3 * i + 2], err));
    if (seconds[i] < ms * 1e-3) seconds[i] = ms * 1e-3;
  }
  return MXG_OK;
}

mxg_status mxg_team_measure(void *state, unsigned repeats, double *seconds, double *start_seconds, mxg_error *err) {
  crew c = {.team = state, .repeats = repeats, .measures = true};
  mxg_gpu_team *team = state;
  MXG_TRY(make_ready(&c, err));
  mxg_status status = MXG_OK;
  for (unsigned i = 0; i < repeats; i++) seconds[i] = 0;
  for (uint32_t i = 0; i < team->count && status == MXG_OK; i++) {
    status = make_times(&team->ranks[i], (size_t)repeats * 3, err);
    if (status == MXG_OK) status = make_flush(&team->ranks[i], err);
  }
  if (status == MXG_OK) status = go(&c, err);
  for (uint32_t i = 0; i < team->count && status == MXG_OK; i++)
    status = read_times(&team->ranks[i], repeats, seconds, err);
  if (start_seconds) *start_seconds = 0;
  for (uint32_t i = 0; i < team->count; i++) {
    if (start_seconds && *start_seconds < team->ranks[i].start_seconds) *start_seconds = team->ranks[i].start_seconds;
    free_times(&team->ranks[i], (size_t)repeats * 3);
  }
  return status;
}

static mxg_status write_trace(const mxg_gpu_team *team, const char *path, mxg_error *err) {
  mxg_text text = {0};
  mxg_text_puts(&text, "[");
  mxg_status status = MXG_OK;
  for (uint32_t i = 0; i < team->count && status == MXG_OK; i++) {
    const mxg_gpu_rank *r = &team->ranks[i];
    status = mxg_gpu_use(r->gpu, err);
    if (status == MXG_OK) status = mxg_program_trace(&r->program, team->view->plan, r->times, r->rank, &text, err);
  }
  mxg_text_puts(&text, "\n]\n");
  if (status == MXG_OK && text.failed) status = mxg_fail_nomem(err);
  FILE *file = status == MXG_OK ? fopen(path, "w") : NULL;
  bool written = file && fwrite(text.bytes, 1, text.count, file) == text.count;
  int why = errno;
  if (file && fclose(file)) written = false;
  mxg_text_free(&text);
  if (status != MXG_OK || written) return status;
  mxg_fail(err, MXG_ERR_IO, 649, "the trace cannot be written: %s", strerror(why));
  mxg_error_place(err, path, 0, 0, 0);
  if (err) err->native = why;
  return MXG_ERR_IO;
}

mxg_status mxg_team_trace(void *state, const char *path, mxg_error *err) {
  crew c = {.team = state, .repeats = 1, .traces = true};
  mxg_gpu_team *team = state;
  MXG_TRY(make_ready(&c, err));
  mxg_status status = MXG_OK;
  for (uint32_t i = 0; i < team->count && status == MXG_OK; i++)
    status = make_times(&team->ranks[i], mxg_program_time_count(&team->ranks[i].program), err);
  if (status == MXG_OK) status = go(&c, err);
  if (status == MXG_OK) status = write_trace(team, path, err);
  for (uint32_t i = 0; i < team->count; i++)
    free_times(&team->ranks[i], mxg_program_time_count(&team->ranks[i].program));
  return status;
}

uint64_t mxg_team_device_bytes(const void *state, uint32_t rank) {
  const mxg_gpu_rank *r = rank_of(state, rank);
  return r ? r->device_bytes : 0;
}
