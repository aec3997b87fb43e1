/* recipe.c -- Lua values to the tree of recipe.h with every place, and the functions behind mx.lua: constructors,
** mx.param, checks for helpers written in Lua. What tensors a recipe declares is declare.c. */
#include "recipe.h"

#include "recipe_lua.h"
#include "schema.h"
#include "suggest.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { deepest_value = 16 };

static int raise_status(lua_State *L) { return mxg_sandbox_raise(L); }

/* ---- where a call was written ------------------------------------------------------------------------------------ */

mxg_origin mxg_range_origin(const mxg_recipe_file *file, mxg_range range, const mxg_origin *otherwise) {
  if (!file || range.first == 0 || range.first > range.last) return *otherwise;
  const mxg_token *first = &file->places.tokens[range.first], *last = &file->places.tokens[range.last];
  int span = last->line == first->line ? last->column + last->width - first->column : first->width;
  return (mxg_origin){file->path, first->line, first->column, span};
}

/* false: the literal that token is says something else than the Lua value. */
static bool literal_fits(lua_State *L, int index, const mxg_places *places, uint32_t token) {
  char room[256];
  const mxg_token *t = &places->tokens[token];
  if (t->kind == MXG_TOKEN_STRING) {
    if (!mxg_token_string(places, token, room, sizeof room)) return true;
    return lua_type(L, index) == LUA_TSTRING && strcmp(lua_tostring(L, index), room) == 0;
  }
  if (t->kind == MXG_TOKEN_NUMBER) {
    snprintf(room, sizeof room, "%.*s", (int)(t->bytes < 60 ? t->bytes : 60), places->text + t->start);
    return lua_type(L, index) == LUA_TNUMBER && lua_tonumber(L, index) == strtod(room, NULL);
  }
  return true;
}

/* false: the tokens cannot have made this value. Looks at literals, one level into constructors. */
static bool range_fits(lua_State *L, int index, const mxg_places *places, mxg_range range) {
  if (range.first > range.last) return lua_isnoneornil(L, index);
  if (range.first == range.last) return literal_fits(L, index, places, range.first);
  if (!mxg_range_is_constructor(places, range)) return true;
  if (lua_type(L, index) != LUA_TTABLE) return false;
  bool fits = true;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    mxg_range value = {1, 0};
    bool found = true;
    if (lua_type(L, -2) == LUA_TSTRING)
      found = mxg_place_key(places, range.first, lua_tostring(L, -2), &value) != 0;
    else if (lua_isinteger(L, -2) && lua_tointeger(L, -2) > 0 && lua_tointeger(L, -2) < 64)
      value = mxg_place_item(places, range.first, (uint32_t)lua_tointeger(L, -2) - 1);
    if (!found || (value.first == value.last && !literal_fits(L, lua_gettop(L), places, value.first))) fits = false;
    if (!fits) {
      lua_pop(L, 2);
      break;
    }
  }
  return fits;
}

mxg_call_site mxg_call_site_of(lua_State *L, int first) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  mxg_call call = mxg_sandbox_call(L);
  mxg_call_site site = {.origin = {box->files[0].path, 0, 0, 0}};
  if (call.file == MXG_NONE) return site;
  site.file = &box->files[call.file];
  site.origin = (mxg_origin){site.file->path, call.line, 0, 0};
  const mxg_places *places = &site.file->places;
  int top = lua_gettop(L);
  luaL_checkstack(L, 8, NULL);
  uint32_t opener = call.name[0] ? mxg_place_call(places, call.name, call.line, 0) : 0;
  for (uint32_t next = opener; next; next = mxg_place_call(places, call.name, call.line, next)) {
    bool fits = true;
    for (int k = 0; fits && first + k <= top && k < 64; k++)
      fits = range_fits(L, first + k, places, mxg_place_item(places, next, (uint32_t)k));
    if (!fits) continue;
    opener = next;
    break;
  }
  site.opener = opener;
  if (opener) site.origin = mxg_range_origin(site.file, (mxg_range){opener - 1, opener - 1}, &site.origin);
  return site;
}

