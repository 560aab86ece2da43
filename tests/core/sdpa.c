/*
 * The plain operator attn_sdpa () against its definition in float64, with a derived bound of the error of each value;
 * against attn_forward (), to the bit; against PyTorch; and what is said about arguments that do not fit.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <fenv.h>

#include "check.h"
#include "cpu.h"
#include "layers.h"
#include "reference.h"
#include "safetensors.h"

#define N_RANDOM 4000 /* shapes against the definition */
#define N_LAYERS 400  /* layers against attn_forward () */

/* ---- random problems ---- */

/* A description, and the arrays it points to. */
typedef struct {
  AttnSdpa s;
  size_t n_query, n_key, n_value, n_out, n_weights, n_mask;
  float *query, *key, *value, *out, *weights, *float_mask;
  uint8_t *bool_mask;
} Problem;

static uint32_t
random_length (void)
{
  static const uint32_t around_tiles[] = { 1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49 };

  return random_between (0, 1) ? random_between (1, 70) : around_tiles[random_between (0, 10)];
}

static uint32_t
random_width (void)
{
  return random_between (0, 3) ? random_between (1, 20) : random_between (1, 80);
}

static void
allocate_tensors (Problem *p)
{
  AttnSdpa *s = &p->s;

  p->n_query = (size_t) s->n_batches * s->n_heads * s->n_queries * s->dk;
  p->n_key = (size_t) s->n_batches * s->n_kv_heads * s->n_keys * s->dk;
  p->n_value = (size_t) s->n_batches * s->n_kv_heads * s->n_keys * s->dv;
  p->n_out = (size_t) s->n_batches * s->n_heads * s->n_queries * s->dv;
  p->n_weights = (size_t) s->n_batches * s->n_heads * s->n_queries * s->n_keys;
  s->query = p->query = malloc ((p->n_query + 1) * sizeof (float));
  s->key = p->key = malloc ((p->n_key + 1) * sizeof (float));
  s->value = p->value = malloc ((p->n_value + 1) * sizeof (float));
  s->out = p->out = malloc ((p->n_out + 1) * sizeof (float));
  s->weights = p->weights = malloc ((p->n_weights + 1) * sizeof (float));
  random_fill (p->query, p->n_query, 2);
  random_fill (p->key, p->n_key, 2);
  random_fill (p->value, p->n_value, 2);
}

/* 0 or the size stand for the whole, 1 for all. */
static uint32_t
random_mask_size (uint32_t full)
{
  const uint32_t sizes[] = { 0, full, 1 };

  return sizes[random_between (0, 2)];
}

static size_t
mask_size (uint32_t size, uint32_t full)
{
  return size != 0 ? size : full;
}

static void
add_random_masks (Problem *p)
{
  AttnSdpa *s = &p->s;
  uint32_t kind = random_between (0, 5);

  s->mask_batches = random_mask_size (s->n_batches);
  s->mask_heads = random_mask_size (s->n_heads);
  s->mask_queries = random_mask_size (s->n_queries);
  s->mask_keys = random_between (0, 5) ? 0 : random_mask_size (s->n_keys);
  p->n_mask = mask_size (s->mask_batches, s->n_batches) * mask_size (s->mask_heads, s->n_heads)
              * mask_size (s->mask_queries, s->n_queries) * mask_size (s->mask_keys, s->n_keys);
  if (kind == 0 || kind == 1) {
    s->bool_mask = p->bool_mask = malloc (p->n_mask + 1);
    for (size_t i = 0; i < p->n_mask; i++)
      p->bool_mask[i] = random_between (0, 2) ? random_between (1, 255) : 0;
  }
  if (kind == 1 || kind == 2) {
    s->float_mask = p->float_mask = malloc ((p->n_mask + 1) * sizeof (float));
    random_fill (p->float_mask, p->n_mask, 3);
    for (size_t i = 0; i < p->n_mask; i++)
      if (random_between (0, 3) == 0)
        p->float_mask[i] = random_between (0, 2) ? -INFINITY : -1e4f;
  }
}

static Problem
random_problem (void)
{
  Problem p = { .s = attn_sdpa_default () };
  AttnSdpa *s = &p.s;

  s->n_batches = random_between (0, 2) ? 1 : random_between (1, 3);
  s->n_kv_heads = random_between (1, 3);
  s->n_heads = s->n_kv_heads * random_between (1, 3);
  s->n_queries = random_length ();
  s->n_keys = random_between (0, 2) ? random_length () : s->n_queries;
  s->dk = random_width ();
  s->dv = random_between (0, 1) ? s->dk : random_width ();
  s->layout = random_between (0, 1);
  s->is_causal = random_between (0, 2) == 0;
  s->left_window = random_between (0, 1) ? ATTN_UNLIMITED : random_between (0, 40);
  s->right_window = random_between (0, 1) ? ATTN_UNLIMITED : random_between (0, 40);
  s->scale = random_between (0, 3) ? 0 : 0.3;
  s->softcap = random_between (0, 2) ? 0 : 0.5 + random_between (0, 20) / 4.0;
  allocate_tensors (&p);
  add_random_masks (&p);
  return p;
}

