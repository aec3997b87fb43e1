/* emulate.c -- writes each kernel's parameters and a small wrapper to a temporary folder, calls the C++ compiler, opens
** what it made. Kernels are kept by name. */
#include "emulate.h"

#include "emit.h"
#include "text.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Each compiler call makes one library of up to this many kernels; two calls run at a time. */
enum { LIBRARY_KERNELS = 24, ARGUMENTS_MAX = LIBRARY_KERNELS + 32, CALLS_AT_ONCE = 2 };

typedef const char *(*run_function)(const mx_entry *entries, unsigned count, unsigned long long blocks);

typedef struct made {
  char name[40];
  run_function run;
} made;

static struct {
  char folder[64]; /* "" before the first kernel */
  made *kernels;
  size_t kernel_count, kernel_capacity;
  void **libraries;
  size_t library_count, library_capacity;
} all;

/* One call of the compiler. */
typedef struct call {
  pid_t pid;
  char library[128], log[128];
} call;

extern char **environ;

static made *find(const char *name) {
  for (size_t i = 0; i < all.kernel_count; i++)
    if (strcmp(all.kernels[i].name, name) == 0) return &all.kernels[i];
  return NULL;
}

static int fail(const char *what, const char *why) {
  fprintf(stderr, "emulate: %s: %s\n", what, why);
  return -1;
}

static int write_file(const char *path, const char *text) {
  FILE *out = fopen(path, "w");
  if (!out) return fail(path, strerror(errno));
  fputs(text, out);
  return fclose(out) ? fail(path, strerror(errno)) : 0;
}

static int open_folder(void) {
  if (all.folder[0]) return 0;
  char path[128];
  const char *base = getenv("TMPDIR");
  snprintf(path, sizeof path, "%.40s/mxgen-XXXXXX", base && strlen(base) < 40 ? base : "/tmp");
  if (!mkdtemp(path)) return fail(path, strerror(errno));
  snprintf(all.folder, sizeof all.folder, "%.63s", path);
  /* Templates include mx_params.h; the wrapper has included the kernel's own before. */
  snprintf(path, sizeof path, "%s/mx_params.h", all.folder);
  return write_file(path, "");
}

static int write_kernel(const mxg_kernel *kernel) {
  char path[160], text[512];
  mxg_text params = {0};
  mxg_emit_params(&params, kernel, NULL);
  snprintf(path, sizeof path, "%s/%s.h", all.folder, kernel->name);
  int status = params.failed ? fail(path, "no memory") : write_file(path, params.bytes);
  mxg_text_free(&params);
  snprintf(path, sizeof path, "%s/%s.cpp", all.folder, kernel->name);
  snprintf(text, sizeof text,
           "#include \"shim.h\"\n#include \"%s.h\"\n#include \"%s.cu\"\n"
           "extern \"C\" __attribute__((visibility(\"default\")))\n"
           "const char *run_%s(const mx_entry *entries, unsigned count, unsigned long long blocks) {\n"
           "  return shim_run(MX_KERNEL, entries, count, blocks, MX_THREADS);\n}\n",
           kernel->name, mxg_family_name(kernel->family), kernel->name);
  return status ? status : write_file(path, text);
}

