/*
 * The element `attentionscope`: which columns a frame of video shows, what time it has, and when it leaves.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "scopecheck.h"

static const struct {
  gint n, d;
} rates[] = { { 25, 1 }, { 60, 1 }, { 30000, 1001 }, { 1, 1 }, { 240, 1 }, { 3, 7 } };

GST_START_TEST (test_frames_of_video_have_the_times_of_their_rate)
{
  gchar *rate = g_strdup_printf ("%d/%d", rates[__i__].n, rates[__i__].d);
  gchar *video = g_strdup_printf (VIDEO (64, 64, "%s"), rate);
  GstHarness *h = start_with (one_head, video);
  GstClockTime start = 12345 * FRAME_TIME, end = start + 331 * FRAME_TIME, time = start;
  guint n, begin;
  GstBuffer *buffer;

  for (begin = 0; begin < 330; begin += 10)
    push (h, one_head, 12345 + begin, 10, fill_in_turn);
  push (h, one_head, 12345 + 330, 1, fill_in_turn);
  gst_harness_push_event (h, gst_event_new_eos ());
  for (n = 0; (buffer = gst_harness_try_pull (h)); n++) {
    GstClockTime next = start + gst_util_uint64_scale (n + 1, rates[__i__].d * GST_SECOND, rates[__i__].n);

    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), time);
    time = MIN (next, end); /* the last one as far as it got */
    fail_unless_equals_uint64 (GST_BUFFER_DURATION (buffer), time - GST_BUFFER_PTS (buffer));
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), n);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (buffer), n + 1);
    fail_unless_equals_int (GST_BUFFER_IS_DISCONT (buffer), n == 0);
    gst_buffer_unref (buffer);
  }
  fail_unless_equals_uint64 (time, end);
  gst_harness_teardown (h);
  g_free (video);
  g_free (rate);
}
GST_END_TEST;

GST_START_TEST (test_frame_leaves_with_the_column_that_completes_it)
{
  GstHarness *h = start_with (one_head, VIDEO (64, 64, "30/1"));
  guint i;

  for (i = 0; i < 100; i++) {
    push (h, one_head, i, 1, fill_in_turn);
    fail_unless_equals_int (gst_harness_buffers_received (h), (i + 1) * 30 / 100);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_jitter_leaves_no_hole)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("1/1"));
  Picture *picture;
  guint i;

  for (i = 0; i < 101; i++) {
    GstBuffer *buffer = make_buffer (one_head, i, 1, fill_newest);

    GST_BUFFER_PTS (buffer) += (i * 7 % 5) * GST_MSECOND;
    fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  }
  fail_unless_equals_int (gst_harness_buffers_received (h), 1);
  picture = open_last (h, one_head);
  for (i = 0; i < 100; i++)
    fail_unless_equals_int (lag_at (picture, i), 0);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* A pixel is a millisecond; the second column begins some of them behind the end of the first, or before it. */
static GstHarness *
push_two_columns (gint apart)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstBuffer *buffer = make_buffer (one_head, 1, 1, fill_in_turn);
  GstClockTime end;

  g_object_set (h->element, "seconds", 0.1, NULL);
  push (h, one_head, 0, 1, fill_in_turn);
  GST_BUFFER_PTS (buffer) += apart * (GstClockTimeDiff) GST_MSECOND;
  end = GST_BUFFER_PTS (buffer) + FRAME_TIME;
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  gst_harness_push_event (h, gst_event_new_gap (end, 100 * GST_MSECOND - end));
  return h;
}

