/* peek.c -- see peek.h. The system copies from one process to another (process_vm_readv): nothing is written on the
** owner's side, which need not even run. Whole arrays are copied, so a reader has them twice for the time of a run;
** this is the transport that others are checked against, not the one that is fast. */
#define _GNU_SOURCE /* process_vm_readv */
#include "peek.h"

#include "agreement.h"
#include "error.h"
#include "memory.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

typedef struct lent {
  uint32_t array;
  int32_t pid;
  uint64_t data, scale;
} lent;

struct mxg_peek {
  const mxg_exec_view *view;
  lent *sources; /* the wanted ones */
  size_t count, room;
  void **copies; /* two a source: data, scales */
};

/* Where the system allows such reads only to a parent (Yama), this process allows them to its peers: those of its user,
** which the system's other rules then still hold to. */
static void allow_reads(void) {
#if defined PR_SET_PTRACER && defined PR_SET_PTRACER_ANY
  (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
#endif
}

static mxg_status take(mxg_peek *peek, uint32_t process, const unsigned char *bytes, uint64_t count, mxg_error *err) {
  const mxg_exec_view *view = peek->view;
  const mxg_agreement *a = view->agreement;
  if (count % sizeof(lent))
    return mxg_fail(err, MXG_ERR_USAGE, 664, "%s sent a table of its memory that is of another version",
                    mxg_job_name(a->job, process));
  for (uint64_t i = 0; i < count / sizeof(lent); i++) {
    lent one;
    memcpy(&one, bytes + i * sizeof one, sizeof one);
    if (one.array >= view->plan->array_count || !a->wanted[one.array]) continue;
    if (!a->near[process]) {
      mxg_fail(err, MXG_ERR_UNSUPPORTED, 666, "rank %u, whose sources this process reads, is on another machine",
               view->plan->arrays[one.array].rank);
      mxg_error_help(err, "transport nccl works between machines");
      return MXG_ERR_UNSUPPORTED;
    }
    lent *added = mxg_vector_push((void **)&peek->sources, &peek->count, &peek->room, sizeof *added);
    if (!added) return mxg_fail_nomem(err);
    *added = one;
  }
  return MXG_OK;
}

static mxg_status exchange(mxg_peek *peek, const mxg_exec_view *view, mxg_error *err) {
  const mxg_plan *plan = view->plan;
  const mxg_agreement *a = view->agreement;
  uint32_t world = mxg_job_world(a->job);
  mxg_error own = {0};
  lent *mine = NULL;
  size_t count = 0, room = 0;
  void *recv = NULL;
  uint64_t *counts = mxg_alloc(world * sizeof *counts);
  if (!counts || !peek) mxg_fail_nomem(&own);
  for (uint32_t i = 0; i < plan->array_count && own.status == MXG_OK; i++) {
    if (!a->read_abroad[i] || !view->places[i].data) continue;
    lent *one = mxg_vector_push((void **)&mine, &count, &room, sizeof *one);
    if (one)
      *one = (lent){i, (int32_t)getpid(), view->places[i].data, view->places[i].scale};
    else
      mxg_fail_nomem(&own);
  }
  allow_reads();
  mxg_status status = mxg_job_agree(a->job, "the exchange of memory", &own, view->deadline, err);
  if (status == MXG_OK)
    status = mxg_job_gather_any(a->job, "the exchange of memory", mine, count * sizeof *mine, &recv, counts,
                                view->deadline, err);
  if (status == MXG_OK) {
    const unsigned char *at = recv;
    peek->count = 0;
    for (uint32_t p = 0; p < world && own.status == MXG_OK; at += counts[p++])
      if (p != mxg_job_rank(a->job)) (void)take(peek, p, at, counts[p], &own);
    status = mxg_job_agree(a->job, "the exchange of memory", &own, view->deadline, err);
  }
  mxg_free(mine);
  mxg_free(recv);
  mxg_free(counts);
  return status;
}

mxg_status mxg_peek_exchange(mxg_peek **out, const mxg_exec_view *view, mxg_error *err) {
  if (!*out) {
    *out = mxg_alloc(sizeof **out);
    if (*out) (*out)->view = view;
  }
  if (*out) mxg_peek_drop(*out);
  return exchange(*out, view, err);
}

static mxg_status read_memory(const mxg_peek *peek, const lent *from, void *to, uint64_t address, uint64_t bytes,
                              mxg_error *err) {
  const mxg_agreement *a = peek->view->agreement;
  uint32_t rank = peek->view->plan->arrays[from->array].rank;
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t most = (uint64_t)1 << 30;
    size_t run = (size_t)(bytes - done < most ? bytes - done : most);
    struct iovec here = {(unsigned char *)to + done, run}, there = {(void *)(uintptr_t)(address + done), run};
    ssize_t n = process_vm_readv(from->pid, &here, 1, &there, 1, 0);
    if (n > 0) {
      done += (uint64_t)n;
      continue;
    }
    int native = n < 0 ? errno : EFAULT;
    if (native == EINTR) continue;
    if (native == ESRCH)
      mxg_fail(err, MXG_ERR_TIMEOUT, 660, "%s is lost: it ended while source memory of rank %u was read",
               mxg_job_name(a->job, a->home[rank]), rank);
    else
      mxg_fail(err, MXG_ERR_ENVIRONMENT, 669, "sources of rank %u cannot be read in %s: %.150s", rank,
               mxg_job_name(a->job, a->home[rank]), strerror(native));
    if (err) err->native = native;
    return native == ESRCH ? MXG_ERR_TIMEOUT : MXG_ERR_ENVIRONMENT;
  }
  return MXG_OK;
}

mxg_status mxg_peek_read(mxg_peek *peek, mxg_place *places, mxg_error *err) {
  const mxg_plan *plan = peek->view->plan;
  mxg_peek_drop(peek);
  peek->copies = mxg_alloc((peek->count * 2 + 1) * sizeof *peek->copies);
  if (!peek->copies) return mxg_fail_nomem(err);
  for (size_t i = 0; i < peek->count; i++) {
    const lent *s = &peek->sources[i];
    const mxg_array *a = &plan->arrays[s->array];
    const uint64_t bytes[2] = {mxg_array_data_bytes(plan, a), mxg_array_scale_bytes(plan, a)};
    const uint64_t from[2] = {s->data, s->scale};
    for (int k = 0; k < 2; k++) {
      if (!bytes[k]) continue;
      void *copy = mxg_resize(NULL, (size_t)bytes[k]);
      if (!copy) return mxg_fail_nomem(err);
      peek->copies[i * 2 + (size_t)k] = copy;
      MXG_TRY(read_memory(peek, s, copy, from[k], bytes[k], err));
    }
    places[s->array] =
        (mxg_place){(uint64_t)(uintptr_t)peek->copies[i * 2], (uint64_t)(uintptr_t)peek->copies[i * 2 + 1]};
  }
  return MXG_OK;
}

void mxg_peek_drop(mxg_peek *peek) {
  for (size_t i = 0; peek->copies && i < peek->count * 2; i++) mxg_free(peek->copies[i]);
  mxg_free(peek->copies);
  peek->copies = NULL;
}

void mxg_peek_free(mxg_peek *peek) {
  if (!peek) return;
  mxg_peek_drop(peek);
  mxg_free(peek->sources);
  mxg_free(peek);
}
