/* test_oom_flows.c -- generate, shard, run and verify with the n-th allocation failing: each ends with MXG_ERR_NOMEM or
** succeeds, and a failure leaves no file. Every n for the first hundred, then ever wider steps. */
#include "generate.h"
#include "transfer.h"
#include "verify.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char recipe[] = MXG_ROOT "/recipes/tiny_dense.lua";
static char root[64], source[96], target[96], out[96];
static mxg_memory_fn system_memory;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t calls, failing;

/* From the failing call on one allocation fails; those after it succeed, so that the way out is walked too. */
static void *rationed(void *old, size_t bytes) {
  bool fails = false;
  if (bytes) {
    pthread_mutex_lock(&lock);
    fails = ++calls == failing;
    pthread_mutex_unlock(&lock);
  }
  return fails ? NULL : system_memory(old, bytes);
}

static mxg_status load(mxg_generation *g, mxg_stage last, const char *out_dir, mxg_error *err) {
  static const char *const none[] = {NULL}, *const sets[] = {"layers=1", NULL};
  mxg_options options = MXG_OPTIONS_INIT;
  options.archs = none;
  options.sets = sets;
  options.out_dir = out_dir;
  return mxg_generation_run(g, recipe, &options, last, err);
}

static mxg_status generate(mxg_error *err) {
  mxg_generation g = {0};
  mxg_status status = load(&g, MXG_STAGE_FILES, out, err);
  mxg_generation_free(&g);
  return status;
}

static mxg_status transfer(const char *from, const char *to, mxg_error *err) {
  mxg_generation g = {0};
  mxg_status status = load(&g, MXG_STAGE_MODEL, NULL, err);
  mxg_transfer t = {.model = g.model, .from = from, .out = to, .threads = 2, .random = !from, .seed = 1};
  t.with_checksums = true;
  if (status == MXG_OK) status = from ? mxg_run(&t, err) : mxg_shard(&t, err);
  mxg_transfer_end(&t);
  mxg_generation_free(&g);
  return status;
}

static mxg_status shard(mxg_error *err) { return transfer(NULL, out, err); }
static mxg_status run(mxg_error *err) { return transfer(source, out, err); }

static mxg_status verify(mxg_error *err) {
  mxg_generation g = {0};
  mxg_status status = load(&g, MXG_STAGE_MODEL, NULL, err);
  mxg_verify v = {.model = g.model, .target = target, .seed = 1, .threads = 2, .with_checksums = true};
  if (status == MXG_OK) status = mxg_verify_run(&v, err);
  mxg_verify_end(&v);
  mxg_generation_free(&g);
  return status;
}

static void remove_out(void) {
  char line[256];
  snprintf(line, sizeof line, "rm -rf '%s'", out);
  assert_int_equal(system(line), 0);
}

static bool anything_left(void) {
  char line[256];
  snprintf(line, sizeof line, "ls -d '%s'* >/dev/null 2>&1", out);
  return system(line) == 0;
}

static void starve(mxg_status (*flow)(mxg_error *err)) {
  uint64_t step = 1, refused = 0;
  for (failing = 1;; failing += step) {
    mxg_error err = {0};
    calls = 0;
    mxg_status status = flow(&err);
    bool reached = calls >= failing;
    if (status == MXG_OK) {
      remove_out();
      if (!reached) break;
    } else {
      assert_int_equal(status, MXG_ERR_NOMEM);
      assert_int_equal(err.code, 1);
      assert_false(anything_left());
      refused++;
    }
    if (failing > 100) step += step / 8 + 1;
  }
  assert_true(refused > 20);
}

static void starve_generate(void **state) {
  (void)state;
  starve(generate);
}
static void starve_shard(void **state) {
  (void)state;
  starve(shard);
}
static void starve_run(void **state) {
  (void)state;
  starve(run);
}
static void starve_verify(void **state) {
  (void)state;
  starve(verify);
}

static int prepare(void **state) {
  (void)state;
  strcpy(root, "/tmp/mxg-oom-XXXXXX");
  if (!mkdtemp(root)) return -1;
  snprintf(source, sizeof source, "%s/source", root);
  snprintf(target, sizeof target, "%s/target", root);
  snprintf(out, sizeof out, "%s/out", root);
  mxg_error err;
  if (transfer(NULL, source, &err) != MXG_OK || transfer(source, target, &err) != MXG_OK) return -1;
  system_memory = mxg_memory_hook;
  mxg_memory_hook = rationed;
  return 0;
}

static int clean(void **state) {
  (void)state;
  char line[128];
  snprintf(line, sizeof line, "rm -rf '%s'", root);
  return system(line);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(starve_generate), cmocka_unit_test(starve_shard),
                                     cmocka_unit_test(starve_run), cmocka_unit_test(starve_verify)};
  return cmocka_run_group_tests(tests, prepare, clean);
}
