/* plan_print.c -- the plan as text: line-oriented, fixed columns, exact bytes. Golden files and people read it. Also
** the short names of encodings, meshes and places that explain and JSON use. */
#include "plan_text.h"

#include "plan_build.h"

#include <stdio.h>
#include <string.h>

void mxg_encoding_print(const mxg_encoding *e, mxg_text *text) {
  static const char *const layouts[] = {"compact", "padded", "swizzled"};
  static const char *const rules[] = {"", " floor", " rceil", " ceil", " even"};
  mxg_text_puts(text, mxg_elem_name(e->elem));
  if (e->scale == MX_SCALE_NONE || e->scale == MX_SCALE_AMAX) return;
  if (e->block_rows == MX_WHOLE)
    mxg_text_puts(text, " whole");
  else
    mxg_text_format(text, " %ux%u", e->block_rows, e->block_cols);
  mxg_text_puts(text, e->scale == MX_SCALE_E8M0 ? " e8m0" : " fp32");
  mxg_text_puts(text, rules[e->rule]);
  if (e->nan == MX_NAN_ELEMENT) mxg_text_puts(text, " nan=element");
  if (e->scale == MX_SCALE_E8M0 && e->layout != MX_COMPACT) mxg_text_format(text, " %s", layouts[e->layout]);
}

void mxg_format_print(const mxg_format *format, mxg_text *text) {
  mxg_text_puts(text, format->kind);
  if (format->plane[0].scale == MX_SCALE_NONE) return;
  for (uint32_t plane = 0; plane < format->planes; plane++) {
    mxg_text_puts(text, plane ? " + " : " ");
    mxg_encoding_print(&format->plane[plane], text);
  }
}

void mxg_mesh_print(const mxg_mesh *mesh, mxg_text *text) {
  for (uint32_t a = 0; a < mesh->axis_count; a++)
    mxg_text_format(text, "%s%s=%llu", a ? " " : "", mesh->axes[a].name, (unsigned long long)mesh->axes[a].size);
}

void mxg_origin_print(const mxg_origin *origin, mxg_text *text) {
  if (!origin->file) {
    mxg_text_puts(text, "-");
    return;
  }
  const char *slash = strrchr(origin->file, '/');
  mxg_text_format(text, "%s:%d", slash ? slash + 1 : origin->file, origin->line);
}

void mxg_layout_print(const mxg_layout *layout, const mxg_side_model *side, mxg_text *text) {
  const mxg_split *const splits[] = {&layout->expert, &layout->row, &layout->col};
  static const char *const names[] = {"expert", "row", "col"};
  if (layout->spread == MXG_SPREAD_WHOLE) {
    mxg_text_puts(text, "whole");
    return;
  }
  mxg_text_puts(text, "split");
  const mxg_mesh *mesh = &side->meshes[layout->mesh];
  for (int i = 0; i < 3; i++) {
    for (uint32_t k = 0; k < splits[i]->count; k++) {
      const mxg_axis *axis = &mesh->axes[splits[i]->axes[k]];
      if (k == 0) mxg_text_format(text, " %s ", names[i]);
      mxg_text_format(text, "%s%s=%llu", k ? "*" : "", axis->name, (unsigned long long)axis->size);
    }
  }
}

void mxg_ratio_print(uint64_t part, uint64_t whole, mxg_text *text) {
  while (whole > UINT64_MAX / 1000) part >>= 1, whole >>= 1;
  mxg_text_format(text, "%llu.%03llu", (unsigned long long)(part / whole),
                  (unsigned long long)(part % whole * 1000 / whole));
}

mxg_plan_totals mxg_plan_totals_of(const mxg_plan *plan, uint32_t rank) {
  mxg_plan_totals totals = {0};
  const mxg_rank *row = &plan->ranks[rank];
  for (uint32_t i = 0; i < row->sources; i++) {
    const mxg_array *array = &plan->arrays[row->first_source + i];
    totals.source_bytes += mxg_array_data_bytes(plan, array) + mxg_array_scale_bytes(plan, array);
  }
  for (uint32_t i = 0; i < row->targets; i++) {
    const mxg_array *array = &plan->arrays[row->first_target + i];
    totals.target_bytes += mxg_array_data_bytes(plan, array) + mxg_array_scale_bytes(plan, array);
  }
  for (uint32_t i = 0; i < row->steps; i++) {
    const mxg_step *step = &plan->steps[row->first_step + i];
    if (step->bucket >= totals.buckets) totals.buckets = step->bucket + 1;
    if (step->kind == MXG_STEP_CONVERT) totals.launches++, totals.pieces += step->count;
    if (step->kind != MXG_STEP_GATHER) continue;
    totals.gathered += step->count;
    for (uint32_t k = 0; k < step->count; k++) {
      const mxg_piece *piece = &plan->pieces[step->first + k];
      totals.bf16_bytes += piece->rows * piece->cols * 2;
    }
  }
  return totals;
}

