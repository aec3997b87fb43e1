/* start_bench.h -- what the tests of starts stand on: tensors of every rank on its GPU, the callers' streams, and what
** the host transport makes of the same sources to compare with; and the cases that every transport goes through.
** Failures are counted, and what has to work ends the program. */
#ifndef START_BENCH_H
#define START_BENCH_H

#include "bundle.h"
#include "driver.h"
#include "driver/fake_cuda.h"

#include <stdio.h>
#include <stdlib.h>

enum { most_ranks = 8, most_gpus = 8 };

extern int failures;
extern mxg_error err;
extern bool fake; /* tests/driver/fake_cuda.c instead of GPUs; what follows is that one's, or NULL */
extern fake_cuda_fail_function fail_launch, fail_kernel;
extern fake_cuda_count_function widest_graph;
extern fake_cuda_graphs_function count_graphs;

#define MUST(call)                                                                                            \
  do {                                                                                                        \
    if ((call) != MXG_OK) {                                                                                   \
      fprintf(stderr, "%s:%d: %s: MX%04u %s; %s\n", __FILE__, __LINE__, #call, err.code, err.text, err.note); \
      exit(1);                                                                                                \
    }                                                                                                         \
  } while (0)

void expect(bool good, const char *what);

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

mxg_gpu *gpu_of(const bench *b, uint32_t rank);
bool have_own_gpus(const bench *b);
uint64_t ballast_bytes(void);
int graphs(void); /* how many there are, as far as anybody counts */

void new_tensors(bench *b);
void free_tensors(bench *b);
/* Bound to the tensors on the GPUs, of the ranks here, or to those of all ranks for the host transport. */
mxg_exec *new_exec(const bench *b, const mxg_exec_options *options, bool on_host);
/* Other sources, and with them what must come out. */
void renew(bench *b, uint32_t seed);

/* ---- on the callers' streams ---- */

/* A few milliseconds of work, so that what does not wait for it comes too early; on every rank of another length. */
void keep_busy(const bench *b, int times);
void write_sources(const bench *b); /* targets are poisoned */
/* Reads the targets, and writes over the sources: readers that have not ended would see it. */
void read_targets(const bench *b);
void finish(const bench *b);
void compare(const bench *b, const char *what);
void start(const bench *b, mxg_exec *exec, uint32_t group);

/* ---- cases ---- */

void by_group(bench *b, mxg_exec *exec, bool backwards, uint32_t seed, const char *what);
void all_at_once(bench *b, mxg_exec *exec, uint32_t seed, const char *what);
/* The default streams of all GPUs, and a run in between. */
void on_default_streams(bench *b, mxg_exec *exec, uint32_t seed);
void captured(bench *b, const mxg_exec_options *options, bool whole, uint32_t seed);
/* A stream is not in the capture that the others are in: of ranks that read each other. */
void left_out(const bench *b, const mxg_exec_options *options);
void too_late(bench *b, const mxg_exec_options *usual, uint32_t seed);
/* NCCL with communicators of the caller's: start_lent.c. */
void lent(bench *b, const mxg_exec_options *usual, uint32_t seed);
/* Ranks that take turns: start_turns.c. */
void take_turns(bench *b, const mxg_exec_options *options, uint32_t seed);
/* By chance: start_draw.c. First the GPUs of the ranks, from a seed, then options and starts of one transport. */
void draw_places(bench *b, int gpus, uint32_t seed);
void draw(bench *b, mxg_transport transport);

#endif
