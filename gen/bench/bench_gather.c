/* bench_gather.c -- see bench_gather.h. */
#include "bench_gather.h"

#include "bench_nccl.h"
#include "bundle.h"
#include "clock.h"
#include "driver.h"
#include "error.h"
#include "launch.h"
#include "memory.h"

#include <stdio.h>
#include <string.h>

/* Random bytes that arrays are cut from, each from an offset of its own: as many as no cache holds. */
enum { pool_bytes = 96 << 20, array_align = 256, pool_kinds = 5, default_repeats = 20, link_copies = 8 };
static const uint64_t link_bytes = (uint64_t)512 << 20;
static const uint64_t most_checked = (uint64_t)48 << 30;

typedef struct bench {
  mxg_gather_bench *ask;
  const mxg_plan *plan;
  mxg_gpu **gpus;              /* one a rank; ranks may share a device */
  int *ordinals;               /* one a rank of this process */
  uint32_t *ranks, rank_count; /* of this process */
  uint32_t gpu_count;
  uint64_t *memory;          /* two a rank: sources, targets */
  mxg_place *places, *hosts; /* one an array, on the device and here */
  unsigned char *pools[pool_kinds];
  uint64_t *bases; /* pools of each rank's GPU */
  unsigned char *bounce;
  mxg_processes *processes;
} bench;

static bool is_here(const bench *b, uint32_t rank) { return mxg_processes_has(b->processes, rank); }

/* A GPU of this process. */
static const mxg_gpu *own_gpu(const bench *b) {
  for (uint32_t r = 0; r < b->plan->rank_count; r++)
    if (b->gpus[r]) return b->gpus[r];
  return NULL;
}

/* The processes go on together after what each did by itself. */
static mxg_status together(const bench *b, const char *what, mxg_status status, mxg_error *err) {
  mxg_error own = {0};
  if (!b->processes->job) return status;
  if (status != MXG_OK) own = *err;
  return mxg_processes_agree(b->processes, what, &own, b->ask->timeout_ms, err);
}

static uint64_t round_up(uint64_t x) { return (x + array_align - 1) / array_align * array_align; }

/* ---- contents ---- */

static uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

/* Any byte is an E4M3 or E5M2 element; wider elements stay below 2 in magnitude; E8M0 scales are 2^-24 to 2^8, FP32
** ones below 2. */
static mxg_status make_pools(bench *b, mxg_error *err) {
  static const uint64_t masks[pool_kinds] = {UINT64_MAX, 0xbfffbfffbfffbfffu, 0xbfffffffbfffffffu, 0,
                                             0x3fffffff3fffffffu};
  for (unsigned kind = 0; kind < pool_kinds; kind++) {
    b->pools[kind] = mxg_resize(NULL, pool_bytes);
    if (!b->pools[kind]) return mxg_fail_nomem(err);
    for (uint64_t i = 0; i < pool_bytes / 8; i++) {
      uint64_t x = mix(i * 0x9e3779b97f4a7c15u + kind + 1);
      if (kind == 3)
        x = (x & 0x1f1f1f1f1f1f1f1fu) + 0x6767676767676767u;
      else
        x &= masks[kind];
      memcpy(b->pools[kind] + i * 8, &x, 8);
    }
  }
  return MXG_OK;
}

static unsigned pool_of(const mxg_encoding *e, bool scales) {
  if (scales) return e->scale == MX_SCALE_E8M0 ? 3 : 4;
  unsigned bytes = mxg_elem_bytes(e->elem);
  return bytes == 1 ? 0 : bytes == 2 ? 1 : 2;
}

