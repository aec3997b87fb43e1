/* fake_nccl.c -- a libnccl without GPUs, for MXGEN_NCCL beside fake_cuda.c: ranks are threads of one process. What
** one sends another lies in a mailbox in between, one for every message of a pair in their order; a flag says
** whether it is full, so that streams and graphs wait for each other as NCCL's kernels do. Messages of unequal
** length are an error, and so are calls out of turn, and messages of which only one side is registered. */
#define _GNU_SOURCE
#include "fake_nccl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))

enum { success = 0, invalid_argument = 4, invalid_usage = 5, in_progress = 7, most_ranks = 8, most_messages = 1 << 16 };

typedef struct unique_id {
  char bytes[128];
} unique_id;

typedef struct mailbox {
  uint32_t full;
  int registered; /* as whoever came first has it */
  size_t bytes;
  unsigned char *memory;
} mailbox;

typedef struct world {
  char id[128];
  int ranks, arrived, left;
  mailbox *boxes[most_ranks][most_ranks];
  struct comm *aborted; /* to the end: others may still ask for their errors */
  struct world *next;
} world;

typedef struct comm {
  world *of;
  int rank, result;
  uint64_t kept[4], kept_bytes[4], once[4]; /* registered now, and ever */
  int blocking;                             /* connects on the caller's thread, with calls that a capture may forbid */
  size_t sent[most_ranks], received[most_ranks];
  struct comm *next;
} comm;

typedef struct call {
  comm *by;
  int peer, receives;
  void *memory;
  size_t bytes;
  void *stream;
} call;

/* How an ncclConfig_t begins. */
typedef struct head {
  size_t size;
  unsigned magic, version;
  int blocking;
} head;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static world *worlds;
static unsigned ids;
static int ended;
static _Thread_local call group[4096];
static _Thread_local int depth, calls;

static int (*copy)(uint64_t dst, uint64_t src, size_t bytes, void *stream);
static int (*unsafe)(void);
static int (*allocate)(uint64_t *address, size_t bytes);
static int (*release)(uint64_t address);
static int (*write_flag)(void *stream, uint64_t address, uint32_t value, unsigned flags);
static int (*await_flag)(void *stream, uint64_t address, uint32_t value, unsigned flags);

static void find_driver(void) {
  void *driver = dlopen(getenv("MXGEN_LIBCUDA"), RTLD_NOW | RTLD_NOLOAD);
  if (!driver) abort();
  *(void **)(void *)&copy = dlsym(driver, "cuMemcpyAsync");
  *(void **)(void *)&write_flag = dlsym(driver, "cuStreamWriteValue32_v2");
  *(void **)(void *)&await_flag = dlsym(driver, "cuStreamWaitValue32_v2");
  *(void **)(void *)&unsafe = dlsym(driver, "fake_cuda_unsafe");
  *(void **)(void *)&allocate = dlsym(driver, "cuMemAlloc_v2");
  *(void **)(void *)&release = dlsym(driver, "cuMemFree_v2");
  if (!copy || !write_flag || !await_flag || !unsafe || !allocate || !release) abort();
}

API int ncclGetVersion(int *version);
API int ncclGetVersion(int *version) {
  *version = 21800;
  return success;
}

API const char *ncclGetErrorString(int result);
API const char *ncclGetErrorString(int result) { return result ? "a call that NCCL would refuse" : "no error"; }

API int ncclGetUniqueId(unique_id *id);
API int ncclGetUniqueId(unique_id *id) {
  pthread_mutex_lock(&lock);
  memset(id, 0, sizeof *id);
  ids++;
  memcpy(id->bytes, &ids, sizeof ids);
  pthread_mutex_unlock(&lock);
  return success;
}

/* In progress until all ranks have come. */
API int ncclCommInitRankConfig(comm **out, int ranks, unique_id id, int rank, void *config);
API int ncclCommInitRankConfig(comm **out, int ranks, unique_id id, int rank, void *config) {
  comm *c = calloc(1, sizeof *c);
  if (!c || ranks > most_ranks) return invalid_argument;
  pthread_mutex_lock(&lock);
  if (!copy) find_driver();
  world *w = worlds;
  while (w && memcmp(w->id, id.bytes, sizeof w->id)) w = w->next;
  if (!w) {
    w = calloc(1, sizeof *w);
    if (!w) abort();
    memcpy(w->id, id.bytes, sizeof w->id);
    w->ranks = ranks;
    w->next = worlds;
    worlds = w;
  }
  w->arrived++;
  c->of = w;
  c->rank = rank;
  c->blocking = config ? ((const head *)config)->blocking : 1;
  pthread_mutex_unlock(&lock);
  *out = c;
  return in_progress;
}

