/* plan_check.c, plan_schedule.c, plan_cover.c, cover.c: good plans pass, and every way to spoil one is seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cover.h"
#include "error.h"
#include "failing_memory.h"
#include "plan_samples.h"

/* ---- cover.h against counting ---- */

static uint32_t random_state = 1;
static uint32_t random_below(uint32_t n) {
  random_state = random_state * 1664525u + 1013904223u;
  return (uint32_t)(((uint64_t)(random_state >> 8) * n) >> 24);
}

/* Cuts rows x cols into random rectangles. */
static size_t guillotine(mxg_rect *out, uint32_t row, uint32_t rows, uint32_t col, uint32_t cols, uint32_t depth) {
  if (depth == 0 || (rows == 1 && cols == 1)) {
    *out = (mxg_rect){.row = row, .rows = rows, .col = col, .cols = cols};
    return 1;
  }
  bool by_row = cols == 1 || (rows > 1 && random_below(2));
  uint32_t cut = 1 + random_below((by_row ? rows : cols) - 1);
  if (by_row) {
    size_t n = guillotine(out, row, cut, col, cols, depth - 1);
    return n + guillotine(out + n, row + cut, rows - cut, col, cols, depth - 1);
  }
  size_t n = guillotine(out, row, rows, col, cut, depth - 1);
  return n + guillotine(out + n, row, rows, col + cut, cols - cut, depth - 1);
}

enum { grid = 12 };

static mxg_cover counted(unsigned char cells[grid][grid], const mxg_rect *rects, size_t count) {
  memset(cells, 0, grid * grid);
  for (size_t i = 0; i < count; i++)
    for (uint64_t r = rects[i].row; r < rects[i].row + rects[i].rows; r++)
      for (uint32_t c = rects[i].col; c < rects[i].col + rects[i].cols; c++) cells[r][c]++;
  mxg_cover result = MXG_COVER_ONCE;
  for (int i = 0; i < grid * grid; i++) {
    if (cells[i / grid][i % grid] > 1) return MXG_COVER_TWICE;
    if (cells[i / grid][i % grid] == 0) result = MXG_COVER_MISSING;
  }
  return result;
}

static void cover_agrees_with_counting(void **state) {
  (void)state;
  mxg_cover_room room = {0};
  unsigned seen[3] = {0};
  for (int round = 0; round < 20000; round++) {
    mxg_rect rects[80];
    unsigned char cells[grid][grid];
    size_t count = guillotine(rects, 0, grid, 0, grid, 1 + random_below(5));
    if (random_below(3)) { /* move, stretch, drop or double one, inside the grid */
      mxg_rect *r = &rects[random_below((uint32_t)count)];
      switch (random_below(4)) {
      case 0: r->row = random_below((uint32_t)(grid - r->rows + 1)); break;
      case 1: r->col = random_below(grid - r->cols + 1); break;
      case 2: r->rows = 1 + random_below((uint32_t)(grid - r->row)); break;
      default:
        if (count > 1)
          *r = rects[--count];
        else
          r->cols = 1 + random_below(grid - r->col);
      }
    }
    for (size_t i = count; i > 1; i--) { /* any order */
      size_t j = random_below((uint32_t)i);
      mxg_rect swap = rects[i - 1];
      rects[i - 1] = rects[j];
      rects[j] = swap;
    }
    mxg_cover want = counted(cells, rects, count);
    uint64_t row = 99;
    uint32_t col = 99;
    mxg_cover got = mxg_cover_check(&row, &col, &room, rects, count, grid, grid);
    if (want == MXG_COVER_ONCE) assert_int_equal(got, MXG_COVER_ONCE);
    if (want != MXG_COVER_ONCE) { /* both faults may be there: then either may be named, at a cell that has it */
      assert_true(got == MXG_COVER_TWICE || got == MXG_COVER_MISSING);
      if (got == MXG_COVER_TWICE) assert_true(cells[row][col] > 1);
      if (got == MXG_COVER_MISSING) assert_int_equal(cells[row][col], 0);
    }
    seen[got]++;
  }
  assert_true(seen[0] > 1000 && seen[1] > 1000 && seen[2] > 1000);
  mxg_cover_free(&room);
}