/* The contents of an array: its pool from an offset on, around and around. */
static mxg_status fill_array(const bench *b, uint32_t array, bool scales, uint64_t device, unsigned char *host,
                             mxg_error *err) {
  const mxg_array *a = &b->plan->arrays[array];
  unsigned pool = pool_of(&b->plan->encodings[a->encoding], scales);
  uint64_t bytes = scales ? mxg_array_scale_bytes(b->plan, a) : mxg_array_data_bytes(b->plan, a);
  uint64_t at = mix(array * 2 + scales + 1) % (pool_bytes / 16) * 16, base = 0;
  if (device) base = b->bases[(size_t)a->rank * pool_kinds + pool];
  for (uint64_t done = 0; done < bytes;) {
    uint64_t run = pool_bytes - at < bytes - done ? pool_bytes - at : bytes - done;
    if (device) MXG_TRY(mxg_gpu_copy(device + done, base + at, run, NULL, err));
    if (host) memcpy(host + done, b->pools[pool] + at, (size_t)run);
    done += run;
    at = 0;
  }
  return MXG_OK;
}

/* ---- memory ---- */

static void count_bytes(bench *b) {
  const mxg_plan *plan = b->plan;
  mxg_gather_bench *ask = b->ask;
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    uint64_t bytes = mxg_array_data_bytes(plan, a) + mxg_array_scale_bytes(plan, a);
    if (a->side == MXG_SOURCE) ask->source_bytes += bytes;
    if (a->side == MXG_TARGET) ask->target_bytes += bytes;
  }
  for (uint32_t r = 0; r < plan->rank_count; r++)
    if (ask->received < plan->ranks[r].received_bytes) ask->received = plan->ranks[r].received_bytes;
}

static mxg_status open_gpus(bench *b, mxg_error *err) {
  int found = 0;
  MXG_TRY(mxg_gpu_count(&found, err));
  if (found == 0) return mxg_fail(err, MXG_ERR_ENVIRONMENT, 523, "this process sees no GPU");
  uint32_t here = 0;
  for (uint32_t r = 0; r < b->plan->rank_count; r++) {
    if (!is_here(b, r)) continue;
    b->ranks[here] = r;
    b->ordinals[here++] = mxg_processes_gpu(b->processes, r, found);
    MXG_TRY(mxg_gpu_open(&b->gpus[r], b->ordinals[here - 1], err));
  }
  b->rank_count = here;
  b->gpu_count = b->plan->rank_count < (uint32_t)found ? b->plan->rank_count : (uint32_t)found;
  snprintf(b->ask->device, sizeof b->ask->device, "%s", mxg_gpu_about(own_gpu(b))->name);
  b->ask->ranks = b->plan->rank_count;
  b->ask->gpus = b->processes->job ? b->processes->world : b->gpu_count;
  return MXG_OK;
}

/* The arrays of a side of a rank, side by side. */
static mxg_status place_side(bench *b, uint32_t rank, unsigned side, mxg_error *err) {
  const mxg_plan *plan = b->plan;
  uint64_t bytes = 0, *memory = &b->memory[rank * 2 + side];
  for (int pass = 0; pass < 2; pass++) {
    uint64_t at = *memory;
    for (uint32_t i = 0; i < plan->array_count; i++) {
      const mxg_array *a = &plan->arrays[i];
      if (a->rank != rank || a->side != side) continue;
      uint64_t data = round_up(mxg_array_data_bytes(plan, a)), scale = round_up(mxg_array_scale_bytes(plan, a));
      if (pass) b->places[i] = (mxg_place){at, scale ? at + data : 0};
      at += data + scale;
      bytes += pass ? 0 : data + scale;
    }
    if (pass == 0) MXG_TRY(mxg_gpu_alloc(memory, bytes, err));
  }
  return MXG_OK;
}

