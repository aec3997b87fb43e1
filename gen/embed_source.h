/* embed_source.h -- a bundle as C source, for programs that carry it inside. Owns the text; output.c writes the files.
 */
#ifndef MXG_EMBED_SOURCE_H
#define MXG_EMBED_SOURCE_H

#include "bundle.h"
#include "text.h"

/* An identifier of C and C++, of at most 200 characters, that begins with a letter. */
bool mxg_embed_name_is_good(const char *name);

/* Declares `const unsigned char name[]` and `const size_t name_bytes`; for C and C++. */
void mxg_embed_header(const char *name, mxg_text *text);
/* Defines both. Includes "<name>.h". */
void mxg_embed_source(const mxg_bundle *bundle, const char *name, mxg_text *text);

#endif
