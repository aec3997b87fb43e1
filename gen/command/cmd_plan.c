/* cmd_plan.c -- `mxgen plan`: what moves, in which kernels and buckets, in exact bytes, and how long that may take. */
#include "cost.h"
#include "error.h"
#include "plan_build.h"
#include "recipe_args.h"

#include <string.h>

static uint32_t detail_of(const mxg_args *args) {
  if (args->has_rank) return (uint32_t)args->rank;
  return args->full ? MXG_PLAN_PIECES : MXG_PLAN_TOTALS;
}

/* ---- what it is expected to take ---- */

typedef struct transport_columns {
  mxg_transport transport;
  mxg_column expected, measured;
} transport_columns;

static const transport_columns transports[] = {
    {MXG_COPY, {"copy us", "copy_us", true}, {"measured", "copy_measured_us", true}},
    {MXG_DIRECT, {"direct us", "direct_us", true}, {"measured", "direct_measured_us", true}},
    {MXG_NCCL, {"nccl us", "nccl_us", true}, {"measured", "nccl_measured_us", true}}};

enum { transport_count = sizeof transports / sizeof *transports, fixed_columns = 5 };

/* A transport's measured time stands beside what is expected of it, where it was measured. */
static void list_columns(mxg_column columns[fixed_columns + 2 * transport_count + 1], const mxg_tuned *tuned) {
  static const mxg_column fixed[fixed_columns] = {{"rank", "rank", true},
                                                  {"group", "group", false},
                                                  {"received", "received_bytes", true},
                                                  {"converted", "converted_bytes", true},
                                                  {"floor us", "floor_us", true}};
  size_t count = fixed_columns;
  memcpy(columns, fixed, sizeof fixed);
  for (size_t i = 0; i < transport_count; i++) {
    columns[count++] = transports[i].expected;
    if (tuned->measured_ns[transports[i].transport]) columns[count++] = transports[i].measured;
  }
  columns[count] = (mxg_column){NULL, NULL, false};
}

static void add_load(mxg_grid *grid, const mxg_tuned *tuned, uint32_t rank, const char *group, const mxg_load *load) {
  const mxg_rates *rates = &tuned->rates;
  mxg_grid_count(grid, rank);
  mxg_grid_puts(grid, group);
  mxg_grid_count(grid, load->received);
  mxg_grid_count(grid, load->converted);
  mxg_grid_format(grid, "%.1f", mxg_cost_floor(rates, load) * 1e6);
  for (size_t i = 0; i < transport_count; i++) {
    mxg_grid_format(grid, "%.1f", mxg_cost(rates, transports[i].transport, load) * 1e6);
    if (tuned->measured_ns[transports[i].transport]) mxg_grid_puts(grid, "-");
  }
}

static bool was_measured(const mxg_tuned *tuned) {
  for (size_t i = 0; i < transport_count; i++)
    if (tuned->measured_ns[transports[i].transport]) return true;
  return false;
}

/* The whole run takes what its slowest rank does: that is what was measured. */
static void add_run(mxg_grid *grid, const mxg_generation *g) {
  const mxg_tuned *tuned = &g->tuned;
  uint64_t received = 0, converted = 0;
  double floor = 0;
  for (uint32_t rank = 0; rank < g->plan->rank_count; rank++) {
    mxg_load load = mxg_load_of_rank(g->plan, rank);
    double least = mxg_cost_floor(&tuned->rates, &load);
    received += load.received;
    converted += load.converted;
    if (floor < least) floor = least;
  }
  mxg_grid_puts(grid, "-");
  mxg_grid_puts(grid, "run");
  mxg_grid_count(grid, received);
  mxg_grid_count(grid, converted);
  mxg_grid_format(grid, "%.1f", floor * 1e6);
  for (size_t i = 0; i < transport_count; i++) {
    uint64_t ns = tuned->measured_ns[transports[i].transport];
    mxg_grid_format(grid, "%.1f", mxg_cost_of_plan(&tuned->rates, transports[i].transport, g->plan) * 1e6);
    if (ns) mxg_grid_format(grid, "%.1f", (double)ns * 1e-3);
  }
}

static void print_loads(const mxg_generation *g, const mxg_args *args, mxg_text *text) {
  const mxg_tuned *tuned = &g->tuned;
  mxg_column columns[fixed_columns + 2 * transport_count + 1];
  mxg_grid grid;
  list_columns(columns, tuned);
  mxg_grid_begin(&grid, columns);
  for (uint32_t rank = 0; rank < g->plan->rank_count; rank++) {
    if (args->has_rank && rank != args->rank) continue;
    mxg_load load = mxg_load_of_rank(g->plan, rank);
    add_load(&grid, tuned, rank, "all", &load);
    uint32_t groups = args->has_rank || args->full ? g->plan->group_count : 0;
    for (uint32_t i = 0; i < groups; i++) {
      load = mxg_load_of_group(g->plan, rank, i);
      if (load.converted) add_load(&grid, tuned, rank, g->plan->strings + g->plan->groups[i].name, &load);
    }
  }
  if (was_measured(tuned)) add_run(&grid, g);
  if (args->json)
    mxg_grid_json(&grid, text);
  else
    mxg_grid_print(&grid, text, "");
  mxg_grid_free(&grid);
}

