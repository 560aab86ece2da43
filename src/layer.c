/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layer.h"

#include "alloc.h"
#include "cpu.h"
#include "hash.h"
#include "model.h"
#include "status.h"

const char *
attn_version (void)
{
  return ATTN_VERSION;
}

/* Panels of ATTN_LANES outputs; what the padding computes is never stored. */
static AttnStatus
pack (AttnProjection *projection, const AttnLinear *linear, const AttnKernels *kernels, AttnError *error)
{
  size_t n_padded = attn_round_up (linear->n_outputs, ATTN_LANES);
  size_t n_weights = attn_size_mul (n_padded, linear->n_inputs);
  size_t bytes = attn_size_mul (n_weights, sizeof (float));
  size_t i, o;

  projection->n_inputs = linear->n_inputs;
  projection->n_outputs = linear->n_outputs;
  projection->weight = attn_alloc (bytes);
  projection->bias = attn_alloc (n_padded * sizeof (float));
  if (projection->weight == NULL || projection->bias == NULL)
    return attn_fail_memory (error, "packed parameters", bytes);

  for (o = 0; o < linear->n_outputs; o++) {
    float *panel = projection->weight + o / ATTN_LANES * ATTN_LANES * linear->n_inputs + o % ATTN_LANES;

    for (i = 0; i < linear->n_inputs; i++)
      panel[i * ATTN_LANES] = linear->weight[o * linear->n_inputs + i];
  }
  kernels->scale (projection->weight, projection->weight, 1, n_weights);
  if (linear->bias != NULL)
    kernels->scale (projection->bias, linear->bias, 1, linear->n_outputs);
  return ATTN_OK;
}

static AttnProjection
identity (size_t n)
{
  return (AttnProjection){ .n_inputs = n, .n_outputs = n };
}

static AttnStatus
pack_model (AttnLayer *layer, const AttnModel *model, AttnError *error)
{
  AttnStatus status;

  if ((status = pack (&layer->query, &model->query, layer->kernels, error))
      || (status = pack (&layer->key, &model->key, layer->kernels, error))
      || (status = pack (&layer->value, &model->value, layer->kernels, error)))
    return status;
  if (model->output.weight != NULL)
    return pack (&layer->output, &model->output, layer->kernels, error);
  layer->output = identity (layer->sizes.n_context);
  return ATTN_OK;
}

static AttnStatus
init_layer (AttnLayer *layer, const AttnConfig *config, const AttnModel *model, AttnError *error)
{
  AttnStatus status = attn_config_sizes (config, model, &layer->sizes, error);

  if (status != ATTN_OK)
    return status;
  layer->kernels = attn_kernels_pick (error);
  if (layer->kernels == NULL)
    return ATTN_ERROR_CONFIG;
  status = attn_positions_init (&layer->positions, &layer->sizes, model, error);
  if (status != ATTN_OK)
    return status;
  if (model != NULL)
    return pack_model (layer, model, error);
  layer->query = layer->key = layer->value = layer->output = identity (layer->sizes.n_features);
  return ATTN_OK;
}

static uint64_t
hash_projection (uint64_t hash, const AttnProjection *projection)
{
  size_t n_padded = attn_round_up (projection->n_outputs, ATTN_LANES);

  hash = attn_hash_number (hash, projection->weight != NULL, 1);
  hash = attn_hash_number (hash, projection->n_inputs, 8);
  hash = attn_hash_number (hash, projection->n_outputs, 8);
  if (projection->weight == NULL)
    return hash;
  hash = attn_hash_floats (hash, projection->weight, n_padded * projection->n_inputs);
  return attn_hash_floats (hash, projection->bias, n_padded);
}

