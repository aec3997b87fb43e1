/* Kernels in every shape that `mxgen tune` tries, against the host's conversion, bit for bit: a tuning file changes how
** fast bytes come, and none of them. */
#include "compare.h"

#include "emit.h"
#include "tune.h"

#define FP8(e, s, l, r, br, bc) \
  { .elem = e, .scale = s, .layout = l, .rule = r, .block_rows = br, .block_cols = bc }

static const mxg_encoding bf16 = {.elem = MX_BF16};
static const mxg_encoding row = FP8(MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, MX_RCEIL, 1, 32);
static const mxg_encoding row_swizzled = FP8(MX_E4M3, MX_SCALE_E8M0, MX_SWIZZLED, MX_RCEIL, 1, 32);
static const mxg_encoding column = FP8(MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, MX_RCEIL, 32, 1);
static const mxg_encoding square = FP8(MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, MX_RCEIL, 32, 32);
static const mxg_encoding block = FP8(MX_E4M3, MX_SCALE_FP32, MX_COMPACT, MX_RULE_NONE, 128, 128);
static const mxg_encoding whole = FP8(MX_E4M3, MX_SCALE_FP32, MX_COMPACT, MX_RULE_NONE, MX_WHOLE, MX_WHOLE);
static const mxg_encoding scratch = {
    .elem = MX_FP32, .scale = MX_SCALE_AMAX, .block_rows = MX_WHOLE, .block_cols = MX_WHOLE};

/* One of each family, and those whose templates have a path of their own. */
static const struct {
  mxg_family family;
  const mxg_encoding *src, *dst;
} works[] = {{MXG_MOVE, &row, &row},
             {MXG_MOVE, &row, &row_swizzled},
             {MXG_DEQUANTIZE, &row, &bf16},
             {MXG_DEQUANTIZE, &column, &bf16},
             {MXG_QUANTIZE_ROWWISE, &bf16, &row},
             {MXG_QUANTIZE_ROWWISE, &bf16, &row_swizzled},
             {MXG_QUANTIZE_COLUMNWISE, &bf16, &column},
             {MXG_QUANTIZE_COLUMNWISE, &row, &column},
             {MXG_QUANTIZE_SQUARE, &bf16, &square},
             {MXG_QUANTIZE_SQUARE, &bf16, &block},
             {MXG_AMAX, &scratch, &scratch},
             {MXG_QUANTIZE_WHOLE, &scratch, &whole}};
enum { WORKS = sizeof works / sizeof *works, KERNELS = WORKS * MXG_TUNE_SHAPES };

static mxg_kernel kernels[KERNELS];
static uint32_t kernel_count;

static int compile_all(void **state) {
  (void)state;
  for (size_t i = 0; i < WORKS; i++) {
    mxg_kernel plain = {.family = (uint8_t)works[i].family, .src = *works[i].src, .dst = *works[i].dst};
    mxg_kernel_shape shapes[MXG_TUNE_SHAPES];
    plain.vec = mxg_kernel_widest(works[i].family, works[i].src, works[i].dst, NULL);
    mxg_kernel_size(&plain, NULL);
    uint32_t count = mxg_tune_shapes_of(shapes, &plain);
    for (uint32_t k = 0; k < count; k++) {
      mxg_kernel *kernel = &kernels[kernel_count++];
      *kernel = plain;
      kernel->vec = mxg_kernel_widest(works[i].family, works[i].src, works[i].dst, &shapes[k]);
      mxg_kernel_size(kernel, &shapes[k]);
      mxg_kernel_name(kernel);
    }
  }
  return emulate_prepare(kernels, kernel_count);
}

static int free_compiled(void **state) {
  (void)state;
  emulate_free();
  return 0;
}

/* Whole tiles; what is left of one, and columns that end inside an access; an odd number of tiles in one entry. */
static void every_shape_equals_the_host(void **state) {
  (void)state;
  static const uint32_t extents[][2] = {{256, 512}, {133, 77}, {97, 512}};
  for (uint32_t k = 0; k < kernel_count; k++) {
    for (uint32_t i = 0; i < (is_quick() ? 1 : 3); i++) {
      const mxg_kernel *kernel = &kernels[k];
      shape s = {.family = (mxg_family)kernel->family,
                 .vec = kernel->vec,
                 .rows = extents[i][0],
                 .cols = extents[i][1],
                 .segment = 128};
      random_state = k * 10 + i;
      run(&s, kernel, k + i);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_shape_equals_the_host)};
  const char *missing = emulate_missing();
  if (missing) return printf("skipped: %s\n", missing), 77;
  return cmocka_run_group_tests_name("shapes", tests, compile_all, free_compiled) != 0;
}