GST_START_TEST (test_columns_touch_when_they_are_half_of_one_apart)
{
  const gint apart = __i__;
  GstHarness *h = push_two_columns (apart);
  Picture *picture = open_last (h, one_head);
  gint x;

  check_lags (picture, 0, 1, 0);
  for (x = 0; x < 20 + apart; x++)
    fail_unless_equals_int (lag_at (picture, x), x < 10 ? 0 : x >= 10 + apart ? 1 : apart <= 5 ? 0 : -1);
  check_lags (picture, 20 + apart, 100, -1);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_columns_may_overlap_by_half_of_one)
{
  GstHarness *h = push_two_columns (-__i__);
  GstBuffer *buffer = gst_harness_pull (h);

  fail_unless_equals_clocktime (GST_BUFFER_DURATION (buffer), __i__ <= 5 ? 100 * GST_MSECOND : FRAME_TIME);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_time_that_goes_back_begins_anew)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstBuffer *buffer;
  Picture *picture;

  push (h, one_head, 100, 25, fill_in_turn);
  push (h, one_head, 50, 10, fill_in_turn);
  fail_unless_equals_int (gst_harness_buffers_received (h), 4); /* the third one as far as it got */
  gst_buffer_unref (gst_harness_pull (h));
  gst_buffer_unref (gst_harness_pull (h));
  buffer = gst_harness_pull (h);
  fail_unless_equals_uint64 (GST_BUFFER_DURATION (buffer), 5 * FRAME_TIME);
  gst_buffer_unref (buffer);
  buffer = gst_harness_pull (h);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), 50 * FRAME_TIME);
  fail_unless (GST_BUFFER_IS_DISCONT (buffer));
  picture = open_picture (h, buffer, one_head);
  check_lags (picture, 0, 90, -1);
  check_lags (picture, 90, 100, 50 % 4);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* An hour without data: grey scrolls through for the second that a picture shows, and a GAP event covers the rest. */
GST_START_TEST (test_long_gap_is_told_and_not_drawn)
{
  const GstClockTime hour = 3600 * GST_SECOND;
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstClockTime time, duration;
  GstBuffer *buffer;
  GstEvent *event;
  guint jump;

  for (jump = 0; jump < 2; jump++) {
    flush (h);
    push (h, one_head, 0, 10, fill_in_turn);
    gst_buffer_unref (gst_harness_pull (h));
    if (!jump)
      gst_harness_push_event (h, gst_event_new_gap (10 * FRAME_TIME, hour));
    push (h, one_head, 10 + hour / FRAME_TIME, 10, fill_in_turn);
    fail_unless_equals_int (gst_harness_buffers_in_queue (h), 11);
    event = pull_event (h, GST_EVENT_GAP);
    fail_unless (event != NULL);
    gst_event_parse_gap (event, &time, &duration);
    fail_unless_equals_uint64 (time, GST_SECOND + 10 * FRAME_TIME);
    fail_unless_equals_uint64 (duration, hour - GST_SECOND);
    gst_event_unref (event);
    buffer = pull_last (h);
    fail_unless (GST_BUFFER_IS_DISCONT (buffer));
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), hour + 10 * FRAME_TIME);
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_without_timestamps_the_rate_counts)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstBuffer *buffer;
  guint i;

  for (i = 0; i < 5; i++) {
    buffer = make_buffer (one_head, 0, 10, fill_in_turn);
    GST_BUFFER_PTS (buffer) = GST_CLOCK_TIME_NONE;
    gst_harness_push (h, buffer);
    buffer = gst_harness_pull (h);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), 10 * i * FRAME_TIME);
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

/* A column without a time stamp follows the last column, whether that one has a time stamp or not. */
GST_START_TEST (test_columns_without_timestamps_go_on_behind_those_with)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  const GstClockTime times[] = { GST_CLOCK_TIME_NONE, 50 * FRAME_TIME, GST_CLOCK_TIME_NONE };
  GstBuffer *buffer;
  guint i;

  for (i = 0; i < 3; i++) {
    buffer = make_buffer (one_head, 0, 10, fill_in_turn);
    GST_BUFFER_PTS (buffer) = times[i];
    fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  }
  fail_unless_equals_int (gst_harness_buffers_received (h), 7);
  buffer = pull_last (h);
  fail_unless_equals_clocktime (GST_BUFFER_PTS (buffer), 60 * FRAME_TIME);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* A tenth of a pixel, alone, is still visible. */
GST_START_TEST (test_column_takes_a_pixel_at_least)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  Picture *picture;

  g_object_set (h->element, "seconds", 10.0, NULL);
  push (h, one_head, 0, 1, fill_in_turn);
  gst_harness_push_event (h, gst_event_new_gap (FRAME_TIME, 29 * FRAME_TIME));
  picture = open_last (h, one_head);
  check_lags (picture, 0, 97, -1);
  check_lags (picture, 97, 98, 0);
  check_lags (picture, 98, 100, -1);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

