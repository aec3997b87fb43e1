/* cmd_check.c -- `mxgen check`: the recipe alone, or the precision audit of a checkpoint. */
#include "audit.h"
#include "plan_text.h"
#include "recipe_args.h"

#include <string.h>

enum { most_rows = 64 };

/* What one side holds in one format. */
typedef struct holding {
  char format[128];
  uint64_t tensors, arrays, bytes;
} holding;

typedef struct side_summary {
  holding rows[most_rows];
  uint32_t count;
} side_summary;

static void format_text(char out[128], const mxg_format *format) {
  mxg_text text = {0};
  mxg_format_print(format, &text);
  snprintf(out, 128, "%s", text.failed ? "" : text.bytes);
  mxg_text_free(&text);
}

static holding *find_row(side_summary *side, const mxg_format *format) {
  char name[128];
  format_text(name, format);
  for (uint32_t i = 0; i < side->count; i++)
    if (!strcmp(side->rows[i].format, name)) return &side->rows[i];
  holding *row = &side->rows[side->count < most_rows ? side->count++ : most_rows - 1];
  memcpy(row->format, name, sizeof name);
  return row;
}

static void summarise(side_summary *out, const mxg_generation *g, mxg_side which) {
  const mxg_side_model *side = &g->model->side[which];
  memset(out, 0, sizeof *out);
  for (uint32_t t = 0; t < g->model->tensor_count; t++)
    if (side->placements[t].held) find_row(out, side->placements[t].format)->tensors++;
  for (uint32_t r = 0; r < g->plan->rank_count; r++) {
    const mxg_rank *rank = &g->plan->ranks[r];
    uint32_t first = which == MXG_SOURCE ? rank->first_source : rank->first_target;
    uint32_t count = which == MXG_SOURCE ? rank->sources : rank->targets, t = 0;
    for (uint32_t a = first; a < first + count; a++) { /* arrays of a rank are in the order of the tensors */
      const mxg_array *array = &g->plan->arrays[a];
      while (strcmp(g->model->tensors[t].name, g->plan->strings + array->tensor) != 0) t++;
      holding *row = find_row(out, side->placements[t].format);
      row->arrays++;
      row->bytes += mxg_array_data_bytes(g->plan, array) + mxg_array_scale_bytes(g->plan, array);
    }
  }
}

static const mxg_column columns[] = {{"side", "side", false},      {"format", "format", false},
                                     {"tensors", "tensors", true}, {"arrays", "arrays", true},
                                     {"bytes", "bytes", true},     {NULL, NULL, false}};
static const mxg_column fallback_columns[] = {{"side", "side", false},       {"tensor", "tensor", false},
                                              {"refused", "refused", false}, {"taken", "taken", false},
                                              {"rule", "rule", false},       {NULL, NULL, false}};

static void fill_holdings(mxg_grid *grid, const mxg_generation *g) {
  static side_summary side;
  mxg_grid_begin(grid, columns);
  for (int which = MXG_SOURCE; which <= MXG_TARGET; which++) {
    summarise(&side, g, (mxg_side)which);
    for (uint32_t i = 0; i < side.count; i++) {
      mxg_grid_puts(grid, which == MXG_SOURCE ? "source" : "target");
      mxg_grid_puts(grid, side.rows[i].format);
      mxg_grid_count(grid, side.rows[i].tensors);
      mxg_grid_count(grid, side.rows[i].arrays);
      mxg_grid_size(grid, side.rows[i].bytes);
    }
  }
}

static uint32_t fill_fallbacks(mxg_grid *grid, const mxg_model *model) {
  uint32_t count = 0;
  mxg_grid_begin(grid, fallback_columns);
  for (int which = MXG_SOURCE; which <= MXG_TARGET; which++) {
    for (uint32_t t = 0; t < model->tensor_count; t++) {
      const mxg_placement *placement = &model->side[which].placements[t];
      if (!placement->refused) continue;
      char format[128];
      count++;
      mxg_grid_puts(grid, which == MXG_SOURCE ? "source" : "target");
      mxg_grid_puts(grid, model->tensors[t].name);
      format_text(format, placement->refused);
      mxg_grid_puts(grid, format);
      format_text(format, placement->format);
      mxg_grid_puts(grid, format);
      mxg_text origin = {0};
      mxg_origin_print(&placement->format_rule, &origin);
      mxg_grid_puts(grid, origin.failed ? "" : origin.bytes);
      mxg_text_free(&origin);
    }
  }
  return count;
}

