/* format_rule.c -- a format or layout as a recipe says it, to the encodings and splits that the plan knows. */
#include "model_build.h"
#include "schema.h"
#include "suggest.h"

#include <string.h>

/* ---- formats ----------------------------------------------------------------------------------------------------- */

static uint8_t elem_of(const mxg_value *value, const char *entity) {
  return strcmp(mxg_schema_text(value, entity, "elem"), "e4m3") == 0 ? MX_E4M3 : MX_E5M2;
}

static uint8_t nan_of(const mxg_value *value, const char *entity) {
  return strcmp(mxg_schema_text(value, entity, "nan"), "block") == 0 ? MX_NAN_BLOCK : MX_NAN_ELEMENT;
}

static uint8_t rule_of(const char *word) {
  static const char *const words[] = {"", "floor", "rceil", "ceil", "even"};
  for (uint8_t rule = MX_FLOOR; rule <= MX_EVEN; rule++)
    if (strcmp(words[rule], word) == 0) return rule;
  return MX_RULE_NONE;
}

static mxg_status fail_direction(const mxg_value *value, const char *text, mxg_builder *build) {
  const mxg_value *direction = mxg_value_get(value, "direction");
  mxg_fail_at(build->err, &direction->origin, 204, "mxfp8.direction: %s", text);
  mxg_error_help(build->err, "leave out one of block and direction: `block = 32` follows the direction");
  return MXG_ERR_INPUT;
}

static mxg_status mxfp8_of(mxg_format *format, const mxg_value *value, mxg_builder *build) {
  uint32_t rows = 0, cols = 32;
  const mxg_value *block = mxg_value_get(value, "block"), *direction = mxg_value_get(value, "direction");
  if (block) mxg_schema_block(block, &rows, &cols);
  const char *way = direction ? direction->as.text : rows == 32 ? "columnwise" : "rowwise";
  const char *scales = mxg_schema_text(value, "mxfp8", "scales");
  mxg_encoding *plane = &format->plane[0];
  *plane = (mxg_encoding){.elem = elem_of(value, "mxfp8"), .scale = MX_SCALE_E8M0, .nan = nan_of(value, "mxfp8")};
  plane->rule = rule_of(mxg_schema_text(value, "mxfp8", "scale"));
  plane->layout = strcmp(scales, "compact") == 0 ? MX_COMPACT : strcmp(scales, "padded") == 0 ? MX_PADDED : MX_SWIZZLED;
  format->e8m0_dtype = strcmp(mxg_schema_text(value, "mxfp8", "scale_dtype"), "e8m0") == 0;
  format->planes = 1;
  if (rows == 32 && cols == 32) {
    if (direction) return fail_direction(value, "a 32x32 block serves both directions and has none of its own", build);
    if (plane->layout != MX_COMPACT) {
      const mxg_value *at = mxg_value_get(value, "scales");
      return mxg_fail_at(build->err, &at->origin, 204, "mxfp8.scales: those of 32x32 blocks are compact, not %s",
                         scales);
    }
    plane->block_rows = plane->block_cols = 32;
    return MXG_OK;
  }
  if (rows == 1 && strcmp(way, "columnwise") == 0)
    return fail_direction(value, "columnwise blocks are {32, 1}, not {1, 32}", build);
  if (rows == 32 && strcmp(way, "rowwise") == 0)
    return fail_direction(value, "rowwise blocks are {1, 32}, not {32, 1}", build);
  if (strcmp(way, "both") == 0) {
    format->planes = 2;
    format->plane[1] = *plane;
    format->plane[1].block_rows = 32;
    format->plane[1].block_cols = 1;
  }
  bool columnwise = strcmp(way, "columnwise") == 0;
  plane->block_rows = columnwise ? 32 : 1;
  plane->block_cols = columnwise ? 1 : 32;
  return MXG_OK;
}

mxg_status mxg_format_of(const mxg_format **out, const mxg_value *value, mxg_builder *build) {
  mxg_format *format = mxg_arena_alloc(build->arena, 1, sizeof *format);
  *out = format;
  if (!format) return mxg_fail_nomem(build->err);
  *format = (mxg_format){.kind = value->type, .planes = 1, .origin = value->origin};
  mxg_encoding *plane = &format->plane[0];
  if (strcmp(value->type, "mxfp8") == 0) {
    MXG_TRY(mxfp8_of(format, value, build));
  } else if (strcmp(value->type, "fp8") == 0) {
    *plane = (mxg_encoding){.elem = elem_of(value, "fp8"), .scale = MX_SCALE_FP32, .nan = nan_of(value, "fp8")};
    plane->block_rows = plane->block_cols = MX_WHOLE;
  } else if (strcmp(value->type, "fp8_block") == 0) {
    *plane = (mxg_encoding){.elem = elem_of(value, "fp8_block"), .nan = nan_of(value, "fp8_block")};
    plane->rule = rule_of(mxg_schema_text(value, "fp8_block", "scale"));
    plane->scale = plane->rule == MX_RULE_NONE ? MX_SCALE_FP32 : MX_SCALE_E8M0;
    plane->block_rows = plane->block_cols = 128;
  } else {
    plane->elem = strcmp(value->type, "bf16") == 0 ? MX_BF16 : strcmp(value->type, "fp16") == 0 ? MX_FP16 : MX_FP32;
  }
  const mxg_value *otherwise = mxg_value_get(value, "otherwise");
  return otherwise ? mxg_format_of(&format->otherwise, otherwise, build) : MXG_OK;
}

