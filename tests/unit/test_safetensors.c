/* safetensors.h and temporary.h: every rule of the format by a file that breaks it, damage everywhere, round trips. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "failing_memory.h"
#include "files.h"
#include "memory.h"
#include "safetensors.h"
#include "temporary.h"

/* A file image: header text, then `data` bytes. Returns the size. */
static size_t image(unsigned char *to, const char *header, size_t data) {
  size_t count = strlen(header);
  for (int i = 0; i < 8; i++) to[i] = (unsigned char)((uint64_t)count >> (8 * i));
  memcpy(to + 8, header, count);
  for (size_t i = 0; i < data; i++) to[8 + count + i] = (unsigned char)(i * 7 + 1);
  return 8 + count + data;
}

/* Parses a copy of exact size. What is accepted must be consistent with itself. */
static mxg_status parse(const void *bytes, size_t count, mxg_error *err) {
  unsigned char *copy = malloc(count ? count : 1);
  if (count) memcpy(copy, bytes, count);
  mxg_st_file *file;
  mxg_status status = mxg_st_parse(&file, copy, count, count, "image", err);
  free(copy);
  if (status != MXG_OK) {
    assert_null(file);
    assert_true(err->code >= 301 && err->code <= 316);
    assert_true(err->text[0] != 0);
    assert_string_equal(err->file, "image");
    return status;
  }
  uint64_t at = mxg_st_count(file) ? mxg_st_at(file, 0)->offset : count;
  for (uint32_t i = 0; i < mxg_st_count(file); i++) {
    const mxg_st_tensor *tensor = mxg_st_at(file, i);
    assert_true(tensor->offset == at);
    uint64_t bits = mxg_st_dtype_bits(tensor->dtype);
    for (uint32_t k = 0; k < tensor->ndim; k++) bits *= tensor->shape[k];
    assert_true(bits == tensor->bytes * 8);
    assert_ptr_equal(mxg_st_find(file, tensor->name), tensor);
    at += tensor->bytes;
  }
  assert_true(at == count);
  mxg_st_close(file);
  return MXG_OK;
}

static const char small[] = "{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\\u00e9\"},"
                            "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                            "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                            "\"e\":{\"dtype\":\"U8\",\"shape\":[0,5],\"data_offsets\":[4,4]},"
                            "\"layers.0.w\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[16,19]}}   ";

