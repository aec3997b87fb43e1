/* emulate.h -- runs generated kernels on the CPU: the very template and mx_params.h that NVRTC would get, compiled by
** the host's C++ compiler with shim.h. For tests, which compare the result with the host's conversion bit for bit. */
#ifndef EMULATE_H
#define EMULATE_H

#include "plan.h"

/* Compiles those kernels that were not compiled yet, all at once: far faster than one after another. 0, or -1 with the
** compiler's words on stderr. */
int emulate_prepare(const mxg_kernel *kernels, uint32_t count);

/* Runs `tiles` thread blocks of a kernel over its work table, as a launch on a GPU does; compiles on first use. 0, or
** -1 with the reason on stderr. */
int emulate_kernel(const mxg_kernel *kernel, const mx_entry *entries, uint32_t count, uint64_t tiles);

/* Closes what was compiled and removes its files. */
void emulate_free(void);

#endif
