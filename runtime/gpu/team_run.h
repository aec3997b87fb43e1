/* team_run.h -- what a run of a team is, for team_run.c and team_measure.c. */
#ifndef MXG_TEAM_RUN_H
#define MXG_TEAM_RUN_H

#include "transport_gpu.h"

#include <pthread.h>
#include <stdatomic.h>

/* Whether the programs of MXG_MADE_* are there for what is bound now; and makes them. */
bool mxg_team_is_made(const mxg_gpu_team *team, unsigned made);
mxg_status mxg_team_make(mxg_gpu_team *team, unsigned made, mxg_error *err);

/* The ranks of a team at work, each on a thread of its own. */
typedef struct mxg_crew mxg_crew;
struct mxg_crew {
  mxg_gpu_team *team;
  unsigned repeats;
  bool traces;
  unsigned make; /* MXG_MADE_*: what is made, by mxg_team_make */
  /* Before start i of a rank, on all threads, those that have `failed` too; NULL: nothing. Then times[3 * i + 2] is
  ** recorded at the start's end. */
  mxg_status (*begin)(mxg_crew *crew, mxg_gpu_rank *rank, unsigned i, bool failed, mxg_error *err);
  /* The same for all ranks at once, of a team whose ranks take turns: on one thread. */
  mxg_status (*begin_all)(mxg_crew *crew, unsigned i, mxg_error *err);
  pthread_barrier_t all_here;
  bool alone;          /* one thread waits for all ranks */
  atomic_bool broken;  /* another process is lost or gave up: job_error says which */
  mxg_error job_error; /* written before `broken` */
  bool named;          /* the first rank to time out has said for whom it waited */
  char whom[96];
};

/* Until a program of the rank, started on this thread's GPU, has ended, by the view's deadline; MXG_ERR_TIMEOUT
** names rank and step, or the process that is lost. */
mxg_status mxg_crew_wait(mxg_crew *crew, mxg_gpu_rank *rank, mxg_gpu_program *program, mxg_error *err);
/* Starts every rank's program `repeats` times and waits for their end; on a failure the flight recorder tells. */
mxg_status mxg_crew_go(mxg_crew *crew, mxg_error *err);

#endif
