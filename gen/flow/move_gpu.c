/* move_gpu.c -- see move_gpu.h. Files are mapped, and the driver copies from and to the mapping through buffers of its
** own: the host needs no memory for whole tensors. */
#include "move_gpu.h"

#include "driver.h"
#include "error.h"
#include "memory.h"

static const uint64_t array_align = 256, copy_most = (uint64_t)64 << 20;

struct mxg_move_gpu {
  const mxg_plan *plan;
  const bool *used;
  mxg_gpu **gpus; /* one a rank; NULL: another process's */
  int *ordinals;
  uint64_t *memory; /* two a rank: sources, targets */
  mxg_place *places;
};

static uint64_t round_up(uint64_t x) { return (x + array_align - 1) / array_align * array_align; }

/* ---- room ---- */

static uint64_t side_bytes(const mxg_move_gpu *g, uint32_t rank, unsigned side) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < g->plan->array_count; i++) {
    const mxg_array *a = &g->plan->arrays[i];
    if (g->used[i] && a->rank == rank && a->side == side)
      bytes += round_up(mxg_array_data_bytes(g->plan, a)) + round_up(mxg_array_scale_bytes(g->plan, a));
  }
  return bytes;
}

/* Everything that the ranks of one GPU need, before any of it is allocated. */
static mxg_status check_room(const mxg_move_gpu *g, bool stages, mxg_error *err) {
  const mxg_plan *plan = g->plan;
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    uint64_t need = 0, staging = 0, have = 0;
    uint32_t ranks = 0;
    bool first = true;
    for (uint32_t k = 0; g->gpus[r] && k < plan->rank_count; k++) {
      if (!g->gpus[k] || g->ordinals[k] != g->ordinals[r]) continue;
      first = first && k >= r;
      need += side_bytes(g, k, MXG_SOURCE) + side_bytes(g, k, MXG_TARGET);
      staging += stages ? plan->ranks[k].staging_bytes : 0;
      ranks++;
    }
    if (!g->gpus[r] || !first) continue;
    MXG_TRY(mxg_gpu_use(g->gpus[r], err));
    MXG_TRY(mxg_gpu_free_bytes(&have, err));
    if (need + staging <= have) continue;
    mxg_fail(err, MXG_ERR_UNSUPPORTED, 671, "GPU %d has %llu bytes free, %u rank%s need%s %llu", g->ordinals[r],
             (unsigned long long)have, ranks, ranks == 1 ? "" : "s", ranks == 1 ? "s" : "",
             (unsigned long long)(need + staging));
    mxg_error_note(err, "%llu for sources and targets, %llu for staging", (unsigned long long)need,
                   (unsigned long long)staging);
    mxg_error_help(err, "use more GPUs, or --transport host");
    return MXG_ERR_UNSUPPORTED;
  }
  return MXG_OK;
}

static mxg_status place_side(mxg_move_gpu *g, uint32_t rank, unsigned side, mxg_error *err) {
  uint64_t *memory = &g->memory[rank * 2 + side];
  MXG_TRY(mxg_gpu_alloc(memory, side_bytes(g, rank, side), err));
  uint64_t at = *memory;
  for (uint32_t i = 0; i < g->plan->array_count; i++) {
    const mxg_array *a = &g->plan->arrays[i];
    if (!g->used[i] || a->rank != rank || a->side != side) continue;
    uint64_t data = round_up(mxg_array_data_bytes(g->plan, a)), scale = round_up(mxg_array_scale_bytes(g->plan, a));
    g->places[i] = (mxg_place){at, scale ? at + data : 0};
    at += data + scale;
  }
  return MXG_OK;
}

/* ---- copies ---- */

static mxg_status copy(uint64_t to, uint64_t from, uint64_t bytes, mxg_error *err) {
  for (uint64_t done = 0; done < bytes; done += copy_most) {
    uint64_t run = bytes - done < copy_most ? bytes - done : copy_most;
    MXG_TRY(mxg_gpu_copy(to + done, from + done, run, NULL, err));
  }
  return MXG_OK;
}

