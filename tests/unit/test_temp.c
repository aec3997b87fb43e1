/* test_temp.c -- output folders appear whole or not at all. */
#include "temp.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static int make_root(void **state) {
  (void)state;
  strcpy(root, "/tmp/mxg-temp-XXXXXX");
  return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
  (void)state;
  char line[128];
  snprintf(line, sizeof line, "rm -rf '%s'", root);
  return system(line);
}

static const char *at(const char *name) {
  static char path[4][256];
  static unsigned turn;
  char *p = path[turn++ % 4];
  snprintf(p, 256, "%s/%s", root, name);
  return p;
}

static bool holds(const char *name, const char *want) {
  char bytes[64] = {0};
  FILE *file = fopen(at(name), "rb");
  if (!file) return false;
  size_t count = fread(bytes, 1, sizeof bytes - 1, file);
  fclose(file);
  return count == strlen(want) && !memcmp(bytes, want, count);
}

static void put(const mxg_temp *temp, const char *name, const char *text) {
  char path[4096];
  assert_true(mxg_path_join(path, sizeof path, mxg_temp_path(temp), name));
  assert_int_equal(mxg_file_write(path, text, strlen(text), NULL), MXG_OK);
}

static void folder_is_replaced(void **state) {
  (void)state;
  mxg_temp *temp;
  assert_int_equal(mxg_temp_create(&temp, at("a/b/out"), NULL), MXG_OK);
  put(temp, "x", "one");
  put(temp, "gone", "old");
  assert_int_not_equal(access(at("a/b/out"), F_OK), 0);
  assert_int_equal(mxg_temp_replace(temp, NULL), MXG_OK);
  assert_true(holds("a/b/out/x", "one"));
  struct stat before, after;
  assert_int_equal(stat(at("a/b/out/x"), &before), 0);

  struct timespec old[2] = {{1000, 0}, {1000, 0}};
  assert_int_equal(utimensat(AT_FDCWD, at("a/b/out/x"), old, 0), 0);
  assert_int_equal(mxg_temp_create(&temp, at("a/b/out/"), NULL), MXG_OK);
  put(temp, "x", "one");
  put(temp, "y", "two");
  assert_int_equal(mxg_temp_replace(temp, NULL), MXG_OK);
  assert_true(holds("a/b/out/y", "two"));
  assert_int_not_equal(access(at("a/b/out/gone"), F_OK), 0);
  assert_int_equal(stat(at("a/b/out/x"), &after), 0);
  assert_int_equal(after.st_mtime, 1000); /* unchanged: old time */
  assert_int_not_equal(after.st_ino, before.st_ino);
}

static void removed_leaves_nothing(void **state) {
  (void)state;
  mxg_temp *temp;
  assert_int_equal(mxg_temp_create(&temp, at("p/q/out"), NULL), MXG_OK);
  put(temp, "x", "one");
  mxg_temp_remove(temp);
  assert_int_not_equal(access(at("p"), F_OK), 0);
}

static void merge_keeps_others(void **state) {
  (void)state;
  assert_int_equal(mkdir(at("m"), 0777), 0);
  assert_int_equal(mxg_file_write(at("m/config.json"), "{}", 2, NULL), MXG_OK);
  assert_int_equal(mxg_file_write(at("m/w"), "old", 3, NULL), MXG_OK);
  mxg_temp *temp;
  assert_int_equal(mxg_temp_create(&temp, at("m"), NULL), MXG_OK);
  put(temp, "w", "new");
  assert_true(holds("m/w", "old"));
  assert_int_equal(mxg_temp_merge(temp, NULL), MXG_OK);
  assert_true(holds("m/w", "new"));
  assert_true(holds("m/config.json", "{}"));
}

static void not_a_folder(void **state) {
  (void)state;
  assert_int_equal(mxg_file_write(at("file"), "x", 1, NULL), MXG_OK);
  mxg_temp *temp;
  mxg_error err = {0};
  assert_int_equal(mxg_temp_create(&temp, at("file"), &err), MXG_ERR_IO);
  assert_null(temp);
  assert_int_equal(mxg_temp_create(&temp, at("file/under"), &err), MXG_ERR_IO);
  assert_int_equal(mxg_temp_create(&temp, "", &err), MXG_ERR_INPUT);
  assert_int_equal(symlink("nowhere", at("link")), 0);
  assert_int_equal(mxg_temp_create(&temp, at("link"), &err), MXG_ERR_IO);
  assert_non_null(strstr(err.text, "use it as a folder"));
}

static void names(void **state) {
  (void)state;
  assert_true(mxg_file_name_is_safe("llama3_8b-tp2.v1"));
  assert_false(mxg_file_name_is_safe("../x"));
  assert_false(mxg_file_name_is_safe("a/b"));
  assert_false(mxg_file_name_is_safe(".."));
  assert_false(mxg_file_name_is_safe("-rf"));
  assert_false(mxg_file_name_is_safe(""));
  assert_false(mxg_file_name_is_safe("a b"));
}

static void *replace(void *temp) { return mxg_temp_replace(temp, NULL) == MXG_OK ? NULL : temp; }

/* A process that ends on a signal while the old folder is on its way out takes that along. */
static void interrupted_after_the_swap(void **state) {
  (void)state;
  mxg_temp *temp;
  char name[32];
  assert_int_equal(mxg_temp_create(&temp, at("s/out"), NULL), MXG_OK);
  for (unsigned i = 0; i < 600; i++) {
    snprintf(name, sizeof name, "%u", i);
    put(temp, name, "");
  }
  assert_int_equal(mxg_temp_replace(temp, NULL), MXG_OK);
  pid_t child = fork();
  assert_true(child >= 0);
  if (!child) {
    pthread_t thread;
    if (mxg_temp_create(&temp, at("s/out"), NULL) != MXG_OK || pthread_create(&thread, NULL, replace, temp)) _exit(1);
    while (!access(at("s/out/0"), F_OK)) {
    }
    mxg_temp_remove_all();
    _exit(0);
  }
  int code = -1;
  assert_int_equal(waitpid(child, &code, 0), child);
  assert_int_equal(code, 0);
  DIR *dir = opendir(at("s"));
  assert_non_null(dir);
  for (struct dirent *entry; (entry = readdir(dir));)
    if (entry->d_name[0] != '.') assert_string_equal(entry->d_name, "out");
  closedir(dir);
}

/* Last: afterwards this process can commit nothing. */
static void interrupted(void **state) {
  (void)state;
  mxg_temp *temp;
  assert_int_equal(mxg_temp_create(&temp, at("i/out"), NULL), MXG_OK);
  put(temp, "x", "one");
  mxg_temp_remove_all();
  assert_int_not_equal(access(at("i"), F_OK), 0);
  assert_int_equal(mxg_temp_replace(temp, NULL), MXG_ERR_IO);
  assert_int_not_equal(access(at("i"), F_OK), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(folder_is_replaced),
      cmocka_unit_test(removed_leaves_nothing),
      cmocka_unit_test(merge_keeps_others),
      cmocka_unit_test(not_a_folder),
      cmocka_unit_test(names),
      cmocka_unit_test(interrupted_after_the_swap),
      cmocka_unit_test(interrupted),
  };
  return cmocka_run_group_tests(tests, make_root, remove_root);
}
