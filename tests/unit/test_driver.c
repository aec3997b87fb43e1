/* driver.h without a GPU: what is missing is said in words, and a real GPU, where there is one, answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "driver.h"
#include "error.h"

static void a_driver_works_or_says_why_not(void **state) {
  (void)state;
  mxg_driver_state driver;
  mxg_driver_find(&driver);
  mxg_error err = {0};
  int count = -1;
  mxg_status status = mxg_gpu_count(&count, &err);
  if (driver.usable) {
    assert_int_equal(status, MXG_OK);
    assert_int_equal(count, driver.devices);
    assert_string_equal(driver.problem, "");
    return;
  }
  assert_int_equal(status, MXG_ERR_ENVIRONMENT);
  assert_int_equal(count, 0);
  assert_int_equal(err.code, driver.found ? 522 : 521);
  assert_non_null(strstr(err.text, driver.problem));
  assert_true(driver.problem[0] != 0);
  assert_non_null(mxg_error_explain(err.code, &(const char *){NULL}));
}

static void a_gpu_that_is_not_there_is_refused(void **state) {
  (void)state;
  mxg_driver_state driver;
  mxg_driver_find(&driver);
  mxg_error err = {0};
  mxg_gpu *gpu = (mxg_gpu *)&err;
  mxg_status status = mxg_gpu_open(&gpu, 4096, &err);
  assert_null(gpu);
  assert_int_equal(status, driver.usable ? MXG_ERR_USAGE : MXG_ERR_ENVIRONMENT);
  mxg_gpu_info info;
  assert_int_equal(mxg_gpu_ask(&info, -1, NULL), status);
  mxg_gpu_close(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_driver_works_or_says_why_not),
      cmocka_unit_test(a_gpu_that_is_not_there_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
