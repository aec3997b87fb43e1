/* Programs of ranks that take turns, given by one thread: what passes a turn on is given before what takes it, and what
** comes out is the host's whenever streams go on, while others are still being given their work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "failing_memory.h"
#include "gpu_machine.h"
#include "weave.h"

enum { most_ranks = 8 };

/* ---- the order alone ---- */

static void forget(mxg_gpu_program *program) {
  mxg_free(program->ops);
  mxg_free(program->entries);
  mxg_free(program->steps);
  *program = (mxg_gpu_program){0};
}

static void begin(mxg_weave *weave, const mxg_gpu_program *programs, uint32_t count, uint32_t turns) {
  assert_int_equal(mxg_weave_make(weave, count, turns, NULL), MXG_OK);
  for (uint32_t i = 0; i < count; i++) weave->programs[i] = &programs[i];
  mxg_weave_begin(weave);
}

/* Two that wait for each other: it ends, and says so. One that passes first: all is given. */
static void circles(void **state) {
  (void)state;
  for (int circle = 0; circle < 2; circle++) {
    mxg_gpu_program programs[3] = {{0}}; /* the last has nothing to do */
    for (uint32_t i = 0; i < 2; i++) {
      if (!circle && i == 1) mxg_program_pass(&programs[i], 1, i);
      mxg_program_take(&programs[i], 1, 1 - i);
      if (circle || i == 0) mxg_program_pass(&programs[i], 1, i);
    }
    mxg_weave weave;
    begin(&weave, programs, 3, 2);
    for (int again = 0; again < 2; again++) {
      uint32_t which = 0;
      size_t op = 0, given = 0;
      mxg_weave_begin(&weave);
      while (mxg_weave_next(&weave, &which, &op)) given++;
      assert_int_equal(given, circle ? 0 : 4);
      assert_int_equal(mxg_weave_is_over(&weave), !circle);
    }
    mxg_weave_free(&weave);
    for (int i = 0; i < 3; i++) forget(&programs[i]);
  }
}

static void no_memory(void **state) {
  (void)state;
  mxg_memory_fn usual = mxg_memory_hook;
  for (long most = 0; most < 4; most++) {
    mxg_weave weave;
    allocations_left = most;
    mxg_memory_hook = fail_from_then_on;
    mxg_status status = mxg_weave_make(&weave, 2, 2, NULL);
    mxg_memory_hook = usual;
    assert_int_equal(status, most < 3 ? MXG_ERR_NOMEM : MXG_OK);
    mxg_weave_free(&weave);
  }
}

/* ---- whole programs ---- */

typedef struct scene {
  mxg_exec_view view;
  mxg_gpu_team team;
  mxg_gpu_rank ranks[most_ranks];
  machine machines[most_ranks];
  bool *passed; /* by turn, by what has been carried out */
} scene;

static void lay_out(scene *s, const mxg_bundle *bundle, const stored *all, uint64_t chunk) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  *s = (scene){.view = {.bundle = bundle, .plan = plan}, .team = {.stages = true, .count = plan->rank_count}};
  assert_true(plan->rank_count <= most_ranks);
  s->view.options.chunk_bytes = chunk;
  s->team.view = &s->view;
  take_team_arrays(&s->team, plan);
  for (uint32_t i = 0; i < plan->array_count; i++) {
    s->team.places[i] = (mxg_place){(uint64_t)(uintptr_t)all[i].data, (uint64_t)(uintptr_t)all[i].scale};
    s->team.homes[i] = (mxg_place){(uint64_t)(uintptr_t)all[i].home, (uint64_t)(uintptr_t)all[i].home};
  }
  assert_int_equal(mxg_turns_make(&s->team.turns, plan, 1, NULL), MXG_OK);
  assert_non_null(s->team.turns);
  s->passed = calloc(s->team.turns->count + 1, sizeof *s->passed);
  assert_non_null(s->passed);
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    s->ranks[r] = (mxg_gpu_rank){.team = &s->team, .rank = r};
    s->ranks[r].slots = calloc(plan->slots + 1, sizeof *s->ranks[r].slots);
    assert_non_null(s->ranks[r].slots);
    mxg_rank_measure_slots(&s->ranks[r]);
    for (uint32_t i = 0; i < plan->slots; i++) {
      mxg_gpu_slot *slot = &s->ranks[r].slots[i];
      slot->memory = (uint64_t)(uintptr_t)new_bytes(slot->end - slot->begin, true);
    }
    mxg_rank_place_scratch(&s->ranks[r]);
  }
}

