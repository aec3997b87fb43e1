/* haul.h -- what one peer gives of one bucket, arranged for copy engines: its parts in the order of their sources, cut
** into chunks, in each chunk by kernel; and where in the slot their wires come to lie, so that what lies together at
** its source is one copy. Pure arithmetic: transport_copy.c fills hauls, and issues what they come to. */
#ifndef MXG_HAUL_H
#define MXG_HAUL_H

#include "copy_plan.h"
#include "parts.h"

/* How a part comes to its kernel. */
typedef enum mxg_way {
  MXG_WAY_WIRE,   /* all of it through the slot */
  MXG_WAY_SCALES, /* elements through the slot, scales read where they lie: they are not in rows there */
  MXG_WAY_DIRECT  /* read where it lies */
} mxg_way;

/* Where a segment of a part comes to lie in the slot. */
typedef struct mxg_landing {
  uint64_t data, scale; /* addresses */
} mxg_landing;

/* A part: where its source lies, and where it comes to stand. */
typedef struct mxg_seat {
  uint64_t home, src;                  /* home: what the source lies in */
  uint32_t part, chunk, kernel, place; /* place: in the order of the sources */
  mxg_way how;
} mxg_seat;

/* A segment's elements or scales that are copied; from one home they may be one copy. */
typedef struct mxg_fetch {
  mxg_copy copy;
  uint64_t home;
  uint32_t part, chunk, segment;
  bool scales;
} mxg_fetch;

/* One haul after the other: parts, their ways and where their segments land stay; seats and fetches are of the
** haul in the making, whose parts are those from `first` on. */
typedef struct mxg_hauls {
  mxg_parts parts;
  unsigned char *ways; /* mxg_way, one a part */
  size_t way_count, way_capacity;
  mxg_landing *landings; /* one a segment of the parts */
  size_t landing_count, landing_capacity;
  mxg_seat *seats;
  size_t seat_count, seat_capacity;
  mxg_fetch *fetches;
  size_t fetch_count, fetch_capacity;
  uint32_t first;
  uint64_t left; /* bytes to receive still, of this haul and later ones */
  uint64_t most; /* of a chunk */
  bool packs;    /* wires lie in slots in the order of the gathers: a chunk's are side by side, nothing between them */
  bool failed;   /* out of memory; sticky */
} mxg_hauls;

/* Bytes of a chunk. */
enum { MXG_LEAST_CHUNK = 3 << 20 };

/* Part `part`, the last but for those not seated yet, with room for where its segments land. */
void mxg_haul_seat(mxg_hauls *h, uint32_t part, mxg_way how, uint64_t home, uint64_t src);
void mxg_haul_fetch(mxg_hauls *h, const mxg_copy *copy, uint64_t home, uint32_t part, uint32_t segment, bool scales);
/* Cuts the haul into chunks; its wires lie in memory at `slot`. Parts have other numbers from here on than seats and
** fetches say: seat i is part first + i. Fetches are in the order of chunks and copies. Returns how many chunks. */
uint32_t mxg_haul_arrange(mxg_hauls *h, const mxg_plan *plan, uint64_t slot);
/* Where a fetch brings what it copies. */
uint64_t mxg_haul_target(const mxg_hauls *h, const mxg_fetch *fetch);
/* So many bytes came, or are under way. */
void mxg_haul_received(mxg_hauls *h, uint64_t bytes);
/* What is added from here on is another haul. */
void mxg_haul_next(mxg_hauls *h);
void mxg_hauls_free(mxg_hauls *h);

#endif
