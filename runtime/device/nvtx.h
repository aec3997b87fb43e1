/* nvtx.h -- ranges for profilers, in the NVTX domain "mxgen". Without a profiler in the process they cost a branch.
**
** One a start: a group by its name, or the whole run, whose groups go to the GPU as one graph.
**
** A range is of the calling thread and ends there; ranges nest. Names are copied by the profiler. */
#ifndef MXG_NVTX_H
#define MXG_NVTX_H

/* The name is both texts, cut to fit. */
void mxg_range_begin(const char *before, const char *name);
void mxg_range_end(void);

#endif
