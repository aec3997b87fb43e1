/* test_start.c -- mxg_exec_start and _wait on GPUs: sources are written on the callers' streams before, and targets
** read there after, with nothing but the streams' order between; what comes out is the host transport's, byte for
** byte. Groups forwards and backwards, all at once, inside captures whose graphs are launched again with other sources,
** a deadline, wrong calls; NCCL with communicators of the library's and with the caller's.
**
** test_start RECIPE... or test_start --processes RANKS RECIPE. Exit 77: no GPU, or no NVRTC. Ranks take the GPUs in
** turn, and then all of them the first one; with --processes each is a process of a job. test_start --turns BYTES
** RECIPE...: copies only, with chunks of BYTES, so that ranks that have a GPU each take turns. test_start --draw SEED
** [--processes COUNT] RECIPE: options, GPUs of ranks and orders of starts by chance, ranks evenly in processes. */
#include "bundle.h"
#include "mxgen.h"
#include "nccl.h"
#include "played.h"
#include "start_bench.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static uint32_t drawn;      /* a seed: of options and starts by chance; 0: none are */
static uint64_t turn_bytes; /* of a chunk, where ranks shall take turns; 0: all transports are tried */

/* ---- processes ---- */

/* Processes that start groups in different orders wait for each other until one gives up, and learn of it. */
static void at_odds(bench *b, const mxg_exec_options *usual) {
  mxg_exec_options options = *usual;
  options.timeout_ms = 300;
  if (mxg_bundle_groups(b->bundle) < 2) return;
  mxg_exec *exec = new_exec(b, &options, false);
  MUST(mxg_exec_prepare(exec, &err));
  start(b, exec, b->first % 2);
  mxg_status status = mxg_exec_wait(exec, MXG_ALL_GROUPS, &err);
  printf("  at odds: %s\n", err.text);
  expect(status == MXG_ERR_TIMEOUT, "processes at odds");
  mxg_exec_free(exec);
}

/* ---- one recipe ---- */

static void try_transport(bench *b, mxg_transport transport, bool graph, uint32_t seed) {
  mxg_exec_options options = MXG_EXEC_INIT;
  options.transport = transport;
  uint32_t ranks[most_ranks];
  for (uint32_t r = b->first; r < b->end; r++) ranks[r - b->first] = r;
  options.ranks = ranks;
  options.rank_count = b->end - b->first;
  options.gpus = b->ordinals + b->first;
  options.job = b->job;
  options.no_graph = !graph;
  if (transport == MXG_COPY) options.chunk_bytes = turn_bytes;
  const bool turns = !b->job && transport == MXG_COPY && turn_bytes && b->ranks > 2 && have_own_gpus(b);
  printf(" %s%s\n",
         transport == MXG_COPY   ? "copy"
         : transport == MXG_NCCL ? "nccl"
                                 : "direct",
         graph ? "" : ", op by op");
  mxg_exec *exec = new_exec(b, &options, false);
  by_group(b, exec, false, seed, "by group");
  if (!graph) { /* the rest is the same */
    mxg_exec_free(exec);
    if (turns) take_turns(b, &options, seed + 50);
    return;
  }
  by_group(b, exec, true, seed + 1, "by group, backwards");
  all_at_once(b, exec, seed + 2, "all at once");
  on_default_streams(b, exec, seed + 3);
  mxg_exec_free(exec);
  captured(b, &options, false, seed + 10);
  captured(b, &options, true, seed + 20);
  left_out(b, &options);
  if (turns) take_turns(b, &options, seed + 50);
  if (b->job) return; /* a process that is late ends the job */
  too_late(b, &options, seed + 30);
  if (transport == MXG_NCCL) lent(b, &options, seed + 40);
}

