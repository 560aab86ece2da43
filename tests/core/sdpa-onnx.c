/*
 * attn_sdpa () as the operator Attention of ONNX, opsets 23 to 25, rule by rule, from the text of the specification
 * (https://onnx.ai/onnx/operators/onnx__Attention.html). Whole cases are in tests/golden/onnx.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include "check.h"
#include "kernels/machine.h"
#include "sdpa.h"

#define N_RANDOM random_rounds (4000) /* shapes against the definition */

/* ---- any description ---- */

TEST (any_description_is_within_the_derived_bound_of_float64)
{
  for (int i = 0; i < N_RANDOM; i++) {
    uint64_t state = random_state;
    Problem p;
    AttnError error = { 0 };
    AttnStatus status;
    long wrong;

    random_onnx_problem (&p);
    status = attn_sdpa (&p.s, &error);
    wrong = status == ATTN_OK ? first_wrong_row (&p.s) : 0;
    problem_clear (&p);
    CHECK_MSG (wrong < 0, "shape %d, state %llu, row %ld, %s", i, (unsigned long long) state, wrong, error.message);
  }
}

TEST (what_else_is_asked_for_changes_no_bit)
{
  for (int i = 0; i < random_rounds (300); i++) {
    Problem p;
    void *out;
    bool equal;

    random_onnx_problem (&p);
    out = tensor_new (p.s.type, p.n_out);
    equal = attn_sdpa (&p.s, NULL) == ATTN_OK;
    p.s.out = out;
    p.s.weights = p.s.scores = p.s.present_key = p.s.present_value = NULL;
    equal = equal && attn_sdpa (&p.s, NULL) == ATTN_OK
            && (p.n_out == 0 || memcmp (out, p.out, p.n_out * type_size (p.s.type)) == 0);
    free (out);
    problem_clear (&p);
    CHECK_MSG (equal, "round %d", i);
  }
}

TEST (every_row_of_kernels_gives_the_same_bits_for_any_description)
{
  for (int i = 0; i < random_rounds (200); i++) {
    Problem p;
    void *expected;
    bool equal = true, runs;

    random_onnx_problem (&p);
    MUST (attn_sdpa (&p.s, NULL));
    expected = tensor_new (p.s.type, p.n_out);
    memcpy (expected, p.out, p.n_out * type_size (p.s.type));
    for (size_t row = 0; attn_kernels_row (row, &runs) != NULL; row++) {
      if (!runs)
        continue;
      setenv ("ATTN_CPU", attn_kernels_row (row, &runs)->name, 1);
      equal =
          equal && attn_sdpa (&p.s, NULL) == ATTN_OK && memcmp (expected, p.out, p.n_out * type_size (p.s.type)) == 0;
    }
    unsetenv ("ATTN_CPU");
    free (expected);
    problem_clear (&p);
    CHECK_MSG (equal, "round %d", i);
  }
}

/* ---- past and present ---- */

/* Compares the bits of present [.., N, width] with those of the past and new tensors, row by row. */
static bool
is_present (const AttnSdpa *s, const void *present, const void *past, const void *added, uint32_t type, size_t width)
{
  size_t bytes = width * type_size (type);

  for (size_t b = 0; b < s->n_batches; b++)
    for (size_t h = 0; h < s->n_kv_heads; h++)
      for (size_t j = 0; j < n_total (s); j++) {
        const size_t at[3] = { b, h, j }, past_at[3] = { b, h, j }, new_at[3] = { b, h, j - s->n_past };
        bool is_past = j < s->n_past;
        size_t from = is_past ? element (0, s->n_kv_heads, s->n_past, bytes, past_at, 0)
                              : element (s->layout, s->n_kv_heads, s->n_keys, bytes, new_at, 0);

        if (memcmp ((const char *) present + element (0, s->n_kv_heads, n_total (s), bytes, at, 0),
                    (const char *) (is_past ? past : added) + from, bytes)
            != 0)
          return false;
      }
  return true;
}

