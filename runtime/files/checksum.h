/* checksum.h -- two checksums of a stored array: of its bytes, and of its values.
**
** Bytes: XXH3-64 of the data and of the scales, as xxhsum prints it. Values: of the FP32 bits of the dequantised
** elements in row-major order of the stack, NaN as one class, so that the same values give the same checksum in
** every format, block and scale layout: MXFP8 -> BF16 -> MXFP8 changes scale bytes but not this. Value checksum =
** XXH3-64 over { element count, XXH3-64 of each chunk of 2^20 elements } as little-endian 64-bit words. */
#ifndef MXG_CHECKSUM_H
#define MXG_CHECKSUM_H

#include "plan.h"

enum { MXG_CHECKSUM_CHUNK = 1 << 20 }; /* elements */

/* An array in memory; nothing needs to be aligned. */
typedef struct mxg_stored {
  mxg_encoding encoding;
  uint64_t matrices, rows, cols;
  const void *data, *scale; /* scale: NULL where the encoding has none */
} mxg_stored;

mxg_stored mxg_stored_of(const mxg_plan *plan, const mxg_array *array, const void *data, const void *scale);

uint64_t mxg_checksum_bytes(const void *bytes, uint64_t count);

/* The chunks may be taken in any order and by any threads; then combine. */
uint64_t mxg_checksum_chunks(const mxg_stored *stored); /* how many; 0 for no elements */
uint64_t mxg_checksum_chunk(const mxg_stored *stored, uint64_t chunk);
uint64_t mxg_checksum_combine(const mxg_stored *stored, const uint64_t *chunks);

/* All of it, with `threads` threads (0: one a core; small arrays take one). */
mxg_status mxg_checksum_values(uint64_t *out, const mxg_stored *stored, unsigned threads, mxg_error *err);

#endif
