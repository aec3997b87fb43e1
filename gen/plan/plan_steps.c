/* plan_steps.c -- the last stage of the planner: buckets, slots and steps of every target rank, and the proof that
** staging stays under the recipe's cap.
**
** Of one bucket the local pieces come first (they need no wait), then the gathered ones by kernel and source rank,
** then what reads scratch. Gathers run ahead of the converts by slots - 1 buckets; their order begins after the rank
** itself, so that no source is everybody's first. */
#include "planner.h"

#include "text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { wire_align = 256 };

typedef struct order_key {
  uint64_t when;  /* bucket, phase, gathered */
  uint64_t what;  /* kernel, turn */
  uint32_t order; /* of making */
  uint32_t index; /* of the piece before sorting */
} order_key;

typedef struct bucket {
  uint32_t first, count;      /* pieces */
  uint32_t first_gathered;    /* the gathered pieces of phase 0 are [first_gathered, first_later) */
  uint32_t first_later;       /* phases 1 and 2 */
  uint32_t first_fill, fills; /* of the fills table */
  uint64_t slot_bytes;        /* 0: the bucket needs no slot */
  uint32_t slot;
  uint32_t group;
} bucket;

typedef struct gather {
  mxg_step step;
  uint32_t turn;
} gather;

typedef struct builder {
  mxg_planner *planner;
  uint32_t rank, first, count; /* the rank's pieces */
  mxg_table buckets;
  mxg_table gathers;   /* of one bucket */
  uint64_t *turns;     /* one a rank: for place_wires */
  uint32_t slots_used; /* buckets so far that have a slot */
  uint64_t largest;    /* slot */
} builder;

static uint64_t round_up(uint64_t bytes) { return (bytes + wire_align - 1) / wire_align * wire_align; }

/* ---- buckets ---- */

/* Wire form of a piece before settle_tables: mxg_wire_of needs a plan, so lend it the tables in the making. */
static uint64_t wire_bytes(const mxg_planner *planner, const mxg_piece *piece) {
  mxg_plan lent = {
      .arrays = planner->arrays.items, .segments = planner->segments.items, .encodings = planner->encodings.items};
  return mxg_wire_of(&lent, piece).bytes;
}

/* The layer of a piece; where groups are buckets, there are no borders but those of size. */
static uint32_t layer_of(const builder *build, uint32_t piece) {
  const mxg_piece_note *notes = build->planner->notes.items;
  return build->planner->tensor_groups ? build->planner->tensor_groups[notes[piece].tensor] : 0;
}

/* Whether a bucket with `held` bytes should end before piece i: a tensor begins there which fits into a bucket, but
** not into what is left of this one, of which most is used. What of a stack of experts lies together is then moved
** together. */
static bool ends_before(const builder *build, uint32_t i, uint64_t held) {
  const mxg_planner *planner = build->planner;
  const mxg_piece_note *notes = planner->notes.items;
  const mxg_piece *pieces = planner->pieces.items;
  const uint64_t most = planner->model->bucket_bytes;
  uint64_t bytes = 0;
  if (i == build->first || notes[i].tensor == notes[i - 1].tensor || held < most / 2) return false;
  for (uint32_t k = i; k < build->first + build->count && notes[k].tensor == notes[i].tensor && bytes <= most; k++)
    if (notes[k].gathered) bytes += round_up(wire_bytes(planner, &pieces[k]));
  return bytes <= most && held + bytes > most;
}

