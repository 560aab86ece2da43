/*
 * libattn: the fields of a configuration: their ranges, and their values in a model. The numbers that follow from them
 * are the blocks' (blocks/attention_sizes.h).  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_CONFIG_H
#define ATTN_SRC_CONFIG_H

#include <stdbool.h>

#include "attn.h"
#include "kernels/kernels.h"

/* A field of AttnConfig: a double, or else a whole number of 32 bits, which may stand for one of some names. */
typedef struct {
  const char *name;            /* in messages, in the metadata of models, and of the element's property */
  bool in_metadata;            /* a model may give its value, and so it may be unset */
  size_t offset;               /* in AttnConfig */
  bool is_double;              /* else 32 bits */
  const char *zero;            /* the meaning of 0, if 0 is out of range and allowed; else NULL */
  const char *const *names;    /* names of the values 0 to max, then NULL; NULL: it is a number */
  double min, max, by_default; /* by_default: if neither program nor model gives a value */
} AttnField;

/* Field `i` of the one table of all fields; NULL: there are no more. */
const AttnField *attn_config_field (size_t i);

/* Its value, in the range of its type. */
double attn_config_get (const AttnConfig *config, const AttnField *field);
void attn_config_set (AttnConfig *config, const AttnField *field, double value);

/* Checks that a value is in the range of its field. */
AttnStatus attn_config_check_field (const AttnField *field, double value, AttnError *error);

/* Checks the range of each field of a resolved configuration. */
AttnStatus attn_config_check (const AttnConfig *config, AttnError *error);

/*
 * Checks that the fields of `config`, which is resolved, agree with the model (NULL: none). `zeros` holds the meaning
 * of fields that are 0; 0 stands for itself.
 */
AttnStatus attn_config_check_claims (const AttnConfig *config, const AttnConfig *zeros, const AttnModel *model,
                                     AttnError *error);

/* The name of a position, as in the metadata. */
const char *attn_position_name (AttnPosition position);

/* The same of a norm of queries and keys. */
const char *attn_qk_norm_name (AttnQkNorm norm);

/* Checks scale and softcap of an AttnConfig (or AttnSdpa) and derives the constants of the scores. */
AttnStatus attn_config_scores (double scale, double softcap, size_t dk, float *query_factor, AttnSoftcap *constants,
                               AttnError *error);

#endif
