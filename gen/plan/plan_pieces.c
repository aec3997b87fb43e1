/* plan_pieces.c -- the second stage of the planner: for every array that a target rank stores, the rectangles it
** needs, each from the nearest holder, evenly over the holders; and FP32 scratch where no single piece covers a
** target block. */
#include "planner.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Source shards of the same part of the same values: any holder will do. */
typedef struct cell {
  const mxg_shard *shards; /* of the first holder: geometry is the same for all */
  uint32_t shard_count, tensor;
  uint32_t *holders; /* ranks */
  uint32_t holder_count, holder_room;
} cell;

typedef struct cell_list {
  cell *cells;
  uint32_t count;
  uint32_t tensors; /* that share the values: one, and its tied twins */
  bool built;
} cell_list;

typedef struct maker {
  mxg_planner *planner;
  cell_list *cells; /* one a tensor, filled for roots */
  uint64_t *sent;   /* bytes that each rank sends so far: for the spread over holders */
  uint32_t *slots;  /* segment cache: open addressing, index + 1 into `cached` */
  size_t slot_count;
  mxg_table cached;         /* {first segment, count} */
  mxg_table fresh;          /* segments of the piece in the making */
  mxg_table raw, raw_notes; /* pieces of one target tensor, before scratch and splitting */
  uint32_t group;
} maker;

typedef struct cached_list {
  uint32_t first, count;
} cached_list;

/* ---- segments, shared by all pieces with the same ones ---- */

static uint64_t hash_segments(const mxg_segment *segments, size_t count) {
  uint64_t h = 1469598103934665603ull; /* FNV-1a over words; equality is checked by memcmp */
  const uint32_t *words = &segments->src_row;
  for (size_t i = 0; i < count * 3; i++) h = (h ^ words[i]) * 1099511628211ull, h ^= h >> 29;
  return h;
}

static mxg_status grow_slots(maker *make) {
  size_t wider = make->slot_count ? make->slot_count * 2 : 1024;
  uint32_t *slots = mxg_alloc(wider * sizeof *slots);
  if (!slots) return mxg_fail_nomem(make->planner->err);
  const cached_list *lists = make->cached.items;
  const mxg_segment *segments = make->planner->segments.items;
  for (uint32_t i = 0; i < make->cached.count; i++) {
    size_t at = hash_segments(segments + lists[i].first, lists[i].count) & (wider - 1);
    while (slots[at]) at = (at + 1) & (wider - 1);
    slots[at] = i + 1;
  }
  mxg_free(make->slots);
  make->slots = slots;
  make->slot_count = wider;
  return MXG_OK;
}

static mxg_status intern_segments(maker *make, const mxg_segment *want, uint32_t count, uint32_t *first) {
  if ((make->cached.count + 1) * 2 > make->slot_count) MXG_TRY(grow_slots(make));
  size_t at = hash_segments(want, count) & (make->slot_count - 1);
  for (; make->slots[at]; at = (at + 1) & (make->slot_count - 1)) {
    const cached_list *list = (const cached_list *)make->cached.items + (make->slots[at] - 1);
    const mxg_segment *known = (const mxg_segment *)make->planner->segments.items + list->first;
    if (list->count != count || memcmp(known, want, count * sizeof *want) != 0) continue;
    *first = list->first;
    return MXG_OK;
  }
  cached_list *list = mxg_table_push(make->planner, &make->cached, sizeof *list);
  if (!list) return MXG_ERR_NOMEM;
  *list = (cached_list){(uint32_t)make->planner->segments.count, count};
  make->slots[at] = (uint32_t)make->cached.count;
  for (uint32_t i = 0; i < count; i++) {
    mxg_segment *segment = mxg_table_push(make->planner, &make->planner->segments, sizeof *segment);
    if (!segment) return MXG_ERR_NOMEM;
    *segment = want[i];
  }
  *first = list->first;
  return MXG_OK;
}

/* ---- cells ---- */

