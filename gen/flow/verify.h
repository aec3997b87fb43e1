/* verify.h -- every element of the target against the original, within what the formats between them allow
** (bound.h).
**
** Independent of how the target was made: of the project it uses the layout algebra and the files, not the plan's
** pieces nor the conversions. Streams: memory is a few slabs of columns, whatever the model's size. */
#ifndef MXG_VERIFY_H
#define MXG_VERIFY_H

#include "model.h"

#include "checkpoint.h"
#include "move.h"

/* Arrays with the same formats on their way. */
typedef struct mxg_chain {
  const mxg_format *original, *source;
  mxg_encoding target;
  uint64_t arrays, elements;
  uint64_t outside;  /* further off than the bound, or NaN on one side only */
  uint64_t unjudged; /* finite elements of blocks that hold an Inf or NaN: the policy decides them */
  double worst;      /* largest error over its bound */
  uint32_t array;    /* of the plan: where that is */
  uint64_t matrix, row, col;
  double want, have, bound;
} mxg_chain;

typedef struct mxg_verify {
  /* in */
  const mxg_model *model;
  const char *target;   /* folder of the target's files */
  const char *original; /* folder of the original; NULL: random */
  uint64_t seed;
  bool with_checksums;
  unsigned threads;
  void (*progress)(void *user, uint64_t done_bytes, uint64_t all_bytes);
  void *user;
  /* out; freed by mxg_verify_end */
  mxg_arena arena;
  const mxg_plan *plan;
  mxg_chain *chains;
  uint32_t chain_count;
  uint64_t arrays, elements, outside, unjudged;
  uint32_t ranks, target_ranks; /* verified; of the recipe, replicas not counted */
  mxg_checks *checks;           /* one an array of the plan, with_checksums */
  bool *verified;               /* one an array of the plan */
} mxg_verify;

/* MXG_ERR_WRONG when an element is outside its bound (then the results are all there), MXG_ERR_INPUT when the files do
** not fit the recipe. */
mxg_status mxg_verify_run(mxg_verify *verify, mxg_error *err);
void mxg_verify_end(mxg_verify *verify);

#endif
