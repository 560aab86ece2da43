/*
 * One attention of a random encoder: the blocks in front of it, and its rows as attn_forward () of the attention alone
 * gives them.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_ENCODER_ATTENTIONS_H
#define TESTS_CORE_ENCODER_ATTENTIONS_H

#include "encoder-stories.h"

typedef struct {
  uint32_t number;
  Chain path; /* copied from the encoder: those in front of the attention, and the attention. Residuals are opened */
  Law law;    /* of the path */
  uint32_t n_heads;
  size_t span, n_row; /* n_heads span */
  uint64_t first;     /* the number of its first row */
  size_t n;           /* rows of the whole stream */
  float *weights;     /* [n][n_heads][span], by attn_forward () of the attention alone */
  uint8_t *present;   /* [n] */
} Attention;

/* The path to attention number *number; false: there are fewer, and *number is reduced by their number. */
static inline bool
find_path (const Chain *chain, uint32_t *number, Chain *path)
{
  for (size_t i = 0; i < chain->n; i++) {
    const Node *node = &chain->nodes[i];
    size_t n_before = path->n;

    if (node->kind == BLOCK_RESIDUAL && find_path (&node->inner, number, path))
      return true;
    path->n = n_before;
    path->nodes[path->n++] = *node;
    if (node->kind == BLOCK_ATTENTION && (*number)-- == 0)
      return true;
  }
  return false;
}

/* The same of the layer's blocks. */
static inline bool
find_blocks (const AttnChain *chain, const AttnBlock *last, AttnBlock **blocks, size_t *n)
{
  for (size_t i = 0; i < chain->n_blocks; i++) {
    AttnBlock *block = chain->blocks[i];
    size_t n_before = *n;

    if (block->kind->inner != NULL && find_blocks (block->kind->inner (block), last, blocks, n))
      return true;
    *n = n_before;
    blocks[(*n)++] = block;
    if (block == last)
      return true;
  }
  return false;
}

/* A layer of some blocks of another one. */
static inline AttnLayer
layer_of_blocks (const Story *s, AttnBlock **blocks, size_t n)
{
  AttnLayer layer = { .machine = s->layer->machine, .n_threads = 1 };

  MUST (attn_chain_init (&layer.chain, blocks[0]->n_inputs, n, NULL));
  for (size_t i = 0; i < n; i++)
    if (!attn_chain_add (&layer.chain, blocks[i]))
      abort ();
  MUST (attn_layer_sum_up (&layer, NULL));
  return layer;
}

static inline void
layer_of_blocks_clear (AttnLayer *layer)
{
  attn_free (layer->chain.blocks); /* which belong to the other layer */
  attn_free (layer->attentions);
}

/* The frames that come to the attention from the blocks in front of it, and their *present. */
static inline float *
frames_behind (const Story *s, AttnBlock **blocks, size_t n_blocks, size_t n, uint8_t *present)
{
  AttnLayer front = layer_of_blocks (s, blocks, n_blocks);
  size_t width = front.chain.n_outputs, n_done = 0;
  float *frames = new_values (n * width);
  AttnStream *stream;

  if (attn_layer_count (&front, s->n) != n)
    abort ();
  MUST (attn_stream_new (&front, &stream, NULL));
  MUST (attn_stream_reset (stream, s->first, NULL));
  for (size_t t = 0; t < s->n; t++)
    n_done += attn_stream_run (stream, frames_from (s, t), 1, frames + n_done * width, NULL, present + n_done);
  attn_stream_finish (stream, frames + n_done * width, NULL, present + n_done, SIZE_MAX);
  attn_stream_free (stream);
  layer_of_blocks_clear (&front);
  return frames;
}

/* By attn_forward () of the attention alone. */
static inline void
compute_rows (const Story *s, Attention *a)
{
  AttnBlock *blocks[MAX_BLOCKS], *last = (AttnBlock *) &s->layer->attentions[a->number]->block;
  size_t n_blocks = 0;
  AttnLayer alone;
  float *frames, *out;

  if (!find_blocks (&s->layer->chain, last, blocks, &n_blocks))
    abort ();
  alone = layer_of_blocks (s, &last, 1);
  frames = new_values (s->n * s->encoder.n_in);
  memcpy (frames, s->frames, s->n * s->encoder.n_in * sizeof *frames);
  memcpy (a->present, s->present, n_blocks > 1 ? 0 : s->n);
  if (n_blocks > 1) {
    free (frames);
    frames = frames_behind (s, blocks, n_blocks - 1, a->n, a->present);
  }
  out = new_values (a->n * last->n_outputs);
  MUST (attn_forward (&alone, frames, a->present, a->n, a->first, out, a->weights, NULL));
  free (frames);
  free (out);
  layer_of_blocks_clear (&alone);
}

static inline Attention
attention_of (const Story *s, uint32_t number)
{
  const AttnConfig *config = attn_layer_attention (s->layer, number);
  Attention a = { .number = number, .n_heads = config->n_heads, .n = s->n };
  uint32_t left = number;

  a.path.nodes = calloc (MAX_BLOCKS, sizeof *a.path.nodes);
  if (a.path.nodes == NULL || !find_path (&s->encoder.chain, &left, &a.path))
    abort ();
  a.law = chain_law (&a.path);
  a.law.first = s->first;
  a.span = config->n_sinks + config->window + config->look_ahead;
  a.n_row = a.n_heads * a.span;
  a.first = s->first / a.law.stride;
  for (size_t i = 0; i < a.path.n; i++)
    a.n = node_count (&a.path.nodes[i], a.n);
  a.weights = new_values (a.n * a.n_row);
  a.present = calloc (a.n + 1, 1);
  compute_rows (s, &a);
  return a;
}

static inline void
attention_clear (Attention *a)
{
  free (a->path.nodes);
  free (a->weights);
  free (a->present);
}

/* Encoders with attentions; s->law is that of the whole encoder. */
static inline Story
story_with_attention (void)
{
  for (;;) {
    Story s = random_story ();

    if (attn_layer_n_attentions (s.layer) > 0)
      return s;
    story_clear (&s);
  }
}

#endif
