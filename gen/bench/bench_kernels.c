/* bench_kernels.c -- see bench_kernels.h. Owns how works are fed and timed, and what they are compared with.
** Kernels come from emit.c and compile.c, the GPU is driver.c's.
**
** A large matrix is a band of rows, repeated: the host converts the band once, and every repetition of the output
** is compared with it. Each timed launch goes to another set of buffers, so that inputs do not sit in the L2. */
#include "bench_kernels.h"

#include "bench_works.h"
#include "compile.h"
#include "driver.h"
#include "error.h"
#include "launch.h"
#include "mx_scale.h"
#include "parallel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- shapes ------------------------------------------------------------------------------------------------------ */

enum { band_rows = 1024, experts = 1000, sets_most = 8, graph_nodes = 24, replays = 21, calls = 60 };

typedef struct extents {
  const char *name;
  uint32_t rows, cols; /* one matrix of `rows`, as repetitions of a band; rows 0: the experts */
} extents;

static const extents shapes[] = {{"4096x14336", 4096, 14336}, {"1000 experts", 0, 0}, {"32768x32768", 32768, 32768}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Shards of an expert model's tensors. */
static void expert_shape(uint32_t i, uint32_t *rows, uint32_t *cols) {
  static const uint32_t some[][2] = {{64, 2048},  {768, 2048}, {2048, 768}, {128, 2048}, {2048, 768},
                                     {512, 2048}, {256, 768},  {768, 2048}, {2048, 192}, {96, 2048}};
  *rows = some[i % (sizeof some / sizeof *some)][0];
  *cols = some[i % (sizeof some / sizeof *some)][1];
}

/* One plane of a side: elements or scales. On the host a band, on the GPU its repetitions. */
typedef struct plane {
  uint64_t bytes; /* of a band */
  uint64_t piece; /* what of it lies together on the GPU; 0: all */
  unsigned char *host;
  uint64_t gpu[sets_most];
} plane;

typedef struct bench {
  const mxg_bench_options *options;
  mxg_gpu *gpu;
  mxg_pool *pool;
  mxg_cu_stream *stream;
  mxg_cu_event *before, *after;
  char arch[16];
  void *pinned;
  uint64_t pinned_bytes;
  mxg_error *err;
} bench;

/* A work on a shape while it runs. */
typedef struct task {
  const mxg_work *work;
  const extents *shape;
  mxg_kernel kernel;
  uint32_t sets, repeats;
  uint32_t tensors, targets, count; /* targets: 2 where both directions are written; count: entries of the table */
  uint64_t tiles, elements;
  plane src, src_scale, dst, dst_scale, down, down_scale; /* down: the columnwise target of both */
  mx_entry *host_entries;                                 /* over the band, in host memory */
  uint64_t tables[sets_most];
  mx_entry first[sets_most]; /* of each table */
  mxg_cu_module *module;
  mxg_cu_function *function;
} task;

/* ---- data -------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x) {
  x = (x + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

/* Eight bytes of finite elements of a type: any sign and mantissa, exponents over a wide range. */
static uint64_t some_elements(unsigned elem, uint64_t r) {
  switch (elem) {
  case MX_E4M3: {
    uint64_t nan = (r & 0x7f7f7f7f7f7f7f7fu) + 0x0101010101010101u; /* its top bits mark NaN */
    return r ^ (nan >> 7 & 0x0101010101010101u);
  }
  case MX_E5M2: return r & 0xbfbfbfbfbfbfbfbfu;
  case MX_BF16: return (r & 0x8fff8fff8fff8fffu) | 0x3000300030003000u;
  case MX_FP16: return r & 0xbfffbfffbfffbfffu;
  default: return (r & 0x8fffffff8fffffffu) | 0x3000000030000000u;
  }
}

typedef struct filling {
  plane *to;
  unsigned elem; /* MX_FP32 + 1: scale bytes; + 2: FP32 scales */
} filling;

enum { fill_part = 1 << 20, scale_bytes_kind = MX_FP32 + 1, scale_words_kind = MX_FP32 + 2 };

static void fill_some(void *user, uint64_t i, unsigned worker) {
  (void)worker;
  const filling *f = user;
  uint64_t end = (i + 1) * fill_part < f->to->bytes ? (i + 1) * fill_part : f->to->bytes;
  for (uint64_t at = i * fill_part; at < end; at += 8) {
    uint64_t word = mix(at);
    if (f->elem == scale_bytes_kind) {
      word = 0; /* distinct among 128 neighbours */
      for (unsigned k = 0; k < 8; k++) word |= (64 + (((at + k) * 89 + (at >> 7) * 5) & 127)) << 8 * k;
    } else if (f->elem == scale_words_kind) {
      word = (word & 0x03ffffff03ffffffu) | 0x3c0000003c000000u;
    } else {
      word = some_elements(f->elem, word);
    }
    memcpy(f->to->host + at, &word, end - at < 8 ? end - at : 8);
  }
}

static void fill_plane(bench *b, plane *to, unsigned kind) {
  filling f = {to, kind};
  mxg_pool_run(b->pool, fill_some, &f, (to->bytes + fill_part - 1) / fill_part);
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void shape_of(const task *t, uint32_t i, uint32_t *rows, uint32_t *cols) {
  *rows = band_rows, *cols = t->shape->cols;
  if (!t->shape->rows) expert_shape(i, rows, cols);
}

/* Rows of the one matrix, or of each of the experts, from these addresses on; `repeats` bands. */
/* How one target of the work is held: the second is columnwise. */
static mxg_encoding target_of(const task *t, uint32_t which) {
  mxg_encoding to = t->kernel.dst;
  if (which) to.block_rows = to.block_cols, to.block_cols = 1;
  return to;
}

/* Addresses of the planes. */
typedef struct places {
  uint64_t src, src_scale, dst[2], dst_scale[2];
} places;

static void make_entries(const task *t, mx_entry *entries, uint64_t *tiles, places at, uint32_t repeats) {
  const mxg_encoding *from = &t->kernel.src;
  uint32_t made = 0;
  *tiles = 0;
  for (uint32_t i = 0; i < t->tensors; i++) {
    uint32_t rows = 0, cols = 0;
    shape_of(t, i, &rows, &cols);
    rows *= repeats;
    mxg_scale_shape read = mxg_scale_shape_of(from, rows, cols);
    for (uint32_t d = 0; d < t->targets; d++) {
      mxg_encoding to = target_of(t, d);
      mxg_scale_shape written = mxg_scale_shape_of(&to, rows, cols);
      entries[made++] = (mx_entry){.src = at.src,
                                   .src_scale = at.src_scale,
                                   .dst = at.dst[d],
                                   .dst_scale = at.dst_scale[d],
                                   .src_ld = cols,
                                   .dst_ld = cols,
                                   .rows = rows,
                                   .cols = cols,
                                   .src_scale_ld = read.ld,
                                   .dst_scale_ld = written.ld,
                                   .first_tile = *tiles};
      at.dst[d] += (uint64_t)rows * cols * mxg_elem_bytes(to.elem);
      at.dst_scale[d] += written.stored_rows * written.stored_cols * written.bytes_each;
    }
    *tiles += mxg_kernel_tiles(&t->kernel, rows, cols);
    at.src += (uint64_t)rows * cols * mxg_elem_bytes(from->elem);
    at.src_scale += read.stored_rows * read.stored_cols * read.bytes_each;
  }
}

static uint64_t scales_of(const mxg_encoding *e, uint32_t rows, uint32_t cols) {
  mxg_scale_shape shape = mxg_scale_shape_of(e, rows, cols);
  return shape.stored_rows * shape.stored_cols * shape.bytes_each;
}

static plane *planes_of(task *t, int i) {
  plane *all[] = {&t->src, &t->src_scale, &t->dst, &t->dst_scale, &t->down, &t->down_scale};
  return all[i];
}

/* Rows of tiles of columns' swizzled scales run through all bands. */
static uint64_t piece_of(const task *t, const mxg_encoding *e, uint64_t bytes) {
  bool apart = t->repeats > 1 && e->layout == MX_SWIZZLED && mx_is_columnwise(e->block_rows, e->block_cols);
  return apart ? bytes / ((t->shape->cols + 127) / 128) : 0;
}

enum { PLANES = 6, OUTPUTS = 2 /* the first plane that is written */ };

/* Bytes of all planes on the GPU. */
static uint64_t all_bytes(task *t) {
  uint64_t sum = 0;
  for (int i = 0; i < PLANES; i++) sum += planes_of(t, i)->bytes;
  return sum * t->repeats;
}

static mxg_status size_planes(bench *b, task *t) {
  const mxg_encoding *from = &t->kernel.src;
  t->tensors = t->shape->rows ? 1 : experts;
  t->targets = t->kernel.family == MXG_QUANTIZE_BOTH ? 2 : 1;
  t->count = t->tensors * t->targets;
  t->repeats = t->shape->rows ? t->shape->rows / band_rows : 1;
  for (uint32_t i = 0; i < t->tensors; i++) {
    uint32_t rows = 0, cols = 0;
    shape_of(t, i, &rows, &cols);
    t->elements += (uint64_t)rows * cols;
    t->src.bytes += (uint64_t)rows * cols * mxg_elem_bytes(from->elem);
    t->src_scale.bytes += scales_of(from, rows, cols);
    for (uint32_t d = 0; d < t->targets; d++) {
      mxg_encoding to = target_of(t, d);
      planes_of(t, OUTPUTS + 2 * (int)d)->bytes += (uint64_t)rows * cols * mxg_elem_bytes(to.elem);
      plane *scales = planes_of(t, OUTPUTS + 2 * (int)d + 1);
      scales->bytes += scales_of(&to, rows, cols);
      scales->piece = piece_of(t, &to, scales->bytes);
    }
  }
  t->elements *= t->repeats;
  uint64_t once = all_bytes(t);
  uint64_t l2 = mxg_gpu_about(b->gpu)->l2_bytes;
  for (t->sets = 1; t->sets < sets_most && t->sets * once < 16 * l2;) t->sets++;
  return MXG_OK;
}

static mxg_status allocate(bench *b, task *t) {
  for (int i = 0; i < PLANES; i++) {
    plane *p = planes_of(t, i);
    p->host = mxg_alloc(p->bytes + 8);
    if (!p->host) return mxg_fail_nomem(b->err);
    for (uint32_t s = 0; s < t->sets; s++) MXG_TRY(mxg_gpu_alloc(&p->gpu[s], p->bytes * t->repeats, b->err));
  }
  t->host_entries = mxg_alloc(t->count * sizeof *t->host_entries);
  return t->host_entries ? MXG_OK : mxg_fail_nomem(b->err);
}

static void release(task *t) {
  for (int i = 0; i < PLANES; i++) {
    plane *p = planes_of(t, i);
    mxg_free(p->host);
    for (uint32_t s = 0; s < sets_most; s++) mxg_gpu_free(p->gpu[s]);
  }
  for (uint32_t s = 0; s < sets_most; s++) mxg_gpu_free(t->tables[s]);
  mxg_free(t->host_entries);
  mxg_module_free(t->module);
}

typedef struct converting {
  const task *task;
} converting;

enum { strip_rows = 128 };

static void convert_some(void *user, uint64_t i, unsigned worker) {
  (void)worker;
  const task *t = ((const converting *)user)->task;
  if (t->tensors > 1) {
    mxg_convert_entries(&t->kernel, &t->host_entries[i * t->targets], t->targets);
  } else {
    mxg_convert_rows(&t->kernel, t->host_entries, (uint32_t)i * strip_rows, strip_rows);
  }
}

/* The host's own answer, and inputs and tables on the GPU. */
static mxg_status feed(bench *b, task *t) {
  uint64_t unused = 0;
  fill_plane(b, &t->src, t->kernel.src.elem);
  fill_plane(b, &t->src_scale, t->kernel.src.scale == MX_SCALE_E8M0 ? scale_bytes_kind : scale_words_kind);
  places host = {(uintptr_t)t->src.host,
                 (uintptr_t)t->src_scale.host,
                 {(uintptr_t)t->dst.host, (uintptr_t)t->down.host},
                 {(uintptr_t)t->dst_scale.host, (uintptr_t)t->down_scale.host}};
  make_entries(t, t->host_entries, &unused, host, 1);
  converting c = {t};
  mxg_pool_run(b->pool, convert_some, &c, t->tensors > 1 ? t->tensors : band_rows / strip_rows);
  mx_entry *entries = mxg_alloc(t->count * sizeof *entries);
  if (!entries) return mxg_fail_nomem(b->err);
  mxg_status status = MXG_OK;
  for (uint32_t s = 0; s < t->sets && status == MXG_OK; s++) {
    for (int i = 0; i < 2 && status == MXG_OK; i++) {
      plane *p = planes_of(t, i);
      status = mxg_gpu_copy(p->gpu[s], (uintptr_t)p->host, p->bytes, b->stream, b->err);
      for (uint32_t r = 1; r < t->repeats && status == MXG_OK; r++)
        status = mxg_gpu_copy(p->gpu[s] + r * p->bytes, p->gpu[s], p->bytes, b->stream, b->err);
    }
    places gpu = {t->src.gpu[s],
                  t->src_scale.gpu[s],
                  {t->dst.gpu[s], t->down.gpu[s]},
                  {t->dst_scale.gpu[s], t->down_scale.gpu[s]}};
    make_entries(t, entries, &t->tiles, gpu, t->repeats);
    t->first[s] = entries[0];
    if (status == MXG_OK) status = mxg_gpu_alloc(&t->tables[s], t->count * sizeof *entries, b->err);
    if (status == MXG_OK)
      status = mxg_gpu_copy(t->tables[s], (uintptr_t)entries, t->count * sizeof *entries, b->stream, b->err);
    if (status == MXG_OK) status = mxg_stream_wait(b->stream, b->err);
  }
  mxg_free(entries);
  return status;
}

/* ---- checking ---------------------------------------------------------------------------------------------------- */

/* Two poisons, so that a byte that was not written shows whatever it should be. */
static mxg_status poison(bench *b, task *t) {
  for (uint32_t s = 0; s < t->sets; s++)
    for (int i = OUTPUTS; i < PLANES; i++) {
      plane *p = planes_of(t, i);
      MXG_TRY(mxg_gpu_fill(p->gpu[s], s % 2 ? 0xa5 : 0x5a, p->bytes * t->repeats, b->stream, b->err));
    }
  return mxg_stream_wait(b->stream, b->err);
}

typedef struct comparison {
  const unsigned char *got, *want;
  uint64_t bytes;
  uint64_t wrong[256]; /* of each worker */
} comparison;

static void compare_some(void *user, uint64_t i, unsigned worker) {
  comparison *c = user;
  uint64_t first = i * fill_part, count = c->bytes - first < fill_part ? c->bytes - first : fill_part;
  if (!memcmp(c->got + first, c->want + first, count)) return;
  for (uint64_t k = first; k < first + count; k++) c->wrong[worker % 256] += c->got[k] != c->want[k];
}

/* `count` bytes of band r, from `at` on: a piece of many divides both. */
static mxg_status read_band(bench *b, const task *t, const plane *p, uint64_t gpu, uint32_t r, uint64_t at,
                            uint64_t count) {
  uint64_t to = (uintptr_t)b->pinned, piece = p->piece, pitch = piece * t->repeats;
  if (!piece) return mxg_gpu_copy(to, gpu + r * p->bytes + at, count, b->stream, b->err);
  return mxg_gpu_copy_rows(to, piece, gpu + at / piece * pitch + r * piece, pitch, piece, count / piece, b->stream,
                           b->err);
}

static mxg_status check_outputs(bench *b, task *t, mxg_bench_line *line) {
  for (uint32_t s = 0; s < t->sets; s++) {
    for (int i = OUTPUTS; i < PLANES; i++) {
      plane *p = planes_of(t, i);
      for (uint32_t r = 0; r < t->repeats; r++) {
        for (uint64_t at = 0; at < p->bytes; at += b->pinned_bytes) {
          uint64_t count = p->bytes - at < b->pinned_bytes ? p->bytes - at : b->pinned_bytes;
          MXG_TRY(read_band(b, t, p, p->gpu[s], r, at, count));
          MXG_TRY(mxg_stream_wait(b->stream, b->err));
          comparison c = {.got = b->pinned, .want = p->host + at, .bytes = count};
          mxg_pool_run(b->pool, compare_some, &c, (count + fill_part - 1) / fill_part);
          for (unsigned w = 0; w < 256; w++) line->wrong += c.wrong[w];
          line->checked += count;
        }
      }
    }
  }
  return MXG_OK;
}

/* ---- timing ------------------------------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

typedef mxg_status (*put_one)(bench *b, task *t, uint32_t set);

static mxg_status put_launch(bench *b, task *t, uint32_t set) {
  const mxg_gpu_work work = {t->tables[set], t->tiles, t->count, &t->first[set], b->options->early};
  return mxg_gpu_launch(t->function, t->kernel.threads, &work, b->stream, b->err);
}

/* Copies of half the work's bytes, read and written, between the work's larger planes in turn. */
typedef struct copying {
  uint64_t from, to, half, chunk, stride;
} copying;

static copying copy_now; /* what put_copy does; a benchmark runs one at a time */

static mxg_status put_copy(bench *b, task *t, uint32_t set) {
  (void)t;
  for (uint64_t at = 0; at < copy_now.half; at += copy_now.chunk) {
    uint64_t left = copy_now.half - at, count = left < copy_now.chunk ? left : copy_now.chunk;
    uint64_t offset = set * copy_now.stride + at;
    MXG_TRY(mxg_gpu_copy(copy_now.to + offset, copy_now.from + offset, count, b->stream, b->err));
  }
  return MXG_OK;
}

/* Replays of one graph: times of one of its nodes, sorted. */
static mxg_status time_graph(bench *b, task *t, put_one put, uint32_t sets, float times[replays]) {
  mxg_cu_graph *graph = NULL;
  uint32_t nodes = sets > 1 ? graph_nodes : 4;
  MXG_TRY(mxg_graph_begin(b->stream, b->err));
  mxg_status status = MXG_OK;
  for (uint32_t i = 0; i < nodes && status == MXG_OK; i++) status = put(b, t, i % sets);
  mxg_status ended = mxg_graph_end(&graph, b->stream, status == MXG_OK ? b->err : NULL);
  if (status == MXG_OK) status = ended;
  for (int i = -2; i < replays && status == MXG_OK; i++) {
    float ms = 0;
    status = mxg_event_record(b->before, b->stream, b->err);
    if (status == MXG_OK) status = mxg_graph_launch(graph, b->stream, b->err);
    if (status == MXG_OK) status = mxg_event_record(b->after, b->stream, b->err);
    if (status == MXG_OK) status = mxg_event_wait(b->after, b->err);
    if (status == MXG_OK) status = mxg_event_between(&ms, b->before, b->after, b->err);
    if (i >= 0) times[i] = ms * 1000 / (float)nodes;
  }
  mxg_graph_free(graph);
  qsort(times, replays, sizeof *times, by_value);
  return status;
}

/* One launch after another without a graph: the time of one, launching included. */
static mxg_status time_calls(bench *b, task *t, double *us) {
  float times[replays];
  uint32_t each = t->sets > 1 ? calls : 4;
  for (int i = -1; i < replays; i++) {
    float ms = 0;
    MXG_TRY(mxg_event_record(b->before, b->stream, b->err));
    for (uint32_t k = 0; k < each; k++) MXG_TRY(put_launch(b, t, k % t->sets));
    MXG_TRY(mxg_event_record(b->after, b->stream, b->err));
    MXG_TRY(mxg_event_wait(b->after, b->err));
    MXG_TRY(mxg_event_between(&ms, b->before, b->after, b->err));
    if (i >= 0) times[i] = ms * 1000 / (float)each;
  }
  qsort(times, replays, sizeof *times, by_value);
  *us = times[replays / 2];
  return MXG_OK;
}

/* The best that a device-to-device copy of as many bytes does: whole, or in parts, since drivers copy some sizes by a
** slower way. */
static mxg_status time_copy(bench *b, task *t, uint64_t bytes, double *us) {
  copy_now.half = bytes / 2 & ~(uint64_t)65535; /* uneven sizes and places copy slower */
  copy_now.stride = (copy_now.half | ((2 << 20) - 1)) + 1;
  MXG_TRY(mxg_gpu_alloc(&copy_now.from, copy_now.stride * t->sets, b->err));
  mxg_status status = mxg_gpu_alloc(&copy_now.to, copy_now.stride * t->sets, b->err);
  if (status == MXG_OK) status = mxg_gpu_fill(copy_now.to, 0, copy_now.stride * t->sets, b->stream, b->err);
  for (uint64_t at = 0; at < copy_now.stride * t->sets && status == MXG_OK;) { /* random bytes, as the work has them */
    uint64_t have = t->dst.bytes * t->repeats, left = copy_now.stride * t->sets - at, count = left < have ? left : have;
    status = mxg_gpu_copy(copy_now.from + at, t->dst.gpu[0], count, b->stream, b->err);
    at += count;
  }
  *us = 0;
  static const uint64_t chunks[] = {UINT64_MAX, 1u << 30, 1u << 28, 1u << 27};
  for (size_t i = 0; i < sizeof chunks / sizeof *chunks && status == MXG_OK; i++) {
    float times[replays];
    if (i && chunks[i] >= copy_now.half) continue;
    copy_now.chunk = chunks[i];
    status = time_graph(b, t, put_copy, t->sets, times);
    if (*us <= 0 || times[replays / 2] < *us) *us = times[replays / 2];
  }
  mxg_gpu_free(copy_now.from);
  mxg_gpu_free(copy_now.to);
  return status;
}

/* ---- one line ---------------------------------------------------------------------------------------------------- */

static void make_kernel(const bench *b, const mxg_work *w, const extents *shape, mxg_kernel *kernel) {
  mxg_work_kernel(kernel, w, shape->rows ? shape->cols : 0);
  if (b->options->threads) kernel->threads = b->options->threads;
  if (b->options->tile_units) kernel->tile_units = b->options->tile_units;
  mxg_kernel_name(kernel);
}

static mxg_status compile(bench *b, task *t, mxg_arena *arena) {
  mxg_plan plan = {.strings = "", .string_bytes = 1, .kernels = &t->kernel, .kernel_count = 1};
  const mxg_source *sources = NULL;
  const mxg_cubin *cubins = NULL;
  MXG_TRY(mxg_emit(&sources, &plan, arena, b->err));
  MXG_TRY(mxg_compile(&cubins, sources, 1, b->arch, 1, arena, b->err));
  MXG_TRY(mxg_module_load(&t->module, cubins->bytes, b->err));
  return mxg_module_function(&t->function, t->module, t->kernel.name, b->err);
}

static mxg_status measure(bench *b, task *t, mxg_bench_line *line) {
  float times[replays];
  mxg_function_use use;
  MXG_TRY(mxg_function_about(&use, t->function, t->kernel.threads, b->err));
  line->registers = use.registers;
  line->shared_bytes = use.shared_bytes;
  line->local_bytes = use.local_bytes;
  line->blocks_per_processor = use.blocks_per_processor;
  MXG_TRY(feed(b, t));
  MXG_TRY(poison(b, t));
  MXG_TRY(time_graph(b, t, put_launch, t->sets, times));
  line->graph_us = times[replays / 2];
  line->low_us = times[replays / 10];
  line->high_us = times[replays - 1 - replays / 10];
  MXG_TRY(check_outputs(b, t, line));
  MXG_TRY(time_calls(b, t, &line->call_us));
  return time_copy(b, t, line->bytes, &line->copy_us);
}

static mxg_status run_line(bench *b, const mxg_work *w, const extents *shape, mxg_bench_line *line) {
  task t = {.work = w, .shape = shape};
  mxg_arena arena = {0};
  make_kernel(b, w, shape, &t.kernel);
  MXG_TRY(size_planes(b, &t));
  line->elements = t.elements;
  line->bytes = all_bytes(&t);
  line->target = !shape->rows ? w->experts : shape->rows == band_rows * 4 ? w->small : w->large;
  snprintf(line->work, sizeof line->work, "%s", w->name);
  snprintf(line->beside, sizeof line->beside, "%s", w->beside ? w->beside : "");
  line->beside_most = w->beside_most;
  snprintf(line->shape, sizeof line->shape, "%s", shape->name);
  snprintf(line->kernel, sizeof line->kernel, "%s", t.kernel.name);
  mxg_status status = compile(b, &t, &arena);
  if (status == MXG_OK) status = allocate(b, &t);
  if (status == MXG_OK) status = measure(b, &t, line);
  release(&t);
  mxg_arena_free(&arena);
  return status;
}

/* Host time of one launch: many of an empty table's worth of work, none waited for. */
static mxg_status time_host(bench *b, double *us) {
  task t = {.work = &mxg_works[0], .shape = &shapes[0]};
  mxg_arena arena = {0};
  make_kernel(b, t.work, t.shape, &t.kernel);
  mx_entry entry = {.rows = 0, .cols = t.kernel.cols};
  double best[5] = {0};
  mxg_status status = compile(b, &t, &arena);
  if (status == MXG_OK) status = mxg_gpu_alloc(&t.tables[0], sizeof entry, b->err);
  if (status == MXG_OK) status = mxg_gpu_copy(t.tables[0], (uintptr_t)&entry, sizeof entry, b->stream, b->err);
  const mxg_gpu_work work = {t.tables[0], 1, 1, &entry, b->options->early};
  for (int i = 0; i < 5 && status == MXG_OK; i++) {
    struct timespec start, end;
    status = mxg_stream_wait(b->stream, b->err);
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    for (int k = 0; k < 500 && status == MXG_OK; k++)
      status = mxg_gpu_launch(t.function, t.kernel.threads, &work, b->stream, b->err);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    best[i] = ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) / 500 / 1000;
  }
  if (status == MXG_OK) status = mxg_stream_wait(b->stream, b->err);
  *us = best[0];
  for (int i = 1; i < 5; i++)
    if (best[i] < *us) *us = best[i];
  release(&t);
  mxg_arena_free(&arena);
  return status;
}

/* ---- all lines --------------------------------------------------------------------------------------------------- */

static bool wanted(const mxg_bench_options *options, const mxg_work *w, const extents *shape) {
  if (options->only && !strstr(w->name, options->only)) return false;
  if (!shape->rows) return w->experts > 0;
  return !options->quick || shape->rows <= 4096;
}

static mxg_status run_all(bench *b, mxg_bench_result *result, mxg_arena *arena) {
  unsigned all = 0, done = 0;
  for (int s = 0; s < SHAPES; s++)
    for (unsigned w = 0; w < mxg_work_count; w++) all += wanted(b->options, &mxg_works[w], &shapes[s]);
  mxg_bench_line *lines = mxg_arena_alloc(arena, all ? all : 1, sizeof *lines);
  if (!lines) return mxg_fail_nomem(b->err);
  result->lines = lines;
  MXG_TRY(time_host(b, &result->launch_us));
  for (int s = 0; s < SHAPES; s++) {
    for (unsigned w = 0; w < mxg_work_count; w++) {
      if (!wanted(b->options, &mxg_works[w], &shapes[s])) continue;
      if (b->options->progress) b->options->progress(b->options->user, mxg_works[w].name, done, all);
      MXG_TRY(run_line(b, &mxg_works[w], &shapes[s], &lines[done]));
      result->count = ++done;
    }
  }
  return MXG_OK;
}

mxg_status mxg_bench_kernels(mxg_bench_result *result, const mxg_bench_options *options, mxg_arena *arena,
                             mxg_error *err) {
  *result = (mxg_bench_result){0};
  bench b = {.options = options, .err = err, .pinned_bytes = 64 << 20};
  MXG_TRY(mxg_gpu_open(&b.gpu, options->device, err));
  mxg_driver_state driver;
  mxg_nvrtc_info nvrtc;
  mxg_driver_find(&driver);
  mxg_nvrtc_find(&nvrtc);
  snprintf(result->device, sizeof result->device, "%s", mxg_gpu_about(b.gpu)->name);
  snprintf(result->driver, sizeof result->driver, "%s", driver.version);
  snprintf(result->nvrtc, sizeof result->nvrtc, "%s", nvrtc.version);
  mxg_status status = mxg_arch_of_gpu(b.arch, mxg_gpu_about(b.gpu), err);
  snprintf(result->arch, sizeof result->arch, "%s", b.arch);
  result->early = options->early;
  if (status == MXG_OK && options->early && mxg_gpu_about(b.gpu)->major < 9) {
    status = mxg_fail(err, MXG_ERR_UNSUPPORTED, 832, "%s (%s) begins no launch before what is before it has ended",
                      result->device, result->arch);
    mxg_error_help(err, "leave --early out");
  }
  if (status == MXG_OK) status = mxg_pool_create(&b.pool, 0, err);
  if (status == MXG_OK) status = mxg_stream_create(&b.stream, err);
  if (status == MXG_OK) status = mxg_event_create(&b.before, true, err);
  if (status == MXG_OK) status = mxg_event_create(&b.after, true, err);
  if (status == MXG_OK) status = mxg_gpu_alloc_pinned(&b.pinned, b.pinned_bytes, err);
  if (status == MXG_OK) status = run_all(&b, result, arena);
  mxg_gpu_free_pinned(b.pinned);
  mxg_event_free(b.before);
  mxg_event_free(b.after);
  mxg_stream_free(b.stream);
  mxg_pool_free(b.pool);
  mxg_gpu_close(b.gpu);
  return status;
}
