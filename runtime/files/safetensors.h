/* safetensors.h -- read and write safetensors files, exactly by the format's rules. A folder of them: checkpoint.h.
**
** Reading: everything a header says is checked before anything is allocated for it or read through it: the header is at
** most 100,000,000 bytes and fits the file, tensors are gap-free and overlap-free and exactly as large as shape and
** dtype say, and the file ends with the last one. Values are never checked. Nothing is promised about alignment.
** Writing: a file appears under its name only when it is complete and on disk.
** Threads: an open file is immutable and may be read from many threads. A writer's data may be filled from many. */
#ifndef MXG_SAFETENSORS_H
#define MXG_SAFETENSORS_H

#include "mxrt.h"

/* In the order of the format's reference: files are laid out by descending dtype. */
typedef enum mxg_st_dtype {
  MXG_ST_BOOL,
  MXG_ST_F4,
  MXG_ST_F6_E2M3,
  MXG_ST_F6_E3M2,
  MXG_ST_U8,
  MXG_ST_I8,
  MXG_ST_F8_E5M2,
  MXG_ST_F8_E4M3,
  MXG_ST_F8_E8M0,
  MXG_ST_F8_E4M3FNUZ, /* these two are known only to be refused by name */
  MXG_ST_F8_E5M2FNUZ,
  MXG_ST_I16,
  MXG_ST_U16,
  MXG_ST_F16,
  MXG_ST_BF16,
  MXG_ST_I32,
  MXG_ST_U32,
  MXG_ST_F32,
  MXG_ST_C64,
  MXG_ST_F64,
  MXG_ST_I64,
  MXG_ST_U64,
  MXG_ST_DTYPES
} mxg_st_dtype;

const char *mxg_st_dtype_name(unsigned dtype); /* "F8_E4M3" */
unsigned mxg_st_dtype_bits(unsigned dtype);
/* A name that may hold anything, for one line of a diagnostic: control bytes become '?', long ones are cut. */
typedef struct mxg_st_shown {
  char text[128];
} mxg_st_shown;
mxg_st_shown mxg_st_show(const char *name);

/* ---- read -------------------------------------------------------------------------------------------------------- */

typedef struct mxg_st_tensor {
  const char *name; /* first: names.h indexes these records */
  const uint64_t *shape;
  uint32_t dtype;  /* mxg_st_dtype */
  uint32_t ndim;   /* 0: a scalar, one element */
  uint64_t offset; /* from the start of the file */
  uint64_t bytes;
} mxg_st_tensor;

typedef struct mxg_st_file mxg_st_file;

/* Opens a regular file (a FIFO, device or folder is refused at once) and reads its header. Keeps a descriptor. */
mxg_status mxg_st_open(mxg_st_file **out, const char *path, mxg_error *err);
/* The same over memory that holds the first `count` bytes of a file of `file_bytes`; copied. `name` stands for the path
** in errors. Such a file has a table and no data: mxg_st_read and mxg_st_map refuse it. */
mxg_status mxg_st_parse(mxg_st_file **out, const void *bytes, size_t count, uint64_t file_bytes, const char *name,
                        mxg_error *err);
void mxg_st_close(mxg_st_file *file);

const char *mxg_st_path(const mxg_st_file *file);
uint32_t mxg_st_count(const mxg_st_file *file);
const mxg_st_tensor *mxg_st_at(const mxg_st_file *file, uint32_t i); /* by offset; i < count */
const mxg_st_tensor *mxg_st_find(const mxg_st_file *file, const char *name);
const char *mxg_st_metadata(const mxg_st_file *file, const char *key); /* or NULL */
uint32_t mxg_st_metadata_count(const mxg_st_file *file);
void mxg_st_metadata_at(const mxg_st_file *file, uint32_t i, const char **key, const char **value);
uint64_t mxg_st_file_bytes(const mxg_st_file *file);

/* Bytes [first, first + bytes) of a tensor into dst, with pread. A file that shrank is an error. */
mxg_status mxg_st_read(const mxg_st_file *file, const mxg_st_tensor *tensor, uint64_t first, uint64_t bytes, void *dst,
                       mxg_error *err);
/* The address of byte 0 of the file, read-only and shared, mapped once and kept until close; a tensor lies at + offset.
** The size is checked again here. A file that another process cuts later gives SIGBUS on access: a program that maps
** files of others installs a handler, or uses mxg_st_read. Not from two threads at once. */
mxg_status mxg_st_map(mxg_st_file *file, const unsigned char **out, mxg_error *err);

/* ---- write: safetensors_write.c ------------------------------------------------------------------------------------
**
** create, add tensors and metadata, layout, fill, commit, free. free without a commit removes everything. */

typedef struct mxg_st_writer mxg_st_writer;

mxg_status mxg_st_writer_create(mxg_st_writer **out, const char *path, mxg_error *err);
/* *index (may be NULL) names the tensor in later calls. Data need not be added in any order. */
mxg_status mxg_st_writer_add(mxg_st_writer *writer, const char *name, unsigned dtype, unsigned ndim,
                             const uint64_t *shape, uint32_t *index, mxg_error *err);
mxg_status mxg_st_writer_metadata(mxg_st_writer *writer, const char *key, const char *value, mxg_error *err);
/* Fixes the header, makes a temporary file beside `path`, reserves every byte of it on the disk, so that a full disk is
** an error here and never a signal later, writes the header and maps the data. Contents are zero. Data begins at a
** multiple of 64. */
mxg_status mxg_st_writer_layout(mxg_st_writer *writer, mxg_error *err);
void *mxg_st_writer_data(mxg_st_writer *writer, uint32_t index); /* after layout; never NULL */
uint64_t mxg_st_writer_bytes(const mxg_st_writer *writer, uint32_t index);
uint64_t mxg_st_writer_file_bytes(const mxg_st_writer *writer); /* after layout */
/* To the disk, then under its name. The writer's data is gone after a commit that succeeds. */
mxg_status mxg_st_writer_commit(mxg_st_writer *writer, mxg_error *err);
void mxg_st_writer_free(mxg_st_writer *writer);

#endif