static void clear(scene *s) {
  for (uint32_t r = 0; r < s->team.count; r++) {
    for (uint32_t i = 0; i < s->view.plan->slots; i++) free((void *)(uintptr_t)s->ranks[r].slots[i].memory);
    free(s->ranks[r].slots);
  }
  mxg_turns_free(s->team.turns);
  free(s->passed);
  free_team_arrays(&s->team);
}

static void build(scene *s, bool part, uint32_t group) {
  const mxg_plan *plan = s->view.plan;
  memset(s->passed, 0, s->team.turns->count * sizeof *s->passed);
  for (uint32_t r = 0; r < s->team.count; r++) {
    mxg_gpu_program *program = &s->ranks[r].program;
    program->part = part;
    program->group = group;
    mxg_copy_build(&s->ranks[r]);
    assert_false(program->failed);
    check_events(program);
    check_end(program);
    check_races(plan, program); /* turns are for time alone: each rank's order is right without them */
    machine *m = &s->machines[r];
    *m = (machine){.plan = plan, .program = program, .passed = s->passed, .aligned = true};
    m->recorded = calloc(program->event_count + 1, sizeof *m->recorded);
    assert_non_null(m->recorded);
    for (unsigned k = 0; k < program->stream_count; k++) m->at[k] = next_of(program, k, 0);
  }
}

/* Gives one op; it follows only what was given before. */
static bool give_one(const scene *s, mxg_weave *weave, size_t *given, bool *passed) {
  uint32_t rank = 0;
  size_t at = 0;
  if (!mxg_weave_next(weave, &rank, &at)) return false;
  const mxg_gpu_op *op = &s->ranks[rank].program.ops[at];
  assert_int_equal(at, given[rank]);
  given[rank]++;
  if (op->kind == MXG_OP_TAKE) assert_true(passed[op->index]);
  if (op->kind == MXG_OP_PASS) {
    assert_false(passed[op->index]);
    assert_int_equal(s->team.turns->items[op->index].rank, rank);
    passed[op->index] = true;
  }
  return true;
}

/* One op of what a rank was given, on any of its streams; false: none can go on. */
static bool run_one(scene *s, uint32_t rank, const size_t *given, int manner) {
  machine *m = &s->machines[rank];
  const size_t all = m->program->count;
  mxg_gpu_program so_far = *m->program;
  so_far.count = given[rank]; /* a stream whose next op is behind that has nothing to do */
  m->program = &so_far;
  int stream = choose(m, manner);
  m->program = &s->ranks[rank].program;
  if (stream < 0) return false;
  carry_out(m, &m->program->ops[m->at[stream]]);
  m->at[stream] = next_of(m->program, (unsigned)stream, m->at[stream] + 1);
  assert_true(m->at[stream] <= all);
  return true;
}