static mxg_bundle *make_bundle(const char *recipe, const char *arch) {
  const char *archs[] = {arch, NULL};
  mxg_options options = MXG_OPTIONS_INIT;
  mxg_bundle *bundle = NULL;
  options.archs = fake ? archs + 1 : archs;
  mxg_status status = mxg_generate(&bundle, recipe, &options, &err);
  if (status == MXG_ERR_ENVIRONMENT) {
    fprintf(stderr, "%s\n", err.text);
    exit(77);
  }
  MUST(status);
  if (!fake) return bundle;
  mxg_bundle *light = NULL;
  MUST(without_code(&light, bundle, arch, &err));
  mxg_bundle_free(bundle);
  play_kernels(mxg_bundle_plan(light));
  return light;
}

/* NCCL takes one rank a GPU, and the one of tests is of one process. */
static bool nccl_fits(const bench *b, int gpus) {
  mxg_nccl_state nccl;
  mxg_nccl_find(&nccl);
  return nccl.usable && (int)b->ranks <= gpus && b->ranks > 1 && !(fake && b->job);
}

/* Ranks over all GPUs, or on the first. */
static void try_places(bench *b, const char *recipe, int gpus) {
  for (uint32_t r = 0; r < b->ranks; r++) b->ordinals[r] = (int)r % gpus;
  for (uint32_t r = b->first; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    MUST(mxg_stream_create(&b->streams[r], &err));
  }
  printf("%s, %u ranks of %u, %u groups, on %d GPUs (%s)\n", recipe, b->end - b->first, b->ranks,
         mxg_bundle_groups(b->bundle), gpus, mxg_gpu_about(b->gpus[0])->name);
  new_tensors(b);
  for (int graph = 1; graph >= 0; graph--) {
    try_transport(b, MXG_COPY, graph, 100u * (unsigned)graph + 1);
    if (turn_bytes) continue;
    try_transport(b, MXG_DIRECT, graph, 100u * (unsigned)graph + 51);
    if (nccl_fits(b, gpus)) try_transport(b, MXG_NCCL, graph, 100u * (unsigned)graph + 71);
  }
  free_tensors(b);
  for (uint32_t r = b->first; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    mxg_stream_free(b->streams[r]);
  }
}

/* The same by chance. */
static void draw_all(bench *b, int gpus) {
  draw_places(b, gpus, drawn);
  for (uint32_t r = b->first; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    MUST(mxg_stream_create(&b->streams[r], &err));
    printf("%s%d", r == b->first ? "GPUs of ranks " : ", ", b->ordinals[r]);
  }
  printf("\n");
  new_tensors(b);
  draw(b, MXG_COPY);
  draw(b, MXG_DIRECT);
  if (nccl_fits(b, gpus) && have_own_gpus(b)) draw(b, MXG_NCCL);
  free_tensors(b);
  for (uint32_t r = b->first; r < b->end; r++) {
    MUST(mxg_gpu_use(gpu_of(b, r), &err));
    mxg_stream_free(b->streams[r]);
  }
}

