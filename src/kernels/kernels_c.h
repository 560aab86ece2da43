/*
 * libattn: the code that the kernels in plain C share. The contracts stand in kernels.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   kernels_c.c              projections and attention
 *   kernels_c_frames.c       sums over a frame, and operations on single values
 *   kernels_c_activation.c   activations
 */
#ifndef ATTN_SRC_KERNELS_C_H
#define ATTN_SRC_KERNELS_C_H

#include <string.h>

#include "kernels/kernels.h"

#ifdef __FAST_MATH__
#error "these kernels promise bits: not with -ffast-math"
#endif

#define LANES for (int lane = 0; lane < ATTN_LANES; lane++)

/* Works on the bits: compilers do not reason about which NaN it is, and no denormal takes the slow path. */
static inline float
clean (float x)
{
  const uint32_t smallest_normal = 0x00800000, infinity = 0x7f800000, the_nan = 0x7fc00000;
  uint32_t bits = attn_float_bits (x), magnitude = bits & 0x7fffffff;

  bits = magnitude < smallest_normal ? 0 : bits;
  return attn_bits_float (magnitude > infinity ? the_nan : bits);
}

/* (2^r - 1) / r, |r| <= 1/2; coefficients, and the error of 2^r, 2^-27: tests/golden/exp2.py. */
static inline float
exp2_slope (float r)
{
  float p = 0x1.4b107ep-13f;

  p = fmaf (p, r, 0x1.5fb504p-10f);
  p = fmaf (p, r, 0x1.3b21cap-7f);
  p = fmaf (p, r, 0x1.c6ada8p-5f);
  p = fmaf (p, r, 0x1.ebfbe6p-3f);
  return fmaf (p, r, 0x1.62e432p-1f);
}

/* x 2^n, n the low bits of `sum`; of normal numbers. */
static inline float
add_exponent (float x, float sum)
{
  return attn_bits_float (attn_float_bits (x) + (attn_float_bits (sum) << 23));
}

/* 2^(n + r), n the low bits of `sum`, |r| <= 1/2, n + r >= -126 */
static inline float
exp2_sum (float r, float sum)
{
  return add_exponent (fmaf (exp2_slope (r), r, 1), sum);
}

/*
 * e^x for x <= 0; 0 below 2^-126. x log2 (e) = n + r, with log2 (e) to 48 bits: with 24 bits the error would be about
 * |x| last places.
 */
static inline float
exp_negative (float x)
{
  const float shift = 0x1.8p23f, high = 0x1.715476p0f, low = 0x1.4ae0cp-26f;
  float y = x > ATTN_LEAST_EXPONENT ? x : ATTN_LEAST_EXPONENT; /* a compiler may compute on before it chooses */
  float sum = fmaf (y, high, shift), r = fmaf (y, low, fmaf (y, high, -(sum - shift))), p = exp2_sum (r, sum);

  p = x < ATTN_LEAST_EXPONENT ? 0.0f : p;
  return x != x ? NAN : p;
}

void attn_activate_c (float *out, const float *in, size_t n, AttnActivation activation);
void attn_softmax_frames_c (float *out, const float *in, size_t n_frames, size_t width, bool is_log);
void attn_norm_c (float *out, const float *in, size_t n_frames, const AttnNorm *norm);
void attn_affine_c (float *out, const float *in, const float *weight, const float *start, size_t n);
void attn_multiply_c (float *out, const float *a, const float *b, size_t n);
void attn_add_c (float *out, const float *a, const float *b, size_t n);
void attn_convolve_c (float *out, const float *in, size_t n_frames, const AttnConvolution *convolution);

#endif