static bool same_geometry(const mxg_shard *a, uint32_t a_count, const mxg_shard *b, uint32_t b_count) {
  if (a_count != b_count) return false;
  for (uint32_t i = 0; i < a_count; i++) {
    if (a[i].first_expert != b[i].first_expert || a[i].experts != b[i].experts || a[i].first_col != b[i].first_col ||
        a[i].cols != b[i].cols || a[i].run_count != b[i].run_count || a[i].part != b[i].part)
      return false;
    if (memcmp(a[i].runs, b[i].runs, a[i].run_count * sizeof *a[i].runs) != 0) return false;
    if (i == 0 && a[0].tensor == b[0].tensor) return true; /* one layout: the first shard decides */
  }
  return true;
}

static const mxg_holding *holding_of(const mxg_planner *planner, mxg_side side, uint32_t rank, uint32_t tensor) {
  const mxg_side_model *model = &planner->model->side[side];
  return &planner->holdings[side][(size_t)(rank - model->first_rank) * planner->model->tensor_count + tensor];
}

static mxg_status add_holder(maker *make, cell_list *list, uint32_t room, const mxg_holding *holding, uint32_t tensor,
                             uint32_t rank) {
  const mxg_side_model *side = &make->planner->model->side[MXG_SOURCE];
  for (uint32_t c = 0; c < list->count; c++) {
    cell *known = &list->cells[c];
    if (!same_geometry(known->shards, known->shard_count, holding->shards, holding->count)) continue;
    if (known->tensor == tensor) known->holders[known->holder_count++] = rank;
    /* A tied twin in another format or on other ranks: the first tensor's holders serve. */
    else if (side->placements[known->tensor].format == side->placements[tensor].format)
      known->holders[known->holder_count++] = rank;
    return MXG_OK;
  }
  cell *fresh = &list->cells[list->count++];
  *fresh = (cell){holding->shards, holding->count, tensor, NULL, 1, room};
  fresh->holders = mxg_arena_alloc(make->planner->arena, room, sizeof *fresh->holders);
  if (!fresh->holders) return mxg_fail_nomem(make->planner->err);
  fresh->holders[0] = rank;
  return MXG_OK;
}

/* All places where the values of `root` are on the source side. A tied twin adds holders; it adds cells only when the
** first tensor that is held has none (two different splits of the same values would write twice). */
static mxg_status build_cells(maker *make, uint32_t root, cell_list *list) {
  const mxg_model *model = make->planner->model;
  const mxg_side_model *side = &model->side[MXG_SOURCE];
  uint32_t tensors = list->tensors, cells = 0;
  list->cells = mxg_arena_alloc(make->planner->arena, (size_t)side->rank_count * tensors, sizeof *list->cells);
  if (!list->cells) return mxg_fail_nomem(make->planner->err);
  uint32_t room = side->rank_count * tensors; /* every rank may hold every twin */
  for (uint32_t t = root; t < model->tensor_count && tensors; t++) {
    if (mxg_tensor_root(model, t) != root) continue;
    tensors--;
    for (uint32_t rank = side->first_rank; rank < side->first_rank + side->rank_count; rank++) {
      const mxg_holding *holding = holding_of(make->planner, MXG_SOURCE, rank, t);
      if (!holding->count) continue;
      MXG_TRY(add_holder(make, list, room, holding, t, rank));
      if (cells && list->count > cells) list->count = cells;
    }
    cells = list->count;
  }
  list->built = true;
  if (list->count) return MXG_OK;
  return mxg_fail(make->planner->err, MXG_ERR_INPUT, 412, "no source rank holds '%s'", model->tensors[root].name);
}

/* Same rank, then same node, then anywhere; of equals the one that has sent least, from this rank's own starting point.
 */
static uint32_t choose_holder(const maker *make, const cell *from, uint32_t rank) {
  uint32_t node = make->planner->model->node_ranks, best = MXG_NONE;
  bool best_near = false;
  for (uint32_t i = 0; i < from->holder_count; i++) {
    uint32_t holder = from->holders[(i + rank) % from->holder_count];
    if (holder == rank) return rank;
    bool near = node && holder / node == rank / node;
    if (best == MXG_NONE || (near && !best_near) || (near == best_near && make->sent[holder] < make->sent[best])) {
      best = holder;
      best_near = near;
    }
  }
  return best;
}

/* ---- rectangles ---- */

