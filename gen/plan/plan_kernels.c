/* plan_kernels.c -- the third stage of the planner: what is done to each piece, and the shape classes: one kernel for
** all pieces alike in formats, layouts, widths of access and, where it carries weight, columns. */
#include "emit.h"
#include "kernel_shape.h"
#include "plan_text.h"
#include "planner.h"

#include "text.h"

#include <string.h>

/* ---- what a piece needs ---- */

static bool has_blocks(const mxg_encoding *e) { return e->scale != MX_SCALE_NONE && e->scale != MX_SCALE_AMAX; }

static bool covers(uint64_t first, uint64_t count, uint32_t block, uint64_t extent) {
  if (block == MX_WHOLE) return first == 0 && count == extent;
  return first % block == 0 && (count % block == 0 || first + count == extent);
}

/* Every target block of the piece lies in one source block, so that the source's scale serves it as it is. */
static bool can_move(const mxg_encoding *src, const mxg_encoding *dst, const mxg_piece *piece,
                     const mxg_segment *segments) {
  if (src->elem != dst->elem || src->scale != dst->scale) return false;
  if (!has_blocks(dst)) return true;
  if (src->block_rows == MX_WHOLE) return true;
  if (dst->block_rows == MX_WHOLE || src->block_rows % dst->block_rows || src->block_cols % dst->block_cols)
    return false;
  if (piece->src_col % dst->block_cols) return false;
  for (uint32_t i = 0; i < piece->segments; i++) {
    if (segments[i].src_row % dst->block_rows) return false;
  }
  return true;
}

mxg_family mxg_piece_family(const mxg_encoding *src, const mxg_encoding *dst, const mxg_piece *piece,
                            const mxg_segment *segments) {
  if (piece->phase == 1) return MXG_AMAX;
  if (!has_blocks(dst)) return src->elem == dst->elem && !has_blocks(src) ? MXG_MOVE : MXG_DEQUANTIZE;
  if (can_move(src, dst, piece, segments)) return MXG_MOVE;
  if (dst->block_rows == MX_WHOLE) return MXG_QUANTIZE_WHOLE;
  if (dst->block_rows == 1) return MXG_QUANTIZE_ROWWISE;
  return dst->block_cols == 1 ? MXG_QUANTIZE_COLUMNWISE : MXG_QUANTIZE_SQUARE;
}

bool mxg_piece_fits(const mxg_encoding *src, const mxg_encoding *dst, const mxg_piece *piece,
                    const mxg_segment *segments, uint64_t dst_rows, uint64_t dst_cols) {
  if (!has_blocks(dst)) return true;
  if (mxg_piece_family(src, dst, piece, segments) == MXG_QUANTIZE_WHOLE) return false;
  bool fits = covers(piece->dst_col, piece->cols, dst->block_cols, dst_cols);
  for (uint32_t i = 0; i < piece->segments && fits; i++)
    fits = covers(segments[i].dst_row, segments[i].rows, dst->block_rows, dst_rows);
  return fits;
}

/* ---- shape classes ---- */

enum { own_cols_share = 16, own_cols_most = 4 };

typedef struct shape {
  mxg_kernel kernel; /* with the piece's own cols */
  uint64_t elements; /* carried */
  uint32_t final;    /* index into the plan's kernels */
  uint32_t first_tensor, last_tensor, tensors;
} shape;

static const mxg_array *array_of(const mxg_planner *planner, uint32_t index) {
  return (const mxg_array *)planner->arrays.items + index;
}

static uint32_t largest_vec(uint64_t bits, uint32_t most) {
  uint32_t vec = most;
  while (vec > 1 && bits % vec) vec /= 2;
  return vec;
}

/* Elements to one access: 16 bytes of the wider side, less where rows or columns do not begin at a multiple of it. */
static uint32_t access_width(const mxg_planner *planner, const mxg_piece *piece, mxg_family family,
                             const mxg_encoding *src, const mxg_encoding *dst, bool wire) {
  uint32_t most = mxg_kernel_widest(family, src, dst, &planner->model->kernel_shapes.of[family]);
  uint32_t vec = largest_vec(piece->cols, most);
  vec = largest_vec(piece->dst_col, vec);
  vec = largest_vec(piece->src_col, vec); /* also of the wire form, whose blocks begin at the source's */
  if (piece->rows > 1 || array_of(planner, piece->dst)->ndim > 1) {
    vec = largest_vec(array_of(planner, piece->dst)->cols, vec);
    if (!wire) vec = largest_vec(array_of(planner, piece->src)->cols, vec);
  }
  return vec;
}

