/* meet.c -- where the ranks of several processes meet on their streams; see transport_gpu.h. */
#include "transport_gpu.h"

mxg_status mxg_rank_meet_begin(mxg_gpu_rank *rank, uint32_t group, mxg_cu_stream *stream, mxg_error *err) {
  (void)rank, (void)group, (void)stream, (void)err;
  return MXG_OK;
}

mxg_status mxg_rank_meet_end(mxg_gpu_rank *rank, uint32_t group, mxg_cu_stream *stream, mxg_error *err) {
  (void)rank, (void)group, (void)stream, (void)err;
  return MXG_OK;
}
