/*
 * The kernels of every matrix unit, at every size around its steps and groups, against float64 with bounds that are
 * derived (reference.h); nothing but their results is written. matrix.c tests streams through them.
 *
 * Everything is run with the unit of plain C, which does what the instructions are documented to do, and with that of
 * the processor where it has one.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "check.h"
#include "random.h"
#include "reference.h"
#include "units.h"

/* Except denormals, which a unit takes as 0. */
static bool
same_halves (const uint16_t *a, const uint16_t *b, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (a[i] != b[i] && (fabsf (attn_float_from_bf16 (a[i])) >= 0x1p-126f || (b[i] & 0x7fff) != 0))
      return false;
  return true;
}

/* Values as a unit takes them: the two parts are as plain C makes them, and nothing is written behind them. */
TEST (split_equals_plain_c)
{
  FOR_EACH_UNIT (unit)
  for (size_t n = 1; n <= ATTN_STEP; n++)
    for (size_t n_rows = 1; n_rows <= 3; n_rows++) {
      size_t stride = n + 3, n_parts = n_rows * ATTN_STEP;
      float in[3 * (ATTN_STEP + 3)];
      uint16_t expected[2][3 * ATTN_STEP], got[2][3 * ATTN_STEP + 1];

      random_fill (in, 3 * (ATTN_STEP + 3), n % 3 ? 1 : 1e5f);
      memset (got, 0x55, sizeof got);
      CHECK (attn_matrix_c.split (expected[0], expected[1], in, stride, n_rows, n));
      CHECK_MSG (unit->split (got[0], got[1], in, stride, n_rows, n), "%s, %zu values", unit->name, n);
      for (size_t part = 0; part < 2; part++)
        CHECK_MSG (same_halves (expected[part], got[part], n_parts) && got[part][n_parts] == 0x5555,
                   "%s, %zu rows of %zu values", unit->name, n_rows, n);
    }
}

/* High and low part together are the value to within 2^-16 of it, and behind the values of a row there are zeros. */
TEST (split_loses_little)
{
  FOR_EACH_UNIT (unit)
  {
    float in[20];
    uint16_t high[ATTN_STEP], low[ATTN_STEP];

    random_fill (in, 20, 1e3f);
    CHECK (unit->split (high, low, in, 20, 1, 20));
    for (size_t i = 0; i < ATTN_STEP; i++) {
      double sum = (double) attn_float_from_bf16 (high[i]) + attn_float_from_bf16 (low[i]);

      CHECK_MSG (i < 20 ? fabs (sum - in[i]) <= 0x1p-16 * fabs (in[i]) : high[i] == 0 && low[i] == 0, "%s, %zu: %g",
                 unit->name, i, sum);
    }
  }
}

TEST (split_refuses_what_is_too_large_at_each_place)
{
  static const float kinds[] = { ATTN_SPLIT_LIMIT, -ATTN_SPLIT_LIMIT, INFINITY, -INFINITY, NAN, -NAN };

  FOR_EACH_UNIT (unit)
  for (size_t i = 0; i < 2 * ATTN_STEP; i++) {
    float in[2 * ATTN_STEP] = { 0 };
    uint16_t high[2 * ATTN_STEP], low[2 * ATTN_STEP];

    in[i] = nextafterf (ATTN_SPLIT_LIMIT, 0);
    CHECK_MSG (unit->split (high, low, in, ATTN_STEP, 2, ATTN_STEP), "%s, %zu", unit->name, i);
    in[i] = kinds[i % (sizeof kinds / sizeof kinds[0])];
    CHECK_MSG (!unit->split (high, low, in, ATTN_STEP, 2, ATTN_STEP), "%s, %zu: %g", unit->name, i, in[i]);
  }
}

#define MAX_SUM 130 /* terms of a sum, or columns */

/* left [n_rows][n] . right [n][n_columns], as values and as the operands of a unit. */
typedef struct {
  size_t n_rows, n, n_columns, n_parts;
  float *left, *right;
  uint16_t *left_operand, *right_operand;
} Product;

