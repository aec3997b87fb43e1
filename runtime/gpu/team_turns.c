/* team_turns.c -- whether the ranks of a team take turns at their sources (turns.h). In one process their batons are
** events (joint.c), between processes flags that all share (share.h). Nothing but time rests on turns: a rank that
** comes too early is in others' way, and no more. */
#include "transport_gpu.h"

#include "agreement.h"
#include "error.h"

#include <stdio.h>
#include <string.h>

/* A baton takes some microseconds from one rank to the next, as long as copies of a megabyte or two. Whoever wants
** smaller chunks wants smaller turns too. */
enum { least_turn = 4 << 20 };

/* Whoever says how many streams copies have, has that. Of several processes, each gives its program by itself: op by
** op a queue could be full of what waits for others, and hold the host where it sees no deadline. */
static bool are_wanted(const mxg_exec_view *view) {
  return view->options.copy_streams == 0 && !(view->agreement && view->options.no_graph);
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

/* All ranks are there, and each has a GPU of its own: between two of one GPU there is no link. */
static bool have_own_gpus(const mxg_gpu_team *team) {
  const uint32_t ranks = team->view->plan->rank_count;
  for (uint32_t r = 0; r < ranks; r++) {
    char own[MXG_PCI_ROOM], other[MXG_PCI_ROOM];
    if (!gpu_of(team, r, own, sizeof own)) return false;
    for (uint32_t k = 0; k < r; k++)
      if (!gpu_of(team, k, other, sizeof other) || strcmp(own, other) == 0) return false;
  }
  return true;
}

mxg_status mxg_team_find_turns(mxg_gpu_team *team, mxg_error *err) {
  const uint64_t chunk = team->view->options.chunk_bytes;
  if (!are_wanted(team->view) || !have_own_gpus(team)) return MXG_OK;
  MXG_TRY(mxg_turns_make(&team->turns, team->view->plan, chunk && chunk < least_turn ? chunk : least_turn, err));
  return team->turns && !team->view->agreement ? mxg_team_make_joint(team, err) : MXG_OK;
}

void mxg_team_share_turns(mxg_gpu_team *team) {
  if (!team->turns || mxg_share_flags(team->share)) return;
  mxg_turns_free(team->turns);
  team->turns = NULL;
}
