/* gst-attention: tests of npyenc. SPDX-License-Identifier: LGPL-2.1-or-later */
#include "npycheck.h"

#include <fcntl.h>
#include <gst/audio/audio.h>
#include <gst/check/gsttestclock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static gboolean sink_seekable, sink_answers;
static GstClock *machine_clock; /* stands still unless a test moves it */

static void
setup (void)
{
  machine_clock = gst_test_clock_new ();
  gst_system_clock_set_default (machine_clock);
}

static void
teardown (void)
{
  gst_system_clock_set_default (NULL);
  gst_object_unref (machine_clock);
}

static gboolean
sink_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  if (GST_QUERY_TYPE (query) != GST_QUERY_SEEKING)
    return gst_pad_query_default (pad, parent, query);
  gst_query_set_seeking (query, GST_FORMAT_BYTES, sink_seekable, 0, -1);
  return sink_answers;
}

/* npyenc in front of a sink that says it can seek. */
static GstHarness *
new_enc (void)
{
  GstHarness *harness = new_harness ("npyenc");

  sink_seekable = sink_answers = TRUE;
  gst_pad_set_query_function (harness->sinkpad, sink_query);
  return harness;
}

static void
set_audio_caps (GstHarness *harness, guint n_features, guint rate)
{
  gchar *caps =
      g_strdup_printf ("audio/x-raw, format=%s, layout=interleaved, channels=%u, rate=%u", NE_FORMAT, n_features, rate);

  gst_harness_set_src_caps_str (harness, caps);
  g_free (caps);
}

/* n_values values first, first + 1, ... */
static GstBuffer *
make_frames (guint n_values, gfloat first)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, n_values * sizeof (gfloat), NULL);
  GstMapInfo map;
  guint i;

  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  for (i = 0; i < n_values; i++)
    ((gfloat *) map.data)[i] = first + i;
  gst_buffer_unmap (buffer, &map);
  return buffer;
}

/* Plays what came out into a file: a buffer goes where the last segment put it. */
static Bytes
render (GstHarness *harness)
{
  GByteArray *file = g_byte_array_new ();
  GstBuffer *buffer;
  Bytes bytes;

  while ((buffer = gst_harness_try_pull (harness)) != NULL) {
    gsize size = gst_buffer_get_size (buffer), offset = GST_BUFFER_OFFSET (buffer);

    fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (buffer), offset + size);
    fail_unless (offset <= file->len);
    if (offset + size > file->len)
      g_byte_array_set_size (file, offset + size);
    gst_buffer_extract (buffer, 0, file->data + offset, size);
    gst_buffer_unref (buffer);
  }
  bytes.size = file->len;
  bytes.data = (gchar *) g_byte_array_free (file, FALSE);
  return bytes;
}

/* The file so far says (n_frames, n_features) and has so many values, 0, 1, 2, ... */
static void
check_file (GstHarness *harness, guint n_frames, guint n_features)
{
  Bytes bytes = render (harness);
  gchar *shape = g_strdup_printf ("'shape': (%u, %u), }", n_frames, n_features);
  guint i;

  fail_unless_equals_uint64 (bytes.size, HEADER_SIZE + (gsize) n_frames * n_features * sizeof (gfloat));
  fail_unless (g_strstr_len (bytes.data + 10, HEADER_SIZE - 10, shape) != NULL, "%.118s has no %s", bytes.data + 10,
               shape);
  fail_unless_equals_int (bytes.data[HEADER_SIZE - 1], '\n');
  for (i = 0; i < n_frames * n_features; i++) {
    gfloat value;

    memcpy (&value, bytes.data + HEADER_SIZE + i * sizeof value, sizeof value);
    fail_unless_equals_float (value, i);
  }
  g_free (shape);
  g_free (bytes.data);
}

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

static GstFlowReturn
refuse_buffer (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  gst_buffer_unref (buffer);
  return GST_FLOW_ERROR;
}

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

/*
 * The frames that the header counts after all that has come out so far, in the order in which it is written: never more
 * than are there.
 */
static guint
write_out (GstHarness *harness, GByteArray *file, guint *n_buffers)
{
  GstBuffer *buffer;
  guint n = 0;

  for (; (buffer = gst_harness_try_pull (harness)) != NULL; ++*n_buffers) {
    gsize size = gst_buffer_get_size (buffer), offset = GST_BUFFER_OFFSET (buffer);

    g_byte_array_set_size (file, MAX (file->len, offset + size));
    gst_buffer_extract (buffer, 0, file->data + offset, size);
    fail_unless_equals_int (
        sscanf (g_strstr_len ((gchar *) file->data + 10, HEADER_SIZE - 10, "'shape': ("), "'shape': (%u", &n), 1);
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
  bytes = read_file (out);
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

/* Tags go on, and a title in front of the first frame is no harm. */
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
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_file (harness, 10, 3);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_widest_frame_fits_the_header)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 65536, 100);
  gst_harness_push (harness, make_frames (65536, 0));
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_file (harness, 1, 65536);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_empty_stream_has_no_frames)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 7, 100);
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_file (harness, 0, 7);
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

