/* The programs of transports copy and direct, carried out here instead of on GPUs: copies are memory copies,
** launches the host's conversion, and streams run in turns that events alone limit, from "copies as early as they
** may" to "as late as they may". Whatever the turns, targets are the host transport's, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cost.h"
#include "failing_memory.h"
#include "gpu_machine.h"

/* ---- one plan, one transport ---- */

typedef struct trial {
  bool copy;
  uint64_t chunk;
  unsigned streams;
  bool groups; /* one by one */
} trial;

static const trial trials[] = {{true, 0, 0, false},  {true, 1, 1, false}, {true, 700, 2, false}, {true, 4096, 3, false},
                               {false, 0, 0, false}, {true, 0, 0, true},  {true, 900, 3, true},  {false, 0, 0, true}};
enum { trial_count = sizeof trials / sizeof *trials };

static void build_and_run(mxg_gpu_rank *r, const trial *t, int manner, bool aligned) {
  const mxg_plan *plan = r->team->view->plan;
  if (t->copy)
    mxg_copy_build(r);
  else
    mxg_direct_build(r);
  assert_false(r->program.failed);
  run_program(plan, &r->program, manner, aligned);
  if (manner == by_chance) run_program(plan, &r->program, manner, aligned); /* finds what the first start has left */
  mxg_free(r->program.ops);
  mxg_free(r->program.entries);
  mxg_free(r->program.steps);
  r->program = (mxg_gpu_program){0};
}

/* The programs of single groups: forwards, backwards, or in any order and some of them again. */
static void run_groups(mxg_gpu_rank *r, const trial *t, int manner, bool aligned) {
  uint32_t groups = r->team->view->plan->group_count, turns[256], count = 0;
  assert_true(groups <= 128);
  for (uint32_t g = 0; g < groups; g++) turns[count++] = manner == copies_first ? g : groups - 1 - g;
  for (uint32_t g = 0; g < groups && manner == by_chance; g++) turns[count++] = random_below(groups);
  for (uint32_t i = count; i > 1 && manner == by_chance; i--) {
    uint32_t k = random_below(i), swap = turns[k];
    turns[k] = turns[i - 1];
    turns[i - 1] = swap;
  }
  for (uint32_t i = 0; i < count; i++) {
    r->program.part = true;
    r->program.group = turns[i];
    build_and_run(r, t, manner, aligned);
  }
}

static void run_rank(mxg_gpu_rank *r, const trial *t, int manner, bool aligned) {
  const mxg_plan *plan = r->team->view->plan;
  uint64_t staging = 0;
  r->slots = calloc(plan->slots + 1, sizeof *r->slots);
  assert_non_null(r->slots);
  mxg_rank_measure_slots(r);
  for (uint32_t i = 0; i < plan->slots; i++) {
    uint64_t bytes = r->slots[i].end - r->slots[i].begin;
    unsigned char *memory = new_bytes(bytes, aligned);
    memset(memory, 0xee, (size_t)bytes);
    r->slots[i].memory = (uint64_t)(uintptr_t)memory;
    staging += bytes;
  }
  assert_true(staging <= plan->ranks[r->rank].staging_bytes);
  mxg_rank_place_scratch(r);
  if (t->groups)
    run_groups(r, t, manner, aligned);
  else
    build_and_run(r, t, manner, aligned);
  for (uint32_t i = 0; i < plan->slots; i++) free((void *)(uintptr_t)r->slots[i].memory);
  free(r->slots);
}

static void run_trial(const mxg_bundle *bundle, const stored *all, const trial *t, int manner, bool aligned) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  mxg_exec_view view = {.bundle = bundle, .plan = plan};
  mxg_gpu_team team = {.view = &view, .stages = t->copy};
  view.options.chunk_bytes = t->chunk;
  view.options.copy_streams = t->streams;
  take_team_arrays(&team, plan);
  for (uint32_t i = 0; i < plan->array_count; i++) {
    team.places[i] = (mxg_place){(uint64_t)(uintptr_t)all[i].data, (uint64_t)(uintptr_t)all[i].scale};
    team.homes[i] = (mxg_place){(uint64_t)(uintptr_t)all[i].home, (uint64_t)(uintptr_t)all[i].home};
  }
  for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
    mxg_gpu_rank r = {.team = &team, .rank = rank};
    run_rank(&r, t, manner, aligned);
  }
  free_team_arrays(&team);
}

