/* launcher.c -- see launcher.h. The processes meet through a socket that listens before the first of them starts,
** so that no port can be taken in between. Process 0 writes to this one's streams; what the others say on stderr is
** kept, and shown when they fail. */
#define _GNU_SOURCE /* environ, PR_SET_PDEATHSIG */
#include "launcher.h"

#include "channel.h"
#include "clock.h"
#include "error.h"
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { most_processes = 1024, default_timeout_ms = 60000, own_variables = 8, variable_room = 64 };
/* Seconds for the others, when process 0 has ended or the deadline has passed; and then from SIGTERM to SIGKILL. */
static const double patience = 5, kindness = 2;

typedef struct child {
  pid_t pid;
  FILE *said; /* its stderr; NULL: this process's */
  bool ended;
  int status; /* of waitpid */
} child;

typedef struct launch {
  child *children;
  unsigned count, running;
  int listener;
  unsigned port;
  double first_failure, last_end; /* 0: none */
  unsigned failed;                /* the one that says why: index + 1 */
  bool killed;                    /* children by this process */
} launch;

bool mxg_launcher_wanted(const mxg_args *args) { return args->has_processes && !getenv("MXGEN_CHILD"); }

/* ---- starting ---- */

static bool is_ours(const char *variable) {
  static const char *const names[] = {"RANK=",        "LOCAL_RANK=", "WORLD_SIZE=",     "MASTER_ADDR=",
                                      "MASTER_PORT=", "MXGEN_PORT=", "MXGEN_LISTENER=", "MXGEN_CHILD="};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strncmp(variable, names[i], strlen(names[i]))) return true;
  return false;
}

/* This process's environment with a child's own variables; one block. */
static char **make_environment(const launch *l, unsigned rank) {
  size_t count = 0, kept = 0;
  while (environ[count]) count++;
  char **list = mxg_alloc((count + own_variables + 1) * sizeof *list + own_variables * variable_room);
  if (!list) return NULL;
  for (size_t i = 0; i < count; i++)
    if (!is_ours(environ[i])) list[kept++] = environ[i];
  char *room = (char *)(list + count + own_variables + 1);
  for (int i = 0; i < own_variables; i++, room += variable_room) {
    switch (i) {
    case 0: snprintf(room, variable_room, "RANK=%u", rank); break;
    case 1: snprintf(room, variable_room, "LOCAL_RANK=%u", rank); break;
    case 2: snprintf(room, variable_room, "WORLD_SIZE=%u", l->count); break;
    case 3: snprintf(room, variable_room, "MASTER_ADDR=127.0.0.1"); break;
    case 4: snprintf(room, variable_room, "MXGEN_PORT=%u", l->port); break;
    case 5: snprintf(room, variable_room, "MXGEN_CHILD=1"); break;
    default:
      if (rank != 0 || i > 6) continue;
      snprintf(room, variable_room, "MXGEN_LISTENER=%d", l->listener);
    }
    list[kept++] = room;
  }
  return list;
}

/* In the child, between fork and exec: nothing that takes memory or a lock. */
static void become(const launch *l, const child *c, unsigned rank, char *const *words, char *const *environment,
                   pid_t parent) {
  (void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0); /* it takes its half-written files away */
  if (getppid() != parent) _exit(127);
  if (c->said) (void)dup2(fileno(c->said), STDERR_FILENO);
  if (rank == 0) (void)fcntl(l->listener, F_SETFD, 0);
  execve("/proc/self/exe", words, environment);
  _exit(127);
}

static mxg_status start(launch *l, unsigned rank, char *const *words, mxg_error *err) {
  child *c = &l->children[rank];
  char **environment = make_environment(l, rank);
  if (!environment) return mxg_fail_nomem(err);
  if (rank > 0) c->said = tmpfile(); /* without one it speaks to this process's stderr */
  if (c->said) (void)fcntl(fileno(c->said), F_SETFD, FD_CLOEXEC);
  pid_t parent = getpid();
  c->pid = fork();
  if (c->pid == 0) become(l, c, rank, words, environment, parent);
  int native = errno;
  mxg_free(environment);
  if (c->pid > 0) {
    l->running++;
    return MXG_OK;
  }
  c->pid = 0;
  mxg_fail(err, MXG_ERR_ENVIRONMENT, 670, "process %u cannot be started: %s", rank, strerror(native));
  if (err) err->native = native;
  return MXG_ERR_ENVIRONMENT;
}

static mxg_status listen_first(launch *l, mxg_error *err) {
  struct sockaddr_in at = {0};
  socklen_t size = sizeof at;
  MXG_TRY(mxg_channel_listen(&l->listener, "127.0.0.1", 0, err));
  if (getsockname(l->listener, (struct sockaddr *)&at, &size) != 0)
    return mxg_fail(err, MXG_ERR_ENVIRONMENT, 663, "the port of the processes is not known: %s", strerror(errno));
  l->port = ntohs(at.sin_port);
  return MXG_OK;
}