static void
problem_clear (Problem *p)
{
  free (p->query);
  free (p->key);
  free (p->value);
  free (p->out);
  free (p->weights);
  free (p->float_mask);
  free (p->bool_mask);
}

/* ---- the definition, in float64 ---- */

static size_t
element (const AttnSdpa *s, size_t n_heads, size_t n, size_t width, const size_t at[3], size_t d)
{
  size_t row = s->layout == ATTN_LAYOUT_HEADS_INSIDE ? (at[0] * n + at[2]) * n_heads + at[1]
                                                     : (at[0] * n_heads + at[1]) * n + at[2];

  return row * width + d;
}

static size_t
mask_element (const AttnSdpa *s, const size_t at[3], size_t j)
{
  size_t heads = mask_size (s->mask_heads, s->n_heads), queries = mask_size (s->mask_queries, s->n_queries);
  size_t keys = mask_size (s->mask_keys, s->n_keys);
  size_t b = mask_size (s->mask_batches, s->n_batches) == 1 ? 0 : at[0], h = heads == 1 ? 0 : at[1];
  size_t i = queries == 1 ? 0 : at[2];

  return ((b * heads + h) * queries + i) * keys + (keys == 1 ? 0 : j);
}

static bool
attends (const AttnSdpa *s, const size_t at[3], size_t j)
{
  double distance = (double) j - ((double) at[2] + s->n_keys - s->n_queries); /* from the query's own position */

  if (s->is_causal && distance > 0)
    return false;
  if ((s->left_window != ATTN_UNLIMITED && -distance > s->left_window)
      || (s->right_window != ATTN_UNLIMITED && distance > s->right_window))
    return false;
  if (s->bool_mask && !s->bool_mask[mask_element (s, at, j)])
    return false;
  return !(s->float_mask && s->float_mask[mask_element (s, at, j)] == -INFINITY);
}

/* at: batch, head, query. */
static Bounded
tensor_score (const AttnSdpa *s, const size_t at[3], size_t j)
{
  const size_t key_at[3] = { at[0], at[1] / (s->n_heads / s->n_kv_heads), j };
  double scale = s->scale != 0 ? s->scale : 1 / sqrt ((double) s->dk), magnitude = 0;
  Bounded score = { 0, 0 };

  for (size_t d = 0; d < s->dk; d++) {
    double product = scale * s->query[element (s, s->n_heads, s->n_queries, s->dk, at, d)]
                     * s->key[element (s, s->n_kv_heads, s->n_keys, s->dk, key_at, d)];

    score.value += product;
    magnitude += fabs (product);
  }
  /* The chain, and three roundings of the query: scale log2 (e), and the product with it. */
  score.error = (gamma_n (s->dk) + 3 * UNIT) * magnitude + s->dk * FLUSHED;
  reference_softcap (&score, s->softcap);
  if (s->float_mask) {
    double mask = s->float_mask[mask_element (s, at, j)];

    score.value += mask;
    score.error += UNIT * (fabs (mask) + fabs (score.value)); /* log2 (e) is rounded, and so is the fma */
  }
  return score;
}

/* One row: weights [n_keys] and out [dv]. As reference_head () of reference.h, for tensors and masks. */
static void
reference_row (const AttnSdpa *s, const size_t at[3], Bounded *weights, Bounded *out)
{
  double max = -INFINITY, error = 0, sum = 0, relative;
  size_t n_keys = 0;

  for (size_t j = 0; j < s->n_keys; j++) {
    weights[j] = (Bounded){ 0, 0 };
    if (!attends (s, at, j))
      continue;
    weights[j] = tensor_score (s, at, j);
    max = fmax (max, weights[j].value);
    error = fmax (error, weights[j].error + UNIT * fabs (weights[j].value));
    n_keys++;
  }
  relative = exp (4 * error + 4 * UNIT * fabs (max)) * (1 + 10 * UNIT + gamma_n (n_keys)) - 1;
  memset (out, 0, s->dv * sizeof *out);
  for (size_t j = 0; j < s->n_keys; j++)
    if (attends (s, at, j))
      sum += exp (weights[j].value - max);
  for (size_t j = 0; j < s->n_keys; j++) {
    const size_t value_at[3] = { at[0], at[1] / (s->n_heads / s->n_kv_heads), j };
    double w;

    if (!attends (s, at, j))
      continue;
    w = exp (weights[j].value - max) / sum;
    weights[j] = (Bounded){ w, w * relative + 0x1p-125 };
    for (size_t d = 0; d < s->dv; d++) {
      double value = s->value[element (s, s->n_kv_heads, s->n_keys, s->dv, value_at, d)];

      out[d].value += w * value;
      out[d].error += (w * (relative + gamma_n (n_keys + 2)) + 0x1p-125) * fabs (value) + FLUSHED;
    }
  }
}

