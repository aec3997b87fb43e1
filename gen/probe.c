/* probe.c -- see probe.h. */
#define _GNU_SOURCE /* dladdr */
#include "probe.h"

#include "nccl.h"
#include "nearest.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

const mxg_variable mxg_variables[] = {
    {"MXGEN_NVRTC", "path of libnvrtc to use, before all other places"},
    {"MXGEN_LIBCUDA", "path of the driver's libcuda to use"},
    {"MXGEN_NCCL", "path of libnccl to use"},
    {"MXGEN_PORT", "port on which process 0 of several listens; default: MASTER_PORT + 1"},
    {"RANK", "of a launcher, for run and bench: which of its processes this is"},
    {"WORLD_SIZE", "of a launcher: how many processes there are"},
    {"LOCAL_RANK", "of a launcher: the GPU of this process; default: RANK"},
    {"MASTER_ADDR", "of a launcher: where process 0 is; default: 127.0.0.1"},
    {"MASTER_PORT", "of a launcher: its own port; the next one is ours"},
    {"MXGEN_TEMPLATES", "folder of the kernel templates, in place of the embedded ones"},
    {"MXGEN_CACHE_DIR", "folder of the kernel cache; default: $XDG_CACHE_HOME/mxgen, ~/.cache/mxgen"},
    {"MXGEN_CACHE", "off: no kernel cache; ro: only read it; rw: the default"},
    {"MXGEN_JIT", "off: compile nothing, every kernel must be in the cache"},
    {NULL, NULL},
};

typedef void (*any_function)(void);

static any_function symbol(void *library, const char *name) {
  union {
    void *object;
    any_function function;
  } both;
  both.object = dlsym(library, name);
  return both.function;
}

/* Opens the library that `variable` names, else `soname`: the copy that is already in the process if there is one. */
static void *open_library(const char *variable, const char *soname, char *problem, size_t room) {
  const char *chosen = getenv(variable);
  if (chosen && !*chosen) chosen = NULL;
  void *library = chosen ? NULL : dlopen(soname, RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD);
  if (!library) library = dlopen(chosen ? chosen : soname, RTLD_LAZY | RTLD_LOCAL);
  if (library) return library;
  const char *reason = dlerror();
  snprintf(problem, room, "%s%s%s", chosen ? variable : "", chosen ? ": " : "", reason ? reason : "not found");
  return NULL;
}

static void path_of(char *path, size_t room, any_function function) {
  union {
    any_function function;
    void *object;
  } both;
  both.function = function;
  Dl_info info;
  if (function && dladdr(both.object, &info) && info.dli_fname) snprintf(path, room, "%s", info.dli_fname);
}

static void name_problem(mxg_driver_info *info) {
  const char *what = "cuInit failed", *help = "";
  switch (info->native) {
  case 34:
    what = "this is the toolkit's stub, not a driver (cuInit gives 34)";
    help = "take the folder 'stubs' out of LD_LIBRARY_PATH";
    break;
  case 35:
    what = "the kernel's driver is older than this libcuda (cuInit gives 35)";
    help = "update the driver";
    break;
  case 100:
    what = "the driver sees no GPU (cuInit gives 100)";
    help = "in a container, start it with access to the GPUs; otherwise see nvidia-smi";
    break;
  case 803:
    what = "libcuda and the kernel's driver are of different versions (cuInit gives 803)";
    help = "install one version of both, or reboot after an update";
    break;
  case 804:
    what = "the forward compatibility libcuda does not serve this GPU (cuInit gives 804)";
    help = "take its folder out of LD_LIBRARY_PATH";
    break;
  case 999:
    what = "cuInit gives 999 (unknown)";
    help = "see nvidia-smi and the kernel's log; the module nvidia_uvm may be missing";
    break;
  default: snprintf(info->problem, sizeof info->problem, "cuInit gives %d", info->native); return;
  }
  snprintf(info->problem, sizeof info->problem, "%s", what);
  snprintf(info->help, sizeof info->help, "%s", help);
}

void mxg_probe_driver(mxg_driver_info *info) {
  memset(info, 0, sizeof *info);
  void *library = open_library("MXGEN_LIBCUDA", "libcuda.so.1", info->problem, sizeof info->problem);
  if (!library) {
    snprintf(info->help, sizeof info->help, "only needed to run on GPUs: install NVIDIA's driver");
    return;
  }
  int (*init)(unsigned) = (int (*)(unsigned))symbol(library, "cuInit");
  int (*version)(int *) = (int (*)(int *))symbol(library, "cuDriverGetVersion");
  int (*count)(int *) = (int (*)(int *))symbol(library, "cuDeviceGetCount");
  int (*get)(int *, int) = (int (*)(int *, int))symbol(library, "cuDeviceGet");
  int (*name)(char *, int, int) = (int (*)(char *, int, int))symbol(library, "cuDeviceGetName");
  int (*attribute)(int *, int, int) = (int (*)(int *, int, int))symbol(library, "cuDeviceGetAttribute");
  int (*memory)(size_t *, int) = (int (*)(size_t *, int))symbol(library, "cuDeviceTotalMem_v2");
  info->found = true;
  path_of(info->path, sizeof info->path, (any_function)init);
  if (!init || !version || !count || !get || !name || !attribute || !memory) {
    snprintf(info->problem, sizeof info->problem, "it lacks functions of the CUDA driver");
    return;
  }
  info->native = init(0);
  int number = 0;
  if (info->native == 0 && version(&number) == 0)
    snprintf(info->version, sizeof info->version, "%d.%d", number / 1000, number % 1000 / 10);
  if (info->native) {
    name_problem(info);
    return;
  }
  info->usable = true;
  if (count(&info->device_count)) info->device_count = 0;
  for (int i = 0; i < info->device_count && i < MXG_PROBE_DEVICES; i++) {
    mxg_device_info *device = &info->devices[i];
    int handle = 0;
    size_t bytes = 0;
    if (get(&handle, i)) continue;
    (void)name(device->name, (int)sizeof device->name, handle);
    (void)attribute(&device->major, 75, handle); /* CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, then MINOR */
    (void)attribute(&device->minor, 76, handle);
    if (memory(&bytes, handle) == 0) device->memory = bytes;
  }
}

void mxg_probe_nccl(mxg_nccl_info *info) {
  mxg_nccl_state state;
  memset(info, 0, sizeof *info);
  mxg_nccl_find(&state);
  info->found = state.found;
  info->usable = state.usable;
  snprintf(info->path, sizeof info->path, "%s", state.path);
  snprintf(info->version, sizeof info->version, "%s", state.version);
  snprintf(info->problem, sizeof info->problem, "%s", state.problem);
}

unsigned mxg_probe_cores(void) {
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  return cores > 0 ? (unsigned)cores : 1;
}

uint64_t mxg_probe_memory(void) {
  long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

bool mxg_probe_unknown_variable(size_t index, char name[128], const char **near) {
  const char *names[32];
  size_t count = 0;
  for (const mxg_variable *v = mxg_variables; v->name; v++) names[count++] = v->name;
  for (char **entry = environ; entry && *entry; entry++) {
    if (strncmp(*entry, "MXGEN_", 6) != 0) continue;
    size_t length = strcspn(*entry, "=");
    if (length > 127) length = 127;
    memcpy(name, *entry, length);
    name[length] = 0;
    bool known = false;
    for (size_t i = 0; i < count; i++) known = known || !strcmp(name, names[i]);
    if (known || index--) continue;
    *near = mxg_nearest(name, names, count);
    return true;
  }
  return false;
}
