/* place.c -- see place.h. A lexer for Lua's tokens and a few walks over balanced brackets; token 0 is never a
** result, so 0 stands for "none" (a placeholder token is put there). */
#include "place.h"

#include <string.h>

typedef struct lexer {
  const char *text, *end, *at;
  int line, column;
} lexer;

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c); }

static void step(lexer *l) {
  if (*l->at == '\n') {
    l->line++;
    l->column = 1;
  } else if (((unsigned char)*l->at & 0xc0) != 0x80) {
    l->column++;
  }
  l->at++;
}

static void steps(lexer *l, size_t count) {
  while (count-- && l->at < l->end) step(l);
}

/* At '[': the level of a long bracket, or -1. */
static int long_level(const lexer *l) {
  const char *p = l->at + 1;
  while (p < l->end && *p == '=') p++;
  return p < l->end && *p == '[' ? (int)(p - l->at - 1) : -1;
}

static void skip_long(lexer *l, int level) {
  steps(l, (size_t)level + 2);
  while (l->at < l->end) {
    if (*l->at == ']') {
      const char *p = l->at + 1;
      while (p < l->end && *p == '=') p++;
      if (p < l->end && *p == ']' && p - l->at - 1 == level) {
        steps(l, (size_t)level + 2);
        return;
      }
    }
    step(l);
  }
}

static void skip_blank(lexer *l) {
  while (l->at < l->end) {
    if (is_space(*l->at)) {
      step(l);
    } else if (l->end - l->at >= 2 && l->at[0] == '-' && l->at[1] == '-') {
      steps(l, 2);
      int level = l->at < l->end && *l->at == '[' ? long_level(l) : -1;
      if (level >= 0)
        skip_long(l, level);
      else
        while (l->at < l->end && *l->at != '\n') step(l);
    } else {
      return;
    }
  }
}

static mxg_token_kind skip_token(lexer *l) {
  char c = *l->at;
  if (is_digit(c) || (c == '.' && l->end - l->at > 1 && is_digit(l->at[1]))) {
    while (l->at < l->end && (is_name(*l->at) || *l->at == '.')) {
      bool exponent = strchr("eEpP", *l->at) != NULL;
      step(l);
      if (exponent && l->at < l->end && (*l->at == '+' || *l->at == '-')) step(l);
    }
    return MXG_TOKEN_NUMBER;
  }
  if (is_name(c)) {
    while (l->at < l->end && is_name(*l->at)) step(l);
    return MXG_TOKEN_NAME;
  }
  if (c == '"' || c == '\'') {
    step(l);
    while (l->at < l->end && *l->at != c && *l->at != '\n') steps(l, *l->at == '\\' ? 2 : 1);
    if (l->at < l->end && *l->at == c) step(l);
    return MXG_TOKEN_STRING;
  }
  int level = c == '[' ? long_level(l) : -1;
  if (level >= 0) {
    skip_long(l, level);
    return MXG_TOKEN_STRING;
  }
  static const char *const pairs[] = {"...", "==", "~=", "<=", ">=", "//", "::", "<<", ">>", ".."};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    size_t n = strlen(pairs[i]);
    if ((size_t)(l->end - l->at) >= n && memcmp(l->at, pairs[i], n) == 0) {
      steps(l, n);
      return MXG_TOKEN_OTHER;
    }
  }
  step(l);
  return strchr("({[", c) ? MXG_TOKEN_OPEN : strchr(")}]", c) ? MXG_TOKEN_CLOSE : MXG_TOKEN_OTHER;
}

/* Pairs the brackets: an open one's `match` is first its outer opener, so no stack is needed. */
static void match_brackets(mxg_places *places) {
  uint32_t open = 0;
  for (uint32_t i = 1; i <= places->count; i++) {
    mxg_token *t = &places->tokens[i];
    if (t->kind == MXG_TOKEN_OPEN) {
      t->match = open;
      open = i;
    } else if (t->kind == MXG_TOKEN_CLOSE && open) {
      uint32_t outer = places->tokens[open].match;
      places->tokens[open].match = i;
      t->match = open;
      open = outer;
    }
  }
  while (open) { /* never closed: not valid Lua, yet harmless here */
    uint32_t outer = places->tokens[open].match;
    places->tokens[open].match = 0;
    open = outer;
  }
}

