/* driver.c -- see driver.h. Owns the table of the driver's functions and what a failure of theirs means; what is
** launched, copied and waited for is the transports'. */
#define _GNU_SOURCE /* dladdr, RTLD_NOLOAD */
#include "driver.h"

#include "error.h"
#include "memory.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { cuda_success = 0, cuda_stub = 34, cuda_not_ready = 600, cuda_peer_enabled = 704, oldest_version = 12000 };

/* CUdevice_attribute */
enum {
  attribute_l2_bytes = 38,
  attribute_processors = 16,
  attribute_major = 75,
  attribute_minor = 76,
  attribute_shared_bytes = 81, /* of a multiprocessor */
};

/* CUfunction_attribute */
enum { function_shared = 1, function_local = 3, function_registers = 4, function_most_dynamic = 8 };

typedef struct cu_context cu_context;
typedef struct cu_graph cu_graph;

/* CUDA_MEMCPY2D: rows on both sides at a distance of their own. */
typedef struct cu_copy_rows {
  size_t src_x, src_y;
  int src_kind;
  const void *src_host;
  uint64_t src;
  void *src_array;
  size_t src_pitch, dst_x, dst_y;
  int dst_kind;
  void *dst_host;
  uint64_t dst;
  void *dst_array;
  size_t dst_pitch, width, height;
} cu_copy_rows;

/* CUlaunchAttribute, CUlaunchConfig */
enum { attribute_stream_serialization = 6 };

typedef struct launch_attribute {
  int id, pad;
  int value[16];
} launch_attribute;

typedef struct launch_config {
  unsigned grid[3], block[3], shared_bytes;
  mxg_cu_stream *stream;
  const launch_attribute *attributes;
  unsigned attribute_count;
} launch_config;

