/*
 * gst-attention: tests of the element logmel: the time of its frames, and its latency.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "logmelcheck.h"

/* --- time --- */

GST_START_TEST (test_time_of_a_frame_is_that_of_its_first_sample)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (1600);

  push_s16 (&fixture, samples, 560, 1234567);
  fail_unless_buffer (&fixture, 1234567, 20 * GST_MSECOND, 0, 2, TRUE);
  push_s16 (&fixture, samples, 1000, 1234567 + 35 * GST_MSECOND);
  fail_unless_buffer (&fixture, 1234567 + 20 * GST_MSECOND, 60 * GST_MSECOND, 2, 8, FALSE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_time_of_a_whisper_frame_is_that_of_its_centre)
{
  Fixture fixture = fixture_new_s16 ("style=whisper");
  gint16 *samples = make_noise (1600);

  push_s16 (&fixture, samples, HALF_FRAME, GST_SECOND);
  fail_unless_no_buffer (&fixture);
  push_s16 (&fixture, samples, 1, GST_CLOCK_TIME_NONE);
  fail_unless_buffer (&fixture, GST_SECOND, 10 * GST_MSECOND, 0, 1, TRUE);
  push_s16 (&fixture, samples, 158, GST_CLOCK_TIME_NONE);
  fail_unless_no_buffer (&fixture);
  push_s16 (&fixture, samples, 1, GST_CLOCK_TIME_NONE);
  fail_unless_buffer (&fixture, GST_SECOND + 10 * GST_MSECOND, 10 * GST_MSECOND, 1, 2, FALSE);
  push_s16 (&fixture, samples, 120, GST_CLOCK_TIME_NONE);
  push_eos (&fixture);
  fail_unless_buffer (&fixture, GST_SECOND + 20 * GST_MSECOND, 10 * GST_MSECOND, 2, 3, FALSE);
  fail_unless_no_buffer (&fixture);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* Buffers of 7 samples, whose own timestamps are rounded; an hour into a stream. */
GST_START_TEST (test_time_does_not_drift)
{
  Fixture fixture = fixture_new_started ("bins=4", GST_AUDIO_NE (S16), 44100);
  gint16 *samples = make_noise (44100);
  const GstClockTime begin = 3600 * GST_SECOND + 1;
  GstClockTime expected = begin;
  GstBuffer *buffer;
  guint i;

  for (i = 0; i < 44100; i += 7)
    push_s16 (&fixture, samples + i, 7, begin + i * GST_SECOND / 44100);
  while ((buffer = gst_harness_try_pull (fixture.h)) != NULL) {
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), expected);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), begin + GST_BUFFER_OFFSET (buffer) * 10 * GST_MSECOND);
    expected += GST_BUFFER_DURATION (buffer);
    gst_buffer_unref (buffer);
  }
  fail_unless_equals_uint64 (expected, begin + 98 * 10 * GST_MSECOND);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_unknown_time_stays_unknown)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (560);

  push_s16 (&fixture, samples, 560, GST_CLOCK_TIME_NONE);
  fail_unless_buffer (&fixture, GST_CLOCK_TIME_NONE, 20 * GST_MSECOND, 0, 2, TRUE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_time_may_become_known_on_the_way)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (800);

  push_s16 (&fixture, samples, 400, GST_CLOCK_TIME_NONE);
  fail_unless_buffer (&fixture, GST_CLOCK_TIME_NONE, 10 * GST_MSECOND, 0, 1, TRUE);
  push_s16 (&fixture, samples, 160, GST_SECOND + 25 * GST_MSECOND);
  fail_unless_buffer (&fixture, GST_SECOND + 10 * GST_MSECOND, 10 * GST_MSECOND, 1, 2, FALSE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* 25 ms have come: a buffer at 5 ms cannot follow them. */
GST_START_TEST (test_time_before_the_beginning_is_not_believed)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (800);

  push_s16 (&fixture, samples, 400, GST_CLOCK_TIME_NONE);
  drop_buffers (fixture.h);
  push_s16 (&fixture, samples, 160, 5 * GST_MSECOND);
  fail_unless_buffer (&fixture, GST_CLOCK_TIME_NONE, 10 * GST_MSECOND, 1, 2, FALSE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/*
 * No frame reaches across audio that the quality of service left out, even if it is shorter than the tolerated jitter.
 */
GST_START_TEST (test_late_audio_leaves_a_hole)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (800);
  guint i;

  g_object_set (fixture.h->element, "qos", TRUE, NULL);
  push_s16 (&fixture, samples, 400, 0);
  fail_unless_buffer (&fixture, 0, 10 * GST_MSECOND, 0, 1, TRUE);
  gst_harness_push_upstream_event (fixture.h, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 1, 0, 30 * GST_MSECOND));
  push_s16 (&fixture, samples, 160, 25 * GST_MSECOND); /* late */
  fail_unless_no_buffer (&fixture);
  for (i = 0; i < 3; i++)
    push_s16 (&fixture, samples, 160, (35 + 10 * i) * GST_MSECOND);
  fail_unless_buffer (&fixture, 40 * GST_MSECOND, 10 * GST_MSECOND, 4, 5, TRUE);
  fail_unless_no_buffer (&fixture);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* 25 ms have come when the second buffer does. Its time moves the frames by as much as a clock may drift. */
GST_START_TEST (test_timestamps_that_are_a_little_off_are_not_believed)
{
  const GstClockTime pts[] = { GST_SECOND + 64 * GST_MSECOND, GST_SECOND - 14 * GST_MSECOND };
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (800);
  GstBuffer *buffer;

  push_s16 (&fixture, samples, 400, GST_SECOND);
  drop_buffers (fixture.h);
  push_s16 (&fixture, samples, 160, pts[__i__]);
  buffer = gst_harness_pull (fixture.h);
  fail_unless (ABS (GST_CLOCK_DIFF (GST_SECOND + 10 * GST_MSECOND, GST_BUFFER_PTS (buffer))) < 39 * GST_MSECOND / 256);
  fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), 1);
  fail_if (GST_BUFFER_IS_DISCONT (buffer));
  gst_buffer_unref (buffer);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* A jump back with DISCONT begins other audio: the frames of both parts are those of two streams. */
