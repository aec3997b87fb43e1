/* exec.c -- the executor: names to arrays, bound memory and its checks, and the choice of a transport. Moving bytes is
** the transports' (transport_host.c and others); the schedule is the plan's; what processes have to agree on is
** agreement.c's. */
#include "agreement.h"
#include "bundle.h"
#include "choose.h"
#include "clock.h"
#include "error.h"
#include "memory.h"
#include "nvtx.h"
#include "plan_check.h"
#include "share.h"
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct mxg_exec {
  mxg_exec_view view;
  const mxg_transport_table *table;
  mxg_transport transport;
  char why[MXG_WHY_ROOM];
  void *state;
  uint32_t *ranks;
  mxg_place *places;
  bool *bound, *kept, *here; /* by array, by array, by rank */
  bool checked;              /* what is bound is enough and right */
  unsigned char *starts;     /* by group: enum start */
  uint32_t *names;           /* 1 + array, hashed by rank, side and name */
  size_t name_room;          /* a power of two */
  mxg_agreement *agreement;
  bool changed; /* bindings are new since the processes last exchanged them */
  bool ran;     /* once at least, well or not */
};

/* What mxg_exec_start has done last for a group. */
enum start { never_started, was_started, was_captured };

enum { default_timeout_ms = 60000 };
static const double report_patience = 0.4; /* seconds beyond a deadline for processes to say that it passed */

/* By mxg_transport; NULL: not in this library. */
static const mxg_transport_table *const transports[] = {&mxg_transport_host, &mxg_transport_nccl, &mxg_transport_copy,
                                                        &mxg_transport_direct};
enum { transport_count = sizeof transports / sizeof *transports };

/* ---- create ---- */

static mxg_status take_transport(mxg_exec *exec, mxg_error *err) {
  unsigned which = exec->transport;
  if (which >= transport_count) return mxg_fail(err, MXG_ERR_USAGE, 601, "there is no transport %u", which);
  if (transports[which]) {
    exec->table = transports[which];
    if (which == MXG_COPY) mxg_choose_sizes(&exec->view);
    return MXG_OK;
  }
  char list[64] = "";
  for (unsigned i = 0; i < transport_count; i++)
    if (transports[i]) {
      if (*list) strcat(list, ", ");
      strcat(list, mxg_transport_name((mxg_transport)i));
    }
  mxg_fail(err, MXG_ERR_UNSUPPORTED, 602, "transport %s is not in this version",
           mxg_transport_name((mxg_transport)which));
  mxg_error_help(err, "these are: %s", list);
  return MXG_ERR_UNSUPPORTED;
}

static mxg_status open_transport(mxg_exec *exec, mxg_error *err) {
  MXG_TRY(take_transport(exec, err));
  if (exec->agreement && !exec->table->share)
    return mxg_fail(err, MXG_ERR_UNSUPPORTED, 602, "transport %s does not work between processes", exec->table->name);
  return exec->table->open(&exec->state, &exec->view, err);
}

static mxg_status copy_options(mxg_exec *exec, const mxg_exec_options *options, mxg_error *err) {
  static const mxg_exec_options defaults = MXG_EXEC_INIT;
  exec->view.options = defaults;
  if (!options) return MXG_OK;
  /* An older caller's options are shorter; a newer one's have fields that this library does not know. */
  if (options->size > sizeof *options)
    return mxg_fail(err, MXG_ERR_USAGE, 601, "options.size is %zu, of a newer mxrt.h than this library's %s",
                    options->size, mxg_version());
  if (options->size < sizeof options->size)
    return mxg_fail(err, MXG_ERR_USAGE, 601, "options.size is %zu: begin with MXG_EXEC_INIT of this version's header",
                    options->size);
  memcpy(&exec->view.options, options, options->size);
  return MXG_OK;
}

static mxg_status choose_ranks(mxg_exec *exec, mxg_error *err) {
  const mxg_exec_options *options = &exec->view.options;
  uint32_t all = exec->view.plan->rank_count, given = options->ranks ? options->rank_count : all;
  if (given == 0) return mxg_fail(err, MXG_ERR_USAGE, 601, "options.ranks has no rank");
  for (uint32_t i = 0; i < given; i++) {
    uint32_t rank = options->ranks ? options->ranks[i] : i;
    if (rank >= all || exec->here[rank])
      return mxg_fail(err, MXG_ERR_USAGE, 601, "options.ranks: rank %u is %s", rank,
                      rank >= all ? "not in the bundle" : "there twice");
    exec->here[rank] = true;
  }
  exec->view.rank_count = 0;
  for (uint32_t rank = 0; rank < all; rank++)
    if (exec->here[rank]) exec->ranks[exec->view.rank_count++] = rank;
  return MXG_OK;
}

