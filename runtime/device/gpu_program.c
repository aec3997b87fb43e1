/* gpu_program.c -- see gpu_program.h. */
#include "gpu_program.h"

#include "error.h"
#include "memory.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

/* ---- making ---- */

static mxg_gpu_op *push(mxg_gpu_program *program, mxg_gpu_op_kind kind, unsigned stream) {
  if (program->failed) return NULL;
  mxg_gpu_op *op = mxg_vector_push((void **)&program->ops, &program->count, &program->capacity, sizeof *op);
  program->failed = !op;
  if (!op) return NULL;
  op->kind = (uint8_t)kind;
  op->stream = (uint8_t)stream;
  if (program->stream_count <= stream) program->stream_count = stream + 1;
  return op;
}

void mxg_program_copy(mxg_gpu_program *program, unsigned stream, const mxg_copy *copy) {
  mxg_gpu_op *op = push(program, MXG_OP_COPY, stream);
  if (op) op->u.copy = *copy;
}

void mxg_program_fill(mxg_gpu_program *program, unsigned stream, uint64_t dst, uint8_t byte, uint64_t bytes) {
  mxg_program_fill_rows(program, stream, dst, byte, bytes, 1, bytes);
}

void mxg_program_fill_rows(mxg_gpu_program *program, unsigned stream, uint64_t dst, uint8_t byte, uint64_t bytes,
                           uint64_t height, uint64_t pitch) {
  mxg_gpu_op *op = bytes && height ? push(program, MXG_OP_FILL, stream) : NULL;
  if (!op) return;
  op->u.fill.dst = dst;
  op->u.fill.byte = byte;
  op->u.fill.bytes = bytes;
  op->u.fill.height = height;
  op->u.fill.pitch = pitch;
}

mx_entry *mxg_program_entries(mxg_gpu_program *program, size_t count) {
  if (program->failed) return NULL;
  size_t need = program->entry_count + count;
  if (need > program->entry_capacity) {
    size_t room = need + need / 2;
    mx_entry *entries = need <= UINT32_MAX ? mxg_resize(program->entries, room * sizeof *entries) : NULL;
    program->failed = !entries;
    if (!entries) return NULL;
    program->entries = entries;
    program->entry_capacity = room;
  }
  return program->entries + program->entry_count;
}

void mxg_program_launch(mxg_gpu_program *program, unsigned stream, uint32_t kernel, uint32_t count, uint64_t tiles) {
  mxg_gpu_op *op = count && tiles ? push(program, MXG_OP_LAUNCH, stream) : NULL;
  if (!op) return;
  op->index = kernel;
  op->u.launch.first = (uint32_t)program->entry_count;
  op->u.launch.count = count;
  op->u.launch.tiles = tiles;
  program->entry_count += count;
}

/* How many of a stream's copies an event comes after. */
typedef struct copied {
  unsigned stream;
  size_t count;
} copied;

static void spread(mxg_gpu_program *program, copied *events) {
  size_t all[MXG_STREAMS_MOST] = {0}, given[MXG_STREAMS_MOST] = {0}, done[MXG_STREAMS_MOST] = {0};
  for (size_t i = 0; i < program->count; i++) all[program->ops[i].stream] += program->ops[i].kind == MXG_OP_COPY;
  for (size_t i = 0; i < program->count; i++) {
    mxg_gpu_op *op = &program->ops[i];
    given[op->stream] += op->kind == MXG_OP_COPY;
    if (op->kind == MXG_OP_RECORD) events[op->index] = (copied){op->stream, given[op->stream]};
    if (op->kind == MXG_OP_FOLLOW && op->stream == 0) {
      const copied *event = &events[op->index];
      if (done[event->stream] < event->count) done[event->stream] = event->count;
    }
    if (op->kind != MXG_OP_LAUNCH || op->stream != 0) continue;
    op->u.launch.beside = memcmp(done, all, sizeof all) != 0;
    for (uint32_t k = 0; k < op->u.launch.count && op->u.launch.beside; k++)
      program->entries[op->u.launch.first + k].flags |= MX_BESIDE;
  }
}

