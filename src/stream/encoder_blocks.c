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
  reader->n_attentions++;
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

/* ---- conv, conv2d, stack ---- */

/* The keys that both have, but for the stride. */
static AttnStatus
read_conv_keys (AttnReader *reader, const json_t *json, AttnConv *conv)
{
  uint64_t groups = 1;
  size_t activation = ATTN_ACTIVATION_NONE;
  AttnStatus status;

  if ((status = attn_reader_whole (reader, json, "groups", 1, ATTN_MAX_FEATURES, &groups))
      || (status = attn_reader_choice (reader, json, "activation", value_activation_names, &activation)))
    return status;
  conv->groups = groups;
  conv->activation = (AttnActivation) activation;
  conv->precision = reader->options->precision;
  return ATTN_OK;
}

/* The sizes of conv's weight. */
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
  conv->n_outputs = weight->dims[0];
  conv->kernel = weight->dims[2];
  return ATTN_OK;
}

/* Reads the zeros at both ends. No output may read zeros alone. */
static AttnStatus
read_conv_zeros (AttnReader *reader, const json_t *json, AttnConv *conv)
{
  uint64_t reach = (conv->kernel - 1) * conv->dilation;
  AttnStatus status;

  if (conv->kernel - 1 > ATTN_MAX_WINDOW / conv->dilation)
    return attn_reader_fail (reader, "a kernel of %zu taps with a dilation of %llu reaches over more than %u frames",
                             conv->kernel, (unsigned long long) conv->dilation, ATTN_MAX_WINDOW);
  status = attn_reader_whole (reader, json, "left", 0, reach, &conv->left);
  return status ? status : attn_reader_whole (reader, json, "right", 0, reach + conv->stride - 1, &conv->right);
}

/* The block of checked numbers, with the values of its tensors. */
static AttnStatus
finish_conv (AttnReader *reader, const char *name, const AttnTensor *weight, AttnConv *conv, AttnBlock **block)
{
  float *values = NULL, *bias = NULL;
  AttnStatus status = attn_tensors_read (&reader->tensors, weight, 0, weight->n_elements, &values, &reader->error);

  if (status == ATTN_OK)
    status = attn_reader_vector (reader, name, ".bias", conv->n_outputs, false, &bias);
  conv->weight = values;
  conv->bias = bias;
  if (status == ATTN_OK)
    status = attn_conv_new (reader->machine, conv, block, &reader->error);
  attn_free (values);
  attn_free (bias);
  return status;
}

static AttnStatus
make_conv (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  AttnConv conv = { .n_bins = 1, .bin_kernel = 1, .bin_stride = 1, .n_inputs = width, .stride = 1, .dilation = 1 };
  const AttnTensor *weight = NULL;
  const char *name;
  AttnStatus status;

  if ((status = attn_reader_name (reader, json, "conv", &name))
      || (status = attn_reader_whole (reader, json, "stride", 1, ATTN_MAX_WINDOW, &conv.stride))
      || (status = attn_reader_whole (reader, json, "dilation", 1, ATTN_MAX_WINDOW, &conv.dilation))
      || (status = read_conv_keys (reader, json, &conv)))
    return status;
  if (width % conv.groups != 0)
    return attn_reader_fail (reader, "frames of %zu values cannot be divided among %zu groups", width, conv.groups);
  if ((status = attn_reader_tensor (reader, name, ".weight", &weight))
      || (status = check_conv_weight (reader, weight, &conv)) || (status = read_conv_zeros (reader, json, &conv)))
    return status;
  return finish_conv (reader, name, weight, &conv, block);
}

/* The sizes of conv2d's weight, which say how many channels and bins a frame has. */
static AttnStatus
check_conv2d_weight (AttnReader *reader, const AttnTensor *weight, size_t width, AttnConv *conv)
{
  char wanted[160];
  uint64_t n_channels;

  if (weight->n_dims != 4 || weight->n_elements == 0 || weight->dims[0] > ATTN_MAX_FEATURES
      || weight->dims[0] % conv->groups != 0) {
    snprintf (wanted, sizeof wanted,
              "[out, channels / groups, kernel in time, kernel in frequency] is needed, where out is a multiple of the "
              "%zu groups, at most %u",
              conv->groups, ATTN_MAX_FEATURES);
    return attn_tensors_fail_shape (&reader->tensors, weight, wanted, &reader->error);
  }
  n_channels = attn_size_mul (weight->dims[1], conv->groups);
  if (width % n_channels != 0)
    return attn_reader_fail (reader,
                             "frames of %zu values cannot be divided into the %llu channels of its weight (%llu in "
                             "each of %zu groups)",
                             width, (unsigned long long) n_channels, (unsigned long long) weight->dims[1],
                             conv->groups);
  conv->n_inputs = n_channels;
  conv->n_bins = width / n_channels;
  conv->n_outputs = weight->dims[0];
  conv->kernel = weight->dims[2];
  conv->bin_kernel = weight->dims[3];
  return ATTN_OK;
}

/* Reads the zeros below and above the bins, and checks the bins that remain. */
static AttnStatus
read_conv2d_bins (AttnReader *reader, const json_t *json, AttnConv *conv)
{
  uint64_t low = 0, high = 0, n_outputs;
  AttnStatus status;

  if (conv->bin_kernel > ATTN_MAX_FEATURES)
    return attn_reader_fail (reader, "the kernel reaches over %zu bins, but at most %u are allowed", conv->bin_kernel,
                             ATTN_MAX_FEATURES);
  if ((status = attn_reader_whole (reader, json, "low", 0, conv->bin_kernel - 1, &low))
      || (status = attn_reader_whole (reader, json, "high", 0, conv->bin_kernel + conv->bin_stride - 2, &high)))
    return status;
  conv->low = low;
  conv->high = high;
  if (attn_conv_bins_out (conv) == 0)
    return attn_reader_fail (reader, "its kernel reaches over %zu bins, but there are %zu, with the zeros",
                             conv->bin_kernel, conv->low + conv->n_bins + conv->high);
  n_outputs = attn_size_mul (conv->n_outputs, attn_conv_bins_out (conv));
  if (n_outputs > ATTN_MAX_FEATURES)
    return attn_reader_fail (reader, "%zu channels of %zu bins are %llu values, but at most %u are allowed",
                             conv->n_outputs, attn_conv_bins_out (conv), (unsigned long long) n_outputs,
                             ATTN_MAX_FEATURES);
  return ATTN_OK;
}

static AttnStatus
make_conv2d (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block)
{
  static const uint64_t max_stride[] = { ATTN_MAX_WINDOW, ATTN_MAX_FEATURES };
  uint64_t stride[] = { 1, 1 };
  AttnConv conv = { .has_bins = true, .dilation = 1 };
  const AttnTensor *weight = NULL;
  const char *name;
  AttnStatus status;

  if ((status = attn_reader_name (reader, json, "conv2d", &name))
      || (status = attn_reader_pair (reader, json, "stride", "[2, 2]", max_stride, stride))
      || (status = read_conv_keys (reader, json, &conv))
      || (status = attn_reader_tensor (reader, name, ".weight", &weight))
      || (status = check_conv2d_weight (reader, weight, width, &conv)))
    return status;
  conv.stride = stride[0];
  conv.bin_stride = stride[1];
  if ((status = read_conv_zeros (reader, json, &conv)) || (status = read_conv2d_bins (reader, json, &conv)))
    return status;
  return finish_conv (reader, name, weight, &conv, block);
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
  { "conv2d", false, { "stride", "groups", "left", "right", "low", "high", "activation" }, make_conv2d },
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
