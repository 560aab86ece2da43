/*
 * libattn: the rows of the block `attention`: their watcher, and the gains that they are computed with. Only a push
 * with a watcher, with weights or with gains per row runs this code.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "blocks/attention.h"

static void
note_by_row (AttnAttentionState *state)
{
  state->by_row = state->weights != NULL || state->watch != NULL || state->n_row_gains != 0;
}

/* ---- gains ---- */

static void
note_gains (AttnAttentionState *state)
{
  size_t head;

  state->has_gains = false;
  for (head = 0; head < state->attention->sizes.n_heads; head++)
    state->has_gains |= state->gains[head] != 1;
}

AttnStatus
attn_attention_set_gain (AttnAttentionState *state, uint32_t head, float gain)
{
  if (head >= state->attention->sizes.n_heads || !isfinite (gain))
    return ATTN_ERROR_CONFIG;
  state->gains[head] = attn_flush (gain, FLT_MIN);
  note_gains (state);
  return ATTN_OK;
}

AttnStatus
attn_attention_set_row_gains (AttnAttentionState *state, const float *gains, uint64_t n)
{
  uint64_t i;

  for (i = 0; i < n * state->attention->sizes.n_heads; i++)
    if (!isfinite (gains[i]))
      return ATTN_ERROR_CONFIG;
  state->row_gains = gains;
  state->n_row_gains = n;
  note_by_row (state);
  return ATTN_OK;
}

/* Sets the gains of the next rows. `run` ends where other gains begin. */
static void
take_row_gains (AttnAttentionState *state, AttnRun *run)
{
  size_t n_heads = state->attention->sizes.n_heads, head;
  uint64_t most = run->n < state->n_row_gains ? run->n : state->n_row_gains;

  for (head = 0; head < n_heads; head++)
    state->gains[head] = attn_flush (state->row_gains[head], FLT_MIN);
  note_gains (state);
  run->n = 1;
  while (run->n < most && memcmp (state->row_gains, state->row_gains + run->n * n_heads, n_heads * sizeof (float)) == 0)
    run->n++;
  state->row_gains += run->n * n_heads;
  state->n_row_gains -= run->n;
}

/* ---- rows ---- */

void
attn_attention_set_weights (AttnAttentionState *state, float *weights)
{
  state->weights = weights;
  note_by_row (state);
}

void
attn_attention_watch (AttnAttentionState *state, AttnWatch *watch)
{
  state->watch = watch;
  note_by_row (state);
}

/* Where the watcher's next row goes; NULL: nowhere. */
static float *
watched_row (const AttnAttentionState *state)
{
  const AttnSizes *sizes = &state->attention->sizes;
  const AttnWatch *watch = state->watch;

  if (watch == NULL || watch->weights == NULL || watch->n_rows >= watch->room)
    return NULL;
  return watch->weights + watch->n_rows * sizes->n_heads * sizes->span;
}

float *
attn_attention_begin_rows (AttnAttentionState *state, AttnRun *run)
{
  const AttnWatch *watch = state->watch;

  if (watch != NULL && watch->n_rows < watch->room && watch->room - watch->n_rows < run->n)
    run->n = watch->room - watch->n_rows;
  if (state->n_row_gains != 0)
    take_row_gains (state, run);
  return state->weights != NULL ? state->weights : watched_row (state);
}

void
attn_attention_end_rows (AttnAttentionState *state, const AttnRun *run, float *weights)
{
  const AttnSizes *sizes = &state->attention->sizes;
  size_t n = run->n * sizes->n_heads * sizes->span;
  float *watched = watched_row (state);
  AttnWatch *watch = state->watch;

  if (weights != NULL && !run->present)
    memset (weights, 0, n * sizeof *weights);
  if (watched != NULL && watched != weights)
    memcpy (watched, weights, n * sizeof *weights);
  if (state->weights != NULL)
    state->weights += n;
  if (watch != NULL && watch->present != NULL && watch->n_rows < watch->room)
    memset (watch->present + watch->n_rows, run->present, run->n);
  if (watch != NULL)
    watch->n_rows += run->n;
  note_by_row (state);
}
