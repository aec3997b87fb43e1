/* plan_check.c -- whether a plan may be run: see mxg_plan_check in plan.h. Trusts nothing that it reads.
**
** Here: the tables by themselves, pieces, fills and what they need of kernels. plan_schedule.c checks steps and
** staging, plan_cover.c that everything is written exactly once; both are reached only by tables that passed here. */
#include "plan_check.h"

#include "error.h"
#include "memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

mxg_status mxg_plan_refuse(mxg_error *err, unsigned code, const char *format, ...) {
  char text[sizeof((mxg_error *)0)->text];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  mxg_fail(err, MXG_ERR_BUNDLE, code, "%s", text);
  return MXG_ERR_BUNDLE;
}

const char *mxg_side_name(unsigned side) {
  return side == MXG_SOURCE ? "source" : side == MXG_TARGET ? "target" : "scratch";
}

/* ---- tables by themselves ---- */

static mxg_status check_strings(const mxg_plan *plan, mxg_error *err) {
  if (plan->string_bytes == 0 || !plan->strings || plan->strings[0] != 0 || plan->strings[plan->string_bytes - 1] != 0)
    return mxg_plan_refuse(err, 711, "the plan's strings do not begin and end with a NUL");
  return MXG_OK;
}

static mxg_status check_groups(const mxg_plan *plan, mxg_error *err) {
  for (uint32_t i = 0; i < plan->group_count; i++)
    if (plan->groups[i].name >= plan->string_bytes || !plan->strings[plan->groups[i].name])
      return mxg_plan_refuse(err, 711, "group %u has no name", i);
  return MXG_OK;
}

static bool block_is_whole(const mxg_encoding *e) { return e->block_rows == MX_WHOLE && e->block_cols == MX_WHOLE; }
static bool block_is_none(const mxg_encoding *e) { return e->block_rows == 0 && e->block_cols == 0; }
static bool block_is_plain(const mxg_encoding *e) {
  return e->block_rows > 0 && e->block_rows <= 65536 && e->block_cols > 0 && e->block_cols <= 65536;
}
static bool elem_is_fp8(const mxg_encoding *e) { return e->elem == MX_E4M3 || e->elem == MX_E5M2; }

static bool encoding_is_good(const mxg_encoding *e) {
  if (e->elem > MX_FP32 || e->scale > MX_SCALE_AMAX || e->layout > MX_SWIZZLED || e->rule > MX_EVEN ||
      e->nan > MX_NAN_ELEMENT || e->pad[0] || e->pad[1] || e->pad[2])
    return false;
  if (e->layout != MX_COMPACT && e->scale != MX_SCALE_E8M0) return false;
  switch ((enum mx_scale)e->scale) {
  case MX_SCALE_NONE: return block_is_none(e);
  case MX_SCALE_E8M0: return elem_is_fp8(e) && block_is_plain(e);
  case MX_SCALE_FP32: return elem_is_fp8(e) && (block_is_plain(e) || block_is_whole(e));
  case MX_SCALE_AMAX: return e->elem == MX_FP32 && (block_is_none(e) || block_is_whole(e));
  }
  return false;
}

static mxg_status check_encodings(const mxg_plan *plan, mxg_error *err) {
  for (uint32_t i = 0; i < plan->encoding_count; i++)
    if (!encoding_is_good(&plan->encodings[i]))
      return mxg_plan_refuse(err, 713, "encoding %u is none that there is", i);
  return MXG_OK;
}

static bool same_scaling(const mxg_encoding *a, const mxg_encoding *b) {
  return a->scale == b->scale && a->layout == b->layout && a->block_rows == b->block_rows &&
         a->block_cols == b->block_cols;
}

/* How an array is read decides nothing about rule and NaN policy, so they are not compared. */
static bool reads(const mxg_encoding *kernel, const mxg_encoding *array) {
  return kernel->elem == array->elem && same_scaling(kernel, array);
}