static int by_row(const void *a, const void *b) {
  const mxg_run *x = a, *y = b;
  return x->row < y->row ? -1 : x->row > y->row;
}

/* The common rows of two shards, in the target's order, into make->fresh. Adjacent segments that go on are one. */
static mxg_status intersect_rows(maker *make, const mxg_shard *src, const mxg_shard *dst) {
  make->fresh.count = 0;
  mxg_run few[16], *sorted = few;
  if (src->run_count > 16) {
    sorted = mxg_alloc(src->run_count * sizeof *sorted);
    if (!sorted) return mxg_fail_nomem(make->planner->err);
  }
  if (src->run_count) memcpy(sorted, src->runs, src->run_count * sizeof *sorted);
  mxg_planner_sort(sorted, src->run_count, sizeof *sorted, by_row);
  mxg_status status = MXG_OK;
  for (uint32_t d = 0; d < dst->run_count && status == MXG_OK; d++) {
    const mxg_run *want = &dst->runs[d];
    uint32_t low = 0, high = src->run_count; /* the first source run that ends past the wanted begin */
    while (low < high) {
      uint32_t middle = (low + high) / 2;
      if (sorted[middle].row + sorted[middle].rows <= want->row)
        low = middle + 1;
      else
        high = middle;
    }
    for (uint32_t s = low; s < src->run_count && sorted[s].row < want->row + want->rows; s++) {
      uint64_t begin = sorted[s].row > want->row ? sorted[s].row : want->row;
      uint64_t end = sorted[s].row + sorted[s].rows, want_end = want->row + want->rows;
      if (end > want_end) end = want_end;
      mxg_segment next = {(uint32_t)(sorted[s].stored + (begin - sorted[s].row)),
                          (uint32_t)(want->stored + (begin - want->row)), (uint32_t)(end - begin)};
      mxg_segment *last = make->fresh.count ? (mxg_segment *)make->fresh.items + make->fresh.count - 1 : NULL;
      if (last && last->src_row + last->rows == next.src_row && last->dst_row + last->rows == next.dst_row) {
        last->rows += next.rows;
        continue;
      }
      mxg_segment *segment = mxg_table_push(make->planner, &make->fresh, sizeof *segment);
      if (!segment) {
        status = MXG_ERR_NOMEM;
        break;
      }
      *segment = next;
    }
  }
  if (sorted != few) mxg_free(sorted);
  return status;
}

static mxg_status push_raw(maker *make, mxg_piece piece, mxg_piece_note note) {
  mxg_piece *fresh = mxg_table_push(make->planner, &make->raw, sizeof *fresh);
  mxg_piece_note *fresh_note = mxg_table_push(make->planner, &make->raw_notes, sizeof *fresh_note);
  if (!fresh || !fresh_note) return MXG_ERR_NOMEM;
  *fresh = piece;
  *fresh_note = note;
  return MXG_OK;
}

/* The pieces of one pair of shards: one for each expert, or, of a vector, one for each run. */
static mxg_status push_rectangles(maker *make, mxg_piece piece, const mxg_piece_note *note, const mxg_shard *src,
                                  const mxg_shard *dst, bool vector) {
  uint64_t expert = src->first_expert > dst->first_expert ? src->first_expert : dst->first_expert;
  uint64_t src_end = src->first_expert + src->experts, dst_end = dst->first_expert + dst->experts;
  uint64_t col = src->first_col > dst->first_col ? src->first_col : dst->first_col;
  uint64_t src_col_end = src->first_col + src->cols, dst_col_end = dst->first_col + dst->cols;
  uint64_t col_end = src_col_end < dst_col_end ? src_col_end : dst_col_end;
  const mxg_segment *segments = make->fresh.items;
  uint32_t count = (uint32_t)make->fresh.count;

  for (uint32_t i = 0; vector && i < count; i++) {
    static const mxg_segment one_row = {0, 0, 1};
    piece.src_col = segments[i].src_row;
    piece.dst_col = segments[i].dst_row;
    piece.cols = segments[i].rows;
    piece.rows = piece.segments = 1;
    MXG_TRY(intern_segments(make, &one_row, 1, &piece.first_segment));
    MXG_TRY(push_raw(make, piece, *note));
  }
  if (vector) return MXG_OK;
  piece.src_col = (uint32_t)(col - src->first_col);
  piece.dst_col = (uint32_t)(col - dst->first_col);
  piece.cols = (uint32_t)(col_end - col);
  piece.segments = count;
  piece.rows = 0;
  for (uint32_t i = 0; i < count; i++) piece.rows += segments[i].rows;
  MXG_TRY(intern_segments(make, segments, count, &piece.first_segment));
  for (; expert < src_end && expert < dst_end; expert++) {
    piece.src_matrix = (uint32_t)(expert - src->first_expert);
    piece.dst_matrix = (uint32_t)(expert - dst->first_expert);
    MXG_TRY(push_raw(make, piece, *note));
  }
  return MXG_OK;
}

