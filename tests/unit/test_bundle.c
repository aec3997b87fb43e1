/* bundle.h: what goes in comes out, equal inputs give equal bytes, and anything else is refused whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bundle.h"
#include "error.h"
#include "failing_memory.h"
#include "plan_samples.h"

static const unsigned char sources[32] = {1, 2, 3, 4};
static const char code_a[] = "cubin a", code_b[] = "another cubin, of another length";

static mxg_bundle *make(const fixture *f, bool cubins) {
  const mxg_bundle_cubin list[] = {
      {0, "sm_90a", code_a, sizeof code_a},
      {0, "sm_100a", code_b, sizeof code_b},
      {0, "sm_80", NULL, 0},
  };
  const mxg_bundle_parts parts = {&f->plan, list, cubins ? 3 : 0, sources, "mxgen 0.1.0 nvrtc 13.0", NULL, NULL};
  mxg_bundle *bundle;
  mxg_error err = {0};
  if (mxg_bundle_make(&bundle, &parts, &err) != MXG_OK) fail_msg("MX%04u %s", err.code, err.text);
  return bundle;
}

/* A folder of this process, and paths in it. */
static char folder[64], path[128];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/mxg-bundle-XXXXXX");
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/a.mxb", folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  unlink(path);
  return rmdir(folder); /* fails, and the test with it, if anything was left behind */
}

static size_t slurp(const char *file, unsigned char **bytes) {
  FILE *in = fopen(file, "rb");
  assert_non_null(in);
  size_t room = 1 << 20, count;
  *bytes = malloc(room);
  assert_non_null(*bytes);
  count = fread(*bytes, 1, room, in);
  fclose(in);
  assert_true(count < room);
  return count;
}

static void spill(const char *file, const void *bytes, size_t count) {
  FILE *out = fopen(file, "wb");
  assert_non_null(out);
  assert_int_equal(fwrite(bytes, 1, count, out), count);
  fclose(out);
}

/* The file of a bundle, as bytes. */
static size_t image(const mxg_bundle *bundle, unsigned char **bytes) {
  mxg_error err;
  assert_int_equal(mxg_bundle_save(bundle, path, &err), MXG_OK);
  return slurp(path, bytes);
}

static void same_table(const void *a, uint32_t count_a, const void *b, uint32_t count_b, size_t size) {
  assert_int_equal(count_a, count_b);
  assert_true(a != b);
  if (count_a) assert_memory_equal(a, b, count_a * size);
}

static void what_goes_in_comes_out(void **state) {
  (void)state;
  for (int i = 0; i < plan_sample_count; i++) {
    fixture *f = plan_samples[i].make();
    mxg_bundle *made = make(f, true), *loaded;
    mxg_error err;
    assert_int_equal(mxg_bundle_save(made, path, &err), MXG_OK);
    assert_int_equal(mxg_bundle_load(&loaded, path, &err), MXG_OK);
    const mxg_plan *p = mxg_bundle_plan(loaded), *q = &f->plan;
    assert_string_equal(p->name, q->name);
    assert_true(p->slots == q->slots && p->slot_bytes == q->slot_bytes && p->staging_cap == q->staging_cap);
    assert_true(p->string_bytes == q->string_bytes);
    assert_memory_equal(p->strings, q->strings, q->string_bytes);
    same_table(p->ranks, p->rank_count, q->ranks, q->rank_count, sizeof *p->ranks);
    same_table(p->encodings, p->encoding_count, q->encodings, q->encoding_count, sizeof *p->encodings);
    same_table(p->arrays, p->array_count, q->arrays, q->array_count, sizeof *p->arrays);
    same_table(p->pieces, p->piece_count, q->pieces, q->piece_count, sizeof *p->pieces);
    same_table(p->segments, p->segment_count, q->segments, q->segment_count, sizeof *p->segments);
    same_table(p->fills, p->fill_count, q->fills, q->fill_count, sizeof *p->fills);
    same_table(p->steps, p->step_count, q->steps, q->step_count, sizeof *p->steps);
    same_table(p->kernels, p->kernel_count, q->kernels, q->kernel_count, sizeof *p->kernels);
    assert_string_equal(mxg_bundle_maker(loaded), "mxgen 0.1.0 nvrtc 13.0");
    assert_string_equal(mxg_bundle_digest(loaded), mxg_bundle_digest(made));
    assert_int_equal(strlen(mxg_bundle_digest(loaded)), 64);
    const mxg_bundle_cubin *cubins; /* sorted by kernel and architecture */
    assert_int_equal(mxg_bundle_cubins(loaded, &cubins), 3);
    assert_string_equal(cubins[0].arch, "sm_100a");
    assert_int_equal(cubins[0].count, sizeof code_b);
    assert_memory_equal(cubins[0].bytes, code_b, sizeof code_b);
    assert_string_equal(cubins[1].arch, "sm_80");
    assert_int_equal(cubins[1].count, 0);
    assert_string_equal(cubins[2].arch, "sm_90a");
    assert_memory_equal(cubins[2].bytes, code_a, sizeof code_a);
    mxg_bundle_free(made);
    mxg_bundle_free(loaded);
    free(f);
  }
  mxg_bundle_free(NULL);
}

