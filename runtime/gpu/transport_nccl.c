/* transport_nccl.c -- every rank sends what others want of it and receives what it wants, round by round, and kernels
** convert behind. Any GPUs that NCCL connects will do, on one machine or many.
**
** Streams: 1 exchanges, 2 packs, 0 converts. What a round sends is packed while rounds before it are under way, into one
** of a few areas; what is sent and received so lies in memory that NCCL has registered, where a message goes straight
** from one rank's to the other's. Conversions fill the GPU, and what packs behind them is late: areas are so many
** that it may be. How a communicator comes to be, and when it is given up, is nccl_team.c's. */
#include "error.h"
#include "exchange.h"
#include "memory.h"
#include "order.h"
#include "transport_gpu.h"

#include <stdlib.h>

enum { stream_converts = 0, stream_exchanges = 1, stream_packs = 2 };

/* A gather step that concerns this rank, as its receiver or as its source. */
typedef struct want {
  uint32_t bucket, to, from, step;
} want;

/* A region on its way. Of one that this rank gets: the slot of the plan's staging that it goes into, and where to. */
typedef struct passage {
  mxg_region region;
  uint32_t slot;
  uint64_t at;
} passage;

typedef struct passages {
  passage *items;
  size_t count, capacity;
} passages;

/* What this rank gets in one round, from when it is exchanged until it is converted. */
typedef struct intake {
  uint32_t event;
  passages got;
} intake;

typedef struct maker {
  mxg_gpu_rank *rank;
  mxg_gpu_program *program; /* NULL: only measures */
  const mxg_plan *plan;
  uint32_t group;
  mxg_rounds rounds;
  want *wants;
  size_t want_count, want_capacity;
  uint32_t *steps;                   /* of one pair and bucket; room for all */
  intake *intakes;                   /* by round */
  uint64_t *slots, pack_bytes;       /* what of each slot is received into; an area to pack in. Measured */
  uint64_t bucket_bytes;             /* of the bucket that is received, so far */
  uint32_t next_round, packs, areas; /* packs: rounds with something to send */
  uint32_t packed[MXG_PACK_AREAS], free_again[MXG_PACK_AREAS]; /* events */
  bool failed, used[3];                                        /* streams */
} maker;

/* ---- who wants what ---- */

static int by_bucket(const void *a, const void *b) {
  const want *x = a, *y = b;
  const uint64_t left[] = {x->bucket, x->to, x->from, x->step}, right[] = {y->bucket, y->to, y->from, y->step};
  return mxg_order(left, right, sizeof left / sizeof *left);
}

static void find_wants(maker *m) {
  for (uint32_t to = 0; to < m->plan->rank_count; to++) {
    const mxg_rank *rank = &m->plan->ranks[to];
    for (uint32_t s = rank->first_step; s < rank->first_step + rank->steps && !m->failed; s++) {
      const mxg_step *step = &m->plan->steps[s];
      if (step->kind != MXG_STEP_GATHER || (to != m->rank->rank && step->peer != m->rank->rank)) continue;
      if (m->group != MXG_NONE && m->group != step->group) continue;
      want *fresh = mxg_vector_push((void **)&m->wants, &m->want_count, &m->want_capacity, sizeof *fresh);
      m->failed = !fresh;
      if (fresh) *fresh = (want){step->bucket, to, step->peer, s};
    }
  }
  if (m->want_count > 1) qsort(m->wants, m->want_count, sizeof *m->wants, by_bucket);
}

