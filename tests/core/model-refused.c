/* Models: refusals that name their cause.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "modelcheck.h"

TEST (bad_file_gives_no_model)
{
  AttnModel *model = (AttnModel *) &file;

  CHECK_FAILS (attn_model_open ("no/such.safetensors", "", &model, &error), ATTN_ERROR_FILE, "no/such.safetensors",
               "No such file");
  CHECK (model == NULL);
  model = (AttnModel *) &file;
  CHECK_FAILS (attn_model_open_memory ("{}", 2, "", &model, &error), ATTN_ERROR_FORMAT, "memory", "has 2");
  CHECK (model == NULL);
  CHECK (attn_model_open_memory ("{}", 2, "", &model, NULL) == ATTN_ERROR_FORMAT);
}

TEST (nothing_found_lists_the_prefixes)
{
  begin_file (&file);
  add ("encoder.layers.0.self_attn.in_proj_weight", 12, 4);
  add ("encoder.layers.1.self_attn.q_proj.weight", 4, 4);
  add ("decoder.linears.0.weight", 4, 4);
  add ("encoder.layers.0.norm1.weight", 4, 0);
  REFUSED ("", "prefix \"\"", "\"encoder.layers.0.self_attn.\", \"encoder.layers.1.self_attn.\", \"decoder.\"");
  REFUSED ("encoder", "prefix \"encoder\"", "\"encoder.layers.0.self_attn.\"");
}

TEST (prefix_without_its_dot_is_answered_with_the_right_one)
{
  begin_file (&file);
  add ("self_attn.in_proj_weight", 12, 4);
  REFUSED ("self_attn", "prefix \"self_attn\"", "under \"self_attn.\"");
  CHECK_OPENS ("self_attn.");
}

TEST (empty_prefix_is_listed_too)
{
  begin_torch ();
  REFUSED ("layer.", "prefix \"layer.\"", "under \"\"");
}

TEST (many_prefixes_are_counted)
{
  begin_file (&file);
  for (int i = 0; i < 12; i++) {
    char name[64];

    snprintf (name, sizeof name, "h.%d.attn.q_proj.weight", i);
    add (name, 1, 1);
  }
  REFUSED ("", "\"h.0.attn.\", \"h.1.attn.\", \"h.2.attn.\", \"h.3.attn.\", \"h.4.attn.\" and 7 more");
}

TEST (no_attention_anywhere_says_how_many_tensors_there_are)
{
  begin_file (&file);
  add ("conv.weight", 4, 4);
  add ("xq_proj.weight", 4, 4);
  add ("out_proj.weight", 4, 4);
  REFUSED ("a.", "prefix \"a.\"", "nor anywhere", "3 tensors");
  REFUSED ("", "prefix \"\"", "nor anywhere", "3 tensors");
  REFUSED ("", "\"xq_proj.weight\", \"out_proj.weight\"", "export_encoder.py --layer"); /* rather than conv */
  begin_file (&file);
  add ("conv.weight", 4, 4);
  REFUSED ("", "1 tensors, such as \"conv.weight\"", "export_encoder.py --layer");
  begin_file (&file);
  REFUSED ("", "0 tensors");
}

TEST (two_schemes_at_once_are_named)
{
  begin_torch ();
  add ("k_proj.weight", 4, 4);
  REFUSED ("", "\"in_proj_weight\"", "\"k_proj.weight\"", "both");
  begin_hugging_face ();
  add ("linears.2.bias", 4, 0);
  REFUSED ("", "\"q_proj.weight\"", "\"linears.2.bias\"", "both");
  begin_torch ();
  add ("linears.0.weight", 4, 4);
  REFUSED ("", "\"in_proj_weight\"", "\"linears.0.weight\"", "both");
}

TEST (packed_and_separate_torch_weights_are_named)
{
  begin_torch ();
  add ("v_proj_weight", 4, 4);
  REFUSED ("", "\"in_proj_weight\"", "\"v_proj_weight\"", "both");
}

TEST (two_outputs_are_named)
{
  begin_hugging_face ();
  add ("o_proj.weight", 4, 4);
  add ("out_proj.bias", 4, 0);
  REFUSED ("", "\"o_proj.weight\"", "\"out_proj.bias\"", "both");
}

