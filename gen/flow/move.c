/* move.c -- see move.h. */
#include "move.h"

#include "checksum.h"
#include "clock.h"
#include "driver.h"
#include "error.h"
#include "memory.h"
#include "move_gpu.h"
#include "replicas.h"

#include <stdio.h>
#include <string.h>

enum { path_room = 4096 };

/* Where an array of the plan lies while its schedule runs. */
typedef struct place {
  void *data, *scale;
  uint32_t writer; /* of a target: index into writers */
  uint32_t data_index, scale_index;
} place;

typedef struct job {
  mxg_move *move;
  const mxg_plan *plan;
  place *places; /* one an array */
  bool *needed;  /* one an array: a source that this process binds */
  bool *wanted;  /* one a rank: its target file is written by this process */
  bool *listed;  /* one a rank: its target file is written by any process */
  bool *runs;    /* one a rank: its schedule runs in this process */
  mxg_exec *exec;
  mxg_move_gpu *gpu; /* NULL: the transport is host */
  mxg_processes processes;
  mxg_st_writer **writers; /* one a rank */
  mxg_arena arena;
  mxg_error *err;
} job;

static const char *string_at(const mxg_plan *plan, uint32_t offset) { return plan->strings + offset; }

/* ---- what takes part ---- */

static mxg_status choose_ranks(job *j) {
  const mxg_plan *plan = j->plan;
  j->places = mxg_arena_alloc(&j->arena, plan->array_count, sizeof *j->places);
  j->needed = mxg_arena_alloc(&j->arena, plan->array_count, sizeof *j->needed);
  j->wanted = mxg_arena_alloc(&j->arena, plan->rank_count, sizeof *j->wanted);
  j->listed = mxg_arena_alloc(&j->arena, plan->rank_count, sizeof *j->listed);
  j->runs = mxg_arena_alloc(&j->arena, plan->rank_count, sizeof *j->runs);
  j->writers = mxg_arena_alloc(&j->arena, plan->rank_count, sizeof *j->writers);
  if (!j->places || !j->needed || !j->wanted || !j->listed || !j->runs || !j->writers) return mxg_fail_nomem(j->err);
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    j->runs[r] = mxg_processes_has(&j->processes, r);
    j->listed[r] = plan->ranks[r].targets && (!j->move->wanted || j->move->wanted[r]);
    j->wanted[r] = j->listed[r] && j->runs[r];
  }
  return MXG_OK;
}

/* GPUs hold what their own ranks have, and every rank takes part. On the host this process reads all that its files
** need from the checkpoint, whoever's it is. */
static void choose_sources(job *j, bool on_gpus) {
  const mxg_plan *plan = j->plan;
  for (uint32_t r = 0; r < plan->rank_count && !on_gpus; r++) j->runs[r] = j->wanted[r];
  for (uint32_t i = 0; i < plan->piece_count; i++) {
    const mxg_array *src = &plan->arrays[plan->pieces[i].src], *dst = &plan->arrays[plan->pieces[i].dst];
    if (src->side == MXG_SOURCE && j->runs[on_gpus ? src->rank : dst->rank]) j->needed[plan->pieces[i].src] = true;
  }
}

/* ---- the executor ---- */

static mxg_status create(job *j, mxg_transport transport, mxg_job *with) {
  const mxg_plan *plan = j->plan;
  mxg_exec_options options = MXG_EXEC_INIT;
  uint32_t count = 0, *ranks = mxg_arena_alloc(&j->arena, plan->rank_count, sizeof *ranks);
  int gpus = 0, *ordinals = mxg_arena_alloc(&j->arena, plan->rank_count, sizeof *ordinals);
  if (!ranks || !ordinals) return mxg_fail_nomem(j->err);
  if (transport != MXG_HOST) (void)mxg_gpu_count(&gpus, NULL); /* the executor says what is wrong */
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    if (!j->runs[r]) continue;
    ordinals[count] = mxg_processes_gpu(&j->processes, r, gpus);
    ranks[count++] = r;
  }
  options.transport = transport;
  options.ranks = ranks;
  options.rank_count = count;
  options.gpus = ordinals;
  options.threads = j->move->threads;
  options.progress = j->move->progress;
  options.user = j->move->user;
  options.timeout_ms = j->move->timeout_ms;
  options.record = j->move->record;
  options.job = with;
  return mxg_exec_create(&j->exec, j->move->bundle, &options, j->err);
}