static void a_header_becomes_a_table(void **state) {
  (void)state;
  unsigned char bytes[1024];
  size_t count = image(bytes, small, 19);
  file_save(in_folder("small"), bytes, count);
  mxg_st_file *file;
  mxg_error err;
  assert_int_equal(mxg_st_open(&file, in_folder("small"), &err), MXG_OK);
  assert_int_equal(mxg_st_count(file), 4);
  assert_string_equal(mxg_st_at(file, 0)->name, "a");
  assert_string_equal(mxg_st_at(file, 1)->name, "e");
  assert_string_equal(mxg_st_at(file, 2)->name, "b");
  assert_int_equal(mxg_st_at(file, 0)->ndim, 0);
  const mxg_st_tensor *b = mxg_st_find(file, "b");
  assert_int_equal(b->ndim, 2);
  assert_true(b->shape[0] == 2 && b->shape[1] == 3 && b->bytes == 12);
  assert_null(mxg_st_find(file, "c"));
  assert_null(mxg_st_find(file, "__metadata__"));
  assert_string_equal(mxg_st_metadata(file, "format"), "pt");
  assert_string_equal(mxg_st_metadata(file, "x"), "\xc3\xa9");
  assert_null(mxg_st_metadata(file, "y"));
  unsigned char read[12];
  const unsigned char *map, *again;
  assert_int_equal(mxg_st_read(file, b, 0, 12, read, &err), MXG_OK);
  assert_memory_equal(read, bytes + count - 19 + 4, 12);
  assert_int_equal(mxg_st_read(file, b, 5, 2, read, &err), MXG_OK);
  assert_memory_equal(read, bytes + count - 19 + 9, 2);
  assert_int_equal(mxg_st_read(file, b, 11, 2, read, &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_st_read(file, b, UINT64_MAX, 2, read, &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_st_map(file, &map, &err), MXG_OK);
  assert_int_equal(mxg_st_map(file, &again, &err), MXG_OK);
  assert_ptr_equal(map, again);
  assert_memory_equal(map + b->offset, bytes + count - 19 + 4, 12);
  mxg_st_close(file);
}

static void broken_rules_are_named(void **state) {
  (void)state;
#define T(dtype, shape, from, to) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"
  static const struct {
    const char *header;
    size_t data;
    unsigned code; /* 0: accepted */
  } rows[] = {
      {"{}", 0, 0},
      {"{}       ", 0, 0},
      {"{}\n", 0, 0},
      {"{\"__metadata__\":{}}", 0, 0},
      {"{\"__metadata__\":null}", 0, 0},
      {"{\"a\":" T("F32", "[]", "0", "4") "}", 4, 0},
      {"{\"a\":" T("F32", "[0]", "0", "0") "}", 0, 0},
      {"{\"a\":" T("U8", "[2]", "0", "2") ",\"\":" T("U8", "[1]", "2", "3") "}", 3, 0},
      {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1],\"dtype\":\"U8\",\"more\":[{\"x\":null}]}}", 1, 0},
      {"{\"a\":" T("F4", "[2,3]", "0", "3") "}", 3, 0},
      {"{\"a\":" T("F6_E2M3", "[4]", "0", "3") "}", 3, 0},
      {"{\"a\":" T("F8_E8M0", "[4]", "0", "4") "}", 4, 0},
      {"", 0, 305},
      {" {}", 0, 305},
      {"[]", 0, 305},
      {"{", 0, 305},
      {"{}x", 0, 305},
      {"{}{}", 0, 305},
      {"{},", 0, 305},
      {"{\"a\"}", 0, 305},
      {"{\"a\":1}", 0, 305},
      {"{\"a\":[]}", 0, 305},
      {"{\"a\":null}", 0, 305},
      {"{a:1}", 0, 305},
      {"{\"\xff\":" T("U8", "[1]", "0", "1") "}", 1, 305},
      {"{\"a\\u0000\":" T("U8", "[1]", "0", "1") "}", 1, 305},
      {"{\"a\":" T("U8", "[1]", "0", "1") ",}", 1, 305},
      {"{\"a\":" T("U8", "[1,]", "0", "1") "}", 1, 305},
      {"{\"a\":" T("U8", "[1.0]", "0", "1") "}", 1, 305},
      {"{\"a\":" T("U8", "[-1]", "0", "1") "}", 1, 305},
      {"{\"a\":" T("U8", "[\"1\"]", "0", "1") "}", 1, 305},
      {"{\"a\":" T("U8", "1", "0", "1") "}", 1, 305},
      {"{\"a\":" T("U8", "[18446744073709551616]", "0", "1") "}", 1, 305},
      {"{\"a\":" T("U8", "[1]", "0", "-1") "}", 1, 305},
      {"{\"a\":" T("U8", "[1]", "0", "1,2") "}", 1, 305},
      {"{\"a\":{\"dtype\":8,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 305},
      {"{\"__metadata__\":[]}", 0, 305},
      {"{\"__metadata__\":{\"a\":1}}", 0, 306},
      {"{\"__metadata__\":{\"a\":{}}}", 0, 306},
      {"{\"a\":{}}", 0, 306},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, 306},
      {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, 306},
      {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 306},
      {"{\"a\":" T("F9", "[1]", "0", "1") "}", 1, 307},
      {"{\"a\":" T("u8", "[1]", "0", "1") "}", 1, 307},
      {"{\"a\":" T("", "[1]", "0", "1") "}", 1, 307},
      {"{\"a\":" T("F8_E4M3FNUZ", "[1]", "0", "1") "}", 1, 308},
      {"{\"a\":" T("F8_E5M2FNUZ", "[1]", "0", "1") "}", 1, 308},
      {"{\"a\":" T("U8", "[1]", "0", "1") ",\"a\":" T("U8", "[1]", "1", "2") "}", 2, 309},
      {"{\"a\":" T("U8", "[1]", "0", "1") ",\"\\u0061\":" T("U8", "[1]", "1", "2") "}", 2, 309},
      {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, 309},
      {"{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0, 309},
      {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 309},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 309},
      {"{\"a\":" T("U8", "[1]", "1", "2") "}", 2, 310},                                    /* gap at the start */
      {"{\"a\":" T("U8", "[1]", "0", "1") ",\"b\":" T("U8", "[1]", "2", "3") "}", 3, 310}, /* gap */
      {"{\"a\":" T("U8", "[2]", "0", "2") ",\"b\":" T("U8", "[2]", "1", "3") "}", 3, 310}, /* overlap */
      {"{\"a\":" T("U8", "[2]", "0", "2") ",\"b\":" T("U8", "[2]", "0", "2") "}", 2, 310}, /* the same bytes */
      {"{\"a\":" T("U8", "[2]", "0", "2") ",\"b\":" T("U8", "[0]", "1", "1") "}", 2, 310}, /* empty, inside */
      {"{\"a\":" T("U8", "[1]", "2", "1") "}", 2, 310},                                    /* backwards */
      {"{\"a\":" T("U8", "[2]", "0", "1") "}", 1, 311},
      {"{\"a\":" T("F32", "[]", "0", "1") "}", 1, 311},
      {"{\"a\":" T("F4", "[3]", "0", "1") "}", 1, 311}, /* a byte and a half */
      {"{\"a\":" T("U8", "[4294967296,4294967296]", "0", "0") "}", 0, 311},
      {"{\"a\":" T("F64", "[4611686018427387904]", "0", "0") "}", 0, 311},
      {"{\"a\":" T("U8", "[1]", "0", "18446744073709551615") "}", 1, 311},
      {"{\"a\":" T("U8", "[1]", "18446744073709551615", "18446744073709551615") "}", 1, 311},
      {"{\"a\":" T("U8", "[2]", "0", "2") "}", 1, 312}, /* truncated data */
      {"{\"a\":" T("U8", "[2]", "0", "2") "}", 3, 312}, /* appended */
      {"{}", 1, 312},
      {"{\"a\":" T("U8", "[2305843009213693951]", "0", "2305843009213693951") "}", 1, 312},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    unsigned char bytes[1024];
    size_t count = image(bytes, rows[i].header, rows[i].data);
    mxg_error err = {0};
    parse(bytes, count, &err);
    if (err.code != rows[i].code) fail_msg("%s: MX%04u %s", rows[i].header, err.code, err.text);
    if (err.code == 308) assert_non_null(strstr(err.help, "F8_E"));
  }
}

static void lying_lengths_allocate_nothing(void **state) {
  (void)state;
  static const uint64_t lengths[] = {3,        4,          100000000,      100000001,      UINT32_MAX,
                                     1u << 31, UINT64_MAX, UINT64_MAX - 7, UINT64_MAX - 8, 1ull << 63};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    unsigned char bytes[16] = {0};
    for (int k = 0; k < 8; k++) bytes[k] = (unsigned char)(lengths[i] >> (8 * k));
    memcpy(bytes + 8, "{}", 2);
    mxg_error err;
    assert_int_equal(parse(bytes, 10, &err), MXG_ERR_INPUT);
    assert_int_equal(err.code, 304);
    file_save(in_folder("lie"), bytes, 10);
    mxg_st_file *file;
    assert_int_equal(mxg_st_open(&file, in_folder("lie"), &err), MXG_ERR_INPUT);
    assert_int_equal(err.code, 304);
    assert_non_null(strstr(err.file, "lie"));
  }
}

