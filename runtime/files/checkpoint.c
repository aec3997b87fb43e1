/* checkpoint.c -- see checkpoint.h. File names from an index are untrusted: they stay inside the folder. */
#include "checkpoint.h"

#include "error.h"
#include "json.h"
#include "memory.h"
#include "names.h"
#include "temporary.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define SINGLE_NAME "model.safetensors"

enum { index_most = 256 * 1024 * 1024 };

typedef struct entry {
  const char *name; /* first: names.h */
  const char *file_name;
  char *at; /* in the index, for diagnostics */
  mxg_found found;
} entry;

typedef struct member {
  const char *name; /* first: names.h; inside the folder */
  mxg_st_file *file;
  uint32_t rank;
  uint64_t first_slot;
} member;

struct mxg_checkpoint {
  char *path;
  mxg_arena arena; /* names of files */
  member *files;
  size_t file_count, file_capacity;
  uint32_t rank_files;
  uint64_t slot_count, unlisted;
  char *index; /* text of the index; names point into it */
  size_t index_bytes;
  entry *entries;
  size_t entry_count, entry_capacity;
  mxg_names by_name, by_file;
  unsigned char *listed; /* one a slot; NULL without an index */
};

void mxg_checkpoint_rank_name(char to[MXG_RANK_NAME], uint32_t rank) {
  snprintf(to, MXG_RANK_NAME, "rank-%05u.safetensors", (unsigned)rank);
}

uint32_t mxg_checkpoint_rank_of(const char *name) {
  char again[MXG_RANK_NAME];
  if (strncmp(name, "rank-", 5) != 0) return MXG_NONE;
  uint64_t rank = 0;
  for (const char *c = name + 5; *c >= '0' && *c <= '9' && rank < MXG_NONE; c++)
    rank = rank * 10 + (uint64_t)(*c - '0');
  if (rank >= MXG_NONE) return MXG_NONE;
  mxg_checkpoint_rank_name(again, (uint32_t)rank);
  return strcmp(again, name) == 0 ? (uint32_t)rank : MXG_NONE;
}

static mxg_status fail_errno(mxg_error *err, unsigned code, const char *what, const char *path, int number) {
  mxg_status status = mxg_fail(err, MXG_ERR_IO, code, "%s: %s", what, strerror(number));
  mxg_error_place(err, path, 0, 0, 0);
  if (err) err->native = number;
  return status;
}

/* ---- which files ------------------------------------------------------------------------------------------------- */

static mxg_status add_file(mxg_checkpoint *checkpoint, const char *name, mxg_error *err) {
  member *added =
      mxg_vector_push((void **)&checkpoint->files, &checkpoint->file_count, &checkpoint->file_capacity, sizeof *added);
  if (!added) return mxg_fail_nomem(err);
  added->name = mxg_arena_text(&checkpoint->arena, name, strlen(name));
  added->rank = mxg_checkpoint_rank_of(name);
  return added->name ? MXG_OK : mxg_fail_nomem(err);
}

typedef struct listing {
  bool single, index;
} listing;

static mxg_status list_folder(mxg_checkpoint *checkpoint, DIR *dir, listing *found, mxg_error *err) {
  for (;;) {
    errno = 0;
    const struct dirent *item = readdir(dir);
    if (!item && errno) return fail_errno(err, 301, "cannot list", checkpoint->path, errno);
    if (!item) return MXG_OK;
    found->single = found->single || strcmp(item->d_name, SINGLE_NAME) == 0;
    found->index = found->index || strcmp(item->d_name, MXG_INDEX_NAME) == 0;
    if (mxg_checkpoint_rank_of(item->d_name) == MXG_NONE) continue;
    MXG_TRY(add_file(checkpoint, item->d_name, err));
    checkpoint->rank_files++;
  }
}

