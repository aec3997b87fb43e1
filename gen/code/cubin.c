/* cubin.c -- reads a kernel's registers, shared and local memory from its cubin, an ELF file: without cuobjdump, and
** without ptxas -v, which would change the cubin's bytes.
**
** Section .nv.info holds attributes {format, attribute, size or value}; those of format 4 that name a symbol are read:
** 0x2f registers and 0x11 the frame. Static shared memory is the size of .nv.shared.<kernel>, less what the
** system keeps for itself at its start from sm_90 on. The instructions are .text.<kernel>, less the functions in it: the
** compiler's for rare cases, as quotients that are subnormal, which the kernel calls where it meets them. */
#include "cubin.h"

#include <string.h>

enum {
  ELF_HEADER = 64,
  SECTION_HEADER = 64,
  SYMBOL = 24,
  SECTION_SYMTAB = 2,
  SECTION_NOBITS = 8,
  SYMBOL_FUNCTION = 2,
  ATTR_SIZED = 4,
  ATTR_FRAME_SIZE = 0x11,
  ATTR_REGCOUNT = 0x2f,
  RESERVED_SHARED = 1024
};

typedef struct view {
  const unsigned char *bytes;
  size_t count;
} view;

typedef struct section {
  view data; /* empty for NOBITS */
  const char *name;
  uint32_t type;
  uint64_t size;
} section;

static uint64_t number(const unsigned char *at, unsigned bytes) {
  uint64_t value = 0;
  for (unsigned i = bytes; i > 0; i--) value = value << 8 | at[i - 1];
  return value;
}

static bool slice(view *out, view all, uint64_t offset, uint64_t count) {
  if (offset > all.count || count > all.count - offset) return false;
  *out = (view){all.bytes + offset, (size_t)count};
  return true;
}

/* A NUL-terminated string that ends inside of its table, or "". */
static const char *string_at(view table, uint64_t offset) {
  if (offset >= table.count || !memchr(table.bytes + offset, 0, table.count - (size_t)offset)) return "";
  return (const char *)table.bytes + offset;
}

static bool section_at(section *out, view elf, unsigned index, view names) {
  uint64_t offset = number(elf.bytes + 40, 8), sections = number(elf.bytes + 60, 2);
  view header;
  if (index >= sections || offset > elf.count) return false;
  if (!slice(&header, elf, offset + (uint64_t)index * SECTION_HEADER, SECTION_HEADER)) return false;
  out->type = (uint32_t)number(header.bytes + 4, 4);
  out->size = number(header.bytes + 32, 8);
  out->name = string_at(names, number(header.bytes, 4));
  out->data = (view){elf.bytes, 0};
  return out->type == SECTION_NOBITS || slice(&out->data, elf, number(header.bytes + 24, 8), out->size);
}

static const char *symbol_name(view symbols, view strings, uint64_t index) {
  view symbol;
  if (index > symbols.count / SYMBOL || !slice(&symbol, symbols, index * SYMBOL, SYMBOL)) return "";
  return string_at(strings, number(symbol.bytes, 4));
}

/* Walks .nv.info; `seen` when the register count of the kernel was there. */
static bool read_info(mxg_cubin_use *out, bool *seen, view info, view symbols, view strings, const char *kernel) {
  for (size_t at = 0; at + 4 <= info.count;) {
    unsigned format = info.bytes[at], attribute = info.bytes[at + 1];
    size_t size = format == ATTR_SIZED ? (size_t)number(info.bytes + at + 2, 2) : 0;
    view value;
    if (!slice(&value, info, at + 4, size)) return false;
    at += 4 + size;
    if (format != ATTR_SIZED || size != 8) continue;
    if (attribute != ATTR_FRAME_SIZE && attribute != ATTR_REGCOUNT) continue;
    if (strcmp(symbol_name(symbols, strings, number(value.bytes, 4)), kernel) != 0) continue;
    uint32_t amount = (uint32_t)number(value.bytes + 4, 4);
    if (attribute == ATTR_FRAME_SIZE) {
      out->local_bytes = amount;
    } else {
      out->registers = amount;
      *seen = true;
    }
  }
  return true;
}

/* Bytes of functions in a section, but for the kernel that it is of. */
static uint64_t functions_in(view symbols, view strings, unsigned where, const char *kernel) {
  uint64_t bytes = 0;
  for (size_t at = 0; at + SYMBOL <= symbols.count; at += SYMBOL) {
    const unsigned char *s = symbols.bytes + at;
    if ((s[4] & 15) != SYMBOL_FUNCTION || number(s + 6, 2) != where) continue;
    if (strcmp(string_at(strings, number(s, 4)), kernel) != 0) bytes += number(s + 16, 8);
  }
  return bytes;
}

bool mxg_cubin_read(mxg_cubin_use *out, const void *bytes, size_t count, const char *kernel, unsigned chip) {
  static const unsigned char magic[] = {0x7f, 'E', 'L', 'F', 2, 1};
  view elf = {bytes, count}, names = {bytes, 0}, symbols = {bytes, 0}, strings = {bytes, 0}, info = {bytes, 0};
  section each;
  *out = (mxg_cubin_use){0};
  if (count < ELF_HEADER || memcmp(bytes, magic, sizeof magic) != 0) return false;
  if (number(elf.bytes + 58, 2) != SECTION_HEADER) return false;
  if (!section_at(&each, elf, (unsigned)number(elf.bytes + 62, 2), names)) return false;
  names = each.data;
  unsigned sections = (unsigned)number(elf.bytes + 60, 2), code = 0;
  static const char shared[] = ".nv.shared.", text[] = ".text.";
  for (unsigned i = 0; i < sections; i++) {
    if (!section_at(&each, elf, i, names)) return false;
    if (each.type == SECTION_SYMTAB) symbols = each.data;
    if (strcmp(each.name, ".strtab") == 0) strings = each.data;
    if (strcmp(each.name, ".nv.info") == 0) info = each.data;
    if (strncmp(each.name, shared, sizeof shared - 1) == 0 && strcmp(each.name + sizeof shared - 1, kernel) == 0)
      out->shared_bytes = (uint32_t)each.size;
    if (strncmp(each.name, text, sizeof text - 1) == 0 && strcmp(each.name + sizeof text - 1, kernel) == 0)
      out->code_bytes = (uint32_t)each.size, code = i;
  }
  const uint64_t called = functions_in(symbols, strings, code, kernel);
  if (called > out->code_bytes) return false;
  out->code_bytes -= (uint32_t)called;
  if (chip >= 90 && out->shared_bytes >= RESERVED_SHARED) out->shared_bytes -= RESERVED_SHARED;
  bool seen = false;
  return read_info(out, &seen, info, symbols, strings, kernel) && seen;
}
