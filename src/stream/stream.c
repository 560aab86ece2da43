/* libattn: streams: frames run through the blocks of a layer.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/stream.h"

#include <string.h>

#include "base/cpu.h"
#include "base/status.h"

/* Some ten microseconds of work, many times what it takes to hand it over. */
#define MIN_SHARED 400000

/* ---- life ---- */

static void
plan_stream (AttnStream *stream, AttnArena *arena)
{
  const AttnLayer *layer = stream->layer;
  void **states = attn_arena_take (arena, layer->n_blocks * sizeof *states);
  float **between = attn_arena_take (arena, layer->n_blocks * sizeof *between);
  size_t i;

  for (i = 0; i < layer->n_blocks; i++) {
    const AttnBlock *block = layer->blocks[i];
    void *state = block->kind->plan (block, &stream->work, arena);
    size_t n_values = i + 1 < layer->n_blocks ? ATTN_LANES * block->n_outputs : 0;
    float *outputs = attn_arena_take (arena, n_values * sizeof (float));

    if (states == NULL)
      continue;
    states[i] = state;
    between[i] = outputs;
  }
  stream->states = states;
  stream->between = between;
}

AttnStatus
attn_stream_new_for (const AttnLayer *layer, size_t max_frames, AttnStream **result, AttnError *error)
{
  AttnStream *stream = attn_alloc (sizeof *stream);
  AttnArena arena = { 0 };
  AttnStatus status;

  *result = NULL;
  if (stream == NULL)
    return attn_fail_memory (error, "stream", sizeof *stream);
  stream->layer = layer;
  stream->work = (AttnWork){ .min_shared = MIN_SHARED, .max_frames = max_frames };
  plan_stream (stream, &arena);
  stream->memory = arena.memory = attn_alloc (arena.used);
  if (stream->memory == NULL) {
    status = attn_fail_memory (error, "window and working memory of a stream", arena.used);
    goto fail;
  }
  if (layer->n_threads > 1 && (status = attn_pool_new (layer->n_threads, &stream->work.pool, error)))
    goto fail;
  arena.used = 0;
  plan_stream (stream, &arena);
  *result = stream;
  return attn_stream_reset (stream, 0, error);

fail:
  attn_stream_free (stream);
  return status;
}

AttnStatus
attn_stream_new (const AttnLayer *layer, AttnStream **stream, AttnError *error)
{
  return attn_stream_new_for (layer, SIZE_MAX, stream, error);
}

void
attn_stream_free (AttnStream *stream)
{
  if (stream == NULL)
    return;
  attn_pool_free (stream->work.pool);
  attn_free (stream->memory);
  attn_free (stream);
}

AttnStatus
attn_stream_reset (AttnStream *stream, uint64_t first_frame, AttnError *error)
{
  size_t i;

  for (i = 0; i < stream->layer->n_blocks; i++)
    stream->layer->blocks[i]->kind->reset (stream->states[i], first_frame);
  stream->in = (AttnProgress){ .first = first_frame, .next = first_frame };
  stream->next_output = first_frame;
  return attn_succeed (error);
}

int
attn_stream_is_drained (const AttnStream *stream)
{
  return stream->in.at_end;
}

uint64_t
attn_stream_next_frame (const AttnStream *stream)
{
  return stream->in.next;
}

size_t
attn_stream_pending (const AttnStream *stream)
{
  return stream->in.next - stream->next_output;
}

/* ---- frames ---- */

/* Where outputs go. */
typedef struct {
  float *out;     /* NULL: not wanted */
  uint64_t n_out; /* so many have left */
} Outputs;

static void run_through (AttnStream *stream, size_t i, AttnRun run, Outputs *outputs);

/* Outputs leave the stream. */
static void
leave (AttnStream *stream, const AttnRun *run, Outputs *outputs)
{
  size_t n_outputs = stream->layer->n_outputs;

  if (outputs->out != NULL) {
    if (!run->present)
      memset (outputs->out, 0, run->n * n_outputs * sizeof *outputs->out);
    outputs->out += run->n * n_outputs;
  }
  outputs->n_out += run->n;
  stream->next_output += run->n;
}

/* All that block `i` has ready goes on. */
static void
pass_on (AttnStream *stream, size_t i, Outputs *outputs)
{
  const AttnLayer *layer = stream->layer;
  bool is_last = i + 1 == layer->n_blocks;
  AttnRun run;

  do {
    run = layer->blocks[i]->kind->give (stream->states[i], is_last ? outputs->out : stream->between[i]);
    if (is_last)
      leave (stream, &run, outputs);
    else
      run_through (stream, i + 1, run, outputs);
  } while (run.more);
}

/* Frames come to block `i`. */
static void
run_through (AttnStream *stream, size_t i, AttnRun run, Outputs *outputs)
{
  const AttnBlock *block = stream->layer->blocks[i];

  while (run.n > 0) {
    uint64_t n = block->kind->take (stream->states[i], &run);

    pass_on (stream, i, outputs);
    run.first += n;
    run.n -= n;
    if (run.present)
      run.values += n * block->n_inputs;
  }
}

uint64_t
attn_stream_take (AttnStream *stream, const float *frames, uint64_t n, float *out, float *weights)
{
  AttnAttentionState *watched = attn_stream_attention (stream);
  AttnRun run = { .first = stream->in.next, .n = n, .present = frames != NULL, .values = frames };
  Outputs outputs = { .out = out };
  uint64_t mode;

  if (stream->in.at_end)
    return 0;
  mode = attn_float_enter ();
  watched->weights = weights;
  stream->in.next += n;
  run_through (stream, 0, run, &outputs);
  watched->weights = NULL;
  attn_float_leave (mode);
  return outputs.n_out;
}

size_t
attn_stream_push (AttnStream *stream, const float *frames, size_t n, float *out, float *weights)
{
  return attn_stream_take (stream, frames, n, out, weights);
}

uint64_t
attn_stream_skip (AttnStream *stream, uint64_t n, float *out, float *weights)
{
  return attn_stream_take (stream, NULL, n, out, weights);
}

size_t
attn_stream_drain (AttnStream *stream, float *out, float *weights)
{
  AttnAttentionState *watched = attn_stream_attention (stream);
  Outputs outputs = { .out = out };
  uint64_t mode;
  size_t i;

  if (stream->in.at_end)
    return 0;
  mode = attn_float_enter ();
  watched->weights = weights;
  for (i = 0; i < stream->layer->n_blocks; i++) {
    stream->layer->blocks[i]->kind->end (stream->states[i]);
    pass_on (stream, i, &outputs);
  }
  watched->weights = NULL;
  stream->in.at_end = true;
  attn_float_leave (mode);
  return outputs.n_out;
}

/* ---- gains ---- */

AttnStatus
attn_stream_set_gain (AttnStream *stream, uint32_t head, float gain)
{
  return attn_attention_set_gain (attn_stream_attention (stream), head, gain);
}