/* Takes GPUs where they were asked for and are there. */
static mxg_status choose(job *j) {
  MXG_TRY(choose_ranks(j));
  j->move->taken = MXG_HOST;
  j->move->why[0] = 0;
  if (j->move->transport != MXG_HOST) {
    const char *why;
    MXG_TRY(create(j, j->move->transport, j->processes.job));
    j->move->taken = mxg_exec_transport(j->exec, &why);
    snprintf(j->move->why, sizeof j->move->why, "%s", why);
    if (j->move->taken == MXG_HOST) {
      mxg_exec_free(j->exec);
      j->exec = NULL;
    }
  }
  choose_sources(j, j->exec != NULL);
  return MXG_OK;
}

/* The processes go on together after what each did by itself. */
static mxg_status together(job *j, const char *what, mxg_status status) {
  mxg_error own = {0};
  if (status != MXG_OK) own = *j->err;
  return mxg_processes_agree(&j->processes, what, &own, j->move->timeout_ms, j->err);
}

/* ---- source ---- */

/* The address of a tensor's bytes: in the mapped file, or in a copy where the file has it at an odd address. */
static mxg_status map_tensor(void **out, job *j, const mxg_found *found, uint64_t want, unsigned align) {
  const mxg_st_tensor *tensor = found->tensor;
  mxg_st_file *file = mxg_checkpoint_file(j->move->source, found->file);
  if (tensor->bytes != want) {
    mxg_st_shown shown = mxg_st_show(tensor->name);
    mxg_fail(j->err, MXG_ERR_INPUT, 810, "'%s' has %llu bytes, the plan says %llu", shown.text,
             (unsigned long long)tensor->bytes, (unsigned long long)want);
    mxg_error_place(j->err, mxg_st_path(file), 0, 0, 0);
    return MXG_ERR_INPUT;
  }
  const unsigned char *base = NULL;
  MXG_TRY(mxg_st_map(file, &base, j->err));
  if (tensor->offset % align == 0) {
    memcpy(out, &(const void *){base + tensor->offset}, sizeof *out); /* bind takes no const; sources are only read */
    return MXG_OK;
  }
  *out = mxg_arena_alloc(&j->arena, (size_t)(want ? want : 1), 1);
  if (!*out) return mxg_fail_nomem(j->err);
  if (want) memcpy(*out, base + tensor->offset, (size_t)want);
  return MXG_OK;
}

static mxg_status find_tensor(mxg_found *found, job *j, uint32_t rank, const char *name) {
  if (mxg_checkpoint_find(j->move->source, rank, name, found)) return MXG_OK;
  mxg_st_shown shown = mxg_st_show(name);
  mxg_fail(j->err, MXG_ERR_INPUT, 811, "the tensor '%s' of rank %u is missing", shown.text, rank);
  mxg_error_place(j->err, mxg_checkpoint_path(j->move->source), 0, 0, 0);
  return MXG_ERR_INPUT;
}

static mxg_status map_sources(job *j) {
  const mxg_plan *plan = j->plan;
  for (uint32_t a = 0; a < plan->array_count; a++) {
    const mxg_array *array = &plan->arrays[a];
    if (!j->needed[a]) continue;
    mxg_found found;
    uint64_t bytes = mxg_array_data_bytes(plan, array), scales = mxg_array_scale_bytes(plan, array);
    MXG_TRY(find_tensor(&found, j, array->rank, string_at(plan, array->name)));
    MXG_TRY(map_tensor(&j->places[a].data, j, &found, bytes, mxg_elem_bytes(plan->encodings[array->encoding].elem)));
    j->move->bytes_read += bytes + scales;
    if (scales == 0) continue;
    MXG_TRY(find_tensor(&found, j, array->rank, string_at(plan, array->scale_name)));
    unsigned align = plan->encodings[array->encoding].scale == MX_SCALE_FP32 ? 4 : 1;
    MXG_TRY(map_tensor(&j->places[a].scale, j, &found, scales, align));
  }
  return MXG_OK;
}

/* ---- target ---- */

static unsigned data_dtype(const mxg_encoding *encoding) {
  switch ((enum mx_elem)encoding->elem) {
  case MX_E4M3: return MXG_ST_F8_E4M3;
  case MX_E5M2: return MXG_ST_F8_E5M2;
  case MX_BF16: return MXG_ST_BF16;
  case MX_FP16: return MXG_ST_F16;
  case MX_FP32: break;
  }
  return MXG_ST_F32;
}

