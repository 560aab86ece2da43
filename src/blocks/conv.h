/*
 * libattn: the blocks that gather frames: `conv`, a convolution over time, `conv2d`, one over time and frequency, and
 * `stack`.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_CONV_H
#define ATTN_SRC_CONV_H

#include "blocks/block.h"

/*
 * A convolution, as PyTorch's Conv1d and Conv2d have it. A frame is [channels][bins], going in and coming out. Bin f of
 * output i reads the frames i stride - left + j dilation, j < kernel, and of each the bins f bin_stride - low + k,
 * k < bin_kernel.
 */
typedef struct {
  bool has_bins;       /* conv2d; else each channel has one bin: the next fields are 1, 1, 1, 0 and 0 */
  size_t n_bins;       /* of each channel that comes in, >= 1 */
  size_t bin_kernel;   /* >= 1 */
  size_t bin_stride;   /* >= 1 */
  size_t low;          /* zeros below the first bin: at most bin_kernel - 1 */
  size_t high;         /* zeros above the last bin: at most bin_kernel + bin_stride - 2; one output bin, or more */
  size_t n_inputs;     /* channels */
  size_t n_outputs;    /* a multiple of the groups, as n_inputs is */
  size_t kernel;       /* >= 1 */
  size_t groups;       /* >= 1 */
  uint64_t stride;     /* >= 1 */
  uint64_t dilation;   /* >= 1 */
  uint64_t left;       /* zeros before the first frame: at most (kernel - 1) dilation */
  uint64_t right;      /* zeros behind the last frame: at most (kernel - 1) dilation + stride - 1 */
  const float *weight; /* [n_outputs][n_inputs / groups][kernel][bin_kernel] */
  const float *bias;   /* [n_outputs], or NULL */
  AttnActivation activation;
  AttnPrecision precision; /* of the weight */
} AttnConv;

/* The bins of each channel that leaves; 0: the kernel is wider than the bins and zeros that there are. */
static inline size_t
attn_conv_bins_out (const AttnConv *conv)
{
  size_t n = conv->low + conv->n_bins + conv->high;

  return n < conv->bin_kernel ? 0 : (n - conv->bin_kernel) / conv->bin_stride + 1;
}

/*
 * Each output is one fma chain from the bias: taps oldest first, within a tap the bins ascending, within a bin the
 * channels. Copies the parameters, cleaned. The caller has checked the numbers. `machine` must outlive the block. On
 * failure *block is NULL, or the caller frees it by its kind's free ().
 */
AttnStatus attn_conv_new (const AttnMachine *machine, const AttnConv *conv, AttnBlock **block, AttnError *error);

/*
 * Two blocks in a row. If both are convolutions, and divide the frames between them into the same channels and bins,
 * these frames go as [bins][channels], which is the order that convolutions compute in. Nobody else sees them.
 */
void attn_conv_join (AttnBlock *block, AttnBlock *next);

/* `n` >= 1 frames one behind the other, oldest first; an incomplete last one is dropped. */
AttnStatus attn_stack_new (const AttnMachine *machine, size_t width, uint64_t n, AttnBlock **block, AttnError *error);

#endif
