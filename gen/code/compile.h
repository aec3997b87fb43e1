/* compile.h -- every nvrtc* call. NVRTC is opened with dlopen at the first compile, never linked. */
#ifndef MXG_COMPILE_H
#define MXG_COMPILE_H

#include "archs.h"
#include "cache.h"
#include "emit.h"

/* Where NVRTC was found and what it is; also what was searched when it was not. For `mxgen doctor`. */
typedef struct mxg_nvrtc_info {
  bool found;
  char path[512], version[32], searched[2048];
} mxg_nvrtc_info;
void mxg_nvrtc_find(mxg_nvrtc_info *info);

enum { MXG_NVRTC_BUILD_ROOM = 1024 }; /* for a text that says which build of NVRTC: see mxg_nvrtc_build */

typedef struct mxg_cubin {
  const void *bytes;
  size_t count;
  uint32_t registers, shared_bytes, local_bytes, code_bytes; /* read from the cubin's ELF */
} mxg_cubin;

/* Compiles every source for `arch` with `threads` threads (0: one a core), without the disk cache. cubins[i] belongs to
** sources[i]; memory is of `arena`. MXG_ERR_ENVIRONMENT without NVRTC (err says what was searched); MXG_ERR_COMPILE has
** NVRTC's first error line. */
mxg_status mxg_compile(const mxg_cubin **out, const mxg_source *sources, uint32_t count, const char *arch,
                       unsigned threads, mxg_arena *arena, mxg_error *err);

/* Counts add up over calls. */
typedef struct mxg_compile_use {
  uint32_t cached, compiled;         /* kernels, by where they came from */
  uint32_t nvrtc_major, nvrtc_minor; /* of the NVRTC that made them, now or then; 0.0 when there were none */
  bool unkeyed;                      /* the cache was left alone: NVRTC does not tell its build */
  char build[MXG_NVRTC_BUILD_ROOM];  /* the one that the kernels' keys have; "" where unkeyed, or without a cache */
} mxg_compile_use;

/* The build of NVRTC whose kernels mxg_compile_cached looks for before it loads any. False, and "", where it is not
** known. */
bool mxg_compile_build(char build[MXG_NVRTC_BUILD_ROOM], mxg_cache *cache);

/* The same, with what `cache` holds taken from there and the rest put there; NVRTC is opened only when something is
** missing. `cache` may be NULL. Where MXGEN_JIT is off, a missing kernel is MXG_ERR_UNSUPPORTED. `use` may be NULL. */
mxg_status mxg_compile_cached(const mxg_cubin **out, const mxg_source *sources, uint32_t count, const char *arch,
                              unsigned threads, mxg_cache *cache, mxg_compile_use *use, mxg_arena *arena,
                              mxg_error *err);

#endif
