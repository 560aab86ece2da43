/* Numbers and tensors of a file that another program made.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_CORE_GOLDEN_FILE_H
#define TESTS_CORE_GOLDEN_FILE_H

#include <stdlib.h>
#include <string.h>

#include "parameters/safetensors.h"

/* The value in the metadata, or `absent`. */
static inline double
golden_number (const AttnSafetensors *file, const char *key, double absent)
{
  const char *text = attn_safetensors_metadata (file, key);

  return text != NULL ? strtod (text, NULL) : absent;
}

/* The values of a tensor; NULL: it is not there, and *tensor is empty. */
static inline float *
golden_tensor (AttnSafetensors *file, const char *name, AttnTensor *tensor)
{
  *tensor = (AttnTensor){ 0 };
  for (size_t i = 0; i < attn_safetensors_n_tensors (file); i++) {
    float *values;

    if (strcmp (attn_safetensors_tensor (file, i)->name, name) != 0)
      continue;
    *tensor = *attn_safetensors_tensor (file, i);
    values = malloc (tensor->n_elements * sizeof *values);
    if (attn_safetensors_read (file, tensor, 0, tensor->n_elements, values, NULL) == ATTN_OK)
      return values;
    free (values);
  }
  return NULL;
}

#endif
