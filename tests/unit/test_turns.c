/* Turns at sources: that they are in order for plans of any shape, and that programs which keep to them never meet at a
** source and never wait for each other in a circle, start after start, whatever rank is fast. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "failing_memory.h"
#include "gpu_machine.h"
#include "turns.h"

/* ---- ranks at their turns ---- */

/* What a rank's stream of copies does. A copy is a begin and an end, between which others may come. */
typedef enum act_kind { act_begin, act_end, act_pass, act_take } act_kind;

typedef struct act {
  act_kind kind;
  uint32_t what;    /* the source, or the turn */
  uint32_t program; /* that it is of */
} act;

typedef struct tape {
  act *acts;
  size_t count, capacity;
  uint32_t program; /* in the making */
} tape;

static void add(tape *t, act_kind kind, uint32_t what) {
  act *fresh = mxg_vector_push((void **)&t->acts, &t->count, &t->capacity, sizeof *fresh);
  assert_non_null(fresh);
  *fresh = (act){kind, what, t->program};
}

typedef enum outcome { went_well, met_at_a_source, stood_still } outcome;

typedef struct player {
  const tape *tape;
  size_t at;
  unsigned run;
  bool copies; /* from source `from`, in that run of that program */
  uint32_t from, program;
} player;

/* Programs begin without turns: the last of one may meet the first of the next. */
static bool meets(const player *all, uint32_t count, const player *p) {
  for (const player *q = all; q < all + count; q++)
    if (q != p && q->copies && q->from == p->from && q->run == p->run && q->program == p->program) return true;
  return false;
}

/* False: it cannot go on. `passed`: by turn, in how many runs; each start has batons of its own. */
static bool play_one(player *all, uint32_t count, player *p, unsigned *passed, outcome *result) {
  const act *a = &p->tape->acts[p->at];
  if (a->kind == act_take && passed[a->what] <= p->run) return false;
  if (a->kind == act_pass) passed[a->what]++;
  p->copies = a->kind == act_begin;
  p->from = a->what;
  p->program = a->program;
  if (p->copies && meets(all, count, p)) *result = met_at_a_source;
  if (++p->at == p->tape->count) p->at = 0, p->run++;
  return true;
}

/* Every rank goes over its tape `runs` times, when it likes. */
static outcome play(const tape *tapes, uint32_t ranks, uint32_t turns, unsigned runs) {
  player *all = calloc(ranks, sizeof *all);
  unsigned *passed = calloc(turns + 1, sizeof *passed);
  assert_true(all && passed);
  outcome result = went_well;
  for (uint32_t r = 0; r < ranks; r++) all[r].tape = &tapes[r];
  for (uint32_t stuck = 0, favourite = 0; result == went_well && stuck <= ranks;) {
    if (stuck)
      favourite = (favourite + 1) % ranks;
    else if (random_below(8) == 0)
      favourite = random_below(ranks);
    player *p = &all[favourite];
    const bool over = p->run == runs || p->tape->count == 0;
    stuck = !over && play_one(all, ranks, p, passed, &result) ? 0 : stuck + 1;
  }
  for (uint32_t r = 0; r < ranks && result == went_well; r++)
    if (all[r].run < runs && tapes[r].count) result = stood_still;
  free(all);
  free(passed);
  return result;
}

static void free_tapes(tape *tapes, uint32_t ranks) {
  for (uint32_t r = 0; r < ranks; r++) mxg_free(tapes[r].acts);
  free(tapes);
}

/* ---- plans of steps alone ---- */

typedef struct steps_plan {
  mxg_plan plan;
  mxg_step *steps;
  mxg_rank *ranks;
} steps_plan;