static mxg_status choose_files(mxg_checkpoint *checkpoint, bool *index, mxg_error *err) {
  listing found = {false, false};
  DIR *dir = opendir(checkpoint->path);
  if (!dir) return fail_errno(err, 301, "cannot open the folder", checkpoint->path, errno);
  mxg_status status = list_folder(checkpoint, dir, &found, err);
  closedir(dir);
  MXG_TRY(status);
  *index = found.index && !found.single;
  if (found.single && checkpoint->rank_files) {
    status = mxg_fail(err, MXG_ERR_INPUT, 326, "the folder holds both " SINGLE_NAME " and rank files");
  } else if (!found.single && !found.index && !checkpoint->rank_files) {
    status = mxg_fail(err, MXG_ERR_INPUT, 320, "the folder holds no checkpoint");
    mxg_error_help(err, "it must hold " SINGLE_NAME ", " MXG_INDEX_NAME
                        " with its shards, or rank-00000.safetensors and so on");
  } else {
    return found.single ? add_file(checkpoint, SINGLE_NAME, err) : MXG_OK;
  }
  mxg_error_place(err, checkpoint->path, 0, 0, 0);
  return status;
}

/* ---- the index --------------------------------------------------------------------------------------------------- */

static mxg_status at_index(mxg_checkpoint *checkpoint, const char *at, mxg_status status, mxg_error *err) {
  char path[sizeof err->file];
  char *begin = checkpoint->index;
  mxg_json json = {.begin = begin, .at = begin + (at - begin), .end = begin + checkpoint->index_bytes};
  int line, column;
  mxg_json_place(&json, &line, &column);
  size_t length = strlen(checkpoint->path);
  size_t cut =
      length > sizeof path - sizeof MXG_INDEX_NAME - 1 ? length - (sizeof path - sizeof MXG_INDEX_NAME - 1) : 0;
  snprintf(path, sizeof path, "%s/" MXG_INDEX_NAME, checkpoint->path + cut);
  mxg_error_place(err, path, line, column, 0);
  return status;
}

static mxg_status bad_json(mxg_checkpoint *checkpoint, const mxg_json *json, mxg_error *err) {
  return at_index(checkpoint, json->at,
                  mxg_fail(err, MXG_ERR_INPUT, 321, "%s", json->why ? json->why : "this is not an index"), err);
}

