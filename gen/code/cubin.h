/* cubin.h -- what a cubin says about its kernel. Private to compile.c. */
#ifndef MXG_CUBIN_H
#define MXG_CUBIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mxg_cubin_use {
  uint32_t registers, shared_bytes, local_bytes; /* of a thread, of a block (static), of a thread (its stack) */
  uint32_t code_bytes;                           /* instructions of its own: 16 bytes each */
} mxg_cubin_use;

/* `chip`: 90 of sm_90a. False when the bytes are no 64-bit ELF with this kernel, or anything lies outside of them. */
bool mxg_cubin_read(mxg_cubin_use *out, const void *bytes, size_t count, const char *kernel, unsigned chip);

#endif
