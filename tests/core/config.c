/* What a configuration may be, and what is said about one that may not.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include <locale.h>
#include <math.h>

#include "check.h"
#include "layers.h"

/* The layer is refused with `status`, and the message holds each of the words (NULL: no more). */
static bool
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

static AttnConfig
valid (void)
{
  AttnConfig config = attn_config_default ();

  config.n_features = 12;
  config.n_heads = 3;
  return config;
}

TEST (default_configuration_is_single_head_window_64)
{
  AttnConfig config = attn_config_default ();

  CHECK (config.n_heads == 1 && config.n_kv_heads == 0 && config.window == 64 && config.look_ahead == 0
         && config.n_sinks == 0 && config.scale == 0 && config.softcap == 0 && config.n_features == 0);
  CHECK (config.position == ATTN_POSITION_NONE && config.rope_layout == ATTN_ROPE_HALF && config.rope_dimensions == 0
         && config.rope_base == 10000);
  CHECK (sizeof config == 128); /* new fields take the place of reserved ones */
}

TEST (window_0_is_refused)
{
  AttnConfig config = valid ();

  config.window = 0;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "window is 0", "16777216"));
}

TEST (features_that_heads_do_not_divide_are_refused)
{
  AttnConfig config = valid ();

  config.n_heads = 5;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "12 features", "5 heads"));
}

TEST (no_heads_are_refused)
{
  AttnConfig config = valid ();

  config.n_heads = 0;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "heads is 0", NULL));
}

TEST (values_beyond_the_limits_are_refused)
{
  AttnConfig config = valid ();

  config.n_features = ATTN_MAX_FEATURES + 1;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "65537", "65536"));
  config = valid ();
  config.window = ATTN_MAX_WINDOW + 1;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "window is 16777217", NULL));
  config = valid ();
  config.look_ahead = UINT32_MAX;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "look-ahead is 4294967295", NULL));
  config = valid ();
  config.n_sinks = UINT32_MAX;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "sinks is 4294967295", NULL));
  config = valid ();
  config.n_heads = UINT32_MAX;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "heads is 4294967295", NULL));
}

/* With a window of one frame each frame is its own output. */
static bool
largest_works (const AttnConfig *config)
{
  static float frames[2 * ATTN_MAX_FEATURES], out[2 * ATTN_MAX_FEATURES];
  AttnLayer *layer;
  AttnStream *stream = NULL;
  size_t n = 0;

  random_fill (frames, 2 * ATTN_MAX_FEATURES, 1);
  if (attn_layer_new (config, NULL, &layer, NULL) == ATTN_OK && attn_stream_new (layer, &stream, NULL) == ATTN_OK)
    n = attn_stream_push (stream, frames, 2, out, NULL);
  attn_stream_free (stream);
  attn_layer_free (layer);
  return n == 2 && memcmp (out, frames, 2 * config->n_features * sizeof *out) == 0;
}

/* A stream of the longest windows takes gigabytes, which a machine may not have: only their layer is made. */
TEST (values_at_the_limits_are_accepted)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;

  config.window = 1;
  config.n_features = ATTN_MAX_FEATURES;
  CHECK (largest_works (&config));
  config.n_heads = ATTN_MAX_FEATURES;
  CHECK (largest_works (&config));
  config.n_features = config.n_heads = 1;
  config.n_threads = ATTN_MAX_THREADS;
  CHECK (largest_works (&config));
  config.window = config.look_ahead = config.n_sinks = ATTN_MAX_WINDOW;
  CHECK (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
  CHECK (attn_layer_span (layer) == 3 * ATTN_MAX_WINDOW);
  attn_layer_free (layer);
}

TEST (no_features_and_no_model_are_refused)
{
  AttnConfig config = valid ();

  config.n_features = 0;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "features is 0", "model"));
}

TEST (scale_must_be_finite_and_positive)
{
  static const double bad[] = { -1, NAN, INFINITY, 1e300 };

  for (size_t i = 0; i < 4; i++) {
    AttnConfig config = valid ();

    config.scale = bad[i];
    CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "scale", NULL));
  }
}