/* Gives each piece its bucket: pieces that must share one in order, at most the recipe's bucket of bytes each. */
static mxg_status fill_buckets(builder *build) {
  mxg_planner *planner = build->planner;
  mxg_piece *pieces = planner->pieces.items;
  const mxg_piece_note *notes = planner->notes.items;
  const mxg_scratch_note *scratches = planner->scratches.items;
  uint32_t scratch = planner->scratch_of_rank[build->rank], scratch_end = planner->scratch_of_rank[build->rank + 1];
  uint32_t bucket_index = 0, end = build->first + build->count;
  uint64_t held = 0;
  for (uint32_t i = build->first, next; i < end; i = next) {
    uint64_t bytes = 0;
    for (next = i; next < end && notes[next].group == notes[i].group; next++) {
      if (!notes[next].gathered) continue;
      pieces[next].wire_bytes = wire_bytes(planner, &pieces[next]);
      bytes += round_up(pieces[next].wire_bytes);
    }
    while (scratch < scratch_end && scratches[scratch].group < notes[i].group) scratch++;
    if (scratch < scratch_end && scratches[scratch].group == notes[i].group)
      bytes += round_up(scratches[scratch].bytes);
    bool border = i > build->first && layer_of(build, i) != layer_of(build, i - 1);
    if (border || ends_before(build, i, held) || (held && held + bytes > planner->model->bucket_bytes)) {
      bucket_index++;
      held = 0;
    }
    held += bytes;
    for (uint32_t k = i; k < next; k++) pieces[k].bucket = bucket_index;
  }
  for (uint32_t b = 0; build->count && b <= bucket_index; b++) {
    if (!mxg_table_push(planner, &build->buckets, sizeof(bucket))) return MXG_ERR_NOMEM;
  }
  return MXG_OK;
}

static int by_step(const void *a, const void *b) {
  const order_key *x = a, *y = b;
  if (x->when != y->when) return x->when < y->when ? -1 : 1;
  if (x->what != y->what) return x->what < y->what ? -1 : 1;
  return x->order < y->order ? -1 : x->order > y->order;
}

static uint32_t turn_of(const builder *build, uint32_t peer) {
  uint32_t ranks = build->planner->plan->rank_count;
  return (peer + ranks - build->rank) % ranks;
}

static mxg_status sort_pieces(builder *build) {
  mxg_planner *planner = build->planner;
  mxg_piece *pieces = (mxg_piece *)planner->pieces.items + build->first;
  mxg_piece_note *notes = (mxg_piece_note *)planner->notes.items + build->first;
  order_key *keys = mxg_alloc(build->count * sizeof *keys);
  mxg_piece *sorted = mxg_alloc(build->count * sizeof *sorted);
  mxg_piece_note *sorted_notes = mxg_alloc(build->count * sizeof *sorted_notes);
  if (keys && sorted && sorted_notes) {
    for (uint32_t i = 0; i < build->count; i++)
      keys[i] = (order_key){.when = (uint64_t)pieces[i].bucket << 8 | pieces[i].phase << 1 | notes[i].gathered,
                            .what = (uint64_t)pieces[i].kernel << 32 | turn_of(build, notes[i].peer),
                            .order = notes[i].order,
                            .index = i};
    /* Buckets stand in order already. */
    for (uint32_t i = 0, next; i < build->count; i = next) {
      for (next = i + 1; next < build->count && pieces[next].bucket == pieces[i].bucket;) next++;
      mxg_planner_sort(keys + i, next - i, sizeof *keys, by_step);
    }
    for (uint32_t i = 0; i < build->count; i++) {
      sorted[i] = pieces[keys[i].index];
      sorted_notes[i] = notes[keys[i].index];
    }
    memcpy(pieces, sorted, build->count * sizeof *sorted);
    memcpy(notes, sorted_notes, build->count * sizeof *sorted_notes);
  }
  bool failed = !keys || !sorted || !sorted_notes;
  mxg_free(keys);
  mxg_free(sorted);
  mxg_free(sorted_notes);
  return failed ? mxg_fail_nomem(planner->err) : MXG_OK;
}

