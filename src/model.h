/*
 * libattn: the inside of an AttnModel: the parameters of one attention layer, found by name, as float32.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_MODEL_H
#define ATTN_SRC_MODEL_H

#include "attn.h"

/* One linear layer: out = weight in + bias. Absent: weight NULL (then bias too). */
typedef struct {
  uint32_t n_outputs;
  uint32_t n_inputs;
  float *weight; /* [n_outputs][n_inputs] */
  float *bias;   /* [n_outputs], or NULL */
} AttnLinear;

/* What the file's metadata claims about the layer; NULL = nothing. Compared as text or number by attn_config_check_model (). */
typedef struct {
  char *heads, *kv_heads, *window, *look_ahead, *sinks, *scale;
} AttnModelMetadata;

struct AttnModel {
  char *name;         /* path and prefix, for messages: "model.safetensors: encoder.self_attn." */
  const char *scheme; /* "PyTorch nn.MultiheadAttention", "Hugging Face" or "Annotated Transformer" */
  AttnLinear query, key, value;
  AttnLinear output; /* may be absent */
  AttnModelMetadata metadata;
};

#endif
