/* plan.h -- the plan: the whole schedule, for every rank, as plain tables. Made by gen/plan.c, kept in a bundle,
** walked by exec.c. Only indices and byte counts, no pointers into anything but the tables themselves;
** deterministic.
**
** One plan joins two sides. A stored tensor of one rank is an *array*: a stack of row-major matrices with their
** scales. A *piece* is a rectangle that one source array holds and one target array wants; its *segments* are runs
** of rows that are contiguous on both sides. Pieces are grouped in *buckets*; *steps* say what a rank does, in
** order. */
#ifndef MXG_PLAN_H
#define MXG_PLAN_H

#include "mx_abi.h"
#include "mxrt.h"

#include <stdbool.h>
#include <stdint.h>

#define MXG_NONE UINT32_MAX

/* How the elements of an array are held. block_* 0: no scales; MX_WHOLE: one scale for the matrix. */
typedef struct mxg_encoding {
  uint8_t elem;   /* enum mx_elem */
  uint8_t scale;  /* enum mx_scale */
  uint8_t layout; /* enum mx_scale_layout */
  uint8_t rule;   /* enum mx_rule: how a scale is chosen when this is written; NONE for unscaled and fp32 scales */
  uint8_t nan;    /* enum mx_nan */
  uint8_t pad[3];
  uint32_t block_rows, block_cols;
} mxg_encoding;

/* A stored tensor of one rank. File shape: dims[0..ndim), outermost first; matrices * rows * cols elements. */
typedef struct mxg_array {
  uint32_t name;       /* offset into strings: the name of the data in files and for bind */
  uint32_t scale_name; /* offset into strings; 0 ("") when there are no scales */
  uint32_t tensor;     /* offset into strings: the logical tensor, for people */
  uint32_t rank;
  uint32_t encoding;  /* index */
  uint8_t side;       /* mxg_side; SCRATCH lives in the staging slot */
  uint8_t ndim;       /* 1: [cols], rows == 1; 2: [rows, cols]; 3: [matrices, rows, cols] */
  uint8_t e8m0_dtype; /* scale bytes are typed F8_E8M0 in files rather than U8 */
  uint8_t whole;      /* 1: all rows, columns and experts of what its name stands for: a tensor, a part, an expert */
  uint64_t matrices, rows, cols;
  uint64_t offset; /* scratch: bytes from the start of the slot. Otherwise 0 */
} mxg_array;

typedef struct mxg_segment {
  uint32_t src_row, dst_row, rows;
} mxg_segment;

typedef struct mxg_piece {
  uint32_t src, dst;               /* arrays */
  uint32_t src_matrix, dst_matrix; /* which of the stacked matrices */
  uint32_t src_col, dst_col, cols;
  uint32_t first_segment, segments;
  uint32_t bucket;
  uint32_t phase; /* 0 from the wire or local memory, 1 and 2 from scratch: a later phase reads what an earlier wrote */
  uint32_t kernel;        /* from the wire form, or from local memory when both arrays are of one rank */
  uint32_t kernel_direct; /* reading the source array as its rank holds it; often the same */
  uint32_t pad;
  uint64_t rows;        /* sum over the segments */
  uint64_t wire_offset; /* bytes from the start of the slot; local and scratch pieces: 0 */
  uint64_t wire_bytes;  /* bytes received in wire form; 0 for local and scratch pieces */
} mxg_piece;

typedef enum mxg_fill_kind {
  MXG_FILL_DATA = 0, /* bytes [offset, offset + bytes) of the array's data: rows of padding */
  MXG_FILL_SCALES =
      1,            /* in every matrix each scale byte, padding of the layout included, but those of scales (i, j) with
                    ** i < offset and j < the meaningful scale columns; `bytes` counts them over all matrices */
  MXG_FILL_CELL = 2 /* the AMAX cell of a scratch array; offset 0, bytes 4 */
} mxg_fill_kind;

