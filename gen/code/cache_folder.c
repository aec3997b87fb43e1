/* cache_folder.c -- the cache's folder as a whole: where it is, who may own it, what is in it, what goes from it.
** Single entries are cache.c's. */
#include "cache_folder.h"

#include "cache_bundle.h"
#include "cache_entry.h"
#include "error.h"
#include "memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { DAY_SECONDS = 24 * 60 * 60 };

/* ---- where ------------------------------------------------------------------------------------------------------- */

void mxg_cache_place(char folder[MXG_CACHE_PATH], const char **from) {
  const char *told = getenv("MXGEN_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  int n = 0;
  folder[0] = 0;
  *from = "";
  if (told && *told) {
    *from = "MXGEN_CACHE_DIR";
    n = snprintf(folder, MXG_CACHE_PATH, "%s", told);
  } else if (xdg && *xdg == '/') { /* a relative one is to be ignored, says the XDG specification */
    *from = "XDG_CACHE_HOME";
    n = snprintf(folder, MXG_CACHE_PATH, "%s/mxgen", xdg);
  } else if (home && *home == '/') {
    *from = "HOME";
    n = snprintf(folder, MXG_CACHE_PATH, "%s/.cache/mxgen", home);
  }
  if (n < 0 || n >= MXG_CACHE_PATH) folder[0] = 0;
}

/* mkdir -p, all for the user alone. */
static bool make_folder(const char *path) {
  char part[MXG_CACHE_PATH];
  size_t count = strlen(path);
  memcpy(part, path, count + 1);
  for (size_t i = 1; i < count; i++) {
    if (part[i] != '/') continue;
    part[i] = 0;
    if (mkdir(part, 0700) && errno != EEXIST && errno != EROFS && errno != EACCES) return false;
    part[i] = '/';
  }
  return mkdir(part, 0700) == 0 || errno == EEXIST;
}

static int refuse(int folder, char why[MXG_CACHE_NOTE], const char *path, const char *reason) {
  snprintf(why, MXG_CACHE_NOTE, "the kernel cache %.140s is not used: %.70s", path, reason);
  if (folder >= 0) close(folder);
  return -1;
}

int mxg_cache_folder_open(char path[MXG_CACHE_PATH], bool create, char why[MXG_CACHE_NOTE]) {
  const char *from;
  struct stat info;
  why[0] = 0;
  mxg_cache_place(path, &from);
  if (!path[0]) {
    snprintf(why, MXG_CACHE_NOTE, "there is no place for a kernel cache: set MXGEN_CACHE_DIR");
    return -1;
  }
  if (stat(path, &info) != 0) {
    if (errno == ENOENT && !create) return -1;
    if (errno != ENOENT || !make_folder(path)) return refuse(-1, why, path, strerror(errno));
  }
  int folder = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
  if (folder < 0 || fstat(folder, &info) != 0) return refuse(folder, why, path, strerror(errno));
  /* root's is as good as the mxgen binary: an image may ship one to be read */
  if (info.st_uid != geteuid() && info.st_uid != 0) return refuse(folder, why, path, "it belongs to somebody else");
  if (info.st_mode & S_IWOTH) return refuse(folder, why, path, "everybody may write to it");
  return folder;
}

/* ---- what is in it ----------------------------------------------------------------------------------------------- */

bool mxg_cache_is_entry(const char *name) {
  return strspn(name, "0123456789abcdef") == 64 &&
         (strcmp(name + 64, MXG_CACHE_KERNEL_END) == 0 || strcmp(name + 64, MXG_CACHE_BUNDLE_END) == 0);
}

/* ".<64 hex digits>....tmp", a writer's file that has no name yet. */
static bool is_left(const char *name) {
  size_t count = strlen(name);
  return name[0] == '.' && count > 4 && strspn(name + 1, "0123456789abcdef") == 64 &&
         strcmp(name + count - 4, ".tmp") == 0;
}

static DIR *list_folder(int folder) {
  int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
  if (!dir && copy >= 0) close(copy);
  return dir;
}

void mxg_cache_sweep(int folder, bool all, uint64_t *files, uint64_t *bytes) {
  DIR *dir = list_folder(folder);
  time_t now = time(NULL);
  struct stat info;
  for (struct dirent *entry; dir && (entry = readdir(dir));) {
    if (!is_left(entry->d_name) || fstatat(folder, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!all && now - info.st_mtim.tv_sec < DAY_SECONDS) continue;
    if (unlinkat(folder, entry->d_name, 0) != 0) continue;
    *files += 1;
    *bytes += (uint64_t)info.st_size;
  }
  if (dir) closedir(dir);
}

static mxg_status open_for_command(int *folder, mxg_error *err) {
  char path[MXG_CACHE_PATH], why[MXG_CACHE_NOTE];
  *folder = mxg_cache_folder_open(path, false, why);
  return *folder < 0 && why[0] ? mxg_fail(err, MXG_ERR_ENVIRONMENT, 518, "%s", why) : MXG_OK;
}

static void describe(mxg_cache_item *item, int folder, const char *name) {
  mxg_cache_entry entry;
  struct stat info;
  size_t count = 0;
  snprintf(item->file, sizeof item->file, "%.79s", name);
  item->damaged = true;
  if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) == 0) {
    item->bytes = (uint64_t)info.st_size;
    item->used = info.st_atim.tv_sec;
  }
  if (strcmp(name + 64, MXG_CACHE_BUNDLE_END) == 0) {
    item->damaged = !mxg_bundle_entry_describe(item, folder, name);
    return;
  }
  unsigned char *bytes = mxg_entry_load(&count, &item->used, folder, name, false);
  if (bytes && mxg_entry_read(&entry, bytes, count, NULL)) {
    item->damaged = false;
    memcpy(item->kernel, entry.kernel, sizeof item->kernel);
    memcpy(item->arch, entry.arch, sizeof item->arch);
  }
  mxg_free(bytes);
}

