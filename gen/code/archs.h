/* archs.h -- the names of GPU architectures: those that there are, those that kernels are made for when nobody names
** any, and those of the GPUs at hand. */
#ifndef MXG_ARCHS_H
#define MXG_ARCHS_H

#include "driver.h"
#include "memory.h"

extern const char *const mxg_known_archs[]; /* "sm_80" ... "sm_121a", NULL */

/* The architectures that kernels are made for when the command names none. */
extern const char *const mxg_default_archs[]; /* "sm_80" ... "sm_120a", NULL */

/* MXG_ERR_USAGE with "did you mean" when there is no such architecture. */
mxg_status mxg_arch_check(const char *arch, mxg_error *err);

/* "sm_90a", with the architecture's own instructions where it has any. MXG_ERR_ENVIRONMENT for a GPU that no kernels
** can be made for. */
enum { MXG_ARCH_ROOM = 16 };
mxg_status mxg_arch_of_gpu(char name[MXG_ARCH_ROOM], const mxg_gpu_info *gpu, mxg_error *err);

/* Those of all GPUs that this process sees, each once, by number; ends with NULL. MXG_ERR_ENVIRONMENT without a driver
** or a GPU. */
mxg_status mxg_archs_native(const char *const **out, mxg_arena *arena, mxg_error *err);

/* What mxg_options.archs stands for: NULL is the default list; "native" gives its place to those of the GPUs; every name
** once. Names are not checked. */
mxg_status mxg_archs_resolve(const char *const **out, const char *const *archs, mxg_arena *arena, mxg_error *err);

#endif
