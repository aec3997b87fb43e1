/* transport_copy.c -- copy engines pull wires from the peers into slots, and kernels convert behind them.
**
** Seven things keep the link busy. Copies follow each other on one stream (more of them disturb each other, as measured
** on H100s), one source after another, each rank beginning with another (a stream a peer took three times as long on
** four H100s), and in turns (turns.h): without them ranks are soon at the same source, and have half of its link each
** while other links rest (1.45 of the floor for the layers of Llama 3 8B on four H100s, in turns 1.001). Copies are
** few: what lies together at its source is brought together and by one copy, many experts of a stack say, whatever the
** kernels make of it. What is converted at a time, a chunk, is smaller towards the end, where nothing is left to hide a
** conversion behind. Kernels beside copies take a part of the memory's bandwidth only (mxg_program_spread). Nothing is
** staged without need: elements without scales that stay as they are go straight to where they belong (with scales that
** would be two copies a tensor, and took 1.19 of the floor for the layers of Llama 3 8B, staged 1.04), and what is too
** small to be worth a copy is read by its kernel where it lies, in nobody's turn. And straight copies, which no kernel
** waits for, come in between, bucket by bucket, so that conversions that are behind catch up while the link is busy
** (two H100s, Llama 3 8B whole: 1.11 of the floor in the plan's order, 1.05 so, 1.17 with all of them last). */
#include "error.h"
#include "haul.h"
#include "memory.h"
#include "transport_gpu.h"

#include <assert.h>

enum {
  default_chunk = 256 << 20,
  least_straight = 128 << 20, /* at a time, between chunks */
  small_most = 128 << 10,
  small_share = 256
};

/* Parts [first, first + count) are in their slot when event `event` has happened. */
typedef struct chunk {
  uint32_t bucket, event;
  uint32_t first, count;
  uint64_t slot;
} chunk;

typedef struct maker {
  mxg_gpu_rank *rank;
  mxg_gpu_program *program;
  const mxg_plan *plan;
  mxg_hauls hauls;
  chunk *chunks;
  size_t chunk_count, chunk_capacity, chunks_done;
  mxg_copies one; /* room for one copy */
  mxg_copies copies;
  unsigned streams, given;               /* of copies; to how many one of them was given so far */
  uint64_t small;                        /* of a part that is not worth a copy */
  mxg_copies straight;                   /* of pieces without kernels: the program's, or in turns the haul's */
  size_t straight_next;                  /* the first of them that was not given */
  uint64_t straight_all, straight_given; /* bytes of the program's, where it takes no turns */
  uint64_t staged_all;                   /* bytes that chunks bring then */
  uint32_t bucket, peer;                 /* of the haul in the making */
  uint64_t slot;
  const mxg_turns *turns;    /* NULL: ranks take none */
  int turn_program;          /* MXG_TURN_* */
  uint32_t turn, turns_done; /* under way, or MXG_NONE; the rank's turns before are over, or other programs' */
} maker;

/* ---- copies ---- */

/* The copies that are there, on the stream whose turn it is. Returns that. */
static unsigned give_copies(maker *m) {
  const unsigned stream = 1 + m->given % m->streams;
  mxg_copies_apart(&m->copies);
  for (size_t i = 0; i < m->copies.count; i++) mxg_program_copy(m->program, stream, &m->copies.items[i]);
  m->program->failed = m->program->failed || m->copies.failed;
  m->given += m->copies.count != 0;
  m->copies.count = m->copies.fixed = 0;
  return stream;
}

/* Straight copies of about so many bytes. */
static void give_straight(maker *m, uint64_t bytes) {
  const uint64_t given = mxg_copies_take(&m->copies, &m->straight, &m->straight_next, bytes);
  m->program->failed = m->program->failed || m->copies.failed;
  mxg_haul_received(&m->hauls, given);
  m->straight_given += given;
  (void)give_copies(m);
}

static void give_all_straight(maker *m) {
  while (m->straight_next < m->straight.count && !m->program->failed) give_straight(m, m->hauls.most);
  m->straight.count = m->straight.fixed = m->straight_next = 0;
}

