/* transport_host.c -- the transport without a device, and what all others are checked against: ranks are threads of
** this process, kernels are convert_host.c.
**
** A rank reads its sources where they lie and waits for no other rank, so as many ranks run at a time as there are
** workers. A convert is cut into parts that fit a core's cache. With options.wires, what a part reads from another rank
** is first brought into its wire form (compact scales, rows without gaps) in memory of the worker. Either way gathers
** move nothing by themselves, and only scratch arrays lie in slots. The first error ends all ranks at their next step.
** Every write is marked. */
#include "bundle.h"
#include "error.h"
#include "memory.h"
#include "mx_scale.h"
#include "parallel.h"
#include "peek.h"
#include "plan_check.h"
#include "transport.h"
#include "write_mask.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

typedef struct wire_room wire_room;

typedef struct host {
  const mxg_exec_view *view;
  mxg_pool *pool;
  wire_room *rooms;  /* one a worker */
  mxg_place *places; /* the view's, and scratch's: an element is written by its own rank only */
  uint32_t group;    /* of this run; MXG_ALL_GROUPS: all */
  mxg_peek *peek;    /* sources in other processes; NULL without a job */
  atomic_bool stop;
  _Atomic uint32_t next_rank; /* index into the view's ranks */
  pthread_mutex_t lock;       /* of what follows */
  mxg_error first_error;
  uint64_t done_bytes, shown_bytes, all_bytes;
} host;

/* Memory of one worker for the wire form of what it converts. */
struct wire_room {
  unsigned char *bytes;
  size_t count;
};

/* A run of rows of one segment of a piece. */
typedef struct task {
  uint32_t piece, segment; /* index into the plan's segments */
  uint32_t first, rows;
} task;

/* The current convert of a rank, cut into parts of about equal bytes. */
typedef struct job {
  task *tasks;
  size_t count, capacity;
  size_t *cuts; /* part i is tasks [cuts[i], cuts[i + 1]) */
  size_t cut_count, cut_capacity;
  uint64_t *bytes; /* of each part, for progress */
  size_t byte_count, byte_capacity;
  uint64_t part_bytes;
  bool failed; /* out of memory */
} job;

typedef struct rank_run {
  host *host;
  const mxg_plan *plan;
  const mxg_rank *rank;
  unsigned char **slots; /* memory of each slot, as far as this rank has scratch there */
  mxg_write_mask *masks; /* of the rank's targets */
  mxg_mask_spare spare;
  job job;
  atomic_bool no_memory; /* of a part */
} rank_run;

/* ---- errors and progress ---- */

static void fail(host *h, const mxg_error *err) {
  pthread_mutex_lock(&h->lock);
  if (h->first_error.status == MXG_OK) h->first_error = *err;
  pthread_mutex_unlock(&h->lock);
  atomic_store(&h->stop, true);
}

static void advance(host *h, uint64_t bytes) {
  const mxg_exec_options *options = &h->view->options;
  if (!options->progress || bytes == 0) return;
  pthread_mutex_lock(&h->lock);
  h->done_bytes += bytes;
  if (h->done_bytes == h->all_bytes || h->done_bytes - h->shown_bytes >= h->all_bytes / 256) {
    h->shown_bytes = h->done_bytes;
    options->progress(options->user, h->done_bytes, h->all_bytes);
  }
  pthread_mutex_unlock(&h->lock);
}

/* Elements read and written: what progress counts and parts are cut by. */
static uint64_t piece_bytes(const mxg_plan *plan, const mxg_piece *p) {
  const mxg_array *src = &plan->arrays[p->src], *dst = &plan->arrays[p->dst];
  return p->rows * p->cols *
         (mxg_elem_bytes(plan->encodings[src->encoding].elem) + mxg_elem_bytes(plan->encodings[dst->encoding].elem));
}

/* ---- cutting a step into parts ---- */

static void begin_job(rank_run *r, uint64_t bytes) {
  job *j = &r->job;
  j->count = j->cut_count = j->byte_count = 0;
  j->failed = false;
  j->part_bytes = bytes / (4 * mxg_pool_threads(r->host->pool));
  const uint64_t least = 64 << 10, most = 1 << 20;
  if (j->part_bytes < least) j->part_bytes = least;
  if (j->part_bytes > most) j->part_bytes = most;
}

