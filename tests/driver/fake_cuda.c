/* fake_cuda.c -- a libcuda without GPUs, for MXGEN_LIBCUDA: two devices, or as many as FAKE_CUDA_DEVICES says, whose
** memory is the machine's. What is given to a stream is carried out later, when somebody waits or asks, and one
** operation at a time from any stream that may go on: work that is not ordered by events comes in the wrong order
** sooner or later. Captures, of one device or of several, become graphs as CUDA's do, and break the same rules with
** the same errors; memory and flags can be shared between processes. FAKE_CUDA_SEED: another order.
** FAKE_CUDA_HASTE: at times a lot is done while somebody asks, for tests that are not about deadlines.
** FAKE_CUDA_CAPABILITY: of each device, "90,80"; none: no device. */
#define _GNU_SOURCE
#include "fake_cuda.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

enum {
  ok = 0,
  invalid_value = 1,
  invalid_context = 201,
  invalid_handle = 400,
  not_ready = 600,
  peer_enabled = 704,
  capture_unsupported = 900,
  capture_invalidated = 901,
  capture_merge = 902,
  capture_unmatched = 903,
  capture_unjoined = 904,
  capture_isolation = 905,
  captured_event = 907,
  stuck = 999
};

enum { most_devices = 8, most_allocations = 1 << 16 };
static int devices = 2;            /* FAKE_CUDA_DEVICES */
static bool hasty;                 /* FAKE_CUDA_HASTE */
static const double patience = 30; /* seconds without anything that can be done */

typedef struct capture capture;
typedef struct stream stream;

/* One record of an event. */
typedef struct mark {
  bool done;
  capture *of;       /* NULL: outside of captures */
  size_t node;       /* of the capture: the record */
  struct mark *copy; /* of the launch in the making */
  struct mark *next; /* of all, so that nothing leaks */
} mark;

typedef enum op_kind { op_copy, op_fill, op_kernel, op_record, op_follow, op_write, op_await } op_kind;

typedef struct op {
  op_kind kind;
  uint64_t dst, src, width, height, dst_pitch, src_pitch; /* kernel: src is the table, width the count */
  uint32_t value;
  bool exactly;
  const char *kernel;
  mark *event;
  struct op *next;
} op;

struct stream {
  int device;
  op *first, *last;
  capture *in;
  bool hidden; /* of a graph's launch */
  stream *next;
};

typedef struct node {
  op what;
  stream *of;
} node;

struct capture {
  uint64_t id;
  stream *origin;
  pthread_t thread;
  node *nodes;
  size_t count, room;
  bool invalid, ended, relaxed;
  capture *next; /* of all */
};

typedef struct event {
  mark *last;
  int device; /* records it; -1: any */
} event;

typedef struct graph {
  node *nodes;
  size_t count;
} graph;
static int graphs_alive, widest_graph;            /* devices of the one that was over most of them */
static int launches_left = -1, kernels_left = -1; /* until one fails; negative: none does */

typedef struct function {
  char name[64];
  struct function *next;
} function;

typedef struct allocation {
  uint64_t address, bytes;
  int device; /* -1: pinned host memory */
  char name[32];
} allocation;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local int current = -1;
static stream legacy[most_devices], *streams;
static mark *marks;
static capture *captures;
static function *functions;
static allocation *allocations;
static size_t allocation_count;
static uint64_t state, next_capture = 1;
static fake_cuda_kernel run_kernel;
static char contexts[most_devices]; /* their addresses are the primary contexts */

#define LOCKED(result_of)        \
  do {                           \
    pthread_mutex_lock(&lock);   \
    int result_ = (result_of);   \
    pthread_mutex_unlock(&lock); \
    return result_;              \
  } while (0)

static uint32_t random_below(uint32_t n) {
  if (!state) {
    const char *seed = getenv("FAKE_CUDA_SEED");
    state = (seed ? strtoull(seed, NULL, 10) : 1) * 0x9e3779b97f4a7c15u + 1;
  }
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((state >> 33) * n >> 31);
}

static void *need(void *memory) {
  if (!memory) abort();
  return memory;
}

