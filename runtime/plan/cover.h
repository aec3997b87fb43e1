/* cover.h -- proves that rectangles tile a grid: every cell in exactly one of them. */
#ifndef MXG_COVER_H
#define MXG_COVER_H

#include <stddef.h>
#include <stdint.h>

typedef struct mxg_rect {
  uint64_t row, rows;
  uint32_t col, cols;
  uint32_t owner; /* the caller's */
  uint32_t pad;
} mxg_rect;

typedef enum mxg_cover {
  MXG_COVER_ONCE = 0,
  MXG_COVER_TWICE = 1,   /* a cell lies in two rectangles */
  MXG_COVER_MISSING = 2, /* a cell lies in none */
  MXG_COVER_NOMEM = 3
} mxg_cover;

/* Work memory, kept from one check to the next. Zero-initialise; give it back with mxg_cover_free. */
typedef struct mxg_cover_room {
  uint32_t *cuts;
  uint64_t *heights;
  size_t cut_room, height_room;
} mxg_cover_room;

void mxg_cover_free(mxg_cover_room *room);

/* The rectangles lie inside rows x cols, have no empty side, and are sorted here by row, then column. On TWICE and on
** MISSING (*row, *col) is one such cell. n log n for any input. */
mxg_cover mxg_cover_check(uint64_t *row, uint32_t *col, mxg_cover_room *room, mxg_rect *rects, size_t count,
                          uint64_t rows, uint32_t cols);

#endif
