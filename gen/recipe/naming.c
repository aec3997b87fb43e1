/* naming.c -- how a side names its arrays: templates for each tensor, checked to be safe and, over a whole side,
 * unique. */
#include "globs.h"
#include "model_build.h"
#include "schema.h"
#include "suggest.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum { longest_array_name = 256 };

/* ---- one name ---------------------------------------------------------------------------------------------------- */

/* Writes template with its {e} into room; returns the bytes it needs, without the end. */
static size_t expand(char *room, size_t bytes, const char *template, bool experts_apart, uint64_t expert) {
  size_t used = 0;
  char digits[24];
  int count = experts_apart ? snprintf(digits, sizeof digits, "%llu", (unsigned long long)expert) : 0;
  for (const char *p = template; *p;) {
    if (experts_apart && p[0] == '{' && p[1] == 'e' && p[2] == '}') {
      for (int i = 0; i < count; i++, used++)
        if (used < bytes) room[used] = digits[i];
      p += 3;
    } else {
      if (used < bytes) room[used] = *p;
      used++, p++;
    }
  }
  if (bytes) room[used < bytes ? used : bytes - 1] = 0;
  return used;
}

const char *mxg_naming_name(const mxg_naming *naming, uint32_t part, uint64_t expert, mxg_arena *arena) {
  char room[2 * longest_array_name];
  const char *template = naming->templates[naming->parts_apart ? part : 0];
  size_t bytes = expand(room, sizeof room, template, naming->experts_apart, expert);
  return mxg_arena_text(arena, room, bytes < sizeof room ? bytes : sizeof room - 1);
}

/* ---- templates --------------------------------------------------------------------------------------------------- */

static bool is_utf8(const char *text) {
  for (const unsigned char *p = (const unsigned char *)text; *p;) {
    unsigned more = *p < 0x80                 ? 0
                    : *p >= 0xc2 && *p < 0xe0 ? 1
                    : *p >= 0xe0 && *p < 0xf0 ? 2
                    : *p >= 0xf0 && *p < 0xf5 ? 3
                                              : 9;
    if (more == 9) return false;
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) ||
        (*p == 0xf4 && p[1] > 0x8f))
      return false;
    for (p++; more; more--, p++)
      if ((*p & 0xc0) != 0x80) return false;
  }
  return true;
}

/* Why a name must not be written, or NULL. */
static const char *unsafe_name(const char *name) {
  if (!*name) return "is empty";
  if (strlen(name) > longest_array_name) return "is longer than 256 bytes";
  for (const char *p = name; *p; p++)
    if ((unsigned char)*p < 0x20 || *p == 0x7f) return "has a control character";
  if (*name == '/' || *name == '\\') return "is an absolute path";
  for (const char *p = name; *p; p += strcspn(p, "/\\"), p += *p != 0) {
    if (strcspn(p, "/\\") == 2 && p[0] == '.' && p[1] == '.') return "leaves its folder with '..'";
  }
  return is_utf8(name) ? NULL : "is not UTF-8";
}

/* The first reference of the template that is neither {e} nor a capture of a pattern with `stars`; NULL: all are fine.
 */
static const char *wrong_reference(const char *template, uint32_t stars, bool *has_expert) {
  *has_expert = false;
  for (const char *p = template; *p; p++) {
    if (*p == '}') return p;
    if (*p != '{') continue;
    if (p[1] == 0 || p[2] != '}') return p;
    if (p[1] == 'e')
      *has_expert = true;
    else if (p[1] < '1' || p[1] > '9' || (uint32_t)(p[1] - '0') > stars)
      return p;
    p += 2;
  }
  return NULL;
}

