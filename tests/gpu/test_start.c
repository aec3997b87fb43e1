/* test_start.c -- mxg_exec_start and _wait on GPUs: sources are written on the callers' streams before, and targets
** read there after, with nothing but the streams' order between; what comes out is the host transport's, byte for
** byte. Groups forwards and backwards, all at once, inside captures whose graphs are launched again with other sources,
** a deadline, wrong calls; NCCL with communicators of the library's and with the caller's.
**
** test_start RECIPE... or test_start --processes RANKS RECIPE. Exit 77: no GPU, or no NVRTC. Ranks take the GPUs in
** turn, and then all of them the first one; with --processes each is a process of a job. test_start --turns BYTES
** RECIPE...: copies only, with chunks of BYTES, so that ranks that have a GPU each take turns. */
#include "bundle.h"
#include "driver.h"
#include "driver/fake_cuda.h"
#include "driver/fake_nccl.h"
#include "launch.h"
#include "mxgen.h"
#include "nccl.h"

#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int failures;
static mxg_error err;
static bool fake; /* tests/driver/fake_cuda.c instead of GPUs */
static uint64_t turn_bytes;
static fake_cuda_fail_function fail_launch, fail_kernel; /* with the fake; as is the next */
static fake_cuda_count_function widest_graph;

#define MUST(call)                                                                               \
  do {                                                                                           \
    if ((call) != MXG_OK) {                                                                      \
      fprintf(stderr, "%d: %s: MX%04u %s; %s\n", __LINE__, #call, err.code, err.text, err.note); \
      exit(1);                                                                                   \
    }                                                                                            \
  } while (0)

static void expect(bool good, const char *what) {
  if (good) return;
  fprintf(stderr, "FAILED: %s (MX%04u %s)\n", what, err.code, err.text);
  failures++;
}

/* ---- memory: of every tensor, on its rank's GPU, and for the host transport ---- */

enum { most_ranks = 8, most_gpus = 8 };

typedef struct tensor {
  mxg_tensor_info info;
  uint64_t device, bytes;    /* data, then scales from the next multiple of 256 */
  uint64_t scale;            /* where they begin */
  unsigned char *host, *got; /* pinned: source bytes, or what the host transport makes; and a target as read */
} tensor;

typedef struct bench {
  mxg_bundle *bundle;
  uint32_t count, ranks;
  tensor *tensors;
  mxg_gpu *gpus[most_gpus];
  int ordinals[most_ranks];
  mxg_cu_stream *streams[most_ranks];
  uint64_t ballast[most_gpus]; /* memory to keep a stream busy with */
  uint32_t first, end;         /* the ranks of this process */
  mxg_job *job;                /* NULL: they are all */
} bench;

static bool is_here(const bench *b, uint32_t rank) { return rank >= b->first && rank < b->end; }

static uint64_t ballast_bytes(void) { return (uint64_t)(fake ? 1 : 256) << 20; }

static mxg_gpu *gpu_of(const bench *b, uint32_t rank) { return b->gpus[b->ordinals[rank]]; }

static void new_tensors(bench *b) {
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

static void free_tensors(bench *b) {
  for (uint32_t i = 0; i < b->count; i++) {
    MUST(mxg_gpu_use(gpu_of(b, b->first), &err));
    mxg_gpu_free(b->tensors[i].device);
    mxg_gpu_free_pinned(b->tensors[i].host);
  }
  free(b->tensors);
}

static mxg_exec *new_exec(const bench *b, const mxg_exec_options *options, bool on_host) {
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
static void renew(bench *b, uint32_t seed) {
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

/* A few milliseconds of work, so that what does not wait for it comes too early; on every rank of another length. */
static void keep_busy(const bench *b, int times) {
  static uint32_t seed = 1;
  for (uint32_t r = b->first; r < b->end; r++) {
    int own = times - (int)((seed = seed * 1664525u + 1013904223u) >> 16) % (times / 2 + 1);
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    for (int i = 0; i < own; i++)
      MUST(mxg_gpu_fill(b->ballast[b->ordinals[r]], (uint8_t)i, ballast_bytes(), b->streams[r], &err));
  }
}

static void write_sources(const bench *b) {
  for (uint32_t i = 0; i < b->count; i++) {
    const tensor *t = &b->tensors[i];
    if (!is_here(b, t->info.rank)) continue;
    mxg_cu_stream *stream = b->streams[t->info.rank];
    MUST(mxg_gpu_use(gpu_of(b, t->info.rank), &err));
    if (t->info.side == MXG_SOURCE)
      MUST(mxg_gpu_copy(t->device, (uint64_t)(uintptr_t)t->host, t->bytes, stream, &err));
    else
      MUST(mxg_gpu_fill(t->device, 0xa5, t->bytes, stream, &err));
  }
}

/* Reads the targets, and writes over the sources: readers that have not ended would see it. */
static void read_targets(const bench *b) {
  for (uint32_t i = 0; i < b->count; i++) {
    const tensor *t = &b->tensors[i];
    if (!is_here(b, t->info.rank)) continue;
    mxg_cu_stream *stream = b->streams[t->info.rank];
    MUST(mxg_gpu_use(gpu_of(b, t->info.rank), &err));
    if (t->info.side == MXG_SOURCE)
      MUST(mxg_gpu_fill(t->device, 0x5a, t->bytes, stream, &err));
    else
      MUST(mxg_gpu_copy((uint64_t)(uintptr_t)t->got, t->device, t->bytes, stream, &err));
  }
}

static void finish(const bench *b) {
  for (uint32_t r = b->first; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    MUST(mxg_stream_wait(b->streams[r], &err));
  }
}

static void compare(const bench *b, const char *what) {
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

static void start(const bench *b, mxg_exec *exec, uint32_t group) {
  void *streams[most_ranks];
  for (uint32_t r = b->first; r < b->end; r++) streams[r - b->first] = b->streams[r];
  MUST(mxg_exec_start(exec, group, streams, &err));
}

static void by_group(bench *b, mxg_exec *exec, bool backwards, uint32_t seed, const char *what) {
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

static void all_at_once(bench *b, mxg_exec *exec, uint32_t seed, const char *what) {
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
static void on_default_streams(bench *b, mxg_exec *exec, uint32_t seed) {
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

static void captured(bench *b, const mxg_exec_options *options, bool whole, uint32_t seed) {
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
  if (b->end - b->first > 1) { /* another stream is left out of the capture */
    MUST(mxg_gpu_use(gpu_of(b, b->first), &err));
    MUST(mxg_graph_begin(b->streams[b->first], &err));
    mxg_status status = mxg_exec_start(exec, MXG_ALL_GROUPS, streams, &err);
    expect(status == MXG_ERR_USAGE && err.code == 684, "streams of different captures");
    mxg_cu_graph *empty = NULL;
    MUST(mxg_gpu_use(gpu_of(b, b->first), &err));
    MUST(mxg_graph_end(&empty, b->streams[b->first], &err));
    mxg_graph_free(empty);
  }
  mxg_graph_free(graph);
  mxg_exec_free(exec);
  for (uint32_t r = b->first; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    mxg_event_free(events[r]);
  }
}

/* ---- a deadline ---- */

static void too_late(bench *b, const mxg_exec_options *usual, uint32_t seed) {
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

/* ---- communicators that the caller has ---- */

typedef struct nccl_id {
  char bytes[MXG_NCCL_ID_BYTES];
} nccl_id;

/* NCCL as the caller of the library has it. */
static struct {
  int (*new_id)(nccl_id *id);
  int (*open)(void **comm, int ranks, nccl_id id, int rank, void *config);
  int (*begin)(void);
  int (*end)(void);
  int (*ask)(void *comm, int *result);
  int (*destroy)(void *comm);
  int (*abort)(void *comm);
  fake_nccl_ended_function ended; /* NULL: NCCL itself */
  fake_cuda_graphs_function graphs;
} callers;

static bool find_callers_nccl(void) {
  mxg_nccl_state found;
  mxg_nccl_find(&found);
  void *library = found.usable ? dlopen(found.path, RTLD_NOW | RTLD_LOCAL) : NULL;
  if (!library) return false;
  *(void **)(void *)&callers.new_id = dlsym(library, "ncclGetUniqueId");
  *(void **)(void *)&callers.open = dlsym(library, "ncclCommInitRankConfig");
  *(void **)(void *)&callers.begin = dlsym(library, "ncclGroupStart");
  *(void **)(void *)&callers.end = dlsym(library, "ncclGroupEnd");
  *(void **)(void *)&callers.ask = dlsym(library, "ncclCommGetAsyncError");
  *(void **)(void *)&callers.destroy = dlsym(library, "ncclCommDestroy");
  *(void **)(void *)&callers.abort = dlsym(library, "ncclCommAbort");
  *(void **)(void *)&callers.ended = dlsym(library, "fake_nccl_ended");
  return callers.new_id && callers.open && callers.begin && callers.end && callers.ask && callers.destroy;
}

static void open_comms(const bench *b, void *comms[most_ranks]) {
  nccl_id id;
  bool good = callers.new_id(&id) == 0 && callers.begin() == 0;
  for (uint32_t r = 0; r < b->ranks && good; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    int result = callers.open(&comms[r], (int)b->ranks, id, (int)r, NULL);
    good = result == 0 || result == 7; /* in progress */
  }
  good = good && callers.end() == 0;
  for (uint32_t r = 0; r < b->ranks && good; r++)
    for (int result = 7; result == 7 && good;) good = callers.ask(comms[r], &result) == 0;
  if (good) return;
  fprintf(stderr, "the test's own communicators could not be opened\n");
  exit(1);
}

/* How many of the communicators were destroyed or aborted, and how many graphs there are, as far as anybody counts. */
static int ended(void) { return callers.ended ? callers.ended() : 0; }
static int graphs(void) { return callers.graphs ? callers.graphs() : 0; }

static void expect_refusal(const bench *b, const mxg_exec_options *options, const char *says, const char *what) {
  mxg_exec *exec = NULL;
  mxg_status status = mxg_exec_create(&exec, b->bundle, options, &err);
  expect(status == MXG_ERR_USAGE && err.code == 601 && strstr(err.text, says) && !exec, what);
  mxg_exec_free(exec);
}

/* The first rank alone, so that what it waits for never comes: an error at the deadline. The caller ends its
** communicators then, and nothing that the library left holds on to them. */
static void left_alone(bench *b, const mxg_exec_options *usual, void *comms[most_ranks]) {
  mxg_exec_options options = *usual;
  const int before = graphs(), ended_before = ended();
  options.rank_count = 1;
  options.timeout_ms = 200;
  const uint32_t all = b->end;
  b->end = b->first + 1;
  mxg_exec *exec = new_exec(b, &options, false);
  start(b, exec, MXG_ALL_GROUPS);
  expect(mxg_exec_wait(exec, MXG_ALL_GROUPS, &err) == MXG_ERR_TIMEOUT && err.code == 648, "a rank that is left alone");
  expect(ended() == ended_before, "a deadline leaves the caller's communicators");
  expect(graphs() == before, "after a deadline no graph holds on to the caller's communicators");
  for (uint32_t r = 0; r < b->ranks; r++) callers.abort(comms[r]);
  finish(b);
  mxg_exec_free(exec);
  b->end = all;
}

static void lent(bench *b, const mxg_exec_options *usual, uint32_t seed) {
  mxg_exec_options options = *usual;
  void *comms[most_ranks] = {NULL}, *wrong[most_ranks] = {NULL};
  const uint32_t ranks = b->end - b->first;
  if (!find_callers_nccl()) exit(1);
  printf(" nccl, the caller's communicators\n");
  const int ended_before = ended();
  open_comms(b, comms);
  /* One is missing, or two have changed places. */
  options.nccl_comms = wrong;
  memcpy(wrong, comms, sizeof wrong);
  wrong[ranks - 1] = NULL;
  expect_refusal(b, &options, "is NULL", "a communicator that is NULL");
  wrong[0] = comms[1];
  wrong[1] = comms[0];
  expect_refusal(b, &options, "not rank", "communicators of each other's ranks");
  options.nccl_comms = comms;
  for (int turn = 0; turn < 2; turn++) { /* the second executor finds them as they were */
    mxg_exec *exec = new_exec(b, &options, false);
    by_group(b, exec, turn, seed + 2 * (unsigned)turn, turn ? "lent again, backwards" : "lent, by group");
    all_at_once(b, exec, seed + 1 + 2 * (unsigned)turn, turn ? "lent again, all at once" : "lent, all at once");
    MUST(mxg_exec_run(exec, &err));
    mxg_exec_free(exec);
  }
  captured(b, &options, true, seed + 10);
  too_late(b, &options, seed + 20);
  expect(ended() == ended_before, "the caller's communicators are left to it");
  if (fake) { /* NCCL itself may wait for the others before anything is given to a GPU */
    left_alone(b, &options, comms);
    expect(ended() == ended_before + (int)b->ranks, "the caller has ended them");
    return;
  }
  for (uint32_t r = 0; r < b->ranks; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    expect(callers.destroy(comms[r]) == 0, "the caller ends its communicators");
  }
}

/* ---- ranks that take turns ---- */

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

static bool have_own_gpus(const bench *b) {
  for (uint32_t r = 0; r < b->ranks; r++)
    for (uint32_t k = 0; k < r; k++)
      if (b->ordinals[k] == b->ordinals[r]) return false;
  return true;
}

static void take_turns(bench *b, const mxg_exec_options *options, uint32_t seed) {
  printf("  in turns\n");
  const int graphs = callers.graphs ? callers.graphs() : 0;
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
  expect(!callers.graphs || callers.graphs() == graphs, "no graph is left behind");
  expect(!widest_graph || options->no_graph || widest_graph() == (int)b->ranks, "one graph over all GPUs");
}

/* ---- processes ---- */

/* Processes that start groups in different orders wait for each other until one gives up, and learn of it. */
static void at_odds(bench *b, const mxg_exec_options *usual) {
  mxg_exec_options options = *usual;
  options.timeout_ms = 300;
  if (mxg_bundle_groups(b->bundle) < 2) return;
  mxg_exec *exec = new_exec(b, &options, false);
  MUST(mxg_exec_prepare(exec, &err));
  start(b, exec, b->first % 2);
  mxg_status status = mxg_exec_wait(exec, MXG_ALL_GROUPS, &err);
  printf("  at odds: %s\n", err.text);
  expect(status == MXG_ERR_TIMEOUT, "processes at odds");
  mxg_exec_free(exec);
}

/* ---- one recipe ---- */

static void try_transport(bench *b, mxg_transport transport, bool graph, uint32_t seed) {
  mxg_exec_options options = MXG_EXEC_INIT;
  options.transport = transport;
  uint32_t ranks[most_ranks];
  for (uint32_t r = b->first; r < b->end; r++) ranks[r - b->first] = r;
  options.ranks = ranks;
  options.rank_count = b->end - b->first;
  options.gpus = b->ordinals + b->first;
  options.job = b->job;
  options.no_graph = !graph;
  if (transport == MXG_COPY) options.chunk_bytes = turn_bytes;
  const bool turns = !b->job && transport == MXG_COPY && turn_bytes && b->ranks > 2 && have_own_gpus(b);
  printf(" %s%s\n",
         transport == MXG_COPY   ? "copy"
         : transport == MXG_NCCL ? "nccl"
                                 : "direct",
         graph ? "" : ", op by op");
  mxg_exec *exec = new_exec(b, &options, false);
  by_group(b, exec, false, seed, "by group");
  if (!graph) { /* the rest is the same */
    mxg_exec_free(exec);
    if (turns) take_turns(b, &options, seed + 50);
    return;
  }
  by_group(b, exec, true, seed + 1, "by group, backwards");
  all_at_once(b, exec, seed + 2, "all at once");
  on_default_streams(b, exec, seed + 3);
  mxg_exec_free(exec);
  captured(b, &options, false, seed + 10);
  captured(b, &options, true, seed + 20);
  if (turns) take_turns(b, &options, seed + 50);
  if (b->job) return; /* a process that is late ends the job */
  too_late(b, &options, seed + 30);
  if (transport == MXG_NCCL) lent(b, &options, seed + 40);
}

/* The plan whose kernels the driver without GPUs is asked for. */
static const mxg_plan *played;

static void play_kernel(const char *name, uint64_t entries, uint32_t count) {
  for (uint32_t k = 0; k < played->kernel_count; k++)
    if (strcmp(played->kernels[k].name, name) == 0)
      mxg_convert_entries(&played->kernels[k], (const mx_entry *)(uintptr_t)entries, count);
}

/* The same bundle with code that nobody looks at. */
static mxg_bundle *without_code(const mxg_bundle *from, const char *arch) {
  static const unsigned char sources[32] = {1};
  mxg_bundle *bundle = NULL;
  const mxg_plan *plan = mxg_bundle_plan(from);
  mxg_bundle_cubin *cubins = calloc(plan->kernel_count + 1, sizeof *cubins);
  if (!cubins) exit(1);
  for (uint32_t k = 0; k < plan->kernel_count; k++) {
    cubins[k] = (mxg_bundle_cubin){.kernel = k, .bytes = "none", .count = 4};
    snprintf(cubins[k].arch, sizeof cubins[k].arch, "%s", arch);
  }
  const mxg_bundle_parts parts = {
      .plan = plan, .cubins = cubins, .cubin_count = plan->kernel_count, .sources_digest = sources, .maker = "maker"};
  MUST(mxg_bundle_make(&bundle, &parts, &err));
  free(cubins);
  return bundle;
}

static mxg_bundle *make_bundle(const char *recipe, const char *arch) {
  const char *archs[] = {arch, NULL};
  mxg_options options = MXG_OPTIONS_INIT;
  mxg_bundle *bundle = NULL;
  options.archs = fake ? archs + 1 : archs;
  mxg_status status = mxg_generate(&bundle, recipe, &options, &err);
  if (status == MXG_ERR_ENVIRONMENT) {
    fprintf(stderr, "%s\n", err.text);
    exit(77);
  }
  MUST(status);
  if (!fake) return bundle;
  mxg_bundle *light = without_code(bundle, arch);
  mxg_bundle_free(bundle);
  played = mxg_bundle_plan(light);
  return light;
}

/* NCCL takes one rank a GPU, and the one of tests is of one process. */
static bool nccl_fits(const bench *b, int gpus) {
  mxg_nccl_state nccl;
  mxg_nccl_find(&nccl);
  return nccl.usable && (int)b->ranks <= gpus && b->ranks > 1 && !(fake && b->job);
}

/* Ranks over all GPUs, or on the first. */
static void try_places(bench *b, const char *recipe, int gpus) {
  for (uint32_t r = 0; r < b->ranks; r++) b->ordinals[r] = (int)r % gpus;
  for (uint32_t r = b->first; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    MUST(mxg_stream_create(&b->streams[r], &err));
  }
  printf("%s, %u ranks of %u, %u groups, on %d GPUs (%s)\n", recipe, b->end - b->first, b->ranks,
         mxg_bundle_groups(b->bundle), gpus, mxg_gpu_about(b->gpus[0])->name);
  new_tensors(b);
  for (int graph = 1; graph >= 0; graph--) {
    try_transport(b, MXG_COPY, graph, 100u * (unsigned)graph + 1);
    if (turn_bytes) continue;
    try_transport(b, MXG_DIRECT, graph, 100u * (unsigned)graph + 51);
    if (nccl_fits(b, gpus)) try_transport(b, MXG_NCCL, graph, 100u * (unsigned)graph + 71);
  }
  free_tensors(b);
  for (uint32_t r = b->first; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    mxg_stream_free(b->streams[r]);
  }
}

/* With a job one rank is of this process. */
static void try_recipe(const char *recipe, int gpus, const mxg_job_options *job) {
  bench b = {0};
  char arch[16];
  mxg_gpu_info about;
  MUST(mxg_gpu_ask(&about, 0, &err));
  snprintf(arch, sizeof arch, "sm_%d%d%s", about.major, about.minor, about.major >= 9 ? "a" : "");
  b.bundle = make_bundle(recipe, arch);
  for (uint32_t i = 0; i < mxg_bundle_tensors(b.bundle); i++) {
    mxg_tensor_info info = {.size = sizeof info};
    MUST(mxg_bundle_tensor(&info, b.bundle, i, &err));
    if (b.ranks <= info.rank) b.ranks = info.rank + 1;
  }
  if (b.ranks > most_ranks) exit(1);
  for (int g = 0; g < gpus; g++) {
    MUST(mxg_gpu_open(&b.gpus[g], g, &err));
    MUST(mxg_gpu_alloc(&b.ballast[g], ballast_bytes(), &err));
  }
  b.first = job ? job->rank : 0;
  b.end = job ? job->rank + 1 : b.ranks;
  if (job) MUST(mxg_job_create(&b.job, job, &err));
  if (gpus > 1) try_places(&b, recipe, gpus);
  try_places(&b, recipe, 1);
  if (job) {
    mxg_exec_options at = MXG_EXEC_INIT;
    at.transport = MXG_DIRECT;
    at.ranks = &b.first;
    at.rank_count = 1;
    at.gpus = b.ordinals + b.first;
    at.job = b.job;
    MUST(mxg_gpu_use(gpu_of(&b, b.first), &err));
    MUST(mxg_stream_create(&b.streams[b.first], &err));
    new_tensors(&b);
    at_odds(&b, &at);
    free_tensors(&b);
  }
  mxg_job_free(b.job);
  for (int g = 0; g < gpus; g++) {
    MUST(mxg_gpu_use(b.gpus[g], &err));
    mxg_gpu_free(b.ballast[g]);
    mxg_gpu_close(b.gpus[g]);
  }
  mxg_bundle_free(b.bundle);
}

static int run_recipes(char **recipes, int count, const mxg_job_options *job) {
  int gpus = 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (mxg_gpu_count(&gpus, &err) != MXG_OK || gpus == 0) {
    fprintf(stderr, "%s\n", err.text);
    return 77;
  }
  const char *library = getenv("MXGEN_LIBCUDA");
  void *opened = library ? dlopen(library, RTLD_NOW | RTLD_NOLOAD) : NULL;
  fake_cuda_use_function use = NULL;
  if (opened) *(void **)(void *)&use = dlsym(opened, "fake_cuda_use");
  if (opened) *(void **)(void *)&callers.graphs = dlsym(opened, "fake_cuda_graphs");
  if (opened) *(void **)(void *)&fail_launch = dlsym(opened, "fake_cuda_fail_launch");
  if (opened) *(void **)(void *)&fail_kernel = dlsym(opened, "fake_cuda_fail_kernel");
  if (opened) *(void **)(void *)&widest_graph = dlsym(opened, "fake_cuda_widest_graph");
  fake = use != NULL;
  if (fake) use(play_kernel);
  for (int i = 0; i < count; i++) try_recipe(recipes[i], gpus < most_gpus ? gpus : most_gpus, job);
  return failures ? 1 : 0;
}

static unsigned free_port(void) {
  struct sockaddr_in at = {.sin_family = AF_INET};
  socklen_t size = sizeof at;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) || getsockname(fd, (struct sockaddr *)&at, &size)) exit(1);
  close(fd);
  return ntohs(at.sin_port);
}

/* A process a rank; nothing of CUDA may be there before they part. */
static int in_processes(char *recipe, uint32_t ranks) {
  if (ranks == 0 || ranks > most_ranks) return 2;
  mxg_job_options job = MXG_JOB_INIT;
  pid_t children[most_ranks];
  int worst = 0;
  job.world = ranks;
  job.address = "127.0.0.1";
  job.port = free_port();
  for (uint32_t r = 0; r < ranks; r++) {
    job.rank = r;
    children[r] = fork();
    if (children[r] == 0) exit(run_recipes(&recipe, 1, &job));
  }
  for (uint32_t r = 0; r < ranks; r++) {
    int status = 0;
    if (children[r] < 0 || waitpid(children[r], &status, 0) < 0) return 1;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    if (code && (worst == 0 || worst == 77)) worst = code;
  }
  return worst;
}

int main(int argc, char **argv) {
  if (argc > 3 && strcmp(argv[1], "--turns") == 0) {
    turn_bytes = strtoull(argv[2], NULL, 10);
    argc -= 2, argv += 2;
  }
  if (argc > 3 && strcmp(argv[1], "--processes") == 0)
    return in_processes(argv[3], (uint32_t)strtoul(argv[2], NULL, 10));
  return run_recipes(argv + 1, argc - 1, NULL);
}
