/*
 * The kernels over rows of scores - scores, softcap, softmax, contexts - of every instruction set against plain C, bit
 * for bit, at every length around the unrolls; plain C against float64.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "guarded.h"

#define MAX_ROWS 17
#define MAX_TILES 21
#define N_SLOTS (MAX_TILES + 3)

/* Rows over tiles in any order, some of them masked; with masks and keys of their own, or shared ones. */
typedef struct {
  AttnRows rows;
  uint32_t slots[MAX_TILES];
  uint16_t finite[N_SLOTS], masks[MAX_ROWS * MAX_TILES];
  float reciprocals[MAX_ROWS];
} Rows;

static void
random_masks (uint16_t *masks, size_t n)
{
  for (size_t i = 0; i < n; i++)
    masks[i] = random_between (0, 2) == 0 ? 0xffff : random_between (0, 3) == 0 ? 0 : random_bits ();
}

static void
random_rows (Rows *r, size_t n_rows, size_t n_tiles, AttnPrecision precision)
{
  size_t first = random_between (0, N_SLOTS - 1), gap = random_between (0, 9) == 0 ? 0 : n_tiles * ATTN_LANES;

  *r = (Rows){ .rows = { .n_rows = n_rows, .n_tiles = n_tiles, .precision = precision } };
  r->rows.is_far = random_between (0, 1);
  for (size_t i = 0; i < n_tiles; i++)
    r->slots[i] = (first + i) % N_SLOTS;
  memset (r->finite, 0xff, sizeof r->finite);
  random_masks (r->masks, n_rows * n_tiles);
  r->rows.slots = r->slots;
  r->rows.finite = r->finite;
  r->rows.masks = r->masks;
  r->rows.mask_stride = random_between (0, 1) ? n_tiles : 0;
  r->rows.score_stride = n_tiles * ATTN_LANES + (gap ? random_between (0, 5) : 0);
  r->rows.reciprocals = r->reciprocals;
}

/* The same rows with scores of their own. */
static AttnRows
with_scores (const Rows *r, float *scores, float *reciprocals)
{
  AttnRows rows = r->rows;

  rows.scores = scores;
  rows.reciprocals = reciprocals;
  return rows;
}

/* A NaN score may be any NaN: softmax makes it 0x7fc00000. */
static void
forget_nans (float *expected, float *got, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (expected[i] != expected[i] && got[i] != got[i])
      got[i] = expected[i] = 0;
}

TEST (scores_equal_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (size_t d = 0; d < N_LENGTHS; d++)
    for (size_t n_tiles = 0; n_tiles <= MAX_TILES; n_tiles++) {
      size_t dk = lengths[d], n_rows = random_between (1, MAX_ROWS), own = random_between (0, 1), n;
      AttnPrecision precision = random_between (0, 2);
      size_t n_stored = N_SLOTS * attn_stored_rows (dk, precision) * ATTN_LANES, key_stride = own ? n_stored : 0;
      void *keys = random_stored ((own ? n_rows : 1) * n_stored, precision, d % 3 == 0);
      float *queries = random_values (n_rows * (dk + 3), 1);
      Guarded expected, got;
      AttnRows rows;
      Rows r;

      random_rows (&r, n_rows, n_tiles, precision);
      n = n_rows * r.rows.score_stride;
      expected = guarded (n);
      got = guarded (n);
      rows = with_scores (&r, expected.values, r.reciprocals);
      attn_kernels_c.scores (&rows, queries, dk + 3, keys, key_stride, dk);
      rows.scores = got.values;
      kernels->scores (&rows, queries, dk + 3, keys, key_stride, dk);
      forget_nans (expected.values, got.values, n);
      attn_free (keys);
      attn_free (queries);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, precision %d, dk %zu, %zu rows of %zu tiles", kernels->name,
                 precision, dk, n_rows, n_tiles);
    }
}

TEST (scores_are_one_fma_chain_from_the_guard)
{
  enum { dk = 37 };
  float *keys = random_values (ATTN_LANES * dk, 1e-25f), *query = random_values (dk, 1), out[ATTN_LANES];
  const uint32_t slot = 0;
  AttnRows rows = { .n_rows = 1, .n_tiles = 1, .slots = &slot, .scores = out };

  attn_kernels_c.scores (&rows, query, 0, keys, 0, dk);
  for (size_t lane = 0; lane < ATTN_LANES; lane++) {
    float acc = ATTN_GUARD;

    for (size_t d = 0; d < dk; d++)
      acc = fmaf (query[d], keys[d * ATTN_LANES + lane], acc);
    CHECK_MSG (out[lane] == acc, "lane %zu", lane);
  }
  attn_free (keys);
  attn_free (query);
}