/* Starts the compiler for some kernels; EMULATE_FLAGS, a list separated by spaces, are the sanitizer's, if any. The
** environment's EMULATE_ARCH, 900 for sm_90, makes kernels take that architecture's paths; without it the portable
*ones. */
static int start(call *c, const mxg_kernel *const *kernels, size_t count) {
  static const char *const fixed[] = {"-std=c++17",
                                      "-O1",
                                      "-fPIC",
                                      "-shared",
                                      "-fvisibility=hidden",
                                      "-ffp-contract=off",
                                      "-Wall",
                                      "-Werror",
                                      "-Wno-unknown-warning-option",
                                      "-Wno-unknown-pragmas",
                                      "-Wno-unused-function",
                                      "-Wno-maybe-uninitialized",
                                      "-I" MXG_ROOT "/templates",
                                      "-I" MXG_ROOT "/tests/emulate",
                                      MXG_ROOT "/tests/emulate/shim.cpp"};
  static char flags[256];
  char own[160], path[32], files[LIBRARY_KERNELS][160], *argv[ARGUMENTS_MAX];
  size_t n = 0;
  argv[n++] = (char *)(uintptr_t)EMULATE_CXX;
  for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) argv[n++] = (char *)(uintptr_t)fixed[i];
  snprintf(flags, sizeof flags, "%s", EMULATE_FLAGS);
  for (char *flag = strtok(flags, " "); flag && n < 28; flag = strtok(NULL, " ")) argv[n++] = flag;
  const char *arch = getenv("EMULATE_ARCH");
  if (arch && *arch) {
    snprintf(path, sizeof path, "-DSHIM_ARCH=%.8s", arch);
    argv[n++] = path;
  }
  snprintf(own, sizeof own, "-I%s", all.folder);
  argv[n++] = own;
  for (size_t i = 0; i < count; i++) {
    snprintf(files[i], sizeof files[i], "%s/%s.cpp", all.folder, kernels[i]->name);
    argv[n++] = files[i];
  }
  snprintf(c->library, sizeof c->library, "%s/%s.so", all.folder, kernels[0]->name);
  snprintf(c->log, sizeof c->log, "%s/%s.log", all.folder, kernels[0]->name);
  argv[n++] = (char *)(uintptr_t) "-o";
  argv[n++] = c->library;
  argv[n] = NULL;
  posix_spawn_file_actions_t actions;
  if (posix_spawn_file_actions_init(&actions)) return fail(EMULATE_CXX, "no memory");
  posix_spawn_file_actions_addopen(&actions, 2, c->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  int fault = posix_spawnp(&c->pid, EMULATE_CXX, &actions, NULL, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  return fault ? fail(EMULATE_CXX, strerror(fault)) : 0;
}

static int finish(const call *c, const mxg_kernel *const *kernels, size_t count) {
  int status = 0;
  while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR) continue;
  if (!WIFEXITED(status) || WEXITSTATUS(status)) {
    char line[512];
    FILE *log = fopen(c->log, "r");
    for (int i = 0; log && i < 60 && fgets(line, sizeof line, log); i++) fputs(line, stderr);
    if (log) fclose(log);
    return fail(kernels[0]->name, "a generated kernel does not compile as C++");
  }
  void *library = dlopen(c->library, RTLD_NOW | RTLD_LOCAL);
  if (!library) return fail(c->library, dlerror());
  void **slot = mxg_vector_push((void **)&all.libraries, &all.library_count, &all.library_capacity, sizeof *slot);
  if (!slot) return fail(c->library, "no memory");
  *slot = library;
  for (size_t i = 0; i < count; i++) {
    char symbol[64];
    snprintf(symbol, sizeof symbol, "run_%s", kernels[i]->name);
    made *m = mxg_vector_push((void **)&all.kernels, &all.kernel_count, &all.kernel_capacity, sizeof *m);
    if (!m) return fail(symbol, "no memory");
    memcpy(m->name, kernels[i]->name, sizeof m->name);
    *(void **)(void *)&m->run = dlsym(library, symbol);
    if (!m->run) return fail(symbol, "not in its library");
  }
  return 0;
}

/* Compiles kernels that are all missing and all different: in rounds of CALLS_AT_ONCE calls. */
static int compile(const mxg_kernel *const *kernels, size_t count) {
  size_t share = (count + CALLS_AT_ONCE - 1) / CALLS_AT_ONCE;
  if (share > LIBRARY_KERNELS) share = LIBRARY_KERNELS;
  int status = 0;
  for (size_t at = 0; at < count && !status;) {
    call calls[CALLS_AT_ONCE];
    size_t first[CALLS_AT_ONCE], taken[CALLS_AT_ONCE], running = 0;
    while (running < CALLS_AT_ONCE && at < count && !status) {
      first[running] = at;
      taken[running] = count - at < share ? count - at : share;
      status = start(&calls[running], kernels + at, taken[running]);
      at += taken[running];
      if (!status) running++;
    }
    for (size_t i = 0; i < running; i++)
      if (finish(&calls[i], kernels + first[i], taken[i])) status = -1;
  }
  return status;
}

const char *emulate_missing(void) { return NULL; }

void *emulate_alloc(size_t bytes) { return malloc(bytes ? bytes : 1); }

void emulate_release(void *memory) { free(memory); }

int emulate_prepare(const mxg_kernel *kernels, uint32_t count) {
  const mxg_kernel **missing = mxg_alloc(count * sizeof *missing);
  size_t n = 0;
  int status = missing ? open_folder() : fail("prepare", "no memory");
  for (uint32_t i = 0; i < count && !status; i++) {
    bool known = find(kernels[i].name) != NULL;
    for (size_t k = 0; k < n && !known; k++) known = strcmp(missing[k]->name, kernels[i].name) == 0;
    if (known) continue;
    missing[n++] = &kernels[i];
    status = write_kernel(&kernels[i]);
  }
  if (!status && n) status = compile(missing, n);
  mxg_free(missing);
  return status;
}

int emulate_kernel(const mxg_kernel *kernel, const mx_entry *entries, uint32_t count, uint64_t tiles) {
  if (!find(kernel->name) && emulate_prepare(kernel, 1)) return -1;
  const char *fault = count ? find(kernel->name)->run(entries, count, tiles) : NULL;
  return fault ? fail(kernel->name, fault) : 0;
}

void emulate_free(void) {
  for (size_t i = 0; i < all.library_count; i++) dlclose(all.libraries[i]);
  DIR *folder = all.folder[0] ? opendir(all.folder) : NULL;
  for (struct dirent *entry; folder && (entry = readdir(folder));) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", all.folder, entry->d_name);
    if (entry->d_name[0] != '.') unlink(path);
  }
  if (folder) closedir(folder);
  if (all.folder[0]) rmdir(all.folder);
  mxg_free(all.kernels);
  mxg_free(all.libraries);
  memset(&all, 0, sizeof all);
}
