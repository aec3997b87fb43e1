/* globs.h -- the patterns of recipes: `*` inside one dotted segment, `**` across segments, `{a,b}` alternatives
** (nestable). Everything else stands for itself. Matching takes time linear in the text for a given pattern, whatever
** the pattern. */
#ifndef MXG_GLOBS_H
#define MXG_GLOBS_H

#include "error.h"
#include "memory.h"

typedef struct mxg_glob mxg_glob; /* used by one thread at a time: it carries its scratch memory */

enum { MXG_GLOB_CAPTURES = 9, MXG_GLOB_BYTES = 2048 };

/* What the n-th star of the pattern matched; a star of an alternative not taken matched nothing. */
typedef struct mxg_capture {
  size_t start, bytes;
} mxg_capture;

/* MXG_ERR_INPUT 208 for a pattern that is empty, too long, has unbalanced braces or more than MXG_GLOB_CAPTURES stars;
** without place. */
mxg_status mxg_glob_build(mxg_glob **out, const char *pattern, mxg_arena *arena, mxg_error *err);

/* The whole text must match. `captures`: NULL, or room for MXG_GLOB_CAPTURES; earlier stars take as much as they can.
 */
bool mxg_glob_match(mxg_glob *glob, const char *text, size_t bytes, mxg_capture *captures);

uint32_t mxg_glob_stars(const mxg_glob *glob);

#endif
