/*
 * libattn: the blocks that gather frames: `conv`, a convolution over time, and `stack`.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_CONV_H
#define ATTN_SRC_CONV_H

#include "blocks/block.h"

/* A convolution, as PyTorch's Conv1d has it: output i reads the frames i stride - left + j dilation, j < kernel. */
typedef struct {
  size_t n_inputs;     /* values per frame */
  size_t n_outputs;    /* a multiple of the groups, as n_inputs is */
  size_t kernel;       /* >= 1 */
  size_t groups;       /* >= 1 */
  uint64_t stride;     /* >= 1 */
  uint64_t dilation;   /* >= 1 */
  uint64_t left;       /* zeros before the first frame: at most (kernel - 1) dilation */
  uint64_t right;      /* zeros behind the last frame: at most (kernel - 1) dilation + stride - 1 */
  const float *weight; /* [n_outputs][n_inputs / groups][kernel] */
  const float *bias;   /* [n_outputs], or NULL */
  AttnActivation activation;
  AttnPrecision precision; /* of the weight */
} AttnConv;

/*
 * Each output is one fma chain from the bias, taps oldest first, inputs ascending within a tap. Copies the parameters,
 * cleaned. The caller has checked the numbers. `machine` must outlive the block. On failure *block is NULL, or the
 * caller frees it by its kind's free ().
 */
AttnStatus attn_conv_new (const AttnMachine *machine, const AttnConv *conv, AttnBlock **block, AttnError *error);

/* `n` >= 1 frames one behind the other, oldest first; an incomplete last one is dropped. */
AttnStatus attn_stack_new (const AttnMachine *machine, size_t width, uint64_t n, AttnBlock **block, AttnError *error);

#endif