/* One start: `eager` of ten times an op is given, otherwise something is carried out, most often of the same rank. */
static void start(scene *s, uint32_t eager, int manner) {
  mxg_weave weave;
  size_t given[most_ranks] = {0};
  const uint32_t ranks = s->team.count;
  bool *passed = calloc(s->team.turns->count + 1, sizeof *passed), more = true;
  assert_non_null(passed);
  assert_int_equal(mxg_weave_make(&weave, ranks, s->team.turns->count, NULL), MXG_OK);
  for (uint32_t r = 0; r < ranks; r++) weave.programs[r] = &s->ranks[r].program;
  mxg_weave_begin(&weave);
  for (uint32_t idle = 0, favourite = 0; more || idle < ranks;) {
    if (more && (idle >= ranks || random_below(10) < eager)) more = give_one(s, &weave, given, passed), idle = 0;
    if (idle || random_below(20) == 0) favourite = (favourite + 1) % ranks;
    idle = run_one(s, favourite, given, manner) ? 0 : idle + 1;
  }
  assert_true(mxg_weave_is_over(&weave));
  for (uint32_t r = 0; r < ranks; r++)
    for (unsigned k = 0; k < s->machines[r].program->stream_count; k++)
      assert_int_equal(s->machines[r].at[k], s->machines[r].program->count);
  free(passed);
  mxg_weave_free(&weave);
}

static void start_built(scene *s, bool part, uint32_t group, uint32_t eager, int manner) {
  build(s, part, group);
  start(s, eager, manner);
  for (uint32_t r = 0; r < s->team.count; r++) {
    free(s->machines[r].recorded);
    forget(&s->ranks[r].program);
  }
}

static void compare(const mxg_plan *plan, const stored *all, const stored *want) {
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side != MXG_TARGET) continue;
    if (memcmp(all[i].data, want[i].data, (size_t)all[i].data_bytes) ||
        (all[i].scale && memcmp(all[i].scale, want[i].scale, (size_t)all[i].scale_bytes)))
      fail_msg("\"%s\" of rank %u is wrong", plan->strings + a->name, a->rank);
  }
}

static void copy_sources(const mxg_plan *plan, stored *to, const stored *from) {
  for (uint32_t i = 0; i < plan->array_count; i++) {
    if (plan->arrays[i].side != MXG_SOURCE) continue;
    memcpy(to[i].data, from[i].data, (size_t)from[i].data_bytes);
    if (from[i].scale) memcpy(to[i].scale, from[i].scale, (size_t)from[i].scale_bytes);
  }
}

static void try_recipe(const char *path, const mxg_recipe_options *options) {
  static const uint64_t chunks[] = {700, 20000};
  planned made = plan_recipe_with(path, options);
  const mxg_plan *plan = mxg_bundle_plan(made.bundle);
  stored *all = new_arrays(plan, true), *want = new_arrays(plan, true);
  fill_sources(plan, all);
  copy_sources(plan, want, all);
  run_host(made.bundle, plan, want);
  for (int trial = 0; trial < 12; trial++) {
    const int manner = trial % 3 == 0 ? copies_first : trial % 3 == 1 ? converts_first : by_chance;
    const uint32_t eager = trial % 4 == 0 ? 10 : 1 + random_below(9);
    scene s;
    lay_out(&s, made.bundle, all, chunks[trial % 2]);
    poison_targets(plan, all);
    if (trial % 2 == 0) start_built(&s, false, 0, eager, manner);
    for (uint32_t g = 0; trial % 2 == 1 && g < plan->group_count; g++)
      start_built(&s, true, trial % 4 == 1 ? g : plan->group_count - 1 - g, eager, manner);
    compare(plan, all, want);
    clear(&s);
  }
  free_arrays(plan, all);
  free_arrays(plan, want);
  mxg_bundle_free(made.bundle);
  mxg_arena_free(&made.arena);
}

static void programs(void **state) {
  (void)state;
  static const char *const ranks[] = {"3", "4", "5"};
  random_state = 31;
  for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
    const mxg_define defines[] = {{"ranks", ranks[i]}, {"layers", "2"}};
    try_recipe(MXG_TESTS "/unit/ring.lua", &(mxg_recipe_options){defines, 2});
  }
  try_recipe(MXG_ROOT "/recipes/tiny_moe.lua", &(mxg_recipe_options){NULL, 0});
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(circles), cmocka_unit_test(no_memory),
                                     cmocka_unit_test(programs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
