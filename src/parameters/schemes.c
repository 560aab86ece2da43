/* libattn: the naming schemes of attention.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "parameters/schemes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/quote.h"
#include "base/status.h"
#include "parameters/model.h"

#define MAX_PREFIXES_SHOWN 5
#define MAX_TENSORS_SHOWN 4

/* ---- names ---- */

/* Bits for sets of schemes: out_proj belongs to two. */
enum { TORCH = 1, HUGGING_FACE = 2, ANNOTATED = 4, ANY_SCHEME = TORCH | HUGGING_FACE | ANNOTATED };

/* The outputs of a linear layer. */
typedef enum { QUERY, KEY, VALUE, OUTPUT, QUERY_KEY_VALUE } Role;

/* The linear layers of all schemes. `is_telling`: its prefix is worth showing to a user who gave a wrong one. */
static const struct {
  const char *weight, *bias; /* bias NULL: it stands elsewhere */
  unsigned schemes;
  Role role;
  bool is_telling;
} names[] = {
  { "q_proj_weight", NULL, TORCH, QUERY, .is_telling = true },
  { "k_proj_weight", NULL, TORCH, KEY },
  { "v_proj_weight", NULL, TORCH, VALUE },
  { "in_proj_weight", "in_proj_bias", TORCH, QUERY_KEY_VALUE, .is_telling = true },
  { "out_proj.weight", "out_proj.bias", TORCH | HUGGING_FACE, OUTPUT },
  { "q_proj.weight", "q_proj.bias", HUGGING_FACE, QUERY, .is_telling = true },
  { "k_proj.weight", "k_proj.bias", HUGGING_FACE, KEY },
  { "v_proj.weight", "v_proj.bias", HUGGING_FACE, VALUE },
  { "o_proj.weight", "o_proj.bias", HUGGING_FACE, OUTPUT },
  { "output_proj.weight", "output_proj.bias", HUGGING_FACE, OUTPUT },
  { "dense.weight", "dense.bias", HUGGING_FACE, OUTPUT },
  { "linears.0.weight", "linears.0.bias", ANNOTATED, QUERY, .is_telling = true },
  { "linears.1.weight", "linears.1.bias", ANNOTATED, KEY },
  { "linears.2.weight", "linears.2.bias", ANNOTATED, VALUE },
  { "linears.3.weight", "linears.3.bias", ANNOTATED, OUTPUT },
};
#define N_NAMES (sizeof names / sizeof names[0])

#define ONE_BIAS "trained position biases are supported as one tensor, relative_bias, alone"
#define TRANSFORMER_XL                                                                                   \
  "the positions of Transformer-XL are supported as linear_pos.weight, pos_bias_u and pos_bias_v, with " \
  "position=transformer-xl"
#define GATED_BIAS "position biases that are gated by the queries (WavLM) are not supported"
#define GATE "a gate on the outputs of the heads is not supported"
#define SUB_NORM "a norm between the heads and the output projection is not supported"
#define NORMALISED \
  " are supported as q_norm and k_norm (.weight, and .bias for layer), with qk-norm=layer or qk-norm=rms"
#define Q_NORM "normalised queries" NORMALISED
#define K_NORM "normalised keys" NORMALISED
#define TRAINED_SCALE "a trained scale of the scores is not supported"
#define LATENT "keys and values that are computed from a latent (MLA) are not supported"
#define PLAIN "only plain weights and biases are supported, neither quantised nor adapted ones"
#define FUSED                                                                                            \
  "query, key and value in one tensor, the order of which differs from family to family, are not read: " \
  "examples/export_encoder.py --layer writes them apart"
#define RENAMED                                                                                                  \
  "it is known by another name here: examples/export_encoder.py --layer writes it as q_proj, k_proj, v_proj or " \
  "out_proj"

/*
 * Starts of the names of tensors that change the attention in a way that this library does not compute, and the reasons
 * for the user; the more special ones first.
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

/*
 * Tensors that stand beside the parameters in files and change nothing: tables, and masks, which the window replaces.
 */
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

