/* plan_cover.c -- that every element and scale of a target, and every element of scratch, is written exactly once.
**
** The rectangles of an array's pieces and data fills tile its rows, the matrices of a stack one below the other. Scales
** follow: whoever writes the first element of a block writes its scale, pieces begin with blocks, and one SCALES fill
** has the scales of the padding. A scale for a whole matrix needs all of its pieces to be one piece. */
#include "cover.h"
#include "error.h"
#include "memory.h"
#include "plan_check.h"

typedef struct cover_work {
  const mxg_plan *plan;
  mxg_error *err;
  uint32_t *first;   /* by array, and one more: where its writers begin in `writers` */
  uint32_t *writers; /* pieces by dst, then fills (piece_count + fill) by array */
  mxg_rect *rects;
  size_t rect_room, rect_count;
  mxg_cover_room room;
} cover_work;

static const uint32_t owner_fill = UINT32_MAX;

static mxg_status fail_cover(const cover_work *w, mxg_cover result, const mxg_array *a, uint64_t row, uint32_t col) {
  if (result == MXG_COVER_NOMEM) return mxg_fail_nomem(w->err);
  bool twice = result == MXG_COVER_TWICE;
  return mxg_plan_refuse(w->err, twice ? 724 : 725,
                         "%s array \"%s\" of rank %u: matrix %llu, row %llu, column %u is %s", mxg_side_name(a->side),
                         w->plan->strings + a->name, a->rank, (unsigned long long)(row / a->rows),
                         (unsigned long long)(row % a->rows), col, twice ? "written twice" : "written by nothing");
}

static bool add_rect(cover_work *w, uint64_t row, uint64_t rows, uint64_t col, uint64_t cols, uint32_t owner) {
  if (w->rect_count == w->rect_room) {
    size_t room = w->rect_room ? w->rect_room * 2 : 256;
    mxg_rect *grown = mxg_resize(w->rects, room * sizeof *grown);
    if (!grown) return false;
    w->rects = grown;
    w->rect_room = room;
  }
  w->rects[w->rect_count++] =
      (mxg_rect){.row = row, .rows = rows, .col = (uint32_t)col, .cols = (uint32_t)cols, .owner = owner};
  return true;
}

static bool add_piece(cover_work *w, uint32_t index) {
  const mxg_piece *p = &w->plan->pieces[index];
  uint64_t above = p->dst_matrix * w->plan->arrays[p->dst].rows;
  for (uint32_t i = 0; i < p->segments; i++) {
    const mxg_segment *s = &w->plan->segments[p->first_segment + i];
    if (!add_rect(w, above + s->dst_row, s->rows, p->dst_col, p->cols, index)) return false;
  }
  return true;
}

/* A run of elements as at most three rectangles: the rest of a row, whole rows, the beginning of a row. */
static bool add_run(cover_work *w, uint64_t first, uint64_t count, uint64_t cols) {
  uint64_t row = first / cols, col = first % cols;
  if (col) {
    uint64_t take = count < cols - col ? count : cols - col;
    if (!add_rect(w, row, 1, col, take, owner_fill)) return false;
    count -= take;
    row++;
  }
  if (count / cols && !add_rect(w, row, count / cols, 0, cols, owner_fill)) return false;
  return count % cols == 0 || add_rect(w, row + count / cols, 1, 0, count % cols, owner_fill);
}

/* Pieces write the scales of rows [0, limit) of blocks of every matrix, fills the elements under all others. */
static bool scales_split_at(const cover_work *w, const mxg_array *a, uint64_t limit, uint32_t block) {
  for (size_t i = 0; i < w->rect_count; i++) {
    const mxg_rect *r = &w->rects[i];
    uint64_t row = r->row % a->rows;
    if (r->owner == owner_fill) {
      uint64_t first = row + r->rows > a->rows ? 0 : (row + block - 1) / block;
      if (first < limit) return false;
    } else if ((row + r->rows + block - 1) / block > limit) {
      return false;
    }
  }
  return true;
}

/* Runs after the tiling: the rectangles are sorted by row, none crosses from one matrix into the next but fills. */
static bool one_piece_a_matrix(const cover_work *w, const mxg_array *a) {
  uint64_t last = UINT64_MAX;
  uint32_t owner = owner_fill;
  for (size_t i = 0; i < w->rect_count; i++) {
    const mxg_rect *r = &w->rects[i];
    if (r->owner == owner_fill) continue;
    if (r->row / a->rows == last && r->owner != owner) return false;
    last = r->row / a->rows;
    owner = r->owner;
  }
  return true;
}

/* Whether the array is padding all over, and the fill has every matrix's scale. */
static bool all_is_filled(const cover_work *w, const mxg_array *a, const mxg_fill *scales, uint32_t bytes_each) {
  if (!scales || scales->offset || scales->bytes != a->matrices * bytes_each) return false;
  for (size_t i = 0; i < w->rect_count; i++)
    if (w->rects[i].owner != owner_fill) return false;
  return true;
}

/* Whether a matrix's first element is written by a piece, so that its one scale is written at all. */
static bool first_elements_are_pieces(const cover_work *w, const mxg_array *a) {
  for (size_t i = 0; i < w->rect_count; i++) {
    const mxg_rect *r = &w->rects[i];
    uint64_t row = r->row % a->rows;
    if (r->owner == owner_fill && r->col == 0 && (row == 0 || row + r->rows > a->rows)) return false;
  }
  return true;
}

