/* team.c -- the GPUs of a team of ranks: opened and closed, their kernels, bound memory and its checks, memory of
** slots. Running is team_run.c's. */
#include "transport_gpu.h"

#include "agreement.h"
#include "bundle.h"
#include "error.h"
#include "memory.h"
#include "plan_check.h"

#include <stdlib.h>
#include <string.h>

enum { data_align = 16 };

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

void mxg_rank_drop_programs(mxg_gpu_rank *r) {
  if (!r->gpu || mxg_gpu_use(r->gpu, NULL) != MXG_OK) return;
  mxg_program_free(&r->program, r->lost);
  for (uint32_t g = 0; r->parts && g < r->team->view->plan->group_count; g++) mxg_program_free(&r->parts[g], r->lost);
  mxg_free(r->parts);
  r->parts = NULL;
  r->waited = NULL;
  for (uint32_t i = 0; r->slots && i < r->team->view->plan->slots && !r->lost; i++) {
    mxg_gpu_free(r->slots[i].memory);
    r->slots[i] = (mxg_gpu_slot){0};
  }
  if (!r->lost && r->nccl) mxg_nccl_free(r->nccl, r->staging);
  r->staging = 0;
  r->device_bytes = 0;
}

bool mxg_rank_has_ended(mxg_gpu_rank *r) {
  for (uint32_t i = 0; i < MXG_STREAMS_MOST; i++) {
    bool done = true;
    if (r->streams.at[i] && (mxg_stream_done(&done, r->streams.at[i], NULL) != MXG_OK || !done)) return false;
  }
  return true;
}

