/* emulate.h -- runs generated kernels for tests, which compare the result with the host's conversion bit for bit.
**
** emulate.c does it on the CPU: the very template and mx_params.h that NVRTC would get, compiled by the host's C++
** compiler with shim.h. tests/gpu has the same functions for a GPU. */
#ifndef EMULATE_H
#define EMULATE_H

#include "plan.h"

#include <stddef.h>

/* NULL, or why kernels cannot run here: a test then skips. */
const char *emulate_missing(void);

/* Compiles those kernels that were not compiled yet, all at once: far faster than one after another. 0, or -1 with the
** compiler's words on stderr. */
int emulate_prepare(const mxg_kernel *kernels, uint32_t count);

/* Runs `tiles` thread blocks of a kernel over its work table, as a launch on a GPU does; compiles on first use. 0,
** or -1 with the reason on stderr. The table and all it points to are of emulate_alloc. */
int emulate_kernel(const mxg_kernel *kernel, const mx_entry *entries, uint32_t count, uint64_t tiles);

/* Memory that kernels reach and the host too; NULL when there is none left. */
void *emulate_alloc(size_t bytes);
void emulate_release(void *memory);

/* Closes what was compiled and removes its files. */
void emulate_free(void);

#endif
