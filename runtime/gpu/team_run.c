/* team_run.c -- one run of a team: a thread a rank (or one for all, where ranks take turns), programs made and started,
** the wait with its deadline, and the flight recorder. Programs only read other ranks' sources and write their own
** rank's memory, so ranks meet at the start and at the end of a run and nowhere between. What starts without waiting is
** team_start.c's. */
#include "team_run.h"

#include "agreement.h"
#include "clock.h"
#include "error.h"
#include "memory.h"
#include "nvtx.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { default_timeout_ms = 60000 };
static const double job_pause = 1e-3, look_pause = 20e-3; /* between looks at the job, and at the marks */
static const double let_go_patience = 0.15;               /* for streams that were let go to end */
/* Measured runs that are given ahead: a queue that is full would hold the host where it sees no deadline, and no loss
** of another process. */
enum { starts_ahead = 32, ops_ahead = 1024 };

static unsigned ahead_of(const mxg_gpu_program *program) {
  const size_t runs = ops_ahead / (program->count + 1);
  return runs < 2 ? 2 : runs < starts_ahead ? (unsigned)runs : starts_ahead;
}

/* ---- one thread a rank ---- */

typedef struct member {
  mxg_crew *crew;
  mxg_gpu_rank *rank;
  mxg_status (*work)(mxg_crew *crew, mxg_gpu_rank *rank, mxg_error *err);
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
static mxg_status all_ranks(mxg_crew *c, mxg_status (*work)(mxg_crew *, mxg_gpu_rank *, mxg_error *), mxg_error *err) {
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

/* ---- programs ---- */

static mxg_status note_reads(mxg_gpu_rank *r, mxg_error *err) {
  const mxg_plan *plan = r->team->view->plan;
  const mxg_rank *rank = &plan->ranks[r->rank];
  r->program.reads = mxg_alloc(r->team->count * sizeof *r->program.reads);
  if (!r->program.reads) return mxg_fail_nomem(err);
  if (r->team->exchanges) return MXG_OK; /* each sends its own */
  for (uint32_t s = rank->first_step; s < rank->first_step + rank->steps; s++) {
    const mxg_step *step = &plan->steps[s];
    if (step->kind != MXG_STEP_GATHER || !mxg_rank_takes(r, step)) continue;
    for (uint32_t i = 0; i < r->team->count; i++) r->program.reads[i] |= r->team->ranks[i].rank == step->peer;
  }
  return MXG_OK;
}

/* The rank's program, for all of the plan or for `group`. */
static mxg_status make_program(mxg_gpu_rank *r, bool part, uint32_t group, mxg_error *err) {
  mxg_gpu_team *team = r->team;
  r->program.part = part;
  r->program.group = group;
  team->build(r);
  r->program.nccl = r->nccl;
  r->program.batons = team->joint ? team->joint->batons : NULL;
  r->program.deadline = mxg_team_patience(team);
  MXG_TRY(note_reads(r, err));
  const bool graph = !team->view->options.no_graph && !team->joint; /* a joint has one for all */
  MXG_TRY(mxg_program_ready(&r->program, &r->streams, team->view->plan, r->functions, graph, err));
  r->program.seen_at = mxg_alloc(r->program.step_count * sizeof *r->program.seen_at);
  if (!r->program.seen_at) return mxg_fail_nomem(err);
  r->device_bytes += r->program.table_bytes;
  return MXG_OK;
}

static mxg_status make_parts(mxg_gpu_rank *r, mxg_error *err) {
  uint32_t groups = r->team->view->plan->group_count;
  r->parts = mxg_alloc((groups + 1) * sizeof *r->parts);
  if (!r->parts) return mxg_fail_nomem(err);
  for (uint32_t g = 0; g < groups; g++) {
    const mxg_gpu_program whole = r->program; /* programs are made where builders put them */
    r->program = (mxg_gpu_program){0};
    mxg_status status = make_program(r, true, g, err);
    r->parts[g] = r->program;
    r->program = whole;
    MXG_TRY(status);
  }
  return MXG_OK;
}

static mxg_status make_events(mxg_gpu_rank *r, mxg_error *err) {
  if (!r->begin) MXG_TRY(mxg_event_create(&r->begin, false, err));
  for (int i = 0; i < 2; i++)
    if (!r->captured[i]) MXG_TRY(mxg_event_create(&r->captured[i], false, err));
  return MXG_OK;
}

static mxg_status join(mxg_crew *c, mxg_gpu_rank *r, mxg_error *err) {
  (void)c;
  return mxg_rank_join(r, err);
}

mxg_status mxg_team_join(mxg_gpu_team *team, mxg_error *err) {
  mxg_crew c = {.team = team};
  MXG_TRY(mxg_team_meet(team, err));
  return all_ranks(&c, join, err);
}

/* What programs lie on. */
static mxg_status make_ground(mxg_crew *c, mxg_gpu_rank *r, mxg_error *err) {
  if (c->team->ready) return MXG_OK;
  mxg_rank_drop_programs(r);
  MXG_TRY(mxg_rank_join(r, err));
  MXG_TRY(mxg_rank_take_slots(r, err));
  MXG_TRY(mxg_rank_take_staging(r, err));
  mxg_rank_place_scratch(r);
  return make_events(r, err);
}

static mxg_status make_programs(mxg_crew *c, mxg_gpu_rank *r, mxg_error *err) {
  if (c->team->joint) MXG_TRY(mxg_joint_prepare(r, err));
  if (c->make & MXG_MADE_WHOLE) MXG_TRY(make_program(r, false, 0, err));
  return c->make & MXG_MADE_PARTS ? make_parts(r, err) : MXG_OK;
}

static bool is_fresh(const mxg_gpu_team *team) {
  return team->ready && memcmp(team->kept, team->view->kept, team->view->plan->array_count * sizeof *team->kept) == 0;
}

bool mxg_team_is_made(const mxg_gpu_team *team, unsigned made) { return is_fresh(team) && (team->made & made) == made; }

mxg_status mxg_team_make(mxg_gpu_team *team, unsigned made, mxg_error *err) {
  const mxg_exec_view *view = team->view;
  size_t count = view->plan->array_count;
  MXG_TRY(mxg_team_meet(team, err));
  bool fresh = is_fresh(team);
  for (uint32_t i = 0; i < team->count; i++) {
    mxg_gpu_rank *r = &team->ranks[i];
    if (!r->lost && fresh) continue;
    MXG_TRY(mxg_gpu_use(r->gpu, err));
    if (!mxg_rank_has_ended(r)) {
      if (r->lost)
        return mxg_fail(err, MXG_ERR_TIMEOUT, 648, "rank %u is still in a run whose deadline passed", r->rank);
      return mxg_fail(err, MXG_ERR_USAGE, 683, "tensors were bound while rank %u is in what was started before",
                      r->rank);
    }
    r->lost = false;
  }
  if (!fresh) {
    if (team->joint) mxg_joint_drop(team);
    team->ready = false;
    team->made = 0;
    memcpy(team->places, view->places, count * sizeof *team->places);
    memcpy(team->kept, view->kept, count * sizeof *team->kept);
    for (size_t i = 0; team->remote && i < count; i++)
      if (view->agreement->wanted[i]) team->places[i] = team->remote[i];
  }
  mxg_crew c = {.team = team, .make = made & ~team->made};
  if (!c.make) return MXG_OK;
  atomic_store(&team->gave_up, false);
  mxg_error own = {0};
  own.status = all_ranks(&c, make_ground, &own);
  mxg_status status = mxg_team_agree(team, &own, err); /* programs of exchanges are made together or not at all */
  if (status == MXG_OK) status = all_ranks(&c, make_programs, err);
  if (status == MXG_OK && team->joint) status = mxg_joint_make(team, c.make, err);
  if (status != MXG_OK) mxg_team_give_up(team);
  team->ready = status == MXG_OK; /* otherwise all of it is made anew */
  if (status == MXG_OK) team->made |= c.make;
  return status;
}

mxg_status mxg_team_prepare(void *state, mxg_error *err) {
  void *current = mxg_gpu_current();
  mxg_status status = mxg_team_make(state, MXG_MADE_ALL, err);
  mxg_gpu_restore(current);
  return status;
}

/* ---- waiting ---- */

/* Reads the marks, and notes when each was first seen; false: the GPU does not answer. */
static bool look(const mxg_gpu_rank *r, mxg_gpu_program *program) {
  bool answers = mxg_program_look(program);
  double now = mxg_now() - r->started;
  for (size_t i = 0; program->seen && i < program->step_count; i++)
    if (program->seen[i] && program->seen_at[i] <= 0) program->seen_at[i] = now;
  return answers;
}

/* Streams that wait for other processes are let go, so that the rank ends and its GPU is free again. */
static void let_go(const mxg_crew *c, mxg_gpu_rank *r) {
  const double until = mxg_now() + let_go_patience;
  r->lost = true;
  while (c->team->share && r->lost && mxg_now() < until) {
    const struct timespec pause = {0, 1000000};
    mxg_meet_release(c->team->share);
    nanosleep(&pause, NULL);
    r->lost = !mxg_rank_has_ended(r);
  }
}

static const char *step_name(const mxg_gpu_rank *r, uint32_t step, char *text, size_t room) {
  static const char *const kinds[] = {"fill", "gather", "wait", "convert", "release"};
  const mxg_plan *plan = r->team->view->plan;
  const mxg_rank *rank = &plan->ranks[r->rank];
  if (rank->steps == 0)
    snprintf(text, room, "it has no steps");
  else if (step == MXG_NONE)
    snprintf(text, room, "all its %u steps were done", rank->steps);
  else
    snprintf(text, room, "step %u (%s, bucket %u) was not done", step - rank->first_step, kinds[plan->steps[step].kind],
             plan->steps[step].bucket);
  return text;
}

/* Keeps for whom the crew waits, "; it waits for process 1 (rank 1)", of a meeting that others did not come to, before
** the first rank lets its streams go. */
static void name_missing(mxg_crew *c, const mxg_gpu_rank *r) {
  static pthread_mutex_t one_names = PTHREAD_MUTEX_INITIALIZER;
  const mxg_exec_view *view = r->team->view;
  pthread_mutex_lock(&one_names);
  for (uint32_t other = 0; view->agreement && other < view->plan->rank_count && !c->named; other++)
    if (mxg_meet_misses(r->team->share, r->rank, other)) {
      snprintf(c->whom, sizeof c->whom, "; it waits for %s",
               mxg_job_name(view->agreement->job, view->agreement->home[other]));
      break;
    }
  c->named = true;
  pthread_mutex_unlock(&one_names);
}

/* The last step of what a program does; MXG_NONE: it does nothing. */
static uint32_t last_step(const mxg_plan *plan, const mxg_rank *rank, const mxg_gpu_program *program) {
  for (uint32_t s = rank->first_step + rank->steps; s-- > rank->first_step;)
    if (!program->part || plan->steps[s].group == program->group) return s;
  return MXG_NONE;
}

static mxg_status time_out(mxg_crew *c, mxg_gpu_rank *r, mxg_gpu_program *program, mxg_error *err) {
  const mxg_plan *plan = c->team->view->plan;
  char where[96];
  bool answers = look(r, program);
  uint32_t at = mxg_program_stands_at(program);
  if (at == MXG_NONE) at = last_step(plan, &plan->ranks[r->rank], program);
  unsigned ms = c->team->view->options.timeout_ms;
  name_missing(c, r);
  let_go(c, r);
  mxg_fail(err, MXG_ERR_TIMEOUT, 648, "rank %u did not finish in %u ms: %s%s", r->rank, ms ? ms : default_timeout_ms,
           step_name(r, at, where, sizeof where), c->whom);
  mxg_error_note(err, "GPU %d %s", r->ordinal,
                 answers ? "still answers" : "does not answer: the step is a lower bound");
  return MXG_ERR_TIMEOUT;
}

/* Another process is lost: what this rank waits for may never come. */
static mxg_status give_up(const mxg_crew *c, mxg_gpu_rank *r, mxg_gpu_program *program, mxg_error *err) {
  char where[96];
  (void)look(r, program);
  uint32_t at = mxg_program_stands_at(program);
  let_go(c, r);
  if (!err) return c->job_error.status;
  *err = c->job_error;
  mxg_error_note(err, "rank %u: %s", r->rank, step_name(r, at, where, sizeof where));
  return err->status;
}

/* One of the threads looks for all, or the only one. */
static bool job_is_broken(mxg_crew *c, const mxg_gpu_rank *r) {
  const mxg_agreement *a = c->team->view->agreement;
  if (!a) return false;
  if ((c->alone || r == c->team->ranks) && !atomic_load(&c->broken) && mxg_job_look(a->job, &c->job_error) != MXG_OK)
    atomic_store(&c->broken, true);
  return atomic_load(&c->broken);
}

/* What NCCL has seen to fail, here or on another rank of this process. */
static mxg_status look_at_exchanges(mxg_gpu_rank *r, mxg_gpu_program *program, mxg_error *err) {
  mxg_error why = {0};
  mxg_status status = mxg_nccl_look(r->nccl, &why);
  if (status == MXG_OK && atomic_load(&r->team->gave_up))
    status = mxg_fail(&why, MXG_ERR_NCCL, 652, "an exchange failed on another rank");
  if (status == MXG_OK) return MXG_OK;
  char where[96];
  atomic_store(&r->team->gave_up, true);
  (void)look(r, program);
  r->lost = true;
  mxg_error_help(&why, "rank %u, GPU %d: %s; NCCL_DEBUG=INFO in the environment makes NCCL tell more", r->rank,
                 r->ordinal, step_name(r, mxg_program_stands_at(program), where, sizeof where));
  if (err) *err = why;
  return status;
}

/* Until `event` of a program has come: first at every chance, later with pauses. */
static mxg_status wait_for(mxg_crew *c, mxg_gpu_rank *r, mxg_gpu_program *program, mxg_cu_event *event,
                           mxg_error *err) {
  const double begin = mxg_now();
  double next_job = begin + job_pause, next_look = begin + look_pause;
  bool answers = true;
  r->waited = program;
  for (;;) {
    bool done = false;
    MXG_TRY(mxg_event_done(&done, event, err));
    if (done) break;
    double now = mxg_now();
    if (now > c->team->view->deadline) return time_out(c, r, program, err);
    if (now > next_job) {
      if (job_is_broken(c, r)) return give_up(c, r, program, err);
      next_job = now + job_pause;
    }
    if (now - begin >= 1e-3 && r->nccl) MXG_TRY(look_at_exchanges(r, program, err));
    if (now > next_look && answers) { /* for the flight recorder */
      answers = look(r, program);
      next_look = mxg_now() + look_pause;
    }
    if (now - begin < 1e-3) {
      sched_yield();
    } else {
      struct timespec pause = {0, now - begin < 0.1 ? 20000 : 1000000};
      nanosleep(&pause, NULL);
    }
  }
  return MXG_OK;
}

mxg_status mxg_crew_wait(mxg_crew *c, mxg_gpu_rank *r, mxg_gpu_program *program, mxg_error *err) {
  MXG_TRY(wait_for(c, r, program, program->end, err));
  program->under_way = false;
  return MXG_OK;
}

/* ---- one run ---- */

static mxg_status run_rank(mxg_crew *c, mxg_gpu_rank *r, mxg_error *err) {
  const mxg_plan *plan = c->team->view->plan;
  double *starts = mxg_alloc(c->repeats * sizeof *starts);
  mxg_status status = starts ? MXG_OK : mxg_fail_nomem(err);
  char name[16];
  snprintf(name, sizeof name, "%u", r->rank);
  mxg_range_begin("rank ", name); /* the run's own is of another thread */
  const unsigned ahead = ahead_of(&r->program);
  r->started = mxg_now();
  memset(r->program.seen_at, 0, r->program.step_count * sizeof *r->program.seen_at);
  for (unsigned i = 0; i < c->repeats; i++) {
    if (c->begin && i >= ahead && status == MXG_OK)
      status = wait_for(c, r, &r->program, r->times[3 * (i - ahead) + 2], err);
    if (c->begin) {
      mxg_status began = c->begin(c, r, i, status != MXG_OK, err);
      if (status == MXG_OK) status = began;
    }
    if (status != MXG_OK) continue;
    double begin = mxg_now();
    r->program.deadline = c->team->view->deadline;
    status = c->traces ? mxg_program_start_timed(&r->program, plan, r->functions, r->times, err)
                       : mxg_program_start(&r->program, plan, r->functions, err);
    starts[i] = mxg_now() - begin;
    if (status == MXG_OK && c->begin) status = mxg_event_record(r->times[3 * i + 2], r->program.streams[0], err);
  }
  if (starts) r->start_seconds = mxg_median(starts, c->repeats);
  mxg_free(starts);
  if (status == MXG_OK && c->begin) /* the last time is taken after the program's end */
    status = wait_for(c, r, &r->program, r->times[3 * (c->repeats - 1) + 2], err);
  if (status == MXG_OK) status = mxg_crew_wait(c, r, &r->program, err);
  r->ended = mxg_now();
  mxg_range_end();
  return status;
}

/* ---- one run of ranks that take turns: this thread starts them all ---- */

static mxg_status start_jointly(mxg_crew *c, unsigned i, mxg_error *err) {
  mxg_gpu_team *team = c->team;
  const unsigned ahead = ahead_of(&team->ranks[0].program);
  for (uint32_t k = 0; k < team->count && c->begin_all && i >= ahead; k++) {
    mxg_gpu_rank *r = &team->ranks[k];
    MXG_TRY(mxg_gpu_use(r->gpu, err));
    MXG_TRY(wait_for(c, r, &r->program, r->times[3 * (i - ahead) + 2], err));
  }
  if (c->begin_all) MXG_TRY(c->begin_all(c, i, err));
  const double begin = mxg_now();
  MXG_TRY(mxg_joint_start(team, MXG_ALL_GROUPS, c->traces, err));
  const double end = mxg_now();
  for (uint32_t k = 0; k < team->count; k++) {
    mxg_gpu_rank *r = &team->ranks[k];
    r->start_seconds = end - begin;
    if (!c->begin_all) continue;
    MXG_TRY(mxg_gpu_use(r->gpu, err));
    MXG_TRY(mxg_event_record(r->times[3 * i + 2], r->program.streams[0], err));
  }
  return MXG_OK;
}

static mxg_status wait_in_joint(mxg_crew *c, mxg_gpu_rank *r, mxg_error *err) {
  MXG_TRY(mxg_gpu_use(r->gpu, err));
  if (c->begin_all) MXG_TRY(wait_for(c, r, &r->program, r->times[3 * (c->repeats - 1) + 2], err));
  return mxg_crew_wait(c, r, &r->program, err);
}

/* Every rank gets what became of it as its error, as from a thread of its own. */
static mxg_status run_jointly(mxg_crew *c, mxg_error *err) {
  mxg_gpu_team *team = c->team;
  mxg_error own = {0};
  void *current = mxg_gpu_current();
  c->alone = true;
  for (uint32_t k = 0; k < team->count; k++) {
    mxg_gpu_rank *r = &team->ranks[k];
    r->started = mxg_now();
    memset(r->program.seen_at, 0, r->program.step_count * sizeof *r->program.seen_at);
  }
  for (unsigned i = 0; i < c->repeats && own.status == MXG_OK; i++) own.status = start_jointly(c, i, &own);
  for (uint32_t k = 0; k < team->count; k++) {
    mxg_gpu_rank *r = &team->ranks[k];
    r->error = own;
    if (own.status == MXG_OK) r->error.status = wait_in_joint(c, r, &r->error);
    r->ended = mxg_now();
  }
  if (own.status == MXG_ERR_TIMEOUT) mxg_joint_note_lost(team); /* the others were not waited for */
  mxg_gpu_restore(current);
  return first_error(team, err);
}

/* ---- the flight recorder ---- */

static void tell_rank(const mxg_gpu_team *team, const mxg_gpu_rank *r) {
  const mxg_exec_options *options = &team->view->options;
  const mxg_plan *plan = team->view->plan;
  const mxg_gpu_program *program = r->waited ? r->waited : &r->program;
  char line[640];
  size_t done = 0, count = program->step_count;
  while (program->seen && done < count && program->seen[done]) done++;
  if (!r->lost && r->error.status == MXG_OK) done = count; /* the marks of a run that ended are not read */
  snprintf(line, sizeof line, "rank %u, GPU %d: given to the GPU in %.0f us, left %s %.0f us, %zu of %zu marks; %.400s",
           r->rank, r->ordinal, r->start_seconds * 1e6, r->lost ? "unfinished after" : "after",
           (r->ended - r->started) * 1e6, done, count, r->error.status == MXG_OK ? "ended" : r->error.text);
  options->record(options->user, line);
  for (size_t k = done > 4 ? done - 4 : 0; k < count && k < done + 4; k++) {
    const mxg_step *step = &plan->steps[program->steps[k]];
    int used = snprintf(line, sizeof line,
                        "  step %u, bucket %u, slot %u: ", program->steps[k] - plan->ranks[r->rank].first_step,
                        step->bucket, step->slot);
    if (k >= done)
      snprintf(line + used, sizeof line - (size_t)used, "not done");
    else if (program->seen_at && program->seen_at[k] > 0)
      snprintf(line + used, sizeof line - (size_t)used, "seen done at %.0f us", program->seen_at[k] * 1e6);
    else
      snprintf(line + used, sizeof line - (size_t)used, "done");
    options->record(options->user, line);
  }
}

void mxg_team_tell(const void *state) {
  const mxg_gpu_team *team = state;
  if (!team->view->options.record) return;
  for (uint32_t i = 0; i < team->count; i++) tell_rank(team, &team->ranks[i]);
}

/* ---- run ---- */

mxg_status mxg_crew_go(mxg_crew *c, mxg_error *err) {
  mxg_gpu_team *team = c->team;
  mxg_error own = {0};
  atomic_init(&c->broken, false);
  mxg_status status = team->joint ? run_jointly(c, &own) : all_ranks(c, run_rank, &own);
  if (status == MXG_OK) return MXG_OK;
  mxg_team_give_up(team);
  mxg_team_tell(team);
  /* Streams of other processes may wait for this one's: they shall not wait for the deadline. */
  if (c->begin && team->share) mxg_job_abort(team->view->agreement->job, &own);
  if (err) *err = own;
  return status;
}

mxg_status mxg_team_make_whole(void *state, mxg_error *err) { return mxg_team_make(state, MXG_MADE_WHOLE, err); }

mxg_status mxg_team_run(void *state, mxg_error *err) {
  mxg_crew c = {.team = state, .repeats = 1};
  const mxg_exec_options *options = &c.team->view->options;
  MXG_TRY(mxg_crew_go(&c, err));
  if (options->progress) options->progress(options->user, 1, 1);
  return MXG_OK;
}
