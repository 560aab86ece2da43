/*
 * The plain operator attn_sdpa () against its definition in float64, with a derived bound of the error of each value;
 * against attn_forward (), to the bit; against PyTorch; and the errors about arguments that do not fit.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <fenv.h>

#include "check.h"
#include "golden-file.h"
#include "layers.h"
#include "sdpa.h"

#define N_RANDOM random_rounds (4000) /* shapes against the definition */
#define N_LAYERS random_rounds (2000) /* layers against attn_forward () */

static bool
is_zero (const float *values, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (values[i] != 0)
      return false;
  return true;
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
  for (int round = 0; round < random_rounds (300); round++) {
    Problem p = random_problem ();
    bool right = attn_sdpa (&p.s, NULL) == ATTN_OK;

    for (size_t row = 0; right && p.s.n_keys > 0 && row < p.n_weights / p.s.n_keys; row++) {
      const float *weights = (const float *) p.weights + row * p.s.n_keys;
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

  for (int round = 0; round < random_rounds (100); round++) {
    Problem p = random_problem ();
    float *expected = malloc ((p.n_out + 1) * sizeof (float));
    bool equal = true;

    MUST (attn_sdpa (&p.s, NULL));
    memcpy (expected, p.out, p.n_out * sizeof (float));
    for (size_t row = 0; attn_kernels_row (row, &runs) != NULL; row++) {
      if (!runs)
        continue;
      setenv ("ATTN_CPU", attn_kernels_row (row, &runs)->name, 1);
      MUST (attn_sdpa (&p.s, NULL));
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
        equal = attn_forward (layer, frames, NULL, n, 0, expected, NULL, NULL) == ATTN_OK
                && attn_sdpa (&s, NULL) == ATTN_OK && same_bits (expected, out, (size_t) n * D);
        attn_layer_free (layer);
        free (frames);
        free (expected);
        free (out);
        CHECK_MSG (equal, "%u heads, window %u, look-ahead %u, %u frames", heads, windows[w], look_aheads[a], n);
      }
}

/*
 * A float mask [n_heads][n][n]: -inf where a frame does not see another (window, look-ahead, sinks, absent frames),
 * else the bias of its position.
 */
static float *
layer_mask (const RandomLayer *r, const uint8_t *present, size_t n)
{
  const AttnSizes *sizes = &attn_layer_first (r->layer)->sizes;
  float *mask = malloc ((sizes->n_heads * n * n + 1) * sizeof *mask);

  for (size_t head = 0; head < sizes->n_heads; head++)
    for (size_t t = 0; t < n; t++)
      for (size_t j = 0; j < n; j++)
        mask[(head * n + t) * n + j] = present[j] && reference_attends (sizes, t, j)
                                           ? (float) reference_bias (sizes, r->model, head, t, j)
                                           : -INFINITY;
  return mask;
}

/* out [n][n_copies][n_outputs] of a projection; the identity makes as many copies. */
static void
project (const AttnLayer *layer, const AttnProjection *projection, size_t n_copies, float *out, const float *in,
         size_t n)
{
  size_t width = projection->n_inputs;

  if (projection->weight != NULL)
    layer->machine.kernels->project (out, projection->n_outputs, in, width, n, projection);
  for (size_t i = 0; i < n * n_copies && projection->weight == NULL; i++)
    memcpy (out + i * width, in + i / n_copies * width, width * sizeof *out);
}

/* The queries, keys and values of n frames, as projections, norms and RoPE make them and the window holds them. */
typedef struct {
  float *query, *key, *value, *mask;
} LayerInputs;

static LayerInputs
layer_inputs (const RandomLayer *r, const float *frames, const uint8_t *present, size_t n)
{
  const AttnSizes *sizes = &attn_layer_first (r->layer)->sizes;
  float *projected = calloc (n * sizes->n_projected, sizeof (float)), cosines[64], sines[64];
  LayerInputs in = { calloc (n * sizes->n_query, sizeof (float)), calloc (n * sizes->n_key, sizeof (float)),
                     calloc (n * sizes->n_value, sizeof (float)), layer_mask (r, present, n) };

  project (r->layer, &attn_layer_first (r->layer)->input, 3, projected, frames, n);
  for (size_t t = 0; t < n; t++) {
    float *row = projected + t * sizes->n_projected;

    if (sizes->qk_norm != ATTN_QK_NORM_NONE) {
      attn_kernels_c.norm (row, row, sizes->n_heads, &attn_layer_first (r->layer)->query_norm);
      attn_kernels_c.norm (row + sizes->n_query, row + sizes->n_query, sizes->n_kv_heads,
                           &attn_layer_first (r->layer)->key_norm);
    }
    if (sizes->position == ATTN_POSITION_ROPE)
      attn_rope_angles (attn_layer_first (r->layer)->positions.turns, sizes->n_rope_pairs, t, cosines, sines);
    for (size_t head = 0; head < sizes->n_heads + sizes->n_kv_heads && sizes->position == ATTN_POSITION_ROPE; head++)
      attn_kernels_c.rotate (row + head * sizes->dk, cosines, sines, sizes->n_rope_pairs, sizes->rope_layout);
    memcpy (in.query + t * sizes->n_query, row, sizes->n_query * sizeof *row);
    memcpy (in.key + t * sizes->n_key, row + sizes->n_query, sizes->n_key * sizeof *row);
    memcpy (in.value + t * sizes->n_value, row + sizes->n_query + sizes->n_key, sizes->n_value * sizeof *row);
  }
  store_in (sizes->precision, in.key, n * sizes->n_key);
  store_in (sizes->precision, in.value, n * sizes->n_value);
  free (projected);
  return in;
}

static void
layer_inputs_clear (LayerInputs *in)
{
  free (in->query);
  free (in->key);
  free (in->value);
  free (in->mask);
}

/* out [n][n_outputs] and weights [n_heads][n][n] of the layer by projections and attn_sdpa (). */
static bool
layer_by_sdpa (const RandomLayer *r, const LayerInputs *in, const uint8_t *present, size_t n, float *out,
               float *weights)
{
  const AttnSizes *sizes = &attn_layer_first (r->layer)->sizes;
  float *context = calloc (n * sizes->n_context, sizeof (float));
  AttnSdpa s = attn_sdpa_default ();
  bool done;

  s.query = in->query;
  s.key = in->key;
  s.value = in->value;
  s.float_mask = in->mask;
  s.mask_heads = sizes->n_heads;
  s.out = context;
  s.weights = weights;
  s.n_heads = sizes->n_heads;
  s.n_kv_heads = sizes->n_kv_heads;
  s.n_queries = s.n_keys = n;
  s.dk = sizes->dk;
  s.dv = sizes->dv;
  s.layout = ATTN_LAYOUT_HEADS_INSIDE;
  s.scale = r->config.scale;
  s.softcap = r->config.softcap;
  done = attn_sdpa (&s, NULL) == ATTN_OK;
  project (r->layer, &attn_layer_first (r->layer)->output, 1, out, context, n);
  for (size_t t = 0; t < n; t++)
    if (!present[t])
      memset (out + t * sizes->n_outputs, 0, sizes->n_outputs * sizeof *out);
  free (context);
  return done;
}

static double
vector_length (const float *values, size_t n)
{
  double sum = 0;

  for (size_t i = 0; i < n; i++)
    sum += (double) values[i] * values[i];
  return sqrt (sum);
}

/* The largest magnitude of a score, in powers of two: by Cauchy and Schwarz, plus the bias of its position. */
static double
largest_score (const RandomLayer *r, const LayerInputs *in, size_t n)
{
  const AttnSizes *sizes = &attn_layer_first (r->layer)->sizes;
  double query = 0, key = 0, bias = 0;

  for (size_t i = 0; i < n * sizes->n_query; i += sizes->dk)
    query = fmax (query, vector_length (in->query + i, sizes->dk));
  for (size_t i = 0; i < n * sizes->n_key; i += sizes->dk)
    key = fmax (key, vector_length (in->key + i, sizes->dk));
  for (size_t i = 0; i < sizes->n_heads * n * n; i++)
    bias = isinf (in->mask[i]) ? bias : fmax (bias, fabs (in->mask[i]));
  return ATTN_LOG2_E * (random_layer_scale (r) * query * key + bias);
}

/*
 * The layer keeps a bias times log2 (e), rounded, and adds it; the operator does so by one fma: four roundings of the
 * largest score between them, in the score and in the one it is compared with; a few more in each weight.
 */
static bool
same_weights (const RandomLayer *r, const LayerInputs *in, const uint8_t *present, size_t n, const float *of_layer,
              const float *of_sdpa)
{
  const AttnSizes *sizes = &attn_layer_first (r->layer)->sizes;
  double relative = exp2 (2 * 4 * UNIT * largest_score (r, in, n)) - 1 + 16 * UNIT;

  for (size_t t = 0; t < n; t++)
    for (size_t head = 0; head < sizes->n_heads && present[t]; head++)
      for (size_t j = 0; j < n; j++) {
        const float *row = of_layer + (t * sizes->n_heads + head) * sizes->span;
        double a = reference_attends (sizes, t, j) ? row[reference_slot (sizes, t, j)] : 0;
        double b = of_sdpa[(head * n + t) * n + j];

        if (!(fabs (a - b) <= relative * fmax (a, b) + 0x1p-125))
          return false;
      }
  return true;
}

/* With a bias the weights are within rounding, and all else is the same to the bit. */
TEST (any_layer_is_projections_around_sdpa)
{
  for (int i = 0; i < N_LAYERS; i++) {
    RandomLayer r = random_layer ();
    const AttnSizes *sizes = &attn_layer_first (r.layer)->sizes;
    size_t n = random_between (1, 80), n_out = n * sizes->n_outputs;
    float *frames = malloc (sizeof (float) * n * sizes->n_features);
    float *expected = malloc (sizeof (float) * n_out), *out = malloc (sizeof (float) * n_out);
    float *of_layer = malloc (sizeof (float) * n * sizes->n_heads * sizes->span);
    float *of_sdpa = malloc (sizeof (float) * n * sizes->n_heads * n);
    uint8_t present[80];
    LayerInputs in;
    bool same;

    random_fill (frames, n * sizes->n_features, 2);
    for (size_t t = 0; t < n; t++)
      present[t] = random_between (0, 4) != 0;
    in = layer_inputs (&r, frames, present, n);
    same = attn_forward (r.layer, frames, present, n, 0, expected, of_layer, NULL) == ATTN_OK
           && layer_by_sdpa (&r, &in, present, n, out, of_sdpa) && same_weights (&r, &in, present, n, of_layer, of_sdpa)
           && (attn_layer_first (r.layer)->positions.biases != NULL || same_bits (expected, out, n_out));
    layer_inputs_clear (&in);
    free (frames);
    free (expected);
    free (out);
    free (of_layer);
    free (of_sdpa);
    random_layer_clear (&r);
    CHECK_MSG (same, "layer %d", i);
  }
}

/* ---- known answers ---- */

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

TEST (value_between_two_keys_that_are_attended_to_never_counts)
{
  static const uint8_t mask[] = { 1, 0, 1 };
  const float forbidden[] = { NAN, INFINITY, -INFINITY };
  float out[2], weights[6];

  for (size_t i = 0; i < 3; i++) {
    const float value[3] = { 1, forbidden[i], 3 };
    AttnSdpa s = uniform (2, 3, weights);

    s.value = value;
    s.out = out;
    s.bool_mask = mask;
    s.mask_queries = 1;
    CHECK (attended (&s, "101 101"));
    CHECK (out[0] == 2 && out[1] == 2);
  }
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

/* Going through batches, heads and queries for outputs without values would take minutes or years, or gigabytes. */
TEST (empty_tensors_cost_nothing_however_many_they_are)
{
  float nothing[1] = { 9 };
  AttnSdpa s = attn_sdpa_default (), t;

  s.dk = 1;
  s.n_batches = UINT32_MAX;
  s.n_heads = ATTN_MAX_FEATURES;
  s.query = s.key = s.value = s.out = s.weights = s.scores = nothing;
  s.past_key = s.past_value = s.present_key = s.present_value = nothing;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
  t = s; /* queries, which are not read, but no keys, and no output is wanted that has values */
  t.n_batches = 1;
  t.n_heads = 1;
  t.n_queries = 1u << 28;
  t.out = NULL;
  CHECK (attn_sdpa (&t, NULL) == ATTN_OK);
  t = s; /* keys, but no batch */
  t.n_batches = 0;
  t.n_keys = UINT32_MAX;
  CHECK (attn_sdpa (&t, NULL) == ATTN_OK);
  CHECK (nothing[0] == 9);
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

/*
 * On the scale of powers of two (with this scale the query's factor is 1) a key's score is the mask's product but for
 * its rounding. One fma leaves this rest; after a rounded product it would be 0.
 */
TEST (float_mask_is_added_by_one_fma)
{
  const float log2_e = 0x1.715476p0f, mask[2] = { 1000001, 0 }, query[1] = { 1 };
  const float key[2] = { -(mask[0] * log2_e), 0 };
  double left = (double) mask[0] * log2_e + key[0];
  float weights[2];
  AttnSdpa s = uniform (1, 2, weights);

  s.query = query;
  s.key = key;
  s.float_mask = mask;
  s.scale = 0.69314718055994530942;
  CHECK (fabs (left) > 0.01);
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
  CHECK_MSG (fabs (weights[0] - 1 / (1 + exp2 (-left))) < 4 * UNIT, "%a", weights[0]);
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

  MUST (attn_sdpa (&p.s, NULL));
  memcpy (expected, p.out, p.n_out * sizeof (float));
  fesetround (FE_UPWARD);
  MUST (attn_sdpa (&p.s, NULL));
  after = fegetround ();
  fesetround (FE_TONEAREST);
  equal = same_bits (expected, p.out, p.n_out);
  free (expected);
  problem_clear (&p);
  CHECK (after == FE_UPWARD && equal);
}

/* ---- refusals ---- */

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
  REFUSED (s.reserved[5] = 3, ATTN_ERROR_CONFIG, "reserved field 5", "3");
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
  REFUSED (s.out = NULL, ATTN_ERROR_CONFIG, "out, weights, scores and presents", "NULL");
}

TEST (sizes_beyond_memory_are_a_status)
{
  static float weights[1], mask[1];
  /*
   * Where a size has 32 bits, the tensors that are checked first are too large as well, unless they are made smaller.
   */
  const bool is_wide = sizeof (size_t) > 4;
  const uint32_t n_batches = is_wide ? UINT32_MAX : 1, n_tokens = is_wide ? 1u << 31 : 1u << 16;
  char tokens[32];

  snprintf (tokens, sizeof tokens, "%u x %u", n_tokens, n_tokens);
  REFUSED ((s.n_batches = s.n_queries = UINT32_MAX), ATTN_ERROR_MEMORY, "query would be", "4294967295 x 4");
  REFUSED ((s.n_batches = n_batches, s.n_queries = 1, s.n_keys = UINT32_MAX), ATTN_ERROR_MEMORY, "key would be",
           "2 x 4294967295");
  REFUSED ((s.weights = weights, s.n_batches = is_wide ? 65536 : 1, s.n_queries = s.n_keys = n_tokens),
           ATTN_ERROR_MEMORY, "weights would be", tokens);
  REFUSED ((s.float_mask = mask, s.mask_batches = s.mask_heads = 0, s.n_batches = is_wide ? 1u << 10 : 1,
            s.n_queries = s.n_keys = n_tokens),
           ATTN_ERROR_MEMORY, "float_mask would be", tokens);
  if (!is_wide)
    return; /* any size that can be given there can be allocated */
  /* One head of 65536 dimensions over 2^32 keys can be asked for, but not allocated: 2^50 bytes. */
  REFUSED ((s.n_batches = s.n_queries = 1, s.n_keys = UINT32_MAX, s.dk = s.dv = 65536), ATTN_ERROR_MEMORY,
           "out of memory", "one head");
}

/* ---- against PyTorch ---- */

/* Largest error relative to the largest output, as in tests/core/golden.c. */
#define TOLERANCE 2e-6
#define GOLDEN_VERSION "1"

static float *
read_tensor (AttnSafetensors *file, const char *name, size_t *n)
{
  AttnTensor tensor;
  float *values = golden_tensor (file, name, &tensor);

  *n = tensor.n_elements;
  return values;
}

static void
read_mask (AttnSafetensors *file, Problem *p)
{
  AttnSdpa *s = &p->s;
  const char *bool_sizes = attn_safetensors_metadata (file, "bool-mask");
  const char *sizes = bool_sizes != NULL ? bool_sizes : attn_safetensors_metadata (file, "float-mask");
  const float *mask;

  if (sizes == NULL)
    return;
  sscanf (sizes, "%u %u %u %u", &s->mask_batches, &s->mask_heads, &s->mask_queries, &s->mask_keys);
  mask = p->float_mask = read_tensor (file, "mask", &p->n_mask);
  if (bool_sizes == NULL) {
    s->float_mask = mask;
    return;
  }
  s->bool_mask = p->bool_mask = malloc (p->n_mask);
  for (size_t i = 0; i < p->n_mask; i++)
    p->bool_mask[i] = mask[i] != 0;
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
  s->is_causal = golden_number (file, "causal", 0);
  s->left_window = golden_number (file, "left", ATTN_UNLIMITED);
  s->right_window = golden_number (file, "right", ATTN_UNLIMITED);
  s->scale = golden_number (file, "scale", 0);
  s->softcap = golden_number (file, "softcap", 0);
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
    double difference = fabs (tensor_at (ATTN_TYPE_F32, p.out, i) - expected[i]);

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
  CHECK_MSG (golden_number (file, "version", 0) == atoi (GOLDEN_VERSION), "%s: run tests/golden/sdpa.py", path);
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
  RUN (any_layer_is_projections_around_sdpa);
  RUN (causal_diagonal_ends_at_the_last_key);
  RUN (windows_are_counted_from_the_diagonal);
  RUN (query_that_attends_to_nothing_gives_0);
  RUN (value_between_two_keys_that_are_attended_to_never_counts);
  RUN (no_keys_give_0_and_no_queries_give_nothing);
  RUN (empty_tensors_cost_nothing_however_many_they_are);
  RUN (finite_mask_is_added_however_large_and_nan_is_kept);
  RUN (float_mask_is_added_by_one_fma);
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
