/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _POSIX_C_SOURCE 200809L /* strdup */

#include "parameters/model.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/quote.h"
#include "parameters/safetensors.h"
#include "base/status.h"

#define MAX_PREFIXES_SHOWN 5
#define MAX_TENSORS_SHOWN 4

/* ---- names ---- */

/* Sets of schemes: out_proj belongs to two. */
enum { TORCH = 1, HUGGING_FACE = 2, ANNOTATED = 4, ANY_SCHEME = TORCH | HUGGING_FACE | ANNOTATED };

typedef enum {
  TORCH_IN_WEIGHT,
  TORCH_Q_WEIGHT,
  TORCH_K_WEIGHT,
  TORCH_V_WEIGHT,
  TORCH_IN_BIAS,
  OUT_PROJ_WEIGHT,
  OUT_PROJ_BIAS,
  HF_Q_WEIGHT, /* from here on every weight is followed by its bias */
  HF_Q_BIAS,
  HF_K_WEIGHT,
  HF_K_BIAS,
  HF_V_WEIGHT,
  HF_V_BIAS,
  HF_O_WEIGHT,
  HF_O_BIAS,
  HF_OUTPUT_WEIGHT,
  HF_OUTPUT_BIAS,
  HF_DENSE_WEIGHT,
  HF_DENSE_BIAS,
  ANNOTATED_Q_WEIGHT,
  ANNOTATED_Q_BIAS,
  ANNOTATED_K_WEIGHT,
  ANNOTATED_K_BIAS,
  ANNOTATED_V_WEIGHT,
  ANNOTATED_V_BIAS,
  ANNOTATED_O_WEIGHT,
  ANNOTATED_O_BIAS,
  RELATIVE_BIAS,
  N_STEMS
} Stem;

static const struct {
  const char *name;
  unsigned schemes;
} stems[N_STEMS] = {
  [TORCH_IN_WEIGHT] = { "in_proj_weight", TORCH },
  [TORCH_Q_WEIGHT] = { "q_proj_weight", TORCH },
  [TORCH_K_WEIGHT] = { "k_proj_weight", TORCH },
  [TORCH_V_WEIGHT] = { "v_proj_weight", TORCH },
  [TORCH_IN_BIAS] = { "in_proj_bias", TORCH },
  [OUT_PROJ_WEIGHT] = { "out_proj.weight", TORCH | HUGGING_FACE },
  [OUT_PROJ_BIAS] = { "out_proj.bias", TORCH | HUGGING_FACE },
  [HF_Q_WEIGHT] = { "q_proj.weight", HUGGING_FACE },
  [HF_Q_BIAS] = { "q_proj.bias", HUGGING_FACE },
  [HF_K_WEIGHT] = { "k_proj.weight", HUGGING_FACE },
  [HF_K_BIAS] = { "k_proj.bias", HUGGING_FACE },
  [HF_V_WEIGHT] = { "v_proj.weight", HUGGING_FACE },
  [HF_V_BIAS] = { "v_proj.bias", HUGGING_FACE },
  [HF_O_WEIGHT] = { "o_proj.weight", HUGGING_FACE },
  [HF_O_BIAS] = { "o_proj.bias", HUGGING_FACE },
  [HF_OUTPUT_WEIGHT] = { "output_proj.weight", HUGGING_FACE },
  [HF_OUTPUT_BIAS] = { "output_proj.bias", HUGGING_FACE },
  [HF_DENSE_WEIGHT] = { "dense.weight", HUGGING_FACE },
  [HF_DENSE_BIAS] = { "dense.bias", HUGGING_FACE },
  [ANNOTATED_Q_WEIGHT] = { "linears.0.weight", ANNOTATED },
  [ANNOTATED_Q_BIAS] = { "linears.0.bias", ANNOTATED },
  [ANNOTATED_K_WEIGHT] = { "linears.1.weight", ANNOTATED },
  [ANNOTATED_K_BIAS] = { "linears.1.bias", ANNOTATED },
  [ANNOTATED_V_WEIGHT] = { "linears.2.weight", ANNOTATED },
  [ANNOTATED_V_BIAS] = { "linears.2.bias", ANNOTATED },
  [ANNOTATED_O_WEIGHT] = { "linears.3.weight", ANNOTATED },
  [ANNOTATED_O_BIAS] = { "linears.3.bias", ANNOTATED },
  [RELATIVE_BIAS] = { "relative_bias", ANY_SCHEME },
};

/* One of these makes a prefix worth showing to somebody who gave another one. */
static const Stem telling_stems[] = { TORCH_IN_WEIGHT, TORCH_Q_WEIGHT, HF_Q_WEIGHT, ANNOTATED_Q_WEIGHT };
#define N_TELLING_STEMS (sizeof telling_stems / sizeof telling_stems[0])

