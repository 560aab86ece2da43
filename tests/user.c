/* A program that uses the installed library.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include <attn.h>
#include <stdio.h>

int
main (void)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;
  AttnStream *stream;
  float frame[4] = { 1, 2, 3, 4 }, out[4];

  config.n_features = 4;
  if (attn_layer_new (&config, NULL, &layer, NULL) != ATTN_OK || attn_stream_new (layer, &stream, NULL) != ATTN_OK)
    return 1;
  attn_stream_push (stream, frame, 1, out, NULL);
  printf ("%g %g\n", out[0], out[3]); /* the only frame attends to itself */
  attn_stream_free (stream);
  attn_layer_free (layer);
  return 0;
}
