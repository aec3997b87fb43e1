/* From a recipe file to a model: tensors, placements, encodings, names, parameters, includes; the shipped recipes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model.h"
#include "text.h"

static char folder[64];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/mxg_model_XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state) {
  (void)state;
  char path[128];
  snprintf(path, sizeof path, "%s/recipe.lua", folder);
  unlink(path);
  snprintf(path, sizeof path, "%s/part.lua", folder);
  unlink(path);
  return rmdir(folder);
}

static void write_file(const char *name, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static const mxg_model *build_path(const char *path, const mxg_define *defines, uint32_t count, mxg_arena *arena) {
  mxg_error err = {0};
  const mxg_model *model;
  mxg_recipe_options options = {defines, count};
  if (mxg_model_build(&model, NULL, path, &options, arena, &err) != MXG_OK)
    fail_msg("%s:%d:%d: %s / %s", err.file, err.line, err.column, err.text, err.note);
  return model;
}

static const mxg_model *build_text(const char *text, const mxg_define *defines, uint32_t count, mxg_arena *arena) {
  char path[128];
  snprintf(path, sizeof path, "%s/recipe.lua", folder);
  write_file("recipe.lua", text);
  return build_path(path, defines, count, arena);
}

static uint32_t find(const mxg_model *model, const char *name) {
  for (uint32_t t = 0; t < model->tensor_count; t++)
    if (strcmp(model->tensors[t].name, name) == 0) return t;
  fail_msg("no tensor %s", name);
  return 0;
}

/* ---- shipped recipes --------------------------------------------------------------------------------------------- */

static void shipped_recipes_build_the_same_twice(void **state) {
  (void)state;
  static const mxg_define cuts[] = {{"layers", "2"}, {"layers", "4"}};
  DIR *dir = opendir(MXG_ROOT "/recipes");
  assert_non_null(dir);
  int count = 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    char path[512];
    size_t bytes = strlen(entry->d_name);
    if (bytes < 4 || strcmp(entry->d_name + bytes - 4, ".lua") != 0) continue;
    snprintf(path, sizeof path, "%s/recipes/%.200s", MXG_ROOT, entry->d_name);
    for (int cut = -1; cut < 2; cut++) {
      mxg_arena arena = {0};
      mxg_text texts[2] = {{0}, {0}};
      for (int turn = 0; turn < 2; turn++)
        mxg_model_print(build_path(path, cut < 0 ? NULL : &cuts[cut], cut >= 0, &arena), &texts[turn]);
      assert_string_equal(texts[0].bytes, texts[1].bytes);
      mxg_text_free(&texts[0]);
      mxg_text_free(&texts[1]);
      mxg_arena_free(&arena);
    }
    count++;
  }
  closedir(dir);
  assert_true(count >= 10);
}

static void deepseek_has_its_tensors(void **state) {
  (void)state;
  mxg_arena arena = {0};
  const mxg_model *model = build_path(MXG_ROOT "/recipes/deepseek_v3_tp8_pp4_ep32_to_ep64.lua", NULL, 0, &arena);
  uint64_t parameters = 0, names = 0;
  for (uint32_t t = 0; t < model->tensor_count; t++) {
    const mxg_tensor *tensor = &model->tensors[t];
    const mxg_naming *naming = &model->side[MXG_TARGET].namings[t];
    parameters += tensor->experts * tensor->rows * tensor->cols;
    uint64_t scales = model->side[MXG_TARGET].placements[t].format->plane[0].scale == MX_SCALE_NONE ? 1 : 2;
    names += scales * (naming->parts_apart ? tensor->part_count : 1) * (naming->experts_apart ? tensor->experts : 1);
  }
  assert_true(parameters / 1000000 == 671026); /* 671.026 billion, as published, without the MTP layer */
  assert_true(names > 90000);
  const mxg_side_model *source = &model->side[MXG_SOURCE];
  assert_int_equal(source->rank_count, 128);
  assert_int_equal(model->side[MXG_TARGET].first_rank, 128);
  assert_int_equal(source->placements[find(model, "layers.47.attn.out")].stage, 2);
  assert_int_equal(source->placements[find(model, "layers.48.attn.out")].stage, 3);
  assert_int_equal(source->placements[find(model, "embed")].stage, 0);
  assert_int_equal(source->placements[find(model, "head")].stage, 3);
  mxg_arena_free(&arena);
}

