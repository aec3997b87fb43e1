/* main.c -- the mxgen command: finds the verb, runs it, shows a failure, gives the exit code. Owns standard streams and
** signals; everything else is in cmd_<verb>.c and below. */
#include "command.h"
#include "manual.h"
#include "memory.h"
#include "nearest.h"
#include "options.h"
#include "print.h"
#include "progress.h"
#include "temp.h"
#include "temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const mxg_verb *const mxg_verbs[] = {&mxg_verb_generate, &mxg_verb_check,
                                     &mxg_verb_plan,     &mxg_verb_explain,
                                     &mxg_verb_shard,    &mxg_verb_run,
                                     &mxg_verb_verify,   &mxg_verb_show,
                                     &mxg_verb_bench,    &mxg_verb_tune,
                                     &mxg_verb_init,     &mxg_verb_doctor,
                                     &mxg_verb_cache,    NULL};

int mxg_exit_code(const mxg_error *err) {
  switch (err->status) {
  case MXG_OK: return 0;
  case MXG_ERR_INPUT:
  case MXG_ERR_BUNDLE: return 1;
  case MXG_ERR_IO: /* a path that is wrong is input; a disk that is full or may not be written is not */
    switch (err->native) {
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOSPC:
    case EDQUOT:
    case EIO:
    case EMFILE:
    case ENFILE: return 3;
    default: return 1;
    }
  case MXG_ERR_USAGE: return 2;
  case MXG_ERR_NOMEM:
  case MXG_ERR_UNSUPPORTED:
  case MXG_ERR_ENVIRONMENT:
  case MXG_ERR_CUDA:
  case MXG_ERR_NCCL: return 3;
  case MXG_ERR_COMPILE: return 4;
  case MXG_ERR_WRONG: return 5;
  case MXG_ERR_TIMEOUT: return 6;
  }
  return 3;
}

/* ---- help ---- */

static const mxg_verb *find_verb(const char *name) {
  for (const mxg_verb *const *v = mxg_verbs; *v; v++)
    if (!strcmp((*v)->name, name)) return *v;
  return NULL;
}

static mxg_status fail_verb(const char *word, mxg_error *err) {
  const char *names[32] = {"help"};
  size_t count = 1;
  for (const mxg_verb *const *v = mxg_verbs; *v; v++) names[count++] = (*v)->name;
  mxg_fail(err, MXG_ERR_USAGE, 901, "'%.100s' is neither a verb of mxgen nor a recipe", word);
  const char *near = mxg_nearest(word, names, count);
  if (near)
    mxg_error_help(err, "did you mean 'mxgen %s'?", near);
  else
    mxg_error_help(err, "mxgen help");
  return MXG_ERR_USAGE;
}

static mxg_status print_help(const char *name, mxg_error *err) {
  mxg_text text = {0};
  if (name && !strcmp(name, "recipe")) {
    mxg_manual_recipe(false, &text);
    return mxg_out(&text, err);
  }
  if (name) {
    const mxg_verb *verb = find_verb(name);
    if (!verb) return fail_verb(name, err);
    mxg_options_help(verb, &text);
    return mxg_out(&text, err);
  }
  mxg_text_puts(&text,
                "mxgen turns a recipe, which says how quantised weights are stored and how they are wanted, into a\n"
                "schedule and CUDA kernels that move them.\n\n"
                "usage: mxgen RECIPE [options]       the same as mxgen generate RECIPE\n"
                "       mxgen VERB ... [options]\n\nverbs\n");
  for (const mxg_verb *const *v = mxg_verbs; *v; v++) {
    char head[64];
    snprintf(head, sizeof head, "%s %s", (*v)->name, (*v)->operands);
    mxg_text_format(&text, "  %-31s %s\n", head, (*v)->summary);
  }
  mxg_text_puts(&text,
                "  help [VERB | recipe]            this text, the options of a verb, or what a recipe may say\n"
                "\nexit codes: 0 ok, 1 input is wrong, 2 usage, 3 environment, 4 compile, 5 wrong result, 6 timeout "
                "or lost rank\n");
  return mxg_out(&text, err);
}

static mxg_status print_version(mxg_error *err) {
  mxg_text text = {0};
  mxg_text_format(&text, "mxgen %s\n", mxg_version());
  return mxg_out(&text, err);
}

