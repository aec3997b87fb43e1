/* The kernel cache (whole bundles: test_cache_bundle.c) against everything that can happen to its folder: damage,
** things that are no files, other owners, full and read-only disks, writers that die, eight processes at once. Never
** an abort, never a wrong kernel. */
#define _GNU_SOURCE /* mount namespaces for a full disk, realpath */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache.h"
#include "compile.h"
#include "files.h"
#include "library.h"
#include "memory.h"
#include "mxgen.h"
#include "nvrtc.h"

#define RECIPE MXG_ROOT "/recipes/tiny_moe.lua"

static const unsigned char key[MXG_CACHE_KEY] = {0xab, 1, 2, 3}, other_key[MXG_CACHE_KEY] = {0xab, 1, 2, 4};
static unsigned char cubin[96];

static mxg_cache_entry sample(void) {
  mxg_cache_entry entry = {.kernel = "mx_move_1", .arch = "sm_90a", .nvrtc_major = 13, .registers = 40, .bytes = cubin};
  for (size_t i = 0; i < sizeof cubin; i++) cubin[i] = (unsigned char)(i * 7);
  entry.count = sizeof cubin;
  return entry;
}

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
  snprintf(path, sizeof path, "%s/ab010203%056d.mxk", test_folder, 0);
  return path;
}

static void put_sample(void) {
  mxg_cache *cache = open_cache(MXG_CACHE_RW);
  mxg_cache_entry entry = sample();
  mxg_cache_put(cache, &entry, key);
  assert_string_equal(note_of(cache), "");
  mxg_cache_close(cache);
}

/* 1: the entry was found, and is right; 0: a miss. */
static int found(mxg_cache *cache) {
  mxg_cache_entry entry;
  if (!mxg_cache_find(cache, &entry, key)) return 0;
  mxg_cache_entry want = sample();
  assert_string_equal(entry.kernel, want.kernel);
  assert_string_equal(entry.arch, want.arch);
  assert_int_equal(entry.registers, want.registers);
  assert_int_equal(entry.nvrtc_major, want.nvrtc_major);
  assert_int_equal(entry.count, want.count);
  assert_memory_equal(entry.bytes, want.bytes, want.count);
  mxg_free(entry.bytes);
  return 1;
}

static int found_now(mxg_cache_mode mode) {
  mxg_cache *cache = open_cache(mode);
  int result = found(cache);
  mxg_cache_close(cache);
  return result;
}

