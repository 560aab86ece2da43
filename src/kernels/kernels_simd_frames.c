/*
 * libattn: frames: norms, softmax, and operations on single values, as in kernels_c_frames.c. A sum over a frame is one
 * chain in each lane, and each step waits for the one before: so several frames run side by side.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/kernels_simd.h"

#define FRAMES_AT_ONCE 4

/* x in the first n lanes, `other` behind them. */
LANES_INLINE Lanes
first_or (Lanes x, size_t n, float other)
{
  return n >= N_LANES ? x : lanes_select (lanes_mask ((uint16_t) ((1u << n) - 1)), x, lanes_set (other));
}

LANES_INLINE Lanes
difference (Lanes x, float m)
{
  x = lanes_sub (x, lanes_set (m));
  return lanes_select (lanes_is_tiny (x), lanes_set (0), x);
}

/* ---- norm ---- */

/* means [n_frames] of the values, or of the squares of the values less m. */
LANES_INLINE void
find_means (float *means, const float *in, size_t width, const int n_frames)
{
  Lanes sum[FRAMES_AT_ONCE];

  EACH (f, n_frames) sum[f] = lanes_set (ATTN_GUARD);
  for (size_t i = 0; i < width; i += N_LANES)
    EACH (f, n_frames) sum[f] = lanes_add (sum[f], load_first (in + f * width + i, width - i));
  EACH (f, n_frames) means[f] = attn_mean (lanes_sum (without_guard (sum[f])), width);
}

LANES_INLINE void
find_mean_squares (float *squares, const float *in, const float *m, size_t width, const int n_frames)
{
  Lanes sum[FRAMES_AT_ONCE];

  EACH (f, n_frames) sum[f] = lanes_set (ATTN_GUARD);
  for (size_t i = 0; i < width; i += N_LANES)
    EACH (f, n_frames)
    {
      Lanes d = first_or (difference (load_first (in + f * width + i, width - i), m[f]), width - i, 0);

      sum[f] = lanes_fma (d, d, sum[f]);
    }
  EACH (f, n_frames) squares[f] = attn_mean (lanes_sum (without_guard (sum[f])), width);
}

LANES_INLINE void
norm_frames (float *out, const float *in, const AttnNorm *norm, const int n_frames)
{
  float m[FRAMES_AT_ONCE] = { 0 }, v[FRAMES_AT_ONCE];
  size_t width = norm->width;

  if (!norm->is_rms)
    find_means (m, in, width, n_frames);
  find_mean_squares (v, in, m, width, n_frames);
  EACH (f, n_frames)
  {
    float r = 1 / sqrtf (v[f] + norm->eps), limit = attn_smallest_factor (r);

    for (size_t i = 0; i < width; i += N_LANES) {
      Lanes d = flush (difference (load_first (in + f * width + i, width - i), m[f]), limit);
      Lanes weight = load_first (norm->weight + i, width - i), start = load_first (norm->start + i, width - i);

      d = lanes_fma (lanes_mul (d, lanes_set (r)), weight, start);
      store_first (out + f * width + i, clean (without_guard (d)), width - i);
    }
  }
}

void
SIMD (norm) (float *out, const float *in, size_t n_frames, const AttnNorm *norm)
{
  size_t frame = 0;

  for (; frame + FRAMES_AT_ONCE <= n_frames; frame += FRAMES_AT_ONCE)
    norm_frames (out + frame * norm->width, in + frame * norm->width, norm, FRAMES_AT_ONCE);
  for (; frame < n_frames; frame++)
    norm_frames (out + frame * norm->width, in + frame * norm->width, norm, 1);
}

/* ---- softmax ---- */

LANES_INLINE float
greatest (const float *in, size_t width)
{
  Lanes max = lanes_set (-INFINITY);

  for (size_t i = 0; i < width; i += N_LANES)
    max = lanes_max (first_or (load_first (in + i, width - i), width - i, -INFINITY), max);
  return lanes_greatest (max);
}

/* out = e^(in - max), or in - max; returns the sum of the exponentials. */
LANES_INLINE float
to_exponentials (float *out, const float *in, size_t width, float max, const bool is_log)
{
  Lanes sum = lanes_set (0);

  for (size_t i = 0; i < width; i += N_LANES) {
    Lanes d = difference (load_first (in + i, width - i), max), e = exp_negative (d);

    sum = lanes_add (sum, first_or (e, width - i, 0));
    store_first (out + i, is_log ? d : e, width - i);
  }
  return lanes_sum (sum);
}

static void
subtract (float *values, size_t n, float what)
{
  for (size_t i = 0; i < n; i += N_LANES)
    store_first (values + i, clean (lanes_sub (load_first (values + i, n - i), lanes_set (what))), n - i);
}

