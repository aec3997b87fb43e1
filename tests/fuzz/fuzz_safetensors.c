/* fuzz_safetensors.c -- any bytes as a safetensors file: refused, or a table that is consistent with itself.
**
** The input is the whole file. Saved inputs lie in corpus/safetensors; the driver runs them as a plain test. */
#include "safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t count);

static void must(bool condition) {
  if (!condition) abort();
}

static void check_table(const mxg_st_file *file, size_t count) {
  uint64_t at = mxg_st_count(file) ? mxg_st_at(file, 0)->offset : count;
  must(at >= 8 && at <= count);
  for (uint32_t i = 0; i < mxg_st_count(file); i++) {
    const mxg_st_tensor *tensor = mxg_st_at(file, i);
    must(tensor->offset == at && tensor->bytes <= count - at);
    at += tensor->bytes;
    uint64_t bits = mxg_st_dtype_bits(tensor->dtype);
    must(bits != 0);
    for (uint32_t k = 0; k < tensor->ndim; k++) bits *= tensor->shape[k]; /* fits: the reader has checked */
    must(bits == tensor->bytes * 8);
    must(mxg_st_find(file, tensor->name) == tensor);
    must(strlen(mxg_st_show(tensor->name).text) < sizeof(mxg_st_shown));
  }
  must(at == count);
  for (uint32_t i = 0; i < mxg_st_metadata_count(file); i++) {
    const char *key, *value;
    mxg_st_metadata_at(file, i, &key, &value);
    must(mxg_st_metadata(file, key) == value);
  }
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t count) {
  mxg_st_file *file;
  mxg_error err;
  mxg_status status = mxg_st_parse(&file, bytes, count, count, "input", &err);
  must((status == MXG_OK) == (file != NULL));
  if (status == MXG_OK)
    check_table(file, count);
  else
    must(err.status == status && err.code != 0 && err.text[0] != 0);
  mxg_st_close(file);
  return 0;
}
