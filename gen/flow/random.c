/* random.c -- see random.h. A counter-based generator: SplitMix64's finaliser over key and place, integers throughout.
 */
#include "random.h"

#include <string.h>

static uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

mxg_random mxg_random_begin(uint64_t seed, const char *name, uint64_t cols) {
  uint64_t key = mix(seed);
  for (const char *c = name; *c; c++) key = mix(key ^ (unsigned char)*c);
  return (mxg_random){key, cols};
}

/* The BF16 of n * 2^exponent, |n| < 2^24: FP32 holds it exactly, then to nearest even. */
static uint16_t to_bf16(int32_t n, int exponent) {
  uint32_t scale = (uint32_t)(127 + exponent) << 23, bits;
  float power, value;
  memcpy(&power, &scale, sizeof power);
  value = (float)n * power;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

void mxg_random_row(uint16_t *out, const mxg_random *random, uint64_t row, uint64_t col, uint64_t count) {
  uint64_t row_bits = mix(random->key ^ mix(row));
  int row_exponent = (int)(row_bits % 6);
  for (uint64_t end = col + count; col < end;) {
    uint64_t run = col / 32, stop = run * 32 + 32 < end ? run * 32 + 32 : end;
    uint64_t run_bits = mix(row_bits + run);
    int exponent = -20 - row_exponent - (int)(run_bits % 9); /* |n| < 2^17: largest values about 1/8 */
    bool zero = (run_bits >> 32) % 101 == 0 || (row == 0 && run == 1);
    for (; col < stop; col++) {
      uint64_t bits = mix(run_bits ^ (col << 1 | 1));
      uint32_t sum = (uint32_t)(bits & 0xffff) + (uint32_t)(bits >> 16 & 0xffff) + (uint32_t)(bits >> 32 & 0xffff) +
                     (uint32_t)(bits >> 48);
      int32_t n = (int32_t)sum - 2 * 65535;
      uint16_t value = zero ? 0 : to_bf16(n, exponent);
      if (bits % 251 == 0) value = (uint16_t)(bits >> 40 & 1 ? 0x8000 : 0);
      *out++ = value;
    }
  }
}
