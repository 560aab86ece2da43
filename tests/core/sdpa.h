/*
 * For the tests of attn_sdpa (): random descriptions with their tensors, and the operator's definition in float64, with
 * a bound of how far a correct float32 implementation may be away from it (reference.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_SDPA_H
#define TESTS_CORE_SDPA_H

#include "attn_sdpa.h"
#include "base/half.h"
#include "random.h"
#include "reference.h"

/* ---- tensors ---- */

static inline size_t
type_size (uint32_t type)
{
  return type == ATTN_TYPE_F16 || type == ATTN_TYPE_BF16 ? 2 : 4;
}

static inline double
tensor_at (uint32_t type, const void *tensor, size_t i)
{
  if (type == ATTN_TYPE_F16)
    return attn_float_from_f16 (((const uint16_t *) tensor)[i]);
  if (type == ATTN_TYPE_BF16)
    return attn_float_from_bf16 (((const uint16_t *) tensor)[i]);
  return ((const float *) tensor)[i];
}

static inline void
tensor_set (uint32_t type, void *tensor, size_t i, float x)
{
  if (type == ATTN_TYPE_F16)
    ((uint16_t *) tensor)[i] = attn_f16_from_float (x);
  else if (type == ATTN_TYPE_BF16)
    ((uint16_t *) tensor)[i] = attn_bf16_from_float (x);
  else
    ((float *) tensor)[i] = x;
}

static inline void *
tensor_new (uint32_t type, size_t n)
{
  return malloc ((n + 1) * type_size (type));
}

static inline void *
random_tensor (uint32_t type, size_t n, float amplitude)
{
  void *tensor = tensor_new (type, n);

  for (size_t i = 0; i < n; i++)
    tensor_set (type, tensor, i, random_float (amplitude));
  return tensor;
}

/* ---- random problems ---- */

/* A description, and the arrays it points to. */
typedef struct {
  AttnSdpa s;
  size_t n_query, n_key, n_value, n_out, n_weights, n_mask;
  void *query, *key, *value, *out, *weights, *float_mask;
  void *past_key, *past_value, *present_key, *present_value, *scores;
  uint8_t *bool_mask;
  int64_t n_valid_keys[3];
} Problem;

static inline uint32_t
n_total (const AttnSdpa *s)
{
  return s->n_past + s->n_keys;
}

static inline uint32_t
value_type (const AttnSdpa *s)
{
  return s->value_type != ATTN_TYPE_DEFAULT ? s->value_type : s->type;
}

static inline uint32_t
random_length (void)
{
  static const uint32_t around_tiles[] = { 1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49 };

  return random_between (0, 1) ? random_between (1, 70) : around_tiles[random_between (0, 10)];
}

static inline uint32_t
random_width (void)
{
  return random_between (0, 3) ? random_between (1, 20) : random_between (1, 80);
}

static inline void
allocate_tensors (Problem *p)
{
  AttnSdpa *s = &p->s;
  size_t n_cached = (size_t) s->n_batches * s->n_kv_heads * s->n_past;

  p->n_query = (size_t) s->n_batches * s->n_heads * s->n_queries * s->dk;
  p->n_key = (size_t) s->n_batches * s->n_kv_heads * s->n_keys * s->dk;
  p->n_value = (size_t) s->n_batches * s->n_kv_heads * s->n_keys * s->dv;
  p->n_out = (size_t) s->n_batches * s->n_heads * s->n_queries * s->dv;
  p->n_weights = (size_t) s->n_batches * s->n_heads * s->n_queries * n_total (s);
  s->query = p->query = random_tensor (s->type, p->n_query, 2);
  s->key = p->key = random_tensor (s->type, p->n_key, 2);
  s->value = p->value = random_tensor (value_type (s), p->n_value, 2);
  s->out = p->out = tensor_new (s->type, p->n_out);
  s->weights = p->weights = tensor_new (s->type, p->n_weights);
  if (n_cached == 0)
    return;
  s->past_key = p->past_key = random_tensor (s->type, n_cached * s->dk, 2);
  s->past_value = p->past_value = random_tensor (value_type (s), n_cached * s->dv, 2);
}

/* 0 or the full size stands for the whole; 1 is broadcast. */
static inline uint32_t
random_mask_size (uint32_t full)
{
  const uint32_t sizes[] = { 0, full, 1 };

  return sizes[random_between (0, 2)];
}

