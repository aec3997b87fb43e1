/* shim.h -- the small part of CUDA that the templates use, for a host C++ compiler: each CUDA thread is a fiber, so
** barriers and shuffles mean what they mean on a GPU. Stricter than a GPU where that finds faults: a misaligned access,
** a shuffle that a lane of the mask never reaches, a barrier that a thread never reaches, and memory touched before the
** kernel has waited for what is before it in the stream are all errors. */
#ifndef SHIM_H
#define SHIM_H

#include <cstdint>

#define __global__
#define __device__
#define __host__
#define __shared__ static thread_local
#define __launch_bounds__(...)
#define __grid_constant__

struct shim_dim {
  unsigned x, y, z;
};
extern thread_local shim_dim threadIdx, blockIdx, blockDim, gridDim;

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

/* Ends the run with this text; does not return. */
[[noreturn]] void shim_fail(const char *text);

/* Whether this thread has waited for what is before its kernel in the stream. */
extern thread_local bool shim_waited;
static inline void mx_griddepcontrol_wait() { shim_waited = true; }

template <typename T> static inline const T *shim_aligned(const T *at) {
  if (!shim_waited) shim_fail("memory is touched before mx_griddepcontrol_wait");
  if ((std::uintptr_t)at % sizeof(T) != 0) shim_fail("an access is not aligned to its size");
  return at;
}
template <typename T> static inline T __ldcs(const T *at) { return *shim_aligned(at); }
template <typename T> static inline T __ldg(const T *at) { return *shim_aligned(at); }
template <typename T> static inline void __stcs(T *at, T value) {
  shim_aligned(at);
  *at = value;
}

static inline unsigned atomicMax(unsigned *at, unsigned value) {
  unsigned old = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (old < value && !__atomic_compare_exchange_n(at, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    ;
  return old;
}

/* Bytes of b:a, byte i chosen by digit i of `chosen`. */
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned chosen) {
  const std::uint64_t all = (std::uint64_t)b << 32 | a;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; i++) result |= (unsigned)(all >> (chosen >> 4 * i & 7) * 8 & 255) << 8 * i;
  return result;
}

static inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

void __syncthreads();
void __syncwarp(unsigned mask = 0xffffffffu);
unsigned __shfl_sync(unsigned mask, unsigned value, int lane);
unsigned __shfl_xor_sync(unsigned mask, unsigned value, int far);
unsigned __ballot_sync(unsigned mask, int vote);

/* Kernels take the paths of an architecture where its number is given, 900 for sm_90: instructions are then models. */
#ifdef SHIM_ARCH
#define __CUDA_ARCH__ SHIM_ARCH
#define MX_ONE_NAN
#include "shim_ptx.h"
#endif

/* Runs `kernel` over `blocks` blocks of `threads` threads. NULL, or what went wrong. */
struct mx_entry;
const char *shim_run(void (*kernel)(const mx_entry *, unsigned, mx_entry), const mx_entry *entries, unsigned count,
                     unsigned long long blocks, unsigned threads);

#endif
