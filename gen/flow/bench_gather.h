/* bench_gather.h -- `mxgen bench RECIPE`: a bundle's schedule on this machine's GPUs, over random shards that are
** made in their memory; checked against the host transport, timed beside the link's own rate. */
#ifndef MXG_BENCH_GATHER_H
#define MXG_BENCH_GATHER_H

#include "processes.h"

enum { MXG_GATHER_LINES = 4 };

typedef struct mxg_gather_line {
  const char *transport;
  char why[256];              /* of an automatic choice */
  double median, least, most; /* seconds of one run, of the slowest rank */
  double start;               /* seconds of the host to start one */
  uint64_t device_bytes;      /* beyond source and target, of the rank that needs most */
  uint64_t checked, wrong;    /* bytes of targets */
} mxg_gather_line;

typedef struct mxg_gather_bench {
  const mxg_bundle *bundle;
  bool copy, direct, automatic; /* which transports */
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
} mxg_gather_bench;

mxg_status mxg_gather_bench_run(mxg_gather_bench *bench, mxg_error *err);

#endif
