/* transport_host.c -- the transport without a device, and what all others are checked against: ranks are threads of
*this
** process, wires are memory, kernels are convert_host.c.
**
** A rank reads its sources where they lie and waits for no other rank, so as many ranks run at a time as there are
** workers, each with its own slots; the parts of their gathers and converts share the workers fairly. The first error
** ends all of them at their next step. Every write is marked (write_mask.h). */
#include "../templates/mx_scale.h"
#include "error.h"
#include "memory.h"
#include "parallel.h"
#include "plan_check.h"
#include "transport.h"
#include "write_mask.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

typedef struct host {
  const mxg_exec_view *view;
  mxg_pool *pool;
  mxg_place *places; /* the view's, and scratch's: an element is written by its own rank only */
  atomic_bool stop;
  _Atomic uint32_t next_rank; /* index into the view's ranks */
  pthread_mutex_t lock;       /* of what follows */
  mxg_error first_error;
  uint64_t done_bytes, shown_bytes, all_bytes;
} host;

/* A run of rows of one segment: of the wire form being gathered, or of an entry being converted. */
typedef struct task {
  uint32_t item; /* gather: segment; convert: entry */
  uint32_t piece;
  uint32_t first, rows;
  uint64_t wire; /* gather: address of the first byte */
  bool scales;   /* gather: the scales of the whole segment */
} task;

/* The current job of a rank, cut into parts of about equal bytes. */
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
  unsigned char **slots; /* memory of each slot, as much as this rank needs */
  mxg_write_mask *masks; /* of the rank's targets */
  mx_entry *entries;
  uint32_t *entry_pieces;
  const mxg_kernel *kernel; /* of the current convert */
  job job;
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

static uint64_t converted_bytes(const mxg_plan *plan, const mxg_piece *p) {
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
  bool full = j->byte_count == 0 || j->bytes[j->byte_count - 1] + bytes > j->part_bytes;
  if (j->failed) return;
  if (full) {
    size_t *cut = mxg_vector_push((void **)&j->cuts, &j->cut_count, &j->cut_capacity, sizeof *cut);
    uint64_t *part = mxg_vector_push((void **)&j->bytes, &j->byte_count, &j->byte_capacity, sizeof *part);
    if (cut) *cut = j->count;
    if (!cut || !part) j->failed = true;
  }
  task *added = j->failed ? NULL : mxg_vector_push((void **)&j->tasks, &j->count, &j->capacity, sizeof *added);
  if (!added) {
    j->failed = true;
    return;
  }
  *added = t;
  j->bytes[j->byte_count - 1] += bytes;
}

/* The rows of `t`, a few at a time. Cuts fall on multiples of `block` rows. */
static void add_rows(job *j, task t, uint64_t row_bytes, uint64_t wire_row_bytes, uint32_t block) {
  uint64_t few = row_bytes ? j->part_bytes / row_bytes / block * block : t.rows;
  uint32_t rows = t.rows, step = few < block ? block : few < rows ? (uint32_t)few : rows;
  uint64_t wire = t.wire;
  for (uint32_t first = 0; first < rows; first += t.rows) {
    t.first = first;
    t.rows = rows - first < step ? rows - first : step;
    t.wire = wire + first * wire_row_bytes;
    add_task(j, t, t.rows * row_bytes);
  }
}

static mxg_status run_job(rank_run *r, void (*part)(void *, uint64_t), mxg_error *err) {
  job *j = &r->job;
  if (!j->failed && j->count) {
    size_t *end = mxg_vector_push((void **)&j->cuts, &j->cut_count, &j->cut_capacity, sizeof *end);
    if (end) *end = j->count;
    j->failed = !end;
  }
  if (j->failed) return mxg_fail_nomem(err);
  mxg_pool_run(r->host->pool, part, r, j->byte_count);
  return MXG_OK;
}

/* ---- gather: source memory to wire form ---- */

static uint64_t block_first(uint64_t x, uint32_t block) { return block == MX_WHOLE ? 0 : x / block; }

static uint64_t block_count(uint64_t x, uint64_t count, uint32_t block) {
  return block == MX_WHOLE ? 1 : (x + count - 1) / block - x / block + 1;
}

