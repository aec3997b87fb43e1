/* bench_host_run.c -- a whole schedule on the host transport beside memcpy, both on all cores, in bytes read and
 *written
 ** a second: two row shards of each MXFP8 tensor become whole BF16 on a third rank.
 **
 ** usage: bench_host_run [MIB [THREADS [BUCKET_MIB]]]   (MiB of MXFP8 elements, default 512; wire MiB of a bucket,
 ** default 16). Medians of several runs. Bytes are those of sources and targets, also where wire forms are made. */
#include "bundle.h"
#include "parallel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { cols = 4096, repeats = 7, ranks = 3 };

static double now(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void *need(void *p) {
  if (!p) exit(3);
  return p;
}

static void stop(const mxg_error *err) {
  (void)fprintf(stderr, "MX%04u %s\n", err->code, err->text);
  exit(5);
}

/* `buckets` tensors of 2 * half rows, one to a bucket. */
static mxg_plan *make_plan(uint32_t buckets, uint32_t half, enum mx_scale_layout layout) {
  mxg_plan *p = need(calloc(1, sizeof *p));
  char *strings = need(calloc(buckets, 48));
  size_t used = 1;
  p->name = "bench";
  p->rank_count = ranks;
  p->slots = 2;
  p->ranks = need(calloc(ranks, sizeof *p->ranks));
  p->encodings = need(calloc(2, sizeof *p->encodings));
  p->encoding_count = 2;
  p->encodings[0] = (mxg_encoding){.elem = MX_E4M3,
                                   .scale = MX_SCALE_E8M0,
                                   .layout = (uint8_t)layout,
                                   .rule = MX_RCEIL,
                                   .block_rows = 1,
                                   .block_cols = 32};
  p->encodings[1] = (mxg_encoding){.elem = MX_BF16};
  p->arrays = need(calloc((size_t)buckets * 3, sizeof *p->arrays));
  p->pieces = need(calloc((size_t)buckets * 2, sizeof *p->pieces));
  p->segments = need(calloc(2, sizeof *p->segments));
  p->steps = need(calloc((size_t)buckets * 6, sizeof *p->steps));
  p->kernels = need(calloc(2, sizeof *p->kernels));
  p->kernel_count = 2;
  for (int k = 0; k < 2; k++) {
    mxg_encoding wire = mxg_wire_encoding(&p->encodings[0]);
    p->kernels[k] = (mxg_kernel){.name = "mx_dequantize", .family = MXG_DEQUANTIZE, .cols = cols, .vec = 16};
    p->kernels[k].threads = 128;
    p->kernels[k].tile_units = 1024;
    p->kernels[k].src = k ? p->encodings[0] : wire;
    p->kernels[k].dst = p->encodings[1];
  }
  p->segments[0] = (mxg_segment){0, 0, half};
  p->segments[1] = (mxg_segment){0, half, half};
  p->segment_count = 2;
  for (uint32_t r = 0; r < ranks; r++) {
    uint32_t first = p->array_count;
    for (uint32_t b = 0; b < buckets; b++) {
      mxg_array *a = &p->arrays[p->array_count++];
      *a = (mxg_array){.rank = r, .side = r < 2 ? MXG_SOURCE : MXG_TARGET, .ndim = 2, .matrices = 1, .cols = cols};
      a->rows = r < 2 ? half : 2 * half;
      a->encoding = r < 2 ? 0 : 1;
      if (r == 0) {
        a->name = a->tensor = (uint32_t)used;
        used += (size_t)sprintf(strings + used, "w%u", b) + 1;
        a->scale_name = (uint32_t)used;
        used += (size_t)sprintf(strings + used, "w%u_scale", b) + 1;
      } else {
        a->name = a->tensor = p->arrays[b].name;
        a->scale_name = r == 1 ? p->arrays[b].scale_name : 0;
      }
    }
    uint32_t *firsts[2] = {&p->ranks[r].first_source, &p->ranks[r].first_target};
    uint32_t *counts[2] = {&p->ranks[r].sources, &p->ranks[r].targets};
    *firsts[r == 2] = first;
    *counts[r == 2] = buckets;
  }
  p->strings = strings;
  p->string_bytes = used;
  for (uint32_t b = 0; b < buckets; b++) {
    uint64_t offset = 0;
    for (uint32_t r = 0; r < 2; r++) {
      mxg_piece *piece = &p->pieces[p->piece_count];
      *piece = (mxg_piece){.src = r * buckets + b, .dst = 2 * buckets + b, .cols = cols, .first_segment = r};
      piece->segments = 1;
      piece->bucket = b;
      piece->kernel_direct = 1;
      piece->rows = half;
      piece->wire_bytes = mxg_wire_of(p, piece).bytes;
      piece->wire_offset = offset;
      offset += (piece->wire_bytes + 255) / 256 * 256;
      p->ranks[2].received_bytes += piece->wire_bytes;
      p->steps[p->step_count++] =
          (mxg_step){MXG_STEP_GATHER, b, b % 2, p->piece_count++, 1, 0, r, 0, piece->wire_bytes};
    }
    p->slot_bytes = offset;
    p->steps[p->step_count++] = (mxg_step){MXG_STEP_WAIT, b, b % 2, 0, 0, 0, MXG_NONE, 0, 0};
    p->steps[p->step_count++] = (mxg_step){MXG_STEP_CONVERT, b, b % 2, 2 * b, 2, 0, MXG_NONE, 0, 0};
    p->steps[p->step_count++] = (mxg_step){MXG_STEP_RELEASE, b, b % 2, 0, 0, 0, MXG_NONE, 0, 0};
  }
  p->ranks[2].steps = p->step_count;
  p->staging_cap = p->ranks[2].staging_bytes = p->slot_bytes * 2;
  for (uint32_t r = 0; r < 2; r++) p->ranks[r].first_step = 0;
  return p;
}

typedef struct copying {
  unsigned char *to, *from;
  uint64_t share;
} copying;

static void copy_part(void *user, uint64_t i, unsigned worker) {
  const copying *c = user;
  (void)worker;
  memcpy(c->to + i * c->share, c->from + i * c->share, (size_t)c->share);
}

static void measure(const char *name, uint32_t buckets, uint32_t half, enum mx_scale_layout layout, bool wires,
                    unsigned threads) {
  mxg_plan *plan = make_plan(buckets, half, layout);
  static const unsigned char sources[32];
  const mxg_bundle_parts parts = {plan, NULL, 0, sources, "bench", NULL, NULL};
  mxg_bundle *bundle;
  mxg_exec *exec;
  mxg_pool *pool;
  mxg_error err;
  mxg_exec_options options = MXG_EXEC_INIT;
  options.threads = threads;
  options.wires = wires;
  if (mxg_bundle_make(&bundle, &parts, &err) || mxg_exec_create(&exec, bundle, &options, &err) ||
      mxg_pool_create(&pool, threads, &err))
    stop(&err);
  uint64_t bytes = 0;
  unsigned char **memory = need(calloc((size_t)plan->array_count * 2, sizeof *memory));
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    uint64_t data = mxg_array_data_bytes(plan, a), scale = mxg_array_scale_bytes(plan, a);
    memory[2 * i] = memset(need(malloc((size_t)data)), 0x35 + (int)i % 3, (size_t)data);
    memory[2 * i + 1] = scale ? memset(need(malloc((size_t)scale)), 120, (size_t)scale) : NULL;
    bytes += data + scale;
    if (mxg_exec_bind(exec, a->rank, a->side, plan->strings + a->name, memory[2 * i], data, memory[2 * i + 1], scale,
                      &err))
      stop(&err);
  }
  uint64_t chunks = bytes / 2 >> 20;
  copying c = {need(malloc((size_t)chunks << 20)), need(malloc((size_t)chunks << 20)), 1 << 20};
  memset(c.from, 1, (size_t)chunks << 20);
  memset(c.to, 1, (size_t)chunks << 20);
  double runs[repeats], copies[repeats];
  for (int i = -1; i < repeats; i++) {
    double start = now();
    if (mxg_exec_run(exec, &err)) stop(&err);
    double middle = now();
    mxg_pool_run(pool, copy_part, &c, chunks);
    if (i < 0) continue;
    runs[i] = middle - start;
    copies[i] = now() - middle;
  }
  qsort(runs, repeats, sizeof *runs, compare);
  qsort(copies, repeats, sizeof *copies, compare);
  double run = runs[repeats / 2], copy = copies[repeats / 2];
  printf("%-34s %8.2f GB/s   memcpy %8.2f GB/s   ratio %5.2f\n", name, (double)bytes / run / 1e9,
         (double)bytes / copy / 1e9, copy / run);
  (void)fflush(stdout);
  mxg_exec_free(exec);
  mxg_bundle_free(bundle);
  mxg_pool_free(pool);
  for (uint32_t i = 0; i < plan->array_count * 2; i++) free(memory[i]);
  free(memory);
  free(c.to);
  free(c.from);
  free(plan->ranks);
  free(plan->encodings);
  free(plan->arrays);
  free(plan->pieces);
  free(plan->segments);
  free(plan->steps);
  free(plan->kernels);
  free((void *)(uintptr_t)plan->strings);
  free(plan);
}

int main(int argc, char **argv) {
  uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 512;
  unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
  uint64_t bucket = argc > 3 ? strtoull(argv[3], NULL, 10) : 16;
  if (mib == 0 || mib > 65536 || bucket == 0 || bucket > mib) {
    (void)fprintf(stderr, "usage: bench_host_run [MIB [THREADS [BUCKET_MIB]]]\n");
    return 2;
  }
  uint32_t half = (uint32_t)(bucket * 1024 * 1024 / cols / 2), buckets = (uint32_t)(mib / bucket);
  measure("run, compact scales to bf16", buckets, half, MX_COMPACT, false, threads);
  measure("run, padded scales to bf16", buckets, half, MX_PADDED, false, threads);
  measure("run, swizzled scales to bf16", buckets, half, MX_SWIZZLED, false, threads);
  measure("run by wires, compact scales", buckets, half, MX_COMPACT, true, threads);
  measure("run by wires, swizzled scales", buckets, half, MX_SWIZZLED, true, threads);
  return 0;
}
