/* planner.h -- what the files of the planner share: the tables in the making. Private to gen/plan*.c.
**
** plan.c lists the stages: plan_arrays.c (who stores what), plan_pieces.c (who needs what from whom), plan_kernels.c
** (shape classes), plan_steps.c (buckets, slots, steps), with plan_groups.c (what is started together). */
#ifndef MXG_PLANNER_H
#define MXG_PLANNER_H

#include "layout.h"

#include "error.h"

/* A growable table whose final form is a plan's table. */
typedef struct mxg_table {
  void *items;
  size_t count, capacity;
} mxg_table;

/* What one rank stores of one tensor: shards, and their arrays (planes of one shard are neighbours). */
typedef struct mxg_holding {
  const mxg_shard *shards;
  uint32_t count, first_array;
} mxg_holding;

/* What plan_pieces.c knows of a piece and the plan does not keep. */
typedef struct mxg_piece_note {
  uint32_t tensor;
  uint32_t order; /* of making, within its target rank */
  bool gathered;  /* the source is another rank */
  uint32_t peer;  /* source rank; of scratch pieces the rank itself */
  uint32_t group; /* pieces that must share a bucket have one number; groups ascend */
} mxg_piece_note;

/* FP32 scratch of one target matrix whose blocks no single piece covers. */
typedef struct mxg_scratch_note {
  uint32_t array; /* the scratch array */
  uint32_t rank, group;
  uint64_t bytes;
  bool has_cell;
} mxg_scratch_note;

typedef struct mxg_planner {
  const mxg_model *model;
  mxg_arena *arena;
  mxg_error *err;
  mxg_plan *plan;
  mxg_table strings, encodings, arrays, pieces, notes, segments, fills, steps, kernels, scratches, groups;
  mxg_holding *holdings[2];  /* [rank of the side * tensors + tensor] */
  uint32_t *piece_of_rank;   /* [ranks + 1]: pieces of a target rank are neighbours */
  uint32_t *scratch_of_rank; /* [ranks + 1]: of the scratches table */
  uint32_t *tensor_order;    /* tensors as they are moved: those of a group are neighbours */
  uint32_t *tensor_groups;   /* by tensor; NULL: a group is a bucket */
} mxg_planner;

void *mxg_table_push(mxg_planner *planner, mxg_table *table,
                     size_t size);                                   /* NULL: no memory, and planner->err says so */
uint32_t mxg_planner_string(mxg_planner *planner, const char *text); /* offset; MXG_NONE: no memory */
uint32_t mxg_planner_encoding(mxg_planner *planner, const mxg_encoding *encoding);

mxg_status mxg_plan_arrays(mxg_planner *planner);
mxg_status mxg_plan_groups(mxg_planner *planner);
mxg_status mxg_plan_pieces(mxg_planner *planner);
mxg_status mxg_plan_kernels(mxg_planner *planner);
mxg_status mxg_plan_steps(mxg_planner *planner);

/* Names the groups "bucket 0" and so on, where they are buckets; no rank has more than `buckets`. */
mxg_status mxg_plan_bucket_groups(mxg_planner *planner, uint32_t buckets);

/* What is done to a piece. Reads its rectangle, segments and phase. */
mxg_family mxg_piece_family(const mxg_encoding *src, const mxg_encoding *dst, const mxg_piece *piece,
                            const mxg_segment *segments);
/* Whether the piece has all that its target blocks need. If not, the target matrix is assembled in scratch.
** `dst_rows` and `dst_cols`: what is written of the matrix, without padding. */
bool mxg_piece_fits(const mxg_encoding *src, const mxg_encoding *dst, const mxg_piece *piece,
                    const mxg_segment *segments, uint64_t dst_rows, uint64_t dst_cols);

#endif
