/* kernel_shape.c -- see kernel_shape.h. The figures behind the choices are in tests/bench/kernels.md. */
#include "kernel_shape.h"

#include "text.h"

enum { threads_of_block = 256 };

bool mxg_kernel_shape_is_good(const mxg_kernel_shape *shape) {
  return shape->threads % 32 == 0 && shape->threads <= MXG_THREADS_MOST && shape->access_bytes <= MXG_ACCESS_BYTES &&
         (shape->access_bytes & (shape->access_bytes - 1)) == 0;
}

uint32_t mxg_kernel_shapes_count(const mxg_kernel_shapes *shapes) {
  uint32_t count = 0;
  for (unsigned f = 0; f < MXG_FAMILIES; f++)
    count += (shapes->of[f].threads != 0) + (uint32_t)(shapes->of[f].access_bytes != 0);
  return count;
}

void mxg_kernel_shapes_print(const mxg_kernel_shapes *shapes, mxg_text *text) {
  const char *between = "";
  for (unsigned f = 0; f < MXG_FAMILIES; f++) {
    const mxg_kernel_shape *shape = &shapes->of[f];
    if (!shape->threads && !shape->access_bytes) continue;
    mxg_text_format(text, "%s%s", between, mxg_family_name(f));
    if (shape->threads) mxg_text_format(text, " %u threads", shape->threads);
    if (shape->access_bytes) mxg_text_format(text, " %u bytes", shape->access_bytes);
    between = ", ";
  }
}

uint32_t mxg_kernel_widest(mxg_family family, const mxg_encoding *src, const mxg_encoding *dst,
                           const mxg_kernel_shape *shape) {
  uint32_t access = shape && shape->access_bytes ? shape->access_bytes : MXG_ACCESS_BYTES;
  uint32_t src_bytes = mxg_elem_bytes(src->elem), dst_bytes = mxg_elem_bytes(dst->elem);
  uint32_t wide = src_bytes > dst_bytes ? src_bytes : dst_bytes;
  uint32_t counted = family == MXG_QUANTIZE_ROWWISE || family == MXG_QUANTIZE_BOTH ? src_bytes : wide;
  if (family == MXG_QUANTIZE_BOTH) access = MXG_ACCESS_BYTES;
  return access > counted ? access / counted : 1;
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Units of one round of a thread block over one row after another; two loads of 4 bytes or more are in flight. */
static uint32_t flat_units(const mxg_kernel *kernel, uint32_t bytes) { return kernel->threads * (bytes >= 4 ? 2 : 8); }

/* Blocks of one round: lanes share a block, each with up to four of them in flight. */
static uint32_t rowwise_units(const mxg_kernel *kernel, uint32_t bytes) {
  uint32_t run = least(kernel->vec, kernel->dst.block_cols), lanes = least(32, kernel->dst.block_cols / run);
  uint32_t runs = kernel->dst.block_cols / (run * lanes), held = bytes * runs;
  uint32_t batch = least(least(4, lanes), held >= 64 ? 1 : 64 / held);
  return kernel->threads / lanes * batch;
}

/* Threads hold strips of columns, 8 bytes wide. */
static uint32_t strip_columns(const mxg_kernel *kernel, uint32_t src_bytes) {
  return least(kernel->vec, 8 / src_bytes);
}

void mxg_kernel_size(mxg_kernel *kernel, const mxg_kernel_shape *shape) {
  uint32_t src_bytes = mxg_elem_bytes(kernel->src.elem), bytes = kernel->vec * src_bytes, strip;
  bool given = shape && shape->threads && kernel->family != MXG_QUANTIZE_BOTH;
  kernel->threads = given ? shape->threads : threads_of_block;
  switch ((mxg_family)kernel->family) {
  case MXG_MOVE: kernel->tile_units = flat_units(kernel, bytes); return;
  case MXG_DEQUANTIZE:
    kernel->tile_units = flat_units(kernel, bytes);
    /* Columns with scales of their own: four rows to a thread. */
    if (kernel->src.block_cols == 1 && kernel->tile_units < kernel->threads * 4)
      kernel->tile_units = kernel->threads * 4;
    return;
  case MXG_AMAX:
  case MXG_QUANTIZE_WHOLE: kernel->tile_units = kernel->threads * 4; return;
  case MXG_QUANTIZE_ROWWISE: kernel->tile_units = rowwise_units(kernel, bytes); return;
  case MXG_QUANTIZE_COLUMNWISE:
    strip = strip_columns(kernel, src_bytes);
    if (src_bytes == 1 && !given) kernel->threads = 128; /* four threads share a block of 32 rows */
    kernel->tile_units = kernel->threads / (src_bytes == 1 ? 4 : 1) * strip;
    return;
  case MXG_QUANTIZE_SQUARE:
    strip = strip_columns(kernel, src_bytes);
    kernel->tile_units = kernel->dst.block_rows >= 128 ? 1 : kernel->threads / (32 / strip);
    return;
  case MXG_QUANTIZE_BOTH: kernel->tile_units = src_bytes == 4 ? 8 : 16; return; /* squares held in shared memory */
  case MXG_FAMILIES: break;
  }
  kernel->tile_units = 1;
}
