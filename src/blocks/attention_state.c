/*
 * libattn: the section of a saved state that the block `attention` writes. attn.h describes its layout. Its contents
 * follow from three frame numbers (Span): no count can disagree with another.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "blocks/attention.h"
#include "blocks/rows.h"
#include "base/status.h"

enum { AT_NEXT_OUTPUT = 0, HEADER_SIZE = 8 };

/* Which frames a section holds. */
typedef struct {
  uint64_t first; /* sinks that the window has left behind: first ... first + n_sinks - 1 */
  uint64_t n_sinks;
  uint64_t oldest; /* the window: oldest ... next - 1 */
  uint64_t next;
  uint64_t next_output; /* queries: next_output ... next - 1, those that are present */
} Span;

/* The frames that can still reach an output, from the next one to leave on. */
static Span
span_of (const AttnSizes *sizes, uint64_t first, uint64_t next, uint64_t next_output)
{
  Span span = { .first = first, .next = next, .next_output = next_output };
  uint64_t oldest = attn_oldest_seen (sizes, next_output), end_sinks;

  span.oldest = oldest > first ? oldest : first;
  end_sinks = span.oldest < sizes->n_sinks ? span.oldest : sizes->n_sinks;
  span.n_sinks = end_sinks > first ? end_sinks - first : 0;
  return span;
}

static Span
span_of_state (const AttnAttentionState *state)
{
  return span_of (&state->attention->sizes, state->ring.first, state->ring.next, state->next_output);
}

static size_t
n_held (const Span *span)
{
  return span->n_sinks + (span->next - span->oldest);
}

/* Frame `i` of those that are held, oldest first. */
static uint64_t
held_frame (const Span *span, size_t i, bool *is_sink)
{
  *is_sink = i < span->n_sinks;
  return *is_sink ? span->first + i : span->oldest + (i - span->n_sinks);
}

static size_t
section_size (const AttnSizes *sizes, const Span *span, size_t n_present, size_t n_queries)
{
  size_t n_floats = n_present * (sizes->n_key + sizes->n_value) + n_queries * sizes->n_query;

  return HEADER_SIZE + attn_rows_mark_bytes (n_held (span)) + n_floats * sizeof (uint32_t);
}

/* ---- saving ---- */

size_t
attn_attention_saved_size (const void *data)
{
  const AttnAttentionState *state = data;
  Span span = span_of_state (state);
  size_t n_present = 0, n_queries = 0, i;

  for (i = 0; i < n_held (&span); i++) {
    bool is_sink;
    uint64_t frame = held_frame (&span, i, &is_sink);

    if (attn_ring_has (&state->ring, frame, is_sink)) {
      n_present++;
      n_queries += frame >= span.next_output;
    }
  }
  return section_size (&state->attention->sizes, &span, n_present, n_queries);
}

/* Writes the presence bits, then the keys and values of the frames that are present. */
static uint8_t *
put_frames (uint8_t *bytes, const AttnAttentionState *state, const Span *span)
{
  const AttnSizes *sizes = &state->attention->sizes;
  float *keys = state->scratch.projected, *values = keys + sizes->n_key;
  uint8_t *presence = bytes;
  size_t i;

  bytes += attn_rows_mark_bytes (n_held (span));
  memset (presence, 0, bytes - presence);
  for (i = 0; i < n_held (span); i++) {
    bool is_sink;
    uint64_t frame = held_frame (span, i, &is_sink);

    if (!attn_ring_read (&state->ring, frame, is_sink, keys, values))
      continue;
    presence[i / 8] |= 1u << i % 8;
    bytes = attn_put_floats (bytes, keys, sizes->n_key);
    bytes = attn_put_floats (bytes, values, sizes->n_value);
  }
  return bytes;
}

uint8_t *
attn_attention_save (const void *data, uint8_t *bytes)
{
  const AttnAttentionState *state = data;
  Span span = span_of_state (state);
  uint64_t frame;

  bytes = attn_put_number (bytes, state->next_output, 8);
  bytes = put_frames (bytes, state, &span);
  for (frame = span.next_output; frame != span.next; frame++)
    if (attn_delay_has (&state->queries, frame))
      bytes = attn_put_floats (bytes, attn_delay_row (&state->queries, frame), state->queries.width);
  return bytes;
}

/* ---- restoring ---- */

/* Checks that a stream can have these frame numbers. */
static AttnStatus
check_numbers (const AttnSizes *sizes, uint64_t next_output, const AttnProgress *progress, Span *span, AttnError *error)
{
  size_t most = progress->at_end ? 0 : sizes->look_ahead;

  if (next_output < progress->first || next_output > progress->next)
    return attn_fail (error, ATTN_ERROR_STATE,
                      "the state's frames are out of order: first %llu, next to leave %llu, next to come in %llu",
                      (unsigned long long) progress->first, (unsigned long long) next_output,
                      (unsigned long long) progress->next);
  if (progress->next - next_output > most)
    return attn_fail (error, ATTN_ERROR_STATE, "in the state %llu frames wait for a look-ahead of %zu%s",
                      (unsigned long long) (progress->next - next_output), sizes->look_ahead,
                      progress->at_end ? " at the end of the stream" : "");
  *span = span_of (sizes, progress->first, progress->next, next_output);
  return ATTN_OK;
}