static inline size_t
mask_size (uint32_t size, uint32_t full)
{
  return size != 0 ? size : full;
}

static inline void
add_random_masks (Problem *p)
{
  AttnSdpa *s = &p->s;
  uint32_t kind = random_between (0, 5), most_valid = 0;

  for (size_t b = 0; s->n_valid_keys != NULL && b < s->n_batches; b++)
    most_valid = s->n_valid_keys[b] > most_valid ? (uint32_t) s->n_valid_keys[b] : most_valid;
  s->mask_batches = random_mask_size (s->n_batches);
  s->mask_heads = random_mask_size (s->n_heads);
  s->mask_queries = random_mask_size (s->n_queries);
  s->mask_keys = random_between (0, 5) ? 0 : random_mask_size (n_total (s));
  if (s->pad_mask)
    s->mask_keys = random_between (most_valid, n_total (s));
  p->n_mask = mask_size (s->mask_batches, s->n_batches) * mask_size (s->mask_heads, s->n_heads)
              * mask_size (s->mask_queries, s->n_queries) * mask_size (s->mask_keys, n_total (s));
  if (kind == 0 || kind == 1) {
    s->bool_mask = p->bool_mask = malloc (p->n_mask + 1);
    for (size_t i = 0; i < p->n_mask; i++)
      p->bool_mask[i] = random_between (0, 2) ? random_between (1, 255) : 0;
  }
  if (kind == 1 || kind == 2) {
    s->float_mask = p->float_mask = random_tensor (s->type, p->n_mask, 3);
    for (size_t i = 0; i < p->n_mask; i++)
      if (random_between (0, 3) == 0)
        tensor_set (s->type, p->float_mask, i, random_between (0, 2) ? -INFINITY : -1e4f);
  }
}

static inline AttnSdpa
random_description (void)
{
  AttnSdpa s = attn_sdpa_default ();

  s.n_batches = random_between (0, 2) ? 1 : random_between (1, 3);
  s.n_kv_heads = random_between (1, 3);
  s.n_heads = s.n_kv_heads * random_between (1, 3);
  s.n_queries = random_length ();
  s.n_keys = random_between (0, 2) ? random_length () : s.n_queries;
  s.dk = random_width ();
  s.dv = random_between (0, 1) ? s.dk : random_width ();
  s.layout = random_between (0, 1);
  s.is_causal = random_between (0, 2) == 0;
  s.left_window = random_between (0, 1) ? ATTN_UNLIMITED : random_between (0, 40);
  s.right_window = random_between (0, 1) ? ATTN_UNLIMITED : random_between (0, 40);
  s.scale = random_between (0, 3) ? 0 : 0.3;
  s.softcap = random_between (0, 2) ? 0 : 0.5 + random_between (0, 20) / 4.0;
  return s;
}

/* One cache in float32, without past and padding. */
static inline Problem
random_problem (void)
{
  Problem p = { .s = random_description () };

  allocate_tensors (&p);
  add_random_masks (&p);
  return p;
}

static inline void
problem_clear (Problem *p)
{
  void *const arrays[] = { p->query,    p->key,        p->value,       p->out,           p->weights, p->float_mask,
                           p->past_key, p->past_value, p->present_key, p->present_value, p->scores,  p->bool_mask };

  for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
    free (arrays[i]);
}

/* ---- the definition, in float64 ---- */

/* at: batch, head, row. */
static inline size_t
element (uint32_t layout, size_t n_heads, size_t n, size_t width, const size_t at[3], size_t d)
{
  size_t row = layout == ATTN_LAYOUT_HEADS_INSIDE ? (at[0] * n + at[2]) * n_heads + at[1]
                                                  : (at[0] * n_heads + at[1]) * n + at[2];

  return row * width + d;
}

/* Value `d` of key (or value) `j` for the query at `at`. */
static inline double
cached (const AttnSdpa *s, bool is_value, const size_t at[3], size_t j, size_t d)
{
  uint32_t type = is_value ? value_type (s) : s->type;
  size_t width = is_value ? s->dv : s->dk, head = at[1] / (s->n_heads / s->n_kv_heads);
  const size_t past_at[3] = { at[0], head, j }, new_at[3] = { at[0], head, j - s->n_past };

  if (j < s->n_past)
    return tensor_at (type, is_value ? s->past_value : s->past_key,
                      element (ATTN_LAYOUT_HEADS_OUTSIDE, s->n_kv_heads, s->n_past, width, past_at, d));
  return tensor_at (type, is_value ? s->value : s->key,
                    element (s->layout, s->n_kv_heads, s->n_keys, width, new_at, d));
}

