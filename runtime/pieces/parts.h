/* parts.h -- pieces cut by rows, for programs that work in smaller units than the plan's. Pure arithmetic. */
#ifndef MXG_PARTS_H
#define MXG_PARTS_H

#include "plan.h"

#include <stddef.h>

typedef struct mxg_parts {
  mxg_piece *pieces;
  mxg_segment *segments;
  size_t count, capacity, segment_count, segment_capacity;
  bool failed;
} mxg_parts;

/* Adds `piece` of `plan` as parts of about `bytes` of the source's data each. Cuts fall on blocks of both sides. In a
** slot the parts lie where the piece does; where they would need more room, it stays whole. Returns how many. */
uint32_t mxg_parts_add(mxg_parts *parts, const mxg_plan *plan, const mxg_piece *piece, uint64_t bytes);
/* The same plan with these pieces and segments; borrowed. */
mxg_plan mxg_parts_plan(const mxg_parts *parts, const mxg_plan *plan);
void mxg_parts_free(mxg_parts *parts);

#endif