#define ONE_BIAS "trained position biases are supported as one tensor, relative_bias, alone"
#define TRANSFORMER_XL "positions as in Transformer-XL, which the queries meet, are not supported"
#define GATED_BIAS "position biases that the queries gate (WavLM) are not supported"
#define GATE "a gate of what the heads give is not supported"
#define SUB_NORM "a norm between the heads and the output projection is not supported"
#define Q_NORM "normalised queries are not supported"
#define K_NORM "normalised keys are not supported"
#define TRAINED_SCALE "a trained scale of the scores is not supported"
#define LATENT "keys and values that are made from a latent (MLA) are not supported"
#define PLAIN "only plain weights and biases are supported, neither quantised nor adapted ones"
#define FUSED                                                                                            \
  "query, key and value in one tensor, the order of which differs from family to family, are not read: " \
  "examples/export_torch.py writes them apart"
#define RENAMED \
  "it is known by another name here: examples/export_torch.py writes it as q_proj, k_proj, v_proj or out_proj"

/*
 * Starts of names that change the attention in a way that this library does not compute, and what they would have
 * meant; the more special ones first.
 */
static const struct {
  const char *start, *reason;
} unsupported[] = {
  { "bias_k", "a key that is appended to the sequence (add_bias_kv) is not supported" },
  { "bias_v", "a value that is appended to the sequence (add_bias_kv) is not supported" },
  { "q_norm", Q_NORM },
  { "query_norm", Q_NORM },
  { "norm_q", Q_NORM },
  { "q_layernorm", Q_NORM },
  { "q_ln", Q_NORM },
  { "k_norm", K_NORM },
  { "key_norm", K_NORM },
  { "norm_k", K_NORM },
  { "k_layernorm", K_NORM },
  { "k_ln", K_NORM },
  { "sinks", "trained sink scores are not supported" },
  { "logit_scale", TRAINED_SCALE },
  { "temperature", TRAINED_SCALE },
  { "scale", TRAINED_SCALE },
  { "tau", TRAINED_SCALE },
  { "relative_bias", ONE_BIAS },
  { "relative_attention_bias", ONE_BIAS },
  { "relative_position_bias", ONE_BIAS },
  { "rel_attn_embed", ONE_BIAS },
  { "rel_pos", ONE_BIAS },
  { "distance_embedding", ONE_BIAS },
  { "gru_rel_pos", GATED_BIAS },
  { "linear_pos", TRANSFORMER_XL },
  { "pos_proj", TRANSFORMER_XL },
  { "relative_k_proj", TRANSFORMER_XL },
  { "pos_bias_", TRANSFORMER_XL },
  { "r_r_bias", TRANSFORMER_XL },
  { "r_w_bias", TRANSFORMER_XL },
  { "g_proj", GATE },
  { "gate", GATE },
  { "attn_sub_norm", SUB_NORM },
  { "inner_attn_ln", SUB_NORM },
  { "sub_norm", SUB_NORM },
  { "q_a_", LATENT },
  { "kv_a_", LATENT },
  { "kv_b_", LATENT },
  { "in_proj_weight", PLAIN },
  { "in_proj_bias", PLAIN },
  { "q_proj", PLAIN },
  { "k_proj", PLAIN },
  { "v_proj", PLAIN },
  { "o_proj", PLAIN },
  { "out_proj", PLAIN },
  { "output_proj", PLAIN },
  { "dense", PLAIN },
  { "lora_", PLAIN },
  { "linears.", "only plain weights and biases of linears.0 to linears.3 are supported" },
  { "qkv", FUSED },
  { "query_key_value", FUSED },
  { "Wqkv", FUSED },
  { "wqkv", FUSED },
  { "c_attn", FUSED },
  { "to_qkv", FUSED },
  { "in_proj.", FUSED },
  { "query", RENAMED },
  { "key", RENAMED },
  { "value", RENAMED },
  { "self.", RENAMED },
  { "linear_q", RENAMED },
  { "linear_k", RENAMED },
  { "linear_v", RENAMED },
  { "q_lin", RENAMED },
  { "k_lin", RENAMED },
  { "v_lin", RENAMED },
  { "to_q", RENAMED },
  { "to_k", RENAMED },
  { "to_v", RENAMED },
  { "wq.", RENAMED },
  { "wk.", RENAMED },
  { "wv.", RENAMED },
};

