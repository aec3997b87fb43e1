/* processes.h -- a flow that runs in several processes, one a GPU: who this one is, and which ranks it has. */
#ifndef MXG_PROCESSES_H
#define MXG_PROCESSES_H

#include "job.h"

/* Zero: alone. */
typedef struct mxg_processes {
  mxg_job *job; /* NULL: alone */
  uint32_t rank, world;
  int local_rank; /* of the launcher's LOCAL_RANK: which GPU; -1: not said */
} mxg_processes;

/* Whether a launcher says that this process is one of several: RANK, WORLD_SIZE, and MXGEN_PORT or MASTER_PORT. */
bool mxg_processes_wanted(void);
/* Collective: meets the others as the environment says; alone without one. */
mxg_status mxg_processes_join(mxg_processes *processes, unsigned timeout_ms, mxg_error *err);
void mxg_processes_leave(mxg_processes *processes);

/* Whether each process gets one of so many ranks at least; all of them come to the same answer. */
mxg_status mxg_processes_fit(const mxg_processes *processes, uint32_t rank_count, mxg_error *err);
/* Ranks of a plan go to the processes in turn. */
bool mxg_processes_has(const mxg_processes *processes, uint32_t rank);
/* The GPU of this process, of `gpus` that it sees; alone: of rank `rank`, in turn. */
int mxg_processes_gpu(const mxg_processes *processes, uint32_t rank, int gpus);
/* All go on, or none does: at the end of a stage that each went through by itself. Alone: `own`. */
mxg_status mxg_processes_agree(const mxg_processes *processes, const char *what, const mxg_error *own,
                               unsigned timeout_ms, mxg_error *err);
/* When a stage that begins now must be over, for calls of job.h: in the time that a run may take, and 60 s at
** least, for processes load files and compile kernels at a pace of their own. */
double mxg_processes_deadline(unsigned timeout_ms);

#endif
