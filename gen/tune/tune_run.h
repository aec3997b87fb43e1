/* tune_run.h -- `mxgen tune`: a recipe's choices, measured on this machine's GPUs. */
#ifndef MXG_TUNE_RUN_H
#define MXG_TUNE_RUN_H

#include "tune.h"
#include "tune_file.h"

typedef struct mxg_tune_run {
  /* asked */
  const char *recipe;
  const char *const *sets;      /* ends with NULL; NULL: none */
  unsigned repeats, timeout_ms; /* 0: the library's choice */
  bool no_check;
  void (*progress)(void *user, const char *what, unsigned done, unsigned all);
  void *user;
  /* results */
  mxg_tune tune; /* what the file says */
  mxg_tune_found found;
  uint64_t received;     /* of the rank that receives most */
  double floor;          /* seconds */
  uint64_t bucket_bytes; /* the recipe's */
} mxg_tune_run;

/* `run->found` lives in `arena`, and is there after a failure too, as far as it came. */
mxg_status mxg_tune_measure(mxg_tune_run *run, mxg_arena *arena, mxg_error *err);

/* The file's contents from what was found on these GPUs. */
void mxg_tune_fill(mxg_tune *tune, const mxg_tune_found *found, const mxg_tune_gpus *gpus, uint32_t ranks,
                   double pull_rate, double direct_rate);

#endif
