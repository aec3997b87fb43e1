/* haul.c -- see haul.h. A chunk is smaller towards the end, where nothing is left to hide its conversion behind. */
#include "haul.h"

#include "memory.h"
#include "order.h"

#include <stdlib.h>
#include <string.h>

void mxg_haul_seat(mxg_hauls *h, uint32_t part, mxg_way how, uint64_t home, uint64_t src) {
  const mxg_piece *piece = &h->parts.pieces[part];
  mxg_seat *fresh = mxg_vector_push((void **)&h->seats, &h->seat_count, &h->seat_capacity, sizeof *fresh);
  h->failed = h->failed || !fresh;
  if (!fresh) return;
  *fresh = (mxg_seat){.home = home, .src = src, .part = part, .how = how};
  fresh->kernel = how == MXG_WAY_WIRE ? piece->kernel : piece->kernel_direct;
  for (uint32_t s = 0; s < piece->segments && !h->failed; s++)
    h->failed = !mxg_vector_push((void **)&h->landings, &h->landing_count, &h->landing_capacity, sizeof *h->landings);
}

void mxg_haul_fetch(mxg_hauls *h, const mxg_copy *copy, uint64_t home, uint32_t part, uint32_t segment, bool scales) {
  mxg_fetch *fresh = mxg_vector_push((void **)&h->fetches, &h->fetch_count, &h->fetch_capacity, sizeof *fresh);
  h->failed = h->failed || !fresh;
  if (fresh) *fresh = (mxg_fetch){*copy, home, part, 0, segment, scales};
}

void mxg_haul_received(mxg_hauls *h, uint64_t bytes) { h->left -= bytes < h->left ? bytes : h->left; }

void mxg_haul_next(mxg_hauls *h) {
  h->seat_count = h->fetch_count = 0;
  h->first = (uint32_t)h->parts.count;
}

void mxg_hauls_free(mxg_hauls *h) {
  mxg_parts_free(&h->parts);
  mxg_free(h->ways);
  mxg_free(h->landings);
  mxg_free(h->seats);
  mxg_free(h->fetches);
  *h = (mxg_hauls){0};
}

/* ---- orders ---- */

static int by_address(const void *a, const void *b) {
  const mxg_seat *x = a, *y = b;
  return mxg_order((uint64_t[]){x->home, x->src, x->part}, (uint64_t[]){y->home, y->src, y->part}, 3);
}

static int by_launch(const void *a, const void *b) {
  const mxg_seat *x = a, *y = b;
  const uint64_t left[] = {x->chunk, x->how, x->kernel, x->place}, right[] = {y->chunk, y->how, y->kernel, y->place};
  return mxg_order(left, right, 4);
}

static int by_source(const void *a, const void *b) {
  const mxg_fetch *x = a, *y = b;
  const uint64_t left[] = {x->chunk, x->home, x->copy.src, x->segment};
  const uint64_t right[] = {y->chunk, y->home, y->copy.src, y->segment};
  return mxg_order(left, right, 4);
}

/* Elements of a chunk's parts, then scales; parts have their segments in order. */
static int by_part(const void *a, const void *b) {
  const mxg_fetch *x = a, *y = b;
  return mxg_order((uint64_t[]){x->chunk, x->scales, x->segment}, (uint64_t[]){y->chunk, y->scales, y->segment}, 3);
}

/* ---- chunks ---- */

static uint64_t chunk_limit(const mxg_hauls *h) {
  uint64_t limit = h->left / 4;
  if (limit < MXG_LEAST_CHUNK) limit = MXG_LEAST_CHUNK;
  return limit < h->most ? limit : h->most;
}

/* Whether the array that seat i is of goes on behind it, but for no more than `most` bytes. */
static bool nearly_ends(const mxg_hauls *h, size_t i, uint64_t most) {
  const uint32_t array = h->parts.pieces[h->seats[i].part].src;
  uint64_t behind = 0;
  while (++i < h->seat_count && h->parts.pieces[h->seats[i].part].src == array && behind <= most)
    behind += h->parts.pieces[h->seats[i].part].wire_bytes;
  return behind > 0 && behind <= most;
}

