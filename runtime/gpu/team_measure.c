/* team_measure.c -- runs of a team with clocks: mxg_exec_measure and mxg_exec_trace. */
#include "team_run.h"

#include "agreement.h"
#include "clock.h"
#include "error.h"
#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What the L2 holds is pushed out. */
static mxg_status flush(mxg_gpu_rank *r, unsigned i, mxg_error *err) {
  mxg_cu_stream *stream = r->program.streams[0];
  MXG_TRY(mxg_gpu_fill(r->flush, (uint8_t)i, r->flush_bytes, stream, err));
  return mxg_event_record(r->times[3 * i], stream, err);
}

/* When all ranks of this process have been flushed. */
static mxg_status follow_others(mxg_crew *c, mxg_gpu_rank *r, unsigned i, mxg_error *err) {
  mxg_cu_stream *stream = r->program.streams[0];
  for (uint32_t k = 0; k < c->team->count; k++)
    if (&c->team->ranks[k] != r) MXG_TRY(mxg_event_follow(stream, c->team->ranks[k].times[3 * i], err));
  MXG_TRY(mxg_meet_all(c->team->share, r->rank, c->team->meetings + i + 1, stream, err));
  return mxg_event_record(r->times[3 * i + 1], stream, err);
}

/* Before a measured run: all GPUs begin together. All threads come here. */
static mxg_status begin_together(mxg_crew *c, mxg_gpu_rank *r, unsigned i, bool failed, mxg_error *err) {
  mxg_status status = failed ? MXG_OK : flush(r, i, err);
  (void)pthread_barrier_wait(&c->all_here); /* the other threads wait for this one */
  return failed || status != MXG_OK ? status : follow_others(c, r, i, err);
}

