/* libattn: the numbers of one attention.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/attention_sizes.h"

#include "base/status.h"
#include "parameters/config.h"
#include "parameters/model.h"

/* ---- heads and their values ---- */

static AttnStatus
check_heads (const AttnSizes *sizes, AttnError *error)
{
  if (sizes->n_heads % sizes->n_kv_heads != 0)
    return attn_fail (
        error, ATTN_ERROR_CONFIG,
        "%zu heads cannot share %zu kv-heads: the number of heads must be a multiple of the number of kv-heads",
        sizes->n_heads, sizes->n_kv_heads);
  return ATTN_OK;
}

/* Without a model each head takes its own slice of the frame. */
static AttnStatus
parameter_free_sizes (AttnSizes *sizes, AttnError *error)
{
  if (sizes->n_features == 0)
    return attn_fail (error, ATTN_ERROR_CONFIG, "the number of features is 0, and there is no model to take it from");
  if (sizes->n_kv_heads != sizes->n_heads)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "kv-heads is %zu and heads is %zu: without a model each head takes its own "
                      "slice of the frame, so they must be equal",
                      sizes->n_kv_heads, sizes->n_heads);
  if (sizes->n_features % sizes->n_heads != 0)
    return attn_fail (
        error, ATTN_ERROR_CONFIG,
        "%zu features per frame cannot be divided among %zu heads: take heads=1, or pad the frames to %zu "
        "features",
        sizes->n_features, sizes->n_heads, (sizes->n_features / sizes->n_heads + 1) * sizes->n_heads);
  sizes->dk = sizes->dv = sizes->n_features / sizes->n_heads;
  sizes->n_outputs = sizes->n_features;
  return ATTN_OK;
}

/* Divides the rows of a projection of the model among heads. */
static AttnStatus
divide_rows (const AttnModel *model, const char *name, size_t rows, size_t n_heads, const char *heads, size_t *per_head,
             AttnError *error)
{
  if (rows % n_heads != 0)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: the %s projection has %zu rows, which cannot be divided among %zu %s", model->name, name,
                      rows, n_heads, heads);
  *per_head = rows / n_heads;
  return ATTN_OK;
}

static AttnStatus
model_sizes (const AttnModel *model, AttnSizes *sizes, AttnError *error)
{
  AttnStatus status;
  size_t key_dk = 0;

  if (sizes->n_features != 0 && sizes->n_features != model->query.n_inputs)
    return attn_fail (error, ATTN_ERROR_MODEL, "%s: the model takes %u features per frame, but the frames have %zu",
                      model->name, model->query.n_inputs, sizes->n_features);
  sizes->n_features = model->query.n_inputs;
  if ((status = divide_rows (model, "query", model->query.n_outputs, sizes->n_heads, "heads", &sizes->dk, error))
      || (status = divide_rows (model, "key", model->key.n_outputs, sizes->n_kv_heads, "kv-heads", &key_dk, error))
      || (status =
              divide_rows (model, "value", model->value.n_outputs, sizes->n_kv_heads, "kv-heads", &sizes->dv, error)))
    return status;
  if (sizes->dk != key_dk)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: a query has %zu values (%u rows, %zu heads), but a key has %zu (%u rows, "
                      "%zu kv-heads)",
                      model->name, sizes->dk, model->query.n_outputs, sizes->n_heads, key_dk, model->key.n_outputs,
                      sizes->n_kv_heads);
  sizes->n_outputs = sizes->n_heads * sizes->dv;
  if (model->output.weight != NULL) {
    if (model->output.n_inputs != sizes->n_outputs)
      return attn_fail (error, ATTN_ERROR_MODEL,
                        "%s: the output projection takes %u values, but %zu heads give %zu each", model->name,
                        model->output.n_inputs, sizes->n_heads, sizes->dv);
    sizes->n_outputs = model->output.n_outputs;
  }
  return ATTN_OK;
}

/* ---- positions ---- */

static AttnStatus
check_relative_shape (const AttnModel *model, const AttnSizes *sizes, AttnError *error)
{
  const AttnRelativeBias *bias = &model->relative_bias;
  size_t n_frames = sizes->window + sizes->look_ahead;

  if (bias->n_heads == sizes->n_heads && bias->n_frames == n_frames)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_MODEL,
                    "%s: relative_bias has shape [%u, %u], but %zu heads, a window of %zu and a look-ahead of %zu need "
                    "[%zu, %zu]",
                    model->name, bias->n_heads, bias->n_frames, sizes->n_heads, sizes->window, sizes->look_ahead,
                    sizes->n_heads, n_frames);
}