/* Cuts the seats, which are in the order of their sources, into chunks, at the ends of arrays where they are near: what
** is cut are two more copies. Returns how many. */
static uint32_t cut_chunks(mxg_hauls *h) {
  uint32_t chunks = 0;
  uint64_t bytes = 0, limit = chunk_limit(h);
  for (size_t i = 0; i < h->seat_count; i++) {
    mxg_seat *s = &h->seats[i];
    s->place = (uint32_t)i;
    s->chunk = chunks;
    bytes += h->parts.pieces[s->part].wire_bytes;
    if (i + 1 < h->seat_count && (bytes < limit || (bytes < limit * 3 / 2 && nearly_ends(h, i, limit / 2)))) continue;
    chunks++;
    mxg_haul_received(h, bytes);
    limit = chunk_limit(h);
    bytes = 0;
  }
  return chunks;
}

static void note_way(mxg_hauls *h, mxg_way how) {
  unsigned char *fresh = mxg_vector_push((void **)&h->ways, &h->way_count, &h->way_capacity, sizeof *fresh);
  h->failed = h->failed || !fresh;
  if (fresh) *fresh = (unsigned char)how;
}

/* Parts go to their seats, and fetches know their chunks. */
static void take_seats(mxg_hauls *h) {
  size_t count = h->seat_count;
  mxg_piece *pieces = mxg_alloc(count * sizeof *pieces);
  uint32_t *chunks = mxg_alloc(count * sizeof *chunks); /* by part as it was */
  if (pieces && chunks) {
    for (size_t i = 0; i < count; i++) {
      pieces[i] = h->parts.pieces[h->seats[i].part];
      note_way(h, h->seats[i].how);
      chunks[h->seats[i].part - h->first] = h->seats[i].chunk;
    }
    memcpy(h->parts.pieces + h->first, pieces, count * sizeof *pieces);
    for (size_t i = 0; i < h->fetch_count; i++) h->fetches[i].chunk = chunks[h->fetches[i].part - h->first];
  } else {
    h->failed = true;
  }
  mxg_free(pieces);
  mxg_free(chunks);
}

/* ---- places in the slot ---- */

static uint64_t *target_of(const mxg_hauls *h, const mxg_fetch *f) {
  return f->scales ? &h->landings[f->segment].scale : &h->landings[f->segment].data;
}

uint64_t mxg_haul_target(const mxg_hauls *h, const mxg_fetch *fetch) { return *target_of(h, fetch); }

/* Every part in its own wire form. */
static void spread(mxg_hauls *h, const mxg_plan *plan, uint64_t slot) {
  mxg_plan lent = mxg_parts_plan(&h->parts, plan);
  for (size_t i = h->first; i < h->parts.count; i++) {
    const mxg_piece *part = &h->parts.pieces[i];
    uint64_t data = slot + part->wire_offset, scale = data + mxg_wire_of(&lent, part).scale_offset;
    for (uint32_t s = part->first_segment; s < part->first_segment + part->segments; s++) {
      h->landings[s] = (mxg_landing){data, scale};
      data += mxg_segment_data_bytes(&lent, part, &h->parts.segments[s]);
      scale += mxg_segment_scale_bytes(&lent, part, &h->parts.segments[s]);
    }
  }
}

static uint64_t align_up(uint64_t x) { return (x + 15) / 16 * 16; }

/* All of the haul in the order of the sources; false where alignment makes that more than its parts have. */
static bool pack(mxg_hauls *h, uint64_t slot) {
  uint64_t at = UINT64_MAX, end = 0;
  for (size_t i = h->first; i < h->parts.count; i++) {
    const mxg_piece *part = &h->parts.pieces[i];
    if (at > part->wire_offset) at = part->wire_offset;
    if (end < part->wire_offset + part->wire_bytes) end = part->wire_offset + part->wire_bytes;
  }
  for (size_t i = 0; i < h->fetch_count; i++) {
    const mxg_fetch *f = &h->fetches[i];
    at = align_up(at);
    *target_of(h, f) = slot + at;
    at += f->copy.width * f->copy.height;
    if (at > end) return false;
  }
  return true;
}

uint32_t mxg_haul_arrange(mxg_hauls *h, const mxg_plan *plan, uint64_t slot) {
  if (h->seat_count == 0 || h->failed) return 0;
  qsort(h->seats, h->seat_count, sizeof *h->seats, by_address);
  const uint32_t chunks = cut_chunks(h);
  qsort(h->seats, h->seat_count, sizeof *h->seats, by_launch);
  take_seats(h);
  if (h->failed) return 0;
  if (h->fetch_count > 1) qsort(h->fetches, h->fetch_count, sizeof *h->fetches, by_source);
  if (h->packs && pack(h, slot)) return chunks;
  if (h->fetch_count > 1) qsort(h->fetches, h->fetch_count, sizeof *h->fetches, by_part);
  spread(h, plan, slot);
  return chunks;
}
