/* plan_build.h: random layouts on both sides, the plan walked piece by piece over tagged elements: every element
** must arrive where the layout says, once. Also buckets, slots, scratch, holders and the cap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "layout.h"
#include "model_fixture.h"
#include "plan_build.h"
#include "text.h"

static uint64_t seed = 1;
static uint32_t pick(uint32_t below) {
  seed = seed * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)(seed >> 33) % below;
}

static const mxg_plan *build(fixture *f, mxg_arena *arena) {
  const mxg_plan *plan;
  mxg_error err = {0};
  mxg_status status = mxg_plan_build(&plan, &f->model, arena, &err);
  if (status == MXG_OK) status = mxg_plan_check(plan, &err);
  if (status != MXG_OK) fail_msg("%s %u: %s", mxg_status_name(status), err.code, err.text);
  return plan;
}

/* The tag of the tensor's element that a shard stores at (expert, row, col) of one of its arrays; 0: padding. */
static uint32_t tag_at(const fixture *f, const mxg_shard *shard, uint64_t e, uint64_t stored, uint64_t c) {
  for (uint32_t i = 0; i < shard->run_count; i++) {
    const mxg_run *run = &shard->runs[i];
    if (stored < run->stored || stored >= run->stored + run->rows) continue;
    uint64_t row = run->row + (stored - run->stored);
    return (uint32_t)(((shard->first_expert + e) * f->tensor.rows + row) * f->tensor.cols + shard->first_col + c + 1);
  }
  return 0;
}

/* Walks the arrays that a rank has on a side beside its shards; `visit` gets each element. */
typedef void visit_fn(uint32_t *element, uint32_t tag);
static void each_element(const fixture *f, const mxg_plan *plan, mxg_side side, uint32_t **memory, mxg_arena *arena,
                         visit_fn *visit) {
  for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
    const mxg_shard *shards;
    uint32_t count;
    assert_int_equal(mxg_layout_shards(&shards, &count, &f->model, side, 0, rank, arena, NULL), MXG_OK);
    uint32_t first = side == MXG_SOURCE ? plan->ranks[rank].first_source : plan->ranks[rank].first_target;
    assert_int_equal(count, side == MXG_SOURCE ? plan->ranks[rank].sources : plan->ranks[rank].targets);
    for (uint32_t s = 0; s < count; s++) {
      uint32_t *at = memory[first + s];
      for (uint64_t e = 0; e < shards[s].experts; e++)
        for (uint64_t r = 0; r < shards[s].stored_rows; r++)
          for (uint64_t c = 0; c < shards[s].cols; c++) visit(at++, tag_at(f, &shards[s], e, r, c));
    }
  }
}

static void put_tag(uint32_t *element, uint32_t tag) { *element = tag; }
static void expect_tag(uint32_t *element, uint32_t tag) { assert_int_equal(*element, tag); }

static void move_pieces(const mxg_plan *plan, uint32_t **memory) {
  for (uint32_t i = 0; i < plan->piece_count; i++) {
    const mxg_piece *piece = &plan->pieces[i];
    const mxg_array *src = &plan->arrays[piece->src], *dst = &plan->arrays[piece->dst];
    for (uint32_t s = 0; s < piece->segments; s++) {
      const mxg_segment *segment = &plan->segments[piece->first_segment + s];
      for (uint32_t r = 0; r < segment->rows; r++)
        for (uint32_t c = 0; c < piece->cols; c++) {
          uint32_t *to = memory[piece->dst] + (piece->dst_matrix * dst->rows + segment->dst_row + r) * dst->cols +
                         piece->dst_col + c;
          assert_int_equal(*to, 0xffffffffu); /* written once */
          *to = memory[piece->src]
                      [(piece->src_matrix * src->rows + segment->src_row + r) * src->cols + piece->src_col + c];
        }
    }
  }
  for (uint32_t i = 0; i < plan->fill_count; i++) {
    const mxg_fill *fill = &plan->fills[i];
    assert_int_equal(fill->kind, MXG_FILL_DATA);
    for (uint64_t b = 0; b < fill->bytes / 4; b++) {
      uint32_t *to = memory[fill->array] + fill->offset / 4 + b;
      assert_int_equal(*to, 0xffffffffu);
      *to = 0;
    }
  }
}

