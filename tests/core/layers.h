/*
 * Random layers for the core's tests, of every kind that the core knows.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_LAYERS_H
#define TESTS_CORE_LAYERS_H

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "stream/layer.h"
#include "parameters/model.h"
#include "random.h"

static inline AttnLinear
random_linear (uint32_t n_outputs, uint32_t n_inputs, bool bias, float gain)
{
  AttnLinear linear = { .n_outputs = n_outputs, .n_inputs = n_inputs };

  linear.weight = malloc (sizeof (float) * n_outputs * n_inputs);
  random_fill (linear.weight, (size_t) n_outputs * n_inputs, gain * sqrtf (3.0f / n_inputs));
  if (bias) {
    linear.bias = malloc (sizeof (float) * n_outputs);
    random_fill (linear.bias, n_outputs, 0.1f * gain);
  }
  return linear;
}

static inline void
free_linear (AttnLinear *linear)
{
  free (linear->weight);
  free (linear->bias);
}

static inline void
free_norm_vectors (AttnNormVectors *norm)
{
  free (norm->weight);
  free (norm->bias);
}

/* A configuration and, mostly, a model for it. */
typedef struct {
  AttnConfig config;
  AttnModel *model; /* or NULL */
  AttnLayer *layer;
} RandomLayer;

/* Half of the layers have positions: RoPE if the head has a pair, the trained bias if there is a model. */
static inline void
random_position (RandomLayer *r, uint32_t dk)
{
  static const double bases[] = { 10000, 500000, 1, 7.5 };
  uint32_t n = r->config.window + r->config.look_ahead, heads = r->config.n_heads;

  r->config.position = random_between (0, 1) == 0 ? ATTN_POSITION_NONE : random_between (1, 3);
  if (r->config.position == ATTN_POSITION_ROPE && dk < 2)
    r->config.position = ATTN_POSITION_NONE;
  if (r->config.position == ATTN_POSITION_ROPE) {
    r->config.rope_layout = random_between (0, 1);
    r->config.rope_base = bases[random_between (0, 3)];
    r->config.rope_dimensions = dk % 2 == 0 && random_between (0, 1) ? 0 : 2 * random_between (1, dk / 2);
  }
  if (r->config.position == ATTN_POSITION_RELATIVE && (r->model == NULL || r->config.chunk != ATTN_UNSET))
    r->config.position = ATTN_POSITION_ALIBI;
  if (r->config.position == ATTN_POSITION_RELATIVE) {
    r->model->relative_bias = (AttnRelativeBias){ heads, n, malloc (sizeof (float) * heads * n) };
    random_fill (r->model->relative_bias.values, (size_t) heads * n, 3);
  }
}

static inline AttnNormVectors
random_norm_vectors (uint32_t dk, bool bias)
{
  AttnNormVectors norm = { dk, malloc (sizeof (float) * dk), bias ? malloc (sizeof (float) * dk) : NULL };

  random_fill (norm.weight, dk, 1.5f);
  if (bias)
    random_fill (norm.bias, dk, 0.5f);
  return norm;
}

/* A quarter of the layers with a model normalise queries and keys. */
static inline void
random_norm (RandomLayer *r, uint32_t dk)
{
  bool is_layer = random_between (0, 1);

  if (r->model == NULL || random_between (0, 3) != 0)
    return;
  r->config.qk_norm = is_layer ? ATTN_QK_NORM_LAYER : ATTN_QK_NORM_RMS;
  r->config.qk_norm_eps = random_between (0, 1) ? 1e-5 : 0.25;
  r->model->query_norm = random_norm_vectors (dk, is_layer && random_between (0, 1));
  r->model->key_norm = random_norm_vectors (dk, is_layer && random_between (0, 1));
}

/* A window, or chunks. */
static inline void
random_window (RandomLayer *r)
{
  if (random_between (0, 4) == 0) {
    r->config.chunk = random_between (1, random_between (0, 1) ? 5 : 40);
    r->config.chunks = random_between (0, 3);
    return;
  }
  r->config.window = random_between (0, 3) == 0 ? random_between (1, 3) : random_between (1, 70);
  r->config.look_ahead = random_between (0, 1) == 0 ? 0 : random_between (1, 40);
}