/* Every rank has about `buckets` buckets, pulls in each from about `tenths` tenths of the others, by one or two steps a
** source, two buckets a group. */
static steps_plan random_plan(uint32_t ranks, uint32_t buckets, uint32_t tenths) {
  steps_plan p = {.plan = {.rank_count = ranks, .group_count = buckets + 2}};
  p.steps = calloc((size_t)ranks * ranks * (buckets + 2) * 3, sizeof *p.steps);
  p.ranks = calloc(ranks, sizeof *p.ranks);
  assert_true(p.steps && p.ranks);
  for (uint32_t r = 0; r < ranks; r++) {
    p.ranks[r].first_step = p.plan.step_count;
    const uint32_t own = tenths == 10 ? buckets : buckets - 1 + random_below(3);
    for (uint32_t b = 0; b < own; b++) {
      for (uint32_t d = 1; d < ranks; d++) {
        if (random_below(10) >= tenths) continue;
        for (uint32_t k = 0; k < 1 + random_below(2); k++)
          p.steps[p.plan.step_count++] = (mxg_step){
              .kind = MXG_STEP_GATHER, .bucket = b, .peer = (r + d) % ranks, .group = b / 2, .bytes = 100 + b};
      }
      p.steps[p.plan.step_count++] = (mxg_step){.kind = MXG_STEP_WAIT, .bucket = b, .peer = MXG_NONE, .group = b / 2};
    }
    p.ranks[r].steps = p.plan.step_count - p.ranks[r].first_step;
  }
  p.plan.steps = p.steps;
  p.plan.ranks = p.ranks;
  return p;
}

static void free_plan(steps_plan *p) {
  free(p->steps);
  free(p->ranks);
}

/* As turns.h has it; `groups`: every group's program, one after another. */
static tape *tapes_of(const mxg_plan *plan, const mxg_turns *turns, bool groups) {
  tape *tapes = calloc(plan->rank_count, sizeof *tapes);
  assert_non_null(tapes);
  const int program = groups ? MXG_TURN_PART : MXG_TURN_WHOLE;
  for (uint32_t r = 0; r < plan->rank_count; r++)
    for (uint32_t g = 0; g < (groups ? plan->group_count : 1); g++) {
      tapes[r].program = g;
      for (uint32_t i = turns->first[r]; i < turns->first[r + 1]; i++) {
        const mxg_turn *t = &turns->items[i];
        const mxg_turn_link *link = &t->links[program];
        if (groups && t->group != g) continue;
        if (link->before != MXG_NONE) add(&tapes[r], act_take, link->before);
        add(&tapes[r], act_begin, t->peer);
        add(&tapes[r], act_end, t->peer);
        if (link->after != MXG_NONE) add(&tapes[r], act_pass, i);
      }
    }
  return tapes;
}

/* Of each source: one chain, in the order of turns, of ranks of which each passes to the next. */
static void check_chains(const mxg_plan *plan, const mxg_turns *turns, int program) {
  uint32_t heads = 0, links = 0;
  for (uint32_t i = 0; i < turns->count; i++) {
    const mxg_turn *t = &turns->items[i];
    const mxg_turn_link *link = &t->links[program];
    assert_true(t->rank != t->peer && t->rank < plan->rank_count);
    heads += link->before == MXG_NONE;
    if (link->before == MXG_NONE) continue;
    links++;
    const mxg_turn *x = &turns->items[link->before];
    assert_int_equal(x->links[program].after, i);
    assert_true(x->peer == t->peer && x->rank != t->rank && x->links[program].when < link->when);
    assert_true(program == MXG_TURN_WHOLE || x->group == t->group);
    for (uint32_t k = 0; k < turns->count; k++) { /* nobody is between them */
      const mxg_turn *y = &turns->items[k];
      if (y->peer != t->peer || (program == MXG_TURN_PART && y->group != t->group)) continue;
      assert_true(y->links[program].when <= x->links[program].when || y->links[program].when >= link->when);
    }
  }
  assert_int_equal(heads + links, turns->count);
}

static void try_plan(uint32_t ranks, uint32_t buckets, uint32_t tenths) {
  steps_plan p = random_plan(ranks, buckets, tenths);
  mxg_turns *turns = NULL;
  mxg_error err = {0};
  assert_int_equal(mxg_turns_make(&turns, &p.plan, 1, &err), MXG_OK);
  if (turns) {
    for (int groups = 0; groups < 2; groups++) {
      check_chains(&p.plan, turns, groups ? MXG_TURN_PART : MXG_TURN_WHOLE);
      tape *tapes = tapes_of(&p.plan, turns, groups);
      assert_int_equal(play(tapes, ranks, turns->count, 100), went_well);
      free_tapes(tapes, ranks);
    }
  } else {
    assert_true(tenths < 10);
  }
  mxg_turns_free(turns);
  free_plan(&p);
}