TEST (softmax_equals_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (int round = 0; round < 300; round++) {
    size_t n_tiles = random_between (0, MAX_TILES), n_rows = random_between (1, MAX_ROWS), n;
    float expected_reciprocals[MAX_ROWS], *scores;
    Guarded expected, got;
    AttnRows rows;
    Rows r;

    random_rows (&r, n_rows, n_tiles, ATTN_PRECISION_F32);
    n = n_rows * r.rows.score_stride;
    scores = random_values (n + 1, round % 3 ? 10 : 200);
    if (round % 5 == 0)
      sprinkle (scores, n);
    expected = guarded (n);
    got = guarded (n);
    memcpy (expected.values, scores, n * sizeof *scores);
    memcpy (got.values, scores, n * sizeof *scores);
    attn_free (scores);
    rows = with_scores (&r, expected.values, expected_reciprocals);
    attn_kernels_c.softmax (&rows);
    rows = with_scores (&r, got.values, r.reciprocals);
    kernels->softmax (&rows);
    forget_nans (expected_reciprocals, r.reciprocals, n_rows);
    CHECK_MSG (same_and_guarded (&expected, &got), "%s, round %d, %zu rows of %zu tiles", kernels->name, round, n_rows,
               n_tiles);
    CHECK_MSG (memcmp (expected_reciprocals, r.reciprocals, n_rows * sizeof (float)) == 0, "%s, round %d",
               kernels->name, round);
  }
}

/* Plain C over one row of tiles. */
static float
softmax_of (float *scores, const uint16_t *masks, size_t n_tiles)
{
  float reciprocal;
  AttnRows rows = { .n_rows = 1, .n_tiles = n_tiles, .masks = masks, .scores = scores, .reciprocals = &reciprocal };

  attn_kernels_c.softmax (&rows);
  return reciprocal;
}

/* Many times: the sums of two orders are often equal by chance. */
TEST (softmax_sums_in_sixteen_lanes_and_a_tree)
{
  enum { n_tiles = 5 };
  uint16_t masks[n_tiles] = { 0xfff0, 0xffff, 0xabcd, 0xffff, 0x00ff };

  for (int round = 0; round < 100; round++) {
    float *scores = random_values (n_tiles * ATTN_LANES, 3), lanes[ATTN_LANES] = { 0 };
    float reciprocal = softmax_of (scores, masks, n_tiles);

    for (size_t i = 0; i < n_tiles * ATTN_LANES; i++)
      lanes[i % ATTN_LANES] += scores[i];
    for (int half = 8; half > 0; half /= 2)
      for (int i = 0; i < half; i++)
        lanes[i] = lanes[i] + lanes[i + half];
    attn_free (scores);
    CHECK_MSG (reciprocal == 1 / lanes[0], "round %d: %a, not %a", round, reciprocal, 1 / lanes[0]);
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
      for (size_t i = 0; i < n; i++) /* it may be any NaN */
        if (expected.values[i] != expected.values[i] && got.values[i] != got.values[i])
          got.values[i] = expected.values[i] = 0;
      attn_free (scores);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, %zu tiles", kernels->name, n_tiles);
    }
}

