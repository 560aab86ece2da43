/*
 * The element `attention`: what comes out, when, and in which order.  SPDX-License-Identifier: LGPL-2.1-or-later
 * The numbers are checked against attn_forward (); that one is checked in tests/core.
 */
#include "attentioncheck.h"

#include <glib/gstdio.h>

#include "attn.h"

#define D 6

#define TENSOR_CAPS \
  "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, framerate=(fraction)100/1, "

/* ---- helpers ---- */

static gfloat *
make_frames (guint n, guint n_features)
{
  gfloat *frames = g_new (gfloat, n * n_features);

  fill_random (frames, n * n_features, n_features);
  return frames;
}

/* What the element must give: attention over frames [n][D], `present` NULL = all. */
static gfloat *
expect_with_model (const AttnConfig *config, const AttnModel *model, const gfloat *frames, const guint8 *present,
                   guint n)
{
  gfloat *out = g_new0 (gfloat, n * config->n_features);
  AttnLayer *layer;

  g_assert (attn_layer_new (config, model, &layer, NULL) == ATTN_OK);
  g_assert (attn_forward (layer, frames, present, n, 0, out, NULL) == ATTN_OK);
  attn_layer_free (layer);
  return out;
}

static gfloat *
expect (const AttnConfig *config, const gfloat *frames, const guint8 *present, guint n)
{
  return expect_with_model (config, NULL, frames, present, n);
}

static AttnConfig
configuration (guint heads, guint window, guint look_ahead)
{
  AttnConfig config = attn_config_default ();

  config.n_features = D;
  config.n_heads = heads;
  config.window = window;
  config.look_ahead = look_ahead;
  return config;
}

static GstHarness *
harness_new (const AttnConfig *config, const gchar *caps)
{
  GstHarness *h = gst_harness_new ("attention");

  g_object_set (h->element, "heads", config->n_heads, "window", config->window, "look-ahead", config->look_ahead, NULL);
  if (caps != NULL)
    gst_harness_set_src_caps_str (h, caps);
  return h;
}

/* Frames begin ... begin + n - 1, timed by their number. */
static GstBuffer *
make_buffer (const gfloat *frames, guint begin, guint n)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, n * D * sizeof (gfloat), NULL);

  gst_buffer_fill (buffer, 0, frames + begin * D, n * D * sizeof (gfloat));
  GST_BUFFER_PTS (buffer) = begin * FRAME_TIME;
  GST_BUFFER_DURATION (buffer) = n * FRAME_TIME;
  GST_BUFFER_OFFSET (buffer) = begin;
  GST_BUFFER_OFFSET_END (buffer) = begin + n;
  return buffer;
}

static void
push_frames (GstHarness *h, const gfloat *frames, guint begin, guint n)
{
  fail_unless_equals_int (gst_harness_push (h, make_buffer (frames, begin, n)), GST_FLOW_OK);
}

/* Pulls all that is there; returns frames [*n][D]. */
static gfloat *
pull_all (GstHarness *h, guint *n)
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
  *n = bytes->len / (D * sizeof (gfloat));
  return (gfloat *) g_byte_array_free (bytes, FALSE);
}

static void
fail_unless_same_frames (const gfloat *got, const gfloat *expected, guint n)
{
  fail_unless (memcmp (got, expected, n * D * sizeof (gfloat)) == 0, "the frames differ");
}

/* All that came out equals `expected` [n][D]. */
static void
check_output (GstHarness *h, const gfloat *expected, guint n)
{
  guint n_got;
  gfloat *got = pull_all (h, &n_got);

  fail_unless_equals_int (n_got, n);
  fail_unless_same_frames (got, expected, n);
  g_free (got);
}

/* The text of the error that the element posted on `bus`. */
static gchar *
pop_error (GstBus *bus)
{
  GstMessage *message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  GError *error;
  gchar *text;

  if (message == NULL)
    return g_strdup ("(no error)");
  gst_message_parse_error (message, &error, NULL);
  text = g_strdup (error->message);
  g_error_free (error);
  gst_message_unref (message);
  return text;
}

/* `caps` are refused, with a message that holds each of the words. */
static void
check_refused_caps (guint heads, const gchar *caps, const gchar *a, const gchar *b)
{
  GstHarness *h = gst_harness_new ("attention");
  GstBus *bus = attach_bus (h->element);
  gfloat frame[64] = { 0 };
  gchar *text;

  g_object_set (h->element, "heads", heads, NULL);
  gst_harness_set_src_caps_str (h, caps);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_memdup (frame, sizeof frame)), GST_FLOW_NOT_NEGOTIATED);
  text = pop_error (bus);
  fail_unless (strstr (text, a) != NULL && strstr (text, b) != NULL, "\"%s\" does not name %s and %s", text, a, b);
  g_free (text);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}

/* ---- numbers and framing ---- */

static const guint pieces_of_1[] = { 1, 0 }, pieces_uneven[] = { 3, 1, 7, 0 }, pieces_of_16[] = { 16, 0 },
                   pieces_of_64[] = { 64, 0 }, pieces_whole[] = { 200, 0 };
static const guint *all_pieces[] = { pieces_of_1, pieces_uneven, pieces_of_16, pieces_of_64, pieces_whole };

static void
push_in_pieces (GstHarness *h, const gfloat *frames, guint n, const guint *pieces)
{
  guint begin = 0, i = 0;

  while (begin < n) {
    guint piece = MIN (pieces[i], n - begin);

    push_frames (h, frames, begin, piece);
    begin += piece;
    i = pieces[i + 1] != 0 ? i + 1 : 0;
  }
}

