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

/* What a bundle is made of; everything is copied. `sources_digest`: 32 bytes, SHA-256 over the generated sources and
 *templates;
 ** `maker`: versions, "mxgen 0.1.0 nvrtc 13.0". */
typedef struct mxg_bundle_parts {
  const mxg_plan *plan;
  const mxg_bundle_cubin *cubins;
  uint32_t cubin_count;
  const unsigned char *sources_digest;
  const char *maker;
} mxg_bundle_parts;

mxg_status mxg_bundle_make(mxg_bundle **out, const mxg_bundle_parts *parts, mxg_error *err);

const mxg_plan *mxg_bundle_plan(const mxg_bundle *bundle);
/* The groups whose steps write an array; MXG_NONE: none, as for sources. */
typedef struct mxg_group_range {
  uint32_t first, last;
} mxg_group_range;
mxg_group_range mxg_bundle_array_groups(const mxg_bundle *bundle, uint32_t array);
uint32_t mxg_bundle_cubins(const mxg_bundle *bundle, const mxg_bundle_cubin **out);
const char *mxg_bundle_maker(const mxg_bundle *bundle);
/* The bytes that mxg_bundle_save writes; they live with the bundle. */
const unsigned char *mxg_bundle_image(const mxg_bundle *bundle, size_t *count);

#endif