static mxg_status place_rank(bench *b, uint32_t rank, mxg_error *err) {
  uint64_t *bases = &b->bases[(size_t)rank * pool_kinds];
  MXG_TRY(mxg_gpu_use(b->gpus[rank], err));
  for (unsigned kind = 0; kind < pool_kinds; kind++) {
    MXG_TRY(mxg_gpu_alloc(&bases[kind], pool_bytes, err));
    MXG_TRY(mxg_gpu_copy(bases[kind], (uint64_t)(uintptr_t)b->pools[kind], pool_bytes, NULL, err));
  }
  MXG_TRY(place_side(b, rank, MXG_SOURCE, err));
  MXG_TRY(place_side(b, rank, MXG_TARGET, err));
  for (uint32_t i = 0; i < b->plan->array_count; i++) {
    const mxg_array *a = &b->plan->arrays[i];
    if (a->rank != rank || a->side != MXG_SOURCE) continue;
    MXG_TRY(fill_array(b, i, false, b->places[i].data, NULL, err));
    if (b->places[i].scale) MXG_TRY(fill_array(b, i, true, b->places[i].scale, NULL, err));
  }
  MXG_TRY(mxg_stream_wait(NULL, err));
  for (unsigned kind = 0; kind < pool_kinds; kind++) {
    mxg_gpu_free(bases[kind]);
    bases[kind] = 0;
  }
  return MXG_OK;
}

/* ---- the link ---- */

typedef struct link {
  uint64_t from, to;
  mxg_cu_stream *streams[2];
  mxg_cu_event *times[4]; /* begin, end of each stream; the first begins for both */
} link;

static mxg_status open_link(link *l, const mxg_gpu *gpu, mxg_error *err) {
  MXG_TRY(mxg_gpu_use(gpu, err));
  MXG_TRY(mxg_gpu_alloc(&l->from, link_bytes, err));
  MXG_TRY(mxg_gpu_alloc(&l->to, link_bytes, err));
  for (int i = 0; i < 2; i++) MXG_TRY(mxg_stream_create(&l->streams[i], err));
  for (int i = 0; i < 4; i++) MXG_TRY(mxg_event_create(&l->times[i], true, err));
  return MXG_OK;
}

static void close_link(link *l, const mxg_gpu *gpu) {
  if (mxg_gpu_use(gpu, NULL) != MXG_OK) return;
  mxg_gpu_free(l->from);
  mxg_gpu_free(l->to);
  for (int i = 0; i < 2; i++) mxg_stream_free(l->streams[i]);
  for (int i = 0; i < 4; i++) mxg_event_free(l->times[i]);
}

/* Every GPU pulls from the next one, over `streams` streams. The rate of the slowest; the best of three. */
static mxg_status pull_all(const bench *b, link *links, unsigned streams, double *rate, mxg_error *err) {
  const uint64_t part = link_bytes / streams;
  for (int round = 0; round < 4; round++) {
    for (uint32_t g = 0; g < b->gpu_count; g++) {
      link *l = &links[g];
      MXG_TRY(mxg_gpu_use(b->gpus[g], err));
      for (unsigned s = 0; s < streams; s++) MXG_TRY(mxg_event_record(l->times[s], l->streams[s], err));
      for (unsigned i = 0; i < link_copies * streams; i++)
        MXG_TRY(mxg_gpu_copy(l->to + i % streams * part, links[(g + 1) % b->gpu_count].from + i % streams * part, part,
                             l->streams[i % streams], err));
      for (unsigned s = 0; s < streams; s++) MXG_TRY(mxg_event_record(l->times[2 + s], l->streams[s], err));
    }
    double slowest = 0;
    for (uint32_t g = 0; g < b->gpu_count; g++) {
      MXG_TRY(mxg_gpu_use(b->gpus[g], err));
      for (unsigned s = 0; s < streams; s++) {
        float ms = 0;
        MXG_TRY(mxg_event_wait(links[g].times[2 + s], err));
        MXG_TRY(mxg_event_between(&ms, links[g].times[0], links[g].times[2 + s], err));
        if (slowest < ms * 1e-3) slowest = ms * 1e-3;
      }
    }
    double now = slowest > 0 ? (double)link_bytes * link_copies / slowest : 0;
    if (round && *rate < now) *rate = now; /* the first warms up */
  }
  return MXG_OK;
}

