/* cmd_cache.c -- `mxgen cache ls|trim|clear`: what the cache of kernels and bundles holds, and what shall go from it.
 */
#include "cache.h"
#include "command.h"
#include "memory.h"
#include "nearest.h"
#include "print.h"

#include <string.h>
#include <time.h>

/* "1GiB", "500MB", "0": a number, then nothing, or a unit of 1024 or 1000. */
static mxg_status read_size(uint64_t *out, const char *text, mxg_error *err) {
  static const struct {
    const char *name;
    uint64_t bytes;
  } units[] = {{"", 1},
               {"B", 1},
               {"KiB", 1024},
               {"MiB", UINT64_C(1) << 20},
               {"GiB", UINT64_C(1) << 30},
               {"TiB", UINT64_C(1) << 40},
               {"KB", 1000},
               {"MB", 1000000},
               {"GB", 1000000000},
               {"TB", UINT64_C(1000000000000)}};
  const char *at = text;
  uint64_t number = 0;
  bool good = *at >= '0' && *at <= '9';
  for (; good && *at >= '0' && *at <= '9'; at++)
    good = mxg_mul(&number, number, 10) && mxg_add(&number, number, (uint64_t)(*at - '0'));
  while (*at == ' ') at++;
  for (size_t i = 0; good && i < sizeof units / sizeof *units; i++)
    if (strcmp(at, units[i].name) == 0 && mxg_mul(out, number, units[i].bytes)) return MXG_OK;
  mxg_fail(err, MXG_ERR_USAGE, 904, "--size: '%.40s' is not a size", text);
  mxg_error_help(err, "write it like 1GiB, 500MiB or 0");
  return MXG_ERR_USAGE;
}

static void add_time(mxg_grid *table, int64_t seconds) {
  time_t when = (time_t)seconds;
  struct tm parts;
  char text[32] = "-";
  if (gmtime_r(&when, &parts)) strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  mxg_grid_puts(table, text);
}

static mxg_status list(const mxg_args *args, mxg_error *err) {
  static const mxg_column columns[] = {
      {"kernel", "kernel", false}, {"arch", "arch", false}, {"size", "bytes", true}, {"last used (UTC)", "used", false},
      {"state", "state", false},   {"file", "file", false}, {NULL, NULL, false}};
  char folder[MXG_CACHE_PATH];
  const char *from;
  mxg_cache_item *items;
  size_t count;
  uint64_t bytes = 0;
  MXG_TRY(mxg_cache_list(&items, &count, err));
  mxg_cache_place(folder, &from);
  mxg_grid table;
  mxg_grid_begin(&table, columns);
  for (size_t i = 0; i < count; i++) {
    bytes += items[i].bytes;
    mxg_grid_puts(&table, items[i].damaged ? "?" : items[i].kernel);
    mxg_grid_puts(&table, items[i].arch[0] ? items[i].arch : "-");
    mxg_grid_size(&table, items[i].bytes);
    add_time(&table, items[i].used);
    mxg_grid_puts(&table, items[i].damaged ? "damaged" : "good");
    if (args->json)
      mxg_grid_puts(&table, items[i].file);
    else
      mxg_grid_format(&table, "%.12s...", items[i].file);
  }
  mxg_text text = {0};
  if (args->json) {
    mxg_text_puts(&text, "{\n  \"folder\": ");
    mxg_text_json(&text, folder);
    mxg_text_format(&text, ",\n  \"bytes\": %llu,\n  \"entries\": ", (unsigned long long)bytes);
    mxg_grid_json(&table, &text);
    mxg_text_puts(&text, "\n}\n");
  } else {
    if (count) mxg_grid_print(&table, &text, "");
    mxg_text_format(&text, "%s%zu entries, ", count ? "\n" : "", count);
    mxg_text_size(&text, bytes);
    mxg_text_format(&text, ", in %s\n", folder);
  }
  mxg_grid_free(&table);
  mxg_free(items);
  return mxg_out(&text, err);
}

static mxg_status trim(const mxg_args *args, uint64_t size, mxg_error *err) {
  char folder[MXG_CACHE_PATH];
  const char *from;
  mxg_cache_removed gone;
  MXG_TRY(mxg_cache_trim(&gone, size, err));
  mxg_cache_place(folder, &from);
  mxg_text text = {0};
  if (args->json) {
    mxg_text_puts(&text, "{\n  \"folder\": ");
    mxg_text_json(&text, folder);
    mxg_text_format(&text,
                    ",\n  \"removed\": {\"entries\": %llu, \"bytes\": %llu},\n"
                    "  \"left\": {\"entries\": %llu, \"bytes\": %llu}\n}\n",
                    (unsigned long long)gone.entries, (unsigned long long)gone.bytes,
                    (unsigned long long)gone.left_entries, (unsigned long long)gone.left_bytes);
  } else {
    mxg_text_format(&text, "removed %llu files, ", (unsigned long long)gone.entries);
    mxg_text_size(&text, gone.bytes);
    mxg_text_format(&text, "; %llu entries, ", (unsigned long long)gone.left_entries);
    mxg_text_size(&text, gone.left_bytes);
    mxg_text_format(&text, " are left in %s\n", folder);
  }
  return mxg_out(&text, err);
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  static const char *const actions[] = {"ls", "trim", "clear"};
  const char *action = args->operands[0];
  uint64_t size = 0;
  bool trims = strcmp(action, "trim") == 0;
  if (args->size && !trims) return mxg_fail(err, MXG_ERR_USAGE, 904, "--size goes with `mxgen cache trim` alone");
  if (strcmp(action, "ls") == 0) return list(args, err);
  if (strcmp(action, "clear") == 0) return trim(args, 0, err);
  if (trims) {
    MXG_TRY(read_size(&size, args->size ? args->size : "1GiB", err));
    return trim(args, size, err);
  }
  mxg_fail(err, MXG_ERR_USAGE, 904, "'%.40s' is not something that mxgen cache does", action);
  const char *near = mxg_nearest(action, actions, sizeof actions / sizeof *actions);
  if (near)
    mxg_error_help(err, "did you mean 'mxgen cache %s'?", near);
  else
    mxg_error_help(err, "mxgen cache ls, trim or clear");
  return MXG_ERR_USAGE;
}

static const mxg_option options[] = {
    {"size", 0, MXG_OPTION_TEXT, offsetof(mxg_args, size), 0, "SIZE",
     "trim: how much may stay, e.g. 500MiB; default: 1GiB"},
    MXG_OPTION_JSON("print JSON"),
    MXG_OPTIONS_END,
};

const mxg_verb mxg_verb_cache = {
    .name = "cache",
    .operands = "ls|trim|clear",
    .summary = "list or empty the kernel cache",
    .text =
        "Compiled kernels are kept on disk, one file each, so that the next generate need not compile them; so are\n"
        "whole bundles that a program generates in its process.\n"
        "  ls      lists them, the last used first\n"
        "  trim    removes the longest unused until --size is kept, and whatever is damaged\n"
        "  clear   removes all\n"
        "The folder is MXGEN_CACHE_DIR, else $XDG_CACHE_HOME/mxgen, else ~/.cache/mxgen. MXGEN_CACHE=off|ro|rw "
        "says how\n"
        "generate uses it; with MXGEN_JIT=off it compiles nothing, and every kernel must be there. Removing "
        "entries is\n"
        "safe at any time, also while another process reads them.",
    .options = options,
    .least = 1,
    .most = 1,
    .run = run,
};
