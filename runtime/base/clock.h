/* clock.h -- the one clock that deadlines and durations are taken from, and what is said of several durations. */
#ifndef MXG_CLOCK_H
#define MXG_CLOCK_H

#include <stddef.h>

/* Seconds since some moment of this machine's past; never goes back. */
double mxg_now(void);

/* Sorts them, the least first, and returns the one in the middle. `count` is at least 1. */
double mxg_median(double *values, size_t count);

#endif