/* True when `values` are as close to the reference as float32 can be trusted to come. */
static bool
within (const float *values, size_t stride, const Bounded *reference, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (!(fabs (values[i * stride] - reference[i].value) <= reference[i].error))
      return false;
  return true;
}

/* The first row (of batches x heads x queries) that is not the definition's; -1 = none. */
static long
first_wrong_row (const AttnSdpa *s)
{
  Bounded *weights = malloc ((s->n_keys + 1) * sizeof *weights), *out = malloc (s->dv * sizeof *out);
  long row = 0, wrong = -1;

  for (size_t b = 0; b < s->n_batches && wrong < 0; b++)
    for (size_t h = 0; h < s->n_heads && wrong < 0; h++)
      for (size_t i = 0; i < s->n_queries && wrong < 0; i++, row++) {
        const size_t at[3] = { b, h, i };

        reference_row (s, at, weights, out);
        if (!within (s->out + element (s, s->n_heads, s->n_queries, s->dv, at, 0), 1, out, s->dv)
            || !within (s->weights + row * s->n_keys, 1, weights, s->n_keys))
          wrong = row;
      }
  free (weights);
  free (out);
  return wrong;
}

static bool
is_zero (const float *values, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (values[i] != 0)
      return false;
  return true;
}

static bool
same_bits (const float *a, const float *b, size_t n)
{
  return n == 0 || memcmp (a, b, n * sizeof *a) == 0;
}

TEST (any_shape_and_mask_is_within_the_derived_bound_of_float64)
{
  for (int i = 0; i < N_RANDOM; i++) {
    uint64_t state = random_state;
    Problem p = random_problem ();
    AttnError error = { 0 };
    AttnStatus status = attn_sdpa (&p.s, &error);
    long wrong = status == ATTN_OK ? first_wrong_row (&p.s) : 0;

    problem_clear (&p);
    CHECK_MSG (wrong < 0, "shape %d, state %llu, row %ld, %s", i, (unsigned long long) state, wrong, error.message);
  }
}

TEST (rows_of_weights_sum_to_1_or_are_0)
{
  for (int round = 0; round < 300; round++) {
    Problem p = random_problem ();
    bool right = attn_sdpa (&p.s, NULL) == ATTN_OK;

    for (size_t row = 0; right && p.s.n_keys > 0 && row < p.n_weights / p.s.n_keys; row++) {
      const float *weights = p.weights + row * p.s.n_keys;
      double sum = 0;

      for (size_t j = 0; j < p.s.n_keys; j++)
        sum += weights[j];
      /* 70 keys: the sum in 16 lanes, its reciprocal, and the product, each of them half a unit */
      right = is_zero (weights, p.s.n_keys) || fabs (sum - 1) <= 12 * UNIT;
    }
    problem_clear (&p);
    CHECK_MSG (right, "round %d", round);
  }
}

TEST (every_row_of_kernels_gives_the_same_bits)
{
  bool runs;

  for (int round = 0; round < 100; round++) {
    Problem p = random_problem ();
    float *expected = malloc ((p.n_out + 1) * sizeof (float));
    bool equal = true;

    for (size_t row = 0; attn_kernels_row (row, &runs) != NULL; row++) {
      if (!runs)
        continue;
      setenv ("ATTN_CPU", attn_kernels_row (row, &runs)->name, 1);
      attn_sdpa (&p.s, NULL);
      if (row == 0)
        memcpy (expected, p.out, p.n_out * sizeof (float));
      equal = equal && same_bits (expected, p.out, p.n_out);
    }
    unsetenv ("ATTN_CPU");
    free (expected);
    problem_clear (&p);
    CHECK_MSG (equal, "round %d", round);
  }
}

/* ---- against streams ---- */

