/* exchange.c -- see exchange.h. */
#include "exchange.h"

#include "memory.h"
#include "mx_scale.h"
#include "order.h"

#include <stdlib.h>
#include <string.h>

enum { most_rounds = 64 /* of a bucket */, swizzled_tile = 512 };
static const uint64_t default_most = (uint64_t)256 << 20, default_least = (uint64_t)64 << 20;

/* ---- rounds ---- */

/* What each bucket brings the rank that it brings most, and behind that, bucket by bucket, what it takes from the
** rank that it takes most from. */
static uint64_t *measure_buckets(const mxg_plan *plan, uint32_t group, uint32_t *count) {
  *count = 0;
  for (uint32_t s = 0; s < plan->step_count; s++)
    if (plan->steps[s].bucket >= *count) *count = plan->steps[s].bucket + 1;
  const size_t buckets = *count, ranks = plan->rank_count;
  uint64_t *most = mxg_alloc((2 * buckets + 1) * sizeof *most);
  uint64_t *own = mxg_alloc((buckets + 1) * sizeof *own), *sent = mxg_alloc((buckets * ranks + 1) * sizeof *sent);
  for (uint32_t r = 0; most && own && sent && r < ranks; r++) {
    const mxg_rank *rank = &plan->ranks[r];
    memset(own, 0, buckets * sizeof *own);
    for (uint32_t s = rank->first_step; s < rank->first_step + rank->steps; s++) {
      const mxg_step *step = &plan->steps[s];
      if (step->kind != MXG_STEP_GATHER || (group != MXG_NONE && step->group != group)) continue;
      own[step->bucket] += step->bytes;
      sent[step->peer * buckets + step->bucket] += step->bytes;
    }
    for (size_t b = 0; b < buckets; b++)
      if (most[b] < own[b]) most[b] = own[b];
  }
  for (size_t i = 0; most && own && sent && i < buckets * ranks; i++)
    if (most[buckets + i % buckets] < sent[i]) most[buckets + i % buckets] = sent[i];
  if (!own || !sent) {
    mxg_free(most);
    most = NULL;
  }
  mxg_free(own);
  mxg_free(sent);
  return most;
}

/* A round's bytes where a rank sends more than any receives: what it packs shall be no more than a round. */
static uint64_t fair_share(uint64_t most, uint64_t received, uint64_t sent) {
  uint64_t share = sent > received ? (uint64_t)((double)most * (double)received / (double)sent) : most;
  return share ? share : 1;
}

/* The next round: half of what is left of the run, within bounds. */
static uint64_t next_size(uint64_t left, uint64_t bucket, uint64_t most) {
  uint64_t least = most < default_least ? most : default_least, size = left / 2;
  if (size < least) size = least;
  if (size > most) size = most;
  if (size < bucket / most_rounds + 1) size = bucket / most_rounds + 1;
  return size;
}

/* What fits into one of the areas for packing, beside the slots. A round may be half as large again: with the rest of its
** bucket. */
static uint64_t choose_most(const mxg_plan *plan) {
  uint64_t slots = plan->slots * plan->slot_bytes, room = plan->staging_cap > slots ? plan->staging_cap - slots : 0;
  uint64_t most = room / (MXG_PACK_AREAS * 3) * 2;
  return most < 1 ? 1 : most < default_most ? most : default_most;
}

void mxg_rounds_make(mxg_rounds *rounds, const mxg_plan *plan, uint32_t group, uint64_t most) {
  uint64_t left = 0, *sizes = measure_buckets(plan, group, &rounds->buckets);
  if (most == 0) most = choose_most(plan);
  rounds->first = mxg_alloc((rounds->buckets + 2) * sizeof *rounds->first);
  rounds->failed = !sizes || !rounds->first;
  for (uint32_t b = 0; b < rounds->buckets && !rounds->failed; b++) left += sizes[b];
  for (uint32_t b = 0; b < rounds->buckets && !rounds->failed; b++) {
    rounds->first[b] = (uint32_t)rounds->count;
    for (uint64_t at = 0, size; at < sizes[b] && !rounds->failed; at += size) {
      size = next_size(left, sizes[b], fair_share(most, sizes[b], sizes[rounds->buckets + b]));
      /* A rest that is smaller than half a round goes with it. */
      if (sizes[b] - at < size + size / 2) size = sizes[b] - at;
      mxg_round *round = mxg_vector_push((void **)&rounds->items, &rounds->count, &rounds->capacity, sizeof *round);
      rounds->failed = !round;
      if (round) *round = (mxg_round){b, at, at + size, sizes[b]};
      left -= size;
    }
  }
  if (!rounds->failed) rounds->first[rounds->buckets] = (uint32_t)rounds->count;
  mxg_free(sizes);
}

void mxg_rounds_free(mxg_rounds *rounds) {
  mxg_free(rounds->items);
  mxg_free(rounds->first);
  *rounds = (mxg_rounds){0};
}

/* ---- the parts of a region ---- */

