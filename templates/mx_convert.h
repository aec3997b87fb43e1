/* mx_convert.h -- leaf conversions: elements, scale values and scale choice, bit for bit the same on a CPU and on a
** GPU.
**
** The subset of C11 that is also C++17 and CUDA; nothing is included but mx_abi.h. Where scales lie is
** mx_scale.h's; loops, loads and reductions are the kernels' and convert_host.c's.
**
** A value is FP32, passed as its bits (mx_u32). Pass `elem`, `rule` and `nan` as constants: the branches then fold
** away. Rounding is to nearest even. NaN is one class: a conversion may return any NaN pattern as FP32 *value*, but
** what mx_encode returns is canonical (E4M3, E5M2 0x7f; BF16, FP16 0x7fff; FP32 0x7fffffff, as the GPU's
** instructions give). Subnormals count: on a GPU the arithmetic is spelled in PTX without .ftz; on a host the
** caller keeps the default floating-point environment.
**
** Quantising a block, with E8M0 scales:                          with FP32 scales:
**   u = max of mx_magnitude(nan, x)                                the same
**   s = mx_scale_e8m0(rule, elem, nan, u)                          s = mx_scale_fp32(elem, nan, u), FP32 bits
**   r = mx_e8m0_reciprocal(s)                                      r = mx_fp32_reciprocal(s)
**   q = mx_quantize(elem, x, r) for each x                         the same
** Dequantising: v = mx_dequantize(elem, q, scale value), then mx_encode(target, v). The scale value is
** mx_e8m0_decode(s) or the stored FP32 scale. For E8M0 the FP32 product is exact or overflows, so the target type
** is reached in one rounding; an FP32 scale has the product rounded to FP32 first.
**
** FP32 scale of a block or tensor: max(fl(largest / max finite), 2^-126), 1.0 when the largest is 0; stored is the
** multiplier that dequantises. Element: saturating RNE of fl(x * fl(1 / scale)). A NaN or Inf: policy BLOCK makes
** the scale NaN and every element 0x7f; policy ELEMENT leaves NaN out of the maximum (that element is 0x7f) and
** counts Inf as the largest finite FP32, saturating with its sign. */
#ifndef MX_CONVERT_H
#define MX_CONVERT_H

#include "mx_abi.h"

#if defined(__CUDACC__)
#define MX_FN static __device__ __forceinline__
#elif defined(__GNUC__)
#define MX_FN static inline __attribute__((always_inline))
#else
#define MX_FN static inline
#endif

#define MX_FP32_ONE 0x3f800000u
#define MX_FP32_INF 0x7f800000u
#define MX_FP32_NAN 0x7fffffffu
#define MX_FP32_MAX 0x7f7fffffu

/* ---- bits and arithmetic ---------------------------------------------------------------------------------------- */

MX_FN float mx_float(mx_u32 bits) {
#if defined(__CUDACC__)
  return __uint_as_float(bits);
#else
  union {
    mx_u32 bits;
    float value;
  } cast;
  cast.bits = bits;
  return cast.value;
#endif
}

MX_FN mx_u32 mx_bits(float value) {
#if defined(__CUDACC__)
  return __float_as_uint(value);
#else
  union {
    mx_u32 bits;
    float value;
  } cast;
  cast.value = value;
#if defined(MX_ONE_NAN) /* a host that plays a GPU, whose arithmetic knows one NaN */
  if (value != value) return MX_FP32_NAN;
#endif
  return cast.bits;
#endif
}