TEST (frames_under_a_band_equal_forward_to_the_bit)
{
  static const uint32_t windows[] = { 1, 2, 7, 16, 17, 64, 200 }, look_aheads[] = { 0, 1, 5, 16, 40, 200 };

  for (uint32_t heads = 1; heads <= 8; heads++)
    for (size_t w = 0; w < 7; w++)
      for (size_t a = 0; a < 6; a++) {
        uint32_t n = random_length (), dk = random_between (1, 20), D = heads * dk;
        AttnLayer *layer = plain_layer (D, heads, windows[w], look_aheads[a], 0);
        float *frames = malloc (sizeof (float) * n * D), *expected = malloc (sizeof (float) * n * D);
        float *out = malloc (sizeof (float) * n * D);
        AttnSdpa s = attn_sdpa_default ();
        bool equal;

        random_fill (frames, (size_t) n * D, 2);
        s.query = s.key = s.value = frames;
        s.out = out;
        s.n_heads = heads;
        s.n_queries = s.n_keys = n;
        s.dk = dk;
        s.layout = ATTN_LAYOUT_HEADS_INSIDE;
        s.left_window = windows[w] - 1;
        s.right_window = look_aheads[a];
        equal = attn_forward (layer, frames, NULL, n, 0, expected, NULL) == ATTN_OK && attn_sdpa (&s, NULL) == ATTN_OK
                && same_bits (expected, out, (size_t) n * D);
        attn_layer_free (layer);
        free (frames);
        free (expected);
        free (out);
        CHECK_MSG (equal, "%u heads, window %u, look-ahead %u, %u frames", heads, windows[w], look_aheads[a], n);
      }
}

/* Which frames of a layer see which, as a bool mask: window, look-ahead, sinks, absent frames. */
static uint8_t *
layer_mask (const AttnSizes *sizes, const uint8_t *present, size_t n)
{
  uint8_t *mask = malloc (n * n + 1);

  for (size_t t = 0; t < n; t++)
    for (size_t j = 0; j < n; j++)
      mask[t * n + j] = present[j] && reference_attends (sizes, t, j);
  return mask;
}

/* out [n][n_outputs] of the layer by projections and attn_sdpa (). */
static bool
layer_by_sdpa (const RandomLayer *r, const float *frames, const uint8_t *present, size_t n, float *out)
{
  const AttnSizes *sizes = &r->layer->sizes;
  float *query = calloc (n * sizes->n_query, sizeof (float)), *key = calloc (n * sizes->n_key, sizeof (float));
  float *value = calloc (n * sizes->n_value, sizeof (float));
  float *context = calloc (n * sizes->n_context, sizeof (float));
  float *projected = calloc (n * sizes->n_projected, sizeof (float));
  uint8_t *mask = layer_mask (sizes, present, n);
  AttnSdpa s = attn_sdpa_default ();
  bool done;

  attn_layer_project_input (r->layer, NULL, projected, frames, n);
  for (size_t t = 0; t < n; t++) {
    const float *row = projected + t * sizes->n_projected;

    memcpy (query + t * sizes->n_query, row, sizes->n_query * sizeof *row);
    memcpy (key + t * sizes->n_key, row + sizes->n_query, sizes->n_key * sizeof *row);
    memcpy (value + t * sizes->n_value, row + sizes->n_query + sizes->n_key, sizes->n_value * sizeof *row);
  }
  store_in (sizes->precision, key, n * sizes->n_key);
  store_in (sizes->precision, value, n * sizes->n_value);
  s = (AttnSdpa){ query, key, value, mask, NULL, context, NULL, 1, sizes->n_heads, sizes->n_kv_heads, n, n };
  s.dk = sizes->dk;
  s.dv = sizes->dv;
  s.layout = ATTN_LAYOUT_HEADS_INSIDE;
  s.mask_batches = s.mask_heads = 1;
  s.left_window = s.right_window = ATTN_UNLIMITED;
  s.scale = r->config.scale;
  s.softcap = r->config.softcap;
  done = attn_sdpa (&s, NULL) == ATTN_OK;
  attn_layer_project_output (r->layer, NULL, out, context, n);
  for (size_t t = 0; t < n; t++)
    if (!present[t])
      memset (out + t * sizes->n_outputs, 0, sizes->n_outputs * sizeof *out);
  free (projected);
  free (query);
  free (key);
  free (value);
  free (context);
  free (mask);
  return done;
}

/* Any without positions: these are a matter of frame numbers, which the plain operator does not know. */
TEST (any_layer_is_projections_around_sdpa_to_the_bit)
{
  for (int i = 0; i < N_LAYERS; i++) {
    RandomLayer r = random_layer_without_position ();
    size_t n = random_between (1, 100), n_out = n * attn_layer_n_outputs (r.layer);
    float *frames = malloc (sizeof (float) * n * attn_layer_n_features (r.layer));
    float *expected = malloc (sizeof (float) * n_out), *out = malloc (sizeof (float) * n_out);
    uint8_t present[100];
    bool equal;

    random_fill (frames, n * attn_layer_n_features (r.layer), 2);
    for (size_t t = 0; t < n; t++)
      present[t] = random_between (0, 4) != 0;
    equal = attn_forward (r.layer, frames, present, n, 0, expected, NULL) == ATTN_OK
            && layer_by_sdpa (&r, frames, present, n, out) && same_bits (expected, out, n_out);
    free (frames);
    free (expected);
    free (out);
    random_layer_clear (&r);
    CHECK_MSG (equal, "layer %d", i);
  }
}