static inline size_t
mask_element (const AttnSdpa *s, const size_t at[3], size_t j)
{
  size_t heads = mask_size (s->mask_heads, s->n_heads), queries = mask_size (s->mask_queries, s->n_queries);
  size_t keys = mask_size (s->mask_keys, n_total (s));
  size_t b = mask_size (s->mask_batches, s->n_batches) == 1 ? 0 : at[0], h = heads == 1 ? 0 : at[1];
  size_t i = queries == 1 ? 0 : at[2];

  return ((b * heads + h) * queries + i) * keys + (keys == 1 ? 0 : j);
}

static inline bool
in_mask (const AttnSdpa *s, size_t j)
{
  return !s->pad_mask || j < mask_size (s->mask_keys, n_total (s));
}

static inline double
mask_bias (const AttnSdpa *s, const size_t at[3], size_t j)
{
  return s->float_mask ? tensor_at (s->type, s->float_mask, mask_element (s, at, j)) : 0;
}

static inline bool
attends (const AttnSdpa *s, const size_t at[3], size_t j)
{
  double n_valid = s->n_valid_keys ? (double) s->n_valid_keys[at[0]] : n_total (s);
  double offset = s->query_offset == ATTN_BESIDE_LAST_KEY ? n_valid - s->n_queries : (double) s->query_offset;
  double distance = (double) j - ((double) at[2] + offset); /* from the query's own place */

  if (j >= n_valid || (s->is_causal && distance > 0))
    return false;
  if ((s->left_window != ATTN_UNLIMITED && -distance > s->left_window)
      || (s->right_window != ATTN_UNLIMITED && distance > s->right_window))
    return false;
  if (!s->bool_mask && !s->float_mask)
    return true;
  return in_mask (s, j) && (!s->bool_mask || s->bool_mask[mask_element (s, at, j)])
         && mask_bias (s, at, j) != -INFINITY;
}

/* Half a unit in the last place of `type`, also below its smallest normal. */
static inline void
reference_round (uint32_t type, Bounded *x)
{
  double magnitude = fabs (x->value) + x->error;

  if (type == ATTN_TYPE_F16)
    x->error += fmax (magnitude * 0x1p-11, 0x1p-25);
  if (type == ATTN_TYPE_BF16)
    x->error += fmax (magnitude * 0x1p-8, FLUSHED);
}

/* The score up to `stage`; a key that is not attended to also has a score. */
static inline Bounded
tensor_score (const AttnSdpa *s, const size_t at[3], size_t j, AttnScores stage)
{
  double scale = s->scale != 0 ? s->scale : 1 / sqrt ((double) s->dk), magnitude = 0;
  Bounded score = { 0, 0 };

  for (size_t d = 0; d < s->dk; d++) {
    double query = tensor_at (s->type, s->query, element (s->layout, s->n_heads, s->n_queries, s->dk, at, d));
    double product = scale * query * cached (s, false, at, j, d);

    score.value += product;
    magnitude += fabs (product);
  }
  /* The chain, and three roundings of the query: scale log2 (e), and the product with it. */
  score.error = (gamma_n (s->dk) + 3 * UNIT) * magnitude + s->dk * FLUSHED;
  if (stage >= ATTN_SCORES_CAPPED)
    reference_softcap (&score, s->softcap);
  if (stage == ATTN_SCORES_MASKED && s->float_mask) {
    double bias = mask_bias (s, at, j);

    score.value += bias;
    score.error += UNIT * (fabs (bias) + fabs (score.value)); /* log2 (e) is rounded, and so is the fma */
  }
  return score;
}

/* The value in `scores`: ln (2) is rounded, and so is the fma. */
static inline Bounded
stored_score (const AttnSdpa *s, const size_t at[3], size_t j)
{
  bool is_masked = s->scores_stage == ATTN_SCORES_MASKED;
  Bounded score;

  if (is_masked && !attends (s, at, j))
    return (Bounded){ -INFINITY, 0 };
  score = tensor_score (s, at, j, s->scores_stage);
  score.error += 3 * UNIT * (fabs (score.value) + (is_masked ? fabs (mask_bias (s, at, j)) : 0)) + FLUSHED;
  reference_round (s->type, &score);
  return score;
}

