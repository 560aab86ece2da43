/*
 * The element `npyenc` and its sinks: files that can and cannot be written, the arrays that NumPy reads from them, a
 * second life.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _GNU_SOURCE /* unshare */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gst/audio/audio.h>

#include "diskcheck.h"
#include "npyenccheck.h"

/* The frames that the header counts; the file holds them all. */
static guint
count_frames (const Bytes *file, guint n_features)
{
  const gchar *shape = g_strstr_len (file->data + 10, HEADER_SIZE - 10, "'shape': (");
  guint n;

  fail_unless (shape != NULL);
  n = g_ascii_strtoull (shape + strlen ("'shape': ("), NULL, 10);
  fail_unless (file->size >= HEADER_SIZE + n * n_features * sizeof (gfloat), "%u frames in %" G_GSIZE_FORMAT " bytes",
               n, file->size);
  return n;
}

/*
 * All frames that fit can be read, but those of the last second. In the first round the sink meets the end of the disk
 * when it makes room for a header, in the second one before any header.
 */
static void
check_full_disk (gboolean without_headers)
{
  gchar *disk = g_dir_make_tmp ("npyenc-XXXXXX", NULL), *out = g_build_filename (disk, "out.npy", NULL),
        *line = g_strdup_printf ("npyenc ! filesink async=false location=%s", out), *text;
  GstFlowReturn flow = GST_FLOW_OK;
  GstHarness *harness;
  GstBus *bus;
  Bytes bytes;
  guint n, i;

  mount_small_disk (disk);
  harness = gst_harness_new_parse (line);
  bus = attach_bus (harness->element);
  set_audio_caps (harness, 64, 100);
  for (n = 0; n < 2000 && flow == GST_FLOW_OK; n++) {
    flow = gst_harness_push (harness, make_frames (64, 64 * n));
    if (!without_headers)
      gst_test_clock_advance_time (GST_TEST_CLOCK (machine_clock), GST_SECOND / 100);
  }
  fail_unless_equals_int (flow, GST_FLOW_ERROR);
  text = pop_error (bus); /* of the sink */
  fail_unless (text != NULL);
  gst_harness_push_event (harness, gst_event_new_eos ());
  while (text != NULL && strstr (text, "the sink did not write all frames: the file says") == NULL) {
    g_free (text);
    text = pop_error (bus);
  }
  fail_unless (text != NULL);
  g_free (text);
  detach_bus (harness->element, bus);
  gst_harness_teardown (harness);
  bytes = read_bytes (out);
  n = count_frames (&bytes, 64);
  fail_unless (without_headers ? n == 0 : n >= 256 * 1024 / (64 * sizeof (gfloat)) - 2 - 100, "%u frames", n);
  for (i = 0; i < n * 64; i++)
    fail_unless_equals_float (((gfloat *) (bytes.data + HEADER_SIZE))[i], i);
  g_free (bytes.data);
  umount (disk);
  g_rmdir (disk);
  g_free (line);
  g_free (out);
  g_free (disk);
}

GST_START_TEST (test_file_on_a_full_disk_is_an_error_and_can_be_read)
{
  if (can_mount ())
    check_full_disk (__i__);
}
GST_END_TEST

/* Into a real file, which is read while it is written. */
GST_START_TEST (test_frames_go_on_behind_a_header_in_between)
{
  gchar *out = temporary_path (), *line = g_strdup_printf ("npyenc ! filesink async=false location=%s", out);
  GstHarness *harness = gst_harness_new_parse (line);
  Bytes bytes;
  guint i;

  set_audio_caps (harness, 3, 10);
  for (i = 0; i < 41; i++) {
    fail_unless_equals_int (gst_harness_push (harness, make_frames (3, 3 * i)), GST_FLOW_OK);
    gst_test_clock_advance_time (GST_TEST_CLOCK (machine_clock), GST_SECOND / 2);
  }
  bytes = read_bytes (out);
  fail_unless (g_strstr_len (bytes.data + 10, HEADER_SIZE - 10, "'shape': (41, 3)") != NULL);
  fail_unless_equals_int (bytes.size, HEADER_SIZE + 41 * 3 * sizeof (gfloat));
  for (i = 0; i < 41 * 3; i++)
    fail_unless_equals_float (((gfloat *) (bytes.data + HEADER_SIZE))[i], i);
  g_free (bytes.data);
  gst_harness_teardown (harness);
  g_unlink (out);
  g_free (line);
  g_free (out);
}
GST_END_TEST