static mxg_status measure_here(bench *b, mxg_error *err) {
  link *links = mxg_alloc(b->gpu_count * sizeof *links);
  if (!links) return mxg_fail_nomem(err);
  mxg_status status = MXG_OK;
  for (uint32_t g = 0; g < b->gpu_count && status == MXG_OK; g++) status = open_link(&links[g], b->gpus[g], err);
  for (uint32_t g = 0; g < b->gpu_count && status == MXG_OK; g++)
    status = mxg_gpu_reach(b->gpus[g], b->gpus[(g + 1) % b->gpu_count], err);
  for (unsigned streams = 1; streams <= 2 && status == MXG_OK; streams++)
    status = pull_all(b, links, streams, &b->ask->pull_rate, err);
  for (uint32_t g = 0; g < b->gpu_count; g++) close_link(&links[g], b->gpus[g]);
  mxg_free(links);
  return status;
}

/* This process's GPU pulls from that of the next process; the slowest of all gives the rate. */
static mxg_status pull_between(const bench *b, const link *own, uint64_t from, double *rate, mxg_error *err) {
  mxg_job *job = b->processes->job;
  for (int round = 0; round < 4; round++) {
    float ms = 0;
    double deadline = mxg_processes_deadline(b->ask->timeout_ms), seconds, slowest = 0;
    MXG_TRY(mxg_job_barrier(job, "the link", deadline, err));
    MXG_TRY(mxg_event_record(own->times[0], own->streams[0], err));
    for (unsigned i = 0; i < link_copies; i++) MXG_TRY(mxg_gpu_copy(own->to, from, link_bytes, own->streams[0], err));
    MXG_TRY(mxg_event_record(own->times[2], own->streams[0], err));
    MXG_TRY(mxg_event_wait(own->times[2], err));
    MXG_TRY(mxg_event_between(&ms, own->times[0], own->times[2], err));
    seconds = (double)ms * 1e-3;
    double *all = mxg_alloc(b->processes->world * sizeof *all);
    if (!all) return mxg_fail_nomem(err);
    mxg_status status = mxg_job_gather(job, "the link", &seconds, sizeof seconds, all, deadline, err);
    for (uint32_t p = 0; p < b->processes->world; p++)
      if (slowest < all[p]) slowest = all[p];
    mxg_free(all);
    MXG_TRY(status);
    double now = slowest > 0 ? (double)link_bytes * link_copies / slowest : 0;
    if (round && *rate < now) *rate = now; /* the first warms up */
  }
  return MXG_OK;
}

static mxg_status measure_between(bench *b, mxg_error *err) {
  const mxg_processes *p = b->processes;
  link own = {0};
  mxg_gpu_handle mine = {0}, *all = mxg_alloc(p->world * sizeof *all);
  uint64_t next = 0, base = 0, bytes = 0;
  mxg_status status = all ? open_link(&own, own_gpu(b), err) : mxg_fail_nomem(err);
  if (status == MXG_OK) status = mxg_gpu_range(&base, &bytes, own.from, err);
  if (status == MXG_OK) status = mxg_gpu_export(&mine, base, err);
  status = together(b, "the link", status, err);
  double deadline = mxg_processes_deadline(b->ask->timeout_ms);
  if (status == MXG_OK) status = mxg_job_gather(p->job, "the link", &mine, sizeof mine, all, deadline, err);
  if (status == MXG_OK) {
    status = p->world == 1 ? MXG_OK : mxg_gpu_import(&next, &all[(p->rank + 1) % p->world], err);
    status = together(b, "the link", status, err);
  }
  if (status == MXG_OK)
    status = pull_between(b, &own, next ? next + (own.from - base) : own.from, &b->ask->pull_rate, err);
  mxg_gpu_import_close(next);
  status = together(b, "the end of the link", status, err); /* nobody frees what another still has */
  close_link(&own, own_gpu(b));
  mxg_free(all);
  return status;
}

static mxg_status measure_link(bench *b, mxg_error *err) {
  MXG_TRY(b->processes->job ? measure_between(b, err) : measure_here(b, err));
  if (b->ask->pull_rate > 0) b->ask->floor = (double)b->ask->received / b->ask->pull_rate;
  return MXG_OK;
}

/* ---- expected targets ---- */

