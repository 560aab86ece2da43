/* libattn: numbers as bytes, little-endian on every machine.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_BYTES_H
#define ATTN_SRC_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Writes the low `n_bytes` of a number; returns where the next number goes. */
static inline uint8_t *
attn_put_number (uint8_t *bytes, uint64_t number, int n_bytes)
{
  for (int i = 0; i < n_bytes; i++)
    *bytes++ = number >> 8 * i & 0xff;
  return bytes;
}

static inline uint64_t
attn_get_number (const uint8_t *bytes, int n_bytes)
{
  uint64_t number = 0;

  for (int i = 0; i < n_bytes; i++)
    number |= (uint64_t) bytes[i] << 8 * i;
  return number;
}

static inline uint8_t *
attn_put_floats (uint8_t *bytes, const float *values, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;

    memcpy (&bits, &values[i], sizeof bits);
    bytes = attn_put_number (bytes, bits, sizeof bits);
  }
  return bytes;
}

static inline const uint8_t *
attn_get_floats (const uint8_t *bytes, float *values, size_t n)
{
  for (size_t i = 0; i < n; i++, bytes += sizeof (uint32_t)) {
    uint32_t bits = (uint32_t) attn_get_number (bytes, sizeof bits);

    memcpy (&values[i], &bits, sizeof bits);
  }
  return bytes;
}

#endif
