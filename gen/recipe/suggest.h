/* suggest.h -- "did you mean" for words that come one by one and for messages; the distance is nearest.h's. */
#ifndef MXG_SUGGEST_H
#define MXG_SUGGEST_H

#include <stddef.h>

/* Begin with a word, offer the known words, then ask: `best` is the nearest one within max(1, length / 3) edits,
** of equals the first in the alphabet (in whatever order they were offered), or NULL. Offered strings are borrowed. */
typedef struct mxg_suggest {
  const char *word, *best;
  size_t distance;
} mxg_suggest;

mxg_suggest mxg_suggest_begin(const char *word);
void mxg_suggest_offer(mxg_suggest *suggest, const char *known);
/* " (did you mean 'block'?)" or "". The text lives in `room`, which it returns. */
const char *mxg_suggest_text(const mxg_suggest *suggest, char *room, size_t bytes);

#endif
