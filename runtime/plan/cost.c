/* cost.c -- see cost.h. Conversions run behind what is received, so that the slower of the two decides, or both
** where copy engines and kernels share a memory that is short; what a run costs besides is starting, and with copies
** the first chunk's way and the last one's conversion. */
#include "cost.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* While both GPUs pull: copy engines 394 GB/s, because they ask for more bytes at a time than kernels, 337 GB/s;
** NCCL's all-gather of 512 MiB 267 GB/s, and about 20 us for the smallest. Conversions: 3.9 TB/s of 4.23 that memcpy
** has. What copies cost besides is from 29 MB in 117 us and 1.7 GB in 4508 us, by 390 GB/s. */
#define TWO_GPUS_OF(memory_rate)                                                                           \
  {                                                                                                        \
    .copy_pull = 394e9, .kernel_pull = 337e9, .nccl_pull = 267e9, .memory = (memory_rate), .start = 5e-6,  \
    .bucket_start = 4e-6, .copy_start = 34e-6, .nccl_start = 20e-6, .copy_share = .98, .several_copy = .98 \
  }
const mxg_rates mxg_default_rates = TWO_GPUS_OF(3.9e12);
const char mxg_default_rates_name[] = "two H200 with 18 NVLinks";

/* The same links beside a memory that gives a conversion 2.9 TB/s of 3.0 that memcpy has. */
static const mxg_rates h100_rates = TWO_GPUS_OF(2.9e12);

const mxg_rates *mxg_rates_of(const char *gpu, const char **name) {
  bool h100 = strstr(gpu, "H100") != NULL;
  if (name) *name = h100 ? "two H100 with 18 NVLinks" : mxg_default_rates_name;
  return h100 ? &h100_rates : &mxg_default_rates;
}

static double longer(double a, double b) { return a > b ? a : b; }

/* What transport copy brings where it belongs, without a kernel. */
static uint64_t straight_bytes(const mxg_plan *plan, const mxg_step *gather) {
  uint64_t sum = 0;
  for (uint32_t i = gather->first; i < gather->first + gather->count; i++) {
    const mxg_piece *piece = &plan->pieces[i];
    if (mxg_piece_is_copy(plan, piece)) sum += piece->wire_bytes;
  }
  return sum;
}

/* The conversions of one bucket are together. `group` MXG_NONE: of all. */
static mxg_load load_of(const mxg_plan *plan, uint32_t rank, uint32_t group) {
  const mxg_rank *r = &plan->ranks[rank];
  mxg_load sum = {0};
  uint32_t last = MXG_NONE /* bucket */, peer = MXG_NONE;
  for (uint32_t s = r->first_step; s < r->first_step + r->steps; s++) {
    const mxg_step *step = &plan->steps[s];
    if (group != MXG_NONE && step->group != group) continue;
    if (step->kind == MXG_STEP_GATHER) {
      sum.received += step->bytes, sum.straight += straight_bytes(plan, step);
      sum.several = sum.several || (peer != MXG_NONE && peer != step->peer);
      peer = step->peer;
    }
    if (step->kind != MXG_STEP_CONVERT) continue;
    sum.converted += step->bytes;
    sum.buckets += step->bucket != last;
    last = step->bucket;
  }
  return sum;
}

mxg_load mxg_load_of_rank(const mxg_plan *plan, uint32_t rank) { return load_of(plan, rank, MXG_NONE); }
mxg_load mxg_load_of_group(const mxg_plan *plan, uint32_t rank, uint32_t group) { return load_of(plan, rank, group); }

double mxg_cost_floor(const mxg_rates *rates, const mxg_load *load) {
  return longer((double)load->received / rates->copy_pull, (double)load->converted / rates->memory);
}

/* What is left of the rates where sources are several ranks: four H100s pull 375 GB/s each from the next one where
** two pull 391, kernels 318 to 330 where two have 337. Copies in turns (turns.h) have 364 to 375, model by model, but
** small ones wait for each other: 207 us where 45 MB are received in all. Without turns ranks meet at the same source:
** 207 to 276. */
static const double several_kernel = .955, several_copy_start = 50e-6, without_turns = .62;

/* Copies of two processes: the layers of Llama 3 8B took 11.32 ms of two H100s where one process took 10.78 then, and
** 10.21 since; copies alone had 374 of 390 GB/s. */
static const double between_processes = .85;

mxg_rates mxg_rates_apart(const mxg_rates *rates) {
  mxg_rates apart = *rates;
  apart.copy_share *= between_processes;
  apart.several_copy *= without_turns / between_processes;
  return apart;
}

/* Copies and what passes through memory beside them hinder each other: each alone where the other is small, 1.09 of the
** longer where they are alike. Measured on two H100s, with memory's time over the link's: 0.65, 0.81, 0.89, 1.02 and
** 1.03 take 1.03, 1.01, 1.05, 1.09 and 1.11 of the link's time at full rate. */
static double together(double a, double b) { return pow(pow(a, 8) + pow(b, 8), 1. / 8); }

/* Bytes through a GPU's memory where copies bring what it receives: conversions, wires on their way into slots, and the
** sources that peers read, about as much as it receives itself. */
static double copied_memory(const mxg_load *load) {
  return (double)load->converted + 2 * ((double)load->received - (double)load->straight);
}

double mxg_cost(const mxg_rates *rates, mxg_transport transport, const mxg_load *load) {
  double received = (double)load->received, convert = (double)load->converted / rates->memory;
  assert(transport == MXG_COPY || transport == MXG_DIRECT || transport == MXG_NCCL);
  double copy_pull = rates->copy_pull * rates->copy_share * (load->several ? rates->several_copy : 1);
  double kernel_pull = rates->kernel_pull * (load->several ? several_kernel : 1);
  if (transport == MXG_DIRECT)
    return longer(received / kernel_pull, convert) + rates->start + load->buckets * rates->bucket_start;
  if (transport == MXG_COPY)
    return load->received ? together(received / copy_pull, copied_memory(load) / rates->memory) + rates->copy_start +
                                (load->several ? several_copy_start : 0) + rates->start
                          : convert + rates->start;
  /* A bucket is packed, then sent, then converted behind the next one; the last one's conversion waits. */
  double last = load->buckets ? convert / load->buckets : 0;
  if (!load->received) return convert + rates->start;
  return longer(received / rates->nccl_pull + load->buckets * rates->nccl_start, convert) + last + rates->start;
}

double mxg_cost_of_plan(const mxg_rates *rates, mxg_transport transport, const mxg_plan *plan) {
  double most = 0;
  for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
    mxg_load load = mxg_load_of_rank(plan, rank);
    most = longer(most, mxg_cost(rates, transport, &load));
  }
  return most;
}
