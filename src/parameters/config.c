/*
 * libattn: the fields of a configuration: their values in a model, and their ranges.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* newlocale */

#include "parameters/config.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/quote.h"
#include "base/status.h"
#include "parameters/model.h"

/* ---- the fields ---- */

static const char *const position_names[] = { "none", "rope", "alibi", "relative", "transformer-xl", NULL };
static const char *const layout_names[] = { "half", "interleaved", NULL };
static const char *const qk_norm_names[] = { "none", "layer", "rms", NULL };

#define AT(member) .offset = offsetof (AttnConfig, member)
#define FROM(least, most) .min = (least), .max = (most)
#define DOUBLE(of_zero) .is_double = true, .zero = (of_zero)
#define NAMED(table, last) .names = (table), .max = (last)
#define OF_MODEL .in_metadata = true

enum {
  SCALE,
  SOFTCAP,
  POSITION,
  ROPE_BASE,
  ROPE_LAYOUT,
  ROPE_DIMENSIONS,
  QK_NORM,
  QK_NORM_EPS,
  WINDOW,
  LOOK_AHEAD,
  CHUNK,
  CHUNKS
};
static const AttnField fields[] = {
  [SCALE] = { "scale", AT (scale), DOUBLE ("for 1/sqrt of the head size"), FROM (DBL_MIN, DBL_MAX), OF_MODEL },
  /* Well within float32, with room for the factors; far beyond any score. */
  [SOFTCAP] = { "softcap", AT (softcap), DOUBLE ("off"), FROM (1e-30, 1e30), OF_MODEL },
  [POSITION] = { "position", AT (position), NAMED (position_names, ATTN_POSITION_TRANSFORMER_XL), OF_MODEL },
  [ROPE_BASE] = { "rope-base", AT (rope_base), DOUBLE (NULL), FROM (1, DBL_MAX), .by_default = 10000, OF_MODEL },
  [ROPE_LAYOUT] = { "rope-layout", AT (rope_layout), NAMED (layout_names, ATTN_ROPE_INTERLEAVED), OF_MODEL },
  [ROPE_DIMENSIONS] = { "rope-dimensions", AT (rope_dimensions), FROM (0, ATTN_MAX_FEATURES), OF_MODEL },
  [QK_NORM] = { "qk-norm", AT (qk_norm), NAMED (qk_norm_names, ATTN_QK_NORM_RMS), OF_MODEL },
  [QK_NORM_EPS] = { "qk-norm-eps", AT (qk_norm_eps), DOUBLE (NULL), FROM (1e-30, 1e30), .by_default = 1e-5, OF_MODEL },
  [WINDOW] = { "window", AT (window), FROM (1, ATTN_MAX_WINDOW), .by_default = 64, OF_MODEL },
  [LOOK_AHEAD] = { "look-ahead", AT (look_ahead), FROM (0, ATTN_MAX_WINDOW), OF_MODEL },
  [CHUNK] = { "chunk", AT (chunk), FROM (0, ATTN_MAX_CHUNK), OF_MODEL },
  [CHUNKS] = { "chunks", AT (chunks), FROM (0, ATTN_MAX_WINDOW), OF_MODEL },
  { "heads", AT (n_heads), FROM (1, ATTN_MAX_FEATURES), .by_default = 1, OF_MODEL },
  { "kv-heads", AT (n_kv_heads), FROM (0, ATTN_MAX_FEATURES), OF_MODEL },
  { "sinks", AT (n_sinks), FROM (0, ATTN_MAX_WINDOW), OF_MODEL },
  { "the number of features", AT (n_features), FROM (0, ATTN_MAX_FEATURES) },
  { "threads", AT (n_threads), FROM (0, ATTN_MAX_THREADS) },
  { "precision", AT (precision), FROM (0, ATTN_PRECISION_BF16) },
  { "arithmetic", AT (arithmetic), FROM (0, ATTN_ARITHMETIC_FAST) },
};
#define N_FIELDS (sizeof fields / sizeof fields[0])

const AttnField *
attn_config_field (size_t i)
{
  return i < N_FIELDS ? &fields[i] : NULL;
}

