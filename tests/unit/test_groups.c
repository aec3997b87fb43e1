/* Groups: what the planner makes of a recipe's layers, what a bundle tells of them, and start and wait of the host
** transport: every group alone, in any order, gives what a run gives. Wrong calls are refused. The programs of
** groups are test_gpu_program.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bundle.h"
#include "memory.h"
#include "model.h"
#include "plan_build.h"
#include "plan_samples.h"

static mxg_bundle *bundle_of(const mxg_plan *plan) {
  static const unsigned char sources[32] = {9};
  const mxg_bundle_parts parts = {.plan = plan, .sources_digest = sources, .maker = "maker"};
  mxg_bundle *bundle = NULL;
  mxg_error err = {0};
  if (mxg_bundle_make(&bundle, &parts, &err)) fail_msg("%s", err.text);
  return bundle;
}

static mxg_bundle *bundle_of_recipe(const char *path) {
  mxg_arena arena = {0};
  mxg_files files = {0};
  mxg_recipe_options options = {0};
  const mxg_model *model = NULL;
  const mxg_plan *plan = NULL;
  mxg_error err = {0};
  if (mxg_model_build(&model, &files, path, &options, &arena, &err) || mxg_plan_build(&plan, model, &arena, &err))
    fail_msg("%s:%d: %s", err.file, err.line, err.text);
  mxg_bundle *bundle = bundle_of(plan);
  mxg_arena_free(&arena);
  return bundle;
}

/* ---- memory ---- */

static unsigned char **new_memory(const mxg_bundle *bundle) {
  uint32_t count = mxg_bundle_tensors(bundle), state = 5;
  unsigned char **all = calloc(count, sizeof *all);
  assert_non_null(all);
  for (uint32_t i = 0; i < count; i++) {
    mxg_tensor_info info = {.size = sizeof info};
    assert_int_equal(mxg_bundle_tensor(&info, bundle, i, NULL), MXG_OK);
    all[i] = malloc((size_t)(info.data_bytes + info.scale_bytes + 1));
    assert_non_null(all[i]);
    for (uint64_t b = 0; b < info.data_bytes + info.scale_bytes; b++) {
      state = state * 1664525u + 1013904223u;
      all[i][b] = (unsigned char)(b < info.data_bytes ? state >> 24 & 0xbf : 110 + (state >> 24) % 30);
    }
  }
  return all;
}

static void free_memory(const mxg_bundle *bundle, unsigned char **all) {
  for (uint32_t i = 0; i < mxg_bundle_tensors(bundle); i++) free(all[i]);
  free(all);
}

static void poison(const mxg_bundle *bundle, unsigned char **all) {
  for (uint32_t i = 0; i < mxg_bundle_tensors(bundle); i++) {
    mxg_tensor_info info = {.size = sizeof info};
    assert_int_equal(mxg_bundle_tensor(&info, bundle, i, NULL), MXG_OK);
    if (info.side == MXG_TARGET) memset(all[i], 0xa5, (size_t)(info.data_bytes + info.scale_bytes));
  }
}

static mxg_exec *new_exec(const mxg_bundle *bundle, unsigned char **all) {
  mxg_exec *exec = NULL;
  mxg_error err = {0};
  assert_int_equal(mxg_exec_create(&exec, bundle, NULL, &err), MXG_OK);
  for (uint32_t i = 0; i < mxg_bundle_tensors(bundle); i++) {
    mxg_tensor_info info = {.size = sizeof info};
    assert_int_equal(mxg_bundle_tensor(&info, bundle, i, NULL), MXG_OK);
    if (mxg_exec_bind(exec, info.rank, info.side, info.name, all[i], info.data_bytes,
                      info.scale_bytes ? all[i] + info.data_bytes : NULL, info.scale_bytes, &err))
      fail_msg("%s", err.text);
  }
  return exec;
}

/* Targets whose groups have all been started are as in `want`; the others are as they were. */
static void compare(const mxg_bundle *bundle, unsigned char **all, unsigned char **want, const bool *started) {
  for (uint32_t i = 0; i < mxg_bundle_tensors(bundle); i++) {
    mxg_tensor_info info = {.size = sizeof info};
    assert_int_equal(mxg_bundle_tensor(&info, bundle, i, NULL), MXG_OK);
    uint64_t bytes = info.data_bytes + info.scale_bytes;
    if (info.side != MXG_TARGET || bytes == 0) continue;
    bool every = true, none = true;
    for (uint32_t g = info.first_group; g <= info.group; g++) every = every && started[g], none = none && !started[g];
    if (every && memcmp(all[i], want[i], (size_t)bytes) != 0) fail_msg("\"%s\" of rank %u", info.name, info.rank);
    for (uint64_t b = 0; b < bytes && none; b++) assert_int_equal(all[i][b], 0xa5);
  }
}

