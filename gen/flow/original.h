/* original.h -- an original checkpoint seen as a side: one rank that holds every tensor whole, under the names of the
** recipe's target side. With it, sharding an original is an ordinary plan from that side to the recipe's source side,
** and verifying has something to compare with. */
#ifndef MXG_ORIGINAL_H
#define MXG_ORIGINAL_H

#include "model.h"

#include "checkpoint.h"

/* A model whose source side is the original (rank 0, whole) and whose target side is side `toward` of `recipe`. Formats
** of the original are what the headers of `checkpoint` say: BF16, FP16, FP32, or FP8 with its scales beside it (128x128
** or whole with FP32 scales, MX blocks with E8M0 bytes); of a tensor that is absent, BF16. `checkpoint` NULL: all BF16.
** Lives in `arena`, and borrows from `recipe`. MXG_ERR_INPUT names file and tensor. */
mxg_status mxg_original_model(const mxg_model **out, const mxg_model *recipe, mxg_side toward,
                              const mxg_checkpoint *checkpoint, mxg_arena *arena, mxg_error *err);

/* Writes the random original of `model` (made with checkpoint NULL) as a Hugging Face folder's model.safetensors in the
** existing `folder`. `threads` 0: one a core. */
mxg_status mxg_original_write(const mxg_model *model, uint64_t seed, const char *folder, unsigned threads,
                              void (*progress)(void *user, uint64_t done_bytes, uint64_t all_bytes), void *user,
                              mxg_error *err);

#endif
