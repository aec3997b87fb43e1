/* bench_host_convert.c -- the host's conversions beside memcpy, both on all cores, in bytes read and written a
** second.
**
** usage: bench_host_convert [MIB [THREADS]]   (MiB of MXFP8 elements, default 512; threads, default one a core) Each
** line is the median of several runs; memcpy moves as many bytes (read + written) as the conversion, right after it. */
#include "launch.h"
#include "mx_convert.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { bench_cols = 4096, bench_repeats = 9, bench_threads_most = 256, band_rows = 32 };

typedef struct job {
  const mxg_kernel *kernel; /* NULL: copy */
  mx_entry entry;
  unsigned char *to, *from;
  size_t bytes;
  pthread_barrier_t *barrier;
} job;

static double now(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *run_job(void *argument) {
  job *j = argument;
  (void)pthread_barrier_wait(j->barrier);
  if (j->kernel) {
    mxg_convert_entries(j->kernel, &j->entry, 1);
  } else {
    memcpy(j->to, j->from, j->bytes);
  }
  (void)pthread_barrier_wait(j->barrier);
  return NULL;
}

static double time_jobs(job *jobs, unsigned threads) {
  pthread_t ids[bench_threads_most];
  pthread_barrier_t barrier;
  if (pthread_barrier_init(&barrier, NULL, threads + 1) != 0) exit(3);
  for (unsigned t = 0; t < threads; t++) {
    jobs[t].barrier = &barrier;
    if (pthread_create(&ids[t], NULL, run_job, &jobs[t]) != 0) exit(3);
  }
  (void)pthread_barrier_wait(&barrier);
  double start = now();
  (void)pthread_barrier_wait(&barrier);
  double seconds = now() - start;
  for (unsigned t = 0; t < threads; t++) (void)pthread_join(ids[t], NULL);
  (void)pthread_barrier_destroy(&barrier);
  return seconds;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values) {
  qsort(values, bench_repeats, sizeof values[0], compare);
  return values[bench_repeats / 2];
}

static mxg_encoding plain(unsigned elem) { return (mxg_encoding){.elem = (uint8_t)elem}; }

static mxg_encoding mxfp8(unsigned elem, uint32_t block_rows, uint32_t block_cols, unsigned layout) {
  return (mxg_encoding){.elem = (uint8_t)elem,
                        .scale = MX_SCALE_E8M0,
                        .layout = (uint8_t)layout,
                        .rule = MX_RCEIL,
                        .block_rows = block_rows,
                        .block_cols = block_cols};
}

/* One matrix of `rows` x bench_cols in four buffers, split between the threads in bands of whole blocks. */
typedef struct bench {
  unsigned char *weights, *codes, *scales, *dst, *dst_scale;
  uint32_t rows;
  unsigned threads;
} bench;

static uint64_t matrix_bytes(const mxg_encoding *encoding, uint64_t rows) {
  mxg_scale_shape shape = mxg_scale_shape_of(encoding, rows, bench_cols);
  return rows * bench_cols * mxg_elem_bytes(encoding->elem) + shape.rows * shape.cols * shape.bytes_each;
}

static void measure(const bench *b, const char *name, mxg_family family, mxg_encoding src, mxg_encoding dst) {
  job jobs[bench_threads_most] = {0}, copies[bench_threads_most] = {0};
  mxg_kernel kernel = {.family = (uint8_t)family, .cols = bench_cols, .vec = 16, .src = src, .dst = dst};
  uint64_t bytes = matrix_bytes(&src, b->rows) + matrix_bytes(&dst, b->rows);
  uint32_t bands = b->rows / band_rows;
  unsigned char *from = mxg_elem_bytes(src.elem) == 1 ? b->codes : b->weights;
  for (unsigned t = 0; t < b->threads; t++) {
    uint32_t first = (uint32_t)((uint64_t)bands * t / b->threads) * band_rows;
    uint32_t end = (uint32_t)((uint64_t)bands * (t + 1) / b->threads) * band_rows;
    jobs[t].kernel = &kernel;
    jobs[t].entry = (mx_entry){.src = (uintptr_t)from,
                               .src_scale = (uintptr_t)b->scales,
                               .dst = (uintptr_t)b->dst,
                               .dst_scale = (uintptr_t)b->dst_scale,
                               .src_ld = bench_cols,
                               .dst_ld = bench_cols,
                               .src_row = first,
                               .dst_row = first,
                               .rows = end - first,
                               .cols = bench_cols,
                               .src_scale_ld = mxg_scale_shape_of(&src, b->rows, bench_cols).ld,
                               .dst_scale_ld = mxg_scale_shape_of(&dst, b->rows, bench_cols).ld};
    uint64_t share = bytes / 2 / b->threads;
    copies[t] = (job){.from = b->weights + share * t, .to = b->dst + share * t, .bytes = share};
  }
  double converts[bench_repeats], copied[bench_repeats];
  (void)time_jobs(jobs, b->threads);
  for (int i = 0; i < bench_repeats; i++) {
    converts[i] = time_jobs(jobs, b->threads);
    copied[i] = time_jobs(copies, b->threads);
  }
  double convert = median(converts), copy = median(copied);
  printf("%-34s %8.2f GB/s   memcpy %8.2f GB/s   ratio %5.2f\n", name, (double)bytes / convert / 1e9,
         (double)bytes / copy / 1e9, copy / convert);
  (void)fflush(stdout);
}

static uint64_t next_random(uint64_t *x) {
  *x ^= *x << 13;
  *x ^= *x >> 7;
  *x ^= *x << 17;
  return *x;
}

/* Nearly normal weights, deviation about 0.02, as BF16. */
static void fill_weights(unsigned char *weights, size_t elems) {
  uint64_t x = 88172645463325252ull;
  for (size_t i = 0; i < elems; i++) {
    uint64_t r = next_random(&x);
    int sum = (int)(r & 0xffff) + (int)(r >> 16 & 0xffff) + (int)(r >> 32 & 0xffff) + (int)(r >> 48) - 2 * 0xffff;
    uint16_t h = (uint16_t)mx_bf16_encode(mx_bits((float)sum * (0.02f / 37836.0f)));
    memcpy(weights + i * 2, &h, 2);
  }
}

/* The same as MXFP8, by the conversion itself. */
static void fill_codes(const bench *b, mxg_encoding to) {
  mxg_kernel kernel = {.family = MXG_QUANTIZE_ROWWISE, .vec = 16, .src = plain(MX_BF16), .dst = to};
  mx_entry entry = {.src = (uintptr_t)b->weights,
                    .dst = (uintptr_t)b->codes,
                    .dst_scale = (uintptr_t)b->scales,
                    .src_ld = bench_cols,
                    .dst_ld = bench_cols,
                    .rows = b->rows,
                    .cols = bench_cols,
                    .dst_scale_ld = mxg_scale_shape_of(&to, b->rows, bench_cols).ld};
  mxg_convert_entries(&kernel, &entry, 1);
}

int main(int argc, char **argv) {
  uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 512;
  long cores = argc > 2 ? strtol(argv[2], NULL, 10) : sysconf(_SC_NPROCESSORS_ONLN);
  if (mib == 0 || mib > 65536 || cores < 1 || cores > bench_threads_most) {
    (void)fprintf(stderr, "usage: bench_host_convert [MIB [THREADS]]\n");
    return 2;
  }
  bench b = {.rows = (uint32_t)(mib * 1024 * 1024 / bench_cols), .threads = (unsigned)cores};
  size_t elems = (size_t)b.rows * bench_cols;
  b.weights = malloc(elems * 4); /* twice what the weights take: memcpy reads as much as it writes */
  b.codes = malloc(elems);
  b.dst = malloc(elems * 4);
  b.scales = malloc(elems / 16);
  b.dst_scale = malloc(elems / 16);
  if (!b.weights || !b.codes || !b.scales || !b.dst || !b.dst_scale) {
    (void)fprintf(stderr, "bench_host_convert: out of memory\n");
    return 3;
  }
  fill_weights(b.weights, elems * 2);
  memset(b.scales, 1, elems / 16);
  memset(b.dst, 1, elems * 4);
  memset(b.dst_scale, 1, elems / 16);

  printf("%llu MiB of elements, %u threads, median of %d; bytes are read + written\n", (unsigned long long)mib,
         b.threads, bench_repeats);
  mxg_encoding rowwise = mxfp8(MX_E4M3, 1, 32, MX_COMPACT), columnwise = mxfp8(MX_E4M3, 32, 1, MX_COMPACT);
  mxg_encoding square = mxfp8(MX_E4M3, 32, 32, MX_COMPACT), swizzled = mxfp8(MX_E4M3, 1, 32, MX_SWIZZLED);
  mxg_encoding e5m2 = mxfp8(MX_E5M2, 1, 32, MX_COMPACT);
  fill_codes(&b, e5m2);
  measure(&b, "mxfp8 e5m2 -> bf16", MXG_DEQUANTIZE, e5m2, plain(MX_BF16));
  fill_codes(&b, rowwise);
  measure(&b, "mxfp8 e4m3 -> bf16", MXG_DEQUANTIZE, rowwise, plain(MX_BF16));
  measure(&b, "mxfp8 e4m3 32x32 -> bf16", MXG_DEQUANTIZE, square, plain(MX_BF16));
  measure(&b, "mxfp8 e4m3 swizzled -> bf16", MXG_DEQUANTIZE, swizzled, plain(MX_BF16));
  measure(&b, "mxfp8 e4m3 columnwise -> bf16", MXG_DEQUANTIZE, columnwise, plain(MX_BF16));
  measure(&b, "mxfp8 e4m3 -> fp16", MXG_DEQUANTIZE, rowwise, plain(MX_FP16));
  measure(&b, "mxfp8 e4m3 -> fp32", MXG_DEQUANTIZE, rowwise, plain(MX_FP32));
  measure(&b, "mxfp8 e4m3 rowwise -> swizzled", MXG_MOVE, rowwise, swizzled);
  measure(&b, "bf16 -> mxfp8 e4m3 rowwise", MXG_QUANTIZE_ROWWISE, plain(MX_BF16), rowwise);
  measure(&b, "bf16 -> mxfp8 e4m3 columnwise", MXG_QUANTIZE_COLUMNWISE, plain(MX_BF16), columnwise);
  measure(&b, "bf16 -> mxfp8 e4m3 32x32", MXG_QUANTIZE_SQUARE, plain(MX_BF16), square);
  for (size_t i = 0; i < elems; i++) b.codes[i] = (unsigned char)(i * 2654435761u >> 13);
  measure(&b, "any codes: mxfp8 e4m3 -> bf16", MXG_DEQUANTIZE, rowwise, plain(MX_BF16));
  free(b.weights), free(b.codes), free(b.scales), free(b.dst), free(b.dst_scale);
  return 0;
}
