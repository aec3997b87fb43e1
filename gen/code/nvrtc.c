/* nvrtc.c -- finds and opens NVRTC. Owns where it is looked for, and which build it is; compiling is compile.c's.
**
** MXGEN_NVRTC, if set, is the only place. Else: a copy that this process has loaded already (PyTorch's, say), the
** loader's own search, the toolkit, then the wheels of every Python that is near. */
#define _GNU_SOURCE /* dladdr */
#include "nvrtc.h"

#include "error.h"
#include "library.h"
#include "text.h"

#include <dlfcn.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OLDEST_MAJOR = 12, PATH_ROOM = 512 };

static const char *const sonames[] = {"libnvrtc.so.13", "libnvrtc.so.12"};
enum { SONAMES = sizeof sonames / sizeof *sonames };

/* One search: what was found, or why nothing was. */
typedef struct search {
  mxg_nvrtc *found;
  char *located;   /* not NULL: only look for the file, load nothing; "" until it is found */
  mxg_text tried;  /* places, ", " between them */
  char fault[256]; /* the first library that was there and would not do */
} search;

/* NVRTC opens its builtins by bare name, which a library outside the loader's path does not find: load them first. */
static void load_builtins(const char *library) {
  char pattern[600];
  const char *slash = strrchr(library, '/');
  if (!slash) return;
  snprintf(pattern, sizeof pattern, "%.*s/libnvrtc-builtins.so.[0-9]*", (int)(slash - library), library);
  glob_t files;
  if (glob(pattern, 0, NULL, &files)) return;
  for (size_t i = 0; i < files.gl_pathc; i++) dlopen(files.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
  globfree(&files);
}

/* Fills the table from an open library; false and a fault when it will not do. */
static bool take(search *s, mxg_nvrtc *table, void *library, const char *name) {
  const char *missing = NULL;
  snprintf(table->path, sizeof table->path, "%s", name);
#define X(function, required, result, parameters)                         \
  *(void **)(void *)&table->function = dlsym(library, "nvrtc" #function); \
  if (required && !table->function && !missing) missing = "nvrtc" #function;
  MXG_NVRTC_FUNCTIONS(X)
#undef X
  Dl_info where;
  if (table->Version && dladdr(*(void **)(void *)&table->Version, &where) && where.dli_fname)
    snprintf(table->path, sizeof table->path, "%s", where.dli_fname);
  char fault[sizeof s->fault] = "";
  if (!table->Version || table->Version(&table->major, &table->minor) != MXG_NVRTC_SUCCESS)
    snprintf(fault, sizeof fault, "%.150s is not NVRTC: it has no working nvrtcVersion", table->path);
  else if (table->major < OLDEST_MAJOR)
    snprintf(fault, sizeof fault, "%.150s is NVRTC %d.%d, too old: %d.0 or newer is needed", table->path, table->major,
             table->minor, (int)OLDEST_MAJOR);
  else if (missing)
    snprintf(fault, sizeof fault, "%.150s has no %s", table->path, missing);
  if (!fault[0]) return true;
  if (!s->fault[0]) memcpy(s->fault, fault, sizeof fault);
  return false;
}

/* The same choice as try_open's, but for libraries that turn out not to do. */
static void try_locate(search *s, const char *name, int flags) {
  char id[MXG_BUILD_ID_ROOM];
  if (flags & RTLD_NOLOAD) {
    mxg_library_loaded(s->located, PATH_ROOM, name); /* not by dlopen, which would open files to compare */
  } else if (strchr(name, '/')) {
    if (mxg_library_build_id(id, name)) snprintf(s->located, PATH_ROOM, "%s", name);
  } else if (!mxg_library_find(s->located, PATH_ROOM, name)) {
    s->located[0] = 0;
  }
}

static bool ended(const search *s) { return s->found || (s->located && s->located[0]); }

static void try_open(search *s, const char *name, int flags) {
  if (ended(s)) return;
  if (s->located) {
    try_locate(s, name, flags);
    return;
  }
  load_builtins(name);
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL | flags);
  if (!library) {
    const char *why = dlerror();
    if (strchr(name, '/') && why && !s->fault[0]) snprintf(s->fault, sizeof s->fault, "%.250s", why);
    return;
  }
  mxg_nvrtc *table = mxg_alloc(sizeof *table);
  if (table && take(s, table, library, name)) {
    load_builtins(table->path);
    s->found = table; /* the library stays open for the life of the process */
    return;
  }
  mxg_free(table);
  dlclose(library);
}

static void note(search *s, const char *place) {
  if (s->tried.count && strstr(s->tried.bytes, place)) return;
  if (s->tried.count) mxg_text_puts(&s->tried, ", ");
  mxg_text_puts(&s->tried, place);
}

/* Every file that the pattern finds, newest name first. */
static void try_glob(search *s, const char *pattern) {
  glob_t files;
  if (ended(s) || glob(pattern, 0, NULL, &files)) return;
  for (size_t i = files.gl_pathc; i > 0; i--) try_open(s, files.gl_pathv[i - 1], 0);
  globfree(&files);
}

/* A folder's name as a pattern that matches only itself. */
static void add_literal(mxg_text *pattern, const char *folder) {
  for (const char *c = folder; *c; c++) {
    if (strchr("*?[]\\", *c)) mxg_text_puts(pattern, "\\");
    mxg_text_add(pattern, c, 1);
  }
}

/* `under`: a pattern below `folder`, "" for the folder itself. */
static void try_folder(search *s, const char *folder, const char *under) {
  for (size_t i = 0; i < SONAMES && !ended(s); i++) {
    mxg_text pattern = {0};
    add_literal(&pattern, folder);
    mxg_text_format(&pattern, "%s/%s", under, sonames[i]);
    if (!pattern.failed) try_glob(s, pattern.bytes);
    mxg_text_free(&pattern);
  }
}

static void try_toolkit(search *s, const char *folder) {
  if (!folder || !*folder) return;
  note(s, folder);
  try_folder(s, folder, "");
  try_folder(s, folder, "/lib64");
  try_folder(s, folder, "/lib");
  try_folder(s, folder, "/targets/*/lib");
}

/* The wheels below a folder of packages: nvidia-cuda-nvrtc of CUDA 13, nvidia-cuda-nvrtc-cu12, PyTorch's own. */
static void try_packages(search *s, const char *folder, const char *under) {
  static const char *const wheels[] = {"/nvidia/cu13/lib", "/nvidia/cuda_nvrtc/lib", "/torch/lib"};
  for (size_t i = 0; i < sizeof wheels / sizeof *wheels && !ended(s); i++) {
    char below[128];
    snprintf(below, sizeof below, "%s%s", under, wheels[i]);
    try_folder(s, folder, below);
  }
}

static void try_prefix(search *s, const char *prefix) {
  if (!prefix || !*prefix || ended(s)) return;
  mxg_text place = {0};
  mxg_text_format(&place, "%s/lib*/python3*", prefix);
  if (!place.failed) note(s, place.bytes);
  mxg_text_free(&place);
  try_packages(s, prefix, "/lib*/python3*/*-packages");
}

static void cut_last(char *path) {
  char *slash = strrchr(path, '/');
  if (slash) *slash = 0;
}

/* The prefix of the python3 that PATH finds, as written and with links followed: a venv and the Python below it. A
** pyenv shim is a script; then every version of that pyenv counts. */
static void try_python_in_path(search *s) {
  const char *path = getenv("PATH");
  for (const char *at = path; at && *at && !ended(s);) {
    size_t count = strcspn(at, ":");
    char file[512];
    int n = snprintf(file, sizeof file, "%.*s/python3", (int)(count < 400 ? count : 0), at);
    at += count + (at[count] == ':');
    char *real = n > 8 ? realpath(file, NULL) : NULL;
    if (!real) continue;
    cut_last(file);
    bool shims = strlen(file) > 6 && strcmp(file + strlen(file) - 6, "/shims") == 0;
    cut_last(file);
    if (shims) {
      mxg_text place = {0};
      mxg_text_format(&place, "%s/versions/*/lib/python3*", file);
      if (!place.failed) note(s, place.bytes);
      mxg_text_free(&place);
      try_packages(s, file, "/versions/*/lib/python3*/*-packages");
    } else {
      try_prefix(s, file);
      cut_last(real);
      cut_last(real);
      if (strcmp(real, file) != 0) try_prefix(s, real);
    }
    free(real);
  }
}

static void try_pythonpath(search *s) {
  for (const char *at = getenv("PYTHONPATH"); at && *at && !ended(s);) {
    size_t count = strcspn(at, ":");
    char folder[512];
    snprintf(folder, sizeof folder, "%.*s", (int)(count < 500 ? count : 0), at);
    at += count + (at[count] == ':');
    if (!folder[0]) continue;
    note(s, folder);
    try_packages(s, folder, "");
  }
}

static void look_everywhere(search *s) {
  for (size_t i = 0; i < SONAMES; i++) try_open(s, sonames[i], RTLD_NOLOAD);
  note(s, "the loader's path");
  for (size_t i = 0; i < SONAMES; i++) try_open(s, sonames[i], 0);
  try_toolkit(s, getenv("CUDA_HOME"));
  try_toolkit(s, getenv("CUDA_PATH"));
  note(s, "/usr/local/cuda*, /opt/cuda");
  try_folder(s, "/usr/local", "/cuda/lib64");
  try_folder(s, "/usr/local", "/cuda*/lib64");
  try_folder(s, "/usr/local", "/cuda*/lib");
  try_folder(s, "/opt", "/cuda*/lib64");
  try_prefix(s, getenv("VIRTUAL_ENV"));
  try_prefix(s, getenv("CONDA_PREFIX"));
  try_pythonpath(s);
  try_python_in_path(s);
  const char *home = getenv("HOME");
  char local[512];
  if (home && snprintf(local, sizeof local, "%s/.local", home) < (int)sizeof local) try_prefix(s, local);
  try_prefix(s, "/usr/local");
  try_prefix(s, "/usr");
}

/* A file, or a folder: a toolkit, its lib64, a wheel's lib, or a Python prefix. */
static void look_where_told(search *s, const char *place) {
  char text[600];
  snprintf(text, sizeof text, "MXGEN_NVRTC=%.500s", place);
  note(s, text);
  glob_t probe;
  mxg_text inside = {0};
  add_literal(&inside, place);
  mxg_text_puts(&inside, "/.");
  bool folder = !inside.failed && glob(inside.bytes, 0, NULL, &probe) == 0;
  if (folder) globfree(&probe);
  mxg_text_free(&inside);
  if (!folder) {
    try_open(s, place, 0);
    return;
  }
  try_folder(s, place, "");
  try_folder(s, place, "/lib64");
  try_folder(s, place, "/lib");
  try_packages(s, place, "/lib*/python3*/*-packages");
  try_packages(s, place, "");
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const mxg_nvrtc *chosen; /* the last that was found, and */
static char chosen_by[512];     /* what MXGEN_NVRTC said then */

/* Under the lock. `tried` gets what was searched; it is empty when the choice stood already. */
static const mxg_nvrtc *find(mxg_text *tried, char fault[256]) {
  const char *told = getenv("MXGEN_NVRTC");
  if (!told) told = "";
  if (chosen && strncmp(chosen_by, told, sizeof chosen_by - 1) == 0) return chosen;
  search s = {0};
  if (*told)
    look_where_told(&s, told);
  else
    look_everywhere(&s);
  if (s.found) {
    s.found->previous = chosen;
    chosen = s.found;
    snprintf(chosen_by, sizeof chosen_by, "%s", told);
  }
  *tried = s.tried;
  memcpy(fault, s.fault, sizeof s.fault);
  return s.found;
}

mxg_status mxg_nvrtc_open(const mxg_nvrtc **out, mxg_error *err) {
  mxg_text tried = {0};
  char fault[256] = "";
  pthread_mutex_lock(&lock);
  *out = find(&tried, fault);
  pthread_mutex_unlock(&lock);
  mxg_status status = MXG_OK;
  if (!*out) {
    status = mxg_fail(err, MXG_ERR_ENVIRONMENT, fault[0] ? 502 : 501, "%s",
                      fault[0] ? fault : "NVRTC is not on this machine: no libnvrtc.so.13 or libnvrtc.so.12");
    mxg_error_note(err, "searched: %.480s", tried.bytes ? tried.bytes : "");
    mxg_error_help(err, "pip install nvidia-cuda-nvrtc, or set MXGEN_NVRTC to the library or its folder");
  }
  mxg_text_free(&tried);
  return status;
}

/* ---- which build it is ---- */

/* Adds the build-ids of every libnvrtc-builtins beside `library`, by name; false when there is none or one has no id.
 */
static bool add_builtins(mxg_text *build, const char *library) {
  const char *slash = strrchr(library, '/');
  glob_t files;
  mxg_text pattern = {0};
  char folder[PATH_ROOM];
  snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - library) : 1, slash ? library : ".");
  add_literal(&pattern, folder);
  mxg_text_puts(&pattern, "/libnvrtc-builtins.so.[0-9]*");
  bool good = !pattern.failed && glob(pattern.bytes, 0, NULL, &files) == 0;
  mxg_text_free(&pattern);
  if (!good) return false;
  char seen[MXG_BUILD_ID_ROOM] = "";
  for (size_t i = 0; i < files.gl_pathc && good; i++) {
    char id[MXG_BUILD_ID_ROOM];
    good = mxg_library_build_id(id, files.gl_pathv[i]);
    if (good && strcmp(id, seen) != 0) mxg_text_format(build, " %s", id); /* links to one file follow each other */
    if (good) memcpy(seen, id, sizeof seen);
  }
  globfree(&files);
  return good;
}

