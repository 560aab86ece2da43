/*
 * The error of storing parameters, keys and values in 16 bits, against float64: a bound for any layer, and the rounder
 * one that attn.h gives for layers of some width.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Let u be the unit of rounding, 2^-11 or 2^-8. Stored are Wq, Wk, Wv and Wo, and each key and value: each of these
 * changes a product by u of itself at most. Let S be the largest score of a frame as if nothing cancelled, scale times
 * the sum of |q_d| |k_d|, each of these being itself a sum of magnitudes. Then a score is off by 3 u S (Wq, Wk, the
 * key), and a weight, a quotient of exponentials, by exp (6 u S) - 1, relative. A product Wo w_j value_j is off by 3 u
 * more (Wv, the value, Wo). So an output is off by
 *
 *   (exp (6 u S) (1 + u)^3 - 1) M,   M = sum of |Wo| w_j |value_j| as if nothing cancelled, the biases bv among them,
 *
 * which is (3 + 6 S) u M to first order. The errors of float32 come on top. They are at most 2^-13 times as large,
 * except for longer sums; here they get one part in 256. Where there are many products, their errors cancel as the
 * products do. (RoPE turns large products into small ones: its bound is in reference.h. Values below 2^-14 in f16 are
 * off by 2^-25, which is far below this bound.)
 */
#include <math.h>

#include "check.h"
#include "layers.h"

#define N_RANDOM random_rounds (500) /* layers */
#define N_FRAMES 40
#define MAX_WIDTH 48
#define OF_FLOAT32 (1 + 0x1p-8)

/* A value in float64, and the value that it would have if nothing cancelled. */
typedef struct {
  double value, magnitude;
} Sum;

static Sum
linear_output (const AttnLinear *linear, size_t o, const Sum *in)
{
  double bias = linear->bias != NULL ? linear->bias[o] : 0;
  Sum sum = { bias, fabs (bias) };

  for (size_t i = 0; i < linear->n_inputs; i++) {
    sum.value += (double) linear->weight[o * linear->n_inputs + i] * in[i].value;
    sum.magnitude += fabs ((double) linear->weight[o * linear->n_inputs + i]) * in[i].magnitude;
  }
  return sum;
}

static Sum *
project (const AttnLinear *linear, const float *frames, size_t n)
{
  Sum *out = malloc (n * linear->n_outputs * sizeof *out), *in = malloc (linear->n_inputs * sizeof *in);

  for (size_t t = 0; t < n; t++) {
    for (size_t i = 0; i < linear->n_inputs; i++)
      in[i] = (Sum){ frames[t * linear->n_inputs + i], fabs (frames[t * linear->n_inputs + i]) };
    for (size_t o = 0; o < linear->n_outputs; o++)
      out[t * linear->n_outputs + o] = linear_output (linear, o, in);
  }
  free (in);
  return out;
}

static Sum
score (const Sum *query, const Sum *key, size_t dk)
{
  Sum sum = { 0 };

  for (size_t d = 0; d < dk; d++) {
    sum.value += query[d].value * key[d].value;
    sum.magnitude += query[d].magnitude * key[d].magnitude;
  }
  return (Sum){ sum.value / sqrt (dk), sum.magnitude / sqrt (dk) };
}

/* The context of a head for the newest of `n` frames, queries and keys `strides` apart; returns S. */
static double
attend (Sum *context, const AttnSizes *s, const Sum *query, const Sum *keys, const Sum *values, size_t n)
{
  double weights[N_FRAMES], sum = 0, largest = 0;

  for (size_t j = 0; j < n; j++) {
    Sum product = score (query, keys + j * s->n_key, s->dk);

    sum += weights[j] = exp (product.value);
    largest = fmax (largest, product.magnitude);
  }
  for (size_t d = 0; d < s->dv; d++) {
    context[d] = (Sum){ 0 };
    for (size_t j = 0; j < n; j++) {
      context[d].value += weights[j] / sum * values[j * s->n_value + d].value;
      context[d].magnitude += weights[j] / sum * values[j * s->n_value + d].magnitude;
    }
  }
  return largest;
}

/* The results of a layer. */
typedef struct {
  double of_bound;   /* the largest error of an output, in units of its bound */
  double of_largest; /* in units of rounding of the largest output */
} Measured;

