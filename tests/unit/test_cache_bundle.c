/* Whole bundles in the cache: what is found is what was put, and whatever happens to an entry, its folder or the
** recipe's files only means that the bundle is made anew. Kernels: test_cache.c. */
#define _GNU_SOURCE /* mount namespaces for a full disk */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "cache.h"
#include "files.h"
#include "memory.h"
#include "mxgen.h"
#include "plan_samples.h"

static const unsigned char key[MXG_CACHE_KEY] = {0xab, 1, 2, 3}, other_key[MXG_CACHE_KEY] = {0xab, 1, 2, 4};
static mxg_bundle *sample;
static unsigned char *image; /* the entry's file, whole */
static size_t image_bytes;

static mxg_cache *open_cache(mxg_cache_mode mode) {
  mxg_cache *cache = NULL;
  assert_int_equal(mxg_cache_open(&cache, mode, NULL), MXG_OK);
  return cache;
}

static const char *note_of(mxg_cache *cache) {
  static char note[MXG_CACHE_NOTE];
  mxg_cache_note(cache, note);
  return note;
}

static const char *entry_path(void) {
  static char path[256];
  snprintf(path, sizeof path, "%s/ab010203%056d.mxw", test_folder, 0);
  return path;
}

static void put_sample(mxg_cache *cache) { mxg_cache_put_bundle(cache, sample, NULL, 0, key); }

static bool found(mxg_cache *cache) {
  mxg_bundle *bundle;
  size_t count, want;
  if (!mxg_cache_find_bundle(cache, &bundle, key)) {
    assert_null(bundle);
    return false;
  }
  const unsigned char *bytes = mxg_bundle_image(bundle, &count), *wanted = mxg_bundle_image(sample, &want);
  assert_int_equal(count, want);
  assert_memory_equal(bytes, wanted, count);
  assert_string_equal(mxg_bundle_digest(bundle), mxg_bundle_digest(sample));
  mxg_bundle_free(bundle);
  return true;
}

static bool found_now(mxg_cache_mode mode) {
  mxg_cache *cache = open_cache(mode);
  bool result = found(cache);
  mxg_cache_close(cache);
  return result;
}

static int fresh_folder(void **state) {
  if (folder_make(state)) return -1;
  setenv("MXGEN_CACHE_DIR", test_folder, 1);
  unsetenv("MXGEN_CACHE");
  unsetenv("MXGEN_JIT");
  return 0;
}

static int remove_folder(void **state) {
  chmod(test_folder, 0700);
  return folder_remove(state);
}

static void read_entry(void) {
  struct stat info;
  FILE *file = fopen(entry_path(), "rb");
  assert_true(file && fstat(fileno(file), &info) == 0);
  image_bytes = (size_t)info.st_size;
  image = malloc(image_bytes + 1);
  assert_non_null(image);
  assert_int_equal(fread(image, 1, image_bytes, file), image_bytes);
  image[image_bytes] = 0;
  fclose(file);
}

static void put_now(void) {
  mxg_cache *cache = open_cache(MXG_CACHE_RW);
  put_sample(cache);
  assert_string_equal(note_of(cache), "");
  mxg_cache_close(cache);
}

static void what_is_put_is_found(void **state) {
  (void)state;
  mxg_bundle *bundle;
  assert_false(found_now(MXG_CACHE_RW));
  put_now();
  assert_true(found_now(MXG_CACHE_RW));
  assert_true(found_now(MXG_CACHE_RO));
  assert_false(found_now(MXG_CACHE_OFF));
  mxg_cache *cache = open_cache(MXG_CACHE_RW);
  assert_false(mxg_cache_find_bundle(cache, &bundle, other_key));
  assert_string_equal(note_of(cache), "");
  char other[512]; /* the right bytes under another key's name */
  snprintf(other, sizeof other, "%s/ab010204%056d.mxw", test_folder, 0);
  assert_int_equal(rename(entry_path(), other), 0);
  assert_false(mxg_cache_find_bundle(cache, &bundle, other_key));
  assert_non_null(strstr(note_of(cache), "damaged"));
  mxg_cache_close(cache);
}

