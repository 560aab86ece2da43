/* libattn: the block `sinusoid`.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include <float.h>

#include "base/hash.h"
#include "base/status.h"
#include "blocks/framewise.h"
#include "blocks/position.h"

/* Phases as in RoPE: exact at any frame. */
typedef struct {
  AttnFramewise framewise;
  AttnTurns *turns; /* [width / 2] */
  uint64_t offset;
  bool is_half;
} Sinusoid;

static void
sinusoid_free (AttnBlock *block)
{
  Sinusoid *sinusoid = (Sinusoid *) block;

  attn_free (sinusoid->turns);
  attn_free (sinusoid);
}

static uint64_t
sinusoid_hash (const AttnBlock *block, uint64_t hash)
{
  const Sinusoid *sinusoid = (const Sinusoid *) block;
  size_t i;

  hash = attn_hash_number (hash, block->n_inputs, 8);
  hash = attn_hash_number (hash, sinusoid->offset, 8);
  hash = attn_hash_number (hash, sinusoid->is_half, 1);
  for (i = 0; i < block->n_inputs / 2; i++) {
    hash = attn_hash_number (hash, sinusoid->turns[i].high, 8);
    hash = attn_hash_number (hash, sinusoid->turns[i].low, 8);
  }
  return hash;
}

static void
positions_of (const Sinusoid *sinusoid, uint64_t frame, float *positions)
{
  size_t n_pairs = sinusoid->framewise.block.n_inputs / 2, i;

  for (i = 0; i < n_pairs; i++) {
    float cosine, sine;

    attn_rope_angle (attn_rope_phase (sinusoid->turns[i], frame + sinusoid->offset), &cosine, &sine);
    positions[sinusoid->is_half ? i : 2 * i] = sine;
    positions[sinusoid->is_half ? i + n_pairs : 2 * i + 1] = cosine;
  }
}

static void
sinusoid_compute (const AttnFramewiseState *state, float *out)
{
  const Sinusoid *sinusoid = (const Sinusoid *) state->framewise;
  const AttnBlock *block = &state->framewise->block;
  size_t width = block->n_inputs, i;

  for (i = 0; i < state->run.n; i++, out += width) {
    positions_of (sinusoid, state->run.first + i, out);
    block->machine->kernels->add (out, state->frames + i * width, out, width);
  }
}

static const AttnFramewiseKind sinusoid_kind =
    ATTN_FRAMEWISE_KIND ("sinusoid", sinusoid_free, NULL, NULL, sinusoid_hash, sinusoid_compute);

AttnStatus
attn_sinusoid_new (const AttnMachine *machine, size_t width, double base, uint64_t offset, bool is_half,
                   AttnBlock **block, AttnError *error)
{
  Sinusoid *sinusoid = attn_framewise_new (sizeof *sinusoid, &sinusoid_kind, machine, width, width, error);
  size_t bytes = attn_size_mul (width / 2, sizeof *sinusoid->turns);

  *block = (AttnBlock *) sinusoid;
  if (sinusoid == NULL)
    return ATTN_ERROR_MEMORY;
  sinusoid->turns = attn_alloc (bytes);
  if (sinusoid->turns == NULL)
    return attn_fail_memory (error, "frequencies", bytes);
  attn_rope_turns (sinusoid->turns, base, width / 2);
  sinusoid->offset = offset;
  sinusoid->is_half = is_half;
  return ATTN_OK;
}
