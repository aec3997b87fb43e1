/* tune.h -- which choices are tried for a schedule, and which of them wins. What a trial takes is somebody else's to
** measure (tune_run.c, or a table in tests). */
#ifndef MXG_TUNE_H
#define MXG_TUNE_H

#include "kernel_shape.h"
#include "memory.h"

typedef struct mxg_trial {
  /* the choice; 0: as the recipe or the library has it */
  mxg_transport transport; /* MXG_COPY, MXG_DIRECT or MXG_NCCL */
  uint64_t bucket_bytes, chunk_bytes;
  uint32_t copy_streams;
  mxg_kernel_shapes shapes;
  bool check; /* compare the targets with the host transport's, which takes much longer than a run */
  /* the result; seconds */
  bool measured;
  double median, least, most, expected;
  uint64_t checked, wrong; /* bytes of targets */
  char note[128];          /* why it was not measured */
} mxg_trial;

/* The kernels that are tried in other shapes: of one family, and in how many. */
enum { MXG_TUNE_FAMILIES = 2, MXG_TUNE_SHAPES = 5 };
typedef struct mxg_tune_family {
  mxg_family family;
  uint32_t count;
  mxg_kernel_shape shapes[MXG_TUNE_SHAPES];
} mxg_tune_family;

/* What is there to choose from. */
typedef struct mxg_tune_space {
  uint32_t family_count; /* the families that convert most, in the order of trying */
  mxg_tune_family families[MXG_TUNE_FAMILIES];
  uint64_t bucket_bytes; /* the recipe's */
  uint64_t bucket_most;  /* what the staging that it allows has room for */
  uint64_t received;     /* of the rank that receives most; 0: nothing crosses ranks */
} mxg_tune_space;

/* The families that most of a plan's converted bytes go through, and the shapes worth a trial for the heaviest kernel of
** each: what differs from the chosen one in threads, or by an access of half the bytes where that makes another kernel.
*/
void mxg_tune_list_shapes(mxg_tune_space *space, const mxg_plan *plan);
uint32_t mxg_tune_shapes_of(mxg_kernel_shape shapes[MXG_TUNE_SHAPES], const mxg_kernel *kernel);

/* Measures trials that have one bucket_bytes and one table of shapes. A trial that cannot be run gets a note; a
** failure ends the search. */
typedef mxg_status (*mxg_measure_fn)(void *user, mxg_trial *trials, uint32_t count, mxg_error *err);

typedef struct mxg_tune_found {
  const mxg_trial *trials;         /* in the order of trying */
  uint32_t count, best, best_copy; /* best_copy: for a caller who wants copy; MXG_NONE without */
} mxg_tune_found;

/* Tries all sizes of chunks and numbers of streams with the recipe's bucket, then other buckets with the best of them,
** then other shapes of kernels with the best of all, one family after another.
** Each choice that is not the default must be worth 1 %: what is closer than that is noise. The defaults' targets are
** checked, and whatever would win is run again, checked, and counts as the slower of both. MXG_ERR_WRONG when a byte
** was wrong, MXG_ERR_UNSUPPORTED when nothing could be measured. */
mxg_status mxg_tune_search(mxg_tune_found *out, const mxg_tune_space *space, mxg_measure_fn measure, void *user,
                           mxg_arena *arena, mxg_error *err);

#endif
