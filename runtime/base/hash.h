/* hash.h -- SHA-256 (FIPS 180-4) for digests and keys. Checksums of tensors use xxhash. */
#ifndef MXG_HASH_H
#define MXG_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct mxg_sha256 {
  uint32_t state[8];
  uint64_t bytes;
  unsigned char block[64];
} mxg_sha256;

void mxg_sha256_begin(mxg_sha256 *hash);
void mxg_sha256_add(mxg_sha256 *hash, const void *bytes, size_t count);
/* A field of a key: its length as 8 bytes little-endian, then its bytes, so that fields cannot run together. */
void mxg_sha256_field(mxg_sha256 *hash, const void *bytes, size_t count);
void mxg_sha256_end(mxg_sha256 *hash, unsigned char digest[32]);
/* A hash of its own, for long inputs: SHA-256 over the length as 8 bytes little-endian and the SHA-256s of all parts of
** MXG_TREE_PART bytes, the last one shorter. Parts are independent, which the machine can use. */
enum { MXG_TREE_PART = 65536 };
void mxg_sha256_tree(const void *bytes, size_t count, unsigned char digest[32]);
void mxg_sha256_hex(const unsigned char digest[32], char hex[65]);

#endif
