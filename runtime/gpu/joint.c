/* joint.c -- how the programs of ranks of one process that take turns at their sources go to the GPUs together.
**
** A baton is an event: the copy stream of the turn's rank records it, and that of the next one follows it. It must be
** recorded before it is followed, so one thread gives the programs of all ranks, woven into each other (weave.h).
** Captured so they are one graph over all GPUs, launched on stream 0 of the first rank, which waits for stream 0 of the
** others, and they for it. Such a graph has no circles, so it cannot stand still: flags in memory that streams of
** several graphs wait for did, on four H100s in one process, as what they order is nothing that CUDA knows of. */
#include "transport_gpu.h"

#include "error.h"
#include "memory.h"

#include <string.h>

mxg_status mxg_team_make_joint(mxg_gpu_team *team, mxg_error *err) {
  mxg_joint *joint = team->joint = mxg_alloc(sizeof *joint);
  if (!joint) return mxg_fail_nomem(err);
  joint->batons = mxg_alloc(team->turns->count * sizeof(mxg_cu_event *));
  joint->met = mxg_alloc(team->count * sizeof(mxg_cu_event *));
  joint->parts = mxg_alloc(((size_t)team->view->plan->group_count + 1) * sizeof(mxg_cu_graph *));
  if (!joint->batons || !joint->met || !joint->parts) return mxg_fail_nomem(err);
  return mxg_weave_make(&joint->weave, team->count, team->turns->count, err);
}

/* ---- making ---- */

static mxg_cu_graph **graph_of(mxg_joint *joint, uint32_t group) {
  return group == MXG_ALL_GROUPS ? &joint->whole : &joint->parts[group];
}

/* Events stay for the life of the team. */
mxg_status mxg_joint_prepare(mxg_gpu_rank *r, mxg_error *err) {
  mxg_joint *joint = r->team->joint;
  mxg_cu_event **met = &joint->met[r - r->team->ranks];
  if (!*met) MXG_TRY(mxg_event_create(met, false, err));
  const uint32_t *first = r->team->turns->first;
  for (uint32_t i = first[r->rank]; i < first[r->rank + 1]; i++)
    if (!joint->batons[i]) MXG_TRY(mxg_event_create(&joint->batons[i], false, err));
  return MXG_OK;
}

/* The first rank's stream 0 goes on when those of all others come here; and they go on when it comes here. */
static mxg_status join(mxg_gpu_team *team, mxg_error *err) {
  for (uint32_t i = 1; i < team->count; i++) {
    MXG_TRY(mxg_gpu_use(team->ranks[i].gpu, err));
    MXG_TRY(mxg_event_record(team->joint->met[i], team->ranks[i].streams.at[0], err));
  }
  MXG_TRY(mxg_gpu_use(team->ranks[0].gpu, err));
  for (uint32_t i = 1; i < team->count; i++)
    MXG_TRY(mxg_event_follow(team->ranks[0].streams.at[0], team->joint->met[i], err));
  return MXG_OK;
}

static mxg_status fork_out(mxg_gpu_team *team, mxg_error *err) {
  MXG_TRY(mxg_gpu_use(team->ranks[0].gpu, err));
  MXG_TRY(mxg_event_record(team->joint->met[0], team->ranks[0].streams.at[0], err));
  for (uint32_t i = 1; i < team->count; i++) {
    MXG_TRY(mxg_gpu_use(team->ranks[i].gpu, err));
    MXG_TRY(mxg_event_follow(team->ranks[i].streams.at[0], team->joint->met[0], err));
  }
  return MXG_OK;
}

static mxg_status capture_all(mxg_gpu_team *team, uint32_t group, mxg_error *err) {
  MXG_TRY(fork_out(team, err));
  MXG_TRY(mxg_joint_give(team, group, err));
  return join(team, err);
}

/* A capture that was begun is ended, whatever happened in it: the streams of all ranks are free then. */
static mxg_status make_graph(mxg_gpu_team *team, uint32_t group, mxg_error *err) {
  mxg_cu_stream *origin = team->ranks[0].streams.at[0];
  mxg_cu_graph **graph = graph_of(team->joint, group);
  MXG_TRY(mxg_gpu_use(team->ranks[0].gpu, err));
  MXG_TRY(mxg_graph_begin(origin, err));
  mxg_status status = capture_all(team, group, err);
  mxg_error ended = {0};
  (void)mxg_gpu_use(team->ranks[0].gpu, &ended);
  mxg_status end = mxg_graph_end(graph, origin, status == MXG_OK ? err : &ended);
  if (status == MXG_OK) return end;
  mxg_graph_free(*graph);
  *graph = NULL;
  return status;
}