/* X(name as the library exports it, field, parameters): every function returns a CUresult, an int. */
#define FUNCTIONS(X)                                                                                                 \
  X("cuInit", init, (unsigned flags))                                                                                \
  X("cuDriverGetVersion", version, (int *version))                                                                   \
  X("cuGetErrorName", error_name, (int result, const char **name))                                                   \
  X("cuGetErrorString", error_text, (int result, const char **text))                                                 \
  X("cuDeviceGetCount", device_count, (int *count))                                                                  \
  X("cuDeviceGet", device_get, (int *device, int ordinal))                                                           \
  X("cuDeviceGetName", device_name, (char *name, int room, int device))                                              \
  X("cuDeviceGetAttribute", device_attribute, (int *value, int attribute, int device))                               \
  X("cuDeviceTotalMem_v2", device_memory, (size_t * bytes, int device))                                              \
  X("cuDeviceGetPCIBusId", device_bus_name, (char *name, int room, int device))                                      \
  X("cuDeviceGetByPCIBusId", device_by_bus_name, (int *device, const char *name))                                    \
  X("cuDeviceCanAccessPeer", device_can_reach, (int *can, int device, int peer))                                     \
  X("cuDevicePrimaryCtxRetain", primary_retain, (cu_context * *context, int device))                                 \
  X("cuDevicePrimaryCtxRelease_v2", primary_release, (int device))                                                   \
  X("cuCtxSetCurrent", context_use, (cu_context * context))                                                          \
  X("cuCtxGetDevice", context_device, (int *device))                                                                 \
  X("cuCtxGetCurrent", context_current, (cu_context * *context))                                                     \
  X("cuCtxEnablePeerAccess", context_reach, (cu_context * peer, unsigned flags))                                     \
  X("cuMemGetInfo_v2", memory_info, (size_t * free_bytes, size_t * all_bytes))                                       \
  X("cuMemAlloc_v2", memory_alloc, (uint64_t * address, size_t bytes))                                               \
  X("cuMemFree_v2", memory_free, (uint64_t address))                                                                 \
  X("cuMemHostAlloc", pinned_alloc, (void **memory, size_t bytes, unsigned flags))                                   \
  X("cuMemFreeHost", pinned_free, (void *memory))                                                                    \
  X("cuMemHostRegister_v2", host_register, (void *memory, size_t bytes, unsigned flags))                             \
  X("cuMemHostUnregister", host_unregister, (void *memory))                                                          \
  X("cuMemHostGetDevicePointer_v2", host_address, (uint64_t * address, void *memory, unsigned flags))                \
  X("cuMemGetAddressRange_v2", memory_range, (uint64_t * base, size_t * bytes, uint64_t address))                    \
  X("cuIpcGetMemHandle", ipc_export, (mxg_gpu_handle * handle, uint64_t address))                                    \
  X("cuIpcOpenMemHandle_v2", ipc_import, (uint64_t * address, mxg_gpu_handle handle, unsigned flags))                \
  X("cuIpcCloseMemHandle", ipc_close, (uint64_t address))                                                            \
  X("cuMemcpyAsync", memory_copy, (uint64_t dst, uint64_t src, size_t bytes, mxg_cu_stream * stream))                \
  X("cuMemcpy2DAsync_v2", memory_copy_rows, (const cu_copy_rows *what, mxg_cu_stream *stream))                       \
  X("cuPointerGetAttribute", pointer_attribute, (void *value, int attribute, uint64_t address))                      \
  X("cuMemsetD8Async", memory_fill, (uint64_t dst, unsigned char byte, size_t bytes, mxg_cu_stream *stream))         \
  X("cuMemsetD2D8Async", memory_fill_rows,                                                                           \
    (uint64_t dst, size_t pitch, unsigned char byte, size_t width, size_t height, mxg_cu_stream *stream))            \
  X("cuStreamCreate", stream_create, (mxg_cu_stream * *stream, unsigned flags))                                      \
  X("cuStreamDestroy_v2", stream_free, (mxg_cu_stream * stream))                                                     \
  X("cuStreamSynchronize", stream_wait, (mxg_cu_stream * stream))                                                    \
  X("cuStreamQuery", stream_query, (mxg_cu_stream * stream))                                                         \
  X("cuStreamWriteValue32_v2", stream_write,                                                                         \
    (mxg_cu_stream * stream, uint64_t address, uint32_t value, unsigned flags))                                      \
  X("cuStreamWaitValue32_v2", stream_await,                                                                          \
    (mxg_cu_stream * stream, uint64_t address, uint32_t value, unsigned flags))                                      \
  X("cuStreamWaitEvent", stream_follow, (mxg_cu_stream * stream, mxg_cu_event * event, unsigned flags))              \
  X("cuStreamGetCaptureInfo_v2", capture_info,                                                                       \
    (mxg_cu_stream * stream, int *status, uint64_t *id, cu_graph **graph, const void **nodes, size_t *count))        \
  X("cuStreamBeginCapture_v2", capture_begin, (mxg_cu_stream * stream, int mode))                                    \
  X("cuStreamEndCapture", capture_end, (mxg_cu_stream * stream, cu_graph * *graph))                                  \
  X("cuGraphInstantiateWithFlags", graph_instantiate, (mxg_cu_graph * *out, cu_graph * graph, uint64_t flags))       \
  X("cuGraphDestroy", graph_free, (cu_graph * graph))                                                                \
  X("cuGraphLaunch", graph_launch, (mxg_cu_graph * graph, mxg_cu_stream * stream))                                   \
  X("cuGraphExecDestroy", graph_exec_free, (mxg_cu_graph * graph))                                                   \
  X("cuEventCreate", event_create, (mxg_cu_event * *event, unsigned flags))                                          \
  X("cuEventDestroy_v2", event_free, (mxg_cu_event * event))                                                         \
  X("cuEventRecord", event_record, (mxg_cu_event * event, mxg_cu_stream * stream))                                   \
  X("cuEventQuery", event_query, (mxg_cu_event * event))                                                             \
  X("cuEventSynchronize", event_wait, (mxg_cu_event * event))                                                        \
  X("cuEventElapsedTime", event_between, (float *milliseconds, mxg_cu_event *start, mxg_cu_event *end))              \
  X("cuModuleLoadData", module_load, (mxg_cu_module * *module, const void *image))                                   \
  X("cuModuleUnload", module_free, (mxg_cu_module * module))                                                         \
  X("cuModuleGetFunction", module_function, (mxg_cu_function * *function, mxg_cu_module * module, const char *name)) \
  X("cuFuncGetAttribute", function_attribute, (int *value, int attribute, mxg_cu_function *function))                \
  X("cuFuncSetAttribute", function_allow, (mxg_cu_function * function, int attribute, int value))                    \
  X("cuOccupancyMaxActiveBlocksPerMultiprocessor", function_blocks,                                                  \
    (int *blocks, mxg_cu_function *function, int threads, size_t shared_bytes))                                      \
  X("cuLaunchKernelEx", launch,                                                                                      \
    (const launch_config *config, mxg_cu_function *function, void **parameters, void **extra))