static mxg_status begin_all(mxg_crew *c, unsigned i, mxg_error *err) {
  for (uint32_t k = 0; k < c->team->count; k++) {
    MXG_TRY(mxg_gpu_use(c->team->ranks[k].gpu, err));
    MXG_TRY(flush(&c->team->ranks[k], i, err));
  }
  for (uint32_t k = 0; k < c->team->count; k++) {
    MXG_TRY(mxg_gpu_use(c->team->ranks[k].gpu, err));
    MXG_TRY(follow_others(c, &c->team->ranks[k], i, err));
  }
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
static mxg_status read_times(const mxg_gpu_rank *r, unsigned repeats, double *seconds, double *fastest,
                             mxg_error *err) {
  MXG_TRY(mxg_gpu_use(r->gpu, err));
  for (size_t i = 0; i < repeats; i++) {
    float ms = 0;
    MXG_TRY(mxg_event_between(&ms, r->times[3 * i + 1], r->times[3 * i + 2], err));
    if (seconds[i] < ms * 1e-3) seconds[i] = ms * 1e-3;
    if (fastest && (fastest[i] == 0 || fastest[i] > ms * 1e-3)) fastest[i] = ms * 1e-3;
  }
  return MXG_OK;
}

/* What a start costs the host when nothing is under way: runs that follow each other wait for room in the queues. */
static mxg_status measure_start(mxg_gpu_team *team, double *seconds, mxg_error *err) {
  enum { starts = 5 };
  double worst[starts] = {0};
  for (int i = 0; i < starts; i++) {
    mxg_crew c = {.team = team, .repeats = 1};
    MXG_TRY(mxg_crew_go(&c, err));
    for (uint32_t r = 0; r < team->count; r++)
      if (worst[i] < team->ranks[r].start_seconds) worst[i] = team->ranks[r].start_seconds;
  }
  *seconds = mxg_median(worst, starts);
  return MXG_OK;
}

mxg_status mxg_team_measure(void *state, unsigned repeats, double *seconds, double *fastest, double *start_seconds,
                            mxg_error *err) {
  mxg_crew c = {.team = state, .repeats = repeats, .begin = begin_together, .begin_all = begin_all};
  mxg_gpu_team *team = state;
  mxg_status status = MXG_OK;
  for (unsigned i = 0; i < repeats; i++) seconds[i] = 0;
  for (unsigned i = 0; i < repeats && fastest; i++) fastest[i] = 0;
  for (uint32_t i = 0; i < team->count && status == MXG_OK; i++) {
    status = make_times(&team->ranks[i], (size_t)repeats * 3, err);
    if (status == MXG_OK) status = make_flush(&team->ranks[i], err);
  }
  if (status == MXG_OK) status = mxg_crew_go(&c, err);
  team->meetings += repeats;
  for (uint32_t i = 0; i < team->count && status == MXG_OK; i++)
    status = read_times(&team->ranks[i], repeats, seconds, fastest, err);
  for (uint32_t i = 0; i < team->count; i++) free_times(&team->ranks[i], (size_t)repeats * 3);
  if (status == MXG_OK && start_seconds) status = measure_start(team, start_seconds, err);
  return status;
}

/* The events of the ranks here, each with a comma before it but the first. */
static mxg_status print_trace(const mxg_gpu_team *team, mxg_text *text, mxg_error *err) {
  mxg_status status = MXG_OK;
  for (uint32_t i = 0; i < team->count && status == MXG_OK; i++) {
    const mxg_gpu_rank *r = &team->ranks[i];
    status = mxg_gpu_use(r->gpu, err);
    if (status == MXG_OK) status = mxg_program_trace(&r->program, team->view->plan, r->times, r->rank, text, err);
  }
  return status == MXG_OK && text->failed ? mxg_fail_nomem(err) : status;
}

static mxg_status write_trace(const mxg_text *text, const char *path, mxg_error *err) {
  FILE *file = fopen(path, "w");
  bool written = file && fwrite(text->bytes, 1, text->count, file) == text->count && fputs("\n]\n", file) >= 0;
  int why = errno;
  if (file && fclose(file)) written = false, why = errno;
  if (written) return MXG_OK;
  mxg_fail(err, MXG_ERR_IO, 649, "the trace cannot be written: %s", strerror(why));
  mxg_error_place(err, path, 0, 0, 0);
  if (err) err->native = why;
  return MXG_ERR_IO;
}

static mxg_status trace_here(mxg_gpu_team *team, mxg_text *text, mxg_error *err) {
  mxg_crew c = {.team = team, .repeats = 1, .traces = true};
  mxg_status status = MXG_OK;
  for (uint32_t i = 0; i < team->count && status == MXG_OK; i++)
    status = make_times(&team->ranks[i], mxg_program_time_count(&team->ranks[i].program), err);
  if (status == MXG_OK) status = mxg_crew_go(&c, err);
  if (status == MXG_OK) status = print_trace(team, text, err);
  for (uint32_t i = 0; i < team->count; i++)
    free_times(&team->ranks[i], mxg_program_time_count(&team->ranks[i].program));
  return status;
}

/* Process 0 gets what all have; every process comes here, however it fared. */
static mxg_status collect_traces(const mxg_gpu_team *team, const mxg_error *own, mxg_text *text, mxg_error *err) {
  mxg_job *job = team->view->agreement->job;
  uint32_t world = mxg_job_world(job);
  mxg_error mine = *own;
  void *recv = NULL;
  uint64_t *counts = mxg_alloc(world * sizeof *counts);
  if (!counts && mine.status == MXG_OK) mxg_fail_nomem(&mine);
  mxg_status status = mxg_job_agree(job, "the trace", &mine, team->view->deadline, err);
  if (status == MXG_OK)
    status = mxg_job_gather_any(job, "the trace", text->bytes + 1, text->count - 1, &recv, counts, team->view->deadline,
                                err);
  if (status == MXG_OK) {
    const char *at = recv;
    text->count = 1;
    text->bytes[1] = 0;
    for (uint32_t p = 0; p < world; at += counts[p++]) {
      if (counts[p] && text->count > 1) mxg_text_puts(text, ",");
      mxg_text_add(text, at, (size_t)counts[p]);
    }
    if (text->failed) status = mxg_fail_nomem(err);
  }
  mxg_free(recv);
  mxg_free(counts);
  return status;
}

mxg_status mxg_team_trace(void *state, const char *path, mxg_error *err) {
  mxg_gpu_team *team = state;
  mxg_error own = {0};
  mxg_text text = {0};
  mxg_text_puts(&text, "[");
  mxg_status status = text.failed ? mxg_fail_nomem(&own) : trace_here(team, &text, &own);
  if (team->view->agreement)
    status = collect_traces(team, &own, &text, err);
  else if (status != MXG_OK && err)
    *err = own;
  if (status == MXG_OK && (!team->view->agreement || mxg_job_rank(team->view->agreement->job) == 0))
    status = write_trace(&text, path, err);
  mxg_text_free(&text);
  return status;
}