#define AUDIO_AT(rate)                                                           \
  "audio/x-raw, format=(string)" GST_AUDIO_NE (                                  \
      F32) ", layout=(string)interleaved, rate=(int)" rate ", channels=(int)4, " \
           "channel-mask=(bitmask)0, heads=(int)1, sinks=(int)0, window=(int)4, look-ahead=(int)0"
#define NO_RATE                                                                       \
  "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, " \
  "dimensions=(string)4:1:1:1, framerate=(fraction)0/1, heads=(int)1, sinks=(int)0, window=(int)4, look-ahead=(int)0"

GST_START_TEST (test_without_a_rate_a_column_stays_until_the_next)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("1/1"));
  const guint times[] = { 0, 10, 17, 60, 100 };
  GstBuffer *buffer;
  Picture *picture;
  guint i, x;

  gst_harness_set_src_caps_str (h, NO_RATE);
  for (i = 0; i < G_N_ELEMENTS (times); i++) {
    buffer = make_buffer (one_head, i, 1, fill_in_turn);
    GST_BUFFER_PTS (buffer) = times[i] * FRAME_TIME;
    GST_BUFFER_DURATION (buffer) = GST_CLOCK_TIME_NONE;
    fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  }
  picture = open_last (h, one_head);
  for (i = 0; i + 1 < G_N_ELEMENTS (times); i++)
    for (x = times[i]; x < times[i + 1]; x++)
      fail_unless_equals_int (lag_at (picture, x), i);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_without_rate_and_timestamps_a_column_is_a_frame_of_video)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  guint i;

  gst_harness_set_src_caps_str (h, NO_RATE);
  for (i = 0; i < 10; i++) {
    GstBuffer *buffer = make_buffer (one_head, i, 1, fill_in_turn);

    GST_BUFFER_PTS (buffer) = GST_BUFFER_DURATION (buffer) = GST_CLOCK_TIME_NONE;
    gst_harness_push (h, buffer);
    buffer = gst_harness_pull (h);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), i * GST_SECOND / 10);
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

/* A third of a second is not a whole number of nanoseconds: each column completes its frame all the same. */
GST_START_TEST (test_without_timestamps_rounding_does_not_add_up)
{
  static const gchar *const caps[] = { AUDIO_AT ("3"), NO_RATE };
  GstHarness *h = start_with (one_head, VIDEO (64, 64, "3/1"));
  guint i;

  gst_harness_set_src_caps_str (h, caps[__i__]);
  for (i = 0; i < 1000; i++) {
    GstBuffer *buffer = make_buffer (one_head, i, 1, fill_in_turn);

    GST_BUFFER_PTS (buffer) = GST_BUFFER_DURATION (buffer) = GST_CLOCK_TIME_NONE;
    gst_harness_push (h, buffer);
    buffer = gst_harness_try_pull (h);
    fail_unless (buffer != NULL, "after column %u", i);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), gst_util_uint64_scale (i, GST_SECOND, 3));
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_segment_in_bytes_becomes_one_in_time)
{
  GstHarness *h = gst_harness_new ("attentionscope");
  const GstSegment *sent;
  GstSegment segment;
  GstEvent *event;
  gchar *caps = caps_of (one_head);
  GstCaps *parsed = gst_caps_from_string (caps);

  gst_harness_set_sink_caps_str (h, HUNDRED_PIXELS ("10/1"));
  gst_harness_play (h);
  gst_harness_push_event (h, gst_event_new_stream_start ("bytes"));
  gst_harness_push_event (h, gst_event_new_caps (parsed));
  gst_segment_init (&segment, GST_FORMAT_BYTES);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push (h, one_head, 777, 20, fill_in_turn);
  event = pull_event (h, GST_EVENT_SEGMENT);
  fail_unless (event != NULL);
  gst_event_parse_segment (event, &sent);
  fail_unless_equals_int (sent->format, GST_FORMAT_TIME);
  gst_event_unref (event);
  fail_unless_equals_int (gst_harness_buffers_received (h), 2);
  gst_caps_unref (parsed);
  g_free (caps);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_latency_is_a_frame_of_video)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("25/1"));

  gst_harness_set_upstream_latency (h, 30 * GST_MSECOND);
  fail_unless_equals_uint64 (gst_harness_query_latency (h), 70 * GST_MSECOND);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_late_frames_are_left_out_and_their_columns_are_not)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstBus *bus = attach_bus (h->element);
  GstMessage *message;
  guint64 processed, dropped;
  Picture *picture;
  GstBuffer *buffer;

  push (h, one_head, 0, 10, fill_in_turn);
  gst_buffer_unref (gst_harness_pull (h));
  /* late by 300 ms: until 0 + 2 * 300 + 100 ms nothing is drawn */
  gst_harness_push_upstream_event (h, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 2, 300 * GST_MSECOND, 0));
  push (h, one_head, 10, 70, fill_in_turn);
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 1);
  buffer = gst_harness_pull (h);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), 70 * FRAME_TIME);
  fail_unless (GST_BUFFER_IS_DISCONT (buffer));
  picture = open_picture (h, buffer, one_head);
  check_lags (picture, 20, 100, 0);
  close_picture (picture);
  message = pop_message (bus, GST_MESSAGE_QOS);
  fail_unless (message != NULL);
  gst_message_parse_qos_stats (message, NULL, &processed, &dropped);
  fail_unless_equals_uint64 (processed, 1);
  fail_unless_equals_uint64 (dropped, 1);
  gst_message_unref (message);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The columns of a late picture are not skipped. */
