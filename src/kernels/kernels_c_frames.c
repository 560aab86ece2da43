/*
 * libattn: frames in plain C: norms, softmax, and operations on single values.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/kernels_c.h"

/* The sum of 16 lanes, which are overwritten. */
static float
sum_of (float *lanes)
{
  for (int half = ATTN_LANES / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; lane++)
      lanes[lane] += lanes[lane + half];
  return lanes[0];
}

/* The same, divided by n, without the guard that each lane started from. */
static float
mean_of (float *lanes, size_t n)
{
  LANES lanes[lane] -= ATTN_GUARD;
  return attn_mean (sum_of (lanes), n);
}

/* x less m, 0 where it is tiny: it is squared or multiplied next. */
static inline float
difference (float x, float m)
{
  return attn_flush (x - m, 0x1p-126f);
}

static float
mean_of_frame (const float *in, size_t n)
{
  float lanes[ATTN_LANES];

  LANES lanes[lane] = ATTN_GUARD;
  for (size_t i = 0; i < n; i++)
    lanes[i % ATTN_LANES] += in[i];
  return mean_of (lanes, n);
}

static float
mean_square (const float *in, float m, size_t n)
{
  float lanes[ATTN_LANES];

  LANES lanes[lane] = ATTN_GUARD;
  for (size_t i = 0; i < n; i++) {
    float d = difference (in[i], m);

    lanes[i % ATTN_LANES] = fmaf (d, d, lanes[i % ATTN_LANES]);
  }
  return mean_of (lanes, n);
}

void
attn_norm_c (float *out, const float *in, size_t n_frames, const AttnNorm *norm)
{
  size_t n = norm->width;

  for (size_t frame = 0; frame < n_frames; frame++, in += n, out += n) {
    float m = norm->is_rms ? 0 : mean_of_frame (in, n), v = mean_square (in, m, n);
    float r = 1 / sqrtf (v + norm->eps), limit = attn_smallest_factor (r);

    for (size_t i = 0; i < n; i++) {
      float d = attn_flush (difference (in[i], m), limit);

      out[i] = clean (fmaf (d * r, norm->weight[i], norm->start[i]) - ATTN_GUARD);
    }
  }
}

/*
 * x = 2^e m, sqrt (1/2) <= m < sqrt (2); log m = 2 atanh (s), s = (m - 1) / (m + 1): its series, with an error of
 * 2^-54. Computed in double, once per frame.
 */
double
attn_logarithm (float x)
{
  const double log_2 = 0.69314718055994529;
  uint32_t bits = attn_float_bits (x), above = bits - 0x3f3504f3; /* sqrt (1/2) */
  int exponent = (int) (above >> 23);
  double m = attn_bits_float (bits - ((uint32_t) exponent << 23)), s = (m - 1) / (m + 1), z = s * s, sum = 0;

  if (!(x >= 1 && x < INFINITY))
    return x == INFINITY ? INFINITY : NAN;
  for (int i = 19; i > 1; i -= 2)
    sum = z * (sum + 1.0 / i);
  return exponent * log_2 + 2 * s * (1 + sum);
}

void
attn_softmax_frames_c (float *out, const float *in, size_t n_frames, size_t width, bool is_log)
{
  for (size_t frame = 0; frame < n_frames; frame++, in += width, out += width) {
    float max = -INFINITY, lanes[ATTN_LANES] = { 0 }, sum, logarithm, limit;

    for (size_t i = 0; i < width; i++)
      max = in[i] > max ? in[i] : max;
    for (size_t i = 0; i < width; i++) {
      float d = difference (in[i], max), e = exp_negative (d);

      lanes[i % ATTN_LANES] += e;
      out[i] = is_log ? d : e;
    }
    sum = sum_of (lanes);
    logarithm = (float) attn_logarithm (sum);
    limit = attn_smallest_factor (1 / sum);
    for (size_t i = 0; i < width; i++)
      out[i] = clean (is_log ? out[i] - logarithm : attn_flush (out[i], limit) * (1 / sum));
  }
}

void
attn_affine_c (float *out, const float *in, const float *weight, const float *start, size_t n)
{
  for (size_t i = 0; i < n; i++)
    out[i] = clean (fmaf (in[i], weight[i], start[i]) - ATTN_GUARD);
}

void
attn_multiply_c (float *out, const float *a, const float *b, size_t n)
{
  for (size_t i = 0; i < n; i++)
    out[i] = clean (fmaf (a[i], b[i], ATTN_GUARD) - ATTN_GUARD);
}

void
attn_add_c (float *out, const float *a, const float *b, size_t n)
{
  for (size_t i = 0; i < n; i++)
    out[i] = clean (a[i] + b[i]);
}

void
attn_convolve_c (float *out, const float *in, size_t n_frames, const AttnConvolution *convolution)
{
  size_t width = convolution->width, n_bins = convolution->n_bins;

  for (size_t frame = 0; frame < n_frames; frame++, in += convolution->frame_stride, out += width)
    for (size_t i = 0; i < width; i++) {
      const float *weight = convolution->weight + i;
      float acc = convolution->start[i];

      for (size_t tap = 0; tap < convolution->n_taps; tap++)
        for (size_t bin = 0; bin < n_bins; bin++, weight += width)
          acc = fmaf (*weight, in[tap * convolution->tap_stride + bin * width + i], acc);
      out[i] = clean (acc - ATTN_GUARD);
    }
}