/* It does not refuse a place in its file: it is stopped. */
GST_START_TEST (test_sink_that_stops_is_no_error)
{
  gchar *out = temporary_path (), *line = g_strdup_printf ("npyenc ! filesink async=false location=%s", out);
  GstHarness *harness = gst_harness_new_parse (line);
  GstElement *sink = gst_harness_find_element (harness, "filesink");
  GstBus *bus = attach_bus (harness->element);

  set_audio_caps (harness, 3, 10);
  gst_element_set_locked_state (sink, TRUE);
  gst_element_set_state (sink, GST_STATE_NULL);
  fail_unless_equals_int (gst_harness_push (harness, make_frames (3, 0)), GST_FLOW_FLUSHING);
  check_text (pop_error (bus), NULL);
  gst_object_unref (sink);
  detach_bus (harness->element, bus);
  gst_harness_teardown (harness);
  g_unlink (out);
  g_free (line);
  g_free (out);
}
GST_END_TEST

static void
check_cannot_seek (gboolean answers)
{
  GstHarness *harness = new_enc ();

  sink_seekable = FALSE;
  sink_answers = answers;
  set_audio_caps (harness, 7, 100);
  check_harness_error (harness, "the sink cannot seek");
  fail_unless_equals_int (gst_harness_push (harness, make_frames (7, 0)), GST_FLOW_NOT_NEGOTIATED);
  gst_harness_push_event (harness, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_received (harness), 0);
  check_harness_error (harness, NULL); /* said once */
  free_harness (harness);
}

GST_START_TEST (test_sink_that_cannot_seek_is_an_error_at_start)
{
  check_cannot_seek (TRUE);
  check_cannot_seek (FALSE);
  check_text (run_launch_line ("audiotestsrc num-buffers=3 ! audio/x-raw,format=%s ! npyenc ! fakesink", NE_FORMAT),
              "the sink cannot seek");
}
GST_END_TEST

/* Such a sink writes each header behind the frames: the file would load as an empty array. */
GST_START_TEST (test_sink_that_appends_is_an_error_at_start)
{
  static const gchar *sinks[] = { "filesink append=true location=%s", "queue ! filesink append=true location=%s",
                                  "identity ! tee ! queue ! filesink append=true location=%s" };
  gchar *out = temporary_path (), *sink = g_strdup_printf (sinks[__i__], out);

  check_text (run_launch_line ("audiotestsrc num-buffers=2 ! audio/x-raw,format=%s,rate=100,channels=1 ! npyenc ! %s",
                               NE_FORMAT, sink),
              "appends to its file");
  g_unlink (out);
  g_free (sink);
  g_free (out);
}
GST_END_TEST

/* As a shell opens it for >, and for >>. */
GST_START_TEST (test_descriptor_is_written_unless_it_appends)
{
  gchar *out = temporary_path ();
  gint fd = open (out, O_RDWR | O_CREAT | (__i__ ? O_APPEND : 0), 0600);
  Bytes bytes;

  check_text (run_launch_line ("audiotestsrc num-buffers=2 samplesperbuffer=4 ! "
                               "audio/x-raw,format=%s,rate=100,channels=1 ! npyenc ! fdsink fd=%d",
                               NE_FORMAT, fd),
              __i__ ? "appends to its file" : NULL);
  bytes = read_bytes (out);
  fail_unless_equals_int (bytes.size, __i__ ? 0 : HEADER_SIZE + 8 * sizeof (gfloat));
  fail_unless (__i__ || g_strstr_len (bytes.data + 10, HEADER_SIZE - 10, "(8, 1)") != NULL);
  g_free (bytes.data);
  g_close (fd, NULL);
  g_unlink (out);
  g_free (out);
}
GST_END_TEST

