/* schema.c -- see schema.h: the table, then the checks that read it. */
#include "schema.h"

#include "suggest.h"

#include <stdio.h>
#include <string.h>

#define FORMATS "mxfp8 fp8 fp8_block bf16 fp16 fp32"
#define RULES "floor rceil ceil even"
#define MOST_RANKS (1 << 20)
#define MOST_ROWS (INT64_C(1) << 40)

/* clang-format off */
const mxg_schema_key mxg_schema[] = {
    /* entity, key, type, required, default, least, most, words, help */
    {"recipe", "version", MXG_TYPE_INT, true, NULL, 1, 1, NULL, "the version of the recipe language"},
    {"recipe", "name", MXG_TYPE_TEXT, false, NULL, 0, 0, NULL, "name of the plan and the bundle; default: the model's"},
    {"recipe", "model", MXG_TYPE_OBJECT, true, NULL, 0, 0, "model", "the tensors: an mx.model"},
    {"recipe", "source", MXG_TYPE_ENTITY, true, NULL, 0, 0, "side", "how the tensors are stored and spread"},
    {"recipe", "target", MXG_TYPE_ENTITY, true, NULL, 0, 0, "side", "how they are wanted"},
    {"recipe", "schedule", MXG_TYPE_ENTITY, false, NULL, 0, 0, "schedule", "memory of the schedule"},

    {"side", "mesh", MXG_TYPE_OBJECTS, true, NULL, 1, 8, "mesh",
     "mx.mesh { ... }, or a list of meshes over the same ranks"},
    {"side", "first_rank", MXG_TYPE_INT, false, "0", 0, MOST_RANKS, NULL,
     "where this side's ranks start in the common numbering"},
    {"side", "format", MXG_TYPE_OBJECTS, true, NULL, 0, 0, "rule",
     "rules that give each tensor its format; first match wins"},
    {"side", "layout", MXG_TYPE_OBJECTS, true, NULL, 0, 0, "rule",
     "rules that give each tensor its layout; first match wins"},
    {"side", "stages", MXG_TYPE_OBJECT, false, NULL, 0, 0, "stages", "which pipeline stage owns which tensors"},
    {"side", "tied", MXG_TYPE_CHOICE, false, "once", 0, 0, "once both",
     "once: a tied tensor is kept under the other's name only"},
    {"side", "names", MXG_TYPE_OBJECT, false, NULL, 0, 0, "names", "names of the stored tensors; default: the model's"},

    {"schedule", "bucket", MXG_TYPE_SIZE, false, "512MiB", 1, INT64_C(1) << 40, NULL,
     "most bytes that are moved together"},
    {"schedule", "slots", MXG_TYPE_INT, false, "2", 1, 16, NULL, "buckets in flight"},
    {"schedule", "staging", MXG_TYPE_SIZE, false, "2GiB", 1, INT64_C(1) << 44, NULL, "most staging memory of a rank"},
    {"schedule", "groups", MXG_TYPE_CHOICE, false, "bucket", 0, 0, "bucket layer",
     "what is started and waited for: a bucket, or a layer, at whose end buckets end"},
    {"schedule", "node", MXG_TYPE_INT, false, "0", 0, MOST_RANKS, NULL, "ranks of one node; 0: all ranks are near"},

    {"mxfp8", "elem", MXG_TYPE_CHOICE, true, NULL, 0, 0, "e4m3 e5m2", "element type"},
    {"mxfp8", "block", MXG_TYPE_BLOCK, false, "32", 0, 0, "32 1x32 32x1 32x32",
     "elements under one scale: 32, {1,32}, {32,1} or {32,32}"},
    {"mxfp8", "direction", MXG_TYPE_CHOICE, false, "rowwise", 0, 0, "rowwise columnwise both",
     "along which dimension blocks run"},
    {"mxfp8", "scale", MXG_TYPE_CHOICE, true, NULL, 0, 0, RULES, "how a scale is chosen when values are quantised"},
    {"mxfp8", "nan", MXG_TYPE_CHOICE, false, "block", 0, 0, "block element", "what a NaN or Inf makes of its block"},
    {"mxfp8", "scales", MXG_TYPE_CHOICE, false, "compact", 0, 0, "compact padded swizzled",
     "how the scales lie in memory"},
    {"mxfp8", "scale_dtype", MXG_TYPE_CHOICE, false, "u8", 0, 0, "u8 e8m0", "type of the scales in files"},
    {"mxfp8", "otherwise", MXG_TYPE_OBJECT, false, NULL, 0, 0, FORMATS, "format of tensors whose shard cuts a block"},

    {"fp8", "elem", MXG_TYPE_CHOICE, true, NULL, 0, 0, "e4m3 e5m2", "element type"},
    {"fp8", "nan", MXG_TYPE_CHOICE, false, "block", 0, 0, "block element", "what a NaN or Inf makes of its tensor"},
    {"fp8", "otherwise", MXG_TYPE_OBJECT, false, NULL, 0, 0, FORMATS, "format of tensors whose shard cuts a block"},

    {"fp8_block", "elem", MXG_TYPE_CHOICE, true, NULL, 0, 0, "e4m3 e5m2", "element type"},
    {"fp8_block", "block", MXG_TYPE_BLOCK, false, "128", 0, 0, "128 128x128",
     "elements under one scale, a square: 128"},
    {"fp8_block", "scale", MXG_TYPE_CHOICE, false, "fp32", 0, 0, "fp32 " RULES,
     "fp32, or the rule of E8M0 scale bytes"},
    {"fp8_block", "nan", MXG_TYPE_CHOICE, false, "block", 0, 0, "block element",
     "what a NaN or Inf makes of its block"},
    {"fp8_block", "otherwise", MXG_TYPE_OBJECT, false, NULL, 0, 0, FORMATS,
     "format of tensors whose shard cuts a block"},

    {"bf16", NULL, MXG_TYPE_INT, false, NULL, 0, 0, NULL, "bfloat16"},
    {"fp16", NULL, MXG_TYPE_INT, false, NULL, 0, 0, NULL, "IEEE half precision"},
    {"fp32", NULL, MXG_TYPE_INT, false, NULL, 0, 0, NULL, "IEEE single precision"},

    {"rule", "", MXG_TYPE_RULE, true, NULL, 0, 0, FORMATS " whole split",
     "a format or layout, then the patterns it is for"},

    {"whole", NULL, MXG_TYPE_INT, false, NULL, 0, 0, NULL, "every rank holds the whole tensor"},
    {"split", "row", MXG_TYPE_AXES, false, NULL, 1, MXG_SPLIT_AXES, NULL,
     "axes over which rows are split, outermost first"},
    {"split", "col", MXG_TYPE_AXES, false, NULL, 1, MXG_SPLIT_AXES, NULL, "axes over which columns are split"},
    {"split", "expert", MXG_TYPE_AXES, false, NULL, 1, MXG_SPLIT_AXES, NULL, "axes over which experts are split"},
    {"split", "order", MXG_TYPE_CHOICE, false, NULL, 0, 0, "parts grouped",
     "fused rows of a shard: part by part, or by query group"},
    {"split", "pad_rows", MXG_TYPE_INT, false, NULL, 1, MOST_ROWS, NULL,
     "rows of a shard are padded to a multiple of this"},

    {"mesh", "", MXG_TYPE_PAIR, true, NULL, 1, MOST_RANKS, NULL, "{ \"axis\", size }, outermost first"},

    {"megatron", "tp", MXG_TYPE_INT, false, "1", 1, MOST_RANKS, NULL, "tensor parallel size"},
    {"megatron", "pp", MXG_TYPE_INT, false, "1", 1, MOST_RANKS, NULL, "pipeline parallel size"},
    {"megatron", "ep", MXG_TYPE_INT, false, "1", 1, MOST_RANKS, NULL, "expert parallel size"},
    {"megatron", "etp", MXG_TYPE_INT, false, NULL, 1, MOST_RANKS, NULL, "tensor parallel size of experts; default: tp"},
    {"megatron", "dp", MXG_TYPE_INT, false, NULL, 1, MOST_RANKS, NULL,
     "data parallel size; default: from world, else 1"},
    {"megatron", "world", MXG_TYPE_INT, false, NULL, 1, MOST_RANKS, NULL, "ranks in all; default: pp * dp * tp"},

    {"stages", "axis", MXG_TYPE_TEXT, true, NULL, 0, 0, NULL, "the mesh axis whose coordinate is the stage"},
    {"stages", "", MXG_TYPE_TEXTS, true, NULL, 0, 0, NULL, "patterns of stage 0, of stage 1, ..."},

    {"even_stages", "axis", MXG_TYPE_TEXT, true, NULL, 0, 0, NULL, "the mesh axis whose coordinate is the stage"},
    {"even_stages", "layers", MXG_TYPE_INT, true, NULL, 1, 1 << 16, NULL, "number of layers"},
    {"even_stages", "scope", MXG_TYPE_TEXT, true, NULL, 0, 0, NULL, "scope of a layer, with %d: \"layers.%d\""},
    {"even_stages", "stages", MXG_TYPE_INT, false, NULL, 1, 1 << 12, NULL,
     "number of stages; default: as many as counts"},
    {"even_stages", "counts", MXG_TYPE_INTS, false, NULL, 0, 1 << 16, NULL, "layers of each stage; default: even"},
    {"even_stages", "first", MXG_TYPE_TEXTS, false, NULL, 0, 0, NULL, "more patterns of the first stage"},
    {"even_stages", "last", MXG_TYPE_TEXTS, false, NULL, 0, 0, NULL, "more patterns of the last stage"},

    {"names", "scale", MXG_TYPE_TEXT, false, "_scale", 0, 0, NULL, "appended to a tensor's name for its scales"},
    {"names", "", MXG_TYPE_NAMING, true, NULL, 0, 0, NULL,
     "{ pattern, \"template\" } or { pattern, part = \"template\" }"},
    {"hf", "scale", MXG_TYPE_TEXT, false, "_scale", 0, 0, NULL, "appended to a tensor's name for its scales"},


    {NULL, NULL, MXG_TYPE_INT, false, NULL, 0, 0, NULL, NULL}};
