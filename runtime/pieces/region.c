/* region.c -- see region.h. A chunk is smaller towards the end, where nothing is left to hide its conversion behind. */
#include "region.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

void mxg_region_seat(mxg_regions *r, uint32_t part, mxg_way how, uint64_t home, uint64_t src) {
  const mxg_piece *piece = &r->parts.pieces[part];
  mxg_seat *fresh = mxg_vector_push((void **)&r->seats, &r->seat_count, &r->seat_capacity, sizeof *fresh);
  r->failed = r->failed || !fresh;
  if (!fresh) return;
  *fresh = (mxg_seat){.home = home, .src = src, .part = part, .how = how};
  fresh->kernel = how == MXG_WAY_WIRE ? piece->kernel : piece->kernel_direct;
  for (uint32_t s = 0; s < piece->segments && !r->failed; s++)
    r->failed = !mxg_vector_push((void **)&r->spots, &r->spot_count, &r->spot_capacity, sizeof *r->spots);
}

void mxg_region_fetch(mxg_regions *r, const mxg_copy *copy, uint64_t home, uint32_t part, uint32_t segment,
                      bool scales) {
  mxg_fetch *fresh = mxg_vector_push((void **)&r->fetches, &r->fetch_count, &r->fetch_capacity, sizeof *fresh);
  r->failed = r->failed || !fresh;
  if (fresh) *fresh = (mxg_fetch){*copy, home, part, 0, segment, scales};
}

void mxg_region_received(mxg_regions *r, uint64_t bytes) { r->left -= bytes < r->left ? bytes : r->left; }

void mxg_region_next(mxg_regions *r) {
  r->seat_count = r->fetch_count = 0;
  r->first = (uint32_t)r->parts.count;
}

void mxg_regions_free(mxg_regions *r) {
  mxg_parts_free(&r->parts);
  mxg_free(r->ways);
  mxg_free(r->spots);
  mxg_free(r->seats);
  mxg_free(r->fetches);
  *r = (mxg_regions){0};
}

/* ---- orders ---- */

static int compare(uint64_t a, uint64_t b) { return a < b ? -1 : a > b; }

static int by_address(const void *a, const void *b) {
  const mxg_seat *x = a, *y = b;
  int order = compare(x->home, y->home);
  if (order == 0) order = compare(x->src, y->src);
  return order ? order : compare(x->part, y->part);
}

static int by_launch(const void *a, const void *b) {
  const mxg_seat *x = a, *y = b;
  int order = compare(x->chunk, y->chunk);
  if (order == 0) order = compare(x->how, y->how);
  if (order == 0) order = compare(x->kernel, y->kernel);
  return order ? order : compare(x->place, y->place);
}

static int by_source(const void *a, const void *b) {
  const mxg_fetch *x = a, *y = b;
  int order = compare(x->chunk, y->chunk);
  if (order == 0) order = compare(x->home, y->home);
  if (order == 0) order = compare(x->copy.src, y->copy.src);
  return order ? order : compare(x->segment, y->segment);
}

/* Elements of a chunk's parts, then scales; parts have their segments in order. */
static int by_part(const void *a, const void *b) {
  const mxg_fetch *x = a, *y = b;
  int order = compare(x->chunk, y->chunk);
  if (order == 0) order = compare(x->scales, y->scales);
  return order ? order : compare(x->segment, y->segment);
}

/* ---- chunks ---- */

static uint64_t chunk_limit(const mxg_regions *r) {
  uint64_t limit = r->left / 4;
  if (limit < MXG_LEAST_CHUNK) limit = MXG_LEAST_CHUNK;
  return limit < r->most ? limit : r->most;
}

/* Whether the array that seat i is of goes on behind it, but for no more than `most` bytes. */
static bool nearly_ends(const mxg_regions *r, size_t i, uint64_t most) {
  const uint32_t array = r->parts.pieces[r->seats[i].part].src;
  uint64_t behind = 0;
  while (++i < r->seat_count && r->parts.pieces[r->seats[i].part].src == array && behind <= most)
    behind += r->parts.pieces[r->seats[i].part].wire_bytes;
  return behind > 0 && behind <= most;
}