/* As much of the straight copies as of the chunks, which are there, in bytes, if that is worth a copy by now. */
static void keep_straight_up(maker *m) {
  const uint64_t staged_left = m->hauls.left - (m->straight_all - m->straight_given);
  const double share = (double)(m->staged_all - staged_left) / (double)m->staged_all;
  const uint64_t due = (uint64_t)((double)m->straight_all * share);
  if (due >= m->straight_given + least_straight) give_straight(m, due - m->straight_given);
}

/* Copies and event of one chunk. `*next`, of the fetches, and `*at`, of the seats, go to the next one's. */
static void give_chunk(maker *m, uint32_t number, size_t *next, size_t *at) {
  const mxg_hauls *h = &m->hauls;
  const size_t first = *at;
  for (size_t i = *next; i < h->fetch_count && h->fetches[i].chunk == number; i++, ++*next) {
    const mxg_fetch *f = &h->fetches[i];
    mxg_copy copy = f->copy;
    if (m->copies.count && f->home != f[-1].home) mxg_copies_apart(&m->copies);
    copy.dst = mxg_haul_target(h, f);
    mxg_copies_add(&m->copies, copy);
  }
  const unsigned stream = give_copies(m);
  while (*at < h->seat_count && h->seats[*at].chunk == number) ++*at;
  chunk *c = mxg_vector_push((void **)&m->chunks, &m->chunk_count, &m->chunk_capacity, sizeof *c);
  m->program->failed = m->program->failed || !c;
  if (!c) return;
  *c = (chunk){.bucket = m->bucket, .slot = m->slot};
  c->event = mxg_program_record(m->program, stream);
  c->first = h->first + (uint32_t)first;
  c->count = (uint32_t)(*at - first);
}

/* ---- turns: with them, copies have one stream ---- */

/* The rank's next turn in the program begins: when its source is free. */
static void begin_turn(maker *m) {
  if (!m->turns) return;
  const mxg_turn *items = m->turns->items;
  while (m->program->part && items[m->turns_done].group != m->program->group) m->turns_done++;
  m->turn = m->turns_done++;
  assert(items[m->turn].rank == m->rank->rank && items[m->turn].bucket == m->bucket && items[m->turn].peer == m->peer);
  const uint32_t before = items[m->turn].links[m->turn_program].before;
  if (before != MXG_NONE) mxg_program_take(m->program, 1, before);
}

static void end_turn(maker *m) {
  if (m->turn == MXG_NONE) return;
  if (m->turns->items[m->turn].links[m->turn_program].after != MXG_NONE) mxg_program_pass(m->program, 1, m->turn);
  m->turn = MXG_NONE;
}

/* ---- gathers ---- */

static void end_haul(maker *m) {
  if (m->turns) give_all_straight(m);
  const uint32_t chunks = m->program->failed ? 0 : mxg_haul_arrange(&m->hauls, m->plan, m->slot);
  m->program->failed = m->program->failed || m->hauls.failed;
  size_t next = 0, at = 0;
  for (uint32_t c = 0; c < chunks && !m->program->failed; c++) give_chunk(m, c, &next, &at);
  if (chunks && !m->turns) keep_straight_up(m);
  end_turn(m);
  mxg_haul_next(&m->hauls);
}

/* What an array's elements or scales lie in: without knowledge the array by itself; no allocation begins so low. */
static uint64_t home_of(const maker *m, uint32_t array, bool scales) {
  const mxg_place *homes = m->rank->team->homes;
  uint64_t home = homes ? scales ? homes[array].scale : homes[array].data : 0;
  return home ? home : (uint64_t)array * 2 + scales;
}

/* The copy of a segment's elements or scales, to nowhere yet; NULL: there is none. */
static const mxg_copy *copy_of(maker *m, const mxg_plan *lent, uint32_t index, uint32_t segment, bool scales) {
  const mxg_piece *part = &m->hauls.parts.pieces[index];
  const mxg_place place = m->rank->team->places[part->src];
  m->one.count = m->one.fixed = 0;
  if (scales)
    mxg_copies_scales(&m->one, lent, part, &m->hauls.parts.segments[segment], place, 0);
  else
    mxg_copies_data(&m->one, lent, part, &m->hauls.parts.segments[segment], place, 0);
  m->program->failed = m->program->failed || m->one.failed;
  return m->one.failed || m->one.count == 0 ? NULL : m->one.items;
}

