/* libattn: the block `stack`.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "blocks/conv.h"
#include "blocks/rows.h"

/* n is the stride. */
typedef struct {
  AttnBlock block;
} Stack;

typedef struct {
  const Stack *stack;
  float *rows;          /* [n][n_inputs], 0 where a frame is absent */
  uint8_t *present;     /* [n] */
  size_t n_rows;        /* rows of the next output that have come in */
  uint64_t n_passed;    /* absent outputs before it that were not given yet */
  uint64_t next_output; /* its number */
  bool any;             /* one of the rows is present */
  bool at_end;
} StackState;

/* ---- the block ---- */

static const AttnBlockKind stack_kind;

AttnStatus
attn_stack_new (const AttnMachine *machine, size_t width, uint64_t n, AttnBlock **result, AttnError *error)
{
  Stack *stack = attn_alloc (sizeof *stack);

  *result = (AttnBlock *) stack;
  if (stack == NULL)
    return attn_fail_memory (error, "stack", sizeof *stack);
  stack->block = (AttnBlock){ .kind = &stack_kind,
                              .machine = machine,
                              .n_inputs = width,
                              .n_outputs = attn_size_mul (width, n),
                              .stride = n,
                              .reach_ahead = n - 1 };
  return ATTN_OK;
}

static void
stack_free (AttnBlock *block)
{
  attn_free (block);
}

static uint64_t
stack_count (const AttnBlock *block, uint64_t n)
{
  return n / block->stride;
}

static uint64_t
stack_hash (const AttnBlock *block, uint64_t hash)
{
  hash = attn_hash_number (hash, block->n_inputs, 8);
  return attn_hash_number (hash, block->stride, 8);
}

/* ---- the state in a stream ---- */

static void *
stack_plan (const AttnBlock *block, const AttnWork *work, AttnArena *arena)
{
  StackState *state = attn_arena_take (arena, sizeof *state), plan = { .stack = (const Stack *) block };

  (void) work;
  plan.rows = attn_arena_take (arena, attn_size_mul (block->n_outputs, sizeof (float)));
  plan.present = attn_arena_take (arena, block->stride);
  if (state == NULL)
    return NULL;
  *state = plan;
  return state;
}

static void
stack_reset (void *data, uint64_t first)
{
  StackState *state = data;

  state->next_output = first / state->stack->block.stride;
  state->n_rows = 0;
  state->n_passed = 0;
  state->any = state->at_end = false;
}

static uint64_t
stack_take (void *data, const AttnRun *run)
{
  StackState *state = data;
  const AttnBlock *block = &state->stack->block;
  uint64_t room = block->stride - state->n_rows, n = run->n < room ? run->n : room;
  float *to = state->rows + state->n_rows * block->n_inputs;

  if (!run->present && state->n_rows == 0 && run->n >= block->stride) {
    state->n_passed = run->n / block->stride;
    state->next_output += state->n_passed;
    return state->n_passed * block->stride;
  }
  if (run->present)
    block->machine->kernels->scale (to, run->values, 1, n * block->n_inputs);
  else
    memset (to, 0, n * block->n_inputs * sizeof *to);
  memset (state->present + state->n_rows, run->present, n);
  state->any |= run->present;
  state->n_rows += n;
  return n;
}

static AttnRun
stack_give (void *data, float *out)
{
  StackState *state = data;
  const AttnBlock *block = &state->stack->block;
  AttnRun run = { .first = state->next_output - state->n_passed, .n = state->n_passed, .values = out };

  state->n_passed = 0;
  if (run.n > 0 || state->n_rows < block->stride)
    return run;
  run.n = 1;
  run.present = state->any;
  if (run.present && out != NULL)
    memcpy (out, state->rows, block->n_outputs * sizeof *out);
  state->next_output++;
  state->n_rows = 0;
  state->any = false;
  return run;
}

static void
stack_end (void *data)
{
  ((StackState *) data)->at_end = true;
}

/* ---- a section of a saved state: the frames of the next output; empty at the end of the stream ---- */

static size_t
stack_saved_size (const void *data)
{
  const StackState *state = data;

  return state->at_end ? 0 : attn_rows_size (state->present, state->n_rows, state->stack->block.n_inputs);
}

static uint8_t *
stack_save (const void *data, uint8_t *bytes)
{
  const StackState *state = data;

  if (state->at_end)
    return bytes;
  return attn_rows_save (bytes, state->rows, state->present, state->n_rows, state->stack->block.n_inputs);
}

static AttnStatus
stack_check (const void *data, const uint8_t *bytes, size_t size, AttnProgress *progress, AttnError *error)
{
  const AttnBlock *block = &((const StackState *) data)->stack->block;
  uint64_t n = progress->next - progress->first;
  size_t n_rows = progress->at_end ? 0 : n % block->stride;

  progress->first /= block->stride;
  progress->next = progress->first + n / block->stride;
  return attn_rows_check (bytes, size, n_rows, block->n_inputs, "stack", error);
}

static void
stack_restore (void *data, const uint8_t *bytes, AttnProgress *progress)
{
  StackState *state = data;
  const AttnBlock *block = &state->stack->block;
  uint64_t n = progress->next - progress->first;
  size_t i;

  stack_reset (state, progress->first);
  state->next_output += n / block->stride;
  state->at_end = progress->at_end;
  progress->first /= block->stride;
  progress->next = state->next_output;
  if (state->at_end)
    return;
  state->n_rows = n % block->stride;
  attn_rows_restore (block->machine->kernels, bytes, state->rows, state->present, state->n_rows, block->n_inputs);
  for (i = 0; i < state->n_rows; i++)
    state->any |= state->present[i];
}

static const AttnBlockKind stack_kind = {
  .name = "stack",
  .free = stack_free,
  .count = stack_count,
  .hash = stack_hash,
  .plan = stack_plan,
  .reset = stack_reset,
  .take = stack_take,
  .give = stack_give,
  .end = stack_end,
  .saved_size = stack_saved_size,
  .save = stack_save,
  .check = stack_check,
  .restore = stack_restore,
};
