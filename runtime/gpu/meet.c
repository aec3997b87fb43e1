/* meet.c -- where the ranks of several processes meet on their streams; see transport_gpu.h. Every group has flags
** of its own, as far as there are lanes: processes that start groups in different orders then wait for each other
** until their deadline, and do not take one group's begin for another's. */
#include "transport_gpu.h"

static uint32_t lane_of(uint32_t group) { return group == MXG_ALL_GROUPS ? 0 : 1 + group % (MXG_MEET_LANES - 1); }

mxg_status mxg_rank_meet_begin(mxg_gpu_rank *rank, uint32_t group, mxg_cu_stream *stream, mxg_error *err) {
  return mxg_meet_begin(rank->team->share, rank->rank, lane_of(group), stream, err);
}

mxg_status mxg_rank_meet_end(mxg_gpu_rank *rank, uint32_t group, mxg_cu_stream *stream, mxg_error *err) {
  return mxg_meet_end(rank->team->share, rank->rank, lane_of(group), stream, err);
}
