/*
 * Activations against long double: every 251st float32, every one where ATTN_TEST_PERCENT is 10000; each row of kernels
 * as plain C to the bit, without a denormal.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _DEFAULT_SOURCE /* M_PI */
#include <math.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "check.h"
#include "flags.h"
#include "kernels/machine.h"
#include "random.h"

#define N_THREADS 4
#define BLOCK 4096 /* inputs at a time */

typedef long double Truth (long double x);

static long double
gelu (long double x)
{
  return x * erfcl (-x / sqrtl (2)) / 2;
}

static long double
gelu_tanh (long double x)
{
  return x / (1 + expl (-2 * sqrtl (2 / acosl (-1)) * (x + 0.044715L * x * x * x)));
}

static long double
silu (long double x)
{
  return x / (1 + expl (-x));
}

static long double
sigmoid (long double x)
{
  return 1 / (1 + expl (-x));
}

static long double
relu (long double x)
{
  return x > 0 ? x : 0;
}

/* 2^-22 max (|y|, 2^-20 |x|) */
static long double
bound_of_gelu (long double x, long double y)
{
  return fmaxl (fabsl (y), fabsl (x) * 0x1p-20L) * 0x1p-22L;
}

/* Two units of the last place of y. */
static long double
two_units (long double x, long double y)
{
  (void) x;
  return y == 0 ? 0 : ldexpl (2, ilogbl (y) - 23);
}

static long double
nothing (long double x, long double y)
{
  (void) x;
  (void) y;
  return 0;
}

static const struct {
  const char *name;
  AttnActivation activation;
  Truth *truth;
  long double (*bound) (long double x, long double y);
} cases[] = {
  { "relu", ATTN_ACTIVATION_RELU, relu, nothing },
  { "gelu", ATTN_ACTIVATION_GELU, gelu, bound_of_gelu },
  { "gelu-tanh", ATTN_ACTIVATION_GELU_TANH, gelu_tanh, bound_of_gelu },
  { "silu", ATTN_ACTIVATION_SILU, silu, bound_of_gelu },
  { "tanh", ATTN_ACTIVATION_TANH, tanhl, two_units },
  { "sigmoid", ATTN_ACTIVATION_SIGMOID, sigmoid, two_units },
};
#define N_CASES (sizeof cases / sizeof cases[0])

/* The findings of a thread. */
typedef struct {
  double worst; /* largest error over its bound */
  float at;
  const char *different; /* a row that differs from plain C; NULL: none */
  float different_at;
  const char *flagged; /* a row that met a denormal */
} Found;

typedef struct {
  size_t c;      /* the case */
  uint64_t step; /* from one input to the next, by their bits */
  Found found[N_THREADS];
} Sweep;

/* Results that would be below the smallest normal are 0, with a rounding of tolerance at the limit. */
static double
error_of (size_t c, float x, float y)
{
  long double expected = cases[c].truth (x), bound = cases[c].bound (x, expected);

  if (fabsl (expected) < 0x1.00002p-126L)
    return y == 0 || fabsf (y) >= 0x1p-126f ? fabsf (y) / 0x1.00002p-126 : INFINITY;
  if (y == expected)
    return 0;
  return bound == 0 ? INFINITY : (double) (fabsl (y - expected) / bound);
}

/* Exact values that are not finite, or not normal, count as 0. */
static void
fill_block (float *in, uint64_t first, uint64_t step)
{
  for (size_t i = 0; i < BLOCK; i++, first += step) {
    uint32_t bits = (uint32_t) first, exponent = bits >> 23 & 0xff;

    in[i] = first >> 32 != 0 || exponent == 0 || exponent == 255 ? 0 : attn_bits_float (bits);
  }
}

static void
compare_rows (Found *found, AttnActivation activation, const float *in, const float *expected)
{
  float got[BLOCK];
  const AttnKernels *kernels;
  bool runs;

  for (size_t row = 0; (kernels = attn_kernels_row (row, &runs)) != NULL; row++) {
    if (!runs || kernels == &attn_kernels_c)
      continue;
    clear_flags ();
    kernels->activate (got, in, BLOCK, activation);
    if (tiny_flags () != 0)
      found->flagged = kernels->name;
    for (size_t i = 0; i < BLOCK; i++)
      if (attn_float_bits (got[i]) != attn_float_bits (expected[i])) {
        found->different = kernels->name;
        found->different_at = in[i];
      }
  }
}

static void
sweep_part (void *data, size_t part, size_t n_parts)
{
  Sweep *sweep = data;
  Found *found = &sweep->found[part];
  float in[BLOCK], out[BLOCK];
  uint64_t block = sweep->step * BLOCK;

  for (uint64_t first = part * block; first >> 32 == 0; first += n_parts * block) {
    fill_block (in, first, sweep->step);
    clear_flags ();
    attn_kernels_c.activate (out, in, BLOCK, cases[sweep->c].activation);
    if (tiny_flags () != 0 && has_fma ())
      found->flagged = "c";
    compare_rows (found, cases[sweep->c].activation, in, out);
    for (size_t i = 0; i < BLOCK; i++) {
      double error = error_of (sweep->c, in[i], out[i]);

      if (!(error <= found->worst)) {
        found->worst = error;
        found->at = in[i];
      }
    }
  }
}

/* Every 251st is 100 percent; every one 10000. */
static uint64_t
step_of_suite (void)
{
  int percent = random_rounds (100);

  return percent >= 10000 ? 1 : 25100 / percent | 1;
}

