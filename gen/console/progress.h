/* progress.h -- one rewritten line on stderr, only on a terminal; nothing at all elsewhere. */
#ifndef MXG_PROGRESS_H
#define MXG_PROGRESS_H

#include <stdint.h>

/* "[3/12] text", at most ten a second except the first and the last. */
void mxg_progress(unsigned done, unsigned all, const char *text);

/* "what  34 %  1.20 GiB of 3.40 GiB  2.10 GiB/s": fits mxg_exec_options.progress; `what` is the user pointer. */
void mxg_progress_bytes(void *what, uint64_t done_bytes, uint64_t all_bytes);

/* Removes the line; call before anything else is printed. */
void mxg_progress_clear(void);

/* Seconds on a clock that only goes forward. */
double mxg_seconds(void);

#endif
