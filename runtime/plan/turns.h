/* turns.h -- whose turn it is at which source, where several ranks copy from several: a source serves one rank at a
** time and a rank copies from one source at a time, so that every link is busy with one copy or the next.
**
** All ranks go through one order of turns: the buckets of a program in their order, and in each bucket the sources by
** how far they are behind the rank itself, 1 .. ranks - 1. What a bucket brings a rank from a peer is its turn there.
** A turn begins when the one before it at the same source has ended, and it ends with a baton for the next one. It
** waits for earlier turns of the order only, so that no ranks wait for each other in a circle: whoever gives the ranks'
** work to GPUs can always go on with the earliest turn (weave.h). All of it comes from the plan. */
#ifndef MXG_TURNS_H
#define MXG_TURNS_H

#include "plan.h"

/* Among the turns of the program of all groups, and of that of the turn's own group. */
enum { MXG_TURN_WHOLE, MXG_TURN_PART, MXG_TURN_PROGRAMS };

typedef struct mxg_turn_link {
  uint64_t when;   /* in the order of turns: the rank's bucket of the program, then the distance of the source */
  uint32_t before; /* the turn whose rank passes a baton to this one; MXG_NONE: this begins at once */
  uint32_t after;  /* the turn that waits for the end of this one; MXG_NONE: none does */
} mxg_turn_link;

typedef struct mxg_turn {
  uint32_t rank, peer, bucket, group;
  mxg_turn_link links[MXG_TURN_PROGRAMS];
} mxg_turn;

typedef struct mxg_turns {
  mxg_turn *items; /* rank by rank, in the order of the steps */
  uint32_t *first; /* by rank, and one more: its turns are items[first[r]] up to items[first[r + 1]] */
  uint32_t count;
} mxg_turns;

/* *out is NULL, with MXG_OK, where turns are no use: fewer than three ranks have a choice of sources, a turn would have
** less than `least` bytes on average, or a rank's steps are in another order. */
mxg_status mxg_turns_make(mxg_turns **out, const mxg_plan *plan, uint64_t least, mxg_error *err);
void mxg_turns_free(mxg_turns *turns);

#endif