/* ---- layouts ----------------------------------------------------------------------------------------------------- */

static uint32_t find_axis(const mxg_mesh *mesh, const char *name) {
  for (uint32_t a = 0; a < mesh->axis_count; a++)
    if (strcmp(mesh->axes[a].name, name) == 0) return a;
  return MXG_NONE;
}

static uint32_t axis_count(const mxg_value *axes) {
  return !axes ? 0 : axes->kind == MXG_VALUE_TEXT ? 1 : axes->item_count;
}

static const mxg_value *axis_at(const mxg_value *axes, uint32_t i) {
  return axes->kind == MXG_VALUE_TEXT ? axes : axes->fields[i].value;
}

static mxg_status check_axis(const mxg_value *axis, const mxg_side_model *side, const char *side_name,
                             mxg_builder *build) {
  char near[100];
  mxg_suggest suggest = mxg_suggest_begin(axis->as.text);
  for (uint32_t m = 0; m < side->mesh_count; m++) {
    if (find_axis(&side->meshes[m], axis->as.text) != MXG_NONE) return MXG_OK;
    for (uint32_t a = 0; a < side->meshes[m].axis_count; a++) mxg_suggest_offer(&suggest, side->meshes[m].axes[a].name);
  }
  mxg_fail_at(build->err, &axis->origin, 212, "split over '%.60s': the %s mesh has no such axis%s", axis->as.text,
              side_name, mxg_suggest_text(&suggest, near, sizeof near));
  const mxg_origin *mesh = &side->meshes[0].origin;
  mxg_error_note(build->err, "the mesh is at %s:%d:%d", mesh->file, mesh->line, mesh->column);
  return MXG_ERR_INPUT;
}

/* false: this mesh lacks an axis. */
static bool resolve_split(mxg_split *split, const mxg_value *axes, const mxg_mesh *mesh) {
  split->count = axis_count(axes);
  for (uint32_t i = 0; i < split->count; i++) {
    split->axes[i] = find_axis(mesh, axis_at(axes, i)->as.text);
    if (split->axes[i] == MXG_NONE) return false;
  }
  return true;
}

mxg_status mxg_layout_of(mxg_layout *out, const mxg_value *value, const mxg_side_model *side, const char *side_name,
                         mxg_builder *build) {
  *out = (mxg_layout){.spread = MXG_SPREAD_WHOLE, .origin = value->origin};
  if (strcmp(value->type, "whole") == 0) return MXG_OK;
  out->spread = MXG_SPREAD_SPLIT;
  const mxg_value *order = mxg_value_get(value, "order"), *pad = mxg_value_get(value, "pad_rows");
  if (order) out->order = strcmp(order->as.text, "parts") == 0 ? MXG_ORDER_PARTS : MXG_ORDER_GROUPED;
  if (pad) {
    out->has_pad = true;
    out->pad_rows = (uint64_t)pad->as.integer;
  }
  const mxg_value *axes[3] = {mxg_value_get(value, "row"), mxg_value_get(value, "col"), mxg_value_get(value, "expert")};
  const mxg_value *all[3 * MXG_SPLIT_AXES];
  uint32_t count = 0;
  for (int d = 0; d < 3; d++) {
    for (uint32_t i = 0; i < axis_count(axes[d]); i++) {
      const mxg_value *axis = axis_at(axes[d], i);
      MXG_TRY(check_axis(axis, side, side_name, build));
      for (uint32_t k = 0; k < count; k++)
        if (strcmp(all[k]->as.text, axis->as.text) == 0)
          return mxg_fail_at(build->err, &axis->origin, 212, "split over '%s' twice", axis->as.text);
      all[count++] = axis;
    }
  }
  for (uint32_t m = 0; m < side->mesh_count; m++) {
    const mxg_mesh *mesh = &side->meshes[m];
    out->mesh = m;
    if (resolve_split(&out->row, axes[0], mesh) && resolve_split(&out->col, axes[1], mesh) &&
        resolve_split(&out->expert, axes[2], mesh))
      return MXG_OK;
  }
  mxg_fail_at(build->err, &all[1]->origin, 212, "no one mesh of the %s side has both '%s' and '%s'", side_name,
              all[0]->as.text, all[count - 1]->as.text);
  mxg_error_help(build->err, "all axes of one split are of one mesh");
  return MXG_ERR_INPUT;
}
