/* sandbox.h: texts that hang or leak in a usual Lua sandbox end here, with a diagnostic, within a second; what recipes
** may use gives the same result on every run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox.h"

static char folder[64];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/mxg_sandbox_XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state) {
  (void)state;
  char path[128];
  snprintf(path, sizeof path, "%s/recipe.lua", folder);
  unlink(path);
  return rmdir(folder);
}

/* The recipe's value as text: only strings are looked at here. */
static void take_text(lua_State *L, void *user) {
  if (lua_type(L, -1) == LUA_TSTRING) snprintf(user, 512, "%s", lua_tostring(L, -1));
}

static mxg_status run(const char *text, size_t bytes, char result[512], mxg_error *err) {
  char path[128];
  snprintf(path, sizeof path, "%s/recipe.lua", folder);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, bytes, file), bytes);
  fclose(file);
  mxg_arena arena = {0};
  memset(err, 0, sizeof *err);
  result[0] = 0;
  alarm(30);
  mxg_status status = mxg_sandbox_run(path, NULL, NULL, take_text, result, NULL, &arena, err);
  alarm(0);
  mxg_arena_free(&arena);
  return status;
}

static void gives(const char *text, const char *want) {
  char result[512];
  mxg_error err;
  if (run(text, strlen(text), result, &err) != MXG_OK) fail_msg("%s\n%d: %s", text, err.line, err.text);
  assert_string_equal(result, want);
}

static void fails(const char *text, unsigned code) {
  char result[512];
  mxg_error err;
  mxg_status status = run(text, strlen(text), result, &err);
  if (status != MXG_ERR_INPUT || err.code != code)
    fail_msg("%s\nstatus %d MX%04u %s", text, (int)status, err.code, err.text);
}

static void what_hangs_elsewhere_ends(void **state) {
  (void)state;
  static const struct {
    const char *text;
    unsigned code;
  } cases[] = {
      {"while true do end", 102},
      {"local t = {} local i = 0 while true do i = i + 1 t[i] = ('xxxxxxxxxxxxxxxxxxxxxxxxxx') .. i end", 103},
      {"local a = 'a' while true do a = a .. a end", 103},
      {"repeat local ok = pcall(function() while true do end end) until false", 105},
      {"return ('a'):rep(28):find(('a-'):rep(28) .. 'b')", 105},
      {"setmetatable({}, { __gc = function() while true do end end })", 105},
      {"table.move({}, 1, math.maxinteger - 1, 2)", 105},
      {"string.rep('', 1 << 62)", 105},
      {"table.insert(setmetatable({}, { __len = function() return 1 << 50 end }), 1, 5)", 105},
      {"getmetatable('').__index = nil", 105},
      {"local s = ('').rep", 105},
      {"return math.random()", 105},
      {"return #string.format('%99d%99d', 1)", 104},
      {"::here:: goto here", 102},
      {"local function f() return f() end return f()", 102},
      {"local function f() return f() + 1 end return f()", 103},
      {"table.sort({ 3, 2, 1 }, function() while true do end end)", 102},
      {"for k in pairs({ 1 }) do while true do end end", 102},
      {"local t = {} for i = 1, 1e9 do t[1] = table.concat({ 'a', 'b' }, ',') .. i end", 102},
      {"local s = 'x' for i = 1, 15 do s = s .. s end local n = 0 while true do if s .. n == s then n = n + 1 end end",
       102},
      {"local t = {} for i = 1, 200 do t[i] = i end while true do local a = { table.unpack(t) } end", 102},
      {"local t = {} for i = 1, 1e5 do t[i] = 'x' end while true do local s = #table.concat(t, '', 1, 60000) end", 102},
      {"local s = 'x' for i = 1, 15 do s = s .. s end local t = s:sub(2) .. 'x' while true do if s ~= t then s = t end "
       "end",
       102},
      {"local s = 'x' for i = 1, 15 do s = s .. s end while true do local t = s:upper():lower() end", 102},
      {"local s = 'x' for i = 1, 15 do s = s .. s end while true do local t = { s:byte(1, -1) } end", 104},
      {"local s = 'x' for i = 1, 13 do s = s .. s end while true do local t = { s:byte(1, 200) } end", 102},
      {"local t = {} for i = 1, 1e6 do t[i] = i end while true do for k in pairs(t) do break end end", 102},
      {"local t = {} for i = 1, 1e6 do t[i] = i end while true do table.sort(t) end", 102},
      {"table.concat({}, 'x', 1, 1 << 60)", 104},
      {"return ('%s'):format({})", 104},
      {"return ('%p'):format('x')", 104},
      {"return ('%5.2p'):format('x')", 104},
      {"local x <close> = {}", 104},
      {"return _G", 105},
      {"return tostring(_ENV) .. undefined", 109},
      {"error()", 104},
      {"error(setmetatable)", 105},
      {"return 1 // 0", 104},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) fails(cases[i].text, cases[i].code);
}

