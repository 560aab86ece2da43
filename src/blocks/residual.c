/* libattn: the block `residual`.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/residual.h"

#include <string.h>

#include "base/status.h"
#include "blocks/delay.h"
#include "blocks/rows.h"

typedef struct {
  AttnBlock block;
  AttnChain chain; /* f */
} AttnResidual;

/* The state in a stream. */
typedef struct {
  const AttnResidual *residual;
  AttnChainState *chain;
  AttnDelay inputs;     /* x, from next_output on */
  uint64_t next_input;  /* the number of the next frame to come in */
  uint64_t next_output; /* and of the next one to leave */
  uint64_t n_absent;    /* number of absent frames at the end of those that came in */
  AttnRun given;        /* f (x), to which x was not added yet */
  float *outputs;       /* [16][width] of f */
} AttnResidualState;

/* ---- the block ---- */

static const AttnBlockKind residual_kind;

AttnStatus
attn_residual_new (const AttnMachine *machine, AttnChain *chain, AttnBlock **block, AttnError *error)
{
  AttnResidual *residual = attn_alloc (sizeof *residual);

  *block = NULL;
  if (residual == NULL) {
    attn_chain_clear (chain);
    return attn_fail_memory (error, "residual", sizeof *residual);
  }
  attn_chain_sum_up (chain);
  residual->block = (AttnBlock){ .kind = &residual_kind,
                                 .machine = machine,
                                 .n_inputs = chain->n_inputs,
                                 .n_outputs = chain->n_inputs,
                                 .stride = 1,
                                 .reach_back = chain->reach_back,
                                 .reach_ahead = chain->reach_ahead,
                                 .period = chain->period };
  residual->chain = *chain;
  *block = &residual->block;
  return ATTN_OK;
}

static void
residual_free (AttnBlock *block)
{
  attn_chain_clear (&((AttnResidual *) block)->chain);
  attn_free (block);
}

static void
residual_settle (AttnBlock *block, AttnArena *arena)
{
  attn_chain_settle (&((AttnResidual *) block)->chain, arena);
}

static uint64_t
residual_hash (const AttnBlock *block, uint64_t hash)
{
  return attn_chain_hash (&((const AttnResidual *) block)->chain, hash);
}

static uint64_t
residual_ready (const AttnBlock *block, uint64_t first, uint64_t n)
{
  return attn_chain_ready (&((const AttnResidual *) block)->chain, first, n);
}

static AttnReads
residual_reads (const AttnBlock *block, AttnReads outputs)
{
  attn_chain_reads (&((const AttnResidual *) block)->chain, NULL, &outputs);
  return outputs;
}

static const AttnChain *
residual_inner (const AttnBlock *block)
{
  return &((const AttnResidual *) block)->chain;
}

/* ---- the state in a stream ---- */

static void *
residual_plan (const AttnBlock *block, const AttnWork *work, AttnArena *arena)
{
  const AttnResidual *residual = (const AttnResidual *) block;
  AttnResidualState *state = attn_arena_take (arena, sizeof *state), plan = { .residual = residual };
  size_t n_waiting = block->reach_ahead < work->max_frames ? block->reach_ahead : work->max_frames;

  plan.chain = attn_chain_plan (&residual->chain, false, work, arena);
  plan.inputs = attn_delay_plan (n_waiting, block->n_inputs, arena);
  plan.outputs = attn_arena_take (arena, ATTN_LANES * block->n_outputs * sizeof (float));
  if (state == NULL)
    return NULL;
  *state = plan;
  return state;
}

static AttnChainState *
residual_inner_state (void *state)
{
  return ((AttnResidualState *) state)->chain;
}

static void
residual_reset (void *data, uint64_t first)
{
  AttnResidualState *state = data;

  attn_chain_reset (state->chain, first);
  state->next_input = state->next_output = first;
  state->n_absent = 0;
  state->given.n = 0;
}

/* Takes as many frames as there is room for; any number of absent ones when all waiting frames are absent, too. */
static uint64_t
n_taken (const AttnResidualState *state, const AttnRun *run)
{
  if (state->n_absent >= state->residual->block.reach_ahead || run->n < ATTN_LANES)
    return run->n;
  return ATTN_LANES;
}

static void
put_inputs (AttnResidualState *state, const AttnRun *run)
{
  uint64_t i;

  if (!run->present)
    attn_delay_skip (&state->inputs, state->next_input, run->n);
  for (i = 0; i < run->n && run->present; i++)
    attn_delay_put (&state->inputs, state->next_input + i, run->values + i * state->inputs.width);
}

static uint64_t
residual_take (void *data, const AttnRun *run)
{
  AttnResidualState *state = data;
  AttnRun taken = *run;

  taken.n = n_taken (state, run);
  put_inputs (state, &taken);
  state->next_input += taken.n;
  state->n_absent = run->present ? 0 : state->n_absent + taken.n;
  attn_chain_take (state->chain, &taken);
  return taken.n;
}

