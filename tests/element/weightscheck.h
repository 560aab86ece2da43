/*
 * Code for the tests of attention's weights and messages: frames, an element with a harness on each of its pads, and
 * the core's results.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_WEIGHTSCHECK_H
#define TESTS_ELEMENT_WEIGHTSCHECK_H

#include "attentioncheck.h"

#define D 6
#define HEADS 2
#define SINKS 2
#define WINDOW 5
#define LOOK_AHEAD 3
#define SPAN (SINKS + WINDOW + LOOK_AHEAD)
#define N_WEIGHTS (HEADS * SPAN)
#define N 40

static gfloat frames[N * D];

static inline void
setup (void)
{
  fill_random (frames, N * D, 1);
}

static inline AttnConfig
configuration (void)
{
  AttnConfig config = attn_config_default ();

  config.n_features = D;
  config.n_heads = HEADS;
  config.n_sinks = SINKS;
  config.window = WINDOW;
  config.look_ahead = LOOK_AHEAD;
  return config;
}

static inline GstElement *
new_element (void)
{
  AttnConfig config = configuration ();

  return subject_new (&config);
}

/* `w` receives the buffers of the pad of the weights. */
typedef struct {
  GstHarness *h, *w;
} Both;

static inline Both
start_with_caps (const gchar *caps)
{
  GstElement *element = new_element ();
  Both both;

  both.h = gst_harness_new_with_element (element, "sink", "src");
  both.w = gst_harness_new_with_element (element, NULL, subject_weights ());
  gst_harness_set_src_caps_str (both.h, caps);
  gst_object_unref (element);
  return both;
}

static inline Both
start (void)
{
  return start_with_caps (AUDIO_CAPS);
}

static inline void
stop (Both both)
{
  gst_harness_teardown (both.w);
  gst_harness_teardown (both.h);
}

static inline void
push (GstHarness *h, guint begin, guint n)
{
  fail_unless_equals_int (gst_harness_push (h, frames_buffer (frames, D, begin, n)), GST_FLOW_OK);
}

static inline void
push_in_pieces (GstHarness *h, guint begin, guint end, guint piece)
{
  for (; begin < end; begin += MIN (piece, end - begin))
    push (h, begin, MIN (piece, end - begin));
}

typedef struct {
  gfloat out[N * D], weights[N * N_WEIGHTS];
} Expected;

/* `present` NULL: all. */
static inline void
expect (const guint8 *present, Expected *expected)
{
  AttnConfig config = configuration ();

  attend (&config, NULL, frames, present, N, expected->out, expected->weights);
}

#endif