static void find_ranges(builder *build) {
  const mxg_piece *pieces = build->planner->pieces.items;
  const mxg_piece_note *notes = build->planner->notes.items;
  bucket *buckets = build->buckets.items;
  uint32_t at = build->first, end = build->first + build->count;
  for (uint32_t b = 0; b < build->buckets.count; b++) {
    buckets[b].first = at;
    while (at < end && pieces[at].bucket == b && pieces[at].phase == 0 && !notes[at].gathered) at++;
    buckets[b].first_gathered = at;
    while (at < end && pieces[at].bucket == b && pieces[at].phase == 0) at++;
    buckets[b].first_later = at;
    while (at < end && pieces[at].bucket == b) at++;
    buckets[b].count = at - buckets[b].first;
    buckets[b].group = build->planner->tensor_groups ? layer_of(build, buckets[b].first) : b;
  }
  assert(at == end);
}

/* Wire forms lie source rank by source rank, so that all that one peer sends of a bucket is one region. */
static void place_wires(builder *build, bucket *in) {
  mxg_piece *pieces = build->planner->pieces.items;
  const mxg_piece_note *notes = build->planner->notes.items;
  uint64_t *next = build->turns, offset = 0;
  uint32_t ranks = build->planner->plan->rank_count;
  if (in->first_gathered == in->first_later) return;
  memset(next, 0, ranks * sizeof *next);
  for (uint32_t i = in->first_gathered; i < in->first_later; i++)
    next[turn_of(build, notes[i].peer)] += round_up(pieces[i].wire_bytes);
  for (uint32_t turn = 0; turn < ranks; turn++) {
    uint64_t bytes = next[turn];
    next[turn] = offset;
    offset += bytes;
  }
  for (uint32_t i = in->first_gathered; i < in->first_later; i++) {
    uint64_t *at = &next[turn_of(build, notes[i].peer)];
    pieces[i].wire_offset = *at;
    *at += round_up(pieces[i].wire_bytes);
  }
  in->slot_bytes = offset;
}

/* Scratch follows the wires of its bucket. */
static void place_scratch(builder *build) {
  mxg_planner *planner = build->planner;
  mxg_array *arrays = planner->arrays.items;
  const mxg_scratch_note *scratches = planner->scratches.items;
  const mxg_piece *pieces = planner->pieces.items;
  bucket *buckets = build->buckets.items;
  for (uint32_t b = 0; b < build->buckets.count; b++) {
    for (uint32_t i = buckets[b].first_later; i < buckets[b].first + buckets[b].count; i++) {
      if (pieces[i].phase != 2) continue;
      mxg_array *array = &arrays[pieces[i].src];
      uint32_t s = planner->scratch_of_rank[build->rank];
      while (scratches[s].array != pieces[i].src) s++;
      array->offset = buckets[b].slot_bytes;
      buckets[b].slot_bytes += round_up(scratches[s].bytes);
    }
  }
}

/* ---- steps ---- */

static mxg_status push_step(builder *build, mxg_step step) {
  mxg_step *fresh = mxg_table_push(build->planner, &build->planner->steps, sizeof *fresh);
  if (!fresh) return MXG_ERR_NOMEM;
  *fresh = step;
  fresh->group = ((const bucket *)build->buckets.items)[step.bucket].group;
  return MXG_OK;
}

static int by_turn(const void *a, const void *b) {
  const gather *x = a, *y = b;
  if (x->turn != y->turn) return x->turn < y->turn ? -1 : 1;
  return x->step.first < y->step.first ? -1 : x->step.first > y->step.first;
}

/* A step for each run of pieces with one kernel and one source rank. */
static mxg_status push_gathers(builder *build, uint32_t b) {
  const mxg_piece *pieces = build->planner->pieces.items;
  const mxg_piece_note *notes = build->planner->notes.items;
  const bucket *in = (const bucket *)build->buckets.items + b;
  mxg_table *gathers = &build->gathers;
  gathers->count = 0;
  for (uint32_t i = in->first_gathered, next; i < in->first_later; i = next) {
    gather *fresh = mxg_table_push(build->planner, gathers, sizeof *fresh);
    if (!fresh) return MXG_ERR_NOMEM;
    mxg_step step = {
        .kind = MXG_STEP_GATHER, .bucket = b, .slot = in->slot, .first = i, .kernel = MXG_NONE, .peer = notes[i].peer};
    for (next = i; next < in->first_later && notes[next].peer == notes[i].peer; next++) {
      if (pieces[next].kernel != pieces[i].kernel) break;
      step.bytes += pieces[next].wire_bytes;
    }
    step.count = next - i;
    *fresh = (gather){step, turn_of(build, step.peer)};
  }
  const gather *sorted = gathers->items;
  mxg_planner_sort(gathers->items, gathers->count, sizeof *sorted, by_turn);
  for (size_t i = 0; i < gathers->count; i++) {
    MXG_TRY(push_step(build, sorted[i].step));
    build->planner->plan->ranks[build->rank].received_bytes += sorted[i].step.bytes;
  }
  return MXG_OK;
}