/* What stands beside the parameters in files, and changes nothing: tables, and masks, for which there is the window. */
static const struct {
  const char *name;
  bool may_be_any, may_have_4_dims; /* else of dtype BOOL */
} harmless[] = {
  { "rotary_emb.inv_freq", true, true },
  { "rotary_emb.cos_cached", true, true },
  { "rotary_emb.sin_cached", true, true },
  { "position_ids", true, true },
  { "masked_bias", true, true },
  { "bias", false, true },
  { "mask", false, false },
  { "causal_mask", false, false },
  { "attn_mask", false, false },
};

static bool
starts_with (const char *text, const char *start)
{
  return strncmp (text, start, strlen (start)) == 0;
}

static const char *
unsupported_reason (const char *name)
{
  for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++)
    if (starts_with (name, unsupported[i].start))
      return unsupported[i].reason;
  return NULL;
}

static bool
is_harmless (const AttnTensor *tensor, const char *name)
{
  for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
    if (strcmp (name, harmless[i].name) == 0)
      return harmless[i].may_be_any || (harmless[i].may_have_4_dims && tensor->n_dims == 4)
             || strcmp (tensor->dtype_name, "BOOL") == 0;
  return false;
}

/* ---- what is under the prefix ---- */

typedef struct {
  AttnSafetensors *file;
  const char *path, *prefix;
  bool header_only;
  const AttnTensor *tensors[N_STEMS];
  /* The first of those that nothing here computes with: of what is known, and of what is not. */
  const AttnTensor *unsupported, *unknown;
} Finds;

static void
find_tensors (Finds *finds)
{
  for (size_t i = 0; i < attn_safetensors_n_tensors (finds->file); i++) {
    const AttnTensor *tensor = attn_safetensors_tensor (finds->file, i), **place;
    const char *name = tensor->name + strlen (finds->prefix);
    Stem stem;

    if (!starts_with (tensor->name, finds->prefix))
      continue;
    for (stem = 0; stem < N_STEMS && strcmp (name, stems[stem].name) != 0; stem++)
      ;
    if (stem == N_STEMS && is_harmless (tensor, name))
      continue;
    place = stem < N_STEMS                      ? &finds->tensors[stem]
            : unsupported_reason (name) != NULL ? &finds->unsupported
                                                : &finds->unknown;
    if (*place == NULL)
      *place = tensor;
  }
}

/* The first tensor that belongs to one of these schemes and to no other; NULL: none. */
static const AttnTensor *
first_of (const Finds *finds, unsigned schemes)
{
  for (Stem stem = 0; stem < N_STEMS; stem++)
    if (finds->tensors[stem] != NULL && (stems[stem].schemes & ~schemes) == 0)
      return finds->tensors[stem];
  return NULL;
}

static AttnStatus
fail_memory (const Finds *finds, size_t size, const char *what, AttnError *error)
{
  if (size == SIZE_MAX)
    return attn_fail (error, ATTN_ERROR_MEMORY, "%s: %s would be too large to address", finds->path, what);
  return attn_fail (error, ATTN_ERROR_MEMORY, "%s: out of memory: %zu bytes for %s", finds->path, size, what);
}

static AttnStatus
fail_unsupported (const Finds *finds, AttnError *error)
{
  const char *name = finds->unsupported->name;

  return attn_fail (error, ATTN_ERROR_MODEL, "%s: it has %s, but %s", finds->path, attn_quote (name).text,
                    unsupported_reason (name + strlen (finds->prefix)));
}

static AttnStatus
fail_both (const Finds *finds, const AttnTensor *a, const AttnTensor *b, AttnError *error)
{
  return attn_fail (error, ATTN_ERROR_MODEL, "%s: it has both %s and %s, and it takes one of them to know the layer by",
                    finds->path, attn_quote (a->name).text, attn_quote (b->name).text);
}

static AttnStatus
fail_unknown (const Finds *finds, AttnError *error)
{
  return attn_fail (
      error, ATTN_ERROR_MODEL,
      "%s: it has %s, which no attention layer that is known here has: without it the numbers may be "
      "others. If it is none of this layer's, leave it out: examples/export_torch.py writes a layer alone",
      finds->path, attn_quote (finds->unknown->name).text);
}

/* The length of the prefix that makes `name` a telling one; SIZE_MAX: it is none. */
static size_t
telling_prefix (const char *name)
{
  size_t length = strlen (name);

  for (size_t i = 0; i < N_TELLING_STEMS; i++) {
    const char *stem = stems[telling_stems[i]].name;
    size_t n = length - strlen (stem);

    if (strlen (stem) <= length && strcmp (name + n, stem) == 0 && (n == 0 || name[n - 1] == '.'))
      return n;
  }
  return SIZE_MAX;
}

