/* plan.c -- mxg_plan_build: the planner's stages in order, and the tables they share. */
#include "plan_build.h"
#include "planner.h"

#include <stdlib.h>
#include <string.h>

enum { large_bytes = 1 << 20 };

void *mxg_table_push(mxg_planner *planner, mxg_table *table, size_t size) {
  void *item = table->count < UINT32_MAX ? mxg_vector_push(&table->items, &table->count, &table->capacity, size) : NULL;
  if (!item) mxg_fail_nomem(planner->err);
  return item;
}

void mxg_planner_sort(void *items, size_t count, size_t size, int (*compare)(const void *, const void *)) {
  const char *at = items;
  for (size_t i = 1; i < count; i++, at += size) {
    if (compare(at, at + size) <= 0) continue;
    qsort(items, count, size, compare);
    return;
  }
}

uint32_t mxg_planner_string(mxg_planner *planner, const char *text) {
  size_t count = strlen(text) + 1, begin = planner->strings.count;
  if (count == 1 && begin) return 0;
  if (begin + count > UINT32_MAX) return mxg_fail_nomem(planner->err), MXG_NONE;
  mxg_table *strings = &planner->strings;
  if (strings->capacity - begin < count) {
    size_t wider = (begin + count) * 2;
    void *grown = mxg_resize(strings->items, wider);
    if (!grown) return mxg_fail_nomem(planner->err), MXG_NONE;
    strings->items = grown;
    strings->capacity = wider;
  }
  memcpy((char *)strings->items + begin, text, count);
  strings->count = begin + count;
  return (uint32_t)begin;
}

uint32_t mxg_planner_encoding(mxg_planner *planner, const mxg_encoding *encoding) {
  const mxg_encoding *known = planner->encodings.items;
  for (uint32_t i = 0; i < planner->encodings.count; i++) {
    if (memcmp(&known[i], encoding, sizeof *encoding) == 0) return i;
  }
  mxg_encoding *fresh = mxg_table_push(planner, &planner->encodings, sizeof *fresh);
  if (!fresh) return MXG_NONE;
  *fresh = *encoding;
  return (uint32_t)planner->encodings.count - 1;
}

/* ---- from growable tables to the plan's ---- */

/* A large table goes over as it is: a copy would touch its pages once more. */
static void *settle(mxg_planner *planner, mxg_table *table, size_t size) {
  void *settled = table->items;
  if (table->count * size >= large_bytes && mxg_arena_take(planner->arena, settled)) {
    table->items = NULL;
    return settled;
  }
  settled = mxg_arena_alloc(planner->arena, table->count, size);
  if (settled && table->count) memcpy(settled, table->items, table->count * size);
  return settled;
}

static mxg_status settle_tables(mxg_planner *planner) {
  mxg_plan *plan = planner->plan;
  plan->strings = settle(planner, &planner->strings, 1);
  plan->encodings = settle(planner, &planner->encodings, sizeof *plan->encodings);
  plan->arrays = settle(planner, &planner->arrays, sizeof *plan->arrays);
  plan->pieces = settle(planner, &planner->pieces, sizeof *plan->pieces);
  plan->segments = settle(planner, &planner->segments, sizeof *plan->segments);
  plan->fills = settle(planner, &planner->fills, sizeof *plan->fills);
  plan->steps = settle(planner, &planner->steps, sizeof *plan->steps);
  plan->kernels = settle(planner, &planner->kernels, sizeof *plan->kernels);
  plan->groups = settle(planner, &planner->groups, sizeof *plan->groups);
  if (!plan->strings || !plan->encodings || !plan->arrays || !plan->pieces || !plan->segments || !plan->fills ||
      !plan->steps || !plan->kernels || !plan->groups)
    return mxg_fail_nomem(planner->err);
  plan->string_bytes = planner->strings.count;
  plan->encoding_count = (uint32_t)planner->encodings.count;
  plan->array_count = (uint32_t)planner->arrays.count;
  plan->piece_count = (uint32_t)planner->pieces.count;
  plan->segment_count = (uint32_t)planner->segments.count;
  plan->fill_count = (uint32_t)planner->fills.count;
  plan->step_count = (uint32_t)planner->steps.count;
  plan->kernel_count = (uint32_t)planner->kernels.count;
  plan->group_count = (uint32_t)planner->groups.count;
  return MXG_OK;
}

static mxg_status begin(mxg_planner *planner) {
  const mxg_model *model = planner->model;
  mxg_plan *plan = planner->plan;
  uint64_t ranks = 0;
  for (int side = 0; side < 2; side++) {
    uint64_t end = (uint64_t)model->side[side].first_rank + model->side[side].rank_count;
    if (end > ranks) ranks = end;
  }
  if (ranks > UINT32_MAX / 2) return mxg_fail(planner->err, MXG_ERR_INPUT, 410, "too many ranks");
  plan->name = mxg_arena_text(planner->arena, model->name, strlen(model->name));
  plan->rank_count = (uint32_t)ranks;
  plan->ranks = mxg_arena_alloc(planner->arena, ranks, sizeof *plan->ranks);
  planner->piece_of_rank = mxg_arena_alloc(planner->arena, ranks + 1, sizeof *planner->piece_of_rank);
  planner->scratch_of_rank = mxg_arena_alloc(planner->arena, ranks + 1, sizeof *planner->scratch_of_rank);
  if (!plan->name || !plan->ranks || !planner->piece_of_rank || !planner->scratch_of_rank)
    return mxg_fail_nomem(planner->err);
  return mxg_planner_string(planner, "") == MXG_NONE ? MXG_ERR_NOMEM : MXG_OK;
}

static mxg_status run_stages(mxg_planner *planner) {
  MXG_TRY(begin(planner));
  MXG_TRY(mxg_plan_arrays(planner));
  MXG_TRY(mxg_plan_groups(planner));
  MXG_TRY(mxg_plan_pieces(planner));
  MXG_TRY(mxg_plan_kernels(planner));
  MXG_TRY(mxg_plan_steps(planner));
  return settle_tables(planner);
}

mxg_status mxg_plan_build(const mxg_plan **out, const mxg_model *model, mxg_arena *arena, mxg_error *err) {
  *out = NULL;
  mxg_error local;
  mxg_planner planner = {.model = model, .arena = arena, .err = err ? err : &local};
  planner.plan = mxg_arena_alloc(arena, 1, sizeof *planner.plan);
  mxg_status status = planner.plan ? run_stages(&planner) : mxg_fail_nomem(err);
  mxg_table *tables[] = {&planner.strings, &planner.encodings, &planner.arrays, &planner.pieces,
                         &planner.notes,   &planner.segments,  &planner.fills,  &planner.steps,
                         &planner.kernels, &planner.scratches, &planner.groups};
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) mxg_free(tables[i]->items);
  if (status == MXG_OK) *out = planner.plan;
  return status;
}
