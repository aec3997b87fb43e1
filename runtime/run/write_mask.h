/* write_mask.h -- the proof that every element and scale of a target array is written exactly once: a bit for each.
**
** Marked where the bytes are written, checked at the end of a run. Scales are counted in the order of the stored grid
** (row, column), whatever their layout makes of it in memory. */
#ifndef MXG_WRITE_MASK_H
#define MXG_WRITE_MASK_H

#include "plan.h"

#include <stdatomic.h>

/* Bits [0, bits). `words` is there from the first mark until the last bit is marked. */
typedef struct mxg_bits {
  _Atomic uint64_t *words;
  void *memory; /* of the words */
  size_t room;
  uint64_t bits;
  _Atomic uint64_t left; /* not yet marked */
  bool full;             /* `words` was given back */
} mxg_bits;

typedef struct mxg_write_mask {
  const mxg_plan *plan;
  uint32_t array;
  mxg_scale_shape shape;
  mxg_bits elems, scales;
  _Atomic uint64_t twice_elem, twice_scale; /* 1 + the first that was seen marked twice; 0: none */
} mxg_write_mask;

/* The largest memory that was given back, for the next array. Zero-initialise; freed with mxg_free(spare.memory). */
typedef struct mxg_mask_spare {
  void *memory;
  size_t room;
} mxg_mask_spare;

void mxg_mask_begin(mxg_write_mask *mask, const mxg_plan *plan, uint32_t array);
void mxg_mask_end(mxg_write_mask *mask);

/* Makes room for marks, and gives back what is complete: between marks, by the array's own rank. */
mxg_status mxg_mask_open(mxg_write_mask *mask, mxg_mask_spare *spare, mxg_error *err);
void mxg_mask_settle(mxg_write_mask *mask, mxg_mask_spare *spare);

/* A rectangle of a matrix is written, and the scales of the blocks that begin in it. From any thread. */
void mxg_mask_rectangle(mxg_write_mask *mask, uint32_t matrix, uint64_t row, uint64_t rows, uint64_t col,
                        uint64_t cols);
void mxg_mask_elems(mxg_write_mask *mask, uint64_t first, uint64_t count);
/* What a SCALES fill with this limit writes. */
void mxg_mask_scale_padding(mxg_write_mask *mask, uint64_t limit);

/* MXG_ERR_WRONG if something was written twice; with `all`, also if something was not written. */
mxg_status mxg_mask_check(const mxg_write_mask *mask, bool all, mxg_error *err);

#endif