/* ---- known answers ---- */

/* Queries of 0 score every key alike: the weights are 1 / (keys attended to). */
static AttnSdpa
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
static bool
attended (const AttnSdpa *s, const char *expected)
{
  char got[128] = "";
  size_t length = 0;

  if (attn_sdpa (s, NULL) != ATTN_OK)
    return false;
  for (size_t i = 0; i < s->n_queries; i++) {
    for (size_t j = 0; j < s->n_keys; j++)
      got[length++] = s->weights[i * s->n_keys + j] != 0 ? '1' : '0';
    got[length++] = i + 1 < s->n_queries ? ' ' : '\0';
  }
  if (strcmp (got, expected) != 0)
    printf ("# %s, not %s\n", got, expected);
  return strcmp (got, expected) == 0;
}

TEST (causal_diagonal_ends_at_the_last_key)
{
  float weights[64];
  AttnSdpa s = uniform (3, 3, weights);

  s.is_causal = 1;
  CHECK (attended (&s, "100 110 111"));
  s = uniform (2, 4, weights);
  s.is_causal = 1;
  CHECK (attended (&s, "1110 1111"));
  s = uniform (4, 2, weights);
  s.is_causal = 1;
  CHECK (attended (&s, "00 00 10 11"));
}

TEST (windows_are_counted_from_the_diagonal)
{
  float weights[64];
  AttnSdpa s = uniform (4, 4, weights);

  s.left_window = 1;
  CHECK (attended (&s, "1111 1111 0111 0011"));
  s.right_window = 0;
  CHECK (attended (&s, "1000 1100 0110 0011"));
  s.left_window = ATTN_UNLIMITED;
  s.right_window = 1;
  CHECK (attended (&s, "1100 1110 1111 1111"));
  s.is_causal = 1; /* the narrower of the two */
  CHECK (attended (&s, "1000 1100 1110 1111"));
  s = uniform (2, 4, weights);
  s.left_window = s.right_window = 0;
  CHECK (attended (&s, "0010 0001"));
  s = uniform (4, 2, weights);
  s.left_window = s.right_window = 1;
  CHECK (attended (&s, "00 10 11 11"));
  s.left_window = s.right_window = ATTN_UNLIMITED - 1; /* large is not a wrap */
  CHECK (attended (&s, "11 11 11 11"));
}

TEST (query_that_attends_to_nothing_gives_0)
{
  static const uint8_t bool_mask[] = { 0, 0, 0, 1 };
  static const float float_mask[] = { -INFINITY, -INFINITY, 0, 0 };
  float query[2] = { 1, 1 }, key[2] = { 1, 1 }, value[2] = { NAN, 3 }, out[2] = { 9, 9 }, weights[4];
  AttnSdpa s = uniform (2, 2, weights);

  s.query = query;
  s.key = key;
  s.value = value;
  s.out = out;
  s.bool_mask = bool_mask;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
  CHECK (out[0] == 0 && weights[0] == 0 && weights[1] == 0);
  CHECK (out[1] == 3 && weights[2] == 0 && weights[3] == 1); /* 0 * NaN does not arise */
  s.bool_mask = NULL;
  s.float_mask = float_mask;
  query[0] = NAN;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
  CHECK (out[0] == 0 && weights[0] == 0 && weights[1] == 0);
  CHECK (out[1] != out[1] && weights[2] == 0.5f && weights[3] == 0.5f);
}

TEST (no_keys_give_0_and_no_queries_give_nothing)
{
  float query[3] = { 1, 2, 3 }, out[3] = { 9, 9, 9 };
  AttnSdpa s = attn_sdpa_default ();

  s.query = query;
  s.out = out;
  s.dk = 1;
  s.n_queries = 3;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && is_zero (out, 3));
  s = attn_sdpa_default ();
  s.dk = 1;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
  s.n_queries = s.n_keys = 5;
  s.n_batches = 0;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
}

TEST (finite_mask_is_added_however_large_and_nan_is_kept)
{
  float query[1] = { 0 }, key[2] = { 0, 0 }, value[2] = { 1, 3 }, out[1];
  float mask[2] = { -3.4e38f, -3.4e38f };
  AttnSdpa s = attn_sdpa_default ();

  s.query = query;
  s.key = key;
  s.value = value;
  s.out = out;
  s.float_mask = mask;
  s.n_queries = 1;
  s.n_keys = 2;
  s.dk = 1;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && out[0] == 2); /* equal scores, not nothing to attend to */
  mask[0] = mask[1] = 3.4e38f;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && out[0] == 2);
  mask[0] = 0;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && out[0] == 3);
  mask[0] = NAN;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && out[0] != out[0]);
  mask[0] = INFINITY;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && out[0] != out[0]);
}