/* On bits: round to nearest even, subnormals kept whatever the compiler's flags say. */
MX_FN mx_u32 mx_add(mx_u32 a, mx_u32 b) {
#if defined(__CUDACC__)
  float r;
  asm("add.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(mx_float(a)), "f"(mx_float(b)));
  return mx_bits(r);
#else
  return mx_bits(mx_float(a) + mx_float(b));
#endif
}

MX_FN mx_u32 mx_sub(mx_u32 a, mx_u32 b) { return mx_add(a, b ^ 0x80000000u); }

MX_FN mx_u32 mx_mul(mx_u32 a, mx_u32 b) {
#if defined(__CUDACC__)
  float r;
  asm("mul.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(mx_float(a)), "f"(mx_float(b)));
  return mx_bits(r);
#else
  return mx_bits(mx_float(a) * mx_float(b));
#endif
}

/* a x b + c, rounded once; where a x b is a number of its own type, as it must be here, that is any two steps. */
MX_FN mx_u32 mx_mul_add(mx_u32 a, mx_u32 b, mx_u32 c) {
#if defined(__CUDACC__)
  float r;
  asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(r) : "f"(mx_float(a)), "f"(mx_float(b)), "f"(mx_float(c)));
  return mx_bits(r);
#else
  return mx_add(mx_mul(a, b), c);
#endif
}

MX_FN mx_u32 mx_div(mx_u32 a, mx_u32 b) {
#if defined(__CUDACC__)
  float r;
  asm("div.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(mx_float(a)), "f"(mx_float(b)));
  return mx_bits(r);
#else
  return mx_bits(mx_float(a) / mx_float(b));
#endif
}

/* ---- elements to FP32: exact ------------------------------------------------------------------------------------- */

MX_FN mx_u32 mx_e4m3_decode(mx_u32 q) {
  mx_u32 magnitude = q & 0x7fu, sign = (q & 0x80u) << 24;
  /* A subnormal n has the exponent of 2^-6 put before it and 2^-6 taken off again. */
  mx_u32 normal = (magnitude << 20) + (120u << 23);
  mx_u32 tiny = mx_sub((magnitude << 20) + (121u << 23), 121u << 23);
  mx_u32 value = magnitude < 8u ? tiny : normal;
  return sign | (magnitude == 0x7fu ? MX_FP32_NAN : value);
}

MX_FN mx_u32 mx_fp16_decode(mx_u32 h) {
  mx_u32 magnitude = h & 0x7fffu, sign = (h & 0x8000u) << 16;
  mx_u32 normal = (magnitude << 13) + (112u << 23);
  mx_u32 tiny = mx_sub((magnitude << 13) + (113u << 23), 113u << 23);
  mx_u32 value = magnitude < 0x400u ? tiny : normal;
  return sign | (magnitude >= 0x7c00u ? normal + (112u << 23) : value);
}

/* E5M2 is the upper half of FP16. */
MX_FN mx_u32 mx_e5m2_decode(mx_u32 q) { return mx_fp16_decode(q << 8); }

MX_FN mx_u32 mx_bf16_decode(mx_u32 h) { return h << 16; }

/* The value of element bits (in the low bits of `q`) of any type. */
MX_FN mx_u32 mx_decode(int elem, mx_u32 q) {
  if (elem == MX_E4M3) return mx_e4m3_decode(q);
  if (elem == MX_E5M2) return mx_e5m2_decode(q);
  if (elem == MX_BF16) return mx_bf16_decode(q);
  if (elem == MX_FP16) return mx_fp16_decode(q);
  return q;
}

/* ---- FP32 to elements: round to nearest even, signed zero kept; fp8 saturates, also Inf -------------------------- */

/* The largest finite value of an fp8 type, as FP32 bits: 448 or 57344. */
MX_FN mx_u32 mx_max_finite(int elem) { return elem == MX_E5M2 ? 0x47600000u : 0x43e00000u; }

/* The magnitude of an fp8 element from a finite magnitude of at most what the type holds. `least` has the exponent of
** its smallest normal number. 2^(e + 23 - mantissa bits) has 2^(e - mantissa bits) for its last bit, e being the
** value's exponent, or that of `least` where the value is smaller: the addition rounds to that many units. Their
** number, and for each exponent above the least as many units as a binade holds, are the element. */
MX_FN mx_u32 mx_fp8_round(int elem, mx_u32 a) {
  const mx_u32 shift = elem == MX_E5M2 ? 21u : 20u, least = (elem == MX_E5M2 ? 113u : 121u) << 23;
  mx_u32 e = a & 0x7f800000u;
  e = e < least ? least : e;
  return mx_mul_add(e, (127u + shift) << 23, a) - e + (e >> shift) - ((shift << 23) + (least >> shift));
}

MX_FN mx_u32 mx_fp8_encode(int elem, mx_u32 x) {
  mx_u32 a = x & 0x7fffffffu, sign = x >> 24 & 0x80u, most = mx_max_finite(elem);
  return a > MX_FP32_INF ? 0x7fu : sign | mx_fp8_round(elem, a < most ? a : most);
}

MX_FN mx_u32 mx_bf16_encode(mx_u32 x) {
  mx_u32 h = (x + 0x7fffu + (x >> 16 & 1u)) >> 16;
  return (x & 0x7fffffffu) > MX_FP32_INF ? 0x7fffu : h;
}

MX_FN mx_u32 mx_fp16_encode(mx_u32 x) {
  mx_u32 a = x & 0x7fffffffu, sign = x >> 16 & 0x8000u;
  mx_u32 normal = ((a + 0xfffu + (a >> 13 & 1u)) >> 13) - (112u << 10);
  mx_u32 tiny = mx_add(a, 0x3f000000u) - 0x3f000000u; /* ulp(2^-1) is 2^-24 */
  mx_u32 h = a < 0x38800000u ? tiny : normal;
  h = h > 0x7c00u ? 0x7c00u : h;
  return a > MX_FP32_INF ? 0x7fffu : sign | h;
}

MX_FN mx_u32 mx_fp32_encode(mx_u32 x) { return (x & 0x7fffffffu) > MX_FP32_INF ? MX_FP32_NAN : x; }

/* The element bits of a value, in the low bits of the result. */
MX_FN mx_u32 mx_encode(int elem, mx_u32 x) {
  if (elem == MX_E4M3 || elem == MX_E5M2) return mx_fp8_encode(elem, x);
  if (elem == MX_BF16) return mx_bf16_encode(x);
  if (elem == MX_FP16) return mx_fp16_encode(x);
  return mx_fp32_encode(x);
}

/* ---- scales ------------------------------------------------------------------------------------------------------ */

/* 2^(s - 127), a subnormal for 0, NaN for 255. No branches: 255 has the exponent bits of Inf, and one more is NaN. */
MX_FN mx_u32 mx_e8m0_decode(mx_u32 s) {
  mx_u32 bits = s << 23;
  return (bits < 0x00400000u ? 0x00400000u : bits) + ((s + 1u) >> 8);
}

/* 2^(127 - s), a subnormal for 254, NaN for 255 (here of -Inf). */
MX_FN mx_u32 mx_e8m0_reciprocal(mx_u32 s) {
  mx_u32 bits = (254u - s) << 23;
  return (bits < 0x00400000u ? 0x00400000u : bits) + ((s + 1u) >> 8);
}

/* What a value adds to its block's maximum: compare the results as integers. NaN > Inf > finite; ELEMENT drops NaN.
** Every NaN adds the same: a maximum may be stored, and a GPU's instructions give no other. */
MX_FN mx_u32 mx_magnitude(int nan, mx_u32 x) {
  mx_u32 a = x & 0x7fffffffu;
  return a <= MX_FP32_INF ? a : nan == MX_NAN_ELEMENT ? 0u : MX_FP32_NAN;
}

/* The scale byte of a block from the maximum of its magnitudes. */
MX_FN mx_u32 mx_scale_e8m0(int rule, int elem, int nan, mx_u32 u) {
  mx_u32 emax = elem == MX_E5M2 ? 15u : 8u;
  mx_u32 bump = rule == MX_RCEIL  ? 0x1fffffu
                : rule == MX_CEIL ? 0x7fffffu
                : rule == MX_EVEN ? (elem == MX_E5M2 ? 0x100000u : 0x80000u)
                                  : 0u;
  mx_u32 e = (u + bump) >> 23;
  mx_u32 s = e > emax ? e - emax : 0u;
  if (rule == MX_EVEN && e >= 255u) s = 255u;
  return u >= MX_FP32_INF ? (nan == MX_NAN_BLOCK ? 255u : 254u) : s;
}

/* The FP32 scale of a block or tensor from the maximum of its magnitudes. */
MX_FN mx_u32 mx_scale_fp32(int elem, int nan, mx_u32 u) {
  mx_u32 s = mx_div(u >= MX_FP32_INF ? MX_FP32_MAX : u, mx_max_finite(elem));
  s = s < 0x00800000u ? 0x00800000u : s;
  s = u == 0u ? MX_FP32_ONE : s;
  return u >= MX_FP32_INF && nan == MX_NAN_BLOCK ? MX_FP32_NAN : s;
}

MX_FN mx_u32 mx_fp32_reciprocal(mx_u32 scale) { return mx_div(MX_FP32_ONE, scale); }

/* The value of a stored scale: `scale` is enum mx_scale, `raw` the byte or the FP32 bits. Unscaled: 1. */
MX_FN mx_u32 mx_scale_decode(int scale, mx_u32 raw) {
  return scale == MX_SCALE_E8M0 ? mx_e8m0_decode(raw) : scale == MX_SCALE_FP32 ? raw : MX_FP32_ONE;
}

/* ---- both together ----------------------------------------------------------------------------------------------- */

/* One element from a value and its block's reciprocal scale. */
MX_FN mx_u32 mx_quantize(int elem, mx_u32 x, mx_u32 reciprocal) { return mx_encode(elem, mx_mul(x, reciprocal)); }

/* The FP32 value of one element and its block's scale value. */
MX_FN mx_u32 mx_dequantize(int elem, mx_u32 q, mx_u32 scale) { return mx_mul(mx_decode(elem, q), scale); }

#endif
