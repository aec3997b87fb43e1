/* start_bench.c -- see start_bench.h. */
#include "start_bench.h"

#include <string.h>

int failures;
mxg_error err;
bool fake;
fake_cuda_fail_function fail_launch, fail_kernel;
fake_cuda_count_function widest_graph;
fake_cuda_graphs_function count_graphs;

void expect(bool good, const char *what) {
  if (good) return;
  fprintf(stderr, "FAILED: %s (MX%04u %s)\n", what, err.code, err.text);
  failures++;
}

/* ---- memory: of every tensor, on its rank's GPU, and for the host transport ---- */

static bool is_here(const bench *b, uint32_t rank) { return rank >= b->first && rank < b->end; }

uint64_t ballast_bytes(void) { return (uint64_t)(fake ? 1 : 256) << 20; }

mxg_gpu *gpu_of(const bench *b, uint32_t rank) { return b->gpus[b->ordinals[rank]]; }

bool have_own_gpus(const bench *b) {
  for (uint32_t r = 0; r < b->ranks; r++)
    for (uint32_t k = 0; k < r; k++)
      if (b->ordinals[k] == b->ordinals[r]) return false;
  return true;
}

int graphs(void) { return count_graphs ? count_graphs() : 0; }

void new_tensors(bench *b) {
  b->count = mxg_bundle_tensors(b->bundle);
  b->tensors = calloc(b->count, sizeof *b->tensors);
  if (!b->tensors) exit(1);
  for (uint32_t i = 0; i < b->count; i++) {
    tensor *t = &b->tensors[i];
    void *memory = NULL;
    t->info.size = sizeof t->info;
    MUST(mxg_bundle_tensor(&t->info, b->bundle, i, &err));
    t->scale = (t->info.data_bytes + 255) / 256 * 256;
    t->bytes = t->scale + t->info.scale_bytes;
    MUST(mxg_gpu_use(gpu_of(b, is_here(b, t->info.rank) ? t->info.rank : b->first), &err));
    if (is_here(b, t->info.rank)) MUST(mxg_gpu_alloc(&t->device, t->bytes, &err));
    MUST(mxg_gpu_alloc_pinned(&memory, 2 * t->bytes, &err));
    t->host = memory;
    t->got = t->host + t->bytes;
  }
}

void free_tensors(bench *b) {
  for (uint32_t i = 0; i < b->count; i++) {
    MUST(mxg_gpu_use(gpu_of(b, b->first), &err));
    mxg_gpu_free(b->tensors[i].device);
    mxg_gpu_free_pinned(b->tensors[i].host);
  }
  free(b->tensors);
}

mxg_exec *new_exec(const bench *b, const mxg_exec_options *options, bool on_host) {
  mxg_exec *exec = NULL;
  MUST(mxg_exec_create(&exec, b->bundle, options, &err));
  for (uint32_t i = 0; i < b->count; i++) {
    const tensor *t = &b->tensors[i];
    if (!on_host && !is_here(b, t->info.rank)) continue;
    uint64_t at = on_host ? (uint64_t)(uintptr_t)t->host : t->device;
    MUST(mxg_exec_bind(exec, t->info.rank, t->info.side, t->info.name, (void *)(uintptr_t)at, t->info.data_bytes,
                       t->info.scale_bytes ? (void *)(uintptr_t)(at + t->scale) : NULL, t->info.scale_bytes, &err));
  }
  return exec;
}

/* Other sources, and with them what must come out. No NaN, which would hide others. */
void renew(bench *b, uint32_t seed) {
  for (uint32_t i = 0; i < b->count; i++) {
    tensor *t = &b->tensors[i];
    if (t->info.side != MXG_SOURCE) continue;
    for (uint64_t k = 0; k < t->bytes; k++) {
      seed = seed * 1664525u + 1013904223u;
      t->host[k] = (unsigned char)(k < t->info.data_bytes ? seed >> 24 & 0xbf : 110 + (seed >> 24) % 30);
    }
  }
  mxg_exec *host = new_exec(b, NULL, true);
  MUST(mxg_exec_run(host, &err));
  mxg_exec_free(host);
}

/* ---- on the callers' streams ---- */

void keep_busy(const bench *b, int times) {
  static uint32_t seed = 1;
  for (uint32_t r = b->first; r < b->end; r++) {
    int own = times - (int)((seed = seed * 1664525u + 1013904223u) >> 16) % (times / 2 + 1);
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    for (int i = 0; i < own; i++)
      MUST(mxg_gpu_fill(b->ballast[b->ordinals[r]], (uint8_t)i, ballast_bytes(), b->streams[r], &err));
  }
}

