/*
 * attn_sdpa () as the operator Attention of ONNX: the scores that it stores, the types of its tensors, and the
 * precisions of its softmax.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "check.h"
#include "sdpa.h"

#define N_RANDOM random_rounds (4000) /* shapes */

/* ---- softcap and scores ---- */

/* Query 1 on keys 1, 2, 4, 8: products 1, 2, 4, 8. The last is masked out, the second gets a bias. */
static AttnSdpa
four_scores (float *scores, AttnScores stage)
{
  static const float query[1] = { 1 }, key[4] = { 1, 2, 4, 8 }, mask[4] = { 0, -3, 0, -INFINITY };
  AttnSdpa s = uniform (1, 4, NULL);

  s.query = query;
  s.key = key;
  s.float_mask = mask;
  s.scale = 1;
  s.scores = scores;
  s.scores_stage = stage;
  return s;
}

static bool
near (const float *values, const double *expected, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (values[i] != expected[i] && !(fabs (values[i] - expected[i]) <= 16 * UNIT * fabs (expected[i])))
      return false;
  return true;
}

TEST (product_is_raw_for_every_key_also_with_softcap)
{
  const double expected[4] = { 1, 2, 4, 8 };
  float scores[4];
  AttnSdpa s = four_scores (scores, ATTN_SCORES_PRODUCT);

  s.softcap = 5;
  s.is_causal = 1;
  s.query_offset = 0;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && near (scores, expected, 4));
}

TEST (capped_scores_are_before_the_mask)
{
  const double expected[4] = { 5 * tanh (0.2), 5 * tanh (0.4), 5 * tanh (0.8), 5 * tanh (1.6) };
  const double uncapped[4] = { 1, 2, 4, 8 };
  float scores[4];
  AttnSdpa s = four_scores (scores, ATTN_SCORES_CAPPED);

  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && near (scores, uncapped, 4));
  s.softcap = 5;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && near (scores, expected, 4));
}

TEST (masked_scores_are_after_softcap_mask_and_window)
{
  const double expected[4] = { 5 * tanh (0.2), 5 * tanh (0.4) - 3, 5 * tanh (0.8), -INFINITY };
  const double causal[4] = { 5 * tanh (0.2), 5 * tanh (0.4) - 3, -INFINITY, -INFINITY };
  float scores[4];
  AttnSdpa s = four_scores (scores, ATTN_SCORES_MASKED);

  s.softcap = 5;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && near (scores, expected, 4));
  s.is_causal = 1;
  s.query_offset = 1;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && near (scores, causal, 4));
  s.is_causal = 0;
  s.right_window = 0;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && near (scores, causal, 4));
}

TEST (masked_scores_hold_the_mask_however_large)
{
  static const float mask[4] = { -3.4e38f, 3.4e38f, -1e30f, 0 };
  const double expected[4] = { -3.4e38f, 3.4e38f, -1e30f, 8 };
  float scores[4];
  AttnSdpa s = four_scores (scores, ATTN_SCORES_MASKED);

  s.float_mask = mask;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && near (scores, expected, 4));
}

TEST (stored_scores_hold_no_denormal_and_the_one_nan)
{
  static const float query[1] = { 1e-20f }, key[3] = { 1e-19f, -NAN, 1 };
  const uint32_t the_nan = 0x7fc00000;

  for (uint32_t stage = ATTN_SCORES_PRODUCT; stage <= ATTN_SCORES_MASKED; stage++) {
    float scores[3];
    AttnSdpa s = uniform (1, 3, NULL);

    s.query = query;
    s.key = key;
    s.scores = scores;
    s.scores_stage = stage;
    CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
    CHECK (scores[0] == 0 && memcmp (&scores[1], &the_nan, 4) == 0 && fabsf (scores[2] - 1e-20f) < 1e-26f);
  }
}

/* After the mask, a softcap would give the masked key - whose value is a million - the score -softcap. */
TEST (softcap_comes_before_the_mask)
{
  static const float query[1] = { 0 }, key[2] = { 0, 0 }, value[2] = { 1, 1e6f }, mask[2] = { 0, -INFINITY };
  float out[1], weights[2];
  AttnSdpa s = uniform (1, 2, weights);

  s.query = query;
  s.key = key;
  s.value = value;
  s.out = out;
  s.float_mask = mask;
  s.softcap = 0.5;
  CHECK (attended (&s, "10"));
  CHECK (out[0] == 1 && weights[0] == 1);
}

/* ---- types ---- */