TEST (presents_are_past_and_new_rows_bit_for_bit)
{
  for (int i = 0; i < random_rounds (300); i++) {
    Problem p;
    bool right;

    random_onnx_problem (&p);
    right = attn_sdpa (&p.s, NULL) == ATTN_OK;
    if (p.present_key != NULL)
      right = right && is_present (&p.s, p.present_key, p.past_key, p.key, p.s.type, p.s.dk)
              && is_present (&p.s, p.present_value, p.past_value, p.value, value_type (&p.s), p.s.dv);
    problem_clear (&p);
    CHECK_MSG (right, "round %d", i);
  }
}

TEST (presents_alone_may_be_asked_for_and_keep_every_bit)
{
  const uint32_t key[3] = { 0x7f812345, 0x00000001, 0xff800000 }, value[3] = { 0xffc00001, 0x80000001, 0 };
  uint32_t present_key[3] = { 0 }, present_value[3] = { 0 };
  AttnSdpa s = attn_sdpa_default ();

  s.past_key = &key[0];
  s.past_value = &value[0];
  s.key = &key[1];
  s.value = &value[1];
  s.present_key = present_key;
  s.present_value = present_value;
  s.n_past = 1;
  s.n_keys = 2;
  s.dk = 1;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
  CHECK (same_bits (key, present_key, 3) && same_bits (value, present_value, 3));
}

/* Two tokens of a sequence at a time, with the presents of one step as the past of the next: the whole, to the bit. */
TEST (decoding_step_by_step_equals_the_whole_sequence_to_the_bit)
{
  enum { n = 34, dk = 5, step = 2 };
  float query[n * dk], key[n * dk], value[n * dk], whole[n * dk], out[n * dk], cache[4][n * dk];
  AttnSdpa s = attn_sdpa_default ();

  random_fill (query, n * dk, 2);
  random_fill (key, n * dk, 2);
  random_fill (value, n * dk, 2);
  s.query = query;
  s.key = key;
  s.value = value;
  s.out = whole;
  s.n_queries = s.n_keys = n;
  s.dk = dk;
  s.is_causal = 1;
  s.left_window = 20;
  s.query_offset = 0;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
  s.n_queries = s.n_keys = step;
  for (uint32_t t = 0; t < n; t += step) {
    int now = t / step % 2 * 2, before = 2 - now;

    s.query = query + t * dk;
    s.key = key + t * dk;
    s.value = value + t * dk;
    s.out = out + t * dk;
    s.past_key = cache[before];
    s.past_value = cache[before + 1];
    s.present_key = cache[now];
    s.present_value = cache[now + 1];
    s.n_past = t;
    s.query_offset = t;
    CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
  }
  CHECK (same_bits (whole, out, n * dk));
  CHECK (same_bits (key, s.present_key, n * dk) && same_bits (value, s.present_value, n * dk));
}

/* ---- which query attends to which key ---- */

/* As in ONNX: the queries stand behind the past. */
static void
add_past (AttnSdpa *uniform, uint32_t n_past)
{
  uniform->past_key = uniform->past_value = uniform->key;
  uniform->n_past = n_past;
  uniform->query_offset = n_past;
}

TEST (causal_without_a_past_begins_at_the_first_key)
{
  float weights[64];
  AttnSdpa s = uniform (2, 4, weights);

  s.is_causal = 1;
  s.query_offset = 0;
  CHECK (attended (&s, "1000 1100"));
  s = uniform (4, 2, weights);
  s.is_causal = 1;
  s.query_offset = 0;
  CHECK (attended (&s, "10 11 11 11"));
}

TEST (causal_with_a_past_begins_behind_it)
{
  float weights[64];
  AttnSdpa s = uniform (2, 2, weights);

  add_past (&s, 3);
  s.is_causal = 1;
  CHECK (attended (&s, "11110 11111"));
  s = uniform (2, 4, weights); /* more new keys than queries: the last of them are the future */
  add_past (&s, 1);
  s.is_causal = 1;
  CHECK (attended (&s, "11000 11100"));
}

TEST (window_with_a_past_is_counted_from_the_place_of_the_query)
{
  float weights[64];
  AttnSdpa s = uniform (2, 3, weights);

  add_past (&s, 3);
  s.left_window = 2;
  CHECK (attended (&s, "011111 001111"));
  s.right_window = 1;
  CHECK (attended (&s, "011110 001111"));
  s.is_causal = 1; /* its upper bound still excludes future keys */
  CHECK (attended (&s, "011100 001110"));
  s.left_window = 0;
  CHECK (attended (&s, "000100 000010"));
}

