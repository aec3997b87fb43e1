/* parallel.h -- worker threads that many callers share fairly: each caller's job is cut into parts, and workers take
** one part of every waiting job in turn. */
#ifndef MXG_PARALLEL_H
#define MXG_PARALLEL_H

#include "mxrt.h"

typedef struct mxg_pool mxg_pool;

/* `threads` workers; 0: one a core. Where threads cannot be started, callers do their jobs themselves. */
mxg_status mxg_pool_create(mxg_pool **out, unsigned threads, mxg_error *err);
void mxg_pool_free(mxg_pool *pool);              /* no job is running */
unsigned mxg_pool_threads(const mxg_pool *pool); /* at least 1 */

/* `worker` counts from 0, below mxg_pool_threads; no two calls that run at a time have the same. */
typedef void (*mxg_pool_part)(void *user, uint64_t i, unsigned worker);

/* Calls part(user, i, ...) once for each i < parts, and returns when all have returned. What the caller wrote
** before is seen by the parts, what they wrote by the caller after. Many threads may call it at a time; one, where
** no worker could be started. */
void mxg_pool_run(mxg_pool *pool, mxg_pool_part part, void *user, uint64_t parts);

#endif