static bool name_is_safe(const char *name) {
  size_t count = strlen(name);
  if (count == 0 || count > 255 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return false;
  for (const char *c = name; *c; c++)
    if (*c == '/' || *c == '\\' || (unsigned char)*c < 0x20 || *c == 0x7f) return false;
  return true;
}

static mxg_status read_weight_map(mxg_checkpoint *checkpoint, mxg_json *json, mxg_error *err) {
  bool first = true, more;
  if (!mxg_json_expect(json, '{')) return bad_json(checkpoint, json, err);
  for (;;) {
    if (!mxg_json_next(json, &first, '}', &more)) return bad_json(checkpoint, json, err);
    if (!more) return MXG_OK;
    entry *added = mxg_vector_push((void **)&checkpoint->entries, &checkpoint->entry_count, &checkpoint->entry_capacity,
                                   sizeof *added);
    if (!added) return mxg_fail_nomem(err);
    mxg_json_peek(json);
    added->at = json->at;
    if (!mxg_json_key(json, &added->name)) return bad_json(checkpoint, json, err);
    if (mxg_json_peek(json) != '"')
      return at_index(checkpoint, json->at,
                      mxg_fail(err, MXG_ERR_INPUT, 325, "tensor '%s' is mapped to something other than a file's name",
                               mxg_st_show(added->name).text),
                      err);
    if (!mxg_json_string(json, &added->file_name)) return bad_json(checkpoint, json, err);
    if (!name_is_safe(added->file_name))
      return at_index(checkpoint, added->at,
                      mxg_fail(err, MXG_ERR_INPUT, 322,
                               "tensor '%s' is mapped to '%s', which is no name inside the folder",
                               mxg_st_show(added->name).text, mxg_st_show(added->file_name).text),
                      err);
  }
}

static mxg_status parse_index(mxg_checkpoint *checkpoint, mxg_error *err) {
  mxg_json json;
  mxg_json_begin(&json, checkpoint->index, checkpoint->index_bytes);
  bool first = true, more, has_map = false;
  if (!mxg_json_expect(&json, '{')) return bad_json(checkpoint, &json, err);
  for (;;) {
    const char *key;
    if (!mxg_json_next(&json, &first, '}', &more)) return bad_json(checkpoint, &json, err);
    if (!more) break;
    if (!mxg_json_key(&json, &key)) return bad_json(checkpoint, &json, err);
    if (strcmp(key, "weight_map") != 0) { /* metadata with any total_size, and whatever else tools add */
      if (!mxg_json_skip(&json)) return bad_json(checkpoint, &json, err);
    } else if (has_map) {
      return at_index(checkpoint, json.at, mxg_fail(err, MXG_ERR_INPUT, 309, "weight_map is there twice"), err);
    } else {
      has_map = true;
      MXG_TRY(read_weight_map(checkpoint, &json, err));
    }
  }
  if (!mxg_json_end(&json)) return bad_json(checkpoint, &json, err);
  if (!has_map)
    return at_index(checkpoint, checkpoint->index, mxg_fail(err, MXG_ERR_INPUT, 321, "the index has no weight_map"),
                    err);
  if (checkpoint->entry_count > INT32_MAX)
    return at_index(checkpoint, checkpoint->index, mxg_fail(err, MXG_ERR_INPUT, 321, "the index is too large"), err);
  int nomem;
  uint32_t twice = mxg_names_build(&checkpoint->by_name, checkpoint->entries, sizeof *checkpoint->entries,
                                   (uint32_t)checkpoint->entry_count,
                                   XXH3_64bits(checkpoint->index, checkpoint->index_bytes), &nomem);
  if (nomem) return mxg_fail_nomem(err);
  if (twice == MXG_NAMES_ABSENT) return MXG_OK;
  const entry *second = &checkpoint->entries[twice];
  const entry *one = &checkpoint->entries[mxg_names_find(&checkpoint->by_name, second->name)];
  return at_index(checkpoint, second->at,
                  mxg_fail(err, MXG_ERR_INPUT, 309, "tensor '%s' is listed twice, in '%s' and in '%s'",
                           mxg_st_show(second->name).text, mxg_st_show(one->file_name).text,
                           mxg_st_show(second->file_name).text),
                  err);
}

static mxg_status read_whole(int fd, char *to, size_t count, mxg_error *err, const char *path) {
  while (count) {
    ssize_t got = read(fd, to, count);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(err, 301, "cannot read", path, errno);
    if (got == 0) {
      mxg_status status = mxg_fail(err, MXG_ERR_IO, 313, "the file became shorter while it was read");
      mxg_error_place(err, path, 0, 0, 0);
      return status;
    }
    to += got;
    count -= (size_t)got;
  }
  return MXG_OK;
}

static mxg_status load_index(mxg_checkpoint *checkpoint, mxg_error *err) {
  char *path = mxg_arena_format(&checkpoint->arena, "%s/" MXG_INDEX_NAME, checkpoint->path);
  if (!path) return mxg_fail_nomem(err);
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail_errno(err, 301, "cannot open", path, errno);
  struct stat info;
  mxg_status status = MXG_OK;
  if (fstat(fd, &info) != 0) {
    status = fail_errno(err, 301, "cannot read", path, errno);
  } else if (!S_ISREG(info.st_mode) || info.st_size > index_most) {
    status = S_ISREG(info.st_mode)
                 ? mxg_fail(err, MXG_ERR_INPUT, 321, "the index has %lld bytes, more than the limit of %d",
                            (long long)info.st_size, index_most)
                 : mxg_fail(err, MXG_ERR_INPUT, 302, "this is not a regular file");
    mxg_error_place(err, path, 0, 0, 0);
  } else {
    checkpoint->index_bytes = (size_t)info.st_size;
    checkpoint->index = mxg_alloc(checkpoint->index_bytes + 1);
    status =
        checkpoint->index ? read_whole(fd, checkpoint->index, checkpoint->index_bytes, err, path) : mxg_fail_nomem(err);
  }
  close(fd);
  return status == MXG_OK ? parse_index(checkpoint, err) : status;
}

/* The files that the index names join those that are there; each name once. */
static mxg_status add_shards(mxg_checkpoint *checkpoint, mxg_error *err) {
  typedef struct shard {
    const char *name; /* first: names.h */
  } shard;
  shard *shards = mxg_alloc(checkpoint->entry_count * sizeof *shards);
  if (!shards) return mxg_fail_nomem(err);
  for (size_t i = 0; i < checkpoint->entry_count; i++) shards[i].name = checkpoint->entries[i].file_name;
  mxg_names names;
  int nomem;
  mxg_names_build(&names, shards, sizeof *shards, (uint32_t)checkpoint->entry_count, checkpoint->by_name.seed, &nomem);
  mxg_status status = nomem ? mxg_fail_nomem(err) : MXG_OK;
  size_t present = checkpoint->file_count; /* rank files */
  for (size_t i = 0; status == MXG_OK && i < checkpoint->entry_count; i++) {
    if (mxg_names_find(&names, shards[i].name) != i) continue; /* not its first mention */
    bool known = false;
    if (mxg_checkpoint_rank_of(shards[i].name) != MXG_NONE)
      for (size_t k = 0; k < present && !known; k++) known = strcmp(checkpoint->files[k].name, shards[i].name) == 0;
    if (!known) status = add_file(checkpoint, shards[i].name, err);
    if (!known && status == MXG_OK && mxg_checkpoint_rank_of(shards[i].name) != MXG_NONE) checkpoint->rank_files++;
  }
  mxg_names_free(&names);
  mxg_free(shards);
  return status;
}

/* Each tensor of the index must lie where it says. */
static mxg_status resolve_index(mxg_checkpoint *checkpoint, mxg_error *err) {
  checkpoint->listed = mxg_alloc((size_t)checkpoint->slot_count);
  if (!checkpoint->listed) return mxg_fail_nomem(err);
  for (size_t i = 0; i < checkpoint->entry_count; i++) {
    entry *item = &checkpoint->entries[i];
    uint32_t file = mxg_names_find(&checkpoint->by_file, item->file_name);
    item->found = (mxg_found){file, mxg_st_find(checkpoint->files[file].file, item->name)};
    if (!item->found.tensor)
      return at_index(checkpoint, item->at,
                      mxg_fail(err, MXG_ERR_INPUT, 324, "'%s' lacks the tensor '%s' that the index puts there",
                               mxg_st_show(item->file_name).text, mxg_st_show(item->name).text),
                      err);
    checkpoint->listed[mxg_checkpoint_slot(checkpoint, &item->found)] = 1;
  }
  for (uint64_t i = 0; i < checkpoint->slot_count; i++) checkpoint->unlisted += !checkpoint->listed[i];
  return MXG_OK;
}

/* ---- open -------------------------------------------------------------------------------------------------------- */

static int by_rank_then_name(const void *a, const void *b) {
  const member *x = a, *y = b;
  if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1; /* MXG_NONE is the largest */
  return strcmp(x->name, y->name);
}

static mxg_status open_files(mxg_checkpoint *checkpoint, mxg_error *err) {
  qsort(checkpoint->files, checkpoint->file_count, sizeof *checkpoint->files, by_rank_then_name);
  int nomem;
  mxg_names_build(&checkpoint->by_file, checkpoint->files, sizeof *checkpoint->files, (uint32_t)checkpoint->file_count,
                  0, &nomem);
  if (nomem) return mxg_fail_nomem(err);
  for (size_t i = 0; i < checkpoint->file_count; i++) {
    member *one = &checkpoint->files[i];
    const char *path = mxg_arena_format(&checkpoint->arena, "%s/%s", checkpoint->path, one->name);
    if (!path) return mxg_fail_nomem(err);
    mxg_status status = mxg_st_open(&one->file, path, err);
    for (size_t k = 0; status == MXG_ERR_IO && err && err->native == ENOENT && k < checkpoint->entry_count; k++) {
      const entry *item = &checkpoint->entries[k];
      if (strcmp(item->file_name, one->name) != 0) continue;
      return at_index(checkpoint, item->at,
                      mxg_fail(err, MXG_ERR_INPUT, 323, "the file '%s' of tensor '%s' is not there",
                               mxg_st_show(one->name).text, mxg_st_show(item->name).text),
                      err);
    }
    MXG_TRY(status);
    one->first_slot = checkpoint->slot_count;
    checkpoint->slot_count += mxg_st_count(one->file);
  }
  return MXG_OK;
}

static mxg_status open_folder(mxg_checkpoint *checkpoint, mxg_error *err) {
  bool index = false;
  MXG_TRY(choose_files(checkpoint, &index, err));
  if (index) {
    MXG_TRY(load_index(checkpoint, err));
    MXG_TRY(add_shards(checkpoint, err));
  }
  if (checkpoint->file_count) MXG_TRY(open_files(checkpoint, err));
  return index ? resolve_index(checkpoint, err) : MXG_OK;
}

static mxg_status open_single(mxg_checkpoint *checkpoint, mxg_error *err) {
  MXG_TRY(add_file(checkpoint, checkpoint->path, err));
  checkpoint->files[0].rank = MXG_NONE; /* asked for by its own name: it stands for the whole */
  MXG_TRY(mxg_st_open(&checkpoint->files[0].file, checkpoint->path, err));
  checkpoint->slot_count = mxg_st_count(checkpoint->files[0].file);
  return MXG_OK;
}

mxg_status mxg_checkpoint_open(mxg_checkpoint **out, const char *path, mxg_error *err) {
  *out = NULL;
  mxg_error local; /* open_files looks at the error of a file */
  if (!err) err = &local;
  mxg_checkpoint *checkpoint = mxg_alloc(sizeof *checkpoint);
  if (!checkpoint) return mxg_fail_nomem(err);
  checkpoint->path = mxg_arena_text(&checkpoint->arena, path, strlen(path));
  struct stat info;
  mxg_status status;
  if (!checkpoint->path)
    status = mxg_fail_nomem(err);
  else if (stat(path, &info) != 0)
    status = fail_errno(err, 301, "cannot open", path, errno);
  else
    status = S_ISDIR(info.st_mode) ? open_folder(checkpoint, err) : open_single(checkpoint, err);
  if (status != MXG_OK) {
    mxg_checkpoint_close(checkpoint);
    return status;
  }
  *out = checkpoint;
  return MXG_OK;
}

void mxg_checkpoint_close(mxg_checkpoint *checkpoint) {
  if (!checkpoint) return;
  for (size_t i = 0; i < checkpoint->file_count; i++) mxg_st_close(checkpoint->files[i].file);
  mxg_names_free(&checkpoint->by_name);
  mxg_names_free(&checkpoint->by_file);
  mxg_free(checkpoint->files);
  mxg_free(checkpoint->entries);
  mxg_free(checkpoint->index);
  mxg_free(checkpoint->listed);
  mxg_arena_free(&checkpoint->arena);
  mxg_free(checkpoint);
}

/* ---- look up ----------------------------------------------------------------------------------------------------- */

const char *mxg_checkpoint_path(const mxg_checkpoint *checkpoint) { return checkpoint->path; }
uint32_t mxg_checkpoint_files(const mxg_checkpoint *checkpoint) { return (uint32_t)checkpoint->file_count; }
mxg_st_file *mxg_checkpoint_file(const mxg_checkpoint *checkpoint, uint32_t file) {
  return checkpoint->files[file].file;
}
uint32_t mxg_checkpoint_file_rank(const mxg_checkpoint *checkpoint, uint32_t file) {
  return checkpoint->files[file].rank;
}
void mxg_checkpoint_forget_ranks(mxg_checkpoint *checkpoint) {
  for (uint32_t i = 0; i < checkpoint->file_count; i++) checkpoint->files[i].rank = MXG_NONE;
  checkpoint->rank_files = 0;
}
bool mxg_checkpoint_ranked(const mxg_checkpoint *checkpoint) { return checkpoint->rank_files != 0; }
uint64_t mxg_checkpoint_slots(const mxg_checkpoint *checkpoint) { return checkpoint->slot_count; }
uint64_t mxg_checkpoint_unlisted(const mxg_checkpoint *checkpoint) { return checkpoint->unlisted; }

uint64_t mxg_checkpoint_slot(const mxg_checkpoint *checkpoint, const mxg_found *found) {
  const member *one = &checkpoint->files[found->file];
  return one->first_slot + (uint64_t)(found->tensor - mxg_st_at(one->file, 0));
}

bool mxg_checkpoint_listed(const mxg_checkpoint *checkpoint, const mxg_found *found) {
  return !checkpoint->listed || checkpoint->listed[mxg_checkpoint_slot(checkpoint, found)];
}

/* Rank files come first, by rank. */
static const member *rank_file(const mxg_checkpoint *checkpoint, uint32_t rank) {
  size_t low = 0, high = checkpoint->rank_files;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (checkpoint->files[middle].rank < rank)
      low = middle + 1;
    else
      high = middle;
  }
  return low < checkpoint->rank_files && checkpoint->files[low].rank == rank ? &checkpoint->files[low] : NULL;
}

