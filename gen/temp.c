/* temp.c -- see temp.h. One mutex guards the list and every commit, so that a folder is either committed or removed. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "temp.h"

#include "error.h"
#include "memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { path_room = 4096, deepest = 16 };

struct mxg_temp {
  struct mxg_temp *next;
  unsigned parents; /* folders above `place` that were made for it */
  char place[path_room], path[path_room];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static mxg_temp *first;
static bool ending; /* mxg_temp_remove_all was called: nothing may be committed any more */

static mxg_status fail_io(mxg_error *err, const char *path, const char *what) {
  int native = errno;
  mxg_fail(err, MXG_ERR_IO, 910, "cannot %s: %s", what, strerror(native));
  mxg_error_place(err, path, 0, 0, 0);
  if (err) err->native = native;
  return MXG_ERR_IO;
}

bool mxg_name_has_extension(const char *name, const char *extension) {
  size_t count = strlen(name), more = strlen(extension);
  return count > more && !strcmp(name + count - more, extension);
}

bool mxg_path_join(char *path, size_t room, const char *dir, const char *name) {
  size_t count = strlen(dir);
  const char *between = count && dir[count - 1] == '/' ? "" : "/";
  int n = snprintf(path, room, "%s%s%s", dir, between, name);
  return n >= 0 && (size_t)n < room;
}

bool mxg_file_name_is_safe(const char *name) {
  size_t count = strlen(name);
  if (count == 0 || count > 200 || name[0] == '.' || name[0] == '-') return false;
  for (const char *c = name; *c; c++) {
    bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');
    if (!letter && !(*c >= '0' && *c <= '9') && *c != '.' && *c != '_' && *c != '-') return false;
  }
  return true;
}

mxg_status mxg_file_write(const char *path, const void *bytes, size_t count, mxg_error *err) {
  int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (file < 0) return fail_io(err, path, "create the file");
  const char *at = bytes;
  while (count) {
    ssize_t n = write(file, at, count);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      mxg_status status = fail_io(err, path, "write the file");
      close(file);
      return status;
    }
    at += n;
    count -= (size_t)n;
  }
  if (close(file)) return fail_io(err, path, "write the file");
  return MXG_OK;
}

/* Removes a tree; does not follow links. */
static void remove_tree(const char *path, unsigned depth) {
  DIR *dir = depth < deepest ? opendir(path) : NULL;
  if (dir) {
    for (struct dirent *entry; (entry = readdir(dir));) {
      if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
      char inner[path_room];
      struct stat info;
      if (!mxg_path_join(inner, sizeof inner, path, entry->d_name) || lstat(inner, &info)) continue;
      if (S_ISDIR(info.st_mode))
        remove_tree(inner, depth + 1);
      else
        unlink(inner);
    }
    closedir(dir);
  }
  rmdir(path);
}

/* The parent folder of `path`: "a/b" -> "a", "a" -> ".", "/a" -> "/". */
static void parent_of(char *out, const char *path) {
  memmove(out, path, strlen(path) + 1);
  char *slash = strrchr(out, '/');
  if (!slash)
    strcpy(out, ".");
  else if (slash == out)
    out[1] = 0;
  else
    *slash = 0;
}

static mxg_status make_parents(mxg_temp *temp, mxg_error *err) {
  char parent[path_room];
  parent_of(parent, temp->place);
  unsigned missing = 0;
  struct stat info;
  while (stat(parent, &info)) {
    if (errno != ENOENT || !strcmp(parent, "/") || !strcmp(parent, ".")) return fail_io(err, parent, "use the folder");
    missing++;
    parent_of(parent, parent);
  }
  while (temp->parents < missing) {
    parent_of(parent, temp->place);
    for (unsigned up = missing - temp->parents - 1; up; up--) parent_of(parent, parent);
    if (mkdir(parent, 0777)) return fail_io(err, parent, "make the folder");
    temp->parents++;
  }
  return MXG_OK;
}

static void remove_parents(const mxg_temp *temp) {
  char parent[path_room];
  parent_of(parent, temp->place);
  for (unsigned up = 0; up < temp->parents && !rmdir(parent); up++) parent_of(parent, parent);
}