TEST (softcap_must_be_0_or_within_its_limits)
{
  static const double bad[] = { -1, NAN, INFINITY, 1e-31, 1e31 };
  AttnConfig config = valid ();
  AttnLayer *layer;

  for (size_t i = 0; i < 5; i++) {
    config.softcap = bad[i];
    CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "softcap", "expected 0 (off)"));
  }
  config.softcap = 1e-30;
  CHECK (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
  attn_layer_free (layer);
}

TEST (reserved_fields_must_be_0)
{
  AttnConfig config = valid ();

  config.reserved[3] = 7;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "reserved field 3", "7"));
}

TEST (unknown_positions_and_layouts_are_refused)
{
  AttnConfig config = valid ();

  config.position = 4;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "position is 4", "0 to 3"));
  config = valid ();
  config.rope_layout = 2;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "rope-layout is 2", "0 to 1"));
}

TEST (unknown_enumerations_and_too_many_threads_are_refused)
{
  AttnConfig config = valid ();

  config.precision = 3;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "precision is 3", "0 to 2"));
  config = valid ();
  config.arithmetic = 2;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "arithmetic is 2", "0 to 1"));
  config = valid ();
  config.n_threads = 65;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "threads is 65", "0 to 64"));
}

TEST (parameters_that_f16_cannot_hold_are_refused)
{
  AttnModel model = { .name = (char *) "model" };
  AttnConfig config = valid ();
  AttnLayer *layer;

  model.query = random_linear (12, 12, false, 1);
  model.key = random_linear (12, 12, false, 1);
  model.value = random_linear (12, 12, false, 1);
  config.precision = ATTN_PRECISION_F16;
  model.key.weight[2 * 12 + 5] = 65519.0f;
  CHECK (attn_layer_new (&config, &model, &layer, NULL) == ATTN_OK);
  attn_layer_free (layer);
  model.key.weight[2 * 12 + 5] = -65520.0f;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "key projection has the parameter -65520 at [2, 5]", "65504"));
  config.precision = ATTN_PRECISION_BF16;
  CHECK (attn_layer_new (&config, &model, &layer, NULL) == ATTN_OK);
  attn_layer_free (layer);
  free_linear (&model.query);
  free_linear (&model.key);
  free_linear (&model.value);
}

TEST (rope_base_must_be_finite_and_at_least_1)
{
  static const double bad[] = { 0, 0.999, -10000, NAN, INFINITY };

  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    AttnConfig config = valid ();

    config.rope_base = bad[i];
    CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "rope-base is", "at least 1"));
  }
}

TEST (rope_dimensions_are_even_and_fit_the_head)
{
  AttnConfig config = valid ();

  config.position = ATTN_POSITION_ROPE;
  config.rope_dimensions = 3;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "rope-dimensions is 3", "even"));
  config.rope_dimensions = 6;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "rope-dimensions is 6", "only 4 values"));
  config.n_heads = 4;
  config.rope_dimensions = 0;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "3 values, an odd number", "at most 2"));
  config.n_heads = 12;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "1 value, an odd number", "no pair"));
}

TEST (kv_heads_need_a_model_and_must_divide_heads)
{
  AttnConfig config = valid ();

  config.n_heads = 4;
  config.n_kv_heads = 2;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "kv-heads is 2", "heads is 4"));
  config.n_kv_heads = 3;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "4 heads", "3 kv-heads"));
  config.n_kv_heads = 5;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "kv-heads is 5", "4"));
}

/* A model of 12 features, 3 heads of dk 5 and dv 4, 1 kv-head, 7 outputs. */
static AttnModel
small_model (void)
{
  AttnModel model = { .name = (char *) "m.safetensors" };

  model.query = random_linear (15, 12, true, 1);
  model.key = random_linear (5, 12, true, 1);
  model.value = random_linear (4, 12, true, 1);
  model.output = random_linear (7, 12, true, 1);
  return model;
}

