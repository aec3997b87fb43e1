/* json.h: the pull reader, by table and against jansson over many damaged documents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

/* A copy of exact size, so that a read past the end is seen by the sanitizer. */
static bool accepts(const char *bytes, size_t count) {
  char *copy = malloc(count ? count : 1);
  memcpy(copy, bytes, count);
  mxg_json json;
  mxg_json_begin(&json, copy, count);
  bool fine = mxg_json_skip(&json) && mxg_json_end(&json);
  assert_true(fine || json.why);
  assert_true(json.at >= json.begin && json.at <= json.end);
  free(copy);
  return fine;
}

static bool reads_string(const char *text, const char **out, char *copy, size_t count) {
  memcpy(copy, text, count);
  mxg_json json;
  mxg_json_begin(&json, copy, count);
  return mxg_json_string(&json, out) && mxg_json_end(&json);
}

static void strings_are_decoded(void **state) {
  (void)state;
  static const struct {
    const char *json, *text;
  } good[] = {
      {"\"\"", ""},
      {" \"a b\" ", "a b"},
      {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
      {"\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
      {"\"\xf4\x8f\xbf\xbf\"", "\xf4\x8f\xbf\xbf"},
      {"\"\x7f\"", "\x7f"},
  };
  static const char *const bad[] = {
      "\"",
      "\"a",
      "\"\\",
      "\"\\u12\"",
      "\"\\u12g4\"",
      "\"\\x41\"",
      "\"\\ud800\"",
      "\"\\udc00\"",
      "\"\\ud800\\u0041\"",
      "\"\\u0000\"",
      "\"\n\"",
      "\"\xc0\x80\"",
      "\"\xed\xa0\x80\"",
      "\"\xf4\x90\x80\x80\"",
      "\"\x80\"",
      "\"\xe2\x82\"",
      "\"\xff\"",
      "\"\xf8\x88\x80\x80\x80\"",
      "\"a\" x",
      "'a'",
  };
  char copy[128];
  const char *text;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    assert_true(reads_string(good[i].json, &text, copy, strlen(good[i].json)));
    assert_string_equal(text, good[i].text);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (reads_string(bad[i], &text, copy, strlen(bad[i]))) fail_msg("accepted %s", bad[i]);
  assert_false(reads_string("\"a\0b\"", &text, copy, 5));
}

static void numbers_are_whole(void **state) {
  (void)state;
  static const struct {
    const char *json;
    bool good;
    uint64_t value;
  } rows[] = {{"0", true, 0},
              {"18446744073709551615", true, UINT64_MAX},
              {"18446744073709551616", false, 0},
              {"99999999999999999999", false, 0},
              {"01", false, 0},
              {"-1", false, 0},
              {"-0", false, 0},
              {"+1", false, 0},
              {"1.0", false, 0},
              {"1e3", false, 0},
              {"\"1\"", false, 0},
              {"", false, 0},
              {"12 ", true, 12}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char copy[64];
    memcpy(copy, rows[i].json, strlen(rows[i].json));
    mxg_json json;
    mxg_json_begin(&json, copy, strlen(rows[i].json));
    uint64_t value = 7;
    bool good = mxg_json_u64(&json, &value) && mxg_json_end(&json);
    if (good != rows[i].good) fail_msg("%s", rows[i].json);
    if (good) assert_true(value == rows[i].value);
  }
}

static void nesting_is_bounded(void **state) {
  (void)state;
  char text[200];
  memset(text, '[', 63);
  memset(text + 63, ']', 63);
  assert_true(accepts(text, 126));
  memset(text, '[', 100);
  memset(text + 100, ']', 100);
  assert_false(accepts(text, 200));
}

static void the_place_is_told(void **state) {
  (void)state;
  char text[] = "{\n  \"a\": 1,\n  \"b\": x}";
  mxg_json json;
  mxg_json_begin(&json, text, sizeof text - 1);
  assert_false(mxg_json_skip(&json));
  int line, column;
  mxg_json_place(&json, &line, &column);
  assert_int_equal(line, 3);
  assert_int_equal(column, 8);
}

/* Jansson is the judge: whatever it takes we take, whatever it refuses we refuse; but for what it cannot represent. */
static void agrees_with_jansson(void **state) {
  (void)state;
  static const char *const seeds[] = {
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},\"__metadata__\":{\"k\":\"v\"}}",
      "[1,-2.5,0.125,true,false,null,\"x\\u00e9\\n\",{},[],{\"q\":[[]]}]",
      " { \"\xc3\xa9\" : [ 0 , -0 , 12 ] , \"t\" : \"\\ud83d\\ude00\" } ",
  };
  static const char alphabet[] = "{}[]\",:\\ 019-.etu\n\x80\xc3\xa9\xed\x01";
  uint32_t random = 12345;
  unsigned taken = 0, refused = 0;
  for (int round = 0; round < 60000; round++) {
    const char *seed = seeds[round % 3];
    char text[128];
    size_t count = strlen(seed);
    memcpy(text, seed, count);
    for (int edits = round % 4; edits >= 0; edits--) {
      random = random * 1664525 + 1013904223;
      size_t at = (random >> 8) % count;
      char c = alphabet[(random >> 3) % (sizeof alphabet - 1)];
      switch (random >> 30) {
      case 0: text[at] = c; break;
      case 1: text[at] = (char)(text[at] ^ (1 << (random >> 5 & 7))); break;
      case 2: memmove(text + at, text + at + 1, --count - at); break;
      default:
        if (count < 100) {
          memmove(text + at + 1, text + at, count++ - at);
          text[at] = c;
        }
      }
    }
    json_error_t error;
    json_t *value = json_loadb(text, count, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error);
    bool ours = accepts(text, count);
    bool beyond = !value && (json_error_code(&error) == json_error_numeric_overflow ||
                             json_error_code(&error) == json_error_null_byte_in_key);
    bool nul = memchr(text, 0, count) != NULL; /* jansson's buffer steps over some NULs between tokens */
    if (nul) assert_false(ours);
    if (!beyond && !nul && ours != (value != NULL))
      fail_msg("round %d: ours %d, jansson says %s: %.*s", round, ours, error.text, (int)count, text);
    if (ours)
      taken++;
    else
      refused++;
    json_decref(value);
  }
  assert_true(taken > 1000 && refused > 1000); /* both kinds were really compared */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(strings_are_decoded), cmocka_unit_test(numbers_are_whole),
      cmocka_unit_test(nesting_is_bounded),  cmocka_unit_test(the_place_is_told),
      cmocka_unit_test(agrees_with_jansson),
  };
  return cmocka_run_group_tests_name("json", tests, NULL, NULL) != 0;
}
