/*
 * libattn: linear layers: out = weight in + bias, packed for the kernels, in any precision, by vectors or by a matrix
 * unit, shared by threads.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_LINEAR_H
#define ATTN_SRC_LINEAR_H

#include "blocks/block.h"
#include "parameters/model.h"

/*
 * Makes room for n_outputs by n_inputs parameters. On failure the caller clears the half-built projection by
 * attn_linear_clear ().
 */
AttnStatus attn_linear_init (AttnProjection *projection, size_t n_inputs, size_t n_outputs, AttnPrecision precision,
                             AttnError *error);
void attn_linear_clear (AttnProjection *projection); /* frees the arrays; accepts a zeroed one */

/*
 * The parameters of `linear`, cleaned, become those of the outputs from `first` on. `name` is for the error about a
 * parameter that the precision cannot hold.
 */
AttnStatus attn_linear_pack (AttnProjection *projection, size_t first, const char *name, const AttnLinear *linear,
                             const AttnKernels *kernels, AttnError *error);

/* Multiplications for one frame; the identity has none. */
static inline double
attn_linear_multiplications (const AttnProjection *projection)
{
  return projection->weight != NULL ? (double) projection->n_inputs * projection->n_outputs : 0;
}

/* Moves the weights as AttnBlockKind.settle () does; the identity has none. */
void attn_linear_settle (AttnProjection *projection, AttnArena *arena);

/* Stores the weights once more, for a matrix unit (matrix.h), unless one is too large for it. */
AttnStatus attn_linear_split (AttnProjection *projection, AttnError *error);

/* `hash`, continued with the stored values. */
uint64_t attn_linear_hash (uint64_t hash, const AttnProjection *projection);

/*
 * out [n][n_outputs] = weight in [n][n_inputs] + bias, cleaned, n <= ATTN_LANES. The projection has a weight. The
 * threads of `pool` share the outputs; NULL = the caller alone. `left`: room for the frames as a left operand
 * (matrix.h), if the weights are split.
 */
void attn_linear_run (const AttnMachine *machine, AttnPool *pool, const AttnProjection *projection, uint16_t *left,
                      float *out, const float *in, size_t n);

/*
 * The same for a block of a stream. In a group of streams the first call only asks the group, and returns false: the
 * block leaves its give (), and repeats the call when it is asked again. Then, and in a stream alone, `out` is written,
 * and the call returns true.
 */
bool attn_linear_share (const AttnMachine *machine, const AttnWork *work, AttnPool *pool,
                        const AttnProjection *projection, uint16_t *left, float *out, const float *in, size_t n);

#endif
