/* gpu_program.h -- what one rank gives its GPU, worked out once: copies, fills and launches on a few streams, in an
** order that events hold. Starting it is only handing it over, op by op or as one graph. Who decides what is in it:
** transport_copy.c and transport_direct.c. */
#ifndef MXG_GPU_PROGRAM_H
#define MXG_GPU_PROGRAM_H

#include "copy_plan.h"
#include "nccl.h"
#include "text.h"

/* Stream 0 is where a program begins and ends. */
enum { MXG_STREAMS_MOST = 9 };

/* The streams that the programs of one rank share: so they are carried out one after another, in the order of their
 * starts.
 */
typedef struct mxg_gpu_streams {
  mxg_cu_stream *at[MXG_STREAMS_MOST];
  mxg_cu_stream *looker; /* reads marks while the others are busy */
} mxg_gpu_streams;
void mxg_gpu_streams_free(mxg_gpu_streams *streams);

typedef enum mxg_gpu_op_kind {
  MXG_OP_COPY,
  MXG_OP_FILL,
  MXG_OP_LAUNCH,
  MXG_OP_RECORD,
  MXG_OP_FOLLOW,
  MXG_OP_MARK,
  MXG_OP_EXCHANGE,
  MXG_OP_PASS,
  MXG_OP_TAKE
} mxg_gpu_op_kind;

/* What of an exchange one rank does: it sends `bytes` at `memory` to rank `peer`, or receives them there. */
typedef enum mxg_transfer_kind { MXG_SEND, MXG_RECEIVE } mxg_transfer_kind;

typedef struct mxg_transfer {
  uint32_t kind; /* mxg_transfer_kind */
  uint32_t peer;
  uint64_t memory, bytes;
} mxg_transfer;

typedef struct mxg_gpu_op {
  uint8_t kind; /* mxg_gpu_op_kind */
  uint8_t stream;
  uint32_t index; /* LAUNCH: the plan's kernel. RECORD, FOLLOW: the event. MARK: of `done`. PASS, TAKE: the turn */
  union {
    mxg_copy copy;
    struct {
      uint64_t dst, bytes, height, pitch; /* `height` runs of `bytes`, whose beginnings are `pitch` apart */
      uint8_t byte;
    } fill;
    struct {
      uint64_t tiles;
      uint32_t first, count; /* of the table of entries */
      uint32_t shared_bytes; /* beside copies: of mxg_function_spread */
      bool beside;           /* few blocks at a time, so that the memory serves copies as well */
    } launch;
    struct {
      uint32_t first, count; /* of the transfers: all that is done together */
    } exchange;
  } u;
} mxg_gpu_op;

typedef struct mxg_gpu_program {
  mxg_gpu_op *ops;
  size_t count, capacity;
  mx_entry *entries; /* of all launches; the device's copy is at `table` */
  size_t entry_count, entry_capacity;
  uint64_t table, table_bytes;
  mxg_transfer *transfers; /* of all exchanges */
  size_t transfer_count, transfer_capacity;
  mxg_nccl *nccl;  /* carries out the exchanges; borrowed */
  double deadline; /* of giving them to the GPU */
  uint32_t *steps; /* step i of the plan is done when byte i of `done` is set */
  size_t step_count, step_capacity;
  mxg_cu_event *const *batons; /* by turn, of a program that takes turns; borrowed */
  uint64_t done;               /* on the device: each start clears it */
  unsigned char *seen;         /* pinned: what of `done` mxg_program_look has read */
  double *seen_at; /* by mark: seconds after the start at which it was first seen done; 0: not seen. The team's */
  mxg_cu_stream *looker;
  uint32_t event_count, stream_count;
  mxg_cu_event **events;
  mxg_cu_event *end; /* of the last start */
  mxg_cu_stream *streams[MXG_STREAMS_MOST];
  mxg_cu_graph *graph;
  bool part; /* of the plan: the steps of `group`; otherwise all */
  uint32_t group;
  bool *reads;    /* by rank of the team: whether sources of that rank are read; NULL: not asked */
  bool under_way; /* started, and not seen to have ended */
  bool apart;     /* copies come from other processes' memory */
  bool failed;    /* out of memory; sticky */
} mxg_gpu_program;

/* ---- making one; out of memory shows in `failed` ---- */

