/* transfer.c -- see transfer.h. */
#include "transfer.h"

#include "error.h"
#include "memory.h"
#include "original.h"
#include "plan_build.h"
#include "replicas.h"
#include "temp.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { path_room = 4096 };

mxg_status mxg_bundle_of_plan(mxg_bundle **out, const mxg_plan *plan, mxg_error *err) {
  static const unsigned char no_sources[32];
  char maker[64];
  snprintf(maker, sizeof maker, "mxgen %s", mxg_version());
  mxg_bundle_parts parts = {plan, NULL, 0, no_sources, maker, NULL, NULL};
  return mxg_bundle_make(out, &parts, err);
}

void mxg_transfer_end(mxg_transfer *transfer) {
  mxg_move_end(&transfer->move);
  mxg_bundle_free(transfer->made);
  mxg_arena_free(&transfer->arena);
  transfer->made = NULL;
  transfer->plan = NULL;
  transfer->wanted = NULL;
}

/* ---- common ---- */

static mxg_status audit_source(const mxg_transfer *t, const mxg_model *model, const mxg_checkpoint *checkpoint,
                               mxg_error *err) {
  mxg_audit audit = {0};
  mxg_status status = mxg_audit_build(&audit, t->plan, model, MXG_SOURCE, checkpoint, err);
  if (status == MXG_OK) status = mxg_audit_verdict(&audit, err);
  mxg_audit_free(&audit);
  return status;
}

static bool same_folder(const char *a, const char *b) {
  struct stat ia, ib;
  if (!stat(a, &ia)) return !stat(b, &ib) && ia.st_dev == ib.st_dev && ia.st_ino == ib.st_ino;
  size_t na = strlen(a), nb = strlen(b);
  while (na > 1 && a[na - 1] == '/') na--;
  while (nb > 1 && b[nb - 1] == '/') nb--;
  return na == nb && !memcmp(a, b, na);
}

static mxg_status fail_place(const char *folder, const char *help, mxg_error *err) {
  mxg_error_place(err, folder, 0, 0, 0);
  mxg_error_help(err, "%s", help);
  return MXG_ERR_INPUT;
}

/* Refuses a folder with weights that would be lost, or that would be taken for a part of the result: rank files that
** are not `wanted` (NULL: any), checkpoints of others, and an index that would be of files that are replaced. */
static mxg_status check_holdings(const mxg_transfer *t, const char *folder, const bool *wanted, mxg_error *err) {
  DIR *dir = opendir(folder);
  if (!dir) return MXG_OK; /* nothing there, or mxg_temp_create says what is wrong */
  const bool indexed = wanted && mxg_plan_indexed(t->plan, wanted); /* the index that is there is replaced */
  mxg_status status = MXG_OK;
  for (struct dirent *entry; status == MXG_OK && (entry = readdir(dir));) {
    const char *name = entry->d_name;
    const uint32_t rank = mxg_checkpoint_rank_of(name);
    bool others = !strncmp(name, "model", 5) && mxg_name_has_extension(name, ".safetensors");
    if (!indexed) others = others || !strcmp(name, MXG_INDEX_NAME);
    if (rank != MXG_NONE) others = !(wanted && rank < t->plan->rank_count && wanted[rank]);
    if (!others) continue;
    mxg_fail(err, MXG_ERR_INPUT, 812, "the output folder holds %.100s of another result", name);
    status = fail_place(folder, "give an empty folder, or remove that file", err);
  }
  closedir(dir);
  return status;
}

static mxg_status check_place(const mxg_transfer *t, mxg_error *err) {
  if (!t->random && same_folder(t->from, t->out)) {
    mxg_fail(err, MXG_ERR_INPUT, 812, "the output folder is the one that is read");
    return fail_place(t->out, "give another folder: --out DIR", err);
  }
  return check_holdings(t, t->out, t->wanted, err);
}

/* Before anything is made: where the random original stays nothing else may lie. */
static mxg_status check_original_place(const mxg_transfer *t, mxg_error *err) {
  if (!t->keep_original) return MXG_OK;
  if (same_folder(t->keep_original, t->out)) {
    mxg_fail(err, MXG_ERR_INPUT, 812, "the original and the rank files cannot be in one folder");
    return fail_place(t->out, "give two folders: --keep-original DIR --out DIR", err);
  }
  return check_holdings(t, t->keep_original, NULL, err);
}