/* With one part, the values on the right are some that bf16 has. */
static Product
random_product (size_t n_rows, size_t n, size_t n_columns, size_t n_parts)
{
  Product p = { .n_rows = n_rows, .n = n, .n_columns = n_columns, .n_parts = n_parts };

  p.left = attn_alloc (n_rows * n * sizeof *p.left);
  p.right = attn_alloc (n * n_columns * sizeof *p.right);
  p.left_operand = attn_alloc (attn_left_size (n) * sizeof (uint16_t));
  p.right_operand = attn_alloc (attn_right_size (n, n_columns, n_parts) * sizeof (uint16_t));
  random_fill (p.left, n_rows * n, 2);
  random_fill (p.right, n * n_columns, 2);
  for (size_t i = 0; i < n * n_columns && n_parts == 1; i++)
    p.right[i] = attn_float_from_bf16 (attn_bf16_from_float (p.right[i]));
  attn_split_left (&attn_matrix_c, p.left_operand, p.left, n, n_rows, n);
  for (size_t i = 0; i < n; i++)
    for (size_t column = 0; column < n_columns; column++)
      attn_set_right (p.right_operand, i, column, attn_round_up (n, ATTN_STEP), n_parts,
                      p.right[i * n_columns + column]);
  return p;
}

static void
product_clear (Product *p)
{
  attn_free (p->left);
  attn_free (p->right);
  attn_free (p->left_operand);
  attn_free (p->right_operand);
}

/* In float64, from `bias`. */
static Bounded
expected_sum (const Product *p, size_t row, size_t column, double bias)
{
  const AttnSizes sizes = { .is_split = true };
  double sum = bias, magnitude = fabs (bias);

  for (size_t i = 0; i < p->n; i++) {
    double term = (double) p->left[row * p->n + i] * p->right[i * p->n_columns + column];

    sum += term;
    magnitude += fabs (term);
  }
  return (Bounded){ sum, reference_chain (&sizes, p->n + 1, magnitude) };
}

static bool
is_within (float value, Bounded expected)
{
  return fabs (value - expected.value) <= expected.error;
}

static const size_t lengths[] = { 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 96, 127, 128, 130 };
#define N_LENGTHS (sizeof lengths / sizeof lengths[0])

/* The rows of a block. */
static size_t
n_rows_of (size_t i)
{
  return 1 + i % ATTN_LANES;
}

/* Outputs stand `stride` apart, and nothing else is written: what was there, a NaN, stays. */
static bool
project_is_right (const AttnMatrixKernels *unit, AttnPrecision precision, size_t n_frames, size_t n_inputs,
                  size_t n_outputs)
{
  size_t stride = n_outputs + 3;
  Product p = random_product (n_frames, n_inputs, n_outputs, attn_right_parts (precision));
  float bias[MAX_SUM + ATTN_LANES] = { 0 }, out[ATTN_LANES * (MAX_SUM + 3)];
  AttnProjection projection = {
    .n_inputs = n_inputs, .n_outputs = n_outputs, .bias = bias, .split = p.right_operand, .precision = precision
  };
  bool right = true;

  random_fill (bias, n_outputs, 1);
  for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
    out[i] = NAN;
  unit->project (out, stride, p.left_operand, n_frames, &projection);
  for (size_t i = 0; i < sizeof out / sizeof out[0]; i++) {
    size_t frame = i / stride, output = i % stride;

    right &= frame < n_frames && output < n_outputs ? is_within (out[i], expected_sum (&p, frame, output, bias[output]))
                                                    : isnan (out[i]);
  }
  product_clear (&p);
  return right;
}

TEST (project_is_within_its_bound_at_every_size)
{
  FOR_EACH_UNIT (unit)
  for (size_t i = 0; i < N_LENGTHS; i++)
    for (size_t o = 0; o < N_LENGTHS; o++)
      for (int bf16 = 0; bf16 < 2; bf16++)
        CHECK_MSG (project_is_right (unit, bf16 ? ATTN_PRECISION_BF16 : ATTN_PRECISION_F32, n_rows_of (i + o),
                                     lengths[i], lengths[o]),
                   "%s: %zu inputs, %zu outputs, bf16 %d", unit->name, lengths[i], lengths[o], bf16);
}

