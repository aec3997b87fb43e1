/* cost.h -- what a schedule is expected to take: plain arithmetic over a plan and a table of rates. The one model
** behind MXG_AUTO, `mxgen plan --predict`, `mxgen bench` and `mxgen tune`. Seconds and bytes a second; no GPU is
** asked. */
#ifndef MXG_COST_H
#define MXG_COST_H

#include "plan.h"

/* Of one GPU while all GPUs of the plan do the same. */
typedef struct mxg_rates {
  double copy_pull;    /* bytes that copy engines receive, of one large copy */
  double kernel_pull;  /* bytes that kernels read from a peer */
  double nccl_pull;    /* bytes that a collective delivers, of a large bucket */
  double memory;       /* bytes that conversions read and write */
  double start;        /* seconds: of a run, whatever it does */
  double bucket_start; /* of the kernels of one bucket */
  double copy_start;   /* of copies: the first chunk's way and the last one's conversion */
  double nccl_start;   /* of one collective */
  double copy_share;   /* what is left of copy_pull where a schedule copies, chunk by chunk */
  double several_copy; /* what is left of that where sources are several ranks */
} mxg_rates;

/* Measured on two H200 of one host (18 NVLinks between them, CUDA 13.0, NCCL 2.28; medians). Other machines have other
** rates and nearly the same ratios, and those decide. */
extern const mxg_rates mxg_default_rates;
extern const char mxg_default_rates_name[];
/* Those of a GPU of this name, where they are known, else the defaults. *name: whose they are. */
const mxg_rates *mxg_rates_of(const char *gpu, const char **name);
/* Where each rank is a process of its own: copies take no turns at their sources. */
mxg_rates mxg_rates_apart(const mxg_rates *rates);

typedef struct mxg_load {
  uint64_t received, converted; /* bytes; converted: read and written */
  uint64_t straight;            /* of the received: what needs no kernel, and goes where it belongs by a copy */
  uint32_t buckets;             /* that have conversions */
  bool several;                 /* ranks that it receives from */
} mxg_load;

/* What a rank does, in all or in one group. */
mxg_load mxg_load_of_rank(const mxg_plan *plan, uint32_t rank);
mxg_load mxg_load_of_group(const mxg_plan *plan, uint32_t rank, uint32_t group);

/* No transport is faster: the received bytes at the copy engines' rate, or all bytes at the memory's. */
double mxg_cost_floor(const mxg_rates *rates, const mxg_load *load);
/* MXG_COPY, MXG_DIRECT or MXG_NCCL. */
double mxg_cost(const mxg_rates *rates, mxg_transport transport, const mxg_load *load);
/* Of the rank that takes longest. */
double mxg_cost_of_plan(const mxg_rates *rates, mxg_transport transport, const mxg_plan *plan);

#endif
