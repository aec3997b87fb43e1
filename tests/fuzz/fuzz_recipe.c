/* Recipe text of any kind: the sandbox, the schema, the model and the planner end with a model and a plan or with a
** diagnostic that has a code, and without a leak. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "error.h"
#include "model.h"
#include "plan_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static const char *recipe_path(void) {
  static char path[64];
  if (!path[0]) snprintf(path, sizeof path, "/tmp/mxgen-fuzz-%ld.lua", (long)getpid());
  return path;
}

static void remove_recipe(void) { unlink(recipe_path()); }

static void expect(int good, const char *what) {
  if (good) return;
  fprintf(stderr, "fuzz_recipe: %s\n", what);
  abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  static int registered;
  if (!registered) registered = atexit(remove_recipe) == 0;
  FILE *file = fopen(recipe_path(), "wb");
  if (!file) return 0;
  size_t written = fwrite(bytes, 1, count, file);
  if (fclose(file) != 0 || written != count) return 0;
  mxg_arena arena = {0};
  mxg_error err = {0};
  const mxg_model *model = NULL;
  const mxg_plan *plan = NULL;
  mxg_status status = mxg_model_build(&model, NULL, recipe_path(), NULL, &arena, &err);
  expect((status == MXG_OK) == (model != NULL), "a model beside a failure");
  uint64_t ranks = 0;
  for (int side = 0; model && side < 2; side++) ranks += model->side[side].rank_count;
  if (model && ranks <= 64) { /* large meshes are legal, and slow */
    status = mxg_plan_build(&plan, model, &arena, &err);
    expect((status == MXG_OK) == (plan != NULL), "a plan beside a failure");
    if (plan) status = mxg_plan_check(plan, &err);
    expect(status != MXG_ERR_BUNDLE, err.text); /* the checker refuses what the planner made */
  }
  if (status != MXG_OK) expect(err.text[0] && mxg_error_explain(err.code, NULL), "a failure without a diagnostic");
  mxg_arena_free(&arena);
  return 0;
}
