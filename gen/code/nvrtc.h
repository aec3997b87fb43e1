/* nvrtc.h -- NVRTC as a table of functions, found at run time. Private to compile.c; no CUDA header is needed. */
#ifndef MXG_NVRTC_H
#define MXG_NVRTC_H

#include "compile.h"

typedef struct mxg_nvrtc_program mxg_nvrtc_program; /* what nvrtcProgram points to */
typedef int (*mxg_nvrtc_flow)(void *user, void *reserved);

enum { MXG_NVRTC_SUCCESS = 0, MXG_NVRTC_COMPILATION = 6, MXG_NVRTC_CANCELLED = 13 };

/* X(name, required, result, parameters): nvrtcResult is an int. SetFlowCallback came with 12.8. */
#define MXG_NVRTC_FUNCTIONS(X)                                                                                       \
  X(Version, true, int, (int *major, int *minor))                                                                    \
  X(GetErrorString, true, const char *, (int result))                                                                \
  X(GetNumSupportedArchs, true, int, (int *count))                                                                   \
  X(GetSupportedArchs, true, int, (int *archs))                                                                      \
  X(CreateProgram, true, int,                                                                                        \
    (mxg_nvrtc_program * *program, const char *text, const char *name, int headers, const char *const *header_texts, \
     const char *const *header_names))                                                                               \
  X(DestroyProgram, true, int, (mxg_nvrtc_program * *program))                                                       \
  X(CompileProgram, true, int, (mxg_nvrtc_program * program, int options, const char *const *option_texts))          \
  X(GetProgramLogSize, true, int, (mxg_nvrtc_program * program, size_t * bytes))                                     \
  X(GetProgramLog, true, int, (mxg_nvrtc_program * program, char *log))                                              \
  X(GetCUBINSize, true, int, (mxg_nvrtc_program * program, size_t * bytes))                                          \
  X(GetCUBIN, true, int, (mxg_nvrtc_program * program, char *cubin))                                                 \
  X(SetFlowCallback, false, int, (mxg_nvrtc_program * program, mxg_nvrtc_flow callback, void *user))

typedef struct mxg_nvrtc {
#define X(name, required, result, parameters) result(*name) parameters;
  MXG_NVRTC_FUNCTIONS(X)
#undef X
  int major, minor;
  char path[512];
  const struct mxg_nvrtc *previous; /* another that was in use before MXGEN_NVRTC changed */
} mxg_nvrtc;

/* The NVRTC of this process: found once, then kept. MXG_ERR_ENVIRONMENT: absent, too old, or a function is missing; the
** error says which and what was searched. */
mxg_status mxg_nvrtc_open(const mxg_nvrtc **out, mxg_error *err);

/* Which build of NVRTC: the GNU build-ids of libnvrtc and of the libnvrtc-builtins beside it, as text. With NULL: of
** the files that mxg_nvrtc_open would most likely take; nothing is loaded. With an open one: of what is loaded.
** False, and "", where that cannot be told. */
bool mxg_nvrtc_build(char build[MXG_NVRTC_BUILD_ROOM], const mxg_nvrtc *nvrtc);

#endif
