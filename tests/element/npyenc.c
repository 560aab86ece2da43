/*
 * The element `npyenc`: the array that it makes of a stream.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "npyenccheck.h"

GST_START_TEST (test_header_is_completed_at_eos)
{
  GstHarness *harness = new_enc ();
  GstBuffer *provisional, *completed;
  GstEvent *event;
  gint n_segments = 0;

  set_audio_caps (harness, 3, 100);
  fail_unless_equals_int (gst_harness_push (harness, make_frames (6, 0)), GST_FLOW_OK);
  gst_harness_push_event (harness, gst_event_new_eos ());

  while ((event = gst_harness_try_pull_event (harness)) != NULL) {
    if (GST_EVENT_TYPE (event) == GST_EVENT_SEGMENT) {
      const GstSegment *segment;

      gst_event_parse_segment (event, &segment);
      fail_unless_equals_int (segment->format, GST_FORMAT_BYTES);
      fail_unless_equals_uint64 (segment->start, 0);
      n_segments++;
    }
    gst_event_unref (event);
  }
  fail_unless_equals_int (n_segments, 2);

  provisional = gst_harness_pull (harness);
  gst_buffer_unref (gst_harness_pull (harness));
  completed = gst_harness_pull (harness);
  fail_unless_equals_int (gst_buffer_get_size (provisional), HEADER_SIZE);
  fail_unless_equals_int (gst_buffer_get_size (completed), HEADER_SIZE);
  fail_unless_equals_uint64 (GST_BUFFER_OFFSET (completed), 0);
  gst_buffer_unref (provisional);
  gst_buffer_unref (completed);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_header_that_cannot_be_completed_is_an_error)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 3, 100);
  fail_unless_equals_int (gst_harness_push (harness, make_frames (6, 0)), GST_FLOW_OK);
  gst_pad_set_chain_function (harness->sinkpad, refuse_buffer);
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_harness_error (harness, "the file says 0 frames and has 2");
  free_harness (harness);
}
GST_END_TEST

/* The frames that the header counts after each output so far, in the order of writing: never more than are there. */
static guint
write_out (GstHarness *harness, GByteArray *file, guint *n_buffers)
{
  GstBuffer *buffer;
  guint n = 0;

  for (; (buffer = gst_harness_try_pull (harness)) != NULL; ++*n_buffers) {
    gsize size = gst_buffer_get_size (buffer), offset = GST_BUFFER_OFFSET (buffer);
    gchar *header;

    g_byte_array_set_size (file, MAX (file->len, offset + size));
    gst_buffer_extract (buffer, 0, file->data + offset, size);
    header = g_strndup ((gchar *) file->data + 10, HEADER_SIZE - 10);
    fail_unless_equals_int (sscanf (strstr (header, "'shape': ("), "'shape': (%u", &n), 1);
    g_free (header);
    fail_unless (file->len >= HEADER_SIZE + n * 3 * sizeof (gfloat));
    gst_buffer_unref (buffer);
  }
  return n;
}

/* A frame every 100 ms. */
GST_START_TEST (test_unfinished_file_lacks_a_second_at_most)
{
  GstHarness *harness = new_enc ();
  GByteArray *file = g_byte_array_new ();
  guint i, n_buffers = 0;

  set_audio_caps (harness, 3, 10);
  for (i = 1; i <= 35; i++) {
    fail_unless_equals_int (gst_harness_push (harness, make_frames (3, 3 * i)), GST_FLOW_OK);
    fail_unless (write_out (harness, file, &n_buffers) + 10 >= i, "after %u frames", i);
    gst_test_clock_advance_time (GST_TEST_CLOCK (machine_clock), GST_SECOND / 10);
  }
  fail_unless_equals_int (n_buffers, 35 + 1 + 3); /* and no more headers than that */
  g_byte_array_unref (file);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_slow_stream_lacks_nothing)
{
  GstHarness *harness = new_enc ();
  GByteArray *file = g_byte_array_new ();
  guint i, n_buffers = 0;

  set_audio_caps (harness, 3, 1);
  fail_unless_equals_int (gst_harness_push (harness, make_frames (3, 0)), GST_FLOW_OK);
  for (i = 2; i <= 6; i++) {
    gst_test_clock_advance_time (GST_TEST_CLOCK (machine_clock), 2 * GST_SECOND);
    fail_unless_equals_int (gst_harness_push (harness, make_frames (3, 0)), GST_FLOW_OK);
    fail_unless_equals_int (write_out (harness, file, &n_buffers), i);
  }
  g_byte_array_unref (file);
  free_harness (harness);
}
GST_END_TEST

static GstFlowReturn
refuse_header (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  gboolean is_header = GST_BUFFER_OFFSET (buffer) == 0;

  gst_buffer_unref (buffer);
  return is_header ? GST_FLOW_ERROR : GST_FLOW_OK;
}

