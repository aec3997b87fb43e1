/* cmd_plan.c -- `mxgen plan`: what moves, in which kernels and buckets, in exact bytes. */
#include "error.h"
#include "plan_build.h"
#include "recipe_args.h"

static uint32_t detail_of(const mxg_args *args) {
  if (args->has_rank) return (uint32_t)args->rank;
  return args->full ? MXG_PLAN_PIECES : MXG_PLAN_TOTALS;
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  mxg_generation g = {0};
  mxg_status status = mxg_args_load(&g, args, MXG_STAGE_PLAN, err);
  if (status == MXG_OK && args->has_rank && args->rank >= g.plan->rank_count) {
    status = mxg_fail(err, MXG_ERR_USAGE, 904, "--rank %llu: the plan has ranks 0 to %u",
                      (unsigned long long)args->rank, g.plan->rank_count - 1);
  }
  if (status == MXG_OK) {
    mxg_text text = {0};
    if (args->json)
      mxg_plan_json(g.plan, g.model, &text);
    else
      mxg_plan_print(g.plan, g.model, detail_of(args), &text);
    status = mxg_out(&text, err);
  }
  mxg_generation_free(&g);
  return status;
}

static const mxg_option options[] = {
    {"full", 0, MXG_OPTION_FLAG, offsetof(mxg_args, full), 0, NULL, "every piece and step, not totals a rank"},
    {"rank", 0, MXG_OPTION_COUNT, offsetof(mxg_args, rank), offsetof(mxg_args, has_rank), "N",
     "the pieces and steps of this rank"},
    MXG_OPTION_SETS,
    MXG_OPTION_JSON("print JSON"),
    MXG_OPTIONS_END,
};

const mxg_verb mxg_verb_plan = {
    .name = "plan",
    .operands = "RECIPE",
    .summary = "what will move, in which kernels and buckets",
    .text =
        "Plans the recipe and prints the schedule: meshes, kernels, buckets, and for each rank the bytes it holds,\n"
        "receives and stages, beside what BF16 would have cost.\n\n"
        "  mxgen plan recipes/llama3_8b_tp2.lua --set layers=2 --full",
    .options = options,
    .least = 1,
    .most = 1,
    .run = run,
};