/* Writes ", "-separated prefixes into text [size] and returns how many there are in the file. */
static size_t
list_prefixes (const AttnSafetensors *file, char *text, size_t size)
{
  size_t n_prefixes = 0, used = 0;

  text[0] = '\0';
  for (size_t i = 0; i < attn_safetensors_n_tensors (file); i++) {
    const char *name = attn_safetensors_tensor (file, i)->name;
    size_t n = telling_prefix (name);

    if (n == SIZE_MAX || n_prefixes++ >= MAX_PREFIXES_SHOWN || used >= size)
      continue;
    used += (size_t) snprintf (text + used, size - used, "%s%s", used == 0 ? "" : ", ", attn_quote_n (name, n).text);
  }
  return n_prefixes;
}

/* A name as layers of attention have them. */
static bool
is_suspect (const char *name)
{
  static const char *const parts[] = { "att", "qkv", "query", "_proj", "Wq" };

  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    if (strstr (name, parts[i]) != NULL)
      return true;
  return false;
}

/* Writes some names into text [size], ", "-separated: of those that look like attention, or else of all. */
static void
list_tensors (const AttnSafetensors *file, char *text, size_t size)
{
  size_t n = attn_safetensors_n_tensors (file), used = 0, n_shown = 0;

  text[0] = '\0';
  for (int suspects = 1; suspects >= 0 && n_shown == 0; suspects--)
    for (size_t i = 0; i < n && n_shown < MAX_TENSORS_SHOWN && used < size; i++) {
      const char *name = attn_safetensors_tensor (file, i)->name;

      if (!suspects || is_suspect (name))
        used +=
            (size_t) snprintf (text + used, size - used, "%s%s", n_shown++ == 0 ? "" : ", ", attn_quote (name).text);
    }
}

static AttnStatus
fail_nothing (const Finds *finds, AttnError *error)
{
  size_t n_tensors = attn_safetensors_n_tensors (finds->file), n_prefixes;
  char names[600], more[48] = "";

  n_prefixes = list_prefixes (finds->file, names, sizeof names);
  if (n_prefixes > MAX_PREFIXES_SHOWN)
    snprintf (more, sizeof more, " and %zu more", n_prefixes - MAX_PREFIXES_SHOWN);
  if (n_prefixes > 0)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: no attention layer under the prefix %s; the file has one under %s%s", finds->path,
                      attn_quote (finds->prefix).text, names, more);
  list_tensors (finds->file, names, sizeof names);
  return attn_fail (error, ATTN_ERROR_MODEL,
                    "%s: no attention layer under the prefix %s, nor anywhere else in its %zu tensors, such as %s. "
                    "examples/export_torch.py knows more names, and writes them as they are read here",
                    finds->path, attn_quote (finds->prefix).text, n_tensors, n_tensors == 0 ? "none" : names);
}

/* ---- reading ---- */

/* Where one linear layer stands: some rows of a weight and, if there is a bias, of the bias. */
typedef struct {
  const AttnTensor *weight, *bias;
  uint64_t first_row, n_rows; /* of the weight */
  uint64_t first_bias;
} Source;

static AttnStatus
fail_shape (const Finds *finds, const AttnTensor *tensor, const char *wanted, AttnError *error)
{
  return attn_fail (error, ATTN_ERROR_MODEL, "%s: %s has shape %s, but %s", finds->path, attn_quote (tensor->name).text,
                    attn_tensor_shape (tensor).text, wanted);
}

static AttnStatus
check_dtype (const Finds *finds, const AttnTensor *tensor, AttnError *error)
{
  if (tensor->dtype != ATTN_DTYPE_OTHER)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_MODEL, "%s: %s has dtype %s, but F32, F16, BF16 or F64 is needed", finds->path,
                    attn_quote (tensor->name).text, tensor->dtype_name);
}

static AttnStatus
check_weight (const Finds *finds, const AttnTensor *weight, uint64_t max_rows, uint64_t max_inputs, AttnError *error)
{
  char wanted[96];

  if (check_dtype (finds, weight, error) != ATTN_OK)
    return ATTN_ERROR_MODEL;
  if (weight->n_dims != 2)
    return fail_shape (finds, weight, "a weight has 2 dimensions, [outputs, inputs]", error);
  if (weight->n_elements != 0 && weight->dims[0] <= max_rows && weight->dims[1] <= max_inputs)
    return ATTN_OK;
  snprintf (wanted, sizeof wanted, "it takes 1 to %" PRIu64 " outputs and 1 to %" PRIu64 " inputs", max_rows,
            max_inputs);
  return fail_shape (finds, weight, wanted, error);
}