/* A trained bias needs relative positions, and these need the bias. */
static AttnStatus
check_relative_bias (const AttnModel *model, const AttnSizes *sizes, AttnError *error)
{
  bool wanted = sizes->position == ATTN_POSITION_RELATIVE;
  bool there = model != NULL && model->relative_bias.values != NULL;

  if (wanted && sizes->chunk != 0)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "position is relative, but chunk is %zu: relative_bias needs a window, not chunks", sizes->chunk);
  if (wanted && model == NULL)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "position is relative, and there is no model to take its relative_bias from");
  if (wanted && !there)
    return attn_fail (error, ATTN_ERROR_MODEL, "%s: position is relative, but the model has no relative_bias",
                      model->name);
  if (there && !wanted)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: the model has a relative_bias, which takes position=relative, but position is %s",
                      model->name, attn_position_name (sizes->position));
  return wanted ? check_relative_shape (model, sizes, error) : ATTN_OK;
}

static AttnStatus
check_xl_shapes (const AttnModel *model, const AttnSizes *sizes, AttnError *error)
{
  const AttnTransformerXl *xl = &model->transformer_xl;
  size_t n_query = sizes->n_heads * sizes->dk;

  if (xl->linear.n_outputs != n_query || xl->linear.n_inputs != sizes->n_features)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: linear_pos.weight has shape [%u, %u], but %zu heads of %zu values and %zu features need "
                      "[%zu, %zu]",
                      model->name, xl->linear.n_outputs, xl->linear.n_inputs, sizes->n_heads, sizes->dk,
                      sizes->n_features, n_query, sizes->n_features);
  if (xl->n_heads != sizes->n_heads || xl->n_values != sizes->dk)
    return attn_fail (error, ATTN_ERROR_MODEL, "%s: pos_bias_u has shape [%u, %u], but %zu heads of %zu values need it",
                      model->name, xl->n_heads, xl->n_values, sizes->n_heads, sizes->dk);
  return ATTN_OK;
}

/*
 * A large window makes a table that is large beside its parameters: a small file makes no large layer, if the table has
 * at most 64 times as many values as P, or a million.
 */
static AttnStatus
check_distances (const AttnSizes *sizes, AttnError *error)
{
  size_t n = sizes->window + sizes->look_ahead, n_query = sizes->n_heads * sizes->dk;
  size_t most = 64 * sizes->n_features > (1u << 20) / n_query ? 64 * sizes->n_features : (1u << 20) / n_query;

  if (sizes->n_sinks != 0)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "sinks is %zu, but position is transformer-xl: the distance of a sink has no end",
                      sizes->n_sinks);
  if (sizes->n_features % 2 != 0)
    return attn_fail (
        error, ATTN_ERROR_CONFIG,
        "frames have %zu features, an odd number, but position is transformer-xl, which needs a sine and a "
        "cosine for each pair",
        sizes->n_features);
  most = most < ATTN_MAX_DISTANCES ? most : ATTN_MAX_DISTANCES;
  if (n <= most)
    return ATTN_OK;
  return attn_fail (
      error, ATTN_ERROR_CONFIG,
      "window is %zu and look-ahead is %zu, which are %zu distances, but position is transformer-xl, which "
      "allows at most %zu with layers of this size",
      sizes->window, sizes->look_ahead, n, most);
}

/* Transformer-XL's positions need their tensors, and these need the positions. */
static AttnStatus
check_transformer_xl (const AttnModel *model, const AttnSizes *sizes, AttnError *error)
{
  bool wanted = sizes->position == ATTN_POSITION_TRANSFORMER_XL;
  bool there = model != NULL && model->transformer_xl.n_heads != 0;
  AttnStatus status;

  if (wanted && model == NULL)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "position is transformer-xl, and there is no model to take its linear_pos.weight from");
  if (wanted && !there)
    return attn_fail (error, ATTN_ERROR_MODEL, "%s: position is transformer-xl, but the model has no linear_pos.weight",
                      model->name);
  if (there && !wanted)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: the model has linear_pos.weight, which takes position=transformer-xl, but position is %s",
                      model->name, attn_position_name (sizes->position));
  if (!wanted || (status = check_xl_shapes (model, sizes, error)))
    return wanted ? status : ATTN_OK;
  return check_distances (sizes, error);
}

static AttnStatus
rope_sizes (const AttnConfig *config, AttnSizes *sizes, AttnError *error)
{
  size_t n = config->rope_dimensions != 0 ? config->rope_dimensions : sizes->dk;

  if (config->position != ATTN_POSITION_ROPE)
    return ATTN_OK;
  if (n > sizes->dk)
    return attn_fail (error, ATTN_ERROR_CONFIG, "rope-dimensions is %zu, but the query of a head has only %zu values",
                      n, sizes->dk);
  if (sizes->dk == 1)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "the query of a head has 1 value, an odd number, and RoPE rotates pairs: there is no pair");
  if (n % 2 != 0 && config->rope_dimensions == 0)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "the query of a head has %zu values, an odd number, and RoPE rotates pairs: set rope-dimensions "
                      "to at most %zu",
                      n, n - 1);
  if (n % 2 != 0)
    return attn_fail (error, ATTN_ERROR_CONFIG, "rope-dimensions is %zu, expected an even number: RoPE rotates pairs",
                      n);
  sizes->n_rope_pairs = n / 2;
  return ATTN_OK;
}