void mxg_program_spread(mxg_gpu_program *program, bool apart) {
  program->apart = apart;
  copied *events = mxg_alloc((program->event_count + 1) * sizeof *events);
  if (events)
    spread(program, events);
  else
    program->failed = true;
  mxg_free(events);
}

void mxg_program_exchange(mxg_gpu_program *program, unsigned stream) {
  mxg_gpu_op *op = push(program, MXG_OP_EXCHANGE, stream);
  if (!op) return;
  op->u.exchange.first = (uint32_t)program->transfer_count;
  op->u.exchange.count = 0;
}

void mxg_program_transfer(mxg_gpu_program *program, const mxg_transfer *transfer) {
  if (program->failed || transfer->bytes == 0) return;
  mxg_transfer *fresh = mxg_vector_push((void **)&program->transfers, &program->transfer_count,
                                        &program->transfer_capacity, sizeof *fresh);
  program->failed = !fresh || program->transfer_count > UINT32_MAX;
  if (program->failed) return;
  *fresh = *transfer;
  program->ops[program->count - 1].u.exchange.count++;
}

uint32_t mxg_program_record(mxg_gpu_program *program, unsigned stream) {
  mxg_gpu_op *op = push(program, MXG_OP_RECORD, stream);
  if (!op) return 0;
  op->index = program->event_count++;
  return op->index;
}

void mxg_program_follow(mxg_gpu_program *program, unsigned stream, uint32_t event) {
  mxg_gpu_op *op = push(program, MXG_OP_FOLLOW, stream);
  if (op) op->index = event;
}

void mxg_program_order(mxg_gpu_program *program, unsigned before, unsigned stream) {
  if (before != stream) mxg_program_follow(program, stream, mxg_program_record(program, before));
}

void mxg_program_pass(mxg_gpu_program *program, unsigned stream, uint32_t turn) {
  mxg_gpu_op *op = push(program, MXG_OP_PASS, stream);
  if (op) op->index = turn;
}

void mxg_program_take(mxg_gpu_program *program, unsigned stream, uint32_t turn) {
  mxg_gpu_op *op = push(program, MXG_OP_TAKE, stream);
  if (op) op->index = turn;
}

void mxg_program_mark(mxg_gpu_program *program, unsigned stream, uint32_t step) {
  if (program->failed) return;
  uint32_t *fresh =
      mxg_vector_push((void **)&program->steps, &program->step_count, &program->step_capacity, sizeof *fresh);
  program->failed = !fresh;
  if (!fresh) return;
  *fresh = step;
  mxg_gpu_op *op = push(program, MXG_OP_MARK, stream);
  if (op) op->index = (uint32_t)(program->step_count - 1);
}

/* ---- running ---- */

static mxg_status give_transfer(mxg_nccl *nccl, const mxg_transfer *t, mxg_cu_stream *stream, mxg_error *err) {
  switch ((mxg_transfer_kind)t->kind) {
  case MXG_SEND: return mxg_nccl_send(nccl, t->memory, t->bytes, t->peer, stream, err);
  case MXG_RECEIVE: return mxg_nccl_receive(nccl, t->memory, t->bytes, t->peer, stream, err);
  }
  return MXG_OK;
}

/* A group that was begun is ended, whatever happened in it. */
static mxg_status give_exchange(const mxg_gpu_program *program, const mxg_gpu_op *op, mxg_error *err) {
  MXG_TRY(mxg_nccl_begin(program->nccl, err));
  mxg_status status = MXG_OK;
  for (uint32_t i = 0; i < op->u.exchange.count && status == MXG_OK; i++)
    status =
        give_transfer(program->nccl, &program->transfers[op->u.exchange.first + i], program->streams[op->stream], err);
  mxg_status ended = mxg_nccl_end(program->nccl, program->deadline, status == MXG_OK ? err : NULL);
  return status == MXG_OK ? ended : status;
}

