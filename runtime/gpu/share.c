/* share.c -- see share.h. Memory goes by CUDA's handles for other processes, one an allocation; flags lie in shared
** memory of the host, where every GPU of the machine and every process can write them: a host that gives up lets its
** streams go with a plain store. */
#include "share.h"

#include "agreement.h"
#include "error.h"
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* What a process sends: a head, its allocations, its arrays. */
typedef struct export_head {
  uint32_t allocations, arrays;
} export_head;

typedef struct export_allocation {
  mxg_gpu_handle handle;
  uint64_t bytes;
} export_allocation;

typedef struct export_array {
  uint32_t array, data, scale, unused; /* indices of allocations; MXG_NONE: no scales */
  uint64_t data_offset, scale_offset;
} export_array;

typedef struct import {
  uint32_t process;
  mxg_gpu_handle handle;
  uint64_t base, bytes;
} import;

enum { flag_sets = 3, set_begin = 0, set_end = 1, set_all = 2, flags_name_room = 64 };

struct mxg_share {
  const mxg_exec_view *view;
  import *imports;
  size_t import_count, import_room;
  bool *reads; /* [reader * ranks + source], of ranks in different processes */
  /* flags: [set][lane][waiter][from], 32 bits each */
  volatile uint32_t *flags;
  uint64_t flags_bytes, flags_address; /* as the GPU has them */
  uint32_t ranks;
};

/* ---- who reads whom ---- */

static mxg_status find_readers(bool **out, const mxg_exec_view *view, mxg_error *err) {
  const mxg_plan *plan = view->plan;
  const mxg_agreement *a = view->agreement;
  bool *reads = mxg_alloc((size_t)plan->rank_count * plan->rank_count);
  *out = reads;
  if (!reads) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < plan->piece_count; i++) {
    const mxg_array *src = &plan->arrays[plan->pieces[i].src];
    uint32_t to = plan->arrays[plan->pieces[i].dst].rank;
    if (src->side != MXG_SOURCE || a->home[to] == a->home[src->rank]) continue;
    if (a->home[to] != MXG_NONE && a->home[src->rank] != MXG_NONE)
      reads[(size_t)to * plan->rank_count + src->rank] = true;
  }
  return MXG_OK;
}

static mxg_status check_pair(const mxg_exec_view *view, uint32_t index, uint32_t from, mxg_error *err) {
  const mxg_agreement *a = view->agreement;
  uint32_t reader = view->ranks[index];
  int gpus = 0;
  bool can = true;
  if (!a->near[a->home[from]]) {
    mxg_fail(err, MXG_ERR_UNSUPPORTED, 666, "rank %u reads sources of rank %u, which is on another machine", reader,
             from);
    mxg_error_note(err, "the transports copy and direct work inside one machine");
    mxg_error_help(err, "transport nccl works between machines");
    return MXG_ERR_UNSUPPORTED;
  }
  MXG_TRY(mxg_gpu_count(&gpus, err));
  if (gpus && *a->pcis[from]) MXG_TRY(mxg_gpu_can_reach(&can, mxg_view_gpu(view, index, gpus), a->pcis[from], err));
  if (can) return MXG_OK;
  mxg_fail(err, MXG_ERR_UNSUPPORTED, 642, "the GPU of rank %u cannot reach the memory of rank %u's, at %s", reader,
           from, a->pcis[from]);
  mxg_error_help(err, "the transports nccl and host work without peer access");
  return MXG_ERR_UNSUPPORTED;
}

mxg_status mxg_share_check(const mxg_exec_view *view, mxg_error *err) {
  uint32_t ranks = view->plan->rank_count;
  bool *reads = NULL;
  mxg_status status = find_readers(&reads, view, err);
  for (uint32_t i = 0; i < view->rank_count && status == MXG_OK; i++)
    for (uint32_t from = 0; from < ranks && status == MXG_OK; from++)
      if (reads[(size_t)view->ranks[i] * ranks + from]) status = check_pair(view, i, from, err);
  mxg_free(reads);
  return status;
}

/* ---- exports ---- */

typedef struct exports {
  export_allocation *allocations;
  uint64_t *bases;
  size_t count, allocation_room, base_count, base_room;
  export_array *arrays;
  size_t array_count, array_room;
} exports;

static mxg_status cannot_share(const mxg_exec_view *view, const mxg_array *a, const char *what, const mxg_error *why,
                               mxg_error *err) {
  mxg_fail(err, MXG_ERR_UNSUPPORTED, 667,
           "%s of source \"%s\", rank %u: this memory cannot be given to another process", what,
           view->plan->strings + a->name, a->rank);
  mxg_error_note(err, "%.300s", why->text);
  mxg_error_help(err, "take memory of cudaMalloc (in PyTorch: without expandable_segments), or the transport nccl");
  return MXG_ERR_UNSUPPORTED;
}

