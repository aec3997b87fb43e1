/* cmd_show.c -- `mxgen show`: what a bundle holds. */
#include "plan_text.h"
#include "recipe_args.h"

static const mxg_column step_columns[] = {
    {"step", "step", false}, {"count", "count", true}, {"bytes", "bytes", true}, {NULL, NULL, false}};

static void fill_steps(mxg_grid *grid, const mxg_plan *plan) {
  static const char *const names[] = {"fill", "gather", "wait", "convert", "release"};
  uint64_t counts[5] = {0}, bytes[5] = {0};
  for (uint32_t i = 0; i < plan->step_count; i++) {
    const mxg_step *step = &plan->steps[i];
    counts[step->kind]++;
    bytes[step->kind] += step->bytes;
  }
  mxg_grid_begin(grid, step_columns);
  for (int k = 0; k < 5; k++) {
    mxg_grid_puts(grid, names[k]);
    mxg_grid_count(grid, counts[k]);
    if (k == MXG_STEP_GATHER || k == MXG_STEP_CONVERT)
      mxg_grid_size(grid, bytes[k]);
    else
      mxg_grid_puts(grid, "-");
  }
}

static void print(const mxg_bundle *bundle, bool json, mxg_text *text) {
  const mxg_plan *plan = mxg_bundle_plan(bundle);
  const char *tuned;
  const mxg_hints *hints = mxg_bundle_hints(bundle, &tuned);
  uint64_t received = 0, most_staging = 0;
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    received += plan->ranks[r].received_bytes;
    if (plan->ranks[r].staging_bytes > most_staging) most_staging = plan->ranks[r].staging_bytes;
  }
  mxg_grid steps;
  fill_steps(&steps, plan);
  if (json) {
    mxg_text_puts(text, "{\n  \"name\": ");
    mxg_text_json(text, plan->name);
    mxg_text_puts(text, ",\n  \"digest\": ");
    mxg_text_json(text, mxg_bundle_digest(bundle));
    mxg_text_puts(text, ",\n  \"maker\": ");
    mxg_text_json(text, mxg_bundle_maker(bundle));
    mxg_text_format(text,
                    ",\n  \"ranks\": %u,\n  \"arrays\": %u,\n  \"pieces\": %u,\n  \"received_bytes\": %llu,\n  "
                    "\"staging_bytes\": %llu,\n  \"steps\": ",
                    plan->rank_count, plan->array_count, plan->piece_count, (unsigned long long)received,
                    (unsigned long long)most_staging);
    mxg_grid_json(&steps, text);
    if (hints->transport != MXG_AUTO) {
      mxg_text_puts(text, ",\n  \"tuned\": {\"because\": ");
      mxg_text_json(text, tuned);
      mxg_text_format(text, ", \"transport\": \"%s\", \"chunk_bytes\": %llu, \"streams\": %u}",
                      mxg_tune_transport_name(hints->transport), (unsigned long long)hints->chunk_bytes,
                      hints->copy_streams);
    }
    mxg_text_puts(text, ",\n  \"kernels\": ");
    mxg_kernels_json(bundle, text);
    mxg_text_puts(text, "\n}\n");
  } else {
    mxg_text_format(text, "name     %s\ndigest   %s\nmaker    %s\nranks    %u\narrays   %u\npieces   %u\nreceived ",
                    plan->name, mxg_bundle_digest(bundle), mxg_bundle_maker(bundle), plan->rank_count,
                    plan->array_count, plan->piece_count);
    mxg_text_size(text, received);
    mxg_text_puts(text, " by all ranks\nstaging  ");
    mxg_text_size(text, most_staging);
    mxg_text_puts(text, " a rank at most\n");
    if (hints->transport != MXG_AUTO) mxg_text_format(text, "%s\n", tuned);
    mxg_text_puts(text, "\n");
    mxg_grid_print(&steps, text, "");
    mxg_text_puts(text, "\n");
    mxg_kernels_print(bundle, text);
  }
  mxg_grid_free(&steps);
}

static mxg_status run(const mxg_args *args, mxg_error *err) {
  mxg_bundle *bundle = NULL;
  MXG_TRY(mxg_bundle_load(&bundle, args->operands[0], err));
  mxg_text text = {0};
  print(bundle, args->json, &text);
  mxg_bundle_free(bundle);
  return mxg_out(&text, err);
}

static const mxg_option options[] = {MXG_OPTION_JSON("print JSON"), MXG_OPTIONS_END};

const mxg_verb mxg_verb_show = {
    .name = "show",
    .operands = "BUNDLE",
    .summary = "what a bundle holds: kernels, steps, digest",
    .text = "Reads a bundle, checks all of it, and prints its kernels with registers and spills for each architecture, "
            "its\n"
            "steps and bytes, its digest and its maker.\n\n"
            "  mxgen show llama3_8b_tp2.mxgen/llama3_8b_tp2.mxb",
    .options = options,
    .least = 1,
    .most = 1,
    .run = run,
};
