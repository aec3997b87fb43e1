/* generate.c -- mxg_generate: the stages in order, top to bottom. Read this first. What the stages do is in model.c,
** plan.c, emit.c, compile.c and bundle.c; how the output folder is written is in output.c. */
#include "generate.h"

#include "bundle_cache.h"
#include "embed_source.h"
#include "error.h"
#include "hash.h"
#include "output.h"
#include "plan_build.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static void tell(const mxg_options *options, const char *what, unsigned done, unsigned all) {
  if (options->progress) options->progress(options->user, what, done, all);
}

/* "layers=2" -> {"layers", "2"}. */
static mxg_status read_sets(mxg_recipe_options *out, const char *const *sets, mxg_arena *arena, mxg_error *err) {
  uint32_t count = 0;
  while (sets && sets[count]) count++;
  mxg_define *defines = mxg_arena_alloc(arena, count, sizeof *defines);
  if (!defines) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < count; i++) {
    const char *equals = strchr(sets[i], '=');
    if (!equals || equals == sets[i]) {
      mxg_fail(err, MXG_ERR_USAGE, 904, "'%.100s' does not set a parameter", sets[i]);
      mxg_error_help(err, "write --set name=value, for example --set layers=2");
      return MXG_ERR_USAGE;
    }
    defines[i].name = mxg_arena_text(arena, sets[i], (size_t)(equals - sets[i]));
    defines[i].value = mxg_arena_text(arena, equals + 1, strlen(equals + 1));
    if (!defines[i].name || !defines[i].value) return mxg_fail_nomem(err);
  }
  *out = (mxg_recipe_options){defines, count};
  return MXG_OK;
}

static mxg_status build_model(mxg_generation *g, const char *recipe, const mxg_options *options, mxg_error *err) {
  mxg_recipe_options recipe_options;
  MXG_TRY(read_sets(&recipe_options, options->sets, &g->arena, err));
  return mxg_model_build(&g->model, &g->files, recipe, &recipe_options, &g->arena, err);
}

static void refuse_tuning(mxg_generation *g, const mxg_options *options, const char *why) {
  char text[sizeof g->tune_path + MXG_TUNE_WHY + 64];
  snprintf(g->tune_note, sizeof g->tune_note, "%s", why);
  snprintf(text, sizeof text, "%s is not used: %s", g->tune_path, why);
  if (options->warn) options->warn(options->user, text);
}

/* What the file beside the recipe says, if it is about this recipe and these GPUs. */
static void read_tuning(mxg_generation *g, const char *recipe, const mxg_options *options) {
  static const mxg_hints none = MXG_HINTS_INIT;
  char why[MXG_TUNE_WHY], digest[65];
  mxg_tune file;
  bool there;
  g->tuned = (mxg_tuned){.hints = none, .rates = mxg_default_rates};
  snprintf(g->tuned.rates_name, sizeof g->tuned.rates_name, "%s", mxg_default_rates_name);
  if (options->no_tune) return;
  bool good = mxg_tune_load(&file, &there, recipe, why);
  if (!there || !mxg_tune_path(g->tune_path, sizeof g->tune_path, recipe)) return;
  mxg_tune_recipe(digest, &g->files);
  uint64_t ranks = 0;
  for (int side = 0; side < 2; side++) {
    uint64_t end = (uint64_t)g->model->side[side].first_rank + g->model->side[side].rank_count;
    if (end > ranks) ranks = end;
  }
  if (!good || !mxg_tune_fits(&file, digest, options->sets, why) || !mxg_tune_fits_gpus(&file, (uint32_t)ranks, why)) {
    refuse_tuning(g, options, why);
    return;
  }
  const char *slash = strrchr(g->tune_path, '/');
  g->tuned.there = true;
  g->tuned.hints = file.hints;
  g->tuned.bucket_bytes = file.bucket_bytes;
  g->tuned.shapes = file.shapes;
  memcpy(g->tuned.measured_ns, file.measured_ns, sizeof file.measured_ns);
  g->tuned.rates = mxg_tune_rates(&file);
  snprintf(g->tuned.text, sizeof g->tuned.text, "tuned: %s", file.because);
  snprintf(g->tuned.rates_name, sizeof g->tuned.rates_name, "%.80s", slash ? slash + 1 : g->tune_path);
}

static mxg_status tune_model(mxg_generation *g, const char *recipe, const mxg_options *options, mxg_error *err) {
  if (!g->tuned_given) read_tuning(g, recipe, options);
  if (!g->tuned.bucket_bytes && !mxg_kernel_shapes_count(&g->tuned.shapes)) return MXG_OK;
  mxg_model *model = mxg_arena_alloc(&g->arena, 1, sizeof *model);
  if (!model) return mxg_fail_nomem(err);
  *model = *g->model;
  if (g->tuned.bucket_bytes) model->bucket_bytes = g->tuned.bucket_bytes;
  model->kernel_shapes = g->tuned.shapes;
  g->model = model;
  return MXG_OK;
}

