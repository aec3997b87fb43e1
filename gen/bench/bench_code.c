/* bench_code.c -- see bench_code.h.
**
** A kernel has a path for whole tiles and one with guards. It is compiled a second time with the former alone, which a
** thread runs once: its instructions over the elements of a thread are what an element costs, prologue included. */
#include "bench_code.h"

#include "bench_works.h"
#include "compile.h"
#include "error.h"

#include <string.h>

enum { bench_cols = 14336, instruction_bytes = 16 };

/* Lanes, clocks and bandwidths of the chips by their makers' sheets: lane instructions for each byte of memory
** traffic. A100 6,912 lanes x 1.41 GHz / 1.94 TB/s at 0.93 of it, L40S, H200, B200, B300, RTX PRO 6000. */
static const struct {
  const char *arch;
  double a_byte;
} chips[] = {{"sm_80", 10.8},  {"sm_89", 45.5},  {"sm_90", 7.8},   {"sm_90a", 7.8},  {"sm_100", 5.0},
             {"sm_100a", 5.0}, {"sm_103a", 5.0}, {"sm_120", 32.0}, {"sm_120a", 32.0}};

static double budget_of(const char *arch, double bytes) {
  for (size_t i = 0; i < sizeof chips / sizeof *chips; i++)
    if (!strcmp(chips[i].arch, arch)) return chips[i].a_byte * bytes;
  return 0;
}

static double scale_bytes(const mxg_encoding *e) {
  if (e->scale != MX_SCALE_E8M0 && e->scale != MX_SCALE_FP32) return 0;
  return (e->scale == MX_SCALE_E8M0 ? 1.0 : 4.0) / ((double)e->block_rows * e->block_cols);
}

/* Elements of one unit of work. */
static uint32_t unit_elements(const mxg_kernel *kernel) {
  switch ((mxg_family)kernel->family) {
  case MXG_QUANTIZE_ROWWISE: return kernel->dst.block_cols;
  case MXG_QUANTIZE_COLUMNWISE: return kernel->dst.block_rows;
  case MXG_QUANTIZE_SQUARE: return kernel->dst.block_rows * kernel->dst.block_cols;
  case MXG_QUANTIZE_BOTH: return 32 * 32;
  case MXG_MOVE:
  case MXG_DEQUANTIZE:
  case MXG_AMAX:
  case MXG_QUANTIZE_WHOLE:
  case MXG_FAMILIES: break;
  }
  return kernel->vec;
}

/* The same sources with whole tiles alone. */
static mxg_status keep_whole_tiles(const mxg_source **out, const mxg_source *sources, uint32_t count, mxg_arena *arena,
                                   mxg_error *err) {
  static const char only[] = "#define MX_ONLY_WHOLE_TILES\n";
  mxg_source *made = mxg_arena_alloc(arena, count + 1, sizeof *made);
  if (!made) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < count; i++) {
    size_t bytes = strlen(sources[i].params) + 1;
    char *params = mxg_arena_alloc(arena, sizeof only + bytes, 1);
    if (!params) return mxg_fail_nomem(err);
    memcpy(params, only, sizeof only - 1);
    memcpy(params + sizeof only - 1, sources[i].params, bytes);
    made[i] = sources[i];
    made[i].params = params;
  }
  *out = made;
  return MXG_OK;
}

/* `counted`: of the path for whole tiles. */
static mxg_status compile_all(const mxg_cubin **cubins, const mxg_cubin **counted, const mxg_kernel **names,
                              const mxg_kernel *kernels, uint32_t count, const char *arch, mxg_arena *arena,
                              mxg_error *err) {
  mxg_kernel *named = mxg_arena_alloc(arena, count + 1, sizeof *named);
  const mxg_source *sources = NULL, *whole = NULL;
  if (!named) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < count; i++) {
    named[i] = kernels[i];
    mxg_kernel_name(&named[i]);
  }
  *names = named;
  const mxg_plan plan = {.strings = "", .string_bytes = 1, .kernels = named, .kernel_count = count};
  MXG_TRY(mxg_emit(&sources, &plan, arena, err));
  MXG_TRY(keep_whole_tiles(&whole, sources, count, arena, err));
  MXG_TRY(mxg_compile(cubins, sources, count, arch, 0, arena, err));
  return mxg_compile(counted, whole, count, arch, 0, arena, err);
}

mxg_status mxg_bench_code(const mxg_code_line **lines, uint32_t *count, const char *const *archs, const char *only,
                          mxg_arena *arena, mxg_error *err) {
  uint32_t chosen = 0, arch_count = 0, made = 0;
  double *elements = mxg_arena_alloc(arena, mxg_work_count, sizeof *elements);
  const mxg_work **works = mxg_arena_alloc(arena, mxg_work_count, sizeof(const mxg_work *));
  mxg_kernel *kernels = mxg_arena_alloc(arena, mxg_work_count, sizeof *kernels);
  while (archs[arch_count]) arch_count++;
  mxg_code_line *all = mxg_arena_alloc(arena, (size_t)arch_count * mxg_work_count + 1, sizeof *all);
  if (!elements || !works || !kernels || !all) return mxg_fail_nomem(err);
  for (unsigned w = 0; w < mxg_work_count; w++) {
    if (only && !strstr(mxg_works[w].name, only)) continue;
    mxg_kernel *kernel = &kernels[chosen];
    mxg_work_kernel(kernel, &mxg_works[w], bench_cols);
    elements[chosen] = (double)kernel->tile_units * unit_elements(kernel) / kernel->threads;
    works[chosen++] = &mxg_works[w];
  }
  for (uint32_t a = 0; a < arch_count; a++) {
    const mxg_cubin *cubins = NULL, *counted = NULL;
    const mxg_kernel *names = NULL;
    MXG_TRY(compile_all(&cubins, &counted, &names, kernels, chosen, archs[a], arena, err));
    for (uint32_t i = 0; i < chosen; i++) {
      double written = mxg_elem_bytes(kernels[i].dst.elem) + scale_bytes(&kernels[i].dst);
      double bytes = mxg_elem_bytes(kernels[i].src.elem) + scale_bytes(&kernels[i].src) +
                     written * (kernels[i].family == MXG_QUANTIZE_BOTH ? 2 : 1);
      all[made++] = (mxg_code_line){.work = works[i]->name,
                                    .arch = archs[a],
                                    .kernel = names[i].name,
                                    .cubin = cubins[i].bytes,
                                    .cubin_bytes = cubins[i].count,
                                    .registers = cubins[i].registers,
                                    .shared_bytes = cubins[i].shared_bytes,
                                    .local_bytes = cubins[i].local_bytes,
                                    .instructions = counted[i].code_bytes / (double)instruction_bytes / elements[i],
                                    .budget = budget_of(archs[a], bytes)};
    }
  }
  *lines = all;
  *count = made;
  return MXG_OK;
}
