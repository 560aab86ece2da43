/*
 * libattn: the arithmetic, as one table of functions per instruction set.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every function below has one fixed order of operations; every row of the table gives the same bits. "fma chain" means
 * acc = fma (a_i, b_i, acc) for i ascending. Arrays may have any alignment that their type has; they do not overlap
 * unless a comment says so. "Cleaned" values: those below the smallest normal float32 are +0, every NaN is 0x7fc00000.
 *
 * A processor that meets a denormal number, or makes one, may take a hundred times as long. So no sum of products
 * starts from 0, but from ATTN_GUARD, which is subtracted at the end: inside an fma a product is exact, however small,
 * and next to the guard the result is normal. And before two values are multiplied, one whose product would leave the
 * normal range counts as 0 (attn_smallest_factor ()). A denormal is found by its bits: a comparison would count as
 * using it. The only denormals left come from cancellation: a sum of 2^-126 or less next to terms of 2^-102 or more.
 *
 * Parameters, keys and values are stored in one of three precisions and become float32, exactly, as they are loaded.
 * They stand as matrices [rows][width], and sums run down the rows: inputs by outputs, dimensions by frames, frames by
 * values. In bf16 two neighbouring rows share words of 32 bits, [rows / 2][width][2]: one instruction, a shift or a
 * mask, turns either row into a vector of float32.
 */
#ifndef ATTN_SRC_KERNELS_H
#define ATTN_SRC_KERNELS_H

#include <stdbool.h>

#include <math.h>

#include "attn.h"
#include "base/alloc.h"
#include "base/half.h"

/* Frames per tile of the window, and outputs per panel of a packed projection: the lanes of the widest vector. */
#define ATTN_LANES 16

#define ATTN_LOG2_E 1.4426950408889634 /* log2 (e), rounded to double */

/* Bytes of a stored value. */
static inline size_t
attn_precision_size (AttnPrecision precision)
{
  return precision == ATTN_PRECISION_F32 ? 4 : 2;
}

/* The number of rows that a matrix of `n_rows` is stored in: in bf16 rows are stored in pairs. */
static inline size_t
attn_stored_rows (size_t n_rows, AttnPrecision precision)
{
  return precision == ATTN_PRECISION_BF16 ? n_rows + n_rows % 2 : n_rows;
}

/* softcap tanh (score / softcap) in units of log2 (e), for AttnKernels.softcap. */
typedef struct {
  float factor; /* 2 / softcap */
  float cap;    /* softcap * log2 (e); 0 = off */
} AttnSoftcap;

/*
 * The start of sums of products; about 3e-31. It is as small as possible: the last bit of any value of at least half of
 * it has a weight of 2^-126 or more, so that the difference of two sums near the guard is normal or 0, too. Its
 * significand is prime, so that hardly any product of two float32 is exactly its opposite. The guard costs a sum at
 * most half of its own last place, 2^-126, per term.
 */
#define ATTN_GUARD 0x1.8f5c06p-102f

/*
 * A linear layer as the kernels want it: panels of outputs, inputs ascending inside a panel, zero-padded.
 */
typedef struct {
  size_t n_inputs;
  size_t n_outputs;
  size_t panel; /* outputs of a panel: attn_panel () of all of them */
  AttnPrecision precision;
  size_t ahead;    /* the weights of the layer fill the caches: ask for them this many bytes ahead; 0: they do not */
  void *weight;    /* [n_panels][n_inputs][panel], inputs in pairs in bf16; NULL: the identity */
  float *bias;     /* [n_panels][panel], 0 where there is no bias */
  float *start;    /* [n_panels][panel], the bias plus ATTN_GUARD: the start of sums */
  uint16_t *split; /* the weights once more, as a right operand of n_inputs rows (matrix.h); NULL: there is none */
} AttnProjection;

#define ATTN_MAX_PANEL (5 * ATTN_LANES)

/* Readable bytes behind the values of a window: the last vector of a row goes on into the next one. */
#define ATTN_VALUES_SLACK (ATTN_LANES * sizeof (float))

/*
 * The width of a panel: up to five vectors, so that there is as little padding as possible. Four or five suit the
 * kernels best.
 */
