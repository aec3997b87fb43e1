/* job.c -- see job.h. A star: the others send their part to process 0, which sends all parts back. Process 0 works
** inside of the calls, not on a thread of its own: when it does not come to a call, it is the one that is missing. */
#include "job_state.h"

#include "clock.h"
#include "error.h"
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { default_timeout_ms = 60000, what_room = 48 };
static const double verdict_patience = 0.3; /* seconds beyond a deadline for process 0's word on who is missing */

/* Ahead of a process's part. */
typedef struct put_head {
  char what[what_room];
  uint32_t any; /* counts may differ */
  uint32_t unused;
} put_head;

/* ---- create and free ---- */

static mxg_status read_count(uint32_t *out, const char *name, mxg_error *err) {
  const char *text = getenv(name);
  char *end = NULL;
  unsigned long n = text ? strtoul(text, &end, 10) : 0;
  if (!text || !*text)
    return mxg_fail(err, MXG_ERR_USAGE, 601, "options.world is 0, and the environment has no %s", name);
  if (*text < '0' || *text > '9' || *end || n > INT32_MAX)
    return mxg_fail(err, MXG_ERR_USAGE, 601, "%s is '%.100s', not a number", name, text);
  *out = (uint32_t)n;
  return MXG_OK;
}

static mxg_status choose_port(unsigned *port, mxg_error *err) {
  uint32_t number = 0;
  const char *own = getenv("MXGEN_PORT"), *master = getenv("MASTER_PORT");
  if (*port == 0 && own && *own) {
    MXG_TRY(read_count(&number, "MXGEN_PORT", err));
    *port = number;
  } else if (*port == 0 && master && *master) {
    MXG_TRY(read_count(&number, "MASTER_PORT", err));
    *port = number + 1;
  } else if (*port == 0) {
    return mxg_fail(err, MXG_ERR_USAGE, 601, "options.port is 0, and the environment has no MXGEN_PORT or MASTER_PORT");
  }
  if (*port == 0 || *port > 65535) return mxg_fail(err, MXG_ERR_USAGE, 601, "%u is not a port", *port);
  return MXG_OK;
}

static mxg_status create(mxg_job *job, const mxg_job_options *given, mxg_error *err) {
  mxg_job_options options = MXG_JOB_INIT;
  if (given) {
    if (given->size < sizeof given->size || given->size > sizeof *given)
      return mxg_fail(err, MXG_ERR_USAGE, 601, "options.size is %zu: begin with MXG_JOB_INIT of this version's header",
                      given->size);
    memcpy(&options, given, given->size);
  }
  if (options.world == 0) {
    MXG_TRY(read_count(&options.rank, "RANK", err));
    MXG_TRY(read_count(&options.world, "WORLD_SIZE", err));
  }
  if (options.rank >= options.world || options.world > 65536)
    return mxg_fail(err, MXG_ERR_USAGE, 601, "there is no process %u in a job of %u", options.rank, options.world);
  job->rank = options.rank;
  job->world = options.world;
  job->peer_count = job->rank == 0 ? job->world : 1;
  job->peers = mxg_alloc(job->peer_count * sizeof *job->peers);
  job->labels = mxg_alloc(job->world * sizeof *job->labels);
  if (!job->peers || !job->labels) return mxg_fail_nomem(err);
  for (uint32_t p = 0; p < job->peer_count; p++) job->peers[p] = (mxg_channel){.fd = -1};
  for (uint32_t p = 0; p < job->world; p++) snprintf(job->labels[p], sizeof job->labels[p], "process %u", p);
  if (job->world == 1) return MXG_OK;
  const char *master = getenv("MASTER_ADDR");
  if (!options.address) options.address = master && *master ? master : "127.0.0.1";
  MXG_TRY(choose_port(&options.port, err));
  unsigned ms = options.timeout_ms ? options.timeout_ms : default_timeout_ms;
  return mxg_job_join(job, options.address, options.port, ms * 1e-3, err);
}

mxg_status mxg_job_create(mxg_job **out, const mxg_job_options *options, mxg_error *err) {
  *out = NULL;
  mxg_job *job = mxg_alloc(sizeof *job);
  if (!job) return mxg_fail_nomem(err);
  mxg_status status = create(job, options, err);
  if (status == MXG_OK)
    *out = job;
  else
    mxg_job_free(job);
  return status;
}

