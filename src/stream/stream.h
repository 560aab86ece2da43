/* libattn: the inside of an AttnStream.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_STREAM_H
#define ATTN_SRC_STREAM_H

#include "blocks/attention.h"
#include "stream/layer.h"

struct AttnStream {
  const AttnLayer *layer;
  AttnWork work;
  char *memory;         /* of all that follows */
  void **states;        /* [n_blocks], one for each block of the layer */
  float **between;      /* [n_blocks]: [16][n_outputs] of a block, on their way to the next; the last has none */
  AttnProgress in;      /* of the frames that came */
  uint64_t next_output; /* the number of the next one to leave */
};

/* Of the layer's first attention: whose weights and gains the stream speaks of. */
static inline AttnAttentionState *
attn_stream_attention (const AttnStream *stream)
{
  return stream->states[stream->layer->attention_index];
}

/* For streams of up to `max_frames` between two resets; SIZE_MAX: any number. */
AttnStatus attn_stream_new_for (const AttnLayer *layer, size_t max_frames, AttnStream **stream, AttnError *error);

/* attn_stream_push () or, with `frames` NULL, attn_stream_skip (). */
uint64_t attn_stream_take (AttnStream *stream, const float *frames, uint64_t n, float *out, float *weights);

#endif