static mxg_status bind_all(const bench *b, mxg_exec *exec, const mxg_place *places, mxg_error *err) {
  const mxg_plan *plan = b->plan;
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side == MXG_SCRATCH || !places[i].data) continue;
    uint64_t scale = mxg_array_scale_bytes(plan, a);
    MXG_TRY(mxg_exec_bind(exec, a->rank, (mxg_side)a->side, plan->strings + a->name, (void *)(uintptr_t)places[i].data,
                          mxg_array_data_bytes(plan, a), scale ? (void *)(uintptr_t)places[i].scale : NULL, scale,
                          err));
  }
  return MXG_OK;
}

static mxg_status make_hosts(bench *b, mxg_error *err) {
  const mxg_plan *plan = b->plan;
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side == MXG_SCRATCH || (a->side == MXG_TARGET && !is_here(b, a->rank))) continue;
    uint64_t scale = mxg_array_scale_bytes(plan, a);
    b->hosts[i].data = (uint64_t)(uintptr_t)mxg_resize(NULL, (size_t)mxg_array_data_bytes(plan, a) + 1);
    if (scale) b->hosts[i].scale = (uint64_t)(uintptr_t)mxg_resize(NULL, (size_t)scale);
    if (!b->hosts[i].data || (scale && !b->hosts[i].scale)) return mxg_fail_nomem(err);
    if (a->side != MXG_SOURCE) continue;
    MXG_TRY(fill_array(b, i, false, 0, (unsigned char *)(uintptr_t)b->hosts[i].data, err));
    if (scale) MXG_TRY(fill_array(b, i, true, 0, (unsigned char *)(uintptr_t)b->hosts[i].scale, err));
  }
  mxg_exec *exec = NULL;
  mxg_exec_options options = MXG_EXEC_INIT;
  options.ranks = b->ranks;
  options.rank_count = b->rank_count;
  MXG_TRY(mxg_exec_create(&exec, b->ask->bundle, &options, err));
  mxg_status status = bind_all(b, exec, b->hosts, err);
  if (status == MXG_OK) status = mxg_exec_run(exec, err);
  mxg_exec_free(exec);
  return status;
}

/* ---- one transport ---- */

static mxg_status poison(const bench *b, mxg_error *err) {
  const mxg_plan *plan = b->plan;
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side != MXG_TARGET || !is_here(b, a->rank)) continue;
    MXG_TRY(mxg_gpu_use(b->gpus[a->rank], err));
    MXG_TRY(mxg_gpu_fill(b->places[i].data, 0xa5, mxg_array_data_bytes(plan, a), NULL, err));
    if (b->places[i].scale) MXG_TRY(mxg_gpu_fill(b->places[i].scale, 0xa5, mxg_array_scale_bytes(plan, a), NULL, err));
  }
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    if (!b->gpus[r]) continue;
    MXG_TRY(mxg_gpu_use(b->gpus[r], err));
    MXG_TRY(mxg_stream_wait(NULL, err));
  }
  return MXG_OK;
}

static mxg_status compare(const bench *b, mxg_gather_line *line, uint64_t device, uint64_t host, uint64_t bytes,
                          mxg_error *err) {
  const unsigned char *want = (const unsigned char *)(uintptr_t)host;
  for (uint64_t at = 0; at < bytes; at += pool_bytes) {
    uint64_t run = bytes - at < pool_bytes ? bytes - at : pool_bytes;
    MXG_TRY(mxg_gpu_copy((uint64_t)(uintptr_t)b->bounce, device + at, run, NULL, err));
    MXG_TRY(mxg_stream_wait(NULL, err));
    line->checked += run;
    if (memcmp(b->bounce, want + at, (size_t)run) == 0) continue;
    for (uint64_t i = 0; i < run; i++) line->wrong += b->bounce[i] != want[at + i];
  }
  return MXG_OK;
}

