/* An executor over real processes, each with ranks and memory of its own: sources come from where they lie, every
** process fails when one does and says why, and what is left after a loss begins anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bundle.h"
#include "memory.h"
#include "plan_samples.h"
#include "processes.h"

/* ---- arrays ---- */

typedef struct memory {
  unsigned char *data, *scale;
  uint64_t data_bytes, scale_bytes;
} memory;

static uint32_t mix(uint32_t x) {
  x = (x ^ x >> 16) * 0x45d9f3bu;
  x = (x ^ x >> 16) * 0x45d9f3bu;
  return x ^ x >> 16;
}

/* The same bytes of an array in every process: tame elements and scales. */
static void fill(const mxg_plan *plan, uint32_t array, memory *m, unsigned round) {
  const mxg_array *a = &plan->arrays[array];
  const mxg_encoding *e = &plan->encodings[a->encoding];
  bool target = a->side == MXG_TARGET;
  for (uint64_t b = 0; b < m->data_bytes; b++)
    m->data[b] = target ? 0xa5 : (unsigned char)(mix((uint32_t)b * 7919 + array * 31 + round) & 0x3e);
  for (uint64_t b = 0; b < m->scale_bytes; b++) {
    unsigned char byte = (unsigned char)(110 + mix((uint32_t)b + array * 17 + round) % 30);
    if (e->scale == MX_SCALE_FP32) byte = b % 4 == 3 ? 0x3e : (unsigned char)mix((uint32_t)b + array + round);
    m->scale[b] = target ? 0xa5 : byte;
  }
}

static memory *make_memory(const mxg_plan *plan) {
  memory *all = calloc(plan->array_count, sizeof *all);
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side == MXG_SCRATCH) continue;
    all[i].data_bytes = mxg_array_data_bytes(plan, a);
    all[i].scale_bytes = mxg_array_scale_bytes(plan, a);
    all[i].data = malloc((size_t)all[i].data_bytes + 1);
    all[i].scale = malloc((size_t)all[i].scale_bytes + 1);
    fill(plan, i, &all[i], 0);
  }
  return all;
}

static void free_memory(const mxg_plan *plan, memory *all) {
  for (uint32_t i = 0; i < plan->array_count; i++) {
    free(all[i].data);
    free(all[i].scale);
  }
  free(all);
}

static mxg_bundle *make_bundle(const fixture *f, unsigned char salt) {
  const unsigned char sources[32] = {salt};
  const mxg_bundle_parts parts = {.plan = &f->plan, .sources_digest = sources, .maker = "maker"};
  mxg_bundle *bundle = NULL;
  if (mxg_bundle_make(&bundle, &parts, NULL) != MXG_OK) abort();
  return bundle;
}

static mxg_status bind_array(mxg_exec *exec, const mxg_plan *plan, uint32_t i, const memory *m, mxg_error *err) {
  const mxg_array *a = &plan->arrays[i];
  return mxg_exec_bind(exec, a->rank, (mxg_side)a->side, plan->strings + a->name, m->data, m->data_bytes,
                       m->scale_bytes ? m->scale : NULL, m->scale_bytes, err);
}

/* What one process alone makes of the same sources. */
static bool right(const mxg_bundle *bundle, const memory *mine, const bool *here, unsigned round) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  memory *all = make_memory(plan);
  mxg_exec *exec = NULL;
  mxg_exec_options options = MXG_EXEC_INIT;
  options.threads = 1;
  bool same = mxg_exec_create(&exec, bundle, &options, NULL) == MXG_OK;
  for (uint32_t i = 0; i < plan->array_count && same; i++) {
    if (plan->arrays[i].side == MXG_SCRATCH) continue;
    fill(plan, i, &all[i], round);
    same = bind_array(exec, plan, i, &all[i], NULL) == MXG_OK;
  }
  same = same && mxg_exec_run(exec, NULL) == MXG_OK;
  for (uint32_t i = 0; i < plan->array_count && same; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side != MXG_TARGET || !here[a->rank]) continue;
    same = memcmp(all[i].data, mine[i].data, (size_t)all[i].data_bytes) == 0 &&
           memcmp(all[i].scale, mine[i].scale, (size_t)all[i].scale_bytes) == 0;
  }
  mxg_exec_free(exec);
  free_memory(plan, all);
  return same;
}

/* ---- one process ---- */

enum {
  all_well,
  other_bundle,    /* of process 1 */
  other_transport, /* of process 1 */
  other_chunk,     /* of process 1 */
  rank_twice,      /* process 1 has rank 0 too */
  no_rank,         /* process 1 asks for a rank that there is not */
  no_source,       /* process 1 binds no source */
  no_target,       /* process 1 binds no target */
  for_ever,        /* runs until something happens, then once more with a new executor and job */
  replacement      /* of a lost one, for the second time */
};

typedef struct part {
  fixture *f;
  mxg_bundle *bundle;
  memory *all;
  bool *here;
  uint32_t *ranks, rank_count;
} part;