/* With a job a share of the ranks is of this process: one, unless they are drawn. */
static void try_recipe(const char *recipe, int gpus, const mxg_job_options *job) {
  bench b = {0};
  char arch[16];
  mxg_gpu_info about;
  MUST(mxg_gpu_ask(&about, 0, &err));
  snprintf(arch, sizeof arch, "sm_%d%d%s", about.major, about.minor, about.major >= 9 ? "a" : "");
  b.bundle = make_bundle(recipe, arch);
  for (uint32_t i = 0; i < mxg_bundle_tensors(b.bundle); i++) {
    mxg_tensor_info info = {.size = sizeof info};
    MUST(mxg_bundle_tensor(&info, b.bundle, i, &err));
    if (b.ranks <= info.rank) b.ranks = info.rank + 1;
  }
  if (b.ranks > most_ranks) exit(1);
  for (int g = 0; g < gpus; g++) {
    MUST(mxg_gpu_open(&b.gpus[g], g, &err));
    MUST(mxg_gpu_alloc(&b.ballast[g], ballast_bytes(), &err));
  }
  b.first = job ? job->rank * b.ranks / job->world : 0;
  b.end = job ? (job->rank + 1) * b.ranks / job->world : b.ranks;
  if (job) MUST(mxg_job_create(&b.job, job, &err));
  if (drawn) {
    draw_all(&b, gpus);
  } else {
    if (gpus > 1) try_places(&b, recipe, gpus);
    try_places(&b, recipe, 1);
  }
  if (job && !drawn) {
    mxg_exec_options at = MXG_EXEC_INIT;
    at.transport = MXG_DIRECT;
    at.ranks = &b.first;
    at.rank_count = 1;
    at.gpus = b.ordinals + b.first;
    at.job = b.job;
    MUST(mxg_gpu_use(gpu_of(&b, b.first), &err));
    MUST(mxg_stream_create(&b.streams[b.first], &err));
    new_tensors(&b);
    at_odds(&b, &at);
    free_tensors(&b);
  }
  mxg_job_free(b.job);
  for (int g = 0; g < gpus; g++) {
    MUST(mxg_gpu_use(b.gpus[g], &err));
    mxg_gpu_free(b.ballast[g]);
    mxg_gpu_close(b.gpus[g]);
  }
  mxg_bundle_free(b.bundle);
}

static int run_recipes(char **recipes, int count, const mxg_job_options *job) {
  int gpus = 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (mxg_gpu_count(&gpus, &err) != MXG_OK || gpus == 0) {
    fprintf(stderr, "%s\n", err.text);
    return 77;
  }
  *(void **)(void *)&count_graphs = fake_function("fake_cuda_graphs");
  *(void **)(void *)&fail_launch = fake_function("fake_cuda_fail_launch");
  *(void **)(void *)&fail_kernel = fake_function("fake_cuda_fail_kernel");
  *(void **)(void *)&widest_graph = fake_function("fake_cuda_widest_graph");
  fake = fake_function("fake_cuda_use") != NULL;
  for (int i = 0; i < count; i++) try_recipe(recipes[i], gpus < most_gpus ? gpus : most_gpus, job);
  return failures ? 1 : 0;
}

static unsigned free_port(void) {
  struct sockaddr_in at = {.sin_family = AF_INET};
  socklen_t size = sizeof at;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) || getsockname(fd, (struct sockaddr *)&at, &size)) exit(1);
  close(fd);
  return ntohs(at.sin_port);
}

/* A process a rank; nothing of CUDA may be there before they part. */
static int in_processes(char *recipe, uint32_t ranks) {
  if (ranks == 0 || ranks > most_ranks) return 2;
  mxg_job_options job = MXG_JOB_INIT;
  pid_t children[most_ranks];
  int worst = 0;
  job.world = ranks;
  job.address = "127.0.0.1";
  job.port = free_port();
  for (uint32_t r = 0; r < ranks; r++) {
    job.rank = r;
    children[r] = fork();
    if (children[r] == 0) exit(run_recipes(&recipe, 1, &job));
  }
  for (uint32_t r = 0; r < ranks; r++) {
    int status = 0;
    if (children[r] < 0 || waitpid(children[r], &status, 0) < 0) return 1;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    if (code && (worst == 0 || worst == 77)) worst = code;
  }
  return worst;
}

int main(int argc, char **argv) {
  if (argc > 3 && strcmp(argv[1], "--turns") == 0) {
    turn_bytes = strtoull(argv[2], NULL, 10);
    argc -= 2, argv += 2;
  }
  if (argc > 3 && strcmp(argv[1], "--draw") == 0) {
    drawn = (uint32_t)strtoul(argv[2], NULL, 10);
    argc -= 2, argv += 2;
  }
  if (argc > 3 && strcmp(argv[1], "--processes") == 0)
    return in_processes(argv[3], (uint32_t)strtoul(argv[2], NULL, 10));
  return run_recipes(argv + 1, argc - 1, NULL);
}