/* Devices beyond the variable's list are as its last one; ten times major plus minor. */
static int capability(int device) {
  const char *at = getenv("FAKE_CUDA_CAPABILITY");
  if (!at) return 90;
  for (const char *comma; device > 0 && (comma = strchr(at, ',')) != NULL; device--) at = comma + 1;
  return atoi(at);
}

API void fake_cuda_use(fake_cuda_kernel kernel) { run_kernel = kernel; }

/* ---- carrying out ---- */

static bool may_run(const stream *s) {
  const op *o = s->first;
  if (!o) return false;
  if (o->kind == op_follow) return o->event->done;
  if (o->kind != op_await) return true;
  uint32_t seen = __atomic_load_n((const uint32_t *)(uintptr_t)o->dst, __ATOMIC_SEQ_CST);
  return o->exactly ? seen == o->value : (int32_t)(seen - o->value) >= 0;
}

static void carry_out(const op *o) {
  for (uint64_t i = 0; i < o->height && o->kind == op_copy; i++)
    memcpy((void *)(uintptr_t)(o->dst + i * o->dst_pitch), (const void *)(uintptr_t)(o->src + i * o->src_pitch),
           o->width);
  for (uint64_t i = 0; i < o->height && o->kind == op_fill; i++)
    memset((void *)(uintptr_t)(o->dst + i * o->dst_pitch), (int)o->value, o->width);
  if (o->kind == op_kernel) run_kernel(o->kernel, o->src, (uint32_t)o->width);
  if (o->kind == op_record) o->event->done = true;
  if (o->kind == op_write) __atomic_store_n((uint32_t *)(uintptr_t)o->dst, o->value, __ATOMIC_SEQ_CST);
}

/* One operation of any stream; false: none can go on. Streams get far ahead of each other: most often it is the
** last one's turn again. */
static bool run_one(void) {
  static stream *favourite;
  stream *chosen = NULL;
  uint32_t can = 0;
  bool known = false;
  for (int d = 0; d < devices; d++)
    if (may_run(&legacy[d]) && random_below(++can) == 0) chosen = &legacy[d];
  for (stream **at = &streams; *at;) {
    stream *s = *at;
    if (s->hidden && !s->first) { /* its launch is over */
      *at = s->next;
      free(s);
      continue;
    }
    known = known || s == favourite;
    if (may_run(s) && random_below(++can) == 0) chosen = s;
    at = &s->next;
  }
  if (known && may_run(favourite) && random_below(20) != 0) chosen = favourite;
  favourite = chosen;
  if (!chosen) return false;
  op *o = chosen->first;
  chosen->first = o->next;
  if (!chosen->first) chosen->last = NULL;
  carry_out(o);
  free(o);
  return true;
}

/* What gets done while somebody asks whether something is done. */
static void run_some(void) {
  uint32_t most = hasty && random_below(4) == 0 ? 1024 : 16;
  for (uint32_t i = 1 + random_below(most); i > 0 && run_one();) i--;
}

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Until a stream (a mark) is done; other processes may have to write a flag first. */
static int run_until(const stream *s, const mark *m) {
  double last = seconds_now();
  while (s ? s->first != NULL : !m->done) {
    if (run_one()) {
      last = seconds_now();
      continue;
    }
    if (seconds_now() - last > patience) return stuck;
    const struct timespec pause = {0, 200000};
    pthread_mutex_unlock(&lock);
    nanosleep(&pause, NULL);
    pthread_mutex_lock(&lock);
  }
  return ok;
}

static void run_everything(void) {
  while (run_one()) {
  }
}

/* ---- captures ---- */

static int invalidate(capture *c, int why) {
  c->invalid = true;
  return why;
}

/* What nobody may do in a thread that captures, unless in relaxed mode. */
static int unsafe_call(void) {
  for (capture *c = captures; c; c = c->next)
    if (!c->ended && !c->relaxed && pthread_equal(c->thread, pthread_self())) return invalidate(c, capture_unsupported);
  return ok;
}

API int fake_cuda_unsafe(void) { LOCKED(unsafe_call()); }

static stream *stream_of(void *handle) {
  if (handle) return handle;
  return current >= 0 ? &legacy[current] : NULL;
}