static void any_shape(void **state) {
  (void)state;
  static const uint32_t ranks[] = {3, 4, 5, 8};
  random_state = 5;
  for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
    try_plan(ranks[i], 1, 10);
    try_plan(ranks[i], 4, 10);
    for (int k = 0; k < 20; k++) try_plan(ranks[i], 2 + random_below(5), 3 + random_below(7));
  }
}

/* All pull from all: in turn d of a bucket rank r is at source r + d, and the one before it there was rank r + 1. */
static void around(void **state) {
  (void)state;
  for (uint32_t ranks = 3; ranks <= 8; ranks++) {
    steps_plan p = random_plan(ranks, 3, 10);
    mxg_turns *turns = NULL;
    assert_int_equal(mxg_turns_make(&turns, &p.plan, 1, NULL), MXG_OK);
    assert_non_null(turns);
    assert_int_equal(turns->count, ranks * (ranks - 1) * 3);
    for (uint32_t i = 0; i < turns->count; i++) {
      const mxg_turn *t = &turns->items[i];
      const mxg_turn_link *link = &t->links[MXG_TURN_WHOLE];
      const uint32_t d = (uint32_t)link->when;
      assert_int_equal(t->peer, (t->rank + d) % ranks);
      assert_int_equal(link->before == MXG_NONE, d == 1 && t->bucket == 0);
      if (link->before == MXG_NONE) continue;
      assert_int_equal(turns->items[link->before].rank, (t->rank + (d > 1 ? 1 : 2)) % ranks);
      assert_int_equal(turns->items[link->before].bucket, d > 1 ? t->bucket : t->bucket - 1);
    }
    mxg_turns_free(turns);
    free_plan(&p);
  }
}

/* What is found when ranks do not keep to it. */
static void broken(void **state) {
  (void)state;
  steps_plan p = random_plan(4, 1, 10);
  mxg_turns *turns = NULL;
  assert_int_equal(mxg_turns_make(&turns, &p.plan, 1, NULL), MXG_OK);
  random_state = 9;
  for (int way = 0; way < 2; way++) {
    tape *tapes = tapes_of(&p.plan, turns, false);
    for (uint32_t r = 0; r < 4; r++)
      for (size_t i = tapes[r].count; i-- > 0;) {
        act *a = &tapes[r].acts[i];
        const bool gone = way == 0 ? a->kind == act_take || a->kind == act_pass /* no turns */
                                   : r == 2 && a->kind == act_pass;             /* one passes nothing on */
        if (!gone) continue;
        memmove(a, a + 1, (tapes[r].count - i - 1) * sizeof *a);
        tapes[r].count--;
      }
    outcome found = went_well;
    for (int k = 0; k < 20 && found == went_well; k++) found = play(tapes, 4, turns->count, 100);
    assert_int_equal(found, way == 0 ? met_at_a_source : stood_still);
    free_tapes(tapes, 4);
  }
  mxg_turns_free(turns);
  free_plan(&p);
}

static bool takes(const steps_plan *p, uint64_t least) {
  mxg_turns *turns = NULL;
  assert_int_equal(mxg_turns_make(&turns, &p->plan, least, NULL), MXG_OK);
  mxg_turns_free(turns);
  return turns != NULL;
}

/* Two ranks, little bytes, one source for all, steps in another order. */
static void no_use(void **state) {
  (void)state;
  steps_plan two = random_plan(2, 3, 10), four = random_plan(4, 1, 10);
  assert_false(takes(&two, 1));
  assert_true(takes(&four, 100));
  assert_false(takes(&four, 1000));
  mxg_step swap = four.steps[0];
  uint32_t last = four.ranks[0].steps - 2; /* the last gather of rank 0 */
  four.steps[0] = four.steps[last];
  four.steps[last] = swap;
  assert_false(takes(&four, 1));
  for (uint32_t i = 0; i < four.plan.step_count; i++) four.steps[i].peer = 0;
  assert_false(takes(&four, 1));
  free_plan(&two);
  free_plan(&four);
  steps_plan none = {.plan = {.rank_count = 0}};
  assert_false(takes(&none, 1));
}

