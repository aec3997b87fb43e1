/* nvtx.c: without a profiler nothing happens; with one, every start and every run is one range in the domain
** "mxgen". The profiler is tests/nvtx/injection.c, and a process attaches one only once, so each case is a process
** of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bundle.h"
#include "nvtx/injection.h"
#include "plan_samples.h"

/* Runs a plan of three groups: all, group 2, group 0, all by start. */
static int use(void) {
  static const unsigned char sources[32] = {3};
  fixture *f = sample_experts();
  const mxg_bundle_parts parts = {.plan = &f->plan, .sources_digest = sources, .maker = "maker"};
  mxg_bundle *bundle = NULL;
  mxg_exec *exec = NULL;
  if (mxg_bundle_make(&bundle, &parts, NULL) || mxg_exec_create(&exec, bundle, NULL, NULL)) return 1;
  for (uint32_t i = 0; i < mxg_bundle_tensors(bundle); i++) {
    mxg_tensor_info info = {.size = sizeof info};
    if (mxg_bundle_tensor(&info, bundle, i, NULL)) return 2;
    unsigned char *memory = calloc(1, info.data_bytes + info.scale_bytes);
    if (!memory || mxg_exec_bind(exec, info.rank, info.side, info.name, memory, info.data_bytes,
                                 memory + info.data_bytes, info.scale_bytes, NULL))
      return 3;
  }
  if (mxg_exec_run(exec, NULL) || mxg_exec_start(exec, 2, NULL, NULL) || mxg_exec_start(exec, 0, NULL, NULL) ||
      mxg_exec_start(exec, MXG_ALL_GROUPS, NULL, NULL))
    return 4;
  if (mxg_exec_start(exec, 99, NULL, NULL) == MXG_OK) return 5; /* no range of what is refused */
  mxg_exec_free(exec);
  return 0;
}

static int look_back(const char *path) {
  static const char *const names[] = {"run fixture", "bucket 2", "bucket 0", "run fixture"};
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return 10;
  injection_look_function look;
  *(void **)(void *)&look = dlsym(library, "injection_look");
  if (!look) return 11;
  const injection_record *seen = look();
  if (seen->attached != 1 || strcmp(seen->domain, "mxgen") != 0) return 12;
  if (seen->wrong || seen->depth != 0 || seen->deepest != 1) return 13;
  if (seen->count != sizeof names / sizeof *names) return 14;
  for (unsigned i = 0; i < seen->count; i++)
    if (strcmp(seen->names[i], names[i]) != 0) return 15;
  return 0;
}

static int in_child(const char *path, int (*then)(const char *)) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    if (path)
      setenv("NVTX_INJECTION64_PATH", path, 1);
    else
      unsetenv("NVTX_INJECTION64_PATH");
    int code = use();
    if (code == 0 && then) code = then(path);
    _exit(code);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void ranges_are_seen(void **state) {
  (void)state;
  assert_int_equal(in_child(NVTX_INJECTION, look_back), 0);
}

static void nothing_to_attach(void **state) {
  (void)state;
  assert_int_equal(in_child(NULL, NULL), 0);
  assert_int_equal(in_child("/no/such/library.so", NULL), 0);
  assert_int_equal(in_child("libm.so.6", NULL), 0); /* a library, and no profiler */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(ranges_are_seen), cmocka_unit_test(nothing_to_attach)};
  return cmocka_run_group_tests_name("nvtx", tests, NULL, NULL) != 0;
}