static mxg_status make_graphs(mxg_gpu_team *team, unsigned made, mxg_error *err) {
  if (made & MXG_MADE_WHOLE) MXG_TRY(make_graph(team, MXG_ALL_GROUPS, err));
  for (uint32_t g = 0; made & MXG_MADE_PARTS && g < team->view->plan->group_count; g++)
    MXG_TRY(make_graph(team, g, err));
  return MXG_OK;
}

mxg_status mxg_joint_make(mxg_gpu_team *team, unsigned made, mxg_error *err) {
  if (team->view->options.no_graph) return MXG_OK;
  void *current = mxg_gpu_current();
  mxg_status status = make_graphs(team, made, err);
  mxg_gpu_restore(current);
  return status;
}

void mxg_joint_drop(mxg_gpu_team *team) {
  mxg_joint *joint = team->joint;
  void *current = mxg_gpu_current();
  if (mxg_gpu_use(team->ranks[0].gpu, NULL) == MXG_OK) {
    mxg_graph_free(joint->whole);
    for (uint32_t g = 0; joint->parts && g < team->view->plan->group_count; g++) mxg_graph_free(joint->parts[g]);
  }
  mxg_gpu_restore(current);
  joint->whole = NULL;
  if (joint->parts) memset(joint->parts, 0, team->view->plan->group_count * sizeof(mxg_cu_graph *));
}

static void free_events(mxg_gpu_team *team) {
  mxg_joint *joint = team->joint;
  const mxg_turns *turns = team->turns;
  for (uint32_t i = 0; joint->batons && joint->met && i < team->count; i++) {
    mxg_gpu_rank *r = &team->ranks[i];
    if (mxg_gpu_use(r->gpu, NULL) != MXG_OK) continue;
    mxg_event_free(joint->met[i]);
    for (uint32_t t = turns->first[r->rank]; t < turns->first[r->rank + 1]; t++) mxg_event_free(joint->batons[t]);
  }
}

void mxg_joint_free(mxg_gpu_team *team, bool lost) {
  mxg_joint *joint = team->joint;
  if (!lost) {
    mxg_joint_drop(team);
    free_events(team);
  }
  mxg_weave_free(&joint->weave);
  mxg_free(joint->batons);
  mxg_free(joint->met);
  mxg_free(joint->parts);
  mxg_free(joint);
  team->joint = NULL;
}

/* ---- giving ---- */

void mxg_joint_note_lost(mxg_gpu_team *team) {
  for (uint32_t i = 0; i < team->count; i++) {
    mxg_gpu_rank *r = &team->ranks[i];
    if (!r->lost && mxg_gpu_use(r->gpu, NULL) == MXG_OK) r->lost = !mxg_rank_has_ended(r);
  }
}

static mxg_status give(mxg_gpu_team *team, uint32_t group, bool timed, mxg_error *err) {
  mxg_weave *weave = &team->joint->weave;
  const mxg_gpu_rank *here = NULL;
  for (uint32_t i = 0; i < team->count; i++) {
    mxg_gpu_rank *r = &team->ranks[i];
    weave->programs[i] = mxg_rank_program(r, group);
    MXG_TRY(mxg_gpu_use(r->gpu, err));
    MXG_TRY(mxg_program_give_begin(weave->programs[i], timed ? r->times : NULL, err));
  }
  mxg_weave_begin(weave);
  uint32_t i = 0;
  for (size_t op = 0; mxg_weave_next(weave, &i, &op);) {
    const mxg_gpu_rank *r = &team->ranks[i];
    if (r != here) MXG_TRY(mxg_gpu_use(r->gpu, err));
    here = r;
    MXG_TRY(mxg_program_give_op(weave->programs[i], op, team->view->plan, r->functions, timed ? r->times : NULL, err));
  }
  if (mxg_weave_is_over(weave)) return MXG_OK;
  return mxg_fail(err, MXG_ERR_WRONG, 2, "ranks wait for each other's turns in a circle");
}

mxg_status mxg_joint_give(mxg_gpu_team *team, uint32_t group, mxg_error *err) { return give(team, group, false, err); }

static mxg_status launch(mxg_gpu_team *team, mxg_cu_graph *graph, mxg_error *err) {
  MXG_TRY(join(team, err));
  MXG_TRY(mxg_graph_launch(graph, team->ranks[0].streams.at[0], err));
  return fork_out(team, err);
}

mxg_status mxg_joint_start(mxg_gpu_team *team, uint32_t group, bool timed, mxg_error *err) {
  mxg_cu_graph *graph = *graph_of(team->joint, group);
  if (graph && !timed)
    MXG_TRY(launch(team, graph, err));
  else
    MXG_TRY(give(team, group, timed, err));
  for (uint32_t i = 0; i < team->count; i++) {
    const mxg_gpu_program *program = mxg_rank_program(&team->ranks[i], group);
    MXG_TRY(mxg_gpu_use(team->ranks[i].gpu, err));
    MXG_TRY(mxg_event_record(program->end, program->streams[0], err));
  }
  return MXG_OK;
}
