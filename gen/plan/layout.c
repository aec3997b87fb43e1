/* layout.c -- the layout algebra: see layout.h. The formulas are those of DESIGN section 5:
**   by part     stored row first_part + i  = tensor row part + index * f + i        f = part rows / ranks
**   grouped     stored rows of group g     = rows [g * q', ...) of q, then of k, then of v   q' = part rows / groups
**   padded      a shard is ceil(V / (ranks * n)) * n rows; rows past V are padding
**   by column   target column r * k + c    = shard r, column c                      k = cols / ranks
**   by expert   expert e                   = index e / (E / ranks), local e % (E / ranks) */
#include "layout.h"

#include "error.h"

#include <assert.h>

uint64_t mxg_mesh_coordinate(const mxg_mesh *mesh, uint32_t axis, uint64_t rank) {
  uint64_t inner = 1;
  for (uint32_t a = axis + 1; a < mesh->axis_count; a++) inner *= mesh->axes[a].size;
  return rank / inner % mesh->axes[axis].size;
}

/* How many ways a dimension is split, and which of them `rank` (of the side, from 0) has. */
static uint64_t split_ways(const mxg_mesh *mesh, const mxg_split *split) {
  uint64_t ways = 1;
  for (uint32_t i = 0; i < split->count; i++) ways *= mesh->axes[split->axes[i]].size;
  return ways;
}

static uint64_t split_index(const mxg_mesh *mesh, const mxg_split *split, uint64_t rank) {
  uint64_t index = 0;
  for (uint32_t i = 0; i < split->count; i++) {
    uint32_t axis = split->axes[i];
    index = index * mesh->axes[axis].size + mxg_mesh_coordinate(mesh, axis, rank);
  }
  return index;
}

static bool is_grouped(const mxg_tensor *tensor, const mxg_layout *layout, const mxg_naming *naming) {
  return tensor->groups && !naming->parts_apart && layout->order != MXG_ORDER_PARTS;
}

/* The padding granularity of a shard's rows; 0: none. */
static uint64_t row_padding(const mxg_tensor *tensor, const mxg_layout *layout) {
  if (layout->has_pad) return layout->pad_rows;
  return layout->row.count ? tensor->pad_rows : 0;
}

uint32_t mxg_tensor_root(const mxg_model *model, uint32_t tensor) {
  while (model->tensors[tensor].tied_to != MXG_NONE) tensor = model->tensors[tensor].tied_to;
  return tensor;
}

/* ---- shards ---- */

typedef struct run_list {
  mxg_run *runs;
  uint32_t count;
  uint64_t stored_rows;
} run_list;

/* Appends, joining a run that continues the last one. Room for all runs was made by the caller. */
static void run_add(run_list *list, uint64_t row, uint64_t rows) {
  if (rows == 0) return;
  if (list->count) {
    mxg_run *last = &list->runs[list->count - 1];
    if (last->stored + last->rows == list->stored_rows && last->row + last->rows == row) {
      last->rows += rows;
      list->stored_rows += rows;
      return;
    }
  }
  list->runs[list->count++] = (mxg_run){list->stored_rows, row, rows};
  list->stored_rows += rows;
}

static void runs_of_part(run_list *list, const mxg_part *part, uint64_t ways, uint64_t index, uint64_t padding) {
  if (padding == 0) {
    uint64_t rows = part->rows / ways;
    run_add(list, part->first_row + index * rows, rows);
    return;
  }
  uint64_t unit = ways * padding;
  uint64_t shard = (part->rows + unit - 1) / unit * padding;
  uint64_t begin = index * shard, end = begin + shard;
  if (end > part->rows) end = part->rows;
  if (begin < end) run_add(list, part->first_row + begin, end - begin);
  list->stored_rows = shard;
}

static void runs_of_groups(run_list *list, const mxg_tensor *tensor, uint64_t ways, uint64_t index) {
  uint64_t groups = tensor->groups / ways;
  for (uint64_t g = index * groups; g < (index + 1) * groups; g++) {
    for (uint32_t p = 0; p < tensor->part_count; p++) {
      uint64_t rows = tensor->parts[p].rows / tensor->groups;
      run_add(list, tensor->parts[p].first_row + g * rows, rows);
    }
  }
}

static mxg_status runs_of_shard(run_list *list, const mxg_tensor *tensor, const mxg_layout *layout,
                                const mxg_naming *naming, uint32_t part, uint64_t ways, uint64_t index,
                                mxg_arena *arena, mxg_error *err) {
  bool grouped = is_grouped(tensor, layout, naming);
  uint64_t room = grouped ? tensor->groups / ways * tensor->part_count : tensor->part_count;
  *list = (run_list){mxg_arena_alloc(arena, (size_t)room, sizeof(mxg_run)), 0, 0};
  if (!list->runs) return mxg_fail_nomem(err);
  if (grouped) {
    runs_of_groups(list, tensor, ways, index);
    return MXG_OK;
  }
  for (uint32_t p = 0; p < tensor->part_count; p++) {
    if (part == MXG_NONE || part == p) runs_of_part(list, &tensor->parts[p], ways, index, row_padding(tensor, layout));
  }
  return MXG_OK;
}

