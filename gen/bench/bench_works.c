/* bench_works.c -- see bench_works.h. The shares asked for are the project's own targets. */
#include "bench_works.h"

#include "emit.h"
#include "kernel_shape.h"

#define MXFP8(e, l, br, bc) \
  { .elem = e, .scale = MX_SCALE_E8M0, .layout = l, .rule = MX_RCEIL, .block_rows = br, .block_cols = bc }

static const mxg_encoding bf16 = {.elem = MX_BF16}, fp16 = {.elem = MX_FP16}, fp32 = {.elem = MX_FP32};
static const mxg_encoding row_e4m3 = MXFP8(MX_E4M3, MX_COMPACT, 1, 32), row_e5m2 = MXFP8(MX_E5M2, MX_COMPACT, 1, 32);
static const mxg_encoding row_swizzled = MXFP8(MX_E4M3, MX_SWIZZLED, 1, 32);
static const mxg_encoding column_e4m3 = MXFP8(MX_E4M3, MX_COMPACT, 32, 1);
static const mxg_encoding column_e5m2 = MXFP8(MX_E5M2, MX_COMPACT, 32, 1);
static const mxg_encoding column_swizzled = MXFP8(MX_E4M3, MX_SWIZZLED, 32, 1);
static const mxg_encoding square = MXFP8(MX_E4M3, MX_COMPACT, 32, 32);
static const mxg_encoding block = {.elem = MX_E4M3, .scale = MX_SCALE_FP32, .block_rows = 128, .block_cols = 128};

const mxg_work mxg_works[] = {
    {"dequantize e4m3 to bf16", MXG_DEQUANTIZE, &row_e4m3, &bf16, 0.95, 0.97, 0.92, false, NULL, 0},
    {"dequantize e5m2 to bf16", MXG_DEQUANTIZE, &row_e5m2, &bf16, 0.95, 0.97, 0, false, NULL, 0},
    {"dequantize, swizzled scales", MXG_DEQUANTIZE, &row_swizzled, &bf16, 0.95, 0.97, 0, false,
     "dequantize e4m3 to bf16", 1.02},
    {"dequantize, columns open", MXG_DEQUANTIZE, &row_e4m3, &bf16, 0, 0, 0, true, "dequantize e4m3 to bf16", 0},
    {"dequantize columnwise to bf16", MXG_DEQUANTIZE, &column_e4m3, &bf16, 0.95, 0.97, 0, false, NULL, 0},
    {"dequantize 32x32 to bf16", MXG_DEQUANTIZE, &square, &bf16, 0.95, 0.97, 0, false, NULL, 0},
    {"dequantize fp8 128x128 to bf16", MXG_DEQUANTIZE, &block, &bf16, 0.95, 0.97, 0, false, NULL, 0},
    {"dequantize e4m3 to fp16", MXG_DEQUANTIZE, &row_e4m3, &fp16, 0.95, 0.97, 0, false, NULL, 0},
    {"dequantize e4m3 to fp32", MXG_DEQUANTIZE, &row_e4m3, &fp32, 0.95, 0.97, 0, false, NULL, 0},
    {"quantize rowwise e4m3", MXG_QUANTIZE_ROWWISE, &bf16, &row_e4m3, 0.95, 0.97, 0.92, false, NULL, 0},
    {"quantize rowwise e5m2", MXG_QUANTIZE_ROWWISE, &bf16, &row_e5m2, 0.95, 0.97, 0, false, NULL, 0},
    {"quantize rowwise, swizzled", MXG_QUANTIZE_ROWWISE, &bf16, &row_swizzled, 0.95, 0.97, 0, false,
     "quantize rowwise e4m3", 1.02},
    {"quantize rowwise, columns open", MXG_QUANTIZE_ROWWISE, &bf16, &row_e4m3, 0, 0, 0, true, "quantize rowwise e4m3",
     0},
    {"quantize rowwise from fp16", MXG_QUANTIZE_ROWWISE, &fp16, &row_e4m3, 0.95, 0.97, 0, false, NULL, 0},
    {"quantize rowwise from fp32", MXG_QUANTIZE_ROWWISE, &fp32, &row_e4m3, 0.95, 0.97, 0, false, NULL, 0},
    {"quantize columnwise e4m3", MXG_QUANTIZE_COLUMNWISE, &bf16, &column_e4m3, 0.95, 0.97, 0, false, NULL, 0},
    {"quantize columnwise e5m2", MXG_QUANTIZE_COLUMNWISE, &bf16, &column_e5m2, 0.95, 0.97, 0, false, NULL, 0},
    {"quantize columnwise, swizzled", MXG_QUANTIZE_COLUMNWISE, &bf16, &column_swizzled, 0.95, 0.97, 0, false,
     "quantize columnwise e4m3", 1.02},
    {"quantize in both directions", MXG_QUANTIZE_BOTH, &bf16, &row_e4m3, 0.90, 0.94, 0, false, NULL, 0},
    {"quantize both, swizzled", MXG_QUANTIZE_BOTH, &bf16, &row_swizzled, 0.90, 0.94, 0, false,
     "quantize in both directions", 1.02},
    {"quantize 32x32", MXG_QUANTIZE_SQUARE, &bf16, &square, 0.92, 0.95, 0, false, NULL, 0},
    {"quantize fp8 128x128", MXG_QUANTIZE_SQUARE, &bf16, &block, 0.92, 0.95, 0, false, NULL, 0},
    {"requantize rowwise to columnwise", MXG_QUANTIZE_COLUMNWISE, &row_e4m3, &column_e4m3, 0.88, 0.92, 0, false, NULL,
     0},
    {"requantize rowwise to fp8 128x128", MXG_QUANTIZE_SQUARE, &row_e4m3, &block, 0.88, 0.92, 0, false, NULL, 0},
    {"move, compact scales", MXG_MOVE, &row_e4m3, &row_e4m3, 0.95, 0.97, 0, false, NULL, 0},
    {"move, scales to swizzled", MXG_MOVE, &row_e4m3, &row_swizzled, 0.95, 0.97, 0, false, "move, compact scales",
     1.02},
};
const unsigned mxg_work_count = sizeof mxg_works / sizeof *mxg_works;

void mxg_work_kernel(mxg_kernel *kernel, const mxg_work *work, uint32_t cols) {
  *kernel = (mxg_kernel){.family = (uint8_t)work->family, .src = *work->src, .dst = *work->dst};
  kernel->cols = work->open ? 0 : cols;
  kernel->src.rule = MX_RULE_NONE;
  if (work->family == MXG_MOVE || work->family == MXG_DEQUANTIZE) kernel->dst.rule = MX_RULE_NONE;
  kernel->vec = mxg_kernel_widest(work->family, work->src, work->dst, NULL);
  mxg_kernel_size(kernel, NULL);
}
