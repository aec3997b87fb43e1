/* plan_build.h -- the planner: model in, plan out. */
#ifndef MXG_PLAN_BUILD_H
#define MXG_PLAN_BUILD_H

#include "model.h"

/* Builds the schedule that turns `model`'s source side into its target side. Everything is of `arena`. Refuses a plan
** whose staging passes the recipe's cap (MXG_ERR_INPUT, with both numbers and the schedule's line). The kernels'
** names are set. mxg_plan_check is the caller's, and mxg_bundle_make's. */
mxg_status mxg_plan_build(const mxg_plan **out, const mxg_model *model, mxg_arena *arena, mxg_error *err);

struct mxg_text;
/* Line-oriented text, fixed columns, exact bytes: golden files and people read it. `detail`: the rank whose every step
 *and
 ** piece is listed, or one of the two below. */
#define MXG_PLAN_TOTALS UINT32_MAX       /* totals a rank only */
#define MXG_PLAN_PIECES (UINT32_MAX - 1) /* the steps and pieces of all ranks */
void mxg_plan_print(const mxg_plan *plan, const mxg_model *model, uint32_t detail, struct mxg_text *text);
void mxg_plan_json(const mxg_plan *plan, const mxg_model *model, struct mxg_text *text);
/* `mxgen explain TENSOR`. MXG_ERR_INPUT with "did you mean" when there is no such tensor. */
mxg_status mxg_plan_explain(const mxg_plan *plan, const mxg_model *model, const char *tensor, struct mxg_text *text,
                            mxg_error *err);

#endif
