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

/* Adds a copy, as a continuation of the last one where it begins where that ends. */
void mxg_copies_add(mxg_copies *copies, mxg_copy copy);
void mxg_copies_free(mxg_copies *copies);

/* What comes is other memory than what came, or nothing comes: neighbours by address may be two allocations. Rows at
** equal distances become one copy here, so call it last too. */
void mxg_copies_apart(mxg_copies *copies);

/* Moves copies of about `bytes` from the front of `from`, which is item *next, to the end of `to`; one that is larger
** goes in parts, cut between rows or at a MiB. At least one part, while there are any. Returns their bytes. */
uint64_t mxg_copies_take(mxg_copies *to, mxg_copies *from, size_t *next, uint64_t bytes);
uint64_t mxg_copies_bytes(const mxg_copies *copies);

/* The rows of one segment of a piece, without gaps, to `to`; and the scales over them, compact. No scales where they
** do not lie in rows (swizzled): kernels have to read those where they are. */
void mxg_copies_data(mxg_copies *copies, const mxg_plan *plan, const mxg_piece *piece, const mxg_segment *segment,
                     mxg_place from, uint64_t to);
void mxg_copies_scales(mxg_copies *copies, const mxg_plan *plan, const mxg_piece *piece, const mxg_segment *segment,
                       mxg_place from, uint64_t to);
/* Bytes of both. */
uint64_t mxg_segment_data_bytes(const mxg_plan *plan, const mxg_piece *piece, const mxg_segment *segment);
uint64_t mxg_segment_scale_bytes(const mxg_plan *plan, const mxg_piece *piece, const mxg_segment *segment);

/* Copies of a piece that needs no kernel (mxg_piece_is_copy), from array to array. */
void mxg_copies_straight(mxg_copies *copies, const mxg_plan *plan, const mxg_piece *piece, mxg_place from,
                         mxg_place to);

#endif
