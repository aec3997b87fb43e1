/* bound.h -- how far a stored value may be from the value it stands for, derived from the format alone.
**
** Rounding to nearest with p significant bits errs by at most half a unit in the last place: 2^(e - p) for a value
** in [2^e, 2^(e+1)), and never less than half the smallest step. p: E4M3 4, E5M2 3, BF16 8, FP16 11, FP32 24; half
** the smallest step: 2^-10, 2^-17, 2^-134, 2^-25, 2^-150. Under a scale s an element stands for q * s, so for |y| in
** [2^e, 2^(e+1)) the error is at most 2^(e - p), and at least allowed s * (half the smallest step). Beyond max * s
** (max = 448, 57344) elements saturate: the error is then |y| - max * s. The scale follows from the block's largest
** magnitude A by the rule of the recipe: with 2^a <= A < 2^(a+1) and emax = 8 or 15
**   floor  2^(a - emax)            saturates when A > 1.75 * 2^a
**   rceil  2^(a - emax), or twice that when A > 1.75 * 2^a: the smallest power of two with A <= max * s
**   ceil   the smallest power of two >= A, over 2^emax
**   even   floor of A rounded to the element's precision, so it saturates when 1.75 * 2^a < A < (2 - 2^-p) * 2^a
** never below 2^-127. An FP32 scale is A / max rounded, never below 2^-126, 1 for A = 0; it is no power of two, so
** the steps of q are not those of y and rounding errs by at most 2^-p |y|; quotient, product and scale are each
** rounded to FP32, which adds at most 2^-22 |y|. A value that a former stage has already moved by d is some y with
** |y - x| <= d: the bounds are taken at |x| + d, with scales from A + D for rounding and from A - D for saturation,
** D the block's largest d, and add up. */
#ifndef MXG_BOUND_H
#define MXG_BOUND_H

#include "plan.h"

#include <string.h>

/* The scale for a block whose largest magnitude is A. */
double mxg_bound_scale(const mxg_encoding *encoding, double largest);

/* What one stage needs to know of a block: from the largest magnitude and the largest error of former stages in it. */
typedef struct mxg_bound {
  double half_ulp;   /* 2^-p */
  double smallest;   /* half the smallest step, times the largest scale possible */
  double saturation; /* max * the smallest scale possible */
  double relative;   /* extra, of FP32 scales */
} mxg_bound;

mxg_bound mxg_bound_of(const mxg_encoding *encoding, double largest, double former);

/* The largest power of two <= y; 0 for 0. Doubles that come from FP32 are never subnormal. */
static inline double mxg_power_below(double y) {
  uint64_t bits;
  memcpy(&bits, &y, sizeof bits);
  bits &= 0x7ff0000000000000u;
  memcpy(&y, &bits, sizeof y);
  return y;
}

/* The error of this stage and the former ones for an element of magnitude `x` that they have moved by at most `d`.
** Inline: called for every element. */
static inline double mxg_bound_error(const mxg_bound *bound, double x, double d) {
  double y = x + d, rounding = mxg_power_below(y) * bound->half_ulp, over = y - bound->saturation;
  rounding = rounding < bound->smallest ? bound->smallest : rounding;
  rounding = over > rounding ? over : rounding;
  return d + rounding + y * bound->relative;
}

#endif
