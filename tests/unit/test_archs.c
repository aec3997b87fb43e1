/* Architectures of the GPUs at hand, over the driver without GPUs (tests/driver): native in lists, in bundles, and in
** the key of those that are kept. Each case has a process of its own, because a process asks its driver once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "archs.h"
#include "bundle.h"
#include "compile.h"
#include "files.h"
#include "mxgen.h"

/* The first failure's line ends the child; its parent says it. */
#define MUST(what)                                                  \
  do {                                                              \
    if (!(what)) fprintf(stderr, "line %d: %s\n", __LINE__, #what); \
    if (!(what)) _exit(1);                                          \
  } while (0)

/* What a list becomes where the GPUs have these compute capabilities: names with blanks, or the error's text. */
static mxg_status resolve(char text[512], mxg_error *err, const char *const *list) {
  mxg_arena arena = {0};
  const char *const *names;
  mxg_status status = mxg_archs_resolve(&names, list, &arena, err);
  *text = 0;
  for (size_t i = 0; status == MXG_OK && names[i]; i++) {
    size_t n = strlen(text);
    snprintf(text + n, 512 - n, "%s%s", i ? " " : "", names[i]);
  }
  mxg_arena_free(&arena);
  return status;
}

static void in_child(const char *driver, const char *capabilities, void (*run)(const void *), const void *with) {
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    setenv("MXGEN_LIBCUDA", driver, 1);
    setenv("FAKE_CUDA_CAPABILITY", capabilities, 1);
    run(with);
    fflush(NULL);
    _exit(0);
  }
  int how = 0;
  assert_int_equal(waitpid(child, &how, 0), child);
  if (!WIFEXITED(how) || WEXITSTATUS(how) != 0) fail_msg("with GPUs of %s", capabilities);
}

typedef struct wish {
  const char *list[4], *becomes;
} wish;

static void becomes(const void *with) {
  const wish *w = with;
  char text[512];
  mxg_error err = {0};
  MUST(resolve(text, &err, w->list) == MXG_OK);
  if (strcmp(text, w->becomes) != 0) fprintf(stderr, "%s, not %s\n", text, w->becomes);
  MUST(!strcmp(text, w->becomes));
}

static void native_is_the_gpus_each_once(void **state) {
  (void)state;
  static const wish wishes[] = {{{"native"}, "sm_90a"},
                                {{"native", "sm_90a"}, "sm_90a"},
                                {{"sm_80", "native", "native"}, "sm_80 sm_90a"},
                                {{"sm_90a", "sm_80", "sm_90a"}, "sm_90a sm_80"},
                                {{NULL}, ""}};
  for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++) in_child(FAKE_CUDA, "90", becomes, &wishes[i]);
  in_child(FAKE_CUDA, "103,80", becomes, &(wish){{"native"}, "sm_80 sm_103a"});
  in_child(FAKE_CUDA, "89", becomes, &(wish){{"native"}, "sm_89"});
}

static void is_refused(const void *with) {
  const wish *w = with; /* list[1]: the code */
  char text[512], all[1200];
  mxg_error err = {0};
  MUST(resolve(text, &err, (const char *const[]){"native", NULL}) == MXG_ERR_ENVIRONMENT);
  snprintf(all, sizeof all, "MX%04u %s %s", err.code, err.text, err.help);
  if (!strstr(all, w->becomes) || !strstr(all, w->list[0])) fprintf(stderr, "%s\n", all);
  MUST(strstr(all, w->becomes) && strstr(all, w->list[0]) && strstr(all, "for example sm_90a"));
}

static void without_a_gpu_it_is_an_error(void **state) {
  (void)state;
  in_child("/nowhere/libcuda.so.1", "90", is_refused, &(wish){{"MX0521"}, "no CUDA driver"});
  in_child(FAKE_CUDA, "0", is_refused, &(wish){{"MX0523"}, "sees no GPU"});
  in_child(FAKE_CUDA, "90,75", is_refused, &(wish){{"MX0503"}, "GPU 1, Fake 1, is of an architecture"});
  in_child("/nowhere/libcuda.so.1", "90", becomes, &(wish){{"sm_80"}, "sm_80"}); /* names need no driver */
}

/* Generates for native; the bundle has cubins of exactly these architectures, and says how many were compiled. */
typedef struct generated {
  const char *archs;
  bool compiles;
} generated;

static void generates(const void *with) {
  const generated *want = with;
  static const char *const native[] = {"native", NULL}, *const cut[] = {"layers=1", NULL};
  mxg_kernel_counts counts = MXG_KERNEL_COUNTS_INIT;
  mxg_options options = MXG_OPTIONS_INIT;
  mxg_error err = {0};
  mxg_bundle *bundle = NULL;
  options.archs = native;
  options.sets = cut;
  options.counts = &counts;
  mxg_status status = mxg_generate(&bundle, MXG_ROOT "/recipes/tiny_dense.lua", &options, &err);
  if (status != MXG_OK) fprintf(stderr, "%s\n", err.text);
  MUST(status == MXG_OK);
  const mxg_bundle_cubin *cubins;
  uint32_t count = mxg_bundle_cubins(bundle, &cubins);
  MUST(count > 0);
  for (uint32_t i = 0; i < count; i++) MUST(strstr(want->archs, cubins[i].arch));
  MUST(count == mxg_bundle_plan(bundle)->kernel_count * (strchr(want->archs, ' ') ? 2 : 1));
  MUST(want->compiles ? counts.compiled > 0 : counts.compiled == 0 && counts.cached == count);
  mxg_bundle_free(bundle);
}

/* The names are in the key: another GPU is another bundle, the same one is found again. */
static void a_bundle_for_the_gpus_is_kept_for_them(void **state) {
  (void)state;
  mxg_nvrtc_info nvrtc;
  mxg_nvrtc_find(&nvrtc);
  if (!nvrtc.found) skip();
  in_child(FAKE_CUDA, "90", generates, &(generated){"sm_90a", true});
  in_child(FAKE_CUDA, "90,90", generates, &(generated){"sm_90a", false});
  in_child(FAKE_CUDA, "80", generates, &(generated){"sm_80", true});
  in_child(FAKE_CUDA, "80,90", generates, &(generated){"sm_80 sm_90a", false}); /* its kernels are all there */
  in_child(FAKE_CUDA, "90", generates, &(generated){"sm_90a", false});
}

static int fresh_cache(void **state) {
  if (folder_make(state)) return -1;
  unsetenv("MXGEN_CACHE");
  unsetenv("MXGEN_JIT");
  return setenv("MXGEN_CACHE_DIR", test_folder, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(native_is_the_gpus_each_once),
      cmocka_unit_test(without_a_gpu_it_is_an_error),
      cmocka_unit_test_setup_teardown(a_bundle_for_the_gpus_is_kept_for_them, fresh_cache, folder_remove),
  };
  return cmocka_run_group_tests_name("archs", tests, NULL, NULL);
}