static void
small_model_clear (AttnModel *model)
{
  free_linear (&model->query);
  free_linear (&model->key);
  free_linear (&model->value);
  free_linear (&model->output);
}

static AttnConfig
small_config (void)
{
  AttnConfig config = valid ();

  config.n_kv_heads = 1;
  return config;
}

TEST (sizes_follow_from_the_model)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();
  AttnSizes sizes;
  AttnError error;

  config.n_features = 0;
  CHECK (attn_config_sizes (&config, &model, &sizes, &error) == ATTN_OK);
  CHECK (sizes.n_features == 12 && sizes.dk == 5 && sizes.dv == 4 && sizes.n_outputs == 7 && sizes.n_context == 12
         && sizes.heads_per_kv == 3);
  small_model_clear (&model);
}

TEST (model_of_other_width_is_refused)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();

  config.n_features = 80;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "m.safetensors: the model takes 12", "80"));
  small_model_clear (&model);
}

TEST (rows_that_heads_do_not_divide_are_refused)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();

  config.n_heads = 4;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "query projection has 15 rows", "4 heads"));
  small_model_clear (&model);
}

TEST (query_and_key_of_different_sizes_are_refused)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();

  free_linear (&model.key);
  model.key = random_linear (6, 12, false, 1);
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "a query has 5", "a key has 6"));
  small_model_clear (&model);
}

TEST (output_projection_of_other_width_is_refused)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();

  free_linear (&model.output);
  model.output = random_linear (7, 13, false, 1);
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "takes 13", "give 4 each"));
  small_model_clear (&model);
}

TEST (metadata_that_disagrees_is_refused)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();
  AttnLayer *layer;
  AttnError error;

  model.metadata.heads = (char *) "3";
  model.metadata.window = (char *) "64";
  CHECK (attn_layer_new (&config, &model, &layer, &error) == ATTN_OK);
  attn_layer_free (layer);
  model.metadata.heads = (char *) "8";
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "heads=8", "heads is 3"));
  model.metadata.heads = (char *) "three";
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "heads=three", "heads is 3"));
  model.metadata.heads = NULL;
  model.metadata.softcap = (char *) "50";
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "softcap=50", "softcap is 0"));
  model.metadata.softcap = NULL;
  model.metadata.window = (char *) "100";
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "window=100", "window is 64"));
  small_model_clear (&model);
}

TEST (relative_position_needs_a_model_with_its_bias)
{
  AttnModel model = small_model ();
  AttnConfig config = valid ();

  config.position = ATTN_POSITION_RELATIVE;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "relative", "no model"));
  config.n_kv_heads = 1;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "m.safetensors: position is relative", "no relative_bias"));
  small_model_clear (&model);
}

TEST (relative_bias_has_a_row_per_head_and_goes_with_no_other_position)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();
  AttnLayer *layer;
  float biases[3 * 67] = { 0 };

  config.look_ahead = 3;
  config.position = ATTN_POSITION_RELATIVE;
  model.relative_bias = (AttnRelativeBias){ 3, 67, biases };
  CHECK (attn_layer_new (&config, &model, &layer, NULL) == ATTN_OK);
  attn_layer_free (layer);
  model.relative_bias.n_frames = 64;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "relative_bias has shape [3, 64]", "need [3, 67]"));
  model.relative_bias = (AttnRelativeBias){ 1, 67, biases };
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "relative_bias has shape [1, 67]", "need [3, 67]"));
  config.position = ATTN_POSITION_ALIBI;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "the model has a relative_bias", "position is alibi"));
  small_model_clear (&model);
}

