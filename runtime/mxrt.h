/* mxrt.h -- run a bundle that mxgen made. Public header of libmxrt; needs neither Lua nor NVRTC.
**
** Units: sizes are bytes, shapes are elements, ranks count from 0 in one numbering for both sides.
** Ownership: an `out` object belongs to the caller and goes back through its own _free; _free(NULL) does nothing.
** Errors: a call that can fail returns mxg_status and, if `err` is not NULL, fills it. On failure *out is NULL.
** Threads: a bundle is immutable and may be shared. An executor is used by one thread at a time. */
#ifndef MXRT_H
#define MXRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef enum mxg_status {
  MXG_OK = 0,
  MXG_ERR_USAGE = 1,       /* the caller broke a rule of this header, or of the command line */
  MXG_ERR_NOMEM = 2,       /* host memory */
  MXG_ERR_IO = 3,          /* a file could not be read or written */
  MXG_ERR_INPUT = 4,       /* a recipe or a checkpoint is wrong; the error says where */
  MXG_ERR_BUNDLE = 5,      /* not a bundle, a damaged one, or one of another version */
  MXG_ERR_UNSUPPORTED = 6, /* right, and this device or version cannot do it */
  MXG_ERR_ENVIRONMENT = 7, /* a library or device that is needed is missing; the error says what was searched */
  MXG_ERR_COMPILE = 8,     /* NVRTC refused generated source: a bug in mxgen */
  MXG_ERR_WRONG = 9,       /* a result is not what it must be */
  MXG_ERR_TIMEOUT = 10,    /* a deadline passed or a rank was lost */
  MXG_ERR_CUDA = 11,       /* native is the CUresult */
  MXG_ERR_NCCL = 12        /* native is the ncclResult_t */
} mxg_status;

/* Owned by the caller, no pointers inside: copy it, keep it, fill it when out of memory. Texts are NUL-terminated
** and cut to fit. `code` 304 is shown as MX0304; `mxgen explain MX0304` tells more. Its layout is fixed, which is
** why it alone of the structs here does not begin with its size: fields are neither added nor moved. */
typedef struct mxg_error {
  mxg_status status;
  unsigned code;
  int native;     /* CUresult, nvrtcResult, ncclResult_t or errno; 0 when none */
  int line;       /* 1-based; 0 when no line is known */
  int column;     /* 1-based; 0 when no column is known */
  int span;       /* characters to underline from column; 0 when unknown */
  char file[256]; /* recipe, checkpoint, template or bundle; "" when none. Keeps the tail of a longer path */
  char text[512]; /* one sentence, no newline, no trailing period */
  char note[512]; /* which tensors are concerned, how many; "" when none */
  char help[512]; /* what to write instead; "" when none */
} mxg_error;

const char *mxg_status_name(mxg_status status); /* "MXG_ERR_INPUT"; never NULL */
const char *mxg_version(void);                  /* "0.1.0", of the library, not of this header */

/* The version of this header, as a number: major * 10000 + minor * 100 + patch. */
#define MXRT_VERSION 100
/* MXG_ERR_UNSUPPORTED where a program that was compiled with the header of that version cannot use this library: the
** library is older, or so much newer that calls changed (another major version; before 1.0 another minor one). For
** programs that load the library themselves: mxg_version_check(MXRT_VERSION, &err). */
mxg_status mxg_version_check(unsigned header, mxg_error *err);

/* ---- bundle: a plan for every rank, and its kernels -------------------------------------------------------------- */

typedef struct mxg_bundle mxg_bundle;

typedef enum mxg_side { MXG_SOURCE = 0, MXG_TARGET = 1, MXG_SCRATCH = 2 } mxg_side;

/* Reads all or nothing: magic, version, sizes, SHA-256, and every index and range of the plan are checked before use.
 */
mxg_status mxg_bundle_load(mxg_bundle **out, const char *path, mxg_error *err);
/* The same from memory; `bytes` is copied and may go away. `name` stands for the file in errors. */
mxg_status mxg_bundle_read(mxg_bundle **out, const void *bytes, size_t count, const char *name, mxg_error *err);
/* Writes beside `path` and renames: an existing file stays whole on any failure. */
mxg_status mxg_bundle_save(const mxg_bundle *bundle, const char *path, mxg_error *err);
/* 64 hex digits over plan, kernel sources and versions: equal for equal bundles, on any machine. Lives with the bundle.
 */
const char *mxg_bundle_digest(const mxg_bundle *bundle);

