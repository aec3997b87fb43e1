/* The programs of transport nccl of all ranks, carried out here together: an exchange posts what it sends and
** receives, what is posted by both sides of a pair is moved in the order of the posts, and an exchange ends when all
** of it was moved. Streams and ranks run in random turns. Whatever the turns, targets are the host transport's, bit
** for bit, and staging keeps to what was measured for it. Ranks that do not agree on the order fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "exchange.h"
#include "failing_memory.h"
#include "gpu_machine.h"
#include "nccl.h"

/* ---- all ranks at once ---- */

typedef struct post {
  const mxg_transfer *transfer;
  size_t op; /* of its rank's program */
} post;

/* What one rank has posted for another, and what of it was moved. */
typedef struct queue {
  post *posts;
  size_t count, capacity, done;
} queue;

typedef struct cluster {
  machine *ranks;
  uint32_t count;
  queue *sent, *received; /* by rank and peer */
  size_t *posted, *left;  /* by rank: the exchange under way, 1 + its op; its transfers that were not moved */
  bool mismatch;
} cluster;

static queue *queue_of(queue *all, const cluster *c, uint32_t rank, uint32_t peer) {
  return &all[rank * c->count + peer];
}

static void post_exchange(cluster *c, uint32_t rank, size_t at) {
  const mxg_gpu_program *p = c->ranks[rank].program;
  const mxg_gpu_op *op = &p->ops[at];
  assert_int_equal(op->stream, 1); /* a communicator's groups come one after another */
  assert_int_equal(c->posted[rank], 0);
  assert_true(op->u.exchange.count > 0);
  c->posted[rank] = 1 + at;
  c->left[rank] = op->u.exchange.count;
  for (uint32_t i = 0; i < op->u.exchange.count; i++) {
    const mxg_transfer *t = &p->transfers[op->u.exchange.first + i];
    assert_true(t->kind == MXG_SEND || t->kind == MXG_RECEIVE);
    assert_true(t->peer < c->count && t->peer != rank && t->bytes > 0);
    queue *q = queue_of(t->kind == MXG_SEND ? c->sent : c->received, c, rank, t->peer);
    post *fresh = mxg_vector_push((void **)&q->posts, &q->count, &q->capacity, sizeof *fresh);
    assert_non_null(fresh);
    *fresh = (post){t, at};
    if (t->kind == MXG_RECEIVE)
      memset((void *)(uintptr_t)t->memory, 0xdd, (size_t)t->bytes); /* whoever reads too early */
  }
}

/* Moves what both sides of some pair have posted; false: there is nothing. */
static bool move_some(cluster *c) {
  uint32_t first = random_below(c->count * c->count);
  for (uint32_t i = 0; i < c->count * c->count; i++) {
    uint32_t pair = (first + i) % (c->count * c->count), from = pair / c->count, to = pair % c->count;
    queue *s = queue_of(c->sent, c, from, to), *r = queue_of(c->received, c, to, from);
    if (s->done == s->count || r->done == r->count) continue;
    const mxg_transfer *out = s->posts[s->done++].transfer, *in = r->posts[r->done++].transfer;
    if (out->bytes != in->bytes) {
      c->mismatch = true;
      return false;
    }
    memcpy((void *)(uintptr_t)in->memory, (void *)(uintptr_t)out->memory, (size_t)in->bytes);
    c->left[from]--;
    c->left[to]--;
    return true;
  }
  return false;
}

/* One op of one rank; false: it can do nothing now. */
static bool step_rank(cluster *c, uint32_t rank, int manner) {
  machine *m = &c->ranks[rank];
  int can[MXG_STREAMS_MOST], count = 0;
  for (unsigned s = 0; s < m->program->stream_count; s++) {
    if (!may_run(m, s)) continue;
    bool busy = m->program->ops[m->at[s]].kind == MXG_OP_EXCHANGE && c->posted[rank] && c->left[rank];
    if (!busy) can[count++] = (int)s;
  }
  if (count == 0) return false;
  unsigned s = (unsigned)(manner == converts_first ? can[0]
                          : manner == copies_first ? can[count - 1]
                                                   : can[random_below((uint32_t)count)]);
  size_t at = m->at[s];
  if (m->program->ops[at].kind == MXG_OP_EXCHANGE && !c->posted[rank]) {
    post_exchange(c, rank, at);
    return true;
  }
  if (m->program->ops[at].kind == MXG_OP_EXCHANGE) c->posted[rank] = 0;
  carry_out(m, &m->program->ops[at]);
  m->at[s] = next_of(m->program, s, at + 1);
  return true;
}

