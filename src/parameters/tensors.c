/* libattn: named tensors.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "parameters/tensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/quote.h"
#include "base/status.h"

static int
compare (const void *a, const void *b)
{
  return strcmp (((const AttnNamedTensor *) a)->tensor->name, ((const AttnNamedTensor *) b)->tensor->name);
}

AttnStatus
attn_tensors_init (AttnTensors *tensors, AttnSafetensors *file, AttnError *error)
{
  size_t n = attn_safetensors_n_tensors (file), size = attn_size_mul (n, sizeof *tensors->by_name), i;

  *tensors = (AttnTensors){ .file = file, .label = attn_safetensors_path (file), .n = n };
  tensors->by_name = attn_alloc (size);
  if (tensors->by_name == NULL)
    return attn_tensors_fail_memory (tensors, size, "its names", error);
  for (i = 0; i < n; i++)
    tensors->by_name[i].tensor = attn_safetensors_tensor (file, i);
  qsort (tensors->by_name, n, sizeof *tensors->by_name, compare);
  return ATTN_OK;
}

void
attn_tensors_clear (AttnTensors *tensors)
{
  attn_free (tensors->by_name);
  tensors->by_name = NULL;
}

/* The number of names before `text`. With `behind`, names that begin with `text` count as before it. */
static size_t
n_before (const AttnTensors *tensors, const char *text, bool behind)
{
  size_t begin = 0, end = tensors->n, length = strlen (text);

  while (begin < end) {
    size_t middle = begin + (end - begin) / 2;
    int order = strncmp (tensors->by_name[middle].tensor->name, text, length);

    if (order < 0 || (order == 0 && behind))
      begin = middle + 1;
    else
      end = middle;
  }
  return begin;
}

size_t
attn_tensors_under (const AttnTensors *tensors, const char *prefix, size_t *n)
{
  size_t first = n_before (tensors, prefix, false);

  *n = n_before (tensors, prefix, true) - first;
  return first;
}

const AttnTensor *
attn_tensors_find (const AttnTensors *tensors, const char *first, const char *second)
{
  size_t length = strlen (first), n, i = attn_tensors_under (tensors, first, &n), end = i + n;

  while (i < end) {
    size_t middle = i + (end - i) / 2;
    int order = strcmp (tensors->by_name[middle].tensor->name + length, second);

    if (order == 0)
      return tensors->by_name[middle].tensor;
    if (order < 0)
      i = middle + 1;
    else
      end = middle;
  }
  return NULL;
}

static void
mark_used (AttnTensors *tensors, const AttnTensor *tensor)
{
  AttnNamedTensor key = { .tensor = tensor };
  AttnNamedTensor *found = bsearch (&key, tensors->by_name, tensors->n, sizeof key, compare);

  found->is_used = true;
}

AttnStatus
attn_tensors_read (AttnTensors *tensors, const AttnTensor *tensor, uint64_t first, uint64_t n, float **values,
                   AttnError *error)
{
  size_t size = attn_size_mul (n, sizeof (float));

  mark_used (tensors, tensor);
  if (tensors->header_only)
    return ATTN_OK;
  tensors->n_read += n;
  if (tensors->max_values != 0 && tensors->n_read > tensors->max_values)
    return attn_fail (error, ATTN_ERROR_MODEL,
                      "%s: with %s all blocks up to here have %" PRIu64 " parameters, but at most %" PRIu64
                      " are allowed",
                      tensors->label, attn_quote (tensor->name).text, tensors->n_read, tensors->max_values);
  *values = attn_alloc (size);
  if (*values == NULL)
    return attn_tensors_fail_memory (tensors, size, attn_quote (tensor->name).text, error);
  return attn_safetensors_read (tensors->file, tensor, first, n, *values, error);
}

AttnStatus
attn_tensors_check_dtype (const AttnTensors *tensors, const AttnTensor *tensor, AttnError *error)
{
  if (tensor->dtype != ATTN_DTYPE_OTHER)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_MODEL, "%s: %s has dtype %s, but F32, F16, BF16 or F64 is needed", tensors->label,
                    attn_quote (tensor->name).text, tensor->dtype_name);
}

AttnStatus
attn_tensors_fail_shape (const AttnTensors *tensors, const AttnTensor *tensor, const char *wanted, AttnError *error)
{
  return attn_fail (error, ATTN_ERROR_MODEL, "%s: %s has shape %s, but %s", tensors->label,
                    attn_quote (tensor->name).text, attn_tensor_shape (tensor).text, wanted);
}

AttnStatus
attn_tensors_fail_memory (const AttnTensors *tensors, size_t size, const char *what, AttnError *error)
{
  if (size == SIZE_MAX)
    return attn_fail (error, ATTN_ERROR_MEMORY, "%s: %s would be too large to address", tensors->label, what);
  return attn_fail (error, ATTN_ERROR_MEMORY, "%s: out of memory: %zu bytes for %s", tensors->label, size, what);
}
