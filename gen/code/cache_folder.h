/* cache_folder.h -- the folder that holds the entries: opened safely, or not at all. Private to cache*.c. */
#ifndef MXG_CACHE_FOLDER_H
#define MXG_CACHE_FOLDER_H

#include "cache.h"

/* Opens the cache's folder, made first if `create`; -1 and a reason when it cannot be used, -1 and "" when it is not
** there. */
int mxg_cache_folder_open(char path[MXG_CACHE_PATH], bool create, char why[MXG_CACHE_NOTE]);

/* "<64 hex digits>.mxk", a kernel's, or ".mxw", a whole bundle's. */
#define MXG_CACHE_KERNEL_END ".mxk"
#define MXG_CACHE_BUNDLE_END ".mxw"
bool mxg_cache_is_entry(const char *name);

/* Removes what writers that died left more than a day ago, with `all` every such file; adds to the counts. */
void mxg_cache_sweep(int folder, bool all, uint64_t *files, uint64_t *bytes);

#endif