static mxg_status give_op(const mxg_gpu_program *program, const mxg_gpu_op *op, const mxg_plan *plan,
                          mxg_cu_function *const *functions, mxg_error *err) {
  mxg_cu_stream *stream = program->streams[op->stream];
  switch ((mxg_gpu_op_kind)op->kind) {
  case MXG_OP_COPY: {
    const mxg_copy *c = &op->u.copy;
    if (c->height == 1) return mxg_gpu_copy(c->dst, c->src, c->width, stream, err);
    return mxg_gpu_copy_rows(c->dst, c->dst_pitch, c->src, c->src_pitch, c->width, c->height, stream, err);
  }
  case MXG_OP_FILL:
    if (op->u.fill.height == 1) return mxg_gpu_fill(op->u.fill.dst, op->u.fill.byte, op->u.fill.bytes, stream, err);
    return mxg_gpu_fill_rows(op->u.fill.dst, op->u.fill.pitch, op->u.fill.byte, op->u.fill.bytes, op->u.fill.height,
                             stream, err);
  case MXG_OP_MARK: return mxg_gpu_fill(program->done + op->index, 1, 1, stream, err);
  case MXG_OP_LAUNCH: {
    const uint32_t first = op->u.launch.first;
    const mxg_gpu_work work = {.entries = program->table + first * sizeof(mx_entry),
                               .tiles = op->u.launch.tiles,
                               .count = op->u.launch.count,
                               .first = &program->entries[first]};
    return mxg_gpu_launch_spread(functions[op->index], plan->kernels[op->index].threads, op->u.launch.shared_bytes,
                                 &work, stream, err);
  }
  case MXG_OP_RECORD: return mxg_event_record(program->events[op->index], stream, err);
  case MXG_OP_FOLLOW: return mxg_event_follow(stream, program->events[op->index], err);
  case MXG_OP_EXCHANGE: return give_exchange(program, op, err);
  case MXG_OP_PASS: return mxg_event_record(program->batons[op->index], stream, err);
  case MXG_OP_TAKE: return mxg_event_follow(stream, program->batons[op->index], err);
  }
  return MXG_OK;
}

/* Of traces. */
static bool takes_time(const mxg_gpu_op *op) {
  return op->kind == MXG_OP_COPY || op->kind == MXG_OP_FILL || op->kind == MXG_OP_LAUNCH ||
         op->kind == MXG_OP_EXCHANGE || op->kind == MXG_OP_TAKE;
}

mxg_status mxg_program_give_begin(const mxg_gpu_program *program, mxg_cu_event *const *times, mxg_error *err) {
  if (times) return mxg_event_record(times[0], program->streams[0], err);
  return mxg_gpu_fill(program->done, 0, program->step_count, program->streams[0], err);
}

mxg_status mxg_program_give_op(const mxg_gpu_program *program, size_t i, const mxg_plan *plan,
                               mxg_cu_function *const *functions, mxg_cu_event *const *times, mxg_error *err) {
  const mxg_gpu_op *op = &program->ops[i];
  mxg_cu_stream *stream = program->streams[op->stream];
  if (!times || !takes_time(op)) return give_op(program, op, plan, functions, err);
  MXG_TRY(mxg_event_record(times[1 + 2 * i], stream, err));
  MXG_TRY(give_op(program, op, plan, functions, err));
  return mxg_event_record(times[2 + 2 * i], stream, err);
}

mxg_status mxg_program_give(const mxg_gpu_program *program, const mxg_plan *plan, mxg_cu_function *const *functions,
                            mxg_error *err) {
  MXG_TRY(mxg_program_give_begin(program, NULL, err));
  for (size_t i = 0; i < program->count; i++) MXG_TRY(mxg_program_give_op(program, i, plan, functions, NULL, err));
  return MXG_OK;
}

static mxg_status make_marks(mxg_gpu_program *program, mxg_gpu_streams *streams, mxg_error *err) {
  void *seen = NULL;
  if (program->step_count == 0) return MXG_OK;
  MXG_TRY(mxg_gpu_alloc(&program->done, program->step_count, err));
  MXG_TRY(mxg_gpu_alloc_pinned(&seen, program->step_count, err));
  program->seen = seen;
  memset(seen, 0, program->step_count);
  if (!streams->looker) MXG_TRY(mxg_stream_create(&streams->looker, err));
  program->looker = streams->looker;
  return MXG_OK;
}

