/* verify_slab.h -- one slab of columns of one tensor: what verify.c hands to its workers. Private to verify*.c. */
#ifndef MXG_VERIFY_SLAB_H
#define MXG_VERIFY_SLAB_H

#include "layout.h"
#include "random.h"
#include "verify.h"

#include "checksum.h"

/* An array of the original, mapped or random. */
typedef struct mxg_piece_of_original {
  const mxg_shard *shard;
  mxg_stored stored; /* data NULL: random */
  mxg_random random;
} mxg_piece_of_original;

/* An array of the target, mapped. */
typedef struct mxg_target_array {
  const mxg_shard *shard;
  mxg_stored stored;
  uint32_t array; /* of the plan */
  uint32_t chain;
  bool moved; /* only MOVE kernels write it: bytes and scales travel as they are */
} mxg_target_array;

/* One tensor: everything needed to compare any slab of it. Vectors are seen as n x 1. */
typedef struct mxg_verify_tensor {
  bool vector;
  uint64_t experts, rows, cols;
  const mxg_piece_of_original *originals;
  uint32_t original_count;
  const mxg_target_array *targets;
  uint32_t target_count;
  const mxg_format *original, *source; /* formats on the way */
  uint32_t *block_rows[2]; /* of each plane of the source format: the block that a row lies in; NULL: by itself */
  uint32_t block_count[2];
  double *largest; /* [experts]: largest magnitude, where a format has one scale for a matrix; else NULL */
  uint64_t slab_cols, slabs, first_part;
} mxg_verify_tensor;

/* The largest magnitude of a slab; infinite when it holds an Inf or NaN. False: no memory. */
bool mxg_slab_largest(double *out, const mxg_verify_tensor *tensor, uint64_t expert, uint64_t slab);
/* Compares all target arrays' elements in the slab; adds to `chains` (all of the verify's). False: no memory. */
bool mxg_slab_compare(mxg_chain *chains, const mxg_verify_tensor *tensor, uint64_t expert, uint64_t slab);

#endif
