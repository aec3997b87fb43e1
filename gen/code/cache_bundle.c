/* cache_bundle.c -- see cache_bundle.h. The bundle's own bytes are read and verified by bundle.c, once. */
#include "cache_bundle.h"

#include "cache_entry.h"
#include "hash.h"
#include "memory.h"
#include "read_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = {'m', 'x', 'b', 'u', 'n', 'd', 'l', 'e'};
enum {
  DIGEST = 32,
  FIXED = 8 + 4 + 4 + MXG_CACHE_KEY + 8 + DIGEST + 4, /* up to the first file */
  HEAD_MAX = 1 << 20,
  FILES_MAX = 1024,
  SOURCE_MAX = 1 << 20 /* more than a recipe's file may have */
};

static void put_number(unsigned char **at, uint64_t n, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) *(*at)++ = (unsigned char)(n >> (8 * i));
}

static void put_bytes(unsigned char **at, const void *bytes, size_t count) {
  memcpy(*at, bytes, count);
  *at += count;
}

static uint64_t take_number(const unsigned char **at, unsigned bytes) {
  uint64_t n = 0;
  for (unsigned i = 0; i < bytes; i++) n |= (uint64_t) * (*at)++ << (8 * i);
  return n;
}

static void digest_of(unsigned char digest[DIGEST], const void *bytes, size_t count) {
  mxg_sha256 hash;
  mxg_sha256_begin(&hash);
  mxg_sha256_add(&hash, bytes, count);
  mxg_sha256_end(&hash, digest);
}

unsigned char *mxg_bundle_entry_head(size_t *count, const mxg_bundle *bundle, const mxg_cache_file *files,
                                     uint32_t file_count, const unsigned char key[MXG_CACHE_KEY]) {
  size_t image_bytes, bytes = FIXED + DIGEST;
  const unsigned char *image = mxg_bundle_image(bundle, &image_bytes);
  if (file_count > FILES_MAX) return NULL;
  for (uint32_t i = 0; i < file_count; i++) {
    bytes += 4 + strlen(files[i].path) + DIGEST;
    if (bytes > HEAD_MAX) return NULL;
  }
  unsigned char *head = mxg_alloc(bytes), *at = head;
  if (!head) return NULL;
  put_bytes(&at, magic, sizeof magic);
  put_number(&at, MXG_BUNDLE_ENTRY_FORMAT, 4);
  put_number(&at, bytes, 4);
  put_bytes(&at, key, MXG_CACHE_KEY);
  put_number(&at, image_bytes, 8);
  put_bytes(&at, image + image_bytes - DIGEST, DIGEST);
  put_number(&at, file_count, 4);
  for (uint32_t i = 0; i < file_count; i++) {
    put_number(&at, strlen(files[i].path), 4);
    put_bytes(&at, files[i].path, strlen(files[i].path));
    put_bytes(&at, files[i].digest, DIGEST);
  }
  digest_of(at, head, bytes - DIGEST);
  *count = bytes;
  return head;
}

bool mxg_cache_digest_file(unsigned char digest[32], const char *path) {
  struct stat info;
  int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return false;
  bool good = fstat(file, &info) == 0 && S_ISREG(info.st_mode) && info.st_size >= 0 && info.st_size <= SOURCE_MAX;
  size_t count = good ? (size_t)info.st_size : 0;
  unsigned char *bytes = good ? mxg_alloc(count) : NULL;
  good = bytes && mxg_read_all(file, bytes, count);
  close(file);
  if (good) digest_of(digest, bytes, count);
  mxg_free(bytes);
  return good;
}

/* An entry's head, whole and right; the file stands at the bundle. */
typedef struct head {
  unsigned char *bytes; /* through mxg_free */
  const unsigned char *files;
  uint32_t file_count;
  uint64_t image_bytes;
  unsigned char seal[DIGEST]; /* what the bundle ends with */
} head;