/* The folder that process 0 made, for all: they see the same files. */
static mxg_status tell_folder(const mxg_transfer *t, const mxg_temp *temp, mxg_status status, char folder[path_room],
                              mxg_error *err) {
  const mxg_processes *p = t->processes;
  mxg_error own = {0};
  if (status != MXG_OK) own = *err;
  if (temp) snprintf(folder, path_room, "%s", mxg_temp_path(temp));
  if (!p || !p->job) return status;
  char *all = mxg_alloc((size_t)p->world * path_room);
  if (!all && own.status == MXG_OK) mxg_fail_nomem(&own);
  status = mxg_processes_agree(p, "the making of the folder", &own, t->timeout_ms, err);
  if (status == MXG_OK)
    status = mxg_job_gather(p->job, "the making of the folder", folder, path_room, all,
                            mxg_processes_deadline(t->timeout_ms), err);
  if (status == MXG_OK) memcpy(folder, all, path_room);
  folder[path_room - 1] = 0;
  mxg_free(all);
  return status;
}

static mxg_status make_folder(const mxg_transfer *t, mxg_temp **temp, mxg_error *err) {
  if (t->processes && t->processes->rank != 0) return MXG_OK;
  MXG_TRY(check_place(t, err));
  return mxg_temp_create(temp, t->out, err);
}

/* Runs the schedule into a folder beside the result's place, then moves it there. */
static mxg_status move_into_place(mxg_transfer *t, const mxg_bundle *bundle, const mxg_checkpoint *checkpoint,
                                  mxg_error *err) {
  mxg_temp *temp = NULL;
  char folder[path_room] = "";
  mxg_status status = make_folder(t, &temp, err);
  status = tell_folder(t, temp, status, folder, err);
  t->move = (mxg_move){.bundle = bundle,
                       .source = checkpoint,
                       .folder = folder,
                       .wanted = t->wanted,
                       .with_checksums = t->with_checksums,
                       .threads = t->threads,
                       .progress = t->progress,
                       .user = t->user,
                       .transport = t->transport,
                       .timeout_ms = t->timeout_ms,
                       .processes = t->processes,
                       .trace = t->trace,
                       .record = t->record};
  if (status == MXG_OK) status = mxg_move_run(&t->move, err);
  t->move.folder = NULL;
  if (!temp) return status;
  if (status == MXG_OK) return mxg_temp_merge(temp, err);
  mxg_temp_remove(temp);
  return status;
}

/* ---- shard ---- */

static mxg_status shard_from(mxg_transfer *t, const mxg_checkpoint *checkpoint, mxg_error *err) {
  const mxg_model *model;
  MXG_TRY(mxg_original_model(&model, t->model, MXG_SOURCE, checkpoint, &t->arena, err));
  MXG_TRY(mxg_plan_build(&t->plan, model, &t->arena, err));
  MXG_TRY(audit_source(t, model, checkpoint, err));
  t->wanted = mxg_arena_alloc(&t->arena, t->plan->rank_count, sizeof *t->wanted);
  if (!t->wanted) return mxg_fail_nomem(err);
  for (uint32_t r = 0; r < t->plan->rank_count; r++) t->wanted[r] = t->plan->ranks[r].targets > 0;
  MXG_TRY(mxg_bundle_of_plan(&t->made, t->plan, err));
  return move_into_place(t, t->made, checkpoint, err);
}

static mxg_status shard_folder(mxg_transfer *t, const char *folder, mxg_error *err) {
  mxg_checkpoint *checkpoint = NULL;
  MXG_TRY(mxg_checkpoint_open(&checkpoint, folder, err));
  mxg_checkpoint_forget_ranks(checkpoint);
  mxg_status status = shard_from(t, checkpoint, err);
  mxg_checkpoint_close(checkpoint);
  return status;
}

