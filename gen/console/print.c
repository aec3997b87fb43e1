/* print.c -- see print.h. */
#include "print.h"

#include "error.h"
#include "memory.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- tables ---- */

void mxg_grid_begin(mxg_grid *table, const mxg_column *columns) {
  memset(table, 0, sizeof *table);
  table->columns = columns;
  while (columns[table->column_count].title) table->column_count++;
}

static void add_cell(mxg_grid *table, mxg_text *shown, mxg_text *json) {
  void *cells = table->cells;
  char **cell = NULL;
  if (!table->failed && !shown->failed && !json->failed) {
    if ((cell = mxg_vector_push(&cells, &table->count, &table->capacity, 2 * sizeof *cell))) {
      table->cells = cells;
      cell[0] = shown->bytes; /* "" stays NULL */
      cell[1] = json->bytes;
      return;
    }
  }
  table->failed = true;
  mxg_text_free(shown);
  mxg_text_free(json);
}

void mxg_grid_puts(mxg_grid *table, const char *string) {
  mxg_text shown = {0}, json = {0};
  mxg_text_puts(&shown, string);
  mxg_text_json(&json, string);
  add_cell(table, &shown, &json);
}

void mxg_grid_format(mxg_grid *table, const char *format, ...) {
  va_list args;
  va_start(args, format);
  char line[1024];
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  mxg_grid_puts(table, line);
}

void mxg_grid_count(mxg_grid *table, uint64_t n) {
  mxg_text shown = {0}, json = {0};
  mxg_text_format(&shown, "%llu", (unsigned long long)n);
  mxg_text_format(&json, "%llu", (unsigned long long)n);
  add_cell(table, &shown, &json);
}

void mxg_grid_size(mxg_grid *table, uint64_t bytes) {
  mxg_text shown = {0}, json = {0};
  mxg_text_size(&shown, bytes);
  mxg_text_format(&json, "%llu", (unsigned long long)bytes);
  add_cell(table, &shown, &json);
}

void mxg_grid_bool(mxg_grid *table, bool value) {
  mxg_text shown = {0}, json = {0};
  mxg_text_puts(&shown, value ? "yes" : "-");
  mxg_text_puts(&json, value ? "true" : "false");
  add_cell(table, &shown, &json);
}

/* Columns that text takes on a terminal, near enough: UTF-8 continuation bytes take none. */
static size_t width_of(const char *text) {
  size_t width = 0;
  for (; text && *text; text++) width += ((unsigned char)*text & 0xc0) != 0x80;
  return width;
}

static void add_row(mxg_text *text, const mxg_grid *table, const size_t *widths, const char *indent,
                    const char *const *cells, size_t stride) {
  mxg_text_puts(text, indent);
  for (unsigned c = 0; c < table->column_count; c++) {
    const char *cell = cells[c * stride] ? cells[c * stride] : "";
    int pad = (int)(widths[c] - width_of(cell));
    bool last = c + 1 == table->column_count;
    if (table->columns[c].right)
      mxg_text_format(text, "%*s%s", pad, "", cell);
    else
      mxg_text_format(text, "%s%*s", cell, last ? 0 : pad, "");
    if (!last) mxg_text_puts(text, "  ");
  }
  mxg_text_puts(text, "\n");
}

void mxg_grid_print(const mxg_grid *table, mxg_text *text, const char *indent) {
  enum { most = 24 };
  size_t widths[most];
  const char *titles[most];
  assert(table->column_count <= most && table->count % table->column_count == 0);
  for (unsigned c = 0; c < table->column_count; c++) {
    titles[c] = table->columns[c].title;
    widths[c] = width_of(titles[c]);
    for (size_t i = c; i < table->count; i += table->column_count) {
      size_t w = width_of(table->cells[2 * i]);
      if (w > widths[c]) widths[c] = w;
    }
  }
  if (table->failed) text->failed = true;
  add_row(text, table, widths, indent, titles, 1);
  for (size_t i = 0; i < table->count; i += table->column_count)
    add_row(text, table, widths, indent, (const char *const *)(table->cells + 2 * i), 2);
}

void mxg_grid_json(const mxg_grid *table, mxg_text *text) {
  mxg_text_puts(text, "[");
  if (table->failed) text->failed = true;
  for (size_t i = 0; i < table->count; i += table->column_count) {
    mxg_text_puts(text, i ? ",\n    {" : "\n    {");
    const char *between = "";
    for (unsigned c = 0; c < table->column_count; c++) {
      if (!table->columns[c].key) continue;
      mxg_text_format(text, "%s\"%s\": %s", between, table->columns[c].key, table->cells[2 * (i + c) + 1]);
      between = ", ";
    }
    mxg_text_puts(text, "}");
  }
  mxg_text_puts(text, table->count ? "\n  ]" : "]");
}

void mxg_grid_free(mxg_grid *table) {
  for (size_t i = 0; i < 2 * table->count; i++) mxg_free(table->cells[i]);
  mxg_free(table->cells);
  memset(table, 0, sizeof *table);
}

/* ---- diagnostics ---- */

enum { line_room = 200 };

typedef struct paint {
  const char *red, *bold, *blue, *green, *end;
} paint;

