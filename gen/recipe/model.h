/* model.h -- the model: a recipe with everything resolved. Built by model.c from what recipe.c read; immutable
** afterwards; no Lua type survives here. All memory is of one arena. layout.c and plan.c read nothing else. */
#ifndef MXG_MODEL_H
#define MXG_MODEL_H

#include "kernel_shape.h"
#include "memory.h"

/* Where a value was written in a recipe. `file` as given on the command line or include; 1-based; 0: unknown. */
typedef struct mxg_origin {
  const char *file;
  int line, column, span;
} mxg_origin;

/* A named row range of a fused tensor, in order: q, k, v; gate, up. */
typedef struct mxg_part {
  const char *name;
  uint64_t first_row, rows;
} mxg_part;

typedef struct mxg_tensor {
  const char *name;             /* "layers.0.attn.qkv" */
  unsigned ndim;                /* 1: [rows] (cols == 1), 2: [rows, cols], 3: [experts, rows, cols] */
  uint64_t experts, rows, cols; /* logical, before padding; experts == 1 unless ndim == 3 */
  const mxg_part *parts;        /* at least one; a plain tensor is one part with name "" */
  uint32_t part_count;
  uint64_t groups;   /* :interleave(g): query groups; 0: none. Stored group by group: q/g rows, k/g rows, v/g rows */
  uint64_t pad_rows; /* :pad_rows(n): where a side splits the rows, each shard is padded to a multiple of n; 0: none */
  uint32_t tied_to;  /* m:tied(name, other): index of the tensor whose values it shares; MXG_NONE */
  mxg_origin origin;
} mxg_tensor;

typedef struct mxg_axis {
  const char *name;
  uint64_t size;
} mxg_axis;

/* Named axes over the ranks of a side, outermost first; the product is the side's rank count. */
typedef struct mxg_mesh {
  const mxg_axis *axes;
  uint32_t axis_count;
  mxg_origin origin;
} mxg_mesh;

/* A format of the recipe: one plane, or two (mxfp8 in both directions: plane 0 rowwise, plane 1 columnwise). */
typedef struct mxg_format {
  const char *kind; /* "mxfp8", "fp8", "fp8_block", "bf16", "fp16", "fp32" */
  uint32_t planes;
  mxg_encoding plane[2];
  bool e8m0_dtype;                    /* scale bytes are typed F8_E8M0 in files instead of U8 */
  const struct mxg_format *otherwise; /* taken for a tensor whose shard cuts a block; NULL: that is an error */
  mxg_origin origin;
} mxg_format;

/* The most axes that one dimension is split over. */
enum { MXG_SPLIT_AXES = 4 };

typedef struct mxg_split {
  uint32_t axes[MXG_SPLIT_AXES]; /* indices into the mesh, outermost first */
  uint32_t count;                /* 0: not split */
} mxg_split;

typedef enum mxg_order {
  MXG_ORDER_MODEL = 0,  /* grouped where the tensor is interleaved and stored fused, else by part */
  MXG_ORDER_PARTS = 1,  /* each part is split on its own: a shard is q rows, then k rows, then v rows */
  MXG_ORDER_GROUPED = 2 /* interleaved by query group; a shard is whole groups */
} mxg_order;

typedef enum mxg_spread {
  MXG_SPREAD_WHOLE = 0,
  MXG_SPREAD_SPLIT = 1,
  MXG_SPREAD_FLAT = 2 /* flat ranges over data-parallel ranks: reserved, refused by model.c */
} mxg_spread;

typedef struct mxg_layout {
  uint8_t spread; /* mxg_spread */
  uint8_t order;  /* mxg_order */
  bool has_pad;   /* pad_rows below overrides the tensor's */
  uint64_t pad_rows;
  uint32_t mesh; /* index into the side's meshes: the first that has all axes named */
  mxg_split row, col, expert;
  mxg_origin origin;
} mxg_layout;

/* What one side decided for one tensor. */
typedef struct mxg_placement {
  bool held;                 /* false: a tied tensor that this side keeps under the other's name only */
  const mxg_format *format;  /* the rule's, or its `otherwise` */
  const mxg_format *refused; /* not NULL: this format would cut a block, `format` is its fallback */
  const mxg_layout *layout;
  uint32_t stage;                      /* coordinate on the stage axis that owns it; MXG_NONE: all stages hold it */
  mxg_origin format_rule, layout_rule; /* the pattern that won */
  const char *format_pattern, *layout_pattern;
} mxg_placement;

/* Appended to the names of a format's second plane, before the scale suffix. */
#define MXG_SECOND_PLANE_SUFFIX "_columnwise"

/* Names of one tensor's arrays on a side: templates with {e} for the expert index; a template for each part when
** parts are apart (then the parts are separate arrays), else one. */
typedef struct mxg_naming {
  bool parts_apart, experts_apart;
  const char **templates; /* part_count when parts_apart, else 1 */
  bool transposed;        /* reserved, false */
} mxg_naming;

typedef struct mxg_side_model {
  const mxg_mesh *meshes; /* at least one; all have the same product */
  uint32_t mesh_count;
  uint32_t stage_mesh, stage_axis; /* the axis of the pipeline stages; MXG_NONE: no stages */
  uint32_t first_rank, rank_count;
  const mxg_placement *placements; /* one a tensor */
  const mxg_naming *namings;       /* one a tensor */
  const char *scale_suffix;        /* appended to the data's name: "_scale", "_scale_inv" */
  mxg_origin origin;
} mxg_side_model;

typedef struct mxg_model {
  const char *name;
  const char *recipe_file;
  const mxg_tensor *tensors;
  uint32_t tensor_count;
  mxg_side_model side[2];               /* MXG_SOURCE, MXG_TARGET */
  uint64_t bucket_bytes, staging_bytes; /* schedule */
  uint32_t slots;
  bool layer_groups;   /* what is started and waited for is a layer, not a bucket */
  uint32_t node_ranks; /* ranks of one node, for the nearest holder; 0: all are near */
  mxg_origin schedule_origin;
  mxg_kernel_shapes kernel_shapes; /* a tuning file's; no recipe says */
} mxg_model;

/* ---- a recipe as read: recipe.c ---------------------------------------------------------------------------------- */

typedef struct mxg_define {
  const char *name, *value; /* --set layers=2: what mx.param("layers", 32) gives */
} mxg_define;

typedef struct mxg_recipe_options {
  const mxg_define *defines;
  uint32_t define_count;
} mxg_recipe_options;

/* Files read, for DEPFILEs, errors and cache keys: the recipe and its includes, in order. */
typedef struct mxg_files {
  const char **paths;
  unsigned char (*digests)[32]; /* SHA-256 of what was read */
  uint32_t count;
} mxg_files;

/* Runs the recipe at `path` in the sandbox, checks keys and types against the schema, resolves every rule, and
** checks the layouts: axes exist, splits divide, no shard cuts a block without a fallback, every pattern matches.
** The model lives in `arena`. MXG_ERR_INPUT with file, line and column. */
mxg_status mxg_model_build(const mxg_model **out, mxg_files *files, const char *path, const mxg_recipe_options *options,
                           mxg_arena *arena, mxg_error *err);

/* Line-oriented text form (golden files, --dump=m). */
struct mxg_text;
void mxg_model_print(const mxg_model *model, struct mxg_text *text);

/* The name of an array's data: `part` and `expert` are ignored where the naming keeps them together. NULL: no memory.
 */
const char *mxg_naming_name(const mxg_naming *naming, uint32_t part, uint64_t expert, mxg_arena *arena);

#endif