GST_START_TEST (test_header_that_cannot_be_rewritten_stops_the_stream)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 3, 10);
  fail_unless_equals_int (gst_harness_push (harness, make_frames (3, 0)), GST_FLOW_OK);
  gst_pad_set_chain_function (harness->sinkpad, refuse_header);
  fail_unless_equals_int (gst_harness_push (harness, make_frames (3, 3)), GST_FLOW_OK);
  gst_test_clock_advance_time (GST_TEST_CLOCK (machine_clock), GST_SECOND);
  fail_unless_equals_int (gst_harness_push (harness, make_frames (3, 6)), GST_FLOW_ERROR);
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_harness_error (harness, "the file says 0 frames and has 3");
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_headers_are_marked)
{
  GstHarness *harness = new_enc ();
  GstBuffer *buffer;
  guint i;

  set_audio_caps (harness, 3, 100);
  gst_harness_push (harness, make_frames (6, 0));
  gst_harness_push_event (harness, gst_event_new_eos ());
  for (i = 0; (buffer = gst_harness_try_pull (harness)) != NULL; i++) {
    fail_unless_equals_int (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_HEADER), i != 1);
    gst_buffer_unref (buffer);
  }
  fail_unless_equals_int (i, 3);
  free_harness (harness);
}
GST_END_TEST

/* Tags pass, and a title in front of the first frame does no harm. */
GST_START_TEST (test_tags_pass)
{
  GstHarness *harness = new_enc ();
  GstEvent *event;
  guint n = 0;

  set_audio_caps (harness, 3, 100);
  gst_harness_push_event (harness, gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE, "t", NULL)));
  fail_unless_equals_int (gst_harness_push (harness, make_frames (6, 0)), GST_FLOW_OK);
  gst_harness_push_event (harness, gst_event_new_eos ());
  while ((event = gst_harness_try_pull_event (harness)) != NULL) {
    n += GST_EVENT_TYPE (event) == GST_EVENT_TAG;
    gst_event_unref (event);
  }
  fail_unless_equals_int (n, 1);
  check_harness_error (harness, NULL);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_frames_are_written_in_order)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 3, 100);
  gst_harness_push (harness, make_frames (3, 0));
  gst_harness_push (harness, make_frames (21, 3));
  gst_harness_push (harness, make_frames (6, 24));
  finish (harness, 10, 3);
}
GST_END_TEST

GST_START_TEST (test_widest_frame_fits_the_header)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 65536, 100);
  gst_harness_push (harness, make_frames (65536, 0));
  finish (harness, 1, 65536);
}
GST_END_TEST

GST_START_TEST (test_empty_stream_has_no_frames)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 7, 100);
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_array (harness, 0, 7);
  check_harness_error (harness, NULL);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_eos_without_caps_is_an_error)
{
  GstHarness *harness = new_enc ();

  gst_harness_push_event (harness, gst_event_new_stream_start ("stream"));
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_harness_error (harness, "ended without caps");
  fail_unless_equals_int (gst_harness_buffers_received (harness), 0);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_changed_number_of_features_names_both)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 3, 100);
  gst_harness_push (harness, make_frames (3, 0));
  set_audio_caps (harness, 4, 100);
  check_harness_error (harness, "from 3 to 4 features");
  finish (harness, 1, 3);
}
GST_END_TEST

GST_START_TEST (test_changed_rate_goes_on)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 3, 100);
  gst_harness_push (harness, make_frames (3, 0));
  set_audio_caps (harness, 3, 50);
  gst_harness_push (harness, make_frames (3, 3));
  finish (harness, 2, 3);
}
GST_END_TEST

GST_START_TEST (test_tensors_are_written)
{
  GstHarness *harness = new_enc ();

  gst_harness_set_src_caps_str (harness, "other/tensors, format=static, num_tensors=1, types=float32, "
                                         "dimensions=(string)3:2:1:1, framerate=25/2");
  fail_unless_equals_int (gst_harness_push (harness, make_frames (6, 0)), GST_FLOW_OK);
  fail_unless_equals_int (gst_harness_push (harness, gst_buffer_new ()), GST_FLOW_OK);
  finish (harness, 2, 3);
}
GST_END_TEST

GST_START_TEST (test_wrong_caps_are_refused)
{
  GstHarness *harness = new_enc ();

  gst_harness_set_src_caps_str (harness,
                                "other/tensors, format=static, num_tensors=1, types=int8, dimensions=(string)80:1, "
                                "framerate=25/2");
  check_harness_error (harness, "types=int8, expected float32");
  fail_unless_equals_int (gst_harness_buffers_received (harness), 0);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_gap_flag_changes_nothing)
{
  GstHarness *harness = new_enc ();
  GstBuffer *buffer = make_frames (6, 0);

  set_audio_caps (harness, 3, 100);
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  gst_harness_push (harness, buffer);
  finish (harness, 2, 3);
}
GST_END_TEST

