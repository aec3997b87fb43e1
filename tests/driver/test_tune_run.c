/* test_tune_run.c -- `mxgen tune` from the recipe to what the file says, on the driver without GPUs: every trial is
** run and leaves the host's bytes, also with kernels in other shapes, and a shape that cannot be compiled is left
** out with a line. Times mean nothing here. test_tune_run RECIPE TEMPLATES: the folder is changed. Exit 77: no
** NVRTC. */
#include "driver/fake_cuda.h"
#include "generate.h"
#include "launch.h"
#include "tune_run.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { most_kernels = 256 };

/* By name, what the driver is asked for: the kernels of the recipe, in all shapes that are tried. */
static mxg_kernel kernels[most_kernels];
static uint32_t kernel_count;
static int failures;

static void expect(bool good, const char *what) {
  if (good) return;
  fprintf(stderr, "FAILED: %s\n", what);
  failures++;
}

static void play_kernel(const char *name, uint64_t entries, uint32_t count) {
  for (uint32_t k = 0; k < kernel_count; k++)
    if (strcmp(kernels[k].name, name) == 0) {
      mxg_convert_entries(&kernels[k], (const mx_entry *)(uintptr_t)entries, count);
      return;
    }
  fprintf(stderr, "FAILED: a kernel that no trial has: %s\n", name);
  exit(1);
}

/* Plans the recipe with these shapes; the plan's families to try go to *space. */
static void learn_kernels(const char *recipe, const mxg_kernel_shapes *shapes, mxg_tune_space *space) {
  static const char *const none[] = {NULL};
  mxg_options options = MXG_OPTIONS_INIT;
  mxg_generation g = {.tuned_given = true};
  mxg_error err = {0};
  options.archs = none;
  if (shapes) g.tuned.shapes = *shapes;
  if (mxg_generation_run(&g, recipe, &options, MXG_STAGE_PLAN, &err) != MXG_OK) {
    fprintf(stderr, "%s\n", err.text);
    exit(1);
  }
  for (uint32_t k = 0; k < g.plan->kernel_count && kernel_count < most_kernels; k++)
    kernels[kernel_count++] = g.plan->kernels[k];
  if (space) mxg_tune_list_shapes(space, g.plan);
  mxg_generation_free(&g);
}

/* One number of threads becomes what the template of dequantize refuses. */
static void spoil_template(const char *folder) {
  char path[512];
  snprintf(path, sizeof path, "%s/dequantize.cu", folder);
  FILE *file = fopen(path, "a");
  if (!file || fputs("static_assert(MX_THREADS != 512, \"for the test\");\n", file) < 0 || fclose(file)) exit(1);
  setenv("MXGEN_TEMPLATES", folder, 1);
}

static void look_at_trials(const mxg_tune_run *run, const mxg_tune_space *space) {
  uint32_t shaped = 0, refused = 0, wanted = 0;
  for (uint32_t f = 0; f < space->family_count; f++) wanted += space->families[f].count;
  for (uint32_t i = 0; i < run->found.count; i++) {
    const mxg_trial *t = &run->found.trials[i];
    bool spoilt = t->shapes.of[MXG_DEQUANTIZE].threads == 512;
    mxg_text text = {0};
    mxg_kernel_shapes_print(&t->shapes, &text);
    printf("%-7s %-40s %s %llu wrong of %llu %s\n", mxg_transport_name(t->transport), text.count ? text.bytes : "-",
           t->measured ? "measured" : "left out", (unsigned long long)t->wrong, (unsigned long long)t->checked,
           t->note);
    mxg_text_free(&text);
    shaped += mxg_kernel_shapes_count(&t->shapes) != 0;
    refused += spoilt;
    const bool can = t->transport != MXG_NCCL; /* ranks share GPUs here, which NCCL does not take */
    expect(t->measured == (!spoilt && can), "what can be run is run, and nothing else");
    expect(t->measured || *t->note, "what cannot is said");
    expect(t->wrong == 0, "every byte is the host's");
  }
  expect(shaped == wanted && wanted > 0, "every shape of the list is tried");
  expect(refused > 0, "one of them is not made");
  expect(mxg_kernel_shapes_count(&run->tune.shapes) == 0, "where all take as long, kernels stay as they are");
  expect(run->tune.measured_ns[MXG_COPY] && run->tune.measured_ns[MXG_DIRECT], "the file says what was measured");
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  const char *library = getenv("MXGEN_LIBCUDA");
  void *driver = library ? dlopen(library, RTLD_NOW) : NULL;
  fake_cuda_use_function use = NULL;
  if (driver) *(void **)(void *)&use = dlsym(driver, "fake_cuda_use");
  if (!use) return 2;
  use(play_kernel);
  mxg_tune_space space = {0};
  learn_kernels(argv[1], NULL, &space);
  for (uint32_t f = 0; f < space.family_count; f++)
    for (uint32_t i = 0; i < space.families[f].count; i++) {
      mxg_kernel_shapes shapes = {0};
      shapes.of[space.families[f].family] = space.families[f].shapes[i];
      learn_kernels(argv[1], &shapes, NULL);
    }
  spoil_template(argv[2]);
  mxg_arena arena = {0};
  mxg_error err = {0};
  mxg_tune_run run = {.recipe = argv[1], .repeats = 2, .timeout_ms = 30000};
  mxg_status status = mxg_tune_measure(&run, &arena, &err);
  if (status == MXG_OK)
    look_at_trials(&run, &space);
  else
    fprintf(stderr, "%s; %s\n", err.text, err.note);
  mxg_arena_free(&arena);
  return status == MXG_OK ? failures != 0 : status == MXG_ERR_ENVIRONMENT ? 77 : 1;
}
