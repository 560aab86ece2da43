/* libattn: values of the types that tensors come in.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sdpa/types.h"

#include <string.h>

#include "base/half.h"

size_t
attn_type_size (AttnType type)
{
  return type == ATTN_TYPE_F32 ? sizeof (float) : sizeof (uint16_t);
}

void
attn_type_load (AttnType type, float *out, const void *tensor, size_t first, size_t n)
{
  const uint16_t *halves = (const uint16_t *) tensor + first;
  size_t i;

  if (type == ATTN_TYPE_F32)
    memcpy (out, (const float *) tensor + first, n * sizeof *out);
  else if (type == ATTN_TYPE_F16)
    for (i = 0; i < n; i++)
      out[i] = attn_float_from_f16 (halves[i]);
  else
    for (i = 0; i < n; i++)
      out[i] = attn_float_from_bf16 (halves[i]);
}

void
attn_type_store (AttnType type, void *tensor, size_t first, const float *in, size_t n)
{
  uint16_t *halves = (uint16_t *) tensor + first;
  size_t i;

  if (type == ATTN_TYPE_F32)
    memcpy ((float *) tensor + first, in, n * sizeof *in);
  else if (type == ATTN_TYPE_F16)
    for (i = 0; i < n; i++)
      halves[i] = attn_f16_from_float (in[i]);
  else
    for (i = 0; i < n; i++)
      halves[i] = attn_bf16_from_float (in[i]);
}

float
attn_type_round (AttnType type, float x)
{
  if (type == ATTN_TYPE_F16)
    return attn_float_from_f16 (attn_f16_from_float (x));
  if (type == ATTN_TYPE_BF16)
    return attn_float_from_bf16 (attn_bf16_from_float (x));
  return x;
}
