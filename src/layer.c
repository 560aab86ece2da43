/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "cpu.h"
#include "half.h"
#include "hash.h"
#include "model.h"
#include "status.h"

const char *
attn_version (void)
{
  return ATTN_VERSION;
}

/* Where the weight of output `o` and input `i` stands. */
static size_t
packed_index (const AttnProjection *projection, size_t o, size_t i)
{
  size_t panel = projection->panel;

  return o / panel * panel * attn_stored_rows (projection->n_inputs, projection->precision)
         + attn_stored_index (i, panel, o % panel, projection->precision);
}

static AttnStatus
init_projection (AttnProjection *projection, size_t n_inputs, size_t n_outputs, AttnPrecision precision,
                 AttnError *error)
{
  size_t panel = attn_panel (n_outputs), n_padded = attn_round_up (n_outputs, panel);
  size_t bytes =
      attn_size_mul (attn_size_mul (n_padded, attn_stored_rows (n_inputs, precision)), attn_precision_size (precision));
  size_t i;

  *projection = (AttnProjection){ n_inputs, n_outputs, panel, precision, NULL, NULL, NULL, NULL };
  projection->weight = attn_alloc (bytes);
  projection->bias = attn_alloc (attn_size_mul (n_padded, sizeof (float)));
  projection->start = attn_alloc (attn_size_mul (n_padded, sizeof (float)));
  if (projection->weight == NULL || projection->bias == NULL || projection->start == NULL)
    return attn_fail_memory (error, "packed parameters", bytes);
  for (i = 0; i < n_padded; i++)
    projection->start[i] = ATTN_GUARD;
  return ATTN_OK;
}

/* A parameter that f16 cannot hold would become infinite. */
static AttnStatus
check_range (const char *name, const AttnLinear *linear, AttnPrecision precision, AttnError *error)
{
  const float limit = 65520; /* halfway to what would be next, 65536, and rounded up to it */
  size_t n = linear->n_outputs * linear->n_inputs, i;

  for (i = 0; i < n && precision == ATTN_PRECISION_F16; i++)
    if (fabsf (linear->weight[i]) >= limit && !isinf (linear->weight[i]))
      return attn_fail (
          error, ATTN_ERROR_MODEL,
          "the %s projection has the parameter %g at [%zu, %zu], but f16 ends at 65504; bf16 and f32 hold it", name,
          linear->weight[i], i / linear->n_inputs, i % linear->n_inputs);
  return ATTN_OK;
}

/* The parameters of `linear`, cleaned, as the outputs from `first` on; what the padding computes is never stored. */
static AttnStatus
pack (AttnProjection *projection, size_t first, const char *name, const AttnLinear *linear, const AttnKernels *kernels,
      AttnError *error)
{
  AttnStatus status = check_range (name, linear, projection->precision, error);
  size_t i, o;

  for (o = 0; o < linear->n_outputs && status == ATTN_OK; o++)
    for (i = 0; i < linear->n_inputs; i++) {
      size_t at = packed_index (projection, first + o, i);
      float value;

      kernels->scale (&value, &linear->weight[o * linear->n_inputs + i], 1, 1);
      if (projection->precision == ATTN_PRECISION_F32)
        ((float *) projection->weight)[at] = value;
      else
        kernels->narrow ((uint16_t *) projection->weight + at, &value, 1, projection->precision);
    }
  if (linear->bias == NULL || status != ATTN_OK)
    return status;
  kernels->scale (projection->bias + first, linear->bias, 1, linear->n_outputs);
  for (o = first; o < first + linear->n_outputs; o++)
    projection->start[o] = projection->bias[o] + ATTN_GUARD;
  return ATTN_OK;
}

static float
weight_of (const AttnProjection *projection, size_t o, size_t i)
{
  return attn_stored_value (projection->weight, packed_index (projection, o, i), projection->precision);
}