/* The float32 problem with the same values, without any rounding. */
static Problem
float32_of (const Problem *p)
{
  Problem f = { .s = p->s, .n_query = p->n_query, .n_key = p->n_key, .n_value = p->n_value, .n_out = p->n_out };
  void **tensors[] = { &f.query, &f.key, &f.value, &f.float_mask };
  const void *halves[] = { p->query, p->key, p->value, p->float_mask };
  const size_t n[] = { p->n_query, p->n_key, p->n_value, p->float_mask != NULL ? p->n_mask : 0 };

  for (size_t t = 0; t < 4; t++) {
    *tensors[t] = tensor_new (ATTN_TYPE_F32, n[t]);
    for (size_t i = 0; i < n[t]; i++)
      tensor_set (ATTN_TYPE_F32, *tensors[t], i,
                  (float) tensor_at (t == 2 ? value_type (&p->s) : p->s.type, halves[t], i));
  }
  f.s.query = f.query;
  f.s.key = f.key;
  f.s.value = f.value;
  f.s.float_mask = p->float_mask != NULL ? f.float_mask : NULL;
  f.s.type = f.s.value_type = ATTN_TYPE_F32;
  f.s.out = f.out = tensor_new (ATTN_TYPE_F32, p->n_out);
  f.s.weights = f.weights = tensor_new (ATTN_TYPE_F32, p->n_weights);
  f.s.scores = f.scores = tensor_new (ATTN_TYPE_F32, p->n_weights);
  return f;
}

/* Whether halves are the float32 values, rounded. */
static bool
is_rounded (uint32_t type, const void *halves, const float *values, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    uint16_t expected;

    tensor_set (type, &expected, 0, values[i]);
    if (((const uint16_t *) halves)[i] != expected)
      return false;
  }
  return true;
}

static void
check_rounding (uint32_t type, uint32_t values)
{
  for (int round = 0; round < random_rounds (200); round++) {
    Problem p = { .s = random_description () }, f;
    bool right;

    p.s.type = type;
    p.s.value_type = values;
    p.s.scores_stage = random_between (ATTN_SCORES_PRODUCT, ATTN_SCORES_MASKED);
    allocate_tensors (&p);
    add_random_masks (&p);
    p.s.scores = p.scores = tensor_new (type, p.n_weights);
    f = float32_of (&p);
    right = attn_sdpa (&p.s, NULL) == ATTN_OK && attn_sdpa (&f.s, NULL) == ATTN_OK
            && is_rounded (type, p.out, f.out, p.n_out) && is_rounded (type, p.weights, f.weights, p.n_weights)
            && is_rounded (type, p.scores, f.scores, p.n_weights);
    problem_clear (&p);
    problem_clear (&f);
    CHECK_MSG (right, "round %d", round);
  }
}

TEST (float16_outputs_are_those_of_float32_rounded_once)
{
  check_rounding (ATTN_TYPE_F16, ATTN_TYPE_DEFAULT);
}

TEST (bfloat16_outputs_are_those_of_float32_rounded_once)
{
  check_rounding (ATTN_TYPE_BF16, ATTN_TYPE_DEFAULT);
}

TEST (values_may_have_a_type_of_their_own)
{
  check_rounding (ATTN_TYPE_F16, ATTN_TYPE_F32);
  if (!check_failed)
    check_rounding (ATTN_TYPE_BF16, ATTN_TYPE_F16);
}

/* The mean of two neighbours in float16 is a tie. */
TEST (float16_ties_go_to_even)
{
  uint16_t value[2] = { 0x3c01, 0x3c02 }, out[1], zero[2] = { 0, 0 };
  AttnSdpa s = uniform (1, 2, NULL);

  s.type = ATTN_TYPE_F16;
  s.query = s.key = zero;
  s.value = value;
  s.out = out;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && out[0] == 0x3c02);
  value[0] = 0x3c00;
  value[1] = 0x3c01;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && out[0] == 0x3c00);
}

/* 300 * 300 is beyond 65504: infinite where it is stored, but not where the softmax reads it. */
TEST (float16_scores_overflow_where_they_are_stored_alone)
{
  const uint16_t query[1] = { 0x5cb0 }, key[2] = { 0x5cb0, 0 }, value[2] = { 0x3c00, 0x4000 }; /* 300; 300, 0; 1, 2 */
  uint16_t out[1], scores[2];
  AttnSdpa s = uniform (1, 2, NULL);

  s.type = ATTN_TYPE_F16;
  s.query = query;
  s.key = key;
  s.value = value;
  s.out = out;
  s.scores = scores;
  s.scale = 1;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK && out[0] == 0x3c00 && scores[0] == 0x7c00 && scores[1] == 0);
}

/* ---- the precision of the softmax ---- */

TEST (softmax_type_float32_changes_no_bit)
{
  for (int round = 0; round < random_rounds (100); round++) {
    Problem p = random_problem ();
    void *out = tensor_new (ATTN_TYPE_F32, p.n_out);
    bool equal = attn_sdpa (&p.s, NULL) == ATTN_OK;

    p.s.out = out;
    p.s.softmax_type = ATTN_TYPE_F32;
    equal = equal && attn_sdpa (&p.s, NULL) == ATTN_OK && same_bits (out, p.out, p.n_out);
    free (out);
    problem_clear (&p);
    CHECK_MSG (equal, "round %d", round);
  }
}

