/* mx_ptx.cuh -- single PTX instructions that C++ has no word for, each a function named after it. Nothing but asm here:
** tests/emulate has the same functions as models of the instructions, so that the paths which use them run on a CPU.
**
** Two elements lie in the low bits of a word, the first one lowest. FP32 is passed as its bits. */
#ifndef MX_PTX_CUH
#define MX_PTX_CUH

#include "mx_convert.h"

#if defined(__CUDACC__)

/* ---- all --------------------------------------------------------------------------------------------------------- */

/* Waits until what the stream has before this kernel is done and can be read, where the launch let it begin earlier; on
** chips that do not begin earlier, nothing. */
MX_FN void mx_griddepcontrol_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* ---- sm_80 and later --------------------------------------------------------------------------------------------- */

MX_FN mx_u32 mx_cvt_f32_f16(mx_u32 half) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"((mx_u16)half));
  return mx_bits(value);
}

#define MX_PTX_NARROW(name, instruction, type, letter)                                           \
  MX_FN mx_u32 name(mx_u32 first, mx_u32 second) {                                               \
    type two;                                                                                    \
    asm(instruction " %0, %1, %2;" : letter(two) : "f"(mx_float(second)), "f"(mx_float(first))); \
    return two;                                                                                  \
  }
MX_PTX_NARROW(mx_cvt_bf16x2_f32, "cvt.rn.bf16x2.f32", mx_u32, "=r")
MX_PTX_NARROW(mx_cvt_f16x2_f32, "cvt.rn.f16x2.f32", mx_u32, "=r")

/* The larger, or the smaller, of a and the magnitude of b. Where b is NaN: by the .NaN forms NaN, else a. */
#define MX_PTX_MAGNITUDE(name, instruction)                                      \
  MX_FN mx_u32 name(mx_u32 a, mx_u32 b) {                                        \
    float one;                                                                   \
    asm("{\n\t.reg .f32 x;\n\tabs.f32 x, %2;\n\t" instruction " %0, %1, x;\n\t}" \
        : "=f"(one)                                                              \
        : "f"(mx_float(a)), "f"(mx_float(b)));                                   \
    return mx_bits(one);                                                         \
  }
MX_PTX_MAGNITUDE(mx_max_abs_f32, "max.f32")
MX_PTX_MAGNITUDE(mx_max_nan_abs_f32, "max.NaN.f32")
MX_PTX_MAGNITUDE(mx_min_nan_abs_f32, "min.NaN.f32")
MX_PTX_MAGNITUDE(mx_min_abs_f32, "min.f32")

#define MX_PTX_PAIRS(name, instruction)                           \
  MX_FN mx_u32 name(mx_u32 a, mx_u32 b) {                         \
    mx_u32 two;                                                   \
    asm(instruction " %0, %1, %2;" : "=r"(two) : "r"(a), "r"(b)); \
    return two;                                                   \
  }
MX_PTX_PAIRS(mx_max_bf16x2, "max.bf16x2")
MX_PTX_PAIRS(mx_max_nan_bf16x2, "max.NaN.bf16x2")
MX_PTX_PAIRS(mx_max_f16x2, "max.f16x2")
MX_PTX_PAIRS(mx_max_nan_f16x2, "max.NaN.f16x2")
MX_PTX_PAIRS(mx_mul_f16x2, "mul.rn.f16x2")
MX_PTX_PAIRS(mx_set_gt_f16x2, "set.gt.u32.f16x2") /* a half of ones where a is the larger, else zeros */

/* ---- sm_89 and later --------------------------------------------------------------------------------------------- */

#define MX_PTX_WIDEN(name, instruction)                            \
  MX_FN mx_u32 name(mx_u32 two) {                                  \
    mx_u32 halves;                                                 \
    asm(instruction " %0, %1;" : "=r"(halves) : "h"((mx_u16)two)); \
    return halves;                                                 \
  }
MX_PTX_WIDEN(mx_cvt_f16x2_e4m3x2, "cvt.rn.f16x2.e4m3x2")
MX_PTX_WIDEN(mx_cvt_f16x2_e5m2x2, "cvt.rn.f16x2.e5m2x2")

MX_PTX_NARROW(mx_cvt_e4m3x2_f32, "cvt.rn.satfinite.e4m3x2.f32", mx_u16, "=h")
MX_PTX_NARROW(mx_cvt_e5m2x2_f32, "cvt.rn.satfinite.e5m2x2.f32", mx_u16, "=h")

#endif

#endif
