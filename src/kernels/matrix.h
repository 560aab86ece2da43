/*
 * libattn: sums of products by a matrix unit (arithmetic=fast): the operands, and the kernels over them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A matrix unit multiplies bf16 and adds up in float32. So each float32 x stands as two bf16, high = x rounded and low
 * = x - high rounded, and a b is taken for high high + high low + low high. With u = 2^-8, the error of rounding to
 * bf16, x loses less than u^2 |x|, and the product that is left out is below u^2 |a b|: each product is off by less
 * than 3 u^2 |a b| (1 + u), where u^2 is 1.5e-5, and on average by a small part of that. The unit decides the order of
 * the sums. Denormals count as 0: values below some 1e-32 lose their low part, and its digits. (The low part x - high
 * is exact, so that it raises no flag where it is denormal.)
 *
 * The unit works in steps of 32 terms of a sum, for up to 16 rows and 16 columns of results:
 *
 *   left operand   [steps][high, low][16 rows][32]: frames by inputs, queries by dimensions, weights by frames
 *   right operand  [groups of 16 columns][n_parts: high, low][n_rows][16], rows in pairs as in kernels.h, n_rows a
 *                  multiple of 32, 0 behind the last: inputs by outputs, dimensions by frames, frames by values
 *
 * Right operands are what is stored: parameters, keys and values. If they are stored in bf16, all low parts are 0. Then
 * they have one part, and the unit leaves out the product with 0.
 */
#ifndef ATTN_SRC_MATRIX_H
#define ATTN_SRC_MATRIX_H

#include "kernels/kernels.h"

#define ATTN_STEP 32 /* terms of a sum that the unit takes at once */

/*
 * All values that go through a unit are smaller. So no sum of 2^18 products, the longest that there can be, overflows,
 * whatever its order. Larger ones, infinity and NaN are left to the order of the other kernels.
 */
#define ATTN_SPLIT_LIMIT 0x1p54f

/* The number of values of a step of a left operand: of one part, high or low, and of both. */
#define ATTN_STEP_PART ((size_t) ATTN_LANES * ATTN_STEP)
#define ATTN_STEP_SIZE (2 * ATTN_STEP_PART)

/*
 * The smallest blocks that a unit is faster for. A step of a group of 16 columns takes it 48 cycles, for one row or for
 * 16, and takes the fma 16 cycles per frame; but the unit also needs its operands split. On an Intel processor with AMX
 * it was faster from 5 frames of 512 values on, from 6 of 256, and from 8 of 64 to 100 (2026-11-30, in all steps
 * together).
 */
static inline size_t
attn_least_projected (size_t n_inputs)
{
  return n_inputs >= 512 ? 5 : n_inputs >= 128 ? 6 : 8;
}

/*
 * The same for scores and contexts, which have more to split: keys, values, queries and weights. Heads of fewer than 32
 * values count as 32: with 16 and 20 values the unit was slower for 8 frames, and faster for 16.
 */
static inline size_t
attn_least_attended (size_t dk)
{
  return dk < ATTN_STEP ? 12 : 8;
}

/* The parts of a right operand of values that are stored in `precision`. */
static inline size_t
attn_right_parts (AttnPrecision precision)
{
  return precision == ATTN_PRECISION_BF16 ? 1 : 2;
}

/* The number of values of a right operand. */
static inline size_t
attn_right_size (size_t n_rows, size_t n_columns, size_t n_parts)
{
  return attn_size_mul (attn_size_mul (attn_round_up (n_rows, ATTN_STEP), attn_round_up (n_columns, ATTN_LANES)),
                        n_parts);
}

/* The place of the high part of an element of a right operand; the low part is n_rows * 16 behind it. */
static inline size_t
attn_right_index (size_t row, size_t column, size_t n_rows, size_t n_parts)
{
  return column / ATTN_LANES * n_parts * n_rows * ATTN_LANES
         + attn_stored_index (row, ATTN_LANES, column % ATTN_LANES, ATTN_PRECISION_BF16);
}

/* Writes all parts of an element of a right operand. */
static inline void
attn_set_right (uint16_t *operand, size_t row, size_t column, size_t n_rows, size_t n_parts, float value)
{
  uint16_t *high = operand + attn_right_index (row, column, n_rows, n_parts);

  *high = attn_bf16_from_float (value);
  if (n_parts == 2)
    high[n_rows * ATTN_LANES] = attn_bf16_from_float (value - attn_float_from_bf16 (*high));
}

/* The number of values of a left operand of n columns. */
static inline size_t
attn_left_size (size_t n)
{
  return attn_size_mul (attn_round_up (n, ATTN_STEP) / ATTN_STEP, ATTN_STEP_SIZE);
}

/*
 * Makes operands, and does what the functions of the same name in AttnKernels do, except for the order and the rounding
 * above. Values are below ATTN_SPLIT_LIMIT. Results are cleaned, except that a 0 may have a sign.
 */
typedef struct {
  const char *name;

  /*
   * Rows of a step: high [n_rows][32] = the first n <= 32 values of each row of in [n_rows][in_stride], rounded to
   * bf16; low [n_rows][32] = the rest, rounded to bf16; 0 behind them. Returns whether all values are below
   * ATTN_SPLIT_LIMIT; if not, the written values mean nothing.
   */
  bool (*split) (uint16_t *high, uint16_t *low, const float *in, size_t in_stride, size_t n_rows, size_t n);

  /* out [n_frames][out_stride] = weight in + bias, n_frames <= 16. left: the frames. */
  void (*project) (float *out, size_t out_stride, const uint16_t *left, size_t n_frames,
                   const AttnProjection *projection);

  /*
   * rows->scores = keys . queries plus the guard, where the rows are queries of one head. left: the queries. keys
   * [slots]: each a right operand [dk rounded up to 32] by 16, of n_parts.
   */
  void (*scores) (const AttnRows *rows, const uint16_t *left, const uint16_t *keys, size_t n_parts, size_t dk);

  /*
   * contexts = weights . values, times the reciprocals. values: a right operand of n_parts and n_rows = 16 frames a
   * slot, and half a step behind them, by dv. left: room for a step per tile. Returns false, having written nothing,
   * where a weight is NaN.
   */
  bool (*context) (const AttnRows *rows, float *contexts, size_t context_stride, uint16_t *left, const uint16_t *values,
                   size_t n_parts, size_t n_rows, size_t dv);
} AttnMatrixKernels;

/* left = in [n_rows <= 16][in_stride], n columns of it. Returns as AttnMatrixKernels.split. */
static inline bool
attn_split_left (const AttnMatrixKernels *matrix, uint16_t *left, const float *in, size_t in_stride, size_t n_rows,
                 size_t n)
{
  bool can_split = true;

  for (size_t i = 0; i < n; i += ATTN_STEP, left += ATTN_STEP_SIZE)
    can_split &=
        matrix->split (left, left + ATTN_STEP_PART, in + i, in_stride, n_rows, n - i < ATTN_STEP ? n - i : ATTN_STEP);
  return can_split;
}

extern const AttnMatrixKernels attn_matrix_c;
#ifdef ATTN_HAVE_AMX
extern const AttnMatrixKernels attn_matrix_amx;
#endif

#endif
