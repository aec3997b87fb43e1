/* cmd_run.c -- `mxgen run`: the source side's rank files to the target side's, on host ranks. */
#include "outcome.h"
#include "progress.h"
#include "recipe_args.h"
#include "transfer.h"

static mxg_status move(const mxg_args *args, const mxg_model *model, const mxg_bundle *bundle, mxg_error *err) {
  static char what[] = "moving";
  mxg_transfer transfer = {.model = model,
                           .bundle = bundle,
                           .from = args->weights,
                           .out = args->out,
                           .threads = (unsigned)args->threads,
                           .with_checksums = args->checksums,
                           .progress = mxg_progress_bytes,
                           .user = what,
                           .ranks = args->target_ranks,
                           .all_ranks = args->all_ranks};
  mxg_status status = mxg_run(&transfer, err);
  mxg_progress_clear();
  if (status == MXG_OK) status = mxg_outcome_print(&transfer, args->json, err);
  mxg_transfer_end(&transfer);
  return status;
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  if (!args->weights)
    return mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen run needs --weights DIR, the source side's files");
  if (!args->out) return mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen run needs --out DIR");
  if (args->target_ranks && args->all_ranks)
    return mxg_fail(err, MXG_ERR_USAGE, 904, "--target-ranks does not go with --all-ranks");
  mxg_status status;
  if (mxg_args_is_bundle(args->operands[0])) {
    if (args->sets.count)
      return mxg_fail(err, MXG_ERR_USAGE, 904, "--set goes with a recipe; a bundle is made already");
    mxg_bundle *bundle = NULL;
    MXG_TRY(mxg_bundle_load(&bundle, args->operands[0], err));
    status = move(args, NULL, bundle, err);
    mxg_bundle_free(bundle);
  } else {
    mxg_generation g = {0};
    status = mxg_args_load(&g, args, MXG_STAGE_MODEL, err);
    if (status == MXG_OK) status = move(args, g.model, NULL, err);
    mxg_generation_free(&g);
  }
  return status;
}

static const mxg_option options[] = {
    {"weights", 'w', MXG_OPTION_TEXT, offsetof(mxg_args, weights), 0, "DIR", "the source side's files"},
    {"out", 'o', MXG_OPTION_TEXT, offsetof(mxg_args, out), 0, "DIR", "folder for the target side's files"},
    {"target-ranks", 0, MXG_OPTION_TEXT, offsetof(mxg_args, target_ranks), 0, "LIST",
     "write these ranks only, e.g. 0,4-7"},
    {"all-ranks", 0, MXG_OPTION_FLAG, offsetof(mxg_args, all_ranks), 0, NULL,
     "write also ranks that only repeat whole tensors of lower ranks"},
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
    .text = "Audits the source side's files against the recipe and refuses on a finding; runs the schedule with every "
            "rank as\n"
            "a thread; writes one file a target rank, and an index where the arrays are whole tensors. The files "
            "appear when\n"
            "all of them are complete.\n\n"
            "  mxgen run recipes/llama3_8b_tp2.lua --weights source/ --out target/\n"
            "  mxgen run llama3_8b_tp2.mxgen/llama3_8b_tp2.mxb --weights source/ --out target/",
    .options = options,
    .least = 1,
    .most = 1,
    .writes = true,
    .run = run,
};
