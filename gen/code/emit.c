/* emit.c -- writes mx_params.h: the numbers of one kernel, as named constants that its template checks and uses.
**
** Owns the kernels' names and the parameters' text. Nothing that a recipe's author wrote gets out of the comment, and
** the comment holds printable ASCII only. The templates themselves are templates.c's. */
#include "emit.h"

#include "error.h"
#include "hash.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

static const char *elem_constant(unsigned elem) {
  static const char *const names[] = {"MX_E4M3", "MX_E5M2", "MX_BF16", "MX_FP16", "MX_FP32"};
  return elem < sizeof names / sizeof *names ? names[elem] : "MX_ELEM_UNKNOWN";
}

static const char *scale_constant(unsigned scale) {
  static const char *const names[] = {"MX_SCALE_NONE", "MX_SCALE_E8M0", "MX_SCALE_FP32", "MX_SCALE_AMAX"};
  return scale < sizeof names / sizeof *names ? names[scale] : "MX_SCALE_UNKNOWN";
}

static const char *layout_constant(unsigned layout) {
  static const char *const names[] = {"MX_COMPACT", "MX_PADDED", "MX_SWIZZLED"};
  return layout < sizeof names / sizeof *names ? names[layout] : "MX_LAYOUT_UNKNOWN";
}

static const char *rule_constant(unsigned rule) {
  static const char *const names[] = {"MX_RULE_NONE", "MX_FLOOR", "MX_RCEIL", "MX_CEIL", "MX_EVEN"};
  return rule < sizeof names / sizeof *names ? names[rule] : "MX_RULE_UNKNOWN";
}

static const char *nan_constant(unsigned nan) {
  static const char *const names[] = {"MX_NAN_BLOCK", "MX_NAN_ELEMENT"};
  return nan < sizeof names / sizeof *names ? names[nan] : "MX_NAN_UNKNOWN";
}

static void add_name(mxg_text *text, const char *name, const char *value) {
  mxg_text_format(text, "constexpr mx_u32 %-17s = %s;\n", name, value);
}

static void add_number(mxg_text *text, const char *name, uint32_t value) {
  char digits[16];
  snprintf(digits, sizeof digits, "%lu", (unsigned long)value);
  add_name(text, name, digits);
}

static void add_block(mxg_text *text, const char *name, uint32_t value) {
  if (value == MX_WHOLE)
    add_name(text, name, "MX_WHOLE");
  else
    add_number(text, name, value);
}

static void add_parameters(mxg_text *text, const mxg_kernel *kernel) {
  mxg_text_puts(text,
                "/* what is read: elements, how they are scaled, where scales lie, elements under one scale */\n");
  add_name(text, "MX_SRC_ELEM", elem_constant(kernel->src.elem));
  add_name(text, "MX_SRC_SCALE", scale_constant(kernel->src.scale));
  add_name(text, "MX_SRC_LAYOUT", layout_constant(kernel->src.layout));
  add_block(text, "MX_SRC_BLOCK_ROWS", kernel->src.block_rows);
  add_block(text, "MX_SRC_BLOCK_COLS", kernel->src.block_cols);
  mxg_text_puts(text, "\n/* what is written; how its scales are chosen, what NaN and Inf become */\n");
  add_name(text, "MX_DST_ELEM", elem_constant(kernel->dst.elem));
  add_name(text, "MX_DST_SCALE", scale_constant(kernel->dst.scale));
  add_name(text, "MX_DST_LAYOUT", layout_constant(kernel->dst.layout));
  add_block(text, "MX_DST_BLOCK_ROWS", kernel->dst.block_rows);
  add_block(text, "MX_DST_BLOCK_COLS", kernel->dst.block_cols);
  add_name(text, "MX_RULE", rule_constant(kernel->dst.rule));
  add_name(text, "MX_NAN", nan_constant(kernel->dst.nan));
  mxg_text_puts(text, "\n/* shape: columns of every entry (0: each says its own), elements of one access, threads of a "
                      "tile, its units */\n");
  add_number(text, "MX_COLS", kernel->cols);
  add_number(text, "MX_VEC", kernel->vec);
  add_number(text, "MX_THREADS", kernel->threads);
  add_number(text, "MX_TILE_UNITS", kernel->tile_units);
}

