/*
 * Every kernel of every instruction set against plain C, bit for bit, at every length around the unrolls; plain C
 * against float64; guard bands around what is written.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <math.h>
#include <stdlib.h>

#include "alloc.h"
#include "check.h"
#include "kernels.h"
#include "random.h"

#define GUARD 32 /* floats on either side of an output */
#define GUARD_BITS 0x7fabcdefu

static const size_t lengths[] = { 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 96, 127, 130 };
#define N_LENGTHS (sizeof lengths / sizeof lengths[0])

/* An output array between two guard bands. */
typedef struct {
  float *memory, *values;
  size_t n;
} Guarded;

static Guarded
guarded (size_t n)
{
  const uint32_t bits = GUARD_BITS;
  Guarded g = { .memory = attn_alloc ((n + 2 * GUARD) * sizeof (float)), .n = n };

  for (size_t i = 0; i < n + 2 * GUARD; i++)
    memcpy (&g.memory[i], &bits, sizeof bits);
  g.values = g.memory + GUARD;
  return g;
}

static bool
guards_hold (const Guarded *g)
{
  const uint32_t bits = GUARD_BITS;

  for (size_t i = 0; i < GUARD; i++)
    if (memcmp (&g->memory[i], &bits, 4) != 0 || memcmp (&g->values[g->n + i], &bits, 4) != 0)
      return false;
  return true;
}

static bool
same_and_guarded (Guarded *expected, Guarded *got)
{
  bool same = memcmp (expected->values, got->values, got->n * sizeof (float)) == 0 && guards_hold (got);

  attn_free (expected->memory);
  attn_free (got->memory);
  return same;
}

static float *
random_values (size_t n, float amplitude)
{
  float *values = attn_alloc (n * sizeof *values);

  random_fill (values, n, amplitude);
  return values;
}

/* Numbers that break comparisons: zeros of both signs, denormals, infinities, NaNs of several kinds. */
static void
sprinkle (float *values, size_t n)
{
  static const uint32_t bits[] = { 0,          0x80000000, 1,          0x807fffff, 0x00800000,
                                   0x7f800000, 0xff800000, 0x7fc00000, 0xffc01234, 0x7f800001 };

  for (size_t i = random_between (0, 3); i < n; i += random_between (1, 9))
    memcpy (&values[i], &bits[random_between (0, 9)], sizeof values[i]);
}

#define FOR_EACH_ROW(kernels)              \
  for (size_t row_ = 0; row_ < 16; row_++) \
    for (const AttnKernels *kernels = runnable_row (row_); kernels != NULL; kernels = NULL)

static const AttnKernels *
runnable_row (size_t i)
{
  bool runs;
  const AttnKernels *kernels = attn_kernels_row (i, &runs);

  return kernels != NULL && runs ? kernels : NULL;
}

TEST (scale_equals_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (size_t l = 0; l < N_LENGTHS; l++) {
    size_t n = lengths[l];
    float *in = random_values (n, 1), factor = random_float (2);
    Guarded expected = guarded (n), got = guarded (n);

    sprinkle (in, n);
    attn_kernels_c.scale (expected.values, in, factor, n);
    kernels->scale (got.values, in, factor, n);
    attn_free (in);
    CHECK_MSG (same_and_guarded (&expected, &got), "%s, %zu values", kernels->name, n);
  }
}

TEST (scale_cleans_denormals_and_nans)
{
  static const uint32_t in_bits[] = { 1,          0x807fffff, 0x80000000, 0x7f800001,
                                      0xffc01234, 0x7f800000, 0x00800000, 0x3f800000 };
  static const uint32_t out_bits[] = { 0, 0, 0, 0x7fc00000, 0x7fc00000, 0x7f800000, 0x00800000, 0x3f800000 };
  float in[8], out[8];

  memcpy (in, in_bits, sizeof in);
  attn_kernels_c.scale (out, in, 1, 8);
  CHECK (memcmp (out, out_bits, sizeof out) == 0);
}

static AttnProjection
random_projection (size_t n_outputs, size_t n_inputs)
{
  size_t n_padded = attn_round_up (n_outputs, ATTN_LANES);

  return (AttnProjection){ n_inputs, n_outputs, random_values (n_padded * n_inputs, 1), random_values (n_padded, 1) };
}