/* Gives an operation to a stream, or to the capture that it is in. */
static int give(stream *s, op what, bool own_context) {
  if (!s || current < 0) return invalid_context;
  if (own_context && s->device != current) return invalid_handle;
  what.next = NULL;
  if (s->in) {
    capture *c = s->in;
    if (c->invalid) return capture_invalidated;
    if (c->count == c->room) {
      c->room = c->room ? 2 * c->room : 64;
      c->nodes = need(realloc(c->nodes, c->room * sizeof *c->nodes));
    }
    c->nodes[c->count++] = (node){what, s};
    return ok;
  }
  op *fresh = need(malloc(sizeof *fresh));
  *fresh = what;
  if (s->last)
    s->last->next = fresh;
  else
    s->first = fresh;
  s->last = fresh;
  return ok;
}

static mark *new_mark(void) {
  mark *m = need(calloc(1, sizeof *m));
  m->next = marks;
  marks = m;
  return m;
}

static int record(event *e, stream *s) {
  if (!s) return invalid_context;
  if (e->device >= 0 && e->device != s->device) return invalid_handle;
  mark *m = new_mark();
  m->of = s->in;
  m->node = s->in ? s->in->count : 0;
  int result = give(s, (op){.kind = op_record, .event = m}, true);
  if (result == ok) e->last = m;
  return result;
}

static int follow(stream *s, event *e) {
  mark *m = e->last;
  if (!s) return invalid_context;
  if (!m) return ok; /* never recorded */
  if (m->of && m->of->ended) return s->in ? invalidate(s->in, captured_event) : captured_event;
  if (s->in && !m->of) return invalidate(s->in, capture_isolation);
  if (s->in && m->of != s->in) return invalidate(s->in, capture_merge);
  if (m->of && !s->in) s->in = m->of; /* the stream joins */
  return give(s, (op){.kind = op_follow, .event = m}, false);
}

/* Whether the end of the origin stream comes after all that was captured. */
static bool all_joined(const capture *c) {
  if (c->count == 0) return true;
  bool *reached = need(calloc(c->count, 1));
  size_t *todo = need(malloc(c->count * sizeof *todo)), count = 0, seen = 0;
  for (size_t i = c->count; i-- > 0 && count == 0;)
    if (c->nodes[i].of == c->origin) reached[i] = true, todo[count++] = i;
  while (count) {
    size_t i = todo[--count], before = c->count;
    seen++;
    for (size_t k = i; k-- > 0 && before == c->count;)
      if (c->nodes[k].of == c->nodes[i].of) before = k;
    if (before < c->count && !reached[before]) reached[before] = true, todo[count++] = before;
    size_t from = c->nodes[i].what.kind == op_follow ? c->nodes[i].what.event->node : c->count;
    if (from < c->count && !reached[from]) reached[from] = true, todo[count++] = from;
  }
  free(reached);
  free(todo);
  return seen == c->count;
}

static void note_width(const graph *g) {
  int wide = 0;
  for (int d = 0; d < devices; d++) {
    size_t i = 0;
    while (i < g->count && g->nodes[i].of->device != d) i++;
    wide += i < g->count;
  }
  if (widest_graph < wide) __atomic_store_n(&widest_graph, wide, __ATOMIC_SEQ_CST);
}

static int end_capture(stream *s, graph **out) {
  capture *c = s ? s->in : NULL;
  *out = NULL;
  if (!c) return capture_unmatched;
  if (s != c->origin) return invalidate(c, capture_unmatched);
  bool joined = all_joined(c);
  for (int d = 0; d < devices; d++)
    if (legacy[d].in == c) legacy[d].in = NULL;
  for (stream *t = streams; t; t = t->next)
    if (t->in == c) t->in = NULL;
  c->ended = true;
  if (c->invalid) return capture_invalidated;
  if (!joined) return capture_unjoined;
  graph *g = need(calloc(1, sizeof *g));
  g->nodes = c->nodes;
  g->count = c->count;
  c->nodes = NULL;
  note_width(g);
  *out = g;
  return ok;
}

static stream *new_stream(int device, bool hidden) {
  stream *s = need(calloc(1, sizeof *s));
  s->device = device;
  s->hidden = hidden;
  s->next = streams;
  streams = s;
  return s;
}

