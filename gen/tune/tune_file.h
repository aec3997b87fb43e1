/* tune_file.h -- the text file beside a recipe that says what was measured to be fastest: <recipe without .lua>.tune.
**
** Lines, in this order; '#' begins a comment line, which may stand anywhere:
**   mxgen tune 2           the format
**   mxgen 0.1.0            who wrote it
**   recipe HEX             SHA-256 over the recipe and all that it includes
**   set NAME=VALUE         one line a parameter that was set
**   gpus 2                 that ranks were on
**   gpu NVIDIA H200
**   capability 9.0
**   cuda 13.0              what the driver serves
**   copy_pull N            bytes a second that copy engines receive, and that kernels read; 0: not measured
**   kernel_pull N
**   transport copy
**   chunk N                bytes; 0: the library's choice
**   streams N
**   bucket N               bytes; 0: the recipe's
**   kernel FAMILY T B      a line a family whose kernels are not as the library chooses: threads of a thread block, bytes
**                          of one access; 0: the library's choice. By name of family as mxgen lists them
**   measured TRANSPORT N   a line a transport that was measured: nanoseconds of its fastest run with this bucket
**   because TEXT           one sentence with the times
**   end HEX                the first 16 digits of the SHA-256 over all bytes before this line
** It is read all or nothing. What was measured on other GPUs, with another recipe or by another version says so and is
** not used. */
#ifndef MXG_TUNE_FILE_H
#define MXG_TUNE_FILE_H

#include "bundle.h"
#include "cost.h"
#include "model.h"
#include "text.h"

enum { MXG_TUNE_FORMAT = 2, MXG_TUNE_SETS = 32, MXG_TUNE_WHY = 256, MXG_TUNE_BYTES = 64 << 10 };

typedef struct mxg_tune {
  char mxgen[32], cuda[16], recipe[65];
  char sets[MXG_TUNE_SETS][128];
  uint32_t set_count;
  uint64_t copy_pull, kernel_pull;
  mxg_hints hints;
  uint64_t bucket_bytes;
  mxg_kernel_shapes shapes;
  uint64_t measured_ns[MXG_AUTO]; /* by transport; 0: not measured */
  char because[200];
} mxg_tune;

/* "recipes/a.lua" -> "recipes/a.tune". False: longer than `room`. */
bool mxg_tune_path(char *path, size_t room, const char *recipe);

/* The digest that `recipe` has to be, as hex. */
void mxg_tune_recipe(char hex[65], const mxg_files *files);

/* Writes the file's text; `comments` are lines of their own, NULL: none. A text that could not be read back is refused
** by text->failed. */
void mxg_tune_print(const mxg_tune *tune, const char *comments, mxg_text *text);

/* False: `why` says what is wrong with it, in a sentence. */
bool mxg_tune_parse(mxg_tune *out, const char *bytes, size_t count, char why[MXG_TUNE_WHY]);

/* Whether it is about this recipe, these parameters (a list that ends with NULL, or NULL) and this mxgen; and about the
** GPUs that are here, for a plan of so many ranks: without a GPU nobody can tell, and that passes. */
bool mxg_tune_fits(const mxg_tune *tune, const char recipe[65], const char *const *sets, char why[MXG_TUNE_WHY]);
bool mxg_tune_fits_gpus(const mxg_tune *tune, uint32_t ranks, char why[MXG_TUNE_WHY]);

/* The same against GPUs as they were found. count 0: none. */
typedef struct mxg_tune_gpus {
  char name[96], cuda[16];
  uint32_t count, major, minor;
} mxg_tune_gpus;
bool mxg_tune_fits_found(const mxg_tune *tune, const mxg_tune_gpus *found, uint32_t ranks, char why[MXG_TUNE_WHY]);
void mxg_tune_find_gpus(mxg_tune_gpus *found); /* the first one's name: a host whose GPUs differ is no fit for any */

/* The default rates, with what was measured in their place. */
mxg_rates mxg_tune_rates(const mxg_tune *tune);

/* Reads the file beside a recipe. *there: there is one. False with `why` when it is there and cannot be used. */
bool mxg_tune_load(mxg_tune *out, bool *there, const char *recipe, char why[MXG_TUNE_WHY]);

/* "copy" -> MXG_COPY; false: no transport that a file can name. */
bool mxg_tune_transport(uint32_t *out, const char *name);
const char *mxg_tune_transport_name(uint32_t transport);

#endif
