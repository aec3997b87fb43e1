/* injection.c -- the smallest profiler: a library for NVTX_INJECTION64_PATH that takes ranges and keeps their
** names, for unit/test_nvtx.c. Written from the profiler's side, with NVTX's own header where the machine has it. */
#ifdef HAVE_NVTX3
#include <nvtx3/nvToolsExt.h>

#define domain_handle nvtxDomainHandle_t
#define event_attributes nvtxEventAttributes_t
#define callbacks_table NvtxExportTableCallbacks
#define get_table NvtxGetExportTableFunc_t
#define function_table NvtxFunctionTable
#define function_pointer NvtxFunctionPointer
_Static_assert(NVTX_ETID_CALLBACKS == 1 && NVTX_CB_MODULE_CORE == 1 && NVTX_CB_MODULE_CORE2 == 5, "as below");
_Static_assert(NVTX_CBID_CORE2_DomainRangePushEx == 4 && NVTX_CBID_CORE2_DomainRangePop == 5, "as below");
_Static_assert(NVTX_CBID_CORE2_DomainCreateA == 12 && NVTX_CBID_CORE2_SIZE == 16 && NVTX_CBID_CORE_SIZE == 16,
               "as below");
_Static_assert(NVTX_MESSAGE_TYPE_ASCII == 1 && NVTX_VERSION == 3, "as below");
#else
#include <stddef.h>
#include <stdint.h>

typedef struct domain *domain_handle;
typedef struct event_attributes {
  uint16_t version, size;
  uint32_t category;
  int32_t colorType;
  uint32_t color;
  int32_t payloadType, reserved0;
  uint64_t payload;
  int32_t messageType;
  union {
    const char *ascii;
    const void *other;
  } message;
} event_attributes;
typedef void (*function_pointer)(void);
typedef function_pointer **function_table;
typedef struct callbacks_table {
  size_t struct_size;
  int (*GetModuleFunctionTable)(int module, function_table *table, unsigned *size);
} callbacks_table;
typedef const void *(*get_table)(uint32_t id);
#endif

#include "injection.h"

#include <string.h>

static injection_record record;
static char home; /* its address is the domain */

static domain_handle create_domain(const char *name) {
  strncpy(record.domain, name, sizeof record.domain - 1);
  return (domain_handle)(void *)&home;
}

static int push(domain_handle domain, const event_attributes *range) {
  if ((void *)domain != &home || range->version != 3 || range->size != sizeof *range || range->messageType != 1)
    record.wrong++;
  if (record.count < sizeof record.names / sizeof *record.names)
    strncpy(record.names[record.count], range->message.ascii, sizeof record.names[0] - 1);
  record.count++;
  if (++record.depth > record.deepest) record.deepest = record.depth;
  return record.depth - 1;
}

static int pop(domain_handle domain) {
  if ((void *)domain != &home || record.depth == 0) record.wrong++;
  return --record.depth;
}

__attribute__((visibility("default"))) const injection_record *injection_look(void) { return &record; }

int InitializeInjectionNvtx2(get_table table);
__attribute__((visibility("default"))) int InitializeInjectionNvtx2(get_table table) {
  const callbacks_table *callbacks = table(1);
  function_table core = NULL, core2 = NULL, rest = NULL;
  unsigned core_size = 0, size = 0;
  record.attached++;
  if (!callbacks || callbacks->struct_size < sizeof *callbacks || table(99)) return 0;
  if (!callbacks->GetModuleFunctionTable(1, &core, &core_size) || core_size < 16) return 0;
  if (!callbacks->GetModuleFunctionTable(5, &core2, &size) || size < 16) return 0;
  for (int module = 1; module < 7; module++) /* as some profilers do */
    if (!callbacks->GetModuleFunctionTable(module, &rest, &core_size) || !rest || core_size < 7) return 0;
  if (callbacks->GetModuleFunctionTable(77, NULL, NULL)) return 0;
  *core2[4] = (function_pointer)push;
  *core2[5] = (function_pointer)pop;
  *core2[12] = (function_pointer)create_domain;
  return 1;
}
