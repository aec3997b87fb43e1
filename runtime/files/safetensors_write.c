/* safetensors_write.c -- writes safetensors: declare, lay out, fill in mapped memory, commit.
**
** Owns the order and the header of what we write: descending dtype, then name; metadata by key; header padded with
** spaces so that data begins at a multiple of 64. Temporary files are temporary.c's. */
#include "safetensors.h"

#include "error.h"
#include "json.h"
#include "memory.h"
#include "names.h"
#include "temporary.h"
#include "text.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { header_most = 100000000, data_align = 64 };

typedef struct declared {
  const char *name; /* first: names.h */
  const uint64_t *shape;
  unsigned dtype, ndim;
  uint64_t bytes, offset; /* from the start of the data, after layout */
} declared;

typedef struct pair {
  const char *key; /* first: names.h */
  const char *value;
} pair;

struct mxg_st_writer {
  char *path;
  mxg_arena arena; /* names, shapes */
  declared *tensors;
  size_t tensor_count, tensor_capacity;
  pair *metadata;
  size_t metadata_count, metadata_capacity;
  mxg_temporary temporary;
  unsigned char *map;
  uint64_t data_offset, file_bytes;
};

static mxg_status placed(const mxg_st_writer *writer, mxg_status status, mxg_error *err) {
  if (status != MXG_OK && status != MXG_ERR_NOMEM) mxg_error_place(err, writer->path, 0, 0, 0);
  return status;
}

mxg_status mxg_st_writer_create(mxg_st_writer **out, const char *path, mxg_error *err) {
  *out = NULL;
  mxg_st_writer *writer = mxg_alloc(sizeof *writer);
  if (!writer) return mxg_fail_nomem(err);
  writer->temporary = (mxg_temporary){-1, -1};
  writer->path = mxg_alloc(strlen(path) + 1);
  if (!writer->path) {
    mxg_free(writer);
    return mxg_fail_nomem(err);
  }
  memcpy(writer->path, path, strlen(path) + 1);
  *out = writer;
  return MXG_OK;
}

static mxg_status add(mxg_st_writer *writer, declared *tensor, const char *name, unsigned ndim, const uint64_t *shape,
                      mxg_error *err) {
  if (!mxg_utf8_valid(name, strlen(name)) || strcmp(name, "__metadata__") == 0)
    return mxg_fail(err, MXG_ERR_USAGE, 316, "'%s' cannot be a tensor's name", mxg_st_show(name).text);
  uint64_t elems = 1, bits;
  bool fits = true;
  for (unsigned i = 0; i < ndim; i++) fits = fits && mxg_mul(&elems, elems, shape[i]);
  if (!fits || !mxg_mul(&bits, elems, mxg_st_dtype_bits(tensor->dtype)) || bits % 8)
    return mxg_fail(err, MXG_ERR_USAGE, 311, "tensor '%s' is too large or does not end at a whole byte",
                    mxg_st_show(name).text);
  uint64_t *dims = mxg_arena_alloc(&writer->arena, ndim, sizeof *dims);
  tensor->name = mxg_arena_text(&writer->arena, name, strlen(name));
  if (!dims || !tensor->name) return mxg_fail_nomem(err);
  if (ndim) memcpy(dims, shape, ndim * sizeof *dims);
  tensor->shape = dims;
  tensor->ndim = ndim;
  tensor->bytes = bits / 8;
  return MXG_OK;
}

mxg_status mxg_st_writer_add(mxg_st_writer *writer, const char *name, unsigned dtype, unsigned ndim,
                             const uint64_t *shape, uint32_t *index, mxg_error *err) {
  assert(!writer->map && dtype < MXG_ST_DTYPES);
  declared tensor = {.dtype = dtype};
  MXG_TRY(placed(writer, add(writer, &tensor, name, ndim, shape, err), err));
  if (writer->tensor_count == INT32_MAX)
    return placed(writer, mxg_fail(err, MXG_ERR_USAGE, 316, "more than 2^31 tensors in one file"), err);
  declared *slot =
      mxg_vector_push((void **)&writer->tensors, &writer->tensor_count, &writer->tensor_capacity, sizeof *slot);
  if (!slot) return mxg_fail_nomem(err);
  *slot = tensor;
  if (index) *index = (uint32_t)(writer->tensor_count - 1);
  return MXG_OK;
}

