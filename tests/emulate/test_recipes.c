/* The kernels of every shipped recipe, each with the formats, columns and access width of its pieces and few rows,
** against the host's conversion bit for bit. */
#include "compare.h"

#include <dirent.h>

#include "memory.h"
#include "model.h"
#include "plan_build.h"

enum { most_kernels = 512, most_recipes = 64, most_cols = 8192, seeds = 2 };

static mxg_kernel kernels[most_kernels];
static uint32_t kernel_cols[most_kernels];
static uint32_t kernel_count;

/* Kernels that are not known yet, with the columns of their widest piece that a test can hold. */
static void collect(const mxg_plan *plan) {
  for (uint32_t i = 0; i < plan->piece_count; i++) {
    const mxg_piece *piece = &plan->pieces[i];
    const uint32_t used[] = {piece->kernel, piece->kernel_direct};
    for (int u = 0; u < 2; u++) {
      const mxg_kernel *kernel = &plan->kernels[used[u]];
      uint32_t k = 0, cols = kernel->cols || piece->cols < most_cols ? piece->cols : most_cols;
      while (k < kernel_count && strcmp(kernels[k].name, kernel->name) != 0) k++;
      if (k == kernel_count) {
        assert_true(kernel_count < most_kernels);
        kernels[kernel_count++] = *kernel;
      }
      if (cols > kernel_cols[k]) kernel_cols[k] = cols;
    }
  }
}

static void read_recipe(const char *path) {
  mxg_arena arena = {0};
  mxg_error err = {0};
  mxg_files files = {0};
  mxg_recipe_options options = {0};
  const mxg_model *model;
  const mxg_plan *plan;
  if (mxg_model_build(&model, &files, path, &options, &arena, &err) != MXG_OK ||
      mxg_plan_build(&plan, model, &arena, &err) != MXG_OK || mxg_plan_check(plan, &err) != MXG_OK)
    fail_msg("%s: %s:%d: %s", path, err.file, err.line, err.text);
  collect(plan);
  mxg_arena_free(&arena);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int read_all(void **state) {
  (void)state;
  DIR *folder = opendir(MXG_ROOT "/recipes");
  if (!folder) return -1;
  char *paths[most_recipes];
  size_t count = 0;
  for (struct dirent *entry; (entry = readdir(folder));) {
    size_t bytes = strlen(entry->d_name);
    if (bytes < 5 || strcmp(entry->d_name + bytes - 4, ".lua") != 0 || count == most_recipes) continue;
    char *path = malloc(bytes + sizeof MXG_ROOT + 16);
    if (!path) return -1;
    sprintf(path, "%s/recipes/%s", MXG_ROOT, entry->d_name);
    paths[count++] = path;
  }
  closedir(folder);
  qsort(paths, count, sizeof *paths, by_name);
  for (size_t i = 0; i < count; i++) {
    read_recipe(paths[i]);
    free(paths[i]);
  }
  print_message("%zu recipes, %u kernels\n", count, kernel_count);
  return count && kernel_count ? emulate_prepare(kernels, kernel_count) : -1;
}

static int free_compiled(void **state) {
  (void)state;
  emulate_free();
  return 0;
}

static void every_kernel_of_every_recipe_equals_the_host(void **state) {
  (void)state;
  for (uint32_t k = 0; k < kernel_count; k++) {
    const mxg_kernel *kernel = &kernels[k];
    uint32_t block = kernel->dst.block_rows == MX_WHOLE || kernel->dst.block_rows < 2 ? 2 : kernel->dst.block_rows;
    shape s = {.family = (mxg_family)kernel->family,
               .fixed_cols = kernel->cols,
               .vec = kernel->vec,
               .rows = block + block / 2 + 1,
               .cols = kernel_cols[k],
               .segment = block};
    for (uint32_t seed = 0; seed < seeds; seed++) {
      random_state = k * 100 + seed;
      run(&s, kernel, seed);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kernel_of_every_recipe_equals_the_host),
  };
  const char *missing = emulate_missing();
  if (missing) return printf("skipped: %s\n", missing), 77;
  return cmocka_run_group_tests_name("emulate_recipes", tests, read_all, free_compiled) != 0;
}