static AttnStatus
check_bias (const Finds *finds, const AttnTensor *bias, uint64_t n_rows, const AttnTensor *weight, AttnError *error)
{
  char wanted[96 + sizeof (AttnQuote)];

  if (bias == NULL)
    return ATTN_OK;
  if (check_dtype (finds, bias, error) != ATTN_OK)
    return ATTN_ERROR_MODEL;
  if (bias->n_dims == 1 && bias->dims[0] == n_rows)
    return ATTN_OK;
  snprintf (wanted, sizeof wanted, "[%" PRIu64 "] is needed to go with %s", n_rows, attn_quote (weight->name).text);
  return fail_shape (finds, bias, wanted, error);
}

static AttnStatus
read_floats (const Finds *finds, const AttnTensor *tensor, uint64_t first, size_t n, float **values, AttnError *error)
{
  size_t size = attn_size_mul (n, sizeof (float));

  if (finds->header_only)
    return ATTN_OK;
  *values = attn_alloc (size);
  if (*values == NULL)
    return fail_memory (finds, size, attn_quote (tensor->name).text, error);
  return attn_safetensors_read (finds->file, tensor, first, n, *values, error);
}

/* How many heads and frames there have to be, the configuration of a layer knows. */
static AttnStatus
read_relative_bias (const Finds *finds, AttnRelativeBias *bias, AttnError *error)
{
  const AttnTensor *tensor = finds->tensors[RELATIVE_BIAS];
  char wanted[96];

  if (tensor == NULL)
    return ATTN_OK;
  if (check_dtype (finds, tensor, error) != ATTN_OK)
    return ATTN_ERROR_MODEL;
  if (tensor->n_dims != 2)
    return fail_shape (finds, tensor, "it takes 2 dimensions, [heads, window + look-ahead]", error);
  if (tensor->n_elements == 0 || tensor->dims[0] > ATTN_MAX_FEATURES || tensor->dims[1] > 2 * ATTN_MAX_WINDOW) {
    snprintf (wanted, sizeof wanted, "it takes 1 to %u heads and 1 to %u frames", ATTN_MAX_FEATURES,
              2 * ATTN_MAX_WINDOW);
    return fail_shape (finds, tensor, wanted, error);
  }
  bias->n_heads = (uint32_t) tensor->dims[0];
  bias->n_frames = (uint32_t) tensor->dims[1];
  return read_floats (finds, tensor, 0, (size_t) tensor->n_elements, &bias->values, error);
}

static AttnStatus
read_linear (const Finds *finds, const Source *source, AttnLinear *linear, AttnError *error)
{
  uint64_t n_inputs = source->weight->dims[1];
  size_t n_weights = attn_size_mul ((size_t) source->n_rows, (size_t) n_inputs);
  AttnStatus status;

  linear->n_outputs = (uint32_t) source->n_rows;
  linear->n_inputs = (uint32_t) n_inputs;
  status = read_floats (finds, source->weight, source->first_row * n_inputs, n_weights, &linear->weight, error);
  if (status == ATTN_OK && source->bias != NULL)
    status = read_floats (finds, source->bias, source->first_bias, (size_t) source->n_rows, &linear->bias, error);
  return status;
}

/* ---- the schemes: each finds out where query, key, value and output stand ---- */

enum { N_PROJECTIONS = 3 }; /* query, key, value */

typedef struct {
  Source projections[N_PROJECTIONS];
  Source output; /* weight NULL: absent */
} Sources;

/* The tensor at `stem`, without which `present` makes no sense. */
static AttnStatus
require (const Finds *finds, const AttnTensor *present, Stem stem, AttnError *error)
{
  char *name;
  size_t size;
  AttnStatus status;

  if (finds->tensors[stem] != NULL)
    return ATTN_OK;
  size = strlen (finds->prefix) + strlen (stems[stem].name) + 1;
  name = malloc (size);
  if (name == NULL)
    return fail_memory (finds, size, "a name", error);
  snprintf (name, size, "%s%s", finds->prefix, stems[stem].name);
  status = attn_fail (error, ATTN_ERROR_MODEL, "%s: it has %s, but no %s", finds->path, attn_quote (present->name).text,
                      attn_quote (name).text);
  free (name);
  return status;
}

static AttnStatus
locate_weight (const Finds *finds, Stem stem, Source *source, AttnError *error)
{
  source->weight = finds->tensors[stem];
  source->n_rows = source->weight->dims[0];
  return check_weight (finds, source->weight, ATTN_MODEL_MAX_ROWS, ATTN_MAX_FEATURES, error);
}

