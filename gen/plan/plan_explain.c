/* plan_explain.c -- what was decided for one tensor and why: the recipe lines, the shards of both sides, the pieces and
** kernels, the bytes on the wire beside what BF16 would have cost. */
#include "nearest.h"
#include "plan_build.h"
#include "plan_text.h"

#include "error.h"

#include <string.h>

enum { most_lines = 16 }; /* of arrays or pieces; the rest is counted */

static void explain_tensor(const mxg_model *model, const mxg_tensor *tensor, mxg_text *text) {
  mxg_text_format(text, "%s  [", tensor->name);
  if (tensor->ndim == 3) mxg_text_format(text, "%llu, ", (unsigned long long)tensor->experts);
  mxg_text_format(text, "%llu", (unsigned long long)tensor->rows);
  if (tensor->ndim > 1) mxg_text_format(text, ", %llu", (unsigned long long)tensor->cols);
  mxg_text_puts(text, "]  ");
  for (uint32_t p = 0; p < tensor->part_count && tensor->part_count > 1; p++)
    mxg_text_format(text, "%s%s %llu", p ? ", " : "parts ", tensor->parts[p].name,
                    (unsigned long long)tensor->parts[p].rows);
  if (tensor->groups) mxg_text_format(text, "  interleaved in %llu groups", (unsigned long long)tensor->groups);
  if (tensor->pad_rows) mxg_text_format(text, "  padded to %llu rows a shard", (unsigned long long)tensor->pad_rows);
  if (tensor->tied_to != MXG_NONE) mxg_text_format(text, "  tied to %s", model->tensors[tensor->tied_to].name);
  mxg_text_puts(text, "  ");
  mxg_origin_print(&tensor->origin, text);
  mxg_text_puts(text, "\n");
}

static void explain_side(const mxg_plan *plan, const mxg_model *model, mxg_side which, uint32_t index, mxg_text *text) {
  const mxg_side_model *side = &model->side[which];
  const mxg_placement *placement = &side->placements[index];
  const char *name = which == MXG_SOURCE ? "source" : "target";
  if (!placement->held) {
    mxg_text_format(text, "%s  not held: the side keeps %s\n", name,
                    model->tensors[model->tensors[index].tied_to].name);
    return;
  }
  mxg_text_format(text, "%s  ", name);
  mxg_format_print(placement->format, text);
  mxg_text_puts(text, "\n  format  ");
  mxg_origin_print(&placement->format_rule, text);
  mxg_text_format(text, "  '%s'", placement->format_pattern ? placement->format_pattern : "");
  if (placement->refused) {
    mxg_text_puts(text, ": fallback, since ");
    mxg_format_print(placement->refused, text);
    mxg_text_puts(text, " would cut a block");
  }
  mxg_text_puts(text, "\n  layout  ");
  mxg_origin_print(&placement->layout_rule, text);
  mxg_text_format(text, "  '%s'  ", placement->layout_pattern ? placement->layout_pattern : "");
  mxg_layout_print(placement->layout, side, text);
  if (placement->stage != MXG_NONE)
    mxg_text_format(text, "  stage %u of %s", placement->stage,
                    side->meshes[side->stage_mesh].axes[side->stage_axis].name);
  mxg_text_puts(text, "\n");
  uint32_t lines = 0, rest = 0;
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *array = &plan->arrays[i];
    if (array->side != which || strcmp(plan->strings + array->tensor, model->tensors[index].name) != 0) continue;
    if (lines++ >= most_lines) {
      rest++;
      continue;
    }
    uint64_t dims[3];
    unsigned ndim = mxg_array_shape(array, dims);
    mxg_text_format(text, "  rank %-4u  %s  [", array->rank, plan->strings + array->name);
    for (unsigned d = 0; d < ndim; d++) mxg_text_format(text, "%s%llu", d ? ", " : "", (unsigned long long)dims[d]);
    mxg_text_format(text, "]  %llu bytes", (unsigned long long)mxg_array_data_bytes(plan, array));
    if (mxg_array_scale_bytes(plan, array))
      mxg_text_format(text, " + %llu of scales", (unsigned long long)mxg_array_scale_bytes(plan, array));
    mxg_text_puts(text, "\n");
  }
  if (rest) mxg_text_format(text, "  ... and %u more arrays\n", rest);
}

