/* cmd_bench.c -- `mxgen bench kernels`: generated kernels on this machine's GPU, checked and timed; `mxgen bench code`:
** what they cost on every architecture. Schedules: bench_recipe.c. */
#include "bench_code.h"
#include "bench_kernels.h"
#include "command.h"
#include "compile.h"
#include "error.h"
#include "print.h"
#include "progress.h"
#include "recipe_args.h"
#include "temp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const mxg_column columns[] = {{"work", "work", false},        {"shape", "shape", false},
                                     {"graph us", "graph_us", true}, {"p10", "graph_us_p10", true},
                                     {"p90", "graph_us_p90", true},  {"calls us", "call_us", true},
                                     {"TB/s", "tb_s", true},         {"copy us", "copy_us", true},
                                     {"of copy", "ratio", true},     {"asked", "asked", true},
                                     {"regs", "registers", true},    {"shared", "shared_bytes", true},
                                     {"local", "local_bytes", true}, {"blocks", "blocks_per_processor", true},
                                     {"wrong", "wrong_bytes", true}, {NULL, NULL, false}};

static void add_line(mxg_grid *grid, const mxg_bench_line *line) {
  mxg_grid_puts(grid, line->work);
  mxg_grid_puts(grid, line->shape);
  mxg_grid_format(grid, "%.2f", line->graph_us);
  mxg_grid_format(grid, "%.2f", line->low_us);
  mxg_grid_format(grid, "%.2f", line->high_us);
  mxg_grid_format(grid, "%.2f", line->call_us);
  mxg_grid_format(grid, "%.3f", (double)line->bytes / line->graph_us * 1e-6);
  mxg_grid_format(grid, "%.2f", line->copy_us);
  mxg_grid_format(grid, "%.3f", line->copy_us / line->graph_us);
  if (line->target > 0)
    mxg_grid_format(grid, "%.2f%s", line->target, line->copy_us / line->graph_us < line->target ? " missed" : "");
  else
    mxg_grid_puts(grid, "-");
  mxg_grid_count(grid, (uint64_t)line->registers);
  mxg_grid_count(grid, (uint64_t)line->shared_bytes);
  mxg_grid_count(grid, (uint64_t)line->local_bytes);
  mxg_grid_count(grid, (uint64_t)line->blocks_per_processor);
  mxg_grid_count(grid, line->wrong);
}

static const mxg_column beside_columns[] = {{"work", "work", false},   {"beside", "beside", false},
                                            {"shape", "shape", false}, {"times its time", "times", true},
                                            {"asked", "asked", true},  {NULL, NULL, false}};

/* Works beside those that differ from them in one choice alone: what swizzled scales cost, what known columns buy. */
static void fill_beside(mxg_grid *grid, const mxg_bench_result *result) {
  mxg_grid_begin(grid, beside_columns);
  for (uint32_t i = 0; i < result->count; i++) {
    const mxg_bench_line *line = &result->lines[i];
    for (uint32_t k = 0; k < result->count; k++) {
      const mxg_bench_line *other = &result->lines[k];
      if (strcmp(other->work, line->beside) != 0 || strcmp(other->shape, line->shape) != 0) continue;
      double times = line->graph_us / other->graph_us;
      mxg_grid_puts(grid, line->work);
      mxg_grid_puts(grid, other->work);
      mxg_grid_puts(grid, line->shape);
      mxg_grid_format(grid, "%.3f", times);
      if (line->beside_most > 0)
        mxg_grid_format(grid, "%.2f%s", line->beside_most, times > line->beside_most ? " missed" : "");
      else
        mxg_grid_puts(grid, "-");
    }
  }
}

static void print(const mxg_bench_result *result, bool json, mxg_text *text) {
  mxg_grid grid, beside;
  fill_beside(&beside, result);
  mxg_grid_begin(&grid, columns);
  for (uint32_t i = 0; i < result->count; i++) add_line(&grid, &result->lines[i]);
  if (json) {
    mxg_text_puts(text, "{\n  \"device\": ");
    mxg_text_json(text, result->device);
    mxg_text_format(
        text,
        ",\n  \"driver\": \"%s\",\n  \"nvrtc\": \"%s\",\n  \"arch\": \"%s\",\n  \"launch_us\": %.2f,\n  \"early\": %s",
        result->driver, result->nvrtc, result->arch, result->launch_us, result->early ? "true" : "false");
    mxg_text_puts(text, ",\n  \"lines\": ");
    mxg_grid_json(&grid, text);
    mxg_text_puts(text, ",\n  \"beside\": ");
    mxg_grid_json(&beside, text);
    mxg_text_puts(text, "\n}\n");
  } else {
    mxg_text_format(text, "%s, driver for CUDA %s, NVRTC %s, %s; one launch costs the host %.2f us%s\n\n",
                    result->device, result->driver, result->nvrtc, result->arch, result->launch_us,
                    result->early ? "; launches begin early" : "");
    mxg_grid_print(&grid, text, "");
    mxg_text_puts(text, "\n");
    mxg_grid_print(&beside, text, "");
    mxg_text_puts(text,
                  "\ngraph: one launch among those of a CUDA graph; calls: one after another; medians. copy: a "
                  "device-to-device copy\nof as many bytes. Inputs rotate past the L2; every output is compared with "
                  "the host's, byte for byte.\n");
  }
  mxg_grid_free(&grid);
  mxg_grid_free(&beside);
}

