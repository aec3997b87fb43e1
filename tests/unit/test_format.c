/* format.c: shapes of stored arrays and scales, the wire form, units of work. Expected numbers are written out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "plan.h"

static mxg_encoding encoding_of(unsigned elem, unsigned scale, unsigned layout, uint32_t block_rows,
                                uint32_t block_cols) {
  mxg_encoding encoding = {0};
  encoding.elem = (uint8_t)elem;
  encoding.scale = (uint8_t)scale;
  encoding.layout = (uint8_t)layout;
  encoding.block_rows = block_rows;
  encoding.block_cols = block_cols;
  return encoding;
}

static void shape_is(mxg_encoding encoding, uint64_t rows, uint64_t cols, const uint64_t want[6]) {
  mxg_scale_shape shape = mxg_scale_shape_of(&encoding, rows, cols);
  assert_int_equal(shape.rows, want[0]);
  assert_int_equal(shape.cols, want[1]);
  assert_int_equal(shape.stored_rows, want[2]);
  assert_int_equal(shape.stored_cols, want[3]);
  assert_int_equal(shape.ld, want[4]);
  assert_int_equal(shape.bytes_each, want[5]);
}

static void scale_shapes(void **state) {
  (void)state;
  const uint32_t whole = MX_WHOLE;
  shape_is(encoding_of(MX_BF16, MX_SCALE_NONE, MX_COMPACT, 0, 0), 70, 90, (uint64_t[6]){0, 0, 0, 0, 0, 0});
  shape_is(encoding_of(MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, 1, 32), 130, 250, (uint64_t[6]){130, 8, 130, 8, 8, 1});
  shape_is(encoding_of(MX_E4M3, MX_SCALE_E8M0, MX_PADDED, 1, 32), 130, 270, (uint64_t[6]){130, 9, 256, 12, 12, 1});
  shape_is(encoding_of(MX_E4M3, MX_SCALE_E8M0, MX_SWIZZLED, 1, 32), 130, 270, (uint64_t[6]){130, 9, 256, 12, 3, 1});
  shape_is(encoding_of(MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, 32, 1), 130, 250, (uint64_t[6]){5, 250, 5, 250, 250, 1});
  shape_is(encoding_of(MX_E4M3, MX_SCALE_E8M0, MX_PADDED, 32, 1), 130, 250, (uint64_t[6]){5, 250, 8, 256, 256, 1});
  shape_is(encoding_of(MX_E4M3, MX_SCALE_E8M0, MX_SWIZZLED, 32, 1), 130, 250, (uint64_t[6]){5, 250, 8, 256, 2, 1});
  shape_is(encoding_of(MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, 32, 32), 130, 250, (uint64_t[6]){5, 8, 5, 8, 8, 1});
  shape_is(encoding_of(MX_E4M3, MX_SCALE_FP32, MX_COMPACT, 128, 128), 130, 250, (uint64_t[6]){2, 2, 2, 2, 2, 4});
  shape_is(encoding_of(MX_E4M3, MX_SCALE_FP32, MX_COMPACT, whole, whole), 130, 250, (uint64_t[6]){1, 1, 1, 1, 1, 4});
  shape_is(encoding_of(MX_FP32, MX_SCALE_AMAX, MX_COMPACT, whole, whole), 130, 250, (uint64_t[6]){1, 1, 1, 1, 1, 4});
}

static void file_shapes(void **state) {
  (void)state;
  mxg_encoding encodings[] = {
      encoding_of(MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, 1, 32),
      encoding_of(MX_E4M3, MX_SCALE_E8M0, MX_PADDED, 32, 1),
      encoding_of(MX_E4M3, MX_SCALE_FP32, MX_COMPACT, MX_WHOLE, MX_WHOLE),
      encoding_of(MX_BF16, MX_SCALE_NONE, MX_COMPACT, 0, 0),
  };
  mxg_plan plan = {.encodings = encodings, .encoding_count = 4};
  uint64_t dims[3] = {0};

  mxg_array stack = {.encoding = 0, .ndim = 3, .matrices = 5, .rows = 7, .cols = 96};
  assert_int_equal(mxg_array_shape(&stack, dims), 3);
  assert_int_equal(dims[0], 5);
  assert_int_equal(dims[1], 7);
  assert_int_equal(dims[2], 96);
  assert_int_equal(mxg_array_data_bytes(&plan, &stack), 5 * 7 * 96);
  assert_int_equal(mxg_array_scale_bytes(&plan, &stack), 5 * 7 * 3);
  assert_int_equal(mxg_array_scale_dims(&plan, &stack, dims), 3);
  assert_int_equal(dims[2], 3);

  mxg_array columnwise = {.encoding = 1, .ndim = 2, .matrices = 1, .rows = 64, .cols = 100};
  assert_int_equal(mxg_array_scale_dims(&plan, &columnwise, dims), 2);
  assert_int_equal(dims[0], 4);
  assert_int_equal(dims[1], 128);
  assert_int_equal(mxg_array_scale_bytes(&plan, &columnwise), 4 * 128);

  stack.encoding = 2;
  assert_int_equal(mxg_array_scale_dims(&plan, &stack, dims), 1);
  assert_int_equal(dims[0], 5);
  assert_int_equal(mxg_array_scale_bytes(&plan, &stack), 20);
  columnwise.encoding = 2;
  assert_int_equal(mxg_array_scale_dims(&plan, &columnwise, dims), 0);

  mxg_array vector = {.encoding = 3, .ndim = 1, .matrices = 1, .rows = 1, .cols = 100};
  assert_int_equal(mxg_array_shape(&vector, dims), 1);
  assert_int_equal(dims[0], 100);
  assert_int_equal(mxg_array_data_bytes(&plan, &vector), 200);
  assert_int_equal(mxg_array_scale_bytes(&plan, &vector), 0);
  assert_int_equal(mxg_array_scale_dims(&plan, &vector, dims), 0);

  /* Models pass 2^32 elements. */
  mxg_array large = {.encoding = 3, .ndim = 3, .matrices = 256, .rows = 1u << 15, .cols = 1u << 15};
  assert_true(mxg_array_data_bytes(&plan, &large) == 1ull << 39);
}

