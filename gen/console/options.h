/* options.h -- reads a verb's options from its table, and prints its help from the same table. */
#ifndef MXG_OPTIONS_H
#define MXG_OPTIONS_H

#include "verb.h"

struct mxg_text;

/* Reads argv[1 .. argc) (argv[0] is anything). MXG_ERR_USAGE with "did you mean". `args` points into argv. */
mxg_status mxg_options_read(mxg_args *args, const mxg_verb *verb, int argc, char **argv, mxg_error *err);

/* The whole of `mxgen help VERB`. */
void mxg_options_help(const mxg_verb *verb, struct mxg_text *text);

#endif
