/* main.c -- generates a bundle from a recipe when the program starts, and runs it: every rank on this machine's
** CPU, which needs no kernels. A program that runs on GPUs asks for "native": kernels for the GPUs at hand, and for
** no others. */
#include "mxgen.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const mxg_error *err) {
  fprintf(stderr, "%s: %s %s\n", mxg_status_name(err->status), err->text, err->help);
  return 1;
}

/* In a real program these are the trainer's weights and the rollout engine's buffers. */
static void fill(unsigned char *bytes, uint64_t count, uint32_t seed, unsigned char low, unsigned range) {
  for (uint64_t i = 0; i < count; i++) {
    seed = seed * 1664525u + 1013904223u;
    bytes[i] = (unsigned char)(low + (seed >> 24) % range);
  }
}

static int move(const mxg_bundle *bundle) {
  mxg_error err = {0};
  mxg_exec *exec = NULL;
  uint32_t count = mxg_bundle_tensors(bundle);
  mxg_tensor_info info = {.size = sizeof info};
  unsigned char **memory = calloc(count, sizeof *memory);
  mxg_status status =
      memory ? mxg_exec_create(&exec, bundle, NULL, &err) : MXG_ERR_NOMEM; /* NULL: the host transport */
  for (uint32_t i = 0; status == MXG_OK && i < count; i++) {
    if ((status = mxg_bundle_tensor(&info, bundle, i, &err))) break;
    memory[i] = calloc(1, info.data_bytes + info.scale_bytes + 1);
    if (!memory[i]) return fputs("out of memory\n", stderr), 1;
    unsigned char *scales = memory[i] + info.data_bytes;
    if (info.side == MXG_SOURCE) fill(memory[i], info.data_bytes, i, 0, 120);
    if (info.side == MXG_SOURCE) fill(scales, info.scale_bytes, i, 120, 16);
    status = mxg_exec_bind(exec, info.rank, info.side, info.name, memory[i], info.data_bytes,
                           info.scale_bytes ? scales : NULL, info.scale_bytes, &err);
  }
  if (status == MXG_OK) status = mxg_exec_run(exec, &err);

  uint64_t sum = 14695981039346656037u; /* FNV-1a over every byte of every target */
  for (uint32_t i = 0; status == MXG_OK && i < count; i++) {
    mxg_bundle_tensor(&info, bundle, i, &err);
    for (uint64_t b = 0; info.side == MXG_TARGET && b < info.data_bytes; b++)
      sum = (sum ^ memory[i][b]) * 1099511628211u;
  }
  if (status == MXG_OK) printf("digest %s\nchecksum %016" PRIx64 "\n", mxg_bundle_digest(bundle), sum);
  for (uint32_t i = 0; memory && i < count; i++) free(memory[i]);
  free(memory);
  mxg_exec_free(exec);
  return status == MXG_OK ? 0 : fail(&err);
}

int main(int argc, char **argv) {
  if (argc < 2) return fprintf(stderr, "usage: jit_init RECIPE [ARCHITECTURE...], such as native or sm_90a\n"), 2;
  static const char *const sets[] = {"layers=2", NULL};
  mxg_options options = MXG_OPTIONS_INIT;
  options.archs = (const char *const *)(argv + 2); /* a program for GPUs: {"native", NULL} */
  options.sets = sets;
  mxg_error err = {0};
  mxg_bundle *bundle = NULL;
  if (mxg_version_check(MXGEN_VERSION, &err)) return fail(&err); /* the library may be another one than was linked */
  if (mxg_generate(&bundle, argv[1], &options, &err)) return fail(&err);
  int code = move(bundle);
  mxg_bundle_free(bundle);
  return code;
}