static void parameter_counts_are_the_published_ones(void **state) {
  (void)state;
  static const struct {
    const char *recipe;
    uint64_t millions;
  } cases[] = {{"llama3_8b_tp2", 8030},
               {"qwen3_30b_a3b_tp4_ep8", 30532},
               {"glm_4_5_air_tp4", 106852},
               {"mixtral_8x7b_ep4_tp2", 46702}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char path[512];
    mxg_arena arena = {0};
    uint64_t parameters = 0;
    snprintf(path, sizeof path, "%s/recipes/%s.lua", MXG_ROOT, cases[i].recipe);
    const mxg_model *model = build_path(path, NULL, 0, &arena);
    for (uint32_t t = 0; t < model->tensor_count; t++)
      parameters += model->tensors[t].experts * model->tensors[t].rows * model->tensors[t].cols;
    assert_int_equal(parameters / 1000000, cases[i].millions);
    mxg_arena_free(&arena);
  }
}

/* ---- the language ------------------------------------------------------------------------------------------------ */

static const char example[] =
    "local mx = require \"mx\"\n"
    "local L, H, F, V, D = 32, 4096, 14336, 128256, 128\n"
    "local m = mx.model \"llama3_8b\"\n"
    "m:tensor(\"embed\", { V, H }):pad_rows(128)\n"
    "for i = 0, L - 1 do\n"
    "  local b = m:scope(\"layers.%d\", i)\n"
    "  b:tensor(\"attn.norm\", { H })\n"
    "  b:fused(\"attn.qkv\", { { \"q\", 32 * D }, { \"k\", 8 * D }, { \"v\", 8 * D } }, H):interleave(8)   -- 8 query "
    "groups\n"
    "  b:tensor(\"attn.out\", { H, 32 * D })\n"
    "  b:tensor(\"mlp.norm\", { H })\n"
    "  b:fused(\"mlp.gate_up\", { { \"gate\", F }, { \"up\", F } }, H)\n"
    "  b:tensor(\"mlp.down\", { H, F })\n"
    "end\n"
    "m:tensor(\"norm\", { H })\n"
    "m:tensor(\"head\", { V, H })\n"
    "local fp8, bf16 = mx.mxfp8 { elem = \"e4m3\", block = 32, scale = \"rceil\" }, mx.bf16()\n"
    "return {\n"
    "  version = 1, name = \"llama3_8b_tp2\", model = m,\n"
    "  source = {\n"
    "    mesh   = mx.mesh { { \"tp\", 2 } },\n"
    "    format = { mx.rule(bf16, \"embed\", \"head\", \"**norm\", \"layers.{0,31}.**\"), mx.rule(fp8, \"layers.**\") "
    "},\n"
    "    layout = { mx.rule(mx.whole(), \"**norm\"), mx.rule(mx.split { col = \"tp\" }, \"**.attn.out\", "
    "\"**.mlp.down\"),\n"
    "               mx.rule(mx.split { row = \"tp\" }, \"**\") },\n"
    "  },\n"
    "  target = { mesh = mx.mesh { { \"tp\", 2 } }, format = { mx.rule(bf16, \"**\") }, layout = { mx.rule(mx.whole(), "
    "\"**\") },"
    " names = mx.hf.llama() },\n"
    "  schedule = { bucket = \"512MiB\", slots = 2, staging = \"2GiB\" },\n"
    "}\n";

