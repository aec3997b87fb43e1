/* nccl.c -- see nccl.h. Owns the table of NCCL's functions, what a failure of theirs means, and that none of them is
** waited for without end: a communicator is left by a thread of its own, because NCCL may wait there for others. */
#define _GNU_SOURCE /* dladdr, RTLD_NOLOAD */
#include "nccl.h"

#include "clock.h"
#include "error.h"
#include "memory.h"

#include <assert.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ncclResult_t, ncclDataType_t, and versions as NCCL counts them. */
enum { nccl_success = 0, nccl_in_progress = 7, nccl_bytes = 1, oldest_version = 21800, most_blocks = 64 };
enum { leave_ms = 5000, leave_aborted_ms = 1000 };

typedef struct nccl_comm nccl_comm; /* what ncclComm_t points to */

/* ncclUniqueId, passed by value. */
typedef struct nccl_id {
  char bytes[MXG_NCCL_ID_BYTES];
} nccl_id;

/* ncclConfig_t as of 2.18, which all later versions take: `size` and `version` tell them how much of it there is. */
typedef struct nccl_config {
  size_t size;
  unsigned magic, version;
  int blocking, cluster, least_blocks, most_blocks;
  const char *network;
  int split_share;
} nccl_config;

/* X(name as the library exports it, field, parameters): every function returns an ncclResult_t, an int. */
#define FUNCTIONS(X)                                                                                            \
  X("ncclGetVersion", version, (int *version))                                                                  \
  X("ncclGetUniqueId", new_id, (nccl_id * id))                                                                  \
  X("ncclCommInitRankConfig", open, (nccl_comm * *comm, int ranks, nccl_id id, int rank, nccl_config *config))  \
  X("ncclCommDestroy", destroy, (nccl_comm * comm))                                                             \
  X("ncclCommAbort", abort, (nccl_comm * comm))                                                                 \
  X("ncclCommGetAsyncError", async_error, (nccl_comm * comm, int *result))                                      \
  X("ncclCommCount", count, (const nccl_comm *comm, int *count))                                                \
  X("ncclCommUserRank", rank, (const nccl_comm *comm, int *rank))                                               \
  X("ncclCommCuDevice", device, (const nccl_comm *comm, int *device))                                           \
  X("ncclGroupStart", group_begin, (void))                                                                      \
  X("ncclGroupEnd", group_end, (void))                                                                          \
  X("ncclSend", send, (const void *from, size_t n, int type, int peer, nccl_comm *comm, mxg_cu_stream *stream)) \
  X("ncclRecv", receive, (void *to, size_t n, int type, int peer, nccl_comm *comm, mxg_cu_stream *stream))      \
  X("ncclAllGather", all_gather,                                                                                \
    (const void *from, void *to, size_t n, int type, nccl_comm *comm, mxg_cu_stream *stream))

/* Those of 2.19. */
#define LATER_FUNCTIONS(X)                                                                    \
  X("ncclMemAlloc", alloc, (void **memory, size_t n))                                         \
  X("ncclMemFree", free, (void *memory))                                                      \
  X("ncclCommRegister", keep, (const nccl_comm *comm, void *memory, size_t n, void **handle)) \
  X("ncclCommDeregister", let_go, (const nccl_comm *comm, void *handle))

static struct {
#define X(symbol, field, parameters) int(*field) parameters;
  FUNCTIONS(X)
  LATER_FUNCTIONS(X)
#undef X
  const char *(*error_text)(int result);
  const char *(*last_error)(nccl_comm *comm);
} nccl;

/* A communicator on its way out. The thread and its owner share it; whoever is last frees it. */
typedef struct leaving {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool done, left_alone;
  int (*how)(nccl_comm *comm);
  nccl_comm *comm;
} leaving;

struct mxg_nccl {
  nccl_comm *comm;
  uint32_t rank;
  bool borrowed, aborted;
  uint64_t kept, kept_bytes; /* memory that is registered, as `handle`; 0: none */
  void *handle;
  leaving *leaving;
};

/* ---- finding the library ----------------------------------------------------------------------------------------- */

/* The first of the functions that a library lacks; "" when it has all. Fills the table. */
static const char *take_functions(void *library) {
  const char *missing = "";
#define X(symbol, field, parameters)                      \
  *(void **)(void *)&nccl.field = dlsym(library, symbol); \
  if (!nccl.field && !*missing) missing = symbol;
  FUNCTIONS(X)
#undef X
#define X(symbol, field, parameters) *(void **)(void *)&nccl.field = dlsym(library, symbol);
  LATER_FUNCTIONS(X)
#undef X
  *(void **)(void *)&nccl.error_text = dlsym(library, "ncclGetErrorString");
  *(void **)(void *)&nccl.last_error = dlsym(library, "ncclGetLastError");
  return missing;
}

