/* start_lent.c -- NCCL with communicators that the caller has: refused where they are not its ranks', used by one
** executor after another, and left to the caller whatever happens. */
#include "driver/fake_nccl.h"
#include "nccl.h"
#include "start_bench.h"

#include <dlfcn.h>
#include <string.h>

typedef struct nccl_id {
  char bytes[MXG_NCCL_ID_BYTES];
} nccl_id;

/* NCCL as the caller of the library has it. */
static struct {
  int (*new_id)(nccl_id *id);
  int (*open)(void **comm, int ranks, nccl_id id, int rank, void *config);
  int (*begin)(void);
  int (*end)(void);
  int (*ask)(void *comm, int *result);
  int (*destroy)(void *comm);
  int (*abort)(void *comm);
  fake_nccl_ended_function ended; /* NULL: NCCL itself */
} callers;

static bool find_callers_nccl(void) {
  mxg_nccl_state found;
  mxg_nccl_find(&found);
  void *library = found.usable ? dlopen(found.path, RTLD_NOW | RTLD_LOCAL) : NULL;
  if (!library) return false;
  *(void **)(void *)&callers.new_id = dlsym(library, "ncclGetUniqueId");
  *(void **)(void *)&callers.open = dlsym(library, "ncclCommInitRankConfig");
  *(void **)(void *)&callers.begin = dlsym(library, "ncclGroupStart");
  *(void **)(void *)&callers.end = dlsym(library, "ncclGroupEnd");
  *(void **)(void *)&callers.ask = dlsym(library, "ncclCommGetAsyncError");
  *(void **)(void *)&callers.destroy = dlsym(library, "ncclCommDestroy");
  *(void **)(void *)&callers.abort = dlsym(library, "ncclCommAbort");
  *(void **)(void *)&callers.ended = dlsym(library, "fake_nccl_ended");
  return callers.new_id && callers.open && callers.begin && callers.end && callers.ask && callers.destroy;
}

static void open_comms(const bench *b, void *comms[most_ranks]) {
  nccl_id id;
  bool good = callers.new_id(&id) == 0 && callers.begin() == 0;
  for (uint32_t r = 0; r < b->ranks && good; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    int result = callers.open(&comms[r], (int)b->ranks, id, (int)r, NULL);
    good = result == 0 || result == 7; /* in progress */
  }
  good = good && callers.end() == 0;
  for (uint32_t r = 0; r < b->ranks && good; r++)
    for (int result = 7; result == 7 && good;) good = callers.ask(comms[r], &result) == 0;
  if (good) return;
  fprintf(stderr, "the test's own communicators could not be opened\n");
  exit(1);
}

/* How many of the communicators were destroyed or aborted, as far as anybody counts. */
static int ended(void) { return callers.ended ? callers.ended() : 0; }

static void expect_refusal(const bench *b, const mxg_exec_options *options, const char *says, const char *what) {
  mxg_exec *exec = NULL;
  mxg_status status = mxg_exec_create(&exec, b->bundle, options, &err);
  expect(status == MXG_ERR_USAGE && err.code == 601 && strstr(err.text, says) && !exec, what);
  mxg_exec_free(exec);
}

/* The first rank alone, so that what it waits for never comes: an error at the deadline. The caller ends its
** communicators then, and nothing that the library left holds on to them. */
static void left_alone(bench *b, const mxg_exec_options *usual, void *comms[most_ranks]) {
  mxg_exec_options options = *usual;
  const int before = graphs(), ended_before = ended();
  options.rank_count = 1;
  options.timeout_ms = 200;
  const uint32_t all = b->end;
  b->end = b->first + 1;
  mxg_exec *exec = new_exec(b, &options, false);
  start(b, exec, MXG_ALL_GROUPS);
  expect(mxg_exec_wait(exec, MXG_ALL_GROUPS, &err) == MXG_ERR_TIMEOUT && err.code == 648, "a rank that is left alone");
  expect(ended() == ended_before, "a deadline leaves the caller's communicators");
  expect(graphs() == before, "after a deadline no graph holds on to the caller's communicators");
  for (uint32_t r = 0; r < b->ranks; r++) callers.abort(comms[r]);
  finish(b);
  mxg_exec_free(exec);
  b->end = all;
}

void lent(bench *b, const mxg_exec_options *usual, uint32_t seed) {
  mxg_exec_options options = *usual;
  void *comms[most_ranks] = {NULL}, *wrong[most_ranks] = {NULL};
  const uint32_t ranks = b->end - b->first;
  if (!find_callers_nccl()) exit(1);
  printf(" nccl, the caller's communicators\n");
  const int ended_before = ended();
  open_comms(b, comms);
  /* One is missing, or two have changed places. */
  options.nccl_comms = wrong;
  memcpy(wrong, comms, sizeof wrong);
  wrong[ranks - 1] = NULL;
  expect_refusal(b, &options, "is NULL", "a communicator that is NULL");
  wrong[0] = comms[1];
  wrong[1] = comms[0];
  expect_refusal(b, &options, "not rank", "communicators of each other's ranks");
  options.nccl_comms = comms;
  for (int turn = 0; turn < 2; turn++) { /* the second executor finds them as they were */
    mxg_exec *exec = new_exec(b, &options, false);
    by_group(b, exec, turn, seed + 2 * (unsigned)turn, turn ? "lent again, backwards" : "lent, by group");
    all_at_once(b, exec, seed + 1 + 2 * (unsigned)turn, turn ? "lent again, all at once" : "lent, all at once");
    MUST(mxg_exec_run(exec, &err));
    mxg_exec_free(exec);
  }
  captured(b, &options, true, seed + 10);
  too_late(b, &options, seed + 20);
  expect(ended() == ended_before, "the caller's communicators are left to it");
  if (fake) { /* NCCL itself may wait for the others before anything is given to a GPU */
    left_alone(b, &options, comms);
    expect(ended() == ended_before + (int)b->ranks, "the caller has ended them");
    return;
  }
  for (uint32_t r = 0; r < b->ranks; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    expect(callers.destroy(comms[r]) == 0, "the caller ends its communicators");
  }
}
