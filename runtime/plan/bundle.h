/* bundle.h -- the file that holds a plan and its compiled kernels: all that the runtime needs. Inside of libmxrt and
 * libmxgen. */
#ifndef MXG_BUNDLE_H
#define MXG_BUNDLE_H

#include "plan.h"

#include <stddef.h>

typedef struct mxg_bundle_cubin {
  uint32_t kernel; /* index into the plan's kernels */
  char arch[16];   /* "sm_90a" */
  const void *bytes;
  size_t count;
} mxg_bundle_cubin;

/* How the schedule runs best, where somebody measured it: what mxg_exec_create takes where its options leave a choice.
 */
typedef struct mxg_hints {
  uint32_t transport;    /* mxg_transport; MXG_AUTO: no hints at all */
  uint32_t copy_streams; /* 0: none */
  uint64_t chunk_bytes;  /* 0: none */
  /* the GPUs that they were measured on, and hold for: how many, compute capability, name */
  uint32_t gpus, major, minor, pad;
  char gpu[96];
} mxg_hints;
#define MXG_HINTS_INIT                \
  {                                   \
    MXG_AUTO, 0, 0, 0, 0, 0, 0, { 0 } \
  }

/* What a bundle is made of; everything is copied. `sources_digest`: 32 bytes, SHA-256 over the generated sources and
** templates; `maker`: versions, "mxgen 0.1.0 nvrtc 13.0". */
typedef struct mxg_bundle_parts {
  const mxg_plan *plan;
  const mxg_bundle_cubin *cubins;
  uint32_t cubin_count;
  const unsigned char *sources_digest;
  const char *maker;
  const mxg_hints *hints; /* NULL: none */
  const char *tuned;      /* one sentence: where the hints are from; NULL: "" */
} mxg_bundle_parts;

mxg_status mxg_bundle_make(mxg_bundle **out, const mxg_bundle_parts *parts, mxg_error *err);

/* From an open file that has `count` bytes of a bundle at its place. `known`: this very library made it and keeps it
** where nobody else writes, so that a right SHA-256 is enough: the plan is not checked once more. */
mxg_status mxg_bundle_read_file(mxg_bundle **out, int file, uint64_t count, bool known, mxg_error *err);
/* Makes the hash at the end of an image right, whatever else it has; for tests. */
void mxg_bundle_seal(unsigned char *image, size_t count);

const mxg_plan *mxg_bundle_plan(const mxg_bundle *bundle);
/* The groups whose steps write an array; MXG_NONE: none, as for sources. */
typedef struct mxg_group_range {
  uint32_t first, last;
} mxg_group_range;
mxg_group_range mxg_bundle_array_groups(const mxg_bundle *bundle, uint32_t array);
/* Never NULL. `*tuned`, if asked for, lives with the bundle. */
const mxg_hints *mxg_bundle_hints(const mxg_bundle *bundle, const char **tuned);
uint32_t mxg_bundle_cubins(const mxg_bundle *bundle, const mxg_bundle_cubin **out);
const char *mxg_bundle_maker(const mxg_bundle *bundle);
/* The bytes that mxg_bundle_save writes; they live with the bundle. */
const unsigned char *mxg_bundle_image(const mxg_bundle *bundle, size_t *count);

#endif