GST_START_TEST (test_gap_event_writes_nothing)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 3, 100);
  gst_harness_push (harness, make_frames (3, 0));
  gst_harness_push_event (harness, gst_event_new_gap (0, GST_SECOND));
  gst_harness_push (harness, make_frames (3, 3));
  finish (harness, 2, 3);
}
GST_END_TEST

GST_START_TEST (test_partial_frame_names_both_sizes)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 3, 100);
  fail_unless_equals_int (gst_harness_push (harness, make_frames (4, 0)), GST_FLOW_ERROR);
  check_harness_error (harness, "16 bytes is not a whole number of frames: one of 3 features has 12 bytes");
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_buffer_without_bytes_is_ignored)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 3, 100);
  fail_unless_equals_int (gst_harness_push (harness, gst_buffer_new ()), GST_FLOW_OK);
  gst_harness_push (harness, make_frames (3, 0));
  gst_harness_push (harness, gst_buffer_new ());
  finish (harness, 1, 3);
}
GST_END_TEST

GST_START_TEST (test_shared_buffer_of_many_memories_is_written)
{
  GstHarness *harness = new_enc ();
  GstBuffer *buffer = gst_buffer_append (make_frames (2, 0), make_frames (4, 2));

  fail_unless_equals_int (gst_buffer_n_memory (buffer), 2);
  gst_memory_lock (gst_buffer_peek_memory (buffer, 0), GST_LOCK_FLAG_EXCLUSIVE);
  gst_buffer_ref (buffer);
  set_audio_caps (harness, 3, 100);
  gst_harness_push (harness, buffer);
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_array (harness, 2, 3);
  fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), GST_BUFFER_OFFSET_NONE); /* ours is untouched */
  gst_memory_unlock (gst_buffer_peek_memory (buffer, 0), GST_LOCK_FLAG_EXCLUSIVE);
  gst_buffer_unref (buffer);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_flush_starts_the_file_again)
{
  GstHarness *harness = new_enc ();
  Bytes bytes;

  set_audio_caps (harness, 3, 100);
  gst_harness_push (harness, make_frames (9, 50));
  bytes = render (harness);
  g_free (bytes.data);
  push_flush (harness);
  push_segment (harness, 0);
  gst_harness_push (harness, make_frames (6, 0));
  finish (harness, 2, 3);
}
GST_END_TEST

GST_START_TEST (test_seek_is_refused)
{
  GstHarness *harness = new_enc ();
  GstQuery *query = gst_query_new_seeking (GST_FORMAT_TIME);
  gboolean seekable = TRUE;

  set_audio_caps (harness, 3, 100);
  fail_if (
      gst_harness_push_upstream_event (harness, gst_event_new_seek (1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH,
                                                                    GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_NONE, -1)));
  fail_unless_equals_int (gst_harness_upstream_events_received (harness), 1); /* RECONFIGURE, and no seek */
  fail_unless (gst_pad_peer_query (harness->sinkpad, query));
  gst_query_parse_seeking (query, NULL, &seekable, NULL, NULL);
  fail_if (seekable);
  gst_query_unref (query);
  free_harness (harness);
}
GST_END_TEST

static Suite *
npyenc_suite (void)
{
  Suite *suite = suite_create ("npyenc");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_test (tc, test_header_is_completed_at_eos);
  tcase_add_test (tc, test_header_that_cannot_be_completed_is_an_error);
  tcase_add_test (tc, test_unfinished_file_lacks_a_second_at_most);
  tcase_add_test (tc, test_slow_stream_lacks_nothing);
  tcase_add_test (tc, test_header_that_cannot_be_rewritten_stops_the_stream);
  tcase_add_test (tc, test_headers_are_marked);
  tcase_add_test (tc, test_tags_pass);
  tcase_add_test (tc, test_frames_are_written_in_order);
  tcase_add_test (tc, test_widest_frame_fits_the_header);
  tcase_add_test (tc, test_empty_stream_has_no_frames);
  tcase_add_test (tc, test_eos_without_caps_is_an_error);
  tcase_add_test (tc, test_changed_number_of_features_names_both);
  tcase_add_test (tc, test_changed_rate_goes_on);
  tcase_add_test (tc, test_tensors_are_written);
  tcase_add_test (tc, test_wrong_caps_are_refused);
  tcase_add_test (tc, test_gap_flag_changes_nothing);
  tcase_add_test (tc, test_gap_event_writes_nothing);
  tcase_add_test (tc, test_partial_frame_names_both_sizes);
  tcase_add_test (tc, test_buffer_without_bytes_is_ignored);
  tcase_add_test (tc, test_shared_buffer_of_many_memories_is_written);
  tcase_add_test (tc, test_flush_starts_the_file_again);
  tcase_add_test (tc, test_seek_is_refused);
  return suite;
}

GST_CHECK_MAIN (npyenc)
