/* original.c -- see original.h. */
#include "original.h"

#include "error.h"
#include "layout.h"
#include "random.h"
#include "workers.h"

#include <stdio.h>
#include <string.h>

/* ---- formats, from headers ---- */

static const mxg_encoding plain_bf16 = {.elem = MX_BF16};

typedef struct detection {
  const mxg_checkpoint *checkpoint;
  const mxg_model *recipe;
  const mxg_side_model *names; /* the target side: whose names the original has */
  const char *suffix;          /* of scales, once one was seen */
  mxg_arena *arena;
  mxg_error *err;
} detection;

/* The data of a tensor as the file shapes it: [stack,] rows, cols; a vector is one row. */
typedef struct shaped {
  uint64_t matrices, rows, cols;
} shaped;

static shaped shape_of(const mxg_st_tensor *data) {
  shaped s = {1, 1, 1};
  if (data->ndim >= 1) s.cols = data->shape[data->ndim - 1];
  if (data->ndim >= 2) s.rows = data->shape[data->ndim - 2];
  for (uint32_t i = 0; i + 2 < data->ndim; i++) s.matrices *= data->shape[i];
  return s;
}

static mxg_status fail_at(detection *d, const mxg_found *found, const char *reason) {
  mxg_st_shown shown = mxg_st_show(found->tensor->name);
  mxg_fail(d->err, MXG_ERR_INPUT, 801, "'%s' cannot be read as an original: %s", shown.text, reason);
  mxg_error_place(d->err, mxg_st_path(mxg_checkpoint_file(d->checkpoint, found->file)), 0, 0, 0);
  return MXG_ERR_INPUT;
}

/* How many scales a kind of block gives for the data, all matrices. */
static bool scales_fit(const mxg_encoding *encoding, shaped s, const mxg_st_tensor *scale) {
  mxg_scale_shape shape = mxg_scale_shape_of(encoding, s.rows, s.cols);
  uint64_t count;
  if (!mxg_mul(&count, shape.rows, shape.cols) || !mxg_mul(&count, count, s.matrices)) return false;
  return count * shape.bytes_each == scale->bytes;
}

static bool find_scale(detection *d, const char *name, mxg_found *scale) {
  const char *suffixes[] = {d->names->scale_suffix, "_scale_inv", "_scale"};
  for (size_t i = 0; i < 3; i++) {
    char full[1024];
    int n = snprintf(full, sizeof full, "%s%s", name, suffixes[i]);
    if (n < 0 || (size_t)n >= sizeof full || !mxg_checkpoint_find(d->checkpoint, MXG_NONE, full, scale)) continue;
    if (!d->suffix) d->suffix = suffixes[i];
    return !strcmp(d->suffix, suffixes[i]);
  }
  return false;
}

static mxg_status detect_scaled(mxg_encoding *encoding, bool *e8m0_dtype, detection *d, const mxg_found *data) {
  static const uint32_t e8m0_blocks[][2] = {{1, 32}, {32, 32}, {128, 128}, {32, 1}};
  static const uint32_t fp32_blocks[][2] = {{128, 128}, {MX_WHOLE, MX_WHOLE}};
  mxg_found scale;
  if (!find_scale(d, data->tensor->name, &scale))
    return fail_at(d, data, "it is FP8, and there is no tensor with its scales beside it");
  bool fp32 = scale.tensor->dtype == MXG_ST_F32;
  if (!fp32 && scale.tensor->dtype != MXG_ST_U8 && scale.tensor->dtype != MXG_ST_F8_E8M0)
    return fail_at(d, &scale, "scales are F32, U8 or F8_E8M0");
  *encoding = (mxg_encoding){.elem = data->tensor->dtype == MXG_ST_F8_E5M2 ? MX_E5M2 : MX_E4M3,
                             .scale = fp32 ? MX_SCALE_FP32 : MX_SCALE_E8M0,
                             .rule = fp32 ? MX_RULE_NONE : MX_RCEIL};
  *e8m0_dtype = scale.tensor->dtype == MXG_ST_F8_E8M0;
  size_t count = fp32 ? sizeof fp32_blocks / sizeof *fp32_blocks : sizeof e8m0_blocks / sizeof *e8m0_blocks;
  for (size_t i = 0; i < count; i++) {
    encoding->block_rows = fp32 ? fp32_blocks[i][0] : e8m0_blocks[i][0];
    encoding->block_cols = fp32 ? fp32_blocks[i][1] : e8m0_blocks[i][1];
    if (scales_fit(encoding, shape_of(data->tensor), scale.tensor)) return MXG_OK;
  }
  return fail_at(d, &scale, "there are not as many scales as blocks of any known kind would have");
}

