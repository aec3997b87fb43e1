/* format.c -- geometry: sizes and shapes of stored arrays, of the wire form of a piece, and of a kernel's work.
** Pure arithmetic over the types of plan.h; moves nothing and allocates nothing. */
#include "mx_scale.h"
#include "plan.h"

static uint64_t ceil_div(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }
static uint64_t round_up(uint64_t a, uint64_t b) { return ceil_div(a, b) * b; }

unsigned mxg_elem_bytes(unsigned elem) {
  static const unsigned char bytes[] = {[MX_E4M3] = 1, [MX_E5M2] = 1, [MX_BF16] = 2, [MX_FP16] = 2, [MX_FP32] = 4};
  return elem < sizeof(bytes) ? bytes[elem] : 0;
}

const char *mxg_elem_name(unsigned elem) {
  static const char *const names[] = {
      [MX_E4M3] = "e4m3", [MX_E5M2] = "e5m2", [MX_BF16] = "bf16", [MX_FP16] = "fp16", [MX_FP32] = "fp32"};
  return elem < sizeof(names) / sizeof(names[0]) ? names[elem] : "?";
}

const char *mxg_array_dtype(const mxg_plan *plan, const mxg_array *array) {
  static const char *const names[] = {
      [MX_E4M3] = "F8_E4M3", [MX_E5M2] = "F8_E5M2", [MX_BF16] = "BF16", [MX_FP16] = "F16", [MX_FP32] = "F32"};
  unsigned elem = plan->encodings[array->encoding].elem;
  return elem < sizeof(names) / sizeof(names[0]) ? names[elem] : "?";
}

const char *mxg_array_scale_dtype(const mxg_plan *plan, const mxg_array *array) {
  switch (plan->encodings[array->encoding].scale) {
  case MX_SCALE_NONE: return "";
  case MX_SCALE_E8M0: return array->e8m0_dtype ? "F8_E8M0" : "U8";
  default: return "F32";
  }
}

const char *mxg_family_name(unsigned family) {
  static const char *const names[MXG_FAMILIES] = {[MXG_MOVE] = "move",
                                                  [MXG_DEQUANTIZE] = "dequantize",
                                                  [MXG_QUANTIZE_ROWWISE] = "quantize_rowwise",
                                                  [MXG_QUANTIZE_COLUMNWISE] = "quantize_columnwise",
                                                  [MXG_QUANTIZE_SQUARE] = "quantize_square",
                                                  [MXG_AMAX] = "amax",
                                                  [MXG_QUANTIZE_WHOLE] = "quantize_whole",
                                                  [MXG_QUANTIZE_BOTH] = "quantize_both"};
  return family < MXG_FAMILIES ? names[family] : "?";
}

/* Blocks along one dimension. */
static uint64_t blocks_of(uint64_t elems, uint32_t block) {
  if (block == MX_WHOLE) return elems != 0;
  return block == 0 ? 0 : ceil_div(elems, block);
}

mxg_scale_shape mxg_scale_shape_of(const mxg_encoding *encoding, uint64_t rows, uint64_t cols) {
  mxg_scale_shape shape = {0};
  if (encoding->scale == MX_SCALE_NONE) return shape;
  shape.bytes_each = encoding->scale == MX_SCALE_E8M0 ? 1 : 4;
  shape.rows = blocks_of(rows, encoding->block_rows);
  shape.cols = blocks_of(cols, encoding->block_cols);
  bool columnwise = mx_is_columnwise(encoding->block_rows, encoding->block_cols);
  if (encoding->layout == MX_COMPACT) {
    shape.stored_rows = shape.rows;
    shape.stored_cols = shape.cols;
  } else {
    shape.stored_rows = round_up(shape.rows, columnwise ? 4 : 128);
    shape.stored_cols = round_up(shape.cols, columnwise ? 128 : 4);
  }
  if (encoding->layout == MX_SWIZZLED) {
    shape.ld = (uint32_t)((columnwise ? shape.stored_rows : shape.stored_cols) / 4);
  } else {
    shape.ld = (uint32_t)shape.stored_cols;
  }
  return shape;
}

uint64_t mxg_array_data_bytes(const mxg_plan *plan, const mxg_array *array) {
  return array->matrices * array->rows * array->cols * mxg_elem_bytes(plan->encodings[array->encoding].elem);
}

uint64_t mxg_array_scale_bytes(const mxg_plan *plan, const mxg_array *array) {
  mxg_scale_shape shape = mxg_scale_shape_of(&plan->encodings[array->encoding], array->rows, array->cols);
  return array->matrices * shape.stored_rows * shape.stored_cols * shape.bytes_each;
}