void mxg_program_copy(mxg_gpu_program *program, unsigned stream, const mxg_copy *copy);
void mxg_program_fill(mxg_gpu_program *program, unsigned stream, uint64_t dst, uint8_t byte, uint64_t bytes);
void mxg_program_fill_rows(mxg_gpu_program *program, unsigned stream, uint64_t dst, uint8_t byte, uint64_t bytes,
                           uint64_t height, uint64_t pitch);
/* Room for `count` entries, until the next call for more; NULL: no memory. Then: launches them. */
mx_entry *mxg_program_entries(mxg_gpu_program *program, size_t count);
void mxg_program_launch(mxg_gpu_program *program, unsigned stream, uint32_t kernel, uint32_t count, uint64_t tiles);
/* Launches of stream 0 that run while copies do take few blocks at a time: all but those that come after the last copy.
** Copy engines ask for little at a time: where kernels keep the memory's queues full, their rate falls by half.
** `apart`: copies come from other processes' memory. */
void mxg_program_spread(mxg_gpu_program *program, bool apart);
/* An exchange begins empty; what is added until the next op is part of it. */
void mxg_program_exchange(mxg_gpu_program *program, unsigned stream);
void mxg_program_transfer(mxg_gpu_program *program, const mxg_transfer *transfer);
uint32_t mxg_program_record(mxg_gpu_program *program, unsigned stream); /* an event */
void mxg_program_follow(mxg_gpu_program *program, unsigned stream, uint32_t event);
/* `stream` goes on when all that `before` has so far is done. */
void mxg_program_order(mxg_gpu_program *program, unsigned before, unsigned stream);
/* Turn `turn` is over when all that `stream` has so far is done; or `stream` goes on when that turn, of another rank's
** program, is over. Programs that have such ops are given together: joint.c. */
void mxg_program_pass(mxg_gpu_program *program, unsigned stream, uint32_t turn);
void mxg_program_take(mxg_gpu_program *program, unsigned stream, uint32_t turn);
/* What `stream` has so far finishes step `step` of the plan: for saying where a run stands. */
void mxg_program_mark(mxg_gpu_program *program, unsigned stream, uint32_t step);

/* ---- running it, on the thread that uses the GPU ---- */

/* Events, tables, and streams that are missing. `functions`: by kernel of the plan. `graph`: as one launch. */
mxg_status mxg_program_ready(mxg_gpu_program *program, mxg_gpu_streams *streams, const mxg_plan *plan,
                             mxg_cu_function *const *functions, bool graph, mxg_error *err);
/* What of it is under way ends nonetheless; another start would go op by op. */
void mxg_program_drop_graph(mxg_gpu_program *program);
/* The parts of giving: what comes before the ops, and op `op`. `times`: as in mxg_program_start_timed; NULL: none. */
mxg_status mxg_program_give_begin(const mxg_gpu_program *program, mxg_cu_event *const *times, mxg_error *err);
mxg_status mxg_program_give_op(const mxg_gpu_program *program, size_t op, const mxg_plan *plan,
                               mxg_cu_function *const *functions, mxg_cu_event *const *times, mxg_error *err);
/* Gives all of it to the GPU, op by op: inside a capture too, which stream 0 must be in. */
mxg_status mxg_program_give(const mxg_gpu_program *program, const mxg_plan *plan, mxg_cu_function *const *functions,
                            mxg_error *err);
/* Gives all of it to the GPU with its end event, and returns at once. */
mxg_status mxg_program_start(mxg_gpu_program *program, const mxg_plan *plan, mxg_cu_function *const *functions,
                             mxg_error *err);
/* The same op by op, with an event of `times` before all of them and two around each: for traces. */
size_t mxg_program_time_count(const mxg_gpu_program *program);
mxg_status mxg_program_start_timed(mxg_gpu_program *program, const mxg_plan *plan, mxg_cu_function *const *functions,
                                   mxg_cu_event *const *times, mxg_error *err);
/* Chrome trace events of a program that was started so and has ended, each with a comma before it but the first of all.
 */
mxg_status mxg_program_trace(const mxg_gpu_program *program, const mxg_plan *plan, mxg_cu_event *const *times,
                             uint32_t rank, mxg_text *out, mxg_error *err);
/* Reads the marks, while the program runs; false: the GPU did not answer in time. */
bool mxg_program_look(mxg_gpu_program *program);
/* The first marked step that was not done at the last look; MXG_NONE: all were. */
uint32_t mxg_program_stands_at(const mxg_gpu_program *program);
/* `lost`: work is still under way and may never end; what would wait for it is left to the process's end. */
void mxg_program_free(mxg_gpu_program *program, bool lost);

#endif