TEST (missing_projection_is_named)
{
  begin_file (&file);
  add ("a.linears.0.weight", 4, 4);
  REFUSED ("a.", "has \"a.linears.0.weight\"", "no \"a.linears.1.weight\"");
  begin_file (&file);
  add ("q_proj.weight", 4, 4);
  add ("k_proj.weight", 4, 4);
  REFUSED ("", "has \"q_proj.weight\"", "no \"v_proj.weight\"");
  begin_file (&file);
  add ("o_proj.weight", 4, 4);
  REFUSED ("", "has \"o_proj.weight\"", "no \"q_proj.weight\"");
  begin_file (&file);
  add ("q_proj_weight", 4, 4);
  add ("v_proj_weight", 4, 4);
  REFUSED ("", "has \"q_proj_weight\"", "no \"k_proj_weight\"");
}

TEST (bias_without_its_weight_is_named)
{
  begin_file (&file);
  add ("in_proj_bias", 12, 0);
  REFUSED ("", "has \"in_proj_bias\"", "no \"in_proj_weight\"");
  begin_torch ();
  add ("out_proj.bias", 4, 0);
  REFUSED ("", "has \"out_proj.bias\"", "no \"out_proj.weight\"");
  begin_hugging_face ();
  add ("o_proj.bias", 4, 0);
  REFUSED ("", "has \"o_proj.bias\"", "no \"o_proj.weight\"");
  begin_file (&file);
  add ("q_proj.weight", 4, 4);
  add ("k_proj.bias", 4, 0);
  REFUSED ("", "has \"k_proj.bias\"", "no \"k_proj.weight\"");
}

TEST (packed_rows_divide_by_three)
{
  begin_file (&file);
  add ("in_proj_weight", 13, 4);
  REFUSED ("", "\"in_proj_weight\"", "[13, 4]", "divide by 3");
}

TEST (weights_have_two_dimensions)
{
  begin_file (&file);
  add ("in_proj_weight", 12, 0);
  REFUSED ("", "\"in_proj_weight\"", "[12]", "2 dimensions");
  begin_hugging_face ();
  add ("o_proj.weight", 16, 0);
  REFUSED ("", "\"o_proj.weight\"", "[16]", "2 dimensions");
}

TEST (biases_are_as_long_as_their_weights)
{
  begin_torch ();
  add ("in_proj_bias", 11, 0);
  REFUSED ("", "\"in_proj_bias\" has shape [11]", "[12]", "\"in_proj_weight\"");
  begin_hugging_face ();
  add ("v_proj.bias", 4, 1);
  REFUSED ("", "\"v_proj.bias\" has shape [4, 1]", "[4]", "\"v_proj.weight\"");
  begin_hugging_face ();
  add ("o_proj.weight", 3, 4);
  add ("o_proj.bias", 4, 0);
  REFUSED ("", "\"o_proj.bias\" has shape [4]", "[3]", "\"o_proj.weight\"");
}

TEST (torch_bias_of_unequal_projections_is_cut_by_their_rows)
{
  AttnModel *model;

  begin_file (&file);
  add ("q_proj_weight", 6, 2);
  add ("k_proj_weight", 3, 2);
  add ("v_proj_weight", 2, 2);
  add_tensor (&file, "in_proj_bias", "BF16", 11, 0);
  end_file (&file);
  for (size_t i = 0; i < 11; i++) /* 2, 2 + 1/64, 2 + 2/64 ... */
    memcpy (file.bytes + file.size - 22 + 2 * i, (uint8_t[]){ (uint8_t) i, 0x40 }, 2);
  CHECK (attn_model_open_memory (file.bytes, file.size, "", &model, NULL) == ATTN_OK);
  CHECK (model->query.n_outputs == 6 && model->key.n_outputs == 3 && model->value.n_outputs == 2);
  CHECK (model->query.bias[0] == 2 && model->query.bias[5] == 2 + 5 / 64.f);
  CHECK (model->key.bias[0] == 2 + 6 / 64.f && model->key.bias[2] == 2 + 8 / 64.f);
  CHECK (model->value.bias[0] == 2 + 9 / 64.f && model->value.bias[1] == 2 + 10 / 64.f);
  attn_model_free (model);
}

TEST (empty_weights_are_refused)
{
  begin_file (&file);
  add ("in_proj_weight", 0, 4);
  REFUSED ("", "\"in_proj_weight\"", "[0, 4]", "1 to 786432 outputs", "1 to 65536 inputs");
}