static uint64_t
hash_positions (uint64_t hash, const AttnLayer *layer)
{
  const AttnSizes *sizes = &layer->sizes;
  const AttnPositions *positions = &layer->positions;
  size_t i;

  hash = attn_hash_number (hash, sizes->position, 1);
  hash = attn_hash_number (hash, sizes->rope_layout, 1);
  hash = attn_hash_number (hash, sizes->n_rope_pairs, 8);
  for (i = 0; i < sizes->n_rope_pairs; i++) {
    hash = attn_hash_number (hash, positions->turns[i].high, 8);
    hash = attn_hash_number (hash, positions->turns[i].low, 8);
  }
  if (positions->biases != NULL)
    hash = attn_hash_floats (hash, positions->biases, sizes->n_heads * positions->bias_stride);
  return hash;
}

/*
 * Two layers with the same hash give the same bits: all that the output depends on, and nothing else. A new field of
 * the configuration belongs here, at the end.
 */
static uint64_t
hash_layer (const AttnLayer *layer)
{
  const AttnSizes *sizes = &layer->sizes;
  const uint64_t numbers[] = { sizes->n_features, sizes->n_outputs, sizes->n_heads,    sizes->n_kv_heads, sizes->dk,
                               sizes->dv,         sizes->window,    sizes->look_ahead, sizes->n_sinks };
  uint64_t hash = ATTN_HASH_START;
  size_t i;

  for (i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    hash = attn_hash_number (hash, numbers[i], 8);
  hash = attn_hash_floats (hash, &sizes->query_factor, 1);
  hash = hash_projection (hash, &layer->query);
  hash = hash_projection (hash, &layer->key);
  hash = hash_projection (hash, &layer->value);
  hash = hash_projection (hash, &layer->output);
  hash = attn_hash_floats (hash, &sizes->softcap.factor, 1);
  hash = attn_hash_floats (hash, &sizes->softcap.cap, 1);
  return hash_positions (hash, layer);
}

AttnStatus
attn_layer_new (const AttnConfig *config, const AttnModel *model, AttnLayer **result, AttnError *error)
{
  AttnLayer *layer = attn_alloc (sizeof *layer);
  AttnStatus status;
  uint64_t mode;

  *result = NULL;
  if (layer == NULL)
    return attn_fail_memory (error, "layer", sizeof *layer);
  mode = attn_float_enter (); /* the constants of a layer are rounded, too */
  status = init_layer (layer, config, model, error);
  attn_float_leave (mode);
  if (status != ATTN_OK) {
    attn_layer_free (layer);
    return status;
  }
  layer->hash = hash_layer (layer);
  *result = layer;
  return attn_succeed (error);
}

static void
free_projection (AttnProjection *projection)
{
  attn_free (projection->weight);
  attn_free (projection->bias);
}

void
attn_layer_free (AttnLayer *layer)
{
  if (layer == NULL)
    return;
  free_projection (&layer->query);
  free_projection (&layer->key);
  free_projection (&layer->value);
  free_projection (&layer->output);
  attn_positions_clear (&layer->positions);
  attn_free (layer);
}

void
attn_layer_project (const AttnLayer *layer, const AttnProjection *projection, float *out, const float *in,
                    size_t n_frames)
{
  if (projection->weight == NULL)
    layer->kernels->scale (out, in, 1, n_frames * projection->n_inputs);
  else
    layer->kernels->project (out, projection->n_outputs, in, projection->n_inputs, n_frames, projection);
}

uint32_t
attn_layer_n_features (const AttnLayer *layer)
{
  return layer->sizes.n_features;
}

uint32_t
attn_layer_n_outputs (const AttnLayer *layer)
{
  return layer->sizes.n_outputs;
}

uint32_t
attn_layer_n_heads (const AttnLayer *layer)
{
  return layer->sizes.n_heads;
}

uint32_t
attn_layer_latency (const AttnLayer *layer)
{
  return layer->sizes.look_ahead;
}

uint32_t
attn_layer_span (const AttnLayer *layer)
{
  return layer->sizes.span;
}

const char *
attn_layer_kernels (const AttnLayer *layer)
{
  return layer->kernels->name;
}
