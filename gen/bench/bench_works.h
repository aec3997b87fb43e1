/* bench_works.h -- the conversions that `mxgen bench` compiles and times. */
#ifndef MXG_BENCH_WORKS_H
#define MXG_BENCH_WORKS_H

#include "plan.h"

typedef struct mxg_work {
  const char *name;
  mxg_family family;
  const mxg_encoding *src, *dst;
  double small, large, experts; /* shares of the copy's speed asked for; experts 0: not run over them */
  bool open;                    /* columns are read at run time */
  const char *beside;           /* the work that differs in one choice alone; NULL: none */
  double beside_most;           /* how many times its time is asked for at most; 0: not asked */
} mxg_work;

extern const mxg_work mxg_works[];
extern const unsigned mxg_work_count;

/* The kernel that the planner would choose for whole matrices of `cols` columns (0: open); not named yet. */
void mxg_work_kernel(mxg_kernel *kernel, const mxg_work *work, uint32_t cols);

#endif