static void try_bundle(const mxg_bundle *bundle) {
  uint32_t groups = mxg_bundle_groups(bundle);
  unsigned char **all = new_memory(bundle), **want = new_memory(bundle); /* alike */
  mxg_exec *wanted = new_exec(bundle, want), *exec = new_exec(bundle, all);
  mxg_error err = {0};
  bool *started = calloc(groups + 1, sizeof *started);
  assert_non_null(started);
  poison(bundle, want);
  assert_int_equal(mxg_exec_run(wanted, &err), MXG_OK);
  for (int backwards = 0; backwards < 2; backwards++) {
    poison(bundle, all);
    memset(started, 0, groups);
    if (!backwards) assert_int_equal(mxg_exec_prepare(exec, &err), MXG_OK);
    for (uint32_t n = 0; n < groups; n++) {
      uint32_t g = backwards ? groups - 1 - n : n;
      if (!backwards) {
        assert_int_equal(mxg_exec_wait(exec, g, &err), MXG_ERR_USAGE);
        assert_int_equal(err.code, 681);
      }
      if (mxg_exec_start(exec, g, NULL, &err)) fail_msg("%s", err.text);
      assert_int_equal(mxg_exec_wait(exec, g, &err), MXG_OK);
      assert_int_equal(mxg_exec_wait(exec, g, &err), MXG_OK);
      started[g] = true;
      compare(bundle, all, want, started);
    }
  }
  poison(bundle, all);
  assert_int_equal(mxg_exec_start(exec, MXG_ALL_GROUPS, NULL, &err), MXG_OK);
  assert_int_equal(mxg_exec_wait(exec, MXG_ALL_GROUPS, &err), MXG_OK);
  compare(bundle, all, want, started);
  mxg_exec_free(exec);
  mxg_exec_free(wanted);
  free_memory(bundle, all);
  free_memory(bundle, want);
  free(started);
}

static void groups_alone_give_what_a_run_gives(void **state) {
  (void)state;
  for (int i = 0; i < plan_sample_count; i++) {
    fixture *f = plan_samples[i].make();
    mxg_bundle *bundle = bundle_of(&f->plan);
    try_bundle(bundle);
    mxg_bundle_free(bundle);
    free(f);
  }
  static const char *const recipes[] = {MXG_ROOT "/recipes/tiny_dense.lua", MXG_ROOT "/recipes/tiny_moe.lua",
                                        MXG_ROOT "/examples/pytorch/dense_tp2.lua"};
  for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
    mxg_bundle *bundle = bundle_of_recipe(recipes[i]);
    try_bundle(bundle);
    mxg_bundle_free(bundle);
  }
}

/* ---- the planner ---- */

static const char scattered[] =
    "local mx = require 'mx'\n"
    "local m = mx.model 'scattered'\n"
    "m:tensor('embed', { 64, 64 })\n"
    "for i = 0, 2 do m:tensor(('layers.%d.attn'):format(i), { 64, 64 }) end\n"
    "for i = 0, 2 do m:tensor(('layers.%d.experts.7.up'):format(i), { 64, 64 }) end\n"
    "m:tensor('blocks.x2', { 64, 64 })\n"
    "local side = { mesh = mx.mesh { { 'tp', 2 } }, format = { mx.rule(mx.bf16(), '**') } }\n"
    "local source, target = {}, {}\n"
    "for k, v in pairs(side) do source[k], target[k] = v, v end\n"
    "source.layout = { mx.rule(mx.split { row = 'tp' }, '**') }\n"
    "target.layout = { mx.rule(mx.whole(), '**') }\n"
    "return { version = 1, name = 'scattered', model = m, source = source, target = target,\n"
    "         schedule = { ";
static const char scattered_end[] = " bucket = '12KiB' } }\n";

static mxg_bundle *scattered_bundle(const char *schedule) {
  char path[] = "/tmp/mxg-groups-XXXXXX", text[2048];
  int file = mkstemp(path);
  assert_true(file >= 0);
  int count = snprintf(text, sizeof text, "%s%s%s", scattered, schedule, scattered_end);
  assert_true(write(file, text, (size_t)count) == count && close(file) == 0);
  mxg_bundle *bundle = bundle_of_recipe(path);
  assert_int_equal(unlink(path), 0);
  return bundle;
}

