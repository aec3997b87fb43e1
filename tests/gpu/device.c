/* device.c -- emulate.h on a real GPU: kernels compiled by NVRTC for the first device and launched through the driver,
** which is opened at run time. Memory is managed, so that tests read and write it as their own. */
#include "emulate.h"

#include "compile.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct cuda_context cuda_context;
typedef struct cuda_module cuda_module;
typedef struct cuda_function cuda_function;

enum { MANAGED_GLOBAL = 1, CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76 };

/* X(name in the table, symbol, parameters): every CUresult is an int. */
#define DRIVER(X)                                                                                                     \
  X(init, "cuInit", (unsigned flags))                                                                                 \
  X(error_name, "cuGetErrorName", (int error, const char **name))                                                     \
  X(device_get, "cuDeviceGet", (int *device, int ordinal))                                                            \
  X(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, int device))                                \
  X(retain, "cuDevicePrimaryCtxRetain", (cuda_context * *context, int device))                                        \
  X(make_current, "cuCtxSetCurrent", (cuda_context * context))                                                        \
  X(synchronize, "cuCtxSynchronize", (void))                                                                          \
  X(alloc_managed, "cuMemAllocManaged", (unsigned long long *address, size_t bytes, unsigned flags))                  \
  X(release, "cuMemFree_v2", (unsigned long long address))                                                            \
  X(module_load, "cuModuleLoadData", (cuda_module * *module, const void *image))                                      \
  X(module_unload, "cuModuleUnload", (cuda_module * module))                                                          \
  X(module_function, "cuModuleGetFunction", (cuda_function * *function, cuda_module * module, const char *name))      \
  X(launch, "cuLaunchKernel",                                                                                         \
    (cuda_function * function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, \
     unsigned block_z, unsigned shared, void *stream, void **parameters, void **extra))

static struct {
#define X(name, symbol, parameters) int(*name) parameters;
  DRIVER(X)
#undef X
} driver;

typedef struct loaded {
  char name[40];
  cuda_module *module;
  cuda_function *function;
} loaded;

static loaded *kernels;
static size_t kernel_count, kernel_capacity;
static char arch[16], missing[256];

static int fail(const char *what, int error) {
  const char *name = "?";
  if (driver.error_name) driver.error_name(error, &name);
  fprintf(stderr, "device: %s: %s\n", what, name);
  return -1;
}

const char *emulate_missing(void) {
  static mxg_nvrtc_info nvrtc;
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return "no libcuda.so.1";
#define X(name, symbol, parameters)                        \
  *(void **)(void *)&driver.name = dlsym(library, symbol); \
  if (!driver.name) return "libcuda.so.1 has no " symbol;
  DRIVER(X)
#undef X
  int device = 0, major = 0, minor = 0;
  cuda_context *context = NULL;
  int error = driver.init(0);
  if (!error) error = driver.device_get(&device, 0);
  if (!error) error = driver.device_attribute(&major, CAPABILITY_MAJOR, device);
  if (!error) error = driver.device_attribute(&minor, CAPABILITY_MINOR, device);
  if (!error) error = driver.retain(&context, device);
  if (!error) error = driver.make_current(context);
  if (error) {
    const char *name = "?";
    driver.error_name(error, &name);
    snprintf(missing, sizeof missing, "no usable device: %s", name);
    return missing;
  }
  snprintf(arch, sizeof arch, "sm_%d%d%s", major, minor, major >= 9 ? "a" : "");
  mxg_nvrtc_find(&nvrtc);
  return nvrtc.found ? NULL : "no NVRTC";
}

static loaded *find(const char *name) {
  for (size_t i = 0; i < kernel_count; i++)
    if (strcmp(kernels[i].name, name) == 0) return &kernels[i];
  return NULL;
}

static int load(const char *name, const mxg_cubin *cubin) {
  loaded *k = mxg_vector_push((void **)&kernels, &kernel_count, &kernel_capacity, sizeof *k);
  if (!k) return fail(name, 2);
  snprintf(k->name, sizeof k->name, "%s", name);
  int error = driver.module_load(&k->module, cubin->bytes);
  if (!error) error = driver.module_function(&k->function, k->module, name);
  return error ? fail(name, error) : 0;
}

int emulate_prepare(const mxg_kernel *wanted, uint32_t count) {
  mxg_arena arena = {0};
  mxg_error err = {0};
  mxg_kernel *copy = mxg_arena_alloc(&arena, count, sizeof *copy);
  const mxg_source *sources = NULL;
  const mxg_cubin *cubins = NULL;
  mxg_status status = MXG_ERR_NOMEM;
  if (copy) {
    for (uint32_t i = 0; i < count; i++) copy[i] = wanted[i], copy[i].origin = 0;
    const mxg_plan plan = {.strings = "", .string_bytes = 1, .kernels = copy, .kernel_count = count};
    status = mxg_emit(&sources, &plan, &arena, &err);
  }
  if (!status) status = mxg_compile(&cubins, sources, count, arch, 0, &arena, &err);
  if (status) fprintf(stderr, "device: %s:%d: %s\n", err.file, err.line, err.text);
  int result = status ? -1 : 0;
  for (uint32_t i = 0; i < count && !result; i++)
    if (!find(sources[i].kernel)) result = load(sources[i].kernel, &cubins[i]);
  mxg_arena_free(&arena);
  return result;
}

int emulate_kernel(const mxg_kernel *kernel, const mx_entry *entries, uint32_t count, uint64_t tiles) {
  if (!find(kernel->name) && emulate_prepare(kernel, 1)) return -1;
  if (tiles == 0) return 0;
  if (tiles > INT32_MAX) return fail("more tiles than a grid has blocks", 1);
  mx_entry only = *entries;
  void *parameters[] = {&entries, &count, &only};
  int error = driver.launch(find(kernel->name)->function, (unsigned)tiles, 1, 1, kernel->threads, 1, 1, 0, NULL,
                            parameters, NULL);
  if (!error) error = driver.synchronize();
  return error ? fail(kernel->name, error) : 0;
}

void *emulate_alloc(size_t bytes) {
  unsigned long long address = 0;
  if (driver.alloc_managed(&address, bytes ? bytes : 1, MANAGED_GLOBAL)) return NULL;
  return (void *)(uintptr_t)address;
}

void emulate_release(void *memory) {
  if (memory) driver.release((uintptr_t)memory);
}

void emulate_free(void) {
  for (size_t i = 0; i < kernel_count; i++)
    if (kernels[i].module) driver.module_unload(kernels[i].module);
  mxg_free(kernels);
  kernels = NULL;
  kernel_count = kernel_capacity = 0;
}