/* The copy that MXGEN_NCCL names, else the one that is in the process already, else the loader's. */
static void *open_library(mxg_nccl_state *state) {
  const char *chosen = getenv("MXGEN_NCCL");
  if (chosen && !*chosen) chosen = NULL;
  void *library = chosen ? NULL : dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  if (!library) library = dlopen(chosen ? chosen : "libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library) return library;
  const char *reason = dlerror();
  snprintf(state->problem, sizeof state->problem, "%s%.200s", chosen ? "MXGEN_NCCL: " : "",
           reason ? reason : "libnccl.so.2 was not found");
  snprintf(state->help, sizeof state->help,
           "only needed for transport nccl: install libnccl2 or the wheel nvidia-nccl-cu13, or name it in MXGEN_NCCL");
  return NULL;
}

static void say_version(mxg_nccl_state *state) {
  int n = state->number, unit = n >= 10000 ? 10000 : 1000; /* 22809 is 2.28.9, 2708 was 2.7.8 */
  snprintf(state->version, sizeof state->version, "%d.%d.%d", n / unit % 100, n % unit / 100 % 100, n % 100);
}

static void find(mxg_nccl_state *state) {
  void *library = open_library(state);
  if (!library) return;
  state->found = true;
  const char *missing = take_functions(library);
  Dl_info where;
  if (nccl.version && dladdr(*(void **)(void *)&nccl.version, &where) && where.dli_fname)
    snprintf(state->path, sizeof state->path, "%s", where.dli_fname);
  /* Multicast over NVLink can put a host's GPUs out of service. NCCL reads this once, at its first call. */
  (void)setenv("NCCL_NVLS_ENABLE", "0", 1);
  if (!nccl.version || nccl.version(&state->number)) {
    snprintf(state->problem, sizeof state->problem, "it has no ncclGetVersion that works");
    snprintf(state->help, sizeof state->help, "unset MXGEN_NCCL");
    return;
  }
  say_version(state);
  if (state->number < oldest_version)
    snprintf(state->problem, sizeof state->problem, "it is NCCL %s, too old: 2.18 or newer is needed", state->version);
  else if (*missing)
    snprintf(state->problem, sizeof state->problem, "it has no %s", missing);
  else
    state->usable = true;
  if (!state->usable) snprintf(state->help, sizeof state->help, "update NCCL, or name another in MXGEN_NCCL");
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static mxg_nccl_state known; /* the library stays open for the life of the process */

static void find_once(void) { find(&known); }

void mxg_nccl_find(mxg_nccl_state *state) {
  (void)pthread_once(&once, find_once);
  *state = known;
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static mxg_status need_nccl(mxg_error *err) {
  (void)pthread_once(&once, find_once);
  if (known.usable) return MXG_OK;
  mxg_fail(err, MXG_ERR_ENVIRONMENT, known.found ? 525 : 524, "there is no NCCL that works: %.300s", known.problem);
  if (known.found) mxg_error_note(err, "it is %.400s", known.path);
  mxg_error_help(err, "%s", known.help);
  return MXG_ERR_ENVIRONMENT;
}

static mxg_status check(const mxg_nccl *n, int result, const char *what, mxg_error *err) {
  if (result == nccl_success || result == nccl_in_progress) return MXG_OK;
  const char *text = nccl.error_text ? nccl.error_text(result) : NULL;
  const char *last = nccl.last_error ? nccl.last_error(n ? n->comm : NULL) : NULL;
  mxg_fail(err, MXG_ERR_NCCL, 651, "%s: %.200s", what, text ? text : "unknown ncclResult_t");
  if (err) err->native = result;
  if (last && *last) mxg_error_note(err, "NCCL says: %.*s", (int)strcspn(last, "\n"), last);
  mxg_error_help(err, "NCCL_DEBUG=INFO in the environment makes NCCL tell more");
  return MXG_ERR_NCCL;
}

/* ---- leaving ----------------------------------------------------------------------------------------------------- */

static void free_leaving(leaving *l) {
  (void)pthread_mutex_destroy(&l->lock);
  (void)pthread_cond_destroy(&l->changed);
  mxg_free(l);
}

static void *leave(void *argument) {
  leaving *l = argument;
  (void)l->how(l->comm);
  (void)pthread_mutex_lock(&l->lock);
  l->done = true;
  bool last = l->left_alone;
  (void)pthread_cond_signal(&l->changed);
  (void)pthread_mutex_unlock(&l->lock);
  if (last) free_leaving(l);
  return NULL;
}

/* Without memory or threads the communicator stays as it is, until the process ends. */
static void begin_leaving(mxg_nccl *n, int (*how)(nccl_comm *comm)) {
  leaving *l = mxg_alloc(sizeof *l);
  if (!l) return;
  pthread_condattr_t clock;
  bool ready = pthread_condattr_init(&clock) == 0;
  ready = ready && pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0 && pthread_mutex_init(&l->lock, NULL) == 0 &&
          pthread_cond_init(&l->changed, &clock) == 0;
  l->how = how;
  l->comm = n->comm;
  pthread_t thread;
  if (ready && pthread_create(&thread, NULL, leave, l) == 0) {
    (void)pthread_detach(thread);
    n->leaving = l;
  } else {
    mxg_free(l);
  }
}

/* False: it is still on its way. */
static bool wait_until_left(leaving *l, unsigned ms) {
  struct timespec until;
  (void)clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += ms / 1000;
  (void)pthread_mutex_lock(&l->lock);
  while (!l->done && pthread_cond_timedwait(&l->changed, &l->lock, &until) == 0) continue;
  bool last = l->done;
  l->left_alone = !last;
  (void)pthread_mutex_unlock(&l->lock);
  if (last) free_leaving(l);
  return last;
}

void mxg_nccl_abort(mxg_nccl *n) {
  if (n->aborted) return;
  n->aborted = true;
  if (!n->borrowed && n->comm) begin_leaving(n, nccl.abort);
}

bool mxg_nccl_aborted(const mxg_nccl *n) { return n->aborted; }

void mxg_nccl_close(mxg_nccl *n) {
  if (!n) return;
  if (!n->borrowed && !n->aborted && n->comm) begin_leaving(n, nccl.destroy);
  bool left = n->leaving && wait_until_left(n->leaving, n->aborted ? leave_aborted_ms : leave_ms);
  if (n->kept && left) (void)nccl.free((void *)(uintptr_t)n->kept);
  mxg_free(n);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Until NCCL has done what it has begun for this communicator. One that fails or is late is aborted. */
static mxg_status settle(mxg_nccl *n, int result, const char *what, double deadline, mxg_error *err) {
  const double begin = mxg_now();
  while (result == nccl_in_progress) {
    int asked = nccl.async_error(n->comm, &result);
    if (asked != nccl_success) result = asked;
    if (result != nccl_in_progress) break;
    double now = mxg_now();
    if (now > deadline) {
      mxg_nccl_abort(n);
      return mxg_fail(err, MXG_ERR_TIMEOUT, 648, "rank %u: %s was not done before the deadline", n->rank, what);
    }
    struct timespec pause = {0, now - begin < 0.01 ? 20000 : 1000000};
    nanosleep(&pause, NULL);
  }
  mxg_status status = check(n, result, what, err);
  if (status != MXG_OK) mxg_nccl_abort(n);
  return status;
}

mxg_status mxg_nccl_new_id(unsigned char id[MXG_NCCL_ID_BYTES], mxg_error *err) {
  nccl_id fresh;
  MXG_TRY(need_nccl(err));
  MXG_TRY(check(NULL, nccl.new_id(&fresh), "ncclGetUniqueId", err));
  memcpy(id, fresh.bytes, sizeof fresh.bytes);
  return MXG_OK;
}

mxg_status mxg_nccl_open(mxg_nccl **out, const unsigned char id[MXG_NCCL_ID_BYTES], uint32_t ranks, uint32_t rank,
                         bool wide, double deadline, mxg_error *err) {
  *out = NULL;
  MXG_TRY(need_nccl(err));
  mxg_nccl *n = mxg_alloc(sizeof *n);
  if (!n) return mxg_fail_nomem(err);
  n->rank = rank;
  nccl_id given;
  memcpy(given.bytes, id, sizeof given.bytes);
  nccl_config config = {.size = sizeof config, .magic = 0xcafebeef, .version = oldest_version};
  config.cluster = config.least_blocks = config.most_blocks = config.split_share = INT_MIN; /* NCCL's choice */
  if (wide) config.least_blocks = config.most_blocks = most_blocks;
  int result = nccl.open(&n->comm, (int)ranks, given, (int)rank, &config);
  mxg_status status = settle(n, result, "opening the communicator", deadline, err);
  if (status == MXG_OK)
    *out = n;
  else
    mxg_nccl_close(n);
  return status;
}

mxg_status mxg_nccl_borrow(mxg_nccl **out, void *communicator, uint32_t ranks, uint32_t rank, int ordinal,
                           mxg_error *err) {
  *out = NULL;
  int count = 0, own = 0, device = 0;
  MXG_TRY(need_nccl(err));
  if (!communicator) return mxg_fail(err, MXG_ERR_USAGE, 601, "options.nccl_comms: that of rank %u is NULL", rank);
  MXG_TRY(check(NULL, nccl.count(communicator, &count), "ncclCommCount", err));
  MXG_TRY(check(NULL, nccl.rank(communicator, &own), "ncclCommUserRank", err));
  MXG_TRY(check(NULL, nccl.device(communicator, &device), "ncclCommCuDevice", err));
  if (count != (int)ranks || own != (int)rank || device != ordinal)
    return mxg_fail(err, MXG_ERR_USAGE, 601,
                    "options.nccl_comms: that of rank %u is rank %d of %d on GPU %d, not rank %u of %u on GPU %d", rank,
                    own, count, device, rank, ranks, ordinal);
  mxg_nccl *n = mxg_alloc(sizeof *n);
  if (!n) return mxg_fail_nomem(err);
  n->comm = communicator;
  n->rank = rank;
  n->borrowed = true;
  *out = n;
  return MXG_OK;
}

mxg_status mxg_nccl_look(const mxg_nccl *n, mxg_error *err) {
  int result = nccl_success;
  if (n->aborted) return mxg_fail(err, MXG_ERR_NCCL, 652, "the communicator of rank %u was aborted", n->rank);
  MXG_TRY(check(n, nccl.async_error(n->comm, &result), "ncclCommGetAsyncError", err));
  return check(n, result, "an exchange", err);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static mxg_status take_kept(mxg_nccl *n, uint64_t bytes, mxg_error *err) {
  void *memory = NULL;
  MXG_TRY(check(NULL, nccl.alloc(&memory, (size_t)bytes), "ncclMemAlloc", err));
  mxg_status status = check(n, nccl.keep(n->comm, memory, (size_t)bytes, &n->handle), "ncclCommRegister", err);
  if (status != MXG_OK) {
    (void)nccl.free(memory);
    return status;
  }
  n->kept = (uint64_t)(uintptr_t)memory;
  n->kept_bytes = bytes;
  return MXG_OK;
}

mxg_status mxg_nccl_alloc(mxg_nccl *n, uint64_t *address, uint64_t bytes, mxg_error *err) {
  *address = 0;
  if (n->borrowed || !nccl.alloc || !nccl.free || !nccl.keep || !nccl.let_go) return mxg_gpu_alloc(address, bytes, err);
  if (!n->kept) MXG_TRY(take_kept(n, bytes, err));
  assert(bytes <= n->kept_bytes);
  *address = n->kept;
  return MXG_OK;
}

void mxg_nccl_forget(mxg_nccl *n) {
  if (n && n->handle && !n->aborted) (void)nccl.let_go(n->comm, n->handle);
  if (n) n->handle = NULL;
}

void mxg_nccl_free(mxg_nccl *n, uint64_t address) {
  if (address && address != n->kept) mxg_gpu_free(address);
}

/* ---- exchanges --------------------------------------------------------------------------------------------------- */

mxg_status mxg_nccl_begin(mxg_nccl *n, mxg_error *err) {
  if (n->aborted) return mxg_fail(err, MXG_ERR_NCCL, 652, "the communicator of rank %u was aborted", n->rank);
  return check(n, nccl.group_begin(), "ncclGroupStart", err);
}

mxg_status mxg_nccl_send(mxg_nccl *n, uint64_t from, uint64_t bytes, uint32_t peer, mxg_cu_stream *stream,
                         mxg_error *err) {
  const void *memory = (const void *)(uintptr_t)from;
  return check(n, nccl.send(memory, (size_t)bytes, nccl_bytes, (int)peer, n->comm, stream), "ncclSend", err);
}

mxg_status mxg_nccl_receive(mxg_nccl *n, uint64_t to, uint64_t bytes, uint32_t peer, mxg_cu_stream *stream,
                            mxg_error *err) {
  void *memory = (void *)(uintptr_t)to;
  return check(n, nccl.receive(memory, (size_t)bytes, nccl_bytes, (int)peer, n->comm, stream), "ncclRecv", err);
}

mxg_status mxg_nccl_all_gather(mxg_nccl *n, uint64_t from, uint64_t to, uint64_t bytes, mxg_cu_stream *stream,
                               mxg_error *err) {
  const void *memory = (const void *)(uintptr_t)from;
  void *all = (void *)(uintptr_t)to;
  return check(n, nccl.all_gather(memory, all, (size_t)bytes, nccl_bytes, n->comm, stream), "ncclAllGather", err);
}

mxg_status mxg_nccl_end(mxg_nccl *n, double deadline, mxg_error *err) {
  return settle(n, nccl.group_end(), "an exchange", deadline, err);
}