/* False: the ranks wait for each other for ever, or one sends what the other does not expect. */
static bool run_cluster(const mxg_plan *plan, mxg_gpu_rank *ranks, uint32_t count, int manner, bool aligned) {
  cluster c = {.count = count};
  c.ranks = calloc(count, sizeof *c.ranks);
  c.sent = calloc((size_t)count * count, sizeof *c.sent);
  c.received = calloc((size_t)count * count, sizeof *c.received);
  c.posted = calloc(count, sizeof *c.posted);
  c.left = calloc(count, sizeof *c.left);
  assert_true(c.ranks && c.sent && c.received && c.posted && c.left);
  for (uint32_t r = 0; r < count; r++) {
    machine *m = &c.ranks[r];
    *m = (machine){.plan = plan, .program = &ranks[r].program, .aligned = aligned};
    m->recorded = calloc(m->program->event_count + 1, sizeof *m->recorded);
    assert_non_null(m->recorded);
    check_events(m->program);
    check_end(m->program);
    if (manner == copies_first) check_races(plan, m->program);
    for (unsigned s = 0; s < m->program->stream_count; s++) m->at[s] = next_of(m->program, s, 0);
  }
  for (bool any = true; any && !c.mismatch;) {
    uint32_t first = random_below(count);
    any = random_below(2) && move_some(&c);
    for (uint32_t r = 0; r < count && !any; r++) any = step_rank(&c, (first + r) % count, manner);
    any = any || move_some(&c);
  }
  bool ended = !c.mismatch;
  for (uint32_t r = 0; r < count; r++) {
    for (unsigned s = 0; s < c.ranks[r].program->stream_count; s++)
      ended = ended && c.ranks[r].at[s] == c.ranks[r].program->count;
    free(c.ranks[r].recorded);
  }
  for (uint32_t i = 0; i < count * count; i++) {
    ended = ended && c.sent[i].done == c.sent[i].count && c.received[i].done == c.received[i].count;
    mxg_free(c.sent[i].posts);
    mxg_free(c.received[i].posts);
  }
  free(c.ranks);
  free(c.sent);
  free(c.received);
  free(c.posted);
  free(c.left);
  return ended;
}

/* ---- one plan ---- */

typedef struct lab {
  const mxg_bundle *bundle;
  const mxg_plan *plan;
  mxg_exec_view view;
  mxg_gpu_team team;
  mxg_gpu_rank *ranks;
  bool aligned;
} lab;

static uint64_t begin_rank(lab *l, uint32_t rank) {
  mxg_gpu_rank *r = &l->ranks[rank];
  uint64_t staging = 0, all = 0;
  *r = (mxg_gpu_rank){.team = &l->team, .rank = rank};
  r->slots = calloc(l->plan->slots + 1, sizeof *r->slots);
  assert_non_null(r->slots);
  mxg_rank_measure_slots(r);
  for (uint32_t i = 0; i < l->plan->slots; i++) {
    uint64_t bytes = r->slots[i].end - r->slots[i].begin;
    r->slots[i].memory = (uint64_t)(uintptr_t)new_bytes(bytes, l->aligned);
    all += bytes;
  }
  mxg_rank_place_scratch(r);
  assert_true(mxg_nccl_measure(r, &staging));
  unsigned char *memory = aligned_alloc(256, (size_t)(staging / 256 + 1) * 256 + 256);
  assert_non_null(memory);
  memset(memory, 0xee, (size_t)(staging / 256 + 1) * 256 + 256);
  r->staging = (uint64_t)(uintptr_t)memory;
  return all + staging;
}

