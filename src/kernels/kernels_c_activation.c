/*
 * libattn: activations in plain C. Coefficients and their errors: tests/golden/activation.py.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/kernels_c.h"

static inline float
relu (float x)
{
  return x < 0 ? 0 : x;
}

/*
 * The magnitude of x, or `far` if x is beyond it or a NaN: computations with the result stay in range, and the caller
 * chooses by x.
 */
static inline float
magnitude_up_to (float x, float far)
{
  float magnitude = fabsf (x);

  return magnitude < far ? magnitude : far;
}

/*
 * Phi (-a), 0 <= a <= ATTN_GELU_FAR: the tail of the normal distribution, e^(-a^2 / 2) t R (u) with t = 1 / (1 + a / 4)
 * and u = a t - 5/4. The square and log2 (e) / 2 are kept to 48 bits. So is t R, until it is multiplied by 2^r - 1:
 * none of them is rounded alone.
 */
static inline float
normal_tail (float a)
{
  const float shift = 0x1.8p23f, high = 0x1.715476p-1f, low = 0x1.4ae0cp-27f, middle = 0x1.0c7bb6p-2f;
  float b = attn_flush (a, 0x1p-30f), square = b * b, rest = fmaf (b, b, -square);
  float sum = fmaf (square, -high, shift), r = fmaf (square, -high, -(sum - shift));
  float t = 1 / fmaf (a, 0.25f, 1), u = fmaf (a, t, -1.25f), p = 0x1.32300ep-21f, whole, q;

  r = fmaf (rest, -high, fmaf (square, -low, r));
  p = fmaf (p, u, 0x1.0350cep-21f);
  p = fmaf (p, u, -0x1.9e547cp-16f);
  p = fmaf (p, u, 0x1.125816p-15f);
  p = fmaf (p, u, 0x1.087fb2p-10f);
  p = fmaf (p, u, -0x1.21d23ap-7f);
  p = fmaf (p, u, 0x1.4d2106p-5f);
  p = fmaf (p, u, -0x1.fb00a8p-4f);
  whole = fmaf (p, u, middle);
  rest = fmaf (p, u, middle - whole);
  q = t * whole;
  rest = fmaf (t, rest, fmaf (t, whole, -q));
  return add_exponent (q + fmaf (q, exp2_slope (r) * r, rest), sum);
}

/* x Phi (x): x Phi (-|x|) for negative x, else x - x Phi (-|x|). */
static inline float
gelu (float x)
{
  float a, tail;

  x = attn_flush (x, ATTN_HALF_IS_NORMAL);
  a = magnitude_up_to (x, ATTN_GELU_FAR);
  tail = normal_tail (a);
  if (x < 0)
    return a < ATTN_GELU_FAR ? -a * tail : 0;
  return fmaf (-a, tail, x);
}

/*
 * 1 + 2^(n + r), n the low bits of `sum`, |n| <= 126. 2^(n + r) is not rounded by itself; and where 1 + 2^n would be
 * rounded, 2^n is added last.
 */
static inline float
one_plus_exp2 (float r, float sum)
{
  float power = add_exponent (1, sum), slope = exp2_slope (r) * r;

  return power > 0x1p23f ? fmaf (power, slope, 1) + power : fmaf (power, slope, 1 + power);
}

/* 1 + e^-x, for x from `least` to 30, above which it is 1 */
static inline float
one_plus_exp (float x, float least)
{
  const float shift = 0x1.8p23f, high = 0x1.715476p0f, low = 0x1.4ae0cp-26f;
  float sum, r;

  x = x < 30 ? x : 30;
  x = attn_flush (x > least ? x : least, 0x1p-30f);
  sum = fmaf (x, -high, shift);
  r = fmaf (x, -low, fmaf (x, -high, -(sum - shift)));
  return one_plus_exp2 (r, sum);
}

/*
 * 1 + e^-v with v = sqrt (8 / pi) (x + 0.044715 x^3), |x| <= ATTN_GELU_TANH_FAR. The sum runs in units of log2 (e), to
 * 48 bits: the error of v counts once more for each unit of v. Where the second term is larger than the first, the
 * error of the sum does not show.
 */
static inline float
one_plus_exp_of_gelu_tanh (float x)
{
  const float shift = 0x1.8p23f, first = 0x1.26aec2p1f, first_rest = 0x1.bce75ap-27f;
  const float factor = 0x1.a5a7dp-4f, factor_rest = -0x1.151aacp-29f;
  float b = attn_flush (x, 0x1p-30f), square = b * b, square_rest = fmaf (b, b, -square);
  float second = factor * square, second_rest = fmaf (factor, square, -second), w, w_rest, v, v_rest, sum;

  second_rest = fmaf (factor_rest, square, fmaf (factor, square_rest, second_rest));
  w = first + second;
  w_rest = (second - (w - first)) + (second_rest + first_rest);
  v = b * w;
  v_rest = fmaf (b, w_rest, fmaf (b, w, -v));
  sum = shift - v;
  return one_plus_exp2 ((shift - sum - v) - v_rest, sum);
}

/* x sigmoid (v), as a quotient */
static inline float
gelu_tanh (float x)
{
  float a;

  x = attn_flush (x, ATTN_HALF_IS_NORMAL);
  a = copysignf (magnitude_up_to (x, ATTN_GELU_TANH_FAR), x);
  return a > -ATTN_GELU_TANH_FAR ? x / one_plus_exp_of_gelu_tanh (a) : 0;
}

static inline float
silu (float x)
{
  float quotient = attn_flush (x, ATTN_HALF_IS_NORMAL) / one_plus_exp (x, -ATTN_SILU_FAR);

  return x < -ATTN_SILU_FAR ? 0 : quotient;
}

/* Up to 5/8 x + x^3 S (x^2); then 1 - 2 u / (1 + u), u = e^-2|x|. */
static inline float
hyperbolic_tangent (float x)
{
  float a = fabsf (x), b = attn_flush (a, 0x1p-30f), square = b * b, u = exp_negative (-2 * a), p = -0x1.750ce2p-8f;

  p = fmaf (p, square, 0x1.51f8cep-6f);
  p = fmaf (p, square, -0x1.b835a4p-5f);
  p = fmaf (p, square, 0x1.1106f6p-3f);
  p = fmaf (p, square, -0x1.555532p-2f);
  p = fmaf (p, a * square, a);
  return copysignf (a < 0.625f ? p : 1 - 2 * u / (1 + u), x);
}

static inline float
sigmoid (float x)
{
  float quotient = 1 / one_plus_exp (x, ATTN_LEAST_EXPONENT);

  quotient = x < ATTN_LEAST_EXPONENT ? 0 : quotient;
  return x != x ? x : quotient;
}

static inline float
activation_of (float x, AttnActivation activation)
{
  switch (activation) {
  case ATTN_ACTIVATION_RELU:
    return relu (x);
  case ATTN_ACTIVATION_GELU:
    return gelu (x);
  case ATTN_ACTIVATION_GELU_TANH:
    return gelu_tanh (x);
  case ATTN_ACTIVATION_SILU:
    return silu (x);
  case ATTN_ACTIVATION_TANH:
    return hyperbolic_tangent (x);
  case ATTN_ACTIVATION_SIGMOID:
    return sigmoid (x);
  default:
    return x;
  }
}

void
attn_activate_c (float *out, const float *in, size_t n, AttnActivation activation)
{
  for (size_t i = 0; i < n; i++)
    out[i] = clean (activation_of (in[i], activation));
}
