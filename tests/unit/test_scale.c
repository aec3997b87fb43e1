/* mx_scale.h: every scale of a matrix has its own place inside the stored size, and the place is the documented one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "mx_scale.h"
#include "plan.h"

static const struct { uint32_t block_rows, block_cols; } blocks[] = {{1, 32}, {32, 1}, {32, 32}, {128, 128}, {1, 16}};

static const struct {
  uint64_t rows, cols;
} shapes[] = {{1, 1}, {1, 32}, {31, 33}, {128, 128}, {129, 160}, {257, 4130}, {4100, 129}, {300, 700}};

static void places_are_distinct_and_inside(void **state) {
  (void)state;
  for (size_t b = 0; b < sizeof(blocks) / sizeof(blocks[0]); b++) {
    for (size_t n = 0; n < sizeof(shapes) / sizeof(shapes[0]); n++) {
      for (int layout = MX_COMPACT; layout <= MX_SWIZZLED; layout++) {
        mxg_encoding encoding = {.elem = MX_E4M3, .scale = MX_SCALE_E8M0, .layout = (uint8_t)layout};
        encoding.block_rows = blocks[b].block_rows;
        encoding.block_cols = blocks[b].block_cols;
        mxg_scale_shape shape = mxg_scale_shape_of(&encoding, shapes[n].rows, shapes[n].cols);
        uint64_t stored = shape.stored_rows * shape.stored_cols;
        unsigned char *seen = calloc(stored, 1);
        assert_non_null(seen);
        int columnwise = mx_is_columnwise(encoding.block_rows, encoding.block_cols);
        for (uint32_t i = 0; i < shape.rows; i++) {
          for (uint32_t j = 0; j < shape.cols; j++) {
            uint64_t at = mx_scale_offset(layout, columnwise, shape.ld, i, j);
            assert_true(at < stored);
            assert_int_equal(seen[at], 0);
            seen[at] = 1;
            /* The inverse, as the references state it. */
            uint64_t row = 0, col = 0;
            if (layout == MX_SWIZZLED) {
              uint64_t tiles = ((columnwise ? shape.rows : shape.cols) + 3) / 4, tile = at / 512, rest = at % 512;
              row = tile / tiles * 128 + rest % 16 / 4 * 32 + rest / 16;
              col = tile % tiles * 4 + rest % 4;
              if (columnwise) {
                uint64_t swap = row;
                row = col;
                col = swap;
              }
            } else {
              row = at / shape.stored_cols;
              col = at % shape.stored_cols;
            }
            assert_int_equal(row, i);
            assert_int_equal(col, j);
          }
        }
        free(seen);
      }
    }
  }
}

static void known_places(void **state) {
  (void)state;
  assert_int_equal(mx_scale_offset(MX_SWIZZLED, 0, 3, 0, 0), 0);
  assert_int_equal(mx_scale_offset(MX_SWIZZLED, 0, 3, 1, 0), 16);
  assert_int_equal(mx_scale_offset(MX_SWIZZLED, 0, 3, 33, 2), 16 + 4 + 2);
  assert_int_equal(mx_scale_offset(MX_SWIZZLED, 0, 3, 127, 7), 512 + 31 * 16 + 12 + 3);
  assert_int_equal(mx_scale_offset(MX_SWIZZLED, 0, 3, 128, 11), 3 * 512 + 2 * 512 + 3);
  assert_int_equal(mx_scale_offset(MX_SWIZZLED, 1, 3, 11, 128), 3 * 512 + 2 * 512 + 3);
  assert_int_equal(mx_scale_offset(MX_COMPACT, 1, 100, 2, 7), 207);
  assert_true(mx_scale_offset(MX_PADDED, 0, 1u << 20, 1u << 20, 5) == (1ull << 40) + 5);
}

static void blocks_of_a_row(void **state) {
  (void)state;
  assert_int_equal(mx_block_index(63, 32), 1);
  assert_int_equal(mx_block_index(63, MX_WHOLE), 0);
  assert_int_equal(mx_block_index(63, 0), 0);
  assert_true(mx_block_first(64, 32));
  assert_false(mx_block_first(65, 32));
  assert_true(mx_block_first(0, MX_WHOLE));
  assert_false(mx_block_first(32, MX_WHOLE));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(places_are_distinct_and_inside),
      cmocka_unit_test(known_places),
      cmocka_unit_test(blocks_of_a_row),
  };
  return cmocka_run_group_tests_name("scale", tests, NULL, NULL) != 0;
}