/* Every stream of the graph gets one of its own; they begin after `s` and end before it goes on. */
static int launch_graph(const graph *g, stream *s) {
  if (!s) return invalid_context;
  if (s->in) return invalidate(s->in, capture_unsupported);
  int here = current, result = ok;
  event begin = {.device = -1};
  result = record(&begin, s);
  stream **owns = need(calloc(g->count + 1, sizeof *owns)), **theirs = need(calloc(g->count + 1, sizeof *theirs));
  size_t count = 0;
  for (size_t i = 0; i < g->count && result == ok; i++) {
    size_t k = 0;
    while (k < count && theirs[k] != g->nodes[i].of) k++;
    if (k == count) {
      theirs[count] = g->nodes[i].of;
      owns[count++] = new_stream(g->nodes[i].of->device, true);
      result = follow(owns[k], &begin);
    }
    op what = g->nodes[i].what;
    if (what.kind == op_record) what.event->copy = new_mark();
    if (what.kind == op_record || what.kind == op_follow) what.event = what.event->copy;
    current = owns[k]->device;
    if (result == ok) result = give(owns[k], what, true);
  }
  for (size_t k = 0; k < count && result == ok; k++) {
    event end = {.device = -1};
    current = owns[k]->device;
    result = record(&end, owns[k]);
    current = here;
    if (result == ok) result = follow(s, &end);
  }
  current = here;
  free(owns);
  free(theirs);
  return result;
}

/* ---- memory ---- */

/* What killed processes left. Some tests kill theirs, and this is memory. */
static void sweep(void) {
  static const char folder[] = "/dev/shm", begin[] = "fake-cuda-";
  DIR *entries = opendir(folder);
  for (struct dirent *e; entries && (e = readdir(entries));) {
    long owner = strncmp(e->d_name, begin, sizeof begin - 1) ? 0 : strtol(e->d_name + sizeof begin - 1, NULL, 10);
    if (owner <= 0 || kill((pid_t)owner, 0) == 0 || errno != ESRCH) continue;
    char name[sizeof e->d_name + 1];
    snprintf(name, sizeof name, "/%s", e->d_name);
    (void)shm_unlink(name);
  }
  if (entries) closedir(entries);
}

