/* team_turns.c -- the turns of a team's ranks at their sources: whether they take any, the flags that are their
** batons, and how streams that wait for a baton are let go. Whose turn it is: turns.h's; what streams do about it:
** transport_copy.c's programs. Nothing but time rests on turns: a rank that comes too early only disturbs others. */
#include "transport_gpu.h"

#include "agreement.h"
#include "clock.h"
#include "error.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* A baton takes some microseconds from one rank to the next, as long as copies of a megabyte or two. Whoever wants
** smaller chunks wants smaller turns as well. */
enum { least_turn = 4 << 20 };
static const double patience = 0.15; /* for streams that were let go to end */

/* ---- whether there are turns ---- */

static bool takes_part(const mxg_turns *turns, uint32_t rank) {
  for (uint32_t i = 0; i < turns->count; i++)
    if (turns->items[i].rank == rank || turns->items[i].peer == rank) return true;
  return false;
}

/* What GPU a rank has, to be told from the others'; false: it is not known, or the rank is nowhere. */
static bool gpu_of(const mxg_gpu_team *team, uint32_t rank, char *text, size_t room) {
  const mxg_agreement *a = team->view->agreement;
  if (a) {
    snprintf(text, room, "%s", a->pcis[rank]);
    return a->home[rank] != MXG_NONE && *text;
  }
  for (uint32_t i = 0; i < team->count; i++) {
    if (team->ranks[i].rank != rank) continue;
    snprintf(text, room, "%d", team->ranks[i].ordinal);
    return true;
  }
  return false;
}

/* All that pull and all that are pulled from have a GPU of their own: a stream that waits can hold up others of its
** GPU. Where two ranks share one there is no link between them either. */
static bool have_own_gpus(const mxg_gpu_team *team, const mxg_turns *turns) {
  const mxg_plan *plan = team->view->plan;
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    char own[MXG_PCI_ROOM], other[MXG_PCI_ROOM];
    if (!takes_part(turns, r)) continue;
    if (!gpu_of(team, r, own, sizeof own)) return false;
    for (uint32_t k = 0; k < plan->rank_count; k++)
      if (k != r && gpu_of(team, k, other, sizeof other) && strcmp(own, other) == 0) return false;
  }
  return true;
}

static mxg_status make_batons(mxg_gpu_team *team, mxg_error *err) {
  const uint64_t bytes = mxg_turns_flags(team->turns) * sizeof(uint32_t);
  void *current = mxg_gpu_current(), *memory = NULL;
  mxg_status status = mxg_gpu_use(team->ranks[0].gpu, err);
  if (status == MXG_OK) status = mxg_gpu_alloc_pinned(&memory, bytes, err);
  mxg_gpu_restore(current);
  if (status != MXG_OK) return status;
  memset(memory, 0, (size_t)bytes);
  team->batons = memory;
  team->batons_address = (uint64_t)(uintptr_t)memory;
  return MXG_OK;
}

mxg_status mxg_team_find_turns(mxg_gpu_team *team, mxg_error *err) {
  const mxg_exec_options *options = &team->view->options;
  const uint64_t chunk = options->chunk_bytes;
  /* Op by op a rank's queue may be full of what waits for a rank that this thread has not started yet. */
  if (options->copy_streams || options->no_graph) return MXG_OK;
  MXG_TRY(mxg_turns_make(&team->turns, team->view->plan, chunk && chunk < least_turn ? chunk : least_turn, err));
  if (team->turns && !have_own_gpus(team, team->turns)) {
    mxg_turns_free(team->turns);
    team->turns = NULL;
  }
  if (!team->turns || team->view->agreement) return MXG_OK; /* processes share their batons: mxg_team_share_turns */
  return make_batons(team, err);
}

void mxg_team_share_turns(mxg_gpu_team *team) {
  if (!team->turns) return;
  team->batons = mxg_share_flags(team->share, &team->batons_address);
  if (team->batons) return;
  mxg_turns_free(team->turns);
  team->turns = NULL;
}

void mxg_team_drop_turns(mxg_gpu_team *team, bool lost) {
  if (team->turns && team->batons && !team->view->agreement && !lost && team->ranks &&
      mxg_gpu_use(team->ranks[0].gpu, NULL) == MXG_OK)
    mxg_gpu_free_pinned((void *)(uintptr_t)team->batons_address);
  team->batons = NULL;
  mxg_turns_free(team->turns);
  team->turns = NULL;
}

/* ---- when a run comes to nothing ---- */

void mxg_team_raise_batons(mxg_gpu_team *team) {
  if (!team->turns || !team->batons) return;
  atomic_store(&team->disordered, true);
  for (uint32_t i = 0; i < mxg_turns_flags(team->turns); i++) team->batons[i] = 1;
}

static bool all_have_ended(mxg_gpu_team *team) {
  bool ended = true;
  for (uint32_t i = 0; i < team->count; i++) {
    mxg_gpu_rank *r = &team->ranks[i];
    if (!r->gpu || mxg_gpu_use(r->gpu, NULL) != MXG_OK || mxg_rank_has_ended(r)) continue;
    ended = false;
  }
  return ended;
}

void mxg_team_end_turns(mxg_gpu_team *team) {
  const double until = mxg_now() + patience;
  if (!team->turns || !team->batons) return;
  for (mxg_team_raise_batons(team); !all_have_ended(team) && mxg_now() < until; mxg_team_raise_batons(team)) {
    const struct timespec pause = {0, 1000000};
    nanosleep(&pause, NULL);
  }
  for (uint32_t i = 0; i < team->count; i++) {
    mxg_gpu_rank *r = &team->ranks[i];
    if (r->gpu && mxg_gpu_use(r->gpu, NULL) == MXG_OK) r->lost = !mxg_rank_has_ended(r);
  }
}

void mxg_team_lower_batons(mxg_gpu_team *team) {
  if (!team->turns || !team->batons || team->view->agreement || !atomic_load(&team->disordered)) return;
  for (uint32_t i = 0; i < mxg_turns_flags(team->turns); i++) team->batons[i] = 0;
  atomic_store(&team->disordered, false);
}