static size_t name_slot(const mxg_exec *exec, uint32_t rank, unsigned side, const char *name) {
  return (size_t)XXH3_64bits_withSeed(name, strlen(name), (uint64_t)rank * 4 + side) & (exec->name_room - 1);
}

static void hash_names(mxg_exec *exec) {
  const mxg_plan *plan = exec->view.plan;
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side == MXG_SCRATCH) continue;
    size_t at = name_slot(exec, a->rank, a->side, plan->strings + a->name);
    while (exec->names[at]) at = (at + 1) & (exec->name_room - 1);
    exec->names[at] = i + 1;
  }
}

static mxg_status prepare(mxg_exec *exec, const mxg_bundle *bundle, const mxg_exec_options *options, mxg_error *err) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  exec->view.bundle = bundle;
  exec->view.plan = plan;
  exec->name_room = 64;
  while (exec->name_room < (size_t)plan->array_count * 2) exec->name_room *= 2;
  MXG_TRY(copy_options(exec, options, err));
  exec->names = mxg_alloc(exec->name_room * sizeof *exec->names);
  exec->places = mxg_alloc(plan->array_count * sizeof *exec->places);
  exec->bound = mxg_alloc(plan->array_count * sizeof *exec->bound);
  exec->kept = mxg_alloc(plan->array_count * sizeof *exec->kept);
  exec->here = mxg_alloc(plan->rank_count * sizeof *exec->here);
  exec->ranks = mxg_alloc(plan->rank_count * sizeof *exec->ranks);
  exec->starts = mxg_alloc(plan->group_count);
  if (!exec->names || !exec->places || !exec->bound || !exec->kept || !exec->here || !exec->ranks || !exec->starts)
    return mxg_fail_nomem(err);
  MXG_TRY(choose_ranks(exec, err));
  exec->view.ranks = exec->ranks;
  exec->view.places = exec->places;
  exec->view.kept = exec->kept;
  hash_names(exec);
  return MXG_OK;
}

static void set_deadline(mxg_exec *exec) {
  unsigned ms = exec->view.options.timeout_ms;
  exec->view.deadline = mxg_now() + (ms ? ms : default_timeout_ms) * 1e-3;
}

/* The transports copy and direct are for one host whose GPUs reach each other: whether that is so. */
static mxg_status check_reach(mxg_exec *exec, mxg_error *err) {
  const mxg_agreement *a = exec->agreement;
  mxg_error own = {0};
  if (exec->transport != MXG_COPY && exec->transport != MXG_DIRECT) return MXG_OK;
  (void)mxg_share_check(&exec->view, &own);
  return mxg_job_agree(a->job, "the check of peer access", &own, exec->view.deadline, err);
}

/* All processes come here, however they fared, and all leave with MXG_OK or none. */
static mxg_status build_together(mxg_exec *exec, const mxg_error *own, mxg_error *err) {
  mxg_job *job = exec->view.options.job;
  mxg_error opened = {0};
  mxg_transport pick = exec->transport;
  set_deadline(exec);
  double patient = mxg_now() + default_timeout_ms * 1e-3; /* no run yet: processes start at a pace of their own */
  if (exec->view.deadline < patient) exec->view.deadline = patient;
  if (own->status == MXG_OK && pick == MXG_AUTO) pick = mxg_choose(&exec->view, exec->why);
  MXG_TRY(mxg_agreement_make(&exec->agreement, &exec->view, &exec->transport, pick, exec->why, sizeof exec->why, own,
                             exec->view.deadline, err));
  exec->view.agreement = exec->agreement;
  if (exec->view.options.transport == MXG_AUTO) {
    mxg_error cannot = {0};
    mxg_status status = check_reach(exec, &cannot);
    if (status == MXG_ERR_UNSUPPORTED) {
      exec->transport = transports[MXG_NCCL] ? MXG_NCCL : MXG_HOST;
      snprintf(exec->why, sizeof exec->why, "%.250s", cannot.text);
    } else if (status != MXG_OK) {
      if (err) *err = cannot;
      return status;
    }
  } else {
    MXG_TRY(check_reach(exec, err));
  }
  (void)open_transport(exec, &opened);
  return mxg_job_agree(job, "the opening of the transport", &opened, exec->view.deadline, err);
}

