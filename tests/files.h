/* files.h -- for tests: a folder of one's own under /tmp, files in it, its removal. Header only. */
#ifndef TESTS_FILES_H
#define TESTS_FILES_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char test_folder[64];

/* Four results live at once. */
static inline const char *in_folder(const char *name) {
  static char path[4][512];
  static unsigned next;
  char *to = path[next++ % 4];
  snprintf(to, sizeof path[0], "%s/%s", test_folder, name);
  return to;
}

static inline unsigned folder_entries(void) {
  DIR *dir = opendir(test_folder);
  unsigned count = 0;
  for (struct dirent *entry; dir && (entry = readdir(dir));)
    count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
  if (dir) closedir(dir);
  return count;
}

static inline void folder_empty(void) {
  DIR *dir = opendir(test_folder);
  for (struct dirent *entry; dir && (entry = readdir(dir));)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) remove(in_folder(entry->d_name));
  if (dir) closedir(dir);
}

/* As cmocka's group setup and teardown. */
static inline int folder_make(void **state) {
  (void)state;
  strcpy(test_folder, "/tmp/mxg-test-XXXXXX");
  return mkdtemp(test_folder) ? 0 : -1;
}

static inline int folder_remove(void **state) {
  (void)state;
  folder_empty();
  return rmdir(test_folder);
}

static inline void file_save(const char *path, const void *bytes, size_t count) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(bytes, 1, count, file) != count || fclose(file) != 0) abort();
}

#endif