TEST (project_equals_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (size_t o = 0; o < N_LENGTHS; o++)
    for (size_t i = 0; i < N_LENGTHS; i++)
      for (size_t n_frames = 1; n_frames <= 17; n_frames = n_frames * 2 + 1) {
        AttnProjection projection = random_projection (lengths[o], lengths[i]);
        float *in = random_values (n_frames * lengths[i], 1);
        Guarded expected = guarded (n_frames * lengths[o]), got = guarded (n_frames * lengths[o]);

        if (random_between (0, 2) == 0)
          sprinkle (in, n_frames * lengths[i]);
        attn_kernels_c.project (expected.values, lengths[o], in, lengths[i], n_frames, &projection);
        kernels->project (got.values, lengths[o], in, lengths[i], n_frames, &projection);
        attn_free (in);
        attn_free (projection.weight);
        attn_free (projection.bias);
        CHECK_MSG (same_and_guarded (&expected, &got), "%s, %zu frames of %zu to %zu", kernels->name, n_frames,
                   lengths[i], lengths[o]);
      }
}

/* The order of design: one fma chain over the inputs, ascending, from the bias. */
TEST (project_is_one_fma_chain_from_the_bias)
{
  enum { inputs = 37, outputs = 21 };
  AttnProjection projection = random_projection (outputs, inputs);
  float *in = random_values (inputs, 1), out[outputs];

  attn_kernels_c.project (out, outputs, in, inputs, 1, &projection);
  for (size_t o = 0; o < outputs; o++) {
    float acc = projection.bias[o];

    for (size_t i = 0; i < inputs; i++)
      acc = fmaf (in[i], projection.weight[(o / ATTN_LANES * inputs + i) * ATTN_LANES + o % ATTN_LANES], acc);
    CHECK_MSG (out[o] == acc, "output %zu", o);
  }
  attn_free (in);
  attn_free (projection.weight);
  attn_free (projection.bias);
}

TEST (scores_equal_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (size_t d = 0; d < N_LENGTHS; d++)
    for (size_t n_tiles = 0; n_tiles < 10; n_tiles++) {
      size_t dk = lengths[d], n = n_tiles * ATTN_LANES;
      float *keys = random_values (n * dk + 1, 1), *query = random_values (dk, 1);
      Guarded expected = guarded (n), got = guarded (n);

      if (random_between (0, 2) == 0)
        sprinkle (keys, n * dk);
      attn_kernels_c.scores (expected.values, query, keys, dk, n_tiles);
      kernels->scores (got.values, query, keys, dk, n_tiles);
      for (size_t i = 0; i < n; i++) /* which NaN a score is nobody promises: softmax makes it the one */
        if (expected.values[i] != expected.values[i] && got.values[i] != got.values[i])
          got.values[i] = expected.values[i] = 0;
      attn_free (keys);
      attn_free (query);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, dk %zu, %zu tiles", kernels->name, dk, n_tiles);
    }
}

TEST (scores_are_one_fma_chain_from_zero)
{
  enum { dk = 37 };
  float *keys = random_values (ATTN_LANES * dk, 1), *query = random_values (dk, 1), out[ATTN_LANES];

  attn_kernels_c.scores (out, query, keys, dk, 1);
  for (size_t lane = 0; lane < ATTN_LANES; lane++) {
    float acc = 0;

    for (size_t d = 0; d < dk; d++)
      acc = fmaf (query[d], keys[d * ATTN_LANES + lane], acc);
    CHECK_MSG (out[lane] == acc, "lane %zu", lane);
  }
  attn_free (keys);
  attn_free (query);
}

static void
random_masks (uint16_t *masks, size_t n)
{
  for (size_t i = 0; i < n; i++)
    masks[i] = random_between (0, 2) == 0 ? 0xffff : random_between (0, 3) == 0 ? 0 : random_bits ();
}

TEST (softmax_equals_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (int round = 0; round < 200; round++) {
    size_t n_tiles = random_between (0, 20), n = n_tiles * ATTN_LANES;
    float *scores = random_values (n + 1, round % 3 ? 10 : 200), sum, expected_sum;
    Guarded expected = guarded (n), got = guarded (n);
    uint16_t masks[20];

    random_masks (masks, n_tiles);
    if (round % 5 == 0)
      sprinkle (scores, n);
    memcpy (expected.values, scores, n * sizeof *scores);
    memcpy (got.values, scores, n * sizeof *scores);
    attn_free (scores);
    expected_sum = attn_kernels_c.softmax (expected.values, masks, n_tiles);
    sum = kernels->softmax (got.values, masks, n_tiles);
    CHECK_MSG (same_and_guarded (&expected, &got), "%s, round %d, %zu tiles", kernels->name, round, n_tiles);
    CHECK_MSG (sum == expected_sum || (sum != sum && expected_sum != expected_sum), "%s, round %d: sum %a, not %a",
               kernels->name, round, sum, expected_sum);
  }
}

