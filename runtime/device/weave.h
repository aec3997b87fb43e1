/* weave.h -- the order in which the programs of ranks that take turns are given to their GPUs by one thread: a driver
** lets a stream wait only for what was recorded before, so what passes a turn on is given before what takes it. One
** program after another goes on until it takes a turn that no other has passed yet. As turns wait for earlier ones
** only (turns.h) there is always one that can go on; were there none, the end would be an error and never a wait. */
#ifndef MXG_WEAVE_H
#define MXG_WEAVE_H

#include "gpu_program.h"

typedef struct mxg_weave {
  const mxg_gpu_program **programs; /* the caller fills them in, before mxg_weave_begin */
  size_t *at;                       /* by program: the op that is next */
  uint32_t count, current;
  bool *passed; /* by turn */
  uint32_t turns;
} mxg_weave;

mxg_status mxg_weave_make(mxg_weave *weave, uint32_t programs, uint32_t turns, mxg_error *err);
void mxg_weave_free(mxg_weave *weave); /* all zeros are fine */

void mxg_weave_begin(mxg_weave *weave);
/* Op `op` of program `program` is next; false: it was the last, or none of those that are left can go on. */
bool mxg_weave_next(mxg_weave *weave, uint32_t *program, size_t *op);
bool mxg_weave_is_over(const mxg_weave *weave);

#endif
