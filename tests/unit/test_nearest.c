/* test_nearest.c -- distances that people's slips have, and words that must not be offered. */
#include "nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void distances(void **state) {
  (void)state;
  assert_int_equal(mxg_edit_distance("", ""), 0);
  assert_int_equal(mxg_edit_distance("abc", ""), 3);
  assert_int_equal(mxg_edit_distance("check", "chekc"), 1); /* a swap is one edit */
  assert_int_equal(mxg_edit_distance("Plan", "plan"), 0);
  assert_int_equal(mxg_edit_distance("kitten", "sitting"), 3);
  char wide[80];
  for (size_t i = 0; i < sizeof wide - 1; i++) wide[i] = 'a';
  wide[sizeof wide - 1] = 0;
  assert_true(mxg_edit_distance(wide, "a") == SIZE_MAX);
}

static void nearest(void **state) {
  (void)state;
  static const char *const words[] = {"check", "plan", "explain", "run", "verify"};
  assert_string_equal(mxg_nearest("chekc", words, 5), "check");
  assert_string_equal(mxg_nearest("explian", words, 5), "explain");
  assert_string_equal(mxg_nearest("verfy", words, 5), "verify");
  assert_null(mxg_nearest("recipe", words, 5));
  assert_null(mxg_nearest("ab", words, 5));
  assert_null(mxg_nearest("", words, 5));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(distances), cmocka_unit_test(nearest)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