static void compare(const char *name, const mxg_plan *plan, const stored *all, const stored *want, const trial *t) {
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side != MXG_TARGET) continue;
    if (memcmp(all[i].data, want[i].data, (size_t)all[i].data_bytes) ||
        (all[i].scale && memcmp(all[i].scale, want[i].scale, (size_t)all[i].scale_bytes)))
      fail_msg("%s, %s%s with chunks of %llu: \"%s\" of rank %u is wrong", name, t->copy ? "copy" : "direct",
               t->groups ? " by group" : "", (unsigned long long)t->chunk, plan->strings + a->name, a->rank);
  }
}

static void try_plan(const char *name, const mxg_bundle *bundle, bool aligned) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  stored *all = new_arrays(plan, aligned), *want = new_arrays(plan, aligned);
  fill_sources(plan, all);
  for (uint32_t i = 0; i < plan->array_count; i++) {
    if (plan->arrays[i].side != MXG_SOURCE) continue;
    memcpy(want[i].data, all[i].data, (size_t)all[i].data_bytes);
    if (all[i].scale) memcpy(want[i].scale, all[i].scale, (size_t)all[i].scale_bytes);
  }
  run_host(bundle, plan, want);
  for (int t = 0; t < trial_count; t++)
    for (int manner = 0; manner < manners; manner++) {
      poison_targets(plan, all);
      run_trial(bundle, all, &trials[t], manner, aligned);
      compare(name, plan, all, want, &trials[t]);
    }
  free_arrays(plan, all);
  free_arrays(plan, want);
}

static void every_sample(void **state) {
  (void)state;
  try_every_sample(try_plan);
}

/* ---- recipes ---- */

static void tiny_recipes(void **state) {
  (void)state;
  try_tiny_recipes(try_plan);
}

/* The program of a rank for arrays of other memory each, or side by side in one allocation a rank; nothing is carried
** out. */
static mxg_gpu_program plan_only(const mxg_bundle *bundle, bool copy, bool together) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  mxg_exec_view view = {.bundle = bundle, .plan = plan};
  mxg_gpu_team team = {.view = &view, .stages = copy};
  mxg_gpu_rank r = {.team = &team};
  uint64_t at = (uint64_t)1 << 40;
  take_team_arrays(&team, plan);
  r.slots = calloc(plan->slots + 1, sizeof *r.slots);
  assert_non_null(r.slots);
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    uint64_t home = together ? ((uint64_t)a->rank * 2 + a->side + 1) << 32 : 0;
    team.places[i] = (mxg_place){at, at + room_of(mxg_array_data_bytes(plan, a))};
    team.homes[i] = (mxg_place){home, home};
    at = together ? team.places[i].scale + room_of(mxg_array_scale_bytes(plan, a)) : at + ((uint64_t)1 << 32);
  }
  mxg_rank_measure_slots(&r);
  for (uint32_t i = 0; i < plan->slots; i++) r.slots[i].memory = at += (uint64_t)1 << 32;
  if (copy)
    mxg_copy_build(&r);
  else
    mxg_direct_build(&r);
  assert_false(r.program.failed);
  free_team_arrays(&team);
  free(r.slots);
  return r.program;
}

static void forget(mxg_gpu_program *program) {
  mxg_free(program->ops);
  mxg_free(program->entries);
  mxg_free(program->steps);
}

typedef struct counts {
  unsigned copies, launches;
  uint64_t bytes;
} counts;

static counts count_ops(const mxg_plan *plan, const mxg_gpu_program *program) {
  counts n = {0};
  for (size_t i = 0; i < program->count; i++) {
    const mxg_gpu_op *op = &program->ops[i];
    n.copies += op->kind == MXG_OP_COPY;
    n.launches += op->kind == MXG_OP_LAUNCH;
    if (op->kind == MXG_OP_COPY) n.bytes += op->u.copy.width * op->u.copy.height;
    if (op->kind == MXG_OP_LAUNCH) check_launch(plan, program, op, true);
  }
  check_events(program);
  check_end(program);
  return n;
}

