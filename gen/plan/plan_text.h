/* plan_text.h -- the short texts that plan, explain and audit print for encodings, formats, layouts, places and ratios;
 * totals of a rank. */
#ifndef MXG_PLAN_TEXT_H
#define MXG_PLAN_TEXT_H

#include "model.h"

#include "text.h"

void mxg_encoding_print(const mxg_encoding *encoding, mxg_text *text); /* "e4m3 1x32 e8m0 rceil" */
void mxg_format_print(const mxg_format *format, mxg_text *text);       /* "mxfp8 e4m3 1x32 e8m0 rceil" */
void mxg_mesh_print(const mxg_mesh *mesh, mxg_text *text);             /* "pp=4 dp=4 tp=8" */
void mxg_origin_print(const mxg_origin *origin, mxg_text *text);       /* "llama3_8b_tp2.lua:32"; "-" when unknown */
void mxg_layout_print(const mxg_layout *layout, const mxg_side_model *side, mxg_text *text); /* "split row tp=2" */
void mxg_ratio_print(uint64_t part, uint64_t whole, mxg_text *text); /* "0.592", "2.000": thousandths, cut off */

typedef struct mxg_plan_totals {
  uint64_t source_bytes, target_bytes; /* stored by the rank */
  uint64_t bf16_bytes;                 /* what its gathered elements would weigh as BF16 */
  uint32_t pieces, gathered, buckets, launches;
} mxg_plan_totals;
mxg_plan_totals mxg_plan_totals_of(const mxg_plan *plan, uint32_t rank);

#endif