static void print_side(const mxg_model *model, mxg_side which, mxg_text *text) {
  const mxg_side_model *side = &model->side[which];
  mxg_text_format(text, "%s  ranks %u-%u  mesh ", which == MXG_SOURCE ? "source" : "target", side->first_rank,
                  side->first_rank + side->rank_count - 1);
  for (uint32_t m = 0; m < side->mesh_count; m++) {
    if (m) mxg_text_puts(text, " | ");
    mxg_mesh_print(&side->meshes[m], text);
  }
  mxg_text_puts(text, "\n");
  /* One line a format, in order of first use, with the number of tensors and the first rule that chose it. */
  for (uint32_t t = 0; t < model->tensor_count; t++) {
    const mxg_placement *first = &side->placements[t];
    uint32_t tensors = 0;
    bool seen = false;
    for (uint32_t k = 0; k < model->tensor_count && first->held; k++) {
      const mxg_placement *other = &side->placements[k];
      if (!other->held || other->format != first->format) continue;
      seen = seen || k < t;
      if (seen) break;
      tensors++;
    }
    if (!first->held || seen) continue;
    mxg_text_format(text, "  %6u tensors  ", tensors);
    mxg_format_print(first->format, text);
    mxg_text_puts(text, "  ");
    mxg_origin_print(first->refused ? &first->format->origin : &first->format_rule, text);
    mxg_text_puts(text, "\n");
  }
  for (uint32_t t = 0; t < model->tensor_count; t++) {
    const mxg_placement *placement = &side->placements[t];
    if (!placement->held || !placement->refused) continue;
    mxg_text_format(text, "  fallback  %s  ", model->tensors[t].name);
    mxg_format_print(placement->refused, text);
    mxg_text_puts(text, " cuts a block, ");
    mxg_format_print(placement->format, text);
    mxg_text_puts(text, " instead  ");
    mxg_origin_print(&placement->format_rule, text);
    mxg_text_puts(text, "\n");
  }
}

static void print_kernels(const mxg_plan *plan, mxg_text *text) {
  uint64_t elements;
  mxg_text_format(text, "kernels %u\n", plan->kernel_count);
  mxg_text_puts(text, "  #    name                               cols  vec    pieces        elements  from -> to\n");
  for (uint32_t k = 0; k < plan->kernel_count; k++) {
    const mxg_kernel *kernel = &plan->kernels[k];
    uint32_t pieces = 0;
    elements = 0;
    for (uint32_t i = 0; i < plan->piece_count; i++) {
      if (plan->pieces[i].kernel != k) continue;
      pieces++;
      elements += plan->pieces[i].rows * plan->pieces[i].cols;
    }
    mxg_text_format(text, "  k%-3u %-32s  %5u  %3u  %8u  %14llu  ", k, kernel->name, kernel->cols, kernel->vec, pieces,
                    (unsigned long long)elements);
    mxg_encoding_print(&kernel->src, text);
    mxg_text_puts(text, " -> ");
    mxg_encoding_print(&kernel->dst, text);
    mxg_text_format(text, "  (%s)\n", plan->strings + kernel->origin);
  }
}

/* One line a layer; groups that are buckets are what the ranks' lines count. */
static void print_groups(const mxg_plan *plan, mxg_text *text) {
  mxg_text_format(
      text, "groups %u\n  #     name                              ranks  launch        received       converted\n",
      plan->group_count);
  for (uint32_t g = 0; g < plan->group_count; g++) {
    uint32_t ranks = 0, launches = 0;
    uint64_t received = 0, converted = 0;
    for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
      const mxg_rank *row = &plan->ranks[rank];
      bool any = false;
      for (uint32_t s = row->first_step; s < row->first_step + row->steps; s++) {
        const mxg_step *step = &plan->steps[s];
        if (step->group != g) continue;
        any = true;
        if (step->kind == MXG_STEP_GATHER) received += step->bytes;
        if (step->kind == MXG_STEP_CONVERT) converted += step->bytes, launches++;
      }
      ranks += any;
    }
    mxg_text_format(text, "  g%-4u %-32s  %5u  %6u  %14llu  %14llu\n", g, plan->strings + plan->groups[g].name, ranks,
                    launches, (unsigned long long)received, (unsigned long long)converted);
  }
}

static void print_step(const mxg_plan *plan, uint32_t index, mxg_text *text) {
  static const char *const kinds[] = {"fill", "gather", "wait", "convert", "release"};
  const mxg_step *step = &plan->steps[index];
  mxg_text_format(text, "  %-8s bucket %4u  slot %u", kinds[step->kind], step->bucket, step->slot);
  if (step->kind == MXG_STEP_GATHER)
    mxg_text_format(text, "  from %4u  %6u pieces  %14llu bytes", step->peer, step->count,
                    (unsigned long long)step->bytes);
  if (step->kind == MXG_STEP_CONVERT)
    mxg_text_format(text, "  k%-6u    %6u pieces  %14llu bytes", step->kernel, step->count,
                    (unsigned long long)step->bytes);
  if (step->kind == MXG_STEP_FILL) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < step->count; i++) bytes += plan->fills[step->first + i].bytes;
    mxg_text_format(text, "             %6u ranges  %14llu bytes", step->count, (unsigned long long)bytes);
  }
  mxg_text_puts(text, "\n");
}