static void print_recipe(const mxg_generation *g, bool json, mxg_text *text) {
  const mxg_model *model = g->model;
  mxg_grid holdings, fallbacks;
  fill_holdings(&holdings, g);
  uint32_t fallback_count = fill_fallbacks(&fallbacks, model);
  if (json) {
    mxg_text_puts(text, "{\n  \"name\": ");
    mxg_text_json(text, model->name);
    mxg_text_format(text,
                    ",\n  \"tensors\": %u,\n  \"source_ranks\": %u,\n  \"target_ranks\": %u,\n  \"kernels\": %u,\n",
                    model->tensor_count, model->side[MXG_SOURCE].rank_count, model->side[MXG_TARGET].rank_count,
                    g->plan->kernel_count);
    mxg_text_puts(text, "  \"formats\": ");
    mxg_grid_json(&holdings, text);
    mxg_text_puts(text, ",\n  \"fallbacks\": ");
    mxg_grid_json(&fallbacks, text);
    mxg_text_puts(text, "\n}\n");
  } else {
    mxg_text_format(text, "ok: %s: %u tensors, from %u to %u ranks, %u kernels\n\n", model->name, model->tensor_count,
                    model->side[MXG_SOURCE].rank_count, model->side[MXG_TARGET].rank_count, g->plan->kernel_count);
    mxg_grid_print(&holdings, text, "");
    if (fallback_count) {
      mxg_text_format(text, "\n%u tensor%s whose shard would cut a block take%s the rule's other format\n",
                      fallback_count, fallback_count == 1 ? "" : "s", fallback_count == 1 ? "s" : "");
      mxg_grid_print(&fallbacks, text, "  ");
    }
  }
  mxg_grid_free(&holdings);
  mxg_grid_free(&fallbacks);
}

static mxg_status audit(const mxg_generation *g, const mxg_args *args, mxg_error *err) {
  mxg_side side = MXG_SOURCE;
  if (args->side && !strcmp(args->side, "target"))
    side = MXG_TARGET;
  else if (args->side && strcmp(args->side, "source") != 0)
    return mxg_fail(err, MXG_ERR_USAGE, 904, "--side: '%.50s' is not source or target", args->side);
  mxg_checkpoint *checkpoint = NULL;
  MXG_TRY(mxg_checkpoint_open(&checkpoint, args->weights, err));
  mxg_audit found = {0};
  mxg_text text = {0};
  mxg_status status = mxg_audit_build(&found, g->plan, g->model, side, checkpoint, err);
  if (status == MXG_OK) {
    if (args->json)
      mxg_audit_json(&found, &text);
    else
      mxg_audit_print(&found, args->full ? 0 : 10, &text);
    status = mxg_out(&text, err);
    mxg_status verdict = mxg_audit_verdict(&found, err);
    if (status == MXG_OK) status = verdict;
  }
  mxg_audit_free(&found);
  mxg_checkpoint_close(checkpoint);
  return status;
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  if (args->side && !args->weights) return mxg_fail(err, MXG_ERR_USAGE, 904, "--side goes with --weights DIR");
  mxg_generation g = {0};
  mxg_status status = mxg_args_load(&g, args, MXG_STAGE_PLAN, err);
  if (status == MXG_OK && args->weights) {
    status = audit(&g, args, err);
  } else if (status == MXG_OK) {
    mxg_text text = {0};
    print_recipe(&g, args->json, &text);
    status = mxg_out(&text, err);
  }
  mxg_generation_free(&g);
  return status;
}

static const mxg_option options[] = {
    {"weights", 'w', MXG_OPTION_TEXT, offsetof(mxg_args, weights), 0, "DIR",
     "audit this checkpoint's headers against the recipe"},
    {"side", 0, MXG_OPTION_TEXT, offsetof(mxg_args, side), 0, "SIDE",
     "the checkpoint is the source (default) or target side"},
    {"full", 0, MXG_OPTION_FLAG, offsetof(mxg_args, full), 0, NULL, "list every finding, not the first ten of a kind"},
    MXG_OPTION_SETS,
    MXG_OPTION_JSON("print JSON"),
    MXG_OPTIONS_END,
};

const mxg_verb mxg_verb_check = {
    .name = "check",
    .operands = "RECIPE",
    .summary = "the recipe alone, or a precision audit of weights",
    .text =
        "Checks the recipe completely, plans it, and sums up what each side holds in which format, and which tensors\n"
        "take a fallback. With --weights, compares what the recipe says with what the files hold: quantised where\n"
        "high precision is wanted and the reverse, wrong kinds and shapes, missing scales, missing and surplus "
        "tensors.\n\n"
        "  mxgen check recipes/llama3_8b_tp2.lua\n"
        "  mxgen check recipes/llama3_8b_tp2.lua --weights checkpoint/ --side source",
    .options = options,
    .least = 1,
    .most = 1,
    .run = run,
};