static void add_task(job *j, task t, uint64_t bytes) {
  if (j->failed) return;
  if (j->byte_count == 0 || j->bytes[j->byte_count - 1] + bytes > j->part_bytes) {
    size_t *cut = mxg_vector_push((void **)&j->cuts, &j->cut_count, &j->cut_capacity, sizeof *cut);
    uint64_t *part = mxg_vector_push((void **)&j->bytes, &j->byte_count, &j->byte_capacity, sizeof *part);
    if (cut) *cut = j->count;
    j->failed = !cut || !part;
  }
  task *added = j->failed ? NULL : mxg_vector_push((void **)&j->tasks, &j->count, &j->capacity, sizeof *added);
  j->failed = !added;
  if (j->failed) return;
  *added = t;
  j->bytes[j->byte_count - 1] += bytes;
}

/* The rows of a piece, a few at a time. Cuts fall on blocks of the target. */
static void add_piece(rank_run *r, uint32_t index) {
  const mxg_piece *p = &r->plan->pieces[index];
  const mxg_kernel *kernel = &r->plan->kernels[p->kernel];
  uint32_t block = kernel->dst.block_rows;
  if (block == 0 || block == MX_WHOLE || kernel->family == MXG_AMAX) block = 1;
  uint64_t row_bytes = piece_bytes(r->plan, p) / p->rows, few = r->job.part_bytes / row_bytes / block * block;
  for (uint32_t s = p->first_segment; s < p->first_segment + p->segments; s++) {
    uint32_t rows = r->plan->segments[s].rows, step = few < block ? block : few < rows ? (uint32_t)few : rows;
    for (uint32_t first = 0; first < rows;) {
      uint32_t count = rows - first < step ? rows - first : step;
      add_task(&r->job, (task){index, s, first, count}, count * row_bytes);
      first += count;
    }
  }
}

/* ---- gather: source memory to wire form ---- */

static uint64_t block_first(uint64_t x, uint32_t block) { return block == MX_WHOLE ? 0 : x / block; }

static uint64_t block_count(uint64_t x, uint64_t count, uint32_t block) {
  return block == MX_WHOLE ? 1 : (x + count - 1) / block - x / block + 1;
}

static void gather_data(unsigned char *to, const mxg_plan *plan, const mxg_piece *p, const mxg_segment *s,
                        const mxg_place *place) {
  const mxg_array *a = &plan->arrays[p->src];
  uint64_t elem = mxg_elem_bytes(plan->encodings[a->encoding].elem), row = p->src_matrix * a->rows + s->src_row;
  const unsigned char *from = (const unsigned char *)(uintptr_t)place->data + (row * a->cols + p->src_col) * elem;
  size_t bytes = (size_t)(p->cols * elem);
  if (p->cols == a->cols) {
    memcpy(to, from, s->rows * bytes);
    return;
  }
  for (uint32_t i = 0; i < s->rows; i++) memcpy(to + i * bytes, from + i * a->cols * elem, bytes);
}

/* Scales (i, j) to (i, j + count), which lie together where the layout is row-major. */
static void gather_scale_row(unsigned char *to, const unsigned char *matrix, const mxg_encoding *e,
                             const mxg_scale_shape *shape, uint64_t i, uint64_t j, uint64_t count) {
  if (e->layout != MX_SWIZZLED) {
    memcpy(to, matrix + (i * shape->stored_cols + j) * shape->bytes_each, (size_t)(count * shape->bytes_each));
    return;
  }
  int columnwise = mx_is_columnwise(e->block_rows, e->block_cols);
  for (uint64_t c = 0; c < count;) {
    const unsigned char *from =
        matrix + mx_scale_offset(MX_SWIZZLED, columnwise, shape->ld, (mx_u32)i, (mx_u32)(j + c));
    if (columnwise || (j + c) % 4 != 0 || count - c < 4) {
      to[c++] = *from;
      continue;
    }
    for (; count - c >= 4; c += 4, from += 512) memcpy(to + c, from, 4); /* four of a row lie together, tiles follow */
  }
}

