/* bench_jit.c -- what a program pays that generates at start: mxg_generate in this process, for one architecture, with
 *an
 ** empty cache, with the whole bundle in it, and with the kernels alone in it (another planner, a recipe edited).
 *Nothing
 ** is written but the cache.
 **
 **   bench_jit RECIPE ARCH      MXGEN_CACHE_DIR must name an empty folder */
#include "cache.h"
#include "generate.h"

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

int main(int argc, char **argv) {
  if (argc != 3 || !getenv("MXGEN_CACHE_DIR"))
    return fprintf(stderr, "usage: MXGEN_CACHE_DIR=... bench_jit RECIPE ARCH\n"), 2;
  const char *archs[] = {argv[2], NULL};
  mxg_kernel_counts counts = {0};
  mxg_options options = MXG_OPTIONS_INIT;
  options.archs = archs;
  options.counts = &counts;
  double cold = generate(argv[1], &options, "cold"), times[TURNS];
  printf("  cold  %9.2f ms  (%u kernels compiled, %u from the cache)%s%s\n", 1e3 * cold, counts.compiled, counts.cached,
         *counts.note ? "  " : "", counts.note);
  if (counts.cached) return fprintf(stderr, "bench_jit: the cache was not empty\n"), 1;
  for (int i = 0; i < TURNS; i++) times[i] = generate(argv[1], &options, "warm");
  qsort(times, TURNS, sizeof *times, by_size);
  printf("  warm  %9.2f ms  (%u kernels compiled, %u from the cache; median of %d, %.2f to %.2f)%s%s\n",
         1e3 * times[TURNS / 2], counts.compiled, counts.cached, TURNS, 1e3 * times[0], 1e3 * times[TURNS - 1],
         *counts.note ? "  " : "", counts.note);
  if (counts.compiled) return fprintf(stderr, "bench_jit: the cache was not used\n"), 1;
  run_turns(times, argv[1], &options, MXG_STAGE_BUNDLE);
  printf("  warm  %9.2f ms  by its stages: the kernels from the cache, all else made anew\n", 1e3 * times[TURNS / 2]);
  static const struct {
    mxg_stage stage;
    const char *name;
  } stages[] = {{MXG_STAGE_MODEL, "recipe and model"},
                {MXG_STAGE_PLAN, "plan"},
                {MXG_STAGE_SOURCES, "sources"},
                {MXG_STAGE_BUNDLE, "kernels and bundle"}};
  double before = 0;
  for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
    run_turns(times, argv[1], &options, stages[i].stage);
    printf("        %9.2f ms  %s%s\n", 1e3 * (times[0] - before), stages[i].name,
           i ? "" : " (each the best of its turns)");
    before = times[0];
  }
  printf("        %9.2f ms  kernels alone, from the cache\n", 1e3 * take_kernels(argv[1], &options));
  return 0;
}
