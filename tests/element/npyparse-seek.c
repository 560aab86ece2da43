/*
 * The element `npyparse`: seeks, and its answers about durations and positions.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "npyparsecheck.h"

/* Seeks after the preroll and collects the outputs: frames [first, last) of an array of N_FRAMES, 100 per second. */
#define N_FRAMES 3000

static void
check_seek (const gchar *feed, guint frames_per_buffer, GstSeekFlags flags, GstFormat format, gint64 start, gint64 stop,
            guint first, guint last)
{
  Bytes bytes = make_counting_npy (N_FRAMES, 2);
  gchar *path = write_temporary (&bytes), *options = g_strdup_printf ("frames-per-buffer=%u", frames_per_buffer);
  GstElement *pipeline = new_pipeline (feed, path, options);
  GstBus *bus = gst_element_get_bus (pipeline);
  GArray *values;
  guint i;

  preroll (pipeline);
  fail_unless (gst_element_seek (pipeline, 1, format, flags | GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, start,
                                 stop == -1 ? GST_SEEK_TYPE_NONE : GST_SEEK_TYPE_SET, stop));
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  values = pull_values (pipeline);
  check_text (pop_error (bus), NULL);
  fail_unless (values->len == 2 * (last - first), "%u frames, expected %u", values->len / 2, last - first);
  for (i = 0; i < values->len; i++)
    fail_unless (g_array_index (values, gfloat, i) == 2 * first + i, "starts at frame %g, expected %u",
                 g_array_index (values, gfloat, 0) / 2, first);
  g_array_unref (values);
  gst_object_unref (bus);
  free_pipeline (pipeline);
  g_unlink (path);
  g_free (path);
  g_free (options);
  g_free (bytes.data);
}

static void
check_seeks (const gchar *feed, guint frames_per_buffer)
{
  const GstClockTime frame = 10 * GST_MSECOND;
  const GstSeekFlags flags[] = { 0, GST_SEEK_FLAG_ACCURATE, GST_SEEK_FLAG_KEY_UNIT };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (flags); i++) {
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_TIME, 0, -1, 0, N_FRAMES);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_TIME, 17 * frame, -1, 17, N_FRAMES);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_TIME, 17 * frame - 1, -1, 16, N_FRAMES);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_TIME, 2500 * frame + 1, -1, 2500, N_FRAMES);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_TIME, 17 * frame, 42 * frame, 17, 42);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_TIME, 2400 * frame, 2442 * frame + 1, 2400, 2443);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_DEFAULT, 1234, -1, 1234, N_FRAMES);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_DEFAULT, 2999, 3000, 2999, 3000);
  }
}

GST_START_TEST (test_seek_lands_on_the_frame)
{
  check_seeks (feeds[0], 1);
  check_seeks (feeds[0], 64);
}
GST_END_TEST

GST_START_TEST (test_seek_lands_on_the_frame_behind_a_queue)
{
  check_seeks (feeds[1], 1);
  check_seeks (feeds[1], 64);
}
GST_END_TEST

GST_START_TEST (test_seek_in_bytes_lands_on_the_frame)
{
  Bytes bytes = make_counting_npy (N_FRAMES, 2);
  gsize header_size = bytes.size - N_FRAMES * 2 * sizeof (gfloat);
  guint i;

  for (i = 0; i < 2; i++) {
    check_seek (feeds[i], 1, 0, GST_FORMAT_BYTES, 0, -1, 0, N_FRAMES);
    check_seek (feeds[i], 1, 0, GST_FORMAT_BYTES, header_size + 1000 * 8, -1, 1000, N_FRAMES);
    check_seek (feeds[i], 1, 0, GST_FORMAT_BYTES, header_size + 1000 * 8, header_size + 1100 * 8, 1000, 1100);
  }
  /* A seek into a frame: the frame is whole if npyparse pulls; behind a queue its head was not sent. */
  check_seek (feeds[0], 1, 0, GST_FORMAT_BYTES, header_size + 1000 * 8 + 3, -1, 1000, N_FRAMES);
  check_seek (feeds[1], 1, 0, GST_FORMAT_BYTES, header_size + 1000 * 8 + 3, -1, 1001, N_FRAMES);
  g_free (bytes.data);
}
GST_END_TEST

