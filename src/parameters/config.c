/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _POSIX_C_SOURCE 200809L /* newlocale */

#include "parameters/config.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/half.h"
#include "parameters/model.h"
#include "base/quote.h"
#include "base/status.h"

/* Far inside of float32, with room for the factors; far outside of any score. */
#define MIN_SOFTCAP 1e-30
#define MAX_SOFTCAP 1e30

/* ---- the fields that a model may speak of ---- */

/*
 * Their names are those of the metadata, and of the properties of the element. A field is a double, or else a whole
 * number of 32 bits, which may be one of some names.
 */
typedef struct {
  const char *name;
  size_t offset;               /* in AttnConfig */
  bool is_double;              /* else 32 bits */
  const char *const *names;    /* of the values 0 to max; NULL: it is a number */
  double min, max, by_default; /* by_default: where neither program nor model says anything */
} Field;

static const char *const position_names[] = { "none", "rope", "alibi", "relative" };
static const char *const layout_names[] = { "half", "interleaved" };

#define WHOLE(name, member, min, max, by_default)                          \
  {                                                                        \
    name, offsetof (AttnConfig, member), false, NULL, min, max, by_default \
  }
#define DOUBLE(name, member, min, max, by_default)                        \
  {                                                                       \
    name, offsetof (AttnConfig, member), true, NULL, min, max, by_default \
  }
#define NAMED(name, member, names, max, by_default)                       \
  {                                                                       \
    name, offsetof (AttnConfig, member), false, names, 0, max, by_default \
  }

enum {
  HEADS,
  KV_HEADS,
  WINDOW,
  LOOK_AHEAD,
  SINKS,
  SCALE,
  SOFTCAP,
  POSITION,
  ROPE_BASE,
  ROPE_LAYOUT,
  ROPE_DIMENSIONS,
  N_FIELDS
};
static const Field fields[N_FIELDS] = {
  [HEADS] = WHOLE ("heads", n_heads, 1, ATTN_MAX_FEATURES, 1),
  [KV_HEADS] = WHOLE ("kv-heads", n_kv_heads, 0, ATTN_MAX_FEATURES, 0),
  [WINDOW] = WHOLE ("window", window, 1, ATTN_MAX_WINDOW, 64),
  [LOOK_AHEAD] = WHOLE ("look-ahead", look_ahead, 0, ATTN_MAX_WINDOW, 0),
  [SINKS] = WHOLE ("sinks", n_sinks, 0, ATTN_MAX_WINDOW, 0),
  [SCALE] = DOUBLE ("scale", scale, 0, DBL_MAX, 0),
  [SOFTCAP] = DOUBLE ("softcap", softcap, 0, MAX_SOFTCAP, 0),
  [POSITION] = NAMED ("position", position, position_names, ATTN_POSITION_RELATIVE, ATTN_POSITION_NONE),
  [ROPE_BASE] = DOUBLE ("rope-base", rope_base, 1, DBL_MAX, 10000),
  [ROPE_LAYOUT] = NAMED ("rope-layout", rope_layout, layout_names, ATTN_ROPE_INTERLEAVED, ATTN_ROPE_HALF),
  [ROPE_DIMENSIONS] = WHOLE ("rope-dimensions", rope_dimensions, 0, ATTN_MAX_FEATURES, 0),
};

static double
get_field (const AttnConfig *config, const Field *field)
{
  uint32_t word;
  double number;

  memcpy (&number, (const char *) config + field->offset, sizeof number);
  memcpy (&word, (const char *) config + field->offset, sizeof word);
  return field->is_double ? number : word;
}

/* Of a whole number: ATTN_UNSET - 1, which is out of every range, where it cannot hold the value. */
static void
set_field (AttnConfig *config, const Field *field, double value)
{
  uint32_t word = value >= 0 && value <= ATTN_UNSET ? (uint32_t) value : ATTN_UNSET - 1;

  if (field->is_double)
    memcpy ((char *) config + field->offset, &value, sizeof value);
  else
    memcpy ((char *) config + field->offset, &word, sizeof word);
}

static bool
is_unset (const AttnConfig *config, const Field *field)
{
  return get_field (config, field) == (field->is_double ? ATTN_UNSET_DOUBLE : ATTN_UNSET);
}