/* Checks that there are as many bytes as the presence bits ask for, and that these bits fit into `size`. */
static AttnStatus
check_frames (const AttnSizes *sizes, const uint8_t *bytes, size_t size, const Span *span, AttnError *error)
{
  const uint8_t *presence = bytes + HEADER_SIZE;
  size_t needed = section_size (sizes, span, 0, 0), n = n_held (span), n_present = 0, n_queries = 0, i;

  if (size >= needed) {
    for (i = 0; i < n; i++)
      if (presence[i / 8] >> i % 8 & 1) {
        n_present++;
        n_queries += i >= n - (span->next - span->next_output);
      }
    needed = section_size (sizes, span, n_present, n_queries);
  }
  if (size != needed)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has %zu bytes for an attention whose frames take %zu", size,
                      needed);
  if (n % 8 != 0 && presence[n / 8] >> n % 8 != 0)
    return attn_fail (error, ATTN_ERROR_STATE, "the state marks more frames as present than the %zu it holds", n);
  return ATTN_OK;
}

AttnStatus
attn_attention_check (const void *data, const uint8_t *bytes, size_t size, AttnProgress *progress, AttnError *error)
{
  const AttnAttentionState *state = data;
  const AttnSizes *sizes = &state->attention->sizes;
  AttnStatus status;
  Span span = { 0 };

  if (size < HEADER_SIZE)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has %zu bytes for an attention, which takes at least %d",
                      size, HEADER_SIZE);
  if ((status = check_numbers (sizes, attn_get_number (bytes, 8), progress, &span, error))
      || (status = check_frames (sizes, bytes, size, &span, error)))
    return status;
  progress->next = span.next_output;
  return ATTN_OK;
}

/*
 * Cleans the values, as anybody may have written the state. A -0 is kept: rounding to 16 bits may leave one in a
 * window.
 */
static const uint8_t *
get_cleaned (const AttnKernels *kernels, const uint8_t *bytes, float *values, size_t n)
{
  size_t i;

  bytes = attn_get_floats (bytes, values, n);
  for (i = 0; i < n; i++)
    if (values[i] != 0)
      kernels->scale (&values[i], &values[i], 1, 1);
  return bytes;
}

/* Puts the frames into the ring as when they came in, without computing them again. */
static const uint8_t *
get_frames (AttnAttentionState *state, const uint8_t *bytes, const Span *span)
{
  const AttnSizes *sizes = &state->attention->sizes;
  const AttnMachine *machine = state->attention->block.machine;
  float *keys = state->scratch.projected, *values = keys + sizes->n_key;
  const uint8_t *presence = bytes;
  size_t i;

  bytes += attn_rows_mark_bytes (n_held (span));
  attn_ring_reset (&state->ring, span->first);
  for (i = 0; i < n_held (span); i++) {
    bool is_sink;
    uint64_t frame = held_frame (span, i, &is_sink);

    /* Frames that no output can see any more lie between the sinks and the window. */
    attn_ring_skip (&state->ring, frame - state->ring.next);
    if (!(presence[i / 8] >> i % 8 & 1))
      continue;
    bytes = get_cleaned (machine->kernels, bytes, keys, sizes->n_key);
    bytes = get_cleaned (machine->kernels, bytes, values, sizes->n_value);
    state->ring.n_since_large = 0; /* large blocks may follow: split it */
    attn_ring_write (&state->ring, machine, NULL, keys, values, 0, 1);
  }
  attn_ring_skip (&state->ring, span->next - state->ring.next);
  return bytes;
}

void
attn_attention_restore (void *data, const uint8_t *bytes, AttnProgress *progress)
{
  AttnAttentionState *state = data;
  Span span = span_of (&state->attention->sizes, progress->first, progress->next, attn_get_number (bytes, 8));
  uint64_t frame;

  bytes = get_frames (state, bytes + HEADER_SIZE, &span);
  state->n_absent = 0;
  for (frame = span.next_output; frame != span.next; frame++) {
    float *query = attn_delay_row (&state->queries, frame);

    attn_delay_skip (&state->queries, frame, 1);
    state->n_absent++;
    if (!attn_ring_has (&state->ring, frame, false))
      continue;
    bytes = attn_get_floats (bytes, query, state->queries.width);
    attn_delay_put (&state->queries, frame, query);
    state->n_absent = 0;
  }
  state->next_output = progress->next = span.next_output;
  state->at_end = progress->at_end;
  attn_attention_set_row_gains (state, NULL, 0);
}
