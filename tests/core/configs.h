/* Configurations and models of tests, and their refusals.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_CORE_CONFIGS_H
#define TESTS_CORE_CONFIGS_H

#include "layers.h"

/* The layer is refused with `status`, and the message contains each of the words (NULL: no more). */
static inline bool
refused (const AttnConfig *config, const AttnModel *model, AttnStatus status, const char *a, const char *b)
{
  AttnError error;
  AttnLayer *layer = (AttnLayer *) &error;

  if (attn_layer_new (config, model, &layer, &error) != status || layer != NULL || error.status != status) {
    printf ("# status %d: %s\n", error.status, error.message);
    attn_layer_free (layer);
    return false;
  }
  if ((a == NULL || strstr (error.message, a)) && (b == NULL || strstr (error.message, b)))
    return true;
  printf ("# not in \"%s\": \"%s\" or \"%s\"\n", error.message, a ? a : "", b ? b : "");
  return false;
}

static inline AttnConfig
valid (void)
{
  AttnConfig config = attn_config_default ();

  config.n_features = 12;
  config.n_heads = 3;
  return config;
}

/* A model of 12 features, 3 heads of dk 5 and dv 4, 1 kv-head, 7 outputs. */
static inline AttnModel
small_model (void)
{
  AttnModel model = { .name = (char *) "m.safetensors" };

  model.query = random_linear (15, 12, true, 1);
  model.key = random_linear (5, 12, true, 1);
  model.value = random_linear (4, 12, true, 1);
  model.output = random_linear (7, 12, true, 1);
  return model;
}

static inline void
small_model_clear (AttnModel *model)
{
  free_linear (&model->query);
  free_linear (&model->key);
  free_linear (&model->value);
  free_linear (&model->output);
}

static inline AttnConfig
small_config (void)
{
  AttnConfig config = valid ();

  config.n_kv_heads = 1;
  return config;
}

/* The entries of `n` keys and values, until the next call. */
static inline void
set_metadata (AttnModel *model, size_t n, const char *const *texts)
{
  static AttnMetadataEntry entries[16];

  for (size_t i = 0; i < n; i++)
    entries[i] = (AttnMetadataEntry){ (char *) texts[2 * i], (char *) texts[2 * i + 1] };
  model->metadata = (AttnMetadata){ entries, n };
}
#define SAYS(model, ...)                                                                 \
  set_metadata ((model), sizeof ((const char *[]){ __VA_ARGS__ }) / sizeof (char *) / 2, \
                (const char *[]){ __VA_ARGS__ })

#endif
