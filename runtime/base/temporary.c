/* temporary.c -- files that are not yet under their name: made beside it, listed, then renamed or removed.
**
** Owns the table of live ones, which a signal handler may walk: fixed memory, and a slot's state is the only thing that
** is read before its path. */
#include "temporary.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { path_most = 4096 };

enum { slot_free = 0, slot_taken = 1, slot_live = 2 }; /* live: the path is complete and the file may exist */

static struct {
  atomic_int state;
  char path[path_most];
} slots[MXG_TEMPORARIES];

static mxg_status fail_errno(mxg_error *err, const char *what, int number) {
  mxg_status status = mxg_fail(err, MXG_ERR_IO, 314, "%s: %s", what, strerror(number));
  if (err) err->native = number;
  return status;
}

static int take_slot(void) {
  for (int i = 0; i < MXG_TEMPORARIES; i++) {
    int expected = slot_free;
    if (atomic_compare_exchange_strong(&slots[i].state, &expected, slot_taken)) return i;
  }
  return -1;
}

/* "folder/.name.<process>-<slot>.tmp": hidden, and never the end of a name that a reader looks for. */
static bool temporary_name(char *to, const char *path, int slot) {
  const char *slash = strrchr(path, '/');
  int folder = slash ? (int)(slash - path + 1) : 0;
  int n = snprintf(to, path_most, "%.*s.%s.%ld-%d.tmp", folder, path, path + folder, (long)getpid(), slot);
  return n > 0 && n < path_most;
}

mxg_status mxg_temporary_open(mxg_temporary *out, const char *path, mxg_error *err) {
  *out = (mxg_temporary){-1, -1};
  int slot = take_slot();
  if (slot < 0)
    return mxg_fail(err, MXG_ERR_USAGE, 315, "more than %d files are being written at once", MXG_TEMPORARIES);
  if (!temporary_name(slots[slot].path, path, slot)) {
    atomic_store(&slots[slot].state, slot_free);
    return mxg_fail(err, MXG_ERR_INPUT, 314, "the path is longer than %d bytes", path_most - 64);
  }
  /* Listed before it exists: a signal between the two finds nothing to remove, never a file that nobody knows. A file
  ** with this name can only be left from a dead process with the same number. */
  atomic_store(&slots[slot].state, slot_live);
  unlink(slots[slot].path);
  int fd = open(slots[slot].path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) {
    int number = errno;
    atomic_store(&slots[slot].state, slot_free);
    return fail_errno(err, "cannot create a file beside it", number);
  }
  *out = (mxg_temporary){fd, slot};
  return MXG_OK;
}

void mxg_temporary_abort(mxg_temporary *temporary) {
  if (temporary->fd >= 0) close(temporary->fd);
  if (temporary->slot >= 0) {
    unlink(slots[temporary->slot].path);
    atomic_store(&slots[temporary->slot].state, slot_free);
  }
  *temporary = (mxg_temporary){-1, -1};
}

/* The rename itself must reach the disk. A folder that cannot be opened or synced (some network file systems) has the
** file under its name all the same: no error. */
static void sync_folder(const char *path) {
  char folder[path_most] = ".";
  const char *slash = strrchr(path, '/');
  if (slash) {
    size_t count = slash == path ? 1 : (size_t)(slash - path);
    if (count >= sizeof folder) return;
    memcpy(folder, path, count);
    folder[count] = 0;
  }
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  (void)fsync(fd);
  close(fd);
}

mxg_status mxg_temporary_commit(mxg_temporary *temporary, const char *path, mxg_error *err) {
  const char *what = NULL;
  int number = 0;
  if (fsync(temporary->fd) != 0) what = "cannot bring the file to the disk", number = errno;
  if (close(temporary->fd) != 0 && !what) what = "cannot close the file", number = errno;
  temporary->fd = -1;
  if (!what && rename(slots[temporary->slot].path, path) != 0) what = "cannot rename the finished file", number = errno;
  if (what) {
    mxg_temporary_abort(temporary);
    return fail_errno(err, what, number);
  }
  atomic_store(&slots[temporary->slot].state, slot_free);
  *temporary = (mxg_temporary){-1, -1};
  sync_folder(path);
  return MXG_OK;
}

static mxg_status save(mxg_temporary *temporary, const char *path, const void *bytes, size_t count, mxg_error *err) {
  MXG_TRY(mxg_temporary_open(temporary, path, err));
  const char *from = bytes;
  while (count) {
    ssize_t n = write(temporary->fd, from, count);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      int number = errno;
      mxg_temporary_abort(temporary);
      return fail_errno(err, "cannot write", number);
    }
    from += n;
    count -= (size_t)n;
  }
  return mxg_temporary_commit(temporary, path, err);
}

mxg_status mxg_temporary_save(const char *path, const void *bytes, size_t count, mxg_error *err) {
  mxg_temporary temporary;
  mxg_status status = save(&temporary, path, bytes, count, err);
  if (status != MXG_OK) mxg_error_place(err, path, 0, 0, 0);
  return status;
}

void mxg_temporaries_remove(void) {
  for (int i = 0; i < MXG_TEMPORARIES; i++)
    if (atomic_load(&slots[i].state) == slot_live) unlink(slots[i].path);
}