mxg_range mxg_call_site_range(const mxg_call_site *site, uint32_t k) {
  if (!site->opener) return (mxg_range){1, 0};
  if (mxg_token_is(&site->file->places, site->opener, "{")) /* f{...}: the braces are the argument */
    return k == 0 ? (mxg_range){site->opener, site->file->places.tokens[site->opener].match} : (mxg_range){1, 0};
  return mxg_place_item(&site->file->places, site->opener, k);
}

mxg_origin mxg_call_site_argument(const mxg_call_site *site, uint32_t k) {
  return mxg_range_origin(site->file, mxg_call_site_range(site, k), &site->origin);
}

/* ---- Lua value -> tree ------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b) {
  return strcmp(((const mxg_field *)a)->key, ((const mxg_field *)b)->key);
}

static const char *read_text_value(lua_State *L, int index, const mxg_origin *origin) {
  size_t bytes;
  const char *text = lua_tolstring(L, index, &bytes);
  if (strlen(text) != bytes) mxg_sandbox_fail(L, origin, 203, "a text with a zero byte");
  return mxg_sandbox_text(L, text, bytes);
}

static void read_value(lua_State *L, int index, const mxg_recipe_file *file, mxg_range range, const mxg_origin *origin,
                       unsigned depth, mxg_value **out);

static void read_table(lua_State *L, int index, const mxg_recipe_file *file, mxg_range range, mxg_value *value,
                       unsigned depth) {
  uint32_t opener = file && mxg_range_is_constructor(&file->places, range) ? range.first : 0;
  size_t items = lua_rawlen(L, index), keys = 0;
  if (depth > deepest_value)
    mxg_sandbox_fail(L, &value->origin, 203, "tables are nested more than %d deep", deepest_value);
  if (items > (1u << 20)) mxg_sandbox_fail(L, &value->origin, 203, "a list of more than 1048576 entries");
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (lua_type(L, -2) == LUA_TSTRING) {
      keys++;
    } else if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) < 1 || (uint64_t)lua_tointeger(L, -2) > items) {
      bool hole = lua_isinteger(L, -2) && lua_tointeger(L, -2) > 0;
      mxg_sandbox_fail(L, &value->origin, 203,
                       hole ? "a list with a hole" : "a table key that is neither a text nor a place in a list");
    }
  }
  mxg_field *fields = mxg_sandbox_alloc(L, items + keys, sizeof *fields);
  for (size_t i = 0; i < items; i++) {
    mxg_range item = opener ? mxg_place_item(&file->places, opener, (uint32_t)i) : (mxg_range){1, 0};
    mxg_value *read;
    fields[i].origin = mxg_range_origin(file, item, &value->origin);
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    if (lua_isnil(L, -1)) mxg_sandbox_fail(L, &value->origin, 203, "a list with a hole");
    read_value(L, lua_gettop(L), file, item, &fields[i].origin, depth + 1, &read);
    fields[i].value = read;
    lua_pop(L, 1);
  }
  size_t at = items;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    mxg_range range_of_value = {1, 0};
    mxg_field *field = &fields[at++];
    mxg_value *read;
    field->key = read_text_value(L, lua_gettop(L) - 1, &value->origin);
    uint32_t token = mxg_place_key(&file->places, opener, field->key, &range_of_value);
    mxg_range range_of_key = {token, token};
    field->origin = mxg_range_origin(file, range_of_key, &value->origin);
    mxg_origin origin_of_value = mxg_range_origin(file, range_of_value, &field->origin);
    read_value(L, lua_gettop(L), file, range_of_value, &origin_of_value, depth + 1, &read);
    field->value = read;
  }
  qsort(fields + items, keys, sizeof *fields, by_text);
  value->fields = fields;
  value->item_count = (uint32_t)items;
  value->field_count = (uint32_t)(items + keys);
}

static void read_value(lua_State *L, int index, const mxg_recipe_file *file, mxg_range range, const mxg_origin *origin,
                       unsigned depth, mxg_value **out) {
  luaL_checkstack(L, 8, NULL);
  mxg_value *value = lua_type(L, index) == LUA_TUSERDATA ? NULL : mxg_sandbox_alloc(L, 1, sizeof *value);
  if (value) value->origin = *origin;
  *out = value;
  switch (lua_type(L, index)) {
  case LUA_TBOOLEAN:
    value->kind = MXG_VALUE_BOOL;
    value->as.boolean = lua_toboolean(L, index) != 0;
    return;
  case LUA_TNUMBER: {
    int integral;
    value->kind = MXG_VALUE_INT;
    value->as.integer = lua_tointegerx(L, index, &integral);
    if (!integral) {
      value->kind = MXG_VALUE_REAL;
      value->as.real = lua_tonumber(L, index);
    }
    return;
  }
  case LUA_TSTRING:
    value->kind = MXG_VALUE_TEXT;
    value->as.text = read_text_value(L, index, origin);
    return;
  case LUA_TUSERDATA: {
    const mxg_handle *handle = lua_touserdata(L, index);
    if (handle->kind != MXG_HANDLE_VALUE && handle->kind != MXG_HANDLE_MODEL)
      mxg_sandbox_fail(L, origin, 203, "expected a recipe value, got a %s of a model",
                       handle->kind == MXG_HANDLE_SCOPE ? "scope" : "tensor");
    *out = handle->value; /* shared: its origin stays where it was made */
    return;
  }
  case LUA_TTABLE:
    value->kind = MXG_VALUE_TABLE;
    if (!file) file = &mxg_sandbox_of(L)->files[0];
    read_table(L, index, file, range, value, depth);
    return;
  default: mxg_sandbox_fail(L, origin, 203, "expected a recipe value, got a %s", luaL_typename(L, index));
  }
}

