/* choose.c -- see choose.h. What a transport is expected to take is cost.c's. */
#include "choose.h"

#include "cost.h"
#include "memory.h"
#include "transport_gpu.h"

#include <stdio.h>
#include <string.h>

enum { gpus_most = 64 };

/* The GPUs of this process's ranks. */
static void list_gpus(const mxg_exec_view *view, int gpus, bool wanted[gpus_most]) {
  for (uint32_t i = 0; i < view->rank_count; i++) {
    int ordinal = mxg_view_gpu(view, i, gpus);
    if (ordinal >= 0 && ordinal < gpus_most) wanted[ordinal] = true;
  }
}

/* Whether all GPUs in use reach each other; otherwise `err` says which do not. */
static bool all_reach(const mxg_exec_view *view, int gpus, mxg_error *err) {
  mxg_gpu *opened[gpus_most] = {NULL};
  int used = 0;
  mxg_status status = MXG_OK;
  bool wanted[gpus_most] = {false};
  list_gpus(view, gpus, wanted);
  for (int g = 0; g < gpus_most && status == MXG_OK; g++)
    if (wanted[g]) status = mxg_gpu_open(&opened[used++], g, err);
  for (int a = 0; a < used && status == MXG_OK; a++)
    for (int b = 0; b < used && status == MXG_OK; b++)
      if (a != b) status = mxg_gpu_reach(opened[a], opened[b], err);
  for (int g = 0; g < used; g++) mxg_gpu_close(opened[g]);
  return status == MXG_OK;
}

bool mxg_hints_fit(const mxg_hints *hints, const mxg_gpu_info *gpus, unsigned count, bool all, char why[MXG_WHY_ROOM]) {
  why[0] = 0;
  if (hints->transport == MXG_AUTO) return false;
  if (all ? count != hints->gpus : count > hints->gpus) {
    snprintf(why, MXG_WHY_ROOM, "tuned on %u GPUs, not on %u; ", hints->gpus, count);
    return false;
  }
  for (unsigned g = 0; g < count; g++) {
    if (strcmp(gpus[g].name, hints->gpu) == 0 && (uint32_t)gpus[g].major == hints->major &&
        (uint32_t)gpus[g].minor == hints->minor)
      continue;
    snprintf(why, MXG_WHY_ROOM, "tuned on %.60s, not on %.60s; ", hints->gpu, gpus[g].name);
    return false;
  }
  return true;
}

static bool hints_hold(const mxg_exec_view *view, int gpus, char why[MXG_WHY_ROOM]) {
  mxg_gpu_info infos[gpus_most];
  bool wanted[gpus_most] = {false};
  unsigned count = 0;
  why[0] = 0;
  list_gpus(view, gpus, wanted);
  for (int g = 0; g < gpus_most; g++)
    if (wanted[g] && mxg_gpu_ask(&infos[count++], g, NULL) != MXG_OK) return false;
  return mxg_hints_fit(mxg_bundle_hints(view->bundle, NULL), infos, count, view->rank_count == view->plan->rank_count,
                       why);
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
    return mxg_nccl_may(view, NULL) == MXG_OK ? MXG_NCCL : MXG_HOST;
  }
  if (hints_hold(view, gpus, why)) {
    const char *tuned;
    const mxg_hints *hints = mxg_bundle_hints(view->bundle, &tuned);
    snprintf(why, MXG_WHY_ROOM, "%.250s", tuned);
    return (mxg_transport)hints->transport;
  }
  mxg_gpu_info info = {0};
  if (mxg_gpu_ask(&info, view->options.gpus ? view->options.gpus[0] : 0, NULL) != MXG_OK) info.name[0] = 0;
  mxg_rates rates = *mxg_rates_of(info.name, NULL);
  if (view->options.job) rates = mxg_rates_apart(&rates);
  double copy = mxg_cost_of_plan(&rates, MXG_COPY, view->plan);
  double direct = mxg_cost_of_plan(&rates, MXG_DIRECT, view->plan);
  size_t said = strlen(why);
  snprintf(why + said, MXG_WHY_ROOM - said, "%.0f us expected of copy, %.0f us of direct", copy * 1e6, direct * 1e6);
  return direct <= copy ? MXG_DIRECT : MXG_COPY;
}

void mxg_choose_sizes(mxg_exec_view *view) {
  const mxg_hints *hints = mxg_bundle_hints(view->bundle, NULL);
  char why[MXG_WHY_ROOM];
  int gpus = 0;
  if ((view->options.chunk_bytes || !hints->chunk_bytes) && (view->options.copy_streams || !hints->copy_streams))
    return;
  if (mxg_gpu_count(&gpus, NULL) != MXG_OK || gpus == 0 || !hints_hold(view, gpus, why)) return;
  if (!view->options.chunk_bytes) view->options.chunk_bytes = hints->chunk_bytes;
  if (!view->options.copy_streams) view->options.copy_streams = hints->copy_streams;
}