static inline RandomLayer
random_layer_of (AttnArithmetic arithmetic)
{
  RandomLayer r = { .config = attn_config_default () };
  uint32_t kv_heads = random_between (1, 3), dk, dv, heads;
  AttnError error;

  random_window (&r);
  r.config.n_sinks = random_between (0, 1) == 0 ? 0 : random_between (1, 37);
  if (random_between (0, 3) == 0) {
    r.config.n_heads = random_between (1, 4);
    dk = random_between (1, 33);
    r.config.n_features = r.config.n_heads * dk;
  } else {
    float gain = random_between (0, 3) == 0 ? 3 : 1;

    heads = kv_heads * random_between (1, 3);
    dk = random_between (1, 33);
    dv = random_between (0, 1) ? dk : random_between (1, 33);
    r.config.n_features = random_between (1, 50);
    r.config.n_heads = heads;
    r.config.n_kv_heads = kv_heads;
    r.model = calloc (1, sizeof *r.model);
    r.model->name = (char *) "random";
    r.model->query = random_linear (heads * dk, r.config.n_features, random_between (0, 1), gain);
    r.model->key = random_linear (kv_heads * dk, r.config.n_features, random_between (0, 1), gain);
    r.model->value = random_linear (kv_heads * dv, r.config.n_features, random_between (0, 1), 1);
    if (random_between (0, 3) != 0)
      r.model->output = random_linear (random_between (1, 50), heads * dv, random_between (0, 1), 1);
  }
  if (random_between (0, 4) == 0)
    r.config.scale = 0.25;
  if (random_between (0, 2) == 0)
    r.config.softcap = 0.5 + random_between (0, 40) / 4.0;
  r.config.n_threads = random_between (0, 9) == 0 ? random_between (2, 4) : 0;
  r.config.precision = random_between (0, 1) ? ATTN_PRECISION_F32 : random_between (1, 2);
  r.config.arithmetic = arithmetic;
  random_position (&r, dk);
  random_norm (&r, dk);
  if (attn_layer_new (&r.config, r.model, &r.layer, &error) != ATTN_OK) {
    printf ("Bail out! random layer: %s\n", error.message);
    exit (1);
  }
  r.config = *attn_layer_attention (r.layer, 0); /* nothing unset */
  return r;
}

static inline RandomLayer
random_layer (void)
{
  return random_layer_of (ATTN_ARITHMETIC_EXACT);
}

/* values [n] rounded as in a window of that precision. */
static inline void
store_in (AttnPrecision precision, float *values, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (precision == ATTN_PRECISION_F16)
      values[i] = attn_float_from_f16 (attn_f16_from_float (values[i]));
    else if (precision == ATTN_PRECISION_BF16)
      values[i] = attn_float_from_bf16 (attn_bf16_from_float (values[i]));
}

static inline void
random_layer_clear (RandomLayer *r)
{
  attn_layer_free (r->layer);
  if (r->model != NULL) {
    free_linear (&r->model->query);
    free_linear (&r->model->key);
    free_linear (&r->model->value);
    free_linear (&r->model->output);
    free (r->model->relative_bias.values);
    free_norm_vectors (&r->model->query_norm);
    free_norm_vectors (&r->model->key_norm);
    free (r->model);
  }
}

static inline double
random_layer_scale (const RandomLayer *r)
{
  return r->config.scale != 0 ? r->config.scale : 1 / sqrt ((double) attn_layer_first (r->layer)->sizes.dk);
}

/* Of a frame. */
static inline size_t
n_weights (const AttnLayer *layer)
{
  return (size_t) attn_layer_n_heads (layer) * attn_layer_span (layer);
}

/* Parameter-free, for tests that need known numbers. */
static inline AttnLayer *
plain_layer (uint32_t n_features, uint32_t n_heads, uint32_t window, uint32_t look_ahead, uint32_t n_sinks)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;

  config.n_features = n_features;
  config.n_heads = n_heads;
  config.window = window;
  config.look_ahead = look_ahead;
  config.n_sinks = n_sinks;
  if (attn_layer_new (&config, NULL, &layer, NULL) != ATTN_OK)
    abort ();
  return layer;
}

#endif
