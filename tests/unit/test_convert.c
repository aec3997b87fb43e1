/* mx_convert.h against references written here from the formats' definitions, in double arithmetic: exhaustive where
** the domain is small, dense where it is not. Nothing of mx_convert.h is used on the expected side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "mx_convert.h"
#include "reference.h"

static void reference_agrees_with_the_machine(void **state) {
  (void)state;
  for (uint64_t x = 0; x < 1ull << 32; x += 10007) {
    uint32_t bits = (uint32_t)x;
    float f;
    memcpy(&f, &bits, 4);
    assert_true(same(value_of(bits), (double)f));
    if (!isnan(f)) assert_int_equal(bits_of((double)f), bits);
    /* The compiler's own double to float rounding, as a second opinion. */
    double third = (double)f * (1.0 / 3.0);
    float rounded = (float)third;
    uint32_t rounded_bits;
    memcpy(&rounded_bits, &rounded, 4);
    if (!isnan(f)) assert_int_equal(bits_of(third), rounded_bits);
  }
}

/* ---- elements ---------------------------------------------------------------------------------------------------- */

static void every_small_element_decodes_and_returns(void **state) {
  (void)state;
  for (int elem = MX_E4M3; elem <= MX_FP16; elem++) {
    uint32_t count = elem <= MX_E5M2 ? 256 : 65536;
    for (uint32_t q = 0; q < count; q++) {
      uint32_t x = mx_decode(elem, q);
      double v = decode_reference(elem, q);
      assert_true(same(value_of(x), v));
      uint32_t back = mx_encode(elem, x);
      assert_int_equal(back, encode_reference(elem, v));
      if (!isnan(v) && !(elem == MX_E5M2 && isinf(v))) assert_int_equal(back, q);
    }
  }
  assert_int_equal(mx_encode(MX_E5M2, mx_decode(MX_E5M2, 0xfc)), 0xfb);
}

static void encodes_round_to_nearest_even(void **state) {
  (void)state;
  for (int elem = MX_E4M3; elem <= MX_FP32; elem++) {
    for (uint64_t x = 0; x < 1ull << 32; x += 4099) {
      uint32_t got = mx_encode(elem, (uint32_t)x), want = encode_reference(elem, value_of((uint32_t)x));
      if (got != want) assert_int_equal(got, want);
    }
    /* Around every boundary: each representable number, each midpoint, and their neighbours. */
    uint32_t count = elem <= MX_E5M2 ? 256 : elem <= MX_FP16 ? 65536 : 0;
    for (uint32_t q = 0; q < count; q++) {
      double v = decode_reference(elem, q), next = decode_reference(elem, q + 1);
      if (isnan(v) || isnan(next)) continue;
      double middle = isinf(next) ? v + (v - decode_reference(elem, q - 1)) / 2 : (v + next) / 2;
      if (isinf(v)) middle = v;
      for (int offset = -2; offset <= 2; offset++) {
        uint32_t near_value = bits_of(v) + (uint32_t)offset, near_middle = bits_of(middle) + (uint32_t)offset;
        assert_int_equal(mx_encode(elem, near_value), encode_reference(elem, value_of(near_value)));
        assert_int_equal(mx_encode(elem, near_middle), encode_reference(elem, value_of(near_middle)));
      }
    }
  }
}

static void saturation_zero_and_nan(void **state) {
  (void)state;
  assert_int_equal(mx_encode(MX_E4M3, 0x7f800000u), 0x7e);
  assert_int_equal(mx_encode(MX_E4M3, 0xff800000u), 0xfe);
  assert_int_equal(mx_encode(MX_E5M2, 0x7f800000u), 0x7b);
  assert_int_equal(mx_encode(MX_E5M2, 0xff800000u), 0xfb);
  assert_int_equal(mx_encode(MX_E4M3, bits_of(464.0)), 0x7e);
  assert_int_equal(mx_encode(MX_E4M3, bits_of(1e30)), 0x7e);
  for (int elem = MX_E4M3; elem <= MX_FP32; elem++) {
    assert_int_equal(mx_encode(elem, 0x80000000u), kinds[elem].sign);
    assert_int_equal(mx_encode(elem, 0), 0);
    assert_int_equal(mx_encode(elem, 0xff800001u), kinds[elem].nan);
    assert_int_equal(mx_encode(elem, 0x7fc00000u), kinds[elem].nan);
  }
}

