/* bench_gather.h -- `mxgen bench RECIPE`: a bundle's schedule on this machine's GPUs, over random shards that are
** made in their memory; checked against the host transport, timed beside the link's own rate. */
#ifndef MXG_BENCH_GATHER_H
#define MXG_BENCH_GATHER_H

#include "processes.h"

enum { MXG_GATHER_LINES = 6 };

/* One way to run it. */
typedef struct mxg_gather_try {
  mxg_transport transport;
  uint64_t chunk_bytes; /* 0: the library's choice */
  unsigned copy_streams;
  bool check; /* compare the targets, unless no_check */
} mxg_gather_try;

typedef struct mxg_gather_line {
  const char *transport;
  mxg_transport chosen;       /* never MXG_AUTO */
  char why[256];              /* of an automatic choice */
  double median, least, most; /* seconds of one run, of the slowest rank */
  double apart;               /* by how much of that the fastest rank was done earlier, the median */
  double start;               /* seconds of the host to start one */
  uint64_t device_bytes;      /* beyond source and target, of the rank that needs most */
  uint64_t checked, wrong;    /* bytes of targets */
} mxg_gather_line;

typedef struct mxg_gather_bench {
  const mxg_bundle *bundle;
  bool copy, direct, nccl, automatic; /* which transports; nccl: with NCCL's all-gather alone beside it */
  bool all;                           /* nccl only where it can be: otherwise no_nccl says why not */
  bool no_check, no_graph;
  unsigned repeats, copy_streams, timeout_ms; /* 0: the library's choice */
  uint64_t chunk_bytes;
  mxg_processes
      processes;     /* zero: all ranks are in this one; results are then process 0's, and wrong bytes everybody's */
  const char *trace; /* file for a trace of the last transport; NULL: none */
  /* results */
  char device[128];
  uint32_t ranks, gpus;
  uint64_t received, source_bytes, target_bytes; /* of the rank that receives most; of all ranks */
  double pull_rate, floor;                       /* bytes a second of each GPU while all pull; received over it */
  mxg_gather_line lines[MXG_GATHER_LINES];
  unsigned line_count;
  char no_nccl[256];
  /* in place of the transports above: each of these, its line to `tried` of the caller. A failure of one that leaves
  ** the GPUs as they were is its status and error, and the next one is tried. */
  const mxg_gather_try *tries;
  mxg_gather_line *tried;
  mxg_error *errors;
  unsigned try_count;
  bool no_link; /* pull_rate is known to the caller, or not wanted */
  void (*progress)(void *user, const char *what, unsigned done, unsigned all);
  void *user;
} mxg_gather_bench;

mxg_status mxg_gather_bench_run(mxg_gather_bench *bench, mxg_error *err);

#endif
