/* manual.c -- see manual.h: mxgen(1), mxgen-recipe(5) and the completion. libmxgen(3) is manual_library.c's. */
#include "manual.h"

#include "archs.h"
#include "embedded.h"
#include "error.h"
#include "manual_library.h"
#include "page.h"
#include "print.h"
#include "probe.h"
#include "schema.h"

#include <stdio.h>
#include <string.h>

/* ---- mxgen(1) ---- */

static void print_verb(mxg_page *page, const mxg_verb *verb) {
  char title[128];
  snprintf(title, sizeof title, "mxgen %s %s", verb->name, verb->operands);
  mxg_page_part(page, title);
  mxg_page_code(page, verb->text, strlen(verb->text));
  for (const mxg_option *o = verb->options; o->name; o++) {
    char term[64];
    if (o->letter)
      snprintf(term, sizeof term, "-%c, --%s", o->letter, o->name);
    else
      snprintf(term, sizeof term, "--%s", o->name);
    mxg_page_term(page, term, o->value, o->help);
  }
}

static void print_command(mxg_page *page) {
  mxg_page_begin(page, "mxgen", 1, "generate schedules and CUDA kernels that move quantised weights");
  mxg_page_section(page, "SYNOPSIS");
  static const char synopsis[] = "mxgen RECIPE [options]\nmxgen VERB ... [options]\nmxgen help [VERB | recipe]";
  mxg_page_code(page, synopsis, sizeof synopsis - 1);
  mxg_page_section(page, "DESCRIPTION");
  mxg_page_paragraph(
      page, "mxgen reads a recipe, which says how the weights of a model are stored and spread over ranks (the "
            "source side) and how they are wanted (the target side), checks it completely, plans the movement "
            "once, and generates CUDA kernels specialised to it. A bundle holds plan and kernels; libmxrt runs "
            "it. The first form is the same as mxgen generate RECIPE. Results go to standard output, progress "
            "and diagnostics to standard error.");
  mxg_page_section(page, "VERBS");
  for (const mxg_verb *const *v = mxg_verbs; *v; v++) print_verb(page, *v);
  mxg_page_section(page, "ENVIRONMENT");
  for (const mxg_variable *v = mxg_variables; v->name; v++) mxg_page_term(page, v->name, NULL, v->meaning);
  mxg_page_term(page, "NO_COLOR", NULL, "diagnostics without colour, on a terminal too");
  mxg_page_section(page, "EXIT STATUS");
  static const char *const codes[] = {"success",
                                      "the input is wrong: a recipe, a checkpoint, a bundle",
                                      "wrong usage of the command",
                                      "the environment: a missing library, a full disk, no memory",
                                      "NVRTC refused generated source, which is a bug",
                                      "a result is not what it must be",
                                      "a deadline passed or a rank was lost"};
  for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
    mxg_page_term(page, (char[]){(char)('0' + i), 0}, NULL, codes[i]);
  mxg_page_section(page, "SEE ALSO");
  mxg_page_paragraph(page, "mxgen-recipe(5), libmxgen(3)");
}

/* ---- mxgen-recipe(5) ---- */

static const char example[] =
    "local mx = require \"mx\"\n"
    "local m = mx.model \"tiny\"\n"
    "m:tensor(\"embed\", { 256, 128 })\n"
    "m:fused(\"layers.0.attn.qkv\", { { \"q\", 256 }, { \"k\", 128 }, { \"v\", 128 } }, 128):interleave(4)\n"
    "local fp8, bf16 = mx.mxfp8 { elem = \"e4m3\", block = 32, scale = \"rceil\" }, mx.bf16()\n"
    "return {\n"
    "  version = 1, model = m,\n"
    "  source = { mesh = mx.mesh { { \"tp\", 2 } }, format = { mx.rule(bf16, \"embed\"), mx.rule(fp8, \"**\") },\n"
    "             layout = { mx.rule(mx.split { row = \"tp\" }, \"**\") } },\n"
    "  target = { mesh = mx.mesh { { \"copy\", 2 } }, format = { mx.rule(bf16, \"**\") },\n"
    "             layout = { mx.rule(mx.whole(), \"**\") } },\n"
    "}";

