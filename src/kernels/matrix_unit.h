/*
 * libattn: the registers of a matrix unit, for the instruction set that this file is compiled for: Intel AMX, or plain
 * C, which does the same as AMX (Intel 64 and IA-32 Architectures Software Developer's Manual, TDPBF16PS). What
 * kernels_matrix.c is written in.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Four accumulators [n_rows][16] of float32; the high and the low part of a step of a left operand, [n_rows][32] of
 * bf16; and the same of a right operand, [16][16][2]. The number of the register is a literal wherever these are used.
 */
#ifndef ATTN_SRC_MATRIX_UNIT_H
#define ATTN_SRC_MATRIX_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNIT_INLINE static inline __attribute__ ((always_inline))

enum { UNIT_HIGH, UNIT_LOW };

/*
 * Beside the registers: unit_split () makes the first n <= 32 values of `in` a row of a step, high and low part [32].
 * Returns whether all are below ATTN_SPLIT_LIMIT.
 */

#ifdef ATTN_UNIT_AMX /* compilers have different names for it */

#include <immintrin.h>

#define UNIT_NAME amx

/* A value of bf16 as float32, whose upper half it is. */
UNIT_INLINE __m512
unit_widen (__m256i halves)
{
  return _mm512_castsi512_ps (_mm512_slli_epi32 (_mm512_cvtepu16_epi32 (halves), 16));
}

UNIT_INLINE bool
unit_split (uint16_t *high, uint16_t *low, const float *in, size_t n)
{
  const uint32_t lanes = n < 32 ? (1u << n) - 1 : UINT32_MAX;
  const __m512 limit = _mm512_set1_ps (ATTN_SPLIT_LIMIT);
  __m512 a = _mm512_maskz_loadu_ps (lanes, in), b = _mm512_maskz_loadu_ps (lanes >> 16, in + 16);
  __m512i rounded = (__m512i) _mm512_cvtne2ps_pbh (b, a);
  __m512 rest_a = _mm512_sub_ps (a, unit_widen (_mm512_castsi512_si256 (rounded)));
  __m512 rest_b = _mm512_sub_ps (b, unit_widen (_mm512_extracti64x4_epi64 (rounded, 1)));
  __mmask16 small_a = _mm512_cmp_ps_mask (_mm512_abs_ps (a), limit, _CMP_LT_OQ);

  _mm512_storeu_si512 (high, rounded);
  _mm512_storeu_si512 (low, (__m512i) _mm512_cvtne2ps_pbh (rest_b, rest_a));
  return _mm512_mask_cmp_ps_mask (small_a, _mm512_abs_ps (b), limit, _CMP_LT_OQ) == 0xffff;
}

typedef struct {
  char nothing; /* the registers belong to the thread */
} Unit;

/* Registers 0 to 3 are accumulators, 4 and 5 the left operand, 6 and 7 the right one. */
#define UNIT_LEFT 4
#define UNIT_RIGHT 6

/*
 * In assembly, because compilers assume that the intrinsics read less memory than they do. The names of registers are
 * part of the instructions; a switch over a literal leaves one of them.
 */
#define UNIT_CASE(REGISTER, ...)   \
  case REGISTER:                   \
    __asm__ volatile(__VA_ARGS__); \
    break;
#define UNIT_ACCUMULATORS(INSTRUCTION) INSTRUCTION (0) INSTRUCTION (1) INSTRUCTION (2) INSTRUCTION (3)
#define UNIT_OPERANDS(INSTRUCTION) INSTRUCTION (4) INSTRUCTION (5) INSTRUCTION (6) INSTRUCTION (7)

/* `n_rows` <= 16 of accumulators and left operands. */
UNIT_INLINE void
unit_begin (Unit *unit, size_t n_rows)
{
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t n_bytes[16];
    uint8_t n_rows[16];
  } shapes = { .palette = 1 };

  (void) unit;
  for (int i = 0; i < 8; i++) {
    shapes.n_bytes[i] = 64;
    shapes.n_rows[i] = i < UNIT_RIGHT ? n_rows : 16;
  }
  __asm__ volatile("ldtilecfg %0" : : "m"(shapes) : "memory");
}

/* Empties the registers, so that a switch of threads has nothing to save. */
UNIT_INLINE void
unit_end (Unit *unit)
{
  (void) unit;
  __asm__ volatile("tilerelease" : : : "memory");
}