static struct {
#define X(symbol, field, parameters) int(*field) parameters;
  FUNCTIONS(X)
#undef X
} cu;

struct mxg_gpu {
  mxg_gpu_info info;
  int device;
  cu_context *context;
};

/* ---- finding the driver ------------------------------------------------------------------------------------------ */

/* The first of the functions that a library lacks; "" when it has all. Fills the table. */
static const char *take_functions(void *library) {
  const char *missing = "";
#define X(symbol, field, parameters)                    \
  *(void **)(void *)&cu.field = dlsym(library, symbol); \
  if (!cu.field && !*missing) missing = symbol;
  FUNCTIONS(X)
#undef X
  return missing;
}

static void say(mxg_driver_state *state, const char *problem, const char *help) {
  snprintf(state->problem, sizeof state->problem, "%s", problem);
  snprintf(state->help, sizeof state->help, "%s", help);
}

static void say_init_failed(mxg_driver_state *state) {
  switch (state->native) {
  case cuda_stub:
    say(state, "this is the toolkit's stub, not a driver (cuInit gives 34)",
        "take the folder 'stubs' out of LD_LIBRARY_PATH");
    return;
  case 35: say(state, "the kernel's driver is older than this libcuda (cuInit gives 35)", "update the driver"); return;
  case 100:
    say(state, "the driver sees no GPU (cuInit gives 100)",
        "in a container, start it with access to the GPUs; otherwise see nvidia-smi");
    return;
  case 803:
    say(state, "libcuda and the kernel's driver are of different versions (cuInit gives 803)",
        "install one version of both, or reboot after an update");
    return;
  case 804:
    say(state, "the forward compatibility libcuda does not serve this GPU (cuInit gives 804)",
        "take its folder out of LD_LIBRARY_PATH");
    return;
  case 999:
    say(state, "cuInit gives 999 (unknown)",
        "see nvidia-smi and the kernel's log; the module nvidia_uvm may be missing");
    return;
  default: snprintf(state->problem, sizeof state->problem, "cuInit gives %d", state->native);
  }
}

/* The copy that is in the process already, else the one that MXGEN_LIBCUDA names, else the loader's. */
static void *open_library(mxg_driver_state *state) {
  const char *chosen = getenv("MXGEN_LIBCUDA");
  if (chosen && !*chosen) chosen = NULL;
  void *library = chosen ? NULL : dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  if (!library) library = dlopen(chosen ? chosen : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library) return library;
  const char *reason = dlerror();
  snprintf(state->problem, sizeof state->problem, "%.240s", reason ? reason : "libcuda.so.1 was not found");
  snprintf(state->help, sizeof state->help, "only needed to run on GPUs: install NVIDIA's driver");
  return NULL;
}

