/* lost.c -- processes with a GPU each that run a schedule over and over until one of them is killed or stopped: the
** others name it in time, free what they have, and go on in the same process with one that was started anew.
**
** lost BUNDLE TRANSPORT TURNS
**
** A bundle of two ranks or more, in two processes. Exit 77 with fewer GPUs than two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bundle.h"
#include "driver.h"
#include "memory.h"
#include "processes.h"

static const char *bundle_path;
static mxg_transport transport;

enum { first_life, second_life, most_ranks = 64 };

typedef struct part {
  mxg_bundle *bundle;
  const mxg_plan *plan;
  mxg_gpu *gpu;
  int ordinals[most_ranks];
  uint32_t ranks[most_ranks], rank_count; /* of this process: every second one */
  uint64_t *devices[2];                   /* by array: data, scales; of these ranks */
  unsigned char **wants;                  /* by array: the target's data, then its scales */
} part;

static uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

/* Tame elements and scales, the same in every process. */
static void fill(const mxg_plan *plan, uint32_t array, unsigned char *data, unsigned char *scales) {
  const mxg_array *a = &plan->arrays[array];
  uint64_t bytes = mxg_array_data_bytes(plan, a), scale_bytes = mxg_array_scale_bytes(plan, a);
  bool wide = plan->encodings[a->encoding].scale == MX_SCALE_FP32;
  for (uint64_t i = 0; i < bytes; i += 8) {
    uint64_t x = mix(i + array * 0x9e3779b97f4a7c15u) & 0x3e3e3e3e3e3e3e3eu;
    memcpy(data + i, &x, bytes - i < 8 ? (size_t)(bytes - i) : 8);
  }
  for (uint64_t i = 0; i < scale_bytes; i++)
    scales[i] = wide ? (unsigned char)(i % 4 == 3 ? 0x3e : i % 4) : (unsigned char)(110 + mix(i + array) % 30);
}

static bool is_here(const part *p, uint32_t rank) { return rank % 2 == p->ranks[0] % 2; }

/* What the host makes of the sources, for the targets of these ranks. */
static mxg_status make_wants(part *p, mxg_error *err) {
  const mxg_plan *plan = p->plan;
  mxg_exec *exec = NULL;
  mxg_exec_options options = MXG_EXEC_INIT;
  unsigned char **memory = calloc(plan->array_count, sizeof *memory);
  options.ranks = p->ranks;
  options.rank_count = p->rank_count;
  p->wants = calloc(plan->array_count, sizeof *p->wants);
  MXG_TRY(mxg_exec_create(&exec, p->bundle, &options, err));
  mxg_status status = MXG_OK;
  for (uint32_t i = 0; i < plan->array_count && status == MXG_OK; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side == MXG_SCRATCH || (a->side == MXG_TARGET && !is_here(p, a->rank))) continue;
    uint64_t bytes = mxg_array_data_bytes(plan, a), scale_bytes = mxg_array_scale_bytes(plan, a);
    memory[i] = malloc((size_t)(bytes + scale_bytes) + 16);
    if (a->side == MXG_SOURCE) fill(plan, i, memory[i], memory[i] + bytes);
    status = mxg_exec_bind(exec, a->rank, (mxg_side)a->side, plan->strings + a->name, memory[i], bytes,
                           scale_bytes ? memory[i] + bytes : NULL, scale_bytes, err);
  }
  if (status == MXG_OK) status = mxg_exec_run(exec, err);
  mxg_exec_free(exec);
  for (uint32_t i = 0; i < plan->array_count; i++)
    if (plan->arrays[i].side == MXG_TARGET)
      p->wants[i] = memory[i];
    else
      free(memory[i]);
  free(memory);
  return status;
}

static mxg_status make_devices(part *p, mxg_error *err) {
  const mxg_plan *plan = p->plan;
  p->devices[0] = calloc(plan->array_count, sizeof *p->devices[0]);
  p->devices[1] = calloc(plan->array_count, sizeof *p->devices[1]);
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side == MXG_SCRATCH || !is_here(p, a->rank)) continue;
    uint64_t bytes = mxg_array_data_bytes(plan, a), scale_bytes = mxg_array_scale_bytes(plan, a);
    MXG_TRY(mxg_gpu_alloc(&p->devices[0][i], bytes, err));
    if (scale_bytes) MXG_TRY(mxg_gpu_alloc(&p->devices[1][i], scale_bytes, err));
    if (a->side == MXG_TARGET) continue;
    unsigned char *memory = malloc((size_t)(bytes + scale_bytes) + 16);
    fill(plan, i, memory, memory + bytes);
    MXG_TRY(mxg_gpu_copy(p->devices[0][i], (uint64_t)(uintptr_t)memory, bytes, NULL, err));
    MXG_TRY(mxg_gpu_copy(p->devices[1][i], (uint64_t)(uintptr_t)memory + bytes, scale_bytes, NULL, err));
    MXG_TRY(mxg_stream_wait(NULL, err));
    free(memory);
  }
  return MXG_OK;
}

