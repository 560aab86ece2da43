/*
 * Lesson 12: a whole encoder, frame by frame.
 *
 * A file lists the blocks of an encoder, and the core runs them as one stream. The outputs equal those of the whole
 * sequence at once, to the bit, however the frames arrive. Two numbers tell when outputs come: the stride (one output
 * for each `stride` frames) and the reach ahead (the frames that an output waits for). A layer that looks one frame
 * ahead, behind strides of four, waits for four frames. Four such layers wait for 16.
 *
 * The encoder is models/small-encoder.safetensors, whose parameters are random: models/small_encoder.py wrote it.
 *
 * Build:  cc 12-whole-encoder.c $(pkg-config --cflags --libs libattn) -o 12-whole-encoder
 * Run:    12-whole-encoder [FILE], in the project's folder
 *
 * Expected output:
 *   31 blocks and 13312 parameters: 80 values in, 16 values out
 *   1 output per 4 frames, which waits for 16 frames
 *   after   1 frames:  0 outputs have left
 *   after  17 frames:  1 outputs have left
 *   after  18 frames:  1 outputs have left
 *   after  50 frames:  9 outputs have left
 *   after 100 frames: 21 outputs have left
 *   at the end:        4 more leave, of 25
 *   output  0 begins -0.889 -1.250
 *   output 24 begins -0.517 -0.762
 *   the whole sequence at once: the same bits
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn.h"

enum { n_frames = 100 };

static void
check (AttnStatus status, const AttnError *error)
{
  if (status == ATTN_OK)
    return;
  fprintf (stderr, "%s\n", error->message);
  exit (1);
}

/* frames [n][n_features]: a few waves, as spectra have them. */
static float *
make_frames (uint32_t n_features)
{
  float *frames = malloc (n_frames * n_features * sizeof *frames);

  for (uint32_t t = 0; t < n_frames; t++)
    for (uint32_t i = 0; i < n_features; i++)
      frames[t * n_features + i] = (float) ((t * (i + 3)) % 17) / 8 - 1;
  return frames;
}

/* Frames arrive as they like; out [][n_outputs] receives what is ready. Returns how many outputs that is. */
static size_t
listen (AttnStream *stream, const float *frames, uint32_t n_features, float *out, uint32_t n_outputs)
{
  static const size_t arrived[] = { 0, 1, 17, 18, 50, 100 };
  size_t n_left = 0;

  for (int i = 1; i < 6; i++) {
    n_left += attn_stream_push (stream, frames + arrived[i - 1] * n_features, arrived[i] - arrived[i - 1],
                                out + n_left * n_outputs, NULL);
    printf ("after %3zu frames: %2zu outputs have left\n", arrived[i], n_left);
  }
  return n_left;
}

int
main (int argc, char **argv)
{
  const char *path = argc > 1 ? argv[1] : "examples/models/small-encoder.safetensors";
  AttnLayer *encoder; /* a layer as any other: shared by any number of streams */
  AttnStream *stream;
  AttnError error;

  check (attn_encoder_open (path, NULL, &encoder, &error), &error);
  check (attn_stream_new (encoder, &stream, &error), &error);

  uint32_t n_features = attn_layer_n_features (encoder), n_outputs = attn_layer_n_outputs (encoder);
  size_t n_all = attn_layer_count (encoder, n_frames), size = n_all * n_outputs * sizeof (float);
  float *frames = make_frames (n_features), *out = malloc (size), *at_once = malloc (size);

  printf ("%u blocks and %llu parameters: %u values in, %u values out\n", attn_layer_n_blocks (encoder),
          (unsigned long long) attn_layer_n_parameters (encoder), n_features, n_outputs);
  printf ("1 output per %llu frames, which waits for %llu frames\n", (unsigned long long) attn_layer_stride (encoder),
          (unsigned long long) attn_layer_reach_ahead (encoder));

  size_t n_left = listen (stream, frames, n_features, out, n_outputs);
  size_t n_more = attn_stream_drain (stream, out + n_left * n_outputs, NULL);
  printf ("at the end:       %2zu more leave, of %zu\n", n_more, n_all);
  for (size_t i = 0; i < n_all; i += n_all - 1)
    printf ("output %2zu begins %6.3f %6.3f\n", i, out[i * n_outputs], out[i * n_outputs + 1]);

  check (attn_forward (encoder, frames, NULL, n_frames, 0, at_once, NULL, &error), &error);
  printf ("the whole sequence at once: %s\n", memcmp (out, at_once, size) == 0 ? "the same bits" : "OTHER BITS");

  free (frames);
  free (out);
  free (at_once);
  attn_stream_free (stream);
  attn_layer_free (encoder);
  return 0;
}
