/* globs.h: what patterns match, what their stars capture, and that no pattern takes long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "globs.h"

static bool match(const char *pattern, const char *text, mxg_capture *captures) {
  mxg_arena arena = {0};
  mxg_glob *glob;
  mxg_error err;
  assert_int_equal(mxg_glob_build(&glob, pattern, &arena, &err), MXG_OK);
  bool found = mxg_glob_match(glob, text, strlen(text), captures);
  assert_int_equal(mxg_glob_match(glob, text, strlen(text), NULL), found); /* the same again, without captures */
  mxg_arena_free(&arena);
  return found;
}

static void patterns_match(void **state) {
  (void)state;
  static const struct {
    const char *pattern, *text;
    bool found;
  } cases[] = {
      {"embed", "embed", true},
      {"embed", "embedd", false},
      {"embed", "embe", false},
      {"layers.*.norm", "layers.0.norm", true},
      {"layers.*.norm", "layers.0.attn.norm", false},
      {"layers.**.norm", "layers.0.attn.norm", true},
      {"layers.**", "layers.0", true},
      {"layers.**", "layers", false},
      {"**norm", "norm", true},
      {"**norm", "layers.1.attn.norm", true},
      {"**norm", "layers.1.normal", false},
      {"*norm", "layers.norm", false},
      {"*norm", "qnorm", true},
      {"**", "", true},
      {"*", "a.b", false},
      {"**.attn.{qkv,out}", "layers.3.attn.qkv", true},
      {"**.attn.{qkv,out}", "layers.3.attn.out", true},
      {"**.attn.{qkv,out}", "layers.3.attn.qk", false},
      {"layers.{0,31}.**", "layers.31.x", true},
      {"layers.{0,31}.**", "layers.3.x", false},
      {"a{b,}c", "ac", true},
      {"a{b,{c,d}e}f", "adef", true},
      {"a{b,{c,d}e}f", "adf", false},
      {"{a*,b**}.x", "b.c.d.x", true},
      {"{a*,b**}.x", "a.c.x", false},
      {"*a*a*", "bab.aa", false},
      {"*a*a*", "baba", true},
      {"a,b", "a,b", true},
      {"[a-z]?", "b.", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (match(cases[i].pattern, cases[i].text, NULL) != cases[i].found)
      fail_msg("'%s' on '%s'", cases[i].pattern, cases[i].text);
}

static void captured(const char *pattern, const char *text, uint32_t star, const char *want) {
  mxg_capture captures[MXG_GLOB_CAPTURES];
  assert_true(match(pattern, text, captures));
  assert_int_equal(captures[star].bytes, strlen(want));
  assert_memory_equal(text + captures[star].start, want, strlen(want));
}

static void stars_capture(void **state) {
  (void)state;
  captured("layers.*.attn.*", "layers.12.attn.qkv", 0, "12");
  captured("layers.*.attn.*", "layers.12.attn.qkv", 1, "qkv");
  captured("**.x.**", "a.x.b.x.c", 0, "a.x.b"); /* the first takes what it can */
  captured("**.x.**", "a.x.b.x.c", 1, "c");
  captured("{a*,b*}", "bcd", 0, "");
  captured("{a*,b*}", "bcd", 1, "cd");
  captured("*{,x}", "ax", 0, "ax");
  captured("**", "", 0, "");
}

static void wrong_patterns_are_refused(void **state) {
  (void)state;
  static const char *const patterns[] = {"", "{a", "a}", "{a,{b}", "**.*.*.*.*.*.*.*.*.*", "{{{{{{{{{{a}}}}}}}}}}"};
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
    mxg_arena arena = {0};
    mxg_glob *glob;
    mxg_error err;
    assert_int_equal(mxg_glob_build(&glob, patterns[i], &arena, &err), MXG_ERR_INPUT);
    assert_int_equal(err.code, 208);
    assert_null(glob);
    mxg_arena_free(&arena);
  }
  static char longest[MXG_GLOB_BYTES + 2];
  memset(longest, 'a', sizeof longest - 1);
  mxg_arena arena = {0};
  mxg_glob *glob;
  assert_int_equal(mxg_glob_build(&glob, longest, &arena, NULL), MXG_ERR_INPUT);
  mxg_arena_free(&arena);
}

/* Patterns that take backtracking matchers for ever. */
static void no_pattern_takes_long(void **state) {
  (void)state;
  static char text[20001];
  memset(text, 'a', sizeof text - 1);
  alarm(10);
  assert_false(match("**a**a**a**a**a**a**a**a**b", text, NULL));
  assert_false(match("*a*a*a*a*a*a*a*b*", text, NULL));
  assert_false(match("**{a,aa}{a,aa}{a,aa}{a,aa}**{a,aa}{a,aa}**b.", text, NULL));
  char alternatives[2000] = "{";
  while (strlen(alternatives) < 1900) strcat(alternatives, "aab,aaab,");
  strcat(alternatives, "b}**{a,aa,aaa}");
  assert_false(match(alternatives, text, NULL));
  alarm(0);
}

/* Against the plainest matcher there is, over all short texts of two letters. */
static bool plainly(const char *p, const char *t) {
  if (!*p) return !*t;
  if (p[0] == '*' && p[1] == '*') return plainly(p + 2, t) || (*t && plainly(p, t + 1));
  if (p[0] == '*') return plainly(p + 1, t) || (*t && *t != '.' && plainly(p, t + 1));
  return *p == *t && plainly(p + 1, t + 1);
}

static void agrees_with_the_plain_matcher(void **state) {
  (void)state;
  static const char letters[] = "a.*";
  for (unsigned p = 1; p < 729; p++) { /* patterns of up to 6 characters of "a.*", without "***" */
    char pattern[8] = "";
    unsigned n = 0;
    for (unsigned rest = p; rest; rest /= 3) pattern[n++] = letters[rest % 3];
    if (strstr(pattern, "***")) continue;
    for (unsigned t = 1; t < 128; t++) {
      char text[8] = "";
      n = 0;
      for (unsigned rest = t; rest > 1; rest /= 2) text[n++] = letters[rest % 2];
      if (match(pattern, text, NULL) != plainly(pattern, text)) fail_msg("'%s' on '%s'", pattern, text);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(patterns_match),
      cmocka_unit_test(stars_capture),
      cmocka_unit_test(wrong_patterns_are_refused),
      cmocka_unit_test(no_pattern_takes_long),
      cmocka_unit_test(agrees_with_the_plain_matcher),
  };
  return cmocka_run_group_tests_name("globs", tests, NULL, NULL) != 0;
}
