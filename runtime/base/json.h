/* json.h -- a strict pull reader of JSON (RFC 8259), for headers and indexes that come from outside.
**
** It builds no values: the caller says what must come next, so a hostile file costs no more memory than its own bytes
** and nothing it nests can surprise. Strings are decoded in place. Owns grammar and UTF-8; what the values mean, and
** that a key does not come twice, is the caller's. */
#ifndef MXG_JSON_H
#define MXG_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every function returns false after a fault; `why` then says what, at `at`. Faults are sticky only by convention. */
typedef struct mxg_json {
  char *begin, *at, *end; /* the bytes are written to: a string is decoded and terminated where it stands */
  const char *why;        /* NULL, or what was wrong: "a string is not closed" */
} mxg_json;

void mxg_json_begin(mxg_json *json, char *bytes, size_t count);
/* The next character that is no space, not consumed; 0 at the end. */
char mxg_json_peek(mxg_json *json);
/* Consumes `c` (skipping spaces), or a fault. */
bool mxg_json_expect(mxg_json *json, char c);
/* One string, decoded, NUL-terminated, valid UTF-8. A NUL inside it is a fault. */
bool mxg_json_string(mxg_json *json, const char **out);
/* One integer 0 .. 2^64-1 in plain digits: no sign, fraction or exponent. */
bool mxg_json_u64(mxg_json *json, uint64_t *out);
/* Consumes `null`, or false without a fault when something else stands there. */
bool mxg_json_null(mxg_json *json);
/* Any value, 64 levels deep at most. */
bool mxg_json_skip(mxg_json *json);
/* Inside an object or array that `open` began: *more tells whether another member follows; consumes comma or close. */
bool mxg_json_next(mxg_json *json, bool *first, char close, bool *more);
/* A key and its colon. */
bool mxg_json_key(mxg_json *json, const char **out);
/* Nothing but spaces is left, or a fault. */
bool mxg_json_end(mxg_json *json);
/* Where `at` stands, both from 1; for diagnostics. */
void mxg_json_place(const mxg_json *json, int *line, int *column);

/* Strict UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. `count` bytes. */
bool mxg_utf8_valid(const char *bytes, size_t count);

#endif
