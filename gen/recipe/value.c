/* value.c -- reading the plain tree of recipe.h, and errors with a recipe's place. */
#include "recipe.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

mxg_status mxg_fail_at(mxg_error *err, const mxg_origin *origin, unsigned code, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  mxg_fail(err, MXG_ERR_INPUT, code, "%s", text);
  mxg_error_place(err, origin->file, origin->line, origin->column, origin->span);
  return MXG_ERR_INPUT;
}

const mxg_field *mxg_value_find(const mxg_value *table, const char *key) {
  for (uint32_t i = table->item_count; i < table->field_count; i++)
    if (strcmp(table->fields[i].key, key) == 0) return &table->fields[i];
  return NULL;
}

const mxg_value *mxg_value_get(const mxg_value *table, const char *key) {
  const mxg_field *field = mxg_value_find(table, key);
  return field ? field->value : NULL;
}

const char *mxg_value_kind_name(const mxg_value *value) {
  static const char *const made[][2] = {
      {"mxfp8", "an mx.mxfp8"}, {"fp8", "an mx.fp8"},   {"fp8_block", "an mx.fp8_block"}, {"bf16", "an mx.bf16"},
      {"fp16", "an mx.fp16"},   {"fp32", "an mx.fp32"}, {"rule", "an mx.rule"},           {"whole", "an mx.whole"},
      {"split", "an mx.split"}, {"mesh", "an mx.mesh"}, {"stages", "an mx.stages"},       {"names", "an mx.names"},
      {"model", "an mx.model"}};
  for (size_t i = 0; value->type && i < sizeof made / sizeof *made; i++)
    if (strcmp(made[i][0], value->type) == 0) return made[i][1];
  switch (value->kind) {
  case MXG_VALUE_BOOL: return value->as.boolean ? "true" : "false";
  case MXG_VALUE_INT: return "an integer";
  case MXG_VALUE_REAL: return "a number with a fraction";
  case MXG_VALUE_TEXT: return "a text";
  case MXG_VALUE_TABLE: return "a table";
  case MXG_VALUE_MODEL: return "an mx.model";
  }
  return "something else";
}

const char *mxg_name_fault(const char *name) {
  if (!*name) return "is empty";
  if (strlen(name) > MXG_NAME_BYTES) return "is longer than 200 characters";
  char before = '.';
  for (const char *p = name; *p; p++) {
    bool fine = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '_' ||
                *p == '-' || *p == '.';
    if (!fine) return "has a character that is not a letter, a digit, '_', '-' or '.'";
    if (*p == '.' && before == '.') return "has an empty segment";
    before = *p;
  }
  return before == '.' ? "has an empty segment" : NULL;
}
