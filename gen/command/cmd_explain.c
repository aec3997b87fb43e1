/* cmd_explain.c -- `mxgen explain`: one tensor of a recipe, or one code of a diagnostic. */
#include "plan_build.h"
#include "recipe_args.h"

#include <stdlib.h>
#include <string.h>

/* Breaks lines before column 100. */
static void add_wrapped(mxg_text *text, const char *words) {
  size_t column = 0;
  while (*words) {
    size_t count = strcspn(words, " \n");
    if (column && column + 1 + count > 99) {
      mxg_text_puts(text, "\n");
      column = 0;
    }
    if (column) mxg_text_puts(text, " ");
    mxg_text_add(text, words, count);
    column += count + (column != 0);
    words += count;
    while (*words == ' ' || *words == '\n') words++;
  }
  mxg_text_puts(text, "\n");
}

/* "MX0203", "mx0203" or "0203". */
static bool read_code(unsigned *code, const char *word) {
  if ((word[0] == 'M' || word[0] == 'm') && (word[1] == 'X' || word[1] == 'x')) word += 2;
  char *end = NULL;
  unsigned long n = strtoul(word, &end, 10);
  if (word[0] < '0' || word[0] > '9' || *end || n > 9999) return false;
  *code = (unsigned)n;
  return true;
}

static mxg_status explain_code(const char *word, bool json, mxg_error *err) {
  unsigned code;
  const char *title = NULL, *words = NULL;
  if (read_code(&code, word)) words = mxg_error_explain(code, &title);
  if (!words) {
    mxg_fail(err, MXG_ERR_USAGE, 905, "'%.100s' is not a code of a diagnostic", word);
    mxg_error_help(err, "mxgen explain MX0203, or mxgen explain RECIPE TENSOR");
    return MXG_ERR_USAGE;
  }
  mxg_text text = {0};
  if (json) {
    mxg_text_format(&text, "{\"code\": \"MX%04u\", \"title\": ", code);
    mxg_text_json(&text, title);
    mxg_text_puts(&text, ", \"text\": ");
    mxg_text_json(&text, words);
    mxg_text_puts(&text, "}\n");
  } else {
    mxg_text_format(&text, "MX%04u: %s\n\n", code, title);
    add_wrapped(&text, words);
  }
  return mxg_out(&text, err);
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  if (args->operand_count == 1) return explain_code(args->operands[0], args->json, err);
  if (args->json)
    return mxg_fail(err, MXG_ERR_USAGE, 904, "--json goes with a code; for tensors see mxgen plan --json");
  mxg_generation g = {0};
  mxg_status status = mxg_args_load(&g, args, MXG_STAGE_PLAN, err);
  mxg_text text = {0};
  if (status == MXG_OK) status = mxg_plan_explain(g.plan, g.model, args->operands[1], &text, err);
  if (status == MXG_OK)
    status = mxg_out(&text, err);
  else
    mxg_text_free(&text);
  mxg_generation_free(&g);
  return status;
}

static const mxg_option options[] = {MXG_OPTION_SETS, MXG_OPTION_JSON("print JSON, for a code"), MXG_OPTIONS_END};

const mxg_verb mxg_verb_explain = {
    .name = "explain",
    .operands = "(RECIPE TENSOR | CODE)",
    .summary = "what decided a tensor, or a code at length",
    .text = "For a tensor: the two recipe lines that decided it, its shards on both sides, its pieces, its kernel, and "
            "the\n"
            "bytes on the wire beside what BF16 would have cost. For a code such as MX0203: what it means and what to "
            "do.\n\n"
            "  mxgen explain recipes/llama3_8b_tp2.lua layers.1.attn.qkv\n"
            "  mxgen explain MX0403",
    .options = options,
    .least = 1,
    .most = 2,
    .run = run,
};