/* clang-format on */

const mxg_schema_key *mxg_schema_find(const char *entity, const char *key) {
  for (const mxg_schema_key *row = mxg_schema; row->entity; row++)
    if (row->key && strcmp(row->entity, entity) == 0 && strcmp(row->key, key) == 0) return row;
  return NULL;
}

static bool word_among(const char *words, const char *word) {
  size_t bytes = strlen(word);
  for (const char *p = words; bytes && (p = strstr(p, word)) != NULL; p++)
    if ((p == words || p[-1] == ' ') && (p[bytes] == ' ' || p[bytes] == 0)) return true;
  return false;
}

/* "floor rceil even" -> "floor, rceil or even"; each with `before` in front. */
static const char *listed(const char *words, const char *before, char *room, size_t bytes) {
  size_t used = 0;
  room[0] = 0;
  for (const char *p = words; *p && used < bytes;) {
    size_t n = strcspn(p, " ");
    const char *rest = p + n + (p[n] == ' ');
    const char *join = p == words ? "" : *rest ? ", " : " or ";
    used += (size_t)snprintf(room + used, bytes - used, "%s%s%.*s", join, before, (int)n, p);
    p = rest;
  }
  return room;
}

bool mxg_size_read(const char *text, uint64_t *bytes) {
  static const struct {
    const char *unit;
    uint64_t factor;
  } units[] = {{"", 1},
               {"B", 1},
               {"KiB", UINT64_C(1) << 10},
               {"MiB", UINT64_C(1) << 20},
               {"GiB", UINT64_C(1) << 30},
               {"TiB", UINT64_C(1) << 40},
               {"KB", 1000},
               {"MB", 1000000},
               {"GB", 1000000000},
               {"TB", UINT64_C(1000000000000)}};
  uint64_t value = 0;
  const char *p = text;
  for (; *p >= '0' && *p <= '9'; p++)
    if (!mxg_mul(&value, value, 10) || !mxg_add(&value, value, (uint64_t)(*p - '0'))) return false;
  if (p == text) return false;
  while (*p == ' ') p++;
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if (strcmp(units[i].unit, p) == 0) return mxg_mul(bytes, value, units[i].factor);
  return false;
}

