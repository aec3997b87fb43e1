/* json.c -- see json.h. */
#include "json.h"

#include <string.h>

enum { depth_most = 64 };

static bool fault(mxg_json *json, const char *why) {
  json->why = why;
  return false;
}

/* Length of the UTF-8 sequence at `at`, 0 when it is not one. */
static size_t utf8_length(const char *at, const char *end) {
  const unsigned char *u = (const unsigned char *)at;
  size_t left = (size_t)(end - at);
  if (left == 0) return 0;
  if (u[0] < 0x80) return 1;
  size_t count = u[0] >= 0xc2 && u[0] <= 0xdf   ? 2
                 : u[0] >= 0xe0 && u[0] <= 0xef ? 3
                 : u[0] >= 0xf0 && u[0] <= 0xf4 ? 4
                                                : 0;
  if (count == 0 || left < count) return 0;
  for (size_t i = 1; i < count; i++)
    if ((u[i] & 0xc0) != 0x80) return 0;
  if (u[0] == 0xe0 && u[1] < 0xa0) return 0; /* overlong */
  if (u[0] == 0xed && u[1] > 0x9f) return 0; /* surrogates */
  if (u[0] == 0xf0 && u[1] < 0x90) return 0; /* overlong */
  if (u[0] == 0xf4 && u[1] > 0x8f) return 0; /* above U+10FFFF */
  return count;
}

bool mxg_utf8_valid(const char *bytes, size_t count) {
  const char *end = bytes + count;
  while (bytes < end) {
    size_t step = utf8_length(bytes, end);
    if (step == 0) return false;
    bytes += step;
  }
  return true;
}

void mxg_json_begin(mxg_json *json, char *bytes, size_t count) {
  *json = (mxg_json){.begin = bytes, .at = bytes, .end = bytes + count};
}

