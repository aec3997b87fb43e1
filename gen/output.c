/* output.c -- see output.h. */
#include "output.h"

#include "embed_source.h"
#include "error.h"
#include "plan_build.h"
#include "temp.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { path_room = 4096 };

/* ---- before ---- */

static bool is_output(const char *name) {
  return !strcmp(name, "kernels") || !strcmp(name, "embed") || !strcmp(name, "plan.txt") ||
         !strcmp(name, "plan.json") || !strcmp(name, "model.txt") || mxg_name_has_extension(name, ".mxb") ||
         mxg_name_has_extension(name, ".d");
}

/* Build tools make the folders of what they wait for. */
static bool is_empty_folder(const char *dir, const char *name) {
  char path[path_room];
  DIR *inner = mxg_path_join(path, sizeof path, dir, name) ? opendir(path) : NULL;
  if (!inner) return false;
  bool empty = true;
  for (struct dirent *entry; empty && (entry = readdir(inner));)
    empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
  closedir(inner);
  return empty;
}

mxg_status mxg_output_check(const char *name, const char *out_dir, mxg_error *err) {
  if (!mxg_file_name_is_safe(name)) {
    mxg_fail(err, MXG_ERR_INPUT, 912, "'%.100s' cannot be the name of a file", name);
    mxg_error_note(err, "the recipe's name names the bundle in the output folder");
    mxg_error_help(err, "use letters, digits, '.', '_' and '-' only");
    return MXG_ERR_INPUT;
  }
  DIR *dir = opendir(out_dir);
  if (!dir) return MXG_OK; /* nothing there, or mxg_temp_create says what is wrong */
  char others[256] = "", outputs[256] = "";
  bool planned = false; /* an earlier generate left a plan in any case: without one, kernels/ is somebody's own */
  for (struct dirent *entry; (entry = readdir(dir));) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    planned = planned || !strcmp(entry->d_name, "plan.txt");
    if (!is_output(entry->d_name))
      snprintf(others, sizeof others, "%.255s", entry->d_name);
    else if (!is_empty_folder(out_dir, entry->d_name))
      snprintf(outputs, sizeof outputs, "%.255s", entry->d_name);
  }
  closedir(dir);
  const char *foreign = *others ? others : planned ? "" : outputs;
  if (!*foreign) return MXG_OK;
  mxg_fail(err, MXG_ERR_INPUT, 913, "the output folder holds '%.100s', which mxgen did not make", foreign);
  mxg_error_place(err, out_dir, 0, 0, 0);
  mxg_error_note(err, "the folder would be replaced as a whole");
  mxg_error_help(err, "give a folder of its own: --out DIR");
  return MXG_ERR_INPUT;
}

/* ---- which templates a kernel needs ---- */

static uint32_t find_template(const mxg_template *templates, uint32_t count, const char *name, size_t bytes) {
  for (uint32_t i = 0; i < count; i++)
    if (strlen(templates[i].name) == bytes && !memcmp(templates[i].name, name, bytes)) return i;
  return MXG_NONE;
}

mxg_status mxg_template_uses(uint32_t *uses, uint32_t *count, const mxg_template *templates, uint32_t template_count,
                             const char *name, mxg_error *err) {
  *count = 0;
  uint32_t root = find_template(templates, template_count, name, strlen(name));
  if (root == MXG_NONE) return mxg_fail(err, MXG_ERR_COMPILE, 2, "there is no template '%s'", name);
  uses[(*count)++] = root;
  for (uint32_t at = 0; at < *count; at++) {
    static const char directive[] = "#include \"";
    for (const char *c = templates[uses[at]].text; (c = strstr(c, directive));) {
      c += sizeof directive - 1;
      uint32_t found = find_template(templates, template_count, c, strcspn(c, "\"\n"));
      bool known = found == MXG_NONE; /* mx_params.h is generated */
      for (uint32_t i = 0; i < *count; i++) known = known || uses[i] == found;
      if (!known) uses[(*count)++] = found;
    }
  }
  return MXG_OK;
}

/* ---- writing ---- */

static mxg_status write_file(const char *dir, const char *name, const void *bytes, size_t count, mxg_error *err) {
  char path[path_room];
  if (mxg_path_join(path, sizeof path, dir, name)) return mxg_file_write(path, bytes, count, err);
  return mxg_fail(err, MXG_ERR_INPUT, 911, "the output folder's name is too long");
}

static mxg_status write_text(const char *dir, const char *name, mxg_text *text, mxg_error *err) {
  mxg_status status =
      text->failed ? mxg_fail_nomem(err) : write_file(dir, name, text->bytes ? text->bytes : "", text->count, err);
  mxg_text_free(text);
  return status;
}

static mxg_status make_folder(char path[path_room], const char *dir, const char *name, mxg_error *err) {
  if (!mxg_path_join(path, path_room, dir, name))
    return mxg_fail(err, MXG_ERR_INPUT, 911, "the output folder's name is too long");
  if (!mkdir(path, 0777)) return MXG_OK;
  int native = errno;
  mxg_fail(err, MXG_ERR_IO, 910, "cannot make the folder: %s", strerror(native));
  mxg_error_place(err, path, 0, 0, 0);
  if (err) err->native = native;
  return MXG_ERR_IO;
}

