/* agreement.c -- see agreement.h. */
#include "agreement.h"

#include "bundle.h"
#include "error.h"
#include "memory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What a process says of itself, followed by its ranks. */
typedef struct vote {
  char digest[68], maker[64], library[20], host[MXG_HOST_ROOM];
  uint32_t transport, pick, rank_count, unused;
  uint64_t chunk_bytes;
} vote;

typedef struct vote_rank {
  uint32_t rank;
  char pci[MXG_PCI_ROOM];
} vote_rank;

void mxg_host_identity(char text[MXG_HOST_ROOM]) {
  char name[64] = "", boot[40] = "";
  if (gethostname(name, sizeof name) != 0) snprintf(name, sizeof name, "unknown");
  name[sizeof name - 1] = 0;
  FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
  if (file) {
    if (!fgets(boot, sizeof boot, file)) boot[0] = 0;
    fclose(file);
  }
  boot[strcspn(boot, "\n")] = 0;
  snprintf(text, MXG_HOST_ROOM, "%s %s", name, boot);
}

/* ---- votes ---- */

typedef struct votes {
  vote *all; /* by process */
  unsigned char *bytes;
  uint64_t *counts;
  uint32_t world;
} votes;

static mxg_status gather_votes(votes *v, const mxg_exec_view *view, mxg_transport asked, mxg_transport pick,
                               double deadline, mxg_error *err) {
  mxg_job *job = view->options.job;
  size_t bytes = sizeof(vote) + view->rank_count * sizeof(vote_rank);
  unsigned char *mine = mxg_alloc(bytes);
  vote own = {.transport = (uint32_t)asked,
              .pick = (uint32_t)pick,
              .rank_count = view->rank_count,
              .chunk_bytes = view->options.chunk_bytes};
  void *recv = NULL;
  v->world = mxg_job_world(job);
  v->all = mxg_alloc(v->world * sizeof *v->all);
  v->counts = mxg_alloc(v->world * sizeof *v->counts);
  mxg_status status = mine && v->all && v->counts ? MXG_OK : mxg_fail_nomem(err);
  snprintf(own.digest, sizeof own.digest, "%s", mxg_bundle_digest(view->bundle));
  snprintf(own.maker, sizeof own.maker, "%s", mxg_bundle_maker(view->bundle));
  snprintf(own.library, sizeof own.library, "%s", mxg_version());
  mxg_host_identity(own.host);
  if (mine) memcpy(mine, &own, sizeof own);
  for (uint32_t i = 0; mine && i < view->rank_count; i++) {
    vote_rank r = {.rank = view->ranks[i]};
    if (asked != MXG_HOST) mxg_view_gpu_name(view, i, r.pci, sizeof r.pci);
    memcpy(mine + sizeof own + i * sizeof r, &r, sizeof r);
  }
  mxg_error no_memory = {0};
  if (status != MXG_OK) mxg_fail_nomem(&no_memory);
  status = mxg_job_agree(job, "the creation of the executor", &no_memory, deadline, err);
  if (status == MXG_OK)
    status = mxg_job_gather_any(job, "the comparison of bundles", mine, bytes, &recv, v->counts, deadline, err);
  v->bytes = recv;
  mxg_free(mine);
  return status;
}

static void free_votes(votes *v) {
  mxg_free(v->all);
  mxg_free(v->counts);
  mxg_free(v->bytes);
}

/* A label for errors: "rank 3", "ranks 0-3", "5 ranks". */
static void name_ranks(mxg_job *job, uint32_t process, const vote_rank *ranks, uint32_t count) {
  char text[40];
  if (count == 1)
    snprintf(text, sizeof text, "rank %u", ranks[0].rank);
  else if (count && ranks[count - 1].rank - ranks[0].rank + 1 == count)
    snprintf(text, sizeof text, "ranks %u-%u", ranks[0].rank, ranks[count - 1].rank);
  else
    snprintf(text, sizeof text, "%u ranks", count);
  mxg_job_label(job, process, text);
}

