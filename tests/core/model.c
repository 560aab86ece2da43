/* Models: layers that are found in a file, and refusals.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "parameters/model.h"

#include "golden/model/values.h"
#include "model-file.h"

static ModelFile file;

static AttnStatus
open_model (const char *prefix, AttnModel **model, AttnError *error)
{
  uint8_t *copy;
  AttnStatus status;

  end_file (&file);
  copy = exact_copy (file.bytes, file.size);
  status = attn_model_open_memory (copy, file.size, prefix, model, error);
  free (copy); /* the model has copied what it needs */
  return status;
}

/* For refusals, and for files that only have to open. */
static AttnStatus
try_model (const char *prefix, AttnError *error)
{
  AttnModel *model = (AttnModel *) &file;
  AttnStatus status = open_model (prefix, &model, error);

  if ((status == ATTN_OK) != (model != NULL))
    abort ();
  attn_model_free (model);
  return status;
}

#define REFUSED(prefix, ...) CHECK_FAILS (try_model (prefix, &error), ATTN_ERROR_MODEL, "memory", __VA_ARGS__)
#define CHECK_OPENS(prefix)                                                 \
  do {                                                                      \
    AttnError error;                                                        \
    CHECK_MSG (try_model (prefix, &error) == ATTN_OK, "%s", error.message); \
  } while (0)

/* F32 */
static void
add (const char *name, unsigned n_outputs, unsigned n_inputs)
{
  add_tensor (&file, name, "F32", n_outputs, n_inputs);
}

/* q, k, v of one scheme, 4 x 4; each test adds its own tensors. */
static void
begin_hugging_face (void)
{
  begin_file (&file);
  add ("q_proj.weight", 4, 4);
  add ("k_proj.weight", 4, 4);
  add ("v_proj.weight", 4, 4);
}

static void
begin_torch (void)
{
  begin_file (&file);
  add ("in_proj_weight", 12, 4);
}

/* ---- layers that are found ---- */

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

/* ---- refusals ---- */

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
  RUN (relative_bias_loads_with_any_scheme);
  RUN (relative_bias_of_wrong_shape_or_dtype_is_refused);
  RUN (norms_of_queries_and_keys_load_with_any_scheme);
  RUN (norms_of_queries_and_keys_that_do_not_fit_are_refused);
  RUN (transformer_xl_loads_with_all_its_tensors_or_is_refused);
  RUN (quantised_layer_is_told_as_such);
  RUN (values_that_are_not_finite_are_refused);
  RUN (long_names_leave_room_for_the_reason);
  return check_done ();
}