bool
attn_schemes_is_harmless (const AttnTensor *tensor, const char *name)
{
  for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
    if (strcmp (name, harmless[i].name) == 0)
      return harmless[i].may_be_any || (harmless[i].may_have_4_dims && tensor->n_dims == 4)
             || strcmp (tensor->dtype_name, "BOOL") == 0;
  return false;
}

/* ---- tensors under the prefix ---- */

typedef struct {
  const AttnTensors *tensors;
  const char *prefix;
  AttnPair pairs[N_NAMES]; /* the parts of linear layers that the file has */
  const AttnTensor *relative_bias;
  AttnPair query_norm, key_norm, linear_pos;
  const AttnTensor *u, *v;
  /* The first tensors that nothing here computes with: one of a known name, and one of an unknown name. */
  const AttnTensor *unsupported, *unknown;
} Finds;

/* The tensors of any scheme besides its linear layers. */
static const struct {
  const char *name;
  size_t offset; /* in Finds */
} extras[] = {
  { "relative_bias", offsetof (Finds, relative_bias) },
  { "q_norm.weight", offsetof (Finds, query_norm.weight) },
  { "q_norm.bias", offsetof (Finds, query_norm.bias) },
  { "k_norm.weight", offsetof (Finds, key_norm.weight) },
  { "k_norm.bias", offsetof (Finds, key_norm.bias) },
  { "linear_pos.weight", offsetof (Finds, linear_pos.weight) },
  { "linear_pos.bias", offsetof (Finds, linear_pos.bias) },
  { "pos_bias_u", offsetof (Finds, u) },
  { "pos_bias_v", offsetof (Finds, v) },
};

/* The place of the tensor `name`; NULL: none. */
static const AttnTensor **
place_of (Finds *finds, const char *name)
{
  for (size_t i = 0; i < N_NAMES; i++) {
    if (strcmp (name, names[i].weight) == 0)
      return &finds->pairs[i].weight;
    if (names[i].bias != NULL && strcmp (name, names[i].bias) == 0)
      return &finds->pairs[i].bias;
  }
  for (size_t i = 0; i < sizeof extras / sizeof extras[0]; i++)
    if (strcmp (name, extras[i].name) == 0)
      return (const AttnTensor **) ((char *) finds + extras[i].offset);
  return NULL;
}

static void
find_tensors (Finds *finds)
{
  size_t n, first = attn_tensors_under (finds->tensors, finds->prefix, &n);

  for (size_t i = first; i < first + n; i++) {
    const AttnTensor *tensor = finds->tensors->by_name[i].tensor;
    const char *name = tensor->name + strlen (finds->prefix);
    const AttnTensor **place = place_of (finds, name);

    if (place == NULL && attn_schemes_is_harmless (tensor, name))
      continue;
    if (place == NULL)
      place = unsupported_reason (name) != NULL ? &finds->unsupported : &finds->unknown;
    if (*place == NULL)
      *place = tensor;
  }
}

/* The tensor that the file has of a linear layer: its weight or else its bias. */
static const AttnTensor *
either (const Finds *finds, size_t i)
{
  return finds->pairs[i].weight != NULL ? finds->pairs[i].weight : finds->pairs[i].bias;
}

/* The first tensor that belongs to one of these schemes and to no other; NULL: none. */
static const AttnTensor *
first_of (const Finds *finds, unsigned schemes)
{
  for (size_t i = 0; i < N_NAMES; i++)
    if (either (finds, i) != NULL && (names[i].schemes & ~schemes) == 0)
      return either (finds, i);
  return NULL;
}

/* The first of the names that a scheme has for a role. */
static size_t
name_of (unsigned scheme, Role role)
{
  size_t i = 0;

  while ((names[i].schemes & scheme) == 0 || names[i].role != role)
    i++;
  return i;
}

