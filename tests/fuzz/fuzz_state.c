/*
 * Any bytes as a saved state: restored or refused with a sentence, and never a crash. The first byte picks the layer.
 * The bytes are tried as they are and as a forger would leave them, with magic, version, size, hash and checksum
 * mended. A restored stream is saved again, which must give the same bytes (at the second saving if NaNs and denormals
 * were cleaned), and goes on: frames, absent ones, the end.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "stream/layer.h"

#define N_FEATURES 4
#define HEADER_SIZE 56 /* the envelope's, and the size of its one section */
#define CHECKSUM_SIZE 8

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* A broken promise has to stop the fuzzer, with NDEBUG too. */
static void
must (int condition)
{
  if (!condition)
    abort ();
}

static const AttnLayer *
pick_layer (uint8_t choice)
{
  static const struct {
    uint32_t n_heads, window, look_ahead, n_sinks;
  } configs[] = { { 1, 3, 2, 1 }, { 2, 1, 0, 0 }, { 1, 20, 0, 17 }, { 4, 5, 19, 3 } };
  static AttnLayer *layers[4];

  choice %= 4;
  if (layers[choice] == NULL) {
    AttnConfig config = attn_config_default ();

    config.n_features = N_FEATURES;
    config.n_heads = configs[choice].n_heads;
    config.window = configs[choice].window;
    config.look_ahead = configs[choice].look_ahead;
    config.n_sinks = configs[choice].n_sinks;
    must (attn_layer_new (&config, NULL, &layers[choice], NULL) == ATTN_OK);
  }
  return layers[choice];
}

static void
go_on (AttnStream *stream)
{
  static const float frames[40 * N_FEATURES] = { 1, -2, 3 };
  static float out[80 * N_FEATURES], weights[80 * 4 * 64];
  size_t pending = attn_stream_pending (stream), n;

  n = attn_stream_push (stream, frames, 5, out, weights);
  n += attn_stream_skip (stream, 3, out + n * N_FEATURES, NULL);
  n += attn_stream_push (stream, frames, 30, out + n * N_FEATURES, NULL);
  n += attn_stream_drain (stream, out + n * N_FEATURES, NULL);
  must (n == pending + 38 || n == 0 /* it was drained */);
}

/* The state that a stream saves after it restored `data`. */
static uint8_t *
save_restored (const AttnLayer *layer, const uint8_t *data, size_t size)
{
  uint8_t *saved = malloc (size);
  AttnStream *stream;

  must (attn_stream_new (layer, &stream, NULL) == ATTN_OK);
  must (saved != NULL);
  must (attn_stream_restore (stream, data, size, NULL) == ATTN_OK);
  must (attn_stream_state_size (stream) == size);
  must (attn_stream_save (stream, saved, size, NULL) == ATTN_OK);
  attn_stream_free (stream);
  return saved;
}

static void
check_saved (const AttnLayer *layer, const uint8_t *data, size_t size)
{
  uint8_t *saved = save_restored (layer, data, size), *again = save_restored (layer, saved, size);

  must (memcmp (saved, data, HEADER_SIZE) == 0);
  must (memcmp (saved, again, size) == 0);
  free (saved);
  free (again);
}

static void
restore (const AttnLayer *layer, const uint8_t *data, size_t size)
{
  AttnError error;
  AttnStream *stream;
  AttnStatus status;

  must (attn_stream_new (layer, &stream, NULL) == ATTN_OK);
  status = attn_stream_restore (stream, data, size, &error);
  must (status == error.status && (status == ATTN_OK) == (error.message[0] == '\0'));
  if (status == ATTN_OK)
    check_saved (layer, data, size);
  else
    must (status == ATTN_ERROR_STATE && attn_stream_next_frame (stream) == 0);
  go_on (stream);
  attn_stream_free (stream);
}

static void
put_number (uint8_t *bytes, uint64_t number, int n_bytes)
{
  for (int i = 0; i < n_bytes; i++)
    bytes[i] = number >> 8 * i & 0xff;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  const AttnLayer *layer;
  uint8_t *forged;

  if (size == 0)
    return 0;
  layer = pick_layer (*data++);
  size--;
  restore (layer, data, size);
  if (size < HEADER_SIZE + CHECKSUM_SIZE)
    return 0;
  forged = malloc (size);
  must (forged != NULL);
  memcpy (forged, data, size);
  memcpy (forged, "attnstat", 8);
  put_number (forged + 8, 2, 4);
  put_number (forged + 16, size, 8);
  put_number (forged + 24, layer->hash, 8);
  put_number (forged + 48, size - HEADER_SIZE - CHECKSUM_SIZE, 8);
  put_number (forged + size - CHECKSUM_SIZE, attn_hash_bytes (ATTN_HASH_START, forged, size - CHECKSUM_SIZE),
              CHECKSUM_SIZE);
  restore (layer, forged, size);
  free (forged);
  return 0;
}