/* The comments of mx.lua that say what recipes get: those that name something of mx. */
static void print_functions(mxg_page *page) {
  const mxg_embedded *lua = mxg_embedded_files;
  while (lua->name && strcmp(lua->name, "mx.lua") != 0) lua++;
  const char *at = lua->name ? lua->text : "";
  while (*at) {
    mxg_text block = {0};
    while (!strncmp(at, "--", 2)) {
      size_t n = strcspn(at, "\n");
      const char *line = at + 2 + (at[2] == ' ');
      mxg_text_add(&block, line, (size_t)(at + n - line));
      mxg_text_puts(&block, "\n");
      at += n + (at[n] == '\n');
    }
    bool head = block.bytes && !strncmp(block.bytes, "mx.lua", 6);
    if (block.bytes && !head && strstr(block.bytes, "mx.")) {
      mxg_page_code(page, block.bytes, block.count);
      if (!page->roff) mxg_text_puts(page->text, "\n");
    }
    mxg_text_free(&block);
    size_t n = strcspn(at, "\n");
    at += n + (at[n] == '\n');
  }
}

static const char *type_words(mxg_schema_type type) {
  switch (type) {
  case MXG_TYPE_INT: return "an integer";
  case MXG_TYPE_TEXT: return "a text";
  case MXG_TYPE_CHOICE: return "one of";
  case MXG_TYPE_SIZE: return "bytes: an integer, or a text such as 512MiB";
  case MXG_TYPE_BLOCK: return "a block:";
  case MXG_TYPE_AXES: return "the name of an axis, or a list of them";
  case MXG_TYPE_PAIR: return "pairs { name, size }";
  case MXG_TYPE_TEXTS: return "a list of patterns";
  case MXG_TYPE_INTS: return "a list of integers";
  case MXG_TYPE_OBJECT: return "made by";
  case MXG_TYPE_OBJECTS: return "a list of";
  case MXG_TYPE_ENTITY: return "a table with the keys of";
  case MXG_TYPE_NAMING: return "a pattern and its names";
  case MXG_TYPE_RULE: return "a value and patterns; the value is made by";
  }
  return "";
}

static bool is_made(mxg_schema_type type) {
  return type == MXG_TYPE_OBJECT || type == MXG_TYPE_OBJECTS || type == MXG_TYPE_RULE;
}

static void add_words(const mxg_schema_key *row, mxg_text *text) {
  for (const char *at = row->words; *at;) {
    size_t n = strcspn(at, " ");
    mxg_text_format(text, " %s%.*s%s", is_made(row->type) ? "mx." : "", (int)n, at, at[n] ? "," : "");
    at += n + (at[n] == ' ');
  }
}

static void print_key(mxg_page *page, const mxg_schema_key *row) {
  mxg_text words = {0};
  mxg_text_format(&words, "%s: %s", row->required ? "required" : "optional", type_words(row->type));
  if (row->words) add_words(row, &words);
  if (row->type == MXG_TYPE_INT)
    mxg_text_format(&words, " from %lld to %lld", (long long)row->least, (long long)row->most);
  if (row->standard) mxg_text_format(&words, "; default %s", *row->standard ? row->standard : "empty");
  mxg_text_format(&words, ". %s.", row->help);
  mxg_page_term(page, *row->key ? row->key : "items", NULL, words.failed ? row->help : words.bytes);
  mxg_text_free(&words);
}

static void print_keys(mxg_page *page) {
  const char *entity = "";
  for (const mxg_schema_key *row = mxg_schema; row->entity; row++) {
    static const char *const plain[] = {"recipe", "side", "schedule"};
    bool is_plain = false, keyless = !row->key;
    for (unsigned i = 0; i < sizeof plain / sizeof *plain; i++) is_plain = is_plain || !strcmp(plain[i], row->entity);
    if (strcmp(entity, row->entity) != 0) {
      char title[96];
      bool family = !strcmp(row->entity, "hf");
      snprintf(title, sizeof title, "%s%.60s%s", is_plain ? "" : "mx.", row->entity, family ? ".<family>" : "");
      mxg_page_part(page, title);
      if (keyless) mxg_page_paragraph(page, row->help);
    }
    entity = row->entity;
    if (!keyless) print_key(page, row);
  }
}

