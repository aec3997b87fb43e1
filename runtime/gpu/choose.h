/* choose.h -- which transport MXG_AUTO becomes, and why. */
#ifndef MXG_CHOOSE_H
#define MXG_CHOOSE_H

#include "transport.h"

enum { MXG_WHY_ROOM = 256 };

/* Seconds that a run of the plan takes its slowest rank, by rates measured on GPUs with NVLink; for comparing the two.
 */
double mxg_expect_copy(const mxg_plan *plan);
double mxg_expect_direct(const mxg_plan *plan);

/* Never fails: without GPUs that reach each other it is the host. `why` is one sentence. */
mxg_transport mxg_choose(const mxg_exec_view *view, char why[MXG_WHY_ROOM]);

#endif
