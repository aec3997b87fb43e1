/* output.h -- the folder that a generate leaves: readable source a kernel, cubins, plan, model, bundle, DEPFILE.
** Written beside its place and moved there whole. */
#ifndef MXG_OUTPUT_H
#define MXG_OUTPUT_H

#include "generate.h"

/* Refuses, before any work is done: a name that cannot be a file, a place that holds files mxgen did not make. */
mxg_status mxg_output_check(const char *name, const char *out_dir, mxg_error *err);

/* Writes kernels/<kernel>/{mx_params.h, the template and what it includes}, kernels/<kernel>.<arch>.cubin, plan.txt,
** plan.json, model.txt, <name>.mxb and <name>.d into the place of `out_dir`, replacing what an earlier generate left.
** `embed`, if not NULL: also embed/<embed>.c, .h and .d, the bundle as an array of C. */
mxg_status mxg_output_write(const mxg_generation *g, const char *out_dir, const char *embed, mxg_error *err);

#endif
