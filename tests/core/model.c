/* Models: layers that are found in a file.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "modelcheck.h"

#include "golden/model/values.h"

static bool
same (const float *values, const uint32_t *golden, size_t n_bytes)
{
  return values != NULL && memcmp (values, golden, n_bytes) == 0;
}

/* `linear` has this shape, and the bits of golden_<weight> and golden_<bias>. */
#define CHECK_LINEAR(linear, outputs, inputs, golden_weight, golden_bias)     \
  do {                                                                        \
    CHECK ((linear).n_outputs == (outputs) && (linear).n_inputs == (inputs)); \
    CHECK (sizeof (golden_weight) == sizeof (float) * (outputs) * (inputs));  \
    CHECK (sizeof (golden_bias) == sizeof (float) * (outputs));               \
    CHECK (same ((linear).weight, golden_weight, sizeof (golden_weight)));    \
    CHECK (same ((linear).bias, golden_bias, sizeof (golden_bias)));          \
  } while (0)

#define CHECK_LINEAR_NO_BIAS(linear, outputs, inputs, golden_weight)          \
  do {                                                                        \
    CHECK ((linear).n_outputs == (outputs) && (linear).n_inputs == (inputs)); \
    CHECK (sizeof (golden_weight) == sizeof (float) * (outputs) * (inputs));  \
    CHECK (same ((linear).weight, golden_weight, sizeof (golden_weight)));    \
    CHECK ((linear).bias == NULL);                                            \
  } while (0)

static AttnModel *
open_golden (const char *name, const char *prefix)
{
  char path[1024];
  AttnModel *model;
  AttnError error;

  snprintf (path, sizeof path, "%s/model/%s.safetensors", GOLDEN_DIR, name);
  if (attn_model_open (path, prefix, &model, &error) != ATTN_OK)
    printf ("# %s\n", error.message);
  return model;
}

TEST (torch_multihead_attention_loads_to_the_bit)
{
  AttnModel *model = open_golden ("torch", "layers.0.self_attn.");

  CHECK (model != NULL);
  CHECK (strcmp (model->scheme, "PyTorch nn.MultiheadAttention") == 0);
  CHECK_LINEAR (model->query, 6, 6, golden_torch_q_weight, golden_torch_q_bias);
  CHECK_LINEAR (model->key, 6, 6, golden_torch_k_weight, golden_torch_k_bias);
  CHECK_LINEAR (model->value, 6, 6, golden_torch_v_weight, golden_torch_v_bias);
  CHECK_LINEAR (model->output, 6, 6, golden_torch_o_weight, golden_torch_o_bias);
  attn_model_free (model);
}

TEST (torch_weights_apart_share_one_bias)
{
  AttnModel *model = open_golden ("torch-apart", NULL);

  CHECK (model != NULL);
  CHECK (strcmp (model->scheme, "PyTorch nn.MultiheadAttention") == 0);
  CHECK_LINEAR (model->query, 6, 6, golden_apart_q_weight, golden_torch_q_bias);
  CHECK_LINEAR (model->key, 6, 6, golden_apart_k_weight, golden_torch_k_bias);
  CHECK_LINEAR (model->value, 6, 6, golden_apart_v_weight, golden_torch_v_bias);
  CHECK (model->output.weight != NULL && model->output.bias == NULL);
  attn_model_free (model);
}

TEST (hugging_face_grouped_queries_load_from_f16)
{
  AttnModel *model = open_golden ("hugging-face-f16", "model.layers.0.self_attn.");

  CHECK (model != NULL);
  CHECK (strcmp (model->scheme, "Hugging Face") == 0);
  CHECK_LINEAR (model->query, 8, 5, golden_half_q_weight, golden_half_q_bias);
  CHECK_LINEAR_NO_BIAS (model->key, 4, 5, golden_half_k_weight);
  CHECK_LINEAR_NO_BIAS (model->value, 4, 5, golden_half_v_weight);
  CHECK_LINEAR_NO_BIAS (model->output, 3, 8, golden_half_o_weight);
  attn_model_free (model);
}