/* out = x + f (x) of the next `n_frames`, which are present and stand in one piece. */
static void
add (const AttnResidualState *state, size_t n_frames, float *out)
{
  const AttnBlock *block = &state->residual->block;
  const float *inputs = attn_delay_row (&state->inputs, state->next_output);
  size_t n = n_frames * block->n_outputs;

  if (state->given.present)
    block->machine->kernels->add (out, inputs, state->given.values, n);
  else
    memcpy (out, inputs, n * sizeof *out);
}

/* The next outputs of those given whose x are alike and stand in one piece. Returns their number. */
static uint64_t
give_rows (AttnResidualState *state, float *out)
{
  AttnRun *given = &state->given;
  uint64_t n = attn_delay_run (&state->inputs, state->next_output, given->n);

  if (attn_delay_has (&state->inputs, state->next_output) && out != NULL)
    add (state, n, out);
  state->next_output += n;
  given->n -= n;
  if (given->present && out != NULL)
    given->values += n * state->residual->block.n_outputs;
  return n;
}

static AttnRun
residual_give (void *data, float *out)
{
  AttnResidualState *state = data;
  AttnRun *given = &state->given, run = { .values = out };
  size_t width = state->residual->block.n_outputs;

  if (given->n == 0)
    *given = attn_chain_give (state->chain, out != NULL ? state->outputs : NULL);
  if (given->n == 0)
    return run;
  run = (AttnRun){ .first = state->next_output, .more = true, .values = out };
  run.present = attn_delay_has (&state->inputs, run.first);
  do
    run.n += give_rows (state, out != NULL ? out + run.n * width : NULL);
  while (given->n > 0 && run.present && attn_delay_has (&state->inputs, state->next_output));
  return run;
}

static void
residual_end (void *data)
{
  attn_chain_end (((AttnResidualState *) data)->chain);
}

/*
 * ---- the section of a saved state: the sections of its blocks; a bit for each waiting frame; the frames that are
 * present ----
 */

static size_t
residual_saved_size (const void *data)
{
  const AttnResidualState *state = data;
  uint64_t n_present = 0, frame;

  for (frame = state->next_output; frame != state->next_input; frame++)
    n_present += attn_delay_has (&state->inputs, frame);
  return attn_chain_saved_size (state->chain)
         + attn_rows_bytes (state->next_input - state->next_output, n_present, state->inputs.width);
}

static uint8_t *
residual_save (const void *data, uint8_t *bytes)
{
  const AttnResidualState *state = data;
  uint8_t *presence = attn_chain_save (state->chain, bytes);
  uint64_t n = state->next_input - state->next_output, i;

  bytes = presence + attn_rows_mark_bytes (n);
  memset (presence, 0, bytes - presence);
  for (i = 0; i < n; i++) {
    uint64_t frame = state->next_output + i;

    if (!attn_delay_has (&state->inputs, frame))
      continue;
    presence[i / 8] |= 1u << i % 8;
    bytes = attn_put_floats (bytes, attn_delay_row (&state->inputs, frame), state->inputs.width);
  }
  return bytes;
}

static AttnStatus
residual_check (const void *data, const uint8_t *bytes, size_t size, AttnProgress *progress, AttnError *error)
{
  const AttnResidualState *state = data;
  const uint8_t *end = bytes + size;
  uint64_t next_input = progress->next;
  AttnStatus status = attn_chain_check (state->chain, &bytes, end, progress, error);

  if (status != ATTN_OK)
    return status;
  return attn_rows_check (bytes, end - bytes, next_input - progress->next, state->inputs.width, "residual", error);
}

static void
residual_restore (void *data, const uint8_t *bytes, AttnProgress *progress)
{
  AttnResidualState *state = data;
  const AttnBlock *block = &state->residual->block;
  const uint8_t *presence;
  uint64_t n, i;

  state->next_input = progress->next;
  attn_chain_restore (state->chain, &bytes, progress);
  state->next_output = progress->next;
  state->n_absent = 0;
  state->given.n = 0;
  presence = bytes;
  n = state->next_input - state->next_output;
  bytes += attn_rows_mark_bytes (n);
  attn_delay_skip (&state->inputs, state->next_output, n);
  for (i = 0; i < n; i++) {
    float *row;

    state->n_absent++;
    if (!(presence[i / 8] >> i % 8 & 1))
      continue;
    row = attn_delay_add (&state->inputs, state->next_output + i);
    bytes = attn_get_floats (bytes, row, block->n_inputs);
    block->machine->kernels->scale (row, row, 1, block->n_inputs); /* anybody may have written the state */
    state->n_absent = 0;
  }
}

static const AttnBlockKind residual_kind = {
  .name = "residual",
  .free = residual_free,
  .ready = residual_ready,
  .reads = residual_reads,
  .settle = residual_settle,
  .hash = residual_hash,
  .plan = residual_plan,
  .reset = residual_reset,
  .take = residual_take,
  .give = residual_give,
  .end = residual_end,
  .saved_size = residual_saved_size,
  .save = residual_save,
  .check = residual_check,
  .restore = residual_restore,
  .inner = residual_inner,
  .inner_state = residual_inner_state,
};
