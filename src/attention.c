/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attention.h"

#include <string.h>

#include "alloc.h"
#include "cpu.h"
#include "status.h"

static float *
alloc_rows (size_t n_rows, size_t n)
{
  return attn_alloc (attn_size_mul (attn_size_mul (n_rows, n), sizeof (float)));
}

AttnStatus
attn_scratch_init (AttnScratch *scratch, const AttnSizes *sizes, size_t max_tiles, AttnError *error)
{
  *scratch = (AttnScratch){
    .frames = alloc_rows (ATTN_LANES, sizes->n_features),
    .queries = alloc_rows (ATTN_LANES, sizes->n_query),
    .keys = alloc_rows (ATTN_LANES, sizes->n_key),
    .values = alloc_rows (ATTN_LANES, sizes->n_value),
    .contexts = alloc_rows (ATTN_LANES, sizes->n_context),
    .context = alloc_rows (1, sizes->dv_padded),
    .scores = alloc_rows (ATTN_LANES, max_tiles),
    .masks = attn_alloc (attn_size_mul (max_tiles, sizeof (uint16_t))),
    .cosines = alloc_rows (1, sizes->n_rope_pairs),
    .sines = alloc_rows (1, sizes->n_rope_pairs),
  };
  if (scratch->frames && scratch->queries && scratch->keys && scratch->values && scratch->contexts && scratch->context
      && scratch->scores && scratch->masks && scratch->cosines && scratch->sines)
    return ATTN_OK;
  return attn_fail_memory (error, "working memory", attn_size_mul (max_tiles, ATTN_LANES * sizeof (float)));
}

void
attn_scratch_clear (AttnScratch *scratch)
{
  attn_free (scratch->frames);
  attn_free (scratch->queries);
  attn_free (scratch->keys);
  attn_free (scratch->values);
  attn_free (scratch->contexts);
  attn_free (scratch->context);
  attn_free (scratch->scores);
  attn_free (scratch->masks);
  attn_free (scratch->cosines);
  attn_free (scratch->sines);
}

/* RoPE for the queries and keys of `n` frames from number `frame` on. */
static void
rotate_frames (const AttnLayer *layer, AttnScratch *scratch, uint64_t frame, size_t n)
{
  const AttnSizes *sizes = &layer->sizes;
  float *cosines = scratch->cosines, *sines = scratch->sines;
  size_t i, head;

  for (i = 0; i < n; i++) {
    attn_rope_angles (layer->positions.turns, sizes->n_rope_pairs, frame + i, cosines, sines);
    for (head = 0; head < sizes->n_heads; head++)
      layer->kernels->rotate (scratch->queries + i * sizes->n_query + head * sizes->dk, cosines, sines,
                              sizes->n_rope_pairs, sizes->rope_layout);
    for (head = 0; head < sizes->n_kv_heads; head++)
      layer->kernels->rotate (scratch->keys + i * sizes->n_key + head * sizes->dk, cosines, sines, sizes->n_rope_pairs,
                              sizes->rope_layout);
  }
}

void
attn_take_frames (const AttnLayer *layer, AttnRing *ring, AttnScratch *scratch, const float *frames, size_t n)
{
  const AttnSizes *sizes = &layer->sizes;

  layer->kernels->scale (scratch->frames, frames, 1, n * sizes->n_features);
  attn_layer_project (layer, &layer->query, scratch->queries, scratch->frames, n);
  attn_layer_project (layer, &layer->key, scratch->keys, scratch->frames, n);
  attn_layer_project (layer, &layer->value, scratch->values, scratch->frames, n);
  if (sizes->position == ATTN_POSITION_ROPE)
    rotate_frames (layer, scratch, ring->next, n);
  layer->kernels->scale (scratch->queries, scratch->queries, sizes->query_factor, n * sizes->n_query);
  attn_ring_write (ring, scratch->keys, scratch->values, n);
}

/* scratch->scores [view->n_tiles][16] of one head; `kv_head` is the key/value head it uses. */
static void
score_head (const AttnLayer *layer, const AttnView *view, size_t kv_head, const float *query, float *scores)
{
  size_t dk = layer->sizes.dk;
  size_t i;

  for (i = 0; i < view->n_runs; i++) {
    const AttnRun *run = &view->runs[i];
    size_t tile = kv_head * run->tiles->n_tiles + run->begin;

    layer->kernels->scores (scores, query, run->tiles->keys + tile * dk * ATTN_LANES, dk, run->n_tiles);
    scores += run->n_tiles * ATTN_LANES;
  }
}

/* The scores of all tiles of the view, where there is a softcap. */
static void
cap_scores (const AttnLayer *layer, const AttnView *view, float *scores)
{
  const AttnSoftcap *softcap = &layer->sizes.softcap;

  if (softcap->cap != 0)
    layer->kernels->softcap (scores, softcap->factor, softcap->cap, view->n_tiles);
}