/* Sizes of models, shapes that make naive skylines quadratic. */
static void cover_is_fast_for_bad_shapes(void **state) {
  (void)state;
  enum { n = 200000 };
  mxg_cover_room room = {0};
  mxg_rect *rects = calloc(2 * n, sizeof *rects);
  assert_non_null(rects);
  uint64_t row;
  uint32_t col;
  size_t count = 0;
  for (uint32_t i = 0; i < n; i++) rects[count++] = (mxg_rect){.row = 0, .rows = n - i, .col = i, .cols = 1};
  for (uint32_t i = 1; i < n; i++) rects[count++] = (mxg_rect){.row = n - i, .rows = i, .col = i, .cols = 1};
  assert_int_equal(mxg_cover_check(&row, &col, &room, rects, count, n, n), MXG_COVER_ONCE);
  count = 0;
  for (uint32_t i = 0; i < n; i++) rects[count++] = (mxg_rect){.row = 0, .rows = 1, .col = i, .cols = 1};
  for (uint32_t i = 1; i < n; i++) rects[count++] = (mxg_rect){.row = i, .rows = 1, .col = 0, .cols = n};
  assert_int_equal(mxg_cover_check(&row, &col, &room, rects, count, n, n), MXG_COVER_ONCE);
  assert_int_equal(mxg_cover_check(&row, &col, &room, rects, count - 1, n, n), MXG_COVER_MISSING);
  assert_true(row == n - 1);
  free(rects);
  mxg_cover_free(&room);
}

/* ---- plans ---- */

static void every_sample_passes(void **state) {
  (void)state;
  for (int i = 0; i < plan_sample_count; i++) {
    fixture *f = plan_samples[i].make();
    mxg_error err = {0};
    if (mxg_plan_check(&f->plan, &err) != MXG_OK) fail_msg("%s: MX%04u %s", plan_samples[i].name, err.code, err.text);
    free(f);
  }
}

static void expect(fixture *f, unsigned code, const char *what) {
  mxg_error err = {0};
  mxg_status status = mxg_plan_check(&f->plan, &err);
  if (status != MXG_ERR_BUNDLE || err.code != code)
    fail_msg("%s: status %d, MX%04u %s; wanted MX%04u", what, status, err.code, err.text, code);
  assert_true(err.text[0] != 0 && strchr(err.text, '\n') == NULL);
  const char *title;
  assert_non_null(mxg_error_explain(code, &title));
  free(f);
}