static AttnStatus
fail_both (const Finds *finds, const AttnTensor *a, const AttnTensor *b, AttnError *error)
{
  return attn_fail (error, ATTN_ERROR_MODEL, "%s: it has both %s and %s, but a layer has one of them",
                    finds->tensors->label, attn_quote (a->name).text, attn_quote (b->name).text);
}

AttnStatus
attn_schemes_fail_unused (const char *label, const AttnTensor *tensor, const char *name, AttnError *error)
{
  const char *reason = unsupported_reason (name);

  if (reason != NULL)
    return attn_fail (error, ATTN_ERROR_MODEL, "%s: it has %s, but %s", label, attn_quote (tensor->name).text, reason);
  return attn_fail (error, ATTN_ERROR_MODEL,
                    "%s: it has %s, which no known attention layer has: leaving it out could give other numbers. If it "
                    "does not belong to this layer, remove it: examples/export_encoder.py --layer writes a layer alone",
                    label, attn_quote (tensor->name).text);
}

static AttnStatus
fail_unused (const Finds *finds, const AttnTensor *tensor, AttnError *error)
{
  return attn_schemes_fail_unused (finds->tensors->label, tensor, tensor->name + strlen (finds->prefix), error);
}

/* The length of the prefix of a telling `name`; SIZE_MAX: the name is not telling. */
static size_t
telling_prefix (const char *name)
{
  size_t length = strlen (name);

  for (size_t i = 0; i < N_NAMES; i++) {
    const char *end = names[i].weight;
    size_t n = length - strlen (end);

    if (names[i].is_telling && strlen (end) <= length && strcmp (name + n, end) == 0 && (n == 0 || name[n - 1] == '.'))
      return n;
  }
  return SIZE_MAX;
}

/* Writes the telling prefixes of the file into text [size], ", "-separated, and returns their number. */
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

/* Whether layers of attention have such a name. */
static bool
is_suspect (const char *name)
{
  static const char *const parts[] = { "att", "qkv", "query", "_proj", "Wq" };

  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    if (strstr (name, parts[i]) != NULL)
      return true;
  return false;
}

/* Writes some names into text [size], ", "-separated: names that look like attention, or else any. */
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
  size_t n_tensors = attn_safetensors_n_tensors (finds->tensors->file), n_prefixes;
  char found[600], more[48] = "";

  n_prefixes = list_prefixes (finds->tensors->file, found, sizeof found);
  if (n_prefixes > MAX_PREFIXES_SHOWN)
    snprintf (more, sizeof more, " and %zu more", n_prefixes - MAX_PREFIXES_SHOWN);
  if (n_prefixes > 0)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: no attention layer under the prefix %s; the file has one under %s%s", finds->tensors->label,
                      attn_quote (finds->prefix).text, found, more);
  list_tensors (finds->tensors->file, found, sizeof found);
  return attn_fail (
      error, ATTN_ERROR_MODEL,
      "%s: no attention layer under the prefix %s, nor anywhere else in its %zu tensors, such as %s. "
      "examples/export_encoder.py --layer knows more names, and writes the tensors under the names that are read here",
      finds->tensors->label, attn_quote (finds->prefix).text, n_tensors, n_tensors == 0 ? "none" : found);
}

/* ---- shapes ---- */

static AttnStatus
check_weight (const Finds *finds, const AttnTensor *weight, uint64_t max_rows, uint64_t max_inputs, AttnError *error)
{
  char wanted[96];

  if (attn_tensors_check_dtype (finds->tensors, weight, error) != ATTN_OK)
    return ATTN_ERROR_MODEL;
  if (weight->n_dims != 2)
    return attn_tensors_fail_shape (finds->tensors, weight, "a weight has 2 dimensions, [outputs, inputs]", error);
  if (weight->n_elements != 0 && weight->dims[0] <= max_rows && weight->dims[1] <= max_inputs)
    return ATTN_OK;
  snprintf (wanted, sizeof wanted, "it takes 1 to %" PRIu64 " outputs and 1 to %" PRIu64 " inputs", max_rows,
            max_inputs);
  return attn_tensors_fail_shape (finds->tensors, weight, wanted, error);
}

