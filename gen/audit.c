/* audit.c -- builds the audit; its looks are audit_print.c's. Reads headers only, through checkpoint.h. */
#include "audit.h"

#include "replicas.h"

#include "error.h"
#include "names.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

/* An array of the side, found by its name. */
typedef struct wanted {
  const char *name; /* first: names.h */
  const mxg_array *array;
} wanted;

typedef struct auditor {
  mxg_audit *audit;
  const mxg_plan *plan;
  const mxg_model *model;
  const mxg_checkpoint *checkpoint;
  wanted *wanted;
  size_t count, capacity;
  mxg_names by_name;    /* of wanted: the first of each name */
  mxg_names by_tensor;  /* of model->tensors */
  unsigned char *taken; /* one a slot of the checkpoint */
} auditor;

static const char *text_at(const mxg_plan *plan, uint32_t offset) { return plan->strings + offset; }

static unsigned dtype_of(unsigned elem) {
  switch (elem) {
  case MX_E4M3: return MXG_ST_F8_E4M3;
  case MX_E5M2: return MXG_ST_F8_E5M2;
  case MX_BF16: return MXG_ST_BF16;
  case MX_FP16: return MXG_ST_F16;
  default: return MXG_ST_F32;
  }
}

static bool is_float8(unsigned dtype) { return dtype == MXG_ST_F8_E4M3 || dtype == MXG_ST_F8_E5M2; }

/* Held in few bits: whatever else it is, it is not high precision. */
static bool is_quantised(unsigned dtype) {
  return is_float8(dtype) || dtype == MXG_ST_F4 || dtype == MXG_ST_F6_E2M3 || dtype == MXG_ST_F6_E3M2 ||
         dtype == MXG_ST_U8 || dtype == MXG_ST_I8;
}

static bool is_high(unsigned dtype) {
  return dtype == MXG_ST_BF16 || dtype == MXG_ST_F16 || dtype == MXG_ST_F32 || dtype == MXG_ST_F64;
}

static bool scale_dtype_fits(const mxg_encoding *encoding, unsigned dtype) {
  if (encoding->scale == MX_SCALE_E8M0) return dtype == MXG_ST_U8 || dtype == MXG_ST_F8_E8M0; /* the same bytes */
  return dtype == MXG_ST_F32;
}

static bool same_shape(const mxg_st_tensor *tensor, unsigned ndim, const uint64_t *dims) {
  return tensor->ndim == ndim && (ndim == 0 || memcmp(tensor->shape, dims, ndim * sizeof *dims) == 0);
}

/* One scale may be written as a scalar or as a list of one; the bytes are the same. */
static bool same_scale_shape(const mxg_st_tensor *tensor, unsigned ndim, const uint64_t *dims) {
  return same_shape(tensor, ndim, dims) || (ndim == 0 && tensor->ndim == 1 && tensor->shape[0] == 1);
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static void print_shape(mxg_text *text, unsigned ndim, const uint64_t *dims) {
  mxg_text_puts(text, "[");
  for (unsigned i = 0; i < ndim; i++) mxg_text_format(text, "%s%llu", i ? ", " : "", (unsigned long long)dims[i]);
  mxg_text_puts(text, "]");
}

static void print_wants(mxg_text *text, const mxg_plan *plan, const mxg_array *array) {
  const mxg_encoding *encoding = &plan->encodings[array->encoding];
  uint64_t dims[3];
  mxg_text_format(text, "%s ", mxg_st_dtype_name(dtype_of(encoding->elem)));
  print_shape(text, mxg_array_shape(array, dims), dims);
  if (encoding->scale == MX_SCALE_NONE) return;
  mxg_text_format(text, " with %s scales ",
                  encoding->scale == MX_SCALE_FP32 ? "F32"
                  : array->e8m0_dtype              ? "F8_E8M0"
                                                   : "U8");
  print_shape(text, mxg_array_scale_dims(plan, array, dims), dims);
}

static void print_tensor(mxg_text *text, const mxg_st_tensor *tensor) {
  mxg_text_format(text, "%s ", mxg_st_dtype_name(tensor->dtype));
  print_shape(text, tensor->ndim, tensor->shape);
}

static const char *kept(auditor *work, mxg_text *text) {
  const char *copy =
      text->failed ? NULL : mxg_arena_text(&work->audit->arena, text->bytes ? text->bytes : "", text->count);
  mxg_text_free(text);
  return copy;
}

static mxg_status add_finding(auditor *work, unsigned outcome, uint32_t rank, const mxg_array *array, const char *name,
                              mxg_text *holds, mxg_error *err) {
  mxg_audit *audit = work->audit;
  mxg_text wants = {0};
  if (array)
    print_wants(&wants, work->plan, array);
  else
    mxg_text_puts(&wants, "nothing");
  mxg_finding finding = {.outcome = outcome, .rank = rank, .array = name, .tensor = "", .pattern = ""};
  finding.wants = kept(work, &wants);
  finding.holds = kept(work, holds);
  if (!finding.wants || !finding.holds) return mxg_fail_nomem(err);
  if (array) {
    finding.tensor = text_at(work->plan, array->tensor);
    uint32_t i = work->model ? mxg_names_find(&work->by_tensor, finding.tensor) : MXG_NAMES_ABSENT;
    if (i != MXG_NAMES_ABSENT) {
      const mxg_placement *placement = &work->model->side[audit->side].placements[i];
      finding.rule = placement->format_rule;
      if (placement->format_pattern) finding.pattern = placement->format_pattern;
    }
  }
  mxg_finding *slot =
      mxg_vector_push((void **)&audit->findings, &audit->finding_count, &audit->finding_capacity, sizeof *slot);
  if (!slot) return mxg_fail_nomem(err);
  *slot = finding;
  return MXG_OK;
}

/* ---- one array --------------------------------------------------------------------------------------------------- */

/* The other usual name of the scales of `data`, if the file has it: a wrong suffix in the recipe is the likely cause.
 */
static bool find_other_scales(const auditor *work, const mxg_array *array, mxg_found *found) {
  static const char *const suffixes[] = {"_scale", "_scale_inv"};
  const char *data = text_at(work->plan, array->name), *scale = text_at(work->plan, array->scale_name);
  char name[512];
  for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
    size_t count = strlen(data), more = strlen(suffixes[i]);
    if (count + more >= sizeof name) return false;
    memcpy(name, data, count);
    memcpy(name + count, suffixes[i], more + 1);
    if (strcmp(name, scale) != 0 && mxg_checkpoint_find(work->checkpoint, array->rank, name, found)) return true;
  }
  return false;
}

