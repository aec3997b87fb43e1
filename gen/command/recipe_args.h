/* recipe_args.h -- what verbs with a recipe share: building its model and plan, the kernels table, checksums. */
#ifndef MXG_RECIPE_ARGS_H
#define MXG_RECIPE_ARGS_H

#include "command.h"
#include "generate.h"
#include "move.h"
#include "print.h"

/* The model, or model and plan, of the recipe that is operand 0, with --set. */
mxg_status mxg_args_load(mxg_generation *g, const mxg_args *args, mxg_stage last, mxg_error *err);

/* As mxg_options.warn: the warning of the command. */
void mxg_args_warn(void *user, const char *text);

/* "sm_90a,sm_100a,native" into a list that ends with NULL and points into `copy`; "native" stays as it is. */
mxg_status mxg_archs_read(const char *list[MXG_LIST_ROOM + 1], char *copy, size_t room, const char *text,
                          mxg_error *err);

/* A bundle of the recipe that is operand 0, with kernels for the GPUs that are here. *tuned, if asked for: what its
** tuning file said. */
mxg_status mxg_args_generate_here(mxg_bundle **out, mxg_tuned *tuned, const mxg_args *args, mxg_error *err);

/* True when the operand names a bundle: it ends in .mxb. */
bool mxg_args_is_bundle(const char *operand);

/* One row a kernel: family, formats, and for each architecture registers with spills. */
void mxg_kernels_print(const mxg_bundle *bundle, mxg_text *text);
void mxg_kernels_json(const mxg_bundle *bundle, mxg_text *text);

/* One row an array of the plan for which `have` is true (NULL: that has one). */
void mxg_checks_print(const mxg_plan *plan, const mxg_checks *checks, const bool *have, mxg_text *text);
void mxg_checks_json(const mxg_plan *plan, const mxg_checks *checks, const bool *have, mxg_text *text);

/* Bytes a second as "1.23 GB/s" of 10^9. */
void mxg_text_rate(mxg_text *text, uint64_t bytes, double seconds);

#endif