static int sample; /* set before processes start */

static part make_part(const work *w) {
  part p = {.f = plan_samples[sample].make()};
  p.bundle = make_bundle(p.f, w->extra == other_bundle && w->rank == 1 ? 9 : 7);
  const mxg_plan *plan = mxg_bundle_plan(p.bundle);
  p.all = make_memory(plan);
  p.here = calloc(plan->rank_count, sizeof *p.here);
  p.ranks = calloc(plan->rank_count + 1, sizeof *p.ranks);
  for (uint32_t r = 0; r < plan->rank_count; r++)
    if (r % w->world == w->rank || (w->extra == rank_twice && w->rank == 1 && r == 0))
      p.ranks[p.rank_count++] = r, p.here[r] = true;
  if (w->extra == no_rank && w->rank == 1) p.ranks[0] = 99;
  return p;
}

static void free_part(part *p) {
  free_memory(&p->f->plan, p->all);
  mxg_bundle_free(p->bundle);
  free(p->f);
  free(p->here);
  free(p->ranks);
}

static mxg_exec *open_exec(const work *w, const part *p, mxg_job *job, mxg_error *err) {
  const mxg_plan *plan = mxg_bundle_plan(p->bundle);
  mxg_exec *exec = NULL;
  mxg_exec_options options = MXG_EXEC_INIT;
  options.ranks = p->ranks;
  options.rank_count = p->rank_count;
  options.threads = 1;
  options.job = job;
  options.timeout_ms = w->timeout_ms;
  options.wires = sample % 2;
  if (w->extra == other_transport && w->rank == 1) options.transport = MXG_DIRECT;
  if (w->extra == other_chunk && w->rank == 1) options.chunk_bytes = 4096;
  if (mxg_exec_create(&exec, p->bundle, &options, err) != MXG_OK) return NULL;
  for (uint32_t i = 0; i < plan->array_count && err->status == MXG_OK; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side == MXG_SCRATCH || !p->here[a->rank]) continue;
    if (w->rank == 1 && w->extra == no_source && a->side == MXG_SOURCE) continue;
    if (w->rank == 1 && w->extra == no_target && a->side == MXG_TARGET) continue;
    (void)bind_array(exec, plan, i, &p->all[i], err);
  }
  return exec;
}

/* The same sources in all processes at each round: they differ from round to round. */
static void fill_round(const part *p, unsigned round) {
  const mxg_plan *plan = mxg_bundle_plan(p->bundle);
  for (uint32_t i = 0; i < plan->array_count; i++)
    if (plan->arrays[i].side != MXG_SCRATCH) fill(plan, i, &p->all[i], round);
}

static void run_rounds(work *w, const part *p, mxg_job *job, unsigned rounds, bool check, mxg_error *err) {
  mxg_exec *exec = open_exec(w, p, job, err);
  for (unsigned round = 0; round < rounds && err->status == MXG_OK; round++) {
    double began = mxg_now();
    fill_round(p, round);
    (void)mxg_exec_run(exec, err);
    w->out->seconds = mxg_now() - began;
    w->out->rounds++;
    if (check && err->status == MXG_OK && !right(p->bundle, p->all, p->here, round)) {
      tell_wrong(w, "targets have wrong bytes");
      break;
    }
  }
  mxg_exec_free(exec);
}

static void move(work *w) {
  mxg_error err = {0};
  part p = make_part(w);
  mxg_job *job = join(w, &err);
  if (job && w->extra != replacement) {
    if (w->extra == for_ever) w->out->status = MXG_OK;
    run_rounds(w, &p, job, w->extra == for_ever ? UINT32_MAX : 3, w->extra != for_ever, &err);
  }
  if (w->out->status == MXG_OK) tell(w, &err);
  if (job && (w->extra == for_ever || w->extra == replacement)) {
    if (w->extra == for_ever) { /* the first part is told, then it goes on */
      mxg_job_free(job);
      (void)!write(w->pipe, w->out, sizeof *w->out);
      memset(&err, 0, sizeof err);
      w->timeout_ms = 20000;
      job = join(w, &err);
    }
    if (job) run_rounds(w, &p, job, 2, true, &err);
    if (w->out->status != MXG_ERR_WRONG) tell(w, &err);
  }
  mxg_job_free(job);
  free_part(&p);
}

/* ---- tests ---- */

static void samples_move_between_processes(void **state) {
  (void)state;
  for (sample = 0; sample < plan_sample_count; sample++) {
    fixture *f = plan_samples[sample].make();
    uint32_t ranks = f->plan.rank_count;
    free(f);
    for (uint32_t world = 1; world <= ranks && world <= 4; world++) {
      team t;
      begin(&t);
      for (uint32_t p = 0; p < world; p++) start(&t, move, p, world, 20000, all_well);
      for (uint32_t p = 0; p < world; p++) {
        result r = receive(&t);
        if (r.status != MXG_OK) fail_msg("%s, process %u of %u: %s", plan_samples[sample].name, r.rank, world, r.text);
        assert_int_equal(r.rounds, 3);
      }
      finish(&t);
    }
  }
}

