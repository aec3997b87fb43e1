/* nearest.c -- see nearest.h. Optimal string alignment distance over three rows. */
#include "nearest.h"

#include <stdint.h>
#include <string.h>

enum { longest_word = 63 };

static unsigned char lower(char c) {
  unsigned char u = (unsigned char)c;
  return u >= 'A' && u <= 'Z' ? (unsigned char)(u + 32) : u;
}

static size_t min3(size_t a, size_t b, size_t c) {
  size_t m = a < b ? a : b;
  return m < c ? m : c;
}

size_t mxg_edit_distance(const char *a, const char *b) {
  size_t na = strlen(a), nb = strlen(b);
  if (na > longest_word || nb > longest_word) return SIZE_MAX;
  size_t rows[3][longest_word + 1];
  size_t *before = rows[0], *above = rows[1], *here = rows[2];
  for (size_t j = 0; j <= nb; j++) above[j] = j;
  for (size_t i = 1; i <= na; i++) {
    here[0] = i;
    for (size_t j = 1; j <= nb; j++) {
      size_t cost = lower(a[i - 1]) != lower(b[j - 1]);
      here[j] = min3(above[j] + 1, here[j - 1] + 1, above[j - 1] + cost);
      if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]) &&
          before[j - 2] + 1 < here[j])
        here[j] = before[j - 2] + 1;
    }
    size_t *spare = before;
    before = above;
    above = here;
    here = spare;
  }
  return above[nb];
}

const char *mxg_nearest(const char *word, const char *const *words, size_t count) {
  const char *best = NULL;
  size_t least = SIZE_MAX;
  for (size_t i = 0; i < count; i++) {
    size_t distance = mxg_edit_distance(word, words[i]);
    if (distance >= least) continue;
    size_t a = strlen(word), b = strlen(words[i]), longer = a > b ? a : b;
    if (distance > 3 || distance * 3 > longer) continue;
    least = distance;
    best = words[i];
  }
  return best;
}