static uint64_t converted_bytes(const builder *build, const mxg_piece *piece) {
  const mxg_kernel *kernel = (const mxg_kernel *)build->planner->kernels.items + piece->kernel;
  uint64_t bytes = 0;
  const mxg_encoding *sides[] = {&kernel->src, &kernel->dst};
  for (int i = 0; i < 2; i++) {
    bytes += piece->rows * piece->cols * mxg_elem_bytes(sides[i]->elem);
    mxg_scale_shape scales = mxg_scale_shape_of(sides[i], piece->rows, piece->cols);
    bytes += scales.rows * scales.cols * scales.bytes_each;
  }
  return kernel->family == MXG_AMAX ? piece->rows * piece->cols * 4 : bytes;
}

static mxg_status push_converts(builder *build, uint32_t b, uint32_t first, uint32_t end) {
  const mxg_piece *pieces = build->planner->pieces.items;
  const bucket *in = (const bucket *)build->buckets.items + b;
  for (uint32_t i = first, next; i < end; i = next) {
    mxg_step step = {.kind = MXG_STEP_CONVERT,
                     .bucket = b,
                     .slot = in->slot,
                     .first = i,
                     .kernel = pieces[i].kernel,
                     .peer = MXG_NONE};
    for (next = i; next < end && pieces[next].kernel == step.kernel && pieces[next].phase == pieces[i].phase; next++)
      step.bytes += converted_bytes(build, &pieces[next]);
    step.count = next - i;
    MXG_TRY(push_step(build, step));
  }
  return MXG_OK;
}

/* The gathers of bucket `b`, after the bucket that had its slot before is done. */
static mxg_status open_bucket(builder *build, uint32_t b) {
  bucket *buckets = build->buckets.items;
  uint32_t slots = build->planner->model->slots;
  if (buckets[b].slot_bytes) {
    buckets[b].slot = build->slots_used++ % slots;
    for (uint32_t before = b; before-- > 0;) {
      if (!buckets[before].slot_bytes || buckets[before].slot != buckets[b].slot) continue;
      MXG_TRY(push_step(build, (mxg_step){.kind = MXG_STEP_RELEASE,
                                          .bucket = before,
                                          .slot = buckets[b].slot,
                                          .kernel = MXG_NONE,
                                          .peer = MXG_NONE}));
      break;
    }
  }
  return push_gathers(build, b);
}

static mxg_status close_bucket(builder *build, uint32_t b) {
  const bucket *in = (const bucket *)build->buckets.items + b;
  mxg_step step = {.kind = MXG_STEP_FILL,
                   .bucket = b,
                   .slot = in->slot,
                   .first = in->first_fill,
                   .count = in->fills,
                   .kernel = MXG_NONE,
                   .peer = MXG_NONE};
  if (in->fills) MXG_TRY(push_step(build, step));
  MXG_TRY(push_converts(build, b, in->first, in->first_gathered));
  if (in->first_gathered < in->first_later)
    MXG_TRY(push_step(
        build, (mxg_step){.kind = MXG_STEP_WAIT, .bucket = b, .slot = in->slot, .kernel = MXG_NONE, .peer = MXG_NONE}));
  MXG_TRY(push_converts(build, b, in->first_gathered, in->first_later));
  return push_converts(build, b, in->first_later, in->first + in->count);
}

