/* command.h -- what the files of the mxgen command share: its verbs, the options that several of them take, the exit
** code. The command has no logic of its own: each cmd_<verb>.c reads its options, calls libmxgen, and prints. */
#ifndef MXG_COMMAND_H
#define MXG_COMMAND_H

#include "verb.h"

#define MXG_VERB(name) extern const mxg_verb mxg_verb_##name
MXG_VERB(generate);
MXG_VERB(check);
MXG_VERB(plan);
MXG_VERB(explain);
MXG_VERB(shard);
MXG_VERB(run);
MXG_VERB(verify);
MXG_VERB(show);
MXG_VERB(bench);
MXG_VERB(tune);
MXG_VERB(init);
MXG_VERB(doctor);
MXG_VERB(cache);
#undef MXG_VERB

/* bench_recipe.c: `mxgen bench RECIPE`. */
mxg_status mxg_bench_recipe(const mxg_args *args, mxg_error *err);

/* The exit code of the command for a failure: 0 ok, 1 input is wrong, 2 usage, 3 environment, 4 compile, 5 wrong
 * result, 6 timeout or lost rank. */
int mxg_exit_code(const mxg_error *err);

/* The options that every verb with a recipe takes. */
#define MXG_OPTION_SETS                                                    \
  {                                                                        \
    "set", 0, MXG_OPTION_LIST, offsetof(mxg_args, sets), 0, "NAME=VALUE",  \
        "value for mx.param(\"NAME\", ...) of the recipe; may be repeated" \
  }
#define MXG_OPTION_NO_TUNE                                               \
  {                                                                      \
    "no-tune", 0, MXG_OPTION_FLAG, offsetof(mxg_args, no_tune), 0, NULL, \
        "leave the tuning file beside the recipe alone"                  \
  }
#define MXG_OPTION_CHECKSUMS \
  { "checksums", 0, MXG_OPTION_FLAG, offsetof(mxg_args, checksums), 0, NULL, "print checksums of every array" }
#define MXG_OPTION_WORKERS                                                                               \
  {                                                                                                      \
    "threads", 'j', MXG_OPTION_COUNT, offsetof(mxg_args, threads), offsetof(mxg_args, has_threads), "N", \
        "worker threads; default: one a core"                                                            \
  }
#define MXG_OPTION_PROCESSES                                                                                 \
  {                                                                                                          \
    "processes", 0, MXG_OPTION_COUNT, offsetof(mxg_args, processes), offsetof(mxg_args, has_processes), "N", \
        "start N processes, one a GPU; without it, be one of RANK and WORLD_SIZE where a launcher sets them" \
  }
#define MXG_OPTION_TIMEOUT                                                                              \
  {                                                                                                     \
    "timeout", 0, MXG_OPTION_COUNT, offsetof(mxg_args, timeout), offsetof(mxg_args, has_timeout), "MS", \
        "how long a run may take; default: 60000"                                                       \
  }
#define MXG_OPTION_JSON(what) \
  { "json", 0, MXG_OPTION_FLAG, offsetof(mxg_args, json), 0, NULL, what }
#define MXG_OPTIONS_END                                                                  \
  {"help", 'h', MXG_OPTION_FLAG, offsetof(mxg_args, help), 0, NULL, "show this text"}, { \
    NULL, 0, MXG_OPTION_FLAG, 0, 0, NULL, NULL                                           \
  }

#endif
