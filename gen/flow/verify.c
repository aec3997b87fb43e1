/* verify.c -- see verify.h: finds the arrays of both files, makes the list of slabs, hands them to workers,
** collects. The comparison itself is verify_slab.c's. */
#include "verify.h"

#include "error.h"
#include "original.h"
#include "plan_build.h"
#include "replicas.h"
#include "verify_slab.h"
#include "workers.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

enum { slab_elems = 1 << 22 };

typedef struct job {
  mxg_verify *verify;
  const mxg_model *original_model;
  mxg_checkpoint *target, *original; /* original NULL: random */
  mxg_verify_tensor *tensors;
  uint32_t tensor_count;
  const mxg_target_array **arrays; /* one an array of the plan; NULL: not verified */
  bool *moved;                     /* one an array of the plan */
  uint64_t parts;
  pthread_mutex_t lock;
  bool nomem; /* under the lock */
  mxg_error *err;
} job;

/* ---- finding ---- */

static mxg_status fail_tensor(job *j, const mxg_checkpoint *checkpoint, const char *name, const char *reason) {
  mxg_st_shown shown = mxg_st_show(name);
  mxg_fail(j->err, MXG_ERR_INPUT, 810, "'%s' %s", shown.text, reason);
  mxg_error_place(j->err, mxg_checkpoint_path(checkpoint), 0, 0, 0);
  return MXG_ERR_INPUT;
}

/* Maps data and scales of one array; sizes are checked against its shape. */
static mxg_status map_array(mxg_stored *out, job *j, const mxg_checkpoint *checkpoint, uint32_t rank, const char *name,
                            const char *suffix, const mxg_encoding *encoding, uint64_t matrices, uint64_t rows,
                            uint64_t cols) {
  *out = (mxg_stored){.encoding = *encoding, .matrices = matrices, .rows = rows, .cols = cols};
  mxg_scale_shape shape = mxg_scale_shape_of(encoding, rows, cols);
  uint64_t sizes[2] = {matrices * rows * cols * mxg_elem_bytes(encoding->elem),
                       matrices * shape.stored_rows * shape.stored_cols * shape.bytes_each};
  for (int i = 0; i < (encoding->scale == MX_SCALE_NONE ? 1 : 2); i++) {
    char *full = mxg_arena_format(&j->verify->arena, "%s%s", name, i ? suffix : "");
    mxg_found found;
    const unsigned char *base;
    if (!full) return mxg_fail_nomem(j->err);
    if (!mxg_checkpoint_find(checkpoint, rank, full, &found)) return fail_tensor(j, checkpoint, full, "is missing");
    if (found.tensor->bytes != sizes[i])
      return fail_tensor(j, checkpoint, full, "has another size than the recipe says");
    MXG_TRY(mxg_st_map(mxg_checkpoint_file(checkpoint, found.file), &base, j->err));
    if (i == 0)
      out->data = base + found.tensor->offset;
    else
      out->scale = base + found.tensor->offset;
  }
  return MXG_OK;
}

static const char *array_name(const mxg_model *model, mxg_side side, const mxg_shard *shard, mxg_arena *arena) {
  return mxg_naming_name(&model->side[side].namings[shard->tensor], shard->part == MXG_NONE ? 0 : shard->part,
                         shard->first_expert, arena);
}

static mxg_status find_originals(job *j, uint32_t t) {
  const mxg_model *model = j->original_model;
  mxg_verify_tensor *tensor = &j->tensors[t];
  const mxg_shard *shards;
  uint32_t count, held = t;
  mxg_arena *arena = &j->verify->arena;
  MXG_TRY(mxg_layout_shards(&shards, &count, model, MXG_SOURCE, held, 0, arena, j->err));
  if (count == 0) { /* tied: under another name */
    held = mxg_tensor_root(model, t);
    MXG_TRY(mxg_layout_shards(&shards, &count, model, MXG_SOURCE, held, 0, arena, j->err));
  }
  mxg_piece_of_original *originals = mxg_arena_alloc(arena, count, sizeof *originals);
  if (!originals) return mxg_fail_nomem(j->err);
  const mxg_side_model *side = &model->side[MXG_SOURCE];
  tensor->original = side->placements[held].format;
  for (uint32_t s = 0; s < count; s++) {
    const char *name = array_name(model, MXG_SOURCE, &shards[s], arena);
    if (!name) return mxg_fail_nomem(j->err);
    uint64_t rows = tensor->vector ? 1 : shards[s].stored_rows,
             cols = tensor->vector ? shards[s].stored_rows : shards[s].cols;
    originals[s].shard = &shards[s];
    if (j->original)
      MXG_TRY(map_array(&originals[s].stored, j, j->original, MXG_NONE, name, side->scale_suffix,
                        &tensor->original->plane[0], shards[s].experts, rows, cols));
    else
      originals[s].random = mxg_random_begin(j->verify->seed, name, cols);
  }
  tensor->originals = originals;
  tensor->original_count = count;
  return MXG_OK;
}

