/* plan_arrays.c -- the first stage of the planner: every array that a rank of either side stores, its name, shape and
** encoding, and the fills of what no piece will write (padding of rows and of scale layouts). */
#include "planner.h"

#include <assert.h>
#include <string.h>

/* Offsets of the names of a tensor's arrays on a side, made once for all ranks: [part][expert][plane], 0: not made yet.
 */
typedef struct name_table {
  uint32_t *offsets, *scale_offsets;
  uint64_t parts, experts;
} name_table;

static mxg_status name_array(mxg_planner *planner, name_table *names, const mxg_side_model *side, uint32_t tensor,
                             const mxg_shard *shard, uint32_t plane, mxg_array *array) {
  const mxg_naming *naming = &side->namings[tensor];
  uint64_t part = shard->part == MXG_NONE ? 0 : shard->part;
  uint64_t expert = naming->experts_apart ? shard->first_expert : 0;
  uint64_t at = (part * names->experts + expert) * 2 + plane;
  if (!names->offsets[at]) {
    const char *name = mxg_naming_name(naming, (uint32_t)part, expert, planner->arena);
    if (name && plane) name = mxg_arena_format(planner->arena, "%s" MXG_SECOND_PLANE_SUFFIX, name);
    const char *scale = name ? mxg_arena_format(planner->arena, "%s%s", name, side->scale_suffix) : NULL;
    if (!scale) return mxg_fail_nomem(planner->err);
    names->offsets[at] = mxg_planner_string(planner, name);
    names->scale_offsets[at] = mxg_planner_string(planner, scale);
    if (names->offsets[at] == MXG_NONE || names->scale_offsets[at] == MXG_NONE) return MXG_ERR_NOMEM;
  }
  array->name = names->offsets[at];
  const mxg_encoding *encodings = planner->encodings.items;
  array->scale_name = encodings[array->encoding].scale == MX_SCALE_NONE ? 0 : names->scale_offsets[at];
  return MXG_OK;
}

static mxg_status check_size(mxg_planner *planner, const mxg_tensor *tensor, const mxg_array *array) {
  uint64_t elements;
  if (array->rows >= UINT32_MAX || array->cols >= UINT32_MAX || array->matrices >= UINT32_MAX ||
      !mxg_mul(&elements, array->rows, array->cols) || !mxg_mul(&elements, elements, array->matrices) ||
      elements > UINT64_MAX / 16)
    return mxg_fail(planner->err, MXG_ERR_INPUT, 411, "'%s' is too large: %llu x %llu x %llu elements on one rank",
                    tensor->name, (unsigned long long)array->matrices, (unsigned long long)array->rows,
                    (unsigned long long)array->cols);
  return MXG_OK;
}

static mxg_status fill_push(mxg_planner *planner, uint32_t array, mxg_fill_kind kind, uint64_t offset, uint64_t bytes) {
  mxg_fill *fill = mxg_table_push(planner, &planner->fills, sizeof *fill);
  if (!fill) return MXG_ERR_NOMEM;
  *fill = (mxg_fill){.array = array, .kind = kind, .offset = offset, .bytes = bytes};
  return MXG_OK;
}

/* Rows [written, rows) of every matrix of a target array are padding, and so are the scales that no written row has. */
static mxg_status fill_padding(mxg_planner *planner, uint32_t index, uint64_t written) {
  const mxg_array *array = (const mxg_array *)planner->arrays.items + index;
  const mxg_encoding *encoding = (const mxg_encoding *)planner->encodings.items + array->encoding;
  uint64_t extent = array->ndim == 1 ? array->cols : array->rows;
  uint64_t unit = mxg_elem_bytes(encoding->elem) * (array->ndim == 1 ? 1 : array->cols);
  if (written < extent) {
    for (uint64_t m = 0; m < array->matrices; m++)
      MXG_TRY(fill_push(planner, index, MXG_FILL_DATA, (m * extent + written) * unit, (extent - written) * unit));
  }
  if (encoding->scale == MX_SCALE_NONE) return MXG_OK;
  mxg_scale_shape shape = mxg_scale_shape_of(encoding, array->rows, array->cols);
  uint64_t block = encoding->block_rows == MX_WHOLE ? extent : encoding->block_rows;
  uint64_t scale_rows = (written + block - 1) / block;
  uint64_t padding = shape.stored_rows * shape.stored_cols - scale_rows * shape.cols;
  if (padding == 0) return MXG_OK;
  return fill_push(planner, index, MXG_FILL_SCALES, scale_rows, padding * shape.bytes_each * array->matrices);
}

/* Rows of a shard that pieces write: runs are a prefix, since only a shard's end is padding. */
static uint64_t written_rows(const mxg_shard *shard) {
  uint64_t rows = 0;
  for (uint32_t i = 0; i < shard->run_count; i++) {
    assert(shard->runs[i].stored == rows);
    rows += shard->runs[i].rows;
  }
  return rows;
}

