/* hash.h against the examples of FIPS 180-4 and NIST's CAVP, and against itself under every way of cutting the input.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "hash.h"

static void expect(const void *bytes, size_t count, const char *want) {
  mxg_sha256 hash;
  unsigned char digest[32];
  char hex[65];
  mxg_sha256_begin(&hash);
  mxg_sha256_add(&hash, bytes, count);
  mxg_sha256_end(&hash, digest);
  mxg_sha256_hex(digest, hex);
  assert_string_equal(hex, want);
}

static void published_vectors(void **state) {
  (void)state;
  static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  static const char four[] =
      "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnop"
      "qrsmnopqrstnopqrstu";
  expect(NULL, 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  expect("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  expect(two, strlen(two), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  expect(four, strlen(four), "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  expect("\xbd", 1, "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b");
}

static void one_million_a(void **state) {
  (void)state;
  mxg_sha256 hash;
  unsigned char digest[32], block[1000];
  char hex[65];
  memset(block, 'a', sizeof block);
  mxg_sha256_begin(&hash);
  for (int i = 0; i < 1000; i++) mxg_sha256_add(&hash, block, sizeof block);
  mxg_sha256_end(&hash, digest);
  mxg_sha256_hex(digest, hex);
  assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Every length around the block and length-field borders, every single cut: the same digest as in one go. */
static void cuts_change_nothing(void **state) {
  (void)state;
  unsigned char bytes[200], whole[32], parts[32];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 7 + 1);
  for (size_t count = 0; count <= sizeof bytes; count++) {
    mxg_sha256 hash;
    mxg_sha256_begin(&hash);
    mxg_sha256_add(&hash, bytes, count);
    mxg_sha256_end(&hash, whole);
    for (size_t cut = 0; cut <= count; cut++) {
      mxg_sha256_begin(&hash);
      mxg_sha256_add(&hash, bytes, cut);
      mxg_sha256_add(&hash, bytes + cut, count - cut);
      mxg_sha256_end(&hash, parts);
      assert_memory_equal(whole, parts, 32);
    }
  }
}

static void fields_do_not_run_together(void **state) {
  (void)state;
  mxg_sha256 hash;
  unsigned char one[32], other[32], by_hand[32];
  mxg_sha256_begin(&hash);
  mxg_sha256_field(&hash, "ab", 2);
  mxg_sha256_field(&hash, "c", 1);
  mxg_sha256_end(&hash, one);
  mxg_sha256_begin(&hash);
  mxg_sha256_field(&hash, "a", 1);
  mxg_sha256_field(&hash, "bc", 2);
  mxg_sha256_end(&hash, other);
  assert_memory_not_equal(one, other, 32);
  mxg_sha256_begin(&hash);
  mxg_sha256_add(&hash, "\2\0\0\0\0\0\0\0ab\1\0\0\0\0\0\0\0c", 19);
  mxg_sha256_end(&hash, by_hand);
  assert_memory_equal(one, by_hand, 32);
}

/* The tree, by its definition in hash.h, at every length around the borders of parts and pairs of parts. */
static void the_tree_is_what_it_says(void **state) {
  (void)state;
  static unsigned char bytes[5 * MXG_TREE_PART + 100];
  static const size_t ends[] = {0, 1, 2, 3, 4, 5};
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 31 + i / 251);
  for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
    for (int off = -1; off <= 1; off++) {
      size_t count = ends[e] * MXG_TREE_PART;
      if (off < 0 && !count) continue;
      count = off < 0 ? count - 1 : count + (size_t)off * 65;
      unsigned char want[32], have[32], part[32], length[8] = {0};
      mxg_sha256 root, leaf;
      for (unsigned i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)count >> 8 * i);
      mxg_sha256_begin(&root);
      mxg_sha256_add(&root, length, 8);
      for (size_t at = 0; at < count; at += MXG_TREE_PART) {
        mxg_sha256_begin(&leaf);
        mxg_sha256_add(&leaf, bytes + at, count - at < MXG_TREE_PART ? count - at : MXG_TREE_PART);
        mxg_sha256_end(&leaf, part);
        mxg_sha256_add(&root, part, sizeof part);
      }
      mxg_sha256_end(&root, want);
      mxg_sha256_tree(bytes, count, have);
      assert_memory_equal(want, have, 32);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(published_vectors),        cmocka_unit_test(one_million_a),
      cmocka_unit_test(cuts_change_nothing),      cmocka_unit_test(fields_do_not_run_together),
      cmocka_unit_test(the_tree_is_what_it_says),
  };
  return cmocka_run_group_tests_name("hash", tests, NULL, NULL) != 0;
}
