/* hash.c -- SHA-256 as FIPS 180-4 writes it, section 6.2; see hash.h. Owns no memory.
**
** Where an x86 has instructions for it they are taken: reading a large bundle is mostly hashing. MXG_HASH_PORTABLE
** leaves them out, for tests. */
#include "hash.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(MXG_HASH_PORTABLE)
#define HASH_X86 1
#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#else
#define HASH_X86 0
#endif

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes: FIPS 180-4, section 4.2.2. */
static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

static uint32_t big_endian(const unsigned char *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static void compress_portable(uint32_t state[8], const unsigned char *bytes, size_t blocks) {
  for (; blocks; blocks--, bytes += 64) {
    uint32_t w[64];
    for (unsigned t = 0; t < 16; t++) w[t] = big_endian(bytes + 4 * t);
    for (unsigned t = 16; t < 64; t++) {
      uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
      uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
      w[t] = s1 + w[t - 7] + s0 + w[t - 16];
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (unsigned t = 0; t < 64; t++) {
      uint32_t t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (g ^ (e & (f ^ g))) + constants[t] + w[t];
      uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b)));
      h = g;
      g = f;
      f = e;
      e = d + t1;
      d = c;
      c = b;
      b = a;
      a = t1 + t2;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
  }
}

#if HASH_X86
/* Four rounds a turn. The instructions keep the state as (a, b, e, f) and (c, d, g, h), highest lane first. */
__attribute__((target("sha,sse4.1,ssse3"))) static void compress_x86(uint32_t state[8], const unsigned char *bytes,
                                                                     size_t blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)state), 0xb1);
  __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(state + 4)), 0x1b);
  __m128i abef = _mm_alignr_epi8(dcba, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, dcba, 0xf0);
  for (; blocks; blocks--, bytes += 64) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i w[4];
    for (unsigned t = 0; t < 16; t++) {
      __m128i *now = &w[t % 4];
      if (t < 4) {
        *now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(bytes + 16 * t)), swap);
      } else {
        __m128i last = w[(t + 3) % 4], older = _mm_alignr_epi8(last, w[(t + 2) % 4], 4);
        *now = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(*now, w[(t + 1) % 4]), older), last);
      }
      __m128i k = _mm_add_epi32(*now, _mm_loadu_si128((const __m128i *)(const void *)(constants + 4 * t)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k, 0x0e));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
  _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

/* Two independent messages at a time: the instructions take longer than the time to the next one. */
__attribute__((target("sha,sse4.1,ssse3"))) static void
compress_pair_x86(uint32_t states[2][8], const unsigned char *const messages[2], size_t blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i abef[2], cdgh[2];
  for (unsigned m = 0; m < 2; m++) {
    __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)states[m]), 0xb1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(states[m] + 4)), 0x1b);
    abef[m] = _mm_alignr_epi8(dcba, hgfe, 8);
    cdgh[m] = _mm_blend_epi16(hgfe, dcba, 0xf0);
  }
  for (size_t block = 0; block < blocks; block++) {
    const __m128i abef_before[2] = {abef[0], abef[1]}, cdgh_before[2] = {cdgh[0], cdgh[1]};
    __m128i w[2][4];
#pragma GCC unroll 16
    for (unsigned t = 0; t < 16; t++) {
      const __m128i constant = _mm_loadu_si128((const __m128i *)(const void *)(constants + 4 * t));
#pragma GCC unroll 2
      for (unsigned m = 0; m < 2; m++) {
        __m128i *now = &w[m][t % 4];
        if (t < 4) {
          *now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(messages[m] + 64 * block + 16 * t)),
                                  swap);
        } else {
          __m128i last = w[m][(t + 3) % 4], older = _mm_alignr_epi8(last, w[m][(t + 2) % 4], 4);
          *now = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(*now, w[m][(t + 1) % 4]), older), last);
        }
        __m128i k = _mm_add_epi32(*now, constant);
        cdgh[m] = _mm_sha256rnds2_epu32(cdgh[m], abef[m], k);
        abef[m] = _mm_sha256rnds2_epu32(abef[m], cdgh[m], _mm_shuffle_epi32(k, 0x0e));
      }
    }
    for (unsigned m = 0; m < 2; m++) {
      abef[m] = _mm_add_epi32(abef[m], abef_before[m]);
      cdgh[m] = _mm_add_epi32(cdgh[m], cdgh_before[m]);
    }
  }
  for (unsigned m = 0; m < 2; m++) {
    __m128i feba = _mm_shuffle_epi32(abef[m], 0x1b), dchg = _mm_shuffle_epi32(cdgh[m], 0xb1);
    _mm_storeu_si128((__m128i *)(void *)states[m], _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(void *)(states[m] + 4), _mm_alignr_epi8(dchg, feba, 8));
  }
}

