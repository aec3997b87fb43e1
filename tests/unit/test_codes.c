/* codes.def: every code once, with a title and an explanation that reads as sentences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "error.h"

static const struct {
  unsigned code;
  const char *title, *text;
} codes[] = {
#define X(code, title, text) {code, title, text},
#include "codes.def"
#undef X
};

static void no_code_means_two_things(void **state) {
  (void)state;
  for (size_t i = 1; i < sizeof codes / sizeof *codes; i++)
    for (size_t k = 0; k < i; k++)
      if (codes[i].code == codes[k].code)
        fail_msg("MX%04u is %s and %s", codes[i].code, codes[k].title, codes[i].title);
}

static void every_code_is_explained(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
    const char *title = NULL, *text = mxg_error_explain(codes[i].code, &title);
    assert_string_equal(text, codes[i].text);
    assert_string_equal(title, codes[i].title);
    size_t count = strlen(text);
    if (strlen(title) == 0 || count < 20 || text[count - 1] != '.') fail_msg("MX%04u: %s", codes[i].code, text);
  }
  assert_null(mxg_error_explain(9999, NULL));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_code_means_two_things),
      cmocka_unit_test(every_code_is_explained),
  };
  return cmocka_run_group_tests_name("codes", tests, NULL, NULL) != 0;
}
