/* libattn: whole sequences.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/stream.h"

/* The number of frames from `first` on that are alike, all present or all absent. */
static size_t
n_alike (const uint8_t *present, size_t first, size_t n)
{
  size_t end = first + 1;

  if (present == NULL)
    return n - first;
  while (end < n && !present[end] == !present[first])
    end++;
  return end - first;
}

AttnStatus
attn_forward (const AttnLayer *layer, const float *frames, const uint8_t *present, size_t n, uint64_t first_frame,
              float *out, float *weights, AttnError *error)
{
  size_t n_weights = (size_t) attn_layer_n_heads (layer) * attn_layer_span (layer), n_done, first, n_run;
  AttnStream *stream;
  AttnStatus status = attn_stream_new_for (layer, n, &stream, error);

  if (status != ATTN_OK)
    return status;
  if ((status = attn_stream_reset (stream, first_frame, error)) != ATTN_OK) {
    attn_stream_free (stream);
    return status;
  }
  for (first = 0; first < n; first += n_run) {
    const float *run = present == NULL || present[first] ? frames + first * layer->chain.n_inputs : NULL;

    n_run = n_alike (present, first, n);
    n_done = attn_stream_run (stream, run, n_run, out, weights, NULL);
    out += n_done * layer->chain.n_outputs;
    weights = weights != NULL ? weights + n_done * n_weights : NULL;
  }
  attn_stream_drain (stream, out, weights);
  attn_stream_free (stream);
  return ATTN_OK;
}
