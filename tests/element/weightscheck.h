/*
 * What the tests of attention's weights and messages share: frames, an element with a harness on each of its pads, and
 * what the core gives.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_WEIGHTSCHECK_H
#define TESTS_ELEMENT_WEIGHTSCHECK_H

#include "attentioncheck.h"

#include "attn.h"

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

static inline GstElement *
new_element (void)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);

  g_object_set (element, "heads", HEADS, "sinks", SINKS, "window", WINDOW, "look-ahead", LOOK_AHEAD, NULL);
  return element;
}

/* `w` takes what the pad `weights` gives. */
typedef struct {
  GstHarness *h, *w;
} Both;

static inline Both
start_with_caps (const gchar *caps)
{
  GstElement *element = new_element ();
  Both both;

  both.h = gst_harness_new_with_element (element, "sink", "src");
  both.w = gst_harness_new_with_element (element, NULL, "weights");
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

static inline GstBuffer *
make_buffer (guint begin, guint n)
{
  GstBuffer *buffer = gst_buffer_new_memdup (frames + begin * D, n * D * sizeof (gfloat));

  GST_BUFFER_PTS (buffer) = begin * FRAME_TIME;
  GST_BUFFER_DURATION (buffer) = n * FRAME_TIME;
  GST_BUFFER_OFFSET (buffer) = begin;
  GST_BUFFER_OFFSET_END (buffer) = begin + n;
  return buffer;
}

static inline void
push (GstHarness *h, guint begin, guint n)
{
  fail_unless_equals_int (gst_harness_push (h, make_buffer (begin, n)), GST_FLOW_OK);
}

static inline void
push_in_pieces (GstHarness *h, guint begin, guint end, guint piece)
{
  for (; begin < end; begin += MIN (piece, end - begin))
    push (h, begin, MIN (piece, end - begin));
}

static inline void
push_segment (GstHarness *h)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
}

/* All that is there; the values are the caller's. */
static inline gfloat *
pull_all (GstHarness *h, gsize *n_values)
{
  GByteArray *bytes = g_byte_array_new ();
  GstBuffer *buffer;

  while ((buffer = gst_harness_try_pull (h))) {
    GstMapInfo map;

    gst_buffer_map (buffer, &map, GST_MAP_READ);
    g_byte_array_append (bytes, map.data, map.size);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  *n_values = bytes->len / sizeof (gfloat);
  return (gfloat *) g_byte_array_free (bytes, FALSE);
}

static inline void
check_values (GstHarness *h, const gfloat *expected, gsize n)
{
  gsize n_got;
  gfloat *got = pull_all (h, &n_got);

  fail_unless_equals_uint64 (n_got, n);
  fail_unless (memcmp (got, expected, n * sizeof (gfloat)) == 0, "the values differ");
  g_free (got);
}

typedef struct {
  gfloat out[N * D], weights[N * N_WEIGHTS];
} Expected;

/* `present` NULL: all. */
static inline void
expect (const guint8 *present, Expected *expected)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;

  config.n_features = D;
  config.n_heads = HEADS;
  config.n_sinks = SINKS;
  config.window = WINDOW;
  config.look_ahead = LOOK_AHEAD;
  g_assert (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
  g_assert (attn_forward (layer, frames, present, N, 0, expected->out, expected->weights, NULL) == ATTN_OK);
  attn_layer_free (layer);
}

#endif
