/*
 * libattn: fixed-point numbers of 256 bits, for constants that must be correct to the last bit on every machine (the
 * pow () of two C libraries may differ). Integers only; used when a layer is made, never on a stream.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_WIDE_H
#define ATTN_SRC_WIDE_H

#include <stdint.h>

#define ATTN_WIDE_LIMBS 8

/* The sum of limbs[i] 2^(32 i - 224): never negative, 32 bits before the point and 224 behind it. */
typedef struct {
  uint32_t limbs[ATTN_WIDE_LIMBS];
} AttnWide;

/* The whole number `x`. */
AttnWide attn_wide_from (uint32_t x);

/* a * b, rounded down, modulo 2^32. */
AttnWide attn_wide_mul (AttnWide a, AttnWide b);

/* a / divisor, rounded down; divisor > 0. */
AttnWide attn_wide_div (AttnWide a, uint32_t divisor);

/* log2 (x), finite x >= 1; error below 2^-200. */
AttnWide attn_wide_log2 (double x);

/* 2^-x; error below 2^-210. */
AttnWide attn_wide_exp2_negative (AttnWide x);

/* The 64 bits behind the point that begin at limb `top`: 6 for the first 64 bits, 4 for the next 64. */
static inline uint64_t
attn_wide_bits (AttnWide x, int top)
{
  return (uint64_t) x.limbs[top] << 32 | x.limbs[top - 1];
}

#endif