mxg_status mxg_st_writer_metadata(mxg_st_writer *writer, const char *key, const char *value, mxg_error *err) {
  assert(!writer->map);
  if (!mxg_utf8_valid(key, strlen(key)) || !mxg_utf8_valid(value, strlen(value)))
    return placed(writer, mxg_fail(err, MXG_ERR_USAGE, 316, "metadata must be UTF-8"), err);
  pair item = {mxg_arena_text(&writer->arena, key, strlen(key)), mxg_arena_text(&writer->arena, value, strlen(value))};
  if (!item.key || !item.value) return mxg_fail_nomem(err);
  pair *slot =
      mxg_vector_push((void **)&writer->metadata, &writer->metadata_count, &writer->metadata_capacity, sizeof *slot);
  if (!slot) return mxg_fail_nomem(err);
  *slot = item;
  return MXG_OK;
}

/* ---- layout ------------------------------------------------------------------------------------------------------ */

static int by_dtype_and_name(const void *a, const void *b) {
  const declared *const *x = a, *const *y = b;
  if ((*x)->dtype != (*y)->dtype) return (*x)->dtype > (*y)->dtype ? -1 : 1;
  return strcmp((*x)->name, (*y)->name);
}

static int by_key(const void *a, const void *b) {
  const pair *x = a, *y = b;
  return strcmp(x->key, y->key);
}

static void print_tensor(mxg_text *text, const declared *tensor) {
  mxg_text_json(text, tensor->name);
  mxg_text_format(text, ":{\"dtype\":\"%s\",\"shape\":[", mxg_st_dtype_name(tensor->dtype));
  for (unsigned i = 0; i < tensor->ndim; i++)
    mxg_text_format(text, "%s%llu", i ? "," : "", (unsigned long long)tensor->shape[i]);
  mxg_text_format(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)tensor->offset,
                  (unsigned long long)(tensor->offset + tensor->bytes));
}

static void print_header(mxg_text *text, const mxg_st_writer *writer, declared *const *order) {
  mxg_text_puts(text, "{");
  if (writer->metadata_count) mxg_text_puts(text, "\"__metadata__\":{");
  for (size_t i = 0; i < writer->metadata_count; i++) {
    if (i) mxg_text_puts(text, ",");
    mxg_text_json(text, writer->metadata[i].key);
    mxg_text_puts(text, ":");
    mxg_text_json(text, writer->metadata[i].value);
  }
  if (writer->metadata_count) mxg_text_puts(text, writer->tensor_count ? "}," : "}");
  for (size_t i = 0; i < writer->tensor_count; i++) {
    if (i) mxg_text_puts(text, ",");
    print_tensor(text, order[i]);
  }
  mxg_text_puts(text, "}");
  while (!text->failed && (8 + text->count) % data_align) mxg_text_puts(text, " ");
}

static mxg_status check_names(const mxg_st_writer *writer, mxg_error *err) {
  mxg_names names, keys;
  int nomem, nomem_keys;
  uint32_t twice =
      mxg_names_build(&names, writer->tensors, sizeof *writer->tensors, (uint32_t)writer->tensor_count, 0, &nomem);
  uint32_t key_twice = mxg_names_build(&keys, writer->metadata, sizeof *writer->metadata,
                                       (uint32_t)writer->metadata_count, 0, &nomem_keys);
  mxg_names_free(&names);
  mxg_names_free(&keys);
  if (nomem || nomem_keys) return mxg_fail_nomem(err);
  if (twice != MXG_NAMES_ABSENT)
    return mxg_fail(err, MXG_ERR_USAGE, 309, "tensor '%s' is written twice",
                    mxg_st_show(writer->tensors[twice].name).text);
  if (key_twice != MXG_NAMES_ABSENT)
    return mxg_fail(err, MXG_ERR_USAGE, 309, "metadata has the key '%s' twice",
                    mxg_st_show(writer->metadata[key_twice].key).text);
  return MXG_OK;
}

