/* convert_span.c -- contiguous runs of elements, written so that compilers vectorise them: one element type a loop,
** no branch inside. Owns the choice of instruction set; the numbers are mx_convert.h's, and the only arithmetic of
** its own, 16-bit MXFP8 to BF16, must equal them bit for bit. */
#include "convert_span.h"

#include "mx_convert.h"

#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Versions of a function, chosen when the program starts. Not under sanitizers, which are not ready when resolvers run,
** and not with clang, whose resolvers other files do not find before version 18. */
#if !defined(__x86_64__) || !defined(__GLIBC__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MXG_VECTOR
#elif !defined(__clang__) && __GNUC__ >= 12
#define MXG_VECTOR __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#elif !defined(__clang__)
#define MXG_VECTOR __attribute__((target_clones("avx2", "default")))
#else
#define MXG_VECTOR
#endif

MX_FN void decode_loop(int elem, const void *q, size_t n, uint32_t *restrict x) {
  const uint8_t *bytes = q;
  const uint16_t *halves = q;
  const uint32_t *words = q;
  if (elem == MX_E4M3 || elem == MX_E5M2) {
    for (size_t i = 0; i < n; i++) x[i] = mx_decode(elem, bytes[i]);
  } else if (elem == MX_BF16 || elem == MX_FP16) {
    for (size_t i = 0; i < n; i++) x[i] = mx_decode(elem, halves[i]);
  } else {
    for (size_t i = 0; i < n; i++) x[i] = words[i];
  }
}

MXG_VECTOR void mxg_span_decode(unsigned elem, const void *q, size_t n, uint32_t *restrict x) {
  if (elem == MX_E4M3) decode_loop(MX_E4M3, q, n, x);
  if (elem == MX_E5M2) decode_loop(MX_E5M2, q, n, x);
  if (elem == MX_BF16) decode_loop(MX_BF16, q, n, x);
  if (elem == MX_FP16) decode_loop(MX_FP16, q, n, x);
  if (elem == MX_FP32) decode_loop(MX_FP32, q, n, x);
}

MX_FN void scaled_loop(int elem, const uint8_t *restrict q, const uint32_t *restrict scale, size_t n,
                       uint32_t *restrict x) {
  for (size_t i = 0; i < n; i++) x[i] = mx_dequantize(elem, q[i], scale[i]);
}

MXG_VECTOR void mxg_span_decode_scaled(unsigned elem, const void *q, const uint32_t *scale, size_t n,
                                       uint32_t *restrict x) {
  if (elem == MX_E4M3) {
    scaled_loop(MX_E4M3, q, scale, n, x);
  } else if (elem == MX_E5M2) {
    scaled_loop(MX_E5M2, q, scale, n, x);
  } else {
    mxg_span_decode(elem, q, n, x);
    for (size_t i = 0; i < n; i++) x[i] = mx_mul(x[i], scale[i]);
  }
}

MX_FN void encode_loop(int elem, const uint32_t *restrict x, size_t n, void *q) {
  uint8_t *restrict bytes = q;
  uint16_t *restrict halves = q;
  uint32_t *restrict words = q;
  if (elem == MX_E4M3 || elem == MX_E5M2) {
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)mx_encode(elem, x[i]);
  } else if (elem == MX_BF16 || elem == MX_FP16) {
    for (size_t i = 0; i < n; i++) halves[i] = (uint16_t)mx_encode(elem, x[i]);
  } else {
    for (size_t i = 0; i < n; i++) words[i] = mx_encode(elem, x[i]);
  }
}

MXG_VECTOR void mxg_span_encode(unsigned elem, const uint32_t *restrict x, size_t n, void *q) {
  if (elem == MX_E4M3) encode_loop(MX_E4M3, x, n, q);
  if (elem == MX_E5M2) encode_loop(MX_E5M2, x, n, q);
  if (elem == MX_BF16) encode_loop(MX_BF16, x, n, q);
  if (elem == MX_FP16) encode_loop(MX_FP16, x, n, q);
  if (elem == MX_FP32) encode_loop(MX_FP32, x, n, q);
}

MX_FN void quantize_loop(int elem, const uint32_t *restrict x, const uint32_t *restrict reciprocal, size_t n,
                         uint8_t *restrict q) {
  for (size_t i = 0; i < n; i++) q[i] = (uint8_t)mx_quantize(elem, x[i], reciprocal[i]);
}

