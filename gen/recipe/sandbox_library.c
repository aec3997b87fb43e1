/* sandbox_library.c -- the allow-list: every function a recipe can reach, and what it says about those it cannot.
** Nothing here runs long inside one call: sorting and sorted pairs are Lua (prelude.lua), so instructions are counted.
*/
#include "sandbox_library.h"

#include "sandbox.h"
#include "suggest.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

enum { most_unpacked = 255 };

static const char key_environment = 0, key_mx = 0; /* their addresses are registry keys */

static mxg_origin word_at_call(lua_State *L, const char *word) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  mxg_call call = mxg_sandbox_call(L);
  if (call.file == MXG_NONE) return (mxg_origin){0};
  const mxg_recipe_file *file = &box->files[call.file];
  mxg_origin origin = {file->path, call.line, 0, 0};
  uint32_t token = mxg_place_word(&file->places, call.line, word);
  if (token) {
    origin.column = file->places.tokens[token].column;
    origin.span = file->places.tokens[token].width;
  }
  return origin;
}

/* ---- what is not there ------------------------------------------------------------------------------------------ */

static const struct {
  const char *name, *why;
} absent[] = {
    {"os", "run programs or ask the machine for anything"},
    {"io", "read or write files"},
    {"debug", "look into the interpreter"},
    {"coroutine", "use coroutines"},
    {"package", "load modules; `include \"file.lua\"` reads a file beside the recipe"},
    {"utf8", "use the utf8 library"},
    {"collectgarbage", "steer the interpreter"},
    {"dofile", "load code; `include \"file.lua\"` reads a file beside the recipe"},
    {"load", "load code; `include \"file.lua\"` reads a file beside the recipe"},
    {"loadfile", "load code; `include \"file.lua\"` reads a file beside the recipe"},
    {"loadstring", "load code; `include \"file.lua\"` reads a file beside the recipe"},
    {"getmetatable", "use metatables"},
    {"setmetatable", "use metatables"},
    {"rawequal", "use metatables"},
    {"rawget", "use metatables"},
    {"rawlen", "use metatables"},
    {"rawset", "use metatables"},
    {"next", "walk a table in no order; `pairs` walks it sorted"},
    {"pcall", "catch errors"},
    {"xpcall", "catch errors"},
    {"print", "print"},
    {"warn", "print"},
    {"_G", "reach the global table"},
};

static const char *absent_reason(const char *name) {
  for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
    if (strcmp(absent[i].name, name) == 0) return absent[i].why;
  return NULL;
}

static int fail_absent(lua_State *L, const char *library, const char *name) {
  char full[160];
  const char *why = absent_reason(library[0] ? library : name);
  snprintf(full, sizeof full, "%.64s%s%.64s", library, library[0] ? "." : "", name);
  mxg_origin origin = word_at_call(L, name);
  return mxg_sandbox_fail(L, &origin, 105, "%s: recipes cannot %s", full, why);
}

/* os.anything */
static int absent_member(lua_State *L) {
  return fail_absent(L, lua_tostring(L, lua_upvalueindex(1)), lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

static int read_only(lua_State *L) {
  const char *label = lua_tostring(L, lua_upvalueindex(1));
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  mxg_origin origin = word_at_call(L, key);
  return mxg_sandbox_fail(L, &origin, 105, "%s.%.64s: recipes cannot change '%s'", label, key, label);
}

/* ---- read-only views -------------------------------------------------------------------------------------------- */

/* string.find and its like: what Lua has, or what nobody has. */
static int fail_member(lua_State *L, const char *library, const char *name, const char *near) {
  static const char *const have[][2] = {{"string", "byte, char, format, len, lower, sub and upper"},
                                        {"table", "concat, sort and unpack; `t[#t + 1] = value` appends"},
                                        {"math", "abs, ceil, floor, fmod, max, min, tointeger, type and ult"}};
  mxg_sandbox *box = mxg_sandbox_of(L);
  mxg_origin origin = word_at_call(L, name);
  if (origin.file == NULL) origin.file = box->files[0].path;
  mxg_fail(&box->error, MXG_ERR_INPUT, 105, "%s.%.64s: recipes cannot call it%s", library, name, near);
  mxg_error_place(&box->error, origin.file, origin.line, origin.column, origin.span);
  for (size_t i = 0; i < sizeof have / sizeof *have; i++)
    if (strcmp(have[i][0], library) == 0) mxg_error_help(&box->error, "%s has %s", library, have[i][1]);
  return mxg_sandbox_raise(L);
}

static int frozen_member(lua_State *L) {
  if (lua_type(L, 2) == LUA_TSTRING) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  }
  const char *label = lua_tostring(L, lua_upvalueindex(2));
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  bool of_mx = strncmp(label, "mx", 2) == 0;
  mxg_suggest suggest = mxg_suggest_begin(key);
  for (lua_pushnil(L); lua_next(L, lua_upvalueindex(1)); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING) mxg_suggest_offer(&suggest, lua_tostring(L, -2));
  char room[100];
  mxg_origin origin = word_at_call(L, key);
  if (!of_mx) return fail_member(L, label, key, mxg_suggest_text(&suggest, room, sizeof room));
  return mxg_sandbox_fail(L, &origin, 221, "%s has no '%.64s'%s", label, key,
                          mxg_suggest_text(&suggest, room, sizeof room));
}

void mxg_sandbox_freeze(lua_State *L, const char *label) {
  int inner = lua_gettop(L);
  lua_newtable(L);
  lua_createtable(L, 0, 3);
  lua_pushvalue(L, inner);
  lua_pushstring(L, label);
  lua_pushcclosure(L, frozen_member, 2);
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, label);
  lua_pushcclosure(L, read_only, 1);
  lua_setfield(L, -2, "__newindex");
  lua_setmetatable(L, -2);
  lua_replace(L, inner);
}

