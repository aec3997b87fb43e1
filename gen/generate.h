/* generate.h -- the stages of one generate with everything they made, for callers that show more than the bundle. */
#ifndef MXG_GENERATE_H
#define MXG_GENERATE_H

#include "compile.h"
#include "model.h"
#include "mxgen.h"
#include "tune_file.h"

#include "bundle.h"

/* What a tuning file decides. */
typedef struct mxg_tuned {
  bool there; /* a file was read and fits; otherwise all below are defaults */
  mxg_hints hints;
  uint64_t bucket_bytes; /* 0: the recipe's */
  mxg_kernel_shapes shapes;
  uint64_t measured_ns[MXG_AUTO]; /* of a run, by transport; 0: not measured */
  mxg_rates rates;
  char text[MXG_TUNE_WHY]; /* where that is from, in a sentence */
  char rates_name[160];
} mxg_tuned;

/* Zero-initialise; free with mxg_generation_free. What a stage made is NULL before it has run. All but the bundle lives
** in the arena. */
typedef struct mxg_generation {
  mxg_arena arena;
  const mxg_model *model;
  mxg_files files; /* the recipe and what it includes */
  const mxg_plan *plan;
  const mxg_source *sources;      /* one a kernel of the plan */
  const char *const *archs;       /* NULL-terminated; may be empty */
  const mxg_cubin *const *cubins; /* [arch][kernel] */
  const mxg_template *templates;
  uint32_t template_count;
  mxg_compile_use use; /* where the cubins came from */
  char cache_note[MXG_CACHE_NOTE];
  bool tuned_given; /* before the run: `tuned` is what to take, and no file is read */
  mxg_tuned tuned;
  char tune_path[1024], tune_note[MXG_TUNE_WHY]; /* of the file beside the recipe, "" without; why it is not used */
  mxg_bundle *bundle;
} mxg_generation;

/* The last stage to run: each runs all before it. */
typedef enum mxg_stage {
  MXG_STAGE_MODEL,
  MXG_STAGE_PLAN,
  MXG_STAGE_SOURCES,
  MXG_STAGE_CUBINS,
  MXG_STAGE_BUNDLE,
  MXG_STAGE_FILES
} mxg_stage;

mxg_status mxg_generation_run(mxg_generation *g, const char *recipe, const mxg_options *options, mxg_stage last,
                              mxg_error *err);
void mxg_generation_free(mxg_generation *g);

/* A template file and those that it includes, in the order of first mention; indices into the templates. *count at most
** template_count. */
mxg_status mxg_template_uses(uint32_t *uses, uint32_t *count, const mxg_template *templates, uint32_t template_count,
                             const char *name, mxg_error *err);

#endif
