/* cache_entry.c -- see cache_entry.h. */
#include "cache_entry.h"

#include "hash.h"
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char magic[8] = {'m', 'x', 'k', 'e', 'r', 'n', 'e', 'l'};
enum { DIGEST = 32, TOUCH_SECONDS = 60 };

static void put_number(unsigned char **at, uint64_t n, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) *(*at)++ = (unsigned char)(n >> (8 * i));
}

static uint64_t take_number(const unsigned char **at, unsigned bytes) {
  uint64_t n = 0;
  for (unsigned i = 0; i < bytes; i++) n |= (uint64_t) * (*at)++ << (8 * i);
  return n;
}

static void put_bytes(unsigned char **at, const void *bytes, size_t count) {
  memcpy(*at, bytes, count);
  *at += count;
}

static void digest_of(unsigned char digest[DIGEST], const unsigned char *bytes, size_t count) {
  mxg_sha256 hash;
  mxg_sha256_begin(&hash);
  mxg_sha256_add(&hash, bytes, count);
  mxg_sha256_end(&hash, digest);
}

unsigned char *mxg_entry_write(size_t *count, const mxg_cache_entry *entry, const unsigned char key[MXG_CACHE_KEY]) {
  size_t kernel = strlen(entry->kernel), arch = strlen(entry->arch);
  if (entry->count > MXG_ENTRY_MAX - 1024) return NULL;
  size_t before = MXG_ENTRY_HEAD + kernel + arch + entry->count;
  unsigned char *file = mxg_alloc(before + DIGEST), *at = file;
  if (!file) return NULL;
  put_bytes(&at, magic, sizeof magic);
  put_number(&at, MXG_ENTRY_FORMAT, 4);
  put_bytes(&at, key, MXG_CACHE_KEY);
  put_number(&at, entry->registers, 4);
  put_number(&at, entry->shared_bytes, 4);
  put_number(&at, entry->local_bytes, 4);
  put_number(&at, entry->nvrtc_major, 4);
  put_number(&at, entry->nvrtc_minor, 4);
  put_number(&at, kernel, 4);
  put_number(&at, arch, 4);
  put_number(&at, entry->count, 8);
  put_bytes(&at, entry->kernel, kernel);
  put_bytes(&at, entry->arch, arch);
  put_bytes(&at, entry->bytes, entry->count);
  digest_of(at, file, before);
  *count = before + DIGEST;
  return file;
}

bool mxg_entry_read(mxg_cache_entry *entry, unsigned char *file, size_t count, const unsigned char *key) {
  unsigned char digest[DIGEST];
  *entry = (mxg_cache_entry){0};
  if (count < MXG_ENTRY_HEAD + DIGEST || count > MXG_ENTRY_MAX || memcmp(file, magic, sizeof magic) != 0) return false;
  const unsigned char *at = file + sizeof magic;
  if (take_number(&at, 4) != MXG_ENTRY_FORMAT) return false;
  if (key && memcmp(at, key, MXG_CACHE_KEY) != 0) return false;
  at += MXG_CACHE_KEY;
  digest_of(digest, file, count - DIGEST);
  if (memcmp(digest, file + count - DIGEST, DIGEST) != 0) return false;
  entry->registers = (uint32_t)take_number(&at, 4);
  entry->shared_bytes = (uint32_t)take_number(&at, 4);
  entry->local_bytes = (uint32_t)take_number(&at, 4);
  entry->nvrtc_major = (uint32_t)take_number(&at, 4);
  entry->nvrtc_minor = (uint32_t)take_number(&at, 4);
  uint64_t kernel = take_number(&at, 4), arch = take_number(&at, 4), bytes = take_number(&at, 8);
  if (kernel >= sizeof entry->kernel || arch >= sizeof entry->arch || bytes > MXG_ENTRY_MAX) return false;
  if (MXG_ENTRY_HEAD + kernel + arch + bytes + DIGEST != count) return false;
  memcpy(entry->kernel, at, (size_t)kernel);
  memcpy(entry->arch, at + kernel, (size_t)arch);
  entry->count = (size_t)bytes;
  entry->bytes = file + (count - DIGEST - bytes);
  return true;
}

/* Last use is the time of last access, set by hand: mounts with noatime and relatime do not. */
void mxg_entry_touch(int file, const struct stat *info) {
  struct timespec now, times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};
  if (clock_gettime(CLOCK_REALTIME, &now) == 0 && now.tv_sec - info->st_atim.tv_sec > TOUCH_SECONDS)
    (void)futimens(file, times);
}

unsigned char *mxg_entry_load(size_t *count, int64_t *used, int folder, const char *name, bool touch) {
  struct stat info;
  int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return NULL;
  unsigned char *bytes = NULL;
  int fault = EILSEQ;
  if (fstat(file, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0 && info.st_size <= MXG_ENTRY_MAX) {
    *count = (size_t)info.st_size;
    bytes = mxg_alloc(*count);
    if (!bytes) fault = ENOMEM;
  }
  for (size_t done = 0; bytes && done < *count;) {
    ssize_t n = read(file, bytes + done, *count - done);
    if (n < 0 && errno == EINTR) continue;
    if (n > 0) {
      done += (size_t)n;
      continue;
    }
    fault = n < 0 ? errno : EILSEQ;
    mxg_free(bytes);
    bytes = NULL;
  }
  if (bytes && used) *used = info.st_atim.tv_sec;
  if (bytes && touch) mxg_entry_touch(file, &info);
  close(file);
  if (!bytes) errno = fault;
  return bytes;
}