/* Many times: the sums of two orders are often equal by chance. */
TEST (softmax_sums_in_sixteen_lanes_and_a_tree)
{
  enum { n_tiles = 5 };
  uint16_t masks[n_tiles] = { 0xfff0, 0xffff, 0xabcd, 0xffff, 0x00ff };

  for (int round = 0; round < 100; round++) {
    float *scores = random_values (n_tiles * ATTN_LANES, 3), lanes[ATTN_LANES] = { 0 };
    float sum = attn_kernels_c.softmax (scores, masks, n_tiles);

    for (size_t i = 0; i < n_tiles * ATTN_LANES; i++)
      lanes[i % ATTN_LANES] += scores[i];
    for (int half = 8; half > 0; half /= 2)
      for (int i = 0; i < half; i++)
        lanes[i] = lanes[i] + lanes[i + half];
    attn_free (scores);
    CHECK_MSG (sum == lanes[0], "round %d: %a, not %a", round, sum, lanes[0]);
  }
}

TEST (softcap_equals_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (size_t n_tiles = 0; n_tiles < 20; n_tiles++)
    for (int round = 0; round < 10; round++) {
      size_t n = n_tiles * ATTN_LANES;
      float *scores = random_values (n + 1, round % 2 ? 2 : 200), cap = 1 + fabsf (random_float (50));
      Guarded expected = guarded (n), got = guarded (n);

      if (round % 3 == 0)
        sprinkle (scores, n);
      memcpy (expected.values, scores, n * sizeof *scores);
      memcpy (got.values, scores, n * sizeof *scores);
      attn_kernels_c.softcap (expected.values, 3 / cap, cap, n_tiles);
      kernels->softcap (got.values, 3 / cap, cap, n_tiles);
      for (size_t i = 0; i < n; i++) /* which NaN it is nobody promises */
        if (expected.values[i] != expected.values[i] && got.values[i] != got.values[i])
          got.values[i] = expected.values[i] = 0;
      attn_free (scores);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, %zu tiles", kernels->name, n_tiles);
    }
}

TEST (softcap_keeps_nan_sign_and_infinity)
{
  float scores[ATTN_LANES] = { NAN, INFINITY, -INFINITY, 0, -0.0f, 1e30f, -1e30f, 0x1p-100f, -0x1p-100f, 40, -40 };

  attn_kernels_c.softcap (scores, 0.25f, 8, 1);
  CHECK (scores[0] != scores[0]);
  CHECK (scores[1] == 8 && scores[2] == -8 && scores[5] == 8 && scores[6] == -8);
  CHECK (scores[3] == 0 && !signbit (scores[3]) && scores[4] == 0 && signbit (scores[4]));
  /* factor cap ln (2) / 2 is the slope in 0 */
  CHECK (fabs (scores[7] / (0x1p-100 * log (2)) - 1) < 1e-6 && scores[8] == -scores[7]);
  CHECK (scores[9] > 7.9f && scores[9] < 8 && scores[10] == -scores[9]);
}

/* cap tanh (x factor ln (2) / 2), factor 2 and cap 1, from 2^-60 up to where it is 1; every 61st float32. */
TEST (softcap_is_within_four_units_of_the_last_place)
{
  /*
   * In units of 2^-24 of 2^-y - 1: 1 for y (its rounding; the condition number is at most 1), 1/4 for the polynomial,
   * 1 + 1 for its last fma and the product with r, 1 for the last fma. Then 2 + e and the quotient, each 1, and the
   * product with cap, here exact: 7 units of 2^-24, at most 3.5 to 7 of the last place, were all worst at once.
   */
  const double bound = 4;
  double worst = 0;

  for (uint32_t bits = 0x21800000; bits < 0x42000000; bits += 61) {
    float scores[ATTN_LANES] = { 0 };
    double expected;

    memcpy (&scores[0], &bits, sizeof bits);
    expected = tanh (scores[0] * log (2));
    attn_kernels_c.softcap (scores, 2, 1, 1);
    worst = fmax (worst, fabs (scores[0] - expected) / ldexp (1, ilogb (expected) - 23));
    if (bits < 0x3c000000)
      bits += 6100; /* sparser where it is a straight line */
  }
  printf ("# largest error %.3f units in the last place\n", worst);
  CHECK (worst <= bound);
}