static void the_design_example_builds(void **state) {
  (void)state;
  mxg_arena arena = {0};
  const mxg_model *model = build_text(example, NULL, 0, &arena);
  assert_string_equal(model->name, "llama3_8b_tp2");
  assert_int_equal(model->tensor_count, 3 + 32 * 6);
  assert_true(model->bucket_bytes == 512ull << 20 && model->staging_bytes == 2ull << 30);
  const mxg_tensor *qkv = &model->tensors[find(model, "layers.3.attn.qkv")];
  assert_int_equal(qkv->part_count, 3);
  assert_int_equal(qkv->parts[2].first_row, 40 * 128);
  assert_int_equal(qkv->rows, 48 * 128);
  assert_int_equal(qkv->groups, 8);
  assert_int_equal(qkv->origin.line, 8);
  assert_int_equal(qkv->origin.column, 11);
  assert_int_equal(model->tensors[0].pad_rows, 128);
  const mxg_side_model *source = &model->side[MXG_SOURCE];
  const mxg_placement *down = &source->placements[find(model, "layers.3.mlp.down")];
  assert_string_equal(down->format->kind, "mxfp8");
  assert_string_equal(down->format_pattern, "layers.**");
  assert_int_equal(down->format_rule.line, 21);
  assert_int_equal(down->format_rule.column, 91);
  assert_string_equal(down->layout_pattern, "**.mlp.down");
  assert_int_equal(down->layout->col.count, 1);
  assert_int_equal(down->layout->row.count, 0);
  assert_string_equal(source->placements[find(model, "layers.31.mlp.down")].format->kind, "bf16");
  const mxg_naming *naming = &model->side[MXG_TARGET].namings[find(model, "layers.3.attn.qkv")];
  assert_true(naming->parts_apart);
  assert_string_equal(mxg_naming_name(naming, 1, 0, &arena), "model.layers.3.self_attn.k_proj.weight");
  mxg_arena_free(&arena);
}

/* A model of one tensor that the source holds in `format`. */
static const mxg_format *format_of(const char *format, mxg_arena *arena) {
  char text[2048];
  snprintf(
      text, sizeof text,
      "local mx = require 'mx'\nlocal m = mx.model 'one'\nm:tensor('w', { 256, 256 })\n"
      "local whole, mesh = { mx.rule(mx.whole(), '**') }, mx.mesh { { 'tp', 2 } }\n"
      "return { version = 1, model = m, source = { mesh = mesh, layout = whole, format = { mx.rule(%s, '**') } },\n"
      "  target = { mesh = mesh, layout = whole, format = { mx.rule(mx.fp32(), '**') } } }\n",
      format);
  return build_text(text, NULL, 0, arena)->side[MXG_SOURCE].placements[0].format;
}

