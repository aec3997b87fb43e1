/* compile.h: NVRTC is found or its absence is explained; every family compiles; same source, same bytes. Skips what
 * needs NVRTC on a machine without it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compile.h"
#include "cubin.h"
#include "error.h"

static const mxg_encoding mxfp8 = {
    .elem = MX_E4M3, .scale = MX_SCALE_E8M0, .rule = MX_RCEIL, .block_rows = 1, .block_cols = 32};
static const mxg_encoding columnwise = {
    .elem = MX_E5M2, .scale = MX_SCALE_E8M0, .layout = MX_SWIZZLED, .rule = MX_EVEN, .block_rows = 32, .block_cols = 1};
static const mxg_encoding square = {.elem = MX_E4M3,
                                    .scale = MX_SCALE_E8M0,
                                    .rule = MX_FLOOR,
                                    .nan = MX_NAN_ELEMENT,
                                    .block_rows = 32,
                                    .block_cols = 32};
static const mxg_encoding block = {.elem = MX_E4M3, .scale = MX_SCALE_FP32, .block_rows = 128, .block_cols = 128};
static const mxg_encoding whole = {
    .elem = MX_E4M3, .scale = MX_SCALE_FP32, .block_rows = MX_WHOLE, .block_cols = MX_WHOLE};
static const mxg_encoding bf16 = {.elem = MX_BF16}, fp16 = {.elem = MX_FP16}, fp32 = {.elem = MX_FP32};
static const mxg_encoding scratch = {
    .elem = MX_FP32, .scale = MX_SCALE_AMAX, .block_rows = MX_WHOLE, .block_cols = MX_WHOLE};

typedef struct shape {
  mxg_family family;
  const mxg_encoding *src, *dst;
  uint32_t cols, vec, tile_units;
} shape;

/* Every family; wide and narrow accesses; constant and open column counts; one scale a run and one an element. */
static const shape shapes[] = {
    {MXG_MOVE, &mxfp8, &mxfp8, 4096, 16, 1024},
    {MXG_MOVE, &square, &columnwise, 0, 4, 1024},
    {MXG_DEQUANTIZE, &mxfp8, &bf16, 4096, 8, 1024},
    {MXG_DEQUANTIZE, &columnwise, &fp16, 0, 1, 1024},
    {MXG_DEQUANTIZE, &block, &fp32, 7168, 16, 512},
    {MXG_QUANTIZE_ROWWISE, &bf16, &mxfp8, 4096, 8, 256},
    {MXG_QUANTIZE_ROWWISE, &block, &mxfp8, 0, 1, 256},
    {MXG_QUANTIZE_COLUMNWISE, &bf16, &columnwise, 4096, 8, 512},
    {MXG_QUANTIZE_COLUMNWISE, &mxfp8, &columnwise, 0, 1, 256},
    {MXG_QUANTIZE_SQUARE, &mxfp8, &block, 2048, 8, 1},
    {MXG_QUANTIZE_SQUARE, &bf16, &square, 0, 2, 8},
    {MXG_AMAX, &scratch, &scratch, 0, 4, 2048},
    {MXG_QUANTIZE_WHOLE, &scratch, &whole, 0, 4, 2048},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct fixture {
  mxg_arena arena;
  mxg_kernel kernels[SHAPES];
  const mxg_source *sources;
} fixture;

static int emit_all(void **state) {
  static fixture f;
  f = (fixture){0};
  for (size_t i = 0; i < SHAPES; i++) {
    mxg_kernel *k = &f.kernels[i];
    *k = (mxg_kernel){.family = (uint8_t)shapes[i].family,
                      .cols = shapes[i].cols,
                      .vec = shapes[i].vec,
                      .threads = 256,
                      .tile_units = shapes[i].tile_units,
                      .src = *shapes[i].src,
                      .dst = *shapes[i].dst};
    if (shapes[i].family == MXG_MOVE) k->dst.elem = k->src.elem;
    mxg_kernel_name(k);
  }
  mxg_plan plan = {.strings = "", .string_bytes = 1, .kernels = f.kernels, .kernel_count = SHAPES};
  mxg_error err;
  if (mxg_emit(&f.sources, &plan, &f.arena, &err) != MXG_OK) return fprintf(stderr, "%s\n", err.text), 1;
  *state = &f;
  return 0;
}

static int free_all(void **state) {
  mxg_arena_free(&((fixture *)*state)->arena);
  return 0;
}

static void need_nvrtc(void) {
  static mxg_nvrtc_info info;
  mxg_nvrtc_find(&info);
  if (info.found) return;
  print_message("no NVRTC here, searched: %s\n", info.searched);
  skip();
}

static void absence_says_what_was_searched(void **state) {
  fixture *f = *state;
  mxg_error err;
  const mxg_cubin *cubins;
  const char *told = getenv("MXGEN_NVRTC");
  char *kept = told ? mxg_arena_text(&f->arena, told, strlen(told)) : NULL;
  setenv("MXGEN_NVRTC", "/nowhere/at/all", 1);
  assert_int_equal(mxg_compile(&cubins, f->sources, 1, "sm_90a", 1, &f->arena, &err), MXG_ERR_ENVIRONMENT);
  assert_null(cubins);
  assert_non_null(strstr(err.note, "/nowhere/at/all"));
  mxg_nvrtc_info info;
  mxg_nvrtc_find(&info);
  assert_false(info.found);
  assert_non_null(strstr(info.searched, "/nowhere/at/all"));
  setenv("MXGEN_NVRTC", MXG_ROOT "/templates/mx_abi.h", 1);
  assert_int_equal(mxg_compile(&cubins, f->sources, 1, "sm_90a", 1, &f->arena, &err), MXG_ERR_ENVIRONMENT);
  assert_int_equal(err.code, 502);
  unsetenv("MXGEN_NVRTC");
  if (kept) setenv("MXGEN_NVRTC", kept, 1);
}

static void architectures_are_known_by_name(void **state) {
  (void)state;
  mxg_error err;
  for (const char *const *arch = mxg_default_archs; *arch; arch++)
    assert_int_equal(mxg_arch_check(*arch, NULL), MXG_OK);
  assert_int_equal(mxg_arch_check("sm_90b", &err), MXG_ERR_USAGE);
  assert_string_equal(err.help, "did you mean sm_90?");
  assert_int_equal(mxg_arch_check("sm100a", &err), MXG_ERR_USAGE);
  assert_string_equal(err.help, "did you mean sm_100a?");
  assert_int_equal(mxg_arch_check("", &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_arch_check("a name that is far too long to be one", &err), MXG_ERR_USAGE);
  assert_string_equal(err.help, "");
}

static void every_family_compiles_for_every_architecture(void **state) {
  fixture *f = *state;
  need_nvrtc();
  for (const char *const *arch = mxg_default_archs; *arch; arch++) {
    mxg_error err = {0};
    const mxg_cubin *cubins;
    mxg_status status = mxg_compile(&cubins, f->sources, SHAPES, *arch, 2, &f->arena, &err);
    if (status == MXG_ERR_ENVIRONMENT && err.code == 504) {
      print_message("%s\n", err.text);
      continue;
    }
    if (status) fail_msg("%s:%d: %s (%s)", err.file, err.line, err.text, err.note);
    for (size_t i = 0; i < SHAPES; i++) {
      assert_memory_equal(cubins[i].bytes, "\177ELF", 4);
      assert_in_range(cubins[i].registers, 8, 255);
      if (cubins[i].local_bytes)
        print_message("%s: %u bytes of local memory\n", f->sources[i].kernel, cubins[i].local_bytes);
      if (getenv("MXG_TEST_REGISTERS"))
        print_message("%-8s %-36s %3u registers, %4u shared, %4u local, %zu bytes\n", *arch, f->sources[i].kernel,
                      cubins[i].registers, cubins[i].shared_bytes, cubins[i].local_bytes, cubins[i].count);
    }
  }
}

static void two_compilations_give_the_same_bytes(void **state) {
  fixture *f = *state;
  need_nvrtc();
  mxg_error err;
  const mxg_cubin *one, *two;
  uint32_t count = 4;
  assert_int_equal(mxg_compile(&one, f->sources, count, "sm_90a", 1, &f->arena, &err), MXG_OK);
  assert_int_equal(mxg_compile(&two, f->sources, count, "sm_90a", 4, &f->arena, &err), MXG_OK);
  for (uint32_t i = 0; i < count; i++) {
    assert_int_equal(one[i].count, two[i].count);
    assert_memory_equal(one[i].bytes, two[i].bytes, one[i].count);
    assert_int_equal(one[i].registers, two[i].registers);
  }
}

/* A cubin that is cut, or damaged anywhere, is read inside its bytes (a sanitizer looks on). */
static void damaged_cubins_are_read_within_bounds(void **state) {
  fixture *f = *state;
  need_nvrtc();
  mxg_error err;
  const mxg_cubin *cubin;
  mxg_cubin_use use;
  assert_int_equal(mxg_compile(&cubin, f->sources, 1, "sm_90a", 1, &f->arena, &err), MXG_OK);
  assert_true(mxg_cubin_read(&use, cubin->bytes, cubin->count, f->sources[0].kernel, 90));
  assert_int_equal(use.registers, cubin->registers);
  assert_false(mxg_cubin_read(&use, cubin->bytes, cubin->count, "mx_another", 90));
  for (size_t cut = 0; cut < cubin->count; cut += cut < 256 ? 1 : 61) {
    unsigned char *bytes = malloc(cut + 1);
    assert_non_null(bytes);
    memcpy(bytes, cubin->bytes, cut);
    bool good = mxg_cubin_read(&use, bytes, cut, f->sources[0].kernel, 90); /* what is cut off may not matter */
    free(bytes);
    assert_false(good && cut < cubin->count / 2);
  }
  unsigned char *bytes = malloc(cubin->count);
  assert_non_null(bytes);
  for (size_t i = 0; i < cubin->count; i++) {
    memcpy(bytes, cubin->bytes, cubin->count);
    bytes[i] ^= (unsigned char)(i % 2 ? 0xff : 0x81);
    mxg_cubin_read(&use, bytes, cubin->count, f->sources[0].kernel, 90);
  }
  free(bytes);
}

static void faults_name_their_place(void **state) {
  fixture *f = *state;
  need_nvrtc();
  mxg_error err;
  const mxg_cubin *cubins;
  mxg_source broken[2] = {f->sources[2], f->sources[2]};
  broken[1].kernel = "mx_broken";
  broken[1].params = "#pragma once\n#include \"mx_abi.h\"\nconstexpr mx_u32 MX_VEC = nothing;\n";
  assert_int_equal(mxg_compile(&cubins, broken, 2, "sm_90a", 2, &f->arena, &err), MXG_ERR_COMPILE);
  assert_null(cubins);
  assert_string_equal(err.file, "mx_params.h");
  assert_int_equal(err.line, 3);
  assert_non_null(strstr(err.text, "nothing"));
  assert_non_null(strstr(err.note, "mx_broken"));
  broken[1].template_name = "absent.cu";
  assert_int_equal(mxg_compile(&cubins, broken, 2, "sm_90a", 1, &f->arena, &err), MXG_ERR_COMPILE);
  assert_non_null(strstr(err.text, "absent.cu"));
}

/* An edited template folder is used, and its fault has the template's own line. */
static void templates_come_from_a_folder_if_told(void **state) {
  fixture *f = *state;
  need_nvrtc();
  char folder[] = "/tmp/mxgen-templates-XXXXXX", path[128];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/dequantize.cu", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs("/* edited */\n\nstatic_assert(false, \"told so\");\n", file);
  fclose(file);
  setenv("MXGEN_TEMPLATES", folder, 1);
  mxg_error err;
  const mxg_cubin *cubins;
  mxg_status status = mxg_compile(&cubins, &f->sources[2], 1, "sm_90a", 1, &f->arena, &err);
  unlink(path);
  mxg_error empty;
  mxg_status nothing = mxg_compile(&cubins, &f->sources[2], 1, "sm_90a", 1, &f->arena, &empty);
  rmdir(folder);
  unsetenv("MXGEN_TEMPLATES");
  assert_int_equal(status, MXG_ERR_COMPILE);
  assert_string_equal(err.file, "dequantize.cu");
  assert_int_equal(err.line, 3);
  assert_non_null(strstr(err.text, "told so"));
  assert_int_equal(nothing, MXG_ERR_IO);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(absence_says_what_was_searched),
      cmocka_unit_test(architectures_are_known_by_name),
      cmocka_unit_test(every_family_compiles_for_every_architecture),
      cmocka_unit_test(two_compilations_give_the_same_bytes),
      cmocka_unit_test(damaged_cubins_are_read_within_bounds),
      cmocka_unit_test(faults_name_their_place),
      cmocka_unit_test(templates_come_from_a_folder_if_told),
  };
  return cmocka_run_group_tests_name("compile", tests, emit_all, free_all) != 0;
}