void mxg_job_free(mxg_job *job) {
  if (!job) return;
  for (uint32_t p = 0; job->peers && p < job->peer_count; p++)
    mxg_channel_put(&job->peers[p], MXG_FRAME_BYE, job->sequence, 0, NULL, 0, NULL, 0);
  if (job->peers) mxg_job_flush(job, mxg_now() + 0.5);
  for (uint32_t p = 0; job->peers && p < job->peer_count; p++) mxg_channel_close(&job->peers[p]);
  mxg_free(job->peers);
  mxg_free(job->labels);
  mxg_free(job);
}

uint32_t mxg_job_rank(const mxg_job *job) { return job->rank; }
uint32_t mxg_job_world(const mxg_job *job) { return job->world; }

void mxg_job_label(mxg_job *job, uint32_t process, const char *label) {
  snprintf(job->labels[process], sizeof job->labels[process], "process %u (%s)", process, label);
}

const char *mxg_job_name(const mxg_job *job, uint32_t process) { return job->labels[process]; }

/* ---- news ---- */

void mxg_job_flush(mxg_job *job, double until) {
  for (;;) {
    mxg_channel *open = NULL;
    for (uint32_t p = 0; p < job->peer_count; p++) {
      mxg_channel_pump(&job->peers[p]);
      if (mxg_channel_has_unsent(&job->peers[p])) open = &job->peers[p];
    }
    if (!open || mxg_now() >= until) return;
    double soon = mxg_now() + 0.02;
    mxg_channel_wait(&open, 1, -1, soon < until ? soon : until);
  }
}

void mxg_news_make(mxg_news *news, const mxg_error *err) {
  memset(news, 0, sizeof *news);
  news->status = (uint32_t)err->status;
  news->code = err->code;
  memcpy(news->text, err->text, sizeof news->text);
  memcpy(news->note, err->note, sizeof news->note);
  memcpy(news->help, err->help, sizeof news->help);
}

bool mxg_news_read(mxg_error *err, const mxg_frame *frame, const unsigned char *payload) {
  mxg_news news;
  if (frame->bytes != sizeof news) return false;
  memcpy(&news, payload, sizeof news);
  memset(err, 0, sizeof *err);
  if (news.status == MXG_OK || news.status > MXG_ERR_NCCL) return false;
  err->status = (mxg_status)news.status;
  err->code = news.code;
  memcpy(err->text, news.text, sizeof err->text);
  memcpy(err->note, news.note, sizeof err->note);
  memcpy(err->help, news.help, sizeof err->help);
  err->text[sizeof err->text - 1] = err->note[sizeof err->note - 1] = err->help[sizeof err->help - 1] = 0;
  return true;
}

void mxg_job_names(const mxg_job *job, const bool *missing, char *text, size_t room) {
  uint32_t count = 0, said = 0;
  size_t used = 0;
  text[0] = 0;
  for (uint32_t p = 0; p < job->world; p++) count += missing[p];
  for (uint32_t p = 0; p < job->world && used + MXG_LABEL_ROOM + 24 < room; p++) {
    if (!missing[p]) continue;
    const char *between = said == 0 ? "" : said + 1 == count ? " and " : ", ";
    used += (size_t)snprintf(text + used, room - used, "%s%s", between, job->labels[p]);
    said++;
  }
  if (said < count) snprintf(text + used, room - used, " and %u more", count - said);
}

/* From here on every call fails with `why`. Process 0 tells everyone, the others tell process 0. */
static mxg_status break_job(mxg_job *job, const mxg_error *why, mxg_error *err) {
  mxg_news news;
  job->broken = *why;
  mxg_news_make(&news, why);
  for (uint32_t p = 0; p < job->peer_count; p++)
    mxg_channel_put(&job->peers[p], MXG_FRAME_FAIL, job->sequence, 0, &news, sizeof news, NULL, 0);
  mxg_job_flush(job, mxg_now() + 0.2);
  if (err) *err = *why;
  return why->status;
}

static mxg_status lost(mxg_job *job, uint32_t process, const mxg_channel *c, const char *what, const char *how,
                       mxg_error *err) {
  mxg_error own;
  mxg_fail(&own, MXG_ERR_TIMEOUT, 660, "%s is lost: %s (%s)", job->labels[process], how, what);
  if (c && c->native) mxg_error_note(&own, "its connection: %.300s", strerror(c->native));
  own.native = c ? c->native : 0;
  return break_job(job, &own, err);
}

static mxg_status heard_failure(mxg_job *job, const mxg_frame *frame, const unsigned char *payload, uint32_t process,
                                const char *what, mxg_error *err) {
  mxg_error news;
  if (!mxg_news_read(&news, frame, payload)) return lost(job, process, NULL, what, "it sent what is no message", err);
  return break_job(job, &news, err);
}

/* ---- one call ---- */

