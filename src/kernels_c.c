/*
 * libattn: the kernels in plain C, which all others must equal to the bit. Compiled for the baseline of the
 * architecture, where fmaf () may be a slow call, and on x86 again with AVX2 and FMA. The contracts stand in kernels.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels.h"

#include <math.h>
#include <string.h>

#ifdef __FAST_MATH__
#error "these kernels promise bits: not with -ffast-math"
#endif

/* In units of 16 lanes with literal bounds, compilers turn the inner loops into vectors. */
#define LANES for (int lane = 0; lane < ATTN_LANES; lane++)

/* On the bits: no compiler reasons about which NaN it is, and none needs the denormals' slow path. */
static inline float
clean (float x)
{
  const uint32_t smallest_normal = 0x00800000, infinity = 0x7f800000, the_nan = 0x7fc00000;
  uint32_t bits, magnitude;

  memcpy (&bits, &x, sizeof x);
  magnitude = bits & 0x7fffffff;
  bits = magnitude < smallest_normal ? 0 : bits;
  bits = magnitude > infinity ? the_nan : bits;
  memcpy (&x, &bits, sizeof x);
  return x;
}

static void
scale (float *out, const float *in, float factor, size_t n)
{
  for (size_t i = 0; i < n; i++)
    out[i] = clean (in[i] * factor);
}

/* One frame, one panel. */
static inline void
project_panel (float *out, size_t n_outputs, const float *in, size_t n_inputs, const float *weight, const float *bias)
{
  float acc[ATTN_LANES];

  LANES acc[lane] = bias[lane];
  for (size_t i = 0; i < n_inputs; i++)
    LANES acc[lane] = fmaf (weight[i * ATTN_LANES + lane], in[i], acc[lane]);
  LANES acc[lane] = clean (acc[lane]);
  memcpy (out, acc, n_outputs * sizeof *out);
}

static void
project (float *out, size_t out_stride, const float *in, size_t in_stride, size_t n_frames,
         const AttnProjection *projection)
{
  for (size_t o = 0; o < projection->n_outputs; o += ATTN_LANES) {
    size_t left = projection->n_outputs - o;

    for (size_t frame = 0; frame < n_frames; frame++)
      project_panel (out + frame * out_stride + o, left < ATTN_LANES ? left : ATTN_LANES, in + frame * in_stride,
                     projection->n_inputs, projection->weight + o * projection->n_inputs, projection->bias + o);
  }
}

static void
scores (float *out, const float *query, const float *keys, size_t dk, size_t n_tiles)
{
  for (size_t tile = 0; tile < n_tiles; tile++) {
    float acc[ATTN_LANES] = { 0 };

    for (size_t d = 0; d < dk; d++, keys += ATTN_LANES)
      LANES acc[lane] = fmaf (keys[lane], query[d], acc[lane]);
    LANES out[tile * ATTN_LANES + lane] = acc[lane];
  }
}

/*
 * 2^x for x <= 0. x = n + r, n whole, |r| <= 1/2: 2^r by a polynomial (coefficients and error, 2^-27:
 * tests/golden/exp2.py), times 2^n by adding n to the exponent. Adding 1.5 * 2^23 leaves n in the low bits of the sum,
 * rounded to nearest even.
 */
static inline float
exp2_negative (float x)
{
  const float shift = 0x1.8p23f;
  float sum = x + shift, r = x - (sum - shift), p = 0x1.4b107ep-13f;
  uint32_t p_bits, n_bits;

  p = fmaf (p, r, 0x1.5fb504p-10f);
  p = fmaf (p, r, 0x1.3b21cap-7f);
  p = fmaf (p, r, 0x1.c6ada8p-5f);
  p = fmaf (p, r, 0x1.ebfbe6p-3f);
  p = fmaf (p, r, 0x1.62e432p-1f);
  p = fmaf (p, r, 1.0f);
  memcpy (&p_bits, &p, sizeof p);
  memcpy (&n_bits, &sum, sizeof sum);
  p_bits += n_bits << 23;
  memcpy (&p, &p_bits, sizeof p);
  p = x < -126.0f ? 0.0f : p;
  return x != x ? NAN : p;
}

/*
 * 2^-y - 1 for y >= 0, without the cancellation near y = 0: with -y = n + r, n whole, it is 2^n (2^r - 1) + (2^n - 1),
 * and 2^r - 1 a polynomial without constant term (coefficients and error, 2^-26: tests/golden/softcap.py).
 */
