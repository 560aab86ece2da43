/* libattn: streams: frames run through the blocks of a layer.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/stream.h"

#include <string.h>

#include "base/float_mode.h"
#include "base/status.h"

/* Parameters of a layer whose pushes take longer than the first use of its code. */
#define MANY_PARAMETERS (4 << 20)

/* ---- life ---- */

/* Finds the attentions of a chain in the order of the layer's list. */
static size_t
find_attentions (const AttnChainState *chain, AttnAttentionState **list)
{
  size_t n = 0, i;

  for (i = 0; i < chain->chain->n_blocks; i++) {
    const AttnBlockKind *kind = chain->chain->blocks[i]->kind;
    void *state = chain->links[i].state;

    if (kind->inner_state != NULL)
      n += find_attentions (kind->inner_state (state), list + n);
    else if (kind == &attn_attention_kind)
      list[n++] = state;
  }
  return n;
}

void
attn_stream_plan (AttnStream *stream, AttnArena *arena)
{
  const AttnLayer *layer = stream->layer;

  stream->work.request = &stream->request;
  stream->attentions = attn_arena_take (arena, layer->n_attentions * sizeof *stream->attentions);
  stream->chain = attn_chain_plan (&layer->chain, true, &stream->work, arena);
  if (stream->chain != NULL)
    find_attentions (stream->chain, stream->attentions);
}