/* On the ranks' streams: tensors of side `copied` go between host and GPU, sources there and targets back; the others are
** filled. */
static void copy_and_fill(const bench *b, mxg_side copied, uint8_t byte) {
  for (uint32_t i = 0; i < b->count; i++) {
    const tensor *t = &b->tensors[i];
    if (!is_here(b, t->info.rank)) continue;
    mxg_cu_stream *stream = b->streams[t->info.rank];
    MUST(mxg_gpu_use(gpu_of(b, t->info.rank), &err));
    if (t->info.side != copied)
      MUST(mxg_gpu_fill(t->device, byte, t->bytes, stream, &err));
    else if (copied == MXG_SOURCE)
      MUST(mxg_gpu_copy(t->device, (uint64_t)(uintptr_t)t->host, t->bytes, stream, &err));
    else
      MUST(mxg_gpu_copy((uint64_t)(uintptr_t)t->got, t->device, t->bytes, stream, &err));
  }
}

void write_sources(const bench *b) { copy_and_fill(b, MXG_SOURCE, 0xa5); }

void read_targets(const bench *b) { copy_and_fill(b, MXG_TARGET, 0x5a); }

void finish(const bench *b) {
  for (uint32_t r = b->first; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    MUST(mxg_stream_wait(b->streams[r], &err));
  }
}

void compare(const bench *b, const char *what) {
  uint64_t wrong = 0;
  const char *first = NULL;
  for (uint32_t i = 0; i < b->count; i++) {
    const tensor *t = &b->tensors[i];
    if (t->info.side != MXG_TARGET || !is_here(b, t->info.rank)) continue;
    for (uint64_t k = 0; k < t->bytes; k++) {
      if (k >= t->info.data_bytes && k < t->scale) continue;
      if (t->got[k] != t->host[k]) wrong++, first = first ? first : t->info.name;
    }
    memset(t->got, 0, t->bytes);
  }
  printf("  %-34s %llu wrong%s%s\n", what, (unsigned long long)wrong, first ? ", the first in " : "",
         first ? first : "");
  failures += wrong != 0;
}

void start(const bench *b, mxg_exec *exec, uint32_t group) {
  void *streams[most_ranks];
  for (uint32_t r = b->first; r < b->end; r++) streams[r - b->first] = b->streams[r];
  MUST(mxg_exec_start(exec, group, streams, &err));
}

void by_group(bench *b, mxg_exec *exec, bool backwards, uint32_t seed, const char *what) {
  uint32_t groups = mxg_bundle_groups(b->bundle);
  renew(b, seed);
  keep_busy(b, 20);
  write_sources(b);
  for (uint32_t n = 0; n < groups; n++) start(b, exec, backwards ? groups - 1 - n : n);
  read_targets(b);
  for (uint32_t n = 0; n < groups; n++) MUST(mxg_exec_wait(exec, n, &err));
  finish(b);
  compare(b, what);
}

void all_at_once(bench *b, mxg_exec *exec, uint32_t seed, const char *what) {
  renew(b, seed);
  keep_busy(b, 20);
  write_sources(b);
  start(b, exec, MXG_ALL_GROUPS);
  start(b, exec, MXG_ALL_GROUPS); /* again, before it has ended */
  read_targets(b);
  MUST(mxg_exec_wait(exec, MXG_ALL_GROUPS, &err));
  finish(b);
  compare(b, what);
}

/* The default streams of all GPUs, and a run in between. */
void on_default_streams(bench *b, mxg_exec *exec, uint32_t seed) {
  mxg_cu_stream *own[most_ranks];
  memcpy(own, b->streams, sizeof own);
  memset(b->streams, 0, sizeof b->streams);
  renew(b, seed);
  keep_busy(b, 20);
  write_sources(b);
  MUST(mxg_exec_start(exec, MXG_ALL_GROUPS, NULL, &err));
  read_targets(b);
  finish(b);
  compare(b, "default streams");
  write_sources(b);
  finish(b);
  MUST(mxg_exec_run(exec, &err));
  read_targets(b);
  finish(b);
  compare(b, "run after starts");
  memcpy(b->streams, own, sizeof own);
}

/* ---- captures ---- */

/* The first stream captures, and the others are with it. */
static void open_capture(const bench *b, mxg_cu_event **events) {
  MUST(mxg_gpu_use(gpu_of(b, b->first), &err));
  MUST(mxg_graph_begin(b->streams[b->first], &err));
  MUST(mxg_event_record(events[b->first], b->streams[b->first], &err));
  for (uint32_t r = b->first + 1; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    MUST(mxg_event_follow(b->streams[r], events[b->first], &err));
  }
}