/* What MXG_AUTO will be where the GPUs reach each other, and why. */
static void print_choice(const mxg_generation *g, mxg_text *text) {
  const mxg_hints *hints = &g->tuned.hints;
  double copy = mxg_cost_of_plan(&mxg_default_rates, MXG_COPY, g->plan);
  double direct = mxg_cost_of_plan(&mxg_default_rates, MXG_DIRECT, g->plan);
  if (!g->tuned.there) {
    mxg_text_format(text, "transport  %s: %.0f us expected of copy, %.0f us of direct\n",
                    direct <= copy ? "direct" : "copy", copy * 1e6, direct * 1e6);
    return;
  }
  mxg_text_format(text, "transport  %s: %s\n", mxg_tune_transport_name(hints->transport), g->tuned.text);
  bool shaped = mxg_kernel_shapes_count(&g->tuned.shapes) != 0;
  if (!hints->chunk_bytes && !hints->copy_streams && !g->tuned.bucket_bytes && !shaped) return;
  mxg_text_puts(text, "tuned     ");
  if (hints->chunk_bytes) mxg_text_format(text, " chunk %llu", (unsigned long long)hints->chunk_bytes);
  if (hints->copy_streams) mxg_text_format(text, " streams %u", hints->copy_streams);
  if (g->tuned.bucket_bytes) mxg_text_format(text, " bucket %llu", (unsigned long long)g->tuned.bucket_bytes);
  if (shaped) mxg_text_puts(text, " kernels ");
  mxg_kernel_shapes_print(&g->tuned.shapes, text);
  mxg_text_puts(text, "\n");
}

static void print_rates(const mxg_generation *g, mxg_text *text) {
  const mxg_rates *r = &g->tuned.rates;
  mxg_text_format(
      text,
      "\nrates of %s, GB/s while all GPUs receive: copy engines %.1f, kernels %.1f, NCCL %.1f; memory %.0f\n"
      "floor: no transport is faster. A group by itself starts by itself, so that groups add up to more than all.\n",
      g->tuned.rates_name, r->copy_pull * 1e-9, r->kernel_pull * 1e-9, r->nccl_pull * 1e-9, r->memory * 1e-9);
  if (was_measured(&g->tuned))
    mxg_text_puts(text, "run: of all ranks, as long as the slowest; measured: us of a run, when it was tuned.\n");
}

static void predict_json(const mxg_generation *g, const mxg_args *args, mxg_text *text) {
  const mxg_rates *r = &g->tuned.rates;
  mxg_text_puts(text, "{\n  \"plan\": ");
  mxg_text_json(text, g->plan->name);
  mxg_text_puts(text, ",\n  \"rates\": {\"of\": ");
  mxg_text_json(text, g->tuned.rates_name);
  mxg_text_format(text,
                  ", \"copy_pull_gb_s\": %.2f, \"kernel_pull_gb_s\": %.2f, \"nccl_pull_gb_s\": %.2f, "
                  "\"memory_gb_s\": %.2f},\n  \"expected\": ",
                  r->copy_pull * 1e-9, r->kernel_pull * 1e-9, r->nccl_pull * 1e-9, r->memory * 1e-9);
  print_loads(g, args, text);
  mxg_text_puts(text, "\n}\n");
}

static void print(const mxg_generation *g, const mxg_args *args, mxg_text *text) {
  if (args->predict && args->json) {
    predict_json(g, args, text);
  } else if (args->predict) {
    print_loads(g, args, text);
    print_rates(g, text);
    print_choice(g, text);
  } else if (args->json) {
    mxg_plan_json(g->plan, g->model, text);
  } else {
    mxg_plan_print(g->plan, g->model, detail_of(args), text);
    print_choice(g, text);
  }
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
    print(&g, args, &text);
    status = mxg_out(&text, err);
  }
  mxg_generation_free(&g);
  return status;
}

static const mxg_option options[] = {
    {"full", 0, MXG_OPTION_FLAG, offsetof(mxg_args, full), 0, NULL, "every piece and step, not totals a rank"},
    {"rank", 0, MXG_OPTION_COUNT, offsetof(mxg_args, rank), offsetof(mxg_args, has_rank), "N",
     "the pieces and steps of this rank; with --predict: its groups"},
    {"predict", 0, MXG_OPTION_FLAG, offsetof(mxg_args, predict), 0, NULL,
     "what each rank is expected to take, by transport; with --full: each group too"},
    MXG_OPTION_SETS,
    MXG_OPTION_NO_TUNE,
    MXG_OPTION_JSON("print JSON"),
    MXG_OPTIONS_END,
};

const mxg_verb mxg_verb_plan = {
    .name = "plan",
    .operands = "RECIPE",
    .summary = "what will move, in which kernels and buckets",
    .text =
        "Plans the recipe and prints the schedule: meshes, kernels, buckets, and for each rank the bytes it holds,\n"
        "receives and stages, beside what BF16 would have cost; last, the transport that a program gets which\n"
        "leaves the choice to the runtime. --predict: the cost model's times, with the rates of the tuning file\n"
        "beside the recipe, or else of two H200; where there is such a file, what was measured stands beside them.\n\n"
        "  mxgen plan recipes/llama3_8b_tp2.lua --set layers=2 --full\n"
        "  mxgen plan recipes/llama3_8b_tp2.lua --predict --rank 0",
    .options = options,
    .least = 1,
    .most = 1,
    .run = run,
};
