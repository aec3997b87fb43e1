/* library.c -- see library.h. Reads ELF notes and ld.so.cache; every size from a file is checked before use. */
#define _GNU_SOURCE /* dlinfo, dladdr, dl_iterate_phdr */
#include "library.h"

#include "memory.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOTES_MAX = 16384, PARTS_MAX = 64, LOADER_CACHE_MAX = 16 << 20 };

#if defined(__x86_64__)
enum { OUR_MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { OUR_MACHINE = EM_AARCH64 };
#else
enum { OUR_MACHINE = EM_NONE };
#endif

/* ---- build-ids --------------------------------------------------------------------------------------------------- */

/* Looks for NT_GNU_BUILD_ID in the notes of one segment. */
static bool find_id(char hex[MXG_BUILD_ID_ROOM], const unsigned char *notes, size_t count) {
  for (size_t at = 0; at + 12 <= count;) {
    uint32_t name_bytes, id_bytes, type;
    memcpy(&name_bytes, notes + at, 4);
    memcpy(&id_bytes, notes + at + 4, 4);
    memcpy(&type, notes + at + 8, 4);
    if (name_bytes > count || id_bytes > count) return false;
    size_t name = at + 12, id = name + ((name_bytes + 3u) & ~3u), next = id + ((id_bytes + 3u) & ~3u);
    if (id + id_bytes > count) return false;
    if (type == NT_GNU_BUILD_ID && name_bytes == 4 && memcmp(notes + name, "GNU", 4) == 0 && id_bytes > 0 &&
        id_bytes <= (MXG_BUILD_ID_ROOM - 1) / 2) {
      for (uint32_t i = 0; i < id_bytes; i++) snprintf(hex + 2 * i, 3, "%02x", notes[id + i]);
      return true;
    }
    at = next;
  }
  return false;
}

static bool read_at(int file, void *to, size_t count, uint64_t at) {
  return at <= INT64_MAX && pread(file, to, count, (off_t)at) == (ssize_t)count;
}

static bool read_id(char hex[MXG_BUILD_ID_ROOM], int file) {
  Elf64_Ehdr head;
  if (!read_at(file, &head, sizeof head, 0) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0) return false;
  if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_ident[EI_DATA] != ELFDATA2LSB) return false;
  if (head.e_machine != OUR_MACHINE || head.e_phentsize != sizeof(Elf64_Phdr)) return false;
  for (unsigned i = 0; i < head.e_phnum && i < PARTS_MAX; i++) {
    Elf64_Phdr part;
    unsigned char notes[NOTES_MAX];
    if (!read_at(file, &part, sizeof part, head.e_phoff + i * sizeof part)) return false;
    if (part.p_type != PT_NOTE || part.p_filesz > sizeof notes) continue;
    if (read_at(file, notes, part.p_filesz, part.p_offset) && find_id(hex, notes, part.p_filesz)) return true;
  }
  return false;
}

bool mxg_library_build_id(char hex[MXG_BUILD_ID_ROOM], const char *path) {
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return false;
  bool found = read_id(hex, file);
  close(file);
  return found;
}

typedef struct wanted {
  uintptr_t address;
  char *hex;
  bool found;
} wanted;

static int look_at(struct dl_phdr_info *info, size_t bytes, void *user) {
  (void)bytes;
  wanted *w = user;
  bool holds = false;
  for (unsigned i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    uintptr_t begin = (uintptr_t)(info->dlpi_addr + part->p_vaddr);
    holds = holds || (part->p_type == PT_LOAD && w->address >= begin && w->address - begin < part->p_memsz);
  }
  if (!holds) return 0;
  for (unsigned i = 0; i < info->dlpi_phnum && !w->found; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    if (part->p_type != PT_NOTE) continue;
    const unsigned char *notes = (const unsigned char *)(uintptr_t)(info->dlpi_addr + part->p_vaddr);
    w->found = find_id(w->hex, notes, part->p_memsz);
  }
  return 1;
}

bool mxg_library_loaded_build_id(char hex[MXG_BUILD_ID_ROOM], const void *address) {
  wanted w = {(uintptr_t)address, hex, false};
  dl_iterate_phdr(look_at, &w);
  return w.found;
}

typedef struct named {
  const char *soname;
  char *path;
  size_t room;
} named;