/* Which block of the source side each row of the tensor lies in, for blocks of more than one row. */
static mxg_status map_row_blocks(job *j, uint32_t t) {
  const mxg_model *model = j->verify->model;
  const mxg_side_model *side = &model->side[MXG_SOURCE];
  mxg_verify_tensor *tensor = &j->tensors[t];
  uint32_t held = side->placements[t].held ? t : mxg_tensor_root(model, t);
  tensor->source = side->placements[held].format;
  for (uint32_t p = 0; p < tensor->source->planes; p++) {
    const mxg_encoding *encoding = &tensor->source->plane[p];
    uint32_t block = tensor->vector ? encoding->block_cols : encoding->block_rows;
    if (encoding->scale == MX_SCALE_NONE || block <= 1 || block == MX_WHOLE) continue;
    uint32_t *blocks = mxg_arena_alloc(&j->verify->arena, tensor->rows, sizeof *blocks);
    if (!blocks) return mxg_fail_nomem(j->err);
    memset(blocks, 0xff, tensor->rows * sizeof *blocks);
    uint32_t next = 0;
    for (uint32_t rank = side->first_rank; rank < side->first_rank + side->rank_count; rank++) {
      const mxg_shard *shards;
      uint32_t count;
      MXG_TRY(mxg_layout_shards(&shards, &count, model, MXG_SOURCE, held, rank, &j->verify->arena, j->err));
      for (uint32_t s = 0; s < count; s++) {
        const mxg_shard *shard = &shards[s];
        if (shard->run_count == 0 || blocks[shard->runs[0].row] != MXG_NONE) continue; /* a replica, another expert */
        for (uint32_t r = 0; r < shard->run_count; r++)
          for (uint64_t k = 0; k < shard->runs[r].rows; k++)
            blocks[shard->runs[r].row + k] = next + (uint32_t)((shard->runs[r].stored + k) / block);
        next += (uint32_t)((shard->stored_rows + block - 1) / block);
      }
    }
    tensor->block_rows[p] = blocks;
    tensor->block_count[p] = next;
  }
  return MXG_OK;
}

/* ---- the target's arrays ---- */

static mxg_status find_chain(uint32_t *out, job *j, const mxg_verify_tensor *tensor, const mxg_encoding *target) {
  mxg_verify *v = j->verify;
  for (uint32_t i = 0; i < v->chain_count; i++) {
    const mxg_chain *chain = &v->chains[i];
    bool same = !memcmp(&chain->target, target, sizeof *target) && chain->source->planes == tensor->source->planes &&
                !memcmp(chain->original->plane, tensor->original->plane, sizeof *chain->original->plane);
    for (uint32_t p = 0; same && p < tensor->source->planes; p++)
      same = !memcmp(&chain->source->plane[p], &tensor->source->plane[p], sizeof *target);
    if (!same) continue;
    *out = i;
    return MXG_OK;
  }
  enum { most = 256 };
  if (!v->chains && !(v->chains = mxg_arena_alloc(&v->arena, most, sizeof *v->chains))) return mxg_fail_nomem(j->err);
  if (v->chain_count == most) return mxg_fail(j->err, MXG_ERR_UNSUPPORTED, 2, "more than %d chains of formats", most);
  v->chains[v->chain_count] = (mxg_chain){.original = tensor->original, .source = tensor->source, .target = *target};
  *out = v->chain_count++;
  return MXG_OK;
}

/* The ranks whose files are there. A folder without rank files holds whole tensors: those of ranks that add something.
 */
