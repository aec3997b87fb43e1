/* Tuning: the cost model, which trials there are, what the search makes of measured times, and what of that the file
** says. The file itself is test_tune_file.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "error.h"
#include "generate.h"
#include "tune.h"
#include "tune_run.h"

static void assert_near(double a, double b, double most) {
  if (!(a - b < most && b - a < most)) fail_msg("%.9g is not %.9g", a, b);
}

/* ---- the cost model ---- */

static void costs_are_what_the_rates_say(void **state) {
  (void)state;
  const mxg_rates rates = {.copy_pull = 100e9,
                           .kernel_pull = 50e9,
                           .nccl_pull = 40e9,
                           .memory = 1000e9,
                           .start = 1e-6,
                           .bucket_start = 2e-6,
                           .copy_start = 10e-6,
                           .nccl_start = 20e-6,
                           .copy_share = .5,
                           .several_copy = .9};
  const mxg_load pulls = {1000000000, 2000000000, 0, 3, false}, local = {0, 2000000000, 0, 3, false};
  const mxg_load straight = {1000000000, 2000000000, 1000000000, 3, false},
                 heavy = {1000000000, 18000000000, 0, 3, false};
  const mxg_load several = {1000000000, 2000000000, 1000000000, 3, true};
  assert_near(mxg_cost_floor(&rates, &pulls), 0.01, 1e-9);
  /* 20 ms of the link beside 4 ms of memory, for wires are written and sources are read by peers; beside 2 ms where
  ** nothing is staged; beside 20 ms. */
  assert_near(mxg_cost(&rates, MXG_COPY, &pulls), 0.0200000064 + 11e-6, 1e-9);
  assert_near(mxg_cost(&rates, MXG_COPY, &straight), 0.02 + 11e-6, 1e-9);
  assert_near(mxg_cost(&rates, MXG_COPY, &heavy), 0.02 * 1.0905077 + 11e-6, 1e-8);
  assert_near(mxg_cost(&rates, MXG_DIRECT, &pulls), 0.02 + 7e-6, 1e-9);
  /* Links that several share are slower, and so are copies between processes, whose ranks take no turns. */
  assert_near(mxg_cost(&rates, MXG_DIRECT, &several), 0.02 / .955 + 7e-6, 1e-8);
  assert_true(mxg_cost(&rates, MXG_COPY, &several) > 0.02 / .9);
  const mxg_rates apart = mxg_rates_apart(&rates);
  assert_true(mxg_cost(&apart, MXG_COPY, &several) > 0.02 / .57);
  assert_near(mxg_cost(&apart, MXG_COPY, &several), 0.02 / .9 / .62 + 50e-6 + 11e-6, 1e-8);
  assert_near(mxg_cost(&apart, MXG_COPY, &pulls), 0.02 / .85 + 11e-6, 1e-8);
  assert_near(mxg_cost(&apart, MXG_DIRECT, &pulls), mxg_cost(&rates, MXG_DIRECT, &pulls), 1e-12);
  assert_near(mxg_cost(&rates, MXG_NCCL, &pulls), 0.025 + 60e-6 + 0.002 / 3 + 1e-6, 1e-9);
  assert_near(mxg_cost_floor(&rates, &local), 0.002, 1e-9);
  assert_near(mxg_cost(&rates, MXG_COPY, &local), 0.002 + 1e-6, 1e-9); /* nothing is copied */
  assert_near(mxg_cost(&rates, MXG_NCCL, &local), 0.002 + 1e-6, 1e-9);
}

/* A recipe with four layers, as far as its plan. */
static void plan_llama(mxg_generation *g) {
  static const char *const none[] = {NULL}, *const sets[] = {"layers=4", NULL};
  mxg_options options = MXG_OPTIONS_INIT;
  mxg_error err;
  *g = (mxg_generation){0};
  options.archs = none;
  options.sets = sets;
  assert_int_equal(mxg_generation_run(g, MXG_ROOT "/recipes/llama3_8b_tp2.lua", &options, MXG_STAGE_PLAN, &err),
                   MXG_OK);
}