UNIT_INLINE void
unit_load (const int number, const void *from, size_t n_bytes)
{
#define LOAD(REGISTER) \
  UNIT_CASE (REGISTER, "tileloadd (%0,%1,1), %%tmm" #REGISTER : : "r"(from), "r"(n_bytes) : "memory")
  switch (number) {
    UNIT_ACCUMULATORS (LOAD)
    UNIT_OPERANDS (LOAD)
  }
#undef LOAD
}

/* accumulator = 0 */
UNIT_INLINE void
unit_zero (Unit *unit, const int accumulator)
{
#define ZERO(REGISTER) UNIT_CASE (REGISTER, "tilezero %%tmm" #REGISTER : :)
  (void) unit;
  switch (accumulator) {
    UNIT_ACCUMULATORS (ZERO)
  }
#undef ZERO
}

/* Every row of the accumulator = from [16]. */
UNIT_INLINE void
unit_fill (Unit *unit, const int accumulator, const float *from)
{
  (void) unit;
  unit_load (accumulator, from, 0);
}

/* to [n_rows][stride] = accumulator */
UNIT_INLINE void
unit_store (const Unit *unit, const int accumulator, float *to, size_t stride)
{
#define STORE(REGISTER) \
  UNIT_CASE (REGISTER, "tilestored %%tmm" #REGISTER ", (%0,%1,1)" : : "r"(to), "r"(stride * sizeof *to) : "memory")
  (void) unit;
  switch (accumulator) {
    UNIT_ACCUMULATORS (STORE)
  }
#undef STORE
}

UNIT_INLINE void
unit_load_left (Unit *unit, const int part, const uint16_t *from)
{
  (void) unit;
  unit_load (UNIT_LEFT + part, from, 64);
}

UNIT_INLINE void
unit_load_right (Unit *unit, const int part, const uint16_t *from)
{
  (void) unit;
  unit_load (UNIT_RIGHT + part, from, 64);
}

/* accumulator += left . right */
UNIT_INLINE void
unit_multiply (Unit *unit, const int accumulator, const int left, const int right)
{
#define MULTIPLY(REGISTER)                                               \
  case REGISTER:                                                         \
    if (left == UNIT_HIGH && right == UNIT_HIGH)                         \
      __asm__ volatile("tdpbf16ps %%tmm6, %%tmm4, %%tmm" #REGISTER : :); \
    else if (left == UNIT_LOW)                                           \
      __asm__ volatile("tdpbf16ps %%tmm6, %%tmm5, %%tmm" #REGISTER : :); \
    else                                                                 \
      __asm__ volatile("tdpbf16ps %%tmm7, %%tmm4, %%tmm" #REGISTER : :); \
    break;
  (void) unit;
  switch (accumulator) {
    UNIT_ACCUMULATORS (MULTIPLY)
  }
#undef MULTIPLY
}

#else

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"

#define UNIT_NAME c

typedef struct {
  size_t n_rows;
  float accumulators[4][16][16];
  float left[2][16][32], right[2][32][16];
} Unit;

/* A value of bf16 going in: denormals are 0. */
static inline float
unit_value (uint16_t half)
{
  return attn_flush (attn_float_from_bf16 (half), FLT_MIN);
}

static inline bool
unit_split (uint16_t *high, uint16_t *low, const float *in, size_t n)
{
  bool can_split = true;

  for (size_t i = 0; i < 32; i++) {
    float x = i < n ? in[i] : 0;

    can_split &= fabsf (x) < ATTN_SPLIT_LIMIT;
    high[i] = attn_bf16_from_float (x);
    low[i] = attn_bf16_from_float (attn_flush (x - attn_float_from_bf16 (high[i]), FLT_MIN));
  }
  return can_split;
}

UNIT_INLINE void
unit_begin (Unit *unit, size_t n_rows)
{
  unit->n_rows = n_rows;
}

UNIT_INLINE void
unit_end (Unit *unit)
{
  unit->n_rows = 0;
}

UNIT_INLINE void
unit_zero (Unit *unit, const int accumulator)
{
  memset (unit->accumulators[accumulator], 0, sizeof unit->accumulators[0]);
}

UNIT_INLINE void
unit_fill (Unit *unit, const int accumulator, const float *from)
{
  for (size_t row = 0; row < unit->n_rows; row++)
    memcpy (unit->accumulators[accumulator][row], from, sizeof unit->accumulators[0][0]);
}

UNIT_INLINE void
unit_store (const Unit *unit, const int accumulator, float *to, size_t stride)
{
  for (size_t row = 0; row < unit->n_rows; row++)
    memcpy (to + row * stride, unit->accumulators[accumulator][row], sizeof unit->accumulators[0][0]);
}

UNIT_INLINE void
unit_load_left (Unit *unit, const int part, const uint16_t *from)
{
  for (size_t row = 0; row < unit->n_rows; row++)
    for (size_t i = 0; i < 32; i++)
      unit->left[part][row][i] = unit_value (from[row * 32 + i]);
}

UNIT_INLINE void
unit_load_right (Unit *unit, const int part, const uint16_t *from)
{
  for (size_t row = 0; row < 32; row++)
    for (size_t column = 0; column < 16; column++)
      unit->right[part][row][column] = unit_value (from[(row / 2 * 16 + column) * 2 + row % 2]);
}

/*
 * Even and odd terms are summed apart, by fused multiply-add; denormal results are 0. In double a product is exact, and
 * a sum with it is so close to exact that rounding it twice equals rounding it once: where it is not exact, one term
 * lies far below the last place of the other.
 */
static inline void
unit_multiply (Unit *unit, const int accumulator, const int left, const int right)
{
  for (size_t row = 0; row < unit->n_rows; row++) {
    float sums[2][16] = { 0 };

    for (size_t i = 0; i < 32; i++)
      for (size_t column = 0; column < 16; column++)
        sums[i % 2][column] =
            attn_float_or_0 ((double) unit->left[left][row][i] * unit->right[right][i][column] + sums[i % 2][column]);
    for (size_t column = 0; column < 16; column++) {
      float *sum = &unit->accumulators[accumulator][row][column];

      *sum = attn_float_or_0 ((double) *sum + attn_float_or_0 ((double) sums[0][column] + sums[1][column]));
    }
  }
}

#endif

#endif
