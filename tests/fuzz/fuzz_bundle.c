/* fuzz_bundle.c -- any bytes as a bundle: refused, or a plan that runs, with every target byte written once.
**
** The input is a bundle's file. It is read twice: as it is, and with its size and hash made right, so that the sections
** and the plan are what must refuse it. A plan that passes is given memory of exactly its sizes and run. */
#include "bundle.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t count);

enum { most_bytes = 1 << 22 };

static void must(bool condition) {
  if (!condition) abort();
}

static bool is_small(const mxg_plan *plan) {
  uint64_t sum = plan->slot_bytes;
  for (uint32_t i = 0; i < plan->array_count && sum <= most_bytes; i++)
    if (plan->arrays[i].side != MXG_SCRATCH)
      sum += mxg_array_data_bytes(plan, &plan->arrays[i]) + mxg_array_scale_bytes(plan, &plan->arrays[i]);
  return sum <= most_bytes;
}

/* Malloc's own bytes: what is read before it is written would be seen. */
static void *memory(uint64_t bytes) {
  void *p = malloc(bytes ? (size_t)bytes : 1);
  must(p != NULL);
  return memset(p, 0x3c, (size_t)bytes);
}

static void run(const mxg_bundle *bundle, bool wires) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  if (!is_small(plan)) return;
  mxg_exec_options options = MXG_EXEC_INIT;
  options.threads = 1;
  options.wires = wires;
  mxg_exec *exec;
  mxg_error err;
  void **all = calloc((size_t)plan->array_count * 2 + 1, sizeof *all);
  must(all && mxg_exec_create(&exec, bundle, &options, &err) == MXG_OK);
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side == MXG_SCRATCH) continue;
    uint64_t data = mxg_array_data_bytes(plan, a), scale = mxg_array_scale_bytes(plan, a);
    all[2 * i] = memory(data);
    all[2 * i + 1] = scale ? memory(scale) : NULL;
    must(mxg_exec_bind(exec, a->rank, a->side, plan->strings + a->name, all[2 * i], data, all[2 * i + 1], scale,
                       &err) == MXG_OK);
  }
  must(mxg_exec_run(exec, &err) == MXG_OK);
  mxg_exec_free(exec);
  for (uint32_t i = 0; i < plan->array_count * 2; i++) free(all[i]);
  free(all);
}

static void read_one(const unsigned char *bytes, size_t count) {
  mxg_bundle *bundle;
  mxg_error err;
  mxg_status status = mxg_bundle_read(&bundle, bytes, count, "input", &err);
  must((status == MXG_OK) == (bundle != NULL));
  if (status == MXG_OK) {
    must(strlen(mxg_bundle_digest(bundle)) == 64);
    run(bundle, false);
    run(bundle, true);
  } else {
    must(status == MXG_ERR_BUNDLE && err.status == status && err.code / 100 == 7 && err.text[0] != 0);
  }
  mxg_bundle_free(bundle);
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t count) {
  read_one(bytes, count);
  if (count < 64) return 0;
  unsigned char *copy = malloc(count);
  must(copy != NULL);
  memcpy(copy, bytes, count);
  const uint64_t size = count;
  memcpy(copy + 16, &size, 8);
  mxg_bundle_seal(copy, count);
  read_one(copy, count);
  free(copy);
  return 0;
}
