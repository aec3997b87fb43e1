/* cache.c -- see cache.h: finding and publishing single entries, and whose turn it is to make one. The folder is
** cache_folder.c's, an entry's bytes are cache_entry.c's. */
#define _GNU_SOURCE /* F_OFD_SETLK: locks that belong to an open file, so that threads exclude each other too */
#include "cache.h"

#include "cache_bundle.h"
#include "cache_entry.h"
#include "cache_folder.h"
#include "error.h"
#include "hash.h"
#include "memory.h"
#include "temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NAME_ROOM = 80, WAIT_SECONDS = 30, PAUSE_NS = 3000000 };

struct mxg_cache {
  mxg_cache_mode mode;
  int folder; /* -1: every look-up misses */
  char path[MXG_CACHE_PATH];
  pthread_mutex_t lock; /* guards what follows */
  char note[MXG_CACHE_NOTE];
  bool closed; /* writing failed once: no more of it */
  bool swept;
};

mxg_status mxg_cache_mode_get(mxg_cache_mode *mode, mxg_error *err) {
  const char *told = getenv("MXGEN_CACHE");
  *mode = MXG_CACHE_RW;
  if (!told || !*told || strcmp(told, "rw") == 0) return MXG_OK;
  if (strcmp(told, "ro") == 0)
    *mode = MXG_CACHE_RO;
  else if (strcmp(told, "off") == 0)
    *mode = MXG_CACHE_OFF;
  else
    return mxg_fail(err, MXG_ERR_USAGE, 516, "MXGEN_CACHE is '%.40s', not one of off, ro, rw", told);
  return MXG_OK;
}

/* Keeps the first one. */
static void note(mxg_cache *cache, const char *what, const char *name, const char *why) {
  pthread_mutex_lock(&cache->lock);
  if (!cache->note[0]) snprintf(cache->note, sizeof cache->note, "%s %.20s...: %.120s", what, name, why);
  pthread_mutex_unlock(&cache->lock);
}

void mxg_cache_note(mxg_cache *cache, char out[MXG_CACHE_NOTE]) {
  pthread_mutex_lock(&cache->lock);
  memcpy(out, cache->note, MXG_CACHE_NOTE);
  pthread_mutex_unlock(&cache->lock);
}

mxg_status mxg_cache_open(mxg_cache **out, mxg_cache_mode mode, mxg_error *err) {
  mxg_cache *cache = *out = mxg_alloc(sizeof *cache);
  if (!cache) return mxg_fail_nomem(err);
  cache->mode = mode;
  cache->folder = -1;
  pthread_mutex_init(&cache->lock, NULL);
  if (mode != MXG_CACHE_OFF) cache->folder = mxg_cache_folder_open(cache->path, mode == MXG_CACHE_RW, cache->note);
  return MXG_OK;
}

void mxg_cache_close(mxg_cache *cache) {
  if (!cache) return;
  if (cache->folder >= 0) close(cache->folder);
  pthread_mutex_destroy(&cache->lock);
  mxg_free(cache);
}

static void name_of(char name[NAME_ROOM], const unsigned char key[MXG_CACHE_KEY], const char *end) {
  mxg_sha256_hex(key, name);
  strcpy(name + 64, end);
}

bool mxg_cache_find(mxg_cache *cache, mxg_cache_entry *entry, const unsigned char key[MXG_CACHE_KEY]) {
  char name[NAME_ROOM];
  size_t count = 0;
  mxg_cache_entry read;
  *entry = (mxg_cache_entry){0};
  if (cache->folder < 0) return false;
  name_of(name, key, MXG_CACHE_KERNEL_END);
  unsigned char *file = mxg_entry_load(&count, NULL, cache->folder, name, cache->mode == MXG_CACHE_RW);
  if (!file) {
    int why = errno;
    if (why == EILSEQ || why == ELOOP || why == ENXIO)
      note(cache, "damaged kernel cache entry", name, "it is no regular file, or empty");
    else if (why != ENOENT && why != ENOMEM)
      note(cache, "kernel cache entry", name, strerror(why));
    return false;
  }
  bool good = mxg_entry_read(&read, file, count, key);
  if (!good) note(cache, "damaged kernel cache entry", name, "its bytes are not what was written; it is made anew");
  if (good) {
    *entry = read;
    entry->bytes = mxg_alloc(read.count);
    good = entry->bytes != NULL;
    if (good) memcpy(entry->bytes, read.bytes, read.count);
  }
  mxg_free(file);
  return good;
}

/* False when this cache is not written, or not any more. The first writer sweeps. */
static bool may_write(mxg_cache *cache) {
  if (cache->mode != MXG_CACHE_RW || cache->folder < 0) return false;
  pthread_mutex_lock(&cache->lock);
  bool may = !cache->closed, sweep = may && !cache->swept;
  cache->swept = true;
  pthread_mutex_unlock(&cache->lock);
  uint64_t files = 0, bytes = 0;
  if (sweep) mxg_cache_sweep(cache->folder, false, &files, &bytes);
  return may;
}

static bool write_all(int file, const unsigned char *bytes, size_t count) {
  while (count) {
    ssize_t n = write(file, bytes, count);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes += n;
    count -= (size_t)n;
  }
  return true;
}

