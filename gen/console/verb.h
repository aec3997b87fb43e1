/* verb.h -- a verb of the command as its options, its help and the manual see it: one row of a table. What the verbs do
** is gen/command's. */
#ifndef MXG_VERB_H
#define MXG_VERB_H

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

#endif