/* ---- norms of queries and keys ---- */

static AttnStatus
check_norm_vectors (const AttnModel *model, const char *name, const AttnNormVectors *norm, const AttnSizes *sizes,
                    AttnError *error)
{
  if (norm->n_values != sizes->dk)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: %s.weight has %u values, but a head has %zu: one norm holds for every head", model->name,
                      name, norm->n_values, sizes->dk);
  if (norm->bias != NULL && sizes->qk_norm == ATTN_QK_NORM_RMS)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: the model has %s.bias, which takes qk-norm=layer, but qk-norm is %s", model->name, name,
                      attn_qk_norm_name (sizes->qk_norm));
  return ATTN_OK;
}

/* A norm needs its weights, and these need the norm. */
static AttnStatus
check_norms (const AttnModel *model, const AttnSizes *sizes, AttnError *error)
{
  bool wanted = sizes->qk_norm != ATTN_QK_NORM_NONE, there = model != NULL && model->query_norm.n_values != 0;
  AttnStatus status;

  if (wanted && model == NULL)
    return attn_fail (error, ATTN_ERROR_CONFIG, "qk-norm is %s, and there is no model to take its q_norm.weight from",
                      attn_qk_norm_name (sizes->qk_norm));
  if (wanted && !there)
    return attn_fail (error, ATTN_ERROR_MODEL, "%s: qk-norm is %s, but the model has no q_norm.weight", model->name,
                      attn_qk_norm_name (sizes->qk_norm));
  if (there && !wanted)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: the model has q_norm.weight, but qk-norm is none: it has to be layer or rms, as the model "
                      "was trained",
                      model->name);
  if (!wanted || (status = check_norm_vectors (model, "q_norm", &model->query_norm, sizes, error)))
    return wanted ? status : ATTN_OK;
  return check_norm_vectors (model, "k_norm", &model->key_norm, sizes, error);
}

/* ---- all together ---- */

/* Copies the numbers of the configuration. */
static AttnSizes
configured (const AttnConfig *config, const AttnMachine *machine)
{
  return (AttnSizes){
    .n_features = config->n_features,
    .n_heads = config->n_heads,
    .n_kv_heads = config->n_kv_heads != 0 ? config->n_kv_heads : config->n_heads,
    .window = config->window,
    .look_ahead = config->look_ahead,
    .chunk = config->chunk,
    .chunks = config->chunks,
    .n_sinks = config->n_sinks,
    .position = config->position,
    .rope_layout = config->rope_layout,
    .rope_base = config->rope_base,
    .qk_norm = config->qk_norm,
    .qk_norm_eps = (float) config->qk_norm_eps,
    .precision = config->precision,
    .arithmetic = config->arithmetic,
    .is_split = machine->matrix != NULL,
    .n_threads = config->n_threads > 1 ? config->n_threads : 1,
  };
}

/* Derives the other sizes. */
static void
derive (AttnSizes *sizes)
{
  sizes->heads_per_kv = sizes->n_heads / sizes->n_kv_heads;
  sizes->n_query = sizes->n_heads * sizes->dk;
  sizes->n_key = sizes->n_kv_heads * sizes->dk;
  sizes->n_value = sizes->n_kv_heads * sizes->dv;
  sizes->n_context = sizes->n_heads * sizes->dv;
  sizes->n_projected = sizes->n_query + sizes->n_key + sizes->n_value;
  sizes->dk_stored = attn_stored_rows (sizes->dk, sizes->precision);
  sizes->span = sizes->n_sinks + sizes->window + sizes->look_ahead;
}

AttnStatus
attn_attention_sizes (AttnSizes *sizes, const AttnConfig *config, const AttnModel *model, const AttnMachine *machine,
                      AttnError *error)
{
  AttnStatus status = attn_config_check (config, error);
  AttnConfig zeros = { .n_kv_heads = config->n_heads };

  if (status != ATTN_OK)
    return status;
  *sizes = configured (config, machine);
  if ((status = check_heads (sizes, error))
      || (status = model != NULL ? model_sizes (model, sizes, error) : parameter_free_sizes (sizes, error))
      || (status = rope_sizes (config, sizes, error)) || (status = check_relative_bias (model, sizes, error)))
    return status;
  zeros.rope_dimensions = sizes->dk;
  if ((status = attn_config_check_claims (config, &zeros, model, error))
      || (status = check_transformer_xl (model, sizes, error)) || (status = check_norms (model, sizes, error)))
    return status;
  derive (sizes);
  return attn_config_scores (config->scale, config->softcap, sizes->dk, &sizes->query_factor, &sizes->softcap, error);
}
