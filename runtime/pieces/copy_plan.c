/* copy_plan.c -- see copy_plan.h. Rows that follow each other are joined as they are added: a whole shard is one
** copy, a part that is cut by columns one with a pitch, and equal segments at equal distances one too. */
#include "copy_plan.h"

#include "memory.h"

/* Drivers take pitches below 2^31. */
static const uint64_t largest_pitch = (uint64_t)1 << 30;

static bool pitch_fits(uint64_t from, uint64_t to, uint64_t width) {
  return to > from && to - from >= width && to - from < largest_pitch;
}

/* Whether `next` begins where the rows of `last` go on. */
static bool goes_on(const mxg_copy *last, const mxg_copy *next) {
  return next->width == last->width && next->src == last->src + last->height * last->src_pitch &&
         next->dst == last->dst + last->height * last->dst_pitch &&
         (next->height == 1 || (next->src_pitch == last->src_pitch && next->dst_pitch == last->dst_pitch));
}

/* Bytes after bytes, rows after rows. */
static bool extend(mxg_copy *last, const mxg_copy *next) {
  bool flat = last->height == 1;
  if (flat && next->height == 1 && next->src == last->src + last->width && next->dst == last->dst + last->width) {
    last->width += next->width;
    return true;
  }
  if (flat || !goes_on(last, next)) return false;
  last->height += next->height;
  return true;
}

/* Also what is as wide, at a distance. Only once all is known: what was joined so grows no wider. */
static bool join(mxg_copy *last, const mxg_copy *next) {
  bool flat = last->height == 1;
  if (extend(last, next)) return true;
  if (!flat || next->width != last->width || !pitch_fits(last->src, next->src, last->width) ||
      !pitch_fits(last->dst, next->dst, last->width))
    return false;
  uint64_t src_pitch = next->src - last->src, dst_pitch = next->dst - last->dst;
  if (next->height > 1 && (next->src_pitch != src_pitch || next->dst_pitch != dst_pitch)) return false;
  *last = (mxg_copy){last->dst, last->src, last->width, 1 + next->height, dst_pitch, src_pitch};
  return true;
}

void mxg_copies_add(mxg_copies *copies, mxg_copy copy) {
  if (copies->failed || copy.width == 0 || copy.height == 0) return;
  if (copy.height > 1 && copy.src_pitch == copy.width && copy.dst_pitch == copy.width) {
    copy.width *= copy.height;
    copy.height = 1;
  }
  if (copies->count > copies->fixed && extend(&copies->items[copies->count - 1], &copy)) return;
  mxg_copy *fresh = mxg_vector_push((void **)&copies->items, &copies->count, &copies->capacity, sizeof *fresh);
  copies->failed = !fresh;
  if (fresh) *fresh = copy;
}

void mxg_copies_free(mxg_copies *copies) {
  mxg_free(copies->items);
  *copies = (mxg_copies){0};
}

/* ---- a part of what there is ---- */

/* What comes first of `*copy`, about `bytes` of it; the rest stays. All of it where little would be left. */
static mxg_copy cut(mxg_copy *copy, uint64_t bytes) {
  static const uint64_t grain = 1 << 20;
  const uint64_t width = bytes > grain ? bytes / grain * grain : grain; /* of what is not in rows */
  mxg_copy head = *copy;
  if (head.width * head.height <= bytes + bytes / 4 || (head.height == 1 && head.width <= width)) {
    copy->height = 0;
  } else if (head.height > 1) {
    head.height = bytes > head.width ? bytes / head.width : 1;
    copy->height -= head.height;
    copy->src += head.height * head.src_pitch;
    copy->dst += head.height * head.dst_pitch;
  } else {
    head.width = width;
    copy->width -= width;
    copy->src += width;
    copy->dst += width;
  }
  return head;
}

uint64_t mxg_copies_take(mxg_copies *to, mxg_copies *from, size_t *next, uint64_t bytes) {
  uint64_t taken = 0;
  while (*next < from->count && (taken < bytes || taken == 0) && !to->failed) {
    mxg_copy *fresh = mxg_vector_push((void **)&to->items, &to->count, &to->capacity, sizeof *fresh);
    to->failed = !fresh;
    if (!fresh) return taken;
    *fresh = cut(&from->items[*next], bytes > taken ? bytes - taken : 0);
    taken += fresh->width * fresh->height;
    if (from->items[*next].height == 0) ++*next;
  }
  to->fixed = to->count;
  return taken;
}

uint64_t mxg_copies_bytes(const mxg_copies *copies) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < copies->count; i++) bytes += copies->items[i].width * copies->items[i].height;
  return bytes;
}

/* ---- one piece ---- */

static uint64_t first_block(uint64_t x, uint32_t block) { return block == MX_WHOLE ? 0 : x / block; }

static uint64_t block_count(uint64_t x, uint64_t count, uint32_t block) {
  return block == MX_WHOLE ? 1 : (x + count - 1) / block - x / block + 1;
}

