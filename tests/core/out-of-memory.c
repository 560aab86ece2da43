/*
 * Each allocation of the core fails in turn (failures.h): always a status and a sentence, never a crash, and nothing is
 * left behind.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* off_t, setenv */
#include <stdlib.h>

#include "attn_sdpa.h"
#include "failures-of-layers.h"
#include "model-file.h"

/* ---- the calls ---- */

#define PATH GOLDEN_DIR "/attention/relative-grouped.safetensors"

static AttnConfig
configuration (void)
{
  AttnConfig config = attn_config_default ();

  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.window = 9;
  config.look_ahead = 5;
  config.n_sinks = 4;
  config.position = ATTN_POSITION_RELATIVE;
  return config;
}

static AttnStatus
open_model (AttnError *error)
{
  AttnModel *model;
  AttnStatus status = attn_model_open (PATH, "attn.", &model, error);

  if (status != ATTN_OK && model != NULL)
    return ATTN_OK; /* which is wrong */
  attn_model_free (model);
  return status;
}

static AttnStatus
open_metadata (AttnError *error)
{
  AttnMetadata *metadata;
  AttnStatus status = attn_metadata_open (GOLDEN_DIR "/model/torch.safetensors", &metadata, error);

  if (status != ATTN_OK && metadata != NULL)
    return ATTN_OK; /* which is wrong */
  attn_metadata_free (metadata);
  return status;
}

/* The caller's memory, complete. */
static AttnModel *
model_from (const char *path, const char *prefix)
{
  AttnModel *model;

  return attn_model_open (path, prefix, &model, NULL) == ATTN_OK ? model : NULL;
}

static AttnModel *model;

static AttnStatus
make_layer_of (AttnConfig config, const AttnModel *of, AttnError *error)
{
  AttnLayer *made;
  AttnStatus status = attn_layer_new (&config, of, &made, error);

  if (status != ATTN_OK && made != NULL)
    return ATTN_OK;
  attn_layer_free (made);
  return status;
}

static AttnStatus
make_layer (AttnError *error)
{
  return make_layer_of (configuration (), model, error);
}

static AttnStatus
make_layer_without_a_model (AttnError *error)
{
  AttnConfig config = attn_config_default ();

  config.n_features = 32;
  config.n_heads = 4;
  config.position = ATTN_POSITION_ROPE;
  config.precision = ATTN_PRECISION_F16;
  return make_layer_of (config, NULL, error);
}

static AttnStatus
make_fast_layer (AttnError *error)
{
  AttnConfig config = configuration ();

  config.arithmetic = ATTN_ARITHMETIC_FAST;
  return make_layer_of (config, model, error);
}

/* Nested blocks of every kind: half-built ones are freed again. */
static void
make_encoder_file (ModelFile *file)
{
  static const char *const tensors[] = { "a.q_proj.weight", "a.k_proj.weight", "a.v_proj.weight", "l.weight" };

  begin_file (file);
  strcat (file->header, "'__metadata__':{'style':'kaldi','encoder':'{\\'version\\':1,\\'features\\':4,\\'blocks\\':["
                        "{\\'sinusoid\\':true},{\\'residual\\':[{\\'norm\\':\\'n\\'},{\\'residual\\':["
                        "{\\'attention\\':\\'a\\',\\'heads\\':2,\\'window\\':5,\\'look-ahead\\':2,"
                        "\\'position\\':\\'rope\\'},{\\'affine\\':\\'n\\'}]},{\\'activation\\':\\'gelu\\'}]},"
                        "{\\'linear\\':\\'l\\',\\'activation\\':\\'relu\\'},{\\'glu\\':\\'silu\\'},"
                        "{\\'stack\\':2},{\\'conv\\':\\'c\\',\\'left\\':1}]}'}");
  for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
    add_tensor (file, tensors[i], "F32", 4, 4);
  strcat (file->header, ",'c.weight':{'dtype':'F32','shape':[4,4,2],'data_offsets':[256,384]}");
  file->n_data += 4 * 4 * 2 * sizeof (float);
  add_tensor (file, "l.bias", "F32", 4, 0);
  add_tensor (file, "n.weight", "F32", 4, 0);
  add_tensor (file, "n.bias", "F32", 4, 0);
  end_file (file);
}

static ModelFile encoder_file;

static AttnStatus
make_encoder (AttnError *error)
{
  AttnLayer *encoder;
  AttnStatus status = attn_encoder_open_memory (encoder_file.bytes, encoder_file.size, NULL, &encoder, error);

  if (status != ATTN_OK && encoder != NULL)
    return ATTN_OK;
  attn_layer_free (encoder);
  return status;
}

static AttnStatus
run_forward (AttnError *error)
{
  static float frames[20 * 16], out[20 * 16];

  error->message[0] = 'x'; /* it has no sentence to give */
  return attn_forward (layer, frames, NULL, 20, 0, out, NULL, NULL);
}