mxg_value *mxg_value_read(lua_State *L, int index, const mxg_recipe_file *file, mxg_range range,
                          const mxg_origin *origin) {
  mxg_value *value;
  read_value(L, index, file, range, origin, 0, &value);
  return value;
}

/* ---- objects ----------------------------------------------------------------------------------------------------- */

static int no_member(lua_State *L) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  const char *type = lua_tostring(L, lua_upvalueindex(1));
  mxg_suggest suggest = mxg_suggest_begin(key);
  if (lua_type(L, lua_upvalueindex(2)) == LUA_TTABLE) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL) return 1;
    for (lua_pushnil(L); lua_next(L, lua_upvalueindex(2)); lua_pop(L, 1))
      mxg_suggest_offer(&suggest, lua_tostring(L, -2));
  }
  char near[100];
  mxg_call call = mxg_sandbox_call(L);
  mxg_origin origin = {0};
  if (call.file != MXG_NONE) {
    const mxg_recipe_file *file = &box->files[call.file];
    origin = (mxg_origin){file->path, call.line, 0, 0};
    uint32_t token = mxg_place_word(&file->places, call.line, key);
    if (token) origin = mxg_range_origin(file, (mxg_range){token, token}, &origin);
  }
  return mxg_sandbox_fail(L, &origin, 221, "%s has no '%.64s'%s", type, key,
                          mxg_suggest_text(&suggest, near, sizeof near));
}

mxg_handle *mxg_handle_push(lua_State *L, mxg_handle_kind kind, const char *type, const char *methods) {
  mxg_handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
  *handle = (mxg_handle){.kind = kind};
  char name[48];
  snprintf(name, sizeof name, "mx.%s", type);
  if (luaL_newmetatable(L, name)) { /* sets __name */
    for (int i = 0; i < 2; i++) {
      lua_pushstring(L, name);
      if (methods)
        lua_getfield(L, LUA_REGISTRYINDEX, methods);
      else
        lua_pushnil(L);
      lua_pushcclosure(L, no_member, 2);
      lua_setfield(L, -2, i == 0 ? "__index" : "__newindex");
    }
  }
  lua_setmetatable(L, -2);
  return handle;
}

