/*
 * libattn: the plain operator: from the description of the caller to a plan.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "sdpa/sdpa.h"

#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "parameters/config.h"
#include "sdpa/types.h"

/* Large enough for any query to stand anywhere beside N < 2^32 keys; sums of three of them fit an int64_t. */
#define MAX_OFFSET (INT64_C (1) << 32)

AttnSdpa
attn_sdpa_default (void)
{
  return (AttnSdpa){
    .n_batches = 1,
    .n_heads = 1,
    .mask_batches = 1,
    .mask_heads = 1,
    .left_window = ATTN_UNLIMITED,
    .right_window = ATTN_UNLIMITED,
    .query_offset = ATTN_BESIDE_LAST_KEY,
  };
}

/* ---- options ---- */

static AttnStatus
check_choice (const char *name, uint32_t value, const char *choices, bool is_one, AttnError *error)
{
  return is_one ? ATTN_OK : attn_fail (error, ATTN_ERROR_CONFIG, "%s is %u, expected %s", name, value, choices);
}

static bool
is_tensor_type (uint32_t type)
{
  return type == ATTN_TYPE_F32 || type == ATTN_TYPE_F16 || type == ATTN_TYPE_BF16;
}

static AttnStatus
check_types (const AttnSdpa *s, AttnError *error)
{
  const char *tensors = "1 (float32), 10 (float16) or 16 (bfloat16)";
  const char *softmaxes = "0 (none), 1 (float32), 10 (float16), 11 (float64) or 16 (bfloat16)";
  uint32_t softmax = s->softmax_type;
  AttnStatus status;

  if ((status = check_choice ("type", s->type, tensors, is_tensor_type (s->type), error))
      || (status = check_choice ("value_type", s->value_type, tensors, is_tensor_type (s->value_type), error)))
    return status;
  return check_choice ("softmax_type", softmax, softmaxes,
                       softmax == ATTN_TYPE_DEFAULT || softmax == ATTN_TYPE_F64 || is_tensor_type (softmax), error);
}

static AttnStatus
check_reserved (const AttnSdpa *s, AttnError *error)
{
  size_t i;

  for (i = 0; i < sizeof s->reserved / sizeof s->reserved[0]; i++)
    if (s->reserved[i] != 0)
      return attn_fail (error, ATTN_ERROR_CONFIG,
                        "reserved field %zu of AttnSdpa is %llu, expected 0: start from attn_sdpa_default ()", i,
                        (unsigned long long) s->reserved[i]);
  return ATTN_OK;
}

static AttnStatus
check_options (const AttnSdpa *s, AttnError *error)
{
  bool is_beside = s->query_offset == ATTN_BESIDE_LAST_KEY;
  AttnStatus status;

  if ((status = check_choice ("layout", s->layout, "0 (heads outside) or 1 (heads inside)",
                              s->layout <= ATTN_LAYOUT_HEADS_INSIDE, error))
      || (status = check_choice ("is_causal", s->is_causal, "0 or 1", s->is_causal <= 1, error))
      || (status = check_choice ("pad_mask", s->pad_mask, "0 or 1", s->pad_mask <= 1, error))
      || (status = check_choice ("scores_stage", s->scores_stage, "0 (product), 1 (capped) or 2 (masked)",
                                 s->scores_stage <= ATTN_SCORES_MASKED, error))
      || (status = check_types (s, error)))
    return status;
  if (!is_beside && (s->query_offset < -MAX_OFFSET || s->query_offset > MAX_OFFSET))
    return attn_fail (error, ATTN_ERROR_CONFIG, "query_offset is %lld, expected -2^32 to 2^32, or ATTN_BESIDE_LAST_KEY",
                      (long long) s->query_offset);
  return check_reserved (s, error);
}

/* ---- sizes ---- */

static AttnStatus
check_size (const char *name, uint32_t value, AttnError *error)
{
  if (value >= 1 && value <= ATTN_MAX_FEATURES)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_CONFIG, "%s is %u, expected 1 to %u", name, value, ATTN_MAX_FEATURES);
}

static AttnStatus
check_sizes (const AttnSdpa *s, AttnError *error)
{
  AttnStatus status;

  if ((status = check_size ("n_heads", s->n_heads, error)) || (status = check_size ("n_kv_heads", s->n_kv_heads, error))
      || (status = check_size ("dk", s->dk, error)) || (status = check_size ("dv", s->dv, error)))
    return status;
  if (s->n_heads % s->n_kv_heads != 0)
    return attn_fail (
        error, ATTN_ERROR_CONFIG,
        "%u heads cannot share %u kv-heads: the number of heads must be a multiple of the number of kv-heads",
        s->n_heads, s->n_kv_heads);
  if (s->n_past > UINT32_MAX - s->n_keys)
    return attn_fail (error, ATTN_ERROR_MEMORY, "n_past is %u and n_keys is %u, expected less than 2^32 keys together",
                      s->n_past, s->n_keys);
  return ATTN_OK;
}

