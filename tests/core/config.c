/* The values that a configuration may have, and the errors about others.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include <locale.h>
#include <math.h>

#include "check.h"
#include "configs.h"

TEST (default_configuration_is_single_head_window_64)
{
  AttnConfig config = attn_config_default ();

  CHECK (config.n_heads == ATTN_UNSET && config.scale == ATTN_UNSET_DOUBLE && config.position == ATTN_POSITION_UNSET
         && config.rope_layout == ATTN_ROPE_UNSET && config.n_features == 0);
  CHECK (attn_config_resolve (&config, NULL, NULL) == ATTN_OK);
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
  config.look_ahead = UINT32_MAX - 1;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "look-ahead is 4294967294", NULL));
  config = valid ();
  config.n_sinks = UINT32_MAX - 1;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "sinks is 4294967294", NULL));
  config = valid ();
  config.n_heads = UINT32_MAX - 1;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "heads is 4294967294", NULL));
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

/* A stream with the longest windows takes gigabytes, which a machine may not have: only the layer is made. */
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

  config.position = 5;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "position is 5", "0 to 4"));
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
  model.key.weight[2 * 12 + 5] = 0;
  model.value.weight[11 * 12 + 11] = 1e6f;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "value projection has the parameter 1e+06 at [11, 11]", NULL));
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
    CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "rope-base is", "a finite number of at least 1"));
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
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "4 heads", "5 kv-heads"));
}

TEST (sizes_follow_from_the_model)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();
  AttnMachine machine = { 0 };
  AttnSizes sizes;
  AttnError error;

  config.n_features = 0;
  CHECK (attn_config_resolve (&config, &model, &error) == ATTN_OK);
  CHECK (attn_attention_sizes (&sizes, &config, &model, &machine, &error) == ATTN_OK);
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

  config.window = 64;
  config.softcap = 0;
  SAYS (&model, "heads", "3", "window", "64");
  CHECK (attn_layer_new (&config, &model, &layer, &error) == ATTN_OK);
  attn_layer_free (layer);
  SAYS (&model, "heads", "8");
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "heads=8", "heads is 3"));
  SAYS (&model, "softcap", "50");
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "softcap=50", "softcap is 0"));
  SAYS (&model, "window", "100");
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "window=100", "window is 64")); /* also if set to its default */
  SAYS (&model, "kv-heads", "3");
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "kv-heads=3", "kv-heads is 1"));
  SAYS (&model, "kv-heads", "0"); /* as many as heads, which are 3 */
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "kv-heads=0", "kv-heads is 1"));
  small_model_clear (&model);
}

/*
 * 0 stands for as many as heads, and for the whole head: it agrees with a model that spells the number out, and the
 * other way round.
 */
TEST (zeros_agree_with_what_they_stand_for)
{
  AttnModel model = { .name = (char *) "m.safetensors" };
  AttnConfig config = valid ();
  AttnLayer *layer;
  AttnError error;

  model.query = random_linear (12, 12, false, 1);
  model.key = random_linear (12, 12, false, 1);
  model.value = random_linear (12, 12, false, 1);
  config.n_kv_heads = config.rope_dimensions = 0;
  config.position = ATTN_POSITION_ROPE;
  SAYS (&model, "kv-heads", "3", "rope-dimensions", "4");
  CHECK_MSG (attn_layer_new (&config, &model, &layer, &error) == ATTN_OK, "%s", error.message);
  attn_layer_free (layer);
  config.n_kv_heads = 3;
  config.rope_dimensions = 4;
  SAYS (&model, "kv-heads", "0", "rope-dimensions", "0");
  CHECK_MSG (attn_layer_new (&config, &model, &layer, &error) == ATTN_OK, "%s", error.message);
  attn_layer_free (layer);
  small_model_clear (&model);
}

TEST (metadata_that_cannot_be_is_refused)
{
  static const struct {
    const char *key, *value, *expected;
  } wrong[] = { { "heads", "three", "a whole number from 1 to 65536" },
                { "heads", "0", "a whole number from 1 to 65536" },
                { "heads", "2.5", "a whole number from 1 to 65536" },
                { "heads", "3 heads", "a whole number from 1 to 65536" },
                { "window", "16777217", "a whole number from 1 to 16777216" },
                { "sinks", "4294967295", "a whole number from 0 to 16777216" },
                { "scale", "-1", "expected 0 (for 1/sqrt of the head size) or a finite positive number" },
                { "scale", "nan", "a finite positive number" },
                { "scale", "inf", "a finite positive number" },
                { "softcap", "1e31", "0 (off) or a number from 1e-30 to 1e+30" },
                { "softcap", "1e-31", "0 (off) or a number from 1e-30 to 1e+30" },
                { "rope-base", "", "a finite number of at least 1" },
                { "position", "Rope", "one of none, rope, alibi, relative" },
                { "rope-layout", "neox", "one of half, interleaved" } };
  AttnModel model = small_model ();
  AttnConfig unset = attn_config_default (), all = small_config ();

  unset.n_kv_heads = 1;
  CHECK (attn_config_resolve (&all, NULL, NULL) == ATTN_OK); /* also where it is not needed */
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    char says[64];

    snprintf (says, sizeof says, "metadata says %s=%s", wrong[i].key, wrong[i].value);
    SAYS (&model, wrong[i].key, wrong[i].value);
    CHECK (refused (&unset, &model, ATTN_ERROR_MODEL, says, wrong[i].expected));
    CHECK (refused (&all, &model, ATTN_ERROR_MODEL, says, wrong[i].expected));
  }
  small_model_clear (&model);
}