static void find(mxg_driver_state *state) {
  void *library = open_library(state);
  if (!library) return;
  state->found = true;
  const char *missing = take_functions(library);
  Dl_info where;
  if (cu.init && dladdr(*(void **)(void *)&cu.init, &where) && where.dli_fname)
    snprintf(state->path, sizeof state->path, "%s", where.dli_fname);
  int version = 0;
  if (!cu.init || !cu.version) {
    say(state, "it is no libcuda: it has no cuInit", "unset MXGEN_LIBCUDA");
    return;
  }
  state->native = cu.init(0);
  if (state->native != cuda_stub && cu.version(&version) == cuda_success)
    snprintf(state->version, sizeof state->version, "%d.%d", version / 1000, version % 1000 / 10);
  if (state->native) {
    say_init_failed(state);
  } else if (version < oldest_version) {
    snprintf(state->problem, sizeof state->problem, "it serves CUDA %s, too old: 12.0 or newer is needed",
             state->version);
    snprintf(state->help, sizeof state->help, "update the driver");
  } else if (*missing) {
    snprintf(state->problem, sizeof state->problem, "it has no %s", missing);
    snprintf(state->help, sizeof state->help, "update the driver");
  } else {
    state->usable = true;
    if (cu.device_count(&state->devices)) state->devices = 0;
  }
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static mxg_driver_state known; /* the library stays open for the life of the process */

static void find_once(void) { find(&known); }

void mxg_driver_find(mxg_driver_state *state) {
  (void)pthread_once(&once, find_once);
  *state = known;
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static mxg_status need_driver(mxg_error *err) {
  (void)pthread_once(&once, find_once);
  if (known.usable) return MXG_OK;
  mxg_fail(err, MXG_ERR_ENVIRONMENT, known.found ? 522 : 521, "there is no CUDA driver that works: %.300s",
           known.problem);
  if (err) err->native = known.native;
  if (known.found) mxg_error_note(err, "it is %.400s", known.path);
  if (*known.help) mxg_error_help(err, "%s", known.help);
  return MXG_ERR_ENVIRONMENT;
}

static mxg_status check(int result, const char *what, mxg_error *err) {
  if (result == cuda_success) return MXG_OK;
  const char *name = NULL, *text = NULL;
  if (cu.error_name(result, &name)) name = NULL;
  if (cu.error_text(result, &text)) text = NULL;
  mxg_fail(err, MXG_ERR_CUDA, 641, "%s: %s (%.200s)", what, name ? name : "unknown CUresult", text ? text : "");
  if (err) err->native = result;
  return MXG_ERR_CUDA;
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

mxg_status mxg_gpu_count(int *count, mxg_error *err) {
  *count = 0;
  MXG_TRY(need_driver(err));
  *count = known.devices;
  return MXG_OK;
}

static mxg_status ask(mxg_gpu_info *info, int *device, int ordinal, mxg_error *err) {
  MXG_TRY(need_driver(err));
  if (ordinal < 0 || ordinal >= known.devices)
    return mxg_fail(err, MXG_ERR_USAGE, 523, "there is no GPU %d: this process sees %d", ordinal, known.devices);
  size_t memory = 0;
  int l2 = 0;
  *info = (mxg_gpu_info){.ordinal = ordinal};
  MXG_TRY(check(cu.device_get(device, ordinal), "cuDeviceGet", err));
  MXG_TRY(check(cu.device_name(info->name, (int)sizeof info->name, *device), "cuDeviceGetName", err));
  MXG_TRY(check(cu.device_attribute(&info->major, attribute_major, *device), "cuDeviceGetAttribute", err));
  MXG_TRY(check(cu.device_attribute(&info->minor, attribute_minor, *device), "cuDeviceGetAttribute", err));
  MXG_TRY(check(cu.device_attribute(&info->processors, attribute_processors, *device), "cuDeviceGetAttribute", err));
  MXG_TRY(check(cu.device_attribute(&l2, attribute_l2_bytes, *device), "cuDeviceGetAttribute", err));
  MXG_TRY(check(cu.device_memory(&memory, *device), "cuDeviceTotalMem", err));
  info->memory = memory;
  info->l2_bytes = l2 > 0 ? (uint64_t)l2 : 0;
  return MXG_OK;
}

mxg_status mxg_gpu_ask(mxg_gpu_info *info, int ordinal, mxg_error *err) {
  int device = 0;
  return ask(info, &device, ordinal, err);
}

mxg_status mxg_gpu_open(mxg_gpu **out, int ordinal, mxg_error *err) {
  *out = NULL;
  mxg_gpu *gpu = mxg_alloc(sizeof *gpu);
  if (!gpu) return mxg_fail_nomem(err);
  mxg_status status = ask(&gpu->info, &gpu->device, ordinal, err);
  if (status == MXG_OK) status = check(cu.primary_retain(&gpu->context, gpu->device), "cuDevicePrimaryCtxRetain", err);
  if (status == MXG_OK) {
    status = check(cu.context_use(gpu->context), "cuCtxSetCurrent", err);
    if (status != MXG_OK) (void)cu.primary_release(gpu->device);
  }
  if (status == MXG_OK) {
    *out = gpu;
  } else {
    mxg_free(gpu);
  }
  return status;
}

void mxg_gpu_close(mxg_gpu *gpu) {
  if (!gpu) return;
  (void)cu.primary_release(gpu->device);
  mxg_free(gpu);
}

const mxg_gpu_info *mxg_gpu_about(const mxg_gpu *gpu) { return &gpu->info; }

mxg_status mxg_gpu_use(const mxg_gpu *gpu, mxg_error *err) {
  return check(cu.context_use(gpu->context), "cuCtxSetCurrent", err);
}

void *mxg_gpu_current(void) {
  cu_context *context = NULL;
  (void)pthread_once(&once, find_once);
  return known.usable && cu.context_current(&context) == cuda_success ? context : NULL;
}

void mxg_gpu_restore(void *current) {
  if (known.usable) (void)cu.context_use(current);
}

mxg_status mxg_gpu_free_bytes(uint64_t *bytes, mxg_error *err) {
  size_t free_bytes = 0, all_bytes = 0;
  mxg_status status = check(cu.memory_info(&free_bytes, &all_bytes), "cuMemGetInfo", err);
  *bytes = free_bytes;
  return status;
}

mxg_status mxg_gpu_reach(const mxg_gpu *gpu, const mxg_gpu *peer, mxg_error *err) {
  int can = 0;
  if (gpu->device == peer->device) return MXG_OK;
  MXG_TRY(check(cu.device_can_reach(&can, gpu->device, peer->device), "cuDeviceCanAccessPeer", err));
  if (!can)
    return mxg_fail(err, MXG_ERR_UNSUPPORTED, 642, "GPU %d cannot reach the memory of GPU %d", gpu->info.ordinal,
                    peer->info.ordinal);
  MXG_TRY(mxg_gpu_use(gpu, err));
  int result = cu.context_reach(peer->context, 0);
  return check(result == cuda_peer_enabled ? cuda_success : result, "cuCtxEnablePeerAccess", err);
}

mxg_status mxg_gpu_bus_name(char *text, size_t room, int ordinal, mxg_error *err) {
  mxg_gpu_info info;
  int device = 0;
  MXG_TRY(ask(&info, &device, ordinal, err));
  return check(cu.device_bus_name(text, (int)room, device), "cuDeviceGetPCIBusId", err);
}

mxg_status mxg_gpu_can_reach(bool *can, int ordinal, const char *bus_name, mxg_error *err) {
  mxg_gpu_info info;
  int device = 0, peer = 0, reaches = 0;
  *can = true;
  MXG_TRY(ask(&info, &device, ordinal, err));
  if (cu.device_by_bus_name(&peer, bus_name) != cuda_success || peer == device) return MXG_OK;
  MXG_TRY(check(cu.device_can_reach(&reaches, device, peer), "cuDeviceCanAccessPeer", err));
  *can = reaches != 0;
  return MXG_OK;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

mxg_status mxg_gpu_alloc(uint64_t *address, uint64_t bytes, mxg_error *err) {
  *address = 0;
  int result = cu.memory_alloc(address, bytes ? bytes : 1);
  MXG_TRY(check(result, "cuMemAlloc", err));
  return MXG_OK;
}

void mxg_gpu_free(uint64_t address) {
  if (address) (void)cu.memory_free(address);
}

mxg_status mxg_gpu_alloc_pinned(void **out, uint64_t bytes, mxg_error *err) {
  *out = NULL;
  return check(cu.pinned_alloc(out, bytes ? bytes : 1, 1 /* portable: pinned for every context */), "cuMemHostAlloc",
               err);
}

void mxg_gpu_free_pinned(void *memory) {
  if (memory) (void)cu.pinned_free(memory);
}

mxg_status mxg_gpu_copy(uint64_t dst, uint64_t src, uint64_t bytes, mxg_cu_stream *stream, mxg_error *err) {
  if (!bytes) return MXG_OK;
  return check(cu.memory_copy(dst, src, bytes, stream), "cuMemcpyAsync", err);
}

mxg_status mxg_gpu_copy_rows(uint64_t dst, uint64_t dst_pitch, uint64_t src, uint64_t src_pitch, uint64_t width,
                             uint64_t height, mxg_cu_stream *stream, mxg_error *err) {
  if (!width || !height) return MXG_OK;
  const int by_address = 4; /* CU_MEMORYTYPE_UNIFIED: the address says whose memory it is */
  cu_copy_rows rows = {.src_kind = by_address, .dst_kind = by_address};
  rows.src = src, rows.src_pitch = src_pitch;
  rows.dst = dst, rows.dst_pitch = dst_pitch;
  rows.width = width, rows.height = height;
  return check(cu.memory_copy_rows(&rows, stream), "cuMemcpy2DAsync", err);
}

mxg_status mxg_gpu_owner(int *ordinal, uint64_t address, mxg_error *err) {
  const int memory_kind = 2, device_ordinal = 9; /* CUpointer_attribute */
  unsigned kind = 0;
  *ordinal = -1;
  MXG_TRY(need_driver(err));
  /* Memory that the driver does not know is an invalid value to it. */
  if (cu.pointer_attribute(&kind, memory_kind, address) != cuda_success || kind != 2) return MXG_OK;
  return check(cu.pointer_attribute(ordinal, device_ordinal, address), "cuPointerGetAttribute", err);
}

mxg_status mxg_gpu_home(uint64_t *begin, uint64_t address, mxg_error *err) {
  const int range_start = 11; /* CUpointer_attribute */
  *begin = 0;
  if (address == 0) return MXG_OK;
  return check(cu.pointer_attribute(begin, range_start, address), "cuPointerGetAttribute", err);
}

mxg_status mxg_gpu_fill(uint64_t dst, uint8_t byte, uint64_t bytes, mxg_cu_stream *stream, mxg_error *err) {
  if (!bytes) return MXG_OK;
  return check(cu.memory_fill(dst, byte, bytes, stream), "cuMemsetD8Async", err);
}

mxg_status mxg_gpu_fill_rows(uint64_t dst, uint64_t pitch, uint8_t byte, uint64_t width, uint64_t height,
                             mxg_cu_stream *stream, mxg_error *err) {
  if (!width || !height) return MXG_OK;
  return check(cu.memory_fill_rows(dst, pitch, byte, width, height, stream), "cuMemsetD2D8Async", err);
}

/* ---- memory of other processes ----------------------------------------------------------------------------------- */

mxg_status mxg_gpu_range(uint64_t *base, uint64_t *bytes, uint64_t address, mxg_error *err) {
  size_t count = 0;
  *base = 0;
  mxg_status status = check(cu.memory_range(base, &count, address), "cuMemGetAddressRange", err);
  *bytes = count;
  return status;
}

mxg_status mxg_gpu_export(mxg_gpu_handle *handle, uint64_t base, mxg_error *err) {
  return check(cu.ipc_export(handle, base), "cuIpcGetMemHandle", err);
}

mxg_status mxg_gpu_import(uint64_t *base, const mxg_gpu_handle *handle, mxg_error *err) {
  *base = 0;
  return check(cu.ipc_import(base, *handle, 1 /* with peer access */), "cuIpcOpenMemHandle", err);
}

void mxg_gpu_import_close(uint64_t base) {
  if (base) (void)cu.ipc_close(base);
}

mxg_status mxg_gpu_register(uint64_t *address, void *memory, uint64_t bytes, mxg_error *err) {
  *address = 0;
  MXG_TRY(check(cu.host_register(memory, bytes, 3 /* for every context, with an address of the GPU */),
                "cuMemHostRegister", err));
  mxg_status status = check(cu.host_address(address, memory, 0), "cuMemHostGetDevicePointer", err);
  if (status != MXG_OK) (void)cu.host_unregister(memory);
  return status;
}

void mxg_gpu_unregister(void *memory) {
  if (memory) (void)cu.host_unregister(memory);
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

mxg_status mxg_stream_create(mxg_cu_stream **out, mxg_error *err) {
  *out = NULL;
  return check(cu.stream_create(out, 1 /* does not wait for the default stream */), "cuStreamCreate", err);
}

void mxg_stream_free(mxg_cu_stream *stream) {
  if (stream) (void)cu.stream_free(stream);
}

mxg_status mxg_stream_wait(mxg_cu_stream *stream, mxg_error *err) {
  return check(cu.stream_wait(stream), "cuStreamSynchronize", err);
}

mxg_status mxg_stream_done(bool *done, mxg_cu_stream *stream, mxg_error *err) {
  int result = cu.stream_query(stream);
  *done = result == cuda_success;
  return check(result == cuda_not_ready ? cuda_success : result, "cuStreamQuery", err);
}

mxg_status mxg_stream_write(mxg_cu_stream *stream, uint64_t flag, uint32_t value, mxg_error *err) {
  return check(cu.stream_write(stream, flag, value, 0 /* after all before it, for the whole system */),
               "cuStreamWriteValue32", err);
}

mxg_status mxg_stream_await(mxg_cu_stream *stream, uint64_t flag, uint32_t value, bool exactly, mxg_error *err) {
  return check(cu.stream_await(stream, flag, value, exactly ? 1 : 0), "cuStreamWaitValue32", err);
}

mxg_status mxg_event_create(mxg_cu_event **out, bool timed, mxg_error *err) {
  *out = NULL;
  return check(cu.event_create(out, timed ? 0 : 2 /* no timing */), "cuEventCreate", err);
}

void mxg_event_free(mxg_cu_event *event) {
  if (event) (void)cu.event_free(event);
}

mxg_status mxg_event_record(mxg_cu_event *event, mxg_cu_stream *stream, mxg_error *err) {
  return check(cu.event_record(event, stream), "cuEventRecord", err);
}

mxg_status mxg_event_follow(mxg_cu_stream *stream, mxg_cu_event *event, mxg_error *err) {
  return check(cu.stream_follow(stream, event, 0), "cuStreamWaitEvent", err);
}

mxg_status mxg_event_wait(mxg_cu_event *event, mxg_error *err) {
  return check(cu.event_wait(event), "cuEventSynchronize", err);
}

mxg_status mxg_event_done(bool *done, mxg_cu_event *event, mxg_error *err) {
  int result = cu.event_query(event);
  *done = result == cuda_success;
  return check(result == cuda_not_ready ? cuda_success : result, "cuEventQuery", err);
}

mxg_status mxg_event_between(float *milliseconds, mxg_cu_event *start, mxg_cu_event *end, mxg_error *err) {
  *milliseconds = 0;
  return check(cu.event_between(milliseconds, start, end), "cuEventElapsedTime", err);
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

mxg_status mxg_module_load(mxg_cu_module **out, const void *cubin, mxg_error *err) {
  *out = NULL;
  return check(cu.module_load(out, cubin), "cuModuleLoadData", err);
}

void mxg_module_free(mxg_cu_module *module) {
  if (module) (void)cu.module_free(module);
}

mxg_status mxg_module_function(mxg_cu_function **out, mxg_cu_module *module, const char *name, mxg_error *err) {
  *out = NULL;
  return check(cu.module_function(out, module, name), "cuModuleGetFunction", err);
}

mxg_status mxg_function_about(mxg_function_use *use, mxg_cu_function *function, unsigned threads, mxg_error *err) {
  *use = (mxg_function_use){0};
  MXG_TRY(check(cu.function_attribute(&use->registers, function_registers, function), "cuFuncGetAttribute", err));
  MXG_TRY(check(cu.function_attribute(&use->shared_bytes, function_shared, function), "cuFuncGetAttribute", err));
  MXG_TRY(check(cu.function_attribute(&use->local_bytes, function_local, function), "cuFuncGetAttribute", err));
  return check(cu.function_blocks(&use->blocks_per_processor, function, (int)threads, 0),
               "cuOccupancyMaxActiveBlocksPerMultiprocessor", err);
}

mxg_status mxg_function_spread(unsigned *shared_bytes, mxg_cu_function *function, unsigned blocks, mxg_error *err) {
  enum {
    own = 1024,
    unit = 128,
    free_of_asking = 48 << 10
  }; /* what a block takes besides; how shared memory is given */
  int device = 0, all = 0, fixed = 0;
  *shared_bytes = 0;
  if (blocks == 0) return MXG_OK;
  MXG_TRY(check(cu.context_device(&device), "cuCtxGetDevice", err));
  MXG_TRY(check(cu.device_attribute(&all, attribute_shared_bytes, device), "cuDeviceGetAttribute", err));
  MXG_TRY(check(cu.function_attribute(&fixed, function_shared, function), "cuFuncGetAttribute", err));
  unsigned each = (unsigned)all / blocks, taken = own + (unsigned)fixed;
  if (each < taken + unit) return MXG_OK; /* it takes that much by itself */
  unsigned dynamic = (each - taken) / unit * unit;
  if (dynamic + (unsigned)fixed > free_of_asking)
    MXG_TRY(check(cu.function_allow(function, function_most_dynamic, (int)dynamic), "cuFuncSetAttribute", err));
  *shared_bytes = dynamic;
  return MXG_OK;
}

mxg_status mxg_gpu_launch_spread(mxg_cu_function *function, unsigned threads, unsigned shared_bytes,
                                 const mxg_gpu_work *work, mxg_cu_stream *stream, mxg_error *err) {
  if (!work->tiles || !work->count) return MXG_OK;
  if (work->tiles > INT32_MAX)
    return mxg_fail(err, MXG_ERR_UNSUPPORTED, 643, "%llu tiles are more than one launch takes",
                    (unsigned long long)work->tiles);
  uint64_t entries = work->entries;
  uint32_t count = work->count;
  mx_entry only = *work->first;
  void *parameters[] = {&entries, &count, &only}; /* MX_WORK of the templates */
  const launch_attribute early = {.id = attribute_stream_serialization, .value = {1}};
  const launch_config config = {.grid = {(unsigned)work->tiles, 1, 1},
                                .block = {threads, 1, 1},
                                .shared_bytes = shared_bytes,
                                .stream = stream,
                                .attributes = &early,
                                .attribute_count = work->early};
  return check(cu.launch(&config, function, parameters, NULL), "cuLaunchKernelEx", err);
}

mxg_status mxg_gpu_launch(mxg_cu_function *function, unsigned threads, const mxg_gpu_work *work, mxg_cu_stream *stream,
                          mxg_error *err) {
  return mxg_gpu_launch_spread(function, threads, 0, work, stream, err);
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

mxg_status mxg_stream_capture(uint64_t *id, mxg_cu_stream *stream, mxg_error *err) {
  int status = 0;
  *id = 0;
  MXG_TRY(check(cu.capture_info(stream, &status, id, NULL, NULL, NULL), "cuStreamGetCaptureInfo", err));
  if (status == 2) /* CU_STREAM_CAPTURE_STATUS_INVALIDATED */
    return mxg_fail(err, MXG_ERR_USAGE, 684, "the capture of a stream has failed already");
  if (status == 0) *id = 0;
  return MXG_OK;
}

mxg_status mxg_graph_begin(mxg_cu_stream *stream, mxg_error *err) {
  /* No thread is held to capturing rules: NCCL connects ranks when it is first given their work, which it does on the
  ** thread that captures where a communicator is a blocking one. */
  return check(cu.capture_begin(stream, 2 /* CU_STREAM_CAPTURE_MODE_RELAXED */), "cuStreamBeginCapture", err);
}

mxg_status mxg_graph_end(mxg_cu_graph **out, mxg_cu_stream *stream, mxg_error *err) {
  *out = NULL;
  cu_graph *graph = NULL;
  MXG_TRY(check(cu.capture_end(stream, &graph), "cuStreamEndCapture", err));
  mxg_status status = check(cu.graph_instantiate(out, graph, 0), "cuGraphInstantiate", err);
  (void)cu.graph_free(graph);
  return status;
}

mxg_status mxg_graph_launch(mxg_cu_graph *graph, mxg_cu_stream *stream, mxg_error *err) {
  return check(cu.graph_launch(graph, stream), "cuGraphLaunch", err);
}

void mxg_graph_free(mxg_cu_graph *graph) {
  if (graph) (void)cu.graph_exec_free(graph);
}