bool mxg_places_build(mxg_places *places, const char *text, size_t bytes, mxg_arena *arena) {
  *places = (mxg_places){.text = text};
  for (int pass = 0; pass < 2; pass++) {
    lexer l = {text, text + bytes, text, 1, 1};
    uint32_t count = 0;
    for (skip_blank(&l); l.at < l.end; skip_blank(&l)) {
      mxg_token t = {.line = l.line, .column = l.column, .start = (uint32_t)(l.at - text)};
      t.kind = (uint8_t)skip_token(&l);
      t.bytes = (uint32_t)(l.at - text) - t.start;
      t.width = l.line == t.line ? l.column - t.column : 1;
      count++;
      if (pass) places->tokens[count] = t;
    }
    if (pass) break;
    places->count = count;
    places->tokens = mxg_arena_alloc(arena, (size_t)count + 2, sizeof *places->tokens);
    if (!places->tokens) return false;
    places->tokens[0].kind = MXG_TOKEN_OTHER;
    places->tokens[count + 1] = (mxg_token){.kind = MXG_TOKEN_END, .line = 1 << 30};
  }
  match_brackets(places);
  return true;
}

bool mxg_token_is(const mxg_places *places, uint32_t token, const char *text) {
  const mxg_token *t = &places->tokens[token];
  return t->bytes == strlen(text) && memcmp(places->text + t->start, text, t->bytes) == 0;
}

bool mxg_token_string(const mxg_places *places, uint32_t token, char *room, size_t bytes) {
  const mxg_token *t = &places->tokens[token];
  const char *p = places->text + t->start;
  if (t->kind != MXG_TOKEN_STRING || t->bytes < 2 || *p == '[' || t->bytes - 1 > bytes) return false;
  if (memchr(p, '\\', t->bytes)) return false;
  memcpy(room, p + 1, t->bytes - 2);
  room[t->bytes - 2] = 0;
  return true;
}

bool mxg_range_is_constructor(const mxg_places *places, mxg_range range) {
  return range.first && range.first <= range.last && mxg_token_is(places, range.first, "{") &&
         places->tokens[range.first].match == range.last;
}

