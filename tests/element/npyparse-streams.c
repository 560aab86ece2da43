/*
 * The element `npyparse`: the buffers that it makes, their caps and times, and its second life.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "npyparsecheck.h"

#include "memorycheck.h"

/* The length of the file is unknown. */
GST_START_TEST (test_data_after_the_end_of_a_pipe_is_left_out_with_a_warning)
{
  GstHarness *harness = new_harness ("npyparse");
  GstBus *bus = gst_element_get_bus (harness->element);
  Bytes bytes = make_counting_npy (5, 3);
  GstMessage *message;

  gst_harness_set_src_caps_str (harness, "application/x-npy");
  gst_harness_push (harness, gst_buffer_new_memdup (bytes.data, bytes.size));
  fail_unless_equals_int (gst_harness_push (harness, gst_buffer_new_memdup (bytes.data, 7)), GST_FLOW_EOS);
  fail_unless_equals_int (gst_harness_push (harness, gst_buffer_new_memdup (bytes.data, 7)), GST_FLOW_EOS);
  gst_harness_push_event (harness, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_received (harness), 5);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_WARNING);
  fail_unless (message != NULL && gst_bus_pop_filtered (bus, GST_MESSAGE_WARNING | GST_MESSAGE_ERROR) == NULL);
  gst_message_unref (message);
  gst_object_unref (bus);
  g_free (bytes.data);
  free_harness (harness);
}
GST_END_TEST

/* Whole frames of a pipe that breaks off are not held back. */
GST_START_TEST (test_frames_before_the_truncation_come_out)
{
  GstHarness *harness = new_harness ("npyparse");
  Bytes bytes = make_counting_npy (5, 3);

  gst_harness_set_src_caps_str (harness, "application/x-npy");
  gst_harness_push (harness, gst_buffer_new_memdup (bytes.data, bytes.size - 13));
  fail_unless_equals_int (gst_harness_buffers_received (harness), 3);
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_harness_error (harness, "60 bytes; the file ended after 47");
  g_free (bytes.data);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_frame_leaves_with_its_last_byte)
{
  GstHarness *harness = new_harness ("npyparse");
  Bytes bytes = make_counting_npy (5, 3);
  gsize header_size = bytes.size - 60, i;

  gst_harness_set_src_caps_str (harness, "application/x-npy");
  for (i = 0; i < bytes.size; i++) {
    gst_harness_push (harness, gst_buffer_new_memdup (bytes.data + i, 1));
    fail_unless_equals_int (gst_harness_buffers_received (harness),
                            i + 1 < header_size ? 0 : (i + 1 - header_size) / 12);
  }
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_harness_error (harness, NULL);
  g_free (bytes.data);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_frames_begin_at_a_cache_line)
{
  GstHarness *harness = new_harness ("npyparse");
  Bytes bytes = make_counting_npy (5, 3);
  GstBuffer *buffer;

  gst_harness_set_src_caps_str (harness, "application/x-npy");
  gst_harness_push (harness, gst_buffer_new_wrapped (bytes.data, bytes.size));
  gst_harness_push_event (harness, gst_event_new_eos ());
  while ((buffer = gst_harness_try_pull (harness)) != NULL) {
    GstMapInfo map;

    gst_buffer_map (buffer, &map, GST_MAP_READ);
    fail_unless_equals_int (GPOINTER_TO_SIZE (map.data) % 64, 0);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  fail_unless_equals_int (gst_harness_buffers_received (harness), 5);
  free_harness (harness);
}
GST_END_TEST

static void
check_caps (GstHarness *harness, const gchar *expected)
{
  GstCaps *caps = gst_pad_get_current_caps (harness->sinkpad), *expected_caps = gst_caps_from_string (expected);

  fail_unless (gst_caps_is_equal (caps, expected_caps), "%" GST_PTR_FORMAT, caps);
  gst_caps_unref (caps);
  gst_caps_unref (expected_caps);
}

GST_START_TEST (test_whole_rate_goes_out_as_audio)
{
  GstHarness *harness = push_counting ("npyparse frame-rate=50/1", 4, 3);
  gchar *caps = g_strdup_printf (
      "audio/x-raw, format=%s, layout=interleaved, rate=50, channels=3, channel-mask=(bitmask)0", NE_FORMAT);

  check_caps (harness, caps);
  fail_unless_equals_int (gst_harness_buffers_received (harness), 4);
  g_free (caps);
  gst_harness_teardown (harness);
}
GST_END_TEST

GST_START_TEST (test_fractional_rate_goes_out_as_tensors)
{
  GstHarness *harness = push_counting ("npyparse frame-rate=25/2 frames-per-buffer=3", 7, 2);
  const gchar *caps[] = { "(string)2:3:1:1", "(string)2:1:1:1" };
  GstEvent *event;
  guint n_caps = 0;

  fail_unless_equals_int (gst_harness_buffers_received (harness), 3);
  while ((event = gst_harness_try_pull_event (harness)) != NULL) {
    if (GST_EVENT_TYPE (event) == GST_EVENT_CAPS) {
      gchar *text = g_strdup_printf (
          "other/tensors, format=static, num_tensors=1, types=float32, dimensions=%s, framerate=25/2", caps[n_caps++]);
      GstCaps *expected = gst_caps_from_string (text), *got;

      gst_event_parse_caps (event, &got);
      fail_unless (gst_caps_is_equal (got, expected), "%" GST_PTR_FORMAT, got);
      gst_caps_unref (expected);
      g_free (text);
    }
    gst_event_unref (event);
  }
  fail_unless_equals_int (n_caps, 2); /* the last buffer is shorter, and says so */
  gst_harness_teardown (harness);
}
GST_END_TEST

GST_START_TEST (test_refused_tensors_name_the_rate)
{
  gchar *path = golden_path ("f4.npy");

  check_text (run_launch_line ("filesrc location=%s ! npyparse frame-rate=25/2 ! audio/x-raw ! fakesink", path),
              "frame-rate=25/2");
  check_text (run_launch_line ("filesrc location=%s ! npyparse frame-rate=100 ! audio/x-raw,rate=50 ! fakesink", path),
              "100 per second");
  g_free (path);
}
GST_END_TEST

/* i / rate, rounded to nearest. */
static GstClockTime
exact_time (guint64 frame, guint rate_n, guint rate_d)
{
  return (frame * rate_d * GST_SECOND + rate_n / 2) / rate_n;
}

GST_START_TEST (test_time_stamps_do_not_drift)
{
  static const guint rates[][2] = { { 3, 1 }, { 44100, 1 }, { 30000, 1001 }, { 7, 3 }, { 1000000000, 1 } };
  guint i, j;

  for (i = 0; i < G_N_ELEMENTS (rates); i++) {
    gchar *line = g_strdup_printf ("npyparse frame-rate=%u/%u", rates[i][0], rates[i][1]);
    GstHarness *harness = push_counting (line, 1000, 1);

    for (j = 0; j < 1000; j++) {
      GstBuffer *buffer = gst_harness_pull (harness);
      GstClockTime time = exact_time (j, rates[i][0], rates[i][1]);

      fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), time);
      fail_unless_equals_uint64 (GST_BUFFER_DURATION (buffer), exact_time (j + 1, rates[i][0], rates[i][1]) - time);
      fail_if (GST_BUFFER_DTS_IS_VALID (buffer));
      fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), j);
      fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (buffer), j + 1);
      gst_buffer_unref (buffer);
    }
    gst_harness_teardown (harness);
    g_free (line);
  }
}
GST_END_TEST

