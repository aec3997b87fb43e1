/* layout.h -- pure arithmetic of layouts: which rows, columns and experts of a tensor a rank of a side stores, in
** which arrays. Owns the layout algebra (DESIGN section 5). Allocates only what it returns, from the caller's arena;
** no I/O. */
#ifndef MXG_LAYOUT_H
#define MXG_LAYOUT_H

#include "model.h"

/* A run of rows: stored rows [stored, stored + rows) are rows [row, row + rows) of the tensor. */
typedef struct mxg_run {
  uint64_t stored, row, rows;
} mxg_run;

/* A stored array of one rank: what part of the tensor it is. Stored rows no run covers are padding (zero). */
typedef struct mxg_shard {
  uint32_t tensor, rank;
  uint32_t part;                  /* MXG_NONE: all parts */
  uint64_t first_expert, experts; /* stacked matrices */
  uint64_t stored_rows;           /* with padding */
  uint64_t first_col, cols;
  const mxg_run *runs; /* by stored row; adjacent runs that continue each other are joined */
  uint32_t run_count;
} mxg_shard;

/* The shards of `tensor` that `rank` (in the common numbering) stores on `side`, in file order: by part, then expert,
** as the naming keeps them apart. *count 0 when it stores none. */
mxg_status mxg_layout_shards(const mxg_shard **out, uint32_t *count, const mxg_model *model, mxg_side side,
                             uint32_t tensor, uint32_t rank, mxg_arena *arena, mxg_error *err);

/* Checks one placement: divisibility of every split, whole groups, and, for each plane of `format`, that no shard
** cuts a block. MXG_OK, or MXG_ERR_INPUT with a text that names tensor, part, dimension and numbers, without place:
** the caller adds the rule's origin. *cuts is true when the only fault is a cut block (then the caller may take
** format->otherwise). */
mxg_status mxg_layout_check(bool *cuts, const mxg_model *model, mxg_side side, uint32_t tensor,
                            const mxg_placement *placement, const mxg_naming *naming, mxg_error *err);

/* The coordinate of `rank` (of the side, from 0) on an axis of a mesh: outermost first, row-major. */
uint64_t mxg_mesh_coordinate(const mxg_mesh *mesh, uint32_t axis, uint64_t rank);

/* The tensor whose values `tensor` has: itself unless tied. */
uint32_t mxg_tensor_root(const mxg_model *model, uint32_t tensor);

#endif
