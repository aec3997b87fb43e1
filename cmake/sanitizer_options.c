/* sanitizer_options.c -- what a program built with MXGEN_SANITIZE tells the sanitizers' runtimes; the one that is not in
** it never asks.
**
** intercept_tls_get_addr=0: the address sanitizer takes thread-local storage of a library loaded late (NVRTC, a driver)
** that lies 16 bytes into a page for a block of glibc 2.19, and the sanitizer's own words before it for that block's
** size and start. The check for leaks then reads from an address like 0xb0 ("Tracer caught signal 11") and ends the
** program with exit code 1. Where the storage lies depends on all that was allocated before, the environment included.
**
** ignore_noninstrumented_modules=1: NVRTC makes its locks when it first needs them, ordered by atomics of its own code,
** which the thread sanitizer does not see; it would report each of them. */

const char *__asan_default_options(void);
const char *__tsan_default_options(void);

__attribute__((visibility("default"))) const char *__asan_default_options(void) { return "intercept_tls_get_addr=0"; }

__attribute__((visibility("default"))) const char *__tsan_default_options(void) {
  return "ignore_noninstrumented_modules=1";
}
