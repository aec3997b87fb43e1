/* checkpoint.h: rank files, single files, shards with an index, and every way in which an index can lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "checkpoint.h"
#include "failing_memory.h"
#include "files.h"
#include "memory.h"

#define INDEX "model.safetensors.index.json"

/* A file with one-byte tensors, whose names are the words of `names`; each byte is `value`. */
static void make(const char *file, const char *names, unsigned char value) {
  mxg_st_writer *writer;
  mxg_error err;
  char copy[256];
  uint32_t index[16], count = 0;
  const uint64_t one[] = {1};
  snprintf(copy, sizeof copy, "%s", names);
  assert_int_equal(mxg_st_writer_create(&writer, in_folder(file), &err), MXG_OK);
  for (char *name = strtok(copy, " "); name; name = strtok(NULL, " "))
    assert_int_equal(mxg_st_writer_add(writer, name, MXG_ST_U8, 1, one, &index[count++], &err), MXG_OK);
  assert_int_equal(mxg_st_writer_layout(writer, &err), MXG_OK);
  for (uint32_t i = 0; i < count; i++) memset(mxg_st_writer_data(writer, index[i]), value, 1);
  assert_int_equal(mxg_st_writer_commit(writer, &err), MXG_OK);
  mxg_st_writer_free(writer);
}

static void make_index(const char *text) { file_save(in_folder(INDEX), text, strlen(text)); }

static mxg_checkpoint *open_fine(void) {
  mxg_checkpoint *checkpoint;
  mxg_error err;
  if (mxg_checkpoint_open(&checkpoint, test_folder, &err) != MXG_OK) fail_msg("%s: %s", err.file, err.text);
  return checkpoint;
}

/* The byte of a tensor, or -1 when it is not found. */
static int value_of(const mxg_checkpoint *checkpoint, uint32_t rank, const char *name) {
  mxg_found found;
  mxg_error err;
  unsigned char byte;
  if (!mxg_checkpoint_find(checkpoint, rank, name, &found)) {
    assert_null(found.tensor);
    return -1;
  }
  assert_int_equal(mxg_st_read(mxg_checkpoint_file(checkpoint, found.file), found.tensor, 0, 1, &byte, &err), MXG_OK);
  return byte;
}

static void refused(unsigned code, const char *in_file, const char *in_text) {
  mxg_checkpoint *checkpoint;
  mxg_error err;
  mxg_status status = mxg_checkpoint_open(&checkpoint, test_folder, &err);
  assert_null(checkpoint);
  assert_true(status == MXG_ERR_INPUT || status == MXG_ERR_IO);
  if (err.code != code || !strstr(err.file, in_file) || !strstr(err.text, in_text))
    fail_msg("MX%04u %s: %s; wanted MX%04u %s: %s", err.code, err.file, err.text, code, in_file, in_text);
  assert_int_equal(mxg_checkpoint_open(&checkpoint, test_folder, NULL), status); /* no error object */
}

static void rank_files_are_told_apart(void **state) {
  (void)state;
  folder_empty();
  make("rank-00000.safetensors", "a b", 10);
  make("rank-00002.safetensors", "a c", 12);
  make("rank-100000.safetensors", "a", 13);
  make("rank-3.safetensors", "z", 99); /* not a name that we write */
  make("rank-000004.safetensors", "z", 99);
  mxg_checkpoint *checkpoint = open_fine();
  assert_true(mxg_checkpoint_ranked(checkpoint));
  assert_int_equal(mxg_checkpoint_files(checkpoint), 3);
  assert_int_equal(mxg_checkpoint_file_rank(checkpoint, 1), 2);
  assert_int_equal(mxg_checkpoint_slots(checkpoint), 5);
  assert_int_equal(value_of(checkpoint, 0, "a"), 10);
  assert_int_equal(value_of(checkpoint, 2, "a"), 12);
  assert_int_equal(value_of(checkpoint, 100000, "a"), 13);
  assert_int_equal(value_of(checkpoint, 2, "b"), -1);
  assert_int_equal(value_of(checkpoint, 1, "a"), -1);
  assert_int_equal(value_of(checkpoint, 3, "z"), -1);
  assert_int_equal(value_of(checkpoint, MXG_NONE, "c"), 12);
  assert_int_equal(value_of(checkpoint, MXG_NONE, "a"), 10);
  mxg_checkpoint_close(checkpoint);
}