/* A layer's tensors are moved together, wherever the model lists them; more than a bucket has are several buckets. */
static void layers_are_groups(void **state) {
  (void)state;
  static const char *const names[] = {"embed", "layers.0", "layers.1", "layers.2", "blocks.x2"};
  mxg_bundle *bundle = scattered_bundle("groups = 'layer',");
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  assert_int_equal(mxg_bundle_groups(bundle), 5);
  for (uint32_t g = 0; g < 5; g++) assert_string_equal(mxg_bundle_group_name(bundle, g), names[g]);
  assert_null(mxg_bundle_group_name(bundle, 5));
  assert_null(mxg_bundle_group_name(bundle, MXG_ALL_GROUPS));
  for (uint32_t r = 0; r < 2; r++)
    for (uint32_t s = plan->ranks[r].first_step + 1; s < plan->ranks[r].first_step + plan->ranks[r].steps; s++) {
      const mxg_step *before = &plan->steps[s - 1], *step = &plan->steps[s];
      if (step->kind == MXG_STEP_CONVERT && before->kind == MXG_STEP_CONVERT) assert_true(step->group >= before->group);
    }
  for (uint32_t i = 0; i < mxg_bundle_tensors(bundle); i++) {
    mxg_tensor_info info = {.size = sizeof info};
    assert_int_equal(mxg_bundle_tensor(&info, bundle, i, NULL), MXG_OK);
    if (info.side == MXG_SOURCE) {
      assert_int_equal(info.group, MXG_ALL_GROUPS);
      continue;
    }
    assert_int_equal(info.group, info.first_group);
    const char *name = mxg_bundle_group_name(bundle, info.group);
    assert_memory_equal(info.name, name, strlen(name));
  }
  try_bundle(bundle);
  mxg_bundle *plain = scattered_bundle("");
  assert_string_equal(mxg_bundle_group_name(plain, 2), "bucket 2");
  assert_int_not_equal(strcmp(mxg_bundle_digest(plain), mxg_bundle_digest(bundle)), 0);
  uint32_t most = 0;
  const mxg_plan *buckets = mxg_bundle_plan(plain);
  for (uint32_t s = 0; s < buckets->step_count; s++) {
    assert_int_equal(buckets->steps[s].group, buckets->steps[s].bucket);
    if (most <= buckets->steps[s].bucket) most = buckets->steps[s].bucket + 1;
  }
  assert_int_equal(mxg_bundle_groups(plain), most);
  mxg_bundle_free(plain);
  mxg_bundle_free(bundle);
}

/* ---- wrong calls ---- */

static void wrong_calls_are_refused(void **state) {
  (void)state;
  fixture *f = sample_grouped();
  mxg_bundle *bundle = bundle_of(&f->plan);
  unsigned char **all = new_memory(bundle);
  mxg_error err = {0};
  mxg_exec *empty = NULL, *exec = new_exec(bundle, all);
  void *streams[16] = {NULL};
  assert_int_equal(mxg_exec_start(NULL, 0, NULL, &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_exec_wait(NULL, 0, &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_exec_prepare(NULL, &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_exec_start(exec, mxg_bundle_groups(bundle), NULL, &err), MXG_ERR_USAGE);
  assert_non_null(strstr(err.text, "there is no group"));
  assert_int_equal(mxg_exec_wait(exec, mxg_bundle_groups(bundle), &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_exec_wait(exec, MXG_ALL_GROUPS, &err), MXG_ERR_USAGE);
  assert_int_equal(err.code, 681);
  assert_int_equal(mxg_exec_start(exec, 0, streams, &err), MXG_ERR_USAGE);
  assert_non_null(strstr(err.text, "has no streams"));
  assert_int_equal(mxg_exec_wait(exec, 0, &err), MXG_ERR_USAGE); /* what was refused was not started */
  assert_int_equal(mxg_exec_create(&empty, bundle, NULL, &err), MXG_OK);
  assert_int_equal(mxg_exec_prepare(empty, &err), MXG_ERR_USAGE);
  assert_int_equal(err.code, 606);
  assert_int_equal(mxg_exec_start(empty, 0, NULL, &err), MXG_ERR_USAGE);
  assert_int_equal(err.code, 606);
  assert_int_equal(mxg_bundle_groups(NULL), 0);
  assert_null(mxg_bundle_group_name(NULL, 0));
  mxg_exec_free(empty);
  mxg_exec_free(exec);
  free_memory(bundle, all);
  mxg_bundle_free(bundle);
  free(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(groups_alone_give_what_a_run_gives),
      cmocka_unit_test(layers_are_groups),
      cmocka_unit_test(wrong_calls_are_refused),
  };
  return cmocka_run_group_tests_name("groups", tests, NULL, NULL) != 0;
}