static void every_flipped_byte_and_every_length_is_a_miss(void **state) {
  (void)state;
  put_now();
  read_entry();
  mxg_cache *cache = open_cache(MXG_CACHE_RO);
  for (size_t i = 0; i < image_bytes; i++) {
    const unsigned char mask = (unsigned char)(1u << i % 8);
    image[i] ^= mask;
    file_save(entry_path(), image, image_bytes);
    if (found(cache)) fail_msg("byte %zu does not matter", i);
    image[i] ^= mask;
  }
  assert_non_null(strstr(note_of(cache), "damaged"));
  for (size_t cut = 0; cut < image_bytes; cut += cut < 300 ? 1 : 7) {
    file_save(entry_path(), image, cut);
    if (found(cache)) fail_msg("%zu bytes of %zu suffice", cut, image_bytes);
  }
  file_save(entry_path(), image, image_bytes + 1);
  assert_false(found(cache));
  file_save(entry_path(), image, image_bytes);
  assert_true(found(cache));
  mxg_cache_close(cache);
  free(image);
}

static void what_is_no_file_is_a_miss(void **state) {
  (void)state;
  put_now();
  read_entry();
  file_save(in_folder("victim"), image, image_bytes);
  for (int kind = 0; kind < 5; kind++) {
    unlink(entry_path());
    if (kind == 0) assert_int_equal(mkfifo(entry_path(), 0600), 0);
    if (kind == 1) assert_int_equal(mkdir(entry_path(), 0700), 0);
    if (kind == 2) assert_int_equal(symlink("victim", entry_path()), 0);
    if (kind == 3) assert_int_equal(symlink("/dev/zero", entry_path()), 0);
    if (kind == 4) {
      file_save(entry_path(), "", 0);
      assert_int_equal(truncate(entry_path(), (off_t)1 << 40), 0);
    }
    alarm(20);
    mxg_cache *cache = open_cache(MXG_CACHE_RW);
    assert_false(found(cache));
    assert_non_null(strstr(note_of(cache), "damaged"));
    put_sample(cache);
    assert_true(found(cache));
    mxg_cache_close(cache);
    alarm(0);
  }
  free(image);
}

static void the_list_shows_it_and_trim_removes_it(void **state) {
  (void)state;
  mxg_cache_item *items;
  mxg_cache_removed gone;
  size_t count;
  put_now();
  read_entry();
  assert_int_equal(mxg_cache_list(&items, &count, NULL), MXG_OK);
  assert_int_equal(count, 1);
  assert_false(items[0].damaged);
  assert_int_equal(strncmp(items[0].kernel, "bundle ", 7), 0);
  assert_string_equal(items[0].arch, "sm_90a");
  assert_int_equal(items[0].bytes, image_bytes);
  mxg_free(items);
  image[image_bytes / 2] ^= 1;
  file_save(entry_path(), image, image_bytes);
  free(image);
  assert_int_equal(mxg_cache_list(&items, &count, NULL), MXG_OK);
  assert_true(count == 1 && items[0].damaged);
  mxg_free(items);
  assert_int_equal(mxg_cache_trim(&gone, 1 << 30, NULL), MXG_OK); /* what is damaged goes always */
  assert_int_equal(gone.entries, 1);
  put_now();
  assert_int_equal(mxg_cache_trim(&gone, 0, NULL), MXG_OK);
  assert_int_equal(gone.entries, 1);
  assert_int_equal(folder_entries(), 0);
}

