/* options.c -- see options.h. getopt_long does the reading; this file says what was wrong in words. */
#include "options.h"

#include "nearest.h"
#include "text.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { option_room = 32, first_long = 256 };

static void *field(mxg_args *args, size_t offset) { return (char *)args + offset; }

static mxg_status read_count(uint64_t *out, const mxg_option *option, const char *value, mxg_error *err) {
  char *end = NULL;
  errno = 0;
  unsigned long long n = strtoull(value, &end, 0);
  if (errno || !*value || *end || value[0] == '-' || value[0] == '+' || value[0] == ' ')
    return mxg_fail(err, MXG_ERR_USAGE, 904, "--%s: '%.100s' is not a number from 0 to 2^64-1", option->name, value);
  *out = n;
  return MXG_OK;
}

static mxg_status store(mxg_args *args, const mxg_option *option, const char *value, mxg_error *err) {
  switch (option->kind) {
  case MXG_OPTION_FLAG: *(bool *)field(args, option->offset) = true; return MXG_OK;
  case MXG_OPTION_TEXT:
    if (!*value) return mxg_fail(err, MXG_ERR_USAGE, 904, "--%s: the value is empty", option->name);
    *(const char **)field(args, option->offset) = value;
    return MXG_OK;
  case MXG_OPTION_COUNT:
    *(bool *)field(args, option->given) = true;
    return read_count(field(args, option->offset), option, value, err);
  case MXG_OPTION_LIST: {
    mxg_list *list = field(args, option->offset);
    if (list->count == MXG_LIST_ROOM)
      return mxg_fail(err, MXG_ERR_USAGE, 904, "--%s is given more than %d times", option->name, MXG_LIST_ROOM);
    list->items[list->count++] = value;
    return MXG_OK;
  }
  }
  return MXG_OK;
}

/* The word of a long option without its dashes and value, cut to fit. */
static void option_word(char word[64], const char *argument) {
  while (*argument == '-') argument++;
  size_t count = strcspn(argument, "=");
  if (count > 63) count = 63;
  memcpy(word, argument, count);
  word[count] = 0;
}

static mxg_status fail_unknown(const mxg_verb *verb, const char *argument, int letter, mxg_error *err) {
  if (letter) {
    mxg_fail(err, MXG_ERR_USAGE, 902, "mxgen %s has no option '-%c'", verb->name, letter);
  } else {
    const char *names[option_room];
    size_t count = 0;
    for (const mxg_option *o = verb->options; o->name; o++) names[count++] = o->name;
    char word[64];
    option_word(word, argument);
    mxg_fail(err, MXG_ERR_USAGE, 902, "mxgen %s has no option '--%s'", verb->name, word);
    const char *near = mxg_nearest(word, names, count);
    if (near) {
      mxg_error_help(err, "did you mean '--%s'?", near);
      return MXG_ERR_USAGE;
    }
  }
  mxg_error_help(err, "mxgen help %s", verb->name);
  return MXG_ERR_USAGE;
}

mxg_status mxg_options_read(mxg_args *args, const mxg_verb *verb, int argc, char **argv, mxg_error *err) {
  memset(args, 0, sizeof *args);
  struct option longs[option_room + 1] = {0};
  char shorts[2 * option_room + 2] = ":";
  size_t count = 0, letters = 1;
  for (const mxg_option *o = verb->options; o->name && count < option_room; o++, count++) {
    longs[count] = (struct option){o->name, o->value ? required_argument : no_argument, NULL, first_long + (int)count};
    if (!o->letter) continue;
    shorts[letters++] = o->letter;
    if (o->value) shorts[letters++] = ':';
  }
  opterr = 0;
  optind = 1;
  for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
    const mxg_option *option = NULL;
    if (c >= first_long) {
      option = &verb->options[c - first_long];
    } else if (c == ':') {
      const char *name = argv[optind - 1];
      mxg_fail(err, MXG_ERR_USAGE, 904, "%.100s needs a value", name);
      mxg_error_help(err, "mxgen help %s", verb->name);
      return MXG_ERR_USAGE;
    } else if (c == '?') {
      if (optopt >= first_long) /* a known flag with "=value" */
        return mxg_fail(err, MXG_ERR_USAGE, 904, "--%s takes no value", verb->options[optopt - first_long].name);
      return fail_unknown(verb, argv[optind - 1], optopt, err);
    } else {
      for (const mxg_option *o = verb->options; o->name; o++)
        if (o->letter == c) option = o;
    }
    if (option) MXG_TRY(store(args, option, optarg, err));
  }
  args->operands = (const char *const *)(argv + optind);
  args->operand_count = argc - optind;
  if (args->help) return MXG_OK;
  if (args->operand_count < verb->least) {
    mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen %s needs %s", verb->name, verb->operands);
    mxg_error_help(err, "mxgen help %s", verb->name);
    return MXG_ERR_USAGE;
  }
  if (args->operand_count > verb->most) {
    mxg_fail(err, MXG_ERR_USAGE, 903, "mxgen %s: '%.200s' is one argument too many", verb->name,
             args->operands[verb->most]);
    mxg_error_help(err, "mxgen help %s", verb->name);
    return MXG_ERR_USAGE;
  }
  return MXG_OK;
}

void mxg_options_help(const mxg_verb *verb, mxg_text *text) {
  mxg_text_format(text, "usage: mxgen %s%s%s [options]\n\n%s\n", verb->name, *verb->operands ? " " : "", verb->operands,
                  verb->text);
  size_t wide = 0;
  for (const mxg_option *o = verb->options; o->name; o++) {
    size_t w = strlen(o->name) + (o->value ? 1 + strlen(o->value) : 0);
    if (w > wide) wide = w;
  }
  mxg_text_puts(text, "\noptions\n");
  for (const mxg_option *o = verb->options; o->name; o++) {
    char letter[8] = "    ";
    if (o->letter) memcpy(letter, (char[]){'-', o->letter, ',', ' ', 0}, 5);
    size_t w = strlen(o->name) + (o->value ? 1 + strlen(o->value) : 0);
    mxg_text_format(text, "  %s--%s%s%s%*s  %s\n", letter, o->name, o->value ? " " : "", o->value ? o->value : "",
                    (int)(wide - w), "", o->help);
  }
}
