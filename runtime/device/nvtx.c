/* nvtx.c -- see nvtx.h. This is an NVTX (version 3) client without NVTX's headers: what a profiler and its client
** say to each other is small and does not change. A profiler names its library in NVTX_INJECTION64_PATH; the
** client opens it and calls its InitializeInjectionNvtx2 with a function that gives tables by number; the library
** takes from the table of callbacks, module by module, an array of places of function pointers and writes its own
** functions into those that it has. */
#include "nvtx.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { nvtx_version = 3, message_ascii = 1 };
enum { table_callbacks = 1, table_version = 3 };
enum { module_core = 1, module_core2 = 5, modules = 7, functions_most = 16 };
enum { domain_push = 4, domain_pop = 5, domain_create = 12 }; /* of module core2 */
/* By module: core, CUDA, OpenCL, CUDART, core2, synchronisation. Number 0 of a module is no function, nor is there a
** module 0. Profilers may insist on all of them. */
static const unsigned function_counts[modules] = {0, 16, 9, 15, 7, 16, 7};

typedef void (*any_function)(void);
typedef struct nvtx_domain nvtx_domain;

/* nvtxEventAttributes_v2 */
typedef struct attributes {
  uint16_t version, size;
  uint32_t category;
  int32_t color_kind;
  uint32_t color;
  int32_t payload_kind, reserved;
  uint64_t payload;
  int32_t message_kind;
  union {
    const char *ascii;
    const void *other;
  } message;
} attributes;
_Static_assert(sizeof(attributes) == 48, "as NVTX has it");

typedef struct callbacks_table {
  size_t size;
  int (*module)(int module, any_function ***functions, unsigned *count);
} callbacks_table;

typedef struct version_table {
  size_t size;
  uint32_t version, reserved;
  void (*set_injection_version)(uint32_t version);
} version_table;

typedef int (*initialize_injection)(const void *(*table)(uint32_t id));

/* Written by a profiler while it initialises, read afterwards. The place behind the last one stays NULL. */
static any_function functions[modules][functions_most];
static any_function *places[modules][functions_most + 1];

static nvtx_domain *domain;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int give_module(int module, any_function ***table, unsigned *count) {
  if (module < module_core || module >= modules) return 0;
  if (table) *table = places[module];
  if (count) *count = function_counts[module];
  return 1;
}

static void ignore_version(uint32_t version) { (void)version; }

static const void *give_table(uint32_t id) {
  static const callbacks_table callbacks = {sizeof callbacks, give_module};
  static const version_table version = {sizeof version, nvtx_version, 0, ignore_version};
  if (id == table_callbacks) return &callbacks;
  return id == table_version ? &version : NULL;
}

/* Attaches the profiler, if there is one that takes ranges; otherwise all stays NULL. */
static void attach(void) {
  const char *path = getenv(sizeof(void *) == 4 ? "NVTX_INJECTION32_PATH" : "NVTX_INJECTION64_PATH");
  void *library = path && *path ? dlopen(path, RTLD_LAZY) : NULL;
  if (!library) return;
  initialize_injection initialize;
  *(void **)(void *)&initialize = dlsym(library, "InitializeInjectionNvtx2");
  for (int m = module_core; m < modules; m++)
    for (unsigned i = 1; i < function_counts[m]; i++) places[m][i] = &functions[m][i];
  if (!initialize || !initialize(give_table)) {
    memset(functions, 0, sizeof functions);
    (void)dlclose(library);
    return;
  }
  any_function create = functions[module_core2][domain_create];
  if (create) domain = ((nvtx_domain * (*)(const char *)) create)("mxgen");
}

static any_function function(int which) {
  (void)pthread_once(&once, attach);
  return functions[module_core2][which];
}

void mxg_range_begin(const char *before, const char *name) {
  any_function push = function(domain_push);
  if (!push) return;
  char text[256];
  snprintf(text, sizeof text, "%.60s%.190s", before, name);
  attributes range = {.version = nvtx_version, .size = sizeof range, .message_kind = message_ascii};
  range.message.ascii = text;
  (void)((int (*)(nvtx_domain *, const attributes *))push)(domain, &range);
}

void mxg_range_end(void) {
  any_function pop = function(domain_pop);
  if (pop) (void)((int (*)(nvtx_domain *))pop)(domain);
}