/* ---- tensors ---- */

/* Checks that the bytes of a tensor can be addressed, and that it is not NULL unless it is empty. */
static AttnStatus
check_tensor (const char *name, const void *tensor, bool optional, const uint32_t sizes[4], size_t element,
              AttnError *error)
{
  size_t bytes = element;
  bool empty = false;
  int i;

  if (optional && tensor == NULL)
    return ATTN_OK;
  for (i = 0; i < 4; i++) {
    empty = empty || sizes[i] == 0;
    bytes = attn_size_mul (bytes, sizes[i]);
  }
  if (empty)
    return ATTN_OK;
  if (bytes > PTRDIFF_MAX)
    return attn_fail (error, ATTN_ERROR_MEMORY, "%s would be too large to address: %u x %u x %u x %u values", name,
                      sizes[0], sizes[1], sizes[2], sizes[3]);
  if (tensor == NULL)
    return attn_fail (error, ATTN_ERROR_CONFIG, "%s is NULL, expected %u x %u x %u x %u values", name, sizes[0],
                      sizes[1], sizes[2], sizes[3]);
  return ATTN_OK;
}

/* A tensor with `n` keys or values per key/value head. */
static AttnStatus
check_cache (const char *name, const void *tensor, bool optional, const AttnSdpa *s, uint32_t n, bool is_value,
             AttnError *error)
{
  const uint32_t sizes[] = { s->n_batches, s->n_kv_heads, n, is_value ? s->dv : s->dk };

  return check_tensor (name, tensor, optional, sizes, attn_type_size (is_value ? s->value_type : s->type), error);
}

static AttnStatus
check_inputs (const AttnSdpa *s, AttnError *error)
{
  const uint32_t query[] = { s->n_batches, s->n_heads, s->n_queries, s->dk };
  AttnStatus status;

  if ((status = check_tensor ("query", s->query, false, query, attn_type_size (s->type), error))
      || (status = check_cache ("key", s->key, false, s, s->n_keys, false, error))
      || (status = check_cache ("value", s->value, false, s, s->n_keys, true, error))
      || (status = check_cache ("past_key", s->past_key, false, s, s->n_past, false, error)))
    return status;
  return check_cache ("past_value", s->past_value, false, s, s->n_past, true, error);
}

static AttnStatus
check_outputs (const AttnSdpa *s, uint32_t n_total, AttnError *error)
{
  const uint32_t out[] = { s->n_batches, s->n_heads, s->n_queries, s->dv };
  const uint32_t scores[] = { s->n_batches, s->n_heads, s->n_queries, n_total };
  size_t size = attn_type_size (s->type);
  bool any = s->out != NULL || s->weights != NULL || s->scores != NULL || s->present_key != NULL;
  AttnStatus status;

  if (!any && s->n_batches != 0 && s->n_queries != 0)
    return attn_fail (error, ATTN_ERROR_CONFIG, "out, weights, scores and presents are all NULL: nothing is asked for");
  if ((status = check_tensor ("out", s->out, true, out, size, error))
      || (status = check_tensor ("weights", s->weights, true, scores, size, error))
      || (status = check_tensor ("scores", s->scores, true, scores, size, error))
      || (status = check_cache ("present_key", s->present_key, true, s, n_total, false, error)))
    return status;
  return check_cache ("present_value", s->present_value, true, s, n_total, true, error);
}

/* ---- tensors that go together ---- */

static AttnStatus
check_pair (const char *key, const void *a, const char *value, const void *b, AttnError *error)
{
  if ((a == NULL) == (b == NULL))
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_CONFIG, "%s is NULL and %s is not: they go together", a == NULL ? key : value,
                    a == NULL ? value : key);
}

/* Padding belongs to caches that the caller keeps; pasts and presents belong to caches that grow here. */
static AttnStatus
check_padding (const AttnSdpa *s, AttnError *error)
{
  uint32_t batch;

  if (s->n_valid_keys == NULL)
    return ATTN_OK;
  if (s->past_key != NULL || s->present_key != NULL)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "n_valid_keys and %s are both given: padding cannot be combined with past and present",
                      s->past_key != NULL ? "past_key" : "present_key");
  for (batch = 0; batch < s->n_batches; batch++)
    if (s->n_valid_keys[batch] < 0 || s->n_valid_keys[batch] > s->n_keys)
      return attn_fail (error, ATTN_ERROR_CONFIG, "n_valid_keys[%u] is %lld, but n_keys is %u: expected 0 to n_keys",
                        batch, (long long) s->n_valid_keys[batch], s->n_keys);
  return ATTN_OK;
}