MXG_VECTOR void mxg_span_quantize(unsigned elem, const uint32_t *restrict x, const uint32_t *restrict reciprocal,
                                  size_t n, uint8_t *restrict q) {
  if (elem == MX_E4M3) quantize_loop(MX_E4M3, x, reciprocal, n, q);
  if (elem == MX_E5M2) quantize_loop(MX_E5M2, x, reciprocal, n, q);
}

MX_FN uint32_t max_loop(int nan, const uint32_t *x, size_t n, uint32_t most) {
  for (size_t i = 0; i < n; i++) {
    uint32_t u = mx_magnitude(nan, x[i]);
    most = u > most ? u : most;
  }
  return most;
}

MX_FN void max_groups(int nan, const uint32_t *restrict x, size_t n, size_t group, uint32_t *restrict u) {
  size_t i = 0;
  if (group == 1) {
    for (; i < n; i++) u[i] = max_loop(nan, x + i, 1, u[i]);
  } else if (group == 32) {
    for (; i + 32 <= n; i += 32) u[i / 32] = max_loop(nan, x + i, 32, u[i / 32]);
  }
  for (; i < n; i += group) u[i / group] = max_loop(nan, x + i, n - i < group ? n - i : group, u[i / group]);
}

MXG_VECTOR void mxg_span_max(unsigned nan, const uint32_t *restrict x, size_t n, size_t group, uint32_t *restrict u) {
  if (nan == MX_NAN_ELEMENT) {
    max_groups(MX_NAN_ELEMENT, x, n, group, u);
  } else {
    max_groups(MX_NAN_BLOCK, x, n, group, u);
  }
}

MXG_VECTOR void mxg_span_spread(const uint32_t *restrict each, size_t group, size_t n, uint32_t *restrict out) {
  size_t i = 0;
  if (group == 32) {
    for (; i + 32 <= n; i += 32) {
      for (size_t k = 0; k < 32; k++) out[i + k] = each[i / 32];
    }
  }
  for (; i < n; i += group) {
    for (size_t k = 0; k < group && i + k < n; k++) out[i + k] = each[i / group];
  }
}

MXG_VECTOR void mxg_span_e8m0(const uint8_t *restrict s, size_t n, uint32_t *restrict scale) {
  for (size_t i = 0; i < n; i++) scale[i] = mx_e8m0_decode(s[i]);
}

MX_FN void choose_loop(int elem, int nan, int rule, const uint32_t *restrict u, size_t n, uint8_t *restrict s,
                       uint32_t *restrict reciprocal) {
  for (size_t i = 0; i < n; i++) {
    uint32_t scale = mx_scale_e8m0(rule, elem, nan, u[i]);
    s[i] = (uint8_t)scale;
    reciprocal[i] = mx_e8m0_reciprocal(scale);
  }
}

MXG_VECTOR void mxg_span_choose_e8m0(unsigned rule, unsigned elem, unsigned nan, const uint32_t *restrict u, size_t n,
                                     uint8_t *restrict s, uint32_t *restrict reciprocal) {
  int e = (int)elem, policy = (int)nan;
  if (rule == MX_FLOOR) choose_loop(e, policy, MX_FLOOR, u, n, s, reciprocal);
  if (rule == MX_RCEIL) choose_loop(e, policy, MX_RCEIL, u, n, s, reciprocal);
  if (rule == MX_CEIL) choose_loop(e, policy, MX_CEIL, u, n, s, reciprocal);
  if (rule == MX_EVEN) choose_loop(e, policy, MX_EVEN, u, n, s, reciprocal);
}

#if defined(__SSE2__)
void mxg_span_stream(void *to, const void *from, size_t bytes) {
  unsigned char *out = to;
  const unsigned char *in = from;
  size_t head = (size_t)(-(uintptr_t)out & 15), at = head < bytes ? head : bytes;
  memcpy(out, in, at);
  for (; at + 16 <= bytes; at += 16) {
    _mm_stream_si128((__m128i *)(void *)(out + at), _mm_loadu_si128((const __m128i *)(const void *)(in + at)));
  }
  memcpy(out + at, in + at, bytes - at);
}

void mxg_span_stream_fence(void) { _mm_sfence(); }
#else
void mxg_span_stream(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }

void mxg_span_stream_fence(void) {}
#endif

/* ---- MXFP8 to BF16 in 16-bit integers ----------------------------------------------------------------------------
**
** With m the magnitude shifted so that its mantissa is BF16's, a normal element is m + base, base the exponent that
** the scale adds. A subnormal n is n * 2^-k with its leading one moved up: t(m) = 2m - 128 for the upper octave of
** them, 4m - 256 below, 8m - 384 below that. Each is the least of all where it holds, so t is their minimum with m.
** Good while every result is a normal BF16: scale bytes 10 to 246 for E4M3, 17 to 239 for E5M2. */

