/* transport_gpu.h -- what the transports with GPUs share: a GPU a rank, kernels, memory of slots, and the run with
** its deadline. A transport is then a function that fills a rank's program. */
#ifndef MXG_TRANSPORT_GPU_H
#define MXG_TRANSPORT_GPU_H

#include "gpu_program.h"
#include "share.h"
#include "transport.h"
#include "turns.h"
#include "weave.h"

#include <stdatomic.h>

typedef struct mxg_gpu_team mxg_gpu_team;

typedef struct mxg_gpu_slot {
  uint64_t memory;     /* allocation */
  uint64_t begin, end; /* what of the plan's slot it holds */
} mxg_gpu_slot;

typedef struct mxg_gpu_rank {
  mxg_gpu_team *team;
  uint32_t rank;
  int ordinal;
  mxg_gpu *gpu;
  mxg_cu_module **modules;     /* by kernel; NULL: not used */
  mxg_cu_function **functions; /* by kernel */
  mxg_gpu_slot *slots;         /* the plan's */
  mxg_nccl *nccl;              /* of a team that exchanges; NULL: not opened */
  uint64_t staging;            /* of such a team */
  mxg_gpu_streams streams;
  mxg_gpu_program program;     /* in the making; then: of all groups */
  mxg_gpu_program *parts;      /* by group; NULL: not made */
  mxg_cu_event *begin;         /* of mxg_exec_start, on the caller's stream */
  mxg_cu_event *captured[2];   /* begin and end of a start inside a capture: what a host may not ask for */
  uint64_t capture;            /* that the caller's stream is in; 0: none */
  mxg_cu_event **times;        /* of mxg_exec_measure and _trace */
  uint64_t flush, flush_bytes; /* of mxg_exec_measure: memory to push others out of the L2 */
  uint64_t device_bytes;
  /* of one run */
  mxg_error error;
  mxg_gpu_program *waited; /* the program that was waited for last */
  double started, ended, start_seconds, begun;
  bool lost;
} mxg_gpu_rank;

/* Fills the rank's program with the steps that mxg_rank_takes. Places of scratch arrays are settled, slots are there.
 */
typedef void (*mxg_gpu_build)(mxg_gpu_rank *rank);

/* Ranks that take turns: one thread starts them, and their graphs are one over all GPUs. */
typedef struct mxg_joint {
  mxg_cu_event **batons; /* by turn, each of the GPU of the turn's rank: recorded where it ends */
  mxg_cu_event **met;    /* by rank of the team, of stream 0 */
  mxg_weave weave;
  mxg_cu_graph *whole, **parts; /* of all groups, and by group; NULL: not made, or they go op by op */
} mxg_joint;

struct mxg_gpu_team {
  const mxg_exec_view *view;
  const char *name; /* of the transport */
  mxg_gpu_build build;
  bool stages;    /* wires lie in slots; otherwise only scratch does */
  bool exchanges; /* ranks send to each other, and reach nothing themselves */
  unsigned char nccl_id[MXG_NCCL_ID_BYTES];
  atomic_bool gave_up; /* a rank's exchanges came to nothing, so those of the others do too */
  mxg_gpu_rank *ranks;
  uint32_t count;
  mxg_place *places; /* the view's, and scratch's */
  mxg_place *homes;  /* where the allocation begins that each lies in; 0: not known. NULL: of none */
  bool *kept;        /* as the programs were made for */
  bool ready;        /* slots are there for these places */
  unsigned made;     /* the programs of MXG_MADE_* are there too */
  mxg_place *remote; /* by array: sources in other processes that are readable here; NULL without a job */
  mxg_share *share;
  uint32_t meetings; /* of all processes so far */
  mxg_turns *turns;  /* that ranks take at their sources; NULL: none */
  mxg_joint *joint;  /* of ranks that take turns; NULL: each is started by itself */
};

enum { MXG_MADE_WHOLE = 1, MXG_MADE_PARTS = 2, MXG_MADE_ALL = 3 };

mxg_status mxg_team_open(void **state, const mxg_exec_view *view, const char *name, mxg_gpu_build build, bool stages,
                         bool exchanges, mxg_error *err);
mxg_status mxg_team_bind(void *state, uint32_t array, mxg_error *err);
mxg_status mxg_team_share(void *state, mxg_error *err);
mxg_status mxg_team_make_whole(void *state, mxg_error *err);
mxg_status mxg_team_run(void *state, mxg_error *err);
mxg_status mxg_team_captures(void *state, void *const *streams, bool *captured, mxg_error *err);
mxg_status mxg_team_prepare(void *state, mxg_error *err);
mxg_status mxg_team_start(void *state, uint32_t group, void *const *streams, bool *captured, mxg_error *err);
mxg_status mxg_team_wait(void *state, uint32_t group, mxg_error *err);
mxg_status mxg_team_measure(void *state, unsigned repeats, double *seconds, double *fastest, double *start_seconds,
                            mxg_error *err);
mxg_status mxg_team_trace(void *state, const char *path, mxg_error *err);
uint64_t mxg_team_device_bytes(const void *state, uint32_t rank);
void mxg_team_tell(const void *state);
void mxg_team_close(void *state);
/* Those of a transport's table; its .name, .open and .share are its own. */
#define MXG_TEAM_CALLS                                                                                    \
  .bind = mxg_team_bind, .make = mxg_team_make_whole, .run = mxg_team_run, .captures = mxg_team_captures, \
  .prepare = mxg_team_prepare, .start = mxg_team_start, .wait = mxg_team_wait, .close = mxg_team_close,   \
  .measure = mxg_team_measure, .trace = mxg_team_trace, .device_bytes = mxg_team_device_bytes, .tell = mxg_team_tell

