/* bench_code.h -- what generated kernels cost a thread on each architecture: registers, shared and local memory, and
** instructions an element. Needs NVRTC, no GPU. */
#ifndef MXG_BENCH_CODE_H
#define MXG_BENCH_CODE_H

#include "memory.h"
#include "mxrt.h"

typedef struct mxg_code_line {
  const char *work, *arch;
  const char *kernel; /* its name */
  const void *cubin;  /* cubin_bytes, of the arena */
  size_t cubin_bytes;
  uint32_t registers, shared_bytes, local_bytes;
  double instructions; /* an element, of the path for whole tiles, prologue included */
  double budget;       /* lane instructions an element that the chip can issue while memory is busy; 0: unknown */
} mxg_code_line;

/* Lines for every work and architecture, in that order; `archs` ends with NULL. `lines` live in `arena`. */
mxg_status mxg_bench_code(const mxg_code_line **lines, uint32_t *count, const char *const *archs, const char *only,
                          mxg_arena *arena, mxg_error *err);

#endif
