/* libattn: the blocks `activation` and `glu`.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "blocks/framewise.h"

typedef struct {
  AttnFramewise framewise;
  AttnActivation activation;
} Activation;

static void
activation_free (AttnBlock *block)
{
  attn_free (block);
}

static uint64_t
activation_hash (const AttnBlock *block, uint64_t hash)
{
  const Activation *activation = (const Activation *) block;

  hash = attn_hash_number (hash, block->n_inputs, 8);
  return attn_hash_number (hash, activation->activation, 1);
}

static void
activation_compute (const AttnFramewiseState *state, float *out)
{
  const Activation *activation = (const Activation *) state->framewise;
  const AttnBlock *block = &state->framewise->block;

  memcpy (out, state->frames, state->run.n * block->n_outputs * sizeof *out);
  attn_activate_frames (block->machine->kernels, out, state->run.n, block->n_outputs, activation->activation);
}

static const AttnFramewiseKind activation_kind =
    ATTN_FRAMEWISE_KIND ("activation", activation_free, NULL, NULL, activation_hash, activation_compute);

static AttnStatus
new_block (const AttnFramewiseKind *kind, const AttnMachine *machine, size_t n_inputs, size_t n_outputs,
           AttnActivation activation, AttnBlock **block, AttnError *error)
{
  Activation *result = attn_framewise_new (sizeof *result, kind, machine, n_inputs, n_outputs, error);

  *block = (AttnBlock *) result;
  if (result == NULL)
    return ATTN_ERROR_MEMORY;
  result->activation = activation;
  return ATTN_OK;
}

AttnStatus
attn_activation_new (const AttnMachine *machine, size_t width, AttnActivation activation, AttnBlock **block,
                     AttnError *error)
{
  return new_block (&activation_kind, machine, width, width, activation, block, error);
}

/* ---- glu ---- */

static void
glu_compute (const AttnFramewiseState *state, float *out)
{
  const Activation *glu = (const Activation *) state->framewise;
  const AttnKernels *kernels = glu->framewise.block.machine->kernels;
  size_t width = glu->framewise.block.n_outputs, i;

  for (i = 0; i < state->run.n; i++, out += width) {
    const float *first = state->frames + 2 * i * width, *second = first + width;

    kernels->activate (out, second, width, glu->activation);
    kernels->multiply (out, first, out, width);
  }
}

static const AttnFramewiseKind glu_kind =
    ATTN_FRAMEWISE_KIND ("glu", activation_free, NULL, NULL, activation_hash, glu_compute);

AttnStatus
attn_glu_new (const AttnMachine *machine, size_t n_inputs, AttnActivation activation, AttnBlock **block,
              AttnError *error)
{
  return new_block (&glu_kind, machine, n_inputs, n_inputs / 2, activation, block, error);
}