/* The stored weights once more, for a matrix unit; not if one is too large for it. */
static AttnStatus
split_projection (AttnProjection *projection, AttnError *error)
{
  size_t n_rows = attn_round_up (projection->n_inputs, ATTN_STEP), i, o;
  size_t bytes = attn_size_mul (attn_right_size (n_rows, projection->n_outputs), sizeof (uint16_t));
  bool can_split = true;

  projection->split = attn_alloc (bytes);
  if (projection->split == NULL)
    return attn_fail_memory (error, "split parameters", bytes);
  for (o = 0; o < projection->n_outputs; o++)
    for (i = 0; i < projection->n_inputs; i++) {
      float value = weight_of (projection, o, i);

      can_split &= fabsf (value) < ATTN_SPLIT_LIMIT;
      attn_set_right (projection->split, i, o, n_rows, value);
    }
  if (!can_split) {
    attn_free (projection->split);
    projection->split = NULL;
  }
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
  const AttnSizes *sizes = &layer->sizes;
  const AttnKernels *kernels = layer->kernels;
  AttnStatus status = init_projection (&layer->input, sizes->n_features, sizes->n_projected, sizes->precision, error);

  if (status || (status = pack (&layer->input, 0, "query", &model->query, kernels, error))
      || (status = pack (&layer->input, sizes->n_query, "key", &model->key, kernels, error))
      || (status = pack (&layer->input, sizes->n_query + sizes->n_key, "value", &model->value, kernels, error)))
    return status;
  layer->output = identity (sizes->n_context);
  if (model->output.weight != NULL
      && ((status = init_projection (&layer->output, sizes->n_context, sizes->n_outputs, sizes->precision, error))
          || (status = pack (&layer->output, 0, "output", &model->output, kernels, error))))
    return status;
  if (layer->matrix == NULL)
    return ATTN_OK;
  status = split_projection (&layer->input, error);
  return status != ATTN_OK || layer->output.weight == NULL ? status : split_projection (&layer->output, error);
}

/* The kernels for vectors, and for `fast` the matrix unit's, if there is one. */
static AttnStatus
pick_kernels (AttnLayer *layer, AttnError *error)
{
  AttnStatus status = ATTN_OK;

  layer->kernels = attn_kernels_pick (error);
  if (layer->kernels == NULL)
    return ATTN_ERROR_CONFIG;
  if (layer->sizes.arithmetic == ATTN_ARITHMETIC_FAST)
    status = attn_matrix_pick (layer->kernels, &layer->matrix, error);
  layer->sizes.is_split = layer->matrix != NULL;
  snprintf (layer->kernels_name, sizeof layer->kernels_name, "%s%s%s", layer->kernels->name,
            layer->matrix != NULL ? "+" : "", layer->matrix != NULL ? layer->matrix->name : "");
  return status;
}

static AttnStatus
init_layer (AttnLayer *layer, const AttnConfig *config, const AttnModel *model, AttnError *error)
{
  AttnStatus status = attn_config_sizes (config, model, &layer->sizes, error);

  if (status != ATTN_OK)
    return status;
  status = pick_kernels (layer, error);
  if (status != ATTN_OK)
    return status;
  status = attn_positions_init (&layer->positions, &layer->sizes, model, error);
  if (status != ATTN_OK)
    return status;
  if (model != NULL)
    return pack_model (layer, model, error);
  layer->input = layer->output = identity (layer->sizes.n_features);
  return ATTN_OK;
}

/* What is stored, as float32 in the order of the model: the packing may change. */
static uint64_t
hash_projection (uint64_t hash, const AttnProjection *projection)
{
  size_t o, i;

  hash = attn_hash_number (hash, projection->weight != NULL, 1);
  hash = attn_hash_number (hash, projection->n_inputs, 8);
  hash = attn_hash_number (hash, projection->n_outputs, 8);
  if (projection->weight == NULL)
    return hash;
  for (o = 0; o < projection->n_outputs; o++)
    for (i = 0; i < projection->n_inputs; i++) {
      float value = weight_of (projection, o, i);

      hash = attn_hash_floats (hash, &value, 1);
    }
  return attn_hash_floats (hash, projection->bias, projection->n_outputs);
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
 * Two layers with the same hash give the same bits (in fast: of blocks that are cut alike, on the same unit): all that
 * the output depends on, and nothing else. A new field of the configuration belongs here, at the end.
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
  hash = hash_projection (hash, &layer->input);
  hash = hash_projection (hash, &layer->output);
  hash = attn_hash_floats (hash, &sizes->softcap.factor, 1);
  hash = attn_hash_floats (hash, &sizes->softcap.cap, 1);
  hash = hash_positions (hash, layer);
  hash = attn_hash_number (hash, sizes->precision, 1);
  /* Nothing for exact, as before there was a choice. */
  return sizes->arithmetic == ATTN_ARITHMETIC_FAST ? attn_hash_number (hash, sizes->arithmetic, 1) : hash;
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
  attn_free (projection->start);
  attn_free (projection->split);
}

