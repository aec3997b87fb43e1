/* launcher.h -- `--processes N`: the command starts itself N times, one process a GPU, and answers for them. */
#ifndef MXG_LAUNCHER_H
#define MXG_LAUNCHER_H

#include "command.h"

/* Whether this process shall start others: --processes was given, and it is not one of those that were started. */
bool mxg_launcher_wanted(const mxg_args *args);
/* Starts args->processes of them with the words of this command line, and waits for their end. MXG_OK when all ended
** well; otherwise the error says which process failed first, and how, and what they said was shown. */
mxg_status mxg_launcher_run(const mxg_args *args, mxg_error *err);

#endif