/* mx.mxfp8 { ... } and its like. Upvalues: the type, whether entries may match nothing. */
static int construct(lua_State *L) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  const char *type = lua_tostring(L, lua_upvalueindex(1));
  mxg_call_site site = mxg_call_site_of(L, 1);
  if (lua_gettop(L) > 1) {
    mxg_origin second = mxg_call_site_argument(&site, 1);
    return mxg_sandbox_fail(L, &second, 203, "mx.%s takes one table", type);
  }
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  mxg_range range = mxg_call_site_range(&site, 0);
  mxg_origin origin = mxg_range_origin(site.file, range, &site.origin);
  mxg_value *value = mxg_value_read(L, 1, site.file, range, &origin);
  if (value->kind == MXG_VALUE_TABLE && !value->type) value->origin = site.origin;
  if (mxg_schema_check(value, type, &box->error) != MXG_OK) return raise_status(L);
  value->type = mxg_sandbox_text(L, type, strlen(type));
  value->lenient = lua_toboolean(L, lua_upvalueindex(2));
  mxg_handle_push(L, MXG_HANDLE_VALUE, type, NULL)->value = value;
  return 1;
}

/* mx.rule(value, pattern, ...) */
static int rule(lua_State *L) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  mxg_call_site site = mxg_call_site_of(L, 1);
  int count = lua_gettop(L);
  if (count < 2) return mxg_sandbox_fail(L, &site.origin, 202, "mx.rule takes a format or a layout, then patterns");
  mxg_value *value = mxg_sandbox_alloc(L, 1, sizeof *value);
  mxg_field *fields = mxg_sandbox_alloc(L, (size_t)count, sizeof *fields);
  *value = (mxg_value){.kind = MXG_VALUE_TABLE, .origin = site.origin, .fields = fields};
  value->field_count = value->item_count = (uint32_t)count;
  for (int i = 0; i < count; i++) {
    mxg_range range = mxg_call_site_range(&site, (uint32_t)i);
    fields[i].origin = mxg_range_origin(site.file, range, &site.origin);
    if (lua_isnil(L, i + 1)) return mxg_sandbox_fail(L, &fields[i].origin, 203, "mx.rule: argument %d is nil", i + 1);
    fields[i].value = mxg_value_read(L, i + 1, site.file, range, &fields[i].origin);
  }
  if (mxg_schema_check(value, "rule", &box->error) != MXG_OK) return raise_status(L);
  value->type = "rule";
  mxg_handle_push(L, MXG_HANDLE_VALUE, "rule", NULL)->value = value;
  return 1;
}

/* ---- for helpers written in Lua ---------------------------------------------------------------------------------- */

static void push_value(lua_State *L, mxg_value *value) {
  luaL_checkstack(L, 8, NULL);
  switch (value->kind) {
  case MXG_VALUE_BOOL: lua_pushboolean(L, value->as.boolean); return;
  case MXG_VALUE_INT: lua_pushinteger(L, value->as.integer); return;
  case MXG_VALUE_REAL: lua_pushnumber(L, value->as.real); return;
  case MXG_VALUE_TEXT: lua_pushstring(L, value->as.text); return;
  case MXG_VALUE_MODEL: mxg_handle_push(L, MXG_HANDLE_VALUE, "model", NULL)->value = value; return;
  case MXG_VALUE_TABLE: break;
  }
  if (value->type) {
    mxg_handle_push(L, MXG_HANDLE_VALUE, value->type, NULL)->value = value;
    return;
  }
  lua_newtable(L);
  for (uint32_t i = 0; i < value->field_count; i++) {
    push_value(L, value->fields[i].value);
    if (i < value->item_count)
      lua_rawseti(L, -2, (lua_Integer)i + 1);
    else
      lua_setfield(L, -2, value->fields[i].key);
  }
}