static void gather_data(const rank_run *r, const task *t) {
  const mxg_piece *p = &r->plan->pieces[t->piece];
  const mxg_array *a = &r->plan->arrays[p->src];
  uint64_t elem = mxg_elem_bytes(r->plan->encodings[a->encoding].elem);
  uint64_t row = p->src_matrix * a->rows + r->plan->segments[t->item].src_row + t->first;
  const unsigned char *from =
      (const unsigned char *)(uintptr_t)r->host->places[p->src].data + (row * a->cols + p->src_col) * elem;
  unsigned char *to = (unsigned char *)(uintptr_t)t->wire;
  size_t bytes = (size_t)(p->cols * elem);
  if (p->cols == a->cols) {
    memcpy(to, from, t->rows * bytes);
    return;
  }
  for (uint32_t i = 0; i < t->rows; i++) memcpy(to + i * bytes, from + i * a->cols * elem, bytes);
}

/* Scales (i, j) to (i, j + count), which lie together where the layout is row-major. */
static void gather_scale_row(unsigned char *to, const unsigned char *matrix, const mxg_encoding *e,
                             const mxg_scale_shape *shape, uint64_t i, uint64_t j, uint64_t count) {
  if (e->layout != MX_SWIZZLED) {
    memcpy(to, matrix + (i * shape->stored_cols + j) * shape->bytes_each, (size_t)(count * shape->bytes_each));
    return;
  }
  int columnwise = mx_is_columnwise(e->block_rows, e->block_cols);
  for (uint64_t c = 0; c < count; c++)
    to[c] = matrix[mx_scale_offset(MX_SWIZZLED, columnwise, shape->ld, (mx_u32)i, (mx_u32)(j + c))];
}

static void gather_scales(const rank_run *r, const task *t) {
  const mxg_piece *p = &r->plan->pieces[t->piece];
  const mxg_array *a = &r->plan->arrays[p->src];
  const mxg_encoding *e = &r->plan->encodings[a->encoding];
  const mxg_segment *s = &r->plan->segments[t->item];
  mxg_scale_shape shape = mxg_scale_shape_of(e, a->rows, a->cols);
  uint64_t i = block_first(s->src_row, e->block_rows), rows = block_count(s->src_row, s->rows, e->block_rows);
  uint64_t j = block_first(p->src_col, e->block_cols), cols = block_count(p->src_col, p->cols, e->block_cols);
  const unsigned char *matrix = (const unsigned char *)(uintptr_t)r->host->places[p->src].scale +
                                p->src_matrix * shape.stored_rows * shape.stored_cols * shape.bytes_each;
  unsigned char *to = (unsigned char *)(uintptr_t)t->wire;
  for (uint64_t n = 0; n < rows; n++)
    gather_scale_row(to + n * cols * shape.bytes_each, matrix, e, &shape, i + n, j, cols);
}

static void gather_part(void *user, uint64_t i) {
  rank_run *r = user;
  for (size_t t = r->job.cuts[i]; t < r->job.cuts[i + 1]; t++)
    if (r->job.tasks[t].scales)
      gather_scales(r, &r->job.tasks[t]);
    else
      gather_data(r, &r->job.tasks[t]);
  advance(r->host, r->job.bytes[i]);
}

static void add_gather(rank_run *r, uint32_t index, unsigned char *slot) {
  const mxg_piece *p = &r->plan->pieces[index];
  const mxg_encoding *e = &r->plan->encodings[r->plan->arrays[p->src].encoding];
  mxg_wire form = mxg_wire_of(r->plan, p);
  uint64_t wire = (uint64_t)(uintptr_t)slot + p->wire_offset, scale = wire + form.scale_offset;
  uint64_t row = (uint64_t)p->cols * mxg_elem_bytes(e->elem);
  for (uint32_t i = 0; i < p->segments; i++) {
    const mxg_segment *s = &r->plan->segments[p->first_segment + i];
    task t = {.item = p->first_segment + i, .piece = index, .rows = s->rows, .wire = wire};
    add_rows(&r->job, t, row, row, 1);
    wire += s->rows * row;
    if (e->scale == MX_SCALE_NONE) continue;
    uint64_t bytes = block_count(s->src_row, s->rows, e->block_rows) * block_count(p->src_col, p->cols, e->block_cols) *
                     (e->scale == MX_SCALE_E8M0 ? 1 : 4);
    t.wire = scale;
    t.scales = true;
    add_task(&r->job, t, bytes);
    scale += bytes;
  }
}