static inline size_t
attn_panel (size_t n_outputs)
{
  static const unsigned char by_preference[] = { 4, 5, 3 };
  size_t n = (n_outputs + ATTN_LANES - 1) / ATTN_LANES, best = 4, i;

  if (n < 3)
    return n * ATTN_LANES;
  for (i = 0; i < sizeof by_preference; i++)
    if (attn_round_up (n, by_preference[i]) < attn_round_up (n, best))
      best = by_preference[i];
  return best * ATTN_LANES;
}

/* The place of an element of a matrix. A row with an even number begins at row * width in every precision. */
static inline size_t
attn_stored_index (size_t row, size_t width, size_t column, AttnPrecision precision)
{
  return precision == ATTN_PRECISION_BF16 ? (row / 2 * width + column) * 2 + row % 2 : row * width + column;
}

/* Element `i` of an array in any precision. */
static inline float
attn_stored_value (const void *array, size_t i, AttnPrecision precision)
{
  switch (precision) {
  case ATTN_PRECISION_F16:
    return attn_float_from_f16 (((const uint16_t *) array)[i]);
  case ATTN_PRECISION_BF16:
    return attn_float_from_bf16 (((const uint16_t *) array)[i]);
  default:
    return ((const float *) array)[i];
  }
}

/*
 * The smallest magnitude whose product with `factor` is normal, and no less than the smallest normal number itself:
 * smaller values count as 0. Infinite if the factor is 0. (A little more than the quotient, so that rounding cannot
 * make it less.)
 */
static inline float
attn_smallest_factor (float factor)
{
  float magnitude = fabsf (factor);
  float divisor = attn_opaque (magnitude < 1 ? magnitude : 1); /* so that no tiny quotient is made in vain */

  return magnitude < 1 ? 0x1.000002p-126f / divisor : 0x1p-126f;
}

/* The smallest magnitude stored as infinity: infinity; 65520, which is rounded up; 2^128 less half of a last place. */
static inline float
attn_infinite_from (AttnPrecision precision)
{
  static const uint32_t bits[] = { 0x7f800000, 0x477ff000, 0x7f7f8000 };

  return attn_bits_float (bits[precision]);
}

/* The functions behind a linear layer; the last two take all values of a frame at once. */
typedef enum {
  ATTN_ACTIVATION_NONE,
  ATTN_ACTIVATION_RELU,
  ATTN_ACTIVATION_GELU,      /* x Phi (x), by erf */
  ATTN_ACTIVATION_GELU_TANH, /* the same by an approximation of Phi, with which some models were trained */
  ATTN_ACTIVATION_SILU,      /* x sigmoid (x) */
  ATTN_ACTIVATION_TANH,
  ATTN_ACTIVATION_SIGMOID,
  ATTN_ACTIVATION_SOFTMAX,
  ATTN_ACTIVATION_LOG_SOFTMAX
} AttnActivation;

/*
 * The points where activations reach their limits at infinity, or nearly so: gelu and silu of -x are 0 from there on;
 * before, they are down to 2^-100 and 2^-117. ATTN_LEAST_EXPONENT: down to it e^x is normal.
 */
#define ATTN_HALF_IS_NORMAL 0x1.00001p-125f
#define ATTN_GELU_FAR 12.25f
#define ATTN_GELU_TANH_FAR 9.75f
#define ATTN_SILU_FAR 86.0f
#define ATTN_LEAST_EXPONENT -0x1.5d589ep6f

/* A norm over a frame. */
typedef struct {
  size_t width;
  bool is_rms;         /* by the mean of squares; else by mean and variance */
  float eps;           /* 1e-30 ... 1e30 */
  const float *weight; /* [width], cleaned */
  const float *start;  /* [width], the bias plus ATTN_GUARD */
} AttnNorm;

/*
 * A convolution of each value with itself, over time and, where a frame is [bins][width], over the bins: as the kernels
 * want it.
 */
typedef struct {
  size_t width;        /* values of a bin, in and out */
  size_t n_taps;       /* frames that an output reads */
  size_t n_bins;       /* neighbouring bins of each that it reads; 1: frames have no bins */
  size_t tap_stride;   /* distance from the values of one tap to those of the next */
  size_t frame_stride; /* distance from the values of one output to those of the next */
  const float *weight; /* [n_taps][n_bins][width], oldest first, cleaned */
  const float *start;  /* [width], the bias plus ATTN_GUARD */
} AttnConvolution;