/* The picture of opset 25. */
TEST (window_to_both_sides_is_that_of_the_specification)
{
  float weights[64];
  AttnSdpa s = uniform (4, 6, weights);

  s.left_window = 2;
  s.right_window = 1;
  s.query_offset = 0;
  CHECK (attended (&s, "110000 111000 111100 011110"));
}

/* The pictures of opset 24. */
TEST (padding_moves_the_causal_diagonal)
{
  static const int64_t n_valid[] = { 4, 8 };
  float weights[64];
  AttnSdpa s = uniform (4, 8, weights);

  s.n_batches = 2;
  s.n_valid_keys = n_valid;
  s.is_causal = 1;
  CHECK (attended (&s, "10000000 11000000 11100000 11110000 11111000 11111100 11111110 11111111"));
}

TEST (padding_moves_the_window)
{
  static const int64_t n_valid[] = { 4, 5 };
  float weights[64];
  AttnSdpa s = uniform (2, 6, weights);

  s.n_batches = 2;
  s.n_valid_keys = n_valid;
  s.left_window = 1;
  CHECK (attended (&s, "011100 001100 001110 000110"));
}

TEST (more_queries_than_valid_keys_leave_the_first_without_any)
{
  static const int64_t n_valid[] = { 2 };
  float weights[64];
  AttnSdpa s = uniform (4, 4, weights);

  s.n_valid_keys = n_valid;
  s.is_causal = 1;
  CHECK (attended (&s, "0000 0000 1000 1100"));
}

TEST (padding_is_never_attended_to_whatever_it_holds)
{
  static const int64_t n_valid[] = { 2, 0 };
  const float query[2] = { 1, 1 }, key[8] = { 0, 0, NAN, INFINITY, NAN }, value[8] = { 1, 3, NAN, INFINITY, NAN };
  float out[2], weights[8];
  AttnSdpa s = uniform (1, 4, weights);

  s.query = query;
  s.key = key;
  s.value = value;
  s.out = out;
  s.n_batches = 2;
  s.n_valid_keys = n_valid;
  CHECK (attended (&s, "1100 0000"));
  CHECK (out[0] == 2 && out[1] == 0);
}

/* ---- masks ---- */

TEST (mask_of_three_dimensions_is_heads_queries_keys)
{
  /* [2][1][2]: with two batches of two heads, the first dimension could be taken for the batches */
  static const uint8_t mask[] = { 1, 0, 0, 1 };
  float weights[8];
  AttnSdpa s = uniform (1, 2, weights);

  s.n_batches = s.n_heads = 2;
  s.bool_mask = mask;
  s.mask_batches = 1;
  s.mask_heads = 2;
  CHECK (attended (&s, "10 01 10 01"));
}

TEST (mask_of_one_dimension_holds_for_all)
{
  static const uint8_t mask[] = { 1, 0, 1 };
  float weights[24];
  AttnSdpa s = uniform (2, 3, weights);

  s.n_batches = s.n_heads = 2;
  s.bool_mask = mask;
  s.mask_queries = 1;
  CHECK (attended (&s, "101 101 101 101 101 101 101 101"));
}

TEST (mask_of_four_dimensions_differs_by_batch_and_broadcasts_over_heads)
{
  static const float mask[] = { 0, -INFINITY, -INFINITY, 0 };
  float weights[8];
  AttnSdpa s = uniform (1, 2, weights);

  s.n_batches = s.n_heads = 2;
  s.float_mask = mask;
  s.mask_batches = 2;
  CHECK (attended (&s, "10 10 01 01"));
}

TEST (short_mask_ends_with_minus_infinity)
{
  static const uint8_t bits[] = { 0, 1, 1, 1 };
  static const float biases[] = { -INFINITY, 0, 0, 0 };
  float weights[8];
  AttnSdpa s = uniform (2, 4, weights);

  s.bool_mask = bits;
  s.mask_keys = 2;
  s.pad_mask = 1;
  CHECK (attended (&s, "0100 1100"));
  s.bool_mask = NULL;
  s.float_mask = biases;
  CHECK (attended (&s, "0100 1100"));
}

