/*
 * libattn: the attentions of a stream one by one: their rows watched and counted, their gains set.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "stream/stream.h"

/* ---- where an attention stands ---- */

/* Turns a number in front of a block into the number behind it. `first`: the number of the first frame in front. */
typedef uint64_t (*Step) (const AttnBlock *block, uint64_t first, uint64_t n);

static uint64_t
multiply_stride (const AttnBlock *block, uint64_t first, uint64_t n)
{
  (void) first;
  return n * block->stride;
}

static uint64_t
count (const AttnBlock *block, uint64_t first, uint64_t n)
{
  (void) first;
  return attn_block_count (block, n);
}

/*
 * Takes *n through the blocks of `chain` up to and including `last`. False: `last` is not among them or inside of them.
 */
static bool
walk_to (const AttnChain *chain, const AttnBlock *last, Step step, uint64_t first, uint64_t *n)
{
  size_t i;

  for (i = 0; i < chain->n_blocks; i++) {
    const AttnBlock *block = chain->blocks[i];
    uint64_t inside = *n;

    if (block->kind->inner != NULL && walk_to (block->kind->inner (block), last, step, first, &inside)) {
      *n = inside;
      return true;
    }
    *n = step (block, first, *n);
    if (block == last)
      return true;
    first /= block->stride;
  }
  return false;
}

static uint64_t
walk (const AttnLayer *layer, uint32_t attention, Step step, uint64_t first, uint64_t n)
{
  walk_to (&layer->chain, &layer->attentions[attention]->block, step, first, &n);
  return n;
}

uint64_t
attn_layer_attention_stride (const AttnLayer *layer, uint32_t i)
{
  return i < layer->n_attentions ? walk (layer, i, multiply_stride, 0, 1) : 0;
}

uint64_t
attn_layer_attention_reach_ahead (const AttnLayer *layer, uint32_t i)
{
  uint64_t back, ahead = 0;

  if (i < layer->n_attentions)
    attn_chain_reach (&layer->chain, &layer->attentions[i]->block, attn_layer_attention_stride (layer, i), &back,
                      &ahead);
  return ahead;
}

uint64_t
attn_layer_attention_ready (const AttnLayer *layer, uint32_t i, uint64_t n_frames)
{
  return i < layer->n_attentions ? walk (layer, i, attn_block_ready, 0, n_frames) : 0;
}

/* ---- rows ---- */

static AttnAttentionState *
find (const AttnStream *stream, uint32_t attention)
{
  return attention < stream->layer->n_attentions ? stream->attentions[attention] : NULL;
}

uint64_t
attn_stream_next_row (const AttnStream *stream, uint32_t attention)
{
  const AttnAttentionState *state = find (stream, attention);

  return state != NULL ? state->next_output : 0;
}

/* The number of rows that are still to come, of all that there are after `n` frames by `step`. */
static uint64_t
count_rows (const AttnStream *stream, uint32_t attention, Step step, uint64_t n)
{
  const AttnAttentionState *state = find (stream, attention);

  return state != NULL
             ? walk (stream->layer, attention, step, stream->in.first, n) - (state->next_output - state->ring.first)
             : 0;
}

uint64_t
attn_stream_rows_ready (const AttnStream *stream, uint32_t attention, uint64_t n)
{
  if (stream->in.at_end)
    return 0;
  return count_rows (stream, attention, attn_block_ready, stream->in.next - stream->in.first + n);
}

uint64_t
attn_stream_rows_pending (const AttnStream *stream, uint32_t attention)
{
  return count_rows (stream, attention, count, stream->in.next - stream->in.first);
}

/* ---- watchers ---- */

/* The watcher, if there is one, has no rows yet. */
static void
empty_watch (AttnAttentionState *state)
{
  if (state->watch == NULL)
    return;
  state->watch->first = state->next_output;
  state->watch->n_rows = 0;
}

void
attn_stream_begin_rows (AttnStream *stream, float *weights)
{
  const AttnChain *chain = &stream->layer->chain;
  size_t i;

  for (i = 0; i < stream->layer->n_attentions; i++)
    empty_watch (stream->attentions[i]);
  if (weights != NULL && chain->n_blocks == 1 && chain->blocks[0]->kind == &attn_attention_kind)
    attn_attention_set_weights (stream->attentions[0], weights);
}

void
attn_stream_end_rows (AttnStream *stream)
{
  if (stream->layer->n_attentions > 0)
    attn_attention_set_weights (stream->attentions[0], NULL);
}

AttnStatus
attn_stream_watch (AttnStream *stream, uint32_t attention, AttnWatch *watch)
{
  AttnAttentionState *state = find (stream, attention);
  size_t i;

  if (state == NULL)
    return ATTN_ERROR_CONFIG;
  attn_attention_watch (state, watch);
  empty_watch (state);
  stream->is_watched = false;
  for (i = 0; i < stream->layer->n_attentions; i++)
    stream->is_watched |= stream->attentions[i]->watch != NULL;
  return ATTN_OK;
}

/* ---- gains ---- */

AttnStatus
attn_stream_set_gain (AttnStream *stream, uint32_t attention, uint32_t head, float gain)
{
  AttnAttentionState *state = find (stream, attention);

  return state != NULL ? attn_attention_set_gain (state, head, gain) : ATTN_ERROR_CONFIG;
}

AttnStatus
attn_stream_set_row_gains (AttnStream *stream, uint32_t attention, const float *gains, uint64_t n)
{
  AttnAttentionState *state = find (stream, attention);

  return state != NULL ? attn_attention_set_row_gains (state, gains, n) : ATTN_ERROR_CONFIG;
}
