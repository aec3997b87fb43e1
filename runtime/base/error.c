/* error.c -- fills mxg_error; status names and code explanations. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifndef MXG_VERSION
#define MXG_VERSION "0.0.0"
#endif

const char *mxg_version(void) { return MXG_VERSION; }

mxg_status mxg_version_check(unsigned header, mxg_error *err) {
  const unsigned own = MXRT_VERSION, series = own < 10000 ? 100 : 10000;
  char asked[40];
  snprintf(asked, sizeof asked, "%u.%u.%u", header / 10000, header / 100 % 100, header % 100);
  if (header > own) {
    mxg_fail(err, MXG_ERR_UNSUPPORTED, 609, "this is mxgen %s, older than the header of %s that the program has",
             MXG_VERSION, asked);
    mxg_error_help(err, "install mxgen %s or newer", asked);
    return MXG_ERR_UNSUPPORTED;
  }
  if (header / series == own / series) return MXG_OK;
  mxg_fail(err, MXG_ERR_UNSUPPORTED, 609, "this is mxgen %s, and the program was compiled with the header of %s",
           MXG_VERSION, asked);
  mxg_error_help(err, "compile the program again");
  return MXG_ERR_UNSUPPORTED;
}

const char *mxg_status_name(mxg_status status) {
  switch (status) {
  case MXG_OK: return "MXG_OK";
  case MXG_ERR_USAGE: return "MXG_ERR_USAGE";
  case MXG_ERR_NOMEM: return "MXG_ERR_NOMEM";
  case MXG_ERR_IO: return "MXG_ERR_IO";
  case MXG_ERR_INPUT: return "MXG_ERR_INPUT";
  case MXG_ERR_BUNDLE: return "MXG_ERR_BUNDLE";
  case MXG_ERR_UNSUPPORTED: return "MXG_ERR_UNSUPPORTED";
  case MXG_ERR_ENVIRONMENT: return "MXG_ERR_ENVIRONMENT";
  case MXG_ERR_COMPILE: return "MXG_ERR_COMPILE";
  case MXG_ERR_WRONG: return "MXG_ERR_WRONG";
  case MXG_ERR_TIMEOUT: return "MXG_ERR_TIMEOUT";
  case MXG_ERR_CUDA: return "MXG_ERR_CUDA";
  case MXG_ERR_NCCL: return "MXG_ERR_NCCL";
  }
  return "MXG_ERR_UNKNOWN";
}

static bool continues(char c) { return ((unsigned char)c & 0xc0) == 0x80; } /* a character of UTF-8 */

/* Cut to fit, between characters. */
static void print(char *room, size_t size, const char *format, va_list args) {
  int n = vsnprintf(room, size, format, args);
  if (n < 0 || (size_t)n < size) return;
  size_t end = size - 1, first = end, more = 0;
  while (first && continues(room[first - 1])) first--;
  unsigned char lead = first ? (unsigned char)room[--first] : 0;
  if (lead >= 0xc0) more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
  if (end - first - 1 < more) room[first] = 0;
}

mxg_status mxg_fail(mxg_error *err, mxg_status status, unsigned code, const char *format, ...) {
  if (!err) return status;
  memset(err, 0, sizeof *err);
  err->status = status;
  err->code = code;
  va_list args;
  va_start(args, format);
  print(err->text, sizeof err->text, format, args);
  va_end(args);
  for (char *c = err->text; *c; c++) /* of a name that a caller or a file gave */
    if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
  return status;
}

mxg_status mxg_fail_nomem(mxg_error *err) { return mxg_fail(err, MXG_ERR_NOMEM, 1, "out of memory"); }

void mxg_error_place(mxg_error *err, const char *file, int line, int column, int span) {
  if (!err) return;
  size_t count = file ? strlen(file) : 0;
  size_t cut = count >= sizeof err->file ? count - (sizeof err->file - 1) : 0; /* keep the tail */
  while (cut && continues(file[cut])) cut++;
  if (file) memcpy(err->file, file + cut, count - cut + 1);
  err->line = line;
  err->column = column;
  err->span = span;
}

void mxg_error_note(mxg_error *err, const char *format, ...) {
  if (!err) return;
  va_list args;
  va_start(args, format);
  print(err->note, sizeof err->note, format, args);
  va_end(args);
}

void mxg_error_help(mxg_error *err, const char *format, ...) {
  if (!err) return;
  va_list args;
  va_start(args, format);
  print(err->help, sizeof err->help, format, args);
  va_end(args);
}

static const struct {
  unsigned code;
  const char *title, *text;
} codes[] = {
#define X(code, title, text) {code, title, text},
#include "codes.def"
#undef X
};

const char *mxg_error_explain(unsigned code, const char **title) {
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
    if (codes[i].code != code) continue;
    if (title) *title = codes[i].title;
    return codes[i].text;
  }
  return NULL;
}