/* A stored tensor that one rank holds on one side: what mxg_exec_bind takes. New fields go at the end. */
typedef struct mxg_tensor_info {
  size_t size; /* sizeof(mxg_tensor_info) of the caller's header: set before the call */
  mxg_side side;
  uint32_t rank;
  const char *name;                 /* lives with the bundle */
  uint64_t data_bytes, scale_bytes; /* scale_bytes 0: the format has no scales */
  uint32_t first_group, group;      /* a target is written by groups from first_group to group, most often one; a source
                                    ** by none: MXG_ALL_GROUPS */
  const char *tensor;               /* the logical tensor that it is of: "layers.12.attn.qkv"; lives with the bundle */
  const char *dtype, *scale_dtype;  /* as safetensors files name them: "F8_E4M3", "BF16", "U8"; "" for no scales */
  uint32_t ndim, scale_ndim;
  uint64_t shape[3], scale_shape[3]; /* elements, outermost first, with the padding of the scales' layout; then 0 */
} mxg_tensor_info;

/* The number of stored tensors, those of source ranks first; mxg_bundle_tensor takes an index below it. */
uint32_t mxg_bundle_tensors(const mxg_bundle *bundle);
mxg_status mxg_bundle_tensor(mxg_tensor_info *out, const mxg_bundle *bundle, uint32_t index, mxg_error *err);

/* What mxg_exec_start starts: a bucket of every rank, or, with `groups = "layer"` in the recipe's schedule, a
** layer. Groups are numbered from 0 in the order of a run. The name, "bucket 3" or "layers.12", lives with the
** bundle; NULL: there is no such group. */
#define MXG_ALL_GROUPS UINT32_MAX
uint32_t mxg_bundle_groups(const mxg_bundle *bundle);
const char *mxg_bundle_group_name(const mxg_bundle *bundle, uint32_t group);
void mxg_bundle_free(mxg_bundle *bundle);

/* ---- job: the processes of one run ------------------------------------------------------------------------------- */

/* One process a GPU is usual; a process may also have several of a bundle's ranks. What is exchanged here is small:
** digests, handles, barriers. `rank` and `world` count processes. Start from MXG_JOB_INIT; new fields go at the end. */
typedef struct mxg_job_options {
  size_t size;          /* sizeof(mxg_job_options) of the caller's header */
  uint32_t rank, world; /* world 0: both from the launcher's RANK and WORLD_SIZE */
  const char *address;  /* where process 0 is, a name or an IP address; NULL: MASTER_ADDR, or else 127.0.0.1 */
  unsigned port;       /* process 0 listens here; 0: MXGEN_PORT, or else MASTER_PORT + 1 (the launcher keeps its own) */
  unsigned timeout_ms; /* for all processes to come; 0: 60 s */
} mxg_job_options;

#define MXG_JOB_INIT \
  { sizeof(mxg_job_options), 0, 0, NULL, 0, 0 }

typedef struct mxg_job mxg_job;

/* Collective: returns when all processes are there, or fails on all of them. MXG_ERR_TIMEOUT names who did not come;
** MXG_ERR_USAGE says what differs, of two processes that do not belong together. Used by one thread at a time. After a
** process was lost every call that needs it fails with MXG_ERR_TIMEOUT and names it; free the job, and create a new
** one. Process 0 listens only while processes come; whoever reaches that port and is not of this job is refused. */
mxg_status mxg_job_create(mxg_job **out, const mxg_job_options *options, mxg_error *err);
/* After the executors that use it. The other processes see this one as gone. */
void mxg_job_free(mxg_job *job);

/* ---- executor ---------------------------------------------------------------------------------------------------- */

/* Transports nccl, copy and direct take tensors in the memory of the ranks' GPUs, host in the process's. nccl needs
** a GPU for each rank and libnccl 2.18 or later, and goes wherever NCCL does; copy and direct are for GPUs of one
** host that reach each other. AUTO: the one that was fastest when the bundle was tuned for such GPUs (`mxgen
** tune`), else the one that is expected to be; nccl where GPUs do not reach each other, host where nothing else
** goes. */
typedef enum mxg_transport { MXG_HOST = 0, MXG_NCCL = 1, MXG_COPY = 2, MXG_DIRECT = 3, MXG_AUTO = 4 } mxg_transport;

