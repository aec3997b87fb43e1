/* transport.h -- inside of libmxrt: an executor as transports see it, and the table of functions that a transport is.
**
** exec.c owns names, places and every check of what the caller gives; a transport gets a plan that was checked, memory
** that fits it, and moves the bytes. */
#ifndef MXG_TRANSPORT_H
#define MXG_TRANSPORT_H

#include "launch.h"
#include "mxrt.h"
#include "plan.h"

typedef struct mxg_agreement mxg_agreement;

/* What exec.c knows, complete when a transport's run is called. Transports change nothing in it. */
typedef struct mxg_exec_view {
  const mxg_bundle *bundle;
  const mxg_plan *plan;
  mxg_exec_options options;
  const uint32_t *ranks; /* the ranks of this process, ascending */
  uint32_t rank_count;
  const mxg_place *places; /* one an array; 0 where nothing is bound, and for scratch */
  const bool *kept;        /* one an array: a target that is its source's memory already; its pieces are not moved */
  const mxg_agreement *agreement; /* with the other processes of the run; NULL: there are none */
  double deadline;                /* of the run under way, in seconds of mxg_now() */
} mxg_exec_view;

/* The GPU that rank `index` of this process has, of `gpus` that the process sees. */
int mxg_view_gpu(const mxg_exec_view *view, uint32_t index, int gpus);
/* Its address on the machine's bus, "0000:3f:00.0"; "" where there is none. */
void mxg_view_gpu_name(const mxg_exec_view *view, uint32_t index, char *text, size_t room);

typedef struct mxg_transport_table {
  const char *name; /* "host" */
  /* Looks for what the transport needs. `view` lives longer than *state, and its places are not yet bound. */
  mxg_status (*open)(void **state, const mxg_exec_view *view, mxg_error *err);
  /* One array was bound: registers memory, for example. NULL: nothing to do. */
  mxg_status (*bind)(void *state, uint32_t array, mxg_error *err);
  /* Collective, when a binding of any process is new: agreement->wanted sources become readable here. NULL without
  ** one: the transport does not work between processes. */
  mxg_status (*share)(void *state, mxg_error *err);
  /* What run, measure and trace need: programs, connections. Its time is not the run's. NULL: nothing to make. */
  mxg_status (*make)(void *state, mxg_error *err);
  /* The whole schedule of this process's ranks, to its end. Returns after every thread and copy that it began. */
  mxg_status (*run)(void *state, mxg_error *err);
  /* mxg_exec_prepare, _start and _wait, of groups that there are and with everything bound. `streams`: as the
  ** caller gave them. *captured: they are being captured. Without wait, start has done all, and the others are not
  ** there either. */
  mxg_status (*captures)(void *state, void *const *streams, bool *captured, mxg_error *err); /* only looks */
  mxg_status (*prepare)(void *state, mxg_error *err);
  mxg_status (*start)(void *state, uint32_t group, void *const *streams, bool *captured, mxg_error *err);
  mxg_status (*wait)(void *state, uint32_t group, mxg_error *err);
  void (*close)(void *state); /* NULL is fine */
  /* mxg_exec_measure, _trace and _device_bytes. NULL: there is no device. */
  mxg_status (*measure)(void *state, unsigned repeats, double *seconds, double *fastest, double *start_seconds,
                        mxg_error *err);
  mxg_status (*trace)(void *state, const char *path, mxg_error *err);
  uint64_t (*device_bytes)(const void *state, uint32_t rank);
  /* The flight recorder, for a failure that run itself did not see. NULL: there is nothing to tell. */
  void (*tell)(const void *state);
} mxg_transport_table;

extern const mxg_transport_table mxg_transport_host;
extern const mxg_transport_table mxg_transport_copy;
extern const mxg_transport_table mxg_transport_direct;
extern const mxg_transport_table mxg_transport_nccl;

#endif
