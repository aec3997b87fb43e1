/* manual.h -- the manual and the shell completion, printed from the tables that the command itself reads: verbs and
** options, the schema, codes.def, the comments of mx.lua and of the public headers. One text, as roff or for a
** terminal. */
#ifndef MXG_MANUAL_H
#define MXG_MANUAL_H

#include "text.h"
#include "verb.h"

/* mxgen-recipe(5); `mxgen help recipe` is its text form. */
void mxg_manual_recipe(bool roff, mxg_text *text);

/* A page of the manual as roff, by name: "mxgen", "mxgen-recipe", "libmxgen" (which reads `headers`, NULL-terminated).
** MXG_ERR_USAGE: no such page. */
mxg_status mxg_manual_page(const char *name, const char *const *headers, mxg_text *text, mxg_error *err);

/* Completion of verbs, options and files for bash. */
void mxg_manual_completion(mxg_text *text);

#endif
