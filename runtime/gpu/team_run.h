/* team_run.h -- what a run of a team is, for team_run.c and team_measure.c. */
#ifndef MXG_TEAM_RUN_H
#define MXG_TEAM_RUN_H

#include "transport_gpu.h"

#include <pthread.h>
#include <stdatomic.h>

/* The ranks of a team at work, each on a thread of its own. */
typedef struct mxg_crew mxg_crew;
struct mxg_crew {
  mxg_gpu_team *team;
  unsigned repeats;
  bool traces;
  /* Before start i of a rank, on all threads, those that have `failed` too; NULL: nothing. Then times[3 * i + 2] is
   *recorded
   ** at the start's end. */
  mxg_status (*begin)(mxg_crew *crew, mxg_gpu_rank *rank, unsigned i, bool failed, mxg_error *err);
  pthread_barrier_t all_here;
  atomic_bool broken;     /* another process is lost or gave up: job_error says which */
  mxg_error job_error;    /* written before `broken` */
  pthread_mutex_t naming; /* of what follows: the first rank to time out says for whom it waited */
  bool named;
  char whom[96];
};

/* Programs for what is bound now. */
mxg_status mxg_crew_ready(mxg_crew *crew, mxg_error *err);
/* Starts every rank's program `repeats` times and waits for their end; on a failure the flight recorder tells. */
mxg_status mxg_crew_go(mxg_crew *crew, mxg_error *err);

#endif
