/* gpu_view.c -- which GPU a rank of this process has. */
#include "driver.h"
#include "transport.h"

int mxg_view_gpu(const mxg_exec_view *view, uint32_t index, int gpus) {
  if (view->options.gpus) return view->options.gpus[index];
  /* The ranks of a job are spread over the processes of a machine as they are over its GPUs. */
  uint32_t turn = view->options.job ? view->ranks[index] : index;
  return gpus > 0 ? (int)(turn % (uint32_t)gpus) : 0;
}

void mxg_view_gpu_name(const mxg_exec_view *view, uint32_t index, char *text, size_t room) {
  int gpus = 0;
  text[0] = 0;
  if (mxg_gpu_count(&gpus, NULL) != MXG_OK || gpus == 0) return;
  if (mxg_gpu_bus_name(text, room, mxg_view_gpu(view, index, gpus), NULL) != MXG_OK) text[0] = 0;
}