static mxg_status choose_ranks(job *j, bool *present, mxg_error *err) {
  const mxg_plan *plan = j->verify->plan;
  bool *replica = mxg_arena_alloc(&j->verify->arena, plan->rank_count, sizeof *replica);
  if (!replica) return mxg_fail_nomem(err);
  MXG_TRY(mxg_plan_replicas(replica, plan, err));
  bool ranked = mxg_checkpoint_ranked(j->target);
  for (uint32_t f = 0; ranked && f < mxg_checkpoint_files(j->target); f++) {
    uint32_t rank = mxg_checkpoint_file_rank(j->target, f);
    if (rank < plan->rank_count && plan->ranks[rank].targets) present[rank] = true;
  }
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    if (!ranked) present[r] = plan->ranks[r].targets && !replica[r];
    j->verify->ranks += present[r];
    j->verify->target_ranks += plan->ranks[r].targets && !replica[r];
  }
  if (j->verify->ranks) return MXG_OK;
  mxg_fail(err, MXG_ERR_INPUT, 851, "there is no file of a rank of the target side");
  mxg_error_place(err, mxg_checkpoint_path(j->target), 0, 0, 0);
  return MXG_ERR_INPUT;
}

/* Pass 0 counts the arrays of each tensor, pass 1 fills them in. */
static mxg_status walk_targets(job *j, const bool *present, mxg_target_array **lists, int pass) {
  mxg_verify *v = j->verify;
  const mxg_side_model *side = &v->model->side[MXG_TARGET];
  for (uint32_t rank = 0; rank < v->plan->rank_count; rank++) {
    uint32_t a = v->plan->ranks[rank].first_target;
    for (uint32_t t = 0; present[rank] && t < v->model->tensor_count; t++) {
      const mxg_shard *shards;
      uint32_t count;
      MXG_TRY(mxg_layout_shards(&shards, &count, v->model, MXG_TARGET, t, rank, &v->arena, j->err));
      uint32_t planes = count ? side->placements[t].format->planes : 0; /* what is not held has no format */
      for (uint32_t i = 0; i < count * planes; i++, a++) {
        mxg_verify_tensor *tensor = &j->tensors[t];
        if (pass == 0) {
          tensor->target_count++;
          continue;
        }
        const mxg_array *array = &v->plan->arrays[a];
        const mxg_encoding *encoding = &v->plan->encodings[array->encoding];
        mxg_target_array *to = lists[t]++;
        *to = (mxg_target_array){
            .shard = &shards[i / side->placements[t].format->planes], .array = a, .moved = j->moved[a]};
        MXG_TRY(map_array(&to->stored, j, j->target, rank, v->plan->strings + array->name, side->scale_suffix, encoding,
                          array->matrices, array->rows, array->cols));
        MXG_TRY(find_chain(&to->chain, j, tensor, encoding));
        v->chains[to->chain].arrays++;
        j->arrays[a] = to;
        v->verified[a] = true;
        v->arrays++;
      }
    }
  }
  return MXG_OK;
}

static mxg_status find_targets(job *j) {
  mxg_verify *v = j->verify;
  mxg_arena *arena = &v->arena;
  bool *present = mxg_arena_alloc(arena, v->plan->rank_count, sizeof *present);
  mxg_target_array **lists = mxg_arena_alloc(arena, j->tensor_count, sizeof *lists);
  j->arrays = mxg_arena_alloc(arena, v->plan->array_count, sizeof *j->arrays);
  j->moved = mxg_arena_alloc(arena, v->plan->array_count, sizeof *j->moved);
  v->verified = mxg_arena_alloc(arena, v->plan->array_count, sizeof *v->verified);
  if (!present || !lists || !j->arrays || !j->moved || !v->verified) return mxg_fail_nomem(j->err);
  memset(j->moved, 1, v->plan->array_count * sizeof *j->moved);
  for (uint32_t i = 0; i < v->plan->piece_count; i++) {
    const mxg_piece *piece = &v->plan->pieces[i];
    if (v->plan->kernels[piece->kernel].family != MXG_MOVE) j->moved[piece->dst] = false;
  }
  MXG_TRY(choose_ranks(j, present, j->err));
  MXG_TRY(walk_targets(j, present, NULL, 0));
  for (uint32_t t = 0; t < j->tensor_count; t++) {
    lists[t] = mxg_arena_alloc(arena, j->tensors[t].target_count, sizeof **lists);
    if (!lists[t]) return mxg_fail_nomem(j->err);
    j->tensors[t].targets = lists[t];
  }
  return walk_targets(j, present, lists, 1);
}

/* ---- slabs ---- */

static void cut_slabs(job *j) {
  for (uint32_t t = 0; t < j->tensor_count; t++) {
    mxg_verify_tensor *tensor = &j->tensors[t];
    uint64_t cols = tensor->rows ? slab_elems / tensor->rows / 128 * 128 : 128;
    tensor->slab_cols = cols < 128 ? 128 : cols;
    tensor->slabs = tensor->target_count ? (tensor->cols + tensor->slab_cols - 1) / tensor->slab_cols : 0;
    tensor->first_part = j->parts;
    j->parts += tensor->slabs * tensor->experts;
  }
}