static mxg_status poison(const part *p, mxg_error *err) {
  const mxg_plan *plan = p->plan;
  MXG_TRY(mxg_gpu_use(p->gpu, err));
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side != MXG_TARGET || !is_here(p, a->rank)) continue;
    MXG_TRY(mxg_gpu_fill(p->devices[0][i], 0xa5, mxg_array_data_bytes(plan, a), NULL, err));
    MXG_TRY(mxg_gpu_fill(p->devices[1][i], 0xa5, mxg_array_scale_bytes(plan, a), NULL, err));
  }
  return mxg_stream_wait(NULL, err);
}

static mxg_status compare(const part *p, mxg_error *err) {
  const mxg_plan *plan = p->plan;
  MXG_TRY(mxg_gpu_use(p->gpu, err));
  for (uint32_t i = 0; i < plan->array_count; i++) {
    const mxg_array *a = &plan->arrays[i];
    if (a->side != MXG_TARGET || !is_here(p, a->rank)) continue;
    uint64_t bytes = mxg_array_data_bytes(plan, a), scale_bytes = mxg_array_scale_bytes(plan, a);
    unsigned char *got = malloc((size_t)(bytes + scale_bytes) + 1);
    MXG_TRY(mxg_gpu_copy((uint64_t)(uintptr_t)got, p->devices[0][i], bytes, NULL, err));
    MXG_TRY(mxg_gpu_copy((uint64_t)(uintptr_t)got + bytes, p->devices[1][i], scale_bytes, NULL, err));
    MXG_TRY(mxg_stream_wait(NULL, err));
    int differs = memcmp(got, p->wants[i], (size_t)(bytes + scale_bytes));
    free(got);
    if (differs) return mxg_fail(err, MXG_ERR_WRONG, 831, "target \"%s\" has wrong bytes", plan->strings + a->name);
  }
  return MXG_OK;
}

static mxg_exec *open_exec(const work *w, const part *p, mxg_job *job, mxg_error *err) {
  mxg_exec *exec = NULL;
  mxg_exec_options options = MXG_EXEC_INIT;
  options.transport = transport;
  options.ranks = p->ranks;
  options.rank_count = p->rank_count;
  options.gpus = p->ordinals;
  options.job = job;
  options.timeout_ms = w->timeout_ms;
  if (mxg_exec_create(&exec, p->bundle, &options, err) != MXG_OK) return NULL;
  for (uint32_t i = 0; i < p->plan->array_count && err->status == MXG_OK; i++) {
    const mxg_array *a = &p->plan->arrays[i];
    if (a->side == MXG_SCRATCH || !is_here(p, a->rank)) continue;
    (void)mxg_exec_bind(exec, a->rank, (mxg_side)a->side, p->plan->strings + a->name,
                        (void *)(uintptr_t)p->devices[0][i], mxg_array_data_bytes(p->plan, a),
                        (void *)(uintptr_t)p->devices[1][i], mxg_array_scale_bytes(p->plan, a), err);
  }
  return exec;
}

static void live_once(work *w, const part *p, unsigned rounds, mxg_error *err) {
  mxg_job *job = join(w, err);
  mxg_exec *exec = job ? open_exec(w, p, job, err) : NULL;
  double seconds[16];
  for (unsigned i = 0; i < rounds && err->status == MXG_OK; i++) {
    double began = mxg_now();
    if (err->status == MXG_OK) (void)mxg_exec_run(exec, err);
    if (err->status == MXG_OK && i % 8 == 7) (void)mxg_exec_measure(exec, 16, seconds, NULL, NULL, err);
    w->out->seconds = mxg_now() - began;
    w->out->rounds++;
    if (i == 1) { /* ready to be killed */
      result ready = {.rank = w->rank, .code = 1};
      (void)!write(w->pipe, &ready, sizeof ready);
    }
  }
  mxg_exec_free(exec);
  mxg_job_free(job);
}