static mxg_status read_votes(mxg_agreement *a, votes *v, const mxg_exec_view *view, mxg_error *err) {
  uint64_t at = 0;
  mxg_status status = MXG_OK;
  for (uint32_t p = 0; p < v->world; at += v->counts[p++]) {
    const unsigned char *bytes = v->bytes + at;
    vote *own = &v->all[p];
    if (v->counts[p] >= sizeof *own) memcpy(own, bytes, sizeof *own);
    if (v->counts[p] < sizeof *own || v->counts[p] != sizeof *own + own->rank_count * sizeof(vote_rank))
      return mxg_fail(err, MXG_ERR_USAGE, 664, "%s sent what is no vote: it is of another version",
                      mxg_job_name(a->job, p));
    own->digest[64] = own->maker[63] = own->library[19] = own->host[MXG_HOST_ROOM - 1] = 0;
    vote_rank *ranks = mxg_alloc((own->rank_count + 1) * sizeof *ranks);
    if (!ranks) return mxg_fail_nomem(err);
    memcpy(ranks, bytes + sizeof *own, own->rank_count * sizeof *ranks);
    name_ranks(a->job, p, ranks, own->rank_count);
    for (uint32_t i = 0; i < own->rank_count; i++) {
      uint32_t rank = ranks[i].rank;
      if (rank >= view->plan->rank_count) continue; /* another bundle: told below */
      if (a->home[rank] != MXG_NONE && status == MXG_OK)
        status = mxg_fail(err, MXG_ERR_USAGE, 665, "rank %u is in %s and in %s", rank,
                          mxg_job_name(a->job, a->home[rank]), mxg_job_name(a->job, p));
      a->home[rank] = p;
      memcpy(a->pcis[rank], ranks[i].pci, MXG_PCI_ROOM - 1);
    }
    mxg_free(ranks);
  }
  for (uint32_t p = 0; p < v->world; p++) a->near[p] = !strcmp(v->all[p].host, v->all[mxg_job_rank(a->job)].host);
  return status;
}

/* ---- what must be equal ---- */

static void word_of(const vote *v, unsigned field, char *text, size_t room) {
  switch (field) {
  case 0: snprintf(text, room, "%.16s", v->digest); return;
  case 1: snprintf(text, room, "%s", mxg_transport_name((mxg_transport)v->transport)); return;
  default: snprintf(text, room, "%llu", (unsigned long long)v->chunk_bytes); return;
  }
}

/* "the bundle's digest differs: 12ab.. on process 0 (rank 0), 34cd.. on process 1 (rank 1) and process 2 (rank 2)". The
** same text on every process. */
static mxg_status compare(const mxg_agreement *a, const votes *v, mxg_error *err) {
  static const char *const fields[] = {"the bundle's digest", "options.transport", "options.chunk_bytes"};
  bool *other = mxg_alloc(v->world * sizeof *other);
  mxg_status status = other ? MXG_OK : mxg_fail_nomem(err);
  for (unsigned f = 0; f < sizeof fields / sizeof *fields && status == MXG_OK; f++) {
    char first[68], second[68] = "", list[256];
    uint32_t odd = MXG_NONE;
    word_of(&v->all[0], f, first, sizeof first);
    for (uint32_t p = 0; p < v->world; p++) {
      char word[68];
      word_of(&v->all[p], f, word, sizeof word);
      other[p] = f == 0 ? strcmp(v->all[p].digest, v->all[0].digest) != 0 : strcmp(word, first) != 0;
      if (!other[p] || odd != MXG_NONE) continue;
      odd = p;
      memcpy(second, word, sizeof second);
    }
    if (odd == MXG_NONE) continue;
    mxg_job_names(a->job, other, list, sizeof list);
    status = mxg_fail(err, MXG_ERR_USAGE, 665, "%s differs: %s on %s, %s on %s", fields[f], first,
                      mxg_job_name(a->job, 0), second, list);
    if (f != 0) continue;
    const vote *x = &v->all[0], *y = &v->all[odd];
    if (strcmp(x->maker, y->maker) != 0)
      mxg_error_note(err, "one bundle was made by %s, the other by %s", x->maker, y->maker);
    else if (strcmp(x->library, y->library) != 0)
      mxg_error_note(err, "libmxrt is %s there, %s here", x->library, y->library);
    else
      mxg_error_note(err, "the same versions made both: the recipes, their parameters or the templates differ");
    mxg_error_help(err, "give all processes one bundle file, or generate it on all from one recipe with one mxgen");
  }
  mxg_free(other);
  return status;
}

/* One transport for all: that of the most careful process. */
static mxg_transport settle(const mxg_agreement *a, const votes *v, char *why, size_t room) {
  uint32_t pick = v->all[0].pick, who = 0;
  for (uint32_t p = 1; p < v->world; p++) {
    uint32_t q = v->all[p].pick;
    bool careful = q == MXG_HOST   ? pick != MXG_HOST
                   : q == MXG_NCCL ? pick != MXG_HOST && pick != MXG_NCCL
                                   : q == MXG_COPY && pick == MXG_DIRECT;
    if (careful) pick = q, who = p;
  }
  if (pick != v->all[mxg_job_rank(a->job)].pick)
    snprintf(why, room, "%s takes no other than %s", mxg_job_name(a->job, who),
             mxg_transport_name((mxg_transport)pick));
  return (mxg_transport)pick;
}