TEST (mask_of_one_key_is_short_or_broadcasts)
{
  static const uint8_t mask[] = { 1, 1 };
  float weights[8];
  AttnSdpa s = uniform (2, 4, weights);

  s.bool_mask = mask;
  s.mask_keys = 1;
  CHECK (attended (&s, "1111 1111")); /* opset 23 */
  s.pad_mask = 1;
  CHECK (attended (&s, "1000 1000")); /* from 24 on */
}

TEST (mask_is_composed_with_causal_window_and_past)
{
  static const uint8_t mask[] = { 1, 0, 1, 1, 1, 1, 1, 0 };
  float weights[8];
  AttnSdpa s = uniform (2, 2, weights);

  s.bool_mask = mask;
  add_past (&s, 2);
  s.is_causal = 1;
  CHECK (attended (&s, "1010 1110"));
  s.left_window = 1;
  CHECK (attended (&s, "0010 0010"));
}

TEST (empty_row_is_0_in_every_type)
{
  static const uint8_t mask[] = { 0, 0, 1, 1 };
  static const uint32_t types[] = { ATTN_TYPE_F32, ATTN_TYPE_F16, ATTN_TYPE_BF16 };
  static const uint32_t softmax_types[] = { ATTN_TYPE_DEFAULT, ATTN_TYPE_F32, ATTN_TYPE_F16, ATTN_TYPE_F64,
                                            ATTN_TYPE_BF16 };

  for (size_t t = 0; t < 3; t++)
    for (size_t u = 0; u < 5; u++) {
      AttnSdpa s = uniform (2, 2, NULL);
      float weights[4], out[2];

      memset (weights, 0x55, sizeof weights);
      memset (out, 0x55, sizeof out);
      s.weights = weights;
      s.out = out;
      s.bool_mask = mask;
      s.type = types[t];
      s.softmax_type = softmax_types[u];
      CHECK (attn_sdpa (&s, NULL) == ATTN_OK && tensor_at (s.type, out, 0) == 0);
      CHECK (tensor_at (s.type, weights, 0) == 0 && tensor_at (s.type, weights, 1) == 0);
      CHECK (tensor_at (s.type, weights, 2) == 0.5 && tensor_at (s.type, weights, 3) == 0.5);
    }
}

/* ---- heads ---- */

TEST (neighbouring_heads_share_a_key_value_head)
{
  const float value[2] = { 3, 5 };
  float out[4], weights[4];
  AttnSdpa s = uniform (1, 1, weights);

  s.value = value;
  s.out = out;
  s.n_heads = 4;
  s.n_kv_heads = 2;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
  CHECK (out[0] == 3 && out[1] == 3 && out[2] == 5 && out[3] == 5);
  s.layout = ATTN_LAYOUT_HEADS_INSIDE;
  CHECK (attn_sdpa (&s, NULL) == ATTN_OK);
  CHECK (out[0] == 3 && out[1] == 3 && out[2] == 5 && out[3] == 5);
}

/* ---- refusals ---- */

TEST (past_and_present_come_in_pairs)
{
  static float a[512];

  REFUSED (s.past_key = a, ATTN_ERROR_CONFIG, "past_value is NULL", "past_key");
  REFUSED (s.past_value = a, ATTN_ERROR_CONFIG, "past_key is NULL", "past_value");
  REFUSED (s.present_key = a, ATTN_ERROR_CONFIG, "present_value is NULL", "present_key");
  REFUSED (s.present_value = a, ATTN_ERROR_CONFIG, "present_key is NULL", "present_value");
  REFUSED (s.n_past = 7, ATTN_ERROR_CONFIG, "past_key is NULL", "2 x 2 x 7 x 2");
  REFUSED ((s.n_past = 7, s.past_key = a, s.dv = 3), ATTN_ERROR_CONFIG, "past_value is NULL", "2 x 2 x 7 x 3");
  REFUSED ((s.n_past = UINT32_MAX - 4, s.past_key = s.past_value = a), ATTN_ERROR_MEMORY, "4294967291", "5");
}