/* Scratch is written as plain FP32: its cell is another kernel's. */
static bool writes(const mxg_kernel *kernel, const mxg_encoding *array) {
  const mxg_encoding *dst = &kernel->dst;
  if (dst->elem != array->elem) return false;
  if (array->scale == MX_SCALE_AMAX) return dst->scale == MX_SCALE_NONE || dst->scale == MX_SCALE_AMAX;
  bool chooses = kernel->family >= MXG_QUANTIZE_ROWWISE;
  return same_scaling(dst, array) && (!chooses || (dst->rule == array->rule && dst->nan == array->nan));
}

/* A target block must take its scale from one source block. */
static bool block_expands(uint32_t src, uint32_t dst) {
  return src == dst || src == MX_WHOLE || (dst != MX_WHOLE && dst != 0 && src % dst == 0);
}

static bool family_fits(const mxg_kernel *k) {
  const mxg_encoding *src = &k->src, *dst = &k->dst;
  bool quantizes = elem_is_fp8(dst) && block_is_plain(dst) && src->scale != MX_SCALE_AMAX;
  switch ((mxg_family)k->family) {
  case MXG_MOVE:
    return src->elem == dst->elem && src->scale == dst->scale && src->scale != MX_SCALE_AMAX &&
           block_expands(src->block_rows, dst->block_rows) && block_expands(src->block_cols, dst->block_cols);
  case MXG_DEQUANTIZE:
    return !elem_is_fp8(dst) && (dst->scale == MX_SCALE_NONE || dst->scale == MX_SCALE_AMAX) &&
           src->scale != MX_SCALE_AMAX;
  case MXG_QUANTIZE_ROWWISE: return quantizes && dst->block_rows == 1;
  case MXG_QUANTIZE_COLUMNWISE: return quantizes && dst->block_cols == 1 && dst->block_rows > 1;
  case MXG_QUANTIZE_SQUARE: return quantizes && dst->block_rows == dst->block_cols;
  case MXG_AMAX: return src->elem == MX_FP32 && src->scale == MX_SCALE_AMAX;
  case MXG_QUANTIZE_WHOLE:
    return src->elem == MX_FP32 && src->scale == MX_SCALE_AMAX && elem_is_fp8(dst) && dst->scale == MX_SCALE_FP32 &&
           block_is_whole(dst);
  case MXG_QUANTIZE_BOTH: /* two targets: no piece of a plan has that */
  case MXG_FAMILIES: break;
  }
  return false;
}

static mxg_status check_kernels(const mxg_plan *plan, mxg_error *err) {
  for (uint32_t i = 0; i < plan->kernel_count; i++) {
    const mxg_kernel *k = &plan->kernels[i];
    const char *end = memchr(k->name, 0, sizeof k->name);
    bool good = end && k->pad[0] == 0 && k->pad[1] == 0 && k->pad[2] == 0 && k->origin < plan->string_bytes;
    for (const char *c = k->name; good && c < end; c++)
      good = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_';
    for (const char *c = end; good && c < k->name + sizeof k->name; c++) good = *c == 0;
    good = good && k->vec > 0 && k->vec <= 256 && (k->vec & (k->vec - 1)) == 0 && k->threads > 0 &&
           k->threads <= 1024 && k->tile_units > 0;
    if (!good) return mxg_plan_refuse(err, 715, "kernel %u is malformed", i);
    if (k->family >= MXG_FAMILIES || !encoding_is_good(&k->src) || !encoding_is_good(&k->dst) || !family_fits(k))
      return mxg_plan_refuse(err, 715, "kernel %u, %s, does not do what its family does", i, k->name);
  }
  return MXG_OK;
}

