/* libattn: the inside of an AttnLayer: a chain of blocks.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_LAYER_H
#define ATTN_SRC_LAYER_H

#include "blocks/attention.h"
#include "blocks/chain.h"
#include "parameters/model.h"

struct AttnLayer {
  AttnMachine machine; /* that its blocks compute with */
  AttnChain chain;
  size_t n_attentions;
  const AttnAttention **attentions; /* [n_attentions], in the order of frames, those inside of residuals too */
  uint32_t n_threads;               /* of each stream, at least 1 */
  AttnMetadata metadata;            /* of an encoder's file */
  uint32_t frame_rate[2];           /* frames per second that an encoder's file speaks of, a fraction; 0, 0: of none */
  uint64_t hash;                    /* of everything that the output depends on: what saved states are compared by */
};

/* The first attention: whose heads and window a layer of one block speaks of. There is one. */
static inline const AttnAttention *
attn_layer_first (const AttnLayer *layer)
{
  return layer->attentions[0];
}

/* What follows from the chain. */
AttnStatus attn_layer_sum_up (AttnLayer *layer, AttnError *error);

#endif
