/* read_all.h -- a file's next bytes, all of them or a failure. */
#ifndef MXG_READ_ALL_H
#define MXG_READ_ALL_H

#include <stdbool.h>
#include <stddef.h>

/* Goes on after interruptions; false at the file's end and on an error, which errno names. */
bool mxg_read_all(int file, void *bytes, size_t count);

#endif
