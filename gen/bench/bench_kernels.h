/* bench_kernels.h -- generated kernels on a GPU: checked bit for bit against the host's conversion, then timed beside a
** device-to-device copy of the same number of bytes. For `mxgen bench`. */
#ifndef MXG_BENCH_KERNELS_H
#define MXG_BENCH_KERNELS_H

#include "memory.h"
#include "mxrt.h"

typedef struct mxg_bench_options {
  int device;
  const char *only;             /* works whose name holds this; NULL: all */
  bool quick;                   /* leave the large matrices out */
  bool early;                   /* mxg_gpu_work's; MXG_ERR_UNSUPPORTED where the GPU begins no launch early */
  uint32_t threads, tile_units; /* in place of the chosen ones, for trying; 0: the chosen */
  void (*progress)(void *user, const char *what, unsigned done, unsigned all);
  void *user;
} mxg_bench_options;

/* One work on one shape. Times are medians in microseconds; low and high are the 10th and 90th percentile of the
** graph's replays. Bytes are counted once: each input read, each output written. */
typedef struct mxg_bench_line {
  char work[48], shape[24], kernel[40];
  uint64_t bytes, elements;
  uint64_t checked, wrong; /* bytes of the outputs: compared, and not what the host makes of the same input */
  double graph_us, low_us, high_us, call_us, copy_us;
  char beside[48];    /* the work that differs in one choice alone; "" where there is none */
  double beside_most; /* how many times its time is asked for at most; 0: not asked */
  double target;      /* the share of the copy's speed that is asked for; 0: none */
  int registers, shared_bytes, local_bytes, blocks_per_processor;
} mxg_bench_line;

typedef struct mxg_bench_result {
  char device[96], driver[16], nvrtc[32], arch[16];
  double launch_us; /* of the host, for one launch */
  bool early;       /* as asked */
  const mxg_bench_line *lines;
  uint32_t count;
} mxg_bench_result;

/* `result` lives in `arena`. MXG_ERR_ENVIRONMENT without a GPU or NVRTC. Wrong bytes are no failure of the call. */
mxg_status mxg_bench_kernels(mxg_bench_result *result, const mxg_bench_options *options, mxg_arena *arena,
                             mxg_error *err);

#endif