static mxg_cu_graph *close_capture(const bench *b, mxg_cu_event **events) {
  mxg_cu_graph *graph = NULL;
  for (uint32_t r = b->first + 1; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    MUST(mxg_event_record(events[r], b->streams[r], &err));
    MUST(mxg_gpu_use(gpu_of(b, b->first), &err));
    MUST(mxg_event_follow(b->streams[b->first], events[r], &err));
  }
  MUST(mxg_gpu_use(gpu_of(b, b->first), &err));
  MUST(mxg_graph_end(&graph, b->streams[b->first], &err));
  return graph;
}

void captured(bench *b, const mxg_exec_options *options, bool whole, uint32_t seed) {
  uint32_t groups = mxg_bundle_groups(b->bundle);
  mxg_cu_event *events[most_ranks];
  void *streams[most_ranks];
  for (uint32_t r = b->first; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    MUST(mxg_event_create(&events[r], false, &err));
    streams[r - b->first] = b->streams[r];
  }
  mxg_exec *exec = new_exec(b, options, false);
  open_capture(b, events);
  expect(mxg_exec_start(exec, 0, streams, &err) == MXG_ERR_USAGE && err.code == 682, "a capture that was not prepared");
  mxg_graph_free(close_capture(b, events));
  MUST(mxg_exec_prepare(exec, &err));
  open_capture(b, events);
  for (uint32_t g = 0; g < (whole ? 1 : groups); g++)
    MUST(mxg_exec_start(exec, whole ? MXG_ALL_GROUPS : groups - 1 - g, streams, &err));
  mxg_cu_graph *graph = close_capture(b, events);
  expect(mxg_exec_wait(exec, 0, &err) == MXG_ERR_USAGE && err.code == 681, "a wait for what a graph will run");
  for (uint32_t launch = 0; launch < 3; launch++) {
    renew(b, seed + launch);
    write_sources(b);
    finish(b);
    MUST(mxg_gpu_use(gpu_of(b, b->first), &err));
    MUST(mxg_graph_launch(graph, b->streams[b->first], &err));
    MUST(mxg_stream_wait(b->streams[b->first], &err));
    read_targets(b);
    finish(b);
    compare(b, whole ? "captured whole, launched" : "captured by group, launched");
  }
  by_group(b, exec, false, seed + 7, "by group after a capture");
  mxg_graph_free(graph);
  mxg_exec_free(exec);
  for (uint32_t r = b->first; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    mxg_event_free(events[r]);
  }
}

void left_out(const bench *b, const mxg_exec_options *options) {
  void *streams[most_ranks];
  if (b->end - b->first < 2) return;
  for (uint32_t r = b->first; r < b->end; r++) streams[r - b->first] = b->streams[r];
  mxg_exec *exec = new_exec(b, options, false);
  MUST(mxg_exec_prepare(exec, &err));
  MUST(mxg_gpu_use(gpu_of(b, b->first), &err));
  MUST(mxg_graph_begin(b->streams[b->first], &err));
  mxg_status status = mxg_exec_start(exec, MXG_ALL_GROUPS, streams, &err);
  expect(status == MXG_ERR_USAGE && err.code == 684, "streams of different captures");
  mxg_cu_graph *empty = NULL;
  MUST(mxg_gpu_use(gpu_of(b, b->first), &err));
  MUST(mxg_graph_end(&empty, b->streams[b->first], &err));
  mxg_graph_free(empty);
  mxg_exec_free(exec);
}

/* ---- a deadline ---- */

void too_late(bench *b, const mxg_exec_options *usual, uint32_t seed) {
  mxg_exec_options options = *usual;
  options.timeout_ms = 1;
  mxg_exec *exec = new_exec(b, &options, false);
  MUST(mxg_exec_prepare(exec, &err));
  renew(b, seed);
  keep_busy(b, 400);
  write_sources(b);
  start(b, exec, MXG_ALL_GROUPS);
  expect(mxg_exec_wait(exec, MXG_ALL_GROUPS, &err) == MXG_ERR_TIMEOUT && err.code == 648, "a deadline");
  read_targets(b);
  finish(b); /* late, and right; but exchanges were given up, unless the caller has them */
  if (options.transport != MXG_NCCL || options.nccl_comms) compare(b, "after a deadline");
  mxg_exec_free(exec);
  exec = new_exec(b, usual, false);
  all_at_once(b, exec, seed + 1, "after that");
  mxg_exec_free(exec);
}
