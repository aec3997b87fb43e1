/* cover.c -- see cover.h. A skyline grows from the first row: sorted by row, each rectangle must stand exactly on what
** is there. Where the skyline is higher, a cell is taken twice; where it is lower, nothing that follows can reach the
** gap. The skyline is a tree over the columns where rectangles begin or end; a node is its height, or `mixed`. */
#include "cover.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t mixed = UINT64_MAX;

void mxg_cover_free(mxg_cover_room *room) {
  mxg_free(room->cuts);
  mxg_free(room->heights);
  *room = (mxg_cover_room){0};
}

static int by_row_then_col(const void *a, const void *b) {
  const mxg_rect *x = a, *y = b;
  if (x->row != y->row) return x->row < y->row ? -1 : 1;
  if (x->col != y->col) return x->col < y->col ? -1 : 1;
  return 0;
}

static int by_value(const void *a, const void *b) {
  const uint32_t *x = a, *y = b;
  return *x < *y ? -1 : *x > *y;
}

/* Makes `*items` hold `count` of `size`; what was there is lost. */
static void *reserve(void *items, size_t *room, size_t count, size_t size) {
  if (count <= *room) return items;
  size_t wider = count + count / 2;
  mxg_free(items);
  items = mxg_alloc(wider * size);
  *room = items ? wider : 0;
  return items;
}

typedef struct skyline {
  const uint32_t *cuts;
  uint64_t *heights;
  uint64_t *row; /* of a fault */
  uint32_t *col;
} skyline;

static mxg_cover fault(const skyline *line, uint64_t height, size_t at, uint64_t from) {
  *line->row = height < from ? height : from;
  *line->col = line->cuts[at];
  return height < from ? MXG_COVER_MISSING : MXG_COVER_TWICE;
}

/* Raises intervals [a, b) from height `from` to `to`; the node has intervals [low, high). */
static mxg_cover raise(const skyline *line, size_t node, size_t low, size_t high, size_t a, size_t b, uint64_t from,
                       uint64_t to) {
  if (b <= low || high <= a) return MXG_COVER_ONCE;
  uint64_t height = line->heights[node];
  if (height != mixed) {
    if (height != from) return fault(line, height, low > a ? low : a, from);
    if (a <= low && high <= b) {
      line->heights[node] = to;
      return MXG_COVER_ONCE;
    }
    line->heights[2 * node] = line->heights[2 * node + 1] = height;
  }
  size_t middle = low + (high - low) / 2;
  mxg_cover result = raise(line, 2 * node, low, middle, a, b, from, to);
  if (result == MXG_COVER_ONCE) result = raise(line, 2 * node + 1, middle, high, a, b, from, to);
  uint64_t left = line->heights[2 * node], right = line->heights[2 * node + 1];
  line->heights[node] = left == right ? left : mixed;
  return result;
}

static size_t find_cut(const uint32_t *cuts, size_t count, uint32_t col) {
  const uint32_t *at = bsearch(&col, cuts, count, sizeof *cuts, by_value);
  return (size_t)(at - cuts);
}

mxg_cover mxg_cover_check(uint64_t *row, uint32_t *col, mxg_cover_room *room, mxg_rect *rects, size_t count,
                          uint64_t rows, uint32_t cols) {
  if (count > 1) qsort(rects, count, sizeof *rects, by_row_then_col);
  room->cuts = reserve(room->cuts, &room->cut_room, 2 * count + 2, sizeof *room->cuts);
  if (!room->cuts) return MXG_COVER_NOMEM;
  size_t cuts = 0;
  uint32_t *cut = room->cuts;
  cut[cuts++] = 0;
  cut[cuts++] = cols;
  for (size_t i = 0; i < count; i++) {
    if (rects[i].col != 0) cut[cuts++] = rects[i].col;
    if (rects[i].col + rects[i].cols != cols) cut[cuts++] = rects[i].col + rects[i].cols;
  }
  qsort(cut, cuts, sizeof *cut, by_value);
  size_t kept = 1;
  for (size_t i = 1; i < cuts; i++)
    if (cut[i] != cut[kept - 1]) cut[kept++] = cut[i];
  size_t intervals = kept - 1;
  room->heights = reserve(room->heights, &room->height_room, 4 * intervals, sizeof *room->heights);
  if (!room->heights) return MXG_COVER_NOMEM;
  room->heights[1] = 0;
  const skyline line = {cut, room->heights, row, col};
  for (size_t i = 0; i < count; i++) {
    size_t a = find_cut(cut, kept, rects[i].col), b = find_cut(cut, kept, rects[i].col + rects[i].cols);
    mxg_cover result = raise(&line, 1, 0, intervals, a, b, rects[i].row, rects[i].row + rects[i].rows);
    if (result != MXG_COVER_ONCE) return result;
  }
  return raise(&line, 1, 0, intervals, 0, intervals, rows, rows);
}
