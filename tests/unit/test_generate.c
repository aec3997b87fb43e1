/* mxg_generate as a library call: a bundle without files, digests that agree, every failed allocation reported. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "bundle.h"
#include "memory.h"
#include "mxgen.h"

static const char *const no_archs[] = {NULL};
static const char *const cut[] = {"layers=2", NULL};

static mxg_status generate(mxg_bundle **out, const char *recipe, mxg_error *err) {
  mxg_options options = MXG_OPTIONS_INIT;
  options.archs = no_archs;
  options.sets = cut;
  return mxg_generate(out, recipe, &options, err);
}

static void a_bundle_without_files(void **state) {
  (void)state;
  mxg_error err = {0};
  mxg_bundle *first, *second;
  assert_int_equal(generate(&first, MXG_ROOT "/recipes/tiny_moe.lua", &err), MXG_OK);
  assert_int_equal(generate(&second, MXG_ROOT "/recipes/tiny_moe.lua", &err), MXG_OK);
  assert_string_equal(mxg_bundle_digest(first), mxg_bundle_digest(second));
  assert_true(mxg_bundle_plan(first)->kernel_count > 0);
  mxg_bundle_free(second);
  assert_int_equal(generate(&second, MXG_ROOT "/recipes/tiny_dense.lua", &err), MXG_OK);
  assert_string_not_equal(mxg_bundle_digest(first), mxg_bundle_digest(second));
  mxg_bundle_free(first);
  mxg_bundle_free(second);
}

/* The counts of a caller with an older header: nothing is written past them. One of a newer header, or none, is
** told. */
static void counts_are_as_large_as_the_caller_s(void **state) {
  (void)state;
  mxg_error err = {0};
  mxg_bundle *bundle = NULL;
  mxg_options options = MXG_OPTIONS_INIT;
  mxg_kernel_counts counts = MXG_KERNEL_COUNTS_INIT;
  options.archs = no_archs;
  options.counts = &counts;
  static const size_t wrong[] = {0, offsetof(mxg_kernel_counts, note) - 1, sizeof counts + 8};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    counts.size = wrong[i];
    assert_int_equal(mxg_generate(&bundle, MXG_ROOT "/recipes/tiny_dense.lua", &options, &err), MXG_ERR_USAGE);
    assert_int_equal(err.code, 904);
    assert_non_null(strstr(err.text, "mxg_kernel_counts.size"));
    assert_null(bundle);
  }
  counts = (mxg_kernel_counts){.size = offsetof(mxg_kernel_counts, note), .cached = 7, .note = "mine"};
  assert_int_equal(mxg_generate(&bundle, MXG_ROOT "/recipes/tiny_dense.lua", &options, &err), MXG_OK);
  assert_int_equal(counts.size, offsetof(mxg_kernel_counts, note));
  assert_int_equal(counts.cached, 0);
  assert_string_equal(counts.note, "mine");
  mxg_bundle_free(bundle);
}

static mxg_memory_fn real_memory;
static long countdown;

static void *failing_memory(void *old, size_t bytes) {
  if (bytes && countdown-- <= 0) return NULL;
  return real_memory(old, bytes);
}

static void every_failed_allocation_is_reported(void **state) {
  (void)state;
  real_memory = mxg_memory_hook;
  mxg_status status = MXG_ERR_NOMEM;
  long failures = 0;
  for (long n = 0; n < 200000 && status != MXG_OK; n += 1 + n / 50) {
    mxg_error err = {0};
    mxg_bundle *bundle = NULL;
    countdown = n;
    mxg_memory_hook = failing_memory;
    status = generate(&bundle, MXG_ROOT "/recipes/tiny_dense.lua", &err);
    mxg_memory_hook = real_memory;
    if (status == MXG_OK) {
      mxg_bundle_free(bundle);
      continue;
    }
    failures++;
    assert_int_equal(status, MXG_ERR_NOMEM);
    assert_int_equal(err.code, 1);
    assert_null(bundle);
  }
  assert_int_equal(status, MXG_OK);
  assert_true(failures > 50);
}

/* A caller's header may be older than the library, not newer, and not no header at all. */
static void options_of_other_versions(void **state) {
  (void)state;
  mxg_options options = MXG_OPTIONS_INIT;
  mxg_error err = {0};
  mxg_bundle *bundle = NULL;
  options.archs = no_archs;
  options.sets = cut;
  options.size = offsetof(mxg_options, progress); /* the first header there was */
  options.embed = "no identifier";                /* which a library of its age cannot have read */
  assert_int_equal(mxg_generate(&bundle, MXG_ROOT "/recipes/tiny_dense.lua", &options, &err), MXG_OK);
  mxg_bundle_free(bundle);
  static const struct {
    size_t size;
    const char *says;
  } wrong[] = {{0, "MXG_OPTIONS_INIT"}, {8, "MXG_OPTIONS_INIT"}, {sizeof options + 8, "newer"}, {SIZE_MAX, "newer"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    options.size = wrong[i].size;
    assert_int_equal(mxg_generate(&bundle, MXG_ROOT "/recipes/tiny_dense.lua", &options, &err), MXG_ERR_USAGE);
    assert_null(bundle);
    if (!strstr(err.text, wrong[i].says)) fail_msg("%s", err.text);
  }
}

/* What can only be a mistake is told, not passed over. */
static void mistakes_of_callers(void **state) {
  (void)state;
  mxg_options options = MXG_OPTIONS_INIT;
  mxg_error err = {0};
  mxg_bundle *bundle = (mxg_bundle *)&options;
  options.archs = no_archs;
  assert_int_equal(mxg_generate(&bundle, NULL, &options, &err), MXG_ERR_USAGE);
  assert_null(bundle);
  assert_non_null(strstr(err.text, "recipe is NULL"));
  options.embed = "weights";
  assert_int_equal(mxg_generate(&bundle, MXG_ROOT "/recipes/tiny_dense.lua", &options, &err), MXG_ERR_USAGE);
  assert_null(bundle);
  assert_non_null(strstr(err.text, "out_dir"));
  static const char *const no_names[] = {"", "9x", "_x", "a-b", "alignas", "int", "xor_eq", "main"};
  for (size_t i = 0; i < sizeof no_names / sizeof *no_names; i++) {
    options.embed = no_names[i];
    assert_int_equal(mxg_generate(&bundle, MXG_ROOT "/recipes/tiny_dense.lua", &options, &err), MXG_ERR_USAGE);
    if (!strstr(err.text, "cannot be the name")) fail_msg("'%s': %s", no_names[i], err.text);
  }
}

int main(void) {
  setenv("MXGEN_CACHE", "off", 1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_bundle_without_files),
      cmocka_unit_test(counts_are_as_large_as_the_caller_s),
      cmocka_unit_test(every_failed_allocation_is_reported),
      cmocka_unit_test(options_of_other_versions),
      cmocka_unit_test(mistakes_of_callers),
  };
  return cmocka_run_group_tests_name("generate", tests, NULL, NULL) != 0;
}
