/*
 * libattn: a stream as bytes. The layout stands in attn.h; it is written field by field, so that it is the same on
 * every machine. What the bytes hold follows from the layer and three frame numbers (Span): no count can disagree with
 * another.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "hash.h"
#include "status.h"
#include "stream.h"

#define MAGIC "attnstat"
#define VERSION 1
#define FLAG_AT_END 1u

enum {
  AT_MAGIC = 0,
  AT_VERSION = 8,
  AT_FLAGS = 12,
  AT_SIZE = 16,
  AT_HASH = 24,
  AT_FIRST = 32,
  AT_NEXT = 40,
  AT_NEXT_OUTPUT = 48,
  HEADER_SIZE = 56,
  CHECKSUM_SIZE = 8
};

/* Which frames a state holds. */
typedef struct {
  uint64_t first; /* sinks that the window has left behind: first ... first + n_sinks - 1 */
  uint64_t n_sinks;
  uint64_t oldest; /* the window: oldest ... next - 1 */
  uint64_t next;
  uint64_t next_output; /* queries: next_output ... next - 1, those that are present */
} Span;

/* ---- bytes ---- */

static uint8_t *
put_number (uint8_t *bytes, uint64_t number, int n_bytes)
{
  for (int i = 0; i < n_bytes; i++)
    *bytes++ = number >> 8 * i & 0xff;
  return bytes;
}

static uint64_t
get_number (const uint8_t *bytes, int n_bytes)
{
  uint64_t number = 0;

  for (int i = 0; i < n_bytes; i++)
    number |= (uint64_t) bytes[i] << 8 * i;
  return number;
}

static uint8_t *
put_floats (uint8_t *bytes, const float *values, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;

    memcpy (&bits, &values[i], sizeof bits);
    bytes = put_number (bytes, bits, sizeof bits);
  }
  return bytes;
}

static const uint8_t *
get_floats (const uint8_t *bytes, float *values, size_t n)
{
  for (size_t i = 0; i < n; i++, bytes += sizeof (uint32_t)) {
    uint32_t bits = (uint32_t) get_number (bytes, sizeof bits);

    memcpy (&values[i], &bits, sizeof bits);
  }
  return bytes;
}

/* ---- what is held ---- */

/* The frames that can still reach an output, from the next one to leave on. */
static Span
span_of (const AttnSizes *sizes, uint64_t first, uint64_t next, uint64_t next_output)
{
  Span span = { .first = first, .next = next, .next_output = next_output };
  uint64_t n_past = next_output - first < sizes->window - 1 ? next_output - first : sizes->window - 1;
  uint64_t end_sinks;

  span.oldest = next_output - n_past;
  end_sinks = span.oldest < sizes->n_sinks ? span.oldest : sizes->n_sinks;
  span.n_sinks = end_sinks > first ? end_sinks - first : 0;
  return span;
}

