/* declare.c -- mx.model and its methods: the tensors that a recipe declares, with their shapes checked as they come.
** Knows nothing of formats, layouts or sides. */
#include "recipe_lua.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define MOST_ROWS (UINT64_C(1) << 40)
#define MOST_COLS (UINT64_C(0xffffffff))
#define MOST_EXPERTS (UINT64_C(1) << 20)
#define MOST_ELEMENTS (UINT64_C(1) << 60)

static const char scope_methods[] = "mx.methods.scope", tensor_methods[] = "mx.methods.tensor";

/* ---- names ------------------------------------------------------------------------------------------------------- */

static uint32_t hash_of(const char *name) { /* FNV-1a */
  uint32_t hash = 2166136261u;
  for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 16777619u;
  return hash;
}

uint32_t mxg_declared_find(const mxg_declared *declared, const char *name) {
  if (!declared->slot_count) return MXG_NONE;
  for (uint32_t i = hash_of(name) & (declared->slot_count - 1);; i = (i + 1) & (declared->slot_count - 1)) {
    if (!declared->slots[i]) return MXG_NONE;
    if (strcmp(declared->tensors[declared->slots[i] - 1].name, name) == 0) return declared->slots[i] - 1;
  }
}

static void insert(mxg_declared *declared, uint32_t index) {
  uint32_t i = hash_of(declared->tensors[index].name) & (declared->slot_count - 1);
  while (declared->slots[i]) i = (i + 1) & (declared->slot_count - 1);
  declared->slots[i] = index + 1;
}

static void make_room(lua_State *L, mxg_declared *declared) {
  if (declared->count < declared->room) return;
  uint32_t room = declared->room ? 2 * declared->room : 64;
  mxg_tensor *wider = mxg_sandbox_alloc(L, room, sizeof *wider);
  if (declared->count) memcpy(wider, declared->tensors, declared->count * sizeof *wider);
  declared->slots = mxg_sandbox_alloc(L, 2 * (size_t)room, sizeof *declared->slots);
  declared->slot_count = 2 * room;
  declared->tensors = wider;
  declared->room = room;
  for (uint32_t i = 0; i < declared->count; i++) insert(declared, i);
}

/* The checked text of argument `arg` of the recipe's k-th, after `prefix`. */
static const char *take_name(lua_State *L, int arg, const mxg_origin *origin, const char *prefix, const char *what) {
  if (lua_type(L, arg) != LUA_TSTRING) {
    mxg_sandbox_fail(L, origin, 203, "%s: expected a name, got %s", what, luaL_typename(L, arg));
    return NULL;
  }
  char shown[64];
  snprintf(shown, sizeof shown, "%s", lua_tostring(L, arg));
  for (char *c = shown; *c; c++)
    if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e) *c = '?';
  const char *fault =
      strlen(lua_tostring(L, arg)) != lua_rawlen(L, arg) ? "has a zero byte" : mxg_name_fault(lua_tostring(L, arg));
  if (!fault && strlen(prefix) + lua_rawlen(L, arg) > MXG_NAME_BYTES)
    fault = "is longer than 200 characters with its scope";
  if (fault) mxg_sandbox_fail(L, origin, 211, "%s: the name '%s' %s", what, shown, fault);
  size_t before = strlen(prefix), bytes = lua_rawlen(L, arg);
  char *name = mxg_sandbox_alloc(L, before + bytes + 1, 1);
  memcpy(name, prefix, before);
  memcpy(name + before, lua_tostring(L, arg), bytes);
  return name;
}

static mxg_handle *self(lua_State *L, const char *what) {
  mxg_handle *handle = lua_type(L, 1) == LUA_TUSERDATA ? lua_touserdata(L, 1) : NULL;
  bool tensor = strcmp(what, "interleave") == 0 || strcmp(what, "pad_rows") == 0;
  if (handle && (tensor ? handle->kind == MXG_HANDLE_TENSOR
                        : handle->kind == MXG_HANDLE_MODEL || handle->kind == MXG_HANDLE_SCOPE))
    return handle;
  mxg_call_site site = mxg_call_site_of(L, 2);
  mxg_sandbox_fail(L, &site.origin, 203, "%s is called with a colon: %s:%s(...)", what, tensor ? "tensor" : "m", what);
  return NULL;
}

/* ---- shapes ------------------------------------------------------------------------------------------------------ */