static mxg_status push_steps(builder *build) {
  uint32_t opened = 0, count = (uint32_t)build->buckets.count, slots = build->planner->model->slots;
  const bucket *buckets = build->buckets.items;
  uint32_t slots_open = 0; /* buckets with a slot that are opened and not closed */
  for (uint32_t b = 0; b < count; b++) {
    while (opened < count && (opened <= b || slots_open < slots)) {
      MXG_TRY(open_bucket(build, opened));
      slots_open += buckets[opened++].slot_bytes != 0;
    }
    MXG_TRY(close_bucket(build, b));
    slots_open -= buckets[b].slot_bytes != 0;
  }
  return MXG_OK;
}

/* ---- fills ---- */

typedef struct fill_key {
  uint32_t rank, bucket, order;
} fill_key;

static int by_bucket(const void *a, const void *b) {
  const fill_key *x = a, *y = b;
  if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
  if (x->bucket != y->bucket) return x->bucket < y->bucket ? -1 : 1;
  return x->order < y->order ? -1 : 1;
}

/* A fill belongs to the first bucket that writes its array, or to bucket 0; fills are sorted by rank and bucket. */
static mxg_status sort_fills(mxg_planner *planner) {
  size_t count = planner->fills.count;
  if (count == 0) return MXG_OK;
  const mxg_array *arrays = planner->arrays.items;
  const mxg_piece *pieces = planner->pieces.items;
  uint32_t *first_bucket = mxg_alloc(planner->arrays.count * sizeof *first_bucket);
  fill_key *keys = mxg_alloc(count * sizeof *keys);
  mxg_fill *sorted = mxg_alloc(count * sizeof *sorted);
  if (first_bucket && keys && sorted) {
    mxg_fill *fills = planner->fills.items;
    memset(first_bucket, 0xff, planner->arrays.count * sizeof *first_bucket);
    for (size_t i = 0; i < planner->pieces.count; i++) {
      if (pieces[i].bucket < first_bucket[pieces[i].dst]) first_bucket[pieces[i].dst] = pieces[i].bucket;
    }
    for (size_t i = 0; i < count; i++) {
      uint32_t b = first_bucket[fills[i].array];
      fills[i].bucket = b == MXG_NONE ? 0 : b;
      keys[i] = (fill_key){arrays[fills[i].array].rank, fills[i].bucket, (uint32_t)i};
    }
    mxg_planner_sort(keys, count, sizeof *keys, by_bucket);
    for (size_t i = 0; i < count; i++) sorted[i] = fills[keys[i].order];
    memcpy(fills, sorted, count * sizeof *sorted);
  }
  bool failed = !first_bucket || !keys || !sorted;
  mxg_free(first_bucket);
  mxg_free(keys);
  mxg_free(sorted);
  return failed ? mxg_fail_nomem(planner->err) : MXG_OK;
}

/* Takes the rank's fills from the sorted table; `*at` walks it once over all ranks. */
static mxg_status take_fills(builder *build, size_t *at) {
  const mxg_fill *fills = build->planner->fills.items;
  const mxg_array *arrays = build->planner->arrays.items;
  size_t count = build->planner->fills.count;
  bool any = *at < count && arrays[fills[*at].array].rank == build->rank;
  if (any && !build->buckets.count && !mxg_table_push(build->planner, &build->buckets, sizeof(bucket)))
    return MXG_ERR_NOMEM;
  bucket *buckets = build->buckets.items;
  for (; *at < count && arrays[fills[*at].array].rank == build->rank; ++*at) {
    bucket *in = &buckets[fills[*at].bucket];
    if (in->fills++ == 0) in->first_fill = (uint32_t)*at;
  }
  return MXG_OK;
}

/* ---- all ranks ---- */

