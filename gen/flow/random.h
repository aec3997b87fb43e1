/* random.h -- the values of `--random SEED`: weights that exercise quantisation, the same on every machine, for any
** number of threads, in any order. A value depends on seed, name of the array, and place in it; nothing is kept. */
#ifndef MXG_RANDOM_H
#define MXG_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

/* One array of `cols` columns (a stack of matrices counts its rows through). */
typedef struct mxg_random {
  uint64_t key, cols;
} mxg_random;

mxg_random mxg_random_begin(uint64_t seed, const char *name, uint64_t cols);

/* BF16 bits of elements [col, col + count) of a row. Bell-shaped around zero, of both signs; the magnitude changes from
** row to row and from 32 columns to the next by powers of two, so that neighbouring blocks have different scales; about
** one element in 250 is +0 or -0, about one run of 32 in 100 is all zero, and the second run of row 0 always is. */
void mxg_random_row(uint16_t *out, const mxg_random *random, uint64_t row, uint64_t col, uint64_t count);

#endif
