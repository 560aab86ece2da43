/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "alloc.h"
#include "attention.h"
#include "cpu.h"
#include "status.h"

/* The whole sequence in a "ring" that is long enough never to wrap: first all keys and values, then all queries. */
typedef struct {
  const AttnLayer *layer;
  AttnRing ring;
  AttnScratch scratch;
  float *queries; /* [n][n_query] */
} Sequence;

static AttnStatus
init_sequence (Sequence *sequence, const AttnLayer *layer, size_t n)
{
  const AttnSizes *sizes = &layer->sizes;
  AttnStatus status;

  *sequence = (Sequence){ .layer = layer };
  status = attn_ring_init (&sequence->ring, sizes, n / ATTN_LANES + 2, NULL);
  if (status != ATTN_OK)
    return status;
  status = attn_scratch_init (&sequence->scratch, &sequence->ring, NULL);
  if (status != ATTN_OK)
    return status;
  sequence->queries = attn_alloc (attn_size_mul (attn_size_mul (n, sizes->n_query), sizeof (float)));
  return sequence->queries != NULL ? ATTN_OK : ATTN_ERROR_MEMORY;
}

static void
clear_sequence (Sequence *sequence)
{
  attn_ring_clear (&sequence->ring);
  attn_scratch_clear (&sequence->scratch);
  attn_free (sequence->queries);
}

/* Frames from `first` on that are there, one after another, and fit into the current tile. */
static size_t
n_in_a_row (const Sequence *sequence, const uint8_t *present, size_t first, size_t n)
{
  size_t room = attn_ring_room (&sequence->ring), end = n - first < room ? n : first + room, i = first;

  while (i < end && (present == NULL || present[i]))
    i++;
  return i - first;
}

static void
take_all (Sequence *sequence, const float *frames, const uint8_t *present, size_t n)
{
  const AttnSizes *sizes = &sequence->layer->sizes;
  size_t first, n_block, i;

  for (first = 0; first < n; first += n_block) {
    n_block = n_in_a_row (sequence, present, first, n);
    if (n_block == 0) {
      attn_ring_skip (&sequence->ring, 1);
      n_block = 1;
      continue;
    }
    attn_take_frames (sequence->layer, &sequence->ring, &sequence->scratch, frames + first * sizes->n_features,
                      n_block);
    for (i = 0; i < n_block; i++)
      memcpy (sequence->queries + (first + i) * sizes->n_query, sequence->scratch.projected + i * sizes->n_projected,
              sizes->n_query * sizeof (float));
  }
}

static void
answer_all (Sequence *sequence, const uint8_t *present, size_t n, uint64_t first_frame, float *out, float *weights)
{
  const AttnLayer *layer = sequence->layer;
  const AttnSizes *sizes = &layer->sizes;
  size_t n_weights = sizes->n_heads * sizes->span;
  size_t first, n_block, i;

  for (first = 0; first < n; first += n_block) {
    n_block = n - first < ATTN_LANES ? n - first : ATTN_LANES;
    attn_attend (layer, &sequence->ring, &sequence->scratch, first_frame + first, n_block,
                 sequence->queries + first * sizes->n_query, NULL, sequence->scratch.contexts,
                 weights != NULL ? weights + first * n_weights : NULL);
    attn_layer_project_output (layer, attn_scratch_pool (layer, &sequence->scratch, n_block), sequence->scratch.left,
                               out + first * sizes->n_outputs, sequence->scratch.contexts, n_block);
  }
  for (i = 0; i < n && present != NULL; i++)
    if (!present[i]) {
      memset (out + i * sizes->n_outputs, 0, sizes->n_outputs * sizeof *out);
      if (weights != NULL)
        memset (weights + i * n_weights, 0, n_weights * sizeof *weights);
    }
}

AttnStatus
attn_forward (const AttnLayer *layer, const float *frames, const uint8_t *present, size_t n, uint64_t first_frame,
              float *out, float *weights)
{
  Sequence sequence;
  AttnStatus status = init_sequence (&sequence, layer, n);

  if (status == ATTN_OK) {
    uint64_t mode = attn_float_enter ();

    attn_ring_reset (&sequence.ring, first_frame);
    take_all (&sequence, frames, present, n);
    answer_all (&sequence, present, n, first_frame, out, weights);
    attn_float_leave (mode);
  }
  clear_sequence (&sequence);
  return status;
}
