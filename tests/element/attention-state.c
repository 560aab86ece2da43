/*
 * The element `attention`: streams that outlive their process, in a file.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "statecheck.h"

/* ---- helpers ---- */

static void
write_state (GBytes *bytes)
{
  write_file ("state", g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes));
}

/* ---- the file ---- */

GST_START_TEST (test_restarts_give_the_bytes_of_an_undisturbed_run)
{
  const Case *c = &cases[__i__ / 2];
  gboolean eos = __i__ % 2;
  GByteArray *expected = undisturbed (c, 0, N), *got = g_byte_array_new ();

  run (c, 0, 3, eos, got);
  run (c, 3, 90, eos, got);
  run (c, 90, 91, eos, got);
  run (c, 91, N, eos, got);
  fail_unless_equals_int (got->len, expected->len);
  fail_unless_frames (got, 0, expected, 0, N);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* The first run gave all outputs of its buffers at its end; the second gives only the outputs of its own buffers. */
GST_START_TEST (test_restart_with_look_ahead_equals_from_the_first_frame_on)
{
  static const Case ahead[] = { { 20, 5, 0, FALSE }, { 10, 30, 4, FALSE }, { 64, 2, 2, TRUE } };
  const Case *c = &ahead[__i__];
  GByteArray *expected = undisturbed (c, 0, N), *early = g_byte_array_new (), *late = g_byte_array_new ();

  run (c, 0, 90, TRUE, early);
  run (c, 90, N, TRUE, late);
  fail_unless_equals_int (early->len, 90 * D * sizeof (gfloat));
  fail_unless_equals_int (late->len, (N - 90) * D * sizeof (gfloat));
  fail_unless_frames (early, 0, expected, 0, 90 - c->look_ahead);
  fail_unless_frames (late, 0, expected, 90, N - 90);
  g_byte_array_unref (expected);
  g_byte_array_unref (early);
  g_byte_array_unref (late);
}
GST_END_TEST;

GST_START_TEST (test_state_is_that_before_the_drain)
{
  static const Case c = { 20, 5, 2, FALSE };
  GByteArray *ignored = g_byte_array_new ();
  GBytes *stopped;

  run (&c, 0, 50, FALSE, ignored);
  stopped = read_state ();
  g_unlink (state_file);
  g_byte_array_set_size (ignored, 0);
  run (&c, 0, 50, TRUE, ignored);
  fail_unless_file_is (stopped);
  g_bytes_unref (stopped);
  g_byte_array_unref (ignored);
}
GST_END_TEST;

GST_START_TEST (test_run_without_frames_leaves_the_file_alone)
{
  static const Case plain = { 20, 5, 2, FALSE }, with_model = { 20, 5, 2, TRUE };
  const Case *c = __i__ ? &with_model : &plain;
  GByteArray *got = g_byte_array_new ();
  GBytes *before;

  run (c, 0, 0, TRUE, got);
  fail_if (g_file_test (state_file, G_FILE_TEST_EXISTS), "an empty run made a file");
  run (c, 0, 50, TRUE, got);
  before = read_state ();
  run (c, 50, 50, TRUE, got);
  fail_unless_file_is (before);
  run (c, 50, 50, FALSE, got);
  fail_unless_file_is (before);
  g_bytes_unref (before);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* Not even a flush ends a stream that was restored, as long as no frame has come. */
GST_START_TEST (test_flush_before_the_first_frame_keeps_what_was_restored)
{
  static const Case c = { 20, 5, 0, FALSE };
  GByteArray *expected = undisturbed (&c, 0, N), *got = g_byte_array_new ();
  GstHarness *h;

  run (&c, 0, 90, TRUE, got);
  g_byte_array_set_size (got, 0);
  h = start (&c, state_file);
  push_flush (h);
  push_segment (h, 0);
  push (h, 90, N);
  gst_harness_push_event (h, gst_event_new_eos ());
  pull (h, 90, got);
  fail_unless_frames (got, 0, expected, 90, N - 90);
  gst_harness_teardown (h);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* Sources mark their first buffer DISCONT. That must not make the element forget the restored stream. */
GST_START_TEST (test_discont_before_the_first_frame_keeps_what_was_restored)
{
  static const Case c = { 20, 5, 0, FALSE };
  GByteArray *expected = undisturbed (&c, 0, N), *got = g_byte_array_new ();
  GstHarness *h;
  GstBuffer *buffer;

  run (&c, 0, 90, TRUE, got);
  h = start (&c, state_file);
  buffer = gst_buffer_new_memdup (frames + 90 * D, (N - 90) * D * sizeof (gfloat));
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  gst_harness_push_event (h, gst_event_new_eos ());
  buffer = gst_harness_pull (h);
  fail_unless_equals_int (
      gst_buffer_memcmp (buffer, 0, expected->data + 90 * D * sizeof (gfloat), (N - 90) * D * sizeof (gfloat)), 0);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* Afterwards events end it as they always do. */
GST_START_TEST (test_restored_stream_ends_as_any_other)
{
  static const Case c = { 20, 5, 0, FALSE };
  GByteArray *expected = undisturbed (&c, 100, N), *got = g_byte_array_new ();
  GstHarness *h;
  GstSegment segment;

  run (&c, 0, 90, TRUE, got);
  g_byte_array_set_size (got, 0);
  h = start (&c, state_file);
  push (h, 90, 100);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.start = segment.time = GST_SECOND;
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push (h, 100, N);
  gst_harness_push_event (h, gst_event_new_eos ());
  pull (h, 90, got);
  fail_unless_frames (got, 10, expected, 0, N - 100);
  gst_harness_teardown (h);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

GST_START_TEST (test_events_do_not_wait_for_outputs_that_are_dropped)
{
  static const Case c = { 20, 5, 0, FALSE };
  GByteArray *got = g_byte_array_new ();
  GstHarness *h;
  GstEvent *event;
  gboolean came = FALSE;

  run (&c, 0, 90, TRUE, got);
  h = start (&c, state_file);
  gst_harness_push_event (h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty ("passes")));
  while ((event = gst_harness_try_pull_event (h))) {
    came |= GST_EVENT_TYPE (event) == GST_EVENT_CUSTOM_DOWNSTREAM;
    gst_event_unref (event);
  }
  fail_unless (came);
  gst_harness_teardown (h);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* The element refuses to start (with a model), or the caps (without). */
static void
check_refused_file (const Case *c, const gchar *text)
{
  GstElement *element = make_element (c, state_file);
  GstBus *bus = attach_bus (element);
  GBytes *before = read_state ();

  if (c->model || subject_is_encoder ()) {
    fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  } else {
    GstHarness *h = gst_harness_new_with_element (element, "sink", "src");

    gst_harness_set_src_caps_str (h, CAPS);
    gst_harness_push (h, gst_buffer_new_memdup (frames, D * sizeof (gfloat)));
    fail_unless_equals_int (gst_harness_buffers_received (h), 0);
    gst_element_set_bus (element, bus);
    gst_harness_teardown (h);
  }
  fail_unless_said (bus, GST_MESSAGE_ERROR, text);
  gst_element_set_state (element, GST_STATE_NULL);
  fail_unless_file_is (before);
  g_bytes_unref (before);
  detach_bus (element, bus);
  gst_object_unref (element);
}

GST_START_TEST (test_damaged_file_is_an_error_and_is_kept)
{
  static const Case plain = { 20, 0, 2, FALSE }, with_model = { 20, 0, 2, TRUE };
  const Case *c = __i__ ? &with_model : &plain;
  GByteArray *got = g_byte_array_new ();
  GBytes *state, *damaged;
  guint8 *bytes;
  gsize size;

  run (c, 0, 50, TRUE, got);
  state = read_state ();
  bytes = g_memdup2 (g_bytes_get_data (state, &size), g_bytes_get_size (state));
  bytes[size / 2] ^= 4;
  damaged = g_bytes_new_take (bytes, size);
  write_state (damaged);
  check_refused_file (c, "the state is damaged");
  g_bytes_unref (damaged);
  damaged = g_bytes_new_from_bytes (state, 0, 100);
  write_state (damaged);
  check_refused_file (c, "100 bytes");
  g_bytes_unref (damaged);
  damaged = g_bytes_new_static ("", 0);
  write_state (damaged);
  check_refused_file (c, "0 bytes");
  g_bytes_unref (damaged);
  g_bytes_unref (state);
  g_byte_array_unref (got);
}
GST_END_TEST;

GST_START_TEST (test_foreign_file_is_an_error_and_is_kept)
{
  static const Case plain = { 20, 0, 2, FALSE }, with_model = { 20, 0, 2, TRUE }, other = { 21, 0, 2, TRUE };
  GByteArray *got = g_byte_array_new ();

  run (&with_model, 0, 50, TRUE, got);
  if (!subject_is_encoder ())
    check_refused_file (&plain, "another layer");
  check_refused_file (&other, "another layer");
  g_byte_array_unref (got);
}
GST_END_TEST;

/* Mended, it runs. */
GST_START_TEST (test_element_runs_after_a_refused_file)
{
  static const Case c = { 20, 0, 2, TRUE };
  GBytes *nonsense = g_bytes_new_static ("nonsense", 8);
  GByteArray *expected = undisturbed (&c, 0, N), *got = g_byte_array_new ();
  GstElement *element;
  GstHarness *h;

  write_state (nonsense);
  element = make_element (&c, state_file);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  gst_element_set_state (element, GST_STATE_NULL);
  g_unlink (state_file);
  h = gst_harness_new_with_element (element, "sink", "src");
  gst_harness_set_src_caps_str (h, CAPS);
  push (h, 0, N);
  pull (h, 0, got);
  fail_unless_frames (got, 0, expected, 0, N);
  gst_harness_teardown (h);
  gst_object_unref (element);
  g_bytes_unref (nonsense);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* No stream can begin with the layer for which the file was refused. */
GST_START_TEST (test_refused_file_is_refused_with_other_caps_too)
{
  static const Case c = { 20, 0, 2, FALSE };
  GBytes *nonsense = g_bytes_new_static ("nonsense", 8);
  GstHarness *h;
  GstCaps *caps = gst_caps_from_string (CAPS);

  write_state (nonsense);
  h = start (&c, state_file);
  gst_caps_set_simple (caps, "rate", G_TYPE_INT, 50, NULL);
  gst_harness_set_src_caps (h, caps);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_memdup (frames, D * sizeof (gfloat))),
                          GST_FLOW_NOT_NEGOTIATED);
  gst_harness_teardown (h);
  fail_unless_file_is (nonsense);
  g_bytes_unref (nonsense);
}
GST_END_TEST;

GST_START_TEST (test_file_that_cannot_be_read_is_an_error)
{
  static const Case c = { 20, 0, 2, FALSE };

  fail_unless_start_refused (make_element (&c, folder), folder);
}
GST_END_TEST;

/* Its folder is removed while the stream runs. */
GST_START_TEST (test_file_that_cannot_be_written_is_an_error_at_stop)
{
  static const Case c = { 20, 0, 2, FALSE };
  gchar *gone = g_build_filename (folder, "gone", NULL), *file = g_build_filename (gone, "state", NULL);
  GstHarness *h;
  GstBus *bus;

  fail_unless_equals_int (g_mkdir (gone, 0700), 0);
  h = start (&c, file);
  bus = attach_bus (h->element);
  push (h, 0, 10);
  fail_unless_equals_int (g_rmdir (gone), 0);
  gst_element_set_state (h->element, GST_STATE_READY);
  fail_unless_said (bus, GST_MESSAGE_ERROR, file);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
  g_free (file);
  g_free (gone);
}
GST_END_TEST;

GST_START_TEST (test_state_file_without_its_folder_is_an_error)
{
  static const Case c = { 20, 0, 2, FALSE };
  gchar *nowhere = g_build_filename (folder, "nowhere", "state", NULL);

  fail_unless_start_refused (make_element (&c, nowhere), "there is no folder");
  g_free (nowhere);
}
GST_END_TEST;

GST_START_TEST (test_state_file_reads_back)
{
  static const Case c = { 20, 0, 2, FALSE };
  GstElement *element = make_element (&c, "/some/where");
  gchar *file;

  g_object_get (element, "state-file", &file, NULL);
  fail_unless_equals_string (file, "/some/where");
  g_free (file);
  gst_object_unref (element);
}
GST_END_TEST;

static Suite *
attention_state_suite (void)
{
  Suite *suite = suite_create ("attention-state");
  TCase *file = tcase_create ("file");

  suite_add_tcase (suite, file);
  tcase_add_checked_fixture (file, setup, teardown);
  tcase_add_loop_test (file, test_restarts_give_the_bytes_of_an_undisturbed_run, 0, 2 * G_N_ELEMENTS (cases));
  tcase_add_loop_test (file, test_restart_with_look_ahead_equals_from_the_first_frame_on, 0, 3);
  tcase_add_test (file, test_state_is_that_before_the_drain);
  tcase_add_loop_test (file, test_run_without_frames_leaves_the_file_alone, 0, 2);
  tcase_add_test (file, test_flush_before_the_first_frame_keeps_what_was_restored);
  tcase_add_test (file, test_discont_before_the_first_frame_keeps_what_was_restored);
  tcase_add_test (file, test_restored_stream_ends_as_any_other);
  tcase_add_test (file, test_events_do_not_wait_for_outputs_that_are_dropped);
  tcase_add_loop_test (file, test_damaged_file_is_an_error_and_is_kept, 0, 2);
  tcase_add_test (file, test_foreign_file_is_an_error_and_is_kept);
  tcase_add_test (file, test_element_runs_after_a_refused_file);
  tcase_add_test (file, test_file_that_cannot_be_read_is_an_error);
  tcase_add_test (file, test_file_that_cannot_be_written_is_an_error_at_stop);
  tcase_add_test (file, test_state_file_without_its_folder_is_an_error);
  tcase_add_test (file, test_state_file_reads_back);
  if (!subject_is_encoder ()) /* which refuses it at start */
    tcase_add_test (file, test_refused_file_is_refused_with_other_caps_too);
  return suite;
}

GST_CHECK_MAIN (attention_state);
