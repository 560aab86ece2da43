/*
 * The element `attention`: the latency that it reports.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "outputcheck.h"

GST_START_TEST (test_latency_is_look_ahead_over_rate)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (2, D);

  fail_unless_equals_clocktime (gst_harness_query_latency (h), 50 * GST_MSECOND);
  push_frames (h, frames, 0, 1);
  push_frames (h, frames, 1, 1);
  fail_unless_equals_clocktime (gst_harness_query_latency (h), 50 * GST_MSECOND);
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
  fail_unless_equals_clocktime (gst_harness_query_latency (h), 0);
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
  fail_unless_equals_clocktime (gst_harness_query_latency (h), 60 * GST_MSECOND); /* two buffers of three */
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
  fail_unless (pop_message (bus, GST_MESSAGE_LATENCY) == NULL);
  push_frames (h, frames, 1, 4);
  fail_unless_equals_clocktime (gst_harness_query_latency (h), 80 * GST_MSECOND); /* 5 + 4 - 1 frames */
  message = pop_message (bus, GST_MESSAGE_LATENCY);
  fail_unless (message != NULL);
  gst_message_unref (message);
  push_frames (h, frames, 5, 2);
  fail_unless_equals_clocktime (gst_harness_query_latency (h), 80 * GST_MSECOND);
  fail_unless (pop_message (bus, GST_MESSAGE_LATENCY) == NULL);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

/* Smaller buffers behind it do not reduce the latency: the reported one may be in use. */
GST_START_TEST (test_latency_is_that_of_the_largest_buffer_so_far)
{
  static const guint sizes[] = { 16, 8, 1, 16, 24, 3 }, largest[] = { 0, 16, 16, 16, 24, 24 };
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (16 + 8 + 1 + 16 + 24 + 3, D);
  guint begin = 0, i;

  for (i = 0; i < G_N_ELEMENTS (sizes); begin += sizes[i++]) {
    push_frames (h, frames, begin, sizes[i]);
    if (i > 0) /* 5 + n - 1 frames */
      fail_unless_equals_clocktime (gst_harness_query_latency (h), (4 + largest[i]) * FRAME_TIME);
  }
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
  fail_unless_equals_clocktime (gst_harness_query_latency (h), 80 * GST_MSECOND);
  gst_element_set_state (h->element, GST_STATE_READY);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_push_event (h, gst_event_new_stream_start ("again"));
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_unless_equals_clocktime (gst_harness_query_latency (h), 50 * GST_MSECOND);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

/* The reported latency is enough: the last frame of a buffer never leaves later. */
GST_START_TEST (test_latency_covers_the_wait_of_every_buffer)
{
  AttnConfig config = configuration (1, 8, __i__);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (60, D);
  guint n = 4, i, left = 0;

  for (i = 0; i < 15; i++) {
    guint64 now = (i + 1) * n * FRAME_TIME; /* when the buffer is complete, and therefore arrives */

    push_frames (h, frames, i * n, n);
    for (; left < gst_harness_buffers_received (h); left++)
      fail_unless (now <= (left + 1) * n * FRAME_TIME + gst_harness_query_latency (h));
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
  fail_unless_equals_clocktime (gst_harness_query_latency (h), 400 * GST_MSECOND);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_latency_of_unknown_rate_is_zero)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h =
      harness_new (&config, "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                            "framerate=(fraction)0/1, dimensions=(string)6:1:1:1");

  fail_unless_equals_clocktime (gst_harness_query_latency (h), 0);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_latency_adds_to_upstream)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  gst_harness_set_upstream_latency (h, 7 * GST_MSECOND);
  fail_unless_equals_clocktime (gst_harness_query_latency (h), 57 * GST_MSECOND);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_latency_moves_the_maximum_too)
{
  AttnConfig config = configuration (1, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  check_latency_behind_live (h, 50 * GST_MSECOND);
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
  fail_unless_equals_clocktime (gst_harness_query_latency (h), 25 * GST_MSECOND);
  fail_unless (pop_message (bus, GST_MESSAGE_LATENCY) == NULL);
  detach_bus (h->element, bus);
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

static Suite *
attention_latency_suite (void)
{
  Suite *suite = suite_create ("attention-latency");
  TCase *latency = tcase_create ("latency");

  suite_add_tcase (suite, latency);
  tcase_add_test (latency, test_latency_is_look_ahead_over_rate);
  tcase_add_test (latency, test_latency_without_look_ahead_is_zero);
  tcase_add_test (latency, test_latency_of_constant_buffers_is_whole_buffers);
  tcase_add_test (latency, test_latency_of_varying_buffers_grows_and_is_posted);
  tcase_add_test (latency, test_latency_is_that_of_the_largest_buffer_so_far);
  tcase_add_test (latency, test_latency_begins_anew_with_a_restart);
  tcase_add_loop_test (latency, test_latency_covers_the_wait_of_every_buffer, 1, 10);
  tcase_add_test (latency, test_frame_rate_property_corrects_latency);
  tcase_add_test (latency, test_latency_of_unknown_rate_is_zero);
  tcase_add_test (latency, test_latency_adds_to_upstream);
  tcase_add_test (latency, test_latency_moves_the_maximum_too);
  tcase_add_test (latency, test_latency_that_falls_is_not_posted);
  tcase_add_test (latency, test_unknown_rate_is_logged_once);
  return suite;
}

GST_CHECK_MAIN (attention_latency);