static bool overlap(uint64_t a, uint64_t a_count, uint64_t b, uint64_t b_count) {
  return a < b + b_count && b < a + a_count;
}

/* The plane of the source that gives the target's bytes as they are, or else the first. */
static uint32_t choose_plane(const mxg_format *src, const mxg_encoding *dst) {
  for (uint32_t plane = 1; plane < src->planes; plane++) {
    const mxg_encoding *e = &src->plane[plane];
    if (e->elem == dst->elem && e->scale == dst->scale && e->block_rows == dst->block_rows &&
        e->block_cols == dst->block_cols)
      return plane;
  }
  return 0;
}

static mxg_status make_raw_pieces(maker *make, uint32_t tensor, uint32_t rank) {
  mxg_planner *planner = make->planner;
  const mxg_model *model = planner->model;
  const mxg_holding *wanted = holding_of(planner, MXG_TARGET, rank, tensor);
  const mxg_format *dst_format = model->side[MXG_TARGET].placements[tensor].format;
  const cell_list *list = &make->cells[mxg_tensor_root(model, tensor)];
  bool vector = model->tensors[tensor].ndim == 1;
  for (uint32_t c = 0; c < list->count; c++) {
    const cell *from = &list->cells[c];
    uint32_t holder = MXG_NONE;
    for (uint32_t s = 0; s < from->shard_count; s++) {
      const mxg_shard *src = &from->shards[s];
      for (uint32_t d = 0; d < wanted->count; d++) {
        const mxg_shard *dst = &wanted->shards[d];
        if (!overlap(src->first_expert, src->experts, dst->first_expert, dst->experts) ||
            !overlap(src->first_col, src->cols, dst->first_col, dst->cols))
          continue;
        MXG_TRY(intersect_rows(make, src, dst));
        if (make->fresh.count == 0) continue;
        if (holder == MXG_NONE) holder = choose_holder(make, from, rank);
        uint32_t src_tensor = from->tensor;
        const mxg_holding *held = holding_of(planner, MXG_SOURCE, holder, src_tensor);
        if (!held->count) { /* this rank holds the tied twin */
          for (src_tensor = 0; src_tensor < model->tensor_count; src_tensor++) {
            held = holding_of(planner, MXG_SOURCE, holder, src_tensor);
            if (held->count && mxg_tensor_root(model, src_tensor) == mxg_tensor_root(model, tensor)) break;
          }
        }
        const mxg_format *src_format = model->side[MXG_SOURCE].placements[src_tensor].format;
        for (uint32_t plane = 0; plane < dst_format->planes; plane++) {
          mxg_piece piece = {.src = held->first_array + s * src_format->planes +
                                    choose_plane(src_format, &dst_format->plane[plane]),
                             .dst = wanted->first_array + d * dst_format->planes + plane};
          mxg_piece_note note = {.tensor = tensor, .gathered = holder != rank, .peer = holder};
          MXG_TRY(push_rectangles(make, piece, &note, src, dst, vector));
        }
      }
    }
  }
  return MXG_OK;
}

/* ---- from raw pieces to the plan's: scratch, and pieces no larger than a bucket ---- */

static const mxg_array *array_of(const mxg_planner *planner, uint32_t index) {
  return (const mxg_array *)planner->arrays.items + index;
}

