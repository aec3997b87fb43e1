/* cache_entry.h -- the bytes of one entry of the cache. Private to cache*.c.
**
** All numbers little-endian: magic (8), format version (u32), key (32); registers, shared bytes, local bytes, NVRTC's
** major, minor, bytes of the kernel's name and of the architecture's (u32 each), bytes of the cubin (u64); then kernel,
** architecture, cubin, and the SHA-256 over all before it. A file has exactly these bytes. */
#ifndef MXG_CACHE_ENTRY_H
#define MXG_CACHE_ENTRY_H

#include "cache.h"

enum { MXG_ENTRY_FORMAT = 1, MXG_ENTRY_HEAD = 8 + 4 + 32 + 7 * 4 + 8, MXG_ENTRY_MAX = 32 << 20 };

/* The file of `entry`, through mxg_free; NULL: no memory, or more than an entry can hold. */
unsigned char *mxg_entry_write(size_t *count, const mxg_cache_entry *entry, const unsigned char key[MXG_CACHE_KEY]);

/* False unless every byte is right and, unless it is NULL, the key is this one. entry->bytes points into `file`. */
bool mxg_entry_read(mxg_cache_entry *entry, unsigned char *file, size_t count, const unsigned char *key);

/* Reads a whole regular file of `folder`, never through a link, never waiting. NULL: errno says why, EILSEQ when it
** cannot be an entry. `used` may be NULL; else it gets the time of last use. */
unsigned char *mxg_entry_load(size_t *count, int64_t *used, int folder, const char *name, bool touch);

/* Sets the time of last access, by which the cache is trimmed, unless that is recent. */
struct stat;
void mxg_entry_touch(int file, const struct stat *info);

#endif
