/* bench_nccl.c -- see bench_nccl.h. A thread a rank, memory as PyTorch has it, not registered. Pieces take turns in
** memory of bounded size: a model's targets leave no room for all that is gathered. */
#include "bench_nccl.h"

#include "clock.h"
#include "error.h"
#include "memory.h"
#include "nccl.h"

#include <pthread.h>
#include <time.h>

enum { timeout_s = 60, sizes = 4, warm = 2 };
static const unsigned piece_counts[sizes] = {1, 2, 8, 32};
static const uint64_t least_piece = 1 << 20, most_piece = 512 << 20;

typedef struct crew {
  mxg_peer_gather *ask;
  unsigned char id[MXG_NCCL_ID_BYTES];
  double deadline;
  pthread_mutex_t lock; /* of the gate: threads begin when all are there, or not at all */
  pthread_cond_t opened;
  bool open, all;
  pthread_barrier_t here;
  double *times; /* by rank, size and repeat */
} crew;

typedef struct member {
  crew *crew;
  uint32_t rank;
  mxg_nccl *nccl;
  uint64_t from, to;
  mxg_cu_stream *stream;
  mxg_cu_event *times[2];
  mxg_error error;
} member;

static uint64_t shard_of(const mxg_peer_gather *ask) { return ask->received / (ask->ranks - 1); }

/* Bytes of one all-gather, of each rank, where there shall be `pieces` of them. */
static uint64_t piece_of(uint64_t shard, unsigned pieces) {
  uint64_t piece = (shard / pieces + 127) / 128 * 128, most = shard < most_piece ? shard : most_piece;
  return piece && piece < most ? piece : most;
}

static bool is_tried(const mxg_peer_gather *ask, unsigned size) {
  return size == 0 || shard_of(ask) / piece_counts[size] >= least_piece;
}

static mxg_status open_member(member *m, mxg_error *err) {
  mxg_peer_gather *ask = m->crew->ask;
  uint64_t room = piece_of(shard_of(ask), 1);
  MXG_TRY(mxg_gpu_use(ask->gpus[m->rank], err));
  MXG_TRY(mxg_nccl_open(&m->nccl, m->crew->id, ask->ranks, m->rank, false, m->crew->deadline, err));
  MXG_TRY(mxg_gpu_alloc(&m->from, room, err));
  MXG_TRY(mxg_gpu_alloc(&m->to, room * ask->ranks, err));
  MXG_TRY(mxg_stream_create(&m->stream, err));
  for (int i = 0; i < 2; i++) MXG_TRY(mxg_event_create(&m->times[i], true, err));
  return mxg_gpu_fill(m->from, (uint8_t)(0x31 + m->rank), room, m->stream, err);
}

static void close_member(member *m) {
  if (mxg_gpu_use(m->crew->ask->gpus[m->rank], NULL) != MXG_OK) return;
  for (int i = 0; i < 2; i++) mxg_event_free(m->times[i]);
  mxg_stream_free(m->stream);
  mxg_gpu_free(m->from);
  mxg_gpu_free(m->to);
  mxg_nccl_close(m->nccl);
}

static mxg_status gather_pieces(member *m, unsigned pieces, mxg_error *err) {
  const mxg_peer_gather *ask = m->crew->ask;
  uint64_t shard = shard_of(ask), piece = piece_of(shard, pieces), turns = piece_of(shard, 1) / piece;
  for (uint64_t i = 0, done = 0; done < shard; i++) {
    uint64_t at = i % turns * piece, bytes = shard - done < piece ? shard - done : piece;
    done += bytes;
    MXG_TRY(mxg_nccl_begin(m->nccl, err));
    mxg_status status = mxg_nccl_all_gather(m->nccl, m->from + at, m->to + at * ask->ranks, bytes, m->stream, err);
    mxg_status ended = mxg_nccl_end(m->nccl, m->crew->deadline, status == MXG_OK ? err : NULL);
    MXG_TRY(status);
    MXG_TRY(ended);
  }
  return MXG_OK;
}

static mxg_status capture(member *m, unsigned pieces, mxg_cu_graph **graph, mxg_error *err) {
  MXG_TRY(mxg_graph_begin(m->stream, err));
  mxg_status status = gather_pieces(m, pieces, err);
  mxg_status ended = mxg_graph_end(graph, m->stream, status == MXG_OK ? err : NULL);
  return status == MXG_OK ? ended : status;
}

static mxg_status wait_for(member *m, mxg_error *err) {
  for (bool done = false;;) {
    MXG_TRY(mxg_stream_done(&done, m->stream, err));
    if (done) return MXG_OK;
    MXG_TRY(mxg_nccl_look(m->nccl, err));
    if (mxg_now() > m->crew->deadline) {
      mxg_nccl_abort(m->nccl);
      return mxg_fail(err, MXG_ERR_TIMEOUT, 648, "NCCL's all-gather did not end on rank %u in %d s", m->rank,
                      timeout_s);
    }
    const struct timespec pause = {0, 20000};
    nanosleep(&pause, NULL);
  }
}

