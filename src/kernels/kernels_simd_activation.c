/*
 * libattn: activations, as kernels_c_activation.c has them. Each is a long chain of steps, and each step waits for the
 * one before: so several vectors run side by side. The build tells the compiler to mix their steps.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/kernels_simd.h"

#define VECTORS_AT_ONCE (LANES_ROOM >= 24 ? 4 : 1)

#define ZERO lanes_set (0)

LANES_INLINE Lanes
none (Lanes x)
{
  return x;
}

LANES_INLINE Lanes
relu (Lanes x)
{
  return lanes_select (lanes_less (x, ZERO), ZERO, x);
}

LANES_INLINE Lanes
magnitude_up_to (Lanes x, float far)
{
  Lanes magnitude = lanes_abs (x), most = lanes_set (far);

  return lanes_select (lanes_less (magnitude, most), magnitude, most);
}

LANES_INLINE Lanes
normal_tail (Lanes a)
{
  const Lanes shift = lanes_set (0x1.8p23f), minus_high = lanes_set (-0x1.715476p-1f);
  const Lanes middle = lanes_set (0x1.0c7bb6p-2f);
  Lanes b = flush (a, 0x1p-30f), square = lanes_mul (b, b), rest = lanes_fma (b, b, lanes_sub (ZERO, square));
  Lanes sum = lanes_fma (square, minus_high, shift), r = lanes_fma (square, minus_high, lanes_sub (shift, sum));
  Lanes t = lanes_div (lanes_set (1), lanes_fma (a, lanes_set (0.25f), lanes_set (1)));
  Lanes u = lanes_fma (a, t, lanes_set (-1.25f)), p = lanes_set (0x1.32300ep-21f), whole, q;

  r = lanes_fma (rest, minus_high, lanes_fma (square, lanes_set (-0x1.4ae0cp-27f), r));
  p = lanes_fma (p, u, lanes_set (0x1.0350cep-21f));
  p = lanes_fma (p, u, lanes_set (-0x1.9e547cp-16f));
  p = lanes_fma (p, u, lanes_set (0x1.125816p-15f));
  p = lanes_fma (p, u, lanes_set (0x1.087fb2p-10f));
  p = lanes_fma (p, u, lanes_set (-0x1.21d23ap-7f));
  p = lanes_fma (p, u, lanes_set (0x1.4d2106p-5f));
  p = lanes_fma (p, u, lanes_set (-0x1.fb00a8p-4f));
  whole = lanes_fma (p, u, middle);
  rest = lanes_fma (p, u, lanes_sub (middle, whole));
  q = lanes_mul (t, whole);
  rest = lanes_fma (t, rest, lanes_fma (t, whole, lanes_sub (ZERO, q)));
  return lanes_add_exponent (lanes_add (q, lanes_fma (q, lanes_mul (exp2_slope (r), r), rest)), sum);
}

LANES_INLINE Lanes
gelu (Lanes x)
{
  Lanes a, tail, minus_a, positive;

  x = flush (x, ATTN_HALF_IS_NORMAL);
  a = magnitude_up_to (x, ATTN_GELU_FAR);
  tail = normal_tail (a);
  minus_a = lanes_sub (ZERO, a);
  positive = lanes_fma (minus_a, tail, x);
  minus_a = lanes_mul (lanes_select (lanes_less (a, lanes_set (ATTN_GELU_FAR)), minus_a, ZERO), tail);
  return lanes_select (lanes_less (x, ZERO), minus_a, positive);
}

LANES_INLINE Lanes
one_plus_exp2 (Lanes r, Lanes sum)
{
  const Lanes one = lanes_set (1);
  Lanes power = lanes_add_exponent (one, sum), slope = lanes_mul (exp2_slope (r), r);
  LanesMask is_large = lanes_less (lanes_set (0x1p23f), power);
  Lanes first = lanes_select (is_large, one, lanes_add (one, power)), last = lanes_select (is_large, power, ZERO);

  return lanes_add (lanes_fma (power, slope, first), last);
}

LANES_INLINE Lanes
one_plus_exp (Lanes x, float least)
{
  const Lanes shift = lanes_set (0x1.8p23f), high = lanes_set (-0x1.715476p0f), low = lanes_set (-0x1.4ae0cp-26f);
  Lanes most = lanes_set (30), sum;

  x = lanes_select (lanes_less (x, most), x, most);
  x = flush (lanes_max (x, lanes_set (least)), 0x1p-30f);
  sum = lanes_fma (x, high, shift);
  return one_plus_exp2 (lanes_fma (x, low, lanes_fma (x, high, lanes_sub (shift, sum))), sum);
}

LANES_INLINE Lanes
one_plus_exp_of_gelu_tanh (Lanes x)
{
  const Lanes shift = lanes_set (0x1.8p23f), first = lanes_set (0x1.26aec2p1f), factor = lanes_set (0x1.a5a7dp-4f);
  Lanes b = flush (x, 0x1p-30f), square = lanes_mul (b, b), square_rest = lanes_fma (b, b, lanes_sub (ZERO, square));
  Lanes second = lanes_mul (factor, square), second_rest = lanes_fma (factor, square, lanes_sub (ZERO, second));
  Lanes w = lanes_add (first, second), w_rest = lanes_sub (second, lanes_sub (w, first)), v, v_rest, sum;

  second_rest = lanes_fma (lanes_set (-0x1.151aacp-29f), square, lanes_fma (factor, square_rest, second_rest));
  w_rest = lanes_add (w_rest, lanes_add (second_rest, lanes_set (0x1.bce75ap-27f)));
  v = lanes_mul (b, w);
  v_rest = lanes_fma (b, w_rest, lanes_fma (b, w, lanes_sub (ZERO, v)));
  sum = lanes_sub (shift, v);
  return one_plus_exp2 (lanes_sub (lanes_sub (lanes_sub (shift, sum), v), v_rest), sum);
}

LANES_INLINE Lanes
gelu_tanh (Lanes x)
{
  const Lanes far = lanes_set (-ATTN_GELU_TANH_FAR);
  Lanes a;

  x = flush (x, ATTN_HALF_IS_NORMAL);
  a = lanes_copysign (magnitude_up_to (x, ATTN_GELU_TANH_FAR), x);
  return lanes_select (lanes_less (far, a), lanes_div (x, one_plus_exp_of_gelu_tanh (a)), ZERO);
}

LANES_INLINE Lanes
silu (Lanes x)
{
  Lanes quotient = lanes_div (flush (x, ATTN_HALF_IS_NORMAL), one_plus_exp (x, -ATTN_SILU_FAR));

  return lanes_select (lanes_less (x, lanes_set (-ATTN_SILU_FAR)), ZERO, quotient);
}

LANES_INLINE Lanes
hyperbolic_tangent (Lanes x)
{
  const Lanes one = lanes_set (1), two = lanes_set (2);
  Lanes a = lanes_abs (x), b = flush (a, 0x1p-30f), square = lanes_mul (b, b);
  Lanes u = exp_negative (lanes_mul (lanes_set (-2), a)), p = lanes_set (-0x1.750ce2p-8f);
  Lanes far = lanes_sub (one, lanes_div (lanes_mul (two, u), lanes_add (one, u)));

  p = lanes_fma (p, square, lanes_set (0x1.51f8cep-6f));
  p = lanes_fma (p, square, lanes_set (-0x1.b835a4p-5f));
  p = lanes_fma (p, square, lanes_set (0x1.1106f6p-3f));
  p = lanes_fma (p, square, lanes_set (-0x1.555532p-2f));
  p = lanes_fma (p, lanes_mul (a, square), a);
  return lanes_copysign (lanes_select (lanes_less (a, lanes_set (0.625f)), p, far), x);
}

LANES_INLINE Lanes
sigmoid (Lanes x)
{
  Lanes quotient = lanes_div (lanes_set (1), one_plus_exp (x, ATTN_LEAST_EXPONENT));

  quotient = lanes_select (lanes_less (x, lanes_set (ATTN_LEAST_EXPONENT)), ZERO, quotient);
  return lanes_select (lanes_is_nan (x), x, quotient);
}

#define ACTIVATE(function)                                                                   \
  {                                                                                          \
    size_t i = 0;                                                                            \
                                                                                             \
    for (; i + VECTORS_AT_ONCE * N_LANES <= n; i += VECTORS_AT_ONCE * N_LANES) {             \
      Lanes x[VECTORS_AT_ONCE];                                                              \
                                                                                             \
      EACH (v, VECTORS_AT_ONCE) x[v] = clean (function (lanes_load (in + i + v * N_LANES))); \
      EACH (v, VECTORS_AT_ONCE) lanes_store (out + i + v * N_LANES, x[v]);                   \
    }                                                                                        \
    for (; i < n; i += N_LANES)                                                              \
      store_first (out + i, clean (function (load_first (in + i, n - i))), n - i);           \
  }

void
SIMD (activate) (float *out, const float *in, size_t n, AttnActivation activation)
{
  switch (activation) {
  case ATTN_ACTIVATION_RELU:
    ACTIVATE (relu)
    break;
  case ATTN_ACTIVATION_GELU:
    ACTIVATE (gelu)
    break;
  case ATTN_ACTIVATION_GELU_TANH:
    ACTIVATE (gelu_tanh)
    break;
  case ATTN_ACTIVATION_SILU:
    ACTIVATE (silu)
    break;
  case ATTN_ACTIVATION_TANH:
    ACTIVATE (hyperbolic_tangent)
    break;
  case ATTN_ACTIVATION_SIGMOID:
    ACTIVATE (sigmoid)
    break;
  default:
    ACTIVATE (none)
    break;
  }
}
