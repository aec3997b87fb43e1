/* kernel_shape.h -- the widths and sizes of generated kernels: what was measured to be fast, in one place. The planner
** and the benchmark ask here. */
#ifndef MXG_KERNEL_SHAPE_H
#define MXG_KERNEL_SHAPE_H

#include "plan.h"

/* The most elements to one access for such a kernel; alignment of rows and columns may allow fewer. */
uint32_t mxg_kernel_widest(mxg_family family, const mxg_encoding *src, const mxg_encoding *dst);

/* Fills threads and tile_units of a kernel whose other fields stand. */
void mxg_kernel_size(mxg_kernel *kernel);

#endif
