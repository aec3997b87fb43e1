/* golden RECIPE KIND [NAME=VALUE...]: prints the model, the plan (every piece of it as `pieces`) or the generated
** parameters of a recipe, for comparison with the text kept beside this file. */
#include <stdio.h>
#include <string.h>

#include "emit.h"
#include "model.h"
#include "plan_build.h"
#include "text.h"

enum { most_defines = 8 };

static int print_params(const mxg_plan *plan, mxg_arena *arena, mxg_text *text, mxg_error *err) {
  const mxg_source *sources;
  if (mxg_emit(&sources, plan, arena, err) != MXG_OK) return 1;
  for (uint32_t k = 0; k < plan->kernel_count; k++)
    mxg_text_format(text, "==== %s  %s\n%s", sources[k].kernel, sources[k].template_name, sources[k].params);
  return 0;
}

static int print_kind(const char *recipe, const char *kind, const mxg_recipe_options *options, mxg_arena *arena,
                      mxg_text *text, mxg_error *err) {
  const mxg_model *model;
  const mxg_plan *plan;
  mxg_files files = {0};
  if (mxg_model_build(&model, &files, recipe, options, arena, err) != MXG_OK) return 1;
  if (strcmp(kind, "model") == 0) return mxg_model_print(model, text), 0;
  if (mxg_plan_build(&plan, model, arena, err) != MXG_OK || mxg_plan_check(plan, err) != MXG_OK) return 1;
  if (strcmp(kind, "params") == 0) return print_params(plan, arena, text, err);
  mxg_plan_print(plan, model, strcmp(kind, "pieces") == 0 ? MXG_PLAN_PIECES : MXG_PLAN_TOTALS, text);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 3) return fprintf(stderr, "usage: golden RECIPE model|plan|pieces|params [NAME=VALUE...]\n"), 2;
  mxg_define defines[most_defines];
  mxg_recipe_options options = {defines, 0};
  for (int i = 3; i < argc && options.define_count < most_defines; i++) {
    char *value = strchr(argv[i], '=');
    if (!value) return fprintf(stderr, "golden: %s is not NAME=VALUE\n", argv[i]), 2;
    *value++ = 0;
    defines[options.define_count++] = (mxg_define){argv[i], value};
  }
  mxg_arena arena = {0};
  mxg_text text = {0};
  mxg_error err = {0};
  int failed = print_kind(argv[1], argv[2], &options, &arena, &text, &err) || text.failed;
  if (failed)
    fprintf(stderr, "golden: %s:%d: %s\n", err.file, err.line, err.text);
  else
    fwrite(text.bytes, 1, text.count, stdout);
  mxg_text_free(&text);
  mxg_arena_free(&arena);
  return failed;
}
