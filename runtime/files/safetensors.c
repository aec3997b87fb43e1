/* safetensors.c -- reads safetensors: the header's table, all or nothing, then ranges of the data.
**
** Owns the rules of the format on the reading side. Grammar is json.c's, lookup names.c's, writing
** safetensors_write.c's. */
#include "safetensors.h"

#include "error.h"
#include "json.h"
#include "memory.h"
#include "names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { header_most = 100000000 };

static const struct {
  const char *name;
  unsigned bits;
} dtypes[MXG_ST_DTYPES] = {
    [MXG_ST_BOOL] = {"BOOL", 8},
    [MXG_ST_F4] = {"F4", 4},
    [MXG_ST_F6_E2M3] = {"F6_E2M3", 6},
    [MXG_ST_F6_E3M2] = {"F6_E3M2", 6},
    [MXG_ST_U8] = {"U8", 8},
    [MXG_ST_I8] = {"I8", 8},
    [MXG_ST_F8_E5M2] = {"F8_E5M2", 8},
    [MXG_ST_F8_E4M3] = {"F8_E4M3", 8},
    [MXG_ST_F8_E8M0] = {"F8_E8M0", 8},
    [MXG_ST_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [MXG_ST_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [MXG_ST_I16] = {"I16", 16},
    [MXG_ST_U16] = {"U16", 16},
    [MXG_ST_F16] = {"F16", 16},
    [MXG_ST_BF16] = {"BF16", 16},
    [MXG_ST_I32] = {"I32", 32},
    [MXG_ST_U32] = {"U32", 32},
    [MXG_ST_F32] = {"F32", 32},
    [MXG_ST_C64] = {"C64", 64},
    [MXG_ST_F64] = {"F64", 64},
    [MXG_ST_I64] = {"I64", 64},
    [MXG_ST_U64] = {"U64", 64},
};

typedef struct metadata {
  const char *key; /* first: names.h */
  const char *value;
} metadata;

struct mxg_st_file {
  char *path;
  int fd; /* -1: parsed from memory */
  char *header;
  uint64_t header_bytes, file_bytes;
  mxg_st_tensor *tensors;
  size_t tensor_count, tensor_capacity;
  uint64_t *dims; /* of all tensors; addresses are given out when it grows no more */
  size_t dim_count, dim_capacity;
  metadata *metadata;
  size_t metadata_count, metadata_capacity;
  mxg_names by_name, by_key;
  unsigned char *map;
};

const char *mxg_st_dtype_name(unsigned dtype) { return dtype < MXG_ST_DTYPES ? dtypes[dtype].name : "?"; }
unsigned mxg_st_dtype_bits(unsigned dtype) { return dtype < MXG_ST_DTYPES ? dtypes[dtype].bits : 0; }

mxg_st_shown mxg_st_show(const char *name) {
  mxg_st_shown shown;
  size_t count = 0;
  for (; name[count] && count + 4 < sizeof shown.text; count++) {
    unsigned char u = (unsigned char)name[count];
    shown.text[count] = (char)(u < 0x20 || u == 0x7f ? '?' : u);
  }
  if (name[count]) {
    while (count && ((unsigned char)name[count] & 0xc0) == 0x80) count--; /* not inside a character */
    memcpy(shown.text + count, "...", 3);
    count += 3;
  }
  shown.text[count] = 0;
  return shown;
}

/* ---- the header -------------------------------------------------------------------------------------------------- */

static mxg_status bad_json(const mxg_st_file *file, const mxg_json *json, mxg_error *err) {
  return mxg_fail(err, MXG_ERR_INPUT, 305, "%s, at byte %llu of the file",
                  json->why ? json->why : "the header is not what it must be",
                  (unsigned long long)(8 + (size_t)(json->at - file->header)));
}

static mxg_status read_metadata(mxg_st_file *file, mxg_json *json, mxg_error *err) {
  bool first = true, more;
  if (mxg_json_null(json)) return MXG_OK;
  if (!mxg_json_expect(json, '{')) return bad_json(file, json, err);
  for (;;) {
    if (!mxg_json_next(json, &first, '}', &more)) return bad_json(file, json, err);
    if (!more) return MXG_OK;
    metadata *item =
        mxg_vector_push((void **)&file->metadata, &file->metadata_count, &file->metadata_capacity, sizeof *item);
    if (!item) return mxg_fail_nomem(err);
    if (!mxg_json_key(json, &item->key)) return bad_json(file, json, err);
    if (mxg_json_peek(json) != '"')
      return mxg_fail(err, MXG_ERR_INPUT, 306, "__metadata__ holds something other than text under '%s'",
                      mxg_st_show(item->key).text);
    if (!mxg_json_string(json, &item->value)) return bad_json(file, json, err);
  }
}

static mxg_status read_dtype(mxg_st_tensor *tensor, const char *text, mxg_error *err) {
  for (tensor->dtype = 0; tensor->dtype < MXG_ST_DTYPES; tensor->dtype++)
    if (strcmp(dtypes[tensor->dtype].name, text) == 0) break;
  if (tensor->dtype == MXG_ST_F8_E4M3FNUZ || tensor->dtype == MXG_ST_F8_E5M2FNUZ) {
    mxg_status status = mxg_fail(err, MXG_ERR_INPUT, 308, "tensor '%s' has dtype %s, which is not an OCP MX element",
                                 mxg_st_show(tensor->name).text, text);
    mxg_error_help(err, "convert it to %s first; the same bytes mean other values there",
                   tensor->dtype == MXG_ST_F8_E4M3FNUZ ? "F8_E4M3" : "F8_E5M2");
    return status;
  }
  if (tensor->dtype == MXG_ST_DTYPES)
    return mxg_fail(err, MXG_ERR_INPUT, 307, "tensor '%s' has the unknown dtype '%s'", mxg_st_show(tensor->name).text,
                    mxg_st_show(text).text);
  return MXG_OK;
}

static mxg_status read_shape(mxg_st_file *file, mxg_st_tensor *tensor, mxg_json *json, mxg_error *err) {
  bool first = true, more;
  if (!mxg_json_expect(json, '[')) return bad_json(file, json, err);
  for (tensor->ndim = 0;; tensor->ndim++) {
    if (!mxg_json_next(json, &first, ']', &more)) return bad_json(file, json, err);
    if (!more) return MXG_OK;
    uint64_t *dim = mxg_vector_push((void **)&file->dims, &file->dim_count, &file->dim_capacity, sizeof *dim);
    if (!dim) return mxg_fail_nomem(err);
    if (!mxg_json_u64(json, dim)) return bad_json(file, json, err);
  }
}

/* What must be true of one tensor by itself. */
static mxg_status check_tensor(const mxg_st_tensor *tensor, const uint64_t *shape, uint64_t begin, uint64_t end,
                               mxg_error *err) {
  uint64_t elems = 1, bits = 0;
  bool fits = true;
  for (uint32_t i = 0; i < tensor->ndim; i++) fits = fits && mxg_mul(&elems, elems, shape[i]);
  /* An overflow is an error even where a later 0 would hide it: the reference multiplies in the same order. */
  if (!fits || !mxg_mul(&bits, elems, dtypes[tensor->dtype].bits))
    return mxg_fail(err, MXG_ERR_INPUT, 311, "the shape of tensor '%s' has more than 2^64 bits",
                    mxg_st_show(tensor->name).text);
  if (bits % 8 != 0)
    return mxg_fail(err, MXG_ERR_INPUT, 311, "tensor '%s' does not end at a whole byte",
                    mxg_st_show(tensor->name).text);
  if (begin > end)
    return mxg_fail(err, MXG_ERR_INPUT, 310, "tensor '%s' ends at %llu, before it begins at %llu",
                    mxg_st_show(tensor->name).text, (unsigned long long)end, (unsigned long long)begin);
  if (end - begin != bits / 8)
    return mxg_fail(err, MXG_ERR_INPUT, 311, "tensor '%s' has %llu bytes, its shape and dtype %s need %llu",
                    mxg_st_show(tensor->name).text, (unsigned long long)(end - begin), dtypes[tensor->dtype].name,
                    (unsigned long long)(bits / 8));
  return MXG_OK;
}

static mxg_status read_tensor(mxg_st_file *file, const char *name, mxg_json *json, mxg_error *err) {
  mxg_st_tensor *tensor =
      mxg_vector_push((void **)&file->tensors, &file->tensor_count, &file->tensor_capacity, sizeof *tensor);
  if (!tensor) return mxg_fail_nomem(err);
  tensor->name = name;
  size_t first_dim = file->dim_count;
  const char *dtype = NULL;
  uint64_t begin = 0, end = 0;
  bool first = true, more, has_shape = false, has_offsets = false;
  if (!mxg_json_expect(json, '{')) return bad_json(file, json, err);
  for (;;) {
    const char *key;
    if (!mxg_json_next(json, &first, '}', &more)) return bad_json(file, json, err);
    if (!more) break;
    if (!mxg_json_key(json, &key)) return bad_json(file, json, err);
    bool is_dtype = strcmp(key, "dtype") == 0, is_shape = strcmp(key, "shape") == 0;
    bool is_offsets = strcmp(key, "data_offsets") == 0;
    if ((is_dtype && dtype) || (is_shape && has_shape) || (is_offsets && has_offsets))
      return mxg_fail(err, MXG_ERR_INPUT, 309, "tensor '%s' has the key '%s' twice", mxg_st_show(name).text, key);
    if (is_dtype) {
      if (!mxg_json_string(json, &dtype)) return bad_json(file, json, err);
    } else if (is_shape) {
      has_shape = true;
      MXG_TRY(read_shape(file, tensor, json, err));
    } else if (is_offsets) {
      has_offsets = true;
      if (!mxg_json_expect(json, '[') || !mxg_json_u64(json, &begin) || !mxg_json_expect(json, ',') ||
          !mxg_json_u64(json, &end) || !mxg_json_expect(json, ']'))
        return bad_json(file, json, err);
    } else if (!mxg_json_skip(json)) { /* the reference ignores keys that it does not know */
      return bad_json(file, json, err);
    }
  }
  const char *missing = !dtype ? "dtype" : !has_shape ? "shape" : !has_offsets ? "data_offsets" : NULL;
  if (missing) return mxg_fail(err, MXG_ERR_INPUT, 306, "tensor '%s' has no '%s'", mxg_st_show(name).text, missing);
  MXG_TRY(read_dtype(tensor, dtype, err));
  MXG_TRY(check_tensor(tensor, file->dims + first_dim, begin, end, err));
  tensor->offset = begin;
  tensor->bytes = end - begin;
  return MXG_OK;
}

static int by_offset(const void *a, const void *b) {
  const mxg_st_tensor *x = a, *y = b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1; /* empty ones before the one that begins there */
  return strcmp(x->name, y->name);
}

/* What must be true of all tensors together. Offsets become offsets into the file. */
static mxg_status check_table(mxg_st_file *file, mxg_error *err) {
  if (file->tensor_count > INT32_MAX || file->metadata_count > INT32_MAX)
    return mxg_fail(err, MXG_ERR_INPUT, 306, "the header lists more than 2^31 entries");
  uint64_t *dims = file->dims + 1;
  for (size_t i = 0; i < file->tensor_count; i++) { /* still in the header's order, as the dimensions are */
    file->tensors[i].shape = dims;
    dims += file->tensors[i].ndim;
  }
  if (file->tensor_count) qsort(file->tensors, file->tensor_count, sizeof *file->tensors, by_offset);
  uint64_t data = 8 + file->header_bytes, at = 0;
  for (size_t i = 0; i < file->tensor_count; i++) {
    mxg_st_tensor *tensor = &file->tensors[i];
    if (tensor->offset != at)
      return mxg_fail(err, MXG_ERR_INPUT, 310, "%s: tensor '%s' begins at %llu, the data before it ends at %llu",
                      tensor->offset < at ? "two tensors overlap" : "bytes that belong to no tensor",
                      mxg_st_show(tensor->name).text, (unsigned long long)tensor->offset, (unsigned long long)at);
    at += tensor->bytes; /* == its end, which fitted 64 bits */
    tensor->offset += data;
  }
  uint64_t end;
  if (!mxg_add(&end, at, data) || end != file->file_bytes)
    return mxg_fail(err, MXG_ERR_INPUT, 312, "the file has %llu bytes after its header, the tensors need %llu",
                    (unsigned long long)(file->file_bytes - data), (unsigned long long)at);
  uint64_t seed = XXH3_64bits(file->header, (size_t)file->header_bytes);
  int nomem, nomem_keys;
  uint32_t twice =
      mxg_names_build(&file->by_name, file->tensors, sizeof *file->tensors, (uint32_t)file->tensor_count, seed, &nomem);
  uint32_t key_twice = mxg_names_build(&file->by_key, file->metadata, sizeof *file->metadata,
                                       (uint32_t)file->metadata_count, seed, &nomem_keys);
  if (nomem || nomem_keys) return mxg_fail_nomem(err);
  if (twice != MXG_NAMES_ABSENT)
    return mxg_fail(err, MXG_ERR_INPUT, 309, "tensor '%s' is listed twice",
                    mxg_st_show(file->tensors[twice].name).text);
  if (key_twice != MXG_NAMES_ABSENT)
    return mxg_fail(err, MXG_ERR_INPUT, 309, "__metadata__ has the key '%s' twice",
                    mxg_st_show(file->metadata[key_twice].key).text);
  return MXG_OK;
}

static mxg_status read_header(mxg_st_file *file, mxg_error *err) {
  mxg_json json;
  mxg_json_begin(&json, file->header, (size_t)file->header_bytes);
  if (file->header_bytes == 0 || file->header[0] != '{')
    return mxg_fail(err, MXG_ERR_INPUT, 305, "the header does not begin with '{'");
  bool first = true, more, has_metadata = false;
  /* One unused dimension, so that the list is somewhere even when all tensors are scalars. */
  if (!mxg_vector_push((void **)&file->dims, &file->dim_count, &file->dim_capacity, sizeof *file->dims))
    return mxg_fail_nomem(err);
  mxg_json_expect(&json, '{');
  for (;;) {
    const char *key;
    if (!mxg_json_next(&json, &first, '}', &more)) return bad_json(file, &json, err);
    if (!more) break;
    if (!mxg_json_key(&json, &key)) return bad_json(file, &json, err);
    if (strcmp(key, "__metadata__") != 0) {
      MXG_TRY(read_tensor(file, key, &json, err));
    } else if (has_metadata) {
      return mxg_fail(err, MXG_ERR_INPUT, 309, "__metadata__ is there twice");
    } else {
      has_metadata = true;
      MXG_TRY(read_metadata(file, &json, err));
    }
  }
  if (!mxg_json_end(&json)) return bad_json(file, &json, err);
  return check_table(file, err);
}

/* The first eight bytes: the header's length, believed only when the file can hold it. */
static mxg_status check_length(mxg_st_file *file, const unsigned char first[8], mxg_error *err) {
  uint64_t count = 0;
  for (int i = 7; i >= 0; i--) count = count << 8 | first[i];
  if (count > header_most)
    return mxg_fail(err, MXG_ERR_INPUT, 304, "the header claims %llu bytes, more than the limit of 100000000",
                    (unsigned long long)count);
  if (count > file->file_bytes - 8)
    return mxg_fail(err, MXG_ERR_INPUT, 304, "the header claims %llu bytes, the file has only %llu after its length",
                    (unsigned long long)count, (unsigned long long)(file->file_bytes - 8));
  file->header_bytes = count;
  file->header = mxg_alloc((size_t)count + 1);
  return file->header ? MXG_OK : mxg_fail_nomem(err);
}

static mxg_status too_small(const mxg_st_file *file, mxg_error *err) {
  return mxg_fail(err, MXG_ERR_INPUT, 303, "%llu bytes are too few for a safetensors file",
                  (unsigned long long)file->file_bytes);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static mxg_st_file *file_create(const char *path) {
  mxg_st_file *file = mxg_alloc(sizeof *file);
  if (!file) return NULL;
  file->fd = -1;
  file->path = mxg_alloc(strlen(path) + 1);
  if (!file->path) {
    mxg_free(file);
    return NULL;
  }
  memcpy(file->path, path, strlen(path) + 1);
  return file;
}

static mxg_status pread_all(const mxg_st_file *file, void *dst, uint64_t bytes, uint64_t offset, mxg_error *err) {
  unsigned char *to = dst;
  while (bytes) {
    size_t step = bytes < (1u << 30) ? (size_t)bytes : (size_t)1 << 30;
    ssize_t got = pread(file->fd, to, step, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      mxg_status status = mxg_fail(err, MXG_ERR_IO, 301, "cannot read: %s", strerror(errno));
      if (err) err->native = errno;
      return status;
    }
    if (got == 0) return mxg_fail(err, MXG_ERR_IO, 313, "the file became shorter while it was read");
    to += got;
    bytes -= (uint64_t)got;
    offset += (uint64_t)got;
  }
  return MXG_OK;
}

static mxg_status open_regular(mxg_st_file *file, mxg_error *err) {
  /* O_NONBLOCK: a FIFO without a writer must not hang the open. */
  file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info;
  if (file->fd < 0 || fstat(file->fd, &info) != 0) {
    int number = errno;
    mxg_status status = mxg_fail(err, MXG_ERR_IO, 301, "cannot open: %s", strerror(number));
    if (err) err->native = number;
    return status;
  }
  if (!S_ISREG(info.st_mode)) return mxg_fail(err, MXG_ERR_INPUT, 302, "this is not a regular file");
  file->file_bytes = (uint64_t)info.st_size;
  return MXG_OK;
}

static mxg_status open_file(mxg_st_file *file, mxg_error *err) {
  unsigned char first[8];
  MXG_TRY(open_regular(file, err));
  if (file->file_bytes < 8) return too_small(file, err);
  MXG_TRY(pread_all(file, first, 8, 0, err));
  MXG_TRY(check_length(file, first, err));
  MXG_TRY(pread_all(file, file->header, file->header_bytes, 8, err));
  return read_header(file, err);
}

static mxg_status parse_file(mxg_st_file *file, const void *bytes, size_t count, uint64_t file_bytes, mxg_error *err) {
  file->file_bytes = file_bytes;
  if (count < 8 || file_bytes < 8) return too_small(file, err);
  MXG_TRY(check_length(file, bytes, err));
  if (count - 8 < file->header_bytes)
    return mxg_fail(err, MXG_ERR_INPUT, 304, "only %llu bytes of the header are there",
                    (unsigned long long)(count - 8));
  memcpy(file->header, (const char *)bytes + 8, (size_t)file->header_bytes);
  return read_header(file, err);
}

static mxg_status finish(mxg_st_file **out, mxg_st_file *file, mxg_status status, mxg_error *err) {
  if (status == MXG_OK) {
    *out = file;
    return MXG_OK;
  }
  if (status != MXG_ERR_NOMEM) mxg_error_place(err, file->path, 0, 0, 0);
  mxg_st_close(file);
  return status;
}

mxg_status mxg_st_open(mxg_st_file **out, const char *path, mxg_error *err) {
  *out = NULL;
  mxg_st_file *file = file_create(path);
  if (!file) return mxg_fail_nomem(err);
  return finish(out, file, open_file(file, err), err);
}

mxg_status mxg_st_parse(mxg_st_file **out, const void *bytes, size_t count, uint64_t file_bytes, const char *name,
                        mxg_error *err) {
  *out = NULL;
  mxg_st_file *file = file_create(name);
  if (!file) return mxg_fail_nomem(err);
  return finish(out, file, parse_file(file, bytes, count, file_bytes, err), err);
}

void mxg_st_close(mxg_st_file *file) {
  if (!file) return;
  if (file->map) munmap(file->map, (size_t)file->file_bytes);
  if (file->fd >= 0) close(file->fd);
  mxg_names_free(&file->by_name);
  mxg_names_free(&file->by_key);
  mxg_free(file->tensors);
  mxg_free(file->dims);
  mxg_free(file->metadata);
  mxg_free(file->header);
  mxg_free(file->path);
  mxg_free(file);
}

const char *mxg_st_path(const mxg_st_file *file) { return file->path; }
uint32_t mxg_st_count(const mxg_st_file *file) { return (uint32_t)file->tensor_count; }
const mxg_st_tensor *mxg_st_at(const mxg_st_file *file, uint32_t i) { return &file->tensors[i]; }
uint32_t mxg_st_metadata_count(const mxg_st_file *file) { return (uint32_t)file->metadata_count; }
uint64_t mxg_st_file_bytes(const mxg_st_file *file) { return file->file_bytes; }

const mxg_st_tensor *mxg_st_find(const mxg_st_file *file, const char *name) {
  uint32_t i = mxg_names_find(&file->by_name, name);
  return i == MXG_NAMES_ABSENT ? NULL : &file->tensors[i];
}

const char *mxg_st_metadata(const mxg_st_file *file, const char *key) {
  uint32_t i = mxg_names_find(&file->by_key, key);
  return i == MXG_NAMES_ABSENT ? NULL : file->metadata[i].value;
}

void mxg_st_metadata_at(const mxg_st_file *file, uint32_t i, const char **key, const char **value) {
  *key = file->metadata[i].key;
  *value = file->metadata[i].value;
}

mxg_status mxg_st_read(const mxg_st_file *file, const mxg_st_tensor *tensor, uint64_t first, uint64_t bytes, void *dst,
                       mxg_error *err) {
  mxg_status status;
  if (file->fd < 0)
    status = mxg_fail(err, MXG_ERR_USAGE, 313, "a header parsed from memory has no data to read");
  else if (first > tensor->bytes || bytes > tensor->bytes - first)
    status = mxg_fail(err, MXG_ERR_USAGE, 313, "bytes %llu to %llu are outside tensor '%s'", (unsigned long long)first,
                      (unsigned long long)(first + bytes), mxg_st_show(tensor->name).text);
  else
    status = pread_all(file, dst, bytes, tensor->offset + first, err);
  if (status != MXG_OK) mxg_error_place(err, file->path, 0, 0, 0);
  return status;
}

mxg_status mxg_st_map(mxg_st_file *file, const unsigned char **out, mxg_error *err) {
  *out = NULL;
  struct stat info;
  mxg_status status = MXG_OK;
  if (file->fd < 0) {
    status = mxg_fail(err, MXG_ERR_USAGE, 313, "a header parsed from memory has no data to map");
  } else if (fstat(file->fd, &info) != 0 || (uint64_t)info.st_size < file->file_bytes) {
    status = mxg_fail(err, MXG_ERR_IO, 313, "the file became shorter since its header was read");
  } else if (!file->map) {
    void *map = mmap(NULL, (size_t)file->file_bytes, PROT_READ, MAP_SHARED, file->fd, 0);
    if (map != MAP_FAILED) {
      file->map = map;
    } else {
      int number = errno;
      status = mxg_fail(err, MXG_ERR_IO, 301, "cannot map: %s", strerror(number));
      if (err) err->native = number;
    }
  }
  if (status == MXG_OK)
    *out = file->map;
  else
    mxg_error_place(err, file->path, 0, 0, 0);
  return status;
}
