/* mx_scale.h -- where scale (i, j) of a matrix lies, for every scale layout. What scales mean is mx_convert.h's.
**
** i = row / block rows, j = column / block columns (mx_block_index); offsets count scales, not bytes. `ld` is
** mx_entry's *_scale_ld. The subset of C11 that is also C++17 and CUDA.
**
** compact and padded lie row-major, `ld` scales between two rows. Swizzled is a row-major grid of 512-byte tiles of
** 128 outer x 4 inner scales, `ld` tiles to a row of the grid; outer is i and inner j, but for columnwise blocks (n
** x 1) the matrix is seen transposed: outer is the column and inner the row block.
**
** Who writes: a target's scale is written by whoever writes the first element of its block, so that each is written
** once even where several entries share a block. */
#ifndef MX_SCALE_H
#define MX_SCALE_H

#include "mx_abi.h"
#include "mx_convert.h"

/* Index of the block that holds row or column `x`. Block 0 (unscaled) and MX_WHOLE: 0. */
MX_FN mx_u32 mx_block_index(mx_u32 x, mx_u32 block) { return block == 0u || block == MX_WHOLE ? 0u : x / block; }

/* Whether `x` is the first row or column of its block. */
MX_FN int mx_block_first(mx_u32 x, mx_u32 block) {
  return block == 0u || block == MX_WHOLE ? x == 0u : x % block == 0u;
}

MX_FN int mx_is_columnwise(mx_u32 block_rows, mx_u32 block_cols) { return block_cols == 1u && block_rows > 1u; }

/* `columnwise`: blocks of n x 1. */
MX_FN mx_u64 mx_scale_offset(int layout, int columnwise, mx_u32 ld, mx_u32 i, mx_u32 j) {
  if (layout == MX_SWIZZLED) {
    mx_u32 outer = columnwise ? j : i, inner = columnwise ? i : j;
    mx_u64 tile = (mx_u64)(outer / 128u) * ld + inner / 4u;
    return tile * 512u + (outer % 32u) * 16u + (outer % 128u) / 32u * 4u + inner % 4u;
  }
  return (mx_u64)i * ld + j;
}

#endif
