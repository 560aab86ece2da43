/*
 * libattn: FNV-1a, the hash that tells layers apart and finds damage in saved states.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * 64 bits, after Fowler, Noll, Vo and Eastlake, "The FNV Non-Cryptographic Hash Algorithm" (IETF draft-eastlake-fnv):
 * per byte an exclusive or and a multiplication by an odd number. Both can be undone, so that a single changed byte
 * always shows. The hash guards against accidents, not against an attacker.
 */
#ifndef ATTN_SRC_HASH_H
#define ATTN_SRC_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ATTN_HASH_START UINT64_C (0xcbf29ce484222325)
#define ATTN_HASH_PRIME UINT64_C (0x00000100000001b3)

static inline uint64_t
attn_hash_bytes (uint64_t hash, const uint8_t *bytes, size_t n)
{
  for (size_t i = 0; i < n; i++)
    hash = (hash ^ bytes[i]) * ATTN_HASH_PRIME;
  return hash;
}

/* The `n_bytes` low bytes of a number, lowest first on any machine. */
static inline uint64_t
attn_hash_number (uint64_t hash, uint64_t number, int n_bytes)
{
  for (int i = 0; i < n_bytes; i++)
    hash = (hash ^ (number >> 8 * i & 0xff)) * ATTN_HASH_PRIME;
  return hash;
}

/* Hashes the bits of the values: 0 and -0 differ, and a NaN equals itself. */
static inline uint64_t
attn_hash_floats (uint64_t hash, const float *values, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;

    memcpy (&bits, &values[i], sizeof bits);
    hash = attn_hash_number (hash, bits, sizeof bits);
  }
  return hash;
}

#endif