static mxg_status compile_with(mxg_generation *g, mxg_cache *cache, const mxg_options *options, mxg_error *err) {
  unsigned count = 0;
  while (g->archs[count]) count++;
  const mxg_cubin **cubins = mxg_arena_alloc(&g->arena, count, sizeof *cubins);
  if (!cubins) return mxg_fail_nomem(err);
  g->cubins = cubins;
  for (unsigned i = 0; i < count; i++) {
    tell(options, g->archs[i], i, count);
    MXG_TRY(mxg_compile_cached(&cubins[i], g->sources, g->plan->kernel_count, g->archs[i], options->threads, cache,
                               &g->use, &g->arena, err));
  }
  return MXG_OK;
}

static mxg_status compile_all(mxg_generation *g, const mxg_options *options, mxg_error *err) {
  mxg_cache_mode mode;
  mxg_cache *cache = NULL;
  MXG_TRY(mxg_cache_mode_get(&mode, err));
  if (g->archs[0] && mode != MXG_CACHE_OFF && !options->no_cache) MXG_TRY(mxg_cache_open(&cache, mode, err));
  mxg_status status = compile_with(g, cache, options, err);
  if (cache) mxg_cache_note(cache, g->cache_note);
  if (g->use.unkeyed && !g->cache_note[0])
    snprintf(g->cache_note, sizeof g->cache_note, "the kernel cache is not used: this NVRTC does not tell its build");
  mxg_cache_close(cache);
  return status;
}

/* Over everything that a kernel is made of: its name, its parameters, its template and what that includes. */
static mxg_status digest_sources(mxg_generation *g, unsigned char digest[32], mxg_error *err) {
  mxg_sha256 hash;
  mxg_sha256_begin(&hash);
  uint32_t *uses = mxg_arena_alloc(&g->arena, g->template_count, sizeof *uses), count = 0;
  if (!uses) return mxg_fail_nomem(err);
  for (uint32_t k = 0; k < g->plan->kernel_count; k++) {
    const mxg_source *source = &g->sources[k];
    mxg_sha256_field(&hash, source->kernel, strlen(source->kernel));
    mxg_sha256_field(&hash, source->params, strlen(source->params));
    MXG_TRY(mxg_template_uses(uses, &count, g->templates, g->template_count, source->template_name, err));
    for (uint32_t i = 0; i < count; i++) {
      const mxg_template *file = &g->templates[uses[i]];
      mxg_sha256_field(&hash, file->name, strlen(file->name));
      mxg_sha256_field(&hash, file->text, file->bytes);
    }
  }
  mxg_sha256_end(&hash, digest);
  return MXG_OK;
}

static mxg_status make_bundle(mxg_generation *g, mxg_error *err) {
  uint32_t kernels = g->plan->kernel_count, archs = 0;
  while (g->archs[archs]) archs++;
  uint64_t count;
  if (!mxg_mul(&count, kernels, archs) || count > UINT32_MAX) return mxg_fail_nomem(err);
  mxg_bundle_cubin *cubins = mxg_arena_alloc(&g->arena, (size_t)count, sizeof *cubins);
  if (!cubins) return mxg_fail_nomem(err);
  for (uint32_t k = 0; k < kernels; k++) {
    for (uint32_t a = 0; a < archs; a++) {
      mxg_bundle_cubin *cubin = &cubins[k * archs + a];
      cubin->kernel = k;
      snprintf(cubin->arch, sizeof cubin->arch, "%s", g->archs[a]);
      cubin->bytes = g->cubins[a][k].bytes;
      cubin->count = g->cubins[a][k].count;
    }
  }
  char maker[96];
  if (g->use.nvrtc_major)
    snprintf(maker, sizeof maker, "mxgen %s nvrtc %u.%u", mxg_version(), g->use.nvrtc_major, g->use.nvrtc_minor);
  else
    snprintf(maker, sizeof maker, "mxgen %s", mxg_version());
  unsigned char digest[32];
  MXG_TRY(digest_sources(g, digest, err));
  mxg_bundle_parts parts = {g->plan, cubins, (uint32_t)count, digest, maker, &g->tuned.hints, g->tuned.text};
  return mxg_bundle_make(&g->bundle, &parts, err);
}

static mxg_status run_stages(mxg_generation *g, const char *recipe, const mxg_options *options, mxg_stage last,
                             mxg_error *err) {
  if (last >= MXG_STAGE_CUBINS) MXG_TRY(mxg_archs_resolve(&g->archs, options->archs, &g->arena, err));
  MXG_TRY(build_model(g, recipe, options, err));
  if (last == MXG_STAGE_MODEL) return MXG_OK;
  if (last == MXG_STAGE_FILES && options->out_dir) MXG_TRY(mxg_output_check(g->model->name, options->out_dir, err));
  MXG_TRY(tune_model(g, recipe, options, err));
  MXG_TRY(mxg_plan_build(&g->plan, g->model, &g->arena, err));
  if (last == MXG_STAGE_PLAN) return mxg_plan_check(g->plan, err); /* mxg_bundle_make checks it otherwise */
  MXG_TRY(mxg_templates(&g->templates, &g->template_count, &g->arena, err));
  MXG_TRY(mxg_emit(&g->sources, g->plan, &g->arena, err));
  if (last == MXG_STAGE_SOURCES) return MXG_OK;
  MXG_TRY(compile_all(g, options, err));
  if (last == MXG_STAGE_CUBINS) return MXG_OK;
  MXG_TRY(make_bundle(g, err));
  if (last == MXG_STAGE_BUNDLE || !options->out_dir) return MXG_OK;
  return mxg_output_write(g, options->out_dir, options->embed, err);
}

