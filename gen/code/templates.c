/* templates.c -- where the CUDA templates come from: the table embedded in the binary, or the folder that
** MXGEN_TEMPLATES names, so that a kernel can be edited without a rebuild. */
#include "embedded.h"
#include "emit.h"
#include "error.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Larger than any template; a folder named by mistake is not read into memory. */
enum { TEMPLATE_BYTES_MAX = 1 << 20, TEMPLATES_MAX = 256 };

static bool is_template(const char *name) {
  static const char *const ends[] = {".cu", ".cuh", ".h"};
  size_t count = strlen(name);
  if (name[0] == '.' || strcmp(name, "mx_params.h") == 0) return false;
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    size_t end = strlen(ends[i]);
    if (count > end && strcmp(name + count - end, ends[i]) == 0) return true;
  }
  return false;
}

static mxg_status embedded(const mxg_template **out, uint32_t *count, mxg_arena *arena, mxg_error *err) {
  uint32_t all = 0, kept = 0;
  while (mxg_embedded_files[all].name) all++;
  mxg_template *files = mxg_arena_alloc(arena, all + 1, sizeof *files);
  if (!files) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < all; i++) {
    const mxg_embedded *file = &mxg_embedded_files[i];
    if (is_template(file->name)) files[kept++] = (mxg_template){file->name, file->text, file->bytes};
  }
  *out = files;
  *count = kept;
  return MXG_OK;
}

static mxg_status refuse(mxg_error *err, const char *path, const char *why) {
  mxg_fail(err, MXG_ERR_IO, 508, "cannot read templates: %s", why);
  mxg_error_place(err, path, 0, 0, 0);
  return MXG_ERR_IO;
}

static mxg_status read_one(mxg_template *out, const char *folder, const char *name, mxg_arena *arena, mxg_error *err) {
  char *path = mxg_arena_format(arena, "%s/%s", folder, name);
  if (!path) return mxg_fail_nomem(err);
  FILE *in = fopen(path, "rb");
  if (!in) return refuse(err, path, strerror(errno));
  mxg_text text = {0};
  char part[4096];
  for (size_t n; text.count <= TEMPLATE_BYTES_MAX && (n = fread(part, 1, sizeof part, in)) > 0;)
    mxg_text_add(&text, part, n);
  int fault = ferror(in) ? errno : 0;
  fclose(in);
  bool large = text.count > TEMPLATE_BYTES_MAX;
  out->name = mxg_arena_text(arena, name, strlen(name));
  out->text = text.failed ? NULL : mxg_arena_text(arena, text.bytes ? text.bytes : "", text.count);
  out->bytes = text.count;
  mxg_text_free(&text);
  if (fault) return refuse(err, path, strerror(fault));
  if (large) return refuse(err, path, "more than a MiB");
  return out->name && out->text ? MXG_OK : mxg_fail_nomem(err);
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static mxg_status from_folder(const mxg_template **out, uint32_t *count, const char *folder, mxg_arena *arena,
                              mxg_error *err) {
  DIR *dir = opendir(folder);
  if (!dir) return refuse(err, folder, strerror(errno));
  const char **names = mxg_arena_alloc(arena, TEMPLATES_MAX, sizeof *names);
  uint32_t found = 0;
  bool full = !names;
  for (struct dirent *entry; !full && (entry = readdir(dir));) {
    if (!is_template(entry->d_name) || found == TEMPLATES_MAX) continue;
    names[found] = mxg_arena_text(arena, entry->d_name, strlen(entry->d_name));
    full = !names[found++];
  }
  closedir(dir);
  if (full) return mxg_fail_nomem(err);
  if (!found) return refuse(err, folder, "the folder that MXGEN_TEMPLATES names holds none");
  qsort(names, found, sizeof *names, by_name);
  mxg_template *files = mxg_arena_alloc(arena, found, sizeof *files);
  if (!files) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < found; i++) MXG_TRY(read_one(&files[i], folder, names[i], arena, err));
  *out = files;
  *count = found;
  return MXG_OK;
}

mxg_status mxg_templates(const mxg_template **out, uint32_t *count, mxg_arena *arena, mxg_error *err) {
  *out = NULL;
  *count = 0;
  const char *folder = getenv("MXGEN_TEMPLATES");
  if (folder && *folder) return from_folder(out, count, folder, arena, err);
  return embedded(out, count, arena, err);
}
