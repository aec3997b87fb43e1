/* library.h -- shared libraries as files: where the loader would find one, and which build it is, without loading it.
** Knows nothing of NVRTC. */
#ifndef MXG_LIBRARY_H
#define MXG_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

enum { MXG_BUILD_ID_ROOM = 2 * 64 + 1 };

/* The GNU build-id of an ELF file of this machine's kind, as hex. False: no such file, another kind, or it has none. */
bool mxg_library_build_id(char hex[MXG_BUILD_ID_ROOM], const char *path);

/* The build-id of the library that holds `address` in this process, from its memory. */
bool mxg_library_loaded_build_id(char hex[MXG_BUILD_ID_ROOM], const void *address);

/* The file of a library that this process has loaded already, whoever did; false when it has none of that name. */
bool mxg_library_loaded(char *path, size_t room, const char *soname);

/* The file that dlopen(soname) would most likely take: run paths, LD_LIBRARY_PATH, ld.so.cache, the system's folders.
** False when there is none or the loader's ways are not known here; then only dlopen can tell. */
bool mxg_library_find(char *path, size_t room, const char *soname);

#endif
