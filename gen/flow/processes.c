/* processes.c -- see processes.h. */
#include "processes.h"

#include "clock.h"
#include "error.h"

#include <stdlib.h>

enum { default_timeout_ms = 60000 };

static const char *variable(const char *name) {
  const char *text = getenv(name);
  return text && *text ? text : NULL;
}

bool mxg_processes_wanted(void) {
  return variable("RANK") && variable("WORLD_SIZE") && (variable("MXGEN_PORT") || variable("MASTER_PORT"));
}

mxg_status mxg_processes_join(mxg_processes *p, unsigned timeout_ms, mxg_error *err) {
  *p = (mxg_processes){.world = 1, .local_rank = -1};
  if (!mxg_processes_wanted()) return MXG_OK;
  mxg_job_options options = MXG_JOB_INIT;
  options.timeout_ms = timeout_ms > default_timeout_ms ? timeout_ms : default_timeout_ms;
  MXG_TRY(mxg_job_create(&p->job, &options, err));
  p->rank = mxg_job_rank(p->job);
  p->world = mxg_job_world(p->job);
  const char *local = variable("LOCAL_RANK");
  if (local) p->local_rank = atoi(local);
  return MXG_OK;
}

void mxg_processes_leave(mxg_processes *p) {
  mxg_job_free(p->job);
  p->job = NULL;
}

mxg_status mxg_processes_fit(const mxg_processes *p, uint32_t rank_count, mxg_error *err) {
  if (!p->job || p->world <= rank_count) return MXG_OK;
  return mxg_fail(err, MXG_ERR_USAGE, 904, "there are more processes (%u) than ranks (%u)", p->world, rank_count);
}

bool mxg_processes_has(const mxg_processes *p, uint32_t rank) { return !p->job || rank % p->world == p->rank; }

int mxg_processes_gpu(const mxg_processes *p, uint32_t rank, int gpus) {
  if (gpus <= 0) return 0;
  if (!p->job) return (int)(rank % (uint32_t)gpus);
  return (p->local_rank >= 0 ? p->local_rank : (int)p->rank) % gpus;
}

double mxg_processes_deadline(unsigned timeout_ms) {
  return mxg_now() + (timeout_ms > default_timeout_ms ? timeout_ms : default_timeout_ms) * 1e-3;
}

mxg_status mxg_processes_agree(const mxg_processes *p, const char *what, const mxg_error *own, unsigned timeout_ms,
                               mxg_error *err) {
  if (p->job) return mxg_job_agree(p->job, what, own, mxg_processes_deadline(timeout_ms), err);
  if (own->status != MXG_OK && err) *err = *own;
  return own->status;
}