/* One row: weights [n_total] and out [dv]. As reference_head () of reference.h, for tensors and masks. */
static inline void
reference_row (const AttnSdpa *s, const size_t at[3], Bounded *weights, Bounded *out)
{
  double max = -INFINITY, error = 0, sum = 0, relative;
  size_t n_keys = 0;

  for (size_t j = 0; j < n_total (s); j++) {
    weights[j] = (Bounded){ 0, 0 };
    if (!attends (s, at, j))
      continue;
    weights[j] = tensor_score (s, at, j, ATTN_SCORES_MASKED);
    reference_round (s->softmax_type, &weights[j]);
    max = fmax (max, weights[j].value);
    error = fmax (error, weights[j].error + UNIT * fabs (weights[j].value));
    n_keys++;
  }
  relative = exp (4 * error + 4 * UNIT * fabs (max)) * (1 + 10 * UNIT + gamma_n (n_keys)) - 1;
  memset (out, 0, s->dv * sizeof *out);
  for (size_t j = 0; j < n_total (s); j++)
    if (attends (s, at, j))
      sum += exp (weights[j].value - max);
  for (size_t j = 0; j < n_total (s); j++) {
    double w;

    if (!attends (s, at, j))
      continue;
    w = exp (weights[j].value - max) / sum;
    weights[j] = (Bounded){ w, w * relative + 0x1p-125 };
    reference_round (s->softmax_type, &weights[j]);
    for (size_t d = 0; d < s->dv; d++) {
      double value = cached (s, true, at, j, d);

      out[d].value += w * value;
      out[d].error += (weights[j].error + w * gamma_n (n_keys + 2)) * fabs (value) + FLUSHED;
    }
    reference_round (s->type, &weights[j]);
  }
  for (size_t d = 0; d < s->dv; d++)
    reference_round (s->type, &out[d]);
}

/* True when values [first, first + n) are within the reference's bound for float32. */
static inline bool
within (uint32_t type, const void *values, size_t first, const Bounded *reference, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    double value = tensor_at (type, values, first + i);

    if (value != reference[i].value && !(fabs (value - reference[i].value) <= reference[i].error))
      return false;
  }
  return true;
}

static inline bool
is_row_right (const AttnSdpa *s, const size_t at[3], size_t row, Bounded *weights, Bounded *out)
{
  reference_row (s, at, weights, out);
  if (!within (s->type, s->out, element (s->layout, s->n_heads, s->n_queries, s->dv, at, 0), out, s->dv)
      || !within (s->type, s->weights, row * n_total (s), weights, n_total (s)))
    return false;
  if (s->scores == NULL)
    return true;
  for (size_t j = 0; j < n_total (s); j++)
    weights[j] = stored_score (s, at, j);
  return within (s->type, s->scores, row * n_total (s), weights, n_total (s));
}

/* The first row (of batches x heads x queries) that differs from the definition; -1 = none. */
static inline long
first_wrong_row (const AttnSdpa *s)
{
  Bounded *weights = malloc ((n_total (s) + 1) * sizeof *weights), *out = malloc (s->dv * sizeof *out);
  long row = 0, wrong = -1;

  for (size_t b = 0; b < s->n_batches && wrong < 0; b++)
    for (size_t h = 0; h < s->n_heads && wrong < 0; h++)
      for (size_t i = 0; i < s->n_queries && wrong < 0; i++, row++) {
        const size_t at[3] = { b, h, i };

        if (!is_row_right (s, at, row, weights, out))
          wrong = row;
      }
  free (weights);
  free (out);
  return wrong;
}

/* ---- known answers ---- */

/* Queries of 0 score every key alike: the weights are 1 / (keys attended to). For up to 64 values of each tensor. */
static inline AttnSdpa
uniform (uint32_t n_queries, uint32_t n_keys, float *weights)
{
  static const float zeros[64];
  AttnSdpa s = attn_sdpa_default ();

  s.query = s.key = s.value = zeros;
  s.weights = weights;
  s.n_queries = n_queries;
  s.n_keys = n_keys;
  s.dk = 1;
  return s;
}

/* Row by row, the keys that are attended to: "110 111" */
static inline bool
attended (const AttnSdpa *s, const char *expected)
{
  size_t n_rows = (size_t) s->n_batches * s->n_heads * s->n_queries, length = 0;
  char got[256] = "";

  if (attn_sdpa (s, NULL) != ATTN_OK)
    return false;
  for (size_t i = 0; i < n_rows; i++) {
    for (size_t j = 0; j < n_total (s); j++)
      got[length++] = ((const float *) s->weights)[i * n_total (s) + j] != 0 ? '1' : '0';
    got[length++] = i + 1 < n_rows ? ' ' : '\0';
  }
  if (strcmp (got, expected) != 0)
    printf ("# %s, not %s\n", got, expected);
  return strcmp (got, expected) == 0;
}

