/* decode.h -- a second, plain reader of stored elements for `verify`: from the formats' definitions, by table, without
** the conversions that moved the data, so that a fault there cannot hide here. */
#ifndef MXG_DECODE_H
#define MXG_DECODE_H

#include "checksum.h"

/* FP32 values of elements [col, col + count) of one row of one matrix. Exact but for formats with FP32 scales, where
** the product is rounded once. */
void mxg_decode_row(float *out, const mxg_stored *stored, uint64_t matrix, uint64_t row, uint64_t col, uint64_t count);

#endif
