/* Both directions in one pass: entries in pairs, each target against the host's conversion, bit for bit. */
#include "compare.h"

#include "emit.h"

#define TO(e, l, r, n) \
  { .elem = e, .scale = MX_SCALE_E8M0, .layout = l, .rule = r, .nan = n, .block_rows = 1, .block_cols = 32 }

static const mxg_encoding bf16 = {.elem = MX_BF16}, fp16 = {.elem = MX_FP16}, fp32 = {.elem = MX_FP32};
static const mxg_encoding compact = TO(MX_E4M3, MX_COMPACT, MX_RCEIL, MX_NAN_BLOCK);
static const mxg_encoding padded = TO(MX_E5M2, MX_PADDED, MX_FLOOR, MX_NAN_ELEMENT);
static const mxg_encoding swizzled = TO(MX_E4M3, MX_SWIZZLED, MX_EVEN, MX_NAN_BLOCK);

typedef struct both_case {
  const mxg_encoding *src, *dst;
  uint32_t fixed_cols, vec, threads, tile_units, rows, cols;
} both_case;

static const both_case cases[] = {
    {&bf16, &compact, 512, 8, 256, 16, 64, 512}, {&bf16, &padded, 0, 8, 256, 16, 70, 336},
    {&bf16, &swizzled, 0, 4, 128, 8, 150, 196},  {&fp16, &compact, 0, 2, 64, 5, 40, 86},
    {&fp32, &swizzled, 0, 4, 256, 8, 33, 292},   {&fp32, &padded, 0, 1, 64, 3, 31, 77},
    {&bf16, &compact, 0, 8, 128, 4, 96, 77},
};
enum { CASES = sizeof cases / sizeof *cases };

static mxg_kernel kernels[CASES];

static int compile_all(void **state) {
  (void)state;
  for (size_t i = 0; i < CASES; i++) {
    const both_case *c = &cases[i];
    kernels[i] = (mxg_kernel){.family = MXG_QUANTIZE_BOTH,
                              .cols = c->fixed_cols,
                              .vec = c->vec,
                              .threads = c->threads,
                              .tile_units = c->tile_units,
                              .src = *c->src,
                              .dst = *c->dst};
    mxg_kernel_name(&kernels[i]);
  }
  return emulate_prepare(kernels, CASES);
}

static int free_compiled(void **state) {
  (void)state;
  emulate_free();
  return 0;
}

/* Pairs over two runs of rows, the first a multiple of 32. */
static uint32_t pairs(mx_entry *entries, uint64_t *tiles, const mxg_kernel *kernel, const matrix *src,
                      const matrix *across, const matrix *down, uint32_t rows, uint32_t cols) {
  uint32_t count = 0, cut = rows > 32 ? 32 : rows;
  *tiles = 0;
  for (uint32_t r = 0; r < rows; r += r ? rows : cut) {
    uint32_t n = r ? rows - r : cut;
    for (int direction = 0; direction < 2; direction++) {
      const matrix *to = direction ? down : across;
      entries[count++] = (mx_entry){.src = (uintptr_t)src->data,
                                    .dst = (uintptr_t)to->data,
                                    .dst_scale = (uintptr_t)to->scale,
                                    .src_ld = (uint32_t)src->ld,
                                    .dst_ld = (uint32_t)to->ld,
                                    .src_row = r,
                                    .dst_row = r,
                                    .rows = n,
                                    .cols = cols,
                                    .dst_scale_ld = to->scale_ld,
                                    .first_tile = *tiles};
    }
    *tiles += mxg_kernel_tiles(kernel, n, cols);
  }
  return count;
}

static void both_targets_equal_the_host(void **state) {
  (void)state;
  for (size_t i = 0; i < CASES; i++) {
    for (uint32_t seed = 0; seed < 3; seed++) {
      const both_case *c = &cases[i];
      const shape s = {.rows = c->rows, .cols = c->cols, .vec = c->vec};
      mxg_encoding down = *c->dst;
      down.block_rows = 32, down.block_cols = 1;
      uint32_t ld = up(c->cols, c->vec);
      random_state = i * 1000 + seed;
      matrix src = matrix_of(c->src, c->rows, c->cols, ld, 0, 0);
      randomise(&src, c->src, seed);
      matrix got[2], want[2];
      for (int d = 0; d < 2; d++) {
        got[d] = matrix_of(d ? &down : c->dst, c->rows, c->cols, ld, GUARD, seed % 2 ? 0xff : 0xa5);
        want[d] = matrix_of(d ? &down : c->dst, c->rows, c->cols, ld, GUARD, seed % 2 ? 0xff : 0xa5);
      }
      mx_entry *entries = emulate_alloc(8 * sizeof *entries);
      assert_non_null(entries);
      uint64_t tiles = 0;
      uint32_t count = pairs(entries, &tiles, &kernels[i], &src, &want[0], &want[1], c->rows, c->cols);
      mxg_convert_entries(&kernels[i], entries, count);
      count = pairs(entries, &tiles, &kernels[i], &src, &got[0], &got[1], c->rows, c->cols);
      assert_int_equal(emulate_kernel(&kernels[i], entries, count, tiles), 0);
      for (int d = 0; d < 2; d++) {
        same(d ? "columnwise data" : "rowwise data", got[d].data - GUARD, want[d].data - GUARD, got[d].data_bytes, &s,
             &kernels[i], 1);
        same(d ? "columnwise scale" : "rowwise scale", got[d].scale - GUARD, want[d].scale - GUARD, got[d].scale_bytes,
             &s, &kernels[i], 1);
        free_matrix(&got[d]);
        free_matrix(&want[d]);
      }
      emulate_release(entries);
      free_matrix(&src);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(both_targets_equal_the_host)};
  const char *missing = emulate_missing();
  if (missing) return printf("skipped: %s\n", missing), 77;
  return cmocka_run_group_tests_name("both", tests, compile_all, free_compiled) != 0;
}