static void explain_pieces(const mxg_plan *plan, const char *name, mxg_text *text) {
  uint32_t lines = 0, rest = 0;
  uint64_t wire = 0, elements = 0, local = 0;
  mxg_text_puts(text, "pieces\n");
  for (uint32_t i = 0; i < plan->piece_count; i++) {
    const mxg_piece *piece = &plan->pieces[i];
    const mxg_array *src = &plan->arrays[piece->src], *dst = &plan->arrays[piece->dst];
    if (strcmp(plan->strings + dst->tensor, name) != 0) continue;
    wire += piece->wire_bytes;
    if (piece->wire_bytes)
      elements += piece->rows * piece->cols;
    else if (piece->phase == 0)
      local += piece->rows * piece->cols;
    if (lines++ >= most_lines) {
      rest++;
      continue;
    }
    mxg_text_format(text, "  rank %u %s%s", src->rank, src->side == MXG_SCRATCH ? "scratch of " : "",
                    plan->strings + src->name);
    if (src->matrices > 1) mxg_text_format(text, "[%u]", piece->src_matrix);
    mxg_text_format(text, " -> rank %u %s%s", dst->rank, dst->side == MXG_SCRATCH ? "scratch of " : "",
                    plan->strings + dst->name);
    if (dst->matrices > 1) mxg_text_format(text, "[%u]", piece->dst_matrix);
    mxg_text_format(text, "  %llu x %u in %u segment%s from row %u col %u to row %u col %u  %s\n",
                    (unsigned long long)piece->rows, piece->cols, piece->segments, piece->segments == 1 ? "" : "s",
                    plan->segments[piece->first_segment].src_row, piece->src_col,
                    plan->segments[piece->first_segment].dst_row, piece->dst_col, plan->kernels[piece->kernel].name);
  }
  if (rest) mxg_text_format(text, "  ... and %u more pieces\n", rest);
  mxg_text_format(text, "wire  %llu bytes", (unsigned long long)wire);
  if (elements) {
    mxg_text_format(text, " for %llu elements; bf16 would be %llu: ", (unsigned long long)elements,
                    (unsigned long long)elements * 2);
    mxg_ratio_print(wire, elements * 2, text);
  }
  mxg_text_format(text, "; %llu elements stay on their rank\n", (unsigned long long)local);
}

mxg_status mxg_plan_explain(const mxg_plan *plan, const mxg_model *model, const char *tensor, mxg_text *text,
                            mxg_error *err) {
  uint32_t index = 0;
  while (index < model->tensor_count && strcmp(model->tensors[index].name, tensor) != 0) index++;
  if (index == model->tensor_count) {
    mxg_fail(err, MXG_ERR_INPUT, 414, "the recipe has no tensor '%s'", tensor);
    mxg_error_place(err, model->recipe_file, 0, 0, 0);
    const char *near = NULL;
    size_t best = strlen(tensor) / 3 + 1;
    for (uint32_t t = 0; t < model->tensor_count; t++) {
      size_t edits = mxg_edit_distance(tensor, model->tensors[t].name);
      if (edits < best) near = model->tensors[t].name, best = edits;
    }
    if (near)
      mxg_error_help(err, "did you mean '%s'?", near);
    else
      mxg_error_help(err, "the first of %u tensors is '%s'", model->tensor_count, model->tensors[0].name);
    return MXG_ERR_INPUT;
  }
  explain_tensor(model, &model->tensors[index], text);
  explain_side(plan, model, MXG_SOURCE, index, text);
  explain_side(plan, model, MXG_TARGET, index, text);
  explain_pieces(plan, tensor, text);
  return text->failed ? mxg_fail_nomem(err) : MXG_OK;
}
