/* job.h -- the processes of one run, as the rest of libmxrt sees them: who is there, all-gathers of bytes,
** barriers, and the news that a process is lost. The public part (create, free) is in mxrt.h.
**
** A collective call is made by every process of the job, in the same order. Each call is bounded by `deadline`, in
** seconds of mxg_now(); the earliest of the processes' deadlines holds for all. A process whose connection closes
** is lost, and one that has not come when the deadline passes counts as lost: then the call fails on every process
** within a second of the deadline, with MXG_ERR_TIMEOUT and the lost process in the text. From then on the job is
** broken: every later call fails at once with the same error. Free it, and create a new one with whoever is left or
** was started anew. Threads: one at a time. */
#ifndef MXG_JOB_H
#define MXG_JOB_H

#include "mxrt.h"

uint32_t mxg_job_rank(const mxg_job *job);  /* of this process */
uint32_t mxg_job_world(const mxg_job *job); /* the number of processes */

/* What stands for a process in errors: "process 1 (rank 1)" of the label "rank 1". Known to this process only. */
void mxg_job_label(mxg_job *job, uint32_t process, const char *label);
const char *mxg_job_name(const mxg_job *job, uint32_t process);
/* The names of those with chosen[process], as a list for a sentence, cut to fit. */
void mxg_job_names(const mxg_job *job, const bool *chosen, char *text, size_t room);

/* All-gather: `send` of each process, `bytes` on all of them, into `recv`, by process: world * bytes. `what` names the
** call in errors ("the start of the run"); processes that are not at the same call with the same `what` and bytes all
** fail with MXG_ERR_USAGE, and the error says who is where. */
mxg_status mxg_job_gather(mxg_job *job, const char *what, const void *send, uint64_t bytes, void *recv, double deadline,
                          mxg_error *err);
/* The same with a count of bytes of its own on each process. *recv: all of them end to end, mxg_free'd by the caller;
** counts: world entries. On failure *recv is NULL. */
mxg_status mxg_job_gather_any(mxg_job *job, const char *what, const void *send, uint64_t bytes, void **recv,
                              uint64_t *counts, double deadline, mxg_error *err);
/* Returns when all have come. */
mxg_status mxg_job_barrier(mxg_job *job, const char *what, double deadline, mxg_error *err);
/* A barrier at which each says how it fared: MXG_OK for all only when all say MXG_OK. Otherwise the first process whose
** status is another is named on every process, with its text; the job is not broken by it. `own` may be NULL: fine. */
mxg_status mxg_job_agree(mxg_job *job, const char *what, const mxg_error *own, double deadline, mxg_error *err);

/* The same, and *flag becomes whether it is set on any process. */
mxg_status mxg_job_agree_any(mxg_job *job, const char *what, const mxg_error *own, bool *flag, double deadline,
                             mxg_error *err);

/* Not collective, does not wait: MXG_OK while nobody is known to be lost. For loops that wait for something else. */
mxg_status mxg_job_look(mxg_job *job, mxg_error *err);
/* Tells the others that this process gives up, for `why`, so that they need not wait for the deadline. The job is
** broken by it. Bounded: half a second at most. */
void mxg_job_abort(mxg_job *job, const mxg_error *why);

#endif