/* 2^x over 0 >= x > -128, every 61st float32, through the softmax of two scores of which the larger is 0. */
TEST (exponential_is_within_one_unit_of_the_last_place)
{
  /*
   * Half a unit for the last rounding, a quarter (half a unit times |r| <= 1/2) for the one before, an eighth (2^-27)
   * for the polynomial: 0.875, and the earlier roundings, each weighed with a higher power of r.
   */
  const double bound = 1;
  double worst = 0;

  for (uint32_t bits = 0x80000000; bits < 0xc3000000; bits += 61) {
    float scores[ATTN_LANES] = { 0 };
    uint16_t mask = 3;
    double expected, unit;

    memcpy (&scores[1], &bits, sizeof bits);
    expected = exp2 (scores[1]);
    attn_kernels_c.softmax (scores, &mask, 1);
    if (expected < 0x1p-126) {
      CHECK_MSG (scores[1] == 0, "2^%a gives %a", log2 (expected), scores[1]);
      continue;
    }
    unit = ldexp (1, ilogb (expected) - 23);
    worst = fmax (worst, fabs (scores[1] - expected) / unit);
    if (bits > 0xbf800000)
      bits += 610; /* sparser below -1 */
  }
  printf ("# largest error %.3f units in the last place\n", worst);
  CHECK (worst <= bound);
}

TEST (context_equals_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (size_t d = 0; d < N_LENGTHS; d++)
    for (size_t n_tiles = 0; n_tiles < 6; n_tiles++) {
      size_t dv = attn_round_up (lengths[d], ATTN_LANES), n = n_tiles * ATTN_LANES;
      float *values = random_values (n * dv + 1, 1), *weights = random_values (n + 1, 1),
            *start = random_values (dv, 1);
      Guarded expected = guarded (dv), got = guarded (dv);
      uint16_t masks[6];

      random_masks (masks, n_tiles);
      memcpy (expected.values, start, dv * sizeof *start);
      memcpy (got.values, start, dv * sizeof *start);
      attn_kernels_c.context (expected.values, weights, masks, values, dv, n_tiles);
      kernels->context (got.values, weights, masks, values, dv, n_tiles);
      attn_free (values);
      attn_free (weights);
      attn_free (start);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, dv %zu, %zu tiles", kernels->name, dv, n_tiles);
    }
}

TEST (context_never_touches_a_masked_frame)
{
  float values[ATTN_LANES * ATTN_LANES], weights[ATTN_LANES], out[ATTN_LANES] = { 0 };
  uint16_t mask = 0x8421;

  for (int i = 0; i < ATTN_LANES * ATTN_LANES; i++)
    values[i] = mask >> i / ATTN_LANES & 1 ? 1 : NAN;
  for (int i = 0; i < ATTN_LANES; i++)
    weights[i] = mask >> i & 1 ? 0.25f : 0;
  attn_kernels_c.context (out, weights, &mask, values, ATTN_LANES, 1);
  for (int i = 0; i < ATTN_LANES; i++)
    CHECK_MSG (out[i] == 1, "element %d is %g", i, out[i]);
}

TEST (rotate_equals_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (size_t l = 0; l < N_LENGTHS; l++)
    for (AttnRopeLayout layout = ATTN_ROPE_HALF; layout <= ATTN_ROPE_INTERLEAVED; layout++) {
      size_t n_pairs = lengths[l], n = 2 * n_pairs + 3; /* values behind the pairs are not touched */
      float *in = random_values (n, 1), *cosines = random_values (n_pairs, 1), *sines = random_values (n_pairs, 1);
      Guarded expected = guarded (n), got = guarded (n);

      if (random_between (0, 1) == 0)
        sprinkle (in, n);
      memcpy (expected.values, in, n * sizeof *in);
      memcpy (got.values, in, n * sizeof *in);
      attn_kernels_c.rotate (expected.values, cosines, sines, n_pairs, layout);
      kernels->rotate (got.values, cosines, sines, n_pairs, layout);
      CHECK_MSG (memcmp (got.values + 2 * n_pairs, in + 2 * n_pairs, 3 * sizeof *in) == 0, "%s, %zu pairs",
                 kernels->name, n_pairs);
      attn_free (in);
      attn_free (cosines);
      attn_free (sines);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, %zu pairs, layout %d", kernels->name, n_pairs, layout);
    }
}