/* check(entity, table): a copy of the recipe's table, checked, with the schema's defaults. */
static int check(lua_State *L) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  const char *entity = luaL_checkstring(L, 1);
  mxg_call_site site = mxg_call_site_of(L, 2);
  if (lua_isnoneornil(L, 2)) {
    lua_settop(L, 1);
    lua_newtable(L);
  }
  mxg_range range = mxg_call_site_range(&site, 0);
  mxg_origin origin = mxg_range_origin(site.file, range, &site.origin);
  mxg_value *value = mxg_value_read(L, 2, site.file, range, &origin);
  if (!value->type) value->origin = site.origin;
  if (mxg_schema_check(value, entity, &box->error) != MXG_OK) return raise_status(L);
  push_value(L, value);
  for (const mxg_schema_key *row = mxg_schema; row->entity; row++) {
    if (strcmp(row->entity, entity) != 0 || !row->standard || !row->key || mxg_value_find(value, row->key)) continue;
    if (row->type == MXG_TYPE_INT)
      lua_pushinteger(L, (lua_Integer)strtoll(row->standard, NULL, 10));
    else
      lua_pushstring(L, row->standard);
    lua_setfield(L, -2, row->key);
  }
  return 1;
}

/* fail(text, key, help): an error of a helper, at that key of the recipe's table. */
static int fail(lua_State *L) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  const char *text = luaL_checkstring(L, 1), *key = luaL_optstring(L, 2, ""), *help = luaL_optstring(L, 3, NULL);
  mxg_call_site site = mxg_call_site_of(L, lua_gettop(L) + 1);
  mxg_range table = mxg_call_site_range(&site, 0), value;
  mxg_origin origin = site.origin;
  if (table.first <= table.last && mxg_range_is_constructor(&site.file->places, table)) {
    uint32_t token = mxg_place_key(&site.file->places, table.first, key, &value);
    if (token) origin = mxg_range_origin(site.file, value, &origin);
  }
  mxg_fail_at(&box->error, &origin, 204, "%s", text);
  if (help) mxg_error_help(&box->error, "%s", help);
  return raise_status(L);
}

static int freeze(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const char *label = luaL_checkstring(L, 2);
  lua_pushvalue(L, 1);
  mxg_sandbox_freeze(L, label);
  return 1;
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

static void remember_param(lua_State *L, const char *name) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  for (uint32_t i = 0; i < box->param_count; i++)
    if (strcmp(box->params[i], name) == 0) return;
  if (box->param_count == box->param_room) {
    uint32_t room = box->param_room ? 2 * box->param_room : 16;
    const char **wider = mxg_sandbox_alloc(L, room, sizeof *wider);
    if (box->param_count) memcpy(wider, box->params, box->param_count * sizeof *wider);
    box->params = wider;
    box->param_room = room;
  }
  box->params[box->param_count++] = mxg_sandbox_text(L, name, strlen(name));
}

/* mx.param(name, default) */
static int param(lua_State *L) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  mxg_call_site site = mxg_call_site_of(L, 1);
  lua_settop(L, 2);
  mxg_origin name_origin = mxg_call_site_argument(&site, 0), value_origin = mxg_call_site_argument(&site, 1);
  if (lua_type(L, 1) != LUA_TSTRING) return mxg_sandbox_fail(L, &name_origin, 203, "mx.param: the name is not a text");
  int type = lua_type(L, 2);
  if (type != LUA_TBOOLEAN && type != LUA_TSTRING && !(type == LUA_TNUMBER && lua_isinteger(L, 2)))
    return mxg_sandbox_fail(L, &value_origin, 203, "mx.param: the default is not an integer, a text or a boolean");
  const char *name = lua_tostring(L, 1), *given = NULL;
  remember_param(L, name);
  for (uint32_t i = 0; i < box->options->define_count; i++) { /* the last one counts */
    if (strcmp(box->options->defines[i].name, name) != 0) continue;
    given = box->options->defines[i].value;
    box->define_used[i] = true;
  }
  if (!given) return 1;
  if (type == LUA_TSTRING) {
    lua_pushstring(L, given);
  } else if (type == LUA_TBOOLEAN) {
    bool yes = strcmp(given, "true") == 0;
    if (!yes && strcmp(given, "false") != 0)
      return mxg_sandbox_fail(L, &value_origin, 204, "parameter '%.60s' is true or false, not '%.60s'", name, given);
    lua_pushboolean(L, yes);
  } else {
    char *end;
    size_t digits = strspn(given + (*given == '-'), "0123456789");
    long long number = strtoll(given, &end, 10);
    if (!digits || digits > 18 || *end)
      return mxg_sandbox_fail(L, &value_origin, 204, "parameter '%.60s' is an integer, not '%.60s'", name, given);
    lua_pushinteger(L, number);
  }
  return 1;
}

