/*
 * libattn: the code that the kernels over vectors of 16 lanes (lanes.h) share. Their sources, kernels_simd*.c, are
 * compiled once per instruction set. The contracts stand in kernels.h, and the same computations, simply written, in
 * kernels_c.c; here they are arranged for speed:
 *
 *   kernels_simd_project.c  a tile of frames times vectors of outputs stays in registers while it runs down a panel.
 *                           For one frame, where reading the panels is the work, several are read side by side.
 *   kernels_simd_attend.c   scores: several tiles of keys, for several queries, at once: one chain of fma alone would
 *                           wait for itself. Contexts: several rows at once, for the same reason.
 *   kernels_simd_activation.c  activations
 *   kernels_simd_frames.c   sums over a frame, several frames at once; and operations on single values
 *   kernels_simd.c          everything else, and the table
 *
 * The size of a register tile is a literal wherever the inlined functions are used, so that their arrays of Lanes are
 * registers.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_KERNELS_SIMD_H
#define ATTN_SRC_KERNELS_SIMD_H

#include "kernels/kernels.h"
#include "kernels/lanes.h"
#include "kernels/unroll.h"

#ifdef __FAST_MATH__
#error "these kernels promise bits: not with -ffast-math"
#endif

#define N_LANES ((size_t) ATTN_LANES)

/* The functions and the table of an instruction set: attn_project_avx512 (), attn_kernels_avx512. */
#define JOIN(name, isa) attn_##name##_##isa
#define OF_ISA(name, isa) JOIN (name, isa)
#define SIMD(name) OF_ISA (name, LANES_ISA)

void SIMD (project) (float *out, size_t out_stride, const float *in, size_t in_stride, size_t n_frames,
                     const AttnProjection *projection);
void SIMD (scores) (const AttnRows *rows, const float *queries, size_t query_stride, const void *keys,
                    size_t key_stride, size_t dk);
void SIMD (context) (const AttnRows *rows, float *contexts, size_t context_stride, const void *values,
                     size_t value_stride, size_t dv);
void SIMD (activate) (float *out, const float *in, size_t n, AttnActivation activation);
void SIMD (softmax_frames) (float *out, const float *in, size_t n_frames, size_t width, bool is_log);
void SIMD (norm) (float *out, const float *in, size_t n_frames, const AttnNorm *norm);
void SIMD (affine) (float *out, const float *in, const float *weight, const float *start, size_t n);
void SIMD (multiply) (float *out, const float *a, const float *b, size_t n);
void SIMD (add) (float *out, const float *a, const float *b, size_t n);
void SIMD (convolve) (float *out, const float *in, size_t n_frames, const AttnConvolution *convolution);

LANES_INLINE Lanes
clean (Lanes x)
{
  x = lanes_select (lanes_is_tiny (x), lanes_set (0), x);
  return lanes_select (lanes_is_nan (x), lanes_set (attn_bits_float (0x7fc00000)), x);
}

/*
 * A vector of row `row` + `odd` of a stored matrix, from `column` on; `row` is even. The precision is a branch that the
 * compiler decides.
 */
LANES_INLINE Lanes
load_stored (AttnPrecision precision, const int odd, const void *array, size_t row, size_t width, size_t column)
{
  switch (precision) {
  case ATTN_PRECISION_F16:
    return lanes_load_f16 ((const uint16_t *) array + (row + odd) * width + column);
  case ATTN_PRECISION_BF16:
    return lanes_load_bf16 ((const uint16_t *) array + row * width + 2 * column, odd);
  default:
    return lanes_load ((const float *) array + (row + odd) * width + column);
  }
}

LANES_INLINE const void *
advance (AttnPrecision precision, const void *array, size_t n)
{
  return (const char *) array + n * attn_precision_size (precision);
}

LANES_INLINE void
store_first (float *p, Lanes x, size_t n)
{
  if (n >= N_LANES)
    lanes_store (p, x);
  else
    lanes_store_n (p, x, n);
}

/* Stores x to values [n] from `i` on, as far as they go. */
LANES_INLINE void
store_within (float *values, size_t i, size_t n, Lanes x)
{
  if (i < n)
    store_first (values + i, x, n - i);
}

LANES_INLINE Lanes
load_first (const float *p, size_t n)
{
  return n >= N_LANES ? lanes_load (p) : lanes_load_n (p, n);
}

/* A sum that started from the guard, without it. */
LANES_INLINE Lanes
without_guard (Lanes sum)
{
  return lanes_sub (sum, lanes_set (ATTN_GUARD));
}

/* x times factor, cleaned; `limit` is attn_smallest_factor (factor). */
LANES_INLINE Lanes
times (Lanes x, Lanes factor, Lanes limit)
{
  const Lanes zero = lanes_set (0);

  x = lanes_mul (lanes_select (lanes_is_below (x, limit), zero, x), factor);
  x = lanes_add (x, zero); /* -0 becomes +0 */
  return lanes_select (lanes_is_nan (x), lanes_set (attn_bits_float (0x7fc00000)), x);
}

/* AttnKernels.scale */
static inline void
simd_scale (float *out, const float *in, float factor, size_t n)
{
  const Lanes factors = lanes_set (factor), limit = lanes_set (attn_smallest_factor (factor));

  size_t i = 0;

  for (; i + N_LANES <= n; i += N_LANES)
    lanes_store (out + i, times (lanes_load (in + i), factors, limit));
  if (i < n)
    lanes_store_n (out + i, times (lanes_load_n (in + i, n - i), factors, limit), n - i);
}

/* x, or 0 where its magnitude is below `limit`. */
LANES_INLINE Lanes
flush (Lanes x, float limit)
{
  return lanes_select (lanes_is_below (x, lanes_set (limit)), lanes_set (0), x);
}

/* As exp2_slope () of kernels_c.h. */
LANES_INLINE Lanes
exp2_slope (Lanes r)
{
  Lanes p = lanes_set (0x1.4b107ep-13f);

  p = lanes_fma (p, r, lanes_set (0x1.5fb504p-10f));
  p = lanes_fma (p, r, lanes_set (0x1.3b21cap-7f));
  p = lanes_fma (p, r, lanes_set (0x1.c6ada8p-5f));
  p = lanes_fma (p, r, lanes_set (0x1.ebfbe6p-3f));
  return lanes_fma (p, r, lanes_set (0x1.62e432p-1f));
}

/* As exp2_sum () of kernels_c.h. */
LANES_INLINE Lanes
exp2_sum (Lanes r, Lanes sum)
{
  return lanes_add_exponent (lanes_fma (exp2_slope (r), r, lanes_set (1)), sum);
}

/* As exp_negative () of kernels_c.h. */
LANES_INLINE Lanes
exp_negative (Lanes x)
{
  const Lanes shift = lanes_set (0x1.8p23f), high = lanes_set (0x1.715476p0f), low = lanes_set (0x1.4ae0cp-26f);
  Lanes sum = lanes_fma (x, high, shift), minus_n = lanes_sub (shift, sum);
  Lanes p = exp2_sum (lanes_fma (x, low, lanes_fma (x, high, minus_n)), sum);

  p = lanes_select (lanes_less (x, lanes_set (ATTN_LEAST_EXPONENT)), lanes_set (0), p);
  return lanes_select (lanes_is_nan (x), lanes_set (attn_bits_float (0x7fc00000)), p);
}

#endif