/* ---- all pairs of element and scale ------------------------------------------------------------------------------ */

static void all_pairs_dequantise(void **state) {
  (void)state;
  for (int elem = MX_E4M3; elem <= MX_E5M2; elem++) {
    for (uint32_t s = 0; s < 256; s++) {
      for (uint32_t q = 0; q < 256; q++) {
        double v = s == 255 ? (double)NAN : decode_reference(elem, q) * ldexp(1, (int)s - 127);
        uint32_t x = mx_dequantize(elem, q, mx_e8m0_decode(s));
        for (int target = MX_BF16; target <= MX_FP32; target++) {
          uint32_t want = encode_reference(target, v); /* one rounding, from the exact value */
          if (mx_encode(target, x) != want) fail_msg("elem %d s %u q %u target %d", elem, s, q, target);
        }
      }
    }
  }
}

static void reciprocals_and_scales(void **state) {
  (void)state;
  for (uint32_t s = 0; s < 255; s++) {
    assert_true(value_of(mx_e8m0_decode(s)) == ldexp(1, (int)s - 127));
    assert_true(value_of(mx_e8m0_reciprocal(s)) == ldexp(1, 127 - (int)s));
  }
  assert_true(isnan(value_of(mx_e8m0_decode(255))));
  assert_true(isnan(value_of(mx_e8m0_reciprocal(255))));
  assert_int_equal(mx_scale_decode(MX_SCALE_NONE, 77), 0x3f800000);
  assert_int_equal(mx_scale_decode(MX_SCALE_FP32, 77), 77);
  assert_int_equal(mx_scale_decode(MX_SCALE_E8M0, 128), 0x40000000);
}

/* ---- scale choice ------------------------------------------------------------------------------------------------ */

static const int rules[] = {MX_FLOOR, MX_RCEIL, MX_CEIL, MX_EVEN};

static void check_scale(int rule, int elem, uint32_t u) {
  double a = fabs(value_of(u));
  for (int nan = MX_NAN_BLOCK; nan <= MX_NAN_ELEMENT; nan++) {
    int want = scale_reference(rule, elem, isnan(a) || isinf(a) ? 0 : a);
    if (want == 300) want = 255;
    if (isinf(a)) want = nan == MX_NAN_BLOCK ? 255 : 254;
    if (isnan(a) && nan == MX_NAN_BLOCK) want = 255;
    uint32_t got = mx_scale_e8m0(rule, elem, nan, mx_magnitude(nan, u));
    if (got != (uint32_t)want) fail_msg("rule %d elem %d nan %d u %08x: %u, want %d", rule, elem, nan, u, got, want);
  }
}

static void every_bf16_maximum_in_every_rule(void **state) {
  (void)state;
  for (size_t r = 0; r < 4; r++) {
    for (int elem = MX_E4M3; elem <= MX_E5M2; elem++) {
      for (uint32_t h = 0; h < 0x8000; h++) {
        check_scale(rules[r], elem, h << 16);
        check_scale(rules[r], elem, (h | 0x8000u) << 16); /* the sign must not matter */
      }
      for (uint64_t u = 0; u < 0x80000000ull; u += 100003) check_scale(rules[r], elem, (uint32_t)u);
      for (uint32_t e = 0; e < 255; e++) { /* every boundary of every binade */
        static const uint32_t edges[] = {0,        1,        0x5fffff, 0x600000, 0x600001,
                                         0x6fffff, 0x700000, 0x77ffff, 0x780000, 0x7fffff};
        for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) check_scale(rules[r], elem, e << 23 | edges[i]);
      }
    }
  }
  assert_int_equal(mx_scale_e8m0(MX_RCEIL, MX_E4M3, MX_NAN_BLOCK, 0x04600001), 1); /* where the float form is wrong */
}

