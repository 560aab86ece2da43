/*
 * libattn: the inside of an AttnModel: the parameters of one attention layer, found by name, as float32.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_MODEL_H
#define ATTN_SRC_MODEL_H

#include <stdbool.h>

#include "parameters/tensors.h"

/*
 * The most outputs of one projection (heads times dk), and inputs of the output projection (heads times dv): all heads
 * together may be four times as wide as the widest frame.
 */
#define ATTN_MODEL_MAX_ROWS (4 * ATTN_MAX_FEATURES)

/* One linear layer: out = weight in + bias. Absent: weight NULL, and then bias NULL. */
typedef struct {
  uint32_t n_outputs;
  uint32_t n_inputs;
  float *weight; /* [n_outputs][n_inputs] */
  float *bias;   /* [n_outputs], or NULL */
} AttnLinear;

/* A trained bias of the scores by distance. Absent: values NULL. */
typedef struct {
  uint32_t n_heads;
  uint32_t n_frames; /* window + look-ahead */
  float *values;     /* [n_heads][n_frames], oldest frame first */
} AttnRelativeBias;

/* The positions of Transformer-XL. Absent: n_heads 0. */
typedef struct {
  AttnLinear linear;          /* P, without a bias */
  uint32_t n_heads, n_values; /* of u and v */
  float *u, *v;               /* [n_heads][n_values] */
} AttnTransformerXl;

/* The weight of a norm and, maybe, its bias, [n_values] each. Absent: weight NULL. */
typedef struct {
  uint32_t n_values;
  float *weight;
  float *bias;
} AttnNormVectors;

/* The file's metadata. Texts from a file: attn_quote () them in messages. */
typedef struct {
  char *key, *value;
} AttnMetadataEntry;

struct AttnMetadata {
  AttnMetadataEntry *entries; /* [n] */
  size_t n;
};

/*
 * Checked: query, key and value have the same n_inputs (D); D and output.n_outputs (Dout) are at most
 * ATTN_MAX_FEATURES. Not checked, because it depends on the number of heads: how the n_outputs of query, key and value
 * and output.n_inputs go together.
 */
struct AttnModel {
  char *name;         /* path and prefix, for messages: model.safetensors: "encoder.self_attn." */
  const char *scheme; /* "PyTorch nn.MultiheadAttention", "Hugging Face" or "Annotated Transformer" */
  AttnLinear query, key, value;
  AttnLinear output;                    /* may be absent */
  AttnRelativeBias relative_bias;       /* may be absent */
  AttnTransformerXl transformer_xl;     /* may be absent */
  AttnNormVectors query_norm, key_norm; /* both may be absent */
  AttnMetadata metadata;
  bool is_header; /* attn_model_peek (): shapes and metadata are there, weights, biases and values NULL */
};

/*
 * The attention under `prefix`, without metadata; `keys` as in schemes.h. On failure the caller frees *model, if it is
 * not NULL, by attn_model_free ().
 */
AttnStatus attn_model_read (AttnTensors *tensors, const char *prefix, const AttnConfig *keys, AttnModel **model,
                            AttnError *error);

void attn_linear_free_arrays (AttnLinear *linear); /* accepts an absent one */

/* On failure the caller clears the copies by attn_metadata_clear (), which accepts a zeroed one. */
AttnStatus attn_metadata_copy (AttnMetadata *metadata, const AttnSafetensors *file, AttnError *error);
void attn_metadata_clear (AttnMetadata *metadata);

#endif
