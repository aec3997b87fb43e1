/* workers.h -- one piece of work in many independent parts, over a few threads. Owns threads and progress, nothing of
** the work. */
#ifndef MXG_WORKERS_H
#define MXG_WORKERS_H

#include "mxrt.h"

/* Calls part(user, i) once for every i < parts, each from some thread; `threads` 0: one a core. `progress` may be NULL;
** it is called from one thread at a time with a share of all_bytes. */
mxg_status mxg_workers_run(void (*part)(void *user, uint64_t i), void *user, uint64_t parts, unsigned threads,
                           uint64_t all_bytes, void (*progress)(void *user, uint64_t done_bytes, uint64_t all_bytes),
                           void *progress_user, mxg_error *err);

/* Worker threads that run() starts for so many parts. */
unsigned mxg_workers_count(unsigned threads, uint64_t parts);

#endif
