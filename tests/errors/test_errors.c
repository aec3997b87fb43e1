/* Every bad recipe of this folder against the diagnostic that its first lines give:
**   -- MX0201 at 8:33, 4 wide: mxfp8: unknown key 'blok' (did you mean 'block'?)
**   -- note: text that the note must contain
**   -- help: text that the help must contain
**   -- set: layers=2
** `at` names the file when it is another: "at parts/x.lua:1:2, 3 wide". Each must end within alarm_seconds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "model.h"

enum { most_files = 512, alarm_seconds = 60 };

typedef struct expectation {
  char error[800], note[800], help[800], name[800], value[800];
} expectation;

static void take_line(expectation *want, const char *line) {
  char *equals;
  if (strncmp(line, "-- MX", 5) == 0) {
    snprintf(want->error, sizeof want->error, "%s", line + 3);
  } else if (strncmp(line, "-- note: ", 9) == 0) {
    snprintf(want->note, sizeof want->note, "%s", line + 9);
  } else if (strncmp(line, "-- help: ", 9) == 0) {
    snprintf(want->help, sizeof want->help, "%s", line + 9);
  } else if (strncmp(line, "-- set: ", 8) == 0) {
    snprintf(want->name, sizeof want->name, "%s", line + 8);
    equals = strchr(want->name, '=');
    assert_non_null(equals);
    *equals = 0;
    snprintf(want->value, sizeof want->value, "%s", equals + 1);
  }
}

static bool read_expectation(expectation *want, const char *path) {
  char line[800];
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  memset(want, 0, sizeof *want);
  while (fgets(line, sizeof line, file) && strncmp(line, "--", 2) == 0) {
    line[strcspn(line, "\r\n")] = 0;
    take_line(want, line);
  }
  fclose(file);
  return want->error[0] != 0;
}

/* Takes the folder's path out of a text: an expectation does not know where the tree lies. */
static void drop_folder(char *text, const char *folder) {
  size_t bytes = strlen(folder);
  for (char *at = strstr(text, folder); at && at[bytes] == '/'; at = strstr(at, folder))
    memmove(at, at + bytes + 1, strlen(at + bytes + 1) + 1);
}

static int check_file(const char *folder, const char *name) {
  char path[1024], got[2400];
  expectation want;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  bool readable = read_expectation(&want, path);
  mxg_define define = {want.name, want.value};
  mxg_recipe_options options = {&define, want.name[0] ? 1 : 0};
  mxg_arena arena = {0};
  mxg_error err = {0};
  const mxg_model *model = NULL;
  mxg_files files = {0};
  alarm(alarm_seconds);
  mxg_status status = mxg_model_build(&model, &files, path, &options, &arena, &err);
  alarm(0);
  mxg_arena_free(&arena);
  drop_folder(err.text, folder);
  const char *file = err.file;
  size_t prefix = strlen(folder);
  if (strncmp(file, folder, prefix) == 0) file += prefix + 1;
  bool elsewhere = strcmp(file, name) != 0;
  snprintf(got, sizeof got, "MX%04u at %s%s%d:%d, %d wide: %s", err.code, elsewhere ? file : "", elsewhere ? ":" : "",
           err.line, err.column, err.span, err.text);
  bool fine = readable && status == MXG_ERR_INPUT && model == NULL && strcmp(got, want.error) == 0 &&
              strstr(err.note, want.note) && strstr(err.help, want.help) && mxg_error_explain(err.code, NULL);
  if (fine) return 0;
  print_message("%s (status %s)\n  want %s\n  got  %s\n  note %s\n  help %s\n", name, mxg_status_name(status),
                want.error, got, err.note, err.help);
  return 1;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void bad_recipes_give_their_diagnostic(void **state) {
  (void)state;
  static char *names[most_files];
  size_t count = 0;
  DIR *folder = opendir(MXG_TESTS "/errors");
  assert_non_null(folder);
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    size_t bytes = strlen(entry->d_name);
    if (bytes < 4 || strcmp(entry->d_name + bytes - 4, ".lua") != 0 || count == most_files) continue;
    names[count] = malloc(bytes + 1);
    assert_non_null(names[count]);
    memcpy(names[count++], entry->d_name, bytes + 1);
  }
  closedir(folder);
  qsort(names, count, sizeof *names, by_name);
  int wrong = 0;
  for (size_t i = 0; i < count; i++) {
    wrong += check_file(MXG_TESTS "/errors", names[i]);
    free(names[i]);
  }
  print_message("%zu bad recipes\n", count);
  assert_true(count > 60);
  assert_int_equal(wrong, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(bad_recipes_give_their_diagnostic)};
  return cmocka_run_group_tests_name("errors", tests, NULL, NULL) != 0;
}
