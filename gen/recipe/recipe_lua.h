/* recipe_lua.h -- between recipe.c and declare.c only: objects of mx as Lua sees them, and where a call was written. */
#ifndef MXG_RECIPE_LUA_H
#define MXG_RECIPE_LUA_H

#include "recipe.h"
#include "sandbox.h"

typedef enum mxg_handle_kind {
  MXG_HANDLE_VALUE,
  MXG_HANDLE_MODEL,
  MXG_HANDLE_SCOPE,
  MXG_HANDLE_TENSOR
} mxg_handle_kind;

/* Every userdata that a recipe can hold. */
typedef struct mxg_handle {
  mxg_handle_kind kind;
  mxg_value *value;       /* VALUE, MODEL */
  mxg_declared *declared; /* MODEL, SCOPE, TENSOR */
  const char *prefix;     /* SCOPE: "layers.0." */
  uint32_t tensor;        /* TENSOR */
} mxg_handle;

/* Pushes a handle whose methods are in the table `methods` names in the registry (NULL: none). */
mxg_handle *mxg_handle_push(lua_State *L, mxg_handle_kind kind, const char *type, const char *methods);

/* The call that the recipe made, with its arguments' places. The C function's arguments from `first` on are the
** recipe's; they choose between several calls of one name on one line. */
typedef struct mxg_call_site {
  const mxg_recipe_file *file; /* NULL: unknown */
  uint32_t opener;             /* token; 0: unknown */
  mxg_origin origin;           /* of the called name */
} mxg_call_site;
mxg_call_site mxg_call_site_of(lua_State *L, int first);
mxg_origin mxg_call_site_argument(const mxg_call_site *site, uint32_t k); /* the call's own place when unknown */
mxg_range mxg_call_site_range(const mxg_call_site *site, uint32_t k);     /* empty when unknown */

/* Lua value -> tree. `range`: the tokens that wrote it, maybe empty; `origin`: where errors point then. */
mxg_value *mxg_value_read(lua_State *L, int index, const mxg_recipe_file *file, mxg_range range,
                          const mxg_origin *origin);
mxg_origin mxg_range_origin(const mxg_recipe_file *file, mxg_range range, const mxg_origin *otherwise);

/* declare.c: mx.model, and the methods of models, scopes and tensors put into the registry. */
int mxg_declare_model(lua_State *L);
void mxg_declare_open(lua_State *L);

#endif
