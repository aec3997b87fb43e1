/* job_state.h -- what a job is, for join.c (how it comes to be) and job.c (what it does). */
#ifndef MXG_JOB_STATE_H
#define MXG_JOB_STATE_H

#include "channel.h"
#include "job.h"

enum { MXG_JOB_PROTOCOL = 1, MXG_LABEL_ROOM = 64 };

/* A process's word for itself, first thing on a connection. */
typedef struct mxg_hello {
  char magic[8]; /* "mxgenjob" */
  uint32_t protocol, world, rank;
  char library[20]; /* mxg_version(); only told, the digest decides */
} mxg_hello;

/* The payload of MXG_FRAME_FAIL. */
typedef struct mxg_news {
  uint32_t status, code;
  char text[512], note[512], help[512];
} mxg_news;

struct mxg_job {
  uint32_t rank, world;
  /* Of process 0: one a process, its own closed. Of others: [0], to process 0. */
  mxg_channel *peers;
  uint32_t peer_count;
  double ahead; /* process 0's clock beyond this one's, in seconds */
  uint64_t sequence;
  char (*labels)[MXG_LABEL_ROOM]; /* by process: "process 1 (rank 1)" */
  mxg_error broken;               /* MXG_OK: it works */
};

/* Connects all processes; `seconds` is how long they may take. Peers are there on MXG_OK. */
mxg_status mxg_job_join(mxg_job *job, const char *address, unsigned port, double seconds, mxg_error *err);

/* Sends what is queued to all, until `until` at most. */
void mxg_job_flush(mxg_job *job, double until);
void mxg_news_make(mxg_news *news, const mxg_error *err);
/* False: the payload is none. */
bool mxg_news_read(mxg_error *err, const mxg_frame *frame, const unsigned char *payload);

#endif