static uint32_t tensor_of(const job *j, uint64_t part) {
  uint32_t low = 0, high = j->tensor_count;
  while (high - low > 1) { /* the last tensor whose parts begin at or before this one */
    uint32_t middle = low + (high - low) / 2;
    if (j->tensors[middle].first_part <= part)
      low = middle;
    else
      high = middle;
  }
  return low;
}

static void lose(job *j) {
  pthread_mutex_lock(&j->lock);
  j->nomem = true;
  pthread_mutex_unlock(&j->lock);
}

static void measure_part(void *user, uint64_t part) {
  job *j = user;
  const mxg_verify_tensor *tensor = &j->tensors[tensor_of(j, part)];
  if (!tensor->largest) return;
  uint64_t local = part - tensor->first_part, expert = local / tensor->slabs;
  double largest;
  if (!mxg_slab_largest(&largest, tensor, expert, local % tensor->slabs)) {
    lose(j);
    return;
  }
  pthread_mutex_lock(&j->lock);
  if (largest > tensor->largest[expert]) tensor->largest[expert] = largest;
  pthread_mutex_unlock(&j->lock);
}

/* True when the first is the worse finding: by ratio, then by place, so that threads do not matter. */
static bool is_worse(const mxg_chain *a, const mxg_chain *b) {
  if (a->elements == 0 || b->elements == 0) return a->elements > 0;
  if (a->worst > b->worst || b->worst > a->worst) return a->worst > b->worst;
  if (a->array != b->array) return a->array < b->array;
  if (a->matrix != b->matrix) return a->matrix < b->matrix;
  return a->row != b->row ? a->row < b->row : a->col < b->col;
}

static void compare_part(void *user, uint64_t part) {
  job *j = user;
  const mxg_verify_tensor *tensor = &j->tensors[tensor_of(j, part)];
  uint64_t local = part - tensor->first_part;
  mxg_verify *v = j->verify;
  mxg_chain *found = mxg_alloc(v->chain_count * sizeof *found);
  if (!found || !mxg_slab_compare(found, tensor, local / tensor->slabs, local % tensor->slabs)) {
    mxg_free(found);
    lose(j);
    return;
  }
  pthread_mutex_lock(&j->lock);
  for (uint32_t i = 0; i < v->chain_count; i++) {
    mxg_chain *all = &v->chains[i];
    const mxg_chain *mine = &found[i];
    if (is_worse(mine, all)) {
      all->worst = mine->worst, all->array = mine->array, all->matrix = mine->matrix;
      all->row = mine->row, all->col = mine->col;
      all->want = mine->want, all->have = mine->have, all->bound = mine->bound;
    }
    all->elements += mine->elements;
    all->outside += mine->outside;
    all->unjudged += mine->unjudged;
  }
  pthread_mutex_unlock(&j->lock);
  mxg_free(found);
}

/* Formats with one scale for a matrix need the largest magnitude of all of it first. */
static mxg_status measure_wholes(job *j) {
  bool any = false;
  for (uint32_t t = 0; t < j->tensor_count; t++) {
    mxg_verify_tensor *tensor = &j->tensors[t];
    bool whole = false;
    for (uint32_t p = 0; p < tensor->source->planes; p++)
      whole = whole || tensor->source->plane[p].block_rows == MX_WHOLE;
    for (uint32_t i = 0; i < tensor->target_count; i++)
      whole = whole || tensor->targets[i].stored.encoding.block_rows == MX_WHOLE;
    if (!whole) continue;
    any = true;
    tensor->largest = mxg_arena_alloc(&j->verify->arena, tensor->experts, sizeof *tensor->largest);
    if (!tensor->largest) return mxg_fail_nomem(j->err);
  }
  if (!any) return MXG_OK;
  return mxg_workers_run(measure_part, j, j->parts, j->verify->threads, 0, NULL, NULL, j->err);
}

