/* print.h -- how the command speaks: tables in two passes, diagnostics like a compiler's, the end of standard output.
 */
#ifndef MXG_PRINT_H
#define MXG_PRINT_H

#include "mxrt.h"
#include "text.h"

#include <stdio.h>

/* A table: cells are added row by row, then it is printed with columns as wide as their widest cell, or as JSON. */
typedef struct mxg_column {
  const char *title; /* NULL ends the list */
  const char *key;   /* in JSON; NULL: not in JSON */
  bool right;
} mxg_column;

typedef struct mxg_grid {
  const mxg_column *columns;
  unsigned column_count;
  char **cells; /* text and JSON form of each, alternating */
  size_t count, capacity;
  bool failed; /* out of memory; sticky */
} mxg_grid;

void mxg_grid_begin(mxg_grid *table, const mxg_column *columns);
void mxg_grid_puts(mxg_grid *table, const char *text);
void mxg_grid_format(mxg_grid *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mxg_grid_count(mxg_grid *table, uint64_t n);
void mxg_grid_size(mxg_grid *table, uint64_t bytes); /* "12.38 MiB"; in JSON the bytes */
void mxg_grid_bool(mxg_grid *table, bool value);     /* "yes" or "-" */
void mxg_grid_print(const mxg_grid *table, mxg_text *text, const char *indent);
void mxg_grid_json(const mxg_grid *table, mxg_text *text); /* an array of objects */
void mxg_grid_free(mxg_grid *table);

/* Shows a failure: code, text, place with the line and a caret, note, help. Bytes that a terminal would obey are shown
 * as '?'. `colour`: with ANSI colours. */
void mxg_diagnostic_print(const mxg_error *err, bool colour, mxg_text *text);
/* A warning on stderr: "warning: text". */
void mxg_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* True when diagnostics may have colour: stderr is a terminal, no NO_COLOR, TERM is not "dumb". */
bool mxg_colour_wanted(void);

enum { MXG_CODE_STDOUT = 906 };

/* Writes the text to stdout, frees it. MXG_ERR_ENVIRONMENT and that code when it fails; a closed pipe is no failure. */
mxg_status mxg_out(mxg_text *text, mxg_error *err);

#endif