static mxg_status build(mxg_exec *exec, const mxg_bundle *bundle, const mxg_exec_options *options, mxg_error *err) {
  mxg_error own = {0};
  mxg_status status = prepare(exec, bundle, options, &own);
  exec->changed = true;
  exec->transport = exec->view.options.transport;
  if (exec->view.options.job) return build_together(exec, &own, err);
  if (status != MXG_OK) {
    if (err) *err = own;
    return status;
  }
  if (exec->transport == MXG_AUTO) exec->transport = mxg_choose(&exec->view, exec->why);
  return open_transport(exec, err);
}

mxg_status mxg_exec_create(mxg_exec **out, const mxg_bundle *bundle, const mxg_exec_options *options, mxg_error *err) {
  *out = NULL;
  if (!bundle) return mxg_fail(err, MXG_ERR_USAGE, 601, "mxg_exec_create: bundle is NULL");
  mxg_exec *exec = mxg_alloc(sizeof *exec);
  if (!exec) return mxg_fail_nomem(err);
  mxg_status status = build(exec, bundle, options, err);
  if (status == MXG_OK)
    *out = exec;
  else
    mxg_exec_free(exec);
  return status;
}

void mxg_exec_free(mxg_exec *exec) {
  if (!exec) return;
  if (exec->table) exec->table->close(exec->state);
  mxg_agreement_free(exec->agreement);
  mxg_free(exec->names);
  mxg_free(exec->places);
  mxg_free(exec->bound);
  mxg_free(exec->kept);
  mxg_free(exec->here);
  mxg_free(exec->ranks);
  mxg_free(exec->starts);
  mxg_free(exec);
}

/* ---- bind ---- */

static uint32_t find_array(const mxg_exec *exec, uint32_t rank, mxg_side side, const char *name) {
  const mxg_plan *plan = exec->view.plan;
  for (size_t at = name_slot(exec, rank, side, name); exec->names[at]; at = (at + 1) & (exec->name_room - 1)) {
    const mxg_array *a = &plan->arrays[exec->names[at] - 1];
    if (a->rank == rank && a->side == side && strcmp(plan->strings + a->name, name) == 0) return exec->names[at] - 1;
  }
  return MXG_NONE;
}

static mxg_status check_bytes(const char *what, const char *name, uint32_t rank, const void *memory, uint64_t given,
                              uint64_t wanted, mxg_error *err) {
  if (given != wanted)
    return mxg_fail(err, MXG_ERR_USAGE, 604, "%s of \"%s\", rank %u: %llu bytes given, the plan has %llu", what, name,
                    rank, (unsigned long long)given, (unsigned long long)wanted);
  if (wanted && !memory)
    return mxg_fail(err, MXG_ERR_USAGE, 604, "%s of \"%s\", rank %u: NULL for %llu bytes", what, name, rank,
                    (unsigned long long)wanted);
  if (wanted && (uintptr_t)memory > UINTPTR_MAX - wanted)
    return mxg_fail(err, MXG_ERR_USAGE, 604, "%s of \"%s\", rank %u: the memory passes the end of addresses", what,
                    name, rank);
  return MXG_OK;
}