/* ---- make ---- */

static mxg_status fill(mxg_agreement *a, const mxg_exec_view *view, mxg_transport *transport, mxg_transport pick,
                       char *why, size_t why_room, const mxg_error *own, double deadline, mxg_error *err) {
  const mxg_plan *plan = view->plan;
  votes v = {0};
  MXG_TRY(mxg_job_agree(a->job, "the creation of the executor", own, deadline, err));
  mxg_status status = gather_votes(&v, view, *transport, pick, deadline, err);
  if (status == MXG_OK) {
    status = read_votes(a, &v, view, err);
    mxg_error differs;
    if (status != MXG_ERR_NOMEM && compare(a, &v, &differs) != MXG_OK) { /* says more than a rank that is there twice */
      status = differs.status;
      if (err) *err = differs;
    }
  }
  if (status == MXG_OK && *transport == MXG_AUTO) *transport = settle(a, &v, why, why_room);
  free_votes(&v);
  if (status != MXG_OK) return status;
  for (uint32_t i = 0; i < plan->piece_count; i++) {
    uint32_t src = plan->pieces[i].src, me = mxg_job_rank(a->job);
    if (plan->arrays[src].side != MXG_SOURCE) continue;
    uint32_t from = a->home[plan->arrays[src].rank], to = a->home[plan->arrays[plan->pieces[i].dst].rank];
    if (from == me && to != me && to != MXG_NONE) a->read_abroad[src] = true;
  }
  return MXG_OK;
}

mxg_status mxg_agreement_make(mxg_agreement **out, const mxg_exec_view *view, mxg_transport *transport,
                              mxg_transport pick, char *why, size_t why_room, const mxg_error *own, double deadline,
                              mxg_error *err) {
  const mxg_plan *plan = view->plan;
  mxg_error no_memory = {0};
  *out = NULL;
  mxg_agreement *a = mxg_alloc(sizeof *a);
  if (a) {
    a->job = view->options.job;
    a->home = mxg_alloc(plan->rank_count * sizeof *a->home);
    a->near = mxg_alloc(mxg_job_world(a->job) * sizeof *a->near);
    a->elsewhere = mxg_alloc(plan->array_count * sizeof *a->elsewhere);
    a->wanted = mxg_alloc(plan->array_count * sizeof *a->wanted);
    a->read_abroad = mxg_alloc(plan->array_count * sizeof *a->read_abroad);
    a->pcis = mxg_alloc(plan->rank_count * sizeof *a->pcis);
  }
  if (!a || !a->home || !a->near || !a->elsewhere || !a->wanted || !a->read_abroad || !a->pcis) {
    mxg_agreement_free(a);
    mxg_fail_nomem(&no_memory); /* the others must not wait for this process */
    return mxg_job_agree(view->options.job, "the creation of the executor", &no_memory, deadline, err);
  }
  for (uint32_t r = 0; r < plan->rank_count; r++) a->home[r] = MXG_NONE;
  mxg_status status = fill(a, view, transport, pick, why, why_room, own, deadline, err);
  if (status == MXG_OK)
    *out = a;
  else
    mxg_agreement_free(a);
  return status;
}

void mxg_agreement_free(mxg_agreement *a) {
  if (!a) return;
  mxg_free(a->home);
  mxg_free(a->near);
  mxg_free(a->elsewhere);
  mxg_free(a->wanted);
  mxg_free(a->read_abroad);
  mxg_free(a->pcis);
  mxg_free(a);
}

/* ---- runs ---- */

mxg_status mxg_agreement_start(mxg_agreement *a, bool *changed, const mxg_error *own, double deadline, mxg_error *err) {
  return mxg_job_agree_any(a->job, "the start of the run", own, changed, deadline, err);
}

/* A source that is read here and is bound neither here nor where it lives. */
static mxg_status nowhere(const mxg_agreement *a, const mxg_plan *plan, uint32_t array, uint32_t count,
                          mxg_error *err) {
  const mxg_array *x = &plan->arrays[array];
  uint32_t home = a->home[x->rank];
  if (home == MXG_NONE)
    mxg_fail(err, MXG_ERR_USAGE, 606, "source \"%s\" of rank %u is not bound: no process of the job has that rank",
             plan->strings + x->name, x->rank);
  else
    mxg_fail(err, MXG_ERR_USAGE, 606, "source \"%s\" of rank %u is not bound: %s did not bind it",
             plan->strings + x->name, x->rank, mxg_job_name(a->job, home));
  mxg_error_note(err, "%u source%s that this process reads from others %s not bound", count, count == 1 ? "" : "s",
                 count == 1 ? "is" : "are");
  return MXG_ERR_USAGE;
}

