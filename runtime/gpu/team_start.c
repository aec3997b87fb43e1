/* team_start.c -- groups on the callers' streams: given to the GPUs in the order that events hold, and waited for
** later.
**
** Of every rank there is the caller's stream and stream 0 of its programs. At a start, stream 0 waits for what its
** caller's stream has so far, and for what those of the ranks have whose sources it reads. At the end its caller's
** stream waits for stream 0, and so do those of the ranks whose sources were read: the caller may write them
** again. Nothing here waits. */
#include "team_run.h"

#include "agreement.h"
#include "clock.h"
#include "error.h"

#include <string.h>

static mxg_cu_stream *callers_stream(void *const *streams, uint32_t i) { return streams ? streams[i] : NULL; }

/* Finds the captures that the callers' streams are in. *any: there is one. */
static mxg_status find_captures(mxg_gpu_team *team, void *const *streams, bool *any, mxg_error *err) {
  *any = false;
  for (uint32_t i = 0; i < team->count; i++) {
    mxg_gpu_rank *r = &team->ranks[i];
    uint64_t own = 0;
    MXG_TRY(mxg_gpu_use(r->gpu, err));
    MXG_TRY(mxg_stream_capture(&r->capture, callers_stream(streams, i), err));
    if (r->streams.at[0]) MXG_TRY(mxg_stream_capture(&own, r->streams.at[0], err));
    if (own && own != r->capture) {
      mxg_fail(err, MXG_ERR_USAGE, 684, "rank %u was started in a capture that goes on, and now outside of it",
               r->rank);
      mxg_error_help(err, "end the capture first, or start on a stream that is in it");
      return MXG_ERR_USAGE;
    }
    *any = *any || r->capture;
  }
  return MXG_OK;
}

/* Events tie ranks together that read each other: then their streams are in one capture, or in none. */
/* Ranks that exchange may be in captures of their own: then each has its graph. */
static bool go_together(const mxg_gpu_team *team, const mxg_gpu_rank *r, const mxg_gpu_rank *other, bool reads) {
  if (team->exchanges) return (r->capture != 0) == (other->capture != 0);
  return !reads || r->capture == other->capture;
}

static mxg_status check_captures(mxg_gpu_team *team, uint32_t group, mxg_error *err) {
  for (uint32_t i = 0; i < team->count; i++) {
    const mxg_gpu_program *program = mxg_rank_program(&team->ranks[i], group);
    for (uint32_t k = 0; k < team->count; k++) {
      if (k == i || go_together(team, &team->ranks[i], &team->ranks[k], program->reads[k])) continue;
      mxg_fail(err, MXG_ERR_USAGE, 684, "rank %u reads from rank %u, and their streams are not in one capture",
               team->ranks[i].rank, team->ranks[k].rank);
      mxg_error_help(err,
                     "let the other stream wait for an event of the one that captures, and end the capture after it "
                     "has waited for an event of the other");
      return MXG_ERR_USAGE;
    }
  }
  return MXG_OK;
}

static mxg_cu_event *begin_of(const mxg_gpu_rank *r) { return r->capture ? r->captured[0] : r->begin; }

/* Stream 0 of a rank, from the callers' streams to the program. */
static mxg_status lead_in(mxg_gpu_team *team, mxg_gpu_rank *r, uint32_t group, mxg_error *err) {
  mxg_gpu_program *program = mxg_rank_program(r, group);
  mxg_cu_stream *stream = program->streams[0];
  MXG_TRY(mxg_gpu_use(r->gpu, err));
  MXG_TRY(mxg_event_follow(stream, begin_of(r), err));
  for (uint32_t k = 0; k < team->count; k++)
    if (program->reads[k]) MXG_TRY(mxg_event_follow(stream, begin_of(&team->ranks[k]), err));
  program->deadline = team->view->deadline;
  return MXG_OK;
}

/* And from there to its end. */
static mxg_status lead_out(mxg_gpu_rank *r, uint32_t group, mxg_error *err) {
  mxg_gpu_program *program = mxg_rank_program(r, group);
  mxg_cu_stream *stream = program->streams[0];
  if (r->capture) return mxg_event_record(r->captured[1], stream, err);
  program->under_way = true;
  r->started = mxg_now();
  memset(program->seen_at, 0, program->step_count * sizeof *program->seen_at);
  return mxg_event_record(program->end, stream, err);
}

static mxg_status start_rank(mxg_gpu_team *team, mxg_gpu_rank *r, uint32_t group, mxg_error *err) {
  mxg_gpu_program *program = mxg_rank_program(r, group);
  MXG_TRY(lead_in(team, r, group, err));
  MXG_TRY(mxg_rank_meet_begin(r, group, program->streams[0], err));
  if (r->capture)
    MXG_TRY(mxg_program_give(program, team->view->plan, r->functions, err));
  else
    MXG_TRY(mxg_program_start(program, team->view->plan, r->functions, err));
  MXG_TRY(mxg_rank_meet_end(r, group, program->streams[0], err));
  return lead_out(r, group, err);
}

