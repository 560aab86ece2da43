/*
 * libattn: the kinds of blocks that an encoder is made of: a table of their keys and constructors. The next one is a
 * row, and a function by imitation.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "stream/encoder.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

#include "blocks/conv.h"
#include "blocks/framewise.h"
#include "blocks/residual.h"
#include "parameters/config.h"

/* In the order of AttnActivation; activations over a whole frame come last. */
static const char *const activation_names[] = { "none", "relu",    "gelu",    "gelu-tanh",   "silu",
                                                "tanh", "sigmoid", "softmax", "log-softmax", NULL };
static const char *const value_activation_names[] = { "none", "relu", "gelu",    "gelu-tanh",
                                                      "silu", "tanh", "sigmoid", NULL };
static const char *const glu_names[] = { "none", "relu", "gelu", "gelu-tanh", "silu", "sigmoid", NULL };
static const AttnActivation glu_activations[] = { ATTN_ACTIVATION_NONE, ATTN_ACTIVATION_RELU,
                                                  ATTN_ACTIVATION_GELU, ATTN_ACTIVATION_GELU_TANH,
                                                  ATTN_ACTIVATION_SILU, ATTN_ACTIVATION_SIGMOID };

static AttnStatus
make_linear (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  size_t activation = ATTN_ACTIVATION_NONE;
  AttnLinear linear = { 0 };
  const char *name;
  AttnStatus status;

  if ((status = attn_reader_name (reader, json, "linear", &name))
      || (status = attn_reader_choice (reader, json, "activation", value_activation_names, &activation)))
    return status;
  status = attn_reader_linear (reader, name, width, &linear);
  if (status == ATTN_OK)
    status = attn_linear_block_new (reader->machine, &linear, (AttnActivation) activation, reader->options->precision,
                                    block, &reader->error);
  attn_linear_free_arrays (&linear);
  return status;
}

static AttnStatus
make_norm (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  static const char *const kinds[] = { "layer", "rms", NULL };
  float *weight = NULL, *bias = NULL;
  const char *name = NULL;
  size_t is_rms = 0;
  double eps = 1e-5;
  AttnStatus status = ATTN_OK;

  if (!json_is_null (json_object_get (json, "norm")))
    status = attn_reader_name (reader, json, "norm", &name);
  if (status || (status = attn_reader_choice (reader, json, "kind", kinds, &is_rms))
      || (status = attn_reader_number (reader, json, "eps", 1e-30, 1e30, &eps)))
    return status;
  if (name != NULL)
    status = attn_reader_vector (reader, name, ".weight", width, true, &weight);
  if (status == ATTN_OK && name != NULL && !is_rms)
    status = attn_reader_vector (reader, name, ".bias", width, false, &bias);
  if (status == ATTN_OK)
    status = attn_norm_new (reader->machine, width, is_rms, eps, weight, bias, block, &reader->error);
  attn_free (weight);
  attn_free (bias);
  return status;
}

static AttnStatus
make_activation (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  size_t activation = ATTN_ACTIVATION_NONE;
  AttnStatus status = attn_reader_choice (reader, json, "activation", activation_names, &activation);

  if (status != ATTN_OK)
    return status;
  return attn_activation_new (reader->machine, width, (AttnActivation) activation, block, &reader->error);
}

static AttnStatus
check_even (AttnReader *reader, const char *what, size_t width)
{
  if (width % 2 == 0)
    return ATTN_OK;
  return attn_reader_fail (reader, "%s takes frames of an even number of values, but they have %zu", what, width);
}

static AttnStatus
make_glu (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  size_t i = 0;
  AttnStatus status;

  if ((status = attn_reader_choice (reader, json, "glu", glu_names, &i))
      || (status = check_even (reader, "glu", width)))
    return status;
  return attn_glu_new (reader->machine, width, glu_activations[i], block, &reader->error);
}

static AttnStatus
make_affine (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  float *weight = NULL, *bias = NULL;
  const char *name;
  AttnStatus status = attn_reader_name (reader, json, "affine", &name);

  if (status != ATTN_OK)
    return status;
  if ((status = attn_reader_vector (reader, name, ".weight", width, true, &weight)) == ATTN_OK
      && (status = attn_reader_vector (reader, name, ".bias", width, false, &bias)) == ATTN_OK)
    status = attn_affine_new (reader->machine, width, weight, bias, block, &reader->error);
  attn_free (weight);
  attn_free (bias);
  return status;
}