static mxg_status gather(rank_run *r, const mxg_step *step, mxg_error *err) {
  begin_job(r, step->bytes);
  uint64_t left_out = 0;
  for (uint32_t i = step->first; i < step->first + step->count; i++) {
    if (r->host->view->kept[r->plan->pieces[i].dst])
      left_out += r->plan->pieces[i].wire_bytes;
    else
      add_gather(r, i, r->slots[step->slot]);
  }
  MXG_TRY(run_job(r, gather_part, err));
  advance(r->host, left_out);
  return MXG_OK;
}

/* ---- convert: pieces to where they belong ---- */

static mxg_write_mask *mask_of(const rank_run *r, uint32_t array) {
  return r->plan->arrays[array].side == MXG_TARGET ? &r->masks[array - r->rank->first_target] : NULL;
}

static void convert_part(void *user, uint64_t i) {
  rank_run *r = user;
  for (size_t n = r->job.cuts[i]; n < r->job.cuts[i + 1]; n++) {
    const task *t = &r->job.tasks[n];
    const mx_entry *e = &r->entries[t->item];
    const mxg_piece *p = &r->plan->pieces[t->piece];
    mxg_write_mask *mask = mask_of(r, p->dst);
    if (mask) mxg_mask_rectangle(mask, p->dst_matrix, (uint64_t)e->dst_row + t->first, t->rows, e->dst_col, e->cols);
    mxg_convert_rows(r->kernel, e, t->first, t->rows);
  }
  advance(r->host, r->job.bytes[i]);
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
}

static void add_entries(rank_run *r, uint32_t *made, uint32_t index, uint64_t slot) {
  const mxg_piece *p = &r->plan->pieces[index];
  uint64_t tiles, row = converted_bytes(r->plan, p) / p->rows;
  uint32_t block = r->kernel->dst.block_rows;
  if (block == 0 || block == MX_WHOLE || r->kernel->family == MXG_AMAX) block = 1;
  uint32_t count = mxg_launch_entries(r->entries + *made, &tiles, r->plan, index, 1, r->host->places, slot, false);
  for (uint32_t i = *made; i < *made + count; i++)
    add_rows(&r->job, (task){.item = i, .piece = index, .rows = r->entries[i].rows}, row, 0, block);
  *made += count;
}

static mxg_status convert(rank_run *r, const mxg_step *step, mxg_error *err) {
  uint32_t made = 0, end = step->first + step->count;
  uint64_t bytes = 0, left_out = 0;
  r->kernel = &r->plan->kernels[step->kernel];
  for (uint32_t i = step->first; i < end; i++) {
    const mxg_piece *p = &r->plan->pieces[i];
    place_scratch(r, p->src, step);
    place_scratch(r, p->dst, step);
    bytes += converted_bytes(r->plan, p);
    mxg_write_mask *mask = mask_of(r, p->dst);
    if (mask) MXG_TRY(mxg_mask_open(mask, err));
  }
  begin_job(r, bytes);
  for (uint32_t i = step->first; i < end; i++) {
    const mxg_piece *p = &r->plan->pieces[i];
    if (r->host->view->kept[p->dst]) {
      keep(r, p);
      left_out += converted_bytes(r->plan, p);
    } else {
      add_entries(r, &made, i, (uint64_t)(uintptr_t)r->slots[step->slot]);
    }
  }
  MXG_TRY(run_job(r, convert_part, err));
  for (uint32_t i = step->first; i < end; i++) {
    mxg_write_mask *mask = mask_of(r, r->plan->pieces[i].dst);
    if (!mask) continue;
    MXG_TRY(mxg_mask_check(mask, false, err));
    mxg_mask_settle(mask);
  }
  advance(r->host, left_out);
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
    if (mask) MXG_TRY(mxg_mask_open(mask, err));
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
    if (mask) mxg_mask_settle(mask);
  }
  return MXG_OK;
}

/* ---- one rank ---- */

static void need(uint64_t *bytes, uint64_t end) {
  if (*bytes < end) *bytes = end;
}

static void need_scratch(const mxg_plan *plan, uint64_t *bytes, uint32_t array) {
  const mxg_array *a = &plan->arrays[array];
  if (a->side == MXG_SCRATCH) need(bytes, a->offset + mxg_scratch_bytes(plan, a));
}