static Span
span_of_stream (const AttnStream *stream)
{
  return span_of (&stream->layer->sizes, stream->ring.first, stream->ring.next, stream->next_output);
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
state_size (const AttnSizes *sizes, const Span *span, size_t n_present, size_t n_queries)
{
  size_t n_floats = n_present * (sizes->n_key + sizes->n_value) + n_queries * sizes->n_query;

  return HEADER_SIZE + (n_held (span) + 7) / 8 + n_floats * sizeof (uint32_t) + CHECKSUM_SIZE;
}

/* ---- saving ---- */

size_t
attn_stream_state_size (const AttnStream *stream)
{
  Span span = span_of_stream (stream);
  size_t n_present = 0, n_queries = 0, i;

  for (i = 0; i < n_held (&span); i++) {
    bool is_sink;
    uint64_t frame = held_frame (&span, i, &is_sink);

    if (attn_ring_has (&stream->ring, frame, is_sink)) {
      n_present++;
      n_queries += frame >= span.next_output;
    }
  }
  return state_size (&stream->layer->sizes, &span, n_present, n_queries);
}

static uint8_t *
put_header (uint8_t *bytes, const AttnStream *stream, size_t size)
{
  memcpy (bytes, MAGIC, AT_VERSION);
  put_number (bytes + AT_VERSION, VERSION, 4);
  put_number (bytes + AT_FLAGS, stream->at_end ? FLAG_AT_END : 0, 4);
  put_number (bytes + AT_SIZE, size, 8);
  put_number (bytes + AT_HASH, stream->layer->hash, 8);
  put_number (bytes + AT_FIRST, stream->ring.first, 8);
  put_number (bytes + AT_NEXT, stream->ring.next, 8);
  put_number (bytes + AT_NEXT_OUTPUT, stream->next_output, 8);
  return bytes + HEADER_SIZE;
}

/* The presence bits, then the keys and values of the frames that are there. */
static uint8_t *
put_frames (uint8_t *bytes, const AttnStream *stream, const Span *span)
{
  const AttnSizes *sizes = &stream->layer->sizes;
  float *keys = stream->scratch.projected, *values = keys + sizes->n_key;
  uint8_t *presence = bytes;
  size_t i;

  bytes += (n_held (span) + 7) / 8;
  memset (presence, 0, bytes - presence);
  for (i = 0; i < n_held (span); i++) {
    bool is_sink;
    uint64_t frame = held_frame (span, i, &is_sink);

    if (!attn_ring_read (&stream->ring, frame, is_sink, keys, values))
      continue;
    presence[i / 8] |= 1u << i % 8;
    bytes = put_floats (bytes, keys, sizes->n_key);
    bytes = put_floats (bytes, values, sizes->n_value);
  }
  return bytes;
}

static uint8_t *
put_queries (uint8_t *bytes, const AttnStream *stream, const Span *span)
{
  size_t n_query = stream->layer->sizes.n_query;
  uint64_t frame;

  for (frame = span->next_output; frame != span->next; frame++)
    if (attn_ring_has (&stream->ring, frame, false))
      bytes = put_floats (bytes, stream->queries + attn_stream_waiting (stream, frame) * n_query, n_query);
  return bytes;
}

AttnStatus
attn_stream_save (const AttnStream *stream, void *data, size_t size, AttnError *error)
{
  Span span = span_of_stream (stream);
  size_t needed = attn_stream_state_size (stream);
  uint8_t *bytes = data;

  if (size != needed)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has %zu bytes, but there is room for %zu", needed, size);
  bytes = put_header (bytes, stream, size);
  bytes = put_frames (bytes, stream, &span);
  bytes = put_queries (bytes, stream, &span);
  put_number (bytes, attn_hash_bytes (ATTN_HASH_START, data, size - CHECKSUM_SIZE), CHECKSUM_SIZE);
  return attn_succeed (error);
}

/* ---- restoring ---- */

/* That the bytes are a state, whole, and this layer's. */
static AttnStatus
check_envelope (const AttnLayer *layer, const uint8_t *bytes, size_t size, AttnError *error)
{
  uint64_t version, stated, hash, checksum, sum;

  if (size < HEADER_SIZE + CHECKSUM_SIZE)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has %zu bytes, but no state has less than %d", size,
                      HEADER_SIZE + CHECKSUM_SIZE);
  if (memcmp (bytes, MAGIC, AT_VERSION) != 0)
    return attn_fail (error, ATTN_ERROR_STATE, "this is no saved state: it does not begin with \"%s\"", MAGIC);
  version = get_number (bytes + AT_VERSION, 4);
  if (version != VERSION)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has version %u, but version %u is expected",
                      (unsigned) version, VERSION);
  stated = get_number (bytes + AT_SIZE, 8);
  if (stated != size)
    return attn_fail (error, ATTN_ERROR_STATE, "the state is cut off or longer than it should be: %zu bytes, not %llu",
                      size, (unsigned long long) stated);
  checksum = get_number (bytes + size - CHECKSUM_SIZE, CHECKSUM_SIZE);
  sum = attn_hash_bytes (ATTN_HASH_START, bytes, size - CHECKSUM_SIZE);
  if (checksum != sum)
    return attn_fail (error, ATTN_ERROR_STATE, "the state is damaged: its checksum is %016llx, not %016llx",
                      (unsigned long long) sum, (unsigned long long) checksum);
  hash = get_number (bytes + AT_HASH, 8);
  if (hash != layer->hash)
    return attn_fail (error, ATTN_ERROR_STATE,
                      "the state was saved with another layer (other parameters or another configuration): its hash "
                      "is %016llx, this layer's is %016llx",
                      (unsigned long long) hash, (unsigned long long) layer->hash);
  return ATTN_OK;
}