/* Bytes that no piece writes are zero: padding of rows and of scale layouts. The step comes before the bucket's
** pieces, so a transport may also zero the whole of what a SCALES fill concerns. */
typedef struct mxg_fill {
  uint32_t array;
  uint32_t kind; /* mxg_fill_kind */
  uint32_t bucket;
  uint32_t pad;
  uint64_t offset, bytes;
} mxg_fill;

typedef enum mxg_step_kind {
  MXG_STEP_FILL = 0,    /* zero fills[first .. +count) */
  MXG_STEP_GATHER = 1,  /* bring pieces[first .. +count), all of one source rank `peer`, into slot `slot` */
  MXG_STEP_WAIT = 2,    /* the gathers of `bucket` are complete before what follows */
  MXG_STEP_CONVERT = 3, /* run `kernel` over pieces[first .. +count) */
  MXG_STEP_RELEASE = 4  /* the converts of `bucket` are complete before its slot is written again */
} mxg_step_kind;

/* What a caller starts and waits for: the buckets, on every rank, whose steps name it. One bucket ("bucket 3"), or
** all that a layer needs ("layers.12"): then no bucket has two layers. */
typedef struct mxg_group {
  uint32_t name; /* offset into strings */
} mxg_group;

typedef struct mxg_step {
  uint32_t kind; /* mxg_step_kind */
  uint32_t bucket, slot;
  uint32_t first, count;
  uint32_t kernel; /* CONVERT */
  uint32_t peer;   /* GATHER: the source rank. Otherwise MXG_NONE */
  uint32_t group;  /* of its bucket */
  uint64_t bytes;  /* GATHER: wire bytes. CONVERT: bytes read and written */
} mxg_step;

typedef enum mxg_family {
  MXG_MOVE = 0,                /* same element bytes; scales copied, expanded or laid out anew */
  MXG_DEQUANTIZE = 1,          /* any to an unscaled format: also casts between bf16, fp16 and fp32 */
  MXG_QUANTIZE_ROWWISE = 2,    /* any to blocks of 1 x n */
  MXG_QUANTIZE_COLUMNWISE = 3, /* any to blocks of n x 1 */
  MXG_QUANTIZE_SQUARE = 4,     /* any to blocks of n x n: 32x32 E8M0, 128x128 FP32 or E8M0 */
  MXG_AMAX = 5,                /* FP32 scratch: the bits of the largest magnitude into the scratch array's cell */
  MXG_QUANTIZE_WHOLE = 6,      /* FP32 scratch with its cell to fp8 with one FP32 scale */
  MXG_QUANTIZE_BOTH = 7,       /* unscaled to 1 x 32 and 32 x 1 at once: entries in pairs, see quantize_both.cu */
  MXG_FAMILIES = 8
} mxg_family;

/* A shape class: one generated kernel. All of it is compile-time constant in the generated source. */
typedef struct mxg_kernel {
  char name[40]; /* mx_<family>_<8 hex digits of the params text> */
  uint8_t family;
  uint8_t pad[3];
  uint32_t cols; /* of every piece; 0: each entry says its own */
  uint32_t vec;  /* elements to one access; row starts and column offsets of both sides are multiples of it */
  uint32_t threads;
  uint32_t
      tile_units;  /* units of work of one tile (one thread block); a unit is defined by the family, mxg_kernel_units */
  uint32_t origin; /* offset into strings: recipe lines and tensors, for the comment in the generated header */
  mxg_encoding src, dst;
} mxg_kernel;

/* What one rank holds and does: ranges of the tables. */
typedef struct mxg_rank {
  uint32_t first_source, sources; /* arrays */
  uint32_t first_target, targets; /* arrays */
  uint32_t first_step, steps;
  uint32_t first_scratch, scratches; /* arrays */
  uint64_t received_bytes;           /* wire bytes of all its gathers */
  uint64_t staging_bytes;            /* peak: slots * slot size */
} mxg_rank;