static void results_do_not_differ_between_runs(void **state) {
  (void)state;
  for (int i = 0; i < 20; i++) {
    gives("local s = '' for k, v in pairs { zeta = 1, alpha = 2, [3] = 3, [1] = 4, [2.5] = 5, [true] = 6, mid = 7, "
          "[-1] = 8 } do "
          "s = s .. tostring(k) .. '=' .. v .. ' ' end return s",
          "-1=8 1=4 2.5=5 3=3 alpha=2 mid=7 zeta=1 true=6 ");
    gives("return tostring {} .. tostring(tostring) .. tostring(nil) .. tostring(1.5) .. tostring 'x'",
          "tablefunctionnil1.5x");
  }
  gives("local t = {} for i = 1, 500 do t[i] = { key = i % 7, at = i } end table.sort(t, function(a, b) return a.key < "
        "b.key end) "
        "local ok = 'stable' for i = 2, 500 do local a, b = t[i - 1], t[i] "
        "if a.key > b.key or (a.key == b.key and a.at > b.at) then ok = 'not stable' end end return ok",
        "stable");
  gives("local t = { 'b', 'c', 'a' } table.sort(t) return table.concat(t)", "abc");
  gives("local t = {} table.sort(t) return #t .. ''", "0");
}

static void what_recipes_need_is_there(void **state) {
  (void)state;
  gives("return ('layers.%d.%s'):format(3, 'x')", "layers.3.x");
  gives("return string.upper('a') .. ('B'):lower() .. ('hello'):sub(2, 3) .. #'abc' .. ('a'):byte() .. string.char(98)",
        "Abel397b");
  gives("return select('#', ('x'):byte(math.maxinteger, math.mininteger)) .. #{ ('xy'):byte(math.mininteger, "
        "math.maxinteger) }",
        "02");
  gives("return math.type(7 // 2) .. math.tointeger(8.0) .. math.floor(2.5) .. select('#', 1, 2) .. tonumber('0x10')",
        "integer82216");
  gives("local a, b = table.unpack({ 'x', 'y' }) return a .. b", "xy");
  gives("local s = '' for i, v in ipairs { 'a', 'b' } do s = s .. i .. v end return s", "1a2b");
  gives("x = 'set' return x", "set"); /* a global of one's own */
}

static void text_comes_in_several_forms(void **state) {
  (void)state;
  char result[512];
  mxg_error err;
  gives("\xef\xbb\xbfreturn 'bom'", "bom");
  gives("#!/usr/bin/env mxgen\nreturn 'script'", "script");
  gives("\xef\xbb\xbf#!x\nreturn 'both'", "both");
  gives("#", "");
  gives("", "");
  assert_int_equal(run("#!x\n\nlocal x = = 1", 17, result, &err), MXG_ERR_INPUT);
  assert_int_equal(err.line, 3); /* lines keep their numbers */
  assert_int_equal(err.column, 11);
  static const char bytecode[] = "\x1bLuaT\0\x19\x93\r\n\x1a\n\x04\x08\x08xV";
  assert_int_equal(run(bytecode, sizeof bytecode, result, &err), MXG_ERR_INPUT);
  assert_int_equal(err.code, 101);
  static const char zero[] = "local x = 1 \0 local y = 2";
  assert_int_equal(run(zero, sizeof zero - 1, result, &err), MXG_ERR_INPUT);
  assert_int_equal(err.code, 101);
}

