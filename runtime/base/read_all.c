/* read_all.c -- see read_all.h. */
#include "read_all.h"

#include <errno.h>
#include <unistd.h>

bool mxg_read_all(int file, void *bytes, size_t count) {
  for (unsigned char *at = bytes; count;) {
    ssize_t n = read(file, at, count);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    count -= (size_t)n;
  }
  return true;
}