/* What a start costs is how many ops there are; what copies cost is that they are many. 30 MXFP8 layers of four tensors
** each; 48 of four, two of which are stacks of 128 experts with 18,000 targets. */
static void few_ops(void **state) {
  (void)state;
  static const struct {
    const char *recipe;
    unsigned copies, together, launches, direct_launches;
  } most[] = {{MXG_ROOT "/recipes/llama3_8b_tp2.lua", 300, 100, 90, 64},
              {MXG_ROOT "/recipes/qwen3_30b_a3b_ep2.lua", 430, 220, 280, 200}};
  for (int i = 0; i < 2; i++) {
    planned made = plan_recipe(most[i].recipe);
    const mxg_plan *plan = mxg_bundle_plan(made.bundle);
    uint64_t received = plan->ranks[0].received_bytes;
    mxg_gpu_program copy = plan_only(made.bundle, true, false), direct = plan_only(made.bundle, false, false);
    mxg_gpu_program joined = plan_only(made.bundle, true, true);
    counts copying = count_ops(plan, &copy), reading = count_ops(plan, &direct);
    assert_in_range(copying.bytes, received / 100 * 99, received); /* small norms are not copied */
    assert_in_range(copying.copies, 1, most[i].copies);
    assert_in_range(copying.launches, 1, most[i].launches);
    counts joining = count_ops(plan, &joined);
    printf("copies %u, joined %u of %u launches\n", copying.copies, joining.copies, joining.launches);
    assert_int_equal(joining.bytes, copying.bytes);
    assert_in_range(joining.copies, 1, most[i].together);
    assert_int_equal(reading.copies, 0);
    assert_in_range(reading.launches, 1, most[i].direct_launches);
    forget(&copy);
    forget(&direct);
    forget(&joined);
    mxg_bundle_free(made.bundle);
    mxg_arena_free(&made.arena);
  }
}

/* Small work is worth no copies, large work is. */
static void chosen_by_size(void **state) {
  (void)state;
  planned small = plan_recipe(MXG_ROOT "/recipes/tiny_dense.lua");
  planned large = plan_recipe(MXG_ROOT "/recipes/llama3_8b_tp2.lua");
  const mxg_plan *tiny = mxg_bundle_plan(small.bundle), *llama = mxg_bundle_plan(large.bundle);
  const mxg_rates *rates = &mxg_default_rates;
  assert_true(mxg_cost_of_plan(rates, MXG_DIRECT, tiny) < mxg_cost_of_plan(rates, MXG_COPY, tiny));
  assert_true(mxg_cost_of_plan(rates, MXG_COPY, llama) < mxg_cost_of_plan(rates, MXG_DIRECT, llama));
  double floor = (double)llama->ranks[0].received_bytes / 394e9, copy = mxg_cost_of_plan(rates, MXG_COPY, llama);
  assert_true(copy > floor && copy < 1.1 * floor);
  mxg_bundle_free(small.bundle);
  mxg_bundle_free(large.bundle);
  mxg_arena_free(&small.arena);
  mxg_arena_free(&large.arena);
}

/* ---- when things are not there ---- */

static void no_memory(void **state) {
  (void)state;
  fixture *f = sample_grouped();
  mxg_bundle *bundle = bundle_of(&f->plan);
  mxg_exec_view view = {.bundle = bundle, .plan = mxg_bundle_plan(bundle)};
  mxg_gpu_team team = {.view = &view};
  view.options.chunk_bytes = 300;
  take_team_arrays(&team, view.plan);
  mxg_memory_fn usual = mxg_memory_hook;
  for (int copy = 0; copy < 2; copy++) {
    bool failed = true;
    for (long most = 0; failed; most++) {
      mxg_gpu_slot slots[3] = {{0}};
      mxg_gpu_rank r = {.team = &team, .rank = 1, .slots = slots};
      team.stages = copy;
      assert_true(most < 10000);
      allocations_left = most;
      mxg_memory_hook = fail_from_then_on;
      if (copy)
        mxg_copy_build(&r);
      else
        mxg_direct_build(&r);
      mxg_memory_hook = usual;
      failed = r.program.failed;
      if (most == 0) assert_true(failed);
      forget(&r.program);
    }
  }
  free_team_arrays(&team);
  mxg_bundle_free(bundle);
  free(f);
}