void mxg_schema_block(const mxg_value *value, uint32_t *rows, uint32_t *cols) {
  *rows = *cols = 0;
  if (value->kind == MXG_VALUE_INT) {
    *cols = value->as.integer > 0 && value->as.integer < 65536 ? (uint32_t)value->as.integer : 0;
  } else if (value->kind == MXG_VALUE_TABLE && value->item_count == 2 && value->field_count == 2) {
    const mxg_value *r = value->fields[0].value, *c = value->fields[1].value;
    bool fine = r->kind == MXG_VALUE_INT && c->kind == MXG_VALUE_INT && r->as.integer > 0 && c->as.integer > 0 &&
                r->as.integer < 65536 && c->as.integer < 65536;
    if (fine) *rows = (uint32_t)r->as.integer, *cols = (uint32_t)c->as.integer;
  }
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

typedef struct place {
  const mxg_schema_key *row;
  const mxg_origin *use; /* where an object is used; its own origin is where it was made */
  char name[96];         /* "mxfp8.block", "mesh item 2" */
} place;

static mxg_status wrong_type(const place *at, const mxg_value *value, const char *wanted, mxg_error *err) {
  mxg_fail_at(err, value->type ? at->use : &value->origin, 203, "%s: expected %s, got %s", at->name, wanted,
              mxg_value_kind_name(value));
  if (at->row->help) mxg_error_help(err, "%s: %s", at->name, at->row->help);
  return MXG_ERR_INPUT;
}

static mxg_status check_int(const place *at, const mxg_value *value, mxg_error *err) {
  const mxg_schema_key *row = at->row;
  if (value->kind == MXG_VALUE_REAL && value->as.real != value->as.real) /* its sign differs between machines */
    return mxg_fail_at(err, &value->origin, 203, "%s: expected an integer, got not-a-number", at->name);
  if (value->kind == MXG_VALUE_REAL)
    return mxg_fail_at(err, &value->origin, 203, "%s: expected an integer, got %.15g", at->name, value->as.real);
  if (value->kind != MXG_VALUE_INT) return wrong_type(at, value, "an integer", err);
  if (value->as.integer >= row->least && value->as.integer <= row->most) return MXG_OK;
  if (row->least == row->most) { /* the version */
    bool newer = value->as.integer > row->most;
    mxg_fail_at(err, &value->origin, 204, "%s: %lld is not %lld", at->name, (long long)value->as.integer,
                (long long)row->least);
    mxg_error_help(err,
                   newer ? "the recipe is too new for mxgen %s: use a newer mxgen"
                         : "no recipe is that old; mxgen %s reads version 1",
                   mxg_version());
    return MXG_ERR_INPUT;
  }
  return mxg_fail_at(err, &value->origin, 204, "%s: %lld is not from %lld to %lld", at->name,
                     (long long)value->as.integer, (long long)row->least, (long long)row->most);
}

static mxg_status check_choice(const place *at, const mxg_value *value, mxg_error *err) {
  char room[200], near[100];
  listed(at->row->words, "", room, sizeof room);
  if (value->kind != MXG_VALUE_TEXT) return wrong_type(at, value, room, err);
  if (word_among(at->row->words, value->as.text) && !strchr(value->as.text, ' ')) return MXG_OK;
  char words[8][24];
  mxg_suggest suggest = mxg_suggest_begin(value->as.text);
  const char *p = at->row->words;
  for (int i = 0; *p && i < 8; i++) {
    size_t n = strcspn(p, " ");
    snprintf(words[i], sizeof words[i], "%.*s", (int)n, p);
    mxg_suggest_offer(&suggest, words[i]);
    p += n + (p[n] == ' ');
  }
  return mxg_fail_at(err, &value->origin, 204, "%s: '%.60s' is not %s%s", at->name, value->as.text, room,
                     mxg_suggest_text(&suggest, near, sizeof near));
}

static mxg_status check_size(const place *at, const mxg_value *value, mxg_error *err) {
  uint64_t bytes = 0;
  if (value->kind == MXG_VALUE_INT && value->as.integer >= 0) {
    bytes = (uint64_t)value->as.integer;
  } else if (value->kind != MXG_VALUE_TEXT) {
    return wrong_type(at, value, "a size such as \"512MiB\" or a number of bytes", err);
  } else if (!mxg_size_read(value->as.text, &bytes)) {
    mxg_fail_at(err, &value->origin, 204, "%s: '%.60s' is not a size", at->name, value->as.text);
    mxg_error_help(err, "write a number of bytes, or one with a unit: \"512MiB\", \"2GiB\"");
    return MXG_ERR_INPUT;
  }
  if (bytes >= (uint64_t)at->row->least && bytes <= (uint64_t)at->row->most) return MXG_OK;
  return mxg_fail_at(err, &value->origin, 204, "%s: %llu bytes are not from %lld to %lld", at->name,
                     (unsigned long long)bytes, (long long)at->row->least, (long long)at->row->most);
}

static mxg_status check_block(const place *at, const mxg_value *value, mxg_error *err) {
  uint32_t rows, cols;
  char word[32], room[100];
  mxg_schema_block(value, &rows, &cols);
  if (rows)
    snprintf(word, sizeof word, "%ux%u", rows, cols);
  else
    snprintf(word, sizeof word, "%u", cols);
  if (cols && word_among(at->row->words, word)) return MXG_OK;
  listed(at->row->words, "", room, sizeof room);
  bool number = value->kind == MXG_VALUE_INT;
  mxg_fail_at(err, &value->origin, 204, "%s: %.*s%s is not %s", at->name, number ? 20 : 30, cols ? word : "this",
              cols ? "" : " value", room);
  mxg_error_help(err, "%s: %s", at->name, at->row->help);
  return MXG_ERR_INPUT;
}

static mxg_status check_list(const place *at, const mxg_value *value, mxg_value_kind kind, const char *wanted,
                             mxg_error *err) {
  if (value->kind != MXG_VALUE_TABLE || value->type) return wrong_type(at, value, wanted, err);
  if (value->field_count > value->item_count) {
    const mxg_field *field = &value->fields[value->item_count];
    return mxg_fail_at(err, &field->origin, 201, "%s: unknown key '%.60s' in a list", at->name, field->key);
  }
  for (uint32_t i = 0; i < value->item_count; i++) {
    const mxg_value *item = value->fields[i].value;
    if (item->kind != kind) return wrong_type(at, item, wanted, err);
    if (kind == MXG_VALUE_INT) MXG_TRY(check_int(at, item, err));
  }
  return MXG_OK;
}

static mxg_status check_axes(const place *at, const mxg_value *value, mxg_error *err) {
  if (value->kind == MXG_VALUE_TEXT) return MXG_OK;
  MXG_TRY(check_list(at, value, MXG_VALUE_TEXT, "an axis name or a list of them", err));
  if (value->item_count >= 1 && value->item_count <= MXG_SPLIT_AXES) return MXG_OK;
  return mxg_fail_at(err, &value->origin, 204, "%s: %u axes are not from 1 to %d", at->name, value->item_count,
                     (int)MXG_SPLIT_AXES);
}

static mxg_status check_pair(const place *at, const mxg_value *value, mxg_error *err) {
  bool pair = value->kind == MXG_VALUE_TABLE && !value->type && value->item_count == 2 && value->field_count == 2 &&
              value->fields[0].value->kind == MXG_VALUE_TEXT;
  if (!pair) return wrong_type(at, value, "a pair such as { \"tp\", 8 }", err);
  return check_int(at, value->fields[1].value, err);
}

static mxg_status check_object(const place *at, const mxg_value *value, mxg_error *err) {
  char room[160];
  if (value->type && word_among(at->row->words, value->type)) return MXG_OK;
  return wrong_type(at, value, listed(at->row->words, "mx.", room, sizeof room), err);
}

static mxg_status check_objects(const place *at, const mxg_value *value, mxg_error *err) {
  if (value->type && at->row->least) return check_object(at, value, err);
  char room[160], wanted[200];
  snprintf(wanted, sizeof wanted, "a list of %s", listed(at->row->words, "mx.", room, sizeof room));
  if (value->kind != MXG_VALUE_TABLE || value->type) return wrong_type(at, value, wanted, err);
  if (value->field_count > value->item_count) {
    const mxg_field *field = &value->fields[value->item_count];
    return mxg_fail_at(err, &field->origin, 201, "%s: unknown key '%.60s' in a list", at->name, field->key);
  }
  if (value->item_count == 0) return mxg_fail_at(err, &value->origin, 204, "%s: the list is empty", at->name);
  if (at->row->most && value->item_count > (uint64_t)at->row->most)
    return mxg_fail_at(err, &value->origin, 204, "%s: more than %lld entries", at->name, (long long)at->row->most);
  for (uint32_t i = 0; i < value->item_count; i++) {
    place item = *at;
    item.use = &value->fields[i].origin;
    MXG_TRY(check_object(&item, value->fields[i].value, err));
  }
  return MXG_OK;
}

static mxg_status check_naming(const place *at, const mxg_value *value, mxg_error *err) {
  const char *wanted = "{ pattern, \"template\" } or { pattern, part = \"template\" }";
  if (value->kind != MXG_VALUE_TABLE || value->type || value->item_count < 1) return wrong_type(at, value, wanted, err);
  bool keyed = value->field_count > value->item_count;
  if (value->item_count != (keyed ? 1u : 2u)) return wrong_type(at, value, wanted, err);
  for (uint32_t i = 0; i < value->field_count; i++)
    if (value->fields[i].value->kind != MXG_VALUE_TEXT) return wrong_type(at, value->fields[i].value, "a text", err);
  return MXG_OK;
}

static mxg_status check_rule_part(const place *at, const mxg_value *value, uint32_t item, mxg_error *err) {
  if (item == 0) return check_object(at, value, err);
  return value->kind == MXG_VALUE_TEXT ? MXG_OK : wrong_type(at, value, "a pattern", err);
}

static mxg_status check_value(const mxg_schema_key *row, const mxg_field *field, uint32_t item, mxg_error *err) {
  const mxg_value *value = field->value;
  place at = {.row = row, .use = &field->origin};
  if (*row->key)
    snprintf(at.name, sizeof at.name, "%s.%s", row->entity, row->key);
  else
    snprintf(at.name, sizeof at.name, "%s item %u", row->entity, item + 1);
  switch (row->type) {
  case MXG_TYPE_INT: return check_int(&at, value, err);
  case MXG_TYPE_TEXT: return value->kind == MXG_VALUE_TEXT ? MXG_OK : wrong_type(&at, value, "a text", err);
  case MXG_TYPE_CHOICE: return check_choice(&at, value, err);
  case MXG_TYPE_SIZE: return check_size(&at, value, err);
  case MXG_TYPE_BLOCK: return check_block(&at, value, err);
  case MXG_TYPE_AXES: return check_axes(&at, value, err);
  case MXG_TYPE_PAIR: return check_pair(&at, value, err);
  case MXG_TYPE_TEXTS: return check_list(&at, value, MXG_VALUE_TEXT, "a list of patterns", err);
  case MXG_TYPE_INTS: return check_list(&at, value, MXG_VALUE_INT, "a list of integers", err);
  case MXG_TYPE_OBJECT: return check_object(&at, value, err);
  case MXG_TYPE_OBJECTS: return check_objects(&at, value, err);
  case MXG_TYPE_ENTITY: return mxg_schema_check(value, row->words, err);
  case MXG_TYPE_NAMING: return check_naming(&at, value, err);
  case MXG_TYPE_RULE: return check_rule_part(&at, value, item, err);
  }
  return MXG_OK;
}

static mxg_status unknown_key(const mxg_field *field, const char *entity, mxg_error *err) {
  char near[100], known[300] = "";
  size_t used = 0;
  mxg_suggest suggest = mxg_suggest_begin(field->key);
  for (const mxg_schema_key *row = mxg_schema; row->entity; row++) {
    if (strcmp(row->entity, entity) != 0 || !row->key || !*row->key) continue;
    mxg_suggest_offer(&suggest, row->key);
    if (used < sizeof known)
      used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", row->key);
  }
  mxg_fail_at(err, &field->origin, 201, "%s: unknown key '%.60s'%s", entity, field->key,
              mxg_suggest_text(&suggest, near, sizeof near));
  const mxg_schema_key *items = mxg_schema_find(entity, "");
  if (known[0])
    mxg_error_help(err, "%s has the keys %s", entity, known);
  else if (items)
    mxg_error_help(err, "%s is a list: %s", entity, items->help);
  else
    mxg_error_help(err, "%s takes no keys", entity);
  return MXG_ERR_INPUT;
}

mxg_status mxg_schema_check(const mxg_value *value, const char *entity, mxg_error *err) {
  if (value->kind != MXG_VALUE_TABLE || (value->type && strcmp(value->type, entity) != 0))
    return mxg_fail_at(err, &value->origin, 203, "%s: expected a table, got %s", entity, mxg_value_kind_name(value));
  const mxg_schema_key *items = mxg_schema_find(entity, "");
  for (uint32_t i = 0; i < value->field_count; i++) { /* keys of another version are no mistakes: say that first */
    const char *key = value->fields[i].key;
    if (key && strcmp(entity, "recipe") == 0 && strcmp(key, "version") == 0)
      MXG_TRY(check_value(mxg_schema_find(entity, key), &value->fields[i], i, err));
  }
  for (uint32_t i = 0; i < value->field_count; i++) {
    const mxg_field *field = &value->fields[i];
    const mxg_schema_key *row = field->key ? mxg_schema_find(entity, field->key) : items;
    if (!row && !field->key) return mxg_fail_at(err, &field->origin, 201, "%s: takes no list items, only keys", entity);
    if (!row || (field->key && !*field->key)) return unknown_key(field, entity, err);
    MXG_TRY(check_value(row, field, i, err));
  }
  if (items && items->required && value->item_count == 0)
    return mxg_fail_at(err, &value->origin, 202, "%s: the list is empty", entity);
  for (const mxg_schema_key *row = mxg_schema; row->entity; row++) {
    if (strcmp(row->entity, entity) != 0 || !row->required || !row->key || !*row->key) continue;
    if (mxg_value_find(value, row->key)) continue;
    char room[200];
    mxg_fail_at(err, &value->origin, 202, "%s: missing key '%s'", entity, row->key);
    if (row->type == MXG_TYPE_CHOICE)
      mxg_error_help(err, "%s is required: %s (%s)", row->key, listed(row->words, "", room, sizeof room), row->help);
    else
      mxg_error_help(err, "%s is required: %s", row->key, row->help);
    return MXG_ERR_INPUT;
  }
  return MXG_OK;
}

/* ---- values with their defaults ---------------------------------------------------------------------------------- */

int64_t mxg_schema_int(const mxg_value *table, const char *entity, const char *key) {
  const mxg_value *value = table ? mxg_value_get(table, key) : NULL;
  if (value) return value->as.integer;
  uint64_t standard = 0;
  mxg_size_read(mxg_schema_find(entity, key)->standard, &standard);
  return (int64_t)standard;
}

const char *mxg_schema_text(const mxg_value *table, const char *entity, const char *key) {
  const mxg_value *value = table ? mxg_value_get(table, key) : NULL;
  return value ? value->as.text : mxg_schema_find(entity, key)->standard;
}

uint64_t mxg_schema_size(const mxg_value *table, const char *entity, const char *key) {
  const mxg_value *value = table ? mxg_value_get(table, key) : NULL;
  uint64_t bytes = 0;
  if (value && value->kind == MXG_VALUE_INT)
    bytes = (uint64_t)value->as.integer;
  else
    mxg_size_read(value ? value->as.text : mxg_schema_find(entity, key)->standard, &bytes);
  return bytes;
}