/* Whether a byte of a pair's `all` is of the round: in the same share as of the round's bucket. Both sides of a pair
** compute with the same numbers. */
static bool is_in(const mxg_round *round, uint64_t at, uint64_t all) {
  double share = (double)at / (double)all * (double)round->all;
  return share >= (double)round->begin && (share < (double)round->end || round->end == round->all);
}

/* How many bytes of data a part may have, so that the parts of a bucket can be shared among its rounds. */
static uint64_t part_limit(const mxg_round *round, uint64_t all) {
  if (round->begin == 0 && round->end == round->all) return UINT64_MAX / 2;
  uint64_t limit = (uint64_t)((double)default_least / (double)round->all * (double)all / 2);
  uint64_t fair = all / most_rounds;
  if (limit > fair) limit = fair;
  return limit ? limit : 1;
}

static void collect_parts(mxg_region *region, const mxg_plan *plan, const mxg_round *round, const uint32_t *steps,
                          size_t step_count) {
  uint64_t all = 0, at = 0;
  mxg_parts cut = {0};
  for (size_t s = 0; s < step_count; s++) all += plan->steps[steps[s]].bytes;
  for (size_t s = 0; s < step_count && !cut.failed; s++) {
    const mxg_step *step = &plan->steps[steps[s]];
    for (uint32_t i = step->first; i < step->first + step->count && !cut.failed; i++) {
      mxg_piece piece = plan->pieces[i];
      uint64_t bytes = piece.wire_bytes, rows = 0;
      piece.wire_offset = piece.wire_bytes = 0; /* it has no place in the plan's slot that parts would keep to */
      cut.count = cut.segment_count = 0;
      uint32_t count = mxg_parts_add(&cut, plan, &piece, part_limit(round, all));
      mxg_plan lent = mxg_parts_plan(&cut, plan);
      for (uint32_t k = 0; k < count; k++) {
        uint64_t part_at = at + (piece.rows ? bytes * rows / piece.rows : 0);
        rows += cut.pieces[k].rows;
        if (is_in(round, part_at, all)) (void)mxg_parts_add(&region->parts, &lent, &cut.pieces[k], UINT64_MAX / 2);
      }
      at += bytes;
    }
  }
  region->failed = region->failed || cut.failed || region->parts.failed;
  mxg_parts_free(&cut);
}

/* ---- runs ---- */

/* A segment of a part, in the order of the sources. */
typedef struct load {
  uint32_t part, segment, array, matrix, row, col;
} load;

static int by_source(const void *a, const void *b) {
  const load *x = a, *y = b;
  const uint64_t left[] = {x->array, x->matrix, x->row, x->col, x->segment};
  const uint64_t right[] = {y->array, y->matrix, y->row, y->col, y->segment};
  return mxg_order(left, right, sizeof left / sizeof *left);
}

/* Tiles of 128 x 4 swizzled scales that a segment needs. */
static mxg_run swizzled_tiles(mxg_spot *spot, const mxg_plan *plan, const mxg_piece *part, const mxg_segment *segment) {
  const mxg_array *array = &plan->arrays[part->src];
  const mxg_encoding *e = &plan->encodings[array->encoding];
  mxg_scale_shape shape = mxg_scale_shape_of(e, array->rows, array->cols);
  bool columnwise = mx_is_columnwise(e->block_rows, e->block_cols);
  uint32_t rows[2] = {mx_block_index(segment->src_row, e->block_rows),
                      mx_block_index(segment->src_row + segment->rows - 1, e->block_rows)};
  uint32_t cols[2] = {mx_block_index(part->src_col, e->block_cols),
                      mx_block_index(part->src_col + part->cols - 1, e->block_cols)};
  const uint32_t *outer = columnwise ? cols : rows, *inner = columnwise ? rows : cols;
  uint32_t first_outer = outer[0] / 128, first_inner = inner[0] / 4;
  uint32_t height = outer[1] / 128 - first_outer + 1, width = inner[1] / 4 - first_inner + 1;
  uint32_t row = columnwise ? first_inner * 4 : first_outer * 128,
           col = columnwise ? first_outer * 128 : first_inner * 4;
  spot->first_row = e->block_rows == MX_WHOLE ? 0 : row * e->block_rows;
  spot->first_col = e->block_cols == MX_WHOLE ? 0 : col * e->block_cols;
  spot->ld = width;
  uint64_t pitch = (uint64_t)shape.ld * swizzled_tile * shape.bytes_each;
  uint64_t matrix = part->src_matrix * shape.stored_rows * shape.stored_cols * shape.bytes_each;
  mxg_run run = {.array = part->src, .scales = true, .height = height, .pitch = pitch};
  run.width = (uint64_t)width * swizzled_tile * shape.bytes_each;
  run.from = matrix + first_outer * pitch + (uint64_t)first_inner * swizzled_tile * shape.bytes_each;
  return run;
}