/* Past the end of the staging nothing was written. */
static void check_staging(lab *l, uint32_t rank) {
  uint64_t staging = 0;
  assert_true(mxg_nccl_measure(&l->ranks[rank], &staging));
  const unsigned char *memory = (const unsigned char *)(uintptr_t)l->ranks[rank].staging;
  for (uint64_t i = staging; i < (staging / 256 + 1) * 256 + 256; i++) assert_int_equal(memory[i], 0xee);
}

static void drop_program(mxg_gpu_rank *r) {
  mxg_free(r->program.ops);
  mxg_free(r->program.entries);
  mxg_free(r->program.transfers);
  mxg_free(r->program.steps);
  r->program = (mxg_gpu_program){0};
}

static void end_rank(lab *l, uint32_t rank) {
  mxg_gpu_rank *r = &l->ranks[rank];
  check_staging(l, rank);
  drop_program(r);
  for (uint32_t i = 0; i < l->plan->slots; i++) free((void *)(uintptr_t)r->slots[i].memory);
  free(r->slots);
  free((void *)(uintptr_t)r->staging);
}

static void begin_lab(lab *l, const mxg_bundle *bundle, const stored *all, uint64_t chunk, bool aligned) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  *l = (lab){.bundle = bundle, .plan = plan, .aligned = aligned, .view = {.bundle = bundle, .plan = plan}};
  l->view.options.chunk_bytes = chunk;
  l->team.exchanges = true;
  l->team.view = &l->view;
  take_team_arrays(&l->team, plan);
  l->ranks = calloc(plan->rank_count, sizeof *l->ranks);
  assert_non_null(l->ranks);
  for (uint32_t i = 0; i < plan->array_count; i++)
    l->team.places[i] = (mxg_place){(uint64_t)(uintptr_t)all[i].data, (uint64_t)(uintptr_t)all[i].scale};
  for (uint32_t r = 0; r < plan->rank_count; r++) begin_rank(l, r);
}

static void end_lab(lab *l) {
  for (uint32_t r = 0; r < l->plan->rank_count; r++) end_rank(l, r);
  free_team_arrays(&l->team);
  free(l->ranks);
}

static void build_all(lab *l, bool part, uint32_t group) {
  for (uint32_t r = 0; r < l->plan->rank_count; r++) {
    drop_program(&l->ranks[r]);
    l->ranks[r].program.part = part;
    l->ranks[r].program.group = group;
    mxg_nccl_build(&l->ranks[r]);
    assert_false(l->ranks[r].program.failed);
  }
}

static void run_lab(lab *l, int manner, bool groups) {
  uint32_t count = l->plan->rank_count;
  for (uint32_t g = 0; g < l->plan->group_count && groups; g++) {
    build_all(l, true, manner == copies_first ? g : l->plan->group_count - 1 - g);
    assert_true(run_cluster(l->plan, l->ranks, count, manner, l->aligned));
  }
  if (groups) return;
  build_all(l, false, 0);
  assert_true(run_cluster(l->plan, l->ranks, count, manner, l->aligned));
  if (manner == by_chance) assert_true(run_cluster(l->plan, l->ranks, count, manner, l->aligned));
}

static void compare(const char *name, const mxg_plan *plan, const stored *all, const stored *want, uint64_t chunk) {
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side != MXG_TARGET) continue;
    if (memcmp(all[i].data, want[i].data, (size_t)all[i].data_bytes) ||
        (all[i].scale && memcmp(all[i].scale, want[i].scale, (size_t)all[i].scale_bytes)))
      fail_msg("%s, rounds of %llu: \"%s\" of rank %u is wrong", name, (unsigned long long)chunk,
               plan->strings + a->name, a->rank);
  }
}

static void try_plan(const char *name, const mxg_bundle *bundle, bool aligned) {
  static const uint64_t chunks[] = {0, 1, 700, 5000};
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  stored *all = new_arrays(plan, aligned), *want = new_arrays(plan, aligned);
  fill_sources(plan, all);
  for (uint32_t i = 0; i < plan->array_count; i++) {
    if (plan->arrays[i].side != MXG_SOURCE) continue;
    memcpy(want[i].data, all[i].data, (size_t)all[i].data_bytes);
    if (all[i].scale) memcpy(want[i].scale, all[i].scale, (size_t)all[i].scale_bytes);
  }
  run_host(bundle, plan, want);
  for (size_t k = 0; k < sizeof chunks / sizeof *chunks; k++)
    for (int manner = 0; manner < manners; manner++)
      for (int groups = 0; groups < 2; groups++) {
        lab l;
        begin_lab(&l, bundle, all, chunks[k], aligned);
        poison_targets(plan, all);
        run_lab(&l, manner, groups);
        compare(name, plan, all, want, chunks[k]);
        end_lab(&l);
      }
  free_arrays(plan, all);
  free_arrays(plan, want);
}