/* ---- functions that differ from Lua's own ----------------------------------------------------------------------- */

/* Text of a value without addresses. Objects of mx have a __name. */
static int safe_tostring(lua_State *L) {
  luaL_checkany(L, 1);
  int type = lua_type(L, 1);
  if (type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TBOOLEAN || type == LUA_TNIL) {
    luaL_tolstring(L, 1, NULL);
    return 1;
  }
  if (luaL_getmetafield(L, 1, "__name") == LUA_TSTRING) return 1;
  lua_pushstring(L, luaL_typename(L, 1));
  return 1;
}

/* string.format: no addresses (%p), and %s only for what has one text. Upvalue 1: Lua's own. */
static int safe_format(lua_State *L) {
  size_t bytes;
  const char *format = luaL_checklstring(L, 1, &bytes);
  int arg = 1, count = lua_gettop(L);
  for (const char *p = format, *end = format + bytes; p < end; p++) {
    if (*p != '%') continue;
    if (++p < end && *p == '%') continue;
    while (p < end && *p && strchr("-+ #0123456789.", *p)) p++;
    arg++;
    if (p < end && *p == 'p') return luaL_error(L, "string.format: recipes cannot print addresses (%%p)");
    if (p < end && *p == 's' && arg <= count && lua_type(L, arg) > LUA_TSTRING)
      return luaL_error(L, "string.format: %%s takes a text or a number, not a %s", luaL_typename(L, arg));
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, count, 1);
  return 1;
}

static int safe_unpack(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Integer first = luaL_optinteger(L, 2, 1);
  lua_Integer last = luaL_opt(L, luaL_checkinteger, 3, (lua_Integer)lua_rawlen(L, 1));
  if (first > last) return 0;
  if ((lua_Unsigned)last - (lua_Unsigned)first >= most_unpacked || !lua_checkstack(L, most_unpacked))
    return luaL_error(L, "table.unpack: more than %d values", (int)most_unpacked);
  int count = (int)(last - first) + 1;
  for (int i = 0; i < count; i++) lua_rawgeti(L, 1, first + i);
  return count;
}

/* table.concat, whose work the hook does not see. Upvalue 1: Lua's own. */
static int safe_concat(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  int count = lua_gettop(L);
  mxg_sandbox_charge(L, 2 * (uint64_t)lua_rawlen(L, 1));
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, count, 1);
  return 1;
}

/* string.byte, of as many characters as a call can take. Upvalue 1: Lua's own. */
static int safe_byte(lua_State *L) {
  size_t bytes;
  luaL_checklstring(L, 1, &bytes);
  lua_Integer first = luaL_optinteger(L, 2, 1), last = luaL_optinteger(L, 3, first);
  if (first < 0) first += (lua_Integer)bytes + 1;
  if (last < 0) last += (lua_Integer)bytes + 1;
  if (first < 1) first = 1;
  if (last > (lua_Integer)bytes) last = (lua_Integer)bytes;
  if (last > first && last - first >= most_unpacked)
    return luaL_error(L, "string.byte: more than %d characters", (int)most_unpacked);
  int count = lua_gettop(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, count, LUA_MULTRET);
  return lua_gettop(L);
}

static int require_mx(lua_State *L) {
  const char *name = lua_tostring(L, 1);
  if (!name || strcmp(name, "mx") != 0) {
    mxg_origin origin = word_at_call(L, name ? name : "require");
    return mxg_sandbox_fail(L, &origin, 105, "require '%.64s': recipes cannot load modules, only \"mx\"",
                            name ? name : luaL_typename(L, 1));
  }
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key_mx) != LUA_TNIL) return 1;
  mxg_sandbox *box = mxg_sandbox_of(L);
  if (!box->open_core) return luaL_error(L, "there is no module here");
  box->open_core(L);
  mxg_sandbox_own_file(L, "mx.lua");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_mx);
  return 1;
}