static void
check_case (size_t c)
{
  Sweep sweep = { .c = c, .step = step_of_suite () };
  AttnPool *pool;

  MUST (attn_pool_new (N_THREADS, &pool, NULL));
  attn_pool_run (pool, sweep_part, &sweep);
  attn_pool_free (pool);
  for (size_t i = 1; i < N_THREADS; i++)
    if (sweep.found[i].worst > sweep.found[0].worst)
      sweep.found[0] = sweep.found[i];
  printf ("# %s: largest error %.3f of its bound, at %a\n", cases[c].name, sweep.found[0].worst, sweep.found[0].at);
  for (size_t i = 0; i < N_THREADS; i++) {
    const Found *found = &sweep.found[i];

    CHECK_MSG (found->different == NULL, "%s of %a by %s", cases[c].name, found->different_at, found->different);
    CHECK_MSG (found->flagged == NULL, "%s by %s", cases[c].name, found->flagged);
    CHECK_MSG (found->worst <= 1, "%s of %a", cases[c].name, found->at);
  }
}

TEST (activations_are_within_their_bounds_and_the_same_by_every_row)
{
  for (size_t c = 0; c < N_CASES && !check_failed; c++)
    check_case (c);
}

/* The same in every row: NaN, both infinities, both zeros, the ends of the range. */
TEST (odd_values_become_what_the_rules_say)
{
  static const struct {
    float in;
    float out[N_CASES]; /* in the order of the cases */
  } values[] = {
    { NAN, { NAN, NAN, NAN, NAN, NAN, NAN } },
    { INFINITY, { INFINITY, INFINITY, INFINITY, INFINITY, 1, 1 } },
    { -INFINITY, { 0, 0, 0, 0, -1, 0 } },
    { 0.0f, { 0, 0, 0, 0, 0, 0.5f } },
    { 0x1.fffffep127f, { 0x1.fffffep127f, 0x1.fffffep127f, 0x1.fffffep127f, 0x1.fffffep127f, 1, 1 } },
    { -0x1.fffffep127f, { 0, 0, 0, 0, -1, 0 } },
    { 0x1p-126f, { 0x1p-126f, 0, 0, 0, 0x1p-126f, 0.5f } },
    { -0x1p-126f, { 0, 0, 0, 0, -0x1p-126f, 0.5f } },
    { -0x1p-125f, { 0, 0, 0, 0, -0x1p-125f, 0.5f } },
  };
  const AttnKernels *kernels;
  bool runs;

  for (size_t row = 0; (kernels = attn_kernels_row (row, &runs)) != NULL; row++)
    for (size_t i = 0; runs && i < sizeof values / sizeof values[0]; i++)
      for (size_t c = 0; c < N_CASES; c++) {
        float expected = values[i].out[c] != values[i].out[c] ? attn_bits_float (0x7fc00000) : values[i].out[c], out;

        kernels->activate (&out, &values[i].in, 1, cases[c].activation);
        CHECK_MSG (attn_float_bits (out) == attn_float_bits (expected), "%s of %a by %s: %a", cases[c].name,
                   values[i].in, kernels->name, out);
      }
}

/* All lengths, in place and not; nothing behind the end is changed. */
TEST (activations_of_any_length_equal_plain_c)
{
  const AttnKernels *kernels;
  bool runs;

  for (size_t row = 0; (kernels = attn_kernels_row (row, &runs)) != NULL; row++)
    for (size_t n = 0; runs && n <= 67; n++)
      for (size_t c = 0; c <= N_CASES; c++) {
        AttnActivation activation = c < N_CASES ? cases[c].activation : ATTN_ACTIVATION_NONE;
        float in[68], expected[68], got[68];

        random_fill (in, 68, 9);
        memcpy (expected, in, sizeof in);
        memcpy (got, in, sizeof in);
        attn_kernels_c.activate (expected, in, n, activation);
        kernels->activate (got, in, n, activation);
        CHECK_MSG (memcmp (expected, got, sizeof got) == 0, "%zu values, activation %d by %s", n, activation,
                   kernels->name);
        kernels->activate (in, in, n, activation);
        CHECK_MSG (memcmp (expected, in, sizeof in) == 0, "%zu values, activation %d by %s, in place", n, activation,
                   kernels->name);
      }
}

/* Sums between 1 and the widest frame, in units of 2^-40 of the logarithm. */
TEST (logarithm_is_within_its_bound)
{
  double worst = 0;

  for (uint32_t bits = 0x3f800001; bits < 0x7f800000; bits += 997) {
    long double x = attn_bits_float (bits);

    worst = fmax (worst, (double) fabsl (attn_logarithm (attn_bits_float (bits)) / logl (x) - 1) * 0x1p40);
  }
  printf ("# largest error %.5f of 2^-40\n", worst);
  CHECK (worst <= 1);
  CHECK (attn_logarithm (1) == 0 && attn_logarithm (INFINITY) == INFINITY);
  CHECK (isnan (attn_logarithm (NAN)) && isnan (attn_logarithm (0.5f)) && isnan (attn_logarithm (-1)));
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (activations_are_within_their_bounds_and_the_same_by_every_row);
  RUN (odd_values_become_what_the_rules_say);
  RUN (activations_of_any_length_equal_plain_c);
  RUN (logarithm_is_within_its_bound);
  return check_done ();
}
