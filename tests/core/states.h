/* Saved states for the core's tests, and a stream with a past to save.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_CORE_STATES_H
#define TESTS_CORE_STATES_H

#include "base/hash.h"
#include "layers.h"

#define HEADER_SIZE 64 /* the envelope's, and that of the section of the one attention */
#define CHECKSUM_SIZE 8

static inline AttnStream *
stream_new (const AttnLayer *layer, uint64_t first)
{
  AttnStream *stream;

  if (attn_stream_new (layer, &stream, NULL) != ATTN_OK)
    abort ();
  MUST (attn_stream_reset (stream, first, NULL));
  return stream;
}

/* Two features, window 3, look-ahead 2, one sink; frames 0 1 . 3 4 5 6 of values 10t, 10t + 1; frame 2 is absent. */
static inline AttnStream *
small_stream (AttnLayer **layer)
{
  AttnStream *stream;

  *layer = plain_layer (2, 1, 3, 2, 1);
  stream = stream_new (*layer, 0);
  for (int t = 0; t < 7; t++) {
    float frame[2] = { 10 * t, 10 * t + 1 };

    if (t == 2)
      attn_stream_skip (stream, 1, NULL, NULL);
    else
      attn_stream_push (stream, frame, 1, NULL, NULL);
  }
  return stream;
}

typedef struct {
  uint8_t *bytes;
  size_t size;
} State;

static inline State
save (const AttnStream *stream)
{
  State state = { .size = attn_stream_state_size (stream) };

  state.bytes = malloc (state.size);
  if (attn_stream_save (stream, state.bytes, state.size, NULL) != ATTN_OK)
    abort ();
  return state;
}

static inline bool
same_state (const State *a, const State *b)
{
  return a->size == b->size && memcmp (a->bytes, b->bytes, a->size) == 0;
}

static inline void
put_number (State *state, size_t at, uint64_t number, int n_bytes)
{
  for (int i = 0; i < n_bytes; i++)
    state->bytes[at + i] = number >> 8 * i & 0xff;
}

static inline uint64_t
number_at (const State *state, size_t at, int n_bytes)
{
  uint64_t number = 0;

  for (int i = 0; i < n_bytes; i++)
    number |= (uint64_t) state->bytes[at + i] << 8 * i;
  return number;
}

/* Mends the checksum as a forger would, so that the checks behind it are tested too. */
static inline void
mend_checksum (State *state)
{
  put_number (state, state->size - CHECKSUM_SIZE,
              attn_hash_bytes (ATTN_HASH_START, state->bytes, state->size - CHECKSUM_SIZE), CHECKSUM_SIZE);
}

/* The state is refused with a sentence that contains both texts, and the stream is unchanged. */
static inline bool
refuses (AttnStream *stream, const State *state, const char *a, const char *b)
{
  State before = save (stream), after;
  AttnError error = { ATTN_OK, "" };
  uint8_t *exact = malloc (state->size + (state->size == 0)); /* a read past the end is seen by a memory checker */
  AttnStatus status;
  bool same;

  memcpy (exact, state->bytes, state->size);
  status = attn_stream_restore (stream, exact, state->size, &error);
  after = save (stream);
  same = same_state (&before, &after);
  free (exact);
  free (before.bytes);
  free (after.bytes);
  if (status == ATTN_ERROR_STATE && error.status == status && strstr (error.message, a) && strstr (error.message, b)
      && same)
    return true;
  printf ("# status %d, unchanged: %d, wanted \"%s\" and \"%s\": %s\n", status, same, a, b, error.message);
  return false;
}

/* A refused state has changed nothing: the stream gives the outputs of an undisturbed one. */
static inline bool
is_undisturbed (AttnStream *stream, const AttnLayer *layer)
{
  AttnLayer *same_layer;
  AttnStream *other = small_stream (&same_layer);
  float frames[20], out[2][20 + 4];
  size_t n[2];

  random_fill (frames, 20, 3);
  n[0] = attn_stream_push (stream, frames, 10, out[0], NULL);
  n[1] = attn_stream_push (other, frames, 10, out[1], NULL);
  n[0] += attn_stream_drain (stream, out[0] + n[0] * 2, NULL);
  n[1] += attn_stream_drain (other, out[1] + n[1] * 2, NULL);
  attn_stream_free (other);
  attn_layer_free (same_layer);
  return n[0] == n[1] && n[0] == 12 && memcmp (out[0], out[1], sizeof out[0]) == 0;
}

#endif