/* Start from MXG_EXEC_INIT; new fields go at the end. */
typedef struct mxg_exec_options {
  size_t size;             /* sizeof(mxg_exec_options) of the caller's header */
  mxg_transport transport; /* MXG_HOST: ranks are threads of this process */
  const uint32_t *ranks;   /* the ranks that live in this process; NULL: all of the bundle's */
  uint32_t rank_count;
  unsigned threads; /* host: worker threads in all; 0: one a core */
  void (*progress)(void *user, uint64_t done_bytes, uint64_t all_bytes); /* called from one thread at a time; or NULL */
  void *user;
  bool
      wires; /* host: bring what crosses ranks into its wire form first, as other transports must; slower, for checks */
  const int *gpus;       /* GPUs: the GPU of each rank of this process, by ascending rank; NULL: in turn */
  unsigned timeout_ms;   /* GPUs, jobs: how long a run may take before MXG_ERR_TIMEOUT; 0: 60 s */
  uint64_t chunk_bytes;  /* copy, nccl: bytes brought before they are converted; 0: as tuned, or a default */
  unsigned copy_streams; /* copy: copies under way at a time, with which ranks take no turns at their sources; 0: the
                            same, or one copy at a time, in turns */
  bool no_graph;         /* GPUs: give the driver every step at each run, not one graph */
  void (*record)(void *user, const char *line); /* after a failure: the last steps of each rank; or NULL */
  mxg_job *job; /* the processes of this run, all of which call create and run, in one order; a process has ranks on one
                ** GPU then. NULL: this one alone. Borrowed */
  /* nccl: an ncclComm_t for each rank of this process, by ascending rank: of all ranks of the bundle, with their
  ** numbers, on the ranks' GPUs. They are never ended here. The caller uses them for nothing else from the first
  ** start to the last wait, and destroys them after the executor. After an error of a run it may abort them, and
  ** then only frees the executor; where it waits until all ranks have ended, they serve the next one. With blocking
  ** communicators the host waits in NCCL, past any deadline, until all ranks have come to their first exchange.
  ** NULL: the library opens its own, and ends them itself. */
  void *const *nccl_comms;
} mxg_exec_options;

#define MXG_EXEC_INIT \
  { sizeof(mxg_exec_options), MXG_HOST, NULL, 0, 0, NULL, NULL, false, NULL, 0, 0, 0, false, NULL, NULL, NULL }

typedef struct mxg_exec mxg_exec;

/* `bundle` is borrowed until mxg_exec_free. */
mxg_status mxg_exec_create(mxg_exec **out, const mxg_bundle *bundle, const mxg_exec_options *options, mxg_error *err);

/* Gives the memory of one stored tensor: `name` as the plan prints it, on `side`, of `rank`. Data and scale bytes
** must be exactly what the plan says (scale: NULL, 0 where the format has none). Memory stays the caller's and is
** used until the last wait. With options.job a process binds what its own ranks have; without one it
** also binds what they read of others. */
mxg_status mxg_exec_bind(mxg_exec *exec, uint32_t rank, mxg_side side, const char *name, void *data,
                         uint64_t data_bytes, void *scale, uint64_t scale_bytes, mxg_error *err);

/* What a caller knows of memory that it binds. Start from MXG_TYPED_MEMORY_INIT; new fields go at the end. */
typedef struct mxg_typed_memory {
  size_t size; /* sizeof(mxg_typed_memory) of the caller's header */
  void *memory;
  uint64_t bytes;
  const char *dtype;    /* as in mxg_tensor_info; "U8" fits everything of one byte; NULL: not checked */
  const uint64_t *dims; /* outermost first; NULL: not checked */
  uint32_t ndim;
} mxg_typed_memory;

#define MXG_TYPED_MEMORY_INIT \
  { sizeof(mxg_typed_memory), NULL, 0, NULL, NULL, 0 }

/* mxg_exec_bind that checks types and shapes too, so that equal sizes of other contents do not pass. `scale`: NULL
** where the format has none. */
mxg_status mxg_exec_bind_typed(mxg_exec *exec, uint32_t rank, mxg_side side, const char *name,
                               const mxg_typed_memory *data, const mxg_typed_memory *scale, mxg_error *err);

/* Runs the whole schedule for the ranks of this process. Every tensor that a piece needs must be bound, otherwise
** nothing is moved and the error names the first one missing. After MXG_OK every byte of every bound target was
** written exactly once (the host transport proves it with a mask); after an error target contents are undefined. */
mxg_status mxg_exec_run(mxg_exec *exec, mxg_error *err);