static AttnStatus
check_together (const AttnSdpa *s, AttnError *error)
{
  AttnStatus status;

  if ((status = check_pair ("past_key", s->past_key, "past_value", s->past_value, error))
      || (status = check_pair ("present_key", s->present_key, "present_value", s->present_value, error)))
    return status;
  return check_padding (s, error);
}

/* ---- masks ---- */

/* One size of a mask: 0 becomes the size of the scores. */
static AttnStatus
check_mask_size (const char *name, uint32_t *size, const char *of_scores, uint32_t full, AttnError *error)
{
  if (*size == 0)
    *size = full;
  if (*size == full || *size == 1)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_CONFIG, "%s is %u, but %s is %u: expected the same, or 1 to broadcast", name,
                    *size, of_scores, full);
}

/* A mask that may end early still covers all keys that are not padding. */
static AttnStatus
check_padded_size (AttnSdpa *s, uint32_t n_total, AttnError *error)
{
  uint32_t batch;

  if (s->mask_keys == 0)
    s->mask_keys = n_total;
  if (s->mask_keys > n_total)
    return attn_fail (error, ATTN_ERROR_CONFIG, "mask_keys is %u, but n_past + n_keys is %u: expected no more",
                      s->mask_keys, n_total);
  for (batch = 0; s->n_valid_keys != NULL && batch < s->n_batches; batch++)
    if (s->n_valid_keys[batch] > s->mask_keys)
      return attn_fail (error, ATTN_ERROR_CONFIG,
                        "mask_keys is %u, but n_valid_keys[%u] is %lld: expected that many or more", s->mask_keys,
                        batch, (long long) s->n_valid_keys[batch]);
  return ATTN_OK;
}

static AttnStatus
check_mask_sizes (AttnSdpa *s, uint32_t n_total, AttnError *error)
{
  AttnStatus status;

  if ((status = check_mask_size ("mask_batches", &s->mask_batches, "n_batches", s->n_batches, error))
      || (status = check_mask_size ("mask_heads", &s->mask_heads, "n_heads", s->n_heads, error))
      || (status = check_mask_size ("mask_queries", &s->mask_queries, "n_queries", s->n_queries, error)))
    return status;
  if (s->pad_mask)
    return check_padded_size (s, n_total, error);
  return check_mask_size ("mask_keys", &s->mask_keys, "n_past + n_keys", n_total, error);
}

/* The masks' sizes, and the strides that follow: 0 along dimensions that are broadcast. */
static AttnStatus
check_mask (AttnSdpaPlan *plan, AttnError *error)
{
  AttnSdpa *s = &plan->given;
  uint32_t sizes[4];
  size_t stride = 1;
  AttnStatus status;
  int i;

  plan->has_mask = s->bool_mask != NULL || s->float_mask != NULL;
  if (!plan->has_mask)
    return ATTN_OK;
  if ((status = check_mask_sizes (s, (uint32_t) plan->n_total, error)))
    return status;
  memcpy (sizes, (uint32_t[]){ s->mask_batches, s->mask_heads, s->mask_queries, s->mask_keys }, sizeof sizes);
  if ((status = check_tensor ("bool_mask", s->bool_mask, true, sizes, sizeof (uint8_t), error))
      || (status = check_tensor ("float_mask", s->float_mask, true, sizes, attn_type_size (s->type), error)))
    return status;
  for (i = 3; i >= 0; i--) {
    plan->mask_strides[i] = sizes[i] == 1 ? 0 : stride;
    stride *= sizes[i];
  }
  return ATTN_OK;
}

AttnStatus
attn_sdpa_plan (AttnSdpaPlan *plan, const AttnSdpa *sdpa, AttnError *error)
{
  AttnSdpa *s = &plan->given;
  AttnStatus status;

  *plan = (AttnSdpaPlan){ .given = *sdpa };
  s->n_kv_heads = s->n_kv_heads != 0 ? s->n_kv_heads : s->n_heads;
  s->dv = s->dv != 0 ? s->dv : s->dk;
  s->type = s->type != ATTN_TYPE_DEFAULT ? s->type : ATTN_TYPE_F32;
  s->value_type = s->value_type != ATTN_TYPE_DEFAULT ? s->value_type : s->type;
  if ((status = check_options (s, error)) || (status = check_sizes (s, error))
      || (status = attn_config_scores (s->scale, s->softcap, s->dk, &plan->query_factor, &plan->softcap, error))
      || (status = check_inputs (s, error)) || (status = check_outputs (s, s->n_past + s->n_keys, error))
      || (status = check_together (s, error)))
    return status;
  plan->n_total = (size_t) s->n_past + s->n_keys;
  plan->n_tiles = (plan->n_total + ATTN_LANES - 1) / ATTN_LANES;
  return check_mask (plan, error);
}
