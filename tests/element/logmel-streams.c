/*
 * gst-attention: tests of the element logmel: buffers, events and queries, errors, and a second life.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "logmelcheck.h"

/* --- outputs --- */

static void
fail_unless_n_frames (Fixture *fixture, guint n_frames)
{
  GArray *values = pull_frames (fixture);

  fail_unless_equals_int (values->len, n_frames * N_BINS);
  g_array_unref (values);
}

/* --- buffers --- */

GST_START_TEST (test_one_buffer_with_all_frames_that_got_complete)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (16000);

  push_s16 (&fixture, samples, 399, 0);
  fail_unless_no_buffer (&fixture);
  push_s16 (&fixture, samples, 1, GST_CLOCK_TIME_NONE);
  fail_unless_equals_int (gst_harness_buffers_in_queue (fixture.h), 1);
  fail_unless_n_frames (&fixture, 1);
  push_s16 (&fixture, samples, 16000, GST_CLOCK_TIME_NONE);
  fail_unless_equals_int (gst_harness_buffers_in_queue (fixture.h), 1);
  fail_unless_n_frames (&fixture, 100);
  push_s16 (&fixture, samples, 0, GST_CLOCK_TIME_NONE);
  fail_unless_no_buffer (&fixture);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_tensors_hold_one_frame_each)
{
  Fixture fixture = fixture_new_started (styles[__i__], GST_AUDIO_NE (S16), 11025);
  gint16 *samples = make_noise (11025);
  guint n_frames = 0;
  GstBuffer *buffer;

  push_s16 (&fixture, samples, 11025, 0);
  push_eos (&fixture);
  while ((buffer = gst_harness_try_pull (fixture.h)) != NULL) {
    fail_unless_equals_int (gst_buffer_get_size (buffer), N_BINS * 4);
    fail_unless_equals_int (gst_buffer_n_memory (buffer), 1);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), n_frames);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer),
                               gst_util_uint64_scale_round (n_frames * 110, GST_SECOND, 11025));
    gst_buffer_unref (buffer);
    n_frames++;
  }
  fail_unless_equals_int (n_frames, __i__ == 0 ? 1 + (11025 - 275) / 110 : 11025 / 110);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_partial_sample_is_an_error)
{
  Fixture fixture = fixture_new_s16 ("");

  fail_unless_equals_int (push_bytes (&fixture, "abc", 3, 0, 0), GST_FLOW_ERROR);
  fail_unless_error (fixture.bus, "a buffer of 3 bytes is not a whole number of samples: one has 2 bytes");
  fixture_free (&fixture);

  fixture = fixture_new_started ("", GST_AUDIO_NE (F32), RATE);
  fail_unless_equals_int (push_bytes (&fixture, "abcdef", 6, 0, 0), GST_FLOW_ERROR);
  fail_unless_error (fixture.bus, "a buffer of 6 bytes is not a whole number of samples: one has 4 bytes");
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_gap_buffers_are_samples_and_the_flag_goes)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 samples[800] = { 0 };
  GstBuffer *buffer;

  fail_unless_equals_int (push_bytes (&fixture, samples, sizeof samples, 0, GST_BUFFER_FLAG_GAP), GST_FLOW_OK);
  buffer = gst_harness_try_pull (fixture.h);
  fail_unless (buffer != NULL);
  fail_unless_equals_int (gst_buffer_get_size (buffer), 3 * N_BINS * 4);
  fail_if (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP));
  gst_buffer_unref (buffer);
  fixture_free (&fixture);
}
GST_END_TEST;

/*
 * One input buffer makes many output buffers here; buffers behind the failed one must not come later. The next sample
 * is number 2205, and the first frame that begins there or later is the one at 2310.
 */
