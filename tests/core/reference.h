/*
 * The reference of the core's tests: attention as attn.h states it, naively, in float64, together with a bound of how
 * far a correct float32 implementation may be away from it.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The bound is a running error analysis (Higham, Accuracy and Stability of Numerical Algorithms, section 3.3): each
 * quantity carries the largest error that float32 arithmetic in any order can give it. With u = 2^-24:
 *   a chain of n fma                     n u / (1 - n u) times the sum of the absolute products; n + 2 times u times
 *                                        the guard that it starts from, and, where the products are not far larger, two
 *                                        more roundings: of the bias with the guard, and of the sum without it
 *   2^x as in src/kernels/kernels_c.c            4 u relative: 2^-27 of the polynomial, the rest its evaluation
 *   softcap tanh (x / softcap)           11 u relative: 7 u as derived in tests/core/kernels-rows.c, and a rounding of
 *                                        each of the two constants and of the two products with them
 *   a value flushed for being denormal   2^-126
 *   a rotated value of RoPE              4 u of the length of its pair: the angle's sine and cosine, the product, the
 *                                        fma; the fourth for the products of these
 *   a key or value in 16 bits            its unit of rounding, 2^-11 or 2^-8, relative; in f16 at least 2^-25. A
 *                                        rotated key: of the length of its pair
 *   n products by a matrix unit          (matrix.h) each is off by 3 v^2 (1 + 2 v), v = 2^-8 being that of bf16: two
 *                                        operands that lose v^2 each, and low low, which is left out. Then a sum,
 *                                        in any order, of 3 n, and denormals in it become 0
 *   a norm of n values                   with e the largest error of a value less the mean: the square of the divisor
 *                                        is off by 2 sqrt (variance) e + e^2 and n + 6 roundings of itself; where that
 *                                        is less than half of it, the divisor by no more than as much relative to it;
 *                                        a normalised value is at most sqrt (n); four more roundings
 *   a bias of the scores                 4 u relative: the slope, the product with distance and log2 (e); the rest is
 *                                        reserve
 *
 * RoPE is not computed as the core does it: a key is turned against its query by the angle of their distance, which is
 * a small whole number, so that the reference is as good at frame 2^63 as at frame 0.
 */
#ifndef TESTS_CORE_REFERENCE_H
#define TESTS_CORE_REFERENCE_H

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "blocks/attention_sizes.h"
#include "kernels/kernels.h"
#include "parameters/model.h"

#define UNIT 0x1p-24
#define FLUSHED 0x1p-126
#define SOFTCAP_UNITS 11

typedef struct {
  double value, error;
} Bounded;

static inline double
gamma_n (size_t n)
{
  return n * UNIT / (1 - n * UNIT);
}

/* The error of a sum of n products; `magnitude` is the sum of their magnitudes. */
static inline double
reference_chain (const AttnSizes *s, size_t n, double magnitude)
{
  const double v = 0x1p-8;

  if (!s->is_split)
    return gamma_n (n) * magnitude;
  return (gamma_n (3 * n) * (1 + 3 * v) + 3 * v * v * (1 + 2 * v)) * magnitude + 3 * n * FLUSHED;
}

/* The error of starting that sum from the guard. */
static inline double
reference_guard (size_t n, double magnitude)
{
  return (n + 2) * UNIT * ATTN_GUARD + (magnitude < 0x1p40 * ATTN_GUARD ? 2 * UNIT * magnitude : 0);
}

/* The most that storing changes a value of this magnitude. */
static inline double
reference_storing (AttnPrecision precision, double magnitude)
{
  if (precision == ATTN_PRECISION_F16)
    return fmax (0x1p-11 * magnitude, 0x1p-25);
  return precision == ATTN_PRECISION_BF16 ? 0x1p-8 * magnitude : 0;
}

/* A parameter as it is stored: exactly. */
static inline double
reference_parameter (AttnPrecision precision, float value)
{
  if (precision == ATTN_PRECISION_F16)
    return attn_float_from_f16 (attn_f16_from_float (value));
  return precision == ATTN_PRECISION_BF16 ? attn_float_from_bf16 (attn_bf16_from_float (value)) : value;
}