/*
 * Rows of scores: the queries of one head (they share keys and values), or the heads of one query (each has its own).
 * All run over the same tiles of 16 frames, in the order of time.
 */
typedef struct {
  size_t n_rows;
  size_t n_tiles;
  const uint32_t *slots;  /* [n_tiles]: tile i stands at slots[i] of the arrays of keys and values */
  const uint16_t *finite; /* [all slots]: bit i: the values of frame i are finite, even if it is not attended to */
  const uint16_t *masks;  /* row r: [n_tiles] at masks + r mask_stride: bit i: frame i is attended to */
  size_t mask_stride;     /* 0: the same for all rows */
  float *scores; /* row r: [n_tiles][16] at scores + r score_stride; become weights, not yet divided by their sum */
  size_t score_stride;
  float *reciprocals;      /* [n_rows]: 1 / the sum of the weights */
  AttnPrecision precision; /* of keys and values */
  bool is_far;             /* keys and values are not in the caches of a core: ask for them ahead */
} AttnRows;

/* A tile of the window of some heads, in float32: keys [dk][16] and values [16][dv] of each. */
typedef struct {
  float *keys, *values;            /* of the first head */
  size_t key_stride, value_stride; /* from a head to the next one */
  size_t n_heads, dk, dv;
} AttnTiles;

