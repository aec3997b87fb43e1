/* text.c -- see text.h. */
#include "text.h"

#include "memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static char *reserve(mxg_text *text, size_t more) {
  if (text->failed) return NULL;
  if (more > SIZE_MAX / 4 || text->count + more + 1 > text->capacity) {
    size_t wider = text->capacity ? text->capacity : 256;
    while (more <= SIZE_MAX / 4 && wider < text->count + more + 1) wider *= 2;
    char *grown = more > SIZE_MAX / 4 ? NULL : mxg_resize(text->bytes, wider);
    if (!grown) {
      text->failed = true;
      return NULL;
    }
    text->bytes = grown;
    text->capacity = wider;
  }
  return text->bytes + text->count;
}

void mxg_text_add(mxg_text *text, const char *bytes, size_t count) {
  char *at = reserve(text, count);
  if (!at) return;
  if (count) memcpy(at, bytes, count);
  at[count] = 0;
  text->count += count;
}

void mxg_text_puts(mxg_text *text, const char *string) { mxg_text_add(text, string, strlen(string)); }

void mxg_text_format(mxg_text *text, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  char *at = n < 0 ? NULL : reserve(text, (size_t)n);
  if (!at) {
    text->failed = true;
    return;
  }
  va_start(args, format);
  vsnprintf(at, (size_t)n + 1, format, args);
  va_end(args);
  text->count += (size_t)n;
}

void mxg_text_json(mxg_text *text, const char *string) {
  mxg_text_puts(text, "\"");
  for (const char *c = string; *c; c++) {
    unsigned char u = (unsigned char)*c;
    if (u == '"' || u == '\\')
      mxg_text_format(text, "\\%c", u);
    else if (u < 0x20 || u == 0x7f)
      mxg_text_format(text, "\\u%04x", u);
    else
      mxg_text_add(text, c, 1);
  }
  mxg_text_puts(text, "\"");
}

void mxg_text_size(mxg_text *text, unsigned long long bytes) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  unsigned unit = 0;
  unsigned long long whole = bytes, rest = 0;
  while (whole >= 1024 && unit + 1 < sizeof units / sizeof *units) {
    rest = whole % 1024;
    whole /= 1024;
    unit++;
  }
  if (unit == 0)
    mxg_text_format(text, "%llu B", whole);
  else
    mxg_text_format(text, "%llu.%02llu %s", whole, rest * 100 / 1024, units[unit]);
}

void mxg_text_free(mxg_text *text) {
  mxg_free(text->bytes);
  *text = (mxg_text){0};
}