/* Tiles in an order in which some stand one behind the other and some do not, as where a ring begins anew. */
static const uint32_t slots[] = { 5, 6, 7, 8, 0, 1, 3, 2, 9, 10 };
#define N_SLOTS 11
#define MAX_TILES (sizeof slots / sizeof slots[0])

static AttnRows
rows_of (size_t n_rows, size_t n_tiles, float *scores)
{
  return (AttnRows){
    .n_rows = n_rows, .n_tiles = n_tiles, .slots = slots, .scores = scores, .score_stride = n_tiles * ATTN_LANES
  };
}

static bool
scores_are_right (const AttnMatrixKernels *unit, size_t n_parts, size_t n_queries, size_t n_tiles, size_t dk)
{
  size_t tile_size = attn_right_size (dk, ATTN_LANES, n_parts), n_scores = n_queries * n_tiles * ATTN_LANES;
  Product p = random_product (n_queries, dk, N_SLOTS * ATTN_LANES, n_parts);
  float scores[ATTN_LANES * MAX_TILES * ATTN_LANES + ATTN_LANES];
  AttnRows rows = rows_of (n_queries, n_tiles, scores);
  bool right = true;

  /* The groups of columns of a right operand are the operands of the tiles, one after another. */
  if (attn_right_size (dk, N_SLOTS * ATTN_LANES, n_parts) != N_SLOTS * tile_size)
    right = false;
  for (size_t i = 0; i < sizeof scores / sizeof scores[0]; i++)
    scores[i] = NAN;
  unit->scores (&rows, p.left_operand, p.right_operand, n_parts, dk);
  for (size_t i = 0; i < n_scores; i++) {
    size_t tile = i / ATTN_LANES % n_tiles;

    right &= is_within (scores[i],
                        expected_sum (&p, i / ATTN_LANES / n_tiles, slots[tile] * ATTN_LANES + i % ATTN_LANES, 0));
  }
  for (size_t i = n_scores; i < sizeof scores / sizeof scores[0]; i++)
    right &= isnan (scores[i]);
  product_clear (&p);
  return right;
}

TEST (scores_are_within_their_bound_at_every_size)
{
  FOR_EACH_UNIT (unit)
  for (size_t i = 0; i < N_LENGTHS; i++)
    for (size_t n_tiles = 1; n_tiles <= MAX_TILES; n_tiles++)
      for (size_t n_parts = 1; n_parts <= 2; n_parts++)
        CHECK_MSG (scores_are_right (unit, n_parts, n_rows_of (i + n_tiles), n_tiles, lengths[i]),
                   "%s: %zu values, %zu tiles, %zu parts", unit->name, lengths[i], n_tiles, n_parts);
}

/* Weights of the tiles in the order of time; their product with the values of the frames in those tiles' slots. */
static bool
contexts_are_right (const AttnMatrixKernels *unit, size_t n_parts, size_t n_queries, size_t n_tiles, size_t dv)
{
  const size_t n_frames = n_tiles * ATTN_LANES, n_rows = attn_round_up (N_SLOTS * ATTN_LANES, ATTN_STEP);
  size_t stride = dv + 5, n_values = attn_right_size (n_rows, dv, n_parts) + ATTN_STEP_PART / 2;
  Product p = random_product (n_queries, n_frames, dv, n_parts);
  uint16_t *values = attn_alloc (n_values * sizeof *values);
  uint16_t *left = attn_alloc (n_tiles * ATTN_STEP_SIZE * sizeof *left);
  float contexts[ATTN_LANES * (MAX_SUM + 5)], reciprocals[ATTN_LANES];
  AttnRows rows = rows_of (n_queries, n_tiles, p.left);
  bool right;

  /* Other tiles must not count; they may hold any finite values. */
  for (size_t i = 0; i < n_values; i++)
    values[i] = attn_bf16_from_float (1e30f);
  for (size_t i = 0; i < n_frames; i++)
    for (size_t v = 0; v < dv; v++)
      attn_set_right (values, slots[i / ATTN_LANES] * ATTN_LANES + i % ATTN_LANES, v, n_rows, n_parts,
                      p.right[i * dv + v]);
  for (size_t i = 0; i < ATTN_LANES; i++)
    reciprocals[i] = 1;
  reciprocals[n_queries - 1] = 0.5f;
  rows.reciprocals = reciprocals;
  for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++)
    contexts[i] = NAN;
  right = unit->context (&rows, contexts, stride, left, values, n_parts, n_rows, dv);
  for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++) {
    size_t query = i / stride, v = i % stride;

    right &= query < n_queries && v < dv ? is_within (contexts[i] / reciprocals[query], expected_sum (&p, query, v, 0))
                                         : isnan (contexts[i]);
  }
  product_clear (&p);
  attn_free (values);
  attn_free (left);
  return right;
}

