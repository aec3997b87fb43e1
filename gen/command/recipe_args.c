/* recipe_args.c -- see recipe_args.h. */
#include "recipe_args.h"

#include "mxgen.h"

#include "compile.h"
#include "error.h"

#include "cubin.h"
#include "plan_text.h"
#include "progress.h"

#include <stdlib.h>
#include <string.h>

void mxg_args_warn(void *user, const char *text) {
  (void)user;
  mxg_progress_clear();
  mxg_warn("%s", text);
}

static mxg_options options_of(const mxg_args *args) {
  mxg_options options = MXG_OPTIONS_INIT;
  options.sets = args->sets.items;
  options.warn = mxg_args_warn;
  options.no_tune = args->no_tune;
  return options;
}

mxg_status mxg_args_load(mxg_generation *g, const mxg_args *args, mxg_stage last, mxg_error *err) {
  mxg_options options = options_of(args);
  return mxg_generation_run(g, args->operands[0], &options, last, err);
}

bool mxg_args_is_bundle(const char *operand) {
  size_t count = strlen(operand);
  return count > 4 && !strcmp(operand + count - 4, ".mxb");
}

/* ---- kernels ---- */

enum { most_archs = 16 };

static int by_chip(const void *a, const void *b) {
  const char *x = *(const char *const *)a, *y = *(const char *const *)b;
  unsigned long m = strtoul(x + strcspn(x, "0123456789"), NULL, 10),
                n = strtoul(y + strcspn(y, "0123456789"), NULL, 10);
  return m != n ? (m < n ? -1 : 1) : strcmp(x, y);
}

static uint32_t list_archs(const char *archs[most_archs], const mxg_bundle_cubin *cubins, uint32_t count) {
  uint32_t found = 0;
  for (uint32_t i = 0; i < count; i++) {
    bool known = false;
    for (uint32_t a = 0; a < found; a++) known = known || !strcmp(archs[a], cubins[i].arch);
    if (!known && found < most_archs) archs[found++] = cubins[i].arch;
  }
  qsort(archs, found, sizeof *archs, by_chip);
  return found;
}

static const mxg_bundle_cubin *find_cubin(const mxg_bundle_cubin *cubins, uint32_t count, uint32_t kernel,
                                          const char *arch) {
  for (uint32_t i = 0; i < count; i++)
    if (cubins[i].kernel == kernel && !strcmp(cubins[i].arch, arch)) return &cubins[i];
  return NULL;
}

static bool cubin_use(mxg_cubin_use *use, const mxg_bundle_cubin *cubin, const mxg_kernel *kernel) {
  if (!cubin || strncmp(cubin->arch, "sm_", 3) != 0) return false;
  unsigned chip = (unsigned)strtoul(cubin->arch + 3, NULL, 10);
  return mxg_cubin_read(use, cubin->bytes, cubin->count, kernel->name, chip);
}

static uint32_t pieces_of(const mxg_plan *plan, uint32_t kernel) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < plan->piece_count; i++) count += plan->pieces[i].kernel == kernel;
  return count;
}

static void add_encoding(mxg_grid *grid, const mxg_encoding *encoding) {
  mxg_text text = {0};
  mxg_encoding_print(encoding, &text);
  mxg_grid_puts(grid, text.failed ? "" : text.bytes);
  mxg_text_free(&text);
}

void mxg_kernels_print(const mxg_bundle *bundle, mxg_text *text) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  const mxg_bundle_cubin *cubins;
  uint32_t count = mxg_bundle_cubins(bundle, &cubins);
  const char *archs[most_archs];
  uint32_t arch_count = list_archs(archs, cubins, count);
  mxg_column columns[4 + most_archs + 1] = {
      {"kernel", "kernel", false}, {"from", "from", false}, {"to", "to", false}, {"pieces", "pieces", true}};
  for (uint32_t a = 0; a < arch_count; a++) columns[4 + a] = (mxg_column){archs[a], NULL, true};
  mxg_grid grid;
  mxg_grid_begin(&grid, columns);
  uint64_t most_shared = 0;
  for (uint32_t k = 0; k < plan->kernel_count; k++) {
    const mxg_kernel *kernel = &plan->kernels[k];
    mxg_grid_puts(&grid, kernel->name);
    add_encoding(&grid, &kernel->src);
    add_encoding(&grid, &kernel->dst);
    mxg_grid_count(&grid, pieces_of(plan, k));
    for (uint32_t a = 0; a < arch_count; a++) {
      mxg_cubin_use use;
      if (!cubin_use(&use, find_cubin(cubins, count, k, archs[a]), kernel)) {
        mxg_grid_puts(&grid, "-");
        continue;
      }
      if (use.local_bytes)
        mxg_grid_format(&grid, "%u+%uB", use.registers, use.local_bytes);
      else
        mxg_grid_count(&grid, use.registers);
      if (use.shared_bytes > most_shared) most_shared = use.shared_bytes;
    }
  }
  mxg_grid_print(&grid, text, "");
  mxg_grid_free(&grid);
  if (arch_count == 0) return;
  mxg_text_puts(text, "columns of architectures: registers a thread; +B: bytes of local memory (spills)");
  if (most_shared) mxg_text_format(text, "; shared memory up to %llu B a block", (unsigned long long)most_shared);
  mxg_text_puts(text, "\n");
}

