/* The tuning file: what is printed is read, damage and other formats are refused with a reason, and generate takes
** it or says why not. What is measured for it is test_tune.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "choose.h"
#include "error.h"
#include "files.h"
#include "generate.h"
#include "hash.h"
#include "tune_file.h"

static void assert_near(double a, double b, double most) {
  if (!(a - b < most && b - a < most)) fail_msg("%.9g is not %.9g", a, b);
}

/* ---- the file ---- */

static mxg_tune sample(void) {
  mxg_tune tune = {.mxgen = "0.1.0",
                   .cuda = "13.0",
                   .set_count = 1,
                   .copy_pull = 394000000000,
                   .kernel_pull = 337000000000,
                   .hints = {.transport = MXG_COPY,
                             .copy_streams = 3,
                             .chunk_bytes = 64 << 20,
                             .gpus = 2,
                             .major = 9,
                             .gpu = "NVIDIA H200"},
                   .bucket_bytes = 256 << 20,
                   .shapes.of = {[MXG_MOVE] = {512, 0}, [MXG_DEQUANTIZE] = {128, 8}},
                   .measured_ns = {[MXG_COPY] = 812400, [MXG_DIRECT] = 934100},
                   .because = "copy 812.4 us, direct 934.1 us on 2 of NVIDIA H200"};
  snprintf(tune.mxgen, sizeof tune.mxgen, "%s", mxg_version());
  memset(tune.recipe, 'a', 64);
  strcpy(tune.sets[0], "layers=4");
  return tune;
}

static mxg_text print(const mxg_tune *tune) {
  mxg_text text = {0};
  mxg_tune_print(tune, "one\n\nthree", &text);
  assert_false(text.failed);
  return text;
}

static void what_is_printed_is_read(void **state) {
  (void)state;
  mxg_tune tune = sample(), back;
  mxg_text text = print(&tune);
  char why[MXG_TUNE_WHY];
  if (!mxg_tune_parse(&back, text.bytes, text.count, why)) fail_msg("%s", why);
  assert_memory_equal(&back.hints, &tune.hints, sizeof tune.hints);
  assert_int_equal(back.bucket_bytes, tune.bucket_bytes);
  assert_string_equal(back.because, tune.because);
  assert_string_equal(back.recipe, tune.recipe);
  assert_int_equal(back.set_count, 1);
  assert_string_equal(back.sets[0], "layers=4");
  assert_int_equal(back.copy_pull, tune.copy_pull);
  assert_memory_equal(&back.shapes, &tune.shapes, sizeof tune.shapes);
  assert_memory_equal(back.measured_ns, tune.measured_ns, sizeof tune.measured_ns);
  assert_non_null(strstr(text.bytes, "\nkernel move 512 0\nkernel dequantize 128 8\nmeasured copy 812400\n"));
  mxg_rates rates = mxg_tune_rates(&back);
  assert_near(rates.copy_pull, 394e9, 1);
  assert_near(rates.memory, mxg_default_rates.memory, 1);
  assert_non_null(strstr(text.bytes, "\n# one\n#\n# three\n"));
  mxg_text_free(&text);
  mxg_tune broken = tune; /* what could not be read back is not printed */
  strcpy(broken.because, "two\nlines");
  mxg_text none = {0};
  mxg_tune_print(&broken, NULL, &none);
  assert_true(none.failed);
  mxg_text_free(&none);
  broken = tune;
  broken.shapes.of[MXG_MOVE].threads = 100;
  mxg_tune_print(&broken, NULL, &none);
  assert_true(none.failed);
  mxg_text_free(&none);
}

static void every_damage_is_found(void **state) {
  (void)state;
  mxg_tune tune = sample(), back;
  mxg_text text = print(&tune);
  char why[MXG_TUNE_WHY];
  for (size_t i = 0; i < text.count; i++) {
    for (unsigned bit = 0; bit < 8; bit++) {
      text.bytes[i] = (char)(text.bytes[i] ^ 1 << bit);
      why[0] = 0;
      if (mxg_tune_parse(&back, text.bytes, text.count, why)) fail_msg("bit %u of byte %zu does not matter", bit, i);
      assert_true(why[0] && !back.mxgen[0]);
      text.bytes[i] = (char)(text.bytes[i] ^ 1 << bit);
    }
    assert_false(mxg_tune_parse(&back, text.bytes, i, why));
  }
  mxg_text_puts(&text, "\n");
  assert_false(mxg_tune_parse(&back, text.bytes, text.count, why));
  mxg_text_free(&text);
}

