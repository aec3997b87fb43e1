/* model.c -- from a recipe's tree to the model: meshes, stages, one placement for each tensor and side, each checked
** against the layout algebra. Rules, formats, layouts and names have files of their own (model_build.h). */
#include "model.h"

#include "layout.h"
#include "model_build.h"
#include "schema.h"
#include "suggest.h"

#include <stdio.h>
#include <string.h>

static const char *const side_names[2] = {"source", "target"};
static const uint64_t most_ranks = 1 << 20;

/* ---- meshes ------------------------------------------------------------------------------------------------------ */

static mxg_status build_mesh(mxg_mesh *mesh, const mxg_value *value, uint64_t *ranks, mxg_builder *build) {
  mxg_axis *axes = mxg_arena_alloc(build->arena, value->item_count, sizeof *axes);
  if (!axes) return mxg_fail_nomem(build->err);
  *mesh = (mxg_mesh){axes, value->item_count, value->origin};
  *ranks = 1;
  for (uint32_t i = 0; i < value->item_count; i++) {
    const mxg_value *pair = value->fields[i].value;
    axes[i] = (mxg_axis){pair->fields[0].value->as.text, (uint64_t)pair->fields[1].value->as.integer};
    const char *fault = mxg_name_fault(axes[i].name);
    if (fault)
      return mxg_fail_at(build->err, &pair->fields[0].origin, 211, "mesh: the name of axis %u %s", i + 1, fault);
    for (uint32_t k = 0; k < i; k++)
      if (strcmp(axes[k].name, axes[i].name) == 0)
        return mxg_fail_at(build->err, &pair->origin, 214, "mesh: axis '%s' is there twice", axes[i].name);
    if (!mxg_mul(ranks, *ranks, axes[i].size) || *ranks > most_ranks)
      return mxg_fail_at(build->err, &value->origin, 214, "mesh: more than %llu ranks", (unsigned long long)most_ranks);
  }
  return MXG_OK;
}

static mxg_status build_meshes(mxg_side_model *side, const mxg_value *value, mxg_builder *build) {
  const mxg_value *mesh = mxg_value_get(value, "mesh");
  uint32_t count = mesh->type ? 1 : mesh->item_count;
  mxg_mesh *meshes = mxg_arena_alloc(build->arena, count, sizeof *meshes);
  if (!meshes) return mxg_fail_nomem(build->err);
  uint64_t first =
      mxg_schema_int(value, "side", "first_rank") > 0 ? (uint64_t)mxg_schema_int(value, "side", "first_rank") : 0;
  uint64_t product = 0;
  for (uint32_t i = 0; i < count; i++) {
    uint64_t ranks;
    const mxg_value *one = mesh->type ? mesh : mesh->fields[i].value;
    MXG_TRY(build_mesh(&meshes[i], one, &ranks, build));
    if (i && ranks != product)
      return mxg_fail_at(build->err, &one->origin, 214,
                         "the side's meshes disagree: this one has %llu ranks, the first %llu",
                         (unsigned long long)ranks, (unsigned long long)product);
    product = ranks;
  }
  if (first + product > most_ranks)
    return mxg_fail_at(build->err, &mxg_value_find(value, "first_rank")->origin, 204,
                       "first_rank: the last rank would be beyond %llu", (unsigned long long)most_ranks);
  side->meshes = meshes;
  side->mesh_count = count;
  side->first_rank = (uint32_t)first;
  side->rank_count = (uint32_t)product;
  return MXG_OK;
}

/* ---- stages ------------------------------------------------------------------------------------------------------ */

static uint32_t find_axis(const mxg_mesh *mesh, const char *name) {
  for (uint32_t a = 0; a < mesh->axis_count; a++)
    if (strcmp(mesh->axes[a].name, name) == 0) return a;
  return MXG_NONE;
}

