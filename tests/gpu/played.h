/* played.h -- kernels by the host's conversion, on the driver without GPUs (tests/driver/fake_cuda.c). */
#ifndef PLAYED_H
#define PLAYED_H

#include "bundle.h"

/* A function of the driver in use, by name, where it is the one without GPUs; else NULL. After the first call of it. */
void *fake_function(const char *name);

/* The same bundle, with code for `arch` that nobody looks at. */
mxg_status without_code(mxg_bundle **out, const mxg_bundle *from, const char *arch, mxg_error *err);

/* Whoever launches a kernel of that plan has it played from now on, in this process. Only where fake_function finds
** something. */
void play_kernels(const mxg_plan *plan);

#endif
