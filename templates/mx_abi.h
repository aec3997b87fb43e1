/* mx_abi.h -- what host and generated kernel share: element, scale and rule codes, and the table of work.
**
** C11, C++ and CUDA (NVRTC finds no standard header, so types are spelled out). Owns the numbers that travel in a
** bundle; an enum value here is never renumbered. Conversions live in mx_convert.h, scale addressing in mx_scale.h. */
#ifndef MX_ABI_H
#define MX_ABI_H

typedef unsigned char mx_u8;
typedef unsigned short mx_u16;
typedef unsigned int mx_u32;
typedef unsigned long long mx_u64;

enum mx_elem { MX_E4M3 = 0, MX_E5M2 = 1, MX_BF16 = 2, MX_FP16 = 3, MX_FP32 = 4 };

/* How a matrix is scaled. AMAX is FP32 scratch whose one cell gathers the bits of the largest magnitude. */
enum mx_scale { MX_SCALE_NONE = 0, MX_SCALE_E8M0 = 1, MX_SCALE_FP32 = 2, MX_SCALE_AMAX = 3 };

/* Where scale (i, j) of a matrix lies; formulas in mx_scale.h. */
enum mx_scale_layout { MX_COMPACT = 0, MX_PADDED = 1, MX_SWIZZLED = 2 };

enum mx_rule { MX_RULE_NONE = 0, MX_FLOOR = 1, MX_RCEIL = 2, MX_CEIL = 3, MX_EVEN = 4 };

enum mx_nan { MX_NAN_BLOCK = 0, MX_NAN_ELEMENT = 1 };

/* A block as large as the matrix: one scale for all of it. */
#define MX_WHOLE 0xffffffffu

/* How memory is read best. FAR: the source is in another GPU's memory, and comes sector by sector. BESIDE: copies are
** under way, and few blocks at a time. */
enum mx_entry_flag { MX_FAR = 1, MX_BESIDE = 2 };

/* One rectangle of work: `rows` x `cols` elements of a source matrix become the same rectangle of a target matrix.
** Addresses are those of the *matrices'* element (0, 0) and scale (0, 0), so that row / block and column / block
** give the scale's indices on either side; a matrix that is staged in part has its address moved back accordingly.
** `*_ld`: elements between two rows. `flags`: of mx_entry_flag. `*_scale_ld`: compact and padded: scales between two
** rows of scales; swizzled: 128x4 tiles along the inner dimension (mx_scale.h). `first_tile`: tiles of the entries
** before this one. */
typedef struct mx_entry {
  mx_u64 src, src_scale, dst, dst_scale;
  mx_u32 src_ld, flags, dst_ld, unused;
  mx_u32 src_row, src_col, dst_row, dst_col;
  mx_u32 rows, cols;
  mx_u32 src_scale_ld, dst_scale_ld;
  mx_u64 first_tile;
} mx_entry;

#ifdef __cplusplus
static_assert(sizeof(mx_entry) == 88, "mx_entry is read by kernels compiled elsewhere");
#else
_Static_assert(sizeof(mx_entry) == 88, "mx_entry is read by kernels compiled elsewhere");
#endif

#endif