static fixture_side random_side(unsigned ndim, uint32_t parts) {
  static const uint32_t sizes[] = {1, 2, 4};
  fixture_side side = {.pp = sizes[pick(2)],
                       .ep = sizes[pick(3)],
                       .tp = sizes[pick(3)],
                       .dp = sizes[pick(2)],
                       .stage = MXG_NONE,
                       .first_rank = pick(3)};
  if (side.pp > 1 && pick(2)) side.stage = pick(side.pp);
  if (ndim == 3) side.expert_ep = pick(2), side.experts_apart = pick(2);
  if (ndim == 1)
    side.row_tp = pick(2);
  else if (pick(4) == 0 && ndim == 2)
    side.row_ep_tp = true;
  else
    side.row_tp = pick(2), side.col_tp = !side.row_tp && pick(2);
  side.parts_apart = parts > 1 && pick(2);
  side.order = (uint8_t)pick(2);
  side.format = (mxg_format){.kind = "fp32", .planes = 1, .plane = {{.elem = MX_FP32}}};
  return side;
}

static void every_element_arrives_once(void **state) {
  (void)state;
  for (int round = 0; round < 400; round++) {
    unsigned ndim = 1 + pick(3);
    uint32_t parts = ndim == 1 ? 1 : 1 + pick(3);
    bool grouped = parts > 1 && pick(2);
    bool padded = parts == 1 && ndim == 2 && pick(2);
    uint64_t rows[4] = {0};
    for (uint32_t p = 0; p < parts; p++) rows[p] = padded ? 1 + pick(60) : 16u * (1 + pick(3));
    fixture_side source = random_side(ndim, parts), target = random_side(ndim, parts);
    fixture f;
    fixture_make(&f, ndim, ndim == 3 ? 8 : 1, rows, ndim == 1 ? 1 : 4 * (1 + pick(6)), grouped ? 16 : 0,
                 padded ? 1 + pick(8) : 0, &source, &target);
    f.model.bucket_bytes = 64 + pick(4000);
    f.model.slots = 1 + pick(3);
    mxg_arena arena = {0};
    const mxg_plan *plan = build(&f, &arena);
    uint32_t **memory = calloc(plan->array_count + 1, sizeof *memory);
    for (uint32_t i = 0; i < plan->array_count; i++) {
      size_t bytes = (size_t)mxg_array_data_bytes(plan, &plan->arrays[i]);
      memory[i] = malloc(bytes + 1);
      memset(memory[i], 0xff, bytes);
    }
    each_element(&f, plan, MXG_SOURCE, memory, &arena, put_tag);
    move_pieces(plan, memory);
    each_element(&f, plan, MXG_TARGET, memory, &arena, expect_tag);
    for (uint32_t i = 0; i < plan->array_count; i++) free(memory[i]);
    free(memory);
    mxg_arena_free(&arena);
  }
}

static void gathers_stay_in_their_slots_and_rotate(void **state) {
  (void)state;
  fixture_side source = {.tp = 8, .row_tp = true, .stage = MXG_NONE, .format = fixture_mxfp8(1, 32)};
  fixture_side target = {.dp = 8, .stage = MXG_NONE, .format = fixture_bf16()};
  fixture f;
  fixture_make(&f, 2, 1, (const uint64_t[]){1024, 0}, 512, 0, 0, &source, &target);
  f.model.bucket_bytes = 200000;
  mxg_arena arena = {0};
  const mxg_plan *plan = build(&f, &arena);
  assert_int_equal(plan->kernel_count, 1);
  bool first_seen[8] = {false};
  for (uint32_t rank = 0; rank < 8; rank++) {
    const mxg_rank *row = &plan->ranks[rank];
    assert_int_equal(row->received_bytes, 7 * (128 * 512 + 128 * 16));
    assert_true(row->staging_bytes <= 2 * plan->slot_bytes && plan->slot_bytes <= 200000 + 8 * 256);
    for (uint32_t s = 0; s < row->steps; s++) {
      const mxg_step *step = &plan->steps[row->first_step + s];
      if (step->kind != MXG_STEP_GATHER) continue;
      assert_false(first_seen[step->peer]); /* nobody is everybody's first */
      first_seen[step->peer] = true;
      break;
    }
  }
  mxg_arena_free(&arena);
}