static void equal_inputs_equal_bytes(void **state) {
  (void)state;
  fixture *f = sample_whole(), *g = sample_whole();
  mxg_bundle *a = make(f, true), *b = make(g, true), *c = make(f, false);
  unsigned char *bytes_a, *bytes_b;
  size_t count_a = image(a, &bytes_a), count_b = image(b, &bytes_b);
  assert_int_equal(count_a, count_b);
  assert_memory_equal(bytes_a, bytes_b, count_a);
  assert_string_equal(mxg_bundle_digest(a), mxg_bundle_digest(b));
  assert_string_equal(mxg_bundle_digest(a), mxg_bundle_digest(c)); /* cubins for other architectures agree */
  /* and every part that decides a run changes the digest */
  const mxg_bundle_parts other_maker = {&f->plan, NULL, 0, sources, "mxgen 0.1.0 nvrtc 13.1", NULL, NULL};
  static const unsigned char zeros[32] = {0};
  const mxg_bundle_parts other_sources = {&f->plan, NULL, 0, zeros, "mxgen 0.1.0 nvrtc 13.0", NULL, NULL};
  mxg_error err;
  mxg_bundle *d;
  assert_int_equal(mxg_bundle_make(&d, &other_maker, &err), MXG_OK);
  assert_string_not_equal(mxg_bundle_digest(a), mxg_bundle_digest(d));
  mxg_bundle_free(d);
  assert_int_equal(mxg_bundle_make(&d, &other_sources, &err), MXG_OK);
  assert_string_not_equal(mxg_bundle_digest(a), mxg_bundle_digest(d));
  mxg_bundle_free(d);
  g->kernels[0].threads = 256;
  d = make(g, true);
  assert_string_not_equal(mxg_bundle_digest(a), mxg_bundle_digest(d));
  mxg_bundle_free(d);
  mxg_bundle_free(a);
  mxg_bundle_free(b);
  mxg_bundle_free(c);
  free(bytes_a);
  free(bytes_b);
  free(f);
  free(g);
}

static unsigned refusal(const unsigned char *bytes, size_t count) {
  mxg_bundle *bundle = (mxg_bundle *)(uintptr_t)1;
  mxg_error err = {0};
  mxg_status status = mxg_bundle_read(&bundle, bytes, count, "some.mxb", &err);
  if (status == MXG_OK) {
    mxg_bundle_free(bundle);
    return 0;
  }
  assert_null(bundle);
  assert_int_equal(status, MXG_ERR_BUNDLE);
  assert_int_equal(err.status, status);
  assert_string_equal(err.file, "some.mxb");
  assert_true(err.text[0] != 0);
  return err.code;
}

static void every_flip_and_every_length_is_refused(void **state) {
  (void)state;
  fixture *f = sample_whole();
  mxg_bundle *bundle = make(f, true);
  unsigned char *bytes;
  size_t count = image(bundle, &bytes);
  assert_int_equal(refusal(bytes, count), 0);
  for (size_t i = 0; i < count; i++)
    for (unsigned flip = 0; flip < 3; flip++) {
      const unsigned char masks[3] = {(unsigned char)(1u << i % 8), 0x80, 0xff};
      bytes[i] ^= masks[flip];
      assert_int_not_equal(refusal(bytes, count), 0);
      bytes[i] ^= masks[flip];
    }
  for (size_t cut = 0; cut < count;
       cut++) { /* memory of exactly that size, so that a sanitizer sees what lies behind */
    unsigned char *less = malloc(cut ? cut : 1);
    assert_non_null(less);
    memcpy(less, bytes, cut);
    assert_int_not_equal(refusal(less, cut), 0);
    free(less);
  }
  unsigned char *more = calloc(1, count + 16);
  assert_non_null(more);
  memcpy(more, bytes, count);
  for (size_t extra = 1; extra <= 16; extra++) assert_int_not_equal(refusal(more, count + extra), 0);
  free(more);
  free(bytes);
  mxg_bundle_free(bundle);
  free(f);
}

static void rehash(unsigned char *bytes, size_t count) { mxg_bundle_seal(bytes, count); }

