/* test_bound.c -- the bounds hold for the conversions themselves, and are not much larger than what happens. */
#include "bound.h"
#include "decode.h"
#include "mx_convert.h"
#include "random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

/* Quantises blocks of 32 with the project's conversions; returns the largest error over its bound. */
static double worst_ratio(int elem, int rule) {
  mxg_encoding encoding = {
      .elem = (uint8_t)elem, .scale = MX_SCALE_E8M0, .rule = (uint8_t)rule, .block_rows = 1, .block_cols = 32};
  double worst = 0;
  mxg_random random = mxg_random_begin((uint64_t)rule, "bound", 32);
  for (uint64_t row = 0; row < 20000; row++) {
    uint16_t values[32];
    uint32_t largest = 0;
    mxg_random_row(values, &random, row, 0, 32);
    for (int i = 0; i < 32; i++) {
      uint32_t a = (uint32_t)(values[i] & 0x7fff) << 16;
      if (a > largest) largest = a;
    }
    uint32_t s = mx_scale_e8m0(rule, elem, MX_NAN_BLOCK, largest);
    assert_true(mxg_bound_scale(&encoding, (double)float_of(largest)) == ldexp(1.0, (int)s - 127));
    mxg_bound bound = mxg_bound_of(&encoding, (double)float_of(largest), 0);
    for (int i = 0; i < 32; i++) {
      uint32_t x = (uint32_t)values[i] << 16;
      uint32_t q = mx_quantize(elem, x, mx_e8m0_reciprocal(s));
      unsigned char byte = (unsigned char)q, scale = (unsigned char)s;
      mxg_stored stored = {encoding, 1, 1, 1, &byte, &scale};
      float back;
      mxg_decode_row(&back, &stored, 0, 0, 0, 1);
      double error = fabs((double)back - (double)float_of(x));
      double most = mxg_bound_error(&bound, fabs((double)float_of(x)), 0);
      assert_true(error <= most);
      if (error / most > worst) worst = error / most;
    }
  }
  return worst;
}

static void bounds_hold(void **state) {
  (void)state;
  static const int rules[] = {MX_FLOOR, MX_RCEIL, MX_CEIL, MX_EVEN};
  for (size_t r = 0; r < 4; r++) {
    assert_true(worst_ratio(MX_E4M3, rules[r]) > 0.99); /* reached: not looser than need be */
    assert_true(worst_ratio(MX_E5M2, rules[r]) > 0.99);
  }
}

/* MXFP8 and from there blocks with an FP32 scale: the bounds of two stages add up. Returns the largest ratio. */
static double worst_of_two(int elem) {
  mxg_encoding first = {.elem = MX_E4M3, .scale = MX_SCALE_E8M0, .rule = MX_FLOOR, .block_rows = 1, .block_cols = 32};
  mxg_encoding second = {.elem = (uint8_t)elem, .scale = MX_SCALE_FP32, .block_rows = 128, .block_cols = 128};
  double worst = 0;
  mxg_random random = mxg_random_begin(3, "two", 32);
  for (uint64_t row = 0; row < 20000; row++) {
    uint16_t values[32];
    uint32_t largest = 0, largest_moved = 0, moved[32];
    mxg_random_row(values, &random, row, 0, 32);
    for (int i = 0; i < 32; i++) {
      uint32_t a = (uint32_t)(values[i] & 0x7fff) << 16;
      if (a > largest) largest = a;
    }
    uint32_t s = mx_scale_e8m0(MX_FLOOR, MX_E4M3, MX_NAN_BLOCK, largest);
    mxg_bound bound = mxg_bound_of(&first, (double)float_of(largest), 0);
    double former = 0;
    for (int i = 0; i < 32; i++) {
      uint32_t x = (uint32_t)values[i] << 16;
      moved[i] = mx_dequantize(MX_E4M3, mx_quantize(MX_E4M3, x, mx_e8m0_reciprocal(s)), mx_e8m0_decode(s));
      if ((moved[i] & 0x7fffffff) > largest_moved) largest_moved = moved[i] & 0x7fffffff;
      double d = mxg_bound_error(&bound, fabs((double)float_of(x)), 0);
      if (d > former) former = d;
    }
    uint32_t scale = mx_scale_fp32(elem, MX_NAN_BLOCK, largest_moved);
    mxg_bound then = mxg_bound_of(&second, (double)float_of(largest), former);
    for (int i = 0; i < 32; i++) {
      double x = (double)float_of((uint32_t)values[i] << 16);
      uint32_t q = mx_quantize(elem, moved[i], mx_fp32_reciprocal(scale));
      double have = (double)float_of(mx_dequantize(elem, q, scale));
      double most = mxg_bound_error(&then, fabs(x), mxg_bound_error(&bound, fabs(x), 0));
      assert_true(fabs(have - x) <= most);
      if (fabs(have - x) / most > worst) worst = fabs(have - x) / most;
    }
  }
  return worst;
}

