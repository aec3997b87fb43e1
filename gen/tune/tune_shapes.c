/* tune_shapes.c -- which kernels of a plan are worth trying in other shapes, and in which. What a shape is, and what is
** chosen without a trial, is kernel_shape.c's. The kernels looked at are as chosen there. */
#include "tune.h"

static const uint32_t threads_tried[] = {128, 256, 512};
static const double least_share = 0.1; /* of the bytes converted, for a family that is not the heaviest */

/* Strips of columns are 8 bytes wide whatever an access is. */
static bool width_matters(const mxg_kernel *kernel) {
  if (kernel->family == MXG_QUANTIZE_SQUARE) return kernel->dst.block_rows >= 128;
  return kernel->family != MXG_QUANTIZE_COLUMNWISE;
}

uint32_t mxg_tune_shapes_of(mxg_kernel_shape shapes[MXG_TUNE_SHAPES], const mxg_kernel *kernel) {
  const mxg_kernel_shape narrow = {.access_bytes = MXG_ACCESS_BYTES / 2};
  bool narrows = width_matters(kernel) &&
                 mxg_kernel_widest((mxg_family)kernel->family, &kernel->src, &kernel->dst, &narrow) < kernel->vec;
  uint32_t count = 0;
  for (int half = 0; half < (narrows ? 2 : 1); half++)
    for (size_t i = 0; i < sizeof threads_tried / sizeof *threads_tried; i++) {
      bool chosen = threads_tried[i] == kernel->threads;
      if ((chosen && !half) || count == MXG_TUNE_SHAPES) continue;
      shapes[count++] = (mxg_kernel_shape){chosen ? 0 : threads_tried[i], half ? narrow.access_bytes : 0};
    }
  return count;
}

void mxg_tune_list_shapes(mxg_tune_space *space, const mxg_plan *plan) {
  uint64_t of_family[MXG_FAMILIES] = {0}, all = 0, heaviest[MXG_FAMILIES] = {0};
  uint32_t kernel_of[MXG_FAMILIES];
  space->family_count = 0;
  for (uint32_t k = 0; k < plan->kernel_count; k++) {
    uint64_t bytes = 0;
    unsigned family = plan->kernels[k].family;
    for (uint32_t s = 0; s < plan->step_count; s++)
      if (plan->steps[s].kind == MXG_STEP_CONVERT && plan->steps[s].kernel == k) bytes += plan->steps[s].bytes;
    of_family[family] += bytes;
    all += bytes;
    if (bytes <= heaviest[family]) continue;
    heaviest[family] = bytes;
    kernel_of[family] = k;
  }
  while (space->family_count < MXG_TUNE_FAMILIES) {
    unsigned most = 0;
    for (unsigned f = 1; f < MXG_FAMILIES; f++)
      if (of_family[f] > of_family[most]) most = f;
    if (!heaviest[most] || (space->family_count && (double)of_family[most] < least_share * (double)all)) return;
    mxg_tune_family *entry = &space->families[space->family_count++];
    entry->family = (mxg_family)most;
    entry->count = mxg_tune_shapes_of(entry->shapes, &plan->kernels[kernel_of[most]]);
    of_family[most] = heaviest[most] = 0;
  }
}