/* What of the source a segment needs: its elements, or its scales. Of height 0: nothing. */
static mxg_run run_of(mxg_region *region, const mxg_plan *lent, const load *l, bool scales, mxg_copies *scratch) {
  const mxg_piece *part = &lent->pieces[l->part];
  const mxg_segment *segment = &lent->segments[l->segment];
  const mxg_encoding *e = &lent->encodings[lent->arrays[part->src].encoding];
  mxg_run run = {.array = part->src, .scales = scales};
  if (scales && e->scale != MX_SCALE_NONE && e->layout == MX_SWIZZLED) {
    run = swizzled_tiles(&region->spots[l->segment], lent, part, segment);
  } else {
    scratch->count = scratch->fixed = 0;
    if (scales)
      mxg_copies_scales(scratch, lent, part, segment, (mxg_place){0, 0}, 0);
    else
      mxg_copies_data(scratch, lent, part, segment, (mxg_place){0, 0}, 0);
    region->failed = region->failed || scratch->failed;
    if (scratch->count == 0) return run;
    const mxg_copy *c = &scratch->items[0];
    run.from = c->src, run.width = c->width, run.height = c->height, run.pitch = c->src_pitch;
  }
  if (run.height > 1 && run.pitch == run.width) run.width *= run.height, run.height = 1;
  return run;
}

/* Where a segment's bytes are: in which run, and where in it. Settled when the runs have their places. */
typedef struct found {
  size_t run;
  uint64_t offset;
} found;

static bool goes_on(const mxg_run *last, const mxg_run *next) {
  return last->array == next->array && last->scales == next->scales && last->height == 1 && next->height == 1 &&
         last->from + last->width == next->from;
}

static found add_run(mxg_region *region, const mxg_run *run) {
  mxg_run *last = region->run_count ? &region->runs[region->run_count - 1] : NULL;
  if (last && goes_on(last, run)) {
    found at = {region->run_count - 1, last->width};
    last->width += run->width;
    return at;
  }
  mxg_run *fresh = mxg_vector_push((void **)&region->runs, &region->run_count, &region->run_capacity, sizeof *fresh);
  region->failed = region->failed || !fresh;
  if (fresh) *fresh = *run;
  return (found){region->run_count - 1, 0};
}

static uint64_t align_up(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

/* Runs get their places, side by side. */
static void place_runs(mxg_region *region) {
  uint64_t at = 0;
  for (size_t i = 0; i < region->run_count; i++) {
    mxg_run *run = &region->runs[i];
    /* kernels may read 16 bytes at a time, and tiles of scales as one */
    run->to = at = align_up(at, run->width % swizzled_tile == 0 ? MXG_REGION_ALIGN : 16);
    at += run->width * run->height;
  }
  region->bytes = align_up(at, MXG_REGION_ALIGN);
}

static void find_spots(mxg_region *region, const mxg_plan *plan) {
  size_t count = region->parts.segment_count;
  mxg_plan lent = mxg_parts_plan(&region->parts, plan);
  load *loads = mxg_alloc(count * sizeof *loads);
  found *at[2] = {mxg_alloc(count * sizeof *at[0]), mxg_alloc(count * sizeof *at[1])};
  mxg_copies scratch = {0};
  region->failed = region->failed || !loads || !at[0] || !at[1];
  for (uint32_t p = 0; p < region->parts.count && !region->failed; p++) {
    const mxg_piece *part = &lent.pieces[p];
    for (uint32_t s = part->first_segment; s < part->first_segment + part->segments; s++)
      loads[s] = (load){p, s, part->src, part->src_matrix, lent.segments[s].src_row, part->src_col};
  }
  if (count > 1 && !region->failed) qsort(loads, count, sizeof *loads, by_source);
  for (int scales = 0; scales < 2; scales++)
    for (size_t i = 0; i < count && !region->failed; i++) {
      mxg_run run = run_of(region, &lent, &loads[i], scales, &scratch);
      at[scales][loads[i].segment] = run.height ? add_run(region, &run) : (found){SIZE_MAX, 0};
    }
  if (!region->failed) place_runs(region);
  for (size_t s = 0; s < count && !region->failed; s++) {
    region->spots[s].data = region->runs[at[0][s].run].to + at[0][s].offset;
    if (at[1][s].run != SIZE_MAX) region->spots[s].scale = region->runs[at[1][s].run].to + at[1][s].offset;
  }
  mxg_copies_free(&scratch);
  mxg_free(loads);
  mxg_free(at[0]);
  mxg_free(at[1]);
}

void mxg_region_make(mxg_region *region, const mxg_plan *plan, uint32_t from, uint32_t to, const mxg_round *round,
                     const uint32_t *steps, size_t step_count) {
  *region = (mxg_region){.from = from, .to = to};
  collect_parts(region, plan, round, steps, step_count);
  region->spots = mxg_alloc((region->parts.segment_count + 1) * sizeof *region->spots);
  region->failed = region->failed || !region->spots;
  if (!region->failed && region->parts.segment_count) find_spots(region, plan);
}

void mxg_region_free(mxg_region *region) {
  mxg_parts_free(&region->parts);
  mxg_free(region->spots);
  mxg_free(region->runs);
  *region = (mxg_region){0};
}