/* Rule and NaN policy only matter to a kernel that chooses scales. */
static mxg_encoding as_read(mxg_encoding e) {
  e.rule = MX_RULE_NONE;
  e.nan = MX_NAN_BLOCK;
  return e;
}

/* All that the kernel of a piece depends on. Neighbours are mostly alike. */
typedef struct likeness {
  uint32_t src_encoding, dst_encoding, first_segment, segments, phase, wire, many_rows;
  uint32_t src_col, dst_col, cols;
  uint64_t src_cols, dst_cols, dst_ndim;
} likeness;

static likeness likeness_of(const mxg_planner *planner, const mxg_piece *piece, bool wire) {
  const mxg_array *src = array_of(planner, piece->src), *dst = array_of(planner, piece->dst);
  return (likeness){.src_encoding = src->encoding,
                    .dst_encoding = dst->encoding,
                    .first_segment = piece->first_segment,
                    .segments = piece->segments,
                    .phase = piece->phase,
                    .wire = wire,
                    .many_rows = piece->rows > 1,
                    .src_col = piece->src_col,
                    .dst_col = piece->dst_col,
                    .cols = piece->cols,
                    .src_cols = src->cols,
                    .dst_cols = dst->cols,
                    .dst_ndim = dst->ndim};
}

static mxg_kernel kernel_of(const mxg_planner *planner, const mxg_piece *piece, bool wire) {
  const mxg_encoding *encodings = planner->encodings.items;
  mxg_encoding src = encodings[array_of(planner, piece->src)->encoding];
  mxg_encoding dst = encodings[array_of(planner, piece->dst)->encoding];
  const mxg_segment *segments = (const mxg_segment *)planner->segments.items + piece->first_segment;
  mxg_family family = mxg_piece_family(&src, &dst, piece, segments);
  if (wire) src = mxg_wire_encoding(&src);
  if (piece->phase == 0 && dst.scale == MX_SCALE_AMAX) dst = (mxg_encoding){.elem = MX_FP32}; /* to its writers plain */
  bool chooses = family != MXG_MOVE && family != MXG_DEQUANTIZE; /* AMAX too: whether a NaN counts */
  mxg_kernel kernel = {.family = (uint8_t)family, .cols = piece->cols};
  kernel.src = as_read(src);
  kernel.dst = chooses ? dst : as_read(dst);
  kernel.vec = access_width(planner, piece, family, &src, &dst, wire);
  mxg_kernel_size(&kernel, &planner->model->kernel_shapes.of[family]);
  return kernel;
}

/* The shapes that the last pieces had, of the wire form and of local memory. */
typedef struct recent {
  likeness like;
  uint32_t shape; /* MXG_NONE: nothing yet */
} recent;

static uint32_t find_shape(mxg_planner *planner, mxg_table *shapes, const mxg_piece *piece, bool wire, uint32_t tensor,
                           recent *last) {
  shape *known = shapes->items;
  likeness like = likeness_of(planner, piece, wire);
  uint32_t at = last->shape;
  if (at == MXG_NONE || memcmp(&last->like, &like, sizeof like) != 0) {
    mxg_kernel kernel = kernel_of(planner, piece, wire);
    for (at = 0; at < shapes->count; at++) {
      if (memcmp(&known[at].kernel, &kernel, sizeof kernel) == 0) break;
    }
    if (at == shapes->count) {
      shape *fresh = mxg_table_push(planner, shapes, sizeof *fresh);
      if (!fresh) return MXG_NONE;
      *fresh = (shape){.kernel = kernel, .first_tensor = tensor, .last_tensor = tensor, .tensors = 1};
      known = shapes->items;
    }
    *last = (recent){like, at};
  }
  known[at].elements += piece->rows * piece->cols;
  if (tensor > known[at].last_tensor) known[at].tensors++, known[at].last_tensor = tensor;
  return at;
}

static bool same_but_cols(const mxg_kernel *a, const mxg_kernel *b) {
  mxg_kernel x = *a;
  x.cols = b->cols;
  return memcmp(&x, b, sizeof x) == 0;
}

/* Whether a shape's columns are worth a kernel of their own: among the heaviest of its class, and a fair share of it.
 */