GST_START_TEST (test_any_buffer_size_gives_the_same_bits)
{
  static const struct {
    guint heads, window, look_ahead;
  } cases[] = { { 1, 64, 0 }, { 2, 1, 0 }, { 3, 7, 0 }, { 6, 20, 5 }, { 2, 500, 0 }, { 1, 16, 40 }, { 3, 1, 300 } };
  guint i = __i__ / G_N_ELEMENTS (all_pieces);
  const guint *pieces = all_pieces[__i__ % G_N_ELEMENTS (all_pieces)];
  AttnConfig config = configuration (cases[i].heads, cases[i].window, cases[i].look_ahead);
  gfloat *frames = make_frames (200, D), *expected = expect (&config, frames, NULL, 200);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  push_in_pieces (h, frames, 200, pieces);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 200);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_one_buffer_out_per_buffer_in)
{
  static const guint sizes[] = { 3, 1, 7, 2, 30, 1, 1, 5 };
  AttnConfig config = configuration (2, 8, 4);
  gfloat *frames = make_frames (50, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  guint i, begin = 0;

  for (i = 0; i < G_N_ELEMENTS (sizes); begin += sizes[i++])
    push_frames (h, frames, begin, sizes[i]);
  gst_harness_push_event (h, gst_event_new_eos ());
  for (i = begin = 0; i < G_N_ELEMENTS (sizes); begin += sizes[i++]) {
    GstBuffer *buffer = gst_harness_try_pull (h);

    fail_unless (buffer != NULL);
    fail_unless_equals_int (gst_buffer_get_size (buffer), sizes[i] * D * sizeof (gfloat));
    fail_unless_equals_int (gst_buffer_n_memory (buffer), 1);
    fail_unless_equals_clocktime (GST_BUFFER_PTS (buffer), begin * FRAME_TIME);
    fail_unless_equals_clocktime (GST_BUFFER_DURATION (buffer), sizes[i] * FRAME_TIME);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), begin);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (buffer), begin + sizes[i]);
    gst_buffer_unref (buffer);
  }
  fail_unless (gst_harness_try_pull (h) == NULL);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_a_buffer_leaves_when_its_look_ahead_is_there)
{
  AttnConfig config = configuration (1, 8, 3);
  gfloat *frames = make_frames (10, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  guint i;

  for (i = 0; i < 10; i++) {
    push_frames (h, frames, i, 1);
    fail_unless_equals_int (gst_harness_buffers_received (h), i < 3 ? 0 : i - 2);
  }
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_flags_and_metas_are_carried_over)
{
  AttnConfig config = configuration (1, 8, 2);
  gfloat *frames = make_frames (4, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstCaps *reference = gst_caps_new_empty_simple ("timestamp/x-test");
  GstBuffer *buffer = make_buffer (frames, 0, 1);

  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_MARKER);
  gst_buffer_add_reference_timestamp_meta (buffer, reference, 42, GST_CLOCK_TIME_NONE);
  gst_harness_push (h, buffer);
  push_frames (h, frames, 1, 3);
  buffer = gst_harness_try_pull (h);
  fail_unless (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_MARKER));
  fail_unless (gst_buffer_get_reference_timestamp_meta (buffer, reference) != NULL);
  gst_buffer_unref (buffer);
  gst_caps_unref (reference);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_discont_stays_on_its_own_buffer)
{
  AttnConfig config = configuration (1, 8, 2);
  gfloat *frames = make_frames (6, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  guint i;

  for (i = 0; i < 6; i++) {
    GstBuffer *buffer = make_buffer (frames, i, 1);

    if (i == 3)
      GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
    gst_harness_push (h, buffer);
  }
  gst_harness_push_event (h, gst_event_new_eos ());
  for (i = 0; i < 6; i++) {
    GstBuffer *buffer = gst_harness_try_pull (h);

    fail_unless_equals_int (GST_BUFFER_IS_DISCONT (buffer), i == 3);
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_zero_size_buffer_passes)
{
  AttnConfig config = configuration (1, 8, 1);
  gfloat *frames = make_frames (4, D), *expected = expect (&config, frames, NULL, 4);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  push_frames (h, frames, 0, 0);
  push_frames (h, frames, 0, 2);
  push_frames (h, frames, 2, 0);
  push_frames (h, frames, 2, 2);
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 4);
  check_output (h, expected, 4);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_memory_may_be_read_only_in_pieces_and_at_odd_addresses)
{
  AttnConfig config = configuration (2, 8, 0);
  gfloat *frames = make_frames (8, D), *expected = expect (&config, frames, NULL, 8);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gsize half = 4 * D * sizeof (gfloat);
  guint8 *odd = g_malloc (half + 1);
  GstBuffer *buffer = gst_buffer_new ();

  memcpy (odd + 1, frames + 4 * D, half);
  /* One frame in two memories, cut inside a value; then three; all read-only. */
  gst_buffer_append_memory (buffer, gst_memory_new_wrapped (GST_MEMORY_FLAG_READONLY, frames, half, 0, 10, NULL, NULL));
  gst_buffer_append_memory (buffer,
                            gst_memory_new_wrapped (GST_MEMORY_FLAG_READONLY, frames, half, 10, half - 10, NULL, NULL));
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  buffer = gst_buffer_new ();
  gst_buffer_append_memory (buffer,
                            gst_memory_new_wrapped (GST_MEMORY_FLAG_READONLY, odd, half + 1, 1, half, NULL, NULL));
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  check_output (h, expected, 8);
  gst_harness_teardown (h);
  g_free (odd);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_one_frame_stream)
{
  AttnConfig config = configuration (2, 8, 5);
  gfloat *frames = make_frames (1, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  push_frames (h, frames, 0, 1);
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 0);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, frames, 1); /* it can see nothing but itself */
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_empty_stream)
{
  AttnConfig config = configuration (2, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 0);
  gst_harness_teardown (h);
  /* Not even caps. */
  h = harness_new (&config, NULL);
  gst_harness_push_event (h, gst_event_new_eos ());
  gst_harness_teardown (h);
}
GST_END_TEST;

/* D from 1 to the widest that is common, one frame per buffer and many. */
GST_START_TEST (test_any_number_of_features)
{
  static const guint widths[] = { 1, 2, 3, 17, 64, 80, 4096 };
  guint n_features = widths[__i__], n;
  GstHarness *h = gst_harness_new ("attention");
  gchar *caps = g_strdup_printf (
      "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=%u", n_features);
  gfloat *frames = make_frames (20, n_features), *expected;
  AttnConfig config = attn_config_default ();
  guint8 *got;
  gsize size = 20 * n_features * sizeof (gfloat), got_size;
  GstAdapter *adapter = gst_adapter_new ();

  config.n_features = n_features;
  expected = expect (&config, frames, NULL, 20);
  gst_harness_set_src_caps (h, gst_caps_from_string (caps));
  for (n = 0; n < 10; n++)
    gst_harness_push (h, gst_buffer_new_memdup (frames + n * n_features, n_features * sizeof (gfloat)));
  gst_harness_push (h, gst_buffer_new_memdup (frames + n * n_features, 10 * n_features * sizeof (gfloat)));
  while (gst_harness_buffers_in_queue (h) > 0)
    gst_adapter_push (adapter, gst_harness_pull (h));
  got_size = gst_adapter_available (adapter);
  fail_unless_equals_uint64 (got_size, size);
  got = gst_adapter_take (adapter, size);
  fail_unless (memcmp (got, expected, size) == 0);
  g_free (got);
  g_object_unref (adapter);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
  g_free (caps);
}
GST_END_TEST;

/* ---- where streams begin and end ---- */

/* Two streams of ten frames, with `event` between them: the second one starts anew, the first is drained. */
static void
check_new_stream (GstEvent *event, gboolean drained)
{
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (20, D);
  gfloat *before = expect (&config, frames, NULL, 10), *after = expect (&config, frames + 10 * D, NULL, 10), *got;
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  guint n_first = drained ? 10 : 7, n;

  push_frames (h, frames, 0, 10);
  push_frames (h, frames, 10, 0);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS); /* the same again: nothing happens */
  if (GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_STOP)
    gst_harness_push_event (h, gst_event_new_flush_start ());
  gst_harness_push_event (h, event);
  if (GST_EVENT_TYPE (event) == GST_EVENT_EOS || GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_STOP) {
    GstSegment segment;

    gst_harness_push_event (h, gst_event_new_stream_start ("again"));
    gst_harness_set_src_caps_str (h, AUDIO_CAPS);
    gst_segment_init (&segment, GST_FORMAT_TIME);
    gst_harness_push_event (h, gst_event_new_segment (&segment));
  }
  push_frames (h, frames, 10, 10);
  gst_harness_push_event (h, gst_event_new_eos ());
  got = pull_all (h, &n);
  if (!drained) {
    n_first = n - 10; /* one buffer of ten: it waited as a whole */
    fail_unless_equals_int (n_first, 0);
  }
  fail_unless_equals_int (n, n_first + 10);
  fail_unless_same_frames (got, before, n_first);
  fail_unless_same_frames (got + n_first * D, after, 10);
  g_free (got);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (before);
  g_free (after);
}

GST_START_TEST (test_eos_drains_and_ends_the_stream)
{
  check_new_stream (gst_event_new_eos (), TRUE);
}
GST_END_TEST;

GST_START_TEST (test_stream_start_drains_and_ends_the_stream)
{
  check_new_stream (gst_event_new_stream_start ("other"), TRUE);
}
GST_END_TEST;

GST_START_TEST (test_changed_segment_drains_and_ends_the_stream)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.start = segment.time = GST_SECOND;
  check_new_stream (gst_event_new_segment (&segment), TRUE);
}
GST_END_TEST;

GST_START_TEST (test_segment_done_drains_and_ends_the_stream)
{
  check_new_stream (gst_event_new_segment_done (GST_FORMAT_TIME, GST_SECOND), TRUE);
}
GST_END_TEST;

GST_START_TEST (test_changed_rate_drains_and_ends_the_stream)
{
  GstCaps *caps = gst_caps_from_string (AUDIO_CAPS);

  gst_caps_set_simple (caps, "rate", G_TYPE_INT, 50, NULL);
  check_new_stream (gst_event_new_caps (caps), TRUE);
  gst_caps_unref (caps);
}
GST_END_TEST;

GST_START_TEST (test_flush_discards_and_ends_the_stream)
{
  check_new_stream (gst_event_new_flush_stop (TRUE), FALSE);
}
GST_END_TEST;

