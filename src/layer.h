/*
 * libattn: the inside of an AttnLayer: sizes, packed parameters, kernels.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_LAYER_H
#define ATTN_SRC_LAYER_H

#include "config.h"
#include "kernels.h"
#include "position.h"

struct AttnLayer {
  AttnSizes sizes;
  uint64_t hash; /* of everything that the output depends on: what saved states are compared by */
  const AttnKernels *kernels;
  AttnProjection query; /* [n_query] */
  AttnProjection key;   /* [n_key] */
  AttnProjection value; /* [n_value] */
  AttnProjection output;
  AttnPositions positions;
};

/* out [n_frames][projection->n_outputs] = projection of in [n_frames][n_inputs], cleaned; the identity copies. */
void attn_layer_project (const AttnLayer *layer, const AttnProjection *projection, float *out, const float *in,
                         size_t n_frames);

#endif
