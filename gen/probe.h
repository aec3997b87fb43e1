/* probe.h -- what this machine has: driver, NCCL, cores, memory, environment variables. For `mxgen doctor`; opens
** libraries by dlopen and closes nothing, starts no context. NVRTC is compile.h's. */
#ifndef MXG_PROBE_H
#define MXG_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MXG_PROBE_DEVICES = 16 };

typedef struct mxg_device_info {
  char name[96];
  int major, minor; /* compute capability */
  uint64_t memory;
} mxg_device_info;

typedef struct mxg_driver_info {
  bool found;        /* libcuda was opened */
  bool usable;       /* cuInit succeeded */
  char path[512];    /* where it was found */
  char version[32];  /* newest CUDA version that it serves: "13.0" */
  char problem[256]; /* why it is not found or not usable; "" otherwise */
  char help[256];    /* what to do about it */
  int native;        /* CUresult of cuInit */
  int device_count;  /* devices[] holds the first MXG_PROBE_DEVICES */
  mxg_device_info devices[MXG_PROBE_DEVICES];
} mxg_driver_info;

typedef struct mxg_nccl_info {
  bool found, usable;                        /* by libmxrt's own search */
  char path[512], version[32], problem[256]; /* "" when usable */
} mxg_nccl_info;

void mxg_probe_driver(mxg_driver_info *info);
void mxg_probe_nccl(mxg_nccl_info *info);

unsigned mxg_probe_cores(void);
uint64_t mxg_probe_memory(void); /* bytes of the machine; 0: unknown */

/* The environment variables that mxgen reads, with their meaning; ends with a NULL name. */
typedef struct mxg_variable {
  const char *name, *meaning;
} mxg_variable;
extern const mxg_variable mxg_variables[];

/* The `index`-th variable of the environment that starts with MXGEN_ and is not in the table: its name in `name`, the
** nearest known one in `near` (NULL: none is near). False when there are no more. */
bool mxg_probe_unknown_variable(size_t index, char name[128], const char **near);

#endif
