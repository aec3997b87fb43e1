/* audit.h: each outcome made by a file that deserves it, counted once, with the recipe's line; text, JSON, verdict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "audit.h"
#include "failing_memory.h"
#include "files.h"
#include "memory.h"
#include "text.h"

/* ---- a recipe of five tensors on two ranks, by hand -------------------------------------------------------------- */

static const char strings[] = "\0"
                              "norm\0"
                              "up\0"
                              "up_scale\0"
                              "down\0"
                              "down_scale\0"
                              "experts\0"
                              "experts_scale\0"
                              "one\0"
                              "one_scale";

static uint32_t at(const char *name) {
  for (uint32_t i = 1; i < sizeof strings; i += (uint32_t)strlen(strings + i) + 1)
    if (strcmp(strings + i, name) == 0) return i;
  abort();
}

enum { tensors = 5, ranks = 2 };

static mxg_encoding encodings[] = {
    {.elem = MX_BF16},
    {MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, MX_RCEIL, 0, {0}, 1, 32},
    {MX_E5M2, MX_SCALE_E8M0, MX_SWIZZLED, MX_RCEIL, 0, {0}, 1, 32},
    {MX_E4M3, MX_SCALE_FP32, MX_COMPACT, 0, 0, {0}, MX_WHOLE, MX_WHOLE},
};
static mxg_array arrays[tensors * ranks];
static mxg_plan plan = {.name = "tiny",
                        .strings = strings,
                        .string_bytes = sizeof strings,
                        .encodings = encodings,
                        .encoding_count = 4,
                        .arrays = arrays,
                        .array_count = tensors * ranks};
static const mxg_tensor model_tensors[tensors] = {
    {.name = "norm"}, {.name = "up"}, {.name = "down"}, {.name = "experts"}, {.name = "one"}};
static mxg_placement placements[tensors];
static mxg_model model = {.tensors = model_tensors, .tensor_count = tensors};

