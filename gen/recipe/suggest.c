/* suggest.c -- see suggest.h. The distance itself is nearest.c's. */
#include "suggest.h"

#include "nearest.h"

#include <stdio.h>
#include <string.h>

mxg_suggest mxg_suggest_begin(const char *word) { return (mxg_suggest){.word = word}; }

void mxg_suggest_offer(mxg_suggest *suggest, const char *known) {
  size_t distance = mxg_edit_distance(suggest->word, known), bytes = strlen(suggest->word);
  size_t most = bytes / 3 > 1 ? bytes / 3 : 1;
  if (distance > most || (suggest->best && distance > suggest->distance)) return;
  if (suggest->best && distance == suggest->distance && strcmp(known, suggest->best) >= 0) return;
  suggest->best = known;
  suggest->distance = distance;
}

const char *mxg_suggest_text(const mxg_suggest *suggest, char *room, size_t bytes) {
  if (suggest->best)
    snprintf(room, bytes, " (did you mean '%.64s'?)", suggest->best);
  else
    room[0] = 0;
  return room;
}
