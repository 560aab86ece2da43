/*
 * libattn: the 16-bit floating-point types, by integer arithmetic alone, so that every machine agrees.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * f16 is binary16 of IEEE 754-2008: 11 bits of precision, largest value 65504, subnormals below 2^-14. bf16 is the
 * upper half of a float32: 8 bits of precision, the same range. Conversion from float32 rounds to nearest, ties to
 * even, and values that are too large to infinity; a NaN becomes the one with only its quiet bit set. Conversion to
 * float32 is exact.
 */
#ifndef ATTN_SRC_HALF_H
#define ATTN_SRC_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t
attn_float_bits (float x)
{
  uint32_t bits;

  memcpy (&bits, &x, sizeof bits);
  return bits;
}

static inline float
attn_bits_float (uint32_t bits)
{
  float x;

  memcpy (&x, &bits, sizeof x);
  return x;
}

/* value / 2^n to nearest, ties to even; 0 < n < 32. */
static inline uint32_t
attn_round_shift (uint32_t value, unsigned n)
{
  uint32_t rest = value & ((UINT32_C (1) << n) - 1), half = UINT32_C (1) << (n - 1), result = value >> n;

  return result + (rest > half || (rest == half && (result & 1)));
}

/*
 * Hides the value of x from the compiler: clang, and gcc for aarch64, would compute with a value that is about to be
 * replaced, and choose later.
 */
static inline float
attn_opaque (float x)
{
  uint32_t bits = attn_float_bits (x);

#if defined(__clang__) || defined(__aarch64__)
  __asm__("" : "+r"(bits));
#endif
  return attn_bits_float (bits);
}

/* x, or 0 where its magnitude is below `limit`. It works on the bits: no denormal enters the arithmetic. */
static inline float
attn_flush (float x, float limit)
{
  uint32_t bits = attn_float_bits (x);

  return attn_opaque (attn_bits_float ((bits & 0x7fffffff) < attn_float_bits (limit) ? 0 : bits));
}

/* x rounded to a float32; a result that would be denormal is 0. (A compiler would round first and choose then.) */
static inline float
attn_float_or_0 (double x)
{
  const uint64_t smallest = UINT64_C (0x3810000000000000); /* 2^-126 */
  uint64_t bits;

  memcpy (&bits, &x, sizeof bits);
  bits = (bits & INT64_MAX) < smallest ? 0 : bits;
  memcpy (&x, &bits, sizeof x);
  return (float) x;
}

static inline uint16_t
attn_f16_from_float (float x)
{
  uint32_t bits = attn_float_bits (x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;

  if (magnitude > 0x7f800000)
    return 0x7e00;
  if (magnitude >= 0x47800000) /* 2^16; values below that round up to it do so by carrying into the exponent */
    return sign | 0x7c00;
  if (magnitude >= 0x38800000) /* 2^-14, the smallest normal: the exponent's bias goes from 127 to 15 */
    return sign | attn_round_shift (magnitude - (UINT32_C (112) << 23), 13);
  if (magnitude < 0x33000000) /* 2^-25, half of the smallest subnormal */
    return sign;
  return sign | attn_round_shift ((magnitude & 0x7fffff) | 0x800000, 126 - (magnitude >> 23));
}

static inline float
attn_float_from_f16 (uint16_t half)
{
  uint32_t sign = (uint32_t) (half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;

  if (exponent == 31)
    return attn_bits_float (sign | 0x7f800000 | fraction << 13);
  if (exponent == 0) /* fraction times 2^-24, exact */
    return attn_bits_float (sign | attn_float_bits (fraction * 0x1p-24f));
  return attn_bits_float (sign | (exponent + 112) << 23 | fraction << 13);
}

static inline uint16_t
attn_bf16_from_float (float x)
{
  uint32_t bits = attn_float_bits (x);

  return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : attn_round_shift (bits, 16);
}

static inline float
attn_float_from_bf16 (uint16_t half)
{
  return attn_bits_float ((uint32_t) half << 16);
}

#endif
