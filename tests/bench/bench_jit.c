/* bench_jit.c -- what a program pays that generates at start: mxg_generate in this process, for one architecture,
** with an empty cache, with the whole bundle in it, and with the kernels alone in it (another planner, a recipe
** edited), then stage by stage, and for all architectures. Nothing is written but the cache.
**
** bench_jit RECIPE ARCH      ARCH: one, or native; MXGEN_CACHE_DIR must name an empty folder */
#include "cache.h"
#include "generate.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TURNS = 9 };

static char digest[65]; /* of the first bundle */

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int by_size(const void *a, const void *b) {
  double one = *(const double *)a, two = *(const double *)b;
  return (one > two) - (one < two);
}

static double run(const char *recipe, const mxg_options *options, mxg_stage last) {
  mxg_error err = {0};
  mxg_generation g = {0};
  double began = seconds();
  if (mxg_generation_run(&g, recipe, options, last, &err) != MXG_OK) {
    fprintf(stderr, "bench_jit: %s\n", err.text);
    exit(1);
  }
  double took = seconds() - began;
  mxg_generation_free(&g);
  return took;
}

static double generate(const char *recipe, const mxg_options *options, const char *want) {
  mxg_error err = {0};
  mxg_bundle *bundle;
  double began = seconds();
  if (mxg_generate(&bundle, recipe, options, &err) != MXG_OK) {
    fprintf(stderr, "bench_jit: %s\n", err.text);
    exit(1);
  }
  double took = seconds() - began;
  if (!*digest) snprintf(digest, sizeof digest, "%s", mxg_bundle_digest(bundle));
  if (strcmp(digest, mxg_bundle_digest(bundle)) != 0) {
    fprintf(stderr, "bench_jit: %s, another bundle\n", want);
    exit(1);
  }
  mxg_bundle_free(bundle);
  return took;
}

static void run_turns(double times[TURNS], const char *recipe, const mxg_options *options, mxg_stage last) {
  for (int i = 0; i < TURNS; i++) times[i] = run(recipe, options, last);
  qsort(times, TURNS, sizeof *times, by_size);
}

/* The kernels alone, all from the cache: finding NVRTC's build, making the keys, reading and checking the entries. */
static double take_kernels(const char *recipe, const mxg_options *options) {
  mxg_error err = {0};
  mxg_generation g = {0};
  double best = 1e9;
  if (mxg_generation_run(&g, recipe, options, MXG_STAGE_SOURCES, &err) != MXG_OK) exit(1);
  for (int i = 0; i < TURNS; i++) {
    mxg_cache *cache = NULL;
    const mxg_cubin *cubins;
    double began = seconds();
    if (mxg_cache_open(&cache, MXG_CACHE_RW, &err) != MXG_OK) exit(1);
    if (mxg_compile_cached(&cubins, g.sources, g.plan->kernel_count, options->archs[0], 0, cache, &g.use, &g.arena,
                           &err) != MXG_OK)
      exit(1);
    mxg_cache_close(cache);
    double took = seconds() - began;
    if (took < best) best = took;
  }
  mxg_generation_free(&g);
  return best;
}

__attribute__((format(printf, 2, 3))) static void say(double seconds, const char *format, ...) {
  va_list list;
  va_start(list, format);
  printf("  %9.2f ms  ", 1e3 * seconds);
  vprintf(format, list);
  printf("\n");
  va_end(list);
}

static void say_note(const mxg_kernel_counts *counts) {
  if (*counts->note) printf("                %s\n", counts->note);
}

/* The whole of mxg_generate, as a program calls it. */
static void time_calls(const char *recipe, const mxg_options *options) {
  const mxg_kernel_counts *counts = options->counts;
  double times[TURNS], cold = generate(recipe, options, "cold");
  say(cold, "cold: nothing in the cache, %u kernels compiled for %s", counts->compiled, options->archs[0]);
  say_note(counts);
  if (counts->cached) fprintf(stderr, "bench_jit: the cache was not empty\n"), exit(1);
  for (int i = 0; i < TURNS; i++) times[i] = generate(recipe, options, "warm");
  qsort(times, TURNS, sizeof *times, by_size);
  say(times[TURNS / 2], "warm: the whole bundle from the cache; the median of %d, %.2f to %.2f", TURNS, 1e3 * times[0],
      1e3 * times[TURNS - 1]);
  say_note(counts);
  if (counts->compiled) fprintf(stderr, "bench_jit: the cache was not used\n"), exit(1);
}

/* Runs that end after a stage. No line is the difference of two: a run that ends with the plan checks it, one that goes
** on leaves that to the bundle, and where a stage takes little the noise of both is larger. */
static void time_stages(const char *recipe, const mxg_options *options) {
  static const struct {
    mxg_stage last;
    const char *name;
  } ends[] = {{MXG_STAGE_MODEL, "recipe to model"},
              {MXG_STAGE_PLAN, "recipe to plan, and its check, which is the bundle's where a run goes on"},
              {MXG_STAGE_SOURCES, "recipe to sources"},
              {MXG_STAGE_BUNDLE, "recipe to bundle, every stage anew but the kernels, which are in the cache"}};
  double times[TURNS];
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    run_turns(times, recipe, options, ends[i].last);
    say(times[TURNS / 2], "%s%s", ends[i].name, i ? "" : "; of this and the next lines the median too");
  }
  say(take_kernels(recipe, options),
      "of that the kernels: their keys, and their entries read and checked; the best of %d", TURNS);
}

/* What archs = NULL costs, which is for bundles that go to other machines. */
static void time_all_archs(const char *recipe, const mxg_options *options) {
  mxg_options all = *options;
  unsigned archs = 0;
  while (mxg_default_archs[archs]) archs++;
  all.archs = NULL;
  all.no_cache = true;
  double took = run(recipe, &all, MXG_STAGE_BUNDLE);
  say(took, "all %u architectures (archs = NULL), without the cache, %u kernels compiled", archs, all.counts->compiled);
}

int main(int argc, char **argv) {
  if (argc != 3 || !getenv("MXGEN_CACHE_DIR"))
    return fprintf(stderr, "usage: MXGEN_CACHE_DIR=... bench_jit RECIPE ARCH\n"), 2;
  const char *const given[] = {argv[2], NULL};
  mxg_error err = {0};
  mxg_arena arena = {0};
  mxg_kernel_counts counts = MXG_KERNEL_COUNTS_INIT;
  mxg_options options = MXG_OPTIONS_INIT;
  if (mxg_archs_resolve(&options.archs, given, &arena, &err) != MXG_OK)
    return fprintf(stderr, "bench_jit: %s\n", err.text), 1;
  options.counts = &counts;
  time_calls(argv[1], &options);
  time_stages(argv[1], &options);
  time_all_archs(argv[1], &options);
  mxg_arena_free(&arena);
  return 0;
}
