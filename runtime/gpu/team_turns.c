/* team_turns.c -- whether the ranks of a team take turns at their sources (turns.h): ranks of one process do, whose
** batons are events (joint.c). Between processes batons would be flags in memory that streams wait for. Tried on four
** H100s, right, and no use: within a graph what waits so holds up what does not depend on it, the layers of Llama 3 8B
** took 1.10 of the floor, all of it 1.60. Nothing but time rests on turns: a rank that comes too early is in others'
** way, and no more. */
#include "transport_gpu.h"

#include "error.h"

/* A baton takes some microseconds from one rank to the next, as long as copies of a megabyte or two. Whoever wants
** smaller chunks wants smaller turns too. */
enum { least_turn = 4 << 20 };

/* Whoever says how many streams copies have, has that. */
static bool are_wanted(const mxg_exec_view *view) { return !view->agreement && view->options.copy_streams == 0; }

/* All ranks are here, and each has a GPU of its own: between two of one GPU there is no link. */
static bool have_own_gpus(const mxg_gpu_team *team) {
  if (team->count != team->view->plan->rank_count) return false;
  for (uint32_t i = 0; i < team->count; i++)
    for (uint32_t k = 0; k < i; k++)
      if (team->ranks[i].ordinal == team->ranks[k].ordinal) return false;
  return true;
}

mxg_status mxg_team_find_turns(mxg_gpu_team *team, mxg_error *err) {
  const uint64_t chunk = team->view->options.chunk_bytes;
  if (!are_wanted(team->view) || !have_own_gpus(team)) return MXG_OK;
  MXG_TRY(mxg_turns_make(&team->turns, team->view->plan, chunk && chunk < least_turn ? chunk : least_turn, err));
  return team->turns ? mxg_team_make_joint(team, err) : MXG_OK;
}
