/* libattn: the inside of an AttnLayer: a chain of blocks.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_LAYER_H
#define ATTN_SRC_LAYER_H

#include "blocks/attention.h"
#include "blocks/chain.h"
#include "parameters/model.h"

struct AttnLayer {
  AttnMachine machine; /* the kernels of its blocks */
  AttnChain chain;
  void *weights; /* of all blocks */
  size_t n_attentions;
  const AttnAttention **attentions; /* [n_attentions], in the order of frames, those inside of residuals too */
  uint32_t n_threads;               /* of each stream, at least 1 */
  AttnMetadata metadata;            /* of an encoder's file */
  uint32_t n_blocks;                /* the same */
  uint64_t n_parameters;            /* the same */
  uint32_t frame_rate[2];           /* frames per second in an encoder's file, a fraction; 0, 0: none */
  uint64_t hash;                    /* of everything that the output depends on; saved states are compared by it */
};

/* The first attention, which gives a layer of one block its heads and its window. There must be one. */
static inline const AttnAttention *
attn_layer_first (const AttnLayer *layer)
{
  return layer->attentions[0];
}

/* Derives the rest from the chain. */
AttnStatus attn_layer_sum_up (AttnLayer *layer, AttnError *error);

#endif