mxg_status mxg_exec_bind(mxg_exec *exec, uint32_t rank, mxg_side side, const char *name, void *data,
                         uint64_t data_bytes, void *scale, uint64_t scale_bytes, mxg_error *err) {
  if (!exec || !name) return mxg_fail(err, MXG_ERR_USAGE, 601, "mxg_exec_bind: exec or name is NULL");
  const mxg_plan *plan = exec->view.plan;
  if (side != MXG_SOURCE && side != MXG_TARGET)
    return mxg_fail(err, MXG_ERR_USAGE, 601, "mxg_exec_bind: \"%s\" is bound to neither source nor target", name);
  if (rank >= plan->rank_count)
    return mxg_fail(err, MXG_ERR_USAGE, 603, "there is no rank %u: the plan has %u", rank, plan->rank_count);
  if (side == MXG_TARGET && !exec->here[rank])
    return mxg_fail(err, MXG_ERR_USAGE, 603, "target \"%s\" of rank %u: that rank is not of this process", name, rank);
  uint32_t array = find_array(exec, rank, side, name);
  if (array == MXG_NONE)
    return mxg_fail(err, MXG_ERR_USAGE, 603, "rank %u has no %s tensor \"%s\"", rank, mxg_side_name(side), name);
  if (exec->bound[array])
    return mxg_fail(err, MXG_ERR_USAGE, 605, "%s \"%s\" of rank %u is bound already", mxg_side_name(side), name, rank);
  const mxg_array *a = &plan->arrays[array];
  MXG_TRY(check_bytes("data", name, rank, data, data_bytes, mxg_array_data_bytes(plan, a), err));
  MXG_TRY(check_bytes("scales", name, rank, scale, scale_bytes, mxg_array_scale_bytes(plan, a), err));
  exec->places[array] = (mxg_place){(uint64_t)(uintptr_t)data, scale_bytes ? (uint64_t)(uintptr_t)scale : 0};
  if (exec->table->bind) MXG_TRY(exec->table->bind(exec->state, array, err));
  exec->bound[array] = true;
  exec->checked = false;
  exec->changed = true;
  return MXG_OK;
}

/* "[32, 4096]" */
static const char *dims_text(char *text, size_t room, const uint64_t *dims, unsigned ndim) {
  size_t used = (size_t)snprintf(text, room, "[");
  for (unsigned i = 0; i < ndim && used + 24 < room; i++)
    used += (size_t)snprintf(text + used, room - used, "%s%llu", i ? ", " : "", (unsigned long long)dims[i]);
  snprintf(text + used, room - used, "]");
  return text;
}

/* The type and shape of one argument; `what`: "data". */
static mxg_status check_type(const char *what, const char *side, const char *name, uint32_t rank,
                             const mxg_typed_memory *given, const char *dtype, const uint64_t *dims, unsigned ndim,
                             mxg_error *err) {
  char got[96], want[96];
  bool byte = !strcmp(dtype, "U8") || !strncmp(dtype, "F8_", 3);
  bool scale = !strcmp(dtype, "U8") || !strcmp(dtype, "F8_E8M0"); /* two names of one thing */
  if (given->dtype && strcmp(given->dtype, dtype) != 0 && !(byte && !strcmp(given->dtype, "U8")) &&
      !(scale && !strcmp(given->dtype, "F8_E8M0")))
    return mxg_fail(err, MXG_ERR_USAGE, 672, "%s of %s \"%s\", rank %u: dtype %.32s given, the plan has %s", what, side,
                    name, rank, given->dtype, dtype);
  if (!given->dims || (given->ndim == ndim && memcmp(given->dims, dims, ndim * sizeof *dims) == 0)) return MXG_OK;
  return mxg_fail(err, MXG_ERR_USAGE, 672, "%s of %s \"%s\", rank %u: shape %s given, the plan has %s", what, side,
                  name, rank, dims_text(got, sizeof got, given->dims, given->ndim),
                  dims_text(want, sizeof want, dims, ndim));
}

/* The caller's, whatever the age of its header. `what`: "data". */
static mxg_status read_memory(mxg_typed_memory *mine, const mxg_typed_memory *given, const char *what, mxg_error *err) {
  *mine = (mxg_typed_memory)MXG_TYPED_MEMORY_INIT;
  if (!given) return MXG_OK;
  if (given->size < offsetof(mxg_typed_memory, dtype) || given->size > sizeof *mine) {
    mxg_fail(err, MXG_ERR_USAGE, 601, "mxg_exec_bind_typed: %s: mxg_typed_memory.size is %zu", what, given->size);
    mxg_error_help(err, "start from MXG_TYPED_MEMORY_INIT, of a mxrt.h that is not newer than this library, %s",
                   mxg_version());
    return MXG_ERR_USAGE;
  }
  memcpy(mine, given, given->size);
  return MXG_OK;
}