static const mxg_encoding *encoding_of(const mxg_planner *planner, uint32_t array) {
  return (const mxg_encoding *)planner->encodings.items + array_of(planner, array)->encoding;
}

static mxg_status push_piece(maker *make, mxg_piece piece, mxg_piece_note note) {
  mxg_planner *planner = make->planner;
  mxg_piece *fresh = mxg_table_push(planner, &planner->pieces, sizeof *fresh);
  mxg_piece_note *fresh_note = mxg_table_push(planner, &planner->notes, sizeof *fresh_note);
  if (!fresh || !fresh_note) return MXG_ERR_NOMEM;
  note.order = (uint32_t)planner->pieces.count;
  note.group = make->group;
  *fresh = piece;
  *fresh_note = note;
  return MXG_OK;
}

static uint64_t piece_bytes(const mxg_planner *planner, const mxg_piece *piece) {
  const mxg_encoding *encoding = encoding_of(planner, piece->src);
  uint64_t elements = piece->rows * piece->cols;
  uint64_t bytes = elements * mxg_elem_bytes(encoding->elem);
  if (encoding->scale == MX_SCALE_E8M0 && encoding->block_rows != MX_WHOLE)
    bytes += elements / ((uint64_t)encoding->block_rows * encoding->block_cols);
  return bytes;
}

/* Rows in which a piece may be cut: whole blocks of both sides, and no less than 128 where that fits. */
static uint64_t cut_unit(const mxg_encoding *src, const mxg_encoding *dst, uint64_t most) {
  uint64_t unit = 1;
  if (dst->scale != MX_SCALE_NONE && dst->block_rows != MX_WHOLE) unit = dst->block_rows;
  if (src->scale != MX_SCALE_NONE && src->block_rows != MX_WHOLE && src->block_rows > unit) unit = src->block_rows;
  if (unit < 128 && 128 % unit == 0 && most >= 128) unit = 128;
  return unit;
}

static mxg_status push_cut(maker *make, mxg_piece piece, mxg_piece_note note) {
  mxg_planner *planner = make->planner;
  uint64_t bytes = piece_bytes(planner, &piece), cap = planner->model->bucket_bytes;
  const mxg_encoding *src = encoding_of(planner, piece.src), *dst = encoding_of(planner, piece.dst);
  bool whole = dst->scale != MX_SCALE_NONE && dst->block_rows == MX_WHOLE;
  if (bytes <= cap || !note.gathered || piece.rows == 1 || whole) {
    make->group++;
    return push_piece(make, piece, note);
  }
  uint64_t most = cap / (bytes / piece.rows + 1);
  uint64_t unit = cut_unit(src, dst, most);
  uint64_t rows = most < unit ? unit : most / unit * unit;
  uint32_t first = piece.first_segment, count = piece.segments;
  for (uint32_t i = 0; i < count; i++) {
    mxg_segment left = ((const mxg_segment *)planner->segments.items)[first + i];
    while (left.rows) {
      mxg_segment now = {left.src_row, left.dst_row, left.rows < rows ? left.rows : (uint32_t)rows};
      piece.rows = now.rows;
      piece.segments = 1;
      MXG_TRY(intern_segments(make, &now, 1, &piece.first_segment));
      make->group++;
      MXG_TRY(push_piece(make, piece, note));
      left = (mxg_segment){left.src_row + now.rows, left.dst_row + now.rows, left.rows - now.rows};
    }
  }
  return MXG_OK;
}