/* Cuts the seats, which are in the order of their sources, into chunks, at the ends of arrays where they are near: what
** is cut are two more copies. Returns how many. */
static uint32_t cut_chunks(mxg_regions *r) {
  uint32_t chunks = 0;
  uint64_t bytes = 0, limit = chunk_limit(r);
  for (size_t i = 0; i < r->seat_count; i++) {
    mxg_seat *s = &r->seats[i];
    s->place = (uint32_t)i;
    s->chunk = chunks;
    bytes += r->parts.pieces[s->part].wire_bytes;
    if (i + 1 < r->seat_count && (bytes < limit || (bytes < limit * 3 / 2 && nearly_ends(r, i, limit / 2)))) continue;
    chunks++;
    mxg_region_received(r, bytes);
    limit = chunk_limit(r);
    bytes = 0;
  }
  return chunks;
}

static void note_way(mxg_regions *r, mxg_way how) {
  unsigned char *fresh = mxg_vector_push((void **)&r->ways, &r->way_count, &r->way_capacity, sizeof *fresh);
  r->failed = r->failed || !fresh;
  if (fresh) *fresh = (unsigned char)how;
}

/* Parts go to their seats, and fetches know their chunks. */
static void take_seats(mxg_regions *r) {
  size_t count = r->seat_count;
  mxg_piece *pieces = mxg_alloc(count * sizeof *pieces);
  uint32_t *chunks = mxg_alloc(count * sizeof *chunks); /* by part as it was */
  if (pieces && chunks) {
    for (size_t i = 0; i < count; i++) {
      pieces[i] = r->parts.pieces[r->seats[i].part];
      note_way(r, r->seats[i].how);
      chunks[r->seats[i].part - r->first] = r->seats[i].chunk;
    }
    memcpy(r->parts.pieces + r->first, pieces, count * sizeof *pieces);
    for (size_t i = 0; i < r->fetch_count; i++) r->fetches[i].chunk = chunks[r->fetches[i].part - r->first];
  } else {
    r->failed = true;
  }
  mxg_free(pieces);
  mxg_free(chunks);
}

/* ---- places in the slot ---- */

static uint64_t *target_of(const mxg_regions *r, const mxg_fetch *f) {
  return f->scales ? &r->spots[f->segment].scale : &r->spots[f->segment].data;
}

uint64_t mxg_region_target(const mxg_regions *r, const mxg_fetch *fetch) { return *target_of(r, fetch); }

/* Every part in its own wire form. */
static void spread(mxg_regions *r, const mxg_plan *plan, uint64_t slot) {
  mxg_plan lent = mxg_parts_plan(&r->parts, plan);
  for (size_t i = r->first; i < r->parts.count; i++) {
    const mxg_piece *part = &r->parts.pieces[i];
    uint64_t data = slot + part->wire_offset, scale = data + mxg_wire_of(&lent, part).scale_offset;
    for (uint32_t s = part->first_segment; s < part->first_segment + part->segments; s++) {
      r->spots[s] = (mxg_spot){data, scale};
      data += mxg_segment_data_bytes(&lent, part, &r->parts.segments[s]);
      scale += mxg_segment_scale_bytes(&lent, part, &r->parts.segments[s]);
    }
  }
}

static uint64_t align_up(uint64_t x) { return (x + 15) / 16 * 16; }

/* All of the region in the order of the sources; false where alignment makes that more than its parts have. */
static bool pack(mxg_regions *r, uint64_t slot) {
  uint64_t at = UINT64_MAX, end = 0;
  for (size_t i = r->first; i < r->parts.count; i++) {
    const mxg_piece *part = &r->parts.pieces[i];
    if (at > part->wire_offset) at = part->wire_offset;
    if (end < part->wire_offset + part->wire_bytes) end = part->wire_offset + part->wire_bytes;
  }
  for (size_t i = 0; i < r->fetch_count; i++) {
    const mxg_fetch *f = &r->fetches[i];
    at = align_up(at);
    *target_of(r, f) = slot + at;
    at += f->copy.width * f->copy.height;
    if (at > end) return false;
  }
  return true;
}

uint32_t mxg_region_arrange(mxg_regions *r, const mxg_plan *plan, uint64_t slot) {
  if (r->seat_count == 0 || r->failed) return 0;
  qsort(r->seats, r->seat_count, sizeof *r->seats, by_address);
  const uint32_t chunks = cut_chunks(r);
  qsort(r->seats, r->seat_count, sizeof *r->seats, by_launch);
  take_seats(r);
  if (r->failed) return 0;
  if (r->fetch_count > 1) qsort(r->fetches, r->fetch_count, sizeof *r->fetches, by_source);
  if (r->packs && pack(r, slot)) return chunks;
  if (r->fetch_count > 1) qsort(r->fetches, r->fetch_count, sizeof *r->fetches, by_part);
  spread(r, plan, slot);
  return chunks;
}