static int allocate(uint64_t *out, size_t bytes, int device) {
  static unsigned counter;
  allocation *a = NULL;
  if (unsafe_call()) return capture_unsupported;
  if (!allocations) {
    allocations = need(calloc(most_allocations, sizeof *allocations));
    sweep();
  }
  for (size_t i = 0; i < allocation_count && !a; i++)
    if (!allocations[i].address) a = &allocations[i];
  if (!a && allocation_count < most_allocations) a = &allocations[allocation_count++];
  if (!a) return 2;
  *a = (allocation){.device = device, .bytes = (bytes + 4095) / 4096 * 4096};
  snprintf(a->name, sizeof a->name, "/fake-cuda-%ld-%u", (long)getpid(), counter++);
  int fd = shm_open(a->name, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (fd < 0 || ftruncate(fd, (off_t)a->bytes) != 0) return 2;
  void *memory = mmap(NULL, a->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) return 2;
  *out = a->address = (uint64_t)(uintptr_t)memory;
  return ok;
}

static allocation *find(uint64_t address) {
  for (size_t i = 0; i < allocation_count; i++) {
    allocation *a = &allocations[i];
    if (a->address && address >= a->address && address < a->address + a->bytes) return a;
  }
  return NULL;
}

static int release(uint64_t address, bool imported) {
  allocation *a = find(address);
  if (!a || a->address != address) return invalid_value;
  if (unsafe_call()) return capture_unsupported;
  run_everything(); /* as cuMemFree waits */
  (void)munmap((void *)(uintptr_t)address, a->bytes);
  if (!imported) (void)shm_unlink(a->name);
  a->address = 0;
  return ok;
}

__attribute__((destructor)) static void clean(void) {
  for (size_t i = 0; i < allocation_count; i++)
    if (allocations[i].address) (void)shm_unlink(allocations[i].name);
  free(allocations);
  for (mark *m = marks, *next; m; m = next) next = m->next, free(m);
  for (capture *c = captures, *next; c; c = next) next = c->next, free(c->nodes), free(c);
  for (function *f = functions, *next; f; f = next) next = f->next, free(f);
  for (stream *s = streams, *next; s; s = next) {
    for (op *o = s->first, *after; o; o = after) after = o->next, free(o);
    next = s->next;
    free(s);
  }
}

/* ---- the driver's functions, as far as driver.c uses them ---- */

#define CU API int
#pragma GCC diagnostic ignored "-Wmissing-prototypes" /* there is no header of theirs */

CU cuInit(unsigned flags) {
  const char *count = getenv("FAKE_CUDA_DEVICES");
  if (count && atoi(count) > 0 && atoi(count) <= most_devices) devices = atoi(count);
  for (int d = 0; d < devices; d++) legacy[d].device = d;
  hasty = getenv("FAKE_CUDA_HASTE") != NULL;
  return flags ? invalid_value : ok;
}
CU cuDriverGetVersion(int *version) { return *version = 13000, ok; }
CU cuGetErrorName(int result, const char **name) { return (void)result, *name = "CUDA_ERROR_OF_THE_FAKE", ok; }
CU cuGetErrorString(int result, const char **text) {
  static _Thread_local char said[32];
  snprintf(said, sizeof said, "result %d", result);
  return *text = said, ok;
}
CU cuDeviceGetCount(int *count) { return *count = capability(0) ? devices : 0, ok; }
CU cuDeviceGet(int *device, int ordinal) { return *device = ordinal, ordinal < devices ? ok : 101; }
CU cuDeviceGetName(char *name, int room, int device) { return snprintf(name, (size_t)room, "Fake %d", device), ok; }
CU cuDeviceGetAttribute(int *value, int attribute, int device) {
  int known = capability(device);
  *value = attribute == 75   ? known / 10
           : attribute == 76 ? known % 10
           : attribute == 16 ? 4
           : attribute == 38 ? 1 << 20
                             : 228 << 10;
  return ok;
}
CU cuDeviceTotalMem_v2(size_t *bytes, int device) { return (void)device, *bytes = (size_t)8 << 30, ok; }
CU cuDeviceGetPCIBusId(char *name, int room, int device) {
  return snprintf(name, (size_t)room, "0000:%02d:00.0", device), ok;
}
CU cuDeviceGetByPCIBusId(int *device, const char *name) {
  return sscanf(name, "0000:%d:00.0", device) == 1 && *device < devices ? ok : 101;
}
CU cuDeviceCanAccessPeer(int *can, int device, int peer) { return *can = device != peer, ok; }
CU cuDevicePrimaryCtxRetain(void **context, int device) { return *context = &contexts[device], ok; }
CU cuDevicePrimaryCtxRelease_v2(int device) { return device < devices ? ok : 101; }
CU cuCtxSetCurrent(void *context) {
  current = context ? (int)((char *)context - contexts) : -1;
  return current < devices ? ok : invalid_context;
}
CU cuCtxGetCurrent(void **context) { return *context = current < 0 ? NULL : &contexts[current], ok; }
CU cuCtxGetDevice(int *device) { return *device = current, current < 0 ? invalid_context : ok; }
CU cuCtxEnablePeerAccess(void *peer, unsigned flags) { return (void)peer, flags ? invalid_value : peer_enabled; }
CU cuMemGetInfo_v2(size_t *free_bytes, size_t *all_bytes) { return *free_bytes = *all_bytes = (size_t)8 << 30, ok; }
CU cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  LOCKED(current < 0 ? invalid_context : allocate(address, bytes, current));
}
CU cuMemFree_v2(uint64_t address) { LOCKED(release(address, false)); }
CU cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
  uint64_t address = 0;
  (void)flags;
  pthread_mutex_lock(&lock);
  int result = allocate(&address, bytes, -1);
  pthread_mutex_unlock(&lock);
  *memory = (void *)(uintptr_t)address;
  return result;
}
CU cuMemFreeHost(void *memory) { LOCKED(release((uint64_t)(uintptr_t)memory, false)); }
CU cuMemHostRegister_v2(void *memory, size_t bytes, unsigned flags) {
  return (void)memory, (void)flags, bytes ? ok : invalid_value;
}
CU cuMemHostUnregister(void *memory) { return memory ? ok : invalid_value; }
CU cuMemHostGetDevicePointer_v2(uint64_t *address, void *memory, unsigned flags) {
  return (void)flags, *address = (uint64_t)(uintptr_t)memory, ok;
}
CU cuMemGetAddressRange_v2(uint64_t *base, size_t *bytes, uint64_t address) {
  pthread_mutex_lock(&lock);
  const allocation *a = find(address);
  if (a) *base = a->address, *bytes = a->bytes;
  pthread_mutex_unlock(&lock);
  return a ? ok : invalid_value;
}

