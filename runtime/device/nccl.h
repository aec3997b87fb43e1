/* nccl.h -- communicators of NCCL: found, opened, watched and given up. nccl.c is the only file that calls nccl*; no
** header of NCCL is needed, and a program that uses this starts on a machine without it.
**
** A communicator is used by one thread at a time, the one that uses its rank's GPU (driver.h). Nothing here waits
** without a deadline, which is in seconds of mxg_now(): communicators are non-blocking, and one that does not answer is
** aborted. After MXG_ERR_NCCL the error's `native` is the ncclResult_t. */
#ifndef MXG_NCCL_H
#define MXG_NCCL_H

#include "driver.h"

typedef struct mxg_nccl mxg_nccl; /* the communicator of one rank */

/* Where NCCL was found and what it is: for `mxgen doctor` and for errors. */
typedef struct mxg_nccl_state {
  bool found, usable;
  char path[512];
  char version[16];  /* "2.28.9" */
  int number;        /* as NCCL counts: 22809 */
  char problem[256]; /* "" when usable */
  char help[256];
} mxg_nccl_state;
void mxg_nccl_find(mxg_nccl_state *state);

enum { MXG_NCCL_ID_BYTES = 128 };

/* What the ranks of a new communicator have in common: made by one of them. MXG_ERR_ENVIRONMENT without an NCCL that
** works, and the error says why. Needs no GPU. */
mxg_status mxg_nccl_new_id(unsigned char id[MXG_NCCL_ID_BYTES], mxg_error *err);

/* Collective: every rank calls it, each on a thread of its own, with one id. Until all have come, or the deadline.
** `wide`: with as many thread blocks as NCCL can use, where it would take half of them; for ranks on one machine, on
** whose links beside conversions an exchange is a tenth faster then. */
mxg_status mxg_nccl_open(mxg_nccl **out, const unsigned char id[MXG_NCCL_ID_BYTES], uint32_t ranks, uint32_t rank,
                         bool wide, double deadline, mxg_error *err);
/* A communicator that the caller has: its ncclComm_t. It must be of `ranks` ranks, this one being `rank`, on the GPU
** `ordinal`. It is never aborted and never destroyed here. */
mxg_status mxg_nccl_borrow(mxg_nccl **out, void *communicator, uint32_t ranks, uint32_t rank, int ordinal,
                           mxg_error *err);
/* Bounded: some seconds at most. After it was aborted too. Graphs with its work must be gone; NULL is fine. */
void mxg_nccl_close(mxg_nccl *nccl);

/* Whether all is well with what was given to it so far. */
mxg_status mxg_nccl_look(const mxg_nccl *nccl, mxg_error *err);
/* Ends what is under way on this rank's GPU, for good: nothing else but close is called then. Returns at once; what
** follows on the streams goes on with whatever has arrived. A borrowed one is left alone. */
void mxg_nccl_abort(mxg_nccl *nccl);
bool mxg_nccl_aborted(const mxg_nccl *nccl);

/* Memory for exchanges, one piece at a time, and later ones no larger than the first. It is NCCL's and registered with
** the communicator: between two sides that both have such memory a message goes straight from one to the other. It
** stays for the communicator's life, whoever frees it before: NCCL may keep what it knows of an address that was
** registered once, and write to what lay there. So with a borrowed communicator, and where this NCCL registers nothing
** (before 2.19), it is plain device memory; on all ranks alike. */
mxg_status mxg_nccl_alloc(mxg_nccl *nccl, uint64_t *address, uint64_t bytes, mxg_error *err);
/* Before the communicator is closed. 0 is fine. */
void mxg_nccl_free(mxg_nccl *nccl, uint64_t address);
/* Nothing is exchanged any more: what was registered is not. The NCCL of its peers takes part, so this is for all
** ranks before the first communicator is closed. NULL is fine. */
void mxg_nccl_forget(mxg_nccl *nccl);

/* ---- exchanges. Between begin and end everything is one group, given to `stream` at the end. Every rank of the
** communicator makes the same groups in the same order, and for every send there is a receive of as many bytes. Both
** sides' memory is of mxg_nccl_alloc, or neither's, and then of cuMemAlloc: NCCL registers memory that it can map
** elsewhere, in captures by itself, and a message of which only one side is registered never ends (the sides count its
** parts differently). ---- */

mxg_status mxg_nccl_begin(mxg_nccl *nccl, mxg_error *err);
mxg_status mxg_nccl_send(mxg_nccl *nccl, uint64_t from, uint64_t bytes, uint32_t peer, mxg_cu_stream *stream,
                         mxg_error *err);
mxg_status mxg_nccl_receive(mxg_nccl *nccl, uint64_t to, uint64_t bytes, uint32_t peer, mxg_cu_stream *stream,
                            mxg_error *err);
/* `bytes` of each rank, by rank, into `to`; in place where `from` is this rank's part of it. */
mxg_status mxg_nccl_all_gather(mxg_nccl *nccl, uint64_t from, uint64_t to, uint64_t bytes, mxg_cu_stream *stream,
                               mxg_error *err);
/* Also after a failure in the group. Returns when the stream has the work, which may be after connections are made. */
mxg_status mxg_nccl_end(mxg_nccl *nccl, double deadline, mxg_error *err);

#endif
