/*
 * libattn: rows of values that wait in a block, as part of a saved state: a bit for each (is it there?), in whole
 * bytes, and the values of those that are.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_ROWS_H
#define ATTN_SRC_ROWS_H

#include "blocks/block.h"

/* Bytes of the bits of `n` rows, whatever a state says that `n` is. */
static inline size_t
attn_rows_mark_bytes (size_t n)
{
  return n / 8 + (n % 8 != 0);
}

/* Bytes of `n` rows of `width` values, n_present of them present. */
size_t attn_rows_bytes (size_t n, size_t n_present, size_t width);

/* The same; present [n] is 1 for rows that are present. */
size_t attn_rows_size (const uint8_t *present, size_t n, size_t width);

/* Writes the bits of n rows; returns where the values of those that are present go. */
uint8_t *attn_rows_mark (uint8_t *bytes, const uint8_t *present, size_t n);

/* Whether row `i` is present. */
static inline bool
attn_rows_is_marked (const uint8_t *bytes, size_t i)
{
  return bytes[i / 8] >> i % 8 & 1;
}

/* Writes rows [n][width]; returns where the next part goes. */
uint8_t *attn_rows_save (uint8_t *bytes, const float *rows, const uint8_t *present, size_t n, size_t width);

/* Whether `size` bytes can be the `n` frames that wait in a block `name`. */
AttnStatus attn_rows_check (const uint8_t *bytes, size_t size, size_t n, size_t width, const char *name,
                            AttnError *error);

/* Reads checked bytes; absent rows become 0. */
void attn_rows_restore (const AttnKernels *kernels, const uint8_t *bytes, float *rows, uint8_t *present, size_t n,
                        size_t width);

#endif