/* The index of the allocation that holds `bytes` bytes from `address` on. */
static mxg_status export_memory(exports *x, const mxg_exec_view *view, const mxg_array *a, const char *what,
                                uint64_t address, uint64_t bytes, uint32_t *index, uint64_t *offset, mxg_error *err) {
  uint64_t base = 0, size = 0;
  mxg_error why = {0};
  export_allocation fresh = {0};
  if (mxg_gpu_range(&base, &size, address, &why) != MXG_OK) return cannot_share(view, a, what, &why, err);
  *offset = address - base;
  if (bytes > size || *offset > size - bytes)
    return mxg_fail(err, MXG_ERR_USAGE, 604, "%s of source \"%s\", rank %u: the allocation ends before the tensor does",
                    what, view->plan->strings + a->name, a->rank);
  for (size_t i = 0; i < x->base_count; i++)
    if (x->bases[i] == base) {
      *index = (uint32_t)i;
      return MXG_OK;
    }
  if (mxg_gpu_export(&fresh.handle, base, &why) != MXG_OK) return cannot_share(view, a, what, &why, err);
  fresh.bytes = size;
  uint64_t *known = mxg_vector_push((void **)&x->bases, &x->base_count, &x->base_room, sizeof *known);
  export_allocation *added =
      known ? mxg_vector_push((void **)&x->allocations, &x->count, &x->allocation_room, sizeof *added) : NULL;
  if (!added) return mxg_fail_nomem(err);
  *known = base;
  *added = fresh;
  *index = (uint32_t)(x->count - 1);
  return MXG_OK;
}

static mxg_status export_all(exports *x, const mxg_exec_view *view, mxg_error *err) {
  const mxg_plan *plan = view->plan;
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    const mxg_place *place = &view->places[i];
    if (!view->agreement->read_abroad[i] || !place->data) continue;
    export_array one = {.array = i, .data = MXG_NONE, .scale = MXG_NONE};
    uint64_t bytes = mxg_array_data_bytes(plan, a), scale_bytes = mxg_array_scale_bytes(plan, a);
    MXG_TRY(export_memory(x, view, a, "data", place->data, bytes, &one.data, &one.data_offset, err));
    if (place->scale)
      MXG_TRY(export_memory(x, view, a, "scales", place->scale, scale_bytes, &one.scale, &one.scale_offset, err));
    export_array *added = mxg_vector_push((void **)&x->arrays, &x->array_count, &x->array_room, sizeof *added);
    if (!added) return mxg_fail_nomem(err);
    *added = one;
  }
  return MXG_OK;
}

static unsigned char *pack(const exports *x, size_t *bytes) {
  export_head head = {(uint32_t)x->count, (uint32_t)x->array_count};
  size_t allocations = x->count * sizeof *x->allocations, arrays = x->array_count * sizeof *x->arrays;
  *bytes = sizeof head + allocations + arrays;
  unsigned char *packed = mxg_alloc(*bytes);
  if (!packed) return NULL;
  memcpy(packed, &head, sizeof head);
  if (allocations) memcpy(packed + sizeof head, x->allocations, allocations);
  if (arrays) memcpy(packed + sizeof head + allocations, x->arrays, arrays);
  return packed;
}

/* ---- imports ---- */

static mxg_status import_memory(mxg_share *share, uint32_t process, const export_allocation *allocation, uint64_t *base,
                                mxg_error *err) {
  for (size_t i = 0; i < share->import_count; i++) {
    const import *known = &share->imports[i];
    if (known->process != process || memcmp(&known->handle, &allocation->handle, sizeof known->handle) != 0) continue;
    *base = known->base;
    return MXG_OK;
  }
  import *fresh = mxg_vector_push((void **)&share->imports, &share->import_count, &share->import_room, sizeof *fresh);
  if (!fresh) return mxg_fail_nomem(err);
  mxg_error why = {0};
  if (mxg_gpu_import(&fresh->base, &allocation->handle, &why) != MXG_OK) {
    share->import_count--;
    mxg_fail(err, MXG_ERR_UNSUPPORTED, 667, "memory of %s cannot be opened here",
             mxg_job_name(share->view->agreement->job, process));
    mxg_error_note(err, "%.300s", why.text);
    mxg_error_help(err, "the transport nccl works without it");
    if (err) err->native = why.native;
    return MXG_ERR_UNSUPPORTED;
  }
  fresh->process = process;
  fresh->handle = allocation->handle;
  fresh->bytes = allocation->bytes;
  *base = fresh->base;
  return MXG_OK;
}

