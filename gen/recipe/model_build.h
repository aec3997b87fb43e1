/* model_build.h -- between the files that build a model: model.c (sides, meshes, checks), rules.c (patterns to
** tensors), format_rule.c (formats and layouts as the plan knows them), naming.c (names of arrays). */
#ifndef MXG_MODEL_BUILD_H
#define MXG_MODEL_BUILD_H

#include "recipe.h"

typedef struct mxg_builder {
  const mxg_value *recipe;
  mxg_model *model;
  mxg_arena *arena;
  mxg_error *err;
} mxg_builder;

/* One pattern of a list of rules; patterns of one rule are neighbours. */
typedef struct mxg_pattern {
  const char *text;
  mxg_origin origin;
  uint32_t rule;
  struct mxg_glob *glob;
} mxg_pattern;

/* `what`: "format rule", "stage"; for messages. `lenient`: patterns may match nothing. */
typedef struct mxg_pattern_list {
  const char *what, *missing; /* "format rule", "matches no format rule" */
  const mxg_origin *origin;   /* of the whole list */
  mxg_pattern *patterns;
  uint32_t count;
  bool lenient;
} mxg_pattern_list;

mxg_status mxg_pattern_list_begin(mxg_pattern_list *list, uint32_t room, mxg_builder *build);
mxg_status mxg_pattern_list_add(mxg_pattern_list *list, const mxg_value *text, const mxg_origin *origin, uint32_t rule,
                                mxg_builder *build);
/* winners[tensor]: index of the pattern that decides it: the first of the first rule that matches. Every tensor that is
** held must have one; every pattern must match a tensor that no earlier rule took. `held` may be NULL: all are. */
mxg_status mxg_pattern_list_match(uint32_t *winners, const mxg_pattern_list *list, const bool *held,
                                  mxg_builder *build);

mxg_status mxg_format_of(const mxg_format **out, const mxg_value *value, mxg_builder *build);
mxg_status mxg_layout_of(mxg_layout *out, const mxg_value *value, const mxg_side_model *side, const char *side_name,
                         mxg_builder *build);

/* Fills side->namings and side->scale_suffix from the side's `names` (NULL: the tensors' own names). */
mxg_status mxg_naming_build(mxg_side_model *side, const mxg_value *names, const bool *held, mxg_builder *build);
/* No two arrays of the side have one name, scales included. Needs placements. */
mxg_status mxg_naming_check(const mxg_side_model *side, mxg_side which, const mxg_value *names, mxg_builder *build);

#endif
