/* turns.c -- see turns.h. */
#include "turns.h"

#include "error.h"
#include "memory.h"

#include <assert.h>
#include <stdlib.h>

/* ---- the turns of each rank ---- */

/* The gather after `last`. *fresh: it begins a turn, and does not go on with the last one's. */
static const mxg_step *next_gather(const mxg_plan *plan, const mxg_rank *rank, const mxg_step *last, bool *fresh) {
  const mxg_step *end = plan->steps + rank->first_step + rank->steps;
  for (const mxg_step *s = last ? last + 1 : plan->steps + rank->first_step; s < end; s++) {
    if (s->kind != MXG_STEP_GATHER) continue;
    *fresh = !last || last->bucket != s->bucket || last->peer != s->peer;
    return s;
  }
  return NULL;
}

static uint32_t count_turns(const mxg_plan *plan) {
  uint32_t count = 0;
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    bool fresh = false;
    for (const mxg_step *s = NULL; (s = next_gather(plan, &plan->ranks[r], s, &fresh)) != NULL;) count += fresh;
  }
  return count;
}

static void fill_turns(mxg_turns *turns, const mxg_plan *plan) {
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    bool fresh = false;
    turns->first[r] = turns->count;
    for (const mxg_step *s = NULL; (s = next_gather(plan, &plan->ranks[r], s, &fresh)) != NULL;)
      if (fresh) turns->items[turns->count++] = (mxg_turn){r, s->peer, s->bucket, s->group, {{0}, {0}}};
  }
  turns->first[plan->rank_count] = turns->count;
}

/* ---- whether they are any use ---- */

/* A rank that has one source, or none, is in nobody's way for long; two that have several get by. */
static bool have_choice(const mxg_turns *turns, const mxg_plan *plan) {
  uint32_t ranks = 0;
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    bool several = false;
    for (uint32_t i = turns->first[r]; i < turns->first[r + 1]; i++)
      several = several || turns->items[i].peer != turns->items[turns->first[r]].peer;
    ranks += several;
  }
  return ranks >= 3;
}

static bool are_large(const mxg_turns *turns, const mxg_plan *plan, uint64_t least) {
  uint64_t bytes = 0;
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    bool fresh = false;
    for (const mxg_step *s = NULL; (s = next_gather(plan, &plan->ranks[r], s, &fresh)) != NULL;) bytes += s->bytes;
  }
  return bytes / turns->count >= least;
}

/* ---- their order ---- */

/* Of a rank's program so far. */
typedef struct seen {
  uint32_t buckets, bucket; /* how many, and the last one */
  uint32_t distance;
} seen;

/* False: the rank's steps are not in the order of turns. */
static bool number_rank(mxg_turns *turns, const mxg_plan *plan, uint32_t rank, int program, seen *last) {
  for (uint32_t i = turns->first[rank]; i < turns->first[rank + 1]; i++) {
    mxg_turn *t = &turns->items[i];
    seen *own = &last[program == MXG_TURN_PART ? t->group : 0];
    const uint32_t distance = (t->peer + plan->rank_count - rank) % plan->rank_count;
    if (own->buckets == 0 || own->bucket != t->bucket) *own = (seen){own->buckets + 1, t->bucket, 0};
    if (distance <= own->distance) return false;
    own->distance = distance;
    t->links[program].when = (uint64_t)own->buckets << 32 | distance;
  }
  return true;
}

static bool number(mxg_turns *turns, const mxg_plan *plan, int program, bool *ordered) {
  seen *last = mxg_alloc(((size_t)plan->group_count + 1) * sizeof *last);
  for (uint32_t r = 0; last && r < plan->rank_count && *ordered; r++) {
    for (uint32_t g = 0; g <= plan->group_count; g++) last[g] = (seen){0};
    *ordered = number_rank(turns, plan, r, program, last);
  }
  mxg_free(last);
  return last != NULL;
}

/* ---- who passes to whom ---- */

typedef struct place {
  uint64_t when;
  uint32_t group, peer, turn;
} place;

static int by_source(const void *a, const void *b) {
  const place *x = a, *y = b;
  if (x->group != y->group) return x->group < y->group ? -1 : 1;
  if (x->peer != y->peer) return x->peer < y->peer ? -1 : 1;
  return x->when < y->when ? -1 : x->when > y->when;
}

static bool link_turns(mxg_turns *turns, int program) {
  place *places = mxg_alloc(turns->count * sizeof *places);
  if (!places) return false;
  for (uint32_t i = 0; i < turns->count; i++) {
    const mxg_turn *t = &turns->items[i];
    places[i] = (place){t->links[program].when, program == MXG_TURN_PART ? t->group : 0, t->peer, i};
    turns->items[i].links[program].before = turns->items[i].links[program].after = MXG_NONE;
  }
  qsort(places, turns->count, sizeof *places, by_source);
  for (uint32_t i = 1; i < turns->count; i++) {
    const place *x = &places[i - 1], *y = &places[i];
    if (x->group != y->group || x->peer != y->peer) continue;
    assert(x->when < y->when); /* of one rank they are in order, and ranks are at different distances */
    if (turns->items[x->turn].rank == turns->items[y->turn].rank) continue; /* in order without a baton */
    turns->items[x->turn].links[program].after = y->turn;
    turns->items[y->turn].links[program].before = x->turn;
  }
  mxg_free(places);
  return true;
}

/* ---- all of it ---- */

static bool fill(mxg_turns *turns, const mxg_plan *plan, bool *ordered) {
  for (int program = 0; program < MXG_TURN_PROGRAMS; program++) {
    if (!number(turns, plan, program, ordered)) return false;
    if (!*ordered) return true;
    if (!link_turns(turns, program)) return false;
  }
  return true;
}

mxg_status mxg_turns_make(mxg_turns **out, const mxg_plan *plan, uint64_t least, mxg_error *err) {
  const uint32_t count = count_turns(plan);
  *out = NULL;
  if (count == 0 || count == UINT32_MAX) return MXG_OK;
  mxg_turns *turns = mxg_alloc(sizeof *turns);
  if (turns) turns->items = mxg_alloc(count * sizeof *turns->items);
  if (turns) turns->first = mxg_alloc(((size_t)plan->rank_count + 1) * sizeof *turns->first);
  bool use = true, good = turns && turns->items && turns->first;
  if (good) {
    fill_turns(turns, plan);
    use = have_choice(turns, plan) && are_large(turns, plan, least);
    good = !use || fill(turns, plan, &use);
  }
  if (good && use) {
    *out = turns;
    return MXG_OK;
  }
  mxg_turns_free(turns);
  return good ? MXG_OK : mxg_fail_nomem(err);
}

void mxg_turns_free(mxg_turns *turns) {
  if (!turns) return;
  mxg_free(turns->items);
  mxg_free(turns->first);
  mxg_free(turns);
}
