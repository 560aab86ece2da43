/* libattn: the inside of an AttnStream.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_STREAM_H
#define ATTN_SRC_STREAM_H

#include "blocks/attention.h"
#include "stream/layer.h"

struct AttnStream {
  const AttnLayer *layer;
  AttnWork work;
  char *memory; /* of all that follows */
  AttnChainState *chain;
  AttnAttentionState **attentions; /* [n_attentions] of the layer */
  AttnProgress in;                 /* of the frames that came */
  uint64_t next_output;            /* the number of the next one to leave */
};

/* Of the layer's first attention: whose weights and gains the stream speaks of. NULL: it has none. */
static inline AttnAttentionState *
attn_stream_first (const AttnStream *stream)
{
  return stream->layer->n_attentions > 0 ? stream->attentions[0] : NULL;
}

/* For streams of up to `max_frames` between two resets; SIZE_MAX: any number. */
AttnStatus attn_stream_new_for (const AttnLayer *layer, size_t max_frames, AttnStream **stream, AttnError *error);

#endif