static mxg_status make_header(mxg_st_writer *writer, mxg_text *header, mxg_error *err) {
  MXG_TRY(check_names(writer, err));
  declared **order = mxg_alloc(writer->tensor_count * sizeof(declared *));
  if (!order) return mxg_fail_nomem(err);
  for (size_t i = 0; i < writer->tensor_count; i++) order[i] = &writer->tensors[i];
  qsort(order, writer->tensor_count, sizeof *order, by_dtype_and_name);
  if (writer->metadata_count) qsort(writer->metadata, writer->metadata_count, sizeof *writer->metadata, by_key);
  uint64_t at = 0;
  bool fits = true;
  for (size_t i = 0; i < writer->tensor_count; i++) {
    order[i]->offset = at;
    fits = fits && mxg_add(&at, at, order[i]->bytes);
  }
  print_header(header, writer, order);
  mxg_free(order);
  if (header->failed) return mxg_fail_nomem(err);
  if (header->count > header_most)
    return mxg_fail(err, MXG_ERR_USAGE, 304, "the header would have %llu bytes, more than the limit of 100000000",
                    (unsigned long long)header->count);
  writer->data_offset = 8 + header->count;
  if (!fits || !mxg_add(&writer->file_bytes, at, writer->data_offset) || writer->file_bytes > INT64_MAX)
    return mxg_fail(err, MXG_ERR_USAGE, 311, "the tensors together have more than 2^63 bytes");
  return MXG_OK;
}

static mxg_status fail_errno(mxg_error *err, const char *what, int number) {
  mxg_status status = mxg_fail(err, MXG_ERR_IO, 314, "%s: %s", what, strerror(number));
  if (err) err->native = number;
  return status;
}

static mxg_status reserve_and_map(mxg_st_writer *writer, mxg_error *err) {
  int number;
  do number = posix_fallocate(writer->temporary.fd, 0, (off_t)writer->file_bytes);
  while (number == EINTR);
  if (number) {
    mxg_status status = fail_errno(err, "cannot reserve the space", number);
    mxg_text need = {0};
    mxg_text_size(&need, writer->file_bytes);
    if (!need.failed)
      mxg_error_note(err, "the file needs %llu bytes (%s)", (unsigned long long)writer->file_bytes, need.bytes);
    mxg_text_free(&need);
    return status;
  }
  void *map = mmap(NULL, (size_t)writer->file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, writer->temporary.fd, 0);
  if (map == MAP_FAILED) return fail_errno(err, "cannot map the new file", errno);
  writer->map = map;
  return MXG_OK;
}

static mxg_status layout(mxg_st_writer *writer, mxg_text *header, mxg_error *err) {
  MXG_TRY(make_header(writer, header, err));
  MXG_TRY(mxg_temporary_open(&writer->temporary, writer->path, err));
  mxg_status status = reserve_and_map(writer, err);
  if (status != MXG_OK) {
    mxg_temporary_abort(&writer->temporary);
    return status;
  }
  for (int i = 0; i < 8; i++) writer->map[i] = (unsigned char)((uint64_t)header->count >> (8 * i));
  memcpy(writer->map + 8, header->bytes, header->count);
  return MXG_OK;
}

mxg_status mxg_st_writer_layout(mxg_st_writer *writer, mxg_error *err) {
  assert(!writer->map);
  mxg_text header = {0};
  mxg_status status = placed(writer, layout(writer, &header, err), err);
  mxg_text_free(&header);
  return status;
}

void *mxg_st_writer_data(mxg_st_writer *writer, uint32_t index) {
  assert(writer->map && index < writer->tensor_count);
  return writer->map + writer->data_offset + writer->tensors[index].offset;
}

uint64_t mxg_st_writer_bytes(const mxg_st_writer *writer, uint32_t index) { return writer->tensors[index].bytes; }
uint64_t mxg_st_writer_file_bytes(const mxg_st_writer *writer) { return writer->file_bytes; }

mxg_status mxg_st_writer_commit(mxg_st_writer *writer, mxg_error *err) {
  assert(writer->map);
  munmap(writer->map, (size_t)writer->file_bytes);
  writer->map = NULL;
  return placed(writer, mxg_temporary_commit(&writer->temporary, writer->path, err), err);
}

void mxg_st_writer_free(mxg_st_writer *writer) {
  if (!writer) return;
  if (writer->map) munmap(writer->map, (size_t)writer->file_bytes);
  mxg_temporary_abort(&writer->temporary);
  mxg_arena_free(&writer->arena);
  mxg_free(writer->tensors);
  mxg_free(writer->metadata);
  mxg_free(writer->path);
  mxg_free(writer);
}