void
SIMD (softmax_frames) (float *out, const float *in, size_t n_frames, size_t width, bool is_log)
{
  for (size_t frame = 0; frame < n_frames; frame++, in += width, out += width) {
    float max = greatest (in, width);

    if (is_log)
      subtract (out, width, (float) attn_logarithm (to_exponentials (out, in, width, max, true)));
    else
      simd_scale (out, out, 1 / to_exponentials (out, in, width, max, false), width);
  }
}

/* ---- value by value ---- */

void
SIMD (affine) (float *out, const float *in, const float *weight, const float *start, size_t n)
{
  for (size_t i = 0; i < n; i += N_LANES) {
    Lanes x = load_first (in + i, n - i), w = load_first (weight + i, n - i), s = load_first (start + i, n - i);

    store_first (out + i, clean (without_guard (lanes_fma (x, w, s))), n - i);
  }
}

void
SIMD (multiply) (float *out, const float *a, const float *b, size_t n)
{
  const Lanes guard = lanes_set (ATTN_GUARD);

  for (size_t i = 0; i < n; i += N_LANES) {
    Lanes product = lanes_fma (load_first (a + i, n - i), load_first (b + i, n - i), guard);

    store_first (out + i, clean (without_guard (product)), n - i);
  }
}

void
SIMD (add) (float *out, const float *a, const float *b, size_t n)
{
  for (size_t i = 0; i < n; i += N_LANES)
    store_first (out + i, clean (lanes_add (load_first (a + i, n - i), load_first (b + i, n - i))), n - i);
}

/* ---- convolutions ---- */

/* They read memory more than they compute, so a tile is several vectors, too: a loop over taps for each costs more. */
#define VECTORS_AT_ONCE (LANES_ROOM >= 24 ? 4 : 2)

/*
 * The next values of several outputs, from `i` on. `full`: there are n_vectors of them; else the last may be short. The
 * weights are loaded once for all frames.
 */
LANES_INLINE void
convolve_tile (float *out, const float *in, const AttnConvolution *convolution, size_t i, const int n_frames,
               const int n_vectors, const bool full)
{
  const size_t width = convolution->width, n = full ? n_vectors * N_LANES : width - i;
  const float *weight = convolution->weight + i;
  Lanes acc[FRAMES_AT_ONCE][VECTORS_AT_ONCE], w[VECTORS_AT_ONCE];

  EACH (v, n_vectors) w[v] = load_first (convolution->start + i + v * N_LANES, n - v * N_LANES);
  EACH (f, n_frames) EACH (v, n_vectors) acc[f][v] = w[v];
  for (size_t tap = 0; tap < convolution->n_taps; tap++, in += convolution->tap_stride) {
    const float *x = in;

    for (size_t bin = 0; bin < convolution->n_bins; bin++, weight += width, x += width) {
      EACH (v, n_vectors) w[v] = load_first (weight + v * N_LANES, n - v * N_LANES);
      EACH (f, n_frames)
      EACH (v, n_vectors)
      acc[f][v] =
          lanes_fma (w[v], load_first (x + f * convolution->frame_stride + v * N_LANES, n - v * N_LANES), acc[f][v]);
    }
  }
  EACH (f, n_frames)
  EACH (v, n_vectors)
  store_first (out + f * width + v * N_LANES, clean (without_guard (acc[f][v])), n - v * N_LANES);
}

/* The values from `i` on of all outputs. */
LANES_INLINE void
convolve_vectors (float *out, const float *in, size_t n_frames, const AttnConvolution *convolution, size_t i,
                  const int n_vectors, const bool full)
{
  const size_t width = convolution->width, stride = convolution->frame_stride;
  size_t frame = 0;

  for (; frame + FRAMES_AT_ONCE <= n_frames; frame += FRAMES_AT_ONCE)
    convolve_tile (out + frame * width + i, in + frame * stride + i, convolution, i, FRAMES_AT_ONCE, n_vectors, full);
  for (; frame + 2 <= n_frames; frame += 2)
    convolve_tile (out + frame * width + i, in + frame * stride + i, convolution, i, 2, n_vectors, full);
  if (frame < n_frames)
    convolve_tile (out + frame * width + i, in + frame * stride + i, convolution, i, 1, n_vectors, full);
}

void
SIMD (convolve) (float *out, const float *in, size_t n_frames, const AttnConvolution *convolution)
{
  const size_t width = convolution->width, at_once = VECTORS_AT_ONCE * N_LANES;
  const bool fits = LANES_ROOM >= 24 || n_frames < FRAMES_AT_ONCE; /* into the registers */
  size_t i = 0;

  for (; fits && i + at_once <= width; i += at_once)
    convolve_vectors (out, in, n_frames, convolution, i, VECTORS_AT_ONCE, true);
  for (; i + N_LANES <= width; i += N_LANES)
    convolve_vectors (out, in, n_frames, convolution, i, 1, true);
  if (i < width)
    convolve_vectors (out, in, n_frames, convolution, i, 1, false);
}
