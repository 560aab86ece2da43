/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _POSIX_C_SOURCE 200809L /* newlocale */

#include "config.h"

#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "half.h"
#include "model.h"
#include "quote.h"
#include "status.h"

/* Far inside of float32, with room for the factors; far outside of any score. */
#define MIN_SOFTCAP 1e-30
#define MAX_SOFTCAP 1e30
/* Names as in metadata and in the properties of the element. */
static const char *const position_names[] = { "none", "rope", "alibi", "relative" };
static const char *const layout_names[] = { "half", "interleaved" };

AttnConfig
attn_config_default (void)
{
  AttnConfig config = { .n_heads = 1, .window = 64, .rope_base = 10000 };

  return config;
}

static AttnStatus
check_range (const char *name, uint32_t value, uint32_t min, uint32_t max, AttnError *error)
{
  if (value >= min && value <= max)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_CONFIG, "%s is %u, expected %u to %u", name, value, min, max);
}

static AttnStatus
check_ranges (const AttnConfig *config, AttnError *error)
{
  AttnStatus status;
  size_t i;

  if ((status = check_range ("the number of features", config->n_features, 0, ATTN_MAX_FEATURES, error))
      || (status = check_range ("heads", config->n_heads, 1, ATTN_MAX_FEATURES, error))
      || (status = check_range ("kv-heads", config->n_kv_heads, 0, config->n_heads, error))
      || (status = check_range ("window", config->window, 1, ATTN_MAX_WINDOW, error))
      || (status = check_range ("look-ahead", config->look_ahead, 0, ATTN_MAX_WINDOW, error))
      || (status = check_range ("sinks", config->n_sinks, 0, ATTN_MAX_WINDOW, error))
      || (status = check_range ("position", config->position, 0, ATTN_POSITION_RELATIVE, error))
      || (status = check_range ("rope-layout", config->rope_layout, 0, ATTN_ROPE_INTERLEAVED, error))
      || (status = check_range ("threads", config->n_threads, 0, ATTN_MAX_THREADS, error))
      || (status = check_range ("precision", config->precision, 0, ATTN_PRECISION_BF16, error))
      || (status = check_range ("arithmetic", config->arithmetic, 0, ATTN_ARITHMETIC_FAST, error)))
    return status;
  if (!isfinite (config->rope_base) || config->rope_base < 1)
    return attn_fail (error, ATTN_ERROR_CONFIG, "rope-base is %g, expected a finite number of at least 1",
                      config->rope_base);
  if (!isfinite (config->scale) || config->scale < 0)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "scale is %g, expected 0 (for 1/sqrt of the head size) or a positive number", config->scale);
  for (i = 0; i < sizeof config->reserved / sizeof config->reserved[0]; i++)
    if (config->reserved[i] != 0)
      return attn_fail (error, ATTN_ERROR_CONFIG,
                        "reserved field %zu of the configuration is %u, expected 0: start from "
                        "attn_config_default ()",
                        i, config->reserved[i]);
  return ATTN_OK;
}

AttnStatus
attn_config_scores (double scale, double softcap, size_t dk, float *query_factor, AttnSoftcap *constants,
                    AttnError *error)
{
  double factor;

  if (!isfinite (scale) || scale < 0)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "scale is %g, expected 0 (for 1/sqrt of the head size) or a positive number", scale);
  if (softcap != 0 && !(softcap >= MIN_SOFTCAP && softcap <= MAX_SOFTCAP))
    return attn_fail (error, ATTN_ERROR_CONFIG, "softcap is %g, expected 0 (off) or %g to %g", softcap, MIN_SOFTCAP,
                      MAX_SOFTCAP);
  factor = (scale != 0 ? scale : 1 / sqrt ((double) dk)) * ATTN_LOG2_E;
  *query_factor = attn_float_or_0 (factor);
  if (!isfinite (*query_factor))
    return attn_fail (error, ATTN_ERROR_CONFIG, "scale is %g, which is too large for float32", scale);
  *constants = (AttnSoftcap){ 0 };
  if (softcap != 0)
    *constants = (AttnSoftcap){ .factor = (float) (2 / softcap), .cap = (float) (softcap * ATTN_LOG2_E) };
  return ATTN_OK;
}

static AttnStatus
check_heads (const AttnSizes *sizes, AttnError *error)
{
  if (sizes->n_heads % sizes->n_kv_heads != 0)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "%zu heads cannot share %zu kv-heads: no whole number of heads for each", sizes->n_heads,
                      sizes->n_kv_heads);
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
    return attn_fail (error, ATTN_ERROR_CONFIG, "%zu features per frame cannot be divided among %zu heads",
                      sizes->n_features, sizes->n_heads);
  sizes->dk = sizes->dv = sizes->n_features / sizes->n_heads;
  sizes->n_outputs = sizes->n_features;
  return ATTN_OK;
}

/* Rows of a projection of the model, shared out among heads. */
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

/* The number that `text` is, whatever decimal point the application's locale has; NAN when it is none. */
static double
parse_number (const char *text)
{
  locale_t c_locale = newlocale (LC_NUMERIC_MASK, "C", (locale_t) 0), previous;
  double number;
  char *end;

  if (c_locale == (locale_t) 0)
    return NAN;
  previous = uselocale (c_locale);
  number = strtod (text, &end);
  uselocale (previous);
  freelocale (c_locale);
  return end != text && *end == '\0' ? number : NAN;
}