static void fp32_scales(void **state) {
  (void)state;
  for (int elem = MX_E4M3; elem <= MX_E5M2; elem++) {
    double max = kinds[elem].max;
    for (uint64_t u = 0; u < 0x7f800000ull; u += 9973) {
      double want = u == 0 ? 1.0 : value_of(bits_of(value_of((uint32_t)u) / max));
      if (want < 0x1p-126) want = 0x1p-126;
      uint32_t got = mx_scale_fp32(elem, MX_NAN_BLOCK, (uint32_t)u);
      assert_true(value_of(got) == want);
      assert_int_equal(mx_scale_fp32(elem, MX_NAN_ELEMENT, (uint32_t)u), got);
      uint32_t reciprocal = mx_fp32_reciprocal(got);
      assert_true(value_of(reciprocal) == value_of(bits_of(1.0 / want)));
      /* The largest element reaches the largest code, or what fits under the smallest scale. */
      uint32_t q = mx_quantize(elem, (uint32_t)u, reciprocal);
      assert_int_equal(q, encode_reference(elem, value_of(bits_of(value_of((uint32_t)u) * value_of(reciprocal)))));
    }
    assert_int_equal(mx_scale_fp32(elem, MX_NAN_BLOCK, 0x7f800000), 0x7fffffff);
    assert_int_equal(mx_scale_fp32(elem, MX_NAN_BLOCK, 0x7fc00000), 0x7fffffff);
    assert_int_equal(mx_scale_fp32(elem, MX_NAN_ELEMENT, 0x7f800000), bits_of(0x1.fffffep127 / max));
    assert_int_equal(mx_scale_fp32(elem, MX_NAN_BLOCK, 1), 0x00800000);
    assert_int_equal(mx_quantize(elem, 0x3f800000, mx_fp32_reciprocal(0x7fffffff)), 0x7f);
    assert_int_equal(mx_quantize(elem, 0xff800000, mx_fp32_reciprocal(bits_of(0x1.fffffep127 / max))),
                     0x80 | kinds[elem].inf);
  }
}

/* Every BF16 value by every scale byte: the element is the exact quotient rounded once. */
static void every_bf16_element_at_every_scale(void **state) {
  (void)state;
  for (int elem = MX_E4M3; elem <= MX_E5M2; elem++) {
    for (uint32_t h = 0; h < 0x10000; h += 3) {
      double v = value_of(h << 16);
      for (uint32_t s = h % 5; s < 255; s += 5) {
        double scaled = v * ldexp(1, 127 - (int)s);
        uint32_t got = mx_quantize(elem, h << 16, mx_e8m0_reciprocal(s)), want = encode_reference(elem, scaled);
        if (got != want) fail_msg("elem %d h %04x s %u: %02x, want %02x", elem, h, s, got, want);
      }
    }
  }
}

/* ---- blocks that other libraries were run on --------------------------------------------------------------------- */

typedef struct block_case {
  uint32_t first[3], rest; /* FP32 bits of elements 0, 1, 2 and of all others */
  struct {
    uint8_t scale, data[4];
  } want[5]; /* FLOOR, RCEIL, CEIL, EVEN with policy BLOCK; RCEIL with policy ELEMENT */
} block_case;

#define ONE 0x3f800000u
#define ALL(x) {x, x, x}, x