static int compare_name(struct dl_phdr_info *info, size_t bytes, void *user) {
  (void)bytes;
  named *n = user;
  const char *path = info->dlpi_name ? info->dlpi_name : "", *slash = strrchr(path, '/');
  if (!slash || strcmp(slash + 1, n->soname) != 0 || strlen(path) >= n->room) return 0;
  memcpy(n->path, path, strlen(path) + 1);
  return 1;
}

bool mxg_library_loaded(char *path, size_t room, const char *soname) {
  return dl_iterate_phdr(compare_name, &(named){soname, path, room}) != 0;
}

/* ---- the loader's search ----------------------------------------------------------------------------------------- */

static bool is_library(const char *path) {
  char hex[MXG_BUILD_ID_ROOM];
  return mxg_library_build_id(hex, path);
}

static bool in_folder(char *path, size_t room, const char *folder, const char *soname) {
  int n = snprintf(path, room, "%s/%s", *folder ? folder : ".", soname);
  return n > 0 && (size_t)n < room && is_library(path);
}

/* dlinfo does not say which folders are the system's, which the loader takes after its cache. */
static bool is_system(const char *folder) {
  return strncmp(folder, "/lib", 4) == 0 || strncmp(folder, "/usr/lib", 8) == 0;
}

/* The folders that the loader searches for this library's own dlopen calls; `last`: the system's, else all before. */
static bool in_run_paths(char *path, size_t room, const char *soname, bool last) {
  static const char here;
  Dl_info own;
  void *self = dladdr(&here, &own) && own.dli_fname ? dlopen(own.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : NULL;
  if (!self) self = dlopen(NULL, RTLD_LAZY);
  Dl_serinfo size;
  bool found = false;
  if (self && dlinfo(self, RTLD_DI_SERINFOSIZE, &size) == 0 && size.dls_size < 1 << 20) {
    Dl_serinfo *all = mxg_alloc(size.dls_size);
    if (all && dlinfo(self, RTLD_DI_SERINFOSIZE, all) == 0 && dlinfo(self, RTLD_DI_SERINFO, all) == 0)
      for (unsigned i = 0; i < all->dls_cnt && !found; i++)
        if (is_system(all->dls_serpath[i].dls_name) == last)
          found = in_folder(path, room, all->dls_serpath[i].dls_name, soname);
    mxg_free(all);
  }
  if (self) dlclose(self);
  return found;
}

/* glibc's cache file: "glibc-ld.so.cache1.1", u32 entries, 24 bytes of other fields, then entries of 24 bytes (flags,
** offset of the name, offset of the path, 12 more). Offsets count from the file's start. */
static bool in_loader_cache(char *path, size_t room, const char *soname) {
  static const char magic[] = "glibc-ld.so.cache1.1";
  enum { HEAD = 48, ENTRY = 24 };
  bool found = false;
  struct stat info;
  int file = open("/etc/ld.so.cache", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  size_t count =
      fstat(file, &info) == 0 && info.st_size > HEAD && info.st_size < LOADER_CACHE_MAX ? (size_t)info.st_size : 0;
  char *bytes = count ? mxg_alloc(count + 1) : NULL; /* the byte after the end stays 0 and ends every string */
  if (bytes && read_at(file, bytes, count, 0) && memcmp(bytes, magic, sizeof magic - 1) == 0) {
    uint32_t entries;
    memcpy(&entries, bytes + sizeof magic - 1, 4);
    for (uint32_t i = 0; i < entries && !found && HEAD + ((uint64_t)i + 1) * ENTRY <= count; i++) {
      uint32_t name, value;
      memcpy(&name, bytes + HEAD + (size_t)i * ENTRY + 4, 4);
      memcpy(&value, bytes + HEAD + (size_t)i * ENTRY + 8, 4);
      if (name >= count || value >= count || strcmp(bytes + name, soname) != 0) continue;
      int n = snprintf(path, room, "%s", bytes + value);
      found = n > 0 && (size_t)n < room && is_library(path);
    }
  }
  mxg_free(bytes);
  close(file);
  return found;
}

bool mxg_library_find(char *path, size_t room, const char *soname) {
  return in_run_paths(path, room, soname, false) || in_loader_cache(path, room, soname) ||
         in_run_paths(path, room, soname, true);
}
