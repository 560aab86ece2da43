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
  status = attn_scratch_init (&sequence->scratch, sizes, attn_ring_max_tiles (&sequence->ring), NULL);
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

static void
take_all (Sequence *sequence, const float *frames, const uint8_t *present, size_t n)
{
  const AttnSizes *sizes = &sequence->layer->sizes;
  size_t i;

  for (i = 0; i < n; i++) {
    if (present != NULL && !present[i]) {
      attn_ring_skip (&sequence->ring, 1);
      continue;
    }
    attn_take_frames (sequence->layer, &sequence->ring, &sequence->scratch, frames + i * sizes->n_features, 1);
    memcpy (sequence->queries + i * sizes->n_query, sequence->scratch.queries, sizes->n_query * sizeof (float));
  }
}

static void
answer_all (Sequence *sequence, const uint8_t *present, size_t n, uint64_t first_frame, float *out, float *weights)
{
  const AttnLayer *layer = sequence->layer;
  const AttnSizes *sizes = &layer->sizes;
  size_t n_weights = sizes->n_heads * sizes->span;
  size_t i;

  for (i = 0; i < n; i++, out += sizes->n_outputs) {
    float *row = weights != NULL ? weights + i * n_weights : NULL;

    if (present == NULL || present[i]) {
      attn_attend (layer, &sequence->ring, &sequence->scratch, first_frame + i, sequence->queries + i * sizes->n_query,
                   NULL, sequence->scratch.contexts, row);
      attn_layer_project (layer, &layer->output, out, sequence->scratch.contexts, 1);
    } else {
      memset (out, 0, sizes->n_outputs * sizeof *out);
      if (row != NULL)
        memset (row, 0, n_weights * sizeof *row);
    }
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