static AttnStatus
run_sdpa (AttnError *error)
{
  static const float query[2 * 2 * 4], key[2 * 6 * 4], value[2 * 6 * 4], mask[2 * 6];
  static float out[2 * 2 * 4], weights[2 * 2 * 6];
  AttnSdpa sdpa = attn_sdpa_default ();

  sdpa.n_heads = 2;
  sdpa.n_queries = 2;
  sdpa.n_keys = 6;
  sdpa.dk = 4;
  sdpa.query = query;
  sdpa.key = key;
  sdpa.value = value;
  sdpa.float_mask = mask;
  sdpa.out = out;
  sdpa.weights = weights;
  return attn_sdpa (&sdpa, error);
}

TEST (model_that_does_not_fit_is_a_status)
{
  fail_each ("attn_model_open", open_model);
}

TEST (metadata_that_do_not_fit_are_a_status)
{
  fail_each ("attn_metadata_open", open_metadata);
}

TEST (layer_that_does_not_fit_is_a_status)
{
  model = model_from (PATH, "attn.");
  CHECK (model != NULL);
  fail_each ("attn_layer_new", make_layer);
  fail_each ("attn_layer_new without a model", make_layer_without_a_model);
  setenv ("ATTN_MATRIX", "c", 1);
  fail_each ("attn_layer_new for a matrix unit", make_fast_layer);
  unsetenv ("ATTN_MATRIX");
  attn_model_free (model);
}

static bool
with_layer (AttnConfig config, const AttnModel *of)
{
  return attn_layer_new (&config, of, &layer, NULL) == ATTN_OK;
}

TEST (stream_that_does_not_fit_is_a_status)
{
  AttnConfig config = configuration ();

  model = model_from (PATH, "attn.");
  CHECK (model != NULL && with_layer (config, model));
  fail_each ("attn_stream_new", make_stream);
  attn_layer_free (layer);
  config.precision = ATTN_PRECISION_BF16;
  config.n_threads = 3;
  CHECK (with_layer (config, model));
  fail_each ("attn_stream_new with threads, in bf16", make_stream);
  attn_layer_free (layer);
  config.arithmetic = ATTN_ARITHMETIC_FAST;
  setenv ("ATTN_MATRIX", "c", 1);
  CHECK (with_layer (config, model));
  unsetenv ("ATTN_MATRIX");
  fail_each ("attn_stream_new for a matrix unit", make_stream);
  attn_layer_free (layer);
  attn_model_free (model);
}

TEST (encoder_that_does_not_fit_is_a_status)
{
  AttnError error;

  make_encoder_file (&encoder_file);
  fail_each ("attn_encoder_open_memory", make_encoder);
  CHECK_MSG (attn_encoder_open_memory (encoder_file.bytes, encoder_file.size, NULL, &layer, &error) == ATTN_OK, "%s",
             error.message);
  fail_each ("attn_stream_new of an encoder", make_stream);
  fail_each ("attn_group_new of an encoder", make_group);
  attn_layer_free (layer);
}

TEST (group_that_does_not_fit_is_a_status)
{
  AttnConfig config = configuration ();
  AttnGroup *group;
  AttnError error;

  model = model_from (PATH, "attn.");
  config.n_threads = 3;
  config.arithmetic = ATTN_ARITHMETIC_FAST;
  setenv ("ATTN_MATRIX", "c", 1);
  CHECK (model != NULL && with_layer (config, model));
  unsetenv ("ATTN_MATRIX");
  fail_each ("attn_group_new with threads, for a matrix unit", make_group);
  CHECK (attn_group_new (layer, SIZE_MAX / 2, &group, &error) == ATTN_ERROR_MEMORY && group == NULL);
  attn_layer_free (layer);
  attn_model_free (model);
}

TEST (forward_that_does_not_fit_is_a_status)
{
  model = model_from (PATH, "attn.");
  CHECK (model != NULL && with_layer (configuration (), model));
  fail_each ("attn_forward", run_forward);
  attn_layer_free (layer);
  attn_model_free (model);
}

TEST (sdpa_that_does_not_fit_is_a_status)
{
  fail_each ("attn_sdpa", run_sdpa);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  RUN (model_that_does_not_fit_is_a_status);
  RUN (metadata_that_do_not_fit_are_a_status);
  RUN (layer_that_does_not_fit_is_a_status);
  RUN (stream_that_does_not_fit_is_a_status);
  RUN (encoder_that_does_not_fit_is_a_status);
  RUN (group_that_does_not_fit_is_a_status);
  RUN (forward_that_does_not_fit_is_a_status);
  RUN (sdpa_that_does_not_fit_is_a_status);
  return check_done ();
}
