/* manual_library.c -- see manual_library.h. Knows how the public headers are written: comments stand before what they
** are about, an empty line or a comment ends a declaration, a comment of dashes begins a chapter. */
#include "manual_library.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { most_header = 1 << 20, first_code = 1, last_code = 999 };

static mxg_status read_header(mxg_text *text, const char *path, mxg_error *err) {
  FILE *in = fopen(path, "rb");
  char room[4096];
  size_t n = 0;
  while (in && (n = fread(room, 1, sizeof room, in)) > 0 && text->count < most_header) mxg_text_add(text, room, n);
  int native = errno;
  bool bad = !in || ferror(in);
  if (in) fclose(in);
  if (bad) {
    mxg_fail(err, MXG_ERR_IO, 910, "cannot read the header: %s", strerror(native));
    mxg_error_place(err, path, 0, 0, 0);
    return MXG_ERR_IO;
  }
  return text->failed ? mxg_fail_nomem(err) : MXG_OK;
}

/* The words of a comment, without what frames it. */
static void add_comment(mxg_text *words, const char *line, size_t count) {
  while (count && strchr(" /*", *line)) line++, count--;
  while (count && strchr(" */", line[count - 1])) count--;
  if (!count) return;
  if (words->count) mxg_text_puts(words, " ");
  mxg_text_add(words, line, count);
}

static void put_chapter(mxg_page *page, const char *words) {
  char title[128];
  words += strspn(words, "- ");
  size_t n = strlen(words);
  while (n && strchr("- ", words[n - 1])) n--;
  snprintf(title, sizeof title, "%.*s", (int)(n < 120 ? n : 120), words);
  mxg_page_part(page, title);
}

static void put_block(mxg_page *page, mxg_text *code, mxg_text *words) {
  if (code->count) mxg_page_code(page, code->bytes, code->count);
  if (words->count && !strncmp(words->bytes, "----", 4))
    put_chapter(page, words->bytes);
  else if (words->count)
    mxg_page_paragraph(page, words->bytes);
  mxg_text_free(code);
  mxg_text_free(words);
}

static void put_header(mxg_page *page, const char *at) {
  mxg_text code = {0}, words = {0};
  bool comment = false, continued = false;
  unsigned depth = 0;
  while (*at) {
    size_t n = strcspn(at, "\n");
    const char *line = at;
    at += n + (at[n] == '\n');
    bool opens = !depth && !comment && !strncmp(line, "/*", 2);
    if (opens) { /* a comment after a declaration begins the next one */
      if (code.count || words.count) put_block(page, &code, &words);
      comment = true;
    }
    if (comment) {
      add_comment(&words, line, n);
      comment = !(n >= 2 && !strncmp(line + n - 2, "*/", 2));
      continue;
    }
    bool directive = *line == '#' || continued;
    continued = directive && n && line[n - 1] == '\\';
    if (directive || !strncmp(line, "extern \"C\"", 10) || (!depth && *line == '}')) continue;
    if (n == 0 && depth == 0) {
      put_block(page, &code, &words);
      continue;
    }
    for (size_t i = 0; i < n; i++) {
      if (line[i] == '{') depth++;
      if (line[i] == '}' && depth) depth--;
    }
    mxg_text_add(&code, line, n);
    mxg_text_puts(&code, "\n");
  }
  put_block(page, &code, &words);
}

mxg_status mxg_manual_library(mxg_page *page, const char *const *headers, mxg_error *err) {
  mxg_page_begin(page, "libmxgen", 3, "generate bundles from recipes in a program, and run them");
  mxg_page_section(page, "SYNOPSIS");
  static const char synopsis[] = "#include <mxrt.h>     /* libmxrt: run a bundle */\n"
                                 "#include <mxgen.h>    /* libmxgen: make one */\n\n"
                                 "cc ... $(pkg-config --cflags --libs mxgen)";
  mxg_page_code(page, synopsis, sizeof synopsis - 1);
  for (; *headers; headers++) {
    const char *slash = strrchr(*headers, '/');
    mxg_text text = {0};
    mxg_status status = read_header(&text, *headers, err);
    if (status == MXG_OK) {
      mxg_page_section(page, slash ? slash + 1 : *headers);
      put_header(page, text.bytes ? text.bytes : "");
    }
    mxg_text_free(&text);
    MXG_TRY(status);
  }
  mxg_page_section(page, "ERRORS");
  mxg_page_paragraph(page, "The codes of mxg_error, as diagnostics show them:");
  for (unsigned code = first_code; code <= last_code; code++) {
    const char *title = NULL, *words = mxg_error_explain(code, &title);
    if (!words) continue;
    char term[16];
    snprintf(term, sizeof term, "MX%04u", code);
    mxg_page_term(page, term, title, words);
  }
  mxg_page_section(page, "SEE ALSO");
  mxg_page_paragraph(page, "mxgen(1), mxgen-recipe(5)");
  return MXG_OK;
}