/* A global that the recipe did not set. Upvalue 1: the allowed ones. */
static int global_member(lua_State *L) {
  if (lua_type(L, 2) == LUA_TSTRING) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  }
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  if (absent_reason(name)) return fail_absent(L, "", name);
  mxg_suggest suggest = mxg_suggest_begin(name);
  for (lua_pushnil(L); lua_next(L, lua_upvalueindex(1)); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING && !absent_reason(lua_tostring(L, -2)))
      mxg_suggest_offer(&suggest, lua_tostring(L, -2));
  char room[100];
  mxg_origin origin = word_at_call(L, name);
  return mxg_sandbox_fail(L, &origin, 109, "'%.64s' is not defined%s", name,
                          mxg_suggest_text(&suggest, room, sizeof room));
}

/* ---- assembly --------------------------------------------------------------------------------------------------- */

/* Copies the named members of the library on top of the stack into a new table that replaces it. */
static void keep(lua_State *L, const char *const *names) {
  lua_newtable(L);
  for (; *names; names++) {
    lua_getfield(L, -2, *names);
    lua_setfield(L, -2, *names);
  }
  lua_remove(L, -2);
}

static void open_strings(lua_State *L) {
  static const char *const names[] = {"char", "len", "lower", "sub", "upper", NULL};
  lua_getglobal(L, LUA_STRLIBNAME);
  lua_getfield(L, -1, "format");
  lua_pushcclosure(L, safe_format, 1);
  lua_getfield(L, -2, "byte");
  lua_pushcclosure(L, safe_byte, 1);
  lua_rotate(L, -3, 2);
  keep(L, names);
  lua_insert(L, -3);
  lua_setfield(L, -3, "byte");
  lua_setfield(L, -2, "format");
}

/* The metatable that all strings share: methods of the allowed functions, nothing else. */
static void lock_strings(lua_State *L) {
  lua_pushliteral(L, "");
  lua_createtable(L, 0, 2);
  open_strings(L);
  mxg_sandbox_freeze(L, "string");
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

void mxg_sandbox_open_library(lua_State *L) {
  static const char *const base[] = {"assert", "error", "ipairs", "select", "tonumber", "type", NULL};
  static const char *const math[] = {"abs",        "ceil", "floor", "fmod",      "huge", "max", "maxinteger",
                                     "mininteger", "min",  "pi",    "tointeger", "type", "ult", NULL};
  luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
  luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
  luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
  luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
  lua_settop(L, 0);
  lua_pushglobaltable(L);
  keep(L, base); /* 1: what recipes find as globals */
  lua_newtable(L);
  mxg_sandbox_own_file(L, "prelude.lua"); /* 2: sorted pairs and a stable sort */
  lua_getfield(L, 2, "pairs");
  lua_setfield(L, 1, "pairs");
  lua_pushcfunction(L, safe_tostring);
  lua_setfield(L, 1, "tostring");
  lua_pushcfunction(L, require_mx);
  lua_setfield(L, 1, "require");
  lua_pushcfunction(L, mxg_sandbox_include);
  lua_setfield(L, 1, "include");
  open_strings(L);
  mxg_sandbox_freeze(L, "string");
  lua_setfield(L, 1, "string");
  lua_getglobal(L, LUA_MATHLIBNAME);
  keep(L, math);
  mxg_sandbox_freeze(L, "math");
  lua_setfield(L, 1, "math");
  lua_newtable(L);
  lua_getglobal(L, LUA_TABLIBNAME);
  lua_getfield(L, -1, "concat");
  lua_pushcclosure(L, safe_concat, 1);
  lua_setfield(L, -3, "concat");
  lua_pop(L, 1);
  lua_getfield(L, 2, "sort");
  lua_setfield(L, -2, "sort");
  lua_pushcfunction(L, safe_unpack);
  lua_setfield(L, -2, "unpack");
  mxg_sandbox_freeze(L, "table");
  lua_setfield(L, 1, "table");
  static const char *const stubs[] = {"os", "io", "debug", "coroutine", "package", "utf8"};
  for (size_t i = 0; i < sizeof stubs / sizeof *stubs; i++) {
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_pushstring(L, stubs[i]);
    lua_pushcclosure(L, absent_member, 1);
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, stubs[i]);
    lua_pushcclosure(L, read_only, 1);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
    lua_setfield(L, 1, stubs[i]);
  }
  lua_createtable(L, 0, 1);
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, global_member, 1);
  lua_setfield(L, -2, "__index");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_environment);
  lock_strings(L);
  lua_settop(L, 0);
}

void mxg_sandbox_environment(lua_State *L) {
  lua_newtable(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_environment);
  lua_setmetatable(L, -2);
}