static AttnStatus
check_bias (const Finds *finds, const AttnTensor *bias, uint64_t n_rows, const AttnTensor *weight, AttnError *error)
{
  char wanted[96 + sizeof (AttnQuote)];

  if (bias == NULL)
    return ATTN_OK;
  if (attn_tensors_check_dtype (finds->tensors, bias, error) != ATTN_OK)
    return ATTN_ERROR_MODEL;
  if (bias->n_dims == 1 && bias->dims[0] == n_rows)
    return ATTN_OK;
  snprintf (wanted, sizeof wanted, "[%" PRIu64 "] is needed to go with %s", n_rows, attn_quote (weight->name).text);
  return attn_tensors_fail_shape (finds->tensors, bias, wanted, error);
}

/* The configuration of a layer decides how many heads and frames are needed. */
static AttnStatus
check_relative_bias (const Finds *finds, AttnError *error)
{
  const AttnTensor *tensor = finds->relative_bias;
  char wanted[96];

  if (tensor == NULL)
    return ATTN_OK;
  if (attn_tensors_check_dtype (finds->tensors, tensor, error) != ATTN_OK)
    return ATTN_ERROR_MODEL;
  if (tensor->n_dims != 2)
    return attn_tensors_fail_shape (finds->tensors, tensor, "it takes 2 dimensions, [heads, window + look-ahead]",
                                    error);
  if (tensor->n_elements != 0 && tensor->dims[0] <= ATTN_MAX_FEATURES && tensor->dims[1] <= 2 * ATTN_MAX_WINDOW)
    return ATTN_OK;
  snprintf (wanted, sizeof wanted, "it takes 1 to %u heads and 1 to %u frames", ATTN_MAX_FEATURES, 2 * ATTN_MAX_WINDOW);
  return attn_tensors_fail_shape (finds->tensors, tensor, wanted, error);
}

/* ---- the schemes: each finds query, key, value and output ---- */

/* The error that `present` makes no sense without the tensor called `missing` under the prefix. */
static AttnStatus
fail_missing (const Finds *finds, const AttnTensor *present, const char *missing, AttnError *error)
{
  size_t size = strlen (finds->prefix) + strlen (missing) + 1;
  char *name = malloc (size);
  AttnStatus status;

  if (name == NULL)
    return attn_tensors_fail_memory (finds->tensors, size, "a name", error);
  snprintf (name, size, "%s%s", finds->prefix, missing);
  status = attn_fail (error, ATTN_ERROR_MODEL, "%s: it has %s, but no %s", finds->tensors->label,
                      attn_quote (present->name).text, attn_quote (name).text);
  free (name);
  return status;
}

/* Checks that linear layer `i` has its weight. */
static AttnStatus
require (const Finds *finds, const AttnTensor *present, size_t i, AttnError *error)
{
  return finds->pairs[i].weight != NULL ? ATTN_OK : fail_missing (finds, present, names[i].weight, error);
}

static AttnStatus
locate_weight (const Finds *finds, size_t i, AttnSource *source, AttnError *error)
{
  source->weight = finds->pairs[i].weight;
  source->n_rows = source->weight->dims[0];
  return check_weight (finds, source->weight, ATTN_MODEL_MAX_ROWS, ATTN_MAX_FEATURES, error);
}