static void add_fetch(maker *m, const mxg_plan *lent, uint32_t index, uint32_t segment, bool scales) {
  const mxg_copy *copy = copy_of(m, lent, index, segment, scales);
  if (!copy) return;
  const uint64_t home = home_of(m, m->hauls.parts.pieces[index].src, scales);
  mxg_haul_fetch(&m->hauls, copy, home, index, segment, scales);
}

/* One part: into the haul. */
static void gather_part(maker *m, uint32_t index) {
  const mxg_piece *part = &m->hauls.parts.pieces[index];
  const mxg_encoding *e = &m->plan->encodings[m->plan->arrays[part->src].encoding];
  bool in_rows = e->scale == MX_SCALE_NONE || e->layout != MX_SWIZZLED;
  mxg_plan lent = mxg_parts_plan(&m->hauls.parts, m->plan);
  mxg_way how = part->wire_bytes <= m->small ? MXG_WAY_DIRECT : in_rows ? MXG_WAY_WIRE : MXG_WAY_SCALES;
  const mxg_copy *begin = copy_of(m, &lent, index, part->first_segment, false);
  mxg_haul_seat(&m->hauls, index, how, home_of(m, part->src, false), begin ? begin->src : 0);
  if (how == MXG_WAY_DIRECT) return;
  for (uint32_t s = part->first_segment; s < part->first_segment + part->segments; s++) {
    add_fetch(m, &lent, index, s, false);
    if (how == MXG_WAY_WIRE) add_fetch(m, &lent, index, s, true);
  }
}

/* A piece that needs no kernel. */
static void gather_straight(maker *m, const mxg_piece *piece) {
  const mxg_place *places = m->rank->team->places;
  mxg_copies_straight(&m->straight, m->plan, piece, places[piece->src], places[piece->dst]);
  m->program->failed = m->program->failed || m->straight.failed;
}

/* Those of the whole program. */
static void gather_all_straight(maker *m) {
  const mxg_rank *rank = &m->plan->ranks[m->rank->rank];
  for (uint32_t s = rank->first_step; s < rank->first_step + rank->steps && !m->program->failed; s++) {
    const mxg_step *step = &m->plan->steps[s];
    if (step->kind != MXG_STEP_GATHER || !mxg_rank_takes(m->rank, step)) continue;
    for (uint32_t i = step->first; i < step->first + step->count; i++) {
      const mxg_piece *piece = &m->plan->pieces[i];
      if (!m->rank->team->kept[piece->dst] && mxg_piece_is_copy(m->plan, piece)) gather_straight(m, piece);
    }
  }
  mxg_copies_apart(&m->straight);
  m->straight_all = mxg_copies_bytes(&m->straight);
  m->staged_all = m->hauls.left - m->straight_all;
}

/* Bytes of a part: so that the chunks of what is left can be cut. */
static uint64_t part_limit(const maker *m) {
  uint64_t limit = m->hauls.left / 16;
  if (limit < 2 * (uint64_t)MXG_LEAST_CHUNK) limit = 2 * (uint64_t)MXG_LEAST_CHUNK;
  return limit < m->hauls.most ? limit : m->hauls.most;
}

static void gather(maker *m, const mxg_step *step) {
  const bool fresh = m->bucket != step->bucket || m->peer != step->peer;
  if (fresh) end_haul(m);
  m->bucket = step->bucket;
  m->peer = step->peer;
  if (fresh) begin_turn(m);
  m->slot = mxg_rank_slot(m->rank, step->slot);
  for (uint32_t i = step->first; i < step->first + step->count && !m->program->failed; i++) {
    const mxg_piece *piece = &m->plan->pieces[i];
    if (m->rank->team->kept[piece->dst]) continue;
    if (mxg_piece_is_copy(m->plan, piece)) {
      if (m->turns) gather_straight(m, piece);
      continue;
    }
    const uint32_t first = (uint32_t)m->hauls.parts.count;
    const uint32_t count = mxg_parts_add(&m->hauls.parts, m->plan, piece, part_limit(m));
    m->program->failed = m->program->failed || m->hauls.parts.failed || m->hauls.failed;
    for (uint32_t k = 0; k < count && !m->program->failed; k++) gather_part(m, first + k);
  }
}

