/*  SPDX-License-Identifier: LGPL-2.1-or-later */
#define _POSIX_C_SOURCE 200809L /* strdup */

#include "parameters/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/quote.h"
#include "base/status.h"
#include "parameters/schemes.h"

static AttnStatus
read_linear (AttnTensors *tensors, const AttnSource *source, AttnLinear *linear, AttnError *error)
{
  uint64_t n_inputs = source->weight->dims[1];
  AttnStatus status;

  linear->n_outputs = (uint32_t) source->n_rows;
  linear->n_inputs = (uint32_t) n_inputs;
  status = attn_tensors_read (tensors, source->weight, source->first_row * n_inputs, source->n_rows * n_inputs,
                              &linear->weight, error);
  if (status == ATTN_OK && source->bias != NULL)
    status = attn_tensors_read (tensors, source->bias, source->first_bias, source->n_rows, &linear->bias, error);
  return status;
}

static AttnStatus
read_relative_bias (AttnTensors *tensors, const AttnTensor *tensor, AttnRelativeBias *bias, AttnError *error)
{
  if (tensor == NULL)
    return ATTN_OK;
  bias->n_heads = (uint32_t) tensor->dims[0];
  bias->n_frames = (uint32_t) tensor->dims[1];
  return attn_tensors_read (tensors, tensor, 0, tensor->n_elements, &bias->values, error);
}

static AttnStatus
read_transformer_xl (AttnTensors *tensors, const AttnXlSources *sources, AttnTransformerXl *xl, AttnError *error)
{
  AttnStatus status;

  if (sources->linear.weight == NULL)
    return ATTN_OK;
  xl->n_heads = (uint32_t) sources->u->dims[0];
  xl->n_values = (uint32_t) sources->u->dims[1];
  if ((status = read_linear (tensors, &sources->linear, &xl->linear, error))
      || (status = attn_tensors_read (tensors, sources->u, 0, sources->u->n_elements, &xl->u, error)))
    return status;
  return attn_tensors_read (tensors, sources->v, 0, sources->v->n_elements, &xl->v, error);
}

static AttnStatus
read_norm (AttnTensors *tensors, const AttnPair *source, AttnNormVectors *norm, AttnError *error)
{
  AttnStatus status;

  if (source->weight == NULL)
    return ATTN_OK;
  norm->n_values = (uint32_t) source->weight->n_elements;
  status = attn_tensors_read (tensors, source->weight, 0, norm->n_values, &norm->weight, error);
  if (status == ATTN_OK && source->bias != NULL)
    status = attn_tensors_read (tensors, source->bias, 0, norm->n_values, &norm->bias, error);
  return status;
}

static AttnStatus
read_parameters (AttnTensors *tensors, const AttnSources *sources, AttnModel *model, AttnError *error)
{
  AttnLinear *linears[ATTN_N_PROJECTIONS] = { &model->query, &model->key, &model->value };
  AttnStatus status = ATTN_OK;

  for (unsigned i = 0; i < ATTN_N_PROJECTIONS && status == ATTN_OK; i++)
    status = read_linear (tensors, &sources->projections[i], linears[i], error);
  if (status == ATTN_OK && sources->output.weight != NULL)
    status = read_linear (tensors, &sources->output, &model->output, error);
  if (status || (status = read_relative_bias (tensors, sources->relative_bias, &model->relative_bias, error))
      || (status = read_transformer_xl (tensors, &sources->xl, &model->transformer_xl, error))
      || (status = read_norm (tensors, &sources->query_norm, &model->query_norm, error)))
    return status;
  return read_norm (tensors, &sources->key_norm, &model->key_norm, error);
}

static AttnStatus
name_model (const AttnTensors *tensors, const char *prefix, AttnModel *model, AttnError *error)
{
  AttnQuote shown = attn_quote (prefix);
  size_t size = strlen (tensors->label) + 2 + strlen (shown.text) + 1;

  model->name = malloc (size);
  if (model->name == NULL)
    return attn_tensors_fail_memory (tensors, size, "its name", error);
  if (prefix[0] == '\0')
    strcpy (model->name, tensors->label);
  else
    snprintf (model->name, size, "%s: %s", tensors->label, shown.text);
  return ATTN_OK;
}

AttnStatus
attn_model_read (AttnTensors *tensors, const char *prefix, const AttnConfig *keys, AttnModel **result, AttnError *error)
{
  AttnModel *model = *result = calloc (1, sizeof *model);
  AttnSources sources;
  AttnStatus status;

  if (model == NULL)
    return attn_tensors_fail_memory (tensors, sizeof *model, "the model", error);
  model->is_header = tensors->header_only;
  if ((status = attn_schemes_find (tensors, prefix, keys, &sources, error))
      || (status = name_model (tensors, prefix, model, error))
      || (status = read_parameters (tensors, &sources, model, error)))
    return status;
  model->scheme = sources.scheme;
  return ATTN_OK;
}

/* ---- metadata ---- */

