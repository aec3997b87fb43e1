/* join.c -- how the processes of a job find each other: process 0 listens, the others come and say who they are, and
** when all are there process 0 tells them so. Whoever comes and is not of this job is told why, and sent away. */
#include "job_state.h"

#include "clock.h"
#include "error.h"
#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { guests_most = 256, pause_ns = 20000000 };
static const double guest_patience = 3; /* seconds for the first word */
static const char hello_magic[8] = {'m', 'x', 'g', 'e', 'n', 'j', 'o', 'b'};

/* ---- process 0 ---- */

typedef struct guest {
  mxg_channel channel;
  double until;
} guest;

typedef struct door {
  mxg_job *job;
  int listener;
  guest guests[guests_most];
  size_t guest_count;
  bool *here;
  uint32_t here_count;
  unsigned strangers;
  char refused[256]; /* the last refusal's reason */
} door;

static void refuse(door *d, mxg_channel *c, const char *text) {
  snprintf(d->refused, sizeof d->refused, "%s", text);
  mxg_channel_put(c, MXG_FRAME_REFUSE, 0, 0, text, strlen(text), NULL, 0);
  mxg_channel_pump(c);
  mxg_channel_close(c);
}

/* The guest has said who it is. */
static void admit(door *d, mxg_channel *c, const mxg_hello *hello) {
  const mxg_job *job = d->job;
  char text[256];
  if (hello->protocol != MXG_JOB_PROTOCOL) {
    snprintf(text, sizeof text, "process 0 is of mxgen %s (protocol %u), this one of mxgen %.19s (protocol %u)",
             mxg_version(), (unsigned)MXG_JOB_PROTOCOL, hello->library, hello->protocol);
    refuse(d, c, text);
  } else if (hello->world != job->world) {
    snprintf(text, sizeof text, "process 0 waits for %u processes, this one (process %u) is of a job of %u", job->world,
             hello->rank, hello->world);
    refuse(d, c, text);
  } else if (hello->rank == 0 || hello->rank >= job->world || d->here[hello->rank]) {
    snprintf(text, sizeof text,
             hello->rank >= job->world ? "there is no process %u in a job of %u" : "process %u of %u is there already",
             hello->rank, job->world);
    refuse(d, c, text);
  } else {
    mxg_channel_drop(c);
    job->peers[hello->rank] = *c;
    d->here[hello->rank] = true;
    d->here_count++;
  }
}

/* False: the guest is gone, one way or the other. */
static bool hear(door *d, guest *g, double now) {
  const unsigned char *payload;
  mxg_channel_pump(&g->channel);
  const mxg_frame *frame = mxg_channel_peek(&g->channel, &payload);
  mxg_hello hello;
  if (frame && frame->kind == MXG_FRAME_HELLO && frame->bytes == sizeof hello) {
    memcpy(&hello, payload, sizeof hello);
    if (memcmp(hello.magic, hello_magic, sizeof hello_magic) == 0) {
      hello.library[sizeof hello.library - 1] = 0;
      admit(d, &g->channel, &hello);
      return false;
    }
  }
  if (!frame && !g->channel.garbled && !g->channel.ended && !g->channel.failed && now < g->until &&
      g->channel.in_count <= sizeof(mxg_frame) + sizeof hello)
    return true;
  d->strangers += !g->channel.ended || g->channel.in_count > 0;
  mxg_channel_close(&g->channel);
  return false;
}

static void open_door(door *d) {
  double now = mxg_now();
  while (d->guest_count < guests_most) {
    int fd = mxg_channel_accept(d->listener);
    if (fd < 0) break;
    guest *g = &d->guests[d->guest_count++];
    mxg_channel_open(&g->channel, fd);
    g->until = now + guest_patience;
  }
  for (size_t i = 0; i < d->guest_count;)
    if (hear(d, &d->guests[i], now))
      i++;
    else
      d->guests[i] = d->guests[--d->guest_count];
  for (uint32_t p = 1; p < d->job->world; p++) { /* one that went may come again */
    if (!d->here[p]) continue;
    mxg_channel_pump(&d->job->peers[p]);
    if (!d->job->peers[p].ended) continue;
    mxg_channel_close(&d->job->peers[p]);
    d->here[p] = false;
    d->here_count--;
  }
}