const char *
attn_position_name (AttnPosition position)
{
  return position_names[position];
}

const char *
attn_qk_norm_name (AttnQkNorm norm)
{
  return qk_norm_names[norm];
}

double
attn_config_get (const AttnConfig *config, const AttnField *field)
{
  const char *at = (const char *) config + field->offset;
  uint32_t word;
  double number;

  if (field->is_double)
    return memcpy (&number, at, sizeof number), number;
  return memcpy (&word, at, sizeof word), word;
}

void
attn_config_set (AttnConfig *config, const AttnField *field, double value)
{
  char *at = (char *) config + field->offset;

  if (field->is_double)
    memcpy (at, &value, sizeof value);
  else
    memcpy (at, &(uint32_t){ (uint32_t) value }, sizeof (uint32_t));
}

static double
unset_value (const AttnField *field)
{
  return field->is_double ? ATTN_UNSET_DOUBLE : ATTN_UNSET;
}

static bool
is_unset (const AttnConfig *config, const AttnField *field)
{
  return field->in_metadata && attn_config_get (config, field) == unset_value (field);
}

AttnConfig
attn_config_default (void)
{
  AttnConfig config = { 0 };

  for (const AttnField *field = fields; field < fields + N_FIELDS; field++)
    attn_config_set (&config, field, field->in_metadata ? unset_value (field) : field->by_default);
  return config;
}

/* ---- ranges ---- */

static bool
is_in_range (const AttnField *field, double value)
{
  return (value >= field->min && value <= field->max && (field->is_double || value == floor (value)))
         || (value == 0 && field->zero != NULL);
}

typedef struct {
  char text[96];
} RangeText;

/* The words behind "expected", such as: a whole number from 1 to 65536. */
static RangeText
describe_range (const AttnField *field)
{
  RangeText range;
  int n = field->zero != NULL ? snprintf (range.text, sizeof range.text, "0 (%s) or ", field->zero) : 0;

  if (field->max < DBL_MAX)
    snprintf (range.text + n, sizeof range.text - n, "a%s number from %g to %.10g", field->is_double ? "" : " whole",
              field->min, field->max);
  else if (field->min == DBL_MIN)
    snprintf (range.text + n, sizeof range.text - n, "a finite positive number");
  else
    snprintf (range.text + n, sizeof range.text - n, "a finite number of at least %g", field->min);
  return range;
}

AttnStatus
attn_config_check_field (const AttnField *field, double value, AttnError *error)
{
  if (is_in_range (field, value))
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_CONFIG, "%s is %.10g, expected %s", field->name, value,
                    describe_range (field).text);
}

AttnStatus
attn_config_check (const AttnConfig *config, AttnError *error)
{
  AttnStatus status;
  size_t i;

  for (i = 0; i < N_FIELDS; i++)
    if ((status = attn_config_check_field (&fields[i], attn_config_get (config, &fields[i]), error)) != ATTN_OK)
      return status;
  for (i = 0; i < sizeof config->reserved / sizeof config->reserved[0]; i++)
    if (config->reserved[i] != 0)
      return attn_fail (error, ATTN_ERROR_CONFIG,
                        "reserved field %zu of the configuration is %u, expected 0: start from attn_config_default ()",
                        i, config->reserved[i]);
  return ATTN_OK;
}

AttnStatus
attn_config_scores (double scale, double softcap, size_t dk, float *query_factor, AttnSoftcap *constants,
                    AttnError *error)
{
  AttnStatus status;

  if ((status = attn_config_check_field (&fields[SCALE], scale, error))
      || (status = attn_config_check_field (&fields[SOFTCAP], softcap, error)))
    return status;
  *query_factor = attn_float_or_0 ((scale != 0 ? scale : 1 / sqrt ((double) dk)) * ATTN_LOG2_E);
  if (!isfinite (*query_factor))
    return attn_fail (error, ATTN_ERROR_CONFIG, "scale is %g, which is too large for float32", scale);
  *constants = (AttnSoftcap){ 0 };
  if (softcap != 0)
    *constants = (AttnSoftcap){ .factor = (float) (2 / softcap), .cap = (float) (softcap * ATTN_LOG2_E) };
  return ATTN_OK;
}

