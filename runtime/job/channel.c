/* channel.c -- see channel.h. */
#include "channel.h"

#include "clock.h"
#include "error.h"
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { read_step = 64 << 10 };

/* ---- buffers ---- */

static bool make_room(unsigned char **bytes, size_t *room, size_t need) {
  if (need <= *room) return true;
  size_t more = need + need / 2;
  unsigned char *grown = mxg_resize(*bytes, more);
  if (!grown) return false;
  *bytes = grown;
  *room = more;
  return true;
}

static void append(mxg_channel *c, const void *bytes, size_t count) {
  if (count == 0 || c->failed) return;
  if (!make_room(&c->out, &c->out_room, c->out_count + count)) {
    c->failed = true;
    return;
  }
  memcpy(c->out + c->out_count, bytes, count);
  c->out_count += count;
}

/* ---- a connection ---- */

void mxg_channel_open(mxg_channel *c, int fd) {
  const int on = 1;
  *c = (mxg_channel){.fd = fd};
  int flags = fcntl(fd, F_GETFL);
  if (flags != -1) (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* a program that this one starts must not keep the connection open */
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

void mxg_channel_close(mxg_channel *c) {
  if (c->fd >= 0) close(c->fd);
  mxg_free(c->in);
  mxg_free(c->out);
  *c = (mxg_channel){.fd = -1, .ended = true};
}

void mxg_channel_put(mxg_channel *c, mxg_frame_kind kind, uint64_t sequence, double time, const void *head,
                     size_t head_bytes, const void *body, size_t body_bytes) {
  const mxg_frame frame = {MXG_FRAME_MAGIC, kind, sequence, head_bytes + body_bytes, time};
  if (c->fd < 0 || c->ended) return;
  append(c, &frame, sizeof frame);
  append(c, head, head_bytes);
  append(c, body, body_bytes);
}

static void broke(mxg_channel *c) {
  c->ended = true;
  c->native = errno;
}

static void send_some(mxg_channel *c) {
  while (c->out_done < c->out_count && !c->ended) {
    ssize_t n = send(c->fd, c->out + c->out_done, c->out_count - c->out_done, MSG_NOSIGNAL);
    if (n >= 0)
      c->out_done += (size_t)n;
    else if (errno == EAGAIN || errno == EWOULDBLOCK)
      return;
    else if (errno != EINTR)
      broke(c);
  }
  c->out_done = c->out_count = 0;
}

static void receive_some(mxg_channel *c) {
  while (!c->ended && !c->failed) {
    if (c->in_count > mxg_frame_most * 2) return; /* nobody sends that much ahead of the one who takes it */
    c->failed = !make_room(&c->in, &c->in_room, c->in_count + read_step);
    if (c->failed) return;
    ssize_t n = recv(c->fd, c->in + c->in_count, c->in_room - c->in_count, 0);
    if (n > 0)
      c->in_count += (size_t)n;
    else if (n == 0)
      c->ended = true;
    else if (errno == EAGAIN || errno == EWOULDBLOCK)
      return;
    else if (errno != EINTR)
      broke(c);
  }
}

void mxg_channel_pump(mxg_channel *c) {
  if (c->fd < 0 || c->ended) return;
  send_some(c);
  /* What the other side sent before it closed is taken even when sending to it has failed. */
  int native = c->native;
  bool ended = c->ended;
  c->ended = false;
  receive_some(c);
  if (ended && !c->native) c->native = native;
  c->ended = c->ended || ended;
}

bool mxg_channel_has_unsent(const mxg_channel *c) { return c->fd >= 0 && !c->ended && c->out_done < c->out_count; }

const mxg_frame *mxg_channel_peek(mxg_channel *c, const unsigned char **payload) {
  const uint32_t magic = MXG_FRAME_MAGIC;
  size_t known = c->in_count < sizeof magic ? c->in_count : sizeof magic;
  if (known && memcmp(c->in, &magic, known) != 0) c->garbled = true;
  if (c->garbled || c->in_count < sizeof(mxg_frame)) return NULL;
  const mxg_frame *frame = (const void *)c->in; /* memory of the allocator, and frames are dropped to its beginning */
  if (frame->bytes > mxg_frame_most) {
    c->garbled = true;
    return NULL;
  }
  if (c->in_count - sizeof *frame < frame->bytes) return NULL;
  *payload = c->in + sizeof *frame;
  return frame;
}

void mxg_channel_drop(mxg_channel *c) {
  const mxg_frame *frame = (const void *)c->in;
  size_t bytes = sizeof *frame + (size_t)frame->bytes;
  c->in_count -= bytes;
  memmove(c->in, c->in + bytes, c->in_count);
}

/* ---- waiting ---- */

void mxg_channel_wait(mxg_channel *const *channels, size_t count, int listener, double until) {
  struct pollfd few[64], *polls = count + 1 > 64 ? mxg_alloc((count + 1) * sizeof *polls) : few;
  nfds_t used = 0;
  double left = until - mxg_now();
  int ms = left <= 0 ? 0 : left > 1 ? 1000 : (int)(left * 1e3) + 1;
  if (!polls) { /* then a short sleep has to do */
    struct pollfd none = {.fd = -1};
    (void)poll(&none, 1, ms < 5 ? ms : 5);
    return;
  }
  if (listener >= 0) polls[used++] = (struct pollfd){.fd = listener, .events = POLLIN};
  for (size_t i = 0; i < count; i++) {
    const mxg_channel *c = channels[i];
    if (c->fd < 0 || c->ended) continue;
    short events = mxg_channel_has_unsent(c) ? POLLIN | POLLOUT : POLLIN;
    polls[used++] = (struct pollfd){.fd = c->fd, .events = events};
  }
  (void)poll(polls, used, ms);
  if (polls != few) mxg_free(polls);
}

/* ---- addresses ---- */

static mxg_status resolve(struct addrinfo **out, const char *address, unsigned port, bool listens, mxg_error *err) {
  char service[16];
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  if (listens) hints.ai_flags = AI_PASSIVE;
  snprintf(service, sizeof service, "%u", port);
  int result = getaddrinfo(address, service, &hints, out);
  if (result == 0) return MXG_OK;
  mxg_fail(err, MXG_ERR_ENVIRONMENT, 663, "the address of process 0, '%.200s', cannot be resolved: %.150s",
           address ? address : "*", gai_strerror(result));
  mxg_error_help(err, "MASTER_ADDR (or options.address) is the name or the IP address of the machine of process 0");
  return MXG_ERR_ENVIRONMENT;
}

static int open_socket(const struct addrinfo *at) {
  int fd = socket(at->ai_family, at->ai_socktype, at->ai_protocol);
  if (fd < 0) return -1;
  int flags = fcntl(fd, F_GETFL);
  (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (flags != -1 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0) return fd;
  close(fd);
  return -1;
}

static bool is_loopback(const char *address) {
  return !strncmp(address, "127.", 4) || !strcmp(address, "::1") || !strcmp(address, "localhost");
}

static int listen_at(const struct addrinfo *at) {
  const int on = 1, off = 0;
  int fd = open_socket(at);
  if (fd < 0) return -1;
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* of an earlier job only closed connections remain */
  if (at->ai_family == AF_INET6) (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, 1024) == 0) return fd;
  int native = errno;
  close(fd);
  errno = native;
  return -1;
}

mxg_status mxg_channel_listen(int *fd, const char *address, unsigned port, mxg_error *err) {
  struct addrinfo *all = NULL;
  bool here = is_loopback(address);
  int native = 0;
  *fd = -1;
  MXG_TRY(resolve(&all, here ? address : NULL, port, !here, err));
  /* For every machine: IPv6 takes IPv4 too, where the machine has it. */
  for (int family = 0; family < 2 && *fd < 0; family++)
    for (const struct addrinfo *at = all; at && *fd < 0; at = at->ai_next) {
      if ((at->ai_family == AF_INET6) != (family == 0)) continue;
      *fd = listen_at(at);
      if (*fd < 0) native = errno;
    }
  freeaddrinfo(all);
  if (*fd >= 0) return MXG_OK;
  mxg_fail(err, MXG_ERR_ENVIRONMENT, 663, "process 0 cannot listen on port %u: %.200s", port, strerror(native));
  if (err) err->native = native;
  mxg_error_help(err, "MXGEN_PORT (or options.port) names another port, the same for all processes");
  return MXG_ERR_ENVIRONMENT;
}

int mxg_channel_accept(int listener) {
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd >= 0 || (errno != EINTR && errno != ECONNABORTED)) return fd;
  }
}