static mxg_status check_array(const mxg_plan *plan, uint32_t index, mxg_error *err) {
  const mxg_array *a = &plan->arrays[index];
  if (a->name >= plan->string_bytes || a->scale_name >= plan->string_bytes || a->tensor >= plan->string_bytes ||
      a->rank >= plan->rank_count || a->encoding >= plan->encoding_count || a->side > MXG_SCRATCH || a->whole > 1 ||
      a->e8m0_dtype > 1)
    return mxg_plan_refuse(err, 714, "array %u is malformed", index);
  const mxg_encoding *e = &plan->encodings[a->encoding];
  const char *name = plan->strings + a->name;
  /* Scales of a layout are padded by less than 128 either way: with that, every size of format.c fits 62 bits. */
  const uint64_t longest = UINT32_MAX - 1024;
  uint64_t bytes;
  if (a->ndim < 1 || a->ndim > 3 || (a->ndim < 2 && a->rows != 1) || (a->ndim < 3 && a->matrices != 1) ||
      !a->matrices || !a->rows || !a->cols || a->matrices > longest || a->rows > longest || a->cols > longest ||
      !mxg_mul(&bytes, a->rows + 128, a->cols + 128) || !mxg_mul(&bytes, bytes, a->matrices) ||
      bytes > (uint64_t)1 << 58)
    return mxg_plan_refuse(err, 714, "array %u, \"%s\", has a shape that no array has", index, name);
  if (a->side == MXG_SCRATCH) {
    if (e->elem != MX_FP32 || (e->scale != MX_SCALE_NONE && e->scale != MX_SCALE_AMAX) || a->offset % 16 != 0 ||
        a->offset > plan->slot_bytes || mxg_scratch_bytes(plan, a) > plan->slot_bytes - a->offset)
      return mxg_plan_refuse(err, 714, "scratch array %u, \"%s\", does not fit a staging slot", index, name);
    return MXG_OK;
  }
  bool scaled = e->scale != MX_SCALE_NONE;
  if (e->scale == MX_SCALE_AMAX || a->offset != 0 || !*name || scaled != (plan->strings[a->scale_name] != 0))
    return mxg_plan_refuse(err, 714, "array %u, \"%s\", lacks a name or is held as no tensor is", index, name);
  return MXG_OK;
}

/* Every array of [first, first + count) is of this rank and side. */
static bool range_is_of(const mxg_plan *plan, uint32_t first, uint32_t count, uint32_t rank, mxg_side side) {
  if (first > plan->array_count || count > plan->array_count - first) return false;
  for (uint32_t i = first; i < first + count; i++)
    if (plan->arrays[i].rank != rank || plan->arrays[i].side != side) return false;
  return true;
}

static mxg_status check_ranks(const mxg_plan *plan, mxg_error *err) {
  uint64_t arrays = 0, steps = 0;
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    const mxg_rank *rank = &plan->ranks[r];
    if (!range_is_of(plan, rank->first_source, rank->sources, r, MXG_SOURCE) ||
        !range_is_of(plan, rank->first_target, rank->targets, r, MXG_TARGET) ||
        !range_is_of(plan, rank->first_scratch, rank->scratches, r, MXG_SCRATCH))
      return mxg_plan_refuse(err, 712, "rank %u lists arrays that are not its own", r);
    if (rank->first_step != steps || rank->steps > plan->step_count - rank->first_step)
      return mxg_plan_refuse(err, 712, "rank %u lists steps that are not its own", r);
    arrays += (uint64_t)rank->sources + rank->targets + rank->scratches;
    steps += rank->steps;
  }
  if (arrays != plan->array_count || steps != plan->step_count)
    return mxg_plan_refuse(err, 712, "the plan has arrays or steps that no rank lists");
  return MXG_OK;
}

static size_t table_room(uint32_t count) {
  size_t room = 64;
  while (room < (size_t)count * 4) room *= 2;
  return room;
}