/* One line for each: a fresh sample as f, what is done to it, and the code that says so. */
#define SPOIL(make, code, ...)     \
  do {                             \
    fixture *f = make();           \
    __VA_ARGS__;                   \
    expect(f, code, #__VA_ARGS__); \
  } while (0)

static void frame_and_tables(void **state) {
  (void)state;
  SPOIL(sample_row_split, 711, f->plan.string_bytes = 0);
  SPOIL(sample_row_split, 711, f->strings[f->plan.string_bytes - 1] = 'x');
  SPOIL(sample_row_split, 711, f->strings[0] = 'x');
  SPOIL(sample_row_split, 712, f->plan.rank_count = 0);
  SPOIL(sample_row_split, 712, f->plan.slots = 5000);
  SPOIL(sample_row_split, 712, f->plan.slot_bytes = UINT64_MAX);
  SPOIL(sample_row_split, 723, f->plan.staging_cap--);
  SPOIL(sample_row_split, 712, f->ranks[0].sources = 2);
  SPOIL(sample_row_split, 712, f->ranks[0].sources = 0);
  SPOIL(sample_row_split, 712, f->ranks[1].first_target = UINT32_MAX);
  SPOIL(sample_row_split, 712, f->ranks[1].targets = UINT32_MAX);
  SPOIL(sample_whole, 712, f->ranks[1].scratches = 0);
  SPOIL(sample_row_split, 712, f->ranks[1].first_step--);
  SPOIL(sample_row_split, 712, f->ranks[1].steps--);
  SPOIL(sample_row_split, 712, f->ranks[1].steps = UINT32_MAX);
  SPOIL(sample_row_split, 713, f->encodings[0].elem = 9);
  SPOIL(sample_row_split, 713, f->encodings[0].elem = MX_BF16);
  SPOIL(sample_row_split, 713, f->encodings[0].scale = MX_SCALE_FP32);
  SPOIL(sample_row_split, 713, f->encodings[0].block_cols = 0);
  SPOIL(sample_row_split, 713, f->encodings[0].pad[1] = 1);
  SPOIL(sample_row_split, 713, f->encodings[1].block_rows = 1);
  SPOIL(sample_row_split, 715, f->kernels[0].name[39] = 'x');
  SPOIL(sample_row_split, 715, f->kernels[0].name[0] = '"');
  SPOIL(sample_row_split, 715, f->kernels[0].family = MXG_FAMILIES);
  SPOIL(sample_row_split, 715, f->kernels[0].family = MXG_MOVE);
  SPOIL(sample_row_split, 715, f->kernels[0].vec = 3);
  SPOIL(sample_row_split, 715, f->kernels[0].vec = 0);
  SPOIL(sample_row_split, 715, f->kernels[0].tile_units = 0);
  SPOIL(sample_row_split, 715, f->kernels[0].origin = 1u << 30);
  SPOIL(sample_row_split, 715, f->kernels[0].src.elem = 7);
}

static void arrays(void **state) {
  (void)state;
  SPOIL(sample_row_split, 714, f->arrays[0].name = UINT32_MAX);
  SPOIL(sample_row_split, 714, f->arrays[0].scale_name = UINT32_MAX);
  SPOIL(sample_row_split, 714, f->arrays[0].tensor = UINT32_MAX);
  SPOIL(sample_row_split, 714, f->arrays[0].scale_name = 0);
  SPOIL(sample_row_split, 714, f->arrays[2].scale_name = f->arrays[0].scale_name);
  SPOIL(sample_row_split, 714, f->arrays[0].name = 0);
  SPOIL(sample_row_split, 714, f->arrays[0].scale_name = f->arrays[0].name);
  SPOIL(sample_reconcile, 714, f->arrays[1].name = f->arrays[0].name);
  SPOIL(sample_reconcile, 714, f->arrays[3].name = f->arrays[2].scale_name);
  SPOIL(sample_row_split, 714, f->arrays[0].rank = 2);
  SPOIL(sample_row_split, 712, f->arrays[0].rank = 1);
  SPOIL(sample_row_split, 714, f->arrays[0].side = 3);
  SPOIL(sample_row_split, 712, f->arrays[0].side = MXG_TARGET);
  SPOIL(sample_row_split, 714, f->arrays[0].encoding = 9);
  SPOIL(sample_row_split, 714, f->arrays[0].ndim = 0);
  SPOIL(sample_row_split, 714, f->arrays[0].ndim = 1);
  SPOIL(sample_row_split, 714, f->arrays[0].matrices = 0);
  SPOIL(sample_row_split, 714, f->arrays[0].matrices = 2);
  SPOIL(sample_row_split, 714, f->arrays[0].rows = (uint64_t)1 << 40);
  SPOIL(sample_row_split, 714, f->arrays[0].cols = UINT64_MAX);
  SPOIL(sample_experts, 714, f->arrays[0].matrices = UINT64_MAX);
  SPOIL(sample_experts, 714, f->arrays[0].matrices = 1u << 31; f->arrays[0].rows = 1u << 31);
  SPOIL(sample_row_split, 714, f->arrays[0].offset = 16);
  SPOIL(sample_whole, 714, f->arrays[3].offset += 8);
  SPOIL(sample_whole, 714, f->arrays[3].offset += 4096);
  SPOIL(sample_whole, 714, f->arrays[3].offset = UINT64_MAX - 15);
  SPOIL(sample_row_split, 716, f->arrays[0].rows--);
  SPOIL(sample_row_split, 725, f->arrays[2].rows++);
  SPOIL(sample_row_split, 717, f->arrays[0].encoding = f->arrays[2].encoding; f->arrays[0].scale_name = 0);
}

static void pieces(void **state) {
  (void)state;
  SPOIL(sample_row_split, 716, f->pieces[0].src = UINT32_MAX);
  SPOIL(sample_row_split, 716, f->pieces[0].dst = 4);
  SPOIL(sample_row_split, 716, f->pieces[0].src = f->pieces[0].dst);
  SPOIL(sample_row_split, 716, f->pieces[0].dst = f->pieces[0].src);
  SPOIL(sample_row_split, 716, f->pieces[0].src_matrix = 1);
  SPOIL(sample_row_split, 716, f->pieces[0].dst_matrix = 1);
  SPOIL(sample_row_split, 716, f->pieces[0].src_col = 1);
  SPOIL(sample_row_split, 716, f->pieces[0].dst_col = UINT32_MAX);
  SPOIL(sample_row_split, 716, f->pieces[0].cols = 0);
  SPOIL(sample_row_split, 716, f->pieces[0].cols = UINT32_MAX);
  SPOIL(sample_row_split, 725, f->pieces[0].cols--);
  SPOIL(sample_row_split, 716, f->pieces[0].first_segment = UINT32_MAX);
  SPOIL(sample_row_split, 716, f->pieces[0].segments = 0);
  SPOIL(sample_row_split, 716, f->pieces[0].segments = UINT32_MAX);
  SPOIL(sample_row_split, 716, f->pieces[0].rows++);
  SPOIL(sample_row_split, 716, f->pieces[0].bucket = UINT32_MAX);
  SPOIL(sample_row_split, 721, f->pieces[0].bucket = 1);
  SPOIL(sample_row_split, 716, f->pieces[0].phase = 3);
  SPOIL(sample_row_split, 716, f->pieces[0].phase = 1);
  SPOIL(sample_row_split, 716, f->pieces[0].pad = 1);
  SPOIL(sample_row_split, 716, f->pieces[0].kernel = 9);
  SPOIL(sample_row_split, 716, f->pieces[0].kernel_direct = 9);
  SPOIL(sample_grouped, 717, f->pieces[0].kernel_direct = f->pieces[0].kernel == 0 ? 0 : 1);
  SPOIL(sample_row_split, 716, f->segments[0].src_row = 1);
  SPOIL(sample_row_split, 716, f->segments[0].dst_row = UINT32_MAX);
  SPOIL(sample_row_split, 716, f->segments[0].rows = 0);
  SPOIL(sample_row_split, 725, f->segments[0].dst_row = 1);
  SPOIL(sample_row_split, 724, f->segments[1].dst_row = 4);
  SPOIL(sample_grouped, 724, f->segments[1].dst_row = 1);
  SPOIL(sample_experts, 725, f->segments[1].dst_row = 1);
  SPOIL(sample_experts, 725, f->pieces[0].dst_matrix = 1);
  SPOIL(sample_experts, 724, f->pieces[f->plan.piece_count - 1].dst_matrix = 0);
  SPOIL(sample_row_split, 717, f->kernels[0].src.block_cols = 16; f->kernels[1].src.block_cols = 16);
  SPOIL(sample_row_split, 717, f->kernels[0].cols = 79; f->kernels[1].cols = 79);
  SPOIL(sample_row_split, 717, f->kernels[0].vec = 32; f->kernels[1].vec = 32);
  SPOIL(sample_quantize_two_slots, 717, for (int i = 0; i < 4; i++) f->kernels[i].dst.rule = MX_FLOOR);
  SPOIL(
      sample_quantize_two_slots, 719, f->segments[0].rows = 63; f->segments[1].rows = 38; f->segments[2].rows = 63;
      f->segments[3].rows = 38; f->arrays[1].rows = 38; f->segments[1].dst_row = 63; f->segments[3].dst_row = 63;
      for (uint32_t i = 0; i < 4; i++) {
        f->pieces[i].rows = f->segments[f->pieces[i].first_segment].rows;
        f->pieces[i].wire_bytes = mxg_wire_of(&f->plan, &f->pieces[i]).bytes;
      });
}

static mxg_piece *remote(fixture *f) {
  for (uint32_t i = 0; i < f->plan.piece_count; i++)
    if (f->pieces[i].wire_bytes) return &f->pieces[i];
  return NULL;
}

static void wires_and_staging(void **state) {
  (void)state;
  SPOIL(sample_row_split, 718, remote(f)->wire_offset += 8);
  SPOIL(sample_row_split, 718, remote(f)->wire_offset = UINT64_MAX - 15);
  SPOIL(sample_row_split, 718, remote(f)->wire_bytes--);
  SPOIL(sample_row_split, 718, remote(f)->wire_bytes = 0);
  SPOIL(sample_reconcile, 718, f->pieces[0].wire_bytes = 16);
  SPOIL(sample_col_split, 723, f->pieces[1].wire_offset = 0);
  SPOIL(sample_col_split, 723, f->pieces[1].wire_offset -= 16);
  SPOIL(sample_whole, 723, f->arrays[3].offset -= 16);
  SPOIL(sample_col_split, 723, f->ranks[2].staging_bytes = 100);
  SPOIL(sample_col_split, 723, f->ranks[2].staging_bytes++);
  SPOIL(sample_col_split, 721, f->ranks[2].received_bytes++);
  SPOIL(sample_col_split, 718, f->plan.slot_bytes = 1024);
}

static mxg_step *step_of(fixture *f, mxg_step_kind kind, uint32_t skip) {
  for (uint32_t i = 0; i < f->plan.step_count; i++)
    if (f->steps[i].kind == kind && skip-- == 0) return &f->steps[i];
  return NULL;
}

static void swap_steps(mxg_step *a, mxg_step *b) {
  mxg_step swap = *a;
  *a = *b;
  *b = swap;
}

static void steps(void **state) {
  (void)state;
  SPOIL(sample_row_split, 721, f->steps[0].kind = 5);
  SPOIL(sample_row_split, 721, f->steps[0].bucket = UINT32_MAX);
  SPOIL(sample_row_split, 721, f->steps[0].slot = 2);
  SPOIL(sample_row_split, 722, step_of(f, MXG_STEP_GATHER, 0)->slot = 1);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_GATHER, 0)->first = UINT32_MAX);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_GATHER, 0)->first--);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_GATHER, 0)->count = UINT32_MAX);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_GATHER, 0)->count = 0);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_GATHER, 0)->bytes++);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_GATHER, 0)->peer = 0);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_GATHER, 0)->group = 7);
  SPOIL(sample_row_split, 711, f->groups[0].name = 0);
  SPOIL(sample_row_split, 711, f->groups[0].name = 1 << 20);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_GATHER, 0)->kind = MXG_STEP_WAIT);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_WAIT, 0)->peer = 0);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_WAIT, 0)->count = UINT32_MAX);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_RELEASE, 0)->first = 1);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_CONVERT, 0)->count++);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_CONVERT, 1)->first--);
  SPOIL(sample_row_split, 721, step_of(f, MXG_STEP_CONVERT, 0)->kernel++);
  SPOIL(sample_grouped, 721, step_of(f, MXG_STEP_CONVERT, 0)->count--);
  SPOIL(sample_row_split, 722, step_of(f, MXG_STEP_WAIT, 0)->kind = MXG_STEP_RELEASE);
  SPOIL(sample_col_split, 721, step_of(f, MXG_STEP_FILL, 0)->count--);
  SPOIL(sample_col_split, 721, step_of(f, MXG_STEP_FILL, 0)->first++);
  SPOIL(sample_col_split, 721, step_of(f, MXG_STEP_FILL, 0)->bucket = 1);
  SPOIL(sample_col_split, 722, swap_steps(step_of(f, MXG_STEP_FILL, 0), step_of(f, MXG_STEP_CONVERT, 0)));
  SPOIL(sample_row_split, 722, swap_steps(step_of(f, MXG_STEP_WAIT, 0), step_of(f, MXG_STEP_CONVERT, 1)));
  SPOIL(sample_row_split, 722, swap_steps(step_of(f, MXG_STEP_WAIT, 0), step_of(f, MXG_STEP_GATHER, 0)));
  SPOIL(sample_row_split, 722, swap_steps(step_of(f, MXG_STEP_RELEASE, 0), step_of(f, MXG_STEP_CONVERT, 0)));
  /* phases of the scratch: phase 0 has two kernels */
  SPOIL(sample_whole, 722, swap_steps(step_of(f, MXG_STEP_CONVERT, 3), step_of(f, MXG_STEP_CONVERT, 2)));
  SPOIL(sample_whole, 722, swap_steps(step_of(f, MXG_STEP_CONVERT, 2), step_of(f, MXG_STEP_CONVERT, 1)));
  /* a slot is taken while its bucket is not released */
  SPOIL(sample_quantize_one_slot, 722, step_of(f, MXG_STEP_RELEASE, 8)->bucket = 9);
  SPOIL(sample_quantize_two_slots, 722, for (uint32_t i = 0; i < f->plan.step_count; i++) f->steps[i].slot = 0);
  SPOIL(sample_quantize_two_slots, 722, swap_steps(step_of(f, MXG_STEP_GATHER, 2), step_of(f, MXG_STEP_RELEASE, 8)));
}