/* All arrays of one side that both have, one way or the other. */
static mxg_status copy_side(const mxg_move_gpu *g, unsigned side, const mxg_place *hosts, mxg_error *err) {
  const mxg_plan *plan = g->plan;
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    const mxg_place *device = &g->places[i], *host = &hosts[i];
    if (!g->used[i] || a->side != side || !device->data || !host->data) continue;
    bool up = side == MXG_SOURCE;
    MXG_TRY(mxg_gpu_use(g->gpus[a->rank], err));
    MXG_TRY(copy(up ? device->data : host->data, up ? host->data : device->data, mxg_array_data_bytes(plan, a), err));
    if (host->scale)
      MXG_TRY(copy(up ? device->scale : host->scale, up ? host->scale : device->scale, mxg_array_scale_bytes(plan, a),
                   err));
  }
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    if (!g->gpus[r]) continue;
    MXG_TRY(mxg_gpu_use(g->gpus[r], err));
    MXG_TRY(mxg_stream_wait(NULL, err));
  }
  return MXG_OK;
}

/* ---- all of it ---- */

static mxg_status load(mxg_move_gpu *g, const mxg_processes *processes, const mxg_place *hosts, bool stages,
                       mxg_error *err) {
  uint32_t ranks = g->plan->rank_count;
  int gpus = 0;
  g->gpus = mxg_alloc(ranks * sizeof *g->gpus);
  g->ordinals = mxg_alloc(ranks * sizeof *g->ordinals);
  g->memory = mxg_alloc(ranks * 2 * sizeof *g->memory);
  g->places = mxg_alloc(g->plan->array_count * sizeof *g->places);
  if (!g->gpus || !g->ordinals || !g->memory || !g->places) return mxg_fail_nomem(err);
  MXG_TRY(mxg_gpu_count(&gpus, err));
  for (uint32_t r = 0; r < ranks; r++) {
    if (!mxg_processes_has(processes, r)) continue;
    g->ordinals[r] = mxg_processes_gpu(processes, r, gpus);
    MXG_TRY(mxg_gpu_open(&g->gpus[r], g->ordinals[r], err));
  }
  MXG_TRY(check_room(g, stages, err));
  for (uint32_t r = 0; r < ranks; r++) {
    if (!g->gpus[r]) continue;
    MXG_TRY(mxg_gpu_use(g->gpus[r], err));
    MXG_TRY(place_side(g, r, MXG_SOURCE, err));
    MXG_TRY(place_side(g, r, MXG_TARGET, err));
  }
  return copy_side(g, MXG_SOURCE, hosts, err);
}

mxg_status mxg_move_gpu_load(mxg_move_gpu **out, const mxg_plan *plan, const mxg_processes *processes, const bool *used,
                             const mxg_place *hosts, bool stages, mxg_error *err) {
  *out = NULL;
  mxg_move_gpu *g = mxg_alloc(sizeof *g);
  if (!g) return mxg_fail_nomem(err);
  g->plan = plan;
  g->used = used;
  mxg_status status = load(g, processes, hosts, stages, err);
  if (status == MXG_OK)
    *out = g;
  else
    mxg_move_gpu_free(g);
  return status;
}

const mxg_place *mxg_move_gpu_places(const mxg_move_gpu *g) { return g->places; }

mxg_status mxg_move_gpu_store(const mxg_move_gpu *g, const mxg_place *hosts, mxg_error *err) {
  return copy_side(g, MXG_TARGET, hosts, err);
}

void mxg_move_gpu_free(mxg_move_gpu *g) {
  if (!g) return;
  for (uint32_t r = 0; g->gpus && r < g->plan->rank_count; r++) {
    if (!g->gpus[r] || mxg_gpu_use(g->gpus[r], NULL) != MXG_OK) continue;
    for (unsigned side = 0; g->memory && side < 2; side++) mxg_gpu_free(g->memory[r * 2 + side]);
  }
  for (uint32_t r = 0; g->gpus && r < g->plan->rank_count; r++) mxg_gpu_close(g->gpus[r]);
  mxg_free(g->gpus);
  mxg_free(g->ordinals);
  mxg_free(g->memory);
  mxg_free(g->places);
  mxg_free(g);
}