AttnConfig
attn_config_default (void)
{
  AttnConfig config = { 0 };

  for (size_t i = 0; i < N_FIELDS; i++)
    set_field (&config, &fields[i], fields[i].is_double ? ATTN_UNSET_DOUBLE : ATTN_UNSET);
  return config;
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

static AttnStatus
fail_claim (const AttnModel *model, const Field *field, const char *claim, AttnError *error)
{
  char names[64] = "";

  for (size_t i = 0; field->names != NULL && i <= field->max; i++)
    snprintf (names + strlen (names), sizeof names - strlen (names), "%s%s", i == 0 ? "" : ", ", field->names[i]);
  if (field->names != NULL)
    return attn_fail (error, ATTN_ERROR_MODEL, "%s: the model's metadata says %s=%s, expected one of %s", model->name,
                      field->name, attn_quote_bare (claim).text, names);
  if (field->max == DBL_MAX)
    return attn_fail (error, ATTN_ERROR_MODEL, "%s: the model's metadata says %s=%s, expected a number of at least %g",
                      model->name, field->name, attn_quote_bare (claim).text, field->min);
  return attn_fail (
      error, ATTN_ERROR_MODEL, "%s: the model's metadata says %s=%s, expected a %snumber from %g to %.10g", model->name,
      field->name, attn_quote_bare (claim).text, field->is_double ? "" : "whole ", field->min, field->max);
}

/* The value of `field` that `claim`, a text of the metadata, stands for. */
static AttnStatus
parse_claim (const AttnModel *model, const Field *field, const char *claim, double *value, AttnError *error)
{
  if (field->names != NULL) {
    for (*value = 0; *value <= field->max; ++*value)
      if (strcmp (claim, field->names[(int) *value]) == 0)
        return ATTN_OK;
    return fail_claim (model, field, claim, error);
  }
  *value = parse_number (claim);
  if (*value >= field->min && *value <= field->max && (field->is_double || *value == floor (*value)))
    return ATTN_OK;
  return fail_claim (model, field, claim, error);
}

/* Numbers for a rotation that nobody asked for: whoever wrote them forgot the position. */
static AttnStatus
check_rope_claims (const AttnModel *model, AttnError *error)
{
  for (size_t i = ROPE_BASE; i <= ROPE_DIMENSIONS; i++) {
    const char *claim = attn_model_metadata (model, fields[i].name);

    if (claim != NULL)
      return attn_fail (error, ATTN_ERROR_MODEL,
                        "%s: the model's metadata says %s=%s, but no position, and position was not set: is it rope?",
                        model->name, fields[i].name, attn_quote_bare (claim).text);
  }
  return ATTN_OK;
}

/* Where the program and the metadata say nothing of the position. */
static AttnStatus
resolve_position (AttnConfig *config, const AttnModel *model, AttnError *error)
{
  if (model->relative_bias.n_frames != 0)
    config->position = ATTN_POSITION_RELATIVE;
  return check_rope_claims (model, error);
}

AttnStatus
attn_config_resolve (AttnConfig *config, const AttnModel *model, AttnError *error)
{
  AttnConfig resolved = *config;
  AttnStatus status = ATTN_OK;

  for (size_t i = 0; i < N_FIELDS && status == ATTN_OK; i++) {
    const char *claim = model != NULL ? attn_model_metadata (model, fields[i].name) : NULL;
    double value = fields[i].by_default;

    if (!is_unset (config, &fields[i]))
      continue;
    if (claim != NULL)
      status = parse_claim (model, &fields[i], claim, &value, error);
    set_field (&resolved, &fields[i], value);
  }
  if (status == ATTN_OK && model != NULL && is_unset (config, &fields[POSITION])
      && attn_model_metadata (model, fields[POSITION].name) == NULL)
    status = resolve_position (&resolved, model, error);
  if (status != ATTN_OK)
    return status;
  if (model != NULL && resolved.n_features == 0)
    resolved.n_features = model->query.n_inputs;
  *config = resolved;
  return attn_succeed (error);
}

/* ---- what is set, checked ---- */

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
      || (status = check_range ("threads", config->n_threads, 0, ATTN_MAX_THREADS, error))
      || (status = check_range ("precision", config->precision, 0, ATTN_PRECISION_BF16, error))
      || (status = check_range ("arithmetic", config->arithmetic, 0, ATTN_ARITHMETIC_FAST, error)))
    return status;
  for (i = 0; i < N_FIELDS; i++)
    if (!fields[i].is_double
        && (status = check_range (fields[i].name, (uint32_t) get_field (config, &fields[i]), (uint32_t) fields[i].min,
                                  (uint32_t) fields[i].max, error)))
      return status;
  if (config->n_kv_heads > config->n_heads)
    return check_range ("kv-heads", config->n_kv_heads, 0, config->n_heads, error);
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
    return attn_fail (
        error, ATTN_ERROR_CONFIG,
        "%zu features per frame cannot be divided among %zu heads: take heads=1, or pad the frames to %zu "
        "features",
        sizes->n_features, sizes->n_heads, (sizes->n_features / sizes->n_heads + 1) * sizes->n_heads);
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

/* ---- what the model claims, and what the program set ---- */

/* 0 stands for what follows from another field: what it comes to. */
static double
meaning (const Field *field, double value, const AttnSizes *sizes)
{
  if (value != 0)
    return value;
  return field == &fields[KV_HEADS] ? sizes->n_heads : field == &fields[ROPE_DIMENSIONS] ? sizes->dk : 0;
}

static AttnStatus
check_claim (const AttnModel *model, const Field *field, double value, const AttnSizes *sizes, AttnError *error)
{
  const char *claim = attn_model_metadata (model, field->name);
  double claimed = 0;
  char is[32];

  if (claim == NULL)
    return ATTN_OK;
  if (parse_claim (model, field, claim, &claimed, error) != ATTN_OK)
    return ATTN_ERROR_MODEL;
  if (meaning (field, claimed, sizes) == meaning (field, value, sizes))
    return ATTN_OK;
  snprintf (is, sizeof is, "%.10g", value);
  return attn_fail (error, ATTN_ERROR_MODEL, "%s: the model's metadata says %s=%s, but %s is %s", model->name,
                    field->name, attn_quote_bare (claim).text, field->name,
                    field->names != NULL ? field->names[(int) value] : is);
}

/* What was set may not disagree with the model. */
static AttnStatus
check_claims (const AttnModel *model, const AttnSizes *sizes, const AttnConfig *config, AttnError *error)
{
  AttnStatus status = ATTN_OK;

  for (size_t i = 0; i < N_FIELDS && model != NULL && status == ATTN_OK; i++)
    status = check_claim (model, &fields[i], get_field (config, &fields[i]), sizes, error);
  return status;
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
attn_config_sizes (const AttnConfig *given, const AttnModel *model, AttnSizes *sizes, AttnError *error)
{
  AttnConfig resolved = *given, *config = &resolved;
  AttnStatus status;

  if ((status = attn_config_resolve (config, model, error)) || (status = check_ranges (config, error)))
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
      || (status = check_claims (model, sizes, config, error)))
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