static void gather_scales(unsigned char *to, const mxg_plan *plan, const mxg_piece *p, const mxg_segment *s,
                          const mxg_place *place) {
  const mxg_array *a = &plan->arrays[p->src];
  const mxg_encoding *e = &plan->encodings[a->encoding];
  mxg_scale_shape shape = mxg_scale_shape_of(e, a->rows, a->cols);
  uint64_t i = block_first(s->src_row, e->block_rows), rows = block_count(s->src_row, s->rows, e->block_rows);
  uint64_t j = block_first(p->src_col, e->block_cols), cols = block_count(p->src_col, p->cols, e->block_cols);
  const unsigned char *matrix = (const unsigned char *)(uintptr_t)place->scale +
                                p->src_matrix * shape.stored_rows * shape.stored_cols * shape.bytes_each;
  for (uint64_t n = 0; n < rows; n++)
    gather_scale_row(to + n * cols * shape.bytes_each, matrix, e, &shape, i + n, j, cols);
}

/* The wire form of a piece of one segment, in the worker's memory. NULL: no memory. */
static unsigned char *gather(wire_room *room, const mxg_plan *plan, const mxg_piece *p, const mxg_place *place) {
  mxg_wire form = mxg_wire_of(plan, p);
  if (room->count < form.bytes) {
    mxg_free(room->bytes);
    room->bytes = mxg_resize(NULL, (size_t)form.bytes);
    room->count = room->bytes ? (size_t)form.bytes : 0;
    if (!room->bytes) return NULL;
  }
  gather_data(room->bytes, plan, p, &plan->segments[p->first_segment], place);
  if (plan->encodings[plan->arrays[p->src].encoding].scale != MX_SCALE_NONE)
    gather_scales(room->bytes + form.scale_offset, plan, p, &plan->segments[p->first_segment], place);
  return room->bytes;
}

/* ---- convert: pieces to where they belong ---- */

static mxg_write_mask *mask_of(const rank_run *r, uint32_t array) {
  return r->plan->arrays[array].side == MXG_TARGET ? &r->masks[array - r->rank->first_target] : NULL;
}

/* A task is a small piece: the launch tables then see no difference. */
static bool convert_task(rank_run *r, const task *t, wire_room *room) {
  const mxg_segment *s = &r->plan->segments[t->segment];
  mxg_segment rows = {s->src_row + t->first, s->dst_row + t->first, t->rows};
  mxg_piece piece = r->plan->pieces[t->piece];
  piece.first_segment = 0;
  piece.segments = 1;
  piece.rows = t->rows;
  piece.wire_offset = 0;
  mxg_plan small = *r->plan;
  small.segments = &rows;
  small.pieces = &piece;
  unsigned char *wire = NULL;
  bool direct = piece.wire_bytes == 0 || !r->host->view->options.wires;
  if (!direct) {
    wire = gather(room, &small, &piece, &r->host->places[piece.src]);
    if (!wire) return false;
  }
  mx_entry entry;
  uint64_t tiles;
  mxg_write_mask *mask = mask_of(r, piece.dst);
  (void)mxg_launch_entries(&entry, &tiles, &small, 0, 1, r->host->places, (uint64_t)(uintptr_t)wire, direct);
  if (mask) mxg_mask_rectangle(mask, piece.dst_matrix, rows.dst_row, rows.rows, piece.dst_col, piece.cols);
  mxg_convert_rows(&r->plan->kernels[direct ? piece.kernel_direct : piece.kernel], &entry, 0, rows.rows);
  return true;
}

static void convert_part(void *user, uint64_t i, unsigned worker) {
  rank_run *r = user;
  for (size_t n = r->job.cuts[i]; n < r->job.cuts[i + 1]; n++)
    if (!convert_task(r, &r->job.tasks[n], &r->host->rooms[worker])) atomic_store(&r->no_memory, true);
  advance(r->host, r->job.bytes[i]);
}

static mxg_status run_job(rank_run *r, mxg_error *err) {
  job *j = &r->job;
  if (!j->failed && j->count) {
    size_t *end = mxg_vector_push((void **)&j->cuts, &j->cut_count, &j->cut_capacity, sizeof *end);
    if (end) *end = j->count;
    j->failed = !end;
  }
  if (!j->failed) mxg_pool_run(r->host->pool, convert_part, r, j->byte_count);
  return j->failed || atomic_load(&r->no_memory) ? mxg_fail_nomem(err) : MXG_OK;
}

/* A scratch array lies in the slot of its bucket, its cell behind it. */
static void place_scratch(rank_run *r, uint32_t array, const mxg_step *step) {
  const mxg_array *a = &r->plan->arrays[array];
  if (a->side != MXG_SCRATCH) return;
  uint64_t at = (uint64_t)(uintptr_t)r->slots[step->slot] + a->offset;
  r->host->places[array] = (mxg_place){at, at + mxg_scratch_cell(r->plan, a)};
}