TEST (hugging_face_out_proj_loads_from_bf16)
{
  AttnModel *model = open_golden ("whisper-bf16", "");

  CHECK (model != NULL);
  CHECK (same (model->query.weight, golden_brain_q_weight, sizeof golden_brain_q_weight) && model->query.bias != NULL);
  CHECK_LINEAR_NO_BIAS (model->key, 4, 5, golden_brain_k_weight);
  CHECK (same (model->value.weight, golden_brain_v_weight, sizeof golden_brain_v_weight) && model->value.bias != NULL);
  CHECK_LINEAR (model->output, 3, 8, golden_brain_o_weight, golden_brain_o_bias);
  attn_model_free (model);
}

TEST (annotated_transformer_loads_from_f64_rounded)
{
  AttnModel *model = open_golden ("annotated-f64", "");

  CHECK (model != NULL);
  CHECK (strcmp (model->scheme, "Annotated Transformer") == 0);
  CHECK_LINEAR (model->query, 4, 6, golden_double_q_weight, golden_double_q_bias);
  CHECK_LINEAR (model->key, 4, 6, golden_double_k_weight, golden_double_k_bias);
  CHECK_LINEAR (model->value, 4, 6, golden_double_v_weight, golden_double_v_bias);
  CHECK_LINEAR (model->output, 4, 6, golden_double_o_weight, golden_double_o_bias);
  attn_model_free (model);
}

TEST (dtypes_may_differ_within_a_layer)
{
  begin_file (&file);
  add_tensor (&file, "q_proj.weight", "F16", 4, 4);
  add_tensor (&file, "k_proj.weight", "F64", 4, 4);
  add_tensor (&file, "v_proj.weight", "BF16", 4, 4);
  CHECK_OPENS ("");
}

TEST (output_and_biases_may_be_absent)
{
  AttnModel *model;

  begin_torch ();
  CHECK (open_model (NULL, &model, NULL) == ATTN_OK);
  CHECK (model->query.bias == NULL && model->key.bias == NULL && model->value.bias == NULL);
  CHECK (model->output.weight == NULL && model->output.bias == NULL && model->output.n_outputs == 0);
  attn_model_free (model);
}

TEST (name_is_path_and_prefix)
{
  AttnModel *model = open_golden ("torch", "layers.0.self_attn.");

  CHECK (model != NULL);
  CHECK_MSG (strstr (model->name, "/model/torch.safetensors: \"layers.0.self_attn.\"") != NULL, "%s", model->name);
  attn_model_free (model);
  begin_torch ();
  CHECK (open_model ("", &model, NULL) == ATTN_OK);
  CHECK_MSG (strcmp (model->name, "memory") == 0, "%s", model->name);
  attn_model_free (model);
}

static bool
says (const AttnModel *model, const char *key, const char *value)
{
  const char *text = attn_model_metadata (model, key);

  return value == NULL ? text == NULL : text != NULL && strcmp (text, value) == 0;
}

TEST (metadata_is_copied)
{
  AttnModel *model = open_golden ("torch", "layers.0.self_attn.");

  CHECK (model != NULL);
  CHECK (says (model, "heads", "2") && says (model, "window", "5") && says (model, "scale", "0.5"));
  CHECK (says (model, "kv-heads", NULL) && says (model, "look-ahead", NULL) && says (model, "sinks", NULL));
  attn_model_free (model);
  make_file (&file,
             "{'in_proj_weight':{'dtype':'F32','shape':[3,1],'data_offsets':[0,12]},'__metadata__':"
             "{'kv-heads':'3','position':'rope','sample-rate':'16000','any thing':''}}",
             12);
  CHECK (attn_model_open_memory (file.bytes, file.size, NULL, &model, NULL) == ATTN_OK);
  CHECK (says (model, "kv-heads", "3") && says (model, "position", "rope") && says (model, "heads", NULL));
  CHECK (says (model, "sample-rate", "16000") && says (model, "any thing", "") && says (model, "any", NULL));
  attn_model_free (model);
}

