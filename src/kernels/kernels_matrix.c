/*
 * libattn: the kernels for blocks of frames on a matrix unit (matrix_unit.h), compiled once per unit. The contracts and
 * the operands stand in matrix.h.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/matrix.h"

#include <math.h>
#include <string.h>

#include "kernels/matrix_unit.h"
#include "kernels/unroll.h"

#define GROUP ((size_t) ATTN_LANES)         /* columns of an accumulator */
#define N_GROUPS 4                          /* the number of accumulators */
#define HALF_STEP_PART (ATTN_STEP_PART / 2) /* of a right operand: 16 of its rows */
#define FOUR_GUARDS ATTN_GUARD, ATTN_GUARD, ATTN_GUARD, ATTN_GUARD
#define GUARDS FOUR_GUARDS, FOUR_GUARDS, FOUR_GUARDS, FOUR_GUARDS /* a group */

/* Sums over n_steps of a left operand, for up to N_GROUPS groups of columns. */
typedef struct {
  const uint16_t *left;
  const uint16_t *right[N_GROUPS]; /* the high part of the first step */
  size_t n_parts;                  /* of the right operand */
  size_t to_low;                   /* from there to the low part, if there is one */
  size_t n_steps;
  const AttnRows *rows; /* the steps are tiles of these; NULL: they stand one after another */
} Sums;

/* The number of groups of the next `n` columns, as far as there are accumulators. */
static int
n_groups (size_t n)
{
  return n < N_GROUPS * GROUP ? (n + GROUP - 1) / GROUP : N_GROUPS;
}

/* Two tiles that stand one behind the other make one step. */
static size_t
n_tiles_of_step (const AttnRows *rows, size_t tile)
{
  return tile + 1 < rows->n_tiles && rows->slots[tile + 1] == rows->slots[tile] + 1 ? 2 : 1;
}

/*
 * One step, `offset` behind the first. The products of a group wait for each other; meanwhile the processor runs those
 * of the other groups.
 */
UNIT_INLINE void
add_step (Unit *unit, const int n, const bool has_low, const Sums *sums, const uint16_t *left, size_t offset)
{
  unit_load_left (unit, UNIT_HIGH, left);
  unit_load_left (unit, UNIT_LOW, left + ATTN_STEP_PART);
  EACH (c, n)
  {
    unit_load_right (unit, UNIT_HIGH, sums->right[c] + offset);
    if (has_low)
      unit_load_right (unit, UNIT_LOW, sums->right[c] + offset + sums->to_low);
    unit_multiply (unit, c, UNIT_HIGH, UNIT_HIGH);
    unit_multiply (unit, c, UNIT_LOW, UNIT_HIGH);
    if (has_low)
      unit_multiply (unit, c, UNIT_HIGH, UNIT_LOW);
  }
}

UNIT_INLINE void
add_steps (Unit *unit, const int n, const bool has_low, const Sums *sums)
{
  const uint16_t *left = sums->left;

  if (sums->rows == NULL)
    for (size_t step = 0; step < sums->n_steps; step++, left += ATTN_STEP_SIZE)
      add_step (unit, n, has_low, sums, left, step * ATTN_STEP_PART);
  else
    for (size_t tile = 0; tile < sums->rows->n_tiles; tile += n_tiles_of_step (sums->rows, tile)) {
      add_step (unit, n, has_low, sums, left, sums->rows->slots[tile] * HALF_STEP_PART);
      left += ATTN_STEP_SIZE;
    }
}

/* to [rows][stride] = the sums for `n` groups, from the biases [n][16] or (NULL) from 0. */
UNIT_INLINE void
sum_groups (Unit *unit, const int n, const bool has_low, const Sums *sums, const float *biases, float *to,
            size_t stride)
{
  EACH (c, n)
  {
    if (biases != NULL)
      unit_fill (unit, c, biases + c * GROUP);
    else
      unit_zero (unit, c);
  }
  add_steps (unit, n, has_low, sums);
  EACH (c, n) unit_store (unit, c, to + c * GROUP, stride);
}

UNIT_INLINE void
sum_parts (Unit *unit, int n, const bool has_low, const Sums *sums, const float *biases, float *to, size_t stride)
{
  switch (n) {
  case 1:
    sum_groups (unit, 1, has_low, sums, biases, to, stride);
    break;
  case 2:
    sum_groups (unit, 2, has_low, sums, biases, to, stride);
    break;
  case 3:
    sum_groups (unit, 3, has_low, sums, biases, to, stride);
    break;
  default:
    sum_groups (unit, N_GROUPS, has_low, sums, biases, to, stride);
  }
}

static void
sum (Unit *unit, int n, const Sums *sums, const float *biases, float *to, size_t stride)
{
  if (sums->n_parts == 2)
    sum_parts (unit, n, true, sums, biases, to, stride);
  else
    sum_parts (unit, n, false, sums, biases, to, stride);
}

/* Groups of columns of a right operand of `n_rows`, from `column` on. */
static void
take_groups (Sums *sums, const uint16_t *right, size_t n_rows, size_t column)
{
  sums->to_low = n_rows * GROUP;
  for (size_t c = 0; c < N_GROUPS; c++)
    sums->right[c] = right + (column / GROUP + c) * sums->n_parts * n_rows * GROUP;
}