static const block_case cases[] = {
    {ALL(0), {{0, {0, 0, 0, 0}}, {0, {0, 0, 0, 0}}, {0, {0, 0, 0, 0}}, {0, {0, 0, 0, 0}}, {0, {0, 0, 0, 0}}}},
    {ALL(ONE),
     {{119, {0x78, 0x78, 0x78, 0x78}},
      {119, {0x78, 0x78, 0x78, 0x78}},
      {119, {0x78, 0x78, 0x78, 0x78}},
      {119, {0x78, 0x78, 0x78, 0x78}},
      {119, {0x78, 0x78, 0x78, 0x78}}}},
    {{0x43e00000, ONE, ONE}, /* 448 */
     ONE,
     {{127, {0x7e, 0x38, 0x38, 0x38}},
      {127, {0x7e, 0x38, 0x38, 0x38}},
      {128, {0x76, 0x30, 0x30, 0x30}},
      {127, {0x7e, 0x38, 0x38, 0x38}},
      {127, {0x7e, 0x38, 0x38, 0x38}}}},
    {{0x43e10000, ONE, ONE}, /* 450 */
     ONE,
     {{127, {0x7e, 0x38, 0x38, 0x38}},
      {128, {0x76, 0x30, 0x30, 0x30}},
      {128, {0x76, 0x30, 0x30, 0x30}},
      {127, {0x7e, 0x38, 0x38, 0x38}},
      {128, {0x76, 0x30, 0x30, 0x30}}}},
    {{0x43f00000, ONE, ONE}, /* 480 */
     ONE,
     {{127, {0x7e, 0x38, 0x38, 0x38}},
      {128, {0x77, 0x30, 0x30, 0x30}},
      {128, {0x77, 0x30, 0x30, 0x30}},
      {127, {0x7e, 0x38, 0x38, 0x38}},
      {128, {0x77, 0x30, 0x30, 0x30}}}},
    {{0x43f80000, ONE, ONE}, /* 496 */
     ONE,
     {{127, {0x7e, 0x38, 0x38, 0x38}},
      {128, {0x78, 0x30, 0x30, 0x30}},
      {128, {0x78, 0x30, 0x30, 0x30}},
      {128, {0x78, 0x30, 0x30, 0x30}},
      {128, {0x78, 0x30, 0x30, 0x30}}}},
    {{0x44000000, ONE, ONE}, /* 512 */
     ONE,
     {{128, {0x78, 0x30, 0x30, 0x30}},
      {128, {0x78, 0x30, 0x30, 0x30}},
      {128, {0x78, 0x30, 0x30, 0x30}},
      {128, {0x78, 0x30, 0x30, 0x30}},
      {128, {0x78, 0x30, 0x30, 0x30}}}},
    {{ONE, 0x36800000, 0x37400000}, /* 1, 2^-18, 3 * 2^-18, 2^-17 */
     0x37000000,
     {{119, {0x78, 0x00, 0x02, 0x01}},
      {119, {0x78, 0x00, 0x02, 0x01}},
      {119, {0x78, 0x00, 0x02, 0x01}},
      {119, {0x78, 0x00, 0x02, 0x01}},
      {119, {0x78, 0x00, 0x02, 0x01}}}},
    {{ONE, 0x80000000, 0xb0800000}, /* 1, -0, -2^-30 */
     0,
     {{119, {0x78, 0x80, 0x80, 0x00}},
      {119, {0x78, 0x80, 0x80, 0x00}},
      {119, {0x78, 0x80, 0x80, 0x00}},
      {119, {0x78, 0x80, 0x80, 0x00}},
      {119, {0x78, 0x80, 0x80, 0x00}}}},
    {{0x7fc00000, ONE, 0xbf800000}, /* NaN */
     ONE,
     {{255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {119, {0x7f, 0x78, 0xf8, 0x78}}}},
    {{0x7f800000, ONE, 0xbf800000}, /* Inf */
     ONE,
     {{255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {254, {0x7e, 0x00, 0x80, 0x00}}}},
    {{0xff800000, ONE, 0xbf800000}, /* -Inf */
     ONE,
     {{255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {254, {0xfe, 0x00, 0x80, 0x00}}}},
    {{0x7f7f0000, ONE, 0xbf800000}, /* the largest BF16 */
     ONE,
     {{246, {0x7e, 0x00, 0x80, 0x00}},
      {247, {0x78, 0x00, 0x80, 0x00}},
      {247, {0x78, 0x00, 0x80, 0x00}},
      {255, {0x7f, 0x7f, 0x7f, 0x7f}},
      {247, {0x78, 0x00, 0x80, 0x00}}}},
    {ALL(0x00800000), /* 2^-126 */
     {{0, {0x40, 0x40, 0x40, 0x40}},
      {0, {0x40, 0x40, 0x40, 0x40}},
      {0, {0x40, 0x40, 0x40, 0x40}},
      {0, {0x40, 0x40, 0x40, 0x40}},
      {0, {0x40, 0x40, 0x40, 0x40}}}},
    {ALL(0x00010000), /* 2^-133 */
     {{0, {0x08, 0x08, 0x08, 0x08}},
      {0, {0x08, 0x08, 0x08, 0x08}},
      {0, {0x08, 0x08, 0x08, 0x08}},
      {0, {0x08, 0x08, 0x08, 0x08}},
      {0, {0x08, 0x08, 0x08, 0x08}}}},
    {ALL(0x04600000), /* 448 * 2^-127 */
     {{0, {0x7e, 0x7e, 0x7e, 0x7e}},
      {0, {0x7e, 0x7e, 0x7e, 0x7e}},
      {1, {0x76, 0x76, 0x76, 0x76}},
      {0, {0x7e, 0x7e, 0x7e, 0x7e}},
      {0, {0x7e, 0x7e, 0x7e, 0x7e}}}},
    {ALL(0x04610000), /* 450 * 2^-127 */
     {{0, {0x7e, 0x7e, 0x7e, 0x7e}},
      {1, {0x76, 0x76, 0x76, 0x76}},
      {1, {0x76, 0x76, 0x76, 0x76}},
      {0, {0x7e, 0x7e, 0x7e, 0x7e}},
      {1, {0x76, 0x76, 0x76, 0x76}}}},
    {ALL(0x35860000), /* 1e-6 as BF16 */
     {{99, {0x78, 0x78, 0x78, 0x78}},
      {99, {0x78, 0x78, 0x78, 0x78}},
      {100, {0x70, 0x70, 0x70, 0x70}},
      {99, {0x78, 0x78, 0x78, 0x78}},
      {99, {0x78, 0x78, 0x78, 0x78}}}},
    {ALL(0x43ffffff),
     {{127, {0x7e, 0x7e, 0x7e, 0x7e}},
      {128, {0x78, 0x78, 0x78, 0x78}},
      {128, {0x78, 0x78, 0x78, 0x78}},
      {128, {0x78, 0x78, 0x78, 0x78}},
      {128, {0x78, 0x78, 0x78, 0x78}}}},
    {ALL(0x48600001),
     {{136, {0x7e, 0x7e, 0x7e, 0x7e}},
      {137, {0x76, 0x76, 0x76, 0x76}},
      {137, {0x76, 0x76, 0x76, 0x76}},
      {136, {0x7e, 0x7e, 0x7e, 0x7e}},
      {137, {0x76, 0x76, 0x76, 0x76}}}},
    {ALL(0x43e00001), /* 448 + 1 ulp */
     {{127, {0x7e, 0x7e, 0x7e, 0x7e}},
      {128, {0x76, 0x76, 0x76, 0x76}},
      {128, {0x76, 0x76, 0x76, 0x76}},
      {127, {0x7e, 0x7e, 0x7e, 0x7e}},
      {128, {0x76, 0x76, 0x76, 0x76}}}},
};

static void blocks_as_other_libraries_quantise_them(void **state) {
  (void)state;
  static const int modes[5][2] = {{MX_FLOOR, MX_NAN_BLOCK},
                                  {MX_RCEIL, MX_NAN_BLOCK},
                                  {MX_CEIL, MX_NAN_BLOCK},
                                  {MX_EVEN, MX_NAN_BLOCK},
                                  {MX_RCEIL, MX_NAN_ELEMENT}};
  for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
    uint32_t x[4] = {cases[c].first[0], cases[c].first[1], cases[c].first[2], cases[c].rest};
    for (size_t m = 0; m < 5; m++) {
      uint32_t u = 0;
      for (size_t i = 0; i < 4; i++) {
        uint32_t magnitude = mx_magnitude(modes[m][1], x[i]);
        u = magnitude > u ? magnitude : u;
      }
      uint32_t s = mx_scale_e8m0(modes[m][0], MX_E4M3, modes[m][1], u), r = mx_e8m0_reciprocal(s);
      if (s != cases[c].want[m].scale) fail_msg("case %zu mode %zu: scale %u", c, m, s);
      for (size_t i = 0; i < 4; i++) {
        uint32_t q = mx_quantize(MX_E4M3, x[i], r);
        if (q != cases[c].want[m].data[i]) fail_msg("case %zu mode %zu element %zu: %02x", c, m, i, q);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reference_agrees_with_the_machine),
      cmocka_unit_test(every_small_element_decodes_and_returns),
      cmocka_unit_test(encodes_round_to_nearest_even),
      cmocka_unit_test(saturation_zero_and_nan),
      cmocka_unit_test(all_pairs_dequantise),
      cmocka_unit_test(reciprocals_and_scales),
      cmocka_unit_test(every_bf16_maximum_in_every_rule),
      cmocka_unit_test(fp32_scales),
      cmocka_unit_test(every_bf16_element_at_every_scale),
      cmocka_unit_test(blocks_as_other_libraries_quantise_them),
  };
  return cmocka_run_group_tests_name("convert", tests, NULL, NULL) != 0;
}