typedef struct mxg_plan {
  const char *name;
  uint32_t rank_count, slots;
  uint64_t slot_bytes, staging_cap;
  const char *strings; /* offset 0 is "" */
  uint64_t string_bytes;
  mxg_rank *ranks;
  mxg_encoding *encodings;
  uint32_t encoding_count;
  mxg_array *arrays; /* by side, rank, declaration order */
  uint32_t array_count;
  mxg_piece *pieces; /* by target rank, then in step order */
  uint32_t piece_count;
  mxg_segment *segments;
  uint32_t segment_count;
  mxg_fill *fills;
  uint32_t fill_count;
  mxg_step *steps;
  uint32_t step_count;
  mxg_kernel *kernels;
  uint32_t kernel_count;
  mxg_group *groups; /* in the order in which a run would come to them */
  uint32_t group_count;
} mxg_plan;

/* ---- geometry: format.c ------------------------------------------------------------------------------------------ */

unsigned mxg_elem_bytes(unsigned elem);
const char *mxg_elem_name(unsigned elem);     /* "e4m3" */
const char *mxg_family_name(unsigned family); /* "move"; also the template's file name */

typedef struct mxg_scale_shape {
  uint64_t rows, cols;               /* scales that mean something: ceil(rows / block) and so on; 0, 0: no scales */
  uint64_t stored_rows, stored_cols; /* with the padding of the layout; bytes of one matrix = product * scale size */
  uint32_t ld;                       /* what mx_entry's *_scale_ld takes */
  uint32_t bytes_each;               /* 1 or 4 */
} mxg_scale_shape;

/* Scales of one matrix of rows x cols. Never fails: sizes were checked when the array was made. */
mxg_scale_shape mxg_scale_shape_of(const mxg_encoding *encoding, uint64_t rows, uint64_t cols);
uint64_t mxg_array_data_bytes(const mxg_plan *plan, const mxg_array *array);
uint64_t mxg_array_scale_bytes(const mxg_plan *plan, const mxg_array *array); /* all matrices, with padding; 0: none */
/* The file shape of the data and of the scales. `dims` has room for 3; returns the count. Scales of a stack have the
** stack outermost; swizzled and padded ones have their stored shape; one scale a matrix is [] or [matrices]. */
unsigned mxg_array_shape(const mxg_array *array, uint64_t dims[3]);
unsigned mxg_array_scale_dims(const mxg_plan *plan, const mxg_array *array, uint64_t dims[3]);

/* "F8_E4M3", "U8": what safetensors calls them. "" for scales that there are not. */
const char *mxg_array_dtype(const mxg_plan *plan, const mxg_array *array);
const char *mxg_array_scale_dtype(const mxg_plan *plan, const mxg_array *array);

/* The form in which a piece travels: elements as they are, scales compact. */
mxg_encoding mxg_wire_encoding(const mxg_encoding *encoding);
/* Where a segment's elements and scales lie in a piece's wire form, from wire_offset: data of all segments in order,
** then, 16-byte aligned, their scales. A row block that a segment enters in the middle travels whole. */
typedef struct mxg_wire {
  uint64_t data_bytes, scale_offset, bytes;
} mxg_wire;
mxg_wire mxg_wire_of(const mxg_plan *plan, const mxg_piece *piece);
/* Whether a piece is the same bytes on both sides, unscaled, and so needs no kernel. */
bool mxg_piece_is_copy(const mxg_plan *plan, const mxg_piece *piece);

/* Units of work and tiles of an entry of rows x cols for a kernel: what the generated kernel computes too. */
uint64_t mxg_kernel_units(const mxg_kernel *kernel, uint64_t rows, uint64_t cols);
uint64_t mxg_kernel_tiles(const mxg_kernel *kernel, uint64_t rows, uint64_t cols);

/* ---- check: plan_check.c ----------------------------------------------------------------------------------------- */

/* Every index and range in bounds, every step's pieces of its rank, slots inside staging, and every element and
** scale of every target array written exactly once (rectangles and fills, no overlap, nothing missing). Depends on
** nothing that made the plan. MXG_ERR_BUNDLE with code 7xx. */
mxg_status mxg_plan_check(const mxg_plan *plan, mxg_error *err);

#endif