static void live(work *w) {
  mxg_error err = {0};
  part p = {.ranks = {w->rank}};
  mxg_status status = mxg_bundle_load(&p.bundle, bundle_path, &err);
  if (status == MXG_OK) p.plan = mxg_bundle_plan(p.bundle);
  for (uint32_t r = w->rank; status == MXG_OK && r < p.plan->rank_count && p.rank_count < most_ranks; r += 2) {
    p.ordinals[p.rank_count] = (int)w->rank;
    p.ranks[p.rank_count++] = r;
  }
  if (status == MXG_OK) status = make_wants(&p, &err);
  if (status == MXG_OK) status = mxg_gpu_open(&p.gpu, (int)w->rank, &err);
  if (status == MXG_OK) status = make_devices(&p, &err);
  if (status == MXG_OK && w->extra == first_life) {
    live_once(w, &p, UINT32_MAX, &err);
    tell(w, &err);
    (void)!write(w->pipe, w->out, sizeof *w->out);
    memset(&err, 0, sizeof err);
    w->timeout_ms = 30000;
  }
  if (status == MXG_OK) status = poison(&p, &err);
  if (status == MXG_OK) live_once(w, &p, 10, &err);
  if (err.status == MXG_OK) (void)compare(&p, &err);
  tell(w, &err);
}

static int check(bool good, const char *what, const result *r) {
  if (good) return 0;
  printf("FAILED: %s: process %u: %s MX%04u %s (%s), %.3f s\n", what, r->rank, mxg_status_name(r->status), r->code,
         r->text, r->note, r->seconds);
  return 1;
}

/* Two processes; one is lost `after_ms` after both are at work. */
static int turn(uint32_t victim, int signal_number, unsigned timeout_ms, unsigned after_ms) {
  team t;
  result r;
  int failed = 0;
  begin(&t);
  for (uint32_t p = 0; p < 2; p++) start(&t, live, p, 2, timeout_ms, first_life);
  for (uint32_t p = 0; p < 2; p++) { /* both are ready */
    r = receive(&t);
    if (r.status != MXG_OK) failed += check(false, "the start", &r);
  }
  pause_ms(after_ms);
  kill(t.pids[victim], signal_number);
  double began = mxg_now();
  char word[32];
  snprintf(word, sizeof word, "process %u ", victim);
  if (!failed) {
    r = receive(&t);
    double took = mxg_now() - began;
    failed += check(r.status == MXG_ERR_TIMEOUT && strstr(r.text, word), "the loss", &r);
    const double most = 1 + (signal_number == SIGSTOP ? timeout_ms * 1e-3 : 0);
    const double leaving = transport == MXG_NCCL ? 1 : 0; /* NCCL is asked to end its communicator, for so long */
    if (signal_number == SIGSTOP && r.seconds > most) failed += check(false, "known too late", &r);
    if (took > most + leaving) failed += check(false, "known and freed too late", &r);
    printf("%s of process %u after %u ms: known in %.3f s, %u rounds: %s\n", strsignal(signal_number), victim, after_ms,
           took, r.rounds, r.text);
  }
  kill(t.pids[victim], SIGKILL);
  waitpid(t.pids[victim], NULL, 0);
  if (!failed) {
    start(&t, live, victim, 2, 30000, second_life);
    for (int n = 0; n < 4 && !failed; n++) { /* ready and the end, of both */
      r = receive(&t);
      if (r.code == 1 && r.status == MXG_OK) continue;
      failed += check(r.status == MXG_OK, "the second life", &r);
    }
  }
  finish(&t);
  return failed;
}

/* How many GPUs there are, asked in a process of its own: CUDA does not survive a fork. */
static int count_gpus(void) {
  int status = 0;
  pid_t pid = fork();
  if (pid == 0) {
    int gpus = 0;
    _exit(mxg_gpu_count(&gpus, NULL) == MXG_OK ? gpus : 0);
  }
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

int main(int argc, char **argv) {
  int failed = 0;
  unsigned seed = 5, turns = argc > 3 ? (unsigned)atoi(argv[3]) : 4;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc < 3) return 2;
  bundle_path = argv[1];
  transport = !strcmp(argv[2], "copy") ? MXG_COPY : !strcmp(argv[2], "nccl") ? MXG_NCCL : MXG_DIRECT;
  if (count_gpus() < 2) return 77;
  signal(SIGPIPE, SIG_IGN);
  for (unsigned i = 0; i < turns && failed == 0; i++)
    failed += turn(i % 2, SIGKILL, 20000, (seed = seed * 1103515245 + 12345) / 65536 % 60);
  for (unsigned i = 0; i < 2 && failed == 0; i++) failed += turn(i % 2, SIGSTOP, 1000, 20);
  return failed != 0;
}