static Measured
compare (const AttnLayer *layer, const AttnModel *model, const float *frames, const float *out, double u)
{
  const AttnSizes *s = &attn_layer_first (layer)->sizes;
  Sum *q = project (&model->query, frames, N_FRAMES), *k = project (&model->key, frames, N_FRAMES);
  Sum *v = project (&model->value, frames, N_FRAMES), *context = malloc (s->n_context * sizeof *context);
  Measured m = { 0 };
  double largest = 0, largest_error = 0;

  for (size_t t = 0; t < N_FRAMES; t++) {
    size_t n = t < s->window ? t + 1 : s->window, first = t + 1 - n;
    double S = 0;

    for (size_t h = 0; h < s->n_heads; h++)
      S = fmax (S, attend (context + h * s->dv, s, q + t * s->n_query + h * s->dk, k + first * s->n_key + h * s->dk,
                           v + first * s->n_value + h * s->dv, n));
    for (size_t o = 0; o < s->n_outputs; o++) {
      Sum expected = linear_output (&model->output, o, context);
      double error = fabs (out[t * s->n_outputs + o] - expected.value);

      m.of_bound =
          fmax (m.of_bound, error / ((exp (6 * u * S) * pow (1 + u, 3) - 1) * OF_FLOAT32 * expected.magnitude));
      largest_error = fmax (largest_error, error);
      largest = fmax (largest, fabs (expected.value));
    }
  }
  m.of_largest = largest_error / (u * largest);
  free (q);
  free (k);
  free (v);
  free (context);
  return m;
}

/* A random layer of that shape over random frames of variance 1. */
static Measured
measure (uint32_t n_features, uint32_t heads, uint32_t dk, uint32_t dv, uint32_t n_outputs, AttnPrecision precision)
{
  float frames[N_FRAMES * MAX_WIDTH], out[N_FRAMES * MAX_WIDTH];
  bool bias = random_between (0, 1);
  AttnModel model = { .name = (char *) "model",
                      .query = random_linear (heads * dk, n_features, bias, 1),
                      .key = random_linear (heads * dk, n_features, bias, 1),
                      .value = random_linear (heads * dv, n_features, bias, 1),
                      .output = random_linear (n_outputs, heads * dv, false, 1) };
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;
  Measured m;

  config.n_heads = heads;
  config.window = random_between (1, N_FRAMES);
  config.precision = precision;
  MUST (attn_layer_new (&config, &model, &layer, NULL));
  random_fill (frames, N_FRAMES * n_features, sqrtf (3));
  MUST (attn_forward (layer, frames, NULL, N_FRAMES, 0, out, NULL, NULL));
  m = compare (layer, &model, frames, out, precision == ATTN_PRECISION_F16 ? 0x1p-11 : 0x1p-8);
  attn_layer_free (layer);
  free_linear (&model.query);
  free_linear (&model.key);
  free_linear (&model.value);
  free_linear (&model.output);
  return m;
}

TEST (error_of_sixteen_bits_is_within_the_bound_of_any_layer)
{
  double worst = 0;

  for (int i = 0; i < N_RANDOM; i++)
    for (AttnPrecision p = ATTN_PRECISION_F16; p <= ATTN_PRECISION_BF16; p++) {
      Measured m = measure (random_between (1, 4), random_between (1, 3), random_between (1, 4), random_between (1, 12),
                            random_between (1, 3), p);

      CHECK_MSG (m.of_bound <= 1, "layer %d, precision %d: %g of the bound", i, p, m.of_bound);
      worst = fmax (worst, m.of_bound);
    }
  printf ("# largest error %.2f of the bound\n", worst);
  CHECK (worst > 0.1); /* otherwise the bound would say nothing */
}

/* The bound is for the worst case. Of frames of one value 3 layers in 16 are beyond 2 u of the largest output, of 8
 * values one in 120. */
TEST (error_of_sixteen_bits_is_mostly_two_units_from_eight_values_on)
{
  for (AttnPrecision p = ATTN_PRECISION_F16; p <= ATTN_PRECISION_BF16; p++) {
    int n_beyond = 0;

    for (int i = 0; i < N_RANDOM; i++) {
      uint32_t heads = random_between (1, 4), d = random_between (8 / heads, MAX_WIDTH / heads);

      d = heads * d >= 8 ? d : d + 1;
      n_beyond += measure (heads * d, heads, d, d, heads * d, p).of_largest > 2;
    }
    CHECK_MSG (n_beyond <= N_RANDOM / 50 + 2, "precision %d: %d of %d layers", p, n_beyond, N_RANDOM);
  }
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (error_of_sixteen_bits_is_within_the_bound_of_any_layer);
  RUN (error_of_sixteen_bits_is_mostly_two_units_from_eight_values_on);
  return check_done ();
}