/* ---- converts ---- */

/* Parts of one kernel that are staged: entries as if each lay in its wire form, or for scales from the peer in its
** source, and then with the addresses that they really have. */
static void convert_staged(maker *m, const mxg_plan *lent, uint32_t first, uint32_t count, uint64_t slot, bool far) {
  size_t segments = 0;
  for (uint32_t i = first; i < first + count; i++) segments += lent->pieces[i].segments;
  mx_entry *entry = mxg_program_entries(m->program, segments);
  if (!entry) return;
  uint64_t tiles = 0;
  uint32_t made = mxg_launch_entries(entry, &tiles, lent, first, count, m->rank->team->places, slot, far);
  for (uint32_t i = first; i < first + count; i++) {
    const mxg_piece *p = &lent->pieces[i];
    uint64_t elem = mxg_elem_bytes(lent->encodings[lent->arrays[p->src].encoding].elem);
    for (uint32_t s = p->first_segment; s < p->first_segment + p->segments; s++, entry++) {
      entry->src_ld = p->cols;
      entry->flags = 0;
      entry->src = m->hauls.landings[s].data - ((uint64_t)entry->src_row * p->cols + entry->src_col) * elem;
      if (!far && entry->src_scale) entry->src_scale = m->hauls.landings[s].scale;
    }
  }
  mxg_program_launch(m->program, 0, far ? lent->pieces[first].kernel_direct : lent->pieces[first].kernel, made, tiles);
}

static void convert_chunk(maker *m, const chunk *c) {
  mxg_plan lent = mxg_parts_plan(&m->hauls.parts, m->plan);
  mxg_program_follow(m->program, 0, c->event);
  for (uint32_t i = c->first, next; i < c->first + c->count; i = next) {
    const mxg_piece *p = &lent.pieces[i];
    bool direct = m->hauls.ways[i] != MXG_WAY_WIRE;
    for (next = i + 1; next < c->first + c->count && m->hauls.ways[next] == m->hauls.ways[i]; next++) {
      const mxg_piece *q = &lent.pieces[next];
      if (direct ? q->kernel_direct != p->kernel_direct : q->kernel != p->kernel) break;
    }
    if (m->hauls.ways[i] == MXG_WAY_DIRECT)
      mxg_rank_convert(m->rank, 0, &lent, i, next - i, c->slot, true);
    else
      convert_staged(m, &lent, i, next - i, c->slot, direct);
  }
}

/* Pieces of the step that are at home or scratch, one launch for those side by side; for the first that is not, all of
** its bucket's chunks. */
static void convert(maker *m, const mxg_step *step) {
  const mxg_piece *pieces = m->plan->pieces;
  const bool *kept = m->rank->team->kept;
  const uint32_t end = step->first + step->count;
  for (uint32_t i = step->first, next; i < end; i = next) {
    next = i + 1;
    if (pieces[i].wire_bytes) {
      if (m->bucket == step->bucket) end_haul(m);
      for (; m->chunks_done < m->chunk_count && m->chunks[m->chunks_done].bucket == step->bucket; m->chunks_done++)
        convert_chunk(m, &m->chunks[m->chunks_done]);
    } else if (!kept[pieces[i].dst]) {
      while (next < end && !pieces[next].wire_bytes && !kept[pieces[next].dst]) next++;
      mxg_rank_convert(m->rank, 0, m->plan, i, next - i, mxg_rank_slot(m->rank, step->slot), false);
    }
  }
}

/* ---- the program ---- */

/* The streams of copies go on when all that stream 0 has so far is done. */
static void order_copies(maker *m) {
  uint32_t event = mxg_program_record(m->program, 0);
  for (unsigned s = 1; s <= m->streams; s++) mxg_program_follow(m->program, s, event);
}