TEST (rotate_rounds_the_product_with_the_cosine_first)
{
  enum { n_pairs = 19 };
  float *in = random_values (2 * n_pairs, 1), *c = random_values (n_pairs, 1), *s = random_values (n_pairs, 1);
  float half[2 * n_pairs], interleaved[2 * n_pairs];

  for (int i = 0; i < n_pairs; i++) {
    half[i] = interleaved[2 * i] = in[2 * i];
    half[i + n_pairs] = interleaved[2 * i + 1] = in[2 * i + 1];
  }
  attn_kernels_c.rotate (half, c, s, n_pairs, ATTN_ROPE_HALF);
  attn_kernels_c.rotate (interleaved, c, s, n_pairs, ATTN_ROPE_INTERLEAVED);
  for (int i = 0; i < n_pairs; i++) {
    float x = in[2 * i], y = in[2 * i + 1], xc = x * c[i], yc = y * c[i];

    CHECK_MSG (half[i] == fmaf (-y, s[i], xc) && half[i + n_pairs] == fmaf (x, s[i], yc), "pair %d", i);
    CHECK_MSG (half[i] == interleaved[2 * i] && half[i + n_pairs] == interleaved[2 * i + 1], "pair %d", i);
  }
  attn_free (in);
  attn_free (c);
  attn_free (s);
}

/* Biases begin anywhere in their table. */
TEST (add_biases_equals_plain_c_at_any_alignment)
{
  FOR_EACH_ROW (kernels)
  for (size_t n_tiles = 0; n_tiles < 10; n_tiles++)
    for (size_t offset = 0; offset < ATTN_LANES; offset++) {
      size_t n = n_tiles * ATTN_LANES;
      float *scores = random_values (n + 1, 3), *biases = random_values (n + ATTN_LANES, 3);
      Guarded expected = guarded (n), got = guarded (n);

      memcpy (expected.values, scores, n * sizeof *scores);
      memcpy (got.values, scores, n * sizeof *scores);
      attn_kernels_c.add_biases (expected.values, biases + offset, n_tiles);
      kernels->add_biases (got.values, biases + offset, n_tiles);
      for (size_t i = 0; i < n; i++)
        CHECK_MSG (got.values[i] == scores[i] + biases[offset + i], "%s, score %zu", kernels->name, i);
      attn_free (scores);
      attn_free (biases);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, %zu tiles, offset %zu", kernels->name, n_tiles, offset);
    }
}

TEST (environment_picks_a_row_or_refuses)
{
  AttnError error;
  const AttnKernels *best;

  unsetenv ("ATTN_CPU");
  best = attn_kernels_pick (&error);
  setenv ("ATTN_CPU", "c", 1);
  CHECK (attn_kernels_pick (&error) == &attn_kernels_c);
  setenv ("ATTN_CPU", "", 1);
  CHECK (attn_kernels_pick (&error) == best);
  setenv ("ATTN_CPU", "mmx", 1);
  CHECK (attn_kernels_pick (&error) == NULL);
  CHECK_MSG (strstr (error.message, "mmx") && strstr (error.message, best->name), "%s", error.message);
  unsetenv ("ATTN_CPU");
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  FOR_EACH_ROW (kernels)
  printf ("# kernels: %s\n", kernels->name);
  RUN (scale_equals_plain_c);
  RUN (scale_cleans_denormals_and_nans);
  RUN (project_equals_plain_c);
  RUN (project_is_one_fma_chain_from_the_bias);
  RUN (scores_equal_plain_c);
  RUN (scores_are_one_fma_chain_from_zero);
  RUN (softmax_equals_plain_c);
  RUN (softmax_sums_in_sixteen_lanes_and_a_tree);
  RUN (softcap_equals_plain_c);
  RUN (softcap_keeps_nan_sign_and_infinity);
  RUN (softcap_is_within_four_units_of_the_last_place);
  RUN (exponential_is_within_one_unit_of_the_last_place);
  RUN (context_equals_plain_c);
  RUN (context_never_touches_a_masked_frame);
  RUN (rotate_equals_plain_c);
  RUN (rotate_rounds_the_product_with_the_cosine_first);
  RUN (add_biases_equals_plain_c_at_any_alignment);
  RUN (environment_picks_a_row_or_refuses);
  return check_done ();
}