static AttnStatus
make_sinusoid (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  static const char *const layouts[] = { "interleaved", "half", NULL };
  const json_t *value = json_object_get (json, "sinusoid");
  uint64_t offset = 0;
  size_t is_half = 0;
  double base = 10000;
  AttnStatus status;

  if (!json_is_true (value))
    return attn_reader_fail (reader, "sinusoid is %s, expected true", attn_json_text (value).text);
  if ((status = attn_reader_number (reader, json, "base", 1, DBL_MAX, &base))
      || (status = attn_reader_whole (reader, json, "offset", 0, UINT64_C (1) << 53, &offset))
      || (status = attn_reader_choice (reader, json, "layout", layouts, &is_half))
      || (status = check_even (reader, "sinusoid", width)))
    return status;
  return attn_sinusoid_new (reader->machine, width, base, offset, is_half, block, &reader->error);
}

/* ---- attention ---- */

/* Reads one field of the configuration from the key of the same name. */
static AttnStatus
set_field (AttnReader *reader, const AttnField *field, const json_t *json, AttnConfig *config)
{
  const json_t *found = json_object_get (json, field->name);
  size_t i = 0;
  AttnStatus status;

  if (field->names != NULL) {
    if ((status = attn_reader_choice (reader, json, field->name, field->names, &i)) == ATTN_OK)
      attn_config_set (config, field, (double) i);
    return status;
  }
  if (!json_is_number (found))
    return attn_reader_fail (reader, "%s is %s, expected a number", field->name, attn_json_text (found).text);
  if (attn_config_check_field (field, json_number_value (found), &reader->error) != ATTN_OK)
    return ATTN_ERROR_CONFIG;
  attn_config_set (config, field, json_number_value (found));
  return ATTN_OK;
}

/* Keys that mean nothing without another one. What a configuration cannot tell from a default is refused here. */
static AttnStatus
check_companions (AttnReader *reader, const json_t *json)
{
  static const struct {
    const char *key, *companion;
  } pairs[] = { { "qk-norm-eps", "qk-norm" }, { "chunk", "chunks" }, { "chunks", "chunk" } };

  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    const json_t *found = json_object_get (json, pairs[i].key);

    if (found != NULL && json_object_get (json, pairs[i].companion) == NULL)
      return attn_reader_fail (reader, "attention has the key %s, %s, but no key %s, without which it means nothing",
                               pairs[i].key, attn_json_text (found).text, pairs[i].companion);
  }
  return ATTN_OK;
}

/* A frame attends to a window or to chunks. */
static AttnStatus
check_reach (AttnReader *reader, const json_t *json)
{
  static const char *const of_window[] = { "window", "look-ahead" };
  const json_t *chunk = json_object_get (json, "chunk");

  if (json_is_integer (chunk) && json_integer_value (chunk) == 0)
    return attn_reader_fail (reader, "chunk is 0, expected a whole number from 1 to %u", ATTN_MAX_CHUNK);
  if (chunk == NULL && json_object_get (json, "window") == NULL)
    return attn_reader_fail (reader, "attention has no key window, which it needs, or else chunk and chunks");
  for (size_t i = 0; chunk != NULL && i < sizeof of_window / sizeof of_window[0]; i++) {
    const json_t *found = json_object_get (json, of_window[i]);

    if (found != NULL)
      return attn_reader_fail (reader,
                               "attention has the key %s, %s, beside chunk, %s: it attends to a window or to "
                               "chunks",
                               of_window[i], attn_json_text (found).text, attn_json_text (chunk).text);
  }
  return ATTN_OK;
}

static AttnStatus
read_config (AttnReader *reader, const json_t *json, size_t width, AttnConfig *config)
{
  const AttnField *field;
  AttnStatus status;
  size_t i;

  *config = attn_config_default ();
  config->n_features = width;
  config->precision = reader->options->precision;
  config->arithmetic = reader->options->arithmetic;
  config->n_threads = reader->options->n_threads;
  if (json_object_get (json, "heads") == NULL)
    return attn_reader_fail (reader, "attention has no key heads, which it needs");
  if ((status = check_companions (reader, json)) || (status = check_reach (reader, json)))
    return status;
  for (i = 0; (field = attn_config_field (i)) != NULL; i++)
    if (field->in_metadata && json_object_get (json, field->name) != NULL
        && (status = set_field (reader, field, json, config)) != ATTN_OK)
      return status;
  return ATTN_OK;
}

/* Products P r_d count as parameters do: a small file makes no large layer. */
static AttnStatus
check_products (AttnReader *reader, const AttnConfig *config, const AttnModel *model)
{
  reader->n_products += (uint64_t) model->transformer_xl.linear.n_outputs * (config->window + config->look_ahead);
  if (reader->n_products <= reader->tensors.max_values)
    return ATTN_OK;
  return attn_reader_fail (reader,
                           "the distances of transformer-xl's positions up to here take %llu values, but at most %llu "
                           "are allowed with a file of this size",
                           (unsigned long long) reader->n_products, (unsigned long long) reader->tensors.max_values);
}