typedef struct handle {
  char bytes[64];
} handle;

CU cuIpcGetMemHandle(handle *out, uint64_t address) {
  pthread_mutex_lock(&lock);
  const allocation *a = find(address);
  if (a) snprintf(out->bytes, sizeof out->bytes, "%s %llu", a->name, (unsigned long long)a->bytes);
  pthread_mutex_unlock(&lock);
  return a ? ok : invalid_value;
}
CU cuIpcOpenMemHandle_v2(uint64_t *address, handle from, unsigned flags) {
  char name[32];
  unsigned long long bytes = 0;
  (void)flags;
  if (sscanf(from.bytes, "%31s %llu", name, &bytes) != 2) return invalid_value;
  int fd = shm_open(name, O_RDWR, 0600);
  void *memory = fd < 0 ? MAP_FAILED : mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fd >= 0) close(fd);
  if (memory == MAP_FAILED) return invalid_value;
  return *address = (uint64_t)(uintptr_t)memory, ok;
}
CU cuIpcCloseMemHandle(uint64_t address) { return address ? ok : invalid_value; }
/* 2: memory type, 9: device, 11: where the allocation begins. */
static int pointer_attribute(void *value, int attribute, uint64_t address) {
  const allocation *a = find(address);
  if (!a) return invalid_value;
  switch (attribute) {
  case 2: return *(int *)value = a->device < 0 ? 1 : 2, ok;
  case 9: return *(int *)value = a->device, ok;
  case 11: return *(uint64_t *)value = a->address, ok;
  default: return invalid_value;
  }
}
CU cuPointerGetAttribute(void *value, int attribute, uint64_t address) {
  if (current < 0) return invalid_context;
  LOCKED(pointer_attribute(value, attribute, address));
}

/* As the driver's, a copy or a fill stays inside the allocation that it begins in, whatever lies behind. */
static bool stays_inside(uint64_t address, size_t pitch, size_t width, size_t height) {
  const allocation *a = find(address);
  return !a || !width || !height || (height - 1) * pitch + width <= a->address + a->bytes - address;
}
static int give_bytes(void *s, op o) {
  if (!stays_inside(o.dst, o.dst_pitch, o.width, o.height)) return invalid_value;
  if (o.kind == op_copy && !stays_inside(o.src, o.src_pitch, o.width, o.height)) return invalid_value;
  return give(stream_of(s), o, true);
}

CU cuMemcpyAsync(uint64_t dst, uint64_t src, size_t bytes, void *s) {
  LOCKED(give_bytes(s, (op){.kind = op_copy, .dst = dst, .src = src, .width = bytes, .height = 1}));
}

typedef struct copy_rows {
  size_t src_x, src_y;
  int src_kind;
  const void *src_host;
  uint64_t src;
  void *src_array;
  size_t src_pitch, dst_x, dst_y;
  int dst_kind;
  void *dst_host;
  uint64_t dst;
  void *dst_array;
  size_t dst_pitch, width, height;
} copy_rows;