GST_START_TEST (test_same_segment_and_caps_keep_the_stream)
{
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (20, D), *expected = expect (&config, frames, NULL, 20);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstEvent *segment;
  GstCaps *caps;

  push_frames (h, frames, 0, 5);
  push_frames (h, frames, 5, 5); /* the first ones have left, and moved the position of the element's segment */
  segment = gst_pad_get_sticky_event (h->srcpad, GST_EVENT_SEGMENT, 0);
  gst_harness_push_event (h, gst_event_copy (segment));
  gst_event_unref (segment);
  caps = gst_pad_get_current_caps (h->srcpad);
  gst_harness_push_event (h, gst_event_new_caps (caps));
  gst_caps_unref (caps);
  push_frames (h, frames, 10, 10);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 20);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_new_number_of_features_in_mid_stream)
{
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (8, D), *expected = expect (&config, frames, NULL, 8), out[4 * 2], *wide_expected;
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstBuffer *buffer;

  push_frames (h, frames, 0, 8);
  gst_harness_set_src_caps_str (h,
                                "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=2");
  gst_harness_push (h, gst_buffer_new_memdup (frames, 4 * 2 * sizeof (gfloat)));
  gst_harness_push_event (h, gst_event_new_eos ());
  buffer = gst_harness_pull (h);
  fail_unless (gst_buffer_memcmp (buffer, 0, expected, 8 * D * sizeof (gfloat)) == 0);
  gst_buffer_unref (buffer);
  config.n_features = 2;
  wide_expected = expect (&config, frames, NULL, 4);
  buffer = gst_harness_pull (h);
  fail_unless_equals_int (gst_buffer_extract (buffer, 0, out, sizeof out), sizeof out);
  fail_unless (memcmp (out, wide_expected, sizeof out) == 0);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
  g_free (wide_expected);
}
GST_END_TEST;

GST_START_TEST (test_events_keep_their_place_behind_waiting_buffers)
{
  AttnConfig config = configuration (1, 8, 2);
  gfloat *frames = make_frames (6, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstEvent *event;
  guint i;

  push_frames (h, frames, 0, 1);
  gst_harness_push_event (
      h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty ("behind-frame-0")));
  while ((event = gst_harness_try_pull_event (h))) {
    fail_if (GST_EVENT_TYPE (event) == GST_EVENT_CUSTOM_DOWNSTREAM);
    gst_event_unref (event);
  }
  for (i = 1; i < 6; i++) {
    push_frames (h, frames, i, 1);
    event = gst_harness_try_pull_event (h);
    fail_unless_equals_int (event != NULL, i == 2);
    if (event != NULL)
      gst_event_unref (event);
  }
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_byte_segment_works)
{
  AttnConfig config = configuration (1, 8, 0);
  gfloat *frames = make_frames (6, D), *expected = expect (&config, frames, NULL, 6);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstSegment segment;
  GstBuffer *buffer = gst_buffer_new_memdup (frames, 6 * D * sizeof (gfloat));

  gst_segment_init (&segment, GST_FORMAT_BYTES);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  gst_harness_push (h, buffer);
  check_output (h, expected, 6);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

/* ---- absent frames ---- */

/* Frames [0, 10) and [16, 26) of 26, the six between them absent in the way that `absence` makes them so. */
static void
check_absent (void (*absence) (GstHarness *h, GstBuffer *next), gboolean gap_buffer)
{
  AttnConfig config = configuration (2, 12, 3);
  gfloat *frames = make_frames (26, D), *expected, *got;
  guint8 present[26];
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstBuffer *next = make_buffer (frames, 16, 10);
  guint i, n, skipped = gap_buffer ? 0 : 6;

  for (i = 0; i < 26; i++)
    present[i] = i < 10 || i >= 16;
  expected = expect (&config, frames, present, 26);
  push_frames (h, frames, 0, 10);
  absence (h, next);
  gst_harness_push (h, next);
  gst_harness_push_event (h, gst_event_new_eos ());
  got = pull_all (h, &n);
  fail_unless_equals_int (n, 26 - skipped);
  fail_unless_same_frames (got, expected, 10);
  fail_unless_same_frames (got + (16 - skipped) * D, expected + 16 * D, 10);
  if (gap_buffer)
    for (i = 10 * D; i < 16 * D; i++)
      fail_unless (got[i] == 0);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
  g_free (got);
}

static void
absence_by_gap_event (GstHarness *h, GstBuffer *next)
{
  gst_harness_push_event (h, gst_event_new_gap (10 * FRAME_TIME, 6 * FRAME_TIME));
}

static void
absence_by_gap_buffer (GstHarness *h, GstBuffer *next)
{
  gfloat *frames = make_frames (26, D);
  GstBuffer *buffer = make_buffer (frames, 10, 6);

  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  gst_harness_push (h, buffer);
  g_free (frames);
}

static void
absence_by_jump (GstHarness *h, GstBuffer *next)
{
  GST_BUFFER_FLAG_SET (next, GST_BUFFER_FLAG_DISCONT);
  GST_BUFFER_PTS (next) += FRAME_TIME / 5; /* within a quarter of a frame */
}

GST_START_TEST (test_gap_event_makes_frames_absent)
{
  check_absent (absence_by_gap_event, FALSE);
}
GST_END_TEST;

GST_START_TEST (test_gap_buffer_is_absent_and_leaves_as_zeros)
{
  check_absent (absence_by_gap_buffer, TRUE);
}
GST_END_TEST;

GST_START_TEST (test_timestamp_jump_makes_frames_absent)
{
  check_absent (absence_by_jump, FALSE);
}
GST_END_TEST;

GST_START_TEST (test_gap_flag_stays_on_its_buffer)
{
  AttnConfig config = configuration (1, 8, 0);
  gfloat *frames = make_frames (4, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstBuffer *buffer = make_buffer (frames, 0, 4);

  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  gst_harness_push (h, buffer);
  buffer = gst_harness_pull (h);
  fail_unless (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP));
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

/* A discontinuity at `pts` after ten frames begins a new stream. */
static void
check_discont_restarts (GstClockTime pts)
{
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (20, D), *got;
  gfloat *before = expect (&config, frames, NULL, 10), *after = expect (&config, frames + 10 * D, NULL, 10);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstBuffer *buffer = make_buffer (frames, 10, 10);
  guint n;

  push_frames (h, frames, 0, 10);
  GST_BUFFER_PTS (buffer) = pts;
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  gst_harness_push (h, buffer);
  gst_harness_push_event (h, gst_event_new_eos ());
  got = pull_all (h, &n);
  fail_unless_equals_int (n, 20);
  fail_unless_same_frames (got, before, 10);
  fail_unless_same_frames (got + 10 * D, after, 10);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (before);
  g_free (after);
  g_free (got);
}

GST_START_TEST (test_discont_backwards_begins_a_new_stream)
{
  check_discont_restarts (2 * FRAME_TIME);
}
GST_END_TEST;

GST_START_TEST (test_discont_without_time_begins_a_new_stream)
{
  check_discont_restarts (GST_CLOCK_TIME_NONE);
}
GST_END_TEST;

GST_START_TEST (test_discont_between_frames_begins_a_new_stream)
{
  check_discont_restarts (12 * FRAME_TIME + FRAME_TIME / 2);
}
GST_END_TEST;

GST_START_TEST (test_discont_without_a_jump_keeps_the_stream)
{
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (20, D), *expected = expect (&config, frames, NULL, 20);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstBuffer *buffer = make_buffer (frames, 10, 10);

  push_frames (h, frames, 0, 10);
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  GST_BUFFER_PTS (buffer) -= FRAME_TIME / 5;
  gst_harness_push (h, buffer);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 20);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_gap_of_centuries_is_survived)
{
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (20, D), *got;
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *before = expect (&config, frames, NULL, 10), *after = expect (&config, frames + 10 * D, NULL, 10);
  guint n;

  push_frames (h, frames, 0, 10);
  /* A whole number of tiles of the core, so that even the order of sums is that of a fresh stream. */
  gst_harness_push_event (
      h, gst_event_new_gap (10 * FRAME_TIME, (G_GUINT64_CONSTANT (16) << 35) * FRAME_TIME - 10 * FRAME_TIME));
  push_frames (h, frames, 10, 10);
  gst_harness_push_event (h, gst_event_new_eos ());
  got = pull_all (h, &n);
  fail_unless_equals_int (n, 20);
  fail_unless_same_frames (got, before, 10);
  fail_unless_same_frames (got + 10 * D, after, 10);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (before);
  g_free (after);
  g_free (got);
}
GST_END_TEST;

/* ---- latency ---- */

static GstClockTime
query_latency (GstHarness *h)
{
  return gst_harness_query_latency (h);
}

GST_START_TEST (test_latency_is_look_ahead_over_rate)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (2, D);

  fail_unless_equals_clocktime (query_latency (h), 50 * GST_MSECOND);
  push_frames (h, frames, 0, 1);
  push_frames (h, frames, 1, 1);
  fail_unless_equals_clocktime (query_latency (h), 50 * GST_MSECOND);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_latency_without_look_ahead_is_zero)
{
  AttnConfig config = configuration (1, 8, 0);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (9, D);

  push_frames (h, frames, 0, 9);
  fail_unless_equals_clocktime (query_latency (h), 0);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_latency_of_constant_buffers_is_whole_buffers)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (12, D);

  push_frames (h, frames, 0, 3);
  push_frames (h, frames, 3, 0); /* no frame, no size */
  push_frames (h, frames, 3, 3);
  fail_unless_equals_clocktime (query_latency (h), 60 * GST_MSECOND); /* two buffers of three */
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_latency_of_varying_buffers_grows_and_is_posted)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstBus *bus = attach_bus (h->element);
  gfloat *frames = make_frames (12, D);
  GstMessage *message;

  push_frames (h, frames, 0, 1);
  fail_unless (gst_bus_pop_filtered (bus, GST_MESSAGE_LATENCY) == NULL);
  push_frames (h, frames, 1, 4);
  fail_unless_equals_clocktime (query_latency (h), 80 * GST_MSECOND); /* 5 + 4 - 1 frames */
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_LATENCY);
  fail_unless (message != NULL);
  gst_message_unref (message);
  push_frames (h, frames, 5, 2);
  fail_unless_equals_clocktime (query_latency (h), 80 * GST_MSECOND);
  fail_unless (gst_bus_pop_filtered (bus, GST_MESSAGE_LATENCY) == NULL);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_latency_begins_anew_with_a_restart)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (12, D);

  push_frames (h, frames, 0, 3);
  push_frames (h, frames, 3, 4);
  fail_unless_equals_clocktime (query_latency (h), 80 * GST_MSECOND);
  gst_element_set_state (h->element, GST_STATE_READY);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_push_event (h, gst_event_new_stream_start ("again"));
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_unless_equals_clocktime (query_latency (h), 50 * GST_MSECOND);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