typedef struct call {
  mxg_job *job;
  const char *what;
  const void *send;
  uint64_t bytes;
  double deadline; /* on this process's clock */
  bool any;
  uint64_t *counts;    /* results */
  unsigned char *data; /* all parts end to end */
} call;

static mxg_status late(call *c, const bool *missing, mxg_error *err) {
  char list[320];
  mxg_error own;
  mxg_job_names(c->job, missing, list, sizeof list);
  mxg_fail(&own, MXG_ERR_TIMEOUT, 661, "%s did not come to %s before the deadline", list, c->what);
  return break_job(c->job, &own, err);
}

/* Whether process `p` has come, from what is in its channel. */
static mxg_status look_at(call *c, uint32_t p, bool *come, mxg_error *err) {
  mxg_job *job = c->job;
  mxg_channel *peer = &job->peers[p];
  const unsigned char *payload;
  mxg_channel_pump(peer);
  const mxg_frame *frame = mxg_channel_peek(peer, &payload);
  *come = false;
  if (peer->failed) return mxg_fail_nomem(err);
  if (frame && frame->kind == MXG_FRAME_FAIL) return heard_failure(job, frame, payload, p, c->what, err);
  if (frame && frame->kind == MXG_FRAME_BYE) return lost(job, p, NULL, c->what, "it has left the job", err);
  if (frame && frame->kind == MXG_FRAME_PUT && frame->sequence == job->sequence && frame->bytes >= sizeof(put_head)) {
    *come = true;
    if (frame->time < c->deadline) c->deadline = frame->time;
    return MXG_OK;
  }
  if (frame || peer->garbled) return lost(job, p, NULL, c->what, "it sent what is no message", err);
  if (peer->ended) return lost(job, p, peer, c->what, "its connection closed", err);
  return MXG_OK;
}

static mxg_status await_all(call *c, mxg_error *err) {
  mxg_job *job = c->job;
  bool *missing = mxg_alloc(job->world * sizeof *missing);
  mxg_channel **list = mxg_alloc(job->world * sizeof(mxg_channel *));
  mxg_status status = missing && list ? MXG_OK : mxg_fail_nomem(err);
  while (status == MXG_OK) {
    size_t count = 0;
    for (uint32_t p = 1; p < job->world && status == MXG_OK; p++) {
      bool come = false;
      status = look_at(c, p, &come, err);
      missing[p] = !come;
      if (!come) list[count++] = &job->peers[p];
    }
    if (status != MXG_OK || count == 0) break;
    if (mxg_now() > c->deadline)
      status = late(c, missing, err);
    else
      mxg_channel_wait(list, count, -1, c->deadline);
  }
  mxg_free(missing);
  mxg_free(list);
  return status;
}

/* All are at one call: its name, and the bytes where they are to be equal. */
static mxg_status compare_calls(call *c, mxg_error *err) {
  mxg_job *job = c->job;
  for (uint32_t p = 1; p < job->world; p++) {
    const unsigned char *payload;
    const mxg_frame *frame = mxg_channel_peek(&job->peers[p], &payload);
    put_head head;
    mxg_error own;
    memcpy(&head, payload, sizeof head);
    head.what[what_room - 1] = 0;
    uint64_t bytes = frame->bytes - sizeof head;
    bool same = strncmp(head.what, c->what, what_room - 1) == 0 && head.any == c->any;
    if (same && (c->any || bytes == c->bytes)) continue;
    if (same)
      mxg_fail(&own, MXG_ERR_USAGE, 664, "%s gives %llu bytes to %s, %s gives %llu", job->labels[0],
               (unsigned long long)c->bytes, c->what, job->labels[p], (unsigned long long)bytes);
    else
      mxg_fail(&own, MXG_ERR_USAGE, 664, "%s is at %s, %s at %s", job->labels[0], c->what, job->labels[p], head.what);
    mxg_error_note(&own, "all processes of a job make the same calls in the same order");
    return break_job(job, &own, err);
  }
  return MXG_OK;
}