static void no_memory(void **state) {
  (void)state;
  steps_plan p = random_plan(4, 2, 10);
  mxg_memory_fn usual = mxg_memory_hook;
  mxg_status status = MXG_ERR_NOMEM;
  for (long most = 0; status != MXG_OK; most++) {
    mxg_turns *turns = NULL;
    assert_true(most < 100);
    allocations_left = most;
    mxg_memory_hook = fail_from_then_on;
    status = mxg_turns_make(&turns, &p.plan, 1, NULL);
    mxg_memory_hook = usual;
    assert_true(status == MXG_OK || (status == MXG_ERR_NOMEM && !turns));
    mxg_turns_free(turns);
  }
  free_plan(&p);
}

/* ---- programs ---- */

/* A plan in memory that is not there: array n has the addresses from (256 + n) << 32 on. */
typedef struct ground {
  mxg_exec_view view;
  mxg_gpu_team team;
} ground;

static void lay_ground(ground *g, const mxg_bundle *bundle, unsigned streams) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  *g = (ground){.view = {.bundle = bundle, .plan = plan}, .team = {.stages = true}};
  g->view.options.chunk_bytes = 20000;
  g->view.options.copy_streams = streams;
  g->team.view = &g->view;
  take_team_arrays(&g->team, plan);
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const uint64_t at = (uint64_t)(256 + i) << 32;
    g->team.places[i] = (mxg_place){at, at + room_of(mxg_array_data_bytes(plan, &plan->arrays[i]))};
  }
  assert_int_equal(mxg_turns_make(&g->team.turns, plan, 1, NULL), MXG_OK);
}

static void clear_ground(ground *g) {
  mxg_turns_free(g->team.turns);
  free_team_arrays(&g->team);
}

/* Adds what the stream of copies does in a program of `rank`. */
static void add_program(tape *t, ground *g, uint32_t rank, bool part, uint32_t group) {
  const mxg_plan *plan = g->view.plan;
  mxg_gpu_rank r = {.team = &g->team, .rank = rank};
  r.slots = calloc(plan->slots + 1, sizeof *r.slots);
  assert_non_null(r.slots);
  mxg_rank_measure_slots(&r);
  for (uint32_t i = 0; i < plan->slots; i++) r.slots[i].memory = (uint64_t)(i + 1) << 56;
  r.program.part = part;
  r.program.group = t->program = group;
  mxg_copy_build(&r);
  assert_false(r.program.failed);
  check_events(&r.program);
  check_end(&r.program);
  for (size_t i = 0; i < r.program.count; i++) {
    const mxg_gpu_op *op = &r.program.ops[i];
    if (op->kind == MXG_OP_PASS) add(t, act_pass, op->index);
    if (op->kind == MXG_OP_TAKE) add(t, act_take, op->index);
    if (op->kind == MXG_OP_PASS || op->kind == MXG_OP_TAKE) assert_int_equal(op->stream, 1);
    if (op->kind != MXG_OP_COPY) continue;
    const uint32_t source = plan->arrays[(op->u.copy.src >> 32) - 256].rank;
    add(t, act_begin, source);
    add(t, act_end, source);
  }
  mxg_free(r.program.ops);
  mxg_free(r.program.entries);
  mxg_free(r.program.steps);
  free(r.slots);
}

static tape *program_tapes(ground *g, bool groups, bool backwards) {
  const mxg_plan *plan = g->view.plan;
  tape *tapes = calloc(plan->rank_count, sizeof *tapes);
  assert_non_null(tapes);
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    if (!groups) add_program(&tapes[r], g, r, false, 0);
    for (uint32_t k = 0; k < plan->group_count && groups; k++)
      add_program(&tapes[r], g, r, true, backwards ? plan->group_count - 1 - k : k);
  }
  return tapes;
}

