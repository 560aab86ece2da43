/*
 * libattn: the arithmetic, as one table of functions per instruction set.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every function below has one fixed order of operations; every row of the table gives the same bits. "fma chain" means
 * acc = fma (a_i, b_i, acc) for i ascending. Arrays are at multiples of ATTN_ALIGNMENT unless said; they do not overlap
 * unless said. "Cleaned" values: those below the smallest normal float32 are +0, every NaN is 0x7fc00000.
 */
#ifndef ATTN_SRC_KERNELS_H
#define ATTN_SRC_KERNELS_H

#include <stdbool.h>

#include "config.h"

/* A linear layer as the kernels want it: panels of ATTN_LANES outputs, inputs ascending inside a panel, zero-padded. */
typedef struct {
  size_t n_inputs;
  size_t n_outputs;
  float *weight; /* [n_panels][n_inputs][ATTN_LANES]; NULL: the identity */
  float *bias;   /* [n_panels * ATTN_LANES], 0 where there is none */
} AttnProjection;

typedef struct {
  const char *name;

  /* out[i] = in[i] * factor, cleaned. May work in place; any alignment. */
  void (*scale) (float *out, const float *in, float factor, size_t n);

  /*
   * out [n_frames][out_stride] = weight in + bias, cleaned: per output one fma chain over the inputs, from the bias. in
   * [n_frames][in_stride]. Any alignment of `out` and `in`. The projection has a weight.
   */
  void (*project) (float *out, size_t out_stride, const float *in, size_t in_stride, size_t n_frames,
                   const AttnProjection *projection);

  /*
   * scores [n_tiles][16] = keys . query: per key one fma chain over the dk dimensions, from 0. keys [n_tiles][dk][16].
   */
  void (*scores) (float *scores, const float *query, const float *keys, size_t dk, size_t n_tiles);

  /*
   * In place, scores [n_tiles][16] := sign (score) cap (1 - 2^-y) / (1 + 2^-y) with y = factor |score|: cap tanh (score
   * factor ln (2) / 2). Per score, without any order; within 4 units of the last place. NaN stays NaN, an infinite
   * score becomes +-cap exactly, and the sign is kept, also that of 0. factor and cap are positive and normal.
   */
  void (*softcap) (float *scores, float factor, float cap, size_t n_tiles);

  /*
   * In place, scores to weights without their common divisor: 2^(score - largest score), 0 where masks [n_tiles] has no
   * bit for the lane; 0 below 2^-126. Returns their sum: per lane over the tiles ascending, then the lanes i + (i + 8),
   * + 4, + 2, + 1.
   */
  float (*softmax) (float *scores, const uint16_t *masks, size_t n_tiles);

  /*
   * context [dv_padded] = the fma chain, from what stands there, of weights [n_tiles][16] and values
   * [n_tiles][16][dv_padded] over the frames whose bit is set, ascending. Frames without a bit are not read: 0 * NaN
   * would be NaN.
   */
  void (*context) (float *context, const float *weights, const uint16_t *masks, const float *values, size_t dv_padded,
                   size_t n_tiles);

  /*
   * In place, RoPE: turns the pairs (x, y) of one head by angles of cosines c and sines s [n_pairs]:
   * x' = fma (-y, s, x c), y' = fma (x, s, y c), where the products with c are rounded first; cleaned. The layout says
   * which values are a pair. Any alignment.
   */
  void (*rotate) (float *values, const float *cosines, const float *sines, size_t n_pairs, AttnRopeLayout layout);

  /* scores [n_tiles][16] += biases [n_tiles][16]; any alignment of `biases`. */
  void (*add_biases) (float *scores, const float *biases, size_t n_tiles);
} AttnKernels;

/*
 * The best row for this processor, or the one that the environment variable ATTN_CPU names. NULL: that one cannot run
 * here.
 */
const AttnKernels *attn_kernels_pick (AttnError *error);

/* Row `i`, best first, whether or not this processor can run it; NULL behind the last. For tests. */
const AttnKernels *attn_kernels_row (size_t i, bool *runs_here);

extern const AttnKernels attn_kernels_c;
#ifdef ATTN_HAVE_C_FMA
extern const AttnKernels attn_kernels_c_fma;
#endif

#endif
