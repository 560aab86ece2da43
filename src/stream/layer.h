/* libattn: the inside of an AttnLayer: a list of blocks.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_LAYER_H
#define ATTN_SRC_LAYER_H

#include "blocks/attention.h"

struct AttnLayer {
  AttnConfig config;   /* in effect */
  AttnMachine machine; /* that its blocks compute with */
  size_t n_blocks;
  AttnBlock **blocks;     /* [n_blocks] */
  size_t attention_index; /* of the first block that is an attention */
  size_t n_features;      /* D, values per input frame */
  size_t n_outputs;       /* Dout, values per output frame */
  uint32_t latency;       /* frames: output t needs the inputs up to t + latency */
  uint32_t n_threads;     /* of each stream, at least 1 */
  uint64_t hash;          /* of everything that the output depends on: what saved states are compared by */
};

/* The first attention: whose heads and window the layer speaks of. */
static inline const AttnAttention *
attn_layer_attention (const AttnLayer *layer)
{
  return (const AttnAttention *) layer->blocks[layer->attention_index];
}

#endif