static size_t read_entry(unsigned char bytes[1024]) {
  FILE *file = fopen(entry_path(), "rb");
  assert_non_null(file);
  size_t count = fread(bytes, 1, 1024, file);
  fclose(file);
  assert_in_range(count, sizeof cubin, 1023);
  return count;
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

/* ---- one entry ---- */

static void what_is_put_is_found(void **state) {
  (void)state;
  mxg_cache_entry entry;
  assert_false(found_now(MXG_CACHE_RW));
  put_sample();
  assert_true(found_now(MXG_CACHE_RW));
  assert_true(found_now(MXG_CACHE_RO));
  assert_false(found_now(MXG_CACHE_OFF));
  mxg_cache *cache = open_cache(MXG_CACHE_RW);
  assert_false(mxg_cache_find(cache, &entry, other_key));
  assert_string_equal(note_of(cache), "");
  mxg_cache_close(cache);
  put_sample(); /* over itself */
  assert_true(found_now(MXG_CACHE_RW));
  assert_int_equal(folder_entries(), 1);
  char other[512]; /* the right bytes under another key's name */
  snprintf(other, sizeof other, "%s/ab010204%056d.mxk", test_folder, 0);
  assert_int_equal(rename(entry_path(), other), 0);
  cache = open_cache(MXG_CACHE_RW);
  assert_false(mxg_cache_find(cache, &entry, other_key));
  assert_non_null(strstr(note_of(cache), "damaged"));
  mxg_cache_close(cache);
}

static void every_flipped_bit_is_a_miss(void **state) {
  (void)state;
  unsigned char bytes[1024];
  put_sample();
  size_t count = read_entry(bytes);
  mxg_cache *cache = open_cache(MXG_CACHE_RO);
  for (size_t bit = 0; bit < 8 * count; bit++) {
    bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    file_save(entry_path(), bytes, count);
    if (found(cache)) fail_msg("bit %zu does not matter", bit);
    bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
  }
  assert_non_null(strstr(note_of(cache), "damaged"));
  file_save(entry_path(), bytes, count);
  assert_true(found(cache));
  mxg_cache_close(cache);
}

static void every_truncation_is_a_miss(void **state) {
  (void)state;
  unsigned char bytes[1024] = {0};
  put_sample();
  size_t count = read_entry(bytes);
  mxg_cache *cache = open_cache(MXG_CACHE_RO);
  for (size_t cut = 0; cut < count; cut++) {
    file_save(entry_path(), bytes, cut);
    if (found(cache)) fail_msg("%zu bytes of %zu suffice", cut, count);
  }
  bytes[count] = 0;
  file_save(entry_path(), bytes, count + 1);
  assert_false(found(cache));
  mxg_cache_close(cache);
  put_sample(); /* replaces what is damaged */
  assert_true(found_now(MXG_CACHE_RO));
}

/* Nothing is waited for, nothing followed; the next put replaces it. */
static void what_is_no_file_is_a_miss(void **state) {
  (void)state;
  const char *victim = in_folder("victim");
  unsigned char bytes[1024], after[1024];
  put_sample();
  size_t count = read_entry(bytes);
  file_save(victim, bytes, count);
  for (int kind = 0; kind < 5; kind++) {
    unlink(entry_path());
    if (kind == 0) assert_int_equal(mkfifo(entry_path(), 0600), 0);
    if (kind == 1) assert_int_equal(mkdir(entry_path(), 0700), 0);
    if (kind == 2) assert_int_equal(symlink("victim", entry_path()), 0); /* even to a good entry */
    if (kind == 3) assert_int_equal(symlink("/dev/zero", entry_path()), 0);
    if (kind == 4) { /* larger than an entry may be, without taking the space */
      file_save(entry_path(), "", 0);
      assert_int_equal(truncate(entry_path(), (off_t)1 << 40), 0);
    }
    alarm(20);
    mxg_cache *cache = open_cache(MXG_CACHE_RW);
    assert_false(found(cache));
    assert_non_null(strstr(note_of(cache), "damaged"));
    mxg_cache_close(cache);
    put_sample();
    assert_true(found_now(MXG_CACHE_RW));
    alarm(0);
  }
  FILE *file = fopen(victim, "rb");
  assert_non_null(file);
  assert_int_equal(fread(after, 1, sizeof after, file), count);
  fclose(file);
  assert_memory_equal(after, bytes, count);
}

/* ---- the folder ---- */

static void a_folder_of_ones_own_is_made(void **state) {
  (void)state;
  char place[128];
  struct stat info;
  snprintf(place, sizeof place, "%s/a/b", test_folder);
  setenv("MXGEN_CACHE_DIR", place, 1);
  assert_false(found_now(MXG_CACHE_RO));
  assert_int_not_equal(stat(place, &info), 0);
  put_sample();
  assert_int_equal(stat(place, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0700);
  assert_true(found_now(MXG_CACHE_RW));
  mxg_cache_removed gone;
  assert_int_equal(mxg_cache_trim(&gone, 0, NULL), MXG_OK);
  assert_int_equal(gone.entries, 1);
  assert_int_equal(rmdir(place), 0);
  assert_int_equal(rmdir(in_folder("a")), 0);
}

static void misses_and_says(const char *what) {
  mxg_cache *cache = open_cache(MXG_CACHE_RW);
  mxg_cache_entry entry = sample();
  int lock;
  assert_false(found(cache));
  assert_int_equal(mxg_cache_lock(cache, &lock, key, true), MXG_CACHE_GOT);
  mxg_cache_unlock(lock);
  mxg_cache_put(cache, &entry, key);
  if (!strstr(note_of(cache), what)) fail_msg("the note '%s' does not say '%s'", note_of(cache), what);
  mxg_cache_close(cache);
}

static void a_folder_that_others_rule_is_refused(void **state) {
  (void)state;
  put_sample();
  assert_int_equal(chmod(test_folder, 0777), 0);
  misses_and_says("everybody may write");
  assert_int_equal(chmod(test_folder, 0700), 0);
  assert_true(found_now(MXG_CACHE_RW));
  if (geteuid() != 0) {
    print_message("not root: a folder of another owner is not tested\n");
    return;
  }
  assert_int_equal(chown(test_folder, 12345, 12345), 0);
  misses_and_says("belongs to somebody else");
  assert_int_equal(chown(test_folder, 0, 0), 0);
}

static void a_folder_that_cannot_be_written_is_read(void **state) {
  (void)state;
  put_sample();
  assert_int_equal(chmod(test_folder, 0500), 0);
  if (access(test_folder, W_OK) == 0) { /* root may write all the same: become somebody else, in another process */
    assert_int_equal(chown(test_folder, 12345, 12345), 0);
    assert_int_equal(chown(entry_path(), 12345, 12345), 0);
  }
  pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && setuid(12345)) _exit(3);
    mxg_cache *cache = open_cache(MXG_CACHE_RW);
    mxg_cache_entry entry = sample();
    if (!found(cache) || *note_of(cache)) _exit(1);
    mxg_cache_put(cache, &entry, other_key);
    _exit(strstr(note_of(cache), "not cached") ? 0 : 2);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  chmod(test_folder, 0700);
  if (geteuid() == 0) assert_int_equal(chown(test_folder, 0, 0), 0);
}

/* In a child with its own mounts: a disk of 64 KiB, filled. */
static int on_a_full_disk(bool read_only) {
  if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return 77;
  if (mount("tmpfs", test_folder, "tmpfs", 0, "size=64k,mode=0700") != 0) return 77;
  put_sample();
  mxg_cache_entry large = sample();
  large.count = 1 << 20;
  large.bytes = calloc(1, large.count);
  if (!large.bytes) return 3;
  if (read_only && mount(NULL, test_folder, NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0) return 77;
  mxg_cache *cache = open_cache(MXG_CACHE_RW);
  mxg_cache_put(cache, &large, other_key);
  free(large.bytes);
  if (!strstr(note_of(cache), read_only ? "Read-only" : "No space")) return 1;
  if (!found(cache)) return 2;
  return folder_entries() == 1 ? 0 : 4; /* nothing half-written stays */
}

static void a_full_or_read_only_disk_only_means_not_cached(void **state) {
  (void)state;
  for (int read_only = 0; read_only < 2; read_only++) {
    pid_t child = fork();
    if (child == 0) _exit(on_a_full_disk(read_only != 0));
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

/* ---- writers ---- */

static void killed_writers_leave_no_wrong_entry(void **state) {
  (void)state;
  unsigned good = 0;
  for (int round = 0; round < 40; round++) {
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
      children[i] = fork();
      assert_true(children[i] >= 0);
      if (children[i]) continue;
      mxg_cache *cache = open_cache(MXG_CACHE_RW);
      mxg_cache_entry entry = sample();
      for (;;) {
        mxg_cache_put(cache, &entry, key);
        if (mxg_cache_find(cache, &entry, key)) mxg_free(entry.bytes);
        entry = sample();
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
    assert_string_equal(note_of(cache), ""); /* right or not there, never damaged */
    mxg_cache_close(cache);
  }
  assert_true(good > 0);
  /* what the dead left goes when it is a day old, by the next writer; a young one is somebody's */
  char old[512], young[512];
  snprintf(old, sizeof old, "%s/.%064d.mxk.0.1-1.tmp", test_folder, 1);
  snprintf(young, sizeof young, "%s/.%064d.mxk.0.1-2.tmp", test_folder, 2);
  file_save(old, "x", 1);
  file_save(young, "x", 1);
  struct timespec times[2] = {{.tv_sec = time(NULL) - 90000}, {.tv_sec = time(NULL) - 90000}};
  assert_int_equal(utimensat(AT_FDCWD, old, times, 0), 0);
  put_sample();
  assert_int_not_equal(access(old, F_OK), 0);
  assert_int_equal(access(young, F_OK), 0);
}

static void locks_are_for_one_and_die_with_it(void **state) {
  (void)state;
  mxg_cache *cache = open_cache(MXG_CACHE_RW), *second = open_cache(MXG_CACHE_RW);
  int one, two, three;
  assert_int_equal(mxg_cache_lock(cache, &one, key, false), MXG_CACHE_GOT);
  assert_true(one >= 0);
  assert_int_equal(mxg_cache_lock(second, &two, key, false), MXG_CACHE_BUSY);
  assert_int_equal(mxg_cache_lock(second, &three, other_key, false), MXG_CACHE_GOT);
  mxg_cache_unlock(three);
  mxg_cache_unlock(one);
  assert_int_equal(mxg_cache_lock(second, &two, key, false), MXG_CACHE_GOT);
  mxg_cache_unlock(two);
  int ready[2];
  assert_int_equal(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    mxg_cache_lock(cache, &one, key, true);
    if (write(ready[1], "x", 1) == 1) pause();
    _exit(1);
  }
  char byte;
  assert_int_equal(read(ready[0], &byte, 1), 1);
  assert_int_equal(mxg_cache_lock(cache, &one, key, false), MXG_CACHE_BUSY);
  kill(child, SIGKILL);
  alarm(20);
  assert_int_equal(mxg_cache_lock(cache, &one, key, true), MXG_CACHE_GOT); /* waits for the death */
  alarm(0);
  assert_true(one >= 0);
  mxg_cache_unlock(one);
  waitpid(child, NULL, 0);
  close(ready[0]);
  close(ready[1]);
  mxg_cache_close(cache);
  mxg_cache_close(second);
}

/* ---- with NVRTC ---- */

static bool need_nvrtc(void) {
  char build[MXG_NVRTC_BUILD_ROOM];
  if (mxg_nvrtc_build(build, NULL)) return true;
  print_message("SKIPPED: no NVRTC here\n");
  skip();
  return false;
}

static mxg_status generate(mxg_kernel_counts *counts, char digest[65], mxg_error *err) {
  static const char *const archs[] = {"sm_90a", NULL}, *const sets[] = {"layers=2", NULL};
  mxg_options options = MXG_OPTIONS_INIT;
  mxg_bundle *bundle = NULL;
  options.archs = archs;
  options.sets = sets;
  options.counts = counts;
  mxg_status status = mxg_generate(&bundle, RECIPE, &options, err);
  if (bundle) snprintf(digest, 65, "%s", mxg_bundle_digest(bundle));
  mxg_bundle_free(bundle);
  return status;
}

/* The same with no bundle in the cache, so that kernels are looked for. */
static mxg_status generate_anew(mxg_kernel_counts *counts, char digest[65], mxg_error *err) {
  DIR *dir = opendir(test_folder);
  assert_non_null(dir);
  for (struct dirent *entry; (entry = readdir(dir));)
    if (strstr(entry->d_name, ".mxw")) unlink(in_folder(entry->d_name));
  closedir(dir);
  return generate(counts, digest, err);
}

typedef struct outcome {
  int status;
  mxg_kernel_counts counts;
  char digest[65];
} outcome;

/* Before anything in this process has opened NVRTC, so that every child starts as a fresh process would. */
static void eight_processes_compile_each_kernel_once(void **state) {
  (void)state;
  enum { PROCESSES = 8 };
  if (!need_nvrtc()) return;
  int ends[2], gate[2];
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(pipe(gate), 0);
  for (int i = 0; i < PROCESSES; i++) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child) continue;
    outcome out = {.counts = MXG_KERNEL_COUNTS_INIT};
    mxg_error err;
    char byte;
    close(gate[1]);
    if (read(gate[0], &byte, 1) != 0) _exit(2); /* all start when the parent closes it */
    out.status = (int)generate(&out.counts, out.digest, &err);
    _exit(write(ends[1], &out, sizeof out) == (ssize_t)sizeof out ? 0 : 1);
  }
  close(gate[0]);
  close(gate[1]);
  close(ends[1]);
  unsigned compiled = 0, all = 0;
  outcome first = {0};
  for (int i = 0; i < PROCESSES; i++) {
    outcome out;
    assert_int_equal(read(ends[0], &out, sizeof out), sizeof out);
    assert_int_equal(out.status, MXG_OK);
    assert_string_equal(out.counts.note, "");
    if (i == 0) first = out;
    assert_string_equal(out.digest, first.digest);
    all = out.counts.compiled + out.counts.cached;
    assert_int_equal(all, first.counts.compiled + first.counts.cached);
    compiled += out.counts.compiled;
  }
  close(ends[0]);
  while (wait(NULL) > 0) {
  }
  assert_true(all > 1);
  assert_int_equal(compiled, all);
}

static void the_build_of_nvrtc_is_the_same_before_and_after(void **state) {
  (void)state;
  char before[MXG_NVRTC_BUILD_ROOM], after[MXG_NVRTC_BUILD_ROOM], path[512];
  const mxg_nvrtc *nvrtc;
  mxg_error err;
  if (!need_nvrtc()) return;
  assert_false(mxg_library_loaded(path, sizeof path, "libnvrtc.so.13"));
  assert_true(mxg_nvrtc_build(before, NULL));
  assert_false(mxg_library_loaded(path, sizeof path, "libnvrtc.so.13")); /* found without loading it */
  assert_int_equal(mxg_nvrtc_open(&nvrtc, &err), MXG_OK);
  assert_true(mxg_nvrtc_build(after, nvrtc));
  assert_string_equal(before, after);
  assert_true(strlen(before) > 40 + 40);
  assert_false(mxg_library_build_id(before, MXG_ROOT "/templates/mx_abi.h"));
  assert_false(mxg_library_build_id(before, "/nowhere"));
}

/* Each entry of a warm cache damaged in turn: never an error, and always the same bundle. */
static void a_damaged_cache_never_changes_a_bundle(void **state) {
  (void)state;
  mxg_kernel_counts counts = MXG_KERNEL_COUNTS_INIT;
  mxg_error err = {0};
  char digest[65], again[65];
  mxg_cache_item *items;
  size_t count;
  if (!need_nvrtc()) return;
  assert_int_equal(generate_anew(&counts, digest, &err), MXG_OK);
  unsigned all = counts.compiled;
  assert_int_equal(counts.cached, 0);
  assert_int_equal(generate_anew(&counts, again, &err), MXG_OK);
  assert_int_equal(counts.cached, all);
  assert_string_equal(digest, again);
  /* an image without NVRTC that ships the cache: the bundle is taken whole */
  char *told = getenv("MXGEN_NVRTC") ? strdup(getenv("MXGEN_NVRTC")) : NULL;
  setenv("MXGEN_NVRTC", "/nowhere", 1);
  setenv("MXGEN_JIT", "off", 1);
  assert_int_equal(generate(&counts, again, &err), MXG_OK);
  assert_int_equal(counts.cached, all);
  assert_string_equal(digest, again);
  unsetenv("MXGEN_NVRTC");
  unsetenv("MXGEN_JIT");
  if (told) setenv("MXGEN_NVRTC", told, 1);
  free(told);
  assert_int_equal(mxg_cache_list(&items, &count, &err), MXG_OK);
  assert_int_equal(count, all + 2); /* the kernels, which NVRTC, and the bundle */
  for (size_t i = 0; i < count; i++) {
    assert_false(items[i].damaged);
    if (strncmp(items[i].kernel, "bundle", 6) == 0) continue;
    assert_int_equal(truncate(in_folder(items[i].file), (off_t)(items[i].bytes / 2)), 0);
    assert_int_equal(generate_anew(&counts, again, &err), MXG_OK);
    assert_string_equal(digest, again);
    assert_int_equal(counts.compiled, strncmp(items[i].kernel, "mx_", 3) == 0);
    assert_int_equal(counts.cached + counts.compiled, all);
  }
  for (size_t i = 0; i < count; i++) unlink(in_folder(items[i].file));
  mxg_free(items);
  setenv("MXGEN_JIT", "off", 1);
  assert_int_equal(generate_anew(&counts, again, &err), MXG_ERR_UNSUPPORTED);
  assert_int_equal(err.code, 515);
  assert_non_null(strstr(err.text, "mx_"));
  unsetenv("MXGEN_JIT");
}

/* A file that looks like the NVRTC to take and turns out not to do: kernels are kept under the one that made them. */
static void kernels_are_kept_under_the_nvrtc_that_made_them(void **state) {
  (void)state;
  char math[512], builtins[600], real[512];
  const mxg_nvrtc *nvrtc;
  mxg_error err = {0};
  mxg_kernel_counts counts = MXG_KERNEL_COUNTS_INIT;
  char digest[65], again[65], build[MXG_NVRTC_BUILD_ROOM], true_build[MXG_NVRTC_BUILD_ROOM];
  if (!need_nvrtc()) return;
  assert_int_equal(mxg_nvrtc_open(&nvrtc, &err), MXG_OK);
  assert_true(mxg_library_find(math, sizeof math, "libm.so.6"));
  assert_non_null(realpath(nvrtc->path, real));
  char *name = strrchr(real, '/') + 1;
  snprintf(builtins, sizeof builtins, "%.*slibnvrtc-builtins.so.%d.%d", (int)(name - real), real, nvrtc->major,
           nvrtc->minor);
  char soname[64];
  snprintf(soname, sizeof soname, "libnvrtc.so.%d", nvrtc->major);
  assert_int_equal(generate_anew(&counts, digest, &err), MXG_OK);
  assert_true(mxg_nvrtc_build(true_build, NULL));

  char *told = getenv("MXGEN_NVRTC") ? strdup(getenv("MXGEN_NVRTC")) : NULL;
  char home[sizeof test_folder + 8], lib[sizeof home + 8], link[4][sizeof lib + 80];
  snprintf(home, sizeof home, "%s/home", test_folder);
  snprintf(lib, sizeof lib, "%s/lib64", home);
  assert_int_equal(mkdir(home, 0700) | mkdir(lib, 0700), 0);
  snprintf(link[0], sizeof link[0], "%s/%s", home, soname);
  snprintf(link[1], sizeof link[1], "%s/libnvrtc-builtins.so.%d.%d", home, nvrtc->major, nvrtc->minor);
  snprintf(link[2], sizeof link[2], "%s/%s", lib, soname);
  snprintf(link[3], sizeof link[3], "%s/libnvrtc-builtins.so.%d.%d", lib, nvrtc->major, nvrtc->minor);
  assert_int_equal(symlink(math, link[0]) | symlink(builtins, link[1]), 0);
  assert_int_equal(symlink(real, link[2]) | symlink(builtins, link[3]), 0);
  setenv("MXGEN_NVRTC", home, 1);
  assert_true(mxg_nvrtc_build(build, NULL)); /* thinks of the wrong file */
  assert_string_not_equal(build, true_build);
  for (int turn = 0; turn < 2; turn++) { /* and finds, once NVRTC is open, what the first generate kept */
    assert_int_equal(generate_anew(&counts, again, &err), MXG_OK);
    assert_string_equal(digest, again);
    assert_int_equal(counts.compiled, 0);
    assert_string_equal(counts.note, "");
  }
  unsetenv("MXGEN_NVRTC");
  if (told) setenv("MXGEN_NVRTC", told, 1);
  free(told);
  for (int i = 0; i < 4; i++) unlink(link[i]);
  assert_int_equal(rmdir(lib) | rmdir(home), 0);
}

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, fresh_folder, remove_folder)
  const struct CMUnitTest tests[] = {
      CASE(what_is_put_is_found),
      CASE(every_flipped_bit_is_a_miss),
      CASE(every_truncation_is_a_miss),
      CASE(what_is_no_file_is_a_miss),
      CASE(a_folder_of_ones_own_is_made),
      CASE(a_folder_that_others_rule_is_refused),
      CASE(a_folder_that_cannot_be_written_is_read),
      CASE(a_full_or_read_only_disk_only_means_not_cached),
      CASE(killed_writers_leave_no_wrong_entry),
      CASE(locks_are_for_one_and_die_with_it),
      CASE(eight_processes_compile_each_kernel_once),
      CASE(the_build_of_nvrtc_is_the_same_before_and_after),
      CASE(a_damaged_cache_never_changes_a_bundle),
      CASE(kernels_are_kept_under_the_nvrtc_that_made_them),
  };
  return cmocka_run_group_tests_name("cache", tests, NULL, NULL) != 0;
}