/* Every rank must be of the same stage by each mesh that has the axis. */
static mxg_status check_stage_meshes(const mxg_side_model *side, const mxg_value *stages, mxg_builder *build) {
  const char *name = mxg_value_get(stages, "axis")->as.text;
  for (uint32_t m = side->stage_mesh + 1; m < side->mesh_count; m++) {
    uint32_t axis = find_axis(&side->meshes[m], name);
    if (axis == MXG_NONE) continue;
    for (uint64_t r = 0; r < side->rank_count; r++) {
      if (mxg_mesh_coordinate(&side->meshes[m], axis, r) ==
          mxg_mesh_coordinate(&side->meshes[side->stage_mesh], side->stage_axis, r))
        continue;
      return mxg_fail_at(build->err, &side->meshes[m].origin, 215,
                         "rank %llu is of another stage by this mesh than by the side's first mesh with axis '%s'",
                         (unsigned long long)r, name);
    }
  }
  return MXG_OK;
}

static mxg_status find_stage_axis(mxg_side_model *side, const mxg_value *stages, mxg_side which, mxg_builder *build) {
  const mxg_value *name = mxg_value_get(stages, "axis");
  char near[100];
  mxg_suggest suggest = mxg_suggest_begin(name->as.text);
  for (uint32_t m = 0; m < side->mesh_count; m++) {
    for (uint32_t a = 0; a < side->meshes[m].axis_count; a++) mxg_suggest_offer(&suggest, side->meshes[m].axes[a].name);
    side->stage_mesh = m;
    side->stage_axis = find_axis(&side->meshes[m], name->as.text);
    if (side->stage_axis == MXG_NONE) continue;
    uint64_t size = side->meshes[m].axes[side->stage_axis].size;
    if (size != stages->item_count)
      return mxg_fail_at(build->err, &stages->origin, 215, "stages: axis '%s' has %llu, and the patterns are of %u",
                         name->as.text, (unsigned long long)size, stages->item_count);
    return check_stage_meshes(side, stages, build);
  }
  return mxg_fail_at(build->err, &name->origin, 212, "stages over '%.60s': the %s mesh has no such axis%s",
                     name->as.text, side_names[which], mxg_suggest_text(&suggest, near, sizeof near));
}

static mxg_status place_stages(mxg_placement *placements, mxg_side_model *side, const mxg_value *value, mxg_side which,
                               const bool *held, mxg_builder *build) {
  const mxg_value *stages = mxg_value_get(value, "stages");
  uint32_t tensors = build->model->tensor_count, count = 0;
  side->stage_mesh = side->stage_axis = MXG_NONE;
  for (uint32_t t = 0; t < tensors; t++) placements[t].stage = MXG_NONE;
  if (!stages) return MXG_OK;
  MXG_TRY(find_stage_axis(side, stages, which, build));
  mxg_pattern_list list = {.what = "stage", .missing = "is of no stage", .origin = &stages->origin};
  uint32_t *winners = mxg_arena_alloc(build->arena, tensors, sizeof *winners);
  if (!winners) return mxg_fail_nomem(build->err);
  for (uint32_t s = 0; s < stages->item_count; s++) count += stages->fields[s].value->item_count;
  MXG_TRY(mxg_pattern_list_begin(&list, count, build));
  for (uint32_t s = 0; s < stages->item_count; s++) {
    const mxg_value *patterns = stages->fields[s].value;
    for (uint32_t i = 0; i < patterns->item_count; i++)
      MXG_TRY(mxg_pattern_list_add(&list, patterns->fields[i].value, &patterns->fields[i].origin, s, build));
  }
  MXG_TRY(mxg_pattern_list_match(winners, &list, held, build));
  for (uint32_t t = 0; t < tensors; t++)
    if (winners[t] != MXG_NONE) placements[t].stage = list.patterns[winners[t]].rule;
  return MXG_OK;
}

/* ---- rules ------------------------------------------------------------------------------------------------------- */

static bool is_format(const mxg_value *value) {
  return strcmp(value->type, "whole") != 0 && strcmp(value->type, "split") != 0;
}