TEST (denormals_count_as_zero_and_nan_is_the_one)
{
  float query[2] = { 1e-39f, 1 }, key[2] = { 1e-39f, 1e-39f }, value[2] = { 1e-39f, 1e-39f }, out[2], weights[4];
  float mask[2] = { 0, 1e-39f };
  const uint32_t the_nan = 0x7fc00000;
  AttnSdpa s = uniform (2, 2, weights);

  s.query = query;
  s.key = key;
  s.value = value;
  s.out = out;
  s.scale = 1e38;
  s.float_mask = mask;
  s.mask_queries = 1;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && is_zero (out, 2));
  CHECK (weights[0] == 0.5f && weights[1] == 0.5f && weights[2] == 0.5f && weights[3] == 0.5f);
  key[1] = 1; /* the first query is 0, the second sees nothing but this key */
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && weights[0] == 0.5f && weights[1] == 0.5f && weights[3] == 1);
  value[1] = -NAN;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && memcmp (&out[0], &the_nan, 4) == 0 && memcmp (&out[1], &the_nan, 4) == 0);
}

TEST (out_or_weights_alone_are_the_same_as_both)
{
  for (int round = 0; round < 50; round++) {
    Problem p = random_problem ();
    float *out = malloc ((p.n_out + 1) * sizeof (float)), *weights = malloc ((p.n_weights + 1) * sizeof (float));
    bool equal = attn_sdpa (&p.s, NULL) == ATTN_OK;

    p.s.out = out;
    p.s.weights = NULL;
    equal = equal && attn_sdpa (&p.s, NULL) == ATTN_OK;
    p.s.out = NULL;
    p.s.weights = weights;
    equal = equal && attn_sdpa (&p.s, NULL) == ATTN_OK;
    equal = equal && same_bits (out, p.out, p.n_out) && same_bits (weights, p.weights, p.n_weights);
    free (out);
    free (weights);
    problem_clear (&p);
    CHECK_MSG (equal, "round %d", round);
  }
}

TEST (callers_float_mode_is_ignored_and_restored_by_sdpa)
{
  Problem p = random_problem ();
  float *expected = malloc ((p.n_out + 1) * sizeof (float));
  int after;
  bool equal;

  attn_sdpa (&p.s, NULL);
  memcpy (expected, p.out, p.n_out * sizeof (float));
  fesetround (FE_UPWARD);
  attn_sdpa (&p.s, NULL);
  after = fegetround ();
  fesetround (FE_TONEAREST);
  equal = same_bits (expected, p.out, p.n_out);
  free (expected);
  problem_clear (&p);
  CHECK (after == FE_UPWARD && equal);
}

/* ---- refusals ---- */

/* Refused with `status`, in words that hold a and b; and nothing was written. */
static bool
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
static AttnSdpa
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

TEST (sizes_out_of_range_are_refused)
{
  REFUSED (s.n_heads = 0, ATTN_ERROR_CONFIG, "n_heads is 0", "65536");
  REFUSED (s.n_heads = 65537, ATTN_ERROR_CONFIG, "n_heads is 65537", "65536");
  REFUSED (s.dk = 0, ATTN_ERROR_CONFIG, "dk is 0", "65536");
  REFUSED (s.dk = UINT32_MAX, ATTN_ERROR_CONFIG, "dk is 4294967295", "65536");
  REFUSED (s.dv = 65537, ATTN_ERROR_CONFIG, "dv is 65537", "65536");
  REFUSED (s.n_kv_heads = 65537, ATTN_ERROR_CONFIG, "n_kv_heads is 65537", "65536");
  REFUSED (s.n_kv_heads = 3, ATTN_ERROR_CONFIG, "4 heads", "3 kv-heads");
  REFUSED (s.n_kv_heads = 8, ATTN_ERROR_CONFIG, "4 heads", "8 kv-heads");
}

TEST (mask_sizes_that_do_not_broadcast_are_refused)
{
  static const float mask[1];
  static const uint8_t bits[1];

  REFUSED ((s.float_mask = mask, s.mask_batches = 3), ATTN_ERROR_CONFIG, "mask_batches is 3", "n_batches is 2");
  REFUSED ((s.float_mask = mask, s.mask_heads = 2), ATTN_ERROR_CONFIG, "mask_heads is 2", "n_heads is 4");
  REFUSED ((s.bool_mask = bits, s.mask_queries = 5), ATTN_ERROR_CONFIG, "mask_queries is 5", "n_queries is 3");
  REFUSED ((s.bool_mask = bits, s.mask_keys = 4), ATTN_ERROR_CONFIG, "mask_keys is 4", "n_keys is 5");
}