static inline bool
same_bits (const void *a, const void *b, size_t n)
{
  return n == 0 || memcmp (a, b, n * sizeof (float)) == 0;
}

/* ---- refusals ---- */

/* Refused with `status` and a sentence that contains a and b; nothing was written. */
static inline bool
refused (AttnSdpa s, AttnStatus status, const char *a, const char *b)
{
  AttnError error;
  float out[64], untouched[64];

  memset (out, 0x55, sizeof out);
  memcpy (untouched, out, sizeof out);
  s.out = s.out != NULL ? out : NULL;
  if (attn_sdpa (&s, &error) != status || error.status != status || attn_sdpa (&s, NULL) != status
      || !same_bits (out, untouched, 64)) {
    printf ("# status %d: %s\n", error.status, error.message);
    return false;
  }
  if (strstr (error.message, a) && strstr (error.message, b))
    return true;
  printf ("# not in \"%s\": \"%s\" or \"%s\"\n", error.message, a, b);
  return false;
}

/* 2 batches, 4 heads on 2 kv-heads, 3 queries, 5 keys, dk 2. Nothing of it is read when it is refused. */
static inline AttnSdpa
valid (void)
{
  static float tensor[512];
  AttnSdpa s = attn_sdpa_default ();

  s.query = s.key = s.value = s.out = tensor;
  s.n_batches = 2;
  s.n_heads = 4;
  s.n_kv_heads = 2;
  s.n_queries = 3;
  s.n_keys = 5;
  s.dk = 2;
  return s;
}

#define REFUSED(change, status, a, b)  \
  do {                                 \
    AttnSdpa s = valid ();             \
    change;                            \
    CHECK (refused (s, status, a, b)); \
  } while (0)

/* ---- as in ONNX: past, padding, types and all outputs ---- */

static inline void
add_random_past (AttnSdpa *s)
{
  s->n_past = random_length ();
  s->query_offset = random_between (0, 1) ? (int64_t) s->n_past : (int64_t) random_between (0, 100) - 50;
}

static inline void
add_random_padding (Problem *p)
{
  for (size_t b = 0; b < p->s.n_batches; b++)
    p->n_valid_keys[b] = random_between (0, p->s.n_keys);
}

static inline uint32_t
random_type (void)
{
  static const uint32_t types[] = { ATTN_TYPE_DEFAULT, ATTN_TYPE_F32, ATTN_TYPE_F16, ATTN_TYPE_BF16 };

  return types[random_between (0, 3)];
}

static inline void
allocate_outputs (Problem *p)
{
  AttnSdpa *s = &p->s;
  size_t n_cached = (size_t) s->n_batches * s->n_kv_heads * n_total (s);

  if (random_between (0, 1))
    s->scores = p->scores = tensor_new (s->type, p->n_weights);
  if (s->n_valid_keys != NULL || random_between (0, 1))
    return;
  s->present_key = p->present_key = tensor_new (s->type, n_cached * s->dk);
  s->present_value = p->present_value = tensor_new (value_type (s), n_cached * s->dv);
}

/* Everything that can be asked for. `p`: uninitialised. */
static inline void
random_onnx_problem (Problem *p)
{
  AttnSdpa *s = &p->s;

  *p = (Problem){ .s = random_description () };
  s->type = random_type ();
  s->value_type = random_between (0, 2) ? ATTN_TYPE_DEFAULT : random_type ();
  s->softmax_type = random_between (0, 2) ? ATTN_TYPE_DEFAULT : random_between (0, 1) ? ATTN_TYPE_F64 : random_type ();
  s->scores_stage = random_between (ATTN_SCORES_PRODUCT, ATTN_SCORES_MASKED);
  s->pad_mask = random_between (0, 1);
  if (random_between (0, 2) == 0)
    add_random_past (s);
  else if (random_between (0, 1)) {
    add_random_padding (p);
    s->n_valid_keys = p->n_valid_keys;
  } else if (random_between (0, 1))
    s->query_offset = 0;
  allocate_tensors (p);
  add_random_masks (p);
  allocate_outputs (p);
}

#endif
