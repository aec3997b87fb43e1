/* shim_ptx.h -- models of the instructions in templates/mx_ptx.cuh, written from their description in the PTX manual
** with double arithmetic, and from nothing of mx_convert.h: so that kernels run on a CPU by the very paths that a GPU
** takes, and its habits count, one NaN for all among them.
**
** Every double that these meet holds its value exactly. */
#ifndef SHIM_PTX_H
#define SHIM_PTX_H

#include <cmath>
#include <cstdint>
#include <cstring>

namespace shim_ptx {

static inline double of_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static inline unsigned bits_of(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return std::isnan(value) ? 0x7fffffffu : bits;
}

/* A narrow type: mantissa bits, exponent bits. */
struct type {
  int mantissa, exponent;
  bool has_inf;   /* the largest exponent holds Inf and NaN alone; else all ones is NaN and nothing else */
  bool saturates; /* .satfinite */
  unsigned nan;
};
static constexpr type e4m3 = {3, 4, false, true, 0x7f}, e5m2 = {2, 5, true, true, 0x7f};
static constexpr type bf16 = {7, 8, true, false, 0x7fff}, f16 = {10, 5, true, false, 0x7fff};

static inline int bias(const type &t) { return (1 << (t.exponent - 1)) - 1; }

static inline double widen(const type &t, unsigned bits) {
  const unsigned ones = (1u << t.exponent) - 1, exponent = bits >> t.mantissa & ones;
  const unsigned mantissa = bits & ((1u << t.mantissa) - 1);
  double value;
  if (exponent == ones && (t.has_inf || mantissa == (1u << t.mantissa) - 1))
    value = t.has_inf && !mantissa ? INFINITY : NAN;
  else if (exponent == 0)
    value = std::ldexp(mantissa, 1 - bias(t) - t.mantissa);
  else
    value = std::ldexp((1u << t.mantissa) + mantissa, (int)exponent - bias(t) - t.mantissa);
  return bits >> (t.mantissa + t.exponent) & 1 ? -value : value;
}

/* To nearest, ties to even. */
static inline unsigned narrow(const type &t, double value) {
  if (std::isnan(value)) return t.nan;
  const unsigned sign = (unsigned)std::signbit(value) << (t.mantissa + t.exponent);
  const unsigned inf = ((1u << t.exponent) - 1) << t.mantissa;
  const unsigned most = t.has_inf ? inf - 1 : inf + (1u << t.mantissa) - 2; /* the largest finite one */
  const double magnitude = std::fabs(value);
  int exponent = 1 - bias(t);
  if (magnitude > 0 && std::isfinite(magnitude) && std::ilogb(magnitude) > exponent) exponent = std::ilogb(magnitude);
  if (!std::isfinite(magnitude) || exponent > bias(t) + 1) return sign | (t.saturates ? most : inf);
  const double steps = std::nearbyint(std::ldexp(magnitude, t.mantissa - exponent));
  const unsigned bits = ((unsigned)(exponent + bias(t) - 1) << t.mantissa) + (unsigned)steps;
  return sign | (bits <= most ? bits : t.saturates ? most : inf);
}

static inline unsigned narrow_pair(const type &t, unsigned first, unsigned second) {
  return narrow(t, of_float(first)) | narrow(t, of_float(second)) << (1 + t.mantissa + t.exponent);
}

static inline unsigned widen_pair(const type &t, unsigned two) {
  return narrow(f16, widen(t, two & 0xff)) | narrow(f16, widen(t, two >> 8 & 0xff)) << 16;
}

/* .NaN: NaN when one is; otherwise the other one then, and NaN when both are. */
static inline double larger(bool nan, double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return nan || (std::isnan(a) && std::isnan(b)) ? NAN : std::isnan(a) ? b : a;
  if (a == b) return std::signbit(a) ? b : a; /* +0 is larger than -0 */
  return a > b ? a : b;
}

static inline unsigned larger_pair(const type &t, bool nan, unsigned a, unsigned b) {
  return narrow(t, larger(nan, widen(t, a & 0xffff), widen(t, b & 0xffff))) |
         narrow(t, larger(nan, widen(t, a >> 16), widen(t, b >> 16))) << 16;
}

/* A product of two halves is exact in double. */
static inline unsigned product_pair(const type &t, unsigned a, unsigned b) {
  return narrow(t, widen(t, a & 0xffff) * widen(t, b & 0xffff)) | narrow(t, widen(t, a >> 16) * widen(t, b >> 16))
                                                                      << 16;
}

static inline unsigned greater_pair(const type &t, unsigned a, unsigned b) {
  return (widen(t, a & 0xffff) > widen(t, b & 0xffff) ? 0xffffu : 0u) |
         (widen(t, a >> 16) > widen(t, b >> 16) ? 0xffff0000u : 0u);
}

static inline double smaller(bool nan, double a, double b) { return -larger(nan, -a, -b); }

static inline unsigned smaller_magnitude(bool nan, unsigned a, unsigned b) {
  return bits_of((float)smaller(nan, of_float(a), std::fabs(of_float(b))));
}

static inline unsigned larger_magnitude(bool nan, unsigned a, unsigned b) {
  return bits_of((float)larger(nan, of_float(a), std::fabs(of_float(b))));
}

} // namespace shim_ptx

