/* bench_code.h: every work compiles for this chip, keeps nothing in local memory, and its instructions are counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "bench_code.h"
#include "bench_works.h"
#include "compile.h"

static void works_keep_nothing_in_local_memory(void **state) {
  (void)state;
  mxg_nvrtc_info nvrtc;
  mxg_nvrtc_find(&nvrtc);
  if (!nvrtc.found) skip();
  static const char *const archs[] = {"sm_80", "sm_90a", "sm_120a", NULL};
  mxg_arena arena = {0};
  mxg_error err = {0};
  const mxg_code_line *lines = NULL;
  uint32_t count = 0;
  if (mxg_bench_code(&lines, &count, archs, NULL, &arena, &err) != MXG_OK) fail_msg("%s", err.text);
  assert_int_equal(count, 3 * mxg_work_count);
  for (uint32_t i = 0; i < count; i++) {
    if (lines[i].local_bytes) fail_msg("%s: %u bytes of local memory", lines[i].work, lines[i].local_bytes);
    if (lines[i].instructions < 1 || lines[i].instructions > 60)
      fail_msg("%s: %.1f instructions an element", lines[i].work, lines[i].instructions);
    assert_true(lines[i].budget > 0);
  }
  mxg_arena_free(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(works_keep_nothing_in_local_memory)};
  return cmocka_run_group_tests_name("bench_code", tests, NULL, NULL) != 0;
}
