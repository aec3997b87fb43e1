/* cost.c -- see cost.h. Conversions run behind what is received, so that the slower of the two decides; what a run
 *costs
 ** besides is starting, and with copies the first chunk's way and the last one's conversion. */
#include "cost.h"

#include <assert.h>
#include <string.h>

/* While both GPUs pull: copy engines 394 GB/s, because they ask for more bytes at a time than kernels, 337 GB/s; NCCL's
** all-gather of 512 MiB 267 GB/s, and about 20 us for the smallest. Conversions: 3.9 TB/s of 4.23 that memcpy has. */
const mxg_rates mxg_default_rates = {.copy_pull = 394e9,
                                     .kernel_pull = 337e9,
                                     .nccl_pull = 267e9,
                                     .memory = 3.9e12,
                                     .start = 5e-6,
                                     .bucket_start = 4e-6,
                                     .copy_start = 22e-6,
                                     .nccl_start = 20e-6};
const char mxg_default_rates_name[] = "two H200 with 18 NVLinks";

/* The same links beside a memory that gives a conversion 2.9 TB/s of 3.0 that memcpy has. */
static const mxg_rates h100_rates = {.copy_pull = 394e9,
                                     .kernel_pull = 337e9,
                                     .nccl_pull = 267e9,
                                     .memory = 2.9e12,
                                     .start = 5e-6,
                                     .bucket_start = 4e-6,
                                     .copy_start = 22e-6,
                                     .nccl_start = 20e-6};

const mxg_rates *mxg_rates_of(const char *gpu, const char **name) {
  bool h100 = strstr(gpu, "H100") != NULL;
  if (name) *name = h100 ? "two H100 with 18 NVLinks" : mxg_default_rates_name;
  return h100 ? &h100_rates : &mxg_default_rates;
}

static double longer(double a, double b) { return a > b ? a : b; }

static void add_step(mxg_load *load, const mxg_step *step) {
  if (step->kind == MXG_STEP_GATHER) load->received += step->bytes;
  if (step->kind == MXG_STEP_CONVERT) load->converted += step->bytes;
}

mxg_load mxg_load_of_rank(const mxg_plan *plan, uint32_t rank) {
  const mxg_rank *r = &plan->ranks[rank];
  mxg_load sum = {0};
  uint32_t last = MXG_NONE; /* bucket: the conversions of one are together */
  for (uint32_t s = r->first_step; s < r->first_step + r->steps; s++) {
    const mxg_step *step = &plan->steps[s];
    add_step(&sum, step);
    if (step->kind != MXG_STEP_CONVERT || step->bucket == last) continue;
    sum.buckets++;
    last = step->bucket;
  }
  return sum;
}

mxg_load mxg_load_of_bucket(const mxg_plan *plan, uint32_t rank, uint32_t bucket) {
  const mxg_rank *r = &plan->ranks[rank];
  mxg_load sum = {0};
  for (uint32_t s = r->first_step; s < r->first_step + r->steps; s++) {
    if (plan->steps[s].bucket == bucket && plan->steps[s].kind != MXG_STEP_RELEASE) add_step(&sum, &plan->steps[s]);
  }
  sum.buckets = sum.converted > 0;
  return sum;
}

uint32_t mxg_bucket_count(const mxg_plan *plan, uint32_t rank) {
  const mxg_rank *r = &plan->ranks[rank];
  uint32_t count = 0;
  for (uint32_t s = r->first_step; s < r->first_step + r->steps; s++)
    if (plan->steps[s].bucket >= count) count = plan->steps[s].bucket + 1;
  return count;
}

double mxg_cost_floor(const mxg_rates *rates, const mxg_load *load) {
  return longer((double)load->received / rates->copy_pull, (double)load->converted / rates->memory);
}

double mxg_cost(const mxg_rates *rates, mxg_transport transport, const mxg_load *load) {
  double received = (double)load->received, convert = (double)load->converted / rates->memory;
  assert(transport == MXG_COPY || transport == MXG_DIRECT || transport == MXG_NCCL);
  if (transport == MXG_DIRECT)
    return longer(received / rates->kernel_pull, convert) + rates->start + load->buckets * rates->bucket_start;
  if (transport == MXG_COPY)
    return longer(received / rates->copy_pull, convert) + (load->received ? rates->copy_start : 0) + rates->start;
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
