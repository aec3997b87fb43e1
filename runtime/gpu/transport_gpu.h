/* transport_gpu.h -- what the transports with GPUs share: a GPU a rank, kernels, memory of slots, and
 *the
 ** run with its deadline. A transport is then a function that fills a rank's program. */
#ifndef MXG_TRANSPORT_GPU_H
#define MXG_TRANSPORT_GPU_H

#include "gpu_program.h"
#include "share.h"
#include "transport.h"

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
  mxg_gpu_program program;
  mxg_cu_event **times;        /* of mxg_exec_measure and _trace */
  uint64_t flush, flush_bytes; /* of mxg_exec_measure: memory to push others out of the L2 */
  uint64_t device_bytes;
  double *seen_at; /* by mark: seconds after the start at which it was first seen done; 0: not seen */
  /* of one run */
  mxg_error error;
  double started, ended, start_seconds, begun;
  bool lost;
} mxg_gpu_rank;

/* Fills the rank's program. Places of scratch arrays are settled, slots are there. */
typedef void (*mxg_gpu_build)(mxg_gpu_rank *rank);

struct mxg_gpu_team {
  const mxg_exec_view *view;
  const char *name; /* of the transport */
  mxg_gpu_build build;
  bool stages; /* wires lie in slots; otherwise only scratch does */
  mxg_gpu_rank *ranks;
  uint32_t count;
  mxg_place *places; /* the view's, and scratch's */
  mxg_place *homes;  /* where the allocation begins that each lies in; 0: not known. NULL: of none */
  bool *kept;        /* as the programs were made for */
  bool ready;        /* programs are made for these places */
  mxg_place *remote; /* by array: sources in other processes that are readable here; NULL without a job */
  mxg_share *share;
  uint32_t turns; /* meetings of all processes so far */
};

mxg_status mxg_team_open(void **state, const mxg_exec_view *view, const char *name, mxg_gpu_build build, bool stages,
                         mxg_error *err);
mxg_status mxg_team_bind(void *state, uint32_t array, mxg_error *err);
mxg_status mxg_team_share(void *state, mxg_error *err);
mxg_status mxg_team_run(void *state, mxg_error *err);
mxg_status mxg_team_measure(void *state, unsigned repeats, double *seconds, double *start_seconds, mxg_error *err);
mxg_status mxg_team_trace(void *state, const char *path, mxg_error *err);
uint64_t mxg_team_device_bytes(const void *state, uint32_t rank);
void mxg_team_tell(const void *state);
void mxg_team_close(void *state);

/* ---- between team.c and team_run.c ---- */

/* Frees the program and the memory of slots; what is lost (still under way) is left. */
void mxg_rank_drop_program(mxg_gpu_rank *rank);
bool mxg_rank_has_ended(mxg_gpu_rank *rank);
/* Memory for the part of each slot that the rank needs. */
mxg_status mxg_rank_take_slots(mxg_gpu_rank *rank, mxg_error *err);

/* ---- for filling programs: gpu_rank.c ---- */

/* What of each slot the rank needs; the memory is allocated by the caller. Then: scratch arrays get
 * their places. */
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

/* Pieces cut by rows, for programs that work in smaller units than the plan's. */
typedef struct mxg_parts {
  mxg_piece *pieces;
  mxg_segment *segments;
  size_t count, capacity, segment_count, segment_capacity;
  bool failed;
} mxg_parts;

/* Adds `piece` of `plan` as parts of about `bytes` of the source's data each. Cuts fall on blocks of both sides. In a
** slot the parts lie where the piece does; where they would need more room, it stays whole. Returns how many. */
uint32_t mxg_parts_add(mxg_parts *parts, const mxg_plan *plan, const mxg_piece *piece, uint64_t bytes);
/* The same plan with these pieces and segments; borrowed. */
mxg_plan mxg_parts_plan(const mxg_parts *parts, const mxg_plan *plan);
void mxg_parts_free(mxg_parts *parts);

#endif