/* All rows, columns and experts of what the array's name stands for. */
static bool is_whole(const mxg_tensor *tensor, const mxg_shard *shard, bool experts_apart) {
  uint64_t rows = shard->part == MXG_NONE ? tensor->rows : tensor->parts[shard->part].rows;
  return written_rows(shard) == rows && shard->cols == tensor->cols &&
         (experts_apart || shard->experts == tensor->experts);
}

static mxg_status add_arrays(mxg_planner *planner, mxg_side which, uint32_t tensor, uint32_t rank, name_table *names,
                             uint32_t tensor_name) {
  const mxg_side_model *side = &planner->model->side[which];
  const mxg_tensor *model_tensor = &planner->model->tensors[tensor];
  const mxg_format *format = side->placements[tensor].format;
  mxg_holding *holding =
      &planner->holdings[which][(size_t)(rank - side->first_rank) * planner->model->tensor_count + tensor];
  MXG_TRY(mxg_layout_shards(&holding->shards, &holding->count, planner->model, which, tensor, rank, planner->arena,
                            planner->err));
  holding->first_array = (uint32_t)planner->arrays.count;
  for (uint32_t s = 0; s < holding->count; s++) {
    const mxg_shard *shard = &holding->shards[s];
    for (uint32_t plane = 0; plane < format->planes; plane++) {
      mxg_array *array = mxg_table_push(planner, &planner->arrays, sizeof *array);
      if (!array) return MXG_ERR_NOMEM;
      bool vector = model_tensor->ndim == 1;
      *array = (mxg_array){.tensor = tensor_name,
                           .rank = rank,
                           .side = (uint8_t)which,
                           .ndim = (uint8_t)(vector                                                            ? 1
                                             : model_tensor->ndim == 3 && !side->namings[tensor].experts_apart ? 3
                                                                                                               : 2),
                           .e8m0_dtype = format->e8m0_dtype,
                           .whole = is_whole(model_tensor, shard, side->namings[tensor].experts_apart),
                           .matrices = shard->experts,
                           .rows = vector ? 1 : shard->stored_rows,
                           .cols = vector ? shard->stored_rows : shard->cols};
      array->encoding = mxg_planner_encoding(planner, &format->plane[plane]);
      if (array->encoding == MXG_NONE) return MXG_ERR_NOMEM;
      MXG_TRY(check_size(planner, model_tensor, array));
      MXG_TRY(name_array(planner, names, side, tensor, shard, plane, array));
      if (which == MXG_TARGET) MXG_TRY(fill_padding(planner, (uint32_t)planner->arrays.count - 1, written_rows(shard)));
    }
  }
  return MXG_OK;
}

static mxg_status make_names(mxg_planner *planner, const mxg_side_model *side, name_table *names,
                             uint32_t *tensor_names) {
  const mxg_model *model = planner->model;
  for (uint32_t t = 0; t < model->tensor_count; t++) {
    names[t].parts = side->namings[t].parts_apart ? model->tensors[t].part_count : 1;
    names[t].experts = side->namings[t].experts_apart ? model->tensors[t].experts : 1;
    uint64_t count = names[t].parts * names[t].experts * 2;
    names[t].offsets = mxg_arena_alloc(planner->arena, count, sizeof(uint32_t));
    names[t].scale_offsets = mxg_arena_alloc(planner->arena, count, sizeof(uint32_t));
    if (!names[t].offsets || !names[t].scale_offsets) return mxg_fail_nomem(planner->err);
    if (!tensor_names[t]) tensor_names[t] = mxg_planner_string(planner, model->tensors[t].name);
    if (tensor_names[t] == MXG_NONE) return MXG_ERR_NOMEM;
  }
  return MXG_OK;
}

mxg_status mxg_plan_arrays(mxg_planner *planner) {
  const mxg_model *model = planner->model;
  uint32_t *tensor_names = mxg_arena_alloc(planner->arena, model->tensor_count, sizeof *tensor_names);
  if (!tensor_names) return mxg_fail_nomem(planner->err);
  for (int which = MXG_SOURCE; which <= MXG_TARGET; which++) {
    const mxg_side_model *side = &model->side[which];
    name_table *names = mxg_arena_alloc(planner->arena, model->tensor_count, sizeof *names);
    planner->holdings[which] =
        mxg_arena_alloc(planner->arena, (size_t)side->rank_count * model->tensor_count, sizeof(mxg_holding));
    if (!names || !planner->holdings[which]) return mxg_fail_nomem(planner->err);
    MXG_TRY(make_names(planner, side, names, tensor_names));
    for (uint32_t rank = side->first_rank; rank < side->first_rank + side->rank_count; rank++) {
      mxg_rank *row = &planner->plan->ranks[rank];
      uint32_t first = (uint32_t)planner->arrays.count;
      for (uint32_t t = 0; t < model->tensor_count; t++)
        MXG_TRY(add_arrays(planner, (mxg_side)which, t, rank, &names[t], tensor_names[t]));
      uint32_t count = (uint32_t)planner->arrays.count - first;
      if (which == MXG_SOURCE)
        row->first_source = first, row->sources = count;
      else
        row->first_target = first, row->targets = count;
    }
  }
  return MXG_OK;
}
