/* channel.h -- framed messages over non-blocking TCP: what job.c talks through. Knows no ranks and no collectives. */
#ifndef MXG_CHANNEL_H
#define MXG_CHANNEL_H

#include "mxrt.h"

typedef enum mxg_frame_kind {
  MXG_FRAME_HELLO = 1, /* a process that comes */
  MXG_FRAME_WELCOME,   /* all are there */
  MXG_FRAME_REFUSE,    /* not of this job: a text */
  MXG_FRAME_PUT,       /* a process's part of a collective */
  MXG_FRAME_ALL,       /* all parts */
  MXG_FRAME_FAIL,      /* the job is broken: an mxg_channel_news */
  MXG_FRAME_BYE        /* this process leaves; nothing is wrong */
} mxg_frame_kind;

/* Ahead of every payload. Byte order is the machine's: the magic tells others apart. */
typedef struct mxg_frame {
  uint32_t magic, kind;
  uint64_t sequence, bytes; /* of the payload */
  double time;              /* WELCOME: process 0's clock; PUT: the sender's deadline on process 0's clock */
} mxg_frame;

enum { MXG_FRAME_MAGIC = 0x4a47584d /* "MXGJ" */ };
static const uint64_t mxg_frame_most = (uint64_t)1 << 32; /* bytes of a payload */

/* One connection. Bytes wait in `in` until they are taken and in `out` until the socket takes them. */
typedef struct mxg_channel {
  int fd; /* -1: closed */
  unsigned char *in, *out;
  size_t in_count, in_room, out_count, out_room, out_done;
  bool ended;   /* the other side closed, or the connection broke */
  bool garbled; /* what came is no frame */
  bool failed;  /* out of memory */
  int native;   /* errno of the break; 0: closed in order */
} mxg_channel;

/* Takes over `fd` and makes it non-blocking. */
void mxg_channel_open(mxg_channel *channel, int fd);
void mxg_channel_close(mxg_channel *channel);

/* Queues a frame whose payload is `head` and then `body`; mxg_channel_pump sends it. */
void mxg_channel_put(mxg_channel *channel, mxg_frame_kind kind, uint64_t sequence, double time, const void *head,
                     size_t head_bytes, const void *body, size_t body_bytes);
/* Sends and receives what can be at once. */
void mxg_channel_pump(mxg_channel *channel);
bool mxg_channel_has_unsent(const mxg_channel *channel);
/* The first whole frame that is there; NULL: none. The payload lies in the channel until _drop. */
const mxg_frame *mxg_channel_peek(mxg_channel *channel, const unsigned char **payload);
void mxg_channel_drop(mxg_channel *channel);

/* poll() over `count` channels and a listener (-1: none) until one is ready, or `until` (mxg_now) has come. */
void mxg_channel_wait(mxg_channel *const *channels, size_t count, int listener, double until);

/* A listening socket for process 0. Where `address` names this machine's loopback only the machine itself reaches it.
 */
mxg_status mxg_channel_listen(int *fd, const char *address, unsigned port, mxg_error *err);
/* A connection from the listener; -1: none waits. */
int mxg_channel_accept(int listener);
/* One try to connect that takes until `until` at most. *fd -1 and MXG_OK: nobody listens yet; *native is the errno. */
mxg_status mxg_channel_connect(int *fd, int *native, const char *address, unsigned port, double until, mxg_error *err);

#endif
