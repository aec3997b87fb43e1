/* region.h -- what one peer gives of one bucket, arranged for copy engines: its parts in the order of their sources, cut
** into chunks, in each chunk by kernel; and where in the slot their wires come to lie, so that what lies together at its
** source is one copy. Pure arithmetic: transport_copy.c fills regions, and issues what they come to. */
#ifndef MXG_REGION_H
#define MXG_REGION_H

#include "copy_plan.h"
#include "parts.h"

/* How a part comes to its kernel. */
typedef enum mxg_way {
  MXG_WAY_WIRE,   /* all of it through the slot */
  MXG_WAY_SCALES, /* elements through the slot, scales read where they lie: they are not in rows there */
  MXG_WAY_DIRECT  /* read where it lies */
} mxg_way;

/* Where a segment of a part lies in the slot. */
typedef struct mxg_spot {
  uint64_t data, scale; /* addresses */
} mxg_spot;

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

/* One region after the other: parts, their ways and the spots of their segments stay; seats and fetches are of the
** region in the making, whose parts are those from `first` on. */
typedef struct mxg_regions {
  mxg_parts parts;
  unsigned char *ways; /* mxg_way, one a part */
  size_t way_count, way_capacity;
  mxg_spot *spots; /* one a segment of the parts */
  size_t spot_count, spot_capacity;
  mxg_seat *seats;
  size_t seat_count, seat_capacity;
  mxg_fetch *fetches;
  size_t fetch_count, fetch_capacity;
  uint32_t first;
  uint64_t left; /* bytes to receive still, of this region and later ones */
  uint64_t most; /* of a chunk */
  bool packs;    /* wires lie in slots in the order of the gathers: a chunk's are side by side, nothing between them */
  bool failed;   /* out of memory; sticky */
} mxg_regions;

/* Of a chunk, or of what else is worth a copy of its own. */
enum { MXG_LEAST_CHUNK = 3 << 20 };

/* Part `part`, the last but for those not seated yet, with spots for its segments. */
void mxg_region_seat(mxg_regions *r, uint32_t part, mxg_way how, uint64_t home, uint64_t src);
void mxg_region_fetch(mxg_regions *r, const mxg_copy *copy, uint64_t home, uint32_t part, uint32_t segment,
                      bool scales);
/* Cuts the region into chunks; its wires lie in memory at `slot`. Parts have other numbers from here on than seats and
** fetches say: seat i is part first + i. Fetches are in the order of chunks and copies. Returns how many chunks. */
uint32_t mxg_region_arrange(mxg_regions *r, const mxg_plan *plan, uint64_t slot);
/* Where a fetch brings what it copies. */
uint64_t mxg_region_target(const mxg_regions *r, const mxg_fetch *fetch);
/* So many bytes came, or are under way. */
void mxg_region_received(mxg_regions *r, uint64_t bytes);
/* What is added from here on is another region. */
void mxg_region_next(mxg_regions *r);
void mxg_regions_free(mxg_regions *r);

#endif