static void every_truncation_is_refused(void **state) {
  (void)state;
  unsigned char bytes[1024];
  size_t count = image(bytes, small, 19);
  mxg_error err;
  assert_int_equal(parse(bytes, count, &err), MXG_OK);
  for (size_t cut = 0; cut < count; cut++) {
    assert_int_equal(parse(bytes, cut, &err), MXG_ERR_INPUT);
    file_save(in_folder("cut"), bytes, cut);
    mxg_st_file *file;
    assert_int_equal(mxg_st_open(&file, in_folder("cut"), &err), MXG_ERR_INPUT);
  }
}

static void flipped_headers_are_refused_or_consistent(void **state) {
  (void)state;
  unsigned char bytes[1024];
  size_t count = image(bytes, small, 19), accepted = 0, refused = 0;
  for (size_t at = 0; at < count - 19; at++)
    for (int value = 0; value < 256; value++) {
      unsigned char old = bytes[at];
      if (value == old) continue;
      bytes[at] = (unsigned char)value;
      mxg_error err;
      if (parse(bytes, count, &err) == MXG_OK)
        accepted++;
      else
        refused++;
      bytes[at] = old;
    }
  assert_true(accepted > 100 && refused > 10000); /* a letter of a name is free to change; structure is not */
}

static void odd_files_are_refused_at_once(void **state) {
  (void)state;
  mxg_st_file *file;
  mxg_error err;
  assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
  alarm(10);
  assert_int_equal(mxg_st_open(&file, in_folder("fifo"), &err), MXG_ERR_INPUT);
  alarm(0);
  assert_int_equal(err.code, 302);
  assert_int_equal(mxg_st_open(&file, test_folder, &err), MXG_ERR_INPUT);
  assert_int_equal(err.code, 302);
  assert_int_equal(mxg_st_open(&file, "/dev/zero", &err), MXG_ERR_INPUT);
  assert_int_equal(err.code, 302);
  assert_int_equal(mxg_st_open(&file, in_folder("absent"), &err), MXG_ERR_IO);
  assert_int_equal(err.code, 301);
  assert_int_equal(err.native, 2);
}

