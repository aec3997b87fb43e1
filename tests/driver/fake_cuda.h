/* fake_cuda.h -- what a test says to the driver that is none (fake_cuda.c), which it finds by dlsym. */
#ifndef TESTS_FAKE_CUDA_H
#define TESTS_FAKE_CUDA_H

#include <stdint.h>

/* Carries out a kernel, here and now; the table of entries lies at `entries`. */
typedef void (*fake_cuda_kernel)(const char *name, uint64_t entries, uint32_t count);
/* Before the first launch. */
typedef void (*fake_cuda_use_function)(fake_cuda_kernel kernel);
void fake_cuda_use(fake_cuda_kernel kernel);

/* Graphs that were instantiated and are not freed. */
typedef int (*fake_cuda_graphs_function)(void);
int fake_cuda_graphs(void);

/* The launch of a graph, or of a kernel, after so many others fails, once. */
typedef void (*fake_cuda_fail_function)(int after);
void fake_cuda_fail_launch(int after);
void fake_cuda_fail_kernel(int after);
/* Devices of the graph, of those made so far, that is over most of them. */
typedef int (*fake_cuda_count_function)(void);
int fake_cuda_widest_graph(void);

/* As a call that capturing threads may not make: 0, or the error. */
int fake_cuda_unsafe(void);

#endif