/* Joins `next` to one of the copies up to `kept`, the last `most_before` of them, the nearest first. */
static bool join_any(mxg_copies *copies, size_t kept, const mxg_copy *next) {
  enum { most_before = 32 };
  for (size_t i = kept; i > copies->fixed && kept - i < most_before; i--)
    if (join(&copies->items[i - 1], next)) return true;
  return false;
}

/* Layers are alike: what comes again and again among other things, as the same expert's scales do, is joined too. */
void mxg_copies_apart(mxg_copies *copies) {
  size_t kept = copies->fixed;
  for (size_t i = copies->fixed; i < copies->count; i++)
    if (!join_any(copies, kept, &copies->items[i])) copies->items[kept++] = copies->items[i];
  copies->count = copies->fixed = kept;
}

uint64_t mxg_segment_data_bytes(const mxg_plan *plan, const mxg_piece *piece, const mxg_segment *segment) {
  unsigned elem = plan->encodings[plan->arrays[piece->src].encoding].elem;
  return (uint64_t)segment->rows * piece->cols * mxg_elem_bytes(elem);
}

void mxg_copies_data(mxg_copies *copies, const mxg_plan *plan, const mxg_piece *piece, const mxg_segment *segment,
                     mxg_place from, uint64_t to) {
  const mxg_array *array = &plan->arrays[piece->src];
  uint64_t elem = mxg_elem_bytes(plan->encodings[array->encoding].elem), width = piece->cols * elem;
  uint64_t row = piece->src_matrix * array->rows + segment->src_row;
  mxg_copies_add(copies, (mxg_copy){to, from.data + (row * array->cols + piece->src_col) * elem, width, segment->rows,
                                    width, array->cols * elem});
}

/* Where scales lie in rows: the address of the one over an element, and the bytes from one row of them to the next. */
static uint64_t scale_over(const mxg_plan *plan, const mxg_array *array, uint64_t scales, uint64_t matrix, uint64_t row,
                           uint64_t col, uint64_t *pitch) {
  const mxg_encoding *e = &plan->encodings[array->encoding];
  mxg_scale_shape shape = mxg_scale_shape_of(e, array->rows, array->cols);
  *pitch = shape.stored_cols * shape.bytes_each;
  return scales + (matrix * shape.stored_rows + first_block(row, e->block_rows)) * *pitch +
         first_block(col, e->block_cols) * shape.bytes_each;
}

/* The scales over a segment of a piece: `*width` bytes, in so many rows. */
static uint64_t scale_rows(const mxg_encoding *e, const mxg_piece *piece, const mxg_segment *segment, uint64_t *width) {
  *width = block_count(piece->src_col, piece->cols, e->block_cols) * (e->scale == MX_SCALE_E8M0 ? 1 : 4);
  return block_count(segment->src_row, segment->rows, e->block_rows);
}

uint64_t mxg_segment_scale_bytes(const mxg_plan *plan, const mxg_piece *piece, const mxg_segment *segment) {
  const mxg_encoding *e = &plan->encodings[plan->arrays[piece->src].encoding];
  uint64_t width, rows = e->scale == MX_SCALE_NONE ? 0 : scale_rows(e, piece, segment, &width);
  return rows ? rows * width : 0;
}

void mxg_copies_scales(mxg_copies *copies, const mxg_plan *plan, const mxg_piece *piece, const mxg_segment *segment,
                       mxg_place from, uint64_t to) {
  const mxg_array *array = &plan->arrays[piece->src];
  const mxg_encoding *e = &plan->encodings[array->encoding];
  uint64_t pitch, width, rows;
  if (e->scale == MX_SCALE_NONE || e->layout == MX_SWIZZLED) return;
  uint64_t begin = scale_over(plan, array, from.scale, piece->src_matrix, segment->src_row, piece->src_col, &pitch);
  rows = scale_rows(e, piece, segment, &width);
  mxg_copies_add(copies, (mxg_copy){to, begin, width, rows, width, pitch});
}

void mxg_copies_straight(mxg_copies *copies, const mxg_plan *plan, const mxg_piece *piece, mxg_place from,
                         mxg_place to) {
  const mxg_array *src = &plan->arrays[piece->src], *dst = &plan->arrays[piece->dst];
  uint64_t elem = mxg_elem_bytes(plan->encodings[src->encoding].elem);
  mxg_copies_apart(copies);
  for (uint32_t i = 0; i < piece->segments; i++) {
    const mxg_segment *s = &plan->segments[piece->first_segment + i];
    uint64_t from_row = piece->src_matrix * src->rows + s->src_row, to_row = piece->dst_matrix * dst->rows + s->dst_row;
    mxg_copies_add(copies, (mxg_copy){to.data + (to_row * dst->cols + piece->dst_col) * elem,
                                      from.data + (from_row * src->cols + piece->src_col) * elem, piece->cols * elem,
                                      s->rows, dst->cols * elem, src->cols * elem});
  }
}