/* Groups of a rank add up to the rank, and the plan takes what its slowest rank does. */
static void groups_add_up(void **state) {
  (void)state;
  mxg_generation g;
  plan_llama(&g);
  double slowest = 0;
  for (uint32_t rank = 0; rank < g.plan->rank_count; rank++) {
    mxg_load all = mxg_load_of_rank(g.plan, rank), sum = {0};
    for (uint32_t i = 0; i < g.plan->group_count; i++) {
      mxg_load one = mxg_load_of_group(g.plan, rank, i);
      sum.received += one.received;
      sum.converted += one.converted;
      sum.straight += one.straight;
      sum.buckets += one.buckets;
    }
    assert_int_equal(sum.received, all.received);
    assert_int_equal(all.received, g.plan->ranks[rank].received_bytes);
    assert_int_equal(sum.converted, all.converted);
    assert_int_equal(sum.straight, all.straight);
    assert_in_range(all.straight, 1, all.received); /* embedding, head and the ends' layers are BF16 on both sides */
    assert_int_equal(sum.buckets, all.buckets);
    double took = mxg_cost(&mxg_default_rates, MXG_COPY, &all);
    if (took > slowest) slowest = took;
  }
  assert_true(slowest > 0);
  assert_near(mxg_cost_of_plan(&mxg_default_rates, MXG_COPY, g.plan), slowest, 1e-12);
  mxg_generation_free(&g);
}

/* ---- the search, over a table in place of GPUs ---- */

typedef struct fake {
  double direct, copy; /* seconds as the recipe has it */
  uint64_t good_chunk; /* times `chunk_gain` */
  double chunk_gain;
  uint32_t good_streams;
  double streams_gain;
  uint64_t good_bucket;
  double bucket_gain;
  bool no_copy, no_direct;
  uint64_t wrong;
  double later; /* seconds that a winner takes longer when it is run again */
  unsigned calls, trials, checked;
  mxg_status fails;
  double nccl;                 /* 0: there is none */
  mxg_kernel_shape good_shape; /* of dequantize */
  double shape_gain;
  mxg_kernel_shape bad_shape; /* cannot be made */
  unsigned shaped;
} fake;

static mxg_status fake_measure(void *user, mxg_trial *trials, uint32_t count, mxg_error *err) {
  fake *f = user;
  f->calls++;
  if (f->fails) return mxg_fail(err, f->fails, 523, "the GPU is gone");
  for (uint32_t i = 0; i < count; i++) {
    mxg_trial *t = &trials[i];
    f->trials++;
    assert_int_equal(t->bucket_bytes, trials[0].bucket_bytes);
    assert_memory_equal(&t->shapes, &trials[0].shapes, sizeof t->shapes);
    const mxg_kernel_shape *shape = &t->shapes.of[MXG_DEQUANTIZE];
    f->shaped += mxg_kernel_shapes_count(&t->shapes) != 0;
    if (f->bad_shape.threads && memcmp(shape, &f->bad_shape, sizeof *shape) == 0) {
      strcpy(t->note, "a kernel does not compile");
      continue;
    }
    if (t->transport == MXG_NCCL && f->nccl <= 0) {
      strcpy(t->note, "no NCCL");
      continue;
    }
    if (t->transport == MXG_COPY ? f->no_copy : t->transport == MXG_DIRECT && f->no_direct) {
      strcpy(t->note, "no peer access");
      continue;
    }
    t->median = t->transport == MXG_NCCL ? f->nccl : t->transport == MXG_DIRECT ? f->direct : f->copy;
    if (t->transport == MXG_COPY && t->chunk_bytes == f->good_chunk) t->median *= f->chunk_gain;
    if (t->transport == MXG_COPY && t->copy_streams == f->good_streams) t->median *= f->streams_gain;
    if (t->bucket_bytes && t->bucket_bytes == f->good_bucket) t->median *= f->bucket_gain;
    if (f->shape_gain > 0 && memcmp(shape, &f->good_shape, sizeof *shape) == 0) t->median *= f->shape_gain;
    t->measured = true;
    t->wrong = t->check ? f->wrong : 0;
    if (t->check) f->checked++;
    if (t->check && (t->chunk_bytes || t->copy_streams || t->bucket_bytes || mxg_kernel_shapes_count(&t->shapes)))
      t->median += f->later;
  }
  return MXG_OK;
}

static const mxg_tune_space wide = {.bucket_bytes = 512 << 20, .bucket_most = 1 << 30, .received = (uint64_t)4 << 30};