static AttnStatus
make_attention (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  char prefix[ATTN_MAX_NAME + 2];
  AttnAttention *attention = NULL;
  AttnModel *model = NULL;
  AttnConfig config;
  const char *name;
  AttnStatus status;

  if ((status = attn_reader_name (reader, json, "attention", &name))
      || (status = read_config (reader, json, width, &config)))
    return status;
  reader->names[reader->n_names - 1].is_attention = true;
  snprintf (prefix, sizeof prefix, "%s.", name);
  status = attn_model_read (&reader->tensors, prefix, &config, &model, &reader->error);
  if (status == ATTN_OK)
    status = attn_config_resolve (&config, model, &reader->error);
  if (status == ATTN_OK)
    status = check_products (reader, &config, model);
  if (status == ATTN_OK)
    status = attn_attention_new (&config, model, reader->machine, &attention, &reader->error);
  *block = attention != NULL ? &attention->block : NULL;
  attn_model_free (model);
  return status;
}

/* ---- conv, stack ---- */

static AttnStatus
read_conv_keys (AttnReader *reader, const json_t *json, size_t width, AttnConv *conv)
{
  uint64_t groups = 1;
  size_t activation = ATTN_ACTIVATION_NONE;
  AttnStatus status;

  *conv = (AttnConv){ .n_inputs = width, .stride = 1, .dilation = 1, .precision = reader->options->precision };
  if ((status = attn_reader_whole (reader, json, "stride", 1, ATTN_MAX_WINDOW, &conv->stride))
      || (status = attn_reader_whole (reader, json, "dilation", 1, ATTN_MAX_WINDOW, &conv->dilation))
      || (status = attn_reader_whole (reader, json, "groups", 1, ATTN_MAX_FEATURES, &groups))
      || (status = attn_reader_choice (reader, json, "activation", value_activation_names, &activation)))
    return status;
  if (width % groups != 0)
    return attn_reader_fail (reader, "frames of %zu values cannot be divided among %llu groups", width,
                             (unsigned long long) groups);
  conv->groups = groups;
  conv->activation = (AttnActivation) activation;
  return ATTN_OK;
}

static AttnStatus
check_conv_weight (AttnReader *reader, const AttnTensor *weight, AttnConv *conv)
{
  size_t n_inputs = conv->n_inputs / conv->groups;
  char wanted[160];

  if (weight->n_dims != 3 || weight->dims[1] != n_inputs || weight->dims[0] == 0 || weight->dims[2] == 0
      || weight->dims[0] > ATTN_MAX_FEATURES || weight->dims[0] % conv->groups != 0) {
    snprintf (wanted, sizeof wanted,
              "[out, %zu, kernel] is needed, for frames of %zu values in %zu groups, where out is a multiple of the "
              "groups, at most %u",
              n_inputs, conv->n_inputs, conv->groups, ATTN_MAX_FEATURES);
    return attn_tensors_fail_shape (&reader->tensors, weight, wanted, &reader->error);
  }
  if (weight->dims[2] - 1 > ATTN_MAX_WINDOW / conv->dilation)
    return attn_reader_fail (reader, "a kernel of %llu taps with a dilation of %llu reaches over more than %u frames",
                             (unsigned long long) weight->dims[2], (unsigned long long) conv->dilation,
                             ATTN_MAX_WINDOW);
  conv->n_outputs = weight->dims[0];
  conv->kernel = weight->dims[2];
  return ATTN_OK;
}

/* Reads the zeros at both ends. No output may read zeros alone. */
static AttnStatus
read_conv_zeros (AttnReader *reader, const json_t *json, AttnConv *conv)
{
  uint64_t reach = (conv->kernel - 1) * conv->dilation;
  AttnStatus status = attn_reader_whole (reader, json, "left", 0, reach, &conv->left);

  return status ? status : attn_reader_whole (reader, json, "right", 0, reach + conv->stride - 1, &conv->right);
}

static AttnStatus
make_conv (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  float *values = NULL, *bias = NULL;
  const AttnTensor *weight = NULL;
  const char *name;
  AttnConv conv;
  AttnStatus status;

  if ((status = attn_reader_name (reader, json, "conv", &name))
      || (status = read_conv_keys (reader, json, width, &conv))
      || (status = attn_reader_tensor (reader, name, ".weight", &weight))
      || (status = check_conv_weight (reader, weight, &conv)) || (status = read_conv_zeros (reader, json, &conv)))
    return status;
  status = attn_tensors_read (&reader->tensors, weight, 0, weight->n_elements, &values, &reader->error);
  if (status == ATTN_OK)
    status = attn_reader_vector (reader, name, ".bias", conv.n_outputs, false, &bias);
  conv.weight = values;
  conv.bias = bias;
  if (status == ATTN_OK)
    status = attn_conv_new (reader->machine, &conv, block, &reader->error);
  attn_free (values);
  attn_free (bias);
  return status;
}