static mxg_status bucket_rank(builder *build) {
  MXG_TRY(fill_buckets(build));
  MXG_TRY(sort_pieces(build));
  find_ranges(build);
  bucket *buckets = build->buckets.items;
  for (uint32_t b = 0; b < build->buckets.count; b++) place_wires(build, &buckets[b]);
  place_scratch(build);
  for (uint32_t b = 0; b < build->buckets.count; b++) {
    if (buckets[b].slot_bytes > build->largest) build->largest = buckets[b].slot_bytes;
  }
  return MXG_OK;
}

static mxg_status check_cap(mxg_planner *planner) {
  const mxg_model *model = planner->model;
  mxg_plan *plan = planner->plan;
  uint64_t need = 0;
  uint32_t worst = 0;
  for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
    if (plan->ranks[rank].staging_bytes > need) need = plan->ranks[rank].staging_bytes, worst = rank;
  }
  if (need <= model->staging_bytes) return MXG_OK;
  mxg_text sizes = {0};
  mxg_text_size(&sizes, need);
  mxg_text_puts(&sizes, " of staging, more than the cap of ");
  mxg_text_size(&sizes, model->staging_bytes);
  mxg_fail(planner->err, MXG_ERR_INPUT, 413, "the plan needs %s",
           sizes.failed ? "more staging than the cap" : sizes.bytes);
  mxg_text_free(&sizes);
  const mxg_origin *at = &model->schedule_origin;
  mxg_error_place(planner->err, at->file, at->line, at->column, at->span);
  mxg_error_note(planner->err, "rank %u needs %u slots of %llu bytes each", worst, plan->slots,
                 (unsigned long long)plan->slot_bytes);
  mxg_error_help(planner->err, "give schedule a smaller bucket, fewer slots, or staging = \"%lluMiB\"",
                 (unsigned long long)((need + (1u << 20) - 1) >> 20));
  return MXG_ERR_INPUT;
}

mxg_status mxg_plan_steps(mxg_planner *planner) {
  mxg_plan *plan = planner->plan;
  builder *builders = mxg_alloc(plan->rank_count * sizeof *builders);
  uint64_t *turns = mxg_alloc(plan->rank_count * sizeof *turns);
  if (!builders || !turns) {
    mxg_free(builders);
    mxg_free(turns);
    return mxg_fail_nomem(planner->err);
  }
  plan->staging_cap = planner->model->staging_bytes;
  mxg_status status = MXG_OK;
  for (uint32_t rank = 0; rank < plan->rank_count && status == MXG_OK; rank++) {
    uint32_t first = planner->piece_of_rank[rank];
    builders[rank] =
        (builder){.planner = planner, .rank = rank, .first = first, .count = planner->piece_of_rank[rank + 1] - first};
    builders[rank].turns = turns;
    status = bucket_rank(&builders[rank]);
    if (builders[rank].largest > plan->slot_bytes) plan->slot_bytes = builders[rank].largest;
  }
  if (status == MXG_OK) status = sort_fills(planner);
  size_t fill = 0;
  uint32_t most_buckets = 0;
  for (uint32_t rank = 0; rank < plan->rank_count && status == MXG_OK; rank++) {
    plan->ranks[rank].first_step = (uint32_t)planner->steps.count;
    status = take_fills(&builders[rank], &fill);
    if (status == MXG_OK) status = push_steps(&builders[rank]);
    if (builders[rank].buckets.count > most_buckets) most_buckets = (uint32_t)builders[rank].buckets.count;
    plan->ranks[rank].steps = (uint32_t)planner->steps.count - plan->ranks[rank].first_step;
    uint32_t used =
        builders[rank].slots_used < planner->model->slots ? builders[rank].slots_used : planner->model->slots;
    plan->ranks[rank].staging_bytes = plan->slot_bytes * used;
    if (used > plan->slots) plan->slots = used;
  }
  for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
    mxg_free(builders[rank].buckets.items);
    mxg_free(builders[rank].gathers.items);
  }
  mxg_free(builders);
  mxg_free(turns);
  if (status == MXG_OK) status = mxg_plan_bucket_groups(planner, most_buckets);
  return status == MXG_OK ? check_cap(planner) : status;
}