static void stages_add_up(void **state) {
  (void)state;
  assert_true(worst_of_two(MX_E4M3) > 0.8);
  assert_true(worst_of_two(MX_E5M2) > 0.8);
}

/* The second reader agrees with the project's own on every byte, half and scale. */
static void decodes_alike(void **state) {
  (void)state;
  for (int elem = MX_E4M3; elem <= MX_E5M2; elem++) {
    for (unsigned s = 0; s < 256; s++) {
      for (unsigned q = 0; q < 256; q++) {
        unsigned char byte = (unsigned char)q, scale = (unsigned char)s;
        mxg_stored stored = {
            {.elem = (uint8_t)elem, .scale = MX_SCALE_E8M0, .block_rows = 1, .block_cols = 32}, 1, 1, 1, &byte, &scale};
        float mine;
        mxg_decode_row(&mine, &stored, 0, 0, 0, 1);
        float theirs = float_of(mx_dequantize(elem, q, mx_e8m0_decode(s)));
        assert_true(bits_of(mine) == bits_of(theirs) || (isnan(mine) && isnan(theirs)));
      }
    }
  }
  for (unsigned h = 0; h < 65536; h++) {
    for (int elem = MX_BF16; elem <= MX_FP16; elem++) {
      uint16_t half = (uint16_t)h;
      mxg_stored stored = {{.elem = (uint8_t)elem}, 1, 1, 1, &half, NULL};
      float mine, theirs = float_of(mx_decode(elem, h));
      mxg_decode_row(&mine, &stored, 0, 0, 0, 1);
      assert_true(bits_of(mine) == bits_of(theirs) || (isnan(mine) && isnan(theirs)));
    }
  }
}

static void random_is_a_function_of_place(void **state) {
  (void)state;
  uint16_t whole[100], part[100];
  mxg_random random = mxg_random_begin(7, "layers.0.attn.q", 100);
  unsigned zeros = 0, negatives = 0;
  for (uint64_t row = 0; row < 50; row++) {
    mxg_random_row(whole, &random, row, 0, 100);
    mxg_random_row(part, &random, row, 37, 40);
    assert_memory_equal(part, whole + 37, 80);
    for (int i = 0; i < 100; i++) {
      zeros += (whole[i] & 0x7fff) == 0;
      negatives += whole[i] >> 15;
      assert_true((whole[i] & 0x7f80) < 0x3f80); /* below 1 */
    }
    if (row == 0)
      for (int i = 32; i < 64; i++) assert_int_equal(whole[i] & 0x7fff, 0);
  }
  assert_in_range(zeros, 32, 400);
  assert_in_range(negatives, 2000, 3000);
  mxg_random other = mxg_random_begin(8, "layers.0.attn.q", 100);
  mxg_random_row(part, &other, 3, 0, 100);
  mxg_random_row(whole, &random, 3, 0, 100);
  assert_memory_not_equal(part, whole, 200);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(bounds_hold), cmocka_unit_test(stages_add_up),
                                     cmocka_unit_test(decodes_alike), cmocka_unit_test(random_is_a_function_of_place)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