static void oversized_text_is_refused(void **state) {
  (void)state;
  char result[512];
  mxg_error err;
  size_t bytes = 3 << 20;
  char *text = malloc(bytes);
  assert_non_null(text);
  memset(text, 'x', bytes);
  assert_int_equal(run(text, bytes, result, &err), MXG_ERR_INPUT);
  assert_int_equal(err.code, 106);
  memset(text, 'x', 1 << 20); /* one identifier of 1 MiB */
  assert_int_equal(run(text, 1 << 20, result, &err), MXG_ERR_INPUT);
  static const char opens[] = "({[";
  for (int i = 0; i < 3; i++) {
    memset(text, opens[i], 100000);
    memcpy(text, "return ", 7);
    assert_int_equal(run(text, 100000, result, &err), MXG_ERR_INPUT);
    assert_int_equal(err.code, 101);
  }
  free(text);
}

/* Any bytes are refused or accepted, never a crash: every truncation and many flips of a recipe that uses everything.
 */
static void damaged_text_is_harmless(void **state) {
  (void)state;
  static const char good[] = "-- [[x]]\nlocal t = { a = 1, ['b'] = \"two\\n\", [[long]], 0x1p4; 3 }\nlocal function "
                             "f(x) return x:upper() end\n"
                             "for k, v in pairs(t) do if k then t[k] = v end end\ndo local z = f 'q' end\n"
                             "return f(('%d'):format(t.a)) --[==[ end ]==]\n";
  char result[512], text[sizeof good];
  mxg_error err;
  for (size_t n = 0; n <= sizeof good - 1; n++) run(good, n, result, &err);
  unsigned seed = 1;
  for (int i = 0; i < 800; i++) {
    memcpy(text, good, sizeof good);
    for (int k = 0; k < 2; k++) {
      seed = seed * 1664525u + 1013904223u;
      text[(seed >> 8) % (sizeof good - 1)] = (char)(seed >> 24);
    }
    run(text, sizeof good - 1, result, &err);
  }
}

static int countdown;
static mxg_memory_fn real_memory;
/* From the n-th on: a single failure is mended by Lua, which collects garbage and asks again. */
static void *failing_memory(void *old, size_t bytes) {
  if (bytes && countdown-- <= 0) return NULL;
  return real_memory(old, bytes);
}

static void any_allocation_may_fail(void **state) {
  (void)state;
  static const char text[] =
      "local t = {} for i = 1, 50 do t[i] = { i, ('%d'):format(i) } end table.sort(t, function(a, b) "
      "return a[1] > b[1] end) for k, v in pairs(t) do t[k] = v end return 'done'";
  char result[512];
  mxg_error err;
  real_memory = mxg_memory_hook;
  int n = 0;
  mxg_status status = MXG_ERR_NOMEM;
  for (; n < 5000 && status != MXG_OK; n++) {
    countdown = n;
    mxg_memory_hook = failing_memory;
    status = run(text, sizeof text - 1, result, &err);
    mxg_memory_hook = real_memory;
    if (status != MXG_OK) assert_int_equal(status, MXG_ERR_NOMEM);
  }
  assert_int_equal(status, MXG_OK);
  assert_true(n > 100);
}

/* A program's locale, where this machine has one that writes 1,5, changes nothing that a recipe says. */
static void numbers_are_written_with_a_point(void **state) {
  (void)state;
  static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8", "fr_FR.utf8", "es_ES.UTF-8"};
  const char *found = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++) found = setlocale(LC_ALL, names[i]);
  gives("return 1.5 .. ' ' .. tostring(2.5) .. ' ' .. ('%.1f'):format(3.5) .. ' ' .. tonumber('4.5') + 5.5",
        "1.5 2.5 3.5 10.0");
  char now[16];
  snprintf(now, sizeof now, "%.1f", 1.5);
  setlocale(LC_ALL, "C");
  if (!found) skip();
  assert_string_equal(now, "1,5"); /* the caller's is as it was */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_hangs_elsewhere_ends),  cmocka_unit_test(results_do_not_differ_between_runs),
      cmocka_unit_test(what_recipes_need_is_there), cmocka_unit_test(text_comes_in_several_forms),
      cmocka_unit_test(oversized_text_is_refused),  cmocka_unit_test(damaged_text_is_harmless),
      cmocka_unit_test(any_allocation_may_fail),    cmocka_unit_test(numbers_are_written_with_a_point),
  };
  return cmocka_run_group_tests_name("sandbox", tests, make_folder, drop_folder) != 0;
}