/* Whether each bucket's wires are gathered once through, from the slot's begin to its end. */
static bool in_order(const mxg_gpu_rank *r) {
  const mxg_plan *plan = r->team->view->plan;
  const mxg_rank *rank = &plan->ranks[r->rank];
  uint32_t bucket = MXG_NONE;
  uint64_t at = 0;
  for (uint32_t s = rank->first_step; s < rank->first_step + rank->steps; s++) {
    const mxg_step *step = &plan->steps[s];
    if (step->kind != MXG_STEP_GATHER || !mxg_rank_takes(r, step)) continue;
    if (bucket != step->bucket) {
      if (bucket != MXG_NONE && step->bucket < bucket) return false; /* again, perhaps */
      at = 0;
    }
    bucket = step->bucket;
    for (uint32_t i = step->first; i < step->first + step->count; i++) {
      if (plan->pieces[i].wire_offset < at) return false;
      at = plan->pieces[i].wire_offset + plan->pieces[i].wire_bytes;
    }
  }
  return true;
}

static void make(maker *m) {
  const mxg_rank *rank = &m->plan->ranks[m->rank->rank];
  const uint32_t end = rank->first_step + rank->steps;
  m->hauls.left = mxg_rank_receives(m->rank);
  const bool receives = m->hauls.left > 0;
  m->hauls.packs = in_order(m->rank);
  if (!m->turns) gather_all_straight(m);
  if (receives) order_copies(m);
  for (uint32_t s = rank->first_step; s < end && !m->program->failed; s++) {
    const mxg_step *step = &m->plan->steps[s];
    if (!mxg_rank_takes(m->rank, step)) continue;
    switch ((mxg_step_kind)step->kind) {
    case MXG_STEP_FILL: mxg_rank_fill(m->rank, 0, step); break;
    case MXG_STEP_GATHER: gather(m, step); break;
    case MXG_STEP_WAIT: break; /* chunk by chunk, in the converts */
    case MXG_STEP_CONVERT: convert(m, step); break;
    case MXG_STEP_RELEASE:
      end_haul(m);
      if (receives) order_copies(m);
      mxg_program_mark(m->program, 0, s);
      break;
    }
  }
  end_haul(m);
  give_all_straight(m);
  if (receives)
    for (unsigned stream = 1; stream <= m->streams; stream++) mxg_program_order(m->program, stream, 0);
  mxg_program_spread(m->program, m->rank->team->view->agreement != NULL);
}

void mxg_copy_build(mxg_gpu_rank *r) {
  const mxg_exec_options *options = &r->team->view->options;
  maker m = {.rank = r, .program = &r->program, .plan = r->team->view->plan, .bucket = MXG_NONE, .peer = MXG_NONE};
  m.streams = options->copy_streams ? options->copy_streams : 1;
  if (m.streams > MXG_STREAMS_MOST - 1) m.streams = MXG_STREAMS_MOST - 1;
  m.turns = m.streams == 1 ? r->team->turns : NULL;
  m.turn = MXG_NONE;
  m.turn_program = m.program->part ? MXG_TURN_PART : MXG_TURN_WHOLE;
  if (m.turns) m.turns_done = m.turns->first[r->rank];
  m.hauls.most = options->chunk_bytes ? options->chunk_bytes : default_chunk;
  m.small = m.hauls.most / small_share;
  if (m.small > small_most) m.small = small_most;
  make(&m);
  mxg_hauls_free(&m.hauls);
  mxg_copies_free(&m.copies);
  mxg_copies_free(&m.one);
  mxg_copies_free(&m.straight);
  mxg_free(m.chunks);
}

static mxg_status copy_open(void **state, const mxg_exec_view *view, mxg_error *err) {
  MXG_TRY(mxg_team_open(state, view, "copy", mxg_copy_build, true, false, err));
  mxg_status status = mxg_team_find_turns(*state, err);
  if (status == MXG_OK) return MXG_OK;
  mxg_team_close(*state);
  *state = NULL;
  return status;
}

const mxg_transport_table mxg_transport_copy = {
    .name = "copy", .open = copy_open, .share = mxg_team_share, MXG_TEAM_CALLS};