static paint paint_of(bool colour) {
  if (colour) return (paint){"\033[1;31m", "\033[1m", "\033[1;34m", "\033[1;32m", "\033[0m"};
  return (paint){"", "", "", "", ""};
}

/* Adds text from outside: control bytes would let a recipe or a file drive the terminal. */
static void add_clean(mxg_text *text, const char *string, size_t count) {
  for (size_t i = 0; i < count && string[i]; i++) {
    unsigned char u = (unsigned char)string[i];
    char c = u == '\t' ? ' ' : u < 0x20 || u == 0x7f ? '?' : (char)u;
    mxg_text_add(text, &c, 1);
  }
}

/* Reads one line of a file, cut to line_room - 1 bytes. False when there is no such line. */
static bool read_line(char line[line_room], const char *path, int number) {
  FILE *file = fopen(path, "rb");
  if (!file) return false;
  size_t count = 0;
  int at = 1, c;
  while (at < number && (c = getc(file)) != EOF) at += c == '\n';
  bool found = at == number;
  while (found && (c = getc(file)) != EOF && c != '\n' && c != '\r')
    if (count + 1 < line_room) line[count++] = c ? (char)c : '?';
  line[count] = 0;
  fclose(file);
  return found && count;
}

static void add_source_line(mxg_text *text, const mxg_error *err, paint p) {
  char line[line_room];
  if (err->line <= 0 || !read_line(line, err->file, err->line)) return;
  char number[16];
  int wide = snprintf(number, sizeof number, "%d", err->line);
  mxg_text_format(text, "%s%*s |%s\n%s%s |%s ", p.blue, wide, "", p.end, p.blue, number, p.end);
  size_t count = strlen(line);
  add_clean(text, line, count);
  mxg_text_format(text, "\n%s%*s |%s", p.blue, wide, "", p.end);
  size_t column = err->column > 0 ? (size_t)err->column : 0;
  if (column && column <= count + 1) {
    size_t before = 0, span = 0;
    for (size_t i = 0; i + 1 < column; i++) before += ((unsigned char)line[i] & 0xc0) != 0x80;
    for (size_t i = column - 1; i < count && i < column - 1 + (size_t)(err->span > 0 ? err->span : 1); i++)
      span += ((unsigned char)line[i] & 0xc0) != 0x80;
    mxg_text_format(text, " %*s%s", (int)before, "", p.red);
    for (size_t i = 0; i < (span ? span : 1); i++) mxg_text_puts(text, "^");
    mxg_text_puts(text, p.end);
  }
  mxg_text_puts(text, "\n");
}

static void add_remark(mxg_text *text, const char *word, const char *string, int wide, paint p) {
  if (!*string) return;
  mxg_text_format(text, "%*s %s=%s %s%s:%s ", wide, "", p.blue, p.end, p.bold, word, p.end);
  add_clean(text, string, strlen(string));
  mxg_text_puts(text, "\n");
}

void mxg_diagnostic_print(const mxg_error *err, bool colour, mxg_text *text) {
  paint p = paint_of(colour);
  if (err->code)
    mxg_text_format(text, "%serror[MX%04u]%s%s: ", p.red, err->code, p.end, p.bold);
  else
    mxg_text_format(text, "%serror%s%s: ", p.red, p.end, p.bold);
  add_clean(text, err->text, sizeof err->text);
  mxg_text_format(text, "%s\n", p.end);
  int wide = 1;
  for (int n = err->line; n >= 10; n /= 10) wide++;
  if (*err->file) {
    mxg_text_format(text, "%*s%s-->%s ", wide, "", p.blue, p.end);
    add_clean(text, err->file, sizeof err->file);
    if (err->line > 0) mxg_text_format(text, ":%d", err->line);
    if (err->line > 0 && err->column > 0) mxg_text_format(text, ":%d", err->column);
    mxg_text_puts(text, "\n");
    add_source_line(text, err, p);
  }
  add_remark(text, "note", err->note, wide, p);
  add_remark(text, "help", err->help, wide, p);
}

bool mxg_colour_wanted(void) {
  const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
  return isatty(STDERR_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

void mxg_warn(const char *format, ...) {
  char line[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  mxg_text text = {0};
  mxg_text_puts(&text, mxg_colour_wanted() ? "\033[1;33mwarning\033[0m: " : "warning: ");
  add_clean(&text, line, strlen(line));
  mxg_text_puts(&text, "\n");
  if (!text.failed) fputs(text.bytes, stderr);
  mxg_text_free(&text);
}

mxg_status mxg_out(mxg_text *text, mxg_error *err) {
  if (text->failed) {
    mxg_text_free(text);
    return mxg_fail_nomem(err);
  }
  errno = 0;
  size_t count = text->count;
  bool good = (count == 0 || fwrite(text->bytes, 1, count, stdout) == count) && fflush(stdout) == 0;
  int native = errno;
  mxg_text_free(text);
  if (good || native == EPIPE) return MXG_OK;
  mxg_fail(err, MXG_ERR_ENVIRONMENT, MXG_CODE_STDOUT, "cannot write to standard output: %s", strerror(native));
  if (err) err->native = native;
  return MXG_ERR_ENVIRONMENT;
}