/* The winner under a table. */
static mxg_trial search(fake *f, const mxg_tune_space *space, mxg_trial *copy) {
  mxg_arena arena = {0};
  mxg_tune_found found;
  mxg_error err = {0};
  if (mxg_tune_search(&found, space, fake_measure, f, &arena, &err) != MXG_OK) fail_msg("%s", err.text);
  assert_true(found.best < found.count);
  mxg_trial best = found.trials[found.best];
  if (copy) *copy = found.trials[found.best_copy];
  for (uint32_t i = 0; i < found.count; i++) /* none twice, none that cannot matter */
    for (uint32_t k = 0; k < i; k++)
      assert_false(found.trials[i].transport == found.trials[k].transport &&
                   found.trials[i].bucket_bytes == found.trials[k].bucket_bytes &&
                   found.trials[i].chunk_bytes == found.trials[k].chunk_bytes &&
                   found.trials[i].copy_streams == found.trials[k].copy_streams &&
                   memcmp(&found.trials[i].shapes, &found.trials[k].shapes, sizeof found.trials[i].shapes) == 0);
  mxg_arena_free(&arena);
  return best;
}

static void the_fastest_wins(void **state) {
  (void)state;
  mxg_trial copy;
  /* all alike: the defaults, by the faster transport */
  fake even = {.direct = 2e-3, .copy = 1e-3, .chunk_gain = 1, .streams_gain = 1, .bucket_gain = 1};
  mxg_trial best = search(&even, &wide, &copy);
  assert_int_equal(best.transport, MXG_COPY);
  assert_true(!best.chunk_bytes && !best.copy_streams && !best.bucket_bytes);
  assert_int_equal(even.calls, 4); /* GPUs are prepared once a bucket */
  fake direct = {.direct = 1e-3, .copy = 2e-3, .chunk_gain = 1, .streams_gain = 1, .bucket_gain = 1};
  assert_int_equal(search(&direct, &wide, NULL).transport, MXG_DIRECT);
  /* half a per cent is noise, three per cent are not */
  fake noise = {.direct = 2e-3,
                .copy = 1e-3,
                .good_chunk = 64 << 20,
                .chunk_gain = .995,
                .good_streams = 3,
                .streams_gain = .995,
                .good_bucket = 256 << 20,
                .bucket_gain = .995};
  best = search(&noise, &wide, NULL);
  assert_true(!best.chunk_bytes && !best.copy_streams && !best.bucket_bytes);
  fake gain = noise;
  gain.checked = 0;
  gain.chunk_gain = gain.streams_gain = gain.bucket_gain = .97;
  best = search(&gain, &wide, NULL);
  assert_int_equal(best.chunk_bytes, 64 << 20);
  assert_int_equal(best.copy_streams, 3);
  assert_int_equal(best.bucket_bytes, 256 << 20);
  assert_true(best.check);
  assert_int_equal(gain.checked, 3); /* the defaults, and what won */
  /* winners that were lucky, and take longer when they are run again, give way, at last to the defaults */
  fake lucky = gain;
  lucky.later = 1e-4;
  best = search(&lucky, &wide, NULL);
  assert_true(!best.chunk_bytes && !best.copy_streams && !best.bucket_bytes);
  /* kernels win, and copies are tuned all the same, for a caller who asks for them; of the bucket that won */
  fake both = gain;
  both.direct = 5e-4;
  both.bucket_gain = 1;
  best = search(&both, &wide, &copy);
  assert_int_equal(best.transport, MXG_DIRECT);
  assert_int_equal(best.bucket_bytes, 0);
  assert_int_equal(copy.chunk_bytes, 64 << 20);
  assert_int_equal(copy.copy_streams, 3);
  assert_int_equal(copy.bucket_bytes, 0);
  /* where copies cannot run, kernels are left */
  fake alone = even;
  alone.no_copy = true;
  assert_int_equal(search(&alone, &wide, NULL).transport, MXG_DIRECT);
  /* where links are such that NCCL wins, copies are tuned all the same */
  fake links = {.copy = 3e-3, .direct = 4e-3, .nccl = 2e-3, .chunk_gain = 1, .streams_gain = 1, .bucket_gain = 1};
  assert_int_equal(search(&links, &wide, &copy).transport, MXG_NCCL);
  assert_int_equal(copy.transport, MXG_COPY);
}

