/*
 * Lesson 13: many streams in one call.
 *
 * A server has many callers, and every tick each of them sends a frame. Pushed one after another, each frame reads all
 * parameters of the model from memory. A group pushes the frames of all callers in one call: it reads the parameters
 * once, for sixteen callers at a time. No output changes by a bit, whoever shares a call with whom. So callers may come
 * at any time, lose frames, or bring none or two. (build/tests/bench/attn-bench 512 8 64 1 --streams 16 --together
 * measures how much faster that is.)
 *
 * Here five callers come one after another. Some of their frames are lost on the way, and some are late. Each also has
 * a stream that is pushed alone, to compare the bits. The encoder gives one output per four frames, which waits for 16.
 *
 * Build:  cc 13-streams-in-one-call.c $(pkg-config --cflags --libs libattn) -o 13-streams-in-one-call
 * Run:    13-streams-in-one-call [FILE], in the project's folder
 *
 * Expected output:
 *   tick  0: outputs so far  0  0  0  0  0
 *   tick 33: outputs so far  5  1  0  0  0
 *   tick 66: outputs so far 13  9  6  2  0
 *   tick 99: outputs so far 21 18 14 10  6
 *   caller 0: 100 frames, 21 outputs, the last begins -1.699
 *   caller 1:  85 frames, 18 outputs, the last begins -0.182
 *   caller 2:  69 frames, 14 outputs, the last begins -0.207
 *   caller 3:  55 frames, 10 outputs, the last begins -1.283
 *   caller 4:  40 frames,  6 outputs, the last begins -1.577
 *   each stream has the bits that it has alone: yes
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn.h"

enum { n_callers = 5, n_ticks = 100, most_frames = 2 };

typedef struct {
  AttnStream *stream, *alone;
  float *frames;      /* [most_frames][n_features], those of this tick */
  float *out, *check; /* [most_frames][n_outputs]: in the group, alone */
  size_t n_outputs;   /* so far */
} Caller;

static void
check (AttnStatus status, const AttnError *error)
{
  if (status == ATTN_OK)
    return;
  fprintf (stderr, "%s\n", error->message);
  exit (1);
}

static void
caller_init (Caller *caller, const AttnLayer *encoder)
{
  AttnError error;
  size_t n_in = attn_layer_n_features (encoder), n_out = attn_layer_n_outputs (encoder);

  check (attn_stream_new (encoder, &caller->stream, &error), &error);
  check (attn_stream_new (encoder, &caller->alone, &error), &error);
  caller->frames = malloc (most_frames * n_in * sizeof (float));
  caller->out = malloc (most_frames * n_out * sizeof (float));
  caller->check = malloc (most_frames * n_out * sizeof (float));
}

static void
caller_clear (Caller *caller)
{
  attn_stream_free (caller->stream);
  attn_stream_free (caller->alone);
  free (caller->frames);
  free (caller->out);
  free (caller->check);
}

/* What the network brings of caller `i` in this tick. n_frames 0: nothing. */
static AttnPush
receive (Caller *caller, int i, int tick, uint32_t n_features)
{
  AttnPush push = { .stream = caller->stream, .n_frames = 1, .frames = caller->frames, .out = caller->out };

  if (tick < 15 * i || (tick + i) % 8 == 5) /* the call has not begun; or the frame is late */
    push.n_frames = 0;
  else if ((tick + i) % 8 == 6) /* here it is, with the next one */
    push.n_frames = 2;
  else if ((tick * 3 + i) % 13 == 0) /* lost: frame numbers go on, and nothing attends to it */
    push.frames = NULL;
  for (uint32_t j = 0; j < most_frames * n_features; j++)
    caller->frames[j] = (float) ((tick * (i + 2) + j * (j + 3)) % 17) / 8 - 1;
  return push;
}

/* All callers of a tick in one call. Each then does the same alone; returns whether all bits are equal. */
static int
serve (AttnGroup *group, Caller *callers, int tick, const AttnLayer *encoder)
{
  size_t row = attn_layer_n_outputs (encoder) * sizeof (float);
  AttnPush pushes[n_callers];
  AttnError error;
  int equal = 1;

  for (int i = 0; i < n_callers; i++)
    pushes[i] = receive (&callers[i], i, tick, attn_layer_n_features (encoder));
  check (attn_group_push (group, pushes, n_callers, &error), &error);

  for (int i = 0; i < n_callers; i++) {
    Caller *caller = &callers[i];
    uint64_t n = attn_stream_run (caller->alone, pushes[i].frames, pushes[i].n_frames, caller->check, NULL, NULL);

    equal = equal && n == pushes[i].n_out && memcmp (caller->out, caller->check, n * row) == 0;
    caller->n_outputs += pushes[i].n_out;
  }
  return equal;
}

int
main (int argc, char **argv)
{
  const char *path = argc > 1 ? argv[1] : "examples/models/small-encoder.safetensors";
  Caller callers[n_callers] = { 0 };
  AttnLayer *encoder;
  AttnGroup *group; /* working memory of such calls: any streams of the layer may share one */
  AttnError error;
  int equal = 1;

  check (attn_encoder_open (path, NULL, &encoder, &error), &error);
  check (attn_group_new (encoder, n_callers, &group, &error), &error);
  for (int i = 0; i < n_callers; i++)
    caller_init (&callers[i], encoder);

  for (int tick = 0; tick < n_ticks; tick++) {
    equal &= serve (group, callers, tick, encoder);
    if (tick % 33 != 0)
      continue;
    printf ("tick %2d: outputs so far", tick);
    for (int i = 0; i < n_callers; i++)
      printf (" %2zu", callers[i].n_outputs);
    printf ("\n");
  }
  for (int i = 0; i < n_callers; i++)
    printf ("caller %d: %3llu frames, %2zu outputs, the last begins %6.3f\n", i,
            (unsigned long long) attn_stream_next_frame (callers[i].stream), callers[i].n_outputs, callers[i].out[0]);
  printf ("each stream has the bits that it has alone: %s\n", equal ? "yes" : "NO");

  for (int i = 0; i < n_callers; i++)
    caller_clear (&callers[i]);
  attn_group_free (group); /* before the layer */
  attn_layer_free (encoder);
  return 0;
}