static AttnStatus
make_stack (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  uint64_t n = 1;
  AttnStatus status = attn_reader_whole (reader, json, "stack", 1, ATTN_MAX_FEATURES, &n);

  if (status != ATTN_OK)
    return status;
  if (n * width > ATTN_MAX_FEATURES)
    return attn_reader_fail (reader, "%llu frames of %zu values are %llu values, but at most %u are allowed",
                             (unsigned long long) n, width, (unsigned long long) (n * width), ATTN_MAX_FEATURES);
  return attn_stack_new (reader->machine, width, n, block, &reader->error);
}

/* ---- residual ---- */

static AttnStatus
check_residual (AttnReader *reader, const AttnChain *chain, size_t width)
{
  if (chain->n_outputs == width)
    return ATTN_OK;
  return attn_reader_fail (reader,
                           "the blocks of a residual give frames of %zu values, but these are added to frames of %zu",
                           chain->n_outputs, width);
}

static AttnStatus
make_residual (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  AttnChain chain = { 0 };
  AttnStatus status;

  if (reader->depth == ATTN_MAX_DEPTH)
    return attn_reader_fail (reader, "residuals are %zu deep here, but at most %u are allowed", reader->depth + 1,
                             ATTN_MAX_DEPTH);
  reader->depth++;
  status = attn_reader_chain (reader, "residual", json_object_get (json, "residual"), width, &chain);
  reader->depth--;
  if (status == ATTN_OK)
    status = check_residual (reader, &chain, width);
  if (status == ATTN_OK)
    return attn_residual_new (reader->machine, &chain, block, &reader->error);
  attn_chain_clear (&chain);
  return status;
}

/* ---- the table ---- */

typedef struct {
  const char *name;    /* of the key that names the kind */
  bool is_configured;  /* its keys include the fields of AttnConfig that a model may give */
  const char *keys[8]; /* the others */
  AttnStatus (*make) (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block);
} Kind;

static const Kind kinds[] = {
  { "linear", false, { "activation" }, make_linear },
  { "norm", false, { "kind", "eps" }, make_norm },
  { "activation", false, { NULL }, make_activation },
  { "glu", false, { NULL }, make_glu },
  { "affine", false, { NULL }, make_affine },
  { "sinusoid", false, { "base", "offset", "layout" }, make_sinusoid },
  { "attention", true, { NULL }, make_attention },
  { "conv", false, { "stride", "dilation", "groups", "left", "right", "activation" }, make_conv },
  { "stack", false, { NULL }, make_stack },
  { "residual", false, { NULL }, make_residual },
};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

/* Beside another kind, `activation` is a key of that kind. */
static AttnStatus
find_kind (AttnReader *reader, const json_t *json, const Kind **kind)
{
  const Kind *activation = NULL;
  char list[128] = "";
  size_t i;

  *kind = NULL;
  for (i = 0; i < N_KINDS; i++) {
    snprintf (list + strlen (list), sizeof list - strlen (list), "%s%s", i == 0 ? "" : ", ", kinds[i].name);
    if (json_object_get (json, kinds[i].name) == NULL)
      continue;
    if (kinds[i].make == make_activation)
      activation = &kinds[i];
    else if (*kind != NULL)
      return attn_reader_fail (reader, "it has both %s and %s, but a block is of one kind", (*kind)->name,
                               kinds[i].name);
    else
      *kind = &kinds[i];
  }
  if (*kind == NULL)
    *kind = activation;
  if (*kind != NULL)
    return ATTN_OK;
  return attn_reader_fail (reader, "it has no key that names its kind, which is one of %s; its first key is %s", list,
                           json_object_size (json) == 0
                               ? "missing"
                               : attn_quote (json_object_iter_key (json_object_iter ((json_t *) json))).text);
}

static bool
has_key (const Kind *kind, const char *key)
{
  const AttnField *field;
  size_t i;

  if (strcmp (key, kind->name) == 0)
    return true;
  for (i = 0; kind->keys[i] != NULL; i++)
    if (strcmp (key, kind->keys[i]) == 0)
      return true;
  for (i = 0; kind->is_configured && (field = attn_config_field (i)) != NULL; i++)
    if (field->in_metadata && strcmp (key, field->name) == 0)
      return true;
  return false;
}

AttnStatus
attn_reader_block (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  const Kind *kind;
  const char *key;
  json_t *value;
  AttnStatus status;

  if (!json_is_object (json))
    return attn_reader_fail (reader, "it is %s, expected an object with the keys of a block",
                             attn_json_text (json).text);
  if ((status = find_kind (reader, json, &kind)))
    return status;
  json_object_foreach ((json_t *) json, key, value)
  {
    if (!has_key (kind, key))
      return attn_reader_fail (reader, "it has the key %s, which a block of the kind %s does not have",
                               attn_quote (key).text, kind->name);
  }
  return kind->make (reader, json, width, block);
}