static mxg_status take_parts(call *c, mxg_error *err) {
  mxg_job *job = c->job;
  const unsigned char *payload;
  uint64_t all = c->bytes, at = c->bytes;
  c->counts[0] = c->bytes;
  for (uint32_t p = 1; p < job->world; p++) {
    c->counts[p] = mxg_channel_peek(&job->peers[p], &payload)->bytes - sizeof(put_head);
    if (!mxg_add(&all, all, c->counts[p])) return mxg_fail_nomem(err);
  }
  if (all > mxg_frame_most / 2) {
    mxg_error own;
    mxg_fail(&own, MXG_ERR_UNSUPPORTED, 664, "%llu bytes are more than one call of a job takes (%s)",
             (unsigned long long)all, c->what);
    return break_job(job, &own, err);
  }
  c->data = mxg_resize(NULL, all ? (size_t)all : 1);
  if (!c->data) return mxg_fail_nomem(err);
  if (c->bytes) memcpy(c->data, c->send, (size_t)c->bytes);
  for (uint32_t p = 1; p < job->world; p++) {
    (void)mxg_channel_peek(&job->peers[p], &payload);
    if (c->counts[p]) memcpy(c->data + at, payload + sizeof(put_head), (size_t)c->counts[p]);
    at += c->counts[p];
    mxg_channel_drop(&job->peers[p]);
  }
  for (uint32_t p = 1; p < job->world; p++)
    mxg_channel_put(&job->peers[p], MXG_FRAME_ALL, job->sequence, 0, c->counts, job->world * sizeof *c->counts, c->data,
                    (size_t)all);
  mxg_job_flush(job, c->deadline);
  for (uint32_t p = 1; p < job->world; p++)
    if (mxg_channel_has_unsent(&job->peers[p]))
      return lost(job, p, NULL, c->what, "it does not take what it is sent", err);
  return MXG_OK;
}

static mxg_status lead(call *c, mxg_error *err) {
  MXG_TRY(await_all(c, err));
  MXG_TRY(compare_calls(c, err));
  return take_parts(c, err);
}

static mxg_status read_parts(call *c, const mxg_frame *frame, const unsigned char *payload, mxg_error *err) {
  mxg_job *job = c->job;
  uint64_t head = job->world * sizeof *c->counts, all = 0;
  bool good = frame->bytes >= head;
  if (good) memcpy(c->counts, payload, (size_t)head);
  for (uint32_t p = 0; good && p < job->world; p++) good = mxg_add(&all, all, c->counts[p]);
  if (!good || frame->bytes - head != all) return lost(job, 0, NULL, c->what, "it sent what is no message", err);
  c->data = mxg_resize(NULL, all ? (size_t)all : 1);
  if (!c->data) return mxg_fail_nomem(err);
  if (all) memcpy(c->data, payload + head, (size_t)all);
  mxg_channel_drop(&job->peers[0]);
  return MXG_OK;
}

static mxg_status follow(call *c, mxg_error *err) {
  mxg_job *job = c->job;
  mxg_channel *hub = &job->peers[0];
  put_head head = {.any = c->any};
  snprintf(head.what, sizeof head.what, "%s", c->what);
  mxg_channel_put(hub, MXG_FRAME_PUT, job->sequence, c->deadline + job->ahead, &head, sizeof head, c->send,
                  (size_t)c->bytes);
  for (;;) {
    const unsigned char *payload;
    mxg_channel_pump(hub);
    const mxg_frame *frame = mxg_channel_peek(hub, &payload);
    if (hub->failed) return mxg_fail_nomem(err);
    if (frame && frame->kind == MXG_FRAME_FAIL) return heard_failure(job, frame, payload, 0, c->what, err);
    if (frame && frame->kind == MXG_FRAME_BYE) return lost(job, 0, NULL, c->what, "it has left the job", err);
    if (frame && frame->kind == MXG_FRAME_ALL && frame->sequence == job->sequence)
      return read_parts(c, frame, payload, err);
    if (frame || hub->garbled) return lost(job, 0, NULL, c->what, "it sent what is no message", err);
    if (hub->ended) return lost(job, 0, hub, c->what, "its connection closed", err);
    double until = c->deadline + verdict_patience;
    if (mxg_now() > until) {
      mxg_error own;
      mxg_fail(&own, MXG_ERR_TIMEOUT, 661, "%s did not come to %s before the deadline", job->labels[0], c->what);
      return break_job(job, &own, err);
    }
    mxg_channel_wait(&hub, 1, -1, until);
  }
}

/* On success the caller frees counts and data. */
static mxg_status make_call(call *c, mxg_error *err) {
  mxg_job *job = c->job;
  if (job->broken.status != MXG_OK) {
    if (err) *err = job->broken;
    return job->broken.status;
  }
  c->counts = mxg_alloc(job->world * sizeof *c->counts);
  if (!c->counts) return mxg_fail_nomem(err);
  job->sequence++;
  mxg_status status = job->rank == 0 ? lead(c, err) : follow(c, err);
  if (status == MXG_OK) return MXG_OK;
  if (job->broken.status == MXG_OK) { /* out of memory: the others must not wait */
    mxg_error own;
    mxg_fail(&own, status, 1, "%s has no memory for %s", job->labels[job->rank], c->what);
    (void)break_job(job, &own, NULL);
  }
  mxg_free(c->counts);
  mxg_free(c->data);
  c->counts = NULL;
  c->data = NULL;
  return status;
}