static void replicas_share_the_sending(void **state) {
  (void)state;
  fixture_side source = {.tp = 2, .dp = 4, .row_tp = true, .stage = MXG_NONE, .format = fixture_bf16()};
  fixture_side target = {.dp = 8, .first_rank = 8, .stage = MXG_NONE, .format = fixture_bf16()};
  fixture f;
  fixture_make(&f, 2, 1, (const uint64_t[]){64, 0}, 64, 0, 0, &source, &target);
  mxg_arena arena = {0};
  const mxg_plan *plan = build(&f, &arena);
  uint64_t sent[16] = {0};
  for (uint32_t i = 0; i < plan->piece_count; i++)
    sent[plan->arrays[plan->pieces[i].src].rank] += plan->pieces[i].wire_bytes;
  for (int r = 0; r < 8; r++) assert_int_equal(sent[r], 2 * 32 * 64 * 2);
  f.model.side[MXG_TARGET].first_rank = 0; /* the same ranks: half of it is at hand */
  plan = build(&f, &arena);
  for (uint32_t r = 0; r < 8; r++) assert_int_equal(plan->ranks[r].received_bytes, 32 * 64 * 2);
  mxg_arena_free(&arena);
}

static void blocks_that_no_piece_covers_go_through_scratch(void **state) {
  (void)state;
  fixture_side source = {.tp = 4, .row_tp = true, .stage = MXG_NONE, .format = fixture_bf16()};
  fixture_side target = {.stage = MXG_NONE, .format = fixture_mxfp8(32, 32)};
  fixture f;
  fixture_make(&f, 2, 1, (const uint64_t[]){160, 0}, 64, 0, 0, &source, &target); /* 40 rows a shard */
  mxg_arena arena = {0};
  const mxg_plan *plan = build(&f, &arena);
  assert_int_equal(plan->ranks[0].scratches, 1);
  assert_int_equal(plan->piece_count, 5);
  assert_int_equal(plan->kernels[plan->pieces[4].kernel].family, MXG_QUANTIZE_SQUARE);
  fixture_make(&f, 2, 1, (const uint64_t[]){256, 0}, 64, 0, 0, &source, &target); /* 64 rows: whole blocks */
  plan = build(&f, &arena);
  assert_int_equal(plan->ranks[0].scratches, 0);
  assert_int_equal(plan->piece_count, 4);
  target.format.plane[0] = (mxg_encoding){
      .elem = MX_E4M3, .scale = MX_SCALE_FP32, .nan = MX_NAN_ELEMENT, .block_rows = MX_WHOLE, .block_cols = MX_WHOLE};
  fixture_make(&f, 2, 1, (const uint64_t[]){256, 0}, 64, 0, 0, &source, &target);
  plan = build(&f, &arena);
  assert_int_equal(plan->piece_count, 6); /* four into scratch, the maximum, the conversion */
  assert_int_equal(plan->kernels[plan->pieces[4].kernel].family, MXG_AMAX);
  assert_int_equal(plan->kernels[plan->pieces[4].kernel].dst.nan, MX_NAN_ELEMENT); /* the target's policy */
  assert_int_equal(plan->kernels[plan->pieces[5].kernel].family, MXG_QUANTIZE_WHOLE);
  mxg_arena_free(&arena);
}

static void equal_formats_move_bytes(void **state) {
  (void)state;
  fixture_side source = {.tp = 4, .row_tp = true, .stage = MXG_NONE, .format = fixture_mxfp8(1, 32)};
  fixture_side target = {.tp = 2, .col_tp = true, .stage = MXG_NONE, .format = fixture_mxfp8(1, 32)};
  target.format.plane[0].rule = MX_FLOOR; /* whatever rule wrote the scales, they are exact */
  target.format.plane[0].layout = MX_SWIZZLED;
  fixture f;
  fixture_make(&f, 2, 1, (const uint64_t[]){256, 0}, 128, 0, 0, &source, &target);
  mxg_arena arena = {0};
  const mxg_plan *plan = build(&f, &arena);
  for (uint32_t k = 0; k < plan->kernel_count; k++) assert_int_equal(plan->kernels[k].family, MXG_MOVE);
  source.format = fixture_mxfp8(32, 32); /* a square's scale serves each row of it */
  fixture_make(&f, 2, 1, (const uint64_t[]){256, 0}, 128, 0, 0, &source, &target);
  plan = build(&f, &arena);
  for (uint32_t k = 0; k < plan->kernel_count; k++) assert_int_equal(plan->kernels[k].family, MXG_MOVE);
  source.format = fixture_mxfp8(32, 1);
  fixture_make(&f, 2, 1, (const uint64_t[]){256, 0}, 128, 0, 0, &source, &target);
  plan = build(&f, &arena);
  for (uint32_t k = 0; k < plan->kernel_count; k++) assert_int_equal(plan->kernels[k].family, MXG_QUANTIZE_ROWWISE);
  mxg_arena_free(&arena);
}