static bool keeps_cols(const shape *shapes, uint32_t count, uint32_t index) {
  uint64_t total = 0;
  uint32_t heavier = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (!same_but_cols(&shapes[i].kernel, &shapes[index].kernel)) continue;
    total += shapes[i].elements;
    heavier +=
        shapes[i].elements > shapes[index].elements || (shapes[i].elements == shapes[index].elements && i < index);
  }
  return heavier < own_cols_most && shapes[index].elements >= total / own_cols_share;
}

/* "layers.0.attn.qkv and 31 more; source llama3_8b_tp2.lua:32, target llama3_8b_tp2.lua:40" */
static uint32_t origin_of(mxg_planner *planner, const shape *from, uint32_t more) {
  const mxg_model *model = planner->model;
  const mxg_placement *source = &model->side[MXG_SOURCE].placements[mxg_tensor_root(model, from->first_tensor)];
  const mxg_placement *target = &model->side[MXG_TARGET].placements[from->first_tensor];
  mxg_text text = {0};
  mxg_text_puts(&text, model->tensors[from->first_tensor].name);
  if (more) mxg_text_format(&text, " and %u more", more);
  const mxg_origin *rules[] = {&source->format_rule, &target->format_rule};
  for (int side = 0; side < 2; side++) {
    if (!rules[side]->file) continue;
    mxg_text_puts(&text, side == MXG_SOURCE ? "; source " : "; target ");
    mxg_origin_print(rules[side], &text);
  }
  uint32_t offset = text.failed ? (mxg_fail_nomem(planner->err), MXG_NONE) : mxg_planner_string(planner, text.bytes);
  mxg_text_free(&text);
  return offset;
}

/* Final kernels in order of first use; shapes of one class without columns of their own share one. */
static mxg_status settle_shapes(mxg_planner *planner, shape *shapes, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) shapes[i].final = keeps_cols(shapes, count, i) ? shapes[i].kernel.cols : 0;
  for (uint32_t i = 0; i < count; i++) shapes[i].kernel.cols = shapes[i].final;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t at = 0, tensors = 0;
    mxg_kernel *kernels = planner->kernels.items;
    mxg_kernel named = shapes[i].kernel;
    mxg_kernel_name(&named);
    while (at < planner->kernels.count && strcmp(kernels[at].name, named.name) != 0) at++;
    shapes[i].final = at;
    if (at < planner->kernels.count) continue;
    for (uint32_t k = i; k < count; k++) {
      if (memcmp(&shapes[k].kernel, &shapes[i].kernel, sizeof shapes[i].kernel) == 0) tensors += shapes[k].tensors;
    }
    named.origin = origin_of(planner, &shapes[i], tensors - 1);
    mxg_kernel *fresh = named.origin == MXG_NONE ? NULL : mxg_table_push(planner, &planner->kernels, sizeof *fresh);
    if (!fresh) return MXG_ERR_NOMEM;
    *fresh = named;
  }
  return MXG_OK;
}

mxg_status mxg_plan_kernels(mxg_planner *planner) {
  mxg_table shapes = {0};
  mxg_piece *pieces = planner->pieces.items;
  const mxg_piece_note *notes = planner->notes.items;
  recent last = {.shape = MXG_NONE}, last_direct = {.shape = MXG_NONE};
  mxg_status status = MXG_OK;
  for (uint32_t i = 0; i < planner->pieces.count && status == MXG_OK; i++) {
    mxg_piece *piece = &pieces[i];
    piece->kernel = find_shape(planner, &shapes, piece, notes[i].gathered, notes[i].tensor, &last);
    piece->kernel_direct = piece->kernel;
    if (notes[i].gathered && piece->kernel != MXG_NONE)
      piece->kernel_direct = find_shape(planner, &shapes, piece, false, notes[i].tensor, &last_direct);
    if (piece->kernel == MXG_NONE || piece->kernel_direct == MXG_NONE) status = MXG_ERR_NOMEM;
  }
  if (status == MXG_OK) status = settle_shapes(planner, shapes.items, (uint32_t)shapes.count);
  const shape *final = shapes.items;
  for (uint32_t i = 0; i < planner->pieces.count && status == MXG_OK; i++) {
    pieces[i].kernel = final[pieces[i].kernel].final;
    pieces[i].kernel_direct = final[pieces[i].kernel_direct].final;
  }
  mxg_free(shapes.items);
  return status;
}