/* The caller holds the lock. */
static void unlist(mxg_temp *temp) {
  for (mxg_temp **link = &first; *link; link = &(*link)->next) {
    if (*link != temp) continue;
    *link = temp->next;
    return;
  }
}

mxg_status mxg_temp_create(mxg_temp **out, const char *place, mxg_error *err) {
  *out = NULL;
  mxg_temp *temp = mxg_alloc(sizeof *temp);
  if (!temp) return mxg_fail_nomem(err);
  char *real = realpath(place, NULL); /* a link to a folder stays a link: its folder is what is replaced */
  const char *name = real ? real : place;
  size_t count = strlen(name);
  if (count == 0 || count + 24 > path_room) {
    free(real);
    mxg_free(temp);
    mxg_fail(err, MXG_ERR_INPUT, 911, "'%.200s' cannot be the name of a folder", place);
    return MXG_ERR_INPUT;
  }
  memcpy(temp->place, name, count + 1);
  free(real);
  while (count > 1 && temp->place[count - 1] == '/') temp->place[--count] = 0;

  struct stat info;
  mxg_status status = MXG_OK;
  int native = stat(temp->place, &info) ? errno : S_ISDIR(info.st_mode) ? 0 : ENOTDIR;
  if (native && !lstat(temp->place, &info)) { /* something is there: a file, or a link that leads nowhere */
    errno = native;
    status = fail_io(err, place, "use it as a folder");
  }
  if (status == MXG_OK) status = make_parents(temp, err);
  if (status == MXG_OK) {
    snprintf(temp->path, sizeof temp->path, "%.*s.tmp-XXXXXX", path_room - 16, temp->place);
    pthread_mutex_lock(&lock);
    if (ending) {
      errno = EINTR;
      status = fail_io(err, place, "begin");
    } else if (!mkdtemp(temp->path)) {
      status = fail_io(err, place, "make a folder beside it");
    } else {
      mode_t mask = umask(0);
      umask(mask);
      (void)chmod(temp->path, 0777 & ~mask);
      temp->next = first;
      first = temp;
    }
    pthread_mutex_unlock(&lock);
  }
  if (status != MXG_OK) {
    remove_parents(temp);
    mxg_free(temp);
    return status;
  }
  *out = temp;
  return MXG_OK;
}

const char *mxg_temp_path(const mxg_temp *temp) { return temp->path; }
const char *mxg_temp_place(const mxg_temp *temp) { return temp->place; }

static bool same_bytes(const char *a, const char *b) {
  int fa = open(a, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), fb = open(b, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  bool same = fa >= 0 && fb >= 0;
  while (same) {
    char ba[16384], bb[16384];
    ssize_t na = read(fa, ba, sizeof ba), nb = read(fb, bb, sizeof bb);
    same = na >= 0 && na == nb && !memcmp(ba, bb, (size_t)na);
    if (na <= 0) break;
  }
  if (fa >= 0) close(fa);
  if (fb >= 0) close(fb);
  return same;
}

/* Gives files of `fresh` that equal those of `old` their times, so that builds that depend on them do not run again. */
static void keep_times(const char *fresh, const char *old, unsigned depth) {
  DIR *dir = depth < deepest ? opendir(fresh) : NULL;
  if (!dir) return;
  for (struct dirent *entry; (entry = readdir(dir));) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    char a[path_room], b[path_room];
    struct stat ia, ib;
    if (!mxg_path_join(a, sizeof a, fresh, entry->d_name) || !mxg_path_join(b, sizeof b, old, entry->d_name)) continue;
    if (lstat(a, &ia) || lstat(b, &ib)) continue;
    if (S_ISDIR(ia.st_mode) && S_ISDIR(ib.st_mode)) {
      keep_times(a, b, depth + 1);
    } else if (S_ISREG(ia.st_mode) && S_ISREG(ib.st_mode) && ia.st_size == ib.st_size && same_bytes(a, b)) {
      struct timespec times[2] = {ib.st_atim, ib.st_mtim};
      (void)utimensat(AT_FDCWD, a, times, AT_SYMLINK_NOFOLLOW);
    }
  }
  closedir(dir);
}

