/* libattn: layers: how they are made, and their properties.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/layer.h"

#include "base/float_mode.h"
#include "base/hash.h"
#include "base/status.h"
#include "parameters/model.h"

/* Counts the attentions of a chain, and lists them unless `list` is NULL. */
static size_t
list_attentions (const AttnChain *chain, const AttnAttention **list)
{
  size_t n = 0, i;

  for (i = 0; i < chain->n_blocks; i++) {
    const AttnBlock *block = chain->blocks[i];

    if (block->kind->inner != NULL)
      n += list_attentions (block->kind->inner (block), list != NULL ? list + n : NULL);
    else if (block->kind == &attn_attention_kind) {
      if (list != NULL)
        list[n] = (const AttnAttention *) block;
      n++;
    }
  }
  return n;
}

AttnStatus
attn_layer_sum_up (AttnLayer *layer, AttnError *error)
{
  size_t n = list_attentions (&layer->chain, NULL), bytes = n * sizeof *layer->attentions;

  attn_chain_sum_up (&layer->chain);
  layer->attentions = attn_alloc (bytes);
  if (layer->attentions == NULL)
    return attn_fail_memory (error, "list of attentions", bytes);
  layer->n_attentions = list_attentions (&layer->chain, layer->attentions);
  layer->hash = attn_chain_hash (&layer->chain, ATTN_HASH_START);
  return ATTN_OK;
}

/* The weights move one by one, and the system gets the old place of each back: at no time are there two of all. */
AttnStatus
attn_layer_settle (AttnLayer *layer, AttnError *error)
{
  AttnArena arena = { 0 };

  attn_chain_settle (&layer->chain, &arena);
  layer->weights = arena.memory = attn_alloc_unset (arena.used);
  if (layer->weights == NULL)
    return attn_fail_memory (error, "weights", arena.used);
  arena.size = arena.used;
  arena.used = 0;
  attn_chain_settle (&layer->chain, &arena);
  return ATTN_OK;
}

/* Makes the one block of the configuration. */
static AttnStatus
make_block (AttnLayer *layer, const AttnConfig *config, const AttnModel *model, AttnError *error)
{
  AttnAttention *attention;
  AttnStatus status;

  if ((status = attn_chain_init (&layer->chain, config->n_features, 1, error)))
    return status;
  status = attn_attention_new (config, model, &layer->machine, &attention, error);
  if (attention == NULL)
    return status;
  attn_chain_add (&layer->chain, &attention->block);
  layer->chain.n_inputs = attention->block.n_inputs;
  layer->n_threads = attention->sizes.n_threads;
  return status;
}

static AttnStatus
init_layer (AttnLayer *layer, const AttnConfig *given, const AttnModel *model, AttnError *error)
{
  AttnConfig config = *given;
  AttnStatus status;

  if (model != NULL && model->is_header)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: only its header was read (attn_model_peek ()), but a layer needs the parameters",
                      model->name);
  if ((status = attn_config_resolve (&config, model, error))
      || (status = attn_machine_pick (&layer->machine, config.arithmetic, error))
      || (status = make_block (layer, &config, model, error)) || (status = attn_layer_sum_up (layer, error)))
    return status;
  return attn_layer_settle (layer, error);
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
  if (layer == NULL)
    return;
  if (layer->weights != NULL)
    attn_chain_settle (&layer->chain, NULL);
  attn_chain_clear (&layer->chain);
  attn_metadata_clear (&layer->metadata);
  attn_free (layer->weights);
  attn_free (layer->attentions);
  attn_free (layer);
}

/* ---- properties ---- */

uint32_t
attn_layer_n_features (const AttnLayer *layer)
{
  return layer->chain.n_inputs;
}

uint32_t
attn_layer_n_outputs (const AttnLayer *layer)
{
  return layer->chain.n_outputs;
}

uint64_t
attn_layer_stride (const AttnLayer *layer)
{
  return layer->chain.stride;
}

uint64_t
attn_layer_reach_back (const AttnLayer *layer)
{
  return layer->chain.reach_back;
}

uint64_t
attn_layer_reach_ahead (const AttnLayer *layer)
{
  return layer->chain.reach_ahead;
}

uint64_t
attn_layer_period (const AttnLayer *layer)
{
  return layer->chain.period;
}

uint64_t
attn_layer_count (const AttnLayer *layer, uint64_t n_frames)
{
  return attn_chain_count (&layer->chain, n_frames);
}

uint64_t
attn_layer_ready (const AttnLayer *layer, uint64_t n_frames)
{
  return attn_chain_ready (&layer->chain, 0, n_frames);
}

double
attn_layer_operations (const AttnLayer *layer)
{
  return attn_chain_operations (&layer->chain);
}

uint32_t
attn_layer_n_blocks (const AttnLayer *layer)
{
  return layer->n_blocks;
}

uint64_t
attn_layer_n_parameters (const AttnLayer *layer)
{
  return layer->n_parameters;
}

uint32_t
attn_layer_n_attentions (const AttnLayer *layer)
{
  return layer->n_attentions;
}

const AttnConfig *
attn_layer_attention (const AttnLayer *layer, uint32_t i)
{
  return i < layer->n_attentions ? &layer->attentions[i]->config : NULL;
}

uint32_t
attn_layer_n_heads (const AttnLayer *layer)
{
  return layer->n_attentions > 0 ? attn_layer_first (layer)->sizes.n_heads : 0;
}

uint32_t
attn_layer_n_sinks (const AttnLayer *layer)
{
  return layer->n_attentions > 0 ? attn_layer_first (layer)->sizes.n_sinks : 0;
}

uint32_t
attn_layer_window (const AttnLayer *layer)
{
  return layer->n_attentions > 0 ? attn_layer_first (layer)->sizes.window : 0;
}

uint32_t
attn_layer_span (const AttnLayer *layer)
{
  return layer->n_attentions > 0 ? attn_layer_first (layer)->sizes.span : 0;
}

const char *
attn_layer_metadata (const AttnLayer *layer, const char *key)
{
  return attn_metadata_get (&layer->metadata, key);
}

void
attn_layer_frame_rate (const AttnLayer *layer, uint32_t *numerator, uint32_t *denominator)
{
  *numerator = layer->frame_rate[0];
  *denominator = layer->frame_rate[0] != 0 ? layer->frame_rate[1] : 1;
}

const char *
attn_layer_kernels (const AttnLayer *layer)
{
  return layer->machine.name;
}