TEST (contexts_are_within_their_bound_at_every_size)
{
  FOR_EACH_UNIT (unit)
  for (size_t i = 0; i < N_LENGTHS; i++)
    for (size_t n_tiles = 1; n_tiles <= MAX_TILES; n_tiles++)
      for (size_t n_parts = 1; n_parts <= 2; n_parts++)
        CHECK_MSG (contexts_are_right (unit, n_parts, n_rows_of (i + n_tiles), n_tiles, lengths[i]),
                   "%s: %zu values, %zu tiles, %zu parts", unit->name, lengths[i], n_tiles, n_parts);
}

TEST (denormal_contexts_are_zero)
{
  FOR_EACH_UNIT (unit)
  {
    float scores[4 * ATTN_LANES] = { 0 }, reciprocals[4] = { 1e-10f, 1e-10f, 1e-10f, 1 }, contexts[4];
    uint16_t left[ATTN_STEP_SIZE], values[8 * ATTN_LANES * ATTN_LANES * 2 + ATTN_STEP_PART] = { 0 };
    AttnRows rows = rows_of (4, 1, scores);

    rows.reciprocals = reciprocals;
    for (size_t row = 0; row < 4; row++)
      scores[row * ATTN_LANES] = row == 1 ? -1 : 1;
    attn_set_right (values, slots[0] * ATTN_LANES, 0, 8 * ATTN_LANES, 2, 1e-30f);
    CHECK (unit->context (&rows, contexts, 1, left, values, 2, 8 * ATTN_LANES, 1));
    CHECK (contexts[0] == 0 && contexts[1] == 0 && contexts[2] == 0 && fabsf (contexts[3] / 1e-30f - 1) < 1e-4f);
  }
}

TEST (context_refuses_weights_that_are_nan)
{
  FOR_EACH_UNIT (unit)
  {
    float scores[4 * 2 * ATTN_LANES] = { 0 }, reciprocals[4] = { 1, 1, 1, 1 }, contexts[4] = { 7, 7, 7, 7 };
    uint16_t left[ATTN_STEP_SIZE * 2], values[12 * ATTN_LANES * ATTN_LANES * 2 + ATTN_STEP_PART] = { 0 };
    AttnRows rows = rows_of (4, 2, scores);

    rows.reciprocals = reciprocals;
    scores[3 * 2 * ATTN_LANES + 17] = NAN;
    CHECK (!unit->context (&rows, contexts, 1, left, values, 2, 12 * ATTN_LANES, 1));
    CHECK (contexts[0] == 7 && contexts[3] == 7);
  }
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  print_units ();
  RUN (split_equals_plain_c);
  RUN (split_loses_little);
  RUN (split_refuses_what_is_too_large_at_each_place);
  RUN (project_is_within_its_bound_at_every_size);
  RUN (scores_are_within_their_bound_at_every_size);
  RUN (contexts_are_within_their_bound_at_every_size);
  RUN (denormal_contexts_are_zero);
  RUN (context_refuses_weights_that_are_nan);
  return check_done ();
}