/* Its memory is the source's: nothing is moved, and all of the piece counts as written. */
static void keep(rank_run *r, const mxg_piece *p) {
  for (uint32_t i = 0; i < p->segments; i++) {
    const mxg_segment *s = &r->plan->segments[p->first_segment + i];
    mxg_mask_rectangle(mask_of(r, p->dst), p->dst_matrix, s->dst_row, s->rows, p->dst_col, p->cols);
  }
  advance(r->host, piece_bytes(r->plan, p));
}

static mxg_status convert(rank_run *r, const mxg_step *step, mxg_error *err) {
  const uint32_t end = step->first + step->count;
  uint64_t bytes = 0;
  for (uint32_t i = step->first; i < end; i++) {
    const mxg_piece *p = &r->plan->pieces[i];
    place_scratch(r, p->src, step);
    place_scratch(r, p->dst, step);
    bytes += piece_bytes(r->plan, p);
    mxg_write_mask *mask = mask_of(r, p->dst);
    if (mask) MXG_TRY(mxg_mask_open(mask, &r->spare, err));
  }
  begin_job(r, bytes);
  for (uint32_t i = step->first; i < end; i++)
    if (r->host->view->kept[r->plan->pieces[i].dst])
      keep(r, &r->plan->pieces[i]);
    else
      add_piece(r, i);
  MXG_TRY(run_job(r, err));
  for (uint32_t i = step->first; i < end; i++) {
    mxg_write_mask *mask = mask_of(r, r->plan->pieces[i].dst);
    if (!mask) continue;
    MXG_TRY(mxg_mask_check(mask, false, err));
    mxg_mask_settle(mask, &r->spare);
  }
  return MXG_OK;
}

/* ---- fill ---- */

static void fill_scales(unsigned char *scales, const mxg_array *a, const mxg_encoding *e, const mxg_scale_shape *shape,
                        uint64_t limit) {
  int columnwise = mx_is_columnwise(e->block_rows, e->block_cols);
  uint64_t matrix_bytes = shape->stored_rows * shape->stored_cols * shape->bytes_each;
  for (uint64_t m = 0; m < a->matrices; m++, scales += matrix_bytes)
    for (uint64_t i = 0; i < shape->stored_rows; i++) {
      uint64_t j = i < limit ? shape->cols : 0;
      if (e->layout != MX_SWIZZLED) {
        memset(scales + (i * shape->stored_cols + j) * shape->bytes_each, 0,
               (size_t)((shape->stored_cols - j) * shape->bytes_each));
        continue;
      }
      for (; j < shape->stored_cols; j++)
        scales[mx_scale_offset(MX_SWIZZLED, columnwise, shape->ld, (mx_u32)i, (mx_u32)j)] = 0;
    }
}

static mxg_status fill(rank_run *r, const mxg_step *step, mxg_error *err) {
  for (uint32_t n = step->first; n < step->first + step->count; n++) {
    const mxg_fill *f = &r->plan->fills[n];
    const mxg_array *a = &r->plan->arrays[f->array];
    const mxg_encoding *e = &r->plan->encodings[a->encoding];
    mxg_write_mask *mask = mask_of(r, f->array);
    place_scratch(r, f->array, step);
    const mxg_place *place = &r->host->places[f->array];
    if (mask) MXG_TRY(mxg_mask_open(mask, &r->spare, err));
    if (f->kind == MXG_FILL_DATA) {
      uint64_t elem = mxg_elem_bytes(e->elem);
      memset((unsigned char *)(uintptr_t)place->data + f->offset, 0, (size_t)f->bytes);
      if (mask) mxg_mask_elems(mask, f->offset / elem, f->bytes / elem);
    } else if (f->kind == MXG_FILL_CELL) {
      memset((unsigned char *)(uintptr_t)place->scale, 0, (size_t)f->bytes);
    } else {
      mxg_scale_shape shape = mxg_scale_shape_of(e, a->rows, a->cols);
      fill_scales((unsigned char *)(uintptr_t)place->scale, a, e, &shape, f->offset);
      mxg_mask_scale_padding(mask, f->offset);
    }
    if (mask) mxg_mask_settle(mask, &r->spare);
  }
  return MXG_OK;
}

/* ---- one rank ---- */