static void one_file_serves_every_rank(void **state) {
  (void)state;
  folder_empty();
  make("model.safetensors", "a", 7);
  make_index("not even json"); /* beside a model.safetensors it is not looked at */
  mxg_checkpoint *checkpoint = open_fine();
  assert_false(mxg_checkpoint_ranked(checkpoint));
  assert_int_equal(value_of(checkpoint, 5, "a"), 7);
  mxg_checkpoint_close(checkpoint);
  mxg_error err;
  assert_int_equal(mxg_checkpoint_open(&checkpoint, in_folder("model.safetensors"), &err), MXG_OK);
  assert_int_equal(value_of(checkpoint, MXG_NONE, "a"), 7);
  mxg_checkpoint_close(checkpoint);
  make("rank-00000.safetensors", "a", 8);
  refused(326, test_folder, "both");
  assert_int_equal(mxg_checkpoint_open(&checkpoint, in_folder("rank-00000.safetensors"), &err), MXG_OK);
  assert_false(mxg_checkpoint_ranked(checkpoint));
  assert_int_equal(value_of(checkpoint, 3, "a"), 8);
  mxg_checkpoint_close(checkpoint);
}

static void an_index_leads_to_shards(void **state) {
  (void)state;
  folder_empty();
  make("m-1.safetensors", "a b x", 1);
  make("m-2.safetensors", "c b", 2);
  make_index("{\"metadata\":{\"total_size\":-1e99,\"more\":[{}]},\"x\":null,\"weight_map\":"
             "{\"a\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\",\"b\":\"m-2.safetensors\"}}");
  mxg_checkpoint *checkpoint = open_fine();
  assert_int_equal(mxg_checkpoint_files(checkpoint), 2);
  assert_int_equal(value_of(checkpoint, MXG_NONE, "a"), 1);
  assert_int_equal(value_of(checkpoint, MXG_NONE, "b"), 2); /* as the index says, though m-1 has one too */
  assert_int_equal(value_of(checkpoint, 4, "c"), 2);
  assert_int_equal(value_of(checkpoint, MXG_NONE, "x"), -1);
  assert_int_equal(mxg_checkpoint_unlisted(checkpoint), 2);
  mxg_found found = {0, mxg_st_find(mxg_checkpoint_file(checkpoint, 0), "b")};
  assert_false(mxg_checkpoint_listed(checkpoint, &found));
  assert_true(mxg_checkpoint_find(checkpoint, MXG_NONE, "b", &found));
  assert_true(mxg_checkpoint_listed(checkpoint, &found));
  mxg_checkpoint_close(checkpoint);
  make_index("{\"weight_map\":{}}");
  checkpoint = open_fine();
  assert_int_equal(mxg_checkpoint_files(checkpoint), 0);
  assert_int_equal(value_of(checkpoint, 0, "a"), -1);
  mxg_checkpoint_close(checkpoint);
}

static void rank_files_may_be_the_shards(void **state) {
  (void)state;
  folder_empty();
  make("rank-00000.safetensors", "a b", 1);
  make("rank-00001.safetensors", "a c", 2);
  mxg_error err;
  mxg_index_entry entries[] = {
      {"c", "rank-00001.safetensors", 1}, {"b", "rank-00000.safetensors", 1}, {"a", "rank-00001.safetensors", 1}};
  assert_int_equal(mxg_checkpoint_index_save(test_folder, entries, 3, &err), MXG_OK);
  mxg_checkpoint *checkpoint = open_fine();
  assert_true(mxg_checkpoint_ranked(checkpoint));
  assert_int_equal(mxg_checkpoint_files(checkpoint), 2);
  assert_int_equal(value_of(checkpoint, 0, "a"), 1);
  assert_int_equal(value_of(checkpoint, 1, "a"), 2);
  assert_int_equal(value_of(checkpoint, MXG_NONE, "a"), 2);
  assert_int_equal(mxg_checkpoint_unlisted(checkpoint), 1);
  mxg_checkpoint_close(checkpoint);
  char text[512] = {0};
  FILE *file = fopen(in_folder(INDEX), "rb");
  assert_true(fread(text, 1, sizeof text - 1, file) > 0);
  fclose(file);
  assert_string_equal(text, "{\n  \"metadata\": {\n    \"total_size\": 3\n  },\n  \"weight_map\": {\n"
                            "    \"a\": \"rank-00001.safetensors\",\n    \"b\": \"rank-00000.safetensors\",\n"
                            "    \"c\": \"rank-00001.safetensors\"\n  }\n}\n");
  entries[1].tensor = "a"; /* sorted by now */
  assert_int_equal(mxg_checkpoint_index_save(test_folder, entries, 3, &err), MXG_ERR_USAGE);
  entries[0] = (mxg_index_entry){"d", "../d", 1};
  assert_int_equal(mxg_checkpoint_index_save(test_folder, entries, 3, &err), MXG_ERR_USAGE);
  mxg_checkpoint_close(open_fine()); /* the refused ones left the old one whole */
  assert_int_equal(folder_entries(), 3);
}

