/* libattn: the plain operator: the softmax, in its precisions.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sdpa/sdpa.h"

#include <math.h>
#include <string.h>

#include "sdpa/types.h"

/*
 * 2^x for x <= 0, in float64. x = n + r, n whole, |r| <= 1/2: 2^r by its Taylor series, ln (2)^k / k!, of which the
 * omitted rest is below (ln (2) / 2)^14 / 14! < 2^-57; times 2^n by adding n to the exponent, as in kernels_c.c. (In a
 * NaN that was a float32 the low bits, which would be n, are 0: it stays NaN.)
 */
static double
exp2_negative (double x)
{
  static const double coefficients[] = {
    0x1.816193166d0f9p-40, 0x1.c3bd650fc2986p-36, 0x1.e8cac7351bb25p-32, 0x1.e4cf5158b8ecap-28, 0x1.b5253d395e7c4p-24,
    0x1.62c0223a5c824p-20, 0x1.ffcbfc588b0c7p-17, 0x1.430912f86c787p-13, 0x1.5d87fe78a6731p-10, 0x1.3b2ab6fba4e77p-7,
    0x1.c6b08d704a0c0p-5,  0x1.ebfbdff82c58fp-3,  0x1.62e42fefa39efp-1,  0x1.0000000000000p+0,
  };
  const double shift = 0x1.8p52;
  double sum = x + shift, r = x - (sum - shift), p = 0;
  uint64_t p_bits, n_bits;
  size_t k;

  if (x < -1022)
    return 0;
  for (k = 0; k < sizeof coefficients / sizeof coefficients[0]; k++)
    p = fma (p, r, coefficients[k]);
  memcpy (&p_bits, &p, sizeof p);
  memcpy (&n_bits, &sum, sizeof sum);
  p_bits += n_bits << 52;
  memcpy (&p, &p_bits, sizeof p);
  return p;
}

static bool
is_attended (const uint16_t *masks, size_t j)
{
  return masks[j / ATTN_LANES] >> j % ATTN_LANES & 1;
}

static float
largest_score (const float *scores, const uint16_t *masks, size_t n)
{
  float max = -INFINITY;
  size_t j;

  for (j = 0; j < n; j++)
    if (is_attended (masks, j) && scores[j] > max)
      max = scores[j];
  return max;
}

/*
 * One row of n scores, in the order of AttnKernels.softmax. The powers of two are computed twice, so that no row of
 * doubles is needed.
 */
static void
softmax_f64 (float *scores, const uint16_t *masks, size_t n)
{
  double max = largest_score (scores, masks, n), sum[ATTN_LANES] = { 0 };
  size_t j, lane, half;

  for (j = 0; j < n; j++)
    if (is_attended (masks, j))
      sum[j % ATTN_LANES] += exp2_negative (scores[j] - max);
  for (half = ATTN_LANES / 2; half > 0; half /= 2)
    for (lane = 0; lane < half; lane++)
      sum[lane] += sum[lane + half];
  for (j = 0; j < n; j++)
    scores[j] = is_attended (masks, j) ? attn_float_or_0 (exp2_negative (scores[j] - max) / sum[0]) : 0.0f;
}

/* Rounds scores to `type` in units of 1; they come and go in units of log2 (e), with the guard. */
static void
round_scores (AttnType type, float *scores, uint16_t *masks, size_t n)
{
  const float ln_2 = 0x1.62e430p-1f, log2_e = 0x1.715476p0f;
  size_t j;

  for (j = 0; j < n; j++) {
    float score = fmaf (scores[j] - ATTN_GUARD, ln_2, ATTN_GUARD) - ATTN_GUARD;

    score = attn_type_round (type, score);
    if (score == -INFINITY)
      masks[j / ATTN_LANES] &= ~(1u << j % ATTN_LANES);
    scores[j] = fmaf (score, log2_e, ATTN_GUARD);
  }
}

static void
round_weights (const AttnKernels *kernels, AttnType type, float *weights, float reciprocal, size_t n)
{
  size_t j;

  kernels->scale (weights, weights, reciprocal, n);
  for (j = 0; j < n; j++)
    weights[j] = attn_type_round (type, weights[j]);
}

void
attn_sdpa_softmax (const AttnKernels *kernels, AttnType type, const AttnRows *rows, uint16_t *masks)
{
  bool is_rounded = type == ATTN_TYPE_F16 || type == ATTN_TYPE_BF16;
  size_t n = rows->n_tiles * ATTN_LANES, row;

  for (row = 0; row < rows->n_rows; row++) {
    if (type == ATTN_TYPE_F64)
      softmax_f64 (rows->scores + row * rows->score_stride, masks + row * rows->mask_stride, n);
    if (is_rounded)
      round_scores (type, rows->scores + row * rows->score_stride, masks + row * rows->mask_stride, n);
    rows->reciprocals[row] = 1;
  }
  if (type == ATTN_TYPE_F64)
    return;
  kernels->softmax (rows);
  for (row = 0; row < rows->n_rows; row++) {
    if (isinf (rows->reciprocals[row])) /* an empty sum; any other is at least 1 */
      rows->reciprocals[row] = 0;
    if (!is_rounded)
      continue;
    round_weights (kernels, type, rows->scores + row * rows->score_stride, rows->reciprocals[row], n);
    rows->reciprocals[row] = 1;
  }
}