static mxg_status check_targets(const bench *b, mxg_gather_line *line, mxg_error *err) {
  const mxg_plan *plan = b->plan;
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side != MXG_TARGET || !is_here(b, a->rank)) continue;
    MXG_TRY(mxg_gpu_use(b->gpus[a->rank], err));
    MXG_TRY(compare(b, line, b->places[i].data, b->hosts[i].data, mxg_array_data_bytes(plan, a), err));
    MXG_TRY(compare(b, line, b->places[i].scale, b->hosts[i].scale, mxg_array_scale_bytes(plan, a), err));
  }
  return MXG_OK;
}

static mxg_status time_runs(const bench *b, mxg_exec *exec, mxg_gather_line *line, mxg_error *err) {
  unsigned repeats = b->ask->repeats ? b->ask->repeats : default_repeats;
  double *seconds = mxg_alloc((size_t)repeats * 2 * sizeof *seconds), *fastest = seconds + repeats;
  if (!seconds) return mxg_fail_nomem(err);
  mxg_status status = mxg_exec_run(exec, err); /* warms up */
  if (status == MXG_OK) status = mxg_exec_measure(exec, repeats, seconds, fastest, &line->start, err);
  double *apart = fastest;
  for (unsigned i = 0; i < repeats; i++) apart[i] = seconds[i] > 0 ? 1 - fastest[i] / seconds[i] : 0;
  line->apart = mxg_median(apart, repeats);
  line->median = mxg_median(seconds, repeats);
  line->least = seconds[0];
  line->most = seconds[repeats - 1];
  mxg_free(seconds);
  for (uint32_t r = 0; r < b->plan->rank_count; r++) {
    uint64_t bytes = mxg_exec_device_bytes(exec, r);
    if (line->device_bytes < bytes) line->device_bytes = bytes;
  }
  return status;
}

static void show(void *user, const char *line) {
  (void)user;
  fprintf(stderr, "%s\n", line);
}

/* Of all processes: the device memory of the rank that needs most, all bytes that were checked and were wrong. */
static mxg_status add_others(const bench *b, mxg_gather_line *line, mxg_error *err) {
  const mxg_processes *p = b->processes;
  uint64_t own[3] = {line->device_bytes, line->checked, line->wrong}, *all;
  if (!p->job) return MXG_OK;
  all = mxg_alloc(p->world * sizeof own);
  if (!all) return mxg_fail_nomem(err);
  mxg_status status =
      mxg_job_gather(p->job, "the results", own, sizeof own, all, mxg_processes_deadline(b->ask->timeout_ms), err);
  line->checked = line->wrong = 0;
  for (uint32_t i = 0; i < p->world; i++) {
    if (line->device_bytes < all[i * 3]) line->device_bytes = all[i * 3];
    line->checked += all[i * 3 + 1];
    line->wrong += all[i * 3 + 2];
  }
  mxg_free(all);
  return status;
}

static mxg_status bench_one(bench *b, const mxg_gather_try *how, const char *name, mxg_gather_line *line,
                            mxg_error *err) {
  mxg_transport transport = how->transport;
  *line = (mxg_gather_line){.transport = name};
  mxg_exec_options options = MXG_EXEC_INIT;
  options.transport = transport;
  options.ranks = b->ranks;
  options.rank_count = b->rank_count;
  options.gpus = b->ordinals;
  options.job = b->processes->job;
  options.no_graph = b->ask->no_graph;
  options.chunk_bytes = how->chunk_bytes;
  options.copy_streams = how->copy_streams;
  options.timeout_ms = b->ask->timeout_ms;
  options.record = show;
  mxg_exec *exec = NULL;
  MXG_TRY(mxg_exec_create(&exec, b->ask->bundle, &options, err));
  const char *why;
  mxg_transport chosen = line->chosen = mxg_exec_transport(exec, &why);
  if (transport == MXG_AUTO) {
    line->transport = chosen == MXG_COPY ? "auto: copy" : chosen == MXG_NCCL ? "auto: nccl" : "auto: direct";
    snprintf(line->why, sizeof line->why, "%s", why);
  }
  mxg_status status = chosen == MXG_HOST ? mxg_fail(err, MXG_ERR_ENVIRONMENT, 523, "auto chose the host: %.200s", why)
                                         : bind_all(b, exec, b->places, err);
  if (status == MXG_OK) status = poison(b, err);
  if (status == MXG_OK) status = mxg_exec_run(exec, err);
  if (status == MXG_OK && b->hosts && how->check) status = check_targets(b, line, err);
  if (status == MXG_OK) status = time_runs(b, exec, line, err);
  if (status == MXG_OK && b->hosts && how->check) status = check_targets(b, line, err); /* what the timed runs left */
  if (status == MXG_OK) status = add_others(b, line, err);
  if (status == MXG_OK && b->ask->trace) status = mxg_exec_trace(exec, b->ask->trace, err);
  mxg_exec_free(exec);
  return status;
}