static void take(auditor *work, const mxg_found *found) {
  if (found->tensor) work->taken[mxg_checkpoint_slot(work->checkpoint, found)] = 1;
}

static unsigned judge_data(const mxg_encoding *encoding, const mxg_st_tensor *tensor) {
  unsigned want = dtype_of(encoding->elem);
  if (tensor->dtype == want) return MXG_AUDIT_EXPECTED;
  if (!is_float8(want) && is_quantised(tensor->dtype)) return MXG_AUDIT_QUANTISED;
  if (is_float8(want) && is_high(tensor->dtype)) return MXG_AUDIT_HIGH;
  return MXG_AUDIT_KIND;
}

static unsigned judge(auditor *work, const mxg_array *array, const mxg_found *data, const mxg_found *scale) {
  const mxg_encoding *encoding = &work->plan->encodings[array->encoding];
  uint64_t dims[3];
  if (!data->tensor) return MXG_AUDIT_MISSING;
  unsigned outcome = judge_data(encoding, data->tensor);
  bool scaled = encoding->scale != MX_SCALE_NONE;
  if (outcome != MXG_AUDIT_EXPECTED) return outcome;
  if (scale->tensor && !scale_dtype_fits(encoding, scale->tensor->dtype)) return MXG_AUDIT_KIND;
  if (scaled && !scale->tensor) return MXG_AUDIT_NO_SCALE;
  if (!same_shape(data->tensor, mxg_array_shape(array, dims), dims)) return MXG_AUDIT_SHAPE;
  if (scaled && !same_scale_shape(scale->tensor, mxg_array_scale_dims(work->plan, array, dims), dims))
    return MXG_AUDIT_SCALE_SHAPE;
  return MXG_AUDIT_EXPECTED;
}