mxg_status mxg_exec_bind_typed(mxg_exec *exec, uint32_t rank, mxg_side side, const char *name,
                               const mxg_typed_memory *data, const mxg_typed_memory *scale, mxg_error *err) {
  if (!exec || !name || !data)
    return mxg_fail(err, MXG_ERR_USAGE, 601, "mxg_exec_bind_typed: exec, name or data is NULL");
  const mxg_plan *plan = exec->view.plan;
  mxg_typed_memory elems, scales;
  MXG_TRY(read_memory(&elems, data, "data", err));
  MXG_TRY(read_memory(&scales, scale, "scales", err));
  uint32_t array = rank < plan->rank_count ? find_array(exec, rank, side, name) : MXG_NONE;
  if (array != MXG_NONE) { /* otherwise bind says what is wrong */
    const mxg_array *a = &plan->arrays[array];
    uint64_t dims[3] = {0};
    unsigned ndim = mxg_array_shape(a, dims);
    MXG_TRY(check_type("data", mxg_side_name(side), name, rank, &elems, mxg_array_dtype(plan, a), dims, ndim, err));
    if (mxg_array_scale_bytes(plan, a)) {
      ndim = mxg_array_scale_dims(plan, a, dims);
      MXG_TRY(check_type("scales", mxg_side_name(side), name, rank, &scales, mxg_array_scale_dtype(plan, a), dims, ndim,
                         err));
    }
  }
  return mxg_exec_bind(exec, rank, side, name, elems.memory, elems.bytes, scales.memory, scales.bytes, err);
}

/* ---- run ---- */

static mxg_status check_all_bound(const mxg_exec *exec, mxg_error *err) {
  const mxg_plan *plan = exec->view.plan;
  uint32_t first = MXG_NONE, count = 0;
  const bool sends = exec->transport == MXG_NCCL; /* what others want of the ranks here */
  bool *seen = mxg_alloc(plan->array_count * sizeof *seen);
  if (!seen) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < plan->piece_count; i++) {
    const uint32_t both[2] = {plan->pieces[i].src, plan->pieces[i].dst};
    if (!exec->here[plan->arrays[both[1]].rank] && (!sends || !exec->here[plan->arrays[both[0]].rank])) continue;
    for (int s = 0; s < 2; s++) {
      if (exec->bound[both[s]] || seen[both[s]] || plan->arrays[both[s]].side == MXG_SCRATCH) continue;
      bool elsewhere = !exec->here[plan->arrays[both[s]].rank];
      if (elsewhere && (exec->agreement || sends)) continue; /* its own process has it, or may have it */
      seen[both[s]] = true;
      if (both[s] < first) first = both[s];
      count++;
    }
  }
  mxg_free(seen);
  if (count == 0) return MXG_OK;
  const mxg_array *a = &plan->arrays[first];
  mxg_fail(err, MXG_ERR_USAGE, 606, "%s \"%s\" of rank %u is not bound", mxg_side_name(a->side),
           plan->strings + a->name, a->rank);
  mxg_error_note(err, "%u tensor%s that the schedule needs %s not bound", count, count == 1 ? "" : "s",
                 count == 1 ? "is" : "are");
  return MXG_ERR_USAGE;
}

static bool held_alike(const mxg_plan *plan, const mxg_array *a, const mxg_array *b) {
  const mxg_encoding *x = &plan->encodings[a->encoding], *y = &plan->encodings[b->encoding];
  return a->matrices == b->matrices && a->rows == b->rows && a->cols == b->cols && x->elem == y->elem &&
         x->scale == y->scale && x->layout == y->layout && x->block_rows == y->block_rows &&
         x->block_cols == y->block_cols;
}

/* Whether a piece, of arrays that are the same memory, leaves it as it is. */
static bool stays(const mxg_exec *exec, const mxg_piece *p) {
  const mxg_plan *plan = exec->view.plan;
  const mxg_place *from = &exec->places[p->src], *to = &exec->places[p->dst];
  if (plan->kernels[p->kernel].family != MXG_MOVE || from->data != to->data || from->scale != to->scale ||
      p->src_matrix != p->dst_matrix || p->src_col != p->dst_col ||
      !held_alike(plan, &plan->arrays[p->src], &plan->arrays[p->dst]))
    return false;
  for (uint32_t i = 0; i < p->segments; i++) {
    const mxg_segment *s = &plan->segments[p->first_segment + i];
    if (s->src_row != s->dst_row) return false;
  }
  return true;
}

