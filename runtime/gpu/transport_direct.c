/* transport_direct.c -- kernels that read the sources where they lie, other ranks' too: no staging, nothing waits.
**
** What comes over a link takes longer than what is at home. So the parts of one kernel alternate between the ranks they
** come from, in one launch: the link is busy from its first block to its last. */
#include "memory.h"
#include "parts.h"
#include "transport_gpu.h"

enum { part_bytes = 512 << 10, side_streams = 3 };

/* The parts of one kernel, by source rank. */
typedef struct lane {
  uint32_t rank;
  mxg_parts parts;
} lane;

/* Takes from every lane in turn; a lane that has more parts gives more of them at a time. */
static void merge(mxg_parts *out, const mxg_plan *plan, const lane *lanes, uint32_t count) {
  size_t most = 0;
  for (uint32_t i = 0; i < count; i++)
    if (lanes[i].parts.count > most) most = lanes[i].parts.count;
  for (size_t turn = 0; turn < most; turn++) {
    for (uint32_t i = 0; i < count; i++) {
      const mxg_parts *parts = &lanes[i].parts;
      mxg_plan lent = mxg_parts_plan(parts, plan);
      for (size_t k = parts->count * turn / most; k < parts->count * (turn + 1) / most; k++)
        (void)mxg_parts_add(out, &lent, &parts->pieces[k], UINT64_MAX / 2);
    }
  }
}

/* The lane of a source rank: ranks after the own one first, so that no rank is everybody's first. */
static lane *lane_of(lane *lanes, uint32_t *count, uint32_t rank) {
  for (uint32_t i = 0; i < *count; i++)
    if (lanes[i].rank == rank) return &lanes[i];
  lanes[*count] = (lane){.rank = rank};
  return &lanes[(*count)++];
}

typedef struct batch {
  mxg_gpu_rank *rank;
  const mxg_plan *plan;
  uint32_t first, end; /* pieces: those of one bucket and phase lie together */
  bool *taken;
  lane *lanes;
  unsigned next_stream, streams; /* side streams that stream 0 has not waited for: 1 to `streams` */
} batch;

/* All pieces of one kernel as one launch. */
static void convert_kernel(batch *b, uint32_t kernel, unsigned stream) {
  const mxg_gpu_rank *r = b->rank;
  uint32_t lanes = 0;
  bool failed = false;
  for (uint32_t i = b->first; i < b->end; i++) {
    mxg_piece piece = b->plan->pieces[i];
    if (piece.kernel_direct != kernel || b->taken[i - b->first]) continue;
    b->taken[i - b->first] = true;
    if (r->team->kept[piece.dst]) continue;
    piece.wire_bytes = 0; /* it has no place in a slot that parts would have to keep to */
    lane *to = lane_of(b->lanes, &lanes, b->plan->arrays[piece.src].rank);
    (void)mxg_parts_add(&to->parts, b->plan, &piece, part_bytes);
  }
  mxg_parts merged = {0};
  merge(&merged, b->plan, b->lanes, lanes);
  for (uint32_t i = 0; i < lanes; i++) {
    failed = failed || b->lanes[i].parts.failed;
    mxg_parts_free(&b->lanes[i].parts);
  }
  mxg_plan lent = mxg_parts_plan(&merged, b->plan);
  if (failed || merged.failed)
    b->rank->program.failed = true;
  else if (merged.count)
    mxg_rank_convert(b->rank, stream, &lent, 0, (uint32_t)merged.count, 0, true);
  mxg_parts_free(&merged);
}

/* Kernels of one phase do not depend on each other: they go to streams in turn, so that the end of one and the
** beginning of the next overlap. */
static void convert_batch(batch *b) {
  mxg_gpu_program *program = &b->rank->program;
  unsigned followed = 0; /* side streams that wait for what was before this batch */
  uint32_t before = mxg_program_record(program, 0);
  b->taken = mxg_alloc((b->end - b->first) * sizeof *b->taken);
  if (!b->taken) program->failed = true;
  for (uint32_t i = b->first; i < b->end && !program->failed; i++) {
    if (b->taken[i - b->first]) continue;
    unsigned stream = b->next_stream++ % (side_streams + 1);
    if (stream > followed) {
      mxg_program_follow(program, stream, before);
      followed = stream;
      if (b->streams < stream) b->streams = stream;
    }
    convert_kernel(b, b->plan->pieces[i].kernel_direct, stream);
  }
  mxg_free(b->taken);
}

static void join(batch *b) {
  for (unsigned s = 1; s <= b->streams; s++) mxg_program_order(&b->rank->program, s, 0);
  b->streams = 0;
}

void mxg_direct_build(mxg_gpu_rank *r) {
  const mxg_plan *plan = r->team->view->plan;
  const mxg_rank *rank = &plan->ranks[r->rank];
  batch b = {.rank = r, .plan = plan};
  b.lanes = mxg_alloc(plan->rank_count * sizeof *b.lanes);
  if (!b.lanes) r->program.failed = true;
  uint32_t last_bucket = MXG_NONE, last_phase = 0;
  for (uint32_t s = rank->first_step; s < rank->first_step + rank->steps && !r->program.failed; s++) {
    const mxg_step *step = &plan->steps[s];
    if (!mxg_rank_takes(r, step)) continue;
    if (step->kind == MXG_STEP_FILL) mxg_rank_fill(r, 0, step);
    if (step->kind != MXG_STEP_CONVERT) continue;
    uint32_t phase = plan->pieces[step->first].phase;
    if (step->bucket == last_bucket && phase == last_phase && step->first >= b.first && step->first < b.end)
      continue; /* with the first step of its kind */
    last_bucket = step->bucket;
    last_phase = phase;
    b.first = step->first;
    for (b.end = b.first; b.end < plan->piece_count; b.end++) {
      const mxg_piece *p = &plan->pieces[b.end];
      if (p->bucket != step->bucket || p->phase != phase || plan->arrays[p->dst].rank != r->rank) break;
    }
    b.next_stream = 0;
    convert_batch(&b);
    if (rank->scratches) join(&b); /* later phases read it, and later buckets have its slot */
    if (s + 1 < rank->first_step + rank->steps && step->bucket % 16 == 15) {
      join(&b);
      mxg_program_mark(&r->program, 0, s);
    }
  }
  join(&b);
  mxg_free(b.lanes);
}

static mxg_status direct_open(void **state, const mxg_exec_view *view, mxg_error *err) {
  return mxg_team_open(state, view, "direct", mxg_direct_build, false, false, err);
}

const mxg_transport_table mxg_transport_direct = {
    .name = "direct", .open = direct_open, .share = mxg_team_share, MXG_TEAM_CALLS};
