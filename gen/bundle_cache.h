/* bundle_cache.h -- what mxg_generate remembers of whole bundles: what their key is made of, and when they may be used.
** Private to libmxgen. The entries themselves are cache.h's. */
#ifndef MXG_BUNDLE_CACHE_H
#define MXG_BUNDLE_CACHE_H

#include "generate.h"

typedef struct mxg_bundle_cache {
  mxg_cache *cache;
  unsigned char key[MXG_CACHE_KEY], recipe[32]; /* recipe: SHA-256 of its file */
  char build[MXG_NVRTC_BUILD_ROOM];             /* of NVRTC, in the key; "" where there are no architectures */
  char note[MXG_CACHE_NOTE];
} mxg_bundle_cache;

/* Makes the key. False: there is no cache, it is off, or something that the key needs is not known; then nothing else
** may be called but _close, which always may. options->archs are names, as mxg_archs_resolve gives them. */
bool mxg_bundle_cache_open(mxg_bundle_cache *kept, const char *recipe, const mxg_options *options);
bool mxg_bundle_cache_find(mxg_bundle **out, mxg_bundle_cache *kept);
/* Keeps g's bundle, if what was read and used meanwhile is what the key says. */
void mxg_bundle_cache_put(mxg_bundle_cache *kept, const mxg_generation *g);
void mxg_bundle_cache_close(mxg_bundle_cache *kept);

#endif
