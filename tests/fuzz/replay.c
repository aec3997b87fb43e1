/* replay.c -- runs a fuzz target over saved inputs as a plain test, and over mutants of each: what a fuzzer would try
** first, the same on every machine.
**
** usage: replay MUTANTS PATH...   (files, or folders whose files are taken in the order of their names) */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t count);

enum { largest = 1 << 20 };

static unsigned long inputs;

static void *need(void *p) {
  if (!p) {
    perror("replay");
    exit(3);
  }
  return p;
}

/* In memory of exactly that size, so that a sanitizer sees a read past the end. */
static void run(const unsigned char *bytes, size_t count) {
  unsigned char *copy = need(malloc(count ? count : 1));
  if (count) memcpy(copy, bytes, count);
  (void)LLVMFuzzerTestOneInput(copy, count);
  free(copy);
  inputs++;
}

static uint64_t state;
static uint32_t below(size_t n) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return n ? (uint32_t)((state >> 33) % n) : 0;
}

static size_t mutate(unsigned char *bytes, size_t count) {
  static const uint64_t odd[] = {0,
                                 1,
                                 2,
                                 15,
                                 16,
                                 31,
                                 32,
                                 127,
                                 128,
                                 255,
                                 256,
                                 65535,
                                 0x7fffffff,
                                 0x80000000u,
                                 0xffffffff,
                                 0x100000000u,
                                 0x7fffffffffffffff,
                                 0xffffffffffffffff};
  for (uint32_t edits = 1 + below(4); edits && count; edits--) {
    size_t at = below(count), width = (size_t)1 << below(4);
    if (at + width > count) width = 1;
    uint64_t value = 0;
    memcpy(&value, bytes + at, width);
    switch (below(8)) {
    case 0: bytes[at] ^= (unsigned char)(1u << below(8)); break;
    case 1: bytes[at] = (unsigned char)below(256); break;
    case 2:
    case 3: memcpy(bytes + at, &odd[below(sizeof odd / sizeof *odd)], width); break;
    case 4:
      value += (uint64_t)below(33) - 16;
      memcpy(bytes + at, &value, width);
      break;
    case 5: memmove(bytes + at, bytes + below(count - width + 1), width); break;
    case 6: memmove(bytes + at, bytes + at + width, count - at - width), count -= width; break;
    default:
      if (below(4) == 0) count = at;
    }
  }
  return count;
}

static void run_file(const char *path, unsigned long mutants) {
  static unsigned char bytes[largest], mutant[largest];
  FILE *file = need(fopen(path, "rb"));
  size_t count = fread(bytes, 1, sizeof bytes, file);
  (void)fclose(file);
  run(bytes, count);
  state = count;
  for (unsigned long i = 0; i < mutants; i++) {
    memcpy(mutant, bytes, count);
    run(mutant, mutate(mutant, count));
  }
}

static int visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }
static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void run_path(const char *path, unsigned long mutants) {
  struct stat about;
  if (stat(path, &about) != 0) need(NULL);
  if (!S_ISDIR(about.st_mode)) {
    run_file(path, mutants);
    return;
  }
  struct dirent **names;
  int count = scandir(path, &names, visible, by_name);
  if (count < 0) need(NULL);
  for (int i = 0; i < count; i++) {
    size_t room = strlen(path) + strlen(names[i]->d_name) + 2;
    char *inner = need(malloc(room));
    (void)snprintf(inner, room, "%s/%s", path, names[i]->d_name);
    run_path(inner, mutants);
    free(inner);
    free(names[i]);
  }
  free(names);
}

int main(int argc, char **argv) {
  if (argc < 3) {
    (void)fprintf(stderr, "usage: replay MUTANTS PATH...\n");
    return 2;
  }
  for (int i = 2; i < argc; i++) run_path(argv[i], strtoul(argv[1], NULL, 10));
  printf("%lu inputs\n", inputs);
  return inputs ? 0 : 1;
}
