/* exchange.h -- what ranks send each other, worked out from the plan alone, so that sender and receiver come to the
** same: the rounds of a run, and of each round and pair of ranks a *region*: the bytes of one rank that another
** wants, as they lie in its memory. Pure arithmetic; what makes a program of it is transport_nccl.c.
**
** Round by round every rank sends and receives at once, all ranks in one order. A bucket of the plan is one round or
** several: the fewer, the better for the link, but what comes last is converted with nothing to hide behind, so the
** last bytes of a run come in smaller rounds.
**
** All of a region is packed by its sender, elements and scales side by side, and travels as one message: the more of
** them there are at a time the slower each is, and memory for packing can be the kind that NCCL is fastest with. */
#ifndef MXG_EXCHANGE_H
#define MXG_EXCHANGE_H

#include "copy_plan.h"
#include "parts.h"

/* Bytes [begin, end) of the `all` that a bucket brings the rank that it brings most; of other pairs the same share. */
typedef struct mxg_round {
  uint32_t bucket;
  uint64_t begin, end, all;
} mxg_round;

typedef struct mxg_rounds {
  mxg_round *items;
  size_t count, capacity;
  uint32_t *first; /* by bucket, and one more: its rounds */
  uint32_t buckets;
  bool failed;
} mxg_rounds;

enum { MXG_PACK_AREAS = 3 }; /* what is packed for a round waits in one, while the rounds before are under way */

/* Of the steps that are of `group`; MXG_NONE: of all. `most`: bytes of a round; 0: the library's choice, for which
** the plan's cap of staging has room beside its slots. */
void mxg_rounds_make(mxg_rounds *rounds, const mxg_plan *plan, uint32_t group, uint64_t most);
void mxg_rounds_free(mxg_rounds *rounds);

/* Bytes that lie together at the source, or `height` rows of `width` bytes, `pitch` apart. */
typedef struct mxg_run {
  uint32_t array;
  bool scales;
  uint64_t from; /* bytes from the array's data or scales */
  uint64_t width, height, pitch;
  uint64_t to; /* bytes from the region's begin; there rows are side by side */
} mxg_run;

/* Where a segment of a part lies in a region: bytes from its begin. Of swizzled scales there are whole tiles: scale
** (0, 0) of what there is stands for block (first_row, first_col), and `ld` is mx_entry's. */
typedef struct mxg_spot {
  uint64_t data, scale;
  uint32_t first_row, first_col, ld; /* elements; 0 where scales are not swizzled */
} mxg_spot;

typedef struct mxg_region {
  uint32_t from, to; /* ranks */
  mxg_parts parts;
  mxg_spot *spots; /* by segment of the parts */
  mxg_run *runs;
  size_t run_count, run_capacity;
  uint64_t bytes;
  bool failed;
} mxg_region;

enum { MXG_REGION_ALIGN = 128 };

/* `steps`: the gathers of the round's bucket that rank `to` makes of rank `from`, by index. */
void mxg_region_make(mxg_region *region, const mxg_plan *plan, uint32_t from, uint32_t to, const mxg_round *round,
                     const uint32_t *steps, size_t step_count);
void mxg_region_free(mxg_region *region);

#endif
