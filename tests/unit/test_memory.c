/* memory.h and text.h: the arena, checked arithmetic, growable text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "memory.h"
#include "text.h"

static void arena_gives_zeroed_aligned_memory(void **state) {
  (void)state;
  mxg_arena arena = {0};
  for (size_t n = 1; n < 3000; n += 7) {
    unsigned char *p = mxg_arena_alloc(&arena, n, 3);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 16, 0);
    for (size_t i = 0; i < n * 3; i++) assert_int_equal(p[i], 0);
    memset(p, 0xab, n * 3);
  }
  unsigned char *large = mxg_arena_alloc(&arena, 10, 1 << 20);
  assert_non_null(large);
  memset(large, 0xcd, 10 << 20);
  mxg_arena_free(&arena);
}

static void sizes_that_overflow_are_refused(void **state) {
  (void)state;
  mxg_arena arena = {0};
  assert_null(mxg_arena_alloc(&arena, SIZE_MAX, 2));
  assert_null(mxg_arena_alloc(&arena, SIZE_MAX / 2, 3));
  uint64_t out = 5;
  assert_false(mxg_mul(&out, UINT64_MAX, 2));
  assert_false(mxg_add(&out, UINT64_MAX, 1));
  assert_int_equal(out, 5);
  assert_true(mxg_mul(&out, 1ull << 32, 1ull << 31));
  assert_true(out == 1ull << 63);
}

static void text_grows_and_escapes(void **state) {
  (void)state;
  mxg_text text = {0};
  mxg_text_json(&text, "a\"b\\\n");
  assert_string_equal(text.bytes, "\"a\\\"b\\\\\\u000a\"");
  for (int i = 0; i < 1000; i++) mxg_text_format(&text, "%d,", i);
  assert_false(text.failed);
  assert_int_equal(strlen(text.bytes), text.count);
  text.count = 0;
  mxg_text_size(&text, 12976128);
  assert_string_equal(text.bytes, "12.37 MiB");
  mxg_text_free(&text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arena_gives_zeroed_aligned_memory),
      cmocka_unit_test(sizes_that_overflow_are_refused),
      cmocka_unit_test(text_grows_and_escapes),
  };
  return cmocka_run_group_tests_name("memory", tests, NULL, NULL) != 0;
}