static void wait_at_door(door *d, mxg_channel **all, double until) {
  size_t count = 0;
  for (size_t i = 0; i < d->guest_count; i++) {
    all[count++] = &d->guests[i].channel;
    if (until > d->guests[i].until) until = d->guests[i].until;
  }
  for (uint32_t p = 1; p < d->job->world; p++)
    if (d->here[p]) all[count++] = &d->job->peers[p];
  mxg_channel_wait(all, count, d->guest_count < guests_most ? d->listener : -1, until);
}

static mxg_status some_missing(door *d, double seconds, mxg_error *err) {
  mxg_job *job = d->job;
  char list[256];
  mxg_error own;
  mxg_news news;
  for (uint32_t p = 0; p < job->world; p++) d->here[p] = p > 0 && !d->here[p];
  mxg_job_names(job, d->here, list, sizeof list);
  mxg_fail(&own, MXG_ERR_TIMEOUT, 661, "%s did not come to the job in %.1f s; %u of %u are there", list, seconds,
           d->here_count + 1, job->world);
  if (*d->refused)
    mxg_error_note(&own, "refused: %s", d->refused);
  else if (d->strangers)
    mxg_error_note(&own, "%u connection%s came from something that is no process of mxgen", d->strangers,
                   d->strangers == 1 ? "" : "s");
  mxg_news_make(&news, &own);
  for (uint32_t p = 1; p < job->world; p++)
    mxg_channel_put(&job->peers[p], MXG_FRAME_FAIL, 0, 0, &news, sizeof news, NULL, 0);
  mxg_job_flush(job, mxg_now() + 0.2);
  if (err) *err = own;
  return MXG_ERR_TIMEOUT;
}

static mxg_status receive_all(door *d, double seconds, mxg_error *err) {
  mxg_job *job = d->job;
  double deadline = mxg_now() + seconds;
  mxg_channel **list = mxg_alloc((guests_most + job->world) * sizeof(mxg_channel *));
  d->here = mxg_alloc(job->world * sizeof *d->here);
  mxg_status status = list && d->here ? MXG_OK : mxg_fail_nomem(err);
  while (status == MXG_OK) {
    open_door(d);
    if (d->here_count + 1 == job->world) break;
    if (mxg_now() > deadline)
      status = some_missing(d, seconds, err);
    else
      wait_at_door(d, list, deadline);
  }
  for (uint32_t p = 1; p < job->world && status == MXG_OK; p++)
    mxg_channel_put(&job->peers[p], MXG_FRAME_WELCOME, 0, mxg_now(), NULL, 0, NULL, 0);
  if (status == MXG_OK) mxg_job_flush(job, deadline);
  for (size_t i = 0; i < d->guest_count; i++) mxg_channel_close(&d->guests[i].channel);
  mxg_free(list);
  mxg_free(d->here);
  return status;
}

/* A parent that started the processes may hand its first child a socket that listens already: MXGEN_LISTENER. */
static int inherited_listener(void) {
  const char *text = getenv("MXGEN_LISTENER");
  int listens = 0;
  socklen_t size = sizeof listens;
  char *end = NULL;
  long fd = text && *text ? strtol(text, &end, 10) : -1;
  if (fd < 3 || fd > INT32_MAX || *end) return -1;
  if (getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || !listens) return -1;
  return (int)fd;
}

static mxg_status receive(mxg_job *job, const char *address, unsigned port, double seconds, mxg_error *err) {
  door *d = mxg_alloc(sizeof *d);
  if (!d) return mxg_fail_nomem(err);
  d->job = job;
  d->listener = inherited_listener();
  mxg_status status = d->listener >= 0 ? MXG_OK : mxg_channel_listen(&d->listener, address, port, err);
  if (status == MXG_OK) status = receive_all(d, seconds, err);
  if (d->listener >= 0) close(d->listener);
  mxg_free(d);
  return status;
}

/* ---- the others ---- */

typedef struct visit {
  mxg_job *job;
  const char *address;
  unsigned port;
  double deadline, seconds;
  int native; /* of the last try */
  bool answered;
} visit;

