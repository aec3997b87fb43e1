/* error.h -- how a failure is reported inside the project: two macros, one object (mxg_error in mxrt.h).
**
** Codes and their long explanations are one table, codes.def: 01 sandbox, 02 recipe, 03 checkpoint files, 04 layout and
** plan, 05 environment and compile, 06 run time, 07 bundle, 08 verification and audit, 09 command line. */
#ifndef MXG_ERROR_H
#define MXG_ERROR_H

#include "mxrt.h"

/* Passes a failure on. */
#define MXG_TRY(call)                                    \
  do {                                                   \
    mxg_status mxg_try_status = (call);                  \
    if (mxg_try_status != MXG_OK) return mxg_try_status; \
  } while (0)

/* `return mxg_fail(err, MXG_ERR_INPUT, 203, "mxfp8.block: %d is not one of 16, 32", n);` err may be NULL. Clears the
 * rest. */
mxg_status mxg_fail(mxg_error *err, mxg_status status, unsigned code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
mxg_status mxg_fail_nomem(mxg_error *err);

/* Add to an error just made; all accept NULL. `column` and `span` may be 0. They return err->status for chaining. */
void mxg_error_place(mxg_error *err, const char *file, int line, int column, int span);
void mxg_error_note(mxg_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mxg_error_help(mxg_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The long text of a code, or NULL. `*title` gets the short one. */
const char *mxg_error_explain(unsigned code, const char **title);

#endif