static mxg_status bench_transport(bench *b, mxg_transport transport, const char *name, mxg_error *err) {
  const mxg_gather_try how = {transport, b->ask->chunk_bytes, b->ask->copy_streams, true};
  return bench_one(b, &how, name, &b->ask->lines[b->ask->line_count++], err);
}

/* The peer: NCCL's all-gather of as many bytes, alone. */
static mxg_status bench_peer(bench *b, mxg_error *err) {
  mxg_gather_line *line = &b->ask->lines[b->ask->line_count];
  mxg_peer_gather peer = {.gpus = b->gpus,
                          .ranks = b->plan->rank_count,
                          .received = b->ask->received,
                          .repeats = b->ask->repeats ? b->ask->repeats : default_repeats};
  MXG_TRY(mxg_peer_gather_run(&peer, err));
  if (!peer.pieces) return MXG_OK;
  *line = (mxg_gather_line){.transport = "nccl all-gather", .chosen = MXG_NCCL, .median = peer.median};
  line->least = peer.least;
  line->most = peer.most;
  snprintf(line->why, sizeof line->why,
           "NCCL's own, of as many bytes and nothing else; the best of several numbers of pieces: %u", peer.pieces);
  b->ask->line_count++;
  return MXG_OK;
}

static mxg_status bench_nccl(bench *b, mxg_error *err) {
  mxg_exec *exec = NULL;
  mxg_error why = {0};
  mxg_exec_options options = MXG_EXEC_INIT;
  options.transport = MXG_NCCL;
  options.ranks = b->ranks;
  options.rank_count = b->rank_count;
  options.gpus = b->ordinals;
  options.job = b->processes->job;
  options.timeout_ms = b->ask->timeout_ms;
  if (b->ask->all && mxg_exec_create(&exec, b->ask->bundle, &options, &why) != MXG_OK) {
    snprintf(b->ask->no_nccl, sizeof b->ask->no_nccl, "%.250s", why.text);
    return MXG_OK;
  }
  mxg_exec_free(exec);
  MXG_TRY(bench_transport(b, MXG_NCCL, "nccl", err));
  return b->processes->job ? MXG_OK : bench_peer(b, err); /* the peer has a thread a rank */
}

/* What a process cannot do anything about after: the GPU is lost to it, or still at work. */
static bool is_final(mxg_status status) {
  return status == MXG_ERR_CUDA || status == MXG_ERR_TIMEOUT || status == MXG_ERR_NOMEM;
}

static mxg_status bench_tries(bench *b, mxg_error *err) {
  for (unsigned i = 0; i < b->ask->try_count; i++) {
    if (b->ask->progress) b->ask->progress(b->ask->user, "trials", i, b->ask->try_count);
    mxg_status status = bench_one(b, &b->ask->tries[i], "", &b->ask->tried[i], &b->ask->errors[i]);
    b->ask->errors[i].status = status;
    if (!is_final(status)) continue;
    *err = b->ask->errors[i];
    return status;
  }
  return MXG_OK;
}

/* ---- all ---- */

static bool checks_any(const bench *b) {
  bool any = !b->ask->tries;
  for (unsigned i = 0; i < b->ask->try_count; i++) any = any || b->ask->tries[i].check;
  return any && !b->ask->no_check && b->ask->target_bytes <= most_checked;
}

