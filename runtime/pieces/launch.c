/* launch.c -- from pieces to work tables: where a piece's rectangle lies on either side, as the conversions want it.
** Owns the addresses; what is done there is a kernel's, or convert_host.c's. */
#include "launch.h"

#include "mx_scale.h"

/* One side of an entry. `row` and `col` are what goes with the address: the whole matrix's, or what the blocks leave.
 */
typedef struct operand {
  uint64_t data, scale, ld;
  uint32_t row, col, scale_ld;
} operand;

/* The phase of `x` in its block; whole matrices and unscaled elements have none. */
static uint32_t phase_of(uint32_t x, uint32_t block) { return block == 0 || block == MX_WHOLE ? 0 : x % block; }

/* A matrix of a bound array or of scratch, where it lies. */
static operand in_array(const mxg_plan *plan, uint32_t index, uint32_t matrix, mxg_place place) {
  const mxg_array *array = &plan->arrays[index];
  const mxg_encoding *encoding = &plan->encodings[array->encoding];
  mxg_scale_shape shape = mxg_scale_shape_of(encoding, array->rows, array->cols);
  operand side = {.ld = array->cols, .scale_ld = shape.ld};
  side.data = place.data + matrix * array->rows * array->cols * mxg_elem_bytes(encoding->elem);
  if (place.scale) side.scale = place.scale + matrix * shape.stored_rows * shape.stored_cols * shape.bytes_each;
  return side;
}

/* What of a piece in wire form the segments before this one have taken. */
typedef struct wire_cursor {
  uint64_t data, scale;
} wire_cursor;

/* The next segment of a piece in wire form. The address is moved back to the first element of the block that holds the
** segment's first one. */
static operand in_wire(wire_cursor *cursor, const mxg_piece *piece, const mxg_segment *segment,
                       const mxg_encoding *encoding, uint64_t base, uint64_t scale_base) {
  uint32_t row = phase_of(segment->src_row, encoding->block_rows), col = phase_of(piece->src_col, encoding->block_cols);
  unsigned bytes = mxg_elem_bytes(encoding->elem);
  operand side = {.ld = piece->cols, .row = row, .col = col};
  side.data = base + cursor->data - (row * side.ld + col) * bytes;
  cursor->data += (uint64_t)segment->rows * piece->cols * bytes;
  if (encoding->scale == MX_SCALE_NONE) return side;
  mxg_scale_shape shape = mxg_scale_shape_of(encoding, (uint64_t)row + segment->rows, (uint64_t)col + piece->cols);
  side.scale = scale_base + cursor->scale;
  side.scale_ld = shape.ld;
  cursor->scale += shape.rows * shape.cols * shape.bytes_each;
  return side;
}

uint32_t mxg_launch_entries(mx_entry *entries, uint64_t *tiles, const mxg_plan *plan, uint32_t first, uint32_t count,
                            const mxg_place *places, uint64_t slot, bool direct) {
  uint32_t made = 0;
  *tiles = 0;
  for (uint32_t p = first; p < first + count; p++) {
    const mxg_piece *piece = &plan->pieces[p];
    const mxg_array *src_array = &plan->arrays[piece->src], *dst_array = &plan->arrays[piece->dst];
    const mxg_kernel *kernel = &plan->kernels[direct ? piece->kernel_direct : piece->kernel];
    bool from_wire = !direct && src_array->rank != dst_array->rank;
    mxg_encoding wire_encoding = mxg_wire_encoding(&plan->encodings[src_array->encoding]);
    uint64_t base = slot + piece->wire_offset, scale_base = 0;
    if (from_wire) scale_base = base + mxg_wire_of(plan, piece).scale_offset;
    wire_cursor cursor = {0};
    for (uint32_t i = 0; i < piece->segments; i++) {
      const mxg_segment *segment = &plan->segments[piece->first_segment + i];
      operand dst = in_array(plan, piece->dst, piece->dst_matrix, places[piece->dst]), src;
      if (from_wire) {
        src = in_wire(&cursor, piece, segment, &wire_encoding, base, scale_base);
      } else {
        src = in_array(plan, piece->src, piece->src_matrix, places[piece->src]);
        src.row = segment->src_row;
        src.col = piece->src_col;
      }
      mx_entry *entry = &entries[made++];
      *entry = (mx_entry){.src = src.data,
                          .src_scale = src.scale,
                          .dst = dst.data,
                          .dst_scale = dst.scale,
                          .src_ld = (uint32_t)src.ld,
                          .dst_ld = (uint32_t)dst.ld,
                          .flags = direct && src_array->rank != dst_array->rank ? MX_FAR : 0,
                          .src_row = src.row,
                          .src_col = src.col,
                          .dst_row = segment->dst_row,
                          .dst_col = piece->dst_col,
                          .rows = segment->rows,
                          .cols = piece->cols,
                          .src_scale_ld = src.scale_ld,
                          .dst_scale_ld = dst.scale_ld,
                          .first_tile = *tiles};
      *tiles += mxg_kernel_tiles(kernel, segment->rows, piece->cols);
    }
  }
  return made;
}
