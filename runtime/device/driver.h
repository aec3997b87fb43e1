/* driver.h -- GPUs through NVIDIA's driver: memory, streams, events, kernels and graphs. driver.c is the only file
** that calls cu*; no CUDA header is needed, and a program that uses this starts on a machine without a GPU.
**
** A GPU is used by the threads that have called mxg_gpu_use for it (each call of this header but open and close
** needs that). It is the device's primary context, so PyTorch and the CUDA runtime in the same process share memory
** and streams with it. Addresses are uint64_t; stream NULL is the default stream. After MXG_ERR_CUDA the error's
** `native` is the CUresult; asynchronous failures surface in a later call. */
#ifndef MXG_DRIVER_H
#define MXG_DRIVER_H

#include "mxrt.h"

#include "mx_abi.h"

typedef struct mxg_gpu mxg_gpu;
typedef struct mxg_cu_stream mxg_cu_stream; /* what CUstream points to */
typedef struct mxg_cu_event mxg_cu_event;
typedef struct mxg_cu_module mxg_cu_module;
typedef struct mxg_cu_function mxg_cu_function;
typedef struct mxg_cu_graph mxg_cu_graph; /* what CUgraphExec points to */

/* Where the driver was found and what it is: for `mxgen doctor` and for errors. */
typedef struct mxg_driver_state {
  bool found, usable;
  char path[512];
  char version[16];  /* newest CUDA version it serves: "13.0" */
  char problem[256]; /* "" when usable */
  char help[256];
  int native; /* CUresult of cuInit */
  int devices;
} mxg_driver_state;
void mxg_driver_find(mxg_driver_state *state);

typedef struct mxg_gpu_info {
  char name[96];
  int major, minor; /* compute capability */
  int ordinal, processors;
  uint64_t memory, l2_bytes;
} mxg_gpu_info;

/* The number of GPUs: MXG_ERR_ENVIRONMENT without a driver that works, and the error says why. */
mxg_status mxg_gpu_count(int *count, mxg_error *err);
/* Starts no context. */
mxg_status mxg_gpu_ask(mxg_gpu_info *info, int ordinal, mxg_error *err);

/* Retains the primary context and makes it this thread's. */
mxg_status mxg_gpu_open(mxg_gpu **out, int ordinal, mxg_error *err);
void mxg_gpu_close(mxg_gpu *gpu);
const mxg_gpu_info *mxg_gpu_about(const mxg_gpu *gpu);
mxg_status mxg_gpu_use(const mxg_gpu *gpu, mxg_error *err);
/* What this thread has current, ours or not, and back to it: around work in a caller's thread. Never fail. */
void *mxg_gpu_current(void);
void mxg_gpu_restore(void *current);
mxg_status mxg_gpu_free_bytes(uint64_t *bytes, mxg_error *err);
/* Lets kernels and copies of `gpu` reach the memory of `peer`. MXG_ERR_UNSUPPORTED where the machine cannot. */
mxg_status mxg_gpu_reach(const mxg_gpu *gpu, const mxg_gpu *peer, mxg_error *err);

/* Where a GPU sits in the machine, "0000:3F:00.0": the same in every process, whatever it sees of the GPUs. */
mxg_status mxg_gpu_bus_name(char *text, size_t room, int ordinal, mxg_error *err);
/* Whether a GPU reaches the memory of the one at `bus_name`; where this process does not see that one, nothing speaks
** against it. */
mxg_status mxg_gpu_can_reach(bool *can, int ordinal, const char *bus_name, mxg_error *err);

/* ---- memory; copies go either way, and are asynchronous on pinned memory ---- */

mxg_status mxg_gpu_alloc(uint64_t *address, uint64_t bytes, mxg_error *err);
void mxg_gpu_free(uint64_t address); /* 0 is fine */
mxg_status mxg_gpu_alloc_pinned(void **out, uint64_t bytes, mxg_error *err);
void mxg_gpu_free_pinned(void *memory);
mxg_status mxg_gpu_copy(uint64_t dst, uint64_t src, uint64_t bytes, mxg_cu_stream *stream, mxg_error *err);
/* `height` rows of `width` bytes, whose beginnings are `*_pitch` bytes apart. */
mxg_status mxg_gpu_copy_rows(uint64_t dst, uint64_t dst_pitch, uint64_t src, uint64_t src_pitch, uint64_t width,
                             uint64_t height, mxg_cu_stream *stream, mxg_error *err);
/* The GPU whose memory an address is; -1: no GPU's. */
mxg_status mxg_gpu_owner(int *ordinal, uint64_t address, mxg_error *err);
/* The beginning of the allocation that an address of a GPU's memory lies in; 0 of 0. */
mxg_status mxg_gpu_home(uint64_t *begin, uint64_t address, mxg_error *err);
mxg_status mxg_gpu_fill(uint64_t dst, uint8_t byte, uint64_t bytes, mxg_cu_stream *stream, mxg_error *err);
mxg_status mxg_gpu_fill_rows(uint64_t dst, uint64_t pitch, uint8_t byte, uint64_t width, uint64_t height,
                             mxg_cu_stream *stream, mxg_error *err);

