/* cmd_init.c -- `mxgen init`: a recipe to begin with, from a Hugging Face configuration. */
#include "command.h"
#include "error.h"
#include "hf_config.h"
#include "print.h"
#include "recipe_writer.h"
#include "temp.h"
#include "temporary.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static mxg_status check_folder(const char *folder, mxg_error *err) {
  struct stat info;
  int native = stat(folder, &info) ? errno : 0;
  if (!native && S_ISDIR(info.st_mode)) return MXG_OK;
  mxg_fail(err, MXG_ERR_IO, 910, "cannot read the folder of weights: %s", native ? strerror(native) : "it is a file");
  mxg_error_place(err, folder, 0, 0, 0);
  mxg_error_help(err, "--from-weights takes a folder that holds config.json and safetensors files");
  return MXG_ERR_IO;
}

static mxg_status read_config(mxg_hf_config *config, char from[256], const mxg_args *args, mxg_error *err) {
  char path[4096];
  const char *given = args->operand_count ? args->operands[0] : NULL;
  if (!args->from_weights == !given)
    return mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen init takes either CONFIG.json or --from-weights DIR");
  if (!args->from_weights) {
    snprintf(from, 256, "config.json");
    return mxg_hf_config_load(config, given, err);
  }
  MXG_TRY(check_folder(args->from_weights, err));
  if (!mxg_path_join(path, sizeof path, args->from_weights, "config.json"))
    return mxg_fail(err, MXG_ERR_INPUT, 911, "the folder's name is too long");
  mxg_status status = mxg_hf_config_load(config, path, err);
  if (status == MXG_ERR_IO) mxg_error_help(err, "the family is read from config.json; it belongs beside the weights");
  MXG_TRY(status);
  uint32_t differ;
  MXG_TRY(mxg_hf_config_measure(config, args->from_weights, &differ, err));
  snprintf(from, 256, "the weights' headers");
  if (differ) {
    mxg_warn("%u value(s) of config.json are not what the weights have; the weights were believed", differ);
    snprintf(from, 256, "the weights' headers, which differ from config.json in %u value(s)", differ);
  }
  return MXG_OK;
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  mxg_hf_config config;
  mxg_spread source, target;
  char from[256];
  MXG_TRY(mxg_spread_read(&source, args->source ? args->source : "whole", "source", err));
  MXG_TRY(mxg_spread_read(&target, args->target ? args->target : "whole", "target", err));
  MXG_TRY(read_config(&config, from, args, err));
  mxg_text text = {0};
  mxg_status status = mxg_recipe_write(&text, &config, &source, &target, from, err);
  if (status == MXG_OK && !args->out) return mxg_out(&text, err);
  if (status == MXG_OK && !access(args->out, F_OK)) {
    status = mxg_fail(err, MXG_ERR_INPUT, 910, "the file is there already");
    mxg_error_place(err, args->out, 0, 0, 0);
    mxg_error_help(err, "an edited recipe is not replaced: give another name, or remove it");
  }
  if (status == MXG_OK) status = mxg_temporary_save(args->out, text.bytes, text.count, err);
  mxg_text_free(&text);
  return status;
}

static const mxg_option options[] = {
    {"source", 0, MXG_OPTION_TEXT, offsetof(mxg_args, source), 0, "SIDE",
     "sizes of tp, pp, dp, world, with experts ep and etp, or whole (default)"},
    {"target", 0, MXG_OPTION_TEXT, offsetof(mxg_args, target), 0, "SIDE", "the same for the other side"},
    {"from-weights", 0, MXG_OPTION_TEXT, offsetof(mxg_args, from_weights), 0, "DIR",
     "a folder: the family from its config.json, shapes from its safetensors headers"},
    {"out", 'o', MXG_OPTION_TEXT, offsetof(mxg_args, out), 0, "FILE", "write the recipe here, not to standard output"},
    MXG_OPTIONS_END,
};

const mxg_verb mxg_verb_init = {
    .name = "init",
    .operands = "[CONFIG.json]",
    .summary = "a recipe to begin with, from a Hugging Face configuration",
    .text =
        "Writes a commented recipe for a model of a known family (llama, qwen3, qwen3_moe, glm4_moe, deepseek_v3,\n"
        "mixtral): MXFP8 on the source side, BF16 under Hugging Face names on the target side. A side is whole, or\n"
        "spread as Megatron does: tp, pp and dp for every model, ep and etp for models with experts; dp is as small "
        "as\n"
        "fits unless it is given. --from-weights takes a folder with config.json beside the safetensors files, and\n"
        "believes their headers where they differ from it; what they hold besides is told by mxgen check RECIPE\n"
        "--weights DIR --side target.\n\n"
        "  mxgen init config.json --source tp=4 --target whole --out recipe.lua\n"
        "  mxgen init config.json --source tp=4,ep=8 --target whole --out recipe.lua          # with experts\n"
        "  mxgen init --from-weights Qwen3-30B-A3B --source tp=4,ep=8 --out recipe.lua",
    .options = options,
    .least = 0,
    .most = 1,
    .writes = true,
    .run = run,
};