/* The output may be absent, and its shape has other bounds. */
static AttnStatus
locate_output (const Finds *finds, Stem weight, Stem bias, Source *output, AttnError *error)
{
  AttnStatus status;

  output->weight = finds->tensors[weight];
  output->bias = finds->tensors[bias];
  if (output->weight == NULL)
    return output->bias == NULL ? ATTN_OK : require (finds, output->bias, weight, error);
  output->n_rows = output->weight->dims[0];
  status = check_weight (finds, output->weight, ATTN_MAX_FEATURES, ATTN_MODEL_MAX_ROWS, error);
  if (status != ATTN_OK)
    return status;
  return check_bias (finds, output->bias, output->n_rows, output->weight, error);
}

/* Query, key and value in one weight: a third of its rows each. */
static AttnStatus
locate_thirds (const Finds *finds, Sources *sources, AttnError *error)
{
  const AttnTensor *weight = finds->tensors[TORCH_IN_WEIGHT];
  AttnStatus status = check_weight (finds, weight, 3 * ATTN_MODEL_MAX_ROWS, ATTN_MAX_FEATURES, error);

  if (status != ATTN_OK)
    return status;
  if (weight->dims[0] % 3 != 0)
    return fail_shape (finds, weight, "its rows are query, key and value and have to divide by 3", error);
  for (unsigned i = 0; i < N_PROJECTIONS; i++) {
    sources->projections[i].weight = weight;
    sources->projections[i].n_rows = weight->dims[0] / 3;
    sources->projections[i].first_row = i * (weight->dims[0] / 3);
  }
  return ATTN_OK;
}

static AttnStatus
locate_torch_apart (const Finds *finds, Sources *sources, AttnError *error)
{
  const AttnTensor *present = first_of (finds, TORCH);

  if (present == finds->tensors[TORCH_IN_BIAS])
    return require (finds, present, TORCH_IN_WEIGHT, error);
  for (unsigned i = 0; i < N_PROJECTIONS; i++) {
    AttnStatus status = require (finds, present, TORCH_Q_WEIGHT + i, error);

    if (status == ATTN_OK)
      status = locate_weight (finds, TORCH_Q_WEIGHT + i, &sources->projections[i], error);
    if (status != ATTN_OK)
      return status;
  }
  return ATTN_OK;
}

/* One bias for query, key and value, in this order, however their weights are stored. */
static AttnStatus
locate_torch_bias (const Finds *finds, Sources *sources, AttnError *error)
{
  const AttnTensor *bias = finds->tensors[TORCH_IN_BIAS];
  uint64_t n = 0;

  for (unsigned i = 0; i < N_PROJECTIONS; i++) {
    sources->projections[i].bias = bias;
    sources->projections[i].first_bias = n;
    n += sources->projections[i].n_rows;
  }
  return check_bias (finds, bias, n, sources->projections[0].weight, error);
}

static AttnStatus
locate_torch (const Finds *finds, Sources *sources, AttnError *error)
{
  AttnStatus status;

  if (finds->tensors[TORCH_IN_WEIGHT] == NULL)
    status = locate_torch_apart (finds, sources, error);
  else {
    for (Stem stem = TORCH_Q_WEIGHT; stem <= TORCH_V_WEIGHT; stem++)
      if (finds->tensors[stem] != NULL)
        return fail_both (finds, finds->tensors[TORCH_IN_WEIGHT], finds->tensors[stem], error);
    status = locate_thirds (finds, sources, error);
  }
  if (status == ATTN_OK)
    status = locate_torch_bias (finds, sources, error);
  if (status == ATTN_OK)
    status = locate_output (finds, OUT_PROJ_WEIGHT, OUT_PROJ_BIAS, &sources->output, error);
  return status;
}

/* Query, key and value with a weight and a bias each, which follow each other among the stems, from `first` on. */
static AttnStatus
locate_pairs (const Finds *finds, unsigned scheme, Stem first, Sources *sources, AttnError *error)
{
  for (unsigned i = 0; i < N_PROJECTIONS; i++) {
    Stem weight = first + 2 * i, bias = weight + 1;
    Source *source = &sources->projections[i];
    AttnStatus status;

    source->bias = finds->tensors[bias];
    status = require (finds, source->bias != NULL ? source->bias : first_of (finds, scheme), weight, error);
    if (status == ATTN_OK)
      status = locate_weight (finds, weight, source, error);
    if (status == ATTN_OK)
      status = check_bias (finds, source->bias, source->n_rows, source->weight, error);
    if (status != ATTN_OK)
      return status;
  }
  return ATTN_OK;
}