size_t
attn_layer_stream_size (const AttnLayer *layer)
{
  AttnStream stream = { .layer = layer, .work = { .max_frames = SIZE_MAX } };
  AttnArena arena = { 0 };

  attn_stream_plan (&stream, &arena);
  return attn_size_add (arena.used, sizeof stream);
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
  stream->work = (AttnWork){ .max_frames = max_frames };
  attn_stream_plan (stream, &arena);
  stream->memory = arena.memory = attn_alloc (arena.used);
  if (stream->memory == NULL) {
    status = attn_fail_memory (error, "window and working memory of a stream", arena.used);
    goto fail;
  }
  if (layer->n_threads > 1 && (status = attn_pool_new (layer->n_threads, &stream->work.pool, error)))
    goto fail;
  arena.used = 0;
  attn_stream_plan (stream, &arena);
  *result = stream;
  return attn_stream_reset (stream, 0, error);

fail:
  attn_stream_free (stream);
  return status;
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
  uint64_t stride = stream->layer->chain.stride;

  if (first_frame % stride != 0)
    return attn_fail (error, ATTN_ERROR_CONFIG,
                      "the first frame is number %llu, expected a multiple of the stride, which is %llu",
                      (unsigned long long) first_frame, (unsigned long long) stride);
  attn_chain_reset (stream->chain, first_frame);
  stream->in = (AttnProgress){ .first = first_frame, .next = first_frame };
  stream->next_output = first_frame / stride;
  stream->ran_out_of_room = false;
  attn_stream_begin_rows (stream, NULL);
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

uint64_t
attn_stream_next_output (const AttnStream *stream)
{
  return stream->next_output;
}

/* Outputs that have left since the reset. */
static uint64_t
n_given (const AttnStream *stream)
{
  return stream->next_output - stream->in.first / stream->layer->chain.stride;
}

size_t
attn_stream_pending (const AttnStream *stream)
{
  return attn_chain_count (&stream->layer->chain, stream->in.next - stream->in.first) - n_given (stream);
}

uint64_t
attn_stream_ready (const AttnStream *stream, uint64_t n)
{
  if (stream->in.at_end)
    return 0;
  return attn_chain_ready (&stream->layer->chain, stream->in.first, stream->in.next - stream->in.first + n)
         - n_given (stream);
}

/* ---- frames ---- */

/* Until another run may not fit into the room. */
bool
attn_stream_give (AttnStream *stream, AttnOutlet *outlet)
{
  size_t n_outputs = stream->layer->chain.n_outputs;
  AttnRun run = { .more = true };

  while (run.more && outlet->room - outlet->n >= ATTN_LANES) {
    run = attn_chain_give (stream->chain, outlet->out);
    if (attn_work_waits (&stream->work))
      return false;
    stream->next_output += run.n;
    outlet->n += run.n;
    if (outlet->present != NULL) {
      memset (outlet->present, run.present, run.n);
      outlet->present += run.n;
    }
    if (outlet->out == NULL)
      continue;
    if (!run.present)
      memset (outlet->out, 0, run.n * n_outputs * sizeof *outlet->out);
    outlet->out += run.n * n_outputs;
  }
  stream->ran_out_of_room = run.more;
  return true;
}

bool
attn_stream_begin_run (AttnStream *stream, const float *frames, uint64_t n, float *weights)
{
  AttnRun run = { .first = stream->in.next, .n = n, .present = frames != NULL, .values = frames };

  if (stream->in.at_end)
    return false;
  if (weights != NULL || stream->is_watched)
    attn_stream_begin_rows (stream, weights);
  stream->in.next += n;
  attn_chain_take (stream->chain, &run);
  return true;
}

void
attn_stream_end_run (AttnStream *stream, const float *weights)
{
  if (weights != NULL)
    attn_stream_end_rows (stream);
}

uint64_t
attn_stream_run (AttnStream *stream, const float *frames, uint64_t n, float *out, float *weights, uint8_t *present)
{
  AttnOutlet outlet = { .out = out, .present = present, .room = UINT64_MAX };
  uint64_t mode;

  if (stream->in.at_end)
    return 0;
  mode = attn_float_enter ();
  attn_stream_begin_run (stream, frames, n, weights);
  attn_stream_give (stream, &outlet);
  attn_stream_end_run (stream, weights);
  attn_float_leave (mode);
  return outlet.n;
}

size_t
attn_stream_push (AttnStream *stream, const float *frames, size_t n, float *out, float *weights)
{
  return attn_stream_run (stream, frames, n, out, weights, NULL);
}

uint64_t
attn_stream_skip (AttnStream *stream, uint64_t n, float *out, float *weights)
{
  return attn_stream_run (stream, NULL, n, out, weights, NULL);
}

size_t
attn_stream_finish (AttnStream *stream, float *out, float *weights, uint8_t *present, size_t room)
{
  AttnOutlet outlet = { .out = out, .present = present, .room = room };
  uint64_t mode = attn_float_enter ();

  if (weights != NULL || stream->is_watched)
    attn_stream_begin_rows (stream, weights);
  stream->in.at_end = true;
  attn_chain_end (stream->chain);
  attn_stream_give (stream, &outlet);
  attn_stream_end_run (stream, weights);
  attn_float_leave (mode);
  return outlet.n;
}

size_t
attn_stream_drain (AttnStream *stream, float *out, float *weights)
{
  return attn_stream_finish (stream, out, weights, NULL, SIZE_MAX);
}

/* ---- a stream, ready to run ---- */

/*
 * Runs frames of zeros and forgets them, so that the first push finds code, parameters and memory where later ones do,
 * and its thread already has the registers of a matrix unit. Both a block and a single frame, whose code differs; large
 * layers, for which the code does not matter, take only the single one.
 */
static AttnStatus
warm_up (AttnStream *stream, AttnError *error)
{
  const AttnChain *chain = &stream->layer->chain;
  size_t n = attn_layer_n_parameters (stream->layer) < MANY_PARAMETERS ? ATTN_LANES : 0;
  size_t size_in = attn_size_mul (attn_size_mul (n + 1, chain->n_inputs), sizeof (float));
  size_t size_out =
      attn_size_mul (attn_size_mul (attn_chain_ready (chain, 0, n + 1), chain->n_outputs), sizeof (float));
  float *frames = attn_alloc (size_in), *out = attn_alloc (size_out);
  AttnStatus status;

  if (frames != NULL && out != NULL) {
    attn_stream_run (stream, frames, n, out, NULL, NULL);
    attn_stream_run (stream, frames, 1, out, NULL, NULL);
    status = attn_stream_reset (stream, 0, error);
  } else
    status = attn_fail_memory (error, "frames to warm up a stream", attn_size_add (size_in, size_out));
  attn_free (frames);
  attn_free (out);
  return status;
}

AttnStatus
attn_stream_new (const AttnLayer *layer, AttnStream **stream, AttnError *error)
{
  AttnStatus status = attn_stream_new_for (layer, SIZE_MAX, stream, error);

  if (status == ATTN_OK && (status = warm_up (*stream, error)) != ATTN_OK) {
    attn_stream_free (*stream);
    *stream = NULL;
  }
  return status;
}