/* The guard comes and goes with the scores. */
TEST (softcap_keeps_nan_sign_and_infinity)
{
  float scores[ATTN_LANES] = { NAN, INFINITY, -INFINITY, 0, -0.0f, 1e30f, -1e30f, 0x1p-100f, -0x1p-100f, 40, -40 };

  for (size_t i = 0; i < ATTN_LANES; i++)
    scores[i] += ATTN_GUARD;
  attn_kernels_c.softcap (scores, 0.25f, 8, 1);
  for (size_t i = 0; i < ATTN_LANES; i++)
    scores[i] -= ATTN_GUARD;
  CHECK (scores[0] != scores[0]);
  CHECK (scores[1] == 8 && scores[2] == -8 && scores[5] == 8 && scores[6] == -8);
  CHECK (scores[3] == 0 && scores[4] == 0);
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

  for (uint32_t bits = 0x21800000; bits < 0x42000000; bits += 61 * random_step (100)) {
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

  for (uint32_t bits = 0x80000000; bits < 0xc3000000; bits += 61 * random_step (100)) {
    float scores[ATTN_LANES] = { 0 };
    uint16_t mask = 3;
    double expected, unit;

    memcpy (&scores[1], &bits, sizeof bits);
    expected = exp2 (scores[1]);
    softmax_of (scores, &mask, 1);
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

/* Values that are not finite stand in some frames, attended to or not; `finite` says so. */
static void
put_odd_values (Rows *r, void *values, size_t n_heads, size_t width)
{
  for (size_t slot = 0; slot < N_SLOTS; slot += random_between (1, 5)) {
    size_t frame = random_between (0, ATTN_LANES - 1), head = random_between (0, n_heads - 1);
    size_t at = ((head * N_SLOTS + slot) * ATTN_LANES + frame) * width + random_between (0, width - 1);

    if (r->rows.precision == ATTN_PRECISION_F32)
      ((float *) values)[at] = random_between (0, 1) ? NAN : -INFINITY;
    else
      ((uint16_t *) values)[at] = random_between (0, 1) ? 0x7fc0 : 0xff80; /* of bf16; in f16 NaN */
    r->finite[slot] &= ~(1u << frame);
  }
}

/* The weights of softmax: between 0 and 1, 0 where a frame is masked. */
static float *
random_weights (const Rows *r)
{
  float *weights = random_values (r->rows.n_rows * r->rows.score_stride + 1, 1);

  for (size_t row = 0; row < r->rows.n_rows; row++)
    for (size_t i = 0; i < r->rows.n_tiles * ATTN_LANES; i++) {
      bool attended = r->masks[row * r->rows.mask_stride + i / ATTN_LANES] >> i % ATTN_LANES & 1;
      float *weight = &weights[row * r->rows.score_stride + i];

      *weight = attended ? fabsf (*weight) : 0;
    }
  return weights;
}

TEST (context_equals_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (size_t d = 0; d < N_LENGTHS; d++)
    for (size_t n_tiles = 0; n_tiles <= MAX_TILES; n_tiles++) {
      size_t dv = lengths[d], n_rows = random_between (1, MAX_ROWS);
      size_t own = random_between (0, 1), n_heads = own ? n_rows : 1, stride = dv + random_between (0, 3);
      size_t value_stride = own ? N_SLOTS * ATTN_LANES * dv : 0;
      AttnPrecision precision = random_between (0, 2);
      void *values =
          random_stored (n_heads * N_SLOTS * ATTN_LANES * dv + ATTN_VALUES_SLACK / sizeof (float), precision, false);
      Guarded expected = guarded (n_rows * stride), got = guarded (n_rows * stride);
      Rows r;

      random_rows (&r, n_rows, n_tiles, precision);
      if (n_tiles % 3 == 0)
        put_odd_values (&r, values, n_heads, dv);
      r.rows.scores = random_weights (&r);
      random_fill (r.reciprocals, n_rows, 2);
      attn_kernels_c.context (&r.rows, expected.values, stride, values, value_stride, dv);
      kernels->context (&r.rows, got.values, stride, values, value_stride, dv);
      attn_free (values);
      attn_free (r.rows.scores);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, precision %d, dv %zu, %zu rows of %zu tiles", kernels->name,
                 precision, dv, n_rows, n_tiles);
    }
}

TEST (context_never_touches_a_masked_frame)
{
  FOR_EACH_ROW (kernels)
  {
    float values[ATTN_LANES * ATTN_LANES], weights[ATTN_LANES], out[ATTN_LANES], reciprocal = 1;
    uint16_t mask = 0x8421;
    const uint32_t slot = 0;
    AttnRows rows = { 1, 1, &slot, &mask, &mask, 0, weights, 0, &reciprocal };

    for (int i = 0; i < ATTN_LANES * ATTN_LANES; i++)
      values[i] = mask >> i / ATTN_LANES & 1 ? 1 : NAN;
    for (int i = 0; i < ATTN_LANES; i++)
      weights[i] = mask >> i & 1 ? 0.25f : 0;
    kernels->context (&rows, out, 0, values, 0, ATTN_LANES);
    for (int i = 0; i < ATTN_LANES; i++)
      CHECK_MSG (out[i] == 1, "%s: element %d is %g", kernels->name, i, out[i]);
  }
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (scores_equal_plain_c);
  RUN (scores_are_one_fma_chain_from_the_guard);
  RUN (softmax_equals_plain_c);
  RUN (softmax_sums_in_sixteen_lanes_and_a_tree);
  RUN (softcap_equals_plain_c);
  RUN (softcap_keeps_nan_sign_and_infinity);
  RUN (softcap_is_within_four_units_of_the_last_place);
  RUN (exponential_is_within_one_unit_of_the_last_place);
  RUN (context_equals_plain_c);
  RUN (context_never_touches_a_masked_frame);
  return check_done ();
}