static void fills(void **state) {
  (void)state;
  SPOIL(sample_col_split, 720, f->fills[0].array = 99);
  SPOIL(sample_col_split, 720, f->fills[0].array = 0);
  SPOIL(sample_col_split, 720, f->fills[0].kind = 3);
  SPOIL(sample_col_split, 720, f->fills[0].kind = MXG_FILL_CELL);
  SPOIL(sample_col_split, 720, f->fills[0].bytes = 0);
  SPOIL(sample_col_split, 720, f->fills[0].bytes = UINT64_MAX);
  SPOIL(sample_col_split, 720, f->fills[0].offset = UINT64_MAX);
  SPOIL(sample_col_split, 720, f->fills[0].pad = 1);
  SPOIL(sample_col_split, 720, f->fills[0].bucket = UINT32_MAX);
  SPOIL(sample_col_split, 725, f->fills[0].bytes--);
  SPOIL(sample_col_split, 724, f->fills[0].offset--);
  SPOIL(sample_col_split, 726, f->fills[1].bytes--);
  SPOIL(sample_col_split, 726, f->fills[1].offset--);
  SPOIL(sample_col_split, 726, f->fills[1].offset = UINT64_MAX);
  SPOIL(sample_col_split, 726, f->fills[1].offset++; f->fills[1].bytes -= 3);
  SPOIL(sample_col_split, 726, f->fills[1].offset--; f->fills[1].bytes += 3);
  SPOIL(sample_experts, 726, f->fills[f->plan.fill_count - 1].bytes -= 6);
  SPOIL(sample_experts, 725, f->fills[0].bytes -= 96);
  SPOIL(sample_whole, 720, f->fills[1].bytes = 8);
  SPOIL(sample_whole, 726, f->fills[1].kind = MXG_FILL_SCALES; f->fills[1].array = 2);
}

