/* rules.c -- lists of patterns against the model's tensors: first match wins, every tensor matches, every pattern is
** needed. The same for formats, layouts, stages and names. */
#include "globs.h"
#include "model_build.h"

#include <string.h>

mxg_status mxg_pattern_list_begin(mxg_pattern_list *list, uint32_t room, mxg_builder *build) {
  list->count = 0;
  list->patterns = mxg_arena_alloc(build->arena, room, sizeof *list->patterns);
  return list->patterns ? MXG_OK : mxg_fail_nomem(build->err);
}

mxg_status mxg_pattern_list_add(mxg_pattern_list *list, const mxg_value *text, const mxg_origin *origin, uint32_t rule,
                                mxg_builder *build) {
  mxg_pattern *pattern = &list->patterns[list->count++];
  *pattern = (mxg_pattern){text->as.text, *origin, rule, NULL};
  mxg_status status = mxg_glob_build(&pattern->glob, pattern->text, build->arena, build->err);
  if (status == MXG_ERR_INPUT) mxg_error_place(build->err, origin->file, origin->line, origin->column, origin->span);
  return status;
}

static bool matches(const mxg_pattern *pattern, const char *name) {
  return mxg_glob_match(pattern->glob, name, strlen(name), NULL);
}

/* A pattern that took nothing: is there really no such tensor, or did earlier rules take them all? */
static mxg_status unused_pattern(const mxg_pattern_list *list, const mxg_pattern *pattern, mxg_builder *build) {
  const mxg_model *model = build->model;
  uint32_t taken = 0, first = 0, by = 0;
  for (uint32_t t = 0; t < model->tensor_count; t++) {
    if (!matches(pattern, model->tensors[t].name)) continue;
    if (taken++) continue;
    first = t;
    while (!matches(&list->patterns[by], model->tensors[t].name)) by++;
  }
  mxg_fail_at(build->err, &pattern->origin, 206, "%s %u: pattern '%.150s' matches no tensor%s", list->what,
              pattern->rule + 1, pattern->text, taken ? " left by the rules above it" : "");
  if (taken)
    mxg_error_note(build->err, "%u tensor%s taken above; the first is %s, by '%.100s' at %s:%d", taken,
                   taken == 1 ? " matches and is" : "s match and are", model->tensors[first].name,
                   list->patterns[by].text, list->patterns[by].origin.file, list->patterns[by].origin.line);
  else
    mxg_error_note(build->err, "the model has %u tensors; the first is %s, the last %s", model->tensor_count,
                   model->tensors[0].name, model->tensors[model->tensor_count - 1].name);
  mxg_error_help(build->err, taken ? "remove the pattern, or move its rule up"
                                   : "`*` stays inside one dotted segment, `**` crosses segments");
  return MXG_ERR_INPUT;
}

static mxg_status unmatched_tensor(const mxg_pattern_list *list, const uint32_t *winners, const bool *held,
                                   mxg_builder *build) {
  const mxg_model *model = build->model;
  uint32_t count = 0, first = 0;
  for (uint32_t t = model->tensor_count; t-- > 0;)
    if (winners[t] == MXG_NONE && (!held || held[t])) count++, first = t;
  const mxg_origin *declared = &model->tensors[first].origin;
  mxg_fail_at(build->err, list->origin, 207, "tensor '%s' %s", model->tensors[first].name, list->missing);
  mxg_error_note(build->err, "%u of %u tensors match none; the first is declared at %s:%d:%d", count,
                 model->tensor_count, declared->file, declared->line, declared->column);
  return MXG_ERR_INPUT;
}

mxg_status mxg_pattern_list_match(uint32_t *winners, const mxg_pattern_list *list, const bool *held,
                                  mxg_builder *build) {
  const mxg_model *model = build->model;
  bool *used = mxg_arena_alloc(build->arena, list->count, sizeof *used);
  if (!used) return mxg_fail_nomem(build->err);
  bool complete = true;
  for (uint32_t t = 0; t < model->tensor_count; t++) {
    uint32_t won = MXG_NONE;
    for (uint32_t p = 0; p < list->count; p++) {
      const mxg_pattern *pattern = &list->patterns[p];
      if (won != MXG_NONE && pattern->rule != list->patterns[won].rule) break;
      if (won != MXG_NONE && used[p]) continue; /* of the winning rule, and known to be needed */
      if (!matches(pattern, model->tensors[t].name)) continue;
      used[p] = true;
      if (won == MXG_NONE) won = p;
    }
    winners[t] = won;
    if (won == MXG_NONE && (!held || held[t])) complete = false;
  }
  for (uint32_t p = 0; p < list->count && !list->lenient; p++)
    if (!used[p]) return unused_pattern(list, &list->patterns[p], build);
  return complete ? MXG_OK : unmatched_tensor(list, winners, held, build);
}
