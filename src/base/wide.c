/* libattn: whole numbers of many bits.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/wide.h"

#include <stdbool.h>
#include <string.h>

#define WHOLE (ATTN_WIDE_LIMBS - 1) /* the limb before the point */
#define LOG2_BITS 208               /* behind the point */

/* ln (2): tests/golden/position_tables.py --constants */
static const AttnWide ln_2 = { { 0x8a0d175c, 0x7298b62d, 0x40f34326, 0x03f2f6af, 0xc9e3b398, 0xd1cf79ab, 0xb17217f7,
                                 0 } };

AttnWide
attn_wide_from (uint32_t x)
{
  AttnWide wide = { { 0 } };

  wide.limbs[WHOLE] = x;
  return wide;
}

static AttnWide
add (AttnWide a, AttnWide b)
{
  uint64_t sum = 0;

  for (int i = 0; i < ATTN_WIDE_LIMBS; i++, sum >>= 32) {
    sum += (uint64_t) a.limbs[i] + b.limbs[i];
    a.limbs[i] = (uint32_t) sum;
  }
  return a;
}

/* a - b, modulo 2^32 */
static AttnWide
subtract (AttnWide a, AttnWide b)
{
  uint64_t borrow = 0;

  for (int i = 0; i < ATTN_WIDE_LIMBS; i++) {
    uint64_t difference = (uint64_t) a.limbs[i] - b.limbs[i] - borrow;

    a.limbs[i] = (uint32_t) difference;
    borrow = difference >> 63;
  }
  return a;
}

static bool
is_zero (AttnWide x)
{
  return memcmp (&x, &(AttnWide){ { 0 } }, sizeof x) == 0;
}

static AttnWide
shift_right (AttnWide x, uint32_t n)
{
  AttnWide result = { { 0 } };

  for (uint32_t i = 0; i + n / 32 < ATTN_WIDE_LIMBS; i++) {
    uint64_t two = x.limbs[i + n / 32];

    if (i + n / 32 < WHOLE)
      two |= (uint64_t) x.limbs[i + n / 32 + 1] << 32;
    result.limbs[i] = (uint32_t) (two >> n % 32);
  }
  return result;
}

AttnWide
attn_wide_mul (AttnWide a, AttnWide b)
{
  uint32_t product[2 * ATTN_WIDE_LIMBS] = { 0 };
  AttnWide result;

  for (int i = 0; i < ATTN_WIDE_LIMBS; i++) {
    uint64_t sum = 0;

    for (int j = 0; j < ATTN_WIDE_LIMBS; j++, sum >>= 32) {
      sum += (uint64_t) a.limbs[i] * b.limbs[j] + product[i + j]; /* at most 2^64 - 1 */
      product[i + j] = (uint32_t) sum;
    }
    product[i + ATTN_WIDE_LIMBS] = (uint32_t) sum;
  }
  memcpy (result.limbs, product + WHOLE, sizeof result.limbs);
  return result;
}

AttnWide
attn_wide_div (AttnWide a, uint32_t divisor)
{
  uint64_t rest = 0;

  for (int i = WHOLE; i >= 0; i--) {
    rest = rest << 32 | a.limbs[i];
    a.limbs[i] = (uint32_t) (rest / divisor);
    rest %= divisor;
  }
  return a;
}

/*
 * The exponent of the double is the whole part. Each squaring of the rest, 1 <= y < 2, gives one bit: y^2 >= 2 when
 * log2 (y) >= 1/2. A rounding error doubles with each squaring while the weight of the bits halves: the sum of the
 * errors stays below 2^-222.
 */
AttnWide
attn_wide_log2 (double x)
{
  AttnWide y = attn_wide_from (1), result;
  uint64_t bits;

  memcpy (&bits, &x, sizeof bits);
  result = attn_wide_from ((uint32_t) (bits >> 52) - 1023);
  y.limbs[WHOLE - 1] = (uint32_t) (bits >> 20);
  y.limbs[WHOLE - 2] = (uint32_t) (bits << 12);
  for (uint32_t k = 0; k < LOG2_BITS; k++) {
    y = attn_wide_mul (y, y);
    if (y.limbs[WHOLE] < 2)
      continue;
    y = shift_right (y, 1);
    result.limbs[WHOLE - 1 - k / 32] |= UINT32_C (1) << (31 - k % 32);
  }
  return result;
}

/*
 * x = n - r, n whole, 0 < r <= 1: 2^-x = e^(r ln 2) / 2^n. The terms of the series of the exponential are positive.
 */
AttnWide
attn_wide_exp2_negative (AttnWide x)
{
  uint32_t whole = x.limbs[WHOLE];
  AttnWide r, sum = attn_wide_from (1), term = sum;

  x.limbs[WHOLE] = 0;
  r = attn_wide_mul (subtract (attn_wide_from (1), x), ln_2);
  for (uint32_t k = 1; !is_zero (term); k++) {
    term = attn_wide_div (attn_wide_mul (term, r), k);
    sum = add (sum, term);
  }
  return whole < 256 ? shift_right (sum, whole + 1) : attn_wide_from (0);
}