/* Golden array -> npyparse -> npyenc -> file, which must equal NumPy's file. */
static GstElement *
new_copy_pipeline (const gchar *name, gchar **out)
{
  gchar *in = golden_path (name);
  GstElement *pipeline;

  *out = temporary_path ();
  pipeline = launch ("filesrc location=%s name=src ! npyparse ! npyenc ! filesink location=%s name=sink", in, *out);
  g_free (in);
  return pipeline;
}

static void
check_same_file (const gchar *path, const gchar *golden_name)
{
  Bytes ours = read_bytes (path), golden = read_golden (golden_name);

  fail_unless_equals_uint64 (ours.size, golden.size);
  fail_unless (memcmp (ours.data, golden.data, golden.size) == 0);
  g_free (ours.data);
  g_free (golden.data);
}

GST_START_TEST (test_file_is_what_numpy_writes)
{
  gchar *out;
  GstElement *pipeline = new_copy_pipeline ("f4.npy", &out);

  check_text (run_to_end (pipeline), NULL);
  check_same_file (out, "f4.npy");
  g_unlink (out);
  g_free (out);
  gst_object_unref (pipeline);
}
GST_END_TEST

GST_START_TEST (test_no_frames_through_a_pipeline)
{
  gchar *out;
  GstElement *pipeline = new_copy_pipeline ("no-frames.npy", &out);

  check_text (run_to_end (pipeline), NULL);
  check_same_file (out, "no-frames.npy");
  g_unlink (out);
  g_free (out);
  gst_object_unref (pipeline);
}
GST_END_TEST

GST_START_TEST (test_reuse_after_null)
{
  gchar *out;
  GstElement *pipeline = new_copy_pipeline ("f4.npy", &out);
  gint i;

  for (i = 0; i < 3; i++) {
    check_text (run_to_end (pipeline), NULL);
    check_same_file (out, "f4.npy");
    g_unlink (out);
  }
  g_free (out);
  gst_object_unref (pipeline);
}
GST_END_TEST

GST_START_TEST (test_other_number_of_features_after_null)
{
  gchar *out, *in = golden_path ("one-dimension.npy");
  GstElement *pipeline = new_copy_pipeline ("f4.npy", &out), *src = gst_bin_get_by_name (GST_BIN (pipeline), "src");

  check_text (run_to_end (pipeline), NULL);
  g_object_set (src, "location", in, NULL);
  check_text (run_to_end (pipeline), NULL);
  g_unlink (out);
  g_free (in);
  g_free (out);
  gst_object_unref (src);
  gst_object_unref (pipeline);
}
GST_END_TEST

GST_START_TEST (test_error_then_restart)
{
  GstHarness *harness = new_enc ();

  sink_seekable = FALSE;
  set_audio_caps (harness, 7, 100);
  check_harness_error (harness, "the sink cannot seek");

  gst_element_set_state (harness->element, GST_STATE_NULL);
  sink_seekable = TRUE;
  gst_harness_play (harness);
  set_audio_caps (harness, 3, 100);
  fail_unless_equals_int (gst_harness_push (harness, make_frames (6, 0)), GST_FLOW_OK);
  finish (harness, 2, 3);
}
GST_END_TEST

static gboolean
run_python (const gchar *script, const gchar *argument)
{
  gchar *argv[] = { (gchar *) "/usr/bin/python3", (gchar *) "-c", (gchar *) script, (gchar *) argument, NULL };
  gint status = -1;

  return g_spawn_sync (NULL, argv, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL, &status, NULL)
         && g_spawn_check_wait_status (status, NULL);
}