GST_START_TEST (test_discont_backwards_ends_the_audio_and_begins_anew)
{
  Fixture fixture = fixture_new_s16 (styles[__i__]);
  gint16 *samples = make_noise (2000);
  GArray *before = run_s16 (styles[__i__], samples, 1000), *after = run_s16 (styles[__i__], samples + 1000, 1000),
         *values;

  push_s16 (&fixture, samples, 1000, GST_SECOND);
  fail_unless_equals_int (push_bytes (&fixture, samples + 1000, 300, GST_SECOND, GST_BUFFER_FLAG_DISCONT), GST_FLOW_OK);
  values = pull_frames (&fixture);
  fail_unless_same_bits (before, values);
  g_array_unref (values);

  push_s16 (&fixture, samples + 1150, 850, GST_CLOCK_TIME_NONE);
  push_eos (&fixture);
  values = pull_frames (&fixture);
  fail_unless_same_bits (after, values);
  g_array_unref (values);
  g_array_unref (before);
  g_array_unref (after);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* --- latency --- */

static void
fail_unless_latency (const gchar *properties, gint rate, GstClockTime expected)
{
  Fixture fixture = fixture_new (properties);

  gst_harness_set_upstream_latency (fixture.h, 7 * GST_MSECOND);
  fail_unless_equals_uint64 (gst_harness_query_latency (fixture.h),
                             7 * GST_MSECOND); /* nothing is known without caps */
  start (&fixture, audio_caps (GST_AUDIO_NE (S16), rate, 1));
  fail_unless_equals_uint64 (gst_harness_query_latency (fixture.h), 7 * GST_MSECOND + expected);
  fixture_free (&fixture);
}

GST_START_TEST (test_latency_is_from_a_frame_to_its_newest_sample)
{
  fail_unless_latency ("", RATE, 25 * GST_MSECOND);
  fail_unless_latency ("frame-length=32", RATE, 32 * GST_MSECOND);
  fail_unless_latency ("", 11025, 24943311);                                   /* 275 samples */
  fail_unless_latency ("style=whisper", RATE, 12562500);                       /* 201 samples */
  fail_unless_latency ("style=whisper hop-length=20", RATE, 20 * GST_MSECOND); /* known not to be dropped */
  fail_unless_latency ("style=nemo", RATE, 12500000);                          /* 200 samples: nothing is mirrored */
}
GST_END_TEST;

GST_START_TEST (test_latency_keeps_the_maximum_ahead_of_the_minimum)
{
  Fixture fixture = fixture_new_s16 ("");

  check_latency_behind_live (fixture.h, 25 * GST_MSECOND);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_latency_is_posted_once)
{
  Fixture fixture = fixture_new_s16 ("");
  GstMessage *message = pop_message (fixture.bus, GST_MESSAGE_LATENCY);

  fail_unless (message != NULL);
  gst_message_unref (message);
  push_caps (&fixture, audio_caps (GST_AUDIO_NE (F32), RATE, 1)); /* as long as before */
  fail_unless (pop_message (fixture.bus, GST_MESSAGE_LATENCY) == NULL);
  fixture_free (&fixture);
}
GST_END_TEST;

static Suite *
logmel_time_suite (void)
{
  Suite *suite = suite_create ("logmel-time");
  TCase *tc = tcase_create ("general");
  const guint n_styles = G_N_ELEMENTS (styles);

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_time_of_a_frame_is_that_of_its_first_sample);
  tcase_add_test (tc, test_time_of_a_whisper_frame_is_that_of_its_centre);
  tcase_add_test (tc, test_time_does_not_drift);
  tcase_add_test (tc, test_unknown_time_stays_unknown);
  tcase_add_test (tc, test_time_may_become_known_on_the_way);
  tcase_add_test (tc, test_time_before_the_beginning_is_not_believed);
  tcase_add_test (tc, test_late_audio_leaves_a_hole);
  tcase_add_loop_test (tc, test_timestamps_that_are_a_little_off_are_not_believed, 0, 2);
  tcase_add_loop_test (tc, test_discont_backwards_ends_the_audio_and_begins_anew, 0, n_styles);

  tcase_add_test (tc, test_latency_is_from_a_frame_to_its_newest_sample);
  tcase_add_test (tc, test_latency_keeps_the_maximum_ahead_of_the_minimum);
  tcase_add_test (tc, test_latency_is_posted_once);
  return suite;
}

GST_CHECK_MAIN (logmel_time);
