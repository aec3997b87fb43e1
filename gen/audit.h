/* audit.h -- the precision audit: what a recipe says of one side's tensors beside what a checkpoint's headers hold.
**
** One pass over the headers; no data is read. Every array of the side gets exactly one outcome, the first that applies
** in the order of mxg_outcome's faults; every tensor of the files that no array wants is surplus. */
#ifndef MXG_AUDIT_H
#define MXG_AUDIT_H

#include "checkpoint.h"
#include "model.h"

typedef enum mxg_outcome {
  MXG_AUDIT_EXPECTED = 0,
  MXG_AUDIT_QUANTISED = 1,   /* quantised where high precision is wanted */
  MXG_AUDIT_HIGH = 2,        /* high precision where quantised is wanted */
  MXG_AUDIT_KIND = 3,        /* another dtype of the same sort, of data or of scales */
  MXG_AUDIT_NO_SCALE = 4,    /* data right, scales missing */
  MXG_AUDIT_SHAPE = 5,       /* of the data */
  MXG_AUDIT_SCALE_SHAPE = 6, /* data right, scales of another shape */
  MXG_AUDIT_MISSING = 7,
  MXG_AUDIT_SURPLUS = 8, /* told, but no fault: nothing reads it */
  MXG_AUDIT_OUTCOMES = 9
} mxg_outcome;

const char *mxg_outcome_name(unsigned outcome); /* "quantised where high precision is wanted" */
const char *mxg_outcome_key(unsigned outcome);  /* "quantised"; for JSON */

typedef struct mxg_finding {
  uint32_t outcome;
  uint32_t rank;      /* MXG_NONE: of a checkpoint without rank files */
  const char *array;  /* name in the file */
  const char *tensor; /* of the recipe; "" for surplus */
  const char *wants, *holds;
  const char *pattern; /* of the format rule that decided; "" when unknown */
  mxg_origin rule;
} mxg_finding;

typedef struct mxg_audit {
  const char *plan_name, *path;
  mxg_side side;
  uint32_t files;
  uint64_t counts[MXG_AUDIT_OUTCOMES];
  uint64_t wanted_quantised, held_quantised; /* arrays that should be, tensors of the files that are */
  mxg_finding *findings;                     /* all but the expected; by outcome, rank, declaration */
  size_t finding_count, finding_capacity;
  mxg_arena arena;
} mxg_audit;

/* Zero-initialised or freed `out`. `model` may be NULL (a bundle is all there is): findings then have no rule.
** Arrays of a checkpoint without rank files are looked at once a name. Both sides' plan and the checkpoint must
** outlive the audit. */
mxg_status mxg_audit_build(mxg_audit *out, const mxg_plan *plan, const mxg_model *model, mxg_side side,
                           const mxg_checkpoint *checkpoint, mxg_error *err);
void mxg_audit_free(mxg_audit *audit);

/* The recipe wants quantised tensors and the files hold none at all. */
bool mxg_audit_nothing_quantised(const mxg_audit *audit);
/* MXG_OK, or MXG_ERR_INPUT for the first fault: nothing quantised, then by outcome. At the rule's line, where known. */
mxg_status mxg_audit_verdict(const mxg_audit *audit, mxg_error *err);

struct mxg_text;
/* A table of counts, then at most `most` findings of each outcome (0: all). */
void mxg_audit_print(const mxg_audit *audit, size_t most, struct mxg_text *text);
void mxg_audit_json(const mxg_audit *audit, struct mxg_text *text);

#endif
