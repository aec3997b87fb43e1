/* mx_pairs.cuh -- two neighbouring elements converted at once: by the instructions that do so where an architecture has
** them, else by mx_convert.h, with the same bits (checked on a GPU by tests/gpu; NaN is one class while it is a value).
**
** A pair of 8- or 16-bit elements lies in the low bits of a word, the first one lowest. */
#ifndef MX_PAIRS_CUH
#define MX_PAIRS_CUH

#include "mx_ptx.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define MX_HAS_HALF_PAIRS 1
#else
#define MX_HAS_HALF_PAIRS 0
#endif

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
#define MX_HAS_FP8_PAIRS 1
#else
#define MX_HAS_FP8_PAIRS 0
#endif

/* Its compiler wants a few registers more for the same work. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
#define MX_HAS_BLACKWELL 1
#else
#define MX_HAS_BLACKWELL 0
#endif

struct mx_pair {
  mx_u32 first, second;
};

#if MX_HAS_HALF_PAIRS
MX_FN mx_pair mx_decode_halves(mx_u32 halves) {
  return {mx_cvt_f32_f16(halves & 0xffffu), mx_cvt_f32_f16(halves >> 16)};
}

/* Two fp8 elements as FP16, exactly. An E5M2 element is the upper byte of one. E4M3 has an exponent bit less, and its
** bias is 8 less: a multiplication by 2^8 makes that good, for subnormals too. */
template <mx_u32 ELEM> MX_FN mx_u32 mx_fp8_halves(mx_u32 two) {
#if MX_HAS_FP8_PAIRS
  return ELEM == MX_E4M3 ? mx_cvt_f16x2_e4m3x2(two) : mx_cvt_f16x2_e5m2x2(two);
#else
  const mx_u32 upper = (two << 8 & 0xff00u) | (two << 16 & 0xff000000u);
  if constexpr (ELEM == MX_E5M2) return upper;
  const mx_u32 magnitudes = (upper & 0x7f007f00u) >> 1, nan = mx_set_gt_f16x2(magnitudes, 0x3f003f00u);
  return mx_mul_f16x2(magnitudes | (upper & 0x80008000u), 0x5c005c00u) | nan;
#endif
}
#endif

/* The values of two elements. */
template <mx_u32 ELEM> MX_FN mx_pair mx_decode_pair(mx_u32 two) {
#if MX_HAS_HALF_PAIRS
  if constexpr (ELEM <= MX_E5M2) return mx_decode_halves(mx_fp8_halves<ELEM>(two));
  if constexpr (ELEM == MX_FP16) return mx_decode_halves(two);
#endif
  constexpr mx_u32 bits = ELEM <= MX_E5M2 ? 8 : 16, mask = (1u << bits) - 1;
  return {mx_decode(ELEM, two & mask), mx_decode(ELEM, two >> bits & mask)};
}

#if MX_HAS_HALF_PAIRS && !MX_HAS_FP8_PAIRS
/* The fp8 element of |x|. NaN is taken for what comes after the largest element, and so becomes the one after it. */
template <mx_u32 ELEM> MX_FN mx_u32 mx_fp8_magnitude(mx_u32 x) {
  constexpr mx_u32 after = ELEM == MX_E4M3 ? 0x43f00000u : 0x47e00000u;
  return mx_fp8_round(ELEM, mx_min_abs_f32(after, mx_min_nan_abs_f32(mx_max_finite(ELEM), x)));
}

/* Two fp8 elements of products: arithmetic's NaN is positive, as the elements' is. */
template <mx_u32 ELEM> MX_FN mx_u32 mx_fp8_pair(mx_pair products) {
  const mx_u32 two = mx_fp8_magnitude<ELEM>(products.first) + (mx_fp8_magnitude<ELEM>(products.second) << 8);
  return two | (__byte_perm(products.first, products.second, 0x4473) & 0x8080u);
}
#endif

/* Two elements from values; fp8 from products (mx_scaled). */
template <mx_u32 ELEM> MX_FN mx_u32 mx_encode_pair(mx_pair values) {
#if MX_HAS_FP8_PAIRS
  if constexpr (ELEM == MX_E4M3) return mx_cvt_e4m3x2_f32(values.first, values.second);
  if constexpr (ELEM == MX_E5M2) return mx_cvt_e5m2x2_f32(values.first, values.second);
#elif MX_HAS_HALF_PAIRS
  if constexpr (ELEM <= MX_E5M2) return mx_fp8_pair<ELEM>(values);
#endif
#if MX_HAS_HALF_PAIRS
  if constexpr (ELEM == MX_BF16) return mx_cvt_bf16x2_f32(values.first, values.second);
  if constexpr (ELEM == MX_FP16) return mx_cvt_f16x2_f32(values.first, values.second);
#endif
  constexpr mx_u32 bits = ELEM <= MX_E5M2 ? 8 : 16;
  return mx_encode(ELEM, values.first) | mx_encode(ELEM, values.second) << bits;
}

/* The larger of a magnitude and that of a value, as FP32 bits: what comparing mx_magnitude as integers gives. `largest`
** began as zero. */
MX_FN mx_u32 mx_larger(mx_u32 nan, mx_u32 largest, mx_u32 value) {
#if MX_HAS_HALF_PAIRS
  return nan == MX_NAN_BLOCK ? mx_max_nan_abs_f32(largest, value) : mx_max_abs_f32(largest, value);
#else
  const mx_u32 a = mx_magnitude((int)nan, value);
  return largest > a ? largest : a;
#endif
}

/* The magnitudes of two BF16 or FP16 elements that are larger: what mx_magnitude makes of the values, as element bits.
** `largest` began as zero. */
template <mx_u32 ELEM> MX_FN mx_u32 mx_larger_pair(mx_u32 nan, mx_u32 largest, mx_u32 two) {
  const mx_u32 magnitudes = two & 0x7fff7fffu;
#if MX_HAS_HALF_PAIRS
  if constexpr (ELEM == MX_BF16)
    return nan == MX_NAN_BLOCK ? mx_max_nan_bf16x2(largest, magnitudes) : mx_max_bf16x2(largest, magnitudes);
  return nan == MX_NAN_BLOCK ? mx_max_nan_f16x2(largest, magnitudes) : mx_max_f16x2(largest, magnitudes);
#else
  constexpr mx_u32 inf = ELEM == MX_BF16 ? 0x7f80u : 0x7c00u;
  mx_u32 first = magnitudes & 0xffffu, second = magnitudes >> 16;
  if (nan == MX_NAN_ELEMENT && first > inf) first = 0;
  if (nan == MX_NAN_ELEMENT && second > inf) second = 0;
  if (first < (largest & 0xffffu)) first = largest & 0xffffu;
  if (second < largest >> 16) second = largest >> 16;
  return first | second << 16;
#endif
}

#endif