/* ---- streams and signals ---- */

/* A process started with a closed standard stream would get its number for the next file it opens, and then print into
** it. A read-only null device in its place makes writing fail as it should. */
static void hold_streams(void) {
  for (int fd = 0; fd <= 2; fd++) {
    if (fcntl(fd, F_GETFD) != -1 || errno != EBADF) continue;
    int held = open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
    if (held != fd && held >= 0) close(held);
  }
}

static atomic_bool signalled;

/* Waits for a signal that ends the command; then no half-written file may stay. */
static void *watch_signals(void *set) {
  int number = 0;
  while (sigwait(set, &number)) {
  }
  atomic_store(&signalled, true);
  mxg_progress_clear();
  mxg_temporaries_remove();
  mxg_temp_remove_all();
  _exit(128 + number);
}

static void catch_signals(void) {
  static sigset_t set;
  static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
  signal(SIGPIPE, SIG_IGN);
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    struct sigaction old;
    if (sigaction(numbers[i], NULL, &old) || old.sa_handler == SIG_IGN) continue; /* nohup, background of a script */
    sigaddset(&set, numbers[i]);
  }
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  pthread_t thread;
  if (pthread_create(&thread, NULL, watch_signals, &set))
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  else
    pthread_detach(thread);
}

/* ---- the command ---- */

/* A word that is no verb but looks like a file is a recipe to generate. */
static bool looks_like_file(const char *word) {
  size_t count = strlen(word);
  return strchr(word, '/') || (count > 4 && !strcmp(word + count - 4, ".lua")) || !access(word, F_OK);
}

static mxg_status run(int argc, char **argv, const mxg_verb **chosen, mxg_error *err) {
  const char *word = argc > 1 ? argv[1] : NULL;
  if (!word) {
    mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen needs a recipe or a verb");
    mxg_error_help(err, "mxgen help");
    return MXG_ERR_USAGE;
  }
  if (!strcmp(word, "--version") || !strcmp(word, "-V")) return print_version(err);
  if (!strcmp(word, "help")) {
    if (argc > 3 && !strcmp(argv[2], "--roff")) { /* the build makes the manual with it */
      mxg_text text = {0};
      mxg_status status = mxg_manual_page(argv[3], (const char *const *)argv + 4, &text, err);
      if (status == MXG_OK) return mxg_out(&text, err);
      mxg_text_free(&text);
      return status;
    }
    if (argc == 4 && !strcmp(argv[2], "--completion") && !strcmp(argv[3], "bash")) {
      mxg_text text = {0};
      mxg_manual_completion(&text);
      return mxg_out(&text, err);
    }
    if (argc > 3) return mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen help takes one verb");
    return print_help(argc > 2 ? argv[2] : NULL, err);
  }
  if (!strcmp(word, "--help") || !strcmp(word, "-h")) return print_help(NULL, err);
  const mxg_verb *verb = find_verb(word);
  int skipped = verb ? 1 : 0;
  if (!verb && (word[0] == '-' || looks_like_file(word))) verb = find_verb("generate");
  if (!verb) return fail_verb(word, err);
  *chosen = verb;
  static mxg_args args;
  MXG_TRY(mxg_options_read(&args, verb, argc - skipped, argv + skipped, err));
  if (args.help) return print_help(verb->name, err);
  args.words = argv;
  return verb->run(&args, err);
}

int main(int argc, char **argv) {
  hold_streams();
  catch_signals();
  mxg_error err = {0};
  const mxg_verb *verb = NULL;
  mxg_status status = run(argc, argv, &verb, &err);
  mxg_progress_clear();
  if (status == MXG_OK) return 0;
  while (atomic_load(&signalled)) pause(); /* it failed because its files are being removed: the other thread ends it */
  err.status = status;
  mxg_text text = {0};
  mxg_diagnostic_print(&err, mxg_colour_wanted(), &text);
  bool written = err.code == MXG_CODE_STDOUT; /* the report is what failed: the files are there */
  if (verb && verb->writes && status != MXG_ERR_USAGE && !written)
    mxg_text_puts(&text, "1 error; nothing was written\n");
  fputs(text.failed ? "error: out of memory\n" : text.bytes, stderr);
  mxg_text_free(&text);
  return mxg_exit_code(&err);
}
