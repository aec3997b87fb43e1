/* The version that headers state is the library's, and programs of other versions are told so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "mxgen.h"

static void headers_state_the_library_s_version(void **state) {
  (void)state;
  char said[32];
  snprintf(said, sizeof said, "%d.%d.%d", MXRT_VERSION / 10000, MXRT_VERSION / 100 % 100, MXRT_VERSION % 100);
  assert_string_equal(said, mxg_version());
  assert_int_equal(MXGEN_VERSION, MXRT_VERSION);
}

static void other_versions_are_told(void **state) {
  (void)state;
  mxg_error err = {0};
  assert_int_equal(mxg_version_check(MXRT_VERSION, &err), MXG_OK);
  assert_int_equal(mxg_version_check(MXRT_VERSION, NULL), MXG_OK);
  static const unsigned newer[] = {MXRT_VERSION + 1, MXRT_VERSION + 100, MXRT_VERSION + 10000, UINT32_MAX};
  for (size_t i = 0; i < sizeof newer / sizeof *newer; i++) {
    assert_int_equal(mxg_version_check(newer[i], &err), MXG_ERR_UNSUPPORTED);
    assert_int_equal(err.code, 609);
    assert_non_null(strstr(err.text, "older than the header"));
  }
  /* of the series before: calls may have changed */
  const unsigned series = MXRT_VERSION < 10000 ? 100 : 10000, before = MXRT_VERSION / series * series - 1;
  assert_int_equal(mxg_version_check(before, &err), MXG_ERR_UNSUPPORTED);
  assert_int_equal(err.code, 609);
  assert_non_null(strstr(err.help, "compile the program again"));
  assert_int_equal(mxg_version_check(MXRT_VERSION / series * series, &err), MXG_OK); /* the first of this series */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(headers_state_the_library_s_version),
      cmocka_unit_test(other_versions_are_told),
  };
  return cmocka_run_group_tests_name("version", tests, NULL, NULL) != 0;
}
