/* page.h -- one page of the manual while it is written: the same calls make roff (man macros) or plain text. Owns
** escapes and layout; what a page says is manual.c's and manual_library.c's. */
#ifndef MXG_PAGE_H
#define MXG_PAGE_H

#include "text.h"

#include <stdbool.h>

typedef struct mxg_page {
  mxg_text *text;
  bool roff;
} mxg_page;

void mxg_page_begin(mxg_page *page, const char *name, unsigned section, const char *summary);
void mxg_page_section(mxg_page *page, const char *title);
void mxg_page_part(mxg_page *page, const char *title);
void mxg_page_paragraph(mxg_page *page, const char *words); /* filled; a newline in it is a space */
/* A term with its explanation. `value` may be NULL: "--out DIR" is term "--out", value "DIR". */
void mxg_page_term(mxg_page *page, const char *term, const char *value, const char *words);
void mxg_page_code(mxg_page *page, const char *lines, size_t count); /* as it stands */

#endif
