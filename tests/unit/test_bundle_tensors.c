/* mxrt.h: the stored tensors of a bundle are those of its plan, without scratch, and wrong calls are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bundle.h"
#include "plan_samples.h"

static mxg_bundle *make(const fixture *f) {
  static const unsigned char sources[32];
  const mxg_bundle_parts parts = {&f->plan, NULL, 0, sources, "maker", NULL, NULL};
  mxg_bundle *bundle = NULL;
  mxg_error err = {0};
  if (mxg_bundle_make(&bundle, &parts, &err) != MXG_OK) fail_msg("MX%04u %s", err.code, err.text);
  return bundle;
}

static unsigned bytes_of(const char *dtype) {
  return dtype[0] == 'U' || strncmp(dtype, "F8", 2) == 0 ? 1 : strcmp(dtype, "F32") == 0 ? 4 : 2;
}

static void each_is_an_array_of_the_plan(void **state) {
  (void)state;
  for (int i = 0; i < plan_sample_count; i++) {
    fixture *f = plan_samples[i].make();
    mxg_bundle *bundle = make(f);
    const mxg_plan *plan = mxg_bundle_plan(bundle);
    uint32_t stored = 0;
    for (uint32_t a = 0; a < plan->array_count; a++) stored += plan->arrays[a].side != MXG_SCRATCH;
    assert_int_equal(mxg_bundle_tensors(bundle), stored);
    for (uint32_t a = 0; a < stored; a++) {
      mxg_tensor_info info = {.size = sizeof info};
      assert_int_equal(mxg_bundle_tensor(&info, bundle, a, NULL), MXG_OK);
      assert_int_equal(info.size, sizeof info);
      assert_int_equal(info.side, plan->arrays[a].side);
      assert_int_equal(info.rank, plan->arrays[a].rank);
      assert_string_equal(info.name, plan->strings + plan->arrays[a].name);
      assert_int_equal(info.data_bytes, mxg_array_data_bytes(plan, &plan->arrays[a]));
      assert_int_equal(info.scale_bytes, mxg_array_scale_bytes(plan, &plan->arrays[a]));
      assert_string_equal(info.tensor, plan->strings + plan->arrays[a].tensor);
      uint64_t elements = 1, scales = 1;
      for (uint32_t d = 0; d < 3; d++) {
        elements *= d < info.ndim ? info.shape[d] : 1;
        scales *= d < info.scale_ndim ? info.scale_shape[d] : 1;
      }
      assert_int_equal(elements * bytes_of(info.dtype), info.data_bytes);
      assert_int_equal(info.scale_bytes != 0, *info.scale_dtype != 0);
      if (info.scale_bytes) assert_int_equal(scales * bytes_of(info.scale_dtype), info.scale_bytes);
    }
    mxg_bundle_free(bundle);
    free(f);
  }
}

/* Binding with types and shapes: what mxg_bundle_tensor says passes, anything else is an error that names tensor and
** argument. */
static void types_and_shapes_are_checked(void **state) {
  (void)state;
  fixture *f = plan_samples[0].make();
  mxg_bundle *bundle = make(f);
  mxg_tensor_info info = {.size = sizeof info};
  mxg_exec *exec = NULL;
  mxg_error err = {0};
  assert_int_equal(mxg_bundle_tensor(&info, bundle, 0, &err), MXG_OK);
  assert_string_equal(info.dtype, "F8_E4M3");
  assert_true(!strcmp(info.scale_dtype, "U8") || !strcmp(info.scale_dtype, "F8_E8M0"));
  assert_int_equal(mxg_exec_create(&exec, bundle, NULL, &err), MXG_OK);
  void *memory = calloc(1, (size_t)(info.data_bytes + info.scale_bytes));
  const mxg_typed_memory data = {sizeof data, memory, info.data_bytes, info.dtype, info.shape, info.ndim};
  const mxg_typed_memory scale = {.size = sizeof scale,
                                  .memory = (unsigned char *)memory + info.data_bytes,
                                  .bytes = info.scale_bytes,
                                  .dtype = info.scale_dtype,
                                  .dims = info.scale_shape,
                                  .ndim = info.scale_ndim};
  const uint64_t turned[2] = {info.shape[1], info.shape[0]};
  static const char *const wrong[] = {"BF16", "F8_E5M2", "F8_E8M0", "F32", ""};
  char word[160];
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    mxg_typed_memory bad = data;
    bad.dtype = wrong[i];
    assert_int_equal(mxg_exec_bind_typed(exec, info.rank, info.side, info.name, &bad, &scale, &err), MXG_ERR_USAGE);
    assert_int_equal(err.code, 672);
    snprintf(word, sizeof word, "data of source \"%s\", rank %u: dtype %s given, the plan has F8_E4M3", info.name,
             info.rank, wrong[i]);
    assert_string_equal(err.text, word);
  }
  mxg_typed_memory bad = data;
  bad.dims = turned;
  assert_int_equal(mxg_exec_bind_typed(exec, info.rank, info.side, info.name, &bad, &scale, &err), MXG_ERR_USAGE);
  snprintf(word, sizeof word, "shape [%llu, %llu] given, the plan has [%llu, %llu]", (unsigned long long)turned[0],
           (unsigned long long)turned[1], (unsigned long long)turned[1], (unsigned long long)turned[0]);
  assert_non_null(strstr(err.text, word));
  bad = scale;
  bad.ndim = 1;
  assert_int_equal(mxg_exec_bind_typed(exec, info.rank, info.side, info.name, &data, &bad, &err), MXG_ERR_USAGE);
  assert_non_null(strstr(err.text, "scales of source"));
  bad = scale;
  bad.dtype = "F32";
  assert_int_equal(mxg_exec_bind_typed(exec, info.rank, info.side, info.name, &data, &bad, &err), MXG_ERR_USAGE);
  assert_non_null(strstr(err.text, "dtype F32 given"));
  assert_int_equal(mxg_exec_bind_typed(exec, info.rank, info.side, info.name, &data, NULL, &err), MXG_ERR_USAGE);
  assert_int_equal(err.code, 604);
  static const size_t sizes[] = {0, offsetof(mxg_typed_memory, dtype) - 1, sizeof bad + 8};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (int which = 0; which < 2; which++) {
      bad = which ? scale : data;
      bad.size = sizes[i];
      assert_int_equal(
          mxg_exec_bind_typed(exec, info.rank, info.side, info.name, which ? &data : &bad, which ? &bad : &scale, &err),
          MXG_ERR_USAGE);
      assert_int_equal(err.code, 601);
      assert_non_null(strstr(err.text, which ? "scales: mxg_typed_memory.size" : "data: mxg_typed_memory.size"));
    }
  bad = data; /* of an older header: what is past its end is not looked at */
  bad.size = offsetof(mxg_typed_memory, dtype);
  bad.dtype = "F32";
  bad.dims = turned;
  assert_int_equal(mxg_exec_bind_typed(exec, info.rank, info.side, info.name, &bad, NULL, &err), MXG_ERR_USAGE);
  assert_int_equal(err.code, 604); /* for the scales that are missing, and nothing else */
  bad = data;                      /* unknown is not wrong, and bytes are bytes */
  bad.dims = NULL;
  bad.dtype = "U8";
  assert_int_equal(mxg_exec_bind_typed(exec, info.rank, info.side, info.name, &bad, &scale, &err), MXG_OK);
  mxg_exec_free(exec);
  free(memory);
  mxg_bundle_free(bundle);
  free(f);
}

