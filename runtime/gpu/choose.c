/* choose.c -- see choose.h. The rates are those of two H200s that both pull (NV18): kernels that read a peer get 337
 *GB/s,
 ** copy engines 394, because a copy engine asks for more bytes at a time; memory gives a conversion 3.9 TB/s. What a
 *run
 ** costs besides is its own start, and with copies the first chunk's way and the last one's conversion. Other machines
 *have
 ** other rates and nearly the same ratios, and only those matter here. */
#include "choose.h"

#include "driver.h"
#include "memory.h"

#include <stdio.h>

static const double kernel_pull = 337e9, copy_pull = 394e9, memory_rate = 3.9e12;
static const double direct_start = 5e-6, bucket_start = 4e-6, copy_start = 22e-6;

typedef struct load {
  double received, converted, buckets;
} load;

static load load_of(const mxg_plan *plan, uint32_t rank) {
  const mxg_rank *r = &plan->ranks[rank];
  load sum = {.received = (double)r->received_bytes};
  for (uint32_t s = r->first_step; s < r->first_step + r->steps; s++) {
    const mxg_step *step = &plan->steps[s];
    if (step->kind != MXG_STEP_CONVERT) continue;
    sum.converted += (double)step->bytes;
    if (s == r->first_step || plan->steps[s - 1].bucket != step->bucket) sum.buckets++;
  }
  return sum;
}

static double longer(double a, double b) { return a > b ? a : b; }

double mxg_expect_direct(const mxg_plan *plan) {
  double most = 0;
  for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
    load l = load_of(plan, rank);
    most = longer(most, longer(l.received / kernel_pull, l.converted / memory_rate) + direct_start +
                            l.buckets * bucket_start);
  }
  return most;
}

double mxg_expect_copy(const mxg_plan *plan) {
  double most = 0;
  for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
    load l = load_of(plan, rank);
    most = longer(most, longer(l.received / copy_pull, l.converted / memory_rate) + (l.received > 0 ? copy_start : 0) +
                            direct_start);
  }
  return most;
}

/* Whether all GPUs in use reach each other; otherwise `err` says which do not. */
static bool all_reach(const mxg_exec_view *view, int gpus, mxg_error *err) {
  mxg_gpu *opened[64] = {NULL};
  int used = 0;
  mxg_status status = MXG_OK;
  bool wanted[64] = {false};
  for (uint32_t i = 0; i < view->rank_count; i++) {
    int ordinal = mxg_view_gpu(view, i, gpus);
    if (ordinal >= 0 && ordinal < 64) wanted[ordinal] = true;
  }
  for (int g = 0; g < 64 && status == MXG_OK; g++)
    if (wanted[g]) status = mxg_gpu_open(&opened[used++], g, err);
  for (int a = 0; a < used && status == MXG_OK; a++)
    for (int b = 0; b < used && status == MXG_OK; b++)
      if (a != b) status = mxg_gpu_reach(opened[a], opened[b], err);
  for (int g = 0; g < used; g++) mxg_gpu_close(opened[g]);
  return status == MXG_OK;
}

mxg_transport mxg_choose(const mxg_exec_view *view, char why[MXG_WHY_ROOM]) {
  mxg_error err = {0};
  int gpus = 0;
  if (mxg_gpu_count(&gpus, &err) != MXG_OK || gpus == 0) {
    snprintf(why, MXG_WHY_ROOM, "%.200s", gpus == 0 && !*err.text ? "this process sees no GPU" : err.text);
    return MXG_HOST;
  }
  void *current = mxg_gpu_current();
  bool reach = all_reach(view, gpus, &err);
  mxg_gpu_restore(current);
  if (!reach) {
    snprintf(why, MXG_WHY_ROOM, "%.200s", err.text);
    return MXG_HOST;
  }
  double copy = mxg_expect_copy(view->plan), direct = mxg_expect_direct(view->plan);
  snprintf(why, MXG_WHY_ROOM, "%.0f us expected of copy, %.0f us of direct", copy * 1e6, direct * 1e6);
  return direct <= copy ? MXG_DIRECT : MXG_COPY;
}