static void a_file_that_shrinks_is_an_error(void **state) {
  (void)state;
  unsigned char bytes[1024], read[12];
  size_t count = image(bytes, small, 19);
  const char *path = in_folder("shrinks");
  file_save(path, bytes, count);
  mxg_st_file *file;
  mxg_error err;
  const unsigned char *map;
  assert_int_equal(mxg_st_open(&file, path, &err), MXG_OK);
  assert_int_equal(truncate(path, (off_t)count - 8), 0);
  assert_int_equal(mxg_st_read(file, mxg_st_find(file, "b"), 0, 12, read, &err), MXG_ERR_IO);
  assert_int_equal(err.code, 313);
  assert_int_equal(mxg_st_map(file, &map, &err), MXG_ERR_IO);
  assert_null(map);
  mxg_st_close(file);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static mxg_st_writer *filled(const char *path, uint32_t index[4]) {
  mxg_st_writer *writer;
  mxg_error err;
  const uint64_t w[] = {3, 5}, none[] = {0, 7};
  assert_int_equal(mxg_st_writer_create(&writer, path, &err), MXG_OK);
  assert_int_equal(mxg_st_writer_add(writer, "w", MXG_ST_F8_E4M3, 2, w, &index[0], &err), MXG_OK);
  assert_int_equal(mxg_st_writer_add(writer, "s \"x\"\n\xc3\xa9", MXG_ST_F32, 0, NULL, &index[1], &err), MXG_OK);
  assert_int_equal(mxg_st_writer_add(writer, "v", MXG_ST_BF16, 2, w, &index[2], &err), MXG_OK);
  assert_int_equal(mxg_st_writer_add(writer, "empty", MXG_ST_F32, 2, none, &index[3], &err), MXG_OK);
  assert_int_equal(mxg_st_writer_metadata(writer, "z", "last", &err), MXG_OK);
  assert_int_equal(mxg_st_writer_metadata(writer, "format", "pt", &err), MXG_OK);
  assert_int_equal(mxg_st_writer_layout(writer, &err), MXG_OK);
  memset(mxg_st_writer_data(writer, index[0]), 0x11, 15);
  memset(mxg_st_writer_data(writer, index[1]), 0x22, 4);
  memset(mxg_st_writer_data(writer, index[2]), 0x33, 30);
  return writer;
}

static void what_is_written_is_read(void **state) {
  (void)state;
  const char *path = in_folder("written.safetensors");
  uint32_t index[4];
  mxg_error err;
  mxg_st_writer *writer = filled(path, index);
  assert_int_equal(access(path, F_OK), -1); /* not under its name yet */
  uint64_t file_bytes = mxg_st_writer_file_bytes(writer);
  assert_int_equal(mxg_st_writer_commit(writer, &err), MXG_OK);
  mxg_st_writer_free(writer);
  mxg_st_file *file;
  const unsigned char *map;
  assert_int_equal(mxg_st_open(&file, path, &err), MXG_OK);
  assert_true(mxg_st_file_bytes(file) == file_bytes);
  assert_int_equal(mxg_st_count(file), 4);
  static const char *const order[] = {"empty", "s \"x\"\n\xc3\xa9", "v", "w"}; /* F32 by name, BF16, F8 */
  for (uint32_t i = 0; i < 4; i++) assert_string_equal(mxg_st_at(file, i)->name, order[i]);
  assert_true(mxg_st_at(file, 0)->offset % 64 == 0);
  assert_int_equal(mxg_st_map(file, &map, &err), MXG_OK);
  for (uint32_t i = 0; i < 15; i++) assert_int_equal(map[mxg_st_find(file, "w")->offset + i], 0x11);
  for (uint32_t i = 0; i < 30; i++) assert_int_equal(map[mxg_st_find(file, "v")->offset + i], 0x33);
  assert_string_equal(mxg_st_metadata(file, "z"), "last");
  const char *key, *value;
  mxg_st_metadata_at(file, 0, &key, &value);
  assert_string_equal(key, "format");
  mxg_st_close(file);
}

static void a_writer_that_is_freed_leaves_nothing(void **state) {
  (void)state;
  unsigned before = folder_entries();
  uint32_t index[4];
  mxg_st_writer_free(filled(in_folder("never"), index));
  assert_int_equal(folder_entries(), before);
  mxg_st_writer *writer;
  mxg_error err;
  assert_int_equal(mxg_st_writer_create(&writer, in_folder("never"), &err), MXG_OK);
  mxg_st_writer_free(writer);
  assert_int_equal(folder_entries(), before);
}

static void a_failed_commit_keeps_the_old(void **state) {
  (void)state;
  mxg_error err;
  uint32_t index[4];
  assert_int_equal(mkdir(in_folder("taken"), 0700), 0);
  unsigned before = folder_entries();
  mxg_st_writer *writer = filled(in_folder("taken"), index); /* a folder has the name: rename must fail */
  assert_int_equal(mxg_st_writer_commit(writer, &err), MXG_ERR_IO);
  assert_int_equal(err.code, 314);
  assert_non_null(strstr(err.file, "taken"));
  mxg_st_writer_free(writer);
  assert_int_equal(folder_entries(), before);
  file_save(in_folder("old"), "old", 3);
  writer = filled(in_folder("old"), index);
  mxg_st_writer_free(writer);
  struct stat info;
  assert_int_equal(stat(in_folder("old"), &info), 0);
  assert_int_equal(info.st_size, 3);
  assert_int_equal(mxg_temporary_save(in_folder("absent/x"), "x", 1, &err), MXG_ERR_IO);
  assert_non_null(strstr(err.file, "absent/x"));
  assert_int_equal(mxg_temporary_save(in_folder("old"), "newer", 5, &err), MXG_OK);
  assert_int_equal(stat(in_folder("old"), &info), 0);
  assert_int_equal(info.st_size, 5);
}

static void a_full_disk_is_an_error(void **state) {
  (void)state;
  unsigned before = folder_entries();
  struct rlimit old, low;
  getrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, SIG_IGN); /* as a program that writes large files does */
  low = old;
  low.rlim_cur = 1 << 20;
  mxg_st_writer *writer;
  mxg_error err;
  const uint64_t large[] = {64, 1 << 20};
  assert_int_equal(mxg_st_writer_create(&writer, in_folder("large"), &err), MXG_OK);
  assert_int_equal(mxg_st_writer_add(writer, "w", MXG_ST_U8, 2, large, NULL, &err), MXG_OK);
  setrlimit(RLIMIT_FSIZE, &low);
  mxg_status status = mxg_st_writer_layout(writer, &err);
  setrlimit(RLIMIT_FSIZE, &old);
  assert_int_equal(status, MXG_ERR_IO);
  assert_int_equal(err.code, 314);
  assert_non_null(strstr(err.note, "64.00 MiB"));
  mxg_st_writer_free(writer);
  assert_int_equal(folder_entries(), before);
}