void mxg_manual_recipe(bool roff, mxg_text *text) {
  mxg_page page = {text, roff};
  mxg_page_begin(&page, "mxgen-recipe", 5, "how weights are stored, and how they are wanted");
  mxg_page_section(&page, "DESCRIPTION");
  mxg_page_paragraph(
      &page, "A recipe is a Lua 5.4 file that returns a table: the tensors of a model, the source side, and the "
             "target side. Each side has a mesh of ranks, rules that give every tensor its format, and rules that "
             "give it its layout. In a list of rules the first match wins, every tensor must match, and every "
             "pattern must match something.");
  mxg_page_code(&page, example, sizeof example - 1);
  mxg_page_section(&page, "PATTERNS");
  mxg_page_paragraph(&page, "Patterns are globs over the dotted names of tensors.");
  mxg_page_term(&page, "*", NULL, "any characters inside one dotted segment");
  mxg_page_term(&page, "**", NULL, "any characters, across segments");
  mxg_page_term(&page, "{a,b}", NULL, "one of the alternatives");
  mxg_page_section(&page, "FUNCTIONS");
  mxg_page_paragraph(&page, "What require \"mx\" gives:");
  print_functions(&page);
  mxg_page_section(&page, "KEYS");
  mxg_page_paragraph(&page, "Every table that a recipe writes, with its keys. An unknown key is an error.");
  print_keys(&page);
  mxg_page_section(&page, "SANDBOX");
  const char *title, *sandbox = mxg_error_explain(105, &title);
  mxg_page_paragraph(&page, sandbox ? sandbox : "");
  mxg_page_section(&page, "SEE ALSO");
  mxg_page_paragraph(&page, "mxgen(1), libmxgen(3)");
}

mxg_status mxg_manual_page(const char *name, const char *const *headers, mxg_text *text, mxg_error *err) {
  mxg_page page = {text, true};
  if (!strcmp(name, "mxgen-recipe")) {
    mxg_manual_recipe(true, text);
  } else if (!strcmp(name, "mxgen")) {
    print_command(&page);
  } else if (!strcmp(name, "libmxgen")) {
    return mxg_manual_library(&page, headers, err);
  } else {
    return mxg_fail(err, MXG_ERR_USAGE, 904, "there is no page '%.60s': mxgen, mxgen-recipe, libmxgen", name);
  }
  return MXG_OK;
}

/* ---- bash ---- */

/* What the values of options can be, where they are not files; NULL: of every verb that has the option. */
static const struct {
  const char *verb, *option, *words;
} choices[] = {{"bench", "transport", "copy direct nccl auto all"},
               {NULL, "transport", "host copy direct nccl auto"},
               {NULL, "side", "source target"}};

static const char *find_choices(const mxg_verb *verb, const mxg_option *option) {
  for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
    if (!strcmp(choices[i].option, option->name) && (!choices[i].verb || !strcmp(choices[i].verb, verb->name)))
      return choices[i].words;
  return NULL;
}

/* A line of `case $before`: what completes the value of an option. */
static void complete_value(mxg_text *text, const mxg_verb *verb, const mxg_option *o) {
  const char *words = find_choices(verb, o);
  mxg_text_format(text, "        --%s", o->name);
  if (o->letter) mxg_text_format(text, " | -%c", o->letter);
  mxg_text_puts(text, ") ");
  if (words) {
    mxg_text_format(text, "_mxgen_words \"%s\"; ", words);
  } else if (!strcmp(o->name, "arch")) {
    mxg_text_puts(text, "_mxgen_list \"native");
    for (const char *const *arch = mxg_known_archs; *arch; arch++) mxg_text_format(text, " %s", *arch);
    mxg_text_puts(text, "\"; ");
  } else if (!strcmp(o->value, "DIR")) {
    mxg_text_puts(text, "_mxgen_files -d; ");
  } else if (!strcmp(o->value, "FILE")) {
    mxg_text_puts(text, "_mxgen_files -f; ");
  }
  mxg_text_puts(text, "return ;;\n");
}

