/* gpu_rank.c -- what the programs of one rank are made of: memory of slots, fills, launches; see transport_gpu.h. Pure
** arithmetic over addresses: nothing here calls a driver. */
#include "bundle.h"
#include "memory.h"
#include "mx_scale.h"
#include "plan_check.h"
#include "transport_gpu.h"

#include <string.h>

/* ---- for programs ---- */

mxg_gpu_program *mxg_rank_program(mxg_gpu_rank *rank, uint32_t group) {
  return group == MXG_ALL_GROUPS ? &rank->program : &rank->parts[group];
}

bool mxg_rank_takes(const mxg_gpu_rank *rank, const mxg_step *step) {
  return !rank->program.part || rank->program.group == step->group;
}

uint64_t mxg_rank_receives(const mxg_gpu_rank *r) {
  const mxg_plan *plan = r->team->view->plan;
  const mxg_rank *rank = &plan->ranks[r->rank];
  uint64_t bytes = 0;
  for (uint32_t s = rank->first_step; s < rank->first_step + rank->steps; s++)
    if (plan->steps[s].kind == MXG_STEP_GATHER && mxg_rank_takes(r, &plan->steps[s])) bytes += plan->steps[s].bytes;
  return bytes;
}

uint64_t mxg_rank_slot(const mxg_gpu_rank *rank, uint32_t slot) {
  return slot < rank->team->view->plan->slots ? rank->slots[slot].memory - rank->slots[slot].begin : 0;
}

/* Whether other groups write the array too, before or after the program in the making. */
static bool is_shared(const mxg_gpu_rank *rank, uint32_t array) {
  mxg_group_range groups = mxg_bundle_array_groups(rank->team->view->bundle, array);
  return rank->program.part && groups.first != groups.last;
}

/* What of a matrix's scales means nothing, as fills: of a map of its bytes, what is no scale of the first `limit` rows.
 */
static void fill_unmarked(mxg_gpu_rank *rank, unsigned stream, uint64_t matrix, const unsigned char *map,
                          uint64_t bytes) {
  mxg_copies runs = {0};
  for (uint64_t at = 0, end; at < bytes; at = end) {
    for (end = at + 1; end < bytes && map[end] == map[at];) end++;
    if (!map[at]) mxg_copies_add(&runs, (mxg_copy){matrix + at, matrix + at, end - at, 1, 0, 0});
  }
  mxg_copies_apart(&runs);
  rank->program.failed = rank->program.failed || runs.failed;
  for (size_t i = 0; i < runs.count; i++) {
    const mxg_copy *run = &runs.items[i];
    mxg_program_fill_rows(&rank->program, stream, run->dst, 0, run->width, run->height, run->dst_pitch);
  }
  mxg_copies_free(&runs);
}

/* A SCALES fill that leaves the scales alone. */
static void fill_padding(mxg_gpu_rank *rank, unsigned stream, const mxg_fill *fill) {
  const mxg_plan *plan = rank->team->view->plan;
  const mxg_array *a = &plan->arrays[fill->array];
  const mxg_encoding *e = &plan->encodings[a->encoding];
  mxg_scale_shape shape = mxg_scale_shape_of(e, a->rows, a->cols);
  uint64_t bytes = shape.stored_rows * shape.stored_cols * shape.bytes_each;
  unsigned char *map = mxg_alloc((size_t)bytes);
  rank->program.failed = rank->program.failed || !map;
  if (!map) return;
  int columnwise = mx_is_columnwise(e->block_rows, e->block_cols);
  for (uint64_t i = 0; i < fill->offset; i++)
    for (uint64_t j = 0; j < shape.cols; j++) {
      mx_u64 at = mx_scale_offset(e->layout, columnwise, shape.ld, (mx_u32)i, (mx_u32)j);
      memset(map + at * shape.bytes_each, 1, shape.bytes_each);
    }
  for (uint64_t m = 0; m < a->matrices; m++)
    fill_unmarked(rank, stream, rank->team->places[fill->array].scale + m * bytes, map, bytes);
  mxg_free(map);
}