GST_START_TEST (test_frames_per_buffer)
{
  static const guint sizes[] = { 1, 2, 7, 999, 1000, 1001, G_MAXINT };
  Bytes bytes = make_counting_npy (1000, 33);
  gchar *path = write_temporary (&bytes);
  guint i, j, k;

  for (i = 0; i < G_N_ELEMENTS (sizes); i++)
    for (j = 0; j < 2; j++) {
      gchar *options = g_strdup_printf ("frames-per-buffer=%u", sizes[i]);
      GArray *values = read_values (feeds[j], path, options);

      fail_unless_equals_int (values->len, 33000);
      for (k = 0; k < values->len; k++)
        fail_unless (g_array_index (values, gfloat, k) == k);
      g_array_unref (values);
      g_free (options);
    }
  g_unlink (path);
  g_free (path);
  g_free (bytes.data);
}
GST_END_TEST

GST_START_TEST (test_buffer_beyond_all_bounds_is_refused)
{
  Bytes bytes = make_npy ("{'descr': '<f4', 'fortran_order': False, 'shape': (999999999, 65536), }", NULL, 0);
  gchar *path = write_temporary (&bytes);

  check_text (run_launch_line ("filesrc location=%s ! npyparse frames-per-buffer=1000000 ! fakesink", path),
              "frames-per-buffer=1000000 is too large for frames of 65536 features, expected no more than 2047");
  g_unlink (path);
  g_free (path);
  g_free (bytes.data);
}
GST_END_TEST

