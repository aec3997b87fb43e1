/* mxgen.h -- generate in the process: recipe in, bundle out. Public header of libmxgen (links Lua, opens NVRTC by
 * dlopen). */
#ifndef MXGEN_H
#define MXGEN_H

#include "mxrt.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Start from MXG_OPTIONS_INIT; new fields go at the end. */
typedef struct mxg_options {
  size_t size;              /* sizeof(mxg_options) of the caller's header */
  const char *const *archs; /* "sm_90a", ..., NULL-terminated; NULL: the default list; empty list: no cubins */
  const char *const *sets;  /* "layers=2", ..., NULL-terminated: values for mx.param; NULL: none */
  const char *out_dir;      /* where the readable source, cubins, plan and bundle go; NULL: nowhere */
  unsigned threads;         /* compile threads; 0: one a core */
  void (*progress)(void *user, const char *what, unsigned done, unsigned all); /* from the caller's thread; or NULL */
  void *user;
  const char *embed; /* a C identifier: out_dir/embed/<embed>.c, .h and .d hold the bundle as an array; or NULL */
} mxg_options;

#define MXG_OPTIONS_INIT \
  { sizeof(mxg_options), NULL, NULL, NULL, 0, NULL, NULL, NULL }

/* Lists the stages top to bottom: model, plan, sources, cubins, bundle. Nothing is left half-written in out_dir. */
mxg_status mxg_generate(mxg_bundle **out, const char *recipe, const mxg_options *options, mxg_error *err);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
