/* audit_print.c -- the audit as a table for people and as JSON for programs. Decides nothing. */
#include "audit.h"
#include "text.h"

#include <string.h>

static const struct {
  const char *key, *name;
} outcomes[MXG_AUDIT_OUTCOMES] = {
    [MXG_AUDIT_EXPECTED] = {"expected", "as expected"},
    [MXG_AUDIT_QUANTISED] = {"quantised", "quantised where high precision is wanted"},
    [MXG_AUDIT_HIGH] = {"high_precision", "high precision where quantised is wanted"},
    [MXG_AUDIT_KIND] = {"wrong_kind", "wrong kind"},
    [MXG_AUDIT_NO_SCALE] = {"missing_scale", "missing scale"},
    [MXG_AUDIT_SHAPE] = {"wrong_shape", "wrong shape"},
    [MXG_AUDIT_SCALE_SHAPE] = {"wrong_scale_shape", "wrong scale shape"},
    [MXG_AUDIT_MISSING] = {"missing", "missing tensor"},
    [MXG_AUDIT_SURPLUS] = {"surplus", "surplus tensor"},
};

const char *mxg_outcome_name(unsigned outcome) { return outcome < MXG_AUDIT_OUTCOMES ? outcomes[outcome].name : "?"; }
const char *mxg_outcome_key(unsigned outcome) { return outcome < MXG_AUDIT_OUTCOMES ? outcomes[outcome].key : "?"; }

static const char *side_name(mxg_side side) { return side == MXG_SOURCE ? "source" : "target"; }

static void print_finding(mxg_text *text, const mxg_finding *finding) {
  mxg_text_puts(text, "  ");
  if (finding->rank != MXG_NONE) mxg_text_format(text, "rank %-5u ", (unsigned)finding->rank);
  mxg_text_puts(text, mxg_st_show(finding->array).text);
  if (finding->outcome == MXG_AUDIT_SURPLUS)
    mxg_text_format(text, ": %s", finding->holds);
  else
    mxg_text_format(text, ": wants %s, holds %s", finding->wants, finding->holds);
  if (finding->rule.line)
    mxg_text_format(text, "  (%s:%d:%d \"%s\")", finding->rule.file, finding->rule.line, finding->rule.column,
                    finding->pattern);
  mxg_text_puts(text, "\n");
}

void mxg_audit_print(const mxg_audit *audit, size_t most, mxg_text *text) {
  if (mxg_audit_nothing_quantised(audit))
    mxg_text_format(text, "NO QUANTISED TENSOR: the recipe wants %llu, the files hold none\n\n",
                    (unsigned long long)audit->wanted_quantised);
  mxg_text_format(text, "audit of the %s side of %s: %u file%s, %llu quantised tensors wanted, %llu held\n",
                  side_name(audit->side), audit->plan_name, (unsigned)audit->files, audit->files == 1 ? "" : "s",
                  (unsigned long long)audit->wanted_quantised, (unsigned long long)audit->held_quantised);
  for (unsigned i = 0; i < MXG_AUDIT_OUTCOMES; i++)
    mxg_text_format(text, "  %-42s %8llu\n", outcomes[i].name, (unsigned long long)audit->counts[i]);
  size_t shown = 0;
  for (size_t i = 0; i < audit->finding_count; i++) {
    const mxg_finding *finding = &audit->findings[i];
    bool head = i == 0 || audit->findings[i - 1].outcome != finding->outcome;
    bool tail = i + 1 == audit->finding_count || audit->findings[i + 1].outcome != finding->outcome;
    shown = head ? 0 : shown;
    if (head) mxg_text_format(text, "\n%s\n", outcomes[finding->outcome].name);
    if (most == 0 || shown < most) {
      print_finding(text, finding);
      shown++;
    }
    if (tail && audit->counts[finding->outcome] > shown)
      mxg_text_format(text, "  and %llu more\n", (unsigned long long)(audit->counts[finding->outcome] - shown));
  }
}

static void json_finding(mxg_text *text, const mxg_finding *finding) {
  mxg_text_format(text, "{\"outcome\":\"%s\",\"rank\":", outcomes[finding->outcome].key);
  if (finding->rank == MXG_NONE)
    mxg_text_puts(text, "null");
  else
    mxg_text_format(text, "%u", (unsigned)finding->rank);
  const char *const fields[][2] = {
      {"name", finding->array}, {"tensor", finding->tensor}, {"wants", finding->wants}, {"holds", finding->holds}};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    mxg_text_format(text, ",\"%s\":", fields[i][0]);
    mxg_text_json(text, fields[i][1]);
  }
  if (finding->rule.line) {
    mxg_text_puts(text, ",\"rule\":{\"file\":");
    mxg_text_json(text, finding->rule.file);
    mxg_text_format(text, ",\"line\":%d,\"column\":%d,\"pattern\":", finding->rule.line, finding->rule.column);
    mxg_text_json(text, finding->pattern);
    mxg_text_puts(text, "}");
  }
  mxg_text_puts(text, "}");
}

void mxg_audit_json(const mxg_audit *audit, mxg_text *text) {
  mxg_text_puts(text, "{\"plan\":");
  mxg_text_json(text, audit->plan_name);
  mxg_text_format(text, ",\"side\":\"%s\",\"files\":%u", side_name(audit->side), (unsigned)audit->files);
  mxg_text_format(text, ",\"wanted_quantised\":%llu,\"held_quantised\":%llu,\"nothing_quantised\":%s",
                  (unsigned long long)audit->wanted_quantised, (unsigned long long)audit->held_quantised,
                  mxg_audit_nothing_quantised(audit) ? "true" : "false");
  mxg_text_puts(text, ",\"outcomes\":{");
  for (unsigned i = 0; i < MXG_AUDIT_OUTCOMES; i++)
    mxg_text_format(text, "%s\"%s\":%llu", i ? "," : "", outcomes[i].key, (unsigned long long)audit->counts[i]);
  mxg_text_puts(text, "},\"findings\":[");
  for (size_t i = 0; i < audit->finding_count; i++) {
    if (i) mxg_text_puts(text, ",");
    json_finding(text, &audit->findings[i]);
  }
  mxg_text_puts(text, "]}\n");
}
