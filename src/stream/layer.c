/* libattn: layers: made, shared, asked.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/layer.h"

#include "base/cpu.h"
#include "base/hash.h"
#include "parameters/model.h"
#include "base/status.h"

/* What follows from the blocks. */
static void
sum_up (AttnLayer *layer)
{
  size_t i;

  layer->n_features = layer->blocks[0]->n_inputs;
  layer->n_outputs = layer->blocks[layer->n_blocks - 1]->n_outputs;
  layer->n_threads = attn_layer_attention (layer)->sizes.n_threads;
  layer->hash = ATTN_HASH_START;
  for (i = 0; i < layer->n_blocks; i++) {
    layer->latency += layer->blocks[i]->reach_ahead;
    layer->hash = layer->blocks[i]->kind->hash (layer->blocks[i], layer->hash);
  }
}

/* The blocks of the configuration in effect. */
static AttnStatus
make_blocks (AttnLayer *layer, const AttnModel *model, AttnError *error)
{
  AttnAttention *attention;
  AttnStatus status;

  layer->blocks = attn_alloc (sizeof *layer->blocks);
  if (layer->blocks == NULL)
    return attn_fail_memory (error, "list of blocks", sizeof *layer->blocks);
  status = attn_attention_new (&layer->config, model, &layer->machine, &attention, error);
  layer->blocks[0] = (AttnBlock *) attention;
  layer->n_blocks = attention != NULL;
  return status;
}

static AttnStatus
init_layer (AttnLayer *layer, const AttnConfig *config, const AttnModel *model, AttnError *error)
{
  AttnStatus status;

  if (model != NULL && model->is_header)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: its header alone was read (attn_model_peek ()), and a layer takes the parameters",
                      model->name);
  layer->config = *config;
  if ((status = attn_config_resolve (&layer->config, model, error))
      || (status = attn_machine_pick (&layer->machine, layer->config.arithmetic, error))
      || (status = make_blocks (layer, model, error)))
    return status;
  sum_up (layer);
  layer->config.n_features = layer->n_features;
  return ATTN_OK;
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
  *result = layer;
  return attn_succeed (error);
}

void
attn_layer_free (AttnLayer *layer)
{
  size_t i;

  if (layer == NULL)
    return;
  for (i = 0; i < layer->n_blocks; i++)
    layer->blocks[i]->kind->free (layer->blocks[i]);
  attn_free (layer->blocks);
  attn_free (layer);
}

const AttnConfig *
attn_layer_config (const AttnLayer *layer)
{
  return &layer->config;
}

uint32_t
attn_layer_n_features (const AttnLayer *layer)
{
  return layer->n_features;
}

uint32_t
attn_layer_n_outputs (const AttnLayer *layer)
{
  return layer->n_outputs;
}

uint32_t
attn_layer_n_heads (const AttnLayer *layer)
{
  return attn_layer_attention (layer)->sizes.n_heads;
}

uint32_t
attn_layer_n_sinks (const AttnLayer *layer)
{
  return attn_layer_attention (layer)->sizes.n_sinks;
}

uint32_t
attn_layer_window (const AttnLayer *layer)
{
  return attn_layer_attention (layer)->sizes.window;
}

uint32_t
attn_layer_latency (const AttnLayer *layer)
{
  return layer->latency;
}

uint32_t
attn_layer_span (const AttnLayer *layer)
{
  return attn_layer_attention (layer)->sizes.span;
}

const char *
attn_layer_kernels (const AttnLayer *layer)
{
  return layer->machine.name;
}
