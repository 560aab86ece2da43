/*
 * The configurations that Conformers bring: norms of queries and keys, positions of Transformer-XL, and chunks.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "check.h"
#include "configs.h"

/* One weight for all heads, whose queries and keys have 5 values each. */
static AttnModel
normed_model (void)
{
  AttnModel model = small_model ();
  static float ones[] = { 1, 1, 1, 1, 1 };

  model.query_norm = model.key_norm = (AttnNormVectors){ 5, ones, NULL };
  return model;
}

TEST (norm_needs_a_model_with_its_weights_and_these_need_the_norm)
{
  AttnModel model = small_model (), normed = normed_model ();
  AttnConfig config = valid ();

  config.qk_norm = ATTN_QK_NORM_RMS;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "qk-norm is rms", "no model"));
  config.n_kv_heads = 1;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "qk-norm is rms", "no q_norm.weight"));
  config.qk_norm = ATTN_QK_NORM_UNSET;
  CHECK (refused (&config, &normed, ATTN_ERROR_MODEL, "q_norm.weight", "qk-norm is none"));
  SAYS (&normed, "qk-norm", "batch");
  CHECK (refused (&config, &normed, ATTN_ERROR_MODEL, "qk-norm=batch", "none, layer, rms"));
  SAYS (&normed, "qk-norm", "layer");
  config.qk_norm = ATTN_QK_NORM_RMS;
  CHECK (refused (&config, &normed, ATTN_ERROR_MODEL, "qk-norm=layer", "qk-norm is rms"));
  small_model_clear (&model);
  small_model_clear (&normed);
}

TEST (norm_has_a_value_for_each_of_a_head_and_a_bias_only_for_layer)
{
  AttnModel model = normed_model ();
  AttnConfig config = small_config ();

  config.qk_norm = ATTN_QK_NORM_RMS;
  model.key_norm.n_values = 6;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "k_norm.weight has 6 values", "a head has 5"));
  model.key_norm = model.query_norm;
  model.query_norm.bias = model.query_norm.weight;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "q_norm.bias", "qk-norm is rms"));
  small_model_clear (&model);
}

TEST (eps_without_a_norm_is_refused)
{
  AttnModel model = small_model ();
  AttnConfig config = valid ();

  config.qk_norm_eps = 1e-6;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "qk-norm-eps is 1e-06", "qk-norm is none"));
  config.qk_norm_eps = 0;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "qk-norm-eps is 0", "qk-norm is none"));
  config.qk_norm_eps = ATTN_UNSET_DOUBLE;
  config.n_kv_heads = 1;
  SAYS (&model, "qk-norm-eps", "1e-5");
  CHECK (refused (&config, &model, ATTN_ERROR_CONFIG, "qk-norm-eps is 1e-05", "qk-norm is none"));
  small_model_clear (&model);
}

TEST (metadata_say_the_norm)
{
  AttnModel model = normed_model ();
  AttnConfig config = small_config ();
  AttnLayer *layer;

  SAYS (&model, "qk-norm", "rms", "qk-norm-eps", "0.25");
  CHECK (attn_layer_new (&config, &model, &layer, NULL) == ATTN_OK);
  CHECK (attn_layer_attention (layer, 0)->qk_norm == ATTN_QK_NORM_RMS
         && attn_layer_attention (layer, 0)->qk_norm_eps == 0.25);
  attn_layer_free (layer);
  small_model_clear (&model);
}

/* 3 heads of 5 values; `d` features, whose query takes as many. */
static AttnModel
xl_model (uint32_t d)
{
  static float zeros[15 * 1024];
  AttnModel model = small_model ();

  model.transformer_xl = (AttnTransformerXl){ { 15, d, zeros, NULL }, 3, 5, zeros, zeros };
  return model;
}

TEST (transformer_xl_needs_a_model_with_its_tensors_and_these_need_the_position)
{
  AttnModel model = small_model (), xl = xl_model (12);
  AttnConfig config = valid ();

  config.position = ATTN_POSITION_TRANSFORMER_XL;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "transformer-xl", "no model"));
  config = small_config ();
  config.position = ATTN_POSITION_TRANSFORMER_XL;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "position is transformer-xl", "no linear_pos.weight"));
  config.position = ATTN_POSITION_ALIBI;
  CHECK (refused (&config, &xl, ATTN_ERROR_MODEL, "takes position=transformer-xl", "position is alibi"));
  small_model_clear (&model);
  small_model_clear (&xl);
}

