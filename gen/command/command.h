/* command.h -- what the files of the mxgen command share: the verb table's row, the options, the exit code. The command
** has no logic of its own: each cmd_<verb>.c reads its options, calls libmxgen, and prints. */
#ifndef MXG_COMMAND_H
#define MXG_COMMAND_H

#include "error.h"
#include "mxrt.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MXG_LIST_ROOM = 256 };

/* The values of an option that may be given more than once; ends with NULL. */
typedef struct mxg_list {
  const char *items[MXG_LIST_ROOM + 1];
  unsigned count;
} mxg_list;

/* Every option of every verb; a verb's table says which it takes. */
typedef struct mxg_args {
  bool help, json, full, source_only, keep_all, checksums, all_ranks, quick, no_check, no_graph, no_cache;
  bool predict, no_tune, no_save, early;
  mxg_list sets;
  const char *out, *archs, *dump, *weights, *side, *from, *original, *keep_original;
  const char *target_ranks, *only, *embed, *transport, *size, *trace;
  const char *source, *target, *from_weights;
  bool has_random, has_rank, has_threads, has_device, has_tile_units;
  bool has_repeats, has_chunk, has_streams, has_timeout;
  bool has_processes;
  uint64_t processes;
  char *const *words; /* the command line, for starting the command again */
  uint64_t random, rank, threads, device, tile_units, repeats, chunk, streams, timeout;
  const char *const *operands;
  int operand_count;
} mxg_args;

typedef enum mxg_option_kind {
  MXG_OPTION_FLAG,  /* bool at `offset` */
  MXG_OPTION_TEXT,  /* const char * */
  MXG_OPTION_COUNT, /* uint64_t at `offset`, and the bool at `given` says that it was there */
  MXG_OPTION_LIST   /* mxg_list */
} mxg_option_kind;

typedef struct mxg_option {
  const char *name; /* without "--"; NULL ends a table */
  char letter;      /* 0: none */
  mxg_option_kind kind;
  size_t offset, given;
  const char *value; /* "DIR", what help calls the value; NULL for a flag */
  const char *help;
} mxg_option;

typedef struct mxg_verb {
  const char *name, *operands; /* "RECIPE" */
  const char *summary;         /* one line of `mxgen help` */
  const char *text;            /* the rest of `mxgen help VERB`: what it does, examples */
  const mxg_option *options;
  int least, most; /* operands */
  bool writes;     /* files: a failure says that nothing was written */
  mxg_status (*run)(const mxg_args *args, mxg_error *err);
} mxg_verb;

extern const mxg_verb *const mxg_verbs[]; /* ends with NULL */

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