/* A target is kept when all of its pieces stay. */
static void find_kept(mxg_exec *exec) {
  const mxg_plan *plan = exec->view.plan;
  for (uint32_t i = 0; i < plan->array_count; i++) exec->kept[i] = plan->arrays[i].side == MXG_TARGET && exec->bound[i];
  for (uint32_t i = 0; i < plan->piece_count; i++)
    if (exec->kept[plan->pieces[i].dst] && !stays(exec, &plan->pieces[i])) exec->kept[plan->pieces[i].dst] = false;
}

typedef struct extent {
  uint64_t begin, end;
  uint32_t array;
  bool target, writes; /* a kept target is one that no piece writes */
} extent;

static int by_begin(const void *a, const void *b) {
  const extent *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return x->array < y->array ? -1 : x->array > y->array;
}

static const extent *wider(const extent *a, const extent *b) { return !a || b->end > a->end ? b : a; }
static bool meets(const extent *before, const extent *e) { return before && e->begin < before->end; }

/* Targets share memory with no other target, and those that are written with nothing at all. `all` is sorted: the one
** that reaches farthest is enough to know of each kind. */
static mxg_status check_sorted(const mxg_exec *exec, const extent *all, size_t count, mxg_error *err) {
  const mxg_plan *plan = exec->view.plan;
  const extent *any = NULL, *target = NULL, *written = NULL;
  for (size_t i = 0; i < count; i++) {
    const extent *e = &all[i], *other = NULL;
    if (meets(written, e)) other = written;
    if (e->target && meets(target, e)) other = target;
    if (e->writes && meets(any, e)) other = any;
    if (other) {
      const mxg_array *a = &plan->arrays[other->array], *b = &plan->arrays[e->array];
      mxg_fail(err, MXG_ERR_USAGE, 607, "%s \"%s\" of rank %u and %s \"%s\" of rank %u are bound to the same memory",
               mxg_side_name(a->side), plan->strings + a->name, a->rank, mxg_side_name(b->side),
               plan->strings + b->name, b->rank);
      mxg_error_help(err, "only a target that keeps its source's bytes, scales and place may share them");
      return MXG_ERR_USAGE;
    }
    any = wider(any, e);
    if (e->target) target = wider(target, e);
    if (e->writes) written = wider(written, e);
  }
  return MXG_OK;
}

static mxg_status check_overlaps(const mxg_exec *exec, mxg_error *err) {
  const mxg_plan *plan = exec->view.plan;
  size_t count = 0;
  extent *all = mxg_alloc((size_t)plan->array_count * 2 * sizeof *all);
  if (!all) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (!exec->bound[i]) continue;
    bool target = a->side == MXG_TARGET, writes = target && !exec->kept[i];
    const mxg_place *place = &exec->places[i];
    all[count++] = (extent){place->data, place->data + mxg_array_data_bytes(plan, a), i, target, writes};
    if (place->scale)
      all[count++] = (extent){place->scale, place->scale + mxg_array_scale_bytes(plan, a), i, target, writes};
  }
  if (count > 1) qsort(all, count, sizeof *all, by_begin);
  mxg_status status = check_sorted(exec, all, count, err);
  mxg_free(all);
  return status;
}

static mxg_status make_ready(mxg_exec *exec, mxg_error *err) {
  if (exec->checked) return MXG_OK;
  MXG_TRY(check_all_bound(exec, err));
  find_kept(exec);
  MXG_TRY(check_overlaps(exec, err));
  exec->checked = true;
  return MXG_OK;
}

static mxg_status start_together(mxg_exec *exec, const mxg_error *own, mxg_error *err) {
  bool changed = exec->changed;
  MXG_TRY(mxg_agreement_start(exec->agreement, &changed, own, exec->view.deadline, err));
  if (!changed) return MXG_OK;
  exec->changed = true; /* also when it fails below */
  MXG_TRY(mxg_agreement_bound(exec->agreement, &exec->view, exec->bound, exec->view.deadline, err));
  MXG_TRY(exec->table->share(exec->state, err));
  exec->changed = false;
  return MXG_OK;
}

/* What a run needs is made before its deadline counts: to connect ranks can take longer than many a run may. */
static mxg_status make_run(mxg_exec *exec, mxg_error *own) {
  if (exec->table->make) MXG_TRY(exec->table->make(exec->state, own));
  set_deadline(exec);
  return MXG_OK;
}