/* Finds the output projection, which has one of several names. It may be absent, and its shape has other bounds. */
static AttnStatus
locate_output (const Finds *finds, unsigned scheme, AttnSource *output, AttnError *error)
{
  size_t found = N_NAMES;
  AttnStatus status;

  for (size_t i = 0; i < N_NAMES; i++) {
    if (names[i].role != OUTPUT || (names[i].schemes & scheme) == 0 || either (finds, i) == NULL)
      continue;
    if (found != N_NAMES)
      return fail_both (finds, either (finds, found), either (finds, i), error);
    found = i;
  }
  if (found == N_NAMES)
    return ATTN_OK;
  if ((status = require (finds, either (finds, found), found, error)))
    return status;
  output->weight = finds->pairs[found].weight;
  output->bias = finds->pairs[found].bias;
  output->n_rows = output->weight->dims[0];
  status = check_weight (finds, output->weight, ATTN_MAX_FEATURES, ATTN_MODEL_MAX_ROWS, error);
  return status == ATTN_OK ? check_bias (finds, output->bias, output->n_rows, output->weight, error) : status;
}

/* Query, key and value in one weight: each has a third of the rows. */
static AttnStatus
locate_thirds (const Finds *finds, const AttnTensor *weight, AttnSources *sources, AttnError *error)
{
  AttnStatus status = check_weight (finds, weight, 3 * ATTN_MODEL_MAX_ROWS, ATTN_MAX_FEATURES, error);

  if (status != ATTN_OK)
    return status;
  if (weight->dims[0] % 3 != 0)
    return attn_tensors_fail_shape (finds->tensors, weight,
                                    "its rows are query, key and value, so their number must divide by 3", error);
  for (unsigned i = 0; i < ATTN_N_PROJECTIONS; i++) {
    sources->projections[i].weight = weight;
    sources->projections[i].n_rows = weight->dims[0] / 3;
    sources->projections[i].first_row = i * (weight->dims[0] / 3);
  }
  return ATTN_OK;
}

static AttnStatus
locate_torch_apart (const Finds *finds, AttnSources *sources, AttnError *error)
{
  static const Role roles[ATTN_N_PROJECTIONS] = { QUERY, KEY, VALUE };
  const AttnTensor *present = first_of (finds, TORCH);
  size_t all = name_of (TORCH, QUERY_KEY_VALUE);

  if (present == finds->pairs[all].bias)
    return require (finds, present, all, error);
  for (unsigned i = 0; i < ATTN_N_PROJECTIONS; i++) {
    size_t name = name_of (TORCH, roles[i]);
    AttnStatus status = require (finds, present, name, error);

    if (status == ATTN_OK)
      status = locate_weight (finds, name, &sources->projections[i], error);
    if (status != ATTN_OK)
      return status;
  }
  return ATTN_OK;
}

/* One bias for query, key and value, in this order, however their weights are stored. */
static AttnStatus
locate_torch_bias (const Finds *finds, const AttnTensor *bias, AttnSources *sources, AttnError *error)
{
  uint64_t n = 0;

  for (unsigned i = 0; i < ATTN_N_PROJECTIONS; i++) {
    sources->projections[i].bias = bias;
    sources->projections[i].first_bias = n;
    n += sources->projections[i].n_rows;
  }
  return check_bias (finds, bias, n, sources->projections[0].weight, error);
}

static AttnStatus
locate_torch (const Finds *finds, unsigned scheme, AttnSources *sources, AttnError *error)
{
  const AttnPair *all = &finds->pairs[name_of (scheme, QUERY_KEY_VALUE)];
  AttnStatus status;

  if (all->weight == NULL)
    status = locate_torch_apart (finds, sources, error);
  else {
    for (Role role = QUERY; role <= VALUE; role++) {
      const AttnTensor *apart = finds->pairs[name_of (scheme, role)].weight;

      if (apart != NULL)
        return fail_both (finds, all->weight, apart, error);
    }
    status = locate_thirds (finds, all->weight, sources, error);
  }
  return status == ATTN_OK ? locate_torch_bias (finds, all->bias, sources, error) : status;
}

