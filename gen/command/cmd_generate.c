/* cmd_generate.c -- `mxgen RECIPE`: the output folder, and one table of what is in it. */
#include "plan_build.h"
#include "progress.h"
#include "recipe_args.h"
#include "temp.h"

#include <string.h>

static void tell(void *user, const char *what, unsigned done, unsigned all) {
  (void)user;
  char line[64];
  snprintf(line, sizeof line, "compiling %.32s", what);
  mxg_progress(done, all, line);
}

static void dump_sources(const mxg_generation *g, mxg_text *text) {
  for (uint32_t k = 0; k < g->plan->kernel_count; k++)
    mxg_text_format(text, "%s---- %s with %s\n%s", k ? "\n" : "", g->sources[k].kernel, g->sources[k].template_name,
                    g->sources[k].params);
}

static void dump_cubins(const mxg_generation *g, mxg_text *text) {
  static const mxg_column columns[] = {
      {"kernel", "kernel", false}, {"arch", "arch", false},  {"bytes", "bytes", true}, {"registers", "registers", true},
      {"shared", "shared", true},  {"local", "local", true}, {NULL, NULL, false}};
  mxg_grid grid;
  mxg_grid_begin(&grid, columns);
  for (uint32_t k = 0; k < g->plan->kernel_count; k++) {
    for (uint32_t a = 0; g->archs[a]; a++) {
      const mxg_cubin *cubin = &g->cubins[a][k];
      mxg_grid_puts(&grid, g->sources[k].kernel);
      mxg_grid_puts(&grid, g->archs[a]);
      mxg_grid_count(&grid, cubin->count);
      mxg_grid_count(&grid, cubin->registers);
      mxg_grid_count(&grid, cubin->shared_bytes);
      mxg_grid_count(&grid, cubin->local_bytes);
    }
  }
  mxg_grid_print(&grid, text, "");
  mxg_grid_free(&grid);
}

/* With a dump nothing is produced, so that it never mixes with a product. */
static mxg_status dump(const mxg_args *args, const mxg_options *options, mxg_error *err) {
  static const char letters[] = "mpsc";
  mxg_stage last = MXG_STAGE_MODEL;
  for (const char *c = args->dump; *c; c++) {
    const char *at = strchr(letters, *c);
    if (!at) return mxg_fail(err, MXG_ERR_USAGE, 904, "--dump: '%c' is not one of m, p, s, c", *c);
    if ((mxg_stage)(at - letters) > last) last = (mxg_stage)(at - letters);
  }
  mxg_generation g = {0};
  mxg_status status = mxg_generation_run(&g, args->operands[0], options, last, err);
  mxg_text text = {0};
  for (const char *c = args->dump; status == MXG_OK && *c; c++) {
    if (*c == 'm') mxg_model_print(g.model, &text);
    if (*c == 'p') mxg_plan_print(g.plan, g.model, MXG_PLAN_PIECES, &text);
    if (*c == 's') dump_sources(&g, &text);
    if (*c == 'c') dump_cubins(&g, &text);
  }
  mxg_progress_clear();
  mxg_generation_free(&g);
  if (status == MXG_OK) return mxg_out(&text, err);
  mxg_text_free(&text);
  return status;
}

static void print_json(const mxg_generation *g, const char *out, mxg_text *text) {
  mxg_text_puts(text, "{\n  \"name\": ");
  mxg_text_json(text, g->model->name);
  mxg_text_puts(text, ",\n  \"out\": ");
  mxg_text_json(text, out);
  mxg_text_puts(text, ",\n  \"digest\": ");
  mxg_text_json(text, mxg_bundle_digest(g->bundle));
  mxg_text_format(text, ",\n  \"cached\": %u,\n  \"compiled\": %u", g->use.cached, g->use.compiled);
  mxg_text_puts(text, ",\n  \"kernels\": ");
  mxg_kernels_json(g->bundle, text);
  mxg_text_puts(text, "\n}\n");
}

static void print_text(const mxg_generation *g, const char *out, double seconds, mxg_text *text) {
  uint64_t cubin_bytes = 0;
  uint32_t archs = 0;
  for (; g->archs[archs]; archs++)
    for (uint32_t k = 0; k < g->plan->kernel_count; k++) cubin_bytes += g->cubins[archs][k].count;
  mxg_kernels_print(g->bundle, text);
  if (g->tuned.there) mxg_text_format(text, "\n%s (%s)\n", g->tuned.text, g->tune_path);
  mxg_text_format(text, "\nwrote %s: %u kernels, %u architectures, ", out, g->plan->kernel_count, archs);
  mxg_text_size(text, cubin_bytes);
  mxg_text_format(text,
                  " of cubins, in %.2f s\ncubins: %u from the cache, %u compiled\ndigest %.16s\n"
                  "next: mxgen shard, mxgen run; or link libmxrt and load %s.mxb\n",
                  seconds, g->use.cached, g->use.compiled, mxg_bundle_digest(g->bundle), g->model->name);
}

