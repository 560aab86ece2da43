/*
 * The state of an encoder with damage: restored or refused with a sentence. The first bytes are the choices of a random
 * encoder (core/encoders.h), of the frames before the state, and of the damage; the envelope is then mended as a forger
 * would, so that every damage reaches the sections of the blocks. A state that is not damaged goes on with the bits of
 * its stream. What a restored stream says it will give, outputs and rows of a watched attention, is what it gives.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "choices.h"

#include "base/hash.h"

#define MAX_BLOCKS 8
#define MAX_FRAMES 24

enum { AT_FIRST = 32, AT_NEXT = 40, HEADER_SIZE = 48, CHECKSUM_SIZE = 8, AT_SIZE = 16 }; /* of an envelope: attn.h */

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

typedef struct {
  uint8_t *bytes; /* of exactly `size` bytes, so that a sanitizer sees any step beyond */
  size_t size;
} State;

/* ---- running ---- */

/* An attention of `stream`, or none, is watched with room for a few rows. */
typedef struct {
  AttnWatch watch;
  uint32_t attention;
  bool is_on;
} Watcher;

static void
begin_watching (Watcher *watcher, AttnStream *stream, const AttnLayer *layer)
{
  uint32_t n = attn_layer_n_attentions (layer);
  const AttnConfig *config;

  *watcher = (Watcher){ .is_on = n > 0 && more_bits () % 2 == 0 };
  if (!watcher->is_on)
    return;
  watcher->attention = more_bits () % n;
  watcher->watch.room = more_bits () % 4;
  config = attn_layer_attention (layer, watcher->attention);
  watcher->watch.weights =
      new_values (watcher->watch.room * config->n_heads * (config->n_sinks + config->window + config->look_ahead));
  must (attn_stream_watch (stream, watcher->attention, &watcher->watch) == ATTN_OK);
}

static void
check_rows (const Watcher *watcher, uint64_t first, uint64_t n)
{
  must (!watcher->is_on || (watcher->watch.n_rows == n && (n == 0 || watcher->watch.first == first)));
}

/* `n` frames that are there, or not. Returns the outputs; the caller frees them. */
static float *
push (AttnStream *stream, const AttnLayer *layer, const Watcher *watcher, bool are_there, size_t n, size_t *n_values)
{
  size_t n_in = attn_layer_n_features (layer), n_ready = attn_stream_ready (stream, n);
  uint64_t first_row = attn_stream_next_row (stream, watcher->attention);
  uint64_t n_rows = attn_stream_rows_ready (stream, watcher->attention, n);
  float *frames = new_values (n * n_in), *out;

  *n_values = n_ready * attn_layer_n_outputs (layer);
  out = new_values (*n_values);
  random_fill (frames, n * n_in, 2);
  must (n_ready
        == (are_there ? attn_stream_push (stream, frames, n, out, NULL) : attn_stream_skip (stream, n, out, NULL)));
  check_rows (watcher, first_row, n_rows);
  free (frames);
  return out;
}

static float *
drain (AttnStream *stream, const AttnLayer *layer, const Watcher *watcher, size_t *n_values)
{
  size_t n_pending = attn_stream_pending (stream);
  uint64_t first_row = attn_stream_next_row (stream, watcher->attention);
  uint64_t n_rows = attn_stream_rows_pending (stream, watcher->attention);
  float *out;

  *n_values = n_pending * attn_layer_n_outputs (layer);
  out = new_values (*n_values);
  must (n_pending == attn_stream_drain (stream, out, NULL));
  check_rows (watcher, first_row, n_rows);
  must (attn_stream_is_drained (stream));
  return out;
}

/* Some frames and the end. The same `seed` is the same frames. Returns a hash of the outputs. */
static uint64_t
go_on (AttnStream *stream, const AttnLayer *layer, uint64_t seed, bool to_the_end)
{
  uint64_t hash = ATTN_HASH_START;
  Watcher watcher;
  size_t n_values;
  float *out;

  input.size = 0;
  input.state = seed;
  begin_watching (&watcher, stream, layer);
  for (int i = 0; i < 4; i++) {
    bool are_there = more_bits () % 3 != 0;

    out = push (stream, layer, &watcher, are_there, more_bits () % 7, &n_values);
    hash = attn_hash_bytes (hash, (const uint8_t *) out, n_values * sizeof *out);
    free (out);
  }
  if (to_the_end) {
    out = drain (stream, layer, &watcher, &n_values);
    hash = attn_hash_bytes (hash, (const uint8_t *) out, n_values * sizeof *out);
    free (out);
  }
  must (!watcher.is_on || attn_stream_watch (stream, watcher.attention, NULL) == ATTN_OK);
  free (watcher.watch.weights);
  return hash;
}

/* ---- states ---- */

static State
save (const AttnStream *stream)
{
  State state = { .size = attn_stream_state_size (stream) };

  state.bytes = malloc (state.size);
  must (state.bytes != NULL && attn_stream_save (stream, state.bytes, state.size, NULL) == ATTN_OK);
  return state;
}

static AttnStream *
new_stream (const AttnLayer *layer)
{
  AttnStream *stream;

  must (attn_stream_new (layer, &stream, NULL) == ATTN_OK);
  return stream;
}