/* Query, key and value with a weight and a bias each. */
static AttnStatus
locate_pairs (const Finds *finds, unsigned scheme, AttnSources *sources, AttnError *error)
{
  static const Role roles[ATTN_N_PROJECTIONS] = { QUERY, KEY, VALUE };

  for (unsigned i = 0; i < ATTN_N_PROJECTIONS; i++) {
    size_t name = name_of (scheme, roles[i]);
    AttnSource *source = &sources->projections[i];
    AttnStatus status;

    source->bias = finds->pairs[name].bias;
    status = require (finds, source->bias != NULL ? source->bias : first_of (finds, scheme), name, error);
    if (status == ATTN_OK)
      status = locate_weight (finds, name, source, error);
    if (status == ATTN_OK)
      status = check_bias (finds, source->bias, source->n_rows, source->weight, error);
    if (status != ATTN_OK)
      return status;
  }
  return ATTN_OK;
}

static const struct {
  unsigned scheme;
  const char *name;
  AttnStatus (*locate) (const Finds *finds, unsigned scheme, AttnSources *sources, AttnError *error);
} schemes[] = {
  { TORCH, "PyTorch nn.MultiheadAttention", locate_torch },
  { HUGGING_FACE, "Hugging Face", locate_pairs },
  { ANNOTATED, "Annotated Transformer", locate_pairs },
};

/*
 * Exactly one scheme may have tensors under the prefix, and no other tensors may be there. A tensor that is known to be
 * unsupported is reported before "nothing found", because that says more.
 */
static AttnStatus
find_scheme (const Finds *finds, bool shared, size_t *scheme, AttnError *error)
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
  if (finds->unsupported != NULL && (!shared || found == NULL))
    return fail_unused (finds, finds->unsupported, error);
  if (found == NULL)
    return fail_nothing (finds, error);
  return finds->unknown != NULL && !shared ? fail_unused (finds, finds->unknown, error) : ATTN_OK;
}

/* ---- norms of queries and keys ---- */

/* The number of heads decides how long the weight has to be. `other`: a tensor of the other norm, or NULL. */
static AttnStatus
check_norm (const Finds *finds, const AttnPair *norm, const char *weight, const AttnTensor *other, AttnError *error)
{
  const AttnTensor *present = norm->bias != NULL ? norm->bias : other;
  char wanted[96];

  if (norm->weight == NULL)
    return present == NULL ? ATTN_OK : fail_missing (finds, present, weight, error);
  if (attn_tensors_check_dtype (finds->tensors, norm->weight, error) != ATTN_OK)
    return ATTN_ERROR_MODEL;
  if (norm->weight->n_dims != 1 || norm->weight->n_elements == 0 || norm->weight->dims[0] > ATTN_MODEL_MAX_ROWS) {
    snprintf (wanted, sizeof wanted, "it takes one dimension, [1 to %u]", ATTN_MODEL_MAX_ROWS);
    return attn_tensors_fail_shape (finds->tensors, norm->weight, wanted, error);
  }
  return check_bias (finds, norm->bias, norm->weight->n_elements, norm->weight, error);
}

static AttnStatus
check_norms (const Finds *finds, AttnError *error)
{
  const AttnPair *query = &finds->query_norm, *key = &finds->key_norm;
  const AttnTensor *of_query = query->weight != NULL ? query->weight : query->bias;
  AttnStatus status = check_norm (finds, query, "q_norm.weight", key->weight, error);

  return status == ATTN_OK ? check_norm (finds, key, "k_norm.weight", of_query, error) : status;
}

/* ---- the positions of Transformer-XL ---- */

static AttnStatus
check_xl_bias (const Finds *finds, const AttnTensor *bias, AttnError *error)
{
  char wanted[96];

  if (attn_tensors_check_dtype (finds->tensors, bias, error) != ATTN_OK)
    return ATTN_ERROR_MODEL;
  if (bias->n_dims == 2 && bias->n_elements != 0 && bias->dims[0] <= ATTN_MAX_FEATURES
      && bias->dims[1] <= ATTN_MODEL_MAX_ROWS && bias->dims[0] == finds->u->dims[0]
      && bias->dims[1] == finds->u->dims[1])
    return ATTN_OK;
  snprintf (wanted, sizeof wanted, "pos_bias_u and pos_bias_v take one shape, [heads, values per head]");
  return attn_tensors_fail_shape (finds->tensors, bias, wanted, error);
}

