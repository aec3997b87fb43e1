/* text.h -- a growable string, the one way to build text of unknown length (plans, sources, tables, JSON). */
#ifndef MXG_TEXT_H
#define MXG_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialise. `failed` is sticky: writers may go on and check once at the end. */
typedef struct mxg_text {
  char *bytes; /* NUL-terminated once anything was added */
  size_t count, capacity;
  bool failed; /* out of memory */
} mxg_text;

void mxg_text_add(mxg_text *text, const char *bytes, size_t count);
void mxg_text_puts(mxg_text *text, const char *string);
void mxg_text_format(mxg_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mxg_text_json(mxg_text *text, const char *string); /* quoted and escaped */
void mxg_text_free(mxg_text *text);

/* Bytes for people: "12976128 (12.38 MiB)" style figures use this part: "12.38 MiB". Integer arithmetic, no locale. */
void mxg_text_size(mxg_text *text, unsigned long long bytes);

#endif