/* Here or there: with GPUs an executor, without them an error that says so, and never one without the other. */
static void no_gpu(void **state) {
  (void)state;
  fixture *f = sample_grouped();
  mxg_bundle *bundle = bundle_of(&f->plan); /* without kernels */
  static const mxg_transport transports[] = {MXG_COPY, MXG_DIRECT};
  for (int i = 0; i < 2; i++) {
    mxg_exec_options options = MXG_EXEC_INIT;
    mxg_error err = {0};
    mxg_exec *exec = NULL;
    options.transport = transports[i];
    mxg_status status = mxg_exec_create(&exec, bundle, &options, &err);
    assert_true(status == MXG_ERR_ENVIRONMENT || (status == MXG_ERR_UNSUPPORTED && err.code == 647));
    assert_null(exec);
    assert_true(*err.text != 0);
  }
  mxg_exec_options options = MXG_EXEC_INIT;
  mxg_exec *host = NULL;
  options.transport = MXG_AUTO;
  mxg_error refused = {0};
  if (mxg_exec_create(&host, bundle, &options, &refused) == MXG_OK) { /* no GPU: the host, and why */
    const char *why = NULL;
    assert_int_equal(mxg_exec_transport(host, &why), MXG_HOST);
    assert_true(*why != 0);
    mxg_exec_free(host);
  } else {
    assert_int_equal(refused.code, 647);
  }
  double seconds = 0;
  mxg_error err = {0};
  assert_int_equal(mxg_exec_create(&host, bundle, NULL, &err), MXG_OK);
  assert_int_equal(mxg_exec_measure(host, 1, &seconds, NULL, NULL, &err), MXG_ERR_UNSUPPORTED);
  assert_int_equal(mxg_exec_device_bytes(host, 0), 0);
  mxg_exec_free(host);
  mxg_bundle_free(bundle);
  free(f);
}

/* ---- copies that are one ---- */

static mxg_copies add_all(const mxg_copy *some, size_t count) {
  mxg_copies copies = {0};
  for (size_t i = 0; i < count; i++) mxg_copies_add(&copies, some[i]);
  mxg_copies_apart(&copies);
  assert_false(copies.failed);
  return copies;
}

static void joined(void **state) {
  (void)state;
  const mxg_copy rows[] = {{1000, 5000, 10, 1, 0, 0}, {1010, 5010, 10, 1, 0, 0}, {1020, 5020, 20, 1, 0, 0}};
  mxg_copies copies = add_all(rows, 3);
  assert_int_equal(copies.count, 1);
  assert_int_equal(copies.items[0].width, 40);
  mxg_copies_free(&copies);

  const mxg_copy groups[] = {{0, 100, 8, 1, 0, 0}, {8, 132, 8, 1, 0, 0}, {16, 164, 8, 1, 0, 0}, {24, 200, 8, 1, 0, 0}};
  copies = add_all(groups, 4);
  assert_int_equal(copies.count, 2);
  assert_int_equal(copies.items[0].height, 3);
  assert_int_equal(copies.items[0].src_pitch, 32);
  assert_int_equal(copies.items[0].dst_pitch, 8);
  mxg_copies_free(&copies);

  /* Two that touch, at equal distances: first side by side, then one below the other. */
  const mxg_copy pairs[] = {{0, 0, 8, 1, 0, 0}, {8, 8, 8, 1, 0, 0}, {16, 40, 8, 1, 0, 0}, {24, 48, 8, 1, 0, 0}};
  copies = add_all(pairs, 4);
  assert_int_equal(copies.count, 1);
  assert_int_equal(copies.items[0].width, 16);
  assert_int_equal(copies.items[0].src_pitch, 40);
  mxg_copies_free(&copies);

  const mxg_copy cut[] = {{0, 100, 8, 4, 8, 32}, {32, 228, 8, 2, 8, 32}, {48, 292, 8, 2, 8, 64}};
  copies = add_all(cut, 3);
  assert_int_equal(copies.count, 2);
  assert_int_equal(copies.items[0].height, 6);
  mxg_copies_free(&copies);

  const mxg_copy back[] = {{0, 100, 8, 1, 0, 0}, {8, 92, 8, 1, 0, 0}}; /* no pitch goes backwards */
  copies = add_all(back, 2);
  assert_int_equal(copies.count, 2);
  mxg_copies_free(&copies);
}