TEST (limits_of_the_shapes_are_exact)
{
  begin_file (&file);
  add_tensor (&file, "in_proj_weight", "F16", 3, ATTN_MAX_FEATURES);
  CHECK_OPENS ("");
  begin_file (&file);
  add_tensor (&file, "in_proj_weight", "F16", 3, ATTN_MAX_FEATURES + 1);
  REFUSED ("", "[3, 65537]", "65536 inputs");
  begin_hugging_face ();
  add_tensor (&file, "o_proj.weight", "F16", ATTN_MAX_FEATURES + 1, 1);
  REFUSED ("", "\"o_proj.weight\"", "[65537, 1]", "65536 outputs", "262144 inputs");
  begin_file (&file);
  add_tensor (&file, "linears.0.weight", "F16", ATTN_MODEL_MAX_ROWS + 1, 1);
  add_tensor (&file, "linears.1.weight", "F16", 1, 1);
  add_tensor (&file, "linears.2.weight", "F16", 1, 1);
  REFUSED ("", "\"linears.0.weight\"", "[262145, 1]", "262144 outputs");
}

TEST (cross_attention_is_refused_with_both_shapes)
{
  char path[1024];
  AttnModel *model;
  AttnError error;

  snprintf (path, sizeof path, "%s/model/torch-cross.safetensors", GOLDEN_DIR);
  CHECK (attn_model_open (path, "", &model, &error) == ATTN_ERROR_MODEL && model == NULL);
  CHECK_MSG (strstr (error.message, "\"q_proj_weight\" [6, 6]") != NULL, "%s", error.message);
  CHECK_MSG (strstr (error.message, "\"k_proj_weight\" [6, 4]") != NULL, "%s", error.message);
  CHECK_MSG (strstr (error.message, "cross-attention") != NULL, "%s", error.message);
}

TEST (other_dtypes_are_refused)
{
  begin_file (&file);
  add_tensor (&file, "in_proj_weight", "I8", 12, 4);
  REFUSED ("", "\"in_proj_weight\"", "I8", "F32, F16, BF16 or F64");
  begin_torch ();
  add_tensor (&file, "in_proj_bias", "I32", 12, 0);
  REFUSED ("", "\"in_proj_bias\"", "I32", "F32, F16, BF16 or F64");
}

TEST (appended_keys_are_refused)
{
  char path[1024];
  AttnModel *model;
  AttnError error;

  snprintf (path, sizeof path, "%s/model/torch-bias-kv.safetensors", GOLDEN_DIR);
  CHECK (attn_model_open (path, "", &model, &error) == ATTN_ERROR_MODEL && model == NULL);
  CHECK_MSG (strstr (error.message, "\"bias_k\"") != NULL && strstr (error.message, "add_bias_kv") != NULL, "%s",
             error.message);
}

/* Ignoring one of these would silently give wrong outputs. */
TEST (extras_that_change_the_layer_are_refused)
{
  static const char *const names[] = { "bias_v",
                                       "gru_rel_pos_const",
                                       "rel_attn_embed.weight",
                                       "attn_sub_norm.weight",
                                       "inner_attn_ln.weight",
                                       "g_proj.weight",
                                       "pos_proj.weight",
                                       "r_w_bias",
                                       "logit_scale",
                                       "query_norm.weight",
                                       "k_layernorm.bias",
                                       "q_layernorm.weight",
                                       "q_proj.weight_scale",
                                       "k_proj.lora_A.weight",
                                       "v_proj.weight.absmax",
                                       "o_proj.SCB",
                                       "out_proj.qweight",
                                       "linears.4.weight",
                                       "linears.1.weight_g",
                                       "in_proj_weight.absmax",
                                       "sinks",
                                       "relative_bias.weight",
                                       "relative_attention_bias.weight" };

  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    begin_hugging_face ();
    add (names[i], 4, 4);
    REFUSED ("", names[i], "support");
  }
}

/* Also if no other tensor identifies the layer. */
TEST (fused_projections_and_other_names_are_answered_with_the_exporter)
{
  static const struct {
    const char *name, *reason;
  } others[] = { { "c_attn.weight", "order" },          { "qkv.weight", "order" },    { "Wqkv.weight", "order" },
                 { "query_key_value.weight", "order" }, { "query.weight", "q_proj" }, { "self.key.weight", "q_proj" },
                 { "linear_q.weight", "q_proj" },       { "wq.weight", "q_proj" } };

  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    begin_file (&file);
    add (others[i].name, 12, 4);
    REFUSED ("", others[i].name, others[i].reason, "export_encoder.py --layer");
    begin_hugging_face ();
    add (others[i].name, 12, 4);
    REFUSED ("", others[i].name, others[i].reason, "export_encoder.py --layer");
  }
}

