/* cmd_verify.c -- `mxgen verify`: the target against the original, with the error bounds of the formats between. */
#include "plan_text.h"
#include "progress.h"
#include "recipe_args.h"
#include "verify.h"

#include <math.h>

static const mxg_column columns[] = {{"formats", "formats", false},   {"arrays", "arrays", true},
                                     {"elements", "elements", true},  {"#wrong", "wrong", true},
                                     {"unjudged", "unjudged", true},  {"error/bound", "worst_ratio", true},
                                     {"worst at", "worst_at", false}, {"original", "original", true},
                                     {"target", "target", true},      {NULL, NULL, false}};

static void add_chain_name(mxg_grid *grid, const mxg_chain *chain) {
  mxg_text text = {0};
  mxg_format_print(chain->original, &text);
  mxg_text_puts(&text, " > ");
  mxg_format_print(chain->source, &text);
  mxg_text_puts(&text, " > ");
  mxg_encoding_print(&chain->target, &text);
  mxg_grid_puts(grid, text.failed ? "" : text.bytes);
  mxg_text_free(&text);
}

static void fill_chains(mxg_grid *grid, const mxg_verify *v) {
  mxg_grid_begin(grid, columns);
  for (uint32_t i = 0; i < v->chain_count; i++) {
    const mxg_chain *chain = &v->chains[i];
    const mxg_array *array = &v->plan->arrays[chain->array];
    add_chain_name(grid, chain);
    mxg_grid_count(grid, chain->arrays);
    mxg_grid_count(grid, chain->elements);
    mxg_grid_count(grid, chain->outside);
    mxg_grid_count(grid, chain->unjudged);
    if (isinf(chain->worst))
      mxg_grid_puts(grid, "over 1000");
    else
      mxg_grid_format(grid, chain->worst > 1000 ? "over 1000" : "%.3f", chain->worst);
    if (!(chain->worst > 0)) {
      mxg_grid_puts(grid, "exact");
      mxg_grid_puts(grid, "-");
      mxg_grid_puts(grid, "-");
      continue;
    }
    mxg_st_shown shown = mxg_st_show(v->plan->strings + array->name);
    mxg_grid_format(grid, "rank %u %s [%llu,%llu,%llu]", array->rank, shown.text, (unsigned long long)chain->matrix,
                    (unsigned long long)chain->row, (unsigned long long)chain->col);
    mxg_grid_format(grid, "%.9g", chain->want);
    mxg_grid_format(grid, "%.9g", chain->have);
  }
}

static void print_json(const mxg_verify *v, mxg_text *text) {
  mxg_grid grid;
  fill_chains(&grid, v);
  mxg_text_puts(text, "{\n  \"name\": ");
  mxg_text_json(text, v->plan->name);
  mxg_text_format(text, ",\n  \"arrays\": %llu,\n  \"elements\": %llu,\n  \"wrong\": %llu,\n  \"unjudged\": %llu,\n",
                  (unsigned long long)v->arrays, (unsigned long long)v->elements, (unsigned long long)v->outside,
                  (unsigned long long)v->unjudged);
  mxg_text_format(text, "  \"ranks\": %u,\n  \"chains\": ", v->ranks);
  mxg_grid_json(&grid, text);
  mxg_grid_free(&grid);
  if (v->checks) {
    mxg_text_puts(text, ",\n  \"checksums\": ");
    mxg_checks_json(v->plan, v->checks, v->verified, text);
  }
  mxg_text_puts(text, "\n}\n");
}

static void print_text(const mxg_verify *v, mxg_text *text) {
  mxg_grid grid;
  fill_chains(&grid, v);
  mxg_grid_print(&grid, text, "");
  mxg_grid_free(&grid);
  if (v->checks) {
    mxg_text_puts(text, "\n");
    mxg_checks_print(v->plan, v->checks, v->verified, text);
  }
  mxg_text_format(text, "\n%s: %llu of %llu elements of %llu arrays are within the bounds of their formats\n",
                  v->outside ? "WRONG" : "ok", (unsigned long long)(v->elements - v->outside - v->unjudged),
                  (unsigned long long)v->elements, (unsigned long long)v->arrays);
  if (v->unjudged)
    mxg_text_format(text, "%llu finite elements share a block with an Inf or NaN and have no bound\n",
                    (unsigned long long)v->unjudged);
  if (v->ranks < v->target_ranks)
    mxg_text_format(text, "only %u of %u target ranks have a file here\n", v->ranks, v->target_ranks);
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  if (!args->weights)
    return mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen verify needs --weights DIR, the target side's files");
  if (!args->original == !args->has_random) {
    mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen verify needs either --original DIR or --random SEED");
    mxg_error_help(err, "mxgen help verify");
    return MXG_ERR_USAGE;
  }
  mxg_generation g = {0};
  mxg_verify verify = {0};
  mxg_text text = {0};
  mxg_status status = mxg_args_load(&g, args, MXG_STAGE_MODEL, err);
  if (status == MXG_OK) {
    static char what[] = "verifying";
    verify = (mxg_verify){.model = g.model,
                          .target = args->weights,
                          .original = args->original,
                          .seed = args->random,
                          .with_checksums = args->checksums,
                          .threads = (unsigned)args->threads,
                          .progress = mxg_progress_bytes,
                          .user = what};
    status = mxg_verify_run(&verify, err);
  }
  mxg_progress_clear();
  if (status == MXG_OK || status == MXG_ERR_WRONG) {
    if (args->json)
      print_json(&verify, &text);
    else
      print_text(&verify, &text);
    mxg_error ignored;
    mxg_status printed = mxg_out(&text, status == MXG_OK ? err : &ignored);
    if (status == MXG_OK) status = printed;
  }
  mxg_verify_end(&verify);
  mxg_generation_free(&g);
  return status;
}

static const mxg_option options[] = {
    {"weights", 'w', MXG_OPTION_TEXT, offsetof(mxg_args, weights), 0, "DIR", "the target side's files"},
    {"original", 0, MXG_OPTION_TEXT, offsetof(mxg_args, original), 0, "DIR", "the original: a Hugging Face folder"},
    {"random", 0, MXG_OPTION_COUNT, offsetof(mxg_args, random), offsetof(mxg_args, has_random), "SEED",
     "the original is the one that shard --random SEED made"},
    MXG_OPTION_CHECKSUMS,
    MXG_OPTION_WORKERS,
    MXG_OPTION_SETS,
    MXG_OPTION_JSON("print JSON"),
    MXG_OPTIONS_END,
};

const mxg_verb mxg_verb_verify = {
    .name = "verify",
    .operands = "RECIPE",
    .summary = "the target against the original, with error bounds",
    .text = "Compares every element of the target's files with the original. How far it may be off follows from the "
            "formats\n"
            "on its way, block by block: rounding, saturation, and nothing else. Exit code 5 when an element is "
            "further off.\n\n"
            "  mxgen verify recipes/llama3_8b_tp2.lua --weights target/ --original Meta-Llama-3-8B/\n"
            "  mxgen verify recipes/llama3_8b_tp2.lua --set layers=2 --weights target/ --random 42",
    .options = options,
    .least = 1,
    .most = 1,
    .run = run,
};
