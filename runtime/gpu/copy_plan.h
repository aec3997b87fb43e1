/* copy_plan.h -- which bytes copy engines move: pieces as runs of rows from where their source lies to where they are
** wanted. Pure arithmetic; what issues the copies is transport_copy.c. */
#ifndef MXG_COPY_PLAN_H
#define MXG_COPY_PLAN_H

#include "launch.h"

#include <stddef.h>

/* `height` rows of `width` bytes, their beginnings `*_pitch` bytes apart; of height 1 the pitches mean nothing. */
typedef struct mxg_copy {
  uint64_t dst, src, width, height, dst_pitch, src_pitch;
} mxg_copy;

typedef struct mxg_copies {
  mxg_copy *items;
  size_t count, capacity;
  size_t fixed; /* items before this one belong to other memory: nothing is joined to them */
  bool failed;  /* out of memory; sticky */
} mxg_copies;

/* Adds a copy, as a continuation of the last one where both together are one. */
void mxg_copies_add(mxg_copies *copies, mxg_copy copy);
void mxg_copies_free(mxg_copies *copies);

/* The data of a piece in wire form (plan.h) into the slot at `slot`. */
void mxg_copies_data(mxg_copies *copies, const mxg_plan *plan, const mxg_piece *piece, mxg_place from, uint64_t slot);

/* Its scales. False where they do not lie in rows (swizzled): then nothing is added, and kernels have to read them
 *where
 ** they are. */
bool mxg_copies_scales(mxg_copies *copies, const mxg_plan *plan, const mxg_piece *piece, mxg_place from, uint64_t slot);

/* Whether a piece is the same bytes on both sides, and so needs no kernel; and its copies, from array to array. */
bool mxg_copies_are_all(const mxg_plan *plan, const mxg_piece *piece);
void mxg_copies_straight(mxg_copies *copies, const mxg_plan *plan, const mxg_piece *piece, mxg_place from,
                         mxg_place to);

#endif
