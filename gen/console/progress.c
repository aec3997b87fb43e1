/* progress.c -- see progress.h. */
#include "progress.h"

#include "text.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool shown;
static double last, began;

double mxg_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static bool wanted(void) {
  static int answer = -1;
  if (answer < 0) {
    const char *term = getenv("TERM");
    answer = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
  }
  return answer == 1;
}

static void show(const char *line, bool must) {
  pthread_mutex_lock(&lock);
  double now = mxg_seconds();
  if (must || !shown || now - last >= 0.1) {
    fprintf(stderr, "\r%.78s\033[K", line);
    fflush(stderr);
    last = now;
    shown = true;
  }
  pthread_mutex_unlock(&lock);
}

void mxg_progress(unsigned done, unsigned all, const char *text) {
  if (!wanted()) return;
  char line[256];
  snprintf(line, sizeof line, "[%u/%u] %s", done, all, text);
  show(line, done == all);
}

void mxg_progress_bytes(void *what, uint64_t done_bytes, uint64_t all_bytes) {
  if (!wanted() || all_bytes == 0) return;
  double now = mxg_seconds();
  if (done_bytes == 0 || began == 0) began = now;
  mxg_text line = {0};
  unsigned percent = (unsigned)((double)done_bytes * 100 / (double)all_bytes);
  mxg_text_format(&line, "%s  %3u %%  ", (const char *)what, percent);
  mxg_text_size(&line, done_bytes);
  mxg_text_puts(&line, " of ");
  mxg_text_size(&line, all_bytes);
  if (now - began > 0.2) {
    mxg_text_puts(&line, "  ");
    mxg_text_size(&line, (unsigned long long)((double)done_bytes / (now - began)));
    mxg_text_puts(&line, "/s");
  }
  if (!line.failed) show(line.bytes, done_bytes == all_bytes);
  mxg_text_free(&line);
}

void mxg_progress_clear(void) {
  pthread_mutex_lock(&lock);
  if (shown) {
    fputs("\r\033[K", stderr);
    fflush(stderr);
  }
  shown = false;
  began = 0;
  pthread_mutex_unlock(&lock);
}