/* What is promised is enough: the last frame of a buffer leaves no later than its latency says. */
GST_START_TEST (test_latency_covers_the_wait_of_every_buffer)
{
  AttnConfig config = configuration (1, 8, __i__);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (60, D);
  guint n = 4, i, left = 0;

  for (i = 0; i < 15; i++) {
    guint64 now = (i + 1) * n * FRAME_TIME; /* when the buffer is complete, and so arrives */

    push_frames (h, frames, i * n, n);
    for (; left < gst_harness_buffers_received (h); left++)
      fail_unless (now <= (left + 1) * n * FRAME_TIME + query_latency (h));
  }
  fail_unless (left >= 15 - (__i__ + n - 1) / n);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_frame_rate_property_corrects_latency)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, NULL);

  g_object_set (h->element, "frame-rate", 25, 2, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_unless_equals_clocktime (query_latency (h), 400 * GST_MSECOND);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_latency_of_unknown_rate_is_zero)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h =
      harness_new (&config, "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                            "framerate=(fraction)0/1, dimensions=(string)6:1:1:1");

  fail_unless_equals_clocktime (query_latency (h), 0);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_latency_adds_to_upstream)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  gst_harness_set_upstream_latency (h, 7 * GST_MSECOND);
  fail_unless_equals_clocktime (query_latency (h), 57 * GST_MSECOND);
  gst_harness_teardown (h);
}
GST_END_TEST;

static GstClockTime upstream_max;

static gboolean
answer_latency (GstPad *pad, GstObject *parent, GstQuery *query)
{
  if (GST_QUERY_TYPE (query) != GST_QUERY_LATENCY)
    return gst_pad_query_default (pad, parent, query);
  gst_query_set_latency (query, TRUE, 10 * GST_MSECOND, upstream_max);
  return TRUE;
}

/* What waits here need not be held back upstream; no maximum stays none. */
GST_START_TEST (test_latency_moves_the_maximum_too)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstQuery *query = gst_query_new_latency ();
  GstClockTime min, max;
  gboolean is_live;

  gst_pad_set_query_function (h->srcpad, answer_latency);
  upstream_max = 20 * GST_MSECOND;
  fail_unless (gst_pad_peer_query (h->sinkpad, query));
  gst_query_parse_latency (query, &is_live, &min, &max);
  fail_unless (is_live && min == 60 * GST_MSECOND && max == 70 * GST_MSECOND);
  upstream_max = GST_CLOCK_TIME_NONE;
  fail_unless (gst_pad_peer_query (h->sinkpad, query));
  gst_query_parse_latency (query, &is_live, &min, &max);
  fail_unless (min == 60 * GST_MSECOND && !GST_CLOCK_TIME_IS_VALID (max));
  gst_query_unref (query);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_latency_that_falls_is_not_posted)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstBus *bus = attach_bus (h->element);

  gst_harness_set_src_caps_str (h,
                                "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=200, channels=6");
  fail_unless_equals_clocktime (query_latency (h), 25 * GST_MSECOND);
  fail_unless (gst_bus_pop_filtered (bus, GST_MESSAGE_LATENCY) == NULL);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

static void
count_warnings (GstDebugCategory *category, GstDebugLevel level, const gchar *file, const gchar *function, gint line,
                GObject *object, GstDebugMessage *message, gpointer n)
{
  if (level == GST_LEVEL_WARNING && strstr (gst_debug_message_get (message), "frame rate is unknown") != NULL)
    (*(guint *) n)++;
}

GST_START_TEST (test_unknown_rate_is_logged_once)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, NULL);
  gfloat *frames = make_frames (9, D);
  guint n = 0;

  gst_debug_set_active (TRUE);
  gst_debug_set_threshold_for_name ("attention", GST_LEVEL_WARNING);
  gst_debug_add_log_function (count_warnings, &n, NULL);
  gst_harness_set_src_caps_str (h, "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                                   "framerate=(fraction)0/1, dimensions=(string)6:1:1:1");
  push_frames (h, frames, 0, 1);
  gst_harness_set_src_caps_str (h, "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                                   "framerate=(fraction)0/1, dimensions=(string)6:4:1:1");
  push_frames (h, frames, 1, 4);
  gst_debug_remove_log_function (count_warnings);
  fail_unless_equals_int (n, 1);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

/* ---- caps ---- */

GST_START_TEST (test_tensors_give_the_same_bits_and_keep_their_caps)
{
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (20, D), *expected = expect (&config, frames, NULL, 20);
  GstHarness *h = harness_new (&config, TENSOR_CAPS "dimensions=(string)6:5");
  GstCaps *caps;
  guint i;

  for (i = 0; i < 20; i += 5)
    push_frames (h, frames, i, 5);
  gst_harness_push_event (h, gst_event_new_eos ());
  caps = gst_pad_get_current_caps (h->sinkpad);
  fail_unless_equals_string (gst_structure_get_string (gst_caps_get_structure (caps, 0), "dimensions"), "6:5");
  gst_caps_unref (caps);
  check_output (h, expected, 20);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_features_that_heads_do_not_divide_are_refused)
{
  check_refused_caps (4, AUDIO_CAPS, "6 features", "4 heads");
}
GST_END_TEST;

GST_START_TEST (test_integer_samples_are_refused)
{
  GstHarness *h = gst_harness_new ("attention");
  GstPad *sink = gst_element_get_static_pad (h->element, "sink");
  GstCaps *caps = gst_caps_from_string ("audio/x-raw, format=S16LE, layout=interleaved, rate=100, channels=6");

  fail_if (gst_pad_query_accept_caps (sink, caps));
  gst_caps_unref (caps);
  gst_object_unref (sink);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_integer_tensors_are_refused)
{
  check_refused_caps (1,
                      "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)int16, "
                      "framerate=(fraction)100/1, dimensions=(string)6:1",
                      "types=int16", "float32");
}
GST_END_TEST;

/* gst-launch reads dimensions=80:1 as flags; such caps are not fixed, and show only while they are negotiated. */
GST_START_TEST (test_untyped_dimensions_are_explained)
{
  GstElement *pipeline =
      gst_parse_launch ("fakesrc sizetype=fixed sizemax=320 num-buffers=1 ! other/tensors,format=static,"
                        "num_tensors=1,types=float32,dimensions=80:1,framerate=100/1 ! attention ! fakesink",
                        NULL);
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  GError *error;

  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  message = gst_bus_timed_pop_filtered (bus, 10 * GST_SECOND, GST_MESSAGE_ERROR);
  fail_unless (message != NULL);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, "flags") != NULL && strstr (error->message, "(string)80:1:1:1") != NULL, "%s",
               error->message);
  g_error_free (error);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
}
GST_END_TEST;

