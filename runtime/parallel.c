/* parallel.c -- see parallel.h. One lock, held only to take and to give back a part; parts are made large enough. */
#include "parallel.h"

#include "error.h"
#include "memory.h"

#include <pthread.h>
#include <unistd.h>

enum { most_threads = 1024 };

/* A caller's work, on its stack; the jobs that have parts left are a ring. */
typedef struct job {
  void (*part)(void *, uint64_t);
  void *user;
  uint64_t parts, next, done;
  struct job *before, *after;
  pthread_cond_t finished;
} job;

struct mxg_pool {
  pthread_mutex_t lock;
  pthread_cond_t work;
  job *turn; /* the next job to be served; NULL: none waits */
  bool ends;
  unsigned threads;
  pthread_t ids[];
};

/* The next part of the job whose turn it is. The lock is held. */
static job *take(mxg_pool *pool, uint64_t *index) {
  job *j = pool->turn;
  *index = j->next++;
  pool->turn = j->after;
  if (j->next < j->parts) return j;
  j->before->after = j->after;
  j->after->before = j->before;
  if (j->after == j) pool->turn = NULL;
  return j;
}

static void *worker(void *argument) {
  mxg_pool *pool = argument;
  pthread_mutex_lock(&pool->lock);
  for (;;) {
    while (!pool->turn && !pool->ends) pthread_cond_wait(&pool->work, &pool->lock);
    if (!pool->turn) break;
    uint64_t index;
    job *j = take(pool, &index);
    pthread_mutex_unlock(&pool->lock);
    j->part(j->user, index);
    pthread_mutex_lock(&pool->lock);
    if (++j->done == j->parts) pthread_cond_signal(&j->finished);
  }
  pthread_mutex_unlock(&pool->lock);
  return NULL;
}

mxg_status mxg_pool_create(mxg_pool **out, unsigned threads, mxg_error *err) {
  *out = NULL;
  if (threads == 0) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    threads = cores > 0 ? (unsigned)(cores < most_threads ? cores : most_threads) : 1;
  }
  if (threads > most_threads) threads = most_threads;
  mxg_pool *pool = mxg_alloc(sizeof *pool + threads * sizeof *pool->ids);
  if (!pool) return mxg_fail_nomem(err);
  if (pthread_mutex_init(&pool->lock, NULL) != 0) {
    mxg_free(pool);
    return mxg_fail_nomem(err);
  }
  if (pthread_cond_init(&pool->work, NULL) != 0) {
    pthread_mutex_destroy(&pool->lock);
    mxg_free(pool);
    return mxg_fail_nomem(err);
  }
  while (pool->threads < threads && pthread_create(&pool->ids[pool->threads], NULL, worker, pool) == 0) pool->threads++;
  *out = pool;
  return MXG_OK;
}

void mxg_pool_free(mxg_pool *pool) {
  if (!pool) return;
  pthread_mutex_lock(&pool->lock);
  pool->ends = true;
  pthread_cond_broadcast(&pool->work);
  pthread_mutex_unlock(&pool->lock);
  for (unsigned i = 0; i < pool->threads; i++) pthread_join(pool->ids[i], NULL);
  pthread_cond_destroy(&pool->work);
  pthread_mutex_destroy(&pool->lock);
  mxg_free(pool);
}

unsigned mxg_pool_threads(const mxg_pool *pool) { return pool->threads ? pool->threads : 1; }

void mxg_pool_run(mxg_pool *pool, void (*part)(void *user, uint64_t i), void *user, uint64_t parts) {
  job j = {.part = part, .user = user, .parts = parts};
  if (parts == 0) return;
  if (pool->threads == 0 || parts == 1 || pthread_cond_init(&j.finished, NULL) != 0) {
    for (uint64_t i = 0; i < parts; i++) part(user, i);
    return;
  }
  pthread_mutex_lock(&pool->lock);
  if (pool->turn) {
    j.after = pool->turn;
    j.before = pool->turn->before;
    j.before->after = j.after->before = &j;
  } else {
    j.before = j.after = &j;
    pool->turn = &j;
  }
  pthread_cond_broadcast(&pool->work);
  while (j.done < j.parts) pthread_cond_wait(&j.finished, &pool->lock);
  pthread_mutex_unlock(&pool->lock);
  pthread_cond_destroy(&j.finished);
}
