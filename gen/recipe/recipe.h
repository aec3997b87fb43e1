/* recipe.h -- a recipe as a tree of plain values, each with the place where it was written. recipe.c reads it from
** Lua and owns the functions behind mx.lua; declare.c the tensors that a recipe declares; schema.c says what is
** allowed where. model.c resolves the tree; nothing of Lua is in it. All memory is of the sandbox's arena. */
#ifndef MXG_RECIPE_H
#define MXG_RECIPE_H

#include "model.h"

#include "error.h"

typedef enum mxg_value_kind {
  MXG_VALUE_BOOL,
  MXG_VALUE_INT,
  MXG_VALUE_REAL,
  MXG_VALUE_TEXT,
  MXG_VALUE_TABLE,
  MXG_VALUE_MODEL
} mxg_value_kind;

typedef struct mxg_value mxg_value;

typedef struct mxg_field {
  const char *key;   /* NULL: an item of a list */
  mxg_origin origin; /* of the key; of the value for an item */
  mxg_value *value;
} mxg_field;

/* The tensors of an mx.model, in the order of their declaration. */
typedef struct mxg_declared {
  const char *name;
  mxg_origin origin;
  mxg_tensor *tensors;
  uint32_t count, room;
  uint32_t *slots; /* hash of names: index + 1 */
  uint32_t slot_count;
} mxg_declared;

struct mxg_value {
  mxg_value_kind kind;
  const char *type; /* the constructor it came from: "mxfp8", "rule", "mesh"; NULL: a plain value */
  mxg_origin origin;
  bool lenient; /* names made by a helper: entries may match nothing */
  union {
    bool boolean;
    int64_t integer;
    double real;
    const char *text;
    const mxg_declared *model;
  } as;
  mxg_field *fields; /* items first, then keys sorted */
  uint32_t field_count, item_count;
};

/* Runs the recipe and reads what it returns, checked against the schema. */
mxg_status mxg_recipe_read(const mxg_value **out, mxg_files *files, const char *path, const mxg_recipe_options *options,
                           mxg_arena *arena, mxg_error *err);

const mxg_field *mxg_value_find(const mxg_value *table, const char *key); /* NULL: not there */
const mxg_value *mxg_value_get(const mxg_value *table, const char *key);  /* NULL: not there */
const char *mxg_value_kind_name(const mxg_value *value);                  /* "a text", "an mx.mxfp8" */

mxg_status mxg_fail_at(mxg_error *err, const mxg_origin *origin, unsigned code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Names of models, tensors, parts and axes: letters, digits, '_' and '-' in dotted segments, so that no name can be
** taken for a pattern, a path or code. NULL: fine; else what is wrong. */
enum { MXG_NAME_BYTES = 200 };
const char *mxg_name_fault(const char *name);

/* The index of a declared tensor, or MXG_NONE. */
uint32_t mxg_declared_find(const mxg_declared *declared, const char *name);

#endif