/* Rows 5..9 and 40..99, columns 48..143 of a 32x32-scaled matrix: blocks rows 0, then 1..3; columns 1..4. */
static void wire_takes_whole_blocks(void **state) {
  (void)state;
  mxg_encoding encodings[] = {
      encoding_of(MX_E4M3, MX_SCALE_E8M0, MX_SWIZZLED, 32, 32),
      encoding_of(MX_BF16, MX_SCALE_NONE, MX_COMPACT, 0, 0),
      encoding_of(MX_E4M3, MX_SCALE_FP32, MX_COMPACT, MX_WHOLE, MX_WHOLE),
  };
  mxg_segment segments[] = {{.src_row = 5, .dst_row = 0, .rows = 5}, {.src_row = 40, .dst_row = 5, .rows = 60}};
  mxg_array array = {.encoding = 0, .ndim = 2, .matrices = 1, .rows = 128, .cols = 160};
  mxg_plan plan = {.encodings = encodings, .arrays = &array, .segments = segments};
  mxg_piece piece = {.src_col = 48, .cols = 96, .segments = 2, .rows = 65};
  mxg_wire wire = mxg_wire_of(&plan, &piece);
  assert_int_equal(wire.data_bytes, 65 * 96);
  assert_int_equal(wire.scale_offset, 6240);
  assert_int_equal(wire.bytes, 6240 + (1 + 3) * 4);
  assert_int_equal(mxg_wire_encoding(&encodings[0]).layout, MX_COMPACT);

  array.encoding = 1;
  wire = mxg_wire_of(&plan, &piece);
  assert_int_equal(wire.bytes, 65 * 96 * 2);

  array.encoding = 2;
  piece.cols = 95;
  wire = mxg_wire_of(&plan, &piece);
  assert_int_equal(wire.data_bytes, 65 * 95);
  assert_int_equal(wire.scale_offset, 6176);
  assert_int_equal(wire.bytes, 6176 + 2 * 4);
}

static void units_of_work(void **state) {
  (void)state;
  mxg_kernel kernel = {.vec = 8, .tile_units = 16};
  kernel.family = MXG_MOVE;
  assert_int_equal(mxg_kernel_units(&kernel, 3, 65), 3 * 9);
  assert_int_equal(mxg_kernel_tiles(&kernel, 3, 65), 2);
  assert_int_equal(mxg_kernel_tiles(&kernel, 0, 65), 0);
  kernel.family = MXG_QUANTIZE_ROWWISE;
  kernel.dst.block_rows = 1;
  kernel.dst.block_cols = 32;
  assert_int_equal(mxg_kernel_units(&kernel, 3, 65), 9);
  kernel.family = MXG_QUANTIZE_COLUMNWISE;
  kernel.dst.block_rows = 32;
  kernel.dst.block_cols = 1;
  assert_int_equal(mxg_kernel_units(&kernel, 33, 65), 130);
  assert_int_equal(mxg_kernel_tiles(&kernel, 33, 65), 9);
  kernel.family = MXG_QUANTIZE_SQUARE;
  kernel.dst.block_rows = kernel.dst.block_cols = 128;
  assert_int_equal(mxg_kernel_units(&kernel, 129, 257), 6);
  for (unsigned i = 0; i < MXG_FAMILIES; i++) assert_true(strlen(mxg_family_name(i)) > 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scale_shapes),
      cmocka_unit_test(file_shapes),
      cmocka_unit_test(wire_takes_whole_blocks),
      cmocka_unit_test(units_of_work),
  };
  return cmocka_run_group_tests_name("format", tests, NULL, NULL) != 0;
}