void mxg_rank_fill(mxg_gpu_rank *rank, unsigned stream, const mxg_step *step) {
  const mxg_plan *plan = rank->team->view->plan;
  for (uint32_t i = step->first; i < step->first + step->count; i++) {
    const mxg_fill *fill = &plan->fills[i];
    const mxg_place *place = &rank->team->places[fill->array];
    if (fill->kind == MXG_FILL_DATA)
      mxg_program_fill(&rank->program, stream, place->data + fill->offset, 0, fill->bytes);
    else if (fill->kind == MXG_FILL_CELL)
      mxg_program_fill(&rank->program, stream, place->scale, 0, fill->bytes);
    else if (is_shared(rank, fill->array))
      fill_padding(rank, stream, fill);
    else /* the whole plane: what pieces write there comes after */
      mxg_program_fill(&rank->program, stream, place->scale, 0,
                       mxg_array_scale_bytes(plan, &plan->arrays[fill->array]));
  }
}

void mxg_rank_convert(mxg_gpu_rank *rank, unsigned stream, const mxg_plan *plan, uint32_t first, uint32_t count,
                      uint64_t slot, bool direct) {
  size_t segments = 0;
  for (uint32_t i = first; i < first + count; i++) segments += plan->pieces[i].segments;
  if (segments == 0) return;
  mx_entry *entries = mxg_program_entries(&rank->program, segments);
  if (!entries) return;
  uint64_t tiles = 0;
  uint32_t made = mxg_launch_entries(entries, &tiles, plan, first, count, rank->team->places, slot, direct);
  const mxg_piece *p = &plan->pieces[first];
  mxg_program_launch(&rank->program, stream, direct ? p->kernel_direct : p->kernel, made, tiles);
}

/* ---- slots ---- */

static void widen(mxg_gpu_slot *slot, uint64_t begin, uint64_t bytes) {
  if (bytes == 0) return;
  if (slot->begin == slot->end) *slot = (mxg_gpu_slot){0, begin, begin};
  if (slot->begin > begin) slot->begin = begin;
  if (slot->end < begin + bytes) slot->end = begin + bytes;
}

static void widen_scratch(mxg_gpu_rank *r, const mxg_step *step, uint32_t array) {
  const mxg_plan *plan = r->team->view->plan;
  const mxg_array *a = &plan->arrays[array];
  if (a->side == MXG_SCRATCH) widen(&r->slots[step->slot], a->offset, mxg_scratch_bytes(plan, a));
}

void mxg_rank_measure_slots(mxg_gpu_rank *r) {
  const mxg_plan *plan = r->team->view->plan;
  const mxg_rank *rank = &plan->ranks[r->rank];
  for (uint32_t s = rank->first_step; s < rank->first_step + rank->steps; s++) {
    const mxg_step *step = &plan->steps[s];
    if (step->kind == MXG_STEP_WAIT || step->kind == MXG_STEP_RELEASE) continue;
    for (uint32_t i = step->first; i < step->first + step->count; i++) {
      const mxg_piece *p = &plan->pieces[i];
      if (step->kind == MXG_STEP_FILL) widen_scratch(r, step, plan->fills[i].array);
      if (step->kind == MXG_STEP_CONVERT) widen_scratch(r, step, p->dst);
      if (step->kind == MXG_STEP_GATHER && r->team->stages && !mxg_piece_is_copy(plan, p))
        widen(&r->slots[step->slot], p->wire_offset, p->wire_bytes);
    }
  }
}

void mxg_rank_place_scratch(mxg_gpu_rank *r) {
  const mxg_plan *plan = r->team->view->plan;
  const mxg_rank *rank = &plan->ranks[r->rank];
  for (uint32_t s = rank->first_step; s < rank->first_step + rank->steps; s++) {
    const mxg_step *step = &plan->steps[s];
    if (step->kind != MXG_STEP_CONVERT) continue;
    for (uint32_t i = step->first; i < step->first + step->count; i++) {
      const mxg_array *a = &plan->arrays[plan->pieces[i].dst];
      if (a->side != MXG_SCRATCH) continue;
      uint64_t at = mxg_rank_slot(r, step->slot) + a->offset;
      r->team->places[plan->pieces[i].dst] = (mxg_place){at, at + mxg_scratch_cell(plan, a)};
    }
  }
}