/* With a job all processes come here, and go on together or not at all. */
static mxg_status start_run(mxg_exec *exec, mxg_error *err) {
  mxg_error own = {0};
  set_deadline(exec);
  (void)make_ready(exec, &own);
  if (!exec->agreement) {
    if (err && own.status != MXG_OK) *err = own;
    return own.status;
  }
  mxg_status status = start_together(exec, &own, err);
  if (status == MXG_ERR_TIMEOUT && exec->ran && exec->table->tell) exec->table->tell(exec->state); /* of the last run */
  return status;
}

/* A run is good when it was good on all processes: then no one reads the sources any more. */
static mxg_status end_run(mxg_exec *exec, const mxg_error *own, mxg_error *err) {
  exec->ran = true;
  if (exec->agreement) {
    mxg_error theirs = {0};
    double deadline = exec->view.deadline + report_patience;
    mxg_status status = mxg_job_agree(exec->agreement->job, "the end of the run", own, deadline, &theirs);
    if (status != MXG_OK && own->status == MXG_OK && exec->table->tell) exec->table->tell(exec->state);
    if (status != MXG_OK && err) *err = theirs;
    return status;
  }
  if (own->status != MXG_OK && err) *err = *own;
  return own->status;
}

mxg_status mxg_exec_run(mxg_exec *exec, mxg_error *err) {
  mxg_error own = {0};
  if (!exec) return mxg_fail(err, MXG_ERR_USAGE, 601, "mxg_exec_run: exec is NULL");
  MXG_TRY(start_run(exec, err));
  mxg_range_begin("run ", exec->view.plan->name);
  if (make_run(exec, &own) == MXG_OK) (void)exec->table->run(exec->state, &own);
  mxg_range_end();
  return end_run(exec, &own, err);
}

/* ---- by group ---- */

static mxg_status check_group(const mxg_exec *exec, uint32_t group, mxg_error *err) {
  uint32_t groups = exec->view.plan->group_count;
  if (group == MXG_ALL_GROUPS || group < groups) return MXG_OK;
  return mxg_fail(err, MXG_ERR_USAGE, 601, "there is no group %u: the bundle has %u", group, groups);
}

/* Nothing has to be checked, and no process told, before the next start. */
static bool is_ready(const mxg_exec *exec) { return exec->checked && (!exec->agreement || !exec->changed); }

mxg_status mxg_exec_prepare(mxg_exec *exec, mxg_error *err) {
  if (!exec) return mxg_fail(err, MXG_ERR_USAGE, 601, "mxg_exec_prepare: exec is NULL");
  MXG_TRY(start_run(exec, err));
  return exec->table->prepare ? exec->table->prepare(exec->state, err) : MXG_OK;
}

/* A transport that can only do all of it at once: a run of a part of the schedule. */
static mxg_status start_whole(mxg_exec *exec, uint32_t group, void *const *streams, mxg_error *err) {
  mxg_error own = {0};
  bool captured = false;
  MXG_TRY(start_run(exec, err));
  (void)exec->table->start(exec->state, group, streams, &captured, &own);
  return end_run(exec, &own, err);
}

static mxg_status start_group(mxg_exec *exec, uint32_t group, void *const *streams, bool *captured, mxg_error *err) {
  const mxg_transport_table *table = exec->table;
  *captured = false;
  if (!table->wait) return start_whole(exec, group, streams, err);
  set_deadline(exec); /* of giving it to the GPUs */
  if (!is_ready(exec)) {
    MXG_TRY(table->captures(exec->state, streams, captured, err));
    if (*captured) {
      mxg_fail(err, MXG_ERR_USAGE, 682, "a start inside a capture, and nothing was prepared before it");
      mxg_error_help(err, "call mxg_exec_prepare, or start and wait once, before the capture begins");
      return MXG_ERR_USAGE;
    }
    MXG_TRY(start_run(exec, err));
  }
  return table->start(exec->state, group, streams, captured, err);
}

static void note_start(mxg_exec *exec, uint32_t group, enum start what) {
  for (uint32_t g = 0; g < exec->view.plan->group_count; g++)
    if (group == MXG_ALL_GROUPS || group == g) exec->starts[g] = (unsigned char)what;
}