static void tell(void *user, const char *what, unsigned done, unsigned all) {
  (void)user;
  mxg_progress(done, all, what);
}

static const mxg_column code_columns[] = {{"work", "work", false},
                                          {"kernel", "kernel", false},
                                          {"arch", "arch", false},
                                          {"regs", "registers", true},
                                          {"shared", "shared_bytes", true},
                                          {"local", "local_bytes", true},
                                          {"instructions an element", "instructions", true},
                                          {"budget", "budget", true},
                                          {NULL, NULL, false}};

/* KERNEL.ARCH.cubin in a folder that is there, or is made. */
static mxg_status write_cubins(const char *folder, const mxg_code_line *lines, uint32_t count, mxg_error *err) {
  if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
    mxg_fail(err, MXG_ERR_IO, 910, "cannot make the folder: %s", strerror(errno));
    mxg_error_place(err, folder, 0, 0, 0);
    return MXG_ERR_IO;
  }
  for (uint32_t i = 0; i < count; i++) {
    char name[96], path[4096];
    snprintf(name, sizeof name, "%s.%s.cubin", lines[i].kernel, lines[i].arch);
    if (!mxg_path_join(path, sizeof path, folder, name))
      return mxg_fail(err, MXG_ERR_INPUT, 911, "the output folder's name is too long");
    MXG_TRY(mxg_file_write(path, lines[i].cubin, lines[i].cubin_bytes, err));
  }
  return MXG_OK;
}

static mxg_status run_code(const mxg_args *args, mxg_error *err) {
  mxg_arena arena = {0};
  mxg_grid grid;
  mxg_text text = {0};
  const char *list[MXG_LIST_ROOM + 1], *const *archs;
  char copy[512];
  const mxg_code_line *lines = NULL;
  uint32_t count = 0;
  if (args->archs) MXG_TRY(mxg_archs_read(list, copy, sizeof copy, args->archs, err));
  mxg_status status = mxg_archs_resolve(&archs, args->archs ? list : NULL, &arena, err);
  if (status == MXG_OK) status = mxg_bench_code(&lines, &count, archs, args->only, &arena, err);
  if (status == MXG_OK && args->out) status = write_cubins(args->out, lines, count, err);
  mxg_grid_begin(&grid, code_columns);
  for (uint32_t i = 0; i < count; i++) {
    mxg_grid_puts(&grid, lines[i].work);
    mxg_grid_puts(&grid, lines[i].kernel);
    mxg_grid_puts(&grid, lines[i].arch);
    mxg_grid_count(&grid, lines[i].registers);
    mxg_grid_count(&grid, lines[i].shared_bytes);
    mxg_grid_count(&grid, lines[i].local_bytes);
    mxg_grid_format(&grid, "%.1f", lines[i].instructions);
    mxg_grid_format(&grid, "%.1f", lines[i].budget);
  }
  if (args->json)
    mxg_grid_json(&grid, &text);
  else
    mxg_grid_print(&grid, &text, "");
  if (args->json) mxg_text_puts(&text, "\n");
  mxg_grid_free(&grid);
  mxg_arena_free(&arena);
  if (status == MXG_OK) return mxg_out(&text, err);
  mxg_text_free(&text);
  return status;
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  if (!strcmp(args->operands[0], "code")) return run_code(args, err);
  if (strcmp(args->operands[0], "kernels") != 0) return mxg_bench_recipe(args, err);
  mxg_bench_options options = {.device = (int)args->device,
                               .only = args->only,
                               .quick = args->quick,
                               .early = args->early,
                               .threads = (uint32_t)args->threads,
                               .tile_units = (uint32_t)args->tile_units,
                               .progress = tell};
  mxg_arena arena = {0};
  mxg_bench_result result;
  mxg_status status = mxg_bench_kernels(&result, &options, &arena, err);
  mxg_progress_clear();
  uint64_t wrong = 0;
  if (status == MXG_OK) {
    mxg_text text = {0};
    print(&result, args->json, &text);
    for (uint32_t i = 0; i < result.count; i++) wrong += result.lines[i].wrong;
    status = mxg_out(&text, err);
  }
  mxg_arena_free(&arena);
  if (status == MXG_OK && wrong)
    return mxg_fail(err, MXG_ERR_WRONG, 830, "%llu bytes are not what the host makes of the same input",
                    (unsigned long long)wrong);
  return status;
}

