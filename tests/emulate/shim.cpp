/* shim.cpp -- runs the threads of one CUDA block as fibers of one host thread, block after block. A warp runs on as far
** as it can before the next one does, and every second block runs in reverse, so that what depends on an order does not
** stay hidden. */
#include "shim.h"

#include "mx_abi.h"

#include <cstdlib>
#include <ucontext.h>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define SHIM_SANITIZED 1
#else
#define SHIM_SANITIZED 0
#endif

thread_local shim_dim threadIdx, blockIdx, blockDim, gridDim;
thread_local bool shim_waited;

namespace {

constexpr std::size_t stack_bytes = 128 * 1024;
constexpr unsigned warp_lanes = 32;

enum class state { ready, at_barrier, at_shuffle, done };

struct fiber {
  ucontext_t context;
  state now;
  bool waited;
  void *stack;
  void *fake_stack; /* the address sanitizer's */
};

/* Values that the lanes of a warp lay down; `taken` is what all of them read. */
struct exchange {
  unsigned arrived, laid[warp_lanes], taken[warp_lanes];
};

struct grid {
  void (*kernel)(const mx_entry *, unsigned, mx_entry);
  const mx_entry *entries;
  unsigned count, threads;
  std::vector<fiber> fibers;
  std::vector<exchange> warps;
  unsigned at_barrier, current;
  ucontext_t scheduler;
  const void *scheduler_stack;
  std::size_t scheduler_bytes;
  void *scheduler_fake;
  const char *fault;
};

thread_local grid *running;

/* Goes back to the scheduler; returns when this fiber runs again. */
void leave(bool for_good) {
  grid *g = running;
  fiber &me = g->fibers[g->current];
#if SHIM_SANITIZED
  __sanitizer_start_switch_fiber(for_good ? nullptr : &me.fake_stack, g->scheduler_stack, g->scheduler_bytes);
#endif
  (void)for_good;
  swapcontext(&me.context, &g->scheduler);
#if SHIM_SANITIZED
  __sanitizer_finish_switch_fiber(me.fake_stack, nullptr, nullptr);
#endif
}

void thread_main() {
  grid *g = running;
#if SHIM_SANITIZED
  __sanitizer_finish_switch_fiber(nullptr, &g->scheduler_stack, &g->scheduler_bytes);
#endif
  g->kernel(g->entries, g->count, *g->entries);
  if (!shim_waited) shim_fail("a thread ends without mx_griddepcontrol_wait");
  g->fibers[g->current].now = state::done;
  leave(true);
}

void enter(grid *g, unsigned index) {
  g->current = index;
  threadIdx = {index, 0, 0};
  shim_waited = g->fibers[index].waited;
#if SHIM_SANITIZED
  __sanitizer_start_switch_fiber(&g->scheduler_fake, g->fibers[index].stack, stack_bytes);
#endif
  swapcontext(&g->scheduler, &g->fibers[index].context);
  g->fibers[index].waited = shim_waited;
#if SHIM_SANITIZED
  __sanitizer_finish_switch_fiber(g->scheduler_fake, nullptr, nullptr);
#endif
}

/* Runs every lane that is ready; true when there was one. */
bool run_warp(grid *g, unsigned warp, bool reverse) {
  bool moved = false;
  for (unsigned i = 0; i < warp_lanes && !g->fault; i++) {
    unsigned index = warp * warp_lanes + (reverse ? warp_lanes - 1 - i : i);
    if (g->fibers[index].now != state::ready) continue;
    enter(g, index);
    moved = true;
  }
  return moved;
}

void run_block(grid *g, bool reverse) {
  for (fiber &f : g->fibers) {
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack;
    f.context.uc_stack.ss_size = stack_bytes;
    f.context.uc_link = nullptr;
    f.now = state::ready;
    f.waited = false;
    makecontext(&f.context, thread_main, 0);
  }
  for (exchange &w : g->warps) w.arrived = 0;
  g->at_barrier = 0;
  for (bool moved = true; moved && !g->fault;) {
    moved = false;
    for (unsigned i = 0; i < g->warps.size(); i++)
      while (run_warp(g, reverse ? (unsigned)g->warps.size() - 1 - i : i, reverse)) moved = true;
  }
  for (const fiber &f : g->fibers) {
    if (g->fault || f.now == state::done) continue;
    g->fault = f.now == state::at_barrier ? "a thread waits at a barrier that others never reach"
                                          : "a lane waits in a shuffle that others of its mask never reach";
  }
}

/* All lanes of the mask lay down a value; returns when all have, with all values. */
const unsigned *meet(unsigned mask, unsigned value) {
  grid *g = running;
  unsigned warp = g->current / warp_lanes, lane = g->current % warp_lanes;
  exchange &x = g->warps[warp];
  if (!(mask >> lane & 1)) shim_fail("a lane calls a shuffle whose mask leaves it out");
  x.laid[lane] = value;
  x.arrived |= 1u << lane;
  if ((x.arrived & mask) != mask) {
    g->fibers[g->current].now = state::at_shuffle;
    leave(false);
    return x.taken;
  }
  x.arrived &= ~mask;
  for (unsigned i = 0; i < warp_lanes; i++) {
    if (!(mask >> i & 1)) continue;
    x.taken[i] = x.laid[i];
    g->fibers[warp * warp_lanes + i].now = state::ready;
  }
  return x.taken;
}

} // namespace

void shim_fail(const char *text) {
  running->fault = text;
  leave(false);
  abort(); /* a failed block is never entered again */
}

void __syncthreads() {
  grid *g = running;
  if (++g->at_barrier == g->threads) {
    g->at_barrier = 0;
    for (fiber &f : g->fibers) f.now = state::ready;
    return;
  }
  g->fibers[g->current].now = state::at_barrier;
  leave(false);
}

void __syncwarp(unsigned mask) { meet(mask, 0); }

unsigned __shfl_sync(unsigned mask, unsigned value, int lane) { return meet(mask, value)[lane & 31]; }

unsigned __shfl_xor_sync(unsigned mask, unsigned value, int far) {
  unsigned lane = threadIdx.x % warp_lanes;
  return meet(mask, value)[(lane ^ (unsigned)far) % warp_lanes];
}

unsigned __ballot_sync(unsigned mask, int vote) {
  const unsigned *votes = meet(mask, vote != 0);
  unsigned all = 0;
  for (unsigned i = 0; i < warp_lanes; i++)
    if (mask >> i & 1) all |= votes[i] << i;
  return all;
}

const char *shim_run(void (*kernel)(const mx_entry *, unsigned, mx_entry), const mx_entry *entries, unsigned count,
                     unsigned long long blocks, unsigned threads) {
  grid g = {};
  g.kernel = kernel;
  g.entries = entries;
  g.count = count;
  g.threads = threads;
  g.fibers.resize(threads);
  g.warps.resize(threads / warp_lanes);
  if (threads == 0 || threads % warp_lanes) g.fault = "a thread block is not whole warps";
  for (fiber &f : g.fibers) f.stack = std::malloc(stack_bytes);
  for (fiber &f : g.fibers)
    if (!f.stack) g.fault = "no memory for the stacks of a block";
  running = &g;
  blockDim = {threads, 1, 1};
  gridDim = {(unsigned)blocks, 1, 1};
  for (unsigned long long b = 0; b < blocks && !g.fault; b++) {
    blockIdx = {(unsigned)b, 0, 0};
    run_block(&g, b % 2 != 0);
  }
  for (fiber &f : g.fibers) std::free(f.stack);
  running = nullptr;
  return g.fault;
}
