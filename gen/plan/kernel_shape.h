/* kernel_shape.h -- the widths and sizes of generated kernels: what was measured to be fast, in one place. The planner
** and the benchmark ask here. */
#ifndef MXG_KERNEL_SHAPE_H
#define MXG_KERNEL_SHAPE_H

#include "plan.h"

/* How the kernels of one family are cut, in place of what is chosen here; 0: as chosen. Tiles grow with the threads. */
typedef struct mxg_kernel_shape {
  uint32_t threads;      /* of a thread block */
  uint32_t access_bytes; /* of one access to the wider side, or to the source where scales are chosen by rows */
} mxg_kernel_shape;

/* By family; zero: all as chosen. A family that leaves no choice, MXG_QUANTIZE_BOTH, stays as it is. */
typedef struct mxg_kernel_shapes {
  mxg_kernel_shape of[MXG_FAMILIES];
} mxg_kernel_shapes;

enum { MXG_ACCESS_BYTES = 16, MXG_THREADS_MOST = 1024 };

/* What every kernel of a family can be made with: whole warps, and powers of two up to the widest access. */
bool mxg_kernel_shape_is_good(const mxg_kernel_shape *shape);
/* How many of the choices are not the library's. */
uint32_t mxg_kernel_shapes_count(const mxg_kernel_shapes *shapes);

struct mxg_text;
/* "dequantize 128 threads 8 bytes, move 512 threads"; "" where all are as chosen. */
void mxg_kernel_shapes_print(const mxg_kernel_shapes *shapes, struct mxg_text *text);

/* The most elements to one access for such a kernel; alignment of rows and columns may allow fewer. `shape`: NULL as
** chosen here. */
uint32_t mxg_kernel_widest(mxg_family family, const mxg_encoding *src, const mxg_encoding *dst,
                           const mxg_kernel_shape *shape);

/* Fills threads and tile_units of a kernel whose other fields stand. */
void mxg_kernel_size(mxg_kernel *kernel, const mxg_kernel_shape *shape);

#endif