static mxg_status write_kernel(const mxg_generation *g, uint32_t k, const char *kernels, uint32_t *uses,
                               mxg_error *err) {
  const mxg_source *source = &g->sources[k];
  char folder[path_room];
  uint32_t count = 0;
  MXG_TRY(make_folder(folder, kernels, source->kernel, err));
  MXG_TRY(write_file(folder, "mx_params.h", source->params, strlen(source->params), err));
  MXG_TRY(mxg_template_uses(uses, &count, g->templates, g->template_count, source->template_name, err));
  for (uint32_t i = 0; i < count; i++) {
    const mxg_template *file = &g->templates[uses[i]];
    MXG_TRY(write_file(folder, file->name, file->text, file->bytes, err));
  }
  for (uint32_t a = 0; g->archs[a]; a++) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s.cubin", source->kernel, g->archs[a]);
    MXG_TRY(write_file(kernels, name, g->cubins[a][k].bytes, g->cubins[a][k].count, err));
  }
  return MXG_OK;
}

/* A path in a makefile: spaces, '#' and '$' would mean something there. */
static void add_make_path(mxg_text *text, const char *path) {
  for (const char *c = path; *c; c++) {
    if (*c == ' ' || *c == '#') mxg_text_puts(text, "\\");
    if (*c == '$') mxg_text_puts(text, "$");
    mxg_text_add(text, c, 1);
  }
}

/* dir/<name>.d: out_dir/<target> needs every file that was read. */
static mxg_status write_depfile(const mxg_generation *g, const char *dir, const char *name, const char *out_dir,
                                const char *target, mxg_error *err) {
  mxg_text text = {0};
  char path[path_room], file[256];
  if (!mxg_path_join(path, sizeof path, out_dir, target))
    return mxg_fail(err, MXG_ERR_INPUT, 911, "the output folder's name is too long");
  add_make_path(&text, path);
  mxg_text_puts(&text, ":");
  for (uint32_t i = 0; i < g->files.count; i++) {
    mxg_text_puts(&text, " ");
    add_make_path(&text, g->files.paths[i]);
  }
  if (*g->tune_path) {
    mxg_text_puts(&text, " ");
    add_make_path(&text, g->tune_path);
  }
  mxg_text_puts(&text, "\n");
  snprintf(file, sizeof file, "%.200s.d", name);
  return write_text(dir, file, &text, err);
}

static mxg_status write_embedded(const mxg_generation *g, const char *dir, const char *out_dir, const char *embed,
                                 mxg_error *err) {
  char folder[path_room], name[256], target[256];
  MXG_TRY(make_folder(folder, dir, "embed", err));
  mxg_text text = {0};
  mxg_embed_header(embed, &text);
  snprintf(name, sizeof name, "%.200s.h", embed);
  MXG_TRY(write_text(folder, name, &text, err));
  mxg_embed_source(g->bundle, embed, &text);
  snprintf(name, sizeof name, "%.200s.c", embed);
  MXG_TRY(write_text(folder, name, &text, err));
  snprintf(target, sizeof target, "embed/%.200s.c", embed);
  return write_depfile(g, folder, embed, out_dir, target, err);
}

static mxg_status write_all(const mxg_generation *g, const char *dir, const char *out_dir, const char *embed,
                            mxg_error *err) {
  char kernels[path_room], bundle[path_room], name[256];
  uint32_t *uses = mxg_alloc(g->template_count * sizeof *uses);
  if (!uses) return mxg_fail_nomem(err);
  mxg_status status = make_folder(kernels, dir, "kernels", err);
  for (uint32_t k = 0; status == MXG_OK && k < g->plan->kernel_count; k++)
    status = write_kernel(g, k, kernels, uses, err);
  mxg_free(uses);
  MXG_TRY(status);

  mxg_text text = {0};
  mxg_model_print(g->model, &text);
  MXG_TRY(write_text(dir, "model.txt", &text, err));
  mxg_plan_print(g->plan, g->model, MXG_PLAN_PIECES, &text);
  MXG_TRY(write_text(dir, "plan.txt", &text, err));
  mxg_plan_json(g->plan, g->model, &text);
  MXG_TRY(write_text(dir, "plan.json", &text, err));
  snprintf(name, sizeof name, "%.200s.mxb", g->model->name);
  MXG_TRY(write_depfile(g, dir, g->model->name, out_dir, name, err));
  if (embed) MXG_TRY(write_embedded(g, dir, out_dir, embed, err));
  if (!mxg_path_join(bundle, sizeof bundle, dir, name))
    return mxg_fail(err, MXG_ERR_INPUT, 911, "the output folder's name is too long");
  return mxg_bundle_save(g->bundle, bundle, err);
}

mxg_status mxg_output_write(const mxg_generation *g, const char *out_dir, const char *embed, mxg_error *err) {
  mxg_temp *temp = NULL;
  MXG_TRY(mxg_temp_create(&temp, out_dir, err));
  mxg_status status = write_all(g, mxg_temp_path(temp), out_dir, embed, err);
  if (status == MXG_OK) return mxg_temp_replace(temp, err);
  mxg_temp_remove(temp);
  return status;
}
