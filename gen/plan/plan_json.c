/* plan_json.c -- the plan as JSON for other programs: sides, kernels, totals and steps of every rank. The pieces stay
 * in the bundle. */
#include "plan_build.h"
#include "plan_text.h"

#include <string.h>

/* "key": "text made by a printer" */
#define ADD_PRINTED(key, call)                               \
  do {                                                       \
    mxg_text printed = {0};                                  \
    (call);                                                  \
    mxg_text_format(text, "\"%s\": ", key);                  \
    mxg_text_json(text, printed.bytes ? printed.bytes : ""); \
    mxg_text_free(&printed);                                 \
  } while (0)

static void side_json(const mxg_model *model, mxg_side which, mxg_text *text) {
  const mxg_side_model *side = &model->side[which];
  mxg_text_format(text, "  \"%s\": {\"first_rank\": %u, \"ranks\": %u, \"meshes\": [",
                  which == MXG_SOURCE ? "source" : "target", side->first_rank, side->rank_count);
  for (uint32_t m = 0; m < side->mesh_count; m++) {
    mxg_text_puts(text, m ? ", {" : "{");
    for (uint32_t a = 0; a < side->meshes[m].axis_count; a++) {
      if (a) mxg_text_puts(text, ", ");
      mxg_text_json(text, side->meshes[m].axes[a].name);
      mxg_text_format(text, ": %llu", (unsigned long long)side->meshes[m].axes[a].size);
    }
    mxg_text_puts(text, "}");
  }
  mxg_text_puts(text, "], \"fallbacks\": [");
  bool any = false;
  for (uint32_t t = 0; t < model->tensor_count; t++) {
    const mxg_placement *placement = &side->placements[t];
    if (!placement->held || !placement->refused) continue;
    mxg_text_puts(text, any ? ", {\"tensor\": " : "{\"tensor\": ");
    any = true;
    mxg_text_json(text, model->tensors[t].name);
    mxg_text_puts(text, ", ");
    ADD_PRINTED("refused", mxg_format_print(placement->refused, &printed));
    mxg_text_puts(text, ", ");
    ADD_PRINTED("taken", mxg_format_print(placement->format, &printed));
    mxg_text_puts(text, "}");
  }
  mxg_text_puts(text, "]},\n");
}

static void rank_json(const mxg_plan *plan, uint32_t rank, mxg_text *text) {
  static const char *const kinds[] = {"fill", "gather", "wait", "convert", "release"};
  const mxg_rank *row = &plan->ranks[rank];
  mxg_plan_totals totals = mxg_plan_totals_of(plan, rank);
  mxg_text_format(text,
                  "    {\"rank\": %u, \"source_arrays\": %u, \"target_arrays\": %u, \"source_bytes\": %llu, "
                  "\"target_bytes\": %llu, \"received_bytes\": %llu, \"received_as_bf16_bytes\": %llu, \"pieces\": %u, "
                  "\"gathered_pieces\": %u, \"buckets\": %u, \"launches\": %u, \"staging_bytes\": %llu, \"steps\": [",
                  rank, row->sources, row->targets, (unsigned long long)totals.source_bytes,
                  (unsigned long long)totals.target_bytes, (unsigned long long)row->received_bytes,
                  (unsigned long long)totals.bf16_bytes, totals.pieces, totals.gathered, totals.buckets,
                  totals.launches, (unsigned long long)row->staging_bytes);
  for (uint32_t i = 0; i < row->steps; i++) {
    const mxg_step *step = &plan->steps[row->first_step + i];
    mxg_text_format(text, "%s\n      {\"kind\": \"%s\", \"bucket\": %u, \"slot\": %u", i ? "," : "", kinds[step->kind],
                    step->bucket, step->slot);
    mxg_text_format(text, ", \"group\": %u", step->group);
    if (step->count) mxg_text_format(text, ", \"first\": %u, \"count\": %u", step->first, step->count);
    if (step->bytes) mxg_text_format(text, ", \"bytes\": %llu", (unsigned long long)step->bytes);
    if (step->peer != MXG_NONE) mxg_text_format(text, ", \"peer\": %u", step->peer);
    if (step->kernel != MXG_NONE && step->kind == MXG_STEP_CONVERT)
      mxg_text_format(text, ", \"kernel\": \"%s\"", plan->kernels[step->kernel].name);
    mxg_text_puts(text, "}");
  }
  mxg_text_puts(text, "]}");
}

void mxg_plan_json(const mxg_plan *plan, const mxg_model *model, mxg_text *text) {
  mxg_text_puts(text, "{\n  \"plan\": ");
  mxg_text_json(text, plan->name);
  mxg_text_format(text, ",\n  \"ranks\": %u, \"tensors\": %u, \"pieces\": %u,\n", plan->rank_count, model->tensor_count,
                  plan->piece_count);
  side_json(model, MXG_SOURCE, text);
  side_json(model, MXG_TARGET, text);
  mxg_text_format(
      text, "  \"schedule\": {\"bucket_bytes\": %llu, \"slots\": %u, \"slot_bytes\": %llu, \"staging_cap\": %llu},\n",
      (unsigned long long)model->bucket_bytes, plan->slots, (unsigned long long)plan->slot_bytes,
      (unsigned long long)plan->staging_cap);
  mxg_text_puts(text, "  \"kernels\": [");
  for (uint32_t k = 0; k < plan->kernel_count; k++) {
    const mxg_kernel *kernel = &plan->kernels[k];
    mxg_text_format(text, "%s\n    {\"name\": \"%s\", \"family\": \"%s\", \"cols\": %u, \"vec\": %u, ", k ? "," : "",
                    kernel->name, mxg_family_name(kernel->family), kernel->cols, kernel->vec);
    ADD_PRINTED("from", mxg_encoding_print(&kernel->src, &printed));
    mxg_text_puts(text, ", ");
    ADD_PRINTED("to", mxg_encoding_print(&kernel->dst, &printed));
    mxg_text_puts(text, ", \"origin\": ");
    mxg_text_json(text, plan->strings + kernel->origin);
    mxg_text_puts(text, "}");
  }
  mxg_text_puts(text, "],\n  \"groups\": [");
  for (uint32_t g = 0; g < plan->group_count; g++) {
    if (g) mxg_text_puts(text, ", ");
    mxg_text_json(text, plan->strings + plan->groups[g].name);
  }
  mxg_text_puts(text, "],\n  \"rank_totals\": [\n");
  for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
    if (rank) mxg_text_puts(text, ",\n");
    rank_json(plan, rank, text);
  }
  mxg_text_puts(text, "]\n}\n");
}
