/* kernel_shape.c -- see kernel_shape.h. The figures behind the choices are in tests/bench/H200.md. */
#include "kernel_shape.h"

enum { threads_of_block = 256 };

uint32_t mxg_kernel_widest(mxg_family family, const mxg_encoding *src, const mxg_encoding *dst) {
  uint32_t src_bytes = mxg_elem_bytes(src->elem), dst_bytes = mxg_elem_bytes(dst->elem);
  uint32_t wide = src_bytes > dst_bytes ? src_bytes : dst_bytes;
  return 16 / (family == MXG_QUANTIZE_ROWWISE ? src_bytes : wide);
}

void mxg_kernel_size(mxg_kernel *kernel) {
  kernel->threads = threads_of_block;
  switch ((mxg_family)kernel->family) {
  case MXG_MOVE:
  case MXG_DEQUANTIZE:
  case MXG_AMAX:
  case MXG_QUANTIZE_WHOLE: kernel->tile_units = threads_of_block * 4; return;
  case MXG_QUANTIZE_ROWWISE: kernel->tile_units = threads_of_block; return;
  case MXG_QUANTIZE_COLUMNWISE: kernel->tile_units = threads_of_block * 4; return; /* a thread takes several columns */
  case MXG_QUANTIZE_SQUARE: kernel->tile_units = kernel->dst.block_rows >= 128 ? 1 : threads_of_block / 32; return;
  case MXG_FAMILIES: break;
  }
  kernel->tile_units = 1;
}