mxg_status mxg_exec_start(mxg_exec *exec, uint32_t group, void *const *streams, mxg_error *err) {
  if (!exec) return mxg_fail(err, MXG_ERR_USAGE, 601, "mxg_exec_start: exec is NULL");
  const mxg_plan *plan = exec->view.plan;
  MXG_TRY(check_group(exec, group, err));
  if (!exec->table->start)
    return mxg_fail(err, MXG_ERR_UNSUPPORTED, 602, "transport %s has no start by group", exec->table->name);
  bool all = group == MXG_ALL_GROUPS, captured = false;
  mxg_range_begin(all ? "run " : "", all ? plan->name : plan->strings + plan->groups[group].name);
  mxg_status status = start_group(exec, group, streams, &captured, err);
  mxg_range_end();
  if (status == MXG_OK) note_start(exec, group, captured ? was_captured : was_started);
  return status;
}

static mxg_status refuse_wait(const mxg_exec *exec, uint32_t group, mxg_error *err) {
  const mxg_plan *plan = exec->view.plan;
  if (group == MXG_ALL_GROUPS) return mxg_fail(err, MXG_ERR_USAGE, 681, "no group was started outside of a capture");
  bool captured = exec->starts[group] == was_captured;
  return mxg_fail(err, MXG_ERR_USAGE, 681, "group %u, \"%s\", was %s", group, plan->strings + plan->groups[group].name,
                  captured ? "started inside a capture: it runs when its graph is launched" : "not started");
}

mxg_status mxg_exec_wait(mxg_exec *exec, uint32_t group, mxg_error *err) {
  if (!exec) return mxg_fail(err, MXG_ERR_USAGE, 601, "mxg_exec_wait: exec is NULL");
  const mxg_plan *plan = exec->view.plan;
  MXG_TRY(check_group(exec, group, err));
  bool any = plan->group_count == 0;
  for (uint32_t g = 0; g < plan->group_count; g++)
    if (group == MXG_ALL_GROUPS || group == g) any = any || exec->starts[g] == was_started;
  if (!any) return refuse_wait(exec, group, err);
  set_deadline(exec);
  return exec->table->wait ? exec->table->wait(exec->state, group, err) : MXG_OK;
}

mxg_status mxg_exec_measure(mxg_exec *exec, unsigned repeats, double *seconds, double *fastest, double *start_seconds,
                            mxg_error *err) {
  mxg_error own = {0};
  if (!exec || !seconds || repeats == 0)
    return mxg_fail(err, MXG_ERR_USAGE, 601, "mxg_exec_measure: exec or seconds is NULL, or repeats is 0");
  if (!exec->table->measure)
    return mxg_fail(err, MXG_ERR_UNSUPPORTED, 602, "transport %s has no device to measure", exec->table->name);
  MXG_TRY(start_run(exec, err));
  if (make_run(exec, &own) == MXG_OK)
    (void)exec->table->measure(exec->state, repeats, seconds, fastest, start_seconds, &own);
  MXG_TRY(end_run(exec, &own, err));
  return exec->agreement ? mxg_agreement_times(exec->agreement, repeats, seconds, fastest, start_seconds,
                                               exec->view.deadline + report_patience, err)
                         : MXG_OK;
}

mxg_status mxg_exec_trace(mxg_exec *exec, const char *path, mxg_error *err) {
  mxg_error own = {0};
  if (!exec || !path) return mxg_fail(err, MXG_ERR_USAGE, 601, "mxg_exec_trace: exec or path is NULL");
  if (!exec->table->trace)
    return mxg_fail(err, MXG_ERR_UNSUPPORTED, 602, "transport %s has no device to trace", exec->table->name);
  MXG_TRY(start_run(exec, err));
  if (make_run(exec, &own) == MXG_OK) (void)exec->table->trace(exec->state, path, &own);
  return end_run(exec, &own, err);
}

const char *mxg_transport_name(mxg_transport transport) {
  static const char *const names[] = {"host", "nccl", "copy", "direct", "auto"};
  return (unsigned)transport < sizeof names / sizeof *names ? names[transport] : "unknown";
}

mxg_transport mxg_exec_transport(const mxg_exec *exec, const char **why) {
  if (why) *why = exec->why;
  return exec->transport;
}

uint64_t mxg_exec_device_bytes(const mxg_exec *exec, uint32_t rank) {
  return exec && exec->table->device_bytes ? exec->table->device_bytes(exec->state, rank) : 0;
}