static void make_plan(void) {
  const mxg_array shapes[tensors] = {
      {.name = at("norm"), .encoding = 0, .ndim = 1, .matrices = 1, .rows = 1, .cols = 64},
      {.name = at("up"), .scale_name = at("up_scale"), .encoding = 1, .ndim = 2, .matrices = 1, .rows = 4, .cols = 64},
      {.name = at("down"),
       .scale_name = at("down_scale"),
       .encoding = 2,
       .ndim = 2,
       .matrices = 1,
       .rows = 4,
       .cols = 64},
      {.name = at("experts"),
       .scale_name = at("experts_scale"),
       .encoding = 1,
       .ndim = 3,
       .matrices = 2,
       .rows = 4,
       .cols = 32},
      {.name = at("one"),
       .scale_name = at("one_scale"),
       .encoding = 3,
       .ndim = 2,
       .matrices = 1,
       .rows = 4,
       .cols = 64},
  };
  for (uint32_t r = 0; r < ranks; r++)
    for (uint32_t i = 0; i < tensors; i++) {
      mxg_array *array = &arrays[r * tensors + i];
      *array = shapes[i];
      array->tensor = array->name;
      array->rank = r;
      array->side = MXG_SOURCE;
    }
  for (int i = 0; i < tensors; i++)
    placements[i] = (mxg_placement){.held = true, .format_rule = {"tiny.lua", 10 + i, 5, 3}, .format_pattern = "**"};
  model.side[MXG_SOURCE].placements = placements;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

typedef struct item {
  const char *name;
  unsigned dtype, ndim;
  uint64_t shape[3];
} item;

enum { items = 9 };

static const item right[items] = {
    {"norm", MXG_ST_BF16, 1, {64}},
    {"up", MXG_ST_F8_E4M3, 2, {4, 64}},
    {"up_scale", MXG_ST_U8, 2, {4, 2}},
    {"down", MXG_ST_F8_E5M2, 2, {4, 64}},
    {"down_scale", MXG_ST_F8_E8M0, 2, {128, 4}},
    {"experts", MXG_ST_F8_E4M3, 3, {2, 4, 32}},
    {"experts_scale", MXG_ST_U8, 3, {2, 4, 1}},
    {"one", MXG_ST_F8_E4M3, 2, {4, 64}},
    {"one_scale", MXG_ST_F32, 0, {0}},
};

/* Writes a file with `list`; items without a name are left out. */
static void write_items(const char *path, const item *list, size_t count) {
  mxg_st_writer *writer;
  mxg_error err;
  assert_int_equal(mxg_st_writer_create(&writer, in_folder(path), &err), MXG_OK);
  for (size_t i = 0; i < count; i++)
    if (list[i].name)
      assert_int_equal(mxg_st_writer_add(writer, list[i].name, list[i].dtype, list[i].ndim, list[i].shape, NULL, &err),
                       MXG_OK);
  assert_int_equal(mxg_st_writer_layout(writer, &err), MXG_OK);
  assert_int_equal(mxg_st_writer_commit(writer, &err), MXG_OK);
  mxg_st_writer_free(writer);
}

static mxg_checkpoint *open_folder(void) {
  mxg_checkpoint *checkpoint;
  mxg_error err;
  if (mxg_checkpoint_open(&checkpoint, test_folder, &err) != MXG_OK) fail_msg("%s: %s", err.file, err.text);
  return checkpoint;
}

/* Rank 0 as it should be, rank 1 with one item changed or added; the outcomes that this must give. */
static void expect(item change, const char *replaces, unsigned outcome, unsigned code, const char *wants,
                   const char *holds) {
  item list[items + 1];
  memcpy(list, right, sizeof right);
  list[items] = (item){0};
  int which = items;
  for (int i = 0; i < items; i++)
    if (replaces && strcmp(right[i].name, replaces) == 0) which = i;
  list[which] = change;
  write_items("rank-00001.safetensors", list, items + 1);
  mxg_checkpoint *checkpoint = open_folder();
  mxg_audit audit = {0};
  mxg_error err = {0};
  assert_int_equal(mxg_audit_build(&audit, &plan, &model, MXG_SOURCE, checkpoint, &err), MXG_OK);
  unsigned faults = 0;
  for (unsigned i = 1; i < MXG_AUDIT_SURPLUS; i++) faults += (unsigned)audit.counts[i];
  assert_int_equal(audit.counts[MXG_AUDIT_EXPECTED] + faults, tensors * ranks);
  const mxg_finding *first = audit.findings;
  if (outcome == MXG_AUDIT_EXPECTED) {
    assert_int_equal(audit.finding_count, 0);
  } else if (audit.counts[outcome] != 1 || first->outcome != outcome || !strstr(first->wants, wants) ||
             !strstr(first->holds, holds)) {
    fail_msg("%s: wants %s, holds %s", mxg_outcome_name(first->outcome), first->wants, first->holds);
  }
  if (first && outcome != MXG_AUDIT_SURPLUS) {
    assert_int_equal(faults, 1);
    assert_int_equal(first->rank, 1);
    assert_string_equal(first->rule.file, "tiny.lua");
    assert_string_equal(first->pattern, "**");
  }
  assert_int_equal(mxg_audit_verdict(&audit, &err), code ? MXG_ERR_INPUT : MXG_OK);
  assert_int_equal(err.code, code);
  if (code) {
    assert_string_equal(err.file, "tiny.lua");
    assert_int_equal(err.line, first->rule.line);
  }
  mxg_audit_free(&audit);
  mxg_checkpoint_close(checkpoint);
}

static void each_outcome_is_found(void **state) {
  (void)state;
  folder_empty();
  write_items("rank-00000.safetensors", right, items);
  const item none = {0};
  expect(right[0], "norm", MXG_AUDIT_EXPECTED, 0, "", "");
  expect((item){"up_scale", MXG_ST_F8_E8M0, 2, {4, 2}}, "up_scale", MXG_AUDIT_EXPECTED, 0, "", "");
  expect((item){"one_scale", MXG_ST_F32, 1, {1}}, "one_scale", MXG_AUDIT_EXPECTED, 0, "", "");
  expect((item){"norm", MXG_ST_F8_E4M3, 1, {64}}, "norm", MXG_AUDIT_QUANTISED, 822, "BF16 [64]", "F8_E4M3 [64]");
  expect((item){"norm", MXG_ST_U8, 1, {64}}, "norm", MXG_AUDIT_QUANTISED, 822, "BF16", "U8");
  expect((item){"norm", MXG_ST_F16, 1, {64}}, "norm", MXG_AUDIT_KIND, 824, "BF16", "F16");
  expect((item){"up", MXG_ST_BF16, 2, {4, 64}}, "up", MXG_AUDIT_HIGH, 823, "F8_E4M3 [4, 64] with U8 scales [4, 2]",
         "BF16 [4, 64]");
  expect((item){"up", MXG_ST_F32, 2, {4, 64}}, "up", MXG_AUDIT_HIGH, 823, "F8_E4M3", "F32");
  expect((item){"up", MXG_ST_F8_E5M2, 2, {4, 64}}, "up", MXG_AUDIT_KIND, 824, "F8_E4M3", "F8_E5M2");
  expect((item){"down", MXG_ST_F8_E4M3, 2, {4, 64}}, "down", MXG_AUDIT_KIND, 824, "F8_E5M2", "F8_E4M3");
  expect((item){"up", MXG_ST_I64, 2, {4, 64}}, "up", MXG_AUDIT_KIND, 824, "F8_E4M3", "I64");
  expect((item){"up_scale", MXG_ST_F32, 2, {4, 2}}, "up_scale", MXG_AUDIT_KIND, 824, "U8 scales", "F32 [4, 2]");
  expect((item){"up_scale", MXG_ST_I8, 2, {4, 2}}, "up_scale", MXG_AUDIT_KIND, 824, "U8 scales", "I8");
  expect((item){"one_scale", MXG_ST_U8, 0, {0}}, "one_scale", MXG_AUDIT_KIND, 824, "F32 scales []", "U8 []");
  expect(none, "up_scale", MXG_AUDIT_NO_SCALE, 825, "U8 scales", "without 'up_scale'");
  expect((item){"up", MXG_ST_F8_E4M3, 2, {8, 64}}, "up", MXG_AUDIT_SHAPE, 826, "[4, 64]", "[8, 64]");
  expect((item){"up", MXG_ST_F8_E4M3, 3, {1, 4, 64}}, "up", MXG_AUDIT_SHAPE, 826, "[4, 64]", "[1, 4, 64]");
  expect((item){"experts", MXG_ST_F8_E4M3, 2, {8, 32}}, "experts", MXG_AUDIT_SHAPE, 826, "[2, 4, 32]", "[8, 32]");
  expect((item){"down_scale", MXG_ST_U8, 2, {4, 2}}, "down_scale", MXG_AUDIT_SCALE_SHAPE, 827, "[128, 4]", "U8 [4, 2]");
  expect((item){"one_scale", MXG_ST_F32, 1, {2}}, "one_scale", MXG_AUDIT_SCALE_SHAPE, 827, "F32 scales []", "F32 [2]");
  expect(none, "norm", MXG_AUDIT_MISSING, 828, "BF16 [64]", "nothing");
  expect((item){"extra", MXG_ST_I64, 0, {0}}, NULL, MXG_AUDIT_SURPLUS, 0, "nothing", "I64 []");
  expect((item){"up_scale_inv", MXG_ST_U8, 2, {4, 2}}, NULL, MXG_AUDIT_SURPLUS, 0, "nothing",
         "second set of scales of 'up'");
}

static void a_wrong_suffix_is_told(void **state) {
  (void)state;
  folder_empty();
  item list[items];
  memcpy(list, right, sizeof right);
  list[2].name = "up_scale_inv";
  write_items("rank-00000.safetensors", list, items);
  mxg_checkpoint *checkpoint = open_folder();
  mxg_audit audit = {0};
  mxg_error err;
  assert_int_equal(mxg_audit_build(&audit, &plan, NULL, MXG_SOURCE, checkpoint, &err), MXG_OK);
  assert_int_equal(audit.counts[MXG_AUDIT_EXPECTED], 4);
  assert_int_equal(audit.counts[MXG_AUDIT_NO_SCALE], 1);
  assert_int_equal(audit.counts[MXG_AUDIT_MISSING], 5); /* no file for rank 1 */
  assert_non_null(strstr(audit.findings[0].holds, "without 'up_scale', there is 'up_scale_inv'"));
  assert_int_equal(audit.findings[0].rule.line, 0); /* without a model nobody knows the rule */
  assert_int_equal(mxg_audit_verdict(&audit, &err), MXG_ERR_INPUT);
  assert_non_null(strstr(err.file, test_folder));
  mxg_audit_free(&audit);
  mxg_checkpoint_close(checkpoint);
}

static void nothing_quantised_is_an_error_by_itself(void **state) {
  (void)state;
  folder_empty();
  static const item plain[] = {{"norm", MXG_ST_BF16, 1, {64}},
                               {"up", MXG_ST_BF16, 2, {4, 64}},
                               {"down", MXG_ST_BF16, 2, {4, 64}},
                               {"experts", MXG_ST_BF16, 3, {2, 4, 32}},
                               {"one", MXG_ST_BF16, 2, {4, 64}}};
  write_items("model.safetensors", plain, 5);
  mxg_checkpoint *checkpoint = open_folder();
  mxg_audit audit = {0};
  mxg_error err;
  mxg_text text = {0};
  assert_int_equal(mxg_audit_build(&audit, &plan, &model, MXG_SOURCE, checkpoint, &err), MXG_OK);
  assert_true(mxg_audit_nothing_quantised(&audit));
  assert_int_equal(audit.counts[MXG_AUDIT_EXPECTED], 1); /* each name once, though two ranks want it */
  assert_int_equal(audit.counts[MXG_AUDIT_HIGH], 4);
  assert_int_equal(mxg_audit_verdict(&audit, &err), MXG_ERR_INPUT);
  assert_int_equal(err.code, 821);
  mxg_audit_print(&audit, 3, &text);
  assert_false(text.failed);
  assert_memory_equal(text.bytes, "NO QUANTISED TENSOR", 19);
  assert_non_null(strstr(text.bytes, "and 1 more"));
  mxg_text_free(&text);
  mxg_audit_free(&audit);
  mxg_checkpoint_close(checkpoint);
}

static void it_is_printed_for_people_and_programs(void **state) {
  (void)state;
  folder_empty();
  item list[items + 1];
  memcpy(list, right, sizeof right);
  list[0].dtype = MXG_ST_F8_E4M3;
  list[5] = (item){0};
  list[items] = (item){"odd \"name\"\n", MXG_ST_U8, 1, {3}};
  write_items("rank-00000.safetensors", list, items + 1);
  write_items("rank-00001.safetensors", right, items);
  mxg_checkpoint *checkpoint = open_folder();
  mxg_audit audit = {0};
  mxg_error err;
  mxg_text text = {0};
  assert_int_equal(mxg_audit_build(&audit, &plan, &model, MXG_SOURCE, checkpoint, &err), MXG_OK);
  mxg_audit_print(&audit, 0, &text);
  assert_string_equal(
      text.bytes,
      "audit of the source side of tiny: 2 files, 8 quantised tensors wanted, 8 held\n"
      "  as expected                                       8\n"
      "  quantised where high precision is wanted          1\n"
      "  high precision where quantised is wanted          0\n"
      "  wrong kind                                        0\n"
      "  missing scale                                     0\n"
      "  wrong shape                                       0\n"
      "  wrong scale shape                                 0\n"
      "  missing tensor                                    1\n"
      "  surplus tensor                                    1\n"
      "\nquantised where high precision is wanted\n"
      "  rank 0     norm: wants BF16 [64], holds F8_E4M3 [64]  (tiny.lua:10:5 \"**\")\n"
      "\nmissing tensor\n"
      "  rank 0     experts: wants F8_E4M3 [2, 4, 32] with U8 scales [2, 4, 1], holds nothing with scales U8 [2, 4, 1]"
      "  (tiny.lua:13:5 \"**\")\n"
      "\nsurplus tensor\n"
      "  rank 0     odd \"name\"?: U8 [3]\n");
  mxg_text_free(&text);
  mxg_audit_json(&audit, &text);
  json_error_t error;
  json_t *root = json_loadb(text.bytes, text.count, JSON_REJECT_DUPLICATES, &error);
  if (!root) fail_msg("%s: %s", error.text, text.bytes);
  assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "outcomes"), "missing")), 1);
  const json_t *findings = json_object_get(root, "findings");
  assert_int_equal(json_array_size(findings), 3);
  assert_string_equal(json_string_value(json_object_get(json_array_get(findings, 0), "outcome")), "quantised");
  assert_int_equal(json_integer_value(json_object_get(json_object_get(json_array_get(findings, 0), "rule"), "line")),
                   10);
  assert_string_equal(json_string_value(json_object_get(json_array_get(findings, 2), "name")), "odd \"name\"\n");
  json_decref(root);
  mxg_text_free(&text);
  mxg_audit_free(&audit);
  mxg_checkpoint_close(checkpoint);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  folder_empty();
  write_items("rank-00000.safetensors", right + 2, items - 2);
  mxg_checkpoint *checkpoint = open_folder();
  mxg_memory_fn usual = mxg_memory_hook;
  mxg_memory_hook = fail_once;
  mxg_status status = MXG_ERR_NOMEM;
  int failures = 0;
  for (; status != MXG_OK; failures++) {
    allocations_left = failures;
    mxg_audit audit = {0};
    mxg_error err;
    status = mxg_audit_build(&audit, &plan, &model, MXG_SOURCE, checkpoint, &err);
    assert_true(status == MXG_OK || status == MXG_ERR_NOMEM);
    mxg_audit_free(&audit);
  }
  mxg_memory_hook = usual;
  assert_true(failures > 10);
  mxg_checkpoint_close(checkpoint);
}

int main(void) {
  make_plan();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_outcome_is_found),
      cmocka_unit_test(a_wrong_suffix_is_told),
      cmocka_unit_test(nothing_quantised_is_an_error_by_itself),
      cmocka_unit_test(it_is_printed_for_people_and_programs),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests_name("audit", tests, folder_make, folder_remove) != 0;
}