/* out = weight in + bias for one frame; `linear` without weight is the identity. */
static inline void
reference_linear (Bounded *out, const AttnLinear *linear, const AttnSizes *s, const Bounded *in, size_t n)
{
  if (linear == NULL || linear->weight == NULL) {
    memcpy (out, in, n * sizeof *out);
    return;
  }
  for (size_t o = 0; o < linear->n_outputs; o++) {
    double sum = linear->bias ? linear->bias[o] : 0, magnitude = fabs (sum), error = 0;

    for (size_t i = 0; i < linear->n_inputs; i++) {
      double w = reference_parameter (s->precision, linear->weight[o * linear->n_inputs + i]);

      sum += w * in[i].value;
      magnitude += fabs (w) * (fabs (in[i].value) + in[i].error);
      error += fabs (w) * in[i].error;
    }
    error += reference_guard (linear->n_inputs + 1, magnitude);
    out[o] = (Bounded){ sum, error + reference_chain (s, linear->n_inputs + 1, magnitude) + FLUSHED };
  }
}

/* Normalises `n` values in place. The largest error and the largest magnitude stand for those of all values. */
static inline void
reference_norm (const AttnSizes *s, const AttnNormVectors *norm, Bounded *x, size_t n)
{
  double mean = 0, variance = 0, error = 0, largest = 0, divisor, relative;

  for (size_t i = 0; i < n; i++) {
    mean += s->qk_norm == ATTN_QK_NORM_LAYER ? x[i].value / n : 0;
    error = fmax (error, x[i].error);
    largest = fmax (largest, fabs (x[i].value) + x[i].error);
  }
  error = 2 * error + 2 * gamma_n (n + 3) * largest + 2 * reference_guard (n, largest) + 2 * FLUSHED;
  for (size_t i = 0; i < n; i++)
    variance += (x[i].value - mean) * (x[i].value - mean) / n;
  divisor = sqrt (variance + (double) s->qk_norm_eps);
  relative = (2 * sqrt (variance) * error + error * error + reference_guard (n, largest * largest) + FLUSHED)
                 / (divisor * divisor)
             + gamma_n (n + 6);
  for (size_t i = 0; i < n; i++) {
    double y = (x[i].value - mean) / divisor, w = norm->weight[i], b = norm->bias != NULL ? norm->bias[i] : 0;
    double off = relative < 0.5 ? error / divisor * (1 + relative) + fabs (y) * relative : 2 * sqrt ((double) n);

    x[i].value = y * w + b;
    x[i].error = fabs (w) * off + 4 * UNIT * (fabs (y * w) + fabs (w) * off + fabs (b)) + FLUSHED * (1 + fabs (w))
                 + reference_guard (1, fabs (y * w) + fabs (b));
  }
}

static inline void
reference_norms (const AttnSizes *s, const AttnModel *model, Bounded *q, Bounded *k)
{
  if (model == NULL || s->qk_norm == ATTN_QK_NORM_NONE)
    return;
  for (size_t h = 0; h < s->n_heads; h++)
    reference_norm (s, &model->query_norm, q + h * s->dk, s->dk);
  for (size_t h = 0; h < s->n_kv_heads; h++)
    reference_norm (s, &model->key_norm, k + h * s->dk, s->dk);
}

static inline bool
reference_is_in_window (const AttnSizes *s, uint64_t t, uint64_t j)
{
  if (s->chunk != 0)
    return j / s->chunk <= t / s->chunk && j / s->chunk + s->chunks >= t / s->chunk;
  return j + s->window > t && j <= t + s->look_ahead;
}

static inline bool
reference_attends (const AttnSizes *s, uint64_t t, uint64_t j)
{
  return reference_is_in_window (s, t, j) || (j < s->n_sinks && j <= t);
}

static inline size_t
reference_slot (const AttnSizes *s, uint64_t t, uint64_t j)
{
  return reference_is_in_window (s, t, j) ? s->n_sinks + (j + s->window - 1 - t) : j;
}

/* softcap tanh (score / softcap); 0 = off. Its slope is at most 1. */
static inline void
reference_softcap (Bounded *score, double softcap)
{
  if (softcap == 0)
    return;
  score->value = softcap * tanh (score->value / softcap);
  score->error += SOFTCAP_UNITS * UNIT * fabs (score->value);
}

/* The angle of pair `i` over `distance` frames, in long double: good to 2^-40 for distances below 2^20. */
static inline long double
reference_angle (const AttnSizes *s, size_t i, int64_t distance)
{
  return distance * powl (s->rope_base, -(long double) i / s->n_rope_pairs);
}