/* The same with the hash made right again: now the sections and the plan are what refuses, or it is harmless.
** Sanitizers watch what is read meanwhile. */
static void flips_under_a_right_hash_are_harmless(void **state) {
  (void)state;
  unsigned refused = 0, passed = 0;
  fixture *f = sample_quantize_two_slots();
  mxg_bundle *bundle = make(f, true);
  unsigned char *bytes;
  size_t count = image(bundle, &bytes);
  for (size_t i = 0; i < count - 32; i++)
    for (unsigned bit = 0; bit < 8; bit += 7) {
      bytes[i] ^= (unsigned char)(1u << bit);
      rehash(bytes, count);
      if (refusal(bytes, count))
        refused++;
      else
        passed++;
      bytes[i] ^= (unsigned char)(1u << bit);
    }
  assert_true(refused > 1000 && passed > 0); /* names, maker, cubins' bytes, the digest of the sources */
  free(bytes);
  mxg_bundle_free(bundle);
  free(f);
}

static void messages_tell_what_is_wrong(void **state) {
  (void)state;
  fixture *f = sample_row_split();
  mxg_bundle *bundle = make(f, true);
  unsigned char *bytes;
  size_t count = image(bundle, &bytes);
  const struct {
    size_t at;
    unsigned char value;
    bool rehash;
    unsigned code;
  } cases[] = {
      {0, 'P', true, 701},
      {4, '\n', false, 701},
      {8, (unsigned char)(bytes[8] + 1), true, 702},
      {8, (unsigned char)(bytes[8] + 1), false, 702},
      {11, 0x7f, true, 702},
      {8, 0, true, 703},
      {8, (unsigned char)(bytes[8] - 1), true, 703},
      {16, bytes[16] ^ 1, true, 704},
      {count - 1, bytes[count - 1] ^ 1, false, 705},
      {12, 99, true, 706},
      {24, 1, true, 706},
      {32, 1, true, 706},
      {36, 1, true, 706},
      {40, 1, true, 706},
      {48, 2, true, 706},
      {32 + 24 * 6 + 23, 0x40, true, 706},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    unsigned char *copy = malloc(count);
    assert_non_null(copy);
    memcpy(copy, bytes, count);
    copy[cases[i].at] = cases[i].value;
    if (cases[i].rehash) rehash(copy, count);
    if (refusal(copy, count) != cases[i].code) fail_msg("case %zu gives MX%04u", i, refusal(copy, count));
    const char *title;
    assert_non_null(mxg_error_explain(cases[i].code, &title));
    free(copy);
  }
  assert_int_equal(refusal((const unsigned char *)"return { version = 1 }", 22), 701);
  assert_int_equal(refusal(bytes, 0), 701);
  assert_int_equal(refusal(bytes, 11), 704);
  assert_int_equal(refusal(bytes, 100), 704);
  assert_int_equal(refusal(bytes, count - 1), 704);
  mxg_error err;
  mxg_bundle *out;
  assert_int_equal(mxg_bundle_read(&out, bytes, 9, "x", &err), MXG_ERR_BUNDLE);
  assert_non_null(strstr(err.text, "cut off after 9 bytes"));
  assert_int_equal(mxg_bundle_read(&out, NULL, 5, "x", &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_bundle_load(&out, NULL, &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_bundle_save(NULL, "x", &err), MXG_ERR_USAGE);
  free(bytes);
  mxg_bundle_free(bundle);
  free(f);
}

static void bad_parts_are_refused(void **state) {
  (void)state;
  fixture *f = sample_row_split();
  mxg_error err;
  mxg_bundle *out;
  const struct {
    mxg_bundle_cubin cubins[2];
    uint32_t count;
  } cases[] = {
      {{{7, "sm_90a", code_a, 4}}, 1},                           /* no such kernel */
      {{{0, "sm_90a", code_a, 4}, {0, "sm_90a", code_b, 4}}, 2}, /* twice */
      {{{0, "", code_a, 4}}, 1},
      {{{0, "../sm_90", code_a, 4}}, 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const mxg_bundle_parts parts = {&f->plan, cases[i].cubins, cases[i].count, sources, "maker", NULL, NULL};
    assert_int_equal(mxg_bundle_make(&out, &parts, &err), MXG_ERR_BUNDLE);
    assert_int_equal(err.code, 706);
    assert_null(out);
  }
  const mxg_bundle_parts nulls[] = {{NULL, NULL, 0, sources, "m", NULL, NULL},
                                    {&f->plan, NULL, 0, NULL, "m", NULL, NULL},
                                    {&f->plan, NULL, 0, sources, NULL, NULL, NULL},
                                    {&f->plan, NULL, 1, sources, "m", NULL, NULL}};
  for (size_t i = 0; i < 4; i++) assert_int_equal(mxg_bundle_make(&out, &nulls[i], &err), MXG_ERR_USAGE);
  f->segments[0].dst_row++; /* a plan that cannot be read cannot be made */
  const mxg_bundle_parts parts = {&f->plan, NULL, 0, sources, "maker", NULL, NULL};
  assert_int_equal(mxg_bundle_make(&out, &parts, &err), MXG_ERR_BUNDLE);
  free(f);
}

static mxg_status load(const char *file, mxg_error *err) {
  mxg_bundle *out = (mxg_bundle *)(uintptr_t)1;
  mxg_status status = mxg_bundle_load(&out, file, err);
  if (status == MXG_OK)
    mxg_bundle_free(out);
  else
    assert_null(out);
  return status;
}

static void only_files_are_read(void **state) {
  (void)state;
  char other[160];
  mxg_error err;
  assert_int_equal(load(folder, &err), MXG_ERR_BUNDLE);
  assert_int_equal(err.code, 707);
  assert_non_null(strstr(err.text, "folder"));
  snprintf(other, sizeof other, "%s/pipe", folder);
  assert_int_equal(mkfifo(other, 0600), 0);
  assert_int_equal(load(other, &err), MXG_ERR_BUNDLE); /* and does not wait for a writer */
  assert_int_equal(err.code, 707);
  unlink(other);
  assert_int_equal(load("/dev/zero", &err), MXG_ERR_BUNDLE);
  snprintf(other, sizeof other, "%s/none.mxb", folder);
  assert_int_equal(load(other, &err), MXG_ERR_IO);
  assert_int_equal(err.code, 708);
  assert_int_equal(err.native, ENOENT);
  assert_string_equal(err.file, other);
  int file = open(other, O_CREAT | O_WRONLY, 0600);
  assert_true(file >= 0);
  assert_int_equal(load(other, &err), MXG_ERR_BUNDLE);        /* empty */
  assert_int_equal(ftruncate(file, ((off_t)4 << 30) + 1), 0); /* a hole: takes no space */
  assert_int_equal(load(other, &err), MXG_ERR_BUNDLE);
  assert_int_equal(err.code, 707);
  close(file);
  unlink(other);
}

static void a_failed_save_leaves_the_old_file(void **state) {
  (void)state;
  fixture *f = sample_row_split();
  mxg_bundle *bundle = make(f, false);
  mxg_error err;
  char other[160];
  snprintf(other, sizeof other, "%s/none/a.mxb", folder);
  assert_int_equal(mxg_bundle_save(bundle, other, &err), MXG_ERR_IO);
  assert_int_equal(err.code, 708);
  assert_int_equal(mxg_bundle_save(bundle, folder, &err), MXG_ERR_IO); /* a folder is not replaced */
  spill(path, "old", 3);
  assert_int_equal(mxg_bundle_save(bundle, path, &err), MXG_OK);
  assert_int_equal(load(path, &err), MXG_OK);
  unsigned char *bytes;
  size_t count = slurp(path, &bytes);
  bytes[count / 2] ^= 1;
  spill(path, bytes, count);
  assert_int_equal(load(path, &err), MXG_ERR_BUNDLE);
  assert_string_equal(err.file, path);
  free(bytes);
  mxg_bundle_free(bundle);
  free(f);
}

static void every_failed_allocation_is_reported(void **state) {
  (void)state;
  mxg_memory_fn kept = mxg_memory_hook;
  fixture *f = sample_whole();
  mxg_status status = MXG_ERR_NOMEM;
  for (long n = 0; status != MXG_OK; n++) {
    const mxg_bundle_parts parts = {&f->plan, NULL, 0, sources, "maker", NULL, NULL};
    mxg_bundle *made = NULL, *loaded = NULL;
    mxg_error err;
    assert_true(n < 1000);
    allocations_left = n;
    mxg_memory_hook = fail_from_then_on;
    status = mxg_bundle_make(&made, &parts, &err);
    if (status == MXG_OK) status = mxg_bundle_save(made, path, &err);
    if (status == MXG_OK) status = mxg_bundle_load(&loaded, path, &err);
    mxg_memory_hook = kept;
    if (status != MXG_OK) assert_int_equal(status, MXG_ERR_NOMEM);
    mxg_bundle_free(made);
    mxg_bundle_free(loaded);
  }
  free(f);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
  const struct CMUnitTest tests[] = {
      TEST(what_goes_in_comes_out),
      TEST(equal_inputs_equal_bytes),
      TEST(every_flip_and_every_length_is_refused),
      TEST(flips_under_a_right_hash_are_harmless),
      TEST(messages_tell_what_is_wrong),
      TEST(bad_parts_are_refused),
      TEST(only_files_are_read),
      TEST(a_failed_save_leaves_the_old_file),
      TEST(every_failed_allocation_is_reported),
  };
  return cmocka_run_group_tests_name("bundle", tests, NULL, NULL) != 0;
}
