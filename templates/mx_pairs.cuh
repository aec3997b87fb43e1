/* mx_pairs.cuh -- two neighbouring elements converted at once: by the instructions that do so where an architecture has
** them, else by mx_convert.h, with the same bits (checked on a GPU by tests/gpu; NaN is one class while it is a value).
**
** A pair of 8- or 16-bit elements lies in the low bits of a word, the first one lowest. */
#ifndef MX_PAIRS_CUH
#define MX_PAIRS_CUH

#include "mx_convert.h"

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
  float first, second;
  asm("{\n\t.reg .b16 low, high;\n\tmov.b32 {low, high}, %2;\n\tcvt.f32.f16 %0, low;\n\tcvt.f32.f16 %1, high;\n\t}"
      : "=f"(first), "=f"(second)
      : "r"(halves));
  return {mx_bits(first), mx_bits(second)};
}
#endif

/* The values of two elements. */
template <mx_u32 ELEM> MX_FN mx_pair mx_decode_pair(mx_u32 two) {
#if MX_HAS_FP8_PAIRS
  if constexpr (ELEM == MX_E4M3 || ELEM == MX_E5M2) {
    mx_u32 halves;
    if constexpr (ELEM == MX_E4M3)
      asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"((mx_u16)two));
    else
      asm("cvt.rn.f16x2.e5m2x2 %0, %1;" : "=r"(halves) : "h"((mx_u16)two));
    return mx_decode_halves(halves);
  }
#endif
#if MX_HAS_HALF_PAIRS
  if constexpr (ELEM == MX_FP16) return mx_decode_halves(two);
#endif
  constexpr mx_u32 bits = ELEM <= MX_E5M2 ? 8 : 16, mask = (1u << bits) - 1;
  return {mx_decode(ELEM, two & mask), mx_decode(ELEM, two >> bits & mask)};
}

/* Two elements from values. */
template <mx_u32 ELEM> MX_FN mx_u32 mx_encode_pair(mx_pair values) {
#if MX_HAS_FP8_PAIRS
  if constexpr (ELEM == MX_E4M3 || ELEM == MX_E5M2) {
    mx_u16 two;
    if constexpr (ELEM == MX_E4M3)
      asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
          : "=h"(two)
          : "f"(mx_float(values.second)), "f"(mx_float(values.first)));
    else
      asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;"
          : "=h"(two)
          : "f"(mx_float(values.second)), "f"(mx_float(values.first)));
    return two;
  }
#endif
#if MX_HAS_HALF_PAIRS
  if constexpr (ELEM == MX_BF16 || ELEM == MX_FP16) {
    mx_u32 two;
    if constexpr (ELEM == MX_BF16)
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(two) : "f"(mx_float(values.second)), "f"(mx_float(values.first)));
    else
      asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(two) : "f"(mx_float(values.second)), "f"(mx_float(values.first)));
    return two;
  }
#endif
  constexpr mx_u32 bits = ELEM <= MX_E5M2 ? 8 : 16;
  return mx_encode(ELEM, values.first) | mx_encode(ELEM, values.second) << bits;
}

/* The larger of a magnitude and that of a value, as FP32 bits: what comparing mx_magnitude as integers gives. `largest`
** began as zero. */
MX_FN mx_u32 mx_larger(mx_u32 nan, mx_u32 largest, mx_u32 value) {
#if MX_HAS_HALF_PAIRS
  float larger;
  if (nan == MX_NAN_BLOCK)
    asm("{\n\t.reg .f32 a;\n\tabs.f32 a, %2;\n\tmax.NaN.f32 %0, %1, a;\n\t}"
        : "=f"(larger)
        : "f"(mx_float(largest)), "f"(mx_float(value)));
  else
    asm("{\n\t.reg .f32 a;\n\tabs.f32 a, %2;\n\tmax.f32 %0, %1, a;\n\t}"
        : "=f"(larger)
        : "f"(mx_float(largest)), "f"(mx_float(value)));
  return mx_bits(larger);
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
  mx_u32 larger;
  if constexpr (ELEM == MX_BF16) {
    if (nan == MX_NAN_BLOCK)
      asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(larger) : "r"(largest), "r"(magnitudes));
    else
      asm("max.bf16x2 %0, %1, %2;" : "=r"(larger) : "r"(largest), "r"(magnitudes));
  } else {
    if (nan == MX_NAN_BLOCK)
      asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(larger) : "r"(largest), "r"(magnitudes));
    else
      asm("max.f16x2 %0, %1, %2;" : "=r"(larger) : "r"(largest), "r"(magnitudes));
  }
  return larger;
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