/* The output projection has one of some names, which have their bias behind them. */
static AttnStatus
find_output (const Finds *finds, Stem *weight, AttnError *error)
{
  static const Stem outputs[] = { OUT_PROJ_WEIGHT, HF_O_WEIGHT, HF_OUTPUT_WEIGHT, HF_DENSE_WEIGHT };
  const AttnTensor *found = NULL;

  *weight = outputs[0];
  for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++) {
    const AttnTensor *bias = finds->tensors[outputs[i] + 1];
    const AttnTensor *here = finds->tensors[outputs[i]] != NULL ? finds->tensors[outputs[i]] : bias;

    if (here != NULL && found != NULL)
      return fail_both (finds, found, here, error);
    if (here != NULL) {
      found = here;
      *weight = outputs[i];
    }
  }
  return ATTN_OK;
}

static AttnStatus
locate_hugging_face (const Finds *finds, Sources *sources, AttnError *error)
{
  Stem output;
  AttnStatus status = find_output (finds, &output, error);

  if (status == ATTN_OK)
    status = locate_pairs (finds, HUGGING_FACE, HF_Q_WEIGHT, sources, error);
  return status == ATTN_OK ? locate_output (finds, output, output + 1, &sources->output, error) : status;
}

static AttnStatus
locate_annotated (const Finds *finds, Sources *sources, AttnError *error)
{
  AttnStatus status = locate_pairs (finds, ANNOTATED, ANNOTATED_Q_WEIGHT, sources, error);

  if (status != ATTN_OK)
    return status;
  return locate_output (finds, ANNOTATED_O_WEIGHT, ANNOTATED_O_BIAS, &sources->output, error);
}

static const struct {
  unsigned scheme;
  const char *name;
  AttnStatus (*locate) (const Finds *finds, Sources *sources, AttnError *error);
} schemes[] = {
  { TORCH, "PyTorch nn.MultiheadAttention", locate_torch },
  { HUGGING_FACE, "Hugging Face", locate_hugging_face },
  { ANNOTATED, "Annotated Transformer", locate_annotated },
};

/*
 * Exactly one may have tensors under the prefix, and nothing but its tensors may be there. What is known to be beyond
 * this library is told before "nothing found": it says more.
 */
static AttnStatus
find_scheme (const Finds *finds, size_t *scheme, AttnError *error)
{
  const AttnTensor *found = NULL;

  for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
    const AttnTensor *first = first_of (finds, schemes[i].scheme);

    if (first != NULL && found != NULL)
      return fail_both (finds, found, first, error);
    if (first != NULL) {
      found = first;
      *scheme = i;
    }
  }
  if (finds->unsupported != NULL)
    return fail_unsupported (finds, error);
  if (found == NULL)
    return fail_nothing (finds, error);
  return finds->unknown != NULL ? fail_unknown (finds, error) : ATTN_OK;
}

/* ---- the model ---- */

/* Self-attention: one frame makes query, key and value. */
static AttnStatus
check_inputs (const Finds *finds, const Sources *sources, AttnError *error)
{
  const AttnTensor *query = sources->projections[0].weight;

  for (unsigned i = 1; i < N_PROJECTIONS; i++) {
    const AttnTensor *other = sources->projections[i].weight;

    if (other->dims[1] != query->dims[1])
      return attn_fail (error, ATTN_ERROR_MODEL,
                        "%s: %s %s takes %" PRIu64 " inputs, but %s %s takes %" PRIu64
                        ": cross-attention, where only self-attention is supported",
                        finds->path, attn_quote (query->name).text, attn_tensor_shape (query).text, query->dims[1],
                        attn_quote (other->name).text, attn_tensor_shape (other).text, other->dims[1]);
  }
  return ATTN_OK;
}

static AttnStatus
add_metadata (void *data, const char *key, const char *value)
{
  AttnModel *model = data;
  AttnMetadata *entry = &model->metadata[model->n_metadata++];

  entry->key = strdup (key);
  entry->value = strdup (value);
  return entry->key == NULL || entry->value == NULL ? ATTN_ERROR_MEMORY : ATTN_OK;
}

static AttnStatus
copy_metadata (const Finds *finds, AttnModel *model, AttnError *error)
{
  size_t n = attn_safetensors_n_metadata (finds->file);

  if (n == 0)
    return ATTN_OK;
  model->metadata = calloc (n, sizeof *model->metadata);
  if (model->metadata != NULL && attn_safetensors_each_metadata (finds->file, add_metadata, model) == ATTN_OK)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_MEMORY, "%s: out of memory: %zu entries of its metadata", finds->path, n);
}