/* Lines of a comment. A byte that could end the comment, join lines or form a trigraph becomes '.'. */
static void add_origin(mxg_text *text, const char *origin) {
  if (!origin || !*origin) return;
  mxg_text_puts(text, "**\n** ");
  for (const unsigned char *c = (const unsigned char *)origin; *c; c++) {
    if (*c == '\n') {
      if (c[1]) mxg_text_puts(text, "\n** ");
      continue;
    }
    bool ends = *c == '/' && c > (const unsigned char *)origin && c[-1] == '*';
    bool opens = *c == '*' && c > (const unsigned char *)origin && c[-1] == '/';
    bool starts_line = *c == '/' && (c == (const unsigned char *)origin || c[-1] == '\n');
    bool odd = *c < 0x20 || *c > 0x7e || *c == '\\' || (*c == '?' && c[1] == '?');
    char plain = ends || opens || starts_line || odd ? '.' : (char)*c;
    mxg_text_add(text, &plain, 1);
  }
  mxg_text_puts(text, "\n");
}

/* Numbers in a fixed order and width, so that a name depends on neither memory layout nor wording. */
void mxg_kernel_name(mxg_kernel *kernel) {
  const mxg_encoding *src = &kernel->src, *dst = &kernel->dst;
  const uint32_t numbers[] = {
      kernel->family, kernel->cols, kernel->vec,     kernel->threads, kernel->tile_units, src->elem,
      src->scale,     src->layout,  src->block_rows, src->block_cols, dst->elem,          dst->scale,
      dst->layout,    dst->rule,    dst->nan,        dst->block_rows, dst->block_cols,
  };
  mxg_sha256 hash;
  unsigned char digest[32];
  char hex[65];
  mxg_sha256_begin(&hash);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    unsigned char bytes[4];
    for (int k = 0; k < 4; k++) bytes[k] = (unsigned char)(numbers[i] >> 8 * k);
    mxg_sha256_add(&hash, bytes, sizeof bytes);
  }
  mxg_sha256_end(&hash, digest);
  mxg_sha256_hex(digest, hex);
  snprintf(kernel->name, sizeof kernel->name, "mx_%s_%.8s", mxg_family_name(kernel->family), hex);
}

void mxg_emit_params(mxg_text *text, const mxg_kernel *kernel, const char *origin) {
  mxg_text_puts(text, "/* mx_params.h: generated by mxgen for ");
  mxg_text_puts(text, kernel->name);
  mxg_text_format(text, ", with %s.cu.\n", mxg_family_name(kernel->family));
  add_origin(text, origin);
  mxg_text_puts(text, "*/\n#ifndef MX_PARAMS_H\n#define MX_PARAMS_H\n\n#include \"mx_abi.h\"\n\n");
  mxg_text_format(text, "#define MX_KERNEL %s\n\n", kernel->name);
  add_parameters(text, kernel);
  mxg_text_puts(text, "\n#endif\n");
}

mxg_status mxg_emit(const mxg_source **out, const mxg_plan *plan, mxg_arena *arena, mxg_error *err) {
  *out = NULL;
  mxg_source *sources = mxg_arena_alloc(arena, plan->kernel_count ? plan->kernel_count : 1, sizeof *sources);
  if (!sources) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < plan->kernel_count; i++) {
    const mxg_kernel *kernel = &plan->kernels[i];
    mxg_text text = {0};
    mxg_emit_params(&text, kernel, plan->strings + kernel->origin);
    char *params = text.failed ? NULL : mxg_arena_text(arena, text.bytes, text.count);
    mxg_text_free(&text);
    char *name = mxg_arena_text(arena, kernel->name, strlen(kernel->name));
    char *template_name = mxg_arena_format(arena, "%s.cu", mxg_family_name(kernel->family));
    if (!params || !name || !template_name) return mxg_fail_nomem(err);
    sources[i] = (mxg_source){name, template_name, params};
  }
  *out = sources;
  return MXG_OK;
}
