/* archs.c -- see archs.h. */
#include "archs.h"

#include "error.h"
#include "nearest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const mxg_default_archs[] = {"sm_80", "sm_89", "sm_90a", "sm_100a", "sm_103a", "sm_120a", NULL};

const char *const mxg_known_archs[] = {"sm_80",   "sm_86",   "sm_87",   "sm_89",  "sm_90",   "sm_90a",
                                       "sm_100",  "sm_100a", "sm_100f", "sm_103", "sm_103a", "sm_110",
                                       "sm_110a", "sm_120",  "sm_120a", "sm_121", "sm_121a", NULL};

mxg_status mxg_arch_check(const char *arch, mxg_error *err) {
  const char *nearest = NULL;
  size_t best = 4;
  for (size_t i = 0; mxg_known_archs[i]; i++) {
    size_t far = mxg_edit_distance(arch, mxg_known_archs[i]);
    if (far == 0) return MXG_OK;
    if (far < best) best = far, nearest = mxg_known_archs[i];
  }
  mxg_fail(err, MXG_ERR_USAGE, 503, "there is no architecture '%.40s'", arch);
  mxg_error_note(err, "known: sm_80 86 87 89 90 90a 100 100a 100f 103 103a 110 110a 120 120a 121 121a");
  if (nearest) mxg_error_help(err, "did you mean %s?", nearest);
  return MXG_ERR_USAGE;
}

/* ---- the GPUs at hand ---- */

mxg_status mxg_arch_of_gpu(char name[MXG_ARCH_ROOM], const mxg_gpu_info *gpu, mxg_error *err) {
  static const char *const kinds[] = {"a", ""};
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    snprintf(name, MXG_ARCH_ROOM, "sm_%d%d%s", gpu->major, gpu->minor, kinds[i]);
    if (mxg_arch_check(name, NULL) == MXG_OK) return MXG_OK;
  }
  mxg_fail(err, MXG_ERR_ENVIRONMENT, 503, "GPU %d, %.90s, is of an architecture that no kernels are made for: %s",
           gpu->ordinal, gpu->name, name);
  mxg_error_help(err, "hide it with CUDA_VISIBLE_DEVICES, or name the architectures, for example sm_90a");
  return MXG_ERR_ENVIRONMENT;
}

static int by_number(const void *a, const void *b) {
  const char *x = *(const char *const *)a, *y = *(const char *const *)b;
  long m = strtol(x + 3, NULL, 10), n = strtol(y + 3, NULL, 10);
  return m != n ? (m < n ? -1 : 1) : strcmp(x, y);
}

static bool has(const char *const *list, size_t count, const char *name) {
  for (size_t i = 0; i < count; i++)
    if (!strcmp(list[i], name)) return true;
  return false;
}

mxg_status mxg_archs_native(const char *const **out, mxg_arena *arena, mxg_error *err) {
  int gpus = 0;
  size_t count = 0;
  *out = NULL;
  MXG_TRY(mxg_gpu_count(&gpus, err));
  if (gpus <= 0) return mxg_fail(err, MXG_ERR_ENVIRONMENT, 523, "this process sees no GPU");
  const char **list = mxg_arena_alloc(arena, (size_t)gpus + 1, sizeof *list);
  if (!list) return mxg_fail_nomem(err);
  for (int i = 0; i < gpus; i++) {
    mxg_gpu_info info;
    char name[MXG_ARCH_ROOM];
    MXG_TRY(mxg_gpu_ask(&info, i, err));
    MXG_TRY(mxg_arch_of_gpu(name, &info, err));
    if (has(list, count, name)) continue;
    list[count] = mxg_arena_text(arena, name, strlen(name));
    if (!list[count++]) return mxg_fail_nomem(err);
  }
  qsort(list, count, sizeof *list, by_number);
  *out = list;
  return MXG_OK;
}

/* ---- lists ---- */

static bool is_native(const char *name) { return !strcmp(name, "native"); }

static size_t length(const char *const *list) {
  size_t count = 0;
  while (list[count]) count++;
  return count;
}

static mxg_status find_native(const char *const **out, mxg_arena *arena, mxg_error *err) {
  mxg_error why = {0};
  mxg_status status = mxg_archs_native(out, arena, &why);
  if (status == MXG_OK || !err) return status;
  *err = why;
  if (status == MXG_ERR_ENVIRONMENT && why.code != 503)
    mxg_error_help(err, "%.300s%sarchitecture native is that of the GPUs here: name one instead, for example sm_90a",
                   why.help, *why.help ? "; " : "");
  return status;
}

mxg_status mxg_archs_resolve(const char *const **out, const char *const *archs, mxg_arena *arena, mxg_error *err) {
  *out = mxg_default_archs;
  if (!archs) return MXG_OK;
  static const char *const nothing[] = {NULL};
  const char *const *native = nothing;
  size_t given = length(archs), count = 0;
  if (has(archs, given, "native")) MXG_TRY(find_native(&native, arena, err));
  size_t found = length(native);
  const char **list = mxg_arena_alloc(arena, given + found + 1, sizeof *list);
  if (!list) return mxg_fail_nomem(err);
  for (size_t i = 0; i < given; i++) {
    const char *const *names = is_native(archs[i]) ? native : &archs[i];
    for (size_t n = 0; n < (is_native(archs[i]) ? found : 1); n++)
      if (!has(list, count, names[n])) list[count++] = names[n];
  }
  *out = list;
  return MXG_OK;
}