/* ---- collectives ---- */

mxg_status mxg_job_gather(mxg_job *job, const char *what, const void *send, uint64_t bytes, void *recv, double deadline,
                          mxg_error *err) {
  call c = {.job = job, .what = what, .send = send, .bytes = bytes, .deadline = deadline};
  MXG_TRY(make_call(&c, err));
  if (bytes && recv) memcpy(recv, c.data, (size_t)(bytes * job->world));
  mxg_free(c.counts);
  mxg_free(c.data);
  return MXG_OK;
}

mxg_status mxg_job_gather_any(mxg_job *job, const char *what, const void *send, uint64_t bytes, void **recv,
                              uint64_t *counts, double deadline, mxg_error *err) {
  call c = {.job = job, .what = what, .send = send, .bytes = bytes, .deadline = deadline, .any = true};
  *recv = NULL;
  MXG_TRY(make_call(&c, err));
  memcpy(counts, c.counts, job->world * sizeof *counts);
  mxg_free(c.counts);
  *recv = c.data;
  return MXG_OK;
}

mxg_status mxg_job_barrier(mxg_job *job, const char *what, double deadline, mxg_error *err) {
  return mxg_job_gather(job, what, NULL, 0, NULL, deadline, err);
}

mxg_status mxg_job_agree_any(mxg_job *job, const char *what, const mxg_error *own, bool *flag, double deadline,
                             mxg_error *err) {
  unsigned char send[1 + sizeof(mxg_news)] = {*flag};
  uint64_t *counts = mxg_alloc(job->world * sizeof *counts), at = 0;
  mxg_error mine = {0}; /* a copy: `own` may be what `err` points to */
  void *recv = NULL;
  mxg_news news;
  bool failed = own && own->status != MXG_OK;
  if (failed) {
    mine = *own;
    mxg_news_make(&news, &mine);
    memcpy(send + 1, &news, sizeof news);
  }
  mxg_status status = counts
                          ? mxg_job_gather_any(job, what, send, failed ? sizeof send : 1, &recv, counts, deadline, err)
                          : mxg_fail_nomem(err);
  const unsigned char *all = recv;
  for (uint32_t p = 0; status == MXG_OK && p < job->world; at += counts[p++]) {
    mxg_frame frame = {.bytes = counts[p] - 1};
    mxg_error theirs;
    if (counts[p] && all[at]) *flag = true;
    if (counts[p] < 2 || p == job->rank || !mxg_news_read(&theirs, &frame, all + at + 1)) continue;
    mxg_fail(err, theirs.status, theirs.code, "%s: %.440s", job->labels[p], theirs.text);
    if (*theirs.note) mxg_error_note(err, "%s", theirs.note);
    if (*theirs.help) mxg_error_help(err, "%s", theirs.help);
    status = theirs.status;
  }
  mxg_free(counts);
  mxg_free(recv);
  if (!failed) return status;
  if (err) *err = mine; /* a process's own failure is what it reports */
  return mine.status;
}

mxg_status mxg_job_agree(mxg_job *job, const char *what, const mxg_error *own, double deadline, mxg_error *err) {
  bool none = false;
  return mxg_job_agree_any(job, what, own, &none, deadline, err);
}

/* ---- not collective ---- */

mxg_status mxg_job_look(mxg_job *job, mxg_error *err) {
  static const char what[] = "between calls";
  if (job->broken.status != MXG_OK) {
    if (err) *err = job->broken;
    return job->broken.status;
  }
  for (uint32_t p = 0; p < job->peer_count; p++) {
    mxg_channel *c = &job->peers[p];
    const unsigned char *payload;
    if (c->fd < 0) continue;
    mxg_channel_pump(c);
    const mxg_frame *frame = mxg_channel_peek(c, &payload);
    if (frame && frame->kind == MXG_FRAME_FAIL) return heard_failure(job, frame, payload, p, what, err);
    if (frame && frame->kind == MXG_FRAME_BYE) continue; /* a loss only to the call that needs it */
    if (c->garbled) return lost(job, p, NULL, what, "it sent what is no message", err);
    if (c->ended) return lost(job, p, c, what, "its connection closed", err);
  }
  return MXG_OK;
}

void mxg_job_abort(mxg_job *job, const mxg_error *why) {
  mxg_error own;
  if (job->broken.status != MXG_OK) return;
  mxg_fail(&own, why->status, why->code, "%s gave up: %.400s", job->labels[job->rank], why->text);
  if (*why->note) mxg_error_note(&own, "%s", why->note);
  (void)break_job(job, &own, NULL);
}
