/* params_default.h -- stands in for mx_params.h where a template is compiled alone: by an editor, by nvcc, in a lint.
** Parameters that suit the kernel are chosen by -DMX_FAMILY=<n> (plan.h's mxg_family); 1, dequantize, is the default.
*/
#ifndef MX_PARAMS_H
#define MX_PARAMS_H

#include "mx_abi.h"

#ifndef MX_FAMILY
#define MX_FAMILY 1
#endif

#define MX_KERNEL mx_alone

constexpr bool mx_packs = (MX_FAMILY >= 2 && MX_FAMILY <= 4) || MX_FAMILY == 7;
constexpr bool mx_gathers = MX_FAMILY == 5 || MX_FAMILY == 6;
constexpr bool mx_columnwise = MX_FAMILY == 3;

constexpr mx_u32 MX_SRC_ELEM = mx_packs ? MX_BF16 : mx_gathers ? MX_FP32 : MX_E4M3;
constexpr mx_u32 MX_SRC_SCALE = mx_packs ? MX_SCALE_NONE : mx_gathers ? MX_SCALE_AMAX : MX_SCALE_E8M0;
constexpr mx_u32 MX_SRC_LAYOUT = MX_COMPACT;
constexpr mx_u32 MX_SRC_BLOCK_ROWS = mx_packs ? 0 : mx_gathers ? MX_WHOLE : 1;
constexpr mx_u32 MX_SRC_BLOCK_COLS = mx_packs ? 0 : mx_gathers ? MX_WHOLE : 32;

constexpr mx_u32 MX_DST_ELEM = MX_FAMILY == 1 ? MX_BF16 : MX_FAMILY == 5 ? MX_FP32 : MX_E4M3;
constexpr mx_u32 MX_DST_SCALE = MX_FAMILY == 1   ? MX_SCALE_NONE
                                : MX_FAMILY == 5 ? MX_SCALE_AMAX
                                : MX_FAMILY == 6 ? MX_SCALE_FP32
                                                 : MX_SCALE_E8M0;
constexpr mx_u32 MX_DST_LAYOUT = MX_FAMILY == 0 || mx_packs ? MX_SWIZZLED : MX_COMPACT;
constexpr mx_u32 MX_DST_BLOCK_ROWS = MX_FAMILY == 1                     ? 0
                                     : mx_gathers                       ? MX_WHOLE
                                     : MX_FAMILY >= 3 && MX_FAMILY != 7 ? 32
                                                                        : 1;
constexpr mx_u32 MX_DST_BLOCK_COLS = MX_FAMILY == 1 ? 0 : mx_gathers ? MX_WHOLE : mx_columnwise ? 1 : 32;
constexpr mx_u32 MX_RULE = mx_packs ? MX_RCEIL : MX_RULE_NONE;
constexpr mx_u32 MX_NAN = MX_NAN_BLOCK;

constexpr mx_u32 MX_COLS = 4096;
constexpr mx_u32 MX_VEC = 8;
constexpr mx_u32 MX_THREADS = 256;
constexpr mx_u32 MX_TILE_UNITS = MX_FAMILY == 4 ? 8 : MX_FAMILY == 7 ? 16 : 1024;

#endif