static AttnStatus
name_model (const Finds *finds, AttnModel *model, AttnError *error)
{
  AttnQuote prefix = attn_quote (finds->prefix);
  size_t size = strlen (finds->path) + 2 + strlen (prefix.text) + 1;

  model->name = malloc (size);
  if (model->name == NULL)
    return fail_memory (finds, size, "its name", error);
  if (finds->prefix[0] == '\0')
    strcpy (model->name, finds->path);
  else
    snprintf (model->name, size, "%s: %s", finds->path, prefix.text);
  return ATTN_OK;
}

static AttnStatus
read_parameters (const Finds *finds, const Sources *sources, AttnModel *model, AttnError *error)
{
  AttnLinear *linears[N_PROJECTIONS] = { &model->query, &model->key, &model->value };
  AttnStatus status = ATTN_OK;

  for (unsigned i = 0; i < N_PROJECTIONS && status == ATTN_OK; i++)
    status = read_linear (finds, &sources->projections[i], linears[i], error);
  if (status == ATTN_OK && sources->output.weight != NULL)
    status = read_linear (finds, &sources->output, &model->output, error);
  if (status == ATTN_OK)
    status = read_relative_bias (finds, &model->relative_bias, error);
  return status;
}

static AttnStatus
fill_model (const Finds *finds, AttnModel *model, AttnError *error)
{
  Sources sources = { 0 };
  size_t i = 0;
  AttnStatus status = find_scheme (finds, &i, error);

  if (status == ATTN_OK)
    status = schemes[i].locate (finds, &sources, error);
  if (status == ATTN_OK)
    status = check_inputs (finds, &sources, error);
  if (status == ATTN_OK)
    status = name_model (finds, model, error);
  if (status == ATTN_OK)
    status = copy_metadata (finds, model, error);
  if (status == ATTN_OK)
    status = read_parameters (finds, &sources, model, error);
  model->scheme = schemes[i].name;
  return status;
}

static AttnStatus
new_model (AttnSafetensors *file, const char *prefix, bool header_only, AttnModel **model, AttnError *error)
{
  Finds finds = { .file = file,
                  .path = attn_safetensors_path (file),
                  .prefix = prefix == NULL ? "" : prefix,
                  .header_only = header_only };
  AttnStatus status;

  *model = calloc (1, sizeof **model);
  if (*model == NULL)
    return fail_memory (&finds, sizeof **model, "the model", error);
  (*model)->is_header = header_only;
  find_tensors (&finds);
  status = fill_model (&finds, *model, error);
  if (status == ATTN_OK)
    return attn_succeed (error);
  attn_model_free (*model);
  *model = NULL;
  return status;
}

static AttnStatus
open_model (const char *path, const char *prefix, bool header_only, AttnModel **model, AttnError *error)
{
  AttnSafetensors *file;
  AttnStatus status = attn_safetensors_open (path, &file, error);

  *model = NULL;
  if (status == ATTN_OK)
    status = new_model (file, prefix, header_only, model, error);
  attn_safetensors_close (file);
  return status;
}

AttnStatus
attn_model_open (const char *path, const char *prefix, AttnModel **model, AttnError *error)
{
  return open_model (path, prefix, false, model, error);
}

AttnStatus
attn_model_peek (const char *path, const char *prefix, AttnModel **model, AttnError *error)
{
  return open_model (path, prefix, true, model, error);
}

AttnStatus
attn_model_open_memory (const void *data, size_t size, const char *prefix, AttnModel **model, AttnError *error)
{
  AttnSafetensors *file;
  AttnStatus status = attn_safetensors_open_memory (data, size, &file, error);

  *model = NULL;
  if (status == ATTN_OK)
    status = new_model (file, prefix, false, model, error);
  attn_safetensors_close (file);
  return status;
}

static void
clear_linear (AttnLinear *linear)
{
  attn_free (linear->weight);
  attn_free (linear->bias);
}

const char *
attn_model_metadata (const AttnModel *model, const char *key)
{
  for (size_t i = 0; i < model->n_metadata; i++)
    if (strcmp (model->metadata[i].key, key) == 0)
      return model->metadata[i].value;
  return NULL;
}

static void
clear_metadata (AttnModel *model)
{
  for (size_t i = 0; i < model->n_metadata; i++) {
    free (model->metadata[i].key);
    free (model->metadata[i].value);
  }
  free (model->metadata);
}

void
attn_model_free (AttnModel *model)
{
  if (model == NULL)
    return;
  clear_linear (&model->query);
  clear_linear (&model->key);
  clear_linear (&model->value);
  clear_linear (&model->output);
  attn_free (model->relative_bias.values);
  clear_metadata (model);
  free (model->name);
  free (model);
}
