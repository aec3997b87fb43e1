/* recipe_writer.h -- a readable recipe for a known model and two sides: what `mxgen init` writes. Owns its text; where
** the numbers come from is hf_config.h's. */
#ifndef MXG_RECIPE_WRITER_H
#define MXG_RECIPE_WRITER_H

#include "hf_config.h"
#include "text.h"

/* Parallel sizes of a side, each at least 1. `whole`: every rank has every tensor, whole. */
typedef struct mxg_spread {
  bool whole;
  uint64_t tp, pp, ep, etp, dp, world;
} mxg_spread;

/* Reads "tp=4,ep=8" or "whole" and fills what it leaves open: etp 1, dp as small as fits. `what` names the option.
** MXG_ERR_USAGE 904. A whole side has world 0: as many ranks as the other. */
mxg_status mxg_spread_read(mxg_spread *out, const char *text, const char *what, mxg_error *err);

/* `from` names where the shapes are from, for a comment. MXG_ERR_INPUT 232 when a side does not fit the model. */
mxg_status mxg_recipe_write(mxg_text *text, const mxg_hf_config *config, const mxg_spread *source,
                            const mxg_spread *target, const char *from, mxg_error *err);

#endif