static mxg_status nobody_answers(const visit *v, mxg_error *err) {
  mxg_fail(err, MXG_ERR_TIMEOUT, 661, "process 0 did not come to the job in %.1f s: %s %.200s, port %u", v->seconds,
           v->answered ? "the connection was closed again and again at" : "nobody listens at", v->address, v->port);
  if (err) err->native = v->native;
  if (v->native) mxg_error_note(err, "the last try: %.300s", strerror(v->native));
  return MXG_ERR_TIMEOUT;
}

static mxg_status refused(const visit *v, const unsigned char *text, size_t count, mxg_error *err) {
  if (count > 300) count = 300;
  mxg_fail(err, MXG_ERR_USAGE, 662, "process %u was refused at %.100s, port %u: %.*s", v->job->rank, v->address,
           v->port, (int)count, (const char *)text);
  mxg_error_help(err,
                 "RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT (MXGEN_PORT) are those of one job in all processes");
  return MXG_ERR_USAGE;
}

/* The word of process 0. *again: the connection closed without one. */
static mxg_status listen_to(visit *v, bool *again, mxg_error *err) {
  mxg_channel *c = &v->job->peers[0];
  *again = false;
  for (;;) {
    const unsigned char *payload;
    mxg_channel_pump(c);
    const mxg_frame *frame = mxg_channel_peek(c, &payload);
    if (frame && frame->kind == MXG_FRAME_WELCOME) {
      v->job->ahead = frame->time - mxg_now();
      mxg_channel_drop(c);
      return MXG_OK;
    }
    if (frame && frame->kind == MXG_FRAME_REFUSE) return refused(v, payload, (size_t)frame->bytes, err);
    if (frame && frame->kind == MXG_FRAME_FAIL) {
      mxg_error news;
      if (!mxg_news_read(&news, frame, payload)) c->garbled = true;
      if (!c->garbled && err) *err = news;
      if (!c->garbled) return news.status;
    }
    if (c->failed) return mxg_fail_nomem(err);
    if (c->garbled || frame) {
      mxg_fail(err, MXG_ERR_ENVIRONMENT, 663, "what listens at %.200s, port %u, is no process of mxgen", v->address,
               v->port);
      mxg_error_help(err, "MXGEN_PORT (or options.port) names another port, the same for all processes");
      return MXG_ERR_ENVIRONMENT;
    }
    if (c->ended) {
      v->answered = true;
      *again = true;
      return MXG_OK;
    }
    double until = v->deadline + 0.5; /* its verdict comes when its own deadline passes */
    if (mxg_now() > until) {
      mxg_fail(err, MXG_ERR_TIMEOUT, 661, "process 0 gave no answer in %.1f s, at %.200s, port %u", v->seconds,
               v->address, v->port);
      return MXG_ERR_TIMEOUT;
    }
    mxg_channel_wait(&c, 1, -1, until);
  }
}

static mxg_status come(mxg_job *job, const char *address, unsigned port, double seconds, mxg_error *err) {
  visit v = {.job = job, .address = address, .port = port, .deadline = mxg_now() + seconds, .seconds = seconds};
  mxg_hello hello = {.protocol = MXG_JOB_PROTOCOL, .world = job->world, .rank = job->rank};
  memcpy(hello.magic, hello_magic, sizeof hello.magic);
  snprintf(hello.library, sizeof hello.library, "%s", mxg_version());
  for (;;) {
    const struct timespec pause = {0, pause_ns};
    double now = mxg_now(), until = now + 2 < v.deadline ? now + 2 : v.deadline;
    bool again = true;
    int fd;
    MXG_TRY(mxg_channel_connect(&fd, &v.native, address, port, until, err));
    if (fd >= 0) {
      mxg_channel_open(&job->peers[0], fd);
      mxg_channel_put(&job->peers[0], MXG_FRAME_HELLO, 0, 0, &hello, sizeof hello, NULL, 0);
      MXG_TRY(listen_to(&v, &again, err));
      if (!again) return MXG_OK;
      mxg_channel_close(&job->peers[0]);
    }
    if (mxg_now() > v.deadline) return nobody_answers(&v, err);
    nanosleep(&pause, NULL);
  }
}

mxg_status mxg_job_join(mxg_job *job, const char *address, unsigned port, double seconds, mxg_error *err) {
  if (job->world == 1) return MXG_OK;
  return job->rank == 0 ? receive(job, address, port, seconds, err) : come(job, address, port, seconds, err);
}