static bool in_stage(const mxg_side_model *side, const mxg_placement *placement, uint64_t rank) {
  if (placement->stage == MXG_NONE) return true;
  return mxg_mesh_coordinate(&side->meshes[side->stage_mesh], side->stage_axis, rank) == placement->stage;
}

mxg_status mxg_layout_shards(const mxg_shard **out, uint32_t *count, const mxg_model *model, mxg_side which,
                             uint32_t index, uint32_t rank, mxg_arena *arena, mxg_error *err) {
  *out = NULL;
  *count = 0;
  const mxg_side_model *side = &model->side[which];
  const mxg_tensor *tensor = &model->tensors[index];
  const mxg_placement *placement = &side->placements[index];
  const mxg_naming *naming = &side->namings[index];
  if (rank < side->first_rank || rank - side->first_rank >= side->rank_count) return MXG_OK;
  uint64_t local = rank - side->first_rank;
  if (!placement->held || !in_stage(side, placement, local)) return MXG_OK;

  const mxg_layout *layout = placement->layout;
  const mxg_mesh *mesh = &side->meshes[layout->mesh];
  uint64_t experts = tensor->experts / split_ways(mesh, &layout->expert);
  uint64_t cols = tensor->cols / split_ways(mesh, &layout->col);
  uint64_t first_expert = split_index(mesh, &layout->expert, local) * experts;
  uint64_t row_ways = split_ways(mesh, &layout->row), row_index = split_index(mesh, &layout->row, local);
  uint32_t parts = naming->parts_apart ? tensor->part_count : 1;
  uint64_t stacks = naming->experts_apart ? experts : 1;

  if (stacks > UINT32_MAX / parts) return mxg_fail(err, MXG_ERR_INPUT, 408, "'%s' has too many arrays", tensor->name);
  mxg_shard *shards = mxg_arena_alloc(arena, (size_t)(parts * stacks), sizeof *shards);
  if (!shards) return mxg_fail_nomem(err);
  for (uint32_t p = 0; p < parts; p++) {
    run_list list;
    uint32_t part = naming->parts_apart ? p : MXG_NONE;
    MXG_TRY(runs_of_shard(&list, tensor, layout, naming, part, row_ways, row_index, arena, err));
    for (uint64_t e = 0; e < stacks; e++) {
      shards[p * stacks + e] = (mxg_shard){
          .tensor = index,
          .rank = rank,
          .part = part,
          .first_expert = first_expert + e,
          .experts = naming->experts_apart ? 1 : experts,
          .stored_rows = list.stored_rows,
          .first_col = split_index(mesh, &layout->col, local) * cols,
          .cols = cols,
          .runs = list.runs,
          .run_count = list.count,
      };
    }
  }
  *out = shards;
  *count = parts * (uint32_t)stacks;
  return MXG_OK;
}

/* ---- checks ---- */

static const char *axis_names(char buffer[128], const mxg_mesh *mesh, const mxg_split *split) {
  size_t used = 0;
  buffer[0] = 0;
  for (uint32_t i = 0; i < split->count; i++) {
    const char *name = mesh->axes[split->axes[i]].name;
    for (const char *c = i ? "*" : ""; *c && used < 126; c++) buffer[used++] = *c;
    for (const char *c = name; *c && used < 126; c++) buffer[used++] = *c;
    buffer[used] = 0;
  }
  return buffer;
}

static mxg_status check_splits(const mxg_tensor *tensor, const mxg_layout *layout, const mxg_naming *naming,
                               const mxg_mesh *mesh, mxg_error *err) {
  char axes[128];
  if (layout->spread == MXG_SPREAD_FLAT)
    return mxg_fail(err, MXG_ERR_INPUT, 409, "'%s': flat ranges over data-parallel ranks are not supported yet",
                    tensor->name);
  uint64_t experts = split_ways(mesh, &layout->expert), cols = split_ways(mesh, &layout->col);
  uint64_t rows = split_ways(mesh, &layout->row);
  if (layout->expert.count && tensor->ndim != 3)
    return mxg_fail(err, MXG_ERR_INPUT, 406, "'%s' has no experts to split over %s", tensor->name,
                    axis_names(axes, mesh, &layout->expert));
  if (tensor->experts % experts)
    return mxg_fail(err, MXG_ERR_INPUT, 401, "'%s' has %llu experts, not a multiple of %s=%llu", tensor->name,
                    (unsigned long long)tensor->experts, axis_names(axes, mesh, &layout->expert),
                    (unsigned long long)experts);
  if (layout->col.count && tensor->ndim == 1)
    return mxg_fail(err, MXG_ERR_INPUT, 407, "'%s' has one dimension: split it by row, not by column", tensor->name);
  if (tensor->cols % cols)
    return mxg_fail(err, MXG_ERR_INPUT, 401, "'%s' has %llu columns, not a multiple of %s=%llu", tensor->name,
                    (unsigned long long)tensor->cols, axis_names(axes, mesh, &layout->col), (unsigned long long)cols);
  if (layout->order == MXG_ORDER_GROUPED && (!tensor->groups || naming->parts_apart))
    return mxg_fail(err, MXG_ERR_INPUT, 405,
                    tensor->groups ? "'%s': order = \"grouped\" needs the parts together, and its names keep them apart"
                                   : "'%s': order = \"grouped\" needs a tensor with :interleave(groups)",
                    tensor->name);
  if (is_grouped(tensor, layout, naming)) {
    if (tensor->groups % rows)
      return mxg_fail(err, MXG_ERR_INPUT, 402, "'%s' has %llu query groups, not a multiple of %s=%llu", tensor->name,
                      (unsigned long long)tensor->groups, axis_names(axes, mesh, &layout->row),
                      (unsigned long long)rows);
    return MXG_OK;
  }
  uint64_t padding = row_padding(tensor, layout);
  if (padding && tensor->part_count > 1)
    return mxg_fail(err, MXG_ERR_INPUT, 404, "'%s' is made of parts: its rows cannot be padded", tensor->name);
  for (uint32_t p = 0; !padding && p < tensor->part_count; p++) {
    const mxg_part *part = &tensor->parts[p];
    if (part->rows % rows == 0) continue;
    if (tensor->part_count > 1)
      return mxg_fail(err, MXG_ERR_INPUT, 401, "'%s': part '%s' has %llu rows, not a multiple of %s=%llu", tensor->name,
                      part->name, (unsigned long long)part->rows, axis_names(axes, mesh, &layout->row),
                      (unsigned long long)rows);
    return mxg_fail(err, MXG_ERR_INPUT, 401, "'%s' has %llu rows, not a multiple of %s=%llu", tensor->name,
                    (unsigned long long)part->rows, axis_names(axes, mesh, &layout->row), (unsigned long long)rows);
  }
  return MXG_OK;
}

