/* cmd_doctor.c -- `mxgen doctor`: what was found where, and what that means for generating and running. */
#include "cache.h"
#include "command.h"
#include "compile.h"
#include "memory.h"
#include "print.h"
#include "probe.h"

#include <stdlib.h>
#include <string.h>

typedef struct findings {
  mxg_nvrtc_info nvrtc;
  mxg_driver_info driver;
  mxg_nccl_info nccl;
  char cache[MXG_CACHE_PATH];
  const char *cache_from; /* the variable that gave it */
  uint64_t cache_entries, cache_bytes;
  mxg_error cache_problem;
} findings;

static void look_at_cache(findings *f) {
  mxg_cache_item *items = NULL;
  size_t count = 0;
  mxg_cache_place(f->cache, &f->cache_from);
  if (mxg_cache_list(&items, &count, &f->cache_problem) != MXG_OK) return;
  for (size_t i = 0; i < count; i++) f->cache_bytes += items[i].bytes;
  f->cache_entries = count;
  mxg_free(items);
}

static void print_json(const findings *f, mxg_text *text) {
  mxg_text_puts(text, "{\n  \"mxgen\": ");
  mxg_text_json(text, mxg_version());
  mxg_text_format(text, ",\n  \"nvrtc\": {\"found\": %s, \"version\": ", f->nvrtc.found ? "true" : "false");
  mxg_text_json(text, f->nvrtc.version);
  mxg_text_puts(text, ", \"path\": ");
  mxg_text_json(text, f->nvrtc.path);
  mxg_text_puts(text, ", \"searched\": ");
  mxg_text_json(text, f->nvrtc.searched);
  mxg_text_format(text, "},\n  \"driver\": {\"found\": %s, \"usable\": %s, \"cuInit\": %d, \"version\": ",
                  f->driver.found ? "true" : "false", f->driver.usable ? "true" : "false", f->driver.native);
  mxg_text_json(text, f->driver.version);
  mxg_text_puts(text, ", \"path\": ");
  mxg_text_json(text, f->driver.path);
  mxg_text_puts(text, ", \"problem\": ");
  mxg_text_json(text, f->driver.problem);
  mxg_text_puts(text, ", \"devices\": [");
  for (int i = 0; i < f->driver.device_count && i < MXG_PROBE_DEVICES; i++) {
    const mxg_device_info *device = &f->driver.devices[i];
    mxg_text_puts(text, i ? ", {\"name\": " : "{\"name\": ");
    mxg_text_json(text, device->name);
    mxg_text_format(text, ", \"capability\": \"%d.%d\", \"memory\": %llu}", device->major, device->minor,
                    (unsigned long long)device->memory);
  }
  mxg_text_format(text, "]},\n  \"nccl\": {\"found\": %s, \"version\": ", f->nccl.found ? "true" : "false");
  mxg_text_json(text, f->nccl.version);
  mxg_text_puts(text, ", \"path\": ");
  mxg_text_json(text, f->nccl.path);
  mxg_text_puts(text, ", \"problem\": ");
  mxg_text_json(text, f->nccl.problem);
  mxg_text_puts(text, "},\n  \"cache\": {\"folder\": ");
  mxg_text_json(text, f->cache);
  mxg_text_format(text, ", \"entries\": %llu, \"bytes\": %llu, \"problem\": ", (unsigned long long)f->cache_entries,
                  (unsigned long long)f->cache_bytes);
  mxg_text_json(text, f->cache_problem.text);
  mxg_text_format(text, "},\n  \"cores\": %u,\n  \"memory\": %llu,\n  \"environment\": {", mxg_probe_cores(),
                  (unsigned long long)mxg_probe_memory());
  const char *between = "";
  for (const mxg_variable *v = mxg_variables; v->name; v++) {
    const char *value = getenv(v->name);
    if (!value) continue;
    mxg_text_puts(text, between);
    mxg_text_json(text, v->name);
    mxg_text_puts(text, ": ");
    mxg_text_json(text, value);
    between = ", ";
  }
  mxg_text_puts(text, "}\n}\n");
}

static const mxg_column columns[] = {{"part", "part", false}, {"state", "state", false}, {NULL, NULL, false}};

static void add_indented(mxg_text *text, const char *title, const char *lines) {
  mxg_text_format(text, "%s\n", title);
  for (const char *at = lines; *at;) {
    size_t count = strcspn(at, "\n");
    if (count) mxg_text_format(text, "  %.*s\n", (int)count, at);
    at += count + (at[count] == '\n');
  }
}