/* The patterns of a list of rules. Each rule's value must be a format, or a layout, as the key says. */
static mxg_status list_rules(mxg_pattern_list *list, const mxg_value *rules, bool formats, mxg_builder *build) {
  uint32_t count = 0;
  for (uint32_t r = 0; r < rules->item_count; r++) count += rules->fields[r].value->item_count - 1;
  MXG_TRY(mxg_pattern_list_begin(list, count, build));
  for (uint32_t r = 0; r < rules->item_count; r++) {
    const mxg_value *rule = rules->fields[r].value;
    if (is_format(rule->fields[0].value) != formats)
      return mxg_fail_at(build->err, &rule->fields[0].origin, 203, "%s %u: expected a %s, got %s", list->what, r + 1,
                         formats ? "format" : "layout", mxg_value_kind_name(rule->fields[0].value));
    for (uint32_t i = 1; i < rule->item_count; i++)
      MXG_TRY(mxg_pattern_list_add(list, rule->fields[i].value, &rule->fields[i].origin, r, build));
  }
  return MXG_OK;
}

/* The index of the first rule that has the same value object: one object makes one format or layout. */
static uint32_t first_use(const mxg_value *rules, uint32_t r) {
  for (uint32_t k = 0; k < r; k++)
    if (rules->fields[k].value->fields[0].value == rules->fields[r].value->fields[0].value) return k;
  return r;
}

static mxg_status place_formats(mxg_placement *placements, const mxg_value *value, const bool *held,
                                mxg_builder *build) {
  const mxg_field *field = mxg_value_find(value, "format");
  const mxg_value *rules = field->value;
  mxg_pattern_list list = {.what = "format rule", .missing = "matches no format rule", .origin = &field->origin};
  uint32_t tensors = build->model->tensor_count;
  uint32_t *winners = mxg_arena_alloc(build->arena, tensors, sizeof *winners);
  const mxg_format **formats = mxg_arena_alloc(build->arena, rules->item_count, sizeof *formats);
  if (!winners || !formats) return mxg_fail_nomem(build->err);
  MXG_TRY(list_rules(&list, rules, true, build));
  for (uint32_t r = 0; r < rules->item_count; r++) {
    uint32_t use = first_use(rules, r);
    if (use < r)
      formats[r] = formats[use];
    else
      MXG_TRY(mxg_format_of(&formats[r], rules->fields[r].value->fields[0].value, build));
  }
  MXG_TRY(mxg_pattern_list_match(winners, &list, held, build));
  for (uint32_t t = 0; t < tensors; t++) {
    if (winners[t] == MXG_NONE) continue;
    const mxg_pattern *won = &list.patterns[winners[t]];
    placements[t].format = formats[won->rule];
    placements[t].format_rule = won->origin;
    placements[t].format_pattern = won->text;
  }
  return MXG_OK;
}

static mxg_status place_layouts(mxg_placement *placements, const mxg_side_model *side, const mxg_value *value,
                                mxg_side which, const bool *held, mxg_builder *build) {
  const mxg_field *field = mxg_value_find(value, "layout");
  const mxg_value *rules = field->value;
  mxg_pattern_list list = {.what = "layout rule", .missing = "matches no layout rule", .origin = &field->origin};
  uint32_t tensors = build->model->tensor_count;
  uint32_t *winners = mxg_arena_alloc(build->arena, tensors, sizeof *winners);
  mxg_layout *layouts = mxg_arena_alloc(build->arena, rules->item_count, sizeof *layouts);
  if (!winners || !layouts) return mxg_fail_nomem(build->err);
  MXG_TRY(list_rules(&list, rules, false, build));
  for (uint32_t r = 0; r < rules->item_count; r++)
    MXG_TRY(mxg_layout_of(&layouts[r], rules->fields[r].value->fields[0].value, side, side_names[which], build));
  MXG_TRY(mxg_pattern_list_match(winners, &list, held, build));
  for (uint32_t t = 0; t < tensors; t++) {
    if (winners[t] == MXG_NONE) continue;
    const mxg_pattern *won = &list.patterns[winners[t]];
    placements[t].layout = &layouts[first_use(rules, won->rule)];
    placements[t].layout_rule = won->origin;
    placements[t].layout_pattern = won->text;
  }
  return MXG_OK;
}

/* ---- checks of each placement ------------------------------------------------------------------------------------ */

static bool splits_over(const mxg_split *split, uint32_t axis) {
  for (uint32_t i = 0; i < split->count; i++)
    if (split->axes[i] == axis) return true;
  return false;
}

/* A stage's ranks must hold all shards of its tensors: the split must not use the stage axis, and its mesh must have
 * it. */
