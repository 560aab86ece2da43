/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "cpu.h"
#include "status.h"

AttnStatus
attn_stream_new (const AttnLayer *layer, AttnStream **result, AttnError *error)
{
  const AttnSizes *sizes = &layer->sizes;
  AttnStream *stream = attn_alloc (sizeof *stream);
  AttnStatus status;
  size_t bytes, head;

  *result = NULL;
  if (stream == NULL)
    return attn_fail_memory (error, "stream", sizeof *stream);
  stream->layer = layer;
  /* In whole tiles, so that a block of queries that ends with a tile stands in one piece. */
  for (stream->n_waiting = ATTN_LANES; stream->n_waiting < sizes->look_ahead + ATTN_LANES;)
    stream->n_waiting *= 2;
  status = attn_ring_init (&stream->ring, sizes, attn_ring_stream_slots (sizes), error);
  if (status != ATTN_OK)
    goto fail;
  status = attn_scratch_init (&stream->scratch, &stream->ring, error);
  if (status != ATTN_OK)
    goto fail;
  bytes = attn_size_mul (attn_size_mul (stream->n_waiting, sizes->n_query), sizeof (float));
  stream->queries = attn_alloc (bytes);
  stream->present = attn_alloc (stream->n_waiting);
  stream->gains = attn_alloc (sizes->n_heads * sizeof (float));
  if (stream->queries == NULL || stream->present == NULL || stream->gains == NULL) {
    status = attn_fail_memory (error, "waiting queries", bytes);
    goto fail;
  }
  for (head = 0; head < sizes->n_heads; head++)
    stream->gains[head] = 1;
  attn_stream_reset (stream, 0);
  *result = stream;
  return attn_succeed (error);

fail:
  attn_stream_free (stream);
  return status;
}

void
attn_stream_free (AttnStream *stream)
{
  if (stream == NULL)
    return;
  attn_ring_clear (&stream->ring);
  attn_scratch_clear (&stream->scratch);
  attn_free (stream->queries);
  attn_free (stream->present);
  attn_free (stream->gains);
  attn_free (stream);
}

void
attn_stream_reset (AttnStream *stream, uint64_t first_frame)
{
  attn_ring_reset (&stream->ring, first_frame);
  stream->next_output = first_frame;
  stream->at_end = false;
}

int
attn_stream_is_drained (const AttnStream *stream)
{
  return stream->at_end;
}

uint64_t
attn_stream_next_frame (const AttnStream *stream)
{
  return stream->ring.next;
}

size_t
attn_stream_pending (const AttnStream *stream)
{
  return stream->ring.next - stream->next_output;
}

AttnStatus
attn_stream_set_gain (AttnStream *stream, uint32_t head, float gain)
{
  const AttnSizes *sizes = &stream->layer->sizes;

  if (head >= sizes->n_heads || !isfinite (gain))
    return ATTN_ERROR_CONFIG;
  stream->gains[head] = attn_flush (gain, FLT_MIN);
  stream->has_gains = false;
  for (head = 0; head < sizes->n_heads; head++)
    stream->has_gains |= stream->gains[head] != 1;
  return ATTN_OK;
}

/* The next frames to leave that can be answered at once, of `n`: their queries stand one after another. */
static size_t
n_at_once (const AttnStream *stream, size_t n)
{
  size_t in_one_piece = stream->n_waiting - attn_stream_waiting (stream, stream->next_output);

  n = n < ATTN_LANES ? n : ATTN_LANES;
  return n < in_one_piece ? n : in_one_piece;
}

/* Answers the next frames, as many of `n` as it can at once, and returns how many. */
static size_t
answer_block (AttnStream *stream, size_t n, float *out, float *weights)
{
  const AttnLayer *layer = stream->layer;
  const AttnSizes *sizes = &layer->sizes;
  size_t n_weights = sizes->n_heads * sizes->span, waiting = attn_stream_waiting (stream, stream->next_output), i;
  const uint8_t *present = stream->present + waiting;

  n = n_at_once (stream, n);
  /* A matrix unit takes all queries of a block, or none: what an earlier frame left there must not count. */
  for (i = 0; i < n && layer->matrix != NULL; i++)
    if (!present[i])
      memset (stream->queries + (waiting + i) * sizes->n_query, 0, sizes->n_query * sizeof (float));
  if (memchr (present, true, n) != NULL) {
    attn_attend (layer, &stream->ring, &stream->scratch, stream->next_output, n,
                 stream->queries + waiting * sizes->n_query, stream->has_gains ? stream->gains : NULL,
                 stream->scratch.contexts, weights);
    if (out != NULL)
      attn_layer_project_output (layer, attn_scratch_pool (layer, &stream->scratch, n), stream->scratch.left, out,
                                 stream->scratch.contexts, n);
  }
  stream->next_output += n;
  for (i = 0; i < n; i++) {
    if (!present[i] && out != NULL)
      memset (out + i * sizes->n_outputs, 0, sizes->n_outputs * sizeof *out);
    if (!present[i] && weights != NULL)
      memset (weights + i * n_weights, 0, n_weights * sizeof *weights);
  }
  return n;
}

