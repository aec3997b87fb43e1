/* launch.h -- from pieces to work tables: the entries that a kernel, on a GPU or on the host, runs over. One truth
** for all transports and for the emulation of generated kernels in tests. */
#ifndef MXG_LAUNCH_H
#define MXG_LAUNCH_H

#include "plan.h"

/* Where an array of the plan lies in memory; scratch arrays too. */
typedef struct mxg_place {
  uint64_t data, scale; /* addresses; 0: not bound */
} mxg_place;

/* Fills entries (room for the sum of the pieces' segments) for pieces [first, first + count), which share one
** kernel. `places`: one an array. `slot`: address of the staging slot for pieces in wire form. `direct`: read source
** arrays of other ranks where they lie, not from the slot. Returns the entry count; *tiles: of all entries. */
uint32_t mxg_launch_entries(mx_entry *entries, uint64_t *tiles, const mxg_plan *plan, uint32_t first, uint32_t count,
                            const mxg_place *places, uint64_t slot, bool direct);

/* The host's conversion of entries [first, first + count): plain C over mx_convert.h, bit for bit what the generated
** kernel of the same shape class does. Thread-safe for disjoint targets (AMAX merges atomically). */
void mxg_convert_entries(const mxg_kernel *kernel, const mx_entry *entries, uint32_t count);
/* Rows [first_row, first_row + rows) of one entry, of QUANTIZE_BOTH of one pair; both multiples of the target's
** block rows. For work splitting. */
void mxg_convert_rows(const mxg_kernel *kernel, const mx_entry *entry, uint32_t first_row, uint32_t rows);

#endif
