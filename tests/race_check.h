/* race_check.h -- whether a program's order rests on its streams and events alone: what touches a byte has happened
** before the next that does, or both only read. Every op counts on its stream's clock; an event carries the clocks
** of where it was recorded to where it is followed. Found whatever the turns in which the streams run. */
#ifndef MXG_RACE_CHECK_H
#define MXG_RACE_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mx_scale.h"
#include "transport_gpu.h"

#include <stdlib.h>
#include <string.h>

/* Who touched a byte last: one writer, and readers by stream. */
typedef struct touched {
  uint64_t address;
  uint32_t written, read[MXG_STREAMS_MOST]; /* clocks; 0: not */
  uint8_t writer;
  bool used;
} touched;

typedef struct race_check {
  const mxg_plan *plan;
  const mxg_gpu_op *op;
  uint32_t clocks[MXG_STREAMS_MOST][MXG_STREAMS_MOST]; /* by stream: what it knows of each stream */
} race_check;

/* One table for all checks, cleared by what was used of it. */
enum { race_most = 1 << 20, race_room = 2 * race_most };
static touched *race_bytes;
static uint32_t *race_used, race_count;

static inline touched *byte_of(uint64_t address) {
  uint32_t at = (uint32_t)(address * 0x9e3779b97f4a7c15u >> 32) % race_room;
  while (race_bytes[at].used && race_bytes[at].address != address) at = (at + 1) % race_room;
  if (!race_bytes[at].used) {
    assert_true(race_count + 1 < race_room);
    race_used[race_count++] = at;
    race_bytes[at] = (touched){.address = address, .used = true};
  }
  return &race_bytes[at];
}

static inline void touch(race_check *c, uint64_t address, uint64_t bytes, bool write) {
  const unsigned own = c->op->stream;
  const uint32_t *known = c->clocks[own];
  for (uint64_t i = 0; i < bytes; i++) {
    touched *b = byte_of(address + i);
    if (b->written > known[b->writer])
      fail_msg("an op of kind %u on stream %u comes to what stream %u writes", c->op->kind, own, b->writer);
    for (unsigned s = 0; write && s < MXG_STREAMS_MOST; s++)
      if (b->read[s] > known[s])
        fail_msg("an op of kind %u on stream %u writes what stream %u reads", c->op->kind, own, s);
    if (write)
      b->writer = (uint8_t)own, b->written = known[own];
    else
      b->read[own] = known[own];
  }
}

typedef struct touched_side {
  const mxg_encoding *encoding;
  uint64_t data, scale;
  uint64_t ld;
  uint32_t scale_ld, row, col;
} touched_side;

static inline void touch_side(race_check *c, const touched_side *s, uint32_t rows, uint32_t cols, bool write) {
  const mxg_encoding *e = s->encoding;
  const uint64_t elem = mxg_elem_bytes(e->elem), each = e->scale == MX_SCALE_E8M0 ? 1 : 4;
  for (uint32_t i = 0; i < rows; i++) touch(c, s->data + ((s->row + i) * s->ld + s->col) * elem, cols * elem, write);
  if (!s->scale || e->scale == MX_SCALE_NONE) return;
  if (e->block_rows == MX_WHOLE) {
    if (!write) touch(c, s->scale, 4, false);
    return;
  }
  const int columnwise = mx_is_columnwise(e->block_rows, e->block_cols);
  for (uint32_t i = mx_block_index(s->row, e->block_rows); i <= mx_block_index(s->row + rows - 1, e->block_rows); i++)
    for (uint32_t j = mx_block_index(s->col, e->block_cols); j <= mx_block_index(s->col + cols - 1, e->block_cols); j++)
      touch(c, s->scale + mx_scale_offset(e->layout, columnwise, s->scale_ld, i, j) * each, each, write);
}

static inline void touch_entry(race_check *c, const mxg_kernel *kernel, const mx_entry *e) {
  const touched_side from = {
      &kernel->src,        e->src, e->src_scale, (uint32_t)e->src_ld, (uint32_t)e->src_scale_ld, (uint32_t)e->src_row,
      (uint32_t)e->src_col};
  const touched_side to = {
      &kernel->dst,        e->dst, e->dst_scale, (uint32_t)e->dst_ld, (uint32_t)e->dst_scale_ld, (uint32_t)e->dst_row,
      (uint32_t)e->dst_col};
  touch_side(c, &from, e->rows, e->cols, false);
  if (kernel->family != MXG_AMAX)
    touch_side(c, &to, e->rows, e->cols, true);
  else if (e->dst_scale)
    touch(c, e->dst_scale, 4, true);
}