/* The others come to every barrier, so this rank does as well, whatever failed. */
static mxg_status time_size(member *m, unsigned size, mxg_status status, mxg_error *err) {
  crew *c = m->crew;
  mxg_cu_graph *graph = NULL;
  if (status == MXG_OK) status = capture(m, piece_counts[size], &graph, err);
  double *times = c->times + ((size_t)m->rank * sizes + size) * c->ask->repeats;
  for (unsigned i = 0; i < c->ask->repeats + warm; i++) {
    (void)pthread_barrier_wait(&c->here);
    if (status != MXG_OK) continue;
    float ms = 0;
    status = mxg_event_record(m->times[0], m->stream, err);
    if (status == MXG_OK) status = mxg_graph_launch(graph, m->stream, err);
    if (status == MXG_OK) status = mxg_event_record(m->times[1], m->stream, err);
    if (status == MXG_OK) status = wait_for(m, err);
    if (status == MXG_OK) status = mxg_event_between(&ms, m->times[0], m->times[1], err);
    if (i >= warm) times[i - warm] = (double)ms * 1e-3;
  }
  mxg_graph_free(graph);
  return status;
}

static void open_gate(crew *c, bool all) {
  (void)pthread_mutex_lock(&c->lock);
  c->open = true;
  c->all = all;
  (void)pthread_cond_broadcast(&c->opened);
  (void)pthread_mutex_unlock(&c->lock);
}

static bool pass_gate(crew *c) {
  (void)pthread_mutex_lock(&c->lock);
  while (!c->open) (void)pthread_cond_wait(&c->opened, &c->lock);
  (void)pthread_mutex_unlock(&c->lock);
  return c->all;
}

static void *run_member(void *argument) {
  member *m = argument;
  if (!pass_gate(m->crew)) return NULL;
  mxg_error err = {0};
  mxg_status status = open_member(m, &err);
  for (unsigned size = 0; size < sizes; size++)
    if (is_tried(m->crew->ask, size)) status = time_size(m, size, status, &err);
  if (status != MXG_OK && m->nccl) mxg_nccl_abort(m->nccl);
  err.status = status;
  m->error = err;
  return NULL;
}

/* The slowest rank of each repeat, in the times of rank 0; then the best size. */
static void judge(crew *c) {
  mxg_peer_gather *ask = c->ask;
  for (unsigned size = 0; size < sizes; size++) {
    double *times = c->times + (size_t)size * ask->repeats;
    if (!is_tried(ask, size)) continue;
    for (uint32_t r = 1; r < ask->ranks; r++)
      for (unsigned i = 0; i < ask->repeats; i++) {
        double other = c->times[((size_t)r * sizes + size) * ask->repeats + i];
        if (times[i] < other) times[i] = other;
      }
    double median = mxg_median(times, ask->repeats);
    if (size && median >= ask->median) continue;
    ask->pieces = (unsigned)((shard_of(ask) - 1) / piece_of(shard_of(ask), piece_counts[size]) + 1);
    ask->least = times[0];
    ask->median = median;
    ask->most = times[ask->repeats - 1];
  }
}

mxg_status mxg_peer_gather_run(mxg_peer_gather *ask, mxg_error *err) {
  crew c = {.ask = ask,
            .deadline = mxg_now() + timeout_s,
            .lock = PTHREAD_MUTEX_INITIALIZER,
            .opened = PTHREAD_COND_INITIALIZER};
  if (ask->ranks < 2 || shard_of(ask) == 0 || ask->repeats == 0) return MXG_OK;
  MXG_TRY(mxg_nccl_new_id(c.id, err));
  member *members = mxg_alloc(ask->ranks * sizeof *members);
  pthread_t *threads = mxg_alloc(ask->ranks * sizeof *threads);
  c.times = mxg_alloc((size_t)ask->ranks * sizes * ask->repeats * sizeof *c.times);
  mxg_status status = MXG_OK;
  if (!members || !threads || !c.times || pthread_barrier_init(&c.here, NULL, ask->ranks)) {
    status = mxg_fail_nomem(err);
  } else {
    uint32_t started = 0;
    for (uint32_t r = 0; r < ask->ranks; r++) members[r] = (member){.crew = &c, .rank = r};
    while (started + 1 < ask->ranks && pthread_create(&threads[started], NULL, run_member, &members[started + 1]) == 0)
      started++;
    bool all = started + 1 == ask->ranks;
    if (!all) status = mxg_fail(err, MXG_ERR_ENVIRONMENT, 601, "no thread could be started for rank %u", started + 1);
    open_gate(&c, all);
    if (all) (void)run_member(&members[0]);
    for (uint32_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
    (void)pthread_barrier_destroy(&c.here);
    for (uint32_t r = 0; r < ask->ranks; r++) {
      close_member(&members[r]);
      if (status == MXG_OK && members[r].error.status != MXG_OK) {
        status = members[r].error.status;
        if (err) *err = members[r].error;
      }
    }
    if (status == MXG_OK) judge(&c);
  }
  mxg_free(members);
  mxg_free(threads);
  mxg_free(c.times);
  return status;
}
