/* convert_span.h -- conversions of contiguous runs of elements, in a form that compilers turn into vector code.
** Private to the host conversion. Values are FP32 bits, as in mx_convert.h; spans do not overlap; pointers are aligned
** to their element. */
#ifndef MXG_CONVERT_SPAN_H
#define MXG_CONVERT_SPAN_H

#include <stddef.h>
#include <stdint.h>

/* Elements to values; scaled: times scale[i], rounded to FP32. */
void mxg_span_decode(unsigned elem, const void *q, size_t n, uint32_t *x);
void mxg_span_decode_scaled(unsigned elem, const void *q, const uint32_t *scale, size_t n, uint32_t *x);
/* Values to elements; quantize: fp8, times reciprocal[i] first. */
void mxg_span_encode(unsigned elem, const uint32_t *x, size_t n, void *q);
void mxg_span_quantize(unsigned elem, const uint32_t *x, const uint32_t *reciprocal, size_t n, uint8_t *q);
/* u[i / group] becomes the maximum of itself and of mx_magnitude of its values; the last group may be short. */
void mxg_span_max(unsigned nan, const uint32_t *x, size_t n, size_t group, uint32_t *u);
/* out[i] = each[i / group]. */
void mxg_span_spread(const uint32_t *each, size_t group, size_t n, uint32_t *out);
/* E8M0 bytes to scale values. */
void mxg_span_e8m0(const uint8_t *s, size_t n, uint32_t *scale);
/* E8M0 bytes from the maxima of blocks, and the reciprocals that their values are multiplied by. */
void mxg_span_choose_e8m0(unsigned rule, unsigned elem, unsigned nan, const uint32_t *u, size_t n, uint8_t *s,
                          uint32_t *reciprocal);
/* Copies past the caches where the machine can: for results larger than they are. Fence before others may read them. */
void mxg_span_stream(void *to, const void *from, size_t bytes);
void mxg_span_stream_fence(void);
/* fp8 under one E8M0 byte for every 32 elements to BF16, `blocks` whole blocks. */
void mxg_span_mxfp8_to_bf16(unsigned elem, const uint8_t *q, const uint8_t *s, size_t blocks, uint16_t *h);

#endif