/* Bytes that launches beside copies read and write, for each that copies bring. */
static double touched_a_byte(const mxg_gpu_program *program, const mxg_plan *plan) {
  double touched = 0, brought = 0;
  for (size_t i = 0; i < program->count; i++) {
    const mxg_gpu_op *op = &program->ops[i];
    if (op->kind == MXG_OP_COPY) brought += (double)op->u.copy.width * (double)op->u.copy.height;
    if (op->kind != MXG_OP_LAUNCH || !op->u.launch.beside) continue;
    const mxg_kernel *kernel = &plan->kernels[op->index];
    const unsigned each = mxg_elem_bytes(kernel->src.elem) + mxg_elem_bytes(kernel->dst.elem);
    for (uint32_t k = 0; k < op->u.launch.count; k++) {
      const mx_entry *e = &program->entries[op->u.launch.first + k];
      touched += (double)e->rows * e->cols * each;
    }
  }
  return brought > 0 ? touched / brought : 0;
}

/* Threads of a multiprocessor beside copies. A kernel that fills the memory's queues takes the copy engines' rate from
** them, and one that does not keep up makes them wait: so as many as the work wants. Two H100s, of the link's time with
** blocks of 256 threads, 1 to 6 at a time:
**
**                                  bytes touched for each brought
**   32 layers of Llama 3 8B                                   5.8         1.35  1.18  1.11  1.14  1.18
**   Qwen3 30B A3B, ep2                                        5.7               1.18  1.09  1.11  1.15
**   Llama 3 8B whole                                          4.6               1.05  1.09  1.14  1.17
**   the layers kept in MXFP8, moved                           3.9   1.19  1.01  1.04  1.07
**
** Kernels that move bytes have more of them under way a thread. Copies from another process's memory bear less beside
** them: the layers took 11.3 ms with 3 blocks (of commit 5d7f0a7) and 12.5 with 4. */
static unsigned threads_beside_copies(const mxg_kernel *kernel, double touched, bool apart) {
  if (touched < (kernel->family == MXG_MOVE ? 4.5 : 3.6)) return 512;
  return touched < 5.2 || apart ? 768 : 1024;
}

static mxg_status spread_launches(mxg_gpu_program *program, const mxg_plan *plan, mxg_cu_function *const *functions,
                                  mxg_error *err) {
  const double touched = touched_a_byte(program, plan);
  for (size_t i = 0; i < program->count; i++) {
    mxg_gpu_op *op = &program->ops[i];
    if (op->kind != MXG_OP_LAUNCH || !op->u.launch.beside) continue;
    const mxg_kernel *kernel = &plan->kernels[op->index];
    const unsigned blocks = threads_beside_copies(kernel, touched, program->apart) / kernel->threads;
    MXG_TRY(mxg_function_spread(&op->u.launch.shared_bytes, functions[op->index], blocks ? blocks : 1, err));
  }
  return MXG_OK;
}

static mxg_status capture(mxg_gpu_program *program, const mxg_plan *plan, mxg_cu_function *const *functions,
                          mxg_error *err) {
  MXG_TRY(mxg_graph_begin(program->streams[0], err));
  mxg_status status = mxg_program_give(program, plan, functions, err);
  mxg_error ended = {0};
  mxg_status end = mxg_graph_end(&program->graph, program->streams[0], status == MXG_OK ? err : &ended);
  return status == MXG_OK ? end : status;
}

/* One thread captures at a time: under Nsight Compute 2025.3 two of them end in memory that is freed twice, in the
** profiler's own code. But what connects ranks needs all of them in it. */
static mxg_status make_graph(mxg_gpu_program *program, const mxg_plan *plan, mxg_cu_function *const *functions,
                             mxg_error *err) {
  static pthread_mutex_t one_captures = PTHREAD_MUTEX_INITIALIZER;
  if (program->transfer_count) return capture(program, plan, functions, err);
  pthread_mutex_lock(&one_captures);
  mxg_status status = capture(program, plan, functions, err);
  pthread_mutex_unlock(&one_captures);
  return status;
}