/* In a child with its own mounts: a disk too small for the entry, then a read-only one that has it. */
static int on_a_bad_disk(bool read_only) {
  if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return 77;
  if (mount("tmpfs", test_folder, "tmpfs", 0, read_only ? "size=1m,mode=0700" : "size=64k,mode=0700") != 0) return 77;
  mxg_cache *cache = open_cache(MXG_CACHE_RW);
  if (!read_only) {
    static const char page[4096];
    FILE *fill = fopen(in_folder("fill"), "wb");
    while (fill && fwrite(page, 1, sizeof page, fill) == sizeof page && fflush(fill) == 0) continue;
    if (fill) fclose(fill);
  }
  put_sample(cache);
  if (!read_only) return !strstr(note_of(cache), "No space") ? 1 : found(cache) ? 2 : folder_entries() == 1 ? 0 : 3;
  if (mount(NULL, test_folder, NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0) return 77;
  if (!found(cache)) return 4;
  mxg_cache_put_bundle(cache, sample, NULL, 0, other_key);
  return strstr(note_of(cache), "Read-only") ? 0 : 5;
}

static void a_full_or_read_only_disk_only_means_not_cached(void **state) {
  (void)state;
  for (int read_only = 0; read_only < 2; read_only++) {
    pid_t child = fork();
    if (child == 0) _exit(on_a_bad_disk(read_only != 0));
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
      print_message("SKIPPED: this user may not mount a tmpfs, so a full disk is not tested here\n");
      skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
  }
}

static void killed_writers_leave_no_wrong_entry(void **state) {
  (void)state;
  unsigned good = 0;
  for (int round = 0; round < 20; round++) {
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
      children[i] = fork();
      assert_true(children[i] >= 0);
      if (children[i]) continue;
      for (mxg_cache *cache = open_cache(MXG_CACHE_RW);;) {
        put_sample(cache);
        found(cache);
      }
    }
    for (int i = 0; i < 3; i++) {
      struct timespec nap = {0, 300000L + 100000L * (round * 7 % 20)};
      nanosleep(&nap, NULL);
      kill(children[i], SIGKILL);
    }
    for (int i = 0; i < 3; i++) assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
    mxg_cache *cache = open_cache(MXG_CACHE_RO);
    good += (unsigned)found(cache);
    assert_string_equal(note_of(cache), "");
    mxg_cache_close(cache);
  }
  assert_true(good > 0);
  mxg_cache_removed gone;
  assert_int_equal(mxg_cache_trim(&gone, 0, NULL), MXG_OK); /* and what the dead left goes with the rest */
  assert_int_equal(folder_entries(), 0);
}

/* ---- mxg_generate ---- */

static const char recipe_text[] =
    "local mx = require 'mx'\n"
    "local rows = include 'rows.lua'\n"
    "local m = mx.model 'm'\n"
    "for i = 0, mx.param('layers', 2) - 1 do m:tensor('l' .. i, { rows, 64 }) end\n"
    "return { version = 1, name = 'm', model = m,\n"
    "  source = { mesh = mx.mesh { { 'tp', 2 } }, format = { mx.rule(mx.bf16(), '**') },\n"
    "    layout = { mx.rule(mx.split { row = 'tp' }, '**') } },\n"
    "  target = { mesh = mx.mesh { { 'dp', 2 } }, format = { mx.rule(mx.bf16(), '**') },\n"
    "    layout = { mx.rule(mx.whole(), '**') } } }\n";

static unsigned bundle_entries(void) {
  mxg_cache_item *items;
  size_t count;
  unsigned bundles = 0;
  assert_int_equal(mxg_cache_list(&items, &count, NULL), MXG_OK);
  for (size_t i = 0; i < count; i++) bundles += strncmp(items[i].kernel, "bundle ", 7) == 0;
  mxg_free(items);
  return bundles;
}

/* The digest of what is generated; *from_cache: nothing of the recipe was run for it, as its progress says. */
static bool from_cache;
static void see(void *user, const char *what, unsigned done, unsigned all) {
  (void)user;
  (void)done;
  (void)all;
  if (strcmp(what, "cache") == 0) from_cache = true;
}

static const char *generate(const char *recipe, const char *set) {
  static char digests[16][65];
  static unsigned next;
  static const char *const none[] = {NULL};
  const char *sets[] = {set, NULL};
  mxg_options options = MXG_OPTIONS_INIT;
  mxg_kernel_counts counts = MXG_KERNEL_COUNTS_INIT;
  mxg_bundle *bundle;
  mxg_error err = {0};
  options.archs = none;
  options.sets = sets;
  options.progress = see;
  options.counts = &counts;
  from_cache = false;
  if (mxg_generate(&bundle, recipe, &options, &err) != MXG_OK) fail_msg("%s: %s", err.file, err.text);
  char *digest = digests[next++ % 16];
  snprintf(digest, 65, "%s", mxg_bundle_digest(bundle));
  mxg_bundle_free(bundle);
  return digest;
}