GST_START_TEST (test_dimensions_as_fixed_flags_are_explained)
{
  check_refused_caps (1,
                      "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                      "framerate=(fraction)100/1, dimensions=80:ffffffff",
                      "flags", "(string)80:1:1:1");
}
GST_END_TEST;

/* Upstream sends sticky events again with every buffer. */
GST_START_TEST (test_refused_caps_are_reported_once)
{
  GstHarness *h = gst_harness_new ("attention");
  GstBus *bus = attach_bus (h->element);
  gchar *text;
  guint i;

  g_object_set (h->element, "heads", 4, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  for (i = 0; i < 3; i++)
    gst_harness_push (h, gst_buffer_new_allocate (NULL, 24, NULL));
  g_free (pop_error (bus));
  text = pop_error (bus);
  fail_unless_equals_string (text, "(no error)");
  g_free (text);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* After others that were right, and after a restart. */
GST_START_TEST (test_refused_caps_are_reported_when_they_come_anew)
{
  GstHarness *h = gst_harness_new ("attention");
  GstBus *bus = attach_bus (h->element);
  gfloat frame[8] = { 0 };
  GstSegment segment;
  gchar *text;
  guint i;

  g_object_set (h->element, "heads", 4, NULL);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  for (i = 0; i < 3; i++) {
    gst_harness_push_event (h, gst_event_new_stream_start ("anew"));
    gst_harness_set_src_caps_str (h, AUDIO_CAPS);
    gst_harness_push_event (h, gst_event_new_segment (&segment));
    text = pop_error (bus);
    fail_unless (strstr (text, "6 features") != NULL, "%u: %s", i, text);
    g_free (text);
    if (i == 0) {
      gst_harness_set_src_caps_str (h, TENSOR_CAPS "dimensions=(string)8:1");
      fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_memdup (frame, sizeof frame)), GST_FLOW_OK);
    } else {
      gst_element_set_state (h->element, GST_STATE_NULL);
      gst_element_set_state (h->element, GST_STATE_PLAYING);
    }
  }
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_untyped_dimensions_are_explained_once)
{
  GstHarness *h = gst_harness_new ("attention");
  GstBus *bus = attach_bus (h->element);
  GstCaps *caps = gst_caps_from_string ("other/tensors, format=(string)static, num_tensors=(int)1, dimensions=80:1");
  gchar *text;
  guint i;

  for (i = 0; i < 3; i++)
    gst_caps_unref (gst_pad_peer_query_caps (h->srcpad, caps));
  text = pop_error (bus);
  fail_unless (strstr (text, "(string)80:1:1:1") != NULL, "%s", text);
  g_free (text);
  text = pop_error (bus);
  fail_unless_equals_string (text, "(no error)");
  g_free (text);
  gst_caps_unref (caps);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_missing_dimensions_are_refused)
{
  check_refused_caps (1, TENSOR_CAPS "x=(int)1", "no dimensions", "D:N:1:1");
}
GST_END_TEST;

GST_START_TEST (test_missing_types_are_refused)
{
  check_refused_caps (1,
                      "other/tensors, format=(string)static, num_tensors=(int)1, framerate=(fraction)100/1, "
                      "dimensions=(string)6:1",
                      "types=(none)", "float32");
}
GST_END_TEST;

GST_START_TEST (test_wild_dimensions_are_refused)
{
  static const gchar *wild[] = {
    "6:1:2", "abc", "0:1", "", "6:", "-6:1", "6:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1", "99999999999999999999:1", "65537:1"
  };
  gchar *caps = g_strdup_printf (TENSOR_CAPS "dimensions=(string)\"%s\"", wild[__i__]);

  check_refused_caps (1, caps, "dimensions", __i__ == 8 ? "65537" : wild[__i__]);
  g_free (caps);
}
GST_END_TEST;

/* 0 ends the list in newer NNStreamer. */
GST_START_TEST (test_dimensions_that_are_not_there_are_none)
{
  GstHarness *h = gst_harness_new ("attention");
  gfloat *frames = make_frames (1, D);

  gst_harness_set_src_caps_str (h, TENSOR_CAPS "dimensions=(string)6:0:0:0");
  push_frames (h, frames, 0, 1);
  check_output (h, frames, 1);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_allocate (NULL, 2 * D * sizeof (gfloat), NULL)),
                          GST_FLOW_ERROR); /* one frame in each buffer */
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

static void
check_refused_buffer (const gchar *caps, gsize size, const gchar *a, const gchar *b)
{
  GstHarness *h = gst_harness_new ("attention");
  GstBus *bus = attach_bus (h->element);
  gchar *text;

  gst_harness_set_src_caps_str (h, caps);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_allocate (NULL, size, NULL)), GST_FLOW_ERROR);
  text = pop_error (bus);
  fail_unless (strstr (text, a) != NULL && strstr (text, b) != NULL, "\"%s\" does not name %s and %s", text, a, b);
  g_free (text);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}

GST_START_TEST (test_partial_frame_is_refused)
{
  check_refused_buffer (AUDIO_CAPS, 25, "25 bytes", "24 bytes");
}
GST_END_TEST;

GST_START_TEST (test_buffer_that_disagrees_with_dimensions_is_refused)
{
  check_refused_buffer (TENSOR_CAPS "dimensions=(string)6:5", 4 * D * sizeof (gfloat), "4 frames", "say 5");
}
GST_END_TEST;

/* ---- models ---- */

GST_START_TEST (test_missing_model_is_an_error_at_start)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  GstBus *bus = attach_bus (element);
  gchar *text;

  g_object_set (element, "model-file", "/nowhere/w.safetensors", NULL);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  text = pop_error (bus);
  fail_unless (strstr (text, "/nowhere/w.safetensors") != NULL, "%s", text);
  g_free (text);
  /* A prefix of nothing is refused as well. */
  g_object_set (element, "model-file", NULL, "model-prefix", "encoder.", NULL);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  text = pop_error (bus);
  fail_unless (strstr (text, "\"encoder.\"") != NULL && strstr (text, "no model-file") != NULL, "%s", text);
  g_free (text);
  /* Mended, it runs. */
  g_object_set (element, "model-prefix", "", NULL);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_SUCCESS);
  gst_element_set_state (element, GST_STATE_NULL);
  gst_element_set_bus (element, NULL);
  gst_object_unref (bus);
  gst_object_unref (element);
}
GST_END_TEST;

static GstHarness *
harness_with_model (const gchar *name, guint heads, guint window)
{
  GstHarness *h = gst_harness_new ("attention");
  gchar *file = g_strdup_printf ("%s/%s.safetensors", GOLDEN_DIR, name);

  /* The harness has started the element already; models are read at start. */
  gst_element_set_state (h->element, GST_STATE_READY);
  g_object_set (h->element, "heads", heads, "window", window, "model-file", file, "model-prefix", "attn.", NULL);
  g_free (file);
  return h;
}

GST_START_TEST (test_model_of_other_width_is_refused)
{
  GstHarness *h = harness_with_model ("attention/four-heads", 4, 64);
  GstBus *bus = attach_bus (h->element);
  gchar *text;

  gst_harness_play (h);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  gst_harness_push (h, gst_buffer_new_allocate (NULL, 24, NULL));
  text = pop_error (bus);
  fail_unless (strstr (text, "64 features") != NULL && strstr (text, "has 6") != NULL, "%s", text);
  g_free (text);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Not only to who pushes caps without asking, as a harness does. */
GST_START_TEST (test_model_that_changes_the_width_says_what_it_takes)
{
  GstElement *pipeline = gst_parse_launch (
      "audiotestsrc ! audio/x-raw,channels=8 ! attention heads=2 model-prefix=attn. model-file=\"" GOLDEN_DIR
      "/attention/wider.safetensors\" ! fakesink",
      NULL);
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  GError *error;

  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  message = gst_bus_timed_pop_filtered (bus, 10 * GST_SECOND, GST_MESSAGE_ERROR);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, "takes 6 features") != NULL && strstr (error->message, "has 8") != NULL, "%s",
               error->message);
  g_error_free (error);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* A source with the choice makes what the model takes, and what comes out is known before anything flows. */