static void need_scratch(const mxg_plan *plan, uint64_t *bytes, uint32_t array) {
  const mxg_array *a = &plan->arrays[array];
  uint64_t end = a->side == MXG_SCRATCH ? a->offset + mxg_scratch_bytes(plan, a) : 0;
  if (*bytes < end) *bytes = end;
}

static void measure_slot(const mxg_plan *plan, const mxg_step *step, uint64_t *bytes) {
  if (step->kind != MXG_STEP_FILL && step->kind != MXG_STEP_CONVERT) return; /* only these have a range to walk */
  for (uint32_t i = step->first; i < step->first + step->count; i++) {
    need_scratch(plan, bytes, step->kind == MXG_STEP_FILL ? plan->fills[i].array : plan->pieces[i].dst);
  }
}

static mxg_status open_rank(rank_run *r, mxg_error *err) {
  const mxg_plan *plan = r->plan;
  uint64_t *bytes = mxg_alloc((plan->slots + 1) * sizeof *bytes);
  r->slots = mxg_alloc((plan->slots + 1) * sizeof *r->slots);
  r->masks = mxg_alloc(r->rank->targets * sizeof *r->masks);
  bool good = bytes && r->slots && r->masks;
  for (uint32_t i = r->rank->first_step; good && i < r->rank->first_step + r->rank->steps; i++)
    measure_slot(plan, &plan->steps[i], &bytes[plan->steps[i].slot]);
  for (uint32_t i = 0; good && i < plan->slots; i++) {
    r->slots[i] = bytes[i] ? mxg_resize(NULL, (size_t)bytes[i]) : NULL; /* written before it is read: not zeroed */
    good = r->slots[i] || !bytes[i];
  }
  mxg_free(bytes);
  if (!good) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < r->rank->targets; i++) mxg_mask_begin(&r->masks[i], plan, r->rank->first_target + i);
  return MXG_OK;
}

static bool takes(const host *h, const mxg_step *step) { return h->group == MXG_ALL_GROUPS || h->group == step->group; }

/* Whether all of a target is written in this run; of one that other groups write too, this one sees a part. */
static bool is_completed(const host *h, uint32_t array) {
  mxg_group_range by = mxg_bundle_array_groups(h->view->bundle, array);
  return h->group == MXG_ALL_GROUPS || (by.first == h->group && by.last == h->group);
}

static void close_rank(rank_run *r) {
  for (uint32_t i = 0; r->slots && i < r->plan->slots; i++) mxg_free(r->slots[i]);
  for (uint32_t i = 0; r->masks && i < r->rank->targets; i++) mxg_mask_end(&r->masks[i]);
  mxg_free(r->slots);
  mxg_free(r->masks);
  mxg_free(r->spare.memory);
  mxg_free(r->job.tasks);
  mxg_free(r->job.cuts);
  mxg_free(r->job.bytes);
}

static mxg_status walk(rank_run *r, mxg_error *err) {
  MXG_TRY(open_rank(r, err));
  for (uint32_t i = r->rank->first_step; i < r->rank->first_step + r->rank->steps; i++) {
    const mxg_step *step = &r->plan->steps[i];
    if (atomic_load(&r->host->stop)) return MXG_OK;
    if (!takes(r->host, step)) continue;
    switch ((mxg_step_kind)step->kind) {
    case MXG_STEP_FILL: MXG_TRY(fill(r, step, err)); break;
    case MXG_STEP_CONVERT: MXG_TRY(convert(r, step, err)); break;
    case MXG_STEP_GATHER: /* by the converts */
    case MXG_STEP_WAIT:
    case MXG_STEP_RELEASE: break; /* a step returns when it is done */
    }
  }
  for (uint32_t i = 0; i < r->rank->targets; i++)
    if (is_completed(r->host, r->rank->first_target + i)) MXG_TRY(mxg_mask_check(&r->masks[i], true, err));
  return MXG_OK;
}

static void *run_ranks(void *argument) {
  host *h = argument;
  for (;;) {
    uint32_t index = atomic_fetch_add(&h->next_rank, 1);
    if (index >= h->view->rank_count || atomic_load(&h->stop)) return NULL;
    rank_run r = {.host = h, .plan = h->view->plan, .rank = &h->view->plan->ranks[h->view->ranks[index]]};
    mxg_error err = {0};
    if (walk(&r, &err) != MXG_OK) fail(h, &err);
    close_rank(&r);
  }
}

/* ---- the table ---- */

