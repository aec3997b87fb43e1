/* agreement.h -- what the processes of an executor know of each other: that they run one plan in one way, which process
** has which rank, and which sources are bound there. */
#ifndef MXG_AGREEMENT_H
#define MXG_AGREEMENT_H

#include "job.h"
#include "transport.h"

enum { MXG_HOST_ROOM = 112, MXG_PCI_ROOM = 20 };

/* Filled by mxg_agreement_make and _bound; others only read it. */
struct mxg_agreement {
  mxg_job *job;
  uint32_t *home;    /* by rank: its process; MXG_NONE: no process has it */
  bool *near;        /* by process: of this host */
  bool *elsewhere;   /* by array: a source that its own, other process has bound */
  bool *wanted;      /* by array: of those, what pieces of ranks here read and this process has not bound itself */
  bool *read_abroad; /* by array: a source of a rank here that pieces of ranks elsewhere read */
  char (*pcis)[MXG_PCI_ROOM]; /* by rank: of its GPU; "" where unknown */
};

/* Collective, in mxg_exec_create. `own`: how this process fared so far. Digest, transport and options are compared, and
** every process gets the same error, which names what differs and where. *transport: what was asked for; where it is
** MXG_AUTO, `pick` is what this process would take, and *transport becomes what all take, why[] says why. */
mxg_status mxg_agreement_make(mxg_agreement **out, const mxg_exec_view *view, mxg_transport *transport,
                              mxg_transport pick, char *why, size_t why_room, const mxg_error *own, double deadline,
                              mxg_error *err);
void mxg_agreement_free(mxg_agreement *agreement);

/* Collective, at the start of a run: how each process fared so far. *changed: bindings of a process are new since the
** last _bound, on any of them. */
mxg_status mxg_agreement_start(mxg_agreement *agreement, bool *changed, const mxg_error *own, double deadline,
                               mxg_error *err);
/* Collective: which sources are bound where. MXG_ERR_USAGE when a source that is read here is bound nowhere. */
mxg_status mxg_agreement_bound(mxg_agreement *agreement, const mxg_exec_view *view, const bool *bound, double deadline,
                               mxg_error *err);

/* Collective, after a measured run: of each run the longest and the shortest time of all processes (`fastest` may be
** NULL, on all of them), and the longest of starting one (may be NULL). */
mxg_status mxg_agreement_times(mxg_agreement *agreement, unsigned repeats, double *seconds, double *fastest,
                               double *start_seconds, double deadline, mxg_error *err);

/* The name of this host and boot: equal for processes that can share memory. */
void mxg_host_identity(char text[MXG_HOST_ROOM]);

#endif