/* The pieces [begin, end) of one target matrix go through FP32 scratch: assemble, take the maximum if one scale
** serves the whole matrix, quantise. */
static mxg_status push_scratch(maker *make, const mxg_piece *raw, const mxg_piece_note *notes, size_t count,
                               uint64_t rows, uint64_t cols) {
  mxg_planner *planner = make->planner;
  uint32_t target = raw[0].dst, matrix = raw[0].dst_matrix;
  const mxg_array *dst = array_of(planner, target);
  bool whole = encoding_of(planner, target)->block_rows == MX_WHOLE;
  mxg_encoding encoding = {.elem = MX_FP32};
  if (whole) {
    encoding.scale = MX_SCALE_AMAX;
    encoding.nan = encoding_of(planner, target)->nan;
    encoding.block_rows = encoding.block_cols = MX_WHOLE;
  }
  mxg_array scratch = {.tensor = dst->tensor,
                       .rank = dst->rank,
                       .side = MXG_SCRATCH,
                       .ndim = 2,
                       .matrices = 1,
                       .rows = rows, /* those that pieces write: padding of the target is filled there */
                       .cols = cols};
  scratch.name = dst->name;
  scratch.encoding = mxg_planner_encoding(planner, &encoding);
  uint32_t index = (uint32_t)planner->arrays.count;
  mxg_array *fresh = scratch.encoding == MXG_NONE ? NULL : mxg_table_push(planner, &planner->arrays, sizeof *fresh);
  mxg_scratch_note *note = fresh ? mxg_table_push(planner, &planner->scratches, sizeof *note) : NULL;
  if (!note) return MXG_ERR_NOMEM;
  *fresh = scratch;
  make->group++;
  *note = (mxg_scratch_note){index, scratch.rank, make->group, 0, whole};
  note->bytes = (scratch.rows * scratch.cols * 4 + 15) / 16 * 16 + 16; /* the cell follows the data */
  for (size_t i = 0; i < count; i++) {
    mxg_piece piece = raw[i];
    piece.dst = index;
    piece.dst_matrix = 0;
    MXG_TRY(push_piece(make, piece, notes[i]));
  }
  mxg_piece_note local = notes[0];
  local.gathered = false;
  local.peer = scratch.rank;
  mxg_piece last = {.src = index, .dst = index, .cols = (uint32_t)cols, .segments = 1, .rows = rows, .phase = 1};
  mxg_segment all = {0, 0, (uint32_t)rows};
  MXG_TRY(intern_segments(make, &all, 1, &last.first_segment));
  if (whole) {
    mxg_fill *fill = mxg_table_push(planner, &planner->fills, sizeof *fill);
    if (!fill) return MXG_ERR_NOMEM;
    *fill = (mxg_fill){.array = index, .kind = MXG_FILL_CELL, .bytes = 4};
    MXG_TRY(push_piece(make, last, local));
  }
  last.phase = 2;
  last.dst = target;
  last.dst_matrix = matrix;
  return push_piece(make, last, local);
}

static bool needs_scratch(const mxg_planner *planner, const mxg_piece *raw, size_t count, uint64_t written) {
  const mxg_array *dst = array_of(planner, raw[0].dst);
  for (size_t i = 0; i < count; i++) {
    bool fits = mxg_piece_fits(encoding_of(planner, raw[i].src), encoding_of(planner, raw[i].dst), &raw[i],
                               (const mxg_segment *)planner->segments.items + raw[i].first_segment,
                               dst->ndim == 1 ? 1 : written, dst->ndim == 1 ? written : dst->cols);
    if (!fits) return true;
  }
  return false;
}

/* Raw pieces in order of target array and matrix, so that what one matrix needs is together; of one matrix, beginning
** with the source rank after this one, so that no source is everybody's first. */
typedef struct raw_key {
  uint32_t dst, matrix, turn, order;
} raw_key;

static int by_target(const void *a, const void *b) {
  const raw_key *x = a, *y = b;
  if (x->dst != y->dst) return x->dst < y->dst ? -1 : 1;
  if (x->matrix != y->matrix) return x->matrix < y->matrix ? -1 : 1;
  if (x->turn != y->turn) return x->turn < y->turn ? -1 : 1;
  return x->order < y->order ? -1 : 1;
}

static mxg_status settle_matrix(maker *make, const mxg_piece *raw, const mxg_piece_note *notes, size_t count) {
  const mxg_array *dst = array_of(make->planner, raw[0].dst);
  uint64_t area = 0;
  for (size_t i = 0; i < count; i++) area += raw[i].rows * raw[i].cols;
  uint64_t written = dst->ndim == 1 ? area : area / dst->cols;
  if (needs_scratch(make->planner, raw, count, written))
    return push_scratch(make, raw, notes, count, dst->ndim == 1 ? 1 : written, dst->ndim == 1 ? written : dst->cols);
  for (size_t i = 0; i < count; i++) MXG_TRY(push_cut(make, raw[i], notes[i]));
  return MXG_OK;
}