static unsigned scale_dtype(const mxg_encoding *encoding, const mxg_array *array) {
  if (encoding->scale == MX_SCALE_FP32) return MXG_ST_F32;
  return array->e8m0_dtype ? MXG_ST_F8_E8M0 : MXG_ST_U8;
}

static mxg_status add_arrays(job *j, uint32_t rank, mxg_st_writer *writer) {
  const mxg_plan *plan = j->plan;
  const mxg_rank *row = &plan->ranks[rank];
  for (uint32_t a = row->first_target; a < row->first_target + row->targets; a++) {
    const mxg_array *array = &plan->arrays[a];
    const mxg_encoding *encoding = &plan->encodings[array->encoding];
    uint64_t dims[3];
    unsigned ndim = mxg_array_shape(array, dims);
    j->places[a].writer = rank;
    MXG_TRY(mxg_st_writer_add(writer, string_at(plan, array->name), data_dtype(encoding), ndim, dims,
                              &j->places[a].data_index, j->err));
    if (encoding->scale == MX_SCALE_NONE) continue;
    ndim = mxg_array_scale_dims(plan, array, dims);
    MXG_TRY(mxg_st_writer_add(writer, string_at(plan, array->scale_name), scale_dtype(encoding, array), ndim, dims,
                              &j->places[a].scale_index, j->err));
  }
  return MXG_OK;
}

static mxg_status open_targets(job *j) {
  const mxg_plan *plan = j->plan;
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    if (!j->wanted[r]) continue;
    char name[MXG_RANK_NAME], path[path_room];
    mxg_checkpoint_rank_name(name, r);
    if (snprintf(path, sizeof path, "%s/%s", j->move->folder, name) >= path_room)
      return mxg_fail(j->err, MXG_ERR_INPUT, 911, "the output folder's name is too long");
    MXG_TRY(mxg_st_writer_create(&j->writers[r], path, j->err));
    MXG_TRY(mxg_st_writer_metadata(j->writers[r], "format", "pt", j->err));
    MXG_TRY(add_arrays(j, r, j->writers[r]));
    MXG_TRY(mxg_st_writer_layout(j->writers[r], j->err));
    const mxg_rank *row = &plan->ranks[r];
    for (uint32_t a = row->first_target; a < row->first_target + row->targets; a++) {
      bool scaled = plan->encodings[plan->arrays[a].encoding].scale != MX_SCALE_NONE;
      j->places[a].data = mxg_st_writer_data(j->writers[r], j->places[a].data_index);
      if (scaled) j->places[a].scale = mxg_st_writer_data(j->writers[r], j->places[a].scale_index);
      j->move->bytes_written +=
          mxg_array_data_bytes(plan, &plan->arrays[a]) + mxg_array_scale_bytes(plan, &plan->arrays[a]);
      j->move->arrays++;
    }
    j->move->files++;
  }
  return MXG_OK;
}

static mxg_status take_checksums(job *j) {
  const mxg_plan *plan = j->plan;
  if (!j->move->with_checksums) return MXG_OK;
  j->move->checks = mxg_alloc((size_t)plan->array_count * sizeof *j->move->checks);
  if (!j->move->checks) return mxg_fail_nomem(j->err);
  for (uint32_t a = 0; a < plan->array_count; a++) {
    const mxg_array *array = &plan->arrays[a];
    if (array->side != MXG_TARGET || !j->wanted[array->rank]) continue;
    mxg_checks *checks = &j->move->checks[a];
    mxg_stored stored = mxg_stored_of(plan, array, j->places[a].data, j->places[a].scale);
    checks->data = mxg_checksum_bytes(stored.data, mxg_array_data_bytes(plan, array));
    if (stored.scale) checks->scale = mxg_checksum_bytes(stored.scale, mxg_array_scale_bytes(plan, array));
    MXG_TRY(mxg_checksum_values(&checks->values, &stored, j->move->threads, j->err));
  }
  return MXG_OK;
}

bool mxg_plan_indexed(const mxg_plan *plan, const bool *wanted) {
  for (uint32_t a = 0; a < plan->array_count; a++) {
    const mxg_array *array = &plan->arrays[a];
    if (array->side == MXG_TARGET && (!wanted || wanted[array->rank]) && !array->whole) return false;
  }
  return true;
}