static void everything_that_matters_is_in_the_key(void **state) {
  (void)state;
  char recipe[512], part[512], copy[512];
  snprintf(recipe, sizeof recipe, "%s/r.lua", test_folder);
  snprintf(part, sizeof part, "%s/rows.lua", test_folder);
  snprintf(copy, sizeof copy, "%s/s.lua", test_folder);
  file_save(recipe, recipe_text, sizeof recipe_text - 1);
  file_save(part, "return 128\n", 11);
  const char *first = generate(recipe, NULL);
  assert_false(from_cache);
  assert_string_equal(generate(recipe, NULL), first);
  assert_true(from_cache);
  assert_int_equal(bundle_entries(), 1);
  /* a parameter */
  const char *fewer = generate(recipe, "layers=1");
  assert_false(from_cache);
  assert_string_not_equal(fewer, first);
  assert_string_equal(generate(recipe, "layers=1"), fewer);
  assert_true(from_cache);
  /* the place that messages and comments give */
  file_save(copy, recipe_text, sizeof recipe_text - 1);
  generate(copy, NULL);
  assert_false(from_cache);
  /* an included file, there and back; then gone: an error as without a cache */
  file_save(part, "return 256\n", 11);
  const char *wider = generate(recipe, NULL);
  assert_false(from_cache);
  assert_string_not_equal(wider, first);
  assert_string_equal(generate(recipe, NULL), wider);
  assert_true(from_cache);
  file_save(part, "return 128\n", 11);
  assert_string_equal(generate(recipe, NULL), first);
  assert_false(from_cache);
  unlink(part);
  mxg_bundle *bundle;
  mxg_error err = {0};
  assert_int_equal(mxg_generate(&bundle, recipe, NULL, &err), MXG_ERR_INPUT);
  assert_int_equal(err.code, 106);
  /* the recipe itself; the templates */
  file_save(part, "return 128\n", 11);
  char edited[sizeof recipe_text + 8];
  int count = snprintf(edited, sizeof edited, "%s-- end\n", recipe_text);
  file_save(recipe, edited, (size_t)count);
  generate(recipe, NULL);
  assert_false(from_cache);
  assert_int_equal(mkdir(in_folder("t"), 0700), 0);
  char command[1024];
  snprintf(command, sizeof command, "cp %s/templates/*.h %s/templates/*.cuh %s/templates/*.cu %s/t/", MXG_ROOT,
           MXG_ROOT, MXG_ROOT, test_folder);
  assert_int_equal(system(command), 0);
  setenv("MXGEN_TEMPLATES", in_folder("t"), 1);
  generate(recipe, NULL);
  assert_true(from_cache); /* the same files from elsewhere are the same */
  snprintf(command, sizeof command, "echo >>%s/t/mx_abi.h", test_folder);
  assert_int_equal(system(command), 0);
  generate(recipe, NULL);
  assert_false(from_cache);
  unsetenv("MXGEN_TEMPLATES");
  snprintf(command, sizeof command, "rm -r %s/t", test_folder);
  assert_int_equal(system(command), 0);
}

/* A damaged entry, a cache that is off or read only, an output folder: the same bundle, made by all stages. */
static void a_cache_never_changes_a_bundle(void **state) {
  (void)state;
  char recipe[512];
  snprintf(recipe, sizeof recipe, "%s/r.lua", test_folder);
  file_save(recipe, recipe_text, sizeof recipe_text - 1);
  file_save(in_folder("rows.lua"), "return 128\n", 11);
  setenv("MXGEN_CACHE", "off", 1);
  char want[65];
  snprintf(want, sizeof want, "%s", generate(recipe, NULL));
  assert_int_equal(bundle_entries(), 0);
  setenv("MXGEN_CACHE", "ro", 1);
  assert_string_equal(generate(recipe, NULL), want);
  assert_int_equal(bundle_entries(), 0);
  unsetenv("MXGEN_CACHE");
  assert_string_equal(generate(recipe, NULL), want);
  mxg_cache_item *items;
  size_t count;
  assert_int_equal(mxg_cache_list(&items, &count, NULL), MXG_OK);
  assert_int_equal(count, 1);
  for (unsigned turn = 0; turn < 16; turn++) {
    assert_int_equal(truncate(in_folder(items[0].file), (off_t)(items[0].bytes * turn / 16)), 0);
    assert_string_equal(generate(recipe, NULL), want);
    assert_false(from_cache);
    assert_string_equal(generate(recipe, NULL), want);
    assert_true(from_cache);
  }
  mxg_free(items);
  setenv("MXGEN_CACHE", "ro", 1);
  assert_string_equal(generate(recipe, NULL), want);
  assert_true(from_cache);
  unsetenv("MXGEN_CACHE");
}