/*
 * Adds q_i . R (distance) k_i of pair `i` to the score, to its bound, and to the magnitude that the chain's error is
 * proportional to.
 */
static inline void
reference_rotated_pair (const AttnSizes *s, size_t i, const Bounded *q, const Bounded *k, int64_t distance,
                        Bounded *score, double *magnitude)
{
  bool half = s->rope_layout == ATTN_ROPE_HALF;
  size_t x = half ? i : 2 * i, y = half ? i + s->n_rope_pairs : 2 * i + 1;
  double c = (double) cosl (reference_angle (s, i, distance)), sine = (double) sinl (reference_angle (s, i, distance));
  double length_q = hypot (fabs (q[x].value) + q[x].error, fabs (q[y].value) + q[y].error);
  double length_k = hypot (fabs (k[x].value) + k[x].error, fabs (k[y].value) + k[y].error);
  /* Of one value of the pair; by Cauchy and Schwarz no combination with a sine and a cosine is longer than the pair. */
  double error_q = hypot (q[x].error, q[y].error) + 4 * UNIT * length_q + reference_guard (2, length_q) + FLUSHED;
  double error_k = hypot (k[x].error, k[y].error) + 4 * UNIT * length_k + reference_guard (2, length_k) + FLUSHED
                   + reference_storing (s->precision, length_k);

  score->value += q[x].value * (c * k[x].value - sine * k[y].value);
  score->value += q[y].value * (sine * k[x].value + c * k[y].value);
  score->error += sqrt (2) * (length_q * error_k + error_q * length_k) + 2 * error_q * error_k;
  *magnitude += (length_q + 2 * error_q) * (length_k + 2 * error_k);
}

/* The bias of the score of frame j for frame t. */
static inline double
reference_bias (const AttnSizes *s, const AttnModel *model, size_t head, uint64_t t, uint64_t j)
{
  size_t lower = 1, n = s->window + s->look_ahead;
  double distance = j < t ? t - j : j - t;

  if (s->position == ATTN_POSITION_RELATIVE)
    return j + s->window > t ? model->relative_bias.values[head * n + (j + s->window - 1 - t)] : 0;
  if (s->position != ATTN_POSITION_ALIBI)
    return 0;
  while (2 * lower <= s->n_heads)
    lower *= 2;
  return -distance * exp2 (head < lower ? -8.0 * (head + 1) / lower : -4.0 * (2 * (head - lower) + 1) / lower);
}

/* scale query . key, by distance where there are positions; [dk] each. */
static inline Bounded
reference_score (const AttnSizes *s, const AttnModel *model, const Bounded *q, const Bounded *k, size_t head,
                 uint64_t t, uint64_t j, double scale, double softcap)
{
  Bounded score = { 0 };
  double magnitude = 0, length_k = 0, bias = reference_bias (s, model, head, t, j);

  for (size_t d = 0; d < s->dk; d++)
    length_k += fabs (k[d].value) + k[d].error;
  for (size_t i = 0; i < s->n_rope_pairs; i++)
    reference_rotated_pair (s, i, q, k, (int64_t) (j - t), &score, &magnitude);
  for (size_t d = 2 * s->n_rope_pairs; d < s->dk; d++) {
    double error_k = k[d].error + reference_storing (s->precision, fabs (k[d].value) + k[d].error);

    score.value += q[d].value * k[d].value;
    score.error += fabs (q[d].value) * error_k + q[d].error * (fabs (k[d].value) + error_k);
    magnitude += (fabs (q[d].value) + q[d].error) * (fabs (k[d].value) + error_k);
  }
  /* The chain, and two roundings of the query (the factor itself, and the product with it, which may become 0). */
  score.value *= scale;
  score.error = scale * (score.error + reference_chain (s, s->dk, magnitude) + 3 * UNIT * magnitude) + s->dk * FLUSHED;
  score.error += FLUSHED * length_k + reference_guard (s->dk, scale * magnitude);
  reference_softcap (&score, softcap);
  /* The bias, and the rounding of the sum with it. */
  score.value += bias;
  score.error += bias != 0 ? 4 * UNIT * fabs (bias) + UNIT * (fabs (score.value) + score.error) + FLUSHED : 0;
  return score;
}