static inline unsigned mx_cvt_f32_f16(unsigned half) {
  return shim_ptx::bits_of((float)shim_ptx::widen(shim_ptx::f16, half & 0xffff));
}

static inline unsigned mx_cvt_bf16x2_f32(unsigned a, unsigned b) { return shim_ptx::narrow_pair(shim_ptx::bf16, a, b); }
static inline unsigned mx_cvt_f16x2_f32(unsigned a, unsigned b) { return shim_ptx::narrow_pair(shim_ptx::f16, a, b); }
static inline unsigned mx_cvt_e4m3x2_f32(unsigned a, unsigned b) { return shim_ptx::narrow_pair(shim_ptx::e4m3, a, b); }
static inline unsigned mx_cvt_e5m2x2_f32(unsigned a, unsigned b) { return shim_ptx::narrow_pair(shim_ptx::e5m2, a, b); }
static inline unsigned mx_cvt_f16x2_e4m3x2(unsigned two) { return shim_ptx::widen_pair(shim_ptx::e4m3, two); }
static inline unsigned mx_cvt_f16x2_e5m2x2(unsigned two) { return shim_ptx::widen_pair(shim_ptx::e5m2, two); }
static inline unsigned mx_max_abs_f32(unsigned a, unsigned b) { return shim_ptx::larger_magnitude(false, a, b); }
static inline unsigned mx_max_nan_abs_f32(unsigned a, unsigned b) { return shim_ptx::larger_magnitude(true, a, b); }
static inline unsigned mx_min_abs_f32(unsigned a, unsigned b) { return shim_ptx::smaller_magnitude(false, a, b); }
static inline unsigned mx_min_nan_abs_f32(unsigned a, unsigned b) { return shim_ptx::smaller_magnitude(true, a, b); }
static inline unsigned mx_max_bf16x2(unsigned a, unsigned b) {
  return shim_ptx::larger_pair(shim_ptx::bf16, false, a, b);
}
static inline unsigned mx_max_nan_bf16x2(unsigned a, unsigned b) {
  return shim_ptx::larger_pair(shim_ptx::bf16, true, a, b);
}
static inline unsigned mx_max_f16x2(unsigned a, unsigned b) {
  return shim_ptx::larger_pair(shim_ptx::f16, false, a, b);
}
static inline unsigned mx_max_nan_f16x2(unsigned a, unsigned b) {
  return shim_ptx::larger_pair(shim_ptx::f16, true, a, b);
}

static inline unsigned mx_mul_f16x2(unsigned a, unsigned b) { return shim_ptx::product_pair(shim_ptx::f16, a, b); }
static inline unsigned mx_set_gt_f16x2(unsigned a, unsigned b) { return shim_ptx::greater_pair(shim_ptx::f16, a, b); }

#endif
