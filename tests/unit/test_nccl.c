/* nccl.h without a GPU: a library that is there answers and makes ids, and what is missing is said in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "nccl.h"

static void a_library_works_or_says_why_not(void **state) {
  (void)state;
  mxg_nccl_state found;
  unsigned char id[2][MXG_NCCL_ID_BYTES] = {{0}};
  mxg_error err = {0};
  mxg_nccl_find(&found);
  mxg_status status = mxg_nccl_new_id(id[0], &err);
  if (found.usable) {
    assert_int_equal(status, MXG_OK);
    assert_int_equal(mxg_nccl_new_id(id[1], &err), MXG_OK);
    assert_memory_not_equal(id[0], id[1], MXG_NCCL_ID_BYTES);
    assert_true(found.number >= 21800);
    assert_true(*found.path && *found.version);
    assert_string_equal(found.problem, "");
    assert_string_equal(getenv("NCCL_NVLS_ENABLE"), "0");
    return;
  }
  assert_int_equal(status, MXG_ERR_ENVIRONMENT);
  assert_int_equal(err.code, found.found ? 525 : 524);
  assert_non_null(strstr(err.text, found.problem));
  assert_true(*found.problem && *found.help);
  assert_non_null(mxg_error_explain(err.code, &(const char *){NULL}));
}

/* Where ranks cannot come together: an error before the deadline or soon after, and nothing that hangs. Without a
** GPU NCCL refuses at once; with one it waits for the rank that does not come. */
static void an_open_is_bounded(void **state) {
  (void)state;
  mxg_nccl_state found;
  mxg_nccl_find(&found);
  unsigned char id[MXG_NCCL_ID_BYTES] = {0};
  mxg_error err = {0};
  if (!found.usable) return;
  mxg_gpu *gpu = NULL;
  if (mxg_gpu_open(&gpu, 0, NULL) != MXG_OK) gpu = NULL;
  assert_int_equal(mxg_nccl_new_id(id, &err), MXG_OK);
  mxg_nccl *nccl = NULL;
  double begin = mxg_now();
  mxg_status status = mxg_nccl_open(&nccl, id, 2, 0, false, begin + 0.5, &err);
  assert_true(status == MXG_ERR_NCCL || status == MXG_ERR_TIMEOUT);
  assert_null(nccl);
  assert_true(*err.text != 0);
  assert_true(mxg_now() - begin < 5);
  assert_int_equal(mxg_nccl_borrow(&nccl, NULL, 2, 0, 0, &err), MXG_ERR_USAGE);
  assert_null(nccl);
  mxg_nccl_close(NULL);
  mxg_gpu_close(gpu);
}

/* Where there is a GPU: a rank that is alone sends to itself, given to a stream and captured, and the communicator
** goes after its graph; a second one is aborted. */
static void one_rank_sends_to_itself(void **state) {
  (void)state;
  enum { bytes = 1 << 20 };
  mxg_nccl_state found;
  mxg_error err = {0};
  int gpus = 0;
  mxg_nccl_find(&found);
  if (!found.usable || mxg_gpu_count(&gpus, NULL) != MXG_OK || gpus == 0) skip();
  mxg_gpu *gpu = NULL;
  mxg_cu_stream *stream = NULL;
  assert_int_equal(mxg_gpu_open(&gpu, 0, &err), MXG_OK);
  assert_int_equal(mxg_stream_create(&stream, &err), MXG_OK);
  unsigned char *seen = malloc(bytes);
  assert_non_null(seen);
  for (int round = 0; round < 2; round++) {
    unsigned char id[MXG_NCCL_ID_BYTES];
    mxg_nccl *nccl = NULL;
    uint64_t memory[2];
    mxg_cu_graph *graph = NULL;
    double deadline = mxg_now() + 20;
    if (mxg_nccl_new_id(id, &err) || mxg_nccl_open(&nccl, id, 1, 0, true, deadline, &err)) fail_msg("%s", err.text);
    for (int i = 0; i < 2; i++)
      if (mxg_gpu_alloc(&memory[i], bytes, &err)) fail_msg("%s", err.text);
    assert_int_equal(mxg_gpu_fill(memory[0], 0x5a, bytes, stream, &err), MXG_OK);
    for (int captured = 0; captured < 2; captured++) {
      assert_int_equal(mxg_gpu_fill(memory[1], 0, bytes, stream, &err), MXG_OK);
      if (captured) assert_int_equal(mxg_graph_begin(stream, &err), MXG_OK);
      assert_int_equal(mxg_nccl_begin(nccl, &err), MXG_OK);
      mxg_status sent = mxg_nccl_send(nccl, memory[0], bytes, 0, stream, &err);
      if (sent == MXG_OK) sent = mxg_nccl_receive(nccl, memory[1], bytes, 0, stream, &err);
      if (mxg_nccl_end(nccl, deadline, &err) || sent) fail_msg("%s (captured: %d)", err.text, captured);
      if (captured) {
        assert_int_equal(mxg_graph_end(&graph, stream, &err), MXG_OK);
        assert_int_equal(mxg_graph_launch(graph, stream, &err), MXG_OK);
      }
      assert_int_equal(mxg_gpu_copy((uint64_t)(uintptr_t)seen, memory[1], bytes, stream, &err), MXG_OK);
      assert_int_equal(mxg_stream_wait(stream, &err), MXG_OK);
      assert_int_equal(mxg_nccl_look(nccl, &err), MXG_OK);
      for (size_t i = 0; i < bytes; i++)
        if (seen[i] != 0x5a) fail_msg("byte %zu is %u (captured: %d)", i, seen[i], captured);
    }
    double begin = mxg_now();
    if (round) mxg_nccl_abort(nccl);
    mxg_graph_free(graph);
    for (int i = 0; i < 2; i++) mxg_gpu_free(memory[i]);
    mxg_nccl_close(nccl);
    assert_true(mxg_now() - begin < 4);
  }
  free(seen);
  mxg_stream_free(stream);
  mxg_gpu_close(gpu);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_library_works_or_says_why_not),
                                     cmocka_unit_test(an_open_is_bounded), cmocka_unit_test(one_rank_sends_to_itself)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
