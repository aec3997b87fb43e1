/* workers.c -- see workers.h. */
#include "workers.h"

#include "error.h"
#include "memory.h"

#include <pthread.h>
#include <unistd.h>

enum { most_threads = 256 };

typedef struct pool {
  void (*part)(void *, uint64_t);
  void *user;
  uint64_t parts, next, done, all_bytes;
  void (*progress)(void *, uint64_t, uint64_t);
  void *progress_user;
  pthread_mutex_t lock;
} pool;

static void *work(void *argument) {
  pool *p = argument;
  pthread_mutex_lock(&p->lock);
  while (p->next < p->parts) {
    uint64_t mine = p->next++;
    pthread_mutex_unlock(&p->lock);
    p->part(p->user, mine);
    pthread_mutex_lock(&p->lock);
    p->done++;
    if (p->progress)
      p->progress(p->progress_user, (uint64_t)((double)p->done / (double)p->parts * (double)p->all_bytes),
                  p->all_bytes);
  }
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

unsigned mxg_workers_count(unsigned threads, uint64_t parts) {
  if (threads == 0) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    threads = cores > 0 ? (unsigned)cores : 1;
  }
  if (threads > most_threads) threads = most_threads;
  if (threads > parts) threads = parts ? (unsigned)parts : 1;
  return threads;
}

mxg_status mxg_workers_run(void (*part)(void *user, uint64_t i), void *user, uint64_t parts, unsigned threads,
                           uint64_t all_bytes, void (*progress)(void *user, uint64_t done_bytes, uint64_t all_bytes),
                           void *progress_user, mxg_error *err) {
  pool p = {part, user, parts, 0, 0, all_bytes, progress, progress_user, PTHREAD_MUTEX_INITIALIZER};
  threads = mxg_workers_count(threads, parts);
  pthread_t *others = mxg_alloc(threads * sizeof *others);
  if (!others) return mxg_fail_nomem(err);
  unsigned started = 0;
  while (started + 1 < threads && !pthread_create(&others[started], NULL, work, &p)) started++;
  work(&p); /* this thread works too, so that nothing is lost where no thread can be started */
  for (unsigned i = 0; i < started; i++) pthread_join(others[i], NULL);
  pthread_mutex_destroy(&p.lock);
  mxg_free(others);
  return MXG_OK;
}