static bool
split (uint16_t *high, uint16_t *low, const float *in, size_t in_stride, size_t n_rows, size_t n)
{
  bool can_split = true;

  for (size_t row = 0; row < n_rows; row++)
    can_split &= unit_split (high + row * ATTN_STEP, low + row * ATTN_STEP, in + row * in_stride, n);
  return can_split;
}

/* Whole groups are written straight to their place; an incomplete last one is cut. */
static void
project (float *out, size_t out_stride, const uint16_t *left, size_t n_frames, const AttnProjection *projection)
{
  size_t n_rows = attn_round_up (projection->n_inputs, ATTN_STEP), n = projection->n_outputs, n_over = n % GROUP, o;
  Sums sums = { .left = left, .n_parts = attn_right_parts (projection->precision), .n_steps = n_rows / ATTN_STEP };
  float last[ATTN_LANES * GROUP];
  Unit unit;

  unit_begin (&unit, n_frames);
  for (o = 0; o < n - n_over; o += N_GROUPS * GROUP) {
    take_groups (&sums, projection->split, n_rows, o);
    sum (&unit, n_groups (n - n_over - o), &sums, projection->bias + o, out + o, out_stride);
  }
  o = n - n_over;
  if (n_over > 0) {
    take_groups (&sums, projection->split, n_rows, o);
    sum (&unit, 1, &sums, projection->bias + o, last, GROUP);
    for (size_t r = 0; r < n_frames; r++)
      memcpy (out + r * out_stride + o, last + r * GROUP, n_over * sizeof *out);
  }
  unit_end (&unit);
}

/* Starts from the guard, as AttnKernels.scores does: the unit needs none, but the next steps do. */
static void
scores (const AttnRows *rows, const uint16_t *left, const uint16_t *keys, size_t n_parts, size_t dk)
{
  static const float guard[] = { GUARDS, GUARDS, GUARDS, GUARDS };
  size_t n_rows = attn_round_up (dk, ATTN_STEP);
  Sums sums = { .left = left, .n_parts = n_parts, .to_low = n_rows * GROUP, .n_steps = n_rows / ATTN_STEP };
  Unit unit;

  unit_begin (&unit, rows->n_rows);
  for (size_t tile = 0; tile < rows->n_tiles; tile += N_GROUPS) {
    int n = n_groups ((rows->n_tiles - tile) * GROUP);

    for (int c = 0; c < n; c++)
      sums.right[c] = keys + rows->slots[tile + c] * n_parts * n_rows * GROUP;
    sum (&unit, n, &sums, guard, rows->scores + tile * GROUP, rows->score_stride);
  }
  unit_end (&unit);
}

static bool
split_weights (const AttnRows *rows, uint16_t *left)
{
  bool can_split = true;

  for (size_t tile = 0, n; tile < rows->n_tiles; tile += n, left += ATTN_STEP_SIZE) {
    n = n_tiles_of_step (rows, tile);
    can_split &=
        split (left, left + ATTN_STEP_PART, rows->scores + tile * GROUP, rows->score_stride, rows->n_rows, n * GROUP);
  }
  return can_split;
}

/* context [n] = sums times their reciprocal; results that would be denormal become 0. */
static void
divide (float *restrict context, const float *restrict sums, float reciprocal, size_t n)
{
  float limit = attn_smallest_factor (reciprocal);

  for (size_t i = 0; i < n; i++)
    context[i] = attn_flush (sums[i], limit) * reciprocal;
}

static bool
context (const AttnRows *rows, float *contexts, size_t context_stride, uint16_t *left, const uint16_t *values,
         size_t n_parts, size_t n_rows, size_t dv)
{
  _Alignas(ATTN_ALIGNMENT) float acc[ATTN_LANES * N_GROUPS * GROUP];
  Sums sums = { .left = left, .n_parts = n_parts, .rows = rows };
  Unit unit;

  if (!split_weights (rows, left))
    return false;
  unit_begin (&unit, rows->n_rows);
  for (size_t v = 0; v < dv; v += N_GROUPS * GROUP) {
    size_t n = dv - v < N_GROUPS * GROUP ? dv - v : N_GROUPS * GROUP;

    take_groups (&sums, values, n_rows, v);
    sum (&unit, n_groups (n), &sums, NULL, acc, N_GROUPS * GROUP);
    for (size_t r = 0; r < rows->n_rows; r++)
      divide (contexts + r * context_stride + v, acc + r * N_GROUPS * GROUP, rows->reciprocals[r], n);
  }
  unit_end (&unit);
  return true;
}

#define QUOTED(name) #name
#define NAME_OF(unit) QUOTED (unit)
#define TABLE_OF(unit) attn_matrix_##unit
#define TABLE(unit) TABLE_OF (unit)

const AttnMatrixKernels TABLE (UNIT_NAME) = {
  .name = NAME_OF (UNIT_NAME),
  .split = split,
  .project = project,
  .scores = scores,
  .context = context,
};