TEST (header_alone_tells_metadata_and_shapes_and_makes_no_layer)
{
  char path[1024];
  AttnConfig config = attn_config_default ();
  AttnModel *model;
  AttnLayer *layer;
  AttnError error;

  snprintf (path, sizeof path, "%s/model/torch.safetensors", GOLDEN_DIR);
  CHECK (attn_model_peek (path, "layers.0.self_attn.", &model, &error) == ATTN_OK);
  CHECK (says (model, "heads", "2") && model->query.n_inputs == 6 && model->query.weight == NULL);
  CHECK (attn_config_resolve (&config, model, &error) == ATTN_OK);
  CHECK (config.n_heads == 2 && config.window == 5 && config.scale == 0.5 && config.n_features == 6);
  CHECK (attn_layer_new (&config, model, &layer, &error) == ATTN_ERROR_MODEL && layer == NULL);
  CHECK_MSG (strstr (error.message, "attn_model_peek ()"), "%s", error.message);
  attn_model_free (model);
  CHECK (attn_model_peek (path, "no.", &model, &error) == ATTN_ERROR_MODEL && model == NULL);
  CHECK_MSG (strstr (error.message, "\"layers.0.self_attn.\""), "%s", error.message);
}

/* Of a layer, an encoder or anything: no tensor is looked at. */
TEST (metadata_of_any_file_are_read_by_themselves)
{
  char path[1024];
  AttnMetadata *metadata;
  AttnError error;

  snprintf (path, sizeof path, "%s/model/torch.safetensors", GOLDEN_DIR);
  CHECK (attn_metadata_open (path, &metadata, &error) == ATTN_OK && error.status == ATTN_OK);
  CHECK (strcmp (attn_metadata_get (metadata, "heads"), "2") == 0 && attn_metadata_get (metadata, "sinks") == NULL);
  attn_metadata_free (metadata);
  attn_metadata_free (NULL);
  CHECK (attn_metadata_open ("no-such-file", &metadata, &error) == ATTN_ERROR_FILE && metadata == NULL);
  CHECK_MSG (strstr (error.message, "no-such-file"), "%s", error.message);
}

/* Tensors that nothing computes with, and that change no number. */
TEST (harmless_tensors_are_passed_over)
{
  begin_hugging_face ();
  add ("rotary_emb.inv_freq", 2, 0);
  add_tensor (&file, "position_ids", "I8", 4, 0);
  add ("masked_bias", 1, 0);
  add_tensor_4d (&file, "bias", "F32", 4);
  CHECK_OPENS ("");
  begin_hugging_face ();
  add_tensor (&file, "bias", "BOOL", 4, 4);
  add_tensor (&file, "mask", "BOOL", 4, 4);
  CHECK_OPENS ("");
  begin_torch ();
  add ("other.q_norm.weight", 4, 0); /* not of this layer: the prefix says so */
  REFUSED ("", "\"other.q_norm.weight\"");
}

/* A layer with unknown tensors would give other numbers without them. */
TEST (unknown_tensors_are_refused)
{
  static const char *const names[] = { "linear1.weight", "norm1.weight",     "layers.1.q_proj.weight",
                                       "bias",           "cross.bias_k",     "mask",
                                       "projection",     "rotary_emb.scale", "attn_mask" };

  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    begin_torch ();
    add (names[i], 4, 4);
    REFUSED ("", names[i], "export_encoder.py --layer");
  }
  begin_file (&file);
  add ("a.in_proj_weight", 12, 4);
  add ("norm1.weight", 4, 0); /* not under the prefix */
  CHECK_OPENS ("a.");
}

TEST (output_has_one_of_four_names)
{
  static const char *const names[] = { "out_proj", "o_proj", "output_proj", "dense" };
  char weight[32], bias[32];

  for (size_t i = 0; i < 4; i++) {
    AttnModel *model;

    snprintf (weight, sizeof weight, "%s.weight", names[i]);
    snprintf (bias, sizeof bias, "%s.bias", names[i]);
    begin_hugging_face ();
    add (weight, 3, 4);
    add (bias, 3, 0);
    CHECK (open_model ("", &model, NULL) == ATTN_OK);
    CHECK (model->output.n_outputs == 3 && model->output.weight != NULL && model->output.bias != NULL);
    attn_model_free (model);
    add (i == 3 ? "o_proj.weight" : "dense.weight", 3, 4);
    REFUSED ("", i == 3 ? "o_proj.weight" : weight, "\"dense.weight\"", "both");
  }
}

