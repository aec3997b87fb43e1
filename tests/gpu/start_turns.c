/* start_turns.c -- ranks that take turns at their sources: many starts that follow each other closely, traces, starts
** that fail and ranks that are late. */
#include "start_bench.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

/* Runs that follow each other as closely as they may. */
static void again_and_again(bench *b, mxg_exec *exec, uint32_t seed) {
  enum { runs = 100 };
  double seconds[runs], fastest[runs], begin = 0;
  renew(b, seed);
  write_sources(b);
  for (int i = 0; i < runs; i++) start(b, exec, MXG_ALL_GROUPS);
  read_targets(b);
  finish(b);
  MUST(mxg_exec_wait(exec, MXG_ALL_GROUPS, &err));
  compare(b, "100 starts");
  write_sources(b);
  finish(b);
  for (int i = 0; i < runs; i++) MUST(mxg_exec_run(exec, &err));
  read_targets(b);
  finish(b);
  compare(b, "100 runs");
  write_sources(b);
  finish(b);
  MUST(mxg_exec_measure(exec, runs, seconds, fastest, &begin, &err));
  expect(seconds[runs - 1] > 0 && fastest[0] > 0 && begin > 0, "times of 100 runs");
  read_targets(b);
  finish(b);
  compare(b, "100 measured");
}

/* Starts, runs and measured runs that come to nothing: all is well the next time. */
static void one_fails(bench *b, mxg_exec *exec, fake_cuda_fail_function fail, int which, uint32_t seed) {
  double seconds[8];
  void *streams[most_ranks];
  for (uint32_t r = b->first; r < b->end; r++) streams[r - b->first] = b->streams[r];
  for (int way = 0; way < 3; way++) {
    fail(way == 0 && fail == fail_launch ? 0 : which);
    mxg_status status = way == 0   ? mxg_exec_start(exec, MXG_ALL_GROUPS, streams, &err)
                        : way == 1 ? mxg_exec_run(exec, &err)
                                   : mxg_exec_measure(exec, 8, seconds, NULL, NULL, &err);
    if (way == 1 && status == MXG_OK) status = mxg_exec_measure(exec, 8, seconds, NULL, NULL, &err);
    expect(status == MXG_ERR_CUDA, "a rank that cannot begin");
    finish(b);
    all_at_once(b, exec, seed++, way == 0 ? "after a start that failed" : "after a run that failed");
  }
}

/* Programs that cannot be captured: streams of all ranks are free again. */
static void fails_to_make(bench *b, const mxg_exec_options *options, int which, uint32_t seed) {
  mxg_exec *exec = new_exec(b, options, false);
  fail_kernel(which);
  expect(mxg_exec_prepare(exec, &err) == MXG_ERR_CUDA, "a graph that cannot be made");
  all_at_once(b, exec, seed, "after a graph that failed");
  mxg_exec_free(exec);
}

/* What holds a rank's stream up comes to an end after the deadline of all. */
static void one_is_late(bench *b, const mxg_exec_options *usual, uint32_t late, bool runs, uint32_t seed) {
  mxg_exec_options options = *usual;
  options.timeout_ms = 1000; /* enough for one run, wherever */
  void *memory = NULL;
  MUST(mxg_gpu_use(gpu_of(b, b->first), &err));
  MUST(mxg_gpu_alloc_pinned(&memory, sizeof(uint32_t), &err));
  volatile uint32_t *gate = memory;
  *gate = 0;
  mxg_exec *exec = new_exec(b, &options, false);
  MUST(mxg_exec_prepare(exec, &err));
  renew(b, seed);
  write_sources(b);
  finish(b);
  MUST(mxg_gpu_use(gpu_of(b, late), &err));
  MUST(mxg_stream_await(b->streams[late], (uint64_t)(uintptr_t)memory, 1, true, &err));
  start(b, exec, runs ? 0 : MXG_ALL_GROUPS);
  mxg_status status = runs ? mxg_exec_run(exec, &err) : mxg_exec_wait(exec, MXG_ALL_GROUPS, &err);
  expect(status == MXG_ERR_TIMEOUT && err.code == 648, "a rank that is late");
  expect(mxg_exec_run(exec, &err) == MXG_ERR_TIMEOUT && err.code == 648, "a run while it is late");
  *gate = 1;
  finish(b);
  read_targets(b);
  finish(b);
  if (!runs) compare(b, "late");
  write_sources(b);
  finish(b);
  /* What was late is still under way for a moment. */
  const struct timespec pause = {0, 1000000};
  for (int i = 0; (status = mxg_exec_run(exec, &err)) == MXG_ERR_TIMEOUT && i < 5000; i++) nanosleep(&pause, NULL);
  MUST(status);
  read_targets(b);
  finish(b);
  compare(b, "in time again");
  mxg_exec_free(exec);
  MUST(mxg_gpu_use(gpu_of(b, b->first), &err));
  mxg_gpu_free_pinned(memory);
}

/* A trace shows where a rank waited. */
static void shows_waits(bench *b, mxg_exec *exec, uint32_t seed) {
  static char text[1 << 20];
  char path[64];
  snprintf(path, sizeof path, "turns-%ld.json", (long)getpid());
  renew(b, seed);
  write_sources(b);
  finish(b);
  MUST(mxg_exec_trace(exec, path, &err));
  FILE *file = fopen(path, "r");
  size_t count = file ? fread(text, 1, sizeof text - 1, file) : 0;
  text[count] = 0;
  expect(strstr(text, "wait for a turn") != NULL, "a trace of turns");
  if (file) fclose(file);
  (void)remove(path);
  read_targets(b);
  finish(b);
  compare(b, "traced");
}

void take_turns(bench *b, const mxg_exec_options *options, uint32_t seed) {
  printf("  in turns\n");
  const int before = graphs();
  mxg_exec *exec = new_exec(b, options, false);
  again_and_again(b, exec, seed);
  shows_waits(b, exec, seed + 1);
  for (int which = 0; fake && which < (int)b->ranks; which++)
    one_fails(b, exec, options->no_graph ? fail_kernel : fail_launch, options->no_graph ? which * 9 : which,
              seed + 2 + (unsigned)which);
  mxg_exec_free(exec);
  for (int which = 0; fake && !options->no_graph && which < (int)b->ranks; which++)
    fails_to_make(b, options, which * 9, seed + 12 + (unsigned)which);
  const uint32_t late[] = {0, b->ranks / 2, b->ranks - 1};
  for (uint32_t i = 0; i < 3; i++) one_is_late(b, options, late[i], i % 2 == 1, seed + 21 + i);
  expect(graphs() == before, "no graph is left behind");
  expect(!widest_graph || options->no_graph || widest_graph() == (int)b->ranks, "one graph over all GPUs");
}