static bool fits(const export_allocation *all, uint32_t count, uint32_t index, uint64_t offset, uint64_t bytes) {
  return index < count && bytes <= all[index].bytes && offset <= all[index].bytes - bytes;
}

static mxg_status import_array(mxg_share *share, uint32_t process, const export_allocation *all, uint32_t count,
                               const export_array *one, mxg_place *remote, mxg_error *err) {
  const mxg_exec_view *view = share->view;
  const mxg_plan *plan = view->plan;
  if (one->array >= plan->array_count) return MXG_OK;
  const mxg_array *a = &plan->arrays[one->array];
  if (!view->agreement->wanted[one->array] || view->agreement->home[a->rank] != process) return MXG_OK;
  uint64_t scale_bytes = mxg_array_scale_bytes(plan, a), base = 0;
  if (!fits(all, count, one->data, one->data_offset, mxg_array_data_bytes(plan, a)) ||
      (scale_bytes && !fits(all, count, one->scale, one->scale_offset, scale_bytes)))
    return mxg_fail(err, MXG_ERR_USAGE, 664, "%s sent a table of its memory that does not fit the plan",
                    mxg_job_name(view->agreement->job, process));
  MXG_TRY(import_memory(share, process, &all[one->data], &base, err));
  remote[one->array] = (mxg_place){base + one->data_offset, 0};
  if (!scale_bytes) return MXG_OK;
  MXG_TRY(import_memory(share, process, &all[one->scale], &base, err));
  remote[one->array].scale = base + one->scale_offset;
  return MXG_OK;
}

static mxg_status import_process(mxg_share *share, uint32_t process, const unsigned char *bytes, uint64_t count,
                                 mxg_place *remote, mxg_error *err) {
  export_head head = {0};
  if (count >= sizeof head) memcpy(&head, bytes, sizeof head);
  uint64_t allocations = head.allocations * sizeof(export_allocation), arrays = head.arrays * sizeof(export_array);
  if (count != sizeof head + allocations + arrays)
    return mxg_fail(err, MXG_ERR_USAGE, 664, "%s sent a table of its memory that is of another version",
                    mxg_job_name(share->view->agreement->job, process));
  export_allocation *all = mxg_alloc((size_t)allocations + 1);
  if (!all) return mxg_fail_nomem(err);
  memcpy(all, bytes + sizeof head, (size_t)allocations);
  mxg_status status = MXG_OK;
  for (uint32_t i = 0; i < head.arrays && status == MXG_OK; i++) {
    export_array one;
    memcpy(&one, bytes + sizeof head + allocations + i * sizeof one, sizeof one);
    status = import_array(share, process, all, head.allocations, &one, remote, err);
  }
  mxg_free(all);
  return status;
}

/* Every wanted array has a place now. */
static mxg_status check_wanted(const mxg_share *share, const mxg_place *remote, mxg_error *err) {
  const mxg_plan *plan = share->view->plan;
  const mxg_agreement *a = share->view->agreement;
  for (uint32_t i = 0; i < plan->array_count; i++)
    if (a->wanted[i] && !remote[i].data && mxg_array_data_bytes(plan, &plan->arrays[i]))
      return mxg_fail(err, MXG_ERR_USAGE, 664, "%s did not give source \"%s\" of rank %u",
                      mxg_job_name(a->job, a->home[plan->arrays[i].rank]), plan->strings + plan->arrays[i].name,
                      plan->arrays[i].rank);
  return MXG_OK;
}

/* ---- flags ---- */