static uint32_t first_on_line(const mxg_places *places, int line) {
  uint32_t low = 1, high = places->count + 1;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (places->tokens[middle].line < line)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* The line on which the expression that token `at` ends starts: a.b{...}:c(...) walks back to a. */
static int start_line(const mxg_places *places, uint32_t at) {
  for (;;) {
    const mxg_token *t = &places->tokens[at];
    if (t->kind == MXG_TOKEN_CLOSE || t->kind == MXG_TOKEN_STRING) {
      uint32_t open = t->kind == MXG_TOKEN_CLOSE ? t->match : at;
      if (open < 2) return t->line;
      const mxg_token *before = &places->tokens[open - 1];
      if (before->kind != MXG_TOKEN_NAME && before->kind != MXG_TOKEN_CLOSE) return places->tokens[open].line;
      at = open - 1;
    } else if (at > 2 && (mxg_token_is(places, at - 1, ".") || mxg_token_is(places, at - 1, ":"))) {
      at -= 2;
    } else {
      return t->line;
    }
  }
}

uint32_t mxg_place_call(const mxg_places *places, const char *name, int line, uint32_t after) {
  enum { farthest = 20000 }; /* a chain of calls starts on `line`; its later calls may be lines below */
  uint32_t i = first_on_line(places, line);
  uint32_t last = i + farthest < places->count ? i + farthest : places->count;
  if (i <= after) i = after + 1;
  for (; i < last; i++) {
    if (places->tokens[i].kind != MXG_TOKEN_NAME || !mxg_token_is(places, i, name)) continue;
    const mxg_token *opener = &places->tokens[i + 1];
    bool calls =
        opener->kind == MXG_TOKEN_STRING || mxg_token_is(places, i + 1, "(") || mxg_token_is(places, i + 1, "{");
    if (calls && (opener->line == line || start_line(places, i) == line)) return i + 1;
  }
  return 0;
}

/* Walks the comma separated list inside `opener`; the range of the next element, from *at on. false: no more. */
static bool next_element(const mxg_places *places, uint32_t close, uint32_t *at, mxg_range *element) {
  if (*at >= close) return false;
  uint32_t i = *at;
  for (int blocks = 0; i < close; i++) {
    const mxg_token *t = &places->tokens[i];
    if (t->kind == MXG_TOKEN_OPEN && t->match > i) {
      i = t->match;
    } else if (t->kind == MXG_TOKEN_NAME) {
      if (mxg_token_is(places, i, "function") || mxg_token_is(places, i, "do") || mxg_token_is(places, i, "if") ||
          mxg_token_is(places, i, "repeat"))
        blocks++;
      if (mxg_token_is(places, i, "end") || mxg_token_is(places, i, "until")) blocks--;
    } else if (blocks == 0 && (mxg_token_is(places, i, ",") || mxg_token_is(places, i, ";"))) {
      break;
    }
  }
  *element = (mxg_range){*at, i - 1};
  *at = i + 1;
  return true;
}

/* A key of a constructor's element: its token, or 0. *value: what follows the '='. */
static uint32_t key_of(const mxg_places *places, mxg_range element, mxg_range *value) {
  uint32_t f = element.first;
  if (element.last >= f + 2 && places->tokens[f].kind == MXG_TOKEN_NAME && mxg_token_is(places, f + 1, "=")) {
    *value = (mxg_range){f + 2, element.last};
    return f;
  }
  if (mxg_token_is(places, f, "[") && places->tokens[f].match > f) {
    uint32_t close = places->tokens[f].match;
    if (element.last >= close + 2 && mxg_token_is(places, close + 1, "=")) {
      *value = (mxg_range){close + 2, element.last};
      return f + 1;
    }
  }
  return 0;
}

mxg_range mxg_place_item(const mxg_places *places, uint32_t opener, uint32_t k) {
  const mxg_range none = {1, 0};
  if (opener == 0) return none;
  if (places->tokens[opener].kind == MXG_TOKEN_STRING) return k == 0 ? (mxg_range){opener, opener} : none;
  bool call = mxg_token_is(places, opener, "(");
  uint32_t at = opener + 1, close = places->tokens[opener].match;
  mxg_range element, value;
  uint32_t n = 0;
  while (next_element(places, close, &at, &element)) {
    if (!call && key_of(places, element, &value)) continue;
    if (n++ == k) return element;
  }
  return none;
}

uint32_t mxg_place_key(const mxg_places *places, uint32_t opener, const char *key, mxg_range *value) {
  char room[128];
  if (opener == 0) return 0;
  uint32_t at = opener + 1, close = places->tokens[opener].match;
  mxg_range element;
  while (next_element(places, close, &at, &element)) {
    uint32_t token = key_of(places, element, value);
    if (!token) continue;
    if (mxg_token_is(places, token, key)) return token;
    if (mxg_token_string(places, token, room, sizeof room) && strcmp(room, key) == 0) return token;
  }
  return 0;
}

uint32_t mxg_place_returned(const mxg_places *places) {
  for (uint32_t i = places->count; i > 0; i--) {
    if (!mxg_token_is(places, i, "return")) continue;
    if (mxg_token_is(places, i + 1, "{")) return i + 1;
    if (places->tokens[i + 1].kind != MXG_TOKEN_NAME) return 0;
    const mxg_token *name = &places->tokens[i + 1];
    for (uint32_t k = i; k > 0; k--) {
      if (places->tokens[k].bytes == name->bytes && places->tokens[k].kind == MXG_TOKEN_NAME &&
          memcmp(places->text + places->tokens[k].start, places->text + name->start, name->bytes) == 0 &&
          mxg_token_is(places, k + 1, "=") && mxg_token_is(places, k + 2, "{"))
        return k + 2;
    }
    return 0;
  }
  return 0;
}

uint32_t mxg_place_word(const mxg_places *places, int line, const char *word) {
  char room[256];
  for (uint32_t i = first_on_line(places, line); i <= places->count && places->tokens[i].line == line; i++) {
    if (mxg_token_is(places, i, word)) return i;
    if (mxg_token_string(places, i, room, sizeof room) && strcmp(room, word) == 0) return i;
  }
  return 0;
}