static void what_cannot_matter_is_not_tried(void **state) {
  (void)state;
  fake f = {.direct = 2e-3, .copy = 1e-3, .chunk_gain = 1, .streams_gain = 1, .bucket_gain = 1};
  const mxg_tune_space small = {.bucket_bytes = 512 << 20, .bucket_most = 1 << 30, .received = 4 << 20};
  search(&f, &small, NULL);
  assert_int_equal(f.trials, 1 + 4 + 1); /* direct, streams, NCCL: no chunk, no bucket cuts 4 MiB */
  fake none = {.direct = 2e-3, .copy = 1e-3, .chunk_gain = 1, .streams_gain = 1, .bucket_gain = 1};
  const mxg_tune_space local = {.bucket_bytes = 512 << 20, .bucket_most = 1 << 30};
  search(&none, &local, NULL);
  assert_int_equal(none.trials, 2);
  fake tight = {
      .direct = 2e-3, .copy = 1e-3, .chunk_gain = 1, .streams_gain = 1, .good_bucket = 1 << 30, .bucket_gain = .5};
  const mxg_tune_space full = {.bucket_bytes = 512 << 20, .bucket_most = 600 << 20, .received = (uint64_t)4 << 30};
  assert_int_equal(search(&tight, &full, NULL).bucket_bytes, 0); /* staging has no room for the better one */
}

/* Kernels are tried in other shapes last, with all else as it was best; what cannot be made is left out. */
static void shapes_are_tried_with_the_best(void **state) {
  (void)state;
  const mxg_kernel_shape good = {512, 8};
  mxg_tune_space space = wide;
  space.family_count = 2;
  space.families[0] = (mxg_tune_family){MXG_DEQUANTIZE, 3, {{128, 0}, {512, 0}, {512, 8}}};
  space.families[1] = (mxg_tune_family){MXG_MOVE, 1, {{512, 0}}};
  fake f = {.direct = 1e-3,
            .copy = 2e-3,
            .chunk_gain = 1,
            .streams_gain = 1,
            .good_bucket = 256 << 20,
            .bucket_gain = .9,
            .good_shape = good,
            .shape_gain = .9,
            .bad_shape = {128, 0}};
  mxg_trial best = search(&f, &space, NULL);
  assert_int_equal(best.transport, MXG_DIRECT);
  assert_int_equal(best.bucket_bytes, 256 << 20);
  assert_memory_equal(&best.shapes.of[MXG_DEQUANTIZE], &good, sizeof good);
  assert_int_equal(best.shapes.of[MXG_MOVE].threads, 0); /* tried beside what had won, and worth nothing */
  assert_true(best.check);
  assert_int_equal(f.shaped, 3 + 1 + 1); /* and the winner again, for its bytes */
  /* two choices must be worth 2 % */
  f.shape_gain = .985;
  best = search(&f, &space, NULL);
  assert_int_equal(mxg_kernel_shapes_count(&best.shapes), 0);
  /* lucky once: given up when it is run again */
  f.shape_gain = .9;
  f.later = 5e-4;
  best = search(&f, &space, NULL);
  assert_int_equal(mxg_kernel_shapes_count(&best.shapes), 0);
  /* nothing that can be run: nothing is tried */
  fake nothing = {.no_copy = true, .no_direct = true};
  mxg_arena arena = {0};
  mxg_tune_found found;
  mxg_error err = {0};
  assert_int_equal(mxg_tune_search(&found, &space, fake_measure, &nothing, &arena, &err), MXG_ERR_UNSUPPORTED);
  assert_int_equal(nothing.shaped, 0);
  mxg_arena_free(&arena);
}

/* The kernels of a plan that are tried: of the families that convert most, each in every shape that makes another. */
static void the_heaviest_kernels_are_tried(void **state) {
  (void)state;
  mxg_generation g;
  plan_llama(&g);
  mxg_tune_space space = {0};
  mxg_tune_list_shapes(&space, g.plan);
  assert_in_range(space.family_count, 1, MXG_TUNE_FAMILIES);
  bool dequantizes = false;
  for (uint32_t i = 0; i < space.family_count; i++) {
    const mxg_tune_family *f = &space.families[i];
    dequantizes = dequantizes || f->family == MXG_DEQUANTIZE;
    assert_in_range(f->count, 1, MXG_TUNE_SHAPES);
    for (uint32_t k = 0; k < f->count; k++) {
      assert_true(mxg_kernel_shape_is_good(&f->shapes[k]));
      assert_true(f->shapes[k].threads != 256 && (f->shapes[k].threads || f->shapes[k].access_bytes));
      for (uint32_t m = 0; m < k; m++) assert_memory_not_equal(&f->shapes[k], &f->shapes[m], sizeof f->shapes[k]);
    }
  }
  assert_true(dequantizes);
  mxg_generation_free(&g);
  /* Strips of columns are as wide as they are. */
  const mxg_encoding bf16 = {.elem = MX_BF16};
  const mxg_encoding column = {
      .elem = MX_E4M3, .scale = MX_SCALE_E8M0, .rule = MX_RCEIL, .block_rows = 32, .block_cols = 1};
  mxg_kernel kernel = {.family = MXG_QUANTIZE_COLUMNWISE, .vec = 8, .src = bf16, .dst = column};
  mxg_kernel_shape shapes[MXG_TUNE_SHAPES];
  mxg_kernel_size(&kernel, NULL);
  assert_int_equal(mxg_tune_shapes_of(shapes, &kernel), 2);
  assert_int_equal(shapes[0].threads + shapes[1].threads, 128 + 512);
  mxg_kernel narrow = {
      .family = MXG_DEQUANTIZE, .vec = 2, .src = bf16, .dst = bf16}; /* by its rows: nothing to halve */
  mxg_kernel_size(&narrow, NULL);
  assert_int_equal(mxg_tune_shapes_of(shapes, &narrow), 2);
}

