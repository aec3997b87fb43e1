/* launch.c: the same piece read from a wire form packed here by hand, from a peer's array directly, and locally
** gives the same target, for sources whose blocks the piece cuts on every side; and tiles are counted as the plan
** says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "launch.h"
#include "mx_scale.h"
#include "reference.h"

enum { src_rows = 300, src_cols = 420, dst_rows = 90, dst_cols = 260, matrices = 3 };

static const mxg_segment segments[] = {{37, 10, 5}, {64, 15, 41}, {250, 0, 10}, {299, 89, 1}};
enum { segment_count = 4, src_matrix = 1, dst_matrix = 2, first_col = 45, to_col = 7, cols = 200 };

static uint32_t random_state = 1234567;

static unsigned char random_byte(void) {
  random_state = random_state * 1664525u + 1013904223u;
  return (unsigned char)(random_state >> 24);
}

/* The byte or word of the scale that governs a source element, by mx_scale.h. */
static uint32_t source_scale(const mxg_encoding *e, const unsigned char *scales, uint32_t row, uint32_t col) {
  mxg_scale_shape shape = mxg_scale_shape_of(e, src_rows, src_cols);
  uint64_t at = src_matrix * shape.stored_rows * shape.stored_cols;
  at += mx_scale_offset(e->layout, mx_is_columnwise(e->block_rows, e->block_cols), shape.ld,
                        mx_block_index(row, e->block_rows), mx_block_index(col, e->block_cols));
  uint32_t raw = scales[at * shape.bytes_each];
  if (shape.bytes_each == 4) memcpy(&raw, scales + at * 4, 4);
  return raw;
}

/* Blocks that [first, first + count) touches, as a half-open range. */
static void touched(uint32_t first, uint32_t count, uint32_t block, uint32_t range[2]) {
  range[0] = block == MX_WHOLE ? 0 : first / block;
  range[1] = block == MX_WHOLE ? 1 : (first + count - 1) / block + 1;
}

/* Data of all segments in order, then, 16-byte aligned, the scales of each: whole blocks, compact. */
static uint64_t pack(unsigned char *wire, const mxg_encoding *e, const unsigned char *data,
                     const unsigned char *scales) {
  uint64_t at = 0;
  unsigned size = mxg_elem_bytes(e->elem);
  for (uint32_t s = 0; s < segment_count; s++) {
    for (uint32_t r = 0; r < segments[s].rows; r++, at += cols * size) {
      uint64_t from = ((uint64_t)src_matrix * src_rows + segments[s].src_row + r) * src_cols + first_col;
      memcpy(wire + at, data + from * size, cols * size);
    }
  }
  if (e->scale == MX_SCALE_NONE) return at;
  at = (at + 15) / 16 * 16;
  unsigned scale_size = e->scale == MX_SCALE_E8M0 ? 1 : 4;
  for (uint32_t s = 0; s < segment_count; s++) {
    uint32_t i[2], j[2];
    touched(segments[s].src_row, segments[s].rows, e->block_rows, i);
    touched(first_col, cols, e->block_cols, j);
    for (uint32_t a = i[0]; a < i[1]; a++) {
      for (uint32_t b = j[0]; b < j[1]; b++, at += scale_size) {
        uint32_t row = e->block_rows == MX_WHOLE ? 0 : a * e->block_rows;
        uint32_t col = e->block_cols == MX_WHOLE ? 0 : b * e->block_cols;
        uint32_t raw = source_scale(e, scales, row, col);
        memcpy(wire + at, &raw, scale_size); /* little-endian, as every machine this runs on */
      }
    }
  }
  return at;
}

