/*
 * libattn: the names of the parameters of an attention: the naming schemes, which of them a file has under a prefix,
 * and where query, key, value and output stand in it.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_SCHEMES_H
#define ATTN_SRC_SCHEMES_H

#include "parameters/tensors.h"

enum { ATTN_QUERY, ATTN_KEY, ATTN_VALUE, ATTN_N_PROJECTIONS };

/* The tensors of one linear layer: some rows of a weight and, if there is a bias, of the bias. */
typedef struct {
  const AttnTensor *weight, *bias;
  uint64_t first_row, n_rows; /* of the weight */
  uint64_t first_bias;
} AttnSource;

/* A weight and, maybe, a bias. weight NULL: neither. */
typedef struct {
  const AttnTensor *weight, *bias;
} AttnPair;

/* The positions of Transformer-XL: all three tensors or none. */
typedef struct {
  AttnSource linear;
  const AttnTensor *u, *v; /* of the same shape */
} AttnXlSources;

typedef struct {
  const char *scheme; /* "PyTorch nn.MultiheadAttention", "Hugging Face" or "Annotated Transformer" */
  AttnSource projections[ATTN_N_PROJECTIONS];
  AttnSource output;               /* weight NULL: absent */
  const AttnTensor *relative_bias; /* NULL: absent */
  AttnXlSources xl;
  AttnPair query_norm, key_norm; /* both or neither */
} AttnSources;

/*
 * Finds exactly one scheme under `prefix`, whose shapes fit together. Of a layer alone, `keys` is NULL, and no other
 * tensor may be there. Of a block of an encoder they are its keys: the tensors are shared with other blocks. Norms and
 * positions that the keys do not ask for are then left alone, and the caller looks for unused tensors when all blocks
 * are known.
 */
AttnStatus attn_schemes_find (const AttnTensors *tensors, const char *prefix, const AttnConfig *keys,
                              AttnSources *sources, AttnError *error);

/* Whether `tensor`, called `name` under a prefix, may be ignored. */
bool attn_schemes_is_harmless (const AttnTensor *tensor, const char *name);

/* The error that nothing computes with `tensor`, called `name` under the prefix of an attention, and why. */
AttnStatus attn_schemes_fail_unused (const char *label, const AttnTensor *tensor, const char *name, AttnError *error);

#endif