static AttnStatus
add_metadata (void *data, const char *key, const char *value)
{
  AttnMetadata *metadata = data;
  AttnMetadataEntry *entry = &metadata->entries[metadata->n++];

  entry->key = strdup (key);
  entry->value = strdup (value);
  return entry->key == NULL || entry->value == NULL ? ATTN_ERROR_MEMORY : ATTN_OK;
}

AttnStatus
attn_metadata_copy (AttnMetadata *metadata, const AttnSafetensors *file, AttnError *error)
{
  size_t n = attn_safetensors_n_metadata (file);

  if (n == 0)
    return ATTN_OK;
  metadata->entries = calloc (n, sizeof *metadata->entries);
  if (metadata->entries != NULL && attn_safetensors_each_metadata (file, add_metadata, metadata) == ATTN_OK)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_MEMORY, "%s: out of memory: %zu entries of its metadata",
                    attn_safetensors_path (file), n);
}

const char *
attn_metadata_get (const AttnMetadata *metadata, const char *key)
{
  for (size_t i = 0; i < metadata->n; i++)
    if (strcmp (metadata->entries[i].key, key) == 0)
      return metadata->entries[i].value;
  return NULL;
}

void
attn_metadata_clear (AttnMetadata *metadata)
{
  for (size_t i = 0; i < metadata->n; i++) {
    free (metadata->entries[i].key);
    free (metadata->entries[i].value);
  }
  free (metadata->entries);
}

AttnStatus
attn_metadata_open (const char *path, AttnMetadata **metadata, AttnError *error)
{
  AttnSafetensors *file;
  AttnStatus status = attn_safetensors_open (path, &file, error);

  *metadata = NULL;
  if (status == ATTN_OK) {
    *metadata = calloc (1, sizeof **metadata);
    status = *metadata == NULL ? attn_fail_memory (error, "metadata", sizeof **metadata)
                               : attn_metadata_copy (*metadata, file, error);
  }
  status = attn_safetensors_end (file, status, error);
  if (status == ATTN_OK)
    return attn_succeed (error);
  attn_metadata_free (*metadata);
  *metadata = NULL;
  return status;
}

void
attn_metadata_free (AttnMetadata *metadata)
{
  if (metadata == NULL)
    return;
  attn_metadata_clear (metadata);
  free (metadata);
}

const char *
attn_model_metadata (const AttnModel *model, const char *key)
{
  return attn_metadata_get (&model->metadata, key);
}

/* ---- the file ---- */

/* `opened`: the result of opening `file`, which is closed here. */
static AttnStatus
read_file (AttnStatus opened, AttnSafetensors *file, const char *prefix, bool header_only, AttnModel **model,
           AttnError *error)
{
  AttnTensors tensors = { 0 };
  AttnStatus status = opened;

  *model = NULL;
  if (status == ATTN_OK)
    status = attn_tensors_init (&tensors, file, error);
  tensors.header_only = header_only;
  if (status == ATTN_OK)
    status = attn_model_read (&tensors, prefix == NULL ? "" : prefix, NULL, model, error);
  if (status == ATTN_OK)
    status = attn_metadata_copy (&(*model)->metadata, file, error);
  attn_tensors_clear (&tensors);
  status = attn_safetensors_end (file, status, error);
  if (status == ATTN_OK)
    return attn_succeed (error);
  attn_model_free (*model);
  *model = NULL;
  return status;
}

AttnStatus
attn_model_open (const char *path, const char *prefix, AttnModel **model, AttnError *error)
{
  AttnSafetensors *file;
  AttnStatus status = attn_safetensors_open (path, &file, error);

  return read_file (status, file, prefix, false, model, error);
}

AttnStatus
attn_model_peek (const char *path, const char *prefix, AttnModel **model, AttnError *error)
{
  AttnSafetensors *file;
  AttnStatus status = attn_safetensors_open (path, &file, error);

  return read_file (status, file, prefix, true, model, error);
}

AttnStatus
attn_model_open_memory (const void *data, size_t size, const char *prefix, AttnModel **model, AttnError *error)
{
  AttnSafetensors *file;
  AttnStatus status = attn_safetensors_open_memory (data, size, &file, error);

  return read_file (status, file, prefix, false, model, error);
}

void
attn_linear_free_arrays (AttnLinear *linear)
{
  attn_free (linear->weight);
  attn_free (linear->bias);
}

static void
free_norm (AttnNormVectors *norm)
{
  attn_free (norm->weight);
  attn_free (norm->bias);
}

void
attn_model_free (AttnModel *model)
{
  if (model == NULL)
    return;
  attn_linear_free_arrays (&model->query);
  attn_linear_free_arrays (&model->key);
  attn_linear_free_arrays (&model->value);
  attn_linear_free_arrays (&model->output);
  attn_free (model->relative_bias.values);
  attn_linear_free_arrays (&model->transformer_xl.linear);
  attn_free (model->transformer_xl.u);
  attn_free (model->transformer_xl.v);
  free_norm (&model->query_norm);
  free_norm (&model->key_norm);
  attn_metadata_clear (&model->metadata);
  free (model->name);
  free (model);
}
