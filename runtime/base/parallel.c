/* parallel.c -- see parallel.h. One lock, held only to take and to give back a part; parts are made large enough. */
#include "parallel.h"

#include "error.h"
#include "memory.h"

#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

enum { most_threads = 1024 };

/* A caller's work, on its stack; the jobs that have parts left are a ring. */
typedef struct job {
  mxg_pool_part part;
  void *user;
  uint64_t parts, next, done;
  struct job *before, *after;
} job;

typedef struct worker {
  struct mxg_pool *pool;
  unsigned index;
  pthread_t id;
} worker;

struct mxg_pool {
  pthread_mutex_t lock;
  pthread_cond_t work, finished; /* a job came; one is done, its caller may go on */
  job *turn;                     /* the next job to be served; NULL: none waits */
  bool ends;
  unsigned threads;
  worker workers[];
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

static void *serve(void *argument) {
  worker *self = argument;
  mxg_pool *pool = self->pool;
  pthread_mutex_lock(&pool->lock);
  for (;;) {
    while (!pool->turn && !pool->ends) pthread_cond_wait(&pool->work, &pool->lock);
    if (!pool->turn) break;
    uint64_t index;
    job *j = take(pool, &index);
    pthread_mutex_unlock(&pool->lock);
    j->part(j->user, index, self->index);
    pthread_mutex_lock(&pool->lock);
    if (++j->done == j->parts) pthread_cond_broadcast(&pool->finished);
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
  mxg_pool *pool = mxg_alloc(sizeof *pool + threads * sizeof *pool->workers);
  if (!pool) return mxg_fail_nomem(err);
  bool locks = pthread_mutex_init(&pool->lock, NULL) == 0;
  bool works = locks && pthread_cond_init(&pool->work, NULL) == 0;
  if (!works || pthread_cond_init(&pool->finished, NULL) != 0) {
    if (works) pthread_cond_destroy(&pool->work);
    if (locks) pthread_mutex_destroy(&pool->lock);
    mxg_free(pool);
    return mxg_fail_nomem(err);
  }
  for (; pool->threads < threads; pool->threads++) {
    worker *next = &pool->workers[pool->threads];
    *next = (worker){.pool = pool, .index = pool->threads};
    if (pthread_create(&next->id, NULL, serve, next) != 0) break;
  }
  *out = pool;
  return MXG_OK;
}

void mxg_pool_free(mxg_pool *pool) {
  if (!pool) return;
  pthread_mutex_lock(&pool->lock);
  pool->ends = true;
  pthread_cond_broadcast(&pool->work);
  pthread_mutex_unlock(&pool->lock);
  for (unsigned i = 0; i < pool->threads; i++) pthread_join(pool->workers[i].id, NULL);
  pthread_cond_destroy(&pool->finished);
  pthread_cond_destroy(&pool->work);
  pthread_mutex_destroy(&pool->lock);
  mxg_free(pool);
}

unsigned mxg_pool_threads(const mxg_pool *pool) { return pool->threads ? pool->threads : 1; }

void mxg_pool_run(mxg_pool *pool, mxg_pool_part part, void *user, uint64_t parts) {
  job j = {.part = part, .user = user, .parts = parts};
  if (parts == 0) return;
  if (pool->threads == 0) {
    for (uint64_t i = 0; i < parts; i++) part(user, i, 0);
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
  while (j.done < j.parts) pthread_cond_wait(&pool->finished, &pool->lock);
  pthread_mutex_unlock(&pool->lock);
}