static bool read_head(head *out, int file, const struct stat *info, const unsigned char *key) {
  unsigned char fixed[FIXED];
  const unsigned char *at = fixed + sizeof magic;
  if (!mxg_read_all(file, fixed, sizeof fixed) || memcmp(fixed, magic, sizeof magic) != 0) return false;
  if (take_number(&at, 4) != MXG_BUNDLE_ENTRY_FORMAT) return false;
  uint64_t bytes = take_number(&at, 4);
  if (key && memcmp(at, key, MXG_CACHE_KEY) != 0) return false;
  at += MXG_CACHE_KEY;
  out->image_bytes = take_number(&at, 8);
  memcpy(out->seal, at, DIGEST);
  at += DIGEST;
  out->file_count = (uint32_t)take_number(&at, 4);
  if (bytes < FIXED + DIGEST || bytes > HEAD_MAX || out->file_count > FILES_MAX ||
      out->image_bytes > MXG_BUNDLE_ENTRY_MAX || bytes + out->image_bytes != (uint64_t)info->st_size)
    return false;
  out->bytes = mxg_alloc((size_t)bytes);
  if (!out->bytes) return false;
  memcpy(out->bytes, fixed, FIXED);
  if (!mxg_read_all(file, out->bytes + FIXED, (size_t)bytes - FIXED)) return false;
  unsigned char digest[DIGEST];
  digest_of(digest, out->bytes, (size_t)bytes - DIGEST);
  if (memcmp(digest, out->bytes + bytes - DIGEST, DIGEST) != 0) return false;
  const unsigned char *end = out->bytes + bytes - DIGEST;
  at = out->files = out->bytes + FIXED;
  for (uint32_t i = 0; i < out->file_count; i++) {
    if (end - at < 4 + DIGEST) return false;
    uint64_t path = take_number(&at, 4);
    if (path > (uint64_t)(end - at) - DIGEST) return false;
    at += path + DIGEST;
  }
  return at == end;
}

/* Whether all files are what they were. */
static bool files_are_same(const head *h) {
  const unsigned char *at = h->files;
  for (uint32_t i = 0; i < h->file_count; i++) {
    char path[4096];
    unsigned char digest[DIGEST];
    size_t count = (size_t)take_number(&at, 4);
    if (count >= sizeof path) return false;
    memcpy(path, at, count);
    path[count] = 0;
    at += count;
    if (!mxg_cache_digest_file(digest, path) || memcmp(digest, at, DIGEST) != 0) return false;
    at += DIGEST;
  }
  return true;
}

static bool read_bundle(mxg_bundle **out, int file, const head *h) {
  size_t count;
  if (mxg_bundle_read_file(out, file, h->image_bytes, true, NULL) != MXG_OK) return false;
  const unsigned char *image = mxg_bundle_image(*out, &count);
  if (memcmp(image + count - DIGEST, h->seal, DIGEST) == 0) return true;
  mxg_bundle_free(*out);
  *out = NULL;
  return false;
}

static int open_entry(struct stat *info, int folder, const char *name, mxg_bundle_entry *why) {
  int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  *why = file < 0 && errno != ELOOP && errno != ENXIO ? MXG_BUNDLE_ENTRY_NONE : MXG_BUNDLE_ENTRY_NO_FILE;
  if (file < 0) return -1;
  if (fstat(file, info) == 0 && S_ISREG(info->st_mode) && info->st_size > 0) return file;
  close(file);
  return -1;
}

mxg_bundle_entry mxg_bundle_entry_load(mxg_bundle **out, int folder, const char *name,
                                       const unsigned char key[MXG_CACHE_KEY], bool touch) {
  struct stat info;
  mxg_bundle_entry result;
  *out = NULL;
  int file = open_entry(&info, folder, name, &result);
  if (file < 0) return result;
  head h = {0};
  result = MXG_BUNDLE_ENTRY_DAMAGED;
  if (read_head(&h, file, &info, key))
    result = !files_are_same(&h)          ? MXG_BUNDLE_ENTRY_STALE
             : read_bundle(out, file, &h) ? MXG_BUNDLE_ENTRY_GOOD
                                          : MXG_BUNDLE_ENTRY_DAMAGED;
  if (result == MXG_BUNDLE_ENTRY_GOOD && touch) mxg_entry_touch(file, &info);
  mxg_free(h.bytes);
  close(file);
  return result;
}

bool mxg_bundle_entry_describe(mxg_cache_item *item, int folder, const char *name) {
  struct stat info;
  mxg_bundle_entry why;
  mxg_bundle *bundle = NULL;
  int file = open_entry(&info, folder, name, &why);
  if (file < 0) return false;
  head h = {0};
  item->used = info.st_atim.tv_sec;
  bool good = read_head(&h, file, &info, NULL) && read_bundle(&bundle, file, &h);
  mxg_free(h.bytes);
  close(file);
  if (!good) return false;
  const mxg_bundle_cubin *cubins;
  uint32_t count = mxg_bundle_cubins(bundle, &cubins), kernels = mxg_bundle_plan(bundle)->kernel_count;
  snprintf(item->kernel, sizeof item->kernel, "bundle %.80s", mxg_bundle_plan(bundle)->name);
  if (count == kernels && count)
    snprintf(item->arch, sizeof item->arch, "%.15s", cubins[0].arch);
  else
    snprintf(item->arch, sizeof item->arch, "%u archs", kernels ? count / kernels % 1000 : 0);
  mxg_bundle_free(bundle);
  return true;
}