/* ---- claims of a model ---- */

/* The text in the metadata; NULL: there is no model, or it says nothing about the field. */
static const char *
claim_of (const AttnModel *model, const AttnField *field)
{
  return model != NULL && field->in_metadata ? attn_model_metadata (model, field->name) : NULL;
}

/* `text` as a number, whatever decimal point the application's locale has; NAN if it is not a number. */
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

/* The index of the name; NAN if `text` is none of them. */
static double
parse_name (const AttnField *field, const char *text)
{
  for (size_t i = 0; i <= field->max; i++)
    if (strcmp (text, field->names[i]) == 0)
      return i;
  return NAN;
}

static AttnStatus
fail_claim (const AttnModel *model, const AttnField *field, const char *claim, AttnError *error)
{
  char names[96] = "one of ";

  for (size_t i = 0; field->names != NULL && i <= field->max; i++)
    strcat (strcat (names, i == 0 ? "" : ", "), field->names[i]);
  return attn_fail (error, ATTN_ERROR_MODEL, "%s: the model's metadata says %s=%s, expected %s", model->name,
                    field->name, attn_quote_bare (claim).text,
                    field->names != NULL ? names : describe_range (field).text);
}

/* The value of `field` that `claim` stands for. */
static AttnStatus
parse_claim (const AttnModel *model, const AttnField *field, const char *claim, double *value, AttnError *error)
{
  *value = field->names != NULL ? parse_name (field, claim) : parse_number (claim);
  return is_in_range (field, *value) ? ATTN_OK : fail_claim (model, field, claim, error);
}

/* Gives the unset `field` the model's value, or else its default. */
static AttnStatus
resolve_field (AttnConfig *config, const AttnField *field, const AttnModel *model, AttnError *error)
{
  const char *claim = claim_of (model, field);
  double value = field->by_default;
  AttnStatus status = claim != NULL ? parse_claim (model, field, claim, &value, error) : ATTN_OK;

  if (status == ATTN_OK)
    attn_config_set (config, field, value);
  return status;
}

/*
 * Neither the program nor the metadata gives a position. If the metadata holds numbers for a rotation, its writer
 * forgot the position.
 */
static AttnStatus
resolve_position (AttnConfig *config, const AttnModel *model, AttnError *error)
{
  if (model->relative_bias.n_frames != 0)
    config->position = ATTN_POSITION_RELATIVE;
  if (model->transformer_xl.n_heads != 0)
    config->position = ATTN_POSITION_TRANSFORMER_XL;
  for (size_t i = ROPE_BASE; i <= ROPE_DIMENSIONS; i++) {
    const char *claim = claim_of (model, &fields[i]);

    if (claim != NULL)
      return attn_fail (
          error, ATTN_ERROR_MODEL,
          "%s: the model's metadata says %s=%s but gives no position, and position was not set: is it rope?",
          model->name, fields[i].name, attn_quote_bare (claim).text);
  }
  return ATTN_OK;
}

/* Who gives the number wants the norm. (If the model names a norm, attn_config_check_claims () compares the two.) */
static AttnStatus
check_qk_norm_eps (const AttnConfig *resolved, const AttnModel *model, AttnError *error)
{
  const AttnField *eps = &fields[QK_NORM_EPS];
  double value = attn_config_get (resolved, eps);

  if (resolved->qk_norm != ATTN_QK_NORM_NONE || claim_of (model, &fields[QK_NORM]) != NULL
      || (claim_of (model, eps) == NULL && value == eps->by_default))
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_CONFIG,
                    "qk-norm-eps is %g, but qk-norm is none: nothing is normalised. Is qk-norm layer, or rms?", value);
}

/* Whether the program or the model gives the value of a field of `config`. */
static bool
is_given (const AttnConfig *config, const AttnField *field, const AttnModel *model)
{
  return !is_unset (config, field) || claim_of (model, field) != NULL;
}

