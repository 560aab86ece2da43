/*
 * libattn: the kernels in plain C, which all others must equal to the bit. They are for readers, and for processors
 * that have no others. The contracts stand in kernels.h. Compiled for the baseline of the architecture, where fmaf ()
 * may be a slow call.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/kernels_c.h"

#include <string.h>

static void
scale (float *out, const float *in, float factor, size_t n)
{
  float limit = attn_smallest_factor (factor);

  for (size_t i = 0; i < n; i++)
    out[i] = clean (attn_flush (in[i], limit) * factor);
}

static bool
all_below (const float *values, size_t n, float limit)
{
  for (size_t i = 0; i < n; i++)
    if (!(fabsf (values[i]) < limit))
      return false;
  return true;
}

static void
narrow (uint16_t *out, const float *in, size_t n, AttnPrecision precision)
{
  for (size_t i = 0; i < n; i++)
    out[i] = precision == ATTN_PRECISION_F16 ? attn_f16_from_float (in[i]) : attn_bf16_from_float (in[i]);
}

static void
store (const AttnTiles *tiles, size_t lane, const float *keys, const float *values, size_t stride, size_t n_frames)
{
  size_t dk = tiles->dk, dv = tiles->dv;

  for (size_t h = 0; h < tiles->n_heads; h++)
    for (size_t i = 0; i < n_frames; i++) {
      for (size_t d = 0; d < dk; d++)
        tiles->keys[h * tiles->key_stride + d * ATTN_LANES + lane + i] = keys[i * stride + h * dk + d];
      for (size_t d = 0; d < dv; d++)
        tiles->values[h * tiles->value_stride + (lane + i) * dv + d] = values[i * stride + h * dv + d];
    }
}

static float
project_output (const float *in, const AttnProjection *projection, size_t output)
{
  size_t panel = projection->panel, n_inputs = projection->n_inputs;
  AttnPrecision precision = projection->precision;
  size_t first = output / panel * panel * attn_stored_rows (n_inputs, precision);
  float acc = projection->start[output];

  for (size_t i = 0; i < n_inputs; i++) {
    size_t at = first + attn_stored_index (i, panel, output % panel, precision);

    acc = fmaf (attn_stored_value (projection->weight, at, precision), in[i], acc);
  }
  return clean (acc - ATTN_GUARD);
}

static void
project (float *out, size_t out_stride, const float *in, size_t in_stride, size_t n_frames,
         const AttnProjection *projection)
{
  for (size_t frame = 0; frame < n_frames; frame++)
    for (size_t o = 0; o < projection->n_outputs; o++)
      out[frame * out_stride + o] = project_output (in + frame * in_stride, projection, o);
}

static void
score_tile (float *scores, const float *query, const void *keys, size_t first, size_t dk, AttnPrecision precision)
{
  float acc[ATTN_LANES];

  LANES acc[lane] = ATTN_GUARD;
  for (size_t d = 0; d < dk; d++)
    LANES
    {
      size_t at = first + attn_stored_index (d, ATTN_LANES, lane, precision);

      acc[lane] = fmaf (attn_stored_value (keys, at, precision), query[d], acc[lane]);
    }
  memcpy (scores, acc, sizeof acc);
}

static void
scores (const AttnRows *rows, const float *queries, size_t query_stride, const void *keys, size_t key_stride, size_t dk)
{
  for (size_t r = 0; r < rows->n_rows; r++)
    for (size_t tile = 0; tile < rows->n_tiles; tile++)
      score_tile (rows->scores + r * rows->score_stride + tile * ATTN_LANES, queries + r * query_stride, keys,
                  r * key_stride + rows->slots[tile] * attn_stored_rows (dk, rows->precision) * ATTN_LANES, dk,
                  rows->precision);
}

/* 2^x for x <= 0; 0 below 2^-126. Adding 1.5 * 2^23 leaves x, rounded to nearest even, in the low bits of the sum. */
static inline float
exp2_negative (float x)
{
  const float shift = 0x1.8p23f;
  float sum = x + shift, p = exp2_sum (x - (sum - shift), sum);

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

/* Below the limit the softcap leaves a score as it is: tanh (x) is x there. The 4 leaves room for the steps after y. */
static void
softcap (float *scores, float factor, float cap, size_t n_tiles)
{
  float limit = 4 * attn_smallest_factor (factor);

  for (size_t i = 0; i < n_tiles * ATTN_LANES; i++) {
    float score = scores[i] - ATTN_GUARD, x = attn_flush (score, limit), e = exp2m1_negative (fabsf (x) * factor);

    if (x != 0)
      scores[i] = fmaf (cap, copysignf (-e / (2.0f + e), score), ATTN_GUARD);
  }
}

static float
softmax_row (float *scores, const uint16_t *masks, size_t n_tiles)
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

static void
softmax (const AttnRows *rows)
{
  for (size_t r = 0; r < rows->n_rows; r++)
    rows->reciprocals[r] =
        1 / softmax_row (rows->scores + r * rows->score_stride, rows->masks + r * rows->mask_stride, rows->n_tiles);
}

/* Element `d` of the context of row `r`, whose values begin at `first`, plus the guard, before the division. */
static float
mix_values (const AttnRows *rows, size_t r, const void *values, size_t first, size_t width, size_t d)
{
  float acc = ATTN_GUARD;

  for (size_t tile = 0; tile < rows->n_tiles; tile++)
    LANES
    {
      size_t frame = rows->slots[tile] * ATTN_LANES + lane;

      if (rows->masks[r * rows->mask_stride + tile] >> lane & 1)
        acc = fmaf (
            attn_stored_value (values, first + attn_stored_index (frame, width, d, rows->precision), rows->precision),
            rows->scores[r * rows->score_stride + tile * ATTN_LANES + lane], acc);
    }
  return acc;
}

static void
context (const AttnRows *rows, float *contexts, size_t context_stride, const void *values, size_t value_stride,
         size_t dv)
{
  for (size_t r = 0; r < rows->n_rows; r++) {
    float *out = contexts + r * context_stride;

    for (size_t d = 0; d < dv; d++)
      out[d] = mix_values (rows, r, values, r * value_stride, dv, d) - ATTN_GUARD;
    scale (out, out, rows->reciprocals[r], dv);
  }
}

static inline void
rotate_pair (float *x, float *y, float c, float s)
{
  float turned_x = fmaf (-*y, s, fmaf (*x, c, ATTN_GUARD)), turned_y = fmaf (*x, s, fmaf (*y, c, ATTN_GUARD));

  *x = clean (turned_x - ATTN_GUARD);
  *y = clean (turned_y - ATTN_GUARD);
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

const AttnKernels attn_kernels_c = {
  .name = "c",
  .scale = scale,
  .all_below = all_below,
  .narrow = narrow,
  .store = store,
  .project = project,
  .scores = scores,
  .softcap = softcap,
  .softmax = softmax,
  .context = context,
  .rotate = rotate,
  .add_biases = add_biases,
  .activate = attn_activate_c,
  .softmax_frames = attn_softmax_frames_c,
  .norm = attn_norm_c,
  .affine = attn_affine_c,
  .multiply = attn_multiply_c,
  .add = attn_add_c,
  .convolve = attn_convolve_c,
};