TEST (options_out_of_range_are_refused)
{
  REFUSED (s.layout = 2, ATTN_ERROR_CONFIG, "layout is 2", "1");
  REFUSED (s.is_causal = 7, ATTN_ERROR_CONFIG, "is_causal is 7", "0 or 1");
  REFUSED (s.reserved[9] = 3, ATTN_ERROR_CONFIG, "reserved field 9", "3");
  REFUSED (s.scale = -2, ATTN_ERROR_CONFIG, "scale is -2", "0");
  REFUSED (s.scale = NAN, ATTN_ERROR_CONFIG, "scale is", "nan");
  REFUSED (s.scale = 1e300, ATTN_ERROR_CONFIG, "scale is 1e+300", "float32");
  REFUSED (s.softcap = -1, ATTN_ERROR_CONFIG, "softcap is -1", "0 (off)");
  REFUSED (s.softcap = INFINITY, ATTN_ERROR_CONFIG, "softcap is inf", "0 (off)");
}

TEST (missing_tensors_are_refused)
{
  REFUSED (s.query = NULL, ATTN_ERROR_CONFIG, "query is NULL", "2 x 4 x 3 x 2");
  REFUSED (s.key = NULL, ATTN_ERROR_CONFIG, "key is NULL", "2 x 2 x 5 x 2");
  REFUSED ((s.value = NULL, s.dv = 7), ATTN_ERROR_CONFIG, "value is NULL", "2 x 2 x 5 x 7");
  REFUSED (s.out = NULL, ATTN_ERROR_CONFIG, "out and weights", "NULL");
}

TEST (sizes_beyond_memory_are_a_status)
{
  static float weights[1], mask[1];

  REFUSED ((s.n_batches = s.n_queries = UINT32_MAX), ATTN_ERROR_MEMORY, "query would be", "4294967295 x 4");
  REFUSED ((s.n_batches = UINT32_MAX, s.n_queries = 1, s.n_keys = UINT32_MAX), ATTN_ERROR_MEMORY, "key would be",
           "4294967295 x 2");
  REFUSED ((s.weights = weights, s.n_batches = 65536, s.n_queries = s.n_keys = 1u << 31), ATTN_ERROR_MEMORY,
           "weights would be", "2147483648");
  REFUSED ((s.float_mask = mask, s.mask_batches = s.mask_heads = 0, s.n_batches = 1u << 10,
            s.n_queries = s.n_keys = 1u << 31),
           ATTN_ERROR_MEMORY, "float_mask would be", "2147483648");
  /* One head of 65536 dimensions over 2^32 keys can be named, but not allocated: 2^50 bytes. */
  REFUSED ((s.n_batches = s.n_queries = 1, s.n_keys = UINT32_MAX, s.dk = s.dv = 65536), ATTN_ERROR_MEMORY,
           "out of memory", "one head");
}

/* ---- against PyTorch ---- */

/* Largest error relative to the largest output, as in tests/core/golden.c. */
#define TOLERANCE 2e-6
#define GOLDEN_VERSION "1"

static double
number (const AttnSafetensors *file, const char *key, double absent)
{
  const char *text = attn_safetensors_metadata (file, key);

  return text != NULL ? strtod (text, NULL) : absent;
}

/* NULL: it is not there. */
static float *
read_tensor (AttnSafetensors *file, const char *name, size_t *n)
{
  for (size_t i = 0; i < attn_safetensors_n_tensors (file); i++) {
    const AttnTensor *tensor = attn_safetensors_tensor (file, i);
    float *values;

    if (strcmp (tensor->name, name) != 0)
      continue;
    *n = tensor->n_elements;
    values = malloc (*n * sizeof *values);
    if (attn_safetensors_read (file, tensor, 0, *n, values, NULL) == ATTN_OK)
      return values;
    free (values);
  }
  return NULL;
}

static void
read_mask (AttnSafetensors *file, Problem *p)
{
  AttnSdpa *s = &p->s;
  const char *bool_sizes = attn_safetensors_metadata (file, "bool-mask");
  const char *sizes = bool_sizes != NULL ? bool_sizes : attn_safetensors_metadata (file, "float-mask");

  if (sizes == NULL)
    return;
  sscanf (sizes, "%u %u %u %u", &s->mask_batches, &s->mask_heads, &s->mask_queries, &s->mask_keys);
  p->float_mask = read_tensor (file, "mask", &p->n_mask);
  if (bool_sizes == NULL) {
    s->float_mask = p->float_mask;
    return;
  }
  s->bool_mask = p->bool_mask = malloc (p->n_mask);
  for (size_t i = 0; i < p->n_mask; i++)
    p->bool_mask[i] = p->float_mask[i] != 0;
}