/* Of replicas the first is listed. */
static mxg_status save_index(job *j) {
  const mxg_plan *plan = j->plan;
  if (!mxg_plan_indexed(plan, j->listed)) return MXG_OK;
  size_t arrays = 0;
  for (uint32_t a = 0; a < plan->array_count; a++)
    arrays += plan->arrays[a].side == MXG_TARGET && j->listed[plan->arrays[a].rank];
  j->move->indexed = true;
  if (j->processes.rank != 0) return MXG_OK;
  uint32_t count = 0;
  bool *first = mxg_arena_alloc(&j->arena, plan->array_count, sizeof *first);
  mxg_index_entry *entries = mxg_arena_alloc(&j->arena, arrays * 2, sizeof *entries);
  char *files = mxg_arena_alloc(&j->arena, plan->rank_count, MXG_RANK_NAME);
  if (!first || !entries || !files) return mxg_fail_nomem(j->err);
  MXG_TRY(mxg_plan_first_arrays(first, plan, j->listed, j->err));
  for (uint32_t a = 0; a < plan->array_count; a++) {
    const mxg_array *array = &plan->arrays[a];
    if (!first[a]) continue;
    char *file = files + (size_t)array->rank * MXG_RANK_NAME;
    mxg_checkpoint_rank_name(file, array->rank);
    entries[count++] = (mxg_index_entry){string_at(plan, array->name), file, mxg_array_data_bytes(plan, array)};
    uint64_t scales = mxg_array_scale_bytes(plan, array);
    if (scales) entries[count++] = (mxg_index_entry){string_at(plan, array->scale_name), file, scales};
  }
  return mxg_checkpoint_index_save(j->move->folder, entries, count, j->err);
}

/* ---- all of it ---- */

/* Arrays that this process has, and where they lie for the executor: in its own memory or a GPU's. */
static bool has_array(const job *j, uint32_t a) {
  const mxg_array *array = &j->plan->arrays[a];
  return array->side == MXG_TARGET ? j->runs[array->rank] : j->needed[a];
}

static mxg_status bind_all(job *j, const mxg_place *places) {
  const mxg_plan *plan = j->plan;
  for (uint32_t a = 0; a < plan->array_count; a++) {
    const mxg_array *array = &plan->arrays[a];
    if (array->side == MXG_SCRATCH || !has_array(j, a)) continue;
    MXG_TRY(mxg_exec_bind(j->exec, array->rank, (mxg_side)array->side, string_at(plan, array->name),
                          (void *)(uintptr_t)places[a].data, mxg_array_data_bytes(plan, array),
                          (void *)(uintptr_t)places[a].scale, mxg_array_scale_bytes(plan, array), j->err));
  }
  return MXG_OK;
}

/* Brings the sources to where the schedule runs, and binds all. */
static mxg_status load(job *j, mxg_place **hosts) {
  const mxg_plan *plan = j->plan;
  *hosts = mxg_arena_alloc(&j->arena, plan->array_count, sizeof **hosts);
  bool *used = mxg_arena_alloc(&j->arena, plan->array_count, sizeof *used);
  if (!*hosts || !used) return mxg_fail_nomem(j->err);
  for (uint32_t a = 0; a < plan->array_count; a++) {
    (*hosts)[a] = (mxg_place){(uint64_t)(uintptr_t)j->places[a].data, (uint64_t)(uintptr_t)j->places[a].scale};
    used[a] = plan->arrays[a].side != MXG_SCRATCH && has_array(j, a);
  }
  if (!j->exec) {
    bool none = true;
    for (uint32_t r = 0; r < plan->rank_count; r++) none = none && !j->runs[r];
    if (none) return MXG_OK; /* no target file is this process's */
    MXG_TRY(create(j, MXG_HOST, NULL));
    return bind_all(j, *hosts);
  }
  MXG_TRY(mxg_move_gpu_load(&j->gpu, plan, &j->processes, used, *hosts, j->move->taken != MXG_DIRECT, j->err));
  return bind_all(j, mxg_move_gpu_places(j->gpu));
}

static mxg_status run_schedule(job *j) {
  mxg_place *hosts = NULL;
  MXG_TRY(together(j, "the loading of sources", load(j, &hosts)));
  double began = mxg_now();
  if (j->exec) MXG_TRY(mxg_exec_run(j->exec, j->err));
  j->move->seconds = mxg_now() - began;
  if (j->exec && j->move->trace) MXG_TRY(mxg_exec_trace(j->exec, j->move->trace, j->err));
  return j->gpu ? mxg_move_gpu_store(j->gpu, hosts, j->err) : MXG_OK;
}

