/* bundle_cache.c -- see bundle_cache.h. A bundle follows from: the recipe and its place in messages, the files that it
** includes (the entry names them and their SHA-256), the parameters set, the architectures, the templates, the build
** of NVRTC, the build of mxgen itself, which stands for planner, mx.lua and formats, and, where there is one, the
** tuning file with the GPUs that decide whether it is used. Recipes see nothing else. */
#include "bundle_cache.h"

#include "hash.h"
#include "library.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { KEY_FORMAT = 1 };

static void add_text(mxg_sha256 *hash, const char *text) { mxg_sha256_field(hash, text, strlen(text)); }

static void add_list(mxg_sha256 *hash, const char *const *list) {
  uint32_t count = 0;
  while (list && list[count]) count++;
  mxg_sha256_field(hash, &count, sizeof count);
  for (uint32_t i = 0; i < count; i++) add_text(hash, list[i]);
}

/* Both halves of mxgen, which may be two libraries, one, or part of the program. */
static bool add_own_builds(mxg_sha256 *hash) {
  static const char here;
  char id[MXG_BUILD_ID_ROOM];
  const void *const places[] = {&here, mxg_version()};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    if (!mxg_library_loaded_build_id(id, places[i])) return false;
    add_text(hash, id);
  }
  return true;
}

static bool add_templates(mxg_sha256 *hash) {
  mxg_arena arena = {0};
  const mxg_template *files;
  uint32_t count = 0;
  bool good = mxg_templates(&files, &count, &arena, NULL) == MXG_OK;
  for (uint32_t i = 0; good && i < count; i++) {
    add_text(hash, files[i].name);
    mxg_sha256_field(hash, files[i].text, files[i].bytes);
  }
  mxg_arena_free(&arena);
  return good;
}

/* Asks for GPUs only where a file has something to say about them: that may start the driver. */
static bool add_tuning(mxg_sha256 *hash, const char *recipe, const mxg_options *options) {
  char path[4096];
  unsigned char digest[32];
  mxg_tune_gpus gpus;
  bool there = !options->no_tune && mxg_tune_path(path, sizeof path, recipe);
  if (there && access(path, F_OK) != 0) {
    if (errno != ENOENT) return false;
    there = false;
  }
  if (!there) {
    add_text(hash, "untuned");
    return true;
  }
  if (!mxg_cache_digest_file(digest, path)) return false;
  mxg_tune_find_gpus(&gpus);
  mxg_sha256_field(hash, digest, sizeof digest);
  mxg_sha256_field(hash, &gpus, sizeof gpus);
  return true;
}

bool mxg_bundle_cache_open(mxg_bundle_cache *kept, const char *recipe, const mxg_options *options) {
  mxg_cache_mode mode;
  mxg_sha256 hash;
  if (options->no_cache || mxg_cache_mode_get(&mode, NULL) != MXG_OK || mode == MXG_CACHE_OFF) return false;
  mxg_sha256_begin(&hash);
  add_text(&hash, "mxgen bundle");
  add_text(&hash, mxg_version());
  mxg_sha256_field(&hash, &(uint32_t){KEY_FORMAT}, 4);
  if (!add_own_builds(&hash) || !mxg_cache_digest_file(kept->recipe, recipe) || !add_templates(&hash)) return false;
  if (mxg_cache_open(&kept->cache, mode, NULL) != MXG_OK) return false;
  if (options->archs[0] && !mxg_compile_build(kept->build, kept->cache)) return false;
  add_text(&hash, kept->build);
  add_text(&hash, recipe);
  mxg_sha256_field(&hash, kept->recipe, sizeof kept->recipe);
  add_list(&hash, options->archs);
  add_list(&hash, options->sets);
  if (!add_tuning(&hash, recipe, options)) return false;
  mxg_sha256_end(&hash, kept->key);
  return true;
}

bool mxg_bundle_cache_find(mxg_bundle **out, mxg_bundle_cache *kept) {
  bool found = mxg_cache_find_bundle(kept->cache, out, kept->key);
  mxg_cache_note(kept->cache, kept->note);
  return found;
}

/* The recipe itself is in the key; the others are the entry's. Where a tuning file was refused nothing is kept, so that
** the next generate warns too. */
void mxg_bundle_cache_put(mxg_bundle_cache *kept, const mxg_generation *g) {
  uint32_t count = g->files.count;
  if (!count || memcmp(g->files.digests[0], kept->recipe, sizeof kept->recipe) != 0) return; /* edited meanwhile */
  if (*g->tune_note || g->use.unkeyed || strcmp(g->use.build, kept->build) != 0) return;
  mxg_cache_file *files = mxg_alloc(count * sizeof *files);
  if (!files) return;
  for (uint32_t i = 1; i < count; i++) {
    files[i - 1].path = g->files.paths[i];
    memcpy(files[i - 1].digest, g->files.digests[i], sizeof files->digest);
  }
  mxg_cache_put_bundle(kept->cache, g->bundle, files, count - 1, kept->key);
  mxg_free(files);
  mxg_cache_note(kept->cache, kept->note);
}

void mxg_bundle_cache_close(mxg_bundle_cache *kept) {
  mxg_cache_close(kept->cache);
  kept->cache = NULL;
}
