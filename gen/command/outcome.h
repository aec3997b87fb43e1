/* outcome.h -- the table after weights have moved: shard and run print it. */
#ifndef MXG_OUTCOME_H
#define MXG_OUTCOME_H

#include "transfer.h"

mxg_status mxg_outcome_print(const mxg_transfer *transfer, bool json, mxg_error *err);

#endif
