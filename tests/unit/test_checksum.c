/* checksum.h: the same values in every format and scale layout have one checksum; a changed value has another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "checksum.h"
#include "memory.h"
#include "mx_convert.h"
#include "mx_scale.h"

enum { matrices = 2, rows = 160, cols = 288, elems = matrices * rows * cols };

static uint64_t values_of(const mxg_stored *stored) {
  uint64_t one, many;
  mxg_error err;
  assert_int_equal(mxg_checksum_values(&one, stored, 1, &err), MXG_OK);
  assert_int_equal(mxg_checksum_values(&many, stored, 4, &err), MXG_OK);
  assert_true(one == many);
  return one;
}

/* Elements of every kind, a scale of its own for every block, so that a wrong scale address is seen. The same array is
** built as FP32 by the definition, and must have the same value checksum. */
static void check_encoding(mxg_encoding encoding) {
  mxg_scale_shape shape = mxg_scale_shape_of(&encoding, rows, cols);
  uint64_t scales = shape.stored_rows * shape.stored_cols;
  unsigned char *data = malloc(elems), *scale = calloc(matrices * scales, shape.bytes_each);
  uint32_t *fp32 = malloc(sizeof *fp32 * elems);
  bool columnwise = encoding.block_cols == 1;
  uint32_t random = 1;
  for (uint32_t i = 0; i < elems; i++) {
    random = random * 1664525 + 1013904223;
    data[i] = (unsigned char)(random >> 24);
  }
  for (uint32_t m = 0; m < matrices; m++)
    for (uint32_t r = 0; r < rows; r++)
      for (uint32_t c = 0; c < cols; c++) {
        uint32_t i = mx_block_index(r, encoding.block_rows), j = mx_block_index(c, encoding.block_cols);
        uint64_t at = m * scales + mx_scale_offset(encoding.layout, columnwise, shape.ld, i, j);
        uint32_t q = data[(m * rows + r) * cols + c], value, raw;
        if (shape.bytes_each == 1) {
          raw = scale[at] = (unsigned char)((m * 101 + i * 31 + j * 7) % 256);
          value = mx_e8m0_decode(raw);
        } else {
          raw = value = 0x3f800000u + (m * 7919 + i * 131 + j) * 1009;
          memcpy(scale + 4 * at, &raw, 4);
        }
        value = mx_dequantize(encoding.elem, q, value);
        fp32[(m * rows + r) * cols + c] = (value & 0x7fffffff) > 0x7f800000 ? 0x7fc00001 : value; /* another NaN */
      }
  mxg_stored stored = {encoding, matrices, rows, cols, data, scale};
  mxg_stored plain = {{.elem = MX_FP32}, matrices, rows, cols, fp32, NULL};
  uint64_t before = values_of(&stored);
  assert_true(before == values_of(&plain));
  data[elems - 1] = (unsigned char)(data[elems - 1] == 0x11 ? 0x12 : 0x11);
  assert_true(before != values_of(&stored));
  free(data);
  free(scale);
  free(fp32);
}

static void every_layout_gives_the_same(void **state) {
  (void)state;
  for (uint8_t elem = MX_E4M3; elem <= MX_E5M2; elem++)
    for (uint8_t layout = MX_COMPACT; layout <= MX_SWIZZLED; layout++) {
      check_encoding((mxg_encoding){elem, MX_SCALE_E8M0, layout, MX_RCEIL, 0, {0}, 1, 32});
      check_encoding((mxg_encoding){elem, MX_SCALE_E8M0, layout, MX_RCEIL, 0, {0}, 32, 1});
    }
  check_encoding((mxg_encoding){MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, MX_FLOOR, 0, {0}, 32, 32});
  check_encoding((mxg_encoding){MX_E4M3, MX_SCALE_FP32, MX_COMPACT, 0, 0, {0}, 128, 128});
  check_encoding((mxg_encoding){MX_E4M3, MX_SCALE_FP32, MX_COMPACT, 0, 0, {0}, MX_WHOLE, MX_WHOLE});
}