/* What a step needs of its slot, and how many entries it makes. */
static void measure(const mxg_plan *plan, const mxg_step *step, uint64_t *slot, uint64_t *entries) {
  uint64_t segments = 0;
  if (step->kind == MXG_STEP_FILL)
    for (uint32_t i = step->first; i < step->first + step->count; i++) need_scratch(plan, slot, plan->fills[i].array);
  if (step->kind != MXG_STEP_GATHER && step->kind != MXG_STEP_CONVERT) return;
  for (uint32_t i = step->first; i < step->first + step->count; i++) {
    const mxg_piece *p = &plan->pieces[i];
    need(slot, p->wire_offset + p->wire_bytes);
    need_scratch(plan, slot, p->src);
    need_scratch(plan, slot, p->dst);
    segments += p->segments;
  }
  if (step->kind == MXG_STEP_CONVERT) need(entries, segments);
}

static mxg_status open_rank(rank_run *r, mxg_error *err) {
  const mxg_plan *plan = r->plan;
  uint64_t entries = 0, *bytes = mxg_alloc((plan->slots + 1) * sizeof *bytes);
  r->slots = mxg_alloc((plan->slots + 1) * sizeof *r->slots);
  r->masks = mxg_alloc(r->rank->targets * sizeof *r->masks);
  bool good = bytes && r->slots && r->masks;
  for (uint32_t i = r->rank->first_step; good && i < r->rank->first_step + r->rank->steps; i++)
    measure(plan, &plan->steps[i], &bytes[plan->steps[i].slot], &entries);
  for (uint32_t i = 0; good && i < plan->slots; i++) {
    r->slots[i] = bytes[i] ? mxg_resize(NULL, (size_t)bytes[i]) : NULL; /* written before it is read: not zeroed */
    good = r->slots[i] || !bytes[i];
  }
  mxg_free(bytes);
  if (good) r->entries = mxg_alloc((size_t)entries * sizeof *r->entries);
  if (!good || !r->entries) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < r->rank->targets; i++) mxg_mask_begin(&r->masks[i], plan, r->rank->first_target + i);
  return MXG_OK;
}

static void close_rank(rank_run *r) {
  for (uint32_t i = 0; r->slots && i < r->plan->slots; i++) mxg_free(r->slots[i]);
  for (uint32_t i = 0; r->masks && i < r->rank->targets; i++) mxg_mask_end(&r->masks[i]);
  mxg_free(r->slots);
  mxg_free(r->masks);
  mxg_free(r->entries);
  mxg_free(r->job.tasks);
  mxg_free(r->job.cuts);
  mxg_free(r->job.bytes);
}

static mxg_status walk(rank_run *r, mxg_error *err) {
  MXG_TRY(open_rank(r, err));
  for (uint32_t i = r->rank->first_step; i < r->rank->first_step + r->rank->steps; i++) {
    const mxg_step *step = &r->plan->steps[i];
    if (atomic_load(&r->host->stop)) return MXG_OK;
    switch ((mxg_step_kind)step->kind) {
    case MXG_STEP_FILL: MXG_TRY(fill(r, step, err)); break;
    case MXG_STEP_GATHER: MXG_TRY(gather(r, step, err)); break;
    case MXG_STEP_CONVERT: MXG_TRY(convert(r, step, err)); break;
    case MXG_STEP_WAIT:
    case MXG_STEP_RELEASE: break; /* a step returns when it is done */
    }
  }
  for (uint32_t i = 0; i < r->rank->targets; i++) MXG_TRY(mxg_mask_check(&r->masks[i], true, err));
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
  mxg_pool_free(h->pool);
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
      if (step->kind != MXG_STEP_CONVERT) continue; /* every piece is in one */
      for (uint32_t i = step->first; i < step->first + step->count; i++)
        h->all_bytes += converted_bytes(plan, &plan->pieces[i]);
    }
    h->all_bytes += rank->received_bytes;
  }
}

static mxg_status host_run(void *state, mxg_error *err) {
  host *h = state;
  const mxg_exec_view *view = h->view;
  memcpy(h->places, view->places, view->plan->array_count * sizeof *h->places);
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

const mxg_transport_table mxg_transport_host = {"host", host_open, NULL, host_run, host_close};