/* Finds all three tensors, or none. */
static AttnStatus
locate_xl (const Finds *finds, AttnXlSources *xl, AttnError *error)
{
  const AttnTensor *weight = finds->linear_pos.weight, *bias = finds->linear_pos.bias;
  const AttnTensor *present = weight != NULL ? weight : finds->u != NULL ? finds->u : finds->v;
  AttnStatus status;

  if (bias != NULL)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: it has %s, but the positions of Transformer-XL are projected without a bias",
                      finds->tensors->label, attn_quote (bias->name).text);
  if (present == NULL)
    return ATTN_OK;
  if (weight == NULL || finds->u == NULL || finds->v == NULL)
    return fail_missing (finds, present,
                         weight == NULL     ? "linear_pos.weight"
                         : finds->u == NULL ? "pos_bias_u"
                                            : "pos_bias_v",
                         error);
  if ((status = check_weight (finds, weight, ATTN_MODEL_MAX_ROWS, ATTN_MAX_FEATURES, error))
      || (status = check_xl_bias (finds, finds->u, error)) || (status = check_xl_bias (finds, finds->v, error)))
    return status;
  *xl = (AttnXlSources){ { .weight = weight, .n_rows = weight->dims[0] }, finds->u, finds->v };
  return ATTN_OK;
}

/* What the keys of a block do not ask for may be another block's. */
static void
leave_alone (Finds *finds, const AttnConfig *keys)
{
  if (keys->qk_norm == ATTN_QK_NORM_UNSET || keys->qk_norm == ATTN_QK_NORM_NONE)
    finds->query_norm = finds->key_norm = (AttnPair){ 0 };
  if (keys->position != ATTN_POSITION_TRANSFORMER_XL) {
    finds->linear_pos = (AttnPair){ 0 };
    finds->u = finds->v = NULL;
  }
}

/* Self-attention: query, key and value come from the same frame. */
static AttnStatus
check_inputs (const Finds *finds, const AttnSources *sources, AttnError *error)
{
  const AttnTensor *query = sources->projections[ATTN_QUERY].weight;

  for (unsigned i = ATTN_KEY; i < ATTN_N_PROJECTIONS; i++) {
    const AttnTensor *other = sources->projections[i].weight;

    if (other->dims[1] != query->dims[1])
      return attn_fail (error, ATTN_ERROR_MODEL,
                        "%s: %s %s takes %" PRIu64 " inputs, but %s %s takes %" PRIu64
                        ": this is cross-attention, but only self-attention is supported",
                        finds->tensors->label, attn_quote (query->name).text, attn_tensor_shape (query).text,
                        query->dims[1], attn_quote (other->name).text, attn_tensor_shape (other).text, other->dims[1]);
  }
  return ATTN_OK;
}

AttnStatus
attn_schemes_find (const AttnTensors *tensors, const char *prefix, const AttnConfig *keys, AttnSources *sources,
                   AttnError *error)
{
  Finds finds = { .tensors = tensors, .prefix = prefix };
  AttnStatus status;
  size_t i = 0;

  *sources = (AttnSources){ 0 };
  find_tensors (&finds);
  if (keys != NULL)
    leave_alone (&finds, keys);
  if ((status = find_scheme (&finds, keys != NULL, &i, error))
      || (status = schemes[i].locate (&finds, schemes[i].scheme, sources, error))
      || (status = locate_output (&finds, schemes[i].scheme, &sources->output, error))
      || (status = check_inputs (&finds, sources, error)) || (status = check_relative_bias (&finds, error))
      || (status = check_norms (&finds, error)) || (status = locate_xl (&finds, &sources->xl, error)))
    return status;
  sources->query_norm = finds.query_norm;
  sources->key_norm = finds.key_norm;
  sources->relative_bias = finds.relative_bias;
  sources->scheme = schemes[i].name;
  return ATTN_OK;
}