/* Layers that are alike: elements, scales and a norm come again and again at equal distances, and each becomes one copy,
** with the bytes of all of them; also where something else lies between, and where two are as wide. */
static void joined_among_others(void **state) {
  (void)state;
  enum { layers = 5, kinds = 4 };
  const uint64_t widths[kinds] = {640, 20, 64, 20}, places[kinds] = {0, 700, 800, 1000}, stride = 2000;
  for (int odd = 0; odd < 2; odd++) {
    mxg_copies copies = {0};
    uint64_t to = 0, bytes = 0;
    for (uint64_t layer = 0; layer < layers; layer++) {
      for (int k = 0; k < kinds; k++) {
        mxg_copies_add(&copies, (mxg_copy){to, 5000 + layer * stride + places[k], widths[k], 1, 0, 0});
        to += widths[k];
      }
      if (odd && layer == 2) mxg_copies_add(&copies, (mxg_copy){50000, 30000, 7, 1, 0, 0}); /* of this layer only */
    }
    mxg_copies_apart(&copies);
    assert_int_equal(copies.count, odd ? 8 : 7); /* those of 20 bytes pair up, layer by layer */
    unsigned char from[5000 + layers * 2000], got[layers * (640 + 20 + 64 + 20)] = {0};
    for (size_t i = 0; i < sizeof from; i++) from[i] = (unsigned char)(i * 31 + i / 253);
    for (size_t i = 0; i < copies.count; i++) {
      const mxg_copy *c = &copies.items[i];
      if (c->width == 7) continue;
      for (uint64_t row = 0; row < c->height; row++, bytes += c->width)
        memcpy(got + c->dst + row * c->dst_pitch, from + c->src + row * c->src_pitch, c->width);
    }
    assert_int_equal(bytes, sizeof got);
    for (uint64_t layer = 0, at = 0; layer < layers; layer++)
      for (int k = 0; k < kinds; at += widths[k++])
        assert_memory_equal(got + at, from + 5000 + layer * stride + places[k], widths[k]);
    mxg_copies_free(&copies);
  }
}

/* Copies of one run of bytes, of rows and of few bytes, taken by so many bytes at a time: every part is of about that
** size, and together they bring each byte once. */
static void taken(void **state) {
  (void)state;
  enum { mib = 1 << 20, size = 12 * mib };
  const mxg_copy some[] = {{0, 0, 5 * mib + 3, 1, 0, 0},
                           {6 * mib, 6 * mib, 1000, 3000, 1024, 2000},
                           {5 * mib + 100, 5 * mib + 100, 7, 1, 0, 0}};
  const uint64_t all = 5 * mib + 3 + 3000 * 1000 + 7, at_a_time[] = {1, 900, 2 * mib, 3 * mib, 64 * mib};
  unsigned char *seen = malloc(size);
  assert_non_null(seen);
  for (size_t t = 0; t < sizeof at_a_time / sizeof *at_a_time; t++) {
    mxg_copies from = {0}, to = {0};
    for (size_t i = 0; i < 3; i++) mxg_copies_add(&from, some[i]);
    assert_int_equal(mxg_copies_bytes(&from), all);
    memset(seen, 0, size);
    uint64_t sum = 0;
    size_t next = 0;
    while (next < from.count) {
      const size_t before = to.count;
      const uint64_t bytes = mxg_copies_take(&to, &from, &next, at_a_time[t]);
      assert_in_range(bytes, 1, at_a_time[t] + at_a_time[t] / 4 + mib);
      if (next < from.count) assert_in_range(bytes, at_a_time[t] < mib ? 1 : at_a_time[t] - mib, UINT64_MAX);
      assert_true(to.count > before);
      sum += bytes;
    }
    assert_int_equal(sum, all);
    assert_int_equal(mxg_copies_take(&to, &from, &next, mib), 0);
    const size_t parts = to.count;
    mxg_copies_apart(&to);
    assert_int_equal(to.count, parts); /* cut on purpose */
    for (size_t i = 0; i < to.count; i++) {
      const mxg_copy *c = &to.items[i];
      for (uint64_t row = 0; row < c->height; row++) {
        const uint64_t dst = c->dst + row * c->dst_pitch, src = c->src + row * c->src_pitch;
        const uint64_t line = dst < 6 * mib ? 0 : (dst - 6 * mib) / 1024;
        assert_int_equal(src - dst, dst < 6 * mib ? 0 : line * (2000 - 1024));
        for (uint64_t k = 0; k < c->width; k++) seen[dst + k]++;
      }
    }
    for (uint64_t i = 0; i < size; i++) {
      const bool wanted = i < 5 * mib + 3 || (i >= 5 * mib + 100 && i < 5 * mib + 107) ||
                          (i >= 6 * mib && i < 6 * mib + 3000 * 1024 && (i - 6 * mib) % 1024 < 1000);
      if (seen[i] != wanted) fail_msg("byte %llu came %u times", (unsigned long long)i, seen[i]);
    }
    mxg_copies_free(&from);
    mxg_copies_free(&to);
  }
  free(seen);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(joined),         cmocka_unit_test(joined_among_others), cmocka_unit_test(taken),
      cmocka_unit_test(every_sample),   cmocka_unit_test(tiny_recipes),        cmocka_unit_test(few_ops),
      cmocka_unit_test(chosen_by_size), cmocka_unit_test(no_memory),           cmocka_unit_test(no_gpu)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