TEST (metadata_of_positions_that_disagrees_is_refused)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();
  AttnLayer *layer;
  AttnError error;

  config.position = ATTN_POSITION_ROPE;
  config.rope_layout = ATTN_ROPE_INTERLEAVED;
  config.rope_dimensions = 4;
  config.rope_base = 500000;
  model.metadata.position = (char *) "rope";
  model.metadata.rope_layout = (char *) "interleaved";
  model.metadata.rope_dimensions = (char *) "4";
  model.metadata.rope_base = (char *) "500000.0";
  CHECK_MSG (attn_layer_new (&config, &model, &layer, &error) == ATTN_OK, "%s", error.message);
  attn_layer_free (layer);
  config.rope_base = 10000;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "rope-base=500000.0", "rope-base is 10000"));
  config.rope_base = 500000;
  config.rope_layout = ATTN_ROPE_HALF;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "rope-layout=interleaved", "rope-layout is half"));
  config.rope_layout = ATTN_ROPE_INTERLEAVED;
  config.rope_dimensions = 2;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "rope-dimensions=4", "rope-dimensions is 2"));
  config.position = ATTN_POSITION_ALIBI;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "position=rope", "position is alibi"));
  small_model_clear (&model);
}

/* scale=0.5 in the metadata is a half, also where people write 0,5. */
TEST (metadata_does_not_depend_on_the_locale)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();
  AttnLayer *layer;
  AttnError error;

  if (setlocale (LC_NUMERIC, "de_DE.UTF-8") == NULL)
    printf ("# no locale with a decimal comma: checked in the C locale only\n");
  model.metadata.scale = (char *) "0.5";
  config.scale = 0.5;
  CHECK_MSG (attn_layer_new (&config, &model, &layer, &error) == ATTN_OK, "%s", error.message);
  attn_layer_free (layer);
  setlocale (LC_NUMERIC, "C");
  small_model_clear (&model);
}

TEST (window_too_large_to_allocate_is_a_status)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;
  AttnStream *stream;
  AttnError error;

  /* 2^16 heads for 2^25 frames: 128 TiB of values, more than any process can address. */
  config.n_features = config.n_heads = ATTN_MAX_FEATURES;
  config.window = config.look_ahead = ATTN_MAX_WINDOW;
  CHECK (attn_layer_new (&config, NULL, &layer, &error) == ATTN_OK);
  CHECK (attn_stream_new (layer, &stream, &error) == ATTN_ERROR_MEMORY && stream == NULL);
  CHECK_MSG (strstr (error.message, "window"), "%s", error.message);
  attn_layer_free (layer);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (default_configuration_is_single_head_window_64);
  RUN (window_0_is_refused);
  RUN (features_that_heads_do_not_divide_are_refused);
  RUN (no_heads_are_refused);
  RUN (values_beyond_the_limits_are_refused);
  RUN (values_at_the_limits_are_accepted);
  RUN (no_features_and_no_model_are_refused);
  RUN (scale_must_be_finite_and_positive);
  RUN (softcap_must_be_0_or_within_its_limits);
  RUN (reserved_fields_must_be_0);
  RUN (unknown_positions_and_layouts_are_refused);
  RUN (unknown_enumerations_and_too_many_threads_are_refused);
  RUN (parameters_that_f16_cannot_hold_are_refused);
  RUN (rope_base_must_be_finite_and_at_least_1);
  RUN (rope_dimensions_are_even_and_fit_the_head);
  RUN (kv_heads_need_a_model_and_must_divide_heads);
  RUN (sizes_follow_from_the_model);
  RUN (model_of_other_width_is_refused);
  RUN (rows_that_heads_do_not_divide_are_refused);
  RUN (query_and_key_of_different_sizes_are_refused);
  RUN (output_projection_of_other_width_is_refused);
  RUN (metadata_that_disagrees_is_refused);
  RUN (relative_position_needs_a_model_with_its_bias);
  RUN (relative_bias_has_a_row_per_head_and_goes_with_no_other_position);
  RUN (metadata_of_positions_that_disagrees_is_refused);
  RUN (metadata_does_not_depend_on_the_locale);
  RUN (window_too_large_to_allocate_is_a_status);
  return check_done ();
}
