/* libattn: the blocks `norm` and `affine`.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/hash.h"
#include "base/status.h"
#include "blocks/framewise.h"

/* A block with a weight and a bias for each value. */
typedef struct {
  AttnFramewise framewise;
  bool is_rms;   /* of a norm */
  float eps;     /* of a norm */
  float *values; /* [2][width]: weights, and biases plus the guard */
} Norm;

static void
norm_free (AttnBlock *block)
{
  Norm *norm = (Norm *) block;

  attn_free (norm->values);
  attn_free (norm);
}

static uint64_t
norm_hash (const AttnBlock *block, uint64_t hash)
{
  const Norm *norm = (const Norm *) block;

  hash = attn_hash_number (hash, block->n_inputs, 8);
  hash = attn_hash_number (hash, norm->is_rms, 1);
  hash = attn_hash_floats (hash, &norm->eps, 1);
  return attn_hash_floats (hash, norm->values, 2 * block->n_inputs);
}

static void
norm_compute (const AttnFramewiseState *state, float *out)
{
  const Norm *norm = (const Norm *) state->framewise;
  const AttnBlock *block = &state->framewise->block;
  size_t width = block->n_inputs;
  AttnNorm parameters = { width, norm->is_rms, norm->eps, norm->values, norm->values + width };

  block->machine->kernels->norm (out, state->frames, state->run.n, &parameters);
}

static const AttnFramewiseKind norm_kind = ATTN_FRAMEWISE_KIND ("norm", norm_free, NULL, NULL, norm_hash, norm_compute);

static AttnStatus
new_block (const AttnFramewiseKind *kind, const AttnMachine *machine, size_t width, const float *weight,
           const float *bias, AttnBlock **block, AttnError *error)
{
  Norm *norm = attn_framewise_new (sizeof *norm, kind, machine, width, width, error);
  size_t bytes = attn_size_mul (width, 2 * sizeof (float)), i;

  *block = (AttnBlock *) norm;
  if (norm == NULL)
    return ATTN_ERROR_MEMORY;
  norm->values = attn_alloc (bytes);
  if (norm->values == NULL)
    return attn_fail_memory (error, "weights and biases", bytes);
  if (weight != NULL)
    machine->kernels->scale (norm->values, weight, 1, width);
  if (bias != NULL)
    machine->kernels->scale (norm->values + width, bias, 1, width);
  for (i = 0; i < width; i++) {
    if (weight == NULL)
      norm->values[i] = 1;
    norm->values[width + i] += ATTN_GUARD;
  }
  return ATTN_OK;
}

AttnStatus
attn_norm_new (const AttnMachine *machine, size_t width, bool is_rms, double eps, const float *weight,
               const float *bias, AttnBlock **block, AttnError *error)
{
  AttnStatus status = new_block (&norm_kind, machine, width, weight, bias, block, error);

  if (status != ATTN_OK)
    return status;
  ((Norm *) *block)->is_rms = is_rms;
  ((Norm *) *block)->eps = (float) eps;
  return ATTN_OK;
}

/* ---- affine ---- */

static void
affine_compute (const AttnFramewiseState *state, float *out)
{
  const Norm *affine = (const Norm *) state->framewise;
  const AttnBlock *block = &state->framewise->block;
  size_t width = block->n_inputs, i;

  for (i = 0; i < state->run.n; i++)
    block->machine->kernels->affine (out + i * width, state->frames + i * width, affine->values, affine->values + width,
                                     width);
}

static const AttnFramewiseKind affine_kind =
    ATTN_FRAMEWISE_KIND ("affine", norm_free, NULL, NULL, norm_hash, affine_compute);

AttnStatus
attn_affine_new (const AttnMachine *machine, size_t width, const float *weight, const float *bias, AttnBlock **block,
                 AttnError *error)
{
  return new_block (&affine_kind, machine, width, weight, bias, block, error);
}