static mxg_status check_scales(const cover_work *w, uint32_t array, const mxg_fill *fill) {
  const mxg_array *a = &w->plan->arrays[array];
  const mxg_encoding *e = &w->plan->encodings[a->encoding];
  const char *name = w->plan->strings + a->name;
  mxg_scale_shape shape = mxg_scale_shape_of(e, a->rows, a->cols);
  if (e->block_rows == MX_WHOLE) {
    if (all_is_filled(w, a, fill, shape.bytes_each)) return MXG_OK;
    if (fill || !one_piece_a_matrix(w, a) || !first_elements_are_pieces(w, a))
      return mxg_plan_refuse(w->err, 726, "the scale of \"%s\" of rank %u is not written by one piece a matrix", name,
                             a->rank);
    return MXG_OK;
  }
  uint64_t limit = fill ? fill->offset : shape.rows;
  uint64_t rest = limit <= shape.rows
                      ? a->matrices * (shape.stored_rows * shape.stored_cols - limit * shape.cols) * shape.bytes_each
                      : 0;
  if (limit > shape.rows || rest != (fill ? fill->bytes : 0) || !scales_split_at(w, a, limit, e->block_rows))
    return mxg_plan_refuse(w->err, 726, "the scales of \"%s\" of rank %u are not each written once", name, a->rank);
  return MXG_OK;
}

static mxg_status tile(cover_work *w, const mxg_array *a) {
  uint64_t row = 0;
  uint32_t col = 0;
  mxg_cover result =
      mxg_cover_check(&row, &col, &w->room, w->rects, w->rect_count, a->matrices * a->rows, (uint32_t)a->cols);
  return result == MXG_COVER_ONCE ? MXG_OK : fail_cover(w, result, a, row, col);
}

/* Scratch that is quantised as a whole: its maximum is taken of every element, and its cell is zero before. */
static mxg_status check_amax(cover_work *w, uint32_t array, const mxg_fill *cell) {
  const mxg_array *a = &w->plan->arrays[array];
  if (!cell)
    return mxg_plan_refuse(w->err, 726, "the cell of scratch \"%s\" of rank %u is not zeroed",
                           w->plan->strings + a->name, a->rank);
  w->rect_count = 0;
  for (uint32_t i = w->first[array]; i < w->first[array + 1]; i++) {
    uint32_t writer = w->writers[i];
    if (writer < w->plan->piece_count && w->plan->pieces[writer].phase == 1 && !add_piece(w, writer))
      return mxg_fail_nomem(w->err);
  }
  return tile(w, a);
}

static mxg_status check_array(cover_work *w, uint32_t array) {
  const mxg_plan *plan = w->plan;
  const mxg_array *a = &plan->arrays[array];
  const mxg_encoding *e = &plan->encodings[a->encoding];
  const mxg_fill *scales = NULL, *cell = NULL;
  uint64_t elem = mxg_elem_bytes(e->elem);
  bool room = true;
  w->rect_count = 0;
  for (uint32_t i = w->first[array]; i < w->first[array + 1] && room; i++) {
    uint32_t writer = w->writers[i];
    if (writer < plan->piece_count) {
      bool takes_maximum = a->side == MXG_SCRATCH && plan->pieces[writer].phase != 0;
      room = takes_maximum || add_piece(w, writer);
      continue;
    }
    const mxg_fill *fill = &plan->fills[writer - plan->piece_count];
    if (fill->kind == MXG_FILL_DATA) {
      room = add_run(w, fill->offset / elem, fill->bytes / elem, a->cols);
      continue;
    }
    const mxg_fill **kept = fill->kind == MXG_FILL_SCALES ? &scales : &cell;
    if (*kept)
      return mxg_plan_refuse(w->err, 726, "the scales of \"%s\" of rank %u are filled twice", plan->strings + a->name,
                             a->rank);
    *kept = fill;
  }
  if (!room) return mxg_fail_nomem(w->err);
  MXG_TRY(tile(w, a));
  if (e->scale == MX_SCALE_AMAX) return check_amax(w, array, cell);
  return e->scale == MX_SCALE_NONE ? MXG_OK : check_scales(w, array, scales);
}

/* Counting sort of the writers by array. */
static void sort_writers(cover_work *w) {
  const mxg_plan *plan = w->plan;
  for (uint32_t i = 0; i < plan->piece_count; i++) w->first[plan->pieces[i].dst]++;
  for (uint32_t i = 0; i < plan->fill_count; i++) w->first[plan->fills[i].array]++;
  uint32_t sum = 0;
  for (uint32_t i = 0; i <= plan->array_count; i++) {
    uint32_t count = i < plan->array_count ? w->first[i] : 0;
    w->first[i] = sum += count; /* the end of its range; the next loop walks it down to the beginning */
  }
  for (uint32_t i = plan->fill_count; i-- > 0;) w->writers[--w->first[plan->fills[i].array]] = plan->piece_count + i;
  for (uint32_t i = plan->piece_count; i-- > 0;) w->writers[--w->first[plan->pieces[i].dst]] = i;
}

mxg_status mxg_plan_check_cover(const mxg_plan *plan, mxg_error *err) {
  if ((uint64_t)plan->piece_count + plan->fill_count > UINT32_MAX - 1)
    return mxg_plan_refuse(err, 716, "the plan has too many pieces");
  cover_work w = {.plan = plan, .err = err};
  w.first = mxg_alloc(((size_t)plan->array_count + 1) * sizeof *w.first);
  w.writers = mxg_alloc(((size_t)plan->piece_count + plan->fill_count) * sizeof *w.writers);
  mxg_status status = w.first && w.writers ? MXG_OK : mxg_fail_nomem(err);
  if (status == MXG_OK) sort_writers(&w);
  for (uint32_t i = 0; i < plan->array_count && status == MXG_OK; i++)
    if (plan->arrays[i].side != MXG_SOURCE) status = check_array(&w, i);
  mxg_free(w.first);
  mxg_free(w.writers);
  mxg_free(w.rects);
  mxg_cover_free(&w.room);
  return status;
}