/* A refusal from before a flush is forgotten behind it. */
GST_START_TEST (test_flush_forgets_a_refusal)
{
  GstHarness *harness = new_harness ("npyparse");
  Bytes bytes = make_counting_npy (5, 3);
  GstPadChainFunction chain = GST_PAD_CHAINFUNC (harness->sinkpad);
  GstSegment segment;
  GstBuffer *buffer;
  guint n = 0;

  gst_segment_init (&segment, GST_FORMAT_BYTES);
  gst_harness_set_src_caps_str (harness, "application/x-npy");
  gst_pad_set_chain_function (harness->sinkpad, refuse_buffer);
  fail_unless_equals_int (gst_harness_push (harness, gst_buffer_new_memdup (bytes.data, bytes.size)), GST_FLOW_ERROR);
  gst_pad_set_chain_function (harness->sinkpad, chain);
  push_flush (harness);
  gst_harness_push_event (harness, gst_event_new_segment (&segment));
  buffer = gst_buffer_new_wrapped (bytes.data, bytes.size);
  GST_BUFFER_OFFSET (buffer) = 0;
  fail_unless_equals_int (gst_harness_push (harness, buffer), GST_FLOW_OK);
  gst_harness_push_event (harness, gst_event_new_eos ());
  while ((buffer = gst_harness_try_pull (harness)) != NULL) {
    fail_if (GST_BUFFER_DTS_IS_VALID (buffer)); /* raw data has none */
    gst_buffer_unref (buffer);
    n++;
  }
  fail_unless_equals_int (n, 5);
  free_harness (harness);
}
GST_END_TEST

/* Both where frames are examined one by one and where they are only copied. */
GST_START_TEST (test_frames_that_cannot_be_mapped_are_an_error)
{
  GstHarness *harness = new_harness ("npyparse");
  Bytes bytes = make_counting_npy (5, 3);

  g_object_set (harness->element, "nan-is-gap", __i__, NULL);
  gst_harness_set_src_caps_str (harness, "application/x-npy");
  gst_harness_push (harness, gst_buffer_new_memdup (bytes.data, bytes.size - 60));
  fail_unless_equals_int (gst_harness_push (harness, new_unmappable_buffer (60)), GST_FLOW_ERROR);
  check_harness_error (harness, "cannot map a buffer of ");
  fail_unless_equals_int (gst_harness_buffers_received (harness), 0);
  g_free (bytes.data);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_error_then_restart)
{
  gchar *bad = golden_path ("fortran.npy"), *good = golden_path ("f8.npy");
  GstElement *pipeline = gst_parse_launch ("filesrc name=src ! npyparse ! fakesink", NULL);
  GstElement *src = gst_bin_get_by_name (GST_BIN (pipeline), "src");
  gint i;

  for (i = 0; i < 3; i++) {
    g_object_set (src, "location", bad, NULL);
    check_text (run_to_end (pipeline), "Fortran order");
    g_object_set (src, "location", good, NULL);
    check_text (run_to_end (pipeline), NULL);
  }
  gst_object_unref (src);
  gst_object_unref (pipeline);
  g_free (bad);
  g_free (good);
}
GST_END_TEST

GST_START_TEST (test_properties_keep_their_values)
{
  GstElement *element = gst_check_setup_element ("npyparse");
  guint frames_per_buffer;
  gint n, d;

  g_object_get (element, "frame-rate", &n, &d, "frames-per-buffer", &frames_per_buffer, NULL);
  fail_unless (n == 100 && d == 1 && frames_per_buffer == 1);
  g_object_set (element, "frame-rate", 25, 2, "frames-per-buffer", 4096, NULL);
  g_object_get (element, "frame-rate", &n, &d, "frames-per-buffer", &frames_per_buffer, NULL);
  fail_unless (n == 25 && d == 2 && frames_per_buffer == 4096);
  gst_check_teardown_element (element);
}
GST_END_TEST

static Suite *
npyparse_streams_suite (void)
{
  Suite *suite = suite_create ("npyparse-streams");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_data_after_the_end_of_a_pipe_is_left_out_with_a_warning);
  tcase_add_test (tc, test_frames_before_the_truncation_come_out);
  tcase_add_test (tc, test_frame_leaves_with_its_last_byte);
  tcase_add_test (tc, test_frames_begin_at_a_cache_line);
  tcase_add_test (tc, test_whole_rate_goes_out_as_audio);
  tcase_add_test (tc, test_fractional_rate_goes_out_as_tensors);
  tcase_add_test (tc, test_refused_tensors_name_the_rate);
  tcase_add_test (tc, test_time_stamps_do_not_drift);
  tcase_add_test (tc, test_frames_per_buffer);
  tcase_add_test (tc, test_buffer_beyond_all_bounds_is_refused);
  tcase_add_test (tc, test_flush_forgets_a_refusal);
  tcase_add_loop_test (tc, test_frames_that_cannot_be_mapped_are_an_error, 0, 2);
  tcase_add_test (tc, test_error_then_restart);
  tcase_add_test (tc, test_properties_keep_their_values);
  return suite;
}

GST_CHECK_MAIN (npyparse_streams)