static mxg_status settle_tensor(maker *make, uint32_t rank) {
  size_t count = make->raw.count;
  uint32_t ranks = make->planner->plan->rank_count;
  if (count == 0) return MXG_OK;
  raw_key *keys = mxg_alloc(count * sizeof *keys);
  mxg_piece *raw = mxg_alloc(count * sizeof *raw);
  mxg_piece_note *notes = mxg_alloc(count * sizeof *notes);
  mxg_status status = keys && raw && notes ? MXG_OK : mxg_fail_nomem(make->planner->err);
  if (status == MXG_OK) {
    const mxg_piece *from = make->raw.items;
    const mxg_piece_note *from_notes = make->raw_notes.items;
    for (size_t i = 0; i < count; i++)
      keys[i] = (raw_key){from[i].dst, from[i].dst_matrix, (from_notes[i].peer + ranks - rank) % ranks, (uint32_t)i};
    mxg_planner_sort(keys, count, sizeof *keys, by_target);
    for (size_t i = 0; i < count; i++) {
      raw[i] = from[keys[i].order];
      notes[i] = from_notes[keys[i].order];
      if (notes[i].gathered) make->sent[notes[i].peer] += piece_bytes(make->planner, &raw[i]);
    }
    for (size_t i = 0, end; i < count && status == MXG_OK; i = end) {
      for (end = i + 1; end < count && raw[end].dst == raw[i].dst && raw[end].dst_matrix == raw[i].dst_matrix;) end++;
      status = settle_matrix(make, raw + i, notes + i, end - i);
    }
  }
  mxg_free(keys);
  mxg_free(raw);
  mxg_free(notes);
  return status;
}

static mxg_status make_all(maker *make) {
  mxg_planner *planner = make->planner;
  const mxg_model *model = planner->model;
  const mxg_side_model *target = &model->side[MXG_TARGET];
  for (uint32_t t = 0; t < model->tensor_count; t++) make->cells[mxg_tensor_root(model, t)].tensors++;
  for (uint32_t rank = 0; rank < planner->plan->rank_count; rank++) {
    planner->piece_of_rank[rank] = (uint32_t)planner->pieces.count;
    planner->scratch_of_rank[rank] = (uint32_t)planner->scratches.count;
    make->group = 0;
    uint32_t first_scratch = (uint32_t)planner->arrays.count;
    bool is_target = rank >= target->first_rank && rank - target->first_rank < target->rank_count;
    for (uint32_t i = 0; is_target && i < model->tensor_count; i++) {
      uint32_t t = planner->tensor_order[i];
      if (!holding_of(planner, MXG_TARGET, rank, t)->count) continue;
      cell_list *list = &make->cells[mxg_tensor_root(model, t)];
      if (!list->built) MXG_TRY(build_cells(make, mxg_tensor_root(model, t), list));
      make->raw.count = make->raw_notes.count = 0;
      MXG_TRY(make_raw_pieces(make, t, rank));
      MXG_TRY(settle_tensor(make, rank));
    }
    planner->plan->ranks[rank].first_scratch = first_scratch;
    planner->plan->ranks[rank].scratches = (uint32_t)planner->arrays.count - first_scratch;
  }
  planner->piece_of_rank[planner->plan->rank_count] = (uint32_t)planner->pieces.count;
  planner->scratch_of_rank[planner->plan->rank_count] = (uint32_t)planner->scratches.count;
  return MXG_OK;
}

mxg_status mxg_plan_pieces(mxg_planner *planner) {
  maker make = {.planner = planner};
  make.cells = mxg_arena_alloc(planner->arena, planner->model->tensor_count, sizeof *make.cells);
  make.sent = mxg_arena_alloc(planner->arena, planner->plan->rank_count, sizeof *make.sent);
  mxg_status status = make.cells && make.sent ? make_all(&make) : mxg_fail_nomem(planner->err);
  mxg_free(make.slots);
  mxg_free(make.cached.items);
  mxg_free(make.fresh.items);
  mxg_free(make.raw.items);
  mxg_free(make.raw_notes.items);
  return status;
}