static bool find_anywhere(const mxg_checkpoint *checkpoint, const char *name, mxg_found *found) {
  if (checkpoint->listed) {
    uint32_t i = mxg_names_find(&checkpoint->by_name, name);
    if (i != MXG_NAMES_ABSENT) *found = checkpoint->entries[i].found;
    return i != MXG_NAMES_ABSENT;
  }
  for (uint32_t i = 0; i < checkpoint->file_count; i++) {
    *found = (mxg_found){i, mxg_st_find(checkpoint->files[i].file, name)};
    if (found->tensor) return true;
  }
  return false;
}

bool mxg_checkpoint_find(const mxg_checkpoint *checkpoint, uint32_t rank, const char *name, mxg_found *found) {
  *found = (mxg_found){MXG_NONE, NULL};
  if (rank == MXG_NONE || !checkpoint->rank_files) return find_anywhere(checkpoint, name, found);
  const member *one = rank_file(checkpoint, rank);
  if (!one) return false;
  *found = (mxg_found){(uint32_t)(one - checkpoint->files), mxg_st_find(one->file, name)};
  return found->tensor != NULL;
}

/* ---- write ------------------------------------------------------------------------------------------------------- */

static int by_tensor(const void *a, const void *b) {
  const mxg_index_entry *x = a, *y = b;
  return strcmp(x->tensor, y->tensor);
}

