/*
 * Lesson 7: push frames. The core alone, without GStreamer.
 *
 * A layer defines the computation, and a stream holds the past of one sequence of frames. Each frame attends to the
 * frames of its window, itself included, and leaves as their weighted mean: the better a frame fits, the larger its
 * weight. There is no model here: a frame is its own query, key and value.
 *
 * Build:  cc 07-push-frames.c $(pkg-config --cflags --libs libattn) -o 07-push-frames
 *
 * Expected output:
 *   frame 0 ( 2  0): weights 0.000 0.000 1.000, leaves as ( 2.000  0.000)
 *   frame 1 ( 0  1): weights 0.000 0.330 0.670, leaves as ( 0.660  0.670)
 *   frame 2 ( 2  0): weights 0.486 0.029 0.486, leaves as ( 1.943  0.029)
 *   frame 3 (-2  0): weights 0.056 0.003 0.941, leaves as (-1.876  0.056)
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>

#include "attn.h"

enum { n_frames = 4, n_features = 2, window = 3 };

int
main (void)
{
  const float frames[n_frames][n_features] = { { 2, 0 }, { 0, 1 }, { 2, 0 }, { -2, 0 } };
  float out[n_features], weights[window];     /* of one head: [window], oldest frame first, 0 where there is none */
  AttnConfig config = attn_config_default (); /* one head, no look-ahead, no positions */
  AttnLayer *layer = NULL;
  AttnStream *stream = NULL;
  AttnError error;

  config.n_features = n_features;
  config.window = window;
  if (attn_layer_new (&config, NULL, &layer, &error) != ATTN_OK
      || attn_stream_new (layer, &stream, &error) != ATTN_OK) {
    fprintf (stderr, "%s\n", error.message);
    attn_layer_free (layer);
    return 1;
  }
  for (int t = 0; t < n_frames; t++) {
    attn_stream_push (stream, frames[t], 1, out, weights);
    printf ("frame %d (%2g %2g): weights", t, frames[t][0], frames[t][1]);
    for (int j = 0; j < window; j++)
      printf (" %5.3f", weights[j]);
    printf (", leaves as (%6.3f %6.3f)\n", out[0], out[1]);
  }
  attn_stream_free (stream);
  attn_layer_free (layer);
  return 0;
}
