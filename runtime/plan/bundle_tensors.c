/* bundle_tensors.c -- the stored tensors of a bundle, as a caller binds them. Scratch arrays are the executor's own and
** are not listed. */
#include "bundle.h"
#include "error.h"

#include <string.h>

/* Arrays are by side and rank, so scratch ones are last. */
uint32_t mxg_bundle_tensors(const mxg_bundle *bundle) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  uint32_t count = plan->array_count;
  while (count && plan->arrays[count - 1].side == MXG_SCRATCH) count--;
  return count;
}

mxg_status mxg_bundle_tensor(mxg_tensor_info *out, const mxg_bundle *bundle, uint32_t index, mxg_error *err) {
  if (!out || !bundle) return mxg_fail(err, MXG_ERR_USAGE, 700, "mxg_bundle_tensor: out or bundle is NULL");
  if (out->size < sizeof out->size || out->size > sizeof *out)
    return mxg_fail(err, MXG_ERR_USAGE, 700, "mxg_tensor_info.size is %zu: set it to sizeof(mxg_tensor_info)",
                    out->size);
  uint32_t count = mxg_bundle_tensors(bundle);
  if (index >= count)
    return mxg_fail(err, MXG_ERR_USAGE, 700, "there is no tensor %u: the bundle has %u", index, count);
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  const mxg_array *array = &plan->arrays[index];
  mxg_group_range groups = mxg_bundle_array_groups(bundle, index);
  mxg_tensor_info tensor = {.size = out->size,
                            .side = (mxg_side)array->side,
                            .rank = array->rank,
                            .name = plan->strings + array->name,
                            .data_bytes = mxg_array_data_bytes(plan, array),
                            .scale_bytes = mxg_array_scale_bytes(plan, array),
                            .first_group = groups.first,
                            .group = groups.last,
                            .tensor = plan->strings + array->tensor,
                            .dtype = mxg_array_dtype(plan, array),
                            .scale_dtype = mxg_array_scale_dtype(plan, array)};
  tensor.ndim = mxg_array_shape(array, tensor.shape);
  if (tensor.scale_bytes) tensor.scale_ndim = mxg_array_scale_dims(plan, array, tensor.scale_shape);
  memcpy(out, &tensor, out->size);
  return MXG_OK;
}

uint32_t mxg_bundle_groups(const mxg_bundle *bundle) { return bundle ? mxg_bundle_plan(bundle)->group_count : 0; }

const char *mxg_bundle_group_name(const mxg_bundle *bundle, uint32_t group) {
  if (group >= mxg_bundle_groups(bundle)) return NULL;
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  return plan->strings + plan->groups[group].name;
}
