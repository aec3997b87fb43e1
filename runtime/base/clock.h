/* clock.h -- the one clock that deadlines and durations are taken from. */
#ifndef MXG_CLOCK_H
#define MXG_CLOCK_H

/* Seconds since some moment of this machine's past; never goes back. */
double mxg_now(void);

#endif