GST_START_TEST (test_numpy_loads_it)
{
  gchar *out = temporary_path ();

  if (!run_python ("import numpy", NULL)) {
    GST_INFO ("skipped: /usr/bin/python3 has no NumPy");
    g_print ("# test_numpy_loads_it skipped: /usr/bin/python3 has no NumPy\n");
  } else {
    check_text (run_launch_line (
                    "audiotestsrc num-buffers=5 samplesperbuffer=20 wave=square volume=1 ! "
                    "audio/x-raw,format=%s,channels=3,channel-mask=(bitmask)0,rate=100 ! npyenc ! filesink location=%s",
                    NE_FORMAT, out),
                NULL);
    fail_unless (run_python ("import sys, numpy; a = numpy.load(sys.argv[1]); assert a.shape == (100, 3), a.shape; "
                             "assert a.dtype == numpy.float32; assert a.flags.c_contiguous; assert abs(a).max() == 1",
                             out));
  }
  g_unlink (out);
  g_free (out);
}
GST_END_TEST

/* The frames that the header of a file counts; 0: none, or there is no header yet. */
static guint
count_said (const gchar *path)
{
  gchar header[HEADER_SIZE + 1] = "";
  gint fd = open (path, O_RDONLY);
  const gchar *shape;
  guint n = 0;

  if (fd >= 0 && read (fd, header, HEADER_SIZE) == HEADER_SIZE
      && (shape = g_strstr_len (header + 10, HEADER_SIZE - 10, "'shape': (")) != NULL)
    sscanf (shape, "'shape': (%u", &n);
  if (fd >= 0)
    g_close (fd, NULL);
  return n;
}

/* A live recording, whose process is killed once the header has counted something. */
GST_START_TEST (test_numpy_loads_what_a_killed_process_left)
{
  gchar *out = temporary_path (), *location = g_strdup_printf ("location=%s", out);
  const gchar *argv[] = { "gst-launch-1.0",
                          "-q",
                          "audiotestsrc",
                          "is-live=true",
                          "wave=square",
                          "volume=1",
                          "samplesperbuffer=1",
                          "!",
                          "audio/x-raw,format=" GST_AUDIO_NE (F32) ",channels=3,rate=100,"
                                                                   "channel-mask=(bitmask)0",
                          "!",
                          "npyenc",
                          "!",
                          "filesink",
                          location,
                          NULL };
  GPid pid;

  if (SANITIZED || !run_python ("import numpy", NULL)) {
    g_print ("# skipped: gst-launch-1.0 cannot load sanitized plugins, or /usr/bin/python3 has no NumPy\n");
  } else {
    fail_unless (g_spawn_async (NULL, (gchar **) argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                                NULL, &pid, NULL));
    while (count_said (out) == 0)
      g_usleep (G_USEC_PER_SEC / 20);
    kill (pid, SIGKILL);
    waitpid (pid, NULL, 0);
    fail_unless (run_python ("import sys, numpy; a = numpy.load(sys.argv[1]); assert len(a) > 0 and a.shape[1] == 3; "
                             "assert abs(a).max() == 1",
                             out));
  }
  g_unlink (out);
  g_free (location);
  g_free (out);
}
GST_END_TEST

static Suite *
npyenc_files_suite (void)
{
  Suite *suite = suite_create ("npyenc-files");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_loop_test (tc, test_file_on_a_full_disk_is_an_error_and_can_be_read, 0, 2);
  tcase_add_test (tc, test_frames_go_on_behind_a_header_in_between);
  tcase_add_test (tc, test_sink_that_stops_is_no_error);
  tcase_add_test (tc, test_sink_that_cannot_seek_is_an_error_at_start);
  tcase_add_loop_test (tc, test_sink_that_appends_is_an_error_at_start, 0, 3);
  tcase_add_loop_test (tc, test_descriptor_is_written_unless_it_appends, 0, 2);
  tcase_add_test (tc, test_file_is_what_numpy_writes);
  tcase_add_test (tc, test_no_frames_through_a_pipeline);
  tcase_add_test (tc, test_reuse_after_null);
  tcase_add_test (tc, test_other_number_of_features_after_null);
  tcase_add_test (tc, test_error_then_restart);
  tcase_add_test (tc, test_numpy_loads_it);
  tcase_add_test (tc, test_numpy_loads_what_a_killed_process_left);
  return suite;
}

GST_CHECK_MAIN (npyenc_files)
