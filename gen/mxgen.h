/* mxgen.h -- generate in the process: recipe in, bundle out. Public header of libmxgen (links Lua, opens NVRTC by
 * dlopen). */
#ifndef MXGEN_H
#define MXGEN_H

#include "mxrt.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The version of this header, as MXRT_VERSION is of mxrt.h: for mxg_version_check. */
#define MXGEN_VERSION 100

/* Where the kernels of one generate came from. Start from MXG_KERNEL_COUNTS_INIT; new fields go at the end. */
typedef struct mxg_kernel_counts {
  size_t size; /* sizeof(mxg_kernel_counts) of the caller's header: set before the call, nothing past it is written */
  unsigned cached;   /* from the disk cache */
  unsigned compiled; /* by NVRTC, in this call */
  char note[256];    /* why the cache was not used, or not for all; "" when nothing is wrong. Never an error */
} mxg_kernel_counts;

#define MXG_KERNEL_COUNTS_INIT \
  { sizeof(mxg_kernel_counts), 0, 0, "" }

/* Start from MXG_OPTIONS_INIT; new fields go at the end. */
typedef struct mxg_options {
  size_t size;              /* sizeof(mxg_options) of the caller's header */
  const char *const *archs; /* "sm_90a", "native", ..., NULL-terminated; NULL: the default list; empty: no cubins */
  const char *const *sets;  /* "layers=2", ..., NULL-terminated: values for mx.param; NULL: none */
  const char *out_dir;      /* where the readable source, cubins, plan and bundle go; NULL: nowhere */
  unsigned threads;         /* compile threads; 0: one a core */
  void (*progress)(void *user, const char *what, unsigned done, unsigned all); /* from the caller's thread; or NULL */
  void *user;
  const char *embed; /* a C identifier: out_dir/embed/<embed>.c, .h and .d hold the bundle as an array; or NULL. Needs
                     ** out_dir */
  bool no_cache;     /* neither read nor write the disk cache of kernels, whatever MXGEN_CACHE says */
  mxg_kernel_counts *counts;                  /* filled, even on failure; or NULL */
  void (*warn)(void *user, const char *text); /* what is wrong and stops nothing; from the caller's thread; or NULL */
  bool no_tune;                               /* leave the tuning file beside the recipe alone */
} mxg_options;

#define MXG_OPTIONS_INIT \
  { sizeof(mxg_options), NULL, NULL, NULL, 0, NULL, NULL, NULL, false, NULL, NULL, false }

/* Lists the stages top to bottom: model, plan, sources, cubins, bundle. Nothing is left half-written in out_dir.
**
** A program that runs what it generates wants archs = {"native", NULL}: the architectures of the GPUs that this process
** sees, each once; MXG_ERR_ENVIRONMENT where there is no driver or no GPU. Names may stand beside it. The default is
** six architectures, sm_80 to sm_120a, for bundles that go to other machines, and takes six times as long to compile.
**
** Compiled kernels are kept on disk: in MXGEN_CACHE_DIR, else $XDG_CACHE_HOME/mxgen, else ~/.cache/mxgen. MXGEN_CACHE:
** rw (the default), ro or off. The cache never changes a result; its troubles are a note in `counts`, no error.
** MXGEN_JIT=off: a kernel that is not there is MXG_ERR_UNSUPPORTED. With all of them there NVRTC is not loaded.
** Without out_dir the bundle is kept too: while the recipe, what it includes, the options and mxgen are the same, it
** is read and verified, and no stage runs.
**
** The calling thread needs 256 KiB of stack (NVRTC's own included; threads have 8 MiB by default with glibc).
**
** Where `mxgen tune` left a file beside the recipe, the schedule, the kernels' thread blocks and accesses, and the
** bundle's hints are what it found; a file that is about another recipe, other GPUs or another version, or is damaged,
** is a warning and nothing else. */
mxg_status mxg_generate(mxg_bundle **out, const char *recipe, const mxg_options *options, mxg_error *err);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
