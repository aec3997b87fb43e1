/* mx_load.cuh -- several elements as one access: packs of bytes in registers, and streaming loads and stores of them.
**
** Knows element sizes but not their meaning. A pack of n bytes lies at an address that is a multiple of min(n, 16). */
#ifndef MX_LOAD_CUH
#define MX_LOAD_CUH

#include "mx_abi.h"
#include "mx_convert.h"

static_assert(sizeof(void *) == 8, "addresses in mx_entry are 64-bit");

__host__ __device__ constexpr mx_u32 mx_size(mx_u32 elem) { return elem <= MX_E5M2 ? 1 : elem <= MX_FP16 ? 2 : 4; }
__host__ __device__ constexpr mx_u32 mx_min(mx_u32 a, mx_u32 b) { return a < b ? a : b; }
__host__ __device__ constexpr mx_u32 mx_max(mx_u32 a, mx_u32 b) { return a > b ? a : b; }
__host__ __device__ constexpr mx_u32 mx_ceil_div(mx_u32 a, mx_u32 b) { return a / b + (a % b != 0); }
__host__ __device__ constexpr bool mx_is_power(mx_u32 a) { return a && (a & (a - 1)) == 0; }

/* Bytes in memory order; fewer than four are the low bytes of the one word. */
template <mx_u32 BYTES> struct mx_pack { mx_u32 word[BYTES < 4 ? 1 : BYTES / 4]; };

template <mx_u32 BYTES> MX_FN mx_pack<BYTES> mx_zero_pack() {
  mx_pack<BYTES> pack;
#pragma unroll
  for (mx_u32 i = 0; i < sizeof pack.word / 4; i++) pack.word[i] = 0;
  return pack;
}

/* Element k, of SIZE bytes, in the low bits. */
template <mx_u32 SIZE, mx_u32 BYTES> MX_FN mx_u32 mx_get(const mx_pack<BYTES> &pack, mx_u32 k) {
  if constexpr (SIZE == 4) return pack.word[k];
  constexpr mx_u32 bits = SIZE * 8;
  return pack.word[k * SIZE / 4] >> (k * bits % 32) & ((1u << (bits & 31)) - 1);
}

/* Puts element k into a pack that is zero there. */
template <mx_u32 SIZE, mx_u32 BYTES> MX_FN void mx_put(mx_pack<BYTES> &pack, mx_u32 k, mx_u32 value) {
  pack.word[k * SIZE / 4] |= value << (k * SIZE * 8 % 32);
}

/* What the L2 is asked for: KEPT, to let go last of what is read, though nobody reads it again, and to do with what is
** written what it does by itself: writes then leave for DRAM in better order, which is worth up to a twentieth of a
** kernel's time. STREAMED, to let go soon of either. Loads of 1 and 2 bytes and stores below 16 are streamed in any
** case. What else is half one and half the other loses up to a tenth. */
enum mx_policy { MX_KEPT, MX_STREAMED };

#if defined(__CUDACC__)
/* What createpolicy.fractional.L2::evict_last.b64 with the fraction 1.0 gives: ptxas makes this constant of it for all
** architectures from sm_80 to sm_121, but late, when it has set registers aside for it. */
constexpr mx_u64 MX_KEEPING = 0x14f0000000000000ull;

MX_FN mx_u32 mx_load_keeping_4(mx_u64 address) {
  mx_u32 v;
  asm("ld.global.L2::cache_hint.u32 %0, [%1], %2;" : "=r"(v) : "l"(address), "l"(MX_KEEPING));
  return v;
}

MX_FN uint2 mx_load_keeping_8(mx_u64 address) {
  uint2 v;
  asm("ld.global.L2::cache_hint.v2.u32 {%0, %1}, [%2], %3;" : "=r"(v.x), "=r"(v.y) : "l"(address), "l"(MX_KEEPING));
  return v;
}

MX_FN uint4 mx_load_keeping_16(mx_u64 address) {
  uint4 v;
  asm("ld.global.L2::cache_hint.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(address), "l"(MX_KEEPING));
  return v;
}

MX_FN void mx_store_kept_16(mx_u64 address, uint4 v) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
}
#else
MX_FN mx_u32 mx_load_keeping_4(mx_u64 address) { return __ldcs((const mx_u32 *)address); }
MX_FN uint2 mx_load_keeping_8(mx_u64 address) { return __ldcs((const uint2 *)address); }
MX_FN uint4 mx_load_keeping_16(mx_u64 address) { return __ldcs((const uint4 *)address); }
MX_FN void mx_store_kept_16(mx_u64 address, uint4 v) { __stcs((uint4 *)address, v); }
#endif

