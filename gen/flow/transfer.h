/* transfer.h -- the flows that move real weights: shard (an original to the source side's rank files) and run (the
** source side's rank files to the target side's). Each audits the headers first, works in a folder beside the
** result, and moves the result to its place when all of it is written. */
#ifndef MXG_TRANSFER_H
#define MXG_TRANSFER_H

#include "audit.h"
#include "model.h"
#include "move.h"

typedef struct mxg_transfer {
  /* in */
  const mxg_model *model; /* run: may be NULL when `bundle` is given */
  const char *from;       /* folder of the original, or of the source side */
  const char *out;        /* folder of the result */
  unsigned threads;
  bool with_checksums;
  void (*progress)(void *user, uint64_t done_bytes, uint64_t all_bytes);
  void *user;
  /* in, shard */
  bool random; /* make the original from `seed` instead of `from` */
  uint64_t seed;
  const char *keep_original; /* folder for it; NULL: it goes when done */
  /* in, run */
  const mxg_bundle *bundle; /* of an .mxb; NULL: made from the model's plan */
  mxg_transport transport;
  unsigned timeout_ms;
  const mxg_processes *processes; /* NULL: this one alone */
  const char *trace;
  void (*record)(void *user, const char *line);
  const char *ranks; /* "0,2-5": target ranks to write; NULL: all but replicas of lower ones */
  bool all_ranks;
  /* out; freed by mxg_transfer_end */
  mxg_arena arena;
  mxg_bundle *made;     /* when the bundle was not given */
  const mxg_plan *plan; /* what was run */
  bool *wanted;         /* one a rank: its target file was written */
  uint32_t replicas;    /* ranks that were left out as replicas */
  mxg_move move;
} mxg_transfer;

mxg_status mxg_shard(mxg_transfer *transfer, mxg_error *err);
mxg_status mxg_run(mxg_transfer *transfer, mxg_error *err);
void mxg_transfer_end(mxg_transfer *transfer);

/* A bundle of a plan without kernels: what the host transport needs. */
mxg_status mxg_bundle_of_plan(mxg_bundle **out, const mxg_plan *plan, mxg_error *err);

#endif
