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
#include <unistd.h>

static mxg_status read_config(mxg_hf_config *config, char from[256], const mxg_args *args, mxg_error *err) {
  char path[4096];
  const char *given = args->operand_count ? args->operands[0] : NULL;
  if (!args->from_weights == !given)
    return mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen init takes either CONFIG.json or --from-weights DIR");
  if (!args->from_weights) {
    snprintf(from, 256, "config.json");
    return mxg_hf_config_load(config, given, err);
  }
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
     "sizes of tp, pp, ep, etp, dp, world, or whole (default)"},
    {"target", 0, MXG_OPTION_TEXT, offsetof(mxg_args, target), 0, "SIDE", "the same for the other side"},
    {"from-weights", 0, MXG_OPTION_TEXT, offsetof(mxg_args, from_weights), 0, "DIR",
     "shapes from the safetensors headers beside config.json"},
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
        "spread as Megatron does; dp is as small as fits unless it is given. --from-weights believes the headers where\n"
        "they differ from config.json; what they hold besides is told by mxgen check RECIPE --weights DIR --side target.\n\n"
        "  mxgen init config.json --source tp=4,ep=8 --target whole --out recipe.lua\n"
        "  mxgen init --from-weights Qwen3-30B-A3B --source tp=4,ep=8 --out recipe.lua",
    .options = options,
    .least = 0,
    .most = 1,
    .writes = true,
    .run = run,
};
