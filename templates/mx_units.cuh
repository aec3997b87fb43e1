/* mx_units.cuh -- in which order the threads of a block take the units of its tile: each warp several times 32 (or as
** many as it has teams) that lie side by side, so that what a warp reads before it writes is one stretch of memory.
**
** Kernels that move memory and little else keep one cache policy for all they read and write (mx_load.cuh): with two,
** the L2 writes back out of order and DRAM loses a tenth of its speed. */
#ifndef MX_UNITS_CUH
#define MX_UNITS_CUH

#include "mx_entry.cuh"

/* Where unit number `b` of a warp's batch lies in the tile: rounds of the whole block, in them warps, in them batches.
** TEAMS: units that a warp takes at once; `team`: which of them is this thread's. */
template <mx_u32 TEAMS, mx_u32 BATCH> MX_FN mx_u32 mx_unit(mx_u32 round, mx_u32 b, mx_u32 team) {
  constexpr mx_u32 warps = MX_THREADS / 32;
  return ((round * warps + threadIdx.x / 32) * BATCH + b) * TEAMS + team;
}

/* Rounds that take all units of a tile. */
template <mx_u32 TEAMS, mx_u32 BATCH> __host__ __device__ constexpr mx_u32 mx_rounds() {
  return mx_ceil_div(MX_TILE_UNITS, MX_THREADS / 32 * BATCH * TEAMS);
}

/* Units in flight of a thread that reads `bytes` for each. */
__host__ __device__ constexpr mx_u32 mx_batch_of(mx_u32 bytes) {
  return mx_min(mx_ceil_div(MX_TILE_UNITS, MX_THREADS), bytes >= 8 ? 2 : bytes >= 4 ? 4 : 8);
}

#endif
