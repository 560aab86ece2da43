/*
 * libattn: the block `linear`: the packed projection of linear.h, and an activation.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "base/hash.h"
#include "base/status.h"
#include "blocks/framewise.h"
#include "blocks/linear.h"

typedef struct {
  AttnFramewise framewise;
  AttnProjection projection;
  AttnActivation activation;
} Linear;

static void
linear_free (AttnBlock *block)
{
  Linear *linear = (Linear *) block;

  attn_linear_clear (&linear->projection);
  attn_free (linear);
}

static void
linear_settle (AttnBlock *block, AttnArena *arena)
{
  attn_linear_settle (&((Linear *) block)->projection, arena);
}

static double
linear_multiplications (const AttnBlock *block)
{
  return attn_linear_multiplications (&((const Linear *) block)->projection);
}

static uint64_t
linear_hash (const AttnBlock *block, uint64_t hash)
{
  const Linear *linear = (const Linear *) block;

  hash = attn_hash_number (hash, linear->activation, 1);
  hash = attn_hash_number (hash, linear->projection.precision, 1);
  return attn_linear_hash (hash, &linear->projection);
}

static void
linear_compute (const AttnFramewiseState *state, float *out)
{
  const Linear *linear = (const Linear *) state->framewise;
  const AttnMachine *machine = linear->framewise.block.machine;
  const AttnProjection *projection = &linear->projection;
  uint64_t n_operations = (uint64_t) 2 * projection->n_inputs * projection->n_outputs * state->run.n;
  uint64_t n_values = (projection->n_inputs + projection->n_outputs) * state->run.n;
  AttnPool *pool = attn_work_pool (state->work, n_operations, n_values);

  if (attn_linear_share (machine, state->work, pool, projection, state->scratch, out, state->frames, state->run.n))
    attn_activate_frames (machine->kernels, out, state->run.n, projection->n_outputs, linear->activation);
}

static const AttnFramewiseKind linear_kind =
    ATTN_FRAMEWISE_KIND ("linear", linear_free, linear_settle, linear_multiplications, linear_hash, linear_compute);

AttnStatus
attn_linear_block_new (const AttnMachine *machine, const AttnLinear *parameters, AttnActivation activation,
                       AttnPrecision precision, AttnBlock **block, AttnError *error)
{
  size_t n_inputs = parameters->n_inputs, n_outputs = parameters->n_outputs;
  Linear *linear = attn_framewise_new (sizeof *linear, &linear_kind, machine, n_inputs, n_outputs, error);
  AttnStatus status;

  *block = (AttnBlock *) linear;
  if (linear == NULL)
    return ATTN_ERROR_MEMORY;
  linear->activation = activation;
  if ((status = attn_linear_init (&linear->projection, n_inputs, n_outputs, precision, error))
      || (status = attn_linear_pack (&linear->projection, 0, "linear", parameters, machine->kernels, error)))
    return status;
  if (machine->matrix == NULL)
    return ATTN_OK;
  linear->framewise.scratch_size = attn_size_mul (attn_left_size (n_inputs), sizeof (uint16_t));
  return attn_linear_split (&linear->projection, error);
}
