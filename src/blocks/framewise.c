/* libattn: the code that all framewise blocks share.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/framewise.h"

#include "base/status.h"

void *
attn_framewise_new (size_t size, const AttnFramewiseKind *kind, const AttnMachine *machine, size_t n_inputs,
                    size_t n_outputs, AttnError *error)
{
  AttnFramewise *framewise = attn_alloc (size);

  if (framewise == NULL) {
    attn_fail_memory (error, kind->kind.name, size);
    return NULL;
  }
  framewise->block =
      (AttnBlock){ .kind = &kind->kind, .machine = machine, .n_inputs = n_inputs, .n_outputs = n_outputs, .stride = 1 };
  return framewise;
}

void
attn_activate_frames (const AttnKernels *kernels, float *frames, size_t n, size_t width, AttnActivation activation)
{
  bool is_log = activation == ATTN_ACTIVATION_LOG_SOFTMAX;

  if (activation == ATTN_ACTIVATION_SOFTMAX || is_log)
    kernels->softmax_frames (frames, frames, n, width, is_log);
  else if (activation != ATTN_ACTIVATION_NONE)
    kernels->activate (frames, frames, n * width, activation);
}

void *
attn_framewise_plan (const AttnBlock *block, const AttnWork *work, AttnArena *arena)
{
  const AttnFramewise *framewise = (const AttnFramewise *) block;
  AttnFramewiseState *state = attn_arena_take (arena, sizeof *state), plan = { .framewise = framewise, .work = work };

  plan.scratch = attn_arena_take (arena, framewise->scratch_size);
  attn_work_note (work, block->n_inputs, block->n_outputs);
  if (state == NULL)
    return NULL;
  *state = plan;
  return state;
}

void
attn_framewise_reset (void *data, uint64_t first)
{
  AttnFramewiseState *state = data;

  state->run = (AttnRun){ .first = first };
}

uint64_t
attn_framewise_take (void *data, const AttnRun *run)
{
  AttnFramewiseState *state = data;

  state->run = (AttnRun){ .first = run->first, .n = run->n, .present = run->present };
  state->frames = run->values;
  return run->n;
}

AttnRun
attn_framewise_give (void *data, float *out)
{
  AttnFramewiseState *state = data;
  const AttnFramewiseKind *kind = (const AttnFramewiseKind *) state->framewise->block.kind;
  AttnRun run = state->run;

  run.values = out;
  if (run.n > 0 && run.present && out != NULL)
    kind->compute (state, out);
  if (attn_work_waits (state->work))
    return run;
  state->run.first += run.n;
  state->run.n = 0;
  return run;
}

void
attn_framewise_end (void *data)
{
  (void) data;
}

size_t
attn_framewise_saved_size (const void *data)
{
  (void) data;
  return 0;
}

uint8_t *
attn_framewise_save (const void *data, uint8_t *bytes)
{
  (void) data;
  return bytes;
}

AttnStatus
attn_framewise_check (const void *data, const uint8_t *bytes, size_t size, AttnProgress *progress, AttnError *error)
{
  const AttnFramewiseState *state = data;

  (void) bytes;
  (void) progress;
  if (size != 0)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has %zu bytes for a block (%s) that keeps nothing", size,
                      state->framewise->block.kind->name);
  return ATTN_OK;
}

void
attn_framewise_restore (void *data, const uint8_t *bytes, AttnProgress *progress)
{
  (void) bytes;
  attn_framewise_reset (data, progress->next);
}
