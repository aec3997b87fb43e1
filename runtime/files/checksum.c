/* checksum.c -- see checksum.h. */
#include "checksum.h"

#include "error.h"
#include "memory.h"
#include "mx_convert.h"
#include "mx_scale.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* a hash state on the stack */
#include <xxhash.h>

enum { batch_elems = 4096, threads_most = 64 };

mxg_stored mxg_stored_of(const mxg_plan *plan, const mxg_array *array, const void *data, const void *scale) {
  return (mxg_stored){plan->encodings[array->encoding], array->matrices, array->rows, array->cols, data, scale};
}

uint64_t mxg_checksum_bytes(const void *bytes, uint64_t count) { return XXH3_64bits(bytes, (size_t)count); }

static uint64_t elems_of(const mxg_stored *stored) { return stored->matrices * stored->rows * stored->cols; }

uint64_t mxg_checksum_chunks(const mxg_stored *stored) {
  uint64_t elems = elems_of(stored);
  return elems / MXG_CHECKSUM_CHUNK + (elems % MXG_CHECKSUM_CHUNK != 0);
}

/* The value of scale (row, col) of a matrix, as FP32 bits. */
static mx_u32 scale_at(const mxg_stored *stored, const mxg_scale_shape *shape, uint64_t matrix, uint64_t row,
                       uint64_t col) {
  const mxg_encoding *encoding = &stored->encoding;
  if (encoding->scale == MX_SCALE_NONE) return MX_FP32_ONE;
  uint64_t at = matrix * shape->stored_rows * shape->stored_cols +
                mx_scale_offset(encoding->layout, mx_is_columnwise(encoding->block_rows, encoding->block_cols),
                                shape->ld, mx_block_index((mx_u32)row, encoding->block_rows),
                                mx_block_index((mx_u32)col, encoding->block_cols));
  const unsigned char *from = (const unsigned char *)stored->scale + at * shape->bytes_each;
  mx_u32 raw = *from;
  if (shape->bytes_each == 4) memcpy(&raw, from, 4);
  return mx_scale_decode(encoding->scale, raw);
}

/* `count` elements that share one scale, values into `to`. `elem` is constant at every call, so the branches fold. */
MX_FN void decode_run(int elem, mx_u32 *to, const unsigned char *from, size_t count, mx_u32 scale) {
  for (size_t i = 0; i < count; i++) {
    mx_u32 q = 0;
    if (elem == MX_FP32)
      memcpy(&q, from + i * 4, 4);
    else if (elem == MX_BF16 || elem == MX_FP16)
      q = (mx_u32)from[2 * i] | (mx_u32)from[2 * i + 1] << 8;
    else
      q = from[i];
    to[i] = mx_fp32_encode(mx_dequantize(elem, q, scale));
  }
}

static void decode(int elem, mx_u32 *to, const unsigned char *from, size_t count, mx_u32 scale) {
  switch (elem) {
  case MX_E4M3: decode_run(MX_E4M3, to, from, count, scale); break;
  case MX_E5M2: decode_run(MX_E5M2, to, from, count, scale); break;
  case MX_BF16: decode_run(MX_BF16, to, from, count, scale); break;
  case MX_FP16: decode_run(MX_FP16, to, from, count, scale); break;
  default: decode_run(MX_FP32, to, from, count, scale); break;
  }
}

/* Elements from `col` on that share a scale in one row. */
static uint64_t run_of(const mxg_encoding *encoding, uint64_t col) {
  if (encoding->scale == MX_SCALE_NONE || encoding->block_cols == MX_WHOLE) return UINT64_MAX;
  return encoding->block_cols - col % encoding->block_cols;
}

uint64_t mxg_checksum_chunk(const mxg_stored *stored, uint64_t chunk) {
  mx_u32 batch[batch_elems];
  size_t filled = 0;
  unsigned bytes = mxg_elem_bytes(stored->encoding.elem);
  mxg_scale_shape shape = mxg_scale_shape_of(&stored->encoding, stored->rows, stored->cols);
  uint64_t at = chunk * MXG_CHECKSUM_CHUNK, left = elems_of(stored) - at;
  if (left > MXG_CHECKSUM_CHUNK) left = MXG_CHECKSUM_CHUNK;
  uint64_t col = at % stored->cols, row = at / stored->cols % stored->rows, matrix = at / stored->cols / stored->rows;
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_64bits_reset(&state);
  while (left) {
    uint64_t run = run_of(&stored->encoding, col);
    if (run > stored->cols - col) run = stored->cols - col;
    if (run > left) run = left;
    if (run > batch_elems - filled) run = batch_elems - filled;
    decode(stored->encoding.elem, batch + filled, (const unsigned char *)stored->data + at * bytes, (size_t)run,
           scale_at(stored, &shape, matrix, row, col));
    filled += (size_t)run;
    at += run;
    left -= run;
    col += run;
    if (col == stored->cols) {
      col = 0;
      if (++row == stored->rows) {
        row = 0;
        matrix++;
      }
    }
    if (filled == batch_elems || left == 0) {
      XXH3_64bits_update(&state, batch, filled * sizeof *batch);
      filled = 0;
    }
  }
  return XXH3_64bits_digest(&state);
}

uint64_t mxg_checksum_combine(const mxg_stored *stored, const uint64_t *chunks) {
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_64bits_reset(&state);
  uint64_t elems = elems_of(stored), count = mxg_checksum_chunks(stored);
  XXH3_64bits_update(&state, &elems, sizeof elems);
  if (count) XXH3_64bits_update(&state, chunks, (size_t)count * sizeof *chunks);
  return XXH3_64bits_digest(&state);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

typedef struct job {
  const mxg_stored *stored;
  uint64_t *chunks, count;
  atomic_ullong next;
} job;

static void *work(void *user) {
  job *shared = user;
  for (;;) {
    uint64_t i = atomic_fetch_add(&shared->next, 1);
    if (i >= shared->count) return NULL;
    shared->chunks[i] = mxg_checksum_chunk(shared->stored, i);
  }
}

mxg_status mxg_checksum_values(uint64_t *out, const mxg_stored *stored, unsigned threads, mxg_error *err) {
  *out = 0;
  job shared = {.stored = stored, .count = mxg_checksum_chunks(stored)};
  uint64_t bytes;
  if (!mxg_mul(&bytes, shared.count, sizeof *shared.chunks)) return mxg_fail_nomem(err);
  shared.chunks = mxg_alloc((size_t)bytes);
  if (!shared.chunks) return mxg_fail_nomem(err);
  atomic_init(&shared.next, 0);
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  if (threads == 0) threads = cores > 0 ? (unsigned)cores : 1;
  if (threads > threads_most) threads = threads_most;
  if (threads > shared.count) threads = shared.count ? (unsigned)shared.count : 1;
  pthread_t others[threads_most];
  unsigned started = 0;
  while (started + 1 < threads && pthread_create(&others[started], NULL, work, &shared) == 0) started++;
  work(&shared); /* a thread that could not start only makes it slower */
  for (unsigned i = 0; i < started; i++) pthread_join(others[i], NULL);
  *out = mxg_checksum_combine(stored, shared.chunks);
  mxg_free(shared.chunks);
  return MXG_OK;
}
