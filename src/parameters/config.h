/*
 * libattn: the fields of a configuration: what they may be, and what a model says of them. What follows from them is
 * the blocks' (blocks/attention_sizes.h).  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_CONFIG_H
#define ATTN_SRC_CONFIG_H

#include <stdbool.h>

#include "attn.h"
#include "kernels/kernels.h"

/* A field of AttnConfig: a double, or else a whole number of 32 bits, which may stand for one of some names. */
typedef struct {
  const char *name;            /* in messages, in the metadata of models, and of the element's property */
  bool in_metadata;            /* a model may speak of it, and so it may be unset */
  size_t offset;               /* in AttnConfig */
  bool is_double;              /* else 32 bits */
  const char *zero;            /* what 0 stands for, where that is out of range and allowed; else NULL */
  const char *const *names;    /* of the values 0 to max, then NULL; NULL: it is a number */
  double min, max, by_default; /* by_default: where neither program nor model says anything */
} AttnField;

/* Field `i` of the one table of all fields; NULL: there are no more. */
const AttnField *attn_config_field (size_t i);

/* Its value, in the range of its type. */
double attn_config_get (const AttnConfig *config, const AttnField *field);
void attn_config_set (AttnConfig *config, const AttnField *field, double value);

/* That a value is in the range of its field. */
AttnStatus attn_config_check_field (const AttnField *field, double value, AttnError *error);

/* Each field of a resolved configuration by itself: its range. */
AttnStatus attn_config_check (const AttnConfig *config, AttnError *error);

/*
 * What the model (NULL: none) says of a field has to be what `config`, resolved, has in it. `zeros` holds what a field
 * stands for that is 0; 0 for itself.
 */
AttnStatus attn_config_check_claims (const AttnConfig *config, const AttnConfig *zeros, const AttnModel *model,
                                     AttnError *error);

/* The name of a position, as in the metadata. */
const char *attn_position_name (AttnPosition position);

/* Checks scale and softcap of an AttnConfig (or AttnSdpa) and derives what scores are computed with. */
AttnStatus attn_config_scores (double scale, double softcap, size_t dk, float *query_factor, AttnSoftcap *constants,
                               AttnError *error);

#endif
