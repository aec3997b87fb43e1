/* share.h -- device memory and flags that the processes of one machine share: sources of other processes become
** readable here, and streams of different processes can wait for each other. */
#ifndef MXG_SHARE_H
#define MXG_SHARE_H

#include "driver.h"
#include "transport.h"

typedef struct mxg_share mxg_share;

/* Whether the ranks here can read those of other processes that they have pieces of: one machine, and GPUs that reach
** each other. MXG_ERR_UNSUPPORTED names two ranks and the transports that work. Not collective. */
mxg_status mxg_share_check(const mxg_exec_view *view, mxg_error *err);

/* Collective, with the GPU of the ranks here in use: what the agreement says is read elsewhere is exported, and what is
** wanted here imported. `remote`: by array, gets the places of the wanted ones. *share: NULL before the first time. */
mxg_status mxg_share_exchange(mxg_share **share, const mxg_exec_view *view, mxg_place *remote, mxg_error *err);
/* `lost`: streams may still use it; what they use stays until the process ends. */
void mxg_share_free(mxg_share *share, bool lost);

/* ---- streams that wait for ranks of other processes; nothing happens with share NULL ----
**
** Each pair of ranks has flags of its own on each lane. Begin and end come in turn on a lane, and lanes do not know
** each other: schedules that are under way at one time need one each. All of it can be captured into a graph. */

enum { MXG_MEET_LANES = 64 };

/* `stream` goes on when the ranks whose sources `rank` reads have come to their begin. */
mxg_status mxg_meet_begin(const mxg_share *share, uint32_t rank, uint32_t lane, mxg_cu_stream *stream, mxg_error *err);
/* `stream` goes on when the ranks that read sources of `rank` have come to their end: they may then be written anew. */
mxg_status mxg_meet_end(const mxg_share *share, uint32_t rank, uint32_t lane, mxg_cu_stream *stream, mxg_error *err);
/* `stream` goes on when all ranks of the job are there; `turn` counts from 1. Not for graphs. */
mxg_status mxg_meet_all(const mxg_share *share, uint32_t rank, uint32_t turn, mxg_cu_stream *stream, mxg_error *err);
/* Whether `rank`, which has come to a meeting of all, waits there for `other`. */
bool mxg_meet_misses(const mxg_share *share, uint32_t rank, uint32_t other);
/* After a deadline or a loss: whatever streams of ranks here wait for is let go, so that they end. What they then read
** and write is undefined, and the executor is only good for being freed. */
void mxg_meet_release(mxg_share *share);

#endif
