/* nccl_team.c -- the communicators of a team whose ranks exchange: opened together, renewed after they were given
** up, and given up together; and the staging that they receive into. What is exchanged is transport_nccl.c's. */
#include "team_run.h"

#include "agreement.h"
#include "clock.h"
#include "error.h"
#include "job.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- opening ---- */

/* NCCL takes one rank a GPU. Ranks of other processes it finds itself. */
static mxg_status check_gpus(const mxg_exec_view *view, mxg_error *err) {
  int gpus = 0;
  MXG_TRY(mxg_gpu_count(&gpus, err));
  if (gpus == 0) return mxg_fail(err, MXG_ERR_ENVIRONMENT, 523, "this process sees no GPU");
  for (uint32_t i = 0; i < view->rank_count; i++)
    for (uint32_t k = 0; k < i; k++) {
      int own = mxg_view_gpu(view, i, gpus);
      if (own != mxg_view_gpu(view, k, gpus)) continue;
      mxg_fail(err, MXG_ERR_UNSUPPORTED, 653,
               "transport nccl needs a GPU of its own for each rank: ranks %u and %u share GPU %d", view->ranks[k],
               view->ranks[i], own);
      mxg_error_help(err, "transports copy, direct and host let ranks share a GPU");
      return MXG_ERR_UNSUPPORTED;
    }
  return MXG_OK;
}

static mxg_status check_ranks(const mxg_exec_view *view, mxg_error *err) {
  if (view->rank_count == view->plan->rank_count || view->options.job || view->options.nccl_comms) return MXG_OK;
  mxg_fail(err, MXG_ERR_USAGE, 655, "transport nccl needs all %u ranks, and %u are of this process",
           view->plan->rank_count, view->rank_count);
  mxg_error_help(err, "give options.job, or communicators of all ranks in options.nccl_comms");
  return MXG_ERR_USAGE;
}

mxg_status mxg_nccl_may(const mxg_exec_view *view, mxg_error *err) {
  unsigned char id[MXG_NCCL_ID_BYTES];
  MXG_TRY(check_ranks(view, err));
  MXG_TRY(mxg_nccl_new_id(id, err)); /* whether there is an NCCL that works */
  return check_gpus(view, err);
}

/* Opening communicators and connections takes a second or more, whatever a run may take. */
static double patience(const mxg_exec_view *view) {
  const double least = mxg_now() + 60;
  return view->deadline > least ? view->deadline : least;
}

/* Whether all processes came here with MXG_OK; `own` is this one's. */
static mxg_status agree(const mxg_exec_view *view, const char *what, const mxg_error *own, mxg_error *err) {
  mxg_job *job = view->options.job;
  if (job && mxg_job_world(job) > 1) return mxg_job_agree(job, what, own, patience(view), err);
  if (err && own->status != MXG_OK) *err = *own;
  return own->status;
}

static mxg_status nccl_open(void **state, const mxg_exec_view *view, mxg_error *err) {
  mxg_error own = {0};
  void *team = NULL;
  *state = NULL;
  own.status = mxg_nccl_may(view, &own);
  if (own.status == MXG_OK) own.status = mxg_team_open(&team, view, "nccl", mxg_nccl_build, false, true, &own);
  mxg_status status = agree(view, "the opening of NCCL", &own, err);
  if (status == MXG_OK) status = mxg_team_join(team, err);
  if (status == MXG_OK)
    *state = team;
  else
    mxg_team_close(team);
  return status;
}

/* Sources of other processes are sent by those. */
static mxg_status nccl_share(void *state, mxg_error *err) {
  (void)state, (void)err;
  return MXG_OK;
}

const mxg_transport_table mxg_transport_nccl = {.name = "nccl", .open = nccl_open, .share = nccl_share, MXG_TEAM_CALLS};

static bool is_live(const mxg_gpu_rank *r) { return r->nccl && !mxg_nccl_aborted(r->nccl); }

/* The same id for all ranks: process 0's, when there are several processes. */
static mxg_status share_id(mxg_gpu_team *team, mxg_error *err) {
  mxg_job *job = team->view->options.job;
  if (!job || mxg_job_world(job) < 2) return mxg_nccl_new_id(team->nccl_id, err);
  const double deadline = patience(team->view);
  mxg_error own = {0};
  unsigned char id[MXG_NCCL_ID_BYTES];
  unsigned char *all = mxg_alloc((size_t)mxg_job_world(job) * sizeof id);
  own.status = all ? mxg_nccl_new_id(id, &own) : mxg_fail_nomem(&own);
  mxg_status status = mxg_job_agree(job, "NCCL", &own, deadline, err);
  if (status == MXG_OK) status = mxg_job_gather(job, "the communicator", id, sizeof id, all, deadline, err);
  if (status == MXG_OK) memcpy(team->nccl_id, all, sizeof id);
  mxg_free(all);
  return status;
}