static void print_pieces(const mxg_plan *plan, const mxg_step *step, mxg_text *text) {
  for (uint32_t i = step->first; i < step->first + step->count; i++) {
    const mxg_piece *piece = &plan->pieces[i];
    const mxg_array *src = &plan->arrays[piece->src], *dst = &plan->arrays[piece->dst];
    mxg_text_format(text, "    rank %u %s%s[%u] col %u -> %s%s[%u] col %u  cols %u  wire %llu+%llu\n", src->rank,
                    src->side == MXG_SCRATCH ? "scratch:" : "", plan->strings + src->name, piece->src_matrix,
                    piece->src_col, dst->side == MXG_SCRATCH ? "scratch:" : "", plan->strings + dst->name,
                    piece->dst_matrix, piece->dst_col, piece->cols, (unsigned long long)piece->wire_offset,
                    (unsigned long long)piece->wire_bytes);
    for (uint32_t s = 0; s < piece->segments; s++) {
      const mxg_segment *segment = &plan->segments[piece->first_segment + s];
      mxg_text_format(text, "      rows %u: %u -> %u\n", segment->rows, segment->src_row, segment->dst_row);
    }
  }
}

/* What a line of the rank table says, but for the rank. Compared as bytes. */
typedef struct rank_line {
  mxg_plan_totals totals;
  uint64_t received, staging;
  uint32_t sources, targets;
} rank_line;

static rank_line line_of(const mxg_plan *plan, uint32_t rank) {
  const mxg_rank *row = &plan->ranks[rank];
  return (rank_line){mxg_plan_totals_of(plan, rank), row->received_bytes, row->staging_bytes, row->sources,
                     row->targets};
}

static void print_line(const rank_line *line, uint32_t first, uint32_t last, mxg_text *text) {
  char ranks[32];
  if (first == last)
    snprintf(ranks, sizeof ranks, "%u", first);
  else
    snprintf(ranks, sizeof ranks, "%u-%u", first, last);
  mxg_text_format(text, "  %-9s  %6u %6u  %14llu %14llu  %14llu %14llu  %7u %7u  %5u %6u  %12llu\n", ranks,
                  line->sources, line->targets, (unsigned long long)line->totals.source_bytes,
                  (unsigned long long)line->totals.target_bytes, (unsigned long long)line->received,
                  (unsigned long long)line->totals.bf16_bytes, line->totals.pieces, line->totals.gathered,
                  line->totals.buckets, line->totals.launches, (unsigned long long)line->staging);
}

static void print_steps(const mxg_plan *plan, uint32_t rank, mxg_text *text) {
  const mxg_rank *row = &plan->ranks[rank];
  for (uint32_t i = 0; i < row->steps; i++) {
    print_step(plan, row->first_step + i, text);
    if (plan->steps[row->first_step + i].kind == MXG_STEP_CONVERT)
      print_pieces(plan, &plan->steps[row->first_step + i], text);
  }
}

/* Neighbouring ranks that say the same share a line, unless their steps follow. */
static void print_ranks(const mxg_plan *plan, uint32_t detail, mxg_text *text) {
  mxg_text_puts(text,
                "ranks\n  rank       source target    source bytes   target bytes        received        as bf16   "
                "pieces gathered  bkts launch       staging\n");
  for (uint32_t rank = 0, next; rank < plan->rank_count; rank = next) {
    rank_line line = line_of(plan, rank);
    bool full = detail == MXG_PLAN_PIECES || detail == rank;
    for (next = rank + 1; next < plan->rank_count && !full && next != detail; next++) {
      rank_line other = line_of(plan, next);
      if (memcmp(&line, &other, sizeof line) != 0) break;
    }
    print_line(&line, rank, next - 1, text);
    if (full) print_steps(plan, rank, text);
  }
}

void mxg_plan_print(const mxg_plan *plan, const mxg_model *model, uint32_t detail, mxg_text *text) {
  uint64_t received = 0, bf16 = 0;
  for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
    received += plan->ranks[rank].received_bytes;
    bf16 += mxg_plan_totals_of(plan, rank).bf16_bytes;
  }
  mxg_text_format(text, "plan %s  %u ranks  %u tensors  %u pieces\n", plan->name, plan->rank_count, model->tensor_count,
                  plan->piece_count);
  mxg_text_puts(text, "# sizes in bytes, shapes in elements, ranks from 0\n");
  print_side(model, MXG_SOURCE, text);
  print_side(model, MXG_TARGET, text);
  mxg_text_format(text, "schedule  bucket %llu  slots %u x %llu  staging cap %llu\n",
                  (unsigned long long)model->bucket_bytes, plan->slots, (unsigned long long)plan->slot_bytes,
                  (unsigned long long)plan->staging_cap);
  mxg_text_format(text, "wire  %llu bytes in all", (unsigned long long)received);
  if (bf16) {
    mxg_text_format(text, ", %llu as bf16: ", (unsigned long long)bf16);
    mxg_ratio_print(received, bf16, text);
  }
  mxg_text_puts(text, "\n");
  print_kernels(plan, text);
  if (model->layer_groups) print_groups(plan, text);
  print_ranks(plan, detail, text);
}
