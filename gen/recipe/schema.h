/* schema.h -- the one table of what a recipe may say: entity, key, type, default, range, help. It drives the checks,
** the "did you mean", the defaults and the manual. */
#ifndef MXG_SCHEMA_H
#define MXG_SCHEMA_H

#include "recipe.h"

typedef enum mxg_schema_type {
  MXG_TYPE_INT,     /* least to most */
  MXG_TYPE_TEXT,    /* any text */
  MXG_TYPE_CHOICE,  /* one of `words`, separated by spaces */
  MXG_TYPE_SIZE,    /* bytes: an integer, or "512MiB" */
  MXG_TYPE_BLOCK,   /* 32, or a pair of them as `words` lists: "32 1x32 32x1" */
  MXG_TYPE_AXES,    /* an axis name or a list of them */
  MXG_TYPE_PAIR,    /* { "name", integer } */
  MXG_TYPE_TEXTS,   /* a list of texts */
  MXG_TYPE_INTS,    /* a list of integers */
  MXG_TYPE_OBJECT,  /* made by one of the constructors in `words` */
  MXG_TYPE_OBJECTS, /* a list of such objects; one alone stands for a list of one where least is 1 */
  MXG_TYPE_ENTITY,  /* a plain table that is the entity named `words` */
  MXG_TYPE_NAMING,  /* { pattern, "template" } or { pattern, part = "template", ... } */
  MXG_TYPE_RULE     /* the value of a rule, then its patterns */
} mxg_schema_type;

typedef struct mxg_schema_key {
  const char *entity;
  const char *key; /* "": the items of a list */
  mxg_schema_type type;
  bool required;        /* for items: at least one */
  const char *standard; /* the default, as text; NULL: none */
  int64_t least, most;
  const char *words;
  const char *help;
} mxg_schema_key;

/* All rows, entity by entity; ends with a NULL entity. */
extern const mxg_schema_key mxg_schema[];

const mxg_schema_key *mxg_schema_find(const char *entity, const char *key);

/* Checks keys, types and ranges of `value` as `entity`. MXG_ERR_INPUT 201 to 204 with the place of the key or value. */
mxg_status mxg_schema_check(const mxg_value *value, const char *entity, mxg_error *err);

/* Values of checked tables, or the schema's default. The key must have one or the other. */
int64_t mxg_schema_int(const mxg_value *table, const char *entity, const char *key);
const char *mxg_schema_text(const mxg_value *table, const char *entity, const char *key);
uint64_t mxg_schema_size(const mxg_value *table, const char *entity, const char *key);
/* 32 -> 0, 32 for "1x32" is rows 1, cols 32; a bare number n gives rows 0, cols n. */
void mxg_schema_block(const mxg_value *value, uint32_t *rows, uint32_t *cols);

/* "512MiB" -> bytes. false: not a size. */
bool mxg_size_read(const char *text, uint64_t *bytes);

#endif