static mxg_status check_stage_split(const mxg_side_model *side, const mxg_tensor *tensor,
                                    const mxg_placement *placement, mxg_builder *build) {
  const mxg_layout *layout = placement->layout;
  if (placement->stage == MXG_NONE || !(layout->row.count + layout->col.count + layout->expert.count)) return MXG_OK;
  const char *stage_name = side->meshes[side->stage_mesh].axes[side->stage_axis].name;
  uint32_t axis = find_axis(&side->meshes[layout->mesh], stage_name);
  if (axis == MXG_NONE)
    return mxg_fail_at(build->err, &placement->layout_rule, 215,
                       "'%s' belongs to a stage, and the mesh it is split over has no axis '%s'", tensor->name,
                       stage_name);
  if (splits_over(&layout->row, axis) || splits_over(&layout->col, axis) || splits_over(&layout->expert, axis))
    return mxg_fail_at(build->err, &placement->layout_rule, 215, "'%s' is split over '%s', the axis of its stages",
                       tensor->name, stage_name);
  return MXG_OK;
}

/* Tries the rule's format, then its fallbacks. MXG_ERR_INPUT with *cuts when none fits. */
static mxg_status settle_format(bool *cuts, mxg_placement *placement, mxg_side which, uint32_t t, mxg_builder *build) {
  const mxg_side_model *side = &build->model->side[which];
  const mxg_format *asked = placement->format;
  for (;;) {
    mxg_status status = mxg_layout_check(cuts, build->model, which, t, placement, &side->namings[t], build->err);
    if (status == MXG_OK || !*cuts || !placement->format->otherwise) return status;
    placement->refused = asked;
    placement->format = placement->format->otherwise;
  }
}

static void shape_text(char *room, size_t bytes, const mxg_tensor *tensor) {
  unsigned long long experts = tensor->experts, rows = tensor->rows, cols = tensor->cols;
  if (tensor->ndim == 1)
    snprintf(room, bytes, "[%llu]", rows);
  else if (tensor->ndim == 2)
    snprintf(room, bytes, "[%llu, %llu]", rows, cols);
  else
    snprintf(room, bytes, "[%llu, %llu, %llu]", experts, rows, cols);
}

/* Completes an error of the layout check: the rule's place, how many tensors it concerns, what to write. */
static mxg_status placement_error(bool cuts, mxg_placement *placements, mxg_side which, uint32_t first,
                                  mxg_builder *build) {
  const mxg_model *model = build->model;
  const mxg_placement *bad = &placements[first];
  const mxg_origin *origin = cuts ? &bad->format_rule : &bad->layout_rule, *layout = &bad->layout_rule;
  const mxg_format *format = bad->refused ? bad->refused : bad->format;
  mxg_error kept = *build->err;
  uint32_t concerned = 0;
  for (uint32_t t = first; t < model->tensor_count; t++) {
    bool cuts_too = false;
    mxg_placement *p = &placements[t];
    bool same_rule =
        p->held && (cuts ? p->format_pattern == bad->format_pattern : p->layout_pattern == bad->layout_pattern);
    if (!same_rule) continue;
    mxg_builder quiet = *build;
    quiet.err = NULL;
    mxg_status status = t == first ? MXG_ERR_INPUT : settle_format(&cuts_too, p, which, t, &quiet);
    if (status != MXG_OK && (t == first || cuts_too == cuts)) concerned++;
  }
  char shape[80];
  shape_text(shape, sizeof shape, &model->tensors[first]);
  if (build->err) *build->err = kept;
  mxg_error_place(build->err, origin->file, origin->line, origin->column, origin->span);
  mxg_error_note(build->err, "%s: this concerns %u tensor%s; the first is %s %s; the layout is of %s:%d:%d",
                 side_names[which], concerned, concerned == 1 ? "" : "s", model->tensors[first].name, shape,
                 layout->file, layout->line, layout->column);
  if (cuts)
    mxg_error_help(build->err, "write `otherwise = mx.bf16()` in the mx.%s of line %d, or split it another way",
                   format->kind, format->origin.line);
  return MXG_ERR_INPUT;
}