/* Puts captures in; {e} stays. */
static mxg_status fill_captures(const char **out, const char *template, const char *name, const mxg_capture *captures,
                                mxg_builder *build) {
  size_t bytes = 0;
  for (const char *p = template; *p; p++) bytes += p[0] == '{' && p[1] != 'e' ? captures[p[1] - '1'].bytes : 1;
  char *text = mxg_arena_alloc(build->arena, bytes + 1, 1), *at = text;
  if (!text) return mxg_fail_nomem(build->err);
  for (const char *p = template; *p; p++) {
    if (p[0] == '{' && p[1] != 'e') {
      const mxg_capture *capture = &captures[p[1] - '1'];
      memcpy(at, name + capture->start, capture->bytes);
      at += capture->bytes;
      p += 2;
    } else {
      *at++ = *p;
    }
  }
  *out = text;
  return MXG_OK;
}

static mxg_status take_template(const char **out, bool *has_expert, const mxg_value *value, const mxg_pattern *pattern,
                                const mxg_tensor *tensor, const char *suffix, mxg_builder *build) {
  mxg_capture captures[MXG_GLOB_CAPTURES];
  const char *template = value->as.text;
  const char *wrong = wrong_reference(template, mxg_glob_stars(pattern->glob), has_expert);
  if (wrong) {
    mxg_fail_at(build->err, &value->origin, 216, "names: '%.*s' in the template names nothing",
                (int)(wrong[0] == '{' ? strcspn(wrong, "}") + 1 : 1), wrong);
    mxg_error_help(build->err,
                   "{e} is the expert; the pattern '%.100s' has %u star%s: {1} is what the first one matched",
                   pattern->text, mxg_glob_stars(pattern->glob), mxg_glob_stars(pattern->glob) == 1 ? "" : "s");
    return MXG_ERR_INPUT;
  }
  if (*has_expert && tensor->ndim != 3) {
    mxg_fail_at(build->err, &value->origin, 216, "names: {e} for '%s', which has no experts", tensor->name);
    return MXG_ERR_INPUT;
  }
  mxg_glob_match(pattern->glob, tensor->name, strlen(tensor->name), captures);
  MXG_TRY(fill_captures(out, template, tensor->name, captures, build));
  char longest[2 * longest_array_name];
  size_t bytes = expand(longest, sizeof longest, *out, *has_expert, tensor->experts - 1);
  const char *why = unsafe_name(longest);
  if (bytes >= sizeof longest || bytes + strlen(suffix) > longest_array_name) why = "is longer than 256 bytes";
  if (!why) return MXG_OK;
  char shown[80];
  snprintf(shown, sizeof shown, "%.79s", longest);
  for (char *c = shown; *c; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
  mxg_fail_at(build->err, &value->origin, 217, "names: the name '%s' %s", shown, why);
  mxg_error_note(build->err, "it is made for tensor %s", tensor->name);
  return MXG_ERR_INPUT;
}

static uint32_t find_part(const mxg_tensor *tensor, const char *name) {
  for (uint32_t i = 0; i < tensor->part_count; i++)
    if (strcmp(tensor->parts[i].name, name) == 0) return i;
  return MXG_NONE;
}

static mxg_status name_parts(mxg_naming *naming, const mxg_value *entry, const mxg_pattern *pattern,
                             const mxg_tensor *tensor, const char *suffix, mxg_builder *build) {
  naming->parts_apart = true;
  for (uint32_t i = entry->item_count; i < entry->field_count; i++) {
    const mxg_field *field = &entry->fields[i];
    char near[100];
    uint32_t part = find_part(tensor, field->key);
    bool has_expert;
    if (part == MXG_NONE) {
      mxg_suggest suggest = mxg_suggest_begin(field->key);
      for (uint32_t p = 0; p < tensor->part_count; p++) mxg_suggest_offer(&suggest, tensor->parts[p].name);
      mxg_fail_at(build->err, &field->origin, 216, "names: tensor '%s' has no part '%.60s'%s", tensor->name, field->key,
                  mxg_suggest_text(&suggest, near, sizeof near));
      mxg_error_note(build->err, "the pattern '%.100s' takes this tensor first", pattern->text);
      return MXG_ERR_INPUT;
    }
    MXG_TRY(take_template(&naming->templates[part], &has_expert, field->value, pattern, tensor, suffix, build));
    if (i > entry->item_count && has_expert != naming->experts_apart)
      return mxg_fail_at(build->err, &field->origin, 216, "names: {e} is in some of the templates of '%s' only",
                         tensor->name);
    naming->experts_apart = has_expert;
  }
  for (uint32_t p = 0; p < tensor->part_count; p++) {
    if (naming->templates[p]) continue;
    return mxg_fail_at(build->err, &entry->origin, 216, "names: part '%s' of '%s' has no name", tensor->parts[p].name,
                       tensor->name);
  }
  return MXG_OK;
}

static mxg_status name_tensors(mxg_naming *namings, const mxg_value *names, const char *suffix, const bool *held,
                               mxg_builder *build) {
  const mxg_model *model = build->model;
  mxg_pattern_list list = {"names entry", "has no name: no entry of names matches it", &names->origin, NULL, 0,
                           names->lenient};
  uint32_t *winners = mxg_arena_alloc(build->arena, model->tensor_count, sizeof *winners);
  if (!winners) return mxg_fail_nomem(build->err);
  MXG_TRY(mxg_pattern_list_begin(&list, names->item_count, build));
  for (uint32_t i = 0; i < names->item_count; i++) {
    const mxg_value *entry = names->fields[i].value;
    MXG_TRY(mxg_pattern_list_add(&list, entry->fields[0].value, &entry->fields[0].origin, i, build));
  }
  MXG_TRY(mxg_pattern_list_match(winners, &list, held, build));
  for (uint32_t t = 0; t < model->tensor_count; t++) {
    if (!held[t]) continue;
    const mxg_tensor *tensor = &model->tensors[t];
    const mxg_pattern *pattern = &list.patterns[winners[t]];
    const mxg_value *entry = names->fields[pattern->rule].value;
    namings[t].templates = mxg_arena_alloc(build->arena, tensor->part_count, sizeof *namings[t].templates);
    if (!namings[t].templates) return mxg_fail_nomem(build->err);
    if (entry->item_count == 2)
      MXG_TRY(take_template(&namings[t].templates[0], &namings[t].experts_apart, entry->fields[1].value, pattern,
                            tensor, suffix, build));
    else
      MXG_TRY(name_parts(&namings[t], entry, pattern, tensor, suffix, build));
  }
  return MXG_OK;
}

mxg_status mxg_naming_build(mxg_side_model *side, const mxg_value *names, const bool *held, mxg_builder *build) {
  const mxg_model *model = build->model;
  mxg_naming *namings = mxg_arena_alloc(build->arena, model->tensor_count, sizeof *namings);
  if (!namings) return mxg_fail_nomem(build->err);
  side->namings = namings;
  side->scale_suffix = mxg_schema_text(names, "names", "scale");
  if (names) {
    const mxg_value *scale = mxg_value_get(names, "scale");
    const char *why =
        strpbrk(side->scale_suffix, "/\\{}") ? "has a '/', '\\', '{' or '}'" : unsafe_name(side->scale_suffix);
    if (scale && why) return mxg_fail_at(build->err, &scale->origin, 217, "names.scale: the suffix %s", why);
    MXG_TRY(name_tensors(namings, names, side->scale_suffix, held, build));
  }
  for (uint32_t t = 0; t < model->tensor_count; t++) { /* a tensor that is not held keeps its own name, unused */
    if (namings[t].templates) continue;
    namings[t].templates = mxg_arena_alloc(build->arena, 1, sizeof *namings[t].templates);
    if (!namings[t].templates) return mxg_fail_nomem(build->err);
    namings[t].templates[0] = model->tensors[t].name;
  }
  return MXG_OK;
}

/* ---- uniqueness -------------------------------------------------------------------------------------------------- */

typedef struct taken {
  uint64_t hash;
  uint32_t tensor; /* index + 1; 0: free */
  uint32_t part;
  uint32_t plane, scale;
  uint64_t expert;
} taken;

/* The name, cut to fit; returns the bytes that it really has. */
static size_t array_name(char *room, size_t bytes, const mxg_side_model *side, const taken *name) {
  const mxg_naming *naming = &side->namings[name->tensor - 1];
  size_t used = expand(room, bytes, naming->templates[name->part], naming->experts_apart, name->expert);
  const char *ends[2] = {name->plane ? MXG_SECOND_PLANE_SUFFIX : "", name->scale ? side->scale_suffix : ""};
  for (int i = 0; i < 2; i++) {
    size_t more = strlen(ends[i]);
    if (used < bytes) snprintf(room + used, bytes - used, "%s", ends[i]);
    used += more;
  }
  return used;
}

static mxg_status same_name(const taken *first, const taken *second, const char *name, mxg_side which,
                            const mxg_value *names, mxg_builder *build) {
  const mxg_tensor *a = &build->model->tensors[first->tensor - 1], *b = &build->model->tensors[second->tensor - 1];
  const mxg_origin *origin = names ? &names->origin : &b->origin;
  mxg_fail_at(build->err, origin, 218, "two %s arrays are named '%.200s'", which == MXG_SOURCE ? "source" : "target",
              name);
  mxg_error_note(build->err, "one is %s%s, the other %s%s", first->scale ? "the scales of " : "", a->name,
                 second->scale ? "the scales of " : "", b->name);
  return MXG_ERR_INPUT;
}

static mxg_status insert_name(taken *table, uint64_t mask, taken name, const mxg_side_model *side, mxg_side which,
                              const mxg_value *names, mxg_builder *build) {
  char room[longest_array_name + 1], other[longest_array_name + 1];
  size_t bytes = array_name(room, sizeof room, side, &name);
  if (bytes > longest_array_name)
    return mxg_fail_at(build->err, names ? &names->origin : &build->model->tensors[name.tensor - 1].origin, 217,
                       "the name '%.100s...' is longer than %d bytes", room, (int)longest_array_name);
  name.hash = XXH3_64bits(room, bytes);
  uint64_t i = name.hash & mask;
  for (; table[i].tensor; i = (i + 1) & mask) {
    if (table[i].hash != name.hash) continue;
    array_name(other, sizeof other, side, &table[i]);
    if (strcmp(other, room) == 0) return same_name(&table[i], &name, room, which, names, build);
  }
  table[i] = name;
  return MXG_OK;
}

mxg_status mxg_naming_check(const mxg_side_model *side, mxg_side which, const mxg_value *names, mxg_builder *build) {
  const mxg_model *model = build->model;
  uint64_t count = 0, room = 64;
  for (uint32_t t = 0; t < model->tensor_count; t++) {
    uint64_t parts = side->namings[t].parts_apart ? model->tensors[t].part_count : 1;
    count += 4 * parts * (side->namings[t].experts_apart ? model->tensors[t].experts : 1);
    if (count > 1u << 25)
      return mxg_fail_at(build->err, &side->origin, 218, "the %s side has more than 8 million arrays",
                         which == MXG_SOURCE ? "source" : "target");
  }
  while (room < 2 * count) room *= 2;
  taken *table = mxg_alloc((size_t)room * sizeof *table);
  if (!table) return mxg_fail_nomem(build->err);
  mxg_status status = MXG_OK;
  for (uint32_t t = 0; t < model->tensor_count && status == MXG_OK; t++) {
    if (!side->placements[t].held) continue;
    const mxg_naming *naming = &side->namings[t];
    uint32_t parts = naming->parts_apart ? model->tensors[t].part_count : 1;
    uint64_t experts = naming->experts_apart ? model->tensors[t].experts : 1;
    const mxg_format *format = side->placements[t].format;
    uint32_t kinds = format->plane[0].scale == MX_SCALE_NONE ? 1 : 2;
    for (uint32_t p = 0; p < parts && status == MXG_OK; p++)
      for (uint64_t e = 0; e < experts && status == MXG_OK; e++)
        for (uint32_t k = 0; k < format->planes * kinds && status == MXG_OK; k++)
          status =
              insert_name(table, room - 1, (taken){0, t + 1, p, k / kinds, k % kinds, e}, side, which, names, build);
  }
  mxg_free(table);
  return status;
}
