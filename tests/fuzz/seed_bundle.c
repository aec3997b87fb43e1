/* seed_bundle.c -- writes the sample plans as bundles of today's format: what the fuzzing of bundles begins with.
**
** usage: seed_bundle FOLDER */
#include "bundle.h"
#include "plan_samples.h"

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  for (int i = 0; i < plan_sample_count; i++) {
    fixture *f = plan_samples[i].make();
    static const unsigned char sources[32] = {1};
    const mxg_bundle_cubin cubin = {0, "sm_90a", "code", 4};
    const mxg_bundle_parts parts = {&f->plan, &cubin, 1, sources, "seed", NULL, NULL};
    char path[512];
    mxg_bundle *bundle;
    mxg_error err;
    (void)snprintf(path, sizeof path, "%s/%s", argv[1], plan_samples[i].name);
    if (mxg_bundle_make(&bundle, &parts, &err) != MXG_OK || mxg_bundle_save(bundle, path, &err) != MXG_OK) {
      (void)fprintf(stderr, "%s: %s\n", path, err.text);
      return 1;
    }
    mxg_bundle_free(bundle);
    free(f);
  }
  return 0;
}