GST_START_TEST (test_changed_number_of_features_names_both)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 3, 100);
  gst_harness_push (harness, make_frames (3, 0));
  set_audio_caps (harness, 4, 100);
  check_harness_error (harness, "from 3 to 4 features");
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_file (harness, 1, 3);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_changed_rate_goes_on)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 3, 100);
  gst_harness_push (harness, make_frames (3, 0));
  set_audio_caps (harness, 3, 50);
  gst_harness_push (harness, make_frames (3, 3));
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_file (harness, 2, 3);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_tensors_are_written)
{
  GstHarness *harness = new_enc ();

  gst_harness_set_src_caps_str (harness, "other/tensors, format=static, num_tensors=1, types=float32, "
                                         "dimensions=(string)3:2:1:1, framerate=25/2");
  fail_unless_equals_int (gst_harness_push (harness, make_frames (6, 0)), GST_FLOW_OK);
  fail_unless_equals_int (gst_harness_push (harness, gst_buffer_new ()), GST_FLOW_OK);
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_file (harness, 2, 3);
  free_harness (harness);
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
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_file (harness, 2, 3);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_gap_event_writes_nothing)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 3, 100);
  gst_harness_push (harness, make_frames (3, 0));
  gst_harness_push_event (harness, gst_event_new_gap (0, GST_SECOND));
  gst_harness_push (harness, make_frames (3, 3));
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_file (harness, 2, 3);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_partial_frame_names_both_sizes)
{
  GstHarness *harness = new_enc ();

  set_audio_caps (harness, 3, 100);
  fail_unless_equals_int (gst_harness_push (harness, make_frames (4, 0)), GST_FLOW_ERROR);
  check_harness_error (harness, "16 bytes is no whole number of frames: one of 3 features has 12 bytes");
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
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_file (harness, 1, 3);
  free_harness (harness);
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
  check_file (harness, 2, 3);
  fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), GST_BUFFER_OFFSET_NONE); /* ours is untouched */
  gst_memory_unlock (gst_buffer_peek_memory (buffer, 0), GST_LOCK_FLAG_EXCLUSIVE);
  gst_buffer_unref (buffer);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_flush_starts_the_file_again)
{
  GstHarness *harness = new_enc ();
  GstSegment segment;
  Bytes bytes;

  set_audio_caps (harness, 3, 100);
  gst_harness_push (harness, make_frames (9, 50));
  bytes = render (harness);
  g_free (bytes.data);
  gst_harness_push_event (harness, gst_event_new_flush_start ());
  gst_harness_push_event (harness, gst_event_new_flush_stop (TRUE));
  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_harness_push_event (harness, gst_event_new_segment (&segment));
  gst_harness_push (harness, make_frames (6, 0));
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_file (harness, 2, 3);
  free_harness (harness);
}
GST_END_TEST

/* Such a sink writes each header behind the frames: the file would load as nothing. */
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
  bytes = read_file (out);
  fail_unless_equals_int (bytes.size, __i__ ? 0 : HEADER_SIZE + 8 * sizeof (gfloat));
  fail_unless (__i__ || g_strstr_len (bytes.data + 10, HEADER_SIZE - 10, "(8, 1)") != NULL);
  g_free (bytes.data);
  g_close (fd, NULL);
  g_unlink (out);
  g_free (out);
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

/* Golden array -> npyparse -> npyenc -> file, which must be what NumPy wrote. */
static GstElement *
new_copy_pipeline (const gchar *name, gchar **out)
{
  gchar *in = golden_path (name), *line;
  GstElement *pipeline;

  *out = temporary_path ();
  line =
      g_strdup_printf ("filesrc location=%s name=src ! npyparse ! npyenc ! filesink location=%s name=sink", in, *out);
  pipeline = gst_parse_launch (line, NULL);
  fail_unless (pipeline != NULL);
  g_free (line);
  g_free (in);
  return pipeline;
}

static void
check_same_file (const gchar *path, const gchar *golden_name)
{
  Bytes ours = read_file (path), golden = read_golden (golden_name);

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
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_file (harness, 2, 3);
  free_harness (harness);
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
  tcase_add_test (tc, test_frames_go_on_behind_a_header_in_between);
  tcase_add_test (tc, test_header_that_cannot_be_rewritten_stops_the_stream);
  tcase_add_test (tc, test_headers_are_marked);
  tcase_add_test (tc, test_tags_pass);
  tcase_add_test (tc, test_frames_are_written_in_order);
  tcase_add_test (tc, test_widest_frame_fits_the_header);
  tcase_add_test (tc, test_empty_stream_has_no_frames);
  tcase_add_test (tc, test_eos_without_caps_is_an_error);
  tcase_add_test (tc, test_sink_that_cannot_seek_is_an_error_at_start);
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
  tcase_add_loop_test (tc, test_sink_that_appends_is_an_error_at_start, 0, 3);
  tcase_add_loop_test (tc, test_descriptor_is_written_unless_it_appends, 0, 2);
  tcase_add_test (tc, test_seek_is_refused);
  tcase_add_test (tc, test_file_is_what_numpy_writes);
  tcase_add_test (tc, test_no_frames_through_a_pipeline);
  tcase_add_test (tc, test_reuse_after_null);
  tcase_add_test (tc, test_other_number_of_features_after_null);
  tcase_add_test (tc, test_error_then_restart);
  tcase_add_test (tc, test_numpy_loads_it);
  tcase_add_test (tc, test_numpy_loads_what_a_killed_process_left);
  return suite;
}

GST_CHECK_MAIN (npyenc)