/* The caller's options, whatever the age of its header. */
static mxg_status read_options(mxg_options *mine, const mxg_options *options, mxg_error *err) {
  static const mxg_options defaults = MXG_OPTIONS_INIT;
  *mine = defaults; /* a caller with an older header has fewer fields */
  if (options && options->size > sizeof *mine) {
    mxg_fail(err, MXG_ERR_USAGE, 904, "mxg_options.size is %zu, of a newer mxgen.h than this library's %s",
             options->size, mxg_version());
    return MXG_ERR_USAGE;
  }
  if (options && options->size < offsetof(mxg_options, progress))
    return mxg_fail(err, MXG_ERR_USAGE, 904, "mxg_options.size is %zu; start from MXG_OPTIONS_INIT", options->size);
  if (options) memcpy(mine, options, options->size);
  if (mine->counts &&
      (mine->counts->size < offsetof(mxg_kernel_counts, note) || mine->counts->size > sizeof *mine->counts))
    return mxg_fail(err, MXG_ERR_USAGE, 904, "mxg_kernel_counts.size is %zu; start from MXG_KERNEL_COUNTS_INIT",
                    mine->counts->size);
  if (mine->embed && !mxg_embed_name_is_good(mine->embed)) {
    mxg_fail(err, MXG_ERR_USAGE, 904, "'%.100s' cannot be the name of an array in C", mine->embed);
    mxg_error_help(err, "use letters, digits and '_', and begin with a letter");
    return MXG_ERR_USAGE;
  }
  return MXG_OK;
}

static void tell_counts(const mxg_options *options, uint32_t cached, uint32_t compiled,
                        const char note[MXG_CACHE_NOTE]) {
  if (!options->counts) return;
  mxg_kernel_counts told = {.size = options->counts->size, .cached = cached, .compiled = compiled};
  memcpy(told.note, note, MXG_CACHE_NOTE);
  memcpy(options->counts, &told, told.size);
}

mxg_status mxg_generation_run(mxg_generation *g, const char *recipe, const mxg_options *options, mxg_stage last,
                              mxg_error *err) {
  mxg_options mine;
  MXG_TRY(read_options(&mine, options, err));
  mxg_status status = run_stages(g, recipe, &mine, last, err);
  tell_counts(&mine, g->use.cached, g->use.compiled, g->cache_note);
  return status;
}

void mxg_generation_free(mxg_generation *g) {
  mxg_bundle_free(g->bundle);
  mxg_arena_free(&g->arena);
  memset(g, 0, sizeof *g);
}

/* A whole bundle from the cache, where nothing but the bundle is asked for; otherwise all stages, and it is kept. */
static mxg_status generate(mxg_bundle **out, mxg_generation *g, mxg_bundle_cache *kept, const char *recipe,
                           const mxg_options *options, mxg_error *err) {
  bool may = !options->out_dir && mxg_bundle_cache_open(kept, recipe, options);
  if (may && mxg_bundle_cache_find(out, kept)) {
    const mxg_bundle_cubin *cubins;
    uint32_t count = mxg_bundle_cubins(*out, &cubins);
    tell(options, "cache", 0, 1);
    tell_counts(options, count, 0, kept->note);
    return MXG_OK;
  }
  MXG_TRY(mxg_generation_run(g, recipe, options, MXG_STAGE_FILES, err));
  if (may) mxg_bundle_cache_put(kept, g);
  if (!g->cache_note[0]) tell_counts(options, g->use.cached, g->use.compiled, kept->note);
  *out = g->bundle;
  g->bundle = NULL;
  return MXG_OK;
}

mxg_status mxg_generate(mxg_bundle **out, const char *recipe, const mxg_options *options, mxg_error *err) {
  *out = NULL;
  mxg_generation g = {0};
  mxg_bundle_cache kept = {0};
  mxg_options mine;
  if (!recipe) return mxg_fail(err, MXG_ERR_USAGE, 904, "mxg_generate: recipe is NULL");
  MXG_TRY(read_options(&mine, options, err));
  if (mine.embed && !mine.out_dir)
    return mxg_fail(err, MXG_ERR_USAGE, 904, "options.embed is '%.100s', and there is no out_dir to write it to",
                    mine.embed);
  tell_counts(&mine, 0, 0, g.cache_note);
  mxg_status status = mxg_archs_resolve(&mine.archs, mine.archs, &g.arena, err); /* the cache's key is over names */
  if (status == MXG_OK) status = generate(out, &g, &kept, recipe, &mine, err);
  mxg_bundle_cache_close(&kept);
  mxg_generation_free(&g);
  return status;
}