/* Checks what is bound and makes all that later starts need: after it, until something is bound again, they
** allocate nothing, load nothing and do not wait for the GPU. Without it the first start that needs something
** makes it. */
mxg_status mxg_exec_prepare(mxg_exec *exec, mxg_error *err);

/* Starts one group (mxg_bundle_groups), or with MXG_ALL_GROUPS the whole schedule, on the callers' streams, and
** returns at once. In any order of groups, also again.
**
** streams[i]: a CUstream (cudaStream_t) of the GPU of the i-th rank of this process, ascending; NULL is the GPU's
** legacy default stream, and so are all where `streams` is NULL. Order is held by events and nothing else: the
** group begins after what the streams of its ranks have so far, those of the ranks whose sources it reads too; what
** these streams get later begins after the group has written its targets, and after it has read the sources, which
** may then be written again. One rank's starts are carried out one after another, whatever their streams. This
** thread's current context is left as it was.
**
** Inside a stream capture the group becomes part of the caller's graph; it must have been prepared. The streams of
** ranks that read each other must be in one capture. The graph works on the memory that is bound, with what it
** holds at each launch. A launch is work of the caller's: it must not overlap with another, nor with starts outside
** of the graph; and the graph must not be launched after mxg_exec_free.
**
** With a job every process starts the same groups in the same order; a rank's group begins when the ranks of other
** processes that it reads have begun theirs, on the GPUs, without the hosts. mxg_exec_prepare is collective then,
** and so is a start that has to prepare; where processes start different things, waits end at their deadline.
**
** A profiler sees one range a start, in the NVTX domain "mxgen", for as long as the start takes on the calling
** thread: the group's name, or "run NAME" where all groups are started at once, as by mxg_exec_run. They are one
** graph then, and no group begins on the host by itself; who wants a range a group starts them one by one.
**
** A driver's queues end somewhere: a start waits for room behind a thousand or so copies and kernels that are given and
** not done, many starts of large groups, or one op by op. In a job that is where the loss of another process is not
** seen; so wait for the start before the last one.
**
** The host transport has no streams: `streams` is NULL, and a start does all of it before it returns. After an
** error in the middle, targets are undefined, and a capture has to be given up. */
mxg_status mxg_exec_start(mxg_exec *exec, uint32_t group, void *const *streams, mxg_error *err);

/* The host waits until the last start of a group, or with MXG_ALL_GROUPS every start, has ended on all ranks of
** this process; at most options.timeout_ms from now, then MXG_ERR_TIMEOUT names rank and step. Failures of kernels
** and copies surface here. A group that was not started, or in a capture only, is MXG_ERR_USAGE; waiting twice is
** fine. In a job wait with this before a stream is waited for by other means (cuStreamSynchronize): they have no
** deadline, and what was started may be waiting for a process that is gone. */
mxg_status mxg_exec_wait(mxg_exec *exec, uint32_t group, mxg_error *err);

/* Runs the schedule `repeats` times on GPUs, each time with other data in the L2 and all ranks beginning together.
** seconds[i]: of run i, of the rank that took longest, by the GPUs' clocks; fastest[i]: of the one that took least; may
** be NULL. *start_seconds: what the host needed to start one, the median; may be NULL. MXG_ERR_UNSUPPORTED on a
** transport without a device. */
mxg_status mxg_exec_measure(mxg_exec *exec, unsigned repeats, double *seconds, double *fastest, double *start_seconds,
                            mxg_error *err);

/* Runs the schedule once, op by op, and writes what each rank's streams did when as a Chrome trace (JSON): pid is the
** rank, tid the stream. Taking the times costs a few microseconds between ops. MXG_ERR_UNSUPPORTED as above. */
mxg_status mxg_exec_trace(mxg_exec *exec, const char *path, mxg_error *err);

const char *mxg_transport_name(mxg_transport transport); /* "copy"; "unknown" for what is none */
/* The transport in use: never MXG_AUTO. *why, if asked for: how it was chosen, in a sentence; "" where the caller
** chose. Lives with the executor. */
mxg_transport mxg_exec_transport(const mxg_exec *exec, const char **why);

/* Device memory that the executor holds for a rank of this process, once it has run: staging, scratch and tables. */
uint64_t mxg_exec_device_bytes(const mxg_exec *exec, uint32_t rank);

/* After what was started has ended, and no graph that has its starts will be launched again. */
void mxg_exec_free(mxg_exec *exec);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