/* The one scale of a matrix has one writer: two pieces that both are right by themselves are two. */
static void a_whole_scale_has_one_writer(void **state) {
  (void)state;
  fixture *f = fixture_begin(1, 1);
  mxg_encoding whole = fixture_fp8(MX_E4M3, MX_WHOLE, MX_WHOLE);
  uint32_t a = fixture_array(f, 0, MXG_SOURCE, "w", whole, 1, 8, 8), t;
  t = fixture_array(f, 0, MXG_TARGET, "w", whole, 1, 8, 8);
  fixture_rows(f, 0, a, 0, 0, t, 0, 0, 4, 8);
  fixture_rows(f, 0, a, 4, 0, t, 4, 0, 4, 8);
  fixture_end(f);
  expect(f, 726, "two pieces");
}

/* Flips every bit of every table but where a plan stays right: what is read from where, and words for people. */
static void every_bit_matters(void **state) {
  (void)state;
  unsigned refused = 0;
  for (int i = 0; i < plan_sample_count; i++) {
    fixture *f = plan_samples[i].make();
    const struct {
      void *items;
      uint32_t count;
      size_t size, skip[10]; /* offsets of uint32_t, ending with 1 */
    } tables[] = {
        {f->pieces,
         f->plan.piece_count,
         sizeof(mxg_piece),
         {offsetof(mxg_piece, src), offsetof(mxg_piece, src_matrix), offsetof(mxg_piece, src_col),
          offsetof(mxg_piece, first_segment), offsetof(mxg_piece, kernel_direct), offsetof(mxg_piece, wire_offset), 1}},
        {f->segments, f->plan.segment_count, sizeof(mxg_segment), {offsetof(mxg_segment, src_row), 1}},
        {f->fills, f->plan.fill_count, sizeof(mxg_fill), {1}},
        {f->ranks,
         f->plan.rank_count,
         sizeof(mxg_rank),
         {offsetof(mxg_rank, first_source), offsetof(mxg_rank, first_target), offsetof(mxg_rank, first_scratch),
          offsetof(mxg_rank, staging_bytes), 1}},
    };
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
      for (size_t bit = 0; bit < tables[t].count * tables[t].size * 8; bit++) {
        unsigned char *at = (unsigned char *)tables[t].items + bit / 8;
        size_t field = bit / 8 % tables[t].size / 4 * 4;
        bool skip = false;
        for (const size_t *s = tables[t].skip; *s != 1; s++) skip |= *s == field;
        *at ^= (unsigned char)(1u << bit % 8);
        mxg_error err = {0};
        mxg_status status = mxg_plan_check(&f->plan, &err);
        if (!skip && status != MXG_ERR_BUNDLE)
          fail_msg("%s: table %zu, item %zu, byte %zu, bit %zu is not seen", plan_samples[i].name, t,
                   bit / 8 / tables[t].size, bit / 8 % tables[t].size, bit % 8);
        refused += status != MXG_OK;
        *at ^= (unsigned char)(1u << bit % 8);
      }
    free(f);
  }
  assert_true(refused > 10000);
}