static int find_sample(const char *name) {
  for (int i = 0; i < plan_sample_count; i++)
    if (!strcmp(plan_samples[i].name, name)) return i;
  fail_msg("there is no sample %s", name);
  return 0;
}

/* All of `world` processes fail with this status and code; the text of the one that differs may be its own. */
static void expect_all(int what, uint32_t world, mxg_status status, unsigned code, const char *text) {
  team t;
  begin(&t);
  for (uint32_t p = 0; p < world; p++) start(&t, move, p, world, 20000, what);
  for (uint32_t p = 0; p < world; p++) {
    result r = receive(&t);
    if (r.status != status || r.code != code || !strstr(r.text, text))
      fail_msg("process %u: %s MX%04u %s", r.rank, mxg_status_name(r.status), r.code, r.text);
  }
  finish(&t);
}

static void differences_are_told_before_the_first_byte(void **state) {
  (void)state;
  sample = find_sample("row_split");
  expect_all(other_bundle, 2, MXG_ERR_USAGE, 665, "the bundle's digest differs: ");
  expect_all(other_bundle, 2, MXG_ERR_USAGE, 665, " on process 0 (rank 0), ");
  expect_all(other_bundle, 2, MXG_ERR_USAGE, 665, " on process 1 (rank 1)");
  expect_all(other_transport, 2, MXG_ERR_USAGE, 665,
             "options.transport differs: host on process 0 (rank 0), direct on process 1 (rank 1)");
  expect_all(other_chunk, 2, MXG_ERR_USAGE, 665, "options.chunk_bytes differs: 0 on process 0");
  expect_all(rank_twice, 2, MXG_ERR_USAGE, 665, "rank 0 is in process 0 (rank 0) and in process 1 (ranks 0-1)");
  expect_all(no_rank, 2, MXG_ERR_USAGE, 601, "options.ranks: rank 99 is not in the bundle");
}

static void what_is_not_bound_is_told_to_all(void **state) {
  (void)state;
  sample = find_sample("row_split");
  expect_all(no_source, 2, MXG_ERR_USAGE, 606, " of rank 1 is not bound");
  sample = find_sample("whole");
  expect_all(no_target, 2, MXG_ERR_USAGE, 606, " of rank 1 is not bound");
}

static void expect_recovery(uint32_t world, uint32_t victim, int signal_number, unsigned timeout_ms,
                            unsigned after_ms) {
  team t;
  begin(&t);
  for (uint32_t p = 0; p < world; p++) start(&t, move, p, world, timeout_ms, for_ever);
  pause_ms(after_ms);
  kill(t.pids[victim], signal_number);
  double began = mxg_now();
  for (uint32_t p = 0; p + 1 < world; p++) {
    result r = receive(&t);
    char word[32];
    snprintf(word, sizeof word, "process %u ", victim);
    if (r.status != MXG_ERR_TIMEOUT || !strstr(r.text, word))
      fail_msg("process %u of %u, %u lost: %s: %s", r.rank, world, victim, mxg_status_name(r.status), r.text);
  }
  double limit = 1 + (signal_number == SIGSTOP ? timeout_ms * 1e-3 : 0);
  if (mxg_now() - began > limit) fail_msg("known after %.3f s", mxg_now() - began);
  kill(t.pids[victim], SIGKILL);
  waitpid(t.pids[victim], NULL, 0);
  start(&t, move, victim, world, 20000, replacement);
  for (uint32_t p = 0; p < world; p++) {
    result r = receive(&t);
    if (r.status != MXG_OK) fail_msg("process %u, after %u was lost: %s", r.rank, victim, r.text);
  }
  finish(&t);
}

static void what_is_left_after_a_kill_begins_anew(void **state) {
  (void)state;
  unsigned seed = 11;
  sample = find_sample("whole");
  for (int turn = 0; turn < 8; turn++)
    expect_recovery(2, (uint32_t)turn % 2, SIGKILL, 20000, 30 + (seed = seed * 1103515245 + 12345) / 65536 % 100);
}

static void what_is_left_after_a_stop_begins_anew(void **state) {
  (void)state;
  sample = find_sample("whole");
  for (uint32_t victim = 0; victim < 2; victim++) expect_recovery(2, victim, SIGSTOP, 1000, 150);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(samples_move_between_processes),
      cmocka_unit_test(differences_are_told_before_the_first_byte),
      cmocka_unit_test(what_is_not_bound_is_told_to_all),
      cmocka_unit_test(what_is_left_after_a_kill_begins_anew),
      cmocka_unit_test(what_is_left_after_a_stop_begins_anew),
  };
  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests_name("processes", tests, NULL, NULL) != 0;
}