static inline float
exp2m1_negative (float y)
{
  const float shift = 0x1.8p23f;
  float sum, r, power, p = 0x1.426feep-13f;
  uint32_t bits;

  y = y > 64.0f ? 64.0f : y; /* far beyond where 2^-y is lost beside 1; keeps 2^n in range */
  sum = shift - y;
  r = -y - (sum - shift);
  p = fmaf (p, r, 0x1.5ef4a2p-10f);
  p = fmaf (p, r, 0x1.3b2c60p-7f);
  p = fmaf (p, r, 0x1.c6af9ep-5f);
  p = fmaf (p, r, 0x1.ebfbdep-3f);
  p = fmaf (p, r, 0x1.62e430p-1f);
  memcpy (&bits, &sum, sizeof sum);
  bits = (bits << 23) + 0x3f800000;
  memcpy (&power, &bits, sizeof bits);
  return fmaf (power, p * r, power - 1.0f);
}

static void
softcap (float *scores, float factor, float cap, size_t n_tiles)
{
  for (size_t i = 0; i < n_tiles * ATTN_LANES; i++) {
    float e = exp2m1_negative (fabsf (scores[i]) * factor);

    scores[i] = copysignf (cap * (-e / (2.0f + e)), scores[i]);
  }
}

static float
softmax (float *scores, const uint16_t *masks, size_t n_tiles)
{
  float max[ATTN_LANES], sum[ATTN_LANES] = { 0 };

  LANES max[lane] = -INFINITY;
  for (size_t tile = 0; tile < n_tiles; tile++) {
    float *s = scores + tile * ATTN_LANES;

    LANES s[lane] = masks[tile] >> lane & 1 ? s[lane] : -INFINITY;
    LANES max[lane] = s[lane] > max[lane] ? s[lane] : max[lane];
  }
  for (int half = ATTN_LANES / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; lane++)
      max[lane] = max[lane + half] > max[lane] ? max[lane + half] : max[lane];

  for (size_t tile = 0; tile < n_tiles; tile++) {
    float *s = scores + tile * ATTN_LANES;

    LANES s[lane] = masks[tile] >> lane & 1 ? exp2_negative (s[lane] - max[0]) : 0.0f;
    LANES sum[lane] += s[lane];
  }
  for (int half = ATTN_LANES / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; lane++)
      sum[lane] += sum[lane + half];
  return sum[0];
}

/* One tile, ATTN_LANES elements of the context. */
static inline void
context_panel (float *context, const float *weights, uint32_t mask, const float *values, size_t dv_padded)
{
  float acc[ATTN_LANES];

  LANES acc[lane] = context[lane];
  for (int frame = 0; frame < ATTN_LANES; frame++)
    if (mask >> frame & 1)
      LANES acc[lane] = fmaf (values[frame * dv_padded + lane], weights[frame], acc[lane]);
  LANES context[lane] = acc[lane];
}

static void
context (float *out, const float *weights, const uint16_t *masks, const float *values, size_t dv_padded, size_t n_tiles)
{
  for (size_t tile = 0; tile < n_tiles; tile++, weights += ATTN_LANES, values += ATTN_LANES * dv_padded)
    for (size_t d = 0; d < dv_padded; d += ATTN_LANES)
      context_panel (out + d, weights, masks[tile], values + d, dv_padded);
}

static inline void
rotate_pair (float *x, float *y, float c, float s)
{
  float turned_x = fmaf (-*y, s, *x * c), turned_y = fmaf (*x, s, *y * c);

  *x = clean (turned_x);
  *y = clean (turned_y);
}

static void
rotate (float *values, const float *cosines, const float *sines, size_t n_pairs, AttnRopeLayout layout)
{
  if (layout == ATTN_ROPE_HALF)
    for (size_t i = 0; i < n_pairs; i++)
      rotate_pair (&values[i], &values[i + n_pairs], cosines[i], sines[i]);
  else
    for (size_t i = 0; i < n_pairs; i++)
      rotate_pair (&values[2 * i], &values[2 * i + 1], cosines[i], sines[i]);
}

static void
add_biases (float *scores, const float *biases, size_t n_tiles)
{
  for (size_t i = 0; i < n_tiles * ATTN_LANES; i++)
    scores[i] += biases[i];
}

#ifdef ATTN_KERNELS_C_FMA
const AttnKernels attn_kernels_c_fma = {
  "c-fma", scale, project, scores, softcap, softmax, context, rotate, add_biases,
};
#else
const AttnKernels attn_kernels_c = {
  "c", scale, project, scores, softcap, softmax, context, rotate, add_biases,
};
#endif