static void every_sample(void **state) {
  (void)state;
  try_every_sample(try_plan);
}

static void tiny_recipes(void **state) {
  (void)state;
  try_tiny_recipes(try_plan);
}

/* Two exchanges of one rank the other way round. */
static void another_order_fails(void **state) {
  (void)state;
  planned made = plan_recipe(MXG_ROOT "/recipes/tiny_dense.lua");
  const mxg_plan *plan = mxg_bundle_plan(made.bundle);
  stored *all = new_arrays(plan, true);
  fill_sources(plan, all);
  lab l;
  begin_lab(&l, made.bundle, all, 0, true);
  build_all(&l, false, 0);
  mxg_gpu_program *p = &l.ranks[0].program;
  size_t at[2], count = 0;
  for (size_t i = 0; i < p->count && count < 2; i++)
    if (p->ops[i].kind == MXG_OP_EXCHANGE) at[count++] = i;
  assert_int_equal(count, 2);
  assert_true(run_cluster(plan, l.ranks, plan->rank_count, by_chance, true));
  mxg_gpu_op first = p->ops[at[0]];
  p->ops[at[0]].u.exchange = p->ops[at[1]].u.exchange;
  p->ops[at[1]].u.exchange = first.u.exchange;
  assert_false(run_cluster(plan, l.ranks, plan->rank_count, by_chance, true));
  end_lab(&l);
  free_arrays(plan, all);
  mxg_bundle_free(made.bundle);
  mxg_arena_free(&made.arena);
}

/* ---- large plans: what it costs ---- */

typedef struct tally {
  unsigned exchanges, transfers, copies, launches;
  uint64_t sent, received, packed;
} tally;

static tally count_ops(const mxg_gpu_program *p) {
  tally n = {0};
  for (size_t i = 0; i < p->count; i++) {
    n.exchanges += p->ops[i].kind == MXG_OP_EXCHANGE;
    n.copies += p->ops[i].kind == MXG_OP_COPY;
    n.launches += p->ops[i].kind == MXG_OP_LAUNCH;
    if (p->ops[i].kind == MXG_OP_COPY) n.packed += p->ops[i].u.copy.width * p->ops[i].u.copy.height;
  }
  for (size_t i = 0; i < p->transfer_count; i++) {
    n.transfers++;
    *(p->transfers[i].kind == MXG_SEND ? &n.sent : &n.received) += p->transfers[i].bytes;
  }
  return n;
}

/* One message a pair and exchange, all of it packed, and staging keeps to the recipe's cap. */
static void few_exchanges(void **state) {
  (void)state;
  static const struct {
    const char *recipe;
    unsigned exchanges, launches;
  } most[] = {{MXG_ROOT "/recipes/llama3_8b_tp2.lua", 28, 140}, {MXG_ROOT "/recipes/qwen3_30b_a3b_ep2.lua", 85, 700}};
  for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
    planned made = plan_recipe(most[i].recipe);
    const mxg_plan *plan = mxg_bundle_plan(made.bundle);
    mxg_exec_view view = {.bundle = made.bundle, .plan = plan};
    mxg_gpu_team team = {.view = &view, .exchanges = true};
    mxg_gpu_slot slots[8] = {{0}};
    mxg_gpu_rank r = {.team = &team, .rank = 1, .slots = slots};
    uint64_t staging = 0, at = (uint64_t)1 << 40;
    take_team_arrays(&team, plan);
    assert_true(plan->slots < 8);
    for (uint32_t a = 0; a < plan->array_count; a++) {
      team.places[a] = (mxg_place){at, at + mxg_array_data_bytes(plan, &plan->arrays[a])};
      at += (uint64_t)1 << 32;
    }
    assert_true(mxg_nccl_measure(&r, &staging));
    assert_true(staging > 0 && staging <= plan->staging_cap);
    r.staging = at;
    mxg_nccl_build(&r);
    assert_false(r.program.failed);
    tally n = count_ops(&r.program);
    uint64_t received = plan->ranks[1].received_bytes;
    assert_true(n.received >= received && n.received < received + received / 100);
    assert_in_range(n.packed, n.sent - n.sent / 1000, n.sent);
    assert_int_equal(n.transfers, 2 * n.exchanges);
    assert_in_range(n.exchanges, 1, most[i].exchanges);
    assert_in_range(n.launches, 1, most[i].launches);
    drop_program(&r);
    free_team_arrays(&team);
    mxg_bundle_free(made.bundle);
    mxg_arena_free(&made.arena);
  }
}