static bool add_build(char build[MXG_NVRTC_BUILD_ROOM], const char *library, const char *id) {
  mxg_text text = {0};
  mxg_text_format(&text, "nvrtc %s builtins", id);
  bool good = add_builtins(&text, library) && !text.failed && text.count < MXG_NVRTC_BUILD_ROOM;
  if (good) memcpy(build, text.bytes, text.count + 1);
  mxg_text_free(&text);
  return good;
}

bool mxg_nvrtc_build(char build[MXG_NVRTC_BUILD_ROOM], const mxg_nvrtc *nvrtc) {
  char id[MXG_BUILD_ID_ROOM], loaded[MXG_BUILD_ID_ROOM], path[PATH_ROOM] = "";
  build[0] = 0;
  if (nvrtc) {
    /* Where the file was replaced since it was loaded, its builtins are not the loaded ones either. */
    const void *inside = *(void *const *)(const void *)&nvrtc->Version;
    if (!mxg_library_loaded_build_id(loaded, inside) || !mxg_library_build_id(id, nvrtc->path)) return false;
    return strcmp(id, loaded) == 0 && add_build(build, nvrtc->path, id);
  }
  const char *told = getenv("MXGEN_NVRTC");
  search s = {.located = path};
  if (told && *told)
    look_where_told(&s, told);
  else
    look_everywhere(&s);
  mxg_text_free(&s.tried);
  return path[0] && mxg_library_build_id(id, path) && add_build(build, path, id);
}

void mxg_nvrtc_find(mxg_nvrtc_info *info) {
  memset(info, 0, sizeof *info);
  mxg_text tried = {0};
  char fault[256] = "";
  pthread_mutex_lock(&lock);
  const mxg_nvrtc *nvrtc = find(&tried, fault);
  pthread_mutex_unlock(&lock);
  if (nvrtc) {
    info->found = true;
    snprintf(info->path, sizeof info->path, "%s", nvrtc->path);
    snprintf(info->version, sizeof info->version, "%d.%d", nvrtc->major, nvrtc->minor);
  }
  snprintf(info->searched, sizeof info->searched, "%s%s%s", tried.bytes ? tried.bytes : "", fault[0] ? "; " : "",
           fault);
  mxg_text_free(&tried);
}