static void sixteen_bits_are_exact(void **state) {
  (void)state;
  static uint16_t half[65536];
  static uint32_t fp32[65536];
  for (int elem = MX_BF16; elem <= MX_FP16; elem++) {
    for (uint32_t i = 0; i < 65536; i++) {
      half[i] = (uint16_t)i;
      fp32[i] = mx_decode(elem, i);
    }
    mxg_stored stored = {{.elem = (uint8_t)elem}, 1, 256, 256, half, NULL};
    mxg_stored plain = {{.elem = MX_FP32}, 1, 256, 256, fp32, NULL};
    assert_true(values_of(&stored) == values_of(&plain));
    unsigned char *odd = malloc(sizeof half + 1); /* files promise no alignment */
    memcpy(odd + 1, half, sizeof half);
    stored.data = odd + 1;
    assert_true(values_of(&stored) == values_of(&plain));
    free(odd);
  }
}

static void chunks_join_by_the_definition(void **state) {
  (void)state;
  const uint64_t wide = MXG_CHECKSUM_CHUNK + 100; /* a row longer than a chunk, an odd tail */
  uint32_t *fp32 = malloc((size_t)wide * 3 * sizeof *fp32);
  for (uint64_t i = 0; i < wide * 3; i++) fp32[i] = (uint32_t)i & 0x7f7fffff;
  mxg_stored stored = {{.elem = MX_FP32}, 1, 3, wide, fp32, NULL};
  uint64_t words[8] = {wide * 3}, left = wide * 3;
  size_t count = 1;
  for (uint64_t at = 0; left; at += MXG_CHECKSUM_CHUNK) {
    uint64_t take = left < MXG_CHECKSUM_CHUNK ? left : MXG_CHECKSUM_CHUNK;
    words[count++] = XXH3_64bits(fp32 + at, (size_t)take * 4);
    left -= take;
  }
  assert_int_equal(count, 5);
  assert_true(values_of(&stored) == XXH3_64bits(words, count * 8));
  uint64_t before = values_of(&stored);
  uint32_t swap = fp32[5];
  fp32[5] = fp32[6];
  fp32[6] = swap;
  assert_true(before != values_of(&stored)); /* order counts */
  free(fp32);
  stored = (mxg_stored){{.elem = MX_BF16}, 1, 0, 0, NULL, NULL};
  assert_int_equal(mxg_checksum_chunks(&stored), 0);
  values_of(&stored);
}

static void signs_of_zero_differ_and_nans_do_not(void **state) {
  (void)state;
  uint32_t a[2] = {0, 0x7fc00000}, b[2] = {0x80000000, 0x7fc00000}, c[2] = {0, 0xff800001};
  mxg_stored stored = {{.elem = MX_FP32}, 1, 1, 2, a, NULL};
  uint64_t first = values_of(&stored);
  stored.data = b;
  assert_true(first != values_of(&stored));
  stored.data = c;
  assert_true(first == values_of(&stored));
  assert_true(mxg_checksum_bytes(a, sizeof a) != mxg_checksum_bytes(c, sizeof c));
  assert_true(mxg_checksum_bytes("abc", 3) == XXH3_64bits("abc", 3));
}

static void *no_memory(void *old, size_t bytes) {
  if (bytes == 0) free(old);
  return NULL;
}

static void no_memory_is_an_error(void **state) {
  (void)state;
  uint32_t one = 0;
  uint64_t out;
  mxg_error err;
  mxg_stored stored = {{.elem = MX_FP32}, 1, 1, 1, &one, NULL};
  mxg_memory_fn usual = mxg_memory_hook;
  mxg_memory_hook = no_memory;
  mxg_status status = mxg_checksum_values(&out, &stored, 1, &err);
  mxg_memory_hook = usual;
  assert_int_equal(status, MXG_ERR_NOMEM);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_layout_gives_the_same),   cmocka_unit_test(sixteen_bits_are_exact),
      cmocka_unit_test(chunks_join_by_the_definition), cmocka_unit_test(signs_of_zero_differ_and_nans_do_not),
      cmocka_unit_test(no_memory_is_an_error),
  };
  return cmocka_run_group_tests_name("checksum", tests, NULL, NULL) != 0;
}
