/* plan_groups.c -- what a caller starts and waits for: buckets, or the layers that the recipe asks for. A layer is all
** tensors whose names begin alike up to the first numbered segment; a tensor without one is a group of its own. */
#include "planner.h"

#include <stdio.h>
#include <string.h>

static bool is_number(const char *segment, size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    if (segment[i] < '0' || segment[i] > '9') return false;
  return bytes > 0;
}

/* Bytes of the name that are the group's: "layers.12" of "layers.12.attn.qkv", all of "embed". */
static size_t group_bytes(const char *name) {
  for (const char *at = name;;) {
    size_t bytes = strcspn(at, ".");
    if (is_number(at, bytes) || at[bytes] == 0) return (size_t)(at - name) + bytes;
    at += bytes + 1;
  }
}

static uint32_t find_group(const mxg_planner *planner, const char *name, size_t bytes) {
  const mxg_group *groups = planner->groups.items;
  const char *strings = planner->strings.items;
  for (size_t i = planner->groups.count; i-- > 0;) { /* most often the last one */
    const char *known = strings + groups[i].name;
    if (strncmp(known, name, bytes) == 0 && known[bytes] == 0) return (uint32_t)i;
  }
  return MXG_NONE;
}

static mxg_status add_group(mxg_planner *planner, const char *name, size_t bytes) {
  const char *text = mxg_arena_text(planner->arena, name, bytes);
  if (!text) return mxg_fail_nomem(planner->err);
  mxg_group group = {mxg_planner_string(planner, text)};
  mxg_group *fresh = group.name == MXG_NONE ? NULL : mxg_table_push(planner, &planner->groups, sizeof *fresh);
  if (!fresh) return MXG_ERR_NOMEM;
  *fresh = group;
  return MXG_OK;
}

/* Tensors that a target holds, by group; the others after them. */
static void order_tensors(mxg_planner *planner) {
  uint32_t at = 0;
  for (uint32_t g = 0; g < planner->groups.count; g++)
    for (uint32_t t = 0; t < planner->model->tensor_count; t++)
      if (planner->tensor_groups[t] == g) planner->tensor_order[at++] = t;
  for (uint32_t t = 0; t < planner->model->tensor_count; t++)
    if (planner->tensor_groups[t] == MXG_NONE) planner->tensor_order[at++] = t;
}

mxg_status mxg_plan_groups(mxg_planner *planner) {
  const mxg_model *model = planner->model;
  planner->tensor_order = mxg_arena_alloc(planner->arena, model->tensor_count, sizeof *planner->tensor_order);
  if (!planner->tensor_order) return mxg_fail_nomem(planner->err);
  for (uint32_t t = 0; t < model->tensor_count; t++) planner->tensor_order[t] = t;
  if (!model->layer_groups) return MXG_OK;
  planner->tensor_groups = mxg_arena_alloc(planner->arena, model->tensor_count, sizeof *planner->tensor_groups);
  if (!planner->tensor_groups) return mxg_fail_nomem(planner->err);
  for (uint32_t t = 0; t < model->tensor_count; t++) {
    const char *name = model->tensors[t].name;
    size_t bytes = group_bytes(name);
    planner->tensor_groups[t] = MXG_NONE;
    if (!model->side[MXG_TARGET].placements[t].held) continue;
    planner->tensor_groups[t] = find_group(planner, name, bytes);
    if (planner->tensor_groups[t] != MXG_NONE) continue;
    planner->tensor_groups[t] = (uint32_t)planner->groups.count;
    MXG_TRY(add_group(planner, name, bytes));
  }
  order_tensors(planner);
  return MXG_OK;
}

mxg_status mxg_plan_bucket_groups(mxg_planner *planner, uint32_t buckets) {
  for (uint32_t b = 0; b < buckets && !planner->tensor_groups; b++) {
    char name[32];
    snprintf(name, sizeof name, "bucket %u", b);
    MXG_TRY(add_group(planner, name, strlen(name)));
  }
  return MXG_OK;
}
