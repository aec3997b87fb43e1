/* temporary.h -- files that are not yet under their name: made beside it, then renamed or removed, never half-written.
**
** Every writer of the project goes through it, so that a signal handler can clean up. Safe from any thread. */
#ifndef MXG_TEMPORARY_H
#define MXG_TEMPORARY_H

#include "mxrt.h"

enum { MXG_TEMPORARIES = 1024 }; /* live at once in a process */

typedef struct mxg_temporary {
  int fd, slot;
} mxg_temporary;

/* A new empty file beside `path`, listed for removal. */
mxg_status mxg_temporary_open(mxg_temporary *out, const char *path, mxg_error *err);
/* fsync, close, rename to `path`, fsync of the folder. On failure the temporary file is removed, `path` untouched. */
mxg_status mxg_temporary_commit(mxg_temporary *temporary, const char *path, mxg_error *err);
void mxg_temporary_abort(mxg_temporary *temporary); /* closes and removes; harmless after a commit */
/* Writes a small file all or nothing: temporary, write, commit. */
mxg_status mxg_temporary_save(const char *path, const void *bytes, size_t count, mxg_error *err);
/* Removes every live temporary file. Async-signal-safe: for a handler that ends the process. */
void mxg_temporaries_remove(void);

#endif