/* The last used first; of equals, by name. */
static int by_use(const void *a, const void *b) {
  const mxg_cache_item *one = a, *two = b;
  if (one->used != two->used) return one->used < two->used ? 1 : -1;
  return strcmp(one->file, two->file);
}

static mxg_status list_entries(mxg_cache_item **out, size_t *count, int folder, mxg_error *err) {
  size_t capacity = 0;
  DIR *dir = folder >= 0 ? list_folder(folder) : NULL;
  for (struct dirent *entry; dir && (entry = readdir(dir));) {
    if (!mxg_cache_is_entry(entry->d_name)) continue;
    mxg_cache_item *item = mxg_vector_push((void **)out, count, &capacity, sizeof *item);
    if (!item) {
      closedir(dir);
      mxg_free(*out);
      *out = NULL;
      *count = 0;
      return mxg_fail_nomem(err);
    }
    describe(item, folder, entry->d_name);
  }
  if (dir) closedir(dir);
  if (*count) qsort(*out, *count, sizeof **out, by_use);
  return MXG_OK;
}

mxg_status mxg_cache_list(mxg_cache_item **out, size_t *count, mxg_error *err) {
  int folder;
  *out = NULL;
  *count = 0;
  MXG_TRY(open_for_command(&folder, err));
  mxg_status status = list_entries(out, count, folder, err);
  if (folder >= 0) close(folder);
  return status;
}

/* A folder in an entry's place goes too, if it is empty. */
static bool remove_entry(int folder, const char *name) {
  return unlinkat(folder, name, 0) == 0 ||
         ((errno == EISDIR || errno == EPERM) && unlinkat(folder, name, AT_REMOVEDIR) == 0);
}

mxg_status mxg_cache_trim(mxg_cache_removed *out, uint64_t bytes, mxg_error *err) {
  mxg_cache_item *items = NULL;
  size_t count = 0;
  int folder;
  *out = (mxg_cache_removed){0};
  MXG_TRY(open_for_command(&folder, err));
  mxg_status status = list_entries(&items, &count, folder, err);
  bool full = false; /* once one does not fit, no older one stays */
  int fault = 0;
  for (size_t i = 0; i < count; i++) {
    full = full || (!items[i].damaged && items[i].bytes > bytes - out->left_bytes);
    if (!full && !items[i].damaged && bytes) {
      out->left_entries++;
      out->left_bytes += items[i].bytes;
    } else if (remove_entry(folder, items[i].file)) {
      out->entries++;
      out->bytes += items[i].bytes;
    } else if (errno != ENOENT) {
      fault = errno;
    }
  }
  if (folder >= 0) mxg_cache_sweep(folder, bytes == 0, &out->entries, &out->bytes);
  if (folder >= 0) close(folder);
  mxg_free(items);
  if (status == MXG_OK && fault) {
    status = mxg_fail(err, MXG_ERR_IO, 518, "entries of the kernel cache cannot be removed: %s", strerror(fault));
    if (err) err->native = fault;
  }
  return status;
}