void mxg_gpu_streams_free(mxg_gpu_streams *streams) {
  for (unsigned i = 0; i < MXG_STREAMS_MOST; i++) mxg_stream_free(streams->at[i]);
  mxg_stream_free(streams->looker);
  *streams = (mxg_gpu_streams){0};
}

void mxg_program_drop_graph(mxg_gpu_program *program) {
  mxg_graph_free(program->graph);
  program->graph = NULL;
}

mxg_status mxg_program_ready(mxg_gpu_program *program, mxg_gpu_streams *streams, const mxg_plan *plan,
                             mxg_cu_function *const *functions, bool graph, mxg_error *err) {
  if (program->failed) return mxg_fail_nomem(err);
  if (program->stream_count == 0) program->stream_count = 1;
  program->events = mxg_alloc(program->event_count * sizeof(mxg_cu_event *));
  if (!program->events) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < program->stream_count; i++) {
    if (!streams->at[i]) MXG_TRY(mxg_stream_create(&streams->at[i], err));
    program->streams[i] = streams->at[i];
  }
  MXG_TRY(mxg_event_create(&program->end, false, err));
  for (uint32_t i = 0; i < program->event_count; i++) MXG_TRY(mxg_event_create(&program->events[i], false, err));
  MXG_TRY(make_marks(program, streams, err));
  MXG_TRY(spread_launches(program, plan, functions, err));
  program->table_bytes = program->entry_count * sizeof(mx_entry);
  if (program->table_bytes) {
    MXG_TRY(mxg_gpu_alloc(&program->table, program->table_bytes, err));
    MXG_TRY(mxg_gpu_copy(program->table, (uint64_t)(uintptr_t)program->entries, program->table_bytes,
                         program->streams[0], err));
    MXG_TRY(mxg_stream_wait(program->streams[0], err));
  }
  if (graph && program->count) return make_graph(program, plan, functions, err);
  if (program->transfer_count == 0) return MXG_OK;
  /* Ranks connect when an exchange is given for the first time, and all must be at it: here, where they are, and not
  ** at a start, which one thread may make for all of them. */
  MXG_TRY(make_graph(program, plan, functions, err));
  mxg_program_drop_graph(program);
  return MXG_OK;
}

mxg_status mxg_program_start(mxg_gpu_program *program, const mxg_plan *plan, mxg_cu_function *const *functions,
                             mxg_error *err) {
  if (program->graph)
    MXG_TRY(mxg_graph_launch(program->graph, program->streams[0], err));
  else
    MXG_TRY(mxg_program_give(program, plan, functions, err));
  return mxg_event_record(program->end, program->streams[0], err);
}

/* ---- traces ---- */

size_t mxg_program_time_count(const mxg_gpu_program *program) { return 1 + 2 * program->count; }

mxg_status mxg_program_start_timed(mxg_gpu_program *program, const mxg_plan *plan, mxg_cu_function *const *functions,
                                   mxg_cu_event *const *times, mxg_error *err) {
  MXG_TRY(mxg_program_give_begin(program, times, err));
  for (size_t i = 0; i < program->count; i++) MXG_TRY(mxg_program_give_op(program, i, plan, functions, times, err));
  return mxg_event_record(program->end, program->streams[0], err);
}

static void print_exchange(mxg_text *out, const mxg_gpu_program *program, const mxg_gpu_op *op) {
  uint64_t sent = 0, received = 0;
  for (uint32_t i = op->u.exchange.first; i < op->u.exchange.first + op->u.exchange.count; i++) {
    const mxg_transfer *t = &program->transfers[i];
    *(t->kind == MXG_RECEIVE ? &received : &sent) += t->bytes;
  }
  mxg_text_format(out, "\"name\": \"exchange\", \"args\": {\"transfers\": %u, \"sent\": %llu, \"received\": %llu}",
                  op->u.exchange.count, (unsigned long long)sent, (unsigned long long)received);
}

