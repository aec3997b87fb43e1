/* layout.h: the formulas of the layout algebra, written here again from their definition, and the checks of a
 * placement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "layout.h"
#include "model_fixture.h"

static const mxg_shard *shard_of(fixture *f, mxg_side side, uint32_t rank, uint32_t want, mxg_arena *arena) {
  const mxg_shard *shards;
  uint32_t count;
  mxg_error err;
  assert_int_equal(mxg_layout_shards(&shards, &count, &f->model, side, 0, rank, arena, &err), MXG_OK);
  assert_int_equal(count, want);
  return shards;
}

/* The tensor's row at a stored row; -1: padding. */
static int64_t row_at(const mxg_shard *shard, uint64_t stored) {
  for (uint32_t i = 0; i < shard->run_count; i++) {
    const mxg_run *run = &shard->runs[i];
    if (stored >= run->stored && stored < run->stored + run->rows) return (int64_t)(run->row + (stored - run->stored));
  }
  return -1;
}

static void gate_and_up_are_split_each_on_its_own(void **state) {
  (void)state;
  fixture f;
  fixture_side source = {.tp = 4, .row_tp = true, .stage = MXG_NONE, .format = fixture_bf16()};
  fixture_side target = {.stage = MXG_NONE, .format = fixture_bf16()};
  enum { F = 96, t = 4, f_rows = F / t };
  fixture_make(&f, 2, 1, (const uint64_t[]){F, F, 0}, 8, 0, 0, &source, &target);
  mxg_arena arena = {0};
  for (uint32_t r = 0; r < t; r++) {
    const mxg_shard *shard = shard_of(&f, MXG_SOURCE, r, 1, &arena);
    assert_int_equal(shard->stored_rows, 2 * f_rows);
    for (int s = 0; s < 2; s++)
      for (int i = 0; i < f_rows; i++) /* target row s*F + r*f + i = shard r, row s*f + i */
        assert_int_equal(row_at(shard, (uint64_t)(s * f_rows + i)), s * F + (int)r * f_rows + i);
  }
  mxg_arena_free(&arena);
}

static void interleaved_qkv_is_stored_group_by_group(void **state) {
  (void)state;
  enum { G = 8, q = 4, D = 16, t = 2 };
  fixture f;
  fixture_side source = {.tp = t, .row_tp = true, .stage = MXG_NONE, .format = fixture_bf16()};
  fixture_side target = {.stage = MXG_NONE, .parts_apart = true, .format = fixture_bf16()};
  fixture_make(&f, 2, 1, (const uint64_t[]){G * q * D, G * D, G * D, 0}, 8, G, 0, &source, &target);
  mxg_arena arena = {0};
  for (int r = 0; r < t; r++) {
    const mxg_shard *shard = shard_of(&f, MXG_SOURCE, (uint32_t)r, 1, &arena);
    assert_int_equal(shard->stored_rows, G / t * (q + 2) * D);
    for (int local = 0; local < G / t; local++) {
      int g = r * (G / t) + local;
      for (int j = 0; j < q + 2; j++)
        for (int d = 0; d < D; d++) {
          int stored = (local * (q + 2) + j) * D + d;
          int row = j < q ? (g * q + j) * D + d : j == q ? G * q * D + g * D + d : G * (q + 1) * D + g * D + d;
          assert_int_equal(row_at(shard, (uint64_t)stored), row);
        }
    }
  }
  const mxg_shard *parts = shard_of(&f, MXG_TARGET, 0, 3, &arena);
  assert_int_equal(parts[1].stored_rows, G * D);
  assert_int_equal(row_at(&parts[1], 5), G * q * D + 5);
  mxg_arena_free(&arena);
}

static void padded_rows_belong_to_nobody(void **state) {
  (void)state;
  enum { V = 1000, t = 4, n = 128 };
  fixture f;
  fixture_side source = {.tp = t, .row_tp = true, .stage = MXG_NONE, .format = fixture_bf16()};
  fixture_side target = {.stage = MXG_NONE, .format = fixture_bf16()};
  fixture_make(&f, 2, 1, (const uint64_t[]){V, 0}, 8, 0, n, &source, &target);
  mxg_arena arena = {0};
  for (int r = 0; r < t; r++) {
    const mxg_shard *shard = shard_of(&f, MXG_SOURCE, (uint32_t)r, 1, &arena);
    assert_int_equal(shard->stored_rows, 256); /* ceil(1000 / 512) * 512 / 4 */
    for (int i = 0; i < 256; i++) assert_int_equal(row_at(shard, (uint64_t)i), r * 256 + i < V ? r * 256 + i : -1);
  }
  assert_int_equal(shard_of(&f, MXG_TARGET, 0, 1, &arena)->stored_rows, V); /* whole: no padding */
  mxg_arena_free(&arena);
}