static uint64_t take_count(lua_State *L, int index, const mxg_origin *origin, const char *what, uint64_t most) {
  int integral = 0;
  lua_Integer n = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &integral) : 0;
  if (!integral && lua_type(L, index) == LUA_TNUMBER)
    mxg_sandbox_fail(L, origin, 210, "%s: %.17g is not an integer", what, lua_tonumber(L, index));
  if (!integral) mxg_sandbox_fail(L, origin, 210, "%s: expected an integer, got %s", what, luaL_typename(L, index));
  if (n < 1 || (uint64_t)n > most)
    mxg_sandbox_fail(L, origin, 210, "%s: %lld is not from 1 to %llu", what, (long long)n, (unsigned long long)most);
  return (uint64_t)n;
}

/* Adds the tensor, pushes its handle. */
static int add_tensor(lua_State *L, mxg_declared *declared, const mxg_tensor *tensor, const mxg_origin *name_origin) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  uint32_t twin = mxg_declared_find(declared, tensor->name);
  if (twin != MXG_NONE) {
    const mxg_origin *first = &declared->tensors[twin].origin;
    mxg_fail_at(&box->error, name_origin, 209, "tensor '%s' is declared twice", tensor->name);
    mxg_error_note(&box->error, "the first is at %s:%d:%d", first->file, first->line, first->column);
    return mxg_sandbox_raise(L);
  }
  uint64_t elements = 0, padded = tensor->rows + 1;
  if (!mxg_mul(&elements, padded, tensor->cols) || !mxg_mul(&elements, elements, tensor->experts) ||
      elements > MOST_ELEMENTS)
    return mxg_sandbox_fail(L, &tensor->origin, 210, "tensor '%s' has more than 2^60 elements", tensor->name);
  make_room(L, declared);
  declared->tensors[declared->count] = *tensor;
  insert(declared, declared->count);
  mxg_handle *handle = mxg_handle_push(L, MXG_HANDLE_TENSOR, "tensor", tensor_methods);
  handle->declared = declared;
  handle->tensor = declared->count++;
  return 1;
}

/* m:tensor(name, { rows, cols }), { n } or { experts, rows, cols } */
static int tensor(lua_State *L) {
  mxg_handle *on = self(L, "tensor");
  mxg_call_site site = mxg_call_site_of(L, 2);
  mxg_origin name_origin = mxg_call_site_argument(&site, 0), shape_origin = mxg_call_site_argument(&site, 1);
  mxg_tensor t = {.experts = 1, .cols = 1, .part_count = 1, .tied_to = MXG_NONE, .origin = name_origin};
  t.name = take_name(L, 2, &name_origin, on->prefix, "tensor");
  if (lua_type(L, 3) != LUA_TTABLE)
    return mxg_sandbox_fail(L, &shape_origin, 210, "tensor '%s': expected a shape such as { rows, cols }", t.name);
  lua_settop(L, 3);
  size_t ndim = lua_rawlen(L, 3);
  if (ndim < 1 || ndim > 3)
    return mxg_sandbox_fail(L, &shape_origin, 210, "tensor '%s': a shape has 1 to 3 dimensions, not %zu", t.name, ndim);
  t.ndim = (unsigned)ndim;
  uint64_t *into[3] = {&t.experts, &t.rows, &t.cols};
  static const char *const dims[3] = {"experts", "rows", "cols"};
  const uint64_t most[3] = {MOST_EXPERTS, MOST_ROWS, MOST_COLS};
  mxg_range shape = mxg_call_site_range(&site, 1);
  for (size_t i = 0; i < ndim; i++) {
    size_t d = ndim == 3 ? i : i + 1;
    char what[MXG_NAME_BYTES + 40];
    mxg_origin origin = shape_origin;
    if (site.file && mxg_range_is_constructor(&site.file->places, shape))
      origin = mxg_range_origin(site.file, mxg_place_item(&site.file->places, shape.first, (uint32_t)i), &shape_origin);
    snprintf(what, sizeof what, "tensor '%s': %s", t.name, dims[d]);
    lua_rawgeti(L, 3, (lua_Integer)i + 1);
    *into[d] = take_count(L, 4, &origin, what, most[d]);
    lua_pop(L, 1);
  }
  mxg_part *part = mxg_sandbox_alloc(L, 1, sizeof *part);
  *part = (mxg_part){"", 0, t.rows};
  t.parts = part;
  return add_tensor(L, on->declared, &t, &name_origin);
}