void
attn_layer_free (AttnLayer *layer)
{
  if (layer == NULL)
    return;
  free_projection (&layer->input);
  free_projection (&layer->output);
  attn_positions_clear (&layer->positions);
  attn_free (layer);
}

/* A projection that threads share, a number of panels each. */
typedef struct {
  const AttnLayer *layer;
  const AttnProjection *projection;
  float *out;
  const float *in;
  size_t n_frames;
  const uint16_t *left; /* the frames for the matrix unit; NULL: it is not its work */
} Projecting;

static void
project_part (void *data, size_t part, size_t n_parts)
{
  const Projecting *p = data;
  AttnProjection panels = *p->projection;
  size_t n_panels = (panels.n_outputs + panels.panel - 1) / panels.panel;
  size_t begin = attn_share (n_panels, part, n_parts) * panels.panel;
  size_t end = attn_share (n_panels, part + 1, n_parts) * panels.panel;

  if (begin == end)
    return;
  panels.weight =
      (char *) panels.weight
      + begin * attn_stored_rows (panels.n_inputs, panels.precision) * attn_precision_size (panels.precision);
  panels.bias += begin;
  panels.start += begin;
  panels.n_outputs = (end < panels.n_outputs ? end : panels.n_outputs) - begin;
  if (p->left != NULL) {
    panels.split += attn_right_size (panels.n_inputs, begin);
    p->layer->matrix->project (p->out + begin, p->projection->n_outputs, p->left, p->n_frames, &panels);
  } else
    p->layer->kernels->project (p->out + begin, p->projection->n_outputs, p->in, panels.n_inputs, p->n_frames, &panels);
}

static void
project (Projecting *p, AttnPool *pool, uint16_t *left)
{
  size_t n_inputs = p->projection->n_inputs;

  if (p->projection->split != NULL && p->n_frames >= ATTN_MIN_MATRIX_ROWS
      && attn_split_left (p->layer->matrix, left, p->in, n_inputs, p->n_frames, n_inputs))
    p->left = left;
  attn_pool_run (pool, project_part, p);
}

void
attn_layer_project_input (const AttnLayer *layer, AttnPool *pool, uint16_t *left, float *projected, const float *frames,
                          size_t n)
{
  Projecting projecting = { layer, &layer->input, projected, frames, n, NULL };
  const AttnSizes *sizes = &layer->sizes;
  size_t i, copy;

  if (layer->input.weight != NULL)
    project (&projecting, pool, left);
  else
    for (i = 0; i < n; i++)
      for (copy = 0; copy < 3; copy++)
        memcpy (projected + i * sizes->n_projected + copy * sizes->n_features, frames + i * sizes->n_features,
                sizes->n_features * sizeof *frames);
}

void
attn_layer_project_output (const AttnLayer *layer, AttnPool *pool, uint16_t *left, float *out, const float *contexts,
                           size_t n)
{
  Projecting projecting = { layer, &layer->output, out, contexts, n, NULL };

  if (layer->output.weight != NULL)
    project (&projecting, pool, left);
  else
    memcpy (out, contexts, n * layer->sizes.n_outputs * sizeof *out);
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
attn_layer_n_sinks (const AttnLayer *layer)
{
  return layer->sizes.n_sinks;
}

uint32_t
attn_layer_window (const AttnLayer *layer)
{
  return layer->sizes.window;
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
  return layer->kernels_name;
}