/* The random original goes through a folder like any other; it stays only where it was asked for. */
static mxg_status shard_random(mxg_transfer *t, mxg_error *err) {
  const mxg_model *model;
  mxg_temp *temp = NULL;
  char place[path_room];
  size_t count = strlen(t->out);
  while (count > 1 && t->out[count - 1] == '/') count--;
  int n = t->keep_original ? snprintf(place, sizeof place, "%s", t->keep_original)
                           : snprintf(place, sizeof place, "%.*s.original", (int)count, t->out);
  if (n < 0 || n >= path_room) return mxg_fail(err, MXG_ERR_INPUT, 911, "the output folder's name is too long");
  MXG_TRY(check_original_place(t, err));
  MXG_TRY(mxg_original_model(&model, t->model, MXG_SOURCE, NULL, &t->arena, err));
  MXG_TRY(mxg_temp_create(&temp, place, err));
  mxg_status status = mxg_original_write(model, t->seed, mxg_temp_path(temp), t->threads, t->progress, t->user, err);
  if (status == MXG_OK) status = shard_folder(t, mxg_temp_path(temp), err);
  if (status == MXG_OK && t->keep_original) return mxg_temp_merge(temp, err);
  mxg_temp_remove(temp);
  return status;
}

mxg_status mxg_shard(mxg_transfer *t, mxg_error *err) {
  return t->random ? shard_random(t, err) : shard_folder(t, t->from, err);
}

/* ---- run ---- */

static mxg_status fail_rank(const char *text, mxg_error *err) {
  mxg_fail(err, MXG_ERR_USAGE, 904, "'%.100s' is not a list of ranks", text);
  mxg_error_help(err, "write ranks and ranges, for example 0,4-7");
  return MXG_ERR_USAGE;
}

static mxg_status read_number(uint32_t *out, const char **at, const char *text, mxg_error *err) {
  if (**at < '0' || **at > '9') return fail_rank(text, err);
  uint64_t n = 0;
  for (; **at >= '0' && **at <= '9'; (*at)++)
    if ((n = n * 10 + (uint64_t)(**at - '0')) > UINT32_MAX - 1) return fail_rank(text, err);
  *out = (uint32_t)n;
  return MXG_OK;
}

static mxg_status read_ranks(mxg_transfer *t, mxg_error *err) {
  for (const char *at = t->ranks;;) {
    uint32_t first, last;
    MXG_TRY(read_number(&first, &at, t->ranks, err));
    last = first;
    if (*at == '-') {
      at++;
      MXG_TRY(read_number(&last, &at, t->ranks, err));
    }
    for (uint32_t r = first; r <= last; r++) {
      if (r >= t->plan->rank_count || t->plan->ranks[r].targets == 0)
        return mxg_fail(err, MXG_ERR_INPUT, 813, "rank %u holds nothing of the target side", r);
      t->wanted[r] = true;
    }
    if (*at == 0) return MXG_OK;
    if (*at++ != ',') return fail_rank(t->ranks, err);
  }
}

static mxg_status choose_ranks(mxg_transfer *t, mxg_error *err) {
  uint32_t count = t->plan->rank_count;
  t->wanted = mxg_arena_alloc(&t->arena, count, sizeof *t->wanted);
  bool *replica = mxg_arena_alloc(&t->arena, count, sizeof *replica);
  if (!t->wanted || !replica) return mxg_fail_nomem(err);
  if (t->ranks) return read_ranks(t, err);
  if (!t->all_ranks) MXG_TRY(mxg_plan_replicas(replica, t->plan, err));
  for (uint32_t r = 0; r < count; r++) {
    t->wanted[r] = t->plan->ranks[r].targets && !replica[r];
    t->replicas += replica[r];
  }
  return MXG_OK;
}

static mxg_status run_from(mxg_transfer *t, const mxg_bundle *bundle, const mxg_checkpoint *checkpoint,
                           mxg_error *err) {
  MXG_TRY(audit_source(t, t->model, checkpoint, err));
  return move_into_place(t, bundle, checkpoint, err);
}

mxg_status mxg_run(mxg_transfer *t, mxg_error *err) {
  t->replicas = 0;
  if (t->bundle) {
    t->plan = mxg_bundle_plan(t->bundle);
  } else {
    MXG_TRY(mxg_plan_build(&t->plan, t->model, &t->arena, err));
    MXG_TRY(mxg_bundle_of_plan(&t->made, t->plan, err));
  }
  if (t->processes) MXG_TRY(mxg_processes_fit(t->processes, t->plan->rank_count, err));
  MXG_TRY(choose_ranks(t, err));
  mxg_checkpoint *checkpoint = NULL;
  MXG_TRY(mxg_checkpoint_open(&checkpoint, t->from, err));
  mxg_status status = run_from(t, t->bundle ? t->bundle : t->made, checkpoint, err);
  mxg_checkpoint_close(checkpoint);
  return status;
}