/* 0 or an errno. The temporary name has random digits: processes of two containers may have one number. */
static int publish(const mxg_cache *cache, const char *name, const unsigned char *bytes, size_t count,
                   const unsigned char *more, size_t more_count) {
  char path[MXG_CACHE_PATH + NAME_ROOM], fresh[MXG_CACHE_PATH + NAME_ROOM + 24];
  unsigned char random[8] = {0};
  mxg_temporary temporary;
  mxg_error err = {0};
  if (getrandom(random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random) return EAGAIN;
  int n = snprintf(fresh, sizeof fresh, "%s/%s.", cache->path, name);
  for (unsigned i = 0; i < sizeof random; i++) n += snprintf(fresh + n, sizeof fresh - (size_t)n, "%02x", random[i]);
  snprintf(path, sizeof path, "%s/%s", cache->path, name);
  if (mxg_temporary_open(&temporary, fresh, &err) != MXG_OK) return err.native ? err.native : EIO;
  if (!write_all(temporary.fd, bytes, count) || !write_all(temporary.fd, more, more_count)) {
    int why = errno ? errno : EIO;
    mxg_temporary_abort(&temporary);
    return why;
  }
  /* A file or a link there is replaced by the rename; an empty folder must go first. */
  (void)unlinkat(cache->folder, name, AT_REMOVEDIR);
  return mxg_temporary_commit(&temporary, path, &err) == MXG_OK ? 0 : err.native ? err.native : EIO;
}

/* What a failed publish means for the rest of the run. */
static void note_failure(mxg_cache *cache, const char *what, const char *name, int why) {
  if (!why) return;
  note(cache, what, name, strerror(why));
  pthread_mutex_lock(&cache->lock);
  cache->closed = cache->closed || why == ENOSPC || why == EROFS || why == EACCES || why == EDQUOT || why == EPERM;
  pthread_mutex_unlock(&cache->lock);
}

void mxg_cache_put(mxg_cache *cache, const mxg_cache_entry *entry, const unsigned char key[MXG_CACHE_KEY]) {
  char name[NAME_ROOM];
  size_t count = 0;
  if (!may_write(cache)) return;
  unsigned char *bytes = mxg_entry_write(&count, entry, key);
  if (!bytes) return;
  name_of(name, key, MXG_CACHE_KERNEL_END);
  int why = publish(cache, name, bytes, count, NULL, 0);
  mxg_free(bytes);
  note_failure(cache, "not cached: kernel cache entry", name, why);
}

bool mxg_cache_find_bundle(mxg_cache *cache, mxg_bundle **out, const unsigned char key[MXG_CACHE_KEY]) {
  char name[NAME_ROOM];
  *out = NULL;
  if (cache->folder < 0) return false;
  name_of(name, key, MXG_CACHE_BUNDLE_END);
  const char *what = "damaged bundle cache entry";
  switch (mxg_bundle_entry_load(out, cache->folder, name, key, cache->mode == MXG_CACHE_RW)) {
  case MXG_BUNDLE_ENTRY_GOOD: return true;
  case MXG_BUNDLE_ENTRY_STALE: break;
  case MXG_BUNDLE_ENTRY_NO_FILE: note(cache, what, name, "it is no regular file, or empty"); break;
  case MXG_BUNDLE_ENTRY_DAMAGED: note(cache, what, name, "its bytes are not what was written; it is made anew"); break;
  case MXG_BUNDLE_ENTRY_NONE: break;
  }
  return false;
}

void mxg_cache_put_bundle(mxg_cache *cache, const mxg_bundle *bundle, const mxg_cache_file *files, uint32_t count,
                          const unsigned char key[MXG_CACHE_KEY]) {
  char name[NAME_ROOM];
  size_t head_bytes = 0, image_bytes = 0;
  const unsigned char *image = mxg_bundle_image(bundle, &image_bytes);
  if (image_bytes > MXG_BUNDLE_ENTRY_MAX || !may_write(cache)) return;
  unsigned char *head = mxg_bundle_entry_head(&head_bytes, bundle, files, count, key);
  if (!head) return;
  name_of(name, key, MXG_CACHE_BUNDLE_END);
  int why = publish(cache, name, head, head_bytes, image, image_bytes);
  mxg_free(head);
  note_failure(cache, "not cached: bundle cache entry", name, why);
}

/* One file for all keys: a key's lock is one byte of it, so that no lock file is ever left or removed under a waiter.
 */
mxg_cache_turn mxg_cache_lock(mxg_cache *cache, int *lock, const unsigned char key[MXG_CACHE_KEY], bool wait) {
  struct stat info;
  *lock = -1;
  if (cache->mode != MXG_CACHE_RW || cache->folder < 0) return MXG_CACHE_GOT;
  int file = openat(cache->folder, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
  if (file < 0) return MXG_CACHE_GOT;
  uint64_t byte = 0;
  for (unsigned i = 0; i < 7; i++) byte = byte << 8 | key[i];
  struct timespec now, end, pause = {0, PAUSE_NS};
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += WAIT_SECONDS;
  bool regular = fstat(file, &info) == 0 && S_ISREG(info.st_mode);
  for (;;) {
    struct flock one = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    if (regular && fcntl(file, F_OFD_SETLK, &one) == 0) {
      *lock = file;
      return MXG_CACHE_GOT;
    }
    bool held = regular && (errno == EAGAIN || errno == EACCES || errno == EINTR);
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!held || now.tv_sec > end.tv_sec) break; /* no locks here, or a holder that hangs: work twice */
    if (!wait) {
      close(file);
      return MXG_CACHE_BUSY;
    }
    nanosleep(&pause, NULL);
  }
  close(file);
  return MXG_CACHE_GOT;
}

void mxg_cache_unlock(int lock) {
  if (lock >= 0) close(lock);
}