GST_START_TEST (test_width_of_the_model_is_negotiated)
{
  static const struct {
    const gchar *name;
    guint heads;
    gint n_features, n_outputs;
  } models[] = { { "attention/four-heads", 4, 64, 64 }, { "attention/wider", 2, 6, 10 } };
  GstHarness *h = harness_with_model (models[__i__].name, models[__i__].heads, 64);
  GstCaps *any = gst_caps_from_string ("audio/x-raw"), *taken, *fixed;
  GstStructure *structure;
  gint n;

  gst_element_set_state (h->element, GST_STATE_PLAYING);
  taken = gst_pad_peer_query_caps (h->srcpad, NULL);
  fail_unless (gst_structure_get_int (gst_caps_get_structure (taken, 0), "channels", &n));
  fail_unless_equals_int (n, models[__i__].n_features);
  fixed = gst_caps_fixate (gst_caps_intersect_full (any, taken, GST_CAPS_INTERSECT_FIRST));
  gst_harness_set_src_caps (h, gst_caps_ref (fixed));
  structure = gst_caps_get_structure (fixed, 0);
  fail_unless (gst_structure_get_int (structure, "channels", &n) && n == models[__i__].n_features);
  gst_caps_unref (fixed);
  fixed = gst_pad_get_current_caps (h->sinkpad);
  structure = gst_caps_get_structure (fixed, 0);
  fail_unless (gst_structure_get_int (structure, "channels", &n) && n == models[__i__].n_outputs);
  gst_caps_unref (fixed);
  gst_caps_unref (taken);
  gst_caps_unref (any);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* A filter's order is that of who asks. */
GST_START_TEST (test_caps_come_in_the_order_of_the_filter)
{
  GstHarness *h = gst_harness_new ("attention");
  GstCaps *filter = gst_caps_from_string ("other/tensors, format=static; audio/x-raw, rate=50"), *caps;
  gint rate;

  caps = gst_pad_peer_query_caps (h->srcpad, filter);
  fail_unless_equals_int (gst_caps_get_size (caps), 2);
  fail_unless (gst_structure_has_name (gst_caps_get_structure (caps, 0), "other/tensors"));
  fail_unless (gst_structure_get_int (gst_caps_get_structure (caps, 1), "rate", &rate) && rate == 50);
  gst_caps_unref (caps);
  caps = gst_pad_peer_query_caps (h->srcpad, NULL); /* by itself audio is first */
  fail_unless (gst_structure_has_name (gst_caps_get_structure (caps, 0), "audio/x-raw"));
  gst_caps_unref (caps);
  gst_caps_unref (filter);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* It counts channels. */
GST_START_TEST (test_audio_meta_goes_where_the_width_changes)
{
  GstHarness *h = __i__ == 0 ? gst_harness_new ("attention") : harness_with_model ("attention/wider", 2, 64);
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 2 * D * sizeof (gfloat), NULL);
  GstAudioInfo info;

  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  gst_buffer_memset (buffer, 0, 0, -1);
  gst_audio_info_set_format (&info, GST_AUDIO_FORMAT_F32, RATE, D, NULL);
  gst_buffer_add_audio_meta (buffer, &info, 2, NULL);
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  buffer = gst_harness_pull (h);
  fail_unless_equals_int (gst_buffer_get_audio_meta (buffer) != NULL, __i__ == 0);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_metadata_that_disagrees_is_refused)
{
  GstHarness *h = harness_with_model ("attention/four-heads", 2, 64);
  GstBus *bus = attach_bus (h->element);
  gchar *text;

  fail_unless_equals_int (gst_element_set_state (h->element, GST_STATE_PLAYING), GST_STATE_CHANGE_FAILURE);
  text = pop_error (bus);
  fail_unless (strstr (text, "heads=4") != NULL && strstr (text, "heads is 2") != NULL, "%s", text);
  g_free (text);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- positions ---- */

static const struct {
  const gchar *position, *layout;
  AttnPosition position_value;
  AttnRopeLayout layout_value;
  guint rope_dimensions;
  gdouble rope_base;
} positions[] = {
  { "none", "half", ATTN_POSITION_NONE, ATTN_ROPE_HALF, 0, 10000 },
  { "rope", "half", ATTN_POSITION_ROPE, ATTN_ROPE_HALF, 2, 10000 },
  { "rope", "interleaved", ATTN_POSITION_ROPE, ATTN_ROPE_INTERLEAVED, 2, 7 },
  { "alibi", "half", ATTN_POSITION_ALIBI, ATTN_ROPE_HALF, 0, 10000 },
};

static void
set_position (GstElement *element, guint i)
{
  gst_util_set_object_arg (G_OBJECT (element), "position", positions[i].position);
  gst_util_set_object_arg (G_OBJECT (element), "rope-layout", positions[i].layout);
  g_object_set (element, "rope-dimensions", positions[i].rope_dimensions, "rope-base", positions[i].rope_base, NULL);
}

GST_START_TEST (test_positions_give_the_bits_of_the_core)
{
  AttnConfig config = configuration (2, 9, 2), plain = config;
  gfloat *frames = make_frames (50, D), *expected, *without = expect (&plain, frames, NULL, 50);
  GstHarness *h = harness_new (&config, NULL);

  config.position = positions[__i__].position_value;
  config.rope_layout = positions[__i__].layout_value;
  config.rope_dimensions = positions[__i__].rope_dimensions;
  config.rope_base = positions[__i__].rope_base;
  expected = expect (&config, frames, NULL, 50);
  fail_unless ((memcmp (expected, without, 50 * D * sizeof (gfloat)) == 0) == (__i__ == 0));
  set_position (h->element, __i__);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  for (guint t = 0; t < 50; t += 5)
    push_frames (h, frames, t, 5);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 50);
  g_free (frames);
  g_free (expected);
  g_free (without);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_relative_bias_comes_from_the_model)
{
  GstHarness *h = harness_with_model ("attention/relative", 2, 12);
  AttnConfig config = configuration (2, 12, 3);
  gfloat *frames = make_frames (50, D), *expected;
  AttnModel *model;
  gchar *file;

  g_object_get (h->element, "model-file", &file, NULL);
  fail_unless_equals_int (attn_model_open (file, "attn.", &model, NULL), ATTN_OK);
  config.position = ATTN_POSITION_RELATIVE;
  expected = expect_with_model (&config, model, frames, NULL, 50);
  g_object_set (h->element, "look-ahead", 3, "position", ATTN_POSITION_RELATIVE, NULL);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  for (guint t = 0; t < 50; t += 10)
    push_frames (h, frames, t, 10);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 50);
  attn_model_free (model);
  g_free (file);
  g_free (frames);
  g_free (expected);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- all that changes a number ---- */

static void
set_sinks (AttnConfig *config)
{
  config->n_sinks = 3;
}

static void
set_scale (AttnConfig *config)
{
  config->scale = 2.5;
}

static void
set_softcap (AttnConfig *config)
{
  config->softcap = 0.75;
}

static void
set_f16 (AttnConfig *config)
{
  config->precision = ATTN_PRECISION_F16;
}

static void
set_bf16 (AttnConfig *config)
{
  config->precision = ATTN_PRECISION_BF16;
}

static void
set_threads (AttnConfig *config)
{
  config->n_threads = 3;
}

static const struct {
  const gchar *property, *value;
  void (*set) (AttnConfig *config);
} settings[] = {
  { "sinks", "3", set_sinks },        { "scale", "2.5", set_scale },
  { "softcap", "0.75", set_softcap }, { "precision", "f16", set_f16 },
  { "precision", "bf16", set_bf16 },  { "threads", "3", set_threads /* which changes nothing */ },
};

GST_START_TEST (test_settings_give_the_bits_of_the_core)
{
  AttnConfig config = configuration (2, 9, 2), plain = config;
  gfloat *frames = make_frames (50, D), *without = expect (&plain, frames, NULL, 50), *expected;
  GstHarness *h = harness_new (&config, NULL);

  settings[__i__].set (&config);
  expected = expect (&config, frames, NULL, 50);
  fail_unless ((memcmp (expected, without, 50 * D * sizeof (gfloat)) == 0) == (settings[__i__].set == set_threads));
  gst_util_set_object_arg (G_OBJECT (h->element), settings[__i__].property, settings[__i__].value);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  for (guint t = 0; t < 50; t += 5)
    push_frames (h, frames, t, 5);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 50);
  g_free (frames);
  g_free (expected);
  g_free (without);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The core fed in the same buffers gives the same bits, and they are not those of exact. */
GST_START_TEST (test_fast_goes_through_the_matrix_unit)
{
  AttnConfig config = configuration (2, 9, 0);
  gfloat *frames = make_frames (50, D), *exact = expect (&config, frames, NULL, 50);
  gfloat *expected = g_new0 (gfloat, 50 * D);
  GstStructure *stats;
  AttnLayer *layer;
  AttnStream *stream;
  GstHarness *h;

  g_setenv ("ATTN_MATRIX", "c", TRUE);
  h = harness_new (&config, NULL);
  gst_util_set_object_arg (G_OBJECT (h->element), "arithmetic", "fast");
  config.arithmetic = ATTN_ARITHMETIC_FAST;
  config.n_features = D;
  fail_unless_equals_int (attn_layer_new (&config, NULL, &layer, NULL), ATTN_OK);
  fail_unless_equals_int (attn_stream_new (layer, &stream, NULL), ATTN_OK);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  for (guint t = 0; t < 50; t += 5) {
    push_frames (h, frames, t, 5);
    attn_stream_push (stream, frames + t * D, 5, expected + t * D, NULL);
  }
  g_object_get (h->element, "stats", &stats, NULL);
  fail_unless (g_str_has_suffix (gst_structure_get_string (stats, "kernels"), "+c"));
  gst_structure_free (stats);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 50);
  fail_if (memcmp (expected, exact, 50 * D * sizeof (gfloat)) == 0);
  g_unsetenv ("ATTN_MATRIX");
  attn_stream_free (stream);
  attn_layer_free (layer);
  g_free (frames);
  g_free (exact);
  g_free (expected);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Four heads over two of keys and values, 16 features. */
GST_START_TEST (test_kv_heads_give_the_bits_of_the_core)
{
  GstHarness *h = harness_with_model ("attention/relative-grouped", 4, 9);
  AttnConfig config = configuration (4, 9, 5);
  gfloat *frames = make_frames (50, 16), *expected;
  AttnModel *model;
  GstBuffer *buffer;
  gchar *file;

  g_object_get (h->element, "model-file", &file, NULL);
  fail_unless_equals_int (attn_model_open (file, "attn.", &model, NULL), ATTN_OK);
  config.n_features = 16;
  config.n_kv_heads = 2;
  config.n_sinks = 4;
  config.position = ATTN_POSITION_RELATIVE;
  expected = expect_with_model (&config, model, frames, NULL, 50);
  g_object_set (h->element, "kv-heads", 2, "look-ahead", 5, "sinks", 4, "position", ATTN_POSITION_RELATIVE, NULL);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_set_src_caps_str (h, TENSOR_CAPS "dimensions=(string)16:50:1:1");
  gst_harness_push (h, gst_buffer_new_memdup (frames, 50 * 16 * sizeof (gfloat)));
  gst_harness_push_event (h, gst_event_new_eos ());
  buffer = gst_harness_pull (h);
  fail_unless_equals_int (gst_buffer_memcmp (buffer, 0, expected, 50 * 16 * sizeof (gfloat)), 0);
  gst_buffer_unref (buffer);
  attn_model_free (model);
  g_free (file);
  g_free (frames);
  g_free (expected);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- restarts ---- */

#define N_RESTARTS (3 * (G_N_ELEMENTS (positions) + 1))

/* In PLAYING: position i / 3, the last being the model's relative bias; precision i % 3; four sinks. */
static GstHarness *
harness_for_restart (guint i, const gchar *state_file)
{
  static const gchar *const precisions[] = { "f32", "f16", "bf16" };
  AttnConfig config = configuration (2, 9, 0);
  gboolean relative = i / 3 == G_N_ELEMENTS (positions);
  GstHarness *h = relative ? harness_with_model ("attention/relative", 2, 12) : harness_new (&config, NULL);

  gst_element_set_state (h->element, GST_STATE_READY);
  if (relative)
    g_object_set (h->element, "position", ATTN_POSITION_RELATIVE, "look-ahead", 3, NULL);
  else
    set_position (h->element, i / 3);
  gst_util_set_object_arg (G_OBJECT (h->element), "precision", precisions[i % 3]);
  g_object_set (h->element, "sinks", relative ? 0 : 4, "state-file", state_file, NULL);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  return h;
}

/* Frames begin to before end in a life of the element of their own; what comes out. */
static gfloat *
live (guint i, const gchar *state_file, const gfloat *frames, guint begin, guint end)
{
  GstHarness *h = harness_for_restart (i, state_file);
  gfloat *out;
  guint n;

  for (; begin < end; begin += 5)
    push_frames (h, frames, begin, 5);
  gst_harness_push_event (h, gst_event_new_eos ());
  out = pull_all (h, &n);
  gst_harness_teardown (h);
  return out;
}

GST_START_TEST (test_restart_gives_the_same_bytes_with_any_position_and_precision)
{
  gchar *folder = g_dir_make_tmp ("attention-XXXXXX", NULL), *file = g_build_filename (folder, "state", NULL);
  gfloat *frames = make_frames (60, D), *whole = live (__i__, NULL, frames, 0, 60);
  gfloat *before = live (__i__, file, frames, 0, 35), *after = live (__i__, file, frames, 35, 60);

  fail_unless_same_frames (before, whole, 35 - 3); /* the look-ahead of the relative bias ended with the first life */
  fail_unless_same_frames (after, whole + 35 * D, 25);
  g_unlink (file);
  g_rmdir (folder);
  g_free (folder);
  g_free (file);
  g_free (frames);
  g_free (whole);
  g_free (before);
  g_free (after);
}
GST_END_TEST;

GST_START_TEST (test_position_that_disagrees_with_the_model_is_refused)
{
  GstHarness *h = harness_with_model ("attention/relative", 2, 12);
  GstBus *bus = attach_bus (h->element);
  gchar *text;

  g_object_set (h->element, "look-ahead", 3, NULL);
  fail_unless_equals_int (gst_element_set_state (h->element, GST_STATE_PLAYING), GST_STATE_CHANGE_FAILURE);
  text = pop_error (bus);
  fail_unless (strstr (text, "relative_bias") != NULL && strstr (text, "position is none") != NULL, "%s", text);
  g_free (text);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- life cycle ---- */

GST_START_TEST (test_reuse_after_null)
{
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (10, D), *expected = expect (&config, frames, NULL, 10);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstSegment segment;

  push_frames (h, frames, 3, 7); /* three wait */
  gst_element_set_state (h->element, GST_STATE_NULL);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_push_event (h, gst_event_new_stream_start ("again"));
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push_frames (h, frames, 0, 10);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 10);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_dispose_without_start)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);

  g_object_set (element, "model-file", "x", "model-prefix", "y", NULL);
  ASSERT_OBJECT_REFCOUNT (element, "attention", 1);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_stop_with_waiting_buffers_leaks_nothing)
{
  AttnConfig config = configuration (2, 8, 30);
  gfloat *frames = make_frames (10, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  push_frames (h, frames, 0, 10);
  gst_harness_push_event (h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty ("waits")));
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_properties_read_back_what_was_set)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  guint heads, kv_heads, window, look_ahead, sinks, threads;
  gint rate_n, rate_d;
  gdouble scale, softcap;
  gint precision, arithmetic;
  gchar *file, *prefix;

  g_object_set (element, "heads", 8, "kv-heads", 2, "window", 100, "look-ahead", 5, "sinks", 4, "scale", 0.25,
                "softcap", 50.0, "frame-rate", 25, 2, "model-file", "w.safetensors", "model-prefix", "a.", "precision",
                ATTN_PRECISION_BF16, "arithmetic", ATTN_ARITHMETIC_FAST, "threads", 2, NULL);
  g_object_get (element, "heads", &heads, "kv-heads", &kv_heads, "window", &window, "look-ahead", &look_ahead, "sinks",
                &sinks, "scale", &scale, "softcap", &softcap, "model-file", &file, "model-prefix", &prefix, "precision",
                &precision, "arithmetic", &arithmetic, "threads", &threads, NULL);
  fail_unless (heads == 8 && kv_heads == 2 && window == 100 && look_ahead == 5 && sinks == 4 && scale == 0.25
               && softcap == 50 && precision == ATTN_PRECISION_BF16 && arithmetic == ATTN_ARITHMETIC_FAST
               && threads == 2);
  fail_unless_equals_string (file, "w.safetensors");
  fail_unless_equals_string (prefix, "a.");
  {
    GValue value = G_VALUE_INIT;

    g_value_init (&value, GST_TYPE_FRACTION);
    g_object_get_property (G_OBJECT (element), "frame-rate", &value);
    rate_n = gst_value_get_fraction_numerator (&value);
    rate_d = gst_value_get_fraction_denominator (&value);
    g_value_unset (&value);
  }
  fail_unless (rate_n == 25 && rate_d == 2);
  g_free (file);
  g_free (prefix);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_position_properties_read_back_what_was_set)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  gint position, layout;
  guint dimensions;
  gdouble base;

  set_position (element, __i__);
  g_object_get (element, "position", &position, "rope-layout", &layout, "rope-dimensions", &dimensions, "rope-base",
                &base, NULL);
  fail_unless_equals_int (position, (gint) positions[__i__].position_value);
  fail_unless_equals_int (layout, (gint) positions[__i__].layout_value);
  fail_unless (dimensions == positions[__i__].rope_dimensions && base == positions[__i__].rope_base);
  gst_object_unref (element);
}
GST_END_TEST;