/* Data names, and scale names among them, are what files and bind know: within a rank and side each is there once. The
** table is one range's, so that it stays small. */
static mxg_status check_range_names(const mxg_plan *plan, uint32_t first, uint32_t count, uint32_t *table,
                                    mxg_error *err) {
  size_t room = table_room(count);
  memset(table, 0, room * sizeof *table); /* 1 + 2 * (array - first) + (1: of the scale's name) */
  for (uint64_t i = 0; i < (uint64_t)count * 2; i++) {
    const mxg_array *a = &plan->arrays[first + i / 2];
    const char *name = plan->strings + (i % 2 ? a->scale_name : a->name);
    if (!*name) continue;
    size_t at = (size_t)XXH3_64bits(name, strlen(name)) & (room - 1);
    for (; table[at]; at = (at + 1) & (room - 1)) {
      const mxg_array *b = &plan->arrays[first + (table[at] - 1) / 2];
      const char *other = plan->strings + ((table[at] - 1) % 2 ? b->scale_name : b->name);
      if (strcmp(name, other) == 0)
        return mxg_plan_refuse(err, 714, "rank %u has two %s arrays with the name \"%s\"", a->rank,
                               mxg_side_name(a->side), name);
    }
    table[at] = (uint32_t)i + 1;
  }
  return MXG_OK;
}

static mxg_status check_names(const mxg_plan *plan, mxg_error *err) {
  uint32_t most = 0;
  for (uint32_t r = 0; r < plan->rank_count; r++) {
    if (plan->ranks[r].sources > most) most = plan->ranks[r].sources;
    if (plan->ranks[r].targets > most) most = plan->ranks[r].targets;
  }
  uint32_t *table = mxg_alloc(table_room(most) * sizeof *table);
  if (!table) return mxg_fail_nomem(err);
  mxg_status status = MXG_OK;
  for (uint32_t r = 0; r < plan->rank_count && status == MXG_OK; r++) {
    const mxg_rank *rank = &plan->ranks[r];
    status = check_range_names(plan, rank->first_source, rank->sources, table, err);
    if (status == MXG_OK) status = check_range_names(plan, rank->first_target, rank->targets, table, err);
  }
  mxg_free(table);
  return status;
}

/* ---- pieces ---- */

static bool side_holds(const mxg_array *array, uint32_t matrix, uint32_t col, uint32_t cols) {
  return matrix < array->matrices && cols > 0 && col <= array->cols && cols <= array->cols - col;
}

static mxg_status check_rectangle(const mxg_plan *plan, uint32_t index, mxg_error *err) {
  const mxg_piece *p = &plan->pieces[index];
  if (p->src >= plan->array_count || p->dst >= plan->array_count || p->kernel >= plan->kernel_count ||
      p->kernel_direct >= plan->kernel_count || p->first_segment > plan->segment_count || p->segments == 0 ||
      p->segments > plan->segment_count - p->first_segment || p->bucket >= plan->step_count || p->phase > 2 || p->pad)
    return mxg_plan_refuse(err, 716, "piece %u is malformed", index);
  const mxg_array *src = &plan->arrays[p->src], *dst = &plan->arrays[p->dst];
  uint64_t rows = 0;
  bool good =
      side_holds(src, p->src_matrix, p->src_col, p->cols) && side_holds(dst, p->dst_matrix, p->dst_col, p->cols);
  for (uint32_t i = 0; good && i < p->segments; i++) {
    const mxg_segment *s = &plan->segments[p->first_segment + i];
    good = s->rows > 0 && s->src_row <= src->rows && s->rows <= src->rows - s->src_row && s->dst_row <= dst->rows &&
           s->rows <= dst->rows - s->dst_row;
    rows += s->rows;
  }
  if (!good || rows != p->rows || rows > dst->rows)
    return mxg_plan_refuse(err, 716, "piece %u, of \"%s\", passes the edge of an array", index,
                           plan->strings + dst->name);
  return MXG_OK;
}