static mxg_memory_fn real_memory;
static long countdown;

static void *failing_memory(void *old, size_t bytes) {
  if (bytes && countdown-- <= 0) return NULL;
  return real_memory(old, bytes);
}

/* Out of memory at any point, with the bundle in the cache and without: the right bundle, or an error that says so. */
static void every_failed_allocation_is_harmless(void **state) {
  (void)state;
  char recipe[512], want[65];
  static const char *const none[] = {NULL};
  snprintf(recipe, sizeof recipe, "%s/r.lua", test_folder);
  file_save(recipe, recipe_text, sizeof recipe_text - 1);
  file_save(in_folder("rows.lua"), "return 128\n", 11);
  snprintf(want, sizeof want, "%s", generate(recipe, NULL));
  real_memory = mxg_memory_hook;
  for (int warm = 0; warm < 2; warm++) {
    unsigned failures = 0, survived = 0; /* a look-up that finds no memory is a miss, and all stages may still do */
    for (long n = 0; n < 20000; n += 1 + n / 8) {
      mxg_cache_removed gone;
      mxg_options options = MXG_OPTIONS_INIT;
      mxg_bundle *bundle = NULL;
      mxg_error err = {0};
      options.archs = none;
      if (!warm) assert_int_equal(mxg_cache_trim(&gone, 0, NULL), MXG_OK);
      if (warm) generate(recipe, NULL);
      countdown = n;
      mxg_memory_hook = failing_memory;
      mxg_status status = mxg_generate(&bundle, recipe, &options, &err);
      bool done = countdown > 0;
      mxg_memory_hook = real_memory;
      if (status == MXG_OK) {
        assert_string_equal(mxg_bundle_digest(bundle), want);
        survived++;
      } else {
        assert_int_equal(status, MXG_ERR_NOMEM);
        assert_null(bundle);
        failures++;
      }
      mxg_bundle_free(bundle);
      assert_string_equal(generate(recipe, NULL), want); /* whatever was kept meanwhile is right */
      if (done) break;
    }
    assert_true(failures > 3 && survived > 0);
  }
}

int main(void) {
  fixture *f = sample_whole();
  static const unsigned char sources[32] = {1};
  mxg_bundle_cubin cubins[8];
  for (uint32_t i = 0; i < f->plan.kernel_count; i++) cubins[i] = (mxg_bundle_cubin){i, "sm_90a", "code", 4};
  const mxg_bundle_parts parts = {&f->plan, cubins, f->plan.kernel_count, sources, "maker", NULL, NULL};
  if (mxg_bundle_make(&sample, &parts, NULL) != MXG_OK) return 1;
#define CASE(test) cmocka_unit_test_setup_teardown(test, fresh_folder, remove_folder)
  const struct CMUnitTest tests[] = {
      CASE(what_is_put_is_found),
      CASE(every_flipped_byte_and_every_length_is_a_miss),
      CASE(what_is_no_file_is_a_miss),
      CASE(the_list_shows_it_and_trim_removes_it),
      CASE(a_full_or_read_only_disk_only_means_not_cached),
      CASE(killed_writers_leave_no_wrong_entry),
      CASE(everything_that_matters_is_in_the_key),
      CASE(a_cache_never_changes_a_bundle),
      CASE(every_failed_allocation_is_harmless),
  };
  int failed = cmocka_run_group_tests_name("cache_bundle", tests, NULL, NULL);
  mxg_bundle_free(sample);
  free(f);
  return failed != 0;
}