static void print_text(const findings *f, mxg_text *text) {
  mxg_grid table;
  mxg_grid_begin(&table, columns);
  mxg_grid_puts(&table, "mxgen");
  mxg_grid_puts(&table, mxg_version());
  mxg_grid_puts(&table, "nvrtc");
  if (f->nvrtc.found)
    mxg_grid_format(&table, "%s  %s", f->nvrtc.version, f->nvrtc.path);
  else
    mxg_grid_puts(&table, "not found: sources can be generated, cubins cannot (places searched: below)");
  mxg_grid_puts(&table, "driver");
  if (f->driver.usable)
    mxg_grid_format(&table, "CUDA %s  %s", f->driver.version, f->driver.path);
  else if (f->driver.found)
    mxg_grid_format(&table, "not usable: %s  %s", f->driver.problem, f->driver.path);
  else
    mxg_grid_format(&table, "not found: %s", f->driver.problem);
  if (*f->driver.help) {
    mxg_grid_puts(&table, "");
    mxg_grid_format(&table, "help: %s", f->driver.help);
  }
  for (int i = 0; i < f->driver.device_count && i < MXG_PROBE_DEVICES; i++) {
    const mxg_device_info *device = &f->driver.devices[i];
    mxg_text memory = {0};
    mxg_text_size(&memory, device->memory);
    mxg_grid_format(&table, "GPU %d", i);
    mxg_grid_format(&table, "%s  compute %d.%d  %s", device->name, device->major, device->minor,
                    memory.failed ? "" : memory.bytes);
    mxg_text_free(&memory);
  }
  mxg_grid_puts(&table, "nccl");
  if (f->nccl.usable)
    mxg_grid_format(&table, "%s  %s", f->nccl.version, f->nccl.path);
  else if (f->nccl.found)
    mxg_grid_format(&table, "not usable: %s  %s", f->nccl.problem, f->nccl.path);
  else
    mxg_grid_format(&table, "not found: %s", f->nccl.problem);
  mxg_grid_puts(&table, "cache");
  if (f->cache_problem.status) {
    mxg_grid_puts(&table, f->cache_problem.text);
  } else {
    mxg_text size = {0};
    mxg_text_size(&size, f->cache_bytes);
    mxg_grid_format(&table, "%llu entries, %s  %s (from %s)", (unsigned long long)f->cache_entries,
                    size.failed ? "" : size.bytes, f->cache, f->cache_from);
    mxg_text_free(&size);
  }
  mxg_grid_puts(&table, "cores");
  mxg_grid_count(&table, mxg_probe_cores());
  mxg_grid_puts(&table, "memory");
  mxg_grid_size(&table, mxg_probe_memory());
  mxg_grid_print(&table, text, "");
  mxg_grid_free(&table);
  if (!f->nvrtc.found) add_indented(text, "\nnvrtc was searched in", f->nvrtc.searched);

  static const mxg_column variable_columns[] = {
      {"variable", "name", false}, {"value", "value", false}, {"meaning", "meaning", false}, {NULL, NULL, false}};
  mxg_grid_begin(&table, variable_columns);
  for (const mxg_variable *v = mxg_variables; v->name; v++) {
    const char *value = getenv(v->name);
    mxg_grid_puts(&table, v->name);
    mxg_grid_puts(&table, value ? value : "-");
    mxg_grid_puts(&table, v->meaning);
  }
  mxg_text_puts(text, "\n");
  mxg_grid_print(&table, text, "");
  mxg_grid_free(&table);
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  static findings f;
  mxg_nvrtc_find(&f.nvrtc);
  mxg_probe_driver(&f.driver);
  mxg_probe_nccl(&f.nccl);
  look_at_cache(&f);
  mxg_text text = {0};
  if (args->json)
    print_json(&f, &text);
  else
    print_text(&f, &text);
  char name[128];
  const char *near = NULL;
  for (size_t i = 0; mxg_probe_unknown_variable(i, name, &near); i++) {
    if (near)
      mxg_warn("%s is not a variable that mxgen reads; did you mean %s?", name, near);
    else
      mxg_warn("%s is not a variable that mxgen reads", name);
  }
  return mxg_out(&text, err);
}

static const mxg_option options[] = {MXG_OPTION_JSON("print JSON"), MXG_OPTIONS_END};

const mxg_verb mxg_verb_doctor = {
    .name = "doctor",
    .operands = "",
    .summary = "say what this machine has, and where it was found",
    .text = "Looks for NVRTC (to compile kernels), the CUDA driver and NCCL (to run on GPUs), shows the kernel cache "
            "and the\n"
            "environment variables that mxgen reads. Whatever is missing, the exit code is 0.",
    .options = options,
    .run = run,
};