MX_FN int16_t least(int16_t a, int16_t b) { return a < b ? a : b; }

MX_FN int in_range(int elem, uint32_t s) { return elem == MX_E4M3 ? s - 10 <= 246 - 10 : s - 17 <= 239 - 17; }

MX_FN int16_t base_of(int elem, uint32_t s) { return (int16_t)(((int)s - (elem == MX_E4M3 ? 7 : 15)) * 128); }

MX_FN void mxfp8_block(int elem, const uint8_t *restrict q, uint32_t s, uint16_t *restrict h) {
  if (!in_range(elem, s)) {
    uint32_t scale = mx_e8m0_decode(s);
    for (size_t i = 0; i < 32; i++) h[i] = (uint16_t)mx_bf16_encode(mx_dequantize(elem, q[i], scale));
    return;
  }
  int16_t base = base_of(elem, s);
  for (size_t i = 0; i < 32; i++) {
    int16_t magnitude = (int16_t)(q[i] & 0x7f), sign = (int16_t)((q[i] & 0x80) << 8);
    int16_t m = (int16_t)(magnitude << (elem == MX_E4M3 ? 4 : 5));
    int16_t two = (int16_t)(m + m - 128), four = (int16_t)(two + two), eight = (int16_t)(four + four + 128);
    int16_t t = least(m, least(two, four));
    if (elem == MX_E4M3) t = least(t, eight);
    int16_t value = magnitude == 0 ? 0 : (int16_t)(t + base);
    if (elem == MX_E5M2) value = magnitude == 0x7c ? 0x7f80 : value;
    value = (int16_t)(value | sign);
    value = magnitude > (elem == MX_E4M3 ? 0x7e : 0x7c) ? 0x7fff : value;
    h[i] = (uint16_t)value;
  }
}

enum { plain_blocks = 4, plain_elems = plain_blocks * 32 };

/* Whether all elements are normal numbers and all scales in range, as nearly always in weights. */
MX_FN int all_plain(int elem, const uint8_t *restrict q, const uint8_t *restrict s) {
  uint8_t lowest = elem == MX_E4M3 ? 8 : 4, highest = elem == MX_E4M3 ? 0x7e : 0x7b, most = 0;
  int ranged = 1;
  for (size_t i = 0; i < plain_elems; i++) {
    uint8_t above = (uint8_t)((q[i] & 0x7f) - lowest); /* a smaller one wraps around */
    most = above > most ? above : most;
  }
  for (size_t b = 0; b < plain_blocks; b++) ranged &= in_range(elem, s[b]);
  return ranged && most <= highest - lowest;
}

/* Normal elements: the sign stays on top of what is shifted, the exponent is added. */
MX_FN void plain_block(int elem, const uint8_t *restrict q, uint32_t s, uint16_t *restrict h) {
  uint16_t base = (uint16_t)base_of(elem, s), mask = elem == MX_E4M3 ? 0x87f0 : 0x8fe0;
  for (size_t i = 0; i < 32; i++) {
    uint16_t wide = (uint16_t)(int16_t)(int8_t)q[i];
    wide = (uint16_t)(wide << (elem == MX_E4M3 ? 4 : 5));
    h[i] = (uint16_t)((wide & mask) + base);
  }
}

MX_FN void mxfp8_blocks(int elem, const uint8_t *restrict q, const uint8_t *restrict s, size_t blocks,
                        uint16_t *restrict h) {
  size_t b = 0;
  for (; b + plain_blocks <= blocks; b += plain_blocks) {
    if (all_plain(elem, q + b * 32, s + b)) {
      for (size_t k = b; k < b + plain_blocks; k++) plain_block(elem, q + k * 32, s[k], h + k * 32);
    } else {
      for (size_t k = b; k < b + plain_blocks; k++) mxfp8_block(elem, q + k * 32, s[k], h + k * 32);
    }
  }
  for (; b < blocks; b++) mxfp8_block(elem, q + b * 32, s[b], h + b * 32);
}

MXG_VECTOR void mxg_span_mxfp8_to_bf16(unsigned elem, const uint8_t *restrict q, const uint8_t *restrict s,
                                       size_t blocks, uint16_t *restrict h) {
  if (elem == MX_E4M3) {
    mxfp8_blocks(MX_E4M3, q, s, blocks, h);
  } else {
    mxfp8_blocks(MX_E5M2, q, s, blocks, h);
  }
}