static mxg_status generate(const mxg_args *args, mxg_options *options, mxg_error *err) {
  double began = mxg_seconds();
  mxg_generation g = {0};
  char folder[512];
  mxg_status status = MXG_OK;
  if (!args->out) { /* the folder is named like the recipe's name, which is known when its model is */
    status = mxg_generation_run(&g, args->operands[0], options, MXG_STAGE_MODEL, err);
    if (status == MXG_OK) snprintf(folder, sizeof folder, "%.400s.mxgen", g.model->name);
    mxg_generation_free(&g);
    options->out_dir = folder;
  }
  if (status == MXG_OK) status = mxg_generation_run(&g, args->operands[0], options, MXG_STAGE_FILES, err);
  mxg_progress_clear();
  if (g.cache_note[0]) mxg_warn("%s", g.cache_note);
  mxg_text text = {0};
  if (status == MXG_OK && args->json) print_json(&g, options->out_dir, &text);
  if (status == MXG_OK && !args->json) print_text(&g, options->out_dir, mxg_seconds() - began, &text);
  mxg_generation_free(&g);
  if (status == MXG_OK) return mxg_out(&text, err);
  if (status == MXG_ERR_ENVIRONMENT && err) {
    char help[sizeof err->help];
    snprintf(help, sizeof help, "%.400s%swrite the sources alone: --source-only", err->help, *err->help ? "; or " : "");
    mxg_error_help(err, "%s", help);
  }
  return status;
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  static const char *const none[] = {NULL};
  static const char *list[MXG_LIST_ROOM + 1];
  static char copy[2048];
  mxg_options options = MXG_OPTIONS_INIT;
  options.sets = args->sets.items;
  options.out_dir = args->out;
  options.embed = args->embed;
  options.threads = (unsigned)args->threads;
  options.progress = tell;
  options.no_cache = args->no_cache;
  options.warn = mxg_args_warn;
  options.no_tune = args->no_tune;
  if (args->source_only && args->archs)
    return mxg_fail(err, MXG_ERR_USAGE, 904, "--source-only makes no cubins, so it does not go with --arch");
  if (args->archs) MXG_TRY(mxg_archs_read(list, copy, sizeof copy, args->archs, err));
  options.archs = args->source_only ? none : args->archs ? list : NULL;
  return args->dump ? dump(args, &options, err) : generate(args, &options, err);
}

static const mxg_option options[] = {
    {"out", 'o', MXG_OPTION_TEXT, offsetof(mxg_args, out), 0, "DIR",
     "output folder; default: <name of the recipe>.mxgen"},
    {"arch", 0, MXG_OPTION_TEXT, offsetof(mxg_args, archs), 0, "LIST",
     "architectures, e.g. sm_90a,sm_100a; native: of the GPUs here; default: all six"},
    {"source-only", 0, MXG_OPTION_FLAG, offsetof(mxg_args, source_only), 0, NULL, "no cubins; NVRTC is not needed"},
    {"embed", 0, MXG_OPTION_TEXT, offsetof(mxg_args, embed), 0, "NAME",
     "the bundle as C too: an array NAME in embed/NAME.c"},
    MXG_OPTION_SETS,
    MXG_OPTION_NO_TUNE,
    {"threads", 'j', MXG_OPTION_COUNT, offsetof(mxg_args, threads), offsetof(mxg_args, has_threads), "N",
     "compile threads; default: one a core"},
    {"no-cache", 0, MXG_OPTION_FLAG, offsetof(mxg_args, no_cache), 0, NULL,
     "compile every kernel, and leave the kernel cache alone"},
    {"dump", 0, MXG_OPTION_TEXT, offsetof(mxg_args, dump), 0, "LETTERS",
     "print stages and write nothing: m model, p plan, s sources, c cubins"},
    MXG_OPTION_JSON("print JSON"),
    MXG_OPTIONS_END,
};

const mxg_verb mxg_verb_generate = {
    .name = "generate",
    .operands = "RECIPE",
    .summary = "recipe to CUDA source, cubins, plan and bundle",
    .text = "Checks the recipe, plans, writes the kernels' source, compiles them, and leaves in the output folder:\n"
            "  kernels/<kernel>/            the kernel's source: its parameters, its template, what that includes\n"
            "  kernels/<kernel>.<arch>.cubin\n"
            "  plan.txt  plan.json  model.txt\n"
            "  <name>.mxb                   the bundle: all that the runtime needs\n"
            "  <name>.d                     the files that were read, for make and ninja\n"
            "  embed/<NAME>.{c,h,d}         with --embed NAME: the bundle as an array, to link into a program\n"
            "The folder appears whole or not at all, and replaces what an earlier generate left there.\n\n"
            "  mxgen recipes/llama3_8b_tp2.lua --arch sm_90a --set layers=2 --out build/llama\n"
            "  mxgen recipes/llama3_8b_tp2.lua --arch native            # for the GPUs of this machine",
    .options = options,
    .least = 1,
    .most = 1,
    .writes = true,
    .run = run,
};