void mxg_team_close(void *state) {
  mxg_gpu_team *team = state;
  if (!team) return;
  void *current = mxg_gpu_current();
  bool lost = false;
  for (uint32_t i = 0; team->ranks && i < team->count; i++)
    if (team->ranks[i].gpu && mxg_gpu_use(team->ranks[i].gpu, NULL) == MXG_OK)
      lost = lost || (team->ranks[i].lost && !mxg_rank_has_ended(&team->ranks[i]));
  mxg_team_leave(team);
  mxg_share_free(team->share, lost);
  if (team->joint) mxg_joint_free(team, lost);
  mxg_turns_free(team->turns);
  for (uint32_t i = 0; team->ranks && i < team->count; i++) { /* all, before the first communicator is closed */
    mxg_gpu_rank *r = &team->ranks[i];
    if (!r->gpu || mxg_gpu_use(r->gpu, NULL) != MXG_OK) continue;
    r->lost = r->lost && !mxg_rank_has_ended(r);
    mxg_rank_drop_programs(r);
    if (!r->lost) mxg_nccl_forget(r->nccl);
  }
  for (uint32_t i = 0; team->ranks && i < team->count; i++) {
    mxg_gpu_rank *r = &team->ranks[i];
    if (r->gpu && mxg_gpu_use(r->gpu, NULL) == MXG_OK) {
      if (!r->lost) mxg_gpu_streams_free(&r->streams);
      mxg_event_free(r->begin);
      for (int k = 0; k < 2; k++) mxg_event_free(r->captured[k]);
      for (uint32_t k = 0; r->modules && k < team->view->plan->kernel_count && !r->lost; k++)
        mxg_module_free(r->modules[k]);
    }
    if (!r->lost || team->view->options.nccl_comms) mxg_nccl_close(r->nccl); /* borrowed: it is only let go */
    if (!r->lost) mxg_gpu_close(r->gpu); /* the driver would wait for what is under way */
    mxg_free(r->modules);
    mxg_free(r->functions);
    mxg_free(r->slots);
  }
  mxg_gpu_restore(current);
  mxg_free(team->ranks);
  mxg_free(team->places);
  mxg_free(team->kept);
  mxg_free(team->homes);
  mxg_free(team->remote);
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
  if (team->exchanges) return MXG_OK;
  bool *pairs = mxg_alloc((size_t)plan->rank_count * plan->rank_count);
  if (!pairs) return mxg_fail_nomem(err);
  mxg_status status = MXG_OK;
  for (uint32_t i = 0; i < plan->piece_count && status == MXG_OK; i++) {
    uint32_t from = plan->arrays[plan->pieces[i].src].rank, to = plan->arrays[plan->pieces[i].dst].rank;
    bool *seen = &pairs[(size_t)to * plan->rank_count + from];
    mxg_gpu_rank *reader = rank_of(team, to), *peer = rank_of(team, from);
    if (!reader || *seen || from == to) continue;
    *seen = true;
    if (!peer && team->view->agreement) continue; /* mxg_share_check's */
    if (!peer) {
      status = mxg_fail(err, MXG_ERR_UNSUPPORTED, 602,
                        "transport %s moves between the ranks of one process: rank %u has "
                        "sources for rank %u and is not of this one",
                        team->name, from, to);
    } else if (peer->ordinal != reader->ordinal) {
      status = mxg_gpu_reach(reader->gpu, peer->gpu, err);
      if (status == MXG_ERR_UNSUPPORTED) mxg_error_help(err, "the transports nccl and host work without peer access");
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
  team->homes = mxg_alloc(view->plan->array_count * sizeof *team->homes);
  if (view->agreement) team->remote = mxg_alloc(view->plan->array_count * sizeof *team->remote);
  if (!team->ranks || !team->places || !team->kept || !team->homes || (view->agreement && !team->remote))
    return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < view->rank_count; i++) {
    mxg_gpu_rank *r = &team->ranks[team->count++];
    r->team = team;
    r->rank = view->ranks[i];
    r->ordinal = mxg_view_gpu(view, i, gpus);
    if (view->agreement && r->ordinal != team->ranks[0].ordinal)
      return mxg_fail(err, MXG_ERR_UNSUPPORTED, 602,
                      "a process of a job has one GPU, this one has GPU %d for rank %u and GPU %d for rank %u",
                      team->ranks[0].ordinal, team->ranks[0].rank, r->ordinal, r->rank);
    MXG_TRY(open_rank(r, err));
  }
  return reach_peers(team, err);
}

mxg_status mxg_team_open(void **state, const mxg_exec_view *view, const char *name, mxg_gpu_build build, bool stages,
                         bool exchanges, mxg_error *err) {
  *state = NULL;
  mxg_gpu_team *team = mxg_alloc(sizeof *team);
  if (!team) return mxg_fail_nomem(err);
  team->view = view;
  team->name = name;
  team->build = build;
  team->stages = stages;
  team->exchanges = exchanges;
  void *current = mxg_gpu_current();
  mxg_status status = open_team(team, err);
  mxg_gpu_restore(current);
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

static mxg_status bind_array(mxg_gpu_team *team, uint32_t array, mxg_error *err) {
  const mxg_plan *plan = team->view->plan;
  const mxg_array *a = &plan->arrays[array];
  const mxg_place *place = &team->view->places[array];
  team->ready = false;
  MXG_TRY(check_memory(team, a, "data", mxg_array_data_bytes(plan, a) ? place->data : 0, data_align, err));
  unsigned scale = plan->encodings[a->encoding].scale;
  MXG_TRY(check_memory(team, a, "scales", place->scale, scale == MX_SCALE_E8M0 ? 1 : 4, err));
  mxg_place *home = &team->homes[array];
  MXG_TRY(mxg_gpu_home(&home->data, place->data, err));
  return mxg_gpu_home(&home->scale, place->scale, err);
}

static mxg_status share(mxg_gpu_team *team, mxg_error *err) {
  MXG_TRY(mxg_gpu_use(team->ranks[0].gpu, err));
  MXG_TRY(mxg_share_exchange(&team->share, team->view, team->remote, err));
  for (uint32_t i = 0; i < team->view->plan->array_count; i++) {
    if (!team->view->agreement->wanted[i]) continue;
    mxg_error none;
    if (mxg_gpu_home(&team->homes[i].data, team->remote[i].data, &none) != MXG_OK) team->homes[i].data = 0;
    if (mxg_gpu_home(&team->homes[i].scale, team->remote[i].scale, &none) != MXG_OK) team->homes[i].scale = 0;
  }
  return MXG_OK;
}

mxg_status mxg_team_share(void *state, mxg_error *err) {
  mxg_gpu_team *team = state;
  void *current = mxg_gpu_current();
  team->ready = false;
  mxg_status status = share(team, err);
  mxg_gpu_restore(current);
  return status;
}

mxg_status mxg_team_bind(void *state, uint32_t array, mxg_error *err) {
  mxg_gpu_team *team = state;
  void *current = mxg_gpu_current();
  mxg_status status = mxg_gpu_use(team->ranks[0].gpu, err);
  if (status == MXG_OK) status = bind_array(team, array, err);
  mxg_gpu_restore(current);
  return status;
}

/* ---- slots ---- */

mxg_status mxg_rank_take_slots(mxg_gpu_rank *r, mxg_error *err) {
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

uint64_t mxg_team_device_bytes(const void *state, uint32_t rank) {
  const mxg_gpu_rank *r = rank_of(state, rank);
  return r ? r->device_bytes : 0;
}