API int ncclCommGetAsyncError(comm *c, int *result);
API int ncclCommGetAsyncError(comm *c, int *result) {
  pthread_mutex_lock(&lock);
  *result = c->result ? c->result : c->of->arrived < c->of->ranks ? in_progress : success;
  pthread_mutex_unlock(&lock);
  return success;
}

API int fake_nccl_ended(void) {
  pthread_mutex_lock(&lock);
  int count = ended;
  pthread_mutex_unlock(&lock);
  return count;
}

static int leave(comm *c) {
  pthread_mutex_lock(&lock);
  ended++;
  world *w = c->of;
  if (++w->left == w->ranks)
    for (int a = 0; a < most_ranks; a++)
      for (int b = 0; b < most_ranks; b++) {
        for (size_t i = 0; w->boxes[a][b] && i < most_messages; i++) free(w->boxes[a][b][i].memory);
        free(w->boxes[a][b]);
        w->boxes[a][b] = NULL;
      }
  pthread_mutex_unlock(&lock);
  free(c);
  return success;
}

API int ncclCommDestroy(comm *c);
API int ncclCommDestroy(comm *c) { return leave(c); }

/* Whoever waits for a message gets what there is. */
API int ncclCommAbort(comm *c);
API int ncclCommAbort(comm *c) {
  pthread_mutex_lock(&lock);
  ended++;
  for (int peer = 0; peer < most_ranks; peer++) {
    mailbox *in = c->of->boxes[peer][c->rank], *out = c->of->boxes[c->rank][peer];
    for (size_t i = 0; in && i < c->received[peer]; i++) __atomic_store_n(&in[i].full, 1, __ATOMIC_SEQ_CST);
    for (size_t i = 0; out && i < c->sent[peer]; i++) __atomic_store_n(&out[i].full, 0, __ATOMIC_SEQ_CST);
  }
  c->next = c->of->aborted;
  c->of->aborted = c;
  pthread_mutex_unlock(&lock);
  return success; /* graphs still use the mailboxes */
}

API int ncclCommCount(const comm *c, int *count);
API int ncclCommCount(const comm *c, int *count) {
  *count = c->of->ranks;
  return success;
}

API int ncclCommUserRank(const comm *c, int *rank);
API int ncclCommUserRank(const comm *c, int *rank) {
  *rank = c->rank;
  return success;
}

API int ncclCommCuDevice(const comm *c, int *device);
API int ncclCommCuDevice(const comm *c, int *device) {
  *device = c->rank;
  return success;
}

API int ncclMemAlloc(void **out, size_t bytes);
API int ncclMemAlloc(void **out, size_t bytes) {
  uint64_t address = 0;
  int bad = allocate(&address, bytes);
  *out = (void *)(uintptr_t)address;
  return bad ? 1 : success;
}

API int ncclMemFree(void *memory);
API int ncclMemFree(void *memory) { return release((uint64_t)(uintptr_t)memory) ? 1 : success; }

API int ncclCommRegister(comm *c, void *memory, size_t bytes, void **handle);
API int ncclCommRegister(comm *c, void *memory, size_t bytes, void **handle) {
  int at = 0; /* NCCL may take what lies at a place for what lay there before */
  for (int i = 0; i < 4; i++)
    if (c->kept_bytes[i] && c->once[i] == (uint64_t)(uintptr_t)memory) return invalid_argument;
  while (at < 4 && c->once[at]) at++;
  if (at == 4) return invalid_argument;
  c->once[at] = (uint64_t)(uintptr_t)memory;
  c->kept[at] = (uint64_t)(uintptr_t)memory, c->kept_bytes[at] = bytes;
  *handle = &c->kept[at];
  return success;
}

