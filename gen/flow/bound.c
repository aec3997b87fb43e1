/* bound.c -- see bound.h for the derivation. Double holds every quantity here exactly, or far more closely than it
** matters. */
#include "bound.h"

#include <math.h>

typedef struct shape {
  int bits, smallest; /* p; log2 of half the smallest step */
  double max;
  int emax;
} shape;

static shape shape_of(unsigned elem) {
  switch ((enum mx_elem)elem) {
  case MX_E4M3: return (shape){4, -10, 448.0, 8};
  case MX_E5M2: return (shape){3, -17, 57344.0, 15};
  case MX_BF16: return (shape){8, -134, 0x1.fep127, 127};
  case MX_FP16: return (shape){11, -25, 65504.0, 15};
  case MX_FP32: break;
  }
  return (shape){24, -150, 0x1.fffffep127, 127};
}

double mxg_bound_scale(const mxg_encoding *encoding, double largest) {
  shape s = shape_of(encoding->elem);
  if (encoding->scale != MX_SCALE_E8M0) {
    if (largest <= 0) return 1.0;
    double scale = largest / s.max;
    return scale < 0x1p-126 ? 0x1p-126 : scale;
  }
  const double least = 0x1p-127;
  if (largest <= 0) return least;
  double power = mxg_power_below(largest), mantissa = largest / power;
  switch ((enum mx_rule)encoding->rule) {
  case MX_CEIL: power *= mantissa > 1.0 ? 2 : 1; break;
  case MX_RCEIL: power *= mantissa > 1.75 ? 2 : 1; break;
  case MX_EVEN: power *= mantissa >= 2.0 - ldexp(1.0, -s.bits) ? 2 : 1; break;
  case MX_FLOOR:
  case MX_RULE_NONE: break;
  }
  double scale = ldexp(power, -s.emax);
  if (scale < least) return least;
  return scale > 0x1p127 ? 0x1p127 : scale;
}

mxg_bound mxg_bound_of(const mxg_encoding *encoding, double largest, double former) {
  shape s = shape_of(encoding->elem);
  mxg_bound bound = {ldexp(1.0, -s.bits), ldexp(1.0, s.smallest), s.max, 0};
  if (encoding->scale == MX_SCALE_NONE) {
    bound.saturation = INFINITY; /* beyond it these overflow; mxg_bound_error is then asked for no number */
    return bound;
  }
  bound.smallest *= mxg_bound_scale(encoding, largest + former);
  bound.saturation *= mxg_bound_scale(encoding, largest > former ? largest - former : 0);
  if (encoding->scale == MX_SCALE_FP32) {
    bound.relative = bound.half_ulp + 0x1p-22;
    bound.half_ulp = 0;
    bound.saturation = INFINITY; /* A / max * max is A again, but for the rounding counted above */
  }
  return bound;
}
