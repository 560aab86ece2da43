/*
 * libattn: the inside of an AttnLayer: sizes, packed parameters, kernels.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_LAYER_H
#define ATTN_SRC_LAYER_H

#include "config.h"
#include "kernels.h"
#include "matrix.h"
#include "pool.h"
#include "position.h"

struct AttnLayer {
  AttnConfig config; /* in effect */
  AttnSizes sizes;
  uint64_t hash; /* of everything that the output depends on: what saved states are compared by */
  const AttnKernels *kernels;
  const AttnMatrixKernels *matrix; /* NULL: all is computed by the kernels */
  char kernels_name[32];
  AttnProjection input;  /* [n_projected]: queries, keys and values of all heads, one after another */
  AttnProjection output; /* [n_outputs] */
  AttnPositions positions;
};

/*
 * `pool`: whose threads share the work; NULL = the caller does it alone. `left`: room for the n <= 16 frames as a left
 * operand (matrix.h), where the layer has matrix kernels.
 */

/* projected [n][n_projected]: queries, keys and values of cleaned frames [n][n_features]. */
void attn_layer_project_input (const AttnLayer *layer, AttnPool *pool, uint16_t *left, float *projected,
                               const float *frames, size_t n);

/* out [n][n_outputs] = output projection of contexts [n][n_context], cleaned; the identity copies. */
void attn_layer_project_output (const AttnLayer *layer, AttnPool *pool, uint16_t *left, float *out,
                                const float *contexts, size_t n);

#endif