static void a_lying_index_is_named(void **state) {
  (void)state;
  folder_empty();
  make("m.safetensors", "a", 1);
  static const struct {
    const char *json;
    unsigned code;
    const char *text;
  } rows[] = {
      {"", 321, "object"},
      {"{", 321, ""},
      {"{}", 321, "no weight_map"},
      {"[]", 321, "object"},
      {"{\"weight_map\":[]}", 321, "object"},
      {"{\"weight_map\":{}} x", 321, "follows"},
      {"{\"weight_map\":{},\"weight_map\":{}}", 309, "twice"},
      {"{\"weight_map\":{\"a\":\"m.safetensors\",\"a\":\"m.safetensors\"}}", 309, "'a'"},
      {"{\"weight_map\":{\"a\":{\"file\":\"m.safetensors\"}}}", 325, "'a'"},
      {"{\"weight_map\":{\"a\":1}}", 325, "'a'"},
      {"{\"weight_map\":{\"a\":\"../m.safetensors\"}}", 322, "'../m.safetensors'"},
      {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", 322, "'/etc/passwd'"},
      {"{\"weight_map\":{\"a\":\"sub/m.safetensors\"}}", 322, "'a'"},
      {"{\"weight_map\":{\"a\":\"..\"}}", 322, "'..'"},
      {"{\"weight_map\":{\"a\":\"\"}}", 322, "'a'"},
      {"{\"weight_map\":{\"a\":\"m\\nm\"}}", 322, "'m?m'"},
      {"{\"weight_map\":{\"a\":\"absent.safetensors\"}}", 323, "'absent.safetensors' of tensor 'a'"},
      {"{\"weight_map\":{\"zz\":\"m.safetensors\"}}", 324, "'m.safetensors' lacks the tensor 'zz'"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    make_index(rows[i].json);
    refused(rows[i].code, INDEX, rows[i].text);
  }
  make_index("{\n  \"weight_map\": {\n    \"a\": \"../m\"}}");
  mxg_checkpoint *checkpoint;
  mxg_error err;
  assert_int_equal(mxg_checkpoint_open(&checkpoint, test_folder, &err), MXG_ERR_INPUT);
  assert_int_equal(err.line, 3);
  assert_int_equal(err.column, 5);
  make_index("{\"weight_map\":{\"a\":\"bad.safetensors\"}}");
  file_save(in_folder("bad.safetensors"), "1234567", 7);
  refused(303, "bad.safetensors", "7 bytes");
  assert_int_equal(mkdir(in_folder("dir"), 0700), 0);
  make_index("{\"weight_map\":{\"a\":\"dir\"}}");
  refused(302, "dir", "regular");
}

static void folders_without_a_checkpoint_are_refused(void **state) {
  (void)state;
  folder_empty();
  refused(320, test_folder, "no checkpoint");
  mxg_checkpoint *checkpoint;
  mxg_error err;
  assert_int_equal(mxg_checkpoint_open(&checkpoint, in_folder("absent"), &err), MXG_ERR_IO);
  assert_int_equal(err.code, 301);
  assert_int_equal(mkfifo(in_folder(INDEX), 0600), 0);
  refused(302, INDEX, "regular");
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  folder_empty();
  make("m-1.safetensors", "a b x", 1);
  make("rank-00000.safetensors", "c b", 2);
  make_index("{\"weight_map\":{\"a\":\"m-1.safetensors\",\"c\":\"rank-00000.safetensors\"}}");
  mxg_memory_fn usual = mxg_memory_hook;
  mxg_memory_hook = fail_once;
  mxg_status status = MXG_ERR_NOMEM;
  int failures = 0;
  for (; status != MXG_OK; failures++) {
    allocations_left = failures;
    mxg_checkpoint *checkpoint;
    mxg_error err;
    status = mxg_checkpoint_open(&checkpoint, test_folder, &err);
    assert_true(status == MXG_OK || (status == MXG_ERR_NOMEM && !checkpoint));
    mxg_checkpoint_close(checkpoint);
  }
  mxg_memory_hook = usual;
  assert_true(failures > 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rank_files_are_told_apart), cmocka_unit_test(one_file_serves_every_rank),
      cmocka_unit_test(an_index_leads_to_shards),  cmocka_unit_test(rank_files_may_be_the_shards),
      cmocka_unit_test(a_lying_index_is_named),    cmocka_unit_test(folders_without_a_checkpoint_are_refused),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests_name("checkpoint", tests, folder_make, folder_remove) != 0;
}
