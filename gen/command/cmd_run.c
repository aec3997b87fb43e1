/* cmd_run.c -- `mxgen run`: the source side's rank files to the target side's, on host ranks or on GPUs. */
#include "driver.h"
#include "launcher.h"
#include "outcome.h"
#include "progress.h"
#include "recipe_args.h"
#include "transfer.h"

#include <stdio.h>
#include <string.h>

static void show(void *user, const char *line) {
  (void)user;
  fprintf(stderr, "%s\n", line);
}

static mxg_status read_transport(mxg_transport *out, const char *text, mxg_error *err) {
  static const char *const names[] = {"host", "nccl", "copy", "direct", "auto"};
  *out = MXG_HOST;
  for (unsigned i = 0; text && i < sizeof names / sizeof *names; i++) {
    if (strcmp(text, names[i]) != 0) continue;
    *out = (mxg_transport)i;
    return MXG_OK;
  }
  if (!text) return MXG_OK;
  return mxg_fail(err, MXG_ERR_USAGE, 904, "--transport: '%.100s' is none of host, copy, direct, nccl and auto", text);
}

static mxg_status move(const mxg_args *args, const mxg_model *model, const mxg_bundle *bundle, mxg_transport transport,
                       mxg_error *err) {
  static char what[] = "moving";
  mxg_processes processes;
  mxg_transfer transfer = {.model = model,
                           .bundle = bundle,
                           .from = args->weights,
                           .out = args->out,
                           .threads = (unsigned)args->threads,
                           .with_checksums = args->checksums,
                           .user = what,
                           .transport = transport,
                           .timeout_ms = (unsigned)args->timeout,
                           .processes = &processes,
                           .trace = args->trace,
                           .record = show,
                           .ranks = args->target_ranks,
                           .all_ranks = args->all_ranks};
  MXG_TRY(mxg_processes_join(&processes, transfer.timeout_ms, err));
  if (processes.rank == 0) transfer.progress = mxg_progress_bytes;
  mxg_status status = mxg_run(&transfer, err);
  mxg_progress_clear();
  bool speaks = processes.rank == 0;
  mxg_processes_leave(&processes);
  if (status == MXG_OK && speaks) status = mxg_outcome_print(&transfer, args->json, err);
  mxg_transfer_end(&transfer);
  return status;
}

/* With a recipe the kernels are made for the GPUs that are here; where there are none, auto takes the host and no
** kernel is needed. */
static mxg_status move_recipe(const mxg_args *args, mxg_transport transport, mxg_error *err) {
  mxg_generation g = {0};
  mxg_bundle *bundle = NULL;
  int gpus = 0;
  bool on_gpus = transport != MXG_HOST;
  if (transport == MXG_AUTO) on_gpus = mxg_gpu_count(&gpus, NULL) == MXG_OK && gpus > 0;
  mxg_status status = mxg_args_load(&g, args, MXG_STAGE_MODEL, err);
  if (status == MXG_OK && on_gpus) status = mxg_args_generate_here(&bundle, NULL, args, err);
  if (status == MXG_OK) status = move(args, g.model, bundle, transport, err);
  mxg_bundle_free(bundle);
  mxg_generation_free(&g);
  return status;
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  mxg_transport transport;
  if (!args->weights)
    return mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen run needs --weights DIR, the source side's files");
  if (!args->out) return mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen run needs --out DIR");
  if (args->target_ranks && args->all_ranks)
    return mxg_fail(err, MXG_ERR_USAGE, 904, "--target-ranks does not go with --all-ranks");
  MXG_TRY(read_transport(&transport, args->transport, err));
  if (args->trace && transport == MXG_HOST)
    return mxg_fail(err, MXG_ERR_USAGE, 904, "--trace goes with a transport of GPUs: copy, direct, nccl or auto");
  bool is_bundle = mxg_args_is_bundle(args->operands[0]);
  if (is_bundle && args->sets.count)
    return mxg_fail(err, MXG_ERR_USAGE, 904, "--set goes with a recipe; a bundle is made already");
  if (mxg_launcher_wanted(args)) return mxg_launcher_run(args, err);
  if (!is_bundle) return move_recipe(args, transport, err);
  mxg_bundle *bundle = NULL;
  MXG_TRY(mxg_bundle_load(&bundle, args->operands[0], err));
  mxg_status status = move(args, NULL, bundle, transport, err);
  mxg_bundle_free(bundle);
  return status;
}

static const mxg_option options[] = {
    {"weights", 'w', MXG_OPTION_TEXT, offsetof(mxg_args, weights), 0, "DIR", "the source side's files"},
    {"out", 'o', MXG_OPTION_TEXT, offsetof(mxg_args, out), 0, "DIR", "folder for the target side's files"},
    {"target-ranks", 0, MXG_OPTION_TEXT, offsetof(mxg_args, target_ranks), 0, "LIST",
     "write these ranks only, e.g. 0,4-7"},
    {"all-ranks", 0, MXG_OPTION_FLAG, offsetof(mxg_args, all_ranks), 0, NULL,
     "write also ranks that only repeat whole tensors of lower ranks"},
    {"transport", 0, MXG_OPTION_TEXT, offsetof(mxg_args, transport), 0, "NAME",
     "host, the default; copy, direct or nccl: on GPUs; auto: the fastest that there is"},
    MXG_OPTION_PROCESSES,
    MXG_OPTION_TIMEOUT,
    {"trace", 0, MXG_OPTION_TEXT, offsetof(mxg_args, trace), 0, "FILE",
     "on GPUs: write a Chrome trace of one more run, by rank and stream"},
    MXG_OPTION_CHECKSUMS,
    MXG_OPTION_WORKERS,
    MXG_OPTION_SETS,
    MXG_OPTION_JSON("print JSON"),
    MXG_OPTIONS_END,
};

const mxg_verb mxg_verb_run = {
    .name = "run",
    .operands = "(RECIPE | BUNDLE)",
    .summary = "run the schedule on files: source ranks to target ranks",
    .text = "Audits the source side's files against the recipe and refuses on a finding; runs the schedule; writes one "
            "file a\n"
            "target rank, and an index where the arrays are whole tensors. The files appear when all of them are "
            "complete, and\n"
            "are the same bytes with every transport. On the host every rank is a thread. On GPUs ranks take them in "
            "turn;\n"
            "sources and targets must fit into their memory. With --processes, or under a launcher that sets RANK, "
            "WORLD_SIZE,\n"
            "LOCAL_RANK, MASTER_ADDR and MASTER_PORT, every process has a GPU and its ranks. Exit code 6 when a rank "
            "was lost or\n"
            "the deadline passed.\n\n"
            "  mxgen run recipes/llama3_8b_tp2.lua --weights source/ --out target/\n"
            "  mxgen run llama3_8b_tp2.mxgen/llama3_8b_tp2.mxb --weights source/ --out target/\n"
            "  mxgen run recipes/llama3_8b_tp2.lua --weights source/ --out target/ --transport auto --processes 2",
    .options = options,
    .least = 1,
    .most = 1,
    .writes = true,
    .run = run,
};
