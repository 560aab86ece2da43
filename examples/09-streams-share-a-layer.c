/*
 * Lesson 9: many streams share a layer.
 *
 * A layer never changes, so any number of streams in any number of threads can use one layer without a lock. The
 * parameters are in memory once, however many speakers, sensors or channels you process. A stream has its own past, and
 * its own gains of the heads. Only one thread at a time may use a stream.
 *
 * Build:  cc 09-streams-share-a-layer.c $(pkg-config --cflags --libs libattn) -lm -pthread -o 09-streams-share-a-layer
 *
 * Expected output:
 *   stream 0: last frame leaves as  0.488  0.872  0.488  0.872
 *   stream 1: last frame leaves as -0.521  0.848 -0.521  0.848
 *   stream 2: last frame leaves as -0.990 -0.042  0.000  0.000 (head 1 is silent)
 *   stream 3: last frame leaves as -0.440 -0.879 -0.440 -0.879
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "attn.h"

enum { n_streams = 4, n_frames = 1000, n_features = 4, silenced = 2 };

/* What a thread works on. */
typedef struct {
  AttnStream *stream;
  int number;
  float out[n_features]; /* the last one */
} Work;

/* Each stream hears another sequence: a hand that goes round, at a speed of its own. */
static void *
listen (void *data)
{
  Work *work = data;
  float frame[n_features];

  for (int t = 0; t < n_frames; t++) {
    frame[0] = frame[2] = cosf (0.02f * (work->number + 1) * t);
    frame[1] = frame[3] = sinf (0.02f * (work->number + 1) * t);
    attn_stream_push (work->stream, frame, 1, work->out, NULL);
  }
  return NULL;
}

static void
check (AttnStatus status, const AttnError *error)
{
  if (status == ATTN_OK)
    return;
  fprintf (stderr, "%s\n", error->message);
  exit (1);
}

int
main (void)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;
  AttnError error;
  Work work[n_streams];
  pthread_t threads[n_streams];

  config.n_features = n_features;
  config.n_heads = 2;
  config.window = 8;
  check (attn_layer_new (&config, NULL, &layer, &error), &error); /* with a model: here it would be packed, once */
  for (int i = 0; i < n_streams; i++) {
    work[i].number = i;
    check (attn_stream_new (layer, &work[i].stream, &error), &error);
  }
  check (attn_stream_set_gain (work[silenced].stream, 0, 1, 0), &error);

  for (int i = 0; i < n_streams; i++)
    if (pthread_create (&threads[i], NULL, listen, &work[i]) != 0)
      abort ();
  for (int i = 0; i < n_streams; i++)
    pthread_join (threads[i], NULL);

  for (int i = 0; i < n_streams; i++) {
    printf ("stream %d: last frame leaves as", i);
    for (int j = 0; j < n_features; j++)
      printf (" %6.3f", work[i].out[j]);
    printf ("%s\n", i == silenced ? " (head 1 is silent)" : "");
    attn_stream_free (work[i].stream);
  }
  attn_layer_free (layer); /* after its last stream */
  return 0;
}