static void wrong_declarations_are_refused(void **state) {
  (void)state;
  mxg_st_writer *writer;
  mxg_error err;
  const uint64_t one[] = {1}, huge[] = {UINT64_MAX, 2}, three[] = {3};
  assert_int_equal(mxg_st_writer_create(&writer, in_folder("wrong"), &err), MXG_OK);
  assert_int_equal(mxg_st_writer_add(writer, "\xff", MXG_ST_U8, 1, one, NULL, &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_st_writer_add(writer, "__metadata__", MXG_ST_U8, 1, one, NULL, &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_st_writer_add(writer, "a", MXG_ST_U8, 2, huge, NULL, &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_st_writer_add(writer, "a", MXG_ST_F4, 1, three, NULL, &err), MXG_ERR_USAGE);
  assert_int_equal(mxg_st_writer_add(writer, "a", MXG_ST_U8, 1, one, NULL, &err), MXG_OK);
  assert_int_equal(mxg_st_writer_add(writer, "a", MXG_ST_U8, 1, one, NULL, &err), MXG_OK);
  assert_int_equal(mxg_st_writer_layout(writer, &err), MXG_ERR_USAGE);
  assert_int_equal(err.code, 309);
  mxg_st_writer_free(writer);
}

/* A signal in the middle of writing: the handler's one call removes what is unfinished. */
static void on_signal(int number) {
  mxg_temporaries_remove();
  _exit(number);
}

static void a_signal_leaves_nothing(void **state) {
  (void)state;
  unsigned before = folder_entries();
  pid_t child = fork();
  if (child == 0) {
    signal(SIGTERM, on_signal);
    uint32_t index[4];
    filled(in_folder("half-1"), index);
    filled(in_folder("half-2"), index);
    raise(SIGTERM);
    _exit(99);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), SIGTERM);
  assert_int_equal(folder_entries(), before);
}

static void live_files_are_bounded(void **state) {
  (void)state;
  unsigned before = folder_entries();
  struct rlimit old, high;
  getrlimit(RLIMIT_NOFILE, &old);
  high = old;
  high.rlim_cur = high.rlim_max < MXG_TEMPORARIES + 64 ? high.rlim_max : MXG_TEMPORARIES + 64;
  setrlimit(RLIMIT_NOFILE, &high);
  static mxg_temporary live[MXG_TEMPORARIES];
  mxg_error err;
  int count = 0;
  while (count < MXG_TEMPORARIES && mxg_temporary_open(&live[count], in_folder("same"), &err) == MXG_OK) count++;
  if (high.rlim_cur >= MXG_TEMPORARIES + 64) {
    assert_int_equal(count, MXG_TEMPORARIES);
    mxg_temporary one_more;
    assert_int_equal(mxg_temporary_open(&one_more, in_folder("same"), &err), MXG_ERR_USAGE);
    assert_int_equal(err.code, 315);
  }
  for (int i = 0; i < count; i++) mxg_temporary_abort(&live[i]);
  setrlimit(RLIMIT_NOFILE, &old);
  assert_int_equal(folder_entries(), before);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void every_allocation_may_fail(void **state) {
  (void)state;
  unsigned char bytes[1024];
  size_t count = image(bytes, small, 19);
  mxg_memory_fn usual = mxg_memory_hook;
  mxg_memory_hook = fail_once;
  unsigned before = folder_entries(), failures = 0;
  mxg_status status = MXG_ERR_NOMEM;
  for (int n = 0; status != MXG_OK; n++) {
    allocations_left = n;
    mxg_st_file *file;
    mxg_error err;
    status = mxg_st_parse(&file, bytes, count, count, "image", &err);
    assert_true(status == MXG_OK || (status == MXG_ERR_NOMEM && err.code == 1 && !file));
    failures += status != MXG_OK;
    mxg_st_close(file);
  }
  assert_true(failures > 5);
  status = MXG_ERR_NOMEM;
  failures = 0;
  for (int n = 0; status != MXG_OK; n++) {
    allocations_left = n;
    mxg_st_writer *writer;
    mxg_error err;
    const uint64_t shape[] = {40, 40};
    status = mxg_st_writer_create(&writer, in_folder("oom"), &err);
    if (status == MXG_OK) status = mxg_st_writer_add(writer, "a", MXG_ST_U8, 2, shape, NULL, &err);
    if (status == MXG_OK) status = mxg_st_writer_metadata(writer, "k", "v", &err);
    if (status == MXG_OK) status = mxg_st_writer_layout(writer, &err);
    assert_true(status == MXG_OK || status == MXG_ERR_NOMEM);
    failures += status != MXG_OK;
    mxg_st_writer_free(writer);
    assert_int_equal(folder_entries(), before);
  }
  assert_true(failures > 5);
  mxg_memory_hook = usual;
}

/* As many tensors as a large expert model has in one file: a table, not a crawl. The bound is loose on purpose. */
static void many_tensors_are_fast(void **state) {
  (void)state;
  enum { many = 45000 };
  mxg_st_writer *writer;
  mxg_error err;
  const uint64_t shape[] = {2, 3};
  char name[96];
  clock_t start = clock();
  assert_int_equal(mxg_st_writer_create(&writer, in_folder("many"), &err), MXG_OK);
  for (int i = 0; i < many; i++) {
    snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.down_proj.weight", i / 256, i % 256);
    assert_int_equal(mxg_st_writer_add(writer, name, MXG_ST_BF16, 2, shape, NULL, &err), MXG_OK);
  }
  assert_int_equal(mxg_st_writer_layout(writer, &err), MXG_OK);
  assert_int_equal(mxg_st_writer_commit(writer, &err), MXG_OK);
  mxg_st_writer_free(writer);
  clock_t middle = clock();
  mxg_st_file *file;
  assert_int_equal(mxg_st_open(&file, in_folder("many"), &err), MXG_OK);
  assert_int_equal(mxg_st_count(file), many);
  for (int i = 0; i < many; i++) {
    snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.down_proj.weight", i / 256, i % 256);
    assert_non_null(mxg_st_find(file, name));
  }
  mxg_st_close(file);
  clock_t end = clock();
  print_message("%d tensors: written in %ld ms, read and found in %ld ms\n", many,
                (long)((middle - start) * 1000 / CLOCKS_PER_SEC), (long)((end - middle) * 1000 / CLOCKS_PER_SEC));
  assert_true((end - start) / CLOCKS_PER_SEC < 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_header_becomes_a_table),
      cmocka_unit_test(broken_rules_are_named),
      cmocka_unit_test(lying_lengths_allocate_nothing),
      cmocka_unit_test(every_truncation_is_refused),
      cmocka_unit_test(flipped_headers_are_refused_or_consistent),
      cmocka_unit_test(odd_files_are_refused_at_once),
      cmocka_unit_test(a_file_that_shrinks_is_an_error),
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(a_writer_that_is_freed_leaves_nothing),
      cmocka_unit_test(a_failed_commit_keeps_the_old),
      cmocka_unit_test(a_full_disk_is_an_error),
      cmocka_unit_test(wrong_declarations_are_refused),
      cmocka_unit_test(a_signal_leaves_nothing),
      cmocka_unit_test(live_files_are_bounded),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(many_tensors_are_fast),
  };
  return cmocka_run_group_tests_name("safetensors", tests, folder_make, folder_remove) != 0;
}
