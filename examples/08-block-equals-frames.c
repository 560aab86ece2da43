/*
 * Lesson 8: a block equals frame by frame.
 *
 * The number of frames per push changes no bit of the output. Push one frame at a time for the lowest latency, many at
 * once for the highest throughput, or any number between. All of them equal attn_forward () over the whole sequence.
 * With a look-ahead of 2 the first push of one frame gives no output, and the last two outputs come from the drain.
 *
 * Build:  cc 08-block-equals-frames.c $(pkg-config --cflags --libs libattn) -o 08-block-equals-frames
 *
 * Expected output:
 *   the whole sequence, attn_forward (): 100 frames, bits f977a62e
 *   pushed in blocks of   1: 98 frames and 2 from the drain, the same bits
 *   pushed in blocks of   7: 98 frames and 2 from the drain, the same bits
 *   pushed in blocks of 100: 98 frames and 2 from the drain, the same bits
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>
#include <string.h>

#include "attn.h"

enum { n_frames = 100, n_features = 16 };

/* Numbers from -1 to 1 without a pattern, the same everywhere. */
static void
make_frames (float frames[n_frames][n_features])
{
  uint32_t seed = 1;

  for (int i = 0; i < n_frames * n_features; i++) {
    seed = seed * 1664525 + 1013904223; /* Numerical Recipes' generator */
    frames[i / n_features][i % n_features] = (float) (seed >> 8) / (1 << 23) - 1;
  }
}

/* A few digits that differ as soon as one bit does (FNV-1a). */
static uint32_t
digest (const void *data, size_t size)
{
  const unsigned char *bytes = data;
  uint32_t hash = 2166136261;

  for (size_t i = 0; i < size; i++)
    hash = (hash ^ bytes[i]) * 16777619;
  return hash;
}

/* Compares a stream that gets `block` frames at a time with what is expected, and says so. */
static int
compare (const AttnLayer *layer, float frames[n_frames][n_features], size_t block, float expected[n_frames][n_features])
{
  float out[n_frames][n_features];
  size_t n_out = 0, n_drained, n;
  AttnStream *stream;
  int same;

  if (attn_stream_new (layer, &stream, NULL) != ATTN_OK)
    return 0;
  for (size_t t = 0; t < n_frames; t += n) {
    n = block < n_frames - t ? block : n_frames - t;
    n_out += attn_stream_push (stream, frames[t], n, out[n_out], NULL); /* at most n, oldest first */
  }
  n_drained = attn_stream_drain (stream, out[n_out], NULL);
  attn_stream_free (stream);

  same = n_out + n_drained == n_frames && memcmp (out, expected, sizeof out) == 0;
  printf ("pushed in blocks of %3zu: %zu frames and %zu from the drain, %s bits\n", block, n_out, n_drained,
          same ? "the same" : "OTHER");
  return same;
}

int
main (void)
{
  static float frames[n_frames][n_features], expected[n_frames][n_features];
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;
  AttnError error;
  int same;

  config.n_features = n_features;
  config.n_heads = 4;
  config.window = 10;
  config.look_ahead = 2;
  make_frames (frames);
  if (attn_layer_new (&config, NULL, &layer, &error) != ATTN_OK
      || attn_forward (layer, frames[0], NULL, n_frames, 0, expected[0], NULL, NULL) != ATTN_OK) {
    fprintf (stderr, "%s\n", error.message);
    return 1;
  }
  printf ("the whole sequence, attn_forward (): %d frames, bits %08x\n", n_frames, digest (expected, sizeof expected));
  same = compare (layer, frames, 1, expected);
  same &= compare (layer, frames, 7, expected);
  same &= compare (layer, frames, n_frames, expected);
  attn_layer_free (layer);
  return !same;
}