/* ---- memory of other processes of the machine ---- */

typedef struct mxg_gpu_handle { /* CUipcMemHandle */
  unsigned char bytes[64];
} mxg_gpu_handle;

/* The allocation that an address is in. */
mxg_status mxg_gpu_range(uint64_t *base, uint64_t *bytes, uint64_t address, mxg_error *err);
/* Only whole allocations of cuMemAlloc (cudaMalloc) can be given to another process. */
mxg_status mxg_gpu_export(mxg_gpu_handle *handle, uint64_t base, mxg_error *err);
mxg_status mxg_gpu_import(uint64_t *base, const mxg_gpu_handle *handle, mxg_error *err);
void mxg_gpu_import_close(uint64_t base); /* 0 is fine */
/* Makes memory of the host one that GPUs write and wait on. */
mxg_status mxg_gpu_register(uint64_t *address, void *memory, uint64_t bytes, mxg_error *err);
void mxg_gpu_unregister(void *memory); /* NULL is fine */

/* ---- order ---- */

mxg_status mxg_stream_create(mxg_cu_stream **out, mxg_error *err);
void mxg_stream_free(mxg_cu_stream *stream);
mxg_status mxg_stream_wait(mxg_cu_stream *stream, mxg_error *err); /* the host waits */
/* Whether all work so far is done; for waits with a deadline. */
mxg_status mxg_stream_done(bool *done, mxg_cu_stream *stream, mxg_error *err);
/* The stream writes a flag when all before is done; it goes on when the flag is `value`, or at least that. */
mxg_status mxg_stream_write(mxg_cu_stream *stream, uint64_t flag, uint32_t value, mxg_error *err);
mxg_status mxg_stream_await(mxg_cu_stream *stream, uint64_t flag, uint32_t value, bool exactly, mxg_error *err);
mxg_status mxg_event_create(mxg_cu_event **out, bool timed, mxg_error *err);
void mxg_event_free(mxg_cu_event *event);
mxg_status mxg_event_record(mxg_cu_event *event, mxg_cu_stream *stream, mxg_error *err);
mxg_status mxg_event_follow(mxg_cu_stream *stream, mxg_cu_event *event, mxg_error *err); /* the stream waits */
mxg_status mxg_event_done(bool *done, mxg_cu_event *event, mxg_error *err);              /* all before it has ended */
mxg_status mxg_event_wait(mxg_cu_event *event, mxg_error *err);
mxg_status mxg_event_between(float *milliseconds, mxg_cu_event *start, mxg_cu_event *end, mxg_error *err);

/* ---- kernels ---- */

mxg_status mxg_module_load(mxg_cu_module **out, const void *cubin, mxg_error *err);
void mxg_module_free(mxg_cu_module *module);
mxg_status mxg_module_function(mxg_cu_function **out, mxg_cu_module *module, const char *name, mxg_error *err);

typedef struct mxg_function_use {
  int registers, shared_bytes, local_bytes, blocks_per_processor;
} mxg_function_use;
mxg_status mxg_function_about(mxg_function_use *use, mxg_cu_function *function, unsigned threads, mxg_error *err);

/* The work of one launch: a table of `count` entries that lies on the GPU at `entries`, and its first entry. `early`:
** it may begin while the kernel before it in the stream ends, for which it waits by itself (mx_entry.cuh); from compute
** capability 9.0 on. On an H100 that saves 0.3 us in a graph and 1.8 call by call. Schedules do without: none was
** faster, and a capture of eight ranks on two H100s refused it. */
typedef struct mxg_gpu_work {
  uint64_t entries, tiles;
  uint32_t count;
  const mx_entry *first;
  bool early;
} mxg_gpu_work;

/* A generated kernel: one thread block a tile. 0 tiles: nothing is launched. */
mxg_status mxg_gpu_launch(mxg_cu_function *function, unsigned threads, const mxg_gpu_work *work, mxg_cu_stream *stream,
                          mxg_error *err);

/* The same with few blocks at a time, so that it takes a part of the memory's bandwidth only. First, once for each
** function: the shared memory that leaves a multiprocessor of this thread's GPU room for `blocks` of its blocks. */
mxg_status mxg_function_spread(unsigned *shared_bytes, mxg_cu_function *function, unsigned blocks, mxg_error *err);
mxg_status mxg_gpu_launch_spread(mxg_cu_function *function, unsigned threads, unsigned shared_bytes,
                                 const mxg_gpu_work *work, mxg_cu_stream *stream, mxg_error *err);

/* ---- graphs: what is put on `stream` between begin and end becomes one launch ---- */

/* The capture that a stream is in; 0: none. */
mxg_status mxg_stream_capture(uint64_t *id, mxg_cu_stream *stream, mxg_error *err);
mxg_status mxg_graph_begin(mxg_cu_stream *stream, mxg_error *err);
mxg_status mxg_graph_end(mxg_cu_graph **out, mxg_cu_stream *stream, mxg_error *err);
mxg_status mxg_graph_launch(mxg_cu_graph *graph, mxg_cu_stream *stream, mxg_error *err);
void mxg_graph_free(mxg_cu_graph *graph);

#endif