/* m:fused(name, { { "q", rows }, ... }, cols [, experts]); without cols: a vector, the biases of q, k and v. */
static int fused(lua_State *L) {
  mxg_handle *on = self(L, "fused");
  mxg_call_site site = mxg_call_site_of(L, 2);
  lua_settop(L, 5);
  mxg_origin name_origin = mxg_call_site_argument(&site, 0), parts_origin = mxg_call_site_argument(&site, 1);
  mxg_origin cols_origin = mxg_call_site_argument(&site, 2), experts_origin = mxg_call_site_argument(&site, 3);
  mxg_tensor t = {.ndim = 2, .experts = 1, .tied_to = MXG_NONE, .origin = name_origin};
  t.name = take_name(L, 2, &name_origin, on->prefix, "fused");
  size_t count = lua_type(L, 3) == LUA_TTABLE ? lua_rawlen(L, 3) : 0;
  if (count < 1 || count > 64)
    return mxg_sandbox_fail(L, &parts_origin, 210,
                            "fused '%s': expected parts such as { { \"gate\", rows }, { \"up\", rows } }", t.name);
  char what[MXG_NAME_BYTES + 40];
  snprintf(what, sizeof what, "fused '%s': cols", t.name);
  bool vector = lua_isnil(L, 4) && lua_isnil(L, 5);
  t.ndim = vector ? 1 : 2;
  t.cols = vector ? 1 : take_count(L, 4, &cols_origin, what, MOST_COLS);
  if (!lua_isnil(L, 5)) {
    snprintf(what, sizeof what, "fused '%s': experts", t.name);
    t.experts = take_count(L, 5, &experts_origin, what, MOST_EXPERTS);
    t.ndim = 3;
  }
  mxg_part *parts = mxg_sandbox_alloc(L, count, sizeof *parts);
  mxg_range list = mxg_call_site_range(&site, 1);
  for (size_t i = 0; i < count; i++) {
    mxg_origin origin = parts_origin;
    if (site.file && mxg_range_is_constructor(&site.file->places, list))
      origin = mxg_range_origin(site.file, mxg_place_item(&site.file->places, list.first, (uint32_t)i), &parts_origin);
    lua_rawgeti(L, 3, (lua_Integer)i + 1);
    if (lua_type(L, -1) != LUA_TTABLE || lua_rawlen(L, -1) != 2)
      return mxg_sandbox_fail(L, &origin, 210, "fused '%s': part %zu is not { \"name\", rows }", t.name, i + 1);
    lua_rawgeti(L, 6, 1);
    lua_rawgeti(L, 6, 2);
    parts[i].name = take_name(L, 7, &origin, "", "fused part");
    if (strpbrk(parts[i].name, ".-"))
      return mxg_sandbox_fail(L, &origin, 211, "fused '%s': the part's name '%s' has a '.' or '-'", t.name,
                              parts[i].name);
    for (size_t k = 0; k < i; k++)
      if (strcmp(parts[k].name, parts[i].name) == 0)
        return mxg_sandbox_fail(L, &origin, 209, "fused '%s': part '%s' is there twice", t.name, parts[i].name);
    snprintf(what, sizeof what, "fused '%s': rows of part %zu", t.name, i + 1);
    parts[i].first_row = t.rows;
    parts[i].rows = take_count(L, 8, &origin, what, MOST_ROWS);
    t.rows += parts[i].rows;
    lua_settop(L, 5);
  }
  if (t.rows > MOST_ROWS)
    return mxg_sandbox_fail(L, &parts_origin, 210, "fused '%s': %llu rows are more than %llu", t.name,
                            (unsigned long long)t.rows, (unsigned long long)MOST_ROWS);
  t.parts = parts;
  t.part_count = (uint32_t)count;
  return add_tensor(L, on->declared, &t, &name_origin);
}

/* m:tied(name, other): a tensor of the same shape that shares the other's values. */
static int tied(lua_State *L) {
  mxg_handle *on = self(L, "tied");
  mxg_call_site site = mxg_call_site_of(L, 2);
  mxg_origin name_origin = mxg_call_site_argument(&site, 0), other_origin = mxg_call_site_argument(&site, 1);
  lua_settop(L, 3);
  const char *name = take_name(L, 2, &name_origin, on->prefix, "tied");
  uint32_t other = mxg_declared_find(on->declared, take_name(L, 3, &other_origin, on->prefix, "tied"));
  if (other == MXG_NONE) other = mxg_declared_find(on->declared, lua_tostring(L, 3));
  if (other == MXG_NONE)
    return mxg_sandbox_fail(L, &other_origin, 219, "tied '%s': there is no tensor '%s' above", name,
                            lua_tostring(L, 3));
  mxg_tensor t = on->declared->tensors[other];
  if (t.tied_to == MXG_NONE) t.tied_to = other;
  t.name = name;
  t.origin = name_origin;
  return add_tensor(L, on->declared, &t, &name_origin);
}

