/* model_fixture.h -- models made in C, without a recipe: one tensor, two sides, any layout. For tests of layout and
 * plan. */
#ifndef MXG_MODEL_FIXTURE_H
#define MXG_MODEL_FIXTURE_H

#include "model.h"

#include <assert.h>
#include <string.h>

/* What one side does with the one tensor. Axes are pp, ep, tp, dp, outermost first; 0 or 1: size one. */
typedef struct fixture_side {
  uint32_t pp, ep, tp, dp;
  bool row_tp, col_tp, expert_ep; /* which dimensions are split */
  bool row_ep_tp;                 /* rows over ep and tp together */
  uint8_t order;                  /* mxg_order */
  bool parts_apart, experts_apart;
  uint32_t stage; /* of pp; MXG_NONE: all */
  uint32_t first_rank;
  mxg_format format;
} fixture_side;

typedef struct fixture {
  mxg_tensor tensor;
  mxg_part parts[4];
  mxg_axis axes[2][4];
  mxg_mesh mesh[2];
  mxg_layout layout[2];
  mxg_placement placement[2];
  mxg_naming naming[2];
  const char *templates[2][4];
  mxg_format format[2];
  mxg_model model;
} fixture;

static inline mxg_format fixture_bf16(void) {
  return (mxg_format){.kind = "bf16", .planes = 1, .plane = {{.elem = MX_BF16}}};
}

static inline mxg_format fixture_mxfp8(uint32_t block_rows, uint32_t block_cols) {
  return (mxg_format){.kind = "mxfp8",
                      .planes = 1,
                      .plane = {{.elem = MX_E4M3,
                                 .scale = MX_SCALE_E8M0,
                                 .rule = MX_RCEIL,
                                 .block_rows = block_rows,
                                 .block_cols = block_cols}}};
}

static inline void fixture_make_side(fixture *f, mxg_side which, const fixture_side *side) {
  static const char *const axis_names[] = {"pp", "ep", "tp", "dp"};
  static const char *const part_names[] = {"t.a{e}", "t.b{e}", "t.c{e}", "t.d{e}"};
  static const char *const part_stacked[] = {"t.a", "t.b", "t.c", "t.d"};
  uint32_t sizes[] = {side->pp, side->ep, side->tp, side->dp}, ranks = 1;
  for (uint32_t a = 0; a < 4; a++) {
    uint32_t size = sizes[a] ? sizes[a] : 1;
    f->axes[which][a] = (mxg_axis){axis_names[a], size};
    ranks *= size;
  }
  f->mesh[which] = (mxg_mesh){.axes = f->axes[which], .axis_count = 4};
  mxg_layout *layout = &f->layout[which];
  *layout = (mxg_layout){.spread = MXG_SPREAD_SPLIT, .order = side->order};
  if (side->row_ep_tp) layout->row = (mxg_split){{1, 2}, 2};
  if (side->row_tp) layout->row = (mxg_split){{2}, 1};
  if (side->col_tp) layout->col = (mxg_split){{2}, 1};
  if (side->expert_ep) layout->expert = (mxg_split){{1}, 1};
  f->format[which] = side->format;
  f->placement[which] =
      (mxg_placement){.held = true, .format = &f->format[which], .layout = layout, .stage = side->stage};
  f->naming[which] = (mxg_naming){
      .parts_apart = side->parts_apart, .experts_apart = side->experts_apart, .templates = f->templates[which]};
  for (int p = 0; p < 4; p++) f->templates[which][p] = side->experts_apart ? part_names[p] : part_stacked[p];
  f->model.side[which] = (mxg_side_model){.meshes = &f->mesh[which],
                                          .mesh_count = 1,
                                          .stage_mesh = 0,
                                          .stage_axis = side->stage == MXG_NONE ? MXG_NONE : 0,
                                          .first_rank = side->first_rank,
                                          .rank_count = ranks,
                                          .placements = &f->placement[which],
                                          .namings = &f->naming[which],
                                          .scale_suffix = "_scale"};
}

/* `parts`: row counts, ended by 0. */
static inline void fixture_make(fixture *f, unsigned ndim, uint64_t experts, const uint64_t *parts, uint64_t cols,
                                uint64_t groups, uint64_t pad_rows, const fixture_side *source,
                                const fixture_side *target) {
  static const char *const names[] = {"a", "b", "c", "d"};
  memset(f, 0, sizeof *f);
  uint64_t rows = 0;
  uint32_t count = 0;
  for (; parts[count]; count++) {
    assert(count < 4);
    f->parts[count] = (mxg_part){names[count], rows, parts[count]};
    rows += parts[count];
  }
  f->tensor = (mxg_tensor){.name = "t",
                           .ndim = ndim,
                           .experts = experts,
                           .rows = rows,
                           .cols = cols,
                           .parts = f->parts,
                           .part_count = count,
                           .groups = groups,
                           .pad_rows = pad_rows,
                           .tied_to = MXG_NONE};
  f->model = (mxg_model){.name = "fixture",
                         .recipe_file = "fixture.lua",
                         .tensors = &f->tensor,
                         .tensor_count = 1,
                         .bucket_bytes = 1 << 20,
                         .staging_bytes = 64 << 20,
                         .slots = 2};
  fixture_make_side(f, MXG_SOURCE, source);
  fixture_make_side(f, MXG_TARGET, target);
}

#endif
