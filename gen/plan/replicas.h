/* replicas.h -- which target ranks only repeat what others hold. Reads a plan, decides nothing else. */
#ifndef MXG_REPLICAS_H
#define MXG_REPLICAS_H

#include "plan.h"

/* first[array]: true for target arrays of wanted ranks (NULL: all) but for whole tensors that a lower wanted rank has
 * too.
 */
mxg_status mxg_plan_first_arrays(bool *first, const mxg_plan *plan, const bool *wanted, mxg_error *err);
/* replica[rank]: true where every target array is such a whole tensor: the rank's file would say nothing new. */
mxg_status mxg_plan_replicas(bool *replica, const mxg_plan *plan, mxg_error *err);

#endif