/* A block must lie in one shard, and in one part. */
static mxg_status check_blocks(const mxg_tensor *tensor, const mxg_layout *layout, const mxg_naming *naming,
                               const mxg_mesh *mesh, const mxg_encoding *encoding, mxg_error *err) {
  uint32_t block_rows = encoding->block_rows, block_cols = encoding->block_cols;
  if (encoding->scale == MX_SCALE_NONE || block_rows == MX_WHOLE) return MXG_OK;
  char axes[128];
  if (tensor->ndim == 1)
    return mxg_fail(err, MXG_ERR_INPUT, 403, "'%s' has one dimension, and no blocks", tensor->name);
  uint64_t col_ways = split_ways(mesh, &layout->col), row_ways = split_ways(mesh, &layout->row);
  uint64_t cols = tensor->cols / col_ways;
  if (col_ways > 1 && cols % block_cols)
    return mxg_fail(err, MXG_ERR_INPUT, 403, "'%s': %s=%llu leaves shards of %llu columns, which cut a %ux%u block",
                    tensor->name, axis_names(axes, mesh, &layout->col), (unsigned long long)col_ways,
                    (unsigned long long)cols, block_rows, block_cols);
  if (block_rows == 1) return MXG_OK;
  bool grouped = is_grouped(tensor, layout, naming);
  uint64_t padding = row_padding(tensor, layout);
  for (uint32_t p = 0; p < tensor->part_count; p++) {
    const mxg_part *part = &tensor->parts[p];
    uint64_t pieces = grouped ? tensor->groups : row_ways;
    uint64_t unit = row_ways * (padding ? padding : 1);
    uint64_t run = padding ? (part->rows + unit - 1) / unit * padding : part->rows / pieces;
    bool last = pieces == 1 && (naming->parts_apart || p + 1 == tensor->part_count);
    if (run % block_rows == 0 || last) continue;
    if (row_ways > 1)
      return mxg_fail(err, MXG_ERR_INPUT, 403,
                      "'%s': %s=%llu leaves %s%s%s%llu rows at a time, which cut a %ux%u block", tensor->name,
                      axis_names(axes, mesh, &layout->row), (unsigned long long)row_ways, *part->name ? "part '" : "",
                      part->name, *part->name ? "' " : "", (unsigned long long)run, block_rows, block_cols);
    return mxg_fail(err, MXG_ERR_INPUT, 403,
                    "'%s': part '%s' comes in runs of %llu rows, so that a %ux%u block spans two", tensor->name,
                    part->name, (unsigned long long)run, block_rows, block_cols);
  }
  return MXG_OK;
}

mxg_status mxg_layout_check(bool *cuts, const mxg_model *model, mxg_side which, uint32_t index,
                            const mxg_placement *placement, const mxg_naming *naming, mxg_error *err) {
  *cuts = false;
  const mxg_side_model *side = &model->side[which];
  const mxg_tensor *tensor = &model->tensors[index];
  const mxg_layout *layout = placement->layout;
  const mxg_mesh *mesh = &side->meshes[layout->mesh];
  MXG_TRY(check_splits(tensor, layout, naming, mesh, err));
  for (uint32_t plane = 0; plane < placement->format->planes; plane++) {
    mxg_status status = check_blocks(tensor, layout, naming, mesh, &placement->format->plane[plane], err);
    if (status == MXG_OK) continue;
    *cuts = true;
    return status;
  }
  return MXG_OK;
}