static mxg_status detect_array(mxg_encoding *encoding, bool *e8m0_dtype, bool *found, detection *d, const char *name) {
  mxg_found data;
  *encoding = plain_bf16;
  *e8m0_dtype = false;
  *found = d->checkpoint && mxg_checkpoint_find(d->checkpoint, MXG_NONE, name, &data);
  if (!*found) return MXG_OK;
  switch ((mxg_st_dtype)data.tensor->dtype) {
  case MXG_ST_BF16: return MXG_OK;
  case MXG_ST_F16: encoding->elem = MX_FP16; return MXG_OK;
  case MXG_ST_F32: encoding->elem = MX_FP32; return MXG_OK;
  case MXG_ST_F8_E4M3:
  case MXG_ST_F8_E5M2: return detect_scaled(encoding, e8m0_dtype, d, &data);
  case MXG_ST_BOOL:
  case MXG_ST_F4:
  case MXG_ST_F6_E2M3:
  case MXG_ST_F6_E3M2:
  case MXG_ST_U8:
  case MXG_ST_I8:
  case MXG_ST_F8_E8M0:
  case MXG_ST_F8_E4M3FNUZ:
  case MXG_ST_F8_E5M2FNUZ:
  case MXG_ST_I16:
  case MXG_ST_U16:
  case MXG_ST_I32:
  case MXG_ST_U32:
  case MXG_ST_C64:
  case MXG_ST_F64:
  case MXG_ST_I64:
  case MXG_ST_U64:
  case MXG_ST_DTYPES: break;
  }
  char reason[96];
  snprintf(reason, sizeof reason, "its elements are %s, not BF16, F16, F32, F8_E4M3 or F8_E5M2",
           mxg_st_dtype_name(data.tensor->dtype));
  return fail_at(d, &data, reason);
}

static const char *kind_of(const mxg_encoding *encoding) {
  if (encoding->scale == MX_SCALE_NONE)
    return encoding->elem == MX_FP16 ? "fp16" : encoding->elem == MX_FP32 ? "fp32" : "bf16";
  if (encoding->block_rows == MX_WHOLE) return "fp8";
  return encoding->block_rows == 128 ? "fp8_block" : "mxfp8";
}

/* The format of tensor `t`: all its arrays must have the same. */
static mxg_status detect_tensor(mxg_format *format, detection *d, uint32_t t) {
  const mxg_tensor *tensor = &d->recipe->tensors[t];
  const mxg_naming *naming = &d->names->namings[t];
  uint32_t parts = naming->parts_apart ? tensor->part_count : 1;
  uint64_t experts = naming->experts_apart ? tensor->experts : 1;
  bool first = true;
  *format = (mxg_format){.kind = "bf16", .planes = 1, .plane = {plain_bf16}, .origin = d->names->origin};
  for (uint32_t p = 0; d->checkpoint && p < parts; p++) {
    for (uint64_t e = 0; e < experts; e++) {
      const char *name = mxg_naming_name(naming, p, e, d->arena);
      if (!name) return mxg_fail_nomem(d->err);
      mxg_encoding encoding;
      bool e8m0_dtype, found;
      MXG_TRY(detect_array(&encoding, &e8m0_dtype, &found, d, name));
      if (!found) continue;
      if (first) {
        format->kind = kind_of(&encoding);
        format->plane[0] = encoding;
        format->e8m0_dtype = e8m0_dtype;
        first = false;
      } else if (memcmp(&format->plane[0], &encoding, sizeof encoding) != 0 || format->e8m0_dtype != e8m0_dtype) {
        mxg_fail(d->err, MXG_ERR_INPUT, 802, "the parts of '%s' are stored in different formats", tensor->name);
        mxg_error_place(d->err, mxg_checkpoint_path(d->checkpoint), 0, 0, 0);
        mxg_error_note(d->err, "'%.200s' differs from the ones before it", name);
        return MXG_ERR_INPUT;
      }
    }
  }
  return MXG_OK;
}