static void host_close(void *state) {
  host *h = state;
  if (!h) return;
  for (unsigned i = 0; h->rooms && i < mxg_pool_threads(h->pool); i++) mxg_free(h->rooms[i].bytes);
  mxg_pool_free(h->pool);
  mxg_peek_free(h->peek);
  mxg_free(h->rooms);
  pthread_mutex_destroy(&h->lock);
  mxg_free(h->places);
  mxg_free(h);
}

static mxg_status host_open(void **state, const mxg_exec_view *view, mxg_error *err) {
  *state = NULL;
  host *h = mxg_alloc(sizeof *h);
  if (!h) return mxg_fail_nomem(err);
  if (pthread_mutex_init(&h->lock, NULL) != 0) {
    mxg_free(h);
    return mxg_fail_nomem(err);
  }
  h->view = view;
  h->places = mxg_alloc(view->plan->array_count * sizeof *h->places);
  mxg_status status = h->places ? mxg_pool_create(&h->pool, view->options.threads, err) : mxg_fail_nomem(err);
  if (status == MXG_OK) {
    h->rooms = mxg_alloc(mxg_pool_threads(h->pool) * sizeof *h->rooms);
    if (!h->rooms) status = mxg_fail_nomem(err);
  }
  if (status != MXG_OK) {
    host_close(h);
    return status;
  }
  *state = h;
  return MXG_OK;
}

static void measure_progress(host *h) {
  const mxg_plan *plan = h->view->plan;
  h->done_bytes = h->shown_bytes = h->all_bytes = 0;
  for (uint32_t n = 0; n < h->view->rank_count; n++) {
    const mxg_rank *rank = &plan->ranks[h->view->ranks[n]];
    for (uint32_t s = rank->first_step; s < rank->first_step + rank->steps; s++) {
      const mxg_step *step = &plan->steps[s];
      if (step->kind != MXG_STEP_CONVERT || !takes(h, step)) continue; /* every piece is in one */
      for (uint32_t i = step->first; i < step->first + step->count; i++)
        h->all_bytes += piece_bytes(plan, &plan->pieces[i]);
    }
  }
}

static mxg_status host_share(void *state, mxg_error *err) {
  host *h = state;
  return mxg_peek_exchange(&h->peek, h->view, err);
}

static mxg_status run_ranks_of(host *h, uint32_t group, mxg_error *err) {
  const mxg_exec_view *view = h->view;
  h->group = group;
  memset(&h->first_error, 0, sizeof h->first_error);
  atomic_store(&h->stop, false);
  atomic_store(&h->next_rank, 0);
  measure_progress(h);
  unsigned runners = mxg_pool_threads(h->pool), started = 0;
  if (runners > view->rank_count) runners = view->rank_count;
  pthread_t *threads = mxg_alloc(runners * sizeof *threads);
  if (!threads) return mxg_fail_nomem(err);
  while (started + 1 < runners && pthread_create(&threads[started], NULL, run_ranks, h) == 0) started++;
  run_ranks(h); /* this thread runs ranks too: without any other, all of them */
  for (unsigned i = 0; i < started; i++) pthread_join(threads[i], NULL);
  mxg_free(threads);
  if (h->first_error.status == MXG_OK) return MXG_OK;
  if (err) *err = h->first_error;
  return h->first_error.status;
}

static mxg_status run_group(host *h, uint32_t group, mxg_error *err) {
  memcpy(h->places, h->view->places, h->view->plan->array_count * sizeof *h->places);
  mxg_status status = h->peek ? mxg_peek_read(h->peek, h->places, err) : MXG_OK;
  if (status == MXG_OK) status = run_ranks_of(h, group, err);
  if (h->peek) mxg_peek_drop(h->peek);
  return status;
}

static mxg_status host_run(void *state, mxg_error *err) { return run_group(state, MXG_ALL_GROUPS, err); }

/* There is no stream to put it on: a start does all of it, here and now. */
static mxg_status host_start(void *state, uint32_t group, void *const *streams, bool *captured, mxg_error *err) {
  *captured = false;
  if (streams)
    return mxg_fail(err, MXG_ERR_USAGE, 601, "transport host has no streams: a start runs to its end, streams is NULL");
  return run_group(state, group, err);
}

const mxg_transport_table mxg_transport_host = {
    .name = "host", .open = host_open, .share = host_share, .run = host_run, .start = host_start, .close = host_close};