/* ---- no memory ---- */

static void every_failed_allocation_is_reported(void **state) {
  (void)state;
  mxg_memory_fn kept = mxg_memory_hook;
  for (int i = 0; i < plan_sample_count; i++) {
    fixture *f = plan_samples[i].make();
    mxg_error err;
    mxg_status status = MXG_ERR_NOMEM;
    mxg_memory_hook = fail_from_then_on;
    for (long n = 0; status != MXG_OK; n++) {
      assert_true(n < 1000);
      allocations_left = n;
      status = mxg_plan_check(&f->plan, &err);
      if (status != MXG_OK) assert_int_equal(status, MXG_ERR_NOMEM);
    }
    mxg_memory_hook = kept;
    free(f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(cover_agrees_with_counting),
      cmocka_unit_test(cover_is_fast_for_bad_shapes),
      cmocka_unit_test(every_sample_passes),
      cmocka_unit_test(frame_and_tables),
      cmocka_unit_test(arrays),
      cmocka_unit_test(pieces),
      cmocka_unit_test(wires_and_staging),
      cmocka_unit_test(steps),
      cmocka_unit_test(fills),
      cmocka_unit_test(a_whole_scale_has_one_writer),
      cmocka_unit_test(every_bit_matters),
      cmocka_unit_test(every_failed_allocation_is_reported),
  };
  return cmocka_run_group_tests_name("plan_check", tests, NULL, NULL) != 0;
}
