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
enum { module_core = 1, module_core2 = 5, module_functions = 16 }; /* number 0 of a module is no function */
enum { domain_push = 4, domain_pop = 5, domain_create = 12 };      /* of module core2 */

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

/* Written by a profiler while it initialises, read afterwards. Index 16 stays NULL, as its place does. */
static any_function core[module_functions], core2[module_functions];
static any_function *core_places[module_functions + 1], *core2_places[module_functions + 1];

static nvtx_domain *domain;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int give_module(int module, any_function ***functions, unsigned *count) {
  if (module != module_core && module != module_core2) return 0;
  if (functions) *functions = module == module_core ? core_places : core2_places;
  if (count) *count = module_functions;
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
  for (int i = 1; i < module_functions; i++) core_places[i] = &core[i], core2_places[i] = &core2[i];
  if (!initialize || !initialize(give_table)) {
    memset(core2, 0, sizeof core2);
    (void)dlclose(library);
    return;
  }
  if (core2[domain_create]) domain = ((nvtx_domain * (*)(const char *)) core2[domain_create])("mxgen");
}

static any_function function(int which) {
  (void)pthread_once(&once, attach);
  return core2[which];
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