static Suite *
attention_suite (void)
{
  Suite *suite = suite_create ("attention");
  TCase *numbers = tcase_create ("numbers"), *streams = tcase_create ("streams"), *absent = tcase_create ("absent");
  TCase *latency = tcase_create ("latency"), *caps = tcase_create ("caps"), *life = tcase_create ("life");

  suite_add_tcase (suite, numbers);
  tcase_add_loop_test (numbers, test_any_buffer_size_gives_the_same_bits, 0, 7 * G_N_ELEMENTS (all_pieces));
  tcase_add_loop_test (numbers, test_positions_give_the_bits_of_the_core, 0, G_N_ELEMENTS (positions));
  tcase_add_test (numbers, test_relative_bias_comes_from_the_model);
  tcase_add_loop_test (numbers, test_settings_give_the_bits_of_the_core, 0, G_N_ELEMENTS (settings));
  tcase_add_test (numbers, test_fast_goes_through_the_matrix_unit);
  tcase_add_test (numbers, test_kv_heads_give_the_bits_of_the_core);
  tcase_add_loop_test (numbers, test_restart_gives_the_same_bytes_with_any_position_and_precision, 0, N_RESTARTS);
  tcase_add_test (numbers, test_one_buffer_out_per_buffer_in);
  tcase_add_test (numbers, test_a_buffer_leaves_when_its_look_ahead_is_there);
  tcase_add_test (numbers, test_flags_and_metas_are_carried_over);
  tcase_add_test (numbers, test_discont_stays_on_its_own_buffer);
  tcase_add_test (numbers, test_zero_size_buffer_passes);
  tcase_add_test (numbers, test_memory_may_be_read_only_in_pieces_and_at_odd_addresses);
  tcase_add_test (numbers, test_one_frame_stream);
  tcase_add_test (numbers, test_empty_stream);
  tcase_add_loop_test (numbers, test_any_number_of_features, 0, 7);

  suite_add_tcase (suite, streams);
  tcase_add_test (streams, test_eos_drains_and_ends_the_stream);
  tcase_add_test (streams, test_stream_start_drains_and_ends_the_stream);
  tcase_add_test (streams, test_changed_segment_drains_and_ends_the_stream);
  tcase_add_test (streams, test_segment_done_drains_and_ends_the_stream);
  tcase_add_test (streams, test_changed_rate_drains_and_ends_the_stream);
  tcase_add_test (streams, test_flush_discards_and_ends_the_stream);
  tcase_add_test (streams, test_same_segment_and_caps_keep_the_stream);
  tcase_add_test (streams, test_new_number_of_features_in_mid_stream);
  tcase_add_test (streams, test_events_keep_their_place_behind_waiting_buffers);
  tcase_add_test (streams, test_byte_segment_works);

  suite_add_tcase (suite, absent);
  tcase_add_test (absent, test_gap_event_makes_frames_absent);
  tcase_add_test (absent, test_gap_buffer_is_absent_and_leaves_as_zeros);
  tcase_add_test (absent, test_timestamp_jump_makes_frames_absent);
  tcase_add_test (absent, test_gap_flag_stays_on_its_buffer);
  tcase_add_test (absent, test_discont_backwards_begins_a_new_stream);
  tcase_add_test (absent, test_discont_without_time_begins_a_new_stream);
  tcase_add_test (absent, test_discont_between_frames_begins_a_new_stream);
  tcase_add_test (absent, test_discont_without_a_jump_keeps_the_stream);
  tcase_add_test (absent, test_gap_of_centuries_is_survived);

  suite_add_tcase (suite, latency);
  tcase_add_test (latency, test_latency_is_look_ahead_over_rate);
  tcase_add_test (latency, test_latency_without_look_ahead_is_zero);
  tcase_add_test (latency, test_latency_of_constant_buffers_is_whole_buffers);
  tcase_add_test (latency, test_latency_of_varying_buffers_grows_and_is_posted);
  tcase_add_test (latency, test_latency_begins_anew_with_a_restart);
  tcase_add_loop_test (latency, test_latency_covers_the_wait_of_every_buffer, 1, 10);
  tcase_add_test (latency, test_frame_rate_property_corrects_latency);
  tcase_add_test (latency, test_latency_of_unknown_rate_is_zero);
  tcase_add_test (latency, test_latency_adds_to_upstream);
  tcase_add_test (latency, test_latency_moves_the_maximum_too);
  tcase_add_test (latency, test_latency_that_falls_is_not_posted);
  tcase_add_test (latency, test_unknown_rate_is_logged_once);

  suite_add_tcase (suite, caps);
  tcase_add_test (caps, test_tensors_give_the_same_bits_and_keep_their_caps);
  tcase_add_test (caps, test_features_that_heads_do_not_divide_are_refused);
  tcase_add_test (caps, test_integer_samples_are_refused);
  tcase_add_test (caps, test_integer_tensors_are_refused);
  tcase_add_test (caps, test_untyped_dimensions_are_explained);
  tcase_add_test (caps, test_dimensions_as_fixed_flags_are_explained);
  tcase_add_test (caps, test_refused_caps_are_reported_once);
  tcase_add_test (caps, test_refused_caps_are_reported_when_they_come_anew);
  tcase_add_test (caps, test_untyped_dimensions_are_explained_once);
  tcase_add_test (caps, test_missing_dimensions_are_refused);
  tcase_add_test (caps, test_missing_types_are_refused);
  tcase_add_loop_test (caps, test_wild_dimensions_are_refused, 0, 9);
  tcase_add_test (caps, test_dimensions_that_are_not_there_are_none);
  tcase_add_test (caps, test_partial_frame_is_refused);
  tcase_add_test (caps, test_buffer_that_disagrees_with_dimensions_is_refused);
  tcase_add_test (caps, test_missing_model_is_an_error_at_start);
  tcase_add_test (caps, test_model_of_other_width_is_refused);
  tcase_add_test (caps, test_model_that_changes_the_width_says_what_it_takes);
  tcase_add_loop_test (caps, test_width_of_the_model_is_negotiated, 0, 2);
  tcase_add_test (caps, test_caps_come_in_the_order_of_the_filter);
  tcase_add_loop_test (caps, test_audio_meta_goes_where_the_width_changes, 0, 2);
  tcase_add_test (caps, test_metadata_that_disagrees_is_refused);
  tcase_add_test (caps, test_position_that_disagrees_with_the_model_is_refused);

  suite_add_tcase (suite, life);
  tcase_add_test (life, test_reuse_after_null);
  tcase_add_test (life, test_dispose_without_start);
  tcase_add_test (life, test_stop_with_waiting_buffers_leaks_nothing);
  tcase_add_test (life, test_properties_read_back_what_was_set);
  tcase_add_loop_test (life, test_position_properties_read_back_what_was_set, 0, G_N_ELEMENTS (positions));
  return suite;
}

GST_CHECK_MAIN (attention);
