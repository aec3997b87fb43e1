/* suggest.c -- see suggest.h. Words longer than longest_word are never compared. */
#include "suggest.h"

#include <stdio.h>
#include <string.h>

enum { longest_word = 63 };

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

/* Optimal string alignment over three rows. */
static unsigned distance(const char *a, size_t a_count, const char *b, size_t b_count) {
  unsigned rows[3][longest_word + 1];
  unsigned *before = rows[0], *last = rows[1], *now = rows[2];
  for (size_t j = 0; j <= b_count; j++) last[j] = (unsigned)j;
  for (size_t i = 1; i <= a_count; i++) {
    now[0] = (unsigned)i;
    for (size_t j = 1; j <= b_count; j++) {
      unsigned cost = a[i - 1] != b[j - 1];
      unsigned d = least(least(last[j] + 1, now[j - 1] + 1), last[j - 1] + cost);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) d = least(d, before[j - 2] + 1);
      now[j] = d;
    }
    unsigned *free_row = before;
    before = last;
    last = now;
    now = free_row;
  }
  return last[b_count];
}

mxg_suggest mxg_suggest_begin(const char *word) { return (mxg_suggest){.word = word}; }

void mxg_suggest_offer(mxg_suggest *suggest, const char *known) {
  size_t a = strlen(suggest->word), b = strlen(known);
  if (a > longest_word || b > longest_word) return;
  unsigned d = distance(suggest->word, a, known, b);
  unsigned most = a / 3 > 1 ? (unsigned)(a / 3) : 1;
  if (d > most || (suggest->best && d >= suggest->distance)) return;
  suggest->best = known;
  suggest->distance = d;
}

const char *mxg_suggest_text(const mxg_suggest *suggest, char *room, unsigned bytes) {
  if (suggest->best)
    snprintf(room, bytes, " (did you mean '%s'?)", suggest->best);
  else
    room[0] = 0;
  return room;
}
