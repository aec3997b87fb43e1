/* start_draw.c -- ranks, options and starts by chance: what a seed draws is the same in every process. */
#include "start_bench.h"

#include <string.h>

static uint64_t state;

static uint32_t below(uint32_t n) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((state >> 33) * n >> 31);
}

#define ONE_OF(list) ((list)[below(sizeof(list) / sizeof *(list))])

void draw_places(bench *b, int gpus, uint32_t seed) {
  state = seed * 0x9e3779b97f4a7c15u + 1;
  const bool own = b->ranks <= (uint32_t)gpus && below(4) != 0;
  const uint32_t first = below((uint32_t)gpus);
  for (uint32_t r = 0; r < b->ranks; r++)
    b->ordinals[r] = (int)(own ? (first + r) % (uint32_t)gpus : below((uint32_t)gpus));
  for (uint32_t r = b->first; r < b->end && b->job; r++) b->ordinals[r] = b->ordinals[b->first]; /* one GPU a process */
}

/* Every group once, some twice, in an order by chance. */
static void in_any_order(bench *b, mxg_exec *exec, uint32_t seed) {
  const uint32_t groups = mxg_bundle_groups(b->bundle), extra = below(groups + 1);
  uint32_t *order = calloc(groups + extra, sizeof *order);
  if (!order) exit(1);
  for (uint32_t n = 0; n < groups + extra; n++) {
    const uint32_t at = below(n + 1);
    order[n] = order[at];
    order[at] = n < groups ? n : below(groups);
  }
  renew(b, seed);
  keep_busy(b, (int)below(20));
  write_sources(b);
  for (uint32_t n = 0; n < groups + extra; n++) {
    start(b, exec, order[n]);
    if (below(16) == 0) MUST(mxg_exec_wait(exec, order[below(n + 1)], &err));
  }
  read_targets(b);
  for (uint32_t n = 0; n < groups; n++) MUST(mxg_exec_wait(exec, n, &err));
  finish(b);
  compare(b, "groups in any order");
  free(order);
}

static void run_it(bench *b, mxg_exec *exec, uint32_t seed) {
  double seconds[4];
  renew(b, seed);
  write_sources(b);
  finish(b);
  if (below(2))
    MUST(mxg_exec_run(exec, &err));
  else
    MUST(mxg_exec_measure(exec, 1 + below(4), seconds, NULL, NULL, &err));
  read_targets(b);
  finish(b);
  compare(b, "run");
}

void draw(bench *b, mxg_transport transport) {
  static const uint64_t chunks[] = {0, 0, 1, 100, 1000, 3000, 5000, 20000, 65536};
  static const unsigned streams[] = {0, 0, 0, 1, 2, 5};
  uint32_t ranks[most_ranks];
  mxg_exec_options options = MXG_EXEC_INIT;
  options.transport = transport;
  for (uint32_t r = b->first; r < b->end; r++) ranks[r - b->first] = r;
  options.ranks = ranks;
  options.rank_count = b->end - b->first;
  options.gpus = b->ordinals + b->first;
  options.job = b->job;
  options.chunk_bytes = ONE_OF(chunks);
  options.copy_streams = ONE_OF(streams);
  options.no_graph = below(3) == 0;
  printf(" %s, chunks of %llu, %u streams%s\n", mxg_transport_name(transport), (unsigned long long)options.chunk_bytes,
         options.copy_streams, options.no_graph ? ", op by op" : "");
  mxg_exec *exec = new_exec(b, &options, false);
  if (below(2)) MUST(mxg_exec_prepare(exec, &err));
  for (uint32_t i = 2 + below(3); i > 0; i--) {
    const uint32_t seed = below(1 << 30);
    switch (below(5)) {
    case 0: run_it(b, exec, seed); break;
    case 1: all_at_once(b, exec, seed, "all at once"); break;
    case 2: on_default_streams(b, exec, seed); break;
    default: in_any_order(b, exec, seed);
    }
  }
  mxg_exec_free(exec);
  if (below(3) == 0) {
    const bool whole = below(2);
    captured(b, &options, whole, below(1 << 30));
  }
}
