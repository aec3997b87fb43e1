/* plan_check.h -- the parts of mxg_plan_check, for its own files and, in places, for the executor. */
#ifndef MXG_PLAN_CHECK_H
#define MXG_PLAN_CHECK_H

#include "plan.h"

/* MXG_ERR_BUNDLE with one sentence. */
mxg_status mxg_plan_refuse(mxg_error *err, unsigned code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

const char *mxg_side_name(unsigned side); /* "source", "target", "scratch" */

/* A scratch array in its slot: the data, and from the next multiple of 16 one 4-byte cell a matrix. */
uint64_t mxg_scratch_cell(const mxg_plan *plan, const mxg_array *array); /* bytes from the array's offset to its cell */
uint64_t mxg_scratch_bytes(const mxg_plan *plan, const mxg_array *array); /* with the cell */

/* plan_schedule.c. Every piece and fill is in exactly the steps that it must be in, in an order that is right, and what
** shares a slot does not overlap in it. The tables were checked before. */
mxg_status mxg_plan_check_schedule(const mxg_plan *plan, mxg_error *err);

/* plan_cover.c. Every element and scale of every target and scratch array is written exactly once. As above. */
mxg_status mxg_plan_check_cover(const mxg_plan *plan, mxg_error *err);

#endif