static void wrong_calls_are_refused(void **state) {
  (void)state;
  fixture *f = sample_whole();
  mxg_bundle *bundle = make(f);
  mxg_error err;
  mxg_tensor_info info = {.size = sizeof info};
  assert_int_equal(mxg_bundle_tensor(&info, bundle, mxg_bundle_tensors(bundle), &err), MXG_ERR_USAGE);
  assert_int_equal(err.code, 700);
  assert_int_equal(mxg_bundle_tensor(&info, NULL, 0, &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_bundle_tensor(NULL, bundle, 0, &err), MXG_ERR_USAGE);
  info.size = sizeof info + 8; /* of a newer header: its fields are not known here */
  assert_int_equal(mxg_bundle_tensor(&info, bundle, 0, &err), MXG_ERR_USAGE);
  info.size = 0;
  assert_int_equal(mxg_bundle_tensor(&info, bundle, 0, &err), MXG_ERR_USAGE);
  info = (mxg_tensor_info){.size = offsetof(mxg_tensor_info, data_bytes), .data_bytes = 77};
  assert_int_equal(mxg_bundle_tensor(&info, bundle, 0, &err), MXG_OK); /* of an older one: nothing past its end */
  assert_non_null(info.name);
  assert_int_equal(info.data_bytes, 77);
  mxg_bundle_free(bundle);
  free(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_is_an_array_of_the_plan),
      cmocka_unit_test(types_and_shapes_are_checked),
      cmocka_unit_test(wrong_calls_are_refused),
  };
  return cmocka_run_group_tests_name("bundle_tensors", tests, NULL, NULL) != 0;
}