void mxg_kernels_json(const mxg_bundle *bundle, mxg_text *text) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  const mxg_bundle_cubin *cubins;
  uint32_t count = mxg_bundle_cubins(bundle, &cubins);
  mxg_text_puts(text, "[");
  for (uint32_t k = 0; k < plan->kernel_count; k++) {
    const mxg_kernel *kernel = &plan->kernels[k];
    mxg_text from = {0}, to = {0};
    mxg_encoding_print(&kernel->src, &from);
    mxg_encoding_print(&kernel->dst, &to);
    mxg_text_puts(text, k ? ",\n    {\"kernel\": " : "\n    {\"kernel\": ");
    mxg_text_json(text, kernel->name);
    mxg_text_puts(text, ", \"family\": ");
    mxg_text_json(text, mxg_family_name(kernel->family));
    mxg_text_puts(text, ", \"from\": ");
    mxg_text_json(text, from.failed ? "" : from.bytes);
    mxg_text_puts(text, ", \"to\": ");
    mxg_text_json(text, to.failed ? "" : to.bytes);
    mxg_text_format(text, ", \"pieces\": %u, \"cubins\": [", pieces_of(plan, k));
    const char *between = "";
    for (uint32_t i = 0; i < count; i++) {
      mxg_cubin_use use;
      if (cubins[i].kernel != k || !cubin_use(&use, &cubins[i], kernel)) continue;
      mxg_text_format(text, "%s{\"arch\": ", between);
      mxg_text_json(text, cubins[i].arch);
      mxg_text_format(text, ", \"bytes\": %zu, \"registers\": %u, \"shared_bytes\": %u, \"local_bytes\": %u}",
                      cubins[i].count, use.registers, use.shared_bytes, use.local_bytes);
      between = ", ";
    }
    mxg_text_puts(text, "]}");
    mxg_text_free(&from);
    mxg_text_free(&to);
  }
  mxg_text_puts(text, "\n  ]");
}

/* ---- checksums ---- */

static const mxg_column check_columns[] = {{"rank", "rank", true},      {"array", "array", false},
                                           {"data", "data", false},     {"scales", "scales", false},
                                           {"values", "values", false}, {NULL, NULL, false}};

static void fill_checks(mxg_grid *grid, const mxg_plan *plan, const mxg_checks *checks, const bool *have) {
  mxg_grid_begin(grid, check_columns);
  for (uint32_t a = 0; a < plan->array_count; a++) {
    const mxg_checks *c = &checks[a];
    if (have ? !have[a] : !c->data && !c->values) continue;
    mxg_grid_count(grid, plan->arrays[a].rank);
    mxg_grid_puts(grid, plan->strings + plan->arrays[a].name);
    mxg_grid_format(grid, "%016llx", (unsigned long long)c->data);
    if (plan->arrays[a].scale_name)
      mxg_grid_format(grid, "%016llx", (unsigned long long)c->scale);
    else
      mxg_grid_puts(grid, "-");
    mxg_grid_format(grid, "%016llx", (unsigned long long)c->values);
  }
}

void mxg_checks_print(const mxg_plan *plan, const mxg_checks *checks, const bool *have, mxg_text *text) {
  mxg_grid grid;
  fill_checks(&grid, plan, checks, have);
  mxg_grid_print(&grid, text, "");
  mxg_grid_free(&grid);
}

void mxg_checks_json(const mxg_plan *plan, const mxg_checks *checks, const bool *have, mxg_text *text) {
  mxg_grid grid;
  fill_checks(&grid, plan, checks, have);
  mxg_grid_json(&grid, text);
  mxg_grid_free(&grid);
}

void mxg_text_rate(mxg_text *text, uint64_t bytes, double seconds) {
  if (seconds > 0)
    mxg_text_format(text, "%.2f GB/s", (double)bytes / seconds * 1e-9);
  else
    mxg_text_puts(text, "-");
}

mxg_status mxg_archs_read(const char *list[MXG_LIST_ROOM + 1], char *copy, size_t room, const char *text,
                          mxg_error *err) {
  size_t count = 0, bytes = strlen(text);
  if (bytes >= room) return mxg_fail(err, MXG_ERR_USAGE, 904, "--arch: the list is too long");
  memcpy(copy, text, bytes + 1);
  for (char *at = copy; at;) {
    char *comma = strchr(at, ',');
    if (comma) *comma++ = 0;
    if (!*at || count == MXG_LIST_ROOM)
      return mxg_fail(err, MXG_ERR_USAGE, 904, "--arch: '%.100s' is not a list", text);
    if (strcmp(at, "native") != 0) MXG_TRY(mxg_arch_check(at, err));
    list[count++] = at;
    at = comma;
  }
  list[count] = NULL;
  return MXG_OK;
}

mxg_status mxg_args_generate_here(mxg_bundle **out, mxg_tuned *tuned, const mxg_args *args, mxg_error *err) {
  mxg_options options = options_of(args);
  mxg_generation g = {0};
  *out = NULL;
  mxg_status status = mxg_archs_native(&options.archs, &g.arena, err);
  if (status == MXG_OK) status = mxg_generation_run(&g, args->operands[0], &options, MXG_STAGE_BUNDLE, err);
  if (tuned) *tuned = g.tuned;
  *out = g.bundle;
  g.bundle = NULL;
  mxg_generation_free(&g);
  return status;
}