/* Operands that are written as they are: "ls|trim|clear", "(kernels | code | RECIPE)". True: others are files. */
static bool complete_operands(mxg_text *text, const mxg_verb *verb) {
  bool files = false;
  const char *between = "";
  for (const char *at = verb->operands; *at;) {
    size_t n = strcspn(at, " |()[]"), small = strspn(at, "abcdefghijklmnopqrstuvwxyz");
    if (n && small == n) {
      mxg_text_format(text, "%s%.*s", between, (int)n, at);
      between = " ";
    }
    files = files || (n && small != n);
    at += n + (at[n] != 0);
  }
  return files;
}

static void complete_verb(mxg_text *text, const mxg_verb *verb, const char *pattern) {
  bool any = false;
  mxg_text_format(text, "    %s)\n      options=\"", pattern);
  for (const mxg_option *o = verb->options; o->name; o++) {
    mxg_text_format(text, "%s--%s", o == verb->options ? "" : " ", o->name);
    any = any || o->value;
  }
  mxg_text_puts(text, "\" words=\"");
  bool files = complete_operands(text, verb);
  mxg_text_format(text, "\" files=%s\n", files ? "yes" : "");
  if (any) mxg_text_puts(text, "      case $before in\n");
  for (const mxg_option *o = verb->options; o->name; o++)
    if (o->value) complete_value(text, verb, o);
  mxg_text_format(text, "%s      ;;\n", any ? "      esac\n" : "");
}

static const char completion_head[] =
    "# Completion of mxgen for bash. Generated by mxgen.\n"
    "_mxgen_words() { COMPREPLY=($(compgen -W \"$1\" -- \"$word\")); }\n"
    "_mxgen_files() { COMPREPLY=($(compgen \"$1\" -- \"$word\")); }\n"
    "_mxgen_list() { # words between commas\n"
    "  local kept=\n"
    "  case $word in *,*) kept=${word%,*}, ;; esac\n"
    "  COMPREPLY=($(compgen -P \"$kept\" -W \"$1\" -- \"${word##*,}\"))\n"
    "}\n"
    "_mxgen() {\n"
    "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]}\n"
    "  if [ \"$word\" = = ]; then word=; fi\n" /* bash cuts --option=value into three words */
    "  if [ \"${COMP_WORDS[COMP_CWORD]}\" != = ] && [ \"$before\" = = ]; then before=${COMP_WORDS[COMP_CWORD - 2]}; "
    "fi\n"
    "  local verbs=\"help";

void mxg_manual_completion(mxg_text *text) {
  mxg_text_puts(text, completion_head);
  for (const mxg_verb *const *v = mxg_verbs; *v; v++) mxg_text_format(text, " %s", (*v)->name);
  mxg_text_puts(text,
                "\" options words files\n"
                "  if [ \"$COMP_CWORD\" = 1 ]; then\n"
                "    COMPREPLY=($(compgen -W \"$verbs --help --version\" -- \"$word\") $(compgen -f -- \"$word\"))\n"
                "    return\n  fi\n"
                "  case $verb in\n"
                "    help) _mxgen_words \"$verbs recipe\"; return ;;\n");
  const mxg_verb *generate = mxg_verbs[0];
  for (const mxg_verb *const *v = mxg_verbs; *v; v++) {
    if (!strcmp((*v)->name, "generate"))
      generate = *v;
    else
      complete_verb(text, *v, (*v)->name);
  }
  complete_verb(text, generate, "*"); /* a recipe in the verb's place is generate's */
  mxg_text_puts(
      text,
      "  esac\n"
      "  case $word in\n"
      "    -*) _mxgen_words \"$options\" ;;\n"
      "    *) COMPREPLY=($(compgen -W \"$words\" -- \"$word\") $([ -z \"$files\" ] || compgen -f -- \"$word\")) ;;\n"
      "  esac\n}\n"
      "complete -o filenames -F _mxgen mxgen\n");
}