/* Ranks that take turns. Those that share a source are in one capture, or in none, as all that read it are. */
static mxg_status start_jointly(mxg_gpu_team *team, uint32_t group, bool captured, mxg_error *err) {
  for (uint32_t i = 0; i < team->count; i++) MXG_TRY(lead_in(team, &team->ranks[i], group, err));
  if (captured)
    MXG_TRY(mxg_joint_give(team, group, err));
  else
    MXG_TRY(mxg_joint_start(team, group, false, err));
  for (uint32_t i = 0; i < team->count; i++) {
    MXG_TRY(mxg_gpu_use(team->ranks[i].gpu, err));
    MXG_TRY(lead_out(&team->ranks[i], group, err));
  }
  return MXG_OK;
}

static mxg_status end_rank(mxg_gpu_team *team, mxg_gpu_rank *r, uint32_t i, void *const *streams, uint32_t group,
                           mxg_error *err) {
  const mxg_gpu_program *program = mxg_rank_program(r, group);
  mxg_cu_event *end = r->capture ? r->captured[1] : program->end;
  for (uint32_t k = 0; k < team->count; k++) {
    if (k != i && !program->reads[k]) continue;
    MXG_TRY(mxg_gpu_use(team->ranks[k].gpu, err));
    MXG_TRY(mxg_event_follow(callers_stream(streams, k), end, err));
  }
  return MXG_OK;
}

mxg_status mxg_team_captures(void *state, void *const *streams, bool *captured, mxg_error *err) {
  void *current = mxg_gpu_current();
  mxg_status status = find_captures(state, streams, captured, err);
  mxg_gpu_restore(current);
  return status;
}

static mxg_status start(mxg_gpu_team *team, uint32_t group, void *const *streams, bool *captured, mxg_error *err) {
  unsigned need = group == MXG_ALL_GROUPS ? MXG_MADE_WHOLE : MXG_MADE_PARTS;
  MXG_TRY(find_captures(team, streams, captured, err));
  if (!*captured) {
    MXG_TRY(mxg_team_make(team, need, err));
  } else if (!mxg_team_is_made(team, need)) {
    mxg_fail(err, MXG_ERR_USAGE, 682, "a start inside a capture, and nothing was prepared before it");
    mxg_error_help(err, "call mxg_exec_prepare, or start and wait once, before the capture begins");
    return MXG_ERR_USAGE;
  }
  MXG_TRY(check_captures(team, group, err));
  for (uint32_t i = 0; i < team->count; i++) {
    MXG_TRY(mxg_gpu_use(team->ranks[i].gpu, err));
    MXG_TRY(mxg_event_record(begin_of(&team->ranks[i]), callers_stream(streams, i), err));
  }
  if (team->joint) MXG_TRY(start_jointly(team, group, *captured, err));
  for (uint32_t i = 0; i < team->count && !team->joint; i++) MXG_TRY(start_rank(team, &team->ranks[i], group, err));
  for (uint32_t i = 0; i < team->count; i++) MXG_TRY(end_rank(team, &team->ranks[i], i, streams, group, err));
  return MXG_OK;
}

mxg_status mxg_team_start(void *state, uint32_t group, void *const *streams, bool *captured, mxg_error *err) {
  void *current = mxg_gpu_current();
  mxg_status status = start(state, group, streams, captured, err);
  mxg_gpu_restore(current);
  return status;
}

/* The group's own program, and the whole's; for all groups every program. */
static mxg_status wait_rank(mxg_crew *c, mxg_gpu_rank *r, uint32_t group, mxg_error *err) {
  uint32_t groups = r->parts ? r->team->view->plan->group_count : 0;
  MXG_TRY(mxg_gpu_use(r->gpu, err));
  if (r->program.under_way) MXG_TRY(mxg_crew_wait(c, r, &r->program, err));
  for (uint32_t g = 0; g < groups; g++)
    if (r->parts[g].under_way && (group == MXG_ALL_GROUPS || group == g))
      MXG_TRY(mxg_crew_wait(c, r, &r->parts[g], err));
  return MXG_OK;
}

mxg_status mxg_team_wait(void *state, uint32_t group, mxg_error *err) {
  mxg_gpu_team *team = state;
  mxg_crew c = {.team = team, .alone = true};
  void *current = mxg_gpu_current();
  mxg_error own = {0};
  mxg_status status = MXG_OK;
  atomic_init(&c.broken, false);
  for (uint32_t i = 0; i < team->count && status == MXG_OK; i++) {
    mxg_gpu_rank *r = &team->ranks[i];
    status = wait_rank(&c, r, group, &own);
    r->ended = mxg_now();
    r->error = own;
  }
  if (status != MXG_OK) {
    mxg_team_give_up(team);
    if (team->joint && status == MXG_ERR_TIMEOUT) mxg_joint_note_lost(team);
    mxg_team_tell(team);
    /* Streams of other processes may wait for this one's, and shall not wait for their deadline. */
    if (team->share) mxg_job_abort(team->view->agreement->job, &own);
    if (err) *err = own;
  }
  mxg_gpu_restore(current);
  return status;
}
