/*
 * Any bytes as a model file: it opens or fails with a sentence, and never crashes, hangs or leaks. Every tensor is
 * read, and a model is looked for under two prefixes.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdlib.h>
#include <string.h>

#include "attn.h"
#include "parameters/safetensors.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* A broken promise has to stop the fuzzer, with NDEBUG too. */
static void
must (int condition)
{
  if (!condition)
    abort ();
}

static void
read_tensor (AttnSafetensors *file, const AttnTensor *tensor)
{
  AttnError error;
  float *values = malloc (tensor->n_elements * sizeof *values + 1);
  AttnStatus status;

  must (values != NULL); /* an element takes half a byte of the input at least, or there are none */
  status = attn_safetensors_read (file, tensor, 0, tensor->n_elements, values, &error);
  must (status == error.status && (status == ATTN_OK) == (error.message[0] == '\0'));
  free (values);
}

static void
open_model (const uint8_t *data, size_t size, const char *prefix)
{
  AttnError error;
  AttnModel *model;
  AttnStatus status = attn_model_open_memory (data, size, prefix, &model, &error);

  must (status == error.status && (status == ATTN_OK) == (model != NULL));
  must (status == ATTN_OK || strncmp (error.message, "memory: ", 8) == 0);
  for (const char *c = error.message; *c != '\0'; c++)
    must (*c >= 0x20 && *c <= 0x7e);
  attn_model_free (model);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  AttnSafetensors *file;

  if (attn_safetensors_open_memory (data, size, &file, NULL) == ATTN_OK)
    for (size_t i = 0; i < attn_safetensors_n_tensors (file); i++)
      read_tensor (file, attn_safetensors_tensor (file, i));
  attn_safetensors_close (file);
  open_model (data, size, NULL);
  open_model (data, size, "a.");
  return 0;
}
