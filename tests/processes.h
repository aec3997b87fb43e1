/* processes.h -- real processes for tests: forked, heard through a pipe, and killed at the end. Needs cmocka before it.
 */
#ifndef TEST_PROCESSES_H
#define TEST_PROCESSES_H

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "job.h"

enum { most_processes = 8 };

/* What a process tells its parent. */
typedef struct result {
  uint32_t rank, rounds;
  mxg_status status;
  unsigned code;
  double seconds; /* of the call that failed */
  char text[512], note[512];
} result;

typedef struct team {
  pid_t pids[most_processes];
  int pipe[2];
  uint32_t count;
  unsigned port;
} team;

typedef struct work {
  uint32_t rank, world;
  unsigned port, timeout_ms;
  result *out;
  int extra, pipe;
} work;

typedef void (*worker)(work *w);

/* ---- processes ---- */

static inline void pause_ms(unsigned ms) {
  struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
  nanosleep(&t, NULL);
}

static inline unsigned free_port(void) {
  struct sockaddr_in at = {.sin_family = AF_INET};
  socklen_t size = sizeof at;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_true(fd >= 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
  close(fd);
  return ntohs(at.sin_port);
}

static inline void begin(team *t) {
  memset(t, 0, sizeof *t);
  assert_int_equal(pipe(t->pipe), 0);
  t->port = free_port();
}

static inline void start(team *t, worker f, uint32_t rank, uint32_t world, unsigned timeout_ms, int extra) {
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    result out = {.rank = rank};
    work w = {rank, world, t->port, timeout_ms, &out, extra, t->pipe[1]};
    signal(SIGPIPE, SIG_IGN);
    alarm(60);
    f(&w);
    _exit(write(t->pipe[1], &out, sizeof out) == (ssize_t)sizeof out ? 0 : 1);
  }
  t->pids[rank] = pid;
  t->count++;
}

static inline result receive(team *t) {
  result r;
  assert_int_equal(read(t->pipe[0], &r, sizeof r), sizeof r);
  return r;
}

static inline void finish(team *t) {
  for (int p = 0; p < most_processes; p++)
    if (t->pids[p]) {
      kill(t->pids[p], SIGKILL);
      waitpid(t->pids[p], NULL, 0);
    }
  close(t->pipe[0]);
  close(t->pipe[1]);
}

static inline mxg_job *join(work *w, mxg_error *err) {
  mxg_job_options options = MXG_JOB_INIT;
  mxg_job *job = NULL;
  options.rank = w->rank;
  options.world = w->world;
  options.address = "127.0.0.1";
  options.port = w->port;
  options.timeout_ms = w->timeout_ms;
  double began = mxg_now();
  (void)mxg_job_create(&job, &options, err);
  w->out->seconds = mxg_now() - began;
  return job;
}

static inline void tell(work *w, const mxg_error *err) {
  w->out->status = err->status;
  w->out->code = err->code;
  memcpy(w->out->text, err->text, sizeof err->text);
  memcpy(w->out->note, err->note, sizeof err->note);
}

static inline void tell_wrong(work *w, const char *what) {
  w->out->status = MXG_ERR_WRONG;
  snprintf(w->out->text, sizeof w->out->text, "%s", what);
}

#endif