/* Of all processes, on each of them. */
static mxg_status add_others(job *j) {
  const mxg_processes *p = &j->processes;
  mxg_move *m = j->move;
  const mxg_plan *plan = j->plan;
  double deadline = mxg_processes_deadline(m->timeout_ms);
  uint64_t own[4] = {m->arrays, m->files, m->bytes_read, m->bytes_written}, *sums;
  double *times;
  if (!p->job) return MXG_OK;
  sums = mxg_arena_alloc(&j->arena, p->world, sizeof own);
  times = mxg_arena_alloc(&j->arena, p->world, sizeof *times);
  mxg_checks *checks =
      m->checks ? mxg_arena_alloc(&j->arena, (size_t)plan->array_count * p->world, sizeof *checks) : NULL;
  bool good = sums && times && (checks || !m->checks);
  MXG_TRY(together(j, "the results", good ? MXG_OK : mxg_fail_nomem(j->err)));
  MXG_TRY(mxg_job_gather(p->job, "the results", own, sizeof own, sums, deadline, j->err));
  MXG_TRY(mxg_job_gather(p->job, "the times", &m->seconds, sizeof m->seconds, times, deadline, j->err));
  if (checks)
    MXG_TRY(mxg_job_gather(p->job, "the checksums", m->checks, plan->array_count * sizeof *m->checks, checks, deadline,
                           j->err));
  m->arrays = m->files = m->bytes_read = m->bytes_written = 0;
  for (uint32_t i = 0; i < p->world; i++) {
    m->arrays += sums[i * 4];
    m->files += sums[i * 4 + 1];
    m->bytes_read += sums[i * 4 + 2];
    m->bytes_written += sums[i * 4 + 3];
    if (m->seconds < times[i]) m->seconds = times[i];
  }
  for (uint32_t a = 0; checks && a < plan->array_count; a++)
    m->checks[a] = checks[(size_t)(plan->arrays[a].rank % p->world) * plan->array_count + a];
  return MXG_OK;
}

static mxg_status prepare(job *j) {
  MXG_TRY(map_sources(j));
  return open_targets(j);
}

static mxg_status finish(job *j) {
  MXG_TRY(take_checksums(j));
  for (uint32_t r = 0; r < j->plan->rank_count; r++)
    if (j->writers[r]) MXG_TRY(mxg_st_writer_commit(j->writers[r], j->err));
  mxg_plan_wire(j->plan, j->listed, &j->move->wire_bytes, &j->move->wire_bytes_bf16);
  return save_index(j);
}

static mxg_status run_all(job *j) {
  MXG_TRY(choose(j));
  MXG_TRY(together(j, "the opening of files", prepare(j)));
  MXG_TRY(together(j, "the end of the schedule", run_schedule(j)));
  MXG_TRY(together(j, "the writing of files", finish(j)));
  return add_others(j);
}

mxg_status mxg_move_run(mxg_move *move, mxg_error *err) {
  mxg_error own;
  job j = {.move = move, .plan = mxg_bundle_plan(move->bundle), .err = err ? err : &own};
  if (move->processes) j.processes = *move->processes;
  move->checks = NULL;
  move->arrays = move->files = move->bytes_read = move->bytes_written = 0;
  move->indexed = false;
  mxg_status status = run_all(&j);
  mxg_exec_free(j.exec);
  if (status != MXG_ERR_TIMEOUT)
    mxg_move_gpu_free(j.gpu); /* otherwise a GPU may still have it, and freeing would wait */
  for (uint32_t r = 0; j.writers && r < j.plan->rank_count; r++) mxg_st_writer_free(j.writers[r]);
  mxg_arena_free(&j.arena);
  if (status != MXG_OK) mxg_move_end(move);
  return status;
}

void mxg_move_end(mxg_move *move) {
  mxg_free(move->checks);
  move->checks = NULL;
}

void mxg_plan_wire(const mxg_plan *plan, const bool *wanted, uint64_t *bytes, uint64_t *bytes_bf16) {
  *bytes = *bytes_bf16 = 0;
  for (uint32_t i = 0; i < plan->piece_count; i++) {
    const mxg_piece *piece = &plan->pieces[i];
    if (piece->wire_bytes == 0 || (wanted && !wanted[plan->arrays[piece->dst].rank])) continue;
    *bytes += piece->wire_bytes;
    *bytes_bf16 += piece->rows * piece->cols * 2;
  }
}
