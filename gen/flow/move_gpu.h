/* move_gpu.h -- the arrays of a move in the memory of the ranks' GPUs: sources brought there, targets brought back. */
#ifndef MXG_MOVE_GPU_H
#define MXG_MOVE_GPU_H

#include "launch.h"
#include "processes.h"

typedef struct mxg_move_gpu mxg_move_gpu;

/* Memory for every array of the ranks of this process that is in `used` (one an array), and the sources of `hosts`
** in it. `stages`: the transport needs the plan's staging beside it. MXG_ERR_UNSUPPORTED with both numbers when a
** GPU is too small. */
mxg_status mxg_move_gpu_load(mxg_move_gpu **out, const mxg_plan *plan, const mxg_processes *processes, const bool *used,
                             const mxg_place *hosts, bool stages, mxg_error *err);
const mxg_place *mxg_move_gpu_places(const mxg_move_gpu *gpu); /* one an array */
/* Targets into `hosts`; those without memory there are left out. */
mxg_status mxg_move_gpu_store(const mxg_move_gpu *gpu, const mxg_place *hosts, mxg_error *err);
void mxg_move_gpu_free(mxg_move_gpu *gpu);

#endif