TEST (relative_bias_of_wrong_shape_or_dtype_is_refused)
{
  begin_hugging_face ();
  add ("relative_bias", 7, 0);
  REFUSED ("", "\"relative_bias\" has shape [7]", "[heads, window + look-ahead]");
  begin_hugging_face ();
  add ("relative_bias", 65537, 1);
  REFUSED ("", "\"relative_bias\" has shape [65537, 1]", "1 to 65536 heads", "1 to 33554432 frames");
  begin_hugging_face ();
  add_tensor (&file, "relative_bias", "I32", 3, 7);
  REFUSED ("", "\"relative_bias\" has dtype I32");
}

TEST (norms_of_queries_and_keys_that_do_not_fit_are_refused)
{
  begin_hugging_face ();
  add ("q_norm.weight", 4, 0);
  REFUSED ("", "it has \"q_norm.weight\"", "no \"k_norm.weight\"");
  begin_hugging_face ();
  add ("k_norm.bias", 4, 0);
  REFUSED ("", "it has \"k_norm.bias\"", "no \"k_norm.weight\"");
  begin_hugging_face ();
  add ("q_norm.weight", 4, 0);
  add ("k_norm.weight", 2, 2);
  REFUSED ("", "\"k_norm.weight\" has shape [2, 2]", "one dimension");
  begin_hugging_face ();
  add ("q_norm.weight", 4, 0);
  add ("q_norm.bias", 5, 0);
  add ("k_norm.weight", 4, 0);
  REFUSED ("", "\"q_norm.bias\" has shape [5]", "[4] is needed");
}

TEST (quantised_layer_is_told_as_such)
{
  begin_file (&file);
  add ("a.q_proj.qweight", 4, 4);
  add ("b.q_proj.weight", 4, 4);
  REFUSED ("a.", "\"a.q_proj.qweight\"", "quantised");
}

TEST (values_that_are_not_finite_are_refused)
{
  AttnModel *model;

  begin_torch ();
  add ("in_proj_bias", 12, 0);
  end_file (&file);
  file.bytes[file.size - 2] = 0x80;
  file.bytes[file.size - 1] = 0xff;
  CHECK_FAILS (attn_model_open_memory (file.bytes, file.size, "", &model, &error), ATTN_ERROR_MODEL, "memory",
               "element 11 of \"in_proj_bias\"", "infinite");
}

TEST (long_names_leave_room_for_the_reason)
{
  char prefix[301], name[400];

  memset (prefix, 'p', 300);
  prefix[300] = '\0';
  snprintf (name, sizeof name, "%s.q_proj.weight", prefix);
  begin_file (&file);
  add (name, 4, 4);
  REFUSED (prefix, "no attention layer", "pppp...pppp", "ppp.\"");
  REFUSED (strcat (strcpy (name, prefix), "."), "ppp.q_proj.weight\"", "no \"pppp", "ppp.k_proj.weight\"");
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  RUN (bad_file_gives_no_model);
  RUN (nothing_found_lists_the_prefixes);
  RUN (prefix_without_its_dot_is_answered_with_the_right_one);
  RUN (empty_prefix_is_listed_too);
  RUN (many_prefixes_are_counted);
  RUN (no_attention_anywhere_says_how_many_tensors_there_are);
  RUN (two_schemes_at_once_are_named);
  RUN (packed_and_separate_torch_weights_are_named);
  RUN (two_outputs_are_named);
  RUN (missing_projection_is_named);
  RUN (bias_without_its_weight_is_named);
  RUN (packed_rows_divide_by_three);
  RUN (weights_have_two_dimensions);
  RUN (biases_are_as_long_as_their_weights);
  RUN (torch_bias_of_unequal_projections_is_cut_by_their_rows);
  RUN (empty_weights_are_refused);
  RUN (limits_of_the_shapes_are_exact);
  RUN (cross_attention_is_refused_with_both_shapes);
  RUN (other_dtypes_are_refused);
  RUN (appended_keys_are_refused);
  RUN (extras_that_change_the_layer_are_refused);
  RUN (fused_projections_and_other_names_are_answered_with_the_exporter);
  RUN (relative_bias_of_wrong_shape_or_dtype_is_refused);
  RUN (norms_of_queries_and_keys_that_do_not_fit_are_refused);
  RUN (quantised_layer_is_told_as_such);
  RUN (values_that_are_not_finite_are_refused);
  RUN (long_names_leave_room_for_the_reason);
  return check_done ();
}