/* m:scope(format, ...): the same methods, names joined with "." */
static int scope(lua_State *L) {
  mxg_handle *on = self(L, "scope");
  mxg_call_site site = mxg_call_site_of(L, 2);
  mxg_origin origin = mxg_call_site_argument(&site, 0);
  if (lua_type(L, 2) != LUA_TSTRING) return mxg_sandbox_fail(L, &origin, 203, "scope: expected a name");
  int count = lua_gettop(L) - 1;
  lua_pushliteral(L, ""); /* the sandbox's own string.format, which strings have as a method */
  lua_getfield(L, -1, "format");
  lua_replace(L, -2);
  lua_insert(L, 2);
  lua_call(L, count, 1);
  const char *prefix = take_name(L, 2, &origin, on->prefix, "scope");
  size_t bytes = strlen(prefix);
  char *dotted = mxg_sandbox_alloc(L, bytes + 2, 1);
  memcpy(dotted, prefix, bytes);
  dotted[bytes] = '.';
  mxg_handle *inner = mxg_handle_push(L, MXG_HANDLE_SCOPE, "scope", scope_methods);
  inner->declared = on->declared;
  inner->prefix = dotted;
  return 1;
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

/* :interleave(groups) */
static int interleave(lua_State *L) {
  mxg_handle *on = self(L, "interleave");
  mxg_call_site site = mxg_call_site_of(L, 2);
  mxg_origin origin = mxg_call_site_argument(&site, 0);
  mxg_tensor *t = &on->declared->tensors[on->tensor];
  uint64_t groups = take_count(L, 2, &origin, "interleave", MOST_ROWS);
  if (t->part_count < 2) return mxg_sandbox_fail(L, &origin, 210, "interleave: '%s' is not fused of parts", t->name);
  for (uint32_t i = 0; i < t->part_count; i++)
    if (t->parts[i].rows % groups)
      return mxg_sandbox_fail(
          L, &origin, 210, "interleave: part '%s' of '%s' has %llu rows, not a multiple of %llu groups",
          t->parts[i].name, t->name, (unsigned long long)t->parts[i].rows, (unsigned long long)groups);
  t->groups = groups;
  lua_settop(L, 1);
  return 1;
}

/* :pad_rows(n) */
static int pad_rows(lua_State *L) {
  mxg_handle *on = self(L, "pad_rows");
  mxg_call_site site = mxg_call_site_of(L, 2);
  mxg_origin origin = mxg_call_site_argument(&site, 0);
  mxg_tensor *t = &on->declared->tensors[on->tensor];
  uint64_t n = take_count(L, 2, &origin, "pad_rows", MOST_COLS);
  if (t->ndim == 1 || t->part_count > 1)
    return mxg_sandbox_fail(L, &origin, 210, "pad_rows: '%s' is %s", t->name,
                            t->ndim == 1 ? "a vector" : "fused of parts");
  t->pad_rows = n;
  lua_settop(L, 1);
  return 1;
}

/* mx.model(name) */
int mxg_declare_model(lua_State *L) {
  mxg_call_site site = mxg_call_site_of(L, 1);
  mxg_origin origin = mxg_call_site_argument(&site, 0);
  mxg_declared *declared = mxg_sandbox_alloc(L, 1, sizeof *declared);
  declared->name = take_name(L, 1, &origin, "", "model");
  declared->origin = site.origin;
  mxg_value *value = mxg_sandbox_alloc(L, 1, sizeof *value);
  *value = (mxg_value){.kind = MXG_VALUE_MODEL, .type = "model", .origin = site.origin, .as = {.model = declared}};
  mxg_handle *handle = mxg_handle_push(L, MXG_HANDLE_MODEL, "model", scope_methods);
  handle->declared = declared;
  handle->value = value;
  handle->prefix = "";
  return 1;
}

void mxg_declare_open(lua_State *L) {
  static const luaL_Reg of_scope[] = {
      {"tensor", tensor}, {"fused", fused}, {"tied", tied}, {"scope", scope}, {NULL, NULL}};
  static const luaL_Reg of_tensor[] = {{"interleave", interleave}, {"pad_rows", pad_rows}, {NULL, NULL}};
  luaL_newlib(L, of_scope);
  lua_setfield(L, LUA_REGISTRYINDEX, scope_methods);
  luaL_newlib(L, of_tensor);
  lua_setfield(L, LUA_REGISTRYINDEX, tensor_methods);
}
