/* nccl.h without a GPU: a library that is there answers and makes ids, and what is missing is said in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "nccl.h"

static void a_library_works_or_says_why_not(void **state) {
  (void)state;
  mxg_nccl_state found;
  unsigned char id[2][MXG_NCCL_ID_BYTES] = {{0}};
  mxg_error err = {0};
  mxg_nccl_find(&found);
  mxg_status status = mxg_nccl_new_id(id[0], &err);
  if (found.usable) {
    assert_int_equal(status, MXG_OK);
    assert_int_equal(mxg_nccl_new_id(id[1], &err), MXG_OK);
    assert_memory_not_equal(id[0], id[1], MXG_NCCL_ID_BYTES);
    assert_true(found.number >= 21800);
    assert_true(*found.path && *found.version);
    assert_string_equal(found.problem, "");
    assert_string_equal(getenv("NCCL_NVLS_ENABLE"), "0");
    return;
  }
  assert_int_equal(status, MXG_ERR_ENVIRONMENT);
  assert_int_equal(err.code, found.found ? 525 : 524);
  assert_non_null(strstr(err.text, found.problem));
  assert_true(*found.problem && *found.help);
  assert_non_null(mxg_error_explain(err.code, &(const char *){NULL}));
}

/* Where ranks cannot come together: an error before the deadline or soon after, and nothing that hangs. Without a GPU
*NCCL
** refuses at once; with one it waits for the rank that does not come. */
static void an_open_is_bounded(void **state) {
  (void)state;
  mxg_nccl_state found;
  mxg_nccl_find(&found);
  unsigned char id[MXG_NCCL_ID_BYTES] = {0};
  mxg_error err = {0};
  if (!found.usable) return;
  assert_int_equal(mxg_nccl_new_id(id, &err), MXG_OK);
  mxg_nccl *nccl = NULL;
  double begin = mxg_now();
  mxg_status status = mxg_nccl_open(&nccl, id, 2, 0, begin + 0.5, &err);
  assert_true(status == MXG_ERR_NCCL || status == MXG_ERR_TIMEOUT);
  assert_null(nccl);
  assert_true(*err.text != 0);
  assert_true(mxg_now() - begin < 5);
  assert_int_equal(mxg_nccl_borrow(&nccl, NULL, 2, 0, 0, &err), MXG_ERR_USAGE);
  assert_null(nccl);
  mxg_nccl_close(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_library_works_or_says_why_not),
                                     cmocka_unit_test(an_open_is_bounded)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