mxg_status mxg_team_meet(mxg_gpu_team *team, mxg_error *err) {
  bool all_live = true;
  for (uint32_t i = 0; i < team->count; i++) all_live = all_live && is_live(&team->ranks[i]);
  if (!team->exchanges || all_live) return MXG_OK;
  team->ready = false; /* graphs hold on to the communicators that they were made with */
  return team->view->options.nccl_comms ? MXG_OK : share_id(team, err);
}

mxg_status mxg_team_agree(mxg_gpu_team *team, const mxg_error *own, mxg_error *err) {
  if (team->exchanges) return agree(team->view, "the programs of NCCL", own, err);
  if (err && own->status != MXG_OK) *err = *own;
  return own->status;
}

double mxg_team_patience(const mxg_gpu_team *team) { return patience(team->view); }

/* ---- one rank ---- */

static bool is_one_machine(const mxg_exec_view *view) {
  const mxg_agreement *a = view->agreement;
  bool one = true;
  for (uint32_t p = 0; a && p < mxg_job_world(a->job); p++) one = one && a->near[p];
  return one;
}

mxg_status mxg_rank_join(mxg_gpu_rank *r, mxg_error *err) {
  const mxg_exec_view *view = r->team->view;
  const uint32_t index = (uint32_t)(r - r->team->ranks), ranks = view->plan->rank_count;
  if (!r->team->exchanges || is_live(r)) return MXG_OK;
  mxg_nccl_close(r->nccl);
  r->nccl = NULL;
  if (view->options.nccl_comms)
    return mxg_nccl_borrow(&r->nccl, view->options.nccl_comms[index], ranks, r->rank, r->ordinal, err);
  return mxg_nccl_open(&r->nccl, r->team->nccl_id, ranks, r->rank, is_one_machine(view), patience(view), err);
}

mxg_status mxg_rank_take_staging(mxg_gpu_rank *r, mxg_error *err) {
  const mxg_plan *plan = r->team->view->plan;
  uint64_t need = 0, have = 0, all = r->device_bytes; /* of scratch */
  if (!r->team->exchanges) return MXG_OK;
  if (!mxg_nccl_measure(r, &need)) return mxg_fail_nomem(err);
  all += need;
  if (all > plan->staging_cap) {
    mxg_fail(err, MXG_ERR_UNSUPPORTED, 654,
             "rank %u needs %llu bytes of staging for transport nccl, the recipe allows %llu", r->rank,
             (unsigned long long)all, (unsigned long long)plan->staging_cap);
    mxg_error_help(err, "make schedule.bucket smaller, or schedule.staging larger");
    return MXG_ERR_UNSUPPORTED;
  }
  MXG_TRY(mxg_gpu_free_bytes(&have, err));
  if (need > have)
    return mxg_fail(err, MXG_ERR_UNSUPPORTED, 644, "rank %u needs %llu bytes of staging, GPU %d has %llu free", r->rank,
                    (unsigned long long)need, r->ordinal, (unsigned long long)have);
  if (need) MXG_TRY(mxg_nccl_alloc(r->nccl, &r->staging, need, err));
  r->device_bytes = all;
  return MXG_OK;
}

/* ---- giving up ---- */

/* NCCL ends a communicator when no graph has its work any more, and a borrowed one is the caller's to end. The driver
** keeps what is under way until it has ended. */
static void let_graphs_go(mxg_gpu_rank *r) {
  mxg_program_drop_graph(&r->program);
  for (uint32_t g = 0; r->parts && g < r->team->view->plan->group_count; g++) mxg_program_drop_graph(&r->parts[g]);
}

void mxg_team_leave(mxg_gpu_team *team) {
  mxg_job *job = team->view->options.job;
  if (!team->exchanges || !job || mxg_job_look(job, NULL) == MXG_OK) return;
  for (uint32_t i = 0; team->ranks && i < team->count; i++)
    if (team->ranks[i].nccl) mxg_nccl_abort(team->ranks[i].nccl);
}

void mxg_team_give_up(mxg_gpu_team *team) {
  const double until = mxg_now() + 0.5;
  if (!team->exchanges) return;
  atomic_store(&team->gave_up, true);
  for (uint32_t i = 0; i < team->count; i++)
    if (team->ranks[i].nccl) mxg_nccl_abort(team->ranks[i].nccl);
  for (uint32_t i = 0; i < team->count; i++) {
    mxg_gpu_rank *r = &team->ranks[i];
    if (!r->gpu || mxg_gpu_use(r->gpu, NULL) != MXG_OK) continue;
    while (!mxg_rank_has_ended(r) && mxg_now() < until) {
      const struct timespec pause = {0, 1000000};
      nanosleep(&pause, NULL);
    }
    r->lost = r->lost && !mxg_rank_has_ended(r);
    if (team->view->options.nccl_comms) let_graphs_go(r);
  }
}
