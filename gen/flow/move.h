/* move.h -- runs a plan's schedule on files: source arrays are mapped from a checkpoint, target arrays are rank
** files made in a folder. With a transport of GPUs the arrays go through their memory. In several processes each
** moves its own ranks, and all write into one folder. The caller owns the folder and puts it in its place. */
#ifndef MXG_MOVE_H
#define MXG_MOVE_H

#include "bundle.h"
#include "checkpoint.h"
#include "processes.h"

typedef struct mxg_checks {
  uint64_t data, scale, values; /* checksum.h; scale 0: none */
} mxg_checks;

typedef struct mxg_move {
  /* in */
  const mxg_bundle *bundle;
  const mxg_checkpoint *source;
  const char *folder; /* exists; rank files and the index are made in it */
  const bool *wanted; /* one a rank of the plan: write its target file; NULL: all that have target arrays */
  bool with_checksums;
  unsigned threads; /* 0: one a core */
  void (*progress)(void *user, uint64_t done_bytes, uint64_t all_bytes);
  void *user;
  mxg_transport transport;        /* MXG_HOST by default */
  unsigned timeout_ms;            /* of a run, and for processes to come to each stage; 0: 60 s */
  const mxg_processes *processes; /* NULL: this one alone. What comes out is of all of them, on process 0 */
  const char *trace;              /* file for a Chrome trace; NULL: none */
  void (*record)(void *user, const char *line); /* the flight recorder of a failure; or NULL */
  /* out */
  mxg_transport taken; /* never MXG_AUTO */
  char why[256];       /* of an automatic choice; "" otherwise */
  mxg_checks *checks;  /* one an array of the plan, with_checksums; freed by mxg_move_end */
  uint64_t arrays, files, bytes_read, bytes_written; /* of stored tensors, scales included */
  uint64_t wire_bytes, wire_bytes_bf16;              /* between ranks; and had the same elements travelled as BF16 */
  double seconds;                                    /* of the schedule alone */
  bool indexed; /* model.safetensors.index.json was written: every array is a whole tensor */
} mxg_move;

/* Runs it. MXG_ERR_INPUT when a source array that is needed is not in the checkpoint as the plan says. */
mxg_status mxg_move_run(mxg_move *move, mxg_error *err);
void mxg_move_end(mxg_move *move);

/* The wire bytes of the ranks of a plan, and what BF16 would have cost. `wanted` as above. */
void mxg_plan_wire(const mxg_plan *plan, const bool *wanted, uint64_t *bytes, uint64_t *bytes_bf16);
/* Whether their files get an index: every array is a whole tensor. */
bool mxg_plan_indexed(const mxg_plan *plan, const bool *wanted);

#endif