/* Process 0 makes the shared memory, the others open it, then its name goes: nothing is left behind. */
static mxg_status open_flags(mxg_share *share, const char *name, bool makes, mxg_error *err) {
  int fd = shm_open(name, makes ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
  void *memory = MAP_FAILED;
  if (fd >= 0 && (!makes || ftruncate(fd, (off_t)share->flags_bytes) == 0))
    memory = mmap(NULL, (size_t)share->flags_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  int native = errno;
  if (fd >= 0) close(fd);
  if (memory == MAP_FAILED) {
    mxg_fail(err, MXG_ERR_ENVIRONMENT, 668, "shared memory for flags cannot be %s: %.200s", makes ? "made" : "opened",
             strerror(native));
    mxg_error_help(err, "processes of one run share /dev/shm; containers need one of their own together");
    if (err) err->native = native;
    return MXG_ERR_ENVIRONMENT;
  }
  share->flags = memory;
  mxg_status status = mxg_gpu_register(&share->flags_address, memory, share->flags_bytes, err);
  if (status == MXG_OK) return MXG_OK;
  (void)munmap(memory, (size_t)share->flags_bytes);
  share->flags = NULL;
  return status;
}

static void close_flags(mxg_share *share) {
  void *memory = (void *)(uintptr_t)share->flags;
  if (!memory) return;
  mxg_gpu_unregister(memory);
  (void)munmap(memory, (size_t)share->flags_bytes);
  share->flags = NULL;
}

static mxg_status share_flags(mxg_share *share, mxg_error *err) {
  const mxg_agreement *a = share->view->agreement;
  double deadline = share->view->deadline;
  bool makes = mxg_job_rank(a->job) == 0;
  char name[flags_name_room] = "";
  mxg_error own = {0};
  share->ranks = share->view->plan->rank_count;
  share->flags_bytes = (uint64_t)(2 * MXG_MEET_LANES + 1) * share->ranks * share->ranks * sizeof(uint32_t);
  share->flags_bytes = (share->flags_bytes + 4095) / 4096 * 4096;
  if (makes) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(name, sizeof name, "/mxgen-%ld-%lx%lx", (long)getpid(), (unsigned long)now.tv_sec,
             (unsigned long)now.tv_nsec);
    (void)open_flags(share, name, true, &own);
  }
  char *names = mxg_alloc((size_t)mxg_job_world(a->job) * sizeof name);
  if (!names) mxg_fail_nomem(&own);
  mxg_status status = mxg_job_agree(a->job, "the flags of the run", &own, deadline, err);
  if (status == MXG_OK)
    status = mxg_job_gather(a->job, "the flags of the run", name, sizeof name, names, deadline, err);
  if (status == MXG_OK) {
    names[sizeof name - 1] = 0;
    if (!makes) (void)open_flags(share, names, false, &own);
    status = mxg_job_agree(a->job, "the flags of the run", &own, deadline, err);
  }
  if (makes && *name) (void)shm_unlink(name);
  mxg_free(names);
  if (status != MXG_OK) close_flags(share); /* on all of them: the next time all begin anew */
  return status;
}

/* ---- all of it ---- */

static mxg_status exchange(mxg_share *share, mxg_place *remote, mxg_error *err) {
  const mxg_exec_view *view = share->view;
  const mxg_agreement *a = view->agreement;
  uint32_t world = mxg_job_world(a->job);
  exports x = {0};
  mxg_error own = {0};
  size_t bytes = 0;
  unsigned char *packed = NULL;
  void *recv = NULL;
  uint64_t *counts = mxg_alloc(world * sizeof *counts);
  (void)export_all(&x, view, &own);
  packed = own.status == MXG_OK ? pack(&x, &bytes) : NULL;
  if (own.status == MXG_OK && (!packed || !counts)) mxg_fail_nomem(&own);
  mxg_status status = mxg_job_agree(a->job, "the export of memory", &own, view->deadline, err);
  if (status == MXG_OK)
    status = mxg_job_gather_any(a->job, "the exchange of memory", packed, bytes, &recv, counts, view->deadline, err);
  if (status == MXG_OK) {
    const unsigned char *at = recv;
    memset(remote, 0, view->plan->array_count * sizeof *remote);
    for (uint32_t p = 0; p < world && own.status == MXG_OK; at += counts[p++])
      if (p != mxg_job_rank(a->job)) (void)import_process(share, p, at, counts[p], remote, &own);
    if (own.status == MXG_OK) (void)check_wanted(share, remote, &own);
    status = mxg_job_agree(a->job, "the import of memory", &own, view->deadline, err);
  }
  mxg_free(x.allocations);
  mxg_free(x.bases);
  mxg_free(x.arrays);
  mxg_free(packed);
  mxg_free(recv);
  mxg_free(counts);
  return status;
}

mxg_status mxg_share_exchange(mxg_share **out, const mxg_exec_view *view, mxg_place *remote, mxg_error *err) {
  mxg_job *job = view->agreement->job;
  mxg_error own = {0};
  bool fresh = !*out;
  if (fresh) {
    *out = mxg_alloc(sizeof **out);
    if (*out) (*out)->view = view;
    if (*out)
      (void)find_readers(&(*out)->reads, view, &own);
    else
      mxg_fail_nomem(&own);
  }
  MXG_TRY(mxg_job_agree(job, "the exchange of memory", &own, view->deadline, err));
  if (!(*out)->flags) MXG_TRY(share_flags(*out, err));
  return exchange(*out, remote, err);
}

void mxg_share_free(mxg_share *share, bool lost) {
  if (!share) return;
  for (size_t i = 0; i < share->import_count && !lost; i++) mxg_gpu_import_close(share->imports[i].base);
  if (!lost) close_flags(share);
  mxg_free(share->imports);
  mxg_free(share->reads);
  mxg_free(share);
}

/* ---- meetings ---- */

static size_t flag_index(const mxg_share *share, unsigned set, uint32_t lane, uint32_t waiter, uint32_t from) {
  size_t table = (size_t)share->ranks * share->ranks;
  size_t first = set == set_all ? (size_t)2 * MXG_MEET_LANES : (size_t)set * MXG_MEET_LANES + lane;
  return first * table + (size_t)waiter * share->ranks + from;
}

static uint64_t flag_of(const mxg_share *share, unsigned set, uint32_t lane, uint32_t waiter, uint32_t from) {
  return share->flags_address + flag_index(share, set, lane, waiter, from) * sizeof(uint32_t);
}

static bool reads(const mxg_share *share, uint32_t reader, uint32_t source) {
  return share->reads[(size_t)reader * share->ranks + source];
}

/* Tells those who wait for `rank`, then waits for those it needs; a flag that was seen is taken down again. */
static mxg_status meet(const mxg_share *share, unsigned set, uint32_t rank, uint32_t lane, mxg_cu_stream *stream,
                       mxg_error *err) {
  if (lane >= MXG_MEET_LANES)
    return mxg_fail(err, MXG_ERR_UNSUPPORTED, 601, "there is no lane %u for processes to meet on", lane);
  for (uint32_t p = 0; p < share->ranks; p++) {
    bool waits = set == set_begin ? reads(share, p, rank) : reads(share, rank, p);
    if (waits) MXG_TRY(mxg_stream_write(stream, flag_of(share, set, lane, p, rank), 1, err));
  }
  for (uint32_t p = 0; p < share->ranks; p++) {
    bool needed = set == set_begin ? reads(share, rank, p) : reads(share, p, rank);
    if (!needed) continue;
    MXG_TRY(mxg_stream_await(stream, flag_of(share, set, lane, rank, p), 1, true, err));
    MXG_TRY(mxg_stream_write(stream, flag_of(share, set, lane, rank, p), 0, err));
  }
  return MXG_OK;
}

mxg_status mxg_meet_begin(const mxg_share *share, uint32_t rank, uint32_t lane, mxg_cu_stream *stream, mxg_error *err) {
  return share ? meet(share, set_begin, rank, lane, stream, err) : MXG_OK;
}

mxg_status mxg_meet_end(const mxg_share *share, uint32_t rank, uint32_t lane, mxg_cu_stream *stream, mxg_error *err) {
  return share ? meet(share, set_end, rank, lane, stream, err) : MXG_OK;
}

mxg_status mxg_meet_all(const mxg_share *share, uint32_t rank, uint32_t turn, mxg_cu_stream *stream, mxg_error *err) {
  if (!share) return MXG_OK;
  const uint32_t *home = share->view->agreement->home;
  for (uint32_t p = 0; p < share->ranks; p++)
    if (home[p] != MXG_NONE && home[p] != home[rank])
      MXG_TRY(mxg_stream_write(stream, flag_of(share, set_all, 0, p, rank), turn, err));
  for (uint32_t p = 0; p < share->ranks; p++)
    if (home[p] != MXG_NONE && home[p] != home[rank])
      MXG_TRY(mxg_stream_await(stream, flag_of(share, set_all, 0, rank, p), turn, false, err));
  return MXG_OK;
}

bool mxg_meet_misses(const mxg_share *share, uint32_t rank, uint32_t other) {
  if (!share || !share->flags) return false;
  uint32_t own = share->flags[flag_index(share, set_all, 0, other, rank)];
  uint32_t theirs = share->flags[flag_index(share, set_all, 0, rank, other)];
  return own > theirs;
}

void mxg_meet_release(mxg_share *share) {
  if (!share || !share->flags) return;
  const mxg_exec_view *view = share->view;
  for (uint32_t i = 0; i < view->rank_count; i++)
    for (uint32_t p = 0; p < share->ranks; p++) {
      for (uint32_t lane = 0; lane < MXG_MEET_LANES; lane++) {
        share->flags[flag_index(share, set_begin, lane, view->ranks[i], p)] = 1;
        share->flags[flag_index(share, set_end, lane, view->ranks[i], p)] = 1;
      }
      share->flags[flag_index(share, set_all, 0, view->ranks[i], p)] = UINT32_MAX / 2;
    }
}
