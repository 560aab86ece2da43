/*
 * Every kernel of every instruction set against plain C, bit for bit, at every length around the unrolls; plain C
 * against float64; guard bands around what is written. With --bench: how long each takes.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "check.h"
#include "kernels-bench.h"
#include "kernels/machine.h"
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
  const float factors[] = { random_float (2), -1e-3f, 1e-30f, 0x1p-126f, 1e30f, 0, NAN, INFINITY };

  FOR_EACH_ROW (kernels)
  for (size_t l = 0; l < N_LENGTHS; l++)
    for (size_t f = 0; f < sizeof factors / sizeof factors[0]; f++) {
      size_t n = lengths[l];
      float *in = random_values (n, f % 2 ? 1 : 1e-37f);
      Guarded expected = guarded (n), got = guarded (n);

      sprinkle (in, n);
      attn_kernels_c.scale (expected.values, in, factors[f], n);
      kernels->scale (got.values, in, factors[f], n);
      attn_free (in);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, %zu values times %g", kernels->name, n, factors[f]);
    }
}

/* What would leave the normal range is 0; what would not is not, up to the very limit. */
TEST (scale_loses_nothing_that_stays_normal)
{
  for (int round = 0; round < 100000; round++) {
    float factor = ldexpf (1 + fabsf (random_float (1)), -(int) random_between (1, 126)), in[3], out[3];
    float limit = attn_smallest_factor (factor);

    in[0] = nextafterf (limit, 0);
    in[1] = limit;
    in[2] = nextafterf (nextafterf (nextafterf (limit, 0), 0), 0);
    attn_kernels_c.scale (out, in, factor, 3);
    CHECK_MSG (out[0] == 0 && out[1] >= 0x1p-126f && (double) in[1] * factor >= 0x1p-126, "%a times %a", in[1], factor);
    CHECK_MSG ((double) in[2] * factor < 0x1p-126, "%a times %a", in[2], factor);
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

/* One value at the limit, a NaN or an infinity, at each place. */
TEST (all_below_sees_every_value)
{
  static const AttnPrecision precisions[] = { ATTN_PRECISION_F32, ATTN_PRECISION_F16, ATTN_PRECISION_BF16 };

  FOR_EACH_ROW (kernels)
  for (size_t l = 0; l < N_LENGTHS; l++)
    for (size_t i = 0; i < lengths[l]; i++) {
      float limit = attn_infinite_from (precisions[i % 3]), *values = random_values (lengths[l] + 1, 1);

      values[lengths[l]] = NAN; /* nobody's */
      CHECK_MSG (kernels->all_below (values, lengths[l], limit), "%s, %zu values", kernels->name, lengths[l]);
      values[i] = i % 2 ? nextafterf (limit, 0) : -nextafterf (limit, 0);
      CHECK_MSG (kernels->all_below (values, lengths[l], limit), "%s, %zu of %zu", kernels->name, i, lengths[l]);
      values[i] = i % 2 ? -limit : limit;
      CHECK_MSG (!kernels->all_below (values, lengths[l], limit), "%s, %zu of %zu", kernels->name, i, lengths[l]);
      values[i] = NAN;
      CHECK_MSG (!kernels->all_below (values, lengths[l], limit), "%s, %zu of %zu", kernels->name, i, lengths[l]);
      attn_free (values);
    }
}

TEST (narrow_equals_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (size_t l = 0; l < N_LENGTHS; l++)
    for (AttnPrecision precision = ATTN_PRECISION_F16; precision <= ATTN_PRECISION_BF16; precision++) {
      size_t n = lengths[l];
      float *in = random_values (n, l % 2 ? 1 : 1e5f);
      uint16_t expected[130], got[132];

      sprinkle (in, n);
      attn_kernels_c.scale (in, in, l % 3 ? 1 : 1e-6f, n); /* cleaned; some for the subnormals of f16 */
      memset (got, 0x55, sizeof got);
      attn_kernels_c.narrow (expected, in, n, precision);
      kernels->narrow (got, in, n, precision);
      attn_free (in);
      CHECK_MSG (memcmp (expected, got, n * sizeof *got) == 0 && got[n] == 0x5555, "%s, %zu values, precision %d",
                 kernels->name, n, precision);
    }
}

/* Round to nearest, ties to even: the neighbours of ties, and of both ends of the range. */
TEST (narrow_rounds_to_nearest_even)
{
  static const struct {
    float value;
    uint16_t f16, bf16;
  } cases[] = {
    { 1, 0x3c00, 0x3f80 },
    { 1 + 0x1p-11f, 0x3c00, 0x3f80 }, /* a tie in f16 */
    { 1 + 0x1.8p-10f, 0x3c02, 0x3f80 },
    { 1 + 0x1p-8f, 0x3c04, 0x3f80 }, /* a tie in bf16 */
    { 1 + 0x1.8p-7f, 0x3c0c, 0x3f82 },
    { -0x1.0101p0f, 0xbc04, 0xbf81 },
    { 65504, 0x7bff, 0x4780 },
    { 65519.996f, 0x7bff, 0x4780 },
    { 65520, 0x7c00, 0x4780 },
    { -1e6f, 0xfc00, 0xc974 },
    { 0x1p-24f, 0x0001, 0x3380 },
    { 0x1p-25f, 0x0000, 0x3300 }, /* a tie between 0 and the smallest subnormal */
    { 0x1.8p-24f, 0x0002, 0x33c0 },
    { 0x1.ffffp127f, 0x7c00, 0x7f80 },
    { 0x1.fefffep127f, 0x7c00, 0x7f7f },
    { INFINITY, 0x7c00, 0x7f80 },
    { NAN, 0x7e00, 0x7fc0 },
  };

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint16_t f16, bf16;

    attn_kernels_c.narrow (&f16, &cases[i].value, 1, ATTN_PRECISION_F16);
    attn_kernels_c.narrow (&bf16, &cases[i].value, 1, ATTN_PRECISION_BF16);
    CHECK_MSG (f16 == cases[i].f16 && bf16 == cases[i].bf16, "%a: 0x%04x and 0x%04x", cases[i].value, f16, bf16);
  }
}

/* Every 16-bit value comes back as it was. */
TEST (sixteen_bits_survive_float32)
{
  for (uint32_t bits = 0; bits < 0x10000; bits++) {
    float f16 = attn_float_from_f16 (bits), bf16 = attn_float_from_bf16 (bits);

    CHECK (f16 != f16 || attn_f16_from_float (f16) == bits);
    CHECK (bf16 != bf16 || attn_bf16_from_float (bf16) == bits);
  }
}

/* Random values in a precision, as they would be stored. */
static void *
random_stored (size_t n, AttnPrecision precision, bool with_odd_ones)
{
  float *values = random_values (n + 1, 1);
  uint16_t *narrow;

  if (with_odd_ones)
    sprinkle (values, n);
  if (precision == ATTN_PRECISION_F32)
    return values;
  narrow = attn_alloc ((n + 1) * sizeof *narrow);
  attn_kernels_c.scale (values, values, 1, n);
  attn_kernels_c.narrow (narrow, values, n, precision);
  attn_free (values);
  return narrow;
}

static AttnProjection
random_projection (size_t n_outputs, size_t n_inputs, AttnPrecision precision)
{
  size_t panel = attn_panel (n_outputs), n_padded = attn_round_up (n_outputs, panel);
  void *weight = random_stored (n_padded * attn_stored_rows (n_inputs, precision), precision, false);
  float *start = random_values (n_padded, 1);

  for (size_t i = 0; i < n_padded; i++)
    start[i] = i % 3 == 0 ? ATTN_GUARD : start[i];
  return (AttnProjection){ n_inputs, n_outputs, panel, precision, weight, NULL, start };
}

static void
free_projection (AttnProjection *projection)
{
  attn_free (projection->weight);
  attn_free (projection->start);
}

TEST (project_equals_plain_c)
{
  static const size_t n_frames[] = { 1, 2, 3, 6, 16, 17 };

  FOR_EACH_ROW (kernels)
  for (size_t o = 0; o < N_LENGTHS; o++)
    for (size_t i = 0; i < N_LENGTHS; i++)
      for (size_t f = 0; f < sizeof n_frames / sizeof n_frames[0]; f++) {
        AttnPrecision precision = random_between (0, 2);
        AttnProjection projection = random_projection (lengths[o], lengths[i], precision);
        float *in = random_values (n_frames[f] * lengths[i], 1);
        Guarded expected = guarded (n_frames[f] * lengths[o]), got = guarded (n_frames[f] * lengths[o]);

        if (random_between (0, 2) == 0)
          sprinkle (in, n_frames[f] * lengths[i]);
        attn_kernels_c.project (expected.values, lengths[o], in, lengths[i], n_frames[f], &projection);
        kernels->project (got.values, lengths[o], in, lengths[i], n_frames[f], &projection);
        attn_free (in);
        free_projection (&projection);
        CHECK_MSG (same_and_guarded (&expected, &got), "%s, precision %d, %zu frames of %zu to %zu", kernels->name,
                   precision, n_frames[f], lengths[i], lengths[o]);
      }
}

/* Panels of every width, several of them, and more inputs than one pass takes. */
TEST (project_equals_plain_c_over_many_panels)
{
  static const size_t outputs[] = { 192, 240, 320, 400, 432, 448, 768 };

  FOR_EACH_ROW (kernels)
  for (size_t o = 0; o < sizeof outputs / sizeof outputs[0]; o++)
    for (size_t n_frames = 1; n_frames <= 16; n_frames += 15) {
      AttnProjection projection = random_projection (outputs[o], 300, o % 3);
      float *in = random_values (n_frames * 300, 1);
      Guarded expected = guarded (n_frames * outputs[o]), got = guarded (n_frames * outputs[o]);

      attn_kernels_c.project (expected.values, outputs[o], in, 300, n_frames, &projection);
      kernels->project (got.values, outputs[o], in, 300, n_frames, &projection);
      attn_free (in);
      free_projection (&projection);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, %zu frames to %zu", kernels->name, n_frames, outputs[o]);
    }
}

TEST (panels_waste_little)
{
  for (size_t n = 1; n <= 4096; n++) {
    size_t panel = attn_panel (n), padded = attn_round_up (n, panel), vectors = attn_round_up (n, ATTN_LANES);

    CHECK_MSG (panel % ATTN_LANES == 0 && panel <= ATTN_MAX_PANEL, "%zu outputs in panels of %zu", n, panel);
    CHECK_MSG (padded - vectors <= vectors / 5, "%zu outputs padded to %zu", n, padded);
  }
}

/* The order of design: one fma chain over the inputs, ascending, from the bias and the guard. */
TEST (project_is_one_fma_chain_from_the_bias)
{
  enum { inputs = 37, outputs = 21 };
  AttnProjection projection = random_projection (outputs, inputs, ATTN_PRECISION_F32);
  float *in = random_values (inputs, 1e-25f), out[outputs];
  size_t panel = attn_panel (outputs);

  attn_kernels_c.project (out, outputs, in, inputs, 1, &projection);
  for (size_t o = 0; o < outputs; o++) {
    float acc = projection.start[o];

    for (size_t i = 0; i < inputs; i++)
      acc = fmaf (in[i], ((float *) projection.weight)[(o / panel * inputs + i) * panel + o % panel], acc);
    CHECK_MSG (out[o] == acc - ATTN_GUARD, "output %zu", o);
  }
  attn_free (in);
  free_projection (&projection);
}

/* ---- rows of scores ---- */

#define MAX_ROWS 17
#define MAX_TILES 21
#define N_SLOTS (MAX_TILES + 3)

/* Rows over tiles that stand in any order, of which some are masked; with own masks and own keys, or shared ones. */
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

/* Which NaN a score is nobody promises: softmax makes it the one. */
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
      for (size_t i = 0; i < n; i++) /* which NaN it is nobody promises */
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
  float *in = random_values (2 * n_pairs, 1e-25f), *c = random_values (n_pairs, 1), *s = random_values (n_pairs, 1);
  float half[2 * n_pairs], interleaved[2 * n_pairs];

  for (int i = 0; i < n_pairs; i++) {
    half[i] = interleaved[2 * i] = in[2 * i];
    half[i + n_pairs] = interleaved[2 * i + 1] = in[2 * i + 1];
  }
  attn_kernels_c.rotate (half, c, s, n_pairs, ATTN_ROPE_HALF);
  attn_kernels_c.rotate (interleaved, c, s, n_pairs, ATTN_ROPE_INTERLEAVED);
  for (int i = 0; i < n_pairs; i++) {
    float x = in[2 * i], y = in[2 * i + 1];
    float xc = fmaf (x, c[i], ATTN_GUARD), yc = fmaf (y, c[i], ATTN_GUARD);

    CHECK_MSG (half[i] == fmaf (-y, s[i], xc) - ATTN_GUARD, "pair %d", i);
    CHECK_MSG (half[i + n_pairs] == fmaf (x, s[i], yc) - ATTN_GUARD, "pair %d", i);
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
  const AttnKernels *best;
  AttnMachine machine;
  AttnError error;

  unsetenv ("ATTN_CPU");
  CHECK (attn_machine_pick (&machine, ATTN_ARITHMETIC_EXACT, &error) == ATTN_OK);
  best = machine.kernels;
  setenv ("ATTN_CPU", "c", 1);
  CHECK (attn_machine_pick (&machine, ATTN_ARITHMETIC_EXACT, &error) == ATTN_OK && machine.kernels == &attn_kernels_c);
  setenv ("ATTN_CPU", "", 1);
  CHECK (attn_machine_pick (&machine, ATTN_ARITHMETIC_EXACT, &error) == ATTN_OK && machine.kernels == best);
  setenv ("ATTN_CPU", "mmx", 1);
  CHECK (attn_machine_pick (&machine, ATTN_ARITHMETIC_EXACT, &error) == ATTN_ERROR_CONFIG);
  CHECK_MSG (strstr (error.message, "mmx") && strstr (error.message, best->name), "%s", error.message);
  unsetenv ("ATTN_CPU");
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  if (check_only != NULL && strcmp (check_only, "--bench") == 0)
    return kernels_bench (), 0;
  random_seed ();
  FOR_EACH_ROW (kernels)
  printf ("# kernels: %s\n", kernels->name);
  RUN (scale_equals_plain_c);
  RUN (scale_loses_nothing_that_stays_normal);
  RUN (scale_cleans_denormals_and_nans);
  RUN (all_below_sees_every_value);
  RUN (narrow_equals_plain_c);
  RUN (narrow_rounds_to_nearest_even);
  RUN (sixteen_bits_survive_float32);
  RUN (panels_waste_little);
  RUN (project_equals_plain_c);
  RUN (project_equals_plain_c_over_many_panels);
  RUN (project_is_one_fma_chain_from_the_bias);
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
  RUN (rotate_equals_plain_c);
  RUN (rotate_rounds_the_product_with_the_cosine_first);
  RUN (add_biases_equals_plain_c_at_any_alignment);
  RUN (environment_picks_a_row_or_refuses);
  return check_done ();
}