static void print_op(mxg_text *out, const mxg_gpu_program *program, const mxg_gpu_op *op, const mxg_plan *plan) {
  if (op->kind == MXG_OP_COPY) {
    const mxg_copy *c = &op->u.copy;
    mxg_text_format(out, "\"name\": \"copy\", \"args\": {\"bytes\": %llu, \"rows\": %llu}",
                    (unsigned long long)(c->width * c->height), (unsigned long long)c->height);
  } else if (op->kind == MXG_OP_EXCHANGE) {
    print_exchange(out, program, op);
  } else if (op->kind == MXG_OP_TAKE) {
    mxg_text_format(out, "\"name\": \"wait for a turn\", \"args\": {\"turn\": %u}", op->index);
  } else if (op->kind == MXG_OP_FILL) {
    mxg_text_format(out, "\"name\": \"fill\", \"args\": {\"bytes\": %llu}",
                    (unsigned long long)(op->u.fill.bytes * op->u.fill.height));
  } else {
    mxg_text_puts(out, "\"name\": ");
    mxg_text_json(out, plan->kernels[op->index].name);
    mxg_text_format(out, ", \"args\": {\"tiles\": %llu, \"entries\": %u}", (unsigned long long)op->u.launch.tiles,
                    op->u.launch.count);
  }
}

/* In microseconds; not by printf, whose decimal point is the program's locale's. */
static void print_time(mxg_text *out, const char *key, float milliseconds) {
  double hundredths = (double)milliseconds * 1e5 + 0.5;
  unsigned long long n = hundredths > 0 ? (unsigned long long)hundredths : 0;
  mxg_text_format(out, "\"%s\": %llu.%02llu, ", key, n / 100, n % 100);
}

mxg_status mxg_program_trace(const mxg_gpu_program *program, const mxg_plan *plan, mxg_cu_event *const *times,
                             uint32_t rank, mxg_text *out, mxg_error *err) {
  for (size_t i = 0; i < program->count; i++) {
    const mxg_gpu_op *op = &program->ops[i];
    float begin = 0, took = 0;
    if (!takes_time(op)) continue;
    MXG_TRY(mxg_event_between(&begin, times[0], times[1 + 2 * i], err));
    MXG_TRY(mxg_event_between(&took, times[1 + 2 * i], times[2 + 2 * i], err));
    mxg_text_format(out, "%s\n{\"ph\": \"X\", \"pid\": %u, \"tid\": %u, ", out->count > 1 ? "," : "", rank, op->stream);
    print_time(out, "ts", begin);
    print_time(out, "dur", took);
    print_op(out, program, op, plan);
    mxg_text_puts(out, "}");
  }
  return out->failed ? mxg_fail_nomem(err) : MXG_OK;
}

bool mxg_program_look(mxg_gpu_program *program) {
  const int most_looks = 100; /* of a millisecond each */
  if (program->step_count == 0 || !program->looker) return true;
  if (mxg_gpu_copy((uint64_t)(uintptr_t)program->seen, program->done, program->step_count, program->looker, NULL))
    return false;
  for (int i = 0; i < most_looks; i++) {
    bool done = false;
    const struct timespec pause = {0, 1000000};
    if (mxg_stream_done(&done, program->looker, NULL) != MXG_OK) return false;
    if (done) return true;
    nanosleep(&pause, NULL);
  }
  return false;
}

uint32_t mxg_program_stands_at(const mxg_gpu_program *program) {
  for (size_t i = 0; program->seen && i < program->step_count; i++)
    if (!program->seen[i]) return program->steps[i];
  return MXG_NONE;
}

void mxg_program_free(mxg_gpu_program *program, bool lost) {
  mxg_free(program->ops);
  mxg_free(program->entries);
  mxg_free(program->transfers);
  mxg_free(program->steps);
  mxg_free(program->reads);
  mxg_free(program->seen_at);
  if (!lost) {
    mxg_event_free(program->end);
    mxg_graph_free(program->graph);
    for (uint32_t i = 0; program->events && i < program->event_count; i++) mxg_event_free(program->events[i]);
    mxg_gpu_free(program->table);
    mxg_gpu_free(program->done);
    mxg_gpu_free_pinned(program->seen);
  }
  mxg_free(program->events);
  *program = (mxg_gpu_program){0};
}