static void a_search_fails_as_a_whole(void **state) {
  (void)state;
  mxg_arena arena = {0};
  mxg_tune_found found;
  mxg_error err = {0};
  fake wrong = {.direct = 1e-3, .copy = 1e-3, .chunk_gain = 1, .streams_gain = 1, .wrong = 3};
  assert_int_equal(mxg_tune_search(&found, &wide, fake_measure, &wrong, &arena, &err), MXG_ERR_WRONG);
  assert_true(found.count > 0);
  fake gone = {.fails = MXG_ERR_CUDA};
  assert_int_equal(mxg_tune_search(&found, &wide, fake_measure, &gone, &arena, &err), MXG_ERR_CUDA);
  fake nothing = {.no_copy = true, .no_direct = true};
  assert_int_equal(mxg_tune_search(&found, &wide, fake_measure, &nothing, &arena, &err), MXG_ERR_UNSUPPORTED);
  assert_int_equal(err.code, 840);
  assert_non_null(strstr(err.text, "no peer access"));
  mxg_arena_free(&arena);
}

static void results_make_the_file(void **state) {
  (void)state;
  const mxg_tune_gpus gpus = {"NVIDIA H200", "13.0", 8, 9, 0};
  const mxg_trial trials[] = {
      {.transport = MXG_DIRECT, .measured = true, .median = 934.1e-6},
      {.transport = MXG_COPY, .measured = true, .median = 850e-6},
      {.transport = MXG_COPY, .chunk_bytes = 64 << 20, .copy_streams = 3, .measured = true, .median = 812.4e-6},
      {.transport = MXG_NCCL, .measured = true, .median = 1200e-6}};
  const mxg_tune_found found = {trials, 4, 2, 2};
  mxg_tune tune = {0};
  mxg_tune_fill(&tune, &found, &gpus, 2, 394e9, 337e9);
  assert_int_equal(tune.hints.transport, MXG_COPY);
  assert_int_equal(tune.hints.chunk_bytes, 64 << 20);
  assert_int_equal(tune.hints.copy_streams, 3);
  assert_int_equal(tune.hints.gpus, 2); /* two ranks use two of eight */
  assert_string_equal(tune.because, "copy 812.4 us, direct 934.1 us, nccl 1200.0 us on 2 of NVIDIA H200");
  assert_int_equal(tune.copy_pull, 394000000000u);
  assert_string_equal(tune.mxgen, mxg_version());
  assert_int_equal(tune.measured_ns[MXG_COPY], 812400);
  assert_int_equal(tune.measured_ns[MXG_DIRECT], 934100);
  assert_int_equal(tune.measured_ns[MXG_NCCL], 1200000);
  assert_int_equal(mxg_kernel_shapes_count(&tune.shapes), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(costs_are_what_the_rates_say),
      cmocka_unit_test(groups_add_up),
      cmocka_unit_test(the_fastest_wins),
      cmocka_unit_test(what_cannot_matter_is_not_tried),
      cmocka_unit_test(shapes_are_tried_with_the_best),
      cmocka_unit_test(the_heaviest_kernels_are_tried),
      cmocka_unit_test(a_search_fails_as_a_whole),
      cmocka_unit_test(results_make_the_file),
  };
  return cmocka_run_group_tests_name("tune", tests, NULL, NULL) != 0;
}