static mxg_status take_checksums(job *j) {
  mxg_verify *v = j->verify;
  if (!v->with_checksums) return MXG_OK;
  v->checks = mxg_arena_alloc(&v->arena, v->plan->array_count, sizeof *v->checks);
  if (!v->checks) return mxg_fail_nomem(j->err);
  for (uint32_t a = 0; a < v->plan->array_count; a++) {
    if (!v->verified[a]) continue;
    const mxg_array *array = &v->plan->arrays[a];
    const mxg_stored *stored = &j->arrays[a]->stored;
    v->checks[a].data = mxg_checksum_bytes(stored->data, mxg_array_data_bytes(v->plan, array));
    if (stored->scale) v->checks[a].scale = mxg_checksum_bytes(stored->scale, mxg_array_scale_bytes(v->plan, array));
    MXG_TRY(mxg_checksum_values(&v->checks[a].values, stored, v->threads, j->err));
  }
  return MXG_OK;
}

/* ---- all of it ---- */

static mxg_status verdict(job *j) {
  mxg_verify *v = j->verify;
  const mxg_chain *first = NULL;
  for (uint32_t i = 0; i < v->chain_count; i++) {
    const mxg_chain *chain = &v->chains[i];
    v->elements += chain->elements;
    v->outside += chain->outside;
    v->unjudged += chain->unjudged;
    if (chain->outside && (!first || chain->worst > first->worst)) first = chain;
  }
  if (!first) return MXG_OK;
  const mxg_array *array = &v->plan->arrays[first->array];
  mxg_st_shown shown = mxg_st_show(v->plan->strings + array->name);
  mxg_fail(j->err, MXG_ERR_WRONG, 850, "%llu of %llu elements are further from the original than their formats allow",
           (unsigned long long)v->outside, (unsigned long long)v->elements);
  mxg_error_place(j->err, mxg_checkpoint_path(j->target), 0, 0, 0);
  mxg_error_note(j->err,
                 "the worst is '%s' of rank %u, [%llu, %llu, %llu]: %.9g, the original is %.9g, allowed is %.3g",
                 shown.text, array->rank, (unsigned long long)first->matrix, (unsigned long long)first->row,
                 (unsigned long long)first->col, first->have, first->want, first->bound);
  return MXG_ERR_WRONG;
}

static mxg_status run_job(job *j) {
  mxg_verify *v = j->verify;
  uint64_t bytes = 0;
  MXG_TRY(mxg_plan_build(&v->plan, v->model, &v->arena, j->err));
  MXG_TRY(mxg_plan_check(v->plan, j->err));
  MXG_TRY(mxg_checkpoint_open(&j->target, v->target, j->err));
  if (v->original) MXG_TRY(mxg_checkpoint_open(&j->original, v->original, j->err));
  if (v->original) mxg_checkpoint_forget_ranks(j->original);
  MXG_TRY(mxg_original_model(&j->original_model, v->model, MXG_TARGET, j->original, &v->arena, j->err));
  j->tensor_count = v->model->tensor_count;
  j->tensors = mxg_arena_alloc(&v->arena, j->tensor_count, sizeof *j->tensors);
  if (!j->tensors) return mxg_fail_nomem(j->err);
  for (uint32_t t = 0; t < j->tensor_count; t++) {
    const mxg_tensor *tensor = &v->model->tensors[t];
    j->tensors[t].vector = tensor->ndim == 1;
    j->tensors[t].experts = tensor->experts;
    j->tensors[t].rows = tensor->rows;
    j->tensors[t].cols = tensor->cols;
    MXG_TRY(find_originals(j, t));
    MXG_TRY(map_row_blocks(j, t));
  }
  MXG_TRY(find_targets(j));
  cut_slabs(j);
  MXG_TRY(measure_wholes(j));
  for (uint32_t a = 0; a < v->plan->array_count; a++)
    if (v->verified[a])
      bytes += mxg_array_data_bytes(v->plan, &v->plan->arrays[a]) + mxg_array_scale_bytes(v->plan, &v->plan->arrays[a]);
  MXG_TRY(mxg_workers_run(compare_part, j, j->parts, v->threads, bytes, v->progress, v->user, j->err));
  if (j->nomem) return mxg_fail_nomem(j->err);
  MXG_TRY(take_checksums(j));
  return verdict(j);
}

mxg_status mxg_verify_run(mxg_verify *verify, mxg_error *err) {
  job j = {.verify = verify, .lock = PTHREAD_MUTEX_INITIALIZER, .err = err};
  mxg_status status = run_job(&j);
  mxg_checkpoint_close(j.target);
  mxg_checkpoint_close(j.original);
  pthread_mutex_destroy(&j.lock);
  return status;
}

void mxg_verify_end(mxg_verify *verify) {
  mxg_arena_free(&verify->arena);
  verify->plan = NULL;
  verify->chains = NULL;
  verify->checks = NULL;
  verify->verified = NULL;
}