typedef struct {
  const char *name;

  /*
   * out[i] = in[i] * factor, cleaned; +0 where |in[i]| < attn_smallest_factor (factor), without a multiplication. May
   * work in place.
   */
  void (*scale) (float *out, const float *in, float factor, size_t n);

  /* Whether every |values[i]| < limit; for a NaN this is false. */
  bool (*all_below) (const float *values, size_t n, float limit);

  /* out[i] = in[i], already cleaned, rounded as in half.h. `precision` is ATTN_PRECISION_F16 or _BF16. */
  void (*narrow) (uint16_t *out, const float *in, size_t n, AttnPrecision precision);

  /*
   * Writes frames to lanes `lane` and following of the tiles of some heads. keys [n_frames][stride], of which head h
   * has the values from h dk on; values [n_frames][stride], from h dv on; lane + n_frames <= 16.
   */
  void (*store) (const AttnTiles *tiles, size_t lane, const float *keys, const float *values, size_t stride,
                 size_t n_frames);

  /*
   * out [n_frames][out_stride] = weight in + bias, cleaned: per output one fma chain over the inputs, from the start of
   * the projection; less the guard. in [n_frames][in_stride]. The projection has a weight.
   */
  void (*project) (float *out, size_t out_stride, const float *in, size_t in_stride, size_t n_frames,
                   const AttnProjection *projection);

  /*
   * rows->scores = keys . query: per key one fma chain over the dk dimensions, from the guard, which stays in it: 3e-31
   * is nothing to the weights, and differences of small scores are normal. Row r: queries + r query_stride and keys + r
   * key_stride, [slots][dk][16] (dimensions in pairs in bf16); strides in elements.
   */
  void (*scores) (const AttnRows *rows, const float *queries, size_t query_stride, const void *keys, size_t key_stride,
                  size_t dk);

  /*
   * In place, scores [n_tiles][16], which contain the guard, s + guard := fma (cap, sign (s) (1 - 2^-y) / (1 + 2^-y),
   * guard) with y = factor |s|: cap tanh (s factor ln (2) / 2). Where |s| < 4 attn_smallest_factor (factor) it stays as
   * it is: factor cap ln (2) / 2 is 1. Each score by itself, so no order matters; within 4 units of the last place,
   * next to the guard. NaN stays NaN, an infinite score becomes +-cap. factor and cap are positive and normal.
   */
  void (*softcap) (float *scores, float factor, float cap, size_t n_tiles);

  /*
   * In place, scores to weights without their common divisor: 2^(score - largest score), 0 where the mask has no bit
   * for the lane; 0 below 2^-126; a NaN is 0x7fc00000. Their sum: per lane over the tiles ascending, then the lanes i +
   * (i + 8), + 4, + 2, + 1; its reciprocal goes to rows->reciprocals.
   */
  void (*softmax) (const AttnRows *rows);

  /*
   * Row r: contexts + r context_stride [dv] = the fma chain, from the guard, of weights and values over the frames
   * whose bit is set, ascending; less the guard; times the reciprocal, as `scale` does it. values + r value_stride:
   * [slots][16][dv], in bf16 of frame pairs, ATTN_VALUES_SLACK behind the last; strides in elements. The values of
   * frames without a bit never count, even if they are NaN; their weights are 0, as softmax leaves them. (Adding 0
   * times a finite value changes at most the sign of a zero, which the guard takes away at the end.)
   */
  void (*context) (const AttnRows *rows, float *contexts, size_t context_stride, const void *values,
                   size_t value_stride, size_t dv);

  /*
   * In place, RoPE: turns the pairs (x, y) of one head by angles of cosines c and sines s [n_pairs]:
   * x' = fma (-y, s, fma (x, c, guard)) - guard, y' = fma (x, s, fma (y, c, guard)) - guard; cleaned. The layout says
   * which values are a pair.
   */
  void (*rotate) (float *values, const float *cosines, const float *sines, size_t n_pairs, AttnRopeLayout layout);

  /* scores [n_tiles][16] += biases [n_tiles][16]. */
  void (*add_biases) (float *scores, const float *biases, size_t n_tiles);

  /* ---- frames: inputs and outputs are cleaned. All but `convolve` may work in place. ---- */

  /*
   * out[i] = the activation of in[i], except the two that take a frame. The error is at most: gelu, gelu-tanh, silu
   * 2^-22 max (|y|, 2^-20 |x|), tanh and sigmoid 2 units of the last place. Results below the smallest normal number
   * are 0. At -infinity gelu, gelu-tanh and silu are 0, their limit.
   */
  void (*activate) (float *out, const float *in, size_t n, AttnActivation activation);

  /*
   * The softmax of each frame, [n_frames][width], or its logarithm. d = in[i] - the largest, 0 where that is tiny; e^d;
   * their sum in 16 lanes, lane = i mod 16, ascending, then the lanes i + (i + 8), + 4, + 2, + 1. out[i] = e^d times
   * the reciprocal of the sum, as `scale` does it; or d - attn_logarithm (sum). A NaN, an infinity, or nothing but
   * -infinity: the whole frame is NaN.
   */
  void (*softmax_frames) (float *out, const float *in, size_t n_frames, size_t width, bool is_log);

  /*
   * Each frame, [n_frames][width]. Sums run in 16 lanes as above, each from the guard, which is subtracted before the
   * lanes are added up; a sum whose mean would be tiny counts as 0. m = the sum / width, or 0 for rms; d = in[i] - m, 0
   * where that is tiny; v = the sum of squares, one fma each, / width; r = 1 / sqrt (v + eps), 0 where the squares
   * overflow; out[i] = fma (d r, weight[i], start[i]) - guard, d r as `scale` does it.
   */
  void (*norm) (float *out, const float *in, size_t n_frames, const AttnNorm *norm);

  /* out[i] = fma (in[i], weight[i], start[i]) - guard. */
  void (*affine) (float *out, const float *in, const float *weight, const float *start, size_t n);

  /* out[i] = fma (a[i], b[i], guard) - guard. */
  void (*multiply) (float *out, const float *a, const float *b, size_t n);

  /* out[i] = a[i] + b[i]. */
  void (*add) (float *out, const float *a, const float *b, size_t n);

  /*
   * out [n_frames][width]: per value one fma chain over the taps, and over the bins of each, from the start; less the
   * guard. Bin k of tap j of output t reads in + t frame_stride + j tap_stride + k width.
   */
  void (*convolve) (float *out, const float *in, size_t n_frames, const AttnConvolution *convolution);
} AttnKernels;

/* sum / n, 0 where it would be tiny. */
static inline float
attn_mean (float sum, size_t n)
{
  return attn_flush (sum, n * 0x1p-126f) / n;
}

/* The natural logarithm of x >= 1, to within 2^-40 of it; NaN for any other x but +infinity. */
double attn_logarithm (float x);

extern const AttnKernels attn_kernels_c;
#ifdef ATTN_HAVE_AVX512
extern const AttnKernels attn_kernels_avx512;
#endif
#ifdef ATTN_HAVE_AVX2
extern const AttnKernels attn_kernels_avx2;
#endif
#ifdef ATTN_HAVE_NEON
extern const AttnKernels attn_kernels_neon;
#endif

#endif
