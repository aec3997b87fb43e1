/* cmd_tune.c -- `mxgen tune`: what was tried on these GPUs, and the file beside the recipe that says what won. */
#include "error.h"
#include "memory.h"
#include "progress.h"
#include "recipe_args.h"
#include "temporary.h"
#include "tune_run.h"

#include <stdio.h>
#include <string.h>

static void tell(void *user, const char *what, unsigned done, unsigned all) {
  (void)user;
  char line[64];
  snprintf(line, sizeof line, "measuring %.32s", what);
  mxg_progress(done, all, line);
}

static const mxg_column columns[] = {{"transport", "transport", false},
                                     {"bucket", "bucket_bytes", true},
                                     {"chunk", "chunk_bytes", true},
                                     {"streams", "streams", true},
                                     {"kernels", "kernels", false},
                                     {"median us", "median_us", true},
                                     {"least", "least_us", true},
                                     {"most", "most_us", true},
                                     {"expected", "expected_us", true},
                                     {"checked", "checked_bytes", true},
                                     {"wrong", "wrong_bytes", true},
                                     {"", "note", false},
                                     {NULL, NULL, false}};

static void add_choice(mxg_grid *grid, uint64_t bytes) {
  if (bytes)
    mxg_grid_size(grid, bytes);
  else
    mxg_grid_puts(grid, "-");
}

static void add_time(mxg_grid *grid, const mxg_trial *trial, double seconds) {
  if (trial->measured)
    mxg_grid_format(grid, "%.1f", seconds * 1e6);
  else
    mxg_grid_puts(grid, "-");
}

static void add_shapes(mxg_grid *grid, const mxg_kernel_shapes *shapes) {
  mxg_text text = {0};
  mxg_kernel_shapes_print(shapes, &text);
  grid->failed = grid->failed || text.failed;
  mxg_grid_puts(grid, text.count ? text.bytes : "-");
  mxg_text_free(&text);
}

static void fill(mxg_grid *grid, const mxg_tune_found *found) {
  mxg_grid_begin(grid, columns);
  for (uint32_t i = 0; i < found->count; i++) {
    const mxg_trial *t = &found->trials[i];
    mxg_grid_puts(grid, mxg_tune_transport_name(t->transport));
    add_choice(grid, t->bucket_bytes);
    add_choice(grid, t->chunk_bytes);
    if (t->copy_streams)
      mxg_grid_count(grid, t->copy_streams);
    else
      mxg_grid_puts(grid, "-");
    add_shapes(grid, &t->shapes);
    add_time(grid, t, t->median);
    add_time(grid, t, t->least);
    add_time(grid, t, t->most);
    add_time(grid, t, t->expected);
    mxg_grid_size(grid, t->checked);
    mxg_grid_count(grid, t->wrong);
    mxg_grid_puts(grid, i == found->best ? "best" : t->note);
  }
}

static void print_kernels_json(const mxg_kernel_shapes *shapes, mxg_text *text) {
  mxg_text said = {0};
  mxg_kernel_shapes_print(shapes, &said);
  text->failed = text->failed || said.failed;
  mxg_text_json(text, said.count ? said.bytes : "");
  mxg_text_puts(text, ",\n  \"file\": ");
  mxg_text_free(&said);
}

static void print_json(const mxg_tune_run *run, const mxg_grid *grid, const char *path, mxg_text *text) {
  const mxg_hints *hints = &run->tune.hints;
  mxg_text_puts(text, "{\n  \"device\": ");
  mxg_text_json(text, hints->gpu);
  mxg_text_format(
      text, ",\n  \"gpus\": %u,\n  \"received_bytes\": %llu,\n  \"floor_us\": %.2f,\n  \"transport\": \"%s\"",
      hints->gpus, (unsigned long long)run->received, run->floor * 1e6, mxg_tune_transport_name(hints->transport));
  mxg_text_format(text, ",\n  \"chunk_bytes\": %llu,\n  \"streams\": %u,\n  \"bucket_bytes\": %llu,\n  \"kernels\": ",
                  (unsigned long long)hints->chunk_bytes, hints->copy_streams,
                  (unsigned long long)run->tune.bucket_bytes);
  print_kernels_json(&run->tune.shapes, text);
  if (path)
    mxg_text_json(text, path);
  else
    mxg_text_puts(text, "null");
  mxg_text_puts(text, ",\n  \"trials\": ");
  mxg_grid_json(grid, text);
  mxg_text_puts(text, "\n}\n");
}

static void print_text(const mxg_tune_run *run, const mxg_grid *grid, const char *path, mxg_text *text) {
  const mxg_hints *hints = &run->tune.hints;
  mxg_grid_print(grid, text, "");
  mxg_text_format(text, "\n-: as the recipe or the library has it; the recipe's bucket is %llu bytes\n",
                  (unsigned long long)run->bucket_bytes);
  mxg_text_puts(text, "kernels: a family's threads of a thread block, and bytes of one access\n");
  mxg_text_format(text, "floor %.1f us: the bytes that a rank receives at the rate of the link, on %u of %s\n",
                  run->floor * 1e6, hints->gpus, hints->gpu);
  mxg_text_format(text, "best: %s; %s\n", mxg_tune_transport_name(hints->transport), run->tune.because);
  if (path) mxg_text_format(text, "wrote %s: mxgen generate and mxg_generate take it from now on\n", path);
}