/* One head of frame t: its context and weights. Rows of q, k, v: [n][...]; frames are first ... first + n - 1. */
static inline void
reference_head (const AttnSizes *s, const AttnModel *model, const Bounded *q, const Bounded *k, const Bounded *v,
                const uint8_t *present, size_t n, uint64_t first, uint64_t t, size_t head, double scale, double softcap,
                Bounded *context, Bounded *weights)
{
  size_t kv = head / s->heads_per_kv, n_keys = 0;
  Bounded *score = calloc (n, sizeof *score);
  double max = -INFINITY, error = 0, sum = 0, relative;

  for (size_t j = 0; j < n; j++) {
    if (!reference_attends (s, t, first + j) || (present && !present[j]))
      continue;
    score[j] = reference_score (s, model, q, k + j * s->n_key + kv * s->dk, head, t, first + j, scale, softcap);
    max = fmax (max, score[j].value);
    error = fmax (error, score[j].error + UNIT * fabs (score[j].value));
    n_keys++;
  }
  /*
   * Every weight is exp (score - max) over the sum of the same: two differences, two exponentials, the sum, the
   * reciprocal.
   */
  relative = exp (4 * error + 4 * UNIT * fabs (max)) * (1 + 10 * UNIT + gamma_n (n_keys)) - 1;
  memset (context, 0, s->dv * sizeof *context);
  memset (weights, 0, s->span * sizeof *weights);
  for (size_t j = 0; j < n; j++)
    if (reference_attends (s, t, first + j) && (!present || present[j]))
      sum += exp (score[j].value - max);
  for (size_t j = 0; j < n; j++) {
    double w;

    if (!reference_attends (s, t, first + j) || (present && !present[j]))
      continue;
    w = exp (score[j].value - max) / sum;
    /* Scores far below the largest one become 0 (below 2^-126). */
    weights[reference_slot (s, t, first + j)] = (Bounded){ w, w * relative + 0x1p-125 };
    for (size_t d = 0; d < s->dv; d++) {
      Bounded value = v[j * s->n_value + kv * s->dv + d];

      value.error += reference_storing (s->precision, fabs (value.value) + value.error);
      context[d].value += w * value.value;
      context[d].error += w * value.error + (w * relative + 0x1p-125) * (fabs (value.value) + value.error)
                          + reference_chain (s, n_keys + 2, w * (fabs (value.value) + value.error));
      context[d].error += reference_guard (1, w * (fabs (value.value) + value.error));
    }
  }
  for (size_t d = 0; d < s->dv; d++)
    context[d].error += FLUSHED;
  free (score);
}

/* out [n][n_outputs], weights [n][n_heads][span]. `model` NULL: parameter-free. */
static inline void
reference_forward (const AttnSizes *s, const AttnModel *model, double scale, double softcap, const float *frames,
                   const uint8_t *present, size_t n, uint64_t first, Bounded *out, Bounded *weights)
{
  Bounded *x = calloc (s->n_features, sizeof *x), *context = calloc (s->n_context, sizeof *context);
  Bounded *q = calloc (n * s->n_query, sizeof *q), *k = calloc (n * s->n_key, sizeof *k);
  Bounded *v = calloc (n * s->n_value, sizeof *v);

  for (size_t i = 0; i < n; i++) {
    for (size_t d = 0; d < s->n_features; d++)
      x[d] = (Bounded){ frames[i * s->n_features + d], FLUSHED };
    reference_linear (q + i * s->n_query, model ? &model->query : NULL, s, x, s->n_query);
    reference_linear (k + i * s->n_key, model ? &model->key : NULL, s, x, s->n_key);
    reference_linear (v + i * s->n_value, model ? &model->value : NULL, s, x, s->n_value);
    reference_norms (s, model, q + i * s->n_query, k + i * s->n_key);
  }
  for (size_t i = 0; i < n; i++) {
    for (size_t h = 0; h < s->n_heads; h++)
      reference_head (s, model, q + i * s->n_query + h * s->dk, k, v, present, n, first, first + i, h, scale, softcap,
                      context + h * s->dv, weights + (i * s->n_heads + h) * s->span);
    reference_linear (out + i * s->n_outputs, model ? &model->output : NULL, s, context, s->n_context);
    if (present && !present[i]) {
      memset (out + i * s->n_outputs, 0, s->n_outputs * sizeof *out);
      memset (weights + i * s->n_heads * s->span, 0, s->n_heads * s->span * sizeof *weights);
    }
  }
  free (x);
  free (context);
  free (q);
  free (k);
  free (v);
}

#endif
