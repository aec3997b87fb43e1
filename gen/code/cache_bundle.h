/* cache_bundle.h -- the bytes of a whole bundle's entry in the cache. Private to cache*.c.
**
** All numbers little-endian: magic (8), format version (u32), bytes of this head (u32), key (32), bytes of the bundle
** (u64), the 32 bytes that the bundle ends with, number of files (u32); for each file the bytes of its path (u32), the
** path and its SHA-256 (32); the SHA-256 over all before it, which ends the head. Then the bundle, which ends with a
*hash
** of its own, and nothing else. */
#ifndef MXG_CACHE_BUNDLE_H
#define MXG_CACHE_BUNDLE_H

#include "cache.h"

enum { MXG_BUNDLE_ENTRY_FORMAT = 1, MXG_BUNDLE_ENTRY_MAX = 512 << 20 };

typedef enum mxg_bundle_entry {
  MXG_BUNDLE_ENTRY_GOOD,
  MXG_BUNDLE_ENTRY_NONE,    /* not there, or cannot be read */
  MXG_BUNDLE_ENTRY_NO_FILE, /* something else has its name */
  MXG_BUNDLE_ENTRY_DAMAGED,
  MXG_BUNDLE_ENTRY_STALE /* a file that it was made of is another one now */
} mxg_bundle_entry;

/* The head of an entry, through mxg_free; NULL: no memory, or more than an entry can hold. */
unsigned char *mxg_bundle_entry_head(size_t *count, const mxg_bundle *bundle, const mxg_cache_file *files,
                                     uint32_t file_count, const unsigned char key[MXG_CACHE_KEY]);

/* Reads, verifies and hands out, never through a link, never waiting. */
mxg_bundle_entry mxg_bundle_entry_load(mxg_bundle **out, int folder, const char *name,
                                       const unsigned char key[MXG_CACHE_KEY], bool touch);

/* For a list: fills kernel, arch and use. False: damaged. */
bool mxg_bundle_entry_describe(mxg_cache_item *item, int folder, const char *name);

#endif