/* ---- the model ---- */

static mxg_status place_tensors(mxg_side_model *side, detection *d) {
  uint32_t count = d->recipe->tensor_count;
  mxg_placement *placements = mxg_arena_alloc(d->arena, count, sizeof *placements);
  mxg_format *formats = mxg_arena_alloc(d->arena, count, sizeof *formats);
  mxg_layout *layouts = mxg_arena_alloc(d->arena, MXG_ORDER_GROUPED + 1, sizeof *layouts); /* whole, one an order */
  if (!placements || !formats || !layouts) return mxg_fail_nomem(d->err);
  for (unsigned order = 0; order <= MXG_ORDER_GROUPED; order++)
    layouts[order] = (mxg_layout){.spread = MXG_SPREAD_WHOLE, .order = (uint8_t)order, .has_pad = true};
  for (uint32_t t = 0; t < count; t++) {
    const mxg_placement *target = &d->names->placements[t];
    placements[t] = *target;
    placements[t].held = d->recipe->tensors[t].tied_to == MXG_NONE; /* values that are shared are there once */
    MXG_TRY(detect_tensor(&formats[t], d, t));
    placements[t].format = &formats[t];
    placements[t].refused = NULL;
    placements[t].layout = &layouts[target->layout->order];
    placements[t].stage = MXG_NONE;
  }
  side->placements = placements;
  return MXG_OK;
}

mxg_status mxg_original_model(const mxg_model **out, const mxg_model *recipe, mxg_side toward,
                              const mxg_checkpoint *checkpoint, mxg_arena *arena, mxg_error *err) {
  *out = NULL;
  detection d = {checkpoint, recipe, &recipe->side[MXG_TARGET], NULL, arena, err};
  mxg_model *model = mxg_arena_alloc(arena, 1, sizeof *model);
  mxg_mesh *mesh = mxg_arena_alloc(arena, 1, sizeof *mesh);
  mxg_axis *axis = mxg_arena_alloc(arena, 1, sizeof *axis);
  if (!model || !mesh || !axis) return mxg_fail_nomem(err);
  *axis = (mxg_axis){"original", 1};
  *mesh = (mxg_mesh){axis, 1, recipe->side[MXG_TARGET].origin};
  *model = *recipe;
  model->side[MXG_TARGET] = recipe->side[toward];
  mxg_side_model *original = &model->side[MXG_SOURCE];
  *original = (mxg_side_model){.meshes = mesh,
                               .mesh_count = 1,
                               .stage_mesh = MXG_NONE,
                               .stage_axis = MXG_NONE,
                               .rank_count = 1,
                               .namings = recipe->side[MXG_TARGET].namings,
                               .origin = recipe->side[MXG_TARGET].origin};
  MXG_TRY(place_tensors(original, &d));
  original->scale_suffix = d.suffix ? d.suffix : recipe->side[MXG_TARGET].scale_suffix;
  *out = model;
  return MXG_OK;
}

/* ---- the random original ---- */

enum { room = 4096, chunk_elems = 1 << 20 };

typedef struct random_array {
  mxg_random random;
  uint16_t *data;
  uint64_t rows, cols, first_chunk;
} random_array;

typedef struct random_job {
  random_array *arrays;
  uint32_t array_count;
} random_job;

static uint64_t rows_of_chunk(const random_array *array) {
  uint64_t rows = array->cols ? chunk_elems / array->cols : 0;
  return rows ? rows : 1;
}

static void fill_chunk(void *user, uint64_t chunk) {
  const random_job *job = user;
  uint32_t low = 0, high = job->array_count;
  while (high - low > 1) { /* the last array whose chunks begin at or before this one */
    uint32_t middle = low + (high - low) / 2;
    if (job->arrays[middle].first_chunk <= chunk)
      low = middle;
    else
      high = middle;
  }
  const random_array *array = &job->arrays[low];
  uint64_t step = rows_of_chunk(array), row = (chunk - array->first_chunk) * step, end = row + step;
  if (end > array->rows) end = array->rows;
  for (; row < end; row++) mxg_random_row(array->data + row * array->cols, &array->random, row, 0, array->cols);
}