/* ---- waiting ---- */

static bool fails(const child *c) { return !WIFEXITED(c->status) || WEXITSTATUS(c->status) != 0; }

/* Of those that failed one was first; whoever then lost it only says so. */
static bool says_more(const launch *l, const child *c) {
  if (l->failed == 0) return true;
  const child *known = &l->children[l->failed - 1];
  bool known_follows = WIFEXITED(known->status) && WEXITSTATUS(known->status) == 6;
  bool follows = WIFEXITED(c->status) && WEXITSTATUS(c->status) == 6;
  return known_follows && !follows && !l->killed;
}

static void reap(launch *l) {
  for (unsigned i = 0; i < l->count; i++) {
    child *c = &l->children[i];
    if (c->ended || c->pid == 0 || waitpid(c->pid, &c->status, WNOHANG) != c->pid) continue;
    c->ended = true;
    l->running--;
    l->last_end = mxg_now();
    if (!fails(c)) continue;
    if (l->first_failure <= 0) l->first_failure = l->last_end;
    if (says_more(l, c)) l->failed = i + 1;
  }
}

/* First kindly, so that no half-written file stays; one that is stopped hears only the second. */
static void end_all(launch *l, int signal_number) {
  l->killed = true;
  for (unsigned i = 0; i < l->count; i++)
    if (l->children[i].pid && !l->children[i].ended) (void)kill(l->children[i].pid, signal_number);
}

static void wait_for_all(launch *l, double timeout) {
  const struct timespec pause = {0, 5000000};
  double ended = 0;
  for (;;) {
    reap(l);
    if (l->running == 0) return;
    double now = mxg_now();
    if (l->first_failure > 0 && now - l->last_end > patience + (l->children[0].ended ? 0 : timeout)) {
      if (ended <= 0) ended = now;
      end_all(l, now - ended < kindness ? SIGTERM : SIGKILL);
    }
    nanosleep(&pause, NULL);
  }
}

/* ---- telling ---- */

static void show_said(const launch *l) {
  for (unsigned i = 0; i < l->count; i++) {
    const child *c = &l->children[i];
    char line[1024];
    if (!c->said || !fails(c)) continue;
    rewind(c->said);
    for (bool first = true; fgets(line, sizeof line, c->said); first = false)
      fprintf(stderr, "%s%s", first ? "" : "  ", line);
  }
}

static mxg_status tell(const launch *l, mxg_error *err) {
  static const mxg_status by_code[] = {MXG_OK,          MXG_ERR_INPUT, MXG_ERR_USAGE,  MXG_ERR_ENVIRONMENT,
                                       MXG_ERR_COMPILE, MXG_ERR_WRONG, MXG_ERR_TIMEOUT};
  unsigned i = l->failed - 1;
  int status = l->children[i].status;
  if (WIFSIGNALED(status))
    return mxg_fail(err, MXG_ERR_TIMEOUT, 670, "process %u of %u was killed by signal %d (%s)%s", i, l->count,
                    WTERMSIG(status), strsignal(WTERMSIG(status)), l->killed ? ": it did not end by itself" : "");
  int code = WEXITSTATUS(status);
  bool known = code > 0 && code < (int)(sizeof by_code / sizeof *by_code);
  return mxg_fail(err, known ? by_code[code] : MXG_ERR_ENVIRONMENT, 670, "process %u of %u failed with exit code %d", i,
                  l->count, code);
}

mxg_status mxg_launcher_run(const mxg_args *args, mxg_error *err) {
  launch l = {.listener = -1, .count = (unsigned)args->processes};
  if (args->processes == 0 || args->processes > most_processes)
    return mxg_fail(err, MXG_ERR_USAGE, 904, "--processes: a number from 1 to %d", (int)most_processes);
  l.children = mxg_alloc(l.count * sizeof *l.children);
  if (!l.children) return mxg_fail_nomem(err);
  mxg_status status = listen_first(&l, err);
  for (unsigned i = 0; i < l.count && status == MXG_OK; i++) status = start(&l, i, args->words, err);
  if (l.listener >= 0) close(l.listener);
  if (status != MXG_OK) end_all(&l, SIGKILL); /* they have only just begun */
  wait_for_all(&l, (args->timeout > default_timeout_ms ? (double)args->timeout : default_timeout_ms) * 1e-3);
  if (status == MXG_OK && l.failed) {
    show_said(&l);
    status = tell(&l, err);
  }
  for (unsigned i = 0; i < l.count; i++)
    if (l.children[i].said) fclose(l.children[i].said);
  mxg_free(l.children);
  return status;
}