/* Puts the new folder in the old one's place. The lock is held. `aside` gets the name of the old one, "" when there was
** none. */
static mxg_status swap_folders(mxg_temp *temp, char aside[path_room], mxg_error *err) {
  aside[0] = 0;
  if (ending) {
    errno = EINTR;
    return fail_io(err, temp->place, "move the result to its place");
  }
  struct stat info;
  if (!lstat(temp->place, &info)) {
    snprintf(aside, path_room, "%.*s.old-XXXXXX", path_room - 16, temp->place);
    if (!mkdtemp(aside)) {
      aside[0] = 0;
      return fail_io(err, temp->place, "make a folder beside it");
    }
    if (rename(temp->place, aside)) { /* over the empty folder just made */
      mxg_status status = fail_io(err, temp->place, "move the old folder aside");
      rmdir(aside);
      aside[0] = 0;
      return status;
    }
  }
  if (rename(temp->path, temp->place)) {
    mxg_status status = fail_io(err, temp->place, "move the result to its place");
    if (aside[0] && rename(aside, temp->place)) mxg_error_note(err, "the old folder is now %s", aside);
    aside[0] = 0;
    return status;
  }
  return MXG_OK;
}

mxg_status mxg_temp_replace(mxg_temp *temp, mxg_error *err) {
  keep_times(temp->path, temp->place, 0);
  char aside[path_room];
  pthread_mutex_lock(&lock);
  mxg_status status = swap_folders(temp, aside, err);
  if (status == MXG_OK) { /* what is still to be removed, here or for a signal, is the old folder */
    strcpy(temp->path, aside);
    temp->parents = 0;
  }
  pthread_mutex_unlock(&lock);
  mxg_temp_remove(temp);
  return status;
}

/* The lock is held. */
static mxg_status merge_files(const mxg_temp *temp, mxg_error *err) {
  if (ending) {
    errno = EINTR;
    return fail_io(err, temp->place, "move the result to its place");
  }
  struct stat info;
  if (stat(temp->place, &info)) /* nothing there: the whole folder at once */
    return rename(temp->path, temp->place) ? fail_io(err, temp->place, "move the result to its place") : MXG_OK;
  DIR *dir = opendir(temp->path);
  if (!dir) return fail_io(err, temp->path, "read the folder");
  mxg_status status = MXG_OK;
  for (struct dirent *entry; status == MXG_OK && (entry = readdir(dir));) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    char from[path_room], to[path_room];
    if (!mxg_path_join(from, sizeof from, temp->path, entry->d_name) ||
        !mxg_path_join(to, sizeof to, temp->place, entry->d_name)) {
      errno = ENAMETOOLONG;
      status = fail_io(err, temp->place, "move a file to its place");
    } else if (rename(from, to)) {
      status = fail_io(err, to, "move the file to its place");
    }
  }
  closedir(dir);
  if (status == MXG_OK) rmdir(temp->path);
  return status;
}

mxg_status mxg_temp_merge(mxg_temp *temp, mxg_error *err) {
  pthread_mutex_lock(&lock);
  mxg_status status = merge_files(temp, err);
  if (status == MXG_OK) unlist(temp);
  pthread_mutex_unlock(&lock);
  if (status != MXG_OK)
    mxg_temp_remove(temp);
  else
    mxg_free(temp);
  return status;
}

void mxg_temp_remove(mxg_temp *temp) {
  if (!temp) return;
  pthread_mutex_lock(&lock);
  if (!ending) { /* otherwise mxg_temp_remove_all owns what is left */
    unlist(temp);
    remove_tree(temp->path, 0);
    remove_parents(temp);
    mxg_free(temp);
  }
  pthread_mutex_unlock(&lock);
}

void mxg_temp_remove_all(void) {
  pthread_mutex_lock(&lock);
  ending = true;
  for (mxg_temp *temp = first; temp; temp = temp->next) {
    /* another thread may still be making files in it: go on until it is gone */
    for (int tries = 0; tries < 1000 && !access(temp->path, F_OK); tries++) remove_tree(temp->path, 0);
    remove_parents(temp);
  }
  pthread_mutex_unlock(&lock);
}