/* A sink that the window has left behind: ALiBi by its distance; a trained bias knows nothing of it. */
static void
bias_sinks (const AttnLayer *layer, const AttnRun *run, uint64_t frame, size_t head, float *scores)
{
  float biases[ATTN_LANES];
  size_t tile;

  if (layer->sizes.position != ATTN_POSITION_ALIBI)
    return;
  for (tile = 0; tile < run->n_tiles; tile++) {
    attn_alibi_biases (layer->positions.slopes[head], frame, run->first_frame + tile * ATTN_LANES, biases);
    layer->kernels->add_biases (scores + tile * ATTN_LANES, biases, 1);
  }
}

/* Adds ALiBi or the relative bias to scores [view->n_tiles][16] of one head. Neighbours in time are so in the table. */
static void
bias_head (const AttnLayer *layer, const AttnView *view, uint64_t frame, size_t head, float *scores)
{
  size_t i;

  for (i = 0; i < view->n_runs; i++) {
    const AttnRun *run = &view->runs[i];

    if (run->is_sinks)
      bias_sinks (layer, run, frame, head, scores);
    else
      layer->kernels->add_biases (
          scores, attn_position_bias (&layer->positions, &layer->sizes, head, frame, run->first_frame), run->n_tiles);
    scores += run->n_tiles * ATTN_LANES;
  }
}

/* context [dv_padded] = sum of weights (not yet divided by their sum) times values. */
static void
mix_values (const AttnLayer *layer, const AttnView *view, size_t kv_head, const float *weights, float *context)
{
  size_t row = layer->sizes.dv_padded;
  const uint16_t *masks = view->masks;
  size_t i;

  memset (context, 0, row * sizeof *context);
  for (i = 0; i < view->n_runs; i++) {
    const AttnRun *run = &view->runs[i];
    size_t tile = kv_head * run->tiles->n_tiles + run->begin;

    layer->kernels->context (context, weights, masks, run->tiles->values + tile * ATTN_LANES * row, row, run->n_tiles);
    weights += run->n_tiles * ATTN_LANES;
    masks += run->n_tiles;
  }
}

/* The weights of one head, multiplied by `reciprocal`, to their slots [span]. */
static void
store_weights (const AttnLayer *layer, const AttnView *view, uint64_t frame, const float *scores, float reciprocal,
               float *weights)
{
  const AttnSizes *sizes = &layer->sizes;
  const uint16_t *mask = view->masks;
  size_t i, tile, lane;

  memset (weights, 0, sizes->span * sizeof *weights);
  for (i = 0; i < view->n_runs; i++) {
    const AttnRun *run = &view->runs[i];
    /* What leads from a frame's number to its slot; modulo 2^64, as the window may begin before frame 0. */
    uint64_t to_slot = run->is_sinks ? 0 : sizes->n_sinks + sizes->window - 1 - frame;
    uint64_t slot = run->first_frame + to_slot;

    for (tile = 0; tile < run->n_tiles; tile++, mask++, scores += ATTN_LANES, slot += ATTN_LANES)
      for (lane = 0; lane < ATTN_LANES; lane++)
        if (*mask >> lane & 1)
          layer->kernels->scale (&weights[slot + lane], &scores[lane], reciprocal, 1);
  }
}

/*
 * The context [dv] of a head leaves with its gain. 0 silences a head whatever it saw: 0 * NaN would be NaN. 1 is no
 * multiplication.
 */
static void
apply_gain (const AttnLayer *layer, float gain, float *context)
{
  if (gain == 0)
    memset (context, 0, layer->sizes.dv * sizeof *context);
  else if (gain != 1)
    layer->kernels->scale (context, context, gain, layer->sizes.dv);
}

void
attn_attend (const AttnLayer *layer, const AttnRing *ring, AttnScratch *scratch, uint64_t frame, const float *queries,
             const float *gains, float *context, float *weights)
{
  const AttnSizes *sizes = &layer->sizes;
  AttnView view = { .masks = scratch->masks };
  size_t head;

  attn_ring_view (ring, frame, &view);
  for (head = 0; head < sizes->n_heads; head++) {
    size_t kv_head = head / sizes->heads_per_kv;
    float reciprocal, gain = gains != NULL ? gains[head] : 1;

    if (gain == 0 && weights == NULL) { /* nobody would see what it does */
      apply_gain (layer, gain, context + head * sizes->dv);
      continue;
    }
    score_head (layer, &view, kv_head, queries + head * sizes->dk, scratch->scores);
    cap_scores (layer, &view, scratch->scores);
    if (layer->positions.biases != NULL)
      bias_head (layer, &view, frame, head, scratch->scores);
    reciprocal = 1 / layer->kernels->softmax (scratch->scores, view.masks, view.n_tiles);
    mix_values (layer, &view, kv_head, scratch->scores, scratch->context);
    layer->kernels->scale (context + head * sizes->dv, scratch->context, reciprocal, sizes->dv);
    apply_gain (layer, gain, context + head * sizes->dv);
    if (weights != NULL)
      store_weights (layer, &view, frame, scratch->scores, reciprocal, weights + head * sizes->span);
  }
}
