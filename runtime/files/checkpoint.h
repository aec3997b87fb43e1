/* checkpoint.h -- a folder of safetensors files as one thing: rank files, one model file, or shards with an index.
**
** Owns which file holds what. What a file holds is safetensors.h's, what it should hold gen/audit.h's. A folder may
** hold rank files (rank-00000.safetensors, ...), or model.safetensors, or model.safetensors.index.json with its
** shards (which may be the rank files themselves). model.safetensors is taken before an index, as readers of such
** folders do; beside rank files it is refused. Threads: immutable after open, but for mxg_st_map of its files. */
#ifndef MXG_CHECKPOINT_H
#define MXG_CHECKPOINT_H

#include "plan.h"
#include "safetensors.h"

typedef struct mxg_checkpoint mxg_checkpoint;

/* A tensor in a file of the checkpoint. */
typedef struct mxg_found {
  uint32_t file; /* index, for mxg_checkpoint_file */
  const mxg_st_tensor *tensor;
} mxg_found;

/* Opens a folder, or one .safetensors file, and reads every header. Errors name file and, where there is one, tensor.
 */
mxg_status mxg_checkpoint_open(mxg_checkpoint **out, const char *path, mxg_error *err);
void mxg_checkpoint_close(mxg_checkpoint *checkpoint);
/* From now on rank files are files like any other: tensors are looked for anywhere. For reading a result of ours, whole
** tensors in rank files, as an original. */
void mxg_checkpoint_forget_ranks(mxg_checkpoint *checkpoint);

const char *mxg_checkpoint_path(const mxg_checkpoint *checkpoint);
uint32_t mxg_checkpoint_files(const mxg_checkpoint *checkpoint); /* rank files by rank, then others by name */
mxg_st_file *mxg_checkpoint_file(const mxg_checkpoint *checkpoint, uint32_t file);
uint32_t mxg_checkpoint_file_rank(const mxg_checkpoint *checkpoint, uint32_t file); /* MXG_NONE: not a rank file */

bool mxg_checkpoint_ranked(const mxg_checkpoint *checkpoint); /* has rank files */
/* Looks in the file of `rank` only, where there are rank files; in a folder without them, or for MXG_NONE, anywhere:
** through the index, or in the first file that has it. False: absent. */
bool mxg_checkpoint_find(const mxg_checkpoint *checkpoint, uint32_t rank, const char *name, mxg_found *found);

/* Every tensor of every file has a slot, by file and offset. */
uint64_t mxg_checkpoint_slots(const mxg_checkpoint *checkpoint);
uint64_t mxg_checkpoint_slot(const mxg_checkpoint *checkpoint, const mxg_found *found);
/* False for a tensor that lies in a shard without the index listing it there: such tensors are ignored. */
bool mxg_checkpoint_listed(const mxg_checkpoint *checkpoint, const mxg_found *found);
uint64_t mxg_checkpoint_unlisted(const mxg_checkpoint *checkpoint); /* how many */

/* ---- names and index of what we write ---------------------------------------------------------------------------- */

#define MXG_INDEX_NAME "model.safetensors.index.json"

enum { MXG_RANK_NAME = 32 };
void mxg_checkpoint_rank_name(char to[MXG_RANK_NAME], uint32_t rank); /* "rank-00000.safetensors" */
/* The rank of a name that mxg_checkpoint_rank_name makes, else MXG_NONE. */
uint32_t mxg_checkpoint_rank_of(const char *name);

typedef struct mxg_index_entry {
  const char *tensor; /* first: names.h */
  const char *file;   /* inside the folder */
  uint64_t bytes;
} mxg_index_entry;

/* Writes folder/model.safetensors.index.json, all or nothing; sorts the entries by tensor. A tensor twice is an error.
 */
mxg_status mxg_checkpoint_index_save(const char *folder, mxg_index_entry *entries, uint32_t count, mxg_error *err);

#endif
