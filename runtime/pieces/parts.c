/* parts.c -- see parts.h. */
#include "parts.h"

#include "memory.h"

static uint32_t block_of(uint32_t block) { return block == 0 || block == MX_WHOLE ? 1 : block; }

/* Rows of a segment, from row `at` on, that a part may take: about `rows`, ending on blocks of both sides. */
static uint32_t take_rows(const mxg_segment *s, uint32_t at, uint64_t rows, uint32_t src_block, uint32_t dst_block) {
  uint32_t left = s->rows - at;
  if (rows >= left) return left;
  for (uint64_t end = at + rows; end < s->rows; end++) {
    bool src_ends = (s->src_row + end) % src_block == 0, dst_ends = (s->dst_row + end) % dst_block == 0;
    if (src_ends && dst_ends) return (uint32_t)(end - at);
  }
  return left;
}

static mxg_piece *begin_part(mxg_parts *parts, const mxg_piece *piece) {
  mxg_piece *part = mxg_vector_push((void **)&parts->pieces, &parts->count, &parts->capacity, sizeof *part);
  parts->failed = parts->failed || !part || parts->segment_count > UINT32_MAX;
  if (!part) return NULL;
  *part = *piece;
  part->first_segment = (uint32_t)parts->segment_count;
  part->segments = 0;
  part->rows = 0;
  return part;
}

static void add_rows(mxg_parts *parts, mxg_piece *part, mxg_segment rows) {
  mxg_segment *s =
      mxg_vector_push((void **)&parts->segments, &parts->segment_count, &parts->segment_capacity, sizeof *s);
  parts->failed = parts->failed || !s;
  if (!s) return;
  *s = rows;
  part->segments++;
  part->rows += rows.rows;
}

static void cut(mxg_parts *parts, const mxg_plan *plan, const mxg_piece *piece, uint64_t rows) {
  const mxg_encoding *src = &plan->encodings[plan->arrays[piece->src].encoding];
  const mxg_encoding *dst = &plan->encodings[plan->arrays[piece->dst].encoding];
  mxg_piece *part = NULL;
  for (uint32_t i = 0; i < piece->segments && !parts->failed; i++) {
    const mxg_segment *s = &plan->segments[piece->first_segment + i];
    for (uint32_t at = 0, taken; at < s->rows && !parts->failed; at += taken) {
      if (!part || part->rows >= rows) part = begin_part(parts, piece);
      if (!part) return;
      taken = take_rows(s, at, rows - part->rows, block_of(src->block_rows), block_of(dst->block_rows));
      add_rows(parts, part, (mxg_segment){s->src_row + at, s->dst_row + at, taken});
    }
  }
}

/* Gives parts their places in the piece's region; false where they do not fit. */
static bool place(mxg_parts *parts, size_t first, const mxg_plan *plan, const mxg_piece *piece) {
  mxg_plan lent = mxg_parts_plan(parts, plan);
  uint64_t at = piece->wire_offset, end = at + piece->wire_bytes;
  for (size_t i = first; i < parts->count; i++) {
    mxg_piece *part = &parts->pieces[i];
    part->wire_bytes = mxg_wire_of(&lent, part).bytes;
    part->wire_offset = at;
    if (at + part->wire_bytes > end) return false;
    at = (at + part->wire_bytes + 15) / 16 * 16;
  }
  return true;
}

uint32_t mxg_parts_add(mxg_parts *parts, const mxg_plan *plan, const mxg_piece *piece, uint64_t bytes) {
  size_t first = parts->count, first_segment = parts->segment_count;
  uint64_t row = piece->cols * mxg_elem_bytes(plan->encodings[plan->arrays[piece->src].encoding].elem);
  uint64_t rows = row ? bytes / row : piece->rows;
  cut(parts, plan, piece, rows ? rows : 1);
  if (parts->failed) return 0;
  if (piece->wire_bytes && !place(parts, first, plan, piece)) {
    parts->count = first;
    parts->segment_count = first_segment;
    cut(parts, plan, piece, piece->rows);
  }
  return parts->failed ? 0 : (uint32_t)(parts->count - first);
}

mxg_plan mxg_parts_plan(const mxg_parts *parts, const mxg_plan *plan) {
  mxg_plan lent = *plan;
  lent.pieces = parts->pieces;
  lent.piece_count = (uint32_t)parts->count;
  lent.segments = parts->segments;
  lent.segment_count = (uint32_t)parts->segment_count;
  return lent;
}

void mxg_parts_free(mxg_parts *parts) {
  mxg_free(parts->pieces);
  mxg_free(parts->segments);
  *parts = (mxg_parts){0};
}
