/* bench_nccl.h -- a peer of whole schedules: NCCL's own all-gather of as many bytes, nothing converted. */
#ifndef MXG_BENCH_NCCL_H
#define MXG_BENCH_NCCL_H

#include "driver.h"

typedef struct mxg_peer_gather {
  mxg_gpu *const *gpus; /* one a rank, none of them twice */
  uint32_t ranks;
  uint64_t received; /* bytes that a rank gets from the others */
  unsigned repeats;
  /* results: of the number of pieces that was fastest, each an all-gather, all of them one graph */
  unsigned pieces;
  double median, least, most; /* seconds of the slowest rank */
} mxg_peer_gather;

/* Bounded: MXG_ERR_TIMEOUT after a minute. MXG_ERR_ENVIRONMENT without NCCL. */
mxg_status mxg_peer_gather_run(mxg_peer_gather *peer, mxg_error *err);

#endif