/* One key/value head has 5 and 4 values per frame, three heads 15 and 12. */
TEST (unset_fields_take_what_the_model_says)
{
  AttnModel model = small_model ();
  AttnConfig config = attn_config_default (), set = config;
  AttnLayer *layer, *same;
  const AttnConfig *effect;
  AttnError error;

  SAYS (&model, "heads", "3", "kv-heads", "1", "window", "9", "look-ahead", "2", "sinks", "4", "scale", "0.25",
        "softcap", "30", "position", "rope", "rope-base", "500", "rope-layout", "interleaved", "rope-dimensions", "4");
  CHECK_MSG (attn_layer_new (&config, &model, &layer, &error) == ATTN_OK, "%s", error.message);
  effect = attn_layer_attention (layer, 0);
  CHECK (effect->n_features == 12 && effect->n_heads == 3 && effect->n_kv_heads == 1 && effect->window == 9);
  CHECK (effect->look_ahead == 2 && effect->n_sinks == 4 && effect->scale == 0.25 && effect->softcap == 30);
  CHECK (effect->position == ATTN_POSITION_ROPE && effect->rope_base == 500
         && effect->rope_layout == ATTN_ROPE_INTERLEAVED && effect->rope_dimensions == 4);
  set.n_heads = 3;
  set.n_kv_heads = 1;
  set.window = 9;
  set.look_ahead = 2;
  set.n_sinks = 4;
  set.scale = 0.25;
  set.softcap = 30;
  set.position = ATTN_POSITION_ROPE;
  set.rope_base = 500;
  set.rope_layout = ATTN_ROPE_INTERLEAVED;
  set.rope_dimensions = 4;
  model.metadata.n = 0;
  CHECK_MSG (attn_layer_new (&set, &model, &same, &error) == ATTN_OK, "%s", error.message);
  CHECK (layer->hash == same->hash); /* a state of one continues in the other */
  attn_layer_free (layer);
  attn_layer_free (same);
  small_model_clear (&model);
}

TEST (unset_fields_take_their_defaults_where_the_model_says_nothing)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();
  AttnLayer *layer;

  CHECK (attn_layer_new (&config, &model, &layer, NULL) == ATTN_OK);
  CHECK (attn_layer_window (layer) == 64 && attn_layer_reach_ahead (layer) == 0 && attn_layer_n_sinks (layer) == 0);
  CHECK (attn_layer_attention (layer, 0)->position == ATTN_POSITION_NONE
         && attn_layer_attention (layer, 0)->n_kv_heads == 1);
  attn_layer_free (layer);
  small_model_clear (&model);
}

TEST (relative_bias_sets_the_position_that_is_unset)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();
  float biases[3 * 64] = { 0 };
  AttnLayer *layer;

  model.relative_bias = (AttnRelativeBias){ 3, 64, biases };
  CHECK (attn_layer_new (&config, &model, &layer, NULL) == ATTN_OK);
  CHECK (attn_layer_attention (layer, 0)->position == ATTN_POSITION_RELATIVE);
  attn_layer_free (layer);
  config.position = ATTN_POSITION_NONE;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "the model has a relative_bias", "position is none"));
  small_model_clear (&model);
}

TEST (rope_in_the_metadata_without_a_position_is_refused)
{
  static const char *const claims[][3] = { { "rope-base", "500000", "rope-base=500000" },
                                           { "rope-layout", "interleaved", "rope-layout=interleaved" },
                                           { "rope-dimensions", "4", "rope-dimensions=4" } };
  AttnModel model = small_model ();
  AttnConfig config = small_config ();

  for (size_t i = 0; i < 3; i++) {
    SAYS (&model, claims[i][0], claims[i][1]);
    CHECK (refused (&config, &model, ATTN_ERROR_MODEL, claims[i][2], "position was not set"));
  }
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
  SAYS (&model, "position", "rope", "rope-layout", "interleaved", "rope-dimensions", "4", "rope-base", "500000.0");
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

/* scale=0.5 in the metadata is a half, even where people write 0,5. */
TEST (metadata_does_not_depend_on_the_locale)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();
  AttnLayer *layer;
  AttnError error;

  if (setlocale (LC_NUMERIC, "de_DE.UTF-8") == NULL)
    printf ("# no locale with a decimal comma: checked in the C locale only\n");
  SAYS (&model, "scale", "0.5");
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
  RUN (zeros_agree_with_what_they_stand_for);
  RUN (metadata_that_cannot_be_is_refused);
  RUN (unset_fields_take_what_the_model_says);
  RUN (unset_fields_take_their_defaults_where_the_model_says_nothing);
  RUN (relative_bias_sets_the_position_that_is_unset);
  RUN (rope_in_the_metadata_without_a_position_is_refused);
  RUN (relative_position_needs_a_model_with_its_bias);
  RUN (relative_bias_has_a_row_per_head_and_goes_with_no_other_position);
  RUN (metadata_of_positions_that_disagrees_is_refused);
  RUN (metadata_does_not_depend_on_the_locale);
  RUN (window_too_large_to_allocate_is_a_status);
  return check_done ();
}