static mxg_status run(bench *b, mxg_error *err) {
  const mxg_plan *plan = b->plan;
  count_bytes(b);
  b->gpus = mxg_alloc(plan->rank_count * sizeof *b->gpus);
  b->ordinals = mxg_alloc(plan->rank_count * sizeof *b->ordinals);
  b->memory = mxg_alloc(plan->rank_count * 2 * sizeof *b->memory);
  b->bases = mxg_alloc((size_t)plan->rank_count * pool_kinds * sizeof *b->bases);
  b->places = mxg_alloc(plan->array_count * sizeof *b->places);
  b->ranks = mxg_alloc(plan->rank_count * sizeof *b->ranks);
  if (!b->gpus || !b->ordinals || !b->ranks || !b->memory || !b->bases || !b->places) return mxg_fail_nomem(err);
  MXG_TRY(mxg_processes_fit(b->processes, plan->rank_count, err));
  MXG_TRY(open_gpus(b, err));
  MXG_TRY(make_pools(b, err));
  mxg_status status = MXG_OK;
  for (uint32_t r = 0; r < plan->rank_count && status == MXG_OK; r++)
    if (is_here(b, r)) status = place_rank(b, r, err);
  MXG_TRY(together(b, "the making of sources", status, err));
  if (!b->ask->no_link) MXG_TRY(measure_link(b, err));
  if (checks_any(b)) {
    void *bounce = NULL;
    b->hosts = mxg_alloc(plan->array_count * sizeof *b->hosts);
    if (!b->hosts) return mxg_fail_nomem(err);
    MXG_TRY(make_hosts(b, err));
    MXG_TRY(mxg_gpu_alloc_pinned(&bounce, pool_bytes, err));
    b->bounce = bounce;
  }
  if (b->ask->tries) return bench_tries(b, err);
  if (b->ask->copy) MXG_TRY(bench_transport(b, MXG_COPY, "copy", err));
  if (b->ask->direct) MXG_TRY(bench_transport(b, MXG_DIRECT, "direct", err));
  if (b->ask->nccl) MXG_TRY(bench_nccl(b, err));
  if (b->ask->automatic) MXG_TRY(bench_transport(b, MXG_AUTO, "auto", err));
  return MXG_OK;
}

static void end(bench *b) {
  const mxg_plan *plan = b->plan;
  mxg_gpu_free_pinned(b->bounce);
  for (uint32_t r = 0; b->gpus && r < plan->rank_count; r++) {
    if (!b->gpus[r] || mxg_gpu_use(b->gpus[r], NULL) != MXG_OK) continue;
    for (unsigned kind = 0; b->bases && kind < pool_kinds; kind++) mxg_gpu_free(b->bases[r * pool_kinds + kind]);
    for (unsigned side = 0; b->memory && side < 2; side++) mxg_gpu_free(b->memory[r * 2 + side]);
  }
  for (uint32_t r = 0; b->gpus && r < plan->rank_count; r++) mxg_gpu_close(b->gpus[r]);
  for (uint32_t i = 0; b->hosts && i < plan->array_count; i++) {
    mxg_free((void *)(uintptr_t)b->hosts[i].data);
    mxg_free((void *)(uintptr_t)b->hosts[i].scale);
  }
  for (unsigned kind = 0; kind < pool_kinds; kind++) mxg_free(b->pools[kind]);
  mxg_free(b->gpus);
  mxg_free(b->ordinals);
  mxg_free(b->ranks);
  mxg_free(b->memory);
  mxg_free(b->bases);
  mxg_free(b->places);
  mxg_free(b->hosts);
}

mxg_status mxg_gather_bench_run(mxg_gather_bench *ask, mxg_error *err) {
  bench b = {.ask = ask, .plan = mxg_bundle_plan(ask->bundle), .processes = &ask->processes};
  mxg_status status = run(&b, err);
  if (status != MXG_ERR_TIMEOUT) end(&b); /* otherwise the GPU still has it, and giving it back would wait */
  return status;
}
