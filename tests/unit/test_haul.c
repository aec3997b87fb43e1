/* haul.h: parts that lie anywhere become chunks in the order of their sources, every fetch has a place of its own in
** the slot, and what lies together at its source lies together there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "haul.h"
#include "memory.h"

enum { MIB = 1 << 20, PARTS = 24, HOMES = 3 };
static const uint64_t slot = (uint64_t)1 << 40;

/* Part i: elements and scales of one segment; its source is number `order` in memory. */
static void add_part(mxg_hauls *h, uint32_t i, uint32_t order, uint64_t *offset, mxg_way how) {
  const uint64_t data = 2 * MIB + i % 5 * 4096, scales = data / 32, home = 1 + order % HOMES;
  const uint64_t src = home << 32 | (uint64_t)(order / HOMES) * 8 * MIB;
  mxg_piece *piece = mxg_vector_push((void **)&h->parts.pieces, &h->parts.count, &h->parts.capacity, sizeof *piece);
  assert_non_null(piece);
  *piece = (mxg_piece){.src = order / 4, .kernel = i % 2, .kernel_direct = 2, .first_segment = i, .segments = 1};
  piece->wire_offset = *offset;
  piece->wire_bytes = data + scales + 64; /* room for places that are multiples of 16 */
  *offset += piece->wire_bytes;
  mxg_haul_seat(h, i, how, home, src);
  if (how == MXG_WAY_DIRECT) return;
  mxg_haul_fetch(h, &(mxg_copy){0, src, data, 1, 0, 0}, home, i, i, false);
  mxg_haul_fetch(h, &(mxg_copy){0, src + data, scales, 1, 0, 0}, home, i, i, true);
}

static void chunks_in_order_of_sources(void **state) {
  (void)state;
  mxg_hauls h = {.left = 200 * MIB, .most = 8 * MIB, .packs = true};
  for (int haul = 0; haul < 2; haul++) {
    const uint32_t first = (uint32_t)h.parts.count;
    uint64_t offset = 4096, end = 0;
    for (uint32_t i = 0; i < PARTS; i++)
      add_part(&h, first + i, (i * 7 + 3) % PARTS, &offset, i % 6 == 5 ? MXG_WAY_DIRECT : MXG_WAY_WIRE);
    const uint32_t chunks = mxg_haul_arrange(&h, NULL, slot);
    assert_false(h.failed);
    assert_in_range(chunks, 4, PARTS);
    uint64_t bytes[PARTS] = {0};
    for (size_t i = 0; i < h.seat_count; i++) {
      const mxg_seat *s = &h.seats[i];
      if (i) assert_true(s->chunk >= s[-1].chunk && s->chunk <= s[-1].chunk + 1);
      assert_int_equal(h.ways[first + i], s->how);
      assert_int_equal(s->kernel, s->how == MXG_WAY_WIRE ? h.parts.pieces[first + i].kernel : 2);
      bytes[s->chunk] += h.parts.pieces[first + i].wire_bytes;
      for (size_t k = 0; k < i; k++) /* earlier sources in earlier chunks */
        if (h.seats[k].chunk < s->chunk)
          assert_true(h.seats[k].home < s->home || (h.seats[k].home == s->home && h.seats[k].src < s->src));
    }
    for (uint32_t c = 0; c < chunks; c++) assert_in_range(bytes[c], 1, h.most * 3 / 2 + 3 * MIB);
    size_t together = 0;
    for (size_t i = 0; i < h.fetch_count; i++) {
      const mxg_fetch *f = &h.fetches[i];
      const uint64_t at = mxg_haul_target(&h, f), before = i ? mxg_haul_target(&h, f - 1) + f[-1].copy.width : slot;
      if (i && f->chunk == f[-1].chunk)
        assert_true(f->home > f[-1].home || (f->home == f[-1].home && f->copy.src > f[-1].copy.src));
      assert_true(at % 16 == 0 && at >= before && at < before + 4096 + 16);
      if (i && f->home == f[-1].home && f->copy.src == f[-1].copy.src + f[-1].copy.width && at == before) together++;
      end = at + f->copy.width;
    }
    assert_true(end <= slot + offset);
    assert_int_equal(together, PARTS - PARTS / 6); /* elements and their scales */
    mxg_haul_next(&h);
  }
  assert_true(h.left < 200 * MIB - 2 * PARTS * 2 * (uint64_t)MIB);
  mxg_hauls_free(&h);
}

/* Towards the end chunks are smaller. */
static void chunks_shrink(void **state) {
  (void)state;
  mxg_hauls h = {.left = PARTS * 2 * (uint64_t)MIB, .most = 64 * MIB, .packs = true};
  uint64_t offset = 0, bytes[PARTS] = {0};
  for (uint32_t i = 0; i < PARTS; i++) add_part(&h, i, i, &offset, MXG_WAY_WIRE);
  const uint32_t chunks = mxg_haul_arrange(&h, NULL, slot);
  assert_in_range(chunks, 3, PARTS);
  for (size_t i = 0; i < h.seat_count; i++) bytes[h.seats[i].chunk] += h.parts.pieces[i].wire_bytes;
  assert_true(bytes[0] > 2 * bytes[chunks - 1]);
  assert_true(bytes[chunks - 1] <= 2 * (uint64_t)MXG_LEAST_CHUNK);
  mxg_hauls_free(&h);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(chunks_in_order_of_sources), cmocka_unit_test(chunks_shrink)};
  return cmocka_run_group_tests_name("haul", tests, NULL, NULL) != 0;
}