GST_START_TEST (test_lateness_is_not_told_upstream)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  guint before;

  push (h, one_head, 0, 10, fill_in_turn);
  before = gst_harness_upstream_events_received (h);
  gst_harness_push_upstream_event (h, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 2, GST_SECOND, 0));
  fail_unless_equals_int (gst_harness_upstream_events_received (h), before);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Its end is not a valid time: the event passes unchanged. */
GST_START_TEST (test_gap_beyond_all_time_passes)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstEvent *event;

  push (h, one_head, 0, 10, fill_in_turn);
  gst_harness_push_event (h, gst_event_new_gap (10 * FRAME_TIME, GST_CLOCK_TIME_NONE - 1));
  event = pull_event (h, GST_EVENT_GAP);
  fail_unless (event != NULL);
  gst_event_unref (event);
  fail_unless_equals_int (gst_harness_buffers_received (h), 1);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_without_qos_all_frames_are_drawn)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));

  g_object_set (h->element, "qos", FALSE, NULL);
  push (h, one_head, 0, 10, fill_in_turn);
  gst_harness_push_upstream_event (h, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 2, GST_SECOND, 0));
  push (h, one_head, 10, 70, fill_in_turn);
  fail_unless_equals_int (gst_harness_buffers_received (h), 8);
  gst_harness_teardown (h);
}
GST_END_TEST;

static Suite *
attentionscope_time_suite (void)
{
  Suite *suite = suite_create ("attentionscope-time");
  TCase *time = tcase_create ("time");

  suite_add_tcase (suite, time);
  tcase_add_loop_test (time, test_frames_of_video_have_the_times_of_their_rate, 0, G_N_ELEMENTS (rates));
  tcase_add_test (time, test_frame_leaves_with_the_column_that_completes_it);
  tcase_add_test (time, test_jitter_leaves_no_hole);
  tcase_add_loop_test (time, test_columns_touch_when_they_are_half_of_one_apart, 0, 8);
  tcase_add_loop_test (time, test_columns_may_overlap_by_half_of_one, 1, 9);
  tcase_add_test (time, test_time_that_goes_back_begins_anew);
  tcase_add_test (time, test_long_gap_is_told_and_not_drawn);
  tcase_add_test (time, test_without_timestamps_the_rate_counts);
  tcase_add_test (time, test_columns_without_timestamps_go_on_behind_those_with);
  tcase_add_test (time, test_column_takes_a_pixel_at_least);
  tcase_add_test (time, test_without_a_rate_a_column_stays_until_the_next);
  tcase_add_test (time, test_without_rate_and_timestamps_a_column_is_a_frame_of_video);
  tcase_add_loop_test (time, test_without_timestamps_rounding_does_not_add_up, 0, 2);
  tcase_add_test (time, test_segment_in_bytes_becomes_one_in_time);
  tcase_add_test (time, test_latency_is_a_frame_of_video);
  tcase_add_test (time, test_late_frames_are_left_out_and_their_columns_are_not);
  tcase_add_test (time, test_lateness_is_not_told_upstream);
  tcase_add_test (time, test_gap_beyond_all_time_passes);
  tcase_add_test (time, test_without_qos_all_frames_are_drawn);
  return suite;
}

GST_CHECK_MAIN (attentionscope_time);
