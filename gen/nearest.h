/* nearest.h -- "did you mean": the known word that is nearest to a wrong one. Owns the distance; no I/O, no memory. */
#ifndef MXG_NEAREST_H
#define MXG_NEAREST_H

#include <stddef.h>

/* Edits (insert, delete, replace, swap of neighbours) from one word to the other, ASCII case ignored; words longer than
** 63 bytes count as far away. */
size_t mxg_edit_distance(const char *a, const char *b);

/* The nearest of `count` words, the first of equals; NULL when none is near enough to be what was meant: more than a
** third of the longer word's characters, or more than 3, differ. */
const char *mxg_nearest(const char *word, const char *const *words, size_t count);

#endif