static mxg_status check_placements(mxg_placement *placements, mxg_side which, mxg_builder *build) {
  for (uint32_t t = 0; t < build->model->tensor_count; t++) {
    if (!placements[t].held) continue;
    bool cuts = false;
    MXG_TRY(check_stage_split(&build->model->side[which], &build->model->tensors[t], &placements[t], build));
    mxg_status status = settle_format(&cuts, &placements[t], which, t, build);
    if (status == MXG_ERR_INPUT) return placement_error(cuts, placements, which, t, build);
    if (status != MXG_OK) return status;
  }
  return MXG_OK;
}

/* ---- sides ------------------------------------------------------------------------------------------------------- */

static mxg_status build_side(mxg_side which, mxg_builder *build) {
  mxg_model *model = build->model;
  mxg_side_model *side = &model->side[which];
  const mxg_value *value = mxg_value_get(build->recipe, side_names[which]);
  const mxg_value *names = mxg_value_get(value, "names");
  bool once = strcmp(mxg_schema_text(value, "side", "tied"), "once") == 0;
  bool *held = mxg_arena_alloc(build->arena, model->tensor_count, sizeof *held);
  mxg_placement *placements = mxg_arena_alloc(build->arena, model->tensor_count, sizeof *placements);
  if (!held || !placements) return mxg_fail_nomem(build->err);
  for (uint32_t t = 0; t < model->tensor_count; t++)
    placements[t].held = held[t] = !once || model->tensors[t].tied_to == MXG_NONE;
  side->origin = mxg_value_find(build->recipe, side_names[which])->origin;
  side->placements = placements;
  MXG_TRY(build_meshes(side, value, build));
  MXG_TRY(place_stages(placements, side, value, which, held, build));
  MXG_TRY(place_formats(placements, value, held, build));
  MXG_TRY(place_layouts(placements, side, value, which, held, build));
  MXG_TRY(mxg_naming_build(side, names, held, build));
  MXG_TRY(check_placements(placements, which, build));
  return mxg_naming_check(side, which, names, build);
}

static mxg_status build_schedule(mxg_builder *build) {
  mxg_model *model = build->model;
  const mxg_field *field = mxg_value_find(build->recipe, "schedule");
  const mxg_value *schedule = field ? field->value : NULL;
  model->schedule_origin = field ? field->origin : build->recipe->origin;
  model->bucket_bytes = mxg_schema_size(schedule, "schedule", "bucket");
  model->staging_bytes = mxg_schema_size(schedule, "schedule", "staging");
  model->slots = (uint32_t)mxg_schema_int(schedule, "schedule", "slots");
  model->layer_groups = strcmp(mxg_schema_text(schedule, "schedule", "groups"), "layer") == 0;
  model->node_ranks = (uint32_t)mxg_schema_int(schedule, "schedule", "node");
  return MXG_OK;
}

mxg_status mxg_model_build(const mxg_model **out, mxg_files *files, const char *path, const mxg_recipe_options *options,
                           mxg_arena *arena, mxg_error *err) {
  *out = NULL;
  mxg_error unread; /* the stages add to an error, so there always is one */
  mxg_builder build = {.arena = arena, .err = err ? err : &unread};
  MXG_TRY(mxg_recipe_read(&build.recipe, files, path, options, arena, build.err));
  const mxg_field *field = mxg_value_find(build.recipe, "model");
  const mxg_declared *declared = field->value->as.model;
  const mxg_value *name = mxg_value_get(build.recipe, "name");
  mxg_model *model = mxg_arena_alloc(arena, 1, sizeof *model);
  if (!model) return mxg_fail_nomem(build.err);
  build.model = model;
  model->name = name ? name->as.text : declared->name;
  model->recipe_file = build.recipe->origin.file;
  model->tensors = declared->tensors;
  model->tensor_count = declared->count;
  const char *fault = name ? mxg_name_fault(model->name) : NULL;
  if (fault) return mxg_fail_at(build.err, &name->origin, 211, "recipe.name %s", fault);
  if (!declared->count)
    return mxg_fail_at(build.err, &field->origin, 210, "the model '%s' has no tensors", declared->name);
  MXG_TRY(build_schedule(&build));
  MXG_TRY(build_side(MXG_SOURCE, &build));
  MXG_TRY(build_side(MXG_TARGET, &build));
  *out = model;
  return MXG_OK;
}
