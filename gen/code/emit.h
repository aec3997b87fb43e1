/* emit.h -- from a plan's kernels to CUDA source: one generated mx_params.h for each shape class, beside unchanged
** templates. */
#ifndef MXG_EMIT_H
#define MXG_EMIT_H

#include "memory.h"
#include "plan.h"

struct mxg_text;

/* Names a kernel: fills kernel->name with mx_<family>_<8 hex digits> of the SHA-256 of its parameters (not of its
 * origin). */
void mxg_kernel_name(mxg_kernel *kernel);

typedef struct mxg_source {
  const char *kernel;        /* "mx_dequantize_1a2b3c4d" */
  const char *template_name; /* "dequantize.cu" */
  const char *params;        /* text of mx_params.h */
} mxg_source;

/* One source a kernel of the plan, in the plan's order. */
mxg_status mxg_emit(const mxg_source **out, const mxg_plan *plan, mxg_arena *arena, mxg_error *err);

/* The text of one kernel's mx_params.h. `origin`: lines for its comment, of any bytes; NULL or "": none. */
void mxg_emit_params(struct mxg_text *text, const mxg_kernel *kernel, const char *origin);

/* The templates, embedded in the binary or, where MXGEN_TEMPLATES names a folder, read from there. */
typedef struct mxg_template {
  const char *name, *text;
  size_t bytes;
} mxg_template;
mxg_status mxg_templates(const mxg_template **out, uint32_t *count, mxg_arena *arena, mxg_error *err);

#endif
