/* cache.h -- the disk cache of compiled kernels and of whole bundles: one self-checking file an entry. It knows keys
 *and
 ** entries, not what a key is made of (compile.c, generate_cache.c) nor how NVRTC works.
 **
 ** Nothing here fails a generate: whatever is wrong with the folder or an entry is a miss, and mxg_cache_note says
 *what.
 ** The folder is trusted as the user's own file; damage is found, forgery by the same user is not. Thread-safe. */
#ifndef MXG_CACHE_H
#define MXG_CACHE_H

#include "mxrt.h"

#include "bundle.h"

enum { MXG_CACHE_NOTE = 256, MXG_CACHE_KEY = 32, MXG_CACHE_PATH = 3072 };

typedef enum mxg_cache_mode { MXG_CACHE_OFF, MXG_CACHE_RO, MXG_CACHE_RW } mxg_cache_mode;

typedef struct mxg_cache mxg_cache;

typedef struct mxg_cache_entry {
  char kernel[96], arch[16];
  uint32_t nvrtc_major, nvrtc_minor;
  uint32_t registers, shared_bytes, local_bytes;
  void *bytes; /* the cubin; of a found entry the caller's, through mxg_free */
  size_t count;
} mxg_cache_entry;

/* What MXGEN_CACHE says: off, ro or rw (the default). MXG_ERR_USAGE for another word. */
mxg_status mxg_cache_mode_get(mxg_cache_mode *mode, mxg_error *err);

/* MXGEN_CACHE_DIR, else $XDG_CACHE_HOME/mxgen, else ~/.cache/mxgen; "" when there is none of them. `from` gets the
** variable's name. */
void mxg_cache_place(char folder[MXG_CACHE_PATH], const char **from);

/* Opens the folder, and makes it (mode 0700) for MXG_CACHE_RW. A folder that cannot be used leaves a cache that misses
** always. *out is NULL only for MXG_ERR_NOMEM. */
mxg_status mxg_cache_open(mxg_cache **out, mxg_cache_mode mode, mxg_error *err);
void mxg_cache_close(mxg_cache *cache);

/* False for a miss: no entry, a damaged one, or out of memory. */
bool mxg_cache_find(mxg_cache *cache, mxg_cache_entry *entry, const unsigned char key[MXG_CACHE_KEY]);

/* Publishes an entry whole, in place of whatever has its name. The entry stays the caller's. */
void mxg_cache_put(mxg_cache *cache, const mxg_cache_entry *entry, const unsigned char key[MXG_CACHE_KEY]);

/* ---- whole bundles. Such an entry also names the files that the bundle was made of, which must still be the same.
 * ---- */

typedef struct mxg_cache_file {
  const char *path;
  unsigned char digest[32]; /* SHA-256 */
} mxg_cache_file;

/* False for a miss. The plan of what is found was checked when it was put; its bytes are those. */
bool mxg_cache_find_bundle(mxg_cache *cache, mxg_bundle **out, const unsigned char key[MXG_CACHE_KEY]);
void mxg_cache_put_bundle(mxg_cache *cache, const mxg_bundle *bundle, const mxg_cache_file *files, uint32_t count,
                          const unsigned char key[MXG_CACHE_KEY]);

/* SHA-256 of a regular file of at most 1 MiB. */
bool mxg_cache_digest_file(unsigned char digest[32], const char *path);

/* One process or thread at a time makes an entry: only to save work, never needed for right results. `wait`: until the
** lock is free, or half a minute has passed. Where locks do not work, or for a cache that cannot be written, the answer
** is MXG_CACHE_GOT with nothing to hold. A holder that dies lets go. */
typedef enum mxg_cache_turn { MXG_CACHE_GOT, MXG_CACHE_BUSY } mxg_cache_turn;
mxg_cache_turn mxg_cache_lock(mxg_cache *cache, int *lock, const unsigned char key[MXG_CACHE_KEY], bool wait);
void mxg_cache_unlock(int lock);

/* The first thing that went wrong since the cache was opened, "" when nothing did. */
void mxg_cache_note(mxg_cache *cache, char note[MXG_CACHE_NOTE]);

/* ---- the whole folder, for `mxgen cache` ---- */

typedef struct mxg_cache_item {
  char file[80];             /* its name in the folder */
  char kernel[96], arch[16]; /* of a bundle: "bundle NAME", and "sm_90a" or "6 archs" */
  uint64_t bytes;
  int64_t used; /* seconds since 1970 when it was last taken */
  bool damaged;
} mxg_cache_item;

/* Entries, last used first; leftovers of dead writers are not listed. Free with mxg_free. MXG_ERR_ENVIRONMENT when
** the folder cannot be used, with the reason; a folder that is not there has no entries. */
mxg_status mxg_cache_list(mxg_cache_item **out, size_t *count, mxg_error *err);

/* Removes entries, longest unused first, until they take at most `bytes`; damaged ones go always, and leftovers of dead
** writers. 0 removes all. MXG_ERR_IO when something cannot be removed. */
typedef struct mxg_cache_removed {
  uint64_t entries, bytes, left_entries, left_bytes;
} mxg_cache_removed;
mxg_status mxg_cache_trim(mxg_cache_removed *out, uint64_t bytes, mxg_error *err);

#endif
