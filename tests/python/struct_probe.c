/* struct_probe.c -- sizes and offsets of the public structs, "struct field offset size" a line, for the ctypes module's
 * test. */
#include "mxgen.h"

#include <stdio.h>

#define BEGIN(type) printf("%s - 0 %zu\n", #type, sizeof(type))
#define FIELD(type, field) printf("%s %s %zu %zu\n", #type, #field, offsetof(type, field), sizeof(((type *)0)->field))

int main(void) {
  BEGIN(mxg_error);
  FIELD(mxg_error, status);
  FIELD(mxg_error, code);
  FIELD(mxg_error, native);
  FIELD(mxg_error, line);
  FIELD(mxg_error, column);
  FIELD(mxg_error, span);
  FIELD(mxg_error, file);
  FIELD(mxg_error, text);
  FIELD(mxg_error, note);
  FIELD(mxg_error, help);
  BEGIN(mxg_tensor_info);
  FIELD(mxg_tensor_info, size);
  FIELD(mxg_tensor_info, side);
  FIELD(mxg_tensor_info, rank);
  FIELD(mxg_tensor_info, name);
  FIELD(mxg_tensor_info, data_bytes);
  FIELD(mxg_tensor_info, scale_bytes);
  FIELD(mxg_tensor_info, first_group);
  FIELD(mxg_tensor_info, group);
  FIELD(mxg_tensor_info, tensor);
  FIELD(mxg_tensor_info, dtype);
  FIELD(mxg_tensor_info, scale_dtype);
  FIELD(mxg_tensor_info, ndim);
  FIELD(mxg_tensor_info, scale_ndim);
  FIELD(mxg_tensor_info, shape);
  FIELD(mxg_tensor_info, scale_shape);
  BEGIN(mxg_exec_options);
  FIELD(mxg_exec_options, size);
  FIELD(mxg_exec_options, transport);
  FIELD(mxg_exec_options, ranks);
  FIELD(mxg_exec_options, rank_count);
  FIELD(mxg_exec_options, threads);
  FIELD(mxg_exec_options, progress);
  FIELD(mxg_exec_options, user);
  FIELD(mxg_exec_options, wires);
  FIELD(mxg_exec_options, gpus);
  FIELD(mxg_exec_options, timeout_ms);
  FIELD(mxg_exec_options, chunk_bytes);
  FIELD(mxg_exec_options, copy_streams);
  FIELD(mxg_exec_options, no_graph);
  FIELD(mxg_exec_options, record);
  FIELD(mxg_exec_options, job);
  FIELD(mxg_exec_options, nccl_comms);
  BEGIN(mxg_job_options);
  FIELD(mxg_job_options, size);
  FIELD(mxg_job_options, rank);
  FIELD(mxg_job_options, world);
  FIELD(mxg_job_options, address);
  FIELD(mxg_job_options, port);
  FIELD(mxg_job_options, timeout_ms);
  BEGIN(mxg_kernel_counts);
  FIELD(mxg_kernel_counts, size);
  FIELD(mxg_kernel_counts, cached);
  FIELD(mxg_kernel_counts, compiled);
  FIELD(mxg_kernel_counts, note);
  BEGIN(mxg_options);
  FIELD(mxg_options, size);
  FIELD(mxg_options, archs);
  FIELD(mxg_options, sets);
  FIELD(mxg_options, out_dir);
  FIELD(mxg_options, threads);
  FIELD(mxg_options, progress);
  FIELD(mxg_options, user);
  FIELD(mxg_options, embed);
  FIELD(mxg_options, no_cache);
  FIELD(mxg_options, counts);
  FIELD(mxg_options, warn);
  FIELD(mxg_options, no_tune);
  printf("enum MXRT_VERSION %d 0\nenum MXGEN_VERSION %d 0\n", MXRT_VERSION, MXGEN_VERSION);
  printf("enum MXG_HOST %d 0\nenum MXG_NCCL %d 0\nenum MXG_COPY %d 0\nenum MXG_DIRECT %d 0\nenum MXG_AUTO %d 0\n",
         MXG_HOST, MXG_NCCL, MXG_COPY, MXG_DIRECT, MXG_AUTO);
  printf("enum MXG_SOURCE %d 0\nenum MXG_TARGET %d 0\nenum MXG_ALL_GROUPS %u 0\n", MXG_SOURCE, MXG_TARGET,
         MXG_ALL_GROUPS);
  return 0;
}