/* That a stream can have come to these frame numbers. */
static AttnStatus
check_numbers (const AttnSizes *sizes, const uint8_t *bytes, Span *span, AttnError *error)
{
  uint64_t first = get_number (bytes + AT_FIRST, 8), next = get_number (bytes + AT_NEXT, 8);
  uint64_t next_output = get_number (bytes + AT_NEXT_OUTPUT, 8), flags = get_number (bytes + AT_FLAGS, 4);

  if ((flags & ~(uint64_t) FLAG_AT_END) != 0)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has flags 0x%x, but only 0x%x is known", (unsigned) flags,
                      FLAG_AT_END);
  if (first > next_output || next_output > next)
    return attn_fail (error, ATTN_ERROR_STATE,
                      "the state's frames are out of order: first %llu, next to leave %llu, next to come in %llu",
                      (unsigned long long) first, (unsigned long long) next_output, (unsigned long long) next);
  if (next - next_output > (flags & FLAG_AT_END ? 0 : sizes->look_ahead))
    return attn_fail (error, ATTN_ERROR_STATE, "in the state %llu frames wait for a look-ahead of %zu%s",
                      (unsigned long long) (next - next_output), sizes->look_ahead,
                      flags & FLAG_AT_END ? " at the end of the stream" : "");
  *span = span_of (sizes, first, next, next_output);
  return ATTN_OK;
}

/* That the bytes are as many as the presence bits ask for, which fit into `size`. */
static AttnStatus
check_frames (const AttnSizes *sizes, const uint8_t *bytes, size_t size, const Span *span, AttnError *error)
{
  const uint8_t *presence = bytes + HEADER_SIZE;
  size_t needed = state_size (sizes, span, 0, 0), n = n_held (span), n_present = 0, n_queries = 0, i;

  if (size >= needed) {
    for (i = 0; i < n; i++)
      if (presence[i / 8] >> i % 8 & 1) {
        n_present++;
        n_queries += i >= n - (span->next - span->next_output);
      }
    needed = state_size (sizes, span, n_present, n_queries);
  }
  if (size != needed)
    return attn_fail (error, ATTN_ERROR_STATE, "the state has %zu bytes, but its frames take %zu", size, needed);
  if (n % 8 != 0 && presence[n / 8] >> n % 8 != 0)
    return attn_fail (error, ATTN_ERROR_STATE, "the state marks more frames as present than the %zu it holds", n);
  return ATTN_OK;
}

/* The frames come in as they did, without being computed again. */
static const uint8_t *
get_frames (AttnStream *stream, const uint8_t *bytes, const Span *span)
{
  const AttnSizes *sizes = &stream->layer->sizes;
  float *keys = stream->scratch.projected, *values = keys + sizes->n_key;
  const AttnKernels *kernels = stream->layer->kernels;
  const uint8_t *presence = bytes;
  size_t i;

  bytes += (n_held (span) + 7) / 8;
  attn_ring_reset (&stream->ring, span->first);
  for (i = 0; i < n_held (span); i++) {
    bool is_sink;
    uint64_t frame = held_frame (span, i, &is_sink);

    /* What nobody can see any more lies between the sinks and the window. */
    attn_ring_skip (&stream->ring, frame - stream->ring.next);
    if (!(presence[i / 8] >> i % 8 & 1))
      continue;
    bytes = get_floats (bytes, keys, sizes->n_key);
    bytes = get_floats (bytes, values, sizes->n_value);
    kernels->scale (keys, keys, 1, sizes->n_key + sizes->n_value); /* who knows who wrote this state */
    attn_ring_write (&stream->ring, kernels, stream->layer->matrix, NULL, keys, values, 0, 1);
  }
  attn_ring_skip (&stream->ring, span->next - stream->ring.next);
  return bytes;
}

static void
get_queries (AttnStream *stream, const uint8_t *bytes, const Span *span)
{
  float *queries = stream->scratch.projected;
  uint64_t frame;

  for (frame = span->next_output; frame != span->next; frame++) {
    bool present = attn_ring_has (&stream->ring, frame, false);

    if (present)
      bytes = get_floats (bytes, queries, stream->layer->sizes.n_query);
    attn_stream_keep_query (stream, frame, present ? queries : NULL);
  }
}

AttnStatus
attn_stream_restore (AttnStream *stream, const void *data, size_t size, AttnError *error)
{
  const AttnSizes *sizes = &stream->layer->sizes;
  const uint8_t *bytes = data;
  AttnStatus status;
  Span span = { 0 };

  if ((status = check_envelope (stream->layer, bytes, size, error))
      || (status = check_numbers (sizes, bytes, &span, error))
      || (status = check_frames (sizes, bytes, size, &span, error)))
    return status;
  get_queries (stream, get_frames (stream, bytes + HEADER_SIZE, &span), &span);
  stream->next_output = span.next_output;
  stream->at_end = get_number (bytes + AT_FLAGS, 4) & FLAG_AT_END;
  return attn_succeed (error);
}
