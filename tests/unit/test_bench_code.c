/* bench_code.h: every work compiles for every generation of chips, keeps nothing in local memory, and has no more
** instructions than the chip can issue while its memory is busy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "bench_code.h"
#include "bench_works.h"
#include "compile.h"

static void works_stay_within_registers_and_budget(void **state) {
  (void)state;
  mxg_nvrtc_info nvrtc;
  mxg_nvrtc_find(&nvrtc);
  if (!nvrtc.found) skip();
  static const char *const archs[] = {"sm_80", "sm_90a", "sm_100a", "sm_120a", NULL};
  mxg_arena arena = {0};
  mxg_error err = {0};
  const mxg_code_line *lines = NULL;
  uint32_t count = 0;
  if (mxg_bench_code(&lines, &count, archs, NULL, &arena, &err) != MXG_OK) fail_msg("%s", err.text);
  assert_int_equal(count, 4 * mxg_work_count);
  /* Counts are NVRTC 13.0's; another compiler's differ a little. */
  const double most = strncmp(nvrtc.version, "13.0", 4) ? 1.15 : 1;
  for (uint32_t i = 0; i < count; i++) {
    if (lines[i].local_bytes) fail_msg("%s: %u bytes of local memory", lines[i].work, lines[i].local_bytes);
    if (lines[i].instructions < 1 || lines[i].instructions > most * lines[i].budget)
      fail_msg("%s, %s: %.1f instructions an element, budget %.1f", lines[i].work, lines[i].arch, lines[i].instructions,
               lines[i].budget);
  }
  mxg_arena_free(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(works_stay_within_registers_and_budget)};
  return cmocka_run_group_tests_name("bench_code", tests, NULL, NULL) != 0;
}