/* A scale of all the matrix goes with any of its rows and columns. */
static void one_scale_moves_with_any_part(void **state) {
  (void)state;
  const mxg_encoding whole = {.elem = MX_E4M3, .scale = MX_SCALE_FP32, .block_rows = MX_WHOLE, .block_cols = MX_WHOLE};
  fixture_side source = {.stage = MXG_NONE, .format = fixture_mxfp8(128, 128)};
  fixture_side target = {.tp = 2, .stage = MXG_NONE, .parts_apart = true, .format = fixture_mxfp8(128, 128)};
  source.format.plane[0] = whole;
  target.format.plane[0].scale = MX_SCALE_FP32;
  fixture f;
  fixture_make(&f, 2, 1, (const uint64_t[]){60, 60, 0}, 192, 0, 0, &source, &target); /* the second from row 60 */
  mxg_arena arena = {0};
  const mxg_plan *plan = build(&f, &arena);
  for (uint32_t k = 0; k < plan->kernel_count; k++) assert_int_equal(plan->kernels[k].family, MXG_MOVE);
  mxg_arena_free(&arena);
}

static void a_cap_that_is_passed_is_refused(void **state) {
  (void)state;
  fixture_side source = {.tp = 2, .row_tp = true, .stage = MXG_NONE, .format = fixture_bf16()};
  fixture_side target = {.dp = 2, .stage = MXG_NONE, .format = fixture_bf16()};
  fixture f;
  fixture_make(&f, 2, 1, (const uint64_t[]){256, 0}, 256, 0, 0, &source, &target);
  f.model.staging_bytes = 65535;
  mxg_arena arena = {0};
  const mxg_plan *plan;
  mxg_error err;
  assert_int_equal(mxg_plan_build(&plan, &f.model, &arena, &err), MXG_ERR_INPUT);
  assert_int_equal(err.code, 413);
  assert_null(plan);
  f.model.staging_bytes = 65536;
  assert_non_null(build(&f, &arena));
  mxg_arena_free(&arena);
}

static void two_builds_print_the_same(void **state) {
  (void)state;
  fixture_side source = {
      .tp = 4, .ep = 2, .row_tp = true, .expert_ep = true, .stage = MXG_NONE, .format = fixture_mxfp8(1, 32)};
  fixture_side target = {
      .tp = 2, .ep = 4, .row_tp = true, .experts_apart = true, .stage = MXG_NONE, .format = fixture_bf16()};
  fixture f;
  fixture_make(&f, 3, 8, (const uint64_t[]){64, 64, 0}, 64, 0, 0, &source, &target);
  mxg_arena arena = {0};
  mxg_text first = {0}, second = {0};
  mxg_plan_print(build(&f, &arena), &f.model, MXG_PLAN_PIECES, &first);
  mxg_plan_print(build(&f, &arena), &f.model, MXG_PLAN_PIECES, &second);
  assert_string_equal(first.bytes, second.bytes);
  mxg_text_free(&first);
  mxg_text_free(&second);
  mxg_arena_free(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_element_arrives_once),
      cmocka_unit_test(gathers_stay_in_their_slots_and_rotate),
      cmocka_unit_test(replicas_share_the_sending),
      cmocka_unit_test(blocks_that_no_piece_covers_go_through_scratch),
      cmocka_unit_test(equal_formats_move_bytes),
      cmocka_unit_test(one_scale_moves_with_any_part),
      cmocka_unit_test(a_cap_that_is_passed_is_refused),
      cmocka_unit_test(two_builds_print_the_same),
  };
  return cmocka_run_group_tests_name("plan", tests, NULL, NULL) != 0;
}