static void experts_columns_and_stages(void **state) {
  (void)state;
  fixture f;
  fixture_side source = {.pp = 2,
                         .ep = 4,
                         .tp = 2,
                         .dp = 3,
                         .expert_ep = true,
                         .col_tp = true,
                         .stage = 1,
                         .first_rank = 5,
                         .format = fixture_bf16()};
  fixture_side target = {
      .ep = 2, .expert_ep = true, .experts_apart = true, .stage = MXG_NONE, .format = fixture_bf16()};
  fixture_make(&f, 3, 8, (const uint64_t[]){16, 0}, 64, 0, 0, &source, &target);
  mxg_arena arena = {0};
  shard_of(&f, MXG_SOURCE, 4, 0, &arena);      /* before the side's ranks */
  shard_of(&f, MXG_SOURCE, 5 + 48, 0, &arena); /* after them */
  for (uint32_t rank = 0; rank < 48; rank++) {
    uint32_t pp = rank / 24, ep = rank / 6 % 4, tp = rank / 3 % 2;
    const mxg_shard *shard = shard_of(&f, MXG_SOURCE, 5 + rank, pp == 1 ? 1 : 0, &arena);
    if (pp != 1) continue;
    assert_int_equal(shard->first_expert, ep * 2);
    assert_int_equal(shard->experts, 2);
    assert_int_equal(shard->first_col, tp * 32);
    assert_int_equal(shard->cols, 32);
  }
  const mxg_shard *apart = shard_of(&f, MXG_TARGET, 1, 4, &arena);
  for (uint32_t e = 0; e < 4; e++) assert_int_equal(apart[e].first_expert, 4 + e);
  mxg_arena_free(&arena);
}

static unsigned check(fixture *f, bool *cuts) {
  mxg_error err = {0};
  mxg_status status =
      mxg_layout_check(cuts, &f->model, MXG_SOURCE, 0, &f->placement[MXG_SOURCE], &f->naming[MXG_SOURCE], &err);
  assert_true((status == MXG_OK) == (err.code == 0));
  return err.code;
}

static void placements_that_cannot_be_are_refused(void **state) {
  (void)state;
  bool cuts;
  fixture f;
  fixture_side target = {.stage = MXG_NONE, .format = fixture_bf16()};
  fixture_side cols = {.tp = 4, .col_tp = true, .stage = MXG_NONE, .format = fixture_mxfp8(1, 32)};
  fixture_make(&f, 2, 1, (const uint64_t[]){64, 0}, 10944, 0, 0, &cols, &target);
  assert_int_equal(check(&f, &cuts), 403); /* 2736 columns are no whole blocks */
  assert_true(cuts);
  fixture_make(&f, 2, 1, (const uint64_t[]){64, 0}, 10942, 0, 0, &cols, &target);
  assert_int_equal(check(&f, &cuts), 401);
  assert_false(cuts);
  fixture_make(&f, 2, 1, (const uint64_t[]){64, 0}, 4096, 0, 0, &cols, &target);
  assert_int_equal(check(&f, &cuts), 0);

  fixture_side rows = {.tp = 8, .row_tp = true, .stage = MXG_NONE, .format = fixture_mxfp8(32, 1)};
  fixture_make(&f, 2, 1, (const uint64_t[]){10944, 10944, 0}, 64, 0, 0, &rows, &target);
  assert_int_equal(check(&f, &cuts), 403); /* 1368 rows of gate */
  assert_true(cuts);
  fixture_make(&f, 2, 1, (const uint64_t[]){256, 64, 64, 0}, 64, 4, 0, &rows, &target);
  assert_int_equal(check(&f, &cuts), 402); /* 4 groups over tp=8 */
  rows.tp = 2;
  fixture_make(&f, 2, 1, (const uint64_t[]){256, 64, 64, 0}, 64, 4, 0, &rows, &target);
  assert_int_equal(check(&f, &cuts), 403); /* k comes 16 rows a group */
  fixture_make(&f, 2, 1, (const uint64_t[]){512, 128, 128, 0}, 64, 4, 0, &rows, &target);
  assert_int_equal(check(&f, &cuts), 0);
  rows.order = MXG_ORDER_GROUPED;
  fixture_make(&f, 2, 1, (const uint64_t[]){512, 0}, 64, 0, 0, &rows, &target);
  assert_int_equal(check(&f, &cuts), 405);
  rows.order = MXG_ORDER_MODEL;
  fixture_make(&f, 2, 1, (const uint64_t[]){512, 128, 0}, 64, 0, 128, &rows, &target);
  assert_int_equal(check(&f, &cuts), 404);
  rows.expert_ep = true;
  fixture_make(&f, 2, 1, (const uint64_t[]){512, 0}, 64, 0, 0, &rows, &target);
  assert_int_equal(check(&f, &cuts), 406);
  fixture_side vector = {.tp = 2, .col_tp = true, .stage = MXG_NONE, .format = fixture_bf16()};
  fixture_make(&f, 1, 1, (const uint64_t[]){512, 0}, 1, 0, 0, &vector, &target);
  assert_int_equal(check(&f, &cuts), 407);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gate_and_up_are_split_each_on_its_own),
      cmocka_unit_test(interleaved_qkv_is_stored_group_by_group),
      cmocka_unit_test(padded_rows_belong_to_nobody),
      cmocka_unit_test(experts_columns_and_stages),
      cmocka_unit_test(placements_that_cannot_be_are_refused),
  };
  return cmocka_run_group_tests_name("layout", tests, NULL, NULL) != 0;
}