GST_START_TEST (test_input_left_over_by_a_failing_downstream_is_dropped)
{
  const GstClockTime pts[] = { 200 * GST_MSECOND, GST_CLOCK_TIME_NONE };
  Fixture fixture = fixture_new_started ("", GST_AUDIO_NE (S16), 11025);
  gint16 *samples = make_noise (2205);
  GstPadChainFunction chain = GST_PAD_CHAINFUNC (fixture.h->sinkpad);

  gst_pad_set_chain_function (fixture.h->sinkpad, refuse_buffer);
  fail_unless_equals_int (push_bytes (&fixture, samples, 4410, 0, 0), GST_FLOW_ERROR);
  gst_pad_set_chain_function (fixture.h->sinkpad, chain);
  push_s16 (&fixture, samples, 380, pts[__i__]);
  fail_unless_buffer (&fixture, 209523810, 9977324, 21, 22, TRUE);
  fail_unless_no_buffer (&fixture);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* --- events --- */

GST_START_TEST (test_flush_drops_the_audio)
{
  Fixture fixture = fixture_new_s16 (styles[__i__]);
  gint16 *samples = make_noise (2000);
  GArray *expected = run_s16 (styles[__i__], samples, 1000);

  push_s16 (&fixture, samples + 1000, 999, GST_SECOND);
  drop_buffers (fixture.h);
  push_flush (fixture.h);
  push_segment (fixture.h, 0);
  push_s16 (&fixture, samples, 1000, 5 * GST_SECOND);
  push_eos (&fixture);
  check_frames (&fixture, expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

static void
fail_unless_n_frames_in_front (Fixture *fixture, GstEvent *event, guint n_frames)
{
  GstEventType type = GST_EVENT_TYPE (event);
  GstEvent *pulled;

  while ((pulled = gst_harness_try_pull_event (fixture->h)) != NULL)
    gst_event_unref (pulled);
  fail_unless (gst_harness_push_event (fixture->h, event));
  fail_unless_n_frames (fixture, n_frames);
  pulled = gst_harness_try_pull_event (fixture->h);
  fail_unless (pulled != NULL && GST_EVENT_TYPE (pulled) == type);
  gst_event_unref (pulled);
}

/* 640 samples are 4 hops, so 4 frames; the last of them would need sample 679. */
GST_START_TEST (test_events_that_end_the_audio_bring_the_last_frames)
{
  GstEvent *events[] = { gst_event_new_segment_done (GST_FORMAT_TIME, 0), gst_event_new_stream_start ("other"),
                         gst_event_new_eos () };
  gint16 *samples = make_noise (640);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (events); i++) {
    Fixture fixture = fixture_new_s16 ("style=whisper");

    push_s16 (&fixture, samples, 640, 0);
    fail_unless_n_frames (&fixture, 3);
    fail_unless_n_frames_in_front (&fixture, events[i], 1);
    fixture_free (&fixture);
  }
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_new_segment_begins_anew)
{
  Fixture fixture = fixture_new_s16 ("style=whisper");
  gint16 *samples = make_noise (640);
  GstSegment segment;

  push_s16 (&fixture, samples, 640, 0);
  fail_unless_n_frames (&fixture, 3);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.base = GST_SECOND;
  fail_unless_n_frames_in_front (&fixture, gst_event_new_segment (&segment), 1);
  push_s16 (&fixture, samples, 640, 7 * GST_SECOND);
  fail_unless_buffer (&fixture, 7 * GST_SECOND, 30 * GST_MSECOND, 0, 3, TRUE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_streams_without_audio_or_caps_end)
{
  Fixture fixture = fixture_new (styles[__i__]);

  push_eos (&fixture);
  fail_unless_no_buffer (&fixture);
  fixture_free (&fixture);

  fixture = fixture_new_s16 (styles[__i__]);
  push_eos (&fixture);
  fail_unless_no_buffer (&fixture);
  fixture_free (&fixture);
}
GST_END_TEST;

/* --- queries from downstream --- */

GST_START_TEST (test_only_time_is_the_same_on_both_sides)
{
  Fixture fixture = fixture_new_s16 ("");

  check_only_time_passes (fixture.h);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_frames_begin_at_a_cache_line)
{
  Fixture fixture = fixture_new_s16 ("bins=7");
  gint16 samples[4 * HOP] = { 0 };
  guint i;

  for (i = 0; i < 5; i++) {
    GstBuffer *buffer;
    GstMapInfo map;

    push_s16 (&fixture, samples, 4 * HOP, GST_CLOCK_TIME_NONE);
    buffer = gst_harness_pull (fixture.h);
    gst_buffer_map (buffer, &map, GST_MAP_READ);
    fail_unless_equals_int (GPOINTER_TO_SIZE (map.data) % 64, 0);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  fixture_free (&fixture);
}
GST_END_TEST;

/* --- life --- */

GST_START_TEST (test_reuse_after_null)
{
  Fixture fixture = fixture_new_s16 (styles[__i__]);
  gint16 *samples = make_noise (1000);
  GArray *expected = run_s16 (styles[__i__], samples, 1000);

  push_s16 (&fixture, samples, 777, 0);
  drop_buffers (fixture.h);
  gst_element_set_state (fixture.h->element, GST_STATE_NULL);
  gst_harness_play (fixture.h);
  start (&fixture, audio_caps (GST_AUDIO_NE (S16), RATE, 1));
  push_s16 (&fixture, samples, 1000, 0);
  push_eos (&fixture);
  check_frames (&fixture, expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_right_caps_after_an_error)
{
  Fixture fixture = fixture_new ("fft-size=256");
  gint16 *samples = make_noise (400);

  start (&fixture, audio_caps (GST_AUDIO_NE (S16), RATE, 1));
  fail_unless_not_negotiated (&fixture, "fft-size 256");
  gst_element_set_state (fixture.h->element, GST_STATE_READY);
  set_properties (fixture.h->element, "fft-size=0");
  gst_harness_play (fixture.h);
  start (&fixture, audio_caps (GST_AUDIO_NE (S16), RATE, 1));
  push_s16 (&fixture, samples, 400, 0);
  fail_unless_n_frames (&fixture, 1);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

static Suite *
logmel_streams_suite (void)
{
  Suite *suite = suite_create ("logmel-streams");
  TCase *tc = tcase_create ("general");
  const guint n_styles = G_N_ELEMENTS (styles);

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_one_buffer_with_all_frames_that_got_complete);
  tcase_add_loop_test (tc, test_tensors_hold_one_frame_each, 0, n_styles);
  tcase_add_test (tc, test_partial_sample_is_an_error);
  tcase_add_test (tc, test_gap_buffers_are_samples_and_the_flag_goes);
  tcase_add_loop_test (tc, test_input_left_over_by_a_failing_downstream_is_dropped, 0, 2);

  tcase_add_loop_test (tc, test_flush_drops_the_audio, 0, n_styles);
  tcase_add_test (tc, test_events_that_end_the_audio_bring_the_last_frames);
  tcase_add_test (tc, test_new_segment_begins_anew);
  tcase_add_loop_test (tc, test_streams_without_audio_or_caps_end, 0, n_styles);
  tcase_add_test (tc, test_only_time_is_the_same_on_both_sides);
  tcase_add_test (tc, test_frames_begin_at_a_cache_line);
  tcase_add_loop_test (tc, test_reuse_after_null, 0, n_styles);
  tcase_add_test (tc, test_right_caps_after_an_error);
  return suite;
}

GST_CHECK_MAIN (logmel_streams);