template <mx_u32 BYTES, mx_policy POLICY = MX_KEPT> MX_FN mx_pack<BYTES> mx_load(mx_u64 address) {
  static_assert(mx_is_power(BYTES), "a pack is a power of two of bytes, so that aligned accesses divide it");
  mx_pack<BYTES> pack;
  if constexpr (BYTES == 1) {
    pack.word[0] = __ldcs((const mx_u8 *)address);
  } else if constexpr (BYTES == 2) {
    pack.word[0] = __ldcs((const mx_u16 *)address);
  } else if constexpr (BYTES == 4) {
    pack.word[0] = POLICY == MX_KEPT ? mx_load_keeping_4(address) : __ldcs((const mx_u32 *)address);
  } else if constexpr (BYTES == 8) {
    const uint2 v = POLICY == MX_KEPT ? mx_load_keeping_8(address) : __ldcs((const uint2 *)address);
    pack.word[0] = v.x, pack.word[1] = v.y;
  } else {
#pragma unroll
    for (mx_u32 i = 0; i < BYTES / 16; i++) {
      const uint4 v = POLICY == MX_KEPT ? mx_load_keeping_16(address + i * 16) : __ldcs((const uint4 *)address + i);
      pack.word[i * 4] = v.x, pack.word[i * 4 + 1] = v.y, pack.word[i * 4 + 2] = v.z, pack.word[i * 4 + 3] = v.w;
    }
  }
  return pack;
}

/* At most 16 bytes that others will read soon: the caches may keep them. */
template <mx_u32 BYTES> MX_FN mx_pack<BYTES> mx_load_cached(mx_u64 address) {
  static_assert(mx_is_power(BYTES) && BYTES <= 16, "one access");
  mx_pack<BYTES> pack;
  if constexpr (BYTES == 1) {
    pack.word[0] = __ldg((const mx_u8 *)address);
  } else if constexpr (BYTES == 2) {
    pack.word[0] = __ldg((const mx_u16 *)address);
  } else if constexpr (BYTES == 4) {
    pack.word[0] = __ldg((const mx_u32 *)address);
  } else if constexpr (BYTES == 8) {
    const uint2 v = __ldg((const uint2 *)address);
    pack.word[0] = v.x, pack.word[1] = v.y;
  } else {
    const uint4 v = __ldg((const uint4 *)address);
    pack.word[0] = v.x, pack.word[1] = v.y, pack.word[2] = v.z, pack.word[3] = v.w;
  }
  return pack;
}

template <mx_u32 BYTES, mx_policy POLICY = MX_KEPT> MX_FN void mx_store(mx_u64 address, const mx_pack<BYTES> &pack) {
  static_assert(mx_is_power(BYTES), "a pack is a power of two of bytes, so that aligned accesses divide it");
  if constexpr (BYTES == 1) {
    __stcs((mx_u8 *)address, (mx_u8)pack.word[0]);
  } else if constexpr (BYTES == 2) {
    __stcs((mx_u16 *)address, (mx_u16)pack.word[0]);
  } else if constexpr (BYTES == 4) {
    __stcs((mx_u32 *)address, pack.word[0]);
  } else if constexpr (BYTES == 8) {
    __stcs((uint2 *)address, make_uint2(pack.word[0], pack.word[1]));
  } else {
#pragma unroll
    for (mx_u32 i = 0; i < BYTES / 16; i++) {
      const uint4 v = make_uint4(pack.word[i * 4], pack.word[i * 4 + 1], pack.word[i * 4 + 2], pack.word[i * 4 + 3]);
      if constexpr (POLICY == MX_KEPT)
        mx_store_kept_16(address + i * 16, v);
      else
        __stcs((uint4 *)address + i, v);
    }
  }
}

/* The first `kept` elements of a pack, for the end of a row: one access each. */
template <mx_u32 SIZE, mx_u32 BYTES> MX_FN mx_pack<BYTES> mx_load_some(mx_u64 address, mx_u32 kept) {
  mx_pack<BYTES> pack = mx_zero_pack<BYTES>();
#pragma unroll
  for (mx_u32 k = 0; k < BYTES / SIZE; k++)
    if (k < kept) mx_put<SIZE>(pack, k, mx_load<SIZE>(address + k * SIZE).word[0]);
  return pack;
}

template <mx_u32 SIZE, mx_u32 BYTES> MX_FN void mx_store_some(mx_u64 address, const mx_pack<BYTES> &pack, mx_u32 kept) {
#pragma unroll
  for (mx_u32 k = 0; k < BYTES / SIZE; k++) {
    mx_pack<SIZE> one;
    one.word[0] = mx_get<SIZE>(pack, k);
    if (k < kept) mx_store<SIZE>(address + k * SIZE, one);
  }
}

#endif