CU cuMemcpy2DAsync_v2(const copy_rows *what, void *s) {
  if (what->src_pitch < what->width || what->dst_pitch < what->width) return invalid_value;
  op o = {.kind = op_copy, .dst = what->dst, .src = what->src, .width = what->width, .height = what->height};
  o.dst_pitch = what->dst_pitch, o.src_pitch = what->src_pitch;
  LOCKED(give_bytes(s, o));
}
CU cuMemsetD8Async(uint64_t dst, unsigned char byte, size_t bytes, void *s) {
  LOCKED(give_bytes(s, (op){.kind = op_fill, .dst = dst, .value = byte, .width = bytes, .height = 1}));
}
CU cuMemsetD2D8Async(uint64_t dst, size_t pitch, unsigned char byte, size_t width, size_t height, void *s) {
  if (pitch < width) return invalid_value;
  op o = {.kind = op_fill, .dst = dst, .value = byte, .width = width, .height = height, .dst_pitch = pitch};
  LOCKED(give_bytes(s, o));
}

CU cuStreamCreate(void **out, unsigned flags) {
  if (current < 0 || flags != 1) return invalid_context;
  pthread_mutex_lock(&lock);
  *out = new_stream(current, false);
  pthread_mutex_unlock(&lock);
  return ok;
}
static int drop_stream(stream *s) {
  for (stream **at = &streams; *at; at = &(*at)->next)
    if (*at == s) {
      if (s->in) return invalidate(s->in, capture_unsupported);
      s->hidden = true; /* goes when it has nothing left */
      return ok;
    }
  return invalid_handle;
}
CU cuStreamDestroy_v2(void *s) { LOCKED(drop_stream(s)); }
static int wait_stream(stream *s) {
  if (!s) return invalid_context;
  if (s->in) return invalidate(s->in, capture_unsupported);
  if (unsafe_call()) return capture_unsupported;
  return run_until(s, NULL);
}
CU cuStreamSynchronize(void *s) { LOCKED(wait_stream(stream_of(s))); }
static int query_stream(stream *s) {
  if (!s) return invalid_context;
  if (s->in) return invalidate(s->in, capture_unsupported);
  if (s->first) run_some();
  return s->first ? not_ready : ok;
}
CU cuStreamQuery(void *s) { LOCKED(query_stream(stream_of(s))); }
CU cuStreamWriteValue32_v2(void *s, uint64_t address, uint32_t value, unsigned flags) {
  (void)flags;
  LOCKED(give(stream_of(s), (op){.kind = op_write, .dst = address, .value = value}, true));
}
CU cuStreamWaitValue32_v2(void *s, uint64_t address, uint32_t value, unsigned flags) {
  LOCKED(give(stream_of(s), (op){.kind = op_await, .dst = address, .value = value, .exactly = flags & 1}, true));
}
CU cuStreamWaitEvent(void *s, void *e, unsigned flags) {
  (void)flags;
  LOCKED(follow(stream_of(s), e));
}

CU cuStreamGetCaptureInfo_v2(void *s, int *status, uint64_t *id, void **g, const void **nodes, size_t *count) {
  (void)g, (void)nodes, (void)count;
  const stream *of = stream_of(s);
  if (!of) return invalid_context;
  pthread_mutex_lock(&lock);
  *status = !of->in ? 0 : of->in->invalid ? 2 : 1;
  if (of->in) *id = of->in->id;
  pthread_mutex_unlock(&lock);
  return ok;
}
static int begin_capture(stream *s, int mode) {
  if (!s || s->in) return invalid_value;
  if (s->device != current) return invalid_handle;
  capture *c = need(calloc(1, sizeof *c));
  c->id = next_capture++;
  c->origin = s;
  c->thread = pthread_self();
  c->relaxed = mode == 2;
  c->next = captures;
  captures = c;
  s->in = c;
  return ok;
}
CU cuStreamBeginCapture_v2(void *s, int mode) {
  if (!s || mode < 0 || mode > 2) return capture_unsupported; /* not the legacy stream */
  LOCKED(begin_capture(s, mode));
}
CU cuStreamEndCapture(void *s, graph **out) { LOCKED(end_capture(stream_of(s), out)); }
CU cuGraphInstantiateWithFlags(graph **out, const graph *from, uint64_t flags) {
  (void)flags;
  *out = need(calloc(1, sizeof **out));
  (*out)->count = from->count;
  (*out)->nodes = need(malloc(from->count * sizeof *from->nodes + 1));
  if (from->count) memcpy((*out)->nodes, from->nodes, from->count * sizeof *from->nodes);
  __atomic_add_fetch(&graphs_alive, 1, __ATOMIC_SEQ_CST);
  return ok;
}
CU cuGraphDestroy(graph *g) { return free(g->nodes), free(g), ok; }
CU cuGraphExecDestroy(graph *g) {
  __atomic_sub_fetch(&graphs_alive, 1, __ATOMIC_SEQ_CST);
  return free(g->nodes), free(g), ok;
}
API int fake_cuda_graphs(void) { return __atomic_load_n(&graphs_alive, __ATOMIC_SEQ_CST); }
API void fake_cuda_fail_launch(int after) { __atomic_store_n(&launches_left, after, __ATOMIC_SEQ_CST); }
API void fake_cuda_fail_kernel(int after) { __atomic_store_n(&kernels_left, after, __ATOMIC_SEQ_CST); }
API int fake_cuda_widest_graph(void) { return __atomic_load_n(&widest_graph, __ATOMIC_SEQ_CST); }
CU cuGraphLaunch(graph *g, void *s) {
  LOCKED(launches_left >= 0 && launches_left-- == 0 ? stuck : launch_graph(g, stream_of(s)));
}