/* The first want of a bucket. */
static size_t first_want(const maker *m, uint32_t bucket) {
  size_t low = 0, high = m->want_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (m->wants[middle].bucket < bucket)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* The region of the pair whose wants begin at *at in one round; *at goes to the next pair. */
static void next_passage(maker *m, passages *all, const mxg_round *round, size_t *at) {
  const want *w = &m->wants[*at];
  passage *fresh = mxg_vector_push((void **)&all->items, &all->count, &all->capacity, sizeof *fresh);
  size_t count = 0;
  for (; *at < m->want_count; ++*at) {
    const want *next = &m->wants[*at];
    if (next->bucket != w->bucket || next->to != w->to || next->from != w->from) break;
    m->steps[count++] = next->step;
  }
  if (fresh) {
    *fresh = (passage){.slot = m->plan->steps[w->step].slot};
    mxg_region_make(&fresh->region, m->plan, w->from, w->to, round, m->steps, count);
  }
  m->failed = m->failed || !fresh || fresh->region.failed;
}

/* What this rank sends and gets in one round, in the order that all ranks keep to. */
static void find_passages(maker *m, passages *all, const mxg_round *round) {
  *all = (passages){0};
  for (size_t at = first_want(m, round->bucket); at < m->want_count && !m->failed;) {
    if (m->wants[at].bucket != round->bucket) break;
    next_passage(m, all, round, &at);
  }
}

static void free_passages(passages *all) {
  for (size_t i = 0; i < all->count; i++) mxg_region_free(&all->items[i].region);
  mxg_free(all->items);
  *all = (passages){0};
}

/* ---- staging ---- */

static uint64_t slot_address(const maker *m, uint32_t slot) {
  uint64_t at = m->rank->staging;
  for (uint32_t s = 0; s < slot; s++) at += m->slots[s];
  return at;
}

static uint64_t pack_address(const maker *m, uint32_t area) {
  return slot_address(m, m->plan->slots) + area * m->pack_bytes;
}

/* What one round needs: room in the slot of the own bucket, and an area for what is packed for others. */
static void measure_round(maker *m, uint32_t index) {
  const mxg_round *round = &m->rounds.items[index];
  uint64_t packs = 0;
  passages all;
  find_passages(m, &all, round);
  if (round->begin == 0) m->bucket_bytes = 0;
  for (size_t i = 0; i < all.count && !m->failed; i++) {
    const passage *p = &all.items[i];
    if (p->region.to != m->rank->rank) {
      packs += p->region.bytes;
    } else {
      uint64_t *slot = &m->slots[p->slot];
      m->bucket_bytes += p->region.bytes;
      if (*slot < m->bucket_bytes) *slot = m->bucket_bytes;
    }
  }
  free_passages(&all);
  if (m->pack_bytes < packs) m->pack_bytes = packs;
  if (packs && m->areas < MXG_PACK_AREAS) m->areas++;
}

static bool begin_making(maker *m, mxg_gpu_rank *r, uint32_t group) {
  *m = (maker){.rank = r, .plan = r->team->view->plan, .group = group};
  mxg_rounds_make(&m->rounds, m->plan, group, r->team->view->options.chunk_bytes);
  m->failed = m->rounds.failed;
  if (!m->failed) find_wants(m);
  m->steps = mxg_alloc((m->want_count + 1) * sizeof *m->steps);
  m->slots = mxg_alloc((m->plan->slots + 1) * sizeof *m->slots);
  m->intakes = mxg_alloc((m->rounds.count + 1) * sizeof *m->intakes);
  m->failed = m->failed || !m->steps || !m->slots || !m->intakes;
  for (uint32_t i = 0; i < m->rounds.count && !m->failed; i++) measure_round(m, i);
  return !m->failed;
}

static void end_making(maker *m) {
  for (size_t i = 0; m->intakes && i < m->rounds.count; i++) free_passages(&m->intakes[i].got);
  mxg_rounds_free(&m->rounds);
  mxg_free(m->wants);
  mxg_free(m->steps);
  mxg_free(m->slots);
  mxg_free(m->intakes);
}

bool mxg_nccl_measure(mxg_gpu_rank *r, uint64_t *bytes) {
  const uint32_t groups = r->team->view->plan->group_count;
  bool fine = true;
  *bytes = 0;
  for (uint32_t g = 0; g <= groups && fine; g++) { /* of each group, and of all: they take turns in the same memory */
    maker m;
    fine = begin_making(&m, r, g < groups ? g : MXG_NONE);
    uint64_t need = fine ? slot_address(&m, m.plan->slots) - r->staging + m.areas * m.pack_bytes : 0;
    if (*bytes < need) *bytes = need;
    end_making(&m);
  }
  return fine;
}

/* ---- one round ---- */

/* A stream that is used for the first time begins when stream 0 has come here. */
static void use(maker *m, unsigned stream) {
  if (!m->used[stream]) mxg_program_order(m->program, stream_converts, stream);
  m->used[stream] = true;
}

/* Copies of a region's runs, to `to`. */
static void pack(maker *m, const mxg_region *region, uint64_t to) {
  mxg_copies copies = {0};
  for (size_t i = 0; i < region->run_count; i++) {
    const mxg_run *run = &region->runs[i];
    const mxg_place *place = &m->rank->team->places[run->array];
    uint64_t from = (run->scales ? place->scale : place->data) + run->from;
    if (i == 0 || run->array != run[-1].array || run->scales != run[-1].scales) mxg_copies_apart(&copies);
    mxg_copies_add(&copies, (mxg_copy){to + run->to, from, run->width, run->height, run->width, run->pitch});
  }
  mxg_copies_apart(&copies);
  for (size_t i = 0; i < copies.count; i++) mxg_program_copy(m->program, stream_packs, &copies.items[i]);
  m->failed = m->failed || copies.failed;
  mxg_copies_free(&copies);
}

/* What of the round is packed for others, in the area whose turn it is. True: there is some. */
static bool pack_round(maker *m, const passages *all, uint32_t area) {
  uint64_t to = pack_address(m, area);
  bool any = false;
  for (size_t i = 0; i < all->count && !m->failed; i++) {
    const mxg_region *region = &all->items[i].region;
    if (region->to == m->rank->rank || region->bytes == 0) continue;
    use(m, stream_packs);
    if (!any && m->packs >= m->areas) mxg_program_follow(m->program, stream_packs, m->free_again[area]);
    any = true;
    pack(m, region, to);
    to += region->bytes;
  }
  if (any) m->packed[area] = mxg_program_record(m->program, stream_packs);
  return any;
}

/* The region goes with it. */
static void keep(maker *m, passages *got, passage *p) {
  passage *fresh = mxg_vector_push((void **)&got->items, &got->count, &got->capacity, sizeof *fresh);
  m->failed = m->failed || !fresh;
  if (!fresh) return;
  *fresh = *p;
  p->region = (mxg_region){0};
}

/* Nothing is exchanged by a rank that neither sends nor receives in a round: nobody waits for it there. */
static void exchange_round(maker *m, uint32_t index) {
  const mxg_round *round = &m->rounds.items[index];
  intake *in = &m->intakes[index];
  uint32_t area = m->areas ? m->packs % m->areas : 0;
  passages all;
  find_passages(m, &all, round);
  bool packs = pack_round(m, &all, area), any = false;
  uint64_t packed = pack_address(m, area);
  if (round->begin == 0) m->bucket_bytes = 0;
  for (size_t i = 0; i < all.count && !m->failed; i++) {
    passage *p = &all.items[i];
    const uint64_t bytes = p->region.bytes;
    if (!any && bytes) {
      use(m, stream_exchanges);
      if (packs) mxg_program_follow(m->program, stream_exchanges, m->packed[area]);
      mxg_program_exchange(m->program, stream_exchanges);
      any = true;
    }
    if (p->region.to != m->rank->rank) {
      mxg_program_transfer(m->program, &(mxg_transfer){MXG_SEND, p->region.to, packed, bytes});
      packed += bytes;
    } else {
      p->at = slot_address(m, p->slot) + m->bucket_bytes;
      m->bucket_bytes += bytes;
      mxg_program_transfer(m->program, &(mxg_transfer){MXG_RECEIVE, p->region.from, p->at, bytes});
      keep(m, &in->got, p);
    }
  }
  free_passages(&all);
  if (any) in->event = mxg_program_record(m->program, stream_exchanges);
  if (packs) m->free_again[area] = in->event, m->packs++;
}

static void exchange_until(maker *m, uint32_t bucket) {
  while (m->next_round < m->rounds.count && m->rounds.items[m->next_round].bucket <= bucket && !m->failed)
    exchange_round(m, m->next_round++);
}

/* ---- converts ---- */

/* Swizzled scales are read by a kernel for the source as it lies, all others in wire form. */
static bool is_far(const mxg_plan *plan, const mxg_piece *part) {
  const mxg_encoding *e = &plan->encodings[plan->arrays[part->src].encoding];
  return e->scale != MX_SCALE_NONE && e->layout == MX_SWIZZLED;
}

/* Entries of a part, with the addresses that its segments really have. Returns how many. */
static uint32_t enter_part(const maker *m, const passage *from, uint32_t index, mx_entry *entry, uint64_t *tiles) {
  const mxg_region *region = &from->region;
  mxg_plan lent = mxg_parts_plan(&region->parts, m->plan);
  const mxg_piece *part = &lent.pieces[index];
  bool far = is_far(m->plan, part);
  uint64_t own = 0, elem = mxg_elem_bytes(lent.encodings[lent.arrays[part->src].encoding].elem);
  uint32_t made = mxg_launch_entries(entry, &own, &lent, index, 1, m->rank->team->places, 0, far);
  for (uint32_t s = part->first_segment; s < part->first_segment + part->segments; s++, entry++) {
    const mxg_spot *spot = &region->spots[s];
    entry->first_tile += *tiles;
    entry->src_ld = part->cols;
    entry->flags = 0;
    if (far) {
      entry->src_row -= spot->first_row;
      entry->src_col -= spot->first_col;
      entry->src_scale_ld = spot->ld;
    }
    entry->src = from->at + spot->data - ((uint64_t)entry->src_row * part->cols + entry->src_col) * elem;
    entry->src_scale =
        lent.encodings[lent.arrays[part->src].encoding].scale == MX_SCALE_NONE ? 0 : from->at + spot->scale;
  }
  *tiles += own;
  return made;
}

static uint32_t kernel_of(const maker *m, const mxg_piece *part) {
  return is_far(m->plan, part) ? part->kernel_direct : part->kernel;
}

/* All parts of a kernel as one launch. `done`: by part over all regions. */
static void convert_kernel(maker *m, const passages *got, uint32_t kernel, bool *done) {
  size_t segments = 0, p = 0;
  for (size_t r = 0; r < got->count; r++)
    for (size_t i = 0; i < got->items[r].region.parts.count; i++)
      if (kernel_of(m, &got->items[r].region.parts.pieces[i]) == kernel)
        segments += got->items[r].region.parts.pieces[i].segments;
  mx_entry *entries = mxg_program_entries(m->program, segments);
  uint64_t tiles = 0;
  uint32_t made = 0;
  for (size_t r = 0; r < got->count && entries; r++)
    for (uint32_t i = 0; i < got->items[r].region.parts.count; i++, p++) {
      const mxg_piece *part = &got->items[r].region.parts.pieces[i];
      if (done[p] || kernel_of(m, part) != kernel) continue;
      done[p] = true;
      if (!m->rank->team->kept[part->dst]) made += enter_part(m, &got->items[r], i, entries + made, &tiles);
    }
  if (entries) mxg_program_launch(m->program, stream_converts, kernel, made, tiles);
}

static void convert_round(maker *m, intake *in) {
  size_t parts = 0, p = 0;
  for (size_t r = 0; r < in->got.count; r++) parts += in->got.items[r].region.parts.count;
  bool *done = parts ? mxg_alloc(parts * sizeof *done) : NULL;
  if (parts && !done) m->failed = true;
  if (parts && !m->failed) mxg_program_follow(m->program, stream_converts, in->event);
  for (size_t r = 0; r < in->got.count && !m->failed; r++)
    for (size_t i = 0; i < in->got.items[r].region.parts.count && !m->program->failed; i++, p++)
      if (!done[p]) convert_kernel(m, &in->got, kernel_of(m, &in->got.items[r].region.parts.pieces[i]), done);
  mxg_free(done);
  free_passages(&in->got);
}

/* Pieces of the step that are at home or scratch, one launch for those side by side; for the first that is not, all
** that its bucket brings. */
static void convert(maker *m, const mxg_step *step) {
  const mxg_piece *pieces = m->plan->pieces;
  const bool *kept = m->rank->team->kept;
  const uint32_t end = step->first + step->count;
  for (uint32_t i = step->first, next; i < end && !m->failed; i = next) {
    next = i + 1;
    if (pieces[i].wire_bytes) {
      for (uint32_t r = m->rounds.first[step->bucket]; r < m->rounds.first[step->bucket + 1]; r++)
        if (m->intakes[r].got.count) convert_round(m, &m->intakes[r]);
    } else if (!kept[pieces[i].dst]) {
      while (next < end && !pieces[next].wire_bytes && !kept[pieces[next].dst]) next++;
      mxg_rank_convert(m->rank, stream_converts, m->plan, i, next - i, mxg_rank_slot(m->rank, step->slot), false);
    }
  }
}

/* ---- the program ---- */

static void make(maker *m) {
  const mxg_rank *rank = &m->plan->ranks[m->rank->rank];
  for (uint32_t s = rank->first_step; s < rank->first_step + rank->steps && !m->failed; s++) {
    const mxg_step *step = &m->plan->steps[s];
    if (!mxg_rank_takes(m->rank, step)) continue;
    switch ((mxg_step_kind)step->kind) {
    case MXG_STEP_FILL: mxg_rank_fill(m->rank, stream_converts, step); break;
    case MXG_STEP_GATHER: exchange_until(m, step->bucket); break;
    case MXG_STEP_WAIT: break; /* round by round, in the converts */
    case MXG_STEP_CONVERT: convert(m, step); break;
    case MXG_STEP_RELEASE:
      if (m->used[stream_exchanges]) mxg_program_order(m->program, stream_converts, stream_exchanges);
      mxg_program_mark(m->program, stream_converts, s);
      break;
    }
  }
  exchange_until(m, UINT32_MAX); /* what others still want */
  for (unsigned stream = 1; stream <= stream_packs; stream++)
    if (m->used[stream]) mxg_program_order(m->program, stream, stream_converts);
}

void mxg_nccl_build(mxg_gpu_rank *r) {
  maker m;
  if (begin_making(&m, r, r->program.part ? r->program.group : MXG_NONE)) {
    m.program = &r->program;
    make(&m);
  }
  r->program.failed = r->program.failed || m.failed;
  end_making(&m);
}