static void other_formats_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *says;
  } cases[] = {{"mxgen tune 3\nanything\n", "too new"},
               {"mxgen tune 1\nanything\n", "too old"},
               {"mxgen tune 2\n", "line 2"},
               {"mxgen tune x\n", "does not begin"},
               {"", "does not begin"},
               {"return { version = 1 }\n", "does not begin"},
               {"mxgen tune 2\nmxgen 0.1.0\nrecipe abc\n", "digest"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mxg_tune back;
    char why[MXG_TUNE_WHY];
    assert_false(mxg_tune_parse(&back, cases[i].text, strlen(cases[i].text), why));
    if (!strstr(why, cases[i].says)) fail_msg("case %zu: %s", i, why);
  }
}

/* A file with one line in another's place, sealed anew, is refused for what that line says. */
static void lines_of_kernels_are_read_closely(void **state) {
  (void)state;
  static const struct {
    const char *line, *says;
  } cases[] = {{"kernel dequantize 128 8", NULL},
               {"kernel dequantize 1024 1", NULL},
               {"kernel dequantize 0 8", NULL},
               {"kernel dequantize 0 0", "a shape that no kernel can have"},
               {"kernel dequantize 100 8", "a shape that no kernel can have"},
               {"kernel dequantize 128 12", "a shape that no kernel can have"},
               {"kernel dequantize 2048 8", "no shape of kernels"},
               {"kernel dequantize 128 32", "no shape of kernels"},
               {"kernel dequantize 128", "no shape of kernels"},
               {"kernel dequantize 128 8 8", "no shape of kernels"},
               {"kernel dequantize 0128 8", "no shape of kernels"},
               {"kernel dequantise 128 8", "a family of kernels that there is not"},
               {"kernel move 128 8\nkernel move 128 8", "a family of kernels that there is not, or not there"},
               {"kernel dequantize 128 8\nkernel move 128 8", "or not there"},
               {"measured copy 0", "no time"},
               {"measured copy 1 1", "no time"},
               {"measured host 5", "a transport that there is not"},
               {"measured copy 5\nmeasured copy 5", "or twice"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mxg_tune tune = sample(), back;
    memset(&tune.shapes, 0, sizeof tune.shapes);
    memset(tune.measured_ns, 0, sizeof tune.measured_ns);
    mxg_text text = print(&tune), other = {0};
    char why[MXG_TUNE_WHY], hex[65];
    const char *because = strstr(text.bytes, "because "), *end = strstr(text.bytes, "end ");
    unsigned char digest[32];
    mxg_text_add(&other, text.bytes, (size_t)(because - text.bytes));
    mxg_text_format(&other, "%s\n", cases[i].line);
    mxg_text_add(&other, because, (size_t)(end - because));
    mxg_sha256 hash;
    mxg_sha256_begin(&hash);
    mxg_sha256_add(&hash, other.bytes, other.count);
    mxg_sha256_end(&hash, digest);
    mxg_sha256_hex(digest, hex);
    mxg_text_format(&other, "end %.16s\n", hex);
    bool good = mxg_tune_parse(&back, other.bytes, other.count, why);
    if (good != !cases[i].says || (!good && !strstr(why, cases[i].says))) fail_msg("%s: %s", cases[i].line, why);
    mxg_text_free(&other);
    mxg_text_free(&text);
  }
}

static void staleness_has_a_name(void **state) {
  (void)state;
  const char *const sets[] = {"layers=4", NULL}, *const other_sets[] = {"layers=5", NULL}, *const none[] = {NULL};
  mxg_tune tune = sample();
  char why[MXG_TUNE_WHY], other[65];
  assert_true(mxg_tune_fits(&tune, tune.recipe, sets, why));
  memset(other, 'b', 64);
  other[64] = 0;
  assert_false(mxg_tune_fits(&tune, other, sets, why));
  assert_non_null(strstr(why, "recipe"));
  assert_false(mxg_tune_fits(&tune, tune.recipe, other_sets, why));
  assert_non_null(strstr(why, "layers=4"));
  assert_false(mxg_tune_fits(&tune, tune.recipe, none, why));
  assert_false(mxg_tune_fits(&tune, tune.recipe, NULL, why));
  strcpy(tune.mxgen, "9.9.9");
  assert_false(mxg_tune_fits(&tune, tune.recipe, sets, why));
  assert_non_null(strstr(why, "9.9.9"));
  tune.set_count = 0;
  strcpy(tune.mxgen, mxg_version());
  assert_true(mxg_tune_fits(&tune, tune.recipe, NULL, why));
  assert_false(mxg_tune_fits(&tune, tune.recipe, sets, why));
  assert_non_null(strstr(why, "without"));
  /* GPUs */
  const mxg_tune_gpus here = {"NVIDIA H200", "13.0", 8, 9, 0}, nothing = {0};
  assert_true(mxg_tune_fits_found(&tune, &here, 2, why));
  assert_true(mxg_tune_fits_found(&tune, &nothing, 2, why)); /* made for elsewhere: the runtime looks again */
  assert_false(mxg_tune_fits_found(&tune, &here, 4, why));
  assert_non_null(strstr(why, "on 2 GPUs"));
  mxg_tune_gpus other_gpus = here;
  strcpy(other_gpus.name, "NVIDIA H100 80GB HBM3");
  assert_false(mxg_tune_fits_found(&tune, &other_gpus, 2, why));
  assert_non_null(strstr(why, "H100"));
  other_gpus = here;
  other_gpus.minor = 3;
  assert_false(mxg_tune_fits_found(&tune, &other_gpus, 2, why));
  other_gpus = here;
  strcpy(other_gpus.cuda, "12.9");
  assert_false(mxg_tune_fits_found(&tune, &other_gpus, 2, why));
  assert_non_null(strstr(why, "12.9"));
}

/* The same at run time, against what the bundle carries. */
static void hints_hold_for_their_gpus(void **state) {
  (void)state;
  const mxg_hints hints = sample().hints, none = MXG_HINTS_INIT;
  mxg_gpu_info gpus[3] = {
      {.name = "NVIDIA H200", .major = 9}, {.name = "NVIDIA H200", .major = 9}, {.name = "NVIDIA H200", .major = 9}};
  char why[MXG_WHY_ROOM];
  assert_true(mxg_hints_fit(&hints, gpus, 2, true, why));
  assert_false(mxg_hints_fit(&none, gpus, 2, true, why));
  assert_string_equal(why, "");
  assert_false(mxg_hints_fit(&hints, gpus, 1, true, why));
  assert_non_null(strstr(why, "tuned on 2 GPUs, not on 1"));
  assert_true(mxg_hints_fit(&hints, gpus, 1, false, why)); /* one of two processes */
  assert_false(mxg_hints_fit(&hints, gpus, 3, false, why));
  strcpy(gpus[1].name, "NVIDIA A100");
  assert_false(mxg_hints_fit(&hints, gpus, 2, true, why));
  assert_non_null(strstr(why, "not on NVIDIA A100"));
  strcpy(gpus[1].name, "NVIDIA H200");
  gpus[1].minor = 1;
  assert_false(mxg_hints_fit(&hints, gpus, 2, true, why));
}

/* ---- generate ---- */

static const char recipe_text[] =
    "local mx = require 'mx'\n"
    "local m = mx.model 'm'\n"
    "for i = 0, mx.param('layers', 4) - 1 do m:tensor('l' .. i, { 4096, 1024 }) end\n"
    "return { version = 1, name = 'm', model = m,\n"
    "  source = { mesh = mx.mesh { { 'tp', 2 } }, format = { mx.rule(mx.bf16(), '**') },\n"
    "    layout = { mx.rule(mx.split { row = 'tp' }, '**') } },\n"
    "  target = { mesh = mx.mesh { { 'dp', 2 } }, format = { mx.rule(mx.bf16(), '**') },\n"
    "    layout = { mx.rule(mx.whole(), '**') } },\n"
    "  schedule = { bucket = '64MiB', slots = 2, staging = '256MiB' } }\n";

static char recipe[512], tuning[512], warned[1024];
static unsigned warnings;

static void warn(void *user, const char *text) {
  (void)user;
  warnings++;
  snprintf(warned, sizeof warned, "%s", text);
}

static int make_recipe(void **state) {
  if (folder_make(state)) return -1;
  snprintf(recipe, sizeof recipe, "%s/r.lua", test_folder);
  snprintf(tuning, sizeof tuning, "%s/r.tune", test_folder);
  file_save(recipe, recipe_text, sizeof recipe_text - 1);
  setenv("MXGEN_CACHE_DIR", in_folder("cache"), 1);
  return mkdir(in_folder("cache"), 0700);
}

static int remove_recipe(void **state) {
  char command[600];
  snprintf(command, sizeof command, "rm -rf %s/cache", test_folder);
  if (system(command)) return -1;
  return folder_remove(state);
}

static mxg_bundle *generate(bool no_tune) {
  static const char *const none[] = {NULL};
  mxg_options options = MXG_OPTIONS_INIT;
  mxg_bundle *bundle;
  mxg_error err = {0};
  options.archs = none;
  options.warn = warn;
  options.no_tune = no_tune;
  warnings = 0;
  if (mxg_generate(&bundle, recipe, &options, &err) != MXG_OK) fail_msg("%s", err.text);
  return bundle;
}

/* A file for the recipe and whatever GPUs are here. */
static mxg_tune fitting(void) {
  static const char *const none[] = {NULL};
  mxg_options options = MXG_OPTIONS_INIT;
  mxg_generation g = {0};
  mxg_tune tune = sample();
  mxg_tune_gpus gpus;
  options.archs = none;
  options.no_tune = true;
  assert_int_equal(mxg_generation_run(&g, recipe, &options, MXG_STAGE_PLAN, NULL), MXG_OK);
  mxg_tune_recipe(tune.recipe, &g.files);
  mxg_generation_free(&g);
  mxg_tune_find_gpus(&gpus);
  tune.set_count = 0;
  tune.bucket_bytes = 4 << 20;
  if (!gpus.count) return tune;
  memcpy(tune.hints.gpu, gpus.name, sizeof gpus.name);
  tune.hints.major = gpus.major;
  tune.hints.minor = gpus.minor;
  tune.hints.gpus = gpus.count < 2 ? gpus.count : 2;
  strcpy(tune.cuda, gpus.cuda);
  return tune;
}

static void save(const mxg_tune *tune) {
  mxg_text text = print(tune);
  file_save(tuning, text.bytes, text.count);
  mxg_text_free(&text);
}

static void generate_takes_what_fits(void **state) {
  (void)state;
  const char *why;
  mxg_bundle *plain = generate(false);
  assert_int_equal(warnings, 0);
  assert_int_equal(mxg_bundle_hints(plain, &why)->transport, MXG_AUTO);
  assert_string_equal(why, "");
  uint32_t steps = mxg_bundle_plan(plain)->step_count;
  mxg_tune tune = fitting();
  save(&tune);
  for (int turn = 0; turn < 2; turn++) { /* made, then from the cache */
    mxg_bundle *tuned = generate(false);
    if (warnings) fail_msg("%s", warned);
    const mxg_hints *hints = mxg_bundle_hints(tuned, &why);
    assert_memory_equal(hints, &tune.hints, sizeof *hints);
    assert_non_null(strstr(why, tune.because));
    assert_true(mxg_bundle_plan(tuned)->step_count > steps); /* more, smaller buckets */
    assert_string_not_equal(mxg_bundle_digest(tuned), mxg_bundle_digest(plain));
    /* saved and loaded, it says the same */
    mxg_bundle *loaded;
    assert_int_equal(mxg_bundle_save(tuned, in_folder("b.mxb"), NULL), MXG_OK);
    assert_int_equal(mxg_bundle_load(&loaded, in_folder("b.mxb"), NULL), MXG_OK);
    assert_memory_equal(mxg_bundle_hints(loaded, NULL), &tune.hints, sizeof tune.hints);
    assert_string_equal(mxg_bundle_digest(loaded), mxg_bundle_digest(tuned));
    mxg_bundle_free(loaded);
    mxg_bundle_free(tuned);
  }
  mxg_bundle *left = generate(true); /* told to leave it */
  assert_string_equal(mxg_bundle_digest(left), mxg_bundle_digest(plain));
  mxg_bundle_free(left);
  unlink(tuning);
  left = generate(false);
  assert_string_equal(mxg_bundle_digest(left), mxg_bundle_digest(plain));
  mxg_bundle_free(left);
  mxg_bundle_free(plain);
}

/* An MXFP8 model, for kernels that convert. */
static void save_converting_recipe(void) {
  static const char text[] = "local mx = require 'mx'\n"
                             "local m = mx.model 'm'\n"
                             "for i = 0, 3 do m:tensor('l' .. i, { 256, 1024 }) end\n"
                             "return { version = 1, name = 'm', model = m,\n"
                             "  source = { mesh = mx.mesh { { 'tp', 2 } }, format = { mx.rule(mx.mxfp8 { elem = "
                             "'e4m3', block = 32, scale = 'rceil' }, '**') },\n"
                             "    layout = { mx.rule(mx.split { row = 'tp' }, '**') } },\n"
                             "  target = { mesh = mx.mesh { { 'dp', 2 } }, format = { mx.rule(mx.bf16(), '**') },\n"
                             "    layout = { mx.rule(mx.whole(), '**') } } }\n";
  file_save(recipe, text, sizeof text - 1);
}

/* The file's shapes are the plan's: other kernels by another name, and the rest as it was. */
static void shapes_reach_the_plan(void **state) {
  (void)state;
  save_converting_recipe();
  mxg_bundle *plain = generate(true);
  mxg_tune tune = fitting();
  tune.bucket_bytes = 0;
  memset(&tune.shapes, 0, sizeof tune.shapes);
  tune.shapes.of[MXG_DEQUANTIZE] = (mxg_kernel_shape){128, 8};
  save(&tune);
  mxg_bundle *tuned = generate(false);
  if (warnings) fail_msg("%s", warned);
  const mxg_plan *before = mxg_bundle_plan(plain), *after = mxg_bundle_plan(tuned);
  assert_int_equal(before->kernel_count, after->kernel_count);
  bool found = false;
  for (uint32_t k = 0; k < after->kernel_count; k++) {
    const mxg_kernel *a = &before->kernels[k], *b = &after->kernels[k];
    assert_int_equal(a->family, b->family);
    if (a->family != MXG_DEQUANTIZE) continue;
    found = true;
    assert_int_equal(a->threads, 256);
    assert_int_equal(b->threads, 128);
    assert_int_equal(a->vec, 8);
    assert_int_equal(b->vec, 4);
    assert_int_equal(b->tile_units, 128 * 2);
    assert_string_not_equal(a->name, b->name);
  }
  assert_true(found);
  assert_string_not_equal(mxg_bundle_digest(plain), mxg_bundle_digest(tuned));
  mxg_bundle_free(tuned);
  tune.shapes.of[MXG_DEQUANTIZE] = (mxg_kernel_shape){0};
  tune.shapes.of[MXG_QUANTIZE_BOTH] = (mxg_kernel_shape){512, 8}; /* no kernel of the plan: nothing changes */
  save(&tune);
  tuned = generate(false);
  assert_int_equal(warnings, 0);
  after = mxg_bundle_plan(tuned);
  for (uint32_t k = 0; k < after->kernel_count; k++)
    assert_string_equal(before->kernels[k].name, after->kernels[k].name);
  mxg_bundle_free(tuned);
  mxg_bundle_free(plain);
}

/* Never an error, always said, each time; the bundle is the one without a file. */
static void what_does_not_fit_is_a_warning(void **state) {
  (void)state;
  mxg_bundle *plain = generate(true);
  for (int kind = 0; kind < 8; kind++) {
    static const char *const says[] = {"is not the one that was tuned",
                                       "9.9.9",
                                       "layers=3",
                                       "line ",
                                       "too new",
                                       "no file",
                                       "does not begin",
                                       "cannot be read"};
    mxg_tune tune = fitting();
    if (kind == 0) tune.recipe[0] = tune.recipe[0] == 'a' ? 'b' : 'a';
    if (kind == 1) strcpy(tune.mxgen, "9.9.9");
    if (kind == 2) tune.set_count = 1, strcpy(tune.sets[0], "layers=3");
    save(&tune);
    if (kind == 3) assert_int_equal(truncate(tuning, 200), 0);
    if (kind == 4) file_save(tuning, "mxgen tune 3\n", 13);
    if (kind == 5) unlink(tuning), assert_int_equal(mkfifo(tuning, 0600), 0);
    if (kind == 6) file_save(tuning, "", 0);
    if (kind == 7) unlink(tuning), assert_int_equal(symlink("r.tune", tuning), 0);
    alarm(20);
    for (int turn = 0; turn < 2; turn++) {
      mxg_bundle *bundle = generate(false);
      assert_int_equal(warnings, 1);
      if (!strstr(warned, says[kind]) || !strstr(warned, "r.tune is not used")) fail_msg("kind %d: %s", kind, warned);
      assert_string_equal(mxg_bundle_digest(bundle), mxg_bundle_digest(plain));
      mxg_bundle_free(bundle);
    }
    alarm(0);
    unlink(tuning);
  }
  mxg_bundle_free(plain);
}

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_recipe, remove_recipe)
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_printed_is_read),
      cmocka_unit_test(every_damage_is_found),
      cmocka_unit_test(other_formats_are_refused),
      cmocka_unit_test(lines_of_kernels_are_read_closely),
      cmocka_unit_test(staleness_has_a_name),
      cmocka_unit_test(hints_hold_for_their_gpus),
      CASE(generate_takes_what_fits),
      CASE(shapes_reach_the_plan),
      CASE(what_does_not_fit_is_a_warning),
  };
  return cmocka_run_group_tests_name("tune_file", tests, NULL, NULL) != 0;
}
