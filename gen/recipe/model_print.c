/* model_print.c -- the model as text: one fact a line, declaration order, exact bytes (golden files, --dump=m). */
#include "model.h"

#include "text.h"

static void print_split(const char *dimension, const mxg_split *split, const mxg_mesh *mesh, mxg_text *text) {
  if (!split->count) return;
  mxg_text_format(text, " %s=", dimension);
  for (uint32_t i = 0; i < split->count; i++)
    mxg_text_format(text, "%s%s", i ? "*" : "", mesh->axes[split->axes[i]].name);
}

static void print_encoding(const mxg_encoding *e, mxg_text *text) {
  static const char *const layouts[] = {"compact", "padded", "swizzled"};
  static const char *const rules[] = {"none", "floor", "rceil", "ceil", "even"};
  mxg_text_format(text, " %s", mxg_elem_name(e->elem));
  if (e->scale == MX_SCALE_NONE) return;
  if (e->block_rows == MX_WHOLE)
    mxg_text_puts(text, " block=whole");
  else
    mxg_text_format(text, " block=%ux%u", e->block_rows, e->block_cols);
  mxg_text_format(text, " scale=%s/%s rule=%s nan=%s", e->scale == MX_SCALE_E8M0 ? "e8m0" : "fp32", layouts[e->layout],
                  rules[e->rule], e->nan == MX_NAN_BLOCK ? "block" : "element");
}

static void print_format(const mxg_format *format, mxg_text *text) {
  mxg_text_puts(text, format->kind);
  for (uint32_t p = 0; p < format->planes; p++) {
    if (p) mxg_text_puts(text, " +");
    if (format->plane[p].scale != MX_SCALE_NONE) print_encoding(&format->plane[p], text);
  }
  if (format->e8m0_dtype) mxg_text_puts(text, " dtype=F8_E8M0");
}

static void print_tensor(const mxg_tensor *tensor, const mxg_model *model, mxg_text *text) {
  mxg_text_format(text, "tensor %s ", tensor->name);
  if (tensor->ndim == 3) mxg_text_format(text, "%llux", (unsigned long long)tensor->experts);
  mxg_text_format(text, "%llu", (unsigned long long)tensor->rows);
  if (tensor->ndim > 1) mxg_text_format(text, "x%llu", (unsigned long long)tensor->cols);
  for (uint32_t p = 0; tensor->part_count > 1 && p < tensor->part_count; p++)
    mxg_text_format(text, " %s:%llu", tensor->parts[p].name, (unsigned long long)tensor->parts[p].rows);
  if (tensor->groups) mxg_text_format(text, " groups=%llu", (unsigned long long)tensor->groups);
  if (tensor->pad_rows) mxg_text_format(text, " pad=%llu", (unsigned long long)tensor->pad_rows);
  if (tensor->tied_to != MXG_NONE) mxg_text_format(text, " tied=%s", model->tensors[tensor->tied_to].name);
  mxg_text_puts(text, "\n");
}

static void print_placement(const mxg_side_model *side, uint32_t t, const mxg_tensor *tensor, mxg_text *text) {
  static const char *const orders[] = {"", " order=parts", " order=grouped"};
  const mxg_placement *p = &side->placements[t];
  mxg_text_format(text, "place %s ", tensor->name);
  if (!p->held) {
    mxg_text_puts(text, "not held\n");
    return;
  }
  print_format(p->format, text);
  if (p->refused) mxg_text_format(text, " instead of %s", p->refused->kind);
  mxg_text_puts(text, p->layout->spread == MXG_SPREAD_WHOLE ? " | whole" : " | split");
  const mxg_mesh *mesh = &side->meshes[p->layout->mesh];
  if (p->layout->mesh) mxg_text_format(text, " mesh=%u", p->layout->mesh);
  print_split("expert", &p->layout->expert, mesh, text);
  print_split("row", &p->layout->row, mesh, text);
  print_split("col", &p->layout->col, mesh, text);
  mxg_text_puts(text, orders[p->layout->order]);
  if (p->layout->has_pad) mxg_text_format(text, " pad=%llu", (unsigned long long)p->layout->pad_rows);
  if (p->stage != MXG_NONE) mxg_text_format(text, " stage=%u", p->stage);
  mxg_text_format(text, " | :%d :%d |", p->format_rule.line, p->layout_rule.line);
  const mxg_naming *naming = &side->namings[t];
  for (uint32_t i = 0; i < (naming->parts_apart ? tensor->part_count : 1); i++)
    mxg_text_format(text, " %s", naming->templates[i]);
  mxg_text_puts(text, "\n");
}

void mxg_model_print(const mxg_model *model, mxg_text *text) {
  static const char *const names[2] = {"source", "target"};
  mxg_text_format(text, "model %s tensors=%u\n", model->name, model->tensor_count);
  mxg_text_format(text, "schedule bucket=%llu slots=%u staging=%llu node=%u%s\n",
                  (unsigned long long)model->bucket_bytes, model->slots, (unsigned long long)model->staging_bytes,
                  model->node_ranks, model->layer_groups ? " groups=layer" : "");
  for (uint32_t t = 0; t < model->tensor_count; t++) print_tensor(&model->tensors[t], model, text);
  for (int s = 0; s < 2; s++) {
    const mxg_side_model *side = &model->side[s];
    mxg_text_format(text, "side %s ranks=%u first=%u scale=%s\n", names[s], side->rank_count, side->first_rank,
                    side->scale_suffix);
    for (uint32_t m = 0; m < side->mesh_count; m++) {
      mxg_text_puts(text, "mesh");
      for (uint32_t a = 0; a < side->meshes[m].axis_count; a++)
        mxg_text_format(text, " %s=%llu", side->meshes[m].axes[a].name,
                        (unsigned long long)side->meshes[m].axes[a].size);
      mxg_text_puts(text, "\n");
    }
    for (uint32_t t = 0; t < model->tensor_count; t++) print_placement(side, t, &model->tensors[t], text);
  }
}