static void check_defines(lua_State *L) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  for (uint32_t i = 0; i < box->options->define_count; i++) {
    if (box->define_used[i]) continue;
    char near[100], known[300] = "";
    size_t used = 0;
    mxg_suggest suggest = mxg_suggest_begin(box->options->defines[i].name);
    for (uint32_t k = 0; k < box->param_count; k++) {
      mxg_suggest_offer(&suggest, box->params[k]);
      if (used < sizeof known)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", k ? ", " : "", box->params[k]);
    }
    mxg_origin origin = {box->files[0].path, 0, 0, 0};
    mxg_fail_at(&box->error, &origin, 205, "the recipe has no parameter '%.60s'%s", box->options->defines[i].name,
                mxg_suggest_text(&suggest, near, sizeof near));
    mxg_error_help(&box->error, known[0] ? "its parameters are %s" : "it has none%s", known);
    raise_status(L);
  }
}

/* ---- the whole recipe -------------------------------------------------------------------------------------------- */

static int open_core(lua_State *L) {
  static const char *const constructors[] = {"mxfp8", "fp8",   "fp8_block", "bf16",   "fp16", "fp32",
                                             "whole", "split", "mesh",      "stages", "names"};
  static const luaL_Reg functions[] = {{"rule", rule},   {"param", param}, {"model", mxg_declare_model},
                                       {"check", check}, {"fail", fail},   {"freeze", freeze},
                                       {NULL, NULL}};
  mxg_declare_open(L);
  luaL_newlib(L, functions);
  for (size_t i = 0; i < sizeof constructors / sizeof *constructors; i++) {
    lua_pushstring(L, constructors[i]);
    lua_pushboolean(L, 0);
    lua_pushcclosure(L, construct, 2);
    lua_setfield(L, -2, constructors[i]);
  }
  lua_pushliteral(L, "names");
  lua_pushboolean(L, 1);
  lua_pushcclosure(L, construct, 2);
  lua_setfield(L, -2, "helper_names");
  return 1;
}

static void take(lua_State *L, void *user) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  const mxg_recipe_file *file = &box->files[0];
  mxg_origin origin = {file->path, 0, 0, 0};
  check_defines(L);
  if (lua_type(L, -1) != LUA_TTABLE) {
    mxg_fail_at(&box->error, &origin, 203, "the recipe returns %s%s, not a table", lua_isnil(L, -1) ? "" : "a ",
                lua_isnil(L, -1) ? "nothing" : luaL_typename(L, -1));
    mxg_error_help(&box->error,
                   "end it with `return { version = 1, model = ..., source = { ... }, target = { ... } }`");
    raise_status(L);
  }
  uint32_t opener = mxg_place_returned(&file->places);
  mxg_range range = {opener, opener ? file->places.tokens[opener].match : 0};
  mxg_range brace = {opener, opener};
  if (opener) origin = mxg_range_origin(file, brace, &origin);
  mxg_value *value = mxg_value_read(L, lua_gettop(L), file, range, &origin);
  if (mxg_schema_check(value, "recipe", &box->error) != MXG_OK) raise_status(L);
  *(const mxg_value **)user = value;
}

mxg_status mxg_recipe_read(const mxg_value **out, mxg_files *files, const char *path, const mxg_recipe_options *options,
                           mxg_arena *arena, mxg_error *err) {
  *out = NULL;
  const mxg_value *value = NULL;
  MXG_TRY(mxg_sandbox_run(path, options, open_core, take, &value, files, arena, err));
  *out = value;
  return MXG_OK;
}