TEST (padding_goes_without_past_and_present)
{
  static const int64_t n_valid[2] = { 5, 5 };
  static float a[512];

  REFUSED ((s.n_valid_keys = n_valid, s.n_past = 1, s.past_key = s.past_value = a), ATTN_ERROR_CONFIG, "n_valid_keys",
           "past_key");
  REFUSED ((s.n_valid_keys = n_valid, s.present_key = s.present_value = a), ATTN_ERROR_CONFIG, "n_valid_keys",
           "present_key");
}

TEST (more_valid_keys_than_keys_are_refused)
{
  static const int64_t too_many[2] = { 5, 6 }, negative[2] = { -1, 5 };

  REFUSED (s.n_valid_keys = too_many, ATTN_ERROR_CONFIG, "n_valid_keys[1] is 6", "n_keys is 5");
  REFUSED (s.n_valid_keys = negative, ATTN_ERROR_CONFIG, "n_valid_keys[0] is -1", "0");
}

TEST (mask_that_ends_before_the_valid_keys_is_refused)
{
  static const int64_t n_valid[2] = { 2, 4 };
  static const uint8_t mask[64];

  REFUSED ((s.bool_mask = mask, s.pad_mask = 1, s.mask_keys = 6), ATTN_ERROR_CONFIG, "mask_keys is 6", "n_keys is 5");
  REFUSED ((s.bool_mask = mask, s.pad_mask = 1, s.mask_keys = 3, s.n_valid_keys = n_valid), ATTN_ERROR_CONFIG,
           "mask_keys is 3", "n_valid_keys[1] is 4");
}

TEST (choices_that_do_not_exist_are_refused)
{
  REFUSED (s.type = 9, ATTN_ERROR_CONFIG, "type is 9", "float16");
  REFUSED (s.type = ATTN_TYPE_F64, ATTN_ERROR_CONFIG, "type is 11", "float16");
  REFUSED (s.value_type = 2, ATTN_ERROR_CONFIG, "value_type is 2", "bfloat16");
  REFUSED (s.softmax_type = 7, ATTN_ERROR_CONFIG, "softmax_type is 7", "float64");
  REFUSED (s.scores_stage = 3, ATTN_ERROR_CONFIG, "scores_stage is 3", "masked");
  REFUSED (s.pad_mask = 2, ATTN_ERROR_CONFIG, "pad_mask is 2", "0 or 1");
  REFUSED (s.query_offset = INT64_C (1) << 33, ATTN_ERROR_CONFIG, "query_offset is 8589934592", "2^32");
  REFUSED (s.query_offset = INT64_MIN, ATTN_ERROR_CONFIG, "query_offset is -9223372036854775808", "2^32");
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (any_description_is_within_the_derived_bound_of_float64);
  RUN (what_else_is_asked_for_changes_no_bit);
  RUN (every_row_of_kernels_gives_the_same_bits_for_any_description);
  RUN (presents_are_past_and_new_rows_bit_for_bit);
  RUN (presents_alone_may_be_asked_for_and_keep_every_bit);
  RUN (decoding_step_by_step_equals_the_whole_sequence_to_the_bit);
  RUN (causal_without_a_past_begins_at_the_first_key);
  RUN (causal_with_a_past_begins_behind_it);
  RUN (window_with_a_past_is_counted_from_the_place_of_the_query);
  RUN (window_to_both_sides_is_that_of_the_specification);
  RUN (padding_moves_the_causal_diagonal);
  RUN (padding_moves_the_window);
  RUN (more_queries_than_valid_keys_leave_the_first_without_any);
  RUN (padding_is_never_attended_to_whatever_it_holds);
  RUN (mask_of_three_dimensions_is_heads_queries_keys);
  RUN (mask_of_one_dimension_holds_for_all);
  RUN (mask_of_four_dimensions_differs_by_batch_and_broadcasts_over_heads);
  RUN (short_mask_ends_with_minus_infinity);
  RUN (mask_of_one_key_is_short_or_broadcasts);
  RUN (mask_is_composed_with_causal_window_and_past);
  RUN (empty_row_is_0_in_every_type);
  RUN (neighbouring_heads_share_a_key_value_head);
  RUN (past_and_present_come_in_pairs);
  RUN (padding_goes_without_past_and_present);
  RUN (more_valid_keys_than_keys_are_refused);
  RUN (mask_that_ends_before_the_valid_keys_is_refused);
  RUN (choices_that_do_not_exist_are_refused);
  return check_done ();
}
