/* codes.def: every code once, with a title and an explanation that reads as sentences. Texts that are cut to fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
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

/* One to four bytes a character. */
static const char *const characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};

/* Whether `text` has nothing but that character, behind some 'x'. */
static void assert_whole(const char *text, const char *character, size_t room) {
  size_t bytes = strlen(text), at = strspn(text, "x"), width = strlen(character);
  if (bytes + width < room - 1) fail_msg("%zu bytes of %zu were used", bytes, room);
  for (; at < bytes; at += width)
    if (strncmp(text + at, character, width) != 0) fail_msg("cut inside of a character, %zu bytes wide", width);
}

static void texts_are_cut_between_characters(void **state) {
  (void)state;
  for (size_t c = 0; c < sizeof characters / sizeof *characters; c++)
    for (size_t lead = 0; lead < 4; lead++) {
      char text[1200] = "xxx";
      mxg_error err;
      text[lead] = 0;
      for (size_t n = lead; n < 1000; n += strlen(characters[c])) strcat(text, characters[c]);
      mxg_fail(&err, MXG_ERR_USAGE, 601, "%s", text);
      mxg_error_note(&err, "%s", text);
      mxg_error_help(&err, "%s", text);
      mxg_error_place(&err, text, 1, 1, 1);
      assert_whole(err.text, characters[c], sizeof err.text);
      assert_whole(err.note, characters[c], sizeof err.note);
      assert_whole(err.help, characters[c], sizeof err.help);
      assert_whole(err.file, characters[c], sizeof err.file);
    }
}

static void a_text_is_one_line(void **state) {
  (void)state;
  mxg_error err;
  mxg_fail(&err, MXG_ERR_USAGE, 603, "no tensor \"%s\"", "a\nb\x1b[2J\tc\x7f\xc3\xa9");
  assert_string_equal(err.text, "no tensor \"a?b?[2J?c?\xc3\xa9\"");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_code_means_two_things),
      cmocka_unit_test(every_code_is_explained),
      cmocka_unit_test(texts_are_cut_between_characters),
      cmocka_unit_test(a_text_is_one_line),
  };
  return cmocka_run_group_tests_name("codes", tests, NULL, NULL) != 0;
}
