/* From a recipe file to a model: tensors, placements, names; parameters; the shipped recipes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "text.h"

static void tiny_recipes_build(void **state) {
  (void)state;
  static const char *const names[] = {"tiny_dense", "tiny_moe"};
  for (int i = 0; i < 2; i++) {
    char path[512];
    snprintf(path, sizeof path, "%s/recipes/%s.lua", MXG_ROOT, names[i]);
    mxg_arena arena = {0};
    mxg_error err = {0};
    const mxg_model *model;
    mxg_files files;
    mxg_status status = mxg_model_build(&model, &files, path, NULL, &arena, &err);
    if (status) fail_msg("%s:%d:%d: %s / %s / %s", err.file, err.line, err.column, err.text, err.note, err.help);
    mxg_text text = {0};
    mxg_model_print(model, &text);
    if (getenv("SHOW")) puts(text.bytes);
    mxg_text_free(&text);
    mxg_arena_free(&arena);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(tiny_recipes_build)};
  return cmocka_run_group_tests_name("model", tests, NULL, NULL) != 0;
}