GST_START_TEST (test_seek_backwards_is_refused)
{
  gchar *path = golden_path ("f4.npy");
  GstElement *pipeline = new_pipeline (feeds[0], path, "");

  preroll (pipeline);
  fail_if (gst_element_seek (pipeline, -1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 0,
                             GST_SEEK_TYPE_SET, 30 * GST_MSECOND));
  free_pipeline (pipeline);
  g_free (path);
}
GST_END_TEST

static guint32 segment_seqnum;

static GstPadProbeReturn
see_segment (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_SEGMENT)
    segment_seqnum = gst_event_get_seqnum (GST_PAD_PROBE_INFO_EVENT (info));
  return GST_PAD_PROBE_OK;
}

/* An application can then find the buffers of its seek. */
GST_START_TEST (test_segment_has_the_number_of_its_seek)
{
  gchar *path = golden_path ("f4.npy");
  GstElement *pipeline = new_pipeline (feeds[__i__], path, ""),
             *parse = gst_bin_get_by_name (GST_BIN (pipeline), "parse");
  GstPad *pad = gst_element_get_static_pad (parse, "src");
  GstEvent *seek = gst_event_new_seek (1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 20 * GST_MSECOND,
                                       GST_SEEK_TYPE_NONE, 0);
  guint32 seqnum = gst_event_get_seqnum (seek);

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, see_segment, NULL, NULL);
  preroll (pipeline);
  fail_unless (gst_element_send_event (pipeline, seek));
  gst_element_get_state (pipeline, NULL, NULL, GST_CLOCK_TIME_NONE);
  fail_unless_equals_int (segment_seqnum, seqnum);
  gst_object_unref (pad);
  gst_object_unref (parse);
  free_pipeline (pipeline);
  g_free (path);
}
GST_END_TEST

GST_START_TEST (test_duration_and_conversions)
{
  gchar *path = golden_path ("f4.npy");
  GstElement *pipeline = new_pipeline (feeds[0], path, "frame-rate=3/1"),
             *parse = gst_bin_get_by_name (GST_BIN (pipeline), "parse");
  gint64 value;

  preroll (pipeline);
  fail_unless (gst_element_query_duration (pipeline, GST_FORMAT_TIME, &value));
  fail_unless_equals_int64 (value, 1666666667);
  fail_unless (gst_element_query_duration (pipeline, GST_FORMAT_DEFAULT, &value));
  fail_unless_equals_int64 (value, 5);
  fail_unless (gst_element_query_convert (parse, GST_FORMAT_TIME, 666666667, GST_FORMAT_DEFAULT, &value));
  fail_unless_equals_int64 (value, 2);
  fail_unless (gst_element_query_convert (parse, GST_FORMAT_TIME, 666666666, GST_FORMAT_DEFAULT, &value));
  fail_unless_equals_int64 (value, 1);
  /* Frame 1 has a time stamp that was rounded down. */
  fail_unless (gst_element_query_convert (parse, GST_FORMAT_TIME, 333333333, GST_FORMAT_DEFAULT, &value));
  fail_unless_equals_int64 (value, 1);
  fail_unless (gst_element_query_convert (parse, GST_FORMAT_DEFAULT, 4, GST_FORMAT_BYTES, &value));
  fail_unless_equals_int64 (value, 128 + 4 * 12);
  fail_unless (gst_element_query_convert (parse, GST_FORMAT_BYTES, 128 + 4 * 12 - 1, GST_FORMAT_TIME, &value));
  fail_unless_equals_int64 (value, GST_SECOND);
  gst_object_unref (parse);
  free_pipeline (pipeline);
  g_free (path);
}
GST_END_TEST

static Suite *
npyparse_seek_suite (void)
{
  Suite *suite = suite_create ("npyparse-seek");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_seek_lands_on_the_frame);
  tcase_add_test (tc, test_seek_lands_on_the_frame_behind_a_queue);
  tcase_add_test (tc, test_seek_in_bytes_lands_on_the_frame);
  tcase_add_test (tc, test_seek_backwards_is_refused);
  tcase_add_loop_test (tc, test_segment_has_the_number_of_its_seek, 0, 2);
  tcase_add_test (tc, test_duration_and_conversions);
  return suite;
}

GST_CHECK_MAIN (npyparse_seek)
