/* peek.h -- sources in the host memory of other processes of this machine, for the transport host. */
#ifndef MXG_PEEK_H
#define MXG_PEEK_H

#include "transport.h"

typedef struct mxg_peek mxg_peek;

/* Collective: every process tells where its sources lie that ranks elsewhere read. *peek: NULL before the first time.
 */
mxg_status mxg_peek_exchange(mxg_peek **peek, const mxg_exec_view *view, mxg_error *err);
/* Not collective, in a run: copies of the wanted sources as they are now; `places` gets theirs, by array. They live
** until _drop or _free. */
mxg_status mxg_peek_read(mxg_peek *peek, mxg_place *places, mxg_error *err);
void mxg_peek_drop(mxg_peek *peek);
void mxg_peek_free(mxg_peek *peek);

#endif