static void
read_problem (AttnSafetensors *file, Problem *p)
{
  AttnSdpa *s = &p->s;

  *s = attn_sdpa_default ();
  sscanf (attn_safetensors_metadata (file, "sizes"), "%u %u %u %u %u %u %u", &s->n_batches, &s->n_heads, &s->n_kv_heads,
          &s->n_queries, &s->n_keys, &s->dk, &s->dv);
  s->layout = strcmp (attn_safetensors_metadata (file, "layout"), "inside") == 0 ? ATTN_LAYOUT_HEADS_INSIDE
                                                                                 : ATTN_LAYOUT_HEADS_OUTSIDE;
  s->is_causal = number (file, "causal", 0);
  s->left_window = number (file, "left", ATTN_UNLIMITED);
  s->right_window = number (file, "right", ATTN_UNLIMITED);
  s->scale = number (file, "scale", 0);
  s->softcap = number (file, "softcap", 0);
  s->query = p->query = read_tensor (file, "query", &p->n_query);
  s->key = p->key = read_tensor (file, "key", &p->n_key);
  s->value = p->value = read_tensor (file, "value", &p->n_value);
  read_mask (file, p);
}

/* The largest error relative to the largest output; NAN when it could not be computed. */
static double
golden_error (AttnSafetensors *file)
{
  Problem p = { 0 };
  float *expected = read_tensor (file, "output", &p.n_out);
  double worst = 0, largest = 0;

  read_problem (file, &p);
  p.s.out = p.out = malloc (p.n_out * sizeof (float));
  if (attn_sdpa (&p.s, NULL) != ATTN_OK)
    worst = NAN;
  for (size_t i = 0; i < p.n_out; i++) {
    double difference = fabs ((double) p.out[i] - expected[i]);

    worst = difference <= worst ? worst : difference; /* a NaN stays */
    largest = fmax (largest, fabs (expected[i]));
  }
  free (expected);
  problem_clear (&p);
  return worst / largest;
}

static void
check_golden (const char *name)
{
  char path[512];
  AttnSafetensors *file;
  AttnError error = { 0 };
  double relative_error;

  snprintf (path, sizeof path, "%s/sdpa/%s.safetensors", GOLDEN_DIR, name);
  CHECK_MSG (attn_safetensors_open (path, &file, &error) == ATTN_OK, "%s", error.message);
  CHECK_MSG (number (file, "version", 0) == atoi (GOLDEN_VERSION), "%s: run tests/golden/sdpa.py", path);
  relative_error = golden_error (file);
  attn_safetensors_close (file);
  printf ("# %s: %.2g\n", name, relative_error);
  CHECK_MSG (relative_error < TOLERANCE, "%s: %g, not below %g", name, relative_error, TOLERANCE);
}

#define GOLDEN(test, name) \
  TEST (test)              \
  {                        \
    check_golden (name);   \
  }

GOLDEN (torch_batches_and_heads, "plain")
GOLDEN (torch_cross_attention, "cross")
GOLDEN (torch_grouped_queries, "grouped")
GOLDEN (torch_causal_with_more_keys, "causal")
GOLDEN (torch_window_to_both_sides, "window")
GOLDEN (torch_bool_mask_for_all_heads, "bool-mask")
GOLDEN (torch_float_mask_for_all_queries, "float-mask")
GOLDEN (torch_softcap, "softcap")
GOLDEN (torch_softcap_before_the_mask, "softcap-float-mask")

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (any_shape_and_mask_is_within_the_derived_bound_of_float64);
  RUN (rows_of_weights_sum_to_1_or_are_0);
  RUN (every_row_of_kernels_gives_the_same_bits);
  RUN (frames_under_a_band_equal_forward_to_the_bit);
  RUN (any_layer_is_projections_around_sdpa_to_the_bit);
  RUN (causal_diagonal_ends_at_the_last_key);
  RUN (windows_are_counted_from_the_diagonal);
  RUN (query_that_attends_to_nothing_gives_0);
  RUN (no_keys_give_0_and_no_queries_give_nothing);
  RUN (finite_mask_is_added_however_large_and_nan_is_kept);
  RUN (denormals_count_as_zero_and_nan_is_the_one);
  RUN (out_or_weights_alone_are_the_same_as_both);
  RUN (callers_float_mode_is_ignored_and_restored_by_sdpa);
  RUN (sizes_out_of_range_are_refused);
  RUN (mask_sizes_that_do_not_broadcast_are_refused);
  RUN (options_out_of_range_are_refused);
  RUN (missing_tensors_are_refused);
  RUN (sizes_beyond_memory_are_a_status);
  RUN (torch_batches_and_heads);
  RUN (torch_cross_attention);
  RUN (torch_grouped_queries);
  RUN (torch_causal_with_more_keys);
  RUN (torch_window_to_both_sides);
  RUN (torch_bool_mask_for_all_heads);
  RUN (torch_float_mask_for_all_queries);
  RUN (torch_softcap);
  RUN (torch_softcap_before_the_mask);
  return check_done ();
}
