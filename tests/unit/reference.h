/* reference.h -- numbers for tests, from the formats' definitions in double arithmetic. Shares nothing with
** mx_convert.h but the names of element types and rules. */
#ifndef MXG_TESTS_REFERENCE_H
#define MXG_TESTS_REFERENCE_H

#include "mx_abi.h"

#include <math.h>
#include <stdint.h>

#define REFERENCE_FN static inline

typedef struct kind {
  int mantissa, bias, emin;
  double max;
  int has_inf;
  uint32_t nan, inf, sign;
} kind;

static const kind kinds[] = {
    [MX_E4M3] = {3, 7, -6, 448.0, 0, 0x7f, 0x7e, 0x80},
    [MX_E5M2] = {2, 15, -14, 57344.0, 0, 0x7f, 0x7b, 0x80}, /* an encoder that saturates never makes its Inf */
    [MX_BF16] = {7, 127, -126, 0x1.fep127, 1, 0x7fff, 0x7f80, 0x8000},
    [MX_FP16] = {10, 15, -14, 65504.0, 1, 0x7fff, 0x7c00, 0x8000},
    [MX_FP32] = {23, 127, -126, 0x1.fffffep127, 1, 0x7fffffff, 0x7f800000, 0x80000000u},
};

/* Nearest even, by definition: |v| in units of the last place of its binade. */
REFERENCE_FN uint32_t encode_reference(int elem, double v) {
  const kind *k = &kinds[elem];
  if (isnan(v)) return k->nan;
  uint32_t sign = signbit(v) ? k->sign : 0;
  v = fabs(v);
  if (v == 0) return sign;
  if (isinf(v)) return sign | k->inf;
  int e = 0;
  (void)frexp(v, &e);
  e -= 1; /* v = 1.xxx * 2^e */
  if (e < k->emin) e = k->emin;
  double units = ldexp(v, k->mantissa - e), low = floor(units), rest = units - low;
  if (rest > 0.5 || (rest == 0.5 && fmod(low, 2) != 0)) low += 1;
  if (ldexp(low, e - k->mantissa) > k->max) return sign | k->inf;
  double one = ldexp(1, k->mantissa); /* units of a normal number start here */
  if (low >= 2 * one) low /= 2, e += 1;
  if (low < one) return sign | (uint32_t)low;
  return sign | (((uint32_t)(e + k->bias) << k->mantissa) + (uint32_t)(low - one));
}

REFERENCE_FN double decode_reference(int elem, uint32_t bits) {
  const kind *k = &kinds[elem];
  double sign = bits & k->sign ? -1.0 : 1.0;
  uint32_t magnitude = bits & (k->sign - 1);
  uint32_t exponent = magnitude >> k->mantissa, mantissa = magnitude & ((1u << k->mantissa) - 1);
  if (elem == MX_E4M3) {
    if (magnitude == 0x7f) return (double)NAN;
  } else if (exponent == (k->sign - 1) >> k->mantissa) {
    return mantissa == 0 ? sign * (double)INFINITY : (double)NAN;
  }
  if (exponent == 0) return sign * ldexp(mantissa, k->emin - k->mantissa);
  return sign * ldexp((1u << k->mantissa) + mantissa, (int)exponent - k->bias - k->mantissa);
}

/* The same number, zero's sign included; NaN is one class. */
REFERENCE_FN int same(double a, double b) {
  if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
  return a == b && !signbit(a) == !signbit(b);
}

REFERENCE_FN double value_of(uint32_t fp32_bits) { return decode_reference(MX_FP32, fp32_bits); }
REFERENCE_FN uint32_t bits_of(double v) { return encode_reference(MX_FP32, v); }

/* From the definitions: powers of two around the largest magnitude, no bit formula. 300 stands for "overflow". */
REFERENCE_FN int scale_reference(int rule, int elem, double a) {
  int emax = elem == MX_E4M3 ? 8 : 15, e = 0;
  if (a == 0) return 0;
  double fraction = 2 * frexp(a, &e); /* a = fraction * 2^(e - 1), 1 <= fraction < 2 */
  int power = e - 1;
  /* A subnormal counts as exponent -127 whatever its leading zeros: the byte is 0 or at most 1 either way. */
  switch (rule) {
  case MX_FLOOR: break;
  case MX_CEIL: power += fraction > 1; break;
  case MX_RCEIL: power += fraction > 1.75; break; /* the least power with a <= 448 * 2^power, minus 8 */
  case MX_EVEN: power += fraction >= (elem == MX_E4M3 ? 1.9375 : 1.875); break;
  default: return -1;
  }
  if (rule == MX_EVEN && power > 127) return 300;
  int s = power - emax + 127;
  return s < 0 ? 0 : s;
}

/* The scale byte for a largest magnitude that may be NaN (none under policy ELEMENT) or Inf. */
REFERENCE_FN int block_scale_reference(int rule, int elem, int nan, double a) {
  if (isnan(a)) return 255;
  if (isinf(a)) return nan == MX_NAN_BLOCK ? 255 : 254;
  int s = scale_reference(rule, elem, a);
  return s == 300 ? 255 : s;
}

#endif
