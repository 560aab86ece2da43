/*
 * Code for the tests of kernels: lengths, outputs between guard bands, odd values, every row that runs here.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_GUARDED_H
#define TESTS_CORE_GUARDED_H

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "check.h"
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

static inline Guarded
guarded (size_t n)
{
  const uint32_t bits = GUARD_BITS;
  Guarded g = { .memory = attn_alloc ((n + 2 * GUARD) * sizeof (float)), .n = n };

  for (size_t i = 0; i < n + 2 * GUARD; i++)
    memcpy (&g.memory[i], &bits, sizeof bits);
  g.values = g.memory + GUARD;
  return g;
}

static inline bool
guards_hold (const Guarded *g)
{
  const uint32_t bits = GUARD_BITS;

  for (size_t i = 0; i < GUARD; i++)
    if (memcmp (&g->memory[i], &bits, 4) != 0 || memcmp (&g->values[g->n + i], &bits, 4) != 0)
      return false;
  return true;
}

static inline bool
same_and_guarded (Guarded *expected, Guarded *got)
{
  bool same = memcmp (expected->values, got->values, got->n * sizeof (float)) == 0 && guards_hold (got);

  attn_free (expected->memory);
  attn_free (got->memory);
  return same;
}

static inline float *
random_values (size_t n, float amplitude)
{
  float *values = attn_alloc (n * sizeof *values);

  random_fill (values, n, amplitude);
  return values;
}

/* Numbers that break comparisons: zeros of both signs, denormals, infinities, NaNs of several kinds. */
static inline void
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

/* Random values in a precision, as they would be stored. */
static inline void *
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

#endif