unsigned mxg_array_shape(const mxg_array *array, uint64_t dims[3]) {
  unsigned count = 0;
  if (array->ndim >= 3) dims[count++] = array->matrices;
  if (array->ndim >= 2) dims[count++] = array->rows;
  dims[count++] = array->cols;
  return count;
}

unsigned mxg_array_scale_dims(const mxg_plan *plan, const mxg_array *array, uint64_t dims[3]) {
  const mxg_encoding *encoding = &plan->encodings[array->encoding];
  mxg_scale_shape shape = mxg_scale_shape_of(encoding, array->rows, array->cols);
  unsigned count = 0;
  if (encoding->scale == MX_SCALE_NONE) return 0;
  if (array->ndim >= 3) dims[count++] = array->matrices;
  if (encoding->block_rows == MX_WHOLE && encoding->block_cols == MX_WHOLE) return count;
  if (array->ndim >= 2 || encoding->layout != MX_COMPACT) dims[count++] = shape.stored_rows;
  dims[count++] = shape.stored_cols;
  return count;
}

mxg_encoding mxg_wire_encoding(const mxg_encoding *encoding) {
  mxg_encoding wire = *encoding;
  wire.layout = MX_COMPACT;
  return wire;
}

/* Blocks that elements [first, first + count) touch. */
static uint64_t blocks_touched(uint64_t first, uint64_t count, uint32_t block) {
  if (count == 0 || block == 0) return 0;
  if (block == MX_WHOLE) return 1;
  return (first + count - 1) / block - first / block + 1;
}

mxg_wire mxg_wire_of(const mxg_plan *plan, const mxg_piece *piece) {
  const mxg_encoding *encoding = &plan->encodings[plan->arrays[piece->src].encoding];
  mxg_wire wire = {0};
  wire.data_bytes = piece->rows * piece->cols * mxg_elem_bytes(encoding->elem);
  wire.scale_offset = round_up(wire.data_bytes, 16);
  wire.bytes = wire.data_bytes;
  if (encoding->scale == MX_SCALE_NONE) return wire;
  uint64_t scale_rows = 0;
  for (uint32_t i = 0; i < piece->segments; i++) {
    const mxg_segment *segment = &plan->segments[piece->first_segment + i];
    scale_rows += blocks_touched(segment->src_row, segment->rows, encoding->block_rows);
  }
  uint64_t scale_cols = blocks_touched(piece->src_col, piece->cols, encoding->block_cols);
  wire.bytes = wire.scale_offset + scale_rows * scale_cols * (encoding->scale == MX_SCALE_E8M0 ? 1 : 4);
  return wire;
}

bool mxg_piece_is_copy(const mxg_plan *plan, const mxg_piece *piece) {
  const mxg_encoding *from = &plan->encodings[plan->arrays[piece->src].encoding];
  const mxg_encoding *to = &plan->encodings[plan->arrays[piece->dst].encoding];
  return plan->kernels[piece->kernel].family == MXG_MOVE && plan->arrays[piece->src].side == MXG_SOURCE &&
         plan->arrays[piece->dst].side == MXG_TARGET && from->scale == MX_SCALE_NONE && to->scale == MX_SCALE_NONE;
}

uint64_t mxg_kernel_units(const mxg_kernel *kernel, uint64_t rows, uint64_t cols) {
  const mxg_encoding *dst = &kernel->dst;
  switch ((mxg_family)kernel->family) {
  case MXG_QUANTIZE_ROWWISE: return rows * blocks_of(cols, dst->block_cols);
  case MXG_QUANTIZE_COLUMNWISE: return blocks_of(rows, dst->block_rows) * cols;
  case MXG_QUANTIZE_SQUARE: return blocks_of(rows, dst->block_rows) * blocks_of(cols, dst->block_cols);
  case MXG_QUANTIZE_BOTH: return ceil_div(rows, 32) * ceil_div(cols, 32);
  case MXG_MOVE:
  case MXG_DEQUANTIZE:
  case MXG_AMAX:
  case MXG_QUANTIZE_WHOLE:
  case MXG_FAMILIES: break;
  }
  return rows * ceil_div(cols, kernel->vec);
}

uint64_t mxg_kernel_tiles(const mxg_kernel *kernel, uint64_t rows, uint64_t cols) {
  return ceil_div(mxg_kernel_units(kernel, rows, cols), kernel->tile_units);
}
