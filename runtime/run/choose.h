/* choose.h -- which transport MXG_AUTO becomes, and why; and what of a bundle's hints holds on this machine. */
#ifndef MXG_CHOOSE_H
#define MXG_CHOOSE_H

#include "bundle.h"
#include "driver.h"
#include "transport.h"

enum { MXG_WHY_ROOM = 256 };

/* Never fails: without GPUs that reach each other it is the host. `why` is one sentence. The hints decide where the
** GPUs are those that they were measured on, otherwise the cost model. */
mxg_transport mxg_choose(const mxg_exec_view *view, char why[MXG_WHY_ROOM]);

/* Fills what the caller left to the library in the options of MXG_COPY, where the hints hold. */
void mxg_choose_sizes(mxg_exec_view *view);

/* Whether hints are about these GPUs, the ones of this process's ranks; `all`: those are all ranks of the plan. False
** with "" when there are no hints, else with what is not so. */
bool mxg_hints_fit(const mxg_hints *hints, const mxg_gpu_info *gpus, unsigned count, bool all, char why[MXG_WHY_ROOM]);

#endif