/* Which sides a piece may join, by phase. */
static mxg_status check_phase(const mxg_plan *plan, uint32_t index, mxg_error *err) {
  const mxg_piece *p = &plan->pieces[index];
  const mxg_array *src = &plan->arrays[p->src], *dst = &plan->arrays[p->dst];
  unsigned family = plan->kernels[p->kernel].family;
  bool remote = src->rank != dst->rank, good;
  if (p->phase == 0)
    good = src->side == MXG_SOURCE && dst->side != MXG_SOURCE && family != MXG_AMAX && family != MXG_QUANTIZE_WHOLE;
  else
    good = src->side == MXG_SCRATCH && !remote &&
           (family == MXG_AMAX ? p->phase == 1 && p->src == p->dst && p->src_matrix == p->dst_matrix
                               : dst->side == MXG_TARGET && (family != MXG_QUANTIZE_WHOLE || p->phase == 2));
  if (!good)
    return mxg_plan_refuse(err, 716, "piece %u, of \"%s\", goes from %s to %s in phase %u", index,
                           plan->strings + dst->name, mxg_side_name(src->side), mxg_side_name(dst->side), p->phase);
  if (!remote && (p->wire_offset || p->wire_bytes))
    return mxg_plan_refuse(err, 718, "piece %u, of \"%s\", is local and has a place in a slot", index,
                           plan->strings + dst->name);
  if (remote && (p->wire_offset % 16 != 0 || p->wire_bytes != mxg_wire_of(plan, p).bytes ||
                 p->wire_offset > plan->slot_bytes || p->wire_bytes > plan->slot_bytes - p->wire_offset))
    return mxg_plan_refuse(err, 718, "piece %u, of \"%s\", does not fit its slot: %llu bytes at %llu of %llu", index,
                           plan->strings + dst->name, (unsigned long long)p->wire_bytes,
                           (unsigned long long)p->wire_offset, (unsigned long long)plan->slot_bytes);
  return MXG_OK;
}

/* Accesses of `vec` elements need row starts and column offsets that are multiples of it. */
static bool vec_fits(uint32_t vec, uint64_t first_col, uint64_t ld, bool one_row) {
  return first_col % vec == 0 && (one_row || ld % vec == 0);
}

static bool kernel_fits(const mxg_plan *plan, const mxg_piece *p, uint32_t which, bool from_wire) {
  const mxg_kernel *k = &plan->kernels[which];
  const mxg_array *src = &plan->arrays[p->src], *dst = &plan->arrays[p->dst];
  const mxg_encoding *held = &plan->encodings[src->encoding], wire = mxg_wire_encoding(held);
  if (!reads(&k->src, from_wire ? &wire : held)) return false;
  if (k->family != plan->kernels[p->kernel].family || (k->cols != 0 && k->cols != p->cols)) return false;
  if (from_wire ? !vec_fits(k->vec, 0, p->cols, p->rows == 1)
                : !vec_fits(k->vec, p->src_col, src->cols, src->rows * src->matrices == 1))
    return false;
  if (k->family == MXG_AMAX) return true; /* writes nothing but the cell of what it reads */
  return writes(k, &plan->encodings[dst->encoding]) &&
         vec_fits(k->vec, p->dst_col, dst->cols, dst->rows * dst->matrices == 1);
}

/* Along one dimension: whether [start, start + count) of `all` begins and ends with blocks. Elements after its end that
** belong to its last block are padding, since nothing else may begin inside a block. */
static bool starts_block(uint64_t start, uint32_t block) {
  return block == 0 || block == MX_WHOLE || start % block == 0;
}

static mxg_status check_blocks(const mxg_plan *plan, uint32_t index, mxg_error *err) {
  const mxg_piece *p = &plan->pieces[index];
  const mxg_kernel *k = &plan->kernels[p->kernel];
  if (k->family == MXG_AMAX) return MXG_OK;
  const mxg_array *dst = &plan->arrays[p->dst];
  const mxg_encoding *e = &plan->encodings[dst->encoding];
  /* Scales go with what is moved, unless one serves it all. */
  bool moves = k->family == MXG_MOVE && plan->encodings[plan->arrays[p->src].encoding].block_rows != MX_WHOLE;
  bool good = starts_block(p->dst_col, e->block_cols) && (!moves || starts_block(p->src_col, e->block_cols));
  for (uint32_t i = 0; good && i < p->segments; i++) {
    const mxg_segment *s = &plan->segments[p->first_segment + i];
    good = starts_block(s->dst_row, e->block_rows) && (!moves || starts_block(s->src_row, e->block_rows));
  }
  if (!good)
    return mxg_plan_refuse(err, 719, "piece %u, of \"%s\", begins inside a block of %u x %u", index,
                           plan->strings + dst->name, e->block_rows, e->block_cols);
  return MXG_OK;
}