/* Chunks count as a window (or look-ahead) of `value` frames. A field given beside them must have this value. */
static AttnStatus
set_beside_chunks (AttnConfig *resolved, const AttnConfig *given, const AttnField *field, uint64_t value,
                   const AttnModel *model, AttnError *error)
{
  if (is_given (given, field, model) && attn_config_get (resolved, field) != value)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "%s is %.10g, but chunk is %u and chunks is %u: frames attend either to chunks or to a window",
                      field->name, attn_config_get (resolved, field), resolved->chunk, resolved->chunks);
  attn_config_set (resolved, field, value);
  return ATTN_OK;
}

/* `given`: the configuration before it was resolved. */
static AttnStatus
resolve_chunks (AttnConfig *resolved, const AttnConfig *given, const AttnModel *model, AttnError *error)
{
  uint64_t chunk = resolved->chunk, n = (resolved->chunks + UINT64_C (1)) * chunk;
  AttnStatus status;

  if (chunk == 0 && resolved->chunks != 0)
    return attn_fail (error, ATTN_ERROR_CONFIG, "chunks is %u, but chunk is %s: how many frames does a chunk have?",
                      resolved->chunks, is_given (given, &fields[CHUNK], model) ? "0" : "not given");
  if (chunk == 0)
    return ATTN_OK;
  if (!is_given (given, &fields[CHUNKS], model))
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "chunk is %u, but chunks is not given: how many earlier chunks does a frame attend to? 0 means "
                      "its own chunk alone",
                      resolved->chunk);
  if (n > ATTN_MAX_WINDOW)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "chunk is %u and chunks is %u: these are %llu frames, but at most %u are allowed",
                      resolved->chunk, resolved->chunks, (unsigned long long) n, ATTN_MAX_WINDOW);
  status = set_beside_chunks (resolved, given, &fields[WINDOW], n, model, error);
  return status ? status : set_beside_chunks (resolved, given, &fields[LOOK_AHEAD], chunk - 1, model, error);
}

AttnStatus
attn_config_resolve (AttnConfig *config, const AttnModel *model, AttnError *error)
{
  AttnConfig resolved = *config;
  AttnStatus status = ATTN_OK;

  for (size_t i = 0; i < N_FIELDS && status == ATTN_OK; i++)
    if (is_unset (config, &fields[i]))
      status = resolve_field (&resolved, &fields[i], model, error);
  if (status == ATTN_OK && model != NULL && is_unset (config, &fields[POSITION])
      && claim_of (model, &fields[POSITION]) == NULL)
    status = resolve_position (&resolved, model, error);
  if (status != ATTN_OK || (status = check_qk_norm_eps (&resolved, model, error))
      || (status = resolve_chunks (&resolved, config, model, error)))
    return status;
  if (model != NULL && resolved.n_features == 0)
    resolved.n_features = model->query.n_inputs;
  *config = resolved;
  return attn_succeed (error);
}

static AttnStatus
check_claim (const AttnField *field, const AttnConfig *config, const AttnConfig *zeros, const AttnModel *model,
             AttnError *error)
{
  const char *claim = claim_of (model, field);
  double claimed = 0, zero = attn_config_get (zeros, field), value = attn_config_get (config, field);
  char is[32];

  if (claim == NULL)
    return ATTN_OK;
  if (parse_claim (model, field, claim, &claimed, error) != ATTN_OK)
    return ATTN_ERROR_MODEL;
  if ((claimed != 0 ? claimed : zero) == (value != 0 ? value : zero))
    return ATTN_OK;
  snprintf (is, sizeof is, "%.10g", value);
  return attn_fail (error, ATTN_ERROR_MODEL, "%s: the model's metadata says %s=%s, but %s is %s", model->name,
                    field->name, attn_quote_bare (claim).text, field->name,
                    field->names != NULL ? field->names[(int) value] : is);
}

AttnStatus
attn_config_check_claims (const AttnConfig *config, const AttnConfig *zeros, const AttnModel *model, AttnError *error)
{
  AttnStatus status = ATTN_OK;

  for (size_t i = 0; i < N_FIELDS && status == ATTN_OK; i++)
    status = check_claim (&fields[i], config, zeros, model, error);
  return status;
}