/* The table goes into the file too, as comments, for whoever reads it. */
static mxg_status save(const mxg_tune_run *run, const mxg_grid *grid, const char *path, mxg_error *err) {
  mxg_text table = {0}, text = {0};
  mxg_error fault = {0};
  mxg_grid_print(grid, &table, "");
  mxg_tune_print(&run->tune, table.failed ? NULL : table.bytes, &text);
  mxg_status status = text.failed ? mxg_fail_nomem(err) : MXG_OK;
  if (status == MXG_OK && mxg_temporary_save(path, text.bytes, text.count, &fault) != MXG_OK) {
    status = mxg_fail(err, MXG_ERR_IO, 841, "%.400s", fault.text);
    mxg_error_place(err, path, 0, 0, 0);
    if (err) err->native = fault.native;
  }
  mxg_text_free(&table);
  mxg_text_free(&text);
  return status;
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  char path[4096];
  mxg_arena arena = {0};
  mxg_tune_run run = {.recipe = args->operands[0],
                      .sets = args->sets.items,
                      .repeats = (unsigned)args->repeats,
                      .timeout_ms = (unsigned)args->timeout,
                      .no_check = args->no_check,
                      .progress = tell};
  if (mxg_args_is_bundle(run.recipe))
    return mxg_fail(err, MXG_ERR_USAGE, 904, "mxgen tune takes a recipe; a bundle is made already");
  if (!mxg_tune_path(path, sizeof path, run.recipe))
    return mxg_fail(err, MXG_ERR_USAGE, 904, "the recipe's name is too long");
  mxg_status status = mxg_tune_measure(&run, &arena, err), saved = MXG_OK;
  mxg_error fault = {0};
  mxg_progress_clear();
  if (status == MXG_OK || run.found.count) {
    mxg_grid grid;
    mxg_text text = {0};
    fill(&grid, &run.found);
    bool writes = status == MXG_OK && !args->no_save;
    if (writes) saved = save(&run, &grid, path, &fault);
    const char *wrote = writes && saved == MXG_OK ? path : NULL;
    if (args->json)
      print_json(&run, &grid, wrote, &text);
    else if (status == MXG_OK)
      print_text(&run, &grid, wrote, &text);
    else
      mxg_grid_print(&grid, &text, "");
    mxg_grid_free(&grid);
    mxg_status printed = mxg_out(&text, status == MXG_OK ? err : NULL);
    if (status == MXG_OK) status = printed;
  }
  mxg_arena_free(&arena);
  if (status == MXG_OK && saved != MXG_OK) {
    *err = fault;
    return saved;
  }
  return status;
}

static const mxg_option options[] = {
    {"repeats", 0, MXG_OPTION_COUNT, offsetof(mxg_args, repeats), offsetof(mxg_args, has_repeats), "N",
     "runs of each trial that are timed; default: 20"},
    {"timeout", 0, MXG_OPTION_COUNT, offsetof(mxg_args, timeout), offsetof(mxg_args, has_timeout), "MS",
     "how long a run may take; default: 60000"},
    {"no-check", 0, MXG_OPTION_FLAG, offsetof(mxg_args, no_check), 0, NULL, "do not compare targets with the host's"},
    {"no-save", 0, MXG_OPTION_FLAG, offsetof(mxg_args, no_save), 0, NULL, "print what is best, and write no file"},
    MXG_OPTION_SETS,
    MXG_OPTION_JSON("print JSON"),
    MXG_OPTIONS_END,
};

const mxg_verb mxg_verb_tune = {
    .name = "tune",
    .operands = "RECIPE",
    .summary = "measure a recipe's choices on these GPUs, and keep the best",
    .text =
        "Runs the schedule with random shards on this machine's GPUs, ranks on the GPUs in turn, in several ways:\n"
        "by copies and by kernels that read peers, with other chunks, streams and buckets, and through NCCL where\n"
        "there is one and a GPU for each rank. What is fastest then is tried with other thread blocks, tiles and\n"
        "widths of access of the kernels that convert most. Targets of the defaults and of what wins are compared\n"
        "with the host transport's. What is fastest, by more than 1 % for each choice that is not the default, goes\n"
        "to a text file beside the recipe, RECIPE without .lua and with .tune, which generate reads from then on. A\n"
        "choice that cannot be made or run is a line that says why. The file holds for this recipe with these\n"
        "parameters, for as many of these GPUs, this driver and this mxgen; elsewhere it is a warning and is not\n"
        "used. --no-tune leaves it alone.\n"
        "Exit code 5 when a byte is wrong, 3 without a GPU or NVRTC.\n\n"
        "  mxgen tune recipes/llama3_8b_tp2.lua --set layers=4",
    .options = options,
    .least = 1,
    .most = 1,
    .run = run,
};