static mxg_status check_pieces(const mxg_plan *plan, mxg_error *err) {
  for (uint32_t i = 0; i < plan->piece_count; i++) {
    const mxg_piece *p = &plan->pieces[i];
    MXG_TRY(check_rectangle(plan, i, err));
    MXG_TRY(check_phase(plan, i, err));
    if (!kernel_fits(plan, p, p->kernel, p->wire_bytes > 0) || !kernel_fits(plan, p, p->kernel_direct, false))
      return mxg_plan_refuse(err, 717, "piece %u, of \"%s\", has a kernel made for other arrays", i,
                             plan->strings + plan->arrays[p->dst].name);
    MXG_TRY(check_blocks(plan, i, err));
  }
  return MXG_OK;
}

static mxg_status check_fills(const mxg_plan *plan, mxg_error *err) {
  for (uint32_t i = 0; i < plan->fill_count; i++) {
    const mxg_fill *f = &plan->fills[i];
    if (f->array >= plan->array_count || f->kind > MXG_FILL_CELL || f->bucket >= plan->step_count || f->pad ||
        f->bytes == 0 || plan->arrays[f->array].side == MXG_SOURCE)
      return mxg_plan_refuse(err, 720, "fill %u is malformed", i);
    const mxg_array *a = &plan->arrays[f->array];
    const mxg_encoding *e = &plan->encodings[a->encoding];
    uint64_t elem = mxg_elem_bytes(e->elem), all = mxg_array_data_bytes(plan, a);
    bool good = true;
    if (f->kind == MXG_FILL_DATA)
      good = f->offset % elem == 0 && f->bytes % elem == 0 && f->offset <= all && f->bytes <= all - f->offset;
    else if (f->kind == MXG_FILL_CELL)
      good = a->side == MXG_SCRATCH && e->scale == MX_SCALE_AMAX && f->offset == 0 && f->bytes == 4 * a->matrices;
    else
      good = a->side == MXG_TARGET && e->scale != MX_SCALE_NONE;
    if (!good) return mxg_plan_refuse(err, 720, "fill %u does not fit its array, \"%s\"", i, plan->strings + a->name);
  }
  return MXG_OK;
}

static mxg_status check_frame(const mxg_plan *plan, mxg_error *err) {
  uint64_t staging;
  if (plan->rank_count == 0 || plan->slots > 4096 || !mxg_mul(&staging, plan->slot_bytes, plan->slots) ||
      plan->slot_bytes > (uint64_t)1 << 58)
    return mxg_plan_refuse(err, 712, "the plan has no ranks or too many slots");
  if (staging > plan->staging_cap)
    return mxg_plan_refuse(err, 723, "staging of %u slots of %llu bytes passes the cap of %llu", plan->slots,
                           (unsigned long long)plan->slot_bytes, (unsigned long long)plan->staging_cap);
  return MXG_OK;
}

mxg_status mxg_plan_check(const mxg_plan *plan, mxg_error *err) {
  MXG_TRY(check_frame(plan, err));
  MXG_TRY(check_strings(plan, err));
  MXG_TRY(check_groups(plan, err));
  MXG_TRY(check_encodings(plan, err));
  MXG_TRY(check_kernels(plan, err));
  for (uint32_t i = 0; i < plan->array_count; i++) MXG_TRY(check_array(plan, i, err));
  MXG_TRY(check_ranks(plan, err));
  MXG_TRY(check_names(plan, err));
  MXG_TRY(check_pieces(plan, err));
  MXG_TRY(check_fills(plan, err));
  MXG_TRY(mxg_plan_check_schedule(plan, err));
  return mxg_plan_check_cover(plan, err);
}