/* Adds every array of the original to the writer, in the model's order. */
static mxg_status list_arrays(random_array *arrays, uint32_t *count, uint32_t *indices, mxg_st_writer *writer,
                              const mxg_model *model, uint64_t seed, mxg_arena *arena, mxg_error *err) {
  *count = 0;
  for (uint32_t t = 0; t < model->tensor_count; t++) {
    const mxg_tensor *tensor = &model->tensors[t];
    const mxg_naming *naming = &model->side[MXG_SOURCE].namings[t];
    const mxg_shard *shards;
    uint32_t shard_count;
    MXG_TRY(mxg_layout_shards(&shards, &shard_count, model, MXG_SOURCE, t, 0, arena, err));
    for (uint32_t s = 0; s < shard_count; s++) {
      const mxg_shard *shard = &shards[s];
      const char *name = mxg_naming_name(naming, shard->part == MXG_NONE ? 0 : shard->part, shard->first_expert, arena);
      if (!name) return mxg_fail_nomem(err);
      bool vector = tensor->ndim == 1;
      uint64_t shape[3] = {shard->experts, shard->stored_rows, shard->cols};
      unsigned ndim = vector ? 1 : tensor->ndim == 3 && !naming->experts_apart ? 3 : 2;
      const uint64_t *dims = vector ? &shape[1] : ndim == 3 ? shape : &shape[1];
      if (arrays) {
        uint64_t cols = vector ? shard->stored_rows : shard->cols;
        arrays[*count] = (random_array){mxg_random_begin(seed, name, cols), NULL,
                                        vector ? 1 : shard->experts * shard->stored_rows, cols, 0};
        MXG_TRY(mxg_st_writer_add(writer, name, MXG_ST_BF16, ndim, dims, &indices[*count], err));
      }
      (*count)++;
    }
  }
  return MXG_OK;
}

static mxg_status fill_random(const mxg_model *model, uint64_t seed, mxg_st_writer *writer, unsigned threads,
                              void (*progress)(void *, uint64_t, uint64_t), void *user, mxg_arena *arena,
                              mxg_error *err) {
  uint32_t count = 0;
  MXG_TRY(list_arrays(NULL, &count, NULL, writer, model, seed, arena, err));
  random_array *arrays = mxg_arena_alloc(arena, count, sizeof *arrays);
  uint32_t *indices = mxg_arena_alloc(arena, count, sizeof *indices);
  if (!arrays || !indices) return mxg_fail_nomem(err);
  MXG_TRY(list_arrays(arrays, &count, indices, writer, model, seed, arena, err));
  MXG_TRY(mxg_st_writer_metadata(writer, "format", "pt", err));
  MXG_TRY(mxg_st_writer_layout(writer, err));
  uint64_t chunks = 0;
  for (uint32_t i = 0; i < count; i++) {
    arrays[i].data = mxg_st_writer_data(writer, indices[i]);
    arrays[i].first_chunk = chunks;
    chunks += (arrays[i].rows + rows_of_chunk(&arrays[i]) - 1) / rows_of_chunk(&arrays[i]);
  }
  random_job job = {arrays, count};
  return mxg_workers_run(fill_chunk, &job, chunks, threads, mxg_st_writer_file_bytes(writer), progress, user, err);
}

mxg_status mxg_original_write(const mxg_model *model, uint64_t seed, const char *folder, unsigned threads,
                              void (*progress)(void *user, uint64_t done_bytes, uint64_t all_bytes), void *user,
                              mxg_error *err) {
  char path[room];
  if (snprintf(path, sizeof path, "%s/model.safetensors", folder) >= room)
    return mxg_fail(err, MXG_ERR_INPUT, 911, "the output folder's name is too long");
  mxg_st_writer *writer = NULL;
  mxg_arena arena = {0};
  MXG_TRY(mxg_st_writer_create(&writer, path, err));
  mxg_status status = fill_random(model, seed, writer, threads, progress, user, &arena, err);
  if (status == MXG_OK) status = mxg_st_writer_commit(writer, err);
  mxg_st_writer_free(writer);
  mxg_arena_free(&arena);
  return status;
}