char mxg_json_peek(mxg_json *json) {
  while (json->at < json->end && (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r'))
    json->at++;
  return (char)(json->at < json->end ? *json->at : 0);
}

bool mxg_json_expect(mxg_json *json, char c) {
  if (mxg_json_peek(json) == c && json->at < json->end) {
    json->at++;
    return true;
  }
  switch (c) {
  case '{': return fault(json, "an object must stand here");
  case '[': return fault(json, "a list must stand here");
  case ':': return fault(json, "a colon must stand here");
  default: return fault(json, "a comma or a closing bracket must stand here");
  }
}

static bool hex4(mxg_json *json, const char *at, unsigned *out) {
  unsigned value = 0;
  if (json->end - at < 4) return fault(json, "an escape is cut short");
  for (int i = 0; i < 4; i++) {
    char c = at[i];
    unsigned digit;
    if (c >= '0' && c <= '9')
      digit = (unsigned)(c - '0');
    else if (c >= 'a' && c <= 'f')
      digit = (unsigned)(c - 'a') + 10;
    else if (c >= 'A' && c <= 'F')
      digit = (unsigned)(c - 'A') + 10;
    else
      return fault(json, "an escape has a digit that is not hexadecimal");
    value = value * 16 + digit;
  }
  *out = value;
  return true;
}

static char *utf8_put(char *to, unsigned u) {
  if (u < 0x80) {
    *to++ = (char)u;
  } else if (u < 0x800) {
    *to++ = (char)(0xc0 | u >> 6);
    *to++ = (char)(0x80 | (u & 63));
  } else if (u < 0x10000) {
    *to++ = (char)(0xe0 | u >> 12);
    *to++ = (char)(0x80 | (u >> 6 & 63));
    *to++ = (char)(0x80 | (u & 63));
  } else {
    *to++ = (char)(0xf0 | u >> 18);
    *to++ = (char)(0x80 | (u >> 12 & 63));
    *to++ = (char)(0x80 | (u >> 6 & 63));
    *to++ = (char)(0x80 | (u & 63));
  }
  return to;
}

/* `from` stands behind the backslash. An escape is never shorter than what it stands for, so decoding in place works.
 */
static bool unescape(mxg_json *json, char **from, char **to) {
  char *at = *from;
  if (at == json->end) return fault(json, "a string is not closed");
  unsigned u = 0, low = 0;
  char c = *at++;
  switch (c) {
  case '"':
  case '\\':
  case '/': u = (unsigned char)c; break;
  case 'b': u = '\b'; break;
  case 'f': u = '\f'; break;
  case 'n': u = '\n'; break;
  case 'r': u = '\r'; break;
  case 't': u = '\t'; break;
  case 'u':
    if (!hex4(json, at, &u)) return false;
    at += 4;
    if (u == 0) return fault(json, "a string holds a NUL");
    if (u >= 0xdc00 && u <= 0xdfff) return fault(json, "half a surrogate pair");
    if (u >= 0xd800 && u <= 0xdbff) {
      if (json->end - at < 6 || at[0] != '\\' || at[1] != 'u') return fault(json, "half a surrogate pair");
      if (!hex4(json, at + 2, &low)) return false;
      if (low < 0xdc00 || low > 0xdfff) return fault(json, "half a surrogate pair");
      u = 0x10000 + ((u & 0x3ff) << 10 | (low & 0x3ff));
      at += 6;
    }
    break;
  default: return fault(json, "an escape that JSON does not know");
  }
  *to = utf8_put(*to, u);
  *from = at;
  return true;
}

bool mxg_json_string(mxg_json *json, const char **out) {
  if (mxg_json_peek(json) != '"') return fault(json, "a string must stand here");
  char *from = json->at + 1, *to = from, *start = from;
  for (;;) {
    if (from == json->end) return fault(json, "a string is not closed");
    unsigned char u = (unsigned char)*from;
    if (u == '"') break;
    if (u < 0x20) {
      json->at = from;
      return fault(json, "a control character inside a string");
    }
    if (u == '\\') {
      json->at = from++;
      if (!unescape(json, &from, &to)) return false;
    } else if (u < 0x80) {
      *to++ = *from++;
    } else {
      size_t step = utf8_length(from, json->end);
      if (step == 0) {
        json->at = from;
        return fault(json, "bytes that are not UTF-8");
      }
      memmove(to, from, step);
      to += step;
      from += step;
    }
  }
  json->at = from + 1;
  *to = 0;
  *out = start;
  return true;
}

bool mxg_json_u64(mxg_json *json, uint64_t *out) {
  char c = mxg_json_peek(json);
  if (c < '0' || c > '9') return fault(json, "a whole number that is not negative must stand here");
  char *at = json->at;
  uint64_t value = 0;
  if (*at == '0' && at + 1 < json->end && at[1] >= '0' && at[1] <= '9')
    return fault(json, "a number with a leading zero");
  for (; at < json->end && *at >= '0' && *at <= '9'; at++) {
    uint64_t digit = (uint64_t)(*at - '0');
    if (value > (UINT64_MAX - digit) / 10) return fault(json, "a number above 2^64-1");
    value = value * 10 + digit;
  }
  if (at < json->end && (*at == '.' || *at == 'e' || *at == 'E')) return fault(json, "a number that is not whole");
  json->at = at;
  *out = value;
  return true;
}

static bool word(mxg_json *json, const char *text) {
  size_t count = strlen(text);
  mxg_json_peek(json);
  if ((size_t)(json->end - json->at) < count || memcmp(json->at, text, count) != 0) return false;
  json->at += count;
  return true;
}

bool mxg_json_null(mxg_json *json) { return word(json, "null"); }

static bool digits(mxg_json *json) {
  char *start = json->at;
  while (json->at < json->end && *json->at >= '0' && *json->at <= '9') json->at++;
  return json->at > start || fault(json, "a digit must stand here");
}

static bool skip_number(mxg_json *json) {
  if (*json->at == '-') json->at++;
  if (json->end - json->at >= 2 && json->at[0] == '0' && json->at[1] >= '0' && json->at[1] <= '9')
    return fault(json, "a number with a leading zero");
  if (!digits(json)) return false;
  if (json->at < json->end && *json->at == '.') {
    json->at++;
    if (!digits(json)) return false;
  }
  if (json->at < json->end && (*json->at == 'e' || *json->at == 'E')) {
    json->at++;
    if (json->at < json->end && (*json->at == '+' || *json->at == '-')) json->at++;
    if (!digits(json)) return false;
  }
  return true;
}

static bool skip(mxg_json *json, unsigned depth) {
  if (depth == depth_most) return fault(json, "nested more than 64 deep");
  bool first = true, more;
  const char *text;
  char c = mxg_json_peek(json);
  switch (c) {
  case '{':
  case '[':
    json->at++;
    for (;;) {
      if (!mxg_json_next(json, &first, c == '{' ? '}' : ']', &more)) return false;
      if (!more) return true;
      if (c == '{' && !mxg_json_key(json, &text)) return false;
      if (!skip(json, depth + 1)) return false;
    }
  case '"': return mxg_json_string(json, &text);
  case 't': return word(json, "true") || fault(json, "a value must stand here");
  case 'f': return word(json, "false") || fault(json, "a value must stand here");
  case 'n': return word(json, "null") || fault(json, "a value must stand here");
  default:
    if (c == '-' || (c >= '0' && c <= '9')) return skip_number(json);
    return fault(json, "a value must stand here");
  }
}

bool mxg_json_skip(mxg_json *json) { return skip(json, 0); }

bool mxg_json_next(mxg_json *json, bool *first, char close, bool *more) {
  *more = false;
  if (mxg_json_peek(json) == close && json->at < json->end) {
    json->at++;
    return true;
  }
  if (!*first && !mxg_json_expect(json, ',')) return false;
  *first = false;
  *more = true;
  return true;
}

bool mxg_json_key(mxg_json *json, const char **out) {
  if (mxg_json_peek(json) != '"') return fault(json, "a key must stand here");
  return mxg_json_string(json, out) && mxg_json_expect(json, ':');
}

bool mxg_json_end(mxg_json *json) {
  mxg_json_peek(json);
  return json->at == json->end || fault(json, "something follows the end of the object");
}

void mxg_json_place(const mxg_json *json, int *line, int *column) {
  int lines = 1, columns = 1;
  for (const char *at = json->begin; at < json->at; at++) {
    if (*at == '\n') {
      lines += lines < INT32_MAX;
      columns = 1;
    } else {
      columns += columns < INT32_MAX;
    }
  }
  *line = lines;
  *column = columns;
}
