/* place.h -- finds columns: the tokens of a recipe's text, so that an error can point at a key, a value or a pattern.
** Lua itself knows only the line on which a call starts. Owns no policy: which call is meant is recipe.c's question. */
#ifndef MXG_PLACE_H
#define MXG_PLACE_H

#include "memory.h"

typedef enum mxg_token_kind {
  MXG_TOKEN_NAME,
  MXG_TOKEN_STRING,
  MXG_TOKEN_NUMBER,
  MXG_TOKEN_OPEN,
  MXG_TOKEN_CLOSE,
  MXG_TOKEN_OTHER,
  MXG_TOKEN_END
} mxg_token_kind;

typedef struct mxg_token {
  uint8_t kind;
  int line, column; /* 1-based; columns count characters, not bytes */
  int width;        /* characters on its first line */
  uint32_t start, bytes;
  uint32_t match; /* of a bracket: the other one's index; 0: none */
} mxg_token;

typedef struct mxg_places {
  const char *text;
  mxg_token *tokens; /* ends with MXG_TOKEN_END */
  uint32_t count;    /* without the end */
} mxg_places;

/* Tokens first to last, both included. none: first > last. */
typedef struct mxg_range {
  uint32_t first, last;
} mxg_range;

bool mxg_places_build(mxg_places *places, const char *text, size_t bytes, mxg_arena *arena); /* false: no memory */

/* The opener of the next call of `name` on `line` after token `after`: a '(', '{' or string. 0: there is none. */
uint32_t mxg_place_call(const mxg_places *places, const char *name, int line, uint32_t after);
/* The k-th argument (from 0) of the call, or the k-th positional item of a constructor. */
mxg_range mxg_place_item(const mxg_places *places, uint32_t opener, uint32_t k);
/* `key = value` (or ["key"] = value) directly inside the constructor: the key's token, the value's tokens. 0: not
 * there. */
uint32_t mxg_place_key(const mxg_places *places, uint32_t opener, const char *key, mxg_range *value);
/* The '{' that the last `return` of the file returns, directly or through a name. 0: not found. */
uint32_t mxg_place_returned(const mxg_places *places);
/* The first token on the line that is this name or operator, or a token that ends with it. 0: none. */
uint32_t mxg_place_word(const mxg_places *places, int line, const char *word);

bool mxg_token_is(const mxg_places *places, uint32_t token, const char *text);
bool mxg_range_is_constructor(const mxg_places *places, mxg_range range);
/* Copies a string token's value. false: it has escapes or does not fit, so its value is not known. */
bool mxg_token_string(const mxg_places *places, uint32_t token, char *room, size_t bytes);

#endif