/* A claim of the model's metadata about a property; NULL = none. */
static AttnStatus
check_claim (const AttnModel *model, const char *key, const char *claim, double value, AttnError *error)
{
  if (claim == NULL || parse_number (claim) == value)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_MODEL, "%s: the model's metadata says %s=%s, but %s is %g", model->name, key,
                    attn_quote_bare (claim).text, key, value);
}

/* The same for one of some names. */
static AttnStatus
check_named_claim (const AttnModel *model, const char *key, const char *claim, const char *name, AttnError *error)
{
  if (claim == NULL || strcmp (claim, name) == 0)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_MODEL, "%s: the model's metadata says %s=%s, but %s is %s", model->name, key,
                    attn_quote_bare (claim).text, key, name);
}

static AttnStatus
check_position_metadata (const AttnModel *model, const AttnSizes *sizes, AttnError *error)
{
  const AttnModelMetadata *claims = &model->metadata;
  const char *position = position_names[sizes->position], *layout = layout_names[sizes->rope_layout];
  AttnStatus status;

  if ((status = check_named_claim (model, "position", claims->position, position, error))
      || (status = check_claim (model, "rope-base", claims->rope_base, sizes->rope_base, error))
      || (status = check_named_claim (model, "rope-layout", claims->rope_layout, layout, error)))
    return status;
  return check_claim (model, "rope-dimensions", claims->rope_dimensions, 2 * sizes->n_rope_pairs, error);
}

static AttnStatus
check_metadata (const AttnModel *model, const AttnSizes *sizes, const AttnConfig *config, AttnError *error)
{
  const AttnModelMetadata *claims = &model->metadata;
  AttnStatus status;

  if ((status = check_claim (model, "heads", claims->heads, sizes->n_heads, error))
      || (status = check_claim (model, "kv-heads", claims->kv_heads, sizes->n_kv_heads, error))
      || (status = check_claim (model, "window", claims->window, sizes->window, error))
      || (status = check_claim (model, "look-ahead", claims->look_ahead, sizes->look_ahead, error))
      || (status = check_claim (model, "sinks", claims->sinks, sizes->n_sinks, error))
      || (status = check_claim (model, "scale", claims->scale, config->scale, error))
      || (status = check_claim (model, "softcap", claims->softcap, config->softcap, error)))
    return status;
  return check_position_metadata (model, sizes, error);
}

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

/* A trained bias is for relative positions, and they are for it. */
static AttnStatus
check_relative_bias (const AttnModel *model, const AttnSizes *sizes, AttnError *error)
{
  bool wanted = sizes->position == ATTN_POSITION_RELATIVE;
  bool there = model != NULL && model->relative_bias.values != NULL;

  if (wanted && model == NULL)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "position is relative, and there is no model to take its relative_bias from");
  if (wanted && !there)
    return attn_fail (error, ATTN_ERROR_MODEL, "%s: position is relative, but the model has no relative_bias",
                      model->name);
  if (there && !wanted)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: the model has a relative_bias, which takes position=relative, but position is %s",
                      model->name, position_names[sizes->position]);
  return wanted ? check_relative_shape (model, sizes, error) : ATTN_OK;
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

AttnStatus
attn_config_sizes (const AttnConfig *config, const AttnModel *model, AttnSizes *sizes, AttnError *error)
{
  AttnStatus status;

  if ((status = check_ranges (config, error)))
    return status;

  *sizes = (AttnSizes){
    .n_features = config->n_features,
    .n_heads = config->n_heads,
    .n_kv_heads = config->n_kv_heads != 0 ? config->n_kv_heads : config->n_heads,
    .window = config->window,
    .look_ahead = config->look_ahead,
    .n_sinks = config->n_sinks,
    .position = config->position,
    .rope_layout = config->rope_layout,
    .rope_base = config->rope_base,
  };
  if ((status = check_heads (sizes, error))
      || (status = model != NULL ? model_sizes (model, sizes, error) : parameter_free_sizes (sizes, error))
      || (status = rope_sizes (config, sizes, error)) || (status = check_relative_bias (model, sizes, error))
      || (model != NULL && (status = check_metadata (model, sizes, config, error))))
    return status;

  sizes->heads_per_kv = sizes->n_heads / sizes->n_kv_heads;
  sizes->n_query = sizes->n_heads * sizes->dk;
  sizes->n_key = sizes->n_kv_heads * sizes->dk;
  sizes->n_value = sizes->n_kv_heads * sizes->dv;
  sizes->n_context = sizes->n_heads * sizes->dv;
  sizes->n_projected = sizes->n_query + sizes->n_key + sizes->n_value;
  sizes->precision = config->precision;
  sizes->arithmetic = config->arithmetic;
  sizes->dk_stored = attn_stored_rows (sizes->dk, sizes->precision);
  sizes->n_threads = config->n_threads > 1 ? config->n_threads : 1;
  sizes->span = sizes->n_sinks + sizes->window + sizes->look_ahead;
  return attn_config_scores (config->scale, config->softcap, sizes->dk, &sizes->query_factor, &sizes->softcap, error);
}