static inline void touch_op(race_check *c, const mxg_gpu_program *p) {
  const mxg_gpu_op *op = c->op;
  switch ((mxg_gpu_op_kind)op->kind) {
  case MXG_OP_COPY:
    for (uint64_t r = 0; r < op->u.copy.height; r++) {
      touch(c, op->u.copy.src + r * op->u.copy.src_pitch, op->u.copy.width, false);
      touch(c, op->u.copy.dst + r * op->u.copy.dst_pitch, op->u.copy.width, true);
    }
    break;
  case MXG_OP_FILL:
    for (uint64_t r = 0; r < op->u.fill.height; r++)
      touch(c, op->u.fill.dst + r * op->u.fill.pitch, op->u.fill.bytes, true);
    break;
  case MXG_OP_LAUNCH:
    for (uint32_t i = 0; i < op->u.launch.count; i++)
      touch_entry(c, &c->plan->kernels[op->index], &p->entries[op->u.launch.first + i]);
    break;
  case MXG_OP_EXCHANGE:
    for (uint32_t i = op->u.exchange.first; i < op->u.exchange.first + op->u.exchange.count; i++)
      touch(c, p->transfers[i].memory, p->transfers[i].bytes, p->transfers[i].kind == MXG_RECEIVE);
    break;
  case MXG_OP_RECORD:
  case MXG_OP_FOLLOW:
  case MXG_OP_PASS: /* turns hold up copies, and no order rests on them */
  case MXG_OP_TAKE:
  case MXG_OP_MARK: break;
  }
}

/* Bytes that ops touch, about: programs of many are left to smaller plans. */
static inline uint64_t count_touched(const mxg_plan *plan, const mxg_gpu_program *p) {
  uint64_t sum = 0;
  for (size_t i = 0; i < p->count; i++) {
    const mxg_gpu_op *op = &p->ops[i];
    if (op->kind == MXG_OP_COPY) sum += 2 * op->u.copy.width * op->u.copy.height;
    if (op->kind == MXG_OP_FILL) sum += op->u.fill.bytes * op->u.fill.height;
    for (uint32_t k = 0; op->kind == MXG_OP_LAUNCH && k < op->u.launch.count; k++) {
      const mx_entry *e = &p->entries[op->u.launch.first + k];
      const mxg_kernel *kernel = &plan->kernels[op->index];
      sum += (uint64_t)e->rows * e->cols * 2 * (mxg_elem_bytes(kernel->src.elem) + mxg_elem_bytes(kernel->dst.elem));
    }
  }
  for (size_t i = 0; i < p->transfer_count; i++) sum += p->transfers[i].bytes;
  return sum;
}

static inline void check_races(const mxg_plan *plan, const mxg_gpu_program *p) {
  if (count_touched(plan, p) > race_most) return;
  race_check c = {.plan = plan};
  if (!race_bytes) race_bytes = calloc(race_room, sizeof *race_bytes), race_used = calloc(race_room, sizeof *race_used);
  bool begun[MXG_STREAMS_MOST] = {true};
  uint32_t(*events)[MXG_STREAMS_MOST] = calloc(p->event_count + 1, sizeof *events);
  assert_true(events && race_bytes && race_used);
  for (size_t i = 0; i < p->count; i++) {
    c.op = &p->ops[i];
    const unsigned own = c.op->stream;
    begun[own] = begun[own] || c.op->kind == MXG_OP_FOLLOW;
    assert_true(begun[own]); /* nothing begins before stream 0 does */
    c.clocks[own][own]++;
    touch_op(&c, p);
    if (c.op->kind == MXG_OP_RECORD) memcpy(events[c.op->index], c.clocks[own], sizeof c.clocks[own]);
    for (unsigned s = 0; c.op->kind == MXG_OP_FOLLOW && s < MXG_STREAMS_MOST; s++)
      if (s != own && c.clocks[own][s] < events[c.op->index][s]) c.clocks[own][s] = events[c.op->index][s];
  }
  free(events);
  while (race_count) race_bytes[race_used[--race_count]].used = false;
}

#endif
