/* bench_recipe.c -- `mxgen bench RECIPE`: a schedule on this machine's GPUs, checked and timed. */
#include "bench_gather.h"
#include "cost.h"
#include "driver.h"
#include "launcher.h"
#include "progress.h"
#include "recipe_args.h"

#include "bundle.h"

#include <stdio.h>
#include <string.h>

static const mxg_column columns[] = {{"transport", "transport", false},
                                     {"median us", "median_us", true},
                                     {"least", "least_us", true},
                                     {"most", "most_us", true},
                                     {"apart", "ranks_apart", true},
                                     {"expected", "expected_us", true},
                                     {"of floor", "of_floor", true},
                                     {"GB/s", "gb_s", true},
                                     {"start us", "start_us", true},
                                     {"device memory", "device_bytes", true},
                                     {"checked", "checked_bytes", true},
                                     {"wrong", "wrong_bytes", true},
                                     {NULL, NULL, false}};

static void add_line(mxg_grid *grid, const mxg_gather_bench *bench, const mxg_rates *rates,
                     const mxg_gather_line *line) {
  mxg_grid_puts(grid, line->transport);
  mxg_grid_format(grid, "%.1f", line->median * 1e6);
  mxg_grid_format(grid, "%.1f", line->least * 1e6);
  mxg_grid_format(grid, "%.1f", line->most * 1e6);
  mxg_grid_format(grid, "%.3f", line->apart);
  mxg_grid_format(grid, "%.1f", mxg_cost_of_plan(rates, line->chosen, mxg_bundle_plan(bench->bundle)) * 1e6);
  mxg_grid_format(grid, "%.3f", bench->floor > 0 ? line->median / bench->floor : 0);
  mxg_grid_format(grid, "%.1f", line->median > 0 ? (double)bench->received / line->median * 1e-9 : 0);
  mxg_grid_format(grid, "%.1f", line->start * 1e6);
  mxg_grid_size(grid, line->device_bytes);
  mxg_grid_size(grid, line->checked);
  mxg_grid_count(grid, line->wrong);
}

static void print(const mxg_gather_bench *bench, const mxg_tuned *tuned, bool json, mxg_text *text) {
  mxg_grid grid;
  mxg_grid_begin(&grid, columns);
  for (unsigned i = 0; i < bench->line_count; i++) add_line(&grid, bench, &tuned->rates, &bench->lines[i]);
  if (json) {
    mxg_text_puts(text, "{\n  \"device\": ");
    mxg_text_json(text, bench->device);
    mxg_text_format(text,
                    ",\n  \"ranks\": %u,\n  \"gpus\": %u,\n  \"received_bytes\": %llu,\n  \"source_bytes\": %llu,\n"
                    "  \"target_bytes\": %llu,\n  \"pull_gb_s\": %.2f,\n  \"floor_us\": %.2f",
                    bench->ranks, bench->gpus, (unsigned long long)bench->received,
                    (unsigned long long)bench->source_bytes, (unsigned long long)bench->target_bytes,
                    bench->pull_rate * 1e-9, bench->floor * 1e6);
    mxg_text_puts(text, ",\n  \"rates\": ");
    mxg_text_json(text, tuned->rates_name);
    mxg_text_puts(text, ",\n  \"lines\": ");
    mxg_grid_json(&grid, text);
    mxg_text_puts(text, "\n}\n");
  } else {
    mxg_text_format(text, "%u ranks on %u of %s; a rank receives up to ", bench->ranks, bench->gpus, bench->device);
    mxg_text_size(text, bench->received);
    mxg_text_format(text, "\nfloor %.1f us: those bytes at %.1f GB/s, the copy engines' rate while all GPUs pull\n\n",
                    bench->floor * 1e6, bench->pull_rate * 1e-9);
    mxg_grid_print(&grid, text, "");
    mxg_text_puts(
        text,
        "\nmedian, least, most: of the slowest rank, all beginning together, other data in the L2. apart: how much "
        "earlier\nthe fastest rank was done, of that. start: the host's time. wrong: bytes of poisoned targets that "
        "are not the host\ntransport's.\n");
    mxg_text_format(text, "expected: us, by the cost model with the rates of %s.\n", tuned->rates_name);
    for (unsigned i = 0; i < bench->line_count; i++)
      if (*bench->lines[i].why) mxg_text_format(text, "%s: %s.\n", bench->lines[i].transport, bench->lines[i].why);
    if (*bench->no_nccl) mxg_text_format(text, "nccl: left out: %s.\n", bench->no_nccl);
  }
  mxg_grid_free(&grid);
}

static mxg_status measure(const mxg_args *args, const mxg_bundle *bundle, mxg_tuned *tuned, mxg_error *err) {
  bool all = !args->transport || !strcmp(args->transport, "all");
  mxg_gather_bench bench = {.bundle = bundle,
                            .copy = all || !strcmp(args->transport, "copy"),
                            .direct = all || !strcmp(args->transport, "direct"),
                            .nccl = all || !strcmp(args->transport, "nccl"),
                            .all = all,
                            .automatic = args->transport && !strcmp(args->transport, "auto"),
                            .no_check = args->no_check,
                            .no_graph = args->no_graph,
                            .repeats = (unsigned)args->repeats,
                            .copy_streams = (unsigned)args->streams,
                            .chunk_bytes = args->chunk,
                            .trace = args->trace,
                            .timeout_ms = (unsigned)args->timeout};
  if (!bench.copy && !bench.direct && !bench.nccl && !bench.automatic)
    return mxg_fail(err, MXG_ERR_USAGE, 904, "--transport: '%.100s' is none of copy, direct, nccl, auto and all",
                    args->transport);
  MXG_TRY(mxg_processes_join(&bench.processes, bench.timeout_ms, err));
  bool speaks = bench.processes.rank == 0;
  mxg_status status = mxg_gather_bench_run(&bench, err);
  mxg_processes_leave(&bench.processes);
  MXG_TRY(status);
  mxg_text text = {0};
  if (!tuned->there) {
    const char *name;
    tuned->rates = *mxg_rates_of(bench.device, &name);
    if (bench.processes.world > 1) tuned->rates = mxg_rates_apart(&tuned->rates);
    snprintf(tuned->rates_name, sizeof tuned->rates_name, "%s", name);
  }
  if (speaks) print(&bench, tuned, args->json, &text);
  uint64_t wrong = 0;
  for (unsigned i = 0; i < bench.line_count; i++) wrong += bench.lines[i].wrong;
  if (speaks) MXG_TRY(mxg_out(&text, err));
  if (wrong)
    return mxg_fail(err, MXG_ERR_WRONG, 831, "%llu bytes are not what the host transport makes of the same shards",
                    (unsigned long long)wrong);
  return MXG_OK;
}

mxg_status mxg_bench_recipe(const mxg_args *args, mxg_error *err) {
  mxg_bundle *bundle = NULL;
  mxg_tuned tuned = {.rates = mxg_default_rates};
  if (mxg_launcher_wanted(args)) return mxg_launcher_run(args, err);
  snprintf(tuned.rates_name, sizeof tuned.rates_name, "%s", mxg_default_rates_name);
  if (mxg_args_is_bundle(args->operands[0])) {
    if (args->sets.count)
      return mxg_fail(err, MXG_ERR_USAGE, 904, "--set goes with a recipe; a bundle is made already");
    MXG_TRY(mxg_bundle_load(&bundle, args->operands[0], err));
  } else {
    MXG_TRY(mxg_args_generate_here(&bundle, &tuned, args, err));
  }
  mxg_status status = measure(args, bundle, &tuned, err);
  mxg_bundle_free(bundle);
  return status;
}