/* The stream before the state, as the choices want it. */
static AttnStream *
chosen_stream (const AttnLayer *layer)
{
  static const uint64_t firsts[] = { 0, 1, 1000, (uint64_t) 1 << 32, (uint64_t) 1 << 60 };
  AttnStream *stream = new_stream (layer);
  Watcher nobody = { .is_on = false };
  int n_pushes = random_between (0, 6);
  size_t n;

  must (attn_stream_reset (stream, firsts[random_between (0, 4)] * attn_layer_stride (layer), NULL) == ATTN_OK);
  for (int i = 0; i < n_pushes; i++) {
    bool are_there = random_between (0, 3) != 0;

    free (push (stream, layer, &nobody, are_there, random_between (0, MAX_FRAMES), &n));
  }
  if (random_between (0, 7) == 0)
    free (drain (stream, layer, &nobody, &n));
  return stream;
}

/* A number of eight bytes, or one byte, is replaced; or bytes go, or come. */
static void
damage (State *state)
{
  size_t at = (random_between (0, 255) << 8 | random_between (0, 255)) % state->size, n = random_between (1, 8);
  uint8_t by = random_between (0, 255), *bytes;

  switch (random_between (0, 5)) {
  case 0: /* beside the numbers at the begin of the first section */
    at = AT_FIRST + at % 40;
    state->bytes[at < state->size ? at : 0] += by;
    break;
  case 1:
    state->bytes[at] = by;
    break;
  case 2:
    state->bytes[at] ^= 1u << by % 8;
    break;
  case 3:
    for (size_t i = 0; i < 8 && at + i < state->size; i++)
      state->bytes[at + i] = by & 1 ? 0xff : 0;
    break;
  case 4: /* gone */
    n = n < state->size - at ? n : state->size - at;
    memmove (state->bytes + at, state->bytes + at + n, state->size - at - n);
    state->size -= n;
    break;
  default: /* come */
    bytes = malloc (state->size + n);
    must (bytes != NULL);
    memcpy (bytes, state->bytes, at);
    memset (bytes + at, by, n);
    memcpy (bytes + at + n, state->bytes + at, state->size - at);
    free (state->bytes);
    *state = (State){ bytes, state->size + n };
  }
}

static void
mend_envelope (State *state, const uint8_t *original)
{
  uint8_t *bytes;

  if (state->size < HEADER_SIZE + CHECKSUM_SIZE)
    return;
  bytes = malloc (state->size); /* of the exact size */
  must (bytes != NULL);
  memcpy (bytes, state->bytes, state->size);
  free (state->bytes);
  state->bytes = bytes;
  memcpy (bytes, original, 12);          /* magic, version */
  memcpy (bytes + 24, original + 24, 8); /* the hash of the layer */
  attn_put_number (bytes + AT_SIZE, state->size, 8);
  attn_put_number (bytes + state->size - CHECKSUM_SIZE,
                   attn_hash_bytes (ATTN_HASH_START, bytes, state->size - CHECKSUM_SIZE), CHECKSUM_SIZE);
}

/* What was restored is saved with the same size; and saved again, with the same bytes. */
static void
check_saved (const AttnLayer *layer, const AttnStream *stream, const State *state)
{
  State saved = save (stream), again;
  AttnStream *other = new_stream (layer);

  must (saved.size == state->size);
  must (attn_stream_restore (other, saved.bytes, saved.size, NULL) == ATTN_OK);
  again = save (other);
  must (memcmp (saved.bytes, again.bytes, saved.size) == 0);
  attn_stream_free (other);
  free (saved.bytes);
  free (again.bytes);
}

/* Returns whether the state was taken. */
static bool
restore (const AttnLayer *layer, AttnStream *stream, const State *state)
{
  AttnError error;
  AttnStatus status = attn_stream_restore (stream, state->bytes, state->size, &error);

  must (status == error.status && (status == ATTN_OK) == (error.message[0] == '\0'));
  must (status == ATTN_OK || (status == ATTN_ERROR_STATE && attn_stream_next_frame (stream) == 0));
  if (status == ATTN_OK)
    check_saved (layer, stream, state);
  return status == ATTN_OK;
}

static void
try (const AttnLayer *layer)
{
  AttnStream *stream = chosen_stream (layer), *other = new_stream (layer);
  State state = save (stream), original = save (stream);
  int n_damages = random_between (0, 3);
  bool to_the_end = random_between (0, 1), taken;
  uint64_t seed = more_bits (), hash;

  for (int i = 0; i < n_damages && state.size > 0; i++)
    damage (&state);
  mend_envelope (&state, original.bytes);
  taken = restore (layer, other, &state);
  hash = go_on (other, layer, seed, to_the_end);
  if (n_damages == 0)
    must (taken && hash == go_on (stream, layer, seed, to_the_end));
  attn_stream_free (stream);
  attn_stream_free (other);
  free (state.bytes);
  free (original.bytes);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  AttnLayer *layer;
  Encoder e;

  input.data = data;
  input.size = size;
  input.state = size;
  e = random_encoder (MAX_BLOCKS, random_between (0, 1));
  must (attn_encoder_open_memory (e.file.bytes, e.file.size, NULL, &layer, NULL) == ATTN_OK);
  try (layer);
  attn_layer_free (layer);
  encoder_clear (&e);
  return 0;
}