/* Where a few ranks send to many, what they pack for them keeps to the cap too. */
static void few_send_to_many(void **state) {
  (void)state;
  planned made = plan_recipe(MXG_ROOT "/tests/unit/fan_out.lua");
  const mxg_plan *plan = mxg_bundle_plan(made.bundle);
  mxg_exec_view view = {.bundle = made.bundle, .plan = plan};
  mxg_gpu_team team = {.view = &view, .exchanges = true};
  for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
    mxg_gpu_rank r = {.team = &team, .rank = rank};
    uint64_t staging = 0;
    assert_true(mxg_nccl_measure(&r, &staging));
    assert_in_range(staging, 1, plan->staging_cap);
  }
  mxg_bundle_free(made.bundle);
  mxg_arena_free(&made.arena);
}

/* ---- when things are not there ---- */

static void no_memory(void **state) {
  (void)state;
  fixture *f = sample_grouped();
  mxg_bundle *bundle = bundle_of(&f->plan);
  stored *all = new_arrays(&f->plan, true);
  lab l;
  begin_lab(&l, bundle, all, 300, true);
  mxg_memory_fn usual = mxg_memory_hook;
  bool failed = true;
  for (long most = 0; failed; most++) {
    uint64_t bytes = 0;
    assert_true(most < 10000);
    drop_program(&l.ranks[1]);
    allocations_left = most;
    mxg_memory_hook = fail_from_then_on;
    mxg_nccl_build(&l.ranks[1]);
    mxg_memory_hook = usual;
    failed = l.ranks[1].program.failed;
    if (most == 0) assert_true(failed);
    allocations_left = most;
    mxg_memory_hook = fail_from_then_on;
    bool measured = mxg_nccl_measure(&l.ranks[1], &bytes);
    mxg_memory_hook = usual;
    if (most == 0) assert_false(measured);
  }
  end_lab(&l);
  free_arrays(&f->plan, all);
  mxg_bundle_free(bundle);
  free(f);
}

/* Without NCCL or GPUs an executor is refused, in words. */
static void refused(void **state) {
  (void)state;
  fixture *f = sample_grouped();
  mxg_bundle *bundle = bundle_of(&f->plan); /* without kernels */
  mxg_exec_options options = MXG_EXEC_INIT;
  mxg_error err = {0};
  mxg_exec *exec = NULL;
  options.transport = MXG_NCCL;
  mxg_status status = mxg_exec_create(&exec, bundle, &options, &err);
  assert_true(status == MXG_ERR_ENVIRONMENT || (status == MXG_ERR_UNSUPPORTED && (err.code == 647 || err.code == 653)));
  assert_null(exec);
  assert_true(*err.text != 0);
  uint32_t own = 1;
  options.ranks = &own;
  options.rank_count = 1;
  assert_int_equal(mxg_exec_create(&exec, bundle, &options, &err), MXG_ERR_USAGE);
  assert_int_equal(err.code, 655);
  assert_null(exec);
  mxg_bundle_free(bundle);
  free(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_sample),  cmocka_unit_test(tiny_recipes),     cmocka_unit_test(another_order_fails),
      cmocka_unit_test(few_exchanges), cmocka_unit_test(few_send_to_many), cmocka_unit_test(no_memory),
      cmocka_unit_test(refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