TEST (free_accepts_null)
{
  attn_model_free (NULL);
}

TEST (relative_bias_loads_with_any_scheme)
{
  static void (*const begin[]) (void) = { begin_hugging_face, begin_torch };

  for (size_t i = 0; i < 2; i++) {
    AttnModel *model;
    AttnError error;

    begin[i]();
    add ("relative_bias", 3, 7);
    CHECK_MSG (open_model ("", &model, &error) == ATTN_OK, "%s", error.message);
    CHECK (model->relative_bias.n_heads == 3 && model->relative_bias.n_frames == 7 && model->relative_bias.values);
    attn_model_free (model);
  }
  begin_file (&file);
  add ("relative_bias", 3, 7); /* identifies no layer */
  REFUSED ("", "no attention layer");
}

TEST (norms_of_queries_and_keys_load_with_any_scheme)
{
  static void (*const begin[]) (void) = { begin_hugging_face, begin_torch };

  for (size_t i = 0; i < 2; i++) {
    AttnModel *model;
    AttnError error;

    begin[i]();
    add ("q_norm.weight", 4, 0);
    add ("k_norm.weight", 4, 0);
    add ("k_norm.bias", 4, 0);
    CHECK_MSG (open_model ("", &model, &error) == ATTN_OK, "%s", error.message);
    CHECK (model->query_norm.n_values == 4 && model->query_norm.weight != NULL && model->query_norm.bias == NULL);
    CHECK (model->key_norm.n_values == 4 && model->key_norm.weight != NULL && model->key_norm.bias != NULL);
    attn_model_free (model);
  }
}

static void
begin_xl (void)
{
  begin_hugging_face ();
  add ("linear_pos.weight", 4, 4);
  add ("pos_bias_u", 2, 2);
}

TEST (transformer_xl_loads_with_all_its_tensors_or_is_refused)
{
  AttnModel *model;
  AttnError open_error;

  begin_xl ();
  add ("pos_bias_v", 2, 2);
  CHECK_MSG (open_model ("", &model, &open_error) == ATTN_OK, "%s", open_error.message);
  CHECK (model->transformer_xl.n_heads == 2 && model->transformer_xl.n_values == 2 && model->transformer_xl.u != NULL
         && model->transformer_xl.v != NULL && model->transformer_xl.linear.n_outputs == 4);
  attn_model_free (model);
  begin_xl ();
  REFUSED ("", "it has \"linear_pos.weight\"", "no \"pos_bias_v\"");
  begin_xl ();
  add ("pos_bias_v", 4, 1);
  REFUSED ("", "\"pos_bias_v\" has shape [4, 1]", "one shape");
  begin_xl ();
  add ("pos_bias_v", 2, 2);
  add ("linear_pos.bias", 4, 0);
  REFUSED ("", "it has \"linear_pos.bias\"", "without a bias");
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  RUN (torch_multihead_attention_loads_to_the_bit);
  RUN (torch_weights_apart_share_one_bias);
  RUN (hugging_face_grouped_queries_load_from_f16);
  RUN (hugging_face_out_proj_loads_from_bf16);
  RUN (annotated_transformer_loads_from_f64_rounded);
  RUN (dtypes_may_differ_within_a_layer);
  RUN (output_and_biases_may_be_absent);
  RUN (name_is_path_and_prefix);
  RUN (metadata_is_copied);
  RUN (header_alone_tells_metadata_and_shapes_and_makes_no_layer);
  RUN (metadata_of_any_file_are_read_by_themselves);
  RUN (harmless_tensors_are_passed_over);
  RUN (unknown_tensors_are_refused);
  RUN (output_has_one_of_four_names);
  RUN (free_accepts_null);
  RUN (relative_bias_loads_with_any_scheme);
  RUN (norms_of_queries_and_keys_load_with_any_scheme);
  RUN (transformer_xl_loads_with_all_its_tensors_or_is_refused);
  return check_done ();
}