static mxg_status read_bound(mxg_agreement *a, const mxg_exec_view *view, const bool *bound, const unsigned char *all,
                             mxg_error *err) {
  const mxg_plan *plan = view->plan;
  uint32_t me = mxg_job_rank(a->job), first = MXG_NONE, missing = 0;
  size_t bytes = (plan->array_count + 7) / 8;
  for (uint32_t i = 0; i < plan->array_count; i++) {
    uint32_t home = plan->arrays[i].side == MXG_SOURCE ? a->home[plan->arrays[i].rank] : MXG_NONE;
    a->wanted[i] = false;
    a->elsewhere[i] = home != MXG_NONE && home != me && (all[home * bytes + i / 8] >> i % 8 & 1);
  }
  for (uint32_t i = 0; i < plan->piece_count; i++) {
    uint32_t src = plan->pieces[i].src;
    if (plan->arrays[src].side != MXG_SOURCE || bound[src] || a->home[plan->arrays[plan->pieces[i].dst].rank] != me)
      continue;
    if (a->wanted[src]) continue;
    a->wanted[src] = true;
    if (a->elsewhere[src]) continue;
    if (src < first) first = src;
    missing++;
  }
  return missing ? nowhere(a, plan, first, missing, err) : MXG_OK;
}

mxg_status mxg_agreement_bound(mxg_agreement *a, const mxg_exec_view *view, const bool *bound, double deadline,
                               mxg_error *err) {
  const mxg_plan *plan = view->plan;
  uint32_t me = mxg_job_rank(a->job), world = mxg_job_world(a->job);
  size_t bytes = (plan->array_count + 7) / 8;
  unsigned char *mine = mxg_alloc(bytes), *all = mxg_alloc(bytes * world);
  mxg_error own = {0};
  if (!mine || !all) mxg_fail_nomem(&own);
  mxg_status status = mxg_job_agree(a->job, "the exchange of bindings", &own, deadline, err);
  if (status == MXG_OK) {
    for (uint32_t i = 0; i < plan->array_count; i++)
      if (bound[i] && plan->arrays[i].side == MXG_SOURCE && a->home[plan->arrays[i].rank] == me)
        mine[i / 8] |= (unsigned char)(1 << i % 8);
    status = mxg_job_gather(a->job, "the exchange of bindings", mine, bytes, all, deadline, err);
  }
  if (status == MXG_OK) {
    (void)read_bound(a, view, bound, all, &own);
    status = mxg_job_agree(a->job, "the check of bindings", &own, deadline, err);
  }
  mxg_free(mine);
  mxg_free(all);
  return status;
}

/* ---- measured runs ---- */

mxg_status mxg_agreement_times(mxg_agreement *a, unsigned repeats, double *seconds, double *fastest,
                               double *start_seconds, double deadline, mxg_error *err) {
  uint32_t world = mxg_job_world(a->job);
  size_t count = (size_t)repeats * 2 + 1;
  double *mine = mxg_alloc(count * sizeof *mine), *all = mxg_alloc(count * world * sizeof *all);
  mxg_error own = {0};
  if (!mine || !all) mxg_fail_nomem(&own);
  mxg_status status = mxg_job_agree(a->job, "the comparison of times", &own, deadline, err);
  if (status == MXG_OK) {
    memcpy(mine, seconds, repeats * sizeof *mine);
    memcpy(mine + repeats, fastest ? fastest : seconds, repeats * sizeof *mine);
    mine[count - 1] = start_seconds ? *start_seconds : 0;
    status = mxg_job_gather(a->job, "the comparison of times", mine, count * sizeof *mine, all, deadline, err);
  }
  for (uint32_t p = 0; p < world && status == MXG_OK; p++) {
    const double *of = all + p * count;
    for (unsigned i = 0; i < repeats; i++) {
      if (seconds[i] < of[i]) seconds[i] = of[i];
      if (fastest && fastest[i] > of[repeats + i]) fastest[i] = of[repeats + i];
    }
    if (start_seconds && *start_seconds < of[count - 1]) *start_seconds = of[count - 1];
  }
  mxg_free(mine);
  mxg_free(all);
  return status;
}