CU cuEventCreate(event **out, unsigned flags) {
  (void)flags;
  if (current < 0) return invalid_context;
  *out = need(calloc(1, sizeof **out));
  return (*out)->device = current, ok;
}
CU cuEventDestroy_v2(event *e) { return free(e), ok; }
CU cuEventRecord(event *e, void *s) { LOCKED(record(e, stream_of(s))); }
static int query_event(const event *e) {
  if (!e->last) return ok;
  if (e->last->of) return captured_event;
  if (unsafe_call()) return capture_unsupported;
  if (!e->last->done) run_some();
  return e->last->done ? ok : not_ready;
}
CU cuEventQuery(event *e) { LOCKED(query_event(e)); }
CU cuEventSynchronize(event *e) { LOCKED(!e->last ? ok : e->last->of ? captured_event : run_until(NULL, e->last)); }
CU cuEventElapsedTime(float *milliseconds, event *begin, event *end) {
  return *milliseconds = 1, begin->last && end->last && begin->last->done && end->last->done ? ok : not_ready;
}

CU cuModuleLoadData(void **module, const void *image) {
  static char loaded;
  return image && current >= 0 ? (*module = &loaded, ok) : invalid_context;
}
CU cuModuleUnload(void *module) { return module ? ok : invalid_handle; }
CU cuModuleGetFunction(function **out, void *module, const char *name) {
  (void)module;
  pthread_mutex_lock(&lock);
  function *f = functions;
  while (f && strcmp(f->name, name) != 0) f = f->next;
  if (!f) {
    f = need(calloc(1, sizeof *f));
    snprintf(f->name, sizeof f->name, "%s", name);
    f->next = functions;
    functions = f;
  }
  pthread_mutex_unlock(&lock);
  return *out = f, ok;
}
CU cuFuncGetAttribute(int *value, int attribute, function *f) { return (void)f, *value = attribute == 4 ? 32 : 0, ok; }
CU cuFuncSetAttribute(function *f, int attribute, int value) {
  return (void)f, (void)attribute, value >= 0 ? ok : invalid_value;
}
CU cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, function *f, int threads, size_t shared) {
  return (void)f, (void)threads, (void)shared, *blocks = 8, ok;
}
/* CUlaunchConfig */
struct launch_config {
  unsigned grid[3], block[3], shared;
  void *stream;
  const void *attributes;
  unsigned count;
};
CU cuLaunchKernelEx(const struct launch_config *c, function *f, void **parameters, void **extra) {
  (void)extra;
  if (!c->grid[0] || !c->block[0] || c->grid[1] != 1 || c->grid[2] != 1 || c->block[1] != 1 || c->block[2] != 1 ||
      !run_kernel)
    return invalid_value;
  if (c->count) return invalid_value; /* no launch begins early: a capture over two H100s refused that */
  op o = {.kind = op_kernel, .kernel = f->name, .src = *(uint64_t *)parameters[0], .width = *(uint32_t *)parameters[1]};
  LOCKED(kernels_left >= 0 && kernels_left-- == 0 ? stuck : give(stream_of(c->stream), o, true));
}
