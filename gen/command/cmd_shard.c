/* cmd_shard.c -- `mxgen shard`: an original checkpoint to the source side's rank files. */
#include "outcome.h"
#include "progress.h"
#include "recipe_args.h"
#include "transfer.h"

static mxg_status run(const mxg_args *args, mxg_error *err) {
  if (!args->from == !args->has_random) {
    mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen shard needs either --from DIR or --random SEED");
    mxg_error_help(err, "mxgen help shard");
    return MXG_ERR_USAGE;
  }
  if (!args->out) return mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen shard needs --out DIR");
  if (args->keep_original && !args->has_random)
    return mxg_fail(err, MXG_ERR_USAGE, 904, "--keep-original goes with --random");
  mxg_generation g = {0};
  mxg_transfer transfer = {0};
  mxg_status status = mxg_args_load(&g, args, MXG_STAGE_MODEL, err);
  if (status == MXG_OK) {
    static char what[] = "sharding";
    transfer = (mxg_transfer){.model = g.model,
                              .from = args->from,
                              .out = args->out,
                              .threads = (unsigned)args->threads,
                              .with_checksums = args->checksums,
                              .progress = mxg_progress_bytes,
                              .user = what,
                              .random = args->has_random,
                              .seed = args->random,
                              .keep_original = args->keep_original};
    status = mxg_shard(&transfer, err);
  }
  mxg_progress_clear();
  if (status == MXG_OK) status = mxg_outcome_print(&transfer, args->json, err);
  mxg_transfer_end(&transfer);
  mxg_generation_free(&g);
  return status;
}

static const mxg_option options[] = {
    {"from", 0, MXG_OPTION_TEXT, offsetof(mxg_args, from), 0, "DIR",
     "the original: a Hugging Face folder of safetensors"},
    {"random", 0, MXG_OPTION_COUNT, offsetof(mxg_args, random), offsetof(mxg_args, has_random), "SEED",
     "a BF16 original made from this number instead"},
    {"out", 'o', MXG_OPTION_TEXT, offsetof(mxg_args, out), 0, "DIR", "folder for the rank files"},
    {"keep-original", 0, MXG_OPTION_TEXT, offsetof(mxg_args, keep_original), 0, "DIR",
     "keep the random original there"},
    MXG_OPTION_CHECKSUMS,
    MXG_OPTION_WORKERS,
    MXG_OPTION_SETS,
    MXG_OPTION_JSON("print JSON"),
    MXG_OPTIONS_END,
};

const mxg_verb mxg_verb_shard = {
    .name = "shard",
    .operands = "RECIPE",
    .summary = "an original checkpoint to the source side's rank files",
    .text =
        "Reads an original checkpoint, whose tensors have the names of the recipe's target side, and writes what each\n"
        "rank of the source side holds: split, fused, interleaved, padded and quantised as the recipe says.\n"
        "The original may be BF16, F16, F32, block FP8 or MXFP8; the files' headers say which.\n\n"
        "  mxgen shard recipes/llama3_8b_tp2.lua --from Meta-Llama-3-8B/ --out source/\n"
        "  mxgen shard recipes/llama3_8b_tp2.lua --set layers=2 --random 42 --out source/",
    .options = options,
    .least = 1,
    .most = 1,
    .writes = true,
    .run = run,
};