static size_t count_acts(const tape *tapes, uint32_t ranks, act_kind kind) {
  size_t count = 0;
  for (uint32_t r = 0; r < ranks; r++)
    for (size_t i = 0; i < tapes[r].count; i++) count += tapes[r].acts[i].kind == kind;
  return count;
}

static void try_programs(const char *path, const mxg_recipe_options *options, bool keep) {
  planned made = plan_recipe_with(path, options);
  const mxg_plan *plan = mxg_bundle_plan(made.bundle);
  ground g;
  lay_ground(&g, made.bundle, 0);
  assert_non_null(g.team.turns);
  for (uint32_t i = 0; i < plan->array_count; i++) /* what is in place already is not copied; turns go on */
    g.team.kept[i] = keep && plan->arrays[i].side == MXG_TARGET && plan->arrays[i].rank == 1;
  for (int way = 0; way < 3; way++) {
    tape *tapes = program_tapes(&g, way > 0, way == 2);
    const size_t taken = count_acts(tapes, plan->rank_count, act_take);
    assert_true(taken > 0);
    assert_int_equal(count_acts(tapes, plan->rank_count, act_pass), taken);
    for (int k = 0; k < 10; k++) assert_int_equal(play(tapes, plan->rank_count, g.team.turns->count, 20), went_well);
    free_tapes(tapes, plan->rank_count);
  }
  clear_ground(&g);
  mxg_bundle_free(made.bundle);
  mxg_arena_free(&made.arena);
}

static void programs(void **state) {
  (void)state;
  static const char *const ranks[] = {"3", "4", "5", "8"};
  random_state = 21;
  for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
    const mxg_define defines[] = {{"ranks", ranks[i]}};
    const mxg_recipe_options options = {defines, 1};
    try_programs(MXG_TESTS "/unit/ring.lua", &options, false);
    try_programs(MXG_TESTS "/unit/ring.lua", &options, true);
  }
  try_programs(MXG_ROOT "/recipes/tiny_moe.lua", &(mxg_recipe_options){NULL, 0}, false);
}

/* More streams of copies, as asked for: no turns. */
static void streams(void **state) {
  (void)state;
  planned made = plan_recipe(MXG_TESTS "/unit/ring.lua");
  ground g;
  lay_ground(&g, made.bundle, 5);
  tape *tapes = program_tapes(&g, false, false);
  assert_int_equal(count_acts(tapes, 4, act_take) + count_acts(tapes, 4, act_pass), 0);
  assert_true(count_acts(tapes, 4, act_begin) > 0);
  free_tapes(tapes, 4);
  clear_ground(&g);
  mxg_bundle_free(made.bundle);
  mxg_arena_free(&made.arena);
}

/* Large recipes are worth turns with the library's own limit, small ones are not. */
static void by_size(void **state) {
  (void)state;
  static const struct {
    const char *recipe;
    bool takes;
  } some[] = {{MXG_ROOT "/recipes/llama3_8b_tp8.lua", true},
              {MXG_ROOT "/recipes/glm_4_5_air_tp4.lua", true},
              {MXG_ROOT "/recipes/llama3_8b_tp2.lua", false},
              {MXG_ROOT "/recipes/tiny_moe.lua", false}};
  for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
    planned made = plan_recipe(some[i].recipe);
    mxg_turns *turns = NULL;
    assert_int_equal(mxg_turns_make(&turns, mxg_bundle_plan(made.bundle), 4 << 20, NULL), MXG_OK);
    if (turns) printf("%s: %u turns\n", some[i].recipe, turns->count);
    assert_int_equal(turns != NULL, some[i].takes);
    mxg_turns_free(turns);
    mxg_bundle_free(made.bundle);
    mxg_arena_free(&made.arena);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(any_shape), cmocka_unit_test(around),   cmocka_unit_test(broken),  cmocka_unit_test(no_use),
      cmocka_unit_test(no_memory), cmocka_unit_test(programs), cmocka_unit_test(streams), cmocka_unit_test(by_size)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