/* The float32 scores 10.003 and 0 become 10 and 0 in float16; the weights are rounded as well. */
static void
check_softmax_rounding (AttnType type, double score)
{
  const float query[1] = { 1 }, key[2] = { 10.003f, 0 }, value[2] = { 1, 0 };
  float weights[2], out[1], expected[2];
  AttnSdpa s = uniform (1, 2, weights);

  tensor_set (type, expected, 0, (float) (1 / (1 + exp (-score))));
  tensor_set (type, expected, 1, (float) (1 / (1 + exp (score))));
  s.query = query;
  s.key = key;
  s.value = value;
  s.out = out;
  s.scale = 1;
  s.softmax_type = type;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
  CHECK_MSG (weights[0] == tensor_at (type, expected, 0) && weights[1] == tensor_at (type, expected, 1), "%a %a",
             weights[0], weights[1]);
  CHECK (out[0] == weights[0]); /* the value is multiplied by the rounded weight */
}

TEST (softmax_type_float16_rounds_scores_and_weights)
{
  check_softmax_rounding (ATTN_TYPE_F16, 10);
}

TEST (softmax_type_bfloat16_rounds_scores_and_weights)
{
  check_softmax_rounding (ATTN_TYPE_BF16, 10);
}

TEST (score_that_float16_cannot_hold_is_not_attended_to)
{
  static const float masks[2][2] = { { 0, -1e5f }, { -1e5f, -1e5f } };
  float weights[2];
  AttnSdpa s = uniform (1, 2, weights);

  s.softmax_type = ATTN_TYPE_F16;
  s.float_mask = masks[0];
  CHECK (attended (&s, "10"));
  s.float_mask = masks[1];
  CHECK (attended (&s, "00"));
  s.softmax_type = ATTN_TYPE_F32;
  CHECK (attended (&s, "11"));
}

/* With 1 / log2 (e) as the scale the scores are exact on the scale of powers of two; long double is the reference. */
TEST (softmax_type_float64_rounds_each_weight_once)
{
  const double ln_2 = 0.69314718055994530942;

  for (int round = 0; round < random_rounds (300); round++) {
    float query[1] = { 1 }, key[50], value[50] = { 0 }, weights[50];
    AttnSdpa s = uniform (1, random_between (1, 50), weights);
    long double sum = 0;

    random_fill (key, s.n_keys, round % 3 == 0 ? 100 : 20);
    s.query = query;
    s.key = key;
    s.value = value;
    s.scale = ln_2;
    s.softmax_type = ATTN_TYPE_F64;
    CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
    for (size_t j = 0; j < s.n_keys; j++)
      sum += exp2l (key[j]);
    for (size_t j = 0; j < s.n_keys; j++) {
      double exact = (double) (exp2l (key[j]) / sum);

      CHECK_MSG (fabs (weights[j] - exact) <= fmax (1.0000001 * UNIT * exact, FLUSHED), "key %zu of %u: %a for %a", j,
                 s.n_keys, weights[j], exact);
    }
  }
}

TEST (softmax_type_float64_keeps_nan_in_its_row)
{
  const float query[2] = { NAN, 1 }, key[2] = { 1, 2 }, value[2] = { 1, 1 };
  float out[2], weights[4];
  AttnSdpa s = uniform (2, 2, weights);

  s.query = query;
  s.key = key;
  s.value = value;
  s.out = out;
  s.softmax_type = ATTN_TYPE_F64;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
  CHECK (weights[0] != weights[0] && out[0] != out[0] && weights[2] < weights[3] && fabsf (out[1] - 1) < 2 * UNIT);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (product_is_raw_for_every_key_also_with_softcap);
  RUN (capped_scores_are_before_the_mask);
  RUN (masked_scores_are_after_softcap_mask_and_window);
  RUN (masked_scores_hold_the_mask_however_large);
  RUN (stored_scores_hold_no_denormal_and_the_one_nan);
  RUN (softcap_comes_before_the_mask);
  RUN (float16_outputs_are_those_of_float32_rounded_once);
  RUN (bfloat16_outputs_are_those_of_float32_rounded_once);
  RUN (values_may_have_a_type_of_their_own);
  RUN (float16_ties_go_to_even);
  RUN (float16_scores_overflow_where_they_are_stored_alone);
  RUN (softmax_type_float32_changes_no_bit);
  RUN (softmax_type_float16_rounds_scores_and_weights);
  RUN (softmax_type_bfloat16_rounds_scores_and_weights);
  RUN (score_that_float16_cannot_hold_is_not_attended_to);
  RUN (softmax_type_float64_rounds_each_weight_once);
  RUN (softmax_type_float64_keeps_nan_in_its_row);
  return check_done ();
}