static mxg_status audit_array(auditor *work, const mxg_array *array, mxg_error *err) {
  const mxg_encoding *encoding = &work->plan->encodings[array->encoding];
  const char *name = text_at(work->plan, array->name);
  mxg_found data, scale = {MXG_NONE, NULL}, other = {MXG_NONE, NULL};
  mxg_checkpoint_find(work->checkpoint, array->rank, name, &data);
  take(work, &data);
  if (encoding->scale != MX_SCALE_NONE) {
    mxg_checkpoint_find(work->checkpoint, array->rank, text_at(work->plan, array->scale_name), &scale);
    take(work, &scale);
    work->audit->wanted_quantised++;
  }
  unsigned outcome = judge(work, array, &data, &scale);
  work->audit->counts[outcome]++;
  if (outcome == MXG_AUDIT_EXPECTED) return MXG_OK;
  bool renamed = outcome == MXG_AUDIT_NO_SCALE && find_other_scales(work, array, &other);
  mxg_text holds = {0};
  if (data.tensor)
    print_tensor(&holds, data.tensor);
  else
    mxg_text_puts(&holds, "nothing");
  if (scale.tensor) {
    mxg_text_puts(&holds, " with scales ");
    print_tensor(&holds, scale.tensor);
  } else if (outcome == MXG_AUDIT_NO_SCALE) {
    mxg_text_format(&holds, " without '%s'", text_at(work->plan, array->scale_name));
  }
  if (renamed) mxg_text_format(&holds, ", there is '%s'", mxg_st_show(other.tensor->name).text);
  uint32_t rank = mxg_checkpoint_ranked(work->checkpoint) ? array->rank : MXG_NONE;
  return add_finding(work, outcome, rank, array, name, &holds, err);
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

/* The array whose scales this surplus tensor seems to be, beside those that the recipe names; or NULL. */
static const wanted *second_scales_of(const auditor *work, const char *name) {
  const char *end = strstr(name, "_scale");
  char data[512];
  while (end && strstr(end + 1, "_scale")) end = strstr(end + 1, "_scale");
  if (!end || (strcmp(end, "_scale") != 0 && strcmp(end, "_scale_inv") != 0)) return NULL;
  if ((size_t)(end - name) >= sizeof data) return NULL;
  memcpy(data, name, (size_t)(end - name));
  data[end - name] = 0;
  uint32_t i = mxg_names_find(&work->by_name, data);
  return i == MXG_NAMES_ABSENT ? NULL : &work->wanted[i];
}

static mxg_status audit_rest(auditor *work, mxg_error *err) {
  for (uint32_t f = 0; f < mxg_checkpoint_files(work->checkpoint); f++) {
    const mxg_st_file *file = mxg_checkpoint_file(work->checkpoint, f);
    for (uint32_t i = 0; i < mxg_st_count(file); i++) {
      mxg_found found = {f, mxg_st_at(file, i)};
      if (!mxg_checkpoint_ranked(work->checkpoint) && !mxg_checkpoint_listed(work->checkpoint, &found)) continue;
      work->audit->held_quantised += is_float8(found.tensor->dtype);
      if (work->taken[mxg_checkpoint_slot(work->checkpoint, &found)]) continue;
      mxg_text holds = {0};
      print_tensor(&holds, found.tensor);
      const wanted *of = second_scales_of(work, found.tensor->name);
      if (of) mxg_text_format(&holds, ", a second set of scales of '%s'", of->name);
      work->audit->counts[MXG_AUDIT_SURPLUS]++;
      MXG_TRY(add_finding(work, MXG_AUDIT_SURPLUS, mxg_checkpoint_file_rank(work->checkpoint, f), NULL,
                          found.tensor->name, &holds, err));
    }
  }
  return MXG_OK;
}

/* Stable by construction: the place in the list breaks ties. */
typedef struct ordered {
  mxg_finding finding;
  size_t place;
} ordered;

static int by_outcome_and_rank(const void *a, const void *b) {
  const ordered *x = a, *y = b;
  if (x->finding.outcome != y->finding.outcome) return x->finding.outcome < y->finding.outcome ? -1 : 1;
  if (x->finding.rank != y->finding.rank) return x->finding.rank < y->finding.rank ? -1 : 1;
  return x->place < y->place ? -1 : 1;
}

static mxg_status sort_findings(mxg_audit *audit, mxg_error *err) {
  if (audit->finding_count == 0) return MXG_OK;
  uint64_t bytes;
  ordered *list = mxg_mul(&bytes, audit->finding_count, sizeof *list) ? mxg_alloc((size_t)bytes) : NULL;
  if (!list) return mxg_fail_nomem(err);
  for (size_t i = 0; i < audit->finding_count; i++) list[i] = (ordered){audit->findings[i], i};
  qsort(list, audit->finding_count, sizeof *list, by_outcome_and_rank);
  for (size_t i = 0; i < audit->finding_count; i++) audit->findings[i] = list[i].finding;
  mxg_free(list);
  return MXG_OK;
}

static mxg_status prepare(auditor *work, mxg_error *err) {
  for (uint32_t i = 0; i < work->plan->array_count; i++) {
    const mxg_array *array = &work->plan->arrays[i];
    if (array->side != work->audit->side) continue;
    wanted *added = mxg_vector_push((void **)&work->wanted, &work->count, &work->capacity, sizeof *added);
    if (!added) return mxg_fail_nomem(err);
    *added = (wanted){text_at(work->plan, array->name), array};
  }
  if (work->count > INT32_MAX) return mxg_fail(err, MXG_ERR_UNSUPPORTED, 2, "more than 2^31 arrays on one side");
  int nomem = 0, nomem_tensors = 0;
  mxg_names_build(&work->by_name, work->wanted, sizeof *work->wanted, (uint32_t)work->count, 0, &nomem);
  if (work->model)
    mxg_names_build(&work->by_tensor, work->model->tensors, sizeof *work->model->tensors, work->model->tensor_count, 0,
                    &nomem_tensors);
  work->taken = mxg_alloc((size_t)mxg_checkpoint_slots(work->checkpoint));
  return nomem || nomem_tensors || !work->taken ? mxg_fail_nomem(err) : MXG_OK;
}

/* Target ranks that only repeat whole tensors of lower ranks need no file: `run` writes none for them. */
static mxg_status find_absent_replicas(bool *absent, const auditor *work, mxg_error *err) {
  if (work->audit->side != MXG_TARGET || !mxg_checkpoint_ranked(work->checkpoint)) return MXG_OK;
  MXG_TRY(mxg_plan_replicas(absent, work->plan, err));
  for (uint32_t f = 0; f < mxg_checkpoint_files(work->checkpoint); f++) {
    uint32_t rank = mxg_checkpoint_file_rank(work->checkpoint, f);
    if (rank < work->plan->rank_count) absent[rank] = false;
  }
  return MXG_OK;
}

static mxg_status run(auditor *work, mxg_error *err) {
  MXG_TRY(prepare(work, err));
  bool ranked = mxg_checkpoint_ranked(work->checkpoint);
  bool *absent = mxg_arena_alloc(&work->audit->arena, work->plan->rank_count, sizeof *absent);
  if (!absent) return mxg_fail_nomem(err);
  MXG_TRY(find_absent_replicas(absent, work, err));
  for (uint32_t i = 0; i < work->count; i++) {
    /* Without rank files all ranks that hold a name mean the same tensor. */
    if (!ranked && mxg_names_find(&work->by_name, work->wanted[i].name) != i) continue;
    if (absent[work->wanted[i].array->rank]) continue;
    MXG_TRY(audit_array(work, work->wanted[i].array, err));
  }
  MXG_TRY(audit_rest(work, err));
  return sort_findings(work->audit, err);
}

mxg_status mxg_audit_build(mxg_audit *out, const mxg_plan *plan, const mxg_model *model, mxg_side side,
                           const mxg_checkpoint *checkpoint, mxg_error *err) {
  *out = (mxg_audit){.plan_name = plan->name,
                     .path = mxg_checkpoint_path(checkpoint),
                     .side = side,
                     .files = mxg_checkpoint_files(checkpoint)};
  auditor work = {.audit = out, .plan = plan, .model = model, .checkpoint = checkpoint};
  mxg_status status = run(&work, err);
  mxg_names_free(&work.by_name);
  mxg_names_free(&work.by_tensor);
  mxg_free(work.wanted);
  mxg_free(work.taken);
  if (status != MXG_OK) mxg_audit_free(out);
  return status;
}

void mxg_audit_free(mxg_audit *audit) {
  mxg_free(audit->findings);
  mxg_arena_free(&audit->arena);
  *audit = (mxg_audit){0};
}

bool mxg_audit_nothing_quantised(const mxg_audit *audit) {
  return audit->wanted_quantised != 0 && audit->held_quantised == 0;
}

mxg_status mxg_audit_verdict(const mxg_audit *audit, mxg_error *err) {
  const mxg_finding *first = audit->finding_count ? &audit->findings[0] : NULL;
  if (mxg_audit_nothing_quantised(audit)) {
    mxg_status status =
        mxg_fail(err, MXG_ERR_INPUT, 821, "no tensor of the checkpoint is quantised, the recipe wants %llu that are",
                 (unsigned long long)audit->wanted_quantised);
    mxg_error_place(err, audit->path, 0, 0, 0);
    mxg_error_help(err, "was it saved before quantisation, or is it the original? `mxgen shard` makes the source side");
    return status;
  }
  if (!first || first->outcome == MXG_AUDIT_SURPLUS) return MXG_OK;
  uint64_t count = audit->counts[first->outcome];
  mxg_status status =
      mxg_fail(err, MXG_ERR_INPUT, 821 + first->outcome, "%llu tensor%s of %s: %s", (unsigned long long)count,
               count == 1 ? "" : "s", audit->side == MXG_SOURCE ? "the source side" : "the target side",
               mxg_outcome_name(first->outcome));
  if (first->rank == MXG_NONE)
    mxg_error_note(err, "the first is %s: wants %s, holds %s", mxg_st_show(first->array).text, first->wants,
                   first->holds);
  else
    mxg_error_note(err, "the first is %s of rank %u: wants %s, holds %s", mxg_st_show(first->array).text, first->rank,
                   first->wants, first->holds);
  if (first->rule.line)
    mxg_error_place(err, first->rule.file, first->rule.line, first->rule.column, first->rule.span);
  else
    mxg_error_place(err, audit->path, 0, 0, 0);
  return status;
}