static mxg_status print_index(mxg_text *text, const mxg_index_entry *entries, uint32_t count, mxg_error *err) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (i && strcmp(entries[i - 1].tensor, entries[i].tensor) == 0)
      return mxg_fail(err, MXG_ERR_USAGE, 309, "tensor '%s' is written twice, to '%s' and to '%s'",
                      mxg_st_show(entries[i].tensor).text, entries[i - 1].file, entries[i].file);
    if (!name_is_safe(entries[i].file))
      return mxg_fail(err, MXG_ERR_USAGE, 322, "'%s' is no name inside the folder", mxg_st_show(entries[i].file).text);
    if (!mxg_add(&total, total, entries[i].bytes))
      return mxg_fail(err, MXG_ERR_USAGE, 311, "the tensors together have more than 2^64 bytes");
  }
  mxg_text_format(text, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
                  (unsigned long long)total);
  for (uint32_t i = 0; i < count; i++) {
    mxg_text_puts(text, i ? ",\n    " : "\n    ");
    mxg_text_json(text, entries[i].tensor);
    mxg_text_puts(text, ": ");
    mxg_text_json(text, entries[i].file);
  }
  mxg_text_puts(text, count ? "\n  }\n}\n" : "}\n}\n");
  return text->failed ? mxg_fail_nomem(err) : MXG_OK;
}

mxg_status mxg_checkpoint_index_save(const char *folder, mxg_index_entry *entries, uint32_t count, mxg_error *err) {
  if (count) qsort(entries, count, sizeof *entries, by_tensor);
  mxg_text text = {0}, path = {0};
  mxg_text_format(&path, "%s/" MXG_INDEX_NAME, folder);
  mxg_status status = path.failed ? mxg_fail_nomem(err) : print_index(&text, entries, count, err);
  if (status == MXG_OK)
    status = mxg_temporary_save(path.bytes, text.bytes, text.count, err);
  else if (status != MXG_ERR_NOMEM)
    mxg_error_place(err, path.bytes, 0, 0, 0);
  mxg_text_free(&text);
  mxg_text_free(&path);
  return status;
}
