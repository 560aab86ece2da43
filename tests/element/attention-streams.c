/*
 * The element `attention`: where streams begin and end, and which frames are absent in between.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "outputcheck.h"

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
  got = pull_frames (h, &n);
  if (!drained) {
    n_first = n - 10; /* one buffer of ten: it waited whole */
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
  GstBuffer *next = frames_buffer (frames, D, 16, 10);
  guint i, n, skipped = gap_buffer ? 0 : 6;

  for (i = 0; i < 26; i++)
    present[i] = i < 10 || i >= 16;
  expected = expect (&config, frames, present, 26);
  push_frames (h, frames, 0, 10);
  absence (h, next);
  gst_harness_push (h, next);
  gst_harness_push_event (h, gst_event_new_eos ());
  got = pull_frames (h, &n);
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
  GstBuffer *buffer = frames_buffer (frames, D, 10, 6);

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
  GstBuffer *buffer = frames_buffer (frames, D, 0, 4);

  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  gst_harness_push (h, buffer);
  buffer = gst_harness_pull (h);
  fail_unless (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP));
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

/* A discontinuity at `pts`, after ten frames, begins a new stream. */
static void
check_discont_restarts (GstClockTime pts)
{
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (20, D);
  gfloat *before = expect (&config, frames, NULL, 10), *after = expect (&config, frames + 10 * D, NULL, 10);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstBuffer *buffer = frames_buffer (frames, D, 10, 10);

  push_frames (h, frames, 0, 10);
  GST_BUFFER_PTS (buffer) = pts;
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  gst_harness_push (h, buffer);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_two_streams (h, before, after, 10);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (before);
  g_free (after);
}

GST_START_TEST (test_discont_backwards_begins_a_new_stream)
{
  check_discont_restarts (2 * FRAME_TIME);
}
GST_END_TEST;

GST_START_TEST (test_discont_between_frames_begins_a_new_stream)
{
  check_discont_restarts (12 * FRAME_TIME + FRAME_TIME / 2);
}
GST_END_TEST;

/* If times continue, except for rounding, or are unknown, the flag alone ends nothing. */
GST_START_TEST (test_discont_without_a_jump_keeps_the_stream)
{
  const GstClockTime pts[] = { 10 * FRAME_TIME - FRAME_TIME / 5, 10 * FRAME_TIME, GST_CLOCK_TIME_NONE };
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (20, D), *expected = expect (&config, frames, NULL, 20);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstBuffer *buffer = frames_buffer (frames, D, 10, 10);

  push_frames (h, frames, 0, 10);
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  GST_BUFFER_PTS (buffer) = pts[__i__];
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
  gfloat *frames = make_frames (20, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *before = expect (&config, frames, NULL, 10), *after = expect (&config, frames + 10 * D, NULL, 10);

  push_frames (h, frames, 0, 10);
  /* A whole number of tiles of the core, so that even the order of sums is that of a fresh stream. */
  gst_harness_push_event (
      h, gst_event_new_gap (10 * FRAME_TIME, (G_GUINT64_CONSTANT (16) << 35) * FRAME_TIME - 10 * FRAME_TIME));
  push_frames (h, frames, 10, 10);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_two_streams (h, before, after, 10);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (before);
  g_free (after);
}
GST_END_TEST;

static Suite *
attention_streams_suite (void)
{
  Suite *suite = suite_create ("attention-streams");
  TCase *streams = tcase_create ("streams"), *absent = tcase_create ("absent");

  suite_add_tcase (suite, streams);
  tcase_add_test (streams, test_eos_drains_and_ends_the_stream);
  tcase_add_test (streams, test_stream_start_drains_and_ends_the_stream);
  tcase_add_test (streams, test_changed_segment_drains_and_ends_the_stream);
  tcase_add_test (streams, test_segment_done_drains_and_ends_the_stream);
  tcase_add_test (streams, test_changed_rate_drains_and_ends_the_stream);
  tcase_add_test (streams, test_flush_discards_and_ends_the_stream);
  tcase_add_test (streams, test_same_segment_and_caps_keep_the_stream);
  if (!subject_is_encoder ()) /* whose file knows one */
    tcase_add_test (streams, test_new_number_of_features_in_mid_stream);
  tcase_add_test (streams, test_events_keep_their_place_behind_waiting_buffers);
  tcase_add_test (streams, test_byte_segment_works);

  suite_add_tcase (suite, absent);
  tcase_add_test (absent, test_gap_event_makes_frames_absent);
  tcase_add_test (absent, test_gap_buffer_is_absent_and_leaves_as_zeros);
  tcase_add_test (absent, test_timestamp_jump_makes_frames_absent);
  tcase_add_test (absent, test_gap_flag_stays_on_its_buffer);
  tcase_add_test (absent, test_discont_backwards_begins_a_new_stream);
  tcase_add_test (absent, test_discont_between_frames_begins_a_new_stream);
  tcase_add_loop_test (absent, test_discont_without_a_jump_keeps_the_stream, 0, 3);
  tcase_add_test (absent, test_gap_of_centuries_is_survived);
  return suite;
}

GST_CHECK_MAIN (attention_streams);