/* ---- between team.c and team_run.c ---- */

/* Frees the programs and the memory of slots; what is lost (still under way) is left. */
void mxg_rank_drop_programs(mxg_gpu_rank *rank);
bool mxg_rank_has_ended(mxg_gpu_rank *rank);
/* Memory for the part of each slot that the rank needs. */
mxg_status mxg_rank_take_slots(mxg_gpu_rank *rank, mxg_error *err);

/* ---- exchanges: nccl_team.c. Without them there is nothing to do ---- */

/* Whether transport nccl is possible for the ranks of a view; otherwise the error says why not. */
mxg_status mxg_nccl_may(const mxg_exec_view *view, mxg_error *err);
/* Before the ranks join: what they have in common. After a failure, for new communicators. */
mxg_status mxg_team_meet(mxg_gpu_team *team, mxg_error *err);
/* On every rank's thread: its communicator. Programs that used another are gone. */
mxg_status mxg_rank_join(mxg_gpu_rank *rank, mxg_error *err);
/* Both, with a thread a rank. */
mxg_status mxg_team_join(mxg_gpu_team *team, mxg_error *err);
/* Until when communicators and connections may take to open. */
double mxg_team_patience(const mxg_gpu_team *team);
/* On every rank's thread, after its slots are measured. */
mxg_status mxg_rank_take_staging(mxg_gpu_rank *rank, mxg_error *err);
/* Whether all processes came here with MXG_OK; `own` is this one's. */
mxg_status mxg_team_agree(mxg_gpu_team *team, const mxg_error *own, mxg_error *err);
/* Before a team is closed: where a process of the job is lost or late, nothing is asked of its NCCL any more. */
void mxg_team_leave(mxg_gpu_team *team);
/* Ends the exchanges that are under way, and waits half a second for the GPUs to be done with them. */
void mxg_team_give_up(mxg_gpu_team *team);

/* ---- between processes: meet.c ---- */

/* On `stream`, before and after a rank's program for `group`: until every rank of another process that is its peer
** there has begun as well, so that its sources are ready; and until those that read this rank's sources have
** ended. What is given to the stream can be captured. Nothing to do where all ranks are of one process. */
mxg_status mxg_rank_meet_begin(mxg_gpu_rank *rank, uint32_t group, mxg_cu_stream *stream, mxg_error *err);
mxg_status mxg_rank_meet_end(mxg_gpu_rank *rank, uint32_t group, mxg_cu_stream *stream, mxg_error *err);

/* ---- ranks that take turns: team_turns.c, and joint.c for teams with a joint ---- */

/* Once, before anything is bound: whether there are turns; then the team gets its joint. */
mxg_status mxg_team_find_turns(mxg_gpu_team *team, mxg_error *err);

mxg_status mxg_team_make_joint(mxg_gpu_team *team, mxg_error *err);
/* What the programs of `rank`, which is about to make them, need. */
mxg_status mxg_joint_prepare(mxg_gpu_rank *rank, mxg_error *err);
/* After the ranks made their programs of MXG_MADE_*: the graphs. */
mxg_status mxg_joint_make(mxg_gpu_team *team, unsigned made, mxg_error *err);
/* Frees the graphs, before the programs they were made of; and all of it. `lost`: work is still under way. */
void mxg_joint_drop(mxg_gpu_team *team);
void mxg_joint_free(mxg_gpu_team *team, bool lost);
/* Gives the programs of all ranks to their GPUs, op by op: inside captures too. */
mxg_status mxg_joint_give(mxg_gpu_team *team, uint32_t group, mxg_error *err);
/* The same as one graph where there is one, with the programs' end events, and returns at once: what stream 0 of each
** rank has so far comes before. `timed`: op by op, with the ranks' times. */
mxg_status mxg_joint_start(mxg_gpu_team *team, uint32_t group, bool timed, mxg_error *err);
/* After a deadline: what has not ended is lost, whichever rank noticed first. */
void mxg_joint_note_lost(mxg_gpu_team *team);

/* ---- for filling programs: gpu_rank.c ---- */

/* The program of `group`, or of all groups: MXG_ALL_GROUPS. */
mxg_gpu_program *mxg_rank_program(mxg_gpu_rank *rank, uint32_t group);
/* Whether a step belongs into the program in the making: it is of the program's group. */
bool mxg_rank_takes(const mxg_gpu_rank *rank, const mxg_step *step);
/* Wire bytes that the steps of the program in the making receive. */
uint64_t mxg_rank_receives(const mxg_gpu_rank *rank);

/* What of each slot the rank needs; the memory is allocated by the caller. Then: scratch arrays get their places. */
void mxg_rank_measure_slots(mxg_gpu_rank *rank);
void mxg_rank_place_scratch(mxg_gpu_rank *rank);

/* Byte `offset` of slot `slot`. */
uint64_t mxg_rank_slot(const mxg_gpu_rank *rank, uint32_t slot);
/* A FILL step, on a stream. */
void mxg_rank_fill(mxg_gpu_rank *rank, unsigned stream, const mxg_step *step);
/* Pieces of `plan` (the view's, or one with pieces of its own), all of one kernel, as one launch. */
void mxg_rank_convert(mxg_gpu_rank *rank, unsigned stream, const mxg_plan *plan, uint32_t first, uint32_t count,
                      uint64_t slot, bool direct);

/* The builds of the transports. */
void mxg_copy_build(mxg_gpu_rank *rank);
void mxg_direct_build(mxg_gpu_rank *rank);
void mxg_nccl_build(mxg_gpu_rank *rank);
/* Bytes that its programs need at rank->staging; false: no memory. */
bool mxg_nccl_measure(mxg_gpu_rank *rank, uint64_t *bytes);

#endif