TEST (transformer_xl_refuses_sinks_and_sizes_that_do_not_fit)
{
  uint32_t d = 12;
  AttnModel xl = xl_model (d);
  AttnConfig config = small_config ();

  config.n_sinks = 4;
  CHECK (refused (&config, &xl, ATTN_ERROR_CONFIG, "sinks is 4", "transformer-xl"));
  config.n_sinks = 0;
  config.window = 65530;
  config.look_ahead = 7;
  CHECK (refused (&config, &xl, ATTN_ERROR_CONFIG, "window is 65530 and look-ahead is 7", "at most 65536"));
  config.window = 64;
  xl.transformer_xl.n_values = 6;
  CHECK (refused (&config, &xl, ATTN_ERROR_MODEL, "pos_bias_u has shape [3, 6]", "3 heads of 5 values"));
  xl.transformer_xl.n_values = 5;
  xl.transformer_xl.linear.n_outputs = 14;
  CHECK (refused (&config, &xl, ATTN_ERROR_MODEL, "linear_pos.weight has shape [14", "need [15"));
  xl.transformer_xl.linear.n_outputs = 15;
  config.n_features = 11;
  xl.query.n_inputs = xl.key.n_inputs = xl.value.n_inputs = xl.transformer_xl.linear.n_inputs = 11;
  CHECK (refused (&config, &xl, ATTN_ERROR_CONFIG, "11 features, an odd number", "transformer-xl"));
  small_model_clear (&xl);
}

TEST (transformer_xl_is_the_position_of_a_model_with_its_tensors)
{
  AttnModel xl = xl_model (12);
  AttnConfig config = small_config ();
  AttnLayer *layer;

  CHECK (attn_layer_new (&config, &xl, &layer, NULL) == ATTN_OK);
  CHECK (attn_layer_attention (layer, 0)->position == ATTN_POSITION_TRANSFORMER_XL);
  attn_layer_free (layer);
  small_model_clear (&xl);
}

TEST (chunks_count_as_the_window_that_any_frame_sees)
{
  AttnConfig config = valid ();
  AttnLayer *layer;
  const AttnConfig *in_effect;

  config.chunk = 7;
  config.chunks = 10;
  CHECK (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
  in_effect = attn_layer_attention (layer, 0);
  CHECK (in_effect->window == 77 && in_effect->look_ahead == 6 && in_effect->chunk == 7 && in_effect->chunks == 10);
  CHECK (attn_layer_reach_back (layer) == 76 && attn_layer_reach_ahead (layer) == 6 && attn_layer_span (layer) == 83);
  CHECK (attn_layer_ready (layer, 13) == 7 && attn_layer_ready (layer, 14) == 14 && attn_layer_count (layer, 13) == 13);
  config = *in_effect; /* which says what the other says */
  attn_layer_free (layer);
  CHECK (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
  attn_layer_free (layer);
}

TEST (chunk_and_chunks_need_each_other_and_no_window)
{
  AttnConfig config = valid ();

  config.chunk = 4;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "chunk is 4", "chunks is not given"));
  config.chunk = ATTN_UNSET;
  config.chunks = 2;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "chunks is 2", "chunk is not given"));
  config.chunk = 4;
  config.window = 17;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "window is 17", "chunk is 4 and chunks is 2"));
  config.window = ATTN_UNSET;
  config.look_ahead = 0;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "look-ahead is 0", "chunk is 4 and chunks is 2"));
  config.look_ahead = ATTN_UNSET;
  config.chunk = ATTN_MAX_CHUNK + 1;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "chunk is 1048577", "1048576"));
  config.chunk = ATTN_MAX_CHUNK;
  config.chunks = 16;
  CHECK (refused (&config, NULL, ATTN_ERROR_CONFIG, "chunk is 1048576 and chunks is 16", "16777216"));
}

TEST (chunks_of_the_metadata_go_with_no_window_and_no_relative_bias)
{
  AttnModel model = small_model ();
  AttnConfig config = small_config ();
  float biases[3 * 64] = { 0 };
  AttnLayer *layer;

  SAYS (&model, "chunk", "4", "chunks", "2");
  CHECK (attn_layer_new (&config, &model, &layer, NULL) == ATTN_OK);
  CHECK (attn_layer_window (layer) == 12 && attn_layer_reach_ahead (layer) == 3);
  attn_layer_free (layer);
  config.window = 64;
  CHECK (refused (&config, &model, ATTN_ERROR_CONFIG, "window is 64", "chunk is 4"));
  config.window = ATTN_UNSET;
  config.chunk = 5;
  CHECK (refused (&config, &model, ATTN_ERROR_MODEL, "chunk=4", "chunk is 5"));
  config.chunk = ATTN_UNSET;
  model.relative_bias = (AttnRelativeBias){ 3, 64, biases };
  CHECK (refused (&config, &model, ATTN_ERROR_CONFIG, "position is relative", "chunk is 4"));
  small_model_clear (&model);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (norm_needs_a_model_with_its_weights_and_these_need_the_norm);
  RUN (norm_has_a_value_for_each_of_a_head_and_a_bias_only_for_layer);
  RUN (eps_without_a_norm_is_refused);
  RUN (metadata_say_the_norm);
  RUN (transformer_xl_needs_a_model_with_its_tensors_and_these_need_the_position);
  RUN (transformer_xl_refuses_sinks_and_sizes_that_do_not_fit);
  RUN (transformer_xl_is_the_position_of_a_model_with_its_tensors);
  RUN (chunks_count_as_the_window_that_any_frame_sees);
  RUN (chunk_and_chunks_need_each_other_and_no_window);
  RUN (chunks_of_the_metadata_go_with_no_window_and_no_relative_bias);
  return check_done ();
}