/* CPUID can be slow under a hypervisor: asked once. */
static int has_x86(void) {
  static atomic_int known; /* 0: not yet, 1: no, 2: yes */
  int answer = atomic_load_explicit(&known, memory_order_relaxed);
  if (answer) return answer == 2;
  unsigned a, b, c, d;
  answer = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1) && (c & bit_SSSE3) &&
                   __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA)
               ? 2
               : 1;
  atomic_store_explicit(&known, answer, memory_order_relaxed);
  return answer == 2;
}
#endif

static void compress(uint32_t state[8], const unsigned char *bytes, size_t blocks) {
#if HASH_X86
  if (has_x86()) {
    compress_x86(state, bytes, blocks);
    return;
  }
#endif
  compress_portable(state, bytes, blocks);
}

static void compress_pair(uint32_t states[2][8], const unsigned char *const messages[2], size_t blocks) {
#if HASH_X86
  if (has_x86()) {
    compress_pair_x86(states, messages, blocks);
    return;
  }
#endif
  for (unsigned m = 0; m < 2; m++) compress_portable(states[m], messages[m], blocks);
}

static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

void mxg_sha256_begin(mxg_sha256 *hash) {
  memset(hash, 0, sizeof *hash);
  memcpy(hash->state, initial, sizeof initial);
}

void mxg_sha256_add(mxg_sha256 *hash, const void *bytes, size_t count) {
  const unsigned char *p = bytes;
  if (count == 0) return; /* `bytes` may be NULL then */
  size_t held = (size_t)(hash->bytes % 64);
  hash->bytes += count;
  if (held) {
    size_t take = count < 64 - held ? count : 64 - held;
    memcpy(hash->block + held, p, take);
    p += take;
    count -= take;
    if (held + take < 64) return;
    compress(hash->state, hash->block, 1);
  }
  compress(hash->state, p, count / 64);
  memcpy(hash->block, p + count / 64 * 64, count % 64);
}

void mxg_sha256_field(mxg_sha256 *hash, const void *bytes, size_t count) {
  unsigned char length[8];
  for (unsigned i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)count >> (8 * i));
  mxg_sha256_add(hash, length, sizeof length);
  mxg_sha256_add(hash, bytes, count);
}

static void put_state(const uint32_t state[8], unsigned char digest[32]) {
  for (unsigned i = 0; i < 32; i++) digest[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
}

void mxg_sha256_end(mxg_sha256 *hash, unsigned char digest[32]) {
  uint64_t bits = hash->bytes * 8;
  unsigned char tail[72] = {0x80}; /* at most 63 bytes up to the length, then the length */
  size_t held = (size_t)(hash->bytes % 64);
  size_t zeros = held < 56 ? 56 - held : 120 - held;
  for (unsigned i = 0; i < 8; i++) tail[zeros + i] = (unsigned char)(bits >> (56 - 8 * i));
  mxg_sha256_add(hash, tail, zeros + 8);
  put_state(hash->state, digest);
}

/* Two whole parts, whose padding is a block of its own. */
static void add_pair(mxg_sha256 *root, const unsigned char *bytes) {
  uint32_t states[2][8];
  unsigned char tail[64] = {0x80}, digest[32];
  const unsigned char *const parts[2] = {bytes, bytes + MXG_TREE_PART}, *const tails[2] = {tail, tail};
  const uint64_t bits = (uint64_t)MXG_TREE_PART * 8;
  for (unsigned i = 0; i < 8; i++) tail[56 + i] = (unsigned char)(bits >> (56 - 8 * i));
  memcpy(states[0], initial, sizeof initial);
  memcpy(states[1], initial, sizeof initial);
  compress_pair(states, parts, MXG_TREE_PART / 64);
  compress_pair(states, tails, 1);
  for (unsigned m = 0; m < 2; m++) {
    put_state(states[m], digest);
    mxg_sha256_add(root, digest, sizeof digest);
  }
}

static void add_part(mxg_sha256 *root, const unsigned char *bytes, size_t count) {
  mxg_sha256 part;
  unsigned char digest[32];
  mxg_sha256_begin(&part);
  mxg_sha256_add(&part, bytes, count);
  mxg_sha256_end(&part, digest);
  mxg_sha256_add(root, digest, sizeof digest);
}

void mxg_sha256_tree(const void *bytes, size_t count, unsigned char digest[32]) {
  const unsigned char *at = bytes;
  unsigned char length[8];
  mxg_sha256 root;
  for (unsigned i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)count >> (8 * i));
  mxg_sha256_begin(&root);
  mxg_sha256_add(&root, length, sizeof length);
  for (; count >= 2 * (size_t)MXG_TREE_PART; count -= 2 * (size_t)MXG_TREE_PART, at += 2 * (size_t)MXG_TREE_PART)
    add_pair(&root, at);
  while (count) {
    size_t part = count < MXG_TREE_PART ? count : MXG_TREE_PART;
    add_part(&root, at, part);
    at += part;
    count -= part;
  }
  mxg_sha256_end(&root, digest);
}

void mxg_sha256_hex(const unsigned char digest[32], char hex[65]) {
  for (unsigned i = 0; i < 32; i++) {
    hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
    hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
  }
  hex[64] = 0;
}