/* Answers the next `n` frames, any number, and returns `n`. */
static size_t
answer (AttnStream *stream, size_t n, float *out, float *weights)
{
  const AttnSizes *sizes = &stream->layer->sizes;
  size_t done;

  for (done = 0; done < n;)
    done += answer_block (stream, n - done, out != NULL ? out + done * sizes->n_outputs : NULL,
                          weights != NULL ? weights + done * sizes->n_heads * sizes->span : NULL);
  return n;
}

/* How many frames have all the later frames that they attend to. */
static size_t
n_ready (const AttnStream *stream)
{
  size_t pending = attn_stream_pending (stream);
  size_t look_ahead = stream->layer->sizes.look_ahead;

  return pending > look_ahead ? pending - look_ahead : 0;
}

void
attn_stream_keep_query (AttnStream *stream, uint64_t frame, const float *queries)
{
  size_t n_query = stream->layer->sizes.n_query, waiting = attn_stream_waiting (stream, frame);

  stream->present[waiting] = queries != NULL;
  if (queries != NULL)
    memcpy (stream->queries + waiting * n_query, queries, n_query * sizeof (float));
}

/* The frames that just came in, [n] from `frame` on, wait for their look-ahead. */
static void
keep_queries (AttnStream *stream, uint64_t frame, size_t n, bool present)
{
  size_t i;

  for (i = 0; i < n; i++)
    attn_stream_keep_query (stream, frame + i,
                            present ? stream->scratch.projected + i * stream->layer->sizes.n_projected : NULL);
}

size_t
attn_stream_push (AttnStream *stream, const float *frames, size_t n, float *out, float *weights)
{
  const AttnSizes *sizes = &stream->layer->sizes;
  uint64_t mode = attn_float_enter ();
  size_t n_out = 0;

  while (n > 0 && !stream->at_end) {
    size_t room = attn_ring_room (&stream->ring), block = n < room ? n : room;
    uint64_t frame = stream->ring.next;

    attn_take_frames (stream->layer, &stream->ring, &stream->scratch, frames, block);
    keep_queries (stream, frame, block, true);
    n_out += answer (stream, n_ready (stream), out != NULL ? out + n_out * sizes->n_outputs : NULL,
                     weights != NULL ? weights + n_out * sizes->n_heads * sizes->span : NULL);
    frames += block * sizes->n_features;
    n -= block;
  }
  attn_float_leave (mode);
  return n_out;
}

/* Absent frames that nobody wants an output for, behind at least look_ahead others: they need not be gone through. */
static uint64_t
jump (AttnStream *stream, uint64_t n)
{
  attn_ring_skip (&stream->ring, n);
  memset (stream->present, 0, stream->n_waiting);
  stream->next_output += n;
  return n;
}

uint64_t
attn_stream_skip (AttnStream *stream, uint64_t n, float *out, float *weights)
{
  const AttnSizes *sizes = &stream->layer->sizes;
  uint64_t mode = attn_float_enter ();
  uint64_t n_in = 0, n_out = 0;

  while (n_in < n && !stream->at_end) {
    size_t room = attn_ring_room (&stream->ring), block = n - n_in < room ? n - n_in : room;

    if (out == NULL && weights == NULL && n_in >= sizes->look_ahead) {
      n_out += jump (stream, n - n_in);
      break;
    }
    keep_queries (stream, stream->ring.next, block, false);
    attn_ring_skip (&stream->ring, block);
    n_out += answer (stream, n_ready (stream), out != NULL ? out + n_out * sizes->n_outputs : NULL,
                     weights != NULL ? weights + n_out * sizes->n_heads * sizes->span : NULL);
    n_in += block;
  }
  attn_float_leave (mode);
  return n_out;
}

size_t
attn_stream_drain (AttnStream *stream, float *out, float *weights)
{
  uint64_t mode = attn_float_enter ();
  size_t n_out = stream->at_end ? 0 : answer (stream, attn_stream_pending (stream), out, weights);

  attn_float_leave (mode);
  stream->at_end = true;
  return n_out;
}