API int ncclCommDeregister(comm *c, void *handle);
API int ncclCommDeregister(comm *c, void *handle) {
  for (int at = 0; at < 4; at++)
    if (handle == &c->kept[at] && c->kept[at]) return c->kept[at] = 0, success;
  return invalid_argument;
}

static int is_registered(const comm *c, uint64_t memory, size_t bytes) {
  for (int at = 0; at < 4; at++)
    if (c->kept[at] && memory >= c->kept[at] && memory + bytes <= c->kept[at] + c->kept_bytes[at]) return 1;
  return 0;
}

/* NULL: the other side's message is another. */
static mailbox *box_of(world *w, int from, int to, size_t index, size_t bytes, int registered) {
  if (!w->boxes[from][to]) w->boxes[from][to] = calloc(most_messages, sizeof(mailbox));
  if (!w->boxes[from][to] || index >= most_messages) abort();
  mailbox *box = &w->boxes[from][to][index];
  if (!box->memory) {
    box->bytes = bytes;
    box->registered = registered;
    box->memory = malloc(bytes);
  }
  return box->memory && box->bytes == bytes && box->registered == registered ? box : NULL;
}

/* Sends go first: nothing of a group waits for the rest of it. */
static int give(const call *k) {
  comm *c = k->by;
  int kept = is_registered(c, (uint64_t)(uintptr_t)k->memory, k->bytes);
  mailbox *box = k->receives ? box_of(c->of, k->peer, c->rank, c->received[k->peer]++, k->bytes, kept)
                             : box_of(c->of, c->rank, k->peer, c->sent[k->peer]++, k->bytes, kept);
  if (!box) return c->result = invalid_usage;
  if (c->blocking && c->sent[k->peer] + c->received[k->peer] == 1 && unsafe()) return c->result = 1;
  uint64_t flag = (uint64_t)(uintptr_t)&box->full, lies = (uint64_t)(uintptr_t)box->memory;
  uint64_t own = (uint64_t)(uintptr_t)k->memory;
  int bad = await_flag(k->stream, flag, k->receives ? 1 : 0, 1);
  if (!bad) bad = k->receives ? copy(own, lies, k->bytes, k->stream) : copy(lies, own, k->bytes, k->stream);
  if (!bad) bad = write_flag(k->stream, flag, k->receives ? 0 : 1, 0);
  return bad ? (c->result = 1) : success;
}

API int ncclGroupStart(void);
API int ncclGroupStart(void) {
  depth++;
  return success;
}

API int ncclGroupEnd(void);
API int ncclGroupEnd(void) {
  int result = success;
  if (depth == 0) return invalid_usage;
  if (--depth) return success;
  pthread_mutex_lock(&lock);
  for (int receives = 0; receives < 2; receives++)
    for (int i = 0; i < calls && !result; i++)
      if (group[i].receives == receives) result = give(&group[i]);
  calls = 0;
  pthread_mutex_unlock(&lock);
  return result;
}

static int note(comm *c, int peer, int receives, void *memory, size_t bytes, void *stream) {
  if (depth == 0 || calls == (int)(sizeof group / sizeof *group) || peer == c->rank || peer >= c->of->ranks)
    return invalid_usage;
  group[calls++] = (call){c, peer, receives, memory, bytes, stream};
  return success;
}

API int ncclSend(const void *from, size_t bytes, int type, int peer, comm *c, void *stream);
API int ncclSend(const void *from, size_t bytes, int type, int peer, comm *c, void *stream) {
  union {
    const void *in;
    void *out;
  } memory = {from};
  return type == 1 ? note(c, peer, 0, memory.out, bytes, stream) : invalid_argument;
}

API int ncclRecv(void *to, size_t bytes, int type, int peer, comm *c, void *stream);
API int ncclRecv(void *to, size_t bytes, int type, int peer, comm *c, void *stream) {
  return type == 1 ? note(c, peer, 1, to, bytes, stream) : invalid_argument;
}

API int ncclAllGather(const void *from, void *to, size_t bytes, int type, comm *c, void *stream);
API int ncclAllGather(const void *from, void *to, size_t bytes, int type, comm *c, void *stream) {
  (void)from, (void)to, (void)bytes, (void)type, (void)c, (void)stream;
  return invalid_usage; /* no schedule has one */
}