static const mxg_option options[] = {
    {"only", 0, MXG_OPTION_TEXT, offsetof(mxg_args, only), 0, "TEXT", "only works whose name holds TEXT"},
    {"quick", 0, MXG_OPTION_FLAG, offsetof(mxg_args, quick), 0, NULL, "leave the large matrices out"},
    {"early", 0, MXG_OPTION_FLAG, offsetof(mxg_args, early), 0, NULL,
     "kernels: launches begin while what is before them ends"},
    {"arch", 0, MXG_OPTION_TEXT, offsetof(mxg_args, archs), 0, "LIST",
     "code: architectures, sm_80,sm_90a,... or native"},
    {"out", 'o', MXG_OPTION_TEXT, offsetof(mxg_args, out), 0, "DIR", "code: keep the cubins there"},
    {"device", 0, MXG_OPTION_COUNT, offsetof(mxg_args, device), offsetof(mxg_args, has_device), "N", "GPU to use"},
    {"threads", 0, MXG_OPTION_COUNT, offsetof(mxg_args, threads), offsetof(mxg_args, has_threads), "N",
     "threads of a block, in place of the chosen number"},
    {"tile-units", 0, MXG_OPTION_COUNT, offsetof(mxg_args, tile_units), offsetof(mxg_args, has_tile_units), "N",
     "units of a tile, in place of the chosen number"},
    {"transport", 0, MXG_OPTION_TEXT, offsetof(mxg_args, transport), 0, "NAME",
     "copy, direct, nccl, auto, or all: copy, direct and nccl, the default"},
    {"repeats", 0, MXG_OPTION_COUNT, offsetof(mxg_args, repeats), offsetof(mxg_args, has_repeats), "N",
     "runs that are timed; default: 20"},
    {"chunk", 0, MXG_OPTION_COUNT, offsetof(mxg_args, chunk), offsetof(mxg_args, has_chunk), "BYTES",
     "copy: bytes copied before they are converted"},
    {"streams", 0, MXG_OPTION_COUNT, offsetof(mxg_args, streams), offsetof(mxg_args, has_streams), "N",
     "copy: copies under way at a time; ranks then take no turns at their sources"},
    MXG_OPTION_TIMEOUT,
    MXG_OPTION_PROCESSES,
    {"trace", 0, MXG_OPTION_TEXT, offsetof(mxg_args, trace), 0, "FILE",
     "write a Chrome trace of one more run, of the last transport"},
    {"no-graph", 0, MXG_OPTION_FLAG, offsetof(mxg_args, no_graph), 0, NULL, "start step by step, not as a CUDA graph"},
    {"no-check", 0, MXG_OPTION_FLAG, offsetof(mxg_args, no_check), 0, NULL, "do not compare targets with the host's"},
    MXG_OPTION_SETS,
    MXG_OPTION_NO_TUNE,
    MXG_OPTION_JSON("print JSON"),
    MXG_OPTIONS_END};

const mxg_verb mxg_verb_bench = {
    .name = "bench",
    .operands = "(kernels | code | RECIPE)",
    .summary = "check and time kernels, or a schedule, on GPUs",
    .text =
        "kernels: compiles kernels of every family for this machine's GPU, compares what they write with the host's\n"
        "conversion byte for byte, and times them beside a device-to-device copy of as many bytes.\n"
        "code: compiles them for every architecture and counts registers, local memory and instructions an element, "
        "of\n"
        "whole tiles, beside what the chip can issue while its memory is busy. Needs no GPU.\n"
        "RECIPE or BUNDLE: random shards in the GPUs' memory, ranks on the GPUs in turn; runs the schedule, compares "
        "the\n"
        "targets with the host transport's byte for byte, and times it beside the floor: the bytes that a rank "
        "receives\n"
        "at the rate at which copy engines pull while all GPUs do. With --processes, or under a launcher, one process "
        "a "
        "GPU.\n"
        "Exit code 5 when a byte is wrong, 3 without a GPU or NVRTC.\n\n"
        "  mxgen bench kernels\n"
        "  mxgen bench kernels --only dequantize --quick\n"
        "  mxgen bench code --arch sm_90a\n"
        "  mxgen bench recipes/llama3_8b_tp2.lua --transport copy --processes 2",
    .options = options,
    .least = 1,
    .most = 1,
    .run = run,
};