/* A port of the range for outgoing connections may be given to the very socket that looks for it. */
static bool is_itself(int fd) {
  struct sockaddr_storage own = {0}, other = {0};
  socklen_t own_size = sizeof own, other_size = sizeof other;
  return getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 &&
         getpeername(fd, (struct sockaddr *)&other, &other_size) == 0 && own_size == other_size &&
         memcmp(&own, &other, own_size) == 0;
}

static int connect_to(const struct addrinfo *at, double until) {
  int fd = open_socket(at), failure = 0;
  if (fd < 0) return -1;
  if (connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
    failure = errno;
    while (failure == EINPROGRESS || failure == EINTR) {
      double left = until - mxg_now();
      struct pollfd one = {.fd = fd, .events = POLLOUT};
      socklen_t size = sizeof failure;
      if (left <= 0) {
        failure = ETIMEDOUT;
      } else if (poll(&one, 1, left > 1 ? 1000 : (int)(left * 1e3) + 1) > 0) {
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0) failure = errno;
      }
    }
  }
  if (failure == 0 && is_itself(fd)) failure = ECONNREFUSED;
  if (failure == 0) return fd;
  close(fd);
  errno = failure;
  return -1;
}

mxg_status mxg_channel_connect(int *fd, int *native, const char *address, unsigned port, double until, mxg_error *err) {
  struct addrinfo *all = NULL;
  *fd = -1;
  *native = 0;
  MXG_TRY(resolve(&all, address, port, false, err));
  for (const struct addrinfo *at = all; at && *fd < 0; at = at->ai_next) {
    *fd = connect_to(at, until);
    if (*fd < 0) *native = errno;
  }
  freeaddrinfo(all);
  return MXG_OK;
}