static void formats_become_encodings(void **state) {
  (void)state;
  static const struct {
    const char *format;
    uint32_t planes;
    mxg_encoding plane[2];
    bool e8m0;
  } cases[] = {
      {"mx.mxfp8 { elem = 'e4m3', scale = 'rceil' }",
       1,
       {{MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, MX_RCEIL, MX_NAN_BLOCK, {0}, 1, 32}},
       false},
      {"mx.mxfp8 { elem = 'e5m2', scale = 'floor', block = { 1, 32 }, scales = 'padded', nan = 'element', scale_dtype "
       "= 'e8m0' }",
       1,
       {{MX_E5M2, MX_SCALE_E8M0, MX_PADDED, MX_FLOOR, MX_NAN_ELEMENT, {0}, 1, 32}},
       true},
      {"mx.mxfp8 { elem = 'e4m3', scale = 'ceil', block = { 32, 1 }, scales = 'swizzled' }",
       1,
       {{MX_E4M3, MX_SCALE_E8M0, MX_SWIZZLED, MX_CEIL, MX_NAN_BLOCK, {0}, 32, 1}},
       false},
      {"mx.mxfp8 { elem = 'e4m3', scale = 'even', block = 32, direction = 'columnwise' }",
       1,
       {{MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, MX_EVEN, MX_NAN_BLOCK, {0}, 32, 1}},
       false},
      {"mx.mxfp8 { elem = 'e4m3', scale = 'even', direction = 'both', scales = 'swizzled' }",
       2,
       {{MX_E4M3, MX_SCALE_E8M0, MX_SWIZZLED, MX_EVEN, MX_NAN_BLOCK, {0}, 1, 32},
        {MX_E4M3, MX_SCALE_E8M0, MX_SWIZZLED, MX_EVEN, MX_NAN_BLOCK, {0}, 32, 1}},
       false},
      {"mx.mxfp8 { elem = 'e4m3', scale = 'floor', block = { 32, 32 } }",
       1,
       {{MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, MX_FLOOR, MX_NAN_BLOCK, {0}, 32, 32}},
       false},
      {"mx.fp8 { elem = 'e5m2', nan = 'element' }",
       1,
       {{MX_E5M2, MX_SCALE_FP32, MX_COMPACT, MX_RULE_NONE, MX_NAN_ELEMENT, {0}, MX_WHOLE, MX_WHOLE}},
       false},
      {"mx.fp8_block { elem = 'e4m3' }",
       1,
       {{MX_E4M3, MX_SCALE_FP32, MX_COMPACT, MX_RULE_NONE, MX_NAN_BLOCK, {0}, 128, 128}},
       false},
      {"mx.fp8_block { elem = 'e4m3', block = { 128, 128 }, scale = 'rceil' }",
       1,
       {{MX_E4M3, MX_SCALE_E8M0, MX_COMPACT, MX_RCEIL, MX_NAN_BLOCK, {0}, 128, 128}},
       false},
      {"mx.bf16()", 1, {{MX_BF16, MX_SCALE_NONE, 0, 0, 0, {0}, 0, 0}}, false},
      {"mx.fp16()", 1, {{MX_FP16, MX_SCALE_NONE, 0, 0, 0, {0}, 0, 0}}, false},
      {"mx.fp32 {}", 1, {{MX_FP32, MX_SCALE_NONE, 0, 0, 0, {0}, 0, 0}}, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mxg_arena arena = {0};
    const mxg_format *format = format_of(cases[i].format, &arena);
    assert_int_equal(format->planes, cases[i].planes);
    assert_int_equal(format->e8m0_dtype, cases[i].e8m0);
    for (uint32_t p = 0; p < format->planes; p++)
      assert_memory_equal(&format->plane[p], &cases[i].plane[p], sizeof(mxg_encoding));
    assert_null(format->otherwise);
    mxg_arena_free(&arena);
  }
}

static void layouts_find_mesh_and_axes(void **state) {
  (void)state;
  mxg_arena arena = {0};
  const mxg_model *model = build_text(
      "local mx = require 'mx'\nlocal m = mx.model 'one'\nm:tensor('dense', { 256, 64 })\n"
      "m:fused('experts', { { 'gate', 64 }, { 'up', 64 } }, 64, 8)\nm:tied('head', 'dense')\nm:tensor('norm', { 64 })\n"
      "local all = { mx.rule(mx.bf16(), '**') }\n"
      "return { version = 1, model = m, source = { mesh = mx.megatron { tp = 2, ep = 4, etp = 1, world = 8 }, tied = "
      "'both',\n"
      "  format = all, layout = { mx.rule(mx.split { expert = { 'ep' }, row = 'etp' }, 'experts'), mx.rule(mx.whole(), "
      "'norm'),\n"
      "    mx.rule(mx.split { row = { 'dp', 'tp' }, order = 'parts', pad_rows = 16 }, '**') } },\n"
      "  target = { mesh = { mx.mesh { { 'a', 2 } }, mx.mesh { { 'b', 2 } } }, first_rank = 3, format = all,\n"
      "    layout = { mx.rule(mx.split { col = 'b' }, 'dense', 'head'), mx.rule(mx.whole(), '**') } } }\n",
      NULL, 0, &arena);
  const mxg_side_model *source = &model->side[MXG_SOURCE], *target = &model->side[MXG_TARGET];
  const mxg_layout *experts = source->placements[find(model, "experts")].layout;
  assert_int_equal(experts->mesh, 1);
  assert_string_equal(source->meshes[1].axes[experts->expert.axes[0]].name, "ep");
  assert_string_equal(source->meshes[1].axes[experts->row.axes[0]].name, "etp");
  const mxg_layout *dense = source->placements[find(model, "dense")].layout;
  assert_int_equal(dense->mesh, 0);
  assert_int_equal(dense->row.count, 2);
  assert_string_equal(source->meshes[0].axes[dense->row.axes[0]].name, "dp");
  assert_int_equal(dense->order, MXG_ORDER_PARTS);
  assert_true(dense->has_pad && dense->pad_rows == 16);
  assert_ptr_equal(dense, source->placements[find(model, "head")].layout);
  assert_int_equal(model->tensors[find(model, "head")].tied_to, find(model, "dense"));
  assert_true(source->placements[find(model, "head")].held);
  assert_false(target->placements[find(model, "head")].held);
  assert_int_equal(target->placements[find(model, "dense")].layout->mesh, 1);
  assert_int_equal(target->first_rank, 3);
  assert_int_equal(target->rank_count, 2);
  mxg_arena_free(&arena);
}

static void fallbacks_are_taken_and_remembered(void **state) {
  (void)state;
  mxg_arena arena = {0};
  const mxg_model *model = build_text(
      "local mx = require 'mx'\nlocal m = mx.model 'one'\nm:tensor('fits', { 8, 128 })\nm:tensor('cut', { 8, 96 })\n"
      "m:tensor('vector', { 64 })\n"
      "local fp8 = mx.mxfp8 { elem = 'e4m3', scale = 'floor', otherwise = mx.fp8 { elem = 'e4m3' } }\n"
      "local all, mesh = { mx.rule(fp8, '**') }, mx.mesh { { 'tp', 2 } }\n"
      "return { version = 1, model = m,\n"
      "  source = { mesh = mesh, format = all, layout = { mx.rule(mx.whole(), 'vector'), mx.rule(mx.split { col = 'tp' "
      "}, '**') } },\n"
      "  target = { mesh = mesh, format = { mx.rule(mx.bf16(), '**') }, layout = { mx.rule(mx.whole(), '**') } } }\n",
      NULL, 0, &arena);
  const mxg_placement *places = model->side[MXG_SOURCE].placements;
  assert_string_equal(places[0].format->kind, "mxfp8");
  assert_null(places[0].refused);
  for (int t = 1; t < 3; t++) {
    assert_string_equal(places[t].format->kind, "fp8");
    assert_string_equal(places[t].refused->kind, "mxfp8");
  }
  mxg_arena_free(&arena);
}

static void names_take_captures_parts_and_experts(void **state) {
  (void)state;
  mxg_arena arena = {0};
  const mxg_model *model = build_text(
      "local mx = require 'mx'\nlocal m = mx.model 'one'\nlocal b = m:scope('layers.%d', 3):scope 'mlp'\n"
      "b:fused('gate_up', { { 'gate', 4 }, { 'up', 4 } }, 8, 2)\nb:tensor('down', { 2, 8, 4 })\nb:tensor('norm', { 8 "
      "})\n"
      "local all, whole, mesh = { mx.rule(mx.bf16(), '**') }, { mx.rule(mx.whole(), '**') }, mx.mesh { { 'tp', 1 } }\n"
      "return { version = 1, model = m, source = { mesh = mesh, format = all, layout = whole },\n"
      "  target = { mesh = mesh, format = all, layout = whole, names = mx.names { scale = '_s',\n"
      "    { 'layers.*.mlp.gate_up', gate = 'm.{1}.e.{e}.g', up = 'm.{1}.e.{e}.u' },\n"
      "    { 'layers.*.*.{down,x}', 'm.{2}.{1}/down' }, { '**', 'rest.{1}' } } } }\n",
      NULL, 0, &arena);
  const mxg_naming *namings = model->side[MXG_TARGET].namings;
  assert_true(namings[0].parts_apart && namings[0].experts_apart);
  assert_string_equal(mxg_naming_name(&namings[0], 1, 1, &arena), "m.3.e.1.u");
  assert_false(namings[1].parts_apart || namings[1].experts_apart);
  assert_string_equal(mxg_naming_name(&namings[1], 0, 0, &arena), "m.mlp.3/down");
  assert_string_equal(mxg_naming_name(&namings[2], 0, 0, &arena), "rest.layers.3.mlp.norm");
  assert_string_equal(model->side[MXG_TARGET].scale_suffix, "_s");
  assert_string_equal(mxg_naming_name(&model->side[MXG_SOURCE].namings[0], 1, 1, &arena), "layers.3.mlp.gate_up");
  mxg_arena_free(&arena);
}

static void parameters_take_the_defaults_type(void **state) {
  (void)state;
  static const char text[] = "local mx = require 'mx'\nlocal rows, name, wide = mx.param('rows', 4), mx.param('name', "
                             "'w'), mx.param('wide', false)\n"
                             "local m = mx.model 'one'\nm:tensor(name, { rows, wide and 64 or 32 })\n"
                             "local side = { mesh = mx.mesh { { 'tp', 1 } }, format = { mx.rule(mx.bf16(), '**') }, "
                             "layout = { mx.rule(mx.whole(), '**') } }\n"
                             "return { version = 1, model = m, source = side, target = side }\n";
  static const mxg_define defines[] = {{"wide", "true"}, {"rows", "7"}, {"name", "given"}, {"rows", "9"}};
  mxg_arena arena = {0};
  const mxg_model *model = build_text(text, NULL, 0, &arena);
  assert_string_equal(model->tensors[0].name, "w");
  assert_int_equal(model->tensors[0].cols, 32);
  model = build_text(text, defines, 4, &arena);
  assert_string_equal(model->tensors[0].name, "given");
  assert_int_equal(model->tensors[0].rows, 9); /* the last one counts */
  assert_int_equal(model->tensors[0].cols, 64);
  mxg_arena_free(&arena);
}

static void includes_are_read_once_and_listed(void **state) {
  (void)state;
  write_file("part.lua", "local mx = require 'mx'\nreturn { all = { mx.rule(mx.bf16(), '**') }, whole = { "
                         "mx.rule(mx.whole(), '**') } }\n");
  write_file("recipe.lua",
             "local mx = require 'mx'\nlocal a, b = include 'part.lua', include './part.lua'\nassert(a == b)\n"
             "local m = mx.model 'one'\nm:tensor('w', { 4, 4 })\n"
             "local side = { mesh = mx.mesh { { 'tp', 1 } }, format = a.all, layout = b.whole }\n"
             "return { version = 1, model = m, source = side, target = side }\n");
  char path[128], part[128];
  snprintf(path, sizeof path, "%s/recipe.lua", folder);
  snprintf(part, sizeof part, "%s/part.lua", folder);
  mxg_arena arena = {0};
  mxg_error err = {0};
  const mxg_model *model;
  mxg_files files;
  assert_int_equal(mxg_model_build(&model, &files, path, NULL, &arena, &err), MXG_OK);
  assert_int_equal(files.count, 2);
  assert_string_equal(files.paths[0], path);
  assert_string_equal(files.paths[1], part);
  assert_string_equal(model->side[0].placements[0].format_rule.file,
                      part); /* places are of the file they were written in */
  assert_int_equal(model->side[0].placements[0].format_rule.line, 2);
  mxg_arena_free(&arena);
}

static void a_missing_recipe_is_an_io_error(void **state) {
  (void)state;
  mxg_arena arena = {0};
  mxg_error err = {0};
  const mxg_model *model = NULL;
  mxg_files files;
  assert_int_equal(mxg_model_build(&model, &files, "/nonexistent/recipe.lua", NULL, &arena, &err), MXG_ERR_IO);
  assert_int_equal(files.count, 0);
  assert_null(model);
  assert_int_equal(mxg_model_build(&model, NULL, folder, NULL, &arena, NULL), MXG_ERR_INPUT); /* a folder */
  mxg_arena_free(&arena);
}

static long countdown;
static mxg_memory_fn real_memory;
static void *failing_memory(void *old, size_t bytes) {
  if (bytes && countdown-- <= 0) return NULL;
  return real_memory(old, bytes);
}

static void any_allocation_may_fail(void **state) {
  (void)state;
  mxg_status status = MXG_ERR_NOMEM;
  real_memory = mxg_memory_hook;
  long n = 0, failures = 0;
  for (; n < 100000 && status != MXG_OK; n += 1 + n / 40) {
    mxg_arena arena = {0};
    mxg_error err = {0};
    const mxg_model *model = NULL;
    countdown = n;
    mxg_memory_hook = failing_memory;
    status = mxg_model_build(&model, NULL, MXG_ROOT "/recipes/tiny_moe.lua", NULL, &arena, &err);
    mxg_memory_hook = real_memory;
    mxg_arena_free(&arena);
    if (status == MXG_OK) continue;
    failures++;
    assert_int_equal(status, MXG_ERR_NOMEM);
    assert_int_equal(err.code, 1);
    assert_null(model);
  }
  assert_int_equal(status, MXG_OK);
  assert_true(failures > 100);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shipped_recipes_build_the_same_twice),
      cmocka_unit_test(deepseek_has_its_tensors),
      cmocka_unit_test(parameter_counts_are_the_published_ones),
      cmocka_unit_test(the_design_example_builds),
      cmocka_unit_test(formats_become_encodings),
      cmocka_unit_test(layouts_find_mesh_and_axes),
      cmocka_unit_test(fallbacks_are_taken_and_remembered),
      cmocka_unit_test(names_take_captures_parts_and_experts),
      cmocka_unit_test(parameters_take_the_defaults_type),
      cmocka_unit_test(includes_are_read_once_and_listed),
      cmocka_unit_test(a_missing_recipe_is_an_io_error),
      cmocka_unit_test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests_name("model", tests, make_folder, drop_folder) != 0;
}