static void one_format(mxg_encoding from) {
  mxg_encoding encodings[] = {from, {.elem = MX_BF16}};
  mxg_array arrays[] = {
      {.rank = 0, .encoding = 0, .ndim = 3, .matrices = matrices, .rows = src_rows, .cols = src_cols},
      {.rank = 1, .encoding = 1, .ndim = 3, .matrices = matrices, .rows = dst_rows, .cols = dst_cols},
  };
  mxg_kernel kernels[2] = {[0] = {.family = MXG_DEQUANTIZE, .vec = 4, .tile_units = 64}};
  kernels[0].dst = encodings[1];
  kernels[1] = kernels[0];
  kernels[0].src = mxg_wire_encoding(&from);
  kernels[1].src = from;
  kernels[1].vec = 1;
  mxg_piece piece = {.src = 0, .dst = 1, .src_matrix = src_matrix, .dst_matrix = dst_matrix, .segments = segment_count};
  piece.src_col = first_col;
  piece.dst_col = to_col;
  piece.cols = cols;
  piece.rows = 57;
  piece.kernel_direct = 1;
  piece.wire_offset = 256;
  mxg_segment plan_segments[segment_count];
  memcpy(plan_segments, segments, sizeof segments);
  mxg_plan plan = {.rank_count = 2, .encodings = encodings, .encoding_count = 2, .arrays = arrays, .array_count = 2};
  plan.pieces = &piece;
  plan.piece_count = 1;
  plan.segments = plan_segments;
  plan.segment_count = segment_count;
  plan.kernels = kernels;
  plan.kernel_count = 2;

  uint64_t data_bytes = mxg_array_data_bytes(&plan, &arrays[0]), scale_bytes = mxg_array_scale_bytes(&plan, &arrays[0]);
  uint64_t dst_bytes = mxg_array_data_bytes(&plan, &arrays[1]);
  mxg_wire wire = mxg_wire_of(&plan, &piece);
  unsigned char *data = malloc(data_bytes), *scales = malloc(scale_bytes + 1), *slot = malloc(256 + wire.bytes);
  unsigned char *want = malloc(dst_bytes), *got = malloc(dst_bytes);
  assert_true(data && scales && slot && want && got);
  for (uint64_t i = 0; i < data_bytes; i++) data[i] = random_byte() & 0xbf; /* no NaN in FP32 scales, no huge values */
  for (uint64_t i = 0; i < scale_bytes; i++) scales[i] = random_byte() & 0xbf;
  memset(slot, 0xee, 256 + wire.bytes);
  assert_int_equal(pack(slot + 256, &from, data, scales), wire.bytes);

  /* Expected, element by element. */
  memset(want, 0x11, dst_bytes);
  for (uint32_t s = 0; s < segment_count; s++) {
    for (uint32_t r = 0; r < segments[s].rows; r++) {
      for (uint32_t c = 0; c < cols; c++) {
        uint32_t row = segments[s].src_row + r, col = first_col + c, bits = 0, size = mxg_elem_bytes(from.elem);
        memcpy(&bits, data + (((uint64_t)src_matrix * src_rows + row) * src_cols + col) * size, size);
        double v = decode_reference(from.elem, bits);
        if (from.scale == MX_SCALE_E8M0) v = ldexp(v, (int)source_scale(&from, scales, row, col) - 127);
        if (from.scale == MX_SCALE_FP32) v = value_of(bits_of(v * value_of(source_scale(&from, scales, row, col))));
        uint16_t h = (uint16_t)encode_reference(MX_BF16, v);
        memcpy(want + (((uint64_t)dst_matrix * dst_rows + segments[s].dst_row + r) * dst_cols + to_col + c) * 2, &h, 2);
      }
    }
  }

  for (int way = 0; way < 3; way++) { /* wire, direct, local */
    mx_entry entries[segment_count];
    uint64_t tiles = 0;
    mxg_place places[] = {{(uintptr_t)data, scale_bytes ? (uintptr_t)scales : 0}, {(uintptr_t)got, 0}};
    if (way == 0) places[0] = (mxg_place){0};
    arrays[0].rank = way == 2 ? 1 : 0;
    piece.kernel = way == 2 ? 1 : 0;
    memset(got, 0x11, dst_bytes);
    uint32_t count = mxg_launch_entries(entries, &tiles, &plan, 0, 1, places, (uintptr_t)slot, way == 1);
    assert_int_equal(count, segment_count);
    uint64_t expected_tiles = 0;
    for (uint32_t s = 0; s < segment_count; s++) {
      assert_int_equal(entries[s].first_tile, expected_tiles);
      uint32_t units = segments[s].rows * (way == 0 ? cols / 4 : cols);
      expected_tiles += (units + 63) / 64;
    }
    assert_int_equal(tiles, expected_tiles);
    mxg_convert_entries(&kernels[way == 0 ? 0 : 1], entries, count);
    assert_memory_equal(got, want, dst_bytes);
  }
  free(data), free(scales), free(slot), free(want), free(got);
}

static void wire_direct_and_local_agree(void **state) {
  (void)state;
  one_format((mxg_encoding){.elem = MX_BF16});
  one_format((mxg_encoding){.elem = MX_FP32});
  static const uint32_t blocks[][2] = {{1, 32}, {32, 1}, {32, 32}, {128, 128}, {1, 16}};
  for (unsigned layout = MX_COMPACT; layout <= MX_SWIZZLED; layout++) {
    for (size_t b = 0; b < sizeof(blocks) / sizeof(blocks[0]); b++) {
      for (unsigned scale = MX_SCALE_E8M0; scale <= MX_SCALE_FP32; scale++) {
        mxg_encoding from = {.elem = b % 2 ? MX_E5M2 : MX_E4M3, .scale = (uint8_t)scale, .layout = (uint8_t)layout};
        from.block_rows = blocks[b][0];
        from.block_cols = blocks[b][1];
        one_format(from);
      }
    }
  }
  mxg_encoding whole = {.elem = MX_E4M3, .scale = MX_SCALE_FP32, .block_rows = MX_WHOLE, .block_cols = MX_WHOLE};
  one_format(whole);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(wire_direct_and_local_agree)};
  return cmocka_run_group_tests_name("launch", tests, NULL, NULL) != 0;
}
